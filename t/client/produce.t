use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

subtest 'a message and its callback' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    my $before = int(EV::time * 1000) - 1;
    $kafka->produce('t', 'key', 'value', sub { push @got, [@_] });
    wait_until { @got } 'delivery';
    my ($result, $error) = @{ $got[0] };
    is $error, undef, 'no error';
    is $result->{topics}[0]{topic}, 't', 'topic';
    my $partition = $result->{topics}[0]{partitions}[0];
    is_deeply [@$partition{qw(partition error_code base_offset)}], [0, 0, 0], 'partition, error code, base offset';
    my ($record) = $mock->records(t => 0);
    is_deeply [@$record{qw(offset key value)}], [0, 'key', 'value'], 'and it is there';
    ok $record->{timestamp} >= $before - 1000 && $record->{timestamp} <= EV::time * 1000 + 1, 'with the time of the call';
};

subtest 'undef and empty, key and value' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $left = 4;
    $kafka->produce('t', @$_, sub { $left-- }) for [undef, ''], ['', undef], [undef, undef], ['', ''];
    wait_until { !$left } 'delivery';
    is_deeply [map { [@$_{qw(key value)}] } $mock->records(t => 0)], [[undef, ''], ['', undef], [undef, undef], ['', '']],
        'are told apart';
};

subtest 'every callback has the offset of its own record, also within a batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 10);
    my (%offset, $kept);
    for my $n (0 .. 199) {
        $kafka->produce('t', "k$n", "v$n", sub { $offset{$n} = [@{ $_[0]{topics}[0]{partitions}[0] }{qw(partition base_offset)}] });
    }
    wait_until { keys %offset == 200 } 'delivery';
    my %value = map { my $p = $_; map { ("$p:$_->{offset}" => $_->{value}) } $mock->records(t => $p) } 0, 1;
    is scalar(grep { ($value{ join ':', @{ $offset{$_} } } || '') ne "v$_" } 0 .. 199), 0, 'all of them';
    cmp_ok $mock->request_count('Produce'), '<=', 4, 'and few requests for it';
};

subtest 'a result that was kept is left alone' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 10);
    my @results;
    $kafka->produce('t', undef, $_, sub { push @results, $_[0] }) for 0 .. 9;
    wait_until { @results == 10 } 'delivery';
    is_deeply [map { produced_offset($_) } @results], [0 .. 9], 'each has its own offset';
};

subtest 'headers' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $left = 3;
    $kafka->produce('t', 'k', 'v', { headers => { h1 => 'v1' } }, sub { $left-- });
    $kafka->produce('t', 'k', 'v', { headers => [[b => 1], [a => ''], [b => undef]] }, sub { $left-- });
    $kafka->produce('t', 'k', 'v', { headers => {} }, sub { $left-- });
    wait_until { !$left } 'delivery';
    is_deeply [map { $_->{headers} } $mock->records(t => 0)],
        [[[h1 => 'v1']], [[b => 1], [a => ''], [b => undef]], []],
        'as a hash, and as pairs that keep order and repeats';
};

subtest 'partition and timestamp' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 4);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @partitions;
    $kafka->produce('t', 'same', 'v', { partition => $_, timestamp => 1000 + $_ },
        sub { push @partitions, $_[0]{topics}[0]{partitions}[0]{partition} }) for 0 .. 3;
    wait_until { @partitions == 4 } 'delivery';
    is_deeply [sort @partitions], [0 .. 3], 'the partition that was asked for';
    is_deeply [map { ($mock->records(t => $_))[0]{timestamp} } 0 .. 3], [1000 .. 1003], 'the timestamp that was given';
};

subtest 'keys choose partitions as Java does; messages without key go round' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 4);
    my $kafka = connected(brokers => $mock->bootstrap);
    my (%at, $left);
    for my $key ('', 'abc', 'hello', map { "key-$_" } 1 .. 20) {
        $left++;
        $kafka->produce('t', $key, 'v', sub { $at{$key} = $_[0]{topics}[0]{partitions}[0]{partition}; $left-- });
    }
    wait_until { !$left } 'delivery';
    is_deeply \%at, { map { $_ => EV::Kafka::_murmur2($_) % 4 } keys %at }, 'murmur2 modulo partitions';
    my %seen;
    $kafka->produce('t', undef, 'v', sub { $seen{ $_[0]{topics}[0]{partitions}[0]{partition} }++; $left++ }) for 1 .. 8;
    wait_until { $left == 8 } 'delivery';
    is_deeply \%seen, { map { $_ => 2 } 0 .. 3 }, 'all partitions in turn';
};

subtest 'a partitioner of its own' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 4);
    my (@asked, $next);
    my $kafka = connected(brokers => $mock->bootstrap, partitioner => sub { push @asked, [@_]; $next });
    my @partitions;
    my $cb = sub { push @partitions, $_[0]{topics}[0]{partitions}[0]{partition} };
    $next = 2;
    $kafka->produce('t', 'k', 'v', $cb);
    $next = 0;
    $kafka->produce('t', undef, 'v', $cb);
    $kafka->produce('t', 'k', 'v', { partition => 3 }, $cb);
    wait_until { @partitions == 3 } 'delivery';
    is_deeply [sort @partitions], [0, 2, 3], 'chooses';
    is_deeply \@asked, [['t', 'k', 4], ['t', undef, 4]], 'from topic, key and number of partitions';

    for my $bad (4, -1, 'x', undef, 1.5) {
        $next = $bad;
        eval { $kafka->produce('t', 'k', 'v') };
        like $@, qr/^produce: partitioner must return a partition from 0 to 3 /, 'not ' . ($bad // 'undef');
    }
    my @got;
    $next = 7;
    my $early = client(brokers => $mock->bootstrap, partitioner => sub { 7 });
    $early->produce('t', 'k', 'v', sub { push @got, [@_] });
    $early->connect;
    wait_until { @got } 'the callback';
    like $got[0][1], qr/^produce: partitioner must return/, 'a message that waited gets it as its error';
};

subtest 'arguments that make no sense' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $croak = sub { my @args = @_; eval { $kafka->produce(@args) }; $@ };
    like $croak->('t', 'k', 'v', { colour => 1 }), qr/^produce: unknown option 'colour' at \Q$0\E/, 'unknown option';
    like $croak->('t', 'k', 'v', { partition => -1 }), qr/^produce: option 'partition' must be/, 'negative partition';
    like $croak->('t', 'k', 'v', { partition => 'x' }), qr/^produce: option 'partition' must be/, 'partition that is no number';
    like $croak->('t', 'k', 'v', { timestamp => 'x' }), qr/^produce: option 'timestamp' must be/, 'timestamp';
    like $croak->('t', 'k', 'v', { headers => 'x' }),   qr/^produce: option 'headers' must be/, 'headers';
    like $croak->('t', 'k', 'v', { headers => [1] }),   qr/^produce: option 'headers' must be/, 'headers that are no pairs';
    like $croak->('t', 'k', 'v', { headers => { h => {} } }), qr/^produce: header's value must be .* at \Q$0\E/, 'a value';
    like $croak->('t', 'k', 'v', { headers => [[[], 1]] }),   qr/^produce: header's name must be .* at \Q$0\E/, 'a name';
    like $croak->(undef, 'k', 'v'), qr/^produce: topic required/, 'no topic';
    like $croak->('', 'k', 'v'),    qr/^produce: topic required/, 'empty topic';
    like $croak->('t', 'k', 'v', 'x'), qr/^produce: /, 'a callback that is none';
    is $croak->('t', 'k', 'v', undef, sub { }), '', 'options may be undef';
    is $croak->('t', 'k', 'v', {}, undef),      '', 'so may the callback';
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    is scalar(@{ log_values($mock, 't') }), 2, 'what croaked was not sent';
};

subtest 'a header that is an object with overloading is its text' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $text = bless [], 'Text';
    my $done;
    $kafka->produce('t', 'k', 'v', { headers => [[$text, $text]] }, sub { $done = 1 });
    wait_until { $done } 'delivery';
    is_deeply [map { $_->{headers} } $mock->records(t => 0)], [[['a text', 'a text']]], 'name and value';
};

subtest 'what is produced before connect, and before its topic is known, is kept' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = client(brokers => $mock->bootstrap);
    my @order;
    my $called = int(EV::time * 1000);
    $kafka->produce('fresh', 'same key', $_, sub { push @order, produced_offset($_[0]) }) for 0 .. 4;
    is $kafka->{cfg}{pending_ops}[0]{topic}, 'fresh', 'in pending_ops';
    turns;
    is scalar(@order), 0, 'and waits for connect';
    $kafka->connect(sub { $kafka->produce('fresh', 'same key', 5, sub { push @order, produced_offset($_[0]) }) });
    wait_until { @order == 6 } 'delivery';
    is_deeply \@order, [0 .. 5], 'each once, in order';
    my $partition = EV::Kafka::_murmur2('same key') % 4;
    is_deeply log_values($mock, 'fresh', $partition), [0 .. 5], 'and so they were written';
    cmp_ok abs(($mock->records(fresh => $partition))[0]{timestamp} - $called), '<', 2000, 'with the time of the call';
};

subtest 'a broker that takes long to connect' => sub {
    my $broker = ScriptedBroker->new;
    $broker->{on_request} = sub { $_[2]{api} eq 'Produce' ? ScriptedBroker::produce_answer($_[2]) : undef };
    my $kafka = connected(brokers => $broker->address);
    my $delivered = 0;
    $kafka->produce('t', 'k', 'v', sub { $delivered++ });
    $kafka->produce('t', 'k', 'v', sub { $delivered++ });
    is $kafka->{cfg}{conns}{0} && $kafka->{cfg}{conns}{0}->connected, undef, 'is not connected yet'
        unless $kafka->{cfg}{conns}{0} && $kafka->{cfg}{conns}{0}->connected;
    wait_until { $delivered == 2 } 'delivery';
    isa_ok $kafka->{cfg}{conns}{0}, 'EV::Kafka::Conn', 'the connection to broker 0';
};

for my $acks (-1, 0, 1) {
    for my $compression (qw(none lz4 gzip zstd snappy)) {
        subtest "acks $acks, $compression" => sub {
            my $mock = EV::Kafka::Mock->new;
            $mock->create_topic(t => 1);
            my $kafka = connected(brokers => $mock->bootstrap, acks => $acks, compression => $compression);
            my $called = 0;
            $kafka->produce('t', "k$_", 'v' x 50 . $_, sub { is $_[1], undef, 'no error' if $_[1]; $called++ }) for 1 .. 20;
            wait_until { $called == 20 && $mock->high_watermark(t => 0) == 20 } 'delivery';
            is_deeply log_values($mock, 't'), [map { 'v' x 50 . $_ } 1 .. 20], 'all there, in order';
        };
    }
}

subtest 'a message that is larger than a batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    my $value = join '', map { chr(rand 256) } 1 .. 900_000;
    $kafka->produce('t', 'k', $value, sub { push @got, [@_] });
    wait_until { @got } 'delivery';
    is $got[0][1], undef, 'no error';
    ok log_values($mock, 't')->[0] eq $value, 'is sent whole';
};

package Text;
use overload q("") => sub { "a text" };

package main;
done_testing;
