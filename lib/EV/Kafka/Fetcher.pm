package EV::Kafka::Fetcher;
use strict;
use warnings;

use List::Util ();
use Scalar::Util qw(weaken);

# Seconds between tries of a partition whose fetch failed, and the failures in a
# row after which a leader that cannot be found is worth an error.
use constant {
    FETCH_BACKOFF     => 0.1,
    FETCH_BACKOFF_MAX => 1,
    LEADER_FAILURES   => 5,
};

# Seconds for which a broker's next Fetch waits for positions that are being looked
# up.
use constant RESOLVING_GRACE => 0.1;

# The largest answer that is asked for when a batch does not fit; the broker's
# own limits are below it.
use constant MAX_FETCH_BYTES => 2**27;

use constant {
    CORRUPT_MESSAGE            => 2,
    OFFSET_OUT_OF_RANGE        => 1,
    UNKNOWN_TOPIC_OR_PARTITION => 3,
};

# A round is one call of poll: { cb, left, error, timer? }. It ends when the Fetch
# requests that it started or joined have been answered and delivered. One that
# has nobody to ask may wait in {idle_rounds}, for as long as its timer runs.
#
# While consuming, no round is needed: a broker gets its next Fetch as soon as the
# last answer begins to be delivered.

sub poll {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    return $self->_poll_ends({ cb => $cb, left => 1 }) unless @{ $cfg->{assignments} };
    return if !$cb && !$cfg->{connected} && grep { $_->{is_poll} } @{ $cfg->{pending_ops} };
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
    return @assigned && !grep { !$self->_cursor($_)->{paused} } @assigned;
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
    return unless $cfg->{connected} && @{ $cfg->{idle_rounds} };
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

sub _start_consuming {
    my ($self) = @_;
    $self->{cfg}{consuming} = 1;
    $self->_schedule_delivery;
    return $self->_fetch_on;
}

sub _stop_consuming {
    my ($self) = @_;
    $self->{cfg}{consuming} = 0;
    return;
}

# While consuming: no broker may be without a Fetch that could have one.
sub _fetch_on {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return unless $cfg->{consuming} && $cfg->{connected} && !$cfg->{closed};
    my @nodes = $self->_nodes_to_ask;
    my $wait  = $self->_nodes_about_to_resolve;
    for my $node_id (grep { !$wait->{$_} } @nodes) {
        $self->_fetch_from($node_id) unless $cfg->{fetches}{$node_id} || $self->_has_undelivered($node_id);
    }
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
        my $left   = ($cursor->{resolving} || 0) + RESOLVING_GRACE - $now;
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
        next if $cursor->{paused};
        my $leader = $self->_leader(@$assigned{qw(topic partition)});
        if (!defined $leader) {
            $self->_want_leader($assigned, $cursor);
            next;
        }
        delete @$cursor{qw(leader_tries leader_due)};
        if ($cursor->{checking}) {
            $waits->($cursor) if $waits;
        }
        elsif ($cursor->{resolving} || $assigned->{offset} < 0) {
            $waits->($cursor) if $waits;
            $self->_find_position_in_time($assigned, $cursor) unless $cursor->{resolving};
        }
        else {
            $nodes{$leader} = 1;
        }
    }
    return sort { $a <=> $b } keys %nodes;
}

# At once, and then ever more slowly until there is one.
sub _want_leader {
    my ($self, $assigned, $cursor) = @_;
    my $wait = ($cursor->{leader_due} // 0) - $self->_now;
    if ($wait <= 0) {
        my $try = $cursor->{leader_tries}++;
        $wait = $try ? $self->_backoff($try, FETCH_BACKOFF, FETCH_BACKOFF_MAX) : 0;
        $cursor->{leader_due} = $self->_now + $wait;
    }
    return $self->_want_metadata($assigned->{topic}, $wait);
}

# A position to be looked up before it can be fetched from: -1 or -2 from assign,
# or the one to fall back to.
sub _find_position {
    my ($self, $assigned, $timestamp) = @_;
    my $cursor     = $self->_cursor($assigned);
    my $generation = $cursor->{generation} + 1;
    return $self->_resolve($assigned, $timestamp, sub {
        my ($self, $error) = @_;
        return if !defined $error || !$self->_is_current($assigned, $cursor) || $cursor->{generation} != $generation;
        $self->_find_position_in_time($assigned, $cursor) if $self->{cfg}{consuming} && !$cursor->{resolving};
        $self->_report_once($assigned, $cursor, 'lookup', "position of %s: $error") if $error =~ /\(code /;
    });
}

# Not before the delay after the last try is over.
sub _find_position_in_time {
    my ($self, $assigned, $cursor) = @_;
    my $wait = $cursor->{not_before} - $self->_now;
    return $self->_find_position($assigned, $assigned->{offset}) if $wait <= 0;
    $cursor->{retry} ||= $self->_timer($wait, _retry_position => @$assigned{qw(topic partition)});
    return;
}

sub _retry_position {
    my ($self, $topic, $partition) = @_;
    my $assigned = $self->_assigned($topic, $partition) or return;
    my $cursor   = $self->_cursor($assigned);
    delete $cursor->{retry};
    $self->_find_position($assigned, $assigned->{offset}) if $assigned->{offset} < 0 && !$cursor->{resolving};
    return $self->_fetch_on;
}

sub _end_part {
    my ($self, $round, $error) = @_;
    $round->{error} //= $error;
    return if --$round->{left};
    local $self->{cfg}{in_poll_callback} = 1;
    return $self->_call(delete $round->{cb}, grep { defined } $round->{error});
}

# The round, if there is one, takes part in the broker's next answer. At most one
# Fetch is under way to a broker; {fetches} holds it from before its connection
# is ready.
sub _fetch_from {
    my ($self, $node_id, $round) = @_;
    my $cfg = $self->{cfg};
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
    push @{ $fetch->{rounds} }, $round;
    $_->{asked} = 1 for grep { $_->{generation} == $_->{cursor}{generation} } values %{ $fetch->{parts} || {} };
    return;
}

sub _fetchable {
    my ($self, $node_id) = @_;
    return grep {
        my $leader = $self->_leader(@$_{qw(topic partition)});
        my $cursor = $self->_cursor($_);
        defined $leader && $leader == $node_id && $_->{offset} >= 0
            && !$cursor->{resolving} && !$cursor->{paused} && !$cursor->{checking};
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
    my $conn    = $self->_ready_conn(fetch => $node_id) or return $self->_end_fetch($fetch);
    my $now     = $self->_now;
    my @parts   = map { { assigned => $_, cursor => $self->_cursor($_) } } $self->_fetchable($node_id);
    @parts = grep { $_->{cursor}{not_before} <= $now } @parts;
    @parts = $self->_check_logs($conn, @parts);
    return $self->_end_fetch($fetch) unless @parts;

    # Brokers fill an answer in the order of the request: everyone is first once.
    push @parts, splice @parts, 0, $cfg->{fetch_turn}{$node_id}++ % @parts;
    my $max_bytes = $cfg->{fetch_max_bytes};
    for my $part (@parts) {
        my ($assigned, $cursor) = @$part{qw(assigned cursor)};
        $max_bytes = $cursor->{max_bytes} if ($cursor->{max_bytes} || 0) > $max_bytes;
        $part->{generation} = $cursor->{generation};
        $part->{from}       = $cursor->{next} // $assigned->{offset};
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
    return [@partition, $part->{from}, $self->_leader_epoch(@partition), $part->{cursor}{epoch}];
}

sub _fetch_answered {
    my ($self, $fetch, $fetched, $error) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || ($cfg->{fetches}{ $fetch->{node_id} } || 0) != $fetch;
    if (defined $error) {
        $self->_request_failed(fetch => $fetch->{node_id});
        $self->_delay_all($fetch) if $self->_ready_conn(fetch => $fetch->{node_id});
        return $self->_end_fetch($fetch, $error);
    }
    delete $cfg->{fetch_failures}{ $fetch->{node_id} };
    my @answers = $fetched->partitions;
    my @parts;
    for my $index (0 .. $#answers) {
        my $answer = $answers[$index];
        my $part = $fetch->{parts}{"$answer->{topic}:$answer->{partition}"} or next;
        @$part{qw(fetched index)} = ($fetched, $index);
        push @parts, $self->_take_partition($fetch, $part, $answer);
        return if $cfg->{closed};
    }
    for my $part (grep { !$_->{fetched} } values %{ $fetch->{parts} }) {
        $self->_delay($part->{cursor});
        $self->_report_once(@$part{qw(assigned cursor)}, 'missing', 'Fetch answer lacks %s') if $self->_is_wanted($part);
        return if $cfg->{closed};
    }
    $self->_ask_for_more($fetch);
    return if ($cfg->{fetches}{ $fetch->{node_id} } || 0) != $fetch;
    delete $cfg->{fetches}{ $fetch->{node_id} };
    return $self->_fetch_again($fetch) if $self->_is_void($fetch);
    return $self->_queue_answer({
        node_id => $fetch->{node_id},
        parts   => \@parts,
        rounds  => $fetch->{rounds},
        error   => $fetch->{error},
    });
}

# A fetch that left before poll was called, for positions that nobody wants any
# more by now: poll has nothing of it.
sub _is_void {
    my ($self, $fetch) = @_;
    return $fetch->{is_ahead} && @{ $fetch->{rounds} }
        && !grep { $self->_is_wanted($_) } values %{ $fetch->{parts} };
}

sub _fetch_again {
    my ($self, $fetch) = @_;
    for my $round (@{ $fetch->{rounds} }) {
        $self->_fetch_from($fetch->{node_id}, $round);
        $self->_end_part($round);
    }
    return $self->_fetch_on;
}

# What the answer means for the next fetch, whatever is still to be delivered
# from before. Gives the part if it has anything to deliver.
sub _take_partition {
    my ($self, $fetch, $part, $answer) = @_;
    my ($assigned, $cursor, $from) = @$part{qw(assigned cursor from)};
    return unless $self->_is_wanted($part);
    my $is_next = $cursor->{generation} == $part->{generation};
    # A leader that answers late, after another one was asked, brings it twice.
    return if $is_next && ($cursor->{next} // $assigned->{offset}) != $from;

    my ($code, $next) = @$answer{qw(error_code next_offset)};
    my $end = $answer->{ $self->_isolation ? 'last_stable_offset' : 'high_watermark' };
    my $is_stuck = !$code && $next == $from && $end > $from;
    $fetch->{progress} = 1 if $next > $from && (!$code || $code == CORRUPT_MESSAGE);
    push @{ $fetch->{stuck} }, $part if $is_stuck;
    $cursor->{failures} = 0 unless $code || $is_stuck;
    if (!$code && $is_next && $answer->{diverging_end_offset} >= 0) {
        $self->_log_diverges($assigned, $cursor, @$answer{qw(diverging_epoch diverging_end_offset)});
        return;
    }
    $self->_fetch_refused($fetch, $part, $code) if $code && $is_next;
    return if $next == $from || !$self->_is_current($assigned, $cursor);
    ($cursor->{next}, $cursor->{epoch}) = ($next, $answer->{last_epoch}) if $is_next;
    @$part{qw(next epoch records)} = ($next, @$answer{qw(last_epoch record_count)});
    $part->{backlog} = $end > $next;
    return $part;
}

sub _fetch_refused {
    my ($self, $fetch, $part, $code) = @_;
    my ($assigned, $cursor, $offset) = @$part{qw(assigned cursor from)};
    my $name = $self->error_name($code);
    # While messages before it are still to be delivered, the position is theirs.
    if ($code == OFFSET_OUT_OF_RANGE && $assigned->{offset} == $offset) {
        $fetch->{error} //= "$name: $assigned->{topic}:$assigned->{partition} has no offset $offset";
        return $self->_find_position($assigned, $self->_reset_timestamp);
    }
    $self->_delay($cursor);
    return if $code == OFFSET_OUT_OF_RANGE;
    my $is_moved = $self->_is_leader_error($code);
    if ($is_moved || $code == UNKNOWN_TOPIC_OR_PARTITION) {
        $self->_refresh_metadata_for_topic($assigned->{topic});
        return if $is_moved && $cursor->{failures} < LEADER_FAILURES;
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

# A connection that is lost makes its own delay, an answer that is of no use does not.
sub _delay_all {
    my ($self, $fetch) = @_;
    $self->_delay($_->{cursor}) for values %{ $fetch->{parts} };
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
        delete $_->{cursor}{max_bytes} for values %{ $fetch->{parts} };
        return;
    }
    for my $part (@{ $fetch->{stuck} || [] }) {
        my ($assigned, $cursor, $offset) = @$part{qw(assigned cursor from)};
        if ($fetch->{max_bytes} < MAX_FETCH_BYTES) {
            $cursor->{max_bytes} = List::Util::min(2 * $fetch->{max_bytes}, MAX_FETCH_BYTES);
        }
        else {
            $self->_delay($cursor);
            $self->_report_once($assigned, $cursor, 'size',
                "fetch of %s at offset $offset: nothing comes, though $fetch->{max_bytes} bytes are asked for");
        }
    }
    return;
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
        delete $cursor->{retry};
        push @rounds, splice @{ $cursor->{waiters} };
    }
    push @rounds, splice @{ $cfg->{idle_rounds} };
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

A part of L<EV::Kafka::Client>, not for use by itself: C<poll>, and fetching
without end for groups. One Fetch for each broker that leads an assigned
partition, at most one at a time; this module decides once a partition what its
answer means for the next one, and L<EV::Kafka::Dispatch> delivers it.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Consumer>

=cut
