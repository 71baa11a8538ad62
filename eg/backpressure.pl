#!/usr/bin/env perl

=head1 NAME

backpressure.pl - a program that makes messages faster than brokers take them

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 KAFKA_COUNT=1000000 perl eg/backpressure.pl

=head1 DESCRIPTION

Sends KAFKA_COUNT (100000) messages to a topic (KAFKA_TOPIC, C<ev-kafka-example> by
default) as fast as they can be made, in at most 1 MiB of memory: when there is no
room for a message it stops, and goes on with that message when there is room again.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $count = $ENV{KAFKA_COUNT} || 100_000;

my ($next, $written, $pauses, $paused) = (0, 0, 0, 0);
my @refused;

my $kafka = EV::Kafka->new(
    brokers       => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    buffer_memory => 1024 * 1024,
    on_drain      => \&go_on,
    on_error      => sub { print STDERR "kafka: $_[0]\n" },
);
$kafka->connect(\&send_messages);
EV::run;

sub send_messages {
    until ($paused) {
        my $number = @refused ? shift @refused : $next < $count ? $next++ : last;
        $kafka->produce($topic, "key $number", 'x' x 100, undef, \&settled, $number);
    }
}

sub go_on {
    $paused = 0;
    send_messages();
}

sub settled {
    my (undef, $error, $number) = @_;
    if (!defined $error) {
        return if ++$written < $count;
        print "$written messages written, stopped $pauses times\n";
        return $kafka->close(sub { EV::break });
    }
    if ($error ne 'producer buffer full') {
        print STDERR "message $number: $error\n";
        exit 1;
    }
    push @refused, $number;
    $pauses++ unless $paused++;
}
