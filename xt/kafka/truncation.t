use v5.14;
use warnings;

# An unclean election (KIP-320): the node that has all records dies, and one that was away while they were
# written leads. A consumer that has read what is gone notices, says so, and goes on where the logs part; none of
# the records that take the place of the lost ones is left out.

use lib 'xt/lib', 't/lib';
use EV;
use EV::Kafka;
use RealKafka;
use Test::More;

my ($KEPT, $LOST, $NEW) = (100, 50, 80);

my $cluster = cluster(nodes => 3, version => $KafkaCluster::NEWEST, set => {
    'unclean.leader.election.enable' => 'true',
    'min.insync.replicas'            => 1,
});
my $brokers = $cluster->bootstrap;
my ($first) = $cluster->nodes;
my $topic   = create_topic($cluster->address($first), 'truncation', 1, 2);

sub until_true {
    my ($what, $condition) = @_;
    my $until = time + 90;
    until ($condition->()) {
        die "never: $what\n" if time > $until;
        my $pause;
        await('the next look', sub { my ($done) = @_; $pause = EV::timer 0.05, 0, $done });
    }
    return;
}

my $producer = EV::Kafka->new(brokers => $brokers, acks => 1, linger_ms => 0, on_error => sub { });
await('connect', sub { $producer->connect(@_) });

# Each value once, whatever happens to the leader meanwhile.
sub write_all {
    for my $value (@_) {
        my $error;
        do {
            (undef, $error) = await('produce', sub {
                $producer->produce($topic, undef, $value, { partition => 0 }, @_);
            });
        } while defined $error;
    }
    return;
}

sub partition {
    my ($node) = grep { $cluster->node_state($_) eq 'up' } $cluster->nodes;
    my $conn   = connected_conn($cluster->address($node));
    my ($meta) = await('metadata', sub { $conn->metadata([$topic], @_) });
    $conn->disconnect;
    return $meta->{topics}[0]{partitions}[0];
}

my (@received, @errors);
my $consumer = EV::Kafka->new(brokers => $brokers, fetch_max_wait_ms => 100,
    on_error => sub { push @errors, $_[0] }, on_message => sub { push @received, $_[4] });
await('connect', sub { $consumer->connect(@_) });
$consumer->assign([{ topic => $topic, offset => 0 }]);
$consumer->consume;

write_all(map { "kept $_" } 1 .. $KEPT);
until_true('what both nodes have', sub { @received == $KEPT });
until_true('both in sync', sub { @{ partition()->{isr} } == 2 });
my $leader = partition()->{leader};
my ($follower) = grep { $_ != $leader } @{ partition()->{replicas} };

$cluster->kill_node($follower);
write_all(map { "lost $_" } 1 .. $LOST);
until_true('what only the leader has', sub { @received == $KEPT + $LOST });

$cluster->kill_node($leader);
$cluster->restart_node($follower);
until_true('the unclean election', sub { partition()->{leader} == $follower });
write_all(map { "new $_" } 1 .. $NEW);
until_true('what has taken their place', sub { @received >= $KEPT + $LOST + $NEW });

is_deeply [grep { /^kept/ } @received], [map { "kept $_" } 1 .. $KEPT], 'what both nodes had came once';
is_deeply [grep { /^new/ } @received],  [map { "new $_" } 1 .. $NEW],  'what is new came once, from its first record';
my @truncated = grep { /was truncated/ } @errors;
is scalar(@truncated), 1, 'on_error heard of the loss once' or diag join "\n", @errors;
like $truncated[0], qr/position ${\ ($KEPT + $LOST)} is not in it any more, consuming goes on at $KEPT$/, 'and where';
is $consumer->position($topic, 0), $KEPT + $NEW, 'the position';

$_->close for $consumer, $producer;
done_testing;
