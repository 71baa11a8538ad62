use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use IO::Socket::INET;
use MockTest;
use Test::More;
use TestKafka qw(wait_until);

my %MEMBER = (member_id => '', generation => -1);

# Sends JoinGroup; the answer goes to the member.
sub start_join {
    my ($member, $session_timeout_ms) = @_;
    delete $member->{joined};
    $member->{conn}->join_group(
        'g', $member->{member_id}, ['t'],
        sub {
            my ($result, $error) = @_;
            $member->{joined} = $result || { error_code => $error };
            @$member{qw(member_id generation)} = @$result{qw(member_id generation_id)} if $result;
        },
        $session_timeout_ms || 10_000, 10_000, $member->{name}
    );
    return;
}

sub joined {
    my ($member, @timeout) = @_;
    start_join($member, @timeout);
    wait_until { $member->{joined} } 'joined';
    return $member->{joined}{error_code} unless $member->{joined}{error_code} == 79;
    return joined($member, @timeout);
}

sub member {
    my ($mock, %fields) = @_;
    return { %MEMBER, conn => connection($mock, $mock->coordinator(group => 'g')), %fields };
}

sub synced {
    my ($member, @assignments) = @_;
    my ($result) = answer($member->{conn}, sync_group => 'g', @$member{qw(generation member_id)}, \@assignments);
    return $result;
}

sub assignment {
    my ($member, @partitions) = @_;
    my @topics = ({ topic => 't', partitions => \@partitions });
    return { member_id => $member->{member_id}, assignment => EV::Kafka::_encode_assignment(\@topics) };
}

sub heartbeat {
    my ($member) = @_;
    my ($result) = answer($member->{conn}, heartbeat => 'g', @$member{qw(generation member_id)});
    return $result->{error_code};
}

subtest 'members share a topic and hand it on' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2, partitions => 2);
    $mock->create_topic('t');
    is $mock->group('g'), undef, 'no group yet';
    my $one = member($mock);
    is joined($one), 0, 'the first';
    is synced($one, assignment($one, 0, 1))->{error_code}, 0, 'assigns';
    is_deeply $mock->group('g'), {
        protocol => 'classic', state => 'Stable', generation => 1, assignor => 'sticky', leader => $one->{member_id},
        members => [{
            member_id => $one->{member_id}, group_instance_id => undef, generation => 1, assigned => ['t:0', 't:1'],
        }],
    }, 'the coordinator knows';

    my $two = member($mock);
    start_join($two);
    wait_until { $two->{joined} } 'an id';
    start_join($two);
    wait_until { $mock->group('g')->{state} eq 'PreparingRebalance' } 'a rebalance';
    is heartbeat($one), 27, 'of which the first hears';
    ok !$two->{joined}, 'the second waits';
    is joined($one), 0, 'the first joins again';
    wait_until { $two->{joined} } 'then both are in';
    is scalar @{ $one->{joined}{members} }, 2, 'the leader knows both';
    is synced($one, assignment($one, 0), assignment($two, 1))->{error_code}, 0, 'assigned';
    is_deeply EV::Kafka::_decode_assignment(synced($two)->{assignment}), [{ topic => 't', partitions => [1] }],
        'to the second too';
    my @assigned = map { $_->{assigned} } @{ $mock->group('g')->{members} };
    is_deeply \@assigned, [['t:0'], ['t:1']], 'shared';

    my ($left) = answer($two->{conn}, leave_group => 'g', $two->{member_id});
    is $left->{error_code}, 0, 'left';
    is heartbeat($one), 27, 'another rebalance';
};

subtest 'a member that is not heard of is lost' => sub {
    my $mock = EV::Kafka::Mock->new(min_session_timeout_ms => 1);
    my $member = member($mock);
    is joined($member, 30), 0, 'joined';
    synced($member);
    wait_until { $mock->group('g')->{state} eq 'Empty' } 'lost';
    is heartbeat($member), 25, 'unknown';
    my $strict = EV::Kafka::Mock->new;
    is joined(member($strict), 30), 26, 'a session timeout that brokers refuse';
};

subtest 'positions' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $member = member($mock);
    joined($member);
    synced($member);
    my @commit = ('g', @$member{qw(generation member_id)},
        [{ topic => 't', partitions => [{ partition => 0, offset => 42, metadata => 'm' }] }]);
    answered_with(0, $member->{conn}, offset_commit => @commit);
    is_deeply $mock->offsets('g'), { 't:0' => { offset => 42, leader_epoch => -1, metadata => 'm' } }, 'stored';
    my ($fetched) = answer($member->{conn}, offset_fetch => 'g', [{ topic => 't', partitions => [0] }]);
    is only_partition($fetched)->{offset}, 42, 'and read';
    $mock->fault(api => 'OffsetCommit', error => 22);
    answered_with(22, $member->{conn}, offset_commit => @commit);
    $commit[1]++;
    answered_with(22, $member->{conn}, offset_commit => @commit);
};

subtest 'a group moves with its coordinator' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->set_coordinator(group => 'g', 0);
    my $member = member($mock);
    joined($member);
    $mock->set_coordinator(group => 'g', 1);
    is heartbeat($member), 16, 'not here any more';
    $member->{conn} = connection($mock, 1);
    is heartbeat($member), 0, 'but there';
};

subtest 'a static member' => sub {
    my $mock = EV::Kafka::Mock->new;
    my $first = member($mock, name => 'fixed');
    joined($first);
    synced($first, assignment($first, 0));
    my $again = member($mock, name => 'fixed');
    is joined($again), 0, 'is back';
    is $again->{generation}, 1, 'in the same generation';
    my $beaten;
    $first->{conn}->heartbeat('g', @$first{qw(generation member_id)}, sub { $beaten = shift }, 'fixed');
    wait_until { $beaten } 'answered';
    is $beaten->{error_code}, 82, 'which fences the first';
};

# The answer to a ConsumerGroupHeartbeat, version 1: error, epoch and interval.
sub consumer_heartbeat {
    my ($socket, $member_id, $epoch) = @_;
    my $string  = sub { chr(1 + length $_[0]) . $_[0] };
    my $request = pack 'n n N n C', 68, 1, 7, 0xffff, 0;
    $request .= $string->('g') . $string->($member_id) . pack 'N C C N', $epoch, 0, 0, 60_000;
    $request .= chr(2) . $string->('t') . chr(0) . chr(0) . chr(1) . chr(0);
    $socket->blocking(1);
    $socket->syswrite(pack 'N/a', $request);
    $socket->blocking(0);
    my $answer = '';
    my $watcher = EV::io $socket, EV::READ, sub { sysread $socket, $answer, 4096, length $answer };
    wait_until { length $answer >= 4 && length $answer >= 4 + unpack 'N', $answer } 'heartbeat';
    my (undef, $id, undef, undef, $error, $rest) = unpack 'N N C N n a*', $answer;
    # Message and member id are compact strings.
    for (1, 2) { my $length = ord $rest; $rest = substr $rest, $length || 1 }
    return ($error, unpack 'N N', $rest);
}

subtest 'the new protocol' => sub {
    my $mock = EV::Kafka::Mock->new(
        consumer_session_timeout_ms => 500, consumer_heartbeat_interval_ms => 13, partitions => 3,
    );
    $mock->create_topic('t');
    my $socket = IO::Socket::INET->new($mock->bootstrap) or die "connect: $!";
    is_deeply [consumer_heartbeat($socket, 'me', 0)], [0, 2, 13], 'joined';
    is_deeply $mock->group('g'), {
        protocol => 'consumer', state => 'Stable', generation => 2, assignor => 'uniform', leader => '',
        members => [{
            member_id => 'me', group_instance_id => undef, generation => 2, assigned => ['t:0', 't:1', 't:2'],
        }],
    }, 'the coordinator knows';
    $mock->fault(api => 'ConsumerGroupHeartbeat', error => 110);
    is +(consumer_heartbeat($socket, 'me', 2))[0], 110, 'a fault';
    wait_until { $mock->group('g')->{state} eq 'Empty' } 'the session ends';
    is +(consumer_heartbeat($socket, 'me', 2))[0], 25, 'unknown';
};

done_testing;
