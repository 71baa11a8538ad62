package RealKafka;

# What the tests against real Apache Kafka share: a cluster, topics, waiting
# for events on the EV loop, and the independent clients to compare with.

use v5.14;
use warnings;

use Carp qw(croak);
use EV;
use EV::Kafka;
use Exporter       qw(import);
use File::Basename qw(dirname);
use File::Temp     ();
use lib dirname(__FILE__) . '/../../script/lib';
use KafkaCluster;

our @EXPORT = qw(
    await error_codes ask_while cluster shared_cluster create_topic await_readable connected_conn connected_client
    consume kcat kcat_produce kcat_consume java_produce header_text same_records
);

# However slow the machine is, an answer that takes longer will never come.
my $PATIENCE = 120;

# await($what, $start, $seconds = 120) -> what the callback given to $start got.
# Runs the loop until then; dies when it takes longer.
sub await {
    my ($what, $start, $seconds) = @_;
    $seconds //= $PATIENCE;
    my ($state, @result) = ('');
    my $deadline = EV::timer $seconds, 0, sub { $state ||= 'late'; EV::break };
    $start->(sub {
        return if $state;
        $state  = 'done';
        @result = @_;
        EV::break;
    });
    EV::run until $state;
    croak "nothing after $seconds s: $what" if $state eq 'late';
    return wantarray ? @result : $result[0];
}

# error_codes($result) -> every error code in it.
sub error_codes {
    my ($value) = @_;
    return map { error_codes($_) } @$value if ref $value eq 'ARRAY';
    return () unless ref $value eq 'HASH';
    return map { $_ eq 'error_code' ? $value->{$_} : error_codes($value->{$_}) } sort keys %$value;
}

# ask_while(\%transient, $ask) -> the first of $ask's results without such a code,
# which time mends.
sub ask_while {
    my ($transient, $ask) = @_;
    while (1) {
        my $result = $ask->();
        return $result unless grep { $transient->{$_} } error_codes($result);
        my $timer;
        await('the next try', sub { my ($done) = @_; $timer = EV::timer 0.05, 0, $done });
    }
}

# cluster(%options of KafkaCluster->start): one that ends with this process.
sub cluster { return KafkaCluster->start(@_, guard => 1) }

# shared_cluster($version): a single node for any number of test files. The
# environment names one that runs already; else this file starts its own.
sub shared_cluster {
    my ($version) = @_;
    (my $variable = "KAFKA_TEST_DIR_$version") =~ tr/./_/;
    return KafkaCluster->open($ENV{$variable}) if $ENV{$variable};
    # Kept here: its guard stops the brokers when the last reference goes, and callers may want the address only.
    state %started;
    return $started{$version} ||= cluster(version => $version);
}

# connected_conn("host:port") -> a ready EV::Kafka::Conn.
sub connected_conn {
    my ($address) = @_;
    my ($host, $port) = split /:/, $address;
    my $conn = EV::Kafka::Conn->new;
    await("connecting to $address", sub {
        my ($done) = @_;
        $conn->on_connect($done);
        $conn->on_error(sub { croak "$address: @_" });
        $conn->connect($host, $port, $PATIENCE);
    });
    $conn->on_connect;
    return $conn;
}

# connected_client(%options of EV::Kafka->new) -> a client with metadata.
sub connected_client {
    my (%option) = @_;
    my $kafka = EV::Kafka->new(on_error => sub { croak "EV::Kafka: @_" }, %option);
    await('connect', sub { $kafka->connect(@_) });
    return $kafka;
}

# create_topic("host:port", $name, $partitions, $replicas = 1) -> the topic's
# name: this one and what tells this process's topics from those of others.
# Comes back when each partition has a leader that knows it: one that has not heard yet refuses
# the first batch, which the second one then passes.
sub create_topic {
    my ($address, $name, $partitions, $replicas) = @_;
    $name .= "-$$";
    my $conn = connected_conn($address);
    my ($result, $error) = await("creating $name", sub {
        $conn->create_topics(
            [{ name => $name, num_partitions => $partitions, replication_factor => $replicas // 1 }],
            30_000, @_);
    });
    croak "$name: $error" if defined $error;
    my $code = $result->{topics}[0]{error_code};
    croak "$name: " . EV::Kafka::_error_name($code) if $code;
    my $brokers = _answer('metadata', sub { $conn->metadata([], @_) })->{brokers};
    $conn->disconnect;
    _await_readable($name, $partitions, map { $_->{node_id} => connected_conn("$_->{host}:$_->{port}") } @$brokers);
    return $name;
}

# await_readable($cluster, $topic): until readers are shown all that was acknowledged.
# Every node has to name the same leaders: who is sent to a former one by a node that
# has not heard yet reads from a follower, and that shows less. And a node that has just
# become a leader does not know how far its log is replicated before the others have
# fetched from it: until then it shows less than its predecessor did, and refuses to say
# where its log ends (KIP-207). Gives what was in the way, one line for each thing.
sub await_readable {
    my ($cluster, $topic) = @_;
    return _await_readable($topic, 1, map { $_ => connected_conn($cluster->address($_)) } $cluster->nodes);
}

# Of so many partitions at the least.
sub _await_readable {
    my ($topic, $least, %conn) = @_;
    my $deadline = EV::time + $PATIENCE;
    my @obstacles;
    while (defined(my $obstacle = _unreadable($topic, $least, %conn))) {
        push @obstacles, $obstacle unless @obstacles && $obstacles[-1] eq $obstacle;
        croak "$topic cannot be read after $PATIENCE s: $obstacle" if EV::time > $deadline;
        my $timer;
        await('the next look', sub { my ($done) = @_; $timer = EV::timer 0.05, 0, $done });
    }
    $_->disconnect for values %conn;
    return @obstacles;
}

# What is in the way of that; undef when nothing is.
sub _unreadable {
    my ($topic, $least, %conn) = @_;
    my (%named, @partitions);
    for my $node (sort keys %conn) {
        my $metadata = _answer("metadata of $topic", sub { $conn{$node}->metadata([$topic], @_) });
        @partitions = sort { $a->{partition} <=> $b->{partition} } @{ $metadata->{topics}[0]{partitions} };
        return "node $node knows ${\ scalar @partitions} partitions" if @partitions < $least;
        push @{ $named{ join ', ', map { "$_->{leader} in epoch $_->{leader_epoch}" } @partitions } }, $node;
    }
    return join '; ', map { "@{ $named{$_} } say that leaders are $_" } sort keys %named if keys %named > 1;
    for my $partition (@partitions) {
        my ($number, $leader) = @$partition{qw(partition leader)};
        return "partition $number has no leader" unless $conn{$leader};
        my $end = _answer("the end of $topic-$number", sub { $conn{$leader}->list_offsets($topic, $number, -1, @_) });
        my ($code) = grep { $_ } error_codes($end);
        return "leader $leader of partition $number answers with error code $code" if $code;
    }
    return undef;
}

sub _answer {
    my ($what, $ask) = @_;
    my ($result, $error) = await($what, $ask);
    croak "$what: $error" if defined $error;
    return $result;
}

# consume($brokers, $topic, $partitions, $count) -> one list a partition, of
# [offset, timestamp, key, value, headers], by EV::Kafka from the beginning.
sub consume {
    my ($brokers, $topic, $partitions, $count, %option) = @_;
    my ($seen, $done, @records) = (0);
    @records[$_] = [] for 0 .. $partitions - 1;
    my $kafka = connected_client(
        brokers         => $brokers,
        fetch_max_bytes => 4 << 20,
        on_message      => sub {
            my ($name, $partition, $offset, $key, $value, $headers, $timestamp) = @_;
            push @{ $records[$partition] }, [$offset, $timestamp, $key, $value, $headers];
            $done->() if ++$seen == $count;
        },
        %option,
    );
    $kafka->assign([map { { topic => $topic, partition => $_, offset => 0 } } 0 .. $partitions - 1]);
    my ($turn, $poll);
    $poll = sub {
        $kafka->poll(sub {
            croak "poll: $_[0]" if $poll && defined $_[0];
            $turn = EV::timer 0, 0, $poll if $poll;
        });
    };
    my $ok = eval { await("$count records of $topic", sub { ($done) = @_; $poll->() }); 1 };
    my $error = $@;
    undef $_ for $poll, $turn;
    croak "$error; $seen came" unless $ok;
    await('close', sub { $kafka->close(@_) });
    return @records;
}

# --- kcat ---------------------------------------------------------------------

# kcat(@arguments) -> what it printed; dies when it fails.
sub kcat {
    my (@arguments) = @_;
    open my $run, '-|', 'kcat', @arguments or croak "kcat: $!";
    binmode $run;
    my $output = do { local $/; readline $run };
    close $run or croak "kcat @arguments: " . ($! || "exit code $?");
    return $output // '';
}

# kcat_produce(\@arguments, $input)
sub kcat_produce {
    my ($arguments, $input) = @_;
    open my $run, '|-', 'kcat', '-P', @$arguments or croak "kcat: $!";
    binmode $run;
    print {$run} $input;
    close $run or croak "kcat @$arguments: " . ($! || "exit code $?");
    return;
}

# kcat_consume($brokers, $topic, $partitions) -> like consume, all there is;
# headers come as kcat prints them: name=value,name=value.
sub kcat_consume {
    my ($brokers, $topic, $partitions) = @_;
    my $output = kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q',
        '-X', 'check.crcs=true', '-f', '%p %o %T %K %S %h\n%k%s');
    my @records = map { [] } 1 .. $partitions;
    my $at = 0;
    while ($at < length $output) {
        my $end = index $output, "\n", $at;
        my ($partition, $offset, $timestamp, $key_bytes, $value_bytes, $headers)
            = split / /, substr($output, $at, $end - $at), 6;
        $at = $end + 1;
        my ($key, $value);
        ($key,   $at) = (substr($output, $at, $key_bytes),   $at + $key_bytes)   if $key_bytes >= 0;
        ($value, $at) = (substr($output, $at, $value_bytes), $at + $value_bytes) if $value_bytes >= 0;
        push @{ $records[$partition] }, [$offset, $timestamp, $key, $value, $headers];
    }
    return @records;
}

# --- Java ---------------------------------------------------------------------

# java_produce($version, $brokers, $topic, \%properties, \@records) ->
# [partition, offset] of each record; a record is [key, value, [[name, value]…]].
sub java_produce {
    my ($version, $brokers, $topic, $properties, $records) = @_;
    my $input = File::Temp->new;
    binmode $input;
    my $field = sub { defined $_[0] ? pack 'l>/a*', $_[0] : pack 'l>', -1 };
    for my $record (@$records) {
        my ($key, $value, $headers) = @$record;
        print {$input} $field->($key), $field->($value), pack('l>', scalar @{ $headers // [] }),
            map { $field->($_->[0]), $field->($_->[1]) } @{ $headers // [] };
    }
    close $input or croak "$input: $!";
    my @command = KafkaCluster::java_command($version, dirname(__FILE__) . '/Produce.java',
        "$input", $topic, "bootstrap.servers=$brokers", map { "$_=$properties->{$_}" } sort keys %$properties);
    open my $run, '-|', @command or croak "java: $!";
    my @placed = map { [split] } readline $run;
    close $run or croak "Produce.java: " . ($! || "exit code $?");
    return @placed;
}

# --- comparing ------------------------------------------------------------------

# header_text(\@pairs or \%hash) -> the text that kcat prints for them.
sub header_text {
    my ($headers) = @_;
    return '' unless $headers;
    my @pairs = ref $headers eq 'HASH' ? map { [$_, $headers->{$_}] } sort keys %$headers : @$headers;
    return join ',', map { $_->[0] . '=' . ($_->[1] // 'NULL') } @pairs;
}

# same_records(\@got, \@wanted) -> undef, or where the first difference is.
# Wanted are [key, value, header text]; offsets must count up from 0.
sub same_records {
    my ($got, $wanted) = @_;
    return @$got . ' records instead of ' . @$wanted if @$got != @$wanted;
    for my $i (0 .. $#$got) {
        my ($offset, undef, $key, $value, $headers) = @{ $got->[$i] };
        my ($wanted_key, $wanted_value, $wanted_headers) = @{ $wanted->[$i] };
        my $text = ref $headers ? header_text($headers) : $headers // '';
        return "record $i has offset $offset"   if $offset != $i;
        return "key of record $i differs"       unless _same($key,   $wanted_key);
        return "value of record $i differs"     unless _same($value, $wanted_value);
        return "headers of record $i are $text" unless $text eq $wanted_headers;
    }
    return undef;
}

sub _same {
    my ($one, $other) = @_;
    return defined $one && defined $other ? $one eq $other : !defined $one && !defined $other;
}

1;
