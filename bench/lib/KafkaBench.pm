package KafkaBench;

# What the benchmarks share: their settings, a broker, topics that go again, and
# waiting for an answer.

use v5.14;
use warnings;

use EV;
use EV::Kafka;
use Exporter       qw(import);
use File::Basename qw(dirname);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);
use lib dirname(__FILE__) . '/../../script/lib';

our @EXPORT = qw(setting brokers new_topic drop_topic stopwatch await give_up);

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
    $conn->on_error(sub { give_up("$host:$port: @_") });
    await(sub { $conn->on_connect($_[0]); $conn->connect($host, $port, 10) });
    return $conn;
}

# new_topic() -> a fresh topic's name (BENCH_TOPIC: always that one). All its leaders
# know that they are.
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

    my $kafka = EV::Kafka->new(brokers => brokers(), on_error => \&give_up);
    await(sub { $kafka->connect(@_) });
    do { (undef, $error) = await(sub { $kafka->offsets_for($name, @_) }) } while defined $error;
    $kafka->close;
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

# For callbacks, in which a die would be no more than a warning.
sub give_up {
    print STDERR "@_\n";
    exit 1;
}

1;
