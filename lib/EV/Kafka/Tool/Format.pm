package EV::Kafka::Tool::Format;
use strict;
use warnings;

use JSON::PP     ();
use MIME::Base64 ();

use EV::Kafka::Tool;

# Records as text: code that is called with what on_message gets, headers as pairs. Where each of it stands:

use constant {
    TOPIC     => 0,
    PARTITION => 1,
    OFFSET    => 2,
    KEY       => 3,
    VALUE     => 4,
    HEADERS   => 5,
    TIMESTAMP => 6,
};

my %FIELD = (
    t => sub { $_[TOPIC] },
    p => sub { $_[PARTITION] },
    o => sub { $_[OFFSET] },
    k => sub { $_[KEY]   // '' },
    s => sub { $_[VALUE] // '' },
    T => sub { $_[TIMESTAMP] // -1 },
    h => sub { join ',', map { my ($name, $value) = @$_; $name . '=' . ($value // '') } @{ $_[HEADERS] || [] } },
    # As kcat has it: null is no length.
    K => sub { defined $_[KEY]   ? length $_[KEY]   : -1 },
    S => sub { defined $_[VALUE] ? length $_[VALUE] : -1 },
    '%' => sub { '%' },
);

my %ESCAPE = (n => "\n", t => "\t", r => "\r", 0 => "\0", '\\' => '\\');

# For these options of a command.
sub of {
    my ($class, $option) = @_;
    return $class->json if $option->{json};
    return $class->compile($option->{format}) if defined $option->{format};
    return sub { ($_[VALUE] // '') . "\n" };
}

sub compile {
    my ($class, $format) = @_;
    my @parts;
    while ($format =~ /\G(?:%(.?)|\\(x[0-9A-Fa-f]{2}|.?)|([^%\\]+))/gcs) {
        my ($field, $escape, $text) = ($1, $2, $3);
        push @parts, defined $field ? $FIELD{$field} || EV::Kafka::Tool->mistake("format: there is no %$field; perldoc ev-kafka has them all")
            : defined $text ? $text : _unescaped($escape);
    }
    return sub { join '', map { ref ? $_->(@_) : $_ } @parts };
}

sub _unescaped {
    my ($escape) = @_;
    return chr hex $1 if $escape =~ /\Ax(..)\z/;
    return $ESCAPE{$escape} // EV::Kafka::Tool->mistake("format: there is no \\$escape");
}

# A line of JSON for each: what is no UTF-8 stands there as base64, under another name.
sub json {
    my $json = JSON::PP->new->canonical->utf8;
    return sub {
        my @record = @_;
        return $json->encode({
            topic => $record[TOPIC], partition => $record[PARTITION], offset => $record[OFFSET],
            timestamp => $record[TIMESTAMP],
            _text(key => $record[KEY]), _text(value => $record[VALUE]),
            headers => [map { my ($name, $value) = @$_; +{ _text(name => $name), _text(value => $value) } } @{ $record[HEADERS] || [] }],
        }) . "\n";
    };
}

sub _text {
    my ($name, $bytes) = @_;
    return ($name => undef) unless defined $bytes;
    my $text = $bytes;
    return utf8::decode($text) ? ($name => $text) : ("${name}_base64" => MIME::Base64::encode_base64($bytes, ''));
}

# What json has written: topic, key, value and the options of produce.
sub record_of_json {
    my ($class, $line) = @_;
    my $json = eval { JSON::PP->new->utf8->decode($line) };
    die 'not an object of JSON: ' . ($@ ? $@ =~ s/ at \S+ line \d+\.?\n\z//r : $line) . "\n" unless ref $json eq 'HASH';
    my $headers = $json->{headers};
    my @pairs = ref $headers eq 'HASH' ? map { [_bytes_of($_), _bytes_of($headers->{$_})] } sort keys %$headers
        : map { [_field($_, 'name'), _field($_, 'value')] } @{ $headers || [] };
    return (_field($json, 'key'), _field($json, 'value'), {
        @pairs ? (headers => \@pairs) : (),
        map { defined $json->{$_} && $json->{$_} >= 0 ? ($_ => $json->{$_}) : () } qw(timestamp partition),
    });
}

sub _field {
    my ($json, $name) = @_;
    my $base64 = $json->{"${name}_base64"};
    return defined $base64 ? MIME::Base64::decode_base64($base64) : _bytes_of($json->{$name});
}

# A value that is not a string is written as JSON.
sub _bytes_of {
    my ($value) = @_;
    return $value unless defined $value;
    return JSON::PP->new->utf8->canonical->allow_nonref->encode($value) if ref $value;
    utf8::encode($value);
    return $value;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Format - how ev-kafka writes records

=head1 DESCRIPTION

For the commands of L<EV::Kafka::Tool>, not for use by itself. Each of the first three methods returns code that is called with what
C<on_message> gets, headers as pairs, and returns bytes.

=head1 METHODS

=head2 TOPIC, PARTITION, OFFSET, KEY, VALUE, HEADERS, TIMESTAMP

Where these stand among what C<on_message> gets.

=head2 of(\%option), compile($format), json

By the options C<json> and C<format>; a format as L<ev-kafka/consume> has it; a line of JSON.

=head2 record_of_json($line)

Key, value and options of C<produce>, for what C<json> has written; headers may also be an object.

=head1 SEE ALSO

L<ev-kafka>

=cut
