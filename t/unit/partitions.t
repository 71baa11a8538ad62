use strict;
use warnings;

use EV::Kafka;
use EV::Kafka::Partitions;
use Test::More;

sub asked { return map { { topic => $_->[0], partition => $_->[1] } } @_ }

# "leader: topic:partition ..." for each request.
sub requests {
    my ($leader_of, @asked) = @_;
    return map { ($_->[0] // 'none') . ': ' . join ' ', map { EV::Kafka::Partitions::key_of($_) } @{ $_->[1] } }
        EV::Kafka::Partitions::by_leader($leader_of, @asked);
}

subtest 'by_leader' => sub {
    my $odd = sub { $_[1] % 2 };
    is_deeply [requests($odd)], [], 'nothing asked';
    is_deeply [requests($odd, asked(map { ['t', $_] } 0 .. 4), asked(['u', 1]))], ['0: t:0 t:2 t:4', '1: t:1 t:3 u:1'],
        'one request a leader, in the order of what was asked';
    is_deeply [requests(sub { $_[1] ? 7 : undef }, asked(['t', 0], ['t', 1], ['u', 0]))], ['none: t:0 u:0', '7: t:1'],
        'those without a leader apart';
    is_deeply [requests(sub { 0 }, asked(['t', 0], ['t', 0], ['t', 1], ['t', 1], ['t', 1]))],
        ['0: t:0 t:1', '0: t:0 t:1', '0: t:1'], 'no partition twice in one request';
    my $most = EV::Kafka::Partitions::MOST_IN_REQUEST();
    my @sizes = map { scalar @{ $_->[1] } } EV::Kafka::Partitions::by_leader(sub { 0 }, asked(map { ['t', $_] } 1 .. 2 * $most + 1));
    is_deeply \@sizes, [$most, $most, 1], 'no request without a bound';
};

done_testing;
