package EV::Kafka::Pending;
use strict;
use warnings;

# Operations that wait for something the client does not have yet: for the first
# metadata (neither key), for a topic's leader (topic, perhaps partition), or
# for a connection to a broker (node_id, and the purpose of the connection).
# With {known} it is enough that the topic, or the partition, is known to be there.
# An operation is { run, cb?, label?, … }; run is called with the client and the
# operation itself, so that what it needs lies in the operation and no closure
# has to hold the client.

sub _queue_op {
    my ($self, $op) = @_;
    push @{ $self->{cfg}{pending_ops} }, $op;
    return;
}

sub _take_ops {
    my ($self, $wanted) = @_;
    my $ops = $self->{cfg}{pending_ops};
    my (@taken, @kept);
    push @{ $wanted->($_) ? \@taken : \@kept }, $_ for @$ops;
    @$ops = @kept;
    return @taken;
}

sub _run_ops {
    my ($self, @ops) = @_;
    while (my $op = shift @ops) {
        return $self->_fail_ops('client closed', $op, @ops) if $self->{cfg}{closed};
        local $@;
        next if eval { $op->{run}->($self, $op); 1 };
        $self->_fail_ops(EV::Kafka::Error::reason($@), $op);
    }
    return;
}

# Each operation's own callback hears of the failure; on_error hears of it once
# for all those that have none. A message takes its transaction along, whose end
# says so, or {is_told} already.
sub _fail_ops {
    my ($self, $error, @ops) = @_;
    for my $op (grep { $_->{cb} } @ops) {
        $self->_call_as($op->{label} || 'EV::Kafka: callback', $op->{cb}, undef, $error);
    }
    my $unheard = grep { !$_->{cb} && !$_->{transaction} && !$_->{is_told} } @ops;
    $self->_report($error) if $unheard && !$self->{cfg}{closed};
    $self->_txn_broken($_, $error) for grep { $_ } map { $_->{transaction} } @ops;
    return;
}

sub _drain_pending_first {
    my ($self) = @_;
    return $self->_run_ops($self->_take_ops(sub { !defined $_[0]{node_id} && !defined $_[0]{topic} }));
}

sub _drain_pending_topics {
    my ($self) = @_;
    return $self->_run_ops($self->_take_ops(sub {
        my ($op) = @_;
        return !defined $op->{node_id} && defined $op->{topic} && $self->_has_what_it_needs($op);
    }));
}

sub _drain_pending_for {
    my ($self, $node_id) = @_;
    return $self->_run_ops($self->_take_ops(sub {
        my ($op) = @_;
        return defined $op->{node_id} && $op->{node_id} == $node_id
            && (!$op->{purpose} || $self->_ready_conn($op->{purpose}, $node_id));
    }));
}

sub _fail_pending_for {
    my ($self, $purpose, $node_id, $error) = @_;
    return $self->_fail_ops($error, $self->_take_ops(sub {
        my ($op) = @_;
        return defined $op->{node_id} && $op->{node_id} == $node_id && ($op->{purpose} || '') eq $purpose;
    }));
}

sub _fail_pending_topic {
    my ($self, $topic, $error) = @_;
    return $self->_fail_ops($error, $self->_take_ops(sub { $self->_waits_for_leader($_[0], $topic) }));
}

sub _waits_for_leader {
    my ($self, $op, $topic) = @_;
    return !defined $op->{node_id} && defined $op->{topic} && $op->{topic} eq $topic
        && !$self->_has_what_it_needs($op);
}

sub _has_what_it_needs {
    my ($self, $op) = @_;
    return $op->{known} ? $self->_is_known(@$op{qw(topic partition)}) : $self->_has_leader(@$op{qw(topic partition)});
}

1;

__END__

=head1 NAME

EV::Kafka::Pending - operations that wait for metadata, a leader or a connection

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. What cannot be done yet
is kept in C<< $kafka->{cfg}{pending_ops} >>, a list of hashes, in the order in
which it was asked for, and runs or fails exactly once.

=head1 SEE ALSO

L<EV::Kafka>

=cut
