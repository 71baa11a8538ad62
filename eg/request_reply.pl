#!/usr/bin/env perl

=head1 NAME

request_reply.pl - questions and answers through two topics

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/request_reply.pl

=head1 DESCRIPTION

A service that reverses words, and a caller, each with a client of its own, here in one
program. The caller writes to the topic KAFKA_TOPIC (C<ev-kafka-example> by default)
with C<-requests> behind it. Headers say where the reply is to go, one partition of the
topic with C<-replies> behind it, and which request it belongs to.

Both follow their partitions by hand from where they end now. A service that is to
miss nothing while it is away would remember how far it came.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $prefix = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';
my ($requests, $replies) = ("$prefix-requests", "$prefix-replies");
my @words = qw(stressed drawer lager);

# What one waits for is on its way at once.
my %PROMPT = (linger_ms => 0);

my ($service, $caller, %waiting);
$service = client(\&request);
$caller  = client(\&reply);

follow($service, $requests, sub { follow($caller, $replies, \&start) });
EV::run;

sub client {
    my ($on_message) = @_;
    return EV::Kafka->new(
        brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
        on_error   => sub { print STDERR "kafka: $_[0]\n" },
        on_message => $on_message,
        # Who reads creates no topic unless asked to.
        allow_auto_create_topics => 1,
        %PROMPT,
    );
}

# A die in a callback would be a warning only.
sub fail {
    print STDERR "@_\n";
    exit 1;
}

# Assigns what comes to the topic from now on; the topic is made if brokers do that.
sub follow {
    my ($kafka, $topic, $then) = @_;
    $kafka->connect(sub {
        $kafka->offsets_for($topic, sub {
            my ($offsets, $error) = @_;
            fail("offsets of $topic: $error") if defined $error;
            $kafka->assign([
                map { { topic => $topic, partition => $_, offset => $offsets->{$_}{latest} } } keys %$offsets
            ]);
            $then->();
        });
    });
}

sub start {
    $_->consume for $service, $caller;
    ask($_) for @words;
}

# --- the caller ---

sub ask {
    my ($word) = @_;
    my $id = "$$-$word";
    $waiting{$id} = $word;
    $caller->produce($requests, undef, $word, {
        headers => { 'correlation-id' => $id, 'reply-topic' => $replies, 'reply-partition' => 0 },
    }, \&must_be_written);
}

sub reply {
    my (undef, undef, undef, undef, $value, $headers) = @_;

    # Another caller may share the partition.
    my $word = delete $waiting{ ($headers || {})->{'correlation-id'} // '' };
    return unless defined $word;
    print "$word: $value\n";
    return if %waiting;

    # The last reply may have come before the service has heard that it is written.
    $service->flush(sub {
        $_->close for $service, $caller;
        EV::break;
    });
}

# --- the service ---

sub request {
    my (undef, undef, undef, undef, $value, $headers) = @_;
    return unless $headers && defined $headers->{'reply-topic'};
    $service->produce($headers->{'reply-topic'}, undef, scalar reverse($value), {
        partition => $headers->{'reply-partition'},
        headers   => { 'correlation-id' => $headers->{'correlation-id'} },
    }, \&must_be_written);
}

sub must_be_written {
    my (undef, $error) = @_;
    fail("not written: $error") if defined $error;
}
