use v5.14;
use warnings;

# Messages of every shape go out in each acks mode with each codec, and come
# back byte for byte and in order, by EV::Kafka and by kcat.

use lib 'xt/lib';
use RealKafka;
use Test::More;

my $MESSAGES   = 10_000;
my $PARTITIONS = 4;

# Repeatable bytes of any value; hard to compress, like a picture or a cipher.
my $noise = do { srand 42; pack 'C*', map { int rand 256 } 1 .. 900 * 1024 };

# message($i) -> key, value, headers as produce takes them, partition or undef.
# Header names are in order, since EV::Kafka gives them back as a hash.
# Without a key the partition is given: then every partition's order is known.
sub message {
    my ($i) = @_;
    my $key
        = $i % 7 == 0 ? undef
        : $i % 7 == 1 ? ''
        :               substr($noise, $i, 3) . ($i % 500);
    my $value
        = $i == $MESSAGES / 2 ? $noise
        : $i % 5 == 0         ? undef
        : $i % 5 == 1         ? ''
        : $i % 5 == 2         ? "the same words again and again $i\0\n" x ($i % 9)
        :                       substr($noise, $i, $i % 300);
    my $headers
        = $i % 4 == 0 ? undef
        : $i % 4 == 1 ? { "h$i" => "v$i" }
        : $i % 4 == 2 ? [['b', 'one'], ['empty', ''], ['null', undef]]
        :               [['bytes', "\xff\xfe\x01"], ['utf8', "\xc3\xa9"]];
    return ($key, $value, $headers, defined $key ? undef : ($i / 7) % $PARTITIONS);
}

my @messages = map { [message($_)] } 0 .. $MESSAGES - 1;

# The records that each partition should hold.
my @wanted = map { [] } 1 .. $PARTITIONS;
for (@messages) {
    my ($key, $value, $headers, $partition) = @$_;
    $partition //= EV::Kafka::_murmur2($key) % $PARTITIONS;
    push @{ $wanted[$partition] }, [$key, $value, header_text($headers)];
}

sub produce_all {
    my ($topic, %option) = @_;
    my $kafka = connected_client(%option);
    my ($answered, @failed) = (0);
    my $on_delivery = sub {
        my ($result, $error) = @_;
        $answered++;
        push @failed, $error if defined $error;
    };
    for (@messages) {
        my ($key, $value, $headers, $partition) = @$_;
        my %opts;
        $opts{headers}   = $headers   if $headers;
        $opts{partition} = $partition if defined $partition;
        $kafka->produce($topic, $key, $value, (%opts ? \%opts : ()), $on_delivery);
    }
    my $error = await('flush', sub { $kafka->flush(@_) });
    is $error,    undef,     "$topic: flushed";
    is $answered, $MESSAGES, "$topic: each message was answered once";
    is_deeply \@failed, [], "$topic: without an error";
    await('close', sub { $kafka->close(@_) });
}

sub round_trip {
    my ($version, $brokers, $acks, $codec, $level) = @_;
    my $name = join '-', 'round-trip', $acks < 0 ? 'all' : $acks, $codec // 'none', $level // ();
    return subtest "Kafka $version, $name" => sub {
        my $topic = create_topic($brokers, $name, $PARTITIONS);
        produce_all($topic, brokers => $brokers, acks => $acks, compression => $codec, compression_level => $level);
        my @ours  = consume($brokers, $topic, $PARTITIONS, $MESSAGES);
        my @kcats = kcat_consume($brokers, $topic, $PARTITIONS);
        for my $partition (0 .. $PARTITIONS - 1) {
            is same_records($ours[$partition], $wanted[$partition]), undef, "partition $partition as EV::Kafka reads it";
            is same_records($kcats[$partition], $wanted[$partition]), undef, "partition $partition as kcat reads it";
        }
    };
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;
    for my $acks (-1, 1, 0) {
        round_trip($version, $brokers, $acks, $_) for undef, qw(gzip snappy lz4 zstd);
    }
}
round_trip($KafkaCluster::NEWEST, shared_cluster($KafkaCluster::NEWEST)->bootstrap, -1, @$_)
    for [gzip => 1], [gzip => 9], [lz4 => 1], [lz4 => 17], [zstd => -7], [zstd => 19];

done_testing;
