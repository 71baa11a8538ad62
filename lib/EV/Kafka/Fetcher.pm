package EV::Kafka::Fetcher;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# Seconds between tries of a partition whose fetch failed, and the failures in a
# row after which a leader that cannot be found is worth an error.
use constant {
    FETCH_BACKOFF     => 0.1,
    FETCH_BACKOFF_MAX => 1,
    LEADER_FAILURES   => 5,
};

# The largest answer that is asked for when a batch does not fit; the broker's
# own limits are below it.
use constant MAX_FETCH_BYTES => 2**27;

use constant {
    CORRUPT_MESSAGE            => 2,
    OFFSET_OUT_OF_RANGE        => 1,
    UNKNOWN_TOPIC_OR_PARTITION => 3,
};

# The leader is another broker, or about to be.
my %LEADER_ERROR = map { $_ => 1 } 5, 6, 9, 56, 74, 75, 78;

# A round is one call of poll: { cb, left, error }. It ends when the Fetch
# requests that it started or joined have been answered and delivered.

sub poll {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    return $self->_call($cb) unless @{ $cfg->{assignments} };
    return if !$cb && !$cfg->{connected} && grep { $_->{is_poll} } @{ $cfg->{pending_ops} };
    return $self->_when_connected({ cb => $cb, is_poll => 1, run => \&_poll_now });
}

sub _poll_now {
    my ($self, $op) = @_;
    my $round = { cb => $op->{cb}, left => 1 };
    my %nodes;
    for my $assigned (@{ $self->{cfg}{assignments} }) {
        my $cursor = $self->_cursor($assigned);
        my $leader = $self->_leader(@$assigned{qw(topic partition)});
        if (!defined $leader) {
            $self->_refresh_metadata_for_topic($assigned->{topic});
        }
        elsif ($cursor->{resolving} || $assigned->{offset} < 0) {
            $round->{left}++;
            push @{ $cursor->{waiters} }, $round;
            $self->_find_position($assigned, $assigned->{offset}) unless $cursor->{resolving};
        }
        else {
            $nodes{$leader} = 1;
        }
    }
    $self->_fetch_from($_, $round) for sort { $a <=> $b } keys %nodes;
    return $self->_end_part($round);
}

# A position to be looked up before it can be fetched from: -1 or -2 from assign,
# or the one to fall back to.
sub _find_position {
    my ($self, $assigned, $timestamp) = @_;
    my $cursor = $self->_cursor($assigned);
    return $self->_resolve($assigned, $timestamp, sub {
        my ($self, $error) = @_;
        return if !defined $error || $error !~ /\(code /;
        $self->_delay($cursor);
        $self->_report_once($assigned, $cursor, 'lookup', "position of %s: $error");
    });
}

sub _end_part {
    my ($self, $round, $error) = @_;
    $round->{error} //= $error;
    return if --$round->{left};
    return $self->_call(delete $round->{cb}, grep { defined } $round->{error});
}

# The round takes part in the broker's next answer. At most one Fetch is under
# way to a broker; {fetches} holds it from before its connection is ready.
sub _fetch_from {
    my ($self, $node_id, $round) = @_;
    my $cfg = $self->{cfg};
    $round->{left}++;
    if (my $fetch = $cfg->{fetches}{$node_id}) {
        push @{ $fetch->{rounds} }, $round;
        return;
    }
    my $fetch = $cfg->{fetches}{$node_id} = { node_id => $node_id, rounds => [$round] };
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

sub _fetchable {
    my ($self, $node_id) = @_;
    return grep {
        my $leader = $self->_leader(@$_{qw(topic partition)});
        defined $leader && $leader == $node_id && $_->{offset} >= 0 && !$self->_cursor($_)->{resolving};
    } @{ $self->{cfg}{assignments} };
}

# Seconds until the first of the broker's partitions may be fetched, 0 for now.
sub _delay_of {
    my ($self, $node_id) = @_;
    my ($first) = sort { $a <=> $b } map { $self->_cursor($_)->{not_before} } $self->_fetchable($node_id);
    my $delay = ($first // 0) - $self->_now;
    return $delay > 0 ? $delay : 0;
}

sub _send_fetch {
    my ($self, $fetch) = @_;
    my $cfg     = $self->{cfg};
    my $node_id = $fetch->{node_id};
    my $conn    = $self->_ready_conn(fetch => $node_id);
    my $now     = $self->_now;
    my @parts   = grep { $self->_cursor($_)->{not_before} <= $now } $self->_fetchable($node_id);
    return $self->_end_fetch($fetch) unless $conn && @parts;

    # Brokers fill an answer in the order of the request: everyone is first once.
    push @parts, splice @parts, 0, $cfg->{fetch_turn}{$node_id}++ % @parts;
    my $max_bytes = $cfg->{fetch_max_bytes};
    for my $assigned (@parts) {
        my $cursor = $self->_cursor($assigned);
        $max_bytes = $cursor->{max_bytes} if ($cursor->{max_bytes} || 0) > $max_bytes;
        $fetch->{parts}{"$assigned->{topic}:$assigned->{partition}"} =
            [$assigned, $cursor, $cursor->{generation}, $assigned->{offset}];
    }
    $fetch->{max_bytes} = $max_bytes;
    weaken(my $weak = $self);
    $conn->_fetch(
        [map { [@$_{qw(topic partition offset)}] } @parts],
        { max_bytes => $max_bytes, max_wait_ms => $cfg->{fetch_max_wait_ms}, min_bytes => $cfg->{fetch_min_bytes} },
        sub { $weak->_fetch_answered($fetch, @_) if $weak },
    );
    return;
}

sub _fetch_answered {
    my ($self, $fetch, $fetched, $error) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || ($cfg->{fetches}{ $fetch->{node_id} } || 0) != $fetch;
    if (defined $error) {
        $self->_request_failed(fetch => $fetch->{node_id});
        return $self->_end_fetch($fetch, $error);
    }
    my @answers = $fetched->partitions;
    for my $index (0 .. $#answers) {
        $self->_take_partition($fetch, $fetched, $index, $answers[$index]);
        return if $cfg->{closed};
    }
    $self->_ask_for_more($fetch);
    return $self->_end_fetch($fetch, $fetch->{error});
}

sub _take_partition {
    my ($self, $fetch, $fetched, $index, $answer) = @_;
    my ($topic, $partition, $code, $high_watermark, $next_offset) = @$answer;
    my $part = $fetch->{parts}{"$topic:$partition"} or return;
    my ($assigned, $cursor, $generation, $offset) = @$part;
    return unless $self->_is_current($assigned, $cursor);

    if (!$code || $code == CORRUPT_MESSAGE) {
        if (my $on_message = $self->{cfg}{on_message}) {
            local $fetch->{delivering} = $fetched;
            $fetched->deliver($index, $on_message);
        }
        return unless $self->_is_current($assigned, $cursor);
        # A seek from within on_message, or before the answer came, has the last word.
        $assigned->{offset} = $next_offset
            if $cursor->{generation} == $generation && $assigned->{offset} == $offset;
        if   ($next_offset > $offset)                      { $fetch->{progress} = 1 }
        elsif (!$code && $high_watermark > $offset)        { push @{ $fetch->{stuck} }, $cursor }
    }
    if (!$code) {
        $cursor->{failures} = 0;
        return;
    }
    return unless $cursor->{generation} == $generation;
    return $self->_fetch_refused($fetch, $assigned, $cursor, $code, $offset);
}

sub _fetch_refused {
    my ($self, $fetch, $assigned, $cursor, $code, $offset) = @_;
    my $name = $self->error_name($code);
    if ($code == OFFSET_OUT_OF_RANGE) {
        $fetch->{error} //= "$name: $assigned->{topic}:$assigned->{partition} has no offset $offset";
        return $self->_find_position($assigned, $self->_reset_timestamp);
    }
    $self->_delay($cursor);
    if ($LEADER_ERROR{$code} || $code == UNKNOWN_TOPIC_OR_PARTITION) {
        $self->_refresh_metadata_for_topic($assigned->{topic});
        return if $LEADER_ERROR{$code} && $cursor->{failures} < LEADER_FAILURES;
    }
    return $self->_report_once($assigned, $cursor, $code, "fetch of %s at offset $offset: $name (code $code)");
}

# Where to go on when the position does not exist (any more).
sub _reset_timestamp {
    my ($self) = @_;
    my $group = $self->{cfg}{group} || {};
    return ($group->{auto_offset_reset} // '') eq 'latest'
        ? EV::Kafka::Offsets::LATEST()
        : EV::Kafka::Offsets::EARLIEST();
}

sub _delay {
    my ($self, $cursor) = @_;
    $cursor->{not_before} =
        $self->_now + $self->_backoff(++$cursor->{failures}, FETCH_BACKOFF, FETCH_BACKOFF_MAX);
    return;
}

sub _report_once {
    my ($self, $assigned, $cursor, $what, $format) = @_;
    return if $cursor->{reported}{$what}++;
    return $self->_report(sprintf $format, "$assigned->{topic}:$assigned->{partition}");
}

# Brokers give the first partition at least one whole batch. When even so no
# partition got any further, a batch is larger than what was asked for.
sub _ask_for_more {
    my ($self, $fetch) = @_;
    if ($fetch->{progress}) {
        delete $_->[1]{max_bytes} for values %{ $fetch->{parts} };
        return;
    }
    my $more = 2 * $fetch->{max_bytes};
    $_->{max_bytes} = $more > MAX_FETCH_BYTES ? MAX_FETCH_BYTES : $more for @{ $fetch->{stuck} || [] };
    return;
}

sub _end_fetch {
    my ($self, $fetch, $error) = @_;
    my $fetches = $self->{cfg}{fetches};
    return if ($fetches->{ $fetch->{node_id} } || 0) != $fetch;
    delete $fetches->{ $fetch->{node_id} };
    delete $fetch->{timer};
    $self->_end_part($_, $error) for @{ $fetch->{rounds} };
    return;
}

sub _stop_fetching {
    my ($self, $error) = @_;
    my $cfg     = $self->{cfg};
    my @fetches = values %{ $cfg->{fetches} };
    my @rounds  = map { @{ $_->{rounds} } } @fetches;
    push @rounds, map { splice @{ $_->{waiters} } } values %{ $cfg->{cursors} };
    delete $_->{timer} for @fetches;
    $_->stop for grep { defined } map { $_->{delivering} } @fetches;
    $cfg->{fetches} = {};
    $self->_end_part($_, $error) for @rounds;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Fetcher - fetches what an EV::Kafka client consumes

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<poll>. One Fetch for
each broker that leads an assigned partition, at most one at a time; records go
to C<on_message> from native code, and this module decides once a partition what
its answer means for the position.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Consumer>

=cut
