package EV::Kafka::Group::ConsumerProtocol;
use strict;
use warnings;

use EV::Kafka::Error;
use EV::Kafka::Partitions;

# The consumer protocol (KIP-848): one request, ConsumerGroupHeartbeat, joins,
# stays and leaves. The coordinator assigns. What it says the member may have is
# taken over step by step: what goes is given up and acknowledged, and what comes
# is in a later answer, once nobody else has it any more.
#   told           the coordinator knows all that the member has to say
#   wanted         the topics that it was told last
#   acknowledge    it has to hear what the member has
#   target         what it has assigned last, as far as that is not taken over: [{ topic => $id, partitions }]
#   reconciling    an assignment is being taken over
#   interval       seconds between heartbeats
#   is_beating     one is under way
#   beats_again    another one is due at once
#   unreleased_since   when a static member's name was first found to be taken
#   looks          how often the names of topics were looked for

use constant {
    UNKNOWN_MEMBER_ID        => 25,
    TOPIC_AUTHORIZATION_FAILED => 29,
    GROUP_ID_NOT_FOUND       => 69,
    UNSUPPORTED_VERSION      => 35,
    FENCED_MEMBER_EPOCH      => 110,
    UNRELEASED_INSTANCE_ID   => 111,
};

# The first version of the request that knows patterns (Kafka 4.0).
use constant KNOWS_PATTERNS => 1;

# The member is none any more, and may become one again. Right after a coordinator has moved
# it may not know the group yet.
my %IS_OUT = map { $_ => 1 } UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, GROUP_ID_NOT_FOUND;

# Seconds that a static member's place may be held by one that has died without a word: as
# long as a session lasts by default (group.consumer.session.timeout.ms).
use constant RELEASE_PATIENCE => 45;

use constant CONSUMER_GROUP_HEARTBEAT => 68;

# Brokers that could speak it refuse all the same as long as the cluster has not agreed on it.
use constant NOT_AGREED_ON => "; group_protocol => 'consumer' needs the cluster's feature group.version at level 1"
    . ' (kafka-features.sh upgrade --feature group.version=1), or, before Kafka 4.0, group.coordinator.rebalance.protocols=classic,consumer in the settings of its brokers';
use constant SWITCHED_OFF => "; the brokers' settings do not have it (group.coordinator.rebalance.protocols=classic,consumer)";

# The request that says goodbye.
use constant FAREWELL => 'ConsumerGroupHeartbeat';

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

# Sessions are the broker's secret. With Kafka's defaults they last nine heartbeat intervals;
# what comes of an alarm too many is one heartbeat more. A heartbeat that nobody answers is
# seen to after less than that.
use constant {
    SESSION_INTERVALS => 4,
    LEAST_SESSION     => 3,
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

sub new {
    my ($class, %about) = @_;
    $about{session}->lasts(LEAST_SESSION);
    return bless { map({ $_ => $about{$_} } qw(member loop outbox cluster consumer session assignment commits)), looks => 0 }, $class;
}

# No timer of it fires any more.
sub rests {
    my ($self) = @_;
    delete $self->{beat_timer};
    return;
}

# A member makes its id itself, and keeps it also when it has been fenced (KIP-1082).
sub join {
    my ($self) = @_;
    my $member = $self->{member};
    $member->named(_new_member_id()) if $member->member_id eq '';
    $member->has_generation(JOIN_EPOCH);
    $member->becomes('joining');
    $member->next_attempt;
    delete @$self{qw(told target reconciling is_beating)};
    return $self->beat;
}

# Forked processes may have inherited the same random numbers: their ids differ by
# the process.
sub _new_member_id { return sprintf '%08x-%08x-%08x-%08x', $$, map { rand 2**32 } 1 .. 3 }

# At once, unless the coordinator has said the same before and not let us in since.
sub _join_anew {
    my ($self, $code) = @_;
    return $self->{member}->refused($code) ? $self->_after($self->{member}->delay, 'join') : $self->join;
}

# Heartbeat and joining are the same request: one of them at a time.
sub _after {
    my ($self, $seconds, $method) = @_;
    $self->{beat_timer} = $self->{loop}->timer($seconds, $self, $method);
    return;
}

# --- heartbeats -------------------------------------------------------------------

# Everything is told when the coordinator may not know it: on joining, and after a
# heartbeat that may have been lost.
sub beat {
    my ($self) = @_;
    my $member = $self->{member};
    $self->rests;
    my $confirms = $self->{session}->see_to;
    if ($self->{is_beating}) {
        $self->{beats_again} = 1;
        return;
    }
    $self->{is_beating} = 1;
    my $attempt   = $member->attempt;
    my $tells_all = !$self->{told};
    my $owned     = $tells_all || delete $self->{acknowledge} ? $self->_owned : undef;
    $member->ask_once(ConsumerGroupHeartbeat => sub { $self->_send($tells_all, $owned, @_) }, sub {
        my ($answer, $error, $is_final) = @_;
        return $self->_beaten_last($answer) if !$member->has_ended && $member->state eq 'leaving';
        return unless $member->is_at($attempt);
        $self->{is_beating} = 0;
        return $member->tells(stopped => $error) if $is_final;
        return $self->_beat_lost if $error;
        return $self->refused(ConsumerGroupHeartbeat => @$answer{qw(error_code error_message)}) if $answer->{error_code};
        $self->{session}->confirmed if $confirms;
        return $self->_beaten($answer);
    }, op_patience => SILENT_INTERVALS * ($self->{interval} // DEFAULT_INTERVAL));
    return;
}

sub _send {
    my ($self, $tells_all, $owned, $conn, $answered, $where) = @_;
    my $record  = $self->{member}->record;
    my $newest  = ($conn->api_versions || {})->{ CONSUMER_GROUP_HEARTBEAT() };
    my $pattern = $record->{subscribe_pattern};
    return $answered->(undef, "the broker does not speak it: broker $where->{node_id} does not offer ConsumerGroupHeartbeat"
            . " (needed for group_protocol => 'consumer', which is for Kafka 4)") unless defined $newest;
    return $answered->(undef, "the broker does not match patterns: broker $where->{node_id} is older than Kafka 4.0, and"
            . ' subscribe_pattern is for that (qr/.../ among the topics is matched here, with any broker)')
        if defined $pattern && $newest < KNOWS_PATTERNS;
    # A static member takes over what it had before, unless it says otherwise.
    $pattern = '' if !defined $pattern && defined $record->{group_instance_id} && $newest >= KNOWS_PATTERNS;
    my $tells_topics = $tells_all || $self->{wanted} != $record->{topics};
    $self->{wanted} = $record->{topics};
    $conn->_consumer_group_heartbeat(
        @$record{qw(group_id member_id generation)}, $tells_topics ? $record->{topics} : undef, $owned, $answered,
        $tells_all ? (@$record{qw(rebalance_timeout group_instance_id group_remote_assignor)}, $pattern, $self->{member}->rack) : (),
    );
    return;
}

# What the member has, by id. What is still to be committed is not given up yet.
sub _owned {
    my ($self) = @_;
    my %ids = reverse %{ $self->{cluster}->topic_names };
    return EV::Kafka::Partitions::by_topic(
        map { [$ids{ $_->{topic} }, $_->{partition}] } grep { defined $ids{ $_->{topic} } }
            $self->{consumer}->assignments, $self->{assignment}->committing,
    );
}

# Who leaves may need the epoch for its last commit: the coordinator refuses an older one.
sub _beaten_last {
    my ($self, $answer) = @_;
    my $member = $self->{member};
    $self->{is_beating} = 0;
    my $code = $answer ? $answer->{error_code} : 0;
    $member->goes_out if $IS_OUT{$code};
    $member->has_generation($answer->{member_epoch}) if $answer && !$code && $member->generation >= 0;
    return $self->{commits}->hurry;
}

sub _beaten {
    my ($self, $answer) = @_;
    my $member = $self->{member};
    $self->{told} = 1;
    $member->let_in;
    $member->has_generation($answer->{member_epoch});
    delete $self->{unreleased_since};
    $self->{outbox}->notice_over($self->_subject);
    $member->named($answer->{member_id}) if length($answer->{member_id} // '');
    $self->{target}   = $answer->{assignment} if $answer->{assignment};
    $self->{interval} = _bounded($answer->{heartbeat_interval_ms} / 1000);
    my $lasts = SESSION_INTERVALS * $self->{interval};
    $self->{session}->lasts($lasts < LEAST_SESSION ? LEAST_SESSION : $lasts);
    $self->_after(delete $self->{beats_again} ? 0 : $self->{interval}, 'beat');
    $self->{commits}->hurry;
    return $self->reconcile;
}

# A heartbeat too many does no harm, and one too few may end the session.
sub _bounded {
    my ($seconds) = @_;
    return $seconds < LEAST_INTERVAL ? LEAST_INTERVAL : $seconds > MOST_INTERVAL ? MOST_INTERVAL : $seconds;
}

sub _subject { return "heartbeats of ${\ $_[0]{member}->group_id }" }

sub _beat_lost {
    my ($self) = @_;
    delete $self->{told};
    return $self->_after($self->{member}->delay, 'beat');
}

# The coordinator has given the member another epoch. Only who tells what it has gets it
# when an answer was lost.
sub catch_up {
    my ($self) = @_;
    return if $self->{is_beating};
    delete $self->{told};
    return $self->beat;
}

# A heartbeat or a commit has told that we are not what we think we are.
sub refused {
    my ($self, $request, $code, $message) = @_;
    my $member = $self->{member};
    return $self->_beat_lost if $member->may_ask_again($request, $code);
    my $error = $member->refusal($request, $code);
    $error = $error->said("$error: $message") if length($message // '');
    $error = $error->said($error . $self->_why_off) if $code == UNSUPPORTED_VERSION;
    my $waits = $self->_may_be_released($code);
    # The member stays one, without what it may not see.
    if ($waits || $code == TOPIC_AUTHORIZATION_FAILED) {
        my $text     = $waits ? "$error; asking again" : $error->text;
        my $group_id = $member->group_id;
        $self->{outbox}->notice($self->_subject, "group '$group_id': $text", group => $group_id, code => $code);
        return $self->_beat_lost;
    }
    return $IS_OUT{$code} ? $self->_lose($code) : $member->tells(stopped => $error, $code);
}

# Brokers advertise the request whether or not they take it.
sub _why_off { return $_[0]{cluster}->feature('group.version') ? SWITCHED_OFF : NOT_AGREED_ON }

sub _lose {
    my ($self, $code) = @_;
    $self->{session}->lost($code);
    $self->{member}->goes_out;
    $self->rests;
    return $self->{assignment}->surrender(0, sub { $self->_join_anew($code) });
}

# Another member has the name, which may have died: it is released when its session ends.
sub _may_be_released {
    my ($self, $code) = @_;
    return 0 unless $code == UNRELEASED_INSTANCE_ID && $self->{member}->generation == JOIN_EPOCH;
    my $now   = $self->{loop}->now;
    my $since = $self->{unreleased_since} //= $now;
    return $now - $since < RELEASE_PATIENCE;
}

# --- what it may have ---------------------------------------------------------------

# One assignment at a time; of those that come meanwhile the last one counts.
sub reconcile {
    my ($self) = @_;
    my $member = $self->{member};
    return if $self->{reconciling} || !$self->{target} || $TAKES_NOTHING{ $member->state };
    my $names = $self->{cluster}->topic_names;
    my @known = grep { exists $names->{ $_->{topic} } } @{ $self->{target} };
    if (@known < @{ $self->{target} }) { $self->_look_for_names }
    else                               { @$self{qw(target looks)} = (undef, 0) }
    my @partitions = map { [$names->{ $_->[0] }, $_->[1]] } EV::Kafka::Partitions::flat(\@known);
    my $owned = $self->{consumer}->assigned_by_key;
    my $same  = @partitions == keys %$owned && !grep { !$owned->{"$_->[0]:$_->[1]"} } @partitions;
    return if $same && $member->state eq 'stable';
    $self->{reconciling} = 1;
    return $self->{assignment}->take(\@partitions);
}

# What was assigned has been taken, what was not has been given up: the coordinator
# waits to hear so.
sub taken {
    my ($self) = @_;
    delete $self->{reconciling};
    $self->{acknowledge} = 1;
    $self->beat;
    return $self->reconcile;
}

sub metadata_changed {
    my ($self) = @_;
    $self->beat if $self->{wanted} && $self->{wanted} != $self->{member}->record->{topics} && !$TAKES_NOTHING{ $self->{member}->state };
    return $self->reconcile;
}

# The coordinator may know a topic before other brokers do, and one that this client
# may not see.
sub _look_for_names {
    my ($self) = @_;
    my $cluster = $self->{cluster};
    return if $cluster->is_wanted;
    my $try = $self->{looks}++;
    return $cluster->want(undef, $try ? $self->{loop}->backoff($try, NAME_BACKOFF, NAME_BACKOFF_MAX) : 0);
}

# --- leaving ------------------------------------------------------------------------

sub must_leave {
    my ($self) = @_;
    my $member = $self->{member};
    return $member->generation >= 0 && $member->member_id ne '';
}

sub must_wait_for_id { return 0 }

sub part {
    my ($self, $conn, $answered) = @_;
    my $record = $self->{member}->record;
    my $epoch  = defined $record->{group_instance_id} ? LEAVE_STATIC_EPOCH : LEAVE_EPOCH;
    $conn->_consumer_group_heartbeat(@$record{qw(group_id member_id)}, $epoch, undef, undef, $answered,
        undef, $record->{group_instance_id});
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Group::ConsumerProtocol - membership in a group whose coordinator assigns (KIP-848)

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself: the state machine of the
consumer group protocol, what L<EV::Kafka::Group::Classic> is for the classic one. What
is done with an assignment is the same for both and lies in L<EV::Kafka::Group::Assignment>.

=head1 METHODS

L<EV::Kafka::Group::Classic> says what they are for.

=head2 new(%about), rests, join, beat, catch_up, refused($request, $code, [$message]), taken, metadata_changed, must_leave, must_wait_for_id, part($conn, $answered)

The same as there.

=head2 reconcile

Of this protocol only: takes over what the coordinator has assigned.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
