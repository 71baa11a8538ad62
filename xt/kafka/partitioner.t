use v5.14;
use warnings;

# Keys land where the murmur2 partitioners of Java and of librdkafka put them.

use lib 'xt/lib';
use RealKafka;
use Test::More;

my $PARTITIONS = 11;

# Each length up to 40 (murmur2 treats the last 0 to 3 bytes apart), bytes with
# the high bit set, then many of one form. kcat splits its input at colons and
# newlines, so keys have none; an empty key is for Java only.
srand 7;
my @keys = map { my $n = $_; pack 'C*', map { 128 + int rand 128 } 1 .. $n } 1 .. 40;
push @keys, map { "user-$_" } 1 .. 2000;

# placed(records of each partition) -> key => partition
sub placed {
    my (@records) = @_;
    my %partition;
    for my $p (0 .. $#records) {
        $partition{ $_->[2] } = $p for @{ $records[$p] };
    }
    return \%partition;
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;

    my $topic = create_topic($brokers, 'partitioner-ours', $PARTITIONS);
    my $kafka = connected_client(brokers => $brokers);
    $kafka->produce($topic, $_, 'v') for '', @keys;
    is await('flush', sub { $kafka->flush(@_) }), undef, "Kafka $version: our keys are written";
    await('close', sub { $kafka->close(@_) });
    my $ours = placed(kcat_consume($brokers, $topic, $PARTITIONS));
    is keys %$ours, 1 + @keys, 'each of them is there';

    $topic = create_topic($brokers, 'partitioner-java', $PARTITIONS);
    my @java = java_produce($version, $brokers, $topic, {}, [map { [$_, 'v'] } '', @keys]);
    my %java;
    @java{ '', @keys } = map { $_->[0] } @java;
    is_deeply $ours, \%java, "Kafka $version: on the partitions that Java chooses";

    $topic = create_topic($brokers, 'partitioner-kcat', $PARTITIONS);
    kcat_produce(
        ['-b', $brokers, '-t', $topic, '-K:', '-X', 'topic.partitioner=murmur2_random'],
        join '', map { "$_:v\n" } @keys);
    my $kcats = placed(kcat_consume($brokers, $topic, $PARTITIONS));
    delete $ours->{''};
    is_deeply $ours, $kcats, "Kafka $version: and that kcat chooses";
}

done_testing;
