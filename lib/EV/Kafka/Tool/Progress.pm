package EV::Kafka::Tool::Progress;
use strict;
use warnings;

use EV;

# A line on standard error, which a terminal sees in one place. $text->() says what is in it.

# Seconds between two of them, on a terminal and elsewhere.
use constant {
    ON_SCREEN => 0.2,
    IN_FILE   => 5,
};

sub new {
    my ($class, $is_wanted, $text) = @_;
    my $is_screen = -t *STDERR;
    my $self = bless { text => $text, is_wanted => $is_wanted, is_screen => $is_screen }, $class;
    return $self unless $is_wanted;
    my $every = $is_screen ? ON_SCREEN : IN_FILE;
    $self->{timer} = EV::timer($every, $every, sub { _show($is_screen, $text->()) });
    return $self;
}

sub _show {
    my ($is_screen, $text) = @_;
    print {*STDERR} $is_screen ? ("\r", $text, "\e[K") : ($text, "\n");
    return;
}

# The last one, whatever the time.
sub end {
    my ($self) = @_;
    return unless delete $self->{is_wanted};
    delete $self->{timer};
    _show($self->{is_screen}, $self->{text}->());
    print {*STDERR} "\n" if $self->{is_screen};
    return;
}

# 1234567 as 1,234,567.
sub number {
    my ($number) = @_;
    my $text = sprintf '%.0f', $number;
    1 while $text =~ s/\A(-?\d+)(\d{3})/$1,$2/;
    return $text;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Progress - how far a command is

=head1 DESCRIPTION

For the commands of L<EV::Kafka::Tool>, not for use by itself.

=head1 METHODS

=head2 new($is_wanted, $text)

Shows what C<< $text->() >> returns, every now and then.

=head2 end

Shows it for the last time.

=head2 EV::Kafka::Tool::Progress::number($number)

With commas.

=head1 SEE ALSO

L<ev-kafka>

=cut
