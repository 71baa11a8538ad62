use v5.14;
use warnings;

use lib 'xt/lib';

use Test::More;

use EV;
use GroupMember qw(wait_until owners_of);
use RealKafka;

# Groups of eight on three real nodes, while records arrive: members join, leave
# and are killed, and so is the coordinator. Every record that was acknowledged is
# delivered at least once, and at the end the partitions are spread evenly.
#
# GROUP_CHAOS_RECORDS: how many records (15000); GROUP_CHAOS_SEED repeats a run;
# GROUP_CHAOS_ROUNDS: which of sticky, cooperative-sticky and consumer (all; of the old
# Kafka, which has two of them, the first); KAFKA_VERSION=3.9.1 for one version.

my $RECORDS    = $ENV{GROUP_CHAOS_RECORDS} // 15_000;
my $SEED       = $ENV{GROUP_CHAOS_SEED}    // int rand 1e9;
my $PARTITIONS = 6;
my $MEMBERS    = 8;
my $CHUNKS     = 50;
# Records arrive for at least that long, or there would be no time for a rebalance.
my $SECONDS_PER_CHUNK = 0.3;

srand $SEED;
diag "GROUP_CHAOS_SEED=$SEED";

my %TIMES = (
    'group.consumer.heartbeat.interval.ms'     => 500,
    'group.consumer.min.heartbeat.interval.ms' => 500,
    'group.consumer.session.timeout.ms'        => 6000,
    'group.consumer.min.session.timeout.ms'    => 6000,
);
my ($cluster, $brokers);

sub coordinator_of {
    my ($group) = @_;
    for my $node ($cluster->nodes) {
        my $conn = eval { connected_conn($cluster->address($node)) } or next;
        my ($found) = await('FindCoordinator', sub { $conn->find_coordinator($group, @_) });
        $conn->disconnect;
        return $found->{node_id} if $found && !$found->{error_code};
    }
    return;
}

sub chaos {
    my ($name, $options) = @_;
    my ($broker) = split /,/, $brokers;
    my $topic = create_topic($broker, "chaos-$name", $PARTITIONS, 3);
    my $group = "$topic-g";
    my (%seen, @members, @gone, $killed_node, $number);
    my %options = (group_id => $group, session_timeout => 6000, heartbeat_interval => 0.5,
        auto_commit_interval => 0.5, %$options);

    my $start = sub {
        my $member = GroupMember->start('m' . ++$number, brokers => $brokers, topics => [$topic], options => \%options);
        $member->{on_record} = sub { $seen{"$_[0]\@$_[1]"}++ };
        push @members, $member;
    };
    my $take = sub { my ($member) = splice @members, rand @members, 1; push @gone, $member; return $member };
    my @steps = (
        ($start) x 3,
        sub { $take->()->kill('KILL') },
        ($start) x 2,
        sub { $take->()->tell('leave') },
        sub { $cluster->kill_node($killed_node = coordinator_of($group)) },
        $start,
        sub { $take->()->kill('KILL') },
        sub { $take->()->tell('leave') },
        sub { $cluster->restart_node($killed_node) },
        sub { $take->()->kill('KILL') },
        ($start) x 2,
    );
    $start->() for 1 .. 4;

    my %acknowledged;
    my $producer = connected_client(brokers => $brokers, idempotent => 1, on_error => sub { note "producer: @_" });
    my ($sent, $settled, $failed, $chunk) = (0, 0, 0, 0);
    my $arrive = EV::timer 0, $SECONDS_PER_CHUNK, sub {
        return if $sent >= $RECORDS;
        for (1 .. $RECORDS / $CHUNKS) {
            my $value = ++$sent;
            $producer->produce($topic, "k$value", "v$value", sub {
                my ($result, $error) = @_;
                $settled++;
                return $failed++ if defined $error || $result->{topics}[0]{partitions}[0]{error_code};
                my $placed = $result->{topics}[0]{partitions}[0];
                $acknowledged{"$topic:$placed->{partition}\@$placed->{base_offset}"} = 1;
            });
        }
        my $step = $chunk++ > 5 && $chunk % 2 == 0 ? shift @steps : undef;
        $step->() if $step;
    };
    wait_until("$RECORDS records to be sent", sub { $sent >= $RECORDS }, @members);
    $_->() for @steps;
    $start->() while @members < $MEMBERS;
    wait_until('the producer', sub { $settled == $sent }, @members);
    cmp_ok scalar(keys %acknowledged), '>', 0.9 * $RECORDS, "$name: records were acknowledged, $failed were not";

    my $count = keys %acknowledged;
    my @missing;
    my $all = eval {
        wait_until('all to be delivered',
            sub { keys %seen >= $count && !grep { !$seen{$_} } keys %acknowledged }, @members);
    } or diag $@;
    @missing = sort grep { !$seen{$_} } keys %acknowledged;
    is_deeply [@missing[0 .. ($#missing > 9 ? 9 : $#missing)]], [], "$name: every one of $count was delivered";
    my $shares = join ' ', (0) x ($MEMBERS - $PARTITIONS), (1) x $PARTITIONS;
    my $is_even = sub { join(' ', sort(owners_of($PARTITIONS, @members))) eq $shares };
    ok eval { wait_until('an even spread', $is_even, @members) },
        "$name: $MEMBERS members have $shares" or diag $@;
    my $times = 0;
    $times += $_ for values %seen;
    note "$name: delivered $times times, ", scalar(@gone), ' members went';

    $_->tell('leave') for @members;
    wait_until('all to leave', sub { !grep { !$_->{gone} } @members }, @members);
    is_deeply [map { $_->lines(qr/^left/) } @members], [('left ok') x $MEMBERS], "$name: all have left";
    await('close', sub { $producer->close(@_) });
    return;
}

for my $version (split ' ', $ENV{KAFKA_VERSION} // "$KafkaCluster::NEWEST $KafkaCluster::OLDEST") {
    my $is_new = $version ge '4';
    my @rounds = split ' ', $ENV{GROUP_CHAOS_ROUNDS} // ($is_new ? 'sticky cooperative-sticky consumer' : 'sticky');
    subtest "Kafka $version" => sub {
        $cluster = cluster(version => $version, nodes => 3, set => $is_new ? \%TIMES : {});
        $brokers = $cluster->bootstrap;
        chaos($_ => $_ eq 'consumer' ? { group_protocol => 'consumer' } : { assignors => [$_] }) for @rounds;
        $cluster->stop;
    };
}

done_testing;
