use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use MockTest qw(connection answer);
use TestKafka;

# Logs that are not what they were: after an unclean election, and of a topic that
# was deleted and created again. Brokers of Fetch 12 say so by themselves; older
# ones are asked.

my %BROKERS = (
    'Fetch 12'             => sub { },
    'OffsetForLeaderEpoch' => sub { $_[0]->api_versions(Fetch => 4, 11) },
);

sub cluster {
    my ($prepare) = @_;
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $prepare->($mock);
    $mock->create_topic(t => 2);
    $mock->append(t => 0, map { { value => "old $_" } } @$_) for [0 .. 4], [5 .. 9];
    return $mock;
}

sub commit_at {
    my ($mock, $offset, $epoch) = @_;
    my $conn = connection($mock, $mock->coordinator(group => 'g'));
    return answer($conn, offset_commit => 'g', -1, '',
        [{ topic => 't', partitions => [{ partition => 0, offset => $offset, leader_epoch => $epoch }] }]);
}

sub consumer {
    my ($mock, $received, %options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10,
        on_message => sub { push @$received, $_[4] }, %options);
    $kafka->assign([{ topic => 't' }]);
    return $kafka;
}

for my $name (sort keys %BROKERS) {
    my $prepare = $BROKERS{$name};

    subtest "$name: records that were delivered are lost" => sub {
        my $mock = cluster($prepare);
        my @received;
        my $kafka = consumer($mock, \@received);
        $kafka->consume;
        wait_until { @received == 10 } 'what was there';
        $mock->lose_records(t => 0, 5);
        $mock->append(t => 0, map { { value => "new $_" } } 5 .. 11);
        wait_until { @received == 17 } 'what is new';
        turns 50;
        is_deeply [@received[10 .. 16]], [map { "new $_" } 5 .. 11], 'is read from where the logs part';
        is_deeply [errors($kafka)], ['log of t:0 was truncated: position 10 is not in it any more, '
            . 'consuming goes on at 5'], 'and on_error knows';
        is $kafka->position('t', 0), 12, 'the position';
        $mock->append(t => 0, { value => 'more' });
        wait_until { @received == 18 } 'more';
        is $received[-1], 'more', 'and so on';
    };

    subtest "$name: the same with poll" => sub {
        my $mock = cluster($prepare);
        my @received;
        my $kafka = consumer($mock, \@received);
        fetch_all($kafka, \@received, 10);
        $mock->lose_records(t => 0, 5);
        $mock->append(t => 0, map { { value => "new $_" } } 5 .. 11);
        fetch_all($kafka, \@received, 17);
        is_deeply [@received[10 .. 16]], [map { "new $_" } 5 .. 11], 'what is new comes';
        is scalar(errors($kafka)), 1, 'and one report';
    };

    subtest "$name: records behind a committed offset are lost while nobody reads" => sub {
        my $mock = cluster($prepare);
        my (@received, @assigned);
        my $consume = sub {
            @received = ();
            my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
            $kafka->subscribe('t', group_id => 'g', on_assign => sub { push @assigned, @{ $_[0] } });
            return $kafka;
        };
        my $kafka = $consume->();
        wait_until { @received == 10 } 'what was there';
        my $left;
        $kafka->unsubscribe(sub { $left = 1 });
        wait_until { $left } 'the commit';
        $mock->lose_records(t => 0, 5);
        $mock->append(t => 0, map { { value => "new $_" } } 5 .. 11);
        $kafka = $consume->();
        wait_until { @received >= 7 } 'what is new';
        is_deeply \@received, [map { "new $_" } 5 .. 11], 'is read from where the logs part';
        is_deeply [map { join ' ', sort keys %$_ } @assigned], [('offset partition topic') x 4],
            'on_assign is told what it always is';
        is scalar(errors($kafka)), 1, 'and on_error knows';
    };

    subtest "$name: records behind the position are lost" => sub {
        my $mock = cluster($prepare);
        my (@received, $kafka);
        $kafka = consumer($mock, \@received, on_message => sub {
            push @received, $_[4];
            $kafka->pause([{ topic => 't' }]) if @received == 3;
        });
        $kafka->consume;
        wait_until { @received == 3 } 'some of it';
        $mock->lose_records(t => 0, 5);
        $mock->append(t => 0, { value => 'new 5' });
        $kafka->_refresh_metadata_for_topic('t');
        turns 50;
        $kafka->resume([{ topic => 't' }]);
        wait_until { $received[-1] eq 'new 5' } 'the end';
        turns 50;
        is_deeply [grep { /new/ } @received], ['new 5'], 'what has taken their place comes once';
        is_deeply [@received[0 .. 4]], [map { "old $_" } 0 .. 4], 'behind what both logs have';
    };

    subtest "$name: the leader changes and nothing is lost" => sub {
        my $mock = cluster($prepare);
        my @received;
        my $kafka = consumer($mock, \@received);
        $kafka->consume;
        wait_until { @received == 10 } 'what was there';
        for my $leader (1, 0) {
            my $seen = @received;
            $mock->set_leader(t => 0, $leader);
            $mock->append(t => 0, { value => "led by $leader" });
            wait_until { @received == $seen + 1 } "leader $leader";
        }
        turns 50;
        is_deeply [@received[10, 11]], ['led by 1', 'led by 0'], 'everything comes once';
        is scalar(@received), 12, 'and nothing again';
        is_deeply [errors($kafka)], [], 'silently';
    };

    for my $how ('a group', 'assign', 'assign, with poll') {
        subtest "$name: an epoch that left no trace in the leader's log, $how" => sub {
            my $mock = cluster($prepare);
            # Two elections that lost nothing: nothing was appended under epoch 1.
            $mock->lose_records(t => 0, 10) for 1, 2;
            commit_at($mock, 10, 1);
            $mock->append(t => 0, map { { value => "new $_" } } 0 .. 9);
            my @received;
            my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
            my $from  = { topic => 't', partition => 0, offset => 10, leader_epoch => 1 };
            if    ($how eq 'a group') { $kafka->subscribe('t', group_id => 'g') }
            elsif ($how eq 'assign')  { $kafka->assign([$from]); $kafka->consume }
            else                      { $kafka->assign([$from]); fetch_all($kafka, \@received, 10) }
            wait_until { @received >= 10 } 'what is there';
            turns 50;
            is_deeply \@received, [map { "new $_" } 0 .. 9], 'is gone on from: nothing was lost';
            is_deeply [errors($kafka)], [], 'silently';
            cmp_ok $mock->request_count('Fetch'), '<', 15, 'with few requests';
        };
    }

    subtest "$name: an epoch that the leader has never heard of" => sub {
        my $mock = cluster($prepare);
        my @received;
        my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10,
            on_message => sub { push @received, $_[4] });
        $kafka->assign([{ topic => 't', partition => 0, offset => 4, leader_epoch => 7 }]);
        my @polled;
        my $poll;
        $poll = sub { push @polled, grep { defined } @_; $kafka->poll($poll) if @received < 6 };
        $kafka->poll($poll);
        wait_until { @received >= 6 } 'what is there';
        undef $poll;
        is_deeply \@received, [map { "old $_" } 4 .. 9], 'is read from the position';
        is_deeply [@polled, errors($kafka)], [], 'and nothing was out of range';
    };

    subtest "$name: a position that does not exist under such an epoch" => sub {
        my $mock = cluster($prepare);
        my (@received, @polled);
        my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10,
            on_message => sub { push @received, $_[4] });
        $kafka->assign([{ topic => 't', partition => 0, offset => 400, leader_epoch => 7 }]);
        my $poll;
        $poll = sub { push @polled, grep { defined } @_; $kafka->poll($poll) if @received < 10 };
        $kafka->poll($poll);
        wait_until { @received >= 10 } 'the earliest';
        undef $poll;
        is_deeply \@received, [map { "old $_" } 0 .. 9], 'is looked up anew';
        is scalar(@polled), 1, 'and told once';
        like $polled[0], qr/^OFFSET_OUT_OF_RANGE: t:0 has no offset 400/, 'as what it is';
    };

    subtest "$name: a seek is not held against the log" => sub {
        my $mock = cluster($prepare);
        my @received;
        my $kafka = consumer($mock, \@received);
        fetch_all($kafka, \@received, 10);
        $mock->lose_records(t => 0, 5);
        $kafka->seek('t', 0, 2);
        @received = ();
        fetch_all($kafka, \@received, 3);
        is_deeply \@received, [map { "old $_" } 2 .. 4], 'what is there is read';
        is_deeply [errors($kafka)], [], 'silently';
    };
}

subtest 'a leader that does not answer for its epochs' => sub {
    for my $fault ([error => 6], [error => 75], [drop => 1]) {
        my $mock = cluster($BROKERS{OffsetForLeaderEpoch});
        my @received;
        my $kafka = consumer($mock, \@received);
        $kafka->consume;
        wait_until { @received == 10 } 'what was there';
        $mock->fault(api => 'OffsetForLeaderEpoch', @$fault);
        $mock->lose_records(t => 0, 5);
        $mock->append(t => 0, { value => 'new' });
        wait_until { @received == 11 } 'what is new';
        cmp_ok $mock->request_count('OffsetForLeaderEpoch'), '>=', 2, "is asked again after @$fault";
        is $received[10], 'new', 'before anything is fetched';
    }
};

subtest 'brokers that cannot be asked' => sub {
    my $mock = cluster(sub { $_[0]->api_versions(Fetch => 4, 8); $_[0]->api_versions(OffsetForLeaderEpoch => 0, 2) });
    my @received;
    my $kafka = consumer($mock, \@received);
    $kafka->consume;
    wait_until { @received == 10 } 'what was there';
    $mock->set_leader(t => 0, 1);
    $mock->append(t => 0, { value => 'new' });
    wait_until { @received == 11 } 'what is new';
    is $mock->request_count('OffsetForLeaderEpoch'), 0, 'are not';
};

subtest 'a topic that is deleted and created again' => sub {
    my $mock = cluster(sub { });
    my @received;
    my $kafka = consumer($mock, \@received);
    $kafka->consume;
    wait_until { @received == 10 } 'what was there';
    $mock->delete_topic('t');
    $mock->create_topic(t => 2);
    $mock->append(t => 0, map { { value => "again $_" } } 0 .. 11);
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { @received >= 22 } 'what the new one has';
    turns 50;
    is_deeply [@received[-12 .. -1]], [map { "again $_" } 0 .. 11], 'is read from its beginning';
    is_deeply [errors($kafka)], [], 'silently';
};

subtest 'metadata from a broker that lags behind' => sub {
    my $mock  = cluster(sub { });
    my $kafka = consumer($mock, []);
    $mock->set_leader(t => 0, 1);
    my $refreshed = $mock->request_count('Metadata');
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { $kafka->{cfg}{leaders}{'t:0'} == 1 } 'the new leader';
    my ($topic) = grep { $_->{name} eq 't' } @{ $kafka->{cfg}{meta}{topics} };
    my $answer = sub {
        my ($epoch, %topic) = @_;
        my $partition = { partition => 0, leader => 0, leader_epoch => $epoch, error_code => 0 };
        Inside::adopt($kafka, { topics => [{ %$topic, partitions => [$partition], %topic }] }, ['t']);
        return join '/', $kafka->{cfg}{leaders}{'t:0'}, Inside::routes($kafka, 't')->[0];
    };
    is $answer->(0), '1/1', 'does not bring an old leader back';
    is $answer->(2), '0/0', 'a newer epoch does count';
    is $answer->(0, topic_id => 'x' x 16), '0/0', 'and so does any epoch of a new topic';
    is ${ Inside::leader_epoch($kafka, t => 0) }, 0, 'whose epochs count anew';
};

# What a client knows of t:0 after answers to Metadata from peers that are only told of.
sub told {
    my ($kafka, $leader, $epoch, %topic) = @_;
    my $partition = { partition => 0, leader => $leader, leader_epoch => $epoch, error_code => 0 };
    my $brokers = delete $topic{brokers} || [0, 1];
    Inside::adopt($kafka, {
        brokers => [map { { node_id => $_, host => '127.0.0.1', port => 1 } } @$brokers],
        topics  => [{ name => 't', error_code => 0, partitions => [$partition], %topic }],
    }, ['t']);
    return join '/', $kafka->{cfg}{leaders}{'t:0'}, ${ Inside::leader_epoch($kafka, t => 0) } // 'none';
}

subtest 'an answer without an epoch' => sub {
    my $kafka = client();
    is told($kafka, 0, 5), '0/5', 'a leader and its epoch';
    is told($kafka, 1, -1), '1/none', 'names the leader, and the epoch is not known any more';
    is told($kafka, 0, 3), '0/3', 'so that any epoch counts';
    $kafka->close;
};

subtest 'epochs that go back' => sub {
    for my $id (undef, 'x' x 16) {
        my $kafka = client();
        my $what  = defined $id ? 'with a topic id' : 'without one';
        is told($kafka, 0, 5, topic_id => $id), '0/5', "$what: a leader and its epoch";
        is told($kafka, 1, 3, topic_id => $id), '0/5', 'one answer is not believed';
        is told($kafka, 1, 4, topic_id => $id), '0/5', 'nor another one that says something else';
        is told($kafka, 1, 4, topic_id => $id), '0/5', 'nor two that agree';
        my $answers = 2;
        $answers++ until told($kafka, 1, 4, topic_id => $id) ne '0/5' || $answers > 20;
        is told($kafka, 1, 4, topic_id => $id), '1/4', 'several that go on to agree are';
        cmp_ok $answers, '<', 10, 'soon';

        is told($kafka, 0, 2, topic_id => $id, brokers => [0]), '0/2', 'one is enough when the leader is no broker any more';
        $kafka->close;
    }
};

subtest 'while an answer is not believed' => sub {
    my $mock  = cluster(sub { });
    my $kafka = connected(brokers => $mock->bootstrap);
    my $asked = $mock->request_count('Metadata');
    ${ Inside::leader_epoch($kafka, t => 0) } += 10;
    my $leader = $kafka->{cfg}{leaders}{'t:0'};
    $mock->set_leader(t => 0, 1 - $leader);
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { $kafka->{cfg}{leaders}{'t:0'} != $leader } 'the leader';
    cmp_ok $mock->request_count('Metadata') - $asked, '<', 8, 'brokers are asked again, and not without end';
};

done_testing;
