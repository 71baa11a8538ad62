use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest;
use Test::More;
use TestKafka qw(wait_until turns client connected errors log_values);

my $CERTIFICATES = 'rust/kafka-conn/tests/certificates';

sub delivers {
    my ($mock, %options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, tls => 1, %options);
    my $answer;
    $kafka->produce(t => 'k', 'v', sub { $answer = $_[1] // 'delivered' });
    wait_until { $answer } 'answered';
    return $answer;
}

sub refusal {
    my ($mock, %options) = @_;
    my $kafka = client(brokers => $mock->bootstrap, %options);
    $kafka->connect(sub { });
    wait_until { errors($kafka) } 'an error';
    my ($error) = errors($kafka);
    $kafka->close;
    return $error;
}

subtest 'an authority of its own' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2, tls => 1);
    my $ca   = $mock->ca_certificate;
    like $ca, qr/\A-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+\/=\n]+-----END CERTIFICATE-----\n\z/, 'PEM';
    is delivers($mock, tls_ca_file => $ca), 'delivered', 'who trusts it comes in';
    is delivers($mock, tls_ca_file => $ca, brokers => $mock->bootstrap =~ s/127\.0\.0\.1/localhost/gr), 'delivered', 'by name, too';
    like refusal($mock, tls => 1), qr/TLS: .*certificate/, 'who does not stays out';
    isnt +EV::Kafka::Mock->new(tls => 1)->ca_certificate, $ca, 'each cluster has another one';
    is +EV::Kafka::Mock->new->ca_certificate, undef, 'or none';
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    my $ended;
    $conn->on_error(sub      { $ended = "@_" });
    $conn->on_disconnect(sub { $ended //= 'closed' });
    $conn->connect('127.0.0.1', port_of($mock, 0), 10);
    wait_until { $ended } 'who speaks no TLS';
    ok !$conn->connected, 'is not heard';
};

subtest 'large requests and answers' => sub {
    my $mock  = EV::Kafka::Mock->new(tls => 1);
    $mock->create_topic(t => 1);
    my $value = join ',', 1 .. 100_000;
    my $kafka = connected(brokers => $mock->bootstrap, tls => 1, tls_ca_file => $mock->ca_certificate);
    my ($delivered, @received) = (0);
    $kafka->produce(t => 'k', "$_ $value", sub { $delivered++ unless $_[1] }) for 1 .. 5;
    wait_until { $delivered == 5 } 'delivered';
    my $consumer;
    $consumer = connected(brokers => $mock->bootstrap, tls => 1, tls_ca_file => $mock->ca_certificate,
        on_message => sub { push @received, $_[4] });
    $consumer->assign([{ topic => 't', partition => 0, offset => 0 }]);
    $consumer->consume;
    wait_until { @received == 5 } 'and read';
    is_deeply \@received, [map {"$_ $value"} 1 .. 5], 'as they were';
};

subtest 'given certificates' => sub {
    open my $in, '<', "$CERTIFICATES/ec-pkcs8.pem" or die $!;
    my $key  = do { local $/; <$in> };
    my $mock = EV::Kafka::Mock->new(tls => 1, tls_cert_file => "$CERTIFICATES/ec.pem", tls_key_file => $key);
    is delivers($mock, tls_skip_verify => 1), 'delivered', 'a file and a text';
    like refusal($mock, tls => 1), qr/TLS: .*certificate/, 'nobody trusts it';
    croaks_like sub { $mock->client_certificate('alice') }, qr/\Aclient_certificate: the cluster has no authority of its own/;
    is $mock->ca_certificate, undef, 'there is no other';
};

subtest 'clients that have to have one' => sub {
    my $mock  = EV::Kafka::Mock->new(tls => 1, tls_client_auth => 1);
    my $other = EV::Kafka::Mock->new(tls => 1);
    my @trust = (tls => 1, tls_ca_file => $mock->ca_certificate);
    is delivers($mock, @trust, tls_cert_file => $mock->client_certificate('alice')), 'delivered', 'its own';
    ok refusal($mock, @trust), 'none';
    ok refusal($mock, @trust, tls_cert_file => $other->client_certificate('alice')), 'a stranger\'s';
    $mock = EV::Kafka::Mock->new(tls => 1, tls_client_ca_file => $other->ca_certificate);
    is delivers($mock, tls_ca_file => $mock->ca_certificate, tls_cert_file => $other->client_certificate('alice')), 'delivered',
        'another authority\'s';
};

subtest 'with SASL' => sub {
    my $mock = EV::Kafka::Mock->new(tls => 1, sasl => { users => { alice => 'secret' } });
    my %sasl = (mechanism => 'PLAIN', username => 'alice', password => 'secret');
    is delivers($mock, tls_ca_file => $mock->ca_certificate, sasl => \%sasl), 'delivered', 'let in';
    like refusal($mock, tls => 1, tls_ca_file => $mock->ca_certificate, sasl => { %sasl, password => 'x' }), qr/Authentication failed/, 'or not';
};

subtest 'a broker that goes and comes back' => sub {
    my $mock  = EV::Kafka::Mock->new(tls => 1);
    my $kafka = connected(brokers => $mock->bootstrap, tls => 1, tls_ca_file => $mock->ca_certificate);
    $mock->stop_broker(0);
    my $delivered;
    $kafka->produce(t => 'k', 'v', sub { $delivered = $_[1] // 'delivered' });
    turns;
    $mock->start_broker(0);
    wait_until { $delivered } 'answered';
    is $delivered, 'delivered', 'behind it';
};

subtest 'the options' => sub {
    croaks_like sub { EV::Kafka::Mock->new(tls_cert_file => 'x') },              qr/\Anew: tls_cert_file needs tls => 1 at \Q$0\E/;
    croaks_like sub { EV::Kafka::Mock->new(tls => 1, tls_cert_file => '/no/x') }, qr{\Anew: cannot read tls_cert_file /no/x: };
    croaks_like sub { EV::Kafka::Mock->new(tls => 1, tls_cert_file => "$CERTIFICATES/ec-pkcs8.pem") }, qr/\Anew: TLS: no certificate in/;
    croaks_like sub { EV::Kafka::Mock->new(tls => 1, tls_cert_file => "$CERTIFICATES/ec.pem") },       qr/\Anew: TLS: no private key in/;
    croaks_like sub { EV::Kafka::Mock->new(tls => 1, tls_cert_file => "$CERTIFICATES/ec.pem", tls_key_file => "$CERTIFICATES/rsa-pkcs8.pem") },
        qr/\Anew: TLS: /;
};

done_testing;
