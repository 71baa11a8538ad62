use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest;
use Test::More;
use TestKafka qw(wait_until turns connected);
use Time::HiRes ();

use constant LONG_MS => 200;

sub cluster {
    my $mock = EV::Kafka::Mock->new(@_);
    $mock->create_topic(t => 1);
    return $mock;
}

sub connection_as {
    my ($mock, $client_id) = @_;
    my $conn = connection($mock);
    $conn->client_id($client_id);
    return $conn;
}

sub seconds_of {
    my ($code) = @_;
    my $began = Time::HiRes::time();
    $code->();
    return Time::HiRes::time() - $began;
}

subtest 'a client is told to wait, and then not listened to' => sub {
    my $mock = cluster();
    is $mock->quota(client_id => 'bulk', throttle_time_ms => LONG_MS), $mock, 'quota';
    my $conn = connection_as($mock, 'bulk');
    my ($result) = answer($conn, produce => 't', 0, 'k', 'v');
    is $result->{throttle_time_ms}, LONG_MS, 'told at once';
    is $mock->high_watermark('t', 0), 1, 'and carried out';
    my $deaf = seconds_of(sub { answer($conn, metadata => ['t']) });
    cmp_ok $deaf, '>=', LONG_MS / 1000 - 0.05, 'what is sent too early waits';
    my $heard = answer($conn, metadata => ['t']);
    ok $heard, 'what is sent then is answered';
};

subtest 'whose requests' => sub {
    my $mock = cluster();
    $mock->quota(client_id => 'bulk', throttle_time_ms => 1);
    $mock->quota(client_id => 'meta', api => 'Metadata', throttle_time_ms => 2);
    my $told = sub {
        my ($client_id, @ask) = @_;
        my ($result) = answer(connection_as($mock, $client_id), @ask);
        return $result->{throttle_time_ms};
    };
    my @produce = (produce => 't', 0, 'k', 'v');
    my @fetch   = (fetch => 't', 0, 0);
    is $told->(bulk => @produce), 1, 'a Produce of the client id';
    is $told->(bulk => @fetch),   1, 'a Fetch';
    is $told->(bulk => metadata => ['t']), 0, 'nothing else';
    is $told->(meta => metadata => ['t']), 2, 'another API, if it is named';
    is $told->(meta => @produce), 0, 'and nothing but that';
    is $told->(other => @produce), 0, 'another client id';
    $mock->quota(throttle_time_ms => 3);
    is $told->(other => @produce), 3, 'everybody';
    is $told->(bulk => @produce),  1, 'who has no quota of its own';
    $mock->quota(throttle_time_ms => 0);
    is $told->(other => @produce), 0, 'and nobody again';
};

subtest 'a client waits' => sub {
    my $mock = cluster();
    $mock->quota(client_id => 'slow', throttle_time_ms => LONG_MS);
    my $kafka = connected(brokers => $mock->bootstrap, client_id => 'slow');
    my @delivered;
    my $took = seconds_of(sub {
        for my $value (1 .. 3) {
            $kafka->produce(t => 'k', $value, { partition => 0 }, sub { push @delivered, $_[1] // 'delivered' });
            wait_until { @delivered == $value } "message $value";
        }
    });
    is_deeply \@delivered, [('delivered') x 3], 'all are delivered';
    cmp_ok $took, '>=', 2 * LONG_MS / 1000 - 0.05, 'in their time';
};

subtest 'the arguments' => sub {
    my $mock = cluster();
    croaks_like sub { $mock->quota(client => 'x') },            qr/\Aquota: unknown option\(s\): client at \Q$0\E/;
    croaks_like sub { $mock->quota(throttle_time_ms => -1) },   qr/\Aquota: throttle_time_ms cannot be -1/;
    croaks_like sub { $mock->quota(api => 'Producing') },       qr/unknown API 'Producing'/;
};

done_testing;
