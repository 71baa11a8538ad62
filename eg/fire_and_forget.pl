#!/usr/bin/env perl

=head1 NAME

fire_and_forget.pl - as many messages as possible, without asking what becomes of them

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 KAFKA_COUNT=1000000 perl eg/fire_and_forget.pl

=head1 DESCRIPTION

Sends KAFKA_COUNT (100000) messages to a topic (KAFKA_TOPIC, C<ev-kafka-example> by
default) under C<< acks => 0 >> and says how fast that went. The broker answers
nothing, so what it refuses, and what is under way when it is lost, is lost without a
word: for measurements and logs of which a few may be missing.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;
use Time::HiRes qw(time);

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $count = $ENV{KAFKA_COUNT} || 100_000;

# Messages a turn of the loop, so that it gets round to writing them to the network.
my $TURN = 1000;

my $kafka = EV::Kafka->new(
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    acks     => 0,
    on_error => sub { print STDERR "kafka: $_[0]\n" },
);

my ($sent, $start, $sending) = (0);
$kafka->connect(sub {
    $start   = time;
    $sending = EV::idle \&send_some;
});
EV::run;

sub send_some {
    for (1 .. $TURN) {
        return finish() if $sent == $count;
        $kafka->produce($topic, undef, 'message ' . $sent++);
    }
}

sub finish {
    undef $sending;
    $kafka->flush(sub {
        my $seconds = time - $start;
        printf "%d messages in %.3f s: %.0f a second\n", $count, $seconds, $count / $seconds;
        $kafka->close(sub { EV::break });
    });
}
