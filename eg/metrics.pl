#!/usr/bin/env perl

=head1 NAME

metrics.pl - a client's statistics, for Prometheus

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 KAFKA_METRICS_PORT=9308 perl eg/metrics.pl
  curl http://127.0.0.1:9308/metrics

=head1 DESCRIPTION

A consumer of a topic (KAFKA_TOPIC, C<ev-kafka-example> by default) in a group (KAFKA_GROUP_ID, C<ev-kafka-example>) that
counts what it reads, and serves its statistics over HTTP, at a port of this machine (KAFKA_METRICS_PORT, 9308 by default,
0 for any that is free), until it is interrupted. What serves them is everything from C<# --- serving> on, which can be
put into any program.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;
use IO::Socket::INET;

$| = 1;

my $seen  = 0;
my $kafka = EV::Kafka->new(
    brokers  => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error => sub { print STDERR "kafka: $_[0]\n" },
    on_batch => sub { $seen += @{ $_[2] } },
);

# Counting begins here. Whoever asks later gets numbers from the beginning.
$kafka->stats;

$kafka->connect(sub {
    $kafka->subscribe($ENV{KAFKA_TOPIC} || 'ev-kafka-example', group_id => $ENV{KAFKA_GROUP_ID} || 'ev-kafka-example');
});

my $interrupt = EV::signal INT  => \&finish;
my $terminate = EV::signal TERM => \&finish;
my $server    = serve($ENV{KAFKA_METRICS_PORT} // 9308);
EV::run;

sub finish {
    undef $server;
    $kafka->unsubscribe(sub { $kafka->close(sub { EV::break }) });
}

# --- serving ------------------------------------------------------------------------

# Seconds for a request and its answer, and bytes of a request.
use constant { PATIENCE => 10, LONGEST_REQUEST => 8192 };

# Serves for as long as the caller keeps what it returns.
sub serve {
    my ($port) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 5, ReuseAddr => 1, Blocking => 0)
        or die "port $port: $!\n";
    printf "metrics at http://127.0.0.1:%d/metrics\n", $listener->sockport;
    return EV::io $listener, EV::READ, sub {
        my $socket = $listener->accept or return;
        $socket->blocking(0);
        answer($socket);
    };
}

# One request on a connection.
sub answer {
    my ($socket) = @_;
    my ($request, $response, $watcher, $guard) = ('', '');
    my $end = sub { undef $_ for $watcher, $guard; close $socket };
    $guard   = EV::timer PATIENCE, 0, $end;
    $watcher = EV::io $socket, EV::READ, sub {
        if (length $response) {
            my $sent = syswrite $socket, $response;
            return $end->() if !defined $sent && !$!{EAGAIN};
            substr $response, 0, $sent // 0, '';
            return length $response ? undef : $end->();
        }
        my $got = sysread $socket, $request, LONGEST_REQUEST, length $request;
        return if !defined $got && $!{EAGAIN};
        return $end->() if !$got || length $request > LONGEST_REQUEST;
        return if $request !~ /\r?\n\r?\n/;
        $response = $request =~ m{\AGET /metrics[ ?]} ? http('200 OK', metrics($kafka->stats)) : http('404 Not Found', "see /metrics\n");
        $watcher->set($socket, EV::WRITE);
    };
    return;
}

sub http {
    my ($status, $body) = @_;
    return "HTTP/1.1 $status\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: ${\ length $body }\r\n"
        . "Connection: close\r\n\r\n$body";
}

# --- what is served -----------------------------------------------------------------

# In the text format of Prometheus. A counter begins anew with the client.
sub metrics {
    my ($stats) = @_;
    my @brokers = map { [{ broker => $_ }, $stats->{brokers}{$_}] } sort { $a <=> $b } keys %{ $stats->{brokers} };
    push @brokers, [{ broker => 'bootstrap' }, $stats->{bootstrap}] if $stats->{bootstrap};
    my @requests = map {
        my ($labels, $broker) = @$_;
        map { [{ %$labels, api => $_ }, $broker->{requests}{$_}] } sort keys %{ $broker->{requests} };
    } @brokers;
    my (@written, @read);
    for my $topic (sort keys %{ $stats->{topics} }) {
        for my $partition (sort { $a <=> $b } keys %{ $stats->{topics}{$topic} }) {
            my ($labels, $of) = ({ topic => $topic, partition => $partition }, $stats->{topics}{$topic}{$partition});
            push @written, [$labels, $of->{producer}] if $of->{producer};
            push @read,    [$labels, $of->{consumer}] if $of->{consumer};
        }
    }
    my @producer = [{}, $stats->{producer}];
    my @group    = map { [{ group => $_->{group_id}, state => $_->{state} }, $_] } grep { $_ } $stats->{group};
    return join '',
        metric(counter => requests_total   => 'Requests sent', \@requests, sub { $_[0]{sent} }),
        metric(counter => responses_total  => 'Requests answered', \@requests, sub { $_[0]{answered} }),
        metric(counter => response_seconds_total => 'Time between requests and answers', \@requests, sub { $_[0]{total_ms} / 1000 }),
        (map { my $name = $_; metric(gauge => "response_seconds_$name" => "Time between requests and answers lately, $name", \@requests,
            sub { my $ms = $_[0]{round_trip_ms}{$name}; defined $ms ? $ms / 1000 : undef }) } qw(p50 p90 p99 max)),
        metric(counter => received_bytes_total => 'Bytes received', \@brokers, sub { $_[0]{bytes_in} }),
        metric(counter => sent_bytes_total     => 'Bytes sent', \@brokers, sub { $_[0]{bytes_out} }),
        metric(gauge   => requests_in_flight   => 'Requests without an answer yet', \@brokers, sub { $_[0]{in_flight} }),
        metric(counter => connects_total       => 'Connections made', \@brokers, sub { $_[0]{connects} }),
        metric(counter => throttled_seconds_total => 'Time for which brokers have throttled', \@brokers, sub { $_[0]{throttled}{ms} / 1000 }),
        metric(gauge   => producer_queued_messages => 'Messages that are not delivered yet', \@producer, sub { $_[0]{messages} }),
        metric(gauge   => producer_queued_bytes    => 'Their bytes', \@producer, sub { $_[0]{bytes} }),
        metric(counter => produced_messages_total  => 'Messages delivered', \@written, sub { $_[0]{messages} }),
        metric(counter => produced_bytes_total     => 'Bytes of their batches', \@written, sub { $_[0]{bytes} }),
        metric(counter => produced_batches_total   => 'Batches delivered', \@written, sub { $_[0]{batches} }),
        metric(counter => produce_retries_total    => 'Batches that were sent again', \@written, sub { $_[0]{retries} }),
        metric(counter => produce_failures_total   => 'Messages given up', \@written, sub { $_[0]{failed} }),
        metric(gauge   => consumer_position        => 'The offset of the next message', \@read, sub { $_[0]{position} }),
        metric(gauge   => consumer_lag             => 'Offsets between the position and the end', \@read, sub { $_[0]{lag} }),
        metric(gauge   => group_generation         => 'The generation of the group', \@group, sub { $_[0]{generation} }),
        metric(gauge   => group_partitions         => 'Partitions assigned', \@group, sub { $_[0]{partitions} }),
        metric(counter => consumed_messages_total  => 'Messages seen', [[{}, $seen]], sub { $_[0] });
}

# What is not known is left out.
sub metric {
    my ($type, $name, $help, $of, $value) = @_;
    my @lines = map { my ($labels, $stats) = @$_; my $number = $value->($stats);
        defined $number ? "kafka_client_$name" . labels($labels) . " $number\n" : () } @$of;
    return @lines ? ("# HELP kafka_client_$name $help.\n# TYPE kafka_client_$name $type\n", @lines) : ();
}

sub labels {
    my ($labels) = @_;
    my @pairs = map { my $text = $labels->{$_} =~ s/([\\"])/\\$1/gr =~ s/\n/\\n/gr; qq($_="$text") } sort keys %$labels;
    return @pairs ? '{' . join(',', @pairs) . '}' : '';
}
