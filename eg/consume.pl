#!/usr/bin/env perl

=head1 NAME

consume.pl - every message of a topic, from the beginning

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 KAFKA_LIMIT=100 perl eg/consume.pl

=head1 DESCRIPTION

Prints the messages of all partitions of a topic (KAFKA_TOPIC, C<ev-kafka-example> by
default), from the earliest on and as they come, until it has seen KAFKA_LIMIT of them
or is interrupted. The partitions are assigned by hand: nobody shares them, and
nothing is remembered for the next time.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $limit = $ENV{KAFKA_LIMIT} || 9**15;

$| = 1;

my $seen = 0;
my $kafka = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error   => sub { print STDERR "kafka: $_[0]\n" },
    on_message => \&message,
);

my $interrupt = EV::signal INT => \&finish;

$kafka->connect(sub {
    $kafka->offsets_for($topic, sub {
        my ($offsets, $error) = @_;
        if (defined $error) {
            print STDERR "offsets of $topic: $error\n";
            exit 1;
        }
        $kafka->assign([
            map { { topic => $topic, partition => $_, offset => $offsets->{$_}{earliest} } } keys %$offsets
        ]);
        $kafka->consume;
    });
});
EV::run;
print "$seen messages\n";

sub message {
    my ($topic, $partition, $offset, $key, $value, $headers, $timestamp) = @_;

    # What came with the last one of them in the same answer.
    return if $seen == $limit;
    print "$topic:$partition \@ $offset  ", $key // '(no key)', ' = ', $value // '(no value)', "\n";
    finish() if ++$seen == $limit;
}

sub finish {
    $kafka->close(sub { EV::break });
}
