#!/usr/bin/env perl

=head1 NAME

eos.pl - consume, process and produce, each message exactly once

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/eos.pl

=head1 DESCRIPTION

Copies the messages of one topic (KAFKA_TOPIC, C<ev-kafka-example> by default) to
another (KAFKA_OUTPUT, the same with C<-copy>), in upper case. What was written
and how far was read become visible together: the program may be killed and
started again at any time, and consumers with C<isolation_level =E<gt>
'read_committed'> see each message once.

Stops on SIGINT, or after KAFKA_LIMIT messages. KAFKA_GROUP_ID and
KAFKA_TRANSACTIONAL_ID name the group and the producer; programs that run at the
same time need different transactional ids, and one that is started again the
same as before.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic  = $ENV{KAFKA_TOPIC}            || 'ev-kafka-example';
my $output = $ENV{KAFKA_OUTPUT}           || "$topic-copy";
my $group  = $ENV{KAFKA_GROUP_ID}         || 'ev-kafka-eos';
my $id     = $ENV{KAFKA_TRANSACTIONAL_ID} || 'ev-kafka-eos-1';
my $limit  = $ENV{KAFKA_LIMIT};

# Seconds of work in one transaction: longer ones are cheaper, and seen later.
my $interval = 0.1;

$| = 1;

my ($copied, $in_transaction, $ending, $stopping) = (0, 0);

my $kafka;
$kafka = EV::Kafka->new(
    brokers          => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    transactional_id => $id,
    errors           => 'object',
    isolation_level  => 'read_committed',
    headers          => 'pairs',     # in their order, those of the same name, too
    on_error         => sub { print STDERR "error: $_[0]\n" },
    on_message       => sub {
        my (undef, $partition, $offset, $key, $value, $headers) = @_;
        $in_transaction++;
        # A tombstone, which has no value, stays one.
        $kafka->produce($output, $key, defined $value ? uc $value : undef, { headers => $headers || [] });
    },
);

my $timer = EV::timer $interval, $interval, \&end_transaction;
my $stop  = EV::signal INT => sub { $stopping = 1; end_transaction() };

$kafka->begin_transaction;
$kafka->connect(sub {
    my (undef, $error) = @_;
    return print STDERR "not connected: $error\n" if defined $error;
    # As a static member this program gets its partitions back as soon as it is started again.
    $kafka->subscribe($topic, group_id => $group, group_instance_id => $id, auto_commit => 0);
});
EV::run;

sub end_transaction {
    return if $ending;
    return stop() if $stopping && !$in_transaction;
    return unless $in_transaction;
    $ending = 1;
    # No message is delivered until the next begin_transaction.
    $kafka->send_offsets_to_transaction($group, sub {
        $kafka->commit_transaction(\&committed);
    });
    return;
}

sub committed {
    my (undef, $error) = @_;
    if (defined $error) {
        print STDERR "not committed: $error\n";
        # There cannot be another transaction: time to be started again.
        exit 1 if $error->fatal;
        return $kafka->abort_transaction(\&next_transaction);
    }
    $copied += $in_transaction;
    print "committed $in_transaction messages, $copied in all\n";
    $stopping = 1 if $limit && $copied >= $limit;
    return next_transaction();
}

sub next_transaction {
    my (undef, $error) = @_;
    if (defined $error) {
        print STDERR "not aborted: $error\n";
        exit 1;
    }
    ($in_transaction, $ending) = (0, 0);
    return stop() if $stopping;
    return $kafka->begin_transaction;
}

sub stop {
    $ending = 1;
    undef $_ for $timer, $stop;
    return $kafka->unsubscribe(sub { $kafka->close(sub { print "done\n"; EV::break }) });
}
