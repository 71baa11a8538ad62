use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use EV::Kafka;
use GroupTest;
use TestKafka qw(wait_until errors);

# Coordinators that fall silent, and members that sleep.

# Seconds until a request of the API is sent again after one that nobody answered.
sub seconds_until_again {
    my ($mock, $api, $member) = @_;
    my $before = $mock->request_count($api);
    $mock->fault(api => $api, hang => 1);
    wait_until { $mock->request_count($api) > $before } $api;
    my $begun = EV::time;
    wait_until { $mock->request_count($api) > $before + 1 } "the next $api";
    return EV::time - $begun;
}

for my $case ([classic => 'Heartbeat'], [consumer => 'ConsumerGroupHeartbeat']) {
    my ($protocol, $api) = @$case;
    for my $timeout (undef, 0) {
        subtest "$api without an answer, request_timeout " . ($timeout // 'as it is') => sub {
            my $mock   = filled(1, 3, consumer_heartbeat_interval_ms => 30);
            my $member = joined(member($mock, group_protocol => $protocol, session_timeout => 2000,
                client => { request_timeout => $timeout }));
            wait_until { owned($member) } 'its partition';
            cmp_ok seconds_until_again($mock, $api, $member), '<', 6, 'is not waited for as long as for other requests';
            is_deeply [state_of($member), $member->{revoked}], ['stable', []], 'the member goes on';
            like join("\n", errors($member->{kafka})),
                qr/\Abroker 0 \(\S+\) lost: request timed out: $api v\d+; reconnecting\z/, 'one report says why';
        };
    }
}

done_testing;
