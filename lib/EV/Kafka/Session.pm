package EV::Kafka::Session;
use strict;
use warnings;

use EV ();

# A process that was stopped, or whose callback blocked, for longer than a session
# lasts has been given up by its group: what it would go on to deliver is another
# member's by now. The clock tells it, before anything else can: nothing is delivered
# until a heartbeat that was sent since has been answered.
#   awake_at     when heartbeats were last seen to
#   overslept    it was too late, by so many seconds; nothing is delivered
# A coordinator that cannot be reached is something else: heartbeats are seen to.
# It is the clock on the wall: the one that nobody sets may stand still while the
# machine is suspended.

# Sessions of the consumer protocol are the broker's secret. With Kafka's defaults they
# last nine heartbeat intervals; what comes of an alarm too many is one heartbeat more.
# A heartbeat that nobody answers is seen to after less than that.
use constant {
    SESSION_INTERVALS => 4,
    LEAST_SESSION     => 3,
};

# While the group waits for a JoinGroup or its assignment no heartbeats are sent.
my %IS_BEATING = map { $_ => 1 } qw(stable taking);

sub _has_overslept {
    my ($self, $group) = @_;
    my $seconds = $group->{session_timeout} / 1000;
    if ($group->{group_protocol} eq 'consumer') {
        $seconds = SESSION_INTERVALS * ($group->{interval} // 0);
        $seconds = LEAST_SESSION if $seconds < LEAST_SESSION;
    }
    return defined $group->{awake_at} && $IS_BEATING{ $group->{state} } && EV::time() - $group->{awake_at} > $seconds;
}

sub _session_begins {
    my ($self, $group) = @_;
    $group->{awake_at} = EV::time();
    return;
}

# Heartbeats are seen to now.
sub _see_to_session {
    my ($self, $group) = @_;
    if ($self->_has_overslept($group)) {
        $group->{overslept} = EV::time() - $group->{awake_at};
        $self->_hold_delivery('session');
    }
    return $self->_session_begins($group);
}

sub _before_delivery {
    my ($self) = @_;
    my $group = $self->{cfg}{group} or return;
    return $self->_has_overslept($group) ? $self->_by_protocol($group, 'heartbeat') : undef;
}

# What the program had is another member's: it must know why it is read again.
sub _tell_of_loss {
    my ($self, $group, $code) = @_;
    return unless @{ $self->{cfg}{assignments} };
    my $text = "group '$group->{group_id}' has given this member up: " . $self->error_name($code) . " (code $code)";
    $text .= sprintf '; the event loop did not turn for %.1f s, longer than a session lasts', $group->{overslept}
        if $group->{overslept};
    my $subject = "membership of $group->{group_id}";
    $self->_notice_over($subject);
    return $self->_notice($subject, "$text; joining again", group => $group->{group_id}, code => $code);
}

# The coordinator still knows the member, or the member is a new one.
sub _session_confirmed {
    my ($self, $group) = @_;
    return unless delete $group->{overslept};
    return $self->_release_delivery('session');
}

1;

__END__

=head1 NAME

EV::Kafka::Session - notices that an EV::Kafka client has slept through its group's session

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. A process that wakes after
having been stopped, or after a callback that blocked, for longer than the session
timeout first asks the coordinator whether it still is a member, and only then goes on
delivering.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
