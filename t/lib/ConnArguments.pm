package ConnArguments;
use strict;
use warnings;

use Exporter qw(import);
use Scalar::Util qw(refaddr reftype);

# Every argument of EV::Kafka::Conn's methods: its name in croaks, its kind, a
# good value, and the whole list of arguments with a value in its place.

our @EXPORT_OK = qw(requests refusals likenesses fill);

# What callbacks have got.
our @ANSWERS;
my $cb = sub { push @ANSWERS, [@_] };

# What is the same to Perl as a plain value. Each counts how often it is read.
{
    package ConnArguments::Tied;
    sub TIESCALAR { my ($class, $value) = @_; return bless { value => $value, read => 0 }, $class }
    sub FETCH { my ($self) = @_; $self->{read}++; return $self->{value} }
    package ConnArguments::Text;
    use overload '""' => \&ConnArguments::Tied::FETCH, fallback => 1;
    package ConnArguments::Number;
    use overload '0+' => \&ConnArguments::Tied::FETCH, fallback => 1;
}

sub object { my ($kind, $value) = @_; return bless { value => $value, read => 0 }, "ConnArguments::$kind" }

# likenesses($kind, $value) -> name => sub that makes $_[0] like the value and
# returns what counts.
sub likenesses {
    my ($kind, $value) = @_;
    my %like = (
        'tied'                   => sub { tie $_[0], 'ConnArguments::Tied', $value },
        'an object that is text' => sub { $_[0] = object(Text => $value) },
        'a tied object'          => sub { tie $_[0], 'ConnArguments::Tied', object(Text => $value) },
    );
    return %like if $kind !~ /\Aint/;
    $like{'an object that is a number'} = sub { $_[0] = object(Number => $value) };
    $like{'a string'}        = sub { $_[0] = "$value"; undef };
    $like{'with a fraction'} = sub { $_[0] = $value + ($value < 0 ? -0.5 : 0.5); undef };
    return %like;
}

# fill($arguments, $make): a list of arguments in whose open place $make has put
# something; and what it returned.
sub fill {
    my ($arguments, $make) = @_;
    my $open = \'open';
    my @list = $arguments->($open);
    my @places = \(@list);
    while (my $place = shift @places) {
        my $ref = ref $$place or next;
        return (\@list, $make->($$place)) if refaddr($$place) == refaddr($open);
        push @places, $ref eq 'ARRAY' ? \(@$$place) : $ref eq 'HASH' ? map { \$_ } values %$$place : ();
    }
    die 'no place was open';
}

sub in_options { my ($name, @before) = @_; return sub { (@before, { timestamp => 5, $name => $_[0] }, $cb) } }

sub produce_arguments {
    my ($method, @before) = @_;
    return (
        (map { my $name = $_; [$method, @$name, in_options($name->[0], @before)] }
            [acks => int16 => -1], [timestamp => int64 => 1 << 40], [compression => option => 'gzip'],
            [compression_level => int64 => 7],
            [producer_id => int64 => 7], [producer_epoch => int16 => 7], [base_sequence => int32 => 7],
            [transactional_id => string => 'x']),
        [$method, options  => hash => undef, sub { (@before, $_[0], $cb) }],
        [$method, callback => callback => undef, sub { (@before, {}, $_[0]) }],
    );
}

sub fetch_arguments {
    my ($method, @before) = @_;
    return (
        (map { [$method, $_, int32 => 7, in_options($_, @before)] } qw(max_bytes max_wait_ms min_bytes)),
        [$method, isolation_level => int64 => 1, in_options('isolation_level', @before)],
        [$method, options  => hash => undef, sub { (@before, $_[0], $cb) }],
        [$method, callback => callback => undef, sub { (@before, {}, $_[0]) }],
    );
}

# positional($method, [$name, $kind, $good]...): arguments one after the other.
sub positional {
    my ($method, @arguments) = @_;
    my @good = map { $_->[1] eq 'callback' ? $cb : $_->[2] } @arguments;
    return map {
        my $index = $_;
        my $in_place = sub { my @all = @good; $all[$index] = $_[0]; @all };
        [$method, @{ $arguments[$index] }[0 .. 2], $in_place];
    } grep { $arguments[$_][1] ne 'given' } 0 .. $#arguments;
}

# inside($method, $fill, [$name, $kind, $good]...): arguments that are deeper in a
# structure, which $fill->($name, $value) makes.
sub inside {
    my ($method, $fill, @arguments) = @_;
    return map { my $name = $_->[0]; [$method, @$_[0 .. 2], sub { $fill->($name, $_[0]) }] } @arguments;
}

# Arguments of requests, as [$method, $name, $kind, $good, $code].
sub requests { return (producing(), fetching(), describing(), of_members(), of_transactions()) }

my @topic      = ([topic => string => 't'], [partition => int32 => 7]);
my @callback   = ([callback => 'callback']);
my @no_options = ([callback => given => $cb]);

sub producing {
    my $records = [{ value => 'v', timestamp => 5 }];
    my $headers = sub { my (undef, $value) = @_; ('t', 0, 'k', 'v', { headers => $value, timestamp => 5 }, $cb) };
    my $record  = sub { my ($name, $value) = @_; ('t', 0, [{ value => 'v', timestamp => 5, $name => $value }], $cb) };
    my $in_hash = sub { $headers->(undef, { h => $_[1] }) };
    my $in_pair = sub { my ($name, $value) = @_; $headers->(undef, [$name =~ /name/ ? [$value, 'v'] : ['h', $value]]) };
    return (
        positional(produce => @topic, [key => bytes => 'k'], [value => bytes => 'v'],
            [options => given => { timestamp => 5 }], @no_options),
        produce_arguments(produce => 't', 0, 'k', 'v'),
        inside(produce => $headers, [headers => 'headers']),
        inside(produce => $in_hash, ["header's value" => bytes => 'x']),
        inside(produce => $in_pair, ["header's value" => bytes => 'x'], ["header's name" => bytes => 'x']),

        positional(produce_batch => @topic, [records => given => $records], @no_options),
        produce_arguments(produce_batch => 't', 0, $records),
        inside(produce_batch => $record, [key => bytes => 'x'], [value => bytes => 'x'],
            [timestamp => int64 => 1 << 40], [headers => 'headers']),
        inside(produce_batch => sub { $record->(headers => { h => $_[1] }) }, ["header's value" => bytes => 'x']),
    );
}

sub fetching {
    my $multi = sub { my ($name, $value) = @_; ({ t => [{ $name => $value }] }, $cb) };
    my $timed = sub { my ($name, $value) = @_; ('t', 0, -2, $cb, { $name => $value }) };
    return (
        positional(fetch => @topic, [offset => int64 => 1 << 40], @no_options),
        fetch_arguments(fetch => 't', 0, 0),
        inside(fetch_multi => $multi, [partition => int32 => 7], [offset => int64 => 1 << 40]),
        fetch_arguments(fetch_multi => { t => [{}] }),
        positional(list_offsets => @topic, [timestamp => int64 => -2], @callback),
        inside(list_offsets => $timed, [isolation_level => int64 => 1], [leader_epoch => int32 => 7]),
        inside(list_offsets => sub { ('t', 0, -2, $cb, $_[1]) }, [options => 'hash']),
    );
}

sub describing {
    my $creatable = sub { my ($name, $value) = @_; ([{ $name => $value }], 5000, $cb) };
    my @timeout   = ([topics => given => []], [timeout_ms => int32 => 5000], @callback);
    return (
        inside(metadata => sub { ([$_[1]], $cb) }, [topic => string => 't']),
        inside(metadata => sub { ($_[1], $cb) }, ['' => 'array_or_undef']),
        positional(metadata => [topics => given => ['t']], @callback),
        positional(find_coordinator => [key => string => 'g'], @callback, [key_type => int8 => 1]),
        inside(create_topics => $creatable,
            [name => string => 't'], [num_partitions => int32 => 3], [replication_factor => int16 => 2]),
        inside(delete_topics => sub { ([$_[1]], 5000, $cb) }, [name => string => 't']),
        map { (positional($_ => @timeout), inside($_ => sub { ($_[1], 5000, $cb) }, ['' => 'array'])) }
            qw(create_topics delete_topics),
    );
}

my $group   = [group_id => string => 'g'];
my $member  = [member_id => string => 'm'];
my @member  = ($group, [generation_id => int32 => 7], $member);
my @static  = ([group_instance_id => string => 'i']);
my $offsets = [offsets => given => []];
my @offset  = ([partition => int32 => 7], [offset => int64 => 1 << 40], [leader_epoch => int32 => 7],
    [metadata => string => 'm']);

# of_topics($method, @before): what [{ topic => ..., partitions => [...] }]
# may have, behind the arguments @before.
sub of_topics {
    my ($method, @before) = @_;
    my $topic     = sub { (@before, [{ topic => $_[1], partitions => [] }], $cb) };
    my $partition = sub { (@before, [{ topic => 't', partitions => [$_[1]] }], $cb) };
    my $entry     = sub { my ($name, $value) = @_; $partition->(undef, { $name => $value }) };
    return (
        inside($method => $topic, [topic => string => 't']),
        $method =~ /commit/
            ? inside($method => $entry, @offset)
            : (inside($method => $entry, $offset[0]),
               inside($method => $partition, [partition => 'int32 or hash' => 7])),
    );
}

sub of_members {
    my $assignment = sub { my ($name, $value) = @_; ('g', 7, 'm', [{ $name => $value }], $cb) };
    return (
        positional(join_group => $group, $member, [topics => given => ['t']], @callback,
            [session_timeout_ms => int32 => 9], [rebalance_timeout_ms => int32 => 9], @static),
        inside(join_group => sub { ('g', 'm', [$_[1]], $cb) }, [topic => string => 't']),
        inside(join_group => sub { ('g', 'm', $_[1], $cb) }, ['' => 'array']),
        positional(sync_group => @member, [assignments => given => []], @callback, @static),
        inside(sync_group => $assignment, [member_id => string => 'x'], [assignment => bytes => 'x']),
        inside(sync_group => sub { ('g', 7, 'm', $_[1], $cb) }, ['' => 'array_or_undef']),
        positional(heartbeat => @member, @callback, @static),
        positional(leave_group => $group, $member, @callback),
        positional(offset_commit => @member, $offsets, @callback, @static),
        of_topics(offset_commit => 'g', 7, 'm'),
        positional(offset_fetch => $group, $offsets, @no_options),
        of_topics(offset_fetch => 'g'),
        inside(offset_fetch => sub { ('g', [], $_[1], $cb) }, [options => 'hash']),
        inside(offset_fetch => sub { ('g', [], {}, $_[1]) }, [callback => 'callback']),
    );
}

sub of_transactions {
    my @producer = ([producer_id => int64 => 1 << 40], [epoch => int16 => 5]);
    my @of_txn   = ([txn_id => string => 'x'], @producer);
    my ($id, @of_producer) = @of_txn;
    return (
        positional(init_producer_id => [transactional_id => string => 'x'], [txn_timeout_ms => int32 => 9],
            @callback, @producer),
        positional(add_partitions_to_txn => @of_txn, $offsets, @callback),
        of_topics(add_partitions_to_txn => 'x', 1, 5),
        positional(add_offsets_to_txn => @of_txn, $group, @callback),
        positional(end_txn => @of_txn, [committed => given => 1], @callback, [transaction_version => given => 2]),
        positional(txn_offset_commit => $id, $group, @of_producer, [generation => int32 => 7], $member,
            $offsets, @callback, @static, [transaction_version => given => 2]),
        of_topics(txn_offset_commit => 'x', 'g', 1, 5, 7, 'm'),
    );
}

# What is no request.
sub settings {
    my $tls = 'EV::Kafka::Conn: tls';
    return (
        positional(connect => [host => bytes => '127.0.0.1'], [port => uint16 => 1], [timeout => seconds => 1]),
        positional(auto_reconnect => [enable => given => 0], [delay_ms => uint32 => 1]),
        positional(request_timeout => [seconds => seconds => 1]),
        positional(client_id => [id => string => 'x']),
        positional(tls => [enable => given => 1], [ca_file => bytes => undef], [skip_verify => given => 0],
            [cert_file => bytes => undef], [key_file => bytes => undef], [options => hash => undef]),
        positional(sasl => [mechanism => bytes => 'PLAIN'], [username => bytes => 'u'], [password => bytes => 'p']),
        (map { positional($_ => [callback => 'callback']) } qw(on_error on_connect on_disconnect on_notice on_throttle)),
    );
}

my @PLAIN_REFERENCES = ([], {}, \'text', $cb, qr/x/, bless({}, 'Without::Overloading'));
# Numbers that do not fit: those next to the ends, and those far away.
sub outside {
    my ($unsigned, $bits) = @_;
    my @next = $bits == 64 ? (1 << 63, -1e19)
        : $unsigned ? (-1, 1 << $bits)
        : (-(1 << $bits - 1) - 1, 1 << $bits - 1);
    return (@next, 1e30, -1e30, 9**9**9, -9**9**9, 'nan', '99999999999999999999');
}

# What is wrong for an argument of a kind, as text => [values].
sub wrong {
    my ($name, $kind) = @_;
    my @no_array = (1, '', {}, \1, $cb);
    if ($kind =~ /\A(u?)int([0-9]+)(.*)\z/) {
        my @references = grep { !$3 || reftype($_) ne 'HASH' } @PLAIN_REFERENCES;
        return ("$name out of range" => [outside($1, $2)], "$name must be a number" => \@references);
    }
    return ("$name must be a string" => \@PLAIN_REFERENCES) if $kind =~ /\A(?:string|bytes|option)\z/;
    return ("$name must be a number from 0 up" => [-1, -1e-9, 'nan', -9**9**9, @PLAIN_REFERENCES])
        if $kind eq 'seconds';
    return ('callback must be a code reference' => [1, '', 'main::cb', [], {}, \$cb]) if $kind eq 'callback';
    return ('options must be a hashref' => [1, '', [], \{}]) if $kind eq 'hash';
    return ('headers must be a hashref or an arrayref of [name, value] pairs' => [1, '', \{}, $cb, ['h'], [[]], [{}]])
        if $kind eq 'headers';
    return ('expected arrayref' => [@no_array, $kind eq 'array' ? undef : ()]) if $kind =~ /\Aarray/;
    die "no such kind: $kind";
}

# Refused calls, as [$text, $method, @arguments].
sub refusals {
    my @refusals;
    for (requests(), settings()) {
        my ($method, $name, $kind, undef, $arguments) = @$_;
        my %wrong = wrong($name, $kind);
        my $prefix = $method =~ /\A(?:tls|sasl)\z/ ? "EV::Kafka::Conn: $method" : $method;
        for my $text (sort keys %wrong) {
            push @refusals, map { ["$prefix: $text", $method, $arguments->($_)] } @{ $wrong{$text} };
        }
    }
    return (@refusals, of_structures());
}

# Structures that are wrong themselves.
sub of_structures {
    my $each = sub { my ($text, $method, $arguments, @wrong) = @_; map { [$text, $method, $arguments->($_)] } @wrong };
    my @no_hash  = (undef, 1, [], \1);
    my @no_array = (undef, 1, {}, \1);
    my @topics = (
        [offset_commit => 'g', 1, 'm'], [offset_fetch => 'g'], [add_partitions_to_txn => 'x', 1, 1],
        [txn_offset_commit => 'x', 'g', 1, 1, 1, 'm'],
    );
    return (
        (map { ['unsupported compression: brotli', @$_, { compression => 'brotli' }, $cb] }
            [produce => 't', 0, 'k', 'v'], [produce_batch => 't', 0, [{}]]),
        (map { ['compression_level must be from 1 to 17 with lz4, not 18', @$_, { compression => 'lz4', compression_level => 18 }, $cb] }
            [produce => 't', 0, 'k', 'v'], [produce_batch => 't', 0, [{}]]),
        $each->('produce_batch: expected arrayref of records',
            produce_batch => sub { ('t', 0, $_[0], $cb) }, @no_array),
        $each->('produce_batch: record element must be a hashref',
            produce_batch => sub { ('t', 0, [{}, $_[0]], $cb) }, @no_hash),
        ['produce_batch: a batch must have records' => produce_batch => 't', 0, [], $cb],
        $each->('fetch_multi: expected hashref', fetch_multi => sub { ($_[0], $cb) }, @no_hash),
        $each->('fetch_multi: value must be an arrayref', fetch_multi => sub { ({ t => $_[0] }, $cb) }, @no_array),
        $each->('fetch_multi: partition entry must be a hashref',
            fetch_multi => sub { ({ t => [{}, $_[0]] }, $cb) }, @no_hash),
        $each->('create_topics: topic must be a hashref', create_topics => sub { ([{}, $_[0]], 1, $cb) }, @no_hash),
        $each->('sync_group: bad element', sync_group => sub { ('g', 1, 'm', [{}, $_[0]], $cb) }, @no_hash),
        (map {
            my ($method, @before) = @$_;
            my $partitions = sub { (@before, [{ topic => 't', partitions => $_[0] }], $cb) };
            (
                $each->("$method: expected arrayref", $method => sub { (@before, $_[0], $cb) }, @no_array),
                $each->("$method: bad element", $method => sub { (@before, [$_[0]], $cb) }, @no_hash),
                $each->("$method: missing topic", $method => sub { (@before, [$_[0]], $cb) }, {}, { partitions => [] }),
                $each->("$method: missing partitions", $method => $partitions, @no_array),
                $each->("$method: bad partition", $method => $partitions, [undef]),
            )
        } @topics),
        ['client_id: id is too long' => client_id => 'x' x 32768],
        ['EV::Kafka::Conn: sasl: token must be a string or a code reference' => sasl => 'OAUTHBEARER', []],
    );
}

1;
