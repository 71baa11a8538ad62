package EV::Kafka::Producer::Message;
use strict;
use warnings;

use Carp         ();
use Scalar::Util ();

use EV::Kafka::Strings;

# What a program gives to produce, looked at and taken apart. A message is a hash of
#   topic, key, value, partition, headers, timestamp, acks, cb
# of which all but the topic may be undef, and given_key, the program's own key if the
# option strings has made another one of it. A callback with arguments of its own is an array of
# it and them.

my %OPTION = map { $_ => 1 } qw(partition headers timestamp acks);

# A croak names the line of the program.
$Carp::Internal{ +__PACKAGE__ } = 1;

# $encoder: an EV::Kafka::Strings, if keys and values are not sent as Perl stores them.
sub of_arguments {
    my ($class, $encoder, $topic, $key, $value, @rest) = @_;
    _check_texts($topic, $key, $value);
    Carp::croak('produce: key and value required (undef for none)') if @_ < 5;
    my ($options, $cb) = _options_and_callback(@rest);
    _check_options($topic, $options);
    my $self = bless { topic => $topic, key => $key, value => $value, cb => $cb, %$options }, $class;
    $self->_encode($encoder, 'produce') if $encoder;
    return $self;
}

# The same of an element of what produce_many gets. It is encoded when it is produced; what
# cannot be is found here. Strings alone, which most are, are just [topic, key, value].
sub of_element {
    my ($class, $encoder, $element) = @_;
    my @texts = _texts_alone($element);
    return \@texts if @texts && (!$encoder || $encoder->is_text);
    my ($topic, $key, $value, $options);
    if (ref $element eq 'ARRAY') {
        ($topic, $key, $value, $options) = @$element;
    }
    elsif (ref $element eq 'HASH') {
        my %rest = %$element;
        ($topic, $key, $value) = delete @rest{qw(topic key value)};
        $options = \%rest;
    }
    else {
        Carp::croak('produce_many: message must be an arrayref or a hashref');
    }
    Carp::croak('produce: options must be a hash reference') if defined $options && ref $options ne 'HASH';
    _check_texts($topic, $key, $value);
    _check_options($topic, $options || {});
    my $self = bless { topic => $topic, key => $key, value => $value, %{ $options || {} } }, $class;
    (bless {%$self}, $class)->_encode($encoder, 'produce_many') if $encoder && !$encoder->is_text;
    return $self;
}

# Of a list like that.
sub of_texts {
    my ($class, $texts) = @_;
    return bless { topic => $texts->[0], key => $texts->[1], value => $texts->[2] }, $class;
}

# As produce would have it.
sub encoded {
    my ($self, $encoder) = @_;
    $self->_encode($encoder, 'produce') if $encoder;
    return $self;
}

# The key as the program's partitioner sees it.
sub given_key { my ($self) = @_; return $self->{ exists $self->{given_key} ? 'given_key' : 'key' } }

sub _encode {
    my ($self, $encoder, $method) = @_;
    $self->{given_key} = $self->{key};
    $self->{$_} = $encoder->encoded($method, $_, $self->{$_}) for qw(key value);
    $self->{headers} = $encoder->encoded_headers($method, $self->{headers});
    return;
}

# Topic, key and value of an element that has nothing else, if they are strings; else nothing.
sub _texts_alone {
    my ($element) = @_;
    my @texts;
    if    (ref $element eq 'ARRAY') { @texts = @$element }
    elsif (ref $element eq 'HASH')  {
        @texts = @$element{qw(topic key value)} if 3 == keys %$element && 3 == grep { exists $element->{$_} } qw(topic key value);
    }
    return if @texts != 3 || ref $texts[0] || ref $texts[1] || ref $texts[2] || !length($texts[0] // '');
    return @texts;
}

# In either order, and undef in the place of either; what the callback is to be called with comes behind
# both, in this order.
sub _options_and_callback {
    my ($given_options, $given_cb, @with) = @_;
    my @rest = @_ > 2 ? ($given_options, $given_cb) : @_;
    my ($options, $cb);
    for my $place (0 .. $#rest) {
        my $given = $rest[$place];
        next unless defined $given;
        if    (!defined $options && ref $given eq 'HASH') { $options = $given }
        elsif (!defined $cb && is_code($given)) { $cb = $given }
        else {
            Carp::croak('produce: options must be a hash reference')
                if $place < $#rest || defined $cb && !defined $options;
            Carp::croak('produce: callback must be a code reference');
        }
    }
    Carp::croak('produce: callback must be a code reference') if @_ > 2 && !is_code($given_cb);
    return ($options || {}, @with ? [$cb, @with] : $cb);
}

sub is_code { return (Scalar::Util::reftype($_[0]) // '') eq 'CODE' }

sub _check_options {
    my ($topic, $options) = @_;
    Carp::croak('produce: topic required') unless defined $topic && length $topic;
    for my $name (sort keys %$options) {
        Carp::croak("produce: unknown option '$name'") unless $OPTION{$name};
    }
    for my $name (grep { defined $options->{$_} } qw(partition timestamp)) {
        Carp::croak("produce: option '$name' must be a non-negative integer, not '$options->{$name}'")
            unless $options->{$name} =~ /\A[0-9]+\z/;
    }
    Carp::croak("produce: option 'acks' must be -1, 0 or 1, not '$options->{acks}'")
        if defined $options->{acks} && $options->{acks} !~ /\A(?:-1|0|1)\z/;
    return _check_headers($options->{headers});
}

sub _check_headers {
    my ($headers) = @_;
    my $kind = ref $headers;
    return if !defined $headers;
    Carp::croak("produce: option 'headers' must be a hash or an array of [name, value] pairs")
        unless $kind eq 'HASH'
        || $kind eq 'ARRAY' && !grep { ref $_ ne 'ARRAY' || @$_ != 2 || !defined $_->[0] } @$headers;
    _check_strings("header's name", map { $_->[0] } @$headers) if $kind eq 'ARRAY';
    return _check_strings("header's value", $kind eq 'HASH' ? values %$headers : map { $_->[1] } @$headers);
}

# Here and not when the message is encoded, which for some is long after the call.
sub _check_strings {
    my ($what, @values) = @_;
    my @references = grep { ref } @values or return;
    require overload;
    for my $value (@references) {
        next if grep { overload::Method($value, $_) } '""', '0+', 'bool';
        my $kind = Scalar::Util::reftype($value);
        Carp::croak("produce: $what must be a string, not a reference ($kind)");
    }
    return;
}

# What was forgotten puts the callback, or the options, into another's place.
sub _check_texts {
    my ($topic, $key, $value) = @_;
    return unless ref $topic || ref $key || ref $value;
    _check_strings(topic => $topic);
    _check_strings(key   => $key);
    return _check_strings(value => $value);
}

1;

__END__

=head1 NAME

EV::Kafka::Producer::Message - what a program gives to produce, looked at and taken apart

=head1 DESCRIPTION

For L<EV::Kafka::Producer>, not for use by itself. Every mistake croaks, with the line of the
program.

=head1 METHODS

=head2 of_arguments($encoder, @arguments)

Of C<produce>.

=head2 of_element($encoder, $element), of_texts(\@texts), encoded($encoder)

Of the list that C<produce_many> gets, which is not encoded before C<encoded> is called. Where there
is nothing but topic, key and value, C<of_element> gives just these.

=head2 given_key

The key as the program has given it.

=head2 is_code($value)

A function: whether it is a code reference, blessed or not.

=head1 SEE ALSO

L<EV::Kafka::Producer>, L<EV::Kafka::Strings>

=cut
