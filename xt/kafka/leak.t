use v5.14;
use warnings;

# 100,000 connects, 100,000 requests and 100,000 delivery callbacks, every
# callback of which dies, leave the process as large as it was.

use EV;
use lib 'xt/lib';
use RealKafka;
use Test::More;

my $ROUNDS = 100_000;

# Growth that the allocator alone may cause after the first tenth; a leak of
# the smallest Perl value per round would be more.
my $TOLERANCE_KB = 2_000;

my $brokers = shared_cluster($KafkaCluster::NEWEST)->bootstrap;
my ($host, $port) = split /:/, $brokers;

my $warnings = 0;
local $SIG{__WARN__} = sub {
    my ($text) = @_;
    return $warnings++ if $text =~ /a deliberate end/;
    diag $text;
};

sub resident_kb {
    open my $in, '<', '/proc/self/status' or die "/proc/self/status: $!";
    return (map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$in>)[0];
}

# After the callback that is running now, and its die, are over.
sub next_turn {
    my ($then) = @_;
    my $once;
    $once = EV::timer 0, 0, sub { undef $once; $then->() };
}

# flat($what, $rounds, $work): $work->($n, $done) does n rounds.
sub flat {
    my ($what, $rounds, $work) = @_;
    my $warm = $rounds / 10;
    $warnings = 0;
    await("$what, warming up", sub { $work->($warm, @_) }, 600);
    my $before = resident_kb();
    await($what, sub { $work->($rounds - $warm, @_) }, 600);
    my $grown = resident_kb() - $before;
    is $warnings, $rounds, "$rounds $what: each died once";
    cmp_ok $grown, '<', $TOLERANCE_KB, "and memory grew by $grown kB";
}

# A connection that drops itself and connects again in its own on_connect.
flat(connects => $ROUNDS, sub {
    my ($rounds, $done) = @_;
    my ($turn, $begin);
    $begin = sub {
        my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
        $conn->on_error(sub { diag @_ });
        $conn->on_connect(sub {
            $turn = EV::timer 0, 0, sub {
                $conn->disconnect;
                undef $conn;
                return $done->() if --$rounds == 0;
                $begin->();
            };
            die "a deliberate end\n";
        });
        $conn->connect($host, $port, 60);
    };
    $begin->();
});

my $conn = connected_conn($brokers);
my $topic = create_topic($brokers, 'leak', 1);
flat(requests => $ROUNDS, sub {
    my ($rounds, $done) = @_;
    my ($asked, $left) = (0, $rounds);
    my $ask;
    $ask = sub {
        $asked++;
        $conn->metadata([$topic], sub {
            if    (--$left == 0)      { next_turn($done) }
            elsif ($asked < $rounds)  { $ask->() }
            die "a deliberate end\n";
        });
    };
    $ask->() for 1 .. 100;
});
$conn->disconnect;

my $kafka = connected_client(brokers => $brokers, acks => 1);
flat('delivery callbacks' => $ROUNDS, sub {
    my ($rounds, $done) = @_;
    my ($left, $next) = ($rounds, 0);
    my $fill;
    $fill = sub {
        for (1 .. 1000) {
            return if $next == $rounds;
            my $i = $next++;
            $kafka->produce($topic, "key-$i", 'x' x 100, sub {
                if    (--$left == 0)      { next_turn($done) }
                elsif ($left % 1000 == 0) { $fill->() }
                die "a deliberate end\n";
            });
        }
    };
    $fill->();
});
await('close', sub { $kafka->close(@_) });

done_testing;
