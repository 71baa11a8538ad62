package EV::Kafka::ShareGroup::Hold;
use strict;
use warnings;

use Carp ();

# By what records are settled: they know it, and it knows no more of the client than it needs.
#   session    the EV::Kafka::ShareSession that has acquired them
#   settled, refused   whom to tell
#   renews     brokers can renew locks
#   ended      why nothing can be settled any more
#   process    whose it is

# What EV::Kafka::ShareSession's settle says.
my @WHY = (undef, 'it was settled before', 'its acquisition lock has run out', 'its acquisition lock is lost');

use constant RENEW => 4;

sub new {
    my ($class, $session, %tells) = @_;
    return bless { session => $session, %tells, renews => 1, process => EV::Kafka::_process() }, $class;
}

sub may_renew {
    my ($self, $renews) = @_;
    $self->{renews} = $renews;
    return;
}

sub ends {
    my ($self, $why) = @_;
    $self->{ended} //= $why;
    return;
}

# True if the broker will hear of it.
sub settle {
    my ($self, $record, $kind) = @_;
    my $why = $self->{process} != EV::Kafka::_process() ? 'it belongs to another process' : $self->{ended};
    Carp::croak('renew needs brokers of Kafka 4.2 or later') if !defined $why && $kind == RENEW && !$self->{renews};
    $why //= $WHY[ $self->{session}->settle(@$record[0, 1, 2, 7], $kind) ];
    if (defined $why) {
        $self->{refused}->($record, $why);
        return 0;
    }
    $self->{settled}->();
    return 1;
}

1;

__END__

=head1 NAME

EV::Kafka::ShareGroup::Hold - by what records of a share group are settled

=head1 DESCRIPTION

A part of L<EV::Kafka::ShareGroup>, not for use by itself.

=head1 METHODS

=head2 new($session, settled => $code, refused => $code)

For the records of a session.

=head2 settle($record, $kind)

Says what becomes of a record. True if the broker will hear of it.

=head2 may_renew($bool), ends($why)

Whether the broker can renew locks; nothing can be settled any more.

=head1 SEE ALSO

L<EV::Kafka::ShareGroup>

=cut
