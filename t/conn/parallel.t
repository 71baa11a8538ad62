use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use List::Util qw(min);
use Test::More;

use ConnPeer;
use TestKafka qw(wait_until);

# Many connections that are all busy: each gets its own answers, in order, and
# none waits for the others to be done.

use constant CONNECTIONS => 50;
use constant IN_FLIGHT   => 100;

# $count ready connections.
sub connections {
    my ($count, $port) = @_;
    my @conns = map { EV::Kafka::Conn::_new('EV::Kafka::Conn', undef) } 1 .. $count;
    for my $conn (@conns) {
        $conn->on_error(sub { fail "error: $_[0]" });
        $conn->connect('127.0.0.1', $port, 10);
    }
    wait_until { !grep { !$_->connected } @conns } 'connecting';
    return @conns;
}

# Keeps IN_FLIGHT requests on their way on every connection until each has got
# $each answers. $send->($conn, $number, $sequence, $cb) sends one, and
# $check->($number, $sequence, @answer) is true if the answer belongs to it. Returns how often an answer was not
# the one that was due, and what the slowest connection had when the first was done.
sub pump {
    my ($conns, $each, $send, $check) = @_;
    my (@sent, @answered, $slowest);
    my $wrong = 0;
    my $next;
    $next = sub {
        my ($number) = @_;
        my $sequence = $sent[$number]++;
        $send->($conns->[$number], $number, $sequence, sub {
            $wrong++ unless $answered[$number] == $sequence && $check->($number, $sequence, @_);
            $answered[$number]++;
            $slowest = min(@answered) if $answered[$number] == $each && !defined $slowest;
            $next->($number) if $sent[$number] < $each;
        });
    };
    for my $number (0 .. $#$conns) {
        ($sent[$number], $answered[$number]) = (0, 0);
        $next->($number) for 1 .. IN_FLIGHT;
    }
    is_deeply [map { $_->pending } @$conns], [(IN_FLIGHT) x @$conns], 'all in flight';
    wait_until { min(@answered) >= $each } 'all answers';
    undef $next;
    is_deeply \@answered, [($each) x @$conns], 'every request was answered once';
    is_deeply [map { $_->pending } @$conns], [(0) x @$conns], 'none is pending';
    return ($wrong, $slowest);
}

subtest 'produce and fetch on every connection' => sub {
    my $mock = EV::Kafka::Mock->new;
    my ($broker) = $mock->brokers;
    my @conns = connections(CONNECTIONS, $broker->{port});
    $mock->create_topic("t$_" => IN_FLIGHT) for 0 .. $#conns;
    is $mock->connections, CONNECTIONS, 'connections';

    # The offset says how often the partition was written to before.
    my ($wrong, $slowest) = pump(\@conns, 3 * IN_FLIGHT,
        sub {
            my ($conn, $number, $sequence, $cb) = @_;
            $conn->produce("t$number", $sequence % IN_FLIGHT, 'k', "$number:$sequence", $cb);
        },
        sub {
            my ($number, $sequence, $result, $error) = @_;
            return 0 if defined $error;
            my $topic = $result->{topics}[0];
            my $partition = $topic->{partitions}[0];
            return $topic->{topic} eq "t$number" && $partition->{partition} == $sequence % IN_FLIGHT
                && !$partition->{error_code} && $partition->{base_offset} == int($sequence / IN_FLIGHT);
        },
    );
    is $wrong, 0, 'every answer is the one that was due';
    cmp_ok $slowest, '>=', 2 * IN_FLIGHT, 'none is far behind the first that is done' or diag $slowest;

    ($wrong, $slowest) = pump(\@conns, 3 * IN_FLIGHT,
        sub {
            my ($conn, $number, $sequence, $cb) = @_;
            $conn->fetch("t$number", $sequence % IN_FLIGHT, int($sequence / IN_FLIGHT), $cb);
        },
        sub {
            my ($number, $sequence, $result, $error) = @_;
            return 0 if defined $error;
            my $record = $result->{topics}[0]{partitions}[0]{records}[0];
            return $record && $record->{value} eq "$number:$sequence";
        },
    );
    is $wrong, 0, 'and so is every record';
    cmp_ok $slowest, '>=', 2 * IN_FLIGHT, 'none is far behind the first that is done' or diag $slowest;
};

# Answers that come in pieces with no regard to where one ends and the next
# begins, and to the connections in another order than that of their requests.
subtest 'answers that are merged and cut' => sub {
    my (@peers, @conns);
    for (1 .. CONNECTIONS) {
        my $peer = ConnPeer->new(on_request => sub { push @{ $_[0]{due} }, $_[1]; return });
        push @peers, $peer;
        push @conns, connections(1, $peer->port);
    }
    my $cut = EV::idle sub {
        for my $peer (reverse @peers) {
            $peer->{out} .= join '', map { frame($_->{id}, answer($_)) } splice @{ $peer->{due} };
            $peer->raw(substr $peer->{out}, 0, 7 * 61, '') if length $peer->{out};
        }
    };
    my ($wrong, $slowest) = pump(\@conns, 2 * IN_FLIGHT,
        sub {
            my ($conn, $number, $sequence, $cb) = @_;
            $conn->list_offsets("t$number", $sequence, -1, $cb);
        },
        sub {
            my ($number, $sequence, $result, $error) = @_;
            return 0 if defined $error;
            my $topic = $result->{topics}[0];
            return $topic->{topic} eq "t$number" && $topic->{partitions}[0]{partition} == $sequence;
        },
    );
    is $wrong, 0, 'every answer is the one that was due';
    cmp_ok $slowest, '>=', IN_FLIGHT, 'none is far behind the first that is done' or diag $slowest;
};

# ListOffsets version 1: the topic and the partition that were asked for.
sub answer {
    my ($request) = @_;
    my (undef, undef, $topic, undef, $partition) = unpack 'N N n/a* N N', $request->{body};
    return array(string($topic) . array(pack 'N n q> q>', $partition, 0, -1, $partition));
}

# One that gets far more than it can keep up with must not keep the loop from the rest.
subtest 'a connection with large answers' => sub {
    my $mock = EV::Kafka::Mock->new;
    my ($broker) = $mock->brokers;
    $mock->create_topic(large => 1);
    $mock->append(large => 0, { value => 'x' x 900_000 }) for 1 .. 2;
    $mock->create_topic(small => 1);
    my ($busy, @conns) = connections(10, $broker->{port});

    my $large = 0;
    my $fetch;
    $fetch = sub { $busy->fetch(large => 0, 0, sub { $large++; $fetch->() if $fetch }) };
    $fetch->() for 1 .. 20;
    my ($wrong) = pump(\@conns, 2 * IN_FLIGHT,
        sub { my ($conn, $number, $sequence, $cb) = @_; $conn->list_offsets(small => 0, -1, $cb) },
        sub { my ($number, $sequence, $result) = @_; $result && $result->{topics}[0]{topic} eq 'small' },
    );
    is $wrong, 0, 'the others are answered';
    my $is_answered = wait_until { $large } 'an answer to it';
    ok $is_answered, 'and so is it';
    undef $fetch;
};

done_testing;
