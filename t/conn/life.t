use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Scalar::Util ();
use Test::More;
use Time::HiRes qw(time);

use ConnPeer;
use TestKafka qw(wait_until turns warnings_of);

subtest 'a new connection' => sub {
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    is ref $conn, 'EV::Kafka::Conn', 'its class';
    is Scalar::Util::reftype($conn), 'SCALAR', 'a blessed scalar reference';
    is $conn->state, 0, 'disconnected';
    ok !$conn->connected, 'not connected';
    is $conn->pending, 0, 'nothing pending';
    is $conn->api_versions, undef, 'no versions before the handshake';
    $conn->disconnect;
    is $conn->state, 0, 'disconnecting what is not connected changes nothing';
};

subtest 'connecting, the handshake, disconnecting' => sub {
    my $peer = ConnPeer->new(versions => { 3 => [0, 5], 99 => [0, 7] });
    my ($conn, $log) = conn();
    $conn->connect('127.0.0.1', $peer->port, 10);
    is $conn->state, 1, 'connecting';
    wait_until { $conn->state == 5 } 'ApiVersions';
    wait_until { $conn->state == 6 } 'ready';
    ok $conn->connected, 'connected';
    is_deeply $log, ['connect'], 'on_connect without arguments';
    is_deeply $conn->api_versions, { 3 => 5, 99 => 7 }, 'versions as advertised, unknown ones too';
    my $asked = $peer->{handshakes}[0];
    is_deeply [@$asked{qw(version id client_id body)}], [0, 1, 'ev-kafka', ''], 'the ApiVersions request';

    $conn->disconnect;
    is $conn->state, 0, 'disconnected at once';
    is_deeply $log, ['connect', 'disconnect'], 'on_disconnect once, without arguments';
    wait_until { $peer->{closed} } 'the peer to notice';
    $conn->disconnect;
    turns;
    is_deeply $log, ['connect', 'disconnect'], 'and never again';
};

subtest 'client id' => sub {
    my $peer = ConnPeer->new;
    my ($conn, $log) = conn();
    $conn->client_id('somebody');
    $conn->connect('127.0.0.1', $peer->port, 10);
    wait_until { @$log } 'connecting';
    is $peer->{handshakes}[0]{client_id}, 'somebody', 'is sent';
};

subtest 'connections that come to nothing' => sub {
    my ($conn, $log) = conn();
    $conn->connect('127.0.0.1', free_port(), 10);
    is_deeply $log, [], 'nothing is called inside connect';
    wait_until { @$log > 1 } 'a refusal';
    is_deeply $log, ['error: connect: Connection refused', 'disconnect'], 'refused';
    is $conn->state, 0, 'disconnected';

    @$log = ();
    $conn->connect('no-such-host.invalid', 9092, 10);
    is $conn->state, 1, 'resolving is connecting';
    wait_until { @$log > 1 } 'the resolver';
    like $log->[0], qr/^error: resolve: \S/, 'a name that does not resolve';
    is $log->[1], 'disconnect', 'then on_disconnect';

    @$log = ();
    $conn->connect('no-such-host.invalid', 9092, 10);
    $conn->disconnect;
    turns;
    is_deeply $log, ['disconnect'], 'disconnecting stops the resolver';

    is eval { $conn->connect('127.0.0.1', 65536); 1 }, undef, 'a port that cannot be';
    like $@, qr/^connect: port out of range at /, 'croaks';
};

subtest 'without on_error' => sub {
    my @warnings = warnings_of {
        my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
        my $gone;
        $conn->on_disconnect(sub { $gone = 1 });
        $conn->connect('127.0.0.1', free_port(), 10);
        wait_until { $gone } 'a refusal';
    };
    is @warnings, 1, 'one warning';
    like $warnings[0], qr/^EV::Kafka::Conn: connect: Connection refused/, 'with the text';
};

subtest 'timeouts' => sub {
    my $peer = ConnPeer->new(handshake => sub { });
    my ($conn, $log) = conn();
    my $start = time;
    $conn->connect('127.0.0.1', $peer->port, 0.05);
    wait_until { @$log > 1 } 'a timeout';
    is_deeply $log, ['error: handshake timeout', 'disconnect'], 'a peer that says nothing';
    cmp_ok time - $start, '>=', 0.05, 'not too early';

    @$log = ();
    $conn->connect('127.0.0.1', $peer->port, 0);
    wait_until { $conn->state == 5 } 'the handshake';
    my $waited;
    my $timer = EV::timer 0.1, 0, sub { $waited = 1 };
    wait_until { $waited } 'a while';
    is_deeply $log, [], 'no timeout with 0';

    # An answer that came while the program was busy is not too late.
    @$log = ();
    my $slow = ConnPeer->new(handshake => sub {
        my ($peer, $request) = @_;
        $peer->shake_hands($request);
        select undef, undef, undef, 0.2;
    });
    $conn->connect('127.0.0.1', $slow->port, 0.1);
    wait_until { @$log } 'the end of the handshake';
    is $log->[-1], 'connect', 'a busy program does not time its broker out';
};

# What a peer does in place of the handshake, and what on_error is told.
my @broken = (
    ['a negative size', sub { $_[0]->raw(pack 'N', 0xffffffff) }, 'invalid response size'],
    ['a size over 256 MiB', sub { $_[0]->raw(pack 'N', (256 << 20) + 1) }, 'invalid response size'],
    ['no correlation id', sub { $_[0]->raw(pack 'N n', 2, 0) }, 'response too short'],
    ['another correlation id', sub { $_[0]->raw(frame(7, '')) }, 'correlation ID mismatch: expected 1, got 7'],
    ['a broken list of versions', sub { $_[0]->answer($_[1], pack 'n N n', 0, 9, 3) }, 'malformed ApiVersions response'],
    ['an error', sub { $_[0]->answer($_[1], pack 'n N', 35, 0) }, 'ApiVersions error: 35'],
);
for (@broken) {
    my ($what, $handshake, $text) = @$_;
    subtest "handshake with $what" => sub {
        my $peer = ConnPeer->new(handshake => $handshake);
        my ($conn, $log) = conn();
        $conn->connect('127.0.0.1', $peer->port, 10);
        wait_until { @$log > 1 } 'the end';
        is_deeply $log, ["error: $text", 'disconnect'], $text;
        is $conn->state, 0, 'disconnected';
        wait_until { $peer->{closed} } 'the socket to be closed';
    };
}

subtest 'a peer that closes' => sub {
    for my $how (qw(hang_up reset)) {
        my $peer = ConnPeer->new(on_request => sub { my $peer = shift; $peer->$how; return });
        my ($conn, $log) = ready($peer);
        $conn->metadata(['t'], sub { push @$log, join ' ', 'answer:', map { defined ? $_ : 'undef' } @_ }) for 1, 2;
        is $conn->pending, 2, 'two pending';
        wait_until { @$log > 2 } 'the loss';
        is_deeply $log, [('answer: undef connection closed by broker') x 2, 'disconnect'],
            "$how: pending callbacks, then on_disconnect, no on_error";
        is $conn->pending, 0, 'nothing pending';
    }
};

subtest 'disconnect fails what is pending' => sub {
    my $peer = ConnPeer->new;
    my ($conn, $log) = ready($peer);
    $conn->metadata(['t'], sub { push @$log, "answer: $_[1]" }) for 1, 2;
    $conn->disconnect;
    is_deeply $log, [('answer: disconnected') x 2, 'disconnect'], 'in order';
};

subtest 'connect while connected' => sub {
    my $peer = ConnPeer->new;
    my ($conn, $log) = ready($peer);
    $conn->metadata(['t'], sub { push @$log, "answer: $_[1]" });
    $conn->connect('127.0.0.1', $peer->port, 10);
    is_deeply $log, ['answer: reconnecting'], 'fails what is pending';
    wait_until { @$log > 1 } 'the new connection';
    is_deeply $log, ['answer: reconnecting', 'connect'], 'and connects';
    is $peer->{accepted}, 2, 'by a new socket';
    is $peer->{handshakes}[1]{id}, 1, 'whose correlation ids start at 1';
};

subtest 'auto_reconnect' => sub {
    my $peer = ConnPeer->new;
    my ($conn, $log) = ready($peer);
    $conn->auto_reconnect(1, 30);
    my $start = time;
    $peer->hang_up;
    wait_until { @$log > 1 } 'reconnecting';
    is_deeply $log, ['disconnect', 'connect'], 'after a loss';
    cmp_ok time - $start, '>=', 0.03, 'after the delay';

    @$log = ();
    $conn->disconnect;
    my $waited;
    my $timer = EV::timer 0.1, 0, sub { $waited = 1 };
    wait_until { $waited } 'a while';
    is_deeply $log, ['disconnect'], 'not after disconnect';

    @$log = ();
    $conn->connect('no-such-host.invalid', 9092, 10);
    wait_until { 2 <= grep { /^error: resolve/ } @$log } 'a second attempt';
    pass 'a name that does not resolve is tried again';
    $conn->auto_reconnect(0);
};

subtest 'a loop of its own' => sub {
    my $peer = ConnPeer->new;
    my $loop = EV::Loop->new;
    my ($conn, $log) = conn($loop);
    my $weak = $loop;
    Scalar::Util::weaken($weak);
    undef $loop;
    ok $weak, 'the connection keeps the loop alive';
    $conn->connect('127.0.0.1', $peer->port, 10);
    turns;
    is_deeply $log, [], 'the default loop does not move it';
    for (1 .. 1000) {
        last if @$log;
        $weak->run(EV::RUN_NOWAIT);
        EV::run EV::RUN_NOWAIT;
    }
    is_deeply $log, ['connect'], 'its own does';
    undef $conn;
    ok !$weak, 'and the loop goes with it';
};

subtest 'methods of what is no connection' => sub {
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->DESTROY;
    for my $method (qw(state connected pending connect disconnect on_error metadata produce tls client_id)) {
        ok !eval { $conn->$method; 1 }, $method;
        like $@, qr/^EV::Kafka::Conn: method called on destroyed connection at /, 'croaks';
    }
    ok eval { $conn->DESTROY; 1 }, 'a second DESTROY is harmless';
    my $fake = bless \my $nothing, 'EV::Kafka::Conn';
    ok !eval { $fake->state; 1 }, 'something blessed by hand';
    ok !eval { EV::Kafka::Conn::state('EV::Kafka::Conn'); 1 }, 'a class';
    ok !eval { EV::Kafka::Conn::state(); 1 }, 'nothing at all';
};

done_testing;
