use v5.14;
use warnings;

# The demonstration loses nothing, on the cluster in its own process and on
# real Kafka of both versions.

use lib 'xt/lib';
use RealKafka;
use Test::More;

sub last_line {
    my ($broker) = @_;
    local $ENV{KAFKA_BROKER} = $broker;
    delete $ENV{KAFKA_BROKER} unless defined $broker;
    my @lines = readpipe "$^X -Iblib/lib -Iblib/arch script/lib/demo.pl";
    is $?, 0, 'exit code' or diag @lines;
    return $lines[-1];
}

my $success = "produced 1000, consumed 1000, lost 0\n";
is last_line(undef), $success, 'EV::Kafka::Mock';
is last_line(shared_cluster($_)->bootstrap), $success, "Kafka $_"
    for $KafkaCluster::NEWEST, $KafkaCluster::OLDEST;

done_testing;
