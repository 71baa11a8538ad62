package ScriptedBroker;
use strict;
use warnings;

use EV;
use IO::Socket::INET;
use Socket qw(SOMAXCONN);

# A broker that does what a test says, on a port of loopback, in the old and
# simple versions of the protocol:
#   Produce 3, Fetch 4, ListOffsets 1, Metadata 1, ApiVersions 0 (whichever version is asked for).
# api_versions => { key => [min, max] } are further ones that it offers.
# on_request gets ($broker, $connection, \%request) and returns the body of the
# answer, or undef to answer later or never.

our %API = (0 => 'Produce', 1 => 'Fetch', 2 => 'ListOffsets', 3 => 'Metadata', 18 => 'ApiVersions');

sub new {
    my ($class, %args) = @_;
    my $self = bless {
        on_request => $args{on_request} || sub { },
        topics     => $args{topics}     || { t => [0] },
        node_id    => $args{node_id}    || 0,
        offered    => $args{api_versions} || {},
        requests   => [],
        accepted   => 0,
        connections => {},
    }, $class;
    $self->listen;
    return $self;
}

sub listen {
    my ($self) = @_;
    $self->{listener} = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => $self->{port} || 0,
        Listen => SOMAXCONN, ReuseAddr => 1, Blocking => 0,
    ) or die "listen: $!";
    $self->{port} = $self->{listener}->sockport;
    $self->{accepting} = EV::io $self->{listener}, EV::READ, sub { $self->accept };
    return;
}

sub address { "127.0.0.1:$_[0]{port}" }

sub accept {
    my ($self) = @_;
    my $socket = $self->{listener}->accept or return;
    $socket->blocking(0);
    $self->{accepted}++;
    my $connection = { socket => $socket, in => '' };
    $self->{connections}{ 0 + $connection } = $connection;
    $connection->{reading} = EV::io $socket, EV::READ, sub { $self->read($connection) };
    return;
}

sub read {
    my ($self, $connection) = @_;
    my $got = sysread $connection->{socket}, $connection->{in}, 1 << 20, length $connection->{in};
    return if !defined $got && $!{EAGAIN};
    return $self->drop($connection) unless $got;
    while (length $connection->{in} >= 4) {
        my $size = unpack 'N', $connection->{in};
        last if length $connection->{in} < 4 + $size;
        my $frame = substr $connection->{in}, 4, $size;
        substr $connection->{in}, 0, 4 + $size, '';
        $self->handle($connection, $frame);
    }
    return;
}

sub handle {
    my ($self, $connection, $frame) = @_;
    my ($api, $version, $id, $client, $body) = unpack 'n n N n/a* a*', $frame;
    my %request = (api => $API{$api} // $api, version => $version, id => $id, client_id => $client, body => $body);
    if ($api == 18) {
        push @{ $self->{handshakes} }, \%request;
        return $self->answer($connection, \%request, $self->api_versions);
    }
    push @{ $self->{requests} }, \%request;
    my $answer = $self->{on_request}->($self, $connection, \%request);
    $answer = $self->metadata if !defined $answer && $api == 3 && !$request{held};
    $self->answer($connection, \%request, $answer) if defined $answer;
    return;
}

sub answer {
    my ($self, $connection, $request, $body) = @_;
    return unless $connection->{socket};
    my $bytes = pack 'N N a*', 4 + length $body, $request->{id}, $body;
    my $wrote = syswrite $connection->{socket}, $bytes;
    die "short write" unless ($wrote || 0) == length $bytes;
    return;
}

sub drop {
    my ($self, $connection) = @_;
    delete $self->{connections}{ 0 + $connection };
    delete $connection->{reading};
    delete $connection->{socket};
    return;
}

sub drop_all { $_[0]->drop($_) for values %{ $_[0]{connections} } }

sub stop {
    my ($self) = @_;
    delete @$self{qw(accepting listener)};
    return $self->drop_all;
}

sub requests {
    my ($self, $api) = @_;
    return grep { $_->{api} eq $api } @{ $self->{requests} };
}

sub _string { pack 'n/a*', $_[0] }

sub _array {
    my (@items) = @_;
    return pack('N', scalar @items) . join '', @items;
}

sub api_versions {
    my ($self) = @_;
    my $offered = $self ? $self->{offered} : {};
    my @ranges  = ([0, 3, 3], [1, 4, 4], [2, 1, 1], [3, 1, 1], [18, 0, 0], map { [$_, @{ $offered->{$_} }] } sort keys %$offered);
    return pack('n', 0) . _array(map { pack 'nnn', @$_ } @ranges);
}

# topics: name => [leader of partition 0, ...] or name => error code
sub metadata {
    my ($self, %topics) = @_;
    %topics = %{ $self->{topics} } unless %topics;
    my @brokers = map { pack('N', $_->{node_id}) . _string('127.0.0.1') . pack 'N n', $_->{port}, 0xffff }
        $self, @{ $self->{peers} || [] };
    my @topics;
    for my $name (sort keys %topics) {
        my ($error, $leaders) = ref $topics{$name} ? (0, $topics{$name}) : ($topics{$name}, []);
        my @partitions = map {
            my $leader = $leaders->[$_];
            pack('n N N', $leader < 0 ? 5 : 0, $_, $leader & 0xffffffff) . _array() . _array();
        } 0 .. $#$leaders;
        push @topics, pack('n', $error) . _string($name) . pack('C', 0) . _array(@partitions);
    }
    return _array(@brokers) . pack('N', $self->{node_id}) . _array(@topics);
}

# The partitions that a Produce request names: [topic, partition, batch bytes]
sub produced {
    my ($request) = @_;
    my $in = substr $request->{body}, 2 + 2 + 4;
    my ($topics, @parts) = (unpack 'N', substr $in, 0, 4, '');
    for (1 .. $topics) {
        my $name  = substr $in, 2, unpack 'n', $in;
        substr $in, 0, 2 + length $name, '';
        my $count = unpack 'N', substr $in, 0, 4, '';
        for (1 .. $count) {
            my ($partition, $size) = unpack 'N N', substr $in, 0, 8, '';
            push @parts, [$name, $partition, substr $in, 0, $size, ''];
        }
    }
    return @parts;
}

# Answers every partition with the error code, or the base offset when it is 0.
sub produce_answer {
    my ($request, $error, $base_offset) = @_;
    my @topics = map {
        my ($name, $partition) = @$_;
        _string($name) . _array(pack('N n', $partition, $error || 0) . pack 'q> q>', $base_offset || 0, -1);
    } produced($request);
    return _array(@topics) . pack 'N', 0;
}

# The offset that a Fetch request asks for (of its first partition), its limits, and
# whether aborted records are to be told apart.
sub fetched {
    my ($request) = @_;
    my (undef, $wait, $min, $max, $isolation, undef, $topic, undef, $partition, $offset, $partition_max)
        = unpack 'N N N N C N n/a* N N q> N', $request->{body};
    return { topic => $topic, partition => $partition, offset => $offset,
        max_bytes => $max, partition_max_bytes => $partition_max, max_wait_ms => $wait, min_bytes => $min,
        isolation_level => $isolation };
}

sub fetch_answer {
    my ($request, %answer) = @_;
    my $asked   = fetched($request);
    my $records = defined $answer{records} ? $answer{records} : '';
    my $end     = $answer{high_watermark} || 0;
    my $stable  = defined $answer{last_stable_offset} ? $answer{last_stable_offset} : $end;
    my @aborted = map { pack 'q> q>', @$_ } @{ $answer{aborted} || [] };
    return pack('N', 0) . _array(_string($asked->{topic}) . _array(
        pack('N n', $asked->{partition}, $answer{error} || 0)
        . pack('q> q>', $end, $stable) . _array(@aborted) . pack('N/a*', $records)));
}

# A batch of records at an offset; options as _test_encode_batch takes them.
sub batch {
    my ($base_offset, $records, %options) = @_;
    my $batch = EV::Kafka::_test_encode_batch($records, \%options);
    substr $batch, 0, 8, pack 'q>', $base_offset;
    return $batch;
}

# The end of a transaction, 'abort' or 'commit', as the coordinator writes it.
sub marker {
    my ($base_offset, $producer_id, $end) = @_;
    my $batch = batch($base_offset, [{ key => pack('n n', 0, $end eq 'commit'), value => pack 'n N', 0, 0 }],
        producer_id => $producer_id, producer_epoch => 0, is_transactional => 1);
    substr $batch, 21, 2, pack 'n', 0x20 | unpack 'n', substr $batch, 21, 2;
    substr $batch, 17, 4, pack 'N', EV::Kafka::_crc32c(substr $batch, 21);
    return $batch;
}

sub list_offsets_answer {
    my ($request, $offset, $error) = @_;
    my (undef, undef, $topic, undef, $partition) = unpack 'N N n/a* N N', $request->{body};
    return _array(_string($topic) . _array(pack('N n', $partition, $error || 0) . pack 'q> q>', -1, $offset));
}

1;
