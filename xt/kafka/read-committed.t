use v5.14;
use warnings;

# Transactions as real brokers keep them: committed, aborted, open, by two producers side by side and with
# plain records in between. Under both isolation levels EV::Kafka delivers exactly what is to be delivered, and
# as many records as Java's consumer.

use lib 'xt/lib';
use EV;
use EV::Kafka;
use RealKafka;
use Test::More;

my $PARTITIONS   = 3;
my $TRANSACTIONS = 40;

# Answers that ask to come again: the coordinator is not ready, or still ends the transaction before; the
# leader of a new topic has not heard of it yet.
my %AGAIN = map { $_ => 1 } 3, 6, 14, 15, 16, 51;

srand 5;

# request($what, $send) -> the answer, once it has no error code that asks for patience.
sub request {
    my ($what, $send) = @_;
    my $result = ask_while(\%AGAIN, sub {
        my ($result, $error) = await($what, $send);
        die "$what: $error\n" if defined $error;
        return $result;
    });
    my ($code) = grep { $_ } error_codes($result);
    die "$what: " . EV::Kafka::_error_name($code) . "\n" if $code;
    return $result;
}

sub transactional_producer {
    my ($address, $id) = @_;
    my $conn = connected_conn($address);
    request("coordinator of $id", sub { $conn->find_coordinator($id, $_[0], 1) });
    my $identity = request("id of $id", sub { $conn->init_producer_id($id, 600_000, @_) });
    my ($producer_id, $epoch) = @$identity{qw(producer_id producer_epoch)};
    return { conn => $conn, txn => $id, id => $producer_id, epoch => $epoch, sequence => [] };
}

sub begin {
    my ($producer, $topic) = @_;
    my @partitions = grep { rand() < 0.7 } 0 .. $PARTITIONS - 1;
    @partitions = (0) unless @partitions;
    request('adding partitions', sub {
        $producer->{conn}->add_partitions_to_txn(@$producer{qw(txn id epoch)},
            [{ topic => $topic, partitions => \@partitions }], @_);
    });
    return \@partitions;
}

# write_to(\%producer, $topic, $partition, @values): in a transaction, or plain without a producer's id.
sub write_to {
    my ($producer, $topic, $partition, @values) = @_;
    my %option = (acks => -1, compression => (qw(none lz4 gzip))[rand 3]);
    if (defined $producer->{txn}) {
        @option{qw(transactional_id producer_id producer_epoch)} = @$producer{qw(txn id epoch)};
        $option{base_sequence} = $producer->{sequence}[$partition] || 0;
        $producer->{sequence}[$partition] += @values;
    }
    request('produce', sub {
        $producer->{conn}->produce_batch($topic, $partition, [map { { value => $_ } } @values], \%option, @_);
    });
    return;
}

sub finish {
    my ($producer, $committed) = @_;
    request('the end of a transaction', sub {
        $producer->{conn}->end_txn(@$producer{qw(txn id epoch)}, $committed, @_);
    });
    return;
}

# fill($address, $topic) -> what the partitions have in the end, [value, is committed] in order.
sub fill {
    my ($address, $topic) = @_;
    my @producers = map { transactional_producer($address, "read-committed-$_-$$") } 1, 2;
    my $plain     = { conn => connected_conn($address) };
    my @log       = map { [] } 1 .. $PARTITIONS;
    my $number    = 0;
    for my $round (1 .. $TRANSACTIONS) {
        my @open = map { { producer => $_, partitions => begin($_, $topic), fate => rand() < 0.5 ? 1 : 0 } } @producers;
        for (1 .. 4) {
            for my $writer (@open, { producer => $plain, partitions => [0 .. $PARTITIONS - 1], fate => 1 }) {
                my $partition = $writer->{partitions}[rand @{ $writer->{partitions} }];
                my @values    = map { $number++ } 1 .. 1 + rand 20;
                write_to($writer->{producer}, $topic, $partition, @values);
                push @{ $log[$partition] }, map { [$_, $writer->{fate}] } @values;
            }
        }
        finish($_->{producer}, $_->{fate}) for rand() < 0.5 ? @open : reverse @open;
    }
    # The markers are written after EndTxn was answered; only then there is a new id to be had.
    for my $producer (@producers) {
        request('the last markers', sub { $producer->{conn}->init_producer_id($producer->{txn}, 600_000, @_) });
    }
    return \@log;
}

# read_all($brokers, $topic, $level, %options) -> the values of each partition, up to what counts as its end.
sub read_all {
    my ($brokers, $topic, $level, %option) = @_;
    my @values = map { [] } 1 .. $PARTITIONS;
    my $kafka  = connected_client(
        brokers           => $brokers,
        isolation_level   => $level,
        fetch_max_wait_ms => 50,
        fetch_max_bytes   => 20_000,
        ($option{on_batch} ? 'on_batch' : 'on_message') => $option{on_batch}
            ? sub { push @{ $values[$_[1]] }, map { $_->[2] } @{ $_[2] } }
            : sub { push @{ $values[$_[1]] }, $_[4] },
    );
    $kafka->assign([map { { topic => $topic, partition => $_, offset => -2 } } 0 .. $PARTITIONS - 1]);
    while (1) {
        my ($error) = await('poll', sub { $kafka->poll(@_) });
        die "poll: $error\n" if defined $error;
        my ($lag, $failure) = await('lag', sub { $kafka->lag(@_) });
        die "lag: $failure\n" if defined $failure;
        last unless grep { $_->{lag} > 0 } values %$lag;
    }
    $kafka->close;
    return \@values;
}

# What Java's consumer prints, by partition.
sub java_count {
    my ($version, $brokers, $topic, $level) = @_;
    my @command = KafkaCluster::java_command($version, 'ConsoleConsumer', '--bootstrap-server', $brokers,
        '--topic', $topic, '--from-beginning', '--isolation-level', $level, '--timeout-ms', 8000);
    open my $run, '-|', @command or die "java: $!";
    my $count = () = readline $run;
    close $run;
    return $count;
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;
    my ($address) = split /,/, $brokers;

    subtest "Kafka $version: two transactional producers and a plain one" => sub {
        my $topic = create_topic($address, 'read-committed', $PARTITIONS);
        my $log   = fill($address, $topic);
        my %wanted = (
            read_uncommitted => [map { [map { $_->[0] } @$_] } @$log],
            read_committed   => [map { [map { $_->[0] } grep { $_->[1] } @$_] } @$log],
        );
        cmp_ok scalar(grep { !$_->[1] } map { @$_ } @$log), '>', 0, 'some records were aborted';
        for my $level (sort keys %wanted) {
            my $read = read_all($brokers, $topic, $level);
            is_deeply $read, $wanted{$level}, "$level: exactly what was to be read";
            my $batches = read_all($brokers, $topic, $level, on_batch => 1);
            is_deeply $batches, $wanted{$level}, "$level: the same by on_batch";
            my $count = map { @$_ } @$read;
            is java_count($version, $brokers, $topic, $level), $count, "$level: as many as Java's consumer, $count";
        }
    };

    subtest "Kafka $version: a transaction that is open" => sub {
        my $topic    = create_topic($address, 'read-open', $PARTITIONS);
        my $producer = transactional_producer($address, "read-open-$$");
        my $plain    = { conn => connected_conn($address) };
        write_to($plain, $topic, 0, 'before');
        request('adding partitions', sub {
            $producer->{conn}->add_partitions_to_txn(@$producer{qw(txn id epoch)},
                [{ topic => $topic, partitions => [0] }], @_);
        });
        write_to($producer, $topic, 0, 'open');
        write_to($plain, $topic, 0, 'behind');
        my $values = sub { my ($level) = @_; return read_all($brokers, $topic, $level)->[0] };
        is_deeply $values->('read_uncommitted'), [qw(before open behind)], 'read_uncommitted: all';
        is_deeply $values->('read_committed'), ['before'], 'read_committed: what lies before it';
        my $offsets = sub {
            my ($level) = @_;
            my $kafka = connected_client(brokers => $brokers, isolation_level => $level);
            my ($found) = await('offsets', sub { $kafka->offsets_for($topic, @_) });
            $kafka->close;
            return $found->{0}{latest};
        };
        is $offsets->('read_committed'), 1, 'where the latest offset is, too';
        is $offsets->('read_uncommitted'), 3, 'which is behind everything otherwise';
        finish($producer, 1);
        # The markers are written after EndTxn was answered.
        my $read;
        do { $read = $values->('read_committed') } until @$read == 3;
        is_deeply $read, [qw(before open behind)], 'and once it is committed, all';
    };

    subtest "Kafka $version: Java's transactions" => sub {
        my $topic = create_topic($address, 'read-java', $PARTITIONS);
        my $records = 20_000;
        open my $run, '-|', KafkaCluster::java_command($version, 'ProducerPerformance', '--topic', $topic,
            '--num-records', $records, '--record-size', 50, '--throughput', 20_000,
            '--producer-props', "bootstrap.servers=$brokers", '--transactional-id', "read-java-$$",
            '--transaction-duration-ms', 20) or die "java: $!";
        my $printed = do { local $/; readline $run };
        ok close $run, 'written' or diag $printed;
        for my $level (qw(read_committed read_uncommitted)) {
            is scalar(map { @$_ } @{ read_all($brokers, $topic, $level) }), $records, $level;
        }
    };
}

done_testing;
