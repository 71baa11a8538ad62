use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

# What a program writes into {cfg} counts from the next batch on.

# A broker that writes down { acks, codec, records, partition } of each batch.
sub recording_broker {
    my ($seen) = @_;
    my $broker = ScriptedBroker->new(topics => { t => [0, 0, 0] });
    $broker->{on_request} = sub {
        my ($broker, undef, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        my $acks = unpack 's>', substr $request->{body}, 2, 2;
        for my $part (ScriptedBroker::produced($request)) {
            my ($attributes) = unpack 'n', substr $part->[2], 21, 2;
            push @$seen, { acks => $acks, codec => $attributes & 7, partition => $part->[1], records => unpack('N', substr $part->[2], 57, 4), size => length $part->[2] };
        }
        return $acks ? ScriptedBroker::produce_answer($request) : undef;
    };
    return $broker;
}

# A client, and how to have it send messages and get what the broker saw of them.
sub sending {
    my (%options) = @_;
    my @seen;
    my $broker = recording_broker(\@seen);
    my $kafka  = connected(brokers => $broker->address, %options);
    my $send   = sub {
        my ($count, @message) = @_;
        @message = ('k', 'v') unless @message;
        my $flushed;
        $kafka->produce('t', @message) for 1 .. $count;
        $kafka->flush(sub { $flushed = 1 });
        wait_until { $flushed } 'flush';
        return splice @seen;
    };
    return ($kafka, $send, $broker);
}

subtest 'acks' => sub {
    my ($kafka, $send) = sending(acks => -1);
    my @acks;
    for my $acks (1, 0, -1) {
        push @acks, map { $_->{acks} } $send->(1);
        $kafka->{cfg}{acks} = $acks;
    }
    push @acks, map { $_->{acks} } $send->(1);
    is_deeply \@acks, [-1, 1, 0, -1], 'count';
};

subtest 'acks of an idempotent client' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my @notices;
    my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1, on_notice => sub { push @notices, $_[0] });
    $kafka->{cfg}{acks} = 0;
    my @heard;
    $kafka->produce('t', undef, $_, sub { push @heard, produced_offset($_[0]) }) for 0 .. 2;
    wait_until { @heard == 3 } 'delivery';
    is_deeply \@heard, [0 .. 2], 'stay -1';
    is_deeply \@notices, ['an idempotent producer needs acks -1: acks 0 is taken as -1'], 'and that is told, once';
    is $kafka->{cfg}{acks}, -1, 'they show what is so';
};

subtest 'compression' => sub {
    my ($kafka, $send) = sending();
    my @codecs;
    for my $name ('gzip', 'lz4', '', 'zstd', 0, 'snappy', 'none', undef) {
        $kafka->{cfg}{compression} = $name;
        push @codecs, map { $_->{codec} } $send->(1, 'k', 'v' x 1000);
    }
    # The broker's Produce is too old for zstd: that one is not sent.
    is_deeply \@codecs, [1, 3, 0, 0, 2, 0, 0], 'counts';
};

subtest 'compression_level' => sub {
    my @notices;
    my ($kafka, $send) = sending(compression => 'gzip', on_notice => sub { push @notices, $_[0] });
    my $value = join '', map { chr(97 + $_ * $_ % 23) . $_ } 1 .. 2_000;
    my $size  = sub { my ($batch) = $send->(1, 'k', $value); return @$batch{qw(codec size)} };
    my (undef, $default) = $size->();
    my %size;
    for my $level (1, 9, undef) {
        $kafka->{cfg}{compression_level} = $level;
        (undef, $size{ $level // 'default' }) = $size->();
    }
    cmp_ok $size{9}, '<', $size{1}, 'counts';
    is $size{default}, $default, 'until it is taken away';
    @{ $kafka->{cfg} }{qw(compression compression_level)} = (lz4 => 12);
    is +($size->())[0], 3, 'together with another codec';
    is_deeply \@notices, [], 'nothing is told';

    my @wrong = (
        [{ compression_level => 18 }, 'must be from 1 to 17 with lz4, not 18'],
        [{ compression => 'gzip' }, 'must be from 1 to 9, or -1 for the default, with gzip, not 12'],
        [{ compression => 'snappy' }, 'cannot be 12: snappy has no levels'],
        [{ compression_level => 'most' }, "must be an integer, not 'most'"],
    );
    for my $wrong (@wrong) {
        my ($changed, $why) = @$wrong;
        @{ $kafka->{cfg} }{keys %$changed} = values %$changed;
        is +($size->())[0], 3, "$why: is not compressed otherwise";
        is_deeply [splice @notices], ["option 'compression_level' $why"], 'is told once';
        is_deeply [@{ $kafka->{cfg} }{qw(compression compression_level)}], [lz4 => 12], 'and stays as it was';
    }
    @{ $kafka->{cfg} }{qw(compression compression_level)} = (snappy => undef);
    is +($size->())[0], 2, 'without a level';
    @{ $kafka->{cfg} }{qw(compression compression_level)} = (undef, 9);
    is +($size->())[0], 0, 'without a codec';
};

subtest 'batch_size' => sub {
    my ($kafka, $send) = sending(linger_ms => 3_600_000);
    is scalar(my @batches = $send->(10, 'k', 'v' x 100)), 1, 'one batch';
    $kafka->{cfg}{batch_size} = 500;
    cmp_ok scalar(@batches = $send->(10, 'k', 'v' x 100)), '>=', 3, 'small ones';
    $kafka->{cfg}{batch_size} = 16_384;
    is scalar(@batches = $send->(10, 'k', 'v' x 100)), 1, 'large ones again';
};

subtest 'linger_ms' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 3_600_000);
    $kafka->{cfg}{linger_ms} = 1;
    my $delivered;
    $kafka->produce('t', undef, 'v', sub { $delivered = 1 });
    ok wait_until { $delivered } 'delivery';
};

subtest 'partitioner' => sub {
    my ($kafka, $send) = sending();
    my $of_key = EV::Kafka::_murmur2('k') % 3;
    my $other  = ($of_key + 1) % 3;
    my $partitions = sub { my %at; $at{ $_->{partition} } += $_->{records} for @_; return \%at };
    is_deeply $partitions->($send->(3)), { $of_key => 3 }, 'the key decides';
    $kafka->{cfg}{partitioner} = sub { $other };
    is_deeply $partitions->($send->(3)), { $other => 3 }, 'one that is set decides from the first message on';
    $kafka->{cfg}{partitioner} = undef;
    is_deeply $partitions->($send->(3)), { $of_key => 3 }, 'and no more when it is taken away';
    $kafka->{cfg}{partitioner} = sub { $other };
    is_deeply $partitions->($send->(3)), { $other => 3 }, 'another time';
    delete $kafka->{cfg}{partitioner};
    is_deeply $partitions->($send->(3)), { $of_key => 3 }, 'or deleted';

    is_deeply [values %{ $partitions->($send->(6, undef, 'v')) }], [2, 2, 2], 'without keys they go round';
    $kafka->{cfg}{partitioner} = 'sticky';
    $send->(1, undef, 'v');
    is_deeply [values %{ $partitions->($send->(6, undef, 'v')) }], [6], 'sticky';
    $kafka->{cfg}{partitioner} = undef;
    $send->(1, undef, 'v');
    is_deeply [values %{ $partitions->($send->(6, undef, 'v')) }], [2, 2, 2], 'and round again';
};

subtest 'a partitioner that was given to new' => sub {
    my ($kafka, $send) = sending(partitioner => sub { 2 });
    is_deeply [map { $_->{partition} } $send->(1)], [2], 'decides';
    $kafka->{cfg}{partitioner} = undef;
    is_deeply [map { $_->{partition} } $send->(1)], [EV::Kafka::_murmur2('k') % 3], 'until it is taken away';
};

subtest 'what cannot be' => sub {
    my @notices;
    my ($kafka, $send) = sending(acks => 1, compression => 'gzip', on_notice => sub { push @notices, $_[0] });
    my %wrong = (acks => 'some', compression => 'lzma', batch_size => 'large', linger_ms => -1, partitioner => 'random');
    for my $name (sort keys %wrong) {
        $kafka->{cfg}{$name} = $wrong{$name};
        is_deeply [map { @$_{qw(acks codec)} } $send->(1)], [1, 1], "$name '$wrong{$name}' changes nothing";
        is scalar(@notices), 1, 'is told once';
        like shift @notices, qr/^option '$name' .*\Q$wrong{$name}\E|^option '$name' must be/, 'with its name';
    }
    is_deeply [errors($kafka)], [], 'and is no error';
};

subtest 'on_error and on_drain' => sub {
    my $kafka = client(buffer_memory => 1_000);
    my (@errors, $drained);
    $kafka->{cfg}{on_error} = sub { push @errors, $_[0] };
    $kafka->{cfg}{on_drain} = sub { $drained = 1 };
    $kafka->produce('t', undef, 'x' x 2_000);
    like $errors[0], qr/^message too large/, 'on_error';
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $kafka->{cfg}{bootstrap} = [split /:/, $mock->bootstrap];
    $kafka->{cfg}{bootstrap} = [$kafka->{cfg}{bootstrap}];
    $kafka->connect;
    $kafka->produce('t', undef, 'x' x 400) for 1 .. 3;
    wait_until { $drained } 'on_drain';
    is $errors[1], 'producer buffer full', 'as at any time';

    $kafka->{cfg}{on_error} = undef;
    my $died;
    local $EV::DIED = sub { $died = $@ };
    $kafka->produce('t', undef, 'x' x 2_000);
    wait_until { $died } 'the default';
    like $died, qr/^EV::Kafka: message too large/, 'without on_error that dies';
};

done_testing;
