#!/usr/bin/env perl

=head1 NAME

delivery.pl - how long a message takes from produce to on_message on an idle topic

=head1 SYNOPSIS

  perl bench/delivery.pl
  KAFKA_BROKER=host:port BENCH_MESSAGES=5000 perl bench/delivery.pl

=head1 DESCRIPTION

Produces one message, waits until a consumer has it, and produces the next one after a pause
of 0 to 2 ms, so that nobody is busy with the one before. The clock runs from the call of
C<produce>, under C<linger_ms> 0 and C<acks> 1, to the arrival: in C<on_message> of a second
EV::Kafka client in this process, which polls without end, and beside it in a pipe from
F<kcat -C -u> (librdkafka in C), which is left out where there is none. They take turns,
BENCH_ROUNDS (5) times, with BENCH_MESSAGES (1000) messages each. Printed are the median and
the 99th percentile of all of them, in microseconds. Without KAFKA_BROKER (or BENCH_BROKER) a
Kafka is started.

=cut

use v5.14;
use warnings;

use EV;
use File::Basename qw(dirname);
use IPC::Open2     qw(open2);
use Time::HiRes    qw(clock_gettime CLOCK_MONOTONIC);
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV::Kafka;
use KafkaBench;
use KafkaBench::Broker;

use constant {
    WARM_UP   => 100,     # messages before any counts
    MAX_PAUSE => 0.002,
};

help() if grep { $_ eq '--help' } @ARGV;
my $messages = $ENV{BENCH_MESSAGES} // 1000;
my $brokers  = brokers();
my $topic    = new_topic();
my $arrived  = sub { };

my $producer = EV::Kafka->new(brokers => $brokers, linger_ms => 0, acks => 1, on_error => \&give_up);
await(sub { $producer->connect(@_) });

my %contestant = ('EV::Kafka, on_message' => ours());
if (my $theirs = kcat()) { $contestant{'kcat'} = $theirs }
else                     { print STDERR "no kcat (Debian: apt-get install kcat): only EV::Kafka is measured\n" }

my %times;
for my $round (1 .. setting('ROUNDS')) {
    print STDERR "round $round of ", setting('ROUNDS'), "\n";
    for my $name (sort keys %contestant) {
        my $stop = $contestant{$name}->();
        # The consumer is there when a message of its own comes.
        one() for 1 .. WARM_UP;
        push @{ $times{$name} }, one() for 1 .. $messages;
        $stop->();
    }
}
$producer->close;
printf "%-24s %10s %10s   (us from produce to arrival, %d messages)\n",
    q(), "median", "p99", $messages * setting("ROUNDS");
for my $name (sort keys %times) {
    my @sorted = sort { $a <=> $b } @{ $times{$name} };
    printf "%-24s %10.0f %10.0f\n", $name, map { 1e6 * $sorted[$_ * @sorted] } 0.5, 0.99;
}
drop_topic($topic);

# Seconds from produce to arrival of one message.
sub one {
    my ($from, $pause);
    my ($to) = await(sub {
        my ($done) = @_;
        $pause = EV::timer rand MAX_PAUSE, 0, sub {
            $arrived = sub { $done->(clock_gettime(CLOCK_MONOTONIC)) };
            $from = clock_gettime(CLOCK_MONOTONIC);
            $producer->produce($topic, undef, 'm', { partition => 0 });
        };
    });
    return $to - $from;
}

# Each of these starts a consumer at the topic's end, and gives what ends it.
sub ours {
    return sub {
        my $kafka = EV::Kafka->new(brokers => $brokers, on_error => \&give_up, on_message => sub { $arrived->() });
        await(sub { $kafka->connect(@_) });
        $kafka->assign([{ topic => $topic, partition => 0, offset => 0 }]);
        await(sub { $kafka->seek($topic, 0, -1, @_) });
        my $poll;
        $poll = sub { $kafka->poll($poll) if $poll };
        $poll->();
        return sub { undef $poll; $kafka->close };
    };
}

sub kcat {
    my ($program) = grep { -x } map { ("$_/kcat", "$_/kafkacat") } split /:/, $ENV{PATH} or return;
    return sub {
        my $pid = open2(my $out, my $in, $program, '-C', '-u', '-q', '-b', $brokers,
            '-t', $topic, '-p', 0, '-o', 'end', '-f', '%o\n');
        $out->blocking(0);
        my $reading = EV::io $out, EV::READ, sub {
            my $got = sysread $out, my $lines, 4096;
            give_up('kcat has ended') if defined $got && !$got;
            $arrived->() if $got;
        };
        # It says nothing when it has found the topic's end: messages until one comes.
        my $probe = EV::timer 0, 0.1, sub { $producer->produce($topic, undef, 'm', { partition => 0 }) };
        await(sub { my ($done) = @_; $arrived = sub { $done->() } });
        undef $probe;
        drain();
        return sub { undef $reading; kill TERM => $pid; waitpid $pid, 0 };
    };
}

# What is still under way from before does not count.
sub drain {
    my $quiet;
    await(sub {
        my ($done) = @_;
        $quiet   = EV::timer 0.3, 0, sub { $done->() };
        $arrived = sub { $quiet->set(0.3, 0); $quiet->start };
    });
}
