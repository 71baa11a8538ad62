use v5.14;
use warnings;

# A client that knows one address finds the other nodes and sends each record
# to its leader; when a leader is killed, nothing acknowledged is lost.

use lib 'xt/lib';
use RealKafka;
use Test::More;

my $PARTITIONS = 6;
my $MESSAGES   = 30_000;
my $BOUND      = 2_000;     # outstanding at once

my $cluster = cluster(nodes => 3);
my ($first) = $cluster->nodes;
my $entry   = $cluster->address($first);
my $topic   = create_topic($entry, 'leader-change', $PARTITIONS, 3);

# leaders() -> leader of each partition, as a node that is alive tells it.
sub leaders {
    my $conn     = connected_conn($entry);
    my $metadata = await('metadata', sub { $conn->metadata([$topic], @_) });
    $conn->disconnect;
    return map { $_->{leader} }
        sort { $a->{partition} <=> $b->{partition} } @{ $metadata->{topics}[0]{partitions} };
}

my @before = leaders();
my ($victim) = grep { $_ != $first } @before;
ok defined $victim, 'another node than the bootstrap one leads a partition';

my @notices;
my $kafka = connected_client(
    brokers  => $entry,
    acks     => -1,
    on_error => sub { push @notices, $_[0] },
);
is keys %{ $kafka->{cfg}{broker_map} }, 3, 'one address is enough to find three nodes';

my (@acknowledged, @failed);
my ($next, $answered) = (0, 0);
await('every message is answered', sub {
    my ($done) = @_;
    my $fill;
    $fill = sub {
        while ($next < $MESSAGES && $next - $answered < $BOUND) {
            my $i = $next++;
            $kafka->produce($topic, "key-$i", "value-$i", sub {
                my ($result, $error) = @_;
                $answered++;
                if (defined $error || $result->{topics}[0]{partitions}[0]{error_code}) {
                    push @failed, "$i: " . ($error // 'code');
                }
                else { $acknowledged[$i] = 1 }
                if ($answered == $MESSAGES / 3) {
                    diag "killing node $victim";
                    $cluster->kill_node($victim);
                }
                return $done->() if $answered == $MESSAGES;
                $fill->() if $fill && $next - $answered < $BOUND / 2;
            });
        }
    };
    $fill->();
});
is_deeply \@failed, [], 'each message was acknowledged in the end'
    or diag scalar(@failed), ' failed';
is await('close', sub { $kafka->close(@_) }), undef, 'closed';
diag $_ for @notices;
cmp_ok scalar(@notices), '<=', 3, 'the lost broker was not reported again and again';

my @after = leaders();
is scalar(grep { $_ == $victim || $_ < 0 } @after), 0, 'the killed node leads nothing now';

# kcat reads to the end of the log; what it prints is what the cluster kept.
my @records = kcat_consume($entry, $topic, $PARTITIONS);
my %copies;
$copies{ $_->[3] }++ for map { @$_ } @records;
my @lost = grep { $acknowledged[$_] && !$copies{"value-$_"} } 0 .. $MESSAGES - 1;
is_deeply \@lost, [], 'nothing acknowledged is lost';

# Without idempotence a batch whose answer died with the node is sent again.
my $total = 0;
$total += $_ for values %copies;
diag $total - $MESSAGES, ' records were written twice';

my @ours = consume($entry, $topic, $PARTITIONS, $total, on_error => sub { });
is join(',', map { scalar @$_ } @ours), join(',', map { scalar @$_ } @records),
    'with one address and two nodes left EV::Kafka reads all of it';

$cluster->restart_node($victim);
is_deeply [map { $cluster->node_state($_) } $cluster->nodes], ['up', 'up', 'up'], 'the node is back';

done_testing;
