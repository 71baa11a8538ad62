use v5.14;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use Inside;
use TestKafka;

# Whatever waits says why: by on_notice, once for each reason, and never by on_error.

Inside::tell_of_waits_after(0.4);

my %group = (group_id => 'g', heartbeat_interval => 0.05);

# Each case waits on a cluster with the topics orders and shipments, of 2 partitions each, and another one,
# that is not to be seen. What it may do: before, with the mock; act, with a client that is connected unless it is
# told otherwise; after, which lets it go on.
my @CASES = (
    {
        name    => 'connect is never called: produce',
        idle    => 1,
        act     => sub { $_[0]->produce('orders', 'k', 'v') },
        told    => qr/\Aconnect was not called: until it is, nothing is sent or fetched\z/,
    },
    {
        name    => 'connect is never called: consume',
        idle    => 1,
        act     => sub { $_[0]->assign([{ topic => 'orders', partition => 0 }]); $_[0]->consume },
        told    => qr/\Aconnect was not called/,
    },
    {
        name    => 'connect is never called: poll',
        idle    => 1,
        act     => sub { $_[0]->assign([{ topic => 'orders', partition => 0 }]); $_[0]->poll for 1, 2 },
        told    => qr/\Aconnect was not called/,
    },
    {
        name    => 'connect is never called: subscribe',
        idle    => 1,
        act     => sub { $_[0]->subscribe('orders', %group) },
        told    => qr/\Aconnect was not called/,
    },
    {
        name    => 'connect is never called: offsets_for',
        idle    => 1,
        act     => sub { $_[0]->offsets_for('orders', sub { }) },
        told    => qr/\Aconnect was not called/,
    },
    {
        name    => 'assign and consume: a topic that is not there',
        act     => sub { $_[0]->assign([{ topic => 'no-such-topic', partition => 0 }]); $_[0]->consume },
        told    => qr/\Atopic 'no-such-topic' is not known to the cluster; nothing is fetched from it\z/,
    },
    {
        name    => 'assign and consume: a topic whose name is wrong',
        act     => sub { $_[0]->assign([map { { topic => 'order', partition => $_ } } 0 .. 2]); $_[0]->consume },
        told    => qr/\Atopic 'order' is not known to the cluster \(did you mean 'orders'\?\); nothing is fetched from it, nor from 2 more of its partitions\z/,
    },
    {
        name    => 'assign and poll: a topic that is not there',
        act     => sub { $_[0]->assign([{ topic => 'no-such-topic', partition => 0 }]); polls(@_) },
        told    => qr/\Atopic 'no-such-topic' is not known/,
    },
    {
        name    => 'assign: a topic that is not to be seen',
        act     => sub { $_[0]->assign([{ topic => 'secret', partition => 0 }]); $_[0]->consume },
        told    => qr/\Atopic 'secret': TOPIC_AUTHORIZATION_FAILED \(code 29\); nothing is fetched from it\z/,
    },
    {
        name    => 'assign: a partition that the topic does not have',
        act     => sub { $_[0]->assign([{ topic => 'orders', partition => 99 }]); $_[0]->consume },
        told    => qr/\Atopic 'orders' has no partition 99, only 0 to 1; nothing is fetched from it\z/,
    },
    {
        name    => 'assign: a partition without a leader',
        before  => sub { $_[0]->stop_broker(1) },
        act     => sub { $_[0]->assign([{ topic => 'orders', partition => 1 }]); $_[0]->consume },
        told    => qr/\Aorders:1 has no leader now; nothing is fetched from it\z/,
    },
    {
        name    => 'produce: a partition without a leader',
        before  => sub { $_[0]->stop_broker(1) },
        act     => sub { $_[0]->produce('orders', 'k', 'v', { partition => 1 }) },
        told    => qr/\Aorders:1 has no leader now; messages wait for it\z/,
    },
    {
        name    => 'assign, and nothing more',
        act     => sub { $_[0]->assign([{ topic => 'orders', partition => 0 }]) },
        told    => qr/\Aorders:0 is assigned, and poll was not called\. Call consume once, or poll/,
    },
    {
        name    => 'poll, once',
        act     => sub { $_[0]->assign([map { { topic => 'orders', partition => $_ } } 0, 1]); $_[0]->poll },
        told    => qr/\A2 partitions are assigned, and poll was called only once: it fetches once\. Call consume once, or poll/,
    },
    (map {
        my %protocol = (group_protocol => $_);
        (
            {
                name => "subscribe: a topic that is not there, $_",
                act  => sub { $_[0]->subscribe('no-such-topic', %group, %protocol) },
                told => qr/\Agroup 'g': topic 'no-such-topic' is not known to the cluster; nothing of it can be assigned\z/,
            },
            {
                name => "subscribe: one of two topics has the wrong name, $_",
                act  => sub { $_[0]->subscribe('orders', 'shipment', %group, %protocol) },
                told => qr/\Agroup 'g': topic 'shipment' is not known to the cluster \(did you mean 'shipments'\?\);/,
            },
            {
                name => "subscribe: a topic that is not to be seen, $_",
                act  => sub { $_[0]->subscribe('secret', %group, %protocol) },
                told => qr/\Agroup 'g': topic 'secret': TOPIC_AUTHORIZATION_FAILED \(code 29\); nothing of it can be assigned\z/,
            },
            {
                name   => "subscribe: the coordinator is not available, $_",
                before => sub { $_[0]->fault(api => 'FindCoordinator', error => 15, times => undef) },
                act    => sub { $_[0]->subscribe('orders', %group, %protocol) },
                told   => qr/\AFindCoordinator for group 'g': COORDINATOR_NOT_AVAILABLE \(code 15\); it is tried again\z/,
            },
            {
                name   => "subscribe: the coordinator loads for ever, $_",
                before => sub { $_[0]->fault(api => $_, error => 14, times => undef) for qw(JoinGroup ConsumerGroupHeartbeat) },
                act    => sub { $_[0]->subscribe('orders', %group, %protocol) },
                told   => qr/\Agroup 'g': (?:JoinGroup|ConsumerGroupHeartbeat): COORDINATOR_LOAD_IN_PROGRESS \(code 14\); it is tried again\z/,
            },
        )
    } qw(classic consumer)),
    {
        name   => 'subscribe: a join that never ends',
        before => sub { $_[0]->fault(api => 'JoinGroup', delay_ms => 20_000) },
        act    => sub { $_[0]->subscribe('orders', %group) },
        told   => qr/\Agroup 'g': JoinGroup is not answered: the group waits for its other members to join again/,
    },
    {
        name   => 'subscribe: a leader that shares nothing out',
        before => sub { $_[0]->fault(api => 'SyncGroup', delay_ms => 20_000) },
        act    => sub { $_[0]->subscribe('orders', %group) },
        told   => qr/\Agroup 'g': SyncGroup is not answered: the member that leads the group/,
    },
    {
        name   => 'a producer id that cannot be had now',
        before => sub { $_[0]->fault(api => 'InitProducerId', error => 14, times => undef) },
        client => { idempotent => 1 },
        idle   => 1,
        act    => sub { $_[0]->connect },
        told   => qr/\AInitProducerId: COORDINATOR_LOAD_IN_PROGRESS \(code 14\); it is tried again\z/,
    },
    {
        name   => 'nobody to deliver to in a group',
        client => { on_message => undef },
        before => sub { $_[0]->append(orders => 0, { value => 'x' }) },
        act    => sub { $_[0]->subscribe('orders', %group) },
        told   => qr/\Arecords have nowhere to go: there is no on_message/,
    },
);

sub cluster {
    my $mock = EV::Kafka::Mock->new(brokers => 2, auto_create => 0);
    $mock->create_topic($_ => 2) for qw(orders shipments);
    $mock->fault(api => 'Metadata', topic => 'secret', error => 29, times => undef);
    return $mock;
}

my $polling;

sub polls {
    my ($kafka) = @_;
    $polling = EV::timer 0, 0.02, sub { $kafka->poll };
    return;
}

for my $case (@CASES) {
    subtest $case->{name} => sub {
        my $mock = cluster();
        $case->{before}->($mock) if $case->{before};
        my @options = (brokers => $mock->bootstrap, on_message => sub { }, %{ $case->{client} || {} });
        my $kafka   = $case->{idle} ? client(@options) : connected(@options);
        $case->{act}->($kafka);
        is_deeply [notices($kafka)], [], 'at first there is nothing to tell' unless $case->{client}{on_message};
        wait_until { notices($kafka) } 'a word';
        turns_for($kafka, 0.6);
        my @notices = notices($kafka);
        like $notices[0], $case->{told}, 'it says why';
        is scalar @notices, 1, 'once' or diag explain \@notices;
        is_deeply [errors($kafka)], [], 'and on_error hears nothing';
        undef $polling;
        $kafka->close;
    };
}

# Lets the client look at what waits some times more.
sub turns_for {
    my ($kafka, $seconds) = @_;
    my $over;
    my $timer = Inside::timer($kafka, $seconds, sub { $over = 1 });
    return wait_until { $over } 'time';
}

subtest 'another reason, and the end of it' => sub {
    my $mock  = cluster();
    my (@got, @about);
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[4] }, on_notice => sub { push @about, [@_] });
    $kafka->assign([{ topic => 'later', partition => 1 }]);
    $kafka->consume;
    wait_until { @about } 'that there is no topic';
    $mock->create_topic(later => 1);
    wait_until { @about > 1 } 'that there is no such partition';
    is_deeply \@about, [
        ["topic 'later' is not known to the cluster; nothing is fetched from it", { topic => 'later', partition => 1 }],
        ["topic 'later' has no partition 1, only 0; nothing is fetched from it", { topic => 'later', partition => 1 }],
    ], 'both are told, with what they are about';
    $mock->delete_topic('later');
    $mock->create_topic(later => 2);
    $mock->append(later => 1, { value => 'x' });
    wait_until { @got } 'what was waited for';
    is scalar @about, 2, 'and nothing more';
    $mock->stop_broker(1);
    Inside::refresh($kafka);
    wait_until { @about > 2 } 'that its leader is gone';
    like $about[2][0], qr/\Alater:1 has no leader now/, 'what begins again is told again';
    $kafka->close;
};

subtest 'a wait that ends in time' => sub {
    my $mock  = cluster();
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[4] });
    $kafka->assign([{ topic => 'later', partition => 0 }]);
    $kafka->consume;
    turns_for($kafka, 0.1);
    $mock->create_topic(later => 1);
    $mock->append(later => 0, { value => 'x' });
    wait_until { @got } 'a message';
    turns_for($kafka, 0.6);
    is_deeply [notices($kafka)], [], 'is not worth a word';
    $kafka->close;
};

subtest 'produce: a partition that the topic does not have' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($began, @heard) = Inside::now($kafka);
    $kafka->produce('orders', 'k', 'v', { partition => 99 }, sub { push @heard, $_[1] });
    wait_until { notices($kafka) } 'a word';
    is_deeply [notices($kafka)], ["topic 'orders' has no partition 99, only 0 to 1; messages wait for it"], 'it says why';
    cmp_ok Inside::now($kafka) - $began, '<', 0.4, 'at once, not after the time that others wait for';
    wait_until { @heard } 'the end';
    is $heard[0], "topic 'orders' (or a leader for it) unavailable after 10 metadata requests: "
        . "topic 'orders' has no partition 99, only 0 to 1", 'and so does the error';
    is scalar(notices($kafka)), 1, 'nothing is told twice';
    $kafka->close;
};

subtest 'produce: a topic whose name is wrong' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my @heard;
    $kafka->produce('ordesr', 'k', 'v', sub { push @heard, $_[1] });
    wait_until { @heard } 'the end';
    like $heard[0], qr/ unavailable after 10 metadata requests: UNKNOWN_TOPIC_OR_PARTITION \(code 3\) \(did you mean 'orders'\?\)\z/, 'says which is meant';
    $kafka->close;
};

for my $reset (qw(earliest latest)) {
    subtest "a position that retention has moved: $reset" => sub {
        my $mock = cluster();
        $mock->append(orders => 0, { value => $_ }) for 0 .. 9;
        $mock->delete_records(orders => 0, 5);
        my (@got, @told);
        my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[2] if $_[1] == 0 },
            on_notice => sub { push @told, [@_] });
        $kafka->subscribe('orders', %group, auto_offset_reset => $reset, on_assign => sub {
            $kafka->assign([{ topic => 'orders', partition => 0, offset => 2 }]);
        });
        wait_until { @told } 'a word';
        my $to = $reset eq 'earliest' ? 5 : 10;
        is_deeply \@told, [["orders:0 has no offset 2 any more, retention may have removed it: consuming goes on at $to, the $reset "
            . "(auto_offset_reset); ${\ ($to - 2) } offsets are passed over", { topic => 'orders', partition => 0, from => 2, to => $to }]],
            'says from where to where';
        $mock->append(orders => 0, { value => 'x' });
        wait_until { @got && $got[-1] == 10 } 'the rest';
        is_deeply \@got, [$to .. 10], 'that is what comes';
        is_deeply [errors($kafka)], [], 'and on_error hears nothing';
        $kafka->close;
    };
}

subtest 'a position beyond the end' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { });
    $kafka->assign([{ topic => 'orders', partition => 0, offset => 7 }]);
    $kafka->consume;
    wait_until { notices($kafka) } 'a word';
    is_deeply [notices($kafka)], ['orders:0 has no offset 7: consuming goes on at 0, the earliest (auto_offset_reset)'], 'says so';
    $kafka->close;
};

for my $protocol (qw(classic consumer)) {
    subtest "a member that lost its session to a slow handler, $protocol" => sub {
        my $mock = EV::Kafka::Mock->new(partitions => 1);
        $mock->create_topic(t => 1);
        $mock->append(t => 0, { value => 'x' });
        my ($kafka, @got);
        $kafka = connected(brokers => $mock->bootstrap, on_message => sub {
            push @got, $_[2];
            return if @got > 1;
            # The group gives the member up meanwhile.
            $mock->fault(api => $_, error => 25) for $protocol eq 'classic' ? 'Heartbeat' : 'ConsumerGroupHeartbeat';
            Inside::oversleep($kafka, 90);
        });
        $kafka->subscribe('t', %group, group_protocol => $protocol);
        wait_until { notices($kafka) } 'a word';
        like +(notices($kafka))[0], qr/\Agroup 'g' has given this member up: UNKNOWN_MEMBER_ID \(code 25\); the event loop did not turn for \d+\.\d s, longer than a session lasts/,
            'says why it is out';
        $kafka->close;
        undef $kafka;
    };
}

subtest 'close with messages that were never sent' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 60_000);
    $kafka->produce('orders', 'k', $_) for 1, 2;
    my @heard;
    $kafka->produce('orders', 'k', 3, sub { push @heard, $_[1] });
    $kafka->close;
    is_deeply [notices($kafka)], ['close: 2 messages that were not delivered and had no callback; flush first, and close in its callback'],
        'says how many';
    is_deeply \@heard, ['client closed'], 'but those whose callback hears it';
    is_deeply [errors($kafka)], [], 'and on_error hears nothing';

    my $parking = connected(brokers => $mock->bootstrap);
    $parking->produce('nowhere', 'k', 'v');
    $parking->close;
    is_deeply [notices($parking)], ['close: 1 message that was not delivered and had no callback; flush first, and close in its callback'],
        'also of a topic that is not known';

    my $other = connected(brokers => $mock->bootstrap);
    $other->produce('orders', 'k', 'v');
    my $is_flushed;
    $other->flush(sub { $is_flushed = 1 });
    wait_until { $is_flushed } 'flush';
    $other->close;
    is_deeply [notices($other)], [], 'who has flushed reads nothing';
};

subtest 'a scope that ends and takes the client along' => sub {
    my $mock = cluster();
    my @told;
    {
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 60_000, on_notice => sub { push @told, [@_] });
        $kafka->produce('orders', 'k', 'v');
    }
    is_deeply \@told, [['a client went out of scope with 1 message that was not delivered and had no callback; keep it until flush has called back',
        { messages => 1 }]], 'says so';
    my @warnings = warnings_of {
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 60_000, on_notice => undef);
        $kafka->produce('orders', 'k', 'v');
    };
    like "@warnings", qr/\AEV::Kafka: a client went out of scope with 1 message/, 'also without an on_notice';
};

subtest 'AnyEvent on another backend' => sub {
    no warnings 'once';
    local $AnyEvent::MODEL = 'AnyEvent::Impl::Perl';
    my $kafka = client(brokers => '127.0.0.1:1');
    $kafka->connect;
    like +(notices($kafka))[0], qr/\AAnyEvent runs on AnyEvent::Impl::Perl: waiting in AnyEvent does not run this client, .* use EV before/, 'is told at once';
    $kafka->close;
    my $own = client(brokers => '127.0.0.1:1', loop => EV::Loop->new);
    $own->connect;
    is_deeply [notices($own)], [], 'but to who runs a loop of his own';
    $own->close;
    $AnyEvent::MODEL = 'AnyEvent::Impl::EV';
    my $right = client(brokers => '127.0.0.1:1');
    $right->connect;
    is_deeply [notices($right)], [], 'and EV is right';
    $right->close;
};

subtest 'what a broker does not offer' => sub {
    my $mock = cluster();
    $mock->api_versions($_ => undef) for qw(InitProducerId ConsumerGroupHeartbeat);
    for my $case ([[idempotent => 1], qr/idempotent => 1/], [[transactional_id => 'x'], qr/transactional_id/]) {
        my ($options, $needed_for) = @$case;
        my @connected;
        my $kafka = client(brokers => $mock->bootstrap, @$options);
        $kafka->connect(sub { @connected = @_ });
        wait_until { @connected } 'connect';
        like $connected[1], qr/\bbroker [01] does not offer InitProducerId \(needed for $needed_for\)/, "connect says so: @$options";
        is_deeply [errors($kafka)], [$connected[1]], 'and so does on_error';
        $kafka->close;
    }
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->subscribe('orders', group_id => 'g', group_protocol => 'consumer');
    wait_until { errors($kafka) } 'an error';
    like +(errors($kafka))[0], qr/\bbroker [01] does not offer ConsumerGroupHeartbeat \(needed for group_protocol => 'consumer'/, 'and subscribe';
    $kafka->close;
};

subtest 'what the cluster has not agreed on' => sub {
    my $mock = cluster();
    $mock->feature('group.version', 0);
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->subscribe('orders', group_id => 'g', group_protocol => 'consumer');
    wait_until { errors($kafka) } 'an error';
    like +(errors($kafka))[0], qr/UNSUPPORTED_VERSION \(code 35\).*needs the cluster's feature group\.version at level 1/, 'is named';
    $kafka->close;
};

subtest 'very many topics' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { });
    $kafka->assign([map { { topic => "no-such-$_", partition => 0 } } 10 .. 49]);
    $kafka->consume;
    wait_until { notices($kafka) } 'a word';
    turns_for($kafka, 0.6);
    my @notices = notices($kafka);
    is scalar @notices, 11, 'not each is told of';
    is $notices[-1], '30 others wait for the like', 'but how many there are';
    $kafka->close;
};

subtest 'a program that has nothing to wait for ends' => sub {
    my $kafka = client(brokers => '127.0.0.1:1');
    $kafka->offsets_for('t', sub { });
    EV::run;
    is_deeply [notices($kafka)], [], 'what is told of waits holds up no loop';
    $kafka->close;
};

done_testing;
