use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;
use Time::HiRes qw(time);

use ConnPeer;
use RequestTest;
use TestKafka qw(wait_until turns);

# Requests as a peer sees them, in the oldest versions, whose layout is written
# out here by hand; and what becomes of its answers.

subtest 'what is sent to a broker that advertises nothing' => sub {
    my ($conn, $peer) = at_version();
    my $cb = sub { };

    my $got = sent($peer, sub { $conn->metadata(['a', 'b'], $cb) });
    is_deeply [@$got{qw(api version body)}], [3, 1, array(map { string($_) } 'a', 'b')], 'metadata';
    is $got->{client_id}, 'ev-kafka', 'the client id';
    $got = sent($peer, sub { $conn->metadata(undef, $cb) });
    is_deeply [@$got{qw(version body)}], [1, pack 'N', 0xffffffff], 'metadata of all topics';

    $got = sent($peer, sub { $conn->list_offsets('t', 2, -2, $cb) });
    is_deeply [@$got{qw(api version body)}],
        [2, 1, pack('N', 0xffffffff) . array(string('t') . array(pack 'N q>', 2, -2))], 'list_offsets';

    $got = sent($peer, sub { $conn->find_coordinator('g', $cb) });
    is_deeply [@$got{qw(api version body)}], [10, 0, string('g')], 'find_coordinator';

    $got = sent($peer, sub { $conn->create_topics([{ name => 'a' }, { name => 'b', num_partitions => 3, replication_factor => 2 }], 5000, $cb) });
    is_deeply [@$got{qw(api version body)}], [19, 0, array(
        string('a') . pack('N n N N', 1, 1, 0, 0), string('b') . pack('N n N N', 3, 2, 0, 0),
    ) . pack 'N', 5000], 'create_topics';

    $got = sent($peer, sub { $conn->delete_topics(['a', 'b'], 5000, $cb) });
    is_deeply [@$got{qw(api version body)}], [20, 0, array(string('a'), string('b')) . pack 'N', 5000], 'delete_topics';

    my $fetch = sub { pack('N N N N C', 0xffffffff, @_[0 .. 2], 0) };
    $got = sent($peer, sub { $conn->fetch('t', 1, 7, $cb) });
    is_deeply [@$got{qw(api version body)}],
        [1, 4, $fetch->(500, 1, 1 << 20) . array(string('t') . array(pack 'N q> N', 1, 7, 1 << 20))], 'fetch';
    $got = sent($peer, sub { $conn->fetch('t', 1, 7, { max_bytes => 9, max_wait_ms => 8, min_bytes => 6 }, $cb) });
    is_deeply $got->{body}, $fetch->(8, 6, 9) . array(string('t') . array(pack 'N q> N', 1, 7, 9)), 'fetch with options';
    $got = sent($peer, sub { $conn->fetch_multi({ t => [{ partition => 1, offset => 7 }, {}] }, $cb) });
    is_deeply $got->{body}, $fetch->(500, 1, 1 << 20)
        . array(string('t') . array(map { pack 'N q> N', @$_, 1 << 20 } [1, 7], [0, 0])), 'fetch_multi';

    $got = sent($peer, sub { $conn->produce('t', 1, 'k', 'v', { timestamp => 5, headers => { h => undef } }, $cb) });
    my ($start, $batch) = unpack 'a23 N/a*', $got->{body};
    is_deeply [@$got{qw(api version)}, $start], [0, 3,
        pack('n n N', 0xffff, 1, 30000) . array(string('t') . array(pack 'N', 1))], 'produce';
    is_deeply EV::Kafka::_test_decode_batch($batch),
        [{ offset => 0, timestamp => 5, key => 'k', value => 'v', headers => { h => undef } }], 'its record';

    $got = sent($peer, sub { $conn->produce_batch('t', 1, [{ key => 'k' }, { value => '' }], { acks => -1, producer_id => 9, producer_epoch => 2, base_sequence => 4, compression => 'gzip' }) });
    ($start, $batch) = unpack 'a23 N/a*', $got->{body};
    is unpack('x2 n', $start), 0xffff, 'acks -1';
    is_deeply [unpack 'x43 q> n N', $batch], [9, 2, 4], 'producer id, epoch and sequence';
    is unpack('x22 C', $batch), 1, 'gzip';
    my $value = join '', map { chr(97 + $_ * $_ % 23) . $_ } 1 .. 2_000;
    my ($low, $high) = map { my %option = (compression => 'gzip', compression_level => $_);
        length sent($peer, sub { $conn->produce('t', 1, 'k', $value, \%option, $cb) })->{body} } 1, 9;
    cmp_ok $high, '<', $low, 'of a higher level there is less';
    is_deeply [map { delete $_->{timestamp}; $_ } @{ EV::Kafka::_test_decode_batch($batch) }],
        [{ offset => 0, key => 'k', value => undef }, { offset => 1, key => undef, value => '' }], 'its records';
};

subtest 'the time of the call' => sub {
    my ($conn, $peer) = at_version();
    my $before = int 1000 * time;
    my $got = sent($peer, sub { $conn->produce('t', 0, 'k', 'v') });
    my $record = EV::Kafka::_test_decode_batch(unpack 'x23 N/a*', $got->{body})->[0];
    cmp_ok $record->{timestamp}, '>=', $before, 'not before it';
    cmp_ok $record->{timestamp}, '<=', 1000 * time, 'not after it';
};

subtest 'headers as pairs keep their order and repeats' => sub {
    my ($conn, $peer) = at_version();
    my $got = sent($peer, sub { $conn->produce('t', 0, undef, 'v', { headers => [[b => 1], [a => 2], [b => undef]] }) });
    my $batch = unpack 'x23 N/a*', $got->{body};
    like $batch, qr/\x06\x02b\x021\x02a\x022\x02b\x01\z/, 'on the wire';
};

subtest 'acks 0' => sub {
    my ($conn, $peer) = at_version();
    my @told;
    local $@ = 'untouched';
    $conn->produce('t', 0, 'k', 'v', { acks => 0 }, sub { push @told, @_ });
    is_deeply \@told, [{}, undef], 'the callback is called before the method returns';
    is $@, 'untouched', 'and leaves $@ alone';
    is $conn->pending, 0, 'nothing is pending';
    $conn->produce_batch('t', 0, [{ value => 'v' }], { acks => 0 });
    wait_until { @{ $peer->{requests} } == 2 } 'the requests';
    is unpack('x2 n', $peer->{requests}[0]{body}), 0, 'acks on the wire';

    $conn->produce('t', 0, 'k', 'v', { acks => 0 });
    $conn->disconnect;
    wait_until { $peer->{closed} } 'the end';
    is @{ $peer->{requests} }, 3, 'what was accepted is sent before a disconnect';
};

subtest 'requests of one turn go out together, the first one at once' => sub {
    my ($conn, $peer) = at_version();
    my @reads;
    $peer->{reading} = EV::io $peer->{socket}, EV::READ, sub {
        sysread $peer->{socket}, my $bytes, 1 << 20;
        push @reads, length $bytes;
    };
    $conn->metadata(['t'], sub { });
    my $rin = '';
    vec($rin, fileno $peer->{socket}, 1) = 1;
    is select($rin, undef, undef, 0), 1, 'the first is there without the loop';
    sysread $peer->{socket}, my $first, 1 << 20;
    $conn->metadata(['t'], sub { }) for 1 .. 10;
    vec($rin = '', fileno $peer->{socket}, 1) = 1;
    is select($rin, undef, undef, 0), 0, 'the others wait for the loop';
    wait_until { @reads } 'the others';
    is_deeply \@reads, [10 * length $first], 'and come together';
};

subtest 'versions' => sub {
    my $peer = ConnPeer->new(versions => { 0 => [3, 5], 3 => [20, 30], 10 => [0, 0], 2 => [0, 0] });
    my ($conn, $log) = ready($peer);
    my (undef, $error) = answered(sub { $conn->metadata(['t'], $_[0]) });
    is $error, 'Metadata: unsupported version: the broker speaks versions 20 to 30, this client versions 0 to 13',
        'no version in common';
    (undef, $error) = answered(sub { $conn->find_coordinator('x', $_[0], 1) });
    is $error, 'FindCoordinatorRequest version 0 has no field key_type', 'a field that the version lacks';
    (undef, $error) = answered(sub { $conn->produce('t', 0, 'k', 'v', { compression => 'zstd' }, $_[0]) });
    is $error, 'zstd compression needs Produce version 7, which the broker lacks', 'zstd before Produce 7';
    (undef, $error) = answered(sub { $conn->list_offsets('t', 0, -1, $_[0]) });
    like $error, qr/^ListOffsets: unsupported version/, 'below our lowest';
    my @told;
    $conn->metadata(['t']);
    $conn->produce('t', 0, 'k', 'v', { acks => 0, compression => 'zstd' }, sub { push @told, $_[1] });
    like $told[0], qr/^zstd/, 'also with acks 0';
    turns;
    is_deeply $peer->{requests}, [], 'nothing was sent';
    is $conn->pending, 0, 'nothing is pending';
    is sent($peer, sub { $conn->produce('t', 0, 'k', 'v') })->{version}, 5, 'the highest that both speak';
};

subtest 'an answer that breaks off' => sub {
    my $topic = sub { pack('n', 0) . string($_[0]) . "\0" . array() };
    my $peer = ConnPeer->new(on_request => sub {
        my $whole = array(pack('N', 1) . string('h') . pack 'N n', 9, 0xffff) . pack('N', 1) . array($topic->('a'), $topic->('b'));
        substr $whole, 0, -1;
    });
    my ($conn, $log) = ready($peer);
    my ($result, $error) = answered(sub { $conn->metadata(['a', 'b'], $_[0]) });
    is $error, undef, 'is no error';
    is $result->{truncated}, 1, 'is marked';
    is_deeply [map { $_->{name} } @{ $result->{topics} }], ['a'], 'has what was whole';
    is_deeply $result->{brokers}, [{ node_id => 1, host => 'h', port => 9 }], 'and what came before';
    ok $conn->connected, 'and the connection goes on';
};

subtest 'throttling' => sub {
    my $answer = sub {
        my ($throttle, @more) = @_;
        return array(string('t') . array(pack 'N n q> q> (q>)*', 0, 0, 7, -1, @more)) . pack 'N', $throttle;
    };
    my @arrivals;
    # From Produce 6 on the client waits; a broker that speaks less has waited itself (KIP-219).
    my $peer = ConnPeer->new(versions => { 0 => [6, 6] }, on_request => sub {
        push @arrivals, time;
        $answer->(@arrivals == 1 ? 100 : 0, 0);
    });
    my ($conn, $log) = ready($peer);
    my ($result) = answered(sub { $conn->produce('t', 0, 'k', 'v', $_[0]) });
    is $result->{throttle_time_ms}, 100, 'is told';
    is $result->{topics}[0]{partitions}[0]{base_offset}, 7, 'beside the offset';
    answered(sub { $conn->produce('t', 0, 'k', 'v', $_[0]) });
    cmp_ok $arrivals[1] - $arrivals[0], '>=', 0.1, 'is obeyed';

    my $old = ConnPeer->new(versions => { 0 => [3, 4] }, on_request => sub { $answer->(3_600_000) });
    ($conn, $log) = ready($old);
    for my $time ('first', 'second') {
        ($result) = answered(sub { $conn->produce('t', 0, 'k', 'v', $_[0]) });
        is $result->{throttle_time_ms}, 3_600_000, "an old broker that has waited: $time answer";
    }
};

subtest 'request_timeout' => sub {
    my $peer = ConnPeer->new;
    my ($conn, $log) = ready($peer);
    $conn->request_timeout(0.05);
    $conn->metadata(['t'], sub { push @$log, "answer: $_[1]" });
    wait_until { @$log > 2 } 'the timeout';
    is_deeply $log, ['error: request timed out: Metadata v1', 'answer: request timed out: Metadata v1', 'disconnect'],
        'ends the connection';
};

subtest 'magic arguments' => sub {
    package Tied { sub TIESCALAR { bless [$_[1]] } sub FETCH { my $v = $_[0][0]; ref $v eq 'CODE' ? $v->() : $v } }
    package Text { use overload '""' => sub { $_[0][0] }, fallback => 1 }
    my ($conn, $peer) = at_version();
    tie my $tied, 'Tied', 'tied';
    my $text = bless ['text'], 'Text';
    my $got = sent($peer, sub { $conn->produce($text, '1', $tied, $text) });
    my $record = EV::Kafka::_test_decode_batch(unpack 'x26 N/a*', $got->{body})->[0];
    is_deeply [@$record{qw(key value)}], ['tied', 'text'], 'tied and overloaded';

    tie my $trap, 'Tied', sub { $conn->disconnect; 't' };
    like croak_of(sub { $conn->produce($trap, 0, 'k', 'v') }), qr/^not connected at /, 'an argument that disconnects';
    tie $trap, 'Tied', sub { $conn->DESTROY; 't' };
    ($conn) = ready($peer);
    like croak_of(sub { $conn->produce($trap, 0, 'k', 'v') }),
        qr/^EV::Kafka::Conn: method called on destroyed connection at /, 'an argument that destroys';
    tie $trap, 'Tied', sub { die "in FETCH\n" };
    ($conn) = ready($peer);
    is croak_of(sub { $conn->produce($trap, 0, 'k', 'v') }), "in FETCH\n", 'an argument that dies';
};

done_testing;
