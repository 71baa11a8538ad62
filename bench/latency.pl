#!/usr/bin/env perl

=head1 NAME

latency.pl - time of a round trip with EV::Kafka::Conn, beside a bare socket

=head1 SYNOPSIS

  perl bench/latency.pl
  KAFKA_BROKER=host:port BENCH_MESSAGES=50000 perl bench/latency.pl

=head1 DESCRIPTION

Produces BENCH_MESSAGES (20000) messages of BENCH_VALUE_SIZE (100) bytes to one
partition with C<acks> 1, each after the one before it was answered, and as many
with a socket and an L<EV> watcher that send the very same bytes and read the
answer without looking at it. Both make the same system calls: one to send, one to
wait, one to read. The two take turns, one message each, so that whatever the broker
and the machine do meets both. A tenth more of messages comes first and does not
count; a broker that has just been started takes more than that to become fast, so
let it warm up, or run this twice.

The time of a round trip begins before C<produce> is called, or the bytes are
written, and ends in the callback. The last column, the difference of the other two,
is what EV::Kafka::Conn adds: encoding, checksum, matching, decoding, the result. It
is all code that the processor has not seen for the length of a round trip; on a
machine that is busy with other things its caches have forgotten it. Beside min,
average and max stand the median and the percentiles 90, 95 and 99; of min, max and
the 99th percentile mostly the scheduler decides.

Without KAFKA_BROKER (or BENCH_BROKER) it starts a Kafka by itself. BENCH_TOPIC
names a topic to use instead of a fresh one.

=cut

use v5.14;
use warnings;

use EV;
use File::Basename qw(dirname);
use IO::Socket::IP;
use POSIX  qw(floor);
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV::Kafka;
use KafkaBench;
use KafkaBench::Broker;
use KafkaBench::Connection;

help() if grep { $_ eq '--help' } @ARGV;
my $MESSAGES = $ENV{BENCH_MESSAGES} // 20_000;
my $WARM_UP  = int($MESSAGES / 10);
my $KEY      = 'key';
my $VALUE    = 'v' x setting('VALUE_SIZE');

my $topic = new_topic();
my ($host, $port) = leader(brokers(), $topic);
my $conn  = connection($host, $port);
my $bytes = request_bytes($conn->api_versions);
settled($conn, $topic);

my @turns = (kafka_turn($conn), bare_turn($host, $port, $bytes));
my @times = ([], []);
for my $number (1 .. $WARM_UP + $MESSAGES) {
    for my $side (0, 1) {
        my $time = $turns[$side]->();
        push @{ $times[$side] }, $time if $number > $WARM_UP;
    }
}
drop_topic($topic);
report(@times);

sub send_message {
    my ($conn, $on_answer) = @_;
    return $conn->produce($topic, 0, $KEY, $VALUE, { acks => 1 }, $on_answer);
}

# The bytes that a connection sends for one message to a broker of these versions.
sub request_bytes {
    my ($versions) = @_;
    my $listener = IO::Socket::IP->new(LocalHost => '127.0.0.1', Listen => 1) or die "listen: $@\n";
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->on_connect(sub { send_message($conn, sub { }) });
    $conn->connect('127.0.0.1', $listener->sockport, 10);

    # Its own end is not ready before the loop runs, the listening one is.
    my ($peer, $reading, $in) = (undef, undef, '');
    my $accepting = EV::io $listener, EV::READ, sub {
        $peer = $listener->accept or return;
        $reading = EV::io $peer, EV::READ, sub {
            sysread $peer, $in, 1 << 20, length $in or give_up('the connection was closed');
            EV::break;
        };
    };
    my $next = sub {
        EV::run until length $in >= 4 && length $in >= 4 + unpack 'N', $in;
        return $in =~ s/\A(.{4}.{${\ unpack 'N', $in}})//s ? $1 : die;
    };
    my ($api_versions_id) = unpack 'x8 N', $next->();
    my $ranges = pack 'n N', 0, scalar keys %$versions;
    $ranges .= pack 'n3', $_, 0, $versions->{$_} for sort { $a <=> $b } keys %$versions;
    syswrite $peer, pack 'N/a*', pack('N', $api_versions_id) . $ranges;
    return $next->();
}

# Both give a sub that sends one message, waits for the answer, and returns the
# seconds between.
sub kafka_turn {
    my ($conn) = @_;
    my ($error, $end);
    my $on_answer = sub {
        $end = clock_gettime(CLOCK_MONOTONIC);
        (my $result, $error) = @_;
        my $code = $result && $result->{topics}[0]{partitions}[0]{error_code};
        $error //= EV::Kafka::_error_name($code) if $code;
        EV::break;
    };
    return sub {
        my $start = clock_gettime(CLOCK_MONOTONIC);
        $conn->produce($topic, 0, $KEY, $VALUE, $on_answer);
        EV::run;
        die "produce: $error\n" if defined $error;
        return $end - $start;
    };
}

sub bare_turn {
    my ($host, $port, $bytes) = @_;
    my $socket = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port) or die "$host:$port: $@\n";
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1 or die "TCP_NODELAY: $!\n";
    $socket->blocking(0);
    my ($in, $end) = ('');

    # As long as the program.
    state $reading = EV::io $socket, EV::READ, sub {
        my $got = sysread $socket, $in, 65536, length $in;
        give_up("$host:$port: connection closed by broker") if defined $got && !$got;
        return if length $in < 4 || length $in < 4 + unpack 'N', $in;
        $end = clock_gettime(CLOCK_MONOTONIC);
        $in  = '';
        EV::break;
    };
    return sub {
        my $start = clock_gettime(CLOCK_MONOTONIC);
        my $wrote = syswrite $socket, $bytes;
        die "$host:$port: not written\n" unless $wrote && $wrote == length $bytes;
        EV::run;
        return $end - $start;
    };
}

sub figures {
    my @sorted = sort { $a <=> $b } @_;
    my $sum = 0;
    $sum += $_ for @sorted;
    my $at = sub { $sorted[floor($_[0] * $#sorted + 0.5)] };
    return (
        min    => $sorted[0],
        avg    => $sum / @sorted,
        median => $at->(0.5),
        p90    => $at->(0.90),
        p95    => $at->(0.95),
        p99    => $at->(0.99),
        max    => $sorted[-1],
    );
}

sub report {
    my ($kafka, $bare) = @_;
    my %kafka = figures(@$kafka);
    my %bare  = figures(@$bare);
    printf "latency: %d round trips each, one message of %d bytes, acks 1, microseconds\n",
        scalar @$kafka, length $VALUE;
    printf "%-8s %16s %12s %10s\n", '', 'EV::Kafka::Conn', 'bare socket', 'overhead';
    printf "%-8s %16.1f %12.1f %10.1f\n", $_, map { 1e6 * $_ } $kafka{$_}, $bare{$_}, $kafka{$_} - $bare{$_}
        for qw(min avg median p90 p95 p99 max);
}
