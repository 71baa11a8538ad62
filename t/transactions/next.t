use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;
use TransactionTest;

# What is produced between commit_transaction and its callback is part of the next
# transaction, not of the one that is being committed.

# A commit that waits for the coordinator, and what is produced meanwhile.
sub committing {
    my ($kafka, $mock, @while) = @_;
    my %got = (commit => [], ends => [], mock => $mock);
    $mock->fault(api => 'EndTxn', delay_ms => 100);
    $kafka->begin_transaction;
    write_out($kafka, 'a');
    $kafka->commit_transaction(sub { push @{ $got{commit} }, [@_]; $got{then}->() if $got{then} });
    $kafka->produce(out => 'k', $_, sub { push @{ $got{ends} }, $_[1] // 'ok' }) for @while;
    return \%got;
}

sub is_committed {
    my ($got) = @_;
    wait_until { @{ $got->{commit} } } 'commit';
    return is_deeply $got->{commit}, [[DONE]], 'the commit succeeds';
}

my @WAYS = (
    ['at once'],
    ['when the records are acknowledged', sub { my ($mock) = @_; $mock->request_count('Produce') }],
    ['when EndTxn is under way', sub { my ($mock) = @_; $mock->request_count('EndTxn') }],
);

for my $way (@WAYS) {
    my ($when, $is_time) = @$way;
    for my $options ([], [{ partition => 1 }]) {
        subtest "$when" . (@$options ? ', with a partition' : '') => sub {
            my $mock  = cluster();
            my $kafka = producer($mock, linger_ms => 0);
            my $got   = committing($kafka, $mock);
            wait_until { $is_time->($mock) } $when if $is_time;
            my @ends;
            $kafka->produce(out => 'k', $_, @$options, sub { push @ends, $_[1] }) for qw(b c);
            is_committed($got);
            turns(20);
            is_deeply committed($mock), ['a'], 'what is produced meanwhile cannot be seen';
            is_deeply \@ends, [], 'and has no end yet';
            is +($kafka->buffered)[0], 2, 'it is kept';
            $kafka->begin_transaction;
            wait_until { @ends == 2 } 'the next transaction';
            is_deeply \@ends, [undef, undef], 'it is sent in the next transaction';
            is_deeply committed($mock), ['a'], 'of which it is a part';
            is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the next commit';
            is_deeply committed($mock), [qw(a b c)], 'makes it visible';
            is_deeply [errors($kafka)], [], 'without an error';
        };
    }
}

subtest 'the next transaction is aborted' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my $got   = committing($kafka, $mock, 'b');
    is_committed($got);
    $kafka->begin_transaction;
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    # What has to be added first had no time to leave.
    is_deeply $got->{ends}, [IS_IMPLICIT ? 'ok' : 'transaction aborted'], 'it goes with it';
    is_deeply committed($mock), ['a'], 'and cannot be seen';
};

subtest 'a loop that goes on producing' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, linger_ms => 0);
    my (@ends, @before, @seen, $n, $transactions);
    my $timer = EV::timer 0, 0.002, sub {
        my $i = $n++;
        $kafka->produce(out => "k$i", $i, { partition => 0 }, sub { push @ends, $i });
    };
    my $step;
    $step = sub {
        return $transactions = 'done' if ++$transactions > 5;
        $kafka->begin_transaction;
        my $later;
        $later = EV::timer 0.02, 0, sub {
            undef $later;
            push @before, $n;
            $kafka->commit_transaction(sub {
                push @seen, [map { $_->{value} } $mock->records(out => 0, isolation_level => 'read_committed')];
                $step->();
            });
        };
    };
    $step->();
    wait_until { ($transactions // 0) eq 'done' } 'five transactions';
    undef $timer;
    is_deeply \@seen, [map { [0 .. $_ - 1] } @before], 'each commits what came before it, once, in order, and nothing else';
    is_deeply \@ends, [0 .. $before[-1] - 1], 'and nothing else has left';
    is_deeply [errors($kafka)], [], 'without an error';
    undef $step;
};

subtest 'a topic that becomes known meanwhile' => sub {
    for my $options ([], [{ partition => 0 }]) {
        my $mock  = mock(brokers => 2, auto_create => 0);
        $mock->create_topic(out => 2);
        my $kafka = producer($mock);
        my $got   = committing($kafka, $mock);
        my @ends;
        $kafka->produce(fresh => 'k', 'b', @$options, sub { push @ends, $_[1] });
        is_committed($got);
        $mock->create_topic(fresh => 1);
        $kafka->begin_transaction;
        wait_until { @ends } 'the record';
        is_deeply \@ends, [undef], 'is written';
        is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'committed';
        is_deeply [map { $_->{value} } $mock->records(fresh => 0, isolation_level => 'read_committed')], ['b'], 'and seen';
    }
};

subtest 'no transaction follows' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, delivery_timeout => 0.5);
    my $got   = committing($kafka, $mock, 'b');
    is_committed($got);
    my $plain = write_out($kafka, 'plain');
    wait_until { @$plain } 'a record that is produced after the callback';
    is_deeply $plain, [undef], 'is written without a transaction';
    is_deeply committed($mock), [qw(a plain)], 'and can be seen';
    wait_until { @{ $got->{ends} } } 'the other one';
    like $got->{ends}[0], qr/^delivery timed out after 0.5 s/, 'which has waited for its transaction expires';
    is_deeply [transaction($kafka, 'commit_transaction', 'z')], [DONE], 'the next transaction';
    is_deeply committed($mock), [qw(a plain z)], 'is none the worse';
    is_deeply [errors($kafka)], [], 'without an error';
};

subtest 'a record without a callback that expires' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, delivery_timeout => 0.5);
    my $got   = committing($kafka, $mock);
    $kafka->produce(out => 'k', 'b', { partition => 0 });
    is_committed($got);
    wait_until { errors($kafka) } 'on_error';
    is_deeply [errors($kafka)], ['delivery timed out after 0.5 s: out:0'], 'hears of it';
};

subtest 'it expires while the commit is still under way' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, delivery_timeout => 0.5, transaction_timeout => 60_000);
    $mock->fault(api => 'EndTxn', delay_ms => 400, times => 2, error => 14);
    my $got = committing($kafka, $mock, 'b');
    wait_until { @{ $got->{ends} } } 'the record';
    like $got->{ends}[0], qr/^delivery timed out/, 'expires';
    wait_until { @{ $got->{commit} } } 'commit';
    unlike $got->{commit}[0][1] // '', qr/delivery timed out/, 'which has nothing to do with it';
};

subtest 'the commit fails' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $kafka->begin_transaction;
    $mock->fault(api => 'EndTxn', error => 120);
    write_out($kafka, 'a');
    my (@commit, @ends);
    $kafka->commit_transaction(sub { push @commit, [@_] });
    $kafka->produce(out => 'k', 'b', sub { push @ends, $_[1] });
    wait_until { @commit } 'commit';
    like $commit[0][1], qr/TRANSACTION_ABORTABLE/, 'is refused';
    my $refused = write_out($kafka, 'c');
    wait_until { @$refused } 'what is produced now';
    like $refused->[0], qr/call abort_transaction\z/, 'is refused';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    is_deeply \@ends, [], 'what came before waits';
    $kafka->begin_transaction;
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'for the next transaction';
    is_deeply [\@ends, committed($mock)], [[undef], ['b']], 'which has it';
};

subtest 'no room' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, buffer_memory => 1000);
    my $got   = committing($kafka, $mock, 'x' x 800, 'x' x 800);
    is_deeply $got->{ends}, ['producer buffer full'], 'a record is refused';
    is_committed($got);
    is_deeply committed($mock), ['a'], 'and takes no transaction along';
};

subtest 'flush' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my $got   = committing($kafka, $mock, 'b');
    my $flushed = 0;
    $kafka->flush(sub { $flushed++ });
    is_committed($got);
    turns(20);
    is $flushed, 0, 'waits for what was produced before it';
    $kafka->begin_transaction;
    wait_until { $flushed } 'flush';
    is_deeply $got->{ends}, ['ok'], 'until it is written';
    ended($kafka, 'abort_transaction');
};

subtest 'close' => sub {
    for my $when ('while it commits', 'after that') {
        for my $end (sub { $_[0]->close }, sub { undef $_[0] }) {
            my $mock  = cluster();
            my $kafka = producer($mock);
            my $got   = committing($kafka, $mock, 'b');
            is_committed($got) if $when ne 'while it commits';
            $end->($kafka);
            is_deeply $got->{ends}, ['client closed'], "$when: it is told, once";
        }
    }
};

done_testing;
