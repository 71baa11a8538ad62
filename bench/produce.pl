#!/usr/bin/env perl

=head1 NAME

produce.pl - messages per second and CPU per message, EV::Kafka beside librdkafka in C

=head1 SYNOPSIS

  perl bench/produce.pl
  KAFKA_BROKER=host:port BENCH_MESSAGES=1000000 perl bench/produce.pl

=head1 DESCRIPTION

Produces BENCH_MESSAGES (300000) messages of BENCH_VALUE_SIZE (100) bytes with a
short key to BENCH_PARTITIONS (4) partitions, BENCH_ROUNDS (5) times in turn by
each contestant, every run a process of its own on a fresh topic, with
BENCH_ACKS (1), BENCH_LINGER_MS (5) and BENCH_BATCH_SIZE (1000000) for all. The
last line shows EV::Kafka with its own default settings. Without KAFKA_BROKER
(or BENCH_BROKER) it starts a Kafka by itself.

The figures are medians. CPU is what the client's process used, all threads,
user and system. The ratios are to the C program F<bench/rdkafka_bench.c>, which
has one delivery callback a message.

=cut

use v5.14;
use warnings;

use EV;
use File::Basename qw(dirname);
use JSON::PP ();
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV::Kafka;
use KafkaBench;

# librdkafka's own bound on messages that are not yet delivered.
my $BOUND = 100_000;

# Freeing a closure costs perl more the more of them there are.
my $CLOSURE_BOUND = 2_000;

# How many messages one turn of the event loop produces.
my $SLICE = 1_000;

my %MODE = (none => \&without_callback, shared => \&shared_callback, closure => \&fresh_closures);

if (@ARGV && $ARGV[0] eq '--one') { one(@ARGV[1 .. $#ARGV]) }
else                              { race() }

sub race {
    my $brokers   = brokers();
    my $yardstick = yardstick();
    my %equal     = (
        acks       => setting('ACKS'),
        linger_ms  => setting('LINGER_MS'),
        batch_size => setting('BATCH_SIZE'),
    );
    my $ours = sub {
        my ($mode, %option) = @_;
        my @arguments = ($0, '--one', $mode, $brokers);
        return sub {
            my $topic  = new_topic();
            my $result = run_json($^X, @arguments, $topic, %option);
            drop_topic($topic);
            return $result;
        };
    };
    my @contestants;
    push @contestants, ['librdkafka in C, one callback' => sub {
        my $topic  = new_topic();
        my $result = run_json($yardstick, 'produce', $brokers, $topic, setting('MESSAGES'), setting('VALUE_SIZE'),
            "acks=$equal{acks}", "linger.ms=$equal{linger_ms}", "batch.size=$equal{batch_size}");
        drop_topic($topic);
        return $result;
    }] if $yardstick;
    push @contestants,
        ['EV::Kafka, no callback'                           => $ours->(none    => %equal)],
        ['EV::Kafka, one shared callback'                   => $ours->(shared  => %equal)],
        ["EV::Kafka, fresh closures, <= $CLOSURE_BOUND out" => $ours->(closure => %equal)],
        ['EV::Kafka, shared callback, default options'      => $ours->('shared')];

    my $median = rounds(@contestants);
    printf "produce: %d messages of %d bytes, %d partitions, acks %s, linger %s ms, batches of %s bytes\n",
        map { setting($_) } qw(MESSAGES VALUE_SIZE PARTITIONS ACKS LINGER_MS BATCH_SIZE);
    table($median, [map { $_->[0] } @contestants], 'librdkafka in C, one callback');
}

# One run in this process; prints JSON.
sub one {
    my ($mode, $brokers, $topic, %option) = @_;
    my $kafka = EV::Kafka->new(brokers => $brokers, on_error => sub { die "@_\n" }, %option);
    await(sub { $kafka->connect(@_) });

    # Routed before the clock starts, like the other side of the race.
    my ($result, $error) = await(sub { $kafka->produce($topic, 'k', 'routed', @_) });
    die "$error\n" if defined $error;

    my $messages = setting('MESSAGES');
    my $watch    = stopwatch();
    my $failed   = $MODE{$mode}->($kafka, $topic, 'v' x setting('VALUE_SIZE'), $messages);
    my ($wall, $cpu) = $watch->();
    die "$failed messages failed\n" if $failed;
    print JSON::PP->new->encode({
        msg_s  => $messages / $wall,
        cpu_us => $cpu / $messages * 1e6,
    }), "\n";
}

sub without_callback {
    my ($kafka, $topic, $value, $messages) = @_;
    my $next = 0;
    await(sub {
        my ($done) = @_;
        state $turn;
        $turn = EV::idle sub {
            my $end = $next + $SLICE;
            $end = $messages if $end > $messages;
            for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value) }
            if ($next == $messages) { undef $turn; $done->() }
        };
    });
    my $error = await(sub { $kafka->flush(@_) });
    return defined $error ? $messages : 0;
}

sub shared_callback {
    my ($kafka, $topic, $value, $messages) = @_;
    my ($next, $answered, $failed) = (0, 0, 0);
    await(sub {
        my ($done) = @_;
        state $turn;
        my $on_delivery = sub {
            my ($result, $error) = @_;
            $failed++ if defined $error;
            $answered++;
            $done->() if $answered == $messages;
        };
        $turn = EV::idle sub {
            return if $next - $answered > $BOUND;
            my $end = $next + $SLICE;
            $end = $messages if $end > $messages;
            for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value, $on_delivery) }
            undef $turn if $next == $messages;
        };
    });
    return $failed;
}

sub fresh_closures {
    my ($kafka, $topic, $value, $messages) = @_;
    my ($next, $answered, $failed) = (0, 0, 0);
    await(sub {
        my ($done) = @_;
        my $fill;
        $fill = sub {
            my $end = $answered + $CLOSURE_BOUND;
            $end = $messages if $end > $messages;
            for (; $next < $end; $next++) {
                my $number = $next;
                $kafka->produce($topic, "k$number", $value, sub {
                    my ($result, $error) = @_;
                    $failed++ if defined $error;
                    $answered++;
                    if ($answered == $messages) { undef $fill; $done->($number) }
                    elsif ($next - $answered == $CLOSURE_BOUND / 2) { $fill->() }
                });
            }
        };
        $fill->();
    });
    return $failed;
}
