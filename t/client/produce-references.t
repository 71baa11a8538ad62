# What was forgotten, or not encoded, is no data.
use strict;
use warnings;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use TestKafka;

{ package Text;  use overload '""' => sub { "text $_[0]{text}" }; sub new { bless { text => $_[1] }, $_[0] } }
{ package Plain; sub new { bless {}, $_[0] } }

my $mock = EV::Kafka::Mock->new(partitions => 1);
$mock->create_topic(t => 1);

my $cb = sub { };
my %wrong = (
    'a hash as value'          => [[t => 'k', { a => 1 }], 'value', 'HASH'],
    'an array as value'        => [[t => 'k', [1]], 'value', 'ARRAY'],
    'a scalar reference'       => [[t => 'k', \'v'], 'value', 'SCALAR'],
    'an object as value'       => [[t => 'k', Plain->new], 'value', 'HASH'],
    'the key forgotten'        => [[t => 'v', $cb], 'value', 'CODE'],
    'only a topic'             => [[t => $cb], 'key', 'CODE'],
    'no topic'                 => [[$cb], 'topic', 'CODE'],
    'an array as topic'        => [[['t'], 'k', 'v'], 'topic', 'ARRAY'],
    'a hash as key'            => [[t => {}, 'v'], 'key', 'HASH'],
    'a hash, with options'     => [[t => 'k', {}, { partition => 0 }], 'value', 'HASH'],
    'a hash, with a callback'  => [[t => 'k', {}, $cb], 'value', 'HASH'],
);

for my $state ('before connect', 'connected') {
    my $kafka = $state eq 'connected' ? connected(brokers => $mock->bootstrap) : client(brokers => $mock->bootstrap);
    for my $what (sort keys %wrong) {
        my ($arguments, $argument, $kind) = @{ $wrong{$what} };
        eval { $kafka->produce(@$arguments) };
        like $@, qr/\Aproduce: $argument must be a string, not a reference \($kind\) at \Q$0\E line/, "$state, $what";
    }
    for my $arguments (['t'], ['t', 'v']) {
        eval { $kafka->produce(@$arguments) };
        like $@, qr/\Aproduce: key and value required \(undef for none\) at \Q$0\E line/, "$state, @$arguments alone";
    }
    eval { $kafka->produce_many([['t', 'k', 'good'], ['t', 'k', {}]]) };
    like $@, qr/\Aproduce: value must be a string, not a reference \(HASH\) at /, "$state, one of many";
    eval { $kafka->produce_many([{ topic => 't', key => [], value => 'v' }]) };
    like $@, qr/\Aproduce: key must be a string, not a reference \(ARRAY\) at /, "$state, one of many, as a hash";
    is +($kafka->buffered)[0], 0, "$state: nothing is queued";
    $kafka->close;
}

my $kafka = connected(brokers => $mock->bootstrap);
my $flushed;
$kafka->produce(t => Text->new('key'), Text->new('value'));
$kafka->produce(t => 'k', Text->new('with options'), { partition => 0 });
$kafka->produce(t => undef, undef);
$kafka->produce_many([['t', 'k', Text->new('of many')]]);
$kafka->flush(sub { $flushed = 1 });
wait_until { $flushed } 'delivery';
is_deeply [map { [@$_{qw(key value)}] } $mock->records(t => 0)],
    [['text key', 'text value'], ['k', 'text with options'], [undef, undef], ['k', 'text of many']],
    'objects that overload strings are strings, undef is null';

done_testing;
