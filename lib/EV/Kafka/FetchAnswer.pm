package EV::Kafka::FetchAnswer;
use strict;
use warnings;

use List::Util ();

# The failures in a row after which a leader that cannot be found is worth an error.
use constant LEADER_FAILURES => 5;

# The largest answer that is asked for when a batch does not fit; the broker's
# own limits are below it.
use constant MAX_FETCH_BYTES => 2**27;

use constant {
    CORRUPT_MESSAGE            => 2,
    OFFSET_OUT_OF_RANGE        => 1,
    UNKNOWN_TOPIC_OR_PARTITION => 3,
};

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
    # A broker that throttles says so at once and gives nothing (KIP-219).
    my $is_throttled = !@answers && $fetched->throttle_time_ms > 0;
    for my $part (grep { !$_->{fetched} && !$is_throttled } values %{ $fetch->{parts} }) {
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
    my $is_next = $cursor->is_next($part->{generation}, $from, $assigned->{offset});
    # A leader that answers late, after another one was asked, brings it twice.
    return if !$is_next && $cursor->{generation} == $part->{generation};
    $part->{generation} = $cursor->{generation} if $is_next;

    my ($code, $next) = @$answer{qw(error_code next_offset)};
    return $self->_part_diverges($part, @$answer{qw(diverging_epoch diverging_end_offset)}, $is_next)
        if !$code && $answer->{diverging_end_offset} >= 0;
    my $end = $answer->{ $self->_isolation ? 'last_stable_offset' : 'high_watermark' };
    my $is_stuck = !$code && $next == $from && $end > $from;
    $fetch->{progress} = 1 if $next > $from && (!$code || $code == CORRUPT_MESSAGE);
    push @{ $fetch->{stuck} }, $part if $is_stuck;
    $cursor->{failures} = 0 unless $code || $is_stuck;
    $self->_fetch_refused($fetch, $part, $code) if $code && $is_next && !$cursor->is_resolving;
    return if $next == $from || !$self->_is_current($assigned, $cursor);
    $cursor->took($from, $next, $answer->{last_epoch}) if $is_next;
    @$part{qw(next epoch records)} = ($next, @$answer{qw(last_epoch record_count)});
    $part->{backlog} = $end > $next;
    return $part;
}

# Where to go on is being asked for already while the position is looked up.
sub _part_diverges {
    my ($self, $part, $epoch, $end_offset, $is_next) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return if !$is_next || $cursor->is_resolving;
    my $is_again = $cursor->diverges;
    # Whoever was told of no epoch can know of no other one.
    $self->_log_diverges($assigned, $cursor, $epoch, $end_offset) if $part->{last_epoch} >= 0;
    $self->_delay($cursor) if $is_again || $part->{last_epoch} < 0;
    return;
}

sub _fetch_refused {
    my ($self, $fetch, $part, $code) = @_;
    my ($assigned, $cursor, $offset) = @$part{qw(assigned cursor from)};
    my $name = $self->error_name($code);
    # A broker that cannot tell where the epoch ended says the same.
    return $cursor->forget_epoch if $code == OFFSET_OUT_OF_RANGE && $part->{last_epoch} >= 0;
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

# A connection that is lost makes its own delay, an answer that is of no use does not.
sub _delay_all {
    my ($self, $fetch) = @_;
    $self->_delay($_->{cursor}) for values %{ $fetch->{parts} };
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::FetchAnswer - what the answer to a Fetch means for the next one

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It decides once a partition where
the next Fetch starts and when, what is worth an error, and when a larger answer must be
asked for; L<EV::Kafka::Dispatch> delivers what the answer brought.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Fetcher>

=cut
