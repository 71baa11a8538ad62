use v5.14;
use warnings;

# acks => 1 with linger: 200,000 messages with a closure each; every callback
# fires once and names the offset where its own record really is.

use lib 'xt/lib';
use RealKafka;
use Test::More;

my $MESSAGES   = 200_000;
my $PARTITIONS = 4;

my $brokers = shared_cluster($KafkaCluster::NEWEST)->bootstrap;
my $topic   = create_topic($brokers, 'callbacks', $PARTITIONS);
my $kafka   = connected_client(brokers => $brokers, acks => 1, linger_ms => 5);
my $filling = 'x' x 90;

my (@fired, @place, @errors);
for my $i (0 .. $MESSAGES - 1) {
    my $key = $i % 2 ? "key-$i" : undef;
    $kafka->produce($topic, $key, sprintf('%010d%s', $i, $filling), sub {
        my ($result, $error) = @_;
        $fired[$i]++;
        return push @errors, $error if defined $error;
        my $partition = $result->{topics}[0]{partitions}[0];
        push @errors, "code $partition->{error_code}" if $partition->{error_code};
        $place[$i] = "$partition->{partition} $partition->{base_offset}";
    });
}
is await('flush', sub { $kafka->flush(@_) }), undef, 'flushed';
is_deeply \@errors, [], 'no message failed';
is scalar(grep { ($_ // 0) == 1 } @fired), $MESSAGES, 'each callback fired once';
await('close', sub { $kafka->close(@_) });

my @records = consume($brokers, $topic, $PARTITIONS, $MESSAGES);
my ($elsewhere, $found) = (0, 0);
for my $partition (0 .. $#records) {
    for my $record (@{ $records[$partition] }) {
        my $i = substr($record->[3], 0, 10) + 0;
        $found++;
        $elsewhere++ if $place[$i] ne "$partition $record->[0]";
    }
    ok scalar @{ $records[$partition] }, "partition $partition has its share";
}
is $found,     $MESSAGES, 'each record is in the log';
is $elsewhere, 0,         'and lies where its callback said';

done_testing;
