package EV::Kafka::Membership;
use strict;
use warnings;

use EV::Kafka::Assignor;
use EV::Kafka::Partitions;

# The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. While one of
# the first two is under way nothing else is sent to the coordinator: a broker
# answers a connection's requests in turn, and these may wait for everybody.

use constant {
    ILLEGAL_GENERATION    => 22,
    UNKNOWN_MEMBER_ID     => 25,
    REBALANCE_IN_PROGRESS => 27,
    MEMBER_ID_REQUIRED    => 79,
    FENCED_INSTANCE_ID    => 82,
};

# Tries that were sent and lost, and the seconds before the next, doubling.
use constant {
    JOIN_RETRIES => 5,
    JOIN_BACKOFF => 0.5,
};

sub _is_cooperative {
    my ($self, $group) = @_;
    return !grep { !EV::Kafka::Assignor->is_cooperative($_) } @{ $group->{assignors} };
}

sub _join_group {
    my ($self, $group) = @_;
    $group->{attempt}++;
    $group->{state} = 'joining';
    delete @{ $self->{cfg}{group_timers} }{qw(heartbeat join)};
    return $self->_ask_parked($group, JoinGroup => sub {
        my ($self, $conn, $answered) = @_;
        $conn->_join_group(
            @$group{qw(group_id member_id)}, $self->_offers($group), $answered,
            @$group{qw(session_timeout rebalance_timeout group_instance_id)},
        );
    }, sub {
        my ($self, $answer) = @_;
        return $self->_join_answered($group, $answer);
    });
}

# A request whose answer may have to wait for the other members.
sub _ask_parked {
    my ($self, $group, $name, $send, $answered) = @_;
    my $attempt = $group->{attempt};
    return $self->_ask_coordinator($group, $attempt, sub {
        my ($self, $conn, $answered, $request) = @_;
        $group->{parked} = "$request->{purpose}:$request->{node_id}";
        $self->{coordinators}->park(group => $group->{group_id}, @$request{qw(purpose node_id)});
        return $send->($self, $conn, $answered);
    }, sub {
        my ($self, $answer, $error, $is_final) = @_;
        delete $group->{parked};
        $self->{coordinators}->unpark(group => $group->{group_id});
        return $self->_learn_id_and_leave($group, $answer) if delete $group->{leaves_with_id};
        return unless $self->_is_attempt($group, $attempt);
        return $self->_stop_group($group, "$name: $error") if $is_final;
        return $self->_join_lost($group, $name eq 'JoinGroup' ? "$name: $error" : "$name (after JoinGroup): $error")
            if defined $error;
        return $answered->($self, $answer);
    }, parks => 1);
}

sub _join_answered {
    my ($self, $group, $answer) = @_;
    my $code = $answer->{error_code};
    if (!$code) {
        @$group{qw(member_id generation assignor)} = @$answer{qw(member_id generation_id protocol_name)};
        $group->{assignor} = $group->{assignors}[0] unless length($group->{assignor} // '');
        my $leads = $answer->{leader} eq $answer->{member_id};
        return $self->_stop_group($group, "JoinGroup: the group's assignor is one that was not offered: '$group->{assignor}'")
            if $leads && !grep { $_ eq $group->{assignor} } @{ $group->{assignors} };
        return $self->_lead_group($group, $answer) if $leads && !$answer->{skip_assignment};
        # A static leader that has come back shares nothing out, and watches all the same (KIP-814).
        $self->_watch_for_group($group, $leads ? $self->_read_group($group, $answer) : {});
        return $self->_sync_group($group, []);
    }
    if ($code == MEMBER_ID_REQUIRED) {
        $group->{member_id} = $answer->{member_id};
        return $self->_join_anew($group, $code);
    }
    return $self->_join_refused($group, JoinGroup => $code);
}

sub _join_refused {
    my ($self, $group, $request, $code) = @_;
    if ($self->_may_ask_again($group, $request, $code)) {
        $self->_coordinator_refused(group => $group->{group_id}, $code);
        return $self->_join_later($group);
    }
    return $self->_membership_lost($group, $code) if $code == UNKNOWN_MEMBER_ID || $code == ILLEGAL_GENERATION;
    return $self->_join_later($group) if $code == REBALANCE_IN_PROGRESS;
    return $self->_stop_group($group, $self->_refusal($group, $request, $code), $code);
}

sub _refusal {
    my ($self, $group, $request, $code) = @_;
    my $text = "$request: " . $self->error_name($code) . " (code $code)";
    return $text unless $code == FENCED_INSTANCE_ID && defined $group->{group_instance_id};
    return "$text: another member has joined as '$group->{group_instance_id}'";
}

# At once, unless the coordinator has said the same before and not let us in since.
sub _join_anew {
    my ($self, $group, $code) = @_;
    return $group->{refusals}{$code}++ ? $self->_join_later($group) : $self->_join_group($group);
}

sub _join_later {
    my ($self, $group) = @_;
    $group->{attempt}++;
    return $self->_group_delay($group, join => '_join_group');
}

sub _join_lost {
    my ($self, $group, $error) = @_;
    my $lost = ++$group->{lost};
    return $self->_stop_group($group, "$error; given up after ${\ JOIN_RETRIES} retries") if $lost > JOIN_RETRIES;
    $group->{attempt}++;
    return $self->_group_timer(join => JOIN_BACKOFF * 2 ** ($lost - 1), '_join_group');
}

sub _sync_group {
    my ($self, $group, $assignments) = @_;
    $group->{state} = 'syncing';
    return $self->_ask_parked($group, SyncGroup => sub {
        my (undef, $conn, $answered) = @_;
        $conn->sync_group(
            @$group{qw(group_id generation member_id)}, $assignments, $answered, $group->{group_instance_id},
        );
    }, sub {
        my ($self, $answer) = @_;
        return $self->_sync_answered($group, $answer);
    });
}

sub _sync_answered {
    my ($self, $group, $answer) = @_;
    return $self->_join_refused($group, SyncGroup => $answer->{error_code}) if $answer->{error_code};
    my $assigned = length($answer->{assignment} // '') ? EV::Kafka::_decode_assignment($answer->{assignment}) : [];
    return $self->_stop_group($group, 'SyncGroup: the assignment cannot be read') unless $assigned;
    @$group{qw(lost delays refusals unknown is_out)} = (0, 0, {}, {}, 0);
    $self->_session_begins($group);
    $self->_group_timer(heartbeat => $group->{heartbeat_interval}, '_heartbeat');
    return $self->_take_assignment($group, [EV::Kafka::Partitions::flat($assigned)]);
}

# --- staying --------------------------------------------------------------------

sub _heartbeat {
    my ($self, $group) = @_;
    $self->_see_to_session($group);
    $self->_group_timer(heartbeat => $group->{heartbeat_interval}, '_heartbeat');
    return if $group->{heartbeat_sent};
    $group->{heartbeat_sent} = 1;
    my ($attempt, $confirms) = @$group{qw(attempt overslept)};
    return $self->_ask_coordinator($group, $attempt, sub {
        my (undef, $conn, $answered) = @_;
        $conn->heartbeat(@$group{qw(group_id generation member_id)}, $answered, $group->{group_instance_id});
    }, sub {
        my ($self, $answer, $error, $is_final) = @_;
        delete $group->{heartbeat_sent};
        return unless $self->_is_attempt($group, $attempt);
        return $self->_stop_group($group, "Heartbeat: $error") if $is_final;
        return if defined $error;
        my $code = $answer->{error_code};
        delete $group->{unknown}{Heartbeat} unless $code;
        my $again = $code && $self->_may_ask_again($group, Heartbeat => $code);
        return $self->_coordinator_refused(group => $group->{group_id}, $code) if $again;
        $self->_membership_refused($group, Heartbeat => $code) if $code;
        return unless $self->_is_group($group);
        return $self->_session_confirmed($group) if $confirms;
        return $group->{overslept} && !$code ? $self->_heartbeat($group) : undef;
    # Half the session, so that the other half is left to find the coordinator again.
    }, patience => $group->{session_timeout} / 2000);
}

# A heartbeat or a commit has told that we are not what we think we are.
sub _membership_refused {
    my ($self, $group, $request, $code) = @_;
    return $self->_rejoin($group) if $code == REBALANCE_IN_PROGRESS;
    return $self->_membership_lost($group, $code) if $code == UNKNOWN_MEMBER_ID || $code == ILLEGAL_GENERATION;
    return $self->_stop_group($group, $self->_refusal($group, $request, $code), $code);
}

# Takes part in a rebalance: cooperative members keep what they have until they
# know what the new assignment takes away, others give up everything first.
sub _rejoin {
    my ($self, $group) = @_;
    return unless $group->{state} eq 'stable' || $group->{state} eq 'taking';
    return $self->_join_group($group) if $self->_is_cooperative($group);
    my $attempt = ++$group->{attempt};
    $group->{state} = 'giving_up';
    # Heartbeats go on: the commit may take long.
    return $self->_give_up($group, sub { 1 }, $group->{auto_commit}, sub {
        my ($self) = @_;
        $self->_join_group($group) if $self->_is_attempt($group, $attempt);
    });
}

# The group went on without us: what we had belongs to others. A member that
# only missed a generation still is one: under another id the group would wait
# for the old one.
sub _membership_lost {
    my ($self, $group, $code) = @_;
    my $attempt = ++$group->{attempt};
    $group->{member_id} = '' if $code == UNKNOWN_MEMBER_ID;
    $self->_tell_of_loss($group, $code);
    @$group{qw(generation state is_out)} = (-1, 'giving_up', 1);
    delete @{ $self->{cfg}{group_timers} }{qw(heartbeat join)};
    return $self->_give_up($group, sub { 1 }, 0, sub {
        my ($self) = @_;
        $self->_join_anew($group, $code) if $self->_is_attempt($group, $attempt);
    });
}

# --- leaving --------------------------------------------------------------------

# A static member keeps its place for the session timeout: it may come back (KIP-345).
sub _must_leave {
    my ($self, $group) = @_;
    return !defined $group->{group_instance_id} && ($group->{member_id} ne '' || $group->{parked});
}

# Who leaves before the coordinator has given it an id waits for it: a coordinator
# that has given one lets the others wait for its member.
sub _learn_id_and_leave {
    my ($self, $group, $answer) = @_;
    return unless $self->_is_group($group);
    $group->{member_id} = $answer->{member_id} if $answer;
    return $self->_say_goodbye($group);
}

sub _send_leave_group {
    my ($self, $group, $conn, $answered) = @_;
    return if defined $group->{group_instance_id};
    $conn->leave_group(@$group{qw(group_id member_id)}, $answered);
    return;
}

# Cooperative members that have given something up join once more at once: only
# then can it go to its new owner.
sub _assignment_taken {
    my ($self, $group, $has_revoked) = @_;
    return $self->_rejoin($group) if $has_revoked && $self->_is_cooperative($group);
    return $self->_group_metadata_changed;
}

1;

__END__

=head1 NAME

EV::Kafka::Membership - how an EV::Kafka client joins a consumer group and stays in it

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: the state machine of the
classic group protocol, with static membership (KIP-345) and cooperative
rebalancing (KIP-429).

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
