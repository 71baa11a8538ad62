use v5.14;
use warnings;

# What Java's producer and kcat write with each codec, EV::Kafka reads exactly.

use lib 'xt/lib';
use RealKafka;
use Test::More;

my $RECORDS = 3000;

srand 3;
my $noise = pack 'C*', map { int rand 256 } 1 .. 200_000;

# Few large batches, so that the codecs have something to do.
my %BATCHING = ('linger.ms' => 200, 'batch.size' => 500_000);

my @records = map {
    my $i = $_;
    [
        $i % 3 ? "key $i" : $i % 2 ? undef : '',
        $i % 11 == 0 ? undef : $i % 11 == 1 ? '' : $i == 1500 ? $noise : "value of record $i\0\xff\n" x ($i % 8),
        $i % 4 ? [] : [['number', $i], ['nothing', undef], ['bytes', "\x00\xff"]],
    ]
} 0 .. $RECORDS - 1;
my @wanted = map { [$_->[0], $_->[1], header_text([sort { $a->[0] cmp $b->[0] } @{ $_->[2] }])] } @records;

# kcat's input is lines of key:value; all of them get the same two headers.
my @lines       = map { ["key-$_", "value of line $_ " x ($_ % 8)] } 0 .. $RECORDS - 1;
my $input       = join '', map { "$_->[0]:$_->[1]\n" } @lines;
my @kcat_wanted = map { [$_->[0], length $_->[1] ? $_->[1] : '', 'from=kcat,why=test'] } @lines;

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;
    for my $codec (qw(none gzip snappy lz4 zstd)) {
        my $topic = create_topic($brokers, "foreign-java-$codec", 1);
        java_produce($version, $brokers, $topic, { %BATCHING, 'compression.type' => $codec }, \@records);
        my ($read) = consume($brokers, $topic, 1, $RECORDS);
        is same_records($read, \@wanted), undef, "Kafka $version: Java's records, $codec";

        $topic = create_topic($brokers, "foreign-kcat-$codec", 1);
        kcat_produce(
            ['-b', $brokers, '-t', $topic, '-K:', '-z', $codec, '-H', 'from=kcat', '-H', 'why=test',
                map { ('-X', "$_=$BATCHING{$_}") } sort keys %BATCHING],
            $input);
        ($read) = consume($brokers, $topic, 1, $RECORDS);
        is same_records($read, \@kcat_wanted), undef, "Kafka $version: kcat's records, $codec";
    }
}

done_testing;
