package EV::Kafka::Cluster::Link;
use strict;
use warnings;

use EV::Kafka::Error;

# One connection to one broker, as often as it has to be opened:
#   purpose, node_id  what it is for, and whom it leads to
#   conn              the connection, of its own for as long as the link lives
#   state             idle, connecting, ready or checking
#   address           where it was opened to last
#   error             what the connection has said of its end
#   request_failed    a request was lost with it
#   tries, retry      to reach a broker that was lost, and the timer of the next one
#   ready_at, short_lives   since when, and how often in a row that was not for long
#   refusals, refused_at   of Produce requests with acks 0
# Fetch has a connection of its own ('fetch'): a broker answers a connection's
# requests one after the other, so behind a waiting Fetch a Produce would wait
# as well. The connections for everything else ('main') are those in {conns}.

# Seconds between tries to reach a broker that was lost; Java's
# reconnect.backoff.ms and reconnect.backoff.max.ms, the first one doubled.
use constant {
    RECONNECT_BACKOFF     => 0.1,
    RECONNECT_BACKOFF_MAX => 1,
};

# Seconds after a Produce request with acks 0 in which a broker that closes the
# connection has refused it: it has no other way to answer.
use constant REFUSAL_PERIOD => 30;

# A connection on which nothing has moved for longer than this part of request_timeout
# is asked for a sign of life before anything is entrusted to it: firewalls and load
# balancers forget idle connections without a word.
use constant CHECK_AFTER => 0.5;

# Seconds that count as request_timeout there when requests may wait for ever.
use constant CHECK_PATIENCE => 30;

# A connection that a broker closes again within so many seconds was of no use. The
# first time it is replaced at once, after that with a growing delay.
use constant SHORT_LIFE => 1;

# Seconds without a word from a broker that owes an answer, or half of request_timeout if
# that is less, after which the cluster is asked whether the broker still is one of it. A
# request_timeout below the other is over soon enough.
use constant { SILENCE => 5, SHORT_PATIENCE => 2 };

# notify: connected, ready (also after a check), ended (without a loss), failed($error),
# lost($reason), doubted (other brokers may know more), elsewhere (another broker has its address), each with the link before all else.
sub new {
    my ($class, %about) = @_;
    my $self = bless {
        map({ $_ => $about{$_} } qw(purpose node_id loop outbox options topics features connector notify)),
        state     => 'idle',
        tries     => 0,
    }, $class;
    my ($outbox, $conn) = ($about{outbox}, $about{connector}->conn(undef, $about{node_id}));
    $conn->on_connect($outbox->entry($self, '_connected'));
    $conn->on_error($outbox->entry($self, '_said'));
    $conn->on_disconnect($outbox->entry($self, '_down'));
    $self->{conn} = $conn;
    return $self;
}

# --- what it is asked for -------------------------------------------------------

sub open {
    my ($self) = @_;
    return if $self->{state} ne 'idle' || $self->{retry};
    my $broker = $self->{topics}->broker($self->{node_id});
    if (!$broker) {
        $self->_tell(failed => $self->departure);
        return $self->_tell('doubted');
    }
    $self->{state}   = 'connecting';
    $self->{address} = "$broker->{host}:$broker->{port}";
    delete @$self{qw(error request_failed)};
    $self->_log(debug => 'connecting');
    $self->{connector}->connect($self->{conn}, @$broker{qw(host port)}, $self->{node_id});
    return;
}

# A connection on which the next request has every chance: what is written into one that
# has ended is lost.
sub ready_conn {
    my ($self) = @_;
    my $conn = $self->{conn};
    return if $self->{state} ne 'ready' || !$conn->_is_usable;
    return $conn if $conn->_idle < longest_quiet($self->{options});
    $self->_check;
    return;
}

# Every request that a connection's end has failed says so here: only a
# connection that was needed is a loss.
sub request_failed { $_[0]{request_failed} = 1; return }

# On purpose, which is no loss: what is under way there is of no interest any more.
sub close {
    my ($self) = @_;
    $self->{state} = 'idle';
    $self->{conn}->disconnect;
    return;
}

# The same as a loss.
sub give_up {
    my ($self, $error) = @_;
    $self->{error} = $error;
    $self->{conn}->disconnect;
    return;
}

# Not opened again, whatever happens.
sub stop {
    my ($self) = @_;
    delete $self->{retry};
    return;
}

# When it was connected last; '' while it is not.
sub connected_since { return $_[0]{state} eq 'idle' || $_[0]{state} eq 'connecting' ? '' : $_[0]{ready_at} }

sub is_idle { return $_[0]{state} eq 'idle' }

# Seconds for which it has been of no use to anybody, undef where that says nothing.
sub idle {
    my ($self) = @_;
    return $self->{state} eq 'ready' ? $self->{conn}->_idle : undef;
}

# Whether the broker owes an answer and says nothing. Coordinators may take their time: a member
# may wait for the others.
sub is_silent {
    my ($self) = @_;
    return 0 if $self->{state} ne 'ready' || $self->{purpose} !~ /\A(?:main|fetch)\z/;
    my $silence = silence($self->{options}) or return 0;
    $silence += $self->{options}{fetch_max_wait_ms} / 1000 if $self->{purpose} eq 'fetch';
    return $self->{conn}->_silent >= $silence;
}

# Undef when nobody is to be suspected: what requests may take is little, or for ever.
sub silence {
    my ($options) = @_;
    my $timeout = $options->{request_timeout} // CHECK_PATIENCE;
    return undef if $timeout < SHORT_PATIENCE;
    return $timeout / 2 < SILENCE ? $timeout / 2 : SILENCE;
}

# Seconds for which nothing may have moved on a connection that something is entrusted to.
sub longest_quiet {
    my ($options) = @_;
    return CHECK_AFTER * ($options->{request_timeout} // CHECK_PATIENCE || CHECK_PATIENCE);
}

sub count { return $_[0]{conn}->_count }

sub departure {
    my ($self) = @_;
    return $self->_no_connection("broker $self->{node_id} has left the cluster");
}

sub _no_connection {
    my ($self, $reason) = @_;
    return EV::Kafka::Error->without_code("no connection to leader: $reason", 1)->at(broker => $self->{node_id});
}

sub _tell {
    my ($self, $event, @about) = @_;
    return $self->{notify}->($event, $self, @about);
}

sub _log {
    my ($self, $level, $what) = @_;
    my ($outbox, $node_id, $purpose) = @$self{qw(outbox node_id purpose)};
    return unless $outbox->logs('conn');
    return $outbox->log(conn => $level, "broker $node_id ($self->{address}), $purpose: $what", broker => $node_id, purpose => $purpose);
}

# --- what becomes of the connection -----------------------------------------------

sub _connected {
    my ($self) = @_;
    @$self{qw(state tries ready_at)} = ('ready', 0, $self->{loop}->now);
    $self->{conn}->_doubt(0);
    $self->{features}->met($self->{conn});
    $self->_log(info => 'connected');
    $self->_tell('connected');
    return $self->_tell('ready');
}

sub _said {
    my ($self, $error) = @_;
    $self->{error} = $error;
    return;
}

# Whatever is asked for meanwhile waits as for a connection that is being made.
sub _check {
    my ($self) = @_;
    my $conn = $self->{conn};
    $self->{state} = 'checking';
    $self->_log(debug => 'idle for long, asked for a sign of life');
    $conn->_doubt(1);
    $conn->_patience(CHECK_PATIENCE) unless $self->{options}{request_timeout} // 1;
    $conn->metadata([], $self->{outbox}->entry($self, '_checked'));
    return;
}

# Any answer is a sign of life. Without one the connection has ended, which is seen to there.
sub _checked {
    my ($self) = @_;
    return if $self->{state} ne 'checking' || !$self->{conn}->connected;
    $self->{state} = 'ready';
    $self->{conn}->_doubt(0);
    return $self->_tell('ready');
}

sub _down {
    my ($self) = @_;
    my ($was, $error, $needed) = @$self{qw(state error request_failed)};
    $self->{state} = 'idle';
    delete @$self{qw(error request_failed)};
    return if $was eq 'idle';

    my $is_quiet = $was eq 'ready' && !defined $error && !$needed;
    my $unanswered = $self->{conn}->_unanswered_for;
    return $self->_refused_without_answer if $is_quiet && defined $unanswered && $unanswered < REFUSAL_PERIOD;

    # Brokers close connections that have been idle for connections.max.idle.ms.
    return $self->_closed_by_broker if $is_quiet;
    $self->_log(warning => 'connection ended: ' . ($error // 'closed by broker'));
    # The next address of its name may be of more use.
    return $self->open if $was eq 'connecting' && $self->{conn}->_has_untried_addresses;
    if ($was eq 'checking') {
        # Nothing was entrusted to it. Whoever does not answer may have ceased to lead.
        $self->_tell('doubted');
        return $self->_tell('ended');
    }

    $self->_retry_after(++$self->{tries}, '_retry');
    my $reason = $error // ($was eq 'connecting' ? $self->{connector}->closed_early : 'connection closed by broker');
    $self->_tell(failed => $self->_no_connection($reason));
    $self->_tell($self->{conn}->_has_met_another ? 'elsewhere' : 'doubted');
    return $self->_tell(defined $self->{ready_at} ? 'lost' : 'unreachable', $reason);
}

sub _retry_after {
    my ($self, $try, $method) = @_;
    my $loop  = $self->{loop};
    my $delay = $loop->backoff($try, RECONNECT_BACKOFF, RECONNECT_BACKOFF_MAX);
    $self->{retry} = $loop->timer($delay, $self, $method);
    $self->_log(debug => sprintf 'next try in %.2f s', $delay);
    return;
}

sub _retry {
    my ($self) = @_;
    delete $self->{retry};
    return $self->open;
}

sub _retry_if_needed {
    my ($self) = @_;
    delete $self->{retry};
    return $self->_tell('ended');
}

sub _is_recent {
    my ($self, $time) = @_;
    return defined $time && $self->{loop}->now - $time < REFUSAL_PERIOD;
}

# The broker would have said why, mostly that the leader is another by now. The next
# try waits, longer each time, and may find that it is not needed here any more.
sub _refused_without_answer {
    my ($self) = @_;
    my $subject = "acks 0 $self->{address}";
    if (!$self->_is_recent($self->{refused_at})) {
        $self->{refusals} = 0;
        $self->{outbox}->notice_over($subject);
    }
    $self->{refused_at} = $self->{loop}->now;
    $self->_retry_after(++$self->{refusals}, '_retry_if_needed');
    $self->_tell('doubted');
    return $self->{outbox}->notice($subject, "broker $self->{node_id} ($self->{address}) closed the connection on which messages"
        . ' were sent with acks 0: it may have refused them, and they are lost; looking for their leader',
        broker => $self->{node_id});
}

# No loss, and there is nothing to say. But a broker that closes every connection at once
# must not be asked for the next one in a tight loop.
sub _closed_by_broker {
    my ($self) = @_;
    $self->_log(debug => 'closed by broker while it was idle');
    my $is_short = $self->{loop}->now - ($self->{ready_at} // 0) < SHORT_LIFE;
    $self->{short_lives} = $is_short ? ($self->{short_lives} || 0) + 1 : 0;
    return $self->_tell('ended') if $self->{short_lives} < 2;
    return $self->_retry_after($self->{short_lives} - 1, '_retry_if_needed');
}

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Link - an EV::Kafka client's connection to one broker

=head1 DESCRIPTION

For L<EV::Kafka::Cluster::Links>, not for use by itself. A connection that is opened when something
is to be sent, is asked whether it still is one when it has been idle for a while, and is opened again
with a growing delay after a loss. An idle connection that the broker closes is no loss.

=head1 METHODS

=head2 new(%about)

The fields are listed at the head of the module.

=head2 open, close, give_up($error), stop

Opens it unless it is open; closes it without a word, or as a loss; keeps it from being opened again.

=head2 ready_conn

The connection if something may be sent now.

=head2 request_failed

A request was lost with the connection.

=head2 count

What the connection does is counted.

=head2 is_idle, idle, is_silent, connected_since, departure

What is seen of it: whether it is closed, for how long nothing has moved, whether the broker owes an
answer and says nothing; and what its operations hear when the broker has left the cluster.

=head1 FUNCTIONS

=head2 silence(\%options), longest_quiet(\%options)

After how many seconds a broker is suspected, and a connection on which nothing has moved.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
