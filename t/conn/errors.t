use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka qw(wait_until);

# Errors of a connection as objects.

my @FIELDS = qw(code name retriable fatal broker topic partition operation);

sub conn {
    my ($mock, @errors) = @_;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    my $heard = { conn => $conn, errors => [] };
    $conn->errors(@errors) if @errors;
    $conn->on_error(sub { push @{ $heard->{errors} }, $_[0] });
    if ($mock) {
        my ($broker) = $mock->brokers;
        $heard->{address} = "$broker->{host}:$broker->{port}";
        $conn->connect($broker->{host}, $broker->{port}, 5);
        wait_until { $conn->connected } 'connecting';
    }
    return $heard;
}

sub knows {
    my ($error, $text, %about) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    isa_ok $error, 'EV::Kafka::Error', $text or return;
    like "$error", qr/\A\Q$text\E/, 'its text';
    my %default = (name => '', retriable => 0, fatal => 0);
    is_deeply { map { $_ => $error->$_ } @FIELDS }, { map { $_ => $about{$_} // $default{$_} } @FIELDS }, 'what it knows';
    return;
}

subtest 'the default' => sub {
    for my $errors ([], ['text'], [undef]) {
        my $mock  = EV::Kafka::Mock->new;
        my $heard = conn($mock, @$errors);
        $mock->fault(api => 'Metadata', drop => 1);
        my @ends;
        $heard->{conn}->metadata(undef, sub { @ends = @_ });
        wait_until { @ends } 'the callback';
        is ref \$ends[1], 'SCALAR', 'is a string';
    }
    ok !eval { conn(undef, 'hash'); 1 }, 'nothing else than text or object';
    like $@, qr/errors: must be 'text', 'object' or undef/, 'as it says';
};

subtest 'a request that is lost' => sub {
    for my $case (
        [metadata => sub { my ($conn, $cb) = @_; $conn->metadata(undef, $cb) }, 'Metadata'],
        [fetch => sub { my ($conn, $cb) = @_; $conn->fetch('t', 0, 0, $cb) }, 'Fetch'],
        [produce => sub { my ($conn, $cb) = @_; $conn->produce('t', 0, 'k', 'v', $cb) }, 'Produce'],
        [list_offsets => sub { my ($conn, $cb) = @_; $conn->list_offsets('t', 0, -1, $cb) }, 'ListOffsets'],
    ) {
        my ($method, $ask, $api) = @$case;
        my $mock  = EV::Kafka::Mock->new;
        my $heard = conn($mock, 'object');
        $mock->fault(api => $api, drop => 1);
        my @ends;
        $ask->($heard->{conn}, sub { @ends = @_ });
        wait_until { @ends } $method;
        knows $ends[1], 'connection closed by broker', retriable => 1, broker => $heard->{address}, operation => $api;
    }
};

subtest 'a request that is not answered in time' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $heard = conn($mock, 'object');
    $heard->{conn}->request_timeout(0.1);
    $mock->fault(api => 'Metadata', hang => 1);
    my @ends;
    $heard->{conn}->metadata(undef, sub { @ends = @_ });
    wait_until { @ends } 'the callback';
    knows $ends[1], 'request timed out: Metadata v', retriable => 1, broker => $heard->{address}, operation => 'Metadata';
    knows $heard->{errors}[0], 'request timed out: Metadata v', retriable => 1, broker => $heard->{address};
};

subtest 'a connection that cannot be made' => sub {
    my $heard = conn(undef, 'object');
    $heard->{conn}->connect('127.0.0.1', 1, 5);
    wait_until { @{ $heard->{errors} } } 'on_error';
    knows $heard->{errors}[0], 'connect: ', retriable => 1, broker => '127.0.0.1:1';
};

subtest 'a password that is refused' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my ($broker) = $mock->brokers;
    my $heard = conn(undef, 'object');
    $heard->{conn}->sasl('NONE', 'user', 'password');
    $heard->{conn}->connect($broker->{host}, $broker->{port}, 5);
    wait_until { @{ $heard->{errors} } } 'on_error';
    is $heard->{errors}[0]->retriable, 0, "no other attempt ends otherwise: $heard->{errors}[0]";
};

done_testing;
