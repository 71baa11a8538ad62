package KafkaBench::Broker;

# The broker that a benchmark runs against, and topics on it that go again.

use v5.14;
use warnings;

use EV::Kafka;
use Exporter       qw(import);
use File::Basename qw(dirname);
use KafkaBench;
use KafkaBench::Connection;
use lib map { dirname(__FILE__) . "/../../../$_" } qw(script/lib xt/lib);

our @EXPORT = qw(brokers tls_brokers kafka_version new_topic drop_topic log_bytes);

# brokers() -> BENCH_BROKER, KAFKA_BROKER, or a Kafka started for this run.
sub brokers {
    my $given = _given();
    return defined $given ? $given : _cluster()->{kafka}->bootstrap;
}

# tls_brokers() -> their addresses for TLS and the file with the authority to trust: BENCH_TLS_BROKER and
# BENCH_TLS_CA with a broker that was given. Dies when there are none.
sub tls_brokers {
    return @ENV{qw(BENCH_TLS_BROKER BENCH_TLS_CA)} if defined $ENV{BENCH_TLS_BROKER};
    die "no BENCH_TLS_BROKER\n" if defined _given();
    my ($kafka, $certificates, $why) = @{ _cluster() }{qw(kafka certificates why)};
    die "no certificates: $why\n" unless $certificates;
    return ($kafka->bootstrap('TLS'), $certificates->file('ca.pem'));
}

# kafka_version() -> that of the one that was started, or undef.
sub kafka_version { return defined _given() ? undef : _cluster()->{kafka}->version }

sub _given { return $ENV{BENCH_BROKER} // $ENV{KAFKA_BROKER} }

# What was started: { kafka, certificates, why }.
sub _cluster {
    require Certificates;
    require KafkaCluster;
    state $cluster = do {
        print STDERR "starting Apache Kafka ...\n";
        my $certificates = eval {
            my $made = Certificates->new;
            $made->authority('ca');
            $made->sign('ca', 'broker', 'IP:127.0.0.1,DNS:localhost');
            $made;
        };
        my $why = $@;
        my %tls = $certificates ? (
            'listener.name.tls.ssl.keystore.type'     => 'PEM',
            'listener.name.tls.ssl.keystore.location' => $certificates->file('broker.store'),
        ) : ();
        my $kafka = KafkaCluster->start(
            guard      => 1,
            throughput => 1,
            set        => { 'file.delete.delay.ms' => 100, %tls },
            $certificates ? (listeners => { TLS => 'SSL' }) : (),
        );
        { kafka => $kafka, certificates => $certificates, why => $why };
    };
    return $cluster;
}

sub _conn {
    my ($host, $port) = (split /,/, brokers())[0] =~ /^(.*):(\d+)$/ or die "not host:port\n";
    return connection($host, $port);
}

# new_topic($partitions) -> a fresh topic's name (BENCH_TOPIC: always that one). All its
# leaders know that they are.
sub new_topic {
    my ($partitions) = @_;
    return $ENV{BENCH_TOPIC} if defined $ENV{BENCH_TOPIC};
    state $number = 0;
    my $name = "ev-kafka-bench-$$-" . $number++;
    my $conn = _conn();
    my ($result, $error) = await(sub {
        $conn->create_topics(
            [{ name => $name, num_partitions => $partitions // setting('PARTITIONS'), replication_factor => 1 }], 30_000, @_);
    });
    $error //= EV::Kafka::_error_name($result->{topics}[0]{error_code}) if $result->{topics}[0]{error_code};
    die "topic $name: $error\n" if defined $error;

    # It has hardly begun to: that a leader does not know yet is no news.
    my $kafka = EV::Kafka->new(brokers => brokers(), on_error => \&give_up, on_notice => sub { });
    await(sub { $kafka->connect(@_) });
    while (1) {
        (undef, $error) = await(sub { $kafka->offsets_for($name, @_) });
        last unless defined $error;
        pause();
    }
    $kafka->close;
    return $name;
}

sub drop_topic {
    my ($name) = @_;
    return if defined $ENV{BENCH_TOPIC};
    my $conn = _conn();
    await(sub { $conn->delete_topics([$name], 30_000, @_) });
}

# log_bytes($topic) -> the size of its log, or undef where its files are not at hand.
sub log_bytes {
    my ($topic) = @_;
    return undef if defined _given();
    my $size = 0;
    $size += -s for glob _cluster()->{kafka}->dir . "/node*/data/$topic-*/*.log";
    return $size;
}

1;
