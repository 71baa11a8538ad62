#!/usr/bin/env perl

=head1 NAME

produce_headers.pl - messages with headers, a timestamp, or no value

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/produce_headers.pl

=head1 DESCRIPTION

Sends one message of each kind to a topic (KAFKA_TOPIC, C<ev-kafka-example> by
default) and prints where it was written. All values are bytes: text is encoded
before it is sent.

=cut

use strict;
use warnings;
use utf8;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use Encode qw(encode_utf8);
use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my $failed = 0;

my $kafka = EV::Kafka->new(
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error => sub { print STDERR "kafka: $_[0]\n" },
);

$kafka->connect(sub {
    # A hash is enough for most purposes. A value may be undef.
    $kafka->produce($topic, 'user-1', encode_utf8('grüß Gott'), {
        headers => { 'content-type' => 'text/plain; charset=utf-8', 'traced' => undef },
    }, \&delivered, 'a hash of headers');

    # Pairs keep their order, and a name may come more than once.
    $kafka->produce($topic, 'user-1', 'passed on', {
        headers => [[hop => 'gateway'], [hop => 'router'], [hop => 'worker']],
    }, \&delivered, 'pairs of headers');

    # When it happened, in milliseconds, instead of when it is sent.
    $kafka->produce($topic, 'user-1', 'from the archive', {
        timestamp => 1_000_000_000_000,
    }, \&delivered, 'a timestamp');

    # A key without a value deletes the key from a compacted topic.
    $kafka->produce($topic, 'user-1', undef, undef, \&delivered, 'no value');

    $kafka->flush(sub { $kafka->close(sub { EV::break }) });
});
EV::run;
exit($failed ? 1 : 0);

# What stands behind the callback comes behind result and error.
sub delivered {
    my ($result, $error, $what) = @_;
    if (defined $error) {
        $failed++;
        print "$what: not written: $error\n";
        return;
    }
    my $partition = $result->{topics}[0]{partitions}[0];
    print "$what: partition $partition->{partition}, offset $partition->{base_offset}\n";
}
