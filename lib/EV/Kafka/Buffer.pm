package EV::Kafka::Buffer;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# What is queued and not settled: how much it is, when it is too much, and what
# waits for its topic to become known.

# Seconds of moving messages before the loop turns.
use constant UNPARK_SLICE => 0.01;

use constant BUFFER_FULL => 'producer buffer full';

# The label of operations that carry one message.
use constant DELIVERY => 'produce callback';

# Messages and bytes that were accepted and are neither delivered nor failed.
sub buffered {
    my ($self) = @_;
    $self->_check_open;
    my (undef, $bytes) = $self->{accumulator}->queued;
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
    my ($messages) = $self->{accumulator}->queued;
    return $messages;
}

# For a message that found no room. Those without a callback are reported once,
# until there has been room again.
sub _no_room {
    my ($self, $message, $error) = @_;
    my $cfg = $self->{cfg};
    # There never will be: nobody is to wait for it.
    return $self->_refuse($message, $error) if $error ne BUFFER_FULL;
    $cfg->{buffer_full} ||= {};
    $self->_watch_progress;
    if ($message->{cb} || $self->_txn_joined) {
        $self->_refuse($message, $error);
    }
    elsif (!$cfg->{buffer_full}{reported}++) {
        $self->_report($error);
    }
    # It was too large for what is free; nothing that is settled may ever say so.
    $cfg->{buffer_full}{timer} ||= $self->_timer(0, '_check_buffer')
        if $cfg->{buffer_full} && !$cfg->{closed} && $self->_has_room;
    return;
}

# Whether what waits for room should come now.
sub _has_room {
    my ($self) = @_;
    my (undef, $bytes) = $self->{accumulator}->queued;
    return $bytes <= $self->{cfg}{buffer_memory} / 2;
}

# Native code says so, by _check_buffer, when batches have been settled and somebody waits for that.
sub _watch_progress {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return $self->{accumulator}->watch($cfg->{buffer_full} || @{ $cfg->{flush_waiters} } ? 1 : 0);
}

# Some messages have been settled.
sub _check_buffer {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    if ($cfg->{buffer_full} && !$cfg->{closed} && $self->_has_room) {
        delete $cfg->{buffer_full};
        $self->_call($cfg->{on_drain});
    }
    return if $cfg->{closed};
    $self->_check_flush;
    return $self->_watch_progress;
}

# Messages of a topic that is not known lie natively, in the order in which they
# came; one operation waits for all of them.
sub _park_message {
    my ($self, $message) = @_;
    my $cfg   = $self->{cfg};
    my $topic = $message->{topic};
    my $asks  = !ref $cfg->{partitioner} ? 0 : $self->_is_key_text($message->{key}) ? 2 : 1;
    my $refused = $self->{accumulator}->park($topic, @$message{qw(partition key value headers timestamp cb acks)}, $asks);
    return $self->_no_room($message, $refused) if defined $refused;
    $self->_watch_expiry;
    return if $cfg->{parked}{$topic}++;
    return $self->_wait_for($topic, undef, \&_unpark_messages);
}

# Whether the key has to be decoded for a partitioner to see what the program has given.
sub _is_key_text {
    my ($self, $key) = @_;
    my $encoder = $self->{cfg}{encoder};
    return $encoder ? $encoder->is_text : utf8::is_utf8($key);
}

sub _wait_for {
    my ($self, $topic, $partition, $run) = @_;
    weaken(my $weak = $self);
    return $self->_on_topic({
        topic     => $topic,
        partition => $partition,
        known     => 1,
        is_write  => 1,
        run       => $run,
        cb        => sub { $weak->_parked_failed($topic, $partition, $_[1]) if $weak },
    });
}

# Puts what was kept into the batches of its partitions, as much as one turn of the loop
# has time for. As long as a partitioner has
# to be asked, what is produced meanwhile waits behind.
sub _unpark_messages {
    my ($self, $op) = @_;
    my $cfg   = $self->{cfg};
    my $topic = $op->{topic};
    my $until = $self->_now + UNPARK_SLICE;
    delete $cfg->{unpark_timers}{$topic};
    while ($self->{accumulator}->must_unpark($topic)) {
        return $cfg->{unpark_timers}{$topic} = $self->_timer(0, _unpark_messages => $op) if $self->_now >= $until;
        my ($number, @keys) = $self->{accumulator}->unpark($topic);
        $self->_ask_partitioner($topic, $number, @keys) if defined $number && !$cfg->{closed};
        return if $cfg->{closed};
    }
    # It may have gone again meanwhile.
    return $self->_wait_for($topic, undef, \&_unpark_messages) unless $self->_is_known($topic);
    delete $cfg->{parked}{$topic};
    $self->_watch_partition($topic, $_) for $self->{accumulator}->waiting_beyond($topic);
    return;
}

sub _ask_partitioner {
    my ($self, $topic, $number, @keys) = @_;
    my $cfg = $self->{cfg};
    my (@partitions, @errors);
    while (my ($key, $is_text) = splice @keys, 0, 2) {
        utf8::decode($key) if $is_text && defined $key;
        local $@;
        push @partitions, scalar eval { $self->_choose_partition($topic, $key) };
        push @errors, $@;
        return if $cfg->{closed};
    }
    for my $refused ($self->{accumulator}->unpark_answered($topic, $number, \@partitions)) {
        my ($index, $cb, $is_transactional) = @$refused;
        $self->_fail_ops(EV::Kafka::Error::reason($errors[$index]), {
            cb          => $cb,
            label       => DELIVERY,
            transaction => $is_transactional ? $self->_txn_open : undef,
        });
    }
    return;
}

# What is produced for a partition that the topic is not known to have lies in its
# batches; one operation waits for it to be there.
sub _watch_partition {
    my ($self, $topic, $partition) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || $self->_is_known($topic, $partition) || $cfg->{beyond}{"$topic:$partition"}++;
    return $self->_wait_for($topic, $partition, \&_partition_known);
}

sub _partition_known {
    my ($self, $op) = @_;
    delete $self->{cfg}{beyond}{"$op->{topic}:$op->{partition}"};
    return;
}

sub _parked_failed {
    my ($self, $topic, $partition, $error) = @_;
    my $cfg = $self->{cfg};
    if   (defined $partition) { delete $cfg->{beyond}{"$topic:$partition"} }
    else                      { delete $cfg->{parked}{$topic} }
    my ($unheard, $is_transactional) = $self->{accumulator}->fail_parked($topic, $partition, $error);
    $self->_report($error) if $unheard && !$cfg->{closed};
    $self->_txn_broken($self->_txn_open, $error) if $is_transactional && $self->_txn_open;
    return $self->_check_buffer;
}

1;

__END__

=head1 NAME

EV::Kafka::Buffer - an EV::Kafka client's queued messages

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It knows how much is
queued, refuses what C<buffer_memory> has no room for, says when there is room
again (C<on_drain>), and keeps messages until the partitions of their topic are
known, in the order in which they came. They lie encoded, as those in batches do.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Producer>

=cut
