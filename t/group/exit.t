use v5.14;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka::Mock;
use POSIX ();
use Test::More;

use EV::Kafka;
use GroupTest qw(committed_in filled);
use TestKafka qw(wait_until turns);

# Programs that end without close: each is a process of its own, its cluster lives in this one.

# What all of them begin with: a member of 'g' that is told how to end.
my $PRELUDE = <<'PROGRAM';
use v5.14;
use warnings;
use EV;
use EV::Kafka;
use Time::HiRes ();
$| = 1;
our (%subscribe, %new, $kafka, $n);
sub start {
    my ($on_message) = @_;
    $kafka = EV::Kafka->new(brokers => $ENV{BROKERS}, $new{on_batch} ? () : (on_message => sub { $n++; $on_message->(@_) if $on_message }), %new);
    $kafka->connect(sub {
        $kafka->subscribe('t', group_id => 'g', heartbeat_interval => 0.05, on_revoke => sub { print "on_revoke\n" }, %subscribe);
    });
}
PROGRAM

# Runs such a program -> exit status and what it has printed.
sub program {
    my ($mock, $code) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        open STDOUT, '>&', $writer or POSIX::_exit(99);
        open STDERR, '>&', $writer or POSIX::_exit(99);
        $ENV{BROKERS} = $mock->bootstrap;
        exec $^X, (map {"-I$_"} grep { !ref } @INC), '-e', $PRELUDE . $code or POSIX::_exit(99);
    }
    close $writer;
    my ($output, $ended, $status) = ('');
    my $child   = EV::child $pid, 0, sub { $status = $_[0]->rstatus };
    my $reading = EV::io $reader, EV::READ, sub { $ended = 1 unless sysread $reader, $output, 65536, length $output };
    wait_until { $ended && defined $status } 'the end of the program' or kill KILL => $pid;
    return ($status, $output);
}

sub members { my ($mock) = @_; return scalar @{ ($mock->group('g') || { members => [] })->{members} } }

for my $case (
    ['exit in on_message'         => 'start(sub { exit 3 if $n == 7 }); EV::run;',                          3 << 8, 6],
    ['exit in on_message that has stopped' => 'start(sub { if ($n == 7) { $kafka->stop_consuming; exit 3 } }); EV::run;',  3 << 8, 6],
    ['exit in on_batch'           => '$new{on_batch} = sub { exit 0 }; start(); EV::run;',                  0,      0],
    ['EV::break'                  => 'start(sub { EV::break if $n == 7 }); EV::run; exit 4;',               4 << 8, 10],
    ['die after the loop'         => q(start(sub { EV::break if $n == 10 }); EV::run; open STDERR, '>', '/dev/null'; $! = 5; die;), 5 << 8, 10],
    ['exit in a timer of its own' => 'my $t; start(sub { $t ||= EV::timer 0.1, 0, sub { exit } }); EV::run;', 0,    10],
    ['exit in a loop in a handler' => 'start(sub { if ($n == 7) { my $t = EV::timer 0.1, 0, sub { exit }; EV::run } }); EV::run;', 0, 6],
) {
    my ($name, $code, $status, $handled) = @$case;
    for my $protocol (qw(classic consumer)) {
        for my $interval (0, 60) {
            subtest "$name, auto_commit_interval $interval, $protocol" => sub {
                my $mock = filled(1, 10, consumer_heartbeat_interval_ms => 30);
                my @ended = program($mock, "\%subscribe = (auto_commit_interval => $interval, group_protocol => '$protocol'); $code");
                is_deeply \@ended, [$status, ''], 'the exit status is the program\'s, and nobody is called';
                is members($mock), 0, 'the member has left';
                is_deeply committed_in($mock), $interval ? { 't:0' => $handled } : {},
                    $interval ? 'what its handler has returned from is committed' : 'nothing is committed unasked';
            };
        }
    }
}

subtest 'a static member stays one' => sub {
    my $mock = filled(1, 10);
    program($mock, q(%subscribe = (group_instance_id => 'one', auto_commit_interval => 60); start(sub { exit if $n == 10 }); EV::run;));
    is members($mock), 1, 'its place is kept';
    is_deeply committed_in($mock), { 't:0' => 9 }, 'its positions are committed';
    is $mock->request_count('LeaveGroup'), 0, 'it has not left';
};

subtest 'after close, and in a child of fork' => sub {
    my $mock = filled(1, 10);
    my ($status) = program($mock, <<'PROGRAM');
%subscribe = (auto_commit_interval => 60);
start(sub {
    return unless $n == 10;
    my $pid = fork;
    exit unless $pid;
    waitpid $pid, 0;
    EV::break;
});
EV::run;
my $t = EV::timer 0.3, 0, sub { EV::break };
EV::run;
kill KILL => $$;
PROGRAM
    is $status, 9, 'the parent is killed';
    is members($mock), 1, 'the child has not ended the membership';
    is_deeply committed_in($mock), {}, 'nor committed';

    $mock = filled(1, 10);
    ($status) = program($mock, 'start(sub { $kafka->unsubscribe(sub { $kafka->close; exit }) if $n == 10 }); EV::run;');
    is $mock->request_count('LeaveGroup'), 1, 'who has left and closed says nothing more';
    is_deeply committed_in($mock), { 't:0' => 10 }, 'what it has committed stays';
};

subtest 'a client that goes with the call that exit leaves' => sub {
    my $mock = filled(1, 10);
    program($mock, <<'PROGRAM');
sub main {
    my $kafka = EV::Kafka->new(brokers => $ENV{BROKERS}, on_message => sub { exit if ++$n == 7 });
    $kafka->connect(sub { $_[0]; });
    $kafka->subscribe('t', group_id => 'g', auto_commit_interval => 60);
    EV::run;
}
main();
PROGRAM
    wait_until { !members($mock) } 'the coordinator to hear of it';
    is_deeply committed_in($mock), { 't:0' => 6 }, 'the record in hand is not done';
};

subtest 'a coordinator that does not answer' => sub {
    my $mock = filled(1, 10);
    $mock->fault(api => $_, hang => 1, times => undef) for qw(OffsetCommit LeaveGroup);
    my ($status, $output) = program($mock, <<'PROGRAM');
END { printf "%.1f\n", Time::HiRes::time() - our $begun }
BEGIN { require EV::Kafka::Farewell }
%subscribe = (auto_commit_interval => 60);
start(sub { exit 2 if $n == 10 });
EV::run;
PROGRAM
    is $status, 2 << 8, 'holds nobody up for long';
};

subtest 'a cluster in the same process, which nobody serves any more' => sub {
    my ($status, $output) = program(filled(1, 1), <<'PROGRAM');
use EV::Kafka::Mock;
our $mock = EV::Kafka::Mock->new;
$mock->create_topic(t => 1);
$mock->append(t => 0, { value => 'v' });
$ENV{BROKERS} = $mock->bootstrap;
{
    no warnings 'redefine';
    *EV::Loop::run = sub { print "waits\n"; exit };
}
start(sub { exit });
EV::run;
PROGRAM
    is_deeply [$status, $output], [0, ''], 'is not waited for';
};

subtest 'what the program has beside it is not touched' => sub {
    my $mock = filled(1, 10);
    $mock->fault(api => 'LeaveGroup', delay_ms => 300);
    my ($status, $output) = program($mock, <<'PROGRAM');
%subscribe = (auto_commit_interval => 60, on_lost => sub { print "on_lost\n" });
%new = (on_error => sub { print "on_error\n" }, on_notice => sub { print "on_notice\n" });
my @own = (EV::timer(0.05, 0.05, sub { print "timer\n" if our $ends }), EV::idle(sub { print "idle\n" if our $ends }));
start(sub { if ($n == 10) { our $ends = 1; exit } });
EV::run;
PROGRAM
    is_deeply [$status, $output], [0, ''], 'none of its watchers and callbacks runs';
    is members($mock), 0, 'the member has left';
};

done_testing;
