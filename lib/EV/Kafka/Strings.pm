package EV::Kafka::Strings;
use strict;
use warnings;

use Carp ();

# A croak names the line of the program, not one of ours.
our @CARP_NOT = qw(EV::Kafka::Producer EV::Kafka::Client);

# What a program's strings are: 'bytes' or 'utf8'.
sub new {
    my ($class, $strings) = @_;
    return bless { name => $strings, is_text => $strings eq 'utf8' }, $class;
}

# The option's value.
sub name { $_[0]{name} }

# Whether what was encoded has to be decoded for the program to know it again.
sub is_text { $_[0]{is_text} }

# What is sent of a string, or of an object that makes one of itself; undef stays undef.
sub encoded {
    my ($self, $method, $name, $value) = @_;
    return undef unless defined $value;
    my $sent = "$value";
    if ($self->{is_text}) { utf8::encode($sent) }
    else {
        utf8::downgrade($sent, 1)
            or Carp::croak("$method: $name has wide characters: encode it first, or strings => 'utf8'");
    }
    return $sent;
}

# The same of headers, which become pairs.
sub encoded_headers {
    my ($self, $method, $headers) = @_;
    return undef unless defined $headers;
    my @pairs = ref $headers eq 'HASH' ? map { [$_, $headers->{$_}] } keys %$headers : @$headers;
    return [map {
        [$self->encoded($method, "header's name", $_->[0]), $self->encoded($method, "header's value", $_->[1])]
    } @pairs];
}

1;

__END__

=head1 NAME

EV::Kafka::Strings - what is sent of a program's strings

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It is there when a client has the
option C<strings>, and makes bytes of the keys, values and headers of messages. Messages with
plain strings that go out as Perl stores them do not come here: for them the native
C<produce> does the same.

=head1 METHODS

=head2 new($strings)

    my $encoder = EV::Kafka::Strings->new('bytes');

C<bytes> or C<utf8>, as the option.

=head2 encoded($method, $name, $value)

The bytes of a string. With C<bytes> it croaks when there are characters that are none, and
names method and argument.

=head2 encoded_headers($method, $headers)

The headers of a message as an array of pairs, names and values encoded.

=head2 name

What C<new> was given.

=head2 is_text

True with C<utf8>.

=head1 SEE ALSO

L<EV::Kafka/BYTES, NOT CHARACTERS>

=cut
