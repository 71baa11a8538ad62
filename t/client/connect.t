use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use IO::Socket::INET;
use Inside;
use ScriptedBroker;
use TestKafka;

# An address at which nobody listens.
sub dead_address {
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $!;
    return '127.0.0.1:' . $socket->sockport;
}

subtest 'connect' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 3);
    my ($on_connect, @metas) = (0);
    my $kafka = client(brokers => $mock->bootstrap, on_connect => sub { is scalar(@_), 0, 'no arguments'; $on_connect++ });
    $kafka->connect(sub { push @metas, $_[0] });
    $kafka->connect(sub { push @metas, $_[0] });
    is scalar(@metas), 0, 'not before the loop runs';
    wait_until { @metas == 2 } 'both callbacks';
    my $meta = $metas[0];
    is_deeply [map { $_->{node_id} } @{ $meta->{brokers} }], [0, 1], 'brokers';
    is_deeply [map { $_->{name} } @{ $meta->{topics} }], ['t'], 'topics';
    is scalar(@{ $meta->{topics}[0]{partitions} }), 3, 'partitions';
    is $mock->request_count('Metadata'), 1, 'a second connect while connecting asks nothing';
    $kafka->connect(sub { push @metas, $_[0] });
    is scalar(@metas), 3, 'on a connected client the callback is called at once';
    is $on_connect, 1, 'on_connect is called once';
    my $cfg = $kafka->{cfg};
    ok $cfg->{bootstrap_conn}->connected, 'bootstrap_conn is a ready connection';
    is_deeply $cfg->{leaders}, { 't:0' => 0, 't:1' => 1, 't:2' => 0 }, 'leaders';
    is_deeply [sort keys %{ $cfg->{broker_map} }], [0, 1], 'broker_map';
    is $cfg->{meta}{topics}[0]{name}, 't', 'meta';
    is_deeply [errors($kafka)], [], 'no errors';
};

subtest 'the client id reaches the broker' => sub {
    my $broker = ScriptedBroker->new;
    my $kafka  = connected(brokers => $broker->address, client_id => 'me');
    is $broker->{requests}[0]{client_id}, 'me', 'client id';
};

subtest 'a dead bootstrap broker is skipped silently' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => join ',', dead_address(), dead_address(), $mock->bootstrap);
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

subtest 'so is one that closes the connection, before or after the handshake' => sub {
    my $rude   = ScriptedBroker->new(on_request => sub { $_[0]->drop($_[1]); undef });
    my $mock   = EV::Kafka::Mock->new;
    my $kafka  = connected(brokers => join ',', $rude->address, $mock->bootstrap);
    is scalar($rude->requests('Metadata')), 1, 'the first one was asked';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';

    $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->fault(api => 'ApiVersions', broker => 0, drop => 1);
    $kafka = connected(brokers => $mock->bootstrap);
    is_deeply [errors($kafka)], [], 'nor here';
};

subtest 'all bootstrap brokers dead' => sub {
    my @dead  = (dead_address(), dead_address());
    my $calls = 0;
    my $kafka = client(brokers => join ',', @dead);
    $kafka->connect(sub { $calls++ });
    wait_until { errors($kafka) } 'on_error';
    wait_until { Inside::bootstrap_tries($kafka) >= 3 } 'more tries';
    is scalar(errors($kafka)), 1, 'one on_error, however often it is tried again';
    like +(errors($kafka))[0], qr/\Q$dead[0]\E.*\Q$dead[1]\E/, 'which names them';
    is $calls, 0, 'the callback waits';

    $kafka->connect;
    wait_until { errors($kafka) == 2 } 'another report';
    pass 'another connect tries at once and reports again';

    my ($port) = $dead[1] =~ /:(\d+)/;
    my $broker = ScriptedBroker->can('new') && do {
        my $late = bless { topics => { t => [0] }, node_id => 0, requests => [], connections => {}, port => $port,
            on_request => sub { } }, 'ScriptedBroker';
        $late->listen;
        $late;
    };
    wait_until { $calls } 'connecting at last';
    is $calls, 1, 'a broker that comes up is found, and the callback called';
};

subtest 'on_error dies by default' => sub {
    my $kafka = EV::Kafka->new(brokers => dead_address());
    my $died;
    local $EV::DIED = sub { $died = $@ };
    $kafka->connect;
    wait_until { $died } 'the die';
    like $died, qr/^EV::Kafka: /, 'and the die reaches $EV::DIED';
};

subtest 'when no known broker answers, the bootstrap list is asked again' => sub {
    my $old = ScriptedBroker->new(topics => { t => [0] });
    my $new = ScriptedBroker->new(topics => { t => [0] });
    # The first cluster is behind an address that later leads to another one.
    my $front = ScriptedBroker->new(on_request => sub { $old->metadata });
    my $kafka = connected(brokers => $front->address);
    is $kafka->{cfg}{broker_map}{0}{port}, $old->{port}, 'the broker behind the front';
    $front->{on_request} = sub { $new->metadata };
    $old->stop;
    $front->drop_all;
    wait_until { !$kafka->{cfg}{bootstrap_conn}->connected } 'the loss';
    Inside::refresh($kafka);
    wait_until { $kafka->{cfg}{broker_map}{0}{port} == $new->{port} } 'the new cluster';
    pass 'the new cluster is found';
};

subtest 'REBOOTSTRAP_REQUIRED' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $conns = $mock->request_count('ApiVersions');
    $mock->fault(api => 'Metadata', error => 129);
    $mock->create_topic('x');
    Inside::refresh($kafka);
    wait_until { defined $kafka->{cfg}{leaders}{'x:0'} } 'metadata';
    is $mock->request_count('ApiVersions') - $conns, 1, 'over a new connection';
    is_deeply [errors($kafka)], [], 'silently';
};

subtest 'a loop of its own' => sub {
    my $loop  = EV::Loop->new;
    my $mock  = EV::Kafka::Mock->new(loop => $loop);
    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, loop => $loop, linger_ms => 0);
    my $offset;
    my $guard = $loop->timer(30, 0, sub { $loop->break });
    $kafka->connect(sub {
        $kafka->produce('t', 'k', 'v', sub { $offset = produced_offset($_[0]); $loop->break });
    });
    $loop->run;
    is $offset, 0, 'the client lives on the loop it was given';
};

done_testing;
