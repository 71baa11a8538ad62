package EV::Kafka::Cluster::Links;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Cluster::Link;
use EV::Kafka::Error;

# All connections to brokers, but for the one that Metadata has.
#   links          by "purpose:node_id"
#   lost           by address: brokers of whose loss on_error has heard
#   answered_at    the address that metadata came from last
#   idle_timer     until the first connection has been idle for too long
#   silence_timer  until brokers that owe an answer are looked at
# Published: {conns}, node_id => the connection for everything but Fetch and coordinators.

# notify: ready($link), ended($link), failed($link, $error), gone($link) before what is under way there
# is given up, doubted, elsewhere.
sub new {
    my ($class, %about) = @_;
    my $self = bless {
        map({ $_ => $about{$_} } qw(loop outbox options topics features connector published notify)),
        links     => {},
        lost      => {},
    }, $class;
    $self->{published}{conns} = {};
    return $self;
}

sub link {
    my ($self, $purpose, $node_id) = @_;
    return $self->{links}{"$purpose:$node_id"};
}

sub open {
    my ($self, $purpose, $node_id) = @_;
    my $link = $self->{links}{"$purpose:$node_id"} ||= $self->_new_link($purpose, $node_id);
    return $link->open;
}

sub ready_conn {
    my ($self, $purpose, $node_id) = @_;
    my $link = $self->{links}{"$purpose:$node_id"} or return;
    return $link->ready_conn;
}

sub longest_quiet { return EV::Kafka::Cluster::Link::longest_quiet($_[0]{options}) }

# When no broker answers on_error hears of all of them together.
sub is_any_lost { return scalar %{ $_[0]{lost} } }

sub all_are_lost {
    my ($self) = @_;
    $self->{lost}{"$_->{host}:$_->{port}"} = 1 for map { $self->{topics}->broker($_) } $self->{topics}->brokers;
    return;
}

sub none_is_lost { $_[0]{lost} = {}; return }

# A list that stays what it is, whatever becomes of the links meanwhile.
sub _all {
    my ($self) = @_;
    my @links = values %{ $self->{links} };
    return @links;
}

sub _new_link {
    my ($self, $purpose, $node_id) = @_;
    weaken(my $weak = $self);
    my $link = EV::Kafka::Cluster::Link->new(
        map({ $_ => $self->{$_} } qw(loop outbox options topics features connector)),
        purpose => $purpose,
        node_id => $node_id,
        notify  => sub { return $weak ? $weak->_told(@_) : undef },
    );
    $self->{published}{conns}{$node_id} = $link->{conn} if $purpose eq 'main';
    return $link;
}

sub _told {
    my ($self, $event, $link, @about) = @_;
    return $self->_connected($link)    if $event eq 'connected';
    return $self->_lost($link, "lost: @about; reconnecting") if $event eq 'lost';
    return $self->_unreachable($link, @about) if $event eq 'unreachable';
    return $self->{notify}->($event, $link, @about);
}

sub _connected {
    my ($self, $link) = @_;
    delete $self->{lost}{ $link->{address} };
    $self->_watch_idle;
    return $self->_watch_silence;
}

sub _lost {
    my ($self, $link, $what) = @_;
    return if $self->{lost}{ $link->{address} }++;
    return $self->{outbox}->report(EV::Kafka::Error->without_code("broker $link->{node_id} ($link->{address}) $what", 1)
        ->at(broker => $link->{node_id}));
}

# Where nothing has ever been reached the address may be none for this network.
sub _unreachable {
    my ($self, $link, $reason) = @_;
    my $address = $link->{address};
    my $is_known = ($self->{answered_at} // '') eq $address || grep { $_->{address} eq $address && $_->{ready_at} } $self->_all;
    return $self->_lost($link, "lost: $reason; reconnecting") if $is_known;
    return $self->_lost($link, "cannot be reached: $reason; it is tried again. The cluster gives this address for it:"
        . ' see advertised.listeners there');
}

# Metadata came from this address.
sub answered_at { $_[0]{answered_at} = $_[1]; return }

# --- statistics ----------------------------------------------------------------------

sub count { my ($self) = @_; $_->count for $self->_all; return }

# By broker, whatever its connections are for.
sub stats {
    my ($self) = @_;
    my %links;
    push @{ $links{ $_->{node_id} } }, $_ for $self->_all;
    return { map { $_ => $self->_broker_stats($_, @{ $links{$_} }) } keys %links };
}

sub _broker_stats {
    my ($self, $node_id, @links) = @_;
    my ($first, @others) = map { $_->{conn} } @links;
    my $broker = $self->{topics}->broker($node_id) || {};
    return { %{ $first->stats(@others) }, host => $broker->{host}, port => $broker->{port},
        connections => { map { $_->{purpose} => $_->{state} } @links } };
}

# --- connections that nobody uses ---------------------------------------------------

# Closed before a broker does: what is closed by ourselves takes no message along.
sub _watch_idle {
    my ($self, $after) = @_;
    my $max = $self->{options}{connections_max_idle} or return;
    $self->{idle_timer} ||= $self->{loop}->timer($after // $max, $self, '_close_idle');
    return;
}

sub _close_idle {
    my ($self) = @_;
    delete $self->{idle_timer};
    my $max = $self->{options}{connections_max_idle} or return;
    my $next;
    for my $link ($self->_all) {
        my $idle = $link->idle // next;
        my $left = $max - $idle;
        if    ($left <= 0)                      { $link->close }
        elsif (!defined $next || $left < $next) { $next = $left }
    }
    $self->_watch_idle($next) if defined $next;
    return;
}

# --- brokers that say nothing -------------------------------------------------------

sub _watch_silence {
    my ($self) = @_;
    my $silence = EV::Kafka::Cluster::Link::silence($self->{options}) or return;
    $self->{silence_timer} ||= $self->{loop}->timer($silence / 2, $self, '_listen');
    return;
}

sub _listen {
    my ($self) = @_;
    delete $self->{silence_timer};
    return unless grep { !$_->is_idle } $self->_all;
    $self->_watch_silence;
    $self->_give_up_silent;
    return $self->_silent ? $self->{notify}->('doubted') : undef;
}

sub _silent {
    my ($self) = @_;
    return grep { $_->is_silent } $self->_all;
}

# Whoever has left the cluster and says nothing will not answer any more. A Fetch loses
# nothing, and batches with numbers may be sent twice; others wait for request_timeout.
sub _give_up_silent {
    my ($self) = @_;
    for my $link ($self->_silent) {
        next if $self->{topics}->broker($link->{node_id});
        next if $link->{purpose} eq 'main' && !$self->{options}{idempotent};
        $self->{notify}->(gone => $link);
        $link->give_up('it has left the cluster and does not answer');
    }
    return;
}

# --- brokers that have left or moved --------------------------------------------------

# Brokers that the cluster no longer names are not reconnected to. Their
# connections stay until their requests are answered or they break.
sub forget_departed {
    my ($self) = @_;
    for my $link ($self->_all) {
        next if $self->{topics}->broker($link->{node_id}) || !$link->is_idle;
        delete $self->{links}{"$link->{purpose}:$link->{node_id}"};
        delete $self->{published}{conns}{ $link->{node_id} } if $link->{purpose} eq 'main';
        $self->{notify}->(failed => $link, $link->departure);
    }
    return;
}

# A broker that is somewhere else by now is no longer where it was, even if
# somebody answers there. What its answer could be lost of goes on until it comes;
# a Fetch loses nothing.
sub follow_moved {
    my ($self) = @_;
    for my $link ($self->_all) {
        my $broker = $self->{topics}->broker($link->{node_id}) or next;
        next if $link->is_idle || $link->{address} eq "$broker->{host}:$broker->{port}";
        next if $link->{conn}->pending && $link->{purpose} ne 'fetch';
        $self->{notify}->(gone => $link);
        $link->close;
        $self->{notify}->(ended => $link);
    }
    return;
}

# --- the end ------------------------------------------------------------------------

# Nothing is opened any more.
sub stop {
    my ($self) = @_;
    delete @$self{qw(idle_timer silence_timer)};
    $_->stop for $self->_all;
    return;
}

sub close {
    my ($self) = @_;
    $self->stop;
    my @links = $self->_all;
    $self->{links} = {};
    $self->{published}{conns} = {};
    $_->close for @links;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Links - an EV::Kafka client's connections to its brokers

=head1 DESCRIPTION

For L<EV::Kafka::Cluster>, not for use by itself. The connections by broker and purpose: those that
have been idle for C<connections_max_idle> are closed, the cluster is asked about a broker that owes an
answer and says nothing, a lost broker is reported once, however many connections and tries that takes,
and those that have left the cluster or moved are followed.

=head1 METHODS

=head2 new(%about)

The fields are listed at the head of the module.

=head2 link($purpose, $node_id)

An L<EV::Kafka::Cluster::Link>, if there is one.

=head2 open($purpose, $node_id), ready_conn($purpose, $node_id)

Opens the link, which is made when there is none; its connection if something may be sent now.

=head2 longest_quiet

Seconds for which nothing may have moved on a connection that something is entrusted to.

=head2 count, stats

What the connections do is counted from now on; what they have done, by broker.

=head2 answered_at($address)

Where metadata came from: an address that can be reached.

=head2 is_any_lost, all_are_lost, none_is_lost

Of whose loss on_error has heard.

=head2 forget_departed, follow_moved

After an answer that names the brokers.

=head2 stop, close

Nothing is opened any more; all are closed.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
