use v5.14;
use warnings;

# Subscribing by patterns, beginning by time, racks, and groups that change from eager to cooperative rebalancing as
# Java's members do: on real brokers, beside Java's console consumer. KAFKA_LONG=1 does the change in the other order as
# well, and with the older version.

use EV;
use EV::Kafka;
use lib 'xt/lib';
use GroupMember;
use RealKafka;
use Test::More;

sub until_so {
    my ($what, $condition) = @_;
    my $timer;
    return await($what, sub { my ($done) = @_; $timer = EV::timer 0, 0.02, sub { $done->() if $condition->() } }, 60);
}

# A member that writes down what it gets: { kafka, got => { value => times }, errors }.
sub member {
    my ($brokers, $topics, $group, %option) = @_;
    my $member = { got => {}, errors => [], told => [] };
    my $client = delete $option{client} || {};
    $member->{kafka} = connected_client(
        brokers    => $brokers, fetch_max_wait_ms => 50, metadata_refresh => 0.5,
        on_message => sub { $member->{got}{ $_[4] }++ },
        on_error   => sub { push @{ $member->{errors} }, @_ },
        on_notice  => sub { },
        %$client,
    );
    $member->{kafka}->subscribe(@$topics, group_id => "$group-$$", heartbeat_interval => 0.3, on_assign => sub { push @{ $member->{told} }, @{ $_[0] } }, %option);
    return $member;
}

sub has { my ($member) = @_; my %topics = map { $_->{topic} => 1 } @{ $member->{kafka}->assignment }; return join ' ', sort keys %topics }

sub described {
    my ($member, $group) = @_;
    my $described = await('describing', sub { my ($done) = @_; $member->{kafka}->describe_groups(["$group-$$"], sub { $done->($_[0]) }) });
    return $described->{groups}[0];
}

sub closed { my ($member) = @_; return await('close', sub { my ($done) = @_; $member->{kafka}->close(flush => 20, sub { $done->($_[0]) }) }) }

sub java {
    my ($version, $brokers, $group, @arguments) = @_;
    return GroupMember->run('java', KafkaCluster::java_command($version, 'org.apache.kafka.tools.consumer.ConsoleConsumer',
        '--bootstrap-server', $brokers, '--group', "$group-$$", '--from-beginning',
        map { ref ? ('--consumer-property', join '=', @$_) : $_ } @arguments));
}

sub ended { my ($java) = @_; $java->kill('TERM'); return until_so('Java to leave', sub { $java->{gone} }) }

sub produce { my ($brokers, $topic, @values) = @_; return kcat_produce(['-b', $brokers, '-t', $topic], join '', map { "$_\n" } @values) }

my $brokers = shared_cluster($KafkaCluster::NEWEST)->bootstrap;

for my $case (
    ['classic, matched here', sub { ([qr/^$_[0]-(?:a|b|c)-/]) }],
    ['consumer, matched here', sub { ([qr/^$_[0]-(?:a|b|c)-/], group_protocol => 'consumer') }],
    ['consumer, matched by the broker', sub { ([], group_protocol => 'consumer', subscribe_pattern => "$_[0]-[abc]-.*") }],
) {
    my ($what, $how) = @$case;
    subtest $what => sub {
        my $name = 'pattern' . ($what =~ tr/a-z//cdr);
        my ($a, $b) = map { create_topic($brokers, $_, 2) } "$name-a", "$name-b";
        create_topic($brokers, "other-$name-a", 1);
        my ($topics, @option) = $how->($name);
        my $member = member($brokers, $topics, $name, @option);
        until_so('what there is', sub { has($member) eq "$a $b" });
        my $c = create_topic($brokers, "$name-c", 1);
        produce($brokers, $c, 'new');
        until_so('a new one, and its record', sub { $member->{got}{new} && has($member) eq "$a $b $c" });
        await('deleting', sub { $member->{kafka}->delete_topics([$a], @_) });
        until_so('what was deleted to go', sub { has($member) eq "$b $c" });
        is_deeply [has($member), $member->{errors}], ["$b $c", []], 'topics come and go, without an error';
        is closed($member), undef, 'leaving';
    };
}

subtest 'what the broker says of a pattern' => sub {
    my $member = member($brokers, [], 'refused', group_protocol => 'consumer', subscribe_pattern => 'a(');
    until_so('the error', sub { @{ $member->{errors} } });
    like $member->{errors}[0], qr/ConsumerGroupHeartbeat: INVALID_REGULAR_EXPRESSION \(code 128\)/, 'no regular expression';
    closed($member);

    my ($a, $b) = map { create_topic($brokers, $_, 1) } 'static-a', 'static-b';
    my @static = (group_protocol => 'consumer', group_instance_id => 'one');
    my $one = member($brokers, [], 'static', @static, subscribe_pattern => "static-[ab]-$$", client => { client_rack => 'east' });
    until_so('both', sub { has($one) eq "$a $b" });
    my $group = described($one, 'static');
    my ($known) = @{ $group->{members} };
    is_deeply [@$known{qw(rack_id subscribed_pattern)}], ['east', "static-[ab]-$$"], 'the coordinator knows pattern and rack' or diag explain $group;
    closed($one);
    my $again = member($brokers, [$b], 'static', @static);
    until_so('a static member without its pattern', sub { has($again) eq $b });
    pass 'has what it names';
    closed($again);
};

subtest 'beginning by time, or not by itself' => sub {
    my $topic = create_topic($brokers, 'by-time', 1);
    my $now   = time * 1000;
    my $kafka = connected_client(brokers => $brokers);
    await('producing', sub {
        my ($done) = @_;
        $kafka->produce($topic, undef, "$_ h", { partition => 0, timestamp => $now - $_ * 3600_000 }) for 5, 4, 3, 2, 1;
        $kafka->flush($done);
    });
    # All at once: a classic group waits some seconds for others to come.
    my (@members, @none);
    for my $protocol ('classic', 'consumer') {
        my @protocol = (group_protocol => $protocol);
        push @members, [$protocol, @$_, member($brokers, [$topic], "time-$protocol-$_->[1]", @protocol, auto_offset_reset => $_->[0])]
            for ['by_duration:PT2H30M' => 3], ['by_duration:P1D' => 0], ['by_duration:PT1M' => 5];
        push @none, [$protocol, member($brokers, [$topic], "none-$protocol", @protocol, auto_offset_reset => 'none')];
    }
    for my $case (@members) {
        my ($protocol, $reset, $offset, $member) = @$case;
        until_so('on_assign', sub { @{ $member->{told} } });
        is $member->{told}[0]{offset}, $offset, "$protocol, $reset";
        closed($member);
    }
    for my $case (@none) {
        my ($protocol, $none) = @$case;
        until_so('the error', sub { @{ $none->{errors} } });
        like $none->{errors}[0], qr/no offset of \Q$topic\E:0 is committed, and auto_offset_reset is 'none'/, "$protocol, none";
        $none->{kafka}->seek($topic, 0, 4);
        until_so('a record after a seek', sub { $none->{got}{'1 h'} });
        closed($none);
    }
    await('deleting records', sub { $kafka->delete_records([{ topic => $topic, partition => 0, offset => 2 }], @_) });
    my @notices;
    my $gone = connected_client(brokers => $brokers, auto_offset_reset => 'by_duration:PT2H30M', on_notice => sub { push @notices, $_[0] },
        on_message => sub { });
    $gone->assign([{ topic => $topic, partition => 0, offset => 0 }]);
    $gone->consume;
    until_so('the notice', sub { @notices });
    like $notices[0], qr/has no offset 0 any more, .*consuming goes on at 3, the first record of the last PT2H30M/, 'what is gone is looked up by time';
};

my ($RANGE, $COOPERATIVE) = map { "org.apache.kafka.clients.consumer.$_" } qw(RangeAssignor CooperativeStickyAssignor);

# Two rolling restarts, as Java's documentation has them: first both assignors are offered, then the cooperative one only.
sub changes_to_cooperative {
    my ($version, $is_ours_first) = @_;
    my $brokers = shared_cluster($version)->bootstrap;
    my $name    = 'upgrade' . ($is_ours_first ? '-ours' : '-java');
    my $topic   = create_topic($brokers, $name, 6);
    my (@ours, @javas, $sent);
    my $produced = 0;
    my $produce  = sub {
        return if EV::time - $produced < 0.25;
        $produced = EV::time;
        produce($brokers, $topic, map { 'v' . ++$sent } 1 .. 30);
        return;
    };
    my $start = {
        ours => sub { push @ours, member($brokers, [$topic], $name, assignors => [@_], auto_commit_interval => 0.2) },
        java => sub {
            push @javas, java($version, $brokers, $name, '--topic', $topic,
                ['partition.assignment.strategy' => join ',', map { $_ eq 'range' ? $RANGE : $COOPERATIVE } @_]);
        },
    };
    # Each has records that were sent when both were there.
    my $is_shared = sub {
        my ($what) = @_;
        my ($ours, $java) = ($ours[-1], $javas[-1]);
        my ($before, $lines) = (scalar keys %{ $ours->{got} }, scalar @{ $java->{lines} });
        until_so("records to each: $what", sub {
            $produce->();
            return @{ $ours->{kafka}->assignment } == 3 && keys %{ $ours->{got} } > $before && @{ $java->{lines} } > $lines;
        });
        return pass $what;
    };
    my @order = $is_ours_first ? ('ours', 'java') : ('java', 'ours');
    my @offer = ('range');
    for my $who (@order) {
        $start->{$who}->(@offer);
        until_so('the first', sub { $who eq 'ours' ? @{ $ours[0]{kafka}->assignment } : $produce->() || @{ $javas[0]{lines} } })
            if $who eq $order[0];
    }
    $is_shared->('range');
    for my $round (['cooperative-sticky', 'range'], ['cooperative-sticky']) {
        for my $who (@order) {
            my $old = $who eq 'ours' ? $ours[-1] : $javas[-1];
            $who eq 'ours' ? closed($old) : ended($old);
            $start->{$who}->(@$round);
            $is_shared->("@$round: $who has changed");
        }
    }
    my $group;
    # While it rebalances it has none.
    do { $group = described($ours[-1], $name) } until length $group->{assignor};
    is $group->{assignor}, 'cooperative-sticky', 'the group has changed';
    my %seen;
    until_so('all records', sub {
        %seen = map { $_ => 1 } (map { keys %{ $_->{got} } } @ours), map { $_->lines(qr/^v\d+$/) } @javas;
        return $sent == grep { $seen{"v$_"} } 1 .. $sent;
    });
    is scalar(grep { !$seen{"v$_"} } 1 .. $sent), 0, "none of $sent records was skipped";
    is_deeply [map { @{ $_->{errors} } } @ours], [], 'without an error';
    ended($javas[-1]);
    until_so('what Java leaves', sub { @{ $ours[-1]{kafka}->assignment } == 6 });
    closed($ours[-1]);
    return;
}

for my $version ($KafkaCluster::NEWEST, $ENV{KAFKA_LONG} ? $KafkaCluster::OLDEST : ()) {
    for my $is_ours_first ($ENV{KAFKA_LONG} ? (1, 0) : 0) {
        subtest "$version: from eager to cooperative, " . ($is_ours_first ? 'ours' : 'Java') . ' first' => sub { changes_to_cooperative($version, $is_ours_first) };
    }
}

if ($ENV{KAFKA_LONG}) {
    subtest 'a broker that matches no patterns' => sub {
        my $old = cluster(version => $KafkaCluster::OLDEST, set => { 'group.coordinator.rebalance.protocols' => 'classic,consumer' });
        my $member = member($old->bootstrap, [], 'old', group_protocol => 'consumer', subscribe_pattern => 'a.*');
        until_so('the error', sub { @{ $member->{errors} } });
        like $member->{errors}[0], qr/the broker does not match patterns: .*qr/, 'says what to do instead';
        my $topic = create_topic($old->bootstrap, 'old-a', 1);
        my $here  = member($old->bootstrap, [qr/^old-a/], 'old-here', group_protocol => 'consumer');
        until_so('a pattern that is matched here', sub { has($here) eq $topic });
        pass 'works';
    };
}

done_testing;
