use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use EV::Kafka;
use GroupTest;
use Inside;
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

subtest 'a commit without an answer while partitions are given up' => sub {
    my $mock   = filled(1, 3);
    my $member = joined(member($mock, session_timeout => 2000));
    wait_until { @{ $member->{got} } == 3 } 'the records';
    my $id = $member->{kafka}{cfg}{group}{member_id};
    $mock->fault(api => 'OffsetCommit', hang => 1);
    $mock->fault(api => 'Heartbeat', error => 27);
    wait_until { state_of($member) eq 'giving_up' } 'the rebalance';
    my $begun = EV::time;
    wait_until { @{ $member->{assigned} } == 2 && is_stable($member) } 'the end of the rebalance';
    cmp_ok EV::time - $begun, '<', 6, 'is not waited for as long as for other requests';
    is_deeply committed_in($mock), { 't:0' => 3 }, 'it is sent again';
    is $member->{kafka}{cfg}{group}{member_id}, $id, 'heartbeats have kept the membership';
};

# A member whose on_message sleeps at the first record, after on_sleep => sub { ($member) }.
# Of the first two records it writes down how many heartbeats had been sent, and
# whether delivery was held.
sub sleeper {
    my ($mock, $api, $seconds, %option) = @_;
    my $on_sleep = delete $option{on_sleep};
    my $member;
    $member = member($mock, %option, client => { on_message => sub {
        my (undef, undef, $offset) = @_;
        push @{ $member->{got} }, $offset;
        return if @{ $member->{got} } > 2;
        push @{ $member->{heartbeats} }, $mock->request_count($api);
        push @{ $member->{held} }, Inside::is_delivery_held($member->{kafka});
        return if @{ $member->{got} } > 1;
        $on_sleep->($member);
        select undef, undef, undef, $seconds;
    } });
    return $member;
}

my %SLEEP = (
    classic  => { api => 'Heartbeat',              seconds => 0.5, lost => 25 },
    consumer => { api => 'ConsumerGroupHeartbeat', seconds => 3.2, lost => 110 },
);

for my $protocol (sort keys %SLEEP) {
    my ($api, $seconds, $lost) = @{ $SLEEP{$protocol} }{qw(api seconds lost)};
    my %option = (group_protocol => $protocol);

    subtest "a member of the $protocol protocol that has slept longer than its session" => sub {
        my $mock   = filled(1, 1000, consumer_heartbeat_interval_ms => 30);
        # Short, since the coordinator waits that long for the member that it was in truth; so much
        # shorter for the sleep only.
        my $member = sleeper($mock, $api, $seconds, %option, session_timeout => 3000, on_sleep => sub {
            Inside::set_session_timeout($_[0]{kafka}, 300);
            $mock->fault(api => $api, error => $lost);
        });
        wait_until { @{ $member->{revoked} } } 'the revocation';
        is_deeply [@{ $member->{revoked} }], ['t:0@1'], 'delivers nothing before it knows that it still is one';
        wait_until { @{ $member->{got} } >= 1000 } 'the other records';
        is_deeply [errors($member->{kafka})], [], 'then it goes on, without an error';
    };

    subtest "a member of the $protocol protocol that was not missed" => sub {
        my $mock   = filled(1, 1000, consumer_heartbeat_interval_ms => 30);
        my $member = sleeper($mock, $api, $seconds, %option, on_sleep => sub {
            Inside::set_session_timeout($_[0]{kafka}, 300);
            $mock->fault(api => $api, delay_ms => 100);
        });
        wait_until { @{ $member->{got} } == 1000 } 'the records';
        cmp_ok $member->{heartbeats}[1], '>', $member->{heartbeats}[0], 'has asked, before it went on';
        is_deeply $member->{held}, [0, 0], 'and has been told';
        is_deeply $member->{revoked}, [], 'its partition is still its own';
    };
}

subtest 'an answer to a heartbeat from before the sleep' => sub {
    my $mock   = filled(1, 0);
    my $member = sleeper($mock, 'Heartbeat', 0.5, on_sleep => sub { Inside::set_session_timeout($_[0]{kafka}, 300) });
    wait_until { owned($member) } 'its partition';
    my $before = $mock->request_count('Heartbeat');
    $mock->fault(api => 'Heartbeat', delay_ms => 300);
    wait_until { $mock->request_count('Heartbeat') > $before } 'a heartbeat';
    $mock->append(t => 0, { value => $_ }) for 1, 2;
    wait_until { @{ $member->{got} } == 2 } 'the records';
    cmp_ok $member->{heartbeats}[1], '>', $member->{heartbeats}[0], 'confirms nothing: another one is sent';
};

done_testing;
