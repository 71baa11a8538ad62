use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;

# Fetch sessions (KIP-227): a broker is told what has changed since the last Fetch, and answers with what is new.

sub mocked {
    my ($partitions, @options) = @_;
    my $mock = EV::Kafka::Mock->new(@options);
    $mock->create_topic(t => $partitions);
    return $mock;
}

# What on_message gets is "partition:value".
sub consumer {
    my ($mock, $partitions, %options) = @_;
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message => sub { push @received, "$_[1]:$_[4]" }, %options);
    $kafka->assign([map { { topic => 't', partition => $_ } } 0 .. $partitions - 1]);
    $kafka->consume;
    return ($kafka, \@received);
}

sub appended { my ($mock, $partition, @values) = @_; $mock->append(t => $partition, map { { value => $_ } } @values); return }

sub session { my ($mock, @node) = @_; my ($session) = $mock->fetch_sessions(@node); return $session }

sub is_open { my ($mock, @node) = @_; return scalar(() = $mock->fetch_sessions(@node)) }

# Until so many Fetches have come.
sub fetches {
    my ($mock, $count) = @_;
    my $until = $mock->request_count('Fetch') + $count;
    return wait_until { $mock->request_count('Fetch') >= $until } "$count Fetches";
}

# What requests and answers name from now on.
sub counted {
    my ($mock, $code) = @_;
    my $before = session($mock);
    $code->();
    my $after = session($mock);
    is $after->{session_id}, $before->{session_id}, 'it is one session';
    return [map { $after->{$_} - $before->{$_} } qw(named forgotten given)];
}

subtest 'what does not change is not spoken of' => sub {
    my $mock = mocked(50);
    my ($kafka, $received) = consumer($mock, 50);
    wait_until { is_open($mock) } 'a session';
    is_deeply [sort @{ session($mock)->{partitions} }], [sort map {"t:$_"} 0 .. 49], 'all of the broker are in it';
    fetches($mock, 3);
    is_deeply counted($mock, sub { fetches($mock, 20) }), [0, 0, 0], 'nothing is named while there is nothing';
    my $counts = counted($mock, sub {
        for my $value (1 .. 10) {
            appended($mock, $_, $value) for 7, 31;
            wait_until { @$received == 2 * $value } 'records';
        }
        fetches($mock, 2);
    });
    is $counts->[0], 20, 'what has moved is';
    is $counts->[1], 0, 'and nothing is forgotten';
    cmp_ok $counts->[2], '<=', 40, 'answers have what is new';
    is_deeply [sort @$received], [sort map { ("7:$_", "31:$_") } 1 .. 10], 'all of it is delivered';
    is is_open($mock), 1, 'one session';
};

subtest 'by poll as well' => sub {
    my $mock = mocked(20);
    my ($kafka, $received) = consumer($mock, 20);
    $kafka->stop_consuming;
    my $poll = sub { my $polled; $kafka->poll(sub { $polled = 1 }); wait_until { $polled } 'poll' };
    $poll->() for 1 .. 3;
    is_deeply counted($mock, sub { $poll->() for 1 .. 10 }), [0, 0, 0], 'nothing is named';
    appended($mock, 3, 'a');
    $poll->() for 1 .. 3;
    is_deeply $received, ['3:a'], 'a record comes';
};

subtest 'pause, resume, seek, assign' => sub {
    my $mock = mocked(6);
    appended($mock, $_, 'a' .. 'c') for 0 .. 5;
    my ($kafka, $received) = consumer($mock, 6);
    wait_until { @$received == 18 } 'all';
    fetches($mock, 3);
    @$received = ();
    is_deeply counted($mock, sub { $kafka->pause([{ topic => 't', partition => 2 }]); fetches($mock, 3) }), [0, 1, 0], 'pause';
    ok !(grep { $_ eq 't:2' } @{ session($mock)->{partitions} }), 'takes it out of the session';
    appended($mock, 2, 'd');
    fetches($mock, 3);
    is_deeply $received, [], 'nothing of it comes';
    $kafka->resume([{ topic => 't', partition => 2 }]);
    wait_until { @$received } 'what was written meanwhile';
    is_deeply [splice @$received], ['2:d'], 'resume brings it back';

    fetches($mock, 2);
    my $counts = counted($mock, sub { $kafka->seek('t', 4, 1); wait_until { @$received == 2 } 'records'; fetches($mock, 2) });
    is_deeply [splice @$received], ['4:b', '4:c'], 'a seek';
    is $counts->[0], 2, 'names it, and again when it has been read';

    my $mine = $kafka->{cfg}{assignments};
    $mine->[5]{offset} = 2;
    wait_until { @$received } 'a record';
    is_deeply [splice @$received], ['5:c'], 'an offset that a program writes counts';

    Inside::change_assignment($kafka, [map { { topic => 't', partition => $_, offset => 0 } } 0, 1, 2, 4]);
    fetches($mock, 3);
    is_deeply [sort @{ session($mock)->{partitions} }], [map {"t:$_"} 0, 1, 2, 4], 'what is given up leaves the session';
    is_deeply $received, [], 'nothing comes twice';
};

subtest 'many offsets that a program writes' => sub {
    my $mock = mocked(40);
    appended($mock, $_, 'a') for 0 .. 39;
    my ($kafka, $received) = consumer($mock, 40);
    wait_until { @$received == 40 } 'all';
    $_->{offset} = 0 for @{ $kafka->{cfg}{assignments} };
    wait_until { @$received == 80 } 'all again';
    fetches($mock, 10);
    is scalar(@$received), 80, 'once';
};

subtest 'a partition whose records wait is not fetched' => sub {
    my $mock = mocked(2);
    my ($kafka, $received) = consumer($mock, 2);
    wait_until { is_open($mock) } 'a session';
    Inside::hold_delivery($kafka);
    appended($mock, 0, 'a');
    wait_until { Inside::undelivered($kafka) } 'an answer';
    my $count = $mock->request_count('Fetch');
    appended($mock, 1, 'b');
    turns 50;
    is $mock->request_count('Fetch'), $count, 'the broker is left alone';
    Inside::release_delivery($kafka);
    wait_until { @$received == 2 } 'both';
    is_deeply $received, ['0:a', '1:b'], 'in order';
};

for my $case (
    ['an id that the broker does not know' => sub { $_[0]->fault(api => 'Fetch', error => 70) }],
    ['another epoch'                       => sub { $_[0]->fault(api => 'Fetch', error => 71) }],
    ['topic ids that do not match'         => sub { $_[0]->fault(api => 'Fetch', error => 106) }],
    ['a broker that has forgotten it'      => sub { $_[0]->forget_fetch_sessions }],
    ['a connection that is lost'           => sub { $_[0]->fault(api => 'Fetch', drop => 1) }],
) {
    my ($name, $happens) = @$case;
    subtest $name => sub {
        my $mock = mocked(10);
        appended($mock, $_, 'a') for 0 .. 9;
        my ($kafka, $received) = consumer($mock, 10);
        wait_until { @$received == 10 } 'the start';
        fetches($mock, 3);
        my $was = session($mock)->{session_id};
        my $polled;
        $happens->($mock);
        $kafka->poll(sub { $polled = [@_] }) if $name !~ /lost/;
        wait_until { is_open($mock) && session($mock)->{session_id} != $was } 'another session';
        appended($mock, $_, 'b') for 0 .. 9;
        wait_until { @$received == 20 } 'what comes then';
        is_deeply [sort @$received], [sort map { ("$_:a", "$_:b") } 0 .. 9], 'everything once';
        is is_open($mock), 1, 'the old one is not left behind';
        return if $name =~ /lost/;
        wait_until { $polled } 'poll';
        is_deeply $polled, [], 'a poll has not failed';
        is_deeply [errors($kafka)], [], 'and nobody hears of it';
    };
}

subtest 'an error that does not end' => sub {
    my $mock = mocked(1);
    my ($kafka, $received) = consumer($mock, 1);
    wait_until { is_open($mock) } 'a session';
    $mock->fault(api => 'Fetch', error => 71, times => undef);
    turns 50;
    my $count = $mock->request_count('Fetch');
    turns 200;
    cmp_ok $mock->request_count('Fetch') - $count, '<=', 4, 'is tried again with a delay';
    $mock->clear_faults;
    appended($mock, 0, 'a');
    wait_until { @$received } 'a record';
    is_deeply $received, ['0:a'], 'and goes on afterwards';
};

subtest 'a broker without room' => sub {
    my $mock = mocked(5, max_fetch_sessions => 0);
    appended($mock, $_, 'a' .. 'c') for 0 .. 4;
    my ($kafka, $received) = consumer($mock, 5, fetch_max_bytes => 50);
    wait_until { @$received == 15 } 'all';
    is is_open($mock), 0, 'no session';
    appended($mock, 4, 'd');
    wait_until { @$received == 16 } 'one more';
    is_deeply [errors($kafka)], [], 'no error';
};

subtest 'a broker that is older' => sub {
    my $mock = mocked(5);
    $mock->api_versions(Fetch => 4, 6);
    appended($mock, $_, 'a') for 0 .. 4;
    my ($kafka, $received) = consumer($mock, 5);
    wait_until { @$received == 5 } 'all';
    fetches($mock, 3);
    is is_open($mock), 0, 'no session';
    appended($mock, 2, 'b');
    wait_until { @$received == 6 } 'one more';
};

subtest 'everyone gets a turn' => sub {
    my $mock = mocked(4);
    appended($mock, $_, ('x' x 200) x 20) for 0 .. 3;
    my @seen;
    my ($kafka) = consumer($mock, 4, fetch_max_bytes => 300, on_message => undef, on_batch => sub { push @seen, $_[1] });
    wait_until { 4 == keys %{ { map { $_ => 1 } @seen } } } 'a batch of each';
    appended($mock, $_, 'y' x 200) for (0) x 40, 1, 2, 3;
    @seen = ();
    wait_until { 4 == keys %{ { map { $_ => 1 } @seen } } } 'one more of each';
    cmp_ok scalar(@seen), '<', 30, 'a partition that always has more does not keep the others waiting';
};

subtest 'a leader that changes' => sub {
    my $mock = mocked(2, brokers => 2, replication_factor => 2);
    $mock->set_leader(t => $_, 0) for 0, 1;
    my ($kafka, $received) = consumer($mock, 2);
    wait_until { is_open($mock, 0) } 'a session';
    $mock->set_leader(t => $_, 1) for 0, 1;
    appended($mock, $_, 'a') for 0, 1;
    wait_until { @$received == 2 } 'records of the new leader';
    is scalar(@{ session($mock, 1)->{partitions} }), 2, 'which has a session';
    wait_until { !is_open($mock, 0) } 'the end of the one with the old leader';
    pass 'the one that it has left is told so';
};

subtest 'its end' => sub {
    my $mock = mocked(2);
    my ($kafka, $received) = consumer($mock, 2, fetch_max_wait_ms => 20);
    wait_until { is_open($mock) } 'a session';
    $kafka->assign([]);
    wait_until { !is_open($mock) } 'its end';
    pass 'when nothing is assigned any more';
    $kafka->assign([{ topic => 't' }]);
    wait_until { is_open($mock) } 'another';
    $kafka->stop_consuming;
    wait_until { !Inside::is_fetching($kafka) } 'the last answer';
    $kafka->close;
    wait_until { !is_open($mock) } 'its end';
    pass 'and when the client is closed';
};

subtest 'the log of a topic that is created anew' => sub {
    my $mock = mocked(2);
    appended($mock, 0, 'a' .. 'c');
    my ($kafka, $received) = consumer($mock, 2);
    wait_until { @$received == 3 } 'records';
    @$received = ();
    $mock->delete_topic('t');
    $mock->create_topic(t => 2);
    appended($mock, 0, 'd');
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { @$received } 'its record';
    is_deeply $received, ['0:d'], 'is read from its beginning';
};

done_testing;
