package EV::Kafka::Group::Classic;
use strict;
use warnings;

use EV::Kafka::Assignor;
use EV::Kafka::Error;
use EV::Kafka::Partitions;

# The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. While one of
# the first two is under way nothing else is sent to the coordinator: a broker
# answers a connection's requests in turn, and these may wait for everybody.
#   wanted       the topics that JoinGroup has told
#   lost         tries to join in a row that were sent and lost
#   is_beating   a Heartbeat is under way
#   leaves_with_id   as soon as JoinGroup has told under which one

use constant {
    ILLEGAL_GENERATION    => 22,
    UNKNOWN_MEMBER_ID     => 25,
    REBALANCE_IN_PROGRESS => 27,
    MEMBER_ID_REQUIRED    => 79,
};

# The request that says goodbye.
use constant FAREWELL => 'LeaveGroup';

# Tries that were sent and lost, and the seconds before the next, doubling.
use constant {
    JOIN_RETRIES => 5,
    JOIN_BACKOFF => 0.5,
};

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(member loop coordinators consumer session assignment leader)), lost => 0 }, $class;
}

# No timer of it fires any more.
sub rests {
    my ($self) = @_;
    delete @$self{qw(join_timer beat_timer)};
    return;
}

# --- joining --------------------------------------------------------------------

sub join {
    my ($self) = @_;
    my $member = $self->{member};
    $member->next_attempt;
    $member->becomes('joining');
    $self->rests;
    my $record = $member->record;
    return $self->_ask(JoinGroup => sub {
        my ($conn, $answered) = @_;
        $self->{wanted} = $record->{topics};
        $conn->_join_group(@$record{qw(group_id member_id)}, $self->_offers, $answered,
            @$record{qw(session_timeout rebalance_timeout group_instance_id)});
    }, '_joined');
}

sub _offers {
    my ($self) = @_;
    my @owned = map { [@$_{qw(topic partition)}] } $self->{consumer}->assignments;
    return $self->{leader}->offers(\@owned, $self->{assignment}->last_assigned);
}

# A request whose answer may have to wait for the other members.
sub _ask {
    my ($self, $name, $send, $answered) = @_;
    my $member  = $self->{member};
    my $attempt = $member->attempt;
    return $member->ask_once($name, $send, sub {
        my ($answer, $error, $is_final) = @_;
        return $self->_learn_id_and_leave($answer) if delete $self->{leaves_with_id};
        return unless $member->is_at($attempt);
        return $self->$answered($answer) if $answer;
        return $member->tells(stopped => $error) if $is_final;
        return $self->_join_lost($error);
    }, blocks => 1);
}

sub _joined {
    my ($self, $answer) = @_;
    my ($member, $leader) = @$self{qw(member leader)};
    my $code = $answer->{error_code};
    if ($code == MEMBER_ID_REQUIRED) {
        $member->named($answer->{member_id});
        return $self->_join_anew($code);
    }
    return $self->_join_refused(JoinGroup => $code) if $code;
    $member->named($answer->{member_id});
    $member->has_generation($answer->{generation_id});
    my $offered  = $member->record->{assignors};
    my $assignor = length($answer->{protocol_name} // '') ? $answer->{protocol_name} : $offered->[0];
    my $leads    = $answer->{leader} eq $answer->{member_id};
    return $member->tells(stopped => _not_understood(JoinGroup => "the group's assignor is one that was not offered: '$assignor'"))
        if $leads && !grep { $_ eq $assignor } @$offered;
    return $leader->lead($assignor, $answer->{members}) if $leads && !$answer->{skip_assignment};
    # A static leader that has come back shares nothing out, and watches all the same (KIP-814).
    $leader->follow($assignor, $leads ? $answer->{members} : []);
    return $self->sync([]);
}

# At once, unless the coordinator has said the same before and not let us in since.
sub _join_anew {
    my ($self, $code) = @_;
    return $self->{member}->refused($code) ? $self->_join_later : $self->join;
}

sub _join_refused {
    my ($self, $request, $code) = @_;
    my $member = $self->{member};
    return $self->_join_later if $member->may_ask_again($request, $code) || $code == REBALANCE_IN_PROGRESS;
    return $self->refused($request, $code);
}

sub _join_later {
    my ($self) = @_;
    return $self->_join_after($self->{member}->delay);
}

sub _join_after {
    my ($self, $seconds) = @_;
    $self->{member}->next_attempt;
    $self->{join_timer} = $self->{loop}->timer($seconds, $self, 'join');
    return;
}

sub _not_understood {
    my ($request, $text) = @_;
    return EV::Kafka::Error->without_code($text)->at(operation => $request)->of($request);
}

sub _join_lost {
    my ($self, $error) = @_;
    my $lost = ++$self->{lost};
    return $self->{member}->tells(stopped => $error->given_up("after ${\ JOIN_RETRIES } retries")) if $lost > JOIN_RETRIES;
    return $self->_join_after(JOIN_BACKOFF * 2 ** ($lost - 1));
}

# What the leader has shared out; the others send nothing.
sub sync {
    my ($self, $assignments) = @_;
    my $member = $self->{member};
    $member->becomes('syncing');
    return $self->_ask(SyncGroup => sub {
        my ($conn, $answered) = @_;
        $conn->sync_group($member->identity, $assignments, $answered, $member->record->{group_instance_id});
    }, '_synced');
}

sub _synced {
    my ($self, $answer) = @_;
    my $member = $self->{member};
    return $self->_join_refused(SyncGroup => $answer->{error_code}) if $answer->{error_code};
    my $assigned = length($answer->{assignment} // '') ? EV::Kafka::_decode_assignment($answer->{assignment}) : [];
    return $member->tells(stopped => _not_understood(SyncGroup => 'the assignment cannot be read')) unless $assigned;
    $self->{lost} = 0;
    $member->let_in;
    $self->{session}->begins;
    $self->_beat_later;
    return $self->{assignment}->take([EV::Kafka::Partitions::flat($assigned)]);
}

# --- staying --------------------------------------------------------------------

sub _beat_later {
    my ($self) = @_;
    $self->{beat_timer} = $self->{loop}->timer($self->{member}->record->{heartbeat_interval}, $self, 'beat');
    return;
}

sub beat {
    my ($self) = @_;
    my ($member, $session) = @$self{qw(member session)};
    my $confirms = $session->see_to;
    $self->_beat_later;
    return if $self->{is_beating};
    $self->{is_beating} = 1;
    my $attempt = $member->attempt;
    my $record  = $member->record;
    $member->ask_once(Heartbeat => sub {
        my ($conn, $answered) = @_;
        $conn->heartbeat($member->identity, $answered, $record->{group_instance_id});
    }, sub {
        my ($answer, $error, $is_final) = @_;
        return unless $member->is_at($attempt);
        return $is_final ? $member->tells(stopped => $error) : undef if $error;
        return $self->_beaten($answer->{error_code}, $confirms);
    # Half the session, so that the other half is left to find the coordinator again.
    }, op_patience => $record->{session_timeout} / 2000, over => sub { $self->{is_beating} = 0 });
    return;
}

sub _beaten {
    my ($self, $code, $confirms) = @_;
    my ($member, $session) = @$self{qw(member session)};
    if ($code) {
        return if $member->may_ask_again(Heartbeat => $code);
        $self->refused(Heartbeat => $code);
    }
    else {
        $member->was_answered('Heartbeat');
    }
    return if $member->has_ended;
    return $session->confirmed if $confirms;
    return $session->is_held && !$code ? $self->beat : undef;
}

# Heartbeats tell whatever there is to know.
sub catch_up { my ($self) = @_; return $self->beat }

# A request has told that we are not what we think we are.
sub refused {
    my ($self, $request, $code) = @_;
    return $self->_rejoin if $code == REBALANCE_IN_PROGRESS;
    return $self->_lose($code) if $code == UNKNOWN_MEMBER_ID || $code == ILLEGAL_GENERATION;
    my $member = $self->{member};
    return $member->tells(stopped => $member->refusal($request, $code), $code);
}

# Takes part in a rebalance: cooperative members keep what they have until they
# know what the new assignment takes away, others give up everything first.
sub _rejoin {
    my ($self) = @_;
    my $member = $self->{member};
    return unless $member->state eq 'stable' || $member->state eq 'taking';
    return $self->join if $self->_is_cooperative;
    # Heartbeats go on: the commit may take long.
    return $self->{assignment}->surrender($member->record->{auto_commit}, sub { $self->join });
}

sub _is_cooperative {
    my ($self) = @_;
    return !grep { !EV::Kafka::Assignor->is_cooperative($_) } @{ $self->{member}->record->{assignors} };
}

# The group went on without us: what we had belongs to others. A member that
# only missed a generation still is one: under another id the group would wait
# for the old one.
sub _lose {
    my ($self, $code) = @_;
    my $member = $self->{member};
    $member->named('') if $code == UNKNOWN_MEMBER_ID;
    $self->{session}->lost($code);
    $member->has_generation(-1);
    $member->goes_out;
    $self->rests;
    return $self->{assignment}->surrender(0, sub { $self->_join_anew($code) });
}

# Cooperative members that have given something up join once more at once: only
# then can it go to its new owner.
sub taken {
    my ($self, $has_revoked) = @_;
    return $has_revoked && $self->_is_cooperative ? $self->_rejoin : $self->metadata_changed;
}

sub metadata_changed {
    my ($self) = @_;
    # Another list is another subscription.
    my $wants_other = $self->{wanted} && $self->{wanted} != $self->{member}->record->{topics};
    return $self->{leader}->metadata_changed || $wants_other ? $self->_rejoin : undef;
}

# --- leaving --------------------------------------------------------------------

# A static member keeps its place for the session timeout: it may come back (KIP-345).
sub must_leave {
    my ($self) = @_;
    my $member = $self->{member};
    return !defined $member->record->{group_instance_id}
        && ($member->member_id ne '' || $self->{coordinators}->is_blocked(group => $member->group_id));
}

# Who leaves before the coordinator has given it an id waits for it: a coordinator that has given
# one lets the others wait for its member. True when that is so.
sub must_wait_for_id {
    my ($self) = @_;
    return $self->{leaves_with_id} = $self->{member}->member_id eq '';
}

sub _learn_id_and_leave {
    my ($self, $answer) = @_;
    my $member = $self->{member};
    return if $member->has_ended;
    $member->named($answer->{member_id}) if $answer;
    return $member->tells('may_leave');
}

sub part {
    my ($self, $conn, $answered) = @_;
    my $record = $self->{member}->record;
    return if defined $record->{group_instance_id};
    $conn->leave_group(@$record{qw(group_id member_id)}, $answered);
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Classic - how an EV::Kafka client joins a consumer group and stays in it

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself: the state machine of the
classic group protocol, with static membership (KIP-345) and cooperative
rebalancing (KIP-429).

=head1 METHODS

L<EV::Kafka::Group::ConsumerProtocol> has the same ones.

=head2 new(%about), rests

For a member; until it leaves or stops.

=head2 join

Joins, or joins again.

=head2 beat, catch_up

Heartbeats; there is something to know.

=head2 refused($request, $code), taken($has_revoked), metadata_changed

A request was answered so; the assignment has been taken over; there are other topics or partitions.

=head2 must_leave, must_wait_for_id, part($conn, $answered)

Whether the coordinator has to hear of the end, whether only under an id that is still to come, and the
request that tells it.

=head2 sync(\@assignments)

Of this protocol only: what the leader has shared out.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
