package EV::Kafka::Group::CommitArguments;
use strict;
use warnings;

use Carp         ();
use overload     ();
use Scalar::Util qw(reftype);

use EV::Kafka::Partitions;

# ([\@offsets], [\%options], [$cb]) of commit: gives the offsets, or undef, the group's id, if it was
# named, and the callback.
sub offsets {
    my ($class, @arguments) = @_;
    my ($given, $group_id, $cb) = _parse(commit => 'offsets', @arguments);
    return ($given && [map { _offset_to_commit($_) } @$given], $group_id, $cb);
}

# The same of committed, whose partitions are [topic, partition], ….
sub partitions {
    my ($class, @arguments) = @_;
    my ($given, $group_id, $cb) = _parse(committed => 'partitions', @arguments);
    return ($given && [map { [@{ _partition(committed => $_) }{qw(topic partition)}] } @$given], $group_id, $cb);
}

sub _parse {
    my ($method, $what, @arguments) = @_;
    my $given   = ref $arguments[0] eq 'ARRAY' ? shift @arguments : undef;
    my $is_options = ref $arguments[0] eq 'HASH' && ($given || exists $arguments[0]{group_id});
    my $options    = $is_options ? shift @arguments : undef;
    # undef stands for what is left out.
    shift @arguments if @arguments > 1 && !defined $arguments[0];
    my $cb = shift @arguments;
    Carp::croak("$method: expected arrayref of $what or a callback") if !_is_callback($cb) && !$given && !$options;
    Carp::croak("$method: the callback must be a code reference") unless _is_callback($cb);
    Carp::croak("$method: too many arguments") if @arguments;
    return ($given, $options && _group_id($method, %$options), $cb);
}

sub _is_callback { return !defined $_[0] || ref $_[0] && reftype($_[0]) eq 'CODE' }

sub _group_id {
    my ($method, %options) = @_;
    my $group_id = delete $options{group_id};
    if (my ($unknown) = sort keys %options) {
        Carp::croak("$method: unknown option '$unknown'");
    }
    Carp::croak("$method: group_id must be a string") unless _is_text($group_id // '');
    Carp::croak("$method: option 'group_id' requires a value") unless length($group_id // '');
    return "$group_id";
}

sub _offset_to_commit {
    my ($given) = @_;
    my $partition = _partition(commit => $given);
    my $offset    = _number(commit => 'offset', $given);
    my %more = map { $_ => $given->{$_} } grep { defined $given->{$_} } qw(metadata leader_epoch);
    Carp::croak('commit: metadata must be a string') unless _is_text($more{metadata} // '');
    EV::Kafka::Partitions::integer('commit: leader_epoch', $more{leader_epoch}) if defined $more{leader_epoch};
    return { %$partition, offset => $offset, %more };
}

my %ELEMENT = (commit => 'offset', committed => 'partition');

sub _partition {
    my ($method, $given) = @_;
    Carp::croak("$method: $ELEMENT{$method} must be a hashref") unless ref $given eq 'HASH';
    my $topic = $given->{topic};
    Carp::croak("$method: missing topic") unless defined $topic && length $topic;
    Carp::croak("$method: topic must be a string") unless _is_text($topic);
    return { topic => "$topic", partition => _number($method, 'partition', $given) };
}

sub _number {
    my ($method, $name, $given) = @_;
    Carp::croak("$method: missing $name") unless defined $given->{$name};
    my $number = EV::Kafka::Partitions::integer("$method: $name", $given->{$name});
    Carp::croak("$method: $name must not be negative") if $number < 0;
    return $number;
}

sub _is_text { return !ref $_[0] || overload::Method($_[0], '""') }

1;

__END__

=head1 NAME

EV::Kafka::Group::CommitArguments - checks what commit and committed were given

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself.

=head1 METHODS

=head2 offsets(@arguments), partitions(@arguments)

Gives the offsets that L<EV::Kafka/"commit([\@offsets], [\%options], [$cb])"> was given, or the partitions of
C<committed>, undef without any; the id of the group, if one was named; and the callback. They croak on what makes no sense, and name it.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
