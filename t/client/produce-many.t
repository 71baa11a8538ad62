use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;

my $mock = EV::Kafka::Mock->new;
$mock->create_topic(t => 1);

subtest 'arrays and hashes' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @done;
    $kafka->produce_many([
        ['t', 'k1', 'v1'],
        { topic => 't', key => 'k2', value => 'v2', headers => { h => 1 } },
        ['t', undef, undef, { headers => [[a => 1]] }],
    ], sub { push @done, [@_] });
    is scalar(@done), 0, 'not yet';
    wait_until { @done } 'delivery';
    is_deeply \@done, [[undef]], 'one call, no errors';
    is_deeply [map { [@$_{qw(key value headers)}] } $mock->records(t => 0)],
        [['k1', 'v1', []], ['k2', 'v2', [[h => 1]]], [undef, undef, [[a => 1]]]], 'all there';
};

subtest 'the order of arguments' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my $done  = 0;
    my $cb    = sub { $done++ unless $_[0] };
    $kafka->produce_many(@$_) for [[['t', 'k', 1]], $cb], [$cb, [['t', 'k', 2, undef]]], [undef, [['t', 'k', 3]]], [[['t', 'k', 4]], undef];
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    is $done, 2, 'does not matter';
    for my $wrong ('x', {}, [['t', 'k', 5]]) {
        is eval { $kafka->produce_many([['t', 'k', 5]], $wrong); 1 }, undef, 'anything else';
        like $@, qr/^produce_many: callback must be a code reference at \Q$0\E/, 'croaks';
    }
};

subtest 'some fail' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->create_topic(u => 1);
    $mock->fault(api => 'Produce', topic => 'u', error => 29);
    my @done;
    $kafka->produce_many([['t', 'k', 'v'], ['u', 'k', 'v1'], ['u', 'k', 'v2']], sub { push @done, @_ });
    wait_until { @done } 'the callback';
    is scalar(@{ $done[0] }), 2, 'two errors';
    like $done[0][0], qr/TOPIC_AUTHORIZATION_FAILED/, 'as texts';
};

subtest 'a partitioner that dies in the middle' => sub {
    for my $acks (-1, 0) {
        $mock->create_topic("acks$acks" => 1);
        my $kafka = connected(brokers => $mock->bootstrap, acks => $acks, partitioner => sub {
            my (undef, $key) = @_;
            die "no idea\n" if $key eq 'b';
            return $key eq 'c' ? 7 : 0;
        });
        $kafka->produce("acks$acks", 'known', '');
        wait_until { $mock->records("acks$acks", 0) } 'the topic';
        my @done;
        $kafka->produce_many([map { ["acks$acks", $_, $_] } 'a' .. 'd'], sub { push @done, [@_] });
        wait_until { @done } 'the callback';
        my $errors = $acks ? $done[0][0] : [errors($kafka)];
        is scalar(@$errors), 2, 'two errors';
        is $errors->[0], "no idea\n", 'what it died of';
        like $errors->[1], qr/^produce: partitioner must return .* 'acks$acks'\z/, 'and what it got wrong';
        wait_until { 3 == (() = $mock->records("acks$acks", 0)) } 'the others';
        is_deeply log_values($mock, "acks$acks"), ['', 'a', 'd'], 'are produced';
        turns;
        is scalar(@done), 1, 'one call';
    }
};

subtest 'a callback that closes the client in the middle' => sub {
    my (@done, $kafka);
    $kafka = connected(brokers => $mock->bootstrap, buffer_memory => 50, on_error => sub { $kafka->close });
    $kafka->produce('t', 'too', 'x' x 100);
    ok Inside::is_closed($kafka), 'closed by on_error';
    $kafka = connected(brokers => $mock->bootstrap, partitioner => sub { $kafka->close; 0 });
    $kafka->produce_many([['t', 'a', 'a'], ['t', 'b', 'b']], sub { push @done, [@_] });
    is_deeply $done[0][0], ['client closed', 'EV::Kafka: client is closed'], 'every message has its end';
    is scalar(@done), 1, 'in one call';
};

subtest 'an empty list calls back at once' => sub {
    my $kafka = client(brokers => $mock->bootstrap);
    my @done;
    $kafka->produce_many([], sub { push @done, [@_] });
    is_deeply \@done, [[undef]], 'without errors';
};

subtest 'acks => 0 calls back at once' => sub {
    my $kafka  = connected(brokers => $mock->bootstrap, acks => 0);
    my $before = $mock->high_watermark(t => 0);
    my @done;
    $kafka->produce_many([['t', 'k', 'v'], ['t', 'k', 'v']], sub { push @done, [@_] });
    is_deeply \@done, [[undef]], 'without errors';
    wait_until { $mock->high_watermark(t => 0) == $before + 2 } 'the messages';
};

subtest 'malformed messages' => sub {
    my $kafka  = connected(brokers => $mock->bootstrap);
    my $before = $mock->high_watermark(t => 0);
    for my $bad ('x', [undef, 'k', 'v'], { key => 'k' }, { topic => 't', colour => 1 }, ['t', 'k', 'v', 'x'],
        ['t', 'k', 'v', { headers => { h => [] } }]) {
        eval { $kafka->produce_many([['t', 'k', 'v'], $bad], sub { fail 'called back' }) };
        like $@, qr/^produce(?:_many)?: .* at \Q$0\E/, "croaks: $@";
    }
    eval { $kafka->produce_many('x') };
    like $@, qr/^produce_many: expected arrayref of messages/, 'not a list';
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    is $mock->high_watermark(t => 0), $before, 'nothing was produced';
};

subtest 'without a callback' => sub {
    my $kafka  = connected(brokers => $mock->bootstrap);
    my $before = $mock->high_watermark(t => 0);
    $kafka->produce_many([['t', 'k', 'v']]);
    wait_until { $mock->high_watermark(t => 0) == $before + 1 } 'the message';
    is_deeply [errors($kafka)], [], 'no errors';
};

done_testing;
