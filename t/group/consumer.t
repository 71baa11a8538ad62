use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use EV::Kafka;
use GroupTest;
use Inside;
use TestKafka qw(wait_until turns errors);

# A member of a group by the consumer protocol, in which the coordinator assigns (KIP-848).

sub cluster {
    my ($partitions, $records, %option) = @_;
    return filled($partitions, $records, consumer_heartbeat_interval_ms => 30, %option);
}

sub consumer { my ($mock, %option) = @_; return member($mock, group_protocol => 'consumer', %option) }

sub came_to { my ($member) = @_; return [grep { length } @{ $member->{assigned} }] }

subtest 'joining, consuming and leaving' => sub {
    my $mock   = cluster(2, 3);
    my $member = joined(consumer($mock));
    wait_until { @{ $member->{got} } == 6 } 'the records';
    is_deeply came_to($member), ['t:0@0 t:1@0'], 'on_assign: all, from the earliest';
    my $group = $member->{kafka}{cfg}{group};
    my $known = $mock->group('g');
    is_deeply [@$known{qw(protocol state)}], ['consumer', 'Stable'], 'the coordinator knows it';
    is $known->{members}[0]{member_id}, $group->{member_id}, 'by the id that it has made itself';
    is left($member), 'left', 'leaving';
    is_deeply $member->{revoked}, ['t:0@3 t:1@3'], 'on_revoke: with the positions';
    is_deeply committed_in($mock), { 't:0' => 3, 't:1' => 3 }, 'which were committed';
    is $mock->group('g')->{state}, 'Empty', 'the coordinator was told';

    my $again = joined(consumer($mock));
    wait_until { owned($again) } 'the partitions';
    is_deeply came_to($again), ['t:0@3 t:1@3'], 'the next one continues from there';
    is_deeply [errors($_->{kafka})], [], 'without an error' for $member, $again;
};

subtest 'members share, and what stays keeps flowing' => sub {
    my $mock = cluster(4, 2);
    my $one  = joined(consumer($mock));
    wait_until { @{ $one->{got} } == 8 } 'the records';
    my %cursor = Inside::cursors($one->{kafka});
    my $two    = joined(consumer($mock));
    wait_until { owned($one) == 2 && owned($two) == 2 } 'the sharing';
    is scalar @{ $one->{revoked} }, 1, 'one revocation';
    is scalar(split ' ', $one->{revoked}[0]), 2, 'of what moves';
    is_deeply came_to($two), $one->{revoked}, 'which the other gets, at the position of the first';
    my %kept = Inside::cursors($one->{kafka});
    is_deeply \%kept, { map { $_ => $cursor{$_} } keys %kept },
        'fetching of what stays was not interrupted';
    is_deeply $two->{got}, [], 'nothing is delivered twice';
    left($two);
    wait_until { owned($one) == 4 } 'the takeover';
    is_deeply [errors($_->{kafka})], [], 'without an error' for $one, $two;
};

for my $case ([25, 'UNKNOWN_MEMBER_ID'], [110, 'FENCED_MEMBER_EPOCH']) {
    my ($code, $name) = @$case;
    subtest "a heartbeat is answered $name" => sub {
        my $mock   = cluster(1, 5);
        my $member = joined(consumer($mock));
        wait_until { @{ $member->{got} } == 5 } 'the records';
        my $id = $member->{kafka}{cfg}{group}{member_id};
        $mock->fault(api => 'ConsumerGroupHeartbeat', error => $code);
        wait_until { @{ came_to($member) } == 2 } 'joining again';
        is_deeply $member->{revoked}, ['t:0@5'], 'what was held is revoked';
        is_deeply committed_in($mock), {}, "and not committed: it may be another one's";
        is came_to($member)->[1], 't:0@5', 'it goes on where it was';
        is $member->{kafka}{cfg}{group}{member_id}, $id, 'under the same id';
        is_deeply [errors($member->{kafka})], [], 'not worth an error';
    };
}

subtest 'the coordinator is not ready, or another one' => sub {
    for my $code (14, 15, 16) {
        my $mock = cluster(1, 5);
        $mock->fault(api => 'ConsumerGroupHeartbeat', error => $code, times => 3);
        my $member = joined(consumer($mock));
        wait_until { @{ $member->{got} } == 5 } 'the records';
        $mock->fault(api => 'ConsumerGroupHeartbeat', error => $code, times => 2);
        $mock->fault(api => 'ConsumerGroupHeartbeat', drop  => 1);
        my $later; my $timer = EV::timer 0.5, 0, sub { $later = 1 };
        wait_until { $later } 'some heartbeats';
        is_deeply [state_of($member), owned($member), $member->{revoked}], ['stable', 1, []],
            "$code: the membership goes on";
        is_deeply [grep { !/lost/ } errors($member->{kafka})], [], 'without an error';
    }
    my $mock   = cluster(2, 3, brokers => 3);
    my $member = joined(consumer($mock));
    wait_until { @{ $member->{got} } == 6 } 'the records';
    my $node = $mock->coordinator(group => 'g');
    $mock->set_coordinator(group => 'g', ($node + 1) % 3);
    my @commit;
    $member->{kafka}->commit(sub { @commit = ($_[0] // 'ok') });
    wait_until { @commit } 'a commit';
    is_deeply \@commit, ['ok'], 'a coordinator that has moved is found';
    is_deeply [errors($member->{kafka})], [], 'without an error';
};

subtest 'what is refused for good' => sub {
    for my $code (30, 42, 81, 82, 112) {
        my $mock = cluster(1, 0);
        $mock->fault(api => 'ConsumerGroupHeartbeat', error => $code);
        my $member = consumer($mock, group_instance_id => 'one');
        wait_until { state_of($member) eq 'stopped' } 'stopping';
        turns();
        is scalar(() = errors($member->{kafka})), 1, "error $code: one error";
        like +(errors($member->{kafka}))[0], qr/^group 'g': ConsumerGroupHeartbeat: [A-Z_]+ \(code $code\)/,
            'that names it';
        left($member);
    }
};

subtest 'a commit with a stale epoch is sent again with the present one' => sub {
    my $mock   = cluster(1, 5);
    my $member = joined(consumer($mock));
    wait_until { @{ $member->{got} } == 5 } 'the records';
    $mock->fault(api => 'OffsetCommit', error => 113, times => 2);
    my @commit;
    $member->{kafka}->commit(sub { @commit = ($_[0] // 'ok') });
    wait_until { @commit } 'the commit';
    is_deeply \@commit, ['ok'], 'and arrives';
    is_deeply committed_in($mock), { 't:0' => 5 }, 'whole';
};

subtest 'a static member leaves for a while' => sub {
    my $mock   = cluster(2, 0);
    my %one    = (group_instance_id => 'one');
    my $member = joined(consumer($mock, %one));
    wait_until { owned($member) == 2 } 'its partitions';
    left($member);
    is_deeply [map { $_->{group_instance_id} } @{ $mock->group('g')->{members} }], ['one'], 'its place is kept';
    my $again = joined(consumer($mock, %one));
    wait_until { owned($again) == 2 } 'its partitions';
    pass 'and is there when it comes back';
};

subtest 'a topic that is still to come' => sub {
    my $mock   = cluster(1, 0, auto_create => 0);
    my $member = joined(consumer($mock, topics => ['t', 'later']));
    $mock->create_topic(later => 2);
    wait_until { owned($member) == 3 } 'its partitions';
    pass 'is assigned when it is there';
    is_deeply [errors($member->{kafka})], [], 'without an error';
};

subtest 'a topic that metadata never names' => sub {
    my $mock   = cluster(1, 0);
    my $member = joined(consumer($mock));
    wait_until { owned($member) } 'its partition';
    Inside::set_target($member->{kafka}, [{ topic => 'x' x 16, partitions => [0] }]);
    my $begun  = EV::time;
    my $before = $mock->request_count('Metadata');
    Inside::reconcile($member->{kafka});
    wait_until { $mock->request_count('Metadata') == $before + 5 } 'the search for it';
    # At once, then after 0.2, 0.4, 0.8 and 1 seconds, each with a quarter of jitter.
    cmp_ok EV::time - $begun, '>=', 0.75 * 2.4, 'it is looked for ever more slowly';
};

subtest 'a member that has stopped takes nothing over' => sub {
    my $mock   = cluster(1, 0);
    my $member = joined(consumer($mock));
    wait_until { owned($member) } 'its partition';
    my $told = @{ $member->{assigned} };
    $mock->fault(api => 'ConsumerGroupHeartbeat', error => 111);
    wait_until { state_of($member) eq 'stopped' } 'the end';
    my ($known) = grep { $_->{name} eq 't' } @{ $member->{kafka}{cfg}{meta}{topics} };
    Inside::set_target($member->{kafka}, [{ topic => $known->{topic_id}, partitions => [0] }]);
    my $before = $mock->request_count('Metadata');
    Inside::refresh($member->{kafka});
    wait_until { $mock->request_count('Metadata') > $before } 'metadata';
    turns();
    is state_of($member), 'stopped', 'also when metadata names what was assigned before';
    is @{ $member->{assigned} }, $told, 'on_assign is not called';
};

subtest 'processes that were forked have member ids of their own' => sub {
    srand 1;
    my $mine = Inside::new_member_id();
    my $pid  = open my $child, '-|';
    if (!$pid) {
        srand 1;
        print Inside::new_member_id();
        close STDOUT;
        require POSIX;
        POSIX::_exit(0);
    }
    my $other = <$child>;
    like $other, qr/\A[0-9a-f]{8}(?:-[0-9a-f]{8}){3}\z/, 'the id';
    isnt $other, $mine, 'differs with the same random numbers';
};

subtest 'unsubscribe and close from within callbacks' => sub {
    for my $where (qw(on_assign on_revoke)) {
        for my $what (qw(unsubscribe close)) {
            my $mock = cluster(1, 1);
            my ($member, $done, $calls);
            $member = consumer($mock, group_id => 'h', $where => sub {
                return if !@{ $_[0] } || $calls++;
                $member->{kafka}->$what(sub { $done++ });
            });
            if ($where eq 'on_revoke') {
                wait_until { owned($member) } 'joining';
                $mock->fault(api => 'ConsumerGroupHeartbeat', error => 110);
            }
            wait_until { $done } "$what in $where";
            turns();
            is_deeply [$done, $calls, errors($member->{kafka})], [1, 1], "$what in $where";
            wait_until { $mock->group('h')->{state} eq 'Empty' } 'the coordinator to hear of it';
        }
    }
};

done_testing;
