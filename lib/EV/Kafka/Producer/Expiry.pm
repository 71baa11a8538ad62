package EV::Kafka::Producer::Expiry;
use strict;
use warnings;

# What has waited for delivery_timeout fails. Its state:
#   timer    the next look, as long as anything waits
#   period   seconds between two looks
#   due      when the next one is

# How often in delivery_timeout what waits is looked through, at least every second.
use constant {
    CHECKS     => 20,
    PERIOD_MAX => 1,
};

# notify: expired($batches, $transactional, @texts), and the texts are of what nobody else hears of.
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop options accumulator notify)) }, $class;
}

# Something waits.
sub watch {
    my ($self) = @_;
    my ($loop, $limit) = ($self->{loop}, $self->{options}{delivery_timeout});
    return if $self->{timer} || !$limit;
    my $period = $limit / CHECKS;
    $period = PERIOD_MAX if $period > PERIOD_MAX;
    @$self{qw(period due)} = ($period, $loop->now + $period);
    $self->{timer} = $loop->timer($period, $self, '_look');
    return $self->{accumulator}->guard(1);
}

sub stop {
    my ($self) = @_;
    delete $self->{timer};
    return $self->{accumulator}->guard(0);
}

sub _look {
    my ($self) = @_;
    $self->stop;
    $self->_forgive_blocking;
    $self->{notify}->(expired => $self->{accumulator}->expire($self->{options}{delivery_timeout}));
    my ($messages) = $self->{accumulator}->queued;
    return $messages ? $self->watch : undef;
}

# While the program did not let the loop turn nothing could be sent or answered. That
# time, when it is more than that between two looks, is not held against messages.
sub _forgive_blocking {
    my ($self) = @_;
    my $lost = $self->{loop}->now - $self->{due};
    $self->{accumulator}->forgive($lost) if $lost >= $self->{period};
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Producer::Expiry - messages that wait for too long

=head1 DESCRIPTION

For L<EV::Kafka::Producer>, not for use by itself. What has waited for longer than
C<delivery_timeout> fails.

=head1 METHODS

=head2 new(%about)

It tells C<expired>: how many batches, how many of them are part of a transaction, and texts for
C<on_error>.

=head2 watch, stop

Something waits; nothing does.

=head1 SEE ALSO

L<EV::Kafka::Producer>

=cut
