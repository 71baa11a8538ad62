use v5.14;
use warnings;

use lib 'xt/lib', 't/lib';

use EV;
use Test::More;

use Inside;
use RealKafka;

# Leaving a group of the classic protocol while it waits for a slow member, on real
# Kafka. Members whose coordinator was not told hold their partitions for the session
# timeout; all here is to be over long before.

my $SESSION_MS = 45_000;
my $FAR_BELOW  = 20;
# The slow member hears of a rebalance only then.
my $HEARTBEAT  = 6;

my $address = shared_cluster($ENV{KAFKA_VERSION} // $KafkaCluster::NEWEST)->bootstrap;

sub until_true {
    my ($what, $condition) = @_;
    my $timer;
    await($what, sub { my ($done) = @_; $timer = EV::timer 0, 0.02, sub { $done->() if $condition->() } });
    return;
}

sub subscribed {
    my ($group, $topic, %option) = @_;
    my $kafka = connected_client(brokers => $address);
    $kafka->subscribe($topic, group_id => $group, session_timeout => $SESSION_MS, %option);
    return $kafka;
}

sub owned { return scalar @{ $_[0]{cfg}{assignments} } }

sub state_of { return ($_[0]{cfg}{group} || {})->{state} // '' }

# A slow member that has both partitions, and one for which it does not know yet that it
# is to give one up.
sub one_and_another {
    my ($topic, %option) = @_;
    my $one = subscribed("$topic-g", $topic, heartbeat_interval => $HEARTBEAT);
    until_true('the first member', sub { state_of($one) eq 'stable' && owned($one) == 2 });
    my $two = subscribed("$topic-g", $topic, %option);
    until_true('the wait', sub {
        return Inside::is_blocked($two) && ($two->{cfg}{group}{member_id} ne '' || $option{group_instance_id});
    });
    return ($one, $two);
}

subtest 'close' => sub {
    my $topic = create_topic($address, 'leaving-close', 2);
    my ($one, $two) = one_and_another($topic);
    my $node = Inside::coordinator_node($two, group => "$topic-g");
    until_true('the other connection', sub { Inside::ready_conn($two, main => $node) });
    $two->close;
    my $begun = EV::time;
    my $generation = $one->{cfg}{group}{generation};
    until_true('the rebalance', sub { $one->{cfg}{group}{generation} > $generation && state_of($one) eq 'stable' });
    is owned($one), 2, 'the first member keeps all';
    cmp_ok EV::time - $begun, '<', $FAR_BELOW, 'at once';
};

subtest 'unsubscribe' => sub {
    my $topic = create_topic($address, 'leaving-unsubscribe', 2);
    my ($one, $two) = one_and_another($topic);
    my $begun = EV::time;
    is await('leaving', sub { $two->unsubscribe(@_) }), undef, 'without an error';
    cmp_ok EV::time - $begun, '<', Inside::leave_patience(), 'the coordinator answers';
    my $generation = $one->{cfg}{group}{generation};
    until_true('the rebalance', sub { $one->{cfg}{group}{generation} > $generation && state_of($one) eq 'stable' });
    is owned($one), 2, 'the first member keeps all';
    cmp_ok EV::time - $begun, '<', $FAR_BELOW, 'at once';
};

subtest 'unsubscribe before the coordinator has given an id' => sub {
    my $topic = create_topic($address, 'leaving-early', 2);
    my $one = subscribed("$topic-g", $topic, heartbeat_interval => 0.5);
    until_true('the first member', sub { state_of($one) eq 'stable' && owned($one) == 2 });
    my $two = subscribed("$topic-g", $topic);
    until_true('the request for an id', sub { Inside::is_blocked($two) });
    is await('leaving', sub { $two->unsubscribe(@_) }), undef, 'without an error';
    my $begun = EV::time;
    my $three = subscribed("$topic-g", $topic);
    until_true('the next member', sub { state_of($three) eq 'stable' && owned($three) == 1 });
    cmp_ok EV::time - $begun, '<', $FAR_BELOW, 'nobody waits for who never came';
};

subtest 'a static member subscribes again' => sub {
    my $topic = create_topic($address, 'leaving-static', 2);
    my $other = create_topic($address, 'leaving-other',  1);
    my ($one, $two) = one_and_another($topic, group_instance_id => 'two');
    my $generation = $one->{cfg}{group}{generation};
    $two->subscribe($other, group_id => "$other-g");
    until_true('the other group', sub { state_of($two) eq 'stable' && owned($two) == 1 });
    is $one->{cfg}{group}{generation}, $generation, 'while the first group still waits';
};

done_testing;
