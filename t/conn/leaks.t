use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Test::More;

use ConnArguments qw(refusals);
use Memory;
use TestKafka qw(wait_until turns);

# Whatever is done often must leave memory as it was.

plan skip_all => unseen() if unseen();

# How often everything is done at the least, for a run that is not quick.
my $least = $ENV{EV_KAFKA_LEAK_TIMES} || 0;

# An allocation of this size a time is a leak, whatever the allocator does.
use constant BYTES_A_TIME => 8;
# What the allocator may keep for itself.
use constant SLACK_KB => 600;

# Does it some times to warm up, then often, and compares.
sub stays_flat {
    my ($what, $times, $do) = @_;
    my $warm_up = $times / 5;
    $times = $least if $times < $least;
    # What ran before may have taken long, and timers count from the loop's idea of now.
    EV::now_update;
    $do->($warm_up);
    my $before = resident();
    $do->($times);
    my $grown = (resident() - $before) / 1024;
    my $allowed = SLACK_KB + $times * BYTES_A_TIME / 1024;
    cmp_ok $grown, '<', $allowed, "$what: $times times" or diag "grown by $grown kB";
    return;
}

my $mock = EV::Kafka::Mock->new;
$mock->create_topic(t => 1);
my ($broker) = $mock->brokers;

sub new_conn { EV::Kafka::Conn::_new('EV::Kafka::Conn', undef) }

sub connected {
    my $conn = new_conn();
    $conn->connect('127.0.0.1', $broker->{port}, 10);
    wait_until { $conn->connected } 'connecting';
    return $conn;
}

# Keeps some requests on their way until so many were answered.
sub pump {
    my ($times, $send) = @_;
    my ($sent, $answered) = (0, 0);
    my $next = sub { $answered++; return };
    while ($answered < $times) {
        while ($sent < $times && $sent - $answered < 50) {
            $sent++;
            $send->($next);
        }
        EV::run EV::RUN_ONCE;
    }
    return;
}

stays_flat 'connections made and dropped', 20_000, sub { new_conn() for 1 .. $_[0] };

stays_flat 'handlers set', 100_000, sub {
    my $conn = new_conn();
    for my $n (1 .. $_[0]) {
        $conn->on_error(sub { $n });
        $conn->on_connect(sub { $n });
        $conn->on_disconnect(sub { $n });
    }
};

stays_flat 'handshakes', 1_500, sub {
    for (1 .. $_[0]) {
        my $conn = connected();
        $conn->disconnect;
    }
    wait_until { !$mock->connections } 'the mock to notice';
};

stays_flat 'refused connections', 3_000, sub {
    my $left = $_[0];
    my $conn = new_conn();
    $conn->on_error(sub { });
    $conn->on_disconnect(sub { $conn->connect('127.0.0.1', 1, 10) if --$left > 0 });
    $conn->connect('127.0.0.1', 1, 10);
    wait_until { $left <= 0 } 'refusals';
    $conn->on_disconnect;
};

stays_flat 'not connected', 100_000, sub {
    my $conn = new_conn();
    for my $n (1 .. $_[0]) {
        eval { $conn->produce('t', 0, 'k', 'v' x 100, sub { $n }); 1 } and die;
    }
};

my $conn = connected();

my @refused = refusals();
stays_flat 'refused arguments', 100_000, sub {
    for my $n (1 .. $_[0]) {
        my (undef, $method, @arguments) = @{ $refused[$n % @refused] };
        eval { $conn->$method(@arguments, sub { $n }); 1 } and die "$method accepts it";
    }
};

{
    local $SIG{__WARN__} = sub { };
    stays_flat 'callbacks that die', 30_000, sub {
        pump($_[0], sub { my ($next) = @_; $conn->metadata(['t'], sub { $next->(); die 'oops' }) });
    };
}

# The mock's memory is to stay flat too.
sub forget_records { $mock->delete_records(t => 0, $mock->high_watermark(t => 0)) }

stays_flat 'produce', 30_000, sub {
    my $sent = 0;
    pump($_[0], sub {
        my ($next) = @_;
        forget_records() unless ++$sent % 500;
        $conn->produce('t', 0, 'k', 'v', { headers => { h => 'x' } }, sub { $next->() });
    });
    forget_records();
};

stays_flat 'produce with acks 0', 30_000, sub {
    for my $n (1 .. $_[0]) {
        $conn->produce('t', 0, 'k', 'v', { acks => 0 }, sub { $n });
        next if $n % 100;
        pump(1, sub { $conn->metadata(['t'], @_) });
        forget_records();
    }
};

$mock->append(t => 0, map { { key => "k$_", value => 'v', headers => { h => 'x' } } } 1 .. 10);
my $offset = $mock->log_start_offset(t => 0);
stays_flat 'fetch', 10_000, sub {
    pump($_[0], sub { $conn->fetch('t', 0, $offset, @_) });
};

stays_flat 'requests that fail', 30_000, sub {
    my $told = 0;
    for (1 .. $_[0] / 500) {
        my $doomed = connected();
        $doomed->metadata(['t'], sub { $told++ }) for 1 .. 500;
        $doomed->disconnect;
    }
    is $told, $_[0], 'all are told';
};

stays_flat 'the last reference dropped in a callback', 1_000, sub {
    for (1 .. $_[0]) {
        my $told;
        my $doomed = connected();
        $doomed->metadata(['t'], sub { undef $doomed; $told++ });
        wait_until { $told } 'the answer';
    }
};

stays_flat 'functions', 100_000, sub {
    for (1 .. $_[0]) {
        my $batch = EV::Kafka::_test_encode_batch([{ key => 'k', value => 'v', headers => { h => 'x' } }]);
        EV::Kafka::_test_decode_batch($batch);
        EV::Kafka::_test_decode_batch(substr $batch, 1);
        EV::Kafka::_murmur2('abc');
        EV::Kafka::_error_name(3);
    }
};

done_testing;
