use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use TestKafka;

# What a client tells its log: connections, elections, rebalances, refusals and tries, fetch errors, transactions.

delete $ENV{EV_KAFKA_DEBUG};

sub cluster {
    my (%options) = @_;
    my $mock = EV::Kafka::Mock->new(%options);
    $mock->create_topic(t => 1);
    return $mock;
}

# A client, and the lines that it has logged.
sub logged {
    my ($mock, %options) = @_;
    my @lines;
    my $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, on_message => sub { }, %options,
        log => sub { my ($level, $text, $fields) = @_; push @lines, "$fields->{room} $level: $text" });
    my $is_connected;
    $kafka->connect(sub { $is_connected = 1 });
    wait_until { $is_connected } 'connect';
    return ($kafka, \@lines);
}

sub hears {
    my ($lines, $pattern, $what) = @_;
    wait_until { grep { /$pattern/ } @$lines } $what;
    my ($line) = grep { /$pattern/ } @$lines;
    return like $line // '', $pattern, $what;
}

sub produce {
    my ($kafka, @more) = @_;
    my $is_done;
    $kafka->produce(t => undef, 'v', @more, sub { $is_done = 1 });
    wait_until { $is_done } 'delivery';
    return;
}

subtest 'connections and leaders' => sub {
    my $mock = cluster(brokers => 2);
    my ($kafka, $lines) = logged($mock);
    my @ports = map { $_->{port} } $mock->brokers;
    hears($lines, qr/\Acluster debug: asked for metadata, 127\.0\.0\.1:$ports[0]\z/, 'who is asked for metadata');
    hears($lines, qr/\Acluster info: brokers are 0 \(127\.0\.0\.1:$ports[0]\), 1 \(127\.0\.0\.1:$ports[1]\)\z/, 'the brokers');
    hears($lines, qr/\Acluster info: t: leaders of its partitions are 0\z/, 'a topic');
    produce($kafka);
    hears($lines, qr/\Aconn debug: broker 0 \(127\.0\.0\.1:$ports[0]\), main: connecting\z/, 'a connection');
    hears($lines, qr/\Aconn info: broker 0 \(127\.0\.0\.1:$ports[0]\), main: connected\z/, 'that is there');
    $mock->set_leader(t => 0, 1);
    produce($kafka);
    hears($lines, qr/\Aproducer warning: t:0, a batch of 1 for broker 0: broker refuses it with NOT_LEADER_OR_FOLLOWER \(code 6\); next try in [\d.]+ s\z/, 'a batch that was refused');
    hears($lines, qr/\Acluster info: t:0: leader is broker 1 in epoch 1, it was broker 0\z/, 'an election');
    $mock->fault(api => 'Produce', drop => 1, broker => 1);
    produce($kafka);
    hears($lines, qr/\Aconn warning: broker 1 .*, main: connection ended: /, 'a connection that was lost');
    hears($lines, qr/\Aconn debug: broker 1 .*, main: next try in [\d.]+ s\z/, 'and what is done about it');
    hears($lines, qr/\Aclient error: broker 1 .* lost: /, 'what on_error hears');
    is_deeply [grep { /lost/ } errors($kafka)], [map { s/\Aclient error: //r } grep { /\Aclient error/ } @$lines], 'that and nothing else';
};

subtest 'a group' => sub {
    my $mock = cluster();
    my ($kafka, $lines) = logged($mock);
    $kafka->subscribe('t', group_id => 'g', heartbeat_interval => 0.05);
    hears($lines, qr/\Acluster info: coordinator of group 'g' is broker 0\z/, 'the coordinator');
    hears($lines, qr/\Agroup info: group 'g', generation 1: assigned t:0\z/, 'the assignment');
    hears($lines, qr/\Agroup info: group 'g', generation 1: stable\z/, 'it is in');
    $mock->fault(api => 'Heartbeat', error => 27);
    hears($lines, qr/\Agroup warning: group 'g', generation 1: Heartbeat: REBALANCE_IN_PROGRESS \(code 27\)\z/, 'a rebalance');
    hears($lines, qr/\Agroup info: group 'g', generation 1: gives up t:0\z/, 'what it gives up');
    hears($lines, qr/\Agroup info: group 'g', generation 2: stable\z/, 'it is in again');
    my $is_left;
    $kafka->unsubscribe(sub { $is_left = 1 });
    wait_until { $is_left } 'leaving';
    hears($lines, qr/\Agroup info: group 'g', generation 2: leaving\z/, 'it leaves');
};

subtest 'fetching' => sub {
    my $mock = cluster();
    my ($kafka, $lines) = logged($mock);
    $mock->fault(api => 'Fetch', error => 9);
    $kafka->assign([{ topic => 't', partition => 0, offset => 0 }]);
    $kafka->consume;
    hears($lines, qr/\Afetch warning: t:0, fetched from offset 0: REPLICA_NOT_AVAILABLE \(code 9\)\z/, 'a partition that was refused');
    $mock->fault(api => 'Fetch', drop => 1);
    hears($lines, qr/\Afetch warning: Fetch from broker 0: .*closed/, 'a Fetch that was lost');
};

subtest 'throttling' => sub {
    my $mock = cluster();
    my ($kafka, $lines) = logged($mock);
    $mock->fault(api => 'Produce', throttle_time_ms => 30);
    produce($kafka);
    hears($lines, qr/\Aconn info: broker 0 throttles for 30 ms \(Produce\)\z/, 'a quota');
};

subtest 'a transaction' => sub {
    my $mock = cluster();
    my ($kafka, $lines) = logged($mock, transactional_id => 'x');
    hears($lines, qr/\Aproducer info: producer id \d+, epoch 0\z/, 'the producer id');
    $kafka->begin_transaction;
    produce($kafka);
    my $is_over;
    $kafka->commit_transaction(sub { $is_over = 1 });
    wait_until { $is_over } 'the commit';
    is_deeply [grep { /\Atxn/ } @$lines], [map { "txn info: transaction 1 of 'x' $_" } 'begins', 'is to be committed', 'is over'], 'from begin to end';
    $kafka->begin_transaction;
    $mock->fault(api => 'Produce', error => 87);
    produce($kafka);
    hears($lines, qr/\Atxn warning: transaction 2 of 'x' has failed: .*INVALID_RECORD/, 'one that has failed');
};

subtest 'EV_KAFKA_DEBUG' => sub {
    my $mock  = cluster();
    my $lines = '';
    {
        local $ENV{EV_KAFKA_DEBUG} = 'conn';
        open my $stderr, '>', \$lines or die $!;
        local *STDERR = $stderr;
        produce(connected(brokers => $mock->bootstrap, client_id => 'mine'));
    }
    my @rooms = $lines =~ /^\d\d:\d\d:\d\d\.\d\d\d mine (\w+) (?:debug|info): \S.*\n/mg;
    ok @rooms == 2 && !grep { $_ ne 'conn' } @rooms or diag $lines;
};

done_testing;
