package EV::Kafka::Options;
use strict;
use warnings;

use Carp ();
use List::Util ();
use overload ();
use Scalar::Util qw(blessed looks_like_number reftype);

use EV::Kafka::Group::Subscription;
use EV::Kafka::Offsets::Reset;
use EV::Kafka::Options::Hint;
use EV::Kafka::Options::Librdkafka;
use EV::Kafka::Security;

# A croak names the line of the program, not one of ours.
our @CARP_NOT = ('EV::Kafka::Client');

# Bytes from which a batch leaves as soon as it can (Java's batch.size), and up to
# which one that cannot leave takes records: what brokers take by default
# (message.max.bytes is 1,048,588).
use constant {
    BATCH_SIZE  => 16_384,
    BATCH_LIMIT => 1_000_000,
};

# Bytes that a broker takes at all in a request (socket.request.max.bytes, 100 MiB),
# less what surrounds a message and what bad compression may add to it.
use constant MAX_REQUEST_SIZE => (100 << 20) - (1 << 20);

# Of transaction_timeout: how long one request for a transaction may take.
use constant SHARE_OF_TRANSACTION => 0.5;

my %DEFAULT = (
    brokers           => '127.0.0.1:9092',
    client_id         => 'ev-kafka',
    tls               => 0,
    acks              => -1,
    linger_ms         => 5,
    batch_size        => BATCH_SIZE,
    max_request_size  => MAX_REQUEST_SIZE,
    idempotent        => 0,
    transaction_timeout => 60_000,
    fetch_max_wait_ms => 500,
    fetch_max_bytes   => 1048576,
    fetch_min_bytes   => 1,
    isolation_level   => 'read_uncommitted',
    on_message_die    => 'warn',
    metadata_refresh  => 300,
    delivery_timeout  => 120,
    connections_max_idle => 540,
    buffer_memory     => 0,
);

my %INT32_MAX = (max => 2**31 - 1);
my %CHECK = (
    brokers           => \&_brokers,
    client_id         => \&_text,
    acks              => \&_acks,
    linger_ms         => _number_check(min => 0),
    batch_size        => _integer_check(min => 1, %INT32_MAX),
    max_request_size  => _integer_check(min => 1, %INT32_MAX),
    compression       => \&_compression,
    compression_level => \&_compression_level,
    partitioner       => \&_partitioner,
    on_drain          => \&_callback,
    buffer_memory     => _integer_check(min => 0, max => 2**53),
    on_error          => \&_callback,
    errors            => \&_errors,
    on_notice         => \&_callback,
    on_eof            => \&_callback,
    log               => \&_callback,
    on_stats          => \&_callback,
    on_throttle       => \&_callback,
    stats_interval    => _number_check(min => 0),
    on_connect        => \&_callback,
    on_message        => \&_callback,
    on_batch          => \&_callback,
    on_message_die    => \&_on_message_die,
    strings           => \&_strings,
    headers           => \&_headers,
    fetch_max_wait_ms => _integer_check(min => 0, %INT32_MAX),
    fetch_max_bytes   => _integer_check(min => 1, %INT32_MAX),
    fetch_min_bytes   => _integer_check(min => 0, %INT32_MAX),
    isolation_level   => \&_isolation_level,
    auto_offset_reset => \&_reset,
    client_rack       => \&_text,
    metadata_refresh  => _number_check(min => 0),
    allow_auto_create_topics => \&_flag,
    flush_timeout     => _number_check(min => 0),
    delivery_timeout  => _number_check(min => 0),
    idempotent        => \&_flag,
    transactional_id  => \&_text,
    transaction_timeout => _integer_check(min => 1, %INT32_MAX),
    request_timeout   => _number_check(min => 0),
    broker_timeout    => \&_broker_timeout,
    connections_max_idle => _number_check(min => 0),
    loop              => \&_loop,
    tls               => \&_flag,
    tls_skip_verify   => \&_flag,
    tls_ca_file       => \&_text,
    tls_cert_file     => \&_text,
    tls_key_file      => \&_text,
    tls_key_password  => \&_text,
    tls_server_name   => \&_text,
    sasl              => \&EV::Kafka::Security::check_sasl,
);

my %KNOWN = map { $_ => 1 } keys %CHECK, 'librdkafka';

# Options in seconds, and from how many on they look like milliseconds.
my %SECONDS = (
    request_timeout      => 1_000,
    broker_timeout       => 1_000,
    delivery_timeout     => 10_000,
    flush_timeout        => 10_000,
    stats_interval       => 10_000,
    metadata_refresh     => 10_000,
    connections_max_idle => 10_000,
);

# Options in milliseconds, and below how many they look like seconds.
my %MILLISECONDS = (transaction_timeout => 500);

# The configuration half of $client->{cfg}, from what the caller gave to new.
sub parse {
    my ($class, @pairs) = @_;
    Carp::croak('EV::Kafka: new takes option => value pairs') if @pairs % 2;
    my %given = @pairs;

    if (my @unknown = sort grep { !$KNOWN{$_} } keys %given) {
        Carp::croak('unknown option(s): ' . join ', ',
            map { $_ . _hint($_) } @unknown);
    }
    delete @given{ grep { !defined $given{$_} } keys %given };
    my $group;
    if (my $properties = delete $given{librdkafka}) {
        (my $other, $group) = EV::Kafka::Options::Librdkafka->translate($properties);
        %given = (%$other, %given);
    }

    my %cfg = (%DEFAULT, %given);
    $cfg{subscription} = $group if $group;
    # '' is no id.
    delete $cfg{transactional_id} unless length $cfg{transactional_id};
    for my $name (sort keys %cfg) {
        my $check = $CHECK{$name} or next;
        $cfg{$name} = $check->($name, $cfg{$name});
    }
    EV::Kafka::Options::Hint::warn_of_units(\%given, \%SECONDS, \%MILLISECONDS);
    _force_idempotence(\%cfg, defined $given{idempotent}) if defined $cfg{transactional_id};
    _force_acks(\%cfg) if $cfg{idempotent} && $cfg{acks} != -1;
    _bad(on_batch => 'takes the place of on_message: only one of them can be given')
        if $cfg{on_batch} && $cfg{on_message};
    my $refusal = $class->level_refusal(@cfg{qw(compression compression_level)});
    _bad(compression_level => $refusal) if defined $refusal;
    $cfg{partitioner} //= undef;
    $cfg{batch_limit} = defined $given{batch_size} ? $cfg{batch_size} : BATCH_LIMIT;
    $cfg{bootstrap} = delete $cfg{brokers};
    $cfg{on_error} ||= \&die_of;
    $cfg{security} = EV::Kafka::Security->model(\%cfg, defined $given{tls});
    return \%cfg;
}

# Where the name belongs, or which one may be meant.
sub _hint {
    my ($name) = @_;
    my $own = EV::Kafka::Options::Librdkafka->option_of($name);
    return " (librdkafka's name; here it is $own, or librdkafka => { '$name' => ... })" if defined $own && $KNOWN{$own};
    # The same words, joined in another way: bootstrap_servers, bootstrapServers.
    my ($property) = grep { EV::Kafka::Options::Hint::is_same($_, $name) && $KNOWN{ EV::Kafka::Options::Librdkafka->option_of($_) // '' } }
        EV::Kafka::Options::Librdkafka->properties;
    return " (librdkafka's $property; here it is ${\ EV::Kafka::Options::Librdkafka->option_of($property) })"
        if defined $property && !EV::Kafka::Group::Subscription->is_option($name);
    return ' (an option of subscribe)' if EV::Kafka::Group::Subscription->is_option($name);
    return EV::Kafka::Options::Hint::did_you_mean($name, keys %KNOWN);
}

# What parse does for one option, for what a program writes into {cfg} later; undef is
# the default.
sub check {
    my ($class, $name, $value) = @_;
    $value //= $DEFAULT{$name};
    return defined $value ? $CHECK{$name}->($name, $value) : undef;
}

# What keeps a level from going with a codec, after the name of its option; undef if nothing does.
sub level_refusal {
    my ($class, $codec, $level) = @_;
    return defined $codec && defined $level ? EV::Kafka::_level_refusal($codec, $level) : undef;
}

# The default of on_error.
sub die_of { die "EV::Kafka: $_[0]\n" }

# A batch that is written twice would be committed twice.
sub _force_idempotence {
    my ($cfg, $is_given) = @_;
    Carp::carp('EV::Kafka: a producer with a transactional_id is idempotent: idempotent 0 is taken as 1')
        if $is_given && !$cfg->{idempotent};
    $cfg->{idempotent} = 1;
    return;
}

# A broker can only promise that a batch is written once if all replicas have it.
sub _force_acks {
    my ($cfg) = @_;
    Carp::carp("EV::Kafka: an idempotent producer needs acks -1: acks $cfg->{acks} is taken as -1");
    $cfg->{acks} = -1;
    return;
}

sub _bad {
    my ($name, $what) = @_;
    Carp::croak("EV::Kafka: option '$name' $what");
}

# A list, or a text that is one.
sub _brokers {
    my ($name, $value) = @_;
    my @given = ref $value eq 'ARRAY' ? @$value : $value;
    _bad($name, 'must be a string, or a reference to an array of strings')
        if grep { !defined || ref && !overload::Method($_, '""') } @given;
    my @brokers = map { _address($name, $_) } grep { length } map { s/\A\s+|\s+\z//gr } map { split /,/ } @given;
    _bad($name, 'names no broker') unless @brokers;
    return \@brokers;
}

sub _address {
    my ($name, $text) = @_;
    my ($host, $port) = $text =~ /\A(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([0-9]+))?\z/
        ? ($1 // $2, $3 // 9092)
        : _bad($name, "has an address that is not HOST, HOST:PORT or [IPV6]:PORT: '$text'");
    _bad($name, "has a port that is not between 1 and 65535: '$text'") if $port < 1 || $port > 65535;
    return [$host, $port + 0];
}

sub _text {
    my ($name, $value) = @_;
    _bad($name, 'must be a string') if ref $value;
    return $value;
}

sub _flag { $_[1] ? 1 : 0 }

sub _acks {
    my ($name, $value) = @_;
    return -1 if $value eq 'all';
    _bad($name, "must be -1 (all), 0 or 1, not '$value'") unless $value =~ /\A(?:-1|0|1)\z/;
    return $value + 0;
}

sub _compression {
    my ($name, $value) = @_;
    return undef if $value =~ /\A(?:none|0|)\z/;
    _bad($name, "names an unsupported compression: $value (lz4, gzip, zstd, snappy or none)")
        unless $value =~ /\A(?:lz4|gzip|zstd|snappy)\z/;
    return $value;
}

# Which of them there are depends on the codec.
sub _compression_level {
    my ($name, $value) = @_;
    _bad($name, "must be an integer, not '$value'") unless $value =~ /\A-?[0-9]{1,9}\z/;
    return $value + 0;
}

sub _isolation_level {
    my ($name, $value) = @_;
    _bad($name, "must be read_uncommitted or read_committed, not '$value'")
        unless $value =~ /\Aread_(?:un)?committed\z/;
    return $value;
}

sub _reset {
    my ($name, $value) = @_;
    my $refusal = EV::Kafka::Offsets::Reset->refusal($value);
    _bad($name, $refusal) if defined $refusal;
    return $value;
}

sub _on_message_die {
    my ($name, $value) = @_;
    _bad($name, "must be warn or hold, not '$value'") unless $value =~ /\A(?:warn|hold)\z/;
    return $value;
}

sub _strings {
    my ($name, $value) = @_;
    _bad($name, "must be bytes or utf8, not '$value'") unless $value =~ /\A(?:bytes|utf8)\z/;
    return $value;
}

# Of milliseconds, in which brokers are told, there is at least one.
sub _broker_timeout {
    my ($name, $value) = @_;
    _bad($name, "must be a number of seconds, 0.001 or more, not '$value'")
        unless looks_like_number($value) && $value >= 0.001 && $value * 1000 < 2**31;
    return $value + 0;
}

sub _headers {
    my ($name, $value) = @_;
    _bad($name, "must be hash or pairs, not '$value'") unless $value =~ /\A(?:hash|pairs)\z/;
    return $value;
}

sub _errors {
    my ($name, $value) = @_;
    _bad($name, "must be text or object, not '$value'") unless $value =~ /\A(?:text|object)\z/;
    return $value;
}

sub _callback {
    my ($name, $value) = @_;
    _bad($name, 'must be a code reference') unless ref $value && (reftype $value) eq 'CODE';
    return $value;
}

sub _partitioner {
    my ($name, $value) = @_;
    return $value if $value eq 'sticky' || $value eq 'uniform-sticky';
    _bad($name, "must be a code reference, 'sticky' or 'uniform-sticky'") unless ref $value && (reftype $value) eq 'CODE';
    return $value;
}

sub _loop {
    my ($name, $value) = @_;
    _bad($name, 'must be an EV::Loop object') unless blessed $value && $value->isa('EV::Loop');
    return $value;
}

sub _number_check {
    my (%limit) = @_;
    return sub {
        my ($name, $value) = @_;
        _bad($name, "must be a number from $limit{min} up, not '$value'")
            unless looks_like_number($value) && $value >= $limit{min} && $value < 9**99;
        return $value + 0;
    };
}

sub _integer_check {
    my (%limit) = @_;
    return sub {
        my ($name, $value) = @_;
        _bad($name, "must be an integer from $limit{min} to $limit{max}, not '$value'")
            unless $value =~ /\A[0-9]+\z/ && $value >= $limit{min} && $value <= $limit{max};
        return $value + 0;
    };
}

sub transaction_patience {
    my ($options) = @_;
    my $seconds = SHARE_OF_TRANSACTION * $options->{transaction_timeout} / 1000;
    return List::Util::min($seconds, $options->{delivery_timeout} || $seconds);
}

1;

__END__

=head1 NAME

EV::Kafka::Options - checks what EV::Kafka->new was given

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself.

=head1 METHODS

=head2 parse(@pairs)

    my $cfg = EV::Kafka::Options->parse(brokers => 'localhost', acks => 1);

Turns the options that L<EV::Kafka/new(%options)> documents into the
configuration that the client keeps in C<< $kafka->{cfg} >>: defaults filled
in, numbers made numbers, the broker list split into C<[host, port]> pairs. It
croaks on names it does not know and on values that make no sense, and names
the option. Credentials go no further than L<EV::Kafka::Security>.

=head2 transaction_patience(\%options)

Seconds that a request for a transaction may take.

=head2 die_of($text)

The default of C<on_error>.

=head2 level_refusal($compression, $level)

Why these two do not go together, in words that the name of C<compression_level> is put before; undef if
they do.

=head2 check($name, $value)

The value of one option, as C<parse> would have put it into the configuration; it croaks in
the same cases.

=head1 SEE ALSO

L<EV::Kafka>

=cut
