use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

subtest 'buffered counts messages and bytes until they are settled' => sub {
    my $mock  = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 20);
    is_deeply [$kafka->buffered], [0, 0], 'nothing at first';
    my $delivered = 0;
    $kafka->produce('t', undef, 'x' x 100, sub { $delivered++ }) for 1 .. 10;
    my ($messages, $bytes) = $kafka->buffered;
    is $messages, 10, 'messages';
    cmp_ok $bytes, '>', 1000, 'bytes';
    cmp_ok $bytes, '<', 1300, 'as they will be sent';
    wait_until { $delivered == 10 } 'delivery';
    is_deeply [$kafka->buffered], [0, 0], 'nothing in the end';
};

subtest 'buffer_memory' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $drained = 0;
    my $kafka   = connected(brokers => $mock->bootstrap, linger_ms => 20, buffer_memory => 5_000, on_drain => sub { $drained++ });
    my (@end, @order);
    for my $i (1 .. 100) {
        $kafka->produce('t', undef, sprintf('%0100d', $i), sub { push @{ $end[$i] }, $_[1]; push @order, $i });
    }
    my @full = grep { $end[$_] } 1 .. 100;
    cmp_ok scalar(@full), '>=', 50, 'what finds no room fails at once';
    is_deeply [map { @{ $end[$_] } } @full], [('producer buffer full') x @full], 'with that text';
    my ($messages, $bytes) = $kafka->buffered;
    is $messages, 100 - @full, 'the others are queued';
    cmp_ok $bytes, '<=', 5_000, 'within the limit';
    is_deeply [errors($kafka)], [], 'on_error hears nothing of messages that have a callback';
    $kafka->produce('t', undef, 'y' x 1000) for 1 .. 5;
    is_deeply [errors($kafka)], ['producer buffer full'], 'but once of those that have none';
    is $drained, 0, 'not drained yet';
    wait_until { $drained } 'on_drain';
    is_deeply [map { $end[$_][0] } 1 .. 100 - @full], [(undef) x (100 - @full)], 'what was queued is delivered';
    is_deeply [map { scalar @{ $end[$_] } } 1 .. 100], [(1) x 100], 'each callback once';
    is_deeply log_values($mock, 't'), [map { sprintf '%0100d', $_ } 1 .. 100 - @full], 'and nothing else';
    $kafka->produce('t', undef, 'y' x 1000) for 1 .. 6;
    is scalar(errors($kafka)), 2, 'another episode is reported again';
    my $again = 0;
    $kafka->on_drain(sub { $again++ });
    wait_until { $again } 'the other on_drain';
    is $drained, 1, 'instead of the first';
};

subtest 'a message that is larger than all of buffer_memory' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my ($drained, @end) = (0);
    my $kafka = connected(brokers => $mock->bootstrap, buffer_memory => 1_000, on_drain => sub { $drained++ });
    $kafka->produce('t', undef, 'x' x 2_000, sub { push @end, $_[1] });
    like $end[0], qr/^message too large: \d+ bytes do not fit buffer_memory\z/, 'fails';
    $kafka->produce('t', undef, 'x' x 2_000);
    is scalar(errors($kafka)), 1, 'on_error hears of one without a callback';
    turns;
    is $drained, 0, 'nobody is told to try again';
    is scalar(@end), 1, 'once';
};

subtest 'stop when the buffer is full, go on when it has drained' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my @todo = (map({ $_ x 400 } 'a' .. 'e'), 'x' x 2_000, map { $_ x 400 } 'f' .. 'j');
    my ($kafka, $tries, @end) = (undef, 0);
    my $go_on = sub {
        while (@todo) {
            my $is_full;
            $tries++;
            $kafka->produce('t', undef, $todo[0], sub {
                if (($_[1] // '') eq 'producer buffer full') { $is_full = 1 }
                else                                         { push @end, $_[1] }
            });
            return if $is_full;
            shift @todo;
        }
    };
    $kafka = connected(brokers => $mock->bootstrap, buffer_memory => 1_000, on_drain => $go_on);
    $go_on->();
    wait_until { @end == 11 } 'the end';
    is_deeply log_values($mock, 't'), [map { $_ x 400 } 'a' .. 'j'], 'ends with a message that never fits';
    is scalar(grep { defined } @end), 1, 'which fails';
    cmp_ok $tries, '<=', 22, 'without trying again and again';
};

subtest 'a program that pauses itself' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 4);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 1, buffer_memory => 20_000);
    my ($next, $delivered, $full) = (0, 0, 0);
    my $fill = sub {
        while ($next < 5_000) {
            if (($kafka->buffered)[1] > 19_000) {
                # One too many, so that on_drain is called.
                $kafka->produce('t', undef, 'z' x 2_000, sub { $full++ if $_[1] });
                return;
            }
            $kafka->produce('t', $next++, 'v' x 50, sub { $_[1] ? fail $_[1] : $delivered++ });
        }
    };
    $kafka->on_drain($fill);
    $fill->();
    wait_until { $delivered == 5_000 } 'all of them';
    is $delivered, 5_000, 'are delivered';
    cmp_ok $full, '>', 1, 'after more than one pause';
};

subtest 'messages for a topic that is not known yet' => sub {
    my $mock  = EV::Kafka::Mock->new(partitions => 3);
    my $kafka = client(brokers => $mock->bootstrap, buffer_memory => 100_000);
    my %end;
    for my $i (1 .. 500) {
        my @options = $i % 5 ? () : ({ headers => [[n => $i]] });
        $kafka->produce('new', "k$i", "v$i", @options, sub { push @{ $end{$i} }, [@_] });
    }
    is +($kafka->buffered)[0], 500, 'are counted';
    is scalar(@{ $kafka->{cfg}{pending_ops} }), 1, 'and wait together';
    $kafka->connect;
    wait_until { keys %end == 500 } 'all callbacks';
    is_deeply [grep { @{ $end{$_} } != 1 || defined $end{$_}[0][1] } 1 .. 500], [], 'once each, without errors';
    my @records = map { $mock->records(new => $_) } 0 .. 2;
    is scalar(@records), 500, 'all are there';
    is_deeply [grep { $records[$_]{offset} && substr($records[$_]{value}, 1) < substr($records[$_ - 1]{value}, 1) } 1 .. 499],
        [], 'in order';
    is_deeply [grep { @{ $_->{headers} } != (substr($_->{value}, 1) % 5 ? 0 : 1) } @records], [], 'with their headers';
    my %placed = map { $_->{value} => $_->{offset} } @records;
    is_deeply [grep { produced_offset($end{$_}[0][0]) != $placed{"v$_"} } 1 .. 500], [], 'the callbacks know their offsets';
    is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
};

subtest 'messages for a topic that never comes' => sub {
    my $mock  = EV::Kafka::Mock->new(auto_create => 0);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @end;
    $kafka->produce('absent', undef, $_, sub { push @end, $_[1] }) for 1 .. 3;
    $kafka->produce('absent', undef, 4);
    wait_until { @end } 'the end';
    is scalar(grep { /unavailable after/ } @end), 3, 'fail, each with its callback';
    is scalar(grep { /unavailable after/ } errors($kafka)), 1, 'on_error hears of the one without';
    is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
};

subtest 'delivery_timeout covers what was never sent' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, delivery_timeout => 0.3);
    my $away  = client(brokers => '127.0.0.1:1', delivery_timeout => 0.3);
    $away->connect;
    $mock->stop_broker($mock->leader(t => 0));
    my (%end, %took);
    my $start = EV::time;
    my $note = sub { my ($name) = @_; sub { push @{ $end{$name} }, $_[1]; $took{$name} = EV::time - $start } };
    $kafka->produce('t', undef, 'v', $note->('leaderless'));
    $away->produce('t', undef, 'v', $note->('unknown'));
    $away->produce('t', undef, 'v', { partition => 1 }, $note->('explicit'));
    my $flushed;
    $away->flush(sub { $flushed = [@_] });
    wait_until { keys %end == 3 && $flushed } 'the end';
    for my $name (sort keys %end) {
        is scalar(@{ $end{$name} }), 1, "$name: one callback";
        like $end{$name}[0], qr/^delivery timed out after 0.3 s: t/, 'with what and where';
        cmp_ok $took{$name}, '>', 0.25, 'not before the time';
    }
    is_deeply $flushed, [], 'flush is done then';
    is_deeply [$away->buffered], [0, 0], 'nothing is left';
};

subtest 'messages fail at their own delivery_timeout, not at that of an older one' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my %client = (
        unknown    => client(brokers => '127.0.0.1:1', delivery_timeout => 1),
        leaderless => connected(brokers => $mock->bootstrap, delivery_timeout => 1),
    );
    $client{unknown}->connect;
    $mock->stop_broker($mock->leader(t => 0));
    my (%age, %count);
    my $timer = EV::timer 0, 0.03, sub {
        for my $name (grep { ($count{$_} // 0) < 30 } keys %client) {
            $count{$name}++;
            my $start = EV::time;
            $client{$name}->produce('t', 'k', 'v', sub { push @{ $age{$name} }, EV::time - $start });
        }
    };
    wait_until { 60 == map { @$_ } values %age } 'all failures';
    for my $name (sort keys %age) {
        is scalar(grep { $_ < 0.95 } @{ $age{$name} }), 0, "$name: none fails young" or diag "@{ $age{$name} }";
    }
};

# Twice as much as the requests that may be under way take.
subtest 'a program that blocks expires nothing' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, delivery_timeout => 0.3, batch_size => 1000);
    my @end;
    $kafka->produce('t', undef, 'first', sub { push @end, $_[1] });
    wait_until { @end } 'a connection';
    $kafka->produce('t', undef, 'x' x 900, sub { push @end, $_[1] }) for 1 .. 10;
    select undef, undef, undef, 0.8;
    wait_until { @end == 11 } 'the ends';
    is_deeply [grep { defined } @end], [], 'all are delivered';
};

subtest 'a batch that is refused has three more tries whatever delivery_timeout' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, delivery_timeout => 0.05);
    $mock->fault(api => 'Produce', error => 19, times => undef);
    my @end;
    $kafka->produce('t', undef, 'v', sub { push @end, [@_] });
    wait_until { @end } 'the end';
    like $end[0][1], qr/^NOT_ENOUGH_REPLICAS \(code 19\) from t:0.* after 3 retries\z/, 'the last refusal is the error';
    is $mock->request_count('Produce'), 4, 'of four';
};

subtest 'the sticky partitioner' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 4);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5, partitioner => 'sticky');
    my ($delivered, %partitions) = (0);
    my $cb = sub { $partitions{ $_[0]{topics}[0]{partitions}[0]{partition} }++; $delivered++ };
    for my $round (1 .. 4) {
        $kafka->produce('t', undef, "$round-$_", $cb) for 1 .. 10;
        wait_until { $delivered == 10 * $round } 'delivery';
        is keys %partitions, $round, 'one partition for one batch, another one for the next';
    }
    is_deeply [sort values %partitions], [10, 10, 10, 10], 'all have their turn';

    $delivered = 0;
    my %keyed;
    for my $key ('a' .. 'j') {
        $kafka->produce('t', $key, 'v', sub { $keyed{$key} = $_[0]{topics}[0]{partitions}[0]{partition}; $delivered++ });
    }
    wait_until { $delivered == 10 } 'delivery';
    is_deeply \%keyed, { map { $_ => EV::Kafka::_murmur2($_) % 4 } 'a' .. 'j' }, 'keys have theirs';
};

subtest 'the sticky partitioner of a program that fills batch after batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 3);
    my $kafka = connected(brokers => $mock->bootstrap, batch_size => 1000, partitioner => 'sticky');
    my $delivered = 0;
    $kafka->produce('t', undef, $_, sub { $delivered++ }) for 1 .. 900;
    wait_until { $delivered == 900 } 'delivery';
    my %at;
    for my $partition (0 .. 2) { $at{ $_->{value} } = $partition for $mock->records(t => $partition) }
    my %share;
    $share{$_}++ for values %at;
    is_deeply [sort keys %share], [0, 1, 2], 'every partition has some';
    my $most = (sort { $b <=> $a } values %share)[0];
    cmp_ok $most, '<', 450, 'and none nearly all';
    my $switches = grep { $at{$_} != $at{ $_ + 1 } } 1 .. 899;
    cmp_ok $switches, '<', 20, 'batches are full';
};

done_testing;
