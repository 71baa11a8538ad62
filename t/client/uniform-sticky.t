use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest qw(croaks_like);
use TestKafka;

# partitioner => 'uniform-sticky': messages without a key stay for the bytes of a batch, and come less often to
# brokers that are slow.

sub share { my ($mock, $partitions) = @_; return map { scalar(() = $mock->records(t => $_)) } 0 .. $partitions - 1 }

subtest 'they stay for the bytes of a batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 5);
    my $kafka = connected(brokers => $mock->bootstrap, batch_size => 10_000, partitioner => 'uniform-sticky');
    my $delivered = 0;
    for my $round (1 .. 5) {
        $kafka->produce('t', undef, "$round-$_", sub { $delivered++ }) for 1 .. 10;
        wait_until { $delivered == 10 * $round } 'delivery';
        is_deeply [grep { $_ } share($mock, 5)], [10 * $round], 'on one partition, in however many batches they leave';
    }
    my %keyed;
    for my $key ('a' .. 'j') {
        $kafka->produce('t', $key, 'v', sub { $keyed{$key} = $_[0]{topics}[0]{partitions}[0]{partition}; $delivered++ });
    }
    wait_until { $delivered == 60 } 'delivery';
    is_deeply \%keyed, { map { $_ => EV::Kafka::_murmur2($_) % 5 } 'a' .. 'j' }, 'keys choose as ever';
};

subtest 'a slow broker' => sub {
    my %share;
    for my $partitioner ('sticky', 'uniform-sticky') {
        my $mock = EV::Kafka::Mock->new(brokers => 3);
        $mock->create_topic(t => 3);
        my $kafka = connected(brokers => $mock->bootstrap, batch_size => 500, partitioner => $partitioner);
        my $slow  = $mock->leader(t => 0);
        # It does not answer before all have been produced.
        $mock->fault(api => 'Produce', broker => $slow, delay_ms => 100, times => undef);
        my ($produced, $delivered, $at_others) = (0, 0, 0);
        my $produce = sub {
            $kafka->produce('t', undef, 'v' x 100, sub { $delivered++; $at_others++ if $_[0]{topics}[0]{partitions}[0]{partition} }) for 1 .. 20;
            $produced += 20;
        };
        until ($produced == 2000) {
            $produce->();
            turns 3;
        }
        $kafka->flush;
        wait_until { $delivered == $produced } 'delivery';
        $share{$partitioner} = $produced - $at_others;
        is_deeply [errors($kafka)], [], "$partitioner: no errors";
    }
    cmp_ok $share{'uniform-sticky'}, '<', 0.7 * $share{sticky}, "gets less ($share{'uniform-sticky'} of 2000, otherwise $share{sticky})";
};

subtest 'a topic that is not known yet, and other rules later' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = client(brokers => $mock->bootstrap, partitioner => 'uniform-sticky');
    $mock->create_topic(t => 4);
    my $delivered = 0;
    $kafka->produce('t', undef, 'v', sub { $delivered++ }) for 1 .. 8;
    $kafka->connect;
    wait_until { $delivered == 8 } 'delivery';
    is_deeply [sort { $a <=> $b } share($mock, 4)], [0, 0, 0, 8], 'stay together';
    $kafka->{cfg}{partitioner} = undef;
    # From the next batch on.
    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    wait_until { $delivered == 9 } 'delivery';
    my @before = share($mock, 4);
    $kafka->produce('t', undef, 'v', sub { $delivered++ }) for 1 .. 8;
    wait_until { $delivered == 17 } 'delivery';
    my @after = share($mock, 4);
    is_deeply [map { $after[$_] - $before[$_] } 0 .. 3], [2, 2, 2, 2], 'go round by default';
};

croaks_like(sub { EV::Kafka->new(partitioner => 'uniform') }, qr/option 'partitioner' must be a code reference, 'sticky' or 'uniform-sticky' at \Q$0\E/);

done_testing;
