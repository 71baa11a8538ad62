package EV::Kafka::Group::Session;
use strict;
use warnings;

use EV ();

use EV::Kafka::Error;

# A process that was stopped, or whose callback blocked, for longer than a session
# lasts has been given up by its group: what it would go on to deliver is another
# member's by now. The clock tells it, before anything else can: nothing is delivered
# until a heartbeat that was sent since has been answered.
#   lasts        seconds, where subscribe does not say it
#   awake_at     when heartbeats were last seen to
#   overslept    it was too late, by so many seconds; nothing is delivered
# A coordinator that cannot be reached is something else: heartbeats are seen to.
# It is the clock on the wall: the one that nobody sets may stand still while the
# machine is suspended.

# While the group waits for a JoinGroup or its assignment no heartbeats are sent.
my %IS_BEATING = map { $_ => 1 } qw(stable taking);

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(member consumer outbox)), lasts => undef, awake_at => undef, overslept => 0 }, $class;
}

sub lasts {
    my ($self, $seconds) = @_;
    $self->{lasts} = $seconds;
    return;
}

sub begins {
    my ($self) = @_;
    $self->{awake_at} = EV::time();
    return;
}

sub has_overslept {
    my ($self) = @_;
    my $member  = $self->{member};
    my $seconds = $self->{lasts} // $member->record->{session_timeout} / 1000;
    return defined $self->{awake_at} && $IS_BEATING{ $member->state } && EV::time() - $self->{awake_at} > $seconds;
}

# Heartbeats are seen to now. True when the answer to this one lets delivery go on.
sub see_to {
    my ($self) = @_;
    if ($self->has_overslept) {
        $self->{overslept} = EV::time() - $self->{awake_at};
        $self->{consumer}->hold('session');
    }
    $self->begins;
    return $self->is_held;
}

sub is_held { return $_[0]{overslept} ? 1 : 0 }

# What the program had is another member's: it must know why it is read again.
sub lost {
    my ($self, $code) = @_;
    return unless $self->{consumer}->assignments;
    my $group_id = $self->{member}->group_id;
    my $text = "group '$group_id' has given this member up: " . EV::Kafka::Error->of_code($code)->text;
    $text .= sprintf '; the event loop did not turn for %.1f s, longer than a session lasts', $self->{overslept}
        if $self->{overslept};
    my $subject = "membership of $group_id";
    $self->{outbox}->notice_over($subject);
    return $self->{outbox}->notice($subject, "$text; joining again", group => $group_id, code => $code);
}

# The coordinator still knows the member, or the member is a new one.
sub confirmed {
    my ($self) = @_;
    return unless $self->{overslept};
    $self->{overslept} = 0;
    return $self->{consumer}->release('session');
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Session - notices that an EV::Kafka client has slept through its group's session

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself. A process that wakes after
having been stopped, or after a callback that blocked, for longer than the session
timeout first asks the coordinator whether it still is a member, and only then goes on
delivering.

=head1 METHODS

=head2 new(%about), lasts($seconds)

For a member; how long a session lasts where subscribe does not say it.

=head2 begins, has_overslept, see_to, is_held

The member is in; whether it has slept for too long; a heartbeat is being sent, which gives whether
delivery waits for its answer; whether it does.

=head2 lost($code), confirmed

The group has given the member up, which C<on_notice> hears of; it still knows it.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
