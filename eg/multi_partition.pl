#!/usr/bin/env perl

=head1 NAME

multi_partition.pl - how a message gets its partition

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/multi_partition.pl

=head1 DESCRIPTION

Sends messages to a topic (KAFKA_TOPIC, C<ev-kafka-example> by default) in the four
ways in which a partition is chosen, and prints the partitions that they went to. Within
a partition messages keep their order; between partitions there is none.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC} || 'ev-kafka-example';

my $kafka = client();
print 'one key, one partition:     ', partitions($kafka, map { [$topic, 'customer-7', "message $_"] } 1 .. 4), "\n";
print 'keys spread by their hash:  ', partitions($kafka, map { [$topic, "customer-$_", 'message'] } 1 .. 8), "\n";
print 'no key, in turn:            ', partitions($kafka, map { [$topic, undef, "message $_"] } 1 .. 8), "\n";
print 'named by the message:       ',
    partitions($kafka, map { [$topic, 'customer-7', "message $_", { partition => 0 }] } 1 .. 4), "\n";

# A choice of your own, for every message that names none.
my $by_length = client(partitioner => sub {
    my ($topic, $key, $partitions) = @_;
    return length($key) % $partitions;
});
print 'by a function of your own:  ', partitions($by_length, map { [$topic, 'x' x $_, 'message'] } 1 .. 4), "\n";
$_->close for $kafka, $by_length;

# A client that is connected.
sub client {
    my $kafka = EV::Kafka->new(
        brokers   => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
        linger_ms => 1,
        on_error  => sub { print STDERR "kafka: $_[0]\n" },
        @_,
    );
    $kafka->connect(sub { EV::break });
    EV::run;
    return $kafka;
}

# Sends messages -> the partitions that they went to, in the order of the messages.
sub partitions {
    my ($kafka, @messages) = @_;
    my @partitions;
    for my $index (0 .. $#messages) {
        my ($topic, $key, $value, $options) = @{ $messages[$index] };
        $kafka->produce($topic, $key, $value, $options, \&delivered, \$partitions[$index]);
    }
    $kafka->flush(sub { EV::break });
    EV::run;
    return join ' ', @partitions;
}

sub delivered {
    my ($result, $error, $partition) = @_;
    if (defined $error) {
        print STDERR "not written: $error\n";
        exit 1;
    }
    $$partition = $result->{topics}[0]{partitions}[0]{partition};
}
