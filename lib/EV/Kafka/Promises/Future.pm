package EV::Kafka::Promises::Future;
use strict;
use warnings;

use Carp ();
use EV   ();
use Future;

our @ISA = ('Future');

# A croak names the line of the program that has asked for the result.
our @CARP_NOT = qw(Future Future::PP);

# Futures do not say where they keep what belongs to them.
use constant LOOP => 'EV::Kafka::Promises loop';

sub on_loop {
    my ($class, $loop) = @_;
    return $class->new->set_udata(LOOP, $loop);
}

# One that is made of another one, as `then` and `async` do, lives on its loop.
sub new {
    my ($proto, @arguments) = @_;
    my $self = $proto->SUPER::new(@arguments);
    my $loop = ref $proto && $proto->udata(LOOP);
    return $loop ? $self->set_udata(LOOP, $loop) : $self;
}

sub await {
    my ($self) = @_;
    my $loop = $self->udata(LOOP) || EV::default_loop();
    until ($self->is_ready) {
        my $is_alive = $loop->run(EV::RUN_ONCE);
        Carp::croak('EV::Kafka: nothing is under way that could complete this future') if !$is_alive && !$self->is_ready;
    }
    return $self;
}

# Futures that have failed with details wrap what they throw; an object that is an error has more to say than the wrapping.
sub result {
    my ($self) = @_;
    if ($self->is_failed) {
        my ($error) = $self->failure;
        die $error if ref $error;
    }
    return $self->SUPER::result;
}

sub get {
    my ($self) = @_;
    $self->await unless $self->is_ready;
    return $self->result;
}

# What await of Future::AsyncAwait calls.
{
    no warnings 'once';
    *AWAIT_GET = *AWAIT_RESULT = \&result;
}

1;

__END__

=head1 NAME

EV::Kafka::Promises::Future - a Future that EV completes

=head1 DESCRIPTION

What the methods of a client by L<EV::Kafka::Promises> with C<< promise => 'Future' >> return, and what is made of these.

=head1 METHODS

=head2 on_loop($loop)

A pending one, which an L<EV::Loop|EV> object completes.

=head2 new

As L<Future/new>.

=head2 await

Turns the event loop until the future is ready, and returns it. C<get>, C<result> of a future that is not ready, and C<block_until_ready> come here.
It croaks when the loop has nothing left to wait for.

=head2 get, result

As L<Future/get> and L<Future/result>; but a future that has failed with an object, an L<EV::Kafka::Error> for one, throws that
object and not a L<Future::Exception> around it. So does C<await> of L<Future::AsyncAwait>.

=head2 AWAIT_GET, AWAIT_RESULT

For L<Future::AsyncAwait>.

=head1 SEE ALSO

L<EV::Kafka::Promises>, L<Future>

=cut
