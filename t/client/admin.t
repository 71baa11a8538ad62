use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use EV::Kafka;
use TestKafka qw(wait_until turns client connected errors notices);

# Admin methods on a mock cluster: arguments, results, where requests go, and what is tried again. What only
# real brokers know is in xt/kafka/admin.t.

# What a method calls back.
sub admin {
    my ($kafka, $method, @arguments) = @_;
    my @got;
    $kafka->$method(@arguments, sub { push @got, [@_] });
    wait_until { @got } $method;
    is @got, 1, "$method calls back once" if @got != 1;
    return @{ $got[0] };
}

sub croak_of { my ($code) = @_; return eval { $code->(); 1 } ? undef : $@ }

subtest 'topics are created, described and deleted' => sub {
    my $mock  = EV::Kafka::Mock->new(brokers => 3);
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($result, $error) = admin($kafka, create_topics => [{ name => 'a', num_partitions => 2 }, { name => 'b' }, { name => 'no topic' }]);
    is $error, undef, 'no error';
    is_deeply [map { [@$_{qw(name error_code)}] } @{ $result->{topics} }], [['a', 0], ['b', 0], ['no topic', 17]], 'each has its own';
    is_deeply [sort $mock->topics], [qw(a b)], 'and the others are there';
    is $result->{topics}[0]{num_partitions}, 2, 'with as many partitions as were asked for';

    ($result, $error) = admin($kafka, create_topics => [{ name => 'a' }]);
    is $result->{topics}[0]{error_code}, 36, 'one that is there already';
    ($result) = admin($kafka, create_topics => [{ name => 'c' }], { validate_only => 1 });
    is $result->{topics}[0]{error_code}, 0, 'only checked';
    is_deeply [sort $mock->topics], [qw(a b)], 'not made';

    ($result, $error) = admin($kafka, describe_topics => ['b', 'a', 'none']);
    is_deeply [map { [$_->{name}, $_->{error_code}, map { $_->{partition} } @{ $_->{partitions} }] } @{ $result->{topics} }],
        [['a', 0, 0, 1], ['b', 0, 0], ['none', 3]], 'described';
    like $result->{topics}[0]{topic_id}, qr/\A[\w-]{22}\z/, 'an id as Kafka writes it';
    is_deeply [sort keys %{ $result->{topics}[0]{partitions}[0] }],
        [qw(error_code isr leader leader_epoch offline_replicas partition replicas)], 'what is known of a partition';
    ($result) = admin($kafka, 'describe_topics');
    is_deeply [map { $_->{name} } @{ $result->{topics} }], [qw(a b)], 'all';
    is_deeply [sort $mock->topics], [qw(a b)], 'and none was made by asking';

    ($result, $error) = admin($kafka, delete_topics => ['a', 'none']);
    is_deeply $result, { topics => [{ name => 'a', error_code => 0 },
        { name => 'none', error_code => 3, error_message => 'UNKNOWN_TOPIC_OR_PARTITION' }] }, 'deleted';
    is_deeply [$mock->topics], ['b'], 'one is left';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

subtest 'by the oldest versions' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->api_versions(CreateTopics => 0, 0);
    $mock->api_versions(DeleteTopics => 0, 0);
    $mock->api_versions(Metadata     => 0, 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($result) = admin($kafka, create_topics => [{ name => 'a' }]);
    is_deeply $result, { topics => [{ name => 'a', error_code => 0 }] }, 'created';
    ($result) = admin($kafka, describe_topics => ['a']);
    is $result->{topics}[0]{partitions}[0]{leader}, 0, 'described';
    is_deeply [admin($kafka, create_topics => [{ name => 'c' }], { validate_only => 1 })],
        [undef, 'create_topics: CreateTopics: CreateTopicsRequest version 0 has no field validate_only'], 'what it cannot say is an error';
    my (undef, $error) = admin($kafka, describe_topics => ['a'], { authorized_operations => 1 });
    like $error, qr/broker 0 does not offer Metadata version 8 \(needed for describe_topics\)/, 'or what it would not answer';
    ($result) = admin($kafka, delete_topics => ['a']);
    is_deeply $result, { topics => [{ name => 'a', error_code => 0 }] }, 'deleted';
};

subtest 'what a broker does not offer' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($result, $error) = admin($kafka, describe_acls => {});
    is $result, undef, 'no result';
    like $error, qr/^describe_acls: .*broker 0 does not offer DescribeAcls \(needed for describe_acls\)$/, 'is said at once';
    ($result, $error) = admin($kafka, describe_groups => ['g', 'h']);
    is $error, undef, 'of several things each';
    is_deeply [map { [@$_{qw(group_id error_code)}] } @{ $result->{groups} }], [['g', 35], ['h', 35]], 'has it';
    like $result->{groups}[1]{error_message}, qr/does not offer DescribeGroups \(needed for describe_groups\)/, 'as its message';
    my @given = admin($kafka, 'list_groups');
    is_deeply $given[0], { groups => [] }, 'what brokers have said';
    like $given[1], qr/does not offer ListGroups/, 'stands beside what they have not';

    ($result, $error) = admin($kafka, 'describe_cluster');
    is $error, undef, 'the cluster is described by older means';
    is_deeply [map { $_->{node_id} } @{ $result->{brokers} }], [0], 'its brokers';
    like +(admin($kafka, describe_cluster => { fenced => 1 }))[1], qr/does not offer DescribeCluster/, 'but for what these do not know';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

subtest 'leaders answer for their partitions' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 3, api_versions => { ListOffsets => [1, 10] });
    $mock->create_topic('t', 3);
    $mock->create_topic('u', 1);
    $mock->append('t', $_ % 2, { value => "v$_", timestamp => 1000 + $_ }) for 1 .. 5;
    my $kafka  = connected(brokers => $mock->bootstrap);
    my @wanted = ((map { { topic => 't', partition => $_, timestamp => 'latest' } } 2, 1, 0), { topic => 'u', partition => 0, timestamp => 'earliest' });
    my ($result, $error) = admin($kafka, list_offsets => \@wanted);
    is $error, undef, 'no error';
    is_deeply [map { my $t = $_; map { [$t->{topic}, @$_{qw(partition error_code offset)}] } @{ $t->{partitions} } } @{ $result->{topics} }],
        [['t', 0, 0, 2], ['t', 1, 0, 3], ['t', 2, 0, 0], ['u', 0, 0, 0]], 'sorted';
    ($result) = admin($kafka, list_offsets => [{ topic => 't', partition => 1, timestamp => 1003 }], { isolation_level => 'read_committed' });
    is_deeply [@{ $result->{topics}[0]{partitions}[0] }{qw(offset timestamp)}], [1, 1003], 'by time';
    ($result) = admin($kafka, list_offsets => []);
    is_deeply $result, { topics => [] }, 'nothing';

    ($result) = admin($kafka, list_offsets => [@wanted[0, 1], { topic => 't', partition => 9, timestamp => 'latest' }, { topic => 'none', partition => 0, timestamp => 'latest' }]);
    is_deeply [map { my $t = $_; map { [$t->{topic}, @$_{qw(partition error_code)}] } @{ $t->{partitions} } } @{ $result->{topics} }],
        [['none', 0, 3], ['t', 1, 0], ['t', 2, 0], ['t', 9, 3]], 'what is not there does not keep the others from being told';
    like +(admin($kafka, list_offsets => [{ topic => 't', partition => 0, timestamp => 'earliest_pending_upload' }]))[0]{topics}[0]{partitions}[0]{error_message},
        qr/does not offer ListOffsets version 11/, 'a special timestamp that the leader would not understand';
};

subtest 'a leader that has moved is looked for again' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic('t', 2);
    $mock->set_leader('t', $_, 0) for 0, 1;
    my $kafka = connected(brokers => $mock->bootstrap);
    admin($kafka, list_offsets => [{ topic => 't', partition => 0, timestamp => 'latest' }]);
    $mock->set_leader('t', 1, 1);
    my $before = $mock->request_count('ListOffsets');
    my ($result, $error) = admin($kafka, list_offsets => [map { { topic => 't', partition => $_, timestamp => 'latest' } } 0, 1]);
    is_deeply [map { @$_{qw(partition error_code)} } @{ $result->{topics}[0]{partitions} }], [0, 0, 1, 0], 'both are answered';
    is $mock->request_count('ListOffsets') - $before, 2, 'by one more request';

    $mock->fault(api => 'ListOffsets', drop => 1);
    ($result) = admin($kafka, list_offsets => [{ topic => 't', partition => 0, timestamp => 'latest' }]);
    is $result->{topics}[0]{partitions}[0]{error_code}, 0, 'a lost connection';
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 1, error => 6, times => undef);
    ($result) = admin($kafka, list_offsets => [map { { topic => 't', partition => $_, timestamp => 'latest' } } 0, 1], { timeout => 1 });
    is_deeply [map { @$_{qw(partition error_code)} } @{ $result->{topics}[0]{partitions} }], [0, 0, 1, 6], 'one that never answers, until the time is over';
};

subtest 'the controller is looked for again' => sub {
    my $mock  = EV::Kafka::Mock->new(brokers => 2);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'CreateTopics', topic => 'a', error => 41);
    my ($result, $error) = admin($kafka, create_topics => [{ name => 'a' }]);
    is_deeply [$error, $result->{topics}[0]{error_code}], [undef, 0], 'NOT_CONTROLLER is not the last word';
    is $mock->request_count('CreateTopics'), 2, 'asked twice';
    $mock->fault(api => 'DeleteTopics', drop => 1);
    ($result, $error) = admin($kafka, delete_topics => ['a']);
    is_deeply [$error, $result->{topics}[0]{error_code}], [undef, 0], 'nor is a lost connection';
    $mock->fault(api => 'CreateTopics', topic => 'a', error => 41, times => undef);
    ($result, $error) = admin($kafka, create_topics => [{ name => 'a' }], { timeout => 1 });
    is $result, undef, 'it stays so';
    is $error, 'create_topics: CreateTopics: NOT_CONTROLLER (code 41); given up after 1 s', 'and is given up';
};

subtest "a group's coordinator" => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 3);
    $mock->create_topic('t', 2);
    $mock->set_coordinator(group => 'g', 2);
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($result, $error) = admin($kafka, alter_group_offsets => 'g', [map { { topic => 't', partition => $_, offset => 7 + $_ } } 0, 1]);
    is_deeply [$error, $result], [undef, { topics => [{ topic => 't', partitions => [map { { partition => $_, error_code => 0 } } 0, 1] }] }], 'takes offsets';
    is_deeply [map { $_->{offset} } @{ $mock->offsets('g') }{qw(t:0 t:1)}], [7, 8], 'as they were given';
    $mock->set_coordinator(group => 'g', 1);
    ($result, $error) = admin($kafka, alter_group_offsets => 'g', [{ topic => 't', partition => 0, offset => 3 }]);
    is_deeply [$error, $result->{topics}[0]{partitions}[0]{error_code}], [undef, 0], 'it is found when it has moved';

    my ($id) = map { $_->{producer_id} } @{ (admin($kafka, fence_producers => ['x', 'y']))[0]{producers} };
    like $id, qr/\A[0-9]+\z/, 'so is that of a transactional id';
    ($result) = admin($kafka, remove_members => 'g', [{ member_id => 'nobody' }]);
    is $result->{members}[0]{error_code}, 25, 'a member that is not there' or diag explain $result;
};

subtest 'before connect, and at the end' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = client(brokers => $mock->bootstrap);
    my @told;
    $kafka->create_topics([{ name => 'early' }], sub { push @told, [@_] });
    turns();
    is @told, 0, 'it waits';
    $kafka->connect;
    wait_until { @told } 'create_topics';
    is $told[0][0]{topics}[0]{error_code}, 0, 'until the client is connected';

    $mock->fault(api => 'CreateTopics', hang => 1);
    @told = ();
    $kafka->create_topics([{ name => 'late' }], sub { push @told, [@_] });
    turns();
    $kafka->close;
    is_deeply \@told, [[undef, 'create_topics: client closed']], 'closing the client ends it';
    like croak_of(sub { $kafka->describe_cluster(sub { }) }), qr/client is closed/, 'and nothing begins';

    $kafka = client(brokers => $mock->bootstrap);
    @told = ();
    $kafka->describe_cluster({ timeout => 0.01 }, sub { push @told, [@_] });
    wait_until { @told } 'the end of its time';
    like $told[0][1], qr/^describe_cluster: no broker has answered; given up after 0.01 s$/, 'without connect its time is over, too';
};

subtest 'without a callback' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->create_topics([{ name => 'a' }]);
    wait_until { grep { $_ eq 'a' } $mock->topics } 'the topic';
    $kafka->create_acls([]);
    wait_until { errors($kafka) } 'on_error';
    like +(errors($kafka))[0], qr/^create_acls: .*does not offer CreateAcls/, 'on_error hears of the whole';
};

subtest 'arguments' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my @croaks = (
        [qr/^create_topics: expected arrayref at .*admin\.t line/,               create_topics => { name => 'a' }],
        [qr/^create_topics: expected hashref/,                                   create_topics => ['a']],
        [qr/^create_topics: missing name/,                                       create_topics => [{}]],
        [qr/^create_topics: unknown key 'partitions'/,                           create_topics => [{ name => 'a', partitions => 3 }]],
        [qr/^create_topics: unknown option 'validate'/,                          create_topics => [], { validate => 1 }],
        [qr/^create_topics: timeout must be a number of seconds/,                create_topics => [], { timeout => 'soon' }],
        [qr/^create_topics: options must be a hashref, the callback a code/,     create_topics => [], 10_000],
        [qr/^create_topics: assignments must be an arrayref of arrayrefs/,       create_topics => [{ name => 'a', assignments => [1] }]],
        [qr/^delete_topics: a name is missing/,                                  delete_topics => [undef]],
        [qr/^describe_configs: unknown resource_type 'topics'; one of topic, /,  describe_configs => [{ resource_type => 'topics' }]],
        [qr/^describe_configs: resource_name of a broker is its number, not 'x'/, describe_configs => [{ resource_type => 'broker', resource_name => 'x' }]],
        [qr/^alter_configs: nothing to change/,                                  alter_configs => [{ resource_type => 'topic', resource_name => 'a' }]],
        [qr/^list_offsets: timestamp must be milliseconds since 1970 or one of /, list_offsets => [{ topic => 't', partition => 0, timestamp => 'first' }]],
        [qr/^list_offsets: t:0 is there twice/,                                  list_offsets => [map { { topic => 't', partition => 0, timestamp => $_ } } 1, 2]],
        [qr/^list_offsets: isolation_level must be /,                            list_offsets => [], { isolation_level => 'none' }],
        [qr/^alter_group_offsets: expected a name/,                              alter_group_offsets => undef, []],
        [qr/^alter_group_offsets: missing offset/,                               alter_group_offsets => 'g', [{ topic => 't', partition => 0 }]],
        [qr/^remove_members: missing member_id or instance_id/,                  remove_members => 'g', [{}]],
        [qr/^create_acls: missing operation/,                                    create_acls => [{ resource_type => 'topic', resource_name => 't', principal => 'User:a' }]],
        [qr/^create_acls: unknown operation 'eat'; one of any, all, read/,       create_acls => [{ resource_type => 'topic', resource_name => 't', principal => 'User:a', operation => 'eat' }]],
        [qr/^alter_scram_users: missing password or delete/,                     alter_scram_users => [{ user => 'a', mechanism => 'SCRAM-SHA-256' }]],
        [qr/^alter_scram_users: unknown mechanism 'MD5'/,                        alter_scram_users => [{ user => 'a', mechanism => 'MD5', password => 'x' }]],
        [qr/^alter_scram_users: iterations must be from 4096 to 1048576/,        alter_scram_users => [{ user => 'a', mechanism => 'SCRAM-SHA-256', password => 'x', iterations => 1 }]],
        [qr/^alter_quotas: nothing to change/,                                   alter_quotas => [{ entity => { user => 'a' } }]],
        [qr/^elect_leaders: unknown election 'any'/,                             elect_leaders => { type => 'any' }],
    );
    for my $case (@croaks) {
        my ($text, $method, @arguments) = @$case;
        like croak_of(sub { $kafka->$method(@arguments, sub { fail 'it was called back' }) }), $text, "$text";
    }
    my ($result, $error) = admin($kafka, create_topics => [{ name => 'a', num_partitions => {} }]);
    is $error, 'create_topics: CreateTopics: num_partitions must be a number', 'a number that is none';
    my @told;
    $kafka->create_topics([{ name => 'b' }], sub { push @told, [@_] }, { timeout => 5 });
    wait_until { @told } 'options behind the callback';
    is $told[0][0]{topics}[0]{error_code}, 0, 'options and callback in either order';
    turns();
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

subtest 'salted passwords' => sub {
    # RFC 7677's example.
    my ($salt, $salted) = EV::Kafka::_scram_credential('SCRAM-SHA-256', 'pencil', 4096, "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81");
    is unpack('H*', $salted), 'c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d', 'as RFC 7677 has it';
    my ($one, $two) = map { (EV::Kafka::_scram_credential('SCRAM-SHA-512', 'x', 4096))[0] } 1, 2;
    isnt $one, $two, 'each time another salt';
};

done_testing;
