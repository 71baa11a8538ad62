use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside ();
use TestKafka;
use TransactionTest qw(DONE producer committed ended write_out transaction fetch_until offset_of);

# Version 2 of transactions (KIP-890), where what is written becomes part of the transaction by that, and each end brings
# the identity of the next one; and the way to it and back while a program runs.

sub cluster {
    my ($version) = @_;
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->feature('transaction.version', $version // 2);
    $mock->create_topic($_ => 2) for qw(in out);
    return $mock;
}

sub croak_of (&) { my ($code) = @_; return eval { $code->(); 1 } ? undef : $@ }

# A transaction that ends when its record has been delivered.
sub delivered_and {
    my ($kafka, $end, $value) = @_;
    $kafka->begin_transaction;
    my $errors = write_out($kafka, $value);
    wait_until { @$errors } 'the record';
    return ended($kafka, $end);
}

sub identity { my ($kafka) = @_; return @{ $kafka->{cfg} }{qw(producer_id producer_epoch)} }

sub asked { my ($mock, @apis) = @_; return { map { $_ => $mock->request_count($_) } @apis } }

my @OF_TRANSACTIONS = qw(InitProducerId AddPartitionsToTxn AddOffsetsToTxn TxnOffsetCommit EndTxn);

# A transaction with a record for each of two partitions, and with the position that it was read from.
sub copy {
    my ($kafka) = @_;
    $kafka->begin_transaction;
    my $errors = [];
    $kafka->produce('out', undef, $_, { partition => $_ }, sub { push @$errors, $_[1] }) for 0, 1;
    $kafka->send_offsets_to_transaction('g');
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'committed';
    is_deeply $errors, [undef, undef], 'delivered';
    return;
}

# Brokers tell of features when a connection is made: it is made again.
sub changed {
    my ($mock, $kafka, $version) = @_;
    $mock->feature('transaction.version', $version);
    $mock->stop_broker($_), $mock->start_broker($_) for 0, 1;
    my $refresh = EV::timer 0, 0.05, sub { Inside::refresh($kafka) };
    wait_until { $kafka->{cluster}->feature('transaction.version') == $version } 'the news';
    return;
}

subtest 'what it costs' => sub {
    my %sent;
    for my $version (0, 2) {
        my $mock  = cluster($version);
        $mock->append(in => 0, { value => 1 });
        my $kafka = producer($mock);
        $kafka->assign([{ topic => 'in', partition => 0, offset => 0 }]);
        copy($kafka) for 1, 2;
        my $before = asked($mock, @OF_TRANSACTIONS, 'Produce');
        copy($kafka) for 1 .. 10;
        my $after = asked($mock, @OF_TRANSACTIONS, 'Produce');
        $sent{$version} = { map { $_ => ($after->{$_} - $before->{$_}) / 10 } keys %$after };
    }
    note sprintf '%-20s %4s %4s', 'requests/transaction', 'v1', 'v2';
    for my $api ('Produce', @OF_TRANSACTIONS) {
        note sprintf '%-20s %4.1f %4.1f', $api, map { $sent{$_}{$api} } 0, 2;
    }
    my $sum = sub { my $sum = 0; $sum += $_ for values %{ $sent{ $_[0] } }; return $sum };
    note sprintf '%-20s %4.1f %4.1f', 'all', map { $sum->($_) } 0, 2;
    is_deeply [map { $sent{2}{$_} } qw(InitProducerId AddPartitionsToTxn AddOffsetsToTxn)], [0, 0, 0], 'nothing is added';
    is_deeply [map { $sent{0}{$_} } qw(InitProducerId AddPartitionsToTxn AddOffsetsToTxn)], [0, 1, 1], 'as it was by version 1';
    cmp_ok $sum->(2), '<=', $sum->(0) - 2, 'fewer requests';
};

subtest 'an epoch for each' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my ($id, $epoch) = identity($kafka);
    for my $n (1 .. 3) {
        is_deeply [transaction($kafka, 'commit_transaction', "c$n")], [DONE], 'committed';
        is_deeply [delivered_and($kafka, 'abort_transaction', "a$n")], [DONE], 'aborted';
        is_deeply [identity($kafka)], [$id, $epoch + 2 * $n], 'the end brings it';
    }
    is_deeply committed($mock), [qw(c1 c2 c3)], 'what was committed';
    is $mock->request_count('InitProducerId'), 1, 'the coordinator was asked for one';
};

subtest 'up and down while a program runs' => sub {
    my $mock  = cluster(0);
    my $kafka = producer($mock);
    is_deeply [transaction($kafka, 'commit_transaction', 'a')], [DONE], 'version 1';
    my ($id, $epoch) = identity($kafka);
    $kafka->begin_transaction;
    my $errors = write_out($kafka, 'b');
    wait_until { @$errors } 'a record';
    changed($mock, $kafka, 2);
    my $added = $mock->request_count('AddPartitionsToTxn');
    $kafka->produce('out', undef, "b$_", { partition => $_ }) for 0, 1;
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the one that is open ends as it began';
    is $mock->request_count('AddPartitionsToTxn'), $added + 1, 'with partitions that are added';
    is_deeply [identity($kafka)], [$id, $epoch], 'and the epoch that it had';
    is_deeply [transaction($kafka, 'commit_transaction', 'c')], [DONE], 'the next one';
    is $mock->request_count('AddPartitionsToTxn'), $added + 1, 'adds nothing';
    is $mock->request_count('InitProducerId'), 2, 'under an epoch that was asked for';
    is_deeply [identity($kafka)], [$id, $epoch + 2], 'and left with the next one';

    $kafka->begin_transaction;
    $errors = write_out($kafka, 'd');
    wait_until { @$errors } 'a record';
    changed($mock, $kafka, 0);
    $kafka->produce('out', undef, "d$_", { partition => $_ }) for 0, 1;
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'down: the one that is open ends as it began';
    is $mock->request_count('AddPartitionsToTxn'), $added + 1, 'nothing is added';
    is_deeply [transaction($kafka, 'commit_transaction', 'e')], [DONE], 'the next one';
    is $mock->request_count('AddPartitionsToTxn'), $added + 2, 'adds its partition';
    is_deeply [identity($kafka)], [$id, $epoch + 3], 'and keeps its epoch';
    is_deeply committed($mock), [qw(a b b0 b1 c d d0 d1 e)], 'all are there';
    is $mock->request_count('InitProducerId'), 2, 'down needs no epoch';
};

subtest 'a transaction that begins before there is a connection' => sub {
    my $mock  = cluster();
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x');
    $kafka->begin_transaction;
    my $errors = write_out($kafka, 'a');
    $kafka->connect;
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'is committed';
    is $mock->request_count('AddPartitionsToTxn'), 0, 'by version 2';
};

for my $end (qw(commit_transaction abort_transaction)) {
    for my $applied (0, 1) {
        subtest "$end whose answer is lost " . ($applied ? 'after' : 'before') . ' it was done' => sub {
            my $mock  = cluster();
            my $kafka = producer($mock);
            my ($id, $epoch) = identity($kafka);
            $mock->fault(api => 'EndTxn', drop => 1, applied => $applied);
            is_deeply [delivered_and($kafka, $end, 'a')], [DONE], 'is sent again';
            is $mock->request_count('EndTxn'), 2, 'once';
            is_deeply [identity($kafka)], [$id, $epoch + 1], 'and brings the next epoch';
            is_deeply [transaction($kafka, 'commit_transaction', 'b')], [DONE], 'with which it goes on';
            is_deeply committed($mock), [$end =~ /commit/ ? 'a' : (), 'b'], 'what there is';
            is $mock->request_count('InitProducerId'), 1, 'without asking for another';
        };
    }
}

subtest 'a commit in doubt that was done, and an abort' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, transaction_timeout => 2000, request_timeout => 0.5, delivery_timeout => 1);
    my ($id, $epoch) = identity($kafka);
    $mock->fault(api => 'EndTxn', drop => 1, applied => 1, times => undef);
    like +(transaction($kafka, 'commit_transaction', 'a'))[1], qr/not known/, 'nobody says that it was';
    $mock->clear_faults;
    is_deeply [ended($kafka, 'abort_transaction')], [undef, 'the transaction was committed before'], 'it cannot be aborted';
    is_deeply [identity($kafka)], [$id, $epoch + 1], 'the epoch that came with the end';
    is_deeply [transaction($kafka, 'commit_transaction', 'b')], [DONE], 'is that of the next one';
    is_deeply committed($mock), [qw(a b)], 'both are there';
};

subtest 'nothing in it' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my @identity = identity($kafka);
    for my $end (qw(commit_transaction abort_transaction)) {
        $kafka->begin_transaction;
        is_deeply [ended($kafka, $end)], [DONE], $end;
    }
    is $mock->request_count('EndTxn'), 0, 'nobody is told';
    is_deeply [identity($kafka)], \@identity, 'nor does the epoch change';
};

subtest 'nothing in it for the coordinator' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my ($id, $epoch) = identity($kafka);
    for my $n (1, 2) {
        $mock->fault(api => 'Produce', error => 29);
        $kafka->begin_transaction;
        my $errors = write_out($kafka, 'refused');
        wait_until { @$errors } 'the refusal';
        is_deeply [map { $_->{state} } $mock->transactions], [$n == 1 ? 'Empty' : 'CompleteCommit'], 'nothing was added';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'aborted';
        is_deeply [identity($kafka)], [$id, $epoch + 2 * $n - 1], 'under the next epoch';
        is_deeply [transaction($kafka, 'commit_transaction', "a$n")], [DONE], 'and on';
    }
    is_deeply committed($mock), [qw(a1 a2)], 'with what came then';
};

subtest 'while the end before it is still being written' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $mock->append(in => 0, { value => 1 });
    $kafka->assign([{ topic => 'in', partition => 0, offset => 0 }]);
    $mock->fault(api => 'Produce', error => 51, times => 2);
    $mock->fault(api => 'TxnOffsetCommit', error => 51, times => 2);
    my $metadata = $mock->request_count('Metadata');
    copy($kafka);
    is $mock->request_count('Metadata'), $metadata, 'no leader is looked for';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

subtest 'for ever' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, transaction_timeout => 4000);
    $mock->fault(api => 'Produce', error => 51, times => undef);
    my (undef, $error) = transaction($kafka, 'commit_transaction', 'a');
    like $error, qr/timed out after .* the transaction cannot be committed; call abort_transaction\z/, 'the commit ends';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'with an abort';
    $mock->clear_faults;
    is_deeply [transaction($kafka, 'commit_transaction', 'b')], [DONE], 'and on';
    is_deeply committed($mock), ['b'], 'alone';
};

subtest 'an abort that is refused' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $mock->fault(api => 'EndTxn', error => 120);
    like +(delivered_and($kafka, 'abort_transaction', 'a'))[1], qr/^EndTxn: TRANSACTION_ABORTABLE/, 'leaves nothing to do';
    like croak_of { $kafka->begin_transaction }, qr/only a new client can go on/, 'for this client';
};

subtest 'abort without waiting for what hangs' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, request_timeout => 5);
    $kafka->begin_transaction;
    $mock->fault(api => 'Produce', hang => 1);
    write_out($kafka, 'late');
    wait_until { $mock->request_count('Produce') } 'the record';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'aborted';
    is $mock->request_count('InitProducerId'), 1, 'the epoch of the end keeps it out';
    is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one goes on';
    is_deeply committed($mock), ['next'], 'alone';
};

# The last epoch of an id that a producer may have.
use constant LAST_EPOCH => 32_766;

subtest 'brokers that have agreed on less before anybody has heard of it' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $mock->fault(api => 'Produce', error => 35);
    like +(transaction($kafka, 'commit_transaction', 'a'))[1], qr/UNSUPPORTED_VERSION/, 'the one that is open is refused';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'and aborted';
    is_deeply [transaction($kafka, 'commit_transaction', 'b')], [DONE], 'the next one';
    is $mock->request_count('AddPartitionsToTxn'), 1, 'is of version 1';
    is_deeply committed($mock), ['b'], 'alone';
};

subtest 'the end of the epochs' => sub {
    my $mock = cluster();
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    my ($host, $port) = split /:/, (split /,/, $mock->bootstrap)[ $mock->coordinator(transaction => 'x') ];
    my ($is_there, $epoch) = (0, -1);
    $conn->on_connect(sub { $is_there = 1 });
    $conn->connect($host, $port, 5);
    wait_until { $is_there } 'a connection';
    my $ask;
    $ask = sub { $conn->init_producer_id('x', 60_000, sub { $epoch = $_[0]{producer_epoch}; $ask->() if $epoch < LAST_EPOCH - 3 }) };
    $ask->();
    wait_until { $epoch >= LAST_EPOCH - 3 } 'many epochs';
    undef $ask;
    my $kafka = producer($mock);
    my ($id)  = identity($kafka);
    my @had;
    for my $value ('a' .. 'd') {
        push @had, join ' ', identity($kafka);
        $mock->fault(api => 'EndTxn', drop => 1, applied => 1) if $value eq 'c';
        is_deeply [transaction($kafka, 'commit_transaction', $value)], [DONE], 'committed';
    }
    my ($other) = identity($kafka);
    isnt $other, $id, 'the coordinator gives another id';
    is_deeply \@had, ["$id 32764", "$id 32765", "$id 32766", "$other 0"], 'after the last epoch, also to who asks again';
    is_deeply committed($mock), ['a' .. 'd'], 'all are there';
    is $mock->request_count('InitProducerId') - LAST_EPOCH + 2, 1, 'and nobody has asked for it';
};

subtest 'another instance takes over' => sub {
    my $mock  = cluster();
    my $first = producer($mock);
    $first->begin_transaction;
    my $errors = write_out($first, 'old');
    wait_until { @$errors } 'delivery';
    my $second = producer($mock);
    is_deeply [transaction($second, 'commit_transaction', 'new')], [DONE], 'the second commits';
    $first->produce(out => undef, 'older', { partition => $_ }) for 0, 1;
    like +(ended($first, 'commit_transaction'))[1], qr/PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/, 'the first is fenced';
    is_deeply committed($mock), ['new'], 'what it had written is aborted';
};

done_testing;
