use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

my $mock = EV::Kafka::Mock->new;
$mock->create_topic(t => 1);

subtest 'delivery callbacks' => sub {
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5);
    my $called = 0;
    my @warnings = warnings_of {
        $kafka->produce('t', 'k', $_, do { my $n = $_; sub { $called++; die "oops $n\n" if $n % 2 } }) for 1 .. 10;
        wait_until { $called == 10 } 'all callbacks';
    };
    is $called, 10, 'the others still run';
    is_deeply [map { /^produce callback error: oops (\d+)/ } @warnings], [1, 3, 5, 7, 9], 'each die is a warning';
};

subtest 'delivery callbacks of messages that never got to a batch' => sub {
    my $strict = EV::Kafka::Mock->new(auto_create => 0);
    my $kafka  = connected(brokers => $strict->bootstrap);
    my $called = 0;
    my @warnings = warnings_of {
        $kafka->produce('unknown', 'k', $_, sub { $called++; die "oops\n" }) for 1, 2;
        wait_until { $called == 2 } 'both callbacks';
    };
    is scalar(grep { /^produce callback error: oops/ } @warnings), 2, 'the same warning';
};

subtest 'on_message' => sub {
    my $called = 0;
    my $kafka  = connected(brokers => $mock->bootstrap, on_message => sub { $called++; die "oops $_[2]\n" if $_[2] % 2 });
    $kafka->assign([{ topic => 't' }]);
    my @warnings = warnings_of {
        my $polled;
        $kafka->poll(sub { $polled = 1 });
        wait_until { $polled } 'poll';
    };
    is $called, 10, 'the others still run';
    is_deeply [map { /^on_message error: oops (\d+)/ } @warnings], [1, 3, 5, 7, 9], 'each die is a warning';
    is $kafka->{cfg}{assignments}[0]{offset}, 10, 'and the position moves';
};

subtest 'other callbacks' => sub {
    my ($kafka, %called);
    my $die = sub { my ($name) = @_; sub { $called{$name}++; die "oops $name\n" } };
    my @warnings = warnings_of {
        $kafka = client(brokers => $mock->bootstrap, on_connect => $die->('on_connect'), fetch_max_wait_ms => 10);
        $kafka->connect($die->('connect'));
        wait_until { $called{connect} } 'connect';
        $kafka->assign([{ topic => 't' }]);
        $kafka->poll($die->('poll'));
        $kafka->seek('t', 0, -1, $die->('seek'));
        $kafka->lag($die->('lag'));
        $kafka->offsets_for('t', $die->('offsets_for'));
        $kafka->produce_many([['t', 'k', 'v']], $die->('produce_many'));
        $kafka->flush($die->('flush'));
        wait_until { keys %called == 8 } 'all callbacks';
        $kafka->close($die->('close'));
    };
    for my $name (qw(on_connect connect poll seek lag offsets_for produce_many flush close)) {
        is $called{$name}, 1, "$name is called once";
        is scalar(grep { /error: oops $name$/m } @warnings), 1, 'and its die is a warning';
    }
    is_deeply [errors($kafka)], [], 'nothing for on_error';
};

subtest 'a die in on_error reaches $EV::DIED and stops nothing' => sub {
    my @died;
    local $EV::DIED = sub { push @died, $@ };
    my $kafka = client(brokers => $mock->bootstrap, on_error => sub { die "on_error: $_[0]\n" });
    my $connected;
    $kafka->connect(sub { $connected = 1 });
    wait_until { $connected } 'connecting';
    $mock->stop_broker(0);
    my $delivered;
    $kafka->produce('t', 'k', 'v', sub { $delivered = !$_[1] });
    wait_until { @died } 'the die';
    like $died[0], qr/^on_error: .*lost/, 'with what on_error was told';
    $mock->start_broker(0);
    wait_until { $delivered } 'delivery';
    is scalar(@died), 1, 'and the client goes on';
};

subtest '$@ and errno of the caller are left alone' => sub {
    my $kafka = connected(brokers => $mock->bootstrap, acks => 0);
    local $@ = 'mine';
    $kafka->produce('t', 'k', 'v', sub { eval { die 'inner' } });
    $kafka->flush(sub { });
    is $@, 'mine', 'by produce and flush';
    undef $kafka;
    is $@, 'mine', 'and by the end of a client';
};

done_testing;
