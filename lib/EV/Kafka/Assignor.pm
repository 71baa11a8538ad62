package EV::Kafka::Assignor;
use strict;
use warnings;

use EV::Kafka::Assignor::Range;
use EV::Kafka::Assignor::Sticky;

# What a leader can do with a group's partitions, by the names that Kafka's
# clients agree on. A cooperative one expects members to keep what they have
# during a rebalance (KIP-429).
my %ASSIGNOR = (
    'sticky'             => { assign => \&EV::Kafka::Assignor::Sticky::assign },
    'range'              => { assign => \&_range },
    'roundrobin'         => { assign => \&_roundrobin },
    'cooperative-sticky' => { assign => \&EV::Kafka::Assignor::Sticky::assign_cooperatively, cooperative => 1 },
);

sub names { my @names = sort keys %ASSIGNOR; return @names }

sub is_known { return exists $ASSIGNOR{ $_[1] } }

sub is_cooperative { return $ASSIGNOR{ $_[1] }{cooperative} ? 1 : 0 }

sub assign {
    my ($class, $name, $members, $counts, $racks) = @_;
    my $assigned = $ASSIGNOR{$name}{assign}->($members, $counts, $racks || {});
    return { map { $_ => [EV::Kafka::Assignor::Sticky::sorted(@{ $assigned->{$_} || [] })] } keys %$members };
}

# As Java's assignors have it: static members by their instance ids, before the
# others by their member ids. A static member that restarts gets its old place.
sub _in_order {
    my ($members, @ids) = @_;
    return sort {
        my ($one, $other) = map { $members->{$_}{instance} } $a, $b;
        defined $one && defined $other ? $one cmp $other : defined $other <=> defined $one || $a cmp $b;
    } @ids;
}

sub _subscribers {
    my ($members) = @_;
    my %subscribers;
    for my $id (_in_order($members, keys %$members)) {
        my %seen;
        push @{ $subscribers{$_} }, $id for grep { !$seen{$_}++ } @{ $members->{$id}{topics} };
    }
    return \%subscribers;
}

sub _range {
    my ($members, $counts, $racks) = @_;
    return EV::Kafka::Assignor::Range::assign(_subscribers($members), $members, $counts, $racks);
}

# All partitions of all topics, dealt out in turn to those who want them.
sub _roundrobin {
    my ($members, $counts) = @_;
    my @ids = _in_order($members, keys %$members);
    my %wants = map { my $id = $_; $id => { map { $_ => 1 } @{ $members->{$id}{topics} } } } @ids;
    my (%assigned, $turn);
    for my $topic (sort keys %{ _subscribers($members) }) {
        for my $partition (0 .. ($counts->{$topic} || 0) - 1) {
            $turn++ until $wants{ $ids[($turn // 0) % @ids] }{$topic};
            push @{ $assigned{ $ids[$turn++ % @ids] } }, [$topic, $partition];
        }
    }
    return \%assigned;
}

1;

__END__

=head1 NAME

EV::Kafka::Assignor - how the leader of a consumer group shares out the partitions

=head1 SYNOPSIS

    my $assigned = EV::Kafka::Assignor->assign('range',
        { m1 => { topics => ['logs'] }, m2 => { topics => ['logs'] } },
        { logs => 3 },
    );
    # { m1 => [['logs', 0], ['logs', 1]], m2 => [['logs', 2]] }

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. Pure functions: what goes
in are the members by id, each C<{ topics, owned, generation, instance, rack }>, the
number of partitions of each topic, and the racks in which these have replicas; what comes out is a sorted list of
C<[topic, partition]> for each member.

=head1 METHODS

=head2 names

The names of all assignors.

=head2 is_known($name), is_cooperative($name)

Whether there is an assignor of that name, and whether its members keep what they have
during a rebalance.

=head2 assign($name, \%members, \%counts, [\%racks])

Shares out the partitions. What the counts do not name does not exist. The racks, C<< { $topic => [{ $rack => 1 }] } >> by
partition, count where members have a C<rack> (KIP-881), but for C<roundrobin>.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Assignor::Sticky>

=cut
