package EV::Kafka::Ownership;
use strict;
use warnings;

# What a member does with an assignment, whichever protocol brought it: it gives
# up what it no longer has, looks up where to go on with what is new, and tells
# the program of both.

sub _key_of { return "$_[0]{topic}:$_[0]{partition}" }

# Hands over [topic, partition], …; the group is stable when it is done.
sub _take_assignment {
    my ($self, $group, $partitions) = @_;
    @$group{qw(state assigned assigned_generation)} = ('taking', $partitions, $group->{generation});
    my $attempt = $group->{attempt};
    my %stays   = map { ("$_->[0]:$_->[1]" => 1) } @$partitions;
    my $revokes = grep { !$stays{ _key_of($_) } } @{ $self->{cfg}{assignments} };
    return $self->_give_up($group, sub { !$stays{ _key_of($_[0]) } }, $group->{auto_commit}, sub {
        my ($self) = @_;
        return unless $self->_is_attempt($group, $attempt);
        my %has   = map { (_key_of($_) => 1) } @{ $self->{cfg}{assignments} };
        my @added = grep { !$has{"$_->[0]:$_->[1]"} } @$partitions;
        return $self->_find_offsets($group, $attempt, \@added, $revokes);
    });
}

sub _find_offsets {
    my ($self, $group, $attempt, $added, $revoked) = @_;
    return $self->_taken($group, [], $revoked) unless @$added;
    return $self->_fetch_committed($group, $added, 9**9**9, sub {
        my ($self, $committed, $error, $epochs) = @_;
        return unless $self->_is_attempt($group, $attempt);
        return $self->_stop_group($group, "OffsetFetch: $error") if defined $error;
        my $reset = $self->_reset_timestamp;
        my $had   = $group->{had} || {};
        $self->_txn_takes_over($_) for grep { defined $committed->{$_} } keys %$committed;
        return $self->_taken($group, [map {
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

sub _taken {
    my ($self, $group, $added, $revoked) = @_;
    $group->{state} = 'stable';
    $group->{had}   = {};
    $self->_session_confirmed($group);
    my $attempt = $group->{attempt};
    $self->_change_assignment([@{ $self->{cfg}{assignments} }, @$added]) if @$added;
    $self->_call($group->{on_assign}, [map {
        { topic => $_->{topic}, partition => $_->{partition}, offset => $_->{offset} }
    } @$added]);
    return unless $self->_is_attempt($group, $attempt);
    $self->_run_waiting($group);
    return unless $self->_is_attempt($group, $attempt) && $group->{state} eq 'stable';
    return $self->_by_protocol($group, taken => $revoked);
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
    my %position = map { (_key_of($_) => $_->{offset}) } $self->_positions;
    my $next = $group->{revoking} = [];
    my $told = $group->{is_out} && $group->{on_lost} || $group->{on_revoke};
    $self->_call($told, [map { {
        topic => $_->{topic}, partition => $_->{partition}, offset => $position{ _key_of($_) } // $_->{offset},
    } } @gone]);
    delete $group->{revoking};
    return unless $self->_is_group($group);

    my %is_gone   = map { (_key_of($_) => 1) } @gone;
    my @positions = grep { $is_gone{ _key_of($_) } } $self->_positions;
    $group->{had}{ _key_of($_) } = $_->{offset} for @positions;
    $self->_txn_gives_up(@positions);
    $self->_change_assignment([grep { !$is_gone{ _key_of($_) } } @{ $cfg->{assignments} }]);
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
