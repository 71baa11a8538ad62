package CappingProxy;

# Stands between a connection and one broker, on the EV loop, and makes the
# broker look as if it spoke no newer version of one API than it is told to.
# Everything else passes as it is, and what passes is counted.

use v5.14;
use warnings;

use Carp qw(croak);
use EV;
use IO::Select;
use IO::Socket::INET;
use Scalar::Util qw(weaken);

my $API_VERSIONS = 18;

# new(broker => "host:port", api => $key, max => $version)
# Without api nothing is changed.
sub new {
    my ($class, %option) = @_;
    my $self = bless { %option, ranges => {}, sent => {}, links => {} }, $class;
    $self->{listener} = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5, Blocking => 0)
        or croak "listen: $!";
    weaken(my $weak = $self);
    $self->{accepting} = EV::io $self->{listener}, EV::READ, sub { $weak->_accept };
    return $self;
}

sub address { '127.0.0.1:' . $_[0]{listener}->sockport }

# ranges() -> { key => [lowest, highest] } as the broker said it.
sub ranges { $_[0]{ranges} }

# versions_sent($key) -> the versions in which requests of that API went out.
sub versions_sent {
    my ($self, $api) = @_;
    return sort { $a <=> $b } keys %{ $self->{sent}{$api} // {} };
}

sub _accept {
    my ($self) = @_;
    my $client = $self->{listener}->accept or return;
    my $broker = IO::Socket::INET->new(PeerAddr => $self->{broker}) or croak "$self->{broker}: $!";
    $_->blocking(0) for $client, $broker;
    my $link = { waiting => {} };
    my $name = 0 + $link;
    $self->{links}{$name} = $link;
    # The watchers belong to the link: what they call must not hold it.
    weaken(my $weak = $self);
    my $pump = sub {
        my ($from, $to, $change) = @_;
        my $in = '';
        return EV::io $from, EV::READ, sub {
            my $got = sysread $from, $in, 1 << 20, length $in;
            return if !defined $got && $!{EAGAIN};
            return delete $weak->{links}{$name} unless $got;
            while (length $in >= 4 && length $in >= 4 + unpack 'N', $in) {
                my $frame = substr $in, 0, 4 + unpack('N', $in), '';
                my $body = $change->(substr $frame, 4);
                _write($to, pack 'N/a*', $body);
            }
        };
    };
    weaken(my $same = $link);
    $link->{requests} = $pump->($client, $broker, sub { $weak->_request($same, @_) });
    $link->{answers}  = $pump->($broker, $client, sub { $weak->_answer($same, @_) });
    return;
}

sub _request {
    my ($self, $link, $frame) = @_;
    my ($api, $version, $id) = unpack 'n n N', $frame;
    $self->{sent}{$api}{$version}++;
    $link->{waiting}{$id} = 1 if $api == $API_VERSIONS;
    return $frame;
}

# ApiVersions v0: id, error code, [key, lowest, highest].
sub _answer {
    my ($self, $link, $frame) = @_;
    my $id = unpack 'N', $frame;
    return $frame unless delete $link->{waiting}{$id};
    my ($error, @numbers) = unpack 'x4 n N/(n3)', $frame;
    my $changed = '';
    my $count = 0;
    while (my ($api, $lowest, $highest) = splice @numbers, 0, 3) {
        $self->{ranges}{$api} = [$lowest, $highest];
        $highest = $self->{max} if defined $self->{api} && $api == $self->{api} && $highest > $self->{max};
        $changed .= pack 'n3', $api, $lowest, $highest;
        $count++;
    }
    return pack 'N n N a*', $id, $error, $count, $changed;
}

sub _write {
    my ($to, $bytes) = @_;
    while (length $bytes) {
        my $wrote = syswrite $to, $bytes;
        if    (defined $wrote) { substr $bytes, 0, $wrote, '' }
        elsif ($!{EAGAIN})     { IO::Select->new($to)->can_write }
        else                   { return }
    }
    return;
}

1;
