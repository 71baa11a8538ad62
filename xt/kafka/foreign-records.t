use v5.14;
use warnings;

# What Java's producer and kcat write with each codec and at its lowest and highest levels, EV::Kafka reads exactly.

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

sub read_of_java {
    my ($version, $brokers, $codec, $level) = @_;
    my $topic  = create_topic($brokers, join('-', 'foreign-java', $codec, $level // ()), 1);
    my %option = (%BATCHING, 'compression.type' => $codec);
    $option{"compression.$codec.level"} = $level if defined $level;
    java_produce($version, $brokers, $topic, \%option, \@records);
    my ($read) = consume($brokers, $topic, 1, $RECORDS);
    is same_records($read, \@wanted), undef, "Kafka $version: Java's records, $codec " . ($level // '');
}

sub read_of_kcat {
    my ($version, $brokers, $codec, $level) = @_;
    my $topic  = create_topic($brokers, join('-', 'foreign-kcat', $codec, $level // ()), 1);
    my %option = (%BATCHING, defined $level ? ('compression.level' => $level) : ());
    kcat_produce(
        ['-b', $brokers, '-t', $topic, '-K:', '-z', $codec, '-H', 'from=kcat', '-H', 'why=test',
            map { ('-X', "$_=$option{$_}") } sort keys %option],
        $input);
    my ($read) = consume($brokers, $topic, 1, $RECORDS);
    is same_records($read, \@kcat_wanted), undef, "Kafka $version: kcat's records, $codec " . ($level // '');
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;
    for my $codec (qw(none gzip snappy lz4 zstd)) {
        read_of_java($version, $brokers, $codec);
        read_of_kcat($version, $brokers, $codec);
    }
}

# Java's producer has levels since 3.8 (KIP-390).
my @newest = ($KafkaCluster::NEWEST, shared_cluster($KafkaCluster::NEWEST)->bootstrap);
read_of_java(@newest, @$_) for [gzip => 1], [gzip => 9], [lz4 => 1], [lz4 => 17], [zstd => -7], [zstd => 19];
read_of_kcat(@newest, @$_) for [gzip => 1], [gzip => 9], [lz4 => 1], [lz4 => 12], [zstd => 1], [zstd => 12];

done_testing;
