#!/usr/bin/env perl

=head1 NAME

ev_kafka_bench.pl - the EV::Kafka contestant of benchmark.pl: one run in a process of its own

=head1 SYNOPSIS

  perl -Mblib bench/ev_kafka_bench.pl SHAPE key=value... -- option=value...

=head1 DESCRIPTION

Does one thing and prints one line of JSON: the version, messages, wall seconds, and the CPU time
that this process used between the first message and the last. It races the build that is first
among perl's folders.

Shapes: C<no_callback>, C<shared_callback>, C<with_argument>, C<fresh_closures>,
C<closures_alone> (all of them produce), C<sequential>,
C<sequential_on_a_connection>, C<metadata>, C<consume>, C<consume_batches> and C<latency>.

Keys:

=over 4

=item brokers, topic, messages, partitions

=item value_size, pool

Bytes of a value, and how many buffers of them there are.

=item values

A file of values in their place: for each its length (32 bits, big-endian) and its bytes.

=item bound, flushes

How many messages may be outstanding, and whether C<flush> is called when there are so many.

=item rate, seconds

Of C<latency>.

=back

Options are those of C<new>.

=cut

use v5.14;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use KafkaBench;

# Before what needs a build.
BEGIN { help() if grep { $_ eq '--help' } @ARGV }

use EV;
use EV::Kafka;
use JSON::PP ();
use KafkaBench::Connection;
use KafkaBench::Consume;
use KafkaBench::Latency;
use KafkaBench::Metadata;
use KafkaBench::Produce;

my %DOES = (
    no_callback                => \&KafkaBench::Produce::no_callback,
    shared_callback            => \&KafkaBench::Produce::shared_callback,
    with_argument              => \&KafkaBench::Produce::with_argument,
    fresh_closures             => \&KafkaBench::Produce::fresh_closures,
    closures_alone             => \&KafkaBench::Produce::closures_alone,
    sequential                 => \&KafkaBench::Produce::sequential,
    sequential_on_a_connection => \&KafkaBench::Produce::sequential_on_a_connection,
    metadata                   => \&KafkaBench::Metadata::requests,
    consume                    => \&KafkaBench::Consume::read_all,
    consume_batches            => \&KafkaBench::Consume::read_all,
    latency                    => \&KafkaBench::Latency::measure,
);
my %ON_RECORDS = (
    consume         => [on_message => \&KafkaBench::Consume::message],
    consume_batches => [on_batch   => \&KafkaBench::Consume::batch],
    latency         => [on_message => \&KafkaBench::Latency::message],
);

my ($shape, $run, $options) = arguments(@ARGV);

# Routed and connected before the clock starts, and with a producer id where one is needed, like
# everybody in the race.
if    ($ON_RECORDS{$shape})                     { $run->{kafka} = routed(client(@{ $ON_RECORDS{$shape} })) }
elsif ($shape eq 'sequential_on_a_connection') { $run->{conn}  = settled(connection(leader(@$run{qw(brokers topic)})), $run->{topic}) }
else                                            { $run->{kafka} = producing(routed(client())) }
$run->{producer} = producing(routed(client())) if $shape eq 'latency';
KafkaBench::Produce::try_argument($run) if $shape eq 'with_argument';

my $watch  = stopwatch();
my $result = $DOES{$shape}->($run);
my ($wall, $cpu) = $watch->();
# The number of failures, or what was found.
my %found = ref $result ? %$result : (messages => $run->{messages});
die "$shape: $result of $run->{messages} failed\n" if !ref $result && $result;
print JSON::PP->new->canonical->encode({ client => "EV::Kafka $EV::Kafka::VERSION", wall_s => $wall, cpu_s => $cpu, %found }), "\n";

sub arguments {
    my ($shape, @rest) = @_;
    help(2) unless defined $shape && $DOES{$shape};
    my %run = (partitions => 1, pool => 1);
    my %options;
    my $into = \%run;
    for my $argument (@rest) {
        if    ($argument eq '--')                { $into = \%options }
        elsif ($argument =~ /\A(\w+)=(.*)\z/s) { $into->{$1} = $2 }
        else                                     { die "'$argument' is not key=value\n" }
    }
    # Each a buffer of its own.
    $run{values} = defined $run{values} ? read_values($run{values}) : [map { 'v' x $run{value_size} } 1 .. $run{pool}];
    return ($shape, \%run, \%options);
}

sub read_values {
    my ($file) = @_;
    open my $in, '<:raw', $file or die "$file: $!\n";
    my @values;
    while (read $in, my $length, 4) {
        read $in, $values[@values], unpack 'N', $length or die "$file: ends within a value\n";
    }
    return \@values;
}

sub client {
    my $kafka = EV::Kafka->new(brokers => $run->{brokers}, on_error => \&give_up, %$options, @_);
    await(sub { $kafka->connect(@_) });
    return $kafka;
}

sub routed {
    my ($kafka) = @_;
    my (undef, $error) = await(sub { $kafka->offsets_for($run->{topic}, @_) });
    die "$run->{topic}: $error\n" if defined $error;
    return $kafka;
}

sub producing {
    my ($kafka) = @_;
    my (undef, $error) = await(sub { $kafka->produce($run->{topic}, 'k', 'routed', @_) });
    die "$run->{topic}: $error\n" if defined $error;
    return $kafka;
}
