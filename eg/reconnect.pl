#!/usr/bin/env perl

=head1 NAME

reconnect.pl - a connection that comes back by itself

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/reconnect.pl

=head1 DESCRIPTION

Asks a broker for its metadata every KAFKA_INTERVAL (0.5) seconds until there are
KAFKA_COUNT (10) answers. Stop the broker meanwhile, and start it again: the
connection is made again after delays that double, and what was not answered is
asked anew. It gives up when there was no answer for KAFKA_PATIENCE (60) seconds.

This is one connection. A client made by C<< EV::Kafka->new >> does all of this by
itself, for all brokers of a cluster.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my ($host, $port) = ($ENV{KAFKA_BROKER} || '127.0.0.1:9092') =~ /\A\[?(.+?)\]?:(\d+)\z/
    or die "KAFKA_BROKER is not host:port\n";
my $count    = $ENV{KAFKA_COUNT}    || 10;
my $interval = $ENV{KAFKA_INTERVAL} || 0.5;
my $patience = $ENV{KAFKA_PATIENCE} || 60;

$| = 1;

my $answers = 0;
my $conn    = EV::Kafka::Conn->new;

# Milliseconds before the first try.
$conn->auto_reconnect(1, 100);

# Every try that fails says so; without this each would be a warning.
$conn->on_error(sub { print "error: $_[0]\n" });

# Called after every loss, and after every try that failed.
$conn->on_disconnect(sub { print "disconnected\n" });

# Called whenever requests can be sent, so also when the connection is back.
$conn->on_connect(sub {
    print "connected\n";
    ask();
});

my $next   = EV::timer_ns $interval, 0, \&ask;
my $giving_up = EV::timer $patience, $patience, sub {
    print "no answer for $patience s, giving up\n";
    exit 1;
};

$conn->connect($host, $port, 5);
EV::run;

sub ask {
    $next->stop;

    # Not ready: on_connect asks when it is.
    return unless $conn->connected;
    $conn->metadata([], \&answered);
}

sub answered {
    my ($meta, $error) = @_;

    # Whether the broker has acted on the request is not known. Asking for metadata
    # does no harm when it happens twice.
    return print "not answered: $error\n" if defined $error;

    $answers++;
    $giving_up->again;
    printf "answer %d of %d: %d brokers\n", $answers, $count, scalar @{ $meta->{brokers} };
    if ($answers < $count) {
        $next->set($interval, 0);
        return $next->start;
    }

    # A disconnect that is meant is not followed by a reconnect.
    $conn->disconnect;
    $giving_up->stop;
    print "done\n";
}
