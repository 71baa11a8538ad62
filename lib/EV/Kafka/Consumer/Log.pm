package EV::Kafka::Consumer::Log;
use strict;
use warnings;

use EV::Kafka::Consumer::Cursor;

# Whether the log that was read is still the leader's (KIP-320). After an unclean
# election it may not be: records that were delivered are gone, and others have
# their offsets. Brokers of Fetch 12 and up check that themselves, others are asked
# when the leader has changed.

# news: void($cursor).
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox cluster assigned position news)) }, $class;
}

sub check {
    my ($self, $assigned, $cursor, $epoch) = @_;
    my ($topic, $partition) = @$assigned{qw(topic partition)};
    my $leader = $self->{cluster}->leader($topic, $partition);
    $cursor->check_begins;
    my $done = $self->{outbox}->entry($self, _checked => $assigned, $cursor, $cursor->{generation}, $epoch);
    return $self->{cluster}->on_broker(main => $leader, {
        cb  => $done,
        run => sub {
            my (undef, $conn) = @_;
            $conn->_offset_for_leader_epoch($topic, $partition, $epoch, $cursor->{epoch}, $done);
        },
    });
}

sub _checked {
    my ($self, $assigned, $cursor, $generation, $epoch, $found, $error) = @_;
    $cursor->check_ends;
    return if !$self->{assigned}->is_current($assigned, $cursor) || $cursor->is_resolving;
    my $position = $self->{position};
    return $position->resolved($assigned, $cursor) if $cursor->{generation} != $generation;
    my ($code, $found_epoch, $end_offset) = $found ? @$found : (0);
    if (defined $error || $code) {
        $cursor->delay($self->{loop}->now);
        $self->{cluster}->want($assigned->{topic});
        return $position->resolved($assigned, $cursor);
    }
    $cursor->check_ends($epoch);
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
    return $self->{outbox}->report("log of $topic:$partition was truncated: position $position is not in it any more, "
        . "consuming goes on at $end_offset");
}

# A topic was deleted and created again: its offsets are not those of before.
sub replaced {
    my ($self, $topic) = @_;
    for my $assigned (grep { $_->{topic} eq $topic } $self->{assigned}->all) {
        next if $assigned->{offset} < 0 && !$self->{assigned}->cursor($assigned)->is_resolving;
        $self->{position}->move($assigned, $self->{position}->reset_timestamp);
    }
    return;
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

Asks the leader of that epoch, before anything else is fetched.

=head2 diverges($assigned, $cursor, $epoch, $end_offset)

A leader has said where its log departs from the one that was read.

=head2 replaced($topic)

The topic was deleted and created again.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
