use v5.14;
use warnings;

# Workers that copy a topic exactly once, sharing its partitions in a group, while
# workers join and leave in the middle of transactions, are killed and hang. Whoever
# reads committed records sees each one once. KAFKA_VERSION=3.9.1 for one version;
# KAFKA_EOS_MODES for some of eager, cooperative and consumer; KAFKA_EOS_TURNS says
# how often all of that happens (1); with KAFKA_EOS_NODES=3 nodes of the cluster are
# killed and stopped meanwhile.

use lib 'xt/lib';

use EV;
use GroupMember qw(wait_until);
use JSON::PP;
use RealKafka;
use Test::More;
use Turmoil;

my $PARTITIONS = 6;
my $KEYS       = 60;
my $TURNS      = $ENV{KAFKA_EOS_TURNS} || 1;
my $NODES      = $ENV{KAFKA_EOS_NODES} || 1;

# Records come all the time: whatever happens to a worker happens in a transaction.
my ($RATE, $STEPS_A_SECOND) = (2_000, 50);

my $SESSION_MS = 6000;
my %TIMES      = (
    'group.consumer.heartbeat.interval.ms'     => 300,
    'group.consumer.min.heartbeat.interval.ms' => 300,
    'group.consumer.session.timeout.ms'        => $SESSION_MS,
    'group.consumer.min.session.timeout.ms'    => $SESSION_MS,
);

my %MODE = (
    eager       => { assignors      => ['sticky'] },
    cooperative => { assignors      => ['cooperative-sticky'] },
    consumer    => { group_protocol => 'consumer' },
);

for my $version (split ' ', $ENV{KAFKA_VERSION} // "$KafkaCluster::NEWEST $KafkaCluster::OLDEST") {
    my $is_new  = $version ge '4';
    my $cluster = $is_new || $NODES > 1
        ? cluster(version => $version, nodes => $NODES, set => $is_new ? \%TIMES : {}) : shared_cluster($version);
    for my $mode (split ' ', $ENV{KAFKA_EOS_MODES} // ($is_new ? 'consumer cooperative eager' : 'eager')) {
        subtest "Kafka $version, $mode" => sub { copies_once($cluster, $mode) };
    }
    $cluster->stop if $NODES > 1;
}

sub copies_once {
    my ($cluster, $mode) = @_;
    my $brokers = $cluster->bootstrap;
    my ($first) = split /,/, $brokers;
    my ($in, $out) = map { create_topic($first, "eos-$mode-$_", $PARTITIONS, $NODES) } qw(in out);
    my $group   = "$in-group";
    my %options = (group_id => $group, session_timeout => $SESSION_MS, heartbeat_interval => 0.3, %{ $MODE{$mode} });
    my ($number, @all, @working) = (0);

    my $start = sub {
        my ($id) = @_;
        $id //= "$in-" . ++$number;
        my $worker = GroupMember->run($id, $^X, (map { "-I$_" } grep { !ref } @INC), 'xt/lib/eos-worker.pl',
            map { JSON::PP->new->allow_nonref->encode($_) } $brokers, $in, $out, $id, \%options);
        push @all,     $worker;
        push @working, $worker;
        return $worker;
    };
    # Everybody has something, and is in the middle of it.
    my $at_work = sub {
        my ($what) = @_;
        my %had = map { $_ => scalar $_->lines(qr/^committed/) } @working;
        wait_until("$what: all " . @working . ' at work', sub {
            !grep { $_->{gone} || $_->lines(qr/^committed/) == $had{$_} } @working;
        }, @all);
    };
    # One of those at work, just when it has begun with a transaction.
    my $in_the_middle = sub {
        my $worker = shift @working;
        my $had    = $worker->lines(qr/^reading/);
        wait_until("$worker->{name} to begin a transaction", sub { $worker->lines(qr/^reading/) > $had }, @all);
        return $worker;
    };
    my $feed = feed($brokers, $in);
    $start->() for 1, 2;
    my $turmoil = $NODES > 1 && Turmoil->start($cluster, $in, $NODES * $PARTITIONS);
    for my $turn (1 .. $TURNS) {
        $at_work->('at first');
        $start->();
        $at_work->('after one has joined');
        my $leaver = $in_the_middle->();
        $leaver->tell('leave');
        wait_until('the leave', sub { $leaver->{gone} }, @all);
        is_deeply [$leaver->lines(qr/^left/)], ['left ok'], 'one left in the middle';
        $at_work->('after one has left');
        # Of the same transactional id as the one that was killed, so that it ends what that one began.
        my $victim = $in_the_middle->();
        $victim->kill('KILL');
        wait_until('the kill', sub { $victim->{gone} }, @all);
        $start->($victim->{name});
        $at_work->('after one was killed');
        my $hung = $in_the_middle->();
        $hung->kill('STOP');
        wait_until('the takeover', sub { !grep { $_->owns < $PARTITIONS / @working } @working }, @all);
        $at_work->('while one hangs');
        $hung->kill('CONT');
        push @working, $hung;
        $at_work->('after one has come back');
    }
    delete $feed->{timer};
    if ($turmoil) {
        wait_until('a node to be killed and one to be stopped', sub { (() = $turmoil->events) >= 2 }, @all);
        $turmoil->finish;
        is_deeply [grep { /failed/ } $turmoil->events], [], 'nodes were killed, stopped and started';
        note $_ for $turmoil->events;
    }
    await('the records', sub { $feed->{kafka}->flush(@_) });
    is_deeply $feed->{errors}, [], "all $feed->{written} records were written";
    await('close', sub { $feed->{kafka}->close(@_) });

    wait_until('all to be copied', sub { committed_position($brokers, $in, $group) == $feed->{written} }, @all);
    $_->tell('leave') for @working;
    wait_until('the end', sub { !grep { !$_->{gone} } @all }, @all);
    my (%seen, %last);
    my $disorder = 0;
    for my $record (map { @$_ } read_committed($brokers, $out)) {
        my ($key, $value) = @$record;
        $seen{$value}++;
        $disorder++ if ($last{$key} // 0) > $value;
        $last{$key} = $value;
    }
    is scalar(grep { !$seen{$_} } 1 .. $feed->{written}), 0, 'kcat reads all of them';
    is scalar(grep { $seen{$_} > 1 } keys %seen), 0, 'none twice';
    is scalar(keys %seen), $feed->{written}, 'and no other';
    is $disorder, 0, 'in order per key';

    my @aborted = map { $_->lines(qr/^aborted/) } @all;
    cmp_ok scalar(grep { /rebalanced in the middle/ } @aborted), '>', 0, 'transactions had a rebalance in their middle';
    my %why;
    $why{ s/^aborted \d+: //r }++ for @aborted;
    note "$feed->{written} records; ", scalar(map { $_->lines(qr/^committed/) } @all), ' transactions committed, ',
        scalar(@aborted), ' aborted';
    note "$why{$_} times: $_" for sort keys %why;
    is_deeply [grep { $NODES == 1 || !/ lost: / } map { $_->lines(qr/^error/) } @all], [], 'and nothing was reported';
}

# Writes numbers while the loop runs, until its timer is taken away.
sub feed {
    my ($brokers, $topic) = @_;
    my $feed = { errors => [], written => 0 };
    $feed->{kafka} = connected_client(brokers => $brokers, idempotent => 1, on_error => sub { note "feed: $_[0]" });
    $feed->{timer} = EV::timer 0, 1 / $STEPS_A_SECOND, sub {
        for (1 .. $RATE / $STEPS_A_SECOND) {
            my $n = ++$feed->{written};
            $feed->{kafka}->produce($topic, 'k' . $n % $KEYS, $n,
                sub { push @{ $feed->{errors} }, $_[1] if defined $_[1] });
        }
    };
    return $feed;
}

# What the group has committed, over all partitions; 0 while nobody says.
sub committed_position {
    my ($brokers, $topic, $group) = @_;
    my $conn = connected_conn((split /,/, $brokers)[0]);
    my ($found) = await('the coordinator', sub { $conn->find_coordinator($group, @_) });
    $conn->disconnect;
    return 0 if !$found || $found->{error_code};
    $conn = connected_conn("$found->{host}:$found->{port}");
    my ($result) = await('the offsets', sub {
        $conn->offset_fetch($group, [{ topic => $topic, partitions => [0 .. $PARTITIONS - 1] }], @_);
    });
    $conn->disconnect;
    my $sum = 0;
    $_->{offset} > 0 and $sum += $_->{offset} for map { @{ $_->{partitions} } } @{ ($result || {})->{topics} || [] };
    return $sum;
}

sub read_committed {
    my ($brokers, $topic) = @_;
    my @records = map { [] } 1 .. $PARTITIONS;
    for my $line (split /\n/, kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q',
        '-X', 'isolation.level=read_committed', '-f', '%p %k %s\n'))
    {
        my ($partition, $key, $value) = split / /, $line;
        push @{ $records[$partition] }, [$key, $value];
    }
    return @records;
}

done_testing;
