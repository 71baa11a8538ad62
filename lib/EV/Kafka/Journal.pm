package EV::Kafka::Journal;
use strict;
use warnings;

use POSIX       ();
use Time::HiRes ();

# What a client writes down of its doings, for who looks inside: lines on STDERR of the rooms that EV_KAFKA_DEBUG names.
#   rooms   room => 1
#   name    the client's id

# What there is to tell of: errors and notices as the program hears of them; connections; brokers, leaders and
# coordinators; fetching; groups; producing; transactions.
my @ROOMS = qw(client conn cluster fetch group producer txn);

# Undef when it names none.
sub new {
    my ($class, $names, $client_id) = @_;
    my @named = grep { length } split /[\s,]+/, $names // '';
    my %known = map { $_ => 1 } @ROOMS, 'all';
    if (my @unknown = grep { !$known{$_} } @named) {
        warn "EV::Kafka: EV_KAFKA_DEBUG names @unknown; there are all, @ROOMS[0 .. $#ROOMS - 1] and $ROOMS[-1]\n";
    }
    my %rooms = map { $_ => 1 } grep { $_ ne 'all' && $known{$_} } map { $_ eq 'all' ? @ROOMS : $_ } @named;
    return %rooms ? bless({ rooms => \%rooms, name => $client_id }, $class) : undef;
}

sub has { return $_[0]{rooms}{ $_[1] } }

sub write {
    my ($self, $room, $level, $text) = @_;
    my ($seconds, $micros) = Time::HiRes::gettimeofday();
    my $time = POSIX::strftime('%H:%M:%S', localtime $seconds);
    local ($\, $,);
    printf STDERR "%s.%03d %s %s %s: %s\n", $time, $micros / 1000, $self->{name}, $room, $level, $text;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Journal - lines on STDERR of what an EV::Kafka client does

=head1 DESCRIPTION

For L<EV::Kafka::Outbox>, not for use by itself. What there is to see says L<EV::Kafka/LOGS>.

=head1 METHODS

=head2 new($names, $client_id)

Of the rooms that are named, or undef when there are none.

=head2 has($room), write($room, $level, $text)

Whether the room was named; one line.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Outbox>

=cut
