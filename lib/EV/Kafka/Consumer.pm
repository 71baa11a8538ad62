package EV::Kafka::Consumer;
use strict;
use warnings;

use Carp ();

# {assignments} is what users see: { topic, partition, offset }, the offset being
# the position behind what was delivered. What the client needs to know of a
# partition beside it is its cursor, in {cursors}:
#   generation   counts the seeks; an answer to a question from before a seek
#                must not move the position
#   next         where the next fetch starts, if what was fetched goes further
#                than what was delivered
#   epoch        the leader epoch of the last batch before that, -1 if unknown
#   position_epoch   the same of the position
#   resolving    since when a lookup of its position is under way: nothing is fetched,
#                and while consuming nothing is delivered
#   lookup       counts the lookups; only the last one's answer counts
#   waiters      rounds of poll that wait for that lookup
#   paused       nothing is fetched or delivered until resume
#   kept         what was fetched and not delivered when it was paused, or looked up
#   not_before   no fetch until then, after an error
#   failures     errors in a row
#   leader_due   when to ask again who leads it, after so many leader_tries
#   reported     what on_error has been told
#   max_bytes    what the next fetch asks for when a batch did not fit
#   checked_epoch    the leader epoch under which it was found to be in the log;
#                checking while that is being asked
# A new assignment makes new cursors, which is how late answers are told apart.

use constant NO_EPOCH => -1;

sub assign {
    my ($self, $partitions) = @_;
    $self->_check_open;
    Carp::croak('assign: expected arrayref of partitions') unless ref $partitions eq 'ARRAY';
    my (%seen, @assigned);
    for my $given (reverse @$partitions) {
        my $named = _named_partition(assign => $given);
        my $assigned = { %$given, %$named, offset => _integer('assign: offset', $given->{offset} // 0) };
        unshift @assigned, $assigned unless $seen{"$assigned->{topic}:$assigned->{partition}"}++;
    }
    return $self->_set_assignment(\@assigned);
}

sub _named_partition {
    my ($method, $given) = @_;
    Carp::croak("$method: partition must be a hashref") unless ref $given eq 'HASH';
    Carp::croak("$method: missing topic") unless defined $given->{topic} && length $given->{topic};
    return {
        topic     => $given->{topic},
        partition => _integer("$method: partition", $given->{partition} // 0),
    };
}

sub _integer {
    my ($what, $value) = @_;
    Carp::croak("$what must be an integer, not '$value'") unless $value =~ /\A-?[0-9]+\z/;
    return $value + 0;
}

# Replaces all: also of a partition that was assigned before nothing is kept.
sub _set_assignment {
    my ($self, $assigned) = @_;
    my $cfg   = $self->{cfg};
    my @rounds = map { @{ $_->{waiters} } } values %{ $cfg->{cursors} };
    $cfg->{assignments} = $assigned;
    $cfg->{cursors}     = {};
    return $self->_assignment_changed(@rounds);
}

# Partitions that stay keep their position and what was fetched of them.
sub _change_assignment {
    my ($self, $assigned) = @_;
    my $cfg     = $self->{cfg};
    my $was     = $self->_assigned_by_key;
    my $cursors = $cfg->{cursors};
    my (@now, %kept);
    for my $given (@$assigned) {
        my $key = "$given->{topic}:$given->{partition}";
        push @now, $was->{$key} || {%$given};
        $kept{$key} = delete $cursors->{$key} if $was->{$key} && $cursors->{$key};
    }
    my @rounds = map { @{ $_->{waiters} } } values %$cursors;
    $cfg->{assignments} = \@now;
    $cfg->{cursors}     = \%kept;
    return $self->_assignment_changed(@rounds);
}

sub _assignment_changed {
    my ($self, @rounds) = @_;
    $self->_note_positions if $self->{cfg}{txn};
    $self->_interrupt_delivery;
    $self->_end_part($_) for @rounds;
    $self->_schedule_delivery;
    $self->_poll_again;
    return $self->_fetch_on;
}

sub _assigned {
    my ($self, $topic, $partition) = @_;
    my ($found) = grep { $_->{topic} eq $topic && $_->{partition} == $partition } @{ $self->{cfg}{assignments} };
    return $found;
}

# A partition that was given up and has come back has another entry than before.
sub _assigned_by_key {
    my ($self) = @_;
    return { map { ("$_->{topic}:$_->{partition}" => $_) } @{ $self->{cfg}{assignments} } };
}

sub _cursor {
    my ($self, $assigned) = @_;
    return $self->{cfg}{cursors}{"$assigned->{topic}:$assigned->{partition}"}
        ||= _new_cursor($assigned->{leader_epoch});
}

sub _new_cursor {
    my ($epoch) = @_;
    return {
        generation     => 0,
        epoch          => $epoch // NO_EPOCH,
        position_epoch => $epoch // NO_EPOCH,
        waiters        => [],
        kept           => [],
        not_before     => 0,
        failures       => 0,
        reported       => {},
    };
}

# Whether the cursor still stands for its partition.
sub _is_current {
    my ($self, $assigned, $cursor) = @_;
    my $current = $self->{cfg}{cursors}{"$assigned->{topic}:$assigned->{partition}"};
    return $current && $current == $cursor;
}

# What has been delivered of every partition whose position is known, exact also
# from within on_message: the message that is being delivered counts.
sub _positions {
    my ($self) = @_;
    my @positions;
    for my $assigned (@{ $self->{cfg}{assignments} }) {
        my ($offset, $epoch) = $self->_position_of($assigned);
        push @positions, {
            topic        => $assigned->{topic},
            partition    => $assigned->{partition},
            offset       => $offset,
            leader_epoch => $epoch,
        } if $offset >= 0;
    }
    return @positions;
}

sub _position_of {
    my ($self, $assigned) = @_;
    my $cursor = $self->_cursor($assigned);
    my @delivering = $self->_delivering_position($cursor);
    return @delivering ? @delivering : ($assigned->{offset}, $cursor->{position_epoch});
}

sub position {
    my ($self, $topic, $partition) = @_;
    $self->_check_open;
    Carp::croak('position: topic and partition required') unless defined $topic && defined $partition;
    _integer('position: partition', $partition);
    my $assigned = $self->_assigned($topic, $partition) or return undef;
    my ($offset) = $self->_position_of($assigned);
    return $offset >= 0 ? $offset : undef;
}

# Puts positions back to what _positions gave; nothing that was fetched before
# is delivered any more.
sub _rewind {
    my ($self, $positions) = @_;
    my @rounds;
    for my $position (@$positions) {
        my $assigned = $self->_assigned(@$position{qw(topic partition)}) or next;
        my $old      = $self->_cursor($assigned);
        $assigned->{offset} = $position->{offset};
        $self->{cfg}{cursors}{"$assigned->{topic}:$assigned->{partition}"} = {
            %{ _new_cursor($position->{leader_epoch}) },
            paused   => $old->{paused},
            reported => $old->{reported},
        };
        push @rounds, @{ $old->{waiters} };
    }
    return $self->_assignment_changed(@rounds);
}

sub pause {
    my ($self, $partitions) = @_;
    for my $assigned ($self->_assigned_among(pause => $partitions)) {
        $self->_cursor($assigned)->{paused} = 1;
    }
    return $self->_interrupt_delivery;
}

# What was kept comes before what has been fetched since, which is less than an
# answer: the fetch that was under way.
sub resume {
    my ($self, $partitions) = @_;
    my @kept;
    for my $assigned ($self->_assigned_among(resume => $partitions)) {
        my $cursor = $self->_cursor($assigned);
        delete $cursor->{paused};
        push @kept, splice @{ $cursor->{kept} };
    }
    $self->_deliver_kept(@kept);
    $self->_poll_again;
    return $self->_fetch_on;
}

sub _assigned_among {
    my ($self, $method, $partitions) = @_;
    $self->_check_open;
    Carp::croak("$method: expected arrayref of partitions") unless ref $partitions eq 'ARRAY';
    return grep { defined }
        map { $self->_assigned(@$_{qw(topic partition)}) } map { _named_partition($method => $_) } @$partitions;
}

sub seek {
    my ($self, $topic, $partition, $offset, $cb) = @_;
    $self->_check_open;
    Carp::croak('seek: topic, partition and offset required') if grep { !defined } $topic, $partition, $offset;
    _integer('seek: partition', $partition);
    Carp::croak("seek: offset must be an offset, -1 (latest) or -2 (earliest), not '$offset'")
        if _integer('seek: offset', $offset) < -2;

    my $assigned = $self->_assigned($topic, $partition)
        or return $self->_seek_ended($cb, undef, 'not assigned');
    if ($offset >= 0) {
        $self->_move($assigned, $offset);
        return $self->_seek_ended($cb, $assigned);
    }
    return $self->_seek_ended($cb, undef, 'no connection to leader') unless $self->{cfg}{started};
    return $self->_when_connected({
        cb  => $cb,
        run => sub { my ($self, $op) = @_; $self->_seek_end($topic, $partition, $offset, $op->{cb}) },
    });
}

sub _seek_end {
    my ($self, $topic, $partition, $offset, $cb) = @_;
    my $assigned = $self->_assigned($topic, $partition)
        or return $self->_seek_ended($cb, undef, 'not assigned');
    return $self->_resolve($assigned, $offset, sub {
        my ($self, $error) = @_;
        $self->_seek_ended($cb, $assigned, $error);
        # Nothing was fetched meanwhile.
        $self->_fetch_on;
    });
}

sub _seek_ended {
    my ($self, $cb, $assigned, $error) = @_;
    if (defined $error) {
        return $cb ? $self->_call($cb, undef, $error) : $self->_report("seek: $error");
    }
    return $self->_call($cb, { map { $_ => $assigned->{$_} } qw(topic partition offset) });
}

sub _move {
    my ($self, $assigned, $offset) = @_;
    my $cursor = $self->_cursor($assigned);
    $assigned->{offset} = $offset;
    $cursor->{generation}++;
    @$cursor{qw(failures not_before)} = (0, 0);
    @$cursor{qw(epoch position_epoch)} = (NO_EPOCH, NO_EPOCH);
    delete @$cursor{qw(max_bytes next)};
    $cursor->{kept} = [];
    $self->_interrupt_delivery;
    return $self->_resolved($assigned, $cursor);
}

# Looks up the partition's earliest or latest offset and moves there, unless a seek
# overtakes it; then calls $done->($client, $error, $was_overtaken). Until then, and
# if nothing is found, the position is what it was.
sub _resolve {
    my ($self, $assigned, $timestamp, $done) = @_;
    my $cursor     = $self->_cursor($assigned);
    my $generation = $cursor->{generation};
    my $lookup     = ++$cursor->{lookup};
    $cursor->{resolving} = $self->_now;
    $self->_interrupt_delivery;
    return $self->_lookup_offset(@$assigned{qw(topic partition)}, $timestamp, sub {
        my ($self, $offset, $error) = @_;
        my $is_last = $self->_is_current($assigned, $cursor)
            && $cursor->{generation} == $generation && $cursor->{lookup} == $lookup;
        if ($is_last) {
            if (defined $error) {
                # Before anybody hears of it, who may ask again at once.
                $self->_delay($cursor);
                $self->_resolved($assigned, $cursor, $error);
            }
            else {
                $self->_move($assigned, $offset);
            }
            $self->_note_positions if $self->{cfg}{txn};
        }
        $done->($self, $error, !$is_last);
    });
}

# What waited for the position goes on.
sub _resolved {
    my ($self, $assigned, $cursor, $error) = @_;
    $cursor->{resolving} = 0;
    delete $cursor->{retry};
    $self->_deliver_kept(splice @{ $cursor->{kept} }) unless $cursor->{paused};
    my @rounds = splice @{ $cursor->{waiters} };
    my $leader = $self->_leader(@$assigned{qw(topic partition)});
    for my $round (@rounds) {
        $self->_fetch_from($leader, $round) if !defined $error && defined $leader && !$self->{cfg}{closed};
        $self->_end_part($round, $error);
    }
    return if defined $error;
    $self->_poll_again;
    return $self->_fetch_on_after(0);
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer - an EV::Kafka client's assignment and its positions

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<assign>, C<seek>,
C<position>, C<pause>, C<resume>, and the position of every assigned partition,
which only the answer to the question that was asked last may change.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Fetcher>, L<EV::Kafka::Dispatch>

=cut
