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

# The records come in so many portions, each before a process is started, so that
# none of them finds all its work done.
my $PORTIONS = 8;

# Seconds that a process lives, at least and at most, and when giving up.
my ($LIFE_MIN, $LIFE_MAX, $PATIENCE) = (0.3, 2, 600);

for my $version (split ' ', $ENV{KAFKA_VERSION} // '4.3.1 3.9.1') {
    subtest "Kafka $version" => sub { copies_once($version) };
}

sub copies_once {
    my ($version) = @_;
    my $brokers = shared_cluster($version)->bootstrap;
    my ($in, $out) = map { create_topic($brokers, "eos-$_", $PARTITIONS) } qw(in out);
    my ($kills, $ends, $filled) = (0, 0, 0);
    my %environment = (KAFKA_BROKER => $brokers, KAFKA_TOPIC => $in, KAFKA_OUTPUT => $out,
        KAFKA_GROUP_ID => "$in-group", KAFKA_TRANSACTIONAL_ID => "$in-copy");
    my $log  = File::Temp->new;
    my $give_up = EV::now() + $PATIENCE;
    while (committed_position($brokers, $in, "$in-group") < $RECORDS) {
        last if EV::now() > $give_up;
        if ($filled < $RECORDS) {
            my $to = $filled + POSIX::ceil($RECORDS / $PORTIONS);
            $to = $RECORDS if $to > $RECORDS;
            fill($brokers, $in, $filled + 1, $to);
            $filled = $to;
        }
        my ($status, $killed) = run_for($LIFE_MIN + rand $LIFE_MAX - $LIFE_MIN, \%environment, "$log");
        $killed ? $kills++ : $ends++;
    }
    cmp_ok $kills, '>=', $PORTIONS, "killed $kills times";
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

sub fill {
    my ($brokers, $topic, $from, $to) = @_;
    my $kafka = connected_client(brokers => $brokers, acks => -1);
    my @errors;
    $kafka->produce($topic, "k$_", "v$_", sub { push @errors, $_[1] if defined $_[1] }) for $from .. $to;
    await('the records', sub { $kafka->flush(@_) });
    is_deeply \@errors, [], "records $from to $to";
    await('close', sub { $kafka->close(@_) });
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
