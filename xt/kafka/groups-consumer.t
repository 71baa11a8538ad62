use v5.14;
use warnings;

use lib 'xt/lib';

use List::Util qw(sum0);
use Test::More;

use RealGroups;
use RealKafka;

# Groups by the consumer protocol (KIP-848) on real Apache Kafka, alone and beside
# the Java console consumer. By default their timeouts are the broker's, and long.

my $version = $KafkaCluster::NEWEST;
my $cluster = cluster(version => $version, set => {
    'group.consumer.heartbeat.interval.ms'     => 300,
    'group.consumer.min.heartbeat.interval.ms' => 300,
    'group.consumer.session.timeout.ms'        => SESSION_MS,
    'group.consumer.min.session.timeout.ms'    => SESSION_MS,
});
my $brokers  = group_brokers($cluster->bootstrap);
my %CONSUMER = (group_protocol => 'consumer');

for my $assignor (qw(uniform range)) {
    subtest "members come and go, with the assignor $assignor" => sub {
        my $topic = create_topic($brokers, "k848-$assignor", 6);
        my ($one) = members_come_and_go($topic, "$topic-g", %CONSUMER, group_remote_assignor => $assignor);
        my $times = times_seen($one);
        is_deeply [grep { $times->{$_} > 1 } keys %$times], [], 'nothing was delivered to one member twice';
        like +($one->lines(qr/^revoke/))[0], qr/^revoke(?: \S+){3}$/, 'and only what moved was revoked';
    };
}

subtest 'the offsets that Kafka shows are those a restarted member continues from' => sub {
    my $topic = create_topic($brokers, 'k848-offsets', 3);
    fill($topic, 1, 200);
    my $one = member(one => $topic, "$topic-g", { %CONSUMER, auto_commit => 0 });
    wait_until('all records', sub { @{ $one->{records} } == 200 }, $one);
    $one->tell('commit');
    wait_until('the commit', sub { $one->lines(qr/^committed/) }, $one);
    is_deeply [$one->lines(qr/^committed/)], ['committed ok'], 'committed';
    fill($topic, 201, 300);
    wait_until('more records', sub { @{ $one->{records} } == 300 }, $one);
    leave($one);
    my $shown = described($version, "$topic-g");
    is sum0(values %$shown), 200, 'what was delivered before the commit';
    my $again = member(again => $topic, "$topic-g", \%CONSUMER);
    wait_until('the rest', sub { @{ $again->{records} } >= 100 }, $again);
    is_deeply $again->{owns}, $shown, 'a restarted member is assigned them';
    continues_from($shown, $again);
    is_deeply [sort map { $_->[2] } @{ $again->{records} }], [map { "v$_" } 201 .. 300], 'with what came since, once';
    leave($again);
};

subtest 'static members' => sub {
    my $topic = create_topic($brokers, 'k848-static', 4);
    my ($one, $two) = map { member($_ => $topic, "$topic-g", { %CONSUMER, group_instance_id => $_ }) } qw(one two);
    is_spread(4, [2, 2], $one, $two);
    my @owned   = $two->owns;
    my $revokes = () = $one->lines(qr/^revoke/);
    my $double  = member(double => $topic, "$topic-g", { %CONSUMER, group_instance_id => 'two' });
    wait_until('the refusal', sub { $double->lines(qr/^error/) }, $double);
    like +($double->lines(qr/^error/))[0], qr/UNRELEASED_INSTANCE_ID/, 'a second one of the same name is refused';
    leave($two);
    my $again = member(again => $topic, "$topic-g", { %CONSUMER, group_instance_id => 'two' });
    wait_until('its return', sub { $again->owns }, $again);
    is_deeply [$again->owns], \@owned, 'one that comes back gets the same partitions';
    is scalar(() = $one->lines(qr/^revoke/)), $revokes, 'and disturbs nobody';
};

subtest 'a member that hangs is missed, and comes back' => sub {
    my $topic = create_topic($brokers, 'k848-hang', 4);
    members_hang($topic, "$topic-g", %CONSUMER);
};

subtest 'a topic grows, and one appears' => sub {
    my $topic = create_topic($brokers, 'k848-grows', 1);
    my $later = "k848-later-$$";
    my $one   = member(one => [$topic, $later], "$topic-g", \%CONSUMER);
    wait_until('the first partition', sub { grep { /^\Q$topic\E:0$/ } $one->owns }, $one);
    is system(KafkaCluster::java_command($version, 'org.apache.kafka.tools.TopicCommand',
        '--bootstrap-server', $brokers, '--alter', '--topic', $topic, '--partitions', 3)), 0, 'the topic grows';
    is create_topic($brokers, 'k848-later', 1), $later, 'and the other one appears';
    wait_until('three partitions of the one, and the other', sub {
        3 == (grep { /^\Q$topic\E:/ } $one->owns) && grep { /^\Q$later\E:/ } $one->owns;
    }, $one);
    pass 'what is new has been assigned';
    leave($one);
};

subtest 'with the Java console consumer' => sub {
    my $topic = create_topic($brokers, 'k848-mixed', 6);
    my $ours  = member(ours => $topic, "$topic-g", \%CONSUMER);
    is_spread(6, [6], $ours);
    my $java = GroupMember->run('java', KafkaCluster::java_command($version,
        'org.apache.kafka.tools.consumer.ConsoleConsumer', '--bootstrap-server', $brokers, '--topic', $topic,
        '--group', "$topic-g", '--from-beginning', '--consumer-property', 'group.protocol=consumer'));
    wait_until('three partitions to be left to us', sub { $ours->owns == 3 }, $ours, $java);
    my $rounds = 0;
    wait_until('records to each', sub {
        fill($topic, $rounds + 1, ($rounds += 20)) if $rounds < 400;
        @{ $ours->{records} } && count($java);
    }, $ours, $java);
    pass 'they share the partitions, and each gets records';
    $java->kill('TERM');
    wait_until('Java to leave', sub { $ours->owns == 6 }, $ours);
    wait_until('all records', sub {
        my %seen = map { $_ => 1 } (map { $_->[2] } @{ $ours->{records} }), @{ $java->{lines} };
        !grep { !$seen{"v$_"} } 1 .. $rounds;
    }, $ours);
    pass "none of $rounds records was skipped";
    leave($ours);
};

done_testing;
