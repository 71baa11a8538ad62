package HandClock;
use strict;
use warnings;

use EV::Kafka::Loop;
use Scalar::Util qw(weaken);

# An EV::Kafka::Loop whose time passes only when a test says so.

our @ISA = qw(EV::Kafka::Loop);

sub new {
    my ($class) = @_;
    my $self = $class->SUPER::new;
    @$self{qw(seconds timers)} = (0, []);
    return $self;
}

sub now { my ($self) = @_; return $self->{seconds} }

# { at, … }, as long as the caller keeps it.
sub timer {
    my ($self, $after, $object, $method, @args) = @_;
    weaken(my $weak = $object);
    my $enter = $self->{enter};
    my $timer = { at => $self->{seconds} + $after, code => sub {
        return unless $weak;
        return $enter ? $enter->($weak, $method, @args) : $weak->$method(@args);
    } };
    $self->_keep(grep { $_ } @{ $self->{timers} }, $timer);
    return $timer;
}

sub idle_timer {
    my ($self, @timer) = @_;
    my $timer = $self->timer(@timer);
    $timer->{is_idle} = 1;
    return $timer;
}

sub _keep {
    my ($self, @timers) = @_;
    $self->{timers} = [@timers];
    weaken($_) for @{ $self->{timers} };
    return;
}

# Fires what is due in the next seconds, in order.
sub wind {
    my ($self, $seconds) = @_;
    my $until = $self->{seconds} + $seconds;
    while (1) {
        my ($next) = sort { $a->{at} <=> $b->{at} } grep { $_ && $_->{at} <= $until } @{ $self->{timers} };
        last unless $next;
        $self->{seconds} = $next->{at};
        $self->_keep(grep { $_ && $_ != $next } @{ $self->{timers} });
        $next->{code}->();
    }
    $self->{seconds} = $until;
    return;
}

# Timers that somebody keeps, without those that hold up nothing.
sub waiting { my ($self) = @_; return scalar grep { $_ && !$_->{is_idle} } @{ $self->{timers} } }

1;
