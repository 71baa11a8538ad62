use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use TestKafka qw(wait_until turns);

# What callbacks get, at every version of every API, against the mock cluster.

my %VERSIONS = (
    Produce => [3, 11], Fetch => [4, 12], ListOffsets => [1, 10], Metadata => [0, 13],
    FindCoordinator => [0, 6], CreateTopics => [0, 7], DeleteTopics => [0, 6],
);

# Runs the test at each version of an API that both sides speak.
sub at_every_version {
    my ($api, $test) = @_;
    subtest $api => sub {
        my $key  = { Produce => 0, Fetch => 1, ListOffsets => 2, Metadata => 3, FindCoordinator => 10,
            CreateTopics => 19, DeleteTopics => 20 }->{$api};
        my ($first, $last) = @{ $VERSIONS{$api} };
        for my $version ($first .. $last) {
            my $mock = EV::Kafka::Mock->new(brokers => 2);
            $mock->create_topic(t => 2);
            $mock->set_leader(t => $_ => 0) for 0, 1;
            $mock->api_versions($api => $version, $version);
            my $conn = connection($mock);
            is $conn->api_versions->{$key}, $version, "version $version";
            $test->($conn, $version, $mock);
        }
    };
    return;
}

sub connection {
    my ($mock) = @_;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->on_error(sub { diag "connection: @_" });
    $conn->connect('127.0.0.1', ($mock->brokers)[0]{port}, 10);
    wait_until { $conn->connected } 'connecting';
    return $conn;
}

sub answer {
    my ($conn, $method, @args) = @_;
    my $got;
    my $cb = sub { $got = [@_] };
    $conn->$method($method eq 'find_coordinator' ? ($args[0], $cb, @args[1 .. $#args]) : (@args, $cb));
    wait_until { $got } "the answer to $method";
    is $got->[1], undef, 'no error';
    is ref $got->[0], 'HASH', 'a hash';
    return $got->[0];
}

# The documented keys of a hash.
sub keys_of {
    my ($hash, @keys) = @_;
    return { map { $_ => $hash->{$_} } @keys };
}

at_every_version Metadata => sub {
    my ($conn, $version, $mock) = @_;
    for my $asked (['t'], undef) {
        my $meta = answer($conn, metadata => $asked);
        like $meta->{controller_id}, $version ? qr/^\d+\z/ : qr/^-1\z/, 'controller_id';
        is_deeply [map { keys_of($_, qw(node_id host port)) } @{ $meta->{brokers} }],
            [map { keys_of($_, qw(node_id host port)) } $mock->brokers], 'brokers';
        is_deeply [map { keys_of($_, qw(name error_code)) } @{ $meta->{topics} }], [{ name => 't', error_code => 0 }], 'topics';
        is_deeply [map { keys_of($_, qw(partition leader error_code)) } @{ $meta->{topics}[0]{partitions} }],
            [map { { partition => $_, leader => 0, error_code => 0 } } 0, 1], 'partitions';
    }
    is_deeply answer($conn, metadata => [])->{topics}, [], 'no topics' if $version;
};

at_every_version Produce => sub {
    my ($conn, $version, $mock) = @_;
    for my $offset (0, 1) {
        my $result = answer($conn, produce => 't', 1, 'k', 'v');
        is_deeply keys_of($result, qw(throttle_time_ms)), { throttle_time_ms => 0 }, 'throttle_time_ms';
        is_deeply [map { $_->{topic} } @{ $result->{topics} }], ['t'], 'topics';
        is_deeply keys_of($result->{topics}[0]{partitions}[0], qw(partition error_code base_offset)),
            { partition => 1, error_code => 0, base_offset => $offset }, 'partition';
    }
    my $result = answer($conn, produce_batch => 't', 1, [map { { value => $_ } } 1 .. 3], { compression => 'lz4' });
    is $result->{topics}[0]{partitions}[0]{base_offset}, 2, 'a batch';
    is_deeply [map { $_->{value} } $mock->records(t => 1)], ['v', 'v', 1, 2, 3], 'what was stored';
    $result = answer($conn, produce => 't', 7, 'k', 'v');
    is $result->{topics}[0]{partitions}[0]{error_code}, 3, 'an unknown partition';
};

at_every_version Fetch => sub {
    my ($conn, $version, $mock) = @_;
    my %record = (timestamp => 1712345678000, key => 'k', headers => { h => 'x', n => undef });
    answer($conn, produce_batch => 't', 0, [map { { %record, value => $_ } } 0 .. 4]);
    answer($conn, produce => 't', 1, undef, undef, { timestamp => 5 });
    my $result = answer($conn, fetch => 't', 0, 3);
    is $result->{throttle_time_ms}, 0, 'throttle_time_ms';
    is $result->{topics}[0]{topic}, 't', 'topic';
    my $partition = $result->{topics}[0]{partitions}[0];
    is_deeply keys_of($partition, qw(partition error_code high_watermark last_stable_offset)),
        { partition => 0, error_code => 0, high_watermark => 5, last_stable_offset => 5 }, 'partition';
    is_deeply $partition->{records}, [map { { %record, offset => $_, value => $_ } } 3, 4],
        'the records from the offset on, though the batch began before it';
    $result = answer($conn, fetch_multi => { t => [{ partition => 0, offset => 4 }, { partition => 1 }] });
    my %records = map { $_->{partition} => $_->{records} } @{ $result->{topics}[0]{partitions} };
    is_deeply \%records, {
        0 => [{ %record, offset => 4, value => 4 }],
        1 => [{ offset => 0, timestamp => 5, key => undef, value => undef }],
    }, 'fetch_multi';
    $result = answer($conn, fetch => 't', 0, 99);
    is $result->{topics}[0]{partitions}[0]{error_code}, 1, 'out of range';
    $result = answer($conn, fetch => 't', 0, 5, { max_wait_ms => 1 });
    is_deeply $result->{topics}[0]{partitions}[0]{records}, [], 'nothing new';
};

at_every_version ListOffsets => sub {
    my ($conn, $version, $mock) = @_;
    answer($conn, produce => 't', 1, 'k', 'v', { timestamp => 1000 * $_ }) for 1 .. 3;
    my %expected = (-2 => [0, -1], -1 => [3, -1], 1500 => [1, 2000], 9999 => [-1, -1]);
    for my $timestamp (sort keys %expected) {
        my $result = answer($conn, list_offsets => 't', 1, $timestamp);
        is $result->{topics}[0]{topic}, 't', 'topic';
        is_deeply keys_of($result->{topics}[0]{partitions}[0], qw(partition error_code timestamp offset)),
            { partition => 1, error_code => 0, offset => $expected{$timestamp}[0], timestamp => $expected{$timestamp}[1] },
            "timestamp $timestamp";
    }
};

at_every_version FindCoordinator => sub {
    my ($conn, $version, $mock) = @_;
    my @brokers = $mock->brokers;
    for my $type ($version ? (0, 1) : 0) {
        my $result = answer($conn, find_coordinator => 'some', $type);
        is $result->{error_code}, 0, 'error_code';
        ok !defined $result->{error_message} || $result->{error_message} =~ /^(?:NONE)?\z/, 'no error_message';
        my ($broker) = grep { $_->{node_id} == $result->{node_id} } @brokers;
        is_deeply keys_of($result, qw(host port)), keys_of($broker, qw(host port)), 'a broker';
    }
};

at_every_version CreateTopics => sub {
    my ($conn, $version, $mock) = @_;
    my $result = answer($conn, create_topics => [{ name => 'a', num_partitions => 3 }, { name => 't' }], 5000);
    my %topics = map { $_->{name} => $_ } @{ $result->{topics} };
    is $topics{a}{error_code}, 0, 'created';
    ok !exists $topics{a}{error_message}, 'without a message';
    is $topics{t}{error_code}, 36, 'exists already';
    is $mock->partitions('a'), 3, 'with its partitions';
};

at_every_version DeleteTopics => sub {
    my ($conn, $version, $mock) = @_;
    my $result = answer($conn, delete_topics => ['t', 'nope'], 5000);
    my %topics = map { $_->{name} => $_->{error_code} } @{ $result->{topics} };
    is_deeply \%topics, { t => 0, nope => 3 }, 'deleted, and unknown';
    is_deeply [$mock->topics], [], 'it is gone';
};

subtest 'every compression' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $conn = connection($mock);
    my $value = join '', map { chr 32 + $_ % 90 } 1 .. 20_000;
    for my $codec (qw(none gzip snappy lz4 zstd)) {
        my $offset = answer($conn, produce => 't', 0, $codec, $value, { compression => $codec })
            ->{topics}[0]{partitions}[0]{base_offset};
        my $records = answer($conn, fetch => 't', 0, $offset)->{topics}[0]{partitions}[0]{records};
        is_deeply [map { @$_{qw(key)} } @$records], [$codec], $codec;
        ok $records->[0]{value} eq $value, 'byte for byte';
    }
};

subtest 'a corrupt batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $conn = connection($mock);
    answer($conn, produce => 't', 0, 'k', 'v');
    my $bytes = EV::Kafka::_test_encode_batch([{ key => 'secret' }]);
    substr $bytes, -1, 1, '!';
    $mock->append_bytes(t => 0, $bytes);
    my $partition = answer($conn, fetch => 't', 0, 0)->{topics}[0]{partitions}[0];
    is_deeply [map { $_->{key} } @{ $partition->{records} }], ['k'], 'gives no records; those before it are there';
    is $partition->{error_code}, 2, 'and CORRUPT_MESSAGE';
    like $partition->{error_message}, qr/CRC/i, 'with the reason';
};

done_testing;
