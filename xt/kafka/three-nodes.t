use v5.14;
use warnings;

# A client that knows one address finds the other nodes and sends each record
# to its leader. Leaders change twice while it produces with acks => -1: by a
# node that is killed, and by an election that gives a node its partitions
# back. Nothing is lost, and only what was in flight to the dead node fails.
# Nothing more is claimed of a producer that is not idempotent: what a leader had
# written before it refused it is there twice, and only that.

use EV;
use lib 'xt/lib', 't/lib';
use RealKafka;
use Refusals;
use Test::More;

my $PARTITIONS = 6;
my $MESSAGES   = 30_000;

# Outstanding at once, so no more than this can be in flight to a dying node.
my $BOUND = 2_000;

my $cluster = cluster(nodes => 3);
my ($first) = $cluster->nodes;
my $entry   = $cluster->address($first);
my $topic   = create_topic($entry, 'leader-change', $PARTITIONS, 3);

# leaders() -> leader of each partition, as the first node tells it.
sub leaders {
    my $conn     = connected_conn($entry);
    my $metadata = await('metadata', sub { $conn->metadata([$topic], @_) });
    $conn->disconnect;
    return map { $_->{leader} }
        sort { $a->{partition} <=> $b->{partition} } @{ $metadata->{topics}[0]{partitions} };
}

# in_sync() -> how many replicas of all partitions are in sync.
sub in_sync {
    my @lists = kcat('-L', '-b', $entry, '-t', $topic) =~ /isrs: ([\d,]+)/g;
    return scalar map { split /,/ } @lists;
}

my ($victim) = grep { $_ != $first } leaders();
ok defined $victim, 'another node than the bootstrap one leads a partition';

my @notices;
my $kafka = connected_client(
    brokers  => $entry,
    acks     => -1,
    on_error => sub { push @notices, $_[0] },
);
is keys %{ $kafka->{cfg}{broker_map} }, 3, 'one address is enough to find three nodes';

# send_message($i, $done): does what an application does about a failure: it
# sends the message again.
my (@answers, @errors);
sub send_message {
    my ($i, $done) = @_;
    $kafka->produce($topic, "key-$i", "value-$i", sub {
        my ($result, $error) = @_;
        $answers[$i]++;
        $error //= EV::Kafka::_error_name($result->{topics}[0]{partitions}[0]{error_code})
            if $result->{topics}[0]{partitions}[0]{error_code};
        return $done->() unless defined $error;
        push @errors, $error;
        send_message($i, $done);
    });
}

subtest 'a leader is killed under load' => sub {
    my ($next, $delivered) = (0, 0);
    await('every message is delivered', sub {
        my ($done) = @_;
        my $fill;
        $fill = sub {
            while ($next < $MESSAGES && $next - $delivered < $BOUND) {
                send_message($next++, sub {
                    $delivered++;
                    $cluster->kill_node($victim) if $delivered == $MESSAGES / 3;
                    return $done->() if $delivered == $MESSAGES;
                    $fill->();
                });
            }
        };
        $fill->();
    });
    is $delivered, $MESSAGES, 'each message is delivered in the end';
    cmp_ok scalar(@errors), '<=', $BOUND, 'no more failed than were in flight';
    is_deeply [grep { !/^connection closed by broker/ } @errors], [], 'and all for that reason';
    cmp_ok scalar(@notices), '<=', 1, 'the lost broker was reported once' or diag $_ for @notices;
    is scalar(grep { $_ == $victim || $_ < 0 } leaders()), 0, 'the killed node leads nothing now';
};

subtest 'leaders move back under load' => sub {
    Refusals->forget;
    $cluster->restart_node($victim);
    my $look;
    await('the node is in sync again', sub {
        my ($done) = @_;
        $look = EV::timer 0, 0.2, sub { $done->() if in_sync() == 3 * $PARTITIONS };
    });
    undef $look;
    (@errors, @notices) = ();
    my ($next, $delivered, $elected) = ($MESSAGES, 0, 0);
    my @election = KafkaCluster::java_command($cluster->version, 'LeaderElectionCommand',
        '--bootstrap-server', $entry, '--election-type', 'preferred', '--all-topic-partitions');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>', '/dev/null';
        exec @election or die "java: $!";
    }
    my ($election, $load);
    await('the election, and a second of load after it', sub {
        my ($done) = @_;
        $election = EV::child $pid, 0, sub { is $_[0]->rstatus, 0, 'leaders were elected'; $elected = 1 };
        my $after = 0;
        $load = EV::timer 0, 0.005, sub {
            return undef $load if $elected && $after++ == 200;
            send_message($next++, sub {
                $delivered++;
                $done->() if !$load && $delivered == $next - $MESSAGES;
            }) for 1 .. 20;
        };
    });
    cmp_ok scalar(grep { $_ == $victim } leaders()), '>', 0, 'the node leads again';
    is_deeply \@errors,  [], 'no message failed';
    is_deeply \@notices, [], 'and there was nothing to report';
};

is await('close', sub { $kafka->close(@_) }), undef, 'closed';

# kcat reads to the end of the log: what the cluster kept.
my @records = kcat_consume($entry, $topic, $PARTITIONS);
my (%copies, %offsets);
for my $partition (0 .. $PARTITIONS - 1) {
    for my $record (@{ $records[$partition] }) {
        $copies{ $record->[3] }++;
        push @{ $offsets{ $record->[3] }{$partition} }, $record->[0];
    }
}
is_deeply [grep { !$copies{"value-$_"} } 0 .. $#answers], [], 'nothing is lost';

# A message is there once for each time that it was sent. The exception is what
# was in flight when an election took its leader away: such a leader answers
# NOT_LEADER_OR_FOLLOWER for records that its followers have already, and the
# retry writes them again. Only an idempotent producer is spared that.
my @twice = grep { $copies{"value-$_"} > $answers[$_] } 0 .. $#answers;
is_deeply [grep { $_ < $MESSAGES } @twice], [], 'no message was sent behind our back';
my $NOT_LEADER = 6;
my $refused    = Refusals->refused($topic);
is_deeply [grep { $_ != $NOT_LEADER } map { keys %$_ } values %$refused], [],
    'the election made leaders refuse what was no longer theirs';
note scalar(@twice), ' messages are there twice; refused were ',
    join ', ', map { "$refused->{$_}{$NOT_LEADER} of partition $_" } sort keys %$refused;
is_deeply [grep { $copies{"value-$_"} != $answers[$_] + 1 } @twice], [], 'none is there more often than twice';
is_deeply [Refusals->unexplained($topic, { map { $_ => $offsets{"value-$_"} } $MESSAGES .. $#answers })], [],
    'and each partition has no more of them than it refused';
is_deeply [grep { !written_by_two_leaders("value-$_") } @twice], [],
    'of which the old leader wrote one and the new leader the other';

# Whether there is one copy from before and one from after the election.
sub written_by_two_leaders {
    my ($value) = @_;
    my ($partition, @more) = keys %{ $offsets{$value} };
    my @at = @{ $offsets{$value}{$partition} };
    return !@more && @at == 2 && epoch_at($partition, $at[0]) < epoch_at($partition, $at[1]);
}

# The leader epoch under which the record of an offset was written.
sub epoch_at {
    my ($partition, $offset) = @_;
    state %batches;
    my $batches = $batches{$partition} //= do {
        my @command = KafkaCluster::java_command($cluster->version, 'DumpLogSegments',
            '--files', $cluster->dir . "/node$first/data/$topic-$partition/" . ('0' x 20) . '.log');
        open my $run, '-|', @command or die "java: $!";
        my $batch = qr/^baseOffset: (\d+) lastOffset: (\d+) .*partitionLeaderEpoch: (\d+)/;
        [map { /$batch/ ? [$1, $2, $3] : () } readline $run];
    };
    my ($batch) = grep { $_->[0] <= $offset && $offset <= $_->[1] } @$batches or die "no batch at $partition:$offset\n";
    return $batch->[2];
}

my $total = 0;
$total += $_ for values %copies;
my @ours = consume($entry, $topic, $PARTITIONS, $total);
is join(',', map { scalar @$_ } @ours), join(',', map { scalar @$_ } @records),
    'EV::Kafka reads from three leaders what kcat reads';

done_testing;
