package EV::Kafka::Poll;
use strict;
use warnings;

# A round is one call of poll: { cb, left, error, timer? }. It ends when the Fetch
# requests that it started or joined have been answered and delivered. One that
# has nobody to ask may wait in {idle_rounds}, for as long as its timer runs.

sub poll {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    return $self->_poll_ends({ cb => $cb, left => 1 }) unless @{ $cfg->{assignments} };
    return if !$cb && !$self->{cluster}->is_connected && grep { $_->{is_poll} } @{ $cfg->{pending_ops} };
    # Its callback takes an error alone, what waits for connect gets (undef, $error).
    return $self->_when_connected({
        is_poll => 1,
        polled  => $cb,
        cb      => $cb && sub { $cb->($_[1]) },
        run     => \&_poll_now,
    });
}

sub _poll_now {
    my ($self, $op) = @_;
    my $round = { cb => $op->{polled}, left => 1 };
    $self->_ask_for($round);
    return $self->_poll_ends($round);
}

# A program that polls again from the callback would never let go of the processor,
# or come back to the event loop, if there is nothing to fetch from. It is answered
# like by a broker that has nothing; whether that changes is looked at meanwhile.
sub _poll_ends {
    my ($self, $round) = @_;
    my $cfg = $self->{cfg};
    return $self->_end_part($round) unless $round->{left} == 1 && $round->{cb} && !$cfg->{closed}
        && ($cfg->{in_poll_callback} || $self->_is_all_paused);
    push @{ $cfg->{idle_rounds} }, $round;
    $round->{timer} ||= $self->_timer($cfg->{fetch_max_wait_ms} / 1000, _end_idle_round => $round);
    return;
}

sub _is_all_paused {
    my ($self) = @_;
    my @assigned = @{ $self->{cfg}{assignments} };
    return @assigned && !grep { !$self->_cursor($_)->is_stopped } @assigned;
}

sub _end_idle_round {
    my ($self, $round) = @_;
    my $idle = $self->{cfg}{idle_rounds};
    @$idle = grep { $_ != $round } @$idle;
    delete $round->{timer};
    return $self->_end_part($round);
}

# There may be something to ask for by now.
sub _poll_again {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return unless $self->{cluster}->is_connected && @{ $cfg->{idle_rounds} };
    for my $round (splice @{ $cfg->{idle_rounds} }) {
        delete $round->{error};
        $self->_ask_for($round) unless $cfg->{closed};
        if ($round->{left} == 1 && !$cfg->{closed}) {
            push @{ $cfg->{idle_rounds} }, $round;
        }
        else {
            delete $round->{timer};
            $self->_end_part($round, $cfg->{closed} ? 'client closed' : undef);
        }
    }
    return;
}

sub _ask_for {
    my ($self, $round) = @_;
    $self->_listen_again;
    $self->_join_answers($round);
    my @nodes = $self->_nodes_to_ask(sub {
        my ($cursor) = @_;
        $round->{left}++;
        push @{ $cursor->{waiters} }, $round;
    });
    for my $node_id (@nodes) {
        $self->_fetch_from($node_id, $round) unless $self->_has_undelivered($node_id);
    }
    return;
}

sub _end_part {
    my ($self, $round, $error) = @_;
    $round->{error} //= $error;
    return if --$round->{left};
    local $self->{cfg}{in_poll_callback} = 1;
    return $self->_call(delete $round->{cb}, grep { defined } $round->{error});
}

1;

__END__

=head1 NAME

EV::Kafka::Poll - fetches once what an EV::Kafka client consumes

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<poll>, and when its callback is
called: once, after everything that it asked for, and from the event loop if it is
called by itself.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Fetcher>

=cut
