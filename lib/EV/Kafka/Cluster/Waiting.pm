package EV::Kafka::Cluster::Waiting;
use strict;
use warnings;

use EV::Kafka::Error;

# Operations that wait for something the client does not have yet: for the first
# metadata (neither key), for a topic's leader (topic, perhaps partition), or
# for a connection to a broker (node_id, and the purpose of the connection).
# With {known} it is enough that the topic, or the partition, is known to be there.
#
# An operation is { run, cb?, label?, topic?, partition?, known?, purpose?, node_id?, is_owners? }.
# One of an owner's is run as $run->($op, $conn), $conn being the connection that it has waited
# for; one that a program has put here as $run->($client, $op), which the client does itself.
# Those that wait are published as {pending_ops}, in the order in which they were asked for.

# tells: program_op($op).
sub new {
    my ($class, %about) = @_;
    my $self = bless { map({ $_ => $about{$_} } qw(topics outbox published tells)) }, $class;
    $self->{published}{pending_ops} = [];
    return $self;
}

sub add {
    my ($self, $op) = @_;
    push @{ $self->{published}{pending_ops} }, $op;
    return;
}

# Runs it now. What dies in it fails it.
sub run {
    my ($self, $op, $conn) = @_;
    # One before it, which a program has put here, may have closed the client.
    return $self->fail(EV::Kafka::Error->closed, $op) if $self->{outbox}->has_ended;
    local $@;
    return if eval { $op->{is_owners} ? $op->{run}->($op, $conn) : $self->{tells}->(program_op => $op); 1 };
    return $self->fail(EV::Kafka::Error::reason($@), $op);
}

# Each operation's own callback hears of the failure; on_error hears of it once
# for all those that have none.
sub fail {
    my ($self, $error, @ops) = @_;
    my $outbox  = $self->{outbox};
    $error = EV::Kafka::Error->from($error);
    my $unheard = 0;
    for my $op (@ops) {
        if   ($op->{cb}) { $outbox->call_as($op->{label} || 'EV::Kafka: callback', $op->{cb}, undef, $error) }
        else             { $unheard = 1 }
    }
    $outbox->report($error) if $unheard;
    return;
}

# --- what has waited for long enough ------------------------------------------------

sub run_connected {
    my ($self) = @_;
    $self->run($_) for $self->_take(sub { !defined $_[0]{node_id} && !defined $_[0]{topic} });
    return;
}

sub run_on_topics {
    my ($self) = @_;
    $self->run($_) for $self->_take(sub { _is_on_topic($_[0]) && $self->has_what_it_needs($_[0]) });
    return;
}

# $conn_for->($purpose) gives a connection to the broker that is ready. Gives the purposes of those
# that wait on, because what was run before has used theirs up.
sub run_on_broker {
    my ($self, $node_id, $conn_for) = @_;
    my @ops = $self->_take(sub {
        my ($op) = @_;
        return _is_on_broker($op, $node_id) && (!$op->{purpose} || $conn_for->($op->{purpose}));
    });
    my @left;
    for my $op (@ops) {
        my $conn = $op->{purpose} ? $conn_for->($op->{purpose}) : undef;
        if   ($op->{purpose} && !$conn) { push @left, $op }
        else                            { $self->run($op, $conn) }
    }
    unshift @{ $self->{published}{pending_ops} }, @left;
    return map { $_->{purpose} } @left;
}

sub fail_on_broker {
    my ($self, $purpose, $node_id, $error) = @_;
    return $self->fail($error, $self->_take(sub {
        return _is_on_broker($_[0], $node_id) && ($_[0]{purpose} || '') eq $purpose;
    }));
}

# Or, with a partition, only what waits for that.
sub fail_on_topic {
    my ($self, $topic, $error, $partition) = @_;
    return $self->fail($error, $self->_take(sub {
        my ($op) = @_;
        return $self->waits_for_topic($op, $topic) && (!defined $partition || ($op->{partition} // -1) == $partition);
    }));
}

sub count { return scalar @{ $_[0]{published}{pending_ops} } }

# --- what is asked about them -------------------------------------------------------

sub is_for_broker {
    my ($self, $node_id) = @_;
    return scalar grep { _is_on_broker($_, $node_id) } @{ $self->{published}{pending_ops} };
}

# By name: the topics that operations wait for.
sub topics_waited_for {
    my ($self) = @_;
    return { map { $_->{topic} => 1 } grep { _is_on_topic($_) && $self->waits_for_topic($_, $_->{topic}) }
        @{ $self->{published}{pending_ops} } };
}

# Those of its partitions that they wait for.
sub partitions_waited_for {
    my ($self, $topic) = @_;
    my %partitions = map { $_->{partition} => 1 }
        grep { defined $_->{partition} && $self->waits_for_topic($_, $topic) } @{ $self->{published}{pending_ops} };
    return sort { $a <=> $b } keys %partitions;
}

sub waits_for_topic {
    my ($self, $op, $topic) = @_;
    return _is_on_topic($op) && $op->{topic} eq $topic && !$self->has_what_it_needs($op);
}

sub has_what_it_needs {
    my ($self, $op) = @_;
    my @wanted = @$op{qw(topic partition)};
    return $op->{known} ? $self->{topics}->is_known(@wanted) : $self->{topics}->has_leader(@wanted);
}

sub _is_on_topic  { return !defined $_[0]{node_id} && defined $_[0]{topic} }
sub _is_on_broker { return defined $_[0]{node_id} && $_[0]{node_id} == $_[1] }

sub _take {
    my ($self, $is_wanted) = @_;
    my $ops = $self->{published}{pending_ops};
    my (@taken, @kept);
    push @{ $is_wanted->($_) ? \@taken : \@kept }, $_ for @$ops;
    @$ops = @kept;
    return @taken;
}

# --- the end ------------------------------------------------------------------------

sub close {
    my ($self, $error) = @_;
    return $self->fail($error, splice @{ $self->{published}{pending_ops} });
}

# Nobody hears of what has waited.
sub abandon { $_[0]{published}{pending_ops} = []; return }

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Waiting - operations that wait for metadata, a leader or a connection

=head1 DESCRIPTION

For L<EV::Kafka::Cluster>, not for use by itself. What cannot be done yet is kept in
C<< $kafka->{cfg}{pending_ops} >>, a list of hashes, in the order in which it was asked for, and
runs or fails exactly once.

=head1 METHODS

=head2 new(%about)

Of an L<EV::Kafka::Outbox>, L<EV::Kafka::Cluster::Topics>, and the hash where C<pending_ops> lies.

=head2 add($op), run($op, [$conn]), fail($error, @ops)

Puts an operation in; runs or fails it at once.

=head2 run_connected, run_on_topics, run_on_broker($node_id, $conn_for)

Run what now has what it waits for: metadata, leaders, connections.

=head2 fail_on_broker($purpose, $node_id, $error), fail_on_topic($topic, $error, [$partition])

Fail what will not get what it waits for.

=head2 count, is_for_broker($node_id), topics_waited_for, partitions_waited_for($topic), waits_for_topic($op, $topic), has_what_it_needs($op)

What is waited for.

=head2 close($error), abandon

What waits fails, or is dropped.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
