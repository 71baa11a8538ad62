package EV::Kafka::Consumer::Round;
use strict;
use warnings;

# One call of poll. It ends, and calls back, when the Fetch requests that it started or
# joined have been answered and delivered:
#   left     what it still waits for, itself included until all of that is known
#   error    the first one
#   timer    it has nobody to ask and waits in vain for so long
#   polls    shared by a consumer's rounds: {calling} counts the callbacks that are running

sub new {
    my ($class, $outbox, $polls, $cb) = @_;
    return bless { outbox => $outbox, polls => $polls, cb => $cb, left => 1 }, $class;
}

sub joins { $_[0]{left}++; return }

# It is done with something that it has joined, or that it waited for.
sub leaves {
    my ($self, $error) = @_;
    $self->{error} //= $error;
    return if --$self->{left};
    delete $self->{timer};
    my $cb = delete $self->{cb} or return;
    my $polls = $self->{polls};
    return $self->{outbox}->call(sub { local $polls->{calling} = $polls->{calling} + 1; $cb->(@_) }, grep { defined } $self->{error});
}

# Nothing has been found to wait for.
sub is_alone { return $_[0]{left} == 1 }

sub has_callback { return $_[0]{cb} ? 1 : 0 }

# Asks anew: what failed before is no news any more.
sub begins_again { delete $_[0]{error}; return }

# In vain, for as long as the timer runs, unless it finds something.
sub waits      { my ($self, $timer) = @_; $self->{timer} = $timer; return }
sub is_waiting { return $_[0]{timer} ? 1 : 0 }
sub goes_on    { my ($self) = @_; delete $self->{timer}; return $self->leaves }

# In a forked child nobody is called.
sub forget { my ($self) = @_; delete @$self{qw(timer cb)}; return }

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Round - one call of poll

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It counts what a call of C<poll> waits for,
and calls back once, when that is over.

=head1 METHODS

=head2 new($outbox, $polls, $cb)

Waits for itself alone. C<< $polls->{calling} >> counts the callbacks of rounds that are running.

=head2 joins, leaves($error)

One thing more to wait for, and one less; after the last one it calls back with the first error, or without.

=head2 is_alone, has_callback

Whether there is nothing to wait for, and somebody to be called.

=head2 begins_again, waits($timer), is_waiting, goes_on, forget

Asks anew; waits in vain for as long as a timer runs; has found something; ends without a word.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
