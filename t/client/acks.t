use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

# A broker that writes down the acks of each Produce request, and how many records of
# each partition came in it. It answers as it must.
sub recording_broker {
    my ($seen) = @_;
    my $broker = ScriptedBroker->new(topics => { t => [0, 0] });
    $broker->{on_request} = sub {
        my ($broker, undef, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        my $acks  = unpack 's>', substr $request->{body}, 2, 2;
        push @$seen, map { [$acks, $_->[1], unpack 'N', substr $_->[2], 57, 4] } ScriptedBroker::produced($request);
        return $acks ? ScriptedBroker::produce_answer($request, 0, 7) : undef;
    };
    return $broker;
}

subtest 'acks of a message' => sub {
    my (@seen, @heard);
    my $broker = recording_broker(\@seen);
    my $kafka  = connected(brokers => $broker->address, acks => -1);
    my $note   = sub { my ($name) = @_; sub { push @heard, [$name, @_] } };
    $kafka->produce('t', undef, 'a', { partition => 0 }, $note->('a'));
    $kafka->produce('t', undef, 'b', { partition => 0, acks => 1 }, $note->('b'));
    $kafka->produce('t', undef, 'c', { partition => 0, acks => 1 }, $note->('c'));
    $kafka->produce('t', undef, 'd', { partition => 0, acks => 0 }, $note->('d'));
    $kafka->produce('t', undef, 'e', { partition => 1, acks => -1 }, $note->('e'));
    $kafka->produce('t', undef, 'f', { partition => 0, acks => undef }, $note->('f'));
    wait_until { @heard == 6 } 'all callbacks';
    my @of_0 = map { "$_->[0] $_->[2]" } grep { $_->[1] == 0 } @seen;
    is_deeply \@of_0, ['-1 1', '1 2', '0 1', '-1 1'], 'go in requests of their own, in order';
    is_deeply [grep { $_->[1] == 1 } @seen], [[-1, 1, 1]], 'those of the client are nothing special';
    my %result = map { $_->[0] => $_->[1] } @heard;
    is_deeply $result{d}, {}, 'with acks 0 the result says nothing';
    is produced_offset($result{c}), 8, 'others tell the offset';
    is_deeply [grep { defined $_->[2] } @heard], [], 'no errors';
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
    $broker->stop;
};

subtest 'acks of a message, before connect' => sub {
    my (@seen, $heard);
    my $broker = recording_broker(\@seen);
    my $kafka  = client(brokers => $broker->address, acks => 1);
    $kafka->produce('t', 'k', $_, { partition => 0, acks => $_ % 2 ? 0 : -1 }, sub { $heard++ }) for 1 .. 4;
    $kafka->connect;
    wait_until { ($heard // 0) == 4 } 'all callbacks';
    is_deeply \@seen, [map { [$_, 0, 1] } 0, -1, 0, -1], 'are not forgotten';
    $broker->stop;
};

subtest 'a client with acks 0' => sub {
    my (@seen, @heard);
    my $broker = recording_broker(\@seen);
    my $kafka  = connected(brokers => $broker->address, acks => 0);
    $kafka->produce('t', 'k', 'v', { partition => 0, acks => 1 }, sub { push @heard, produced_offset($_[0]) });
    wait_until { @heard } 'the answer';
    is_deeply [\@seen, \@heard], [[[1, 0, 1]], [7]], 'has messages that are answered';

    my @done;
    $kafka->produce_many([['t', 'k', 1, { partition => 0 }], ['t', 'k', 2, { partition => 0 }]], sub { push @done, 'unheard' });
    is_deeply \@done, ['unheard'], 'produce_many waits for no message with acks 0';
    $kafka->produce_many([['t', 'k', 3, { partition => 0 }], { topic => 't', value => 4, partition => 0, acks => 1 }],
        sub { push @done, 'heard' });
    is_deeply \@done, ['unheard'], 'but for others';
    wait_until { @done == 2 } 'the answer';
    $broker->stop;
};

subtest 'idempotence' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1);
    my @heard;
    my @warnings = warnings_of {
        $kafka->produce('t', 'k', $_, { acks => $_ % 2 }, sub { push @heard, produced_offset($_[0]) }) for 1 .. 4;
    };
    is scalar(@warnings), 1, 'one warning';
    like $warnings[0], qr/^EV::Kafka: an idempotent producer needs acks -1: acks 1 of a message is taken as -1 at \Q$0\E/, 'that says so';
    wait_until { @heard == 4 } 'delivery';
    is_deeply \@heard, [0 .. 3], 'keeps acks -1';
};

subtest 'options and callback' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $heard = 0;
    my $cb    = sub { $heard++ unless $_[1] };
    my %opts  = (partition => 1);
    my @ways  = ([\%opts, $cb], [$cb, \%opts], [undef, $cb], [$cb, undef], [$cb], [\%opts], [\%opts, undef], [undef, \%opts], [undef],
        [undef, undef], []);
    $kafka->produce('t', undef, $_, @{ $ways[$_] }) for 0 .. $#ways;
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    is $heard, scalar(grep { grep { ref eq 'CODE' } @$_ } @ways), 'either order: each callback is called';
    my %is_there = map { $_ => 1 } @{ log_values($mock, t => 1) };
    is_deeply [grep { my $way = $_; !$is_there{$way} && grep { ref eq 'HASH' } @{ $ways[$way] } } 0 .. $#ways], [], 'all options count';

    my $options  = qr/^produce: options must be a hash reference at \Q$0\E/;
    my $callback = qr/^produce: callback must be a code reference at \Q$0\E/;
    for my $case ([$callback, 'x'], [$callback, {}, 'x'], [$options, 'x', $cb], [$options, [], undef], [$callback, {}, {}],
        [$options, $cb, $cb], [$options, $cb, 'x'], [$callback, {}, 1, $cb]) {
        my ($text, @args) = @$case;
        is eval { $kafka->produce('t', undef, 'v', @args); 1 }, undef, 'anything else croaks';
        like $@, $text, 'and says what is wrong';
    }
    for my $acks (2, 'all', '', 0.5) {
        is eval { $kafka->produce('t', undef, 'v', { acks => $acks }); 1 }, undef, "acks '$acks'";
        like $@, qr/^produce: option 'acks' must be -1, 0 or 1, not '\Q$acks\E' at \Q$0\E/, 'croaks';
    }
};

done_testing;
