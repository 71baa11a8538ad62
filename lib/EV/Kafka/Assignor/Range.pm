package EV::Kafka::Assignor::Range;
use strict;
use warnings;

use EV::Kafka::Assignor::Racks;

# Each topic by itself: neighbouring partitions to the same member, so that the same numbers of topics with equally many
# partitions and the same subscribers come together (co-partitioning). Where racks count, what is near to a
# member is given to it first, and so is the same number of all such topics (KIP-881).
# The sharing of a topic is { topic, ids (in their order), left => [partition], has => { id => count }, least, more }, where
# so many members have one more than the least.

sub assign {
    my ($subscribers, $members, $counts, $racks) = @_;
    my @sharings = map { _sharing($_, $subscribers->{$_}, $counts->{$_}) } grep { $counts->{$_} } sort keys %$subscribers;
    my %near     = map { $_->{topic} => EV::Kafka::Assignor::Racks->new({ map { $_ => $members->{$_} } @{ $_->{ids} } }, $racks || {}, $_->{topic}) } @sharings;
    my %assigned;
    if (grep { $_->is_used } values %near) {
        _assign_near(\%assigned, \%near, @$_) for _copartitioned(grep { $near{ $_->{topic} }->has_racks } @sharings);
    }
    _assign_ranges(\%assigned, $_) for @sharings;
    return \%assigned;
}

sub _sharing {
    my ($topic, $ids, $count) = @_;
    return {
        topic => $topic, ids => $ids, count => $count, left => [0 .. $count - 1], has => {},
        least => int($count / @$ids), more => $count % @$ids,
    };
}

# Lists of topics with the same members and equally many partitions.
sub _copartitioned {
    my (@sharings) = @_;
    my %alike;
    push @{ $alike{ join ' ', $_->{count}, @{ $_->{ids} } } }, $_ for @sharings;
    return map { $alike{$_} } sort keys %alike;
}

sub _assign_near {
    my ($assigned, $near, @sharings) = @_;
    my ($first) = @sharings;
    if (@sharings == 1) {
        my $racks = $near->{ $first->{topic} };
        return $racks->is_used ? _assign_ranges($assigned, $first, sub { $racks->is_near($_[0], $first->{topic}, $_[1]) }) : undef;
    }
    for my $partition (0 .. $first->{count} - 1) {
        my ($id) = grep { my $id = $_; !grep { !_may_have($_, $id) || !$near->{ $_->{topic} }->is_near($id, $_->{topic}, $partition) } @sharings }
            @{ $first->{ids} };
        next unless defined $id;
        _give($assigned, $_, $id, _take_out($_, 1, sub { $_[0] == $partition })) for @sharings;
    }
    return;
}

# How many more.
sub _may_have {
    my ($sharing, $id) = @_;
    my $count = $sharing->{least} + ($sharing->{more} > 0 ? 1 : 0) - ($sharing->{has}{$id} || 0);
    return $count > 0 ? $count : 0;
}

sub _assign_ranges {
    my ($assigned, $sharing, $may) = @_;
    for my $id (@{ $sharing->{ids} }) {
        my $most = _may_have($sharing, $id) or next;
        my @some = $may ? _take_out($sharing, $most, sub { $may->($id, $_[0]) }) : splice @{ $sharing->{left} }, 0, $most;
        _give($assigned, $sharing, $id, @some);
    }
    return;
}

sub _give {
    my ($assigned, $sharing, $id, @partitions) = @_;
    push @{ $assigned->{$id} }, map { [$sharing->{topic}, $_] } @partitions;
    my $had = $sharing->{has}{$id} || 0;
    my $has = $sharing->{has}{$id} = $had + @partitions;
    $sharing->{more}-- if $has > $sharing->{least} && $had <= $sharing->{least};
    return;
}

# At most so many of those that are left.
sub _take_out {
    my ($sharing, $most, $may) = @_;
    my (@some, @others);
    push @{ @some < $most && $may->($_) ? \@some : \@others }, $_ for @{ $sharing->{left} };
    $sharing->{left} = \@others;
    return @some;
}

1;

__END__

=head1 NAME

EV::Kafka::Assignor::Range - shares each topic out by itself

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. The assignor C<range> of L<EV::Kafka::Assignor>, as Java's
has it.

=head1 FUNCTIONS

=head2 assign(\%subscribers, \%members, \%counts, [\%racks])

With the subscribers of each topic in their order.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Assignor>

=cut
