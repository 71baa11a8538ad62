package EV::Kafka::Epochs;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# Whether the log that was read is still the leader's (KIP-320). After an unclean
# election it may not be: records that were delivered are gone, and others have
# their offsets. Brokers of Fetch 12 and up check that themselves, others are asked
# when the leader has changed.
use constant FETCH_CHECKS_FROM => 12;

# OffsetForLeaderEpoch: from its version 3 on a consumer may ask (KIP-320).
use constant {
    API_FETCH                   => 1,
    API_OFFSET_FOR_LEADER_EPOCH => 23,
    CONSUMERS_MAY_ASK_FROM      => 3,
};

# Of the parts of a Fetch, those that can be fetched without asking first.
sub _check_logs {
    my ($self, $conn, @parts) = @_;
    my $versions = $conn->api_versions || {};
    return @parts if ($versions->{ API_FETCH() } // 0) >= FETCH_CHECKS_FROM
        || ($versions->{ API_OFFSET_FOR_LEADER_EPOCH() } // 0) < CONSUMERS_MAY_ASK_FROM;
    my @now;
    for my $part (@parts) {
        my ($assigned, $cursor) = @$part{qw(assigned cursor)};
        my $epoch = $self->_leader_epoch(@$assigned{qw(topic partition)});
        if ($cursor->{epoch} < 0 || $epoch <= ($cursor->{checked_epoch} // $cursor->{epoch})) {
            push @now, $part;
        }
        else {
            $self->_check_log($assigned, $cursor, $epoch);
        }
    }
    return @now;
}

sub _check_log {
    my ($self, $assigned, $cursor, $epoch) = @_;
    my ($topic, $partition) = @$assigned{qw(topic partition)};
    my $leader = $self->_leader($topic, $partition);
    $cursor->{checking} = 1;
    my $generation = $cursor->{generation};
    weaken(my $weak = $self);
    my $done = sub {
        my ($found, $error) = @_;
        $weak->_log_checked($assigned, $cursor, $generation, $epoch, $found, $error) if $weak;
    };
    return $self->_on_broker(main => $leader, {
        cb  => $done,
        run => sub {
            my ($self) = @_;
            my $conn = $self->_ready_conn(main => $leader) or return $done->(undef, 'no connection to leader');
            $conn->_offset_for_leader_epoch($topic, $partition, $epoch, $cursor->{epoch}, $done);
        },
    });
}

sub _log_checked {
    my ($self, $assigned, $cursor, $generation, $epoch, $found, $error) = @_;
    delete $cursor->{checking};
    return if $self->{cfg}{closed} || !$self->_is_current($assigned, $cursor);
    return if $cursor->is_resolving;
    return $self->_resolved($assigned, $cursor) if $cursor->{generation} != $generation;
    my ($code, $found_epoch, $end_offset) = $found ? @$found : (0);
    if (defined $error || $code) {
        $self->_delay($cursor);
        $self->_refresh_metadata_for_topic($assigned->{topic});
        return $self->_resolved($assigned, $cursor);
    }
    $cursor->{checked_epoch} = $epoch;
    my $next = $cursor->{next} // $assigned->{offset};
    return $self->_resolved($assigned, $cursor) if $found_epoch >= $cursor->{epoch} && $end_offset >= $next;
    return $self->_log_diverges($assigned, $cursor, $found_epoch, $end_offset);
}

# The leader's log departs from the one that was read at an offset. What was
# fetched and not delivered is dropped if it goes beyond that. A leader that does not
# know where is asked without an epoch: whether it has the offset it does know.
sub _log_diverges {
    my ($self, $assigned, $cursor, $epoch, $end_offset) = @_;
    my ($topic, $partition) = @$assigned{qw(topic partition)};
    my ($position) = $self->_position_of($assigned);
    my $is_unknown = $end_offset < 0 || $epoch < 0;
    if ($is_unknown || ($cursor->{next} // $position) <= $end_offset) {
        $cursor->epoch_has_gone($is_unknown ? EV::Kafka::Consumer::Cursor::NO_EPOCH() : $epoch);
        return $self->_resolved($assigned, $cursor);
    }
    my $is_lost = $position > $end_offset;
    my $position_epoch = $is_lost ? $epoch : $cursor->{position_epoch};
    $self->_void_fetched($cursor);
    $self->_set_position($assigned, $is_lost ? $end_offset : $position, $position_epoch);
    return unless $is_lost;
    return $self->_report("log of $topic:$partition was truncated: position $position is not in it any more, "
        . "consuming goes on at $end_offset");
}

# A topic was deleted and created again: its offsets are not those of before.
sub _log_replaced {
    my ($self, $topic) = @_;
    for my $assigned (grep { $_->{topic} eq $topic } @{ $self->{cfg}{assignments} }) {
        my $cursor = $self->_cursor($assigned);
        next if $assigned->{offset} < 0 && !$cursor->is_resolving;
        $self->_move($assigned, $self->_reset_timestamp);
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Epochs - whether a log that an EV::Kafka client reads is still the same

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It notices that a
partition's leader has lost records that were delivered, or that a topic was
deleted and created again, and puts the positions where they belong.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Fetcher>

=cut
