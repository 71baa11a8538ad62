package ConnPeer;
use strict;
use warnings;

use EV;
use Exporter qw(import);
use IO::Socket::IP;
use Test::More;

our @EXPORT = qw(conn ready frame string array free_port);

# One raw peer of EV::Kafka::Conn on loopback, at the IPv4 address unless
# address => '::1' says otherwise. It shakes hands (unless
# handshake => sub { ($peer, \%request) } says otherwise) and gives each later
# request to on_request => sub { ($peer, \%request) }, whose result, if any, is
# sent as the body of the answer. Requests are collected in requests.

sub new {
    my ($class, %args) = @_;
    my $self = bless {
        versions   => $args{versions} || {},
        handshake  => $args{handshake},
        on_request => $args{on_request} || sub { },
        requests   => [],
        accepted   => 0,
        closed     => 0,
    }, $class;
    $self->listen(%args);
    return $self;
}

sub listen {
    my ($self, %args) = @_;
    $self->{listener} = IO::Socket::IP->new(
        LocalHost => $args{address} || '127.0.0.1', LocalPort => $args{port} || 0,
        Listen => 10, ReuseAddr => 1, V6Only => 1, Blocking => 0,
    ) or die "listen: $@";
    $self->{port} = $self->{listener}->sockport;
    $self->{accepting} = EV::io $self->{listener}, EV::READ, sub {
        my $socket = $self->{listener}->accept or return;
        $socket->blocking(0);
        $self->{accepted}++;
        $self->talk_to($socket);
    };
    return;
}

sub talk_to {
    my ($self, $socket) = @_;
    $self->{socket} = $socket;
    $self->{in} = '';
    $self->{reading} = EV::io $socket, EV::READ, sub { $self->read_some };
    return;
}

sub port { $_[0]{port} }

sub read_some {
    my ($self) = @_;
    my $got = sysread $self->{socket}, $self->{in}, 1 << 20, length $self->{in};
    return if !defined $got && $!{EAGAIN};
    if (!$got) {
        $self->{closed}++;
        return $self->hang_up;
    }
    while (length $self->{in} >= 4 && length $self->{in} >= 4 + unpack 'N', $self->{in}) {
        my $bytes = substr $self->{in}, 0, 4 + unpack('N', $self->{in}), '';
        my ($api, $version, $id, $client, $body) = unpack 'x4 n n N n/a* a*', $bytes;
        $self->handle({ api => $api, version => $version, id => $id, client_id => $client, body => $body });
    }
    return;
}

sub handle {
    my ($self, $request) = @_;
    if ($request->{api} == 18) {
        push @{ $self->{handshakes} }, $request;
        return $self->{handshake}->($self, $request) if $self->{handshake};
        return $self->shake_hands($request);
    }
    push @{ $self->{requests} }, $request;
    my $body = $self->{on_request}->($self, $request);
    $self->answer($request, $body) if defined $body;
    return;
}

sub shake_hands {
    my ($self, $request) = @_;
    my $versions = $self->{versions};
    my @ranges = map { pack 'n3', $_, @{ $versions->{$_} } } sort { $a <=> $b } keys %$versions;
    return $self->answer($request, pack('n', 0) . array(@ranges));
}

sub answer { $_[0]->raw(frame($_[1]{id}, $_[2])) }

sub raw {
    my ($self, $bytes) = @_;
    my $wrote = syswrite $self->{socket}, $bytes;
    die 'short write' unless ($wrote || 0) == length $bytes;
    return;
}

sub hang_up {
    my ($self) = @_;
    delete @$self{qw(reading socket)};
    return;
}

# Listens no more: who connects is refused.
sub stop {
    my ($self) = @_;
    delete @$self{qw(accepting listener)};
    return $self->hang_up;
}

# Closes with a reset instead of an orderly end.
sub reset {
    my ($self) = @_;
    return unless $self->{socket};
    setsockopt $self->{socket}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack 'ii', 1, 0;
    return $self->hang_up;
}

sub frame { pack 'N N a*', 4 + length $_[1], $_[0], $_[1] }

sub string { pack 'n/a*', $_[0] }

sub array { pack('N', scalar @_) . join '', @_ }

# A port of loopback on which nobody listens.
sub free_port {
    my $socket = IO::Socket::IP->new(LocalHost => '127.0.0.1', Listen => 1) or die $@;
    return $socket->sockport;
}

# A connection that writes down what it is told, in order.
sub conn {
    my ($loop) = @_;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', $loop);
    my @log;
    $conn->on_error(sub { push @log, "error: @_" });
    $conn->on_connect(sub { push @log, 'connect' . (@_ ? ": @_" : '') });
    $conn->on_disconnect(sub { push @log, 'disconnect' . (@_ ? ": @_" : '') });
    return ($conn, \@log);
}

# The same, connected to the peer.
sub ready {
    my ($peer) = @_;
    my ($conn, $log) = conn();
    $conn->connect('127.0.0.1', $peer->port, 10);
    TestKafka::wait_until(sub { @$log }, 'connecting');
    is_deeply $log, ['connect'], 'connected';
    @$log = ();
    return ($conn, $log);
}

1;
