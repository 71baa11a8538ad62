use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use EV::Kafka;
use GroupTest;
use Inside;
use TestKafka qw(wait_until errors);

# Coordinators that refuse a member again and again.

# The seconds that a member's first five requests to join take, when each is answered
# with the code; and the member, which then is let in.
sub joins_despite {
    my ($code, %case) = @_;
    my $api  = $case{api};
    my $mock = filled(1, 0, consumer_heartbeat_interval_ms => 30);
    $mock->fault(api => $api, error => $code, times => 4);
    my $begun  = EV::time;
    my $member = joined(member($mock, group_protocol => $case{protocol}));
    return (EV::time - $begun, $member);
}

# The first time it may be right: the member is a new one, or has been forgotten. Then 0.1,
# 0.2 and 0.4 seconds, each with a quarter of jitter, before the next try.
my $AT_LEAST = 0.75 * 0.7;

for my $case ([classic => 'JoinGroup', 79, 25], [consumer => 'ConsumerGroupHeartbeat', 25, 110]) {
    my ($protocol, $api, @codes) = @$case;
    for my $code (@codes) {
        subtest "$api is answered $code again and again" => sub {
            my ($seconds, $member) = joins_despite($code, api => $api, protocol => $protocol);
            cmp_ok $seconds, '>=', $AT_LEAST, 'it is asked ever more slowly';
            is_deeply [errors($member->{kafka})], [], 'and is no error';
        };
    }
}

# The member keeps its id, so that no group waits for those that it had before.
subtest 'SyncGroup is answered 22 again and again' => sub {
    my ($seconds, $member) = joins_despite(22, api => 'SyncGroup', protocol => 'classic');
    cmp_ok $seconds, '>=', $AT_LEAST, 'it joins again ever more slowly';
};

subtest 'a member that is refused once' => sub {
    for my $case ([classic => 'Heartbeat', 25], [consumer => 'ConsumerGroupHeartbeat', 110]) {
        my ($protocol, $api, $code) = @$case;
        my $mock   = filled(1, 0, consumer_heartbeat_interval_ms => 30);
        # Short, since the coordinator waits that long for the member that it was in truth.
        my $member = joined(member($mock, group_protocol => $protocol, session_timeout => 300));
        $mock->fault(api => $api, error => $code);
        my $assigned = @{ $member->{assigned} };
        my $delays   = Inside::calls_of(join_delay => sub {
            wait_until { @{ $member->{assigned} } > $assigned && is_stable($member) } 'joining again';
        });
        is $delays, 0, "$api answered $code: it asks again at once";
    }
};

done_testing;
