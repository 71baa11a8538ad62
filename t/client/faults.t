use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use List::Util qw(sum);
use TestKafka;

# Brokers refuse, hang up, die and come back while messages go out and come in.
# Whatever happens, every callback is called once, and what was acknowledged is
# there and is consumed, in order.
my $MESSAGES   = 5_000;
my $PARTITIONS = 6;

my $seed = $ENV{TEST_SEED} || 20_240_611;
srand $seed;
note "TEST_SEED=$seed";

my $mock = EV::Kafka::Mock->new(brokers => 3);
$mock->create_topic(t => $PARTITIONS, 2);

my (@calls, %acknowledged, %consumed, $out_of_order);
my $producer = connected(brokers => $mock->bootstrap, batch_size => 500, acks => -1);
my $consumer = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 5, fetch_max_bytes => 2000, on_message => sub {
    my (undef, $partition, $offset, undef, $value) = @_;
    my $next = $consumed{$partition}{next} // 0;
    $out_of_order++ if $offset != $next;
    $consumed{$partition}{next} = $offset + 1;
    $consumed{$partition}{at}{$offset} = $value;
});
$consumer->assign([map { { topic => 't', partition => $_ } } 0 .. $PARTITIONS - 1]);
my $poll = EV::timer 0, 0.003, sub { $consumer->poll };

my ($next, $outstanding) = (0, 0);
my $fill = sub {
    while ($outstanding < 300 && $next < $MESSAGES) {
        my $n = $next++;
        $outstanding++;
        $producer->produce('t', "key $n", "value $n", sub {
            my ($result, $error) = @_;
            $calls[$n]++;
            $outstanding--;
            return if defined $error;
            my $partition = $result->{topics}[0]{partitions}[0];
            $acknowledged{ $partition->{partition} }{ $partition->{base_offset} } = "value $n";
        });
    }
};
my $filling = EV::timer 0, 0.002, $fill;

my @trouble = (
    sub { $mock->fault(api => 'Produce', error => (3, 6, 7, 19)[rand 4]) },
    sub { $mock->fault(api => 'Produce', partition => int rand $PARTITIONS, error => 6, times => 2) },
    sub { $mock->fault(api => 'Produce', drop => 1, applied => int rand 2) },
    sub { $mock->fault(api => 'Produce', delay_ms => 20, times => 3) },
    sub { $mock->fault(api => 'Fetch', error => (5, 6, 9)[rand 3]) },
    sub { $mock->fault(api => 'Fetch', drop => 1) },
    sub { $mock->fault(api => 'Fetch', truncate => 1, times => 5) },
    sub { $mock->fault(api => 'Metadata', drop => 1) },
    sub { $mock->set_leader(t => int rand $PARTITIONS, int rand 3) },
);
my $trouble = EV::timer 0.01, 0.01, sub { eval { $trouble[rand @trouble]->() } };
my $down;
my $outage = EV::timer 0.05, 0.15, sub {
    if (defined $down) { $mock->start_broker($down); undef $down }
    else               { $mock->stop_broker($down = int rand 3) }
};

wait_until { $next == $MESSAGES && !$outstanding } 'all messages';
undef $_ for $trouble, $outage, $filling;
$mock->start_broker($down) if defined $down;
$mock->clear_faults;

my $flushed;
$producer->flush(sub { $flushed = [@_] });
wait_until { $flushed } 'flush';
is_deeply $flushed, [], 'nothing is left to flush';
is scalar(grep { ($_ // 0) != 1 } @calls[0 .. $MESSAGES - 1]), 0, 'every callback was called once';

my $acknowledged = sum(0, map { scalar keys %$_ } values %acknowledged);
note "$acknowledged of $MESSAGES acknowledged";
cmp_ok $acknowledged, '>', $MESSAGES / 4, 'enough got through to mean something';

my $lost = 0;
for my $partition (keys %acknowledged) {
    my @log = $mock->records(t => $partition);
    for my $offset (keys %{ $acknowledged{$partition} }) {
        $lost++ if !$log[$offset] || $log[$offset]{value} ne $acknowledged{$partition}{$offset};
    }
}
is $lost, 0, 'what was acknowledged is where its callback says';

my $end = sum(0, map { $mock->high_watermark(t => $_) } 0 .. $PARTITIONS - 1);
wait_until { sum(0, map { $_->{next} } values %consumed) == $end } 'the consumer to reach the end';
is $out_of_order, undef, 'every offset was consumed once, in order';
is sum(0, map { scalar keys %{ $_->{at} } } values %consumed), $end, 'all of them';

done_testing;
