use strict;
use warnings;
use Test::More;

use lib 't/lib';
use AnyEvent;
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;
use TransactionTest;

# transaction() begins, calls the program's code, and commits or aborts.

# What its callback gets.
sub run_it {
    my ($kafka, @arguments) = @_;
    return ended($kafka, transaction => @arguments);
}

subtest 'work that returns is committed' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my @got;
    is_deeply [run_it($kafka, sub { @got = @_; write_out($kafka, 'a', 'b'); return })], [DONE], 'the callback hears of the commit';
    is_deeply \@got, [], 'the work has no arguments';
    is_deeply committed($mock), [qw(a b)], 'what it has produced is there';
    is_deeply [run_it($kafka, sub { write_out($kafka, 'c'); return })], [DONE], 'the next one';
    is_deeply committed($mock), [qw(a b c)], 'is there, too';
    is_deeply [errors($kafka)], [], 'without an error';
};

subtest 'before connect' => sub {
    my $mock  = cluster();
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x');
    my @got;
    $kafka->transaction(sub { write_out($kafka, 'a'); return }, sub { push @got, [@_] });
    $kafka->connect;
    wait_until { @got } 'the callback';
    is_deeply \@got, [[DONE]], 'it waits for the connection';
    is_deeply committed($mock), ['a'], 'and commits';
};

subtest 'work that dies is aborted' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my $errors;
    my ($result, $error) = run_it($kafka, sub { $errors = write_out($kafka, 'a'); die "no more\n" });
    is $result, undef, 'there is no result';
    is $error, "no more\n", 'the error is what it died of';
    is_deeply $errors, ['transaction aborted'], 'the callbacks of its messages are called';
    is_deeply committed($mock), [], 'nothing is there';
    my $why = { code => 5 };
    (undef, $error) = run_it($kafka, sub { die $why });
    is $error, $why, 'an object comes as it is';
    is_deeply [run_it($kafka, sub { write_out($kafka, 'b'); return })], [DONE], 'the next one';
    is_deeply committed($mock), ['b'], 'is committed';
};

subtest 'without a callback' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $kafka->transaction(sub { die "no more\n" });
    wait_until { errors($kafka) } 'on_error';
    is_deeply [errors($kafka)], ["transaction: no more\n"], 'on_error hears of an abort';
};

subtest 'work that takes its time' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my $timer;
    my $later = sub {
        my ($done, @error) = @_;
        write_out($kafka, 'a');
        $timer = EV::timer 0.01, 0, sub { write_out($kafka, 'b'); $done->(@error); $done->('once more') };
        return 'nothing to wait for';
    };
    is_deeply [run_it($kafka, $later, { async => 1 })], [DONE], 'it is committed when the work says so';
    is_deeply committed($mock), [qw(a b)], 'with all of it';
    my (undef, $error) = run_it($kafka, sub { $later->(@_, 'not today') }, { async => 1 });
    is $error, 'not today', 'and aborted when it says that';
    is_deeply committed($mock), [qw(a b)], 'nothing more is there';
    (undef, $error) = run_it($kafka, sub { die "at once\n" }, { async => 1 });
    is $error, "at once\n", 'or when it dies before';
};

subtest 'work that returns a promise' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my $timer;
    my $condvar = sub {
        my @end = @_;
        my $promise = AnyEvent->condvar;
        $timer = EV::timer 0.01, 0, sub { write_out($kafka, 'b') if !@end; @end ? $promise->croak(@end) : $promise->send };
        return $promise;
    };
    is_deeply [run_it($kafka, sub { $condvar->() })], [DONE], 'a condvar is waited for';
    is_deeply committed($mock), ['b'], 'with what is produced meanwhile';
    my (undef, $error) = run_it($kafka, sub { $condvar->('it broke') });
    like $error, qr/^it broke/, 'its croak aborts';
};

subtest 'a message that fails' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $mock->fault(api => 'Produce', topic => 'out', error => 10);
    my ($result, $error) = run_it($kafka, sub { write_out($kafka, 'a'); return });
    is $result, undef, 'no result';
    like $error, qr/MESSAGE_TOO_LARGE.*: the transaction was aborted$/, 'the error is why, and that it is over';
    is_deeply [run_it($kafka, sub { write_out($kafka, 'b'); return })], [DONE], 'the next one is committed';
    is_deeply committed($mock), ['b'], 'alone';
};

for my $case (['has happened', 1, DONE], ['has not happened', 0, undef]) {
    my ($what, $is_applied, @end) = @$case;
    subtest "a commit that nobody answers and that $what" => sub {
        my $mock  = cluster();
        my $kafka = producer($mock, delivery_timeout => 0.5, request_timeout => 0.3, on_notice => sub { });
        $mock->fault(api => 'EndTxn', drop => 1, applied => $is_applied, times => undef);
        my @got;
        $kafka->transaction(sub { write_out($kafka, 'a'); return }, sub { push @got, [@_] });
        wait_until { Inside::transaction_state($kafka) eq 'aborting' } 'that it gives up';
        $mock->clear_faults;
        wait_until { @got } 'the callback';
        $is_applied ? is_deeply($got[0], \@end, 'is told of as committed') : like($got[0][1], qr/: the transaction was aborted$/, 'is told of as aborted');
        is_deeply committed($mock), [$is_applied ? 'a' : ()], 'as it is';
        is_deeply [run_it($kafka, sub { write_out($kafka, 'b'); return })], [DONE], 'the next one';
        is_deeply committed($mock), [$is_applied ? 'a' : (), 'b'], 'is committed';
    };
}

subtest 'a producer that is fenced' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    is_deeply [run_it($kafka, sub { write_out($kafka, 'a'); return })], [DONE], 'a first one';
    my $other = producer($mock);
    my ($result, $error) = run_it($kafka, sub { write_out($kafka, 'b'); return });
    like $error, qr/PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/, 'the callback hears of it';
    eval { $kafka->transaction(sub { }) };
    like $@, qr/^transaction: .*only a new client can go on/, 'another one croaks';
};

subtest 'what is misused' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my @croaks = (
        [[]                                  => qr/^transaction: the work must be a code reference/],
        [['work']                            => qr/^transaction: the work must be a code reference/],
        [[sub { }, 'cb']                     => qr/^transaction: the callback must be a code reference/],
        [[sub { }, 'how', sub { }]           => qr/^transaction: the options must be a hash reference/],
        [[sub { }, { asinc => 1 }, sub { }]  => qr/^transaction: unknown option 'asinc' \(did you mean 'async'\?\)/],
    );
    for my $case (@croaks) {
        my ($arguments, $text) = @$case;
        eval { $kafka->transaction(@$arguments) };
        like $@, $text, $text;
    }
    my @died;
    my ($result, $error) = run_it($kafka, sub {
        for my $method (qw(commit_transaction abort_transaction begin_transaction)) {
            eval { $kafka->$method };
            push @died, $@;
        }
        eval { $kafka->transaction(sub { }) };
        push @died, $@;
        return;
    });
    like $died[0], qr/^commit_transaction: transaction\(\) ends this one/, 'commit within the work';
    like $died[1], qr/^abort_transaction: transaction\(\) ends this one/,  'abort within the work';
    like $died[2], qr/^begin_transaction: the last transaction\(\) has not ended/, 'begin within the work';
    like $died[3], qr/^transaction: the last transaction\(\) has not ended/, 'another one within the work';
    is $error, undef, 'none of them changes anything';
    my $plain = connected(brokers => $mock->bootstrap);
    eval { $plain->transaction(sub { }) };
    like $@, qr/^transaction: give new the option 'transactional_id'/, 'without a transactional id';
};

subtest 'close meanwhile' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my (@got, $done);
    $kafka->transaction(sub { ($done) = @_; write_out($kafka, 'a') }, { async => 1 }, sub { push @got, [@_] });
    wait_until { $done } 'the work';
    $kafka->close;
    is_deeply \@got, [[undef, 'client closed']], 'the callback is called';
    $done->();
    turns;
    is @got, 1, 'once';
    $kafka = producer($mock);
    @got = ();
    $kafka->transaction(sub { $kafka->close; return }, sub { push @got, [@_] });
    wait_until { @got } 'the callback of one whose work closes the client';
    is_deeply \@got, [[undef, 'client closed']], 'is called';
};

subtest 'with a group its offsets go along' => sub {
    my $mock = cluster();
    $mock->append(in => 0, map { { value => "v$_" } } 1 .. 3);
    my ($kafka, @batches, $step);
    my $fails = 1;
    $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x', on_message => sub { push @batches, $_[4]; $kafka->produce(out => undef, $_[4]) });
    my @ends;
    $step = sub {
        my ($done, $timer);
        @batches = ();
        $kafka->transaction(sub {
            ($done) = @_;
            $timer = EV::timer 0, 0.01, sub {
                return if @batches < 3;
                undef $timer;
                $done->($fails-- > 0 ? 'not this time' : ());
            };
        }, { async => 1 }, sub { push @ends, $_[1]; $step->() if @ends < 2 });
    };
    $kafka->connect(sub { $step->(); $kafka->subscribe('in', group_id => 'g', auto_commit => 0, auto_offset_reset => 'earliest') });
    wait_until { @ends == 2 } 'two transactions';
    undef $step;
    is_deeply \@ends, ['not this time', undef], 'one is aborted, one committed';
    is_deeply committed($mock), [qw(v1 v2 v3)], 'what was delivered comes again after the abort, and is written once';
    is_deeply offset_of($mock), ['in:0=3', 'in:1=0'], 'the offset is committed with it';
};

subtest 'of a group that is joined meanwhile, too' => sub {
    for my $where ('before the work', 'within the work') {
        my $mock = cluster();
        $mock->append(in => 0, map { { value => "v$_" } } 1 .. 3);
        my ($kafka, $done, @got);
        my $values    = 0;
        my $subscribe = sub { $kafka->subscribe('in', group_id => 'g', auto_commit => 0, auto_offset_reset => 'earliest') };
        $kafka = producer($mock, on_message => sub { $kafka->produce(out => undef, $_[4]); $values++ });
        $kafka->transaction(sub { ($done) = @_; $subscribe->() if $where eq 'within the work' }, { async => 1 }, sub { push @got, [@_] });
        $subscribe->() if $where eq 'before the work';
        wait_until { $values == 3 } 'records';
        $done->();
        wait_until { @got } 'the end';
        is_deeply \@got, [[DONE]], "subscribed $where: committed";
        is_deeply offset_of($mock), ['in:0=3', 'in:1=0'], 'with the offset';
    }
};

done_testing;
