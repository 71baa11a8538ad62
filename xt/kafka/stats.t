use v5.14;
use warnings;

# What a client counts is what a broker has: messages and bytes in its log, requests, the lag that Kafka's own tool
# reports, a quota that it enforces, and the ends of partitions.

use EV;
use lib 'xt/lib';
use List::Util qw(sum0);
use RealKafka;
use Test::More;

my $PARTITIONS = 3;
my $MESSAGES   = 1000;
my $READ       = 400;
my $PATIENCE   = 60;

my $version = $KafkaCluster::NEWEST;
my $cluster = cluster(version => $version);
my ($node)  = $cluster->nodes;
my $topic   = create_topic($cluster->address($node), 'stats', $PARTITIONS);

sub until_so {
    my ($what, $condition) = @_;
    my $end = time + $PATIENCE;
    until ($condition->()) {
        die "never: $what\n" if time > $end;
        my $turn;
        await($what, sub { my ($done) = @_; $turn = EV::timer 0.05, 0, $done });
    }
    return;
}

sub tool {
    my ($class, @arguments) = @_;
    my @command = KafkaCluster::java_command($version, $class, '--bootstrap-server', $cluster->bootstrap, @arguments);
    open my $run, '-|', @command or die "java: $!\n";
    my @lines = readline $run;
    close $run or die "$class: exit code $?\n";
    return @lines;
}

# Bytes in the segments of a partition.
sub log_size {
    my ($partition) = @_;
    return sum0(map { -s $_ } glob sprintf '%s/node%d/*/%s-%d/*.log', $cluster->dir, $node, $topic, $partition);
}

my $producer = connected_client(brokers => $cluster->bootstrap, client_id => 'stats-producer');

subtest 'what was produced' => sub {
    $producer->stats;
    my ($requests, @of) = (0, (0) x $PARTITIONS);
    my $delivered = 0;
    await('delivery', sub {
        my ($done) = @_;
        for my $number (1 .. $MESSAGES) {
            $producer->produce($topic, "k$number", 'v' x ($number % 100), sub {
                my ($result, $error) = @_;
                die "not produced: $error\n" if $error;
                $of[ $result->{topics}[0]{partitions}[0]{partition} ]++;
                $done->() if ++$delivered == $MESSAGES;
            });
        }
    });
    my $stats = $producer->stats;
    my @stats = map { $stats->{topics}{$topic}{$_}{producer} } 0 .. $PARTITIONS - 1;
    is_deeply [map { $_->{messages} } @stats], \@of, 'messages of each partition';
    is_deeply [map { $_->{bytes} } @stats], [map { log_size($_) } 0 .. $PARTITIONS - 1], 'their bytes are those of the log';
    my $broker = $stats->{brokers}{$node};
    is $broker->{requests}{Produce}{answered}, $broker->{requests}{Produce}{sent}, 'every request was answered';
    cmp_ok $broker->{bytes_out}, '>', sum0(map { $_->{bytes} } @stats), 'all of it went over the connection';
    cmp_ok $broker->{requests}{Produce}{round_trip_ms}{max}, '<=', $broker->{requests}{Produce}{total_ms} * 1.07, 'no round trip is longer than all';
};

subtest 'lag, as Kafka has it' => sub {
    my ($received, @ends) = (0);
    my $group = "stats-$$";
    my $kafka;
    $kafka = connected_client(brokers => $cluster->bootstrap, fetch_max_bytes => 4096, fetch_max_wait_ms => 50,
        on_eof => sub { push @ends, join ':', @_[1, 2] },
        on_message => sub { $kafka->pause($kafka->assignment) if ++$received == $READ });
    $kafka->stats;
    $kafka->subscribe($topic, group_id => $group);
    until_so('messages', sub { $received >= $READ });
    my $error = await('commit', sub { my ($done) = @_; $kafka->commit(sub { $done->($_[0] // '') }) });
    is $error, '', 'committed';
    my $consumers = $kafka->stats->{topics}{$topic};
    my %lag = map { $_ => $consumers->{$_}{consumer}{lag} } keys %$consumers;
    is sum0(values %lag), $MESSAGES - $READ, 'what is left to read';
    my @described = grep { /\b\Q$topic\E\b/ } tool(ConsumerGroupCommand => '--describe', '--group', $group);
    my %theirs = map { (split)[2, 5] } @described;
    is_deeply \%lag, \%theirs, 'and what kafka-consumer-groups.sh says' or diag @described;
    # A partition that had been read to its end may have told so already.
    $kafka->resume($kafka->assignment);
    until_so('the ends', sub { @ends >= $PARTITIONS });
    is $received, $MESSAGES, 'all is read';
    my @expected = map { "$_:$consumers->{$_}{consumer}{high_watermark}" } sort keys %$consumers;
    is_deeply [sort @ends], \@expected, 'the end of each partition, once';
    is sum0(map { $_->{consumer}{lag} } values %{ $kafka->stats->{topics}{$topic} }), 0, 'nothing is left';
    is $kafka->stats->{group}{state}, 'stable', 'the group';
    await('close', sub { $kafka->close(@_) });
};

subtest 'a quota' => sub {
    tool(ConfigCommand => '--alter', '--add-config', 'producer_byte_rate=10000', '--entity-type', 'clients', '--entity-name', 'stats-slow');
    my @told;
    my $slow = connected_client(brokers => $cluster->bootstrap, client_id => 'stats-slow', on_throttle => sub { push @told, [@_] });
    $slow->stats;
    until_so('throttling', sub {
        await('delivery', sub { $slow->produce($topic, undef, 'v' x 20_000, @_) });
        return @told;
    });
    my ($time, $about) = @{ $told[0] };
    cmp_ok $time, '>', 0, 'how long';
    is_deeply $about, { api => 'Produce', broker => $node }, 'which request, of which broker';
    is_deeply $slow->stats->{brokers}{$node}{throttled}, { answers => scalar @told, ms => sum0(map { $_->[0] } @told) }, 'counted';
    await('close', sub { $slow->close(@_) });
};

await('close', sub { $producer->close(@_) });

done_testing;
