use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;

use ConnPeer qw(string array);
use RequestTest;
use TestKafka qw(wait_until turns);

# Requests of producers with an id and of transactions, as a peer sees them at the
# versions that differ, and what callbacks get for its answers.

my ($INIT, $ADD_PARTITIONS, $ADD_OFFSETS, $END, $COMMIT) = (22, 24, 25, 26, 28);
my $cb   = sub { };
my $id   = 1 << 40;
my $TAGS = "\0";

# The arguments of a good call.
my %GOOD = (
    init_producer_id      => ['x', 60000, $cb],
    add_partitions_to_txn => ['x', $id, 5, [{ topic => 't', partitions => [0, 3] }, { topic => 'u', partitions => [] }], $cb],
    add_offsets_to_txn    => ['x', $id, 5, 'g', $cb],
    end_txn               => ['x', $id, 5, 1, $cb],
    txn_offset_commit     => ['x', 'g', $id, 5, 7, 'm', [{ topic => 't', partitions => [{ partition => 1, offset => 9 }, {}] }], $cb],
);

# --- requests -------------------------------------------------------------------

my @REQUESTS = (
    [$INIT, undef, 0, init_producer_id => [], string('x') . i32(60000)],
    [$INIT, 2, 2, init_producer_id => [], $TAGS . cstring('x') . i32(60000) . $TAGS],
    [$INIT, 3, 3, init_producer_id => [], $TAGS . cstring('x') . i32(60000) . i64(-1) . i16(-1) . $TAGS],
    [$INIT, 9, 5, init_producer_id => [$id, 4], $TAGS . cstring('x') . i32(60000) . i64($id) . i16(4) . $TAGS],

    [$ADD_PARTITIONS, undef, 0, add_partitions_to_txn => [], string('x') . i64($id) . i16(5)
        . array(string('t') . array(i32(0), i32(3)), string('u') . array())],
    [$ADD_PARTITIONS, 5, 3, add_partitions_to_txn => [], $TAGS . cstring('x') . i64($id) . i16(5)
        . carray(cstring('t') . carray(i32(0), i32(3)) . $TAGS, cstring('u') . carray() . $TAGS) . $TAGS],

    [$ADD_OFFSETS, undef, 0, add_offsets_to_txn => [], string('x') . i64($id) . i16(5) . string('g')],
    [$ADD_OFFSETS, 4, 4, add_offsets_to_txn => [], $TAGS . cstring('x') . i64($id) . i16(5) . cstring('g') . $TAGS],

    [$END, undef, 0, end_txn => [], string('x') . i64($id) . i16(5) . "\1"],
    [$END, 5, 4, end_txn => [], $TAGS . cstring('x') . i64($id) . i16(5) . "\1" . $TAGS],

    [$END, 5, 5, end_txn => [2], $TAGS . cstring('x') . i64($id) . i16(5) . "\1" . $TAGS],
    [$END, 4, 4, end_txn => [2], $TAGS . cstring('x') . i64($id) . i16(5) . "\1" . $TAGS],

    (map { [$COMMIT, $_, $_ || 0, txn_offset_commit => [], string('x') . string('g') . i64($id) . i16(5)
        . array(string('t') . array(i32(1) . i64(9) . string(''), i32(0) . i64(0) . string('')))] } undef, 1),
    [$COMMIT, 2, 2, txn_offset_commit => [], string('x') . string('g') . i64($id) . i16(5)
        . array(string('t') . array(i32(1) . i64(9) . i32(-1) . string(''), i32(0) . i64(0) . i32(-1) . string('')))],
    [$COMMIT, 5, 4, txn_offset_commit => [], $TAGS . cstring('x') . cstring('g') . i64($id) . i16(5) . i32(7) . cstring('m') . cnull
        . carray(cstring('t') . carray(i32(1) . i64(9) . i32(-1) . cstring('') . $TAGS,
            i32(0) . i64(0) . i32(-1) . cstring('') . $TAGS) . $TAGS) . $TAGS],
    [$COMMIT, 5, 5, txn_offset_commit => [undef, 2], $TAGS . cstring('x') . cstring('g') . i64($id) . i16(5) . i32(7) . cstring('m') . cnull
        . carray(cstring('t') . carray(i32(1) . i64(9) . i32(-1) . cstring('') . $TAGS,
            i32(0) . i64(0) . i32(-1) . cstring('') . $TAGS) . $TAGS) . $TAGS],
    [$COMMIT, 2, 2, txn_offset_commit => ['i'], string('x') . string('g') . i64($id) . i16(5)
        . array(string('t') . array(i32(1) . i64(9) . i32(-1) . string(''), i32(0) . i64(0) . i32(-1) . string('')))],
    [$COMMIT, 3, 3, txn_offset_commit => ['i'], $TAGS . cstring('x') . cstring('g') . i64($id) . i16(5) . i32(7)
        . cstring('m') . cstring('i') . carray(cstring('t') . carray(i32(1) . i64(9) . i32(-1) . cstring('') . $TAGS,
            i32(0) . i64(0) . i32(-1) . cstring('') . $TAGS) . $TAGS) . $TAGS],
);

subtest 'requests' => sub {
    for (@REQUESTS) {
        my ($api, $advertised, $version, $method, $more, $body) = @$_;
        my ($conn, $peer) = at_version($api, $advertised);
        my $got = sent($peer, sub { $conn->$method(@{ $GOOD{$method} }, @$more) });
        is_deeply [@$got{qw(api version body)}], [$api, $version, $body],
            "$method, " . (defined $advertised ? "up to version $advertised" : 'not advertised');
    }
};

subtest 'other meanings' => sub {
    my ($conn, $peer) = at_version(0);
    my $got = sent($peer, sub { $conn->init_producer_id(undef, 1, $cb) });
    is $got->{body}, null_string . i32(1), 'no transactional id';
    $got = sent($peer, sub { $conn->end_txn('x', $id, 5, $_, $cb) }), is substr($got->{body}, -1), "\0", 'abort'
        for 0, '', undef, '0';
    $got = sent($peer, sub { $conn->end_txn('x', $id, 5, 'yes', $cb) });
    is substr($got->{body}, -1), "\1", 'commit';
    $got = sent($peer, sub { $conn->add_partitions_to_txn('x', -1, -1, [{ topic => 't', partitions => [{ partition => 2 }] }], $cb) });
    is $got->{body}, string('x') . i64(-1) . i16(-1) . array(string('t') . array(i32(2))), 'a partition as a hash';

    ($conn, $peer) = at_version($COMMIT, 3);
    $got = sent($peer, sub { $conn->txn_offset_commit('x', 'g', 1, 2, undef, undef, [], $cb) });
    is $got->{body}, $TAGS . cstring('x') . cstring('g') . i64(1) . i16(2) . i32(-1) . cstring('') . cnull . carray() . $TAGS,
        'undef is what a producer has that is no member';
};

subtest 'what a version lacks' => sub {
    my ($conn, $peer) = at_version($INIT, 2);
    my (undef, $error) = answered(sub { $conn->init_producer_id('x', 1, $_[0], 7, 0) });
    is $error, 'InitProducerIdRequest version 2 has no field producer_id', $error;
    turns;
    is_deeply $peer->{requests}, [], 'nothing was sent';

    for my $api ([$INIT, 'init_producer_id'], [$END, 'end_txn'], [$ADD_OFFSETS, 'add_offsets_to_txn']) {
        my ($key, $method) = @$api;
        $peer = ConnPeer->new(versions => { $key => [20, 30] });
        ($conn) = ConnPeer::ready($peer);
        my @args = @{ $GOOD{$method} };
        (undef, $error) = answered(sub { $args[-1] = $_[0]; $conn->$method(@args) });
        like $error, qr/^\w+: unsupported version: the broker speaks versions 20 to 30/, $error;
    }
};

# --- answers --------------------------------------------------------------------

my $two = { topics => [{ topic => 't', partitions => [{ partition => 1, error_code => 0 }, { partition => 2, error_code => 48 }] }],
    throttle_time_ms => 9 };
my $old = i32(9) . array(string('t') . array(i32(1) . i16(0), i32(2) . i16(48)));
my $new = i32(9) . carray(cstring('t') . carray(i32(1) . i16(0) . $TAGS, i32(2) . i16(48) . $TAGS) . $TAGS) . $TAGS;
my $producer = { error_code => 0, producer_id => $id, producer_epoch => 3, throttle_time_ms => 9 };

my @ANSWERS = (
    [init_producer_id => 0, i32(9) . i16(0) . i64($id) . i16(3), $producer],
    [init_producer_id => 2, i32(9) . i16(0) . i64($id) . i16(3) . $TAGS, $producer],
    [init_producer_id => 5, i32(9) . i16(90) . i64(-1) . i16(-1) . $TAGS,
        { error_code => 90, producer_id => -1, producer_epoch => -1, throttle_time_ms => 9 }],
    [add_partitions_to_txn => 0, $old, $two],
    [add_partitions_to_txn => 3, $new, $two],
    [add_offsets_to_txn    => 0, i32(9) . i16(47), { error_code => 47, throttle_time_ms => 9 }],
    [add_offsets_to_txn    => 4, i32(9) . i16(47) . $TAGS, { error_code => 47, throttle_time_ms => 9 }],
    [end_txn               => 0, i32(9) . i16(48), { error_code => 48, throttle_time_ms => 9 }],
    [end_txn               => 4, i32(9) . i16(0) . $TAGS, { error_code => 0, throttle_time_ms => 9 }],
    [txn_offset_commit     => 0, $old, $two],
    [txn_offset_commit     => 4, $new, $two],
);

subtest 'answers' => sub {
    for (@ANSWERS) {
        my ($method, $version, $body, $expected) = @$_;
        is_deeply breaks_off($method, $version, $body), $expected, "$method v$version";
    }
};

subtest 'an answer that breaks off has what was whole' => sub {
    for my $method (qw(add_partitions_to_txn txn_offset_commit)) {
        my $result = EV::Kafka::_test_parse_response($method, 0, substr $old, 0, -1);
        is_deeply $result->{topics}, [{ topic => 't', partitions => [{ partition => 1, error_code => 0 }] }], $method;
    }
};

subtest 'answers that lie' => sub {
    srand 5;
    for my $method (sort keys %GOOD) {
        my $alive = 0;
        for my $n (1 .. 3000) {
            my $body = join '', map { chr rand 256 } 1 .. rand 60;
            $body = i32(0) . "\x7f\xff\xff\xff$body" if $n % 3 == 0;
            EV::Kafka::_test_parse_response($method, int rand 6, $body);
            $alive++;
        }
        is $alive, 3000, $method;
    }
};

subtest 'over the wire' => sub {
    my %answer = ($INIT => $ANSWERS[1], $ADD_PARTITIONS => $ANSWERS[4], $ADD_OFFSETS => $ANSWERS[6], $END => $ANSWERS[8], $COMMIT => $ANSWERS[10]);
    for my $api (sort keys %answer) {
        my ($method, $version, $body, $expected) = @{ $answer{$api} };
        $body =~ s/\A.{4}/i32(0)/es;
        my ($conn) = at_version($api, $version, on_request => sub { $TAGS . $body });
        my @args = @{ $GOOD{$method} };
        my ($result, $error) = answered(sub { $args[-1] = $_[0]; $conn->$method(@args) });
        is_deeply [$result, $error], [{ %$expected, throttle_time_ms => 0 }, undef], $method;
        ok !croak_of(sub { pop @args; $conn->$method(@args) }), 'also without a callback';
        wait_until { !$conn->pending } 'its answer';
        ok $conn->connected, 'and the connection goes on';
    }
};

subtest 'magic arguments' => sub {
    package Tied { sub TIESCALAR { bless [$_[1]] } sub FETCH { my $v = $_[0][0]; ref $v eq 'CODE' ? $v->() : $v } }
    package Number { use overload '0+' => sub { $_[0][0] }, '""' => sub { "n$_[0][0]" }, bool => sub { 0 }, fallback => 1 }
    my ($conn, $peer) = at_version(0);
    my $number = bless [6], 'Number';
    tie my $tied, 'Tied', { topic => 't', partitions => [$number] };
    my $got = sent($peer, sub { $conn->add_partitions_to_txn($number, $number, $number, [$tied], $cb) });
    is $got->{body}, string('n6') . i64(6) . i16(6) . array(string('t') . array(i32(6))), 'tied and overloaded';
    $got = sent($peer, sub { $conn->end_txn("\x{263a}", '7', 7.9, $number, $cb) });
    is $got->{body}, string("\xe2\x98\xba") . i64(7) . i16(7) . "\0", 'wide characters, numbers as Perl takes them';
    $got = sent($peer, sub { $conn->add_offsets_to_txn(undef, undef, undef, undef, $cb) });
    is $got->{body}, string('') . i64(0) . i16(0) . string(''), 'undef';

    my $element = { partitions => [] };
    tie $element->{topic}, 'Tied', sub { $conn->disconnect; 't' };
    like croak_of(sub { $conn->txn_offset_commit('x', 'g', 1, 1, 1, 'm', [$element], $cb) }),
        qr/^not connected at /, 'an argument that disconnects';
    ($conn) = at_version(0);
    tie $element->{topic}, 'Tied', sub { $conn->DESTROY; 't' };
    like croak_of(sub { $conn->add_partitions_to_txn('x', 1, 1, [$element], $cb) }),
        qr/^EV::Kafka::Conn: method called on destroyed connection at /, 'an argument that destroys';
};

done_testing;
