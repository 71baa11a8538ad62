use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;
use Time::HiRes qw(sleep);

use EV::Kafka;
use GroupTest;
use TestKafka qw(wait_until turns errors);

# A member that the group has given up: what it had belongs to others, and it writes
# nothing of it any more.

# Each: protocol, the request that is refused, and the code.
my @OUT = (
    [classic  => Heartbeat              => 25],
    [classic  => Heartbeat              => 22],
    [classic  => Heartbeat              => 82],
    [consumer => ConsumerGroupHeartbeat => 25],
    [consumer => ConsumerGroupHeartbeat => 69],
    [consumer => ConsumerGroupHeartbeat => 110],
);

for my $case (@OUT) {
    my ($protocol, $api, $code) = @$case;
    subtest "$api is answered $code: $protocol" => sub {
        my $mock = filled(1, 5, consumer_heartbeat_interval_ms => 30);
        my (@lost, @told, @notices, $member);
        $member = member($mock, group_protocol => $protocol, session_timeout => 300,
            $code == 82 ? (group_instance_id => 'one') : (),
            client  => { on_notice => sub { push @notices, [@_] }, on_message => sub { push @{ $member->{got} }, $_[2] } },
            on_lost => sub {
                push @lost, listed($_[0]);
                $member->{kafka}->commit(sub { push @told, $_[0] // 'ok' });
                $member->{kafka}->commit([{ topic => 't', partition => 0, offset => 1 }], sub { push @told, $_[0] // 'ok' });
            });
        wait_until { @{ $member->{got} } == 5 } 'the records';
        my $commits = $mock->request_count('OffsetCommit');
        $mock->fault(api => $api, error => $code);
        wait_until { @lost } 'the loss';
        is_deeply \@lost, ['t:0@5'], 'on_lost: what it had, with the positions';
        is_deeply $member->{revoked}, [], 'instead of on_revoke';
        my $text = $code == 82 ? 'the group has been given up' : 'the membership of the group has been lost';
        is_deeply \@told, [($text) x 2], 'commits fail at once';
        $member->{kafka}->commit(sub { push @told, $_[0] // 'ok' });
        is $told[2], $text, 'also of what was worked on meanwhile' unless is_stable($member);
        wait_until { $code == 82 ? state_of($member) eq 'stopped' : is_stable($member) } 'what follows';
        turns();
        is $mock->request_count('OffsetCommit'), $commits, 'and nothing is sent';
        is_deeply committed_in($mock), {}, 'nor stored';
        return if $code == 82;
        like $notices[0][0], qr/^group 'g' has given this member up: [A-Z_]+ \(code $code\); joining again$/, 'on_notice tells it';
        is_deeply $notices[0][1], { group => 'g', code => $code }, 'with the code';
        is_deeply [errors($member->{kafka})], [], 'on_error does not';
        is left($member), 'left', 'it can leave as before';
        is_deeply $member->{revoked}, ['t:0@5'], 'with on_revoke, since it is a member again';
    };
}

subtest 'commits that wait for another try when the membership is lost' => sub {
    for my $protocol (qw(classic consumer)) {
        my $mock   = filled(1, 5, consumer_heartbeat_interval_ms => 30);
        my $member = member($mock, group_protocol => $protocol, session_timeout => 300,
            client => { on_notice => sub { } }, auto_commit => 0);
        wait_until { owned($member) && is_stable($member) } 'joining';
        $mock->fault(api => 'OffsetCommit', error => 14, times => undef);
        my @told;
        $member->{kafka}->commit([{ topic => 't', partition => 0, offset => 2 }], sub { push @told, $_[0] // 'ok' });
        wait_until { $mock->request_count('OffsetCommit') >= 2 } 'the first tries';
        $mock->fault(api => $protocol eq 'classic' ? 'Heartbeat' : 'ConsumerGroupHeartbeat', error => 25);
        wait_until { @told } 'the callback';
        is_deeply \@told, ['the membership of the group has been lost'], "$protocol: they are told";
        $mock->clear_faults;
        wait_until { @{ $member->{assigned} } > 1 && is_stable($member) && owned($member) } 'joining again';
        turns();
        is_deeply committed_in($mock), {}, 'and not sent';
    }
};

subtest 'close in on_lost' => sub {
    for my $protocol (qw(classic consumer)) {
        my $mock = filled(1, 5, consumer_heartbeat_interval_ms => 30);
        my ($member, $closed);
        $member = member($mock, group_protocol => $protocol, client => { on_notice => sub { } },
            on_lost => sub { $member->{kafka}->close(sub { $closed = 1 }) });
        wait_until { owned($member) && $member->{kafka}->position('t', 0) } 'the records';
        $mock->fault(api => $protocol eq 'classic' ? 'Heartbeat' : 'ConsumerGroupHeartbeat', error => 25);
        wait_until { $closed } 'the loss';
        wait_until { ($mock->group('g') || { state => 'Empty' })->{state} eq 'Empty' || !$mock->connections } 'the end' if $protocol eq 'consumer';
        turns();
        is_deeply committed_in($mock), {}, "$protocol: nothing is committed at the end either";
    }
};

subtest 'without on_lost it is on_revoke that is called' => sub {
    my $mock = filled(1, 5);
    my ($member, @told);
    $member = member($mock, session_timeout => 300, client => { on_notice => sub { } },
        on_revoke => sub { $member->{kafka}->commit(sub { push @told, $_[0] // 'ok' }) });
    wait_until { owned($member) && $member->{kafka}->position('t', 0) } 'the records';
    $mock->fault(api => 'Heartbeat', error => 25);
    wait_until { @told } 'the loss';
    is_deeply \@told, ['the membership of the group has been lost'], 'a commit there fails all the same';
    is_deeply committed_in($mock), {}, 'and is not stored';
};

subtest 'a handler that takes longer than the session' => sub {
    my $mock = filled(1, 40);
    my (@notices, @lost, $member, $has_slept);
    $member = member($mock, session_timeout => 300, auto_commit_interval => 0.02,
        client => { on_notice => sub { push @notices, $_[0] }, on_message => sub {
            push @{ $member->{got} }, $_[2];
            # What came before is stored by then.
            if ($_[2] == 20) { $member->{kafka}->pause([{ topic => 't', partition => 0 }]) }
            if ($_[2] == 21 && !$has_slept++) { sleep 0.7 }
        } },
        on_lost => sub { push @lost, listed($_[0]) });
    wait_until { (committed_in($mock)->{'t:0'} // 0) == 21 } 'the commit';
    $member->{kafka}->resume([{ topic => 't', partition => 0 }]);
    wait_until { @lost } 'the loss';
    like $notices[0], qr/^group 'g' has given this member up: UNKNOWN_MEMBER_ID \(code 25\); the event loop did not turn for \d\.\d s, longer than a session lasts; joining again$/,
        'on_notice tells why';
    wait_until { @{ $member->{got} } >= 41 } 'the records';
    is scalar(grep { $_ <= 20 } @{ $member->{got} }), 21, 'what was committed before is not read again';
    is_deeply [errors($member->{kafka})], [], 'without an error';
};

subtest "a static member whose name is not released yet" => sub {
    my $mock = filled(1, 3, consumer_heartbeat_interval_ms => 30);
    $mock->fault(api => 'ConsumerGroupHeartbeat', error => 111, times => 3);
    my @notices;
    my $member = member($mock, group_protocol => 'consumer', group_instance_id => 'one',
        client => { on_notice => sub { push @notices, $_[0] } });
    wait_until { owned($member) && is_stable($member) } 'joining';
    is_deeply \@notices, ["group 'g': ConsumerGroupHeartbeat: UNRELEASED_INSTANCE_ID (code 111): UNRELEASED_INSTANCE_ID; asking again"],
        'waits for it, and says so once';
    is_deeply [errors($member->{kafka})], [], 'without an error';
};

subtest 'a member that may not see one of its topics' => sub {
    my $mock = filled(1, 3, consumer_heartbeat_interval_ms => 30);
    my @notices;
    my $member = joined(member($mock, group_protocol => 'consumer', client => { on_notice => sub { push @notices, $_[0] } }));
    wait_until { owned($member) } 'the partition';
    my $beats = $mock->request_count('ConsumerGroupHeartbeat');
    $mock->fault(api => 'ConsumerGroupHeartbeat', error => 29, times => 2);
    wait_until { $mock->request_count('ConsumerGroupHeartbeat') > $beats + 3 } 'heartbeats';
    is_deeply [state_of($member), owned($member)], ['stable', 1], 'stays one';
    is_deeply \@notices, ["group 'g': ConsumerGroupHeartbeat: TOPIC_AUTHORIZATION_FAILED (code 29): TOPIC_AUTHORIZATION_FAILED"], 'and is told, once';
    is_deeply [errors($member->{kafka})], [], 'without an error';
};

done_testing;
