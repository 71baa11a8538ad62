package KafkaBench::Sections;

# The shapes that are measured: sections by name, their rows, and who does what in each.

use v5.14;
use warnings;

use Exporter   qw(import);
use File::Temp ();
use KafkaBench;
use KafkaBench::Broker;
use List::Util qw(max min);
use Records    qw(json_records RECORD_LEN);

our @EXPORT = qw(section_names section);

use constant {
    BOUND       => 100_000,       # messages that may be outstanding, librdkafka's own default ...
    BOUND_BYTES => 100_000_000,   # ... or bytes of values
    FETCH_BYTES => 4 << 20,       # of a Fetch: four partitions' worth of the peers' default for each
    POOL        => 64,            # buffers of large values, so that they are not always the same in the cache
    RECORDS     => 200_000,       # different JSON records; after them the same come again
    SEED        => 14,
    TAKE_TURNS  => 0.005,         # of the messages, where one comes after the other
    CODECS      => [qw(gzip snappy lz4 zstd)],
};

my @KNOWN = (
    produce           => \&_produce,
    callbacks         => \&_callbacks,
    defaults          => \&_defaults,
    idempotent        => \&_idempotent,
    'fire-and-forget' => \&_fire_and_forget,
    sizes             => \&_sizes,
    codecs            => \&_codecs,
    repeated          => \&_repeated,
    partitions        => \&_partitions,
    tls               => \&_tls,
    consume           => \&_consume,
    'consume-sizes'   => \&_consume_sizes,
    'consume-codecs'  => \&_consume_codecs,
    latency           => \&_latency,
    sequential        => \&_sequential,
    metadata          => \&_metadata,
);

# section_names() -> all, in their order.
sub section_names { return grep { !ref } @KNOWN }

# section($name) -> { name, title, kind, shows_bytes, rows }: kind is rate, turns (one after the
# other) or latency. A row:
#   name        its shape in words
#   messages, value_size, pool, values, partitions, rate, seconds
#               as bench/ev_kafka_bench.pl has them
#   settings    what means the same to all
#   peers       each [client, variant, shape, own settings ...]
#   ours        each [variant, shape, own settings ...]
#   reads       true: the topic is filled once, and read by all
#   one_topic   true: all share a topic
#   over_tls    true: by that listener
sub section {
    my ($name) = @_;
    my %section = @KNOWN;
    return { name => $name, kind => 'rate', $section{$name}->() };
}

# --- what rows are made of ------------------------------------------------------

# So many of BENCH_MESSAGES.
sub _messages { my ($factor) = @_; return max 10, int(setting('MESSAGES') * $factor) }

sub _producing {
    my ($name, %row) = @_;
    my $own = delete $row{settings} // {};
    return {
        name       => $name,
        messages   => _messages(1),
        value_size => setting('VALUE_SIZE'),
        partitions => setting('PARTITIONS'),
        peers      => [[librdkafka => '', 'produce'], ['franz-go' => '', 'produce']],
        ours       => [['one shared callback', 'shared_callback']],
        settings   => {
            acks        => setting('ACKS'),
            idempotent  => 0,
            in_flight   => 5,
            linger_ms   => setting('LINGER_MS'),
            batch_bytes => setting('BATCH_SIZE'),
            partitioner => 'murmur2',
            bound       => BOUND,
            compression => 'none',
            %$own,
        },
        %row,
    };
}

sub _consuming {
    my ($name, %row) = @_;
    my $written = delete $row{settings} // {};
    my $writer  = _producing($name, settings => $written, %row);
    return {
        %$writer,
        reads    => $writer->{settings},
        peers    => [[librdkafka => '', 'consume'], [librdkafka => 'by batches', 'consume_batches'], ['franz-go' => '', 'consume']],
        ours     => [['on_message', 'consume'], ['on_batch', 'consume_batches']],
        settings => { fetch_bytes => FETCH_BYTES },
        %row,
    };
}

sub _of_size {
    my ($size) = @_;
    my $bytes = 300;
    return (
        messages   => _messages(min 1, $bytes / $size),
        value_size => $size,
        pool       => $size > $bytes ? POOL : 1,
        settings   => { bound => max(1, min BOUND, int(BOUND_BYTES / $size)) },
    );
}

sub _grouped { my ($number) = @_; return scalar reverse join ',', unpack '(A3)*', reverse $number }

# A file of JSON records, as those who take part read them.
sub _json_values {
    state $file = do {
        my $out = File::Temp->new;
        binmode $out;
        print {$out} map { pack 'N/a*', $_ } json_records(min(RECORDS, _messages(1)), SEED);
        $out->flush;
        $out;
    };
    return (values => "$file", value_size => RECORD_LEN);
}

# --- producing ------------------------------------------------------------------

sub _produce {
    return (
        title => sprintf('produce: acks %s, linger %s ms, batches of up to %s bytes',
            map { setting($_) } qw(ACKS LINGER_MS BATCH_SIZE)),
        rows => [_producing(setting('VALUE_SIZE') . ' bytes',
            ours => [['no callback', 'no_callback'], ['one shared callback', 'shared_callback']])],
    );
}

sub _callbacks {
    my @fewer = (messages => _messages(0.3));
    return (
        title => 'callbacks: produce by what is called for each message',
        rows  => [_producing('callbacks', ours => [
            ['one shared callback', 'shared_callback'],
            ['one callback with an argument', 'with_argument'],
            ['closures, 2,000 at a time',           'fresh_closures', @fewer, bound => 2_000],
            ['closures, 2,000, flushing',           'fresh_closures', @fewer, bound => 2_000, flushes => 1],
            ['closures, 20,000 at a time',          'fresh_closures', @fewer, bound => 20_000],
            ['closures, 200,000 at a time',         'fresh_closures', @fewer, bound => 200_000],
            ['perl alone, closures, 2,000 of them', 'closures_alone', @fewer, bound => 2_000],
        ])],
    );
}

sub _defaults {
    my @own = (defaults => 1);
    return (
        title       => "defaults: produce with each library's own default options",
        shows_bytes => 1,
        rows        => [_producing('default options',
            peers => [[librdkafka => '', 'produce', @own], ['franz-go' => '', 'produce', @own]],
            ours  => [['one shared callback', 'shared_callback', @own]])],
    );
}

sub _idempotent {
    return (
        title => 'idempotent: produce as an idempotent producer, acks -1',
        rows  => [_producing('idempotent', settings => { acks => -1, idempotent => 1 })],
    );
}

sub _fire_and_forget {
    return (
        title => 'fire-and-forget: produce, acks 0',
        rows  => [_producing('acks 0', settings => { acks => 0 }, ours => [['no callback', 'no_callback']])],
    );
}

sub _sizes {
    return (
        title => 'sizes: produce by the size of values',
        rows  => [map { _producing(_grouped($_) . ' bytes', _of_size($_)) } 10, 1_000, 10_000, 100_000],
    );
}

sub _codecs {
    my %share = (gzip => 0.15, zstd => 0.4);
    return (
        title       => 'codecs: produce JSON records of ' . RECORD_LEN . ' bytes, each another',
        shows_bytes => 1,
        rows        => [map {
            _producing("$_, JSON", messages => _messages($share{$_} // 0.6), _json_values(), settings => { compression => $_ });
        } @{ +CODECS }],
    );
}

sub _repeated {
    my %share = (gzip => 0.5);
    my @rows;
    for my $codec (qw(gzip snappy)) {
        my @equal = (messages => _messages($share{$codec} // 1), settings => { compression => $codec });
        push @rows, _producing("produce, $codec, repeated", @equal), _consuming("consume, $codec, repeated", @equal);
    }
    return (title => 'repeated: one value again and again, compressed, both ways', shows_bytes => 1, rows => \@rows);
}

sub _partitions {
    my @many = (partitions => 200);
    return (
        title => 'partitions: 200 of them, both ways',
        rows  => [_producing('produce, 200 partitions', @many), _consuming('consume, 200 partitions', @many, messages => _messages(2))],
    );
}

sub _tls {
    my @over = (over_tls => 1);
    return (
        title => 'tls: both ways',
        rows  => [_producing('produce, TLS', @over), _consuming('consume, TLS', @over, messages => _messages(2))],
    );
}

# --- consuming --------------------------------------------------------------------

sub _consume {
    my @own  = (defaults => 1);
    my @what = (setting('VALUE_SIZE') . ' bytes', messages => _messages(3));
    return (
        title => 'consume: assigned partitions from the beginning',
        rows  => [
            _consuming(@what),
            _consuming("$what[0], default options", @what[1, 2],
                peers => [[librdkafka => '', 'consume', @own], [librdkafka => 'by batches', 'consume_batches', @own],
                    ['franz-go' => '', 'consume', @own]],
                ours  => [['on_message', 'consume', @own], ['on_batch', 'consume_batches', @own]]),
        ],
    );
}

sub _consume_sizes {
    return (
        title => 'consume-sizes: consume by the size of values',
        rows  => [map {
            my %size = _of_size($_);
            _consuming(_grouped($_) . ' bytes', %size, messages => 3 * $size{messages});
        } 1_000, 10_000, 100_000],
    );
}

sub _consume_codecs {
    my %share = (gzip => 0.6);
    return (
        title       => 'consume-codecs: consume JSON records of ' . RECORD_LEN . ' bytes, each another',
        shows_bytes => 1,
        rows        => [map {
            _consuming("$_, JSON", messages => _messages($share{$_} // 2), _json_values(), settings => { compression => $_ });
        } @{ +CODECS }],
    );
}

# --- one at a time ------------------------------------------------------------------

sub _latency {
    my @both = (['librdkafka' => '', 'latency'], ['franz-go' => '', 'latency']);
    return (
        title => 'latency: from produce to the same program\'s consumer, 1000 partitions, 200 messages a second, linger 0',
        kind  => 'latency',
        rows  => [_producing('1000 partitions, 200/s',
            messages => undef, partitions => 1_000, one_topic => 1, rate => 200, seconds => setting('SECONDS'),
            peers    => \@both, ours => [['on_message', 'latency']], settings => { linger_ms => 0 })],
    );
}

sub _sequential {
    return (
        title => 'sequential: one message after the other, acks 1, linger 0',
        kind  => 'turns',
        rows  => [_producing('one after the other',
            messages => _messages(TAKE_TURNS), one_topic => 1, settings => { acks => 1, linger_ms => 0 },
            peers    => [[librdkafka => '', 'sequential'], ['franz-go' => '', 'sequential']],
            ours     => [['', 'sequential'], ['the connection alone', 'sequential_on_a_connection', defaults => 1]])],
    );
}

sub _metadata {
    my @own = (defaults => 1);
    return (
        title => 'metadata: one request after the other',
        kind  => 'turns',
        rows  => [_producing('metadata',
            messages => _messages(TAKE_TURNS), one_topic => 1,
            peers    => [[librdkafka => '', 'metadata', @own], ['franz-go' => '', 'metadata', @own]],
            ours     => [['', 'metadata', @own]])],
    );
}

1;
