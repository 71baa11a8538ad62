package EV::Kafka::Cluster::Features;
use strict;
use warnings;

# What the brokers of a cluster have agreed on (KIP-584), as they tell it when a connection is made:
#   epoch   of what is known, undef while nothing is; -1 for what a broker tells that knows none
#   levels  name => level
#   is_checking   the broker that was met last wants to know for whom it is taken (KIP-1242)
# Brokers hear of a change one after the other: of what they tell the highest epoch is the newest.

use constant { API_VERSIONS => 18, CHECKS_IDENTITY => 5 };

sub new { return bless { epoch => undef, levels => {}, is_checking => 0 }, $_[0] }

# A connection was made.
sub met {
    my ($self, $conn) = @_;
    $self->{is_checking} = $conn->_highest_version(API_VERSIONS) >= CHECKS_IDENTITY ? 1 : 0;
    return $self->learn($conn->features);
}

# To ask an older one for that costs a turn more.
sub is_checking { return $_[0]{is_checking} }

# What a connection has heard, which may be nothing.
sub learn {
    my ($self, $told) = @_;
    return if !$told || defined $self->{epoch} && $told->{epoch} < $self->{epoch};
    @$self{qw(epoch levels)} = @$told{qw(epoch finalized)};
    return;
}

# 0 for a feature that is not agreed on, undef while no broker has told any.
sub level {
    my ($self, $name) = @_;
    return defined $self->{epoch} ? $self->{levels}{$name} // 0 : undef;
}

sub forget { my ($self) = @_; @$self{qw(epoch levels)} = (undef, {}); return }

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Features - what the brokers of a cluster have agreed on

=head1 DESCRIPTION

For L<EV::Kafka::Cluster>, not for use by itself.

=head1 METHODS

=head2 new

Nothing is known.

=head2 met($conn), is_checking

A connection was made; whether its broker wants to know for whom it is taken (KIP-1242).

=head2 learn(\%features)

What L<EV::Kafka::Conn/features> gives for a connection that was made just now.

=head2 level($name)

The level of a feature, 0 for none, undef when no broker has told any.

=head2 forget

The cluster is another one.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
