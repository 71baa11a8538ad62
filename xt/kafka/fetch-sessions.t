use v5.14;
use warnings;

# Fetch sessions (KIP-227) with brokers: what answers have when little happens, a broker that was started anew, a
# topic that was deleted and created.

use EV;
use lib 'xt/lib';
use RealKafka;
use Test::More;

my $PARTITIONS = 100;

# How many partitions each answer has had.
my @given;
{
    no warnings 'redefine';
    my $partitions = \&EV::Kafka::Fetched::partitions;
    *EV::Kafka::Fetched::partitions = sub { my @answer = $partitions->(@_); push @given, scalar @answer; return @answer };
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    subtest "Kafka $version" => sub {
        my $cluster = cluster(version => $version);
        my ($node)  = $cluster->nodes;
        my $topic   = create_topic($cluster->address($node), 'fetch-sessions', $PARTITIONS);
        my @received;
        my $consumer = connected_client(brokers => $cluster->bootstrap, fetch_max_wait_ms => 100, on_error => sub { },
            on_notice => sub { }, on_message => sub { push @received, "$_[1]:$_[4]" });
        my $producer = connected_client(brokers => $cluster->bootstrap, linger_ms => 0, on_error => sub { }, on_notice => sub { });
        my $write = sub {
            my ($partition, $value) = @_;
            my $error;
            do { (undef, $error) = await('produce', sub { $producer->produce($topic, undef, $value, { partition => $partition }, @_) }) }
                while defined $error;
        };
        my $until = sub {
            my ($what, $condition) = @_;
            my $end = time + 60;
            until ($condition->()) {
                die "never: $what\n" if time > $end;
                my $turn;
                await($what, sub { my ($done) = @_; $turn = EV::timer 0.05, 0, $done });
            }
        };

        # Each leader knows by then that it is one.
        $write->($_, 'first') for 0 .. $PARTITIONS - 1;
        @given = ();
        $consumer->assign([map { { topic => $topic, partition => $_, offset => 1 } } 0 .. $PARTITIONS - 1]);
        $consumer->consume;
        $until->('answers', sub { @given >= 6 });
        is $given[0], $PARTITIONS, 'the first answer has all partitions';
        is_deeply [@given[2 .. 5]], [(0) x 4], 'the next ones nothing, since there is none';

        @given = ();
        for my $value (1 .. 10) {
            $write->($_, $value) for 3, 77;
        }
        $until->('records', sub { @received >= 20 });
        is_deeply [grep { /^3:/ } @received],  [map {"3:$_"} 1 .. 10],  'all records of one partition, in order';
        is_deeply [grep { /^77:/ } @received], [map {"77:$_"} 1 .. 10], 'all of another';
        is_deeply [grep { $_ > 2 } @given], [], 'answers have what is new';

        @received = ();
        $cluster->restart_node($node);
        $write->($_, 'again') for 5, 6;
        $until->('records of the broker that was started anew', sub { @received >= 2 });
        is_deeply [sort @received], ['5:again', '6:again'], 'a broker that was started anew is asked for everything';

        @received = ();
        my $conn = connected_conn($cluster->address($node));
        await('delete', sub { $conn->delete_topics([$topic], 30_000, @_) });
        my $created;
        $until->('the topic anew', sub {
            await('create', sub {
                my ($done) = @_;
                $conn->create_topics([{ name => $topic, num_partitions => $PARTITIONS, replication_factor => 1 }], 30_000,
                    sub { $created = $_[0] && !$_[0]{topics}[0]{error_code}; $done->() });
            });
            return $created;
        });
        $write->(9, 'anew');
        $until->('a record of the topic that was created anew', sub { grep { $_ eq '9:anew' } @received });
        is_deeply \@received, ['9:anew'], 'a topic that was created anew is read from its beginning';
        $conn->disconnect;
        $_->close for $consumer, $producer;
    };
}

done_testing;
