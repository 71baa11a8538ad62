package SetLoop;
use strict;
use warnings;

# Stands for an EV::Kafka::Loop whose clock is set, and whose timers are fired by hand: the first
# of those that are left.

sub new      { return bless { now => 100, timers => [] }, shift }
sub enter_by { return }
sub now      { return $_[0]{now} }
sub backoff  { my (undef, $try, $base) = @_; return $base * 2**($try - 1) }

sub timer {
    my ($self, $after, $object, $method, @args) = @_;
    push @{ $self->{timers} }, [$after, sub { $object->$method(@args) }];
    return $self->{timers}[-1];
}

sub fire { my ($self) = @_; (shift @{ $self->{timers} })->[1]->(); return }

1;
