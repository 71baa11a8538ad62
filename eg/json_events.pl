#!/usr/bin/env perl

=head1 NAME

json_events.pl - events as JSON, with their type in a header

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/json_events.pl

=head1 DESCRIPTION

Sends three events of one user to a topic (KAFKA_TOPIC, C<ev-kafka-example> by default)
and reads them back. A user's events share a key, so they lie in one partition, in
order. Who reads can tell by the header whether an event is worth decoding.

=cut

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;
use JSON::PP;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $user  = "user-$$";

# Bytes on the wire: utf8 encodes and decodes them.
my $json = JSON::PP->new->utf8->canonical->allow_nonref;

my @events = (
    [login => { at => '/',         agent => 'curl' }],
    [click => { at => '/socks',    target => 'größer' }],
    [order => { at => '/checkout', total => 12.5 }],
);

my $kafka = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error   => sub { print STDERR "kafka: $_[0]\n" },
    on_message => \&event,
);

my ($seen, $first, $partition) = (0);
$kafka->connect(\&produce);
EV::run;

# A die in a callback would be a warning only.
sub fail {
    print STDERR "@_\n";
    exit 1;
}

sub produce {
    for my $event (@events) {
        my ($type, $data) = @$event;
        $kafka->produce($topic, $user, $json->encode($data), {
            headers => { 'content-type' => 'application/json', type => $type },
        }, \&produced);
    }
    $kafka->flush(\&consume);
}

sub produced {
    my ($result, $error) = @_;
    fail("not written: $error") if defined $error;
    $partition = $result->{topics}[0]{partitions}[0]{partition};
    $first //= $result->{topics}[0]{partitions}[0]{base_offset};
}

sub consume {
    $kafka->assign([{ topic => $topic, partition => $partition, offset => $first }]);
    $kafka->consume;
}

sub event {
    my (undef, undef, $offset, $key, $value, $headers) = @_;
    return unless defined $key && $key eq $user;
    my $data = $json->decode($value);
    print "$headers->{type}: ", join(', ', map { "$_ = " . $json->encode($data->{$_}) } sort keys %$data), "\n";
    return if ++$seen < @events;
    $kafka->close(sub { EV::break });
}
