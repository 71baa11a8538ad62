package EV::Kafka::Bootstrap;
use strict;
use warnings;

use Scalar::Util qw(refaddr weaken);

# Seconds to connect, and again for each phase of the handshake, before the next
# broker is tried.
use constant CONNECT_TIMEOUT => 10;

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

# Metadata has a connection of its own, {bootstrap_conn}, to whichever broker
# answers first; programs use it, too, so that it stays the last one that answered until
# there is another. {control_ready} is its address while it may be opened again. While a
# request is under way, {control} is
#   { candidates, conn?, name?, address?, error?, retry?, reasons }

sub _send_metadata_request {
    my ($self) = @_;
    my $cfg  = $self->{cfg};
    my $conn = $cfg->{bootstrap_conn};
    $cfg->{control} = { candidates => [$self->_candidates], reasons => [] };
    my $is_doubted = delete $cfg->{control_doubted};
    if ($conn && $conn->connected && !$is_doubted) {
        @{ $cfg->{control} }{qw(conn name address)} = ($conn, 'the current broker', $cfg->{control_ready});
        return $self->_ask_control($conn);
    }
    return $self->_next_candidate;
}

# The brokers of the cluster first; when none of them answers, the bootstrap
# list again (KIP-899): the whole cluster may have moved.
sub _candidates {
    my ($self) = @_;
    my $cfg   = $self->{cfg};
    my @nodes = sort { $a <=> $b } keys %{ $cfg->{broker_map} };
    push @nodes, splice @nodes, 0, ($cfg->{control_turn} || 0) % @nodes if @nodes;
    my %seen;
    return grep { !$seen{"$_->[0]:$_->[1]"}++ }
        (map { [@$_{qw(host port)}] } map { $cfg->{broker_map}{$_} } @nodes), @{ $cfg->{bootstrap} };
}

sub _doubt_control {
    my ($self, $is_nothing_new) = @_;
    my $cfg   = $self->{cfg};
    my $doubt = $cfg->{doubt} = $is_nothing_new && $cfg->{doubt} || { answers => 0, turns => 0 };
    return if !$is_nothing_new || keys %{ $cfg->{broker_map} } < 2;
    return if ++$doubt->{answers} < STALE_ANSWERS * 2 ** $doubt->{turns};
    $doubt->{answers} = 0;
    $doubt->{turns}++ if $doubt->{turns} < STALE_DOUBLINGS;
    $cfg->{control_turn}++;
    $cfg->{control_doubted} = 1;
    return;
}

sub _next_candidate {
    my ($self) = @_;
    my $cfg     = $self->{cfg};
    my $control = $cfg->{control};
    return if $cfg->{closed};
    $self->_drop_control;
    my $address = shift @{ $control->{candidates} } or return $self->_candidates_exhausted;
    my $conn = $control->{conn} = $self->_new_conn;
    $conn->request_timeout($self->_answer_timeout);
    @$control{qw(name address)} = (join(':', @$address), $address);
    my $id = refaddr $conn;
    weaken(my $weak = $self);
    $conn->on_connect(sub { $weak->_control_ready($id) if $weak });
    $conn->on_error(sub { $weak->{cfg}{control}{error} = $_[0] if $weak && $weak->_is_control($id) });
    $conn->on_disconnect(sub { $weak->_control_down($id) if $weak });
    $conn->connect(@$address, CONNECT_TIMEOUT);
    return;
}

sub _answer_timeout {
    my ($self) = @_;
    my $timeout = $self->{cfg}{request_timeout};
    return $timeout && $timeout < ANSWER_TIMEOUT ? $timeout : ANSWER_TIMEOUT;
}

sub _is_control {
    my ($self, $id) = @_;
    my $conn = ($self->{cfg}{control} || {})->{conn};
    return $conn && refaddr($conn) == $id;
}

sub _control_ready {
    my ($self, $id) = @_;
    return unless $self->_is_control($id);
    return $self->_ask_control($self->{cfg}{control}{conn});
}

sub _ask_control {
    my ($self, $conn) = @_;
    my $id = refaddr $conn;
    my $request = $self->{cfg}{metadata_request};
    weaken(my $weak = $self);
    $conn->_metadata($request->{topics}, sub { $weak->_control_answered($id, @_) if $weak },
        { allow_auto_topic_creation => $request->{creates} });
    return;
}

sub _control_answered {
    my ($self, $id, $answer, $error) = @_;
    return if $self->{cfg}{closed} || !$self->_is_control($id);
    my $head = $answer && $answer->head;
    $error = 'incomplete Metadata answer' if !defined $error && $head->{truncated};
    return $self->_control_failed($error) if defined $error;
    my $control = delete $self->{cfg}{control};
    my $cfg = $self->{cfg};
    @$cfg{qw(bootstrap_conn control_ready)} = @$control{qw(conn address)};
    $cfg->{bootstrap_tries} = 0;
    $cfg->{lost_brokers}    = {} if delete $cfg->{outage};
    return $self->_metadata_answered($head, $answer);
}

sub _control_down {
    my ($self, $id) = @_;
    my $cfg = $self->{cfg};
    if ($self->_is_control($id)) {
        return if $cfg->{control}{retry};
        return $self->_control_failed($cfg->{control}{error} // 'connection closed by broker');
    }
    my $conn = $cfg->{bootstrap_conn};
    return $conn && refaddr($conn) == $id ? $self->_reopen_control : undef;
}

# It was idle, between two requests. Once and without a word: if that fails the next
# request opens another.
sub _reopen_control {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || !$cfg->{control_ready};
    my ($now, $last) = ($self->_now, $cfg->{control_reopened});
    my $address = $cfg->{control_ready};
    if (defined $last && $now - $last < REOPEN_INTERVAL) {
        delete $cfg->{control_ready};
        return;
    }
    $cfg->{control_reopened} = $now;
    $cfg->{bootstrap_conn}->connect(@$address, CONNECT_TIMEOUT);
    return;
}

sub _control_failed {
    my ($self, $reason) = @_;
    my $control = $self->{cfg}{control};
    push @{ $control->{reasons} }, "$control->{name}: $reason";
    my $conn = $control->{conn};
    return $self->_next_candidate unless $control->{address} && $conn && $conn->_has_untried_addresses;
    # The broker may be behind the next address of its name. First this one's end is over.
    delete $control->{error};
    $control->{retry} = $self->_timer(0, '_try_next_address');
    return;
}

sub _try_next_address {
    my ($self) = @_;
    my $control = $self->{cfg}{control} or return;
    delete $control->{retry};
    return $control->{conn}->connect(@{ $control->{address} }, CONNECT_TIMEOUT);
}

# The connection is let go of first: what it then calls finds nothing to do.
sub _drop_control {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my @conns = grep { defined } $cfg->{bootstrap_conn}, $cfg->{control} ? delete $cfg->{control}{conn} : ();
    delete $cfg->{control_ready};
    $_->disconnect for @conns;
    return;
}

sub _candidates_exhausted {
    my ($self) = @_;
    my $cfg     = $self->{cfg};
    my $control = delete $cfg->{control};
    my $report  = $self->_outage_report(join '; ', @{ $control->{reasons} });
    $self->_metadata_failed($self->_backoff(++$cfg->{bootstrap_tries}, RETRY_BACKOFF, RETRY_BACKOFF_MAX));
    return defined $report ? $self->_report($report) : undef;
}

# Once per outage: not for every round of tries, nor when the loss of a broker
# has already been reported.
sub _outage_report {
    my ($self, $reasons) = @_;
    my $cfg = $self->{cfg};
    if (!$cfg->{connected}) {
        return if $cfg->{outage_reported}++;
        return "connect: no bootstrap broker answers: $reasons";
    }
    my $lost = $cfg->{lost_brokers};
    return if %$lost;
    $cfg->{outage} = 1;
    $lost->{"$_->{host}:$_->{port}"} = 1 for values %{ $cfg->{broker_map} };
    return "all brokers lost: $reasons";
}

1;

__END__

=head1 NAME

EV::Kafka::Bootstrap - finds a broker that answers

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It sends the client's
Metadata requests over a connection of their own: to the first bootstrap broker
that answers, later to any broker of the cluster, and to the bootstrap list again
when none of those answers (KIP-899) or when a broker demands it (KIP-1102).

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Metadata>

=cut
