package KafkaBench;

# What bench/produce.pl and bench/consume.pl share: a broker, topics that go
# again, the C program on librdkafka, and runs that alternate so that a noisy
# machine is noisy for everybody.

use v5.14;
use warnings;

use EV;
use EV::Kafka;
use Exporter       qw(import);
use File::Basename qw(dirname);
use File::Path     qw(make_path);
use JSON::PP ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);
use lib dirname(__FILE__) . '/../../script/lib';

our @EXPORT = qw(setting brokers yardstick new_topic drop_topic run_json rounds table stopwatch await);

my $CHECKOUT = dirname(__FILE__) . '/../..';

my %DEFAULT = (
    MESSAGES   => 300_000,
    ROUNDS     => 5,
    VALUE_SIZE => 100,
    PARTITIONS => 4,
    ACKS       => 1,
    LINGER_MS  => 5,
    BATCH_SIZE => 1_000_000,
);

# setting('MESSAGES') -> BENCH_MESSAGES or its default.
sub setting { return $ENV{"BENCH_$_[0]"} // $DEFAULT{ $_[0] } }

# brokers() -> BENCH_BROKER, KAFKA_BROKER, or a Kafka started for this run.
sub brokers {
    my $given = $ENV{BENCH_BROKER} // $ENV{KAFKA_BROKER};
    return $given if defined $given;
    require KafkaCluster;
    state $cluster = do {
        print STDERR "starting Apache Kafka ...\n";
        KafkaCluster->start(
            guard      => 1,
            throughput => 1,
            set        => { 'file.delete.delay.ms' => 100 },
        );
    };
    return $cluster->bootstrap;
}

# yardstick() -> path of the compiled C program, or undef without librdkafka.
sub yardstick {
    my $source  = "$CHECKOUT/bench/rdkafka_bench.c";
    my $program = "$CHECKOUT/.cache/rdkafka_bench";
    return $program if -x $program && -M $program < -M $source;
    make_path(dirname($program));
    return $program if system("cc -O2 -o '$program' '$source' -lrdkafka") == 0;
    print STDERR "no C compiler or no librdkafka (Debian: apt-get install gcc librdkafka-dev):\n",
        "only EV::Kafka is measured\n";
    return undef;
}

# await($start) -> what the callback that $start gets is called with.
sub await {
    my ($start) = @_;
    my ($done, @result);
    $start->(sub { $done = 1; @result = @_; EV::break });
    EV::run until $done;
    return wantarray ? @result : $result[0];
}

sub _conn {
    my ($host, $port) = (split /,/, brokers())[0] =~ /^(.*):(\d+)$/ or die "not host:port\n";
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->on_error(sub { die "$host:$port: @_\n" });
    await(sub { $conn->on_connect($_[0]); $conn->connect($host, $port, 10) });
    return $conn;
}

# new_topic() -> a fresh topic's name (BENCH_TOPIC: always that one).
sub new_topic {
    return $ENV{BENCH_TOPIC} if defined $ENV{BENCH_TOPIC};
    state $number = 0;
    my $name = "ev-kafka-bench-$$-" . $number++;
    my $conn = _conn();
    my ($result, $error) = await(sub {
        $conn->create_topics(
            [{ name => $name, num_partitions => setting('PARTITIONS'), replication_factor => 1 }], 30_000, @_);
    });
    $error //= EV::Kafka::_error_name($result->{topics}[0]{error_code}) if $result->{topics}[0]{error_code};
    die "topic $name: $error\n" if defined $error;
    return $name;
}

sub drop_topic {
    my ($name) = @_;
    return if defined $ENV{BENCH_TOPIC};
    my $conn = _conn();
    await(sub { $conn->delete_topics([$name], 30_000, @_) });
}

# stopwatch() -> sub that gives (wall seconds, CPU seconds of all threads).
sub stopwatch {
    my ($wall, $cpu) = (clock_gettime(CLOCK_MONOTONIC), clock_gettime(CLOCK_PROCESS_CPUTIME_ID));
    return sub { (clock_gettime(CLOCK_MONOTONIC) - $wall, clock_gettime(CLOCK_PROCESS_CPUTIME_ID) - $cpu) };
}

# run_json(@command) -> the hash that the command prints as JSON.
sub run_json {
    my (@command) = @_;
    open my $run, '-|', @command or die "$command[0]: $!\n";
    my $text = do { local $/; readline $run };
    close $run or die "@command failed\n";
    return JSON::PP->new->decode($text);
}

# rounds([name => sub { … returns such a hash }]…) -> name => { msg_s, cpu_us },
# the medians. One round runs each of them once, so that they alternate.
sub rounds {
    my (@contestants) = @_;
    my %got;
    for my $round (1 .. setting('ROUNDS')) {
        print STDERR "round $round of ", setting('ROUNDS'), "\n";
        push @{ $got{ $_->[0] } }, $_->[1]->() for @contestants;
    }
    my %median;
    for my $name (keys %got) {
        for my $figure (qw(msg_s cpu_us)) {
            my @sorted = sort { $a <=> $b } map { $_->{$figure} } @{ $got{$name} };
            $median{$name}{$figure} = $sorted[@sorted / 2];
        }
    }
    return \%median;
}

# table(\%medians, \@names, $yardstick): the yardstick's ratio is 1.
sub table {
    my ($median, $names, $yardstick) = @_;
    my $base = $median->{$yardstick};
    printf "%-44s %11s %9s %8s %8s\n", '', 'msg/s', 'CPU us', 'rate', 'CPU';
    for my $name (@$names) {
        my $figure = $median->{$name};
        printf "%-44s %11.0f %9.3f %8s %8s\n", $name, $figure->{msg_s}, $figure->{cpu_us},
            $base ? sprintf('%.2f x', $figure->{msg_s} / $base->{msg_s})  : '-',
            $base ? sprintf('%.2f x', $figure->{cpu_us} / $base->{cpu_us}) : '-';
    }
}

1;
