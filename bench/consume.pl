#!/usr/bin/env perl

=head1 NAME

consume.pl - messages per second and CPU per message, EV::Kafka beside librdkafka in C

=head1 SYNOPSIS

  perl bench/consume.pl
  KAFKA_BROKER=host:port BENCH_MESSAGES=1000000 perl bench/consume.pl

=head1 DESCRIPTION

Reads one topic of BENCH_MESSAGES (300000) messages of BENCH_VALUE_SIZE (100)
bytes in BENCH_PARTITIONS (4) partitions from its beginning, BENCH_ROUNDS (5)
times in turn by each contestant, every run a process of its own. The topic is
written first, with batches of BENCH_BATCH_SIZE bytes. Without KAFKA_BROKER (or
BENCH_BROKER) it starts a Kafka by itself. A topic named by BENCH_TOPIC is read
as it is and must hold that many messages.

The figures are medians. CPU is what the client's process used, all threads,
user and system. The ratios are to the C program F<bench/rdkafka_bench.c> with
the larger queue, without which it pauses whenever its queue is full.

=cut

use v5.14;
use warnings;

use EV;
use File::Basename qw(dirname);
use JSON::PP ();
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV::Kafka;
use KafkaBench;

if (@ARGV && $ARGV[0] eq '--one') { one(@ARGV[1 .. $#ARGV]) }
else                              { race() }

sub race {
    my $brokers   = brokers();
    my $yardstick = yardstick();
    my $topic     = new_topic();
    fill($brokers, $topic) unless defined $ENV{BENCH_TOPIC};

    my $c = sub {
        my (@properties) = @_;
        return sub {
            run_json($yardstick, 'consume', $brokers, $topic, setting('MESSAGES'), setting('PARTITIONS'), @properties);
        };
    };
    my $ours = sub {
        my (%option) = @_;
        my @arguments = ($0, '--one', $brokers, $topic, %option);
        return sub { run_json($^X, @arguments) };
    };
    my @contestants;
    push @contestants,
        ['librdkafka in C, larger queue' => $c->('queued.min.messages=1000000')],
        ['librdkafka in C, its defaults' => $c->()]
        if $yardstick;
    push @contestants,
        ['EV::Kafka, assign and poll'                        => $ours->()],
        ['EV::Kafka, assign and poll, fetches of up to 8 MB' => $ours->(fetch_max_bytes => 8 << 20)];

    my $median = rounds(@contestants);
    printf "consume: %d messages of %d bytes, %d partitions\n",
        map { setting($_) } qw(MESSAGES VALUE_SIZE PARTITIONS);
    table($median, [map { $_->[0] } @contestants], 'librdkafka in C, larger queue');
    drop_topic($topic);
}

sub fill {
    my ($brokers, $topic) = @_;
    print STDERR "writing the topic ...\n";
    my $kafka = EV::Kafka->new(
        brokers    => $brokers,
        acks       => 1,
        batch_size => setting('BATCH_SIZE'),
        on_error   => sub { die "@_\n" },
    );
    await(sub { $kafka->connect(@_) });
    my $value = 'v' x setting('VALUE_SIZE');
    $kafka->produce($topic, "k$_", $value) for 1 .. setting('MESSAGES');
    my $error = await(sub { $kafka->flush(@_) });
    die "$error\n" if defined $error;
}

# One run in this process; prints JSON.
sub one {
    my ($brokers, $topic, %option) = @_;
    my $messages = setting('MESSAGES');
    my ($got, $bytes, $done) = (0, 0);
    my $kafka = EV::Kafka->new(
        brokers    => $brokers,
        on_error   => sub { die "@_\n" },
        on_message => sub {
            my ($topic, $partition, $offset, $key, $value, $headers) = @_;
            $bytes += length $value;
            $done->() if ++$got == $messages;
        },
        %option,
    );
    await(sub { $kafka->connect(@_) });

    my $watch = stopwatch();
    $kafka->assign([map { { topic => $topic, partition => $_, offset => 0 } } 0 .. setting('PARTITIONS') - 1]);
    my ($turn, $poll);
    $poll = sub { $kafka->poll(sub { $turn = EV::timer 0, 0, $poll if $poll }) };
    await(sub { ($done) = @_; $poll->() });
    my ($wall, $cpu) = $watch->();
    undef $poll;
    die "every value was empty\n" unless $bytes;
    print JSON::PP->new->encode({
        msg_s  => $got / $wall,
        cpu_us => $cpu / $got * 1e6,
    }), "\n";
}
