package EV::Kafka::Assignor::Racks;
use strict;
use warnings;

# Which members are near to which partitions (KIP-881). Its state:
#   of_member     member's id => its rack
#   of_partition  "topic:partition" => { rack => 1 }, where it has replicas
#   is_used       whether anything can be gained by looking at them: partitions that have a replica in every rack are near
#                 to everybody, and others may be near to nobody

# \%members: { rack }; \%racks: topic => [{ rack => 1 } by partition]; @topics: those that are looked at.
sub new {
    my ($class, $members, $racks, @topics) = @_;
    my %of_member = map { length($members->{$_}{rack} // '') ? ($_ => $members->{$_}{rack}) : () } keys %$members;
    my $self = bless { of_member => \%of_member, of_partition => {}, is_used => 0 }, $class;
    return $self unless %of_member;
    for my $topic (@topics) {
        my $of = $racks->{$topic} || [];
        $self->{of_partition}{"$topic:$_"} = $of->[$_] || {} for 0 .. $#$of;
    }
    $self->{is_used} = $self->_is_worth_it;
    return $self;
}

sub _is_worth_it {
    my ($self) = @_;
    my %all = map { %$_ } values %{ $self->{of_partition} };
    return 0 unless grep { $all{$_} } values %{ $self->{of_member} };
    return (grep { keys %$_ < keys %all } values %{ $self->{of_partition} }) ? 1 : 0;
}

sub is_used { return $_[0]{is_used} }

sub has_racks { return %{ $_[0]{of_member} } ? 1 : 0 }

# Who has no rack is near to everything.
sub is_near {
    my ($self, $member, $topic, $partition) = @_;
    my $rack = $self->{of_member}{$member} // return 1;
    return $self->{of_partition}{"$topic:$partition"}{$rack} ? 1 : 0;
}

# Whether it has a rack, and that partition is there.
sub is_at_home {
    my ($self, $member, $topic, $partition) = @_;
    return defined $self->{of_member}{$member} && $self->is_near($member, $topic, $partition);
}

1;

__END__

=head1 NAME

EV::Kafka::Assignor::Racks - which members of a group are near to which partitions

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself.

=head1 METHODS

=head2 new(\%members, \%racks, @topics)

Of members with their C<rack>, and of the racks in which partitions have replicas, as L<EV::Kafka::Assignor/"assign($name, \%members, \%counts, [\%racks])"> gets
them.

=head2 is_used, has_racks

Whether anything can be gained by looking at racks; whether any member has one.

=head2 is_near($id, $topic, $partition), is_at_home($id, $topic, $partition)

Whether a member has none, or one in which the partition has a replica; and whether it has such a one.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Assignor>

=cut
