use v5.14;
use warnings;

# Every request method gets a good answer and an error from real brokers, in
# every version that both sides speak.

use EV;
use lib 'xt/lib';
use CappingProxy;
use RealKafka;
use Test::More;

# Stands for the callback among a method's arguments.
my $CB = \'the callback';

# What goes away by itself: a coordinator that is loading, is not there yet, or
# is still busy with the last transaction.
my %TRANSIENT = map { $_ => 1 } 14, 15, 16, 51;

my ($ILLEGAL_GENERATION, $UNKNOWN_MEMBER, $UNKNOWN_TOPIC) = (22, 25, 3);
my ($NOT_AVAILABLE, $NOT_COORDINATOR, $INVALID_TOPIC, $TOPIC_EXISTS) = (15, 16, 17, 36);
my ($MEMBER_ID_REQUIRED, $INVALID_REQUEST) = (79, 42);
my ($INVALID_PRODUCER_ID_MAPPING, $INVALID_TRANSACTION_TIMEOUT) = (49, 50);
my $OUT_OF_RANGE = 1;

my ($cluster, $first, $second, $topic, $plain);

# --- asking ---------------------------------------------------------------------

# try_ask($conn, $method, @arguments with $CB) -> result, error.
sub try_ask {
    my ($conn, $method, @arguments) = @_;
    return await($method, sub {
        my ($done) = @_;
        $conn->$method(map { ref $_ && $_ == $CB ? $done : $_ } @arguments);
    });
}

sub ask {
    my ($conn, $method, @arguments) = @_;
    my ($result, $error) = try_ask($conn, $method, @arguments);
    die "$method: $error\n" if defined $error;
    return $result;
}

# Asks again while the answer is one that time mends.
sub ask_patiently {
    my (@call) = @_;
    return ask_while(\%TRANSIENT, sub { ask(@call) });
}

sub good {
    my (@call) = @_;
    my $result = ask_patiently(@call);
    ok !(grep { $_ } error_codes($result)), "$call[1]: good" or diag explain $result;
    ok !$result->{truncated}, 'and whole';
    return $result;
}

# An answer that has this error and no other.
sub bad {
    my ($code, @call) = @_;
    my %seen = map { $_ => 1 } grep { $_ } error_codes(ask(@call));
    is_deeply [keys %seen], [$code], "$call[1]: " . EV::Kafka::_error_name($code);
}

# --- groups and transactions of the first node --------------------------------------

# A name that is not used yet, and whose coordinator is the first node.
sub fresh_key {
    my ($what, $type) = @_;
    state $count = 0;
    while (1) {
        my $key = "$what-$$-" . ++$count;
        return $key if ask_patiently($plain, find_coordinator => $key, $CB, $type)->{node_id} == $first;
    }
}

sub fresh_group { fresh_key(group => 0) }

sub join_alone {
    my ($conn, $group) = @_;
    my @timeouts = (10_000, 10_000);
    my $joined = ask_patiently($conn, join_group => $group, '', [$topic], $CB, @timeouts);
    return $joined unless $joined->{error_code} == $MEMBER_ID_REQUIRED;
    return ask($conn, join_group => $group, $joined->{member_id}, [$topic], $CB, @timeouts);
}

# A group of one member, joined and synchronised.
sub stable_group {
    my $group  = fresh_group();
    my $joined = join_alone($plain, $group);
    my ($generation, $member) = @$joined{qw(generation_id member_id)};
    good($plain, sync_group => $group, $generation, $member, [{ member_id => $member, assignment => 'all' }], $CB);
    return ($group, $generation, $member);
}

# A transactional id with its producer id and epoch.
sub producer {
    my $id   = fresh_key(txn => 1);
    my $init = good($plain, init_producer_id => $id, 60_000, $CB);
    return ($id, @$init{qw(producer_id producer_epoch)});
}

sub offsets {
    my ($partition, $offset) = @_;
    return [{ topic => $topic, partitions => [{ partition => $partition, offset => $offset }] }];
}

sub partition_of { $_[0]{topics}[0]{partitions}[0] }

# --- what is asked of each API --------------------------------------------------------

my @APIS = (
    # Comes first: only a cluster that never had a group lacks a coordinator, and
    # version 0 has no other way to go wrong.
    [FindCoordinator => 10, 0, 6, sub {
        my ($conn, $version) = @_;
        bad($NOT_AVAILABLE, $conn, find_coordinator => 'the very first', $CB) if $version == 0;
        my $result = good($conn, find_coordinator => 'some group', $CB);
        is "$result->{host}:$result->{port}", $cluster->address($result->{node_id}), 'an address';
        return if $version == 0;
        good($conn, find_coordinator => 'some id', $CB, 1);
        bad($INVALID_REQUEST, $conn, find_coordinator => 'x', $CB, 9);
    }],
    [Metadata => 3, 0, 13, sub {
        my ($conn) = @_;
        my $result = good($conn, metadata => [$topic], $CB);
        is $result->{topics}[0]{name}, $topic, 'the topic';
        is @{ $result->{brokers} }, 2, 'brokers';
        bad($INVALID_TOPIC, $conn, metadata => ['no such name'], $CB);
    }],
    [Produce => 0, 3, 12, sub {
        my ($conn) = @_;
        cmp_ok partition_of(good($conn, produce => $topic, 0, 'k', 'v', $CB))->{base_offset}, '>=', 0, 'an offset';
        bad($UNKNOWN_TOPIC, $conn, produce => $topic, 99, 'k', 'v', $CB);
        my @batch = ($topic, 0, [{ value => 'a' }, { value => 'b' }], { acks => -1 }, $CB);
        good($conn, produce_batch => @batch);
    }],
    [Fetch => 1, 4, 12, sub {
        my ($conn) = @_;
        is partition_of(good($conn, fetch => $topic, 0, 0, $CB))->{records}[0]{value}, 'v', 'a record';
        bad($OUT_OF_RANGE, $conn, fetch => $topic, 0, 1 << 40, $CB);
        good($conn, fetch_multi => { $topic => [{ partition => 0, offset => 0 }] }, $CB);
    }],
    [ListOffsets => 2, 1, 10, sub {
        my ($conn) = @_;
        is partition_of(good($conn, list_offsets => $topic, 0, -2, $CB))->{offset}, 0, 'the first';
        bad($UNKNOWN_TOPIC, $conn, list_offsets => $topic, 99, -1, $CB);
    }],
    [CreateTopics => 19, 0, 7, sub {
        my ($conn, $version) = @_;
        good($conn, create_topics => [{ name => "created-$version" }], 10_000, $CB);
        bad($TOPIC_EXISTS, $conn, create_topics => [{ name => $topic }], 10_000, $CB);
    }],
    [DeleteTopics => 20, 0, 6, sub {
        my ($conn, $version) = @_;
        good($plain, create_topics => [{ name => "deleted-$version" }], 10_000, $CB);
        good($conn, delete_topics => ["deleted-$version"], 10_000, $CB);
        bad($UNKNOWN_TOPIC, $conn, delete_topics => ['never there'], 10_000, $CB);
    }],
    [JoinGroup => 11, 0, 9, sub {
        my ($conn) = @_;
        my $group  = fresh_group();
        my $joined = join_alone($conn, $group);
        is $joined->{error_code}, 0, 'joined' or diag explain $joined;
        is $joined->{leader}, $joined->{member_id}, 'and leads';
        is $joined->{protocol_name}, 'sticky', 'by our protocol';
        is_deeply [map { $_->{member_id} } @{ $joined->{members} }], [$joined->{member_id}], 'the one member';
        is substr($joined->{members}[0]{metadata}, 0, 8 + length $topic), pack('n N n/a*', 0, 1, $topic), 'wants the topic';
        bad($UNKNOWN_MEMBER, $conn, join_group => $group, 'nobody', [$topic], $CB);
    }],
    [SyncGroup => 14, 0, 4, sub {
        my ($conn) = @_;
        my $group  = fresh_group();
        my $joined = join_alone($plain, $group);
        my ($generation, $member) = @$joined{qw(generation_id member_id)};
        bad($ILLEGAL_GENERATION, $conn, sync_group => $group, $generation + 7, $member, [], $CB);
        my $result = good($conn, sync_group => $group, $generation, $member,
            [{ member_id => $member, assignment => 'all of it' }], $CB);
        is $result->{assignment}, 'all of it', 'the assignment';
    }],
    [Heartbeat => 12, 0, 4, sub {
        my ($conn) = @_;
        my ($group, $generation, $member) = stable_group();
        good($conn, heartbeat => $group, $generation, $member, $CB);
        bad($UNKNOWN_MEMBER, $conn, heartbeat => $group, $generation, 'nobody', $CB);
    }],
    [LeaveGroup => 13, 0, 5, sub {
        my ($conn) = @_;
        my ($group, undef, $member) = stable_group();
        bad($UNKNOWN_MEMBER, $conn, leave_group => $group, 'nobody', $CB);
        good($conn, leave_group => $group, $member, $CB);
    }],
    [OffsetCommit => 8, 2, 9, sub {
        my ($conn) = @_;
        my ($group, $generation, $member) = stable_group();
        my $result = good($conn, offset_commit => $group, $generation, $member, offsets(0, 42), $CB);
        is $result->{topics}[0]{topic}, $topic, 'the topic';
        bad($UNKNOWN_MEMBER, $conn, offset_commit => $group, $generation, 'nobody', offsets(0, 43), $CB);
        my $fetched = good($plain, offset_fetch => $group, [{ topic => $topic, partitions => [0] }], $CB);
        is partition_of($fetched)->{offset}, 42, 'is stored';
    }],
    [OffsetFetch => 9, 1, 9, sub {
        my ($conn, $version) = @_;
        my $group = fresh_group();
        my @asked = ([{ topic => $topic, partitions => [0, 1] }], $CB);
        good($plain, offset_commit => $group, -1, '', [{ topic => $topic, partitions => [{ partition => 1, offset => 7, metadata => 'mine' }] }], $CB);
        my $result = good($conn, offset_fetch => $group, @asked);
        my %offset = map { $_->{partition} => $_->{offset} } @{ $result->{topics}[0]{partitions} };
        is_deeply \%offset, { 0 => -1, 1 => 7 }, 'one is stored, one is not';
        my ($proxy, $elsewhere) = capped_conn($second, 9, $version);
        # Version 1 has no error code but those of partitions, and 3.9 then names none.
        return is_deeply ask($elsewhere, offset_fetch => $group, @asked)->{topics}, [], 'nothing from elsewhere'
            if $version == 1 && $cluster->version eq $KafkaCluster::OLDEST;
        bad($NOT_COORDINATOR, $elsewhere, offset_fetch => $group, @asked);
    }],
    [InitProducerId => 22, 0, 5, sub {
        my ($conn, $version) = @_;
        cmp_ok good($conn, init_producer_id => undef, 0, $CB)->{producer_id}, '>=', 0, 'an id';
        my $id   = fresh_key(txn => 1);
        my $init = good($conn, init_producer_id => $id, 60_000, $CB);
        bad($INVALID_TRANSACTION_TIMEOUT, $conn, init_producer_id => $id, 2**31 - 1, $CB);
        return if $version < 3;
        my $next = good($conn, init_producer_id => $id, 60_000, $CB, @$init{qw(producer_id producer_epoch)});
        is $next->{producer_epoch}, $init->{producer_epoch} + 1, 'the next epoch';
    }],
    [AddPartitionsToTxn => 24, 0, 3, sub {
        my ($conn) = @_;
        my ($id, $producer, $epoch) = producer();
        my @asked = ([{ topic => $topic, partitions => [0, 1] }], $CB);
        my $result = good($conn, add_partitions_to_txn => $id, $producer, $epoch, @asked);
        is_deeply [sort map { $_->{partition} } @{ $result->{topics}[0]{partitions} }], [0, 1], 'both';
        bad($INVALID_PRODUCER_ID_MAPPING, $conn, add_partitions_to_txn => $id, $producer + 1000, $epoch, @asked);
        good($plain, end_txn => $id, $producer, $epoch, 0, $CB);
    }],
    [AddOffsetsToTxn => 25, 0, 4, sub {
        my ($conn) = @_;
        my ($id, $producer, $epoch) = producer();
        my $group = fresh_group();
        good($conn, add_offsets_to_txn => $id, $producer, $epoch, $group, $CB);
        bad($INVALID_PRODUCER_ID_MAPPING, $conn, add_offsets_to_txn => $id, $producer + 1000, $epoch, $group, $CB);
        good($plain, end_txn => $id, $producer, $epoch, 0, $CB);
    }],
    [TxnOffsetCommit => 28, 0, 5, sub {
        my ($conn, $version) = @_;
        my ($id, $producer, $epoch)      = producer();
        my ($group, $generation, $member) = stable_group();
        my @txn = ($id, $group, $producer, $epoch);
        my @of  = $version >= 5 ? (undef, 2) : ();
        good($plain, add_offsets_to_txn => $id, $producer, $epoch, $group, $CB) unless @of;
        good($conn, txn_offset_commit => @txn, $generation, $member, offsets(0, 77), $CB, @of);
        bad($UNKNOWN_TOPIC, $conn, txn_offset_commit => @txn, $generation, $member,
            [{ topic => 'never there', partitions => [{}] }], $CB, @of);
        bad($UNKNOWN_MEMBER, $conn, txn_offset_commit => @txn, $generation, 'nobody', offsets(0, 1), $CB, @of) if $version >= 3;
        good($plain, end_txn => $id, $producer, $epoch, 1, $CB);
        my $fetched = good_offset_after($group);
        is $fetched, 77, 'is stored with the transaction';
    }],
    [EndTxn => 26, 0, 5, sub {
        my ($conn, $version) = @_;
        my @of = $version >= 5 ? 2 : 1;
        for my $commit (1, 0) {
            my ($id, $producer, $epoch) = producer();
            good($plain, add_partitions_to_txn => $id, $producer, $epoch, [{ topic => $topic, partitions => [1] }], $CB);
            bad($INVALID_PRODUCER_ID_MAPPING, $conn, end_txn => $id, $producer + 1000, $epoch, $commit, $CB, @of);
            my $result = good($conn, end_txn => $id, $producer, $epoch, $commit, $CB, @of);
            is_deeply [@$result{qw(producer_id producer_epoch)}], [$producer, $epoch + 1], 'the identity to go on with' if $version >= 5;
        }
    }],
);

# The group's offset once no transaction keeps it open.
sub good_offset_after {
    my ($group) = @_;
    $TRANSIENT{88} = 1;    # UNSTABLE_OFFSET_COMMIT
    my @asked  = ([{ topic => $topic, partitions => [0] }], { require_stable => 1 }, $CB);
    my $result = ask_patiently($plain, offset_fetch => $group, @asked);
    delete $TRANSIENT{88};
    return partition_of($result)->{offset};
}

# --- walking the versions ---------------------------------------------------------------

sub capped_conn {
    my ($node, $api, $max) = @_;
    my $proxy = CappingProxy->new(broker => $cluster->address($node), api => $api, max => $max);
    return ($proxy, connected_conn($proxy->address));
}

sub walk {
    my ($name, $api, $lowest, $highest, $test) = @_;
    my ($proxy) = capped_conn($first);
    my ($from, $to) = @{ $proxy->ranges->{$api} };
    $from = $lowest  if $from < $lowest;
    $to   = $highest if $to > $highest;
    my @ran;
    for my $version ($from .. $to) {
        subtest "$name $version" => sub {
            my ($capped, $conn) = capped_conn($first, $api, $version);
            $test->($conn, $version);
            is_deeply [$capped->versions_sent($api)], [$version], 'in that version only';
            push @ran, $capped->versions_sent($api);
            $conn->disconnect;
        };
    }
    is_deeply \@ran, [$from .. $to], "$name: every version";
    diag "Kafka ${\ $cluster->version } $name: @ran";
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    subtest "Kafka $version" => sub {
        $cluster = cluster(version => $version, nodes => 2);
        ($first, $second) = $cluster->nodes;
        $plain = connected_conn($cluster->address($first));
        $topic = led_by_first();
        walk(@$_) for @APIS;

        $plain->disconnect;
        $cluster->stop;
    };
}

# A topic of two partitions; the first node leads partition 0.
sub led_by_first {
    for my $try (1 .. 50) {
        my $name = create_topic($cluster->address($first), "versions-$try", 2);
        my $partitions = ask($plain, metadata => [$name], $CB)->{topics}[0]{partitions};
        return $name if grep { $_->{partition} == 0 && $_->{leader} == $first } @$partitions;
    }
    die "node $first leads nothing\n";
}

done_testing;
