package EV::Kafka::Events;
use strict;
use warnings;

# Timers and callbacks for the parts of the client that are its parents.

sub _loop { return $_[0]{loop}->ev }
sub _now  { return EV::Kafka::Loop::now() }

sub _timer {
    my ($self, $after, $method, @args) = @_;
    my $loop = $self->{loop} or return;    # in global destruction it may have gone before
    return $loop->timer($after, $self, $method, @args);
}

sub _backoff { my (undef, @how) = @_; return EV::Kafka::Loop->backoff(@how) }

sub _call {
    my ($self, $cb, @args) = @_;
    return $self->_call_as('EV::Kafka: callback', $cb, @args);
}

# At once, whatever is under way.
sub _call_as {
    my ($self, $label, $cb, @args) = @_;
    return unless $cb;
    if (!ref $self) {
        my @died = EV::Kafka::_shielded($cb, @args) or return;
        local $@;
        eval { warn "$label error: $died[0]" };
        return;
    }
    $self->{outbox}->call_as($label, $cb, @args);
    return $self->{outbox}->drain;
}

sub _report {
    my ($self, $error) = @_;
    $self->{outbox}->report($error);
    return $self->{outbox}->drain;
}

sub _notice {
    my ($self, @notice) = @_;
    $self->{outbox}->notice(@notice);
    return $self->{outbox}->drain;
}

sub _notice_over { my ($self, @subjects) = @_; return $self->{outbox}->notice_over(@subjects) }

1;

__END__

=head1 NAME

EV::Kafka::Events - timers and callbacks of an EV::Kafka client

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: its timers are those of
L<EV::Kafka::Loop>, and its callbacks leave by L<EV::Kafka::Outbox>.

=head1 SEE ALSO

L<EV::Kafka>

=cut
