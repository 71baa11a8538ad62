# Where certificates and keys come from: files that change, texts, keys behind a password.
use strict;
use warnings;

use lib 't/lib';

use Data::Dumper ();
use EV;
use EV::Kafka;
use File::Temp ();
use POSIX ();
use Test::More;

use ConnPeer;
use Inside;
use TestKafka qw(wait_until turns warnings_of client);

my $CERTIFICATES = 'rust/kafka-conn/tests/certificates';
my $folder       = File::Temp->newdir;

sub text_of {
    my ($name) = @_;
    open my $in, '<', "$CERTIFICATES/$name.pem" or die "$name: $!";
    local $/;
    return scalar readline $in;
}

sub write_file {
    my ($name, @lines) = @_;
    open my $out, '>', "$folder/$name" or die "$name: $!";
    print {$out} @lines;
    close $out or die "$name: $!";
    return "$folder/$name";
}

# What a connection with these arguments of tls croaks.
sub refused_tls {
    my ($conn) = conn();
    eval { $conn->tls(@_) };
    return $@;
}

# A peer that TLS cannot be spoken with: connections to it fail, which is not the point here.
my $peer = ConnPeer->new;

# Makes a new connection, which looks at the files.
sub connect_anew {
    my ($conn) = @_;
    $conn->connect('127.0.0.1', $peer->port, 20);
    wait_until { $conn->state == 2 } 'the handshake';
    $conn->disconnect;
    return;
}

subtest 'arguments of tls by name' => sub {
    is refused_tls(1, {}), '', 'none';
    is refused_tls(1, { ca_file => "$CERTIFICATES/ec.pem", skip_verify => 1 }), '', 'some';
    is refused_tls(1, { tls_ca_file => "$CERTIFICATES/ec.pem", tls_key_password => undef }), '', 'as options of a client';
    is refused_tls(1, undef, 0, "$CERTIFICATES/ec.pem", "$CERTIFICATES/ec-aes.pem", { key_password => 's3cret' }), '', 'after others';
    is refused_tls(1, "$CERTIFICATES/ec.pem", { server_name => 'kafka.example' }), '', 'after one';
    my $here = qr/ at \Q$0\E line [0-9]+\.$/;
    like refused_tls(1, { ca => 'x' }), qr/\AEV::Kafka::Conn: tls: unknown option 'ca'$here/, 'an unknown one';
    like refused_tls(1, { ca_file => '/no/ca.pem' }), qr{\AEV::Kafka::Conn: tls: cannot read CA file /no/ca\.pem: No such file.*$here},
        'a file that is not there';
    like refused_tls(1, { key_password => [] }), qr/\AEV::Kafka::Conn: tls: key_password must be a string$here/, 'no string';
    like refused_tls(1, { server_name => 'a b' }), qr/\AEV::Kafka::Conn: tls: server name: not a host name or address: a b$here/,
        'no name';
};

subtest 'keys behind a password' => sub {
    my @files = (cert_file => "$CERTIFICATES/ec.pem", key_file => "$CERTIFICATES/ec-aes.pem");
    is refused_tls(1, { @files, key_password => 's3cret' }), '', 'are read with it';
    like refused_tls(1, { @files }), qr/ec-aes\.pem is encrypted, and no tls_key_password is given at/, 'not without';
    like refused_tls(1, { @files, key_password => 'wr0ng' }), qr/cannot be decrypted: the tls_key_password is wrong at/, 'nor with another';
    unlike refused_tls(1, { @files, key_password => 'wr0ng' }), qr/wr0ng/, 'which is not repeated';
    is refused_tls(1, { cert_file => write_file('both.pem', text_of('ec'), text_of('ec-aes')), key_password => 's3cret' }), '',
        'in the same file';
    my @older = (@files, key_file => "$CERTIFICATES/ec-proc-type.pem");
    is refused_tls(1, { @older, key_password => 's3cret' }), '', "in OpenSSL's older form";
    like refused_tls(1, { @older, key_password => 'wr0ng' }), qr/cannot be decrypted: the tls_key_password is wrong at/, 'not without it';
    like refused_tls(1, { @files, key_file => "$CERTIFICATES/ec-pbes1.pem", key_password => 's3cret' }),
        qr/by a method that is not known here: write it anew by openssl pkcs8 -topk8 -v2 aes256 at/, 'one of another method says what to do';
};

subtest 'PEM as text' => sub {
    is refused_tls(1, text_of('ec')), '', 'a CA';
    is refused_tls(1, undef, 0, text_of('ec'), text_of('ec-sec1')), '', 'a certificate and its key';
    is refused_tls(1, { cert_file => text_of('ec') . text_of('ec-aes'), key_password => 's3cret' }), '', 'in one';
    is refused_tls(1, { cert_file => "$CERTIFICATES/ec.pem", key_file => text_of('ec-pkcs8') }), '', 'beside a file';
    my $error = refused_tls(1, { cert_file => text_of('ec'), key_file => text_of('rsa-pkcs8') });
    like $error, qr/\AEV::Kafka::Conn: tls: client certificate the text given as certificate file: the private key belongs to another one at/,
        'that do not fit';
    unlike $error, qr/BEGIN/, 'are not repeated';
    like refused_tls(1, text_of('ec-pkcs8')), qr/\AEV::Kafka::Conn: tls: no certificate in the text given as CA file at/, 'of something else';
};

subtest 'a client keeps no secrets of TLS' => sub {
    for my $tls (1, 0) {
        my $kafka = EV::Kafka->new(tls => $tls, tls_cert_file => text_of('ec'), tls_key_file => text_of('ec-aes'), tls_key_password => 's3cret');
        my $dump  = Data::Dumper->new([$kafka->{cfg}])->Dump;
        unlike $dump, qr/s3cret/, "tls => $tls: no password";
        unlike $dump, qr/PRIVATE KEY/, 'and no key';
    }
    my @options = (tls => 1, tls_cert_file => "$CERTIFICATES/ec.pem", tls_key_file => "$CERTIFICATES/ec-aes.pem");
    eval { EV::Kafka->new(@options, tls_key_password => 'wr0ng') };
    like $@, qr/\AEV::Kafka: TLS: the private key in \S+ cannot be decrypted: the tls_key_password is wrong at \Q$0\E/, 'a wrong password';
    eval { EV::Kafka->new(@options, tls_key_password => 's3cret', tls_server_name => 'a b') };
    like $@, qr/\AEV::Kafka: TLS: server name: not a host name or address: a b at \Q$0\E/, 'a wrong name';
};

subtest 'files that change and cannot be used' => sub {
    my ($certificate, $key) = (write_file('me.pem', text_of('ec')), write_file('me.key', text_of('ec-pkcs8')));
    my ($conn) = conn();
    my @notices;
    $conn->on_notice(sub { push @notices, [@_] });
    $conn->tls(1, undef, 0, $certificate, $key);
    connect_anew($conn);
    is_deeply \@notices, [], 'nothing to tell while they are as they were';

    write_file('me.key', text_of('rsa-pkcs8'));
    connect_anew($conn) for 1 .. 3;
    is_deeply \@notices, [["TLS: client certificate $certificate: the private key belongs to another one: "
        . 'what was read before stays in use', 'tls_files']], 'told once, and connections are made nevertheless';
    unlink $key or die "unlink: $!";
    connect_anew($conn) for 1 .. 2;
    like $notices[1][0], qr/\ATLS: cannot read key file \Q$key\E: No such file or directory: what was read/, 'another reason is told';
    is @notices, 2, 'once';
    write_file('me.key', text_of('ec-sec1'));
    connect_anew($conn) for 1 .. 2;
    is_deeply $notices[2], [undef, 'tls_files'], 'that they can be used again is told';
    is @notices, 3, 'once';
    write_file('me.key', 'garbage');
    connect_anew($conn);
    like $notices[3][0], qr/\ATLS: no private key in \Q$key\E/, 'the next time is told again';

    $conn->on_notice(undef);
    write_file('me.key', 'BEGIN garbage');
    $conn->tls(1, undef, 0, $certificate, write_file('other.key', text_of('ec-pkcs8')));
    write_file('other.key', '');
    my @warnings = warnings_of { connect_anew($conn) for 1 .. 3 };
    is @warnings, 1, 'without on_notice it is one warning';
    like $warnings[0], qr/\AEV::Kafka::Conn: TLS: no private key in \S+other\.key: what was read before/, 'of the same text';
};

subtest 'a file that is settled is read again when it changed only' => sub {
    my $file = write_file('ca.pem', text_of('ec'));
    utime 1e9, 1e9, $file or die "utime: $!";
    my ($conn) = conn();
    my @notices;
    $conn->on_notice(sub { push @notices, $_[0] });
    $conn->tls(1, $file);
    connect_anew($conn) for 1 .. 2;
    is_deeply \@notices, [], 'as it was';
    my $garbage = text_of('ec') =~ tr/A-Za-z/*/r;
    rename write_file('ca.new', $garbage), $file or die "rename: $!";
    utime 1e9, 1e9, $file or die "utime: $!";
    connect_anew($conn);
    like $notices[0], qr/\ATLS: no certificate in \Q$file\E/, 'another file of the same size and time';
};

subtest 'what can be read once is read once' => sub {
    my $pipe = "$folder/pipe";
    POSIX::mkfifo($pipe, 0600) or die "mkfifo: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open my $out, '>', $pipe or POSIX::_exit(1);
        syswrite $out, text_of('ec');
        POSIX::_exit(0);
    }
    my ($conn) = conn();
    my @notices;
    $conn->on_notice(sub { push @notices, $_[0] });
    my $key = write_file('once.key', text_of('ec-pkcs8'));
    $conn->tls(1, undef, 0, $pipe, $key);
    waitpid $pid, 0;
    connect_anew($conn) for 1 .. 2;
    write_file('once.key', text_of('ec-sec1'));
    connect_anew($conn);
    is_deeply \@notices, [], 'a pipe, also when the other file has changed';
};

subtest 'the connections of a client' => sub {
    my $key = write_file('client.key', text_of('ec-pkcs8'));
    my @notices;
    my $kafka = client(
        brokers   => '127.0.0.1:' . $peer->port, tls => 1, tls_cert_file => "$CERTIFICATES/ec.pem", tls_key_file => $key,
        on_notice => sub { push @notices, $_[0] },
    );
    my @conns = map { Inside::new_conn($kafka) } 1 .. 3;
    write_file('client.key', '');
    connect_anew($_) for @conns;
    is_deeply \@notices, ["TLS: no private key in $key: what was read before stays in use"], 'tell once, together';
    write_file('client.key', text_of('ec-pkcs8'));
    connect_anew($_) for @conns;
    write_file('client.key', '');
    connect_anew($_) for @conns;
    is @notices, 2, 'and again after it was well';
    $kafka->close;
};

subtest 'on_notice may do anything' => sub {
    my $file = write_file('free.pem', text_of('ec'));
    my ($conn, $log) = conn();
    $conn->tls(1, $file);
    write_file('free.pem', '');
    $conn->on_notice(sub { undef $conn });
    $conn->connect('127.0.0.1', $peer->port, 20);
    ok !$conn, 'free the connection';
    turns;
    is_deeply $log, [], 'which is then gone';

    ($conn, $log) = conn();
    $conn->tls(1, write_file('free.pem', text_of('ec')));
    write_file('free.pem', '');
    $conn->on_notice(sub { $conn->disconnect; die "no\n" });
    my @warnings = warnings_of { $conn->connect('127.0.0.1', $peer->port, 20) };
    is_deeply \@warnings, ["EV::Kafka::Conn: on_notice callback error: no\n"], 'die';
    is_deeply $log, ['disconnect'], 'and disconnect';
};

done_testing;
