package EV::Kafka::Fetcher;
use strict;
use warnings;

use Carp ();
use List::Util ();
use Scalar::Util qw(refaddr weaken);

# Seconds between tries of a broker whose Fetch failed.
use constant {
    FETCH_BACKOFF     => 0.1,
    FETCH_BACKOFF_MAX => 1,
};

# Fetch: from its version 12 on a broker compares the epoch of what was read last (KIP-595).
use constant {
    API_FETCH       => 1,
    LAST_EPOCH_FROM => 12,
};

# Seconds for which a broker's next Fetch waits for positions that are being looked
# up.
our $RESOLVING_GRACE = 0.1;

# Seconds between looks at all partitions when positions are looked up again, each
# at a time of its own.
use constant RETRY_SPACING => 0.02;

# While consuming, no round of poll is needed: a broker gets its next Fetch as soon
# as the last answer begins to be delivered.

sub consume {
    my ($self, @arguments) = @_;
    $self->_check_open;
    Carp::croak('consume: takes no arguments') if @arguments;
    return $self->_start_consuming;
}

sub stop_consuming {
    my ($self, @arguments) = @_;
    $self->_check_open;
    Carp::croak('stop_consuming: takes no arguments') if @arguments;
    return $self->_stop_consuming;
}

sub _start_consuming {
    my ($self) = @_;
    $self->{cfg}{consuming} = 1;
    $self->_schedule_delivery;
    $self->_fetch_on;
    return;
}

sub _stop_consuming {
    my ($self) = @_;
    $self->{cfg}{consuming} = 0;
    $self->_put_delivery_back;
    return;
}

# A group has to be told where its partitions begin, also while nothing is consumed.
sub _keep_positions {
    my ($self, $is_wanted) = @_;
    $self->{cfg}{keeps_positions} = $is_wanted;
    return;
}

sub _looks_up {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return ($cfg->{consuming} || $cfg->{keeps_positions}) && !$cfg->{closed};
}

# While consuming: no broker may be without a Fetch that could have one.
sub _fetch_on {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{fetch_on_timer};
    return unless $self->{cluster}->is_connected && $self->_looks_up;
    $self->_listen_again if $cfg->{consuming};
    my @nodes = $self->_nodes_to_ask;
    return unless $cfg->{consuming};
    my $wait  = $self->_nodes_about_to_resolve;
    for my $node_id (grep { !$wait->{$_} } @nodes) {
        $self->_fetch_from($node_id) unless $cfg->{fetches}{$node_id} || $self->_has_undelivered($node_id);
    }
    return;
}

# That looks at every partition. When many of them want it, because their positions
# have become known or were to be looked up again, it is done once.
sub _fetch_on_after {
    my ($self, $delay) = @_;
    my $cfg = $self->{cfg};
    return unless $self->_looks_up;
    my $at = $self->_now + $delay;
    return if $cfg->{fetch_on_timer} && $cfg->{fetch_on_at} <= $at;
    $cfg->{fetch_on_at}    = $at;
    $cfg->{fetch_on_timer} = $self->_timer($delay, '_fetch_on');
    return;
}

# A Fetch that left without a partition whose position is known a moment later
# would keep it waiting for as long as the broker has nothing of the others.
sub _nodes_about_to_resolve {
    my ($self) = @_;
    my $now = $self->_now;
    my %nodes;
    for my $assigned (@{ $self->{cfg}{assignments} }) {
        my $cursor = $self->_cursor($assigned);
        next unless $cursor->is_resolving;
        my $left = $cursor->{resolving} + $RESOLVING_GRACE - $now;
        next if $left <= 0;
        my $leader = $self->_leader(@$assigned{qw(topic partition)});
        next unless defined $leader;
        $nodes{$leader} = 1;
        $cursor->{retry} ||= $self->_timer($left, _retry_position => @$assigned{qw(topic partition)});
    }
    return \%nodes;
}

# The brokers that lead a partition whose position is known. Others are looked
# for, and so is their position; $waits hears of the latter.
sub _nodes_to_ask {
    my ($self, $waits) = @_;
    my %nodes;
    for my $assigned (@{ $self->{cfg}{assignments} }) {
        my $cursor = $self->_cursor($assigned);
        next if $cursor->is_stopped;
        my $leader = $self->_leader(@$assigned{qw(topic partition)});
        if (!defined $leader) {
            $self->_want_leader($assigned, $cursor);
            next;
        }
        $cursor->leader_found;
        if ($cursor->{checking}) {
            $waits->($cursor) if $waits;
        }
        elsif ($cursor->is_resolving || $assigned->{offset} < 0) {
            $waits->($cursor) if $waits;
            $self->_find_position_in_time($assigned, $cursor) unless $cursor->is_resolving;
        }
        elsif (!$cursor->{untold}) {
            $nodes{$leader} = 1;
        }
    }
    return sort { $a <=> $b } keys %nodes;
}

# At once, and then ever more slowly until there is one.
sub _want_leader {
    my ($self, $assigned, $cursor) = @_;
    return $self->_want_metadata($assigned->{topic}, $cursor->leader_wait($self->_now));
}

# A position to be looked up before it can be fetched from: -1 or -2 from assign,
# or the one to fall back to.
sub _find_position {
    my ($self, $assigned, $timestamp) = @_;
    my $cursor = $self->_cursor($assigned);
    return $self->_resolve($assigned, $timestamp, sub {
        my ($self, $error, $was_overtaken) = @_;
        return if !defined $error || $was_overtaken;
        $self->_find_position_in_time($assigned, $cursor) if $self->_looks_up && !$cursor->is_resolving;
        $self->_report_once($assigned, $cursor, 'lookup', "position of %s: $error") if $error =~ /\(code /;
    });
}

# Not before the delay after the last try is over.
sub _find_position_in_time {
    my ($self, $assigned, $cursor) = @_;
    my $wait = $cursor->wait_at($self->_now);
    return $self->_find_position($assigned, $assigned->{offset}) if $wait <= 0;
    $cursor->{retry} ||= $self->_timer($wait, _retry_position => @$assigned{qw(topic partition)});
    return;
}

sub _retry_position {
    my ($self, $topic, $partition) = @_;
    my $assigned = $self->_assigned($topic, $partition) or return;
    my $cursor   = $self->_cursor($assigned);
    delete $cursor->{retry};
    $self->_find_position($assigned, $assigned->{offset}) if $assigned->{offset} < 0 && !$cursor->is_resolving;
    return $self->_fetch_on_after(RETRY_SPACING);
}

# The round, if there is one, takes part in the broker's next answer. At most one
# Fetch is under way to a broker; {fetches} holds it from before its connection
# is ready.
sub _fetch_from {
    my ($self, $node_id, $round) = @_;
    my $cfg = $self->{cfg};
    $self->_nobody_listens unless $self->_listener;
    $round->{left}++ if $round;
    if (my $fetch = $cfg->{fetches}{$node_id}) {
        return $round ? $self->_join_fetch($fetch, $round) : undef;
    }
    my $fetch = $cfg->{fetches}{$node_id} = {
        node_id => $node_id,
        rounds  => [$round || ()],
        is_ahead => !$round,
    };
    if (my $delay = $self->_delay_of($node_id)) {
        $fetch->{timer} = $self->_timer($delay, _end_fetch => $fetch);
        return;
    }
    weaken(my $weak = $self);
    return $self->_on_broker(fetch => $node_id, {
        run => sub { my ($self) = @_; $self->_send_fetch($fetch) },
        cb  => sub { $weak->_end_fetch($fetch, $_[1]) if $weak },
    });
}

# What a seek has made void by now stays so; what comes with the answer otherwise
# was asked for.
sub _join_fetch {
    my ($self, $fetch, $round) = @_;
    # One that has waited for many positions comes here for each of them.
    if (($fetch->{parts} || !$fetch->{is_ahead}) && $fetch->{has_joined}{ refaddr $round }++) {
        $round->{left}--;
        return;
    }
    push @{ $fetch->{rounds} }, $round;
    $_->{asked} = 1 for grep { $_->{generation} == $_->{cursor}{generation} && !$_->{cursor}->is_resolving }
        values %{ $fetch->{parts} || {} };
    return;
}

sub _fetchable {
    my ($self, $node_id) = @_;
    return grep {
        my $leader = $self->_leader(@$_{qw(topic partition)});
        defined $leader && $leader == $node_id && $_->{offset} >= 0 && $self->_cursor($_)->is_fetchable;
    } @{ $self->{cfg}{assignments} };
}

# Seconds until the first of the broker's partitions may be fetched, 0 for now.
sub _delay_of {
    my ($self, $node_id) = @_;
    my $now   = $self->_now;
    my $delay = List::Util::min(map { $self->_cursor($_)->wait_at($now) } $self->_fetchable($node_id)) // 0;
    return $delay > 0 ? $delay : 0;
}

sub _send_fetch {
    my ($self, $fetch) = @_;
    my $cfg     = $self->{cfg};
    my $node_id = $fetch->{node_id};
    my $conn    = $self->_ready_conn(fetch => $node_id) or return $self->_end_fetch($fetch);
    my $now     = $self->_now;
    my @parts   = map { { assigned => $_, cursor => $self->_cursor($_) } } $self->_fetchable($node_id);
    @parts = grep { $_->{cursor}->wait_at($now) <= 0 } @parts;
    @parts = $self->_check_logs($conn, @parts);
    return $self->_end_fetch($fetch) unless @parts;

    # Brokers fill an answer in the order of the request: everyone is first once.
    push @parts, splice @parts, 0, $cfg->{fetch_turn}{$node_id}++ % @parts;
    my $max_bytes = $cfg->{fetch_max_bytes};
    my $tells_epoch = (($conn->api_versions || {})->{ API_FETCH() } // 0) >= LAST_EPOCH_FROM;
    for my $part (@parts) {
        my ($assigned, $cursor) = @$part{qw(assigned cursor)};
        $max_bytes = $cursor->{max_bytes} if ($cursor->{max_bytes} || 0) > $max_bytes;
        $part->{generation} = $cursor->{generation};
        $part->{from}       = $cursor->{next} // $assigned->{offset};
        $part->{last_epoch} = $tells_epoch ? $cursor->{epoch} : EV::Kafka::Consumer::Cursor::NO_EPOCH();
        $part->{asked}      = !$fetch->{is_ahead};
        $fetch->{parts}{"$assigned->{topic}:$assigned->{partition}"} = $part;
    }
    $fetch->{max_bytes} = $max_bytes;
    weaken(my $weak = $self);
    $conn->_fetch(
        [map { $self->_to_fetch($_) } @parts],
        {
            max_bytes       => $max_bytes,
            max_wait_ms     => $cfg->{fetch_max_wait_ms},
            min_bytes       => $cfg->{fetch_min_bytes},
            isolation_level => $self->_isolation,
        },
        sub { $weak->_fetch_answered($fetch, @_) if $weak },
    );
    return;
}

# The broker checks both epochs: that it leads, and that what was read last is
# still in its log.
sub _to_fetch {
    my ($self, $part) = @_;
    my @partition = @{ $part->{assigned} }{qw(topic partition)};
    return [@partition, $part->{from}, $self->_leader_epoch(@partition), $part->{last_epoch}];
}

# 'earliest', which undef is too, or 'latest'.
sub _resets_to {
    my ($self, $policy) = @_;
    $self->{cfg}{resets_to} = $policy;
    return;
}

# Where to go on when the position does not exist (any more).
sub _reset_timestamp {
    my ($self) = @_;
    return ($self->{cfg}{resets_to} // '') eq 'latest'
        ? EV::Kafka::Offsets::LATEST()
        : EV::Kafka::Offsets::EARLIEST();
}

sub _delay {
    my ($self, $cursor) = @_;
    return $cursor->delay($self->_now);
}

sub _report_once {
    my ($self, $assigned, $cursor, $what, $format) = @_;
    return if $cursor->{reported}{$what}++;
    return $self->_report(sprintf $format, "$assigned->{topic}:$assigned->{partition}");
}

sub _end_fetch {
    my ($self, $fetch, $error) = @_;
    my $cfg     = $self->{cfg};
    my $node_id = $fetch->{node_id};
    return if ($cfg->{fetches}{$node_id} || 0) != $fetch;
    delete $cfg->{fetches}{$node_id};
    delete $fetch->{timer};
    $self->_fetch_later($node_id) if defined $error && $cfg->{consuming} && !$cfg->{closed};
    $self->_end_part($_, $error) for splice @{ $fetch->{rounds} };
    return $self->_fetch_on;
}

# Nobody wants the answer any more to what was sent. Gives the rounds that waited for it.
sub _give_up_fetch {
    my ($self, $node_id) = @_;
    my $fetches = $self->{cfg}{fetches};
    return unless $fetches->{$node_id} && $fetches->{$node_id}{parts};
    return splice @{ (delete $fetches->{$node_id})->{rounds} };
}

# In the place of a Fetch that failed stands one that only waits.
sub _fetch_later {
    my ($self, $node_id) = @_;
    my $cfg   = $self->{cfg};
    my $delay = $self->_backoff(++$cfg->{fetch_failures}{$node_id}, FETCH_BACKOFF, FETCH_BACKOFF_MAX);
    my $fetch = $cfg->{fetches}{$node_id} = { node_id => $node_id, rounds => [], is_ahead => 1 };
    $fetch->{timer} = $self->_timer($delay, _end_fetch => $fetch);
    return;
}

sub _stop_fetching {
    my ($self, $error) = @_;
    my $cfg     = $self->{cfg};
    my @fetches = values %{ $cfg->{fetches} };
    my @rounds  = map { @{ $_->{rounds} } } @fetches;
    for my $cursor (values %{ $cfg->{cursors} }) {
        push @rounds, $cursor->retire;
    }
    push @rounds, splice @{ $cfg->{idle_rounds} };
    delete $cfg->{fetch_on_timer};
    delete $_->{timer} for @fetches, @rounds;
    $cfg->{fetches} = {};
    $self->_end_part($_, $error) for @rounds;
    return $self->_drop_answers($error);
}

1;

__END__

=head1 NAME

EV::Kafka::Fetcher - fetches what an EV::Kafka client consumes

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. One Fetch for each broker that
leads an assigned partition, at most one at a time: as often as L<EV::Kafka::Poll> asks,
or without end for groups. L<EV::Kafka::FetchAnswer> is what the answers mean.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Consumer>

=cut
