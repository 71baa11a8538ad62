#!/usr/bin/env perl

=head1 NAME

low_level.pl - one connection, single requests

=head1 SYNOPSIS

  KAFKA_HOST=127.0.0.1 KAFKA_PORT=9092 perl eg/low_level.pl

=head1 DESCRIPTION

Asks a broker which versions it speaks, looks up who leads partition 0 of a topic
(KAFKA_TOPIC, C<ev-kafka-example> by default, made if the broker makes topics),
sends that broker a message, finds it again by its offset, and disconnects.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $host  = $ENV{KAFKA_HOST}  || '127.0.0.1';
my $port  = $ENV{KAFKA_PORT}  || 9092;
my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';

# The connection lives as long as somebody keeps it: here until the end.
my ($bootstrap, $leader, $again);

$bootstrap = connection($host, $port, sub {
    my $versions = $bootstrap->api_versions;
    printf "connected to %s:%d, which speaks %d kinds of requests\n", $host, $port, scalar keys %$versions;
    look_up();
});
EV::run;

sub connection {
    my ($host, $port, $on_connect) = @_;
    my $conn = EV::Kafka::Conn->new;
    $conn->on_error(sub { die_here("$host:$port: $_[0]") });
    $conn->on_connect($on_connect);
    $conn->connect($host, $port, 5);
    return $conn;
}

# A die in a callback would be a warning only.
sub die_here {
    print STDERR "@_\n";
    exit 1;
}

sub look_up {
    $bootstrap->metadata([$topic], sub {
        my ($meta, $error) = @_;
        die_here("metadata: $error") if defined $error;
        my ($partition) = grep { $_->{partition} == 0 } @{ $meta->{topics}[0]{partitions} };

        # A topic that has just been made has no leader yet.
        return $again = EV::timer 0.1, 0, \&look_up unless $partition && $partition->{leader} >= 0;

        my ($broker) = grep { $_->{node_id} == $partition->{leader} } @{ $meta->{brokers} };
        print "$topic, partition 0, is led by broker $broker->{node_id} at $broker->{host}:$broker->{port}\n";
        $leader = connection($broker->{host}, $broker->{port}, \&produce);
    });
}

sub produce {
    $leader->produce($topic, 0, 'key', 'hello from a single connection', { headers => { from => $0 } }, sub {
        my ($result, $error) = @_;
        my $partition = partition_of('produce', $result, $error);
        print "written at offset $partition->{base_offset}\n";
        fetch($partition->{base_offset});
    });
}

sub fetch {
    my ($offset) = @_;
    $leader->fetch($topic, 0, $offset, sub {
        my ($result, $error) = @_;
        my $partition = partition_of('fetch', $result, $error);

        # Batches come whole: the first may begin before the offset.
        my ($record) = grep { $_->{offset} == $offset } @{ $partition->{records} };
        return fetch($offset) unless $record;
        print "read at offset $record->{offset}: $record->{key} = $record->{value}\n";
        print "  header $_: $record->{headers}{$_}\n" for sort keys %{ $record->{headers} };
        $_->disconnect for $leader, $bootstrap;
        print "done\n";
        EV::break;
    });
}

# The only partition that a result is about. There are two places where an error
# may be: the request's, and the partition's.
sub partition_of {
    my ($what, $result, $error) = @_;
    die_here("$what: $error") if defined $error;
    my $partition = $result->{topics}[0]{partitions}[0];
    die_here("$what: " . EV::Kafka::_error_name($partition->{error_code})) if $partition->{error_code};
    return $partition;
}
