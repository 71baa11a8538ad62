# What programs do to objects and in callbacks that perl lets them do: nothing is freed twice, or while it is used,
# and no loop of the client's is left half done.
use strict;
use warnings;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use POSIX ();
use Scalar::Util qw(weaken);
use Test::More;

use ConnPeer qw(conn);
use ForkTest;
use TestKafka;

my $mock = EV::Kafka::Mock->new(partitions => 1);
$mock->create_topic(t => 1);

{ package Guard; sub new { my ($class, $code) = @_; return bless { code => $code }, $class } sub DESTROY { $_[0]{code}->() } }

subtest 'an object that is localised is still one object' => sub {
    our ($scalar, %hash);
    my ($conn) = conn();
    my $kafka = connected(brokers => $mock->bootstrap);
    { no strict 'refs'; no warnings 'once'; *scalar = $conn; *hash = $kafka; }
    {
        local $scalar;
        is $conn->state, 0, 'the connection lives meanwhile';
        eval { EV::Kafka::Conn::state(\$scalar) };
        like $@, qr/not a connection made by _new/, 'and what is in its place is none';
    }
    is $conn->state, 0, 'and afterwards';
    {
        local %hash;
        eval { (bless \%hash, 'EV::Kafka::Client')->produce('t', 'k', 'v') };
        like $@, qr/not a client made by new/, 'what is in the place of a client is none';
    }
    my $delivered;
    $kafka->produce('t', 'k', 'v', sub { $delivered = $_[1] // 'delivered' });
    wait_until { $delivered } 'delivery';
    is $delivered, 'delivered', 'the client lives afterwards';
    { no strict 'refs'; undef *scalar; undef *hash; }
};

subtest 'what callbacks leave in a result' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($delivered, $destroyed, @noise) = (0, 0);
    local $SIG{__WARN__} = sub { push @noise, @_ };
    my $again;
    # A delivery within a delivery, for the same partition, has a result of its own, which is then kept for the next.
    my $callback = sub {
        my ($result) = @_;
        $delivered++;
        $result->{guard} = Guard->new(sub {
            $destroyed++;
            $kafka->produce('t', undef, 'from a destructor', { acks => 0 }, sub { }) if $destroyed < 50;
        });
        $kafka->produce('t', undef, 'more', $again) if $delivered < 20;
        EV::run EV::RUN_NOWAIT for 1 .. 5;
    };
    $again = $callback;
    $kafka->produce('t', undef, 'v', $callback) for 1 .. 3;
    wait_until { $delivered >= 22 } 'deliveries';
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'the rest';
    is_deeply \@noise, [], 'nothing goes wrong';
    cmp_ok $destroyed, '>', 0, 'destructors have run';
    undef $again;
};

subtest 'exit in a destructor' => sub {
    my %where = (
        'of what on_message puts into headers' => sub {
            my ($brokers, $guard) = @_;
            my $kafka = EV::Kafka->new(brokers => $brokers, on_message => sub { $_[5]{guard} = $guard->() });
            $kafka->assign([{ topic => 'headers' }]);
            $kafka->connect(sub { $kafka->poll });
            EV::run;
        },
        'of what on_batch puts into headers' => sub {
            my ($brokers, $guard) = @_;
            my $kafka = EV::Kafka->new(brokers => $brokers, on_batch => sub { $_->[3]{guard} = $guard->() for @{ $_[2] } });
            $kafka->assign([{ topic => 'headers' }]);
            $kafka->connect(sub { $kafka->poll });
            EV::run;
        },
        'of what a delivery callback holds' => sub {
            my ($brokers, $guard) = @_;
            my $kafka = EV::Kafka->new(brokers => $brokers, linger_ms => 0);
            $kafka->connect(sub { for (1 .. 3) { my $held = $guard->(); $kafka->produce('t', 'k', 'v', sub { $held }) } });
            EV::run;
        },
        'of what is put into a result' => sub {
            my ($brokers, $guard) = @_;
            my $kafka = EV::Kafka->new(brokers => $brokers, linger_ms => 0);
            my $cb = sub { $_[0]{guard} = $guard->() };
            $kafka->connect(sub { $kafka->produce('t', 'k', 'v', $cb) for 1 .. 3 });
            EV::run;
        },
    );
    $mock->create_topic(headers => 1);
    $mock->append(headers => 0, { value => "v$_", headers => [[a => 1]] }) for 1 .. 5;
    for my $name (sort keys %where) {
        my $pid = fork;
        defined $pid or die "fork: $!";
        if (!$pid) {
            Test::More->builder->no_ending(1);
            open STDERR, '>&', \*STDOUT or POSIX::_exit(3);
            my $timer = EV::timer 20, 0, sub { POSIX::_exit(4) };
            $where{$name}->($mock->bootstrap, sub { Guard->new(sub { exit 7 }) });
            POSIX::_exit(5);
        }
        my $status;
        my $child = EV::child $pid, 0, sub { $status = $_[0]->rstatus };
        wait_until { defined $status } "$name: the end";
        is $status, 7 << 8, "$name ends the program with its status";
    }
};

subtest 'last, next and goto in callbacks' => sub {
    my %leave = (
        last  => sub { no warnings 'exiting'; last },
        next  => sub { no warnings 'exiting'; next },
        redo  => sub { no warnings 'exiting'; redo },
        label => sub { no warnings 'exiting'; last OUTSIDE },
        goto  => sub { no warnings; goto OUTSIDE },
    );
    my $dead = qr/Can't "(?:last|next|redo)" outside a loop block|Label not found for "last OUTSIDE"|Can't find label OUTSIDE/;
    for my $how (sort keys %leave) {
        my $kafka = client(brokers => $mock->bootstrap, linger_ms => 3_600_000);
        my (@told, @warnings);
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        OUTSIDE: for my $round (1) {
            $kafka->connect($leave{$how});
            $kafka->connect(sub { push @told, 'connected' });
            $kafka->produce('t', undef, 'v', $leave{$how});
            $kafka->produce('t', undef, 'v', sub { push @told, 'delivered' });
            $kafka->produce_many([['t', undef, 'v']], $leave{$how});
            $kafka->flush($leave{$how});
            $kafka->flush(sub { push @told, 'flushed' });
            wait_until { @told == 3 } "$how: the others";
        }
        is_deeply [sort @told], [qw(connected delivered flushed)], "$how: the others are called";
        is scalar(grep { /$dead/ } @warnings), 4, "$how: each is a warning" or diag @warnings;

        $kafka->{cfg}{partitioner} = $leave{$how};
        my @died;
        for my $number (1 .. 3) {
            eval { $kafka->produce('t', 'k', $number) };
            push @died, $@;
        }
        is scalar(grep { /$dead/ } @died), 3, "$how: out of a partitioner it is an error of produce";
        my $errors;
        $kafka->produce_many([map { ['t', 'k', $_] } 1 .. 3], sub { $errors = $_[0] });
        wait_until { $errors } "$how: produce_many";
        is scalar(grep { /$dead/ } @$errors), 3, "$how: and of each message of produce_many";
    }
};

done_testing;
