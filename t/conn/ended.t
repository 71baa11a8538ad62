use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Socket qw(SOL_SOCKET SO_KEEPALIVE SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);

use ConnPeer;
use TestKafka qw(wait_until turns);

# What is sent into a connection that has ended, and what waits in a socket.

my $METADATA = pack 'N N N', 0, 1, 0;

subtest 'a connection whose end has not been read yet' => sub {
    my ($conn, $log) = ready(my $peer = ConnPeer->new);
    ok $conn->_is_usable, 'usable';
    $peer->hang_up;
    is $conn->state, 6, 'nothing is known of the end';
    ok !$conn->_is_usable, 'but one can look';
    my @got;
    $conn->metadata(['t'], sub { push @got, [@_] });
    $conn->produce('t', 0, 'k', 'v', { acks => 0 }, sub { push @got, [@_] });
    is_deeply \@got, [[undef, 'connection closed by broker']], 'acks 0 does not count as done';
    wait_until { @got == 2 } 'the other one';
    is_deeply $got[1], [undef, 'connection closed by broker'], 'the reason';
    is_deeply $log, ['disconnect'], 'and no error';
};

subtest 'behind answers that are unread as well' => sub {
    my ($conn, $log) = ready(my $peer = ConnPeer->new);
    my @got;
    $conn->metadata(['t'], sub { push @got, defined $_[1] ? $_[1] : 'answered' });
    wait_until { @{ $peer->{requests} } } 'the request';
    $peer->answer($peer->{requests}[0], $METADATA);
    $peer->hang_up;
    ok !$conn->_is_usable, 'the end is seen';
    $conn->metadata(['t'], sub { push @got, $_[1] });
    wait_until { @$log } 'the end';
    is_deeply \@got, ['answered', 'connection closed by broker'], 'the answer is taken first';
};

subtest 'how long it is idle' => sub {
    my ($conn, $log) = ready(my $peer = ConnPeer->new(on_request => sub { $METADATA }));
    my $start = time;
    select undef, undef, undef, 0.05;
    cmp_ok $conn->_idle, '>=', 0.05, 'since the handshake';
    my $answered;
    $conn->metadata(['t'], sub { $answered = 1 });
    is $conn->_idle, 0, 'not while something is under way';
    wait_until { $answered } 'the answer';
    cmp_ok $conn->_idle, '<', time - $start, 'since the answer';
};

subtest 'answers that lay in the socket while the program did something else' => sub {
    my $answer = $METADATA . 'x' x 300_000;    # some reads each
    my $peer = ConnPeer->new;
    my ($conn, $log) = ready($peer);
    $conn->request_timeout(0.1);
    my @got;
    my $ask = sub { $conn->metadata(['t'], sub { push @got, $_[1] // 'answered' }) };
    $ask->() for 1 .. 40;
    wait_until { @{ $peer->{requests} } == 40 } 'the requests';
    # As a broker in a process of its own: it writes while we do not run.
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $peer->{socket}->blocking(1);
        my $bytes = join '', map { ConnPeer::frame($_->{id}, $answer) } @{ $peer->{requests} };
        while (length $bytes) {
            my $wrote = syswrite $peer->{socket}, $bytes or last;
            substr $bytes, 0, $wrote, '';
        }
        require POSIX;
        POSIX::_exit(0);
    }
    # Longer than request_timeout, in one callback.
    my $blocked;
    my $block = EV::timer 0, 0, sub { select undef, undef, undef, 0.5; $blocked = 1 };
    wait_until { $blocked } 'the callback';
    wait_until { @got == 40 || @$log } 'an outcome';
    is_deeply [grep { $_ ne 'answered' } @got], [], 'are taken';
    is_deeply $log, [], 'and the connection stays';
    waitpid $pid, 0;
};

subtest 'a large answer that takes its time' => sub {
    my $peer = ConnPeer->new;
    my ($conn, $log) = ready($peer);
    $conn->request_timeout(0.3);
    my @got;
    $conn->metadata(['t'], sub { push @got, $_[1] // 'answered' });
    wait_until { @{ $peer->{requests} } } 'the request';
    my $bytes = ConnPeer::frame($peer->{requests}[0]{id}, $METADATA . 'x' x 20);
    my $start = time;
    my $drip  = EV::timer 0.1, 0.05, sub { $peer->raw(substr $bytes, 0, 2, '') if length $bytes };
    wait_until { @got } 'an outcome';
    is_deeply \@got, ['answered'], 'is not late while it flows in';
    cmp_ok time - $start, '>', 0.6, 'and takes twice the time of a request';
};

subtest 'a large request that takes its time' => sub {
    my $peer = ConnPeer->new;
    my ($conn, $log) = ready($peer);
    setsockopt $peer->{socket}, SOL_SOCKET, SO_RCVBUF, 65_536;
    $conn->request_timeout(0.4);
    delete $peer->{reading};
    my @got;
    my @topics = map { $_ . 'x' x 20_000 } 1 .. 400;
    $conn->metadata(\@topics, sub { push @got, $_[1] // 'answered' });
    my ($start, $read, $id, $size) = (time, 0);
    my $slowly = EV::timer 0.02, 0.02, sub {
        my $got = sysread $peer->{socket}, my $bytes, 130_000 or return;
        ($size, $id) = (unpack 'N n n N', $bytes)[0, 3] unless defined $id;
        $read += $got;
        $peer->raw(ConnPeer::frame($id, $METADATA)) if $read == 4 + $size;
    };
    wait_until { @got } 'an outcome';
    is_deeply \@got, ['answered'], 'is not late while it is taken';
    cmp_ok time - $start, '>', 0.8, 'and takes twice the time of a request';
};

done_testing;
