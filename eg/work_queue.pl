#!/usr/bin/env perl

=head1 NAME

work_queue.pl - a worker that takes jobs from a queue

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 KAFKA_TOPIC=jobs perl eg/work_queue.pl

=head1 DESCRIPTION

A member of a share group (KIP-932; Kafka 4.2). Start as many as you like, also more than the topic
(KAFKA_TOPIC, C<ev-kafka-example> by default) has partitions: each job goes to one of them. A job whose value is
C<fail> cannot be done: it is tried three times, and then put aside. It ends after KAFKA_LIMIT jobs, or when it
is interrupted.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC}    || 'ev-kafka-example';
my $group = $ENV{KAFKA_GROUP_ID} || 'ev-kafka-workers';
my $limit = $ENV{KAFKA_LIMIT}    || 9**15;

$| = 1;

my $seen  = 0;
my $kafka = EV::Kafka->new(
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    errors   => 'object',
    on_error => sub {
        my ($error) = @_;
        warn "$error\n";
        EV::break if $error->fatal;
    },
);

my $interrupt = EV::signal INT => \&finish;

$kafka->connect(sub {
    $kafka->subscribe_share($topic,
        group_id  => $group,
        on_record => \&work,
    );
});
EV::run;
print "$seen jobs\n";

# Done when it returns, again when it dies.
sub work {
    my ($record) = @_;
    my ($job, $count) = ($record->value // '', $record->delivery_count);
    finish() if ++$seen == $limit;
    if ($job ne 'fail') {
        print "$job: done\n";
        return;
    }
    print "$job: delivery $count\n";
    return $count < 3 ? $record->release : $record->reject;
}

# What was done is told, what is in hand goes back.
sub finish {
    $kafka->unsubscribe_share(sub { $kafka->close(sub { EV::break }) });
    return;
}
