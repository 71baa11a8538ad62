package EV::Kafka::Consumer::Ends;
use strict;
use warnings;

use List::Util ();

# Where the partitions end that are consumed, as far as Fetch answers have told: for on_eof, and for
# statistics. Without either nothing is looked at. What is known of a partition lies in its cursor.
#   counts   statistics are wanted

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(outbox options offsets assigned)), counts => 0 }, $class;
}

sub count { $_[0]{counts} = 1; return }

sub is_wanted { return $_[0]{counts} || $_[0]{options}{on_eof} }

# What an answer has said of a part, which is at its end if it stands there.
sub learns {
    my ($self, $part, $high_watermark, $last_stable_offset) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    $cursor->ends_at($high_watermark, $last_stable_offset);
    return $self->look($assigned, $cursor);
}

# Of what a broker has just been told, it has said nothing: within a session the end is what it was.
sub unchanged {
    my ($self, $part) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return if $cursor->{generation} != $part->{generation} || $assigned->{offset} != $part->{from};
    return $self->look($assigned, $cursor);
}

# The position may have reached the end. Gives whether that is news for the program.
sub look {
    my ($self, $assigned, $cursor) = @_;
    my $on_eof = $self->{options}{on_eof} or return 0;
    my $end = $cursor->end($self->{offsets}->isolation) // return 0;
    return 0 unless $assigned->{offset} == $end && $self->{assigned}->is_current($assigned, $cursor) && $cursor->reaches($end);
    $self->{outbox}->call_as(on_eof => $on_eof, @$assigned{qw(topic partition)}, $end);
    return 1;
}

# By partition: where it stands, and what is known of its end.
sub stats {
    my ($self) = @_;
    my $isolation = $self->{offsets}->isolation;
    my @stats;
    for my $assigned ($self->{assigned}->all) {
        my $cursor     = $self->{assigned}->cursor($assigned);
        my ($position) = $self->{assigned}->position_of($assigned);
        my $end        = $cursor->end($isolation);
        push @stats, {
            topic     => $assigned->{topic},
            partition => $assigned->{partition},
            position  => $position >= 0 ? $position : undef,
            $cursor->watermarks,
            lag       => defined $end && $position >= 0 ? List::Util::max($end - $position, 0) : undef,
            paused    => $cursor->is_stopped ? 1 : 0,
        };
    }
    return @stats;
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Ends - where the partitions end that an EV::Kafka client consumes

=head1 DESCRIPTION

For L<EV::Kafka::Consumer>, not for use by itself. It keeps what Fetch answers tell of the ends of partitions, and
calls C<on_eof> each time that a position has reached one.

=head1 METHODS

=head2 new(%about), count, is_wanted

Statistics are wanted; whether they are, or C<on_eof> is.

=head2 learns($part, $high_watermark, $last_stable_offset), unchanged($part)

What an answer says of a partition, and that it says nothing of one.

=head2 look($assigned, $cursor)

Tells the program if the position is at the end, and gives whether it does.

=head2 stats

A hash for each assigned partition.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Consumer>

=cut
