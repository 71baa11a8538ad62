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
use Time::HiRes qw(time);

subtest 'messages arrive with all that belongs to them' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0,
        { key => 'k', value => 'v', timestamp => 1234, headers => [[h => 'x']] },
        { key => undef, value => '', timestamp => 5678 });
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, [@_] });
    $kafka->assign([{ topic => 't' }]);
    my @polled;
    $kafka->poll(sub { push @polled, [scalar @received, @_] });
    wait_until { @polled } 'poll';
    is_deeply \@received, [['t', 0, 0, 'k', 'v', { h => 'x' }, 1234], ['t', 0, 1, undef, '', undef, 5678]],
        'topic, partition, offset, key, value, headers, timestamp';
    is $polled[0][0], 2, 'the callback comes after the messages';
    is $polled[0][1], undef, 'without an error';
    is $kafka->{cfg}{assignments}[0]{offset}, 2, 'the position has moved';
};

subtest 'several partitions on several brokers' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 3);
    $mock->create_topic(t => 6);
    $mock->append(t => $_, { value => "p$_" }) for 0 .. 5;
    my (@received, $polled);
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
    $kafka->assign([map { { topic => 't', partition => $_ } } 0 .. 5]);
    $kafka->poll(sub { $polled++; is scalar(@received), 6, 'called back after all answers' });
    wait_until { $polled } 'poll';
    turns;
    is $polled, 1, 'once';
    is_deeply [sort @received], [map { "p$_" } 0 .. 5], 'everything is there';
    is $mock->request_count('Fetch'), 3, 'one Fetch for each broker';
};

subtest 'poll with nothing to do calls back at once' => sub {
    my $mock  = EV::Kafka::Mock->new(auto_create => 0);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $polled = 0;
    $kafka->poll(sub { $polled++ });
    is $polled, 1, 'nothing assigned';
    $kafka->assign([{ topic => 'unknown' }]);
    $kafka->poll(sub { $polled++ });
    is $polled, 2, 'no known leader';
    $kafka->poll;
    is_deeply [errors($kafka)], [], 'no error';
};

# Polls from the callback of the last poll, as the documentation advises.
sub poll_on {
    my ($kafka) = @_;
    my %loop = (polled => 0, depth => 0, deepest => 0, answers => []);
    $loop{poll} = sub {
        return if $loop{stopped} || $loop{polled}++ > 50;
        local $loop{depth} = $loop{depth} + 1;
        $loop{deepest} = $loop{depth} if $loop{depth} > $loop{deepest};
        $kafka->poll(sub { push @{ $loop{answers} }, [@_]; $loop{poll}->() });
    };
    $loop{poll}->();
    return \%loop;
}

{
    my $mock = EV::Kafka::Mock->new(auto_create => 0);
    $mock->create_topic(t => 1);
    my %nothing = (
        'nothing assigned'  => sub { },
        'no known leader'   => sub { $_[0]->assign([{ topic => 'unknown' }]) },
        'everything paused' => sub { $_[0]->assign([{ topic => 't' }]); $_[0]->pause([{ topic => 't' }]) },
        'a leader that is not in the cluster' =>
            sub { $_[0]->assign([{ topic => 't' }]); $_[0]{cfg}{leaders}{'t:0'} = 7 },
        'the same, without a position' =>
            sub { $_[0]->assign([{ topic => 't', offset => -2 }]); $_[0]{cfg}{leaders}{'t:0'} = 7 },
    );
    for my $name (sort keys %nothing) {
        subtest "polling on with $name" => sub {
            my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 100);
            # Metadata would put the leader right.
            Inside::without_metadata(sub {
                $nothing{$name}->($kafka);
                # Timers count from the time that the loop knows.
                EV::now_update;
                my $began = time;
                my $loop  = poll_on($kafka);
                cmp_ok $loop->{deepest}, '<=', 2, 'does not recurse';
                wait_until { @{ $loop->{answers} } >= 4 } 'polls';
                cmp_ok time - $began, '>', 0.25, 'each waits as for a broker that has nothing';
                cmp_ok $loop->{deepest}, '<=', 2, 'and comes from the event loop';
                my $answers = @{ $loop->{answers} };
                $loop->{stopped} = 1;
                $kafka->close;
                is scalar(@{ $loop->{answers} }), $answers + 1, 'close ends the last one';
                like $loop->{answers}[-1][0], qr/^client closed$|left the cluster$/, 'and it hears why';
            });
        };
    }
}

subtest 'a poll that waits with nothing to fetch from' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic($_ => 1) for qw(t u);
    $mock->append(t => 0, { value => $_ }) for 0 .. 2;
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 3_600_000,
        on_message => sub { push @received, $_[4] });
    my $polled = 0;
    $kafka->poll(sub { $kafka->poll(sub { $polled++ }) });
    turns;
    is $polled, 0, 'waits';
    $kafka->assign([{ topic => 't', offset => 2 }]);
    wait_until { $polled } 'the callback';
    is_deeply \@received, [2], 'goes on with an assignment';

    $kafka->pause([{ topic => 't' }]);
    $kafka->seek('t', 0, 0);
    $kafka->poll(sub { $polled++ }) for 1 .. 2;
    $kafka->poll;
    turns;
    is $polled, 1, 'waits while everything is paused';
    $kafka->resume([{ topic => 't' }]);
    wait_until { $polled == 3 } 'the callbacks';
    is_deeply \@received, [2, 0, 1, 2], 'goes on with a resume, one Fetch for all';

    $kafka->assign([{ topic => 'new', offset => -2 }]);
    $kafka->poll(sub { $kafka->poll(sub { $polled++ }) });
    is $polled, 3, 'waits for a leader';
    $mock->create_topic('new');
    $mock->append(new => 0, { value => 'n' });
    wait_until { $polled == 4 } 'the callback';
    is $received[-1], 'n', 'goes on when there is one';
    is Inside::idle_polls($kafka), 0, 'none is left';
};

subtest 'poll before metadata waits for it' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => 'v' });
    my (@received, $polled);
    my $kafka = client(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->poll for 1 .. 10;
    is scalar(@{ $kafka->{cfg}{pending_ops} }), 1, 'polls without callback do not pile up';
    $kafka->poll(sub { $polled++ });
    turns;
    ok !$polled, 'not before connect';
    $kafka->connect;
    wait_until { $polled } 'poll';
    is_deeply \@received, ['v'], 'then it runs';
};

subtest 'at most one Fetch a broker is outstanding' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10_000, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    my $polled = 0;
    $kafka->poll(sub { $polled++ }) for 1 .. 3;
    wait_until { $mock->request_count('Fetch') } 'the Fetch';
    turns 50;
    $kafka->poll(sub { $polled++ });
    turns 50;
    is $mock->request_count('Fetch'), 1, 'one for four polls';
    is $polled, 0, 'which all wait for it';
    $mock->append(t => 0, { value => 'v' });
    wait_until { $polled == 4 } 'the callbacks';
    is_deeply \@received, ['v'], 'the message came once';
};

subtest 'fetch options reach the broker' => sub {
    my $broker = ScriptedBroker->new(on_request => sub { $_[2]{api} eq 'Fetch' ? ScriptedBroker::fetch_answer($_[2]) : undef });
    my $kafka = connected(brokers => $broker->address,
        fetch_max_wait_ms => 123, fetch_min_bytes => 45, fetch_max_bytes => 6789);
    $kafka->assign([{ topic => 't', offset => 3 }]);
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is_deeply ScriptedBroker::fetched(($broker->requests('Fetch'))[0]),
        { topic => 't', partition => 0, offset => 3, max_wait_ms => 123, min_bytes => 45, max_bytes => 6789,
            partition_max_bytes => 6789, isolation_level => 0 },
        'wait, minimum and maximum';
};

subtest 'positions -1 and -2 in assign' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    $mock->append(t => $_, map { { value => "p$_" } } 0 .. 4) for 0, 1;
    $mock->delete_records(t => 0, 2);
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, on_message => sub { push @received, "$_[1]:$_[2]" });
    $kafka->assign([{ topic => 't', partition => 0, offset => -2 }, { topic => 't', partition => 1, offset => -1 }]);
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is_deeply \@received, ['0:2', '0:3', '0:4'], 'the earliest, and only what is new';
    $mock->append(t => 1, { value => 'new' });
    fetch_all($kafka, \@received, 4);
    is $received[3], '1:5', 'the new one';
};

subtest 'on_message may call any method' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic($_ => 1) for qw(t u);
    $mock->append(t => 0, map { { value => $_ } } 0 .. 2);
    $mock->append(u => 0, { value => 'u' });
    my (@received, $kafka);
    my $act = sub { };
    $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, on_message => sub { push @received, $_[4]; $act->($_[4]) });
    my $poll = sub { my $polled; $kafka->poll(sub { $polled = 1 }); wait_until { $polled } 'poll' };

    $kafka->assign([{ topic => 't' }]);
    $act = sub { $kafka->seek('t', 0, 1) if $_[0] == 2 };
    $poll->();
    is $kafka->{cfg}{assignments}[0]{offset}, 1, 'seek';
    $act = sub { };
    $poll->();
    is_deeply [splice @received], [0, 1, 2, 1, 2], 'and the next poll starts there';

    my $nested = 0;
    $kafka->seek('t', 0, 0);
    $act = sub { $kafka->poll(sub { $nested++ }) };
    $poll->();
    wait_until { $nested == 3 } 'the polls';
    is_deeply [splice @received], [0, 1, 2], 'poll';

    $kafka->seek('t', 0, 0);
    $act = sub { $kafka->assign([{ topic => 'u' }]) if $_[0] eq '0' };
    $poll->();
    is_deeply $kafka->{cfg}{assignments}, [{ topic => 'u', partition => 0, offset => 0 }], 'assign';
    @received = ();
    $poll->();
    is_deeply [splice @received], ['u'], 'and the next poll fetches that';

    my $delivered;
    $kafka->seek('u', 0, 0);
    $act = sub { $kafka->produce('v', 'k', $_[0], sub { $delivered = 1 }) };
    $poll->();
    wait_until { $delivered } 'produce';
    pass 'produce';

    my $closed;
    $kafka->assign([{ topic => 't' }, { topic => 'u' }]);
    @received = ();
    $act = sub { return if $closed; $kafka->close(sub { $closed = 1 }) };
    $poll->();
    is $closed, 1, 'close';
    turns;
    cmp_ok scalar(grep { $_ eq 'u' } @received), '<=', 1, 'after which no other partition is delivered';
};

subtest 'a batch that is larger than what is asked for' => sub {
    my $size   = 200_000;
    my $batch  = EV::Kafka::_test_encode_batch([{ key => 'k', value => 'x' x $size }], {});
    my $broker = ScriptedBroker->new(on_request => sub {
        my (undef, undef, $request) = @_;
        return undef if $request->{api} ne 'Fetch';
        # As brokers before 0.10.1 and those with many partitions to answer do.
        my $asked = ScriptedBroker::fetched($request);
        return ScriptedBroker::fetch_answer($request, high_watermark => 1,
            records => $asked->{offset} ? '' : substr $batch, 0, $asked->{partition_max_bytes});
    });
    my @received;
    my $kafka = connected(brokers => $broker->address, fetch_max_bytes => 10_000, on_message => sub { push @received, length $_[4] });
    $kafka->assign([{ topic => 't' }]);
    fetch_all($kafka, \@received, 1);
    is_deeply \@received, [$size], 'is fetched by asking for more';
    my @limits = map { ScriptedBroker::fetched($_)->{max_bytes} } $broker->requests('Fetch');
    is_deeply [@limits[0 .. 5]], [map { 10_000 * 2**$_ } 0 .. 5], 'twice as much each time';
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is ScriptedBroker::fetched(($broker->requests('Fetch'))[-1])->{max_bytes}, 10_000, 'and then no more than before';
};

subtest 'an answer that breaks off within a batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => 'a' });
    $mock->append(t => 0, { value => 'b' });
    $mock->fault(api => 'Fetch', truncate => 1);
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    fetch_all($kafka, \@received, 2);
    is_deeply \@received, ['a', 'b'], 'nothing is lost and nothing comes twice';
    is_deeply [errors($kafka)], [], 'and it is no error';
};

subtest 'what compaction leaves of batches' => sub {
    my $batch = sub {
        my ($offset, $last_offset_delta, @values) = @_;
        my $batch = ScriptedBroker::batch($offset, [map { { value => $_ } } @values ? @values : 'removed']);
        if (!@values) {
            substr $batch, 61, length($batch) - 61, '';
            substr $batch, 8, 4, pack 'N', length($batch) - 12;
            substr $batch, 57, 4, pack 'N', 0;
        }
        substr $batch, 23, 4, pack 'N', $last_offset_delta;
        substr $batch, 17, 4, pack 'N', EV::Kafka::_crc32c(substr $batch, 21);
        return $batch;
    };
    my @log    = ($batch->(0, 4, 'a', 'b'), $batch->(5, 9), $batch->(20, 0, 'c'), $batch->(21, 3));
    my $broker = ScriptedBroker->new(on_request => sub {
        my (undef, undef, $request) = @_;
        return undef unless $request->{api} eq 'Fetch';
        my $offset = ScriptedBroker::fetched($request)->{offset};
        my ($next) = grep { my ($base, $delta) = unpack 'q> x15 N', $_; $base + $delta >= $offset } @log;
        return ScriptedBroker::fetch_answer($request, records => $next // '', high_watermark => 25);
    });
    my @received;
    my $kafka = connected(brokers => $broker->address, on_message => sub { push @received, "$_[2]$_[4]" });
    $kafka->assign([{ topic => 't' }]);
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { $kafka->position('t', 0) == 25 } 'the end';
    is_deeply \@received, ['0a', '1b', '20c'], 'the records that are there';
    my %asked = map { ScriptedBroker::fetched($_)->{offset} => 1 } $broker->requests('Fetch');
    is_deeply [grep { $_ < 25 } sort { $a <=> $b } keys %asked], [0, 5, 15, 21],
        'and the position behind each batch is its last offset plus one';
    is_deeply [errors($kafka)], [], 'no error';
};

subtest 'many messages, polled from the callback of the last poll' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    for my $partition (0, 1) {
        $mock->append(t => $partition, map { { value => $_ } } 1 .. 500) for 1 .. 4;
    }
    my %next = (0 => 0, 1 => 0);
    my $wrong = 0;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_bytes => 5000,
        on_message => sub { $wrong++ if $_[2] != $next{ $_[1] }++ });
    $kafka->assign([map { { topic => 't', partition => $_ } } 0, 1]);
    my $again;
    $again = sub { $kafka->poll($again) if $next{0} + $next{1} < 4000 };
    $again->();
    wait_until { $next{0} + $next{1} >= 4000 } 'everything';
    undef $again;
    is $wrong, 0, 'in order, each once';
};

subtest 'what the broker is known to have is fetched before it is asked for' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    $mock->append(t => 0, { value => $_ }) for 0 .. 9;
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_bytes => 100,
        on_message => sub { push @received, $_[2] });
    $kafka->assign([{ topic => 't' }]);
    my $poll = sub { my $polled; $kafka->poll(sub { $polled = 1 }); wait_until { $polled } 'poll' };
    $poll->();
    my $first = @received;
    wait_until { $mock->request_count('Fetch') == 2 && !Inside::is_fetching($kafka) } 'the second answer';
    turns;
    is scalar(@received), $first, 'it is not delivered before the next poll';
    is $mock->request_count('Fetch'), 2, 'nor is anything else fetched';
    my $lag;
    $kafka->lag(sub { $lag = shift });
    wait_until { $lag } 'lag';
    is $lag->{'t:0'}{current}, $first, 'and the position is that of what was delivered';
    $poll->();
    cmp_ok scalar(@received), '>', $first, 'which delivers it';
    wait_until { $mock->request_count('Fetch') == 3 && !Inside::is_fetching($kafka) } 'the third answer';
    $kafka->seek('t', 0, 8);
    @received = ();
    $poll->();
    is $received[0], 8, 'a seek makes void what nobody has asked for';
    $kafka->assign([{ topic => 't', offset => 3 }]);
    @received = ();
    $poll->();
    is $received[0], 3, 'and so does a new assignment, also while it is under way';
    $poll->() while @received < 7;
    is_deeply \@received, [3 .. 9], 'nothing is left out and nothing comes twice';
    my $requests = $mock->request_count('Fetch');
    turns 50;
    is $mock->request_count('Fetch'), $requests, 'at the end of the log nothing is fetched ahead';
};

done_testing;
