use strict;
use warnings;

use lib 't/lib';

use Config;
use File::Temp qw(tempdir);
use Test::More;

use EV;
use EV::Kafka;
use IO::Socket::IP;

use ConnPeer;
use ScriptedBroker;
use TestKafka;

# Names with several addresses, of which the first accepts connections and is no Kafka
# broker, or none that answers. What resolves them is put in the place of the system's own.
plan skip_all => 'needs a Linux loader' if $^O ne 'linux';
if (!$ENV{EV_KAFKA_TEST_NAMES}) {
    my $library = tempdir(CLEANUP => 1) . '/names.so';
    system "$Config{cc} -shared -fPIC -o $library t/lib/names.c -ldl" and die 'names.c does not compile';
    local @ENV{qw(EV_KAFKA_TEST_NAMES LD_PRELOAD)} = (1, join ':', (grep { defined } $ENV{LD_PRELOAD}), $library);
    exit system($^X, (map { "-I$_" } grep { !ref } @INC), $0) >> 8;
}

# Somebody at the first address who is no broker: what becomes of a connection to it.
my %NO_BROKER = (
    'closes'            => sub { delete $_[0]{socket} },
    'answers HTTP'      => sub { syswrite $_[0]{socket}, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"; delete $_[0]{socket} },
    'answers HTTP and stays' => sub { syswrite $_[0]{socket}, "HTTP/1.1 400 Bad Request\r\n\r\n" },
    'says nonsense'     => sub { syswrite $_[0]{socket}, pack 'N N n', 6, 99, 0 },
);

sub no_broker {
    my ($behaviour, $address, $port) = @_;
    my $self = { accepted => 0, kept => [] };
    my $listener = $self->{listener} = IO::Socket::IP->new(LocalHost => $address, LocalPort => $port, Listen => 10,
        ReuseAddr => 1, Blocking => 0) or die "listen: $@";
    $self->{accepting} = EV::io $listener, EV::READ, sub {
        my $socket = $listener->accept or return;
        $self->{accepted}++;
        my $connection = { socket => $socket };
        push @{ $self->{kept} }, $connection;
        $connection->{reading} = EV::io $socket, EV::READ, sub {
            my $got = sysread $socket, my $bytes, 1 << 16;
            delete $connection->{reading};
            undef $socket;
            $behaviour->($connection) if $got;
        };
    };
    return $self;
}

# A healthy broker at 127.0.0.3 that says of itself that it is at the name.
sub healthy {
    my ($name) = @_;
    my $peer = ConnPeer->new(address => '127.0.0.3', on_request => sub {
        my ($self, $request) = @_;
        my $topic = pack('n', 0) . ConnPeer::string('t') . pack('C', 0)
            . ConnPeer::array(pack 'n N N N/a* N/a*', 0, 0, 0, '', '');
        return ConnPeer::array(pack('N', 0) . ConnPeer::string($name) . pack('N n', $self->port, 0xffff))
            . pack('N', 0) . ConnPeer::array($topic) if $request->{api} == 3;
        return;
    });
    return $peer;
}

for my $what (sort keys %NO_BROKER) {
    subtest "the first address $what" => sub {
        my $healthy = healthy('three.test');
        my @others  = map { no_broker($NO_BROKER{$what}, $_, $healthy->port) } '127.0.0.1', '127.0.0.2';
        my $kafka = client(brokers => 'three.test:' . $healthy->port);
        my $meta;
        $kafka->connect(sub { $meta = shift });
        wait_until { $meta } 'connecting';
        is $meta->{brokers}[0]{host}, 'three.test', 'is passed over';
        is_deeply [map { $_->{accepted} } @others], [1, 1], 'each was tried once';
        is_deeply [errors($kafka)], [], 'without a word';
        # The broker's own connections go where the first one has found it.
        my $accepted = $healthy->{accepted};
        $kafka->produce('t', undef, 'value', { partition => 0 });
        wait_until { $healthy->{accepted} > $accepted && grep { $_->{api} == 0 } @{ $healthy->{requests} } } 'the message';
        is_deeply [map { $_->{accepted} } @others], [1, 1], 'the address that worked is tried first';
    };
}

subtest 'a connection tries the next address the next time' => sub {
    my $healthy = healthy('three.test');
    my @others  = map { no_broker($NO_BROKER{closes}, $_, $healthy->port) } '127.0.0.1', '127.0.0.2';
    my ($conn, $log) = conn();
    $conn->auto_reconnect(1, 1);
    $conn->connect('three.test', $healthy->port, 10);
    wait_until { grep { $_ eq 'connect' } @$log } 'the healthy one';
    is_deeply [map { $_->{accepted} } @others], [1, 1], 'one after the other';
    $healthy->hang_up;
    wait_until { 2 == grep { $_ eq 'connect' } @$log } 'it again';
    is_deeply [map { $_->{accepted} } @others], [1, 1], 'the one that worked comes first';
    $conn->disconnect;
};

subtest 'a handshake that is not answered' => sub {
    my $healthy = healthy('three.test');
    my @others  = map { no_broker(sub { }, $_, $healthy->port) } '127.0.0.1', '127.0.0.2';
    my ($conn, $log) = conn();
    for my $round (1, 2) {
        @$log = ();
        $conn->connect('three.test', $healthy->port, 0.1);
        wait_until { @$log == 2 } 'the timeout';
        is_deeply $log, ['error: handshake timeout', 'disconnect'], "hangs: $round";
    }
    @$log = ();
    $conn->connect('three.test', $healthy->port, 5);
    wait_until { @$log } 'the third address';
    is_deeply $log, ['connect'], 'is reached';
};

subtest 'no address is of use' => sub {
    my $healthy = healthy('three.test');
    my $port = $healthy->port;
    $healthy->stop;
    my @all   = map { no_broker($NO_BROKER{closes}, "127.0.0.$_", $port) } 1 .. 3;
    my $kafka = client(brokers => "three.test:$port");
    $kafka->connect(sub { });
    wait_until { errors($kafka) } 'the report';
    is_deeply [map { $_->{accepted} } @all], [1, 1, 1], 'comes when each was tried';
    like +(errors($kafka))[0], qr/^connect: no bootstrap broker answers: three\.test/, 'and says so';
    wait_until { $all[2]{accepted} >= 3 } 'further rounds';
    is scalar(() = errors($kafka)), 1, 'which are not told of';
};

done_testing;
