use v5.14;
use warnings;

use lib 'xt/lib', 'script/lib';

use File::Basename qw(dirname);
use JSON::PP qw(encode_json);
use Test::More;

use GroupMember qw(wait_until);
use KafkaJars;
use RealKafka;

# Share groups (KIP-932) on real Apache Kafka, alone and beside the Java console share consumer. EV_KAFKA_SHARE names the versions,
# EV_KAFKA_SHARE_ROUNDS how often members are killed.

my @versions = split ' ', $ENV{EV_KAFKA_SHARE} // $KafkaCluster::NEWEST;
my $rounds   = $ENV{EV_KAFKA_SHARE_ROUNDS} // 2;

for my $version (@versions) {
    subtest "Kafka $version" => sub {
        my $cluster = cluster(version => $version, set => { 'group.share.heartbeat.interval.ms' => 1000, 'group.share.min.heartbeat.interval.ms' => 500 });
        with_brokers($version, $cluster);
    };
}

sub with_brokers {
    my ($version, $cluster) = @_;
    my $brokers = $cluster->bootstrap;
    my $admin   = connected_client(brokers => $brokers);

    # A topic with so many records, and a group that begins with the first of them.
    my $prepared = sub {
        my ($name, $partitions, $count) = @_;
        my $topic = create_topic($brokers, "share-$name", $partitions);
        my ($set, $error) = await('the setting', sub {
            $admin->alter_configs([{ resource_type => 'group', resource_name => "$topic-g", set => { 'share.auto.offset.reset' => 'earliest' } }], @_);
        });
        is $set->{resources}[0]{error_code}, 0, 'the group begins with the first record' or diag explain $set, $error;
        fill($brokers, $topic, 1, $count);
        return $topic;
    };
    my $member = sub {
        my ($name, $topic, %more) = @_;
        return GroupMember->run($name, $^X, (map {"-I$_"} @INC), dirname(__FILE__) . '/../lib/share-member.pl',
            map { encode_json($_) } [$brokers], [$topic], { group_id => "$topic-g", %{ $more{options} || {} } }, $more{behaviour} || {});
    };
    # Until the group has nothing left of the topic's partitions.
    my $await_settled = sub {
        my ($topic, $partitions, @members) = @_;
        my ($settled, $asked);
        wait_until("all of $topic to be settled", sub {
            return 1 if $settled;
            return 0 if $asked++;
            $admin->describe_share_groups(["$topic-g"], { offsets => 1 }, sub {
                my ($result) = @_;
                my @known = map { @{ $_->{partitions} } } @{ ($result || {})->{groups}[0]{topics} || [] };
                ($settled, $asked) = (@known == $partitions && !grep({ ($_->{lag} // -1) != 0 } @known), 0);
            });
            return 0;
        }, @members);
        return pass "all of $topic is settled";
    };

    for my $explicit (0, 1) {
        subtest 'a member alone' . ($explicit ? ', which says what becomes of each record' : '') => sub {
            my $topic = $prepared->("alone$explicit", 3, 100);
            my $one   = $member->(one => $topic, options => { explicit => $explicit, max_records => 20 });
            $await_settled->($topic, 3, $one);
            is_deeply deliveries($one), expected(1, 100, $explicit), 'released and died of: again; rejected: once';
            $one->tell('leave');
            wait_until('its end', sub { $one->{gone} }, $one);
            is_deeply [$one->lines(qr/^(?:left|error|warning|notice)/)], ['left'], 'left in peace';
            is_deeply [grep { !/ ok$/ } $one->lines(qr/^acknowledged/)], [], 'all was acknowledged';
        };
    }

    subtest 'beside the Java console share consumer' => sub {
        my $topic = $prepared->('java', 4, 400);
        my $java  = GroupMember->run(java => KafkaJars::java_command($version, 'ConsoleShareConsumer',
            '--bootstrap-server', $brokers, '--topic', $topic, '--group', "$topic-g", '--formatter-property', 'print.value=true'));
        my $of_java = sub { return map { /(v\d+)/ ? $1 : () } $java->lines(qr/\bv\d+$/) };
        wait_until('Java to get its share', sub { $of_java->() }, $java);
        my $one = $member->(one => $topic, options => { max_records => 10 });
        wait_until('ours to be there, too', sub { $one->owns }, $one);
        fill($brokers, $topic, 401, 1000);
        my $all = sub { my $times = times_seen($one); $times->{$_}++ for $of_java->(); return keys %$times };
        wait_until('all records', sub { $all->() == 1000 }, $one, $java);
        cmp_ok scalar(keys %{ times_seen($one) }), '>', 0, 'both had some';
        is_deeply [$one->lines(qr/^(?:error|warning|notice)/)], [], 'without an error';
        $java->kill('TERM');
        wait_until('Java to end', sub { $java->{gone} }, $java);
        $one->tell('leave');
        wait_until('its end', sub { $one->{gone} }, $one);
    };

    subtest 'members killed with records in hand' => sub {
        my $topic = $prepared->('killed', 3, 300);
        my @killed;
        for my $round (1 .. $rounds) {
            my $holder = $member->("holder$round" => $topic, behaviour => { holds => 1 }, options => { explicit => 1, max_records => 30, max_in_hand => 60 });
            wait_until('records in hand', sub { @{ $holder->{records} } >= 30 }, $holder);
            $holder->kill('KILL');
            push @killed, $holder;
        }
        my $one = $member->(one => $topic);
        wait_until('all records', sub { keys %{ times_seen($one) } == 300 }, $one);
        $await_settled->($topic, 3, $one);
        pass 'none is lost';
        $one->tell('close');
        wait_until('its end', sub { $one->{gone} }, $one);
    };

    subtest 'a broker that is started again' => sub {
        my $topic = $prepared->('restart', 2, 100);
        my $one = $member->(one => $topic);
        wait_until('the first records', sub { keys %{ times_seen($one) } == 100 }, $one);
        $cluster->kill_node(1);
        $cluster->restart_node(1);
        fill($brokers, $topic, 101, 200);
        wait_until('the others', sub { keys %{ times_seen($one) } == 200 }, $one);
        $await_settled->($topic, 2, $one);
        $one->tell('leave');
        wait_until('its end', sub { $one->{gone} }, $one);
    };
    return;
}

sub fill {
    my ($brokers, $topic, $from, $to) = @_;
    return kcat_produce(['-b', $brokers, '-t', $topic, '-K', ':'], join '', map {"k$_:v$_\n"} $from .. $to);
}

# How often each value came.
sub times_seen {
    my ($member) = @_;
    my %times;
    $times{ (split ' ', $_->[2])[0] }++ for @{ $member->{records} };
    return \%times;
}

# "value count" => what was done.
sub deliveries {
    my ($member) = @_;
    my %done;
    for my $record (@{ $member->{records} }) {
        my ($value, $count, $done) = split ' ', $record->[2];
        $done{"$value $count"} = $done;
    }
    return \%done;
}

# Who says himself what becomes of a record does not die of any.
sub expected {
    my ($from, $to, $explicit) = @_;
    my %done;
    for my $number ($from .. $to) {
        my $first = $number =~ /7\z/ ? 'release' : $number =~ /3\z/ ? 'reject' : $number =~ /5\z/ && !$explicit ? 'die' : 'accept';
        $done{"v$number 1"} = $first;
        $done{"v$number 2"} = 'accept' if $first eq 'release' || $first eq 'die';
    }
    return \%done;
}

done_testing;
