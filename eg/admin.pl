#!/usr/bin/env perl

=head1 NAME

admin.pl - brokers and topics: list, create, describe, delete

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/admin.pl

=head1 DESCRIPTION

Lists the cluster's brokers and topics, creates a topic of three partitions
(KAFKA_TOPIC, a name of its own by default), tries that again to be refused,
describes the topic, and deletes it. A topic that was there before is left alone.

Each step is one request; C<step> below makes them read in order.

=cut

use strict;
use warnings;

use EV;
use EV::Kafka;

my ($host, $port) = ($ENV{KAFKA_BROKER} || '127.0.0.1:9092') =~ /\A\[?(.+?)\]?:(\d+)\z/
    or die "KAFKA_BROKER is not host:port\n";
my $topic = $ENV{KAFKA_TOPIC} || "ev-kafka-admin-$$";

# How long brokers may take to make or drop topics.
my $TIMEOUT_MS = 10_000;

my $conn = connection($host, $port);
my $cluster = step(metadata => undef);
for my $broker (sort { $a->{node_id} <=> $b->{node_id} } @{ $cluster->{brokers} }) {
    printf "broker %d at %s:%d%s\n", @$broker{qw(node_id host port)},
        $broker->{node_id} == $cluster->{controller_id} ? ', the controller' : '';
}
printf "%d topics\n", scalar @{ $cluster->{topics} };

# New clusters pass such requests on to the controller, old ones do not.
my ($controller) = grep { $_->{node_id} == $cluster->{controller_id} } @{ $cluster->{brokers} };
$conn = connection(@$controller{qw(host port)}) if $controller;

my $new = { name => $topic, num_partitions => 3, replication_factor => 1 };
my $created = step(create_topics => [$new], $TIMEOUT_MS)->{topics}[0];
print "create $topic: ", outcome($created), "\n";
exit 1 if $created->{error_code};
print "create $topic again: ", outcome(step(create_topics => [$new], $TIMEOUT_MS)->{topics}[0]), "\n";

print "describe $topic:\n";
for my $partition (partitions()) {
    print "  partition $partition->{partition}: leader $partition->{leader}\n";
}

print "delete $topic: ", outcome(step(delete_topics => [$topic], $TIMEOUT_MS)->{topics}[0]), "\n";

sub connection {
    my ($host, $port) = @_;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    my $failed;
    $conn->on_error(sub { $failed = $_[0]; EV::break });
    $conn->on_connect(sub { EV::break });
    $conn->connect($host, $port, 5);
    EV::run;
    die "$host:$port: $failed\n" if defined $failed;
    return $conn;
}

# One request, and its answer.
sub step {
    my ($method, @arguments) = @_;
    my ($result, $error);
    $conn->$method(@arguments, sub { ($result, $error) = @_; EV::break });
    EV::run;
    die "$method: $error\n" if defined $error;
    return $result;
}

sub outcome {
    my ($topic) = @_;
    return 'done' unless $topic->{error_code};
    my $text = EV::Kafka::_error_name($topic->{error_code});
    return defined $topic->{error_message} ? "$text ($topic->{error_message})" : $text;
}

# Brokers take a moment to know of a new topic and to lead its partitions.
sub partitions {
    my $pause = EV::timer 0.1, 0.1, sub { EV::break };
    while (1) {
        my $described = step(metadata => [$topic])->{topics}[0];
        my @partitions = sort { $a->{partition} <=> $b->{partition} } @{ $described->{partitions} };
        return @partitions if @partitions && !grep { $_->{leader} < 0 } @partitions;
        EV::run;
    }
}
