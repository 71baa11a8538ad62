use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use TestKafka qw(wait_until connected errors log_values);

# Brokers that are upgraded, or downgraded, under a client that lives on: each connection speaks what its own broker
# does. The versions before and after have none in common, and a mock closes the connection at any other.

my %OLD = (
    ApiVersions => [0, 0], Produce => [3, 6], Fetch => [4, 8], ListOffsets => [1, 3], Metadata => [1, 6],
    OffsetCommit => [2, 5], OffsetFetch => [1, 4], FindCoordinator => [0, 2], JoinGroup => [0, 4], Heartbeat => [0, 2],
    LeaveGroup => [0, 2], SyncGroup => [0, 2], InitProducerId => [0, 1], OffsetForLeaderEpoch => [0, 1],
    AddPartitionsToTxn => [0, 1], AddOffsetsToTxn => [0, 1], EndTxn => [0, 1], TxnOffsetCommit => [0, 2],
    DescribeGroups => [0, 2], ListGroups => [0, 2],
);
my $newest = EV::Kafka::Mock->new->versions;
my %NEW = map { $_ => [$OLD{$_} ? $OLD{$_}[1] + 1 : $newest->{$_}[0], ($newest->{$_} || $OLD{$_})->[1] + ($newest->{$_} ? 0 : 3)] }
    keys %OLD, keys %$newest;
$NEW{ApiVersions} = [0, 5];

my %TABLE = (old => \%OLD, new => \%NEW);

sub restarted {
    my ($mock, $node_id, $table) = @_;
    $mock->stop_broker($node_id);
    $mock->versions($table, $node_id);
    $mock->start_broker($node_id);
    return;
}

sub sent {
    my ($kafka, $outcomes, $value) = @_;
    $kafka->produce(t => $value, $value, { partition => 0 }, sub { push @$outcomes, $_[1] // 'ok' });
    return;
}

is_deeply [sort keys %NEW], [sort keys %{ { %OLD, %$newest } }], 'all that the mock knows is in a table';
is_deeply [grep { $_ ne 'ApiVersions' && $NEW{$_}[0] > $NEW{$_}[1] } sort keys %NEW], [], 'and has versions before and after';

for my $case ([qw(old new)], [qw(new old)]) {
    my ($before, $after) = @$case;

    subtest "one broker, from $before to $after" => sub {
        my $mock = filled(1, 0, versions => $TABLE{$before});
        my $member = joined(member($mock, client => { idempotent => 1, compression => 'gzip' }));
        my ($kafka, @outcomes) = $member->{kafka};
        sent($kafka, \@outcomes, 'before');
        wait_until { @outcomes && @{ $member->{got} } } 'a record there and back';

        # One is under way and unanswered, others are queued, when the broker goes.
        $mock->fault(api => 'Produce', hang => 1);
        sent($kafka, \@outcomes, 'on its way');
        my $count = $mock->request_count('Produce');
        wait_until { $mock->request_count('Produce') > $count } 'the request';
        sent($kafka, \@outcomes, "queued $_") for 1, 2;
        restarted($mock, 0, $TABLE{$after});
        sent($kafka, \@outcomes, 'after');
        wait_until { @outcomes == 5 && @{ $member->{got} } >= 5 } 'all the others';

        my @values = ('before', 'on its way', 'queued 1', 'queued 2', 'after');
        is_deeply [@outcomes, @{ log_values($mock, 't') }], [('ok') x 5, @values], 'each once, in order';
        is_deeply $member->{got}, [map {"t:0\@$_"} 0 .. 4], 'and read once';
        wait_until { is_stable($member) } 'the group';
        my @committed;
        $kafka->commit(sub { push @committed, $_[0] // 'ok' });
        wait_until { @committed } 'the commit';
        is_deeply [\@committed, committed_in($mock)], [['ok'], { 't:0' => 5 }], 'the group goes on';
        is scalar(grep { !/lost/ } errors($kafka)), 0, 'without an error but for the loss' or diag join "\n", errors($kafka);
    };

    subtest "a transactional producer, from $before to $after" => sub {
        my $mock = filled(1, 0, versions => $TABLE{$before});
        my ($kafka, @done) = connected(brokers => $mock->bootstrap, transactional_id => 'x');
        for my $round (1 .. 2) {
            $kafka->begin_transaction;
            sent($kafka, \@done, "round $round");
            $kafka->commit_transaction(sub { push @done, $_[1] // 'committed' });
            wait_until { @done == 2 * $round } "round $round";
            next if $round == 2;
            # Between them the client hears that the broker is gone: versions are a connection's.
            my $count = $mock->request_count('ApiVersions');
            restarted($mock, 0, $TABLE{$after});
            wait_until { $mock->request_count('ApiVersions') > $count } 'another connection';
        }
        is_deeply \@done, [('ok', 'committed') x 2], 'its transactions go on';
        is scalar(@{ [$mock->records('t', 0, isolation_level => 'read_committed')] }), 2, 'and are committed';
    };

    subtest "a rolling change of two brokers, from $before to $after" => sub {
        my $mock = filled(2, 0, versions => $TABLE{$before}, brokers => 2, replication_factor => 2);
        my $member = joined(member($mock, client => { idempotent => 1 }));
        my ($kafka, @outcomes, $sent) = $member->{kafka};
        my $burst = sub {
            for my $partition (0, 1, 0, 1) {
                $kafka->produce(t => undef, ++$sent, { partition => $partition }, sub { push @outcomes, $_[1] // 'ok' });
            }
        };
        $burst->();
        wait_until { @outcomes == $sent } 'the first ones';
        for my $node_id (0, 1) {
            restarted($mock, $node_id, $TABLE{$after});
            $mock->set_leader(t => $_, $_) for 0, 1;
            $burst->();
            wait_until { @outcomes == $sent } "those after broker $node_id";
        }
        wait_until { @{ $member->{got} } >= $sent } 'all of them';
        is_deeply [@outcomes], [('ok') x $sent], 'all are delivered';
        my %times;
        $times{$_}++ for @{ $member->{got} };
        is_deeply [scalar keys %times, scalar grep { $_ > 1 } values %times], [$sent, 0], 'and read once';
        is scalar(grep { !/lost/ } errors($kafka)), 0, 'without another error' or diag join "\n", errors($kafka);
    };
}

subtest 'what a downgraded broker cannot do' => sub {
    my $mock  = filled(1, 0, versions => \%NEW);
    my $kafka = connected(brokers => $mock->bootstrap, compression => 'zstd');
    my @outcomes;
    sent($kafka, \@outcomes, 'before');
    wait_until { @outcomes } 'the delivery';
    restarted($mock, 0, \%OLD);
    sent($kafka, \@outcomes, 'after');
    wait_until { @outcomes == 2 } 'the refusal';
    is $outcomes[0], 'ok', 'was possible before';
    like $outcomes[1], qr/zstd needs Produce version 7/, 'and is said afterwards';
};

done_testing;
