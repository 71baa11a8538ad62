use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;

use ConnPeer;
use TestKafka qw(wait_until turns);

# Peers that break the rules of the protocol, or the connection, in each state that
# they can see: while the versions are asked for, during SASL, and with requests in
# flight.

# An answer to Metadata version 1 without brokers and topics.
my $METADATA = pack 'N N N', 0, 1, 0;

use constant { API_VERSIONS => 18, SASL_HANDSHAKE => 17, SASL_AUTHENTICATE => 36 };

my $MECHANISMS    = pack('n', 0) . array(string('PLAIN'));
my $AUTHENTICATED = pack 'n n N', 0, 0xffff, 0;

# The states: the API asked for in them, its number, the correlation id of that request.
my @STATES = (
    ['ApiVersions',      API_VERSIONS,      5, 1],
    ['SaslHandshake',    SASL_HANDSHAKE,    3, 2],
    ['SaslAuthenticate', SASL_AUTHENTICATE, 4, 3],
    ['ready',            3,                 6, 2],
);

# A peer that misbehaves when it is asked for the API: misdeed->($peer, \%request).
sub peer {
    my ($api, $misdeed) = @_;
    my %body = (SASL_HANDSHAKE, $MECHANISMS, SASL_AUTHENTICATE, $AUTHENTICATED);
    return ConnPeer->new(
        versions  => { 3 => [1, 1], 17 => [1, 1], 36 => [0, 0] },
        handshake => sub {
            my ($peer, $request) = @_;
            return $api == API_VERSIONS ? $misdeed->($peer, $request) : $peer->shake_hands($request);
        },
        on_request => sub {
            my ($peer, $request) = @_;
            return $body{ $request->{api} } if $request->{api} != $api;
            $misdeed->($peer, $request);
            return undef;
        },
    );
}

# Connects, and asks for metadata when that works; the log once all is over.
sub outcome {
    my ($api, $misdeed, $timeout) = @_;
    my ($conn, $log) = conn();
    $conn->sasl('PLAIN', 'user', 'secret') if $api == SASL_HANDSHAKE || $api == SASL_AUTHENTICATE;
    $conn->on_connect(sub {
        $conn->request_timeout($timeout) if $timeout;
        $conn->metadata(['t'], sub { push @$log, 'answer: ' . ($_[1] // 'good') });
    });
    my $peer = peer($api, $misdeed);
    $conn->connect('127.0.0.1', $peer->port, $timeout || 10);
    wait_until { @$log && $log->[-1] eq 'disconnect' } 'the end';
    turns;
    is $conn->state, 0, 'disconnected';
    is $conn->pending, 0, 'nothing pending';
    $conn->on_connect;
    return $log;
}

# The error, then the request's if there was one, then the end.
sub lost {
    my ($api, $text) = @_;
    return ["error: $text", ("answer: $text") x ($api == 3), 'disconnect'];
}

for (@STATES) {
    my ($name, $api, $number, $id) = @$_;

    my %misdeeds = (
        'a negative size'         => [pack('N', 0xffffffff), 'invalid response size'],
        'the least number there is' => [pack('N', 0x80000000), 'invalid response size'],
        'a size over 256 MiB'     => [pack('N', (256 << 20) + 1), 'invalid response size'],
        'an empty answer'         => [pack('N', 0), 'response too short'],
        'three bytes'             => [pack('N', 3) . 'abc', 'response too short'],
        'another correlation id'  => [frame(99, ''), "correlation ID mismatch: expected $id, got 99"],
        'a negative correlation id' => [frame(0xffffffff, ''), "correlation ID mismatch: expected $id, got -1"],
    );
    for my $misdeed (sort keys %misdeeds) {
        my ($bytes, $text) = @{ $misdeeds{$misdeed} };
        subtest "$name: $misdeed" => sub {
            is_deeply outcome($api, sub { $_[0]->raw($bytes) }), lost($api, $text), $text;
        };
    }

    subtest "$name: an early close" => sub {
        my @closed = (('answer: connection closed by broker') x ($api == 3), 'disconnect');
        is_deeply outcome($api, sub { $_[0]->hang_up }), \@closed, 'before any answer';
        is_deeply outcome($api, sub { $_[0]->reset }), \@closed, 'by a reset';
        is_deeply outcome($api, sub { $_[0]->raw(pack 'N N', 100, $id); $_[0]->hang_up }), \@closed, 'inside of an answer';
        is_deeply outcome($api, sub { $_[0]->raw("\0\0"); $_[0]->hang_up }), \@closed, 'inside of its size';
    };

    subtest "$name: a stall" => sub {
        my $text = $api == 3 ? 'request timed out: Metadata v1' : 'handshake timeout';
        is_deeply outcome($api, sub { }, 0.2), lost($api, $text), 'no answer';
        is_deeply outcome($api, sub { $_[0]->raw(pack 'N N', 100, $id) }, 0.2), lost($api, $text), 'half an answer';
    };

    subtest "$name: the connection says where it is" => sub {
        my ($conn, $log) = conn();
        $conn->sasl('PLAIN', 'user', 'secret') if $number == 3 || $number == 4;
        my $asked;
        my $peer = peer($api, sub { $asked = 1 });
        $conn->connect('127.0.0.1', $peer->port, 10);
        if ($api == 3) {
            wait_until { $conn->connected } 'ready';
            $conn->metadata(['t'], sub { });
        }
        wait_until { $asked } 'the request';
        is $conn->state, $number, "state $number";
        is 0 + $conn->connected, 0 + ($number == 6), 'connected when it is ready';
        $conn->disconnect;
    };
}

subtest 'TLS' => sub {
    my $tls = sub {
        my ($on_hello, $timeout) = @_;
        my ($conn, $log) = conn();
        $conn->tls(1, undef, 1);
        my $peer = ConnPeer->new;
        # What arrives is no frame of Kafka's.
        no warnings 'redefine';
        local *ConnPeer::read_some = sub { delete $_[0]{reading}; $on_hello->($_[0]) };
        $conn->connect('127.0.0.1', $peer->port, $timeout || 10);
        wait_until { $conn->state == 2 } 'the TLS handshake';
        wait_until { @$log && $log->[-1] eq 'disconnect' } 'the end';
        return $log;
    };
    is_deeply $tls->(sub { }, 0.2), ['error: handshake timeout', 'disconnect'], 'a stall';
    is_deeply $tls->(sub { $_[0]->hang_up })->[-1], 'disconnect', 'an early close';
    my $log = $tls->(sub { $_[0]->raw(frame(1, pack 'n N', 0, 0)) });
    like $log->[0], qr{\Aerror: TLS: the peer does not speak TLS}, $log->[0];
    is_deeply [@$log[1 .. $#$log]], ['disconnect'], 'a peer that does not speak it';
};

# Answers as they should be, however their bytes arrive.
my %BODY = (API_VERSIONS, pack('n', 0) . array(map { pack 'n3', @$_ } [3, 1, 1], [17, 1, 1], [36, 0, 0]),
    SASL_HANDSHAKE, $MECHANISMS, SASL_AUTHENTICATE, $AUTHENTICATED, 3, $METADATA);

# Connects and sends two requests; all that the peer says goes through send.
sub goes_well {
    my ($send) = @_;
    my $peer;
    my $answer = sub { my ($peer, $request) = @_; $send->($peer, frame($request->{id}, $BODY{ $request->{api} })); return };
    $peer = ConnPeer->new(handshake => $answer, on_request => $answer);
    my ($conn, $log) = conn();
    $conn->sasl('PLAIN', 'user', 'secret');
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { @$log } 'ready';
    $conn->metadata(['t'], sub { push @$log, "$_[1]" if defined $_[1]; push @$log, "answer $_[0]{controller_id}" }) for 1, 2;
    wait_until { @$log > 2 } 'the answers';
    is_deeply $log, ['connect', ('answer 1') x 2], 'as it should be';
    return;
}

subtest 'bytes one at a time, in every state' => sub {
    my (@bytes, $feeding);
    goes_well(sub {
        my ($peer, $bytes) = @_;
        push @bytes, split //, $bytes;
        # Each byte waits for a turn of the loop of its own.
        $feeding ||= EV::timer 0, 0.0001, sub { $peer->raw(shift @bytes) if @bytes };
    });
};

subtest 'answers merged into one write' => sub {
    my @held;
    goes_well(sub {
        my ($peer, $bytes) = @_;
        push @held, $bytes;
        my $wanted = @{ $peer->{requests} } > 2 ? 2 : 1;
        $peer->raw(join '', splice @held) if @held == $wanted && @{ $peer->{requests} } != 3;
    });
};

subtest 'trailing bytes' => sub {
    my $text = 'invalid response size';
    is_deeply outcome(3, sub { $_[0]->raw(frame($_[1]{id}, $METADATA) . "\xff" x 4) }),
        ['answer: good', "error: $text", 'disconnect'], 'after an answer: it counts, the connection ends';
    is_deeply outcome(API_VERSIONS, sub { $_[0]->raw(frame($_[1]{id}, $BODY{ +API_VERSIONS }) . "\xff" x 4) })->[-1],
        'disconnect', 'after the handshake';

    my ($conn, $log) = ready(my $peer = ConnPeer->new(on_request => sub { $METADATA . 'more' }));
    $conn->metadata(['t'], sub { push @$log, $_[1] // 'good' }) for 1, 2;
    wait_until { @$log == 2 } 'the answers';
    is_deeply $log, ['good', 'good'], 'inside of an answer they are not looked at';
    ok $conn->connected, 'and the connection goes on';
};

subtest 'answers to nothing' => sub {
    my ($conn, $log) = ready(my $peer = ConnPeer->new);
    $peer->raw(frame(2, $METADATA));
    wait_until { @$log > 1 } 'the end';
    is $log->[0], 'error: correlation ID mismatch: expected none, got 2', 'an error';
    is $log->[1], 'disconnect', 'ends the connection';

    is_deeply outcome(3, sub { my $answer = frame($_[1]{id}, $METADATA); $_[0]->raw($answer . $answer) })->[0],
        'answer: good', 'the same answer twice: the first one counts';
};

done_testing;
