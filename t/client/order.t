use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;

# What may be said of a message beside key and value, for all of partition 0.
my @WAYS = ([], [{ headers => { h => 1 } }], [{ partition => 0 }], [{ timestamp => 5 }]);

# Produces so many messages, each in another way than the one before it; gives what
# their callbacks will have heard.
sub produce_in_all_ways {
    my ($kafka, $topic, $numbers, @ways) = @_;
    my %heard;
    for my $number (@$numbers) {
        my $way = $ways[$number % @ways];
        $kafka->produce($topic, 'k', $number, @$way, sub { push @{ $heard{$number} }, $_[1] });
    }
    return \%heard;
}

sub heard_once {
    my ($heard, @numbers) = @_;
    wait_until { keys %$heard == @numbers } 'all callbacks';
    is_deeply $heard, { map { $_ => [undef] } @numbers }, 'each callback once, without an error';
    return;
}

for my $idempotent (0, 1) {
    my $name = $idempotent ? ', idempotent' : '';
    subtest "a known topic without a leader$name" => sub {
        my $mock = EV::Kafka::Mock->new(brokers => 2);
        $mock->create_topic(t => 1);
        my $kafka = connected(brokers => $mock->bootstrap, idempotent => $idempotent);
        my $gone  = $mock->leader(t => 0);
        $mock->stop_broker($gone);
        Inside::refresh($kafka);
        wait_until { !defined $kafka->{cfg}{leaders}{'t:0'} } 'the leader to be gone';
        my $heard = produce_in_all_ways($kafka, t => [1 .. 12], @WAYS);
        is +($kafka->buffered)[0], 12, 'all are kept';
        is_deeply [grep { $_->{known} } @{ $kafka->{cfg}{pending_ops} }], [], 'in the batches of their partition';
        my $asked = $mock->request_count('Metadata');
        wait_until { $mock->request_count('Metadata') >= $asked + 3 } 'the client to look for a leader';
        $mock->start_broker($gone);
        heard_once($heard, 1 .. 12);
        is_deeply log_values($mock, 't'), [1 .. 12], 'in the order of produce';
        is_deeply [grep { !/ lost: / } errors($kafka)], [], 'on_error hears of the broker only';
    };

    subtest "before connect$name" => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        my $kafka = client(brokers => $mock->bootstrap, idempotent => $idempotent);
        my $heard = produce_in_all_ways($kafka, t => [1 .. 12], @WAYS);
        $kafka->connect;
        heard_once($heard, 1 .. 12);
        is_deeply log_values($mock, 't'), [1 .. 12], 'in the order of produce';
    };
}

subtest 'a partitioner of the program' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 3);
    my @asked;
    my $kafka = client(brokers => $mock->bootstrap, partitioner => sub { push @asked, [@_]; 0 });
    my $text  = "k\x{263a}";
    my %heard;
    my @keys = ('k', undef, $text, '');
    for my $number (0 .. 11) {
        my $way = $WAYS[($number / 4 + $number) % @WAYS];
        $kafka->produce(t => $keys[$number % 4], $number, @$way, sub { push @{ $heard{$number} }, $_[1] });
    }
    is_deeply \@asked, [], 'is not asked before the number of partitions is known';
    $kafka->connect;
    heard_once(\%heard, 0 .. 11);
    is_deeply log_values($mock, 't'), [0 .. 11], 'in the order of produce';
    my @by_number = grep { !$WAYS[($_ / 4 + $_) % @WAYS][0]{partition} && ($_ / 4 + $_) % @WAYS != 2 } 0 .. 11;
    is_deeply \@asked, [map { ['t', $keys[$_ % 4], 3] } @by_number], 'and asked once for each that names no partition, with its key';
};

subtest 'what a partitioner produces while it is asked about older messages' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my ($kafka, %heard);
    my $produce = sub { my ($number) = @_; $kafka->produce('t', $number, $number, sub { push @{ $heard{$number} }, $_[1] }) };
    $kafka = client(brokers => $mock->bootstrap, partitioner => sub {
        my (undef, $key) = @_;
        $produce->(10 + $key) if $key <= 3;
        return 0;
    });
    $produce->($_) for 1 .. 3;
    $kafka->connect;
    heard_once(\%heard, 1 .. 3, 11 .. 13);
    is_deeply log_values($mock, 't'), [1 .. 3, 11 .. 13], 'goes behind them';
};

subtest 'a partitioner that dies' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = client(brokers => $mock->bootstrap, partitioner => sub { $_[1] % 2 ? die "odd\n" : 0 });
    my %heard;
    $kafka->produce('t', $_, $_, sub { push @{ $heard{ $_[1] // 'delivered' } }, 1 }) for 1 .. 5;
    $kafka->connect;
    wait_until { @{ $heard{delivered} || [] } == 2 } 'delivery';
    is_deeply \%heard, { delivered => [1, 1], "odd\n" => [1, 1, 1] }, 'fails its own message only';
    is_deeply log_values($mock, 't'), [2, 4], 'the others are in order';
    is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
};

subtest 'a partitioner that closes the client' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my ($kafka, @heard);
    $kafka = client(brokers => $mock->bootstrap, partitioner => sub { $kafka->close if $_[1] == 2; 0 });
    $kafka->produce('t', $_, $_, sub { push @heard, $_[1] }) for 1 .. 3;
    $kafka->connect;
    wait_until { @heard == 3 } 'all callbacks';
    is_deeply \@heard, [('client closed') x 3], 'ends what it is asked about';
};

subtest 'patience is the same for all' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, delivery_timeout => 1);
    $mock->stop_broker($mock->leader(t => 0));
    Inside::refresh($kafka);
    wait_until { !defined $kafka->{cfg}{leaders}{'t:0'} } 'the leader to be gone';
    my $heard = produce_in_all_ways($kafka, t => [0 .. 3], @WAYS);
    wait_until { keys %$heard == 4 } 'all callbacks';
    like $_->[0], qr/^delivery timed out after 1 s: t:0/, 'delivery_timeout' for map { $heard->{$_} } 0 .. 3;
    my $unknown = produce_in_all_ways($kafka, absent => [0 .. 3], @WAYS);
    $mock->fault(api => 'Metadata', error => 3, times => undef);
    wait_until { keys %$unknown == 4 } 'all callbacks';
    is scalar(keys %{ { map { $unknown->{$_}[0] => 1 } 0 .. 3 } }), 1, 'of an unknown topic all hear the same';
};

subtest 'a partition that the topic is not known to have' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @heard;
    $kafka->produce('t', undef, $_, { partition => 1 }, sub { push @heard, $_[1] }) for 1 .. 2;
    $kafka->produce('t', undef, 'there', sub { push @heard, $_[1] // 'delivered' });
    wait_until { @heard == 3 } 'all callbacks';
    is shift @heard, 'delivered', 'holds up no other';
    like $_, qr/unavailable after 10/, 'fails' for @heard;
    is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
    is_deeply $kafka->{cfg}{pending_ops}, [], 'nor waits';
    $kafka->produce('t', undef, 'again', { partition => 1 }, sub { push @heard, $_[1] });
    wait_until { @heard == 3 } 'the next one';
    like $heard[2], qr/unavailable after 10/, 'is looked for anew';
};

for my $case (['a partitioner', [partitioner => sub { 0 }], []], ['a partition', [], [{ partition => 0 }]], ['nothing said', [], []]) {
    my ($name, $options, $said) = @$case;
    subtest "what was accepted before connect is delivered: $name" => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        my $kafka = client(brokers => $mock->bootstrap, buffer_memory => 20_000, @$options);
        my (%heard, @accepted);
        for my $number (1 .. 2_000) {
            $kafka->produce('t', 'k', $number, @$said, sub { push @{ $heard{$number} }, $_[1] });
            push @accepted, $number unless $heard{$number};
        }
        cmp_ok scalar(@accepted), '<', 2_000, 'not all are';
        is_deeply [($kafka->buffered)[0]], [scalar @accepted], 'those are counted';
        $kafka->connect;
        wait_until { keys %heard == 2_000 } 'all callbacks';
        is_deeply [map { @{ $heard{$_} } } @accepted], [(undef) x @accepted], 'none of them fails later';
        is_deeply log_values($mock, 't'), \@accepted, 'and all are there, in order';
    };
}

# More than one turn of the loop has time to move to their partition.
subtest 'very many messages from before connect, and others that come while they are moved' => sub {
    my $mock  = EV::Kafka::Mock->new;
    $mock->create_topic(many => 1);
    my $kafka = client(brokers => $mock->bootstrap);
    my ($produced, $delivered, $wrong) = (0, 0, 0);
    my $produce = sub {
        my $number = $produced++;
        $kafka->produce('many', undef, $number, sub {
            my ($result, $error) = @_;
            $wrong++ if defined $error || $result->{topics}[0]{partitions}[0]{base_offset} != $number;
            $delivered++;
        });
    };
    $produce->() for 1 .. 60_000;
    my $more = EV::check sub { $produce->() if $produced < 61_000 };
    $kafka->connect;
    wait_until { $produced == 61_000 && $delivered == $produced } 'all of them';
    is $wrong, 0, 'all are delivered, in the order of produce';
    is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
};

done_testing;
