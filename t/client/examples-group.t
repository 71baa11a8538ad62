use strict;
use warnings;

use lib 't/lib';

use IO::Socket::INET;

use EV::Kafka::Mock;
use Test::More;

use ExampleTest;
use TestKafka qw(wait_until);

# The examples of consumer groups do what they say.

sub cluster {
    my ($records) = @_;
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 2);
    $mock->append(t => $_ % 2, { key => "k$_", value => "v$_" }) for 1 .. $records;
    return $mock;
}

sub environment {
    my ($mock, %more) = @_;
    return { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_GROUP_ID => 'g', %more };
}

sub committed {
    my ($mock) = @_;
    my $offsets = $mock->offsets('g');
    my $sum = 0;
    $sum += $_->{offset} for values %$offsets;
    return $sum;
}

subtest 'consumer_group.pl' => sub {
    my $mock   = cluster(6);
    my $output = output_of('consumer_group', environment($mock, KAFKA_LIMIT => 6));
    like $output, qr/\Agiven: t:0, t:1\n/, 'is given the partitions';
    is_deeply [sort $output =~ /^t:[01] \@ [0-2]  k[1-6] = (v[1-6])$/mg], [map { "v$_" } 1 .. 6], 'gets every message';
    like $output, qr/^taken: t:0, t:1\n6 messages\n\z/m, 'and leaves';
    is committed($mock), 6, 'the group remembers';
    is $mock->group('g')->{state}, 'Empty', 'and has nobody waiting for this member';
};

subtest 'consumer_group.pl, two of them' => sub {
    my $mock = cluster(2);
    my ($first, $second, $child, $status);
    $first = output_of('consumer_group', environment($mock), sub {
        my ($line, $pid) = @_;
        if ($line =~ /v2/ || $line =~ /v1/) {
            return if $second;
            $second = fork // die "fork: $!";
            if (!$second) {
                open STDOUT, '>', '/dev/null';
                $ENV{$_} = environment($mock)->{$_} for keys %{ environment($mock) };
                exec $^X, (map { "-I$_" } grep { !ref } @INC), 'eg/consumer_group.pl';
            }
            $child = EV::child $second, 0, sub { $status = $_[0]->rstatus };
        }
        elsif ($line =~ /^taken: t:[01]$/) { kill INT => $second }
        elsif ($line =~ /^given: t:[01]$/) { kill INT => $pid }
    });
    like $first, qr/^taken: (t:[01])\n(?:given: nothing\n)*given: \1\n/m,
        'one partition goes to the other, and comes back';
    wait_until { defined $status } 'the end of the other one';
    is $status, 0, 'the other one ends well';
};

subtest 'manual_commit.pl' => sub {
    my $mock   = cluster(8);
    my $output = output_of('manual_commit', environment($mock, KAFKA_LIMIT => 8, KAFKA_BATCH => 3));
    is scalar(() = $output =~ /^done: v[1-8]$/mg), 8, 'works on every message';
    is_deeply [$output =~ /^(\d) messages committed$/mg], [3, 3, 2],
        'commits after each batch, and the rest at the end';
    is committed($mock), 8, 'which the group remembers';
};

subtest 'manual_commit.pl, killed' => sub {
    my $mock = cluster(8);
    my ($status, $output) = example('manual_commit', environment($mock, KAFKA_BATCH => 5), sub {
        my ($line, $pid) = @_;
        kill KILL => $pid if $line =~ /committed/;
    });
    is $status & 127, 9, 'killed';
    is committed($mock), 5, 'what it had committed is committed';
};

subtest 'graceful_shutdown.pl' => sub {
    my $mock = cluster(6);
    $mock->create_topic(out => 1);
    my $output = output_of('graceful_shutdown', environment($mock, KAFKA_TARGET => 'out'), sub {
        my ($line, $child) = @_;
        return unless $line =~ /^ready/;
        my $when; $when = EV::timer 0, 0.02, sub {
            return if (my @written = $mock->records(out => 0)) < 6;
            undef $when;
            kill TERM => $child;
        };
    });
    is $output, <<'END', 'ends in order';
ready with 2 partitions
shutting down
committed
left the group
6 consumed, 6 produced
END
    is_deeply [sort map { $_->{value} } $mock->records(out => 0)], [map { "V$_" } 1 .. 6], 'everything was produced';
    is committed($mock), 6, 'and committed';
    is $mock->group('g')->{state}, 'Empty', 'the group was left';
};

# An HTTP server that answers each request when $answer->($reply, $number, $value) calls $reply->($status).
sub service {
    my ($answer) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20, Blocking => 0) or die "listen: $!";
    my ($number, %reading) = (0);
    my $accepting = EV::io $listener, EV::READ, sub {
        my $socket = $listener->accept or return;
        my $in = '';
        $reading{$socket} = EV::io $socket, EV::READ, sub {
            return delete $reading{$socket} unless sysread $socket, $in, 4096, length $in;
            my ($head, $length) = $in =~ /\A(.*?Content-Length: ([0-9]+)\r\n\r\n)/s or return;
            return if length $in < length($head) + $length;
            my $value = substr $in, length $head;
            $in = '';
            $answer->(sub { syswrite $socket, "HTTP/1.1 $_[0] Whatever\r\nContent-Length: 0\r\n\r\n" }, ++$number, $value);
        };
    };
    return ($accepting, WORKER_URL => 'http://127.0.0.1:' . $listener->sockport . '/jobs');
}

subtest 'async_worker.pl' => sub {
    my $mock = cluster(40);
    my ($child, %posted, @held);
    my ($serving, @url) = service(sub {
        my ($reply, $number, $value) = @_;
        # Whatever else is answered, the first call holds what comes behind it.
        return $reply->(503)      if $number == 5;
        $posted{$value}++;
        return push @held, $reply if $number == 1;
        $reply->(200);
        return if keys %posted < 40 || !@held;
        is committed($mock) <= 20, 1, 'the partition of a call that is under way is not committed beyond it';
        kill TERM => $child;
        my $timer; $timer = EV::timer 0, 0.02, sub {
            # It is asked to end, and waits for the call.
            undef $timer;
            (shift @held)->(200);
        };
    });
    my $output = output_of('async_worker', environment($mock, @url, WORKER_CALLS => 7), sub {
        my ($line, $pid) = @_;
        $child = $pid;
        is $line, 'given: t:0, t:1', 'is given the partitions' if $line =~ /^given/;
    });
    is_deeply [sort keys %posted], [sort map { "v$_" } 1 .. 40], 'posts every message';
    like $output, qr/ \@ [0-9]+: answered: HTTP\/1\.1 503 Whatever; again in 0\.2 s\n/, 'again, what was refused';
    like $output, qr/^40 calls done\n\z/m, 'and ends with what is under way';
    is committed($mock), 40, 'which is committed';
    is $mock->group('g')->{state}, 'Empty', 'and leaves the group';
};

subtest 'work_queue.pl' => sub {
    my $mock = EV::Kafka::Mock->new(share_auto_offset_reset => 'earliest');
    $mock->create_topic(t => 2);
    $mock->append(t => 0, { value => $_ }) for qw(a fail b);
    my $output = output_of('work_queue', environment($mock, KAFKA_LIMIT => 5));
    is_deeply [sort $output =~ /^(.+: .+)$/mg], ['a: done', 'b: done', map {"fail: delivery $_"} 1 .. 3], 'what cannot be done is tried three times';
    is $mock->share_group('g')->{partitions}{'t:0'}{start_offset}, 3, 'and nothing is left';
};

done_testing;
