use v5.14;
use warnings;

# The benchmarks run, and print figures for each contestant of each section. How good
# the figures are depends on the machine and is not judged here.

use lib 'xt/lib';
use File::Temp ();
use JSON::PP   ();
use RealKafka;
use Test::More;

delete @ENV{ grep { /^BENCH_/ } keys %ENV };
local $ENV{KAFKA_BROKER}   = shared_cluster($KafkaCluster::NEWEST)->bootstrap;
local $ENV{BENCH_MESSAGES} = 5_000;
local $ENV{BENCH_ROUNDS}   = 1;

my @run = ($^X, map { "-I$_" } grep { !ref } @INC);

sub output_of {
    open my $run, '-|', @run, @_ or die "$^X: $!";
    my $printed = do { local $/; readline $run };
    close $run;
    is $?, 0, "@_";
    note $printed;
    return $printed;
}

subtest 'benchmark.pl' => sub {
    my $file    = File::Temp->new;
    my $printed = output_of('bench/benchmark.pl', '--json', "$file");
    my $written = JSON::PP->new->decode(do { local (@ARGV, $/) = "$file"; readline });
    is_deeply [map { $_->{name} } @{ $written->{sections} }],
        [qw(produce fire-and-forget sequential metadata sizes consume)], 'the sections';
    is $written->{settings}{messages}, 5_000, 'the settings';
    like $written->{librdkafka}, qr/^\d+\.\d+/, "librdkafka's version";

    for my $section (@{ $written->{sections} }) {
        my ($name, $rows) = @$section{qw(name rows)};
        like $printed, qr/^\Q$section->{title}\E$/m, "$name: title";
        is scalar(grep { $_->{name} =~ /librdkafka/ && $_->{msg_s} > 0 } @$rows),
            { produce => 2, sizes => 4, consume => 2 }->{$name} || 1, "$name: librdkafka";
        my @ours = grep { $_->{name} =~ /EV::Kafka/ } @$rows;
        is scalar(grep { $_->{rate_ratio} > 0 && $_->{cpu_ratio} > 0 } @ours), scalar @ours, "$name: ours beside it";
        for my $row (@$rows) {
            like $printed, qr/^  \Q$row->{name}\E +\d+ +\d+\.\d +\d+\.\d{3} +(?:1|\d+\.\d\d x) +(?:1|\d+\.\d\d x)$/m,
                "$name: $row->{name}";
            is scalar @{ $row->{runs} }, 1, 'its runs';
        }
    }
};

subtest 'benchmark.pl, one section, by rounds' => sub {
    local $ENV{BENCH_ROUNDS} = 2;
    my $file    = File::Temp->new;
    my $printed = output_of('bench/benchmark.pl', 'metadata', '--json', "$file");
    my $written = JSON::PP->new->decode(do { local (@ARGV, $/) = "$file"; readline });
    is_deeply [map { [$_->{name}, map { scalar @{ $_->{runs} } } @{ $_->{rows} }] } @{ $written->{sections} }],
        [['metadata', 2, 2]], 'nothing else';
};

subtest 'latency.pl' => sub {
    local $ENV{BENCH_MESSAGES} = 200;
    my $printed = output_of('bench/latency.pl');
    like $printed, qr/^\Q$_\E +\d+\.\d +\d+\.\d +-?\d+\.\d$/m, $_ for qw(min avg median p90 p95 p99 max);
};

subtest 'delivery.pl' => sub {
    local $ENV{BENCH_MESSAGES} = 50;
    my $printed = output_of('bench/delivery.pl');
    like $printed, qr/^\Q$_\E +\d+ +\d+$/m, $_ for 'EV::Kafka, on_message', 'kcat';
};

done_testing;
