package EV::Kafka::Reconciliation;
use strict;
use warnings;

use EV::Kafka::Partitions;

# The consumer protocol (KIP-848): one request, ConsumerGroupHeartbeat, joins,
# stays and leaves. The coordinator assigns. What it says the member may have is
# taken over step by step: what goes is given up and acknowledged, and what comes
# is in a later answer, once nobody else has it any more.

use constant {
    UNKNOWN_MEMBER_ID        => 25,
    TOPIC_AUTHORIZATION_FAILED => 29,
    GROUP_ID_NOT_FOUND       => 69,
    FENCED_MEMBER_EPOCH      => 110,
    UNRELEASED_INSTANCE_ID   => 111,
};

# The member is none any more, and may become one again. Right after a coordinator has moved
# it may not know the group yet.
my %IS_OUT = map { $_ => 1 } UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, GROUP_ID_NOT_FOUND;

# Seconds that a static member's place may be held by one that has died without a word: as
# long as a session lasts by default (group.consumer.session.timeout.ms).
use constant RELEASE_PATIENCE => 45;

use constant CONSUMER_GROUP_HEARTBEAT => 68;

# The epoch that joins, and those that leave: for good, and as a static member
# that may come back.
use constant {
    JOIN_EPOCH         => 0,
    LEAVE_EPOCH        => -1,
    LEAVE_STATIC_EPOCH => -2,
};

# A coordinator that has been silent for so many heartbeat intervals is looked for again.
# With Kafka's defaults a session lasts nine. No interval is known before the first answer.
use constant {
    SILENT_INTERVALS => 2,
    DEFAULT_INTERVAL => 5,
};

# Seconds between heartbeats, whatever the coordinator says: at least, that it may say 0, and
# at most, which is Kafka's own group.consumer.max.heartbeat.interval.ms.
use constant {
    LEAST_INTERVAL => 0.02,
    MOST_INTERVAL  => 15,
};

# Seconds between looks for the names of topics that were assigned, and at most: who else
# wants metadata waits for them too.
use constant {
    NAME_BACKOFF     => 0.2,
    NAME_BACKOFF_MAX => 1,
};

# Who gives everything up takes nothing over, also when the name of a topic that was
# assigned before becomes known only now.
my %TAKES_NOTHING = map { $_ => 1 } qw(giving_up leaving stopped);

# A member makes its id itself, and keeps it also when it has been fenced (KIP-1082).
sub _enter_consumer_group {
    my ($self, $group) = @_;
    $group->{member_id} = _new_member_id() if $group->{member_id} eq '';
    @$group{qw(generation state)} = (JOIN_EPOCH, 'joining');
    $group->{attempt}++;
    delete @$group{qw(told target reconciling heartbeat_sent)};
    return $self->_group_heartbeat($group);
}

# Forked processes may have inherited the same random numbers: their ids differ by
# the process.
sub _new_member_id { return sprintf '%08x-%08x-%08x-%08x', $$, map { rand 2**32 } 1 .. 3 }

# Everything is told when the coordinator may not know it: on joining, and after a
# heartbeat that may have been lost.
sub _group_heartbeat {
    my ($self, $group) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{group_timers}{heartbeat};
    $self->_see_to_session($group);
    if ($group->{heartbeat_sent}) {
        $group->{heartbeat_again} = 1;
        return;
    }
    $group->{heartbeat_sent} = 1;
    my ($attempt, $confirms) = @$group{qw(attempt overslept)};
    my $tells_all = !$group->{told};
    my $owned     = $tells_all || delete $group->{acknowledge} ? $self->_owned_by_id($group) : undef;
    return $self->_ask_coordinator($group, $attempt, sub {
        my ($self, $conn, $answered) = @_;
        return $answered->(undef, "the broker does not speak it: group_protocol => 'consumer' is for Kafka 4")
            unless exists(($conn->api_versions || {})->{ CONSUMER_GROUP_HEARTBEAT() });
        $conn->_consumer_group_heartbeat(
            @$group{qw(group_id member_id generation)}, $tells_all ? $group->{topics} : undef, $owned, $answered,
            $tells_all ? @$group{qw(rebalance_timeout group_instance_id group_remote_assignor)} : (),
        );
    }, sub {
        my ($self, $answer, $error, $is_final) = @_;
        return $self->_last_heartbeat($group, $answer) if $self->_is_leaving($group);
        return unless $self->_is_attempt($group, $attempt);
        delete $group->{heartbeat_sent};
        return $self->_stop_group($group, "ConsumerGroupHeartbeat: $error") if $is_final;
        return $self->_heartbeat_lost($group) if defined $error;
        return $self->_group_refused($group, ConsumerGroupHeartbeat => $answer->{error_code}, $answer->{error_message})
            if $answer->{error_code};
        $self->_session_confirmed($group) if $confirms;
        return $self->_group_heartbeat_answered($group, $answer);
    }, patience => SILENT_INTERVALS * ($group->{interval} // DEFAULT_INTERVAL));
}

sub _is_leaving { my ($self, $group) = @_; return $self->_is_group($group) && $group->{state} eq 'leaving' }

# Who leaves may need the epoch for its last commit: the coordinator refuses an older one.
sub _last_heartbeat {
    my ($self, $group, $answer) = @_;
    delete $group->{heartbeat_sent};
    my $code = $answer ? $answer->{error_code} : 0;
    $group->{is_out} = 1 if $IS_OUT{$code};
    $group->{generation} = $answer->{member_epoch} if $answer && !$code && $group->{generation} >= 0;
    return $self->_commit_again;
}

# The coordinator has given the member another epoch. Only who tells what it has gets it
# when an answer was lost.
sub _learn_epoch {
    my ($self, $group) = @_;
    return if $group->{heartbeat_sent};
    delete $group->{told};
    return $self->_group_heartbeat($group);
}

sub _heartbeat_lost {
    my ($self, $group) = @_;
    delete $group->{told};
    return $self->_group_delay($group, heartbeat => '_group_heartbeat');
}

# At once, unless the coordinator has said the same before and not let us in since.
sub _enter_anew {
    my ($self, $group, $code) = @_;
    return $self->_enter_consumer_group($group) unless $group->{refusals}{$code}++;
    return $self->_group_delay($group, heartbeat => '_enter_consumer_group');
}

sub _group_heartbeat_answered {
    my ($self, $group, $answer) = @_;
    @$group{qw(told delays refusals unknown is_out generation)} = (1, 0, {}, {}, 0, $answer->{member_epoch});
    delete $group->{unreleased_since};
    $self->_notice_over("heartbeats of $group->{group_id}");
    $group->{member_id} = $answer->{member_id} if length($answer->{member_id} // '');
    $group->{target}    = $answer->{assignment} if $answer->{assignment};
    $group->{interval}  = _bounded_interval($answer->{heartbeat_interval_ms} / 1000);
    my $wait = delete $group->{heartbeat_again} ? 0 : $group->{interval};
    $self->_group_timer(heartbeat => $wait, '_group_heartbeat');
    $self->_commit_again;
    return $self->_is_group($group) ? $self->_reconcile($group) : undef;
}

# A heartbeat too many does no harm, and one too few may end the session.
sub _bounded_interval {
    my ($seconds) = @_;
    return $seconds < LEAST_INTERVAL ? LEAST_INTERVAL : $seconds > MOST_INTERVAL ? MOST_INTERVAL : $seconds;
}

# One assignment at a time; of those that come meanwhile the last one counts.
sub _reconcile {
    my ($self, $group) = @_;
    return if $group->{reconciling} || !$group->{target} || $TAKES_NOTHING{ $group->{state} };
    my $names = $self->{cluster}->topic_names;
    my @known = grep { exists $names->{ $_->{topic} } } @{ $group->{target} };
    if (@known < @{ $group->{target} }) { $self->_look_for_names($group) }
    else                                { delete @$group{qw(target looks_for_names)} }
    my @partitions = map { [$names->{ $_->[0] }, $_->[1]] } EV::Kafka::Partitions::flat(\@known);
    my $owned = $self->_assigned_by_key;
    my $same  = @partitions == keys %$owned && !grep { !$owned->{"$_->[0]:$_->[1]"} } @partitions;
    return if $same && $group->{state} eq 'stable';
    $group->{reconciling} = 1;
    return $self->_take_assignment($group, \@partitions);
}

# What was assigned has been taken, what was not has been given up: the coordinator
# waits to hear so.
sub _reconciled {
    my ($self, $group) = @_;
    delete $group->{reconciling};
    $group->{acknowledge} = 1;
    $self->_group_heartbeat($group);
    return $self->_reconcile($group);
}

# A heartbeat or a commit has told that we are not what we think we are.
sub _group_refused {
    my ($self, $group, $request, $code, $message) = @_;
    if ($self->_may_ask_again($group, $request, $code)) {
        $self->_coordinator_refused(group => $group->{group_id}, $code);
        return $self->_heartbeat_lost($group);
    }
    my $text = $self->_refusal($group, $request, $code);
    $text .= ": $message" if length($message // '');
    my $waits = $self->_may_be_released($group, $code);
    # The member stays one, without what it may not see.
    if ($waits || $code == TOPIC_AUTHORIZATION_FAILED) {
        $text .= '; asking again' if $waits;
        $self->_notice("heartbeats of $group->{group_id}", "group '$group->{group_id}': $text",
            group => $group->{group_id}, code => $code);
        return $self->_is_group($group) ? $self->_heartbeat_lost($group) : undef;
    }
    if ($IS_OUT{$code}) {
        my $attempt = ++$group->{attempt};
        $self->_tell_of_loss($group, $code);
        @$group{qw(state is_out)} = ('giving_up', 1);
        delete $self->{cfg}{group_timers}{heartbeat};
        return $self->_give_up($group, sub { 1 }, 0, sub {
            my ($self) = @_;
            $self->_enter_anew($group, $code) if $self->_is_attempt($group, $attempt);
        });
    }
    return $self->_stop_group($group, $text, $code);
}

# Another member has the name, which may have died: it is released when its session ends.
sub _may_be_released {
    my ($self, $group, $code) = @_;
    return 0 unless $code == UNRELEASED_INSTANCE_ID && $group->{generation} == JOIN_EPOCH;
    my $now   = $self->_now;
    my $since = $group->{unreleased_since} //= $now;
    return $now - $since < RELEASE_PATIENCE;
}

sub _must_leave_consumer_group {
    my ($self, $group) = @_;
    return $group->{generation} >= 0 && $group->{member_id} ne '';
}

sub _send_leaving_heartbeat {
    my ($self, $group, $conn, $answered) = @_;
    my $epoch = defined $group->{group_instance_id} ? LEAVE_STATIC_EPOCH : LEAVE_EPOCH;
    $conn->_consumer_group_heartbeat(@$group{qw(group_id member_id)}, $epoch, undef, undef, $answered,
        undef, $group->{group_instance_id});
    return;
}

# --- topics by id ---------------------------------------------------------------

# The coordinator may know a topic before other brokers do, and one that this client
# may not see.
sub _look_for_names {
    my ($self, $group) = @_;
    return if $self->{cluster}->is_wanted;
    my $try  = $group->{looks_for_names}++;
    my $wait = $try ? $self->_backoff($try, NAME_BACKOFF, NAME_BACKOFF_MAX) : 0;
    return $self->{cluster}->want(undef, $wait);
}

# What is still to be committed is not given up yet.
sub _owned_by_id {
    my ($self, $group) = @_;
    my %ids = reverse %{ $self->{cluster}->topic_names };
    return EV::Kafka::Partitions::by_topic(
        map { [$ids{ $_->{topic} }, $_->{partition}] } grep { defined $ids{ $_->{topic} } }
            @{ $self->{cfg}{assignments} }, @{ $group->{committing} || [] },
    );
}

1;

__END__

=head1 NAME

EV::Kafka::Reconciliation - membership in a group whose coordinator assigns (KIP-848)

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: the state machine of the
consumer group protocol, what L<EV::Kafka::Membership> is for the classic one. What
is done with an assignment is the same for both and lies in L<EV::Kafka::Ownership>.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
