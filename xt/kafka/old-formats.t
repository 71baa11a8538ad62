use v5.14;
use warnings;

# Message formats 0 and 1, as a real old broker has written them (which it turns what we
# send into), read by us and, record by record, by the console consumer of that version.
# KAFKA_OLD_VERSIONS for others than the oldest one, below 3.0.

use lib 'xt/lib';

use EV::Kafka;
use RealKafka;
use Test::More;

my @CODECS  = qw(none gzip snappy lz4);
my $RECORDS = 300;
my $KEYS    = 7;

# What is written as which format; mixed changes while the topic is written to.
my %FORMAT = (0 => '0.9.0', 1 => '0.10.2');

for my $version (split ' ', $ENV{KAFKA_OLD_VERSIONS} // '0.11.0.3') {
    my $cluster = cluster(version => $version);
    my $brokers = $cluster->bootstrap;
    my $admin   = connected_client(brokers => $brokers);

    my (@topics, %wanted);
    for my $format (sort keys %FORMAT) {
        for my $time (qw(CreateTime LogAppendTime)) {
            next if $time eq 'LogAppendTime' && $format == 0;
            my $topic = topic("format-$format-$time", $admin, 'message.format.version' => $FORMAT{$format},
                'message.timestamp.type' => $time);
            push @{ $wanted{$topic} }, write_with($_, $brokers, $topic) for @CODECS;
            push @topics, $topic;
        }
    }
    my $mixed = topic('mixed', $admin);
    for my $format ('0.9.0', '0.11.0', '0.10.2') {
        alter($cluster, $mixed, "message.format.version=$format");
        push @{ $wanted{$mixed} }, write_with($_, $brokers, $mixed) for @CODECS;
    }
    push @topics, $mixed;

    for my $topic (@topics) {
        subtest "$version: $topic" => sub {
            my $wanted = $wanted{$topic};
            my ($records) = consume($brokers, $topic, 1, scalar @$wanted);
            is same_records($records, $wanted), undef, 'what was written is read';
            my $theirs = console_consumer($version, $brokers, $topic, scalar @$wanted);
            is_deeply [map { shown($topic, $_) } @$records], $theirs, 'as the console consumer of that version reads it';
            my $middle = int(@$wanted / 2) + 13;
            my @rest;
            my $kafka = connected_client(brokers => $brokers, on_message => sub { push @rest, $_[2] });
            $kafka->assign([{ topic => $topic, partition => 0, offset => $middle }]);
            await('the rest', sub {
                my ($done) = @_;
                my $poll = EV::timer 0, 0.01, sub { @rest >= @$wanted - $middle ? $done->() : $kafka->poll };
                $kafka->{for_test} = $poll;
            });
            delete $kafka->{for_test};
            is_deeply \@rest, [$middle .. $#$wanted], 'from the middle of a set on';
            await('close', sub { $kafka->close(@_) });
        };
    }
    await('close', sub { $admin->close(@_) });
    $cluster->stop;
}

done_testing;

sub topic {
    my ($name, $admin, %config) = @_;
    $name .= "-$$";
    my ($result, $error) = await("creating $name", sub {
        $admin->create_topics([{ name => $name, num_partitions => 1, replication_factor => 1, configs => \%config }], @_);
    });
    is_deeply [$error // error_codes($result)], [0], "$name is there";
    return $name;
}

# Brokers below 2.3 change single settings through ZooKeeper only.
sub alter {
    my ($cluster, $topic, $setting) = @_;
    my @command = KafkaCluster::java_command($cluster->version, 'ConfigCommand', $cluster->zookeeper_for_tools,
        '--alter', '--entity-type', 'topics', '--entity-name', $topic, '--add-config', $setting);
    open my $run, '-|', @command or die "java: $!";
    my $said = do { local $/; readline $run };
    close $run or die "ConfigCommand: $said";
    return;
}

# Headers do not exist in these formats; null values are tombstones.
sub write_with {
    my ($codec, $brokers, $topic) = @_;
    my @records = map { [$_ % 5 ? "key-" . $_ % $KEYS : undef, $_ % 10 == 9 ? undef : "$codec value $_ " . 'x' x ($_ % 50), ''] } 1 .. $RECORDS;
    my $kafka = connected_client(brokers => $brokers, compression => $codec, linger_ms => 50, acks => -1);
    $kafka->produce($topic, @$_[0, 1], { partition => 0 }) for @records;
    await('the records', sub { $kafka->flush(@_) });
    await('close', sub { $kafka->close(@_) });
    return @records;
}

sub console_consumer {
    my ($version, $brokers, $topic, $count) = @_;
    my @command = KafkaCluster::java_command($version, 'ConsoleConsumer', '--bootstrap-server', $brokers, '--topic', $topic,
        '--partition', 0, '--offset', 0, '--max-messages', $count,
        map { ('--property', $_) } 'print.timestamp=true', 'print.key=true', 'key.separator=|');
    open my $run, '-|', @command or die "java: $!";
    chomp(my @lines = readline $run);
    close $run or die "ConsoleConsumer: $?";
    return \@lines;
}

# A record as the console consumer prints it.
sub shown {
    my ($topic, $record) = @_;
    my (undef, $timestamp, $key, $value) = @$record;
    my $type = $timestamp < 0 ? 'NO_TIMESTAMP' : $topic =~ /LogAppendTime/ ? 'LogAppendTime' : 'CreateTime';
    return join '|', $timestamp < 0 ? $type : "$type:$timestamp", map { $_ // 'null' } $key, $value;
}
