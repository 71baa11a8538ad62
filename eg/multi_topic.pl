#!/usr/bin/env perl

=head1 NAME

multi_topic.pl - messages for several topics with one callback

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/multi_topic.pl

=head1 DESCRIPTION

Sends an order and what follows from it to three topics: KAFKA_TOPIC
(C<ev-kafka-example> by default) with C<-orders>, C<-payments> and C<-mails> behind
it. C<produce_many> calls back once, when all of them are settled. The topics need not
exist where brokers make topics by themselves.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $prefix = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $status = 1;

my $kafka = EV::Kafka->new(
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error => sub { print STDERR "kafka: $_[0]\n" },
);

my $customer = 'customer-7';
my @messages = (
    ["$prefix-orders",   $customer, 'order 1: two pairs of socks'],
    ["$prefix-payments", $customer, 'order 1: 12.50'],
    # Named fields instead of a list; options of produce may stand among them.
    { topic => "$prefix-mails", key => $customer, value => 'order 1: thank you', headers => { template => 'thanks' } },
);

$kafka->connect(sub {
    $kafka->produce_many(\@messages, sub {
        my ($errors) = @_;
        print "not written: $_\n" for @{ $errors || [] };
        printf "%d of %d messages written\n", @messages - @{ $errors || [] }, scalar @messages;
        $status = 0 unless $errors;
        $kafka->close(sub { EV::break });
    });
});
EV::run;
exit $status;
