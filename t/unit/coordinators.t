use strict;
use warnings;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Coordinators;
use EV::Kafka::Outbox;
use HandClock;
use Scalar::Util qw(weaken);
use Test::More;

# Who looks after a group, and requests that wait there, in a cluster of connections that answer
# what they are told to.

{
    package Conn;
    sub new       { my ($class, $name) = @_; return bless { name => $name, connected => 1, asked => [] }, $class }
    sub connected { return $_[0]{connected} }
    sub _patience { my ($self, $seconds) = @_; $self->{patience} = $seconds if defined $seconds; return }
    sub find_coordinator { my ($self, $key, $answered) = @_; push @{ $self->{asked} }, $answered; return }

    package Cluster;
    sub new            { my ($class) = @_; return bless { conn => {}, opened => [], lost => [], control => Conn->new('control') }, $class }
    sub control_conn   { return $_[0]{control} }
    sub answer_timeout { return 10 }
    sub brokers        { return @{ $_[0]{brokers} || [] } }
    sub add_broker     { my ($self, $node_id, $host, $port) = @_; return $port > 0 }
    sub refresh        { $_[0]{refreshed}++; return }
    sub conn           { my ($self, $purpose, $node_id) = @_; return $self->{conn}{"$purpose:$node_id"} ||= Conn->new("$purpose:$node_id") }
    sub ready_conn     { my ($self, @link) = @_; my $conn = $self->conn(@link); return $conn->connected ? $conn : undef }
    sub open           { my ($self, @link) = @_; push @{ $self->{opened} }, "@link"; return }
    sub close_link     { my ($self, @link) = @_; push @{ $self->{closed} }, "@link"; return }
    sub request_failed { my ($self, @link) = @_; push @{ $self->{lost} }, "@link"; return }
    sub on_broker {
        my ($self, $purpose, $node_id, $op) = @_;
        my $conn = $self->ready_conn($purpose, $node_id);
        return $conn ? $op->{run}->($op, $conn) : $op->{cb}->(undef, 'no connection to leader');
    }
}

# { coordinators, cluster, clock, notices }
sub client {
    my (%options) = @_;
    my $clock = HandClock->new;
    my $self  = { clock => $clock, cluster => Cluster->new, notices => [] };
    my $notices = $self->{notices};
    my $options = { request_timeout => 30, on_notice => sub { push @$notices, $_[0] }, %options };
    $self->{outbox} = EV::Kafka::Outbox->new($clock, $options, sub { 0 });
    $self->{coordinators} = EV::Kafka::Coordinators->new(loop => $clock, outbox => $self->{outbox}, options => $options, cluster => $self->{cluster});
    return $self;
}

# Asks the coordinator of g; { sent => [[connection, answered]], done => [text of the error or ok] }.
sub ask {
    my ($self, %about) = @_;
    my $asked = { sent => [], done => [] };
    $asked->{request} = $self->{coordinators}->request(group => 'g', name => 'Ask', %about,
        send => sub { my ($conn, $answered) = @_; push @{ $asked->{sent} }, [$conn->{name}, $answered] },
        done => sub { push @{ $asked->{done} }, $_[1] ? $_[1]->text : 'ok' });
    return $asked;
}

sub answer { my ($asked, $code) = @_; return $asked->{sent}[-1][1]->({ error_code => $code }) }

sub found {
    my ($self, $node_id, %more) = @_;
    my $answered = shift @{ $self->{cluster}{control}{asked} };
    return $answered->({ error_code => 0, node_id => $node_id, host => 'h', port => 1, %more });
}

subtest 'it is found first' => sub {
    my $client = client();
    my @asked  = map { ask($client) } 1, 2;
    is_deeply [map { scalar @{ $_->{sent} } } @asked], [0, 0], 'nothing is sent before';
    is scalar @{ $client->{cluster}{control}{asked} }, 1, 'one look-up for all who wait';
    found($client, 7);
    is_deeply [map { $_->{sent}[0][0] } @asked], ['group:7', 'group:7'], 'a connection of its own';
    is $client->{cluster}->conn(group => 7)->{patience}, 30, 'on which it has some seconds';
    answer($_, 0) for @asked;
    is_deeply [map { @{ $_->{done} } } @asked], ['ok', 'ok'], 'each is told';
    is $client->{coordinators}->node_id(group => 'g'), 7, 'the next one need not look';
    ask($client);
    is scalar @{ $client->{cluster}{control}{asked} }, 0, 'and does not';
};

subtest 'it is another one' => sub {
    my $client = client();
    my $asked  = ask($client);
    found($client, 7);
    answer($asked, 14);
    $client->{clock}->wind(1);
    is $asked->{sent}[1][0], 'group:7', 'not when it is not ready yet';
    answer($asked, 16);
    is $client->{coordinators}->node_id(group => 'g'), undef, 'when it says so';
    $client->{clock}->wind(1);
    found($client, 8);
    is $asked->{sent}[2][0], 'group:8', 'the request follows';
    $client->{cluster}->conn(group => 8)->{connected} = 0;
    $asked->{sent}[2][1]->(undef, 'disconnected');
    is_deeply $client->{cluster}{lost}, ['group 8'], 'a connection that ends with it was needed';
    $client->{clock}->wind(1);
    found($client, 9);
    answer($asked, 0);
    is_deeply $asked->{done}, ['ok'], 'until it is answered';
};

subtest 'it is out of reach' => sub {
    my $client = client();
    my $asked  = ask($client);
    $client->{cluster}->conn(group => 7)->{connected} = 0;
    for (1 .. 3) {
        found($client, 7);
        is_deeply $asked->{sent}, [], 'nothing is sent';
        $client->{clock}->wind(2);
    }
    $client->{cluster}->conn(group => 7)->{connected} = 1;
    found($client, 7);
    is scalar @{ $asked->{sent} }, 1, 'before it answers';
};

subtest 'it is never found' => sub {
    my $client = client();
    my @asked  = map { ask($client) } 1, 2;
    shift(@{ $client->{cluster}{control}{asked} })->({ error_code => 30 });
    is_deeply [map { @{ $_->{done} } } @asked], [('Ask: FindCoordinator: GROUP_AUTHORIZATION_FAILED (code 30)') x 2], 'all are told why';
    my $asked = ask($client);
    found($client, 7, port => 0);
    is_deeply $asked->{done}, ['Ask: FindCoordinator: broker 7 at h has no port 0'], 'as for a broker that cannot be';
};

subtest 'it takes long' => sub {
    my $client = client();
    my $asked  = ask($client, patience => 12);
    $client->{cluster}{brokers} = [1];
    for (1 .. 8) {
        for my $conn ($client->{cluster}{control}, $client->{cluster}->conn(main => 1)) {
            $_->({ error_code => 15 }) for splice @{ $conn->{asked} };
        }
        $client->{clock}->wind(1);
    }
    is_deeply $client->{notices}, ["FindCoordinator for group 'g': COORDINATOR_NOT_AVAILABLE (code 15); it is tried again"],
        'that is told, once';
    $client->{clock}->wind(4);
    is_deeply $asked->{done}, ['Ask: FindCoordinator: COORDINATOR_NOT_AVAILABLE (code 15); given up after 12 s'],
        'who has waited long enough hears why';
};

subtest 'the seconds of one try' => sub {
    my $coordinators = client()->{coordinators};
    is_deeply [map { $coordinators->patience($_) } undef, 5, 0.1, 60], [30, 5, 1, 30], 'are not more than request_timeout, nor too few';
    is client(request_timeout => 0)->{coordinators}->patience, 30, 'nor for ever';
    my $client = client();
    ask($client, patience => 12);
    found($client, 7);
    is $client->{cluster}->conn(group => 7)->{patience}, 4, 'a request has patience with several connections';
    ask($client, patience => 12, op_patience => 9);
    is $client->{cluster}->conn(group => 7)->{patience}, 9, 'unless it says otherwise';
};

subtest 'a request that waits for other members' => sub {
    my $client = client();
    my $coordinators = $client->{coordinators};
    my $waits  = ask($client, blocks => 1);
    is $coordinators->is_blocked(group => 'g'), 0, 'it does not wait before it was sent';
    found($client, 7);
    is $coordinators->is_blocked(group => 'g'), 1, 'but then';
    is_deeply $client->{cluster}{opened}, ['main 7'], 'the other connection is opened beforehand';
    is ask($client)->{sent}[0][0], 'main:7', 'for what is said meanwhile';
    is $coordinators->ready_conn(group => 'g'), $client->{cluster}->conn(main => 7), 'whoever says it';
    my $next = ask($client, blocks => 1);
    answer($waits, 27);
    is $coordinators->is_blocked(group => 'g'), 1, 'the next one waits as well';
    $next->{request}->end;
    is $coordinators->is_blocked(group => 'g'), 1, 'also when nobody does so with it';
    answer($next, 0);
    is $coordinators->is_blocked(group => 'g'), 0, 'until the broker answers';
    is ask($client)->{sent}[0][0], 'group:7', 'its connection is free again';
    ask($client, blocks => 1);
    $coordinators->close_blocked(group => 'g');
    is_deeply $client->{cluster}{closed}, ['group 7'], 'who leaves closes it';
};

subtest 'any broker' => sub {
    my $client = client();
    my @sent;
    my $request = $client->{coordinators}->any(name => 'Ask', send => sub { push @sent, $_[0]{name}; $_[1]->({ error_code => 7 }) }, done => sub { });
    is_deeply \@sent, ['control'], 'is the one that has answered last';
    $client->{clock}->wind(0.2);
    is $client->{cluster}{refreshed}, 1, 'and then others, as far as they are known';
    $client->{cluster}{brokers} = [1, 2];
    $client->{clock}->wind(5);
    is_deeply { map { $_ => 1 } @sent }, { control => 1, 'main:1' => 1, 'main:2' => 1 }, 'in turn';
    $request->end;
    is $client->{clock}->waiting, 0, 'until it ends';
};

subtest 'close' => sub {
    my $client = client();
    my @told;
    $client->{coordinators}->ask(group => 'g', { run => sub { }, cb => sub { push @told, $_[1]->text } });
    my $asked = ask($client);
    $client->{coordinators}->close('client closed');
    is_deeply [\@told, $asked->{done}], [['client closed'], []], 'operations are told, requests end without a word';
    $client->{coordinators}->ask(group => 'g', { run => sub { }, cb => sub { push @told, $_[1]->text } });
    is_deeply \@told, [('client closed') x 2], 'so is what comes late';
    is $client->{clock}->waiting, 0, 'nothing waits';
    weaken(my $weak = $client->{coordinators});
    undef $client;
    undef $asked;
    is $weak, undef, 'and nothing holds them';
};

done_testing;
