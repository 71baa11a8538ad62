use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Inside;
use TestKafka;

my $P0 = { topic => 't', partition => 0 };
my $P1 = { topic => 't', partition => 1 };

# 2 batches of 5 messages in either partition.
sub cluster {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    for my $partition (0, 1) {
        $mock->append(t => $partition, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9];
    }
    return $mock;
}

sub consumer {
    my ($mock, %options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, %options);
    $kafka->assign([map { {%$_} } $P0, $P1]);
    return $kafka;
}

sub of { my ($partition, $received) = @_; return [map { $_->[1] } grep { $_->[0] == $partition } @$received] }

subtest 'pause from within on_message' => sub {
    my $mock = cluster();
    my (@received, $kafka);
    $kafka = consumer($mock, on_message => sub {
        push @received, [@_[1, 2]];
        $kafka->pause([$P0]) if $_[1] == 0 && $_[2] == 2;
    });
    $kafka->consume;
    wait_until { @{ of(1, \@received) } == 10 } 'the other partition';
    turns 50;
    is_deeply of(0, \@received), [0 .. 2], 'holds from the next message on';
    is $kafka->position('t', 0), 3, 'the position is behind what was delivered';
    my $requests = $mock->request_count('Fetch');
    $mock->append(t => 1, { value => 10 });
    wait_until { @{ of(1, \@received) } == 11 } 'more of the other one';
    wait_until { $mock->request_count('Fetch') > $requests } 'another Fetch';

    $kafka->resume([$P0]);
    is_deeply of(0, \@received), [0 .. 2], 'nothing is delivered within resume';
    wait_until { @{ of(0, \@received) } == 10 } 'the rest';
    is_deeply of(0, \@received), [0 .. 9], 'which comes once and in order';
};

subtest 'resume while poll waits for what comes behind' => sub {
    my $mock = cluster();
    my (@received, @done, $kafka);
    $kafka = consumer($mock, fetch_max_bytes => 100, on_message => sub {
        push @received, [@_[1, 2]];
        $kafka->pause([$P0]) if $_[1] == 0 && $_[2] == 2;
    });
    my $polls = 0;
    my $poll;
    $poll = sub {
        push @done, [@_];
        return if ++$polls > 20;
        $kafka->poll($poll);
        $kafka->resume([$P0]);
    };
    $kafka->poll($poll);
    wait_until { $polls > 20 } 'polls';
    is_deeply of($_, \@received), [0 .. 9], "partition $_ comes once and in order" for 0, 1;
    undef $poll;
};

subtest 'resume while what comes behind is being delivered' => sub {
    my $mock = cluster();
    my (@received, $kafka);
    $kafka = consumer($mock, fetch_max_bytes => 100);
    my $resumed = 0;
    $kafka->{cfg}{on_message} = sub {
        push @received, [@_[1, 2]];
        $kafka->pause([$P0]) if $_[1] == 0 && $_[2] == 2;
        if ($_[1] == 1 && Inside::is_paused($kafka, t => 0)) {
            $kafka->resume([$P0]);
            $resumed++;
        }
    };
    $kafka->consume;
    wait_until { @received >= 20 } 'everything';
    turns 50;
    ok $resumed, 'resumed from within on_message of the other partition';
    is_deeply of($_, \@received), [0 .. 9], "partition $_ comes once and in order" for 0, 1;
};

subtest 'close with answers that wait' => sub {
    my $mock = cluster();
    my (@received, @done);
    my $kafka = consumer($mock, on_message => sub { push @received, [@_[1, 2]] });
    Inside::hold_delivery($kafka);
    $kafka->poll(sub { push @done, [@_] });
    wait_until { Inside::undelivered($kafka) } 'an answer';
    $kafka->close;
    wait_until { @done } 'the callback of poll';
    turns;
    is scalar(@done), 1, 'poll calls back once';
    is scalar(@received), 0, 'and nothing is delivered';
};

subtest 'pause while a fetch is under way' => sub {
    my $mock = cluster();
    my (@received, $kafka);
    $kafka = consumer($mock, fetch_max_bytes => 100, on_message => sub { push @received, [@_[1, 2]] });
    $kafka->pause([$P1]);
    $kafka->consume;
    wait_until { @received == 10 } 'one partition';
    $kafka->pause([$P0]);
    $mock->append(t => 0, { value => $_ }) for 10 .. 12;
    wait_until { !Inside::is_fetching($kafka, 0) } 'its answer';
    turns;
    is scalar(@received), 10, 'what it brings is not delivered';
    my $requests = $mock->request_count('Fetch');
    turns 50;
    is $mock->request_count('Fetch'), $requests, 'and with everything paused nothing is fetched';
    $kafka->resume([$P0, $P1]);
    wait_until { @received == 23 } 'the rest';
    is_deeply of($_, \@received), [0 .. ($_ ? 9 : 12)], "partition $_" for 0, 1;
};

subtest 'with poll' => sub {
    my $mock = cluster();
    my (@received, $kafka, $polled);
    $kafka = consumer($mock, on_message => sub {
        push @received, [@_[1, 2]];
        $kafka->pause([$P0]) if $_[1] == 0 && $_[2] == 2;
    });
    my $poll = sub { $polled = 0; $kafka->poll(sub { $polled = 1 }); wait_until { $polled } 'poll' };
    $poll->();
    is_deeply of(0, \@received), [0 .. 2], 'the callback comes without what is held back';
    $poll->();
    is_deeply of(0, \@received), [0 .. 2], 'also the next time';
    $kafka->resume([$P0]);
    turns;
    is_deeply of(0, \@received), [0 .. 2], 'resume alone delivers nothing';
    $poll->();
    is_deeply of(0, \@received), [0 .. 9], 'poll does';
    is_deeply of(1, \@received), [0 .. 9], 'and the other partition is complete';
    $kafka->pause([$P0, $P1]);
    $kafka->poll(sub { $polled = 2 });
    isnt $polled, 2, 'with everything paused poll does not call back from within';
    my $requests = $mock->request_count('Fetch');
    wait_until { $polled == 2 } 'poll';
    is $mock->request_count('Fetch'), $requests, 'but later, and nothing is fetched';
};

subtest 'seek on a paused partition' => sub {
    my $mock = cluster();
    my (@received, $kafka);
    $kafka = consumer($mock, on_message => sub {
        push @received, [@_[1, 2]];
        $kafka->pause([$P0]) if $_[1] == 0 && $_[2] == 2;
    });
    $kafka->consume;
    wait_until { @{ of(1, \@received) } == 10 } 'the other partition';
    turns;
    $kafka->seek('t', 0, 7);
    is $kafka->position('t', 0), 7, 'moves its position';
    turns 50;
    is_deeply of(0, \@received), [0 .. 2], 'it stays paused';
    $kafka->resume([$P0]);
    wait_until { @{ of(0, \@received) } == 6 } 'the rest';
    is_deeply of(0, \@received), [0 .. 2, 7 .. 9], 'and goes on there';
};

subtest 'what ends a pause' => sub {
    my $mock = cluster();
    my (@received, $kafka);
    $kafka = consumer($mock, on_message => sub { push @received, [@_[1, 2]] });
    $kafka->pause([$P0]);
    Inside::change_assignment($kafka, [$P0]);
    $kafka->consume;
    turns 50;
    is_deeply \@received, [], 'not a change of the assignment in which the partition stays';
    $kafka->assign([{%$P0}]);
    wait_until { @received == 10 } 'messages';
    pass 'but a new assignment';
};

subtest 'close with something kept' => sub {
    my $mock = cluster();
    my (@received, $kafka);
    $kafka = consumer($mock, on_message => sub { push @received, [@_[1, 2]]; $kafka->pause([$P0, $P1]) });
    my $polled = 0;
    $kafka->poll(sub { $polled++ });
    wait_until { $polled } 'poll';
    is scalar(@received), 1, 'one message was delivered';
    $kafka->close;
    turns;
    is scalar(@received), 1, 'and no more';
};

subtest 'arguments' => sub {
    my $kafka = client;
    $kafka->assign([{%$P0}]);
    for my $method (qw(pause resume)) {
        for my $bad (undef, 'x', ['x'], [{}], [{ topic => 't', partition => 'x' }]) {
            eval { $kafka->$method($bad) };
            like $@, qr/^$method: .* at \Q$0\E/, "croaks: $@";
        }
        eval { $kafka->$method([$P1, { topic => 'u', partition => 3 }]) };
        is $@, '', "$method passes over what is not assigned";
    }
    $kafka->close;
    for my $method (qw(pause resume position)) {
        eval { $kafka->$method([$P0], 0) };
        like $@, qr/^EV::Kafka: client is closed/, "$method on a closed client";
    }
};

subtest 'what was kept goes with its partition' => sub {
    for my $how (qw(paused unheard)) {
        for my $end (qw(assign close drop)) {
            my $mock = cluster();
            my $kafka;
            $kafka = consumer($mock, on_notice => sub { },
                $how eq 'paused' ? (on_message => sub { $kafka && $kafka->pause([$P0, $P1]) }) : ());
            $kafka->consume;
            my $cursor = Inside::cursor($kafka, t => 0);
            wait_until { Inside::keeps_answers($cursor) } "what is kept, $how";
            weaken $cursor;
            ok $cursor, "$how: it is there";
            $kafka->assign([]) if $end eq 'assign';
            $kafka->close      if $end eq 'close';
            undef $kafka       if $end ne 'assign';
            # A Fetch that is under way knows it, too.
            wait_until { !$cursor } "its end after $end";
            is $cursor, undef, "and gone after $end";
        }
    }
};

done_testing;
