use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use POSIX ();
use Scalar::Util qw(weaken);
use Test::More;

use ConnPeer;
use ForkTest;
use SaslPeer;
use TestKafka qw(wait_until turns warnings_of);

my $CERTIFICATES = 'rust/kafka-conn/tests/certificates';

# Connects until it is ready or has failed: the connection and what it was told.
sub opened {
    my ($peer, @sasl) = @_;
    my ($conn, $log) = conn();
    $conn->sasl(@sasl);
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { @$log && $log->[-1] =~ /\A(?:connect|disconnect)\z/ } 'an outcome';
    return ($conn, $log);
}

sub sasl_outcome { (opened(@_))[1] }

# Accepts the message if it is this one.
sub accepts {
    my ($wanted) = @_;
    return sub { $_[0] eq $wanted ? authenticate_answer('') : refusal('no such user') };
}

sub refused_tls {
    my ($conn) = conn();
    eval { $conn->tls(@_) };
    return $@;
}

subtest 'tls reads its files when it is called' => sub {
    like refused_tls(1, '/no/such/ca.pem'),
        qr{\AEV::Kafka::Conn: tls: cannot read CA file /no/such/ca\.pem: No such file or directory at \Q$0\E},
        'a CA file that is not there';
    like refused_tls(1, '', 0, '/no/cert.pem'), qr{\AEV::Kafka::Conn: tls: cannot read certificate file /no/cert},
        'a certificate that is not there';
    like refused_tls(1, undef, 0, "$CERTIFICATES/ec.pem", '/no/key.pem'),
        qr{\AEV::Kafka::Conn: tls: cannot read key file /no/key\.pem: No such file}, 'a key that is not there';
    like refused_tls(1, 't'), qr{\AEV::Kafka::Conn: tls: cannot read CA file t: Is a directory}, 'a directory';
    like refused_tls(1, '/dev/zero'), qr{cannot read CA file /dev/zero: larger than}, 'a file without end';
    like refused_tls(1, $0), qr{\AEV::Kafka::Conn: tls: .*\Q$0\E}, 'a file that is no PEM';
    like refused_tls(1, undef, 0, undef, "$CERTIFICATES/ec-pkcs8.pem"),
        qr{\AEV::Kafka::Conn: tls: key file .* without a client certificate}, 'a key without certificate';
    like refused_tls(1, undef, 0, "$CERTIFICATES/ec.pem", "$CERTIFICATES/rsa-pkcs8.pem"),
        qr{\AEV::Kafka::Conn: tls: client certificate .*private key belongs to another}, 'a key of another';
    like refused_tls(1, undef, 0, "$CERTIFICATES/ec.pem"), qr{\AEV::Kafka::Conn: tls: no private key in },
        'a certificate without key';
};

subtest 'tls with what is right' => sub {
    is refused_tls(1, "$CERTIFICATES/ec.pem"), '', 'a CA file';
    is refused_tls(1, "$CERTIFICATES/ec.pem", 1), '', 'and skip_verify';
    for my $key (qw(ec-pkcs8 ec-sec1)) {
        is refused_tls(1, undef, 0, "$CERTIFICATES/ec.pem", "$CERTIFICATES/$key.pem"), '', $key;
    }
    for my $key (qw(rsa-pkcs8 rsa-pkcs1)) {
        is refused_tls(1, '', '', "$CERTIFICATES/rsa.pem", "$CERTIFICATES/$key.pem"), '', $key;
    }
    is refused_tls(0, '/no/such/ca.pem'), '', 'turned off, no file is looked at';
    is refused_tls(), '', 'nothing at all turns it off';
};

subtest 'the TLS handshake' => sub {
    my $hello = '';
    my $peer  = ConnPeer->new;
    no warnings 'redefine';
    local *ConnPeer::read_some = sub {
        my ($self) = @_;
        sysread $self->{socket}, $hello, 1 << 16, length $hello or return $self->hang_up;
    };
    my ($conn, $log) = conn();
    $conn->tls(1, undef, 1);
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { length $hello } 'a ClientHello';
    is unpack('C', $hello), 22, 'comes first';
    is $conn->state, 2, 'the state says so';
    $peer->raw("HTTP/1.1 400 Bad Request\r\n\r\n");
    wait_until { @$log > 1 } 'the end';
    like $log->[0], qr/\Aerror: TLS: the peer does not speak TLS/, 'what is no TLS is an error';
    is_deeply [@$log[1 .. $#$log]], ['disconnect'], 'that ends the connection';

    ($conn, $log) = conn();
    $conn->tls(1);
    $conn->tls(0);
    $conn->connect('127.0.0.1', $peer->port, 20);
    $hello = '';
    wait_until { length $hello } 'something';
    is unpack('x4 n', $hello), 18, 'turned off again: ApiVersions comes first';

    ($conn, $log) = conn();
    $conn->tls(1, undef, 1);
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { $conn->state == 2 } 'the handshake';
    $peer->hang_up;
    wait_until { @$log } 'the end';
    is_deeply $log, ['error: TLS: the broker closed the connection during the handshake', 'disconnect'],
        'a broker that closes meanwhile';
};

subtest 'PLAIN' => sub {
    my $peer = sasl_peer(mechanisms => ['PLAIN'], on_message => accepts("\0alice\0s3cret"));
    my $log = sasl_outcome($peer, 'PLAIN', 'alice', 's3cret');
    is_deeply $log, ['connect'], 'connects';
    is_deeply $peer->{mechanisms}, ['PLAIN'], 'after SaslHandshake';
    is_deeply sasl_outcome($peer, 'PLAIN', 'alice', 'wrong'),
        ['error: SASL auth failed: no such user', 'disconnect'], 'a refusal in the broker\'s words';
    is_deeply sasl_outcome($peer, 'PLAIN', "al\0ice", 'x'),
        ['error: PLAIN: NUL byte in username or password', 'disconnect'], 'a NUL byte cannot be said';

    $peer = sasl_peer(mechanisms => ['PLAIN'], on_message => sub { authenticate_answer('') });
    for my $credentials ([], [undef, undef], ['', '']) {
        is_deeply sasl_outcome($peer, 'PLAIN', @$credentials), ['connect'], 'no credentials';
    }
    is_deeply $peer->{messages}, [("\0\0") x 3], 'undef, empty and left out are the same';
    sasl_outcome($peer, 'PLAIN', "\x{263a}", '');
    is $peer->{messages}[-1], "\0\xe2\x98\xba\0", 'wide characters go out as perl stores them';
};

subtest 'states on the way' => sub {
    my (@states, $conn);
    my $peer = sasl_peer(mechanisms => ['PLAIN'], on_message => sub { push @states, $conn->state; authenticate_answer('') });
    my $log;
    ($conn, $log) = conn();
    $conn->sasl('PLAIN', 'a', 'b');
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { $conn->state == 3 || @$log } 'SaslHandshake';
    is $conn->state, 3, 'SaslHandshake';
    wait_until { @$log } 'the end';
    is_deeply [@states, $conn->state], [4, 6], 'SaslAuthenticate, ready';
};

subtest 'turned off' => sub {
    my $peer = sasl_peer(mechanisms => []);
    my ($conn, $log) = conn();
    $conn->sasl('PLAIN', 'a', 'b');
    $conn->sasl(undef, 'a');
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { @$log } 'connecting';
    is_deeply $log, ['connect'], 'by undef';
    ok !$peer->{mechanisms}, 'nothing of it is sent';
};

subtest 'mechanisms that are not there' => sub {
    my $peer = sasl_peer(mechanisms => [qw(GSSAPI FOO)]);
    is_deeply sasl_outcome($peer, 'PLAIN', 'a', 'b'),
        ['error: SASL handshake failed: mechanism not supported (the broker has GSSAPI, FOO)', 'disconnect'],
        'the broker does not have it';
    is_deeply sasl_outcome($peer, 'FOO', 'a', 'b'), ['error: unsupported SASL mechanism', 'disconnect'],
        'we do not have it: said when it is to be used';
};

for my $hash (256, 512) {
    subtest "SCRAM-SHA-$hash" => sub {
        my $peer_for = sub { sasl_peer(mechanisms => ["SCRAM-SHA-$hash"], on_message => scram_server($hash, 's3cret', @_)) };
        my @sasl = ("SCRAM-SHA-$hash", 'a=l,ice', 's3cret');
        my $peer = $peer_for->();
        is_deeply sasl_outcome($peer, @sasl), ['connect'], 'connects';
        like $peer->{messages}[0], qr/\An,,n=a=3Dl=2Cice,r=/, 'the name is escaped';
        is_deeply sasl_outcome($peer_for->(), @sasl[0, 1], 'wrong'),
            ['error: SASL auth failed: wrong password', 'disconnect'], 'a wrong password';
        is_deeply sasl_outcome($peer_for->(nonce => 1), @sasl),
            ['error: SCRAM: server nonce mismatch', 'disconnect'], 'a server with a nonce of its own';
        is_deeply sasl_outcome($peer_for->(signature => 1), @sasl),
            ['error: SCRAM: server signature mismatch', 'disconnect'], 'a server that does not know the password';
        is_deeply sasl_outcome($peer_for->(), $sasl[0], '', 's3cret'),
            ['error: SCRAM: username required', 'disconnect'], 'no user name';
    };
}

subtest 'servers that do not keep to SCRAM' => sub {
    my %text = (
        'malformed server-first-message' => [first => 'garbage'],
        'bad salt'                       => [first => 'r=NONCEx,s=*,i=4096'],
        'missing server signature'       => [last => 'x=y'],
    );
    for my $text (sort keys %text) {
        my $peer = sasl_peer(mechanisms => ['SCRAM-SHA-256'], on_message => scram_server(256, 's3cret', @{ $text{$text} }));
        is_deeply sasl_outcome($peer, 'SCRAM-SHA-256', 'alice', 's3cret'), ["error: SCRAM: $text", 'disconnect'], $text;
    }
    my $peer = sasl_peer(mechanisms => ['SCRAM-SHA-256'], on_message => scram_server(256, 's3cret', first => ''));
    is_deeply sasl_outcome($peer, 'SCRAM-SHA-256', 'alice', 's3cret'), ['error: SASL: incomplete SCRAM exchange', 'disconnect'],
        'a yes before the exchange is over';
    $peer = sasl_peer(mechanisms => ['SCRAM-SHA-256'], on_message => scram_server(256, 's3cret', last => 'e=other-error'));
    is_deeply sasl_outcome($peer, 'SCRAM-SHA-256', 'alice', 's3cret'), ['error: SASL auth failed: other-error', 'disconnect'],
        'an error as the last message';
};

subtest 'the iterations of SCRAM' => sub {
    my $peer_for = sub { sasl_peer(mechanisms => ['SCRAM-SHA-256'], on_message => scram_server(256, 's3cret', iterations => $_[0])) };
    for my $iterations (0, 1, 4095, 1048577) {
        is_deeply sasl_outcome($peer_for->($iterations), 'SCRAM-SHA-256', 'alice', 's3cret'),
            ['error: SCRAM: malformed server-first-message', 'disconnect'], "$iterations are refused";
    }
};

subtest 'the most iterations of SCRAM do not block the loop' => sub {
    # Perl would be at it for minutes: this peer takes no proof.
    my $computed;
    my $peer = sasl_peer(mechanisms => ['SCRAM-SHA-512'], on_message => sub {
        my ($message, $peer) = @_;
        return authenticate_answer("r=$1server,s=c2FsdA==,i=1048576") if $message =~ /\An,,.*,r=(.*)\z/s;
        $computed = $message;
        return refusal('enough');
    });
    my ($conn, $log) = conn();
    $conn->sasl('SCRAM-SHA-512', 'alice', 's3cret');
    $conn->connect('127.0.0.1', $peer->port, 100);
    my %in_state;
    my $busy = EV::idle sub { $in_state{ $conn->state }++ };
    wait_until { @$log > 1 } 'the end';
    like $computed, qr/\Ac=biws,r=.*server,p=/, 'the proof comes in the end';
    cmp_ok $in_state{4}, '>', 100, 'the loop goes on turning while it is computed';
    is_deeply $log, ['error: SASL auth failed: enough', 'disconnect'], 'and hears the answer';

    my $asked = 0;
    $peer = sasl_peer(mechanisms => ['SCRAM-SHA-512'], on_message => sub {
        $asked++;
        my ($nonce) = $_[0] =~ /,r=(.*)\z/s;
        return authenticate_answer("r=${nonce}server,s=cGVwcGVy,i=1048576");
    });
    ($conn, $log) = conn();
    $conn->sasl('SCRAM-SHA-512', 'alice', 's3cret');
    $conn->connect('127.0.0.1', $peer->port, 100);
    wait_until { $asked } 'the first message';
    turns;
    $conn->disconnect;
    is_deeply $log, ['disconnect'], 'it can be given up meanwhile';
    $conn->connect('127.0.0.1', $peer->port, 100);
    wait_until { $asked > 1 } 'the next attempt';
    turns;
    weaken(my $weak = $conn);
    undef $conn;
    ok !$weak, 'and nothing is kept alive by it';
    is_deeply $log, ['disconnect'], 'nor told';
};

subtest 'OAUTHBEARER with a token' => sub {
    my $peer = sasl_peer(mechanisms => ['OAUTHBEARER'], on_message => accepts("n,,\1auth=Bearer t0ken\1\1"));
    is_deeply sasl_outcome($peer, 'OAUTHBEARER', 't0ken'), ['connect'], 'connects';
    is_deeply sasl_outcome($peer, 'OAUTHBEARER', 'other'),
        ['error: SASL auth failed: no such user', 'disconnect'], 'is refused';
    for my $none ([], [undef], ['']) {
        is_deeply sasl_outcome($peer, 'OAUTHBEARER', @$none), ['error: OAUTHBEARER: token required', 'disconnect'], 'no token';
    }
    my ($conn) = conn();
    eval { $conn->sasl('OAUTHBEARER', {}) };
    like $@, qr/\AEV::Kafka::Conn: sasl: token must be a string or a code reference at /, 'another reference';

    $peer = sasl_peer(mechanisms => ['OAUTHBEARER'], on_message => sub {
        $_[0] eq "\1" ? refusal('expired') : authenticate_answer('{"status":"invalid_token"}');
    });
    is_deeply sasl_outcome($peer, 'OAUTHBEARER', 'old'),
        ['error: SASL auth failed: expired', 'disconnect'], 'a refusal as JSON is confirmed, then the code comes';
};

subtest 'OAUTHBEARER with extensions' => sub {
    my $said = "n,,\1auth=Bearer t0ken\1identityPoolId=pool-1\1logicalCluster=lkc-1\1\1";
    my %extensions = (logicalCluster => 'lkc-1', identityPoolId => 'pool-1');
    for my $token ('t0ken', sub { $_[0]->('t0ken') }) {
        my $peer = sasl_peer(mechanisms => ['OAUTHBEARER'], on_message => accepts($said));
        is_deeply sasl_outcome($peer, 'OAUTHBEARER', $token, \%extensions), ['connect'], 'are said beside the token';
    }
    my ($conn) = conn();
    for my $case ([{ auth => 'x' }, qr/extension 'auth': a key is letters/], [{ 'a b' => 'x' }, qr/extension 'a b': a key/],
        [{ a => "x\1y" }, qr/extension 'a': a value is printable ASCII/], [{ a => undef }, qr/extension 'a': a value/],
        [{ a => [] }, qr/the value of an extension must be a string/]) {
        my ($extensions, $text) = @$case;
        eval { $conn->sasl('OAUTHBEARER', 't0ken', $extensions) };
        like $@, qr/\AEV::Kafka::Conn: sasl: $text.* at \Q$0\E/, "croaks: $text";
    }
};

my $bearer = sub { sasl_peer(mechanisms => ['OAUTHBEARER'], on_message => accepts("n,,\1auth=Bearer t0ken\1\1"), @_) };

subtest 'OAUTHBEARER with a callback' => sub {
    my $asked = 0;
    is_deeply sasl_outcome($bearer->(), 'OAUTHBEARER', sub { $asked++; $_[0]->('t0ken') }), ['connect'], 'answers now';
    is $asked, 1, 'asked once';

    my $timer;
    my $later = sub { my ($done) = @_; $timer = EV::timer 0.01, 0, sub { $done->('t0ken', undef) } };
    is_deeply sasl_outcome($bearer->(), 'OAUTHBEARER', $later), ['connect'], 'answers later';

    my $twice = sub { $_[0]->('t0ken'); $_[0]->(undef, 'changed my mind') };
    is_deeply sasl_outcome($bearer->(), 'OAUTHBEARER', $twice), ['connect'], 'what follows is ignored';

    is_deeply sasl_outcome($bearer->(), 'OAUTHBEARER', sub { $_[0]->(undef, 'login server down') }),
        ['error: SASL auth failed: no token: login server down', 'disconnect'], 'an error';
    is_deeply sasl_outcome($bearer->(), 'OAUTHBEARER', sub { $_[0]->() }),
        ['error: SASL auth failed: no token: the token callback gave none', 'disconnect'], 'nothing';
    is_deeply sasl_outcome($bearer->(), 'OAUTHBEARER', sub { $_[0]->({ token => 't0ken' }) }),
        ['error: SASL auth failed: no token: the token callback gave a reference', 'disconnect'], 'a reference';
    my ($log, @warnings);
    @warnings = warnings_of { $log = sasl_outcome($bearer->(), 'OAUTHBEARER', sub { die "no login\n" }) };
    is_deeply $log, ['error: SASL auth failed: no token: no login', 'disconnect'], 'a die';
    is_deeply \@warnings, [], 'is no warning as well';
    @warnings = warnings_of { $log = sasl_outcome($bearer->(), 'OAUTHBEARER', sub { $_[0]->('t0ken'); die "late\n" }) };
    is_deeply $log, ['connect'], 'a die after the answer changes nothing';
    is_deeply \@warnings, ["EV::Kafka::Conn: token callback error: late\n"], 'and is a warning';
};

subtest 'a token that comes too late' => sub {
    my $done;
    my ($conn, $log) = conn();
    $conn->sasl('OAUTHBEARER', sub { $done = shift });
    $conn->connect('127.0.0.1', $bearer->()->port, 20);
    wait_until { $done } 'being asked';
    $conn->disconnect;
    $done->('t0ken');
    turns;
    is_deeply $log, ['disconnect'], 'after a disconnect: nothing';

    (my $first, $done) = ($done, undef);
    my $peer = $bearer->();
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { $done } 'being asked again';
    $first->('wrong');
    turns;
    $done->('t0ken');
    wait_until { @$log > 1 } 'connecting';
    is_deeply $log, ['disconnect', 'connect'], 'an answer to an older question is none to this one';

    undef $done;
    ($conn, $log) = conn();
    $conn->sasl('OAUTHBEARER', sub { $done = shift });
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { $done } 'being asked';
    weaken(my $weak = $conn);
    undef $conn;
    ok !$weak, 'being asked keeps no connection alive';
    ok eval { $done->('t0ken'); 1 }, 'and the answer is ignored';

    undef $done;
    ($conn, $log) = conn();
    $conn->sasl('OAUTHBEARER', sub { $done = shift });
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { $done } 'being asked';
    $conn->DESTROY;
    ok eval { $done->('t0ken'); 1 }, 'after DESTROY too';
};

subtest 'a token that never comes' => sub {
    my ($conn, $log) = conn();
    $conn->sasl('OAUTHBEARER', sub { });
    $conn->connect('127.0.0.1', $bearer->()->port, 0.2);
    wait_until { @$log > 1 } 'the end';
    is_deeply $log, ['error: handshake timeout', 'disconnect'], 'is a handshake timeout';
};

subtest 'the callback is freed' => sub {
    my $guard = {};
    weaken(my $weak = $guard);
    my ($conn, $log) = opened($bearer->(), 'OAUTHBEARER', do { my $held = $guard; sub { $_[0]->('t0ken') if $held } });
    undef $guard;
    ok $weak, 'a connected connection needs it again';
    $conn->sasl(undef);
    ok $weak, 'also when later ones do not';
    undef $conn;
    ok !$weak, 'with the connection';
};

subtest 'the callback may do anything' => sub {
    my ($conn, $log) = conn();
    $conn->sasl('OAUTHBEARER', sub { $conn->disconnect; $_[0]->('t0ken') });
    $conn->connect('127.0.0.1', $bearer->()->port, 20);
    wait_until { @$log } 'the end';
    is_deeply $log, ['disconnect'], 'disconnect';

    ($conn, $log) = conn();
    $conn->sasl('OAUTHBEARER', sub { $conn->sasl(undef); undef $conn; $_[0]->('t0ken') });
    $conn->connect('127.0.0.1', $bearer->()->port, 20);
    wait_until { !$conn } 'being asked';
    turns;
    is_deeply $log, [], 'destroy';
};

subtest 're-authentication' => sub {
    my @tokens;
    my $metadata = array() . pack('N', 0) . array();
    my $peer = sasl_peer(
        mechanisms => ['OAUTHBEARER'], versions => { 3 => [1, 1] },
        on_message => sub { authenticate_answer('', 1100) }, on_request => sub { $metadata },
    );
    my ($conn, $log) = opened($peer, 'OAUTHBEARER', sub { push @tokens, "t$#tokens"; $_[0]->($tokens[-1]) });
    $conn->sasl(undef);    # is about the connections to come
    my ($answers, @errors) = (0);
    my $ask;
    $ask = sub {
        $conn->metadata([], sub {
            $answers++;
            push @errors, $_[1] if defined $_[1];
            $ask->() if @tokens < 3;
        });
    };
    $ask->();
    wait_until { @tokens >= 3 && !$conn->pending } 'two renewals';
    undef $ask;
    is_deeply \@errors, [], 'no request is lost';
    is_deeply $peer->{messages}, [map { "n,,\1auth=Bearer $_\1\1" } @tokens], 'each with a token of its own';
    is $conn->state, 6, 'still ready';
    is_deeply $log, ['connect'], 'nobody is told';
};

subtest 'a child that was forked connects as its parent would' => sub {
    my ($conn, $log) = conn();
    $conn->sasl('OAUTHBEARER', sub { $_[0]->('t0ken') });
    my $said = in_child {
        my ($out) = @_;
        my $peer = $bearer->();
        $conn->connect('127.0.0.1', $peer->port, 20);
        wait_until { @$log } 'connecting';
        print $out "$log->[0] $peer->{mechanisms}[0]";
    };
    is $said, 'connect OAUTHBEARER', 'with SASL';
};

done_testing;
