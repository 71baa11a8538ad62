use v5.14;
use warnings;

use lib 'xt/lib';

use EV;
use EV::Kafka;
use File::Temp ();
use JSON::PP   ();
use Test::More;

use KafkaTools;
use RealKafka;

# Each admin method on real Apache Kafka, and what Kafka's own command-line tools say of the same.

my $version = $KafkaCluster::NEWEST;
my $cluster = cluster(version => $version, nodes => 3, set => {
    'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users'           => 'User:ANONYMOUS',
    'min.insync.replicas'   => 1,
    'share.coordinator.state.topic.num.partitions' => 4,
});
my $brokers = $cluster->bootstrap;
my $tools   = KafkaTools->start($version);
my $kafka   = connected_client(brokers => $brokers);

sub tool { my ($name, @arguments) = @_; return $tools->run($name, '--bootstrap-server', $brokers, @arguments) }

# Tools that have commands of their own take the address before them or behind.
sub tool_after { my ($name, @arguments) = @_; return $tools->run($name, @arguments, '--bootstrap-server', $brokers) }

# The result of a method, which has no error.
sub admin {
    my ($method, @arguments) = @_;
    my ($result, $error) = await($method, sub { $kafka->$method(@arguments, @_) });
    is $error, undef, "$method: no error";
    return $result;
}

# What has been changed is not known everywhere at once: asks until it is as it should be. Both sides may be code.
sub until_same {
    my ($ask, $should_be, $what) = @_;
    my ($got, $wanted);
    for (1 .. 100) {
        ($got, $wanted) = ($ask->(), ref $should_be eq 'CODE' ? $should_be->() : $should_be);
        my $json = JSON::PP->new->canonical->allow_nonref;
        last if $json->encode(_texts($got)) eq $json->encode(_texts($wanted));
        my $timer;
        await('the next look', sub { my ($done) = @_; $timer = EV::timer 0.1, 0, $done });
    }
    return is_deeply $got, $wanted, $what;
}

# A number may be a text.
sub _texts {
    my ($value) = @_;
    return [map { _texts($_) } @$value] if ref $value eq 'ARRAY';
    return { map { $_ => _texts($value->{$_}) } keys %$value } if ref $value eq 'HASH';
    return defined $value ? "$value" : undef;
}

# Lines of columns, without those before the line that begins with the first name.
sub table {
    my ($text, @columns) = @_;
    my @lines = grep { /\S/ } split /\n/, $text;
    shift @lines while @lines && $lines[0] !~ /^\s*\Q$columns[0]\E\s/;
    shift @lines;
    return map { my %row; @row{@columns} = map { s/\s+\z//r } /\t/ ? split(/\s*\t/, $_, @columns + 1) : split ' '; \%row } @lines;
}

sub codes { my ($list) = @_; return [map { $_->{error_code} } @$list] }

# Of [{ topic, partitions }]: "topic:partition" => the values of these keys.
sub flat {
    my ($topics, @keys) = @_;
    return { map { my $topic = $_->{topic} // $_->{name}; map { ("$topic:$_->{partition}" => [@$_{@keys}]) } @{ $_->{partitions} } } @$topics };
}

subtest 'create_topics, create_partitions, describe_topics, delete_topics' => sub {
    my $made = admin(create_topics => [
        { name => 'a', num_partitions => 2, replication_factor => 2, configs => { 'retention.ms' => 3_600_000 } },
        { name => 'b', assignments => [[1, 2], [3, 1]] },
        { name => 'defaults', num_partitions => -1, replication_factor => -1 },
        { name => 'too many', replication_factor => 1 },
        { name => 'far', replication_factor => 9 },
    ]);
    is_deeply codes($made->{topics}), [0, 0, 0, 17, 38], 'each has its own outcome';
    is_deeply codes(admin(create_topics => [{ name => 'only-checked' }], { validate_only => 1 })->{topics}), [0], 'one is only checked';
    my $more = admin(create_partitions => [{ name => 'a', count => 3, assignments => [[3, 1]] }, { name => 'b', count => 1 }]);
    is_deeply codes($more->{topics}), [0, 37], 'partitions';

    my %shown;
    until_same(sub {
        my %seen;
        for (split /\n/, tool('kafka-topics', '--describe')) {
            my %said = map { /\A\s*(\w+): (.*?)\s*\z/ ? ($1 => $2) : () } split /\t/;
            $shown{ $said{Topic} } = \%said if defined $said{TopicId};
            $seen{"$said{Topic}:$said{Partition}"} = [$said{Leader}, map { [split /,/, $said{$_}] } qw(Replicas Isr)] if defined $said{Partition};
        }
        return \%seen;
    }, sub { flat(admin('describe_topics')->{topics}, qw(leader replicas isr)) }, 'kafka-topics --describe');
    my %described = map { $_->{name} => $_ } @{ admin(describe_topics => ['a', 'b'], { eligible_replicas => 1, authorized_operations => 1 })->{topics} };
    is $described{$_}{topic_id}, $shown{$_}{TopicId}, "the id of $_" for qw(a b);
    is_deeply $described{b}{partitions}[1]{replicas}, [3, 1], 'assigned by hand';
    is_deeply $described{a}{partitions}[2]{eligible_leader_replicas}, [], 'no other replicas that may lead';
    ok +(grep { $_ eq 'alter_configs' } @{ $described{a}{authorized_operations} }), 'what may be done';
    like tool('kafka-configs', '--describe', '--entity-type', 'topics', '--entity-name', 'a'), qr/^  retention\.ms=3600000 /m, 'its setting';

    is_deeply codes(admin(delete_topics => ['defaults', 'none'])->{topics}), [0, 3], 'deleted';
    until_same(sub { [sort split /\n/, tool('kafka-topics', '--list')] }, [qw(a b)], 'kafka-topics --list');
};

subtest 'describe_configs, alter_configs, list_config_resources' => sub {
    my $changed = admin(alter_configs => [
        { resource_type => 'topic', resource_name => 'a', set => { 'segment.bytes' => 1_048_576 }, delete => ['retention.ms'], append => { 'cleanup.policy' => ['compact'] } },
        { resource_type => 'broker', resource_name => 2, set => { 'log.cleaner.threads' => 2 } },
        { resource_type => 'broker', set => { 'log.cleaner.backoff.ms' => 14_000 } },
        { resource_type => 'group', resource_name => 'g', set => { 'consumer.session.timeout.ms' => 50_000 } },
        { resource_type => 'client_metrics', resource_name => 'm', set => { 'interval.ms' => 60_000 } },
        { resource_type => 'topic', resource_name => 'none', set => { 'retention.ms' => 1 } },
    ]);
    is_deeply codes($changed->{resources}), [0, 0, 0, 0, 0, 3], 'each has its own outcome';
    my @entities = ([topic => 'a', 'topics'], [broker => 2, 'brokers'], [broker => '', 'brokers'], [group => 'g', 'groups'], [client_metrics => 'm', 'client-metrics']);
    for my $entity (@entities) {
        my ($type, $name, $plural) = @$entity;
        my @which = length $name ? ('--entity-name', $name) : ('--entity-default');
        # The tool shows what was set for this very entity.
        until_same(sub {
            my ($resource) = @{ admin(describe_configs => [{ resource_type => $type, resource_name => $name }], { synonyms => 1 })->{resources} };
            return { map { $_->{name} => $_->{value} } grep { $_->{source} =~ /^dynamic_(?:topic|group|client_metrics)$/ || $_->{source} eq ($name ? 'dynamic_broker' : 'dynamic_default_broker') } @{ $resource->{configs} } };
        }, sub { +{ map { /^  (\S+?)=(\S+) sensitive=/ ? ($1 => $2) : () } split /\n/, tool('kafka-configs', '--describe', '--entity-type', $plural, @which) } },
            "kafka-configs --describe: $plural $name");
    }
    my ($topic) = @{ admin(describe_configs => [{ resource_type => 'topic', resource_name => 'a', names => ['cleanup.policy'] }], { synonyms => 1, documentation => 1 })->{resources} };
    my ($policy) = @{ $topic->{configs} };
    is $policy->{value}, 'delete,compact', 'appended to what was the default';
    is_deeply [map { $_->{source} } @{ $policy->{synonyms} }], ['dynamic_topic', 'default'], 'where it comes from';
    is $policy->{type}, 'list', 'its type';
    like $policy->{documentation}, qr/retention/, 'and what it is for';
    my $all = tool('kafka-configs', '--describe', '--all', '--entity-type', 'topics', '--entity-name', 'a');
    my ($whole) = @{ admin(describe_configs => [{ resource_type => 'topic', resource_name => 'a' }])->{resources} };
    is_deeply { map { $_->{name} => $_->{value} } @{ $whole->{configs} } }, { map { /^  (\S+?)=(.*?) sensitive=/ ? ($1 => $2) : () } split /\n/, $all },
        'kafka-configs --describe --all';
    my $none = admin(describe_configs => [{ resource_type => 'topic', resource_name => 'none' }, { resource_type => 'broker', resource_name => 9 }]);
    is_deeply codes($none->{resources}), [3, 8], 'what is not there';

    my %listed;
    push @{ $listed{ $_->{resource_type} } }, $_->{resource_name} for @{ admin('list_config_resources')->{resources} };
    is_deeply \%listed, { topic => [qw(a b)], broker => [1, 2, 3], broker_logger => [1, 2, 3], group => ['g'], client_metrics => ['m'] }, 'what has settings';
    is_deeply [map { $_->{resource_name} } @{ admin(list_config_resources => ['client_metrics'])->{resources} }],
        [split ' ', tool('kafka-client-metrics', '--list')], 'kafka-client-metrics --list';
};

subtest 'describe_cluster, describe_quorum, describe_features, update_features' => sub {
    my $described = admin(describe_cluster => { fenced => 1 });
    like tool_after('kafka-cluster', 'cluster-id'), qr/: \Q$described->{cluster_id}\E$/, 'kafka-cluster cluster-id';
    is_deeply [map { [@$_{qw(node_id host port)}, $_->{is_fenced} ? 'fenced' : 'unfenced'] } @{ $described->{brokers} }],
        [map { [@$_{qw(ID HOST PORT STATE)}] } table(tool_after('kafka-cluster', 'list-endpoints', '--include-fenced-brokers'), qw(ID HOST PORT RACK STATE TYPE))],
        'kafka-cluster list-endpoints';

    my $quorum = admin('describe_quorum');
    my %status = map { /^(\w+):\s+(.*)$/ ? ($1 => $2) : () } split /\n/, tool('kafka-metadata-quorum', 'describe', '--status');
    is_deeply [@$quorum{qw(leader leader_epoch)}], [@status{qw(LeaderId LeaderEpoch)}], 'kafka-metadata-quorum describe --status';
    my %node = map { $_->{node_id} => $_->{listeners}[0] } @{ $quorum->{nodes} };
    is_deeply [map { [$_, "$node{$_}{name}://$node{$_}{host}:$node{$_}{port}"] } map { $_->{replica_id} } @{ $quorum->{voters} }],
        [map { [$_->{id}, $_->{endpoints}[0]] } @{ JSON::PP::decode_json($status{CurrentVoters}) }], 'its voters and where they listen';
    cmp_ok $quorum->{high_watermark}, '<=', $status{HighWatermark}, 'the end of the log, a moment before';

    my %shown = map { /^Feature: (\S+)\s+SupportedMinVersion: (\S+)\s+SupportedMaxVersion: (\S+)\s+FinalizedVersionLevel: (\S+)/ ? ($1 => [$2, $3, $4]) : () }
        split /\n/, tool('kafka-features', 'describe');
    my $features = admin('describe_features');
    my @plain = grep { $_ ne 'metadata.version' && $_ ne 'kraft.version' } sort keys %shown;
    is_deeply { map { $_ => [@{ $features->{supported}{$_} }{qw(min max)}, ($features->{finalized}{$_} || { max => 0 })->{max}] } @plain },
        { map { $_ => $shown{$_} } @plain }, 'kafka-features describe';
    is_deeply codes(admin(update_features => [{ feature => 'share.version', level => 0, type => 'unsafe_downgrade' }])->{features}), [0], 'a level is set';
    until_same(sub { tool('kafka-features', 'describe') =~ /^Feature: share\.version .*FinalizedVersionLevel: (\S+)/m ? $1 : undef }, 0, 'kafka-features shows it');
    admin(update_features => [{ feature => 'share.version', level => 1 }]);
    until_same(sub { (admin('describe_features')->{finalized}{'share.version'} || {})->{max} }, 1, 'and set back');
    my (undef, $error) = await('update_features', sub { $kafka->update_features([{ feature => 'share.version', level => 9 }], { validate_only => 1 }, @_) });
    like $error, qr/^update_features: .*INVALID_UPDATE_VERSION/, 'a level that there is not';
};

subtest 'list_offsets, delete_records, describe_producers' => sub {
    await_readable($cluster, 'b');
    await('records', sub {
        my ($done) = @_;
        $kafka->produce('b', "k$_", "v$_", { partition => $_ % 2, timestamp => 1_700_000_000_000 + 1_000 * $_ }) for 1 .. 10;
        $kafka->flush($done);
    });
    my %time = (earliest => -2, latest => -1, max_timestamp => -3, earliest_local => -4, latest_tiered => -5, 1_700_000_004_500 => 1_700_000_004_500);
    for my $timestamp (sort keys %time) {
        my $found = admin(list_offsets => [map { { topic => 'b', partition => $_, timestamp => $timestamp } } 0, 1])->{topics};
        my %shown = map { /^(b:\d):(-?\d*)$/ ? ($1 => [length $2 ? $2 : -1]) : () } split /\n/, tool('kafka-get-offsets', '--topic', 'b', '--time', $time{$timestamp});
        # The tool leaves out what there is not.
        my $there = flat($found, 'offset');
        delete $there->{$_} for grep { $there->{$_}[0] < 0 && !$shown{$_} } keys %$there;
        is_deeply $there, \%shown, "kafka-get-offsets --time $time{$timestamp}";
    }
    is_deeply codes(admin(list_offsets => [{ topic => 'b', partition => 0, timestamp => 'earliest_pending_upload' }])->{topics}[0]{partitions}), [0], 'what waits for tiered storage';

    my $deleted = admin(delete_records => [{ topic => 'b', partition => 0, offset => 2 }, { topic => 'b', partition => 1, offset => 99 }]);
    is_deeply flat($deleted->{topics}, qw(error_code low_watermark)), { 'b:0' => [0, 2], 'b:1' => [1, undef] }, 'records are deleted';
    is tool('kafka-get-offsets', '--topic-partitions', 'b:0', '--time', 'earliest'), "b:0:2\n", 'kafka-get-offsets';
    my $file = File::Temp->new;
    print {$file} JSON::PP::encode_json({ version => 1, partitions => [{ topic => 'b', partition => 1, offset => 3 }] });
    close $file;
    like tool('kafka-delete-records', '--offset-json-file', "$file"), qr/b-1\s+low_watermark: 3/, 'kafka-delete-records';
    is_deeply flat(admin(list_offsets => [{ topic => 'b', partition => 1, timestamp => 'earliest' }])->{topics}, 'offset'), { 'b:1' => [3] }, 'is seen';

    my $idempotent = connected_client(brokers => $brokers, idempotent => 1);
    await('a record', sub { $idempotent->produce('b', 'k', 'v', { partition => 0 }, @_) });
    my ($producer) = @{ admin(describe_producers => [{ topic => 'b', partition => 0 }])->{topics}[0]{partitions}[0]{producers} };
    my ($shown) = table(tool('kafka-transactions', 'describe-producers', '--topic', 'b', '--partition', 0),
        qw(ProducerId ProducerEpoch LatestCoordinatorEpoch LastSequence LastTimestamp CurrentTransactionStartOffset));
    is_deeply [@$producer{qw(producer_id producer_epoch coordinator_epoch last_sequence last_timestamp)}, $producer->{current_txn_start_offset} // 'None'],
        [@$shown{qw(ProducerId ProducerEpoch LatestCoordinatorEpoch LastSequence LastTimestamp CurrentTransactionStartOffset)}], 'kafka-transactions describe-producers';
    await('close', sub { $idempotent->close(@_) });
};

subtest 'groups' => sub {
    my %member;
    for my $kind (qw(classic consumer)) {
        $member{$kind} = connected_client(brokers => $brokers, client_id => "of-$kind", on_message => sub { });
        await("joining as $kind", sub {
            my ($done) = @_;
            $member{$kind}->subscribe('b', group_id => "g-$kind", group_protocol => $kind, auto_offset_reset => 'earliest', on_assign => $done,
                $kind eq 'classic' ? (group_instance_id => 'host-1') : ());
        });
        $member{$kind}->poll;
    }
    my $listed = admin('list_groups')->{groups};
    is_deeply [map { [@$_{qw(group_id type protocol_type)}] } @$listed],
        [map { [$_->{GROUP}, lc $_->{TYPE}, $_->{PROTOCOL}] } sort { $a->{GROUP} cmp $b->{GROUP} } table(tool('kafka-groups', '--list'), qw(GROUP TYPE PROTOCOL))], 'kafka-groups --list';
    is_deeply [map { $_->{group_id} } @{ admin(list_groups => { types => ['consumer'] })->{groups} }], ['g-consumer'], 'of one type';
    is_deeply [map { $_->{group_id} } @{ admin(list_groups => { states => ['Stable'] })->{groups} }],
        [sort map { $_->{GROUP} } grep { $_->{STATE} eq 'Stable' } table(tool('kafka-consumer-groups', '--list', '--state'), qw(GROUP STATE))], 'kafka-consumer-groups --list --state';

    for my $kind (qw(classic consumer)) {
        my ($group) = @{ admin(describe_groups => ["g-$kind"], { authorized_operations => 1 })->{groups} };
        is $group->{type}, $kind, "a $kind group";
        my ($state) = grep { $_->{GROUP} eq "g-$kind" } table(tool('kafka-consumer-groups', '--describe', '--state', '--group', "g-$kind"), qw(GROUP COORDINATOR ID ASSIGNOR STATE MEMBERS));
        is_deeply [@$group{qw(state assignor)}, scalar @{ $group->{members} }], [@$state{qw(STATE ASSIGNOR MEMBERS)}], 'kafka-consumer-groups --describe --state';
        my ($member) = @{ $group->{members} };
        my $shown = tool('kafka-consumer-groups', '--describe', '--members', '--verbose', '--group', "g-$kind");
        like $shown, qr/\Q$member->{member_id}\E\s+.*\Q$member->{client_host}\E\s+of-$kind\s+2\s/, 'kafka-consumer-groups --describe --members';
        is_deeply $member->{assignment}, [{ topic => 'b', partitions => [0, 1] }], 'what it has';
        is_deeply $member->{subscribed}, ['b'], 'and wants';
        ok +(grep { $_ eq 'read' } @{ $group->{authorized_operations} }), 'what may be done';
    }
    is_deeply [map { @$_{qw(group_id error_code)} } @{ admin(describe_groups => ['none'])->{groups} }], ['none', 69], 'a group that is not there';

    is_deeply codes(admin(delete_groups => ['g-classic', 'none'])->{groups}), [68, 69], 'a group with members is not deleted';
    is_deeply [map { [@$_{qw(instance_id error_code)}] } @{ admin(remove_members => 'g-classic', [{ instance_id => 'host-1' }, { member_id => 'nobody' }], { reason => 'test' })->{members} }],
        [['host-1', 0], [undef, 25]], 'a member is removed';
    await('close', sub { $_->close(@_) }) for values %member;
    until_same(sub { admin(describe_groups => ['g-consumer'])->{groups}[0]{state} }, 'Empty', 'without members');
    is_deeply admin(remove_members => 'g-classic'), { members => [] }, 'nobody is left to be removed';

    my $set = admin(alter_group_offsets => 'g-set', [{ topic => 'b', partition => 0, offset => 3, metadata => 'by hand' }, { topic => 'b', partition => 1, offset => 4 }, { topic => 'b', partition => 7, offset => 1 }]);
    is_deeply flat($set->{topics}, 'error_code'), { 'b:0' => [0], 'b:1' => [0], 'b:7' => [3] }, 'offsets are set';
    my $offsets_of = sub {
        return { map { my (undef, $topic, $partition, $offset) = split ' '; ($offset // '') =~ /^\d+$/ ? ("$topic:$partition" => $offset) : () }
            split /\n/, tool('kafka-consumer-groups', '--describe', '--group', 'g-set') };
    };
    is_deeply $offsets_of->(), { 'b:0' => 3, 'b:1' => 4 }, 'kafka-consumer-groups --describe';
    is_deeply flat(admin(delete_group_offsets => 'g-set', [{ topic => 'b', partition => 1 }])->{topics}, 'error_code'), { 'b:1' => [0] }, 'and deleted';
    is_deeply $offsets_of->(), { 'b:0' => 3 }, 'as it shows, too';
    is_deeply codes(admin(delete_groups => ['g-set', 'g-consumer', 'g-classic'])->{groups}), [0, 0, 0], 'groups are deleted';
    is_deeply [table(tool('kafka-groups', '--list'), 'GROUP')], [], 'none is left';
};

subtest 'describe_share_groups' => sub {
    tool('kafka-configs', '--alter', '--entity-type', 'groups', '--entity-name', 'shared', '--add-config', 'share.auto.offset.reset=earliest');
    my @command = KafkaCluster::java_command($version, 'org.apache.kafka.tools.consumer.ConsoleShareConsumer',
        '--bootstrap-server', $brokers, '--topic', 'b', '--group', 'shared');
    my $pid = open my $consumer, '-|', @command or die "java: $!";
    my $seen = '';
    await('a record of the share consumer', sub {
        my ($done) = @_;
        $kafka->{for_test} = EV::io $consumer, EV::READ, sub { sysread $consumer, $seen, 4096, length $seen; $done->() if $seen =~ /\n/ };
    });
    delete $kafka->{for_test};
    my ($group) = @{ admin(describe_share_groups => ['shared'], { offsets => 1 })->{groups} };
    is $group->{state}, 'Stable', 'a group';
    my ($member) = @{ $group->{members} };
    like tool('kafka-share-groups', '--describe', '--members', '--group', 'shared'), qr/\Q$member->{member_id}\E/, 'kafka-share-groups --describe --members';
    until_same(sub { flat(admin(describe_share_groups => ['shared'], { offsets => 1 })->{groups}[0]{topics}, 'start_offset') }, sub {
        return { map { my (undef, $topic, $partition, $offset) = split ' '; ($offset // '') =~ /^\d+$/ ? ("$topic:$partition" => [$offset]) : () }
            split /\n/, tool('kafka-share-groups', '--describe', '--offsets', '--group', 'shared') };
    }, 'kafka-share-groups --describe --offsets');
    is_deeply [map { [@$_{qw(group_id type)}] } @{ admin(list_groups => { types => ['share'] })->{groups} }], [['shared', 'share']], 'listed';
    is admin(describe_groups => ['shared'])->{groups}[0]{type}, 'share', 'described among others';
    is admin(describe_share_groups => ['none'])->{groups}[0]{error_code}, 69, 'one that is not there';
    kill TERM => $pid;
    close $consumer;
};

subtest 'access rules' => sub {
    my @rules = (
        { resource_type => 'topic',   resource_name => 'pre',           pattern_type => 'prefixed', principal => 'User:alice', host => '*',        operation => 'read', permission => 'allow' },
        { resource_type => 'cluster', resource_name => 'kafka-cluster', pattern_type => 'literal',  principal => 'User:bob',   host => '10.0.0.1', operation => 'all',  permission => 'deny' },
    );
    my $made = admin(create_acls => [@rules, { resource_type => 'topic', resource_name => '', principal => 'User:x', operation => 'read' }]);
    is_deeply codes($made->{acls}), [0, 0, 42], 'each has its own outcome';
    my $listed = sub {
        my ($resource, @found);
        for (split /\n/, tool('kafka-acls', '--list')) {
            $resource = [lc $1, $2, lc $3] if /resourceType=(\w+), name=(\S+), patternType=(\w+)\)/;
            push @found, join ' ', @$resource, $1, $2, lc $3, lc $4 if /principal=(\S+), host=(\S+), operation=(\w+), permissionType=(\w+)\)/;
        }
        return [sort @found];
    };
    my @keys = qw(resource_type resource_name pattern_type principal host operation permission);
    my $described = sub { [sort map { join ' ', @$_{@keys} } @{ admin('describe_acls')->{acls} }] };
    until_same($described, [sort map { join ' ', @$_{@keys} } @rules], 'they are there');
    until_same($listed, $described, 'kafka-acls --list');
    tool('kafka-acls', '--add', '--allow-principal', 'User:carol', '--operation', 'Describe', '--group', 'g');
    until_same(sub { [map { join ' ', @$_{@keys} } @{ admin(describe_acls => { principal => 'User:carol' })->{acls} }] },
        ['group g literal User:carol * describe allow'], 'kafka-acls --add');
    is_deeply [map { $_->{principal} } @{ admin(describe_acls => { resource_type => 'topic', resource_name => 'prefix', pattern_type => 'match' })->{acls} }],
        ['User:alice'], 'what holds for a name';
    my $deleted = admin(delete_acls => [{ principal => 'User:alice' }, { resource_type => 'user' }]);
    is_deeply [map { [$_->{error_code}, map { $_->{resource_name} } @{ $_->{acls} }] } @{ $deleted->{filters} }], [[0, 'pre'], [0]], 'deleted';
    until_same($listed, [sort 'cluster kafka-cluster literal User:bob 10.0.0.1 all deny', 'group g literal User:carol * describe allow'], 'as kafka-acls shows');
    admin(delete_acls => [{}]);
    until_same($described, [], 'all of them');
};

subtest 'SCRAM users and quotas' => sub {
    my $changed = admin(alter_scram_users => [
        { user => 'alice', mechanism => 'SCRAM-SHA-256', password => 'secret' },
        { user => 'carl',  mechanism => 'SCRAM-SHA-512', password => 'x', iterations => 8_192 },
        { user => 'nobody', mechanism => 'SCRAM-SHA-512', delete => 1 },
    ]);
    is_deeply [map { [@$_{qw(user error_code)}] } @{ $changed->{users} }], [['alice', 0], ['carl', 0], ['nobody', 91]], 'each has its own outcome';
    until_same(sub { +{ map { /user-principal '(\w+)' are (\S+)=iterations=(\d+)/ ? ($1 => "$2 $3") : () } split /\n/, tool('kafka-configs', '--describe', '--entity-type', 'users') } },
        { alice => 'SCRAM-SHA-256 4096', carl => 'SCRAM-SHA-512 8192' }, 'kafka-configs --describe: users');
    tool('kafka-configs', '--alter', '--entity-type', 'users', '--entity-name', 'dora', '--add-config', 'SCRAM-SHA-256=[iterations=5000,password=y]');
    until_same(sub { [map { [$_->{user}, map { ($_->{mechanism}, $_->{iterations}) } @{ $_->{credentials} }] } @{ admin('describe_scram_users')->{users} }] },
        [['alice', 'SCRAM-SHA-256', 4_096], ['carl', 'SCRAM-SHA-512', 8_192], ['dora', 'SCRAM-SHA-256', 5_000]], 'kafka-configs --alter is seen');
    is_deeply codes(admin(describe_scram_users => ['alice', 'none'])->{users}), [0, 91], 'by name';

    my $quotas = admin(alter_quotas => [
        { entity => { user => 'alice', 'client-id' => 'c' }, set => { producer_byte_rate => 1_024, request_percentage => 12.5 } },
        { entity => { 'client-id' => undef }, set => { consumer_byte_rate => 2_048 } },
        { entity => { planet => 'earth' }, set => { consumer_byte_rate => 1 } },
    ]);
    is_deeply codes($quotas->{entries}), [0, 0, 42], 'quotas';
    until_same(sub { tool('kafka-configs', '--describe', '--entity-type', 'users', '--entity-name', 'alice', '--entity-type', 'clients', '--entity-name', 'c') =~ / are (.*)$/m ? [sort split /, /, $1] : [] },
        ['producer_byte_rate=1024.0', 'request_percentage=12.5'], 'kafka-configs --describe: users and clients');
    until_same(sub { [tool('kafka-configs', '--describe', '--entity-type', 'clients', '--entity-default') =~ /default client-id are (.*)$/m] },
        ['consumer_byte_rate=2048.0'], 'and the default');
    until_same(sub { admin(describe_quotas => [{ type => 'user', name => 'alice' }])->{entries} },
        [{ entity => { user => 'alice', 'client-id' => 'c' }, quotas => { producer_byte_rate => 1_024, request_percentage => 12.5 } }], 'described');
    is_deeply admin(describe_quotas => [{ type => 'client-id', default => 1 }], { strict => 1 })->{entries},
        [{ entity => { 'client-id' => undef }, quotas => { consumer_byte_rate => 2_048 } }], 'the default alone';
    is_deeply admin(describe_quotas => [{ type => 'user' }], { strict => 1 })->{entries}, [], 'no user without other parts';
    admin(alter_quotas => [{ entity => { 'client-id' => undef }, remove => ['consumer_byte_rate'] }]);
    until_same(sub { [map { $_->{entity} } @{ admin('describe_quotas')->{entries} }] }, [{ user => 'alice', 'client-id' => 'c' }], 'one is removed');
};

subtest 'replicas' => sub {
    my $moved = admin(alter_reassignments => [{ topic => 'b', partition => 0, replicas => [3, 2] }, { topic => 'b', partition => 1 }, { topic => 'none', partition => 0, replicas => [1] }]);
    is_deeply flat($moved->{topics}, 'error_code'), { 'b:0' => [0], 'b:1' => [85], 'none:0' => [3] }, 'a partition is moved';
    until_same(sub { admin('list_reassignments')->{topics} }, [], 'until it is there');
    like tool('kafka-reassign-partitions', '--list'), qr/No partition reassignments found/, 'kafka-reassign-partitions --list';
    like tool('kafka-topics', '--describe', '--topic', 'b'), qr/Partition: 0\t.*Replicas: 3,2\t/, 'kafka-topics --describe';
    is_deeply admin(list_reassignments => [{ topic => 'b', partitions => [0] }]), { topics => [] }, 'of some partitions';

    # By a throttle so low that nothing gets through, moves are there to be seen.
    await('much to move', sub {
        my ($done) = @_;
        $kafka->produce('a', '', 'x' x 100_000, { partition => 2 }) for 1 .. 60;
        $kafka->flush($done);
    });
    admin(alter_configs => [
        (map { { resource_type => 'broker', resource_name => $_, set => { 'leader.replication.throttled.rate' => 1, 'follower.replication.throttled.rate' => 1 } } } 1 .. 3),
        { resource_type => 'topic', resource_name => 'a', set => { 'leader.replication.throttled.replicas' => '*', 'follower.replication.throttled.replicas' => '*' } },
    ]);
    admin(alter_reassignments => [{ topic => 'a', partition => 2, replicas => [2, 1] }]);
    my $shown;
    until_same(sub { $shown = tool('kafka-reassign-partitions', '--list'); $shown =~ /^a-2:/m ? 1 : 0 }, 1, 'kafka-reassign-partitions --list shows a move');
    my ($move) = @{ admin(list_reassignments => [{ topic => 'a', partitions => [2] }])->{topics}[0]{partitions} };
    is_deeply [map { join ',', @{ $move->{$_} } } qw(replicas adding_replicas removing_replicas)],
        [map { $shown =~ /^a-2:.*\b$_: ([\d,]*)\./m ? $1 : '' } qw(replicas adding removing)], 'the same';
    is_deeply flat(admin(alter_reassignments => [{ topic => 'a', partition => 2, replicas => undef }])->{topics}, 'error_code'), { 'a:2' => [0] }, 'it is cancelled';
    until_same(sub { tool('kafka-reassign-partitions', '--list') =~ /No partition reassignments found/ ? 1 : 0 }, 1, 'and gone');

    my @preferred = map { { topic => $_, partitions => [0, 1] } } qw(a b);
    await_readable($cluster, $_) for qw(a b);
    my $elected = admin(elect_leaders => \@preferred);
    is_deeply [sort keys %{ flat($elected->{topics}) }], [qw(a:0 a:1 b:0 b:1)], 'leaders are elected';
    ok !(grep { $_->[0] != 0 && $_->[0] != 84 } values %{ flat($elected->{topics}, 'error_code') }), 'or are the preferred ones already';
    unlike tool('kafka-leader-election', '--election-type', 'preferred', '--topic', 'b', '--partition', 0), qr/Successfully completed/, 'kafka-leader-election finds nothing to do';
    is_deeply flat(admin(elect_leaders => [{ topic => 'none', partitions => [0] }], { type => 'unclean' })->{topics}, 'error_code'), { 'none:0' => [3] }, 'a topic that is not there';
    until_same(sub { admin('elect_leaders')->{topics} }, [], 'of all there is nothing to do any more');

    my ($json) = grep { /^\{/ } split /\n/, tool('kafka-log-dirs', '--describe', '--topic-list', 'b');
    my %shown = map { my $broker = $_; map { my $dir = $_; map { ("$broker->{broker} $dir->{logDir} $_->{partition}" => [@$_{qw(size offsetLag)}]) } @{ $dir->{partitions} } } @{ $broker->{logDirs} } }
        @{ JSON::PP::decode_json($json)->{brokers} };
    my %described = map { my $broker = $_; map { my $dir = $_; map { my $topic = $_; map { ("$broker->{node_id} $dir->{path} $topic->{topic}-$_->{partition}" => [@$_{qw(size offset_lag)}]) }
        @{ $topic->{partitions} } } @{ $dir->{topics} } } @{ $broker->{log_dirs} } } @{ admin(describe_log_dirs => { topics => [{ topic => 'b', partitions => [0, 1] }] })->{brokers} };
    is_deeply \%described, \%shown, 'kafka-log-dirs --describe';
    my ($one, $none) = @{ admin(describe_log_dirs => [1, 9])->{brokers} };
    cmp_ok $one->{log_dirs}[0]{total_bytes}, '>', $one->{log_dirs}[0]{usable_bytes}, 'room in a folder';
    is $none->{error_code}, 8, 'a broker that there is not';
};

subtest 'transactions' => sub {
    my $producer = connected_client(brokers => $brokers, transactional_id => 'tx', on_error => sub { });
    $producer->begin_transaction;
    await('a record', sub { $producer->produce('b', 'k', 'v', { partition => 1 }, @_) });
    my $list = sub { [map { [@$_{qw(TransactionalId Coordinator ProducerId TransactionState)}] } table(tool('kafka-transactions', 'list'), qw(TransactionalId Coordinator ProducerId TransactionState))] };
    until_same(sub { [map { [@$_{qw(transactional_id coordinator producer_id state)}] } @{ admin('list_transactions')->{transactions} }] }, $list, 'kafka-transactions list');
    my $filtered = admin(list_transactions => { states => ['Ongoing', 'Nonsense'], pattern => 't.', running_longer_than => 0 });
    is_deeply [[map { $_->{transactional_id} } @{ $filtered->{transactions} }], $filtered->{unknown_states}], [['tx'], ['Nonsense']], 'filtered';
    is_deeply admin(list_transactions => { producer_ids => [999_999] }), { transactions => [] }, 'by producer';

    my ($open, $none) = @{ admin(describe_transactions => ['tx', 'none'])->{transactions} };
    my ($shown) = table(tool('kafka-transactions', 'describe', '--transactional-id', 'tx'),
        qw(CoordinatorId TransactionalId ProducerId ProducerEpoch TransactionState TransactionTimeoutMs CurrentTransactionStartTimeMs TransactionDurationMs TopicPartitions));
    is_deeply [@$open{qw(transactional_id producer_id producer_epoch state timeout_ms start_time_ms)}],
        [@$shown{qw(TransactionalId ProducerId ProducerEpoch TransactionState TransactionTimeoutMs CurrentTransactionStartTimeMs)}], 'kafka-transactions describe';
    is_deeply $open->{topics}, [{ topic => 'b', partitions => [1] }], 'its partitions';
    is $none->{error_code}, 105, 'one that is not there';

    my ($hanging) = grep { defined $_->{current_txn_start_offset} } @{ admin(describe_producers => [{ topic => 'b', partition => 1 }])->{topics}[0]{partitions}[0]{producers} };
    is $hanging->{producer_id}, $open->{producer_id}, 'it is open in the partition';
    my $aborted = admin(abort_hanging_transaction => { topic => 'b', partition => 1, map { $_ => $hanging->{$_} } qw(producer_id producer_epoch coordinator_epoch) });
    is $aborted->{error_code}, 0, 'it is aborted there';
    my ($row) = grep { $_->{ProducerId} == $open->{producer_id} } table(tool('kafka-transactions', 'describe-producers', '--topic', 'b', '--partition', 1),
        qw(ProducerId ProducerEpoch LatestCoordinatorEpoch LastSequence LastTimestamp CurrentTransactionStartOffset));
    is $row->{CurrentTransactionStartOffset}, 'None', 'kafka-transactions describe-producers';

    my ($fenced, $new) = @{ admin(fence_producers => ['tx', 'new'])->{producers} };
    is_deeply [map { $_->{error_code} } $fenced, $new], [0, 0], 'producers are fenced';
    cmp_ok $fenced->{producer_epoch}, '>', $open->{producer_epoch}, 'by a newer epoch';
    my (undef, $error) = await('its end', sub { $producer->commit_transaction(@_) });
    ok defined $error, 'and cannot go on';
    is_deeply [map { $_->[0] } @{ $list->() }], [qw(new tx)], 'kafka-transactions list';
    await('close', sub { $producer->close(@_) });
};

await('close', sub { $kafka->close(@_) });
undef $tools;
$cluster->stop;
done_testing;
