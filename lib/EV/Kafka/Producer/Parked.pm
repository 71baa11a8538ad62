package EV::Kafka::Producer::Parked;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Error;

# Messages of topics that are not known, or of partitions that a topic is not known to have.
# They lie natively, encoded, in the order in which they came; one operation waits for all of
# them. Its state:
#   topics   topics with messages that wait, or of which not all are in batches yet
#   beyond   by "topic:partition": [topic, partition] of partitions that are waited for
#   timers   by topic: moving its messages goes on in the next turn of the loop

# Seconds of moving messages before the loop turns.
use constant UNPARK_SLICE => 0.01;

# notify: refused($cb, $error, $is_transactional), failed($error, $unheard, $is_transactional).
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox cluster accumulator settings notify)), topics => {}, beyond => {}, timers => {} }, $class;
}

# As long as older ones wait for their topic to be known the next ones wait behind them.
sub has { my ($self, $topic) = @_; return $self->{topics}{$topic} }

# Gives why a message finds no place, undef when it has one.
sub park {
    my ($self, $message, $is_text) = @_;
    my $topic   = $message->{topic};
    my $asks    = !$self->{settings}->has_partitioner ? 0 : $is_text ? 2 : 1;
    my $refused = $self->{accumulator}->park($topic, @$message{qw(partition key value headers timestamp cb acks)}, $asks);
    return $refused if defined $refused;
    $self->_wait_for($topic, undef, '_unpark') unless $self->{topics}{$topic}++;
    return undef;
}

# What is produced for a partition that the topic is not known to have lies in its
# batches; one operation waits for it to be there.
sub watch {
    my ($self, $topic, $partition) = @_;
    return if $self->{cluster}->is_known($topic, $partition) || $self->{beyond}{"$topic:$partition"};
    $self->{beyond}{"$topic:$partition"} = [$topic, $partition];
    $self->{outbox}->watch($self, 'waits');
    return $self->_wait_for($topic, $partition, '_partition_known');
}

# See EV::Kafka::Waits. The topic was asked for when they came: what is known of it is fresh.
sub waits {
    my ($self) = @_;
    return unless $self->{cluster}->is_connected;
    return map { $self->_wait_of(@$_) } @{ $self->{beyond} }{ sort keys %{ $self->{beyond} } };
}

sub _wait_of {
    my ($self, $topic, $partition) = @_;
    my ($reason, $text) = $self->{cluster}->trouble($topic, $partition) or return;
    return {
        subject => "partition $topic:$partition", reason => $reason, text => "$text; messages wait for it",
        about => { topic => $topic, partition => $partition }, $reason eq 'beyond' ? (times => 0) : (),
    };
}

sub stop {
    my ($self) = @_;
    @$self{qw(topics beyond timers)} = ({}, {}, {});
    return;
}

sub _wait_for {
    my ($self, $topic, $partition, $method) = @_;
    weaken(my $weak = $self);
    return $self->{cluster}->on_topic({
        topic     => $topic,
        partition => $partition,
        known     => 1,
        is_write  => 1,
        run       => sub { $weak->$method($topic, $partition) if $weak },
        cb        => sub { $weak->{outbox}->enter($weak, _failed => $topic, $partition, $_[1]) if $weak },
    });
}

# Puts what was kept into the batches of its partitions, as much as one turn of the loop
# has time for. As long as a partitioner has to be asked, what is produced meanwhile waits
# behind.
sub _unpark {
    my ($self, $topic) = @_;
    my ($loop, $accumulator) = @$self{qw(loop accumulator)};
    my $until = $loop->now + UNPARK_SLICE;
    delete $self->{timers}{$topic};
    while ($accumulator->must_unpark($topic)) {
        return $self->{timers}{$topic} = $loop->timer(0, $self, '_unpark', $topic) if $loop->now >= $until;
        my ($number, @keys) = $accumulator->unpark($topic);
        $self->_ask_partitioner($topic, $number, @keys) if defined $number;
    }
    # It may have gone again meanwhile.
    return $self->_wait_for($topic, undef, '_unpark') unless $self->{cluster}->is_known($topic);
    delete $self->{topics}{$topic};
    $self->watch($topic, $_) for $accumulator->waiting_beyond($topic);
    return;
}

sub _ask_partitioner {
    my ($self, $topic, $number, @keys) = @_;
    my (@partitions, @errors);
    while (my ($key, $is_text) = splice @keys, 0, 2) {
        utf8::decode($key) if $is_text && defined $key;
        local $@;
        push @partitions, scalar eval { $self->{settings}->choose_partition($topic, $key) };
        push @errors, $@;
        # It may have closed the client.
        return if $self->{outbox}->has_ended;
    }
    for my $refused ($self->{accumulator}->unpark_answered($topic, $number, \@partitions)) {
        my ($index, $cb, $is_transactional) = @$refused;
        my $error = EV::Kafka::Error->without_code(EV::Kafka::Error::reason($errors[$index]));
        $self->{notify}->(refused => $cb, $error->at(operation => 'Produce', topic => $topic), $is_transactional);
    }
    return;
}

sub _partition_known {
    my ($self, $topic, $partition) = @_;
    delete $self->{beyond}{"$topic:$partition"};
    return;
}

sub _failed {
    my ($self, $topic, $partition, $error) = @_;
    $error = EV::Kafka::Error->from($error)->at(operation => 'Produce', topic => $topic, partition => $partition);
    if   (defined $partition) { delete $self->{beyond}{"$topic:$partition"} }
    else                      { delete $self->{topics}{$topic} }
    return $self->{notify}->(failed => $error, $self->{accumulator}->fail_parked($topic, $partition, $error));
}

1;

__END__

=head1 NAME

EV::Kafka::Producer::Parked - messages that wait for their topic to be known

=head1 DESCRIPTION

For L<EV::Kafka::Producer>, not for use by itself. Messages are kept until the partitions of
their topic are known, in the order in which they came. They lie encoded, as those in batches do.

=head1 METHODS

=head2 new(%about)

It tells C<refused> of a message that the partitioner has no partition for, with its callback, the
error and whether it is part of a transaction; and C<failed> when the topic cannot be had, with the
error, how many messages nobody hears of, and whether some were part of a transaction.

=head2 has($topic), park($message, $is_text), watch($topic, $partition), waits, stop

Whether there are any; keeps one, whose key the partitioner sees as text or not; waits for a
partition that the topic is not known to have.

=head1 SEE ALSO

L<EV::Kafka::Producer>

=cut
