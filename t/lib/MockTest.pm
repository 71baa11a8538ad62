package MockTest;
use strict;
use warnings;

# Talking to the brokers of a mock cluster, request by request.

use EV::Kafka;
use Exporter qw(import);
use Test::More;
use TestKafka qw(wait_until);

our @EXPORT = qw(connection port_of answer only_partition error_of answered_with croaks_like);

# A connection to a broker of the mock, ready for requests.
sub connection {
    my ($mock, $node_id) = @_;
    my $conn = EV::Kafka::Conn->new;
    $conn->on_error(sub { diag "connection: @_" });
    $conn->connect('127.0.0.1', port_of($mock, $node_id // 0), 10);
    wait_until { $conn->connected } 'connecting';
    return $conn;
}

sub port_of {
    my ($mock, $node_id) = @_;
    return +($mock->brokers)[$node_id]{port};
}

# Sends a request and waits for its answer: result and error.
sub answer {
    my ($conn, $method, @args) = @_;
    my $answer;
    $conn->$method(@args, sub { $answer = [@_] });
    wait_until { $answer } "answer to $method";
    return @{ $answer || [] };
}

# The partition of an answer that has one.
sub only_partition {
    my ($result) = @_;
    return $result->{topics}[0]{partitions}[0];
}

sub error_of { only_partition(@_)->{error_code} }

sub answered_with {
    my ($code, $conn, $method, @args) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($result, $error) = answer($conn, $method, @args);
    return is $result && error_of($result), $code, "$method answers $code";
}

sub croaks_like {
    my ($code, $like) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    eval { $code->(); 1 } and return fail "no error like $like";
    return like $@, $like;
}

1;
