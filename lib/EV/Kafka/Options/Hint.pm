package EV::Kafka::Options::Hint;
use strict;
use warnings;

use Carp       ();
use List::Util ();

# A warning names the line of the program, not one of ours.
our @CARP_NOT = qw(EV::Kafka::Options EV::Kafka::Group::Subscription);

# Of the characters of a name, how many may differ before it is another word: one in three.
use constant MISTAKES => 1 / 3;

# So many names are compared, which takes some milliseconds: topics may be without number.
use constant MOST_NAMES => 500;

# Which of the known names may be meant by one that is not known, as the end of a message:
# ' (did you mean ...?)', or ''.
sub did_you_mean {
    my ($name, @known) = @_;
    my $wanted  = _plain($name);
    my $allowed = int(MISTAKES * length $wanted) || 1;
    my @near    = sort grep { abs(length($wanted) - length _plain($_)) <= $allowed } @known;
    my ($best, $distance);
    for my $known (splice @near, 0, MOST_NAMES) {
        my $apart = _distance($wanted, _plain($known));
        ($best, $distance) = ($known, $apart) if $apart <= $allowed && (!defined $distance || $apart < $distance);
    }
    return defined $best ? " (did you mean '$best'?)" : '';
}

# Of options that were given, those whose unit seems to have been taken for another.
sub warn_of_units {
    my ($given, $seconds, $milliseconds) = @_;
    for my $name (sort keys %$given) {
        my $value = $given->{$name};
        my $unit  = exists $seconds->{$name} && $value >= $seconds->{$name} && $value % 1000 == 0 ? 'seconds'
            : exists $milliseconds->{$name} && $value < $milliseconds->{$name} ? 'milliseconds'
            :                                                                     next;
        Carp::carp("EV::Kafka: option '$name' is in $unit: is $value what is meant?");
    }
    return;
}

sub is_same { my ($one, $other) = @_; return _plain($one) eq _plain($other) }

# Names differ in nothing but how their words are joined: group.id, groupId, group_id.
sub _plain { lc($_[0]) =~ s/[^a-z0-9]//gr }

# Levenshtein's: characters to put in, take out or replace.
sub _distance {
    my ($from, $to) = @_;
    my @row = 0 .. length $to;
    for my $i (1 .. length $from) {
        my @next = ($i);
        for my $j (1 .. length $to) {
            my $replaced = $row[$j - 1] + (substr($from, $i - 1, 1) eq substr($to, $j - 1, 1) ? 0 : 1);
            push @next, List::Util::min($replaced, $row[$j] + 1, $next[$j - 1] + 1);
        }
        @row = @next;
    }
    return $row[-1];
}

1;

__END__

=head1 NAME

EV::Kafka::Options::Hint - which name may have been meant

=head1 DESCRIPTION

A part of L<EV::Kafka::Options>, not for use by itself.

=head1 FUNCTIONS

=head2 did_you_mean($name, @known)

    croak "unknown option '$name'" . EV::Kafka::Options::Hint::did_you_mean($name, @known);

The end of a message about a name that is not known: C< (did you mean 'group_id'?)>, or an
empty string if no known name is near. How words are joined, C<groupId> or C<group.id>, makes
no difference.

=head2 is_same($one, $other)

Whether these are the same words.

=head2 warn_of_units(\%given, \%seconds, \%milliseconds)

Warns of options whose value looks like another unit's: of those in seconds that are whole
thousands from the value of C<%seconds> up, and of those in milliseconds below the value of
C<%milliseconds>.

=head1 SEE ALSO

L<EV::Kafka::Options>, L<EV::Kafka::Group::Subscription>

=cut
