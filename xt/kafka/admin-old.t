use v5.14;
use warnings;

# Each admin method with a broker of Kafka 3.9: what it is told there, and what such a broker does not offer.

use EV;
use EV::Kafka;
use lib 'xt/lib';
use RealKafka;
use Test::More;

my $cluster = cluster(version => '3.9.1', set => {
    'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users'           => 'User:ANONYMOUS',
});
my $brokers = $cluster->bootstrap;
my ($node)  = $cluster->nodes;
my $kafka   = connected_client(brokers => $brokers);
my ($host, $port) = split /:/, $brokers;

# The methods that were called.
my %called;

sub ask {
    my ($method, @arguments) = @_;
    $called{$method} = 1;
    return await($method, sub { $kafka->$method(@arguments, @_) });
}

# The result of a method, which has no error.
sub admin {
    my ($method, @arguments) = @_;
    my ($result, $error) = ask($method, @arguments);
    is $error, undef, "$method: no error";
    return $result || {};
}

# What has been changed is not known everywhere at once.
sub until_so {
    my ($what, $condition) = @_;
    for (1 .. 100) {
        return pass $what if $condition->();
        my $timer;
        await('the next look', sub { my ($done) = @_; $timer = EV::timer 0.1, 0, $done });
    }
    return fail $what;
}

# What is said of a request that such a broker does not have, or not in this version.
sub not_offered { my ($request, $method) = @_; return "broker $node does not offer $request (needed for $method)" }

sub lacks {
    my ($method, $request, @arguments) = @_;
    my (undef, $error) = ask($method, @arguments);
    return is $error, "$method: " . not_offered($request, $method), "$method: $request";
}

# It is the error of each item.
sub item_lacks {
    my ($item, $method, $request) = @_;
    return is_deeply [@$item{qw(error_code error_message)}], [35, not_offered($request, $method)], "$method: $request";
}

sub codes { my ($list) = @_; return [map { $_->{error_code} } @{ $list || [] }] }

sub produced {
    my ($client, $topic, @messages) = @_;
    return await('delivery', sub {
        my ($done) = @_;
        $client->produce($topic, @$_, { partition => 0 }) for @messages;
        $client->flush($done);
    });
}

subtest 'topics' => sub {
    is_deeply codes(admin(create_topics => [{ name => 'a', num_partitions => 2, replication_factor => 1, configs => { 'retention.ms' => 3_600_000 } }, { name => 'b', replication_factor => 1 }, { name => 'no good' }])->{topics}),
        [0, 0, 17], 'created';
    is_deeply codes(admin(create_partitions => [{ name => 'a', count => 3 }])->{topics}), [0], 'a partition more';
    until_so('all partitions have leaders', sub {
        my ($topic) = @{ admin(describe_topics => ['a'], { authorized_operations => 1 })->{topics} };
        return 3 == grep { $_->{leader} == $node && !$_->{error_code} } @{ $topic->{partitions} };
    });
    is_deeply [map { $_->{name} } @{ admin('describe_topics')->{topics} }], [qw(a b)], 'described';
    is_deeply codes(admin(delete_topics => ['b', 'none'])->{topics}), [0, 3], 'deleted';
};

subtest 'settings' => sub {
    is_deeply codes(admin(alter_configs => [{ resource_type => 'topic', resource_name => 'a', set => { 'segment.bytes' => 1_048_576 }, append => { 'cleanup.policy' => ['compact'] } },
        { resource_type => 'group', resource_name => 'g', set => { 'consumer.session.timeout.ms' => 50_000 } }])->{resources}), [0, 42], 'changed, but for groups, which have no settings there';
    until_so('described', sub {
        my ($topic) = @{ admin(describe_configs => [{ resource_type => 'topic', resource_name => 'a', names => [qw(segment.bytes cleanup.policy retention.ms)] }], { synonyms => 1, documentation => 1 })->{resources} };
        my %is = map { $_->{name} => $_->{value} } @{ $topic->{configs} };
        return "@is{qw(segment.bytes cleanup.policy retention.ms)}" eq '1048576 delete,compact 3600000';
    });
    is_deeply admin(list_config_resources => ['client_metrics'])->{resources}, [], 'client metrics can be listed';
    lacks(list_config_resources => 'ListConfigResources version 1', ['topic']);
};

subtest 'the cluster' => sub {
    my $described = admin('describe_cluster');
    is_deeply [map { [@$_{qw(node_id host port)}] } @{ $described->{brokers} }], [[$node, $host, $port]], 'its brokers';
    lacks(describe_cluster => 'DescribeCluster version 2', { fenced => 1 });
    my $quorum = admin('describe_quorum');
    is_deeply [$quorum->{leader}, map { $_->{replica_id} } @{ $quorum->{voters} }], [$node, $node], 'its quorum';
    my $features = admin('describe_features');
    is $features->{finalized}{'metadata.version'}{max}, 21, 'metadata.version of 3.9';
    is_deeply codes(admin(update_features => [{ feature => 'metadata.version', level => 99 }], { validate_only => 1 })->{features}), [95], 'a level that there is not';
    is_deeply admin(elect_leaders => [{ topic => 'a', partitions => [0] }])->{topics}, [{ topic => 'a', partitions => [{ partition => 0, error_code => 84, error_message => 'Leader election not needed for topic partition.' }] }], 'no election is needed';
    my ($dirs) = @{ admin(describe_log_dirs => { topics => [{ topic => 'a', partitions => [0 .. 2] }] })->{brokers} };
    is_deeply [$dirs->{node_id}, map { $_->{partition} } map { @{ $_->{partitions} } } map { @{ $_->{topics} } } @{ $dirs->{log_dirs} }], [$node, 0, 1, 2], 'its folders';
    is_deeply codes(admin(alter_reassignments => [{ topic => 'a', partition => 0, replicas => [$node] }])->{topics}[0]{partitions}), [0], 'a move to where it is';
    is_deeply admin('list_reassignments')->{topics}, [], 'is none';
};

subtest 'records' => sub {
    produced($kafka, 'a', map { ["k$_", "v$_"] } 1 .. 10);
    my @times = qw(earliest latest max_timestamp earliest_local latest_tiered);
    my %offset = map { $_ => admin(list_offsets => [{ topic => 'a', partition => 0, timestamp => $_ }])->{topics}[0]{partitions}[0]{offset} } @times;
    is_deeply [@offset{qw(earliest latest earliest_local latest_tiered)}], [0, 10, 0, -1], 'offsets';
    cmp_ok $offset{max_timestamp}, '<', 10, 'and that of the newest';
    item_lacks(admin(list_offsets => [{ topic => 'a', partition => 0, timestamp => 'earliest_pending_upload' }])->{topics}[0]{partitions}[0], 'list_offsets', 'ListOffsets version 11');
    is_deeply codes(admin(alter_configs => [{ resource_type => 'topic', resource_name => 'a', set => { 'cleanup.policy' => 'delete' } }])->{resources}), [0], 'no compaction';
    until_so('records are deleted', sub {
        my ($deleted) = @{ admin(delete_records => [{ topic => 'a', partition => 0, offset => 4 }])->{topics} };
        return !$deleted->{partitions}[0]{error_code} && $deleted->{partitions}[0]{low_watermark} == 4;
    });
    my $idempotent = connected_client(brokers => $brokers, idempotent => 1);
    produced($idempotent, 'a', ['k', 'v'], ['k', 'w']);
    my ($producer) = @{ admin(describe_producers => [{ topic => 'a', partition => 0 }])->{topics}[0]{partitions}[0]{producers} };
    is_deeply [@$producer{qw(producer_epoch last_sequence current_txn_start_offset)}], [0, 1, undef], 'who writes';
    await('close', sub { $idempotent->close(@_) });
};

subtest 'groups' => sub {
    my $member = connected_client(brokers => $brokers, client_id => 'theirs', on_message => sub { });
    await('joining', sub { my ($done) = @_; $member->subscribe('a', group_id => 'g', group_instance_id => 'host', on_assign => $done) });
    is_deeply [map { [@$_{qw(group_id protocol_type state)}] } @{ admin(list_groups => { states => ['Stable'], types => ['classic'] })->{groups} }], [['g', 'consumer', 'Stable']], 'listed';
    my ($group) = @{ admin(describe_groups => ['g'])->{groups} };
    is_deeply [@$group{qw(group_id type state)}, map { @$_{qw(client_id instance_id)} } @{ $group->{members} }], ['g', 'classic', 'Stable', 'theirs', 'host'], 'described';
    is_deeply $group->{members}[0]{assignment}, [{ topic => 'a', partitions => [0, 1, 2] }], 'what it has';
    is_deeply codes(admin(delete_groups => ['g', 'none'])->{groups}), [68, 69], 'not deleted while there are members';
    is_deeply [map { [@$_{qw(instance_id error_code)}] } @{ admin(remove_members => 'g', [{ instance_id => 'host' }], { reason => 'test' })->{members} }], [['host', 0]], 'a member is removed';
    await('close', sub { $member->close(@_) });
    is_deeply codes(admin(alter_group_offsets => 'h', [{ topic => 'a', partition => 0, offset => 7 }, { topic => 'a', partition => 1, offset => 0 }])->{topics}[0]{partitions}), [0, 0], 'offsets are set';
    is_deeply codes(admin(delete_group_offsets => 'h', [{ topic => 'a', partition => 1 }])->{topics}[0]{partitions}), [0], 'and deleted';
    my ($offsets) = await('committed', sub { $kafka->committed([map { { topic => 'a', partition => $_ } } 0, 1], { group_id => 'h' }, @_) });
    is_deeply $offsets, { 'a:0' => 7, 'a:1' => undef }, 'as they are';
    is_deeply codes(admin(delete_groups => ['h'])->{groups}), [0], 'deleted';
    item_lacks(admin(describe_share_groups => ['h'])->{groups}[0], 'describe_share_groups', 'ShareGroupDescribe');
};

subtest 'access' => sub {
    my %rule = (resource_type => 'topic', resource_name => 'pre', pattern_type => 'prefixed', principal => 'User:alice', host => '*', operation => 'read', permission => 'allow');
    is_deeply codes(admin(create_acls => [\%rule])->{acls}), [0], 'a rule';
    until_so('is described', sub { my @found = @{ admin(describe_acls => { principal => 'User:alice' })->{acls} }; return @found == 1 && !grep { $found[0]{$_} ne $rule{$_} } keys %rule });
    is_deeply [map { $_->{resource_name} } @{ admin(delete_acls => [{ principal => 'User:alice' }])->{filters}[0]{acls} }], ['pre'], 'and deleted';
    is_deeply codes(admin(alter_scram_users => [{ user => 'alice', mechanism => 'SCRAM-SHA-256', password => 'secret', iterations => 4_096 }])->{users}), [0], 'a user';
    until_so('is described', sub {
        my ($user) = @{ admin('describe_scram_users')->{users} };
        return $user && "$user->{user} $user->{credentials}[0]{mechanism} $user->{credentials}[0]{iterations}" eq 'alice SCRAM-SHA-256 4096';
    });
    is_deeply codes(admin(alter_quotas => [{ entity => { user => 'alice' }, set => { producer_byte_rate => 1_024 } }])->{entries}), [0], 'a quota';
    until_so('is described', sub { my ($entry) = @{ admin(describe_quotas => [{ type => 'user', name => 'alice' }])->{entries} }; return $entry && $entry->{quotas}{producer_byte_rate} == 1_024 });
};

subtest 'transactions' => sub {
    my $producer = connected_client(brokers => $brokers, transactional_id => 'tx', on_error => sub { });
    $producer->begin_transaction;
    await('a record', sub { $producer->produce('a', 'k', 'v', { partition => 1 }, @_) });
    my ($listed) = @{ admin(list_transactions => { states => ['Ongoing'], running_longer_than => 0 })->{transactions} };
    is_deeply [@$listed{qw(transactional_id state)}], ['tx', 'Ongoing'], 'listed';
    lacks(list_transactions => 'ListTransactions version 2', { pattern => 't.*' });
    my ($open) = @{ admin(describe_transactions => ['tx'])->{transactions} };
    is_deeply [@$open{qw(state topics)}, $open->{producer_id}], ['Ongoing', [{ topic => 'a', partitions => [1] }], $listed->{producer_id}], 'described';
    my ($hanging) = @{ admin(describe_producers => [{ topic => 'a', partition => 1 }])->{topics}[0]{partitions}[0]{producers} };
    is $hanging->{current_txn_start_offset}, 0, 'it is open in the partition';
    is admin(abort_hanging_transaction => { topic => 'a', partition => 1, map { $_ => $hanging->{$_} } qw(producer_id producer_epoch coordinator_epoch) })->{error_code}, 0, 'aborted there';
    my ($fenced) = @{ admin(fence_producers => ['tx'])->{producers} };
    is $fenced->{error_code}, 0, 'fenced';
    cmp_ok $fenced->{producer_epoch}, '>', $open->{producer_epoch}, 'by a newer epoch';
    await('close', sub { $producer->close(@_) });
};

is_deeply [grep { !$called{$_} } EV::Kafka::Admin->methods], [], 'no method is forgotten';
await('close', sub { $kafka->close(@_) });
$cluster->stop;
done_testing;
