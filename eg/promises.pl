#!/usr/bin/env perl

=head1 NAME

promises.pl - one step after the other, with async and await

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/promises.pl

=head1 DESCRIPTION

Sends KAFKA_COUNT (3) messages to a topic (KAFKA_TOPIC, C<ev-kafka-example> by default), all at the same time, waits
until each is written, and asks where the topic ends then. L<EV::Kafka::Promises> makes a future of every
callback, L<Future::AsyncAwait> lets the program wait for them as if they were calls.

A message that is not written is an exception where it is awaited.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka::Promises;
use Future;
use Future::AsyncAwait;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $count = $ENV{KAFKA_COUNT} || 3;

my $kafka = EV::Kafka::Promises->new(
    promise  => 'Future',
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error => sub { print STDERR "kafka: $_[0]\n" },
);

exit(example()->get ? 0 : 1);

async sub example {
    my $meta = await $kafka->connect;
    printf "connected to %d brokers\n", scalar @{ $meta->{brokers} };

    # All are under way before the first is awaited.
    my @written = await Future->needs_all(map { order($_) } 1 .. $count);
    my $failed  = grep { !$_ } @written;

    my $offsets = await $kafka->offsets_for($topic);
    print "partition $_ ends at $offsets->{$_}{latest}\n" for sort { $a <=> $b } keys %$offsets;
    await $kafka->close;
    return !$failed;
}

async sub order {
    my ($number) = @_;
    my $result = eval { await $kafka->produce($topic, "order $number", 'two of them') };
    if (!$result) {
        print "order $number: not written: $@\n";
        return 0;
    }
    my $partition = $result->{topics}[0]{partitions}[0];
    print "order $number: partition $partition->{partition}, offset $partition->{base_offset}\n";
    return 1;
}
