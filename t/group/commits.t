use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;
use Time::HiRes qw(sleep);

use EV::Kafka;
use GroupTest;
use TestKafka qw(wait_until turns client connected errors warnings_of);

# What is stored of a group is what was acknowledged last, whatever its coordinator does.

# Reads all of a partition of $records and commits at each; { member, acknowledged, errors, told }.
sub commits_each {
    my ($mock, %do) = @_;
    my $state = { acknowledged => 0, errors => [], told => 0 };
    my $kafka;
    $state->{member} = member($mock, auto_commit => 0, %{ $do{subscribe} || {} }, client => { on_message => sub {
        my $offset = $_[2] + 1;
        $do{at}{$offset}->($mock) if $do{at}{$offset};
        $kafka->commit(sub {
            $state->{told}++;
            push @{ $state->{errors} }, $_[0] if defined $_[0];
            $state->{acknowledged} = $offset if !defined $_[0] && $offset > $state->{acknowledged};
        });
    } });
    $kafka = $state->{member}{kafka};
    return $state;
}

my %TROUBLE = (
    'the coordinator moves' => sub {
        my ($mock) = @_;
        $mock->set_coordinator(group => 'g', ($mock->coordinator(group => 'g') + 1) % 3);
    },
    'one answer is late and says that it is another broker' => sub {
        $_[0]->fault(api => 'OffsetCommit', error => 16, delay_ms => 30);
    },
    'answers are lost of what was stored' => sub { $_[0]->fault(api => 'OffsetCommit', drop => 1, applied => 1) },
    'the log of the coordinator is slow'  => sub { $_[0]->fault(api => 'OffsetCommit', error => 7, times => 3) },
);

for my $protocol (qw(classic consumer)) {
    for my $trouble (sort keys %TROUBLE) {
        subtest "a commit after each record, and $trouble: $protocol" => sub {
            my $mock  = filled(1, 60, brokers => 3, consumer_heartbeat_interval_ms => 30);
            my $state = commits_each($mock, subscribe => { group_protocol => $protocol },
                at => { map { $_ => $TROUBLE{$trouble} } 10, 30, 50 });
            wait_until { $state->{told} == 60 } 'all callbacks';
            is_deeply $state->{errors}, [], 'each is a success';
            is committed_in($mock)->{'t:0'}, 60, 'the last one is stored';
            turns();
            is committed_in($mock)->{'t:0'}, $state->{acknowledged}, 'and stays';
            left($state->{member});
        };
    }
}

subtest 'one OffsetCommit is under way at most' => sub {
    my $mock = filled(1, 30);
    $mock->fault(api => 'OffsetCommit', delay_ms => 50);
    my $state = commits_each($mock);
    wait_until { $state->{told} == 30 } 'all callbacks';
    cmp_ok $mock->request_count('OffsetCommit'), '<=', 3, 'what is wanted meanwhile joins the next';
    is committed_in($mock)->{'t:0'}, 30, 'with the newest position';
};

subtest 'what a retriable code is worth' => sub {
    my $mock   = filled(1, 5);
    my $member = joined(member($mock, auto_commit => 0));
    wait_until { @{ $member->{got} } == 5 } 'the records';
    for my $code (5, 6, 7, 13, 14, 15, 16, 19, 20, 89, -1) {
        $mock->fault(api => 'OffsetCommit', error => $code, times => 2);
        my @told;
        $member->{kafka}->commit(sub { @told = ($_[0] // 'ok') });
        wait_until { @told } 'the commit';
        is_deeply \@told, ['ok'], "$code: another try";
    }
    $mock->fault(api => 'OffsetCommit', error => -1, times => undef);
    my @told;
    $member->{kafka}->commit(sub { @told = ($_[0] // 'ok') });
    wait_until { @told } 'the commit';
    is_deeply \@told, ['UNKNOWN_SERVER_ERROR (code -1) for t:0'], '-1 for ever: an end';
};

subtest 'one request of a member is answered with a retriable code' => sub {
    for my $code (-1, 5, 6, 7, 13, 19, 89) {
        my $mock = filled(1, 3);
        $mock->fault(api => $_, error => $code) for qw(FindCoordinator JoinGroup SyncGroup OffsetFetch);
        my $member = joined(member($mock));
        wait_until { @{ $member->{got} } == 3 } 'the records';
        my $beats = $mock->request_count('Heartbeat');
        $mock->fault(api => 'Heartbeat', error => $code);
        wait_until { $mock->request_count('Heartbeat') >= $beats + 3 } 'some heartbeats';
        is_deeply [state_of($member), $member->{revoked}], ['stable', []], "$code: the membership goes on";
        $mock->fault(api => 'LeaveGroup', error => $code);
        is left($member), 'left', 'leaving';
        is $mock->group('g')->{state}, 'Empty', 'the goodbye is said until it is heard';
        is_deeply [errors($member->{kafka})], [], 'without an error';

        $mock   = filled(1, 3, consumer_heartbeat_interval_ms => 30);
        $mock->fault(api => 'ConsumerGroupHeartbeat', error => $code);
        $member = joined(member($mock, group_protocol => 'consumer'));
        wait_until { @{ $member->{got} } == 3 } 'the records';
        $beats = $mock->request_count('ConsumerGroupHeartbeat');
        $mock->fault(api => 'ConsumerGroupHeartbeat', error => $code);
        wait_until { $mock->request_count('ConsumerGroupHeartbeat') >= $beats + 3 } 'some heartbeats';
        is_deeply [state_of($member), $member->{revoked}], ['stable', []], "$code: and so it does with the other protocol";
        is_deeply [errors($member->{kafka})], [], 'without an error';
    }
};

subtest 'commit takes offsets' => sub {
    my $mock   = filled(2, 5);
    my $member = joined(member($mock, auto_commit => 0));
    my $kafka  = $member->{kafka};
    wait_until { @{ $member->{got} } == 10 } 'the records';
    my $commit = sub { my @told; $kafka->commit(@_, sub { @told = @_ }); wait_until { @told } 'the commit'; return $told[0] };
    is $commit->([{ topic => 't', partition => 0, offset => 2, metadata => 'so far' }]), undef, 'a success';
    is_deeply committed_in($mock), { 't:0' => 2 }, 'these and no others';
    is $mock->offsets('g')->{'t:0'}{metadata}, 'so far', 'with what was said of it';
    is $kafka->position('t', 0), 5, 'the position is another matter';
    is $commit->([]), undef, 'none';
    is $commit->(undef), undef, 'undef stands for all';
    is_deeply committed_in($mock), { 't:0' => 5, 't:1' => 5 }, 'which are committed where they are';
    is $commit->([{ topic => 't', partition => 1, offset => 1 }, { topic => 't', partition => 7, offset => 1 }]),
        'not assigned to this member: t:7', 'what others have is not ours to write';
    is committed_in($mock)->{'t:1'}, 1, 'the rest is committed, also further back';

    for my $case (
        ['t'                                              => 'expected arrayref of offsets or a callback'],
        [{}                                               => 'expected arrayref of offsets or a callback'],
        [['t']                                            => 'offset must be a hashref'],
        [[{ partition => 0, offset => 1 }]                => 'missing topic'],
        [[{ topic => [], partition => 0, offset => 1 }]   => 'topic must be a string'],
        [[{ topic => 't', offset => 1 }]                  => 'missing partition'],
        [[{ topic => 't', partition => 0 }]               => 'missing offset'],
        [[{ topic => 't', partition => 'x', offset => 1 }]   => q(partition must be an integer, not 'x')],
        [[{ topic => 't', partition => 0, offset => 'end' }] => q(offset must be an integer, not 'end')],
        [[{ topic => 't', partition => 0, offset => -1 }]    => 'offset must not be negative'],
        [[{ topic => 't', partition => 0, offset => 1, metadata => {} }] => 'metadata must be a string'],
    ) {
        my ($given, $text) = @$case;
        ok !eval { $kafka->commit($given); 1 }, "refused: $text";
        like $@, qr/^commit: \Q$text\E at \Q$0\E line/, 'at the place of the call';
    }
    for my $case ([[[], 'cb'], 'the callback must be a code reference'], [[[], sub { }, 1], 'too many arguments']) {
        ok !eval { $kafka->commit(@{ $case->[0] }); 1 }, "refused: $case->[1]";
        like $@, qr/^commit: \Q$case->[1]\E at/, 'by name';
    }
    is_deeply [errors($kafka)], [], 'without an error';
};

for my $protocol (qw(classic consumer)) {
    subtest "a topic of the group is deleted: $protocol" => sub {
        my $mock = filled(1, 3, auto_create => 0, consumer_heartbeat_interval_ms => 30);
        $mock->create_topic(u => 1);
        my $member = joined(member($mock, topics => ['t', 'u'], group_protocol => $protocol, auto_commit_interval => 0.05));
        my $kafka  = $member->{kafka};
        wait_until { owned($member) == 2 && @{ $member->{got} } == 3 } 'the records';
        $mock->delete_topic('u');
        my @told;
        $mock->append(t => 0, { value => 'more' });
        wait_until { @{ $member->{got} } == 4 } 'another record';
        $kafka->commit([{ topic => 'u', partition => 0, offset => 0 }, { topic => 't', partition => 0, offset => 1 }],
            sub { push @told, $_[0] // 'ok' });
        wait_until { @told } 'the commit that names it';
        like $told[0], qr/^(?:UNKNOWN_TOPIC_OR_PARTITION \(code 3\) for|given up in a rebalance before it was committed:) u:0$/,
            'tells it of that partition';
        $kafka->commit(sub { push @told, $_[0] // 'ok' });
        wait_until { @told == 2 } 'the commit of all';
        is $told[1], 'ok', 'is a success';
        wait_until { owned($member) == 1 && is_stable($member) } 'the rebalance';
        is committed_in($mock)->{'t:0'}, 4, 'what is left is committed';
        $mock->create_topic(u => 2);
        wait_until { owned($member) == 3 } 'the topic, when it is there again';
        is left($member), 'left', 'leaving';
        is_deeply [grep { !/^fetch of u/ } errors($kafka)], [], 'without an error of the group';
    };
}

subtest 'unsubscribe while a heartbeat brings a new epoch' => sub {
    my $mock = filled(4, 3, consumer_heartbeat_interval_ms => 300);
    my ($one, $two) = map { joined(member($mock, group_protocol => 'consumer')) } 1 .. 2;
    wait_until { owned($one) == 2 && owned($two) == 2 && $mock->group('g')->{state} eq 'Stable' } 'the sharing';
    is left($two), 'left', 'the other one leaves';
    my $epoch  = $one->{kafka}{cfg}{group}{generation};
    my $before = $mock->request_count('ConsumerGroupHeartbeat');
    # Carried out at once, and answered late.
    $mock->fault(api => 'ConsumerGroupHeartbeat', delay_ms => 200);
    wait_until { $mock->request_count('ConsumerGroupHeartbeat') > $before } 'the heartbeat';
    isnt $mock->group('g')->{members}[0]{generation}, $epoch, 'the coordinator has another epoch for it';
    is $one->{kafka}{cfg}{group}{generation}, $epoch, 'of which it does not know';
    my @got = @{ $one->{got} };
    is left($one), 'left', 'it leaves';
    is_deeply committed_in($mock), { map { ("t:$_" => 3) } 0 .. 3 }, 'and its last commit is stored';
    is $mock->group('g')->{state}, 'Empty', 'the coordinator is told';
};

subtest 'a commit with an epoch of which no heartbeat is on its way' => sub {
    my $mock   = filled(1, 3, consumer_heartbeat_interval_ms => 20_000);
    my $member = joined(member($mock, group_protocol => 'consumer', auto_commit => 0));
    wait_until { owned($member) && @{ $member->{got} } == 3 } 'the records';
    my $beats = $mock->request_count('ConsumerGroupHeartbeat');
    $mock->fault(api => 'OffsetCommit', error => 113);
    my @told;
    $member->{kafka}->commit(sub { @told = ($_[0] // 'ok') });
    wait_until { @told } 'the commit';
    is_deeply \@told, ['ok'], 'it is committed';
    cmp_ok $mock->request_count('ConsumerGroupHeartbeat'), '>', $beats, 'after a heartbeat that has asked for the epoch';
};

subtest 'what only a handler that takes long has made late' => sub {
    for my $what (qw(unsubscribe commit)) {
        my $mock = filled(1, 3);
        my @told;
        my $member;
        $member = member($mock, rebalance_timeout => 1000, client => { on_message => sub {
            return if $_[2];
            sleep 5.2;
            $member->{kafka}->$what(sub { @told = ($_[0] // 'ok') });
        } });
        wait_until { @told } $what;
        is_deeply \@told, ['ok'], "$what has its time from when it is called";
        is $mock->group('g')->{state}, 'Empty', 'and the goodbye is sent' if $what eq 'unsubscribe';
    }
};

done_testing;
