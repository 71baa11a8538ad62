package EV::Kafka::Group::CommitArguments;
use strict;
use warnings;

use Carp         ();
use overload     ();
use Scalar::Util qw(reftype);

use EV::Kafka::Partitions;

# ([$cb]), or (\@offsets, [$cb]): gives the offsets, or undef, and the callback.
sub parse {
    my ($class, @arguments) = @_;
    my $given = _is_callback($arguments[0]) && @arguments < 2 ? undef : shift @arguments;
    my $cb    = shift @arguments;
    Carp::croak('commit: expected arrayref of offsets or a callback') if defined $given && ref $given ne 'ARRAY';
    Carp::croak('commit: the callback must be a code reference') unless _is_callback($cb);
    Carp::croak('commit: too many arguments') if @arguments;
    return ($given && [map { _offset_to_commit($_) } @$given], $cb);
}

sub _is_callback { return !defined $_[0] || ref $_[0] && reftype($_[0]) eq 'CODE' }

sub _offset_to_commit {
    my ($given) = @_;
    Carp::croak('commit: offset must be a hashref') unless ref $given eq 'HASH';
    my $topic = $given->{topic};
    Carp::croak('commit: missing topic') unless defined $topic && length $topic;
    Carp::croak('commit: topic must be a string') unless _is_text($topic);
    my %number;
    for my $name (qw(partition offset)) {
        Carp::croak("commit: missing $name") unless defined $given->{$name};
        $number{$name} = EV::Kafka::Partitions::integer("commit: $name", $given->{$name});
        Carp::croak("commit: $name must not be negative") if $number{$name} < 0;
    }
    my %more = map { $_ => $given->{$_} } grep { defined $given->{$_} } qw(metadata leader_epoch);
    Carp::croak('commit: metadata must be a string') unless _is_text($more{metadata} // '');
    EV::Kafka::Partitions::integer('commit: leader_epoch', $more{leader_epoch}) if defined $more{leader_epoch};
    return { topic => "$topic", %number, %more };
}

sub _is_text { return !ref $_[0] || overload::Method($_[0], '""') }

1;

__END__

=head1 NAME

EV::Kafka::Group::CommitArguments - checks what commit was given

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself.

=head1 METHODS

=head2 parse(@arguments)

Gives the offsets that L<EV::Kafka/"commit([\@offsets], [$cb])"> was given, or undef, and the callback. It croaks
on what makes no sense, and names it.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
