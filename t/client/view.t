use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use ScriptedBroker;
use TestKafka;

# What programs, and tests of programs, read and write of a client beside its methods:
# $kafka->{cfg}, and the methods that they call though their names begin with _.

sub mocked {
    my ($brokers, %topics) = @_;
    my $mock = EV::Kafka::Mock->new(brokers => $brokers);
    $mock->create_topic($_ => $topics{$_}) for sort keys %topics;
    return $mock;
}

sub consuming {
    my ($mock, $assignments, %options) = @_;
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 20,
        on_message => sub { push @received, "$_[0]:$_[1] $_[4]" }, %options);
    $kafka->assign($assignments);
    return ($kafka, \@received);
}

sub appended {
    my ($mock, $topic, $partition, @values) = @_;
    $mock->append($topic, $partition, map { { value => $_ } } @values);
    return;
}

sub delivered {
    my ($kafka, $topic, $value, @options) = @_;
    my @got;
    $kafka->produce($topic, undef, $value, @options, sub { @got = @_ });
    wait_until { @got } "delivery of $value";
    return $got[1] // 'ok';
}

# --- what is there ----------------------------------------------------------------

subtest 'a client that has done nothing' => sub {
    my $kafka = client(brokers => 'a, [::1]:9, b:7', client_id => 'me');
    my $cfg   = $kafka->{cfg};
    is_deeply $cfg->{bootstrap}, [['a', 9092], ['::1', 9], ['b', 7]], 'bootstrap';
    is $cfg->{client_id}, 'me', 'client_id';
    is $cfg->{acks}, -1, 'acks';
    is $cfg->{linger_ms}, 0, 'linger_ms';
    ok !$cfg->{tls}, 'tls';
    is ref $cfg->{on_error}, 'CODE', 'on_error';
    is $cfg->{on_message}, undef, 'on_message';
    is $cfg->{$_}, undef, $_ for qw(meta bootstrap_conn group _linger_timer);
    is_deeply $cfg->{$_}, {}, $_ for qw(conns leaders broker_map _topic_meta_tries);
    is_deeply $cfg->{$_}, [], $_ for qw(assignments pending_ops);
    is $cfg->{$_}, -1, $_ for qw(producer_id producer_epoch);
    ok !$cfg->{_linger_active}, '_linger_active';
    ok exists $cfg->{$_}, "$_ is there" for qw(bootstrap client_id acks tls linger_ms on_error meta bootstrap_conn conns leaders
        broker_map assignments group producer_id producer_epoch pending_ops _linger_active _linger_timer _topic_meta_tries);
};

subtest 'a client that is connected' => sub {
    my $mock  = mocked(2, t => 3);
    my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1);
    my $cfg   = $kafka->{cfg};
    my %port  = map { $_->{node_id} => $_->{port} } $mock->brokers;
    is_deeply $cfg->{leaders}, { 't:0' => 0, 't:1' => 1, 't:2' => 0 }, 'leaders';
    is_deeply $cfg->{broker_map}, { map { $_ => { host => '127.0.0.1', port => $port{$_} } } 0, 1 }, 'broker_map';
    is_deeply [map { $_->{name} } @{ $cfg->{meta}{topics} }], ['t'], 'meta has the topics';
    is_deeply [sort map { $_->{node_id} } @{ $cfg->{meta}{brokers} }], [0, 1], 'and the brokers';
    is_deeply [sort map { $_->{partition} } @{ $cfg->{meta}{topics}[0]{partitions} }], [0 .. 2], 'and the partitions';
    isa_ok $cfg->{bootstrap_conn}, 'EV::Kafka::Conn', 'bootstrap_conn';
    ok $cfg->{bootstrap_conn}->connected, 'which is ready';
    cmp_ok $cfg->{producer_id}, '>=', 0, 'producer_id';
    is $cfg->{producer_epoch}, 0, 'producer_epoch';
    is_deeply $cfg->{pending_ops}, [], 'nothing waits';

    is delivered($kafka, t => 'v', { partition => 1 }), 'ok', 'a message';
    isa_ok $cfg->{conns}{1}, 'EV::Kafka::Conn', 'conns has the connection that it took';
    ok $cfg->{conns}{1}->connected, 'which is ready';
    my @answer;
    $cfg->{conns}{1}->metadata(undef, sub { @answer = @_ });
    wait_until { @answer } 'an answer on it';
    is $answer[0]{topics}[0]{name}, 't', 'and for programs to use';

    my ($meta, $leaders) = @$cfg{qw(meta leaders)};
    $mock->create_topic('later');
    $kafka->_refresh_metadata_for_topic('later');
    # Topics are taken over in slices, the answer as a whole behind the last one.
    wait_until { defined $cfg->{leaders}{'later:0'} && $cfg->{meta} != $meta } 'the next answer';
    isnt $cfg->{meta}, $meta, 'each answer is another meta';
    is $cfg->{leaders}, $leaders, 'the leaders stay the same hash';
    is_deeply [map { $_->{name} } @{ $cfg->{meta}{topics} }], ['t', 'later'], 'to which a topic is added';
};

subtest 'after close' => sub {
    my $mock  = mocked(1, t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    is delivered($kafka, t => 'v'), 'ok', 'a message';
    $kafka->close;
    is_deeply $kafka->{cfg}{$_}, $_ eq 'conns' ? {} : [], "no $_" for qw(conns pending_ops);
    is $kafka->{cfg}{bootstrap_conn}, undef, 'no bootstrap_conn';
    ok !$kafka->{cfg}{_linger_active}, 'nothing lingers';
    ok $kafka->{cfg}{meta}, 'what was known can still be read';
    is $kafka->{cfg}{leaders}{'t:0'}, 0, 'so can the leaders';
};

# --- options that are read at use ---------------------------------------------------

subtest 'bootstrap' => sub {
    my $mock  = mocked(1, t => 1);
    my $kafka = client(brokers => '127.0.0.1:1');
    $kafka->{cfg}{bootstrap} = [['127.0.0.1', ($mock->brokers)[0]{port}]];
    my $meta;
    $kafka->connect(sub { $meta = shift });
    wait_until { $meta } 'connecting';
    is $meta->{topics}[0]{name}, 't', 'another list counts';

    $kafka = client(brokers => '127.0.0.1:1');
    $kafka->{cfg}{bootstrap}[0][1] = ($mock->brokers)[0]{port};
    $meta = undef;
    $kafka->connect(sub { $meta = shift });
    wait_until { $meta } 'connecting';
    is $meta->{topics}[0]{name}, 't', 'as does what is changed in it';
};

subtest 'client_id' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0] });
    $broker->{on_request} = sub { $_[2]{api} eq 'Produce' ? ScriptedBroker::produce_answer($_[2]) : undef };
    my $kafka  = connected(brokers => $broker->address, client_id => 'first');
    $kafka->{cfg}{client_id} = 'second';
    is delivered($kafka, t => 'v'), 'ok', 'a message';
    is +($broker->requests('Metadata'))[0]{client_id}, 'first', 'the first';
    is +($broker->requests('Produce'))[0]{client_id}, 'second', 'another counts from the next connection on';
};

subtest 'what a Fetch asks for' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0] });
    my @asked;
    $broker->{on_request} = sub {
        my (undef, undef, $request) = @_;
        return undef if $request->{api} ne 'Fetch';
        push @asked, ScriptedBroker::fetched($request);
        return ScriptedBroker::fetch_answer($request);
    };
    my $kafka = connected(brokers => $broker->address, on_message => sub { });
    $kafka->assign([{ topic => 't' }]);
    my $poll = sub {
        my $done;
        $kafka->poll(sub { $done = 1 });
        wait_until { $done } 'poll';
        return $asked[-1];
    };
    my %value  = (fetch_max_wait_ms => 7, fetch_min_bytes => 3, fetch_max_bytes => 12345, isolation_level => 'read_committed');
    my %within = (fetch_max_wait_ms => 'max_wait_ms', fetch_min_bytes => 'min_bytes', fetch_max_bytes => 'max_bytes');
    $poll->();
    is $asked[-1]{$within{$_}}, $kafka->{cfg}{$_}, "$_ as it is" for sort keys %within;
    is $asked[-1]{isolation_level}, 0, 'isolation_level as it is';
    $kafka->{cfg}{$_} = $value{$_} for keys %value;
    $poll->();
    is $asked[-1]{$within{$_}}, $value{$_}, "$_ as it is written" for sort keys %within;
    is $asked[-1]{isolation_level}, 1, 'isolation_level as it is written';
};

subtest 'acks and linger_ms' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0] });
    $broker->{on_request} = sub { $_[2]{api} eq 'Produce' ? ScriptedBroker::produce_answer($_[2]) : undef };
    my $kafka = connected(brokers => $broker->address, linger_ms => 3_600_000);
    $kafka->{cfg}{linger_ms} = 0;
    for my $acks (1, -1) {
        $kafka->{cfg}{acks} = $acks;
        is delivered($kafka, t => 'v'), 'ok', 'a message leaves';
        is unpack('s>', substr +($broker->requests('Produce'))[-1]{body}, 2, 2), $acks, "with acks $acks";
    }
};

subtest 'on_message and on_error' => sub {
    my $mock = mocked(1, t => 1);
    appended($mock, t => 0, 'a');
    my ($kafka, $received) = consuming($mock, [{ topic => 't' }]);
    fetch_all($kafka, $received, 1);
    my (@later, @errors);
    $kafka->{cfg}{on_message} = sub { push @later, $_[4] };
    appended($mock, t => 0, 'b');
    fetch_all($kafka, \@later, 1);
    is_deeply [$received, \@later], [['t:0 a'], ['b']], 'another on_message gets what comes';

    $kafka->{cfg}{on_error} = sub { push @errors, $_[0] };
    $kafka->seek('unknown', 0, 1);
    is_deeply [\@errors, [errors($kafka)]], [['seek: not assigned'], []], 'another on_error, what goes wrong';
};

# --- what the cluster is ------------------------------------------------------------

subtest 'meta that is written' => sub {
    my $mock  = mocked(1, t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $mine  = $kafka->{cfg}{meta} = { brokers => [], topics => [{ name => 'mine', partitions => [] }] };
    my $got;
    $kafka->connect(sub { $got = shift });
    is $got, $mine, 'is what connect gives';
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { $kafka->{cfg}{meta} != $mine } 'the next answer';
    is_deeply [map { $_->{name} } @{ $kafka->{cfg}{meta}{topics} }], ['mine', 't'], 'its topics stay when others are asked for';
};

subtest 'leaders that are written' => sub {
    my $mock = mocked(2, t => 2, u => 1);
    appended($mock, t => 0, 'a');
    my ($kafka, $received) = consuming($mock, [{ topic => 't' }]);
    fetch_all($kafka, $received, 1);
    is $mock->request_count(Fetch => 1), 0, 'nothing is fetched from the other broker';

    $kafka->{cfg}{leaders}{'t:0'} = 1;
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is $mock->request_count(Fetch => 1), 1, 'say from where to fetch';
    wait_until { $kafka->{cfg}{leaders}{'t:0'} == 0 } 'metadata puts it right';

    delete $kafka->{cfg}{leaders}{'t:0'};
    my $before = $mock->request_count('Fetch');
    $polled = 0;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is $mock->request_count('Fetch'), $before, 'without one nothing is fetched';
    wait_until { defined $kafka->{cfg}{leaders}{'t:0'} } 'metadata brings it back';

    is join(' ', keys %{ $kafka->{cfg}{leaders} = {} }), '', 'another hash';
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { keys %{ $kafka->{cfg}{leaders} } } 'the next answer';
    is_deeply $kafka->{cfg}{leaders}, { 't:0' => 0, 't:1' => 1 }, 'is filled again by each answer';
};

subtest 'leaders of partitions that only a program knows' => sub {
    my $kafka = client;
    $kafka->{cfg}{leaders} = { map { ("mine:$_" => 0) } 0 .. 2 };
    my $assigned = $kafka->_assign_partitions([{ member_id => 'm', metadata => '' }], ['mine']);
    is_deeply EV::Kafka::_decode_assignment($assigned->[0]{assignment}), [{ topic => 'mine', partitions => [0 .. 2] }],
        'are shared out';
};

subtest 'broker_map that is written' => sub {
    my $mock  = mocked(1, t => 1);
    my $other = ScriptedBroker->new(topics => { t => [0] });
    $other->{on_request} = sub { $_[2]{api} eq 'Produce' ? ScriptedBroker::produce_answer($_[2], 0, 77) : undef };
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->{cfg}{broker_map}{0} = { host => '127.0.0.1', port => $other->{port} };
    my $offset;
    $kafka->produce('t', undef, 'v', sub { $offset = produced_offset($_[0]) });
    wait_until { defined $offset } 'delivery';
    is $offset, 77, 'says where to connect to';
};

subtest '_merge_metadata' => sub {
    my @brokers = map { { node_id => $_, host => "h$_", port => $_ } } 1, 2;
    my $topic   = sub {
        my ($name, @leaders) = @_;
        return { name => $name, error_code => 0, partitions => [map { { partition => $_, leader => $leaders[$_] } } 0 .. $#leaders] };
    };
    my $cfg = { leaders => {}, broker_map => {} };
    EV::Kafka::Client::_merge_metadata($cfg, { brokers => \@brokers, topics => [$topic->('a', 1, 2), $topic->('a-b', 2)] });
    EV::Kafka::Client::_merge_metadata($cfg, { brokers => \@brokers, topics => [$topic->('a', 2)] });
    is_deeply $cfg->{leaders}, { 'a:0' => 2, 'a-b:0' => 2 }, 'forgets what it had of a topic, and nothing of others';
    is_deeply $cfg->{broker_map}, { map { ($_ => { host => "h$_", port => $_ }) } 1, 2 }, 'brokers';
    is_deeply [sort map { $_->{name} } @{ $cfg->{meta}{topics} }], ['a', 'a-b'], 'meta';

    my $kafka = client;
    EV::Kafka::Client::_merge_metadata($kafka->{cfg}, { brokers => \@brokers, topics => [$topic->('a', 1)] });
    is_deeply $kafka->{cfg}{leaders}, { 'a:0' => 1 }, 'also into the {cfg} of a client';
    is_deeply [map { $_->{name} } @{ $kafka->{cfg}{meta}{topics} }], ['a'], 'with meta';
};

subtest 'how often a topic has been asked for' => sub {
    my $mock  = EV::Kafka::Mock->new(auto_create => 0);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @errors;
    $kafka->produce('absent', undef, 'v', sub { push @errors, $_[1] });
    wait_until { $kafka->{cfg}{_topic_meta_tries}{absent} } 'the first answer';
    cmp_ok $kafka->{cfg}{_topic_meta_tries}{absent}, '<', 10, 'can be read';
    $kafka->{cfg}{_topic_meta_tries}{absent} = 9;
    my $asked = $mock->request_count('Metadata');
    wait_until { @errors } 'the error';
    is $mock->request_count('Metadata') - $asked, 1, 'and written: one more';
    like $errors[0], qr/unavailable after 10 metadata requests/, 'and that was enough';
    is_deeply $kafka->{cfg}{_topic_meta_tries}, {}, 'nothing is left';
};

# --- what waits -----------------------------------------------------------------------

subtest 'pending_ops' => sub {
    my $mock  = mocked(1, t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, allow_auto_create_topics => 0);
    my @ran;
    push @{ $kafka->{cfg}{pending_ops} }, map { my $name = $_; +{ topic => $name, run => sub { push @ran, $name } } } 't', 'later';
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { @ran } 'an operation on a topic that has a leader';
    is_deeply [map { $_->{topic} } @{ $kafka->{cfg}{pending_ops} }], ['later'], 'one on another waits';
    $mock->create_topic('later');
    $kafka->_refresh_metadata_for_topic('later');
    wait_until { @ran == 2 } 'its leader';
    is_deeply [\@ran, $kafka->{cfg}{pending_ops}], [['t', 'later'], []], 'each runs once';

    my $message;
    $kafka = client(brokers => $mock->bootstrap);
    $kafka->produce('t', undef, 'v', sub { $message = $_[1] // 'ok' });
    is $kafka->{cfg}{pending_ops}[0]{topic}, 't', 'a message that waits is one';
    my @mine = splice @{ $kafka->{cfg}{pending_ops} };
    $kafka->connect;
    wait_until { $kafka->{cfg}{meta} } 'connecting';
    turns;
    is $message, undef, 'whoever takes it away has it';
    $kafka->{cfg}{pending_ops} = \@mine;
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { $message } 'delivery';
    is $message, 'ok', 'a list that is put in its place counts';
};

subtest '_refresh_metadata' => sub {
    my $mock  = mocked(1, t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $meta  = $kafka->{cfg}{meta};
    $kafka->_refresh_metadata;
    wait_until { $kafka->{cfg}{meta} != $meta } 'another meta';
    is_deeply $kafka->{cfg}{leaders}, { 't:0' => 0 }, 'asks for all topics once more';
};

subtest '_drain_pending_for' => sub {
    my $kafka = client;
    my @ran;
    $kafka->{cfg}{pending_ops} = [map { my $node_id = $_; +{ node_id => $node_id, run => sub { push @ran, $node_id } } } 1, 2, 1];
    $kafka->_drain_pending_for(1);
    is_deeply [\@ran, scalar @{ $kafka->{cfg}{pending_ops} }], [[1, 1], 1], 'runs what waits for that broker';
    my ($self, $op) = @_;
    push @{ $kafka->{cfg}{pending_ops} }, my $mine = { node_id => 1, run => sub { ($self, $op) = @_ } };
    $kafka->_drain_pending_for(1);
    is_deeply [map { 0 + $_ } $self, $op], [map { 0 + $_ } $kafka, $mine], 'which gets the client and the operation';
};

# --- messages that linger ---------------------------------------------------------------

subtest '_linger_active and _linger_timer' => sub {
    my $mock  = mocked(1, t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 20);
    my $delivered = 0;
    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    ok $kafka->{cfg}{_linger_active}, 'a message lingers';
    isa_ok $kafka->{cfg}{_linger_timer}, 'EV::Timer', '_linger_timer';
    wait_until { $delivered } 'delivery';
    ok !$kafka->{cfg}{_linger_active}, 'then none does';
    is $kafka->{cfg}{_linger_timer}, undef, 'and there is no timer';

    $kafka->{cfg}{_linger_active} = 1;
    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    is $kafka->{cfg}{_linger_timer}, undef, 'what lingers already needs no other timer';
    $kafka->_flush_all_batches;
    ok !$kafka->{cfg}{_linger_active}, '_flush_all_batches ends that';
    wait_until { $delivered == 2 } 'delivery';

    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    @{ $kafka->{cfg} }{qw(_linger_active _linger_timer)} = (0, undef);
    turns;
    is $delivered, 2, 'a timer that is taken away calls nobody';
    $kafka->_flush_all_batches;
    wait_until { $delivered == 3 } 'delivery';
    is $delivered, 3, '_flush_all_batches sends it';
};

# --- positions ---------------------------------------------------------------------------

subtest 'assignments are read' => sub {
    my $mock = mocked(1, t => 1);
    appended($mock, t => 0, 'a' .. 'd');
    my $mine = [{ topic => 't', partition => 0, offset => 0 }];
    my ($kafka, $received) = consuming($mock, $mine);
    is $kafka->{cfg}{assignments}, $mine, 'it is the list that was given';
    fetch_all($kafka, $received, 4);
    is_deeply $mine, [{ topic => 't', partition => 0, offset => 4 }], 'with the positions';
};

subtest 'an offset that is written' => sub {
    my $mock = mocked(1, t => 1);
    appended($mock, t => 0, 'a' .. 'd');
    my ($kafka, $received) = consuming($mock, [{ topic => 't' }]);
    $kafka->{cfg}{assignments}[0]{offset} = 2;
    fetch_all($kafka, $received, 2);
    is_deeply [splice @$received], ['t:0 c', 't:0 d'], 'is where to begin';
    is $kafka->position('t', 0), 4, 'from where the position moves';
    $kafka->{cfg}{assignments}[0]{offset} = 1;
    is $kafka->position('t', 0), 1, 'it is the position';
    fetch_all($kafka, $received, 3);
    is_deeply [splice @$received], ['t:0 b', 't:0 c', 't:0 d'], 'also later, between two polls';
    $kafka->{cfg}{assignments}[0]{offset} = -1;
    appended($mock, t => 0, 'e');
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is_deeply [$received, $kafka->{cfg}{assignments}[0]{offset}], [[], 5], '-1 is looked up';
};

subtest 'a list that is written' => sub {
    my $mock = mocked(2, t => 2, u => 1);
    appended($mock, @$_) for [t => 0, 'a'], [t => 1, 'b'], [u => 0, 'c'];
    my ($kafka, $received) = consuming($mock, [{ topic => 't' }]);
    fetch_all($kafka, $received, 1);
    push @{ $kafka->{cfg}{assignments} }, { topic => 't', partition => 1, offset => 0 };
    fetch_all($kafka, $received, 2);
    is_deeply [splice @$received], ['t:0 a', 't:1 b'], 'what is added to it is fetched';
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'the end of what is under way';
    $kafka->{cfg}{assignments} = [{ topic => 'u', partition => 0, offset => 0 }];
    appended($mock, t => 0, 'd');
    fetch_all($kafka, $received, 1);
    $polled = 0;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'another poll';
    is_deeply [splice @$received], ['u:0 c'], 'another list takes its place';
    is $kafka->position('t', 0), undef, 'for methods, too';
    $kafka->{cfg}{assignments} = [];
    $polled = 0;
    $kafka->poll(sub { $polled = 1 });
    is $polled, 1, 'with nothing in it poll calls back at once';
};

# --- groups --------------------------------------------------------------------------------

subtest 'group' => sub {
    my $mock   = filled(2, 1);
    my $member = joined(member($mock));
    my $kafka  = $member->{kafka};
    my $group  = $kafka->{cfg}{group};
    is $group->{group_id}, 'g', 'group_id';
    is $group->{state}, 'stable', 'state';
    my ($known) = @{ $mock->group('g')->{members} };
    is $group->{member_id}, $known->{member_id}, 'member_id';
    is $group->{generation}, $mock->group('g')->{generation}, 'generation';
    is_deeply [sort map { "$_->{topic}:$_->{partition}" } @{ $kafka->{cfg}{assignments} }], ['t:0', 't:1'], 'its partitions are assigned';

    is left($member), 'left', 'leaving';
    is $kafka->{cfg}{group}, undef, 'then there is none';
};

for my $case ([member_id => 'nobody'], [generation => 99]) {
    my ($name, $value) = @$case;
    subtest "a group's $name that is written" => sub {
        my $mock   = filled(1, 1);
        my $member = joined(member($mock, auto_commit => 0, heartbeat_interval => 3600));
        my @committed;
        my $commit = sub {
            @committed = ();
            $member->{kafka}->commit([{ topic => 't', partition => 0, offset => 1 }], sub { @committed = ($_[0] // 'ok') });
            wait_until { @committed } 'commit';
            return $committed[0];
        };
        is $commit->(), 'ok', 'a commit as the group has it';
        $member->{kafka}{cfg}{group}{$name} = $value;
        isnt $commit->(), 'ok', 'is what requests say';
    };
}

subtest 'group of who has given up' => sub {
    my $mock   = filled(1, 0);
    my $member = joined(member($mock));
    $mock->fault(api => 'Heartbeat', error => 30);
    wait_until { state_of($member) eq 'stopped' } 'the refusal';
    is $member->{kafka}{cfg}{group}{group_id}, 'g', 'is still there';
    $member->{kafka}->assign([{ topic => 't' }]);
    is_deeply $member->{kafka}{cfg}{assignments}, [{ topic => 't', partition => 0, offset => 0 }], 'and assign is allowed';
};

subtest '_assign_partitions' => sub {
    my $kafka = client;
    $kafka->{cfg}{meta} = { topics => [{ name => 't', partitions => [map { { partition => $_, leader => 0 } } 0 .. 3] }] };
    my $assign = sub {
        my @members = @_;
        my $assigned = $kafka->_assign_partitions([map { { member_id => $_, metadata => '' } } @members], ['t']);
        is_deeply [map { $_->{member_id} } @$assigned], \@members, 'in the order of the members';
        return { map { $_->{member_id} => EV::Kafka::_decode_assignment($_->{assignment})->[0]{partitions} } @$assigned };
    };
    my $alone = $assign->('m');
    is_deeply $alone, { m => [0 .. 3] }, 'one member has all';
    my $two = $assign->('m', 'n');
    is_deeply [map { scalar @$_ } @$two{qw(m n)}], [2, 2], 'two have as much';
    is_deeply $assign->('n', 'm'), $two, 'and keep it';
};

# --- producers --------------------------------------------------------------------------------

subtest 'producer_id and producer_epoch' => sub {
    my $mock  = mocked(1, t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1);
    my $id    = $kafka->{cfg}{producer_id};
    is delivered($kafka, t => 'v'), 'ok', 'a message';
    my $got;
    $kafka->{cfg}{producer_id} = -1;
    $kafka->connect(sub { $got = shift });
    is $got, undef, 'without an id connect waits';
    wait_until { $got } 'connect';
    cmp_ok $kafka->{cfg}{producer_id}, '>', $id, 'for another one';
    is delivered($kafka, t => 'v'), 'ok', 'which messages then have';

    $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x');
    $kafka->begin_transaction;
    is delivered($kafka, t => 'v'), 'ok', 'a message in a transaction';
    $kafka->{cfg}{producer_epoch} += 7;
    my @ended;
    $kafka->commit_transaction(sub { @ended = @_ });
    wait_until { @ended } 'the end of the transaction';
    like $ended[1], qr/EndTxn/, 'an epoch that is written is what the coordinator is told';
};

done_testing;
