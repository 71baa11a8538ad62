use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use POSIX ();
use Time::HiRes ();
use TestKafka;

# Handlers that block for longer than a request may take: what was asked before them has
# not waited for its answer meanwhile.

use constant { TIMEOUT => 1, WAIT_MS => 10 };

# Brokers that answer while this process blocks: in a process of their own.
sub brokers_elsewhere {
    pipe my $reader, my $writer or die "pipe: $!";
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        EV::default_loop->loop_fork;
        my $mock = EV::Kafka::Mock->new(brokers => 2);
        $mock->create_topic(t => 4);
        for my $value (qw(a b)) { $mock->append(t => $_, { value => $value }) for 0 .. 3 }
        syswrite $writer, $mock->bootstrap . "\n";
        my $end = EV::timer 60, 0, sub { EV::break };
        EV::run;
        POSIX::_exit(0);
    }
    close $writer;
    chomp(my $bootstrap = readline $reader);
    return ($pid, $bootstrap);
}

for my $case ([on_message => 'group'], [on_batch => 'assign']) {
    my ($handler, $how) = @$case;
    subtest "$handler, $how" => sub {
        my ($pid, $bootstrap) = brokers_elsewhere();
        my (%received, @noise);
        my $each = sub {
            my ($partition, $offset) = @_;
            $received{"$partition:$offset"}++;
            Time::HiRes::sleep(1.5 * TIMEOUT) if $offset == 0 && $partition < 2;
        };
        my $kafka = connected(brokers => $bootstrap, request_timeout => TIMEOUT, fetch_max_wait_ms => WAIT_MS,
            on_notice => sub { push @noise, $_[0] },
            $handler => $handler eq 'on_message'
                ? sub { $each->(@_[1, 2]) }
                : sub { my (undef, $partition, $rows) = @_; $each->($partition, $_->[0]) for @$rows });
        if ($how eq 'group') { $kafka->subscribe('t', group_id => 'g', session_timeout => 10_000) }
        else {
            $kafka->assign([map { { topic => 't', partition => $_ } } 0 .. 3]);
            $kafka->consume;
        }
        wait_until { keys %received == 8 } 'all records';
        my $asked;
        $kafka->offsets_for('t', sub { $asked = 1 });
        wait_until { $asked } 'another answer';
        is scalar(grep { $_ > 1 } values %received), 0, 'nothing comes twice';
        is_deeply [errors($kafka), @noise], [], 'and nothing is called late';
        $kafka->close;
        kill TERM => $pid;
        waitpid $pid, 0;
    };
}

subtest 'answers of several brokers in one turn of the loop' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 4);
    $mock->create_topic(t => 4);
    $mock->append(t => $_, { value => 'a' }) for 0 .. 3;
    my (@turns, $turns);
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message => sub {
        push @turns, $turns;
        Time::HiRes::sleep(0.02);
    });
    my $turning = EV::timer 0, 0.001, sub { $turns++ };
    $kafka->assign([map { { topic => 't', partition => $_ } } 0 .. 3]);
    $kafka->consume;
    wait_until { @turns == 4 } 'all records';
    is_deeply [grep { $turns[$_] == $turns[$_ - 1] } 1 .. 3], [], 'the loop turns between slow handlers all the same';
};

done_testing;
