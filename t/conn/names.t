use strict;
use warnings;

use lib 't/lib';

use Config;
use File::Temp qw(tempdir);
use Test::More;

use EV;
use EV::Kafka;
use IO::Socket::IP;
use Time::HiRes qw(time);

use ConnPeer;
use TestKafka qw(wait_until turns);

# Names with several addresses, or none: what resolves them is put in the place of
# the system's own.
plan skip_all => 'needs a Linux loader' if $^O ne 'linux';
if (!$ENV{EV_KAFKA_TEST_NAMES}) {
    my $library = tempdir(CLEANUP => 1) . '/names.so';
    system "$Config{cc} -shared -fPIC -o $library t/lib/names.c -ldl" and die 'names.c does not compile';
    local @ENV{qw(EV_KAFKA_TEST_NAMES LD_PRELOAD)} = (1, join ':', (grep { defined } $ENV{LD_PRELOAD}), $library);
    exit system($^X, (map { "-I$_" } grep { !ref } @INC), $0) >> 8;
}

# Connects until it is ready or has failed: what it was told.
sub outcome {
    my ($host, $port, $timeout) = @_;
    my ($conn, $log) = conn();
    $conn->connect($host, $port, $timeout // 10);
    wait_until { @$log && $log->[-1] =~ /\A(?:connect|disconnect)\z/ } 'an outcome';
    turns;
    return $log;
}

# Somebody who listens and never accepts, with no room for another connection: who
# connects gets no answer.
sub deaf {
    my ($address, $port) = @_;
    my $listener = IO::Socket::IP->new(LocalHost => $address, LocalPort => $port, Listen => 1, ReuseAddr => 1)
        or die "listen: $@";
    my @filling = map {
        IO::Socket::IP->new(PeerHost => $address, PeerPort => $listener->sockport, Blocking => 0)
    } 1 .. 4;
    return ($listener->sockport, $listener, @filling);
}

sub has_ipv6 { !!IO::Socket::IP->new(LocalHost => '::1', Listen => 1) }

subtest 'one address' => sub {
    my $peer = ConnPeer->new;
    is_deeply outcome('twice.test', $peer->port), ['connect'], 'is connected to';
    is_deeply outcome('twice.test', free_port()), ['error: connect: Connection refused', 'disconnect'],
        'and its own reason is told when it refuses, also when it was named twice';
};

subtest 'several addresses' => sub {
    my $third = ConnPeer->new(address => '127.0.0.3');
    is_deeply outcome('three.test', $third->port), ['connect'], 'one after the other until one accepts';
    is $third->{accepted}, 1, 'once';
    my $first = ConnPeer->new(port => $third->port);
    is_deeply outcome('three.test', $third->port), ['connect'], 'and no further';
    is_deeply [$first->{accepted}, $third->{accepted}], [1, 1], 'than the first that does';
    is_deeply outcome('three.test', free_port()), ['error: connect: all addresses failed', 'disconnect'], 'all refuse';
};

subtest 'IPv6 and IPv4' => sub {
    plan skip_all => 'no ::1 on this machine' if !has_ipv6();
    my $six = ConnPeer->new(address => '::1');
    for my $name (qw(six.test six-four.test four-six.test)) {
        my $before = $six->{accepted};
        is_deeply outcome($name, $six->port), ['connect'], $name;
        is $six->{accepted}, $before + 1, 'by IPv6';
    }
    is_deeply outcome($_, $six->port), ['connect'], $_ for '::1', '[::1]';
    my $four = ConnPeer->new(port => $six->port);
    is_deeply outcome('six-four.test', $six->port), ['connect'], 'both listen';
    is $four->{accepted}, 0, 'and the first is taken';
    is_deeply outcome('four-six.test', $six->port), ['connect'], 'in the order that the system says';
    is $four->{accepted}, 1, 'the other first';
    $six->stop;
    is_deeply outcome('six-four.test', $four->port), ['connect'], 'where IPv6 refuses';
    is $four->{accepted}, 2, 'by IPv4';
    is_deeply outcome('six-four.test', free_port()), ['error: connect: all addresses failed', 'disconnect'],
        'both refuse';
};

subtest 'names without an address' => sub {
    is_deeply outcome('unknown.test', 9092), ['error: resolve: Name or service not known', 'disconnect'], 'unknown';
    is_deeply outcome('later.test', 9092), ['error: resolve: Temporary failure in name resolution', 'disconnect'],
        'not known just now';
};

subtest 'the deadline' => sub {
    my $peer = ConnPeer->new;
    my $start = time;
    is_deeply outcome('slow.test', $peer->port, 0.1), ['error: connect timeout', 'disconnect'], 'covers resolving';
    cmp_ok time - $start, '<', 2, 'and does not wait for it';
    is $peer->{accepted}, 0, 'the answer that comes then is not used';

    my ($port, @deaf) = deaf('127.0.0.1');
    $start = time;
    is_deeply outcome('twice.test', $port, 0.2), ['error: connect timeout', 'disconnect'], 'covers an address';
    cmp_ok time - $start, '>=', 0.2, 'not too early';

    push @deaf, deaf('127.0.0.2', $port);
    my $third = ConnPeer->new(address => '127.0.0.3', port => $port);
    is_deeply outcome('three.test', $port, 3), ['connect'], 'an address that says nothing leaves time for the others';
    $third->stop;
    is_deeply outcome('three.test', $port, 0.2), ['error: connect: all addresses failed', 'disconnect'],
        'also when they fail';
    push @deaf, deaf('127.0.0.3', $port);
    $start = time;
    is_deeply outcome('three.test', $port, 0.2), ['error: connect timeout', 'disconnect'], 'covers all addresses';
    cmp_ok time - $start, '>=', 0.2, 'not too early';
    cmp_ok time - $start, '<', 2, 'together';
};

subtest 'resolving anew' => sub {
    my ($conn, $log) = conn();
    $conn->auto_reconnect(1, 1);
    $conn->connect('unknown.test', 9092, 10);
    wait_until { @$log >= 4 } 'a second try';
    is_deeply [@$log[0 .. 3]], [('error: resolve: Name or service not known', 'disconnect') x 2],
        'a name that is unknown';
    my $peer = ConnPeer->new;
    @$log = ();
    $conn->connect('slow.test', $peer->port, 10);
    $conn->connect('three.test', $peer->port, 10);
    wait_until { @$log } 'connecting';
    is_deeply $log, ['connect'], 'the name asked for last counts';
    $conn->disconnect;
};

done_testing;
