use strict;
use warnings;

use lib 't/lib';

use Data::Dumper ();
use EV;
use EV::Kafka;
use Scalar::Util qw(weaken);
use Test::More;

use ConnPeer;
use SaslBroker;
use SaslPeer;
use TestKafka qw(wait_until turns warnings_of client connected errors);

my $CERTIFICATES = 'rust/kafka-conn/tests/certificates';

sub refused {
    my @options = @_;
    my @warnings = warnings_of { eval { EV::Kafka->new(@options) } };
    return $@;
}

# What is told of a token without TLS is looked at in one place only.
$SIG{__WARN__} = sub { warn @_ unless $_[0] =~ /SASL OAUTHBEARER configured without TLS/ };

sub sasl { my %sasl = @_; return (sasl => \%sasl) }

subtest 'sasl is checked' => sub {
    my $start = qr/\AEV::Kafka: option 'sasl'/;
    my $here  = qr/ at \Q$0\E line [0-9]+\.$/;
    like refused(sasl => 'PLAIN'), qr/$start must be a hash reference$here/, 'no hash';
    like refused(sasl(username => 'u')), qr/$start needs a mechanism: PLAIN, .*OAUTHBEARER$here/, 'no mechanism';
    like refused(sasl(mechanism => 'GSSAPI')), qr/$start names an unsupported SASL mechanism: 'GSSAPI' .*$here/,
        'an unknown mechanism';
    like refused(sasl(mechanism => 'PLAIN', user => 'u', passwort => 's3cret')),
        qr/$start has key\(s\) that PLAIN does not take: passwort, user$here/, 'unknown keys';
    like refused(sasl(mechanism => 'PLAIN', token => 't0ken')), qr/$start .* does not take: token$here/, 'a token for PLAIN';
    like refused(sasl(mechanism => 'OAUTHBEARER', token => 't', password => 's3cret')), qr/$start .* not take: password$here/,
        'a password for OAUTHBEARER';
    like refused(sasl(mechanism => 'PLAIN', password => ['s3cret'])), qr/$start has a password that is not a string$here/,
        'a password that is a reference';
    like refused(sasl(mechanism => 'SCRAM-SHA-256', password => 's3cret')), qr/$start .*SCRAM: username required\)$here/,
        'SCRAM without a user name';
    for my $token (undef, '') {
        like refused(sasl(mechanism => 'OAUTHBEARER', token => $token)), qr/$start needs a token$here/, 'no token';
    }
    like refused(sasl(mechanism => 'OAUTHBEARER', token => [])), qr/$start has a token that is neither/, 'a strange token';
    is refused(sasl(mechanism => 'OAUTHBEARER', token => sub { })), '', 'a token callback';
    my $extensions = sub { sasl(mechanism => 'OAUTHBEARER', token => 't', extensions => $_[0]) };
    is refused($extensions->($_)), '', 'extensions' for undef, {}, { logicalCluster => 'lkc-1' };
    like refused($extensions->([])), qr/$start has extensions that are not a hash reference$here/, 'extensions of another kind';
    like refused($extensions->({ 'a-b' => 'x' })), qr/$start has an extension 'a-b': a key is letters, .*$here/, 'a bad key';
    like refused($extensions->({ a => "\x{fc}" })), qr/$start has an extension 'a': a value is printable ASCII, .*$here/, 'a bad value';
    like refused(sasl(mechanism => 'PLAIN', extensions => {})), qr/$start .* does not take: extensions$here/, 'extensions for PLAIN';
    is refused(sasl => $_), '', 'off' for undef, 0;
};

subtest 'tls is checked' => sub {
    my $here = qr/ at \Q$0\E line [0-9]+\.$/;
    like refused(tls => 1, tls_ca_file => '/no/ca.pem'),
        qr{\AEV::Kafka: TLS: cannot read CA file /no/ca\.pem: No such file or directory$here}, 'a CA file that is not there';
    like refused(tls => 1, tls_cert_file => '/no/cert.pem'), qr{\AEV::Kafka: TLS: cannot read certificate file},
        'a certificate that is not there';
    like refused(tls => 1, tls_cert_file => "$CERTIFICATES/ec.pem", tls_key_file => "$CERTIFICATES/rsa-pkcs8.pem"),
        qr{\AEV::Kafka: TLS: client certificate .*private key belongs to another}, 'a key of another certificate';
    like refused(tls => 1, tls_key_file => []), qr/\AEV::Kafka: option 'tls_key_file' must be a string$here/, 'no file name';
    is refused(tls => 1, tls_ca_file => "$CERTIFICATES/ec.pem", tls_cert_file => "$CERTIFICATES/ec.pem",
        tls_key_file => "$CERTIFICATES/ec-sec1.pem"), '', 'all of it';
    is refused(tls => 1, tls_skip_verify => 1), '', 'skip_verify';
    is refused(tls => 0, tls_ca_file => '/no/ca.pem'), '', 'without TLS no file is looked at';
};

subtest 'PLAIN without TLS' => sub {
    my @plain = sasl(mechanism => 'PLAIN', username => 'alice', password => 's3cret');
    my @warnings = warnings_of { EV::Kafka->new(@plain) };
    is @warnings, 1, 'is a warning';
    like $warnings[0], qr/SASL PLAIN configured without TLS.* at \Q$0\E line/, 'that says so, and where';
    unlike $warnings[0], qr/s3cret/, 'without the password';
    is_deeply [warnings_of { EV::Kafka->new(@plain, tls => 1, tls_skip_verify => 1) }], [], 'with TLS there is none';
    is_deeply [warnings_of { EV::Kafka->new(sasl(mechanism => 'SCRAM-SHA-256', username => 'a', password => 'b')) }], [],
        'nor with SCRAM';
};

subtest 'OAUTHBEARER without TLS' => sub {
    for my $token ('t0ken', sub { }) {
        my @bearer   = sasl(mechanism => 'OAUTHBEARER', token => $token);
        my @warnings = warnings_of { EV::Kafka->new(@bearer) };
        is @warnings, 1, 'is a warning';
        like $warnings[0], qr/SASL OAUTHBEARER configured without TLS.* read the token at \Q$0\E line/, 'that says so, and where';
        unlike $warnings[0], qr/t0ken/, 'without the token';
        is_deeply [warnings_of { EV::Kafka->new(@bearer, tls => 1, tls_skip_verify => 1) }], [], 'with TLS there is none';
    }
};

subtest 'options of TLS without tls' => sub {
    my @files = (tls_ca_file => "$CERTIFICATES/ec.pem", tls_cert_file => "$CERTIFICATES/ec.pem");
    for my $option ([tls_skip_verify => 1], map { [$_ => "$CERTIFICATES/ec.pem"] } qw(tls_ca_file tls_cert_file tls_key_file)) {
        my @warnings = warnings_of { EV::Kafka->new(@$option) };
        is @warnings, 1, "$option->[0]: one warning";
        like $warnings[0], qr/\AEV::Kafka: $option->[0] given without tls => 1: nothing is encrypted .*at \Q$0\E line/, 'that says so, and where';
    }
    my @warnings = warnings_of { EV::Kafka->new(@files) };
    is @warnings, 1, 'several: one warning';
    like $warnings[0], qr/\AEV::Kafka: tls_ca_file, tls_cert_file given/, 'that names them';
    is_deeply [warnings_of { EV::Kafka->new(@files, tls => 0) }], [], 'tls => 0 says that it is meant';
    is scalar(warnings_of { EV::Kafka->new(@files, tls => undef) }), 1, 'undef says nothing';
    is_deeply [warnings_of { EV::Kafka->new(tls_skip_verify => 0, tls_ca_file => '') }], [], 'options that ask for nothing';
};

subtest 'credentials are nowhere in the client' => sub {
    for my $sasl (
        { mechanism => 'SCRAM-SHA-512', username => 'alice', password => 's3cret' },
        { mechanism => 'OAUTHBEARER', token => 's3cret' },
    ) {
        my $cfg = EV::Kafka->new(sasl => $sasl)->{cfg};
        is $cfg->{sasl}{mechanism}, $sasl->{mechanism}, "the mechanism is: $sasl->{mechanism}";
        is $cfg->{sasl}{username}, $sasl->{username}, 'and whose';
        my $dump = Data::Dumper->new([$cfg])->Dump;
        unlike $dump, qr/s3cret/, 'the secret is not';
        is scalar(grep { /s3cret/ } values %$sasl), 1, 'the caller\'s hash is left alone';
    }
};

sub scram_broker {
    return SaslBroker->new(mechanism => 'SCRAM-SHA-256', on_connection => sub { scram_server(256, 's3cret') }, @_);
}

subtest 'every connection is authenticated' => sub {
    my $broker = scram_broker(on_request => sub {
        my (undef, undef, $request) = @_;
        return $request->{api} eq 'Produce' ? ScriptedBroker::produce_answer($request, 0, 7)
            : $request->{api} eq 'Fetch' ? ScriptedBroker::fetch_answer($request)
            :                              undef;
    });
    my $kafka = connected(brokers => $broker->address,
        sasl(mechanism => 'SCRAM-SHA-256', username => 'alice', password => 's3cret'));
    my $result;
    $kafka->produce('t', 'k', 'v', sub { $result = [@_] });
    wait_until { $result } 'the delivery';
    is $result->[1], undef, 'a message is delivered';
    my $polled;
    $kafka->assign([{ topic => 't', partition => 0, offset => 0 }]);
    $kafka->poll(sub { $polled = [@_] });
    wait_until { $polled } 'a poll';
    is_deeply $polled, [], 'a fetch works';
    is $broker->{accepted}, 3, 'connections for metadata, for produce and for fetch';
    is_deeply $broker->{mechanisms}, [('SCRAM-SHA-256') x 3], 'each has said who we are';
    is_deeply [errors($kafka)], [], 'no errors';
    $kafka->close;
};

subtest 'a refused authentication' => sub {
    my $broker = scram_broker();
    my $kafka  = client(brokers => $broker->address,
        sasl(mechanism => 'SCRAM-SHA-256', username => 'alice', password => 'wr0ng'));
    my $connected = 0;
    $kafka->connect(sub { $connected++ });
    wait_until { errors($kafka) } 'on_error';
    like +(errors($kafka))[0], qr/\Aconnect: no bootstrap broker answers: .*: SASL auth failed: wrong password\z/, 'the reason';
    unlike +(errors($kafka))[0], qr/wr0ng/, 'without what was wrong about it';
    is $broker->{accepted}, 1, 'one try';
    my $started = EV::now;
    wait_until { $broker->{accepted} >= 4 } 'three more';
    cmp_ok EV::now() - $started, '>', 0.4, 'come with growing delays';
    is scalar(errors($kafka)), 1, 'and one report';
    is $connected, 0, 'it is not connected';
    $kafka->close;
};

subtest 'the token callback of a client' => sub {
    my $broker = SaslBroker->new(
        mechanism     => 'OAUTHBEARER',
        on_connection => sub {
            return sub { $_[0] eq "n,,\1auth=Bearer t0ken\1pool=p\1\1" ? authenticate_answer('') : refusal('no such token') };
        },
        on_request => sub { $_[2]{api} eq 'Produce' ? ScriptedBroker::produce_answer($_[2]) : undef },
    );
    my $asked = 0;
    my $kafka = connected(brokers => $broker->address,
        sasl(mechanism => 'OAUTHBEARER', token => sub { $asked++; $_[0]->('t0ken') }, extensions => { pool => 'p' }));
    my $result;
    $kafka->produce('t', 'k', 'v', sub { $result = [@_] });
    wait_until { $result } 'the delivery';
    is $result->[1], undef, 'a message is delivered';
    is $asked, 2, 'asked once a connection';
    $kafka->close;

    $kafka = client(brokers => $broker->address,
        sasl(mechanism => 'OAUTHBEARER', token => sub { die "login server down\n" }));
    $kafka->connect;
    wait_until { errors($kafka) } 'on_error';
    like +(errors($kafka))[0], qr/: SASL auth failed: no token: login server down\z/, 'a die reaches on_error';
    $kafka->close;
};

subtest 'close' => sub {
    my $held = {};
    my $kafka = client(sasl(mechanism => 'OAUTHBEARER', token => do { my $in_token = $held; sub { $_[0]->($in_token) } }));
    weaken(my $weak = $held);
    undef $held;
    ok $weak, 'a client needs its token callback';
    $kafka->close;
    ok !$weak, 'and forgets it';
};

subtest 'TLS to a broker without it' => sub {
    my $peer = ConnPeer->new;
    no warnings 'redefine';
    local *ConnPeer::read_some = sub { $_[0]->raw("\0\0\0\4\0\0\0\1") if $_[0]{socket}; $_[0]->hang_up };
    my $kafka = client(brokers => '127.0.0.1:' . $peer->port, tls => 1, tls_skip_verify => 1);
    $kafka->connect;
    wait_until { errors($kafka) } 'on_error';
    like +(errors($kafka))[0], qr/\Aconnect: no bootstrap broker answers: .*: TLS: /, 'is said';
    $kafka->close;
};

done_testing;
