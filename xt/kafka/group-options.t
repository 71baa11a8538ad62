use v5.14;
use warnings;

# What a member of a group can be told, by both group protocols, and offsets of a group that a client is no
# member of, with real brokers: beside Kafka's own kafka-consumer-groups.

use EV;
use EV::Kafka;
use lib 'xt/lib';
use KafkaTools;
use RealKafka;
use Test::More;

my $RECORDS = 5;

sub until_so {
    my ($what, $condition) = @_;
    my $timer;
    return await($what, sub { my ($done) = @_; $timer = EV::timer 0, 0.02, sub { $done->() if $condition->() } }, 60);
}

sub filled {
    my ($brokers, $name, $partitions) = @_;
    my $topic = create_topic($brokers, $name, $partitions);
    kcat_produce(['-b', $brokers, '-t', $topic, '-p', $_], join '', map { "v$_\n" } 1 .. $RECORDS) for 0 .. $partitions - 1;
    return $topic;
}

# A member that writes down what it gets and what it is told.
sub member {
    my ($brokers, $topic, $group, %option) = @_;
    my $member = { got => [], ends => [], notices => [] };
    $member->{kafka} = connected_client(
        brokers    => $brokers, fetch_max_wait_ms => 50,
        on_message => sub { push @{ $member->{got} }, "$_[1]\@$_[2]" },
        on_eof     => sub { push @{ $member->{ends} }, "$_[1]\@$_[2]" },
        on_notice  => sub { push @{ $member->{notices} }, [@_] },
        on_error   => sub { push @{ $member->{errors} }, @_ },
    );
    $member->{kafka}->subscribe($topic, group_id => $group, auto_offset_reset => 'earliest', %option);
    return $member;
}

sub owned { my ($member) = @_; return map { $_->{partition} } @{ $member->{kafka}->assignment } }

sub closed { my ($member) = @_; return await('close', sub { my ($done) = @_; $member->{kafka}->close(flush => 20, sub { $done->($_[0]) }) }) }

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;
    my $tools   = KafkaTools->start($version);
    my @to      = ('--bootstrap-server', $brokers);

    # "partition" => offset, as kafka-consumer-groups shows it.
    my $shown = sub {
        my ($group, $topic) = @_;
        return { map { my (undef, $name, $partition, $offset) = split ' '; ($name // '') eq $topic && $offset =~ /^\d+$/ ? ($partition => $offset) : () }
            split /\n/, $tools->run('kafka-consumer-groups', @to, '--describe', '--group', $group) };
    };

    # What waits is told of after some seconds; meanwhile the rest goes on.
    my $none    = "not-there-$$";
    my $waiting = member($brokers, $none, "notice-$version-$$", auto_commit => 0);

    subtest "Kafka $version: commit and committed without membership" => sub {
        my $topic = filled($brokers, 'outside', 3);
        my $group = { group_id => "$topic-g" };
        my $kafka = connected_client(brokers => $brokers, on_message => sub { });
        my @parts = map { { topic => $topic, partition => $_ } } 0 .. 2;
        my $commit    = sub { my (@what) = @_; return await('commit', sub { my ($done) = @_; $kafka->commit(@what, $group, sub { $done->($_[0]) }) }) };
        my $committed = sub { my ($offsets, $error) = await('committed', sub { $kafka->committed(\@parts, $group, @_) }); return $error // [map { $offsets->{"$topic:$_"} } 0 .. 2] };
        is_deeply $committed->(), [undef, undef, undef], 'nothing yet';
        is $commit->([{ %{ $parts[0] }, offset => 3, metadata => 'by hand' }, { %{ $parts[1] }, offset => 1 }]), undef, 'committed';
        is_deeply $shown->($group->{group_id}, $topic), { 0 => 3, 1 => 1 }, 'kafka-consumer-groups shows it';
        is_deeply $committed->(), [3, 1, undef], 'and so does committed';
        $tools->run('kafka-consumer-groups', @to, qw(--reset-offsets --execute --to-offset 4 --group), $group->{group_id}, '--topic', "$topic:2");
        is_deeply $committed->(), [3, 1, 4], 'what kafka-consumer-groups has set is read';
        $kafka->assign([map { { %$_, offset => 2 } } @parts[0, 1]]);
        $kafka->consume;
        until_so('all is read', sub { 2 == grep { ($kafka->position($topic, $_) // 0) == $RECORDS } 0, 1 });
        is $commit->(), undef, 'positions are committed';
        is_deeply $shown->($group->{group_id}, $topic), { 0 => 5, 1 => 5, 2 => 4 }, 'as kafka-consumer-groups shows';
        my $member = member($brokers, $topic, $group->{group_id}, auto_commit => 0);
        until_so('a member', sub { owned($member) == 3 });
        like $commit->([{ %{ $parts[0] }, offset => 0 }]), qr/^UNKNOWN_MEMBER_ID \(code 25\) for \Q$topic\E:0: the group has members, who commit themselves$/, 'members commit themselves';
        is_deeply $committed->(), [5, 5, 4], 'reading goes on';
        closed($member);
        $kafka->close;
    };

    for my $protocol ($version eq $KafkaCluster::OLDEST ? 'classic' : ('classic', 'consumer')) {
        my @protocol = (group_protocol => $protocol);

        subtest "Kafka $version, $protocol: auto_commit => 'done'" => sub {
            my $topic  = filled($brokers, "done-$protocol", 2);
            my $group  = "$topic-g";
            my @done   = (@protocol, auto_commit => 'done', auto_commit_interval => 0.1);
            my $member = member($brokers, $topic, $group, @done, max_in_progress => 4);
            my $kafka  = $member->{kafka};
            until_so('as many records as may be in progress', sub { @{ $member->{got} } == 8 });
            is $kafka->done($topic, 0, $_), 1, "record $_ is done" for 2, 0;
            until_so('one more for each', sub { @{ $member->{got} } == 9 });
            is_deeply [grep { /^0\@4/ } @{ $member->{got} }], ['0@4'], 'there was room for it';
            $kafka->done($topic, 1, $_) for 0 .. 3;
            until_so('the rest', sub { @{ $member->{got} } == 10 });
            $kafka->done($topic, 1, 4);
            until_so('the interval', sub { my $is = $shown->($group, $topic); ($is->{0} // 0) == 1 && ($is->{1} // 0) == 5 });
            pass 'kafka-consumer-groups shows what is done without a gap';
            is closed($member), undef, 'closed';
            is_deeply $shown->($group, $topic), { 0 => 1, 1 => 5 }, 'what is in progress is not committed';
            $member = member($brokers, $topic, $group, @done);
            until_so('what was not done', sub { @{ $member->{got} } == 4 });
            is_deeply $member->{got}, [map { "0\@$_" } 1 .. 4], 'comes again';
            closed($member);
        };

        subtest "Kafka $version, $protocol: on_revoke_async, and on_eof" => sub {
            my $topic = filled($brokers, "revoke-$protocol", 2);
            my $group = "$topic-g";
            my @asked;
            my $one = member($brokers, $topic, $group, @protocol, auto_commit => 'done', heartbeat_interval => 0.3, on_revoke_async => sub { push @asked, [@_] });
            until_so('both ends', sub { @{ $one->{ends} } == 2 });
            is_deeply [sort @{ $one->{ends} }], ['0@5', '1@5'], 'on_eof of each partition';
            is scalar @{ $one->{got} }, 2 * $RECORDS, 'behind its records';
            my $two = member($brokers, $topic, $group, @protocol, heartbeat_interval => 0.3);
            until_so('the question', sub { @asked });
            my ($partitions, $done) = @{ $asked[0] };
            my @gone = map { $_->{partition} } @$partitions;
            kcat_produce(['-b', $brokers, '-t', $topic, '-p', $_], "more\n") for @gone;
            my $timer;
            await('a second', sub { my ($over) = @_; $timer = EV::timer 1, 0, $over });
            is_deeply [[sort(owned($one))], [owned($two)]], [[0, 1], []], 'it is assigned until the program says so';
            is_deeply [grep { /\@5/ } @{ $one->{got} }], [], 'and nothing more is delivered of it';
            for my $partition (@gone) { $one->{kafka}->done($topic, $partition, $_) for 0 .. 2 }
            $done->();
            until_so('the end of the rebalance', sub { owned($one) == 1 && owned($two) == 1 });
            my ($moved) = owned($two);
            until_so('its records', sub { grep { $_ eq "$moved\@5" } @{ $two->{got} } });
            is_deeply $two->{got}, [map { "$moved\@$_" } 3 .. 5], 'the other one goes on at what was done by then';
            is scalar @asked, 1, 'it was asked once';
            is closed($two), undef, 'closed';
            $one->{kafka}->close;
        };
    }

    subtest "Kafka $version: on_notice" => sub {
        until_so('a notice', sub { @{ $waiting->{notices} } });
        my ($text, $about) = @{ $waiting->{notices}[0] };
        is $text, "group 'notice-$version-$$': topic '$none' is not known to the cluster; nothing of it can be assigned", 'a topic that is not there';
        is_deeply [$about->{group}, $waiting->{errors}], ["notice-$version-$$", undef], 'of which group, and no error';
        closed($waiting);
    };

    subtest "Kafka $version: group_protocol => 'consumer' where brokers have it off" => sub {
        my $member = member($brokers, $none, "protocol-$$", group_protocol => 'consumer');
        until_so('word of it', sub { $member->{errors} });
        like $member->{errors}[0], qr/^group 'protocol-$$': ConsumerGroupHeartbeat: UNSUPPORTED_VERSION \(code 35\); group_protocol => 'consumer' needs .*\bgroup\.coordinator\.rebalance\.protocols=classic,consumer\b/,
            'on_error is told, and what to do';
        closed($member);
    } if $version eq $KafkaCluster::OLDEST;
}

done_testing;
