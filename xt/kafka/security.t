use v5.14;
use warnings;

# TLS and SASL against real brokers: who is let in is let in on every kind of
# listener, who is not is told why, and re-authentication loses no request.

use lib 'xt/lib', 't/lib';
use Certificates;
use MIME::Base64 qw(encode_base64url);
use Inside;
use RealKafka;
use Test::More;

my @MECHANISMS = qw(PLAIN SCRAM-SHA-256 SCRAM-SHA-512 OAUTHBEARER);
my %MODULE     = (
    'PLAIN'         => 'plain.PlainLoginModule required user_alice="alice-secret"',
    'SCRAM-SHA-256' => 'scram.ScramLoginModule required',
    'SCRAM-SHA-512' => 'scram.ScramLoginModule required',
    'OAUTHBEARER'   => 'oauthbearer.OAuthBearerLoginModule required',
);

# Listeners: protocol and settings. REAUTH ends sessions after 3 s.
my %LISTENER = (
    SASL_PLAINTEXT => ['SASL_PLAINTEXT'],
    SASL_SSL       => ['SASL_SSL', 'ssl.keystore.location' => 'broker'],
    SASL_MUTUAL    => ['SASL_SSL', 'ssl.keystore.location' => 'broker', 'ssl.client.auth' => 'required'],
    SSL            => ['SSL',      'ssl.keystore.location' => 'broker'],
    MUTUAL         => ['SSL',      'ssl.keystore.location' => 'broker', 'ssl.client.auth' => 'required'],
    TLS12          => ['SSL',      'ssl.keystore.location' => 'broker', 'ssl.enabled.protocols' => 'TLSv1.2'],
    NAME           => ['SSL',      'ssl.keystore.location' => 'other-name'],
    EXPIRED        => ['SSL',      'ssl.keystore.location' => 'expired'],
    SELF           => ['SSL',      'ssl.keystore.location' => 'self-signed'],
    COMMONNAME     => ['SSL',      'ssl.keystore.location' => 'localhost'],
    REAUTH         => ['SASL_PLAINTEXT', map { lc($_) . '.connections.max.reauth.ms' => 3000 } @MECHANISMS],
);

my $certificates = Certificates->new;
my $exits        = 0;
$certificates->authority($_) for qw(ca other-ca);
my $here = 'IP:127.0.0.1,DNS:localhost';
$certificates->authority('self-signed', $here);
$certificates->sign('ca', 'broker', $here);
$certificates->sign('ca', 'other-name', 'DNS:kafka.example');
$certificates->sign('ca', 'expired', $here, '20200101000000Z', '20210101000000Z');
$certificates->sign('ca', 'localhost');    # without a subjectAltName
$certificates->sign('ca', 'client');
$certificates->sign('ca', 'renewed-client');
$certificates->sign('ca', 'expired-client', undef, '20200101000000Z', '20210101000000Z');
$certificates->sign('other-ca', 'strange-client');

sub settings {
    my %set = ('sasl.enabled.mechanisms' => join(',', @MECHANISMS));
    for my $listener (keys %LISTENER) {
        my ($protocol, %more) = @{ $LISTENER{$listener} };
        my $prefix = 'listener.name.' . lc $listener;
        if ($protocol =~ /SSL\z/) {
            $more{'ssl.keystore.location'} = $certificates->file("$more{'ssl.keystore.location'}.store");
            $more{'ssl.truststore.location'} = $certificates->file('ca.pem');
            $more{$_} = 'PEM' for qw(ssl.keystore.type ssl.truststore.type);
        }
        if ($protocol =~ /\ASASL/) {
            $more{ lc($_) . '.sasl.jaas.config' } = "org.apache.kafka.common.security.$MODULE{$_} ;" for @MECHANISMS;
        }
        $set{"$prefix.$_"} = $more{$_} for keys %more;
    }
    return \%set;
}

# An unsigned JSON Web Token for alice, valid until so many seconds from now.
sub jwt {
    my ($seconds) = @_;
    my $now = time;
    my ($from, $to) = ($now - 3600, $now + $seconds);
    return join '.', map({ encode_base64url($_) } '{"alg":"none"}', qq({"sub":"alice","iat":$from,"exp":$to})), '';
}

sub credentials {
    my ($mechanism, $user, $password) = @_;
    return $mechanism eq 'OAUTHBEARER' ? ($mechanism, jwt(3600)) : ($mechanism, $user // 'alice', $password // 'alice-secret');
}

# The arguments of tls: trusting our authority, perhaps with a certificate.
sub trusting {
    my ($ca, $client, $skip_verify) = @_;
    return (1, $ca && $certificates->file("$ca.pem"), $skip_verify,
        $client ? map { $certificates->file("$client.$_") } qw(pem key) : ());
}

# outcome($address, \@tls, \@sasl) -> 'metadata of N brokers', or what on_error
# got, or 'closed'.
sub outcome {
    my ($address, $tls, $sasl) = @_;
    my ($host, $port) = split /:/, $address;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->tls(@$tls)   if @$tls;
    $conn->sasl(@$sasl) if @$sasl;
    my $error;
    my $outcome = await("connecting to $address", sub {
        my ($done) = @_;
        $conn->on_error(sub { $error = "@_" });
        $conn->on_disconnect(sub { $done->($error // 'closed') });
        $conn->on_connect(sub {
            $conn->metadata([], sub {
                my ($metadata, $failure) = @_;
                # What ended the connection says more.
                $done->('metadata of ' . @{ $metadata->{brokers} } . ' brokers') unless defined $failure;
            });
        });
        $conn->connect($host, $port, 60);
    });
    $conn->on_disconnect;
    $conn->disconnect;
    return $outcome;
}

my $GOOD = qr/\Ametadata of 1 brokers\z/;

sub test_mechanisms {
    my ($cluster, $listener, @tls) = @_;
    my $address = $cluster->address(1, $listener);
    my $try = sub { outcome($address, \@tls, [@_]) };
    for my $mechanism (@MECHANISMS) {
        like $try->(credentials($mechanism)), $GOOD, "$mechanism on $listener";
        next if $mechanism eq 'OAUTHBEARER';
        my $refused = qr/\ASASL auth failed: Authentication failed/;
        for my $wrong ([alice => 'wrong'], [nobody => 'alice-secret'], ['alice', '']) {
            my $said = $try->($mechanism, @$wrong);
            like $said, $refused, "$mechanism on $listener: user '$wrong->[0]', password '$wrong->[1]'";
            unlike $said, qr/alice-secret|wrong/, 'the password is not in the error';
        }
    }
    my $refused = qr/\ASASL auth failed: (?!no token)/;
    like $try->('OAUTHBEARER', jwt(-60)),    $refused, "expired token on $listener";
    like $try->('OAUTHBEARER', 'garbled'),   $refused, "garbled token on $listener";
    like $try->('OAUTHBEARER', sub { $_[0]->(jwt(3600)) }), $GOOD, "token by callback on $listener";
    like $try->('OAUTHBEARER', jwt(3600), { logicalCluster => 'lkc-1', pool => 'a b' }), $GOOD, "token with extensions on $listener";
    my $timer;
    like $try->('OAUTHBEARER', sub { my ($done) = @_; $timer = EV::timer 0.05, 0, sub { $done->(jwt(3600)) } }), $GOOD,
        "token by callback later on $listener";
    is $try->('OAUTHBEARER', sub { $_[0]->(undef, 'no login') }), 'SASL auth failed: no token: no login',
        "no token on $listener";
    like $try->('GSSAPI'), qr/\ASASL handshake failed: mechanism not supported \(the broker has .*SCRAM-SHA-512/,
        "a mechanism that $listener does not have";
    return;
}

sub test_sasl {
    my ($cluster) = @_;
    like outcome($cluster->address(1, 'PLAINTEXT'), [], []), $GOOD, 'PLAINTEXT';
    like outcome($cluster->address(1, 'PLAINTEXT'), [], [credentials($_)]),
        qr/\ASASL handshake failed: ILLEGAL_SASL_STATE/, "$_ on PLAINTEXT" for @MECHANISMS;
    like outcome($cluster->address(1, 'SASL_PLAINTEXT'), [], []), qr/\Aclosed\z/, 'SASL_PLAINTEXT without SASL';
    test_mechanisms($cluster, 'SASL_PLAINTEXT');
    test_mechanisms($cluster, 'SASL_SSL', trusting('ca'));
    test_mechanisms($cluster, 'SASL_MUTUAL', trusting('ca', 'client'));
    return;
}

sub test_tls {
    my ($cluster) = @_;
    my $try = sub { my ($listener, @tls) = @_; outcome($cluster->address(1, $listener), \@tls, []) };
    my $bad = 'TLS: certificate verify failed:';
    like $try->('SSL', trusting('ca')), $GOOD, 'TLS';
    like $try->('SELF', trusting('self-signed')), $GOOD, 'a certificate that signed itself';
    like $try->('SELF', trusting('ca')), qr/\A$bad unknown issuer/, 'which is not trusted unasked';
    like $try->('TLS12', trusting('ca')), $GOOD, 'TLS 1.2';
    like $try->('SSL', trusting('other-ca')), qr/\A$bad unknown issuer/, 'another authority';
    like $try->('SSL', trusting()), qr/\A$bad unknown issuer/, 'the system does not know the authority';
    like $try->('NAME', trusting('ca')), qr/\A$bad name mismatch: the certificate is for kafka\.example, not for 127\.0\.0\.1/,
        'a certificate for another name';
    like $try->('EXPIRED', trusting('ca')), qr/\A$bad certificate has expired/, 'an expired certificate';
    like $try->($_, trusting(undef, undef, 1)), $GOOD, "$_ with skip_verify" for qw(SSL NAME EXPIRED);
    like outcome($cluster->address(1, 'SSL') =~ s/127\.0\.0\.1/localhost/r, [trusting('ca')], []), $GOOD, 'a host name';

    for my $listener (qw(MUTUAL SASL_MUTUAL)) {
        my @sasl = $listener eq 'MUTUAL' ? () : credentials('SCRAM-SHA-256');
        my $with = sub { outcome($cluster->address(1, $listener), [trusting('ca', @_)], \@sasl) };
        like $with->('client'), $GOOD, "$listener with a client certificate";
        like $with->(), qr/\ATLS: the broker refused: it requires a client certificate|\ATLS: the broker refused: .*requires one/, "$listener without one";
        like $with->('strange-client'), qr/\ATLS: the broker refused: /, "$listener with one of an unknown authority";
        like $with->('expired-client'), qr/\ATLS: the broker refused: /, "$listener with an expired one";
    }

    like $try->('PLAINTEXT', trusting('ca')), qr/\ATLS: /, 'TLS to PLAINTEXT';
    # A TLS alert, taken for the size of an answer.
    like $try->('SSL'), qr/\Ainvalid response size: the peer speaks TLS; is this a TLS listener/, 'no TLS to SSL';
    return;
}

sub read_file {
    my ($name) = @_;
    open my $in, '<', $certificates->file($name) or die "$name: $!";
    local $/;
    return scalar readline $in;
}

sub write_file {
    my ($name, $text) = @_;
    open my $out, '>', $certificates->file($name) or die "$name: $!";
    print {$out} $text;
    close $out or die "$name: $!";
    return $certificates->file($name);
}

# Where certificates and keys come from, and what they name.
sub test_certificates {
    my ($cluster) = @_;
    my $encrypted = $certificates->file('encrypted.key');
    system('openssl', 'pkcs8', '-topk8', '-in', $certificates->file('client.key'), '-passout', 'pass:s3cret', '-out', $encrypted) == 0
        or die 'openssl pkcs8';
    my @mutual = (brokers => $cluster->bootstrap('MUTUAL'), tls => 1, tls_ca_file => $certificates->file('ca.pem'));
    my $works = sub {
        my (@options) = @_;
        my $kafka = connected_client(@mutual, @options);
        my $meta  = $kafka->{cfg}{meta};
        $kafka->close;
        return scalar @{ $meta->{brokers} };
    };
    is $works->(tls_cert_file => $certificates->file('client.pem'), tls_key_file => $encrypted, tls_key_password => 's3cret'), 1,
        'a key behind a password';
    is $works->(tls_ca_file => read_file('ca.pem'), tls_cert_file => read_file('client.pem'), tls_key_file => read_file('client.key')), 1,
        'everything as text';

    my $address = $cluster->address(1, 'NAME');
    like outcome($address, [1, { ca_file => $certificates->file('ca.pem'), server_name => 'kafka.example' }], []), $GOOD,
        'a certificate for the name that was asked for';
    {
        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        my $localhost = $cluster->address(1, 'COMMONNAME') =~ s/127\.0\.0\.1/localhost/r;
        like outcome($localhost, [trusting('ca')], []), $GOOD, 'a certificate with nothing but a common name';
        is scalar(grep { /names it by its common name only/ } @warnings), 1, 'which is a warning';
        like outcome($cluster->address(1, 'COMMONNAME'), [trusting('ca')], []), qr/the certificate is for localhost, not for 127/,
            'for another host it is none';
    }

    # Renewed while a client runs: its new connections present what is there by then.
    my ($certificate, $key) = map { write_file("mine.$_", read_file("client.$_")) } qw(pem key);
    my (@errors, @notices);
    my $topic = create_topic($cluster->bootstrap, 'renewed', 1);
    my $kafka = connected_client(@mutual, tls_cert_file => $certificate, tls_key_file => $key,
        on_error => sub { push @errors, @_ }, on_notice => sub { push @notices, $_[0] });
    my $reconnected = sub {
        my $conn = Inside::new_conn($kafka);
        my ($host, $port) = split /:/, $cluster->address(1, 'MUTUAL');
        return await('a connection', sub {
            my ($done) = @_;
            my $error;
            $conn->on_error(sub { $error = "@_" });
            $conn->on_disconnect(sub { $done->($error // 'closed') });
            $conn->on_connect(sub { $conn->metadata([], sub { $done->('good') if $_[0] }) });
            $conn->connect($host, $port, 60);
        });
    };
    write_file('mine.pem', read_file('renewed-client.pem'));
    is $reconnected->(), 'good', 'while the key is still missing the old certificate serves';
    like $notices[0], qr/\ATLS: client certificate \S+: the private key belongs to another one/, 'which is told';
    write_file('mine.key', read_file('renewed-client.key'));
    is $reconnected->(), 'good', 'then the new one does';
    write_file("mine.$_", read_file("expired-client.$_")) for qw(pem key);
    like $reconnected->(), qr/\ATLS: the broker refused: /, 'one that has expired does not';
    write_file("mine.$_", read_file("client.$_")) for qw(pem key);
    my ($result, $error) = await('a delivery', sub { my ($done) = @_; $kafka->produce($topic, 'k', 'v', sub { $done->(@_) }) });
    is $error, undef, 'the connections that were there go on';
    is_deeply \@errors, [], 'no errors';
    $kafka->close;
    return;
}

# Ten seconds of messages over sessions of three: the client's connections
# authenticate again, several times each, and nothing is lost or late.
sub test_reauthentication {
    my ($cluster) = @_;
    my $SECONDS = 10;
    my $tokens  = 0;
    my %sasl = (
        map({ $_ => { mechanism => $_, username => 'alice', password => 'alice-secret' } } @MECHANISMS[0 .. 2]),
        OAUTHBEARER => { mechanism => 'OAUTHBEARER', token => sub { $tokens++; $_[0]->(jwt(3600)) } },
    );
    local $SIG{__WARN__} = sub { warn @_ unless $_[0] =~ /SASL (?:PLAIN|OAUTHBEARER) configured without TLS/ };
    my (%client, %sent, %delivered, @errors, @pumps);
    for my $mechanism (@MECHANISMS) {
        my $topic = create_topic($cluster->bootstrap, lc "reauth-$mechanism", 1);
        my $kafka = $client{$mechanism} = connected_client(
            brokers => $cluster->bootstrap('REAUTH'), sasl => $sasl{$mechanism},
            on_error => sub { push @errors, "$mechanism: @_" },
        );
        my $on_delivery = sub {
            my ($result, $error) = @_;
            $error //= EV::Kafka::_error_name($result->{topics}[0]{partitions}[0]{error_code})
                if !$result || $result->{topics}[0]{partitions}[0]{error_code};
            push @errors, "$mechanism: $error" if defined $error;
            push @{ $delivered{$mechanism} }, $result->{topics}[0]{partitions}[0]{base_offset} unless defined $error;
        };
        push @pumps, EV::timer 0, 0.01, sub {
            $kafka->produce($topic, undef, 'message ' . $sent{$mechanism}++, $on_delivery) for 1 .. 10;
        };
    }
    my $timer;
    await('a while', sub { my ($done) = @_; $timer = EV::timer $SECONDS, 0, $done });
    @pumps = ();
    for my $mechanism (@MECHANISMS) {
        my $error = await('flush', sub { $client{$mechanism}->flush(@_) });
        is $error, undef, "$mechanism: everything is settled";
        is_deeply $delivered{$mechanism}, [0 .. $sent{$mechanism} - 1], "$mechanism: $sent{$mechanism} messages, in order";
        $client{$mechanism}->close;
    }
    is_deeply \@errors, [], 'no error';
    cmp_ok $tokens, '>=', 2 + 3, 'tokens were asked for at each of several renewals';
    return;
}

# The client's options, to the record and back.
sub test_client {
    my ($cluster) = @_;
    my $topic  = create_topic($cluster->bootstrap, 'secure', 2);
    my @client = (tls => 1, tls_ca_file => $certificates->file('ca.pem'),
        tls_cert_file => $certificates->file('client.pem'), tls_key_file => $certificates->file('client.key'));
    my @sasl = (sasl => { mechanism => 'SCRAM-SHA-512', username => 'alice', password => 'alice-secret' });
    my $kafka = connected_client(brokers => $cluster->bootstrap('SASL_MUTUAL'), @client, @sasl);
    my $large = join '', map { chr rand 256 } 1 .. 500_000;
    my $errors = await('produce', sub { $kafka->produce_many([map { [$topic, "k$_", $_ % 5 ? "v$_" : $large] } 1 .. 20], @_) });
    is $errors, undef, 'a client produces over mutual TLS and SCRAM';
    $kafka->close;
    my @records = consume($cluster->bootstrap('SASL_MUTUAL'), $topic, 2, 20, @client, @sasl);
    is scalar(grep { $_->[3] eq $large } map { @$_ } @records), 4, 'and consumes';

    my (@reported, $refused);
    $kafka = EV::Kafka->new(
        brokers  => $cluster->bootstrap('SASL_MUTUAL'), @client,
        sasl     => { mechanism => 'PLAIN', username => 'alice', password => 'wr0ng' },
        on_error => sub { push @reported, @_; $refused->() },
    );
    await('a refusal', sub { ($refused) = @_; $kafka->connect });
    like $reported[0], qr/\Aconnect: no bootstrap broker answers: .*: SASL auth failed: Authentication failed/, 'a refusal';
    unlike $reported[0], qr/wr0ng/, 'without the password';
    $kafka->close;
    return;
}

# A member whose program ends by exit leaves, and commits, over a new connection: with all that
# needs, and without asking the program for anything.
sub test_exit {
    my ($cluster) = @_;
    for my $case (['SCRAM-SHA-512', username => 'alice', password => 'alice-secret'], ['OAUTHBEARER', token => jwt(3600)],
        ['OAUTHBEARER', token => sub { $_[0]->(jwt(3600)) }])
    {
        my ($mechanism, %credentials) = @$case;
        my %option = (brokers => $cluster->address(1, 'SASL_SSL'), tls => 1, tls_ca_file => $certificates->file('ca.pem'),
            sasl => { mechanism => $mechanism, %credentials });
        my $topic = create_topic($cluster->address(1), 'security-exit-' . ++$exits, 1);
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            our $kafka = EV::Kafka->new(%option, on_message => sub { exit if $_[2] == 30 });
            $kafka->connect(sub {
                $kafka->subscribe($topic, group_id => "$topic-g", auto_commit_interval => 60, session_timeout => 45_000);
            });
            EV::run;
        }
        my $kafka = connected_client(%option, on_message => sub { });
        await('the records', sub { my ($done) = @_; $kafka->produce_many([map { [$topic, undef, "v$_"] } 0 .. 49], $done) });
        my $child;
        await('the end of the program', sub { my ($done) = @_; $child = EV::child $pid, 0, $done });
        my $begun = EV::time;
        my ($first) = await('the next member', sub {
            my ($done) = @_;
            $kafka->subscribe($topic, group_id => "$topic-g", on_assign => sub { $done->($_[0][0]{offset}) if @{ $_[0] } });
        });
        my $how = ref $credentials{token} ? 'token by callback' : $mechanism;
        is $first, 30, "$how: what was handled is committed";
        cmp_ok EV::time - $begun, '<', 20, 'long before its session would have ended';
        await('leaving', sub { $kafka->unsubscribe(@_) });
        $kafka->close;
    }
    return;
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $cluster = cluster(
        version   => $version,
        listeners => { map { $_ => $LISTENER{$_}[0] } keys %LISTENER },
        set       => settings(),
        format    => [map { ('--add-scram', "$_=[name=alice,password=alice-secret]") } qw(SCRAM-SHA-256 SCRAM-SHA-512)],
    );
    subtest "$version: SASL"              => sub { test_sasl($cluster) };
    subtest "$version: TLS"               => sub { test_tls($cluster) };
    subtest "$version: certificates"      => sub { test_certificates($cluster) };
    subtest "$version: client"            => sub { test_client($cluster) };
    subtest "$version: exit"              => sub { test_exit($cluster) };
    subtest "$version: re-authentication" => sub { test_reauthentication($cluster) };
    $cluster->stop;
}

done_testing;
