use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;

use ConnPeer qw(conn);
use TestKafka qw(wait_until);

# What a connection counts from the first call of stats on, and what on_throttle hears.

use constant METADATA => 3;

# An answer to Metadata 0 that says nothing, and one to version 3 that throttles.
my %ANSWER = (0 => pack('N N', 0, 0), 3 => pack('N N n N N', 250, 0, 0xffff, 1, 0));

sub peer {
    my ($version) = @_;
    return ConnPeer->new(
        versions   => { METADATA, [$version, $version] },
        on_request => sub { return $ANSWER{$version} },
    );
}

sub ready {
    my ($peer) = @_;
    my ($conn, $log) = conn();
    $conn->connect('127.0.0.1', $peer->port, 10);
    wait_until { $conn->connected } 'the connection';
    return $conn;
}

sub ask {
    my ($conn, $times) = @_;
    my $answers = 0;
    $conn->metadata([], sub { $answers++ }) for 1 .. $times;
    wait_until { $answers == $times } 'the answers';
    return;
}

subtest 'counting begins with the first call' => sub {
    my $peer = peer(0);
    my $conn = ready($peer);
    ask($conn, 2);
    is_deeply $conn->stats, { bytes_in => 0, bytes_out => 0, bytes_queued => 0, connects => 0, in_flight => 0, requests => {},
        throttled => { answers => 0, ms => 0 } }, 'nothing was counted before';
    ask($conn, 3);
    my $stats = $conn->stats;
    my $metadata = delete $stats->{requests}{Metadata};
    is_deeply $stats->{requests}, {}, 'nothing else was asked';
    is "$metadata->{sent} $metadata->{answered}", '3 3', 'requests and answers';
    is $stats->{bytes_in}, 3 * (4 + 4 + length $ANSWER{0}), 'bytes in';
    cmp_ok $stats->{bytes_out}, '>', 3 * 14, 'bytes out';
    my $round_trip = $metadata->{round_trip_ms};
    is_deeply [sort keys %$round_trip], [qw(max p50 p90 p99)], 'percentiles';
    cmp_ok $round_trip->{p50}, '<=', $round_trip->{max}, 'half of them took no longer than all';
    cmp_ok $metadata->{total_ms}, '>', 0, 'they took time';
    $conn->metadata([], sub { });
    is $conn->stats->{in_flight}, 1, 'in flight';
    is $conn->stats->{requests}{Metadata}{sent}, 4, 'sent, and not answered yet';
};

subtest 'connections are counted together' => sub {
    my @peers = (peer(0), peer(0));
    my @conns = map { ready($_) } @peers;
    $_->stats for @conns;
    ask($conns[0], 1);
    ask($conns[1], 2);
    my ($one, $other) = map { $_->stats } @conns;
    my $both = $conns[0]->stats($conns[1]);
    is $both->{requests}{Metadata}{answered}, 3, 'requests';
    is $both->{$_}, $one->{$_} + $other->{$_}, $_ for qw(bytes_in bytes_out);
};

subtest 'counting goes on over reconnects' => sub {
    my $peer = peer(0);
    my $conn = ready($peer);
    $conn->stats;
    ask($conn, 1);
    $conn->connect('127.0.0.1', $peer->port, 10);
    wait_until { $conn->connected } 'the connection again';
    ask($conn, 1);
    is $conn->stats->{requests}{Metadata}{answered}, 2, 'requests of both';
    is $conn->stats->{connects}, 1, 'connections made since';
};

subtest 'throttling' => sub {
    my $peer = peer(3);
    my $conn = ready($peer);
    my @told;
    $conn->on_throttle(sub { push @told, "@_" });
    $conn->stats;
    ask($conn, 1);
    is_deeply \@told, ['250 Metadata'], 'on_throttle hears of it';
    is_deeply $conn->stats->{throttled}, { answers => 1, ms => 250 }, 'it is counted';
    $conn->on_throttle(undef);
    ask($conn, 1);
    is @told, 1, 'nobody is told any more';
    is_deeply $conn->stats->{throttled}, { answers => 2, ms => 500 }, 'counted all the same';
};

subtest 'not a connection' => sub {
    my ($conn) = conn();
    for my $other (undef, {}, 'text') {
        eval { $conn->stats($other) };
        like $@, qr/not a connection made by _new/, 'croaks';
    }
};

done_testing;
