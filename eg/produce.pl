#!/usr/bin/env perl

=head1 NAME

produce.pl - messages, and what became of each

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/produce.pl

=head1 DESCRIPTION

Sends KAFKA_COUNT (10) messages to a topic (KAFKA_TOPIC, C<ev-kafka-example> by
default), prints where each was written, and ends when all are settled.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $count = $ENV{KAFKA_COUNT} || 10;
my $failed = 0;

my $kafka = EV::Kafka->new(
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error => sub { print STDERR "kafka: $_[0]\n" },
);

$kafka->connect(sub {
    for my $number (1 .. $count) {
        $kafka->produce($topic, "key $number", "message $number", undef, \&delivered, $number);
    }

    # Without flush the last batch would wait for more; close would drop it.
    $kafka->flush(sub { $kafka->close(sub { EV::break }) });
});
EV::run;
exit($failed ? 1 : 0);

sub delivered {
    my ($result, $error, $number) = @_;
    if (defined $error) {
        $failed++;
        print "message $number: not written: $error\n";
        return;
    }
    my $partition = $result->{topics}[0]{partitions}[0];
    print "message $number: partition $partition->{partition}, offset $partition->{base_offset}\n";
}
