#!/usr/bin/env perl

=head1 NAME

tail.pl - what is written to a topic from now on

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/tail.pl

=head1 DESCRIPTION

Prints the messages that come to a topic (KAFKA_TOPIC, C<ev-kafka-example> by default)
after the start, with the time at which they were produced, until it has seen
KAFKA_LIMIT of them or is interrupted.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;
use POSIX qw(strftime);

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $limit = $ENV{KAFKA_LIMIT} || 9**15;

$| = 1;

my $seen = 0;
my $kafka = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error   => sub { print STDERR "kafka: $_[0]\n" },
    on_message => \&message,

    # The broker answers as soon as there is something, so waiting costs no time.
    fetch_max_wait_ms => 5000,
);

my $interrupt = EV::signal INT => \&finish;

$kafka->connect(sub {
    $kafka->offsets_for($topic, sub {
        my ($offsets, $error) = @_;
        if (defined $error) {
            print STDERR "offsets of $topic: $error\n";
            exit 1;
        }

        # Not -1, "the latest", which would be looked up once more, a moment later.
        $kafka->assign([
            map { { topic => $topic, partition => $_, offset => $offsets->{$_}{latest} } } keys %$offsets
        ]);
        printf "following %d partitions of %s\n", scalar keys %$offsets, $topic;
        $kafka->consume;
    });
});
EV::run;

sub message {
    my (undef, $partition, $offset, $key, $value, $headers, $timestamp) = @_;
    return if $seen == $limit;
    my $time = strftime('%H:%M:%S', localtime $timestamp / 1000);
    printf "%s.%03d  %d \@ %d  %s = %s\n", $time, $timestamp % 1000, $partition, $offset,
        $key // '(no key)', $value // '(no value)';
    finish() if ++$seen == $limit;
}

sub finish {
    $kafka->close(sub { EV::break });
}
