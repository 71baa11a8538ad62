use v5.14;
use warnings;

# Exactly once: eg/eos.pl copies a topic to another one while it is killed at
# random points and started again. Readers of committed records, kcat and Java,
# see each record once. KAFKA_EOS_RECORDS=100000 for the full figure;
# KAFKA_VERSION=3.9.1 for one version.

use EV;
use lib 'xt/lib';
use POSIX ();
use RealKafka;
use Test::More;

my $RECORDS    = $ENV{KAFKA_EOS_RECORDS} // 10_000;
my $PARTITIONS = 4;

# Records come all the time, for so many seconds and in so many steps a second:
# whenever a process is killed it is in the middle of something.
my ($FEED_SECONDS, $FEED_RATE) = (15, 100);

# Seconds that a process lives, at least and at most, and when giving up.
my ($LIFE_MIN, $LIFE_MAX, $PATIENCE) = (0.3, 2, 600);

for my $version (split ' ', $ENV{KAFKA_VERSION} // "$KafkaCluster::NEWEST $KafkaCluster::OLDEST") {
    subtest "Kafka $version" => sub { copies_once($version) };
}

sub copies_once {
    my ($version) = @_;
    my $brokers = shared_cluster($version)->bootstrap;
    my ($in, $out) = map { create_topic($brokers, "eos-$_", $PARTITIONS) } qw(in out);
    my ($kills, $ends) = (0, 0);
    my $feed = feed($brokers, $in);
    my %environment = (KAFKA_BROKER => $brokers, KAFKA_TOPIC => $in, KAFKA_OUTPUT => $out,
        KAFKA_GROUP_ID => "$in-group", KAFKA_TRANSACTIONAL_ID => "$in-copy");
    my $log  = File::Temp->new;
    my $give_up = EV::now() + $PATIENCE;
    while (committed_position($brokers, $in, "$in-group") < $RECORDS) {
        last if EV::now() > $give_up;
        my ($status, $killed) = run_for($LIFE_MIN + rand $LIFE_MAX - $LIFE_MIN, \%environment, "$log");
        $killed ? $kills++ : $ends++;
    }
    is_deeply $feed->{errors}, [], 'all records were written';
    await('close', sub { $feed->{kafka}->close(@_) });
    cmp_ok $kills, '>=', 5, "killed $kills times";
    is $ends, 0, 'it never ended by itself' or diag do { local $/; open my $file, '<', "$log"; readline $file };

    my @wanted = sort map { "V$_" } 1 .. $RECORDS;
    # What the last one had begun is aborted by the next one.
    run_for(2, \%environment, "$log");
    for my $reader ([kcat => \&read_kcat], [Java => \&read_java]) {
        my ($name, $read) = @$reader;
        my %seen;
        $seen{$_}++ for $read->($version, $brokers, $out);
        is scalar(grep { !$seen{$_} } @wanted), 0, "$name: none of $RECORDS is missing";
        is scalar(grep { $seen{$_} > 1 } keys %seen), 0, "$name: none is there twice";
        is scalar(keys %seen), $RECORDS, "$name: and no other";
    }
    my $all = () = kcat('-C', '-b', $brokers, '-t', $out, '-o', 'beginning', '-e', '-q',
        '-X', 'isolation.level=read_uncommitted', '-f', '%s\n') =~ /\n/g;
    note "$version: killed $kills times; ", $all - $RECORDS, " of $all records were aborted";
}

# Writes the records, while the loop runs.
sub feed {
    my ($brokers, $topic) = @_;
    my $feed = { errors => [], written => 0, kafka => connected_client(brokers => $brokers, idempotent => 1) };
    my $step = POSIX::ceil($RECORDS / $FEED_SECONDS / $FEED_RATE);
    $feed->{timer} = EV::timer 0, 1 / $FEED_RATE, sub {
        for (1 .. $step) {
            return delete $feed->{timer} if $feed->{written} == $RECORDS;
            my $n = ++$feed->{written};
            $feed->{kafka}->produce($topic, "k$n", "v$n", sub { push @{ $feed->{errors} }, $_[1] if defined $_[1] });
        }
    };
    return $feed;
}

# Runs the example for so many seconds -> its status, whether we killed it.
sub run_for {
    my ($seconds, $environment, $log) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>>', $log or POSIX::_exit(99);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(99);
        @ENV{ keys %$environment } = values %$environment;
        exec $^X, (map { "-I$_" } grep { !ref } @INC), 'eg/eos.pl' or POSIX::_exit(99);
    }
    my $killed = 0;
    my ($child, $timer);
    my $status = await('the end of eos.pl', sub {
        my ($done) = @_;
        $child = EV::child $pid, 0, sub { $done->($_[0]->rstatus) };
        $timer = EV::timer $seconds, 0, sub { $killed = kill KILL => $pid };
    });
    return ($status, $killed);
}

# What the group has committed, over all partitions; 0 for those without. What an
# open transaction has of it is not stable, and asked for again later.
sub committed_position {
    my ($brokers, $topic, $group) = @_;
    my $conn = connected_conn((split /,/, $brokers)[0]);
    my ($result, $error) = await('the offsets', sub {
        $conn->offset_fetch($group, [{ topic => $topic, partitions => [0 .. $PARTITIONS - 1] }], @_);
    });
    $conn->disconnect;
    return 0 if defined $error;
    my $sum = 0;
    $_->{offset} > 0 and $sum += $_->{offset} for map { @{ $_->{partitions} } } @{ $result->{topics} };
    return $sum;
}

sub read_kcat {
    my (undef, $brokers, $topic) = @_;
    return split /\n/, kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q',
        '-X', 'isolation.level=read_committed', '-f', '%s\n');
}

sub read_java {
    my ($version, $brokers, $topic) = @_;
    my @command = KafkaCluster::java_command($version, 'ConsoleConsumer', '--bootstrap-server', $brokers,
        '--topic', $topic, '--from-beginning', '--timeout-ms', 8000, '--isolation-level', 'read_committed');
    open my $run, '-|', join(' ', map { "'$_'" } @command) . ' 2>/dev/null' or die "java: $!";
    my @lines = readline $run;
    chomp @lines;
    return @lines;
}

done_testing;
