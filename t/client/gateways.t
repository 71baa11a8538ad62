use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use ScriptedBroker;
use TestKafka qw(wait_until turns connected errors notices);

# What speaks some of Kafka: gateways and proxies, which are not asked for what they do not list, and brokers
# that stand in for real ones in tests of programs, which are. The latter list neither DescribeGroups nor ListGroups.

use constant { OFFSET_COMMIT => 8, HEARTBEAT => 12, DESCRIBE_GROUPS => 15, LIST_GROUPS => 16 };

sub conn_to {
    my ($port) = @_;
    my ($conn, $ready, @said) = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->on_connect(sub { $ready = 1 });
    $conn->on_error(sub { push @said, @_ });
    $conn->connect('127.0.0.1', $port);
    wait_until { $ready } 'the connection';
    return ($conn, \@said);
}

# OffsetCommit 2 up to its topics, of which there is one.
sub committed_head {
    my ($retention) = @_;
    return pack('n/a* N n/a*', 'g', 3, 'm') . $retention . pack 'N n/a*', 1, 't';
}

for my $case (
    ['a stand-in',                         {}, ''],
    ['a gateway that describes groups',    { DESCRIBE_GROUPS() => [0, 0] }, pack 'q>', -1],
    ['a gateway that lists groups',        { LIST_GROUPS() => [0, 0] }, pack 'q>', -1],
    ['a gateway that advertises anything', { DESCRIBE_GROUPS() => [0, 0], LIST_GROUPS() => [0, 0], 77 => [0, 3] }, pack 'q>', -1],
) {
    my ($name, $listed, $retention) = @$case;
    subtest "$name reads OffsetCommit 2 as it is meant there" => sub {
        my $broker = ScriptedBroker->new(
            api_versions => { OFFSET_COMMIT() => [2, 2], %$listed },
            on_request   => sub { return pack 'N n/a* N N n', 1, 't', 1, 0, 0 },
        );
        my ($conn) = conn_to($broker->{port});
        my @result;
        $conn->offset_commit('g', 3, 'm', [{ topic => 't', partitions => [{ partition => 0, offset => 7 }] }], sub { @result = @_ });
        wait_until { @result } 'the answer';
        is_deeply [($result[0] || {})->{topics}, $result[1]], [[{ topic => 't', partitions => [{ partition => 0, error_code => 0 }] }], undef], 'is answered';
        my ($request) = $broker->requests(OFFSET_COMMIT);
        is unpack('H*', substr $request->{body}, 0, length committed_head($retention)), unpack('H*', committed_head($retention)), 'its layout';
    };

    subtest "$name and what it does not advertise" => sub {
        my $broker = ScriptedBroker->new(api_versions => $listed, on_request => sub { return pack 'n', 0 });
        my ($conn, $said) = conn_to($broker->{port});
        my @result;
        $conn->heartbeat('g', 1, 'm', sub { @result = @_ });
        wait_until { @result } 'the outcome';
        my @expected = %$listed ? (undef, 'the broker does not offer Heartbeat') : (0, undef);
        is_deeply [($result[0] || {})->{error_code}, $result[1]], \@expected, 'the callback';
        is scalar(() = $broker->requests(HEARTBEAT)), %$listed ? 0 : 1, 'requests';
        ok $conn->connected, 'the connection stays';
        is_deeply $said, [], 'and has no error';
    };
}

# What a client asks for, and what it says of a broker that does not offer that.
sub gateway {
    my ($without) = @_;
    my $mock = filled(1, 2);
    $mock->api_versions($_ => 0, 5) for qw(DescribeGroups ListGroups);
    $mock->api_versions($without => undef);
    return $mock;
}

my %asks = (
    Produce => sub {
        my ($kafka, $told) = @_;
        $kafka->produce(t => 'k', 'v', { partition => 0 }, sub { $told->($_[1]) });
    },
    Fetch => sub {
        my ($kafka, $told) = @_;
        $kafka->assign([{ topic => 't', partition => 0, offset => 0 }]);
        $kafka->poll(sub { $told->($_[0]) });
    },
    ListOffsets => sub {
        my ($kafka, $told) = @_;
        $kafka->offsets_for_times({ 't:0' => 1 }, sub { $told->($_[1]) });
    },
    FindCoordinator => sub { my ($kafka) = @_; $kafka->subscribe('t', group_id => 'g') },
    JoinGroup       => sub { my ($kafka) = @_; $kafka->subscribe('t', group_id => 'g') },
    SyncGroup       => sub { my ($kafka) = @_; $kafka->subscribe('t', group_id => 'g') },
    OffsetFetch     => sub { my ($kafka) = @_; $kafka->subscribe('t', group_id => 'g') },
    CreateTopics    => sub { my ($kafka, $told) = @_; $kafka->create_topics([{ name => 'new' }], sub { $told->($_[1]) }) },
    DeleteTopics    => sub { my ($kafka, $told) = @_; $kafka->delete_topics(['t'], sub { $told->($_[1]) }) },
);

for my $api (sort keys %asks) {
    subtest "a client, and a gateway without $api" => sub {
        my $mock  = gateway($api);
        my $kafka = connected(brokers => $mock->bootstrap, delivery_timeout => 1, on_message => sub { });
        my @told;
        $asks{$api}->($kafka, sub { push @told, grep { defined } @_ });
        wait_until { @told || errors($kafka) || notices($kafka) } 'an error';
        like join("\n", @told, errors($kafka), notices($kafka)), qr/(?:broker 0|the broker) does not offer $api/, 'is said';
        is $mock->request_count($api), 0, 'nothing was asked';
        unlike join("\n", errors($kafka)), qr/lost/, 'and no connection is lost';
        $kafka->close;
    };
}

subtest 'a broker that answers acks 0' => sub {
    my $broker;
    $broker = ScriptedBroker->new(on_request => sub {
        my ($self, $connection, $request) = @_;
        return $request->{api} eq 'Produce' ? ScriptedBroker::produce_answer($request, 0, 0) : undef;
    });
    my $kafka = connected(brokers => $broker->address, acks => 0);
    for my $count (1 .. 3) {
        $kafka->produce(t => 'k', "v$count");
        wait_until { $broker->requests('Produce') == $count } 'the message';
    }
    turns(50);
    my $accepted = $broker->{accepted};
    $kafka->produce(t => 'k', 'last');
    wait_until { $broker->requests('Produce') == 4 } 'another one';
    is $broker->{accepted}, $accepted, 'no connection was lost';
    is_deeply [errors($kafka)], [], 'without an error';
};

done_testing;
