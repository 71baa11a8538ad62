use v5.14;
use warnings;

# The benchmarks run, and print figures for each contestant of each section. How good
# the figures are depends on the machine and is not judged here. The peer is the system's
# librdkafka: a test fetches nothing.

use lib 'xt/lib', 'bench/lib';
use File::Temp qw(tempdir);
use JSON::PP   ();
use KafkaBench::Plot;
use RealKafka;
use Test::More;

delete @ENV{ grep { /^BENCH_/ } keys %ENV };
local $ENV{KAFKA_BROKER}     = shared_cluster($KafkaCluster::NEWEST)->bootstrap;
local $ENV{BENCH_MESSAGES}   = 500;
local $ENV{BENCH_ROUNDS}     = 1;
local $ENV{BENCH_SECONDS}    = 1;
local $ENV{BENCH_LIBRDKAFKA} = 'system';
local $ENV{BENCH_FRANZ_GO}   = 0;

my $folder = tempdir(CLEANUP => 1);
my @run    = ($^X, map { "-I$_" } grep { !ref } @INC);

sub output_of {
    open my $run, '-|', @run, @_ or die "$^X: $!";
    my $printed = do { local $/; readline $run };
    close $run;
    is $?, 0, "@_";
    note $printed;
    return $printed;
}

sub content { local (@ARGV, $/) = @_; return scalar readline }

# benchmark(@arguments) -> what it printed, and what it wrote.
sub benchmark {
    my $file    = "$folder/figures.json";
    my $printed = output_of('bench/benchmark.pl', '--json', $file, @_);
    return ($printed, JSON::PP->new->decode(content($file)));
}

# How many contestants there are in a row, of librdkafka's and of ours: two who consume, and elsewhere by section.
my %TAKES_PART = (produce => [1, 2], callbacks => [1, 7], sequential => [1, 2]);

sub is_measured {
    my ($printed, $section) = @_;
    my ($name, $rows) = @$section{qw(name rows)};
    like $printed, qr/^\Q$section->{title}\E$/m, "$name: title";
    for my $row (@$rows) {
        is $row->{error}, undef, "$name, $row->{name}";
        my @entries = @{ $row->{entries} };
        my @ours    = grep { $_->{client} eq 'EV::Kafka' } @entries;
        my @theirs  = grep { $_->{client} eq 'librdkafka' } @entries;
        my $wanted  = "$name $row->{name}" =~ /consume/ ? [2, 2] : $TAKES_PART{$name} // [1, 1];
        is_deeply [scalar @theirs, scalar @ours], $wanted, "$name, $row->{name}: who takes part";
        is_deeply [map { $_->{error} // () } @entries], [], 'nobody failed';
        is scalar(grep { $_->{medians}{msg_s} > 0 && $_->{medians}{cpu_us} > 0 } @entries), scalar @entries, 'figures';
        is scalar(grep { $_->{rate_ratio} > 0 && $_->{cpu_ratio} > 0 } @ours), scalar @ours, 'ours beside theirs';
        is scalar(grep { $_->{latency_ratio} > 0 } @ours), scalar @ours, 'latency' if $section->{kind} eq 'latency';
        for my $entry (@entries) {
            my $ratios = $entry->{client} eq 'librdkafka' ? '' : ' +\d+\.\d\d x +\d+\.\d\d x';
            like $printed, qr/^    \Q$entry->{name}\E +\d+(?:\.\d+)?(?: +(?:\d+(?:\.\d+)?|-)){2,3}$ratios$/m, "$name: $entry->{name}";
            is scalar @{ $entry->{runs} }, 1, 'its runs';
        }
    }
    return;
}

subtest 'benchmark.pl' => sub {
    my @names = qw(produce callbacks defaults idempotent fire-and-forget sizes codecs repeated partitions consume
        consume-sizes consume-codecs latency sequential metadata);
    my $picture = "$folder/figures.svg";
    my ($printed, $written) = benchmark('--svg', $picture, @names);
    is_deeply [map { $_->{name} } @{ $written->{sections} }], \@names, 'the sections';
    is $written->{about}{settings}{messages}, 500, 'the settings';
    like $written->{about}{versions}{librdkafka}, qr/^librdkafka \d+\.\d+/, "librdkafka's version";
    is_measured($printed, $_) for @{ $written->{sections} };
    is output_of('bench/plot.pl', "$folder/figures.json"), content($picture), 'plot.pl draws the same';
    like content($picture), qr{\A<svg .*<text[^>]*>one callback with an argument</text>.*</svg>\n\z}s, 'the picture';
    cmp_ok -s $picture, '<', 30_000, 'it is small';
};

subtest 'benchmark.pl, one section, by rounds' => sub {
    local $ENV{BENCH_ROUNDS} = 2;
    my (undef, $written) = benchmark('metadata');
    is_deeply [map { [$_->{name}, map { map { scalar @{ $_->{runs} } } @{ $_->{entries} } } @{ $_->{rows} }] } @{ $written->{sections} }],
        [['metadata', 2, 2]], 'nothing else';
};

subtest 'benchmark.pl, on a Kafka of its own' => sub {
    delete local $ENV{KAFKA_BROKER};
    my ($printed, $written) = benchmark('tls', 'defaults');
    is_measured($printed, $_) for @{ $written->{sections} };
    is $written->{about}{kafka}, $KafkaCluster::NEWEST, "Kafka's version";
    my ($row) = @{ $written->{sections}[1]{rows} };
    is scalar(grep { $_->{medians}{record_bytes} > 100 } @{ $row->{entries} }), 2, 'bytes a record';
};

subtest 'benchmark.pl, two builds' => sub {
    my ($printed, $written) = benchmark('--against', '.', 'fire-and-forget');
    my ($row) = @{ $written->{sections}[0]{rows} };
    is_deeply [map { [@$_{qw(client variant)}, $_->{rate_ratio} ? 'measured' : ()] } @{ $row->{entries} }],
        [['EV::Kafka of .', 'no callback'], ['EV::Kafka', 'no callback', 'measured']], 'who takes part';
};

subtest 'benchmark.pl, with some that fail' => sub {
    local $ENV{BENCH_ACKS} = 7;
    my ($printed, $written) = benchmark('produce', 'fire-and-forget');
    my ($failing, $other) = map { $_->{rows}[0]{entries} } @{ $written->{sections} };
    is_deeply [map { !!$_->{error} } @$failing], [(!!1) x 3], 'they say so';
    like $printed, qr/^    EV::Kafka, no callback: failed: .*acks/m, 'and why';
    is_deeply [grep { $_->{error} } @$other], [], 'others are measured';
    is $written->{about}{settings}{acks}, 7, 'the settings';
};

subtest 'the picture' => sub {
    my %about = (date => '2026-01-01', machine => 'a & b', versions => {}, settings => { rounds => 1 });
    my @entries = ({ client => 'librdkafka', variant => '', medians => {} },
        { client => 'EV::Kafka', variant => '', rate_ratio => 9.5, cpu_ratio => 0.5, medians => {} });
    my $picture = svg({ about => \%about, sections => [{ title => 'x: y, z', rows => [{ name => 'it <', entries => \@entries }] }] });
    like $picture, qr{>2026-01-01, a &amp; b<.*>x: y<.*>it &lt;<.*class="g".*>9\.50<.*class="g".*>0\.50<}s, 'names, bars and figures';
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
