use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use List::Util qw(sum0);
use Test::More;

use TestKafka;

# What a client says of itself: stats, on_stats, on_throttle, and what it knows of the cluster and of what it consumes.

sub cluster {
    my (%options) = @_;
    my $mock = EV::Kafka::Mock->new(%options);
    $mock->create_topic(t => 2);
    return $mock;
}

sub produced {
    my ($kafka, @messages) = @_;
    my $is_done;
    $kafka->produce_many(\@messages, sub { fail "not produced: @{ $_[0] }" if $_[0]; $is_done = 1 });
    wait_until { $is_done } 'delivery';
    return;
}

sub to { my ($partition, $count) = @_; return map { { topic => 't', value => "v$_", partition => $partition } } 1 .. $count }

# Of one API, of all brokers together.
sub requests {
    my ($stats, $api, $what) = @_;
    return sum0(map { ($_->{requests}{$api} || {})->{$what} || 0 } values %{ $stats->{brokers} });
}

subtest 'what was sent is what is counted' => sub {
    my $mock  = cluster(brokers => 2);
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { });
    produced($kafka, to(0, 5));
    my $before = $kafka->stats;
    is requests($before, Produce => 'sent'), 0, 'nothing is counted before the first call';
    my $asked = $mock->request_count('Produce');
    produced($kafka, to(0, 10), to(1, 3));
    my $stats = $kafka->stats;
    is requests($stats, Produce => $_), $mock->request_count('Produce') - $asked, "Produce requests $_" for qw(sent answered);
    my ($first, $second) = map { $stats->{topics}{t}{$_} } 0, 1;
    is_deeply [map { $_->{leader} } $first, $second], [0, 1], 'the leaders';
    is_deeply [map { $_->{producer}{messages} } $first, $second], [10, 3], 'messages by partition';
    is_deeply [map { $_->{producer}{failed} } $first, $second], [0, 0], 'none has failed';
    cmp_ok $first->{producer}{largest}, '<=', $first->{producer}{bytes}, 'bytes of the largest batch';
    my $broker = $stats->{brokers}{0};
    is "$broker->{host}:$broker->{port}", join(':', @{ ($mock->brokers)[0] }{qw(host port)}), 'the address of a broker';
    is_deeply $broker->{connections}, { main => 'ready' }, 'its connections';
    cmp_ok $broker->{bytes_out}, '>', $first->{producer}{bytes}, 'bytes out';
    is $broker->{in_flight}, 0, 'nothing is in flight';
    cmp_ok $broker->{requests}{Produce}{round_trip_ms}{p50}, '>', 0, 'round trips';
    is $stats->{client_id}, 'ev-kafka', 'whose it is';
    is_deeply [@{ $stats->{producer} }{qw(messages bytes is_full)}], [0, 0, 0], 'nothing is queued';
    is_deeply [@$stats{qw(group transaction)}], [undef, undef], 'no group, no transaction';
};

subtest 'messages that wait, and those that fail' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 60_000);
    $kafka->stats;
    my @errors;
    $kafka->produce(t => undef, 'v', { partition => 1 }, sub { push @errors, $_[1] }) for 1 .. 4;
    my $stats = $kafka->stats;
    is $stats->{producer}{messages}, 4, 'queued';
    is $stats->{producer}{bytes}, $stats->{topics}{t}{1}{producer}{waiting_bytes}, 'their bytes';
    is $stats->{topics}{t}{1}{producer}{waiting}, 4, 'in the partition';
    $mock->fault(api => 'Produce', error => 87);
    $kafka->flush;
    wait_until { @errors == 4 } 'the refusal';
    my $partition = $kafka->stats->{topics}{t}{1}{producer};
    is_deeply [@$partition{qw(waiting failed messages)}], [0, 4, 0], 'failed, and not delivered';
};

subtest 'position and lag' => sub {
    my $mock = cluster();
    $mock->append(t => 0, { value => $_ }) for 1 .. 5;
    my $received = 0;
    my $kafka;
    $kafka = connected(brokers => $mock->bootstrap, isolation_level => 'read_committed', on_message => sub {
        $kafka->pause([{ topic => 't', partition => 0 }]) if ++$received == 2;
    });
    $kafka->stats;
    $kafka->assign([{ topic => 't', partition => 0, offset => 0 }]);
    $kafka->consume;
    wait_until { $received >= 2 } 'two records';
    turns;
    is_deeply $kafka->stats->{topics}{t}{0}{consumer}, { position => 2, high_watermark => 5, last_stable_offset => 5, lag => 3, paused => 1 },
        'of a partition that is paused';
    $kafka->resume([{ topic => 't', partition => 0 }]);
    wait_until { $received >= 5 } 'the rest';
    turns;
    is $kafka->stats->{topics}{t}{0}{consumer}{lag}, 0, 'nothing is left';
};

subtest 'a group and a transaction' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x', on_message => sub { });
    my $is_assigned;
    $kafka->subscribe('t', group_id => 'g', on_assign => sub { $is_assigned = 1 });
    is_deeply $kafka->subscription, ['t'], 'the subscription';
    wait_until { $is_assigned && ($kafka->{cfg}{group}{state} || '') eq 'stable' } 'the group';
    my $stats = $kafka->stats;
    is_deeply [@{ $stats->{group} }{qw(group_id state generation partitions)}], ['g', 'stable', $kafka->{cfg}{group}{generation}, 2],
        'the group';
    cmp_ok $stats->{producer}{producer_id}, '>=', 0, 'the producer id';
    is_deeply $stats->{transaction}, { transactional_id => 'x', state => 'none', number => 0 }, 'no transaction';
    $kafka->begin_transaction;
    is_deeply $kafka->stats->{transaction}, { transactional_id => 'x', state => 'open', number => 1 }, 'one that is open';
    is_deeply [sort { $a->{partition} <=> $b->{partition} } @{ $kafka->assignment }],
        [map { { topic => 't', partition => $_, offset => 0 } } 0, 1], 'the assignment';
    my $is_left;
    $kafka->unsubscribe(sub { $is_left = 1 });
    wait_until { $is_left } 'leaving';
    is_deeply $kafka->subscription, [], 'no subscription any more';
    is_deeply $kafka->assignment, [], 'no assignment';
};

subtest 'on_stats' => sub {
    my $mock = cluster();
    my @told;
    my $kafka = client(brokers => $mock->bootstrap, stats_interval => 0.02, on_stats => sub { push @told, $_[0] });
    turns;
    is @told, 0, 'not before connect';
    $kafka->connect;
    wait_until { @told >= 2 && ($told[-1]{bootstrap}{requests}{Metadata} || {})->{answered} } 'on_stats';
    is $told[-1]{bootstrap}{requests}{Metadata}{answered}, 1, 'all is counted from the beginning';
    cmp_ok $told[1]{counted_for}, '>', $told[0]{counted_for}, 'time goes on';
    my $is_open = 1;
    my @closing = warnings_of {
        $kafka->{cfg}{on_stats} = sub { push @told, undef; $kafka->close if $is_open; $is_open = 0; die "no\n" };
        wait_until { !$is_open } 'a handler that closes';
    };
    like "@closing", qr/\Aon_stats error: no\n\z/, 'a die is a warning';
    my $count = @told;
    my $is_later;
    my $later = EV::timer 0.1, 0, sub { $is_later = 1 };
    wait_until { $is_later } 'some intervals';
    is @told, $count, 'nothing comes from a client that is closed';
};

subtest 'on_throttle' => sub {
    my $mock = cluster();
    my @told;
    my $kafka = connected(brokers => $mock->bootstrap, on_throttle => sub { push @told, [@_] });
    $kafka->stats;
    $mock->fault(api => 'Produce', throttle_time_ms => 30);
    produced($kafka, to(0, 1));
    is_deeply \@told, [[30, { api => 'Produce', broker => 0 }]], 'for how long, which API, which broker';
    is_deeply $kafka->stats->{brokers}{0}{throttled}, { answers => 1, ms => 30 }, 'counted';
};

subtest 'the connection for metadata goes on counting elsewhere' => sub {
    my $mock  = cluster(brokers => 2);
    my $kafka = connected(brokers => $mock->bootstrap, on_stats => sub { });
    my $asked = $kafka->stats->{bootstrap}{requests}{Metadata}{answered};
    $mock->stop_broker(0);
    $kafka->_refresh_metadata;
    wait_until { ($kafka->stats->{bootstrap}{requests}{Metadata}{answered} || 0) > $asked } 'metadata from the other broker';
    is $kafka->stats->{bootstrap}{connects}, 2, 'both connections';
};

subtest 'what is known of the cluster' => sub {
    my $mock  = cluster(brokers => 2);
    my $kafka = client(brokers => $mock->bootstrap);
    is $kafka->metadata, undef, 'nothing before connect';
    ok !$kafka->is_connected, 'not connected';
    my $meta;
    $kafka->connect(sub { $meta = $_[0] });
    wait_until { $meta } 'connect';
    ok $kafka->is_connected, 'connected';
    is_deeply $kafka->metadata, $meta, 'metadata as connect has them';
    $mock->stop_broker($_) for 0, 1;
    $kafka->_refresh_metadata;
    wait_until { errors($kafka) } 'an outage';
    ok !$kafka->is_connected, 'not connected while no broker answers';
    $mock->start_broker(1);
    wait_until { $kafka->is_connected } 'a broker that answers again';
    $kafka->close;
    for my $method (qw(stats metadata is_connected assignment subscription)) {
        eval { $kafka->$method };
        like $@, qr/\AEV::Kafka: client is closed at \Q$0\E/, "$method of a closed client croaks";
    }
};

done_testing;
