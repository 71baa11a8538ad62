use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Test::More;

use EV::Kafka;
use Inside;
use TestKafka qw(wait_until turns client connected errors);

# How a client finds the coordinator of a group or a transactional id, and keeps to it.

# Asks for a connection to the coordinator; { ran, told }, lists of what run and cb were
# called with.
sub ask {
    my ($kafka, %more) = @_;
    my $asked = { ran => [], told => [] };
    my $run   = delete $more{run};
    my @key   = @{ delete $more{key} || [group => 'g'] };
    Inside::with_coordinator($kafka, @key, {
        run => sub {
            my ($op, $conn) = @_;
            push @{ $asked->{ran} }, "$op->{purpose}:$op->{node_id}";
            $run->($conn) if $run;
        },
        cb => sub { push @{ $asked->{told} }, $_[1] },
        %more,
    });
    return $asked;
}

sub ran { my ($asked) = @_; wait_until { @{ $asked->{ran} } || @{ $asked->{told} } } 'the coordinator'; return $asked }

sub cluster { return EV::Kafka::Mock->new(brokers => 3, @_) }

sub asked_for { my ($mock) = @_; return $mock->request_count('FindCoordinator') }

subtest 'finding it' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->set_coordinator(group => 'g', 2);
    $mock->set_coordinator(transaction => 'x', 1);
    is_deeply ran(ask($kafka)), { ran => ['group:2'], told => [] }, 'of a group: a connection of its own';
    is_deeply ran(ask($kafka, key => [txn => 'x'])), { ran => ['txn:1'], told => [] }, 'of a transactional id';
    is asked_for($mock), 2, 'one request each';
    is_deeply ran(ask($kafka))->{ran}, ['group:2'], 'the next operation';
    is asked_for($mock), 2, 'need not ask again';
    my @many = map { ask($kafka, key => [group => 'h']) } 1 .. 3;
    ran($_) for @many;
    is asked_for($mock), 3, 'nor do several at the same time';
    is_deeply [map { scalar @{ $_->{ran} } } @many], [1, 1, 1], 'each runs once';
    is_deeply [errors($kafka)], [], 'without an error';
};

# What the protocol marks as retriable is so for every look-up, whoever has said it first.
for my $code (5, 6, 7, 13, 14, 15, 16, 19, 89, -1, 30_000) {
    subtest "FindCoordinator is answered $code" => sub {
        my $mock  = cluster();
        my $kafka = connected(brokers => $mock->bootstrap);
        $mock->fault(api => 'FindCoordinator', error => $code, times => 3);
        my $begun = EV::time;
        my $asked = ran(ask($kafka));
        is_deeply [scalar @{ $asked->{ran} }, $asked->{told}, asked_for($mock)], [1, [], 4],
            'it is asked until it works';
        # 0.1, 0.2 and 0.4 seconds, each with a quarter of jitter.
        cmp_ok EV::time - $begun, '>=', 0.75 * 0.7, 'ever more slowly';
        is_deeply [errors($kafka)], [], 'without an error';
    };
}

subtest 'FindCoordinator is answered -1 for ever' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'FindCoordinator', error => -1, times => undef);
    my $asked = ran(ask($kafka));
    is_deeply $asked, { ran => [], told => ['FindCoordinator: UNKNOWN_SERVER_ERROR (code -1); given up after 6 tries'] }, 'it is told';
    is asked_for($mock), EV::Kafka::Error::UNKNOWN_ERROR_TRIES() + 1, 'after some tries';
};

subtest 'a coordinator that is not found for long' => sub {
    my @told;
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, on_notice => sub { push @told, $_[0] });
    $mock->fault(api => 'FindCoordinator', error => 15, times => undef);
    my $asked = ask($kafka);
    wait_until { asked_for($mock) == 3 } 'some tries';
    is_deeply \@told, [], 'on_notice is not told at once';
    wait_until { @told } 'on_notice';
    my $tries = asked_for($mock);
    wait_until { asked_for($mock) > $tries + 1 } 'more tries';
    is_deeply \@told, ["FindCoordinator for group 'g': COORDINATOR_NOT_AVAILABLE (code 15); it is tried again"], 'but then, once';
    $mock->clear_faults;
    ran($asked);
    is_deeply $asked->{told}, [], 'and it goes on';
};

subtest 'a producer id that does not come for long' => sub {
    my @told;
    my $mock = cluster();
    $mock->fault(api => 'InitProducerId', error => 51, times => undef);
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x', on_notice => sub { push @told, $_[0] });
    my $is_connected;
    $kafka->connect(sub { $is_connected = !defined $_[1] });
    wait_until { @told } 'on_notice';
    is_deeply \@told, ['InitProducerId: CONCURRENT_TRANSACTIONS (code 51); it is tried again'], 'is told';
    $mock->clear_faults;
    wait_until { $is_connected } 'connect';
    is_deeply [errors($kafka)], [], 'without an error';
};

for my $case ([29, 'TOPIC_AUTHORIZATION_FAILED'], [30, 'GROUP_AUTHORIZATION_FAILED'],
    [53, 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED'])
{
    my ($code, $name) = @$case;
    subtest "FindCoordinator is answered $code" => sub {
        my $mock  = cluster();
        my $kafka = connected(brokers => $mock->bootstrap);
        $mock->fault(api => 'FindCoordinator', error => $code);
        my @asked = map { ask($kafka) } 1, 2;
        wait_until { 2 == grep { @{ $_->{told} } } @asked } 'the refusal';
        turns();
        is_deeply [map { $_->{told} } @asked], [(["FindCoordinator: $name (code $code)"]) x 2],
            'who waits is told at once, each once';
        is asked_for($mock), 1, 'nothing is tried again';
        is_deeply ran(ask($kafka))->{told}, [], 'the next one may be luckier';
    };
}

subtest 'what its answers mean' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my $asked = ran(ask($kafka));
    my ($node_id) = $asked->{ran}[0] =~ /(\d+)/;
    $mock->set_coordinator(group => 'g', ($node_id + 1) % 3);
    Inside::coordinator_refused($kafka, group => 'g', 14);
    is_deeply ran(ask($kafka))->{ran}, ["group:$node_id"], '14, it is loading: it stays the same';
    for my $code (15, 16) {
        my $now = $mock->coordinator(group => 'g');
        Inside::coordinator_refused($kafka, group => 'g', 0, $code);
        is_deeply ran(ask($kafka))->{ran}, ["group:$now"], "$code: it is looked for again";
        $mock->set_coordinator(group => 'g', ($now + 1) % 3);
    }
    is EV::Kafka::Error::is_retriable_by_coordinator($_), 1, "$_ passes" for 14, 15, 16;
    is EV::Kafka::Error::is_retriable_by_coordinator($_), 0, "$_ does not" for 0, 25, 30;
};

subtest 'a broker that is gone' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($node_id) = ran(ask($kafka))->{ran}[0] =~ /(\d+)/;
    $mock->stop_broker($node_id);
    wait_until { !Inside::ready_conn($kafka, group => $node_id) } 'the loss';
    my $now = $mock->coordinator(group => 'g');
    isnt $now, $node_id, 'another one takes over';
    is_deeply ran(ask($kafka)), { ran => ["group:$now"], told => [] }, 'and is found';
    is scalar(() = errors($kafka)), 1, 'the loss is reported, once';

    $mock->stop_broker($_) for grep { $_ != $node_id } 0 .. 2;
    wait_until { !Inside::ready_conn($kafka, group => $now) } 'the loss of all';
    my $asked = ask($kafka);
    my $tries; my $timer = EV::timer 0.3, 0, sub { $tries = 1 };
    wait_until { $tries } 'some tries';
    is_deeply $asked, { ran => [], told => [] }, 'while nobody answers the operation waits';
    $mock->start_broker($_) for 0 .. 2;
    is_deeply [scalar @{ ran($asked)->{ran} }, $asked->{told}], [1, []], 'and runs, once, when there is one again';
};

subtest 'a broker that is silent' => sub {
    my $mock  = cluster(brokers => 1);
    my $kafka = connected(brokers => $mock->bootstrap, request_timeout => 0);
    is Inside::request_patience($kafka, $_->[0]), $_->[1], $_->[2] for [undef, 30, 'with request_timeout 0: 30 seconds all the same'],
        [5, 5, 'less for who is in a hurry'], [50, 30, 'but not more'];
    is Inside::request_patience(client(request_timeout => 7)), 7, 'otherwise what request_timeout says';
    is Inside::request_patience(client(), 60), 30, 'or its default';

    # The connection for metadata gives up after 10 seconds at the latest. So do others.
    Inside::drop_control($kafka);
    $mock->fault(api => 'FindCoordinator', hang => 1);
    my $asked = Inside::with_answer_timeout(0.1, sub { ran(ask($kafka)) });
    is_deeply $asked, { ran => ['group:0'], told => [] }, 'FindCoordinator without an answer is sent again';
    is asked_for($mock), 2, 'over a new connection';

    $mock->fault(api => 'Heartbeat', hang => 1);
    my @answer = answer(heartbeat($kafka, op_patience => 0.1));
    is $answer[1], 'Heartbeat: request timed out: Heartbeat v4; given up after 1 tries', 'a request that sets a limit hears of it';
    @answer = answer(heartbeat($kafka));
    is $answer[0]{error_code}, 25, 'the next one gets an answer';
};

# A request to the coordinator of group g, sent once.
sub heartbeat {
    my ($kafka, %about) = @_;
    my @answer;
    Inside::request($kafka, group => 'g', name => 'Heartbeat', tries => 1, %about,
        send => sub { my ($conn, $answered) = @_; $conn->heartbeat('g', 1, 'm', $answered) },
        done => sub { my ($result, $error) = @_; @answer = ($result, $error && $error->text) });
    return \@answer;
}

sub answer { my ($answer) = @_; wait_until { @$answer } 'an answer'; return @$answer }

subtest 'requests that may have to wait for other members' => sub {
    my $mock  = cluster(brokers => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    is Inside::ready_coordinator($kafka, group => 'g'), undef, 'nobody knows the coordinator yet';
    $mock->fault(api => 'Heartbeat', delay_ms => 1000);
    my $waits = heartbeat($kafka, blocks => 1);
    ran(ask($kafka, key => [group => 'h']));
    is Inside::is_blocked_at($kafka, group => 'g'), 1, 'one waits there';
    wait_until { Inside::ready_conn($kafka, main => 0) } 'the other connection';
    is Inside::ready_coordinator($kafka, group => 'g'), Inside::ready_conn($kafka, main => 0),
        'and while it waits there, another one';
    is_deeply ran(ask($kafka))->{ran}, ['main:0'], 'which others take meanwhile';
    is_deeply ran(ask($kafka, key => [group => 'h']))->{ran}, ['group:0'], 'but not those of another group';
    answer($waits);
    is Inside::is_blocked_at($kafka, group => 'g'), 0, 'it has been answered';
    is Inside::ready_coordinator($kafka, group => 'g'), Inside::ready_conn($kafka, group => 0), 'its connection is free';

    $mock->fault(api => 'Heartbeat', hang => 1);
    $waits = heartbeat($kafka, blocks => 1);
    wait_until { Inside::is_blocked_at($kafka, group => 'g') } 'the next one';
    $mock->stop_broker(0);
    answer($waits);
    is Inside::is_blocked_at($kafka, group => 'g'), 0, 'nor does one wait on a connection that has ended';
};

subtest 'when nobody waits any more' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'FindCoordinator', error => 15, times => undef);
    my $is_over;
    my $asked = ask($kafka, is_over => sub { $is_over });
    wait_until { asked_for($mock) == 2 } 'some tries';
    $is_over = 1;
    wait_until { !Inside::is_looking_for_coordinator($kafka, group => 'g') } 'the end of the search';
    is_deeply [$asked, Inside::wait_for_coordinator($kafka, group => 'g')], [{ ran => [], told => [] }, 0], 'the search ends';
};

subtest 'a die in an operation' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my $asked = ran(ask($kafka, run => sub { die "refused\n" }));
    is_deeply [scalar @{ $asked->{ran} }, $asked->{told}], [1, ["refused\n"]], 'fails it, and it is not tried again';
};

subtest 'close' => sub {
    my %begin = (
        'while it is looked for' => sub {
            my ($mock, $kafka) = @_;
            $mock->fault(api => 'FindCoordinator', hang => 1);
            my @asked = map { ask($kafka) } 1, 2;
            wait_until { asked_for($mock) } 'FindCoordinator';
            return @asked;
        },
        'before it is looked for again' => sub {
            my ($mock, $kafka) = @_;
            $mock->fault(api => 'FindCoordinator', error => 15, times => undef);
            my $asked = ask($kafka);
            wait_until { asked_for($mock) >= 2 } 'the second try';
            turns;
            return $asked;
        },
        'while its connection is made' => sub {
            my ($mock, $kafka) = @_;
            my $asked = ask($kafka);
            wait_until { grep { ($_->{purpose} // '') eq 'group' } @{ $kafka->{cfg}{pending_ops} } } 'connecting';
            return $asked;
        },
    );
    for my $when (sort keys %begin) {
        for my $how ('close', 'out of scope') {
            my $mock  = cluster();
            my $kafka = connected(brokers => $mock->bootstrap);
            my @asked = $begin{$when}->($mock, $kafka);
            weaken(my $weak = $kafka);
            $kafka->close if $how eq 'close';
            undef $kafka;
            turns();
            is_deeply [map { [$_->{ran}, $_->{told}] } @asked], [map { [[], ['client closed']] } @asked],
                "$when, $how: each is told, once";
            is $weak, undef, 'and nothing holds the client';
        }
    }
    my $kafka = client();
    $kafka->close;
    is_deeply ask($kafka), { ran => [], told => ['client closed'] }, 'afterwards: at once';
};

done_testing;
