package EV::Kafka::Consumer::Broker;
use strict;
use warnings;

use List::Util ();
use Scalar::Util qw(refaddr);

use EV::Kafka::Consumer::Cursor;

# Fetch requests to one broker, at most one of which is under way.
#   fetch      it, from before the connection is ready; or the wait until there may be one
#   timer      which the latter has
#   failures   in a row
#   turn       which partition comes first in the next one
#   op         sends it when there will be a connection, the same for every Fetch
# A Fetch is
#   rounds      of poll, that take part in its answer
#   is_ahead    it left before anybody called poll
#   has_joined  the rounds that have come later
#   fetchable   what it may ask for, as long as it has only just been looked at
#   parts       once it has been sent, by "topic:partition": EV::Kafka::Consumer::Delivery says what
#               they are, and last_epoch, what the broker was told of
#   max_bytes   what was asked for
#   and what EV::Kafka::Consumer::Answer finds: progress, stuck, error

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
    return bless { map({ $_ => $about{$_} } qw(node_id loop outbox options cluster offsets assigned delivery news)), failures => 0, turn => 0 }, $class;
}

sub node_id { return $_[0]{node_id} }
sub is_busy { return $_[0]{fetch} ? 1 : 0 }

# The round, if there is one, takes part in the broker's next answer.
sub ask {
    my ($self, $round) = @_;
    $round->joins if $round;
    if (my $fetch = $self->{fetch}) {
        return $round ? _join($fetch, $round) : undef;
    }
    my @fetchable = $self->_fetchable;
    my $fetch = $self->{fetch} = { rounds => [$round || ()], is_ahead => !$round, fetchable => \@fetchable };
    my $now   = $self->{loop}->now;
    my $delay = List::Util::min(map { $_->[1]->wait_at($now) } @fetchable) // 0;
    $delay > 0 ? $self->_wait($delay, $fetch) : $self->_send_soon;
    # Later it is looked at again.
    delete $fetch->{fetchable};
    return;
}

sub _send_soon {
    my ($self) = @_;
    my @link = (fetch => $self->{node_id});
    if (my $conn = $self->{cluster}->ready_conn(@link)) {
        return $self->_send(undef, $conn);
    }
    return $self->{cluster}->on_broker(@link, $self->{op} ||= {
        run => $self->{outbox}->entry($self, '_send'),
        cb  => $self->{outbox}->entry($self, '_unsent'),
    });
}

# What a seek has made void by now stays so; what comes with the answer otherwise
# was asked for.
sub _join {
    my ($fetch, $round) = @_;
    # One that has waited for many positions comes here for each of them.
    return $round->leaves if ($fetch->{parts} || !$fetch->{is_ahead}) && $fetch->{has_joined}{ refaddr $round }++;
    push @{ $fetch->{rounds} }, $round;
    $_->{asked} = 1 for grep { $_->{generation} == $_->{cursor}{generation} && !$_->{cursor}->is_resolving }
        values %{ $fetch->{parts} || {} };
    return;
}

# --- what is asked for ------------------------------------------------------------------

# [assigned, cursor] of what the broker leads and may be fetched.
sub _fetchable {
    my ($self) = @_;
    my ($node_id, $cluster, $assigned) = @$self{qw(node_id cluster assigned)};
    my @found;
    for my $partition ($assigned->all) {
        next if $partition->{offset} < 0;
        my $leader = $cluster->leader(@$partition{qw(topic partition)});
        next if !defined $leader || $leader != $node_id;
        my $cursor = $assigned->cursor($partition);
        push @found, [$partition, $cursor] if $cursor->is_fetchable;
    }
    return @found;
}

sub _wait {
    my ($self, $seconds, $fetch) = @_;
    $self->{timer} = $self->{loop}->timer($seconds, $self, _end => $fetch);
    return;
}

sub _send {
    my ($self, undef, $conn) = @_;
    my $fetch = $self->{fetch} or return;
    my $now   = $self->{loop}->now;
    my $fetchable = delete $fetch->{fetchable} || [$self->_fetchable];
    my @parts = map { { assigned => $_->[0], cursor => $_->[1] } } grep { $_->[1]->wait_at($now) <= 0 } @$fetchable;
    my $checks = $conn->_highest_version(API_FETCH) >= FETCH_CHECKS_FROM;
    @parts = $self->_checked(@parts)
        if !$checks && $conn->_highest_version(API_OFFSET_FOR_LEADER_EPOCH) >= CONSUMERS_MAY_ASK_FROM;
    return $self->_end($fetch) unless @parts;

    # Brokers fill an answer in the order of the request: everyone is first once.
    push @parts, splice @parts, 0, $self->{turn}++ % @parts;
    my $options   = $self->{options};
    my $max_bytes = $options->{fetch_max_bytes};
    for my $part (@parts) {
        my ($assigned, $cursor) = @$part{qw(assigned cursor)};
        $max_bytes = $cursor->{max_bytes} if ($cursor->{max_bytes} || 0) > $max_bytes;
        $part->{generation} = $cursor->{generation};
        $part->{from}       = $cursor->{next} // $assigned->{offset};
        $part->{last_epoch} = $checks ? $cursor->{epoch} : EV::Kafka::Consumer::Cursor::NO_EPOCH();
        $part->{asked}      = !$fetch->{is_ahead};
        $fetch->{parts}{"$assigned->{topic}:$assigned->{partition}"} = $part;
    }
    $fetch->{max_bytes} = $max_bytes;
    $conn->_fetch(
        [map { $self->_to_fetch($_) } @parts],
        {
            max_bytes       => $max_bytes,
            max_wait_ms     => $options->{fetch_max_wait_ms},
            min_bytes       => $options->{fetch_min_bytes},
            isolation_level => $self->{offsets}->isolation,
        },
        $self->{outbox}->entry($self, _answered => $fetch),
    );
    return;
}

# Those whose log is known to be the one that was read.
sub _checked {
    my ($self, @parts) = @_;
    my @checked;
    for my $part (@parts) {
        my ($assigned, $cursor) = @$part{qw(assigned cursor)};
        my $epoch = $self->{cluster}->leader_epoch(@$assigned{qw(topic partition)});
        if   ($cursor->is_checked($epoch)) { push @checked, $part }
        else                               { $self->{news}->(unchecked => $assigned, $cursor, $epoch) }
    }
    return @checked;
}

# The broker checks both epochs: that it leads, and that what was read last is
# still in its log.
sub _to_fetch {
    my ($self, $part) = @_;
    my @partition = @{ $part->{assigned} }{qw(topic partition)};
    return [@partition, $part->{from}, $self->{cluster}->leader_epoch(@partition), $part->{last_epoch}];
}

# --- what becomes of it -----------------------------------------------------------------

sub _answered {
    my ($self, $fetch, $fetched, $error) = @_;
    return unless ($self->{fetch} || 0) == $fetch;
    if (defined $error) {
        $self->{cluster}->request_failed(fetch => $self->{node_id});
        # A connection that is lost makes its own delay, an answer that is of no use does not.
        if ($self->{cluster}->ready_conn(fetch => $self->{node_id})) {
            my $now = $self->{loop}->now;
            $_->{cursor}->delay($now) for values %{ $fetch->{parts} };
        }
        return $self->_end($fetch, $error);
    }
    $self->{failures} = 0;
    return $self->{news}->(answered => $self, $fetch, $fetched);
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
    return unless $self->{fetch} && $self->{fetch}{parts};
    return splice @{ (delete $self->{fetch})->{rounds} };
}

# What was fetched of a partition before a seek is not delivered after it, although it
# was asked for.
sub void {
    my ($self, $cursor) = @_;
    my $parts = ($self->{fetch} || {})->{parts} || {};
    $_->{asked} = 0 for grep { $_->{cursor} == $cursor } values %$parts;
    return;
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
partitions that the broker leads, and waits when that fails.

=head1 METHODS

=head2 new(%about), node_id, is_busy

With C<node_id>, C<loop>, C<outbox>, C<options>, C<cluster>, C<offsets>, C<assigned>, C<delivery> and C<news>; whether there is a Fetch, or
the wait for one.

=head2 ask([$round])

A Fetch, if none is under way, in whose answer the round of C<poll> takes part.

=head2 forget($fetch), give_up, void($cursor), close

It has been answered; nobody wants it any more; what a seek makes void; the end. C<give_up> and C<close> give the rounds
that waited.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
