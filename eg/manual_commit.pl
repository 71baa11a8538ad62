#!/usr/bin/env perl

=head1 NAME

manual_commit.pl - every message is worked on at least once

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 KAFKA_GROUP_ID=workers perl eg/manual_commit.pl

=head1 DESCRIPTION

A member of a group that commits by itself, with C<auto_commit> off: after every
KAFKA_BATCH messages (10 by default) of a topic (KAFKA_TOPIC, C<ev-kafka-example> by
default), and of what is left before partitions go to another member. Kill it at any
time: what was worked on since the last commit is worked on again by the next one, and
nothing is left out. A message that cannot be worked on is tried again every KAFKA_RETRY
seconds (5 by default); its partition waits for it. It ends after KAFKA_LIMIT messages or when it is interrupted.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC}    || 'ev-kafka-example';
my $group = $ENV{KAFKA_GROUP_ID} || 'ev-kafka-example';
my $limit = $ENV{KAFKA_LIMIT}    || 9**15;
my $batch = $ENV{KAFKA_BATCH}    || 10;
my $retry = $ENV{KAFKA_RETRY}    || 5;

$| = 1;

my ($seen, $uncommitted, %again) = (0, 0);
my $kafka = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    errors     => 'object',
    on_error   => \&failed,
    on_notice  => \&notice,
    on_message => \&message,
    # What it dies of is not passed over.
    on_message_die => 'hold',
);

my $interrupt = EV::signal INT => \&finish;

$kafka->connect(sub {
    $kafka->subscribe($topic,
        group_id    => $group,
        auto_commit => 0,

        # The partitions are still ours in here: the last chance to commit them.
        on_revoke => sub { commit() if $uncommitted },
    );
});
EV::run;
print "$seen messages\n";

# Of what passes the client takes care itself. A membership that has ended does not come back.
sub failed {
    my ($error) = @_;
    print STDERR "kafka: $error\n";
    exit 1 if $error->fatal;
}

sub message {
    my ($topic, $partition, $offset, $key, $value) = @_;
    return if $seen == $limit;
    work_on($value);
    $uncommitted++;
    finish() if ++$seen == $limit;
    commit() if $uncommitted == $batch;
}

sub work_on {
    my ($value) = @_;
    print 'done: ', $value // '(no value)', "\n";
}

# Of a message that could not be worked on, among others.
sub notice {
    my ($text, $about) = @_;
    print STDERR "kafka: $text\n";
    return unless defined $about->{error};
    my $held = { topic => $about->{topic}, partition => $about->{partition} };
    $again{"$held->{topic}:$held->{partition}"} = EV::timer $retry, 0, sub { $kafka->resume([$held]) };
}

# Commits what on_message has been called with, this message included.
sub commit {
    my $count = $uncommitted;
    $uncommitted = 0;
    $kafka->commit(sub {
        my ($error) = @_;
        print defined $error ? "not committed: $error\n" : "$count messages committed\n";
    });
}

sub finish {
    $kafka->unsubscribe(sub {
        $kafka->close(sub { EV::break });
    });
}
