package EV::Kafka::Closing;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(looks_like_number reftype);

use EV::Kafka::Error;

# The end of a client that takes its time: what was produced is sent, the group is left, and what on_revoke has
# produced is sent, too.
#   callbacks  of close
#   seconds    that it may take
#   timer      until they are over
#   error      what was not done

# A croak names the line of the program.
$Carp::Internal{ +__PACKAGE__ } = 1;

# tells: done, when the client may close.
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox producer consumer group share tells)), callbacks => [] }, $class;
}

# ([flush => $seconds], [$cb]) of close: the seconds, undef if it is not to wait, and the callback.
sub arguments {
    my ($class, @arguments) = @_;
    my $seconds;
    if (defined $arguments[0] && !ref $arguments[0]) {
        (my $name, $seconds, @arguments) = @arguments;
        Carp::croak("close: unknown option '$name'") if $name ne 'flush';
        Carp::croak('close: flush must be a number of seconds') unless looks_like_number($seconds) && $seconds >= 0 && $seconds < 9**99;
    }
    my ($cb, @more) = @arguments;
    Carp::croak('close: the callback must be a code reference') if defined $cb && !(ref $cb && reftype($cb) eq 'CODE');
    Carp::croak('close: too many arguments') if @more;
    return ($seconds, $cb);
}

# Once: who asks again waits for the same end. True, for who has to know that it has not come yet.
sub begin {
    my ($self, $seconds, $cb) = @_;
    push @{ $self->{callbacks} }, $cb;
    return 1 if $self->{timer};
    $self->{seconds} = $seconds;
    $self->{timer}   = $self->{loop}->timer($seconds, $self, '_late');
    $self->{consumer}->stop_consuming;
    # Before it is committed what was consumed its results are there.
    $self->{producer}->flush($self->{outbox}->entry($self, '_flushed'));
    return 1;
}

sub _flushed {
    my ($self, $error) = @_;
    return unless $self->{timer};
    $self->{error} //= $error;
    return $self->{share}->unsubscribe($self->{outbox}->entry($self, '_share_left'));
}

sub _share_left {
    my ($self) = @_;
    return $self->{timer} ? $self->{group}->unsubscribe($self->{outbox}->entry($self, '_left')) : undef;
}

sub _left {
    my ($self, $error) = @_;
    return unless $self->{timer};
    $self->{error} //= $error;
    return $self->{producer}->flush($self->{outbox}->entry($self, '_end'));
}

sub _late {
    my ($self) = @_;
    my ($messages) = $self->{producer}->buffered;
    my $left = $messages ? "messages that are not delivered: $messages" : 'the group is not left';
    return $self->_end(EV::Kafka::Error->without_code("close timed out after $self->{seconds} s: $left", 1)->at(operation => 'close'));
}

sub _end {
    my ($self, $error) = @_;
    return unless delete $self->{timer};
    my ($outbox, @callbacks) = ($self->{outbox}, splice @{ $self->{callbacks} });
    $error = $self->{error} // $error;
    $self->{tells}->('done');
    $outbox->call($_, defined $error ? EV::Kafka::Error->from($error) : ()) for @callbacks;
    return;
}

# The client closes without waiting.
sub close {
    my ($self, $error) = @_;
    delete $self->{timer};
    $self->{outbox}->call($_, EV::Kafka::Error->from($error)) for splice @{ $self->{callbacks} };
    return;
}

# In a forked child nobody is told.
sub abandon {
    my ($self) = @_;
    delete $self->{timer};
    $self->{callbacks} = [];
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Closing - the end of an EV::Kafka client that sends first what was produced

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<close> with C<flush>.

=head1 METHODS

=head2 new(%about)

With C<loop>, C<outbox>, C<producer>, C<consumer>, C<group> and C<tells>, which hears of C<done>: the client may close.

=head2 arguments(@arguments)

What C<close> was given: seconds, undef if it is not to wait, and the callback. It croaks on what makes no sense.

=head2 begin($seconds, $cb)

Sends what was produced, leaves the group, and tells C<done>, in that time; then C<$cb> is called, with an error if that was
not done.

=head2 close($error), abandon

It ends before, with and without a word.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Client>

=cut
