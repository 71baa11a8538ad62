package EV::Kafka::Connections;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# Seconds for connecting and again for every phase of the handshake.
use constant CONNECT_TIMEOUT => 10;

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

# A link is this client's view of one connection to one broker:
#   { purpose, node_id, conn, state (idle, connecting, ready, checking), address,
#     error?, request_failed?, tries, retry?, ready_at?, short_lives?,
#     unanswered_at?, refusals?, refused_at? }
# of which the last line is about Produce requests with acks 0.
# Fetch has a connection of its own ('fetch'): a broker answers a connection's
# requests one after the other, so behind a waiting Fetch a Produce would wait
# as well. The connections for everything else ('main') are those in {conns}.

sub _link {
    my ($self, $purpose, $node_id) = @_;
    my $key = "$purpose:$node_id";
    return $self->{cfg}{links}{$key} ||= $self->_new_link($key, $purpose, $node_id);
}

sub _new_link {
    my ($self, $key, $purpose, $node_id) = @_;
    my $cfg  = $self->{cfg};
    my $conn = $self->_new_conn;
    weaken(my $weak = $self);
    $conn->on_connect(sub { $weak->_link_ready($key) if $weak });
    $conn->on_error(sub { $weak->{cfg}{links}{$key}{error} = $_[0] if $weak && $weak->{cfg}{links}{$key} });
    $conn->on_disconnect(sub { $weak->_link_down($key) if $weak });
    $cfg->{conns}{$node_id} = $conn if $purpose eq 'main';
    return { purpose => $purpose, node_id => $node_id, conn => $conn, state => 'idle', tries => 0 };
}

sub _new_conn {
    my ($self) = @_;
    $self->_open_here;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', $self->{cfg}{loop});
    $conn->client_id($self->{cfg}{client_id});
    $conn->strings($self->{cfg}{encoder}->name) if $self->{cfg}{encoder};
    weaken(my $weak = $self);
    $conn->on_notice(sub {
        my ($text, $subject) = @_;
        return unless $weak;
        return defined $text ? $weak->_notice("conn:$subject", $text) : $weak->_notice_over("conn:$subject");
    });
    $conn->_secure_like($self->{cfg}{security}) if $self->{cfg}{security};
    $conn->request_timeout($self->{cfg}{request_timeout});
    $conn->_share_addresses($self->{cfg}{addresses} ||= EV::Kafka::Conn::_new('EV::Kafka::Conn', $self->{cfg}{loop}));
    return $conn;
}

# A connection on which the next request has every chance: what is written into one that
# has ended is lost.
sub _ready_conn {
    my ($self, $purpose, $node_id) = @_;
    my $key  = "$purpose:$node_id";
    my $link = $self->{cfg}{links}{$key} or return;
    my $conn = $link->{conn};
    return if $link->{state} ne 'ready' || !$conn->_is_usable;
    return $conn if $conn->_idle < $self->_check_after;
    $self->_check_link($key, $link);
    return;
}

sub _check_after { CHECK_AFTER * ($_[0]{cfg}{request_timeout} // CHECK_PATIENCE || CHECK_PATIENCE) }

# Whatever is asked for meanwhile waits as for a connection that is being made.
sub _check_link {
    my ($self, $key, $link) = @_;
    $link->{state} = 'checking';
    my $conn = $link->{conn};
    $conn->_patience(CHECK_PATIENCE) unless $self->{cfg}{request_timeout} // 1;
    weaken(my $weak = $self);
    $conn->metadata([], sub { $weak->_link_checked($key) if $weak });
    return;
}

# Any answer is a sign of life. Without one the connection has ended, which is seen to there.
sub _link_checked {
    my ($self, $key) = @_;
    my $link = $self->{cfg}{links}{$key} or return;
    return if $link->{state} ne 'checking' || !$link->{conn}->connected;
    $link->{state} = 'ready';
    return $self->_serve_link($link);
}

sub _serve_link {
    my ($self, $link) = @_;
    $self->_drain_pending_for($link->{node_id});
    $self->_send_ready_to($link->{node_id}) if $link->{purpose} eq 'main';
    return;
}

# Runs the operation on a ready connection, now or once there is one. The next
# failure to connect fails it.
sub _on_broker {
    my ($self, $purpose, $node_id, $op) = @_;
    if (my $conn = $self->_ready_conn($purpose, $node_id)) {
        return $self->_run_ops($op);
    }
    $self->_queue_op({ %$op, purpose => $purpose, node_id => $node_id });
    return $self->_open_link($self->_link($purpose, $node_id));
}

sub _open_link {
    my ($self, $link) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || $link->{state} ne 'idle' || $link->{retry};
    my $broker = $cfg->{broker_map}{ $link->{node_id} };
    if (!$broker) {
        $self->_fail_pending_for(@$link{qw(purpose node_id)}, 'no connection to leader: broker '
            . "$link->{node_id} has left the cluster");
        return $self->_refresh_metadata;
    }
    $link->{state}   = 'connecting';
    $link->{address} = "$broker->{host}:$broker->{port}";
    delete @$link{qw(error request_failed)};
    $link->{conn}->connect($broker->{host}, $broker->{port}, CONNECT_TIMEOUT);
    return;
}

sub _link_ready {
    my ($self, $key) = @_;
    my $link = $self->{cfg}{links}{$key} or return;
    @$link{qw(state tries ready_at)} = ('ready', 0, $self->_now);
    delete $self->{cfg}{lost_brokers}{ $link->{address} };
    $self->_watch_idle_links;
    $self->_watch_silence;
    return $self->_serve_link($link);
}

# Every request that a connection's end has failed says so here: only a
# connection that was needed is a loss.
sub _request_failed {
    my ($self, $purpose, $node_id) = @_;
    my $link = $self->{cfg}{links}{"$purpose:$node_id"} or return;
    $link->{request_failed} = 1;
    return;
}

sub _link_down {
    my ($self, $key) = @_;
    my $cfg  = $self->{cfg};
    my $link = $cfg->{links}{$key} or return;
    my ($was, $error, $needed) = @$link{qw(state error request_failed)};
    $link->{state} = 'idle';
    delete @$link{qw(error request_failed)};
    return if $cfg->{closed} || $was eq 'idle';

    my $is_quiet = $was eq 'ready' && !defined $error && !$needed;
    return $self->_refused_without_answer($link) if $is_quiet && $self->_is_recent($link->{unanswered_at});

    # Brokers close connections that have been idle for connections.max.idle.ms.
    return $self->_link_ended($key, $link) if $is_quiet;
    # The next address of its name may be of more use.
    return $self->_open_link($link) if $was eq 'connecting' && $link->{conn}->_has_untried_addresses;
    if ($was eq 'checking') {
        # Nothing was entrusted to it. Whoever does not answer may have ceased to lead.
        $self->_refresh_metadata;
        return $self->_reopen_if_needed($link);
    }

    $link->{retry} = $self->_timer(
        $self->_backoff(++$link->{tries}, RECONNECT_BACKOFF, RECONNECT_BACKOFF_MAX),
        _retry_link => $key,
    );
    my $reason = $error // 'connection closed by broker';
    $self->_fail_pending_for(@$link{qw(purpose node_id)}, "no connection to leader: $reason");
    return if $cfg->{closed};
    $self->_refresh_metadata;
    return $self->_broker_lost($link, $reason);
}

# A Produce request with acks 0 is leaving for the broker.
sub _produced_unanswered {
    my ($self, $node_id) = @_;
    my $cfg = $self->{cfg};
    $cfg->{unconfirmed}{$node_id} = 1;
    my $link = $cfg->{links}{"main:$node_id"} or return;
    $link->{unanswered_at} = $self->_now;
    return;
}

sub _is_recent {
    my ($self, $time) = @_;
    return defined $time && $self->_now - $time < REFUSAL_PERIOD;
}

# The broker would have said why, mostly that the leader is another by now. The next
# try waits, longer each time, and may find that it is not needed here any more.
sub _refused_without_answer {
    my ($self, $link) = @_;
    my $key     = "$link->{purpose}:$link->{node_id}";
    my $subject = "acks 0 $link->{address}";
    if (!$self->_is_recent($link->{refused_at})) {
        $link->{refusals} = 0;
        $self->_notice_over($subject);
    }
    $link->{refused_at} = $self->_now;
    $link->{retry} = $self->_timer(
        $self->_backoff(++$link->{refusals}, RECONNECT_BACKOFF, RECONNECT_BACKOFF_MAX),
        _retry_link_if_needed => $key,
    );
    $self->_refresh_metadata;
    return $self->_notice($subject, "broker $link->{node_id} ($link->{address}) closed the connection on which messages"
        . ' were sent with acks 0: it may have refused them, and they are lost; looking for their leader',
        broker => $link->{node_id});
}

# No loss, and there is nothing to say. But a broker that closes every connection at once
# must not be asked for the next one in a tight loop.
sub _link_ended {
    my ($self, $key, $link) = @_;
    my $is_short = $self->_now - ($link->{ready_at} // 0) < SHORT_LIFE;
    $link->{short_lives} = $is_short ? ($link->{short_lives} || 0) + 1 : 0;
    return $self->_reopen_if_needed($link) if $link->{short_lives} < 2;
    my $delay = $self->_backoff($link->{short_lives} - 1, RECONNECT_BACKOFF, RECONNECT_BACKOFF_MAX);
    $link->{retry} = $self->_timer($delay, _retry_link_if_needed => $key);
    return;
}

sub _retry_link_if_needed {
    my ($self, $key) = @_;
    my $link = $self->{cfg}{links}{$key} or return;
    delete $link->{retry};
    return $self->_reopen_if_needed($link);
}

# Before a broker does: what is closed by ourselves takes no message along.
sub _watch_idle_links {
    my ($self, $after) = @_;
    my $cfg = $self->{cfg};
    my $max = $cfg->{connections_max_idle} or return;
    $cfg->{_idle_timer} ||= $self->_timer($after // $max, '_close_idle_links');
    return;
}

sub _close_idle_links {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{_idle_timer};
    my $max = $cfg->{connections_max_idle} or return;
    my $next;
    for my $key (keys %{ $cfg->{links} }) {
        my $link = $cfg->{links}{$key};
        next if $link->{state} ne 'ready';
        my $left = $max - $link->{conn}->_idle;
        if    ($left <= 0)                        { $self->_close_link($key) }
        elsif (!defined $next || $left < $next)   { $next = $left }
    }
    $self->_watch_idle_links($next) if defined $next;
    return;
}

# Undef when nobody is to be suspected: what requests may take is little, or for ever.
sub _silence {
    my ($self, $link) = @_;
    my $cfg     = $self->{cfg};
    my $timeout = $cfg->{request_timeout} // CHECK_PATIENCE;
    return if $timeout < SHORT_PATIENCE;
    my $silence = $timeout / 2 < SILENCE ? $timeout / 2 : SILENCE;
    return $silence + ($link && $link->{purpose} eq 'fetch' ? $cfg->{fetch_max_wait_ms} / 1000 : 0);
}

sub _watch_silence {
    my ($self) = @_;
    my $cfg     = $self->{cfg};
    my $silence = $self->_silence or return;
    $cfg->{_silence_timer} ||= $self->_timer($silence / 2, '_listen_for_brokers');
    return;
}

# Coordinators may take their time: a member may wait for the others.
sub _silent_links {
    my ($self) = @_;
    return grep {
        my $silence = $self->_silence($_);
        $silence && $_->{state} eq 'ready' && $_->{purpose} =~ /\A(?:main|fetch)\z/ && $_->{conn}->_silent >= $silence;
    } values %{ $self->{cfg}{links} };
}

sub _listen_for_brokers {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{_silence_timer};
    return unless grep { $_->{state} ne 'idle' } values %{ $cfg->{links} };
    $self->_watch_silence;
    $self->_give_up_silent_brokers;
    return if $cfg->{closed} || !$self->_silent_links;
    return $self->_refresh_metadata;
}

# Whoever has left the cluster and says nothing will not answer any more. A Fetch loses
# nothing, and batches with numbers may be sent twice; others wait for request_timeout.
sub _give_up_silent_brokers {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    for my $link ($self->_silent_links) {
        return if $cfg->{closed};
        my $node_id = $link->{node_id};
        next if $cfg->{broker_map}{$node_id};
        next if $link->{purpose} eq 'main' && !$cfg->{idempotent};
        my @rounds = $link->{purpose} eq 'fetch' ? $self->_give_up_fetch($node_id) : ();
        $link->{error} = 'it has left the cluster and does not answer';
        $link->{conn}->disconnect;
        $self->_end_part($_) for @rounds;
    }
    return;
}

# On purpose, which is no loss: what is under way there is of no interest any more.
sub _close_link {
    my ($self, $key) = @_;
    my $link = $self->{cfg}{links}{$key} or return;
    $link->{state} = 'idle';
    $link->{conn}->disconnect;
    return;
}

sub _retry_link {
    my ($self, $key) = @_;
    my $link = $self->{cfg}{links}{$key} or return;
    delete $link->{retry};
    return $self->_open_link($link);
}

sub _reopen_if_needed {
    my ($self, $link) = @_;
    my $node_id = $link->{node_id};
    my $waiting = grep { defined $_->{node_id} && $_->{node_id} == $node_id } @{ $self->{cfg}{pending_ops} };
    $waiting ||= grep { $_ == $node_id } $self->_ready_nodes if $link->{purpose} eq 'main';
    return $waiting ? $self->_open_link($link) : undef;
}

sub _broker_lost {
    my ($self, $link, $reason) = @_;
    return if $self->{cfg}{lost_brokers}{ $link->{address} }++;
    return $self->_report("broker $link->{node_id} ($link->{address}) lost: $reason; reconnecting");
}

# Brokers that the cluster no longer names are not reconnected to. Their
# connections stay until their requests are answered or they break.
sub _forget_departed_brokers {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    for my $key (keys %{ $cfg->{links} }) {
        my $link = $cfg->{links}{$key};
        next if $cfg->{broker_map}{ $link->{node_id} } || $link->{state} ne 'idle';
        delete $cfg->{links}{$key};
        delete $cfg->{conns}{ $link->{node_id} } if $link->{purpose} eq 'main';
        $self->_fail_pending_for(@$link{qw(purpose node_id)}, 'no connection to leader: broker '
            . "$link->{node_id} has left the cluster");
    }
    return;
}

# A broker that is somewhere else by now is no longer where it was, even if
# somebody answers there. What its answer could be lost of goes on until it comes;
# a Fetch loses nothing.
sub _follow_moved_brokers {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my @links = values %{ $cfg->{links} };
    for my $link (@links) {
        my $broker = $cfg->{broker_map}{ $link->{node_id} } or next;
        next if $link->{state} eq 'idle' || $link->{address} eq "$broker->{host}:$broker->{port}";
        my $is_fetch = $link->{purpose} eq 'fetch';
        next if $link->{conn}->pending && !$is_fetch;
        $link->{state} = 'idle';
        my @rounds = $is_fetch ? $self->_give_up_fetch($link->{node_id}) : ();
        $link->{conn}->disconnect;
        $self->_end_part($_) for @rounds;
        return if $cfg->{closed};
        $self->_reopen_if_needed($link);
    }
    return;
}

sub _disconnect_all {
    my ($self) = @_;
    my $cfg   = $self->{cfg};
    my @conns = map { $_->{conn} } values %{ $cfg->{links} };
    push @conns, grep { defined } delete $cfg->{bootstrap_conn}, delete $cfg->{control}{conn};
    $cfg->{links} = {};
    $cfg->{conns} = {};
    $_->disconnect for @conns;
    delete @$cfg{qw(addresses _idle_timer _silence_timer)};
    delete $cfg->{security};    # and with it the credentials
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Connections - an EV::Kafka client's connections to its brokers

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It opens a connection to
a broker when something is to be sent there, closes those that have been idle for
C<connections_max_idle>, asks a connection that has been idle for a while whether it
still is one, asks the cluster about a broker that owes an answer and says nothing, tells losses from idle connections that a broker closes, reports a lost
broker once and reconnects to it with a growing delay.

=head1 SEE ALSO

L<EV::Kafka>

=cut
