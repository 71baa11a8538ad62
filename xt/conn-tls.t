# TLS between a connection and OpenSSL: by name and by address, with what each side
# says when it does not like the other.
use v5.14;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../t/lib";

use EV;
use EV::Kafka;
use IO::Socket::IP;

use Certificates;
use ConnPeer;
use SaslPeer qw(scram_server authenticate_answer);
use TestKafka qw(wait_until turns);
use TlsPeer;

my $files = Certificates->new;
$files->authority('ca');
$files->sign('ca', 'local', 'DNS:localhost,IP:127.0.0.1,IP:::1');
$files->sign('ca', 'four', 'IP:127.0.0.1');
$files->sign('ca', 'old', 'IP:127.0.0.1', '20200101000000Z', '20210101000000Z');
$files->sign('ca', 'client');
$files->authority('other');
$files->sign('other', 'stranger', 'IP:127.0.0.1');

my $METADATA = pack 'N N N', 0, 1, 0;
my ($METADATA_API, $SASL_HANDSHAKE, $SASL_AUTHENTICATE) = (3, 17, 36);

sub tls_peer {
    my ($name, %args) = @_;
    return TlsPeer->new(
        certificate => $files->file("$name.pem"), key => $files->file("$name.key"),
        versions => { $METADATA_API => [1, 1] }, on_request => sub { $METADATA }, %args,
    );
}

# Connects until it is ready or has failed.
sub opened {
    my ($peer, $host, %args) = @_;
    my ($conn, $log) = conn();
    $conn->tls(1, $files->file('ca.pem'), 0, $args{certificate} ? map { $files->file("client.$_") } qw(pem key) : ());
    $conn->sasl(@{ $args{sasl} }) if $args{sasl};
    $conn->connect($host, $peer->port, 20);
    wait_until { @$log && $log->[-1] =~ /\A(?:connect|disconnect)\z/ } 'an outcome';
    return ($conn, $log);
}

sub works {
    my ($peer, $host, %args) = @_;
    my ($conn, $log) = opened($peer, $host, %args);
    is_deeply $log, ['connect'], 'connected';
    my $answers = 0;
    $conn->metadata([('x' x 1000) x 100], sub { $answers++ if $_[0] && !defined $_[1] }) for 1 .. 20;
    wait_until { $answers == 20 } 'the answers';
    is $answers, 20, 'requests are answered';
    $conn->disconnect;
    $peer->stop;
    return;
}

# What the peer complains about once the connection has been refused by either side.
sub refused {
    my ($peer, $text, $alert, %args) = @_;
    my (undef, $log) = opened($peer, '127.0.0.1', %args);
    like $log->[0], $text, 'our error';
    is_deeply [@$log[1 .. $#$log]], ['disconnect'], 'ends the connection';
    wait_until { $peer->complaints =~ $alert } 'the complaint';
    like $peer->complaints, $alert, 'what OpenSSL says';
    $peer->stop;
    return;
}

my $has_ipv6 = IO::Socket::IP->new(LocalHost => '::1', Listen => 1);
my %flags = ('TLS 1.2' => ['-tls1_2'], 'TLS 1.3' => ['-tls1_3']);

for my $version (sort keys %flags) {
    my @flags = (flags => $flags{$version});
    subtest "$version by name and IPv4 address" => sub {
        works(tls_peer(local => @flags), $_) for 'localhost', '127.0.0.1';
    };

    subtest "$version by IPv6 address" => sub {
        plan skip_all => 'no ::1 on this machine' if !$has_ipv6;
        works(tls_peer(local => @flags, address => '::1'), $_) for '::1', '[::1]', '0:0:0:0:0:0:0:1';
        my $peer = tls_peer(four => @flags, address => '::1');
        my (undef, $log) = opened($peer, '::1');
        is $log->[0], 'error: TLS: certificate verify failed: name mismatch: '
            . 'the certificate is for 127.0.0.1, not for ::1', 'a certificate for another address';
        wait_until { $peer->complaints =~ /SSL alert number 42\b/ } 'the alert';
        $peer->stop;
    };

    subtest "$version: the broker's certificate is refused, and the broker told" => sub {
        refused(tls_peer(stranger => @flags), qr/\Aerror: TLS: certificate verify failed: unknown issuer/,
            qr/alert unknown ca/);
        refused(tls_peer(old => @flags), qr/\Aerror: TLS: .*: certificate has expired\z/,
            qr/alert certificate expired/);
    };

    subtest "$version with a client's certificate" => sub {
        my @verify = ('-Verify', 1, '-verify_return_error', '-CAfile', $files->file('ca.pem'));
        my @asking = (flags => [@{ $flags{$version} }, @verify]);
        works(tls_peer(local => @asking), '127.0.0.1', certificate => 1);
        # After a handshake under TLS 1.3 it may come so late that requests are on their way.
        my $peer = tls_peer(local => @asking, handshake => sub { });
        refused($peer, qr/\Aerror: TLS: the broker refused: .*client certificate/,
            qr/peer did not return a certificate/);
    };
}

subtest 'SCRAM over TLS' => sub {
    my $server = scram_server(256, 'secret');
    my $peer = tls_peer(local =>
        versions   => { $METADATA_API => [1, 1], $SASL_HANDSHAKE => [0, 1], $SASL_AUTHENTICATE => [0, 1] },
        on_request => sub {
            my ($peer, $request) = @_;
            return $METADATA if $request->{api} == $METADATA_API;
            return pack 'n N n/a*', 0, 1, 'SCRAM-SHA-256' if $request->{api} == $SASL_HANDSHAKE;
            return $server->(unpack 'N/a*', $request->{body});
        },
    );
    works($peer, '127.0.0.1', sasl => ['SCRAM-SHA-256', 'user', 'secret']);
};

# The arguments of openssl s_server with which it demands a certificate and says whose it got.
my @DEMANDS = (flags => ['-Verify', 1, '-verify_return_error', '-CAfile', $files->file('ca.pem'), '-state']);

# Connects by a connection that is set up already; the common name of its certificate.
sub presented {
    my ($conn, $log) = @_;
    my $peer = tls_peer(local => @DEMANDS);
    @$log = ();
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { @$log } 'an outcome';
    is_deeply $log, ['connect'], 'connected';
    wait_until { $peer->complaints =~ /depth=0 CN ?= ?(\w+)/ } 'the certificate';
    my ($name) = $peer->complaints =~ /depth=0 CN ?= ?(\w+)/;
    $conn->disconnect;
    $peer->stop;
    return $name;
}

sub copy {
    my ($from, $to) = @_;
    open my $in, '<', $files->file($from) or die "$from: $!";
    open my $out, '>', $files->file($to) or die "$to: $!";
    print {$out} readline $in;
    close $out or die "$to: $!";
    return;
}

subtest 'a client certificate that is renewed while the program runs' => sub {
    $files->sign('ca', $_) for qw(before after);
    copy("before.$_", "me.$_") for qw(pem key);
    my ($conn, $log) = conn();
    my @notices;
    $conn->on_notice(sub { push @notices, $_[0] });
    $conn->tls(1, $files->file('ca.pem'), 0, map { $files->file("me.$_") } qw(pem key));
    is presented($conn, $log), 'before', 'the first';
    copy('after.pem', 'me.pem');
    is presented($conn, $log), 'before', 'half of the new one: the old one still';
    like $notices[0], qr/the private key belongs to another one: what was read before stays in use/, 'which is told';
    copy('after.key', 'me.key');
    is presented($conn, $log), 'after', 'the new one';
    is $notices[1], undef, 'that it is over is told, too';
};

subtest 'a CA file that is renewed while the program runs' => sub {
    copy('other.pem', 'trusted.pem');
    my ($conn, $log) = conn();
    $conn->tls(1, $files->file('trusted.pem'));
    for my $step (['other.pem', 'error'], ['ca.pem', 'connect']) {
        my ($authority, $outcome) = @$step;
        copy($authority, 'trusted.pem');
        my $peer = tls_peer('local');
        @$log = ();
        $conn->connect('127.0.0.1', $peer->port, 20);
        wait_until { @$log && $log->[-1] =~ /\A(?:connect|disconnect)\z/ } 'an outcome';
        like $log->[0], qr/\A$outcome/, "with $authority";
        $conn->disconnect;
        $peer->stop;
    }
};

subtest 'a key behind a password' => sub {
    system('openssl', 'pkcs8', '-topk8', '-in', $files->file('client.key'), '-passout', 'pass:s3cret', '-out',
        $files->file('encrypted.key')) == 0 or die 'openssl pkcs8';
    my ($conn, $log) = conn();
    $conn->tls(1, { ca_file => $files->file('ca.pem'), cert_file => $files->file('client.pem'),
        key_file => $files->file('encrypted.key'), key_password => 's3cret' });
    is presented($conn, $log), 'client', 'serves';
};

subtest 'certificates and keys as text' => sub {
    my %text = map { $_ => do { open my $in, '<', $files->file($_) or die $!; local $/; readline $in } } qw(ca.pem client.pem client.key);
    my ($conn, $log) = conn();
    $conn->tls(1, $text{'ca.pem'}, 0, @text{qw(client.pem client.key)});
    is presented($conn, $log), 'client', 'serve';
};

# A certificate as `openssl x509 -req` makes it: of version 1, without extensions.
sub sign_version_1 {
    my ($name) = @_;
    $files->sign('ca', $name);    # for its request and key
    my ($request, $certificate) = map { $files->file("$name.$_") } qw(csr1 pem);
    system('openssl', 'req', '-new', '-key', $files->file("$name.key"), '-subj', "/CN=$name", '-out', $request) == 0 or die 'openssl req';
    system("openssl x509 -req -in $request -CA ${\ $files->file('ca.pem')} -CAkey ${\ $files->file('ca.key')} "
        . "-CAcreateserial -days 30 -out $certificate 2>/dev/null") == 0 or die 'openssl x509';
    return;
}

for my $version (sort keys %flags) {
    subtest "$version: a certificate that names its host by its common name only" => sub {
        my @flags = (flags => $flags{$version});
        $files->sign('ca', 'localhost');
        for my $kind ('with extensions', 'of version 1') {
            sign_version_1('localhost') if $kind eq 'of version 1';
            my $peer = tls_peer(localhost => @flags);
            my ($conn, $log) = conn();
            my @notices;
            $conn->on_notice(sub { push @notices, $_[0] });
            $conn->tls(1, $files->file('ca.pem'));
            $conn->connect('localhost', $peer->port, 20);
            wait_until { @$log } 'an outcome';
            is_deeply $log, ['connect'], "$kind: is accepted";
            is_deeply \@notices, ['TLS: the certificate of localhost names it by its common name only: '
                . 'it should have a subjectAltName'], 'with one notice';
            $conn->disconnect;
            $peer->stop;
            $peer = tls_peer(localhost => @flags);
            (undef, $log) = opened($peer, '127.0.0.1');
            is $log->[0], 'error: TLS: certificate verify failed: name mismatch: '
                . 'the certificate is for localhost, not for 127.0.0.1', 'not for another host';
            $peer->stop;
        }
    };
}

subtest 'a server name of its own' => sub {
    $files->sign('ca', 'named', 'DNS:kafka.example');
    my $peer = tls_peer('named', flags => ['-servername', 'kafka.example', '-cert2', $files->file('named.pem'),
        '-key2', $files->file('named.key'), '-servername_fatal']);
    my ($conn, $log) = conn();
    $conn->tls(1, { ca_file => $files->file('ca.pem'), server_name => 'kafka.example' });
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { @$log } 'an outcome';
    is_deeply $log, ['connect'], 'is what the certificate is for, and what the broker is told';
    $conn->disconnect;
    $peer->stop;
};

done_testing;
