package EV::Kafka::Consumer;
use strict;
use warnings;

use Carp ();

use EV::Kafka::Consumer::Cursor;

# A croak names the line of the program, not one of ours.
our @CARP_NOT = ('EV::Kafka::Client');

# {assignments} is what users see: { topic, partition, offset }, the offset being
# the position behind what was delivered. What the client needs to know of a
# partition beside it is its EV::Kafka::Consumer::Cursor, in {cursors}.

# The list and its hashes stay the caller's: programs read the positions there.
sub assign {
    my ($self, $partitions) = @_;
    $self->_check_open;
    Carp::croak('assign: expected arrayref of partitions') unless ref $partitions eq 'ARRAY';
    my @checked = map { _checked_partition($_) } @$partitions;
    my $owner   = $self->{cfg}{owner};
    return $self->_assign_owned($owner->{group_id}, $partitions, \@checked) if $owner && $owner->{may_assign};
    Carp::croak("assign: a member of a group, here '$owner->{group_id}', is assigned its partitions by the group") if $owner;
    if (my @undefined = map { "$_->{topic}:" . ($_->{partition} // 0) }
        grep { exists $_->{offset} && !defined $_->{offset} } @$partitions) {
        Carp::carp('EV::Kafka: assign: offset undef counts as 0: ' . join ', ', @undefined);
    }
    my %last = map { ("$checked[$_]{topic}:$checked[$_]{partition}" => $_) } 0 .. $#checked;
    my @assigned  = map { _written($partitions->[$_], $checked[$_]) } sort { $a <=> $b } values %last;
    my $is_theirs = @assigned == @$partitions && !grep { $assigned[$_] != $partitions->[$_] } 0 .. $#assigned;
    return $self->_set_assignment($is_theirs ? $partitions : \@assigned);
}

# A group's member is assigned its partitions by the group, and may begin elsewhere while
# on_assign is called.
sub _owned_by {
    my ($self, $group_id, $may_assign) = @_;
    $self->{cfg}{owner} = defined $group_id ? { group_id => $group_id, may_assign => $may_assign } : undef;
    return;
}

sub _checked_partition {
    my ($given) = @_;
    my $named = _named_partition(assign => $given);
    return { %$named, offset => _integer('assign: offset', $given->{offset} // 0) };
}

# A hash that may not be written to is copied.
sub _written {
    my ($given, $checked) = @_;
    local $@;
    return $given if eval { @$given{ keys %$checked } = values %$checked; 1 };
    return { %$given, %$checked };
}

# Within on_assign: where to go on with what the member owns. Without an offset that is
# where it would anyway.
sub _assign_owned {
    my ($self, $group_id, $given, $checked) = @_;
    my $owned = $self->_assigned_by_key;
    my @keys  = map { "$_->{topic}:$_->{partition}" } @$checked;
    my @other = grep { !$owned->{$_} } @keys;
    Carp::croak("assign: the group '$group_id' has not assigned " . join ', ', @other) if @other;
    $self->_begin_at($owned->{ $keys[$_] }, $checked->[$_]{offset})
        for grep { defined $given->[$_]{offset} } 0 .. $#keys;
    return;
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
    Carp::croak("$what must be an integer, not '$value'") unless _is_integer($value);
    return $value + 0;
}

sub _is_integer { return $_[0] =~ /\A-?[0-9]+\z/ }

# Replaces all: also of a partition that was assigned before nothing is kept.
sub _set_assignment {
    my ($self, $assigned) = @_;
    my $cfg   = $self->{cfg};
    my @rounds = map { $_->retire } values %{ $cfg->{cursors} };
    $cfg->{assignments} = $assigned;
    $cfg->{cursors}     = {};
    return $self->_assignment_changed(@rounds);
}

# Partitions that stay keep their position and what was fetched of them; what is new
# has the cursor that is given for it, or a plain one.
sub _change_assignment {
    my ($self, $assigned, %new) = @_;
    my $cfg     = $self->{cfg};
    my $was     = $self->_assigned_by_key;
    my $cursors = $cfg->{cursors};
    my (@now, %kept);
    for my $given (@$assigned) {
        my $key = "$given->{topic}:$given->{partition}";
        push @now, $was->{$key} || {%$given};
        my $cursor = $was->{$key} ? delete $cursors->{$key} : $new{$key};
        $kept{$key} = $cursor if $cursor;
    }
    my @rounds = map { $_->retire } values %$cursors;
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
        ||= EV::Kafka::Consumer::Cursor->new($assigned->{leader_epoch});
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
        next if $self->_cursor($assigned)->{untold};
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
        $self->{cfg}{cursors}{"$assigned->{topic}:$assigned->{partition}"} = $old->successor($position->{leader_epoch});
        push @rounds, $old->retire;
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
        push @kept, $self->_cursor($assigned)->resume;
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
    return $self->_seek_ended($cb, undef, 'no connection to leader') unless $self->{cluster}->is_started;
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

# To where the position stands already: what was fetched from there on still comes,
# once.
sub _move {
    my ($self, $assigned, $offset) = @_;
    my $cursor = $self->_cursor($assigned);
    my ($position) = $self->_position_of($assigned);
    return $self->_set_position($assigned, $offset)
        unless $offset >= 0 && $offset == $position && $cursor->goes_on_at($assigned->{offset});
    $cursor->stays;
    return $self->_resolved($assigned, $cursor);
}

sub _set_position {
    my ($self, $assigned, $offset, $epoch) = @_;
    my $cursor = $self->_cursor($assigned);
    $assigned->{offset} = $offset;
    $cursor->moves;
    @$cursor{qw(epoch position_epoch)} = ($epoch, $epoch) if defined $epoch;
    $self->_interrupt_delivery;
    return $self->_resolved($assigned, $cursor);
}

# Where the program wants to begin: at an offset, or at an end that is looked up.
sub _begin_at {
    my ($self, $assigned, $offset) = @_;
    return $self->_move($assigned, $offset) if $offset >= 0;
    $self->_set_position($assigned, $offset);
    return $self->_find_position($assigned, $offset);
}

# Looks up the partition's earliest or latest offset and moves there, unless a seek
# overtakes it; then calls $done->($client, $error, $was_overtaken). Until then, and
# if nothing is found, the position is what it was.
sub _resolve {
    my ($self, $assigned, $timestamp, $done) = @_;
    my $cursor = $self->_cursor($assigned);
    my $lookup = $cursor->lookup_begins($self->_now);
    my ($since) = $self->_position_of($assigned);
    $self->_interrupt_delivery;
    return $self->_lookup_offset(@$assigned{qw(topic partition)}, $timestamp, sub {
        my ($self, $offset, $error) = @_;
        my $is_last = $self->_is_current($assigned, $cursor) && $cursor->is_last_lookup($lookup);
        if ($is_last) {
            if (defined $error) {
                # Before anybody hears of it, who may ask again at once.
                $self->_delay($cursor);
                $self->_resolved($assigned, $cursor, $error);
            }
            else {
                $self->_found($assigned, $since, $offset);
            }
            $self->_note_positions if $self->{cfg}{txn};
        }
        $done->($self, $error, !$is_last);
    });
}

# What poll had asked for may have come meanwhile: from the offset that was found on
# it has been delivered.
sub _found {
    my ($self, $assigned, $since, $offset) = @_;
    my ($position) = $self->_position_of($assigned);
    my $has_come = $since >= 0 && $since <= $offset && $offset <= $position;
    return $self->_move($assigned, $has_come ? $position : $offset);
}

# What waited for the position goes on.
sub _resolved {
    my ($self, $assigned, $cursor, $error) = @_;
    my @rounds = $cursor->lookup_ends;
    $self->_deliver_kept(splice @{ $cursor->{kept} }) unless $cursor->is_stopped;
    my $leader = $self->_leader(@$assigned{qw(topic partition)});
    for my $round (@rounds) {
        $self->_fetch_from($leader, $round) if !defined $error && defined $leader && !$self->{cfg}{closed};
        $self->_end_part($round, $error);
    }
    return if defined $error;
    $self->_assign_later if $cursor->{untold};
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
