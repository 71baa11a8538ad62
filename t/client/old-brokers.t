use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use EV::Kafka;
use GroupTest;
use TestKafka qw(wait_until turns client connected errors log_values);

# Brokers that are as old as they come: whole lives of producers and consumers in the
# versions of Kafka 2.0, and in the first ones of the requests of groups.

# The newest versions of Kafka 2.0.0.
my %KAFKA_2_0 = (
    Produce            => 6,
    Fetch              => 8,
    ListOffsets        => 3,
    Metadata           => 6,
    OffsetCommit       => 4,
    OffsetFetch        => 4,
    FindCoordinator    => 2,
    JoinGroup          => 3,
    Heartbeat          => 2,
    LeaveGroup         => 2,
    SyncGroup          => 2,
    CreateTopics       => 3,
    DeleteTopics       => 2,
    InitProducerId     => 1,
    OffsetForLeaderEpoch => 1,
    AddPartitionsToTxn => 1,
    AddOffsetsToTxn    => 1,
    EndTxn             => 1,
    TxnOffsetCommit    => 1,
);

# Those of Kafka 0.11, the first one with today's record batches, or older ones: the first
# that are spoken.
my %FIRST = (
    %KAFKA_2_0,
    Produce         => 3,
    Fetch           => 4,
    ListOffsets     => 1,
    Metadata        => 1,
    OffsetCommit    => 3,
    OffsetFetch     => 1,
    FindCoordinator => 0,
    JoinGroup       => 0,
    Heartbeat       => 0,
    LeaveGroup      => 0,
    SyncGroup       => 0,
    InitProducerId  => 0,
    OffsetForLeaderEpoch => undef,
    AddPartitionsToTxn => 0,
    AddOffsetsToTxn    => 0,
    EndTxn             => 0,
    TxnOffsetCommit    => 0,
);

sub old_cluster {
    my ($newest, $partitions, $records) = @_;
    my $mock = filled($partitions, $records);
    for my $api (sort keys %$newest) {
        $mock->api_versions($api, defined $newest->{$api} ? (0, $newest->{$api}) : undef);
    }
    $mock->api_versions(ConsumerGroupHeartbeat => undef);
    return $mock;
}

for my $case (['Kafka 2.0', \%KAFKA_2_0], ['the first versions', \%FIRST]) {
    my ($name, $newest) = @$case;

    subtest "a group: $name" => sub {
        my $mock = old_cluster($newest, 2, 3);
        my $one  = joined(member($mock, heartbeat_interval => 0.02));
        is_deeply $one->{assigned}, ['t:0@0 t:1@0'], 'the first member has all, from the earliest';
        wait_until { @{ $one->{got} } == 6 } 'the records';
        my $beats = $mock->request_count('Heartbeat');
        wait_until { $mock->request_count('Heartbeat') > $beats + 2 } 'heartbeats';
        is state_of($one), 'stable', 'heartbeats are answered';

        my @commit;
        $one->{kafka}->commit(sub { @commit = ($_[0] // 'ok') });
        wait_until { @commit } 'the commit';
        is_deeply [\@commit, committed_in($mock)], [['ok'], { 't:0' => 3, 't:1' => 3 }], 'commit';
        my @committed;
        $one->{kafka}->committed(sub { @committed = @_ });
        wait_until { @committed } 'committed';
        is_deeply \@committed, [{ 't:0' => 3, 't:1' => 3 }, undef], 'committed';

        my $two = joined(member($mock));
        wait_until { owned($one) == 1 && owned($two) == 1 && is_stable($one) } 'the sharing';
        like $two->{assigned}[0], qr/^t:[01]\@3$/, 'the second one goes on from the committed offset';
        is left($two), 'left', 'it leaves';
        wait_until { owned($one) == 2 && is_stable($one) } 'the takeover';
        is left($one), 'left', 'and so does the first';
        is $mock->group('g')->{state}, 'Empty', 'the coordinator was told';
        is_deeply [errors($_->{kafka})], [], 'without an error' for $one, $two;
    };

    subtest "cooperative members: $name" => sub {
        my $mock   = old_cluster($newest, 4, 2);
        my %option = (assignors => ['cooperative-sticky']);
        my $one    = joined(member($mock, %option));
        wait_until { @{ $one->{got} } == 8 } 'the records';
        my $two = joined(member($mock, %option));
        wait_until { owned($one) == 2 && owned($two) == 2 && is_stable($one) && is_stable($two) } 'the sharing';
        is_deeply $one->{revoked}, ['t:2@2 t:3@2'], 'only what moves is revoked';
        is_deeply $two->{got}, [], 'nothing is delivered twice';
        is_deeply [errors($_->{kafka})], [], 'without an error' for $one, $two;
    };

    subtest "leaving while the group waits: $name" => sub {
        my $mock = old_cluster($newest, 2, 0);
        my $one  = joined(member($mock, heartbeat_interval => 1.5));
        my $two  = member($mock);
        wait_until { $mock->group('g')->{state} eq 'PreparingRebalance' } 'the wait';
        is left($two), 'left', 'the second one, which does not know its id before the first has joined again, leaves';
        wait_until { @{ $mock->group('g')->{members} } == 1 } 'the coordinator to hear of it';
        is_deeply [errors($_->{kafka})], [], 'without an error' for $one, $two;
    };

    subtest "static membership and the new protocol: $name" => sub {
        my $mock = old_cluster($newest, 1, 0);
        my %refusal = (
            group_instance_id => qr/JoinGroup: .*group_instance_id.*/,
            group_protocol    => qr/ConsumerGroupHeartbeat: the broker does not speak it: .*/,
        );
        for my $option ([group_instance_id => 'one'], [group_protocol => 'consumer']) {
            my $member = member($mock, @$option);
            wait_until { state_of($member) eq 'stopped' } 'stopping';
            like join("\n", errors($member->{kafka})), qr/\Agroup 'g': $refusal{ $option->[0] }\z/,
                "$option->[0]: one error";
            is left($member), 'left', 'and it can be left';
        }
    };

    subtest "producing and reading: $name" => sub {
        my $mock  = old_cluster($newest, 2, 0);
        my @got;
        my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1, compression => 'lz4',
            on_message => sub { push @got, "$_[2] $_[3]=$_[4] " . ($_[5] ? $_[5]{h} : '') });
        my @delivered;
        $kafka->produce(t => 'k', 'v', { partition => 0, headers => { h => 'x' } },
            sub { push @delivered, $_[1] // 'ok' });
        wait_until { @delivered } 'the delivery';
        is_deeply [\@delivered, log_values($mock, 't')], [['ok'], ['v']], 'produce';

        my @lag;
        $kafka->assign([{ topic => 't', partition => 0, offset => -2 }]);
        my $poll = EV::timer 0, 0.01, sub { $kafka->poll };
        wait_until { @got } 'the record';
        is_deeply \@got, ['0 k=v x'], 'poll, from the earliest offset';
        $kafka->lag(sub { @lag = @_ });
        wait_until { @lag } 'the lag';
        is $lag[0]{'t:0'}{lag} // $lag[0]{'t:0'}, 0, 'lag';
        my @times;
        $kafka->offsets_for_times({ 't:0' => 1 }, sub { @times = @_ });
        wait_until { @times } 'the offset of a time';
        is $times[1], undef, 'offsets_for_times';
        is_deeply [errors($kafka)], [], 'without an error';
    };

    subtest "a transaction: $name" => sub {
        # The versions before know neither transactional ids nor what is committed.
        my %since = (FindCoordinator => 1, ListOffsets => 2);
        $newest->{$_} < $since{$_} or delete $since{$_} for keys %since;
        my $mock = old_cluster({ %$newest, %since }, 2, 3);
        my ($kafka, @got, @done);
        $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x', isolation_level => 'read_committed',
            on_message => sub { push @got, $_[2] });
        $kafka->subscribe('t', group_id => 'g', auto_commit => 0);
        wait_until { @got == 6 } 'the records';
        $kafka->begin_transaction;
        $kafka->produce(u => 'k', 'v');
        $kafka->send_offsets_to_transaction('g', sub { push @done, $_[1] // 'offsets' });
        wait_until { @done } 'the offsets';
        $kafka->commit_transaction(sub { push @done, $_[1] // 'committed' });
        wait_until { @done == 2 } 'the commit';
        is_deeply \@done, ['offsets', 'committed'], 'is committed';
        is_deeply committed_in($mock), { 't:0' => 3, 't:1' => 3 }, 'with the offsets';
        is_deeply [errors($kafka)], [], 'without an error';
    };
}

subtest 'a transactional id, and a broker that knows none' => sub {
    my $mock  = old_cluster(\%FIRST, 1, 0);
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x');
    $kafka->connect;
    wait_until { errors($kafka) } 'the refusal';
    like +(errors($kafka))[0], qr/FindCoordinator: .*version/, 'is an error that says why';
};

done_testing;
