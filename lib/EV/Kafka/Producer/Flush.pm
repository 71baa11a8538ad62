package EV::Kafka::Producer::Flush;
use strict;
use warnings;

use EV::Kafka::Error;

# Who waits for what was produced before, and for nothing that comes after. Its state:
#   waiters  in the order of their calls: { cb, generation, timer?, is_confirming? }
#   timer    looks again once the delivery callbacks that are being called are through

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox options cluster accumulator)), waiters => [] }, $class;
}

sub is_waited_for { return scalar @{ $_[0]{waiters} } }

# Gives whether there is anything to wait for.
sub add {
    my ($self, $cb) = @_;
    my $accumulator = $self->{accumulator};
    my $waiter      = { cb => $cb, generation => $accumulator->end_generation };
    if ($accumulator->is_settled($waiter->{generation}) && !$accumulator->is_delivering && !$self->_unconfirmed) {
        $self->{outbox}->call($cb);
        return 0;
    }
    my $timeout = $self->{options}{flush_timeout};
    $waiter->{timer} = $self->{loop}->timer($timeout, $self, _late => $waiter) if $timeout;
    push @{ $self->{waiters} }, $waiter;
    return 1;
}

# Something has been settled. Delivery callbacks that are being called go first, unless one of
# them runs the loop and waits there.
sub check {
    my ($self) = @_;
    return unless @{ $self->{waiters} };
    return $self->_check_now unless $self->{accumulator}->is_delivering;
    $self->{timer} ||= $self->{loop}->timer(0, $self, '_check_now');
    return;
}

sub close {
    my ($self, $error) = @_;
    my @waiters = splice @{ $self->{waiters} };
    delete @$_{qw(timer)} for $self, @waiters;
    $self->{outbox}->call($_->{cb}, EV::Kafka::Error->from($error)) for @waiters;
    return;
}

# In a forked child.
sub abandon {
    my ($self) = @_;
    delete $self->{timer};
    $self->{waiters} = [];
    return;
}

# They stand in the order of their calls.
sub _check_now {
    my ($self) = @_;
    delete $self->{timer};
    my @done;
    for my $waiter (grep { !$_->{is_confirming} } @{ $self->{waiters} }) {
        last unless $self->{accumulator}->is_settled($waiter->{generation});
        push @done, $waiter;
    }
    return unless @done;
    return $self->_unconfirmed ? $self->_confirm(@done) : $self->_done(@done);
}

# The brokers that have got something which they do not answer.
sub _unconfirmed {
    my ($self) = @_;
    my @nodes = $self->{accumulator}->unconfirmed;
    return @nodes;
}

# Under acks 0 nobody says that records have arrived, and most may still lie here.
# An answer to what was sent after them says so.
sub _confirm {
    my ($self, @waiters) = @_;
    my @conns = grep { $_ } map { $self->{cluster}->ready_conn(main => $_) } $self->_unconfirmed;
    return $self->_done(@waiters) unless @conns;
    $_->{is_confirming} = 1 for @waiters;
    my $confirming = { left => scalar @conns, waiters => \@waiters };
    my $confirmed  = $self->{outbox}->entry($self, '_confirmed', $confirming);
    for my $conn (@conns) { $conn->metadata([], $confirmed) }
    return;
}

sub _confirmed {
    my ($self, $confirming) = @_;
    return --$confirming->{left} ? undef : $self->_done(@{ $confirming->{waiters} });
}

sub _done {
    my ($self, @done) = @_;
    my %is_done = map { $_ => 1 } @done;
    # Without those that have timed out meanwhile.
    @done = grep { $is_done{$_} } @{ $self->{waiters} };
    @{ $self->{waiters} } = grep { !$is_done{$_} } @{ $self->{waiters} };
    delete $_->{timer} for @done;
    $self->{outbox}->call($_->{cb}) for @done;
    return;
}

sub _late {
    my ($self, $waiter) = @_;
    delete $waiter->{timer};
    my $waiters = $self->{waiters};
    my $waiting = @$waiters;
    @$waiters = grep { $_ != $waiter } @$waiters;
    return if $waiting == @$waiters;
    return $self->{outbox}->call($waiter->{cb},
        EV::Kafka::Error->without_code("flush timed out after $self->{options}{flush_timeout} s", 1)->at(operation => 'flush'));
}

1;

__END__

=head1 NAME

EV::Kafka::Producer::Flush - who waits for an EV::Kafka client's messages to be settled

=head1 DESCRIPTION

For L<EV::Kafka::Producer>, not for use by itself.

=head1 METHODS

=head2 new(%about)

Of the options, the cluster and the accumulator.

=head2 add($cb), is_waited_for, check

Waits for all that is queued by now, and says whether there is anything to wait for; whether
somebody waits; something has been settled.

=head2 close($error), abandon

Whoever waits hears of the end; a forked child's waiters hear nothing.

=head1 SEE ALSO

L<EV::Kafka::Producer>

=cut
