# A callback that is called before the method returns, and calls the method again: that goes on without end, and without
# a stack without end.
use strict;
use warnings;

use lib 't/lib';
use EV;
use EV::Kafka;
use Test::More;

use ConnPeer;
use TestKafka qw(wait_until turns);

no warnings 'recursion';

# Far more than any stack holds.
use constant ROUNDS => 20_000;

sub depth { my $depth = 0; $depth++ while caller $depth; return $depth }

# Metadata in version 1 only, and a ListOffsets that we do not speak.
sub new_peer { ConnPeer->new(versions => { 0 => [3, 3], 3 => [1, 1], 2 => [99, 99] }, on_request => sub { }) }

my $too_long = EV::Kafka::FetchSession->new;
$too_long->want('t' x 40_000, 0, 0, -1, -1, 1);

my %again = (
    'acks 0'              => sub { my ($conn, $cb) = @_; $conn->produce('t', 0, 'k', 'v', { acks => 0 }, $cb) },
    'acks 0, a batch'     => sub { my ($conn, $cb) = @_; $conn->produce_batch('t', 0, [{ value => 'v' }], { acks => 0 }, $cb) },
    'a codec too new'     => sub { my ($conn, $cb) = @_; $conn->produce('t', 0, 'k', 'v', { compression => 'zstd' }, $cb) },
    'a version too new'   => sub { my ($conn, $cb) = @_; $conn->list_offsets('t', 0, -1, $cb) },
    'a string too long'   => sub { my ($conn, $cb) = @_; $conn->metadata(['t' x 40_000], $cb) },
    '_fetch of a string too long' => sub { my ($conn, $cb) = @_; $conn->_fetch($too_long, 1, 1, 1, 0, $cb) },
);

for my $what (sort keys %again) {
    my ($conn) = ready(new_peer());
    my ($calls, $deepest) = (0, 0);
    my $rounds = $what =~ /long/ ? ROUNDS / 10 : ROUNDS;
    my $again;
    $again = sub {
        my $depth = depth();
        $deepest = $depth if $depth > $deepest;
        $again{$what}->($conn, $again) if ++$calls < $rounds;
    };
    $again{$what}->($conn, $again);
    cmp_ok $calls, '>', 1, "$what: some are called at once";
    wait_until { $calls >= $rounds } "$what: all calls";
    turns;
    is $calls, $rounds, "$what: each is called once";
    cmp_ok $deepest, '<', 1000, "$what: and the stack stays flat";
    undef $again;
}

subtest 'the order is that of the calls' => sub {
    my ($conn) = ready(new_peer());
    my ($sent, @called) = 0;
    my $again;
    $again = sub {
        my ($number) = @_;
        $conn->produce('t', 0, 'k', 'v', { acks => 0 }, sub { push @called, $number; $again->(++$sent) if $sent < 200; });
    };
    $again->(++$sent);
    $again->(++$sent);
    wait_until { @called == 200 } 'all calls';
    my @late = @called[100 .. 199];
    is_deeply \@late, [sort { $a <=> $b } @late], 'of those that wait as well';
    undef $again;
};

subtest 'what waits is called when the connection goes' => sub {
    for my $how (qw(drop DESTROY)) {
        my ($conn) = ready(new_peer());
        my ($calls, $gone, $again) = (0, 0);
        $again = sub { eval { $conn->produce('t', 0, 'k', 'v', { acks => 0 }, $again) } if $conn && ++$calls < 1000 };
        $conn->produce('t', 0, 'k', 'v', { acks => 0 }, $again);
        $conn->produce('t', 0, 'k', 'v', { acks => 0 }, sub { $gone++ });
        is $gone, 0, "$how: the last one waits";
        $how eq 'drop' ? undef $conn : $conn->DESTROY;
        undef $conn;
        is $gone, 1, "$how: and is called";
        turns;
        is $gone, 1, "$how: once";
        undef $again;
    }
};

subtest 'every callback disconnects, or connects again' => sub {
    for my $how (qw(disconnect connect DESTROY)) {
        my ($conn) = ready(my $peer = new_peer());
        my ($answered, $deepest, $connected) = (0, 0, 1);
        for (1 .. ROUNDS) {
            $conn->metadata(['t'], sub {
                $answered++;
                my $depth = depth();
                $deepest = $depth if $depth > $deepest;
                $conn->$how($how eq 'connect' ? ('127.0.0.1', $peer->port, 10) : ()) if $connected;
            });
        }
        $how eq 'connect' ? $conn->connect('127.0.0.1', $peer->port, 10) : $conn->disconnect;
        wait_until { $answered == ROUNDS } "$how: all are called";
        turns;
        is $answered, ROUNDS, "$how: once";
        cmp_ok $deepest, '<', 1000, "$how: and the stack stays flat";
        $connected = 0;
    }
};

done_testing;
