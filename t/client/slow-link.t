use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);

use ScriptedBroker;
use TestKafka;

# Brokers behind a line that is slow, and brokers that take nothing any more.

# Takes so many bytes of each connection every few milliseconds, once slow is set.
sub slow_broker {
    return ScriptedBroker->new(on_request => sub {
        my ($self, undef, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        return ScriptedBroker::produce_answer($request, 0, $self->{answered}++);
    });
}

sub slow_down {
    my ($broker, $bytes) = @_;
    for my $connection (values %{ $broker->{connections} }) {
        setsockopt $connection->{socket}, SOL_SOCKET, SO_RCVBUF, 32_768;
        delete $connection->{reading};
        $connection->{slowly} = EV::timer 0.01, 0.01, sub {
            my $got = sysread $connection->{socket}, $connection->{in}, $bytes, length $connection->{in};
            return if !$got;
            while (length $connection->{in} >= 4 && length $connection->{in} >= 4 + unpack 'N', $connection->{in}) {
                my $size = unpack 'N', $connection->{in};
                my $frame = substr $connection->{in}, 0, 4 + $size, '';
                $broker->handle($connection, substr $frame, 4);
            }
        };
    }
    return;
}

sub settle_all {
    my ($kafka, $count, $size) = @_;
    my @got;
    $kafka->produce('t', undef, 'x' x $size, { partition => 0 }, sub { push @got, $_[1] // 'ok' }) for 1 .. $count;
    return \@got;
}

subtest 'a line that takes longer for a batch than request_timeout' => sub {
    my $broker = slow_broker();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, request_timeout => 0.5,
        batch_size => 1_000_000);
    my $first = settle_all($kafka, 1, 10);
    wait_until { @$first } 'a connection';
    slow_down($broker, 50_000);
    my $start = time;
    my $got = settle_all($kafka, 100, 100_000);
    wait_until { @$got == 100 } 'all messages';
    is_deeply [grep { $_ ne 'ok' } @$got], [], 'are delivered';
    cmp_ok time - $start, '>', 1, 'though it takes longer';
    is_deeply [errors($kafka)], [], 'nothing is lost';
};

subtest 'what the line has no room for waits at home' => sub {
    my $broker = slow_broker();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, batch_size => 1_000_000);
    my $first = settle_all($kafka, 1, 10);
    wait_until { @$first } 'a connection';
    delete $_->{reading} for values %{ $broker->{connections} };
    # More each than the system's buffers have room for together with the others.
    my $got = settle_all($kafka, 20, 5_000_000);
    my $later;
    my $pause = EV::timer 0.2, 0, sub { $later = 1 };
    wait_until { $later } 'a while';
    cmp_ok $kafka->{cfg}{conns}{0}->pending, '<', 5, 'few requests are on the connection';
    is_deeply $got, [], 'none is answered';
    # All of them but the first are written by another connection when this one ends.
    $broker->drop_all;
    wait_until { @$got == 20 } 'the end';
    my @lost = grep { $_ ne 'ok' } @$got;
    cmp_ok scalar(@lost), '<', 5, 'only what the system had taken is lost';
    is_deeply [grep { $_ ne 'connection closed by broker' } @lost], [], 'and told so';
};

subtest 'a broker that hangs' => sub {
    my $broker = slow_broker();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, request_timeout => 0.5, batch_size => 1);
    my $first = settle_all($kafka, 1, 10);
    wait_until { @$first } 'a connection';
    my @hanging = values %{ $broker->{connections} };
    delete $_->{reading} for @hanging;
    my $start = time;
    my $got = settle_all($kafka, 20, 100);
    wait_until { @$got == 20 } 'an outcome';
    cmp_ok time - $start, '<', 1.5, 'costs the time of one request';
    my @lost = grep { $_ ne 'ok' } @$got;
    cmp_ok scalar(@lost), '<=', 5, 'only what was under way is lost';
    like $_, qr/^request timed out: Produce/, 'for this reason' for @lost[0, -1];
};

subtest 'acks 0' => sub {
    my $broker = slow_broker();
    $broker->{on_request} = sub { $_[0]{answered} += $_[2]{api} eq 'Produce'; return undef };
    my $kafka = connected(brokers => $broker->address, metadata_refresh => 0, acks => 0, batch_size => 1_000_000,
        on_notice => sub { });
    my $first = settle_all($kafka, 1, 10);
    wait_until { $broker->{answered} } 'a connection';
    my @connections = values %{ $broker->{connections} };
    delete $_->{reading} for @connections;
    my $got = settle_all($kafka, 100, 1_000_000);
    my $later;
    my $pause = EV::timer 0.2, 0, sub { $later = 1 };
    wait_until { $later } 'a while';
    cmp_ok scalar(@$got), '<', 30, 'a message is not done before the system has room for it';
    for my $connection (@connections) {
        $connection->{reading} = EV::io $connection->{socket}, EV::READ, sub { $broker->read($connection) };
    }
    wait_until { @$got == 100 } 'all';
    is_deeply [grep { $_ ne 'ok' } @$got], [], 'are done when it goes on';
};

done_testing;
