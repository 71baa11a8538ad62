use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

subtest 'messages wait for linger_ms and go together' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 30);
    my $delivered = 0;
    my $start     = EV::now;    # by which timers go
    $kafka->produce('t', undef, $_, sub { $delivered++ }) for 1 .. 10;
    ok $kafka->{cfg}{_linger_active}, 'the timer runs';
    isa_ok $kafka->{cfg}{_linger_timer}, 'EV::Timer', 'which is';
    wait_until { $delivered == 10 } 'delivery';
    cmp_ok EV::time - $start, '>=', 0.025, 'not before the time';
    is $mock->request_count('Produce'), 1, 'one request';
    ok !$kafka->{cfg}{_linger_active}, 'the timer is done';
};

subtest 'a full batch does not wait' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 3_600_000, batch_size => 1000);
    my $delivered = 0;
    $kafka->produce('t', undef, 'x' x 100, sub { $delivered++ }) for 1 .. 10;
    wait_until { $delivered >= 8 } 'delivery of what filled a batch';
    cmp_ok $delivered, '<', 10, 'the rest waits';
    $kafka->_flush_all_batches;
    wait_until { $delivered == 10 } 'delivery of the rest';
    pass '_flush_all_batches sends it';
};

subtest 'linger_ms => 0 sends in the next turn of the loop' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 0);
    my $delivered = 0;
    $kafka->produce('t', undef, $_, sub { $delivered++ }) for 1 .. 10;
    wait_until { $delivered == 10 } 'delivery';
    is $mock->request_count('Produce'), 1, 'what one turn produces goes together';
};

subtest 'linger_ms => 0 needs no timer, and may change' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 0);
    my $delivered = 0;
    for my $number (1 .. 3) {
        $kafka->produce('t', undef, 'v', sub { $delivered++ });
        is $kafka->{cfg}{_linger_timer}, undef, 'no timer';
        wait_until { $delivered == $number } 'delivery';
    }
    $kafka->{cfg}{linger_ms} = 3_600_000;
    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    ok $kafka->{cfg}{_linger_active}, 'the next message lingers when there is a time for it';
    turns 50;
    is $delivered, 3, 'so it waits';
    $kafka->_flush_all_batches;
    wait_until { $delivered == 4 } 'delivery';
    $kafka->{cfg}{linger_ms} = 0;
    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    ok !$kafka->{cfg}{_linger_active}, 'and does not when there is none any more';
    wait_until { $delivered == 5 } 'delivery';
};

subtest 'linger_ms => 0 on a loop of the program' => sub {
    my $loop  = EV::Loop->new;
    my $mock  = EV::Kafka::Mock->new(loop => $loop);
    $mock->create_topic(t => 1);
    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, linger_ms => 0, loop => $loop);
    my $left  = 3;
    my $next;
    $next = sub { $left-- ? $kafka->produce('t', undef, 'v', $next) : $loop->break };
    $kafka->connect(sub { $next->() });
    my $guard = $loop->timer(30, 0, sub { $loop->break });
    $loop->run;
    is $left, -1, 'each message leaves';
    is $mock->request_count('Produce'), 3, 'one by one';
    undef $next;
    $kafka->close;
};

subtest 'at most five requests are under way to a broker; what waits goes together' => sub {
    my (@held, $answer);
    my $broker = ScriptedBroker->new(topics => { t => [0, 0] });
    $broker->{on_request} = sub {
        my ($broker, $connection, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        push @held, [$connection, $request];
        return undef;
    };
    my $kafka = connected(brokers => $broker->address);
    my $delivered = 0;
    for my $n (1 .. 5) {
        $kafka->produce('t', undef, $n, { partition => 0 }, sub { $delivered++ });
        $kafka->_flush_all_batches;
        wait_until { @held == $n } "request $n";
    }
    $kafka->produce('t', undef, 'x', { partition => $_ }, sub { $delivered++ }) for 0, 1;
    $kafka->_flush_all_batches;
    turns 50;
    is scalar(@held), 5, 'a sixth request waits';
    my ($connection, $request) = @{ shift @held };
    $broker->answer($connection, $request, ScriptedBroker::produce_answer($request));
    wait_until { @held == 5 } 'the next request';
    is_deeply [map { "$_->[0]:$_->[1]" } ScriptedBroker::produced($held[4][1])], ['t:0', 't:1'],
        'one answer lets both batches go, in one request';
    $broker->answer(@$_, ScriptedBroker::produce_answer($_->[1])) for splice @held;
    wait_until { $delivered == 7 } 'all callbacks';
    is $delivered, 7, 'each once';
};

subtest 'many small batches are not sent to a broker that has as many to do' => sub {
    my $partitions = 70;
    my ($broker, $held) = holding_broker(t => [(0) x $partitions]);
    my $kafka = connected(brokers => $broker->address, batch_size => 500_000, max_request_size => 20_000_000);
    my ($delivered, $produced) = (0, 0);
    my $wave = sub {
        my ($bytes) = @_;
        $kafka->produce('t', undef, 'x' x $bytes, { partition => $_ }, sub { $delivered++ }) for 0 .. $partitions - 1;
        $produced += $partitions;
        $kafka->_flush_all_batches;
    };
    for my $n (1 .. 2) {
        $wave->(100);
        wait_until { @$held == $n } "request $n";
    }
    $wave->(100) for 1 .. 3;
    turns 50;
    is scalar(@$held), 2, 'a third request waits';
    $broker->answer(@$_, ScriptedBroker::produce_answer($_->[1])) for shift @$held;
    wait_until { @$held == 2 } 'the next request';
    my @parts = ScriptedBroker::produced($held->[1][1]);
    is scalar(@parts), $partitions, 'with a batch for each partition';
    cmp_ok length $parts[0][2], '>', 3 * 100, '... that has all that waited';
    answer_held($broker, $held);
    wait_until { $delivered == $produced } 'all callbacks';
    for my $n (1 .. 5) {
        $wave->(40_000);
        wait_until { @$held == $n } "request $n with large batches";
    }
    answer_held($broker, $held);
    wait_until { $delivered == $produced } 'all callbacks';
    is $delivered, $produced, 'each once';
};

# Holds every Produce request until it is told to answer.
sub holding_broker {
    my (%topics) = @_;
    my $broker = ScriptedBroker->new(topics => \%topics);
    my @held;
    $broker->{on_request} = sub {
        my ($broker, $connection, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        push @held, [$connection, $request];
        return undef;
    };
    return ($broker, \@held);
}

sub answer_held {
    my ($broker, $held) = @_;
    for (splice @$held) {
        my ($connection, $request) = @$_;
        $broker->answer($connection, $request, ScriptedBroker::produce_answer($request));
    }
    return;
}

# Keeps five requests unanswered, and gives back how many messages that took.
sub occupy {
    my ($kafka, $held, $delivered) = @_;
    $$delivered = 0;
    for my $n (1 .. 5) {
        $kafka->produce('t', undef, $n, { partition => 0 }, sub { $$delivered++ });
        $kafka->_flush_all_batches;
        wait_until { @$held == $n } "request $n";
    }
    return 5;
}

subtest 'what is due and cannot leave takes messages until it can' => sub {
    my ($broker, $held) = holding_broker(t => [0]);
    my $kafka    = connected(brokers => $broker->address, linger_ms => 1);
    my $produced = occupy($kafka, $held, \my $delivered);
    # More than one linger time, each with messages enough for batches of 16384 bytes.
    for my $round (1 .. 5) {
        $kafka->produce('t', undef, 'x' x 1000, { partition => 0 }, sub { $delivered++ }) for 1 .. 30;
        $produced += 30;
        wait_until { !$kafka->{cfg}{_linger_active} } "linger time $round";
    }
    is scalar(@$held), 5, 'nothing more is under way';
    answer_held($broker, $held);
    wait_until { @$held } 'the next request';
    turns 50;
    is scalar(@$held), 1, 'one request';
    my ($part) = ScriptedBroker::produced($held->[0][1]);
    cmp_ok length $part->[2], '>', 150_000, 'has all that waited';
    answer_held($broker, $held);
    wait_until { $delivered == $produced } 'all callbacks';
    is $delivered, $produced, 'each once';
};

for my $case (['no batch_size', 1_000_000], ['a batch_size', 5000, batch_size => 5000]) {
    my ($name, $limit, @options) = @$case;
    subtest "with $name a batch that waits has at most $limit bytes" => sub {
        my ($broker, $held) = holding_broker(t => [0]);
        my $kafka    = connected(brokers => $broker->address, @options);
        my $produced = occupy($kafka, $held, \my $delivered);
        my $messages = int 2.5 * $limit / 1000;
        $kafka->produce('t', undef, 'x' x 900, { partition => 0 }, sub { $delivered++ }) for 1 .. $messages;
        $produced += $messages;
        $kafka->flush;
        my @sizes;
        answer_held($broker, $held);
        wait_until {
            push @sizes, map { length $_->[2] } map { ScriptedBroker::produced($_->[1]) } @$held;
            answer_held($broker, $held);
            $delivered == $produced;
        } 'all callbacks';
        is scalar(grep { $_ > $limit } @sizes), 0, 'none has more' or diag "@sizes";
        is scalar(@sizes), 3, 'and there are few of them';
        cmp_ok $sizes[0], '>', 0.75 * $limit, 'the first is full';
    };
}

subtest 'acks => 0 has nothing to wait for' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, acks => 0, batch_size => 100);
    my $called = 0;
    $kafka->produce('t', undef, 'x' x 60, sub { $called++ }) for 1 .. 200;
    wait_until { $called == 200 && $mock->high_watermark(t => 0) == 200 } 'everything';
    is $called, 200, 'every callback once';
};

done_testing;
