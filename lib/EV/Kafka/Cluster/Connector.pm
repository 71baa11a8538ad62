package EV::Kafka::Cluster::Connector;
use strict;
use warnings;

use EV::Kafka::Conn;

# Connections as the client's options want them.
#   addresses  what has been learned of names, which all of them share
#   counts     they count what they do

# Seconds to connect, and again for each phase of the handshake.
use constant CONNECT_TIMEOUT => 10;

# tells: opens, before there is one.
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(outbox options topics features tells)), addresses => undef, counts => 0 }, $class;
}

# Those that are made from now on count; the others do so by themselves.
sub count  { $_[0]{counts} = 1; return }
sub counts { return $_[0]{counts} }

# On the loop that is given, or on the client's, to that broker if it is known.
sub conn {
    my ($self, $loop, $node_id) = @_;
    my $options = $self->{options};
    $self->{tells}->('opens');
    my $conn = _bare($loop || $options->{loop});
    $conn->client_id($options->{client_id});
    defined $options->{$_} and $conn->$_($options->{$_}) for qw(strings headers);
    $conn->on_notice($self->{outbox}->entry($self, '_noticed'));
    $conn->on_throttle($self->{outbox}->entry($self, _throttled => $node_id)) if $options->{on_throttle} || $self->{outbox}->logs('conn');
    $conn->_count if $self->{counts};
    $conn->_secure_like($options->{security}) if $options->{security};
    $conn->request_timeout($options->{request_timeout});
    $conn->_share_addresses($self->{addresses} ||= _bare($options->{loop}));
    return $conn;
}

# To that broker, if it is known which one it is.
sub connect {
    my ($self, $conn, $host, $port, $node_id) = @_;
    my $cluster_id = defined $node_id && $self->{features}->is_checking ? $self->{topics}->cluster_id : undef;
    $conn->_introduce(_software_version(), $cluster_id, $node_id);
    return $conn->connect($host, $port, CONNECT_TIMEOUT);
}

# The text for a connection that the broker has closed before it was ready, which is all that
# some say to what they take for a stranger.
sub closed_early {
    my ($self) = @_;
    my $options = $self->{options};
    my @missing = ($options->{tls} ? () : 'TLS (tls => 1)', $options->{sasl} ? () : 'SASL (sasl => {...})');
    return 'connection closed by broker' unless @missing;
    return 'connection closed by broker before it was ready; does this listener want ' . join(' or ', @missing) . '?';
}

# Brokers take letters, digits, dots and hyphens (KIP-511), and versions of trials have an underscore.
sub _software_version {
    (my $version = $EV::Kafka::VERSION) =~ tr/A-Za-z0-9.-/-/c;
    return $version;
}

sub _bare { return EV::Kafka::Conn::_new('EV::Kafka::Conn', $_[0]) }

sub _noticed {
    my ($self, $text, $subject) = @_;
    my $outbox = $self->{outbox};
    return defined $text ? $outbox->notice("conn:$subject", $text) : $outbox->notice_over("conn:$subject");
}

sub _throttled {
    my ($self, $node_id, $throttle_time_ms, $api) = @_;
    my ($outbox, %about) = ($self->{outbox}, api => $api, defined $node_id ? (broker => $node_id) : ());
    my $whose = defined $node_id ? "broker $node_id" : 'a broker asked for metadata';
    $outbox->log(conn => info => "$whose throttles for $throttle_time_ms ms ($api)", %about, throttle_time_ms => $throttle_time_ms)
        if $outbox->logs('conn');
    return $outbox->call_as(on_throttle => $self->{options}{on_throttle}, $throttle_time_ms, \%about);
}

sub close {
    my ($self) = @_;
    $self->{addresses} = undef;
    delete $self->{options}{security};    # and with it the credentials
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Connector - makes an EV::Kafka client's connections

=head1 DESCRIPTION

For L<EV::Kafka::Cluster>, not for use by itself. All connections of a client have its options, and
share what they learn of host names.

=head1 METHODS

=head2 new(%about)

Of an L<EV::Kafka::Outbox> and the options.

=head2 conn([$loop, [$node_id]])

A connection that is not connected yet.

=head2 count, counts

Connections count what they do from the beginning; whether that is so.

=head2 connect($conn, $host, $port, [$node_id])

With the time that a client lets it take. The broker hears who asks (KIP-511), and for whom it is taken if that is
known (KIP-1242).

=head2 closed_early

What to say of a connection that a broker has closed while it was being made.

=head2 close

Forgets addresses and credentials.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>, L<EV::Kafka::Conn>

=cut
