use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use IO::Socket::INET;
use Test::More;

use ExampleTest;

# metrics.pl serves what Prometheus understands.

# Everything that comes as the answer to a request; then $done is called with it.
sub request {
    my ($port, $text, $done) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10) or die "connect: $!";
    syswrite $socket, $text;
    $socket->blocking(0);
    my ($answer, $watcher) = ('');
    $watcher = EV::io $socket, EV::READ, sub {
        return if sysread $socket, $answer, 65536, length $answer;
        undef $watcher;
        $done->($answer);
    };
    return;
}

my $mock = EV::Kafka::Mock->new(brokers => 2);
$mock->create_topic(t => 2);
$mock->append(t => $_ % 2, { value => 'v' }) for 1 .. 5;

my ($asked, $metrics, $other) = (0);
my ($ask, $status, $output);
($status, $output) = example('metrics', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_METRICS_PORT => 0 }, sub {
    my ($line, $pid) = @_;
    my ($port) = $line =~ m{\Ametrics at http://127\.0\.0\.1:(\d+)/metrics\z} or return;
    # Until all is read, and its broker has said so.
    $ask = sub {
        request($port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", sub {
            ($metrics) = @_;
            my $lags = () = $metrics =~ /^kafka_client_consumer_lag\{.*\} 0$/mg;
            return $ask->() if $lags < 2 || $metrics !~ /^kafka_client_consumed_messages_total 5$/m;
            request($port, "GET / HTTP/1.0\n\n", sub { ($other) = @_; kill INT => $pid });
        });
    };
    $ask->();
});
is $status, 0, 'ends well';
my ($head, $body) = split /\r\n\r\n/, $metrics, 2;
like $head, qr{\AHTTP/1\.1 200 OK\r\n.*version=0\.0\.4}s, 'an answer of HTTP';
like $head, qr/^Content-Length: ${\ length $body }\r?$/m, 'its length';
my (%type, @strange);
for (split /\n/, $body) {
    if    (/\A# TYPE (\w+) (counter|gauge)\z/) { $type{$1} = $2 }
    elsif (/\A# HELP \w+ \S/)                  { next }
    elsif (!/\A(\w+)(?:\{(?:\w+="[^"]*",?)+\})? -?[\d.]+(?:e[+-]?\d+)?\z/ || !$type{$1}) { push @strange, $_ }
}
is_deeply \@strange, [], 'every line is a number with a type';
like $body, qr/^kafka_client_consumer_position\{partition="1",topic="t"\} 3$/m, 'a position';
like $body, qr/^kafka_client_requests_total\{api="Fetch",broker="1"\} [1-9]/m, 'requests of a broker';
like $body, qr/^kafka_client_response_seconds_p99\{api="Fetch",broker="0"\} [\d.e-]+$/m, 'their time';
like $body, qr/^kafka_client_group_partitions\{group="ev-kafka-example",state="stable"\} 2$/m, 'the group';
is_deeply [grep { /_total\z/ != ($type{$_} eq 'counter') } sort keys %type], [], 'counters are named so';
like $other, qr{\AHTTP/1\.1 404 }, 'there is nothing else';

done_testing;
