use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Test::More;
use Time::HiRes qw(sleep);

use EV::Kafka;
use GroupTest;
use Inside;
use TestKafka qw(wait_until turns client connected errors warnings_of);

# A member of a consumer group, from subscribe to unsubscribe.

subtest 'joining, consuming and leaving' => sub {
    my $mock   = filled(2, 3);
    my $member = joined(member($mock));
    is_deeply $member->{assigned}, ['t:0@0 t:1@0'], 'on_assign: all, from the earliest';
    wait_until { @{ $member->{got} } == 6 } 'the records';
    my $group = $member->{kafka}{cfg}{group};
    my $known = $mock->group('g');
    is_deeply [@$known{qw(state assignor leader)}], ['Stable', 'sticky', $group->{member_id}],
        'the coordinator knows it';
    is $known->{generation}, $group->{generation}, 'in this generation';
    is left($member), 'left', 'leaving';
    is_deeply $member->{revoked}, ['t:0@3 t:1@3'], 'on_revoke: with the positions';
    is_deeply committed_in($mock), { 't:0' => 3, 't:1' => 3 }, 'which were committed';
    is $mock->group('g')->{state}, 'Empty', 'the coordinator was told';
    is $member->{kafka}{cfg}{group}, undef, 'nothing is left of it';
    is_deeply $member->{kafka}{cfg}{assignments}, [], 'nor assigned';

    my $again = joined(member($mock));
    is_deeply $again->{assigned}, ['t:0@3 t:1@3'], 'the next one continues from there';
    is_deeply [errors($member->{kafka}), errors($again->{kafka})], [], 'without an error';
};

subtest 'latest' => sub {
    my $mock   = filled(1, 3);
    my $member = joined(member($mock, auto_offset_reset => 'latest'));
    is_deeply $member->{assigned}, ['t:0@3'], 'assigned at the end';
    wait_until { ($member->{kafka}->position('t', 0) // -1) == 3 } 'the end to be found';
    $mock->append(t => 0, { value => 'new' });
    wait_until { @{ $member->{got} } } 'a record';
    is_deeply $member->{got}, ['t:0@3'], 'only what came later';
};

subtest 'commit' => sub {
    my $mock = filled(1, 10);
    my @commits;
    my ($kafka, $member);
    $member = member($mock, auto_commit => 0, client => { on_message => sub {
        my (undef, undef, $offset) = @_;
        $kafka->commit(sub { push @commits, "$offset: " . ($_[0] // 'ok') }) if $offset == 4;
        push @{ $member->{got} }, $offset;
    } });
    $kafka = $member->{kafka};
    wait_until { @{ $member->{got} } == 10 && @commits } 'the records and the commit';
    is_deeply \@commits, ['4: ok'], 'from within on_message';
    is_deeply committed_in($mock), { 't:0' => 5 }, 'commits up to the record that is being delivered, never beyond';
    my @told;
    $kafka->committed(sub { @told = @_ });
    wait_until { @told } 'committed';
    is_deeply \@told, [{ 't:0' => 5 }, undef], 'committed tells it';

    $mock->fault(api => 'OffsetCommit', error => 14, times => 2);
    @commits = ();
    $kafka->commit(sub { push @commits, $_[0] // 'ok' });
    wait_until { @commits } 'the commit';
    is_deeply \@commits, ['ok'], 'a coordinator that is loading is asked again';
    is_deeply committed_in($mock), { 't:0' => 10 }, 'and has it';

    $mock->fault(api => 'OffsetCommit', drop => 1);
    @commits = ();
    $kafka->commit(sub { push @commits, $_[0] // 'ok' });
    wait_until { @commits } 'the commit';
    is_deeply \@commits, ['ok'], 'and so is one whose connection was lost';

    $mock->fault(api => 'OffsetCommit', topic => 't', partition => 0, error => 12);
    @commits = ();
    $kafka->commit(sub { push @commits, $_[0] // 'ok' });
    wait_until { @commits } 'the commit';
    like "@commits", qr/^OFFSET_METADATA_TOO_LARGE \(code 12\) for t:0$/,
        'an error of a partition is the error of the commit';

    my $before = () = errors($kafka);
    $mock->fault(api => 'OffsetCommit', error => 30);
    $kafka->commit;
    wait_until { errors($kafka) > $before } 'the report';
    like +(errors($kafka))[-1], qr/^commit: GROUP_AUTHORIZATION_FAILED/, 'without a callback on_error hears of it';
    is left($member), 'left', 'leaving';
    is_deeply committed_in($mock), { 't:0' => 10 }, 'with auto_commit off nothing is committed unasked';
};

subtest 'auto_commit_interval' => sub {
    my $mock   = filled(1, 5);
    my $member = joined(member($mock, auto_commit_interval => 0.02));
    wait_until { (committed_in($mock)->{'t:0'} // 0) == 5 } 'a commit that nobody asked for';
    my $commits = $mock->request_count('OffsetCommit');
    my $later; my $timer = EV::timer 0.1, 0, sub { $later = 1 };
    wait_until { $later } 'some intervals';
    is $mock->request_count('OffsetCommit'), $commits, 'and none while nothing moves';
};

subtest 'two members share, and one takes over' => sub {
    my $mock = filled(4, 2);
    my $one  = joined(member($mock));
    wait_until { @{ $one->{got} } == 8 } 'the records';
    my $two = joined(member($mock));
    wait_until { owned($one) == 2 && owned($two) == 2 } 'the sharing';
    is_deeply $one->{revoked}, ['t:0@2 t:1@2 t:2@2 t:3@2'], 'eager: everything is given up';
    is $one->{assigned}[-1], 't:0@2 t:1@2', 'and what sticks comes back, at its committed position';
    is_deeply $two->{assigned}, ['t:2@2 t:3@2'], 'the rest goes to the other';
    is_deeply $two->{got}, [], 'nothing is delivered twice';
    left($two);
    wait_until { owned($one) == 4 && is_stable($one) } 'the takeover';
    is $one->{assigned}[-1], 't:0@2 t:1@2 t:2@2 t:3@2', 'the first one has all again';
};

subtest 'cooperative members keep what stays' => sub {
    my $mock   = filled(4, 2);
    my %option = (assignors => ['cooperative-sticky']);
    my $one    = joined(member($mock, %option));
    wait_until { @{ $one->{got} } == 8 } 'the records';
    my $cursor = Inside::cursor($one->{kafka}, t => 0);
    my $two    = joined(member($mock, %option));
    wait_until { owned($one) == 2 && owned($two) == 2 && is_stable($one) && is_stable($two) } 'the sharing';
    is_deeply $one->{revoked}, ['t:2@2 t:3@2'], 'only what moves is revoked';
    is_deeply [grep { length } @{ $one->{assigned} }], ['t:0@0 t:1@0 t:2@0 t:3@0'],
        'and what stays was not assigned again';
    is_deeply [grep { length } @{ $two->{assigned} }], ['t:2@2 t:3@2'],
        'the other gets it, at the position of the first';
    is Inside::cursor($one->{kafka}, t => 0), $cursor, 'fetching of what stays was not interrupted';
    is_deeply $two->{got}, [], 'nothing is delivered twice';
};

subtest 'positions of partitions that stay but were never committed' => sub {
    my $mock = filled(1, 5);
    my $one  = joined(member($mock, auto_commit => 0));
    wait_until { @{ $one->{got} } == 5 } 'the records';
    $mock->fault(api => 'Heartbeat', error => 27);
    wait_until { @{ $one->{assigned} } == 2 } 'the rebalance';
    is $one->{assigned}[1], 't:0@5', 'go on where they were';
    is_deeply committed_in($mock), {}, 'nothing was committed';
};

# Each answer to Heartbeat: what becomes of the membership, and of what was held.
for my $case (
    [27, 'REBALANCE_IN_PROGRESS', same_member => 1, commits => 1],
    [22, 'ILLEGAL_GENERATION',    same_member => 1, commits => 0],
    [25, 'UNKNOWN_MEMBER_ID',     same_member => 0, commits => 0],
) {
    my ($code, $name, %is) = @$case;
    subtest "a heartbeat is answered $name" => sub {
        my $mock   = filled(1, 5);
        # Short, since the coordinator waits that long for the member that it was in truth.
        my $member = joined(member($mock, session_timeout => 300));
        wait_until { @{ $member->{got} } == 5 } 'the records';
        my $id = $member->{kafka}{cfg}{group}{member_id};
        $mock->fault(api => 'Heartbeat', error => $code);
        wait_until { @{ $member->{assigned} } == 2 } 'joining again';
        is_deeply $member->{revoked}, ['t:0@5'], 'what was held is revoked';
        is $member->{kafka}{cfg}{group}{member_id} eq $id ? 1 : 0, $is{same_member},
            $is{same_member} ? 'the member is the same' : 'it is another member';
        is_deeply committed_in($mock), $is{commits} ? { 't:0' => 5 } : {},
            $is{commits} ? 'the positions were committed' : 'nothing is committed that may be another one\'s';
        is_deeply [errors($member->{kafka})], [], 'not worth an error';
    };
}

for my $code (14, 15, 16) {
    subtest "a heartbeat is answered $code" => sub {
        my $mock   = filled(1, 0);
        my $member = joined(member($mock));
        my $beats  = 0;
        $mock->fault(api => 'Heartbeat', error => $code, times => 3);
        my $until; my $timer = EV::timer 0.4, 0, sub { $until = 1 };
        wait_until { $until } 'some heartbeats';
        is_deeply [state_of($member), owned($member), scalar @{ $member->{assigned} }], ['stable', 1, 1],
            'the membership goes on';
        is_deeply [errors($member->{kafka})], [], 'without an error';
    };
}

subtest 'handlers that together take longer than the session timeout' => sub {
    my $mock   = filled(1, 100);
    my @beats;
    my $member = member($mock, session_timeout => 400, client => { on_message => sub {
        push @beats, $mock->request_count('Heartbeat');
        sleep 0.01;
    } });
    wait_until { @beats == 100 } 'the records';
    is_deeply [state_of($member), scalar @{ $member->{assigned} }], ['stable', 1], 'do not lose the group';
    cmp_ok $beats[-1] - $beats[0], '>=', 5, 'heartbeats leave between the records of one answer';
    is_deeply [errors($member->{kafka})], [], 'without an error';
};

subtest 'a fenced static member stops' => sub {
    my $mock   = filled(1, 0);
    my $member = joined(member($mock, group_instance_id => 'one'));
    $mock->fault(api => 'Heartbeat', error => 82);
    wait_until { state_of($member) eq 'stopped' } 'stopping';
    is_deeply [errors($member->{kafka})],
        ["group 'g': Heartbeat: FENCED_INSTANCE_ID (code 82): another member has joined as 'one'"], 'one error';
    is scalar @{ $member->{revoked} }, 1, 'what it had is revoked';
    my @commit;
    $member->{kafka}->commit(sub { @commit = @_ });
    is_deeply \@commit, ['the group has been given up'], 'commit says so';
    is left($member), 'left', 'and unsubscribe ends it';
};

subtest 'a static member leaves without a word' => sub {
    my $mock   = filled(1, 0);
    my $member = joined(member($mock, group_instance_id => 'one'));
    left($member);
    is_deeply [map { $_->{group_instance_id} } @{ $mock->group('g')->{members} }], ['one'], 'its place is kept';
    my $again = joined(member($mock, group_instance_id => 'one'));
    is_deeply $again->{assigned}, ['t:0@0'], 'and is there when it comes back';
};

subtest 'the coordinator is not ready, or another one' => sub {
    for my $code (14, 15, 16) {
        my $mock = filled(1, 0);
        $mock->fault(api => 'JoinGroup', error => $code, times => 7);
        my $member = joined(member($mock));
        is_deeply [errors($member->{kafka})], [], "JoinGroup with error $code: as often as it takes";
    }
    for my $code (14, 15, 16, 22, 25, 27) {
        my $mock = filled(1, 0);
        $mock->fault(api => 'SyncGroup', error => $code);
        my $member = joined(member($mock, session_timeout => 300));
        is_deeply [errors($member->{kafka})], [], "SyncGroup with error $code: joins again";
    }
    my $mock = filled(1, 0);
    $mock->fault(api => 'FindCoordinator', error => 15, times => 3);
    my $member = joined(member($mock));
    is_deeply [errors($member->{kafka})], [], 'FindCoordinator is asked again';
};

subtest 'what is refused for good' => sub {
    for my $case ([JoinGroup => 23], [JoinGroup => 26], [JoinGroup => 30], [JoinGroup => 81], [SyncGroup => 30],
        [FindCoordinator => 30], [OffsetFetch => 30])
    {
        my ($api, $code) = @$case;
        my $mock = filled(1, 0);
        $mock->fault(api => $api, error => $code, times => undef);
        my $member = member($mock);
        wait_until { state_of($member) eq 'stopped' } 'stopping';
        turns();
        is scalar(() = errors($member->{kafka})), 1, "$api with error $code: one error";
        like +(errors($member->{kafka}))[0], qr/^group 'g': .*\b$api: .*\(code $code\)/, 'that names it';
        left($member);
    }
};

subtest 'offsets that are not stable yet are waited for' => sub {
    my $mock = filled(1, 5);
    $mock->fault(api => 'OffsetFetch', topic => 't', partition => 0, error => 88, times => 3);
    $mock->fault(api => 'OffsetFetch', drop => 1);
    my $member = joined(member($mock));
    wait_until { @{ $member->{got} } == 5 } 'the records';
    pass 'and then it goes on';
};

subtest 'a JoinGroup that is lost' => sub {
    my $mock = filled(1, 0);
    $mock->fault(api => 'JoinGroup', drop => 1, times => 1);
    my $member = joined(member($mock));
    is_deeply [grep { !/lost/ } errors($member->{kafka})], [], 'is sent again';
    # Half a second, then doubling: only the counting is sped up here.
    my $lost = Inside::lost_joins($member->{kafka});
    is $$lost, 0, 'and forgotten when it worked';
    $$lost = Inside::lost_joins_allowed();
    $mock->fault(api => 'JoinGroup', drop => 1, times => undef);
    $mock->fault(api => 'Heartbeat', error => 27);
    wait_until { state_of($member) eq 'stopped' } 'giving up';
    is_deeply [map { /^(group 'g': JoinGroup: .*); given up after 5 retries$/ ? 1 : () } errors($member->{kafka})], [1],
        'after five retries it stops, with one error';
};

subtest 'the coordinator moves, or goes' => sub {
    my $mock   = filled(2, 3, brokers => 3);
    my $member = joined(member($mock));
    wait_until { @{ $member->{got} } == 6 } 'the records';
    my $node = $mock->coordinator(group => 'g');
    $mock->set_coordinator(group => 'g', ($node + 1) % 3);
    my $beat; my $timer = EV::timer 0.3, 0, sub { $beat = 1 };
    wait_until { $beat } 'some heartbeats';
    is state_of($member), 'stable', 'moved: the membership goes on';
    my @commit;
    $member->{kafka}->commit(sub { @commit = ($_[0] // 'ok') });
    wait_until { @commit } 'a commit';
    is_deeply [errors($member->{kafka})], [], 'without an error';
    is_deeply \@commit, ['ok'], 'and commits arrive';

    my $down = $mock->coordinator(group => 'g');
    $mock->set_leader(t => $_, ($down + 1) % 3) for 0, 1;
    $mock->stop_broker($down);
    @commit = ();
    $member->{kafka}->commit(sub { @commit = ($_[0] // 'ok') });
    wait_until { @commit } 'a commit';
    is_deeply \@commit, ['ok'], 'gone: another one takes over';
    wait_until { is_stable($member) } 'the group';
    is_deeply [grep { !/lost/ } errors($member->{kafka})], [], 'and nothing but the loss is reported';
};

subtest 'callbacks may do anything' => sub {
    my $mock = filled(1, 5);
    my @warnings = warnings_of {
        my $dies = member($mock, on_assign => sub { die "assign\n" }, on_revoke => sub { die "revoke\n" });
        wait_until { is_stable($dies) && @{ $dies->{got} } == 5 } 'joining';
        left($dies);
    };
    is_deeply \@warnings, ["EV::Kafka: callback error: assign\n", "EV::Kafka: callback error: revoke\n"],
        'die: a warning each';

    for my $where (qw(on_assign on_message on_revoke)) {
        for my $what (qw(unsubscribe close)) {
            my ($kafka, $done, %calls);
            my $act = sub { $calls{$where}++ or $kafka->$what(sub { $done++ }) };
            $kafka = connected(brokers => $mock->bootstrap, $where eq 'on_message' ? (on_message => $act) : ());
            $mock->append(t => 0, { value => 'v' });
            $kafka->subscribe('t', group_id => "$where-$what", heartbeat_interval => 0.05,
                $where eq 'on_message' ? () : ($where => $act));
            if ($where eq 'on_revoke') {
                wait_until { $kafka->{cfg}{group}{state} eq 'stable' } 'joining';
                $mock->fault(api => 'Heartbeat', error => 27);
            }
            wait_until { $done } "$what in $where";
            turns();
            is_deeply [$done, $calls{$where}, errors($kafka)], [1, 1], "$what in $where";
            wait_until { ($mock->group("$where-$what") || { state => 'Empty' })->{state} eq 'Empty' }
                'the coordinator to hear of it';
        }
    }
};

subtest 'commit in on_revoke reaches the coordinator before the partitions reach another' => sub {
    my $mock = filled(2, 3);
    my ($one, @commits);
    $one = member($mock, auto_commit => 0, on_revoke => sub {
        $one->{kafka}->commit(sub { push @commits, $_[0] // 'ok' });
    });
    wait_until { @{ $one->{got} } == 6 } 'the records';
    my $two = joined(member($mock));
    is $two->{assigned}[0], 't:1@3', 'the other one starts where the first has committed';
    is_deeply \@commits, ['ok'], 'which was told';
};

subtest 'a commit during a rebalance' => sub {
    my $mock   = filled(2, 3);
    my %option = (assignors => ['cooperative-sticky'], auto_commit => 0);
    my $one    = joined(member($mock, %option));
    wait_until { @{ $one->{got} } == 6 } 'the records';
    my @commits;
    my $two = member($mock, %option);
    wait_until { state_of($one) eq 'joining' } 'the rebalance';
    $one->{kafka}->commit(sub { push @commits, $_[0] // 'ok' });
    wait_until { @commits } 'the end of the commit';
    is_deeply committed_in($mock), { 't:0' => 3 }, 'is done for what stays';
    is_deeply \@commits, ['given up in a rebalance before it was committed: t:1'], 'and reported for what does not';
};

subtest 'a commit during a rebalance in which the membership is lost' => sub {
    my $mock   = filled(1, 3);
    # Short, since the coordinator waits that long for the member that it was in truth.
    my $member = joined(member($mock, assignors => ['cooperative-sticky'], auto_commit => 0, session_timeout => 2000));
    wait_until { @{ $member->{got} } == 3 } 'the records';
    $mock->fault(api => 'JoinGroup', delay_ms => 200);
    $mock->fault(api => 'SyncGroup', error => 25);
    $mock->fault(api => 'Heartbeat', error => 27);
    wait_until { state_of($member) eq 'joining' } 'the rebalance';
    my @commits;
    $member->{kafka}->commit(sub { push @commits, $_[0] // 'ok' });
    wait_until { @commits } 'the end of the commit';
    is owned($member), 1, 'the partition is back';
    is_deeply \@commits, ['given up in a rebalance before it was committed: t:0'],
        'but others may have had it, and have gone further';
    is_deeply committed_in($mock), {}, 'so that nothing is committed';
};

subtest 'subscribing again' => sub {
    my $mock = filled(2, 1);
    $mock->create_topic(u => 1);
    my $member = joined(member($mock));
    wait_until { @{ $member->{got} } == 2 } 'the records';
    my @assigned;
    $member->{kafka}->subscribe('u', group_id => 'h', on_assign => sub { push @assigned, listed($_[0]) });
    wait_until { @assigned } 'the other subscription';
    is_deeply \@assigned, ['u:0@0'], 'joins the other group';
    is_deeply $member->{revoked}, ['t:0@1 t:1@1'], 'after the first was left';
    is_deeply committed_in($mock), { 't:0' => 1, 't:1' => 1 }, 'with a commit';
    is $mock->group('g')->{state}, 'Empty', 'and a word to the coordinator';
};

subtest 'before connect, and without a cluster' => sub {
    my $mock  = filled(1, 1);
    my $kafka = client(brokers => $mock->bootstrap);
    my @assigned;
    $kafka->subscribe('t', group_id => 'g', on_assign => sub { push @assigned, listed($_[0]) });
    turns();
    $kafka->connect;
    wait_until { @assigned } 'joining';
    is_deeply \@assigned, ['t:0@0'], 'subscribe before connect joins after it';
};

subtest 'leaving while the group waits for others' => sub {
    my $mock = filled(2, 3);
    my $one  = joined(member($mock, heartbeat_interval => 20));
    my $two  = member($mock);
    wait_until { $mock->group('g')->{state} eq 'PreparingRebalance' && Inside::is_blocked($two->{kafka}) } 'the wait';
    my $begun = EV::time;
    is left($two), 'left', 'the second one leaves';
    cmp_ok EV::time - $begun, '<', Inside::leave_patience(), 'without waiting for the first';
    is scalar @{ $mock->group('g')->{members} }, 1, 'and the coordinator knows';
    is_deeply [errors($_->{kafka})], [], 'without an error' for $one, $two;
};

subtest 'leaving and what waits' => sub {
    my $mock  = filled(2, 3);
    my $one   = joined(member($mock));
    my $two   = member($mock, client => { linger_ms => 100_000 });
    my $kafka = $two->{kafka};
    wait_until { state_of($two) eq 'joining' } 'the wait';
    my (@commits, @produced);
    $kafka->commit(sub { push @commits, $_[0] // 'ok' });
    $kafka->produce(t => 'key', 'value', sub { push @produced, $_[1] // 'ok' });
    is left($two), 'left', 'the member leaves';
    is_deeply \@commits, ['the group has been left'], 'a commit that waited for the group is called back';
    is_deeply \@produced, [], 'messages are no concern of the group';
    $kafka->flush;
    wait_until { @produced } 'the delivery';
    is_deeply \@produced, ['ok'], 'and are delivered';
};

subtest 'a coordinator that is silent' => sub {
    my $mock   = filled(1, 3);
    my $member = joined(member($mock, rebalance_timeout => 300));
    my $kafka  = $member->{kafka};
    wait_until { @{ $member->{got} } == 3 } 'the records';
    $mock->fault(api => 'OffsetCommit', hang => 1, times => undef);
    $mock->fault(api => 'OffsetFetch', hang => 1, times => undef);
    my @told;
    $kafka->commit(sub { push @told, 'commit ' . ($_[0] // 'ok') });
    $kafka->committed(sub { push @told, 'committed ' . ($_[1] // 'ok') });
    wait_until { @told == 2 } 'both callbacks';
    is_deeply [sort @told], ['commit timed out after 0.3 seconds', 'committed timed out after 0.3 seconds'],
        'commit and committed do not wait for ever';
    is left($member), 'left no answer within 5 seconds',
        'nor does unsubscribe, which tells that its commit may be lost';
    is scalar @told, 2, 'each callback is called once';
};

subtest 'the leader watches for topics that only others subscribe to' => sub {
    my $mock = filled(1, 0, auto_create => 0);
    my $one  = joined(member($mock));
    my $two  = joined(member($mock, topics => ['u']));
    wait_until { is_stable($one) && $mock->group('g')->{state} eq 'Stable' && owned($one) == 1 } 'both members';
    is $mock->group('g')->{leader}, $one->{kafka}{cfg}{group}{member_id}, 'the first one leads';
    $mock->create_topic(u => 2);
    wait_until { owned($two) == 2 } 'the partitions of the new topic';
    is owned($one), 1, 'the others stay where they are';
};

subtest 'a broker that does not know a topic for a moment' => sub {
    my $mock   = filled(2, 0, auto_create => 0);
    my $member = joined(member($mock));
    my $before = $mock->request_count('Metadata');
    my $generation = $mock->group('g')->{generation};
    $mock->fault(api => 'Metadata', topic => 't', error => 3);
    Inside::refresh($member->{kafka});
    wait_until { $mock->request_count('Metadata') >= $before + 2 && !Inside::is_refreshing($member->{kafka}) } 'another look';
    turns();
    is_deeply [state_of($member), $mock->group('g')->{generation}], ['stable', $generation], 'no rebalance for it';
    $mock->delete_topic('t');
    $mock->create_topic(t => 1);
    Inside::refresh($member->{kafka});
    wait_until { owned($member) == 1 && is_stable($member) } 'a rebalance for a topic that has fewer partitions';
    is_deeply Inside::watched($member->{kafka}), { t => 1 }, 'which is what is watched from then on';
};

subtest 'a static leader that has come back watches the topics' => sub {
    my $mock  = filled(1, 0);
    my $first = joined(member($mock, group_instance_id => 'one'));
    is left($first), 'left', 'it leaves for a while';
    my $again = joined(member($mock, group_instance_id => 'one'));
    is_deeply Inside::watched($again->{kafka}), { t => 1 }, 'it knows what the group subscribes to';

    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->create_topic(u => 2);
    my $other = joined(member($mock, topics => ['u']));
    wait_until { owned($other) == 2 && is_stable($again) } 'the sharing';
    is left($again), 'left', 'it leaves again';
    my $generation = $mock->group('g')->{generation};
    $kafka->subscribe('t', group_id => 'g', group_instance_id => 'one', heartbeat_interval => 0.05);
    wait_until { ((Inside::watched($kafka) || {})->{u} // 0) == 2 } 'the partitions of a topic that is new to it';
    my $before = $mock->request_count('Metadata');
    Inside::refresh($kafka);
    wait_until { $mock->request_count('Metadata') > $before && !Inside::is_refreshing($kafka) } 'metadata';
    turns();
    is $mock->group('g')->{generation}, $generation, 'which are not new to the group';
};

subtest 'the end of the client' => sub {
    my $mock   = filled(1, 5);
    my $member = joined(member($mock));
    wait_until { @{ $member->{got} } == 5 } 'the records';
    weaken(my $kafka = $member->{kafka});
    my @ended;
    $member->{kafka}->commit(sub { push @ended, $_[0] // 'ok' });
    undef $member->{kafka};
    is $kafka, undef, 'going out of scope ends it, group or not';
    is_deeply \@ended, ['client closed'], 'a commit under way is called back';
    wait_until { $mock->group('g')->{state} eq 'Empty' } 'the coordinator to hear of it';
    is_deeply committed_in($mock), { 't:0' => 5 }, 'and of the positions';

    my $other = joined(member($mock, group_id => 'h'));
    my $closed;
    $other->{kafka}->close(sub { $closed = 1 });
    is $closed, 1, 'close calls back at once';
    wait_until { $mock->group('h')->{state} eq 'Empty' } 'the coordinator to hear of it';
    pass 'and the group is left';
};

done_testing;
