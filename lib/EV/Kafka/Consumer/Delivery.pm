package EV::Kafka::Consumer::Delivery;
use strict;
use warnings;

use Scalar::Util qw(reftype);

# Hands what has been fetched to the program, in the order in which it came.

# Milliseconds of delivering in one go before the event loop turns: what else the
# program does, heartbeats and the reading of answers must not wait for a whole
# answer's on_message. A turn of the loop costs a thousandth of that.
use constant SLICE_MS => 5;

# Its state:
#   consuming  all that has come is delivered; otherwise what poll waits for
#   answers    what waits, in the order in which it came
#   current    the answer that is being delivered, in slices
#   active     this module, or native code, is at it
#   timer      it goes on from the loop
#   sated      the turn of the loop in which time was up last
#   held       who does not want anything to be delivered, by name
#   unheard    there was nobody to deliver to
#   has_asked  for a listener: the program has been told that there is none
#   pool       the arrays that on_batch is given are filled again, unless they were kept
# An answer is { node_id?, parts, rounds, error? }, a part what it has of one partition:
#   assigned, cursor, generation   whose it is, and before which seeks
#   fetched, index                 the native answer, and the place in it
#   records                        how many there may be
#   from, next, epoch              its position, and the one behind it with its epoch
#   backlog                        the broker had more
#   asked                          poll wanted it: it is delivered also after a seek

# news: delivers, before it does; takes($node_id, $has_backlog) when a broker's answer begins;
# unheard, when there is nobody to deliver to; through, when an answer has come to its end whose records the program
# says it is done with; void($cursor), what was fetched of a partition; damaged($part, $node_id), what comes next of it does
# not verify.
sub new {
    my ($class, %about) = @_;
    return bless {
        map({ $_ => $about{$_} } qw(loop outbox options assigned progress ends news)),
        consuming => 0, answers => [], current => undef, active => 0, sated => -1, held => {}, unheard => 0,
    }, $class;
}

# --- whether anything is delivered ----------------------------------------------------

sub is_consuming { return $_[0]{consuming} }

sub start {
    my ($self) = @_;
    $self->{consuming} = 1;
    return $self->schedule;
}

# What it was at comes first when that changes.
sub stop {
    my ($self) = @_;
    $self->{consuming} = 0;
    return if !$self->{current} || $self->_is_deliverable($self->{current});
    unshift @{ $self->{answers} }, delete $self->{current};
    return $self->{assigned}->interrupt;
}

# Nothing is delivered between the two, for as long as anybody holds it; what arrives
# waits.
sub hold {
    my ($self, $holder) = @_;
    $self->{held}{$holder} = 1;
    return $self->{assigned}->interrupt;
}

sub release {
    my ($self, $holder) = @_;
    return delete $self->{held}{$holder} && !%{ $self->{held} } ? $self->schedule : undef;
}

sub is_held { return scalar %{ $_[0]{held} } }

# --- what is to be delivered ----------------------------------------------------------

sub add {
    my ($self, $answer) = @_;
    push @{ $self->{answers} }, $answer;
    # Several brokers may answer in one turn of the loop, in which time is up once.
    return $self->schedule if $self->{sated} == $self->{loop}->iteration;
    # What reading it has brought to light is told before its records come.
    $self->{outbox}->drain;
    return $self->_deliver;
}

# What was kept. The answer that is being delivered may have what follows, so that it must go
# before the rest of it, but behind the part that native code is at.
sub add_kept {
    my ($self, @parts) = @_;
    return unless @parts;
    if (my $answer = $self->{current}) {
        splice @{ $answer->{parts} }, $self->{assigned}->is_handing ? 1 : 0, 0, @parts;
    }
    else {
        unshift @{ $self->{answers} }, { parts => \@parts, rounds => [] };
    }
    return $self->schedule;
}

# poll waits for what has arrived before as well.
sub join {
    my ($self, $round) = @_;
    my ($answers, $assigned) = @$self{qw(answers assigned)};
    for my $answer (@$answers) {
        @{ $answer->{parts} } = grep { $assigned->is_wanted($_) } @{ $answer->{parts} };
    }
    @$answers = grep { @{ $_->{parts} } || @{ $_->{rounds} } } @$answers;
    for my $answer (grep { @{ $_->{parts} } } @$answers) {
        $round->joins;
        push @{ $answer->{rounds} }, $round;
        $_->{asked} = 1 for grep { !$_->{cursor}->is_resolving } @{ $answer->{parts} };
    }
    return $self->schedule;
}

# Whether there is anything of the broker that it need not be asked for.
sub has_undelivered {
    my ($self, $node_id) = @_;
    return scalar grep { defined $_->{node_id} && $_->{node_id} == $node_id } @{ $self->{answers} };
}

sub end_answer {
    my ($self, $answer, $error) = @_;
    $_->leaves($error // $answer->{error}) for splice @{ $answer->{rounds} };
    return;
}

# What was fetched of a partition before a seek is not delivered after it, although it
# was asked for.
sub void {
    my ($self, $cursor) = @_;
    my @parts = map { @{ $_->{parts} } } grep { $_ } $self->{current}, @{ $self->{answers} };
    $_->{asked} = 0 for grep { $_->{cursor} == $cursor } @parts;
    return;
}

# --- delivering -----------------------------------------------------------------------

sub schedule {
    my ($self) = @_;
    return if $self->{active} || $self->{timer} || %{ $self->{held} };
    return unless $self->{current} || grep { $self->_is_deliverable($_) } @{ $self->{answers} };
    $self->{timer} = $self->{loop}->timer(0, $self, '_deliver');
    return;
}

sub _is_deliverable {
    my ($self, $answer) = @_;
    return $self->{consuming} || @{ $answer->{rounds} };
}

# Whatever the program does in its callbacks, it is looked at anew after each.
sub _deliver {
    my ($self) = @_;
    return if $self->{active};
    delete $self->{timer};
    $self->{news}->('delivers');
    my $loop  = $self->{loop};
    my $until = $loop->now + SLICE_MS / 1000;
    {
        local $self->{active} = 1;
        while (!%{ $self->{held} } && (my $answer = $self->_next_answer)) {
            my $left = $until - $loop->now;
            last if $left <= 0;
            if   (my $part = $answer->{parts}[0]) { $self->_done_with($answer, $part) if $self->_deliver_part($part, $left) }
            else                                  { $self->_answer_ends($answer) }
        }
    }
    $self->{sated} = $loop->iteration if $loop->now >= $until;
    return $self->schedule;
}

# The answer to go on with. What came before one that poll waits for goes first: it
# may be of the same partition. When it is a new one, its broker has nothing to do any
# more: the next Fetch leaves before the first message is delivered.
sub _next_answer {
    my ($self) = @_;
    return $self->{current} if $self->{current};
    my $answers = $self->{answers};
    return unless grep { $self->_is_deliverable($_) } @$answers;
    my $answer = $self->{current} = shift @$answers;
    $self->{news}->(takes => $answer->{node_id}, scalar grep { $_->{backlog} } @{ $answer->{parts} })
        if defined $answer->{node_id};
    return $answer;
}

# Its polls are called back before the next answer's records come.
sub _answer_ends {
    my ($self, $answer) = @_;
    delete $self->{current};
    return unless @{ $answer->{rounds} };
    $self->end_answer($answer);
    return $self->{outbox}->drain;
}

# What is behind it may have changed meanwhile.
sub _done_with {
    my ($self, $answer, $part) = @_;
    my $parts = $answer->{parts};
    shift @$parts if @$parts && $parts->[0] == $part;
    return;
}

# True when the part is done with.
sub _deliver_part {
    my ($self, $part, $seconds) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return 1 unless $self->{assigned}->is_wanted($part);
    # From before a seek away, and one back to where it begins.
    if ($cursor->{generation} != $part->{generation}
        && $cursor->is_next($part->{generation}, $part->{from}, $assigned->{offset})) {
        $part->{generation} = $cursor->{generation};
        $cursor->took(@$part{qw(from next epoch)});
    }
    if ($cursor->is_stopped || $cursor->is_resolving && !$part->{asked}) {
        $cursor->keep($part);
        return 1;
    }
    if (!$part->{records}) {
        $self->{assigned}->delivered($part, 1);
        $self->_tell_of_end($part) if $self->{options}{on_eof};
        return 1;
    }
    my $listener = $self->listener or return $self->_keep_for_listener($part);
    return $self->_hand_over($part, int(1000 * $seconds) + 1, @$listener);
}

# That it was the last there is is told before anything else comes.
sub _tell_of_end {
    my ($self, $part) = @_;
    return $self->{ends}->look(@$part{qw(assigned cursor)}) ? $self->{outbox}->drain : undef;
}

# With on_message_die => 'hold' native code also gives what the callback died of.
use constant { DONE => 1, DAMAGED => -1 };

sub _hand_over {
    my ($self, $part, $ms, $name, $code) = @_;
    my $assigned = $self->{assigned};
    my $stops = ($self->{options}{on_message_die} // '') eq 'hold' ? 1 : 0;
    my $in_progress = $self->{progress}->of($part->{cursor});
    my @how = $name eq 'on_message'
        ? (deliver => $code, $ms, $stops, $in_progress)
        : (deliver_batches => $code, $ms, $self->{pool} ||= EV::Kafka::Fetched::Pool->new, $stops, $in_progress);
    # Nothing comes of it in a child that a handler has forked and returned in.
    my ($outcome, @died) = $self->{outbox}->hand_over($assigned, hand_over => $part, @how) or return 1;
    my $is_done = $outcome == DONE;
    $assigned->delivered($part, $is_done);
    return $self->_is_damaged($part) if $outcome == DAMAGED;
    $self->_tell_of_end($part) if $is_done && $self->{options}{on_eof};
    $self->_hold_partition($part, $name, @died) if @died;
    return 1                                    if @died;
    return $in_progress ? $self->_is_through($part, $is_done, $in_progress) : $is_done;
}

# While the program is at as many records as it may be at the others are kept. What may be fetched depends on what
# it has got of.
sub _is_through {
    my ($self, $part, $is_done, $in_progress) = @_;
    if    ($is_done)               { $self->{news}->('through') }
    elsif ($in_progress->is_full) { $part->{cursor}->begins_no_more }
    return $is_done;
}

# The next Fetch left before that was found: what it brings is behind what is asked for once more.
sub _is_damaged {
    my ($self, $part) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return 1 unless $self->{assigned}->is_current($assigned, $cursor) && $cursor->{generation} == $part->{generation};
    $self->{news}->(void => $cursor);
    # Where to go on may be what is being looked up; otherwise it comes to this again.
    if ($cursor->is_resolving) {
        $cursor->keep($part);
        return 1;
    }
    $cursor->drop_fetched;
    $self->{news}->(damaged => $part, $self->{current}{node_id});
    return 1;
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
    if ($self->{outbox}->has_ended || !$self->{assigned}->is_current($assigned, $cursor)
        || $cursor->{generation} != $part->{generation} || $assigned->{offset} != $offset) {
        eval { warn "$name error: $reason" };
        return;
    }
    $self->{news}->(void => $cursor);
    $cursor->hold;
    $cursor->forget_from($offset);
    my $key = "$assigned->{topic}:$assigned->{partition}";
    # Each time is worth a word, also when it is the same again.
    $self->{outbox}->notice_over("held $key");
    $reason =~ s/\n+\z//;
    return $self->{outbox}->notice("held $key", "$key is held at offset $offset until seek or resume: $name died: $reason",
        topic => $assigned->{topic}, partition => $assigned->{partition}, offset => $offset, error => $died);
}

# --- to whom --------------------------------------------------------------------------

# What is there to hand records to: [option, code]. Programs may write both at any time.
sub listener {
    my ($self) = @_;
    my $options = $self->{options};
    for my $name (qw(on_batch on_message)) {
        my $code = $options->{$name};
        next unless ref $code && reftype($code) eq 'CODE';
        $self->{outbox}->notice_over('listener') if delete $self->{has_asked};
        return [$name, $code];
    }
    return;
}

sub nobody_listens {
    my ($self) = @_;
    $self->{has_asked} = 1;
    my @assigned = map { "$_->{topic}:$_->{partition}" } $self->{assigned}->all;
    return $self->{outbox}->notice(listener => 'records have nowhere to go: there is no on_message (or on_batch), though '
        . (@assigned == 1 ? "$assigned[0] is assigned" : @assigned . ' partitions are assigned'), partitions => \@assigned);
}

# Nothing is passed over while there is neither, and no more is fetched.
sub _keep_for_listener {
    my ($self, $part) = @_;
    my $cursor = $part->{cursor};
    $cursor->keep($part);
    $cursor->nobody_hears;
    $self->{unheard} = 1;
    $self->nobody_listens;
    $self->{news}->('unheard');
    return 1;
}

# There may be one by now. True if there is none.
sub is_unheard {
    my ($self) = @_;
    return 0 unless $self->{unheard};
    return 1 unless $self->listener;
    $self->{unheard} = 0;
    my @heard = grep { $_->somebody_hears } $self->{assigned}->cursors;
    $self->add_kept(map { $_->take_kept } grep { !$_->is_stopped && !$_->is_resolving } @heard);
    return 0;
}

# --- the end --------------------------------------------------------------------------

sub close {
    my ($self, $error) = @_;
    $self->{assigned}->interrupt;
    my @answers = grep { $_ } delete $self->{current}, splice @{ $self->{answers} };
    delete $self->{timer};
    $self->{consuming} = 0;
    $self->end_answer($_, $error) for @answers;
    return;
}

sub abandon {
    my ($self) = @_;
    delete @$self{qw(current timer)};
    @$self{qw(consuming answers)} = (0, []);
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Delivery - hands what a consumer has fetched to the program

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It delivers the answers to Fetch one after the
other, in slices of a few milliseconds between which the event loop turns, and keeps what belongs to
partitions that are stopped.

=head1 METHODS

=head2 new(%about)

With C<loop>, C<outbox>, C<options>, C<assigned> (L<EV::Kafka::Consumer::Assigned>), C<progress>
(L<EV::Kafka::Consumer::Progress>) and C<news>.

=head2 start, stop, is_consuming, hold($holder), release($holder), is_held

All that comes is delivered from C<start> to C<stop>, otherwise what polls wait for; nothing while
anybody holds it.

=head2 add($answer), add_kept(@parts), join($round), has_undelivered($node_id), end_answer($answer, $error), void($cursor), schedule

What is to be delivered: an answer, and parts that were kept; a round of C<poll> that waits for what is
there; whether there is anything of a broker; the end of an answer that has brought nothing; what a seek makes void; and
going on from the loop.

=head2 listener, nobody_listens, is_unheard

The program's callback, a notice that there is none, and whether there still is none.

=head2 close($error), abandon

Its end, with and without a word to those who wait.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
