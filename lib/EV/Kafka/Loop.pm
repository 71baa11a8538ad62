package EV::Kafka::Loop;
use strict;
use warnings;

use EV ();
use Scalar::Util qw(weaken);
use Time::HiRes ();

# The event loop that a client runs on, and its clock. Timers do not keep alive what they
# are for, and each of them is an entry: what it leaves in the outbox is called after it.

# Below the watchers of sockets: an answer that lies unread after a long callback is
# taken before anything is called late.
use constant TIMER_PRIORITY => -1;

sub new {
    my ($class, $loop) = @_;
    return bless { loop => $loop, enter => undef }, $class;
}

# Every timer's method is called as $enter->($object, $method, @args).
sub enter_by {
    my ($self, $enter) = @_;
    $self->{enter} = $enter;
    return;
}

sub ev        { return $_[0]{loop} || EV::default_loop() }
sub iteration { return $_[0]->ev->iteration }

# Seconds on a clock that nobody sets. The loop's may be put back, and what was due
# a moment later would wait for as long as that.
sub now { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

# A one-shot timer that calls a method; it lives as long as the caller keeps it. It
# counts from now: the loop's own time stands still while a callback runs.
sub timer {
    my ($self, $after, $object, $method, @args) = @_;
    weaken(my $weak = $object);
    my $enter = $self->{enter};
    my $loop  = $self->ev;
    $loop->now_update;
    my $timer = $loop->timer_ns($after, 0, sub {
        my $object = $weak or return;
        return $enter ? $enter->($object, $method, @args) : $object->$method(@args);
    });
    $timer->priority(TIMER_PRIORITY);
    $timer->start;
    return $timer;
}

# The same for what is no reason for a loop to go on that has nothing else to wait for.
sub idle_timer {
    my ($self, @timer) = @_;
    my $timer = $self->timer(@timer);
    $timer->keepalive(0);
    return $timer;
}

# The delay before try number $try (1 is the first retry): doubling from $base
# to $cap, a quarter of jitter either way so that clients do not come in step.
sub backoff {
    my ($self, $try, $base, $cap) = @_;
    my $delay = $base * 2 ** ($try > 30 ? 30 : $try - 1);
    $delay = $cap if $delay > $cap;
    return $delay * (0.75 + rand 0.5);
}

1;

__END__

=head1 NAME

EV::Kafka::Loop - the event loop and the clock of an EV::Kafka client

=head1 DESCRIPTION

For the classes that make up L<EV::Kafka::Client>, not for use by itself.

=head1 METHODS

=head2 new($loop)

On an L<EV::Loop>, or on the default loop when it is undef.

=head2 enter_by($enter)

How timers call: C<< $enter->($object, $method, @args) >>, which L<EV::Kafka::Outbox/enter($object, $method, @args)> is.

=head2 ev, iteration, now

The loop, the number of its turn, and seconds on a clock that nobody sets.

=head2 timer($after, $object, $method, @args)

A one-shot timer that lives as long as it is kept, and does not keep the object alive.
It counts from now, and fires after what lies unread in a socket has been read.

=head2 idle_timer($after, $object, $method, @args)

The same; it does not keep a loop running that has nothing else to wait for.

=head2 backoff($try, $base, $cap)

Seconds before a try, doubling from C<$base> to C<$cap>, with a quarter of jitter.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Outbox>

=cut
