package EV::Kafka::Consumer::Broker;
use strict;
use warnings;

use List::Util ();
use Scalar::Util qw(refaddr weaken);

use EV::Kafka::Consumer::Cursor;
use EV::Kafka::Error;

# Fetch requests to one broker, at most one of which is under way.
#   told       what the broker was told to send, an EV::Kafka::FetchSession (KIP-227)
#   parts      the same by "topic:partition": { assigned, cursor, generation, from, last_epoch }, as it was when the
#              broker was told; the cursors are not kept alive
#   terms      what all parts depend on
#   large      by "topic:partition": cursors for which more is asked than usual; not kept alive
#   fetch      the Fetch, from before the connection is ready; or the wait until there may be one
#   timer      which the latter has
#   failures   in a row
#   op         sends it when there will be a connection, the same for every Fetch
# A Fetch is
#   rounds      of poll, that take part in its answer
#   is_ahead    it left before anybody called poll
#   has_joined  the rounds that have come later
#   is_sent     it has left
#   asked       poll wants what comes with it
#   told        by "topic:partition" what the broker was told with it, if that matters to EV::Kafka::Consumer::Ends
#   asked_of    by "topic:partition", where that is otherwise
#   max_bytes   what was asked for
#   large       the broker's
# and what EV::Kafka::Consumer::Answer finds: progress, stuck, error

# Seconds between tries of a broker whose Fetch failed.
use constant {
    BACKOFF     => 0.1,
    BACKOFF_MAX => 1,
};

# From Fetch 12 on a broker compares the epoch of what was read last itself (KIP-595). Before that
# it is asked by OffsetForLeaderEpoch, which consumers may use from version 3 on (KIP-320).
use constant {
    API_FETCH                   => 1,
    FETCH_CHECKS_FROM           => 12,
    API_OFFSET_FOR_LEADER_EPOCH => 23,
    CONSUMERS_MAY_ASK_FROM      => 3,
};

# delivery says whether one that failed is tried again. news: answered($broker, $fetch, $fetched); ended, without an
# answer; unchecked($assigned, $cursor, $epoch), the leader's log has to be checked first.
sub new {
    my ($class, %about) = @_;
    return bless {
        map({ $_ => $about{$_} } qw(node_id loop outbox options cluster offsets assigned ends places delivery news)),
        told => EV::Kafka::FetchSession->new, parts => {}, terms => '', large => {}, failures => 0,
    }, $class;
}

sub node_id { return $_[0]{node_id} }
sub is_busy { return $_[0]{fetch} ? 1 : 0 }

# The round, if there is one, takes part in the broker's next answer. Where the partitions stand has just been
# looked at.
sub ask {
    my ($self, $round) = @_;
    $round->joins if $round;
    if (my $fetch = $self->{fetch}) {
        return $round ? $self->_join($fetch, $round) : undef;
    }
    my $fetch = $self->{fetch} = { rounds => [$round || ()], is_ahead => !$round };
    my $delay = $self->_delay;
    return $delay > 0 ? $self->_wait($delay, $fetch) : $self->_send_soon;
}

sub _send_soon {
    my ($self) = @_;
    my @link = (fetch => $self->{node_id});
    if (my $conn = $self->{cluster}->ready_conn(@link)) {
        return $self->_send($conn);
    }
    return $self->{cluster}->on_broker(@link, $self->{op} ||= {
        run => $self->{outbox}->entry($self, '_send_later'),
        cb  => $self->{outbox}->entry($self, '_unsent'),
    });
}

# What a seek has made void by now stays so; what comes with the answer otherwise
# was asked for.
sub _join {
    my ($self, $fetch, $round) = @_;
    # One that has waited for many positions comes here for each of them.
    return $round->leaves if ($fetch->{is_sent} || !$fetch->{is_ahead}) && $fetch->{has_joined}{ refaddr $round }++;
    push @{ $fetch->{rounds} }, $round;
    return $fetch->{is_sent} ? $self->_ask_for_all($fetch) : undef;
}

# Only what was touched can be otherwise.
sub _ask_for_all {
    my ($self, $fetch) = @_;
    my $parts = $self->{parts};
    $self->{places}->settle;
    my %asked_of;
    for my $key (grep { $parts->{$_} } keys %{ $fetch->{asked_of} }, keys %{ $self->{places}->touched($self->{node_id}) }) {
        my ($cursor, $generation) = @{ $parts->{$key} }{qw(cursor generation)};
        $asked_of{$key} = $fetch->{asked_of}{$key} // $fetch->{asked}
            if $cursor && ($generation != $cursor->{generation} || $cursor->is_resolving);
    }
    @$fetch{qw(asked asked_of)} = (1, \%asked_of);
    return;
}

# --- what is asked for ------------------------------------------------------------------

# Seconds until the first of what may be fetched is to be tried again.
sub _delay {
    my ($self) = @_;
    my ($node_id, $places) = @$self{qw(node_id places)};
    my $at = $places->at($node_id);
    # What was not touched waits for nothing.
    my @touched = map { $at->{$_} || () } keys %{ $places->touched($node_id) };
    return 0 if keys %$at > @touched || !@touched;
    my $now = $self->{loop}->now;
    return List::Util::min(map { $_->{cursor}->wait_at($now) } @touched);
}

sub _wait {
    my ($self, $seconds, $fetch) = @_;
    $self->{timer} = $self->{loop}->timer($seconds, $self, _end => $fetch);
    return;
}

sub _send_later {
    my ($self, undef, $conn) = @_;
    return unless $self->{fetch};
    $self->{places}->update;
    return $self->_send($conn);
}

sub _send {
    my ($self, $conn) = @_;
    my ($fetch, $options, $large) = @$self{qw(fetch options large)};
    $fetch->{told} = $self->{ends}->is_wanted ? {} : undef;
    $self->_tell_session($conn);
    return $self->_end($fetch) unless %{ $self->{parts} };

    my $max_bytes = List::Util::max($options->{fetch_max_bytes}, map { $_->{max_bytes} // 0 } grep { $_ } values %$large);
    @$fetch{qw(node_id is_sent asked max_bytes large)} = ($self->{node_id}, 1, !$fetch->{is_ahead}, $max_bytes, $large);
    $conn->_fetch($self->{told}, $max_bytes, @$options{qw(fetch_max_wait_ms fetch_min_bytes)}, $self->{offsets}->isolation,
        $self->{outbox}->entry($self, _answered => $fetch));
    return;
}

# What was not touched since is as the broker was told.
sub _tell_session {
    my ($self, $conn) = @_;
    my ($node_id, $places, $parts) = @$self{qw(node_id places parts)};
    my $checks = $conn->_highest_version(API_FETCH) >= FETCH_CHECKS_FROM;
    my $may_ask = !$checks && $conn->_highest_version(API_OFFSET_FOR_LEADER_EPOCH) >= CONSUMERS_MAY_ASK_FROM;
    my ($at, $touched) = ($places->at($node_id), $places->touched($node_id));
    my $terms = "$checks $may_ask $self->{options}{fetch_max_bytes}";
    if ($self->{terms} ne $terms) {
        $self->{terms} = $terms;
        @$touched{ keys %$at } = (1) x keys %$at;
    }
    return unless %$touched;
    my $now = $self->{loop}->now;
    for my $key (_in_order($parts, $at, keys %$touched)) {
        my $place = $at->{$key};
        # What waits is looked at again each time.
        my $waits = $place && $place->{cursor}->wait_at($now) > 0;
        delete $touched->{$key} unless $waits;
        if    ($place && !$waits && (!$may_ask || $self->_is_checked($place))) { $self->_want($place, $checks) }
        elsif (my $part = delete $parts->{$key})                               { $self->_forget($part) }
    }
    return;
}

# What is new is told in the order in which it was assigned.
sub _in_order {
    my ($parts, $at, @keys) = @_;
    my @new = grep { $at->{$_} && !$parts->{$_} } @keys;
    return @keys unless @new > 1;
    return ((grep { !$at->{$_} || $parts->{$_} } @keys), sort { $at->{$a}{index} <=> $at->{$b}{index} } @new);
}

# The broker checks both epochs: that it leads, and that what was read last is
# still in its log.
sub _want {
    my ($self, $place, $checks) = @_;
    my ($assigned, $cursor) = @$place{qw(assigned cursor)};
    my @partition  = @$assigned{qw(topic partition)};
    my $from       = $cursor->{next} // $assigned->{offset};
    my $last_epoch = $checks ? $cursor->{epoch} : EV::Kafka::Consumer::Cursor::NO_EPOCH();
    my $max_bytes  = $self->{options}{fetch_max_bytes};
    $max_bytes = $cursor->{max_bytes} if ($cursor->{max_bytes} || 0) > $max_bytes;
    my $part = $self->{parts}{ $place->{key} } = { assigned => $assigned, cursor => $cursor, generation => $cursor->{generation},
        from => $from, last_epoch => $last_epoch };
    weaken($part->{cursor});
    my $told = $self->{fetch}{told};
    $told->{ $place->{key} } = 1 if $told;
    my $cluster = $self->{cluster};
    $self->{told}->want(@partition, $from, $cluster->leader_epoch(@partition), $last_epoch, $max_bytes, $cluster->topic_id($partition[0]));
    return;
}

sub _forget {
    my ($self, $part) = @_;
    $self->{told}->forget(@{ $part->{assigned} }{qw(topic partition)});
    return;
}

# Whether its log is known to be the one that was read.
sub _is_checked {
    my ($self, $place) = @_;
    my ($assigned, $cursor) = @$place{qw(assigned cursor)};
    my $epoch = $self->{cluster}->leader_epoch(@$assigned{qw(topic partition)});
    return 1 if $cursor->is_checked($epoch);
    $self->{news}->(unchecked => $assigned, $cursor, $epoch);
    return 0;
}

# --- what becomes of it -----------------------------------------------------------------

# What EV::Kafka::Consumer::Delivery calls a part.
sub part_of {
    my ($self, $fetch, $key) = @_;
    my $part = $self->{parts}{$key};
    return unless $part && $part->{cursor};
    return { %$part, asked => $fetch->{asked_of}{$key} // $fetch->{asked} };
}

# Whether anybody wants something of what was asked for.
sub is_wanted {
    my ($self, $fetch) = @_;
    my ($parts, $places) = @$self{qw(parts places)};
    $places->settle;
    my @touched = grep { $parts->{$_} } keys %{ $places->touched($self->{node_id}) };
    return 1 if keys %$parts > @touched;
    return scalar grep { $self->{assigned}->is_wanted($_) } map { $self->part_of($fetch, $_) } @touched;
}

sub _answered {
    my ($self, $fetch, $fetched, $error) = @_;
    return unless ($self->{fetch} || 0) == $fetch;
    return $self->_failed($fetch, $error) if defined $error;
    $self->{failures} = 0;
    return defined $fetched ? $self->{news}->(answered => $self, $fetch, $fetched) : $self->_send_again($fetch);
}

sub _failed {
    my ($self, $fetch, $error) = @_;
    my ($outbox, $node_id) = @$self{qw(outbox node_id)};
    $outbox->log(fetch => warning => "Fetch from broker $node_id: $error", broker => $node_id) if $outbox->logs('fetch');
    $self->{told}->start_over;
    $self->{cluster}->request_failed(fetch => $self->{node_id});
    # A connection that is lost makes its own delay, an answer that is of no use does not.
    if ($self->{cluster}->ready_conn(fetch => $self->{node_id})) {
        my $now = $self->{loop}->now;
        $_->delay($now) for grep { $_ } map { $_->{cursor} } values %{ $self->{parts} };
    }
    return $self->_end($fetch, $error);
}

# The broker has forgotten the session.
sub _send_again {
    my ($self, $fetch) = @_;
    delete @$fetch{qw(is_sent asked asked_of)};
    $fetch->{is_ahead} = !@{ $fetch->{rounds} };
    $self->{places}->update;
    return $self->_send_soon;
}

sub _unsent {
    my ($self, undef, $error) = @_;
    return $self->{fetch} ? $self->_end($self->{fetch}, $error) : undef;
}

# Its answer has been read: the next one may leave. True if it was under way at all.
sub forget {
    my ($self, $fetch) = @_;
    return 0 unless ($self->{fetch} || 0) == $fetch;
    delete $self->{fetch};
    return 1;
}

sub _end {
    my ($self, $fetch, $error) = @_;
    return unless $self->forget($fetch);
    $error = EV::Kafka::Error->from($error)->as_retriable->at(operation => 'Fetch', broker => $self->{node_id}) if defined $error;
    delete $self->{timer};
    # In its place stands one that only waits.
    $self->_wait(EV::Kafka::Loop->backoff(++$self->{failures}, BACKOFF, BACKOFF_MAX),
        $self->{fetch} = { rounds => [], is_ahead => 1 }) if defined $error && $self->{delivery}->is_consuming;
    $_->leaves($error) for splice @{ $fetch->{rounds} };
    return $self->{news}->('ended');
}

# Nobody wants the answer any more to what was sent. Gives the rounds that waited for it.
sub give_up {
    my ($self) = @_;
    return unless $self->{fetch} && $self->{fetch}{is_sent};
    $self->{told}->start_over;
    return splice @{ (delete $self->{fetch})->{rounds} };
}

# What was fetched of a partition before a seek is not delivered after it, although it
# was asked for.
sub void {
    my ($self, $cursor) = @_;
    my $fetch = $self->{fetch} || {};
    my $key   = $cursor->key;
    my $part  = $fetch->{is_sent} && $self->{parts}{$key} or return;
    $fetch->{asked_of}{$key} = 0 if ($part->{cursor} || 0) == $cursor;
    return;
}

# The broker need not remember what it was told. Behind a Fetch that waits it would hear of that too late.
sub leave {
    my ($self) = @_;
    my $purpose = $self->{fetch} ? 'main' : 'fetch';
    my $conn = $self->{cluster}->ready_conn($purpose => $self->{node_id}) or return;
    return $self->{told}->end_on($conn);
}

# Gives the rounds that waited.
sub close {
    my ($self) = @_;
    delete $self->{timer};
    my $fetch = delete $self->{fetch} or return;
    return splice @{ $fetch->{rounds} };
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Broker - what a consumer fetches from one broker

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It sends one Fetch at a time, for all
partitions that the broker leads, and waits when that fails. The broker remembers what it was asked for (KIP-227): a
Fetch says what has changed, and the answer has what is new.

=head1 METHODS

=head2 new(%about), node_id, is_busy

With C<node_id>, C<loop>, C<outbox>, C<options>, C<cluster>, C<offsets>, C<assigned>, C<places>, C<delivery> and C<news>; whether
there is a Fetch, or the wait for one.

=head2 ask([$round])

A Fetch, if none is under way, in whose answer the round of C<poll> takes part.

=head2 part_of($fetch, $key), is_wanted($fetch)

What was asked for of a partition, as a new part of an answer; whether anything of it is still wanted.

=head2 forget($fetch), give_up, void($cursor), leave, close

It has been answered; nobody wants it any more; what a seek makes void; the broker may forget what it was told; the
end. C<give_up> and C<close> give the rounds
that waited.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
