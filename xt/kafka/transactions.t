use v5.14;
use warnings;

# Transactions on real brokers: what readers of committed records see, fencing,
# and coordinators that are killed in the middle. KAFKA_VERSION=3.9.1 for one version.

use EV;
use lib 'xt/lib', 't/lib';
use Inside;
use RealKafka;
use Test::More;

for my $version (split ' ', $ENV{KAFKA_VERSION} // "$KafkaCluster::NEWEST $KafkaCluster::OLDEST") {
    subtest "Kafka $version" => sub { one_node($version) };
}
subtest 'three nodes' => sub { coordinator_killed() };
done_testing;

sub producer {
    my ($brokers, $id, %option) = @_;
    return connected_client(brokers => $brokers, transactional_id => $id, %option);
}

# What the end of a transaction calls back with: a result or an error.
sub error_of {
    my ($what, $start) = @_;
    my ($result, $error) = await($what, $start);
    is_deeply $result, defined $error ? undef : { error_code => 0 }, "$what: the result";
    return $error;
}

# Writes the values in a transaction of its own -> the error.
sub transaction {
    my ($kafka, $end, $topic, @values) = @_;
    $kafka->begin_transaction;
    write_values($kafka, $topic, @values);
    return error_of($end, sub { $kafka->$end(@_) });
}

sub write_values {
    my ($kafka, $topic, @values) = @_;
    my @errors;
    $kafka->produce($topic, $_, $_, sub { push @errors, $_[1] }) for @values;
    return \@errors;
}

sub read_values {
    my ($brokers, $topic, $isolation) = @_;
    my $text = kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q',
        '-X', "isolation.level=read_$isolation", '-f', '%s\n');
    return [sort split /\n/, $text];
}

sub one_node {
    my ($version) = @_;
    my $brokers = shared_cluster($version)->bootstrap;
    my $topic   = create_topic($brokers, 'txn', 3);
    # Kafka 4 has another protocol on the brokers' side (KIP-890), 3.9 the first one.
    is transaction_version($version, $brokers), $version lt '4' ? 0 : 2, 'the transactions are those of this version';
    my @errors;
    my $kafka = producer($brokers, "$topic-id", on_error => sub { push @errors, $_[0] });

    is transaction($kafka, commit_transaction => $topic, map { "a$_" } 10 .. 29), undef, 'committed';
    $kafka->begin_transaction;
    my $delivered = write_values($kafka, $topic, map { "b$_" } 10 .. 29);
    await('delivery', sub { $kafka->flush(@_) });
    is_deeply [grep { defined } @$delivered], [], 'written';
    is error_of('abort', sub { $kafka->abort_transaction(@_) }), undef, 'and aborted';
    is transaction($kafka, commit_transaction => $topic, "c$_"), undef, "again, one right after the other ($_)" for 10 .. 19;
    my @visible = ((map { "a$_" } 10 .. 29), (map { "c$_" } 10 .. 19));
    is_deeply read_values($brokers, $topic, 'committed'), \@visible, 'kcat sees what was committed';
    is_deeply read_values($brokers, $topic, 'uncommitted'), [sort @visible, map { "b$_" } 10 .. 29], 'the rest is there';

    subtest 'abort with answers outstanding, many times' => sub {
        for my $round (1 .. 20) {
            $kafka->begin_transaction;
            write_values($kafka, $topic, map { "x$round-$_" } 1 .. 50);
            $kafka->flush if $round % 2;
            is error_of('abort', sub { $kafka->abort_transaction(@_) }), undef, "abort $round";
        }
        is transaction($kafka, commit_transaction => $topic, 'd10'), undef, 'the next one';
        is_deeply read_values($brokers, $topic, 'committed'), [@visible, 'd10'], 'alone can be seen';
    };
    is_deeply \@errors, [], 'on_error heard nothing';

    subtest 'positions' => sub {
        my $in = create_topic($brokers, 'txn-in', 1);
        is transaction($kafka, commit_transaction => $in, 1 .. 5), undef, 'five records';
        my $seen   = 0;
        my $copier = producer($brokers, "$in-id", isolation_level => 'read_committed', on_message => sub { $seen++ });
        $copier->assign([{ topic => $in, partition => 0 }]);
        $copier->begin_transaction;
        while ($seen < 5) { await('poll', sub { $copier->poll(@_) }) }
        my ($result, $error) = await('offsets', sub { $copier->send_offsets_to_transaction("$in-group", @_) });
        is $error, undef, 'sent';
        is offset_of($brokers, $in, 0), -1, 'not committed yet';
        is error_of('commit', sub { $copier->commit_transaction(@_) }), undef, 'committed';
        is offset_of($brokers, $in, 1), $copier->{cfg}{assignments}[0]{offset}, 'with the transaction';
        await('close', sub { $copier->close(@_) });
    };

    subtest 'a second instance fences the first' => sub {
        $kafka->begin_transaction;
        my $old = write_values($kafka, $topic, 'old');
        await('delivery', sub { $kafka->flush(@_) });
        is_deeply $old, [undef], 'written by the first';
        my $second = producer($brokers, "$topic-id");
        is transaction($second, commit_transaction => $topic, 'e10'), undef, 'the second commits';
        like error_of('commit', sub { $kafka->commit_transaction(@_) }),
            qr/PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/, 'the first cannot';
        is scalar(@errors), 1, 'on_error heard of it';
        ok !eval { $kafka->begin_transaction; 1 }, 'nor begin another';
        is_deeply read_values($brokers, $topic, 'committed'), [@visible, 'd10', 'e10'], 'what it had written cannot be seen';
        await('close', sub { $second->close(@_) });
    };
    await('close', sub { $kafka->close(@_) });

    subtest 'the first goes on, and hears of it from the partition' => sub {
        my @heard;
        my $first = producer($brokers, "$topic-other", on_error => sub { push @heard, $_[0] });
        $first->begin_transaction;
        my $before = write_values($first, $topic, 'g10');
        await('delivery', sub { $first->flush(@_) });
        my $second = producer($brokers, "$topic-other");
        my $after  = write_values($first, $topic, 'g10', 'g10');
        await('the end', sub { $first->flush(@_) });
        is_deeply $before, [undef], 'what came before the second was written';
        like $after->[$_], qr/PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/, 'and what came after it was not' for 0, 1;
        for my $end (qw(commit_transaction abort_transaction)) {
            # Whoever has heard already that there is no way on croaks.
            my $error = eval { error_of($end, sub { $first->$end(@_) }) } // $@;
            like $error, qr/PRODUCER_FENCED|INVALID_PRODUCER_EPOCH/, "$end fails";
        }
        ok !eval { $first->begin_transaction; 1 }, 'and there is no other';
        is scalar(@heard), 1, 'on_error has heard of it, once';
        is transaction($second, commit_transaction => $topic, 'h10'), undef, 'the second goes on';
        is_deeply [grep { /^[gh]/ } @{ read_values($brokers, $topic, 'committed') }], ['h10'], 'alone';
        for my $client ($first, $second) { await('close', sub { $client->close(@_) }) }
    };
}

sub transaction_version {
    my ($version, $brokers) = @_;
    open my $run, '-|', KafkaCluster::java_command($version, 'org.apache.kafka.tools.FeatureCommand',
        '--bootstrap-server', $brokers, 'describe') or die "java: $!";
    my $features = do { local $/; readline $run };
    return ($features =~ /transaction\.version.*FinalizedVersionLevel: (\d+)/)[0] // 0;
}

# The group's offset. A reader of stable ones hears of 88 until the end of the
# transaction is written, which is after it was promised.
sub offset_of {
    my ($brokers, $topic, $require_stable) = @_;
    my $conn = connected_conn((split /,/, $brokers)[0]);
    my $result = ask_while({ 88 => 1 }, sub {
        my ($result, $error) = await('the offset', sub {
            $conn->offset_fetch("$topic-group", [{ topic => $topic, partitions => [0] }],
                { require_stable => $require_stable }, @_);
        });
        die "$error\n" if defined $error;
        return $result;
    });
    $conn->disconnect;
    return $result->{topics}[0]{partitions}[0]{offset};
}

sub coordinator_killed {
    my $cluster = cluster(nodes => 3);
    my $brokers = $cluster->bootstrap;
    my $topic   = create_topic(($brokers =~ /^([^,]+)/)[0], 'txn-three', 3, 3);
    my $id      = "$topic-id";
    my @errors;
    my $kafka = producer($brokers, $id, on_error => sub { push @errors, $_[0] });
    is transaction($kafka, commit_transaction => $topic, 'a'), undef, 'a transaction';
    my @visible = 'a';
    for my $end (qw(commit_transaction abort_transaction)) {
        $kafka->begin_transaction;
        my $before = write_values($kafka, $topic, map { "$end-$_" } 1 .. 10);
        await('delivery', sub { $kafka->flush(@_) });
        my $node = Inside::coordinator_node($kafka, txn => $id);
        $cluster->kill_node($node);
        my $after = write_values($kafka, $topic, map { "$end-$_" } 11 .. 20);
        is error_of($end, sub { $kafka->$end(@_) }), undef, "$end after the coordinator was killed";
        push @visible, map { "$end-$_" } 1 .. 20 if $end eq 'commit_transaction';
        is scalar(@$_), 10, 'each callback once' for $before, $after;
        $cluster->restart_node($node);
    }
    is transaction($kafka, commit_transaction => $topic, 'z'), undef, 'another transaction';
    is_deeply read_values($brokers, $topic, 'committed'), [sort @visible, 'z'], 'each committed record once';
    is_deeply [grep { !/lost/ } @errors], [], 'nothing but lost brokers was reported';
    await('close', sub { $kafka->close(@_) });
}
