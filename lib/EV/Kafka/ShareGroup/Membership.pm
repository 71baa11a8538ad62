package EV::Kafka::ShareGroup::Membership;
use strict;
use warnings;

use MIME::Base64 qw(encode_base64url);

use EV::Kafka::Error;

# How a member of a share group stays one: a single request, ShareGroupHeartbeat, joins, stays and leaves, and its answers say
# what the member fetches.
#   told         the coordinator knows all that the member has to say
#   interval     seconds between heartbeats
#   is_beating   one is under way
#   beat_timer   until the next one

use constant {
    UNKNOWN_MEMBER_ID          => 25,
    TOPIC_AUTHORIZATION_FAILED => 29,
    UNSUPPORTED_VERSION        => 35,
    GROUP_ID_NOT_FOUND         => 69,
    FENCED_MEMBER_EPOCH        => 110,
};

# The member is none any more, and may become one again.
my %IS_OUT = map { $_ => 1 } UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, GROUP_ID_NOT_FOUND;

# The API, its first version that lasted, and what is to be done where there is none.
use constant {
    SHARE_GROUP_HEARTBEAT => 76,
    FIRST_VERSION         => 1,
    NOT_OFFERED           => 'share groups need brokers of Kafka 4.2 or later, or of 4.1 with the feature share.version at level 1',
    NOT_FINALIZED         => 'share groups are off in this cluster: they need its feature share.version at level 1'
        . ' (kafka-features.sh upgrade --feature share.version=1)',
};

# The epochs that join and leave.
use constant { JOIN_EPOCH => 0, LEAVE_EPOCH => -1 };

# A coordinator that has been silent for so many intervals is looked for again. No interval is known before the first answer.
use constant { SILENT_INTERVALS => 2, DEFAULT_INTERVAL => 5 };

# Seconds between heartbeats, whatever the coordinator says: at least, and at most, Kafka's own group.share.max.heartbeat.interval.ms.
use constant { LEAST_INTERVAL => 0.02, MOST_INTERVAL => 15 };

# member tells: assigned(\@assignment), fenced, stopped($error).
sub new {
    my ($class, %about) = @_;
    return bless { map { $_ => $about{$_} } qw(member loop outbox cluster) }, $class;
}

# No timer of it fires any more.
sub rests {
    my ($self) = @_;
    delete $self->{beat_timer};
    return;
}

# The member makes its id itself, and keeps it also when it has been fenced.
sub join {
    my ($self) = @_;
    my $member = $self->{member};
    $member->named(_new_member_id()) if $member->member_id eq '';
    $member->has_generation(JOIN_EPOCH);
    $member->becomes('joining');
    $member->next_attempt;
    delete @$self{qw(told is_beating)};
    return $self->beat;
}

# A random UUID as Kafka writes it, in base64url. Forked processes may have inherited the same random numbers: their
# ids differ by the process. One must not begin with a dash, which tools take for an option.
sub _new_member_id {
    my $id;
    do {
        my @words = (map({ int rand 2**32 } 1 .. 3), int(rand 2**32) ^ $$);
        # RFC 9562: version 4, variant 1.
        $words[1] = $words[1] & 0xffff_0fff | 0x4000;
        $words[2] = $words[2] & 0x3fff_ffff | 0x8000_0000;
        $id = encode_base64url(pack 'N4', @words);
    } while $id =~ /\A-/;
    return $id;
}

sub _after {
    my ($self, $seconds, $method) = @_;
    $self->{beat_timer} = $self->{loop}->timer($seconds, $self, $method);
    return;
}

sub beat {
    my ($self) = @_;
    my $member = $self->{member};
    $self->rests;
    return if $self->{is_beating};
    $self->{is_beating} = 1;
    my $attempt   = $member->attempt;
    my $tells_all = !$self->{told};
    $member->ask_once(ShareGroupHeartbeat => sub { $self->_send($tells_all, @_) }, sub {
        my ($answer, $error, $is_final) = @_;
        return unless $member->is_at($attempt);
        $self->{is_beating} = 0;
        return $member->tells(stopped => $error) if $is_final;
        return $self->_beat_lost if $error;
        return $self->_refused(@$answer{qw(error_code error_message)}) if $answer->{error_code};
        return $self->_beaten($answer);
    }, op_patience => SILENT_INTERVALS * ($self->{interval} // DEFAULT_INTERVAL));
    return;
}

# What is final is died of here.
sub _send {
    my ($self, $tells_all, $conn, $answered) = @_;
    die NOT_OFFERED if $conn->_highest_version(SHARE_GROUP_HEARTBEAT) < FIRST_VERSION;
    # The connection has just told, if it can.
    die NOT_FINALIZED if !($self->{cluster}->feature('share.version') // 1);
    my $record = $self->{member}->record;
    $self->{told} = 1;
    return $conn->_share_group_heartbeat(@$record{qw(group_id member_id generation)},
        $tells_all ? @$record{qw(topics rack)} : (undef, undef), $answered);
}

sub _beaten {
    my ($self, $answer) = @_;
    my $member = $self->{member};
    $member->let_in;
    $member->was_answered('ShareGroupHeartbeat');
    $member->has_generation($answer->{member_epoch});
    $member->becomes('stable') if $member->state ne 'stable';
    $self->{outbox}->notice_over($self->_subject);
    my $interval = $answer->{heartbeat_interval_ms} / 1000;
    $self->{interval} = $interval < LEAST_INTERVAL ? LEAST_INTERVAL : $interval > MOST_INTERVAL ? MOST_INTERVAL : $interval;
    $self->_after($self->{interval}, 'beat');
    return $answer->{assignment} ? $member->tells(assigned => $answer->{assignment}) : undef;
}

sub _subject { return "heartbeats of ${\ $_[0]{member}->group_id }" }

# It may have been lost: all is told again.
sub _beat_lost {
    my ($self) = @_;
    delete $self->{told};
    return $self->_after($self->{member}->delay, 'beat');
}

sub _refused {
    my ($self, $code, $message) = @_;
    my $member = $self->{member};
    return $self->_beat_lost if $member->may_ask_again(ShareGroupHeartbeat => $code);
    my $error = $member->refusal(ShareGroupHeartbeat => $code);
    $error = $error->said("$error: $message") if length($message // '');
    $error = $error->said("$error; " . NOT_FINALIZED) if $code == UNSUPPORTED_VERSION;
    # The member stays one, without what it may not see.
    if ($code == TOPIC_AUTHORIZATION_FAILED) {
        my $group_id = $member->group_id;
        $self->{outbox}->notice($self->_subject, "share group '$group_id': $error", group => $group_id, code => $code);
        return $self->_beat_lost;
    }
    # One that was not there a moment ago is one of another kind.
    my $is_of_others = $code == GROUP_ID_NOT_FOUND && $member->generation == JOIN_EPOCH;
    return $member->tells(stopped => $error) if $is_of_others || !$IS_OUT{$code};
    $member->tells('fenced');
    return $member->refused($code) ? $self->_after($member->delay, 'join') : $self->join;
}

# --- leaving ------------------------------------------------------------------------

# Whether the coordinator knows of it.
sub must_leave {
    my ($self) = @_;
    return $self->{told} && $self->{member}->member_id ne '';
}

sub part {
    my ($self, $conn, $answered) = @_;
    $conn->_share_group_heartbeat(@{ $self->{member}->record }{qw(group_id member_id)}, LEAVE_EPOCH, undef, undef, $answered);
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::ShareGroup::Membership - how a client joins a share group, stays in it and leaves

=head1 DESCRIPTION

A part of L<EV::Kafka::ShareGroup>, not for use by itself.

=head1 METHODS

=head2 new(%about)

With C<member> (L<EV::Kafka::Group::Member>), C<loop>, C<outbox> and C<cluster>.

=head2 join, beat, rests

Joins; sends a heartbeat; sends none any more.

=head2 must_leave, part($conn, $answered)

Whether the coordinator is to be told of the end, and how.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::ShareGroup>

=cut
