package KafkaBench::Connection;

# Connections of the benchmarks' own, for what no client is asked for.

use v5.14;
use warnings;

use EV;
use EV::Kafka;
use Exporter qw(import);
use KafkaBench;

our @EXPORT = qw(connection leader settled pause);

# connection($host, $port) -> an EV::Kafka::Conn that is ready.
sub connection {
    my ($host, $port) = @_;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->on_error(sub { give_up("$host:$port: @_") });
    await(sub { $conn->on_connect($_[0]); $conn->connect($host, $port, 10) });
    return $conn;
}

# leader($brokers, $topic) -> host and port of the leader of partition 0.
sub leader {
    my ($brokers, $topic) = @_;
    my $bootstrap = connection((split /,/, $brokers)[0] =~ /^\[?(.*?)\]?:(\d+)$/);
    while (1) {
        my ($meta, $error) = await(sub { $bootstrap->metadata([$topic], @_) });
        die "metadata: $error\n" if defined $error;
        my ($partition) = grep { $_->{partition} == 0 } @{ $meta->{topics}[0]{partitions} };
        my ($broker) = grep { $partition && $_->{node_id} == $partition->{leader} } @{ $meta->{brokers} };
        return @$broker{qw(host port)} if $broker;

        # The topic is new.
        pause();
    }
}

# settled($conn, $topic) -> the connection, when the leader that it leads to knows that it is one: a
# new topic's may still have to learn it.
sub settled {
    my ($conn, $topic) = @_;
    while (1) {
        my ($result, $error) = await(sub { $conn->produce($topic, 0, 'k', 'settled', { acks => 1 }, @_) });
        die "produce: $error\n" if defined $error;
        my $code = $result->{topics}[0]{partitions}[0]{error_code} or return $conn;
        die 'produce: ', EV::Kafka::_error_name($code), "\n" unless $code == 3 || $code == 6;
        pause();
    }
}

sub pause { await(sub { state $timer; $timer = EV::timer 0.05, 0, $_[0] }) }

1;
