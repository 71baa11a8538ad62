package EV::Kafka::Producer::Buffer;
use strict;
use warnings;

use EV::Kafka::Error;

# How much is queued and not settled, and whether it is too much. Its state:
#   full      a message has found no room since there was room last
#   has_said  on_error has heard so
#   timer     looks again, when nothing that is settled may ever say that there is room

use constant FULL => 'producer buffer full';

sub error { return EV::Kafka::Error->without_code(FULL, 1) }

# notify: has_room, when there is room again.
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox options accumulator notify)) }, $class;
}

# Messages and bytes that were accepted and are neither delivered nor failed.
sub queued { return $_[0]{accumulator}->queued }

sub is_full { return $_[0]{full} ? 1 : 0 }

# A message has found no room. Those that nobody else hears of are reported once.
sub refuse {
    my ($self, $is_heard) = @_;
    $self->{full} = 1;
    $self->{outbox}->report(error()->at(operation => 'Produce')) unless $is_heard || $self->{has_said}++;
    # It was too large for what is free.
    $self->{timer} ||= $self->{loop}->timer(0, $self, 'check') if $self->_has_room;
    return;
}

# Something may have been settled.
sub check {
    my ($self) = @_;
    return unless $self->{full} && $self->_has_room;
    delete @$self{qw(full has_said timer)};
    return $self->{notify}->('has_room');
}

sub stop { my ($self) = @_; delete @$self{qw(full has_said timer)}; return }

# Whether what waits for room should come now.
sub _has_room {
    my ($self) = @_;
    my (undef, $bytes) = $self->queued;
    return $bytes <= $self->{options}{buffer_memory} / 2;
}

1;

__END__

=head1 NAME

EV::Kafka::Producer::Buffer - how much of an EV::Kafka client's messages is queued

=head1 DESCRIPTION

For L<EV::Kafka::Producer>, not for use by itself. It knows when a message that C<buffer_memory>
has had no room for may come again.

=head1 METHODS

=head2 new(%about)

It tells C<has_room> when there is room again.

=head2 queued, is_full

Messages and bytes; whether a message has found no room.

=head2 error

A function: what is said of a full one.

=head2 refuse($is_heard), check, stop

A message has found no room; something has been settled; nobody waits any more.

=head1 SEE ALSO

L<EV::Kafka::Producer>

=cut
