package EV::Kafka::Offsets::Reset;
use strict;
use warnings;

use Time::HiRes ();

# Where to go on when there is no position, or none that the log still has: what auto_offset_reset says (Java's
# auto.offset.reset, with KIP-1106's durations). Its state:
#   name     as it was given
#   seconds  of by_duration

# ListOffsets' special timestamps, which assignments have in place of an offset, and what stands for that which
# auto_offset_reset says: no broker knows it.
use constant {
    LATEST   => -1,
    EARLIEST => -2,
    AS_RESET => -1000,
};

use constant BY_DURATION => 'by_duration:';

my %SECONDS = (days => 86_400, hours => 3_600, minutes => 60, seconds => 1);

# The longest duration: before 1970 there are no records.
use constant MOST_SECONDS => 2**53 / 1000;

my %END = (earliest => EARLIEST, latest => LATEST);

# What is wrong with such a text, after the name of its option; undef if nothing is.
sub refusal {
    my ($class, $text) = @_;
    return undef if !ref $text && ($END{$text} || $text eq 'none');
    return "must be 'earliest' or 'latest', or 'none', or 'by_duration:' and a duration, not '$text'"
        unless !ref $text && index($text, BY_DURATION) == 0;
    my $duration = substr $text, length BY_DURATION;
    return defined _seconds_of($duration) ? undef : "has no duration as ISO 8601 has it, for example PT1H or P7DT30M, but '$duration'";
}

# As java.time.Duration reads it: days of 24 hours, hours, minutes, seconds, each with a sign of its own, and not
# negative in all.
sub _seconds_of {
    my ($text) = @_;
    my $number = qr/[-+]?[0-9]{1,18}/;
    $text =~ /\A(?<sign>[-+]?)P(?:(?<days>$number)D)?(?<time>T(?:(?<hours>$number)H)?(?:(?<minutes>$number)M)?(?:(?<seconds>$number(?:[.,][0-9]{0,9})?)S)?)?\z/i
        or return undef;
    my %part = map { $_ => $+{$_} } grep { defined $+{$_} } keys %SECONDS;
    return undef if !%part || length($+{time} // '') == 1;
    my $sign = $+{sign} eq '-' ? -1 : 1;
    my $sum  = 0;
    $sum += $SECONDS{$_} * ($part{$_} =~ tr/,/./r) for keys %part;
    $sum *= $sign;
    return $sum < 0 || $sum > MOST_SECONDS ? undef : $sum;
}

sub new {
    my ($class, $name) = @_;
    my $seconds = index($name, BY_DURATION) == 0 ? _seconds_of(substr $name, length BY_DURATION) : undef;
    return bless { name => $name, seconds => $seconds }, $class;
}

# What an assignment has until that is looked up.
sub offset { return $END{ $_[0]{name} } // AS_RESET }

# What ListOffsets is asked for, now; undef when the program has to say where to go on.
sub timestamp {
    my ($self) = @_;
    return $END{ $self->{name} } unless defined $self->{seconds};
    my $ms = int(1000 * (Time::HiRes::time() - $self->{seconds}));
    return $ms < 0 ? 0 : $ms;
}

# What that is, in words.
sub text {
    my ($self) = @_;
    return 'the ' . (defined $self->{seconds} ? 'first record of the last ' . substr $self->{name}, length BY_DURATION : $self->{name});
}

1;

__END__

=head1 NAME

EV::Kafka::Offsets::Reset - where an EV::Kafka consumer goes on that has no position

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself: a value of C<auto_offset_reset>, which is
C<earliest>, C<latest>, C<none> or C<by_duration:> and a duration.

=head1 METHODS

=head2 refusal($text)

Why that is no such value, in words that the option's name is put before; undef if it is one.

=head2 new($text)

Of one that has been checked.

=head2 offset, timestamp, text

What an assignment has that is to begin there; what is looked up for it, undef for C<none>; and that in words.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Offsets>

=cut
