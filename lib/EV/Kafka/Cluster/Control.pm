package EV::Kafka::Cluster::Control;
use strict;
use warnings;

use Scalar::Util qw(refaddr);

# Metadata has a connection of its own, to whichever broker answers first. Published as
# {bootstrap_conn}, the last one that answered until there is another: programs use it, too.
#   address      its [host, port, node_id?] while it may be opened again
#   reopened_at  when that was done last
#   attempt      while a request is under way:
#                { topics, creates, candidates, conn?, name?, address?, error?, retry?, reasons }
#   tries        rounds of all candidates in a row without an answer
#   turn         which broker is asked first when it is not the current one
#   is_doubted   the current one is not asked the next time
#   doubt        { answers, turns }: answers in a row that say nothing new
#   counted      the connection that has counted for all of them so far, if anybody wants to know

# Seconds a broker may take at most to answer a Metadata request, before the next
# one is asked: whatever a program lets requests take, another broker knows as well.
use constant ANSWER_TIMEOUT => 10;

# Seconds between two times that an idle connection is opened again after a broker has
# closed it: one that always does so is not worth more.
use constant REOPEN_INTERVAL => 1;

# Seconds until all brokers are tried again when none of them answered.
use constant {
    RETRY_BACKOFF     => 0.1,
    RETRY_BACKOFF_MAX => 1,
};

# Answers in a row that say nothing new of the topics that somebody misses a leader
# of, before another broker is asked: this one may be cut off from the others, and
# will never learn. Twice as many before the next, up to 2 to this power.
use constant { STALE_ANSWERS => 3, STALE_DOUBLINGS => 6 };

# notify: answered($head, $answer), unanswered($reasons, $delay).
sub new {
    my ($class, %about) = @_;
    my $self = bless {
        map({ $_ => $about{$_} } qw(loop outbox options topics features connector published notify)),
        attempt    => undef,
        tries      => 0,
        turn       => 0,
        is_doubted => 0,
        doubt      => undef,
    }, $class;
    $self->{published}{bootstrap_conn} = undef;
    return $self;
}

# --- asking -----------------------------------------------------------------------

# For these topics, undef for all. One request at a time.
sub ask {
    my ($self, $topics, $creates) = @_;
    my $conn = $self->conn;
    my $attempt = $self->{attempt} = { topics => $topics, creates => $creates, candidates => [$self->_candidates], reasons => [] };
    my $is_doubted = $self->{is_doubted};
    $self->{is_doubted} = 0;
    if ($conn && $conn->connected && !$is_doubted) {
        @$attempt{qw(conn name address)} = ($conn, 'the current broker', $self->{address});
        return $self->_send($conn);
    }
    return $self->_next_candidate;
}

sub conn { return $_[0]{published}{bootstrap_conn} }

sub answer_timeout {
    my ($self) = @_;
    my $timeout = $self->{options}{request_timeout};
    return $timeout && $timeout < ANSWER_TIMEOUT ? $timeout : ANSWER_TIMEOUT;
}

# After each answer about topics that somebody has asked for by name.
sub answered_about_topics {
    my ($self, $is_nothing_new) = @_;
    my $doubt = $self->{doubt} = $is_nothing_new && $self->{doubt} || { answers => 0, turns => 0 };
    return if !$is_nothing_new || $self->{topics}->brokers < 2;
    return if ++$doubt->{answers} < STALE_ANSWERS * 2 ** $doubt->{turns};
    $doubt->{answers} = 0;
    $doubt->{turns}++ if $doubt->{turns} < STALE_DOUBLINGS;
    $self->{turn}++;
    $self->{is_doubted} = 1;
    return;
}

# HOST:PORT of the broker that has answered last.
sub address { my ($self) = @_; return $self->{address} && _named($self->{address}) }

sub _named { my ($address) = @_; return join ':', @$address[0, 1] }

# The connection is let go of first: what it then calls finds nothing to do.
sub drop {
    my ($self) = @_;
    my @conns = grep { defined } $self->conn, $self->{attempt} ? delete $self->{attempt}{conn} : ();
    delete $self->{address};
    $_->disconnect for @conns;
    return;
}

# The brokers that are known are none of this cluster, or are reached elsewhere: from the bootstrap list on.
sub start_again {
    my ($self) = @_;
    $self->{features}->forget;
    $self->{topics}->forget_brokers;
    return $self->drop;
}

# Gives undef as long as there is none.
sub stats { my ($self) = @_; my $conn = $self->{counted} // $self->conn; return $conn && $conn->stats }

sub count {
    my ($self) = @_;
    my $attempt = $self->{attempt} || {};
    my $conn = $self->{counted} = $attempt->{conn} // $self->conn // return;
    $conn->_count;
    return;
}

sub _goes_on_counting {
    my ($self, $conn) = @_;
    return unless $self->{connector}->counts;
    $conn->_count($self->{counted});
    $self->{counted} = $conn;
    return;
}

# --- the candidates -----------------------------------------------------------------

# The brokers of the cluster first; when none of them answers, the bootstrap
# list again (KIP-899): the whole cluster may have moved.
sub _candidates {
    my ($self) = @_;
    my @nodes = $self->{topics}->brokers;
    push @nodes, splice @nodes, 0, $self->{turn} % @nodes if @nodes;
    my %seen;
    return grep { !$seen{"$_->[0]:$_->[1]"}++ }
        (map { my $broker = $self->{topics}->broker($_); [@$broker{qw(host port)}, $_] } @nodes), $self->_bootstrap;
}

# To these nobody says for whom they are taken.
sub _bootstrap { return map { [@$_[0, 1]] } @{ $_[0]{options}{bootstrap} } }

sub _next_candidate {
    my ($self) = @_;
    my $attempt = $self->{attempt} or return;
    $self->drop;
    my $address = shift @{ $attempt->{candidates} } or return $self->_nobody_answers;
    my $conn    = $attempt->{conn} = $self->{connector}->conn;
    $conn->request_timeout($self->answer_timeout);
    $self->_goes_on_counting($conn);
    $self->_log(debug => 'asked for metadata, ' . _named($address));
    @$attempt{qw(name address is_sent)} = (_named($address), $address, 0);
    my ($outbox, $id) = ($self->{outbox}, refaddr $conn);
    $conn->on_connect($outbox->entry($self, '_ready', $id));
    $conn->on_error($outbox->entry($self, '_said', $id));
    $conn->on_disconnect($outbox->entry($self, '_down', $id));
    return $self->{connector}->connect($conn, @$address);
}

sub _log {
    my ($self, $level, $text) = @_;
    my $outbox = $self->{outbox};
    return $outbox->logs('cluster') ? $outbox->log(cluster => $level, $text) : undef;
}

sub _nobody_answers {
    my ($self) = @_;
    my $attempt = delete $self->{attempt};
    my $delay   = $self->{loop}->backoff(++$self->{tries}, RETRY_BACKOFF, RETRY_BACKOFF_MAX);
    return $self->{notify}->(unanswered => join('; ', @{ $attempt->{reasons} }), $delay);
}

sub _is_asked {
    my ($self, $id) = @_;
    my $conn = ($self->{attempt} || {})->{conn};
    return $conn && refaddr($conn) == $id;
}

sub _ready {
    my ($self, $id) = @_;
    my $is_asked = $self->_is_asked($id);
    my $conn = $is_asked ? $self->{attempt}{conn} : $self->conn // return;
    $self->{features}->met($conn);
    return $is_asked ? $self->_send($conn) : undef;
}

sub _said {
    my ($self, $id, $error) = @_;
    $self->{attempt}{error} = $error if $self->_is_asked($id);
    return;
}

sub _send {
    my ($self, $conn) = @_;
    my $attempt = $self->{attempt};
    $attempt->{is_sent} = 1;
    $conn->_metadata($attempt->{topics}, $self->{outbox}->entry($self, '_answered', refaddr $conn),
        { allow_auto_topic_creation => $attempt->{creates} });
    return;
}

sub _answered {
    my ($self, $id, $answer, $error) = @_;
    return if !$self->_is_asked($id);
    my $head = $answer && $answer->head;
    $error = 'incomplete Metadata answer' if !defined $error && $head->{truncated};
    return $self->_failed($error) if defined $error;
    my $attempt = delete $self->{attempt};
    $self->{published}{bootstrap_conn} = $attempt->{conn};
    @$self{qw(address tries)} = ($attempt->{address}, 0);
    return $self->{notify}->(answered => $head, $answer);
}

sub _down {
    my ($self, $id) = @_;
    if ($self->_is_asked($id)) {
        my $attempt = $self->{attempt};
        return if $attempt->{retry};
        my $reason = $attempt->{error}
            // ($attempt->{is_sent} ? 'connection closed by broker' : $self->{connector}->closed_early);
        return $self->_failed($reason);
    }
    my $conn = $self->conn;
    return $conn && refaddr($conn) == $id ? $self->_reopen : undef;
}

# It was idle, between two requests. Once and without a word: if that fails the next
# request opens another.
sub _reopen {
    my ($self) = @_;
    return if !$self->{address};
    my ($now, $last) = ($self->{loop}->now, $self->{reopened_at});
    my $address = $self->{address};
    if (defined $last && $now - $last < REOPEN_INTERVAL) {
        delete $self->{address};
        return;
    }
    $self->{reopened_at} = $now;
    return $self->{connector}->connect($self->conn, @$address);
}

sub _failed {
    my ($self, $reason) = @_;
    my $attempt = $self->{attempt};
    push @{ $attempt->{reasons} }, "$attempt->{name}: $reason";
    $self->_log(warning => "no metadata from $attempt->{name}: $reason");
    my $conn = $attempt->{conn};
    return $self->_elsewhere($reason) if $conn && $conn->_has_met_another;
    return $self->_next_candidate unless $attempt->{address} && $conn && $conn->_has_untried_addresses;
    # The broker may be behind the next address of its name. First this one's end is over.
    delete $attempt->{error};
    $attempt->{retry} = $self->{loop}->timer(0, $self, '_try_next_address');
    return;
}

sub _elsewhere {
    my ($self, $reason) = @_;
    my $attempt = $self->{attempt};
    $self->{outbox}->notice("elsewhere $attempt->{name}", "$attempt->{name}: $reason; asking the bootstrap brokers");
    $attempt->{candidates} = [$self->_bootstrap];
    $self->start_again;
    return $self->_next_candidate;
}

sub _try_next_address {
    my ($self) = @_;
    my $attempt = $self->{attempt} or return;
    delete $attempt->{retry};
    return $self->{connector}->connect($attempt->{conn}, @{ $attempt->{address} });
}

# --- the end ------------------------------------------------------------------------

# Nobody is asked any more.
sub stop {
    my ($self) = @_;
    delete $self->{attempt}{retry} if $self->{attempt};
    delete $self->{address};
    return;
}

sub close {
    my ($self) = @_;
    $self->stop;
    $self->drop;
    $self->{attempt} = $self->{counted} = $self->{published}{bootstrap_conn} = undef;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Control - finds a broker that answers Metadata

=head1 DESCRIPTION

For L<EV::Kafka::Cluster>, not for use by itself. It sends the client's Metadata requests over a
connection of their own: to the first bootstrap broker that answers, later to any broker of the
cluster, and to the bootstrap list again when none of those answers (KIP-899). A broker that has
nothing new to say of topics that are missed is left for another.

=head1 METHODS

=head2 new(%about)

The fields are listed at the head of the module.

=head2 ask(\@topics, $creates)

One request, undef for all topics.

=head2 conn, address, answer_timeout, drop

The connection, the seconds that an answer may take, and how to be rid of it.

=head2 start_again

From the bootstrap list.

=head2 answered_about_topics($is_nothing_new)

After some answers without news another broker is asked.

=head2 count, stats

What the connections do is counted from now on; what they have done, one after the other.

=head2 stop, close

Nobody is asked any more; the connection is closed.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
