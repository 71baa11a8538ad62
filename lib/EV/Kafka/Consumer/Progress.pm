package EV::Kafka::Consumer::Progress;
use strict;
use warnings;

# Which of the delivered records the program is not done with, where it says so itself, in whatever order: a
# position that is committed is below all of them. What is in progress of a partition goes with its cursor.
#   assigned   whose cursors there are
#   most       records of a partition that may be in progress; undef while delivered is as good as done

sub new {
    my ($class, %about) = @_;
    return bless { assigned => $about{assigned}, most => undef }, $class;
}

# From now on the program says what is done; undef when it does not any more.
sub begins { my ($self, $most) = @_; $self->{most} = $most; return }

sub is_wanted { return defined $_[0]{most} }

# Where delivering writes down what is begun.
sub of {
    my ($self, $cursor) = @_;
    return defined $self->{most} ? $cursor->in_progress($self->{most}) : undef;
}

# Whether the record was in progress; and the cursor, if it was the one that more had to wait for.
sub done {
    my ($self, $topic, $partition, $offset) = @_;
    my $cursor = $self->{assigned}->cursor_of("$topic:$partition");
    return 0 unless $cursor && $cursor->done($offset);
    return $cursor->may_begin ? (1, $cursor) : 1;
}

# Up to where everything is done, of positions up to which it was delivered.
sub limit {
    my ($self, @positions) = @_;
    return defined $self->{most} ? map { $self->_limited($_) } @positions : @positions;
}

sub _limited {
    my ($self, $position) = @_;
    my $cursor = $self->{assigned}->cursor_of("$position->{topic}:$position->{partition}") or return $position;
    my ($offset, $epoch) = $cursor->first_in_progress;
    return $position if !defined $offset || $offset >= $position->{offset};
    return { %$position, offset => $offset, leader_epoch => $epoch };
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Progress - what an EV::Kafka client's program is not done with

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. With C<< auto_commit => 'done' >> the program says of each
record when it is done with it. Then positions are committed up to the first record that it is still at: gaps
in the offsets, which compaction and transactions leave, do not count, since only what was delivered is waited for.

=head1 METHODS

=head2 new(assigned => $assigned)

Delivered is as good as done.

=head2 begins($most), is_wanted

The program says what is done, and so many records of a partition may be in progress; or, with undef, it does not
any more.

=head2 of($cursor)

The native list of what is in progress of a partition; undef when the program does not say what is done.

=head2 done($topic, $partition, $offset)

Whether the record was in progress, which is over. The second value is the partition's cursor, when nothing more could
be begun before.

=head2 limit(@positions)

Positions that may be committed, of those up to which was delivered.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Consumer>

=cut
