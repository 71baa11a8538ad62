#!/usr/bin/env perl

=head1 NAME

async_worker.pl - calls a service for each message, many at a time, and forgets none

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 WORKER_URL=http://127.0.0.1:8080/jobs perl eg/async_worker.pl

=head1 DESCRIPTION

A member of a group (KAFKA_GROUP_ID) that posts every message of a topic (KAFKA_TOPIC) to a service, WORKER_CALLS
(50) of them at a time. Calls end in any order. Start it several times, kill it whenever you like: each message is
posted at least once.

=over 4

=item *

C<< auto_commit => 'done' >>: only what C<done> was called for is committed, and all before it.

=item *

C<max_in_progress>: a partition that is that far ahead waits.

=item *

C<on_revoke_async>: before a partition goes to another member the calls that are under way end, so that as few as
possible are made twice.

=back

A call that fails is made again, ever more slowly. On SIGTERM and SIGINT what is under way ends, and is committed.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;
use IO::Socket::INET;

my $topic   = $ENV{KAFKA_TOPIC}    || 'ev-kafka-example';
my $group   = $ENV{KAFKA_GROUP_ID} || 'ev-kafka-example';
my $at_once = $ENV{WORKER_CALLS}   || 50;
my ($host, $port, $path) = ($ENV{WORKER_URL} || 'http://127.0.0.1:8080/') =~ m{\Ahttp://([^/:]+)(?::([0-9]+))?(/.*)?\z}
    or die "WORKER_URL is not http://HOST:PORT/PATH\n";

$| = 1;

my $calls = 0;     # under way
my $done  = 0;
my @waiting;       # jobs that no call is made for yet
my %open;          # by partition, jobs that were begun: number => job
my %leaving;       # by partition, whom to tell when none of them is left

my $kafka = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error   => sub { print STDERR "kafka: $_[0]\n" },
    on_notice  => sub { print STDERR "kafka: $_[0]\n" },
    on_message => \&message,
);

my @signals = map { EV::signal $_ => \&finish } qw(INT TERM);

$kafka->connect(sub {
    $kafka->subscribe($topic,
        group_id             => $group,
        group_protocol       => $ENV{KAFKA_GROUP_PROTOCOL} || 'classic',
        session_timeout      => 6_000,     # one that was killed is missed after 6 s
        heartbeat_interval   => 1,
        auto_commit          => 'done',
        auto_commit_interval => 1,
        max_in_progress      => $at_once,
        on_assign            => sub { print 'given: ', partitions($_[0]), "\n" },
        on_revoke_async      => \&let_go,
        on_lost              => sub { drop($_) for map { "$_->{topic}:$_->{partition}" } @{ $_[0] } },
    );
});
EV::run;
print "$done calls done\n";

sub partitions {
    my ($partitions) = @_;
    return join(', ', sort map { "$_->{topic}:$_->{partition}" } @$partitions) || 'nothing';
}

# --- jobs ---------------------------------------------------------------------------------

sub message {
    my ($topic, $partition, $offset, $key, $value) = @_;
    push @waiting, { topic => $topic, partition => $partition, offset => $offset, value => $value // '' };
    work();
}

sub work {
    while ($calls < $at_once && @waiting) {
        my $job = shift @waiting;
        $calls++;
        $open{"$job->{topic}:$job->{partition}"}{ $job->{offset} } = $job;
        attempt($job);
    }
}

sub attempt {
    my ($job) = @_;
    delete $job->{timer};
    call($job, sub {
        my ($error) = @_;
        my $place = "$job->{topic}:$job->{partition}";
        # What is to go need not be tried again here.
        if (defined $error && !$leaving{$place} && $open{$place}{ $job->{offset} }) {
            my $wait = 0.1 * 2 ** ($job->{tries}++ < 6 ? $job->{tries} : 6);
            print STDERR "$place \@ $job->{offset}: $error; again in $wait s\n";
            $job->{timer} = EV::timer $wait, 0, sub { attempt($job) };
            return;
        }
        if (!defined $error) {
            $kafka->done(@$job{qw(topic partition offset)});
            $done++;
        }
        ended($job);
    });
}

sub ended {
    my ($job) = @_;
    my $place = "$job->{topic}:$job->{partition}";
    $calls--;
    delete $job->{timer};
    delete $open{$place}{ $job->{offset} } if ($open{$place}{ $job->{offset} } || 0) == $job;
    $leaving{$place}->() if $leaving{$place} && !%{ $open{$place} };
    work();
}

# --- partitions that go -------------------------------------------------------------------

# What was not begun comes to whoever has the partition next.
sub drop {
    my ($place) = @_;
    @waiting = grep { "$_->{topic}:$_->{partition}" ne $place } @waiting;
    my $open = delete $open{$place} || {};
    # Those that would be tried again.
    ended($_) for grep { $_->{timer} } values %$open;
}

# What was begun ends first, but for what only waits for its next try.
sub let_go {
    my ($partitions, $all_gone) = @_;
    my %left = map { ("$_->{topic}:$_->{partition}" => 1) } @$partitions;
    for my $place (sort keys %left) {
        @waiting = grep { "$_->{topic}:$_->{partition}" ne $place } @waiting;
        $leaving{$place} = sub {
            delete $leaving{$place};
            delete $left{$place};
            $all_gone->() unless %left;
        };
        ended($_) for grep { $_->{timer} } values %{ $open{$place} ||= {} };
        $leaving{$place}->() if $leaving{$place} && !%{ $open{$place} };
    }
}

sub finish {
    @signals = ();
    $kafka->unsubscribe(sub {
        print STDERR "not committed: $_[0]\n" if defined $_[0];
        $kafka->close(sub { EV::break });
    });
}

# --- the service --------------------------------------------------------------------------

# One POST; $cb->($error), undef when it was answered with 200. In place of it stands the HTTP client that a
# program has anyway: all that matters here is that it does not block.
my @idle;

sub call {
    my ($job, $cb) = @_;
    my $socket = pop @idle || IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port || 80, Blocking => 0)
        or return later($cb, "no connection: $@");
    my $request = join "\r\n", "POST $path HTTP/1.1", "Host: $host", "X-Place: $job->{topic} $job->{partition} $job->{offset}",
        'Content-Length: ' . length $job->{value}, '', $job->{value};
    my $answer = '';
    my $watcher;
    my $end = sub {
        my ($error) = @_;
        undef $watcher;
        push @idle, $socket unless defined $error;
        $cb->(defined $error ? $error : $answer =~ m{\AHTTP/1\.[01] 200 } ? undef : 'answered: ' . ($answer =~ /\A([^\r\n]*)/)[0]);
    };
    $watcher = EV::io $socket, EV::READ | EV::WRITE, sub {
        if (length $request) {
            my $wrote = syswrite $socket, $request;
            return $end->("not sent: $!") if !defined $wrote && !$!{EAGAIN} && !$!{EINPROGRESS};
            substr $request, 0, $wrote || 0, '';
            $watcher->events(EV::READ) unless length $request;
            return;
        }
        my $got = sysread $socket, $answer, 65_536, length $answer;
        return if !defined $got && $!{EAGAIN};
        return $end->('the connection has ended') unless $got;
        my ($head, $length) = $answer =~ /\A((?s:.*?)\r?\nContent-Length: *([0-9]+)\r?\n(?:.+\r?\n)*\r?\n)/i or return;
        $end->() if length $answer >= length($head) + $length;
    };
}

sub later {
    my ($cb, @args) = @_;
    my $timer;
    $timer = EV::timer 0, 0, sub { undef $timer; $cb->(@args) };
}
