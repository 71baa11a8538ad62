use v5.14;
use warnings;

# The benchmarks run, and print a row with figures for each contestant. How
# good the figures are depends on the machine and is not judged here.

use lib 'xt/lib';
use RealKafka;
use Test::More;

local $ENV{KAFKA_BROKER}   = shared_cluster($KafkaCluster::NEWEST)->bootstrap;
local $ENV{BENCH_MESSAGES} = 20_000;
local $ENV{BENCH_ROUNDS}   = 1;

my %rows = (produce => 5, consume => 4);
for my $name (sort keys %rows) {
    my $printed = readpipe "$^X bench/$name.pl 2>/dev/null";
    is $?, 0, "bench/$name.pl";
    my @rows = $printed =~ /^(?:librdkafka|EV::Kafka).*?\s\d+\s+\d+\.\d+\s+\d+\.\d+ x\s+\d+\.\d+ x$/mg;
    is scalar @rows, $rows{$name}, 'a row for each contestant';
    note $printed;
}

done_testing;
