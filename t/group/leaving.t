use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use EV::Kafka;
use GroupTest;
use Inside;
use TestKafka qw(wait_until turns connected errors);

# Leaving a group at every moment: the others must not wait for who is gone.

# Two members: the first has all, and is in no hurry to hear that the second waits for it.
sub one_waits_for_another {
    my ($mock, %option) = @_;
    my $one = joined(member($mock, heartbeat_interval => 20));
    my $two = member($mock, %option);
    wait_until { $mock->group('g')->{state} eq 'PreparingRebalance' && Inside::is_blocked($two->{kafka})
        && ($option{group_instance_id} || $two->{kafka}{cfg}{group}{member_id} ne '') } 'the wait';
    return ($one, $two);
}

subtest 'close while the group waits for others' => sub {
    my $mock = filled(2, 3);
    my ($one, $two) = one_waits_for_another($mock);
    wait_until { Inside::ready_conn($two->{kafka}, main => 0) } 'the other connection';
    $two->{kafka}->close;
    wait_until { @{ $mock->group('g')->{members} } == 1 } 'the coordinator to hear of it';
    is_deeply [errors($_->{kafka})], [], 'without an error' for $one, $two;
};

subtest 'close during a cooperative rebalance' => sub {
    my $mock   = filled(1, 3);
    my $member = joined(member($mock, assignors => ['cooperative-sticky']));
    wait_until { @{ $member->{got} } == 3 } 'the records';
    $mock->fault(api => 'JoinGroup', hang => 1);
    $mock->fault(api => 'Heartbeat', error => 27);
    wait_until { Inside::is_blocked($member->{kafka}) && Inside::ready_conn($member->{kafka}, main => 0) } 'the rebalance';
    $member->{kafka}->close;
    wait_until { $mock->group('g')->{state} eq 'Empty' } 'the coordinator to hear of it';
    is_deeply committed_in($mock), { 't:0' => 3 }, 'what it has kept is committed first';
};

subtest 'unsubscribe before the coordinator has given an id' => sub {
    my $mock = filled(2, 0);
    $mock->fault(api => 'JoinGroup', delay_ms => 200);
    my $member = member($mock);
    wait_until { Inside::is_blocked($member->{kafka}) } 'the request for an id';
    is left($member), 'left', 'leaving';
    is $mock->request_count('LeaveGroup'), 1, 'the coordinator is told that nobody will come with that id';
    is_deeply [errors($member->{kafka})], [], 'without an error';

    $mock->fault(api => 'JoinGroup', drop => 1);
    $member = member($mock, group_id => 'h');
    wait_until { Inside::is_blocked($member->{kafka}) } 'the request for an id';
    is left($member), 'left', 'a coordinator that goes away without a word is not waited for';
};

subtest 'a static member subscribes again while the group waits for others' => sub {
    my $mock = filled(2, 3);
    $mock->create_topic(u => 1);
    my ($one, $two) = one_waits_for_another($mock, group_instance_id => 'two');
    my @assigned;
    my $begun = EV::time;
    $two->{kafka}->subscribe('u', group_id => 'h', on_assign => sub { push @assigned, listed($_[0]) });
    wait_until { @assigned } 'the other group';
    is_deeply \@assigned, ['u:0@0'], 'it joins the other group at once';
    is $mock->group('g')->{state}, 'PreparingRebalance', 'although the first still waits';
    is_deeply [errors($_->{kafka})], [], 'without an error' for $one, $two;
};

# { api, error, and what is wanted of the member }, then how often the coordinator is told.
for my $case (
    [{ api => 'OffsetFetch', error => 30 }, 1],
    [{ api => 'SyncGroup', error => 30 }, 1],
    [{ api => 'JoinGroup', error => 23 }, 0, 'it knows nothing of it yet'],
    [{ api => 'Heartbeat', error => 30 }, 1],
    [{ api => 'Heartbeat', error => 82, group_instance_id => 'one' }, 0, 'the name is taken'],
    [{ api => 'OffsetFetch', error => 30, group_instance_id => 'one' }, 0, 'static members may come back'],
    [{ api => 'ConsumerGroupHeartbeat', error => 42, group_protocol => 'consumer' }, 1],
    [{ api => 'ConsumerGroupHeartbeat', error => 111, group_protocol => 'consumer', group_instance_id => 'one' }, 0,
        'the name is taken'],
) {
    my ($stop, $leaves, $why) = @$case;
    my %option = %$stop;
    my ($api, $error) = delete @option{qw(api error)};
    my $kind = $option{group_instance_id} ? 'static member' : 'member';
    subtest "a $kind that stops since $api is answered $error" => sub {
        my $mock = filled(1, 0, consumer_heartbeat_interval_ms => 30);
        my $is_consumer = ($option{group_protocol} // '') eq 'consumer';
        my $told = $is_consumer ? 'ConsumerGroupHeartbeat' : 'LeaveGroup';
        $mock->fault(api => $api, error => $error) unless $api =~ /Heartbeat/;
        my $member = member($mock, %option);
        if ($api =~ /Heartbeat/) {
            joined($member);
            $mock->fault(api => $api, error => $error);
        }
        wait_until { state_of($member) eq 'stopped' } 'stopping';
        my $before = $mock->request_count($told);
        is left($member), 'left', 'unsubscribe waits for nothing';
        wait_until { $mock->group('g')->{state} eq 'Empty' } 'the others to be free of it' if $leaves;
        # Some traffic, in which it would have been heard.
        connected(brokers => $mock->bootstrap);
        is $mock->request_count($told) - $before, $leaves, $leaves ? 'tells the coordinator' : "says nothing: $why";
        is scalar(() = errors($member->{kafka})), 1, 'and has one error';
    };
}

for my $protocol (qw(classic consumer)) {
    subtest "unsubscribe while the coordinator's connection is stuck: $protocol" => sub {
        my $mock   = filled(1, 3, consumer_heartbeat_interval_ms => 5000);
        my $member = joined(member($mock, group_protocol => $protocol, heartbeat_interval => 20));
        wait_until { @{ $member->{got} } == 3 } 'the records';
        $mock->fault(api => 'OffsetCommit', hang => 1);
        is left($member), 'left', 'the commit is sent again over another one';
        is_deeply committed_in($mock), { 't:0' => 3 }, 'and done';
        is $mock->group('g')->{state}, 'Empty', 'and the coordinator is told';
    };
}

subtest 'close cuts unsubscribe off' => sub {
    for my $api (qw(OffsetCommit LeaveGroup)) {
        my $mock   = filled(1, 3);
        my $member = joined(member($mock));
        wait_until { @{ $member->{got} } == 3 } 'the records';
        $mock->fault(api => $api, hang => 1);
        my @told;
        $member->{kafka}->unsubscribe(sub { push @told, $_[0] // 'left' }) for 1 .. 2;
        wait_until { $mock->request_count($api) } $api;
        is_deeply \@told, [], "$api is not answered";
        $member->{kafka}->close;
        is_deeply \@told, [('client closed') x 2], 'each callback is told, once';
        turns();
        is scalar @told, 2, 'and never again';
    }
};

done_testing;
