use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;

use ConnPeer;
use RequestTest;
use TestKafka qw(wait_until turns);

# Requests that are hashes with Kafka's own names, of which the admin methods are made; and new.

subtest 'a connection is made by new' => sub {
    isa_ok my $conn = EV::Kafka::Conn->new, 'EV::Kafka::Conn';
    ok !$conn->connected, 'not connected';
    my $loop = EV::Loop->new;
    my $on_loop = EV::Kafka::Conn->new(loop => $loop);
    my $peer = ConnPeer->new;
    my $connected;
    $on_loop->on_connect(sub { $connected = 1 });
    $on_loop->connect('127.0.0.1', $peer->port, 5);
    for (1 .. 1_000) {
        last if $connected;
        EV::run EV::RUN_NOWAIT;
        $loop->run(EV::RUN_NOWAIT);
        select undef, undef, undef, 0.005;
    }
    ok $connected, 'on a loop of its own';
    like croak_of(sub { EV::Kafka::Conn->new(lop => $loop) }), qr/^EV::Kafka::Conn: unknown option\(s\): lop at /, 'options are known';
    {
        package Mine;
        our @ISA = ('EV::Kafka::Conn');
    }
    isa_ok(Mine->new, 'Mine', 'of a class of the program');
};

subtest 'request and answer' => sub {
    my ($conn, $peer) = at_version(42, 1);    # DeleteGroups
    my $got = sent($peer, sub { $conn->_ask(DeleteGroups => { groups_names => ['a', 'b'] }, 0, sub { }) });
    is_deeply [@$got{qw(api version body)}], [42, 1, array(map { string($_) } 'a', 'b')], 'a request';
    is $conn->_spoken_version('DeleteGroups'), 1, 'at the version that both speak';
    is $conn->_spoken_version('DescribeAcls'), undef, 'where there is one';

    ($conn, $peer) = at_version(32, 1, on_request => sub {                        # DescribeConfigs
        return i32(7) . i32(1) . i16(0) . null_string() . "\x02" . string('t')
            . i32(1) . string('retention.ms') . null_string() . "\0\x05\1" . i32(0);
    });
    my ($result, $error) = answered(sub { $conn->_ask(DescribeConfigs => { resources => [{ resource_type => 2, resource_name => 't', configuration_keys => undef }] }, 0, @_) });
    is_deeply [$peer->{requests}[0]{body}], [i32(1) . "\x02" . string('t') . i32(-1) . "\0"], 'null where undef is given';
    is_deeply $result, {
        throttle_time_ms => 7,
        results          => [{ error_code => 0, resource_type => 2, resource_name => 't',
            configs => [{ name => 'retention.ms', read_only => 0, config_source => 5, is_sensitive => 1, synonyms => [] }] }],
    }, 'its answer: what the version has, without what is null' or diag explain $result;
    is $error, undef, 'no error';
};

subtest 'numbers that are no integers' => sub {
    my ($conn, $peer) = at_version(49, 0);    # AlterClientQuotas
    my $entry = { entity => [{ entity_type => 'user', entity_name => undef }], ops => [{ key => 'k', value => 12.5, remove => 0 }] };
    my $got = sent($peer, sub { $conn->_ask(AlterClientQuotas => { entries => [$entry], validate_only => 1 }, 0, sub { }) });
    is_deeply $got->{body}, i32(1) . i32(1) . string('user') . null_string() . i32(1) . string('k') . pack('d>', 12.5) . "\0\1", 'as FLOAT64';
};

subtest 'what cannot be meant' => sub {
    my ($conn, $peer) = at_version(42, 1);
    my $cb = sub { fail 'it was called' };
    for my $case (
        [qr/^_ask: no such API at/,                                 Nothing => {}],
        [qr/^DeleteGroups: groups_names must be an arrayref at/,    DeleteGroups => { groups_names => 'a' }],
        [qr/^DeleteGroups: groups_names must be a string at/,       DeleteGroups => { groups_names => [[]] }],
        [qr/^DeleteGroups: request has no 'groups' at/,             DeleteGroups => { groups => [] }],
        [qr/^DeleteGroups: request must be a hashref at/,           DeleteGroups => []],
        [qr/^DescribeGroups: groups must be an arrayref at/,        DescribeGroups => { groups => {} }],
        [qr/^CreatePartitions: count out of range at/,              CreatePartitions => { topics => [{ name => 'a', count => 2**40 }] }],
        [qr/^CreatePartitions: count must be a number at/,          CreatePartitions => { topics => [{ name => 'a', count => {} }] }],
        [qr/^CreatePartitions: topics must be a hashref at/,        CreatePartitions => { topics => ['a'] }],
    ) {
        my ($text, $api, $fields) = @$case;
        like croak_of(sub { $conn->_ask($api, $fields, 0, $cb) }), $text, "$text";
    }
    turns();
    is_deeply $peer->{requests}, [], 'nothing was sent';
    like croak_of(sub { EV::Kafka::Conn->new->_ask(DeleteGroups => {}, 0, $cb) }), qr/^not connected at/, 'nor without a connection';
};

subtest 'answers that cannot be read' => sub {
    my $answer = i32(0) . i32(2) . string('a') . i16(0) . string('b');
    my ($conn, $peer) = at_version(42, 1, on_request => sub { $answer });
    is_deeply [answered(sub { $conn->_ask(DeleteGroups => { groups_names => ['a'] }, 0, @_) })], [undef, 'incomplete answer'], 'one that breaks off';
    ok $conn->connected, 'the connection lives';
    $answer = i32(0) . i32(2**31 - 1);
    is_deeply [answered(sub { $conn->_ask(DeleteGroups => { groups_names => ['a'] }, 0, @_) })], [undef, 'incomplete answer'], 'one that claims more than it has';
};

subtest 'what the version cannot say' => sub {
    my ($conn) = at_version(15, 2);    # DescribeGroups
    is_deeply [answered(sub { $conn->_ask(DescribeGroups => { groups => ['g'], include_authorized_operations => 1 }, 0, @_) })],
        [undef, 'DescribeGroupsRequest version 2 has no field include_authorized_operations'], 'is an error of the request';
};

done_testing;
