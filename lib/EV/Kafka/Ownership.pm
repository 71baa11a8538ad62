package EV::Kafka::Ownership;
use strict;
use warnings;

use EV::Kafka::Partitions;

# What a member does with an assignment, whichever protocol brought it: it gives
# up what it no longer has, looks up where to go on with what is new, and tells
# the program of both.

# Seconds to wait for positions that are looked up when requests wait without end, and when
# others wait for what this member has just given up. What is not known by then comes in
# an on_assign of its own.
use constant {
    POSITIONS_PATIENCE => 30,
    REVOKED_PATIENCE   => 1,
};

# Hands over [topic, partition], …; the group is stable when it is done.
sub _take_assignment {
    my ($self, $group, $partitions) = @_;
    @$group{qw(state assigned assigned_generation)} = ('taking', $partitions, $group->{generation});
    my $attempt = $group->{attempt};
    my %stays   = map { ("$_->[0]:$_->[1]" => 1) } @$partitions;
    my $revokes = grep { !$stays{ EV::Kafka::Partitions::key_of($_) } } @{ $self->{cfg}{assignments} };
    return $self->_give_up($group, sub { !$stays{ EV::Kafka::Partitions::key_of($_[0]) } }, $group->{auto_commit}, sub {
        my ($self) = @_;
        return unless $self->_is_attempt($group, $attempt);
        my %has   = map { (EV::Kafka::Partitions::key_of($_) => 1) } @{ $self->{cfg}{assignments} };
        my @added = grep { !$has{"$_->[0]:$_->[1]"} } @$partitions;
        return $self->_find_offsets($group, $attempt, \@added, $revokes);
    });
}

sub _find_offsets {
    my ($self, $group, $attempt, $added, $revoked) = @_;
    return $self->_find_positions($group, $attempt, [], $revoked) unless @$added;
    return $self->_fetch_committed($group, $added, 9**9**9, sub {
        my ($self, $committed, $error, $epochs) = @_;
        return unless $self->_is_attempt($group, $attempt);
        return $self->_stop_group($group, "OffsetFetch: $error") if defined $error;
        my $reset = $self->_reset_timestamp;
        my $had   = $group->{had} || {};
        $self->_txn_takes_over($_) for grep { defined $committed->{$_} } keys %$committed;
        return $self->_find_positions($group, $attempt, [map {
            my $key = "$_->[0]:$_->[1]";
            {
                topic     => $_->[0],
                partition => $_->[1],
                offset    => $committed->{$key} // $had->{$key} // $reset,
                # Tells whether what was read up to there still is in the log (KIP-320).
                defined $committed->{$key} ? (leader_epoch => $epochs->{$key}) : (),
            };
        } @$added], $revoked);
    });
}

# What is new is the member's from here on, and fetched from once the program has been
# told of it. Partitions without a committed offset are looked up first.
sub _find_positions {
    my ($self, $group, $attempt, $added, $revoked) = @_;
    my $cfg = $self->{cfg};
    $group->{taking} = { attempt => $attempt, revoked => $revoked };
    if (@$added) {
        my %new = map { (EV::Kafka::Partitions::key_of($_) => EV::Kafka::Cursor->untold($_->{leader_epoch})) } @$added;
        $self->_change_assignment([@{ $cfg->{assignments} }, @$added], %new);
        return unless $self->_is_attempt($group, $attempt);
    }
    return $self->_taken($group) unless grep { $_->{offset} < 0 } $self->_untold;
    my $patience = $cfg->{request_timeout} || POSITIONS_PATIENCE;
    $patience = REVOKED_PATIENCE if $revoked && $patience > REVOKED_PATIENCE;
    return $self->_group_timer(positions => $patience, '_taken');
}

# Partitions that on_assign has not been told of.
sub _untold {
    my ($self) = @_;
    return grep { $self->_cursor($_)->{untold} } @{ $self->{cfg}{assignments} };
}

# One of them has its position now. What else becomes known in this turn of the loop is
# told in the same on_assign.
sub _assign_later {
    my ($self) = @_;
    my $group = $self->{cfg}{group} or return;
    $self->_group_timer(assign => 0, '_assign_found') unless $self->{cfg}{group_timers}{assign};
    return;
}

sub _assign_found {
    my ($self, $group) = @_;
    my @known = grep { $_->{offset} >= 0 } $self->_untold;
    return unless @known;
    return $self->_tell_assigned($group, @known) unless $group->{taking};
    return @known < $self->_untold ? undef : $self->_taken($group);
}

sub _taken {
    my ($self, $group) = @_;
    my $taking = delete $group->{taking} or return;
    delete $self->{cfg}{group_timers}{positions};
    my $attempt = $taking->{attempt};
    return unless $self->_is_attempt($group, $attempt);
    $group->{state} = 'stable';
    $group->{had}   = {};
    $self->_session_confirmed($group);
    $self->_tell_assigned($group, grep { $_->{offset} >= 0 } $self->_untold);
    return unless $self->_is_attempt($group, $attempt);
    $self->_run_waiting($group);
    return unless $self->_is_attempt($group, $attempt) && $group->{state} eq 'stable';
    return $self->_by_protocol($group, taken => $taking->{revoked});
}

# The program may set other offsets, in place or by assign; nothing is fetched before.
sub _tell_assigned {
    my ($self, $group, @assigned) = @_;
    my @told = map { { topic => $_->{topic}, partition => $_->{partition}, offset => $_->{offset} } } @assigned;
    my @cursors = map { $self->_cursor($_) } @assigned;
    my @offsets = map { $_->{offset} } @assigned;
    {
        local $group->{is_assigning} = 1;
        $self->_call($group->{on_assign}, [@told]);
    }
    for my $index (grep { $self->_is_current($assigned[$_], $cursors[$_]) } 0 .. $#assigned) {
        my $wanted = $told[$index]{offset};
        $self->_begin_where_told($assigned[$index], $wanted)
            if defined $wanted && "$wanted" ne $offsets[$index] && !$self->{cfg}{closed};
        delete $cursors[$index]{untold};
    }
    return $self->_fetch_on;
}

sub _begin_where_told {
    my ($self, $assigned, $offset) = @_;
    return $self->_begin_at($assigned, $offset + 0) if EV::Kafka::Consumer::_is_integer($offset) && $offset >= -2;
    return $self->_report("on_assign: the offset of $assigned->{topic}:$assigned->{partition} must be an offset, "
        . "-1 (latest) or -2 (earliest), not '$offset'");
}

# Gives up the partitions that $goes->($assigned) picks: tells the program, which
# may commit in on_revoke, commits if that is wanted, and delivers nothing of them
# any more. Then, once every commit has been answered, $then->($client, $error).
# What on_revoke itself calls for comes after that: nothing is revoked twice.
sub _give_up {
    my ($self, $group, $goes, $commits, $then) = @_;
    my $cfg  = $self->{cfg};
    if ($group->{revoking}) {
        push @{ $group->{revoking} }, [$goes, $commits, $then];
        return;
    }
    # What is not sent yet would be another member's by now.
    $self->_commits_ended($group, $group->{commits}->drop({ reason => EV::Kafka::GroupOffsets::OUT_OF_GROUP() }))
        if $group->{is_out};
    return unless $self->_is_group($group);
    my @gone = grep { $goes->($_) } @{ $cfg->{assignments} };
    return $self->_when_committed($group, $then) unless @gone;
    my %position = map { (EV::Kafka::Partitions::key_of($_) => $_->{offset}) } $self->_positions;
    my $next = $group->{revoking} = [];
    my $told = $group->{is_out} && $group->{on_lost} || $group->{on_revoke};
    # What on_assign was never told of goes without a word.
    my @known = grep { !$self->_cursor($_)->{untold} } @gone;
    $self->_call($told, [map { {
        topic => $_->{topic}, partition => $_->{partition}, offset => $position{ EV::Kafka::Partitions::key_of($_) } // $_->{offset},
    } } @known]) if @known;
    delete $group->{revoking};
    return unless $self->_is_group($group);

    my %is_gone   = map { (EV::Kafka::Partitions::key_of($_) => 1) } @gone;
    my @positions = grep { $is_gone{ EV::Kafka::Partitions::key_of($_) } } $self->_positions;
    $group->{had}{ EV::Kafka::Partitions::key_of($_) } = $_->{offset} for @positions;
    $self->_txn_gives_up(@positions);
    $self->_change_assignment([grep { !$is_gone{ EV::Kafka::Partitions::key_of($_) } } @{ $cfg->{assignments} }]);
    my $failed;
    $group->{committing} = \@gone;
    $self->_commit_positions($group, \@positions, sub { $failed = $_[1] }) if $commits;
    $self->_when_committed($group, sub {
        my ($self) = @_;
        delete $group->{committing};
        $group->{commits}->forget(keys %is_gone);
        $self->_report("group '$group->{group_id}': commit before partitions are given up: $failed")
            if defined $failed && $self->_is_group($group) && $group->{state} ne 'leaving';
        $then->($self, $failed);
    });
    $self->_give_up($group, @$_) for @$next;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Ownership - what an EV::Kafka client in a group gives up and takes over

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It brings the client's
assignment in line with what the group has assigned: C<on_revoke> and a commit for
what goes, committed offsets and C<on_assign> for what comes. What stays is not
touched and keeps flowing.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
