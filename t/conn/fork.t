# A connection belongs to the process that opens it.
use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;

use ConnPeer;
use ForkTest;
use TestKafka qw(wait_until turns);

# An answer to Metadata version 1 without brokers and topics.
my $METADATA = pack 'N N N', 0, 1, 0;

my $FOREIGN = qr/\AEV::Kafka::Conn: the connection belongs to the process that opened it, not to a child of fork at \Q$0\E line/;

sub new_peer { ConnPeer->new(versions => { 3 => [1, 1] }, on_request => sub { $METADATA }, @_) }

sub public_methods {
    no strict 'refs';
    return grep { !/\A(?:_|DESTROY|CLONE|new\z|disconnect\z|weaken\z)/ && defined &{"EV::Kafka::Conn::$_"} } sort keys %EV::Kafka::Conn::;
}

subtest 'every method but disconnect croaks in the child' => sub {
    my ($conn) = ready(new_peer());
    my @methods = public_methods();
    cmp_ok scalar(@methods), '>', 30, 'all methods are known';
    my $said = in_child {
        my ($out) = @_;
        for my $method (@methods) {
            eval { $conn->$method(method_arguments($method)); 1 } and print $out "$method lives\n";
            $@ =~ $FOREIGN or print $out "$method: $@\n";
        }
        $conn->disconnect;
        $conn->disconnect;
        eval { $conn->connect('127.0.0.1', 1, 1); 1 } and print $out "connect lives after disconnect\n";
    };
    is $said, '', 'with a text that says why';
    ok $conn->connected, 'the parent has its connection';
};

# What is right for the parent; some look at their arguments before anything else.
sub method_arguments {
    my ($method) = @_;
    return $method eq 'connect' ? ('127.0.0.1', 1, 1) : ();
}

subtest 'also where it has been closed since' => sub {
    my ($conn) = ready(new_peer());
    $conn->disconnect;
    my $said = in_child { my ($out) = @_; eval { $conn->connect('127.0.0.1', 1, 1) }; print $out $@ };
    like $said, $FOREIGN, 'it was opened';
};

subtest 'the child calls nobody, whatever it does to the connection' => sub {
    for my $how (qw(drop disconnect DESTROY loop)) {
        my ($conn, $log) = ready(my $peer = new_peer(on_request => sub { }));
        $conn->metadata(['t'], sub { push @$log, $_[1] // 'answer' });
        wait_until { @{ $peer->{requests} } } 'the request';
        my $said = in_child {
            my ($out) = @_;
            $peer->raw(frame($peer->{requests}[0]{id}, $METADATA)) if $how eq 'loop';
            turns;
            $conn->$how if $how eq 'disconnect' || $how eq 'DESTROY';
            undef $conn if $how eq 'drop';
            turns;
            print $out @$log;
        };
        is $said, '', "$how: nothing";
        $peer->answer($peer->{requests}[0], $METADATA) if $how ne 'loop';
        wait_until { @$log } "$how: the answer";
        is_deeply $log, ['answer'], "$how: the parent gets its answer";
        ok $conn->connected, "$how: and keeps its connection";
    }
};

subtest 'disconnect in the child closes its descriptor' => sub {
    my ($conn) = ready(my $peer = new_peer());
    my $child = child(sub {
        my ($out, $wait) = @_;
        $conn->disconnect;
        print $out "closed\n";
        readline $wait;
    });
    is readline $child->{out}, "closed\n", 'it says so';
    $conn->disconnect;
    wait_until { $peer->{closed} } 'the end at the peer, which nobody holds open';
    is $peer->{closed}, 1, 'closed while the child lives';
    reap($child);
};

subtest 'a callback that forks and returns' => sub {
    my @held;
    my $peer = new_peer(on_request => sub {
        my ($peer, $request) = @_;
        push @held, frame($request->{id}, $METADATA);
        $peer->raw(join '', splice @held) if @held == 3;
        return;
    });
    my ($conn, $log) = ready($peer);
    my ($child, $is_child);
    pipe my $out, my $child_out or die "pipe: $!";
    $conn->metadata(['t'], sub {
        $child = fork;
        defined $child or die "fork: $!";
        $is_child = !$child;
    });
    $conn->metadata(['t'], sub { push @$log, 'told' }) for 1, 2;
    wait_until { $is_child || @$log } 'the answers';
    if ($is_child) {
        turns;
        syswrite $child_out, "child: @$log";
        POSIX::_exit(0);
    }
    close $child_out;
    is do { local $/; readline $out }, 'child: ', 'the child is not told the rest';
    waitpid $child, 0;
    wait_until { @$log == 2 } 'the rest';
    is_deeply $log, ['told', 'told'], 'the parent is';
};

subtest 'a connection that has opened nothing belongs to whoever connects it first' => sub {
    my $peer = new_peer();
    my ($conn, $log) = conn();
    $conn->client_id('before');
    my $said = in_child {
        my ($out) = @_;
        my $peer = new_peer(on_request => sub { $_[1]{client_id} eq 'before' ? undef : $METADATA });
        print $out $conn->state, ' ';
        $conn->connect('127.0.0.1', $peer->port, 10);
        wait_until { $conn->connected } 'connecting in the child';
        $conn->metadata(['t'], sub { print $out " $_[1]" });
        wait_until { @{ $peer->{requests} } } 'the request';
        print $out $conn->pending, "@$log";
        undef $conn;
    };
    is $said, '0 1connect destroyed', 'the child has all of it, to the end';
    $conn->connect('127.0.0.1', $peer->port, 10);
    wait_until { $conn->connected } 'connecting in the parent';
    is_deeply $log, ['connect'], 'and so has the parent its own';
};

subtest 'a child of a child' => sub {
    my ($conn) = conn();
    my $said = in_child {
        my ($out) = @_;
        my $peer = new_peer();
        $conn->connect('127.0.0.1', $peer->port, 10);
        wait_until { $conn->connected } 'connecting';
        my $said = in_child { my ($out) = @_; eval { $conn->state }; print $out $@ };
        print $out $said;
        print $out $conn->state;
    };
    like $said, qr/${FOREIGN}.*\n6\z/, 'is no owner either';
};

done_testing;
