use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use ScriptedBroker;
use TestKafka;

my $mock = EV::Kafka::Mock->new;
$mock->create_topic(t => 2);
$mock->append(t => 0, map { { value => "v$_" } } 0 .. 9);
$mock->delete_records(t => 0, 3);

subtest 'assign' => sub {
    my $kafka = client;
    $kafka->assign([{ topic => 't', partition => 1, offset => 5 }, { topic => 't' }]);
    is_deeply $kafka->{cfg}{assignments},
        [{ topic => 't', partition => 1, offset => 5 }, { topic => 't', partition => 0, offset => 0 }],
        'a missing partition or offset counts as 0';
    $kafka->assign([{ topic => 'u' }]);
    is_deeply $kafka->{cfg}{assignments}, [{ topic => 'u', partition => 0, offset => 0 }], 'replaces what was assigned';
    $kafka->assign([]);
    is_deeply $kafka->{cfg}{assignments}, [], 'also by nothing';
    for my $bad (undef, 'x', ['x'], [{}], [{ topic => 't', partition => 'x' }], [{ topic => 't', offset => 'x' }]) {
        eval { $kafka->assign($bad) };
        like $@, qr/^assign: .* at \Q$0\E/, 'croaks: ' . ($@ =~ /(.*) at/)[0];
    }
};

subtest 'seek' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([{ topic => 't', offset => 4 }]);
    my $assigned = $kafka->{cfg}{assignments}[0];
    my @got;
    my $cb = sub { push @got, [@_] };
    $kafka->seek('t', 0, 7, $cb);
    is $assigned->{offset}, 7, 'to an offset, in place';
    is_deeply \@got, [[{ topic => 't', partition => 0, offset => 7 }]], 'and the callback knows';
    $kafka->seek('t', 0, 8);
    is $assigned->{offset}, 8, 'without a callback';
    @got = ();
    $kafka->seek('t', 0, -2, $cb);
    wait_until { @got } 'the earliest';
    is $assigned->{offset}, 3, 'to the earliest';
    $kafka->seek('t', 0, -1, $cb);
    wait_until { @got == 2 } 'the latest';
    is $assigned->{offset}, 10, 'to the latest';
    is $got[1][1], undef, 'no error';
};

subtest 'what seek refuses' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    my $cb = sub { push @got, [@_] };
    $kafka->seek('t', 0, 1, $cb);
    is_deeply \@got, [[undef, 'not assigned']], 'a partition that is not assigned';
    $kafka->seek('t', 0, 1);
    like +(errors($kafka))[0], qr/not assigned/, 'without a callback on_error hears of it';
    $kafka->assign([{ topic => 'nowhere', offset => 4 }]);
    @got = ();
    $kafka->seek('nowhere', 0, -1, $cb);
    is_deeply \@got, [[undef, 'no connection to leader']], 'a partition without a leader';
    is $kafka->{cfg}{assignments}[0]{offset}, 4, 'the position stays';
    for my $bad (['t', 0], ['t', 'x', 0], ['t', 0, 'x'], ['t', 0, -3]) {
        eval { $kafka->seek(@$bad) };
        like $@, qr/^seek: /, "croaks: $@";
    }
    my $never = client;
    $never->assign([{ topic => 't' }]);
    @got = ();
    $never->seek('t', 0, -1, $cb);
    is_deeply \@got, [[undef, 'no connection to leader']], 'a client that never connected';
};

subtest 'before metadata' => sub {
    my $kafka = client(brokers => $mock->bootstrap);
    $kafka->assign([{ topic => 't' }]);
    $kafka->connect;
    my @got;
    $kafka->seek('t', 0, -1, sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply \@got, [[{ topic => 't', partition => 0, offset => 10 }]], 'seek waits for connect';
};

subtest 'errors of the lookup' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([{ topic => 't', offset => 4 }]);
    my @got;
    $mock->fault(api => 'ListOffsets', error => 6, times => 2);
    $kafka->seek('t', 0, -1, sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is $got[0][0]{offset}, 10, 'a leader that has moved is found';
    $mock->fault(api => 'ListOffsets', error => 29);
    $kafka->seek('t', 0, -2, sub { push @got, [@_] });
    wait_until { @got == 2 } 'the callback';
    is_deeply $got[1], [undef, 'TOPIC_AUTHORIZATION_FAILED (code 29)'], 'another error is given as it is';
    is $kafka->{cfg}{assignments}[0]{offset}, 10, 'the position stays';
    $mock->fault(api => 'ListOffsets', drop => 1);
    $kafka->seek('t', 0, -2, sub { push @got, [@_] });
    wait_until { @got == 3 } 'the callback';
    is_deeply $got[2], [undef, 'connection closed by broker'], 'the transport\'s error';
};

subtest 'a later seek wins over one that is being looked up' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([{ topic => 't' }]);
    my @got;
    $kafka->seek('t', 0, -1, sub { push @got, 'lookup' });
    $kafka->seek('t', 0, 5, sub { push @got, 'offset' });
    wait_until { @got == 2 } 'both';
    is_deeply \@got, ['offset', 'lookup'], 'both call back';
    is $kafka->{cfg}{assignments}[0]{offset}, 5, 'the later one counts';
};

subtest 'a seek while a fetch is in flight' => sub {
    my ($held, $records);
    my $broker = ScriptedBroker->new(on_request => sub {
        my ($broker, $connection, $request) = @_;
        return undef if $request->{api} ne 'Fetch';
        return ScriptedBroker::fetch_answer($request, high_watermark => 3) if $held;
        $held = [$connection, $request];
        return undef;
    });
    my @received;
    my $kafka = connected(brokers => $broker->address, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    my $polled = 0;
    $kafka->poll(sub { $polled++ });
    wait_until { $held } 'the Fetch';
    $kafka->seek('t', 0, 100);
    $records = EV::Kafka::_test_encode_batch([map { { key => 'k', value => "v$_" } } 0 .. 2], {});
    $broker->answer(@$held, ScriptedBroker::fetch_answer($held->[1], records => $records, high_watermark => 3));
    wait_until { $polled } 'the answer';
    is_deeply \@received, ['v0', 'v1', 'v2'], 'its records are still delivered';
    is $kafka->{cfg}{assignments}[0]{offset}, 100, 'the seek wins';
    $kafka->poll(sub { $polled++ });
    wait_until { $polled == 2 } 'the next answer';
    is ScriptedBroker::fetched(($broker->requests('Fetch'))[1])->{offset}, 100, 'and the next fetch starts there';

    undef $held;
    $kafka->seek('t', 0, 0);
    $kafka->poll(sub { $polled++ });
    wait_until { $held } 'the Fetch';
    $kafka->seek('t', 0, 0);
    $broker->answer(@$held, ScriptedBroker::fetch_answer($held->[1], records => $records, high_watermark => 3));
    wait_until { $polled == 3 } 'the answer';
    is $kafka->{cfg}{assignments}[0]{offset}, 3, 'a seek to where the fetch began does not bring its records again';
};

# What a seek to where the position stands does, whatever is under way.
{
    my %to = (
        'that offset'  => sub { $_[0]->seek('t', 0, 3, $_[1]) },
        'its position' => sub { $_[0]->seek('t', 0, $_[0]->position('t', 0), $_[1]) },
        'the end'      => sub { $_[0]->seek('t', 0, -1, $_[1]) },
        'away and back' => sub { $_[0]->seek('t', 0, 1); $_[0]->seek('t', 0, 3, $_[1]) },
    );
    for my $to (sort keys %to) {
        for my $how ('poll', 'consuming') {
            subtest "a seek to where the position stands while a fetch waits: $to, $how" => sub {
                my $mock = EV::Kafka::Mock->new;
                $mock->create_topic(t => 1);
                $mock->append(t => 0, { value => "v$_" }) for 0 .. 2;
                my (@received, $sought);
                my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10_000,
                    on_message => sub { push @received, $_[4] });
                $kafka->assign([{ topic => 't' }]);
                my $again;
                $again = sub { $kafka->poll($again) };
                $how eq 'poll' ? $again->() : $kafka->consume;
                wait_until { @received == 3 && $mock->request_count('Fetch') >= 2 } 'the Fetch that waits';
                turns 20;
                $to{$to}->($kafka, sub { $sought = $_[0] });
                wait_until { $sought } 'the seek';
                $mock->append(t => 0, { value => 'new' });
                wait_until { grep { $_ eq 'new' } @received } 'the next message';
                $mock->append(t => 0, { value => 'last' });
                wait_until { grep { $_ eq 'last' } @received } 'another one';
                is_deeply \@received, [qw(v0 v1 v2 new last)], 'nothing comes twice, nothing is lost';
                is $kafka->position('t', 0), 5, 'the position';
                undef $again;
            };
        }
    }
}

subtest 'a seek to where the position stands, from within on_message' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9];
    for my $how ('poll', 'consuming') {
        my (@received, $kafka);
        $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, fetch_max_bytes => 100, on_message => sub {
            push @received, $_[4];
            $kafka->seek('t', 0, $_[2] + 1);
        });
        $kafka->assign([{ topic => 't' }]);
        my $polling;
        if ($how eq 'poll') { $polling = EV::timer 0, 0.01, sub { $kafka->poll } }
        else                { $kafka->consume }
        wait_until { @received >= 10 } 'all';
        turns 20;
        is_deeply \@received, [0 .. 9], "$how: everything comes once and in order";
    }
};

subtest 'a seek away and back while what was fetched waits to be delivered' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    $mock->append(t => $_, map { { value => $_ } } 0 .. 4) for 0, 1;
    for my $how ('poll', 'consuming') {
        my (%received, $kafka, $sought);
        $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message => sub {
            push @{ $received{ $_[1] } }, $_[4];
            return if $sought++;
            my $other = 1 - $_[1];
            $kafka->seek('t', $other, $_) for 3, 0;
        });
        $kafka->assign([map { { topic => 't', partition => $_ } } 0, 1]);
        my $polling;
        if ($how eq 'poll') { $polling = EV::timer 0, 0.01, sub { $kafka->poll } }
        else                { $kafka->consume }
        wait_until { 2 == grep { $kafka->position('t', $_) == 5 } 0, 1 } 'the end of both';
        turns 20;
        is_deeply \%received, { map { $_ => [0 .. 4] } 0, 1 }, "$how: everything comes once and in order";
    }
};

subtest 'a position that is written to while what follows it was fetched' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9];
    my (@received, $kafka);
    my $parts = [{ topic => 't' }];
    $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message => sub {
        push @received, $_[4];
        $parts->[0]{offset} = 8 if @received == 2;
        $kafka->pause($parts), $kafka->resume($parts) if @received == 2;
    });
    $kafka->assign($parts);
    $kafka->consume;
    wait_until { $kafka->position('t', 0) == 10 } 'the end';
    turns 20;
    is_deeply \@received, [0, 1, 8, 9], 'counts from the next message on';
};

subtest 'a new assignment while a fetch is in flight' => sub {
    my $held;
    my $broker = ScriptedBroker->new(topics => { t => [0], u => [0] }, on_request => sub {
        my ($broker, $connection, $request) = @_;
        $held ||= [$connection, $request] if $request->{api} eq 'Fetch';
        return undef;
    });
    my @received;
    my $kafka = connected(brokers => $broker->address, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    my $polled = 0;
    $kafka->poll(sub { $polled++ });
    wait_until { $held } 'the Fetch';
    $kafka->assign([{ topic => 't', offset => 9 }]);
    my $records = EV::Kafka::_test_encode_batch([{ key => 'k', value => 'v' }], {});
    $broker->answer(@$held, ScriptedBroker::fetch_answer($held->[1], records => $records, high_watermark => 1));
    wait_until { $polled } 'the answer';
    is_deeply \@received, [], 'makes the late answer void';
    is $kafka->{cfg}{assignments}[0]{offset}, 9, 'and keeps its own position';
};

for my $is_consuming (0, 1) {
    my $how = $is_consuming ? 'while consuming' : 'with poll';

    subtest "a seek from within on_message that finds nothing, $how" => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        $mock->append(t => 0, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9], [10 .. 14], [15 .. 19];
        $mock->fault(api => 'ListOffsets', error => 29, delay_ms => 50);
        my (@received, @sought, @positions, $kafka);
        $kafka = connected(brokers => $mock->bootstrap, fetch_max_bytes => 200, fetch_max_wait_ms => 10,
            on_message => sub {
                push @received, $_[4];
                $kafka->seek('t', 0, -2, sub { push @sought, [@_] }) if $_[4] == 2;
                push @positions, $kafka->position('t', 0);
            });
        $kafka->assign([{ topic => 't' }]);
        my $polling;
        if ($is_consuming) { $kafka->consume }
        else               { $polling = EV::timer 0, 0.01, sub { $kafka->poll } }
        wait_until { @sought } 'the end of the seek';
        wait_until { @received >= 20 } 'everything';
        turns 20;
        is_deeply \@received, [0 .. 19], 'moves nothing: everything comes once and in order';
        is_deeply \@positions, [1 .. 20], 'and the position is known meanwhile';
    };

    subtest "a seek from within on_message that takes a while, $how" => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        $mock->append(t => 0, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9];
        $mock->fault(api => 'ListOffsets', delay_ms => 50);
        my (@received, @sought, $kafka);
        $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message => sub {
            push @received, $_[4];
            $kafka->seek('t', 0, -2, sub { push @sought, [@_] }) if @received == 3;
        });
        $kafka->assign([{ topic => 't' }]);
        my $polling;
        if ($is_consuming) { $kafka->consume }
        else               { $polling = EV::timer 0, 0.01, sub { $kafka->poll } }
        wait_until { @received >= ($is_consuming ? 13 : 20) } 'everything';
        turns 20;
        is_deeply \@received, [0 .. 2, ($is_consuming ? () : 3 .. 9), 0 .. 9],
            $is_consuming ? 'nothing of before comes meanwhile' : 'what poll has asked for comes before';
        is_deeply \@sought, [[{ topic => 't', partition => 0, offset => 0 }]], 'the callback knows where it is';
    };
}

for my $is_answered (0, 1) {
    subtest 'what nobody has asked for is void while a seek is looked up, '
        . ($is_answered ? 'also if it is there' : 'also if it is on its way') => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        $mock->append(t => 0, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9], [10 .. 14];
        my @received;
        my $kafka = connected(brokers => $mock->bootstrap, fetch_max_bytes => 100, fetch_max_wait_ms => 10,
            on_message => sub { push @received, $_[4] });
        $kafka->assign([{ topic => 't' }]);
        my $poll = sub { my $polled; $kafka->poll(sub { $polled = 1 }); wait_until { $polled } 'poll' };
        $poll->();
        is_deeply [splice @received], [0 .. 4], 'a poll';
        if ($is_answered) { wait_until { Inside::undelivered($kafka) } 'what is fetched ahead' }
        $mock->fault(api => 'ListOffsets', delay_ms => 50);
        my $sought;
        $kafka->seek('t', 0, -2, sub { $sought = 1 });
        $poll->() until $sought && @received;
        is $received[0], 0, 'the next one delivers what comes from there';
    };
}

done_testing;
