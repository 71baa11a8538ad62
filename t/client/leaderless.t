use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;

# Partition 1 has its only replica on broker 1.
my $mock = EV::Kafka::Mock->new(brokers => 2);
$mock->create_topic(t => 2);
my @received;
my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message => sub { push @received, $_[4] });

my %got;
$kafka->produce('t', undef, $_, { partition => $_ }, sub { push @{ $got{before} }, $_[1] }) for 0, 1;
wait_until { @{ $got{before} || [] } == 2 } 'delivery';

$mock->stop_broker(1);
Inside::refresh($kafka);
wait_until { !defined $kafka->{cfg}{leaders}{'t:1'} } 'metadata without that leader';
is $mock->leader(t => 1), -1, 'a partition without a leader';

# A key whose partition it is; there is no choice but to wait for it.
my ($key) = grep { EV::Kafka::_murmur2($_) % 2 == 1 } map { "key $_" } 1 .. 100;
my ($other) = grep { EV::Kafka::_murmur2($_) % 2 == 0 } map { "key $_" } 1 .. 100;
$kafka->produce('t', $key, 'kept', sub { push @{ $got{kept} }, $_[1] });
$kafka->produce('t', $other, 'sent', sub { push @{ $got{sent} }, $_[1] });
$kafka->produce('t', undef, $_, sub { push @{ $got{undef} }, $_[1] }) for 1 .. 4;
wait_until { $got{sent} && @{ $got{undef} || [] } == 4 } 'delivery to the other partition';
is_deeply $got{sent}, [undef], 'other partitions are not held up';
is_deeply $got{undef}, [(undef) x 4], 'messages without a key go where there is a leader';

my $requests = $mock->request_count('Metadata');
wait_until { $mock->request_count('Metadata') >= $requests + 3 } 'metadata being asked for';
ok !$got{kept}, 'the message waits';

$kafka->assign([{ topic => 't', partition => 1 }]);
my $polled;
$kafka->poll(sub { $polled = [@_] });
is_deeply $polled, [], 'poll has nothing to ask';

$mock->start_broker(1);
wait_until { $got{kept} } 'delivery';
is_deeply $got{kept}, [undef], 'and is delivered once there is a leader again';
is_deeply log_values($mock, 't', 1), [1, 'kept'], 'once';
fetch_all($kafka, \@received, 2);
is_deeply \@received, [1, 'kept'], 'and consumed';

my $asked = $mock->request_count('Metadata');
turns 50;
is $mock->request_count('Metadata'), $asked, 'then metadata is left in peace';

done_testing;
