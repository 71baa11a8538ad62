package EV::Kafka::Cluster::Features;
use strict;
use warnings;

# What the brokers of a cluster have agreed on (KIP-584), as they tell it when a connection is made:
#   epoch   of what is known, undef while nothing is; -1 for what a broker tells that knows none
#   levels  name => level
# Brokers hear of a change one after the other: of what they tell the highest epoch is the newest.

sub new { return bless { epoch => undef, levels => {} }, $_[0] }

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

=head2 learn(\%features)

What L<EV::Kafka::Conn/features> gives for a connection that was made just now.

=head2 level($name)

The level of a feature, 0 for none, undef when no broker has told any.

=head2 forget

The cluster is another one.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
