use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use IO::Socket::INET;
use ScriptedBroker;
use Socket qw(SOMAXCONN);
use TestKafka;

# What a program reads when something else than a Kafka broker that lets it in is at an address.

# Accepts connections, says $text to the first bytes of each (or at once, if it waits for
# nothing), and closes them.
sub stranger {
    my ($text, $waits) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => SOMAXCONN, Blocking => 0) or die "listen: $!";
    my %reading;
    my $end = sub { my ($socket) = @_; syswrite $socket, $text if length $text; delete $reading{ fileno $socket }; close $socket };
    my $accepting = EV::io $listener, EV::READ, sub {
        my $socket = $listener->accept or return;
        return $end->($socket) unless $waits;
        $reading{ fileno $socket } = EV::io $socket, EV::READ, sub { sysread $socket, my $got, 4096; $end->($socket) };
    };
    return { address => '127.0.0.1:' . $listener->sockport, keep => [$listener, $accepting, \%reading] };
}

sub said_of {
    my ($stranger, @options) = @_;
    my $kafka = client(brokers => $stranger->{address}, @options);
    $kafka->connect;
    wait_until { errors($kafka) } 'a report';
    my ($said) = errors($kafka);
    $kafka->close;
    return $said =~ s/\Aconnect: no bootstrap broker answers: \Q$stranger->{address}\E: //r;
}

my %sasl = (sasl => { mechanism => 'SCRAM-SHA-256', username => 'u', password => 'p' });

is said_of(stranger("HTTP/1.1 400 Bad Request\r\n\r\n", 1)),
    'invalid response size: the peer speaks HTTP, it is no Kafka broker', 'a web server';
is said_of(stranger(pack('CnnCC', 0x15, 0x0303, 2, 2, 80), 1)),
    'invalid response size: the peer speaks TLS; is this a TLS listener (tls => 1)?', 'a listener for TLS that says so';
my $closed = 'connection closed by broker before it was ready; does this listener want';
is said_of(stranger('', 1)), "$closed TLS (tls => 1) or SASL (sasl => {...})?", 'one that says nothing';
is said_of(stranger('', 0)), "$closed TLS (tls => 1) or SASL (sasl => {...})?", 'nor waits for anything';
is said_of(stranger('', 1), %sasl), "$closed TLS (tls => 1)?", 'with SASL only TLS is left to be missed';
like said_of(stranger('', 1), tls => 1), qr/\ATLS: /, 'with TLS it is the handshake that fails';

subtest 'an address that nobody can reach' => sub {
    my $nowhere = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!";
    my $port = $nowhere->sockport;
    close $nowhere;
    my $broker = ScriptedBroker->new;
    my $home   = $broker->{port};
    $broker->{on_request} = sub {
        my ($broker, undef, $request) = @_;
        return undef if $request->{api} ne 'Metadata';
        local $broker->{port} = $port;
        return $broker->metadata;
    };
    my $kafka = connected(brokers => "127.0.0.1:$home");
    my $delivered = 0;
    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    wait_until { errors($kafka) } 'a report';
    like +(errors($kafka))[0], qr/\Abroker 0 \(127\.0\.0\.1:$port\) cannot be reached: connect: Connection refused; .*advertised\.listeners/,
        'names the address and where it comes from';
    unlike +(errors($kafka))[0], qr/lost/, 'and is not called lost';
    is $delivered, 0, 'the message waits';
    delete $broker->{on_request};
    $kafka->close;
};

done_testing;
