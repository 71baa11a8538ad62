use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;
use Time::HiRes qw(time);

use ConnPeer;
use TestKafka qw(wait_until turns warnings_of);

# request_timeout of a connection, against a peer that shakes hands and then says nothing.

# An answer to Metadata version 1 without brokers and topics.
my $METADATA = pack 'N N N', 0, 1, 0;

# Sends what the call sends, with a timeout; the log, and how long it took.
sub times_out {
    my ($seconds, $call) = @_;
    my ($conn, $log) = ready(my $peer = ConnPeer->new);
    $conn->request_timeout($seconds);
    my $start = time;
    $call->($conn, sub { push @$log, "answer: $_[1]" });
    wait_until { @$log && $log->[-1] eq 'disconnect' } 'the timeout';
    my $took = time - $start;
    is $conn->state, 0, 'disconnected';
    wait_until { $peer->{closed} } 'the socket to be closed';
    return ($log, $took);
}

subtest 'an answer that does not come ends the connection' => sub {
    my $call = sub { $_[0]->metadata(['t'], $_[1]) };
    my ($log, $took) = times_out(0.05, $call);
    my $text = 'request timed out: Metadata v1';
    is_deeply $log, ["error: $text", "answer: $text", 'disconnect'], 'request, then connection';
    cmp_ok $took, '>=', 0.05, 'not too early';

    ($log) = times_out(0.05, sub { my ($conn, $cb) = @_; $conn->metadata(['t'], $cb) for 1 .. 3 });
    is_deeply $log, ["error: $text", ("answer: $text") x 3, 'disconnect'], 'with every request behind it';
};

subtest 'what a request lets the broker wait comes on top' => sub {
    my %calls = (
        'ListOffsets v1'  => [0,   sub { $_[0]->list_offsets('t', 0, -1, $_[1]) }],
        'Fetch v4'        => [0.2, sub { $_[0]->fetch('t', 0, 0, { max_wait_ms => 200 }, $_[1]) }],
        'JoinGroup v1'    => [0.3, sub { $_[0]->join_group('g', '', ['t'], $_[1], 100, 300) }],
        'CreateTopics v0' => [0.2, sub { $_[0]->create_topics([{ name => 't' }], 200, $_[1]) }],
        'DeleteTopics v0' => [0.2, sub { $_[0]->delete_topics(['t'], 200, $_[1]) }],
    );
    for my $name (sort keys %calls) {
        my ($wait, $call) = @{ $calls{$name} };
        my ($log, $took) = times_out(0.05, $call);
        my ($api) = split / /, $name;
        like $log->[0], qr/\Aerror: request timed out: $api v[0-9]+\z/, $log->[0];
        cmp_ok $took, '>=', 0.05 + $wait, "after $wait s and its own time";
    }
};

subtest 'one request with a time of its own' => sub {
    my ($log) = times_out(30, sub { $_[0]->_patience(0.05); $_[0]->metadata(['t'], $_[1]) });
    is $log->[0], 'error: request timed out: Metadata v1', 'is not waited for as long as others';
    for my $case (['it is used once', sub { $_[0]->_patience(0.05); $_[0]->_patience(30); $_[0]->metadata(['t'], $_[1]) }],
        ['what is not used is taken back', sub { $_[0]->_patience(0.05); $_[0]->_patience(undef) }])
    {
        my ($what, $call) = @$case;
        my ($conn, $log) = ready(my $peer = ConnPeer->new);
        $conn->request_timeout(30);
        $call->($conn, sub { push @$log, "first: $_[1]" });
        $conn->metadata(['t'], sub { push @$log, "second: $_[1]" });
        my $later;
        my $timer = EV::timer 0.2, 0, sub { $later = 1 };
        wait_until { $later } 'some time';
        is_deeply $log, [], $what;
        $conn->disconnect;
    }
};

subtest 'what may wait longer is not cut off' => sub {
    my ($conn, $log) = ready(my $peer = ConnPeer->new);
    $conn->request_timeout(0.05);
    $conn->sync_group('g', 1, 'm', [], sub { push @$log, "sync_group: $_[1]" });
    $conn->produce('t', 0, 'k', 'v', sub { push @$log, "produce: $_[1]" });
    my $later;
    my $timer = EV::timer 0.2, 0, sub { $later = 1 };
    wait_until { $later } 'some time';
    is_deeply $log, [], 'SyncGroup waits for the leader, Produce for the replicas';
    $conn->disconnect;
};

subtest 'an answer in time' => sub {
    my ($conn, $log) = ready(my $peer = ConnPeer->new(on_request => sub { $METADATA }));
    $conn->request_timeout(0.1);
    for (1 .. 3) {
        my $answered;
        $conn->metadata(['t'], sub { $answered = !defined $_[1] });
        wait_until { defined $answered } 'the answer';
        ok $answered, 'is given';
    }
    my $later;
    my $timer = EV::timer 0.2, 0, sub { $later = 1 };
    wait_until { $later } 'some time';
    is_deeply $log, [], 'and a connection without requests stays';
    ok $conn->connected, 'connected';
};

subtest 'none, and the default' => sub {
    for my $case ([zero => 0], [infinite => 9**9**9], [undef => undef], ['nothing']) {
        my ($what, @seconds) = @$case;
        my ($conn, $log) = ready(my $peer = ConnPeer->new);
        $conn->request_timeout(0.01);
        $conn->request_timeout(@seconds);
        $conn->metadata(['t'], sub { push @$log, 'answer' });
        my $later;
        my $timer = EV::timer 0.1, 0, sub { $later = 1 };
        wait_until { $later } 'some time';
        is_deeply $log, [], "$what: goes on waiting";
        $conn->disconnect;
    }
    my ($conn, $log) = ready(my $peer = ConnPeer->new);
    $conn->metadata(['t'], sub { push @$log, "answer: $_[1]" });
    $conn->request_timeout(0.01);
    my $later;
    my $timer = EV::timer 0.1, 0, sub { $later = 1 };
    wait_until { $later } 'some time';
    is_deeply $log, [], 'what was sent before keeps its time';
    $conn->metadata(['t'], sub { });
    wait_until { @$log > 2 } 'the timeout';
    is $log->[1], 'answer: request timed out: Metadata v1', 'unless one after it takes too long';
};

subtest 'it stays through reconnects' => sub {
    my ($conn, $log) = ready(my $peer = ConnPeer->new);
    $conn->auto_reconnect(1, 1);
    $conn->request_timeout(0.05);
    for my $round (1, 2) {
        @$log = ();
        $conn->metadata(['t'], sub { push @$log, "answer: $_[1]" });
        wait_until { @$log && $log->[-1] eq 'connect' } 'the next connection';
        is $log->[1], 'answer: request timed out: Metadata v1', "connection $round";
    }
    $conn->auto_reconnect(0);
};

subtest 'bad arguments' => sub {
    my ($conn) = conn();
    for my $bad (-1, 'nan', [], {}, sub { }) {
        ok !eval { $conn->request_timeout($bad); 1 }, "$bad";
        like $@, qr/\Arequest_timeout: seconds must be a number from 0 up at \Q$0\E/, 'croaks';
    }
    ok eval { $conn->request_timeout($_); 1 }, "$_ is good" for 0, 0.001, '2.5', 1e300;
};

done_testing;
