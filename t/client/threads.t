# New threads get copies of all that a program has; what has sockets belongs to the thread that made it.
use strict;
use warnings;
use Config;
use Test::More;

BEGIN {
    plan skip_all => 'this perl has no threads' unless $Config{useithreads};
}
use threads;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Inside;
use TestKafka;

{ package My::Conn;   our @ISA = 'EV::Kafka::Conn' }
{ package My::Client; our @ISA = 'EV::Kafka::Client' }

my $mock = EV::Kafka::Mock->new(brokers => 2);
$mock->create_topic(t => 2);

# What methods say in a new thread.
sub said_in_thread {
    my (@calls) = @_;
    return threads->create({ context => 'list' }, sub {
        return map {
            my ($object, $method, @arguments) = @$_;
            eval { $object->$method(@arguments); 1 } ? 'lives' : $@;
        } @calls;
    })->join;
}

my $timer = EV::timer 3600, 0, sub { };
my $loop  = EV::Loop->new;

for my $state (qw(new queued connecting connected consuming closed)) {
    my $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 10_000, linger_ms => 3_600_000);
    weaken(my $weak = $kafka);
    my ($delivered, $polled);
    $kafka->produce('t', 'k', 'v', sub { $delivered = $_[1] // 'delivered' }) if $state =~ /queued|con/;
    $kafka->connect if $state =~ /con|closed/;
    wait_until { Inside::is_connected($kafka) } 'connecting' if $state =~ /connected|consuming|closed/;
    if ($state eq 'consuming') {
        $kafka->assign([{ topic => 't' }]);
        $kafka->poll(sub { $polled++ });
    }
    $kafka->close if $state eq 'closed';
    like $_, qr/\AEV::Kafka: the client belongs to another thread at \Q$0\E /, "$state: a thread is told so"
        for said_in_thread([$kafka, 'connect'], [$kafka, produce => 't', 'k', 'v'], [$kafka, produce => 't', 'k', 'v', {}], [$weak, 'flush'], [$kafka, 'close']);
    if ($state =~ /con/) {
        $kafka->flush;
        wait_until { $delivered } "$state: delivery";
        is $delivered, 'delivered', "$state: the client goes on where it was made";
    }
    undef $kafka;
    is $weak, undef, "$state: and ends there";
}

{
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    my $own  = EV::Kafka::Conn::_new('My::Conn', $loop);
    my ($broker) = $mock->brokers;
    $conn->connect($broker->{host}, $broker->{port}, 10);
    wait_until { $conn->connected } 'connecting';
    like $_, qr/\AEV::Kafka::Conn: connection belongs to another thread at /, 'a connection says so'
        for said_in_thread([$conn, 'state'], [$conn, metadata => [], sub { }], [$own, 'state'], [$own, connect => 'h', 1]);
    my $answered;
    $conn->metadata([], sub { $answered++ });
    wait_until { $answered } 'the answer';
    is $own->state, 0, 'and lives on where it was made';
    like +(said_in_thread([$mock, 'topics']))[0], qr/another thread/, 'so does a cluster';
}

subtest 'threads that are made in callbacks' => sub {
    my ($got, @said) = 0;
    my $kafka = client(brokers => $mock->bootstrap, on_message => sub {
        push @said, threads->create(sub { 'thread' })->join if $got++ < 2;
    });
    my $done;
    $kafka->connect(sub {
        push @said, threads->create(sub { 'thread' })->join;
        $kafka->produce('t', undef, "v$_", { partition => 0 }, sub { push @said, threads->create(sub { 'thread' })->join if !@said % 2 }) for 1 .. 3;
        $kafka->flush(sub {
            $kafka->assign([{ topic => 't', partition => 0 }]);
            $kafka->poll(sub { $done++ });
        });
    });
    wait_until { $done } 'the poll';
    cmp_ok scalar(@said), '>=', 3, 'they run';
    cmp_ok $got, '>=', 3, 'and the client is not disturbed';
};

like $_, qr/\AEV::Kafka: EV belongs to the thread that loaded it, not to this one at /, 'a thread can have none of its own'
    for said_in_thread(['EV::Kafka', new => (brokers => '127.0.0.1:1')], ['EV::Kafka::Mock', 'new'], ['EV::Kafka::Conn', '_new', undef]);

ok $timer->is_active, "the program's own watchers are as they were";
my $copy = threads->create(sub { ref($timer) =~ /EV/ || ref($loop) =~ /EV/ ? 'copied' : 'not copied' })->join;
is $copy, 'not copied', 'threads have none of them';

done_testing;
