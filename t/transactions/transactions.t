use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;
use TransactionTest;

# Transactions of the client against the mock: what readers of committed records
# see, and what every kind of failure comes to.

sub croak_of (&) {
    my ($code) = @_;
    return eval { $code->(); 1 } ? undef : $@;
}

subtest 'commit and abort' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    is $kafka->{cfg}{producer_id} >= 0, 1, 'connect gets a producer id';
    is_deeply [transaction($kafka, 'commit_transaction', qw(a b c))], [DONE], 'commit calls back with a result';
    is_deeply committed($mock), [qw(a b c)], 'and the records can be seen';
    is_deeply [transaction($kafka, 'abort_transaction', qw(d e))], [DONE], 'so does abort';
    is_deeply [transaction($kafka, 'commit_transaction', qw(f))], [DONE], 'and the next one is another';
    is_deeply committed($mock), [qw(a b c f)], 'what was aborted cannot be seen';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

subtest 'records that were delivered before the abort' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $kafka->begin_transaction;
    my $errors = write_out($kafka, 1 .. 20);
    wait_until { @$errors == 20 } 'delivery';
    is scalar(grep { defined } @$errors), 0, 'all are delivered';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'aborted';
    is state($mock), 'CompleteAbort', 'by the coordinator';
    is_deeply committed($mock), [], 'none can be seen';
};

subtest 'before connect, and without a record' => sub {
    my $mock  = cluster();
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x');
    $kafka->begin_transaction;
    my $errors = write_out($kafka, 'a');
    $kafka->connect;
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'commit waits for the connection';
    is_deeply committed($mock), ['a'], 'and commits';
    for my $end (qw(commit_transaction abort_transaction)) {
        $kafka->begin_transaction;
        is_deeply [ended($kafka, $end)], [DONE], "$end of nothing";
    }
    is $mock->request_count('EndTxn'), 1, 'tells nobody';
};

subtest 'outside of transactions' => sub {
    my $mock   = cluster();
    my $kafka  = producer($mock);
    my $errors = write_out($kafka, 'plain');
    $kafka->begin_transaction;
    wait_until { @$errors } 'delivery';
    is_deeply $errors, [undef], 'records are delivered';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    is_deeply committed($mock), ['plain'], 'what came before begin is not part of it';
};

subtest 'outside of transactions, before the end of the last one is written' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    is_deeply [transaction($kafka, 'commit_transaction', 'a')], [DONE], 'a transaction';
    $mock->fault(api => 'Produce', topic => 'out', error => 48, times => 2);
    my $errors = write_out($kafka, 'b');
    wait_until { @$errors } 'the delivery';
    is_deeply $errors, [undef], 'a record waits for the end';
    is_deeply committed($mock), [qw(a b)], 'and is written';
};

subtest 'records of topics that are not known yet' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my @ends;
    $mock->create_topic('fresh' => 1);
    $kafka->produce('fresh', 'plain', 'plain', sub { push @ends, ['plain', $_[1]] });
    $kafka->begin_transaction;
    $kafka->produce('fresh', 'a', 'a', sub { push @ends, ['a', $_[1]] });
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    wait_until { @ends == 2 } 'both ends';
    is_deeply [sort { $a->[0] cmp $b->[0] } @ends], [['a', 'transaction aborted'], ['plain', undef]],
        'one goes with the transaction, the one before it does not';
    $mock->create_topic('other' => 1);
    $kafka->begin_transaction;
    $kafka->produce('other', 'b', 'b', sub { push @ends, ['b', $_[1]] });
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'commit waits for what has no partition yet';
    is_deeply $ends[2], ['b', undef], 'it is written';
    is_deeply [map { $_->{value} } $mock->records('other', 0, isolation_level => 'read_committed')], ['b'], 'and committed';
    is_deeply [map { $_->{value} } $mock->records('fresh', 0)], ['plain'], 'what was aborted never left';
};

subtest 'a record with a partition, of a topic that becomes known in a later transaction' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $mock->create_topic('fresh' => 1);
    my @ends;
    $kafka->produce('fresh', 'plain', 'plain', { partition => 0 }, sub { push @ends, ['plain', $_[1]] });
    $kafka->begin_transaction;
    $kafka->produce('fresh', 'a', 'a', { partition => 0 }, sub { push @ends, ['a', $_[1]] });
    wait_until { grep { $_->[0] eq 'plain' } @ends } 'the record from before begin';
    wait_until { grep { $_->[0] eq 'a' } @ends } 'the one of the transaction';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    is_deeply \@ends, [['plain', undef], ['a', undef]], 'each is written once, in order';
    is_deeply [map { $_->{value} } $mock->records('fresh', 0, isolation_level => 'read_committed')], ['plain'],
        'only what came after begin is aborted';
};

subtest 'what is produced after the transaction has failed' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $kafka->begin_transaction;
    $mock->fault(api => ADDS, error => 29);
    my $first = write_out($kafka, 'a');
    wait_until { @$first } 'the failure';
    my $second = write_out($kafka, 'b');
    is_deeply [ended($kafka, 'flush')], [], 'flush has nothing to wait for';
    like "@$second", qr/TOPIC_AUTHORIZATION_FAILED .* call abort_transaction/, 'the callback is told to abort';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    is_deeply [transaction($kafka, 'commit_transaction', 'c')], [DONE], 'and on';
    is_deeply committed($mock), ['c'], 'with what came then';
};

# Also to partitions that it has written to before.
for my $case (map({ [Produce => $_] } 29, 45, 47, 59, 87, 120), [ADDS_OFFSETS, 30]) {
    my ($api, $code) = @$case;
    my $name = EV::Kafka::_error_name($code);
    subtest "what is produced after $api was answered $name" => sub {
        my $mock  = cluster();
        my $kafka = producer($mock);
        $kafka->assign([{ topic => 'in', partition => 0, offset => 0 }]);
        $kafka->begin_transaction;
        my @written;
        $kafka->produce(out => 'k', 'a', { partition => 0 }, sub { push @written, $_[1] });
        wait_until { @written } 'a record';
        is_deeply \@written, [undef], 'one was written';
        $mock->fault(api => $api, error => $code);
        my @refused;
        if ($api eq 'Produce') { $kafka->produce(out => 'k', 'b', { partition => 0 }, sub { push @refused, $_[1] }) }
        else                   { $kafka->send_offsets_to_transaction('g', sub { push @refused, $_[1] }) }
        wait_until { @refused } 'the refusal';
        my @ends;
        for my $partition (0, 1) {
            $kafka->produce(out => 'k', 'c', { partition => $partition }, sub { push @ends, $_[1] });
            $kafka->produce(out => "k$partition", 'd', sub { push @ends, $_[1] });
        }
        $kafka->produce(fresh => 'k', 'e', sub { push @ends, $_[1] });
        is scalar @ends, 5, 'fails at once';
        like $_, qr/$name.*: the transaction cannot be committed; call abort_transaction\z/, 'for the same reason' for @ends;
        is_deeply [ended($kafka, 'flush')], [], 'flush has nothing to wait for';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
        is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next transaction';
        is_deeply committed($mock), ['next'], 'is all that can be seen';
    };
}

subtest 'a connection lost while a transaction is aborted' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my $epoch = $kafka->{cfg}{producer_epoch};
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    $kafka->begin_transaction;
    $mock->fault(api => 'Produce', hang => 1);
    my $errors = write_out($kafka, 'late');
    $kafka->flush;
    wait_until { $mock->request_count('Produce') } 'the record to leave';
    my @aborted;
    $kafka->abort_transaction(sub { push @aborted, [@_] });
    $mock->stop_broker($_), $mock->start_broker($_) for 0, 1;
    wait_until { @aborted } 'abort';
    is_deeply \@aborted, [[DONE]], 'it is aborted';
    wait_until { @$errors } 'the callback';
    is scalar(@$errors), 1, 'which is called once';
    is_deeply \@warnings, [], 'without warnings';
    isnt $kafka->{cfg}{producer_epoch}, $epoch, 'a new epoch keeps out what may still be under way';
    is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one goes on';
    is_deeply committed($mock), ['next'], 'alone';
};

subtest 'the next transaction begins in the callback of the abort' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, delivery_timeout => 5);
    is_deeply [transaction($kafka, 'commit_transaction', 'a')], [DONE], 'the broker knows the producer';
    $kafka->begin_transaction;
    $mock->fault(api => 'Produce', error => 87);
    my $errors = write_out($kafka, 'bad');
    wait_until { @$errors } 'the refusal';
    my (@ends, $next);
    $kafka->abort_transaction(sub {
        push @ends, [abort => @_];
        $kafka->begin_transaction;
        $next = write_out($kafka, 'bad');
        $kafka->commit_transaction(sub { push @ends, [commit => @_] });
    });
    wait_until { @ends == 2 } 'both ends';
    is_deeply \@ends, [[abort => DONE], [commit => DONE]], 'one is aborted, the next is committed';
    is_deeply $next, [undef], 'its record is delivered';
    is_deeply committed($mock), [qw(a bad)], 'and can be seen';
};

subtest 'abort in the callback of offsets that failed' => sub {
    my $mock = cluster();
    $mock->append(in => 0, { value => $_ }) for 1, 2;
    my $kafka = producer($mock);
    $kafka->assign([{ topic => 'in', partition => 0, offset => 0 }]);
    $kafka->begin_transaction;
    $mock->fault(api => ADDS_OFFSETS, error => 30, times => 3);
    my (@ends, @aborted);
    for my $group (qw(g h i)) {
        $kafka->send_offsets_to_transaction($group, sub {
            push @ends, $_[1];
            $kafka->abort_transaction(sub { push @aborted, $_[1] }) if @ends == 1;
        });
    }
    wait_until { @aborted } 'abort';
    is_deeply \@aborted, [undef], 'it is aborted';
    is scalar(@ends), 3, 'each callback has been called once';
    is scalar(grep { defined } @ends), 3, 'with an error';
};

subtest 'what croaks' => sub {
    my $mock  = cluster();
    my $plain = connected(brokers => $mock->bootstrap);
    my @end   = ([commit_transaction => ()], [abort_transaction => ()], [send_offsets_to_transaction => 'g']);
    for (['begin_transaction'], @end) {
        my ($method, @args) = @$_;
        like croak_of { $plain->$method(@args) }, qr/^$method: give new the option 'transactional_id' at \Q$0\E/, "$method of a plain client";
    }
    my $kafka = producer($mock);
    for (@end) {
        my ($method, @args) = @$_;
        like croak_of { $kafka->$method(@args) }, qr/^$method: no transaction is open; begin_transaction first/, "$method without begin";
    }
    $kafka->begin_transaction;
    like croak_of { $kafka->begin_transaction }, qr/^begin_transaction: a transaction is open; /, 'begin twice';
    like croak_of { $kafka->send_offsets_to_transaction }, qr/^send_offsets_to_transaction: group id required/, 'no group';
    write_out($kafka, 'a');
    my $committed;
    $kafka->commit_transaction(sub { $committed = 1 });
    like croak_of { $kafka->begin_transaction }, qr/still committing; wait for the callback/, 'begin while it commits';
    for (@end) {
        my ($method, @args) = @$_;
        like croak_of { $kafka->$method(@args) }, qr/^$method: the transaction is committing already/, "$method then";
    }
    wait_until { $committed } 'commit';
    $kafka->close;
    like croak_of { $kafka->begin_transaction }, qr/^EV::Kafka: client is closed/, 'a closed client';
    like croak_of { EV::Kafka->new(transactional_id => 'x', transaction_timeout => 0) }, qr/transaction_timeout/, 'a wrong timeout';
};

# To coordinators.
my @REQUESTS = ('InitProducerId', IS_IMPLICIT ? () : (ADDS, ADDS_OFFSETS), 'TxnOffsetCommit', 'EndTxn');

subtest 'consume, process, produce' => sub {
    my $mock = cluster();
    my ($kafka, $error) = step($mock);
    is $error, undef, 'committed';
    is_deeply committed($mock), [1 .. 3], 'the records';
    is_deeply offset_of($mock), ['in:0=3'], 'and the position';
};

for my $api (@REQUESTS) {
    for my $code (5, 7, 13, 14, 15, 16, 19, 51, 89, -1) {
        next if $code == 51 && $api eq 'TxnOffsetCommit' && !IS_IMPLICIT;
        subtest "$api answers " . EV::Kafka::_error_name($code) => sub {
            my $mock = cluster();
            $mock->fault(api => $api, error => $code, times => 2);
            my ($kafka, $error, $offsets_error) = step($mock);
            is_deeply [$error, $offsets_error], [undef, undef], 'is asked again';
            is_deeply [committed($mock), offset_of($mock)], [[1 .. 3], ['in:0=3']], 'once';
            is_deeply [errors($kafka)], [], 'on_error hears nothing';
        };
    }
    for my $applied (0, 1) {
        subtest "$api: a connection lost " . ($applied ? 'after' : 'before') . ' it took effect' => sub {
            my $mock = cluster();
            $mock->fault(api => $api, drop => 1, applied => $applied);
            my ($kafka, $error, $offsets_error) = step($mock);
            is_deeply [$error, $offsets_error], [undef, undef], 'is asked again';
            is_deeply [committed($mock), offset_of($mock)], [[1 .. 3], ['in:0=3']], 'once';
        };
    }
}

for ([ADDS, 29], [ADDS_OFFSETS, 30], ['TxnOffsetCommit', 30], ['TxnOffsetCommit', 69], ['TxnOffsetCommit', 113], ['TxnOffsetCommit', 22],
    ['TxnOffsetCommit', 25], ['TxnOffsetCommit', 82], ['Produce', 87], ['Produce', 29], ['Produce', 45], ['Produce', 47], ['Produce', 59],
    map { [$_, 120] } 'Produce', @REQUESTS[1 .. $#REQUESTS])
{
    my ($api, $code) = @$_;
    my $name = EV::Kafka::_error_name($code);
    subtest "$api answers $name: abort and go on" => sub {
        my $mock = cluster();
        my ($kafka, $error) = step($mock, sub { $mock->fault(api => $api, error => $code) });
        like $error, qr/$name.*: the transaction cannot be committed; call abort_transaction\z/s, $error;
        like +(ended($kafka, 'commit_transaction'))[1], qr/$name/, 'another commit says the same';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'it can be aborted';
        is_deeply [committed($mock), offset_of($mock)], [[], []], 'nothing can be seen';
        is_deeply [map { $_->{offset} } @{ $kafka->{cfg}{assignments} }], [0], 'the position is that of begin';
        is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one';
        is_deeply committed($mock), ['next'], 'is committed';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
    };
}

for (IS_IMPLICIT ? () : ['AddPartitionsToTxn', 47], [ADDS, 90], [ADDS, 53], [ADDS_OFFSETS, 90],
    ['EndTxn', 47], ['EndTxn', 90], ['Produce', 90])
{
    my ($api, $code) = @$_;
    my $name = EV::Kafka::_error_name($code);
    subtest "$api answers $name: the end" => sub {
        my $mock  = cluster();
        my $kafka = producer($mock);
        $mock->fault(api => $api, error => $code);
        $kafka->begin_transaction;
        my $errors = write_out($kafka, 'a');
        if ($api eq ADDS_OFFSETS) {
            $kafka->assign([{ topic => 'in' }]);
            $kafka->send_offsets_to_transaction('g');
        }
        my (undef, $error) = ended($kafka, 'commit_transaction');
        like $error, qr/$name/, $error;
        is scalar(errors($kafka)), 1, 'on_error hears of it once';
        like croak_of { $kafka->begin_transaction }, qr/$name.*only a new client can go on/, 'there is no other transaction';
        my @late;
        $kafka->produce('out', 'k', 'v', sub { push @late, $_[1] });
        wait_until { @late } 'the callback';
        like $late[0], qr/^idempotent producer unavailable: .*$name/, 'and no other record';
        is_deeply committed($mock), [], 'nothing can be seen';
        like +(ended($kafka, 'connect'))[1], qr/$name/, 'connect says so as well';
        is scalar(errors($kafka)), 1, 'on_error hears nothing more';
    };
}

subtest 'InitProducerId is refused' => sub {
    my $mock = cluster();
    $mock->fault(api => 'InitProducerId', error => 53);
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x');
    my (undef, $error) = ended($kafka, 'connect');
    like $error, qr/^InitProducerId: TRANSACTIONAL_ID_AUTHORIZATION_FAILED/, 'connect says so';
    is scalar(errors($kafka)), 1, 'and on_error, once';
};

subtest 'another instance takes over' => sub {
    my $mock  = cluster();
    my $first = producer($mock);
    $first->begin_transaction;
    my $errors = write_out($first, 'old');
    wait_until { @$errors } 'delivery';
    my $second = producer($mock);
    is_deeply [transaction($second, 'commit_transaction', 'new')], [DONE], 'the second commits';
    like +(ended($first, 'commit_transaction'))[1], qr/^EndTxn: (?:PRODUCER_FENCED|INVALID_PRODUCER_EPOCH)/, 'the first is fenced';
    is_deeply committed($mock), ['new'], 'what it had written is aborted';
};

subtest 'another instance takes over, and the first goes on' => sub {
    my $mock  = cluster();
    my $first = producer($mock);
    $first->begin_transaction;
    my $before = write_out($first, 'same');
    wait_until { @$before } 'delivery';
    my $second = producer($mock);
    my $after  = write_out($first, 'same', 'same');
    wait_until { @$after == 2 } 'the refusal';
    like $_, qr/PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/, 'the partition refuses it' for @$after;
    for my $end (qw(commit_transaction abort_transaction)) {
        # Whoever has heard already that there is no way on croaks.
        my (undef, $error) = eval { ended($first, $end) };
        like $error // $@, qr/PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/, "$end fails";
    }
    is scalar(errors($first)), 1, 'on_error has heard of it, once';
    ok defined croak_of { $first->begin_transaction }, 'and there is no other';
    is_deeply [transaction($second, 'commit_transaction', 'new')], [DONE], 'the second goes on';
    is_deeply committed($mock), ['new'], 'alone';
};

subtest 'a commit that fails and has no callback' => sub {
    for my $case ([ADDS, 29], [EndTxn => 120], [Produce => 87]) {
        my ($api, $code) = @$case;
        my $mock  = cluster();
        my $kafka = producer($mock);
        $mock->fault(api => $api, error => $code);
        $kafka->begin_transaction;
        $kafka->produce('out', 'k', 'v');
        $kafka->commit_transaction;
        wait_until { errors($kafka) } 'on_error';
        turns;
        my $name = EV::Kafka::_error_name($code);
        is scalar(errors($kafka)), 1, "$api: on_error hears of it, once";
        like +(errors($kafka))[0], qr/^commit_transaction: .*$name.*call abort_transaction\z/, 'and what to do';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'it is aborted';
        is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one is committed';
    }
};

subtest 'a coordinator that dies' => sub {
    my $mock  = mock(brokers => 3, replication_factor => 3);
    $mock->create_topic(out => 2);
    my $kafka = producer($mock);
    $kafka->begin_transaction;
    my $errors = write_out($kafka, 1 .. 10);
    wait_until { @$errors == 10 } 'delivery';
    $mock->stop_broker($mock->coordinator(transaction => 'x'));
    my $more = write_out($kafka, 11 .. 20);
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the next one commits';
    is_deeply [sort { $a <=> $b } @{ committed($mock) }], [1 .. 20], 'all of it';
};

subtest 'what is produced between a commit that was refused and the abort' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $mock->fault(api => 'EndTxn', error => 120);
    like +(transaction($kafka, 'commit_transaction', 'a'))[1], qr/^EndTxn: TRANSACTION_ABORTABLE/, 'commit is refused';
    my $errors = write_out($kafka, 'b');
    wait_until { @$errors } 'the end of a record';
    like $errors->[0], qr/^EndTxn: TRANSACTION_ABORTABLE .*call abort_transaction\z/, 'goes nowhere';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    is_deeply [transaction($kafka, 'commit_transaction', 'c')], [DONE], 'the next one';
    is_deeply committed($mock), ['c'], 'is all that can be seen';
};

subtest 'abort does not wait for what hangs' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, request_timeout => 5);
    my $epoch = $kafka->{cfg}{producer_epoch};
    $kafka->begin_transaction;
    $mock->fault(api => 'Produce', hang => 1);
    my $errors = write_out($kafka, 'late');
    $kafka->flush;
    wait_until { $mock->request_count(ADDS) } 'the partition';
    turns;
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'it is aborted';
    isnt $kafka->{cfg}{producer_epoch}, $epoch, 'by a new epoch';
    is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one goes on';
    is_deeply committed($mock), ['next'], 'alone';
    $mock->stop_broker($_), $mock->start_broker($_) for 0, 1;
    wait_until { @$errors } 'the callback of what hung';
    is scalar(@$errors), 1, 'once';
    is_deeply [transaction($kafka, 'commit_transaction', 'third')], [DONE], 'which breaks nothing';
};

subtest 'no delivery from send_offsets to begin' => sub {
    my $mock = cluster();
    $mock->append(in => 0, map { { value => $_ } } 1 .. 3);
    my @seen;
    my $kafka = producer($mock, on_message => sub { push @seen, $_[4] });
    $kafka->assign([{ topic => 'in', partition => 0 }]);
    $kafka->begin_transaction;
    fetch_until($kafka, sub { @seen == 3 });
    my ($result, $error) = ended($kafka, send_offsets_to_transaction => 'g');
    is $error, undef, 'sent';
    is $result->{topics}[0]{topic}, 'in', 'with the result of TxnOffsetCommit';
    is $result->{error_code}, 0, 'and an error code beside it';
    my $fetches = $mock->request_count('Fetch');
    $mock->append(in => 0, { value => 4 });
    $kafka->poll;
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'committed';
    turns(50);
    is_deeply \@seen, [1 .. 3], 'nothing is delivered meanwhile';
    $kafka->begin_transaction;
    fetch_until($kafka, sub { @seen == 4 });
    is_deeply \@seen, [1 .. 4], 'but after begin';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    $kafka->begin_transaction;
    fetch_until($kafka, sub { @seen == 5 });
    is_deeply \@seen, [1 .. 4, 4], 'brings back what came since begin';
};

subtest 'close and going out of scope' => sub {
    for my $end (sub { $_[0]->close }, sub { undef $_[0] }) {
        my $mock  = cluster();
        my $kafka = producer($mock);
        $mock->fault(api => 'EndTxn', hang => 1);
        $kafka->begin_transaction;
        my $errors = write_out($kafka, 'a');
        my @got;
        $kafka->commit_transaction(sub { push @got, [@_] });
        wait_until { @$errors } 'delivery';
        turns;
        $end->($kafka);
        is_deeply \@got, [[undef, 'client closed']], 'commit hears of it, once';
    }
};

done_testing;
