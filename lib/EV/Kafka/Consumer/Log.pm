package EV::Kafka::Consumer::Log;
use strict;
use warnings;

use EV::Kafka::Consumer::Cursor;
use EV::Kafka::Error;
use EV::Kafka::Partitions;

# Whether the log that was read is still the leader's (KIP-320). After an unclean
# election it may not be: records that were delivered are gone, and others have
# their offsets. Brokers of Fetch 12 and up check that themselves, others are asked
# when the leader has changed.

#   fresh   { topic, partition, assigned, cursor, generation, epoch } of those that have not been asked yet: what
#           is to be checked in a turn of the loop goes together
#   timer   until they are

# news: void($cursor).
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox cluster assigned position news)), fresh => [] }, $class;
}

sub check {
    my ($self, $assigned, $cursor, $epoch) = @_;
    $cursor->check_begins;
    push @{ $self->{fresh} }, {
        map({ $_ => $assigned->{$_} } qw(topic partition)),
        assigned => $assigned, cursor => $cursor, generation => $cursor->{generation}, epoch => $epoch,
    };
    $self->{timer} ||= $self->{loop}->timer(0, $self, '_ask_fresh');
    return;
}

sub _ask_fresh {
    my ($self) = @_;
    delete $self->{timer};
    my $cluster = $self->{cluster};
    my $fresh   = $self->{fresh};
    $self->{fresh} = [];
    $self->_ask(@$_) for EV::Kafka::Partitions::by_leader(sub { $cluster->leader(@_) }, @$fresh);
    return;
}

sub _ask {
    my ($self, $leader, $asked) = @_;
    return $self->_answered($asked) unless defined $leader;
    my $done = $self->{outbox}->entry($self, _answered => $asked);
    my @rows = map { [@$_{qw(topic partition epoch)}, $_->{cursor}{epoch}] } @$asked;
    return $self->{cluster}->on_broker(main => $leader, {
        cb  => $done,
        run => sub { my (undef, $conn) = @_; $conn->_offset_for_leader_epoch(\@rows, $done) },
    });
}

sub _answered {
    my ($self, $asked, $found) = @_;
    my $rows = $found ? $found->{rows} : [];
    $self->_checked($asked->[$_], $rows->[$_]) for 0 .. $#$asked;
    return;
}

# $row: error code, epoch and end offset, undef if there was no answer.
sub _checked {
    my ($self, $check, $row) = @_;
    my ($assigned, $cursor) = @$check{qw(assigned cursor)};
    $cursor->check_ends;
    return if !$self->{assigned}->is_current($assigned, $cursor) || $cursor->is_resolving;
    my $position = $self->{position};
    return $position->resolved($assigned, $cursor) if $cursor->{generation} != $check->{generation};
    my ($code, $found_epoch, $end_offset) = $row ? @$row : ();
    if (!$row || $code) {
        $cursor->delay($self->{loop}->now);
        $self->{cluster}->want($assigned->{topic});
        return $position->resolved($assigned, $cursor);
    }
    $cursor->check_ends($check->{epoch});
    my $next = $cursor->{next} // $assigned->{offset};
    return $position->resolved($assigned, $cursor) if $found_epoch >= $cursor->{epoch} && $end_offset >= $next;
    return $self->diverges($assigned, $cursor, $found_epoch, $end_offset);
}

# The leader's log departs from the one that was read at an offset. What was
# fetched and not delivered is dropped if it goes beyond that. A leader that does not
# know where is asked without an epoch: whether it has the offset it does know.
sub diverges {
    my ($self, $assigned, $cursor, $epoch, $end_offset) = @_;
    my ($topic, $partition) = @$assigned{qw(topic partition)};
    my ($position) = $self->{assigned}->position_of($assigned);
    my $is_unknown = $end_offset < 0 || $epoch < 0;
    if ($is_unknown || ($cursor->{next} // $position) <= $end_offset) {
        $cursor->epoch_has_gone($is_unknown ? EV::Kafka::Consumer::Cursor::NO_EPOCH() : $epoch);
        return $self->{position}->resolved($assigned, $cursor);
    }
    my $is_lost = $position > $end_offset;
    my $position_epoch = $is_lost ? $epoch : $cursor->{position_epoch};
    $self->{news}->(void => $cursor);
    $self->{position}->set($assigned, $is_lost ? $end_offset : $position, $position_epoch);
    return unless $is_lost;
    return $self->{outbox}->report(EV::Kafka::Error->without_code(
        "log of $topic:$partition was truncated: position $position is not in it any more, consuming goes on at $end_offset")
        ->at(topic => $topic, partition => $partition, operation => 'Fetch'));
}

# A topic was deleted and created again: its offsets are not those of before.
sub replaced {
    my ($self, $topic) = @_;
    my $reset = $self->{position}->reset_offset;
    my @moved = grep { $_->{offset} >= 0 || $self->{assigned}->cursor($_)->is_resolving }
        grep { $_->{topic} eq $topic } $self->{assigned}->all;
    my $is_any_void = grep { $_->{offset} > 0 } @moved;    # the beginning is that of the new one, too
    $self->{position}->move($_, $reset) for @moved;
    return unless $is_any_void;
    $self->{outbox}->notice_over("another $topic");
    return $self->{outbox}->notice("another $topic", "topic '$topic' was deleted and created anew: positions in it are void, and "
        . 'auto_offset_reset says where consuming goes on', topic => $topic);
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Log - whether a log that is read is still the same

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It notices that a
partition's leader has lost records that were delivered, and puts the positions where they belong.

=head1 METHODS

=head2 new(%about)

With C<loop>, C<outbox>, C<cluster>, C<assigned>, C<position> and C<news>.

=head2 check($assigned, $cursor, $epoch)

Asks the leader of that epoch, before anything else is fetched; what is to be checked in one turn of the loop
is one request a leader.

=head2 diverges($assigned, $cursor, $epoch, $end_offset)

A leader has said where its log departs from the one that was read.

=head2 replaced($topic)

The topic was deleted and created again.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
