package EV::Kafka::Options::Librdkafka;
use strict;
use warnings;

use Carp ();
use EV::Kafka::Options::Hint;

# A croak names the line of the program, not one of ours.
our @CARP_NOT = qw(EV::Kafka::Options EV::Kafka::Client EV::Kafka);

# librdkafka's property => [our option, what makes its value ours]. The options of a
# group are those of subscribe.
my %OPTION = (
    (map { $_ => [brokers => \&_as_it_is] } qw(bootstrap.servers metadata.broker.list)),
    'client.id'  => [client_id => \&_as_it_is],
    (map { $_ => [acks => \&_as_it_is] } qw(acks request.required.acks)),
    (map { $_ => [linger_ms => \&_as_it_is] } qw(linger.ms queue.buffering.max.ms)),
    'batch.size' => [batch_size => \&_as_it_is],
    'message.max.bytes' => [max_request_size => \&_as_it_is],
    (map { $_ => [compression => \&_as_it_is] } qw(compression.codec compression.type)),
    'compression.level' => [compression_level => sub { $_[1] eq '-1' ? undef : $_[1] }],
    'enable.idempotence'     => [idempotent => \&_flag],
    'transactional.id'       => [transactional_id => \&_as_it_is],
    'transaction.timeout.ms' => [transaction_timeout => \&_as_it_is],
    (map { $_ => [delivery_timeout => \&_seconds] } qw(message.timeout.ms delivery.timeout.ms)),
    'socket.timeout.ms'       => [request_timeout => \&_seconds],
    'request.timeout.ms'      => [broker_timeout => \&_seconds],
    'statistics.interval.ms'  => [stats_interval => \&_seconds],
    'connections.max.idle.ms' => [connections_max_idle => \&_seconds],
    'topic.metadata.refresh.interval.ms' => [metadata_refresh => sub { $_[1] eq '-1' ? 0 : _seconds(@_) }],
    'queue.buffering.max.kbytes' => [buffer_memory => sub { _number(@_) * 1024 }],
    'allow.auto.create.topics'   => [allow_auto_create_topics => \&_flag],
    'fetch.wait.max.ms' => [fetch_max_wait_ms => \&_as_it_is],
    'fetch.min.bytes'   => [fetch_min_bytes => \&_as_it_is],
    'fetch.max.bytes'   => [fetch_max_bytes => \&_as_it_is],
    'isolation.level'   => [isolation_level => \&_as_it_is],
    'ssl.ca.location'          => [tls_ca_file => \&_as_it_is],
    'ssl.certificate.location' => [tls_cert_file => \&_as_it_is],
    'ssl.key.location'         => [tls_key_file => \&_as_it_is],
    'ssl.key.password'         => [tls_key_password => \&_as_it_is],
    'enable.ssl.certificate.verification' => [tls_skip_verify => sub { _flag(@_) ? 0 : 1 }],
);

my %GROUP_OPTION = (
    'group.id'              => [group_id => \&_as_it_is],
    'group.instance.id'     => [group_instance_id => \&_as_it_is],
    'session.timeout.ms'    => [session_timeout => \&_as_it_is],
    'max.poll.interval.ms'  => [rebalance_timeout => \&_as_it_is],
    'heartbeat.interval.ms' => [heartbeat_interval => \&_seconds],
    'group.protocol'        => [group_protocol => \&_lower],
    'group.remote.assignor' => [group_remote_assignor => \&_as_it_is],
    'auto.offset.reset'     => [auto_offset_reset => \&_reset],
    'partition.assignment.strategy' => [assignors => sub { [split /\s*,\s*/, $_[1]] }],
    (map { $_ => [auto_commit => \&_flag] } qw(enable.auto.commit auto.commit.enable)),
    'auto.commit.interval.ms' => [auto_commit_interval => \&_seconds],
);

# What can be said, since it is so anyway.
my %ALWAYS = (
    'check.crcs'                            => qr/\A(?:true|1)\z/i,
    'socket.nagle.disable'                  => qr/\A(?:true|1)\z/i,
    'enable.auto.offset.store'              => qr/\A(?:true|1)\z/i,
    'delivery.report.only.error'            => qr/\A(?:false|0)\z/i,
    'partitioner'                           => qr/\Amurmur2(?:_random)?\z/,
    'ssl.endpoint.identification.algorithm' => qr/\Ahttps\z/i,
);

# They make options together: tls and sasl.
my %SECURITY = map { $_ => 1 } qw(security.protocol sasl.mechanism sasl.mechanisms sasl.username sasl.password);

# librdkafka's auto.commit.interval.ms, in seconds.
use constant COMMIT_INTERVAL => 5;

# The options of new, and those of subscribe, that say the same.
sub translate {
    my ($class, $properties) = @_;
    Carp::croak("EV::Kafka: option 'librdkafka' must be a hash reference of librdkafka's properties")
        unless ref $properties eq 'HASH';
    my %given = map { $_ => $properties->{$_} } grep { length($properties->{$_} // '') } keys %$properties;
    _refuse($_, 'must be a string') for grep { ref $given{$_} } sort keys %given;
    my (%option, %group, %said);
    for my $name (sort keys %given) {
        my $value = $given{$name};
        next if $SECURITY{$name} || $ALWAYS{$name} && $value =~ $ALWAYS{$name};
        my ($into, $rule) = $OPTION{$name} ? (\%option, $OPTION{$name}) : (\%group, $GROUP_OPTION{$name});
        _refuse($name, $ALWAYS{$name} ? "cannot be '$value' here" : 'has no counterpart here'
            . EV::Kafka::Options::Hint::did_you_mean($name, $class->properties)) unless $rule;
        my ($own, $convert) = @$rule;
        my $converted = $convert->($name, $value);
        _refuse($name, "and '$said{$own}' are one option, and say different things")
            if defined $said{$own} && $given{ $said{$own} } ne $value;
        $said{$own} = $name;
        $into->{$own} = $converted if defined $converted;
    }
    _security(\%given, \%option);
    _commits(\%group);
    return (\%option, \%group);
}

# Every name that translate takes.
sub properties { sort keys %OPTION, keys %GROUP_OPTION, keys %ALWAYS, keys %SECURITY }

# Our name for a property; undef if it makes none by itself.
sub option_of {
    my ($class, $name) = @_;
    my $rule = $OPTION{$name} || $GROUP_OPTION{$name} or return undef;
    return $rule->[0];
}

sub _refuse {
    my ($name, $what) = @_;
    Carp::croak("EV::Kafka: librdkafka's '$name' $what");
}

sub _as_it_is { $_[1] }

sub _lower { lc $_[1] }

sub _number {
    my ($name, $value) = @_;
    _refuse($name, "must be a whole number, not '$value'") unless $value =~ /\A[0-9]+\z/;
    return $value + 0;
}

sub _seconds { _number(@_) / 1000 }

sub _flag {
    my ($name, $value) = @_;
    return 1 if $value =~ /\A(?:true|t|1)\z/i;
    return 0 if $value =~ /\A(?:false|f|0)\z/i;
    _refuse($name, "must be true or false, not '$value'");
}

my %RESET = (
    (map { $_ => 'earliest' } qw(smallest earliest beginning)),
    (map { $_ => 'latest' } qw(largest latest end)),
    error => 'none',
);

sub _reset {
    my ($name, $value) = @_;
    return $RESET{$value} // _refuse($name, "cannot be '$value' here: earliest, latest or error");
}

sub _security {
    my ($given, $option) = @_;
    my $protocol = lc($given->{'security.protocol'} // 'plaintext');
    my ($is_sasl, $is_tls) = $protocol =~ /\A(sasl_)?(?:plaintext|(ssl))\z/
        or _refuse('security.protocol', "must be plaintext, ssl, sasl_plaintext or sasl_ssl, not '$protocol'");
    $option->{tls} = $is_tls ? 1 : 0 if defined $given->{'security.protocol'};
    my @sasl = sort grep { /\Asasl\./ } keys %$given;
    if (!$is_sasl) {
        _refuse($sasl[0], "needs 'security.protocol' sasl_plaintext or sasl_ssl") if @sasl;
        return;
    }
    my @mechanisms = grep { defined } map { $given->{$_} } qw(sasl.mechanism sasl.mechanisms);
    _refuse('sasl.mechanism', 'is needed: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER') unless @mechanisms;
    _refuse('sasl.mechanism', "and 'sasl.mechanisms' are one option, and say different things")
        if $mechanisms[0] ne $mechanisms[-1];
    $option->{sasl} = {
        mechanism => $mechanisms[0],
        map { defined $given->{"sasl.$_"} ? ($_ => $given->{"sasl.$_"}) : () } qw(username password),
    };
    return;
}

# There committing is by time unless it is off, here it is not unless a time is given.
sub _commits {
    my ($asked) = @_;
    $asked->{auto_commit_interval} //= COMMIT_INTERVAL if $asked->{auto_commit};
    delete $asked->{auto_commit_interval} if defined $asked->{auto_commit} && !$asked->{auto_commit};
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Options::Librdkafka - librdkafka's names of options, and ours

=head1 SYNOPSIS

    my $kafka = EV::Kafka->new(
        librdkafka => {
            'bootstrap.servers' => 'kafka-1:9093,kafka-2:9093',
            'security.protocol' => 'sasl_ssl',
            'sasl.mechanism'    => 'SCRAM-SHA-512',
            'sasl.username'     => 'reader',
            'sasl.password'     => $password,
            'group.id'          => 'readers',
            'auto.offset.reset' => 'earliest',
        },
        on_message => \&message,
    );
    $kafka->subscribe('orders');        # as a member of readers

=head1 DESCRIPTION

Programs that come from librdkafka, and from what is built on it (Net::Kafka,
confluent-kafka), have their options by its names, often in a file that other programs
read, too. L<EV::Kafka/new(%options)> takes them as C<librdkafka>. Values are the strings
that librdkafka takes: its milliseconds become seconds where ours are seconds. An option
beside C<librdkafka> goes before what it says. What belongs to a group becomes the default
of L<EV::Kafka/subscribe(@topics, %opts)>.

A property that has no counterpart croaks with its name: nothing is dropped without a word.

=head1 PROPERTIES

    librdkafka, and Net::Kafka              EV::Kafka->new

    bootstrap.servers, metadata.broker.list brokers
    client.id                               client_id
    security.protocol                       tls, sasl
    sasl.mechanism, sasl.mechanisms         sasl: mechanism
    sasl.username                           sasl: username
    sasl.password                           sasl: password
    ssl.ca.location                         tls_ca_file
    ssl.certificate.location                tls_cert_file
    ssl.key.location                        tls_key_file
    ssl.key.password                        tls_key_password
    enable.ssl.certificate.verification     tls_skip_verify, the opposite
    ssl.endpoint.identification.algorithm   https only: always so
    acks, request.required.acks             acks
    linger.ms, queue.buffering.max.ms       linger_ms
    batch.size                              batch_size
    message.max.bytes                       max_request_size
    compression.codec, compression.type     compression
    compression.level                       compression_level, -1 is not given
    partitioner                             murmur2 or murmur2_random only: always so
    enable.idempotence                      idempotent
    transactional.id                        transactional_id
    transaction.timeout.ms                  transaction_timeout
    message.timeout.ms, delivery.timeout.ms delivery_timeout, in seconds
    queue.buffering.max.kbytes              buffer_memory, in bytes
    delivery.report.only.error              false only: always so
    socket.timeout.ms                       request_timeout, in seconds
    request.timeout.ms                      broker_timeout, in seconds
    socket.nagle.disable                    true only: always so
    connections.max.idle.ms                 connections_max_idle, in seconds
    statistics.interval.ms                  stats_interval, in seconds
    topic.metadata.refresh.interval.ms      metadata_refresh, in seconds; -1 is 0
    allow.auto.create.topics                allow_auto_create_topics
    fetch.wait.max.ms                       fetch_max_wait_ms
    fetch.min.bytes                         fetch_min_bytes
    fetch.max.bytes                         fetch_max_bytes
    isolation.level                         isolation_level
    check.crcs                              true only: always so

                                            subscribe

    group.id                                group_id
    group.instance.id                       group_instance_id
    group.protocol                          group_protocol
    group.remote.assignor                   group_remote_assignor
    partition.assignment.strategy           assignors, a list
    session.timeout.ms                      session_timeout
    heartbeat.interval.ms                   heartbeat_interval, in seconds
    max.poll.interval.ms                    rebalance_timeout
    auto.offset.reset                       auto_offset_reset
    enable.auto.commit, auto.commit.enable  auto_commit, with an interval of 5 s
    auto.commit.interval.ms                 auto_commit_interval, in seconds
    enable.auto.offset.store                true only: always so

Where a default differs the property says more clearly what is meant: librdkafka reads
C<read_committed> and begins at the C<latest> record, EV::Kafka reads C<read_uncommitted> and
begins at the C<earliest>; librdkafka's own partitioner, C<consistent_random>, puts a key on
another partition than Java's producer and this one do (C<murmur2_random>).

=head1 METHODS

=head2 translate(\%properties)

The options of C<new> and those of C<subscribe> that say the same, as two references to
hashes. It croaks on what has no counterpart and on two names of one option that say
different things.

=head2 properties

The names that are known, sorted.

=head2 option_of($property)

The option that a property becomes; undef for one that makes none by itself.

=head1 SEE ALSO

L<EV::Kafka>

=cut
