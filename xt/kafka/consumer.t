use v5.14;
use warnings;

# What only real brokers prove of consuming by hand: pausing under load, seeking, lookups by time, messages that
# are larger than what is asked for, records that are deleted under a reader, topics that are created anew.

use lib 'xt/lib', 't/lib';
use EV;
use EV::Kafka;
use Inside;
use RealKafka;
use Test::More;

my $PARTITIONS = 3;
my $RECORDS    = 60_000;

sub until_true {
    my ($what, $condition) = @_;
    my $timer;
    await($what, sub { my ($done) = @_; $timer = EV::timer 0, 0.005, sub { $done->() if $condition->() } });
    return;
}

# fill($brokers, $topic, $from, $to): numbers as values, each with itself as its timestamp.
sub fill {
    my ($brokers, $topic, $from, $to) = @_;
    my $kafka = connected_client(brokers => $brokers, acks => -1);
    $kafka->produce($topic, undef, $_, { timestamp => 1_000_000 + $_, partition => $_ % $PARTITIONS }) for $from .. $to;
    my $error = await('flush', sub { $kafka->flush(@_) });
    die "flush: $error\n" if defined $error;
    $kafka->close;
    return;
}

sub assigned {
    my ($topic, $offset) = @_;
    return [map { { topic => $topic, partition => $_, offset => $offset } } 0 .. $PARTITIONS - 1];
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;
    my ($address) = split /,/, $brokers;
    my $topic = create_topic($address, 'consumer', $PARTITIONS);
    fill($brokers, $topic, 0, $RECORDS - 1);

    subtest "Kafka $version: pausing and resuming all the time" => sub {
        my (@next, $wrong, $got, $kafka, @paused) = ((0) x $PARTITIONS);
        ($wrong, $got) = (0, 0);
        $kafka = connected_client(
            brokers           => $brokers,
            fetch_max_bytes   => 30_000,
            fetch_max_wait_ms => 50,
            on_message        => sub {
                my (undef, $partition, $offset, undef, $value) = @_;
                $wrong++ if $paused[$partition] || $offset != $next[$partition]++;
                $wrong++ if $value != $offset * $PARTITIONS + $partition;
                return if ++$got % 700;
                $paused[$partition] = 1;
                $kafka->pause([{ topic => $topic, partition => $partition }]);
            },
        );
        my $resuming = EV::timer 0.01, 0.01, sub {
            my @now = grep { $paused[$_] } 0 .. $PARTITIONS - 1;
            @paused[@now] = ();
            $kafka->resume([map { { topic => $topic, partition => $_ } } @now]);
        };
        $kafka->assign(assigned($topic, -2));
        $kafka->consume;
        until_true('everything', sub { $got >= $RECORDS });
        is $got, $RECORDS, 'everything came once';
        is $wrong, 0, 'in order, and nothing of a paused partition';
        is_deeply [map { $_->{offset} } Inside::positions($kafka)], [($RECORDS / $PARTITIONS) x $PARTITIONS], 'the positions';
        $kafka->close;
    };

    subtest "Kafka $version: seeking under load" => sub {
        my ($got, $kafka, $last) = (0);
        $kafka = connected_client(
            brokers         => $brokers,
            fetch_max_bytes => 30_000,
            on_message      => sub {
                my (undef, undef, $offset) = @_;
                $last = $offset if ++$got == 1001;
                $kafka->seek($topic, 1, 15_000) if $got == 1000;
            },
        );
        $kafka->assign([{ topic => $topic, partition => 1, offset => 0 }]);
        $kafka->consume;
        until_true('messages', sub { $got > 1000 });
        is $last, 15_000, 'the next message comes from there';
        $kafka->close;
    };

    subtest "Kafka $version: by time" => sub {
        my $kafka = connected_client(brokers => $brokers);
        my ($found, $error) = await('offsets_for_times', sub {
            my %times = ("$topic:0" => 1_000_030, "$topic:1" => 0, "$topic:2" => 1_000_000 + $RECORDS);
            $kafka->offsets_for_times(\%times, @_);
        });
        is $error, undef, 'no error';
        is_deeply $found, {
            "$topic:0" => { offset => 10, timestamp => 1_000_030 },
            "$topic:1" => { offset => 0,  timestamp => 1_000_001 },
            "$topic:2" => undef,
        }, 'the first message at that time or later';
        $kafka->close;
    };

    subtest "Kafka $version: messages larger than what is asked for" => sub {
        my $large = create_topic($address, 'large', 1);
        my $kafka = connected_client(brokers => $brokers);
        my @sizes = (10, 300_000, 10, 900_000, 10);
        for my $size (@sizes) {
            my (undef, $error) = await('produce', sub { $kafka->produce($large, undef, 'x' x $size, @_) });
            die "produce: $error\n" if defined $error;
        }
        $kafka->close;
        my @got;
        $kafka = connected_client(brokers => $brokers, fetch_max_bytes => 1000,
            on_message => sub { push @got, length $_[4] });
        $kafka->assign([{ topic => $large, offset => -2 }]);
        until_true('messages', sub { $kafka->poll; @got >= @sizes });
        is_deeply \@got, \@sizes, 'come nevertheless';
        $kafka->close;
    };

    subtest "Kafka $version: a topic that is deleted and created again" => sub {
        my $again = create_topic($address, 'again', $PARTITIONS);
        fill($brokers, $again, 0, 29);
        my (%got, @errors);
        my $kafka = connected_client(brokers => $brokers, fetch_max_wait_ms => 50, metadata_refresh => 1,
            on_error => sub { push @errors, $_[0] }, on_message => sub { $got{ $_[4] }++ });
        $kafka->assign(assigned($again, -2));
        $kafka->consume;
        until_true('what was there', sub { 30 == keys %got });
        my $conn   = connected_conn($address);
        my $delete = sub {
            my ($result) = await('delete_topics', sub { $conn->delete_topics([$again], 10_000, @_) });
            return $result->{topics}[0]{error_code};
        };
        is $delete->(), 0, 'deleted';
        # The name is free again when the broker has none of it any more; and the client that misses it may be faster, as
        # brokers create what somebody asks for.
        my $created;
        until ($created) {
            my ($answer) = await('create_topics', sub {
                $conn->create_topics([{ name => $again, num_partitions => $PARTITIONS }], 10_000, @_);
            });
            $created = !$answer->{topics}[0]{error_code};
            $delete->() unless $created;
        }
        %got = ();
        fill($brokers, $again, 100, 159);
        until_true('what the new one has', sub { 60 == grep { $_ >= 100 } keys %got });
        is scalar(grep { $_ >= 100 } keys %got), 60, 'is read from its beginning';
        is scalar(grep { /code [^3]/ } @errors), 0, 'and nothing but its absence was reported' or diag "@errors";
        $kafka->close;
    };
}

done_testing;
