package EV::Kafka::Admin::Call;
use strict;
use warnings;

use Carp         ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;

# One call of a program's for a method of EV::Kafka::Admin, until it has been told what came of it:
#   name     the method
#   what     what it is about: the arguments that have no names
#   options  those that were given
#   cb       the program's callback
#   ends     when it is given up
#   over     $over->($call), at the end in any case
#   clock    the timer until then
#   pause    timers until parts of it are tried again, by number
#   loop, outbox

# Seconds for which a call is tried (Java's default.api.timeout.ms), and those that brokers may take for their
# part of it (request.timeout.ms).
use constant {
    TIMEOUT      => 60,
    BROKERS_PART => 30,
};

use constant MS => 1_000;

# Seconds by which requests are before it: they know why there is no answer.
use constant GRACE => 0.5;

# Of the program's arguments: those that takes lists, then [\%options,] [$callback], in either order.
sub new {
    my ($class, $name, $arguments, %about) = @_;
    my $self = bless { %about, name => $name, options => {}, pause => {} }, $class;
    my @arguments = @$arguments;
    $self->{what} = [map { $self->_taken($_, \@arguments) } @{ $about{takes} || [] }];
    for my $argument (grep { defined } @arguments) {
        my $kind = ref $argument;
        if    ($kind eq 'CODE' && !$self->{cb}) { $self->{cb}      = $argument }
        elsif ($kind eq 'HASH')                 { $self->{options} = $argument }
        else                                    { $self->croak('options must be a hashref, the callback a code reference') }
    }
    $self->_check_options;
    my $timeout = $self->{options}{timeout} // TIMEOUT;
    $self->croak('timeout must be a number of seconds') unless $timeout =~ /\A[0-9]*\.?[0-9]+\z/ && $timeout > 0;
    $self->{ends}  = $about{loop}->now + $timeout;
    $self->{clock} = $about{loop}->timer($timeout + GRACE, $self, _late => $timeout);
    return $self;
}

sub _check_options {
    my ($self) = @_;
    my %known   = map { $_ => 1 } timeout => @{ $self->{knows} || [] };
    my @unknown = grep { !$known{$_} } sort keys %{ $self->{options} };
    return @unknown ? $self->croak("unknown option '$unknown[0]'") : undef;
}

# What an argument has to be, with a ? where it may be left out, or undef.
sub _taken {
    my ($self, $takes, $arguments) = @_;
    my ($type, $is_optional) = $takes =~ /\A(\w+)(\??)\z/;
    return undef if $is_optional && defined $arguments->[0] && ref $arguments->[0] ne $type;
    my $given = shift @$arguments;
    return undef if $is_optional && !defined $given;
    if ($type eq 'STRING') { $self->croak('expected a name') unless defined $given && !ref $given && length $given }
    else                   { $self->croak('expected ' . ($type eq 'ARRAY' ? 'arrayref' : 'hashref')) unless ref $given eq $type }
    return $given;
}

sub croak {
    my ($self, $text) = @_;
    Carp::croak("$self->{name}: $text");
}

sub name { $_[0]{name} }
sub what { $_[0]{what}[ $_[1] // 0 ] }

sub option {
    my ($self, $name, $default) = @_;
    return $self->{options}{$name} // $default;
}

# An element of what it is about, as a hash with no other keys than these. One of them that begins with ! has to be there.
sub element {
    my ($self, $element, @keys) = @_;
    $self->croak('expected hashref') unless ref $element eq 'HASH';
    my %known = map { s/\A!//r => 1 } @keys;
    my ($unknown) = grep { !$known{$_} } sort keys %$element;
    $self->croak("unknown key '$unknown'") if defined $unknown;
    for my $key (map { /\A!(.+)/ ? $1 : () } @keys) {
        $self->croak("missing $key") unless defined $element->{$key};
    }
    return $element;
}

sub elements {
    my ($self, $elements, @keys) = @_;
    $self->croak('expected arrayref') unless ref $elements eq 'ARRAY';
    return map { $self->element($_, @keys) } @$elements;
}

# Names in an array.
sub names {
    my ($self, $names) = @_;
    $self->croak('expected arrayref') unless ref $names eq 'ARRAY';
    $self->croak('a name is missing') if grep { !defined || ref || !length } @$names;
    return @$names;
}

# Seconds that are left, those that a request may take, in which a program sees no fractions that say nothing, and the
# milliseconds that a broker may take.
sub left {
    my ($self) = @_;
    my $left = $self->{ends} - $self->{loop}->now;
    return $left > 0 ? $left : 0;
}

sub patience { my ($self) = @_; return 0 + sprintf '%.1f', $self->left }

sub broker_ms {
    my ($self) = @_;
    my $left = $self->left;
    return int(MS * ($left < BROKERS_PART ? $left : BROKERS_PART)) || 1;
}

sub has_ended { return $_[0]{ended} ? 1 : 0 }

# Goes on after some time, unless it has ended by then.
sub later {
    my ($self, $seconds, $code) = @_;
    my $number = ++$self->{number};
    weaken(my $weak = $self);
    $self->{pause}{$number} = $self->{loop}->timer($seconds, $self, _go_on => $number, $code);
    return;
}

sub _go_on {
    my ($self, $number, $code) = @_;
    delete $self->{pause}{$number};
    return $code->();
}

# The program hears of the result, of an error (an EV::Kafka::Error), or of both where some of it is there.
sub done {
    my ($self, $result, $error) = @_;
    return if $self->{ended};
    $self->end;
    $error = $error->at(operation => $self->{name})->of($self->{name}) if $error;
    my $cb = delete $self->{cb};
    return $self->{outbox}->call($cb, $result, $error) if $cb;
    return $error ? $self->{outbox}->report($error) : undef;
}

sub fail {
    my ($self, $error) = @_;
    return $self->done(undef, EV::Kafka::Error->from($error));
}

sub _late {
    my ($self, $timeout) = @_;
    return $self->fail(EV::Kafka::Error->without_code("no broker has answered; given up after $timeout s", 1));
}

# Nobody hears of it.
sub end {
    my ($self) = @_;
    return if $self->{ended};
    $self->{ended} = 1;
    $self->{pause} = {};
    delete $self->{clock};
    return $self->{over}->($self);
}

# Does something for each of several, which calls back with a row, and goes on with all rows in order.
sub each_of {
    my ($self, $items, $code, $all) = @_;
    my @rows;
    my $left = @$items or return $all->();
    for my $place (0 .. $#$items) {
        $code->($items->[$place], sub {
            $rows[$place] = $_[0];
            return --$left ? undef : $all->(@rows);
        });
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Call - one call of an admin method until its callback was called

=head1 DESCRIPTION

For L<EV::Kafka::Admin>, not for use by itself. Reads the arguments that all methods have in common, knows how
much time is left, and calls the program back once.

=head1 METHODS

=head2 new($name, \@arguments, %about)

With C<takes>, what the first arguments have to be (C<ARRAY>, C<HASH> or C<STRING>, with a C<?> if it may be left out), and
C<knows>, the names of options. Croaks what is wrong with them.

=head2 name, what([$place]), option($name, [$default]), croak($text)

The method and its arguments; a mistake in them.

=head2 element($element, @keys), elements(\@elements, @keys), names(\@names)

Parts of the arguments, checked. A key that is needed begins with an exclamation mark.

=head2 left, patience, broker_ms

Seconds that are left, exactly and for a request; milliseconds that a broker may take.

=head2 later($seconds, $code)

Goes on then, if it has not ended.

=head2 each_of(\@items, $code, $all)

Calls C<< $code->($item, $done) >> for each and, when each has called C<< $done->($row) >>, C<< $all->(@rows) >>.

=head2 done($result, $error), fail($error), end, has_ended

The end, the last without a word.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
