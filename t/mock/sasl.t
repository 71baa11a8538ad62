use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest;
use Test::More;
use TestKafka qw(wait_until turns client connected errors log_values);

# Tokens and passwords over connections that are not encrypted: on purpose.
my %OPEN = (tls => 0);
$SIG{__WARN__} = sub { warn @_ unless $_[0] =~ /configured without TLS/ };

sub cluster {
    my (%sasl) = @_;
    return EV::Kafka::Mock->new(sasl => { users => { alice => 'secret', 'a=b,c' => 'other' }, tokens => { t0ken => 'bob' }, %sasl });
}

sub delivers {
    my ($mock, %sasl) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, %OPEN, sasl => \%sasl);
    my $answer;
    $kafka->produce(t => 'k', 'v', sub { $answer = $_[1] // 'delivered' });
    wait_until { $answer } 'answered';
    return $answer;
}

# What a client is told that is not let in.
sub refusal {
    my ($mock, @sasl) = @_;
    my $kafka = client(brokers => $mock->bootstrap, %OPEN, @sasl ? (sasl => {@sasl}) : ());
    $kafka->connect(sub { });
    wait_until { errors($kafka) } 'an error';
    my ($error) = errors($kafka);
    $kafka->close;
    return $error;
}

for my $mechanism (qw(PLAIN SCRAM-SHA-256 SCRAM-SHA-512)) {
    subtest $mechanism => sub {
        my $mock = cluster();
        is delivers($mock, mechanism => $mechanism, username => 'alice', password => 'secret'), 'delivered', 'let in';
        is delivers($mock, mechanism => $mechanism, username => 'a=b,c', password => 'other'), 'delivered', 'a name with commas';
        like refusal($mock, mechanism => $mechanism, username => 'alice', password => 'wrong'), qr/Authentication failed/i, 'a wrong password';
        like refusal($mock, mechanism => $mechanism, username => 'carol', password => 'secret'), qr/Authentication failed/i, 'a user that there is not';
        is $mock->request_count('Produce'), 2, 'nothing is taken from them';
    };
}

subtest OAUTHBEARER => sub {
    my $mock = cluster();
    is delivers($mock, mechanism => 'OAUTHBEARER', token => 't0ken'), 'delivered', 'let in';
    is delivers($mock, mechanism => 'OAUTHBEARER', token => sub { $_[0]->('t0ken') }, extensions => { a => 'b' }), 'delivered', 'with extensions';
    like refusal($mock, mechanism => 'OAUTHBEARER', token => 'expired'), qr/invalid_token/, 'another token';
};

subtest 'which mechanisms' => sub {
    my $mock = cluster(mechanisms => ['SCRAM-SHA-512']);
    like refusal($mock, mechanism => 'PLAIN', username => 'alice', password => 'secret'),
        qr/mechanism not supported \(the broker has SCRAM-SHA-512\)/, 'one that is not enabled';
    $mock = EV::Kafka::Mock->new(sasl => { tokens => ['t0ken'] });
    like refusal($mock, mechanism => 'PLAIN', username => 'alice', password => 'secret'), qr/the broker has OAUTHBEARER\)/,
        'tokens alone enable no passwords';
    $mock = EV::Kafka::Mock->new;
    like refusal($mock, mechanism => 'PLAIN', username => 'alice', password => 'secret'), qr/ILLEGAL_SASL_STATE|SASL/, 'none at all';
};

subtest 'who says nothing is not answered' => sub {
    my $mock = cluster();
    my $conn = connection($mock);
    my ($result, $error) = answer($conn, metadata => ['t']);
    ok !defined $result && $error, 'the connection is closed';
    ($result, $error) = answer(connection(EV::Kafka::Mock->new), metadata => ['t']);
    ok $result, 'where nobody has to say who he is he is answered';
};

subtest 'sessions end' => sub {
    my $mock  = cluster(session_lifetime_ms => 400);
    my $kafka = connected(brokers => $mock->bootstrap, %OPEN,
        sasl => { mechanism => 'SCRAM-SHA-256', username => 'alice', password => 'secret' });
    my $before = $mock->request_count('SaslAuthenticate');
    cmp_ok $before, '>=', 2, 'two messages of SCRAM';
    my $is_busy = EV::timer 0, 0.02, sub { $kafka->produce(t => 'k', 'v') };
    wait_until { $mock->request_count('SaslAuthenticate') >= $before + 2 } 'authenticated again';
    undef $is_busy;
    is_deeply [errors($kafka)], [], 'without a word';
};

subtest 'users have rights of their own' => sub {
    my $mock = cluster();
    $mock->deny(topic => 't', operation => 'Write', user => 'alice');
    like delivers($mock, mechanism => 'PLAIN', username => 'alice', password => 'secret'), qr/TOPIC_AUTHORIZATION_FAILED/, 'alice may not';
    is delivers($mock, mechanism => 'OAUTHBEARER', token => 't0ken'), 'delivered', 'bob may';
};

subtest 'faults' => sub {
    my $mock = cluster();
    $mock->fault(api => 'SaslAuthenticate', error => 58);
    like refusal($mock, mechanism => 'PLAIN', username => 'alice', password => 'secret'), qr/SASL_AUTHENTICATION_FAILED/, 'of SaslAuthenticate';
    is delivers($mock, mechanism => 'PLAIN', username => 'alice', password => 'secret'), 'delivered', 'once';
};

subtest 'the options' => sub {
    croaks_like sub { EV::Kafka::Mock->new(sasl => 'PLAIN') },                   qr/\Anew: sasl must be a hashref at \Q$0\E/;
    croaks_like sub { EV::Kafka::Mock->new(sasl => { user => 'x' }) },           qr/\Anew: unknown option\(s\): user/;
    croaks_like sub { EV::Kafka::Mock->new(sasl => { mechanisms => ['X'] }) },   qr/\Anew: unknown SASL mechanism 'X'/;
    croaks_like sub { EV::Kafka::Mock->new(sasl => { session_lifetime_ms => -1 }) }, qr/session_lifetime_ms must not be below 0/;
};

done_testing;
