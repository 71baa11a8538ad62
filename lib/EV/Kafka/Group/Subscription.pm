package EV::Kafka::Group::Subscription;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(looks_like_number reftype);

use EV::Kafka::Assignor;
use EV::Kafka::Offsets::Reset;
use EV::Kafka::Options::Hint;

my %DEFAULT = (
    session_timeout    => 30_000,
    rebalance_timeout  => 60_000,
    heartbeat_interval => 3,
    auto_commit        => 1,
    auto_commit_interval => 0,
    auto_offset_reset  => 'earliest',
    assignors          => ['sticky', 'range'],
    group_protocol     => 'classic',
);

# Records of a partition that may be in progress where the program says what is done: what was begun
# is kept in mind, and comes again after a crash.
use constant MAX_IN_PROGRESS => 1000;

my %CHECK = (
    group_id             => \&_text,
    group_instance_id    => \&_text,
    session_timeout      => \&_milliseconds,
    rebalance_timeout    => \&_milliseconds,
    heartbeat_interval   => \&_interval,
    auto_commit          => sub { $_[1] && $_[1] eq 'done' ? 'done' : $_[1] ? 1 : 0 },
    max_in_progress      => \&_count,
    auto_commit_interval => \&_seconds,
    auto_offset_reset    => \&_reset,
    assignors            => \&_assignors,
    group_protocol       => \&_protocol,
    group_remote_assignor => \&_text,
    subscribe_pattern    => \&_text,
    on_assign            => \&_callback,
    on_revoke            => \&_callback,
    on_revoke_async      => \&_callback,
    on_lost              => \&_callback,
);

# Options in seconds, and from how many on they look like milliseconds; options in
# milliseconds, and below how many they look like seconds.
my %SECONDS      = (heartbeat_interval => 1_000, auto_commit_interval => 1_000);
my %MILLISECONDS = (session_timeout => 500, rebalance_timeout => 500);

# The topics come first; the first name of an option ends them. Defaults of the client's
# own are what it was given by librdkafka's names.
sub parse {
    my ($class, $own_default, @arguments) = @_;
    my @topics;
    push @topics, shift @arguments while @arguments && !(defined $arguments[0] && $CHECK{ $arguments[0] });
    my @patterns = grep { _is_pattern($_) } @topics;
    @topics = grep { !_is_pattern($_) } @topics;
    defined && /\A[A-Za-z0-9._-]{1,249}\z/ && !/\A\.\.?\z/
        or Carp::croak('invalid topic name: ' . (defined ? "'$_'" : 'undef') . _meant_by($_, @topics)) for @topics;

    my %given;
    while (@arguments) {
        my $name = shift @arguments;
        Carp::croak("option '" . ($name // '') . "' requires a value") unless @arguments;
        Carp::croak("unknown option '" . ($name // '') . "'"
            . EV::Kafka::Options::Hint::did_you_mean($name // '', keys %CHECK)) unless defined $name && $CHECK{$name};
        my $value = shift @arguments;
        $given{$name} = $value if defined $value;
    }
    my %option = (%DEFAULT, %{ $own_default || {} }, %given);
    Carp::croak('subscribe: topic names required') unless @topics || @patterns || defined $option{subscribe_pattern};
    Carp::croak("option 'group_id' requires a value" . _taken_for_topic(@topics)) unless length($option{group_id} // '');
    my $is_counted = ($option{auto_commit} // '') eq 'done';
    _bad(max_in_progress => "needs auto_commit => 'done'") if defined $option{max_in_progress} && !$is_counted;
    _bad(on_revoke_async => 'takes the place of on_revoke: only one of them can be given')
        if $option{on_revoke_async} && $option{on_revoke};
    $option{max_in_progress} //= MAX_IN_PROGRESS if $is_counted;
    _bad(subscribe_pattern => "is matched by the broker, for which group_protocol => 'consumer' is needed; "
        . 'qr/.../ among the topics is matched here, in both protocols') if defined $option{subscribe_pattern} && $option{group_protocol} ne 'consumer';
    my %seen;
    my $subscription = {
        topics     => [grep { !$seen{$_}++ } @topics],
        patterns   => \@patterns,
        member_id  => '',
        generation => -1,
        state      => 'joining',
        map { $_ => $CHECK{$_}->($_, $option{$_}) } keys %option,
    };
    EV::Kafka::Options::Hint::warn_of_units(\%given, \%SECONDS, \%MILLISECONDS);
    return $subscription;
}

sub is_option { return exists $CHECK{ $_[1] } }

sub _is_pattern { return ref $_[0] && re::is_regexp($_[0]) }

# What was probably meant by what is no topic's name.
sub _meant_by {
    my ($topic, @all) = @_;
    return '' unless defined $topic;
    return '; topics are given one by one, subscribe(@topics, group_id => ...)' if ref $topic eq 'ARRAY';
    return '; topics come first, then options, not in a hash: subscribe(@topics, group_id => ...)' if ref $topic eq 'HASH';
    return _taken_for_topic(grep { defined && !ref } @all) if ref $topic;
    return $topic =~ /[*^\$]/ ? "; a pattern is given as qr/$topic/" : '';
}

# A name that is not quite an option's reads like one more topic.
sub _taken_for_topic {
    for my $topic (@_) {
        my $hint = EV::Kafka::Options::Hint::did_you_mean($topic, keys %CHECK) or next;
        return "; '$topic' was taken for a topic$hint";
    }
    return '';
}

sub _bad {
    my ($name, $what) = @_;
    Carp::croak("option '$name' $what");
}

sub _text {
    my ($name, $value) = @_;
    _bad($name, 'must be a string') if ref $value || !length $value;
    return $value;
}

sub _milliseconds {
    my ($name, $value) = @_;
    _bad($name, "must be a number of milliseconds, not '$value'")
        unless looks_like_number($value) && $value >= 1 && $value <= 2**31 - 1;
    return int $value;
}

sub _count {
    my ($name, $value) = @_;
    _bad($name, "must be a whole number, 1 or more, not '$value'") unless $value =~ /\A[0-9]{1,9}\z/ && $value >= 1;
    return $value + 0;
}

sub _seconds {
    my ($name, $value) = @_;
    _bad($name, "must be a number of seconds, not '$value'")
        unless looks_like_number($value) && $value >= 0 && $value < 9**99;
    return $value + 0;
}

sub _interval {
    my ($name, $value) = @_;
    return _seconds($name, $value) || _bad($name, 'must be more than 0 seconds');
}

sub _reset {
    my ($name, $value) = @_;
    my $refusal = EV::Kafka::Offsets::Reset->refusal($value);
    _bad($name, $refusal) if defined $refusal;
    return $value;
}

sub _protocol {
    my ($name, $value) = @_;
    _bad($name, "must be 'classic' or 'consumer', not '$value'") unless $value =~ /\A(?:classic|consumer)\z/;
    return $value;
}

sub _assignors {
    my ($name, $value) = @_;
    _bad($name, 'must be a list of names') unless ref $value eq 'ARRAY' && @$value;
    for my $assignor (@$value) {
        _bad($name, 'names an unknown assignor: ' . ($assignor // 'undef')
            . ' (' . join(', ', EV::Kafka::Assignor->names) . ')')
            unless defined $assignor && EV::Kafka::Assignor->is_known($assignor);
    }
    return [@$value];
}

sub _callback {
    my ($name, $value) = @_;
    _bad($name, 'must be a code reference') unless ref $value && (reftype $value) eq 'CODE';
    return $value;
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Subscription - checks what subscribe was given

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself.

=head1 METHODS

=head2 parse(\%defaults, @topics, %options)

Turns what L<EV::Kafka/"subscribe(@topics, %opts)"> documents into the beginnings
of C<< $kafka->{cfg}{group} >>: topics, options with their defaults (those of the client first, which may be undef), and a member
that has joined nothing yet. It croaks on what makes no sense, and names it.

=head2 is_option($name)

Whether subscribe has such an option.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
