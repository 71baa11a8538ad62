package EV::Kafka::Dispatch;
use strict;
use warnings;

use Scalar::Util qw(reftype);

# Milliseconds of delivering in one go before the event loop turns: what else the
# program does, heartbeats and the reading of answers must not wait for a whole
# answer's on_message. A turn of the loop costs a thousandth of that.
use constant SLICE_MS => 5;

# Seconds between looks whether there is somebody to deliver to by now.
use constant LISTENER_INTERVAL => 0.1;

# Answers to Fetch wait in {answers} in the order in which they came. One is
# delivered at a time, in slices; {delivery} is
#   { answer?, active, timer?, part?, begun?, sated? }
# active while native code or this module is at it, part what native code is
# delivering, begun the same also when the program ends the process meanwhile, sated the
# turn of the loop in which time was up last. An answer is { node_id?, parts, rounds, error? }, a part what it has
# of one partition:
#   assigned, cursor, generation   whose it is, and before which seeks
#   fetched, index                 the native answer, and the place in it
#   records                        how many there may be
#   from, next, epoch              its position, and the one behind it with its epoch
#   backlog                        the broker had more
#   asked                          poll wanted it: it is delivered also after a seek

# Delivers what may be delivered: everything while consuming, otherwise what
# poll waits for.
sub _deliver_answers {
    my ($self) = @_;
    my $cfg      = $self->{cfg};
    my $delivery = $cfg->{delivery};
    return if $delivery->{active};
    delete $delivery->{timer};
    $self->_before_delivery;
    my $until = $self->_now + SLICE_MS / 1000;
    {
        local $delivery->{active} = 1;
        while (!$cfg->{closed} && !$cfg->{delivery_held} && (my $answer = $self->_current_answer)) {
            my $left = $until - $self->_now;
            last if $left <= 0;
            if (my $part = $answer->{parts}[0]) {
                $self->_done_with($answer, $part) if $self->_deliver_part($part, $left);
            }
            else {
                delete $delivery->{answer};
                $self->_end_answer($answer);
            }
        }
    }
    $delivery->{sated} = $self->_loop->iteration if $self->_now >= $until;
    return $self->_schedule_delivery;
}

# What is behind it may have changed meanwhile.
sub _done_with {
    my ($self, $answer, $part) = @_;
    my $parts = $answer->{parts};
    shift @$parts if @$parts && $parts->[0] == $part;
    return;
}

sub _schedule_delivery {
    my ($self) = @_;
    my $cfg      = $self->{cfg};
    my $delivery = $cfg->{delivery};
    return if $cfg->{closed} || $cfg->{delivery_held} || $delivery->{active} || $delivery->{timer};
    return unless $delivery->{answer} || grep { $self->_is_deliverable($_) } @{ $cfg->{answers} };
    $delivery->{timer} = $self->_timer(0, '_deliver_answers');
    return;
}

sub _is_deliverable {
    my ($self, $answer) = @_;
    return $self->{cfg}{consuming} || @{ $answer->{rounds} };
}

# The answer to go on with. What came before one that poll waits for goes first: it
# may be of the same partition. When it is a new one, its broker has nothing to do any
# more: the next Fetch leaves before the first message is delivered.
sub _current_answer {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my $delivery = $cfg->{delivery};
    return $delivery->{answer} if $delivery->{answer};
    my $answers = $cfg->{answers};
    return unless grep { $self->_is_deliverable($_) } @$answers;
    my $answer = $delivery->{answer} = shift @$answers;
    $self->_fetch_ahead($answer);
    return $answer;
}

# Without a group the broker is asked only for what it is known to have: nobody
# may ever poll again.
sub _fetch_ahead {
    my ($self, $answer) = @_;
    return unless defined $answer->{node_id};
    return unless $self->{cfg}{consuming} || grep { $_->{backlog} } @{ $answer->{parts} };
    # What was put back is there for the second time.
    return if $self->_has_undelivered($answer->{node_id});
    return $self->_fetch_from($answer->{node_id});
}

# Nobody wants it for now. It comes first when that changes.
sub _put_delivery_back {
    my ($self) = @_;
    my $delivery = $self->{cfg}{delivery};
    return if !$delivery->{answer} || $self->_is_deliverable($delivery->{answer});
    unshift @{ $self->{cfg}{answers} }, delete $delivery->{answer};
    return $self->_interrupt_delivery;
}

# True when the part is done with.
sub _deliver_part {
    my ($self, $part, $seconds) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return 1 unless $self->_is_wanted($part);
    # From before a seek away, and one back to where it begins.
    if ($cursor->{generation} != $part->{generation}
        && $cursor->is_next($part->{generation}, $part->{from}, $assigned->{offset})) {
        $part->{generation} = $cursor->{generation};
        $cursor->took(@$part{qw(from next epoch)});
    }
    if ($cursor->is_stopped || $cursor->is_resolving && !$part->{asked}) {
        push @{ $cursor->{kept} }, $part;
        return 1;
    }
    if (!$part->{records}) {
        $self->_delivered($part, 1);
        return 1;
    }
    my $listener = $self->_listener or return $self->_keep_for_listener($part);
    my ($is_done, @died) = $self->_hand_over($part, int(1000 * $seconds) + 1, @$listener);
    if ($self->_is_foreign) {    # a handler has forked, and has returned in the child as well
        $self->_leave_to_parent;
        return 1;
    }
    $self->_delivered($part, $is_done);
    return $is_done unless @died;
    $self->_hold_partition($part, $listener->[0], @died);
    return 1;
}

# What is there to hand records to: [option, code]. Programs may write both at any time.
sub _listener {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    for my $name (qw(on_batch on_message)) {
        my $code = $cfg->{$name};
        next unless ref $code && reftype($code) eq 'CODE';
        $self->_notice_over('listener');
        return [$name, $code];
    }
    return;
}

sub _nobody_listens {
    my ($self) = @_;
    my @assigned = map { "$_->{topic}:$_->{partition}" } @{ $self->{cfg}{assignments} };
    return $self->_notice(listener => 'records have nowhere to go: there is no on_message (or on_batch), though '
        . (@assigned == 1 ? "$assigned[0] is assigned" : @assigned . ' partitions are assigned'), partitions => \@assigned);
}

# Nothing is passed over while there is neither, and no more is fetched.
sub _keep_for_listener {
    my ($self, $part) = @_;
    my $cursor = $part->{cursor};
    push @{ $cursor->{kept} }, $part;
    $self->{cfg}{unheard} = $cursor->{unheard} = 1;
    $self->_nobody_listens;
    $self->_fetch_on_after(LISTENER_INTERVAL);
    return 1;
}

# There may be one by now.
sub _listen_again {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return unless $cfg->{unheard};
    return $self->_fetch_on_after(LISTENER_INTERVAL) unless $self->_listener;
    delete $cfg->{unheard};
    my @unheard = grep { delete $_->{unheard} } map { $self->_cursor($_) } @{ $cfg->{assignments} };
    return $self->_deliver_kept(map { splice @{ $_->{kept} } } grep { !$_->is_stopped && !$_->is_resolving } @unheard);
}

# The arrays that on_batch gets are filled again for its next call, unless they
# were kept: the pool has them meanwhile. Gives whether the part is done with, and with
# on_message_die => 'hold' what the callback died of.
sub _hand_over {
    my ($self, $part, $ms, $name, $code) = @_;
    my $cfg = $self->{cfg};
    my $delivery = $cfg->{delivery};
    local $delivery->{part} = $delivery->{begun} = $part;
    my ($fetched, $index) = @$part{qw(fetched index)};
    my $stops = ($cfg->{on_message_die} // '') eq 'hold' ? 1 : 0;
    my @outcome = $name eq 'on_message'
        ? $fetched->deliver($index, $code, $ms, $stops)
        : $fetched->deliver_batches($index, $code, $ms, $delivery->{pool} ||= EV::Kafka::Fetched::Pool->new, $stops);
    delete $delivery->{begun};
    return @outcome;
}

# A record that could not be worked on is the partition's next one until the program
# lets it come again. If the program has moved the position itself before it died, or
# what was delivered stood elsewhere, nothing is held.
sub _hold_partition {
    my ($self, $part, $name, $died) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    local $@;
    my $reason = eval { "$died" } // 'an error that has no text';
    my ($offset) = $part->{fetched}->position($part->{index});
    if ($self->{cfg}{closed} || !$self->_is_current($assigned, $cursor)
        || $cursor->{generation} != $part->{generation} || $assigned->{offset} != $offset) {
        eval { warn "$name error: $reason" };
        return;
    }
    $self->_void_fetched($cursor);
    $cursor->hold;
    my $key = "$assigned->{topic}:$assigned->{partition}";
    # Each time is worth a word, also when it is the same again.
    $self->_notice_over("held $key");
    $reason =~ s/\n+\z//;
    return $self->_notice("held $key", "$key is held at offset $offset until seek or resume: $name died: $reason",
        topic => $assigned->{topic}, partition => $assigned->{partition}, offset => $offset, error => $died);
}

# A seek, from within on_message or before the answer came, has the last word,
# and so has a program that writes to {assignments}.
sub _delivered {
    my ($self, $part, $is_done) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return unless $self->_is_current($assigned, $cursor) && $cursor->{generation} == $part->{generation};
    return $cursor->drop_fetched if $assigned->{offset} != $part->{from};
    my ($position, $epoch) = $is_done ? @$part{qw(next epoch)} : $part->{fetched}->position($part->{index});
    $assigned->{offset} = $part->{from} = $position;
    return $cursor->delivered($position, $epoch);
}

sub _is_wanted {
    my ($self, $part) = @_;
    my $cursor = $part->{cursor};
    return $self->_is_current($part->{assigned}, $cursor)
        && ($part->{asked} || $cursor->{generation} == $part->{generation});
}

# What was fetched of a partition before a seek is not delivered after it, although it
# was asked for.
sub _void_fetched {
    my ($self, $cursor) = @_;
    my $cfg     = $self->{cfg};
    my @answers = grep { $_ } $cfg->{delivery}{answer}, @{ $cfg->{answers} };
    my @parts   = map { @{ $_->{parts} } } @answers;
    push @parts, map { values %{ $_->{parts} || {} } } values %{ $cfg->{fetches} };
    $_->{asked} = 0 for grep { $_->{cursor} == $cursor } @parts;
    return;
}

# For one partition, where delivering stands; nothing if it is not being delivered.
sub _delivering_position {
    my ($self, $cursor) = @_;
    my $part = $self->{cfg}{delivery}{part} or return;
    return unless $part->{cursor} == $cursor && $part->{generation} == $cursor->{generation};
    return $part->{fetched}->position($part->{index});
}

# What the program is done with: without the record, or batch, whose callback has not
# returned, also when it never will because it has ended the process.
sub _handled_positions {
    my ($self) = @_;
    my $part = $self->{cfg}{delivery}{begun};
    my @positions;
    for my $assigned (@{ $self->{cfg}{assignments} }) {
        my $cursor = $self->_cursor($assigned);
        next if $cursor->{untold};
        my ($offset, $epoch) = ($assigned->{offset}, $cursor->{position_epoch});
        ($offset, $epoch) = $part->{fetched}->handled($part->{index})
            if $part && $part->{cursor} == $cursor
            && $part->{generation} == $cursor->{generation} && $part->{from} == $offset;
        push @positions, { topic => $assigned->{topic}, partition => $assigned->{partition},
            offset => $offset, leader_epoch => $epoch } if $offset >= 0;
    }
    return @positions;
}

# Native code comes back after the message that is being delivered, and what is
# left is looked at again.
sub _interrupt_delivery {
    my ($self) = @_;
    my $part = $self->{cfg}{delivery}{part} or return;
    $part->{fetched}->interrupt;
    return;
}

# Nothing is delivered between the two, for as long as anybody holds it; what arrives
# waits.
sub _hold_delivery {
    my ($self, $holder) = @_;
    $self->{cfg}{delivery_held}{ $holder // 'transaction' } = 1;
    return $self->_interrupt_delivery;
}

sub _release_delivery {
    my ($self, $holder) = @_;
    my $held = $self->{cfg}{delivery_held} or return;
    delete $held->{ $holder // 'transaction' };
    return if %$held;
    delete $self->{cfg}{delivery_held};
    return $self->_schedule_delivery;
}

# The answer that is being delivered may have what follows, so that it must go
# before the rest of it, but behind the part that native code is at.
sub _deliver_kept {
    my ($self, @parts) = @_;
    return unless @parts;
    my $delivery = $self->{cfg}{delivery};
    if (my $answer = $delivery->{answer}) {
        splice @{ $answer->{parts} }, $delivery->{part} ? 1 : 0, 0, @parts;
        return $self->_schedule_delivery;
    }
    unshift @{ $self->{cfg}{answers} }, { parts => \@parts, rounds => [] };
    return $self->_schedule_delivery;
}

# A Fetch was answered. What brought nothing waits for nothing.
sub _queue_answer {
    my ($self, $answer) = @_;
    my $cfg = $self->{cfg};
    if (!@{ $answer->{parts} }) {
        $self->_end_answer($answer);
        return $self->_fetch_on;
    }
    push @{ $cfg->{answers} }, $answer;
    # Several brokers may answer in one turn of the loop, in which time is up once.
    my $sated = $cfg->{delivery}{sated};
    return $self->_schedule_delivery if defined $sated && $sated == $self->_loop->iteration;
    return $self->_deliver_answers;
}

# poll waits for what has arrived before as well. Whether there is anything of
# the broker that it need not be asked for.
sub _join_answers {
    my ($self, $round) = @_;
    my $answers = $self->{cfg}{answers};
    for my $answer (@$answers) {
        @{ $answer->{parts} } = grep { $self->_is_wanted($_) } @{ $answer->{parts} };
    }
    @$answers = grep { @{ $_->{parts} } || @{ $_->{rounds} } } @$answers;
    for my $answer (grep { @{ $_->{parts} } } @$answers) {
        $round->{left}++;
        push @{ $answer->{rounds} }, $round;
        $_->{asked} = 1 for grep { !$_->{cursor}->is_resolving } @{ $answer->{parts} };
    }
    $self->_schedule_delivery;
    return;
}

sub _has_undelivered {
    my ($self, $node_id) = @_;
    return scalar grep { defined $_->{node_id} && $_->{node_id} == $node_id } @{ $self->{cfg}{answers} };
}

sub _end_answer {
    my ($self, $answer, $error) = @_;
    $self->_end_part($_, $error // $answer->{error}) for splice @{ $answer->{rounds} };
    return;
}

sub _drop_answers {
    my ($self, $error) = @_;
    my $delivery = $self->{cfg}{delivery};
    $self->_interrupt_delivery;
    delete $delivery->{timer};
    my @answers = ((grep { defined } delete $delivery->{answer}), splice @{ $self->{cfg}{answers} });
    $self->_end_answer($_, $error) for @answers;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Dispatch - hands what an EV::Kafka client has fetched to its program

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It delivers the answers to
Fetch one after the other, in slices of a few milliseconds between which the event
loop turns, keeps what belongs to paused partitions, and knows exactly how far
delivering has come, whatever C<on_message> does.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Fetcher>

=cut
