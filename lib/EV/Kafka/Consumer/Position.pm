package EV::Kafka::Consumer::Position;
use strict;
use warnings;

use EV::Kafka::Error;
use EV::Kafka::Offsets::Reset;

# Where consuming goes on: moves of positions, and lookups of those that are not known. Only
# the answer to the question that was asked last may move a position.
#   reset   where a group goes on when a position does not exist (any more)

use constant OFFSET_OUT_OF_RANGE => 1;

# Seconds between looks at all partitions when positions are looked up again, each
# at a time of its own.
use constant RETRY_SPACING => 0.02;

# news: resolved($assigned, $cursor, $error, @rounds) when a position is known, or is not found;
# not_found($assigned, $cursor), it is not looked up again by itself; moved when that was looked up;
# retried($seconds), all partitions may be looked at after them.
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox options offsets assigned news)) }, $class;
}

sub resets_to { my ($self, $where) = @_; $self->{reset} = $where; return }

# What an assignment has that has no position yet.
sub reset_offset { return $_[0]->_reset->offset }

sub _reset { return EV::Kafka::Offsets::Reset->new($_[0]{reset} // $_[0]{options}{auto_offset_reset} // 'earliest') }

# --- moves ------------------------------------------------------------------------------

# Where the program wants to begin: at an offset, or at an end that is looked up.
sub begin_at {
    my ($self, $assigned, $offset) = @_;
    return $self->move($assigned, $offset) if $offset >= 0;
    $self->set($assigned, $offset);
    return $self->find($assigned, $offset);
}

# To where the position stands already: what was fetched from there on still comes,
# once.
sub move {
    my ($self, $assigned, $offset) = @_;
    my $cursor = $self->{assigned}->cursor($assigned);
    my ($position) = $self->{assigned}->position_of($assigned);
    return $self->set($assigned, $offset)
        unless $offset >= 0 && $offset == $position && $cursor->goes_on_at($assigned->{offset});
    $cursor->stays;
    return $self->resolved($assigned, $cursor);
}

sub set {
    my ($self, $assigned, $offset, $epoch) = @_;
    my $cursor = $self->{assigned}->cursor($assigned);
    $assigned->{offset} = $offset;
    $cursor->forget_from($offset) if $offset >= 0;
    $cursor->moves($epoch);
    $self->{assigned}->interrupt;
    return $self->resolved($assigned, $cursor);
}

# What waited for the position goes on.
sub resolved {
    my ($self, $assigned, $cursor, $error) = @_;
    return $self->{news}->(resolved => $assigned, $cursor, $error, $cursor->lookup_ends);
}

# --- lookups ----------------------------------------------------------------------------

# Looks up the partition's earliest or latest offset and moves there, unless a seek
# overtakes it; then calls $done->($error, $was_overtaken). Until then, and
# if nothing is found, the position is what it was.
sub resolve {
    my ($self, $assigned, $timestamp, $done) = @_;
    my $cursor = $self->{assigned}->cursor($assigned);
    my $lookup = $cursor->lookup_begins($self->{loop}->now);
    my ($since) = $self->{assigned}->position_of($assigned);
    $self->{assigned}->interrupt;
    return $self->_look_up($assigned, $timestamp, sub {
        my ($offset, $error) = @_;
        my $is_last = $self->{assigned}->is_current($assigned, $cursor) && $cursor->is_last_lookup($lookup);
        $self->_looked_up($assigned, $cursor, $since, $offset, $error) if $is_last;
        $done->($error, !$is_last);
    });
}

# Of a time after the last record there is the end.
sub _look_up {
    my ($self, $assigned, $timestamp, $done) = @_;
    my @partition = @$assigned{qw(topic partition)};
    return $self->{offsets}->lookup(@partition, $timestamp, sub {
        my ($offset, $error) = @_;
        return $done->($offset, $error) if defined $error || $offset >= 0;
        return $self->{offsets}->lookup(@partition, EV::Kafka::Offsets::Reset::LATEST(), $done);
    });
}

sub _looked_up {
    my ($self, $assigned, $cursor, $since, $offset, $error) = @_;
    if (defined $error) {
        $cursor->delay($self->{loop}->now);
        $self->resolved($assigned, $cursor, $error);
    }
    else {
        $self->_found($assigned, $since, $offset);
    }
    return $self->{news}->('moved');
}

# What poll had asked for may have come meanwhile: from the offset that was found on
# it has been delivered.
sub _found {
    my ($self, $assigned, $since, $offset) = @_;
    my ($position) = $self->{assigned}->position_of($assigned);
    my $has_come = $since >= 0 && $since <= $offset && $offset <= $position;
    return $self->move($assigned, $has_come ? $position : $offset);
}

# A position to be looked up before it can be fetched from: -1 or -2 from assign,
# or the one to fall back to.
sub find {
    my ($self, $assigned, $timestamp, $from) = @_;
    my $cursor = $self->{assigned}->cursor($assigned);
    $timestamp = $self->_reset->timestamp // return $self->_strand($assigned, $cursor, $from)
        if $timestamp == EV::Kafka::Offsets::Reset::AS_RESET();
    return $self->resolve($assigned, $timestamp, sub {
        my ($error, $was_overtaken) = @_;
        return if $was_overtaken;
        return defined $from ? $self->_tell_of_reset($assigned, $from) : undef unless defined $error;
        $self->{news}->(not_found => $assigned, $cursor) unless $cursor->is_resolving;
        # A leader that cannot be reached is a broker's affair.
        return unless defined $error->code && $cursor->is_news('lookup');
        $self->{outbox}->report($error->of("position of $assigned->{topic}:$assigned->{partition}"));
    });
}

# The log does not have the position, or not any more: where to go on instead is looked up, and told.
sub reset {
    my ($self, $assigned) = @_;
    return $self->find($assigned, EV::Kafka::Offsets::Reset::AS_RESET(), $assigned->{offset});
}

# The program has to say where to go on. In a group it may do so in on_assign, and hears of it after that.
sub _strand {
    my ($self, $assigned, $cursor, $from) = @_;
    $cursor->strands($assigned->{offset});
    return $self->resolved($assigned, $cursor) if $cursor->is_untold;
    my ($topic, $partition) = @$assigned{qw(topic partition)};
    my $text = "$topic:$partition has no " . (defined $from ? "offset $from" : 'position')
        . ": nothing is fetched of it until seek says where to go on (auto_offset_reset is 'none')";
    my $error = defined $from ? EV::Kafka::Error->of_code(OFFSET_OUT_OF_RANGE)->said($text) : EV::Kafka::Error->without_code($text);
    $error = $error->at(topic => $topic, partition => $partition);
    $self->resolved($assigned, $cursor, $error);
    return $self->{outbox}->report($error);
}

sub _tell_of_reset {
    my ($self, $assigned, $from) = @_;
    my ($topic, $partition, $to) = @$assigned{qw(topic partition offset)};
    my $text = "$topic:$partition has no offset $from" . ($from < $to ? ' any more, retention may have removed it' : '')
        . ": consuming goes on at $to, ${\ $self->_reset->text }"
        . ' (auto_offset_reset)' . ($from < $to ? '; ' . ($to - $from) . ' offsets are passed over' : '');
    # Each time is worth a word, also when it is the same again.
    $self->{outbox}->notice_over("reset of $topic:$partition");
    return $self->{outbox}->notice("reset of $topic:$partition", $text,
        topic => $topic, partition => $partition, from => $from, to => $to);
}

# Not before the delay after the last try is over.
sub find_in_time {
    my ($self, $assigned, $cursor) = @_;
    my $wait = $cursor->wait_at($self->{loop}->now);
    return $wait > 0 ? $self->find_after($wait, $assigned, $cursor) : $self->find($assigned, $assigned->{offset});
}

sub find_after {
    my ($self, $seconds, $assigned, $cursor) = @_;
    $cursor->{retry} ||= $self->{loop}->timer($seconds, $self, _find_again => $assigned);
    return;
}

# The timer ends with the cursor: it still is this one's partition.
sub _find_again {
    my ($self, $assigned) = @_;
    my $cursor = $self->{assigned}->cursor($assigned);
    delete $cursor->{retry};
    $self->find($assigned, $assigned->{offset}) if $assigned->{offset} < 0 && !$cursor->is_resolving;
    return $self->{news}->(retried => RETRY_SPACING);
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Position - where a consumer goes on in its partitions

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It moves positions, and looks up those that are
not known, again with back-off.

=head1 METHODS

=head2 new(%about), resets_to($where), reset_offset

With C<loop>, C<outbox>, C<options>, C<offsets>, C<assigned> and C<news>. Where to go on when a position
does not exist, as C<auto_offset_reset> of a group says it; undef is what the option of the client says. And what
an assignment has that is to begin there.

=head2 begin_at($assigned, $offset), move($assigned, $offset), set($assigned, $offset, [$epoch])

To an offset or an end; to an offset, keeping what was fetched if the position stands there; to an
offset with nothing that was fetched.

=head2 resolve($assigned, $timestamp, $done), find($assigned, $timestamp, [$from]), reset($assigned), find_in_time($assigned, $cursor), find_after($seconds, $assigned, $cursor)

A lookup; the same for a position without which nothing is fetched; when its back-off is over; and after
so many seconds.

=head2 resolved($assigned, $cursor, [$error])

What waited for the position goes on.

=head1 SEE ALSO

L<EV::Kafka::Consumer>, L<EV::Kafka::Offsets>

=cut
