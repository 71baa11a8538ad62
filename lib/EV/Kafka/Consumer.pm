package EV::Kafka::Consumer;
use strict;
use warnings;

use Carp ();

# {assignments} is what users see: { topic, partition, offset }. What the client
# needs to know of a partition beside it is its cursor, in {cursors}:
#   generation   counts the seeks; an answer to a question from before a seek
#                must not move the position
#   resolving    a lookup of its position is under way
#   waiters      rounds of poll that wait for that lookup
#   not_before   no fetch until then, after an error
#   failures     errors in a row
#   reported     what on_error has been told
#   max_bytes    what the next fetch asks for when a batch did not fit
# A new assignment makes new cursors, which is how late answers are told apart.

sub assign {
    my ($self, $partitions) = @_;
    $self->_check_open;
    Carp::croak('assign: expected arrayref of partitions') unless ref $partitions eq 'ARRAY';
    my (%seen, @assigned);
    for my $given (reverse @$partitions) {
        Carp::croak('assign: partition must be a hashref') unless ref $given eq 'HASH';
        Carp::croak('assign: missing topic') unless defined $given->{topic} && length $given->{topic};
        my $assigned = { %$given, map { $_ => _integer("assign: $_", $given->{$_} // 0) } qw(partition offset) };
        unshift @assigned, $assigned unless $seen{"$assigned->{topic}:$assigned->{partition}"}++;
    }
    return $self->_set_assignment(\@assigned);
}

sub _integer {
    my ($what, $value) = @_;
    Carp::croak("$what must be an integer, not '$value'") unless $value =~ /\A-?[0-9]+\z/;
    return $value + 0;
}

sub _set_assignment {
    my ($self, $assigned) = @_;
    my $cfg   = $self->{cfg};
    my @rounds = map { @{ $_->{waiters} } } values %{ $cfg->{cursors} };
    $cfg->{assignments} = $assigned;
    $cfg->{cursors}     = {};
    $self->_end_part($_) for @rounds;
    return;
}

sub _assigned {
    my ($self, $topic, $partition) = @_;
    my ($found) = grep { $_->{topic} eq $topic && $_->{partition} == $partition } @{ $self->{cfg}{assignments} };
    return $found;
}

sub _cursor {
    my ($self, $assigned) = @_;
    return $self->{cfg}{cursors}{"$assigned->{topic}:$assigned->{partition}"}
        ||= { generation => 0, waiters => [], not_before => 0, failures => 0, reported => {} };
}

# Whether the cursor still stands for its partition.
sub _is_current {
    my ($self, $assigned, $cursor) = @_;
    my $current = $self->{cfg}{cursors}{"$assigned->{topic}:$assigned->{partition}"};
    return $current && $current == $cursor;
}

sub seek {
    my ($self, $topic, $partition, $offset, $cb) = @_;
    $self->_check_open;
    Carp::croak('seek: topic, partition and offset required') if grep { !defined } $topic, $partition, $offset;
    _integer('seek: partition', $partition);
    Carp::croak("seek: offset must be an offset, -1 (latest) or -2 (earliest), not '$offset'")
        if _integer('seek: offset', $offset) < -2;

    my $assigned = $self->_assigned($topic, $partition)
        or return $self->_seek_ended($cb, undef, 'not assigned');
    if ($offset >= 0) {
        $self->_move($assigned, $offset);
        return $self->_seek_ended($cb, $assigned);
    }
    return $self->_seek_ended($cb, undef, 'no connection to leader') unless $self->{cfg}{started};
    return $self->_when_connected({
        cb  => $cb,
        run => sub { my ($self, $op) = @_; $self->_seek_end($topic, $partition, $offset, $op->{cb}) },
    });
}

sub _seek_end {
    my ($self, $topic, $partition, $offset, $cb) = @_;
    my $assigned = $self->_assigned($topic, $partition)
        or return $self->_seek_ended($cb, undef, 'not assigned');
    return $self->_resolve($assigned, $offset, sub {
        my ($self, $error) = @_;
        $self->_seek_ended($cb, $assigned, $error);
    });
}

sub _seek_ended {
    my ($self, $cb, $assigned, $error) = @_;
    if (defined $error) {
        return $cb ? $self->_call($cb, undef, $error) : $self->_report("seek: $error");
    }
    return $self->_call($cb, { map { $_ => $assigned->{$_} } qw(topic partition offset) });
}

sub _move {
    my ($self, $assigned, $offset) = @_;
    my $cursor = $self->_cursor($assigned);
    $assigned->{offset} = $offset;
    $cursor->{generation}++;
    @$cursor{qw(failures not_before)} = (0, 0);
    delete $cursor->{max_bytes};
    return $self->_resolved($assigned, $cursor);
}

# Looks up the partition's earliest or latest offset and moves there, unless a
# seek overtakes it; then calls $done->($client, $error).
sub _resolve {
    my ($self, $assigned, $timestamp, $done) = @_;
    my $cursor     = $self->_cursor($assigned);
    my $generation = ++$cursor->{generation};
    $cursor->{resolving} = 1;
    return $self->_lookup_offset(@$assigned{qw(topic partition)}, $timestamp, sub {
        my ($self, $offset, $error) = @_;
        if ($self->_is_current($assigned, $cursor) && $cursor->{generation} == $generation) {
            if (defined $error) { $self->_resolved($assigned, $cursor, $error) }
            else                { $self->_move($assigned, $offset) }
        }
        $done->($self, $error);
    });
}

# What waited for the position goes on.
sub _resolved {
    my ($self, $assigned, $cursor, $error) = @_;
    $cursor->{resolving} = 0;
    my @rounds = splice @{ $cursor->{waiters} };
    my $leader = $self->_leader(@$assigned{qw(topic partition)});
    for my $round (@rounds) {
        $self->_fetch_from($leader, $round) if !defined $error && defined $leader && !$self->{cfg}{closed};
        $self->_end_part($round, $error);
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer - an EV::Kafka client's assignment and its positions

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<assign>, C<seek>, and
the position of every assigned partition, which only the answer to the question
that was asked last may change.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Fetcher>

=cut
