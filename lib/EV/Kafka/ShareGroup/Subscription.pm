package EV::Kafka::ShareGroup::Subscription;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(looks_like_number reftype);

use EV::Kafka::Options::Hint;

# KIP-1206's numbers.
my %ACQUIRE_MODE = (batch_optimized => 0, record_limit => 1);

my %DEFAULT = (
    explicit     => 0,
    max_records  => 500,
    max_in_hand  => 1000,
    max_wait     => 0.5,
    acquire_mode => 'batch_optimized',
);

my %CHECK = (
    group_id       => \&_text,
    on_record      => \&_callback,
    explicit       => sub { $_[1] ? 1 : 0 },
    max_records    => \&_count,
    max_in_hand    => \&_count,
    max_bytes      => \&_count,
    min_bytes      => \&_count,
    max_wait       => \&_seconds,
    acquire_mode   => \&_mode,
    rack           => \&_text,
    on_assign      => \&_callback,
    on_acknowledge => \&_callback,
    on_error       => \&_callback,
);

# Options in seconds, and from how many on they look like milliseconds.
my %SECONDS = (max_wait => 100);

# The topics come first; the first name of an option ends them. What is not given is as the client's options have it.
sub parse {
    my ($class, $options, @arguments) = @_;
    my @topics;
    push @topics, shift @arguments while @arguments && !(defined $arguments[0] && !ref $arguments[0] && $CHECK{ $arguments[0] });
    defined && !ref && /\A[A-Za-z0-9._-]{1,249}\z/ && !/\A\.\.?\z/
        or Carp::croak('subscribe_share: invalid topic name: ' . (defined ? "'$_'" : 'undef')) for @topics;
    Carp::croak('subscribe_share: topic names required') unless @topics;
    Carp::croak("subscribe_share: option '$arguments[-1]' requires a value") if @arguments % 2;
    my %given = @arguments;
    for my $name (sort keys %given) {
        Carp::croak("subscribe_share: unknown option '$name'" . EV::Kafka::Options::Hint::did_you_mean($name, keys %CHECK)) unless $CHECK{$name};
    }
    my %option = (
        %DEFAULT,
        max_bytes => $options->{fetch_max_bytes},
        min_bytes => $options->{fetch_min_bytes},
        rack      => $options->{client_rack},
        map { $_ => $given{$_} } grep { defined $given{$_} } keys %given,
    );
    defined $option{$_} || Carp::croak("subscribe_share: option '$_' requires a value") for qw(group_id on_record);
    my %seen;
    my $record = {
        topics     => [grep { !$seen{$_}++ } @topics],
        member_id  => '',
        generation => -1,
        state      => 'joining',
        map { $_ => $CHECK{$_}->($_, $option{$_}) } grep { defined $option{$_} } keys %option,
    };
    EV::Kafka::Options::Hint::warn_of_units(\%given, \%SECONDS, {});
    return $record;
}

sub _bad {
    my ($name, $what) = @_;
    Carp::croak("subscribe_share: option '$name' $what");
}

sub _text {
    my ($name, $value) = @_;
    _bad($name, 'must be a string') if ref $value || !length $value;
    return $value;
}

sub _count {
    my ($name, $value) = @_;
    _bad($name, "must be a whole number, 1 or more, not '$value'") unless $value =~ /\A[0-9]{1,9}\z/ && $value >= 1;
    return $value + 0;
}

sub _seconds {
    my ($name, $value) = @_;
    _bad($name, "must be a number of seconds, not '$value'") unless looks_like_number($value) && $value >= 0 && $value <= 2**31 / 1000 - 1;
    return $value + 0;
}

sub _mode {
    my ($name, $value) = @_;
    return $ACQUIRE_MODE{$value} // _bad($name, "must be 'batch_optimized' or 'record_limit', not '$value'");
}

sub _callback {
    my ($name, $value) = @_;
    _bad($name, 'must be a code reference') unless ref $value && (reftype $value) eq 'CODE';
    return $value;
}

1;

__END__

=head1 NAME

EV::Kafka::ShareGroup::Subscription - checks what subscribe_share was given

=head1 DESCRIPTION

A part of L<EV::Kafka::ShareGroup>, not for use by itself.

=head1 METHODS

=head2 parse(\%options, @topics, %options)

Turns what L<EV::Kafka/"subscribe_share(@topics, %opts)"> documents into the record of a member that has joined nothing yet;
the first hash is the client's. It croaks on what makes no sense, and names it.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::ShareGroup>

=cut
