use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest qw(croaks_like);
use TestKafka;

# consume and stop_consuming: what is assigned comes without a call of poll, until the
# program has had enough.

sub filled {
    my ($count, %options) = @_;
    my $mock = EV::Kafka::Mock->new(%options);
    $mock->create_topic(t => 2);
    append($mock, 1 .. $count) if $count;
    return $mock;
}

sub append {
    my ($mock, @values) = @_;
    return $mock->append(t => 0, map { { value => $_ } } @values);
}

my @BEGINNING = ({ topic => 't', partition => 0, offset => 0 });

sub consumer {
    my ($mock, %options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, %options);
    $kafka->assign([map { {%$_} } @BEGINNING]);
    return $kafka;
}

# Longer than a broker waits with an answer.
sub a_while {
    my $over;
    my $timer = EV::timer 0.15, 0, sub { $over = 1 };
    return wait_until { $over } 'a while';
}

subtest 'before connect, and what is assigned later' => sub {
    my $mock = filled(3, brokers => 2);
    my @received;
    my $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, on_message => sub { push @received, $_[4] });
    is_deeply [$kafka->consume], [], 'gives nothing';
    $kafka->assign([{%{ $BEGINNING[0] }}]);
    $kafka->connect;
    wait_until { @received == 3 } 'what was there';
    append($mock, 4);
    wait_until { @received == 4 } 'what is new';
    $mock->append(t => 1, { value => 'other' });
    $kafka->assign([{ topic => 't', partition => 1, offset => -2 }]);
    wait_until { @received == 5 } 'another assignment';
    is_deeply \@received, [1 .. 4, 'other'], 'everything once';
    is_deeply [errors($kafka)], [], 'without an error';
};

subtest 'once more changes nothing' => sub {
    my $mock = filled(3);
    my @received;
    my $kafka = consumer($mock, fetch_max_wait_ms => 5000, on_message => sub { push @received, $_[4] });
    $kafka->consume for 1 .. 3;
    wait_until { @received == 3 } 'what was there';
    turns;
    my $count = $mock->request_count('Fetch');
    $kafka->consume for 1 .. 3;
    turns;
    is $mock->request_count('Fetch'), $count, 'no further Fetch';
    is_deeply \@received, [1 .. 3], 'no record twice';
};

for my $option (qw(on_message on_batch)) {
    subtest "stopped within $option, the position is exact" => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        append($mock, 2 * $_ - 1, 2 * $_) for 1 .. 5;
        my (@received, $kafka, @positions);
        my $stop_after = 3;
        my $take = sub {
            push @received, @_;
            return if @received < $stop_after;
            $kafka->stop_consuming;
            push @positions, $kafka->position(t => 0);
        };
        $kafka = consumer($mock, $option => $option eq 'on_message'
            ? sub { $take->($_[4]) }
            : sub { $take->(map { $_->[2] } @{ $_[2] }) });
        $kafka->consume;
        wait_until { @received >= $stop_after } 'the first records';
        a_while;
        my $expected = $option eq 'on_message' ? 3 : 4;
        is_deeply \@received, [1 .. $expected], 'nothing comes after it';
        is_deeply [@positions, $kafka->position(t => 0), $kafka->{cfg}{assignments}[0]{offset}], [($expected) x 3],
            'the position is behind what was delivered';
        append($mock, 11);
        $stop_after = 99;
        $kafka->consume;
        wait_until { @received == 11 } 'the rest';
        is_deeply \@received, [1 .. 11], 'goes on where it stopped, everything once';
    };
}

subtest 'what was fetched comes first, and is not fetched again' => sub {
    my $mock = filled(10);
    my (@received, $kafka);
    $kafka = consumer($mock, on_message => sub { push @received, $_[4]; $kafka->stop_consuming if $_[4] == 3 });
    $kafka->consume;
    wait_until { @received == 3 } 'the first records';
    a_while;
    my $count = $mock->request_count('Fetch');
    a_while;
    is $mock->request_count('Fetch'), $count, 'no Fetch leaves while it rests';
    $mock->fault(api => 'Fetch', delay_ms => 60_000, times => undef);
    $kafka->consume;
    wait_until { @received == 10 } 'the rest';
    is_deeply \@received, [1 .. 10], 'everything once';
};

subtest 'stopped and started again by one record' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    append($mock, $_) for 1 .. 60;
    my (@received, $kafka);
    $kafka = consumer($mock, fetch_max_bytes => 300, on_message => sub {
        push @received, $_[4];
        $kafka->stop_consuming;
        $kafka->consume;
    });
    $kafka->consume;
    wait_until { @received == 60 } 'all of it';
    a_while;
    is_deeply \@received, [1 .. 60], 'in order, everything once';
};

subtest 'poll delivers, and no more than it asked for' => sub {
    my $mock = filled(4);
    my (@received, $kafka, $polled);
    my $stops = 1;
    $kafka = consumer($mock, on_message => sub { push @received, $_[4]; $kafka->stop_consuming if $stops });
    $kafka->consume;
    wait_until { @received == 1 } 'the first record';
    a_while;
    is_deeply \@received, [1], 'and no other';
    $stops = 0;
    $kafka->poll(sub { $polled = [@_] });
    wait_until { $polled } 'the callback of poll';
    is_deeply [\@received, $polled], [[1 .. 4], []], 'has brought the rest';
    append($mock, 5);
    a_while;
    is_deeply \@received, [1 .. 4], 'and ends there';
    $kafka->consume;
    wait_until { @received == 5 } 'what has come since';
};

subtest 'poll, from within on_message that has stopped' => sub {
    my $mock = filled(5);
    my (@received, $kafka, $polled);
    $kafka = consumer($mock, on_message => sub {
        push @received, $_[4];
        return if $polled || $_[4] != 2;
        $kafka->stop_consuming;
        $kafka->poll(sub { $polled = [scalar @received, @_] });
    });
    $kafka->consume;
    wait_until { $polled } 'the callback of poll';
    is_deeply [$polled, \@received], [[5], [1 .. 5]], 'brings what was fetched';
};

subtest 'a poll that is under way gets what it has asked for' => sub {
    my $mock = filled(6);
    my (@received, $kafka, $polled);
    $kafka = consumer($mock, on_message => sub { push @received, $_[4]; $kafka->stop_consuming });
    $kafka->poll(sub { $polled = [@_] });
    wait_until { $polled } 'the callback of poll';
    is_deeply [$polled, \@received], [[], [1 .. 6]], 'all of it';
};

subtest 'stopped, then moved' => sub {
    my $mock = filled(6);
    my (@received, $kafka);
    $kafka = consumer($mock, on_message => sub { push @received, $_[4]; $kafka->stop_consuming if $_[4] == 2 });
    $kafka->consume;
    wait_until { @received == 2 } 'the first records';
    $kafka->seek(t => 0, 4);
    a_while;
    is_deeply \@received, [1, 2], 'a seek delivers nothing';
    $kafka->consume;
    wait_until { @received == 4 } 'from the new position';
    is_deeply \@received, [1, 2, 5, 6], 'what was fetched before the seek is void';
};

subtest 'stopped, and paused, within the same record' => sub {
    my $mock = filled(6);
    my (@received, $kafka);
    $kafka = consumer($mock, on_message => sub {
        push @received, $_[4];
        return if $_[4] != 2;
        $kafka->pause(\@BEGINNING);
        $kafka->stop_consuming;
    });
    $kafka->consume;
    wait_until { @received == 2 } 'the first records';
    $kafka->consume;
    a_while;
    is_deeply \@received, [1, 2], 'pause outlives consume';
    $kafka->stop_consuming;
    $kafka->resume(\@BEGINNING);
    a_while;
    is_deeply \@received, [1, 2], 'resume does not start it';
    $kafka->consume;
    wait_until { @received == 6 } 'the rest';
    is_deeply \@received, [1 .. 6], 'everything once';
};

subtest 'before connect it may be taken back' => sub {
    my $mock = filled(3);
    my @received;
    my $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, on_message => sub { push @received, $_[4] });
    $kafka->assign([{%{ $BEGINNING[0] }}]);
    $kafka->consume;
    $kafka->stop_consuming;
    my $is_connected;
    $kafka->connect(sub { $is_connected = 1 });
    wait_until { $is_connected } 'connecting';
    a_while;
    is $mock->request_count('Fetch'), 0, 'nothing is fetched';
    is_deeply \@received, [], 'nothing is delivered';
};

subtest 'a member of a group rests, and stays one' => sub {
    my $mock = filled(4);
    my (@received, $kafka, $assigned);
    $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 20,
        on_message => sub { push @received, $_[4]; $kafka->stop_consuming if $_[4] == 2 });
    $kafka->subscribe('t', group_id => 'g', heartbeat_interval => 0.02, on_assign => sub { $assigned++ });
    wait_until { @received == 2 } 'the first records';
    my $beats = $mock->request_count('Heartbeat');
    wait_until { $mock->request_count('Heartbeat') > $beats + 2 } 'heartbeats';
    is_deeply \@received, [1, 2], 'nothing is delivered';
    is $kafka->{cfg}{group}{state}, 'stable', 'a member';
    my $committed;
    $kafka->commit(sub { $committed = [@_] });
    wait_until { $committed } 'a commit';
    is_deeply $committed, [undef], 'it may commit';

    # Another member comes and goes.
    my $other = connected(brokers => $mock->bootstrap);
    my ($joined, $left);
    my $before = $assigned;
    $other->subscribe('t', group_id => 'g', on_assign => sub { $joined++ });
    wait_until { $joined && $assigned > $before } 'a rebalance';
    $before = $assigned;
    $other->unsubscribe(sub { $left = 1 });
    wait_until { $left && $assigned > $before } 'another one';
    a_while;
    is_deeply \@received, [1, 2], 'rebalances start nothing';
    $kafka->consume;
    wait_until { @received == 4 } 'the rest';
    is_deeply \@received, [1 .. 4], 'everything once';
    is_deeply [errors($kafka)], [], 'without an error';
};

subtest 'stopped before the group is there; subscribe starts anew' => sub {
    my $mock = filled(2);
    my (@received, $assigned);
    my $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, on_message => sub { push @received, $_[4] });
    my %subscription = (group_id => 'g', auto_commit => 0, on_assign => sub { $assigned++ });
    $kafka->subscribe('t', %subscription);
    $kafka->stop_consuming;
    $kafka->connect;
    wait_until { $assigned } 'the assignment';
    a_while;
    is_deeply \@received, [], 'nothing is delivered';
    my $left;
    $kafka->unsubscribe(sub { $left = 1 });
    wait_until { $left } 'leaving';
    $kafka->subscribe('t', %subscription);
    wait_until { @received == 2 } 'what is there';
    is_deeply \@received, [1, 2], 'everything once';
};

subtest 'what they refuse' => sub {
    my $mock  = filled(0);
    my $kafka = client(brokers => $mock->bootstrap);
    croaks_like sub { $kafka->consume(sub { }) }, qr/\Aconsume: takes no arguments at \Q$0\E/;
    croaks_like sub { $kafka->stop_consuming(1) }, qr/\Astop_consuming: takes no arguments at \Q$0\E/;
    $kafka->close;
    croaks_like sub { $kafka->$_ }, qr/\AEV::Kafka: client is closed at \Q$0\E/ for qw(consume stop_consuming);
};

done_testing;
