use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use IO::Handle;
use IO::Socket::INET;
use POSIX ();
use Test::More;

use ConnPeer qw(conn frame string array);
use Memory;
use TestKafka qw(wait_until turns);

# What a connection holds in memory is what it was asked to send, and what has
# arrived; and it gives that back.

plan skip_all => unseen() if unseen();

use constant MIB      => 1 << 20;
use constant REQUESTS => 10_000;

# What the allocator, perl and a read buffer may keep.
use constant SLACK => 8 * MIB;

sub at_most {
    my ($bytes, $limit, $what) = @_;
    note sprintf '%.1f MiB of %.1f', $bytes / MIB, $limit / MIB;
    return cmp_ok $bytes, '<=', $limit, $what;
}

# Starts a process that takes one connection, shakes hands, and then does what
# $serve->($socket, $commands) says, which blocks. Returns a connection to it, what
# that is told, and the writing end of $commands.
sub served {
    my ($versions, $serve) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!";
    pipe my $reader, my $writer or die "pipe: $!";
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        close $writer;
        local $SIG{PIPE} = 'IGNORE';
        my $socket  = $listener->accept or POSIX::_exit(1);
        my $request = request($socket);
        my @ranges  = map { pack 'n3', $_, @{ $versions->{$_} } } sort { $a <=> $b } keys %$versions;
        send_all($socket, frame($request->{id}, pack('n', 0) . array(@ranges)));
        eval { $serve->($socket, $reader); 1 } or print STDERR "peer: $@";
        POSIX::_exit(0);
    }
    close $reader;
    $writer->autoflush(1);
    my ($conn, $log) = conn();
    $conn->connect('127.0.0.1', $listener->sockport, 10);
    wait_until { @$log } 'connecting';
    is_deeply $log, ['connect'], 'connected';
    @$log = ();
    return ($conn, $log, $writer);
}

# In the peer: the next request; undef when there is no more.
sub request {
    my ($socket) = @_;
    4 == (read($socket, my $size, 4) || 0) or return;
    my $bytes = unpack 'N', $size;
    $bytes == (read($socket, my $frame, $bytes) || 0) or return;
    my ($api, $version, $id) = unpack 'n n N', $frame;
    return { api => $api, version => $version, id => $id };
}

# In the peer: sends all of it, or ends.
sub send_all {
    my ($socket, $bytes) = @_;
    my $sent = 0;
    while ($sent < length $bytes) {
        $sent += syswrite($socket, $bytes, 64 << 10, $sent) || POSIX::_exit(0);
    }
    return;
}

# Produce version 3 to partition 0 of t.
my $produced = array(string('t') . array(pack 'N n q> q>', 0, 0, 7, -1)) . pack 'N', 0;

my %PRODUCE = (0 => [3, 3]);
my %FETCH   = (1 => [4, 4]);

# A peer that reads nothing before it is told to, and then answers all.
sub late_reader {
    my ($socket, $commands) = @_;
    readline $commands or return;
    while (my $request = request($socket)) { send_all($socket, frame($request->{id}, $produced)) }
    return;
}

# Sends REQUESTS messages of some bytes.
sub pipeline {
    my ($conn, $bytes, $on_answer) = @_;
    my $value = 'v' x $bytes;
    $conn->produce('t', 0, undef, $value, $on_answer) for 1 .. REQUESTS;
    turns;
    return is $conn->pending, REQUESTS, REQUESTS . " requests of $bytes bytes";
}

my $start = resident();
for my $bytes (1_000, 10_000) {
    # Beside the message there are a request's and a batch's fields, the callback, and
    # what matches the answer.
    my $asked = 1.1 * REQUESTS * ($bytes + 300) + 3 * MIB;

    # The allocator keeps freed memory that it cannot give back to the system. So
    # the same memory is used for something else: then there is no more than before.
    my $given_back = sub {
        my ($when) = @_;
        my @other = map { 'x' x $bytes } 1 .. REQUESTS;
        return at_most(resident() - $start, $asked, "its memory is there for others $when");
    };

    subtest "a peer that reads nothing, and then everything, $bytes bytes each" => sub {
        my ($conn, $log, $command) = served(\%PRODUCE, \&late_reader);
        my ($answered, $wrong) = (0, 0);
        my $on_answer = sub {
            my ($result, $error) = @_;
            $answered++;
            $wrong++ if defined $error || $result->{topics}[0]{partitions}[0]{base_offset} != 7;
        };
        pipeline($conn, $bytes, $on_answer);
        at_most(resident() - $start, $asked, 'memory for what was asked to be sent');
        print $command "read\n";
        wait_until { $answered == REQUESTS } 'the answers';
        is $wrong, 0, 'answered';
        is $conn->pending, 0, 'nothing pending';
        $given_back->('when all is answered');
        is_deeply $log, [], 'and the connection stays';
    };

    subtest "a peer that never reads, $bytes bytes each" => sub {
        my ($conn, $log, $command) = served(\%PRODUCE, \&late_reader);
        my %reasons;
        my $on_answer = sub { $reasons{ $_[1] }++ };
        pipeline($conn, $bytes, $on_answer);
        at_most(resident() - $start, $asked, 'memory for what was asked to be sent');
        $conn->disconnect;
        is_deeply \%reasons, { disconnected => REQUESTS }, 'every callback was called';
        $given_back->('when disconnected');

        my ($again, undef, $open) = served(\%PRODUCE, \&late_reader);
        pipeline($again, $bytes, $on_answer);
        undef $again;
        is $reasons{destroyed}, REQUESTS, 'every callback was called';
        $given_back->('when destroyed');
    };
}

subtest 'a frame of no bytes' => sub {
    my ($conn, $log) = served({}, sub {
        my ($socket) = @_;
        request($socket);
        send_all($socket, pack 'N', 0);
        request($socket);
    });
    my @got;
    $conn->metadata(undef, sub { push @got, [@_] });
    wait_until { @$log > 1 } 'the end';
    is_deeply $log, ['error: response too short', 'disconnect'], 'ends the connection';
    is_deeply \@got, [[undef, 'response too short']], 'with the reason';
};

subtest 'an answer of no bytes' => sub {
    my ($conn, $log) = served({}, sub {
        my ($socket) = @_;
        while (my $request = request($socket)) { send_all($socket, frame($request->{id}, '')) }
    });
    for my $method (qw(metadata delete_topics)) {
        my @arguments = $method eq 'metadata' ? (undef) : (['t'], 1000);
        my @got;
        $conn->$method(@arguments, sub { push @got, [@_] });
        wait_until { @got } 'an answer';
        is $got[0][1], undef, "$method: no error";
        ok $got[0][0]{truncated}, 'but marked';
    }
    is_deeply $log, [], 'the connection stays';
};

use constant LARGE => 200 * MIB;

# What surrounds the records of partition 0 of t in Fetch version 4.
sub fetch_head {
    my ($size) = @_;
    return pack('N N n/a* N N n q> q> N N', 0, 1, 't', 1, 0, 0, 1000, 1000, 0, $size);
}

# In the peer: the start of an answer that has that many bytes of records.
sub large_head {
    my ($request, $size) = @_;
    my $head = fetch_head($size);
    return pack 'N N a*', 4 + length($head) + $size, $request->{id}, $head;
}

sub fetched {
    my ($conn) = @_;
    my ($topic, $error);
    my $called = 0;
    $conn->fetch('t', 0, 0, { max_bytes => LARGE }, sub {
        (my $result, $error) = @_;
        $called++;
        $topic = $result->{topics}[0] if $result;
    });
    wait_until { $called } 'a large answer';
    is $called, 1, 'called once';
    return ($topic && $topic->{partitions}[0], $error);
}

subtest '200 MiB of records' => sub {
    my $batch = EV::Kafka::_test_encode_batch([{ value => 'x' x (MIB - 100) }]);
    my $count = int(LARGE / length $batch) + 1;
    my ($conn, $log) = served(\%FETCH, sub {
        my ($socket) = @_;
        while (my $request = request($socket)) {
            send_all($socket, large_head($request, $count * length $batch));

            # The base offset is not part of what the checksum is about.
            send_all($socket, pack('q>', $_) . substr $batch, 8) for 0 .. $count - 1;
        }
    });
    my $before = resident();
    for my $time (1, 2) {
        my ($partition, $error) = fetched($conn);
        is $error, undef, "no error, time $time";
        is $partition->{error_code}, 0, 'no error code';
        is scalar @{ $partition->{records} }, $count, 'every record';
        is_deeply [map { $_->{offset} } @{ $partition->{records} }], [0 .. $count - 1], 'in order';
        is scalar(grep { length $_->{value} != MIB - 100 } @{ $partition->{records} }), 0, 'and whole';
        undef $partition;
        at_most(resident() - $before, SLACK, 'memory is given back');
    }
    is_deeply $log, [], 'the connection stays';
};

subtest '200 MiB of nothing sensible' => sub {
    my ($conn, $log) = served(\%FETCH, sub {
        my ($socket) = @_;
        my $piece = 'nonsense' x (MIB / 8);
        while (my $request = request($socket)) {
            send_all($socket, large_head($request, LARGE));
            send_all($socket, $piece) for 1 .. LARGE / MIB;
        }
    });
    my $before = resident();
    my ($partition, $error) = fetched($conn);
    is $error, undef, 'no error of the request';
    is_deeply [@$partition{qw(error_code records)}], [2, []], 'CORRUPT_MESSAGE, and no record';
    at_most(resident() - $before, SLACK, 'memory is given back');
    is_deeply $log, [], 'the connection stays';
};

subtest '200 MiB that are announced, and do not come' => sub {
    my ($conn, $log, $command) = served({ 1 => [4, 4], 3 => [0, 1] }, sub {
        my ($socket, $commands) = @_;
        my $first  = request($socket);
        my $second = request($socket);

        # In one piece, so that both have arrived when the first is answered.
        send_all($socket, frame($first->{id}, array() . pack('N', 0) . array()) . large_head($second, LARGE) . 'x' x 1000);
        readline $commands;
    });
    my $before = resident();
    my ($answered, @got);
    $conn->metadata(undef, sub { $answered = 1 });
    $conn->fetch('t', 0, 0, sub { push @got, [@_] });
    wait_until { $answered } 'the answer before';
    turns;
    at_most(resident() - $before, SLACK, 'no memory is taken on the word of a size');
    is_deeply \@got, [], 'the request waits';
    close $command;
    wait_until { @got } 'the end';
    is_deeply \@got, [[undef, 'connection closed by broker']], 'the peer goes';
    is_deeply $log, ['disconnect'], 'which is no error';
};

# Far more records than a program can have meant: each is some bytes on the wire.
subtest 'millions of small records' => sub {
    my $per_batch = 100_000;
    my $batch     = EV::Kafka::_test_encode_batch([map { { value => '' } } 1 .. $per_batch], { compression => 1 });
    my $batches   = 20;
    my ($conn, $log) = served(\%FETCH, sub {
        my ($socket) = @_;
        my $answered = 0;
        while (my $request = request($socket)) {
            my $first = $answered++ ? $batches - 1 : 0;
            my @batches = map { pack('q>', $_ * $per_batch) . substr $batch, 8 } $first .. $batches - 1;
            send_all($socket, large_head($request, @batches * length $batch));
            send_all($socket, join '', @batches);
        }
    });
    my $before = resident();
    my ($partition, $error) = fetched($conn);
    is $error, undef, 'no error';
    my $records = $partition->{records};
    is $records->[-1]{offset}, $#$records, 'the first of them, without a gap';
    cmp_ok scalar @$records, '>', MIB, 'many';
    at_most(resident() - $before, 600 * MIB, 'memory is bounded');
    undef $_ for $partition, $records;
    ($partition) = fetched($conn);
    is scalar @{ $partition->{records} }, $per_batch, 'the others come with the next fetch';
    is_deeply $log, [], 'the connection stays';
};

done_testing;
