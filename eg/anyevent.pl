#!/usr/bin/env perl

=head1 NAME

anyevent.pl - in a program that runs on AnyEvent

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/anyevent.pl

=head1 DESCRIPTION

Sends a message to a topic (KAFKA_TOPIC, C<ev-kafka-example> by default) and reads it
back, with AnyEvent's watchers and condition variables around it. All that it takes is
that AnyEvent runs on EV: it does when EV is loaded before the first watcher is made.

=cut

use strict;
use warnings;

use EV;
use AnyEvent;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $key   = "process $$";

my $arrived = AnyEvent->condvar;
my $kafka   = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error   => sub { $arrived->croak("kafka: $_[0]") },
    on_message => sub {
        my (undef, $partition, $offset, $got, $value) = @_;
        $arrived->send($partition, $offset, $value) if defined $got && $got eq $key;
    },
);

my $connected = AnyEvent->condvar;
$kafka->connect(sub { $connected->send(@_) });
my $meta = $connected->recv;
printf "connected to %d brokers\n", scalar @{ $meta->{brokers} };

my $written = AnyEvent->condvar;
$kafka->produce($topic, $key, 'hello from AnyEvent', sub { $written->send(@_) });
my ($result, $error) = $written->recv;
die "not written: $error\n" if defined $error;
my $there = $result->{topics}[0]{partitions}[0];
print "written to partition $there->{partition} at offset $there->{base_offset}\n";

$kafka->assign([{ topic => $topic, partition => $there->{partition}, offset => $there->{base_offset} }]);
$kafka->consume;
my ($partition, $offset, $value) = $arrived->recv;
print "read from partition $partition at offset $offset: $value\n";

$kafka->close;
