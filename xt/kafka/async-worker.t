use v5.14;
use warnings;

use lib 'xt/lib';

use EV;
use IO::Socket::INET;
use POSIX ();
use Test::More;

use RealKafka;

# eg/async_worker.pl on real Kafka: three processes call a service for each message, 50 calls at a time each, and are
# killed at random (SIGKILL) while they do. The service has answered for every message in the end, and whatever the group
# has committed at any time was answered for before.
#
# ASYNC_WORKER_RECORDS: how many messages (10000; the long form is 100000); ASYNC_WORKER_SEED repeats the choices of a run;
# ASYNC_WORKER_PROTOCOLS: classic,consumer; KAFKA_VERSION.

my $RECORDS    = $ENV{ASYNC_WORKER_RECORDS} // 10_000;
my $SEED       = $ENV{ASYNC_WORKER_SEED}    // int rand 1e9;
my $VERSION    = $ENV{KAFKA_VERSION}        // $KafkaCluster::NEWEST;
my @PROTOCOLS  = split /,/, $ENV{ASYNC_WORKER_PROTOCOLS} // ($VERSION ge '4' ? 'classic,consumer' : 'classic');
my $PARTITIONS = 6;
my $WORKERS    = 3;
my $KILLS      = $RECORDS < 50_000 ? 5 : 20;
# Of the service: seconds that an answer takes at the most, and how many of 1000 are refusals.
my $LONGEST    = 0.02;
my $REFUSED    = 10;

srand $SEED;
diag "ASYNC_WORKER_SEED=$SEED";

my $cluster = cluster(version => $VERSION, set => {
    $VERSION ge '4' ? ('group.consumer.session.timeout.ms' => 6000, 'group.consumer.min.session.timeout.ms' => 6000,
        'group.consumer.heartbeat.interval.ms' => 1000, 'group.consumer.min.heartbeat.interval.ms' => 1000) : (),
});
my $brokers = $cluster->bootstrap;

# --- the service --------------------------------------------------------------------------

my ($listener, $accepting, %connection, $on_answer, %answered, $answers);

sub begin_service {
    $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 512, Blocking => 0) or die "listen: $!";
    $accepting = EV::io $listener, EV::READ, sub {
        while (my $socket = $listener->accept) {
            $socket->blocking(0);
            my $connection = $connection{ 0 + $socket } = { socket => $socket, in => '' };
            $connection->{reading} = EV::io $socket, EV::READ, sub { hear($connection) };
        }
    };
    return 'http://127.0.0.1:' . $listener->sockport . '/jobs';
}

sub hang_up { my ($connection) = @_; delete $connection{ 0 + $connection->{socket} }; delete @$connection{qw(reading timer)}; return }

# One request at a time.
sub hear {
    my ($connection) = @_;
    my $got = sysread $connection->{socket}, $connection->{in}, 65_536, length $connection->{in};
    return if !defined $got && $!{EAGAIN};
    return hang_up($connection) unless $got;
    my ($head, $topic, $partition, $offset, $length)
        = $connection->{in} =~ m{\A(POST /jobs HTTP/1\.1\r\n(?:.+\r\n)*?X-Place: (\S+) ([0-9]+) ([0-9]+)\r\nContent-Length: ([0-9]+)\r\n\r\n)} or return;
    return if length $connection->{in} < length($head) + $length;
    my $value = substr $connection->{in}, length $head, $length;
    $connection->{in} = '';
    $connection->{timer} = EV::timer rand $LONGEST, 0, sub {
        my $is_refused = rand(1000) < $REFUSED;
        # Who was killed meanwhile is answered all the same: the service has done its work.
        syswrite $connection->{socket}, $is_refused ? "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
        return if $is_refused;
        $answered{$partition}[$offset]++;
        $on_answer->(++$answers, $value);
    };
    return;
}

# --- the workers --------------------------------------------------------------------------

my (%worker, $began);

sub begin_worker {
    my (%environment) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        @ENV{ keys %environment } = values %environment;
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        exec $^X, (map {"-I$_"} grep { !ref } @INC), 'eg/async_worker.pl' or POSIX::_exit(99);
    }
    $began++;
    $worker{$pid} = EV::child $pid, 0, sub { my ($w) = @_; $worker{$pid} = { status => $w->rstatus } };
    return $pid;
}

sub running {
    my @running = sort { $a <=> $b } grep { ref $worker{$_} ne 'HASH' } keys %worker;
    return @running;
}

sub run_workers {
    my ($protocol, $service) = @_;
    my $topic = create_topic((split /,/, $brokers)[0], "async-$protocol", $PARTITIONS);
    my $group = "$topic-g";
    my $kafka = connected_client(brokers => $brokers);
    %answered = ();
    ($answers, $began) = (0, 0);
    %worker = ();
    my $left = $RECORDS;
    await('messages', sub {
        my ($done) = @_;
        $kafka->produce($topic, undef, "v$_", { partition => $_ % $PARTITIONS }, sub { die $_[1] if defined $_[1]; $done->() unless --$left })
            for 1 .. $RECORDS;
    });
    my @ends = map { my $p = $_; scalar grep { $_ % $PARTITIONS == $p } 1 .. $RECORDS } 0 .. $PARTITIONS - 1;

    my %environment = (KAFKA_BROKER => $brokers, KAFKA_TOPIC => $topic, KAFKA_GROUP_ID => $group, KAFKA_GROUP_PROTOCOL => $protocol,
        WORKER_URL => $service, WORKER_CALLS => 50);
    # After so many answers since the last one somebody is killed.
    my $apart = int 0.8 * $RECORDS / $KILLS;
    my ($killed, $next) = (0, 1 + int rand $apart);
    $on_answer = sub {
        return if $answers < $next || $killed == $KILLS;
        $next = $answers + int($apart / 2) + int rand $apart;
        my @running = running();
        kill KILL => $running[rand @running];
        $killed++;
        begin_worker(%environment);
    };
    begin_worker(%environment) for 1 .. $WORKERS;

    # What is committed now was answered for by now.
    my ($looks, @ahead, $timer, %stored) = (0);
    await('the end', sub {
        my ($done) = @_;
        my $look;
        $look = sub {
            $kafka->committed([map { { topic => $topic, partition => $_ } } 0 .. $PARTITIONS - 1], { group_id => $group }, sub {
                my ($offsets, $error) = @_;
                die "committed: $error\n" if defined $error;
                $looks++;
                for my $partition (0 .. $PARTITIONS - 1) {
                    my $committed = $offsets->{"$topic:$partition"} // 0;
                    push @ahead, "$partition\@$_" for grep { !$answered{$partition}[$_] } $stored{$partition} // 0 .. $committed - 1;
                    $stored{$partition} = $committed;
                }
                return $done->() unless grep { $stored{$_} < $ends[$_] } 0 .. $#ends;
                $timer = EV::timer 0.2, 0, $look;
            });
        };
        $look->();
    }, 600);
    undef $timer;
    kill TERM => running();
    await('the end of the workers', sub { my ($done) = @_; $timer = EV::timer 0.05, 0.05, sub { $done->() unless running() } });
    undef $timer;

    my @missing = map { my $p = $_; map { "$p\@$_" } grep { !$answered{$p}[$_] } 0 .. $ends[$p] - 1 } 0 .. $#ends;
    is_deeply \@missing, [], "none of $RECORDS messages was skipped";
    is_deeply \@ahead, [], 'nothing was committed that had not been answered for';
    is $killed, $KILLS, 'processes were killed';
    my %ended;
    $ended{ $_->{status} }++ for values %worker;
    is_deeply \%ended, { 9 => $KILLS, 0 => $began - $KILLS }, 'the others end well';
    diag sprintf '%s: %d messages, %d killed of %d processes, %d answers, %.2f%% of them again; %d looks at what is committed',
        $protocol, $RECORDS, $killed, $began, $answers, 100 * ($answers - $RECORDS) / $RECORDS, $looks;
    $kafka->close;
    return;
}

my $service = begin_service();
for my $protocol (@PROTOCOLS) {
    subtest $protocol => sub { run_workers($protocol, $service) };
}

done_testing;
