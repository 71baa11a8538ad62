package EV::Kafka::Events;
use strict;
use warnings;

use EV ();
use Scalar::Util qw(weaken);
use Time::HiRes ();

# Callbacks within callbacks before the next one is called from the loop.
use constant MAX_DEPTH => 50;

# Where the client meets the event loop and the user's code: timers that do not
# keep the client alive, and calls that no die can carry into its own state.

sub _loop { $_[0]{cfg}{loop} || EV::default_loop() }

# Seconds on a clock that nobody sets. The loop's may be put back, and what was due
# a moment later would wait for as long as that.
sub _now { Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

# What somebody died of, without the place.
sub _reason { return $_[0] =~ s/ at \S+ line \d+\.?\n\z//r }

# Below the watchers of sockets: an answer that lies unread after a long callback is
# taken before anything is called late.
use constant TIMER_PRIORITY => -1;

# A one-shot timer that calls a method; it lives as long as the caller keeps it. It
# counts from now: the loop's own time stands still while a callback runs.
sub _timer {
    my ($self, $after, $method, @args) = @_;
    weaken(my $weak = $self);
    my $loop = $self->_loop;
    $loop->now_update;
    my $timer = $loop->timer_ns($after, 0, sub {
        my $self = $weak or return;
        return $self->_leave_to_parent if $self->_is_foreign;
        $self->$method(@args);
    });
    $timer->priority(TIMER_PRIORITY);
    $timer->start;
    return $timer;
}

# The delay before try number $try (1 is the first retry): doubling from $base
# to $cap, a quarter of jitter either way so that clients do not come in step.
sub _backoff {
    my ($self, $try, $base, $cap) = @_;
    my $delay = $base * 2 ** ($try > 30 ? 30 : $try - 1);
    $delay = $cap if $delay > $cap;
    return $delay * (0.75 + rand 0.5);
}

sub _call {
    my ($self, $cb, @args) = @_;
    return $self->_call_as('EV::Kafka: callback', $cb, @args);
}

# A callback that is called at once and asks again, to be called at once again, would
# go on like that until there is no memory left, and the loop would never turn.
sub _call_as {
    my ($self, $label, $cb, @args) = @_;
    return unless $cb;
    my $cfg   = ref $self ? $self->{cfg} : {};
    my $depth = $cfg->{call_depth} || 0;
    return $self->_call_later(_call_as => $label, $cb, @args) if $depth >= MAX_DEPTH && !$cfg->{closed};
    local $cfg->{call_depth} = $depth + 1;
    my @died = EV::Kafka::_shielded($cb, @args);
    # It may have forked: in the child nothing of what would follow is to happen.
    $self->_leave_to_parent if ref $self && $self->_is_foreign;
    return unless @died;
    local $@;
    eval { warn "$label error: $died[0]" };    # a __WARN__ handler may die too
    return;
}

# What would go too deep when it was called now, a method and its arguments, is called
# from the loop, or when the client ends.
sub _call_later {
    my ($self, @call) = @_;
    my $cfg = $self->{cfg};
    push @{ $cfg->{calls} }, \@call;
    return $cfg->{closed} ? $self->_make_calls : $cfg->{_calls_timer} ||= $self->_timer(0, '_make_calls');
}

sub _make_calls {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{_calls_timer};
    for my $call (splice @{ $cfg->{calls} || [] }) {
        my ($method, @args) = @$call;
        $self->$method(@args);
    }
    return;
}

# A die in on_error, the default handler's among them, must reach $EV::DIED and
# yet not cut short whatever noticed the error: it is thrown in a turn of its own.
sub _report {
    my ($self, $text) = @_;
    my @died = EV::Kafka::_shielded($self->{cfg}{on_error} || \&EV::Kafka::Options::die_of, $text);
    $self->_leave_to_parent if $self->_is_foreign;
    return unless @died;
    my ($died, $later) = @died;
    $later = $self->_loop->timer(0, 0, sub { undef $later; die $died });
    return;
}

# What waits, or was survived and may still succeed: on_error hears only what has ended
# something. Each subject is told of once, until its text is another one.
sub _notice {
    my ($self, $subject, $text, %about) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || ($cfg->{notices}{$subject} // '') eq $text;
    $cfg->{notices}{$subject} = $text;
    return $self->_call_as(on_notice => $cfg->{on_notice}, $text, \%about) if $cfg->{on_notice};
    local $@;
    eval { warn "EV::Kafka: $text\n" };
    return;
}

# It waits no more: the next time is worth another word.
sub _notice_over {
    my ($self, @subjects) = @_;
    delete @{ $self->{cfg}{notices} }{@subjects};
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Events - timers and callbacks of an EV::Kafka client

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. Every timer the client
starts and every callback it calls, except those that are called once a
message, passes through the methods of this module, so that

=over 4

=item *

a timer never keeps a client alive that its owner has let go;

=item *

a die in a callback is a warning and nothing else stops for it;

=item *

a timer counts from the moment it is started, and what lies unread in a socket is
read before it fires;

=item *

what only waits goes to C<on_notice>, once until its reason changes, or becomes a
warning;

=item *

a die in C<on_error> is thrown again in a turn of the event loop of its own,
where C<$EV::DIED> sees it.

=back

=head1 SEE ALSO

L<EV::Kafka>

=cut
