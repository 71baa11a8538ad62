use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use Inside;
use ScriptedBroker;
use TestKafka qw(wait_until connected errors log_values);

# What brokers say of themselves when a connection is made: their features (KIP-584), to a client that
# introduces itself (KIP-511), and how those are asked that know none of this.

subtest 'a client knows what the brokers have agreed on' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    is_deeply [map { Inside::feature($kafka, $_) } qw(group.version no.such.feature)], [1, 0], 'levels';
    my $features = $kafka->{cfg}{bootstrap_conn}->features;
    is_deeply [$features->{finalized}{'group.version'}, $features->{supported}{'group.version'}], [1, [0, 1]],
        'as the connection has heard it';
    cmp_ok $features->{epoch}, '>=', 0, 'of an epoch';
    is $mock->request_count('ApiVersions'), 1, 'asked once';
};

subtest 'a change is heard of with the next connection' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    is $mock->feature('group.version', 0), 1, 'the level before';
    is Inside::feature($kafka, 'group.version'), 1, 'an old connection hears nothing';
    my $done;
    $kafka->produce(t => 'k', 'v', sub { $done = $_[1] // 'ok' });
    wait_until { $done } 'the delivery';
    is_deeply [$done, Inside::feature($kafka, 'group.version')], ['ok', 0], 'a new one does';
    is $mock->feature('group.version'), 0, 'as the mock says';
};

subtest 'a Conn by itself asks as it always did' => sub {
    my $mock = EV::Kafka::Mock->new;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    is $conn->features, undef, 'nothing is known before';
    my $ready;
    $conn->on_connect(sub { $ready = 1 });
    my ($broker) = $mock->brokers;
    $conn->connect($broker->{host}, $broker->{port});
    wait_until { $ready } 'the connection';
    is $conn->features, undef, 'nor after';
    ok $conn->api_versions->{3}, 'but what it speaks';
};

for my $newest (undef, 0, 2, 3) {
    my $name = defined $newest ? "that knows ApiVersions $newest" : 'that answers every version as version 0';
    subtest "a broker $name" => sub {
        my ($mock, $scripted);
        if (defined $newest) {
            $mock = EV::Kafka::Mock->new(api_versions => { ApiVersions => [0, $newest] });
        }
        else {
            $scripted = ScriptedBroker->new;
        }
        my $kafka = connected(brokers => $mock ? $mock->bootstrap : $scripted->address);
        is $mock ? $mock->connections : $scripted->{accepted}, 1, 'is asked on one connection';
        my $level = Inside::feature($kafka, 'group.version');
        is $level, ($newest // 0) >= 3 ? 1 : undef, 'features';
        my @asked = ($newest // 3) < 3 ? (4, 0) : $mock ? (4, 3) : 4;
        is $mock->request_count('ApiVersions'), scalar @asked, 'once more where that is needed' if $mock;
        is_deeply [map { "$_->{version} $_->{client_id}" } @{ $scripted->{handshakes} }], ['4 ev-kafka'], 'once' if $scripted;
        is_deeply [errors($kafka)], [], 'without an error';
    };
}

# The cluster has moved to where the first bootstrap address leads; at its old address there is another one.
for my $case (['a broker', {}], ['the one asked for metadata', { metadata_refresh => 0.2 }]) {
    my ($what, $options) = @$case;
    subtest "another cluster at the address of $what" => sub {
        my $later = EV::Kafka::Mock->new;
        my ($first) = map { $_->{port} } $later->brokers;
        $later->close;
        my $mock = EV::Kafka::Mock->new(cluster_id => 'mine');
        my ($port) = map { $_->{port} } $mock->brokers;
        my @told;
        my $kafka = connected(brokers => "127.0.0.1:$first,127.0.0.1:$port", on_notice => sub { push @told, $_[0] },
            on_error => sub { push @told, $_[0] }, %$options);
        $mock->close;
        my $other = EV::Kafka::Mock->new(cluster_id => 'other', port => $port);
        my $moved = EV::Kafka::Mock->new(cluster_id => 'mine', port => $first, partitions => 1);
        my $result;
        $kafka->produce(t => 'k', 'v', sub { $result = $_[1] // 'ok' });
        wait_until { $result } 'the delivery';
        is $result, 'ok', 'the cluster is found again';
        is_deeply log_values($moved, 't'), ['v'], 'and gets the record';
        is $other->request_count('Produce'), 0, 'the other one gets nothing';
        like join("\n", @told), qr/ApiVersions error: 129: another broker or cluster answers at this address/, 'it is said';
    };
}

subtest 'members of the consumer protocol where it is switched off' => sub {
    for my $case ([0, qr/UNSUPPORTED_VERSION.*needs the cluster's feature group\.version at level 1/],
        [1, qr/UNSUPPORTED_VERSION.*; the brokers' settings do not have it/]) {
        my ($level, $text) = @$case;
        my $mock = EV::Kafka::Mock->new;
        $mock->feature('group.version', $level);
        $mock->fault(api => 'ConsumerGroupHeartbeat', error => 35) if $level;
        my $member = member($mock, group_protocol => 'consumer');
        wait_until { errors($member->{kafka}) } 'the refusal';
        like join("\n", errors($member->{kafka})), qr/\Agroup 'g': ConsumerGroupHeartbeat: .*$text/, "group.version $level";
    }
};

done_testing;
