package EV::Kafka::Buffer;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# What is queued and not settled: how much it is, when it is too much, and what
# waits for its topic to become known.

use constant BUFFER_FULL => 'producer buffer full';

# The label of operations that carry one message.
use constant DELIVERY => 'produce callback';

# Messages and bytes that were accepted and are neither delivered nor failed.
sub buffered {
    my ($self) = @_;
    $self->_check_open;
    my (undef, $bytes) = $self->_queued;
    return ($self->_unsettled, $bytes);
}

sub on_drain {
    my ($self, $cb) = @_;
    $self->_check_open;
    $self->{cfg}{on_drain} = $cb;
    return;
}

sub _unsettled {
    my ($self) = @_;
    my ($messages) = $self->_queued;
    return $messages + grep { ($_->{label} || '') eq DELIVERY } @{ $self->{cfg}{pending_ops} };
}

# For a message that found no room. Those without a callback are reported once,
# until there has been room again.
sub _buffer_full {
    my ($self, $op) = @_;
    my $cfg = $self->{cfg};
    $cfg->{buffer_full} ||= {};
    if ($op->{cb} || $op->{transaction}) {
        $self->_fail_ops(BUFFER_FULL, $op);
    }
    elsif (!$cfg->{buffer_full}{reported}++) {
        $self->_report(BUFFER_FULL);
    }
    # It was too large for what is free; nothing that is settled may ever say so.
    $cfg->{buffer_full}{timer} ||= $self->_timer(0, '_check_buffer')
        if $cfg->{buffer_full} && !$cfg->{closed} && $self->_has_room;
    return;
}

# Whether what waits for room should come now.
sub _has_room {
    my ($self) = @_;
    my (undef, $bytes) = $self->_queued;
    return $bytes <= $self->{cfg}{buffer_memory} / 2;
}

# Some messages have been settled.
sub _check_buffer {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    if ($cfg->{buffer_full} && !$cfg->{closed} && $self->_has_room) {
        delete $cfg->{buffer_full};
        $self->_call($cfg->{on_drain});
    }
    return $cfg->{closed} ? undef : $self->_check_flush;
}

# Messages of a topic that is not known lie natively; one operation waits for all
# of them.
sub _park_message {
    my ($self, $op) = @_;
    my $cfg   = $self->{cfg};
    my $topic = $op->{topic};
    return $self->_buffer_full($op) unless $self->_park($topic, @{ $op->{message} }, $op->{cb});
    $self->_watch_expiry;
    return if $cfg->{parked}{$topic}++;
    weaken(my $weak = $self);
    return $self->_on_topic({
        topic => $topic,
        is_write => 1,
        run   => \&_unpark_messages,
        cb    => sub { $weak->_parked_failed($topic, $_[1]) if $weak },
    });
}

sub _unpark_messages {
    my ($self, $op) = @_;
    delete $self->{cfg}{parked}{ $op->{topic} };
    return $self->_unpark($op->{topic});
}

sub _parked_failed {
    my ($self, $topic, $error) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{parked}{$topic};
    my ($unheard, $is_transactional) = $self->_fail_parked($topic, $error);
    $self->_report($error) if $unheard && !$cfg->{closed};
    $self->_txn_broken($cfg->{txn}, $error) if $is_transactional && $cfg->{txn};
    return;
}

# Messages that wait in an operation: for a partition of their own, or with a
# partitioner of the user's. Their operation gives the room back when it is taken.
sub _queue_message {
    my ($self, $op) = @_;
    my ($key, $value) = @{ $op->{message} };
    my $bytes = length($key // '') + length($value // '');
    return $self->_buffer_full($op) unless $self->_reserve($bytes);
    @$op{qw(bytes born)} = ($bytes, $self->_now);
    $self->_watch_expiry;
    return $self->_on_topic($op);
}

sub _expire_messages {
    my ($self, $age) = @_;
    my $since = $self->_now - $age;
    my %old;
    push @{ $old{ $_->{topic} } }, $_ for $self->_take_ops(sub { defined $_[0]{born} && $_[0]{born} <= $since });
    $self->_fail_ops("delivery timed out after $age s: $_", @{ $old{$_} }) for sort keys %old;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Buffer - an EV::Kafka client's queued messages

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It knows how much is
queued, refuses what C<buffer_memory> has no room for, says when there is room
again (C<on_drain>), and keeps messages until their topic is known. They lie
encoded, as those in batches do.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Producer>

=cut
