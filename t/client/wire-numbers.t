# Numbers that a broker says and that would be sizes, ports or times: those that cannot
# be meant do no harm.
use v5.14;
use warnings;

use lib 't/lib';

use Test::More;

use EV::Kafka;
use GroupTest qw(filled member joined owned);
use Inside;
use Memory;
use ScriptedBroker;
use TestKafka qw(wait_until turns warnings_of client connected errors);

@ScriptedBroker::API{ 10, 11, 22 } = qw(FindCoordinator JoinGroup InitProducerId);

sub string { pack 'n/a*', $_[0] }

# A broker that speaks FindCoordinator, JoinGroup and InitProducerId, too, at version 0;
# the first at another where a test says so.
our $FIND_COORDINATOR = 0;
{
    no warnings 'redefine';
    my $plain = \&ScriptedBroker::api_versions;
    *ScriptedBroker::api_versions = sub {
        my ($count, $ranges) = unpack 'x2 N a*', $plain->();
        return pack 'n N a* n9', 0, $count + 3, $ranges, 10, ($FIND_COORDINATOR) x 2, map { ($_, 0, 0) } 11, 22;
    };
}

# Metadata of topic t whose only partition has this number.
sub metadata_with_partition {
    my ($self, $number) = @_;
    return pack('N N a* N n', 1, 0, string('127.0.0.1'), $self->{port}, 0xffff)
        . pack('N N n a* C N', 0, 1, 0, string('t'), 0, 1) . pack('n N N N N', 0, $number, 0, 0, 0);
}

subtest 'the number of a partition says nothing about how many there are' => sub {
    my $number = 16;
    my $broker = ScriptedBroker->new(on_request => sub {
        my ($self, undef, $request) = @_;
        return $request->{api} eq 'Metadata' ? metadata_with_partition($self, $number) : undef;
    });
    my $kafka = connected(brokers => $broker->address);
    is scalar @{ Inside::routes($kafka, 't') }, 17, 'some that are not listed may be there';
    for ($number = 17, 1_048_575, 2**31 - 1) {
        my $before = unseen() ? undef : resident();
        my @got;
        $kafka->offsets_for('t', sub { @got = @_ });
        Inside::refresh($kafka);
        my $asked = $broker->requests('Metadata');
        wait_until { $broker->requests('Metadata') > $asked } 'metadata';
        wait_until { !Inside::is_refreshing($kafka) } 'the answer';
        cmp_ok scalar @{ Inside::routes($kafka, 't') }, '<=', 17, "partition $_ alone does not make that many";
        cmp_ok resident() - $before, '<', 8 << 20, 'nor that much memory' if defined $before;
    }
    is_deeply [errors($kafka)], [], 'no errors';
    $kafka->close;
};

subtest 'the port of a coordinator' => sub {
    for my $port (70_000, -1, 1 << 31) {
        my $broker = ScriptedBroker->new(on_request => sub {
            my (undef, undef, $request) = @_;
            return $request->{api} eq 'FindCoordinator' ? pack 'n N a* N', 0, 7, string('127.0.0.1'), $port & 0xffffffff : undef;
        });
        my $kafka    = connected(brokers => $broker->address);
        my @warnings = warnings_of {
            $kafka->subscribe('t', group_id => 'g');
            wait_until { errors($kafka) } 'an error';
        };
        like +(errors($kafka))[0], qr/\Agroup 'g': .*FindCoordinator: broker 7 at 127\.0\.0\.1 has no port -?[0-9]+\z/, "$port: is an error";
        is_deeply \@warnings, [], 'and no warning';
        is $kafka->{cfg}{group}{state}, 'stopped', 'the member stops';
        $kafka->close;
    }
};

subtest 'the port of a broker' => sub {
    my $broker = ScriptedBroker->new;
    push @{ $broker->{peers} }, { node_id => 5, port => 70_000 };
    my @notices;
    my $kafka = connected(brokers => $broker->address, on_notice => sub { push @notices, [@_] });
    Inside::refresh($kafka) for 1 .. 2;
    wait_until { $broker->requests('Metadata') > 1 } 'metadata again';
    turns;
    is_deeply \@notices, [['broker 5 cannot be reached: metadata name port 70000 of 127.0.0.1', { broker => 5 }]], 'is told once';
    is_deeply [keys %{ $kafka->{cfg}{broker_map} }], [0], 'the others are there';
    $kafka->close;
};

subtest 'a producer id that is none' => sub {
    for my $answer ([-1, 0], [7, -1], [-(1 << 62), 0]) {
        my ($id, $epoch) = @$answer;
        my $broker = ScriptedBroker->new(on_request => sub {
            my (undef, undef, $request) = @_;
            return $request->{api} eq 'InitProducerId' ? pack 'N n q> n', 0, 0, $id, $epoch & 0xffff : undef;
        });
        my $kafka = client(brokers => $broker->address, idempotent => 1);
        my (@connected, @produced);
        $kafka->connect(sub { @connected = @_ });
        $kafka->produce('t', 'k', 'v', sub { @produced = @_ });
        wait_until { @connected && @produced } 'an outcome';
        my $text = "InitProducerId: the broker gave producer id $id, epoch $epoch";
        is $connected[1], $text, "$id, $epoch: connect hears of it";
        is $produced[1], "idempotent producer unavailable: $text", 'and so does who produces';
        is_deeply [errors($kafka)], [$text], 'and on_error';
        $kafka->close;
    }
};

subtest 'a producer id that is none for a transactional producer' => sub {
    local $FIND_COORDINATOR = 1;    # the first that knows transactional ids
    my $broker = ScriptedBroker->new(on_request => sub {
        my ($self, undef, $request) = @_;
        return pack 'N n n N a* N', 0, 0, 0xffff, 0, string('127.0.0.1'), $self->{port} if $request->{api} eq 'FindCoordinator';
        return $request->{api} eq 'InitProducerId' ? pack 'N n q> n', 0, 0, -1, 0 : undef;
    });
    my $kafka = client(brokers => $broker->address, transactional_id => 'x');
    my (@connected, @produced);
    $kafka->connect(sub { @connected = @_ });
    $kafka->produce('t', 'k', 'v', sub { @produced = @_ });
    wait_until { @connected && @produced } 'an outcome';
    my $text = 'InitProducerId: the broker gave producer id -1, epoch 0';
    is $connected[1], $text, 'connect hears of it';
    is $produced[1], "idempotent producer unavailable: $text", 'and so does who produces';
    is_deeply [errors($kafka)], [$text], 'and on_error';
    $kafka->close;
};

subtest 'the interval of heartbeats' => sub {
    for my $ms (1, 2**31 - 1) {
        my $mock   = filled(1, 3, consumer_heartbeat_interval_ms => $ms);
        my $member = joined(member($mock, group_protocol => 'consumer'));
        wait_until { owned($member) && @{ $member->{got} } == 3 } 'the records';
        my $interval = Inside::heartbeat_interval($member->{kafka});
        cmp_ok $interval, ">=", 0.02, "$ms ms: there is time between heartbeats";
        cmp_ok $interval, '<=', 15, 'and not more than sessions last';
        is_deeply $member->{errors} // [], [], 'no errors';
    }
};

done_testing;
