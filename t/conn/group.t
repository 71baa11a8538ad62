use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;
use Time::HiRes qw(time);

use ConnPeer qw(string array);
use RequestTest;
use TestKafka qw(wait_until turns);

# Requests of a group's members, as a peer sees them at the versions that differ,
# and what callbacks get for its answers. All bytes are written out by hand.

my ($OFFSET_COMMIT, $OFFSET_FETCH, $JOIN, $HEARTBEAT, $LEAVE, $SYNC) = (8, 9, 11, 12, 13, 14);
my $cb = sub { };

# The arguments of a good call.
my %GOOD = (
    join_group    => ['g', 'm', ['a', 'b'], $cb],
    sync_group    => ['g', 7, 'm', [{ member_id => 'x', assignment => 'to x' }, { member_id => 'm' }], $cb],
    heartbeat     => ['g', 7, 'm', $cb],
    leave_group   => ['g', 'm', $cb],
    offset_commit => ['g', 7, 'm', [{ topic => 't', partitions => [{ partition => 1, offset => 1 << 40 }, {}] }], $cb],
    offset_fetch  => ['g', [{ topic => 't', partitions => [0, 3] }], $cb],
);

# --- requests -------------------------------------------------------------------

my $subscription = i16(0) . array(string('a'), string('b')) . null_bytes;
my $TAGS = "\0";
my @REQUESTS = (
    [$JOIN, undef, 1, join_group => [], string('g') . i32(30000, 60000) . string('m') . string('consumer')
        . array(string('sticky') . bytes($subscription))],
    [$JOIN, 0, 0, join_group => [5000, 9000], string('g') . i32(5000) . string('m') . string('consumer')
        . array(string('sticky') . bytes($subscription))],
    [$JOIN, 4, 4, join_group => [undef, 9000, undef], string('g') . i32(30000, 9000) . string('m') . string('consumer')
        . array(string('sticky') . bytes($subscription))],
    [$JOIN, 5, 5, join_group => [1, 2, 'i'], string('g') . i32(1, 2) . string('m') . string('i') . string('consumer')
        . array(string('sticky') . bytes($subscription))],
    [$JOIN, 6, 6, join_group => [1, 2, 'i'], $TAGS . cstring('g') . i32(1, 2) . cstring('m') . cstring('i')
        . cstring('consumer') . carray(cstring('sticky') . cbytes($subscription) . $TAGS) . $TAGS],
    [$JOIN, 30, 9, join_group => [1, 2], $TAGS . cstring('g') . i32(1, 2) . cstring('m') . cnull
        . cstring('consumer') . carray(cstring('sticky') . cbytes($subscription) . $TAGS) . cnull . $TAGS],

    [$SYNC, undef, 0, sync_group => [], string('g') . i32(7) . string('m')
        . array(string('x') . bytes('to x'), string('m') . bytes(''))],
    [$SYNC, 3, 3, sync_group => ['i'], string('g') . i32(7) . string('m') . string('i')
        . array(string('x') . bytes('to x'), string('m') . bytes(''))],
    [$SYNC, 5, 4, sync_group => [], $TAGS . cstring('g') . i32(7) . cstring('m') . cnull
        . carray(cstring('x') . cbytes('to x') . $TAGS, cstring('m') . cbytes('') . $TAGS) . $TAGS],

    [$HEARTBEAT, undef, 0, heartbeat => [], string('g') . i32(7) . string('m')],
    [$HEARTBEAT, 3, 3, heartbeat => [], string('g') . i32(7) . string('m') . null_string],
    [$HEARTBEAT, 4, 4, heartbeat => ['i'], $TAGS . cstring('g') . i32(7) . cstring('m') . cstring('i') . $TAGS],

    [$LEAVE, undef, 0, leave_group => [], string('g') . string('m')],
    [$LEAVE, 2, 2, leave_group => [], string('g') . string('m')],
    [$LEAVE, 3, 3, leave_group => [], string('g') . array(string('m') . null_string)],
    [$LEAVE, 4, 4, leave_group => [], $TAGS . cstring('g') . carray(cstring('m') . cnull . $TAGS) . $TAGS],
    [$LEAVE, 5, 5, leave_group => [], $TAGS . cstring('g') . carray(cstring('m') . cnull . cnull . $TAGS) . $TAGS],

    [$OFFSET_COMMIT, undef, 2, offset_commit => [], string('g') . i32(7) . string('m')
        . array(string('t') . array(i32(1) . i64(1 << 40) . string(''), i32(0) . i64(0) . string('')))],
    [$OFFSET_COMMIT, 2, 2, offset_commit => [], string('g') . i32(7) . string('m')
        . array(string('t') . array(i32(1) . i64(1 << 40) . string(''), i32(0) . i64(0) . string('')))],
    (map { [$OFFSET_COMMIT, $_, $_, offset_commit => [], string('g') . i32(7) . string('m') . i64(-1)
        . array(string('t') . array(i32(1) . i64(1 << 40) . string(''), i32(0) . i64(0) . string('')))] } 3, 4),
    [$OFFSET_COMMIT, 5, 5, offset_commit => [], string('g') . i32(7) . string('m')
        . array(string('t') . array(i32(1) . i64(1 << 40) . string(''), i32(0) . i64(0) . string('')))],
    [$OFFSET_COMMIT, 6, 6, offset_commit => [], string('g') . i32(7) . string('m')
        . array(string('t') . array(i32(1) . i64(1 << 40) . i32(-1) . string(''), i32(0) . i64(0) . i32(-1) . string('')))],
    [$OFFSET_COMMIT, 7, 7, offset_commit => [], string('g') . i32(7) . string('m') . null_string
        . array(string('t') . array(i32(1) . i64(1 << 40) . i32(-1) . string(''), i32(0) . i64(0) . i32(-1) . string('')))],
    [$OFFSET_COMMIT, 10, 9, offset_commit => [], $TAGS . cstring('g') . i32(7) . cstring('m') . cnull
        . carray(cstring('t') . carray(i32(1) . i64(1 << 40) . i32(-1) . cstring('') . $TAGS,
            i32(0) . i64(0) . i32(-1) . cstring('') . $TAGS) . $TAGS) . $TAGS],

    [$OFFSET_FETCH, undef, 1, offset_fetch => [], string('g') . array(string('t') . array(i32(0), i32(3)))],
    [$OFFSET_FETCH, 5, 5, offset_fetch => [], string('g') . array(string('t') . array(i32(0), i32(3)))],
    [$OFFSET_FETCH, 6, 6, offset_fetch => [], $TAGS . cstring('g') . carray(cstring('t') . carray(i32(0), i32(3)) . $TAGS) . $TAGS],
    [$OFFSET_FETCH, 7, 7, offset_fetch => [], $TAGS . cstring('g') . carray(cstring('t') . carray(i32(0), i32(3)) . $TAGS) . "\0" . $TAGS],
    [$OFFSET_FETCH, 8, 8, offset_fetch => [], $TAGS . carray(cstring('g') . carray(cstring('t') . carray(i32(0), i32(3)) . $TAGS) . $TAGS) . "\0" . $TAGS],
    [$OFFSET_FETCH, 10, 9, offset_fetch => [], $TAGS . carray(cstring('g') . cnull . i32(-1)
        . carray(cstring('t') . carray(i32(0), i32(3)) . $TAGS) . $TAGS) . "\0" . $TAGS],
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

subtest 'what else a hash may say' => sub {
    my ($conn, $peer) = at_version($OFFSET_COMMIT, 6);
    my $partition = { partition => 2, offset => 5, leader_epoch => 4, metadata => 'mine' };
    my $got = sent($peer, sub { $conn->offset_commit('g', undef, undef, [{ topic => 't', partitions => [$partition] }], $cb) });
    is $got->{body}, string('g') . i32(-1) . string('') . array(string('t') . array(i32(2) . i64(5) . i32(4) . string('mine'))),
        'leader epoch and metadata; undef is what a committer has that is no member';

    ($conn, $peer) = at_version($OFFSET_FETCH, 7);
    $got = sent($peer, sub { $conn->offset_fetch('g', [{ topic => 't', partitions => [{ partition => 3 }, {}] }], { require_stable => 1 }, $cb) });
    is $got->{body}, $TAGS . cstring('g') . carray(cstring('t') . carray(i32(3), i32(0)) . $TAGS) . "\1" . $TAGS,
        'partitions as hashes; require_stable';

    ($conn, $peer) = at_version($SYNC, 0);
    $got = sent($peer, sub { $conn->sync_group('g', 7, 'm', undef, $cb) });
    is $got->{body}, string('g') . i32(7) . string('m') . array(), 'no assignments';
};

subtest 'what a version lacks' => sub {
    my @lacking = (
        [$JOIN, 4, 'JoinGroupRequest version 4 has no field group_instance_id', join_group => 1, 2, 'i'],
        [$SYNC, 2, 'SyncGroupRequest version 2 has no field group_instance_id', sync_group => 'i'],
        [$HEARTBEAT, undef, 'HeartbeatRequest version 0 has no field group_instance_id', heartbeat => 'i'],
    );
    for (@lacking) {
        my ($api, $version, $text, $method, @more) = @$_;
        my ($conn, $peer) = at_version($api, $version);
        my @args = @{ $GOOD{$method} };
        my ($result, $error) = answered(sub { $args[-1] = $_[0]; $conn->$method(@args, @more) });
        is_deeply [$result, $error], [undef, $text], $text;
        turns;
        is_deeply $peer->{requests}, [], 'nothing was sent';
    }
    for (undef, 4) {
        my ($conn, $peer) = at_version($HEARTBEAT, $_);
        my (undef, $error) = answered(sub { $conn->heartbeat('g' x 32768, 7, 'm', $_[0]) });
        is $error, "HeartbeatRequest version ${\ ($_ || 0) }: group_id is too long", $error;
        turns;
        is_deeply $peer->{requests}, [], 'nothing was sent';
    }
    my ($conn) = at_version($OFFSET_FETCH, 6);
    my (undef, $error) = answered(sub { $conn->offset_fetch('g', [], { require_stable => 1 }, $_[0]) });
    is $error, 'OffsetFetchRequest version 6 has no field require_stable', $error;

    my $peer = ConnPeer->new(versions => { $OFFSET_COMMIT => [0, 1], $JOIN => [10, 12] });
    ($conn) = ConnPeer::ready($peer);
    (undef, $error) = answered(sub { $conn->offset_commit('g', 1, 'm', [], $_[0]) });
    is $error, 'OffsetCommit: unsupported version: the broker speaks versions 0 to 1, this client versions 2 to 9', 'too old';
    (undef, $error) = answered(sub { $conn->join_group('g', '', ['t'], $_[0]) });
    like $error, qr/^JoinGroup: unsupported version: /, 'too new';
};

# --- answers --------------------------------------------------------------------

my %join = (error_code => 0, generation_id => 3, protocol_name => 'sticky', leader => 'l', member_id => 'm');
my @members = ({ member_id => 'l', metadata => 'of l' }, { member_id => 'm' });
my @offset  = (partition => 4, offset => 9, error_code => 0);

my @ANSWERS = (
    [join_group => 0, i16(0) . i32(3) . string('sticky') . string('l') . string('m')
        . array(string('l') . bytes('of l'), string('m') . bytes('')), { %join, members => \@members }],
    [join_group => 0, i16(0) . i32(3) . string('sticky') . string('l') . string('m') . array(string('m') . null_bytes),
        { %join, members => [$members[1]] }],
    [join_group => 2, i32(5) . i16(79) . i32(-1) . string('') . string('') . string('m') . array(),
        { error_code => 79, generation_id => -1, protocol_name => '', leader => '', member_id => 'm', members => [], throttle_time_ms => 5 }],
    [join_group => 5, i32(0) . i16(0) . i32(3) . string('sticky') . string('l') . string('m')
        . array(string('l') . string('i') . bytes('of l'), string('m') . null_string . bytes('')),
        { %join, members => [{ %{ $members[0] }, group_instance_id => 'i' }, $members[1]] }],
    [join_group => 6, i32(0) . i16(0) . i32(3) . cstring('sticky') . cstring('l') . cstring('m')
        . carray(cstring('l') . cnull . cbytes('of l') . $TAGS, cstring('m') . cnull . cbytes('') . $TAGS) . $TAGS,
        { %join, members => \@members }],
    [join_group => 7, i32(0) . i16(25) . i32(-1) . cnull . cnull . cstring('') . cstring('m') . carray() . $TAGS,
        { error_code => 25, protocol_name => '', members => [] }],
    [join_group => 9, i32(0) . i16(0) . i32(3) . cstring('consumer') . cstring('sticky') . cstring('l') . "\1" . cstring('m')
        . carray(cstring('l') . cnull . cbytes('of l') . $TAGS, cstring('m') . cnull . cbytes('') . $TAGS) . $TAGS,
        { %join, members => \@members, skip_assignment => 1 }],

    [sync_group => 0, i16(0) . bytes('mine'), { error_code => 0, assignment => 'mine' }],
    [sync_group => 0, i16(27) . bytes(''), { error_code => 27, assignment => undef }],
    [sync_group => 0, i16(27) . null_bytes, { error_code => 27, assignment => undef }],
    [sync_group => 1, i32(6) . i16(0) . bytes('mine'), { error_code => 0, assignment => 'mine', throttle_time_ms => 6 }],
    [sync_group => 4, i32(6) . i16(0) . cbytes('mine') . $TAGS, { error_code => 0, assignment => 'mine' }],

    [heartbeat => 0, i16(27), { error_code => 27 }],
    [heartbeat => 1, i32(6) . i16(27), { error_code => 27, throttle_time_ms => 6 }],
    [heartbeat => 4, i32(6) . i16(27) . $TAGS, { error_code => 27 }],

    [leave_group => 0, i16(25), { error_code => 25 }],
    [leave_group => 1, i32(6) . i16(25), { error_code => 25, throttle_time_ms => 6 }],
    [leave_group => 3, i32(0) . i16(0) . array(string('m') . null_string . i16(25)), { error_code => 25 }],
    [leave_group => 3, i32(0) . i16(0) . array(string('m') . null_string . i16(0)), { error_code => 0 }],
    [leave_group => 3, i32(0) . i16(16) . array(), { error_code => 16 }],
    [leave_group => 5, i32(0) . i16(0) . carray(cstring('m') . cnull . i16(25) . $TAGS) . $TAGS, { error_code => 25 }],

    [offset_commit => 2, array(string('t') . array(i32(1) . i16(0), i32(0) . i16(22))),
        { topics => [{ topic => 't', partitions => [{ partition => 1, error_code => 0 }, { partition => 0, error_code => 22 }] }] }],
    [offset_commit => 3, i32(7) . array(string('t') . array(i32(1) . i16(0))),
        { topics => [{ topic => 't', partitions => [{ partition => 1, error_code => 0 }] }], throttle_time_ms => 7 }],
    [offset_commit => 8, i32(7) . carray(cstring('t') . carray(i32(1) . i16(0) . $TAGS) . $TAGS) . $TAGS,
        { topics => [{ topic => 't', partitions => [{ partition => 1, error_code => 0 }] }] }],

    [offset_fetch => 1, array(string('t') . array(i32(4) . i64(9) . string('mine') . i16(0))),
        { topics => [{ topic => 't', partitions => [{ @offset, metadata => 'mine' }] }], error_code => undef }],
    [offset_fetch => 2, array(string('t') . array(i32(4) . i64(9) . null_string . i16(0))) . i16(16),
        { topics => [{ topic => 't', partitions => [{ @offset }] }], error_code => 16 }],
    [offset_fetch => 5, i32(7) . array(string('t') . array(i32(4) . i64(9) . i32(2) . string('') . i16(0))) . i16(0),
        { topics => [{ topic => 't', partitions => [{ @offset, metadata => '', leader_epoch => 2 }] }], error_code => 0, throttle_time_ms => 7 }],
    [offset_fetch => 6, i32(7) . carray(cstring('t') . carray(i32(4) . i64(9) . i32(2) . cstring('') . i16(0) . $TAGS) . $TAGS) . i16(0) . $TAGS,
        { topics => [{ topic => 't', partitions => [{ @offset, metadata => '', leader_epoch => 2 }] }], error_code => 0 }],
    [offset_fetch => 8, i32(7) . carray(cstring('g') . carray(cstring('t')
        . carray(i32(4) . i64(9) . i32(2) . cstring('') . i16(0) . $TAGS) . $TAGS) . i16(16) . $TAGS) . $TAGS,
        { topics => [{ topic => 't', partitions => [{ @offset, metadata => '', leader_epoch => 2 }] }], error_code => 16, throttle_time_ms => 7 }],
);

# Of the result what the expectation names; undef there means: is not there.
sub same_as_named {
    my ($got, $expected, $name) = @_;
    my %named = map { exists $got->{$_} ? ($_ => $got->{$_}) : () } keys %$expected;
    for my $topic (@{ $named{topics} || [] }) {
        delete $_->{leader_epoch} for grep { ($_->{leader_epoch} // 0) == -1 } @{ $topic->{partitions} };
    }
    my %wanted = map { defined $expected->{$_} ? ($_ => $expected->{$_}) : () } keys %$expected;
    return is_deeply \%named, \%wanted, $name;
}

subtest 'answers' => sub {
    for (@ANSWERS) {
        my ($method, $version, $body, $expected) = @$_;
        my $whole = breaks_off($method, $version, $body);
        same_as_named($whole, $expected, "$method v$version");
    }
};

subtest 'an answer that breaks off has what was whole' => sub {
    my $body = array(string('t') . array(i32(1) . i16(0), i32(2) . i16(0)));
    my $result = EV::Kafka::_test_parse_response('offset_commit', 2, substr $body, 0, -1);
    is_deeply $result->{topics}, [{ topic => 't', partitions => [{ partition => 1, error_code => 0 }] }], 'a whole partition';
    $result = EV::Kafka::_test_parse_response('join_group', 0, substr $ANSWERS[0][2], 0, -1);
    is_deeply $result->{members}, [$members[0]], 'a whole member';
    is $result->{generation_id}, 3, 'and what came before';
    $result = EV::Kafka::_test_parse_response('offset_fetch', 8, substr $ANSWERS[-1][2], 0, -5);
    is $result->{topics}[0]{partitions}[0]{offset}, 9, 'a whole partition of a group';
};

subtest 'answers that lie' => sub {
    srand 4;
    for my $method (sort keys %GOOD) {
        my $alive = 0;
        for my $n (1 .. 3000) {
            my $body = join '', map { chr rand 256 } 1 .. rand 60;
            $body = i32(0) . i16(0) . "\x7f\xff\xff\xff$body" if $n % 3 == 0;
            EV::Kafka::_test_parse_response($method, int rand 11, $body);
            $alive++;
        }
        is $alive, 3000, $method;
    }
};

subtest 'over the wire' => sub {
    my ($conn, $peer) = at_version($LEAVE, 3, on_request => sub { i32(0) . i16(0) . array(string('m') . null_string . i16(25)) });
    my ($result, $error) = answered(sub { $conn->leave_group('g', 'm', $_[0]) });
    is $error, undef, 'no error';
    is $result->{error_code}, 25, "the member's code";

    ($conn, $peer) = at_version($OFFSET_FETCH, 8, on_request => sub { $TAGS . i32(0) . carray() . $TAGS });
    ($result, $error) = answered(sub { $conn->offset_fetch('g', [], $_[0]) });
    is_deeply [$result, $error], [undef, 'OffsetFetch: the answer names no group'], 'an answer without our group';
};

subtest 'a commit whose answer lacks a partition has failed' => sub {
    my $answer;
    my ($conn) = at_version($OFFSET_COMMIT, undef, on_request => sub { $answer });
    my @offsets = ({ topic => 't', partitions => [{ partition => 0 }, { partition => 1 }] }, { topic => 'u', partitions => [{}] });
    my $commit = sub { answered(sub { $conn->offset_commit('g', 1, 'm', \@offsets, $_[0]) }) };
    my ($t0, $t1, $u0) = (i32(0) . i16(0), i32(1) . i16(0), string('u') . array(i32(0) . i16(0)));

    $answer = array(string('t') . array($t1, $t0), $u0);
    my ($result, $error) = $commit->();
    is $error, undef, 'in any order';
    is @{ $result->{topics} }, 2, 'with its topics';

    my %lacking = ('partition 1 of topic t' => array(string('t') . array($t0), $u0),
        'partition 0 of topic u' => array(string('t') . array($t0, $t1)), 'partition 0 of topic t' => array());
    for my $what (sort keys %lacking) {
        $answer = $lacking{$what};
        is_deeply [$commit->()], [undef, "OffsetCommit: the answer lacks $what"], $what;
    }

    $answer = substr array(string('t') . array($t0, $t1), $u0), 0, -1;
    ($result, $error) = $commit->();
    is $error, undef, 'one that breaks off';
    is $result->{truncated}, 1, 'is marked instead';
    is_deeply [map { $_->{topic} } @{ $result->{topics} }], ['t'], 'and has what was whole';

    $answer = array();
    ok !croak_of(sub { $conn->offset_commit('g', 1, 'm', \@offsets) }), 'without a callback';
    wait_until { !$conn->pending } 'its answer';
    is +(answered(sub { $conn->offset_commit('g', 1, 'm', [], $_[0]) }))[1], undef, 'nothing to commit';
};

subtest 'how long an answer may take' => sub {
    my $waits = sub {
        my ($seconds, $call) = @_;
        my ($conn) = at_version(0);
        $conn->on_error(sub { });
        $conn->request_timeout(0.05);
        my $start = time;
        my (undef, $error) = answered(sub { $call->($conn, $_[0]) });
        like $error, qr/^request timed out: /, $error;
        cmp_ok time - $start, '>=', $seconds * 0.95, "after $seconds s";
    };
    $waits->(0.05, sub { $_[0]->heartbeat('g', 1, 'm', $_[1]) });
    $waits->(0.35, sub { $_[0]->join_group('g', '', ['t'], $_[1], 100, 300) });
    $waits->(0.25, sub { $_[0]->join_group('g', '', ['t'], $_[1], 200, -1) });

    my ($conn) = at_version(0);
    $conn->request_timeout(0.05);
    my ($told, $later);
    $conn->sync_group('g', 1, 'm', [], sub { $told = $_[1] });
    my $timer = EV::timer 0.3, 0, sub { $later = 1 };
    wait_until { $later } 'some time';
    is $told, undef, 'sync_group waits for the leader';
    $conn->disconnect;
    is $told, 'disconnected', 'as long as the connection is there';
};

subtest 'throttling' => sub {
    my @arrivals;
    my ($conn) = at_version($HEARTBEAT, 2, on_request => sub { push @arrivals, time; i32(@arrivals == 1 ? 100 : 0) . i16(0) });
    my ($result) = answered(sub { $conn->heartbeat('g', 1, 'm', $_[0]) });
    is $result->{throttle_time_ms}, 100, 'is told';
    answered(sub { $conn->heartbeat('g', 1, 'm', $_[0]) });
    cmp_ok $arrivals[1] - $arrivals[0], '>=', 0.1, 'is obeyed';
};

subtest 'magic arguments' => sub {
    package Tied { sub TIESCALAR { bless [$_[1]] } sub FETCH { my $v = $_[0][0]; ref $v eq 'CODE' ? $v->() : $v } }
    package Text { use overload '""' => sub { $_[0][0] }, '0+' => sub { 8 }, fallback => 1 }
    my ($conn, $peer) = at_version(0);
    tie my $tied, 'Tied', 'tied';
    tie my $array, 'Tied', ['t'];
    my $text = bless ['text'], 'Text';
    my $got = sent($peer, sub { $conn->heartbeat($tied, $text, $text, $cb) });
    is $got->{body}, string('tied') . i32(8) . string('text'), 'tied and overloaded';
    $got = sent($peer, sub { $conn->join_group(undef, undef, $array, $cb, 1, 2) });
    is $got->{body}, string('') . i32(1, 2) . string('') . string('consumer')
        . array(string('sticky') . bytes(i16(0) . array(string('t')) . null_bytes)), 'undef is empty; a tied array reference';
    $got = sent($peer, sub { $conn->heartbeat("\x{263a}", '7', "\xe4", $cb) });
    is $got->{body}, string("\xe2\x98\xba") . i32(7) . string("\xe4"), 'wide characters are their bytes; a number may be a string';

    tie my $trap, 'Tied', sub { $conn->disconnect; 1 };
    like croak_of(sub { $conn->heartbeat('g', $trap, 'm', $cb) }), qr/^not connected at /, 'an argument that disconnects';
    ($conn) = at_version(0);
    tie $trap, 'Tied', sub { $conn->DESTROY; 'm' };
    like croak_of(sub { $conn->leave_group('g', $trap, $cb) }),
        qr/^EV::Kafka::Conn: method called on destroyed connection at /, 'an argument that destroys';
    ($conn) = at_version(0);
    tie $trap, 'Tied', sub { die "in FETCH\n" };
    is croak_of(sub { $conn->sync_group('g', 1, $trap, [], $cb) }), "in FETCH\n", 'an argument that dies';
};

done_testing;
