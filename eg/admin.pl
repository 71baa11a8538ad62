#!/usr/bin/env perl

=head1 NAME

admin.pl - brokers, groups and topics: list, create, describe, change, delete

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/admin.pl

=head1 DESCRIPTION

Lists the cluster's brokers, topics and groups, creates a topic of three partitions
(KAFKA_TOPIC, a name of its own by default), tries that again to be refused,
sets how long the topic keeps its messages, describes the topic, and deletes it. A topic that was there before is left alone.

Each step is one method of L<EV::Kafka::Admin>; C<step> below makes them read in order.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || "ev-kafka-admin-$$";

my $kafka = EV::Kafka->new(
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error => sub { print STDERR "@_\n" },
);
$kafka->connect;

my ($cluster, $error) = step('describe_cluster');
die_of($error) if defined $error;
for my $broker (@{ $cluster->{brokers} }) {
    printf "broker %d at %s:%d%s\n", @$broker{qw(node_id host port)},
        $broker->{node_id} == $cluster->{controller_id} ? ', the controller' : '';
}
printf "%d topics\n", scalar @{ result('describe_topics')->{topics} };

# What some brokers do not offer is no reason to stop.
(my $listed, $error) = step('list_groups');
print "groups: $error\n" if defined $error;
print "group $_->{group_id}: ", $_->{state} // 'there', "\n" for @{ $listed->{groups} };

my $new = { name => $topic, num_partitions => 3, replication_factor => 1 };
my $created = result(create_topics => [$new])->{topics}[0];
print "create $topic: ", outcome($created), "\n";
exit 1 if $created->{error_code};
print "create $topic again: ", outcome(result(create_topics => [$new])->{topics}[0]), "\n";

(my $changed, $error) = step(alter_configs => [{ resource_type => 'topic', resource_name => $topic, set => { 'retention.ms' => 3_600_000 } }]);
print "keep messages for an hour: ", defined $error ? $error : outcome($changed->{resources}[0]), "\n";

print "describe $topic:\n";
for my $partition (partitions()) {
    print "  partition $partition->{partition}: leader $partition->{leader}\n";
}

print "delete $topic: ", outcome(result(delete_topics => [$topic])->{topics}[0]), "\n";
$kafka->close;

# One method, and what it calls back, which may be before it returns.
sub step {
    my ($method, @arguments) = @_;
    my $called_back;
    $kafka->$method(@arguments, { timeout => 10 }, sub { $called_back = [@_]; EV::break });
    EV::run until $called_back;
    return @$called_back;
}

# The result of one without which there is nothing to go on with.
sub result {
    my ($result, $error) = step(@_);
    die_of($error) if defined $error;
    return $result;
}

sub die_of {
    print STDERR "$_[0]\n";
    exit 1;
}

sub outcome {
    my ($told) = @_;
    return 'done' unless $told->{error_code};
    my $text = $kafka->error_name($told->{error_code});
    return defined $told->{error_message} ? "$text ($told->{error_message})" : $text;
}

# Brokers take a moment to know of a new topic and to lead its partitions.
sub partitions {
    my $pause = EV::timer 0.1, 0.1, sub { EV::break };
    while (1) {
        my @partitions = @{ result(describe_topics => [$topic])->{topics}[0]{partitions} };
        return @partitions if @partitions && !grep { $_->{leader} < 0 } @partitions;
        EV::run;
    }
}
