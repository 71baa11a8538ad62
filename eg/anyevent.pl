#!/usr/bin/env perl

=head1 NAME

anyevent.pl - in a program that runs on AnyEvent

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/anyevent.pl

=head1 DESCRIPTION

Sends a message to a topic (KAFKA_TOPIC, C<ev-kafka-example> by default) and reads it
back, with AnyEvent's watchers and condition variables around it. All that it takes is
that AnyEvent runs on EV: it does when EV is loaded before the first watcher is made.

It gives up after KAFKA_PATIENCE (30) seconds, as when there is no broker.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use AnyEvent;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $key   = "process $$";

my ($connected, $written, $arrived) = map { AnyEvent->condvar } 1 .. 3;

# The client itself goes on trying: how long that makes sense is for the program to say.
my $patience = $ENV{KAFKA_PATIENCE} || 30;
my $give_up  = AnyEvent->timer(after => $patience, cb => sub {
    $_->croak("giving up after $patience s") for $connected, $written, $arrived;
});

my $kafka   = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error   => sub { print STDERR "kafka: $_[0]\n" },
    on_message => sub {
        my (undef, $partition, $offset, $got, $value) = @_;
        $arrived->send($partition, $offset, $value) if defined $got && $got eq $key;
    },
);

$kafka->connect(sub { $connected->send(@_) });
my $meta = $connected->recv;
printf "connected to %d brokers\n", scalar @{ $meta->{brokers} };

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
