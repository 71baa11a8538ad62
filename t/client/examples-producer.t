use strict;
use warnings;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use ExampleTest;

# The examples that produce do what they say.

subtest 'produce.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 1);
    my $output = output_of('produce', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_COUNT => 3 });
    is $output, join('', map { "message $_: partition 0, offset ${\ ($_ - 1)}\n" } 1 .. 3), 'says where each went';
    is_deeply [map { "$_->{key}: $_->{value}" } $mock->records(t => 0)], [map { "key $_: message $_" } 1 .. 3],
        'there they are';
};

subtest 'produce.pl and a broker that refuses' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->fault(api => 'Produce', error => 29);
    my %environment = (KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_COUNT => 1);
    my ($status, $output) = example('produce', \%environment);
    is $status >> 8, 1, 'exit status';
    like $output, qr/\Amessage 1: not written: TOPIC_AUTHORIZATION_FAILED \(code 29\).*\n\z/, 'says why';
};

subtest 'produce_headers.pl' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $output = output_of('produce_headers', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    like $output, qr/\Aa hash .* 0\npairs .* 1\na timestamp: .* 2\nno value: partition 0, offset 3\n\z/, 'each is written';
    my @records = $mock->records(t => 0);
    is $records[0]{value}, "gr\xc3\xbc\xc3\x9f Gott", 'text is encoded';
    is_deeply { map { $_->[0] => $_->[1] } @{ $records[0]{headers} } },
        { 'content-type' => 'text/plain; charset=utf-8', traced => undef }, 'a hash';
    is_deeply $records[1]{headers}, [[hop => 'gateway'], [hop => 'router'], [hop => 'worker']], 'pairs';
    is $records[2]{timestamp}, 1_000_000_000_000, 'a time';
    is $records[3]{value}, undef, 'no value';
};

subtest 'fire_and_forget.pl' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 4);
    my $output = output_of('fire_and_forget', {
        KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_COUNT => 2002,
    });
    like $output, qr/\A2002 messages in \d+\.\d+ s: \d+ a second\n\z/, 'says how fast it was';
    is_deeply counts($mock, 't'), [501, 501, 500, 500], 'none is missing';
};

subtest 'promises.pl' => sub {
    plan skip_all => 'Future::AsyncAwait is not installed' unless eval { require Future::AsyncAwait; 1 };
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 1);
    my $output = output_of('promises', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_COUNT => 2 });
    is $output, <<'END', 'one step after the other';
connected to 2 brokers
order 1: partition 0, offset 0
order 2: partition 0, offset 1
partition 0 ends at 2
END
};

subtest 'promises.pl and a topic that must not be written to' => sub {
    plan skip_all => 'Future::AsyncAwait is not installed' unless eval { require Future::AsyncAwait; 1 };
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->deny(topic => 't', operation => 'Write');
    my ($status, $output) = example('promises', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_COUNT => 1 });
    is $status >> 8, 1, 'exit status';
    like $output, qr/^order 1: not written: TOPIC_AUTHORIZATION_FAILED.*\npartition 0 ends at 0\n/m, 'says why, and goes on';
};

subtest 'multi_topic.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2, partitions => 1);
    my $output = output_of('multi_topic', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    is $output, "3 of 3 messages written\n", 'one callback';
    is_deeply [map { map { $_->{value} } $mock->records($_, 0) } qw(t-orders t-payments t-mails)],
        ['order 1: two pairs of socks', 'order 1: 12.50', 'order 1: thank you'], 'one message each';
};

subtest 'multi_topic.pl and a topic that must not be written to' => sub {
    my $mock = EV::Kafka::Mock->new(partitions => 1);
    $mock->fault(api => 'Produce', topic => 't-payments', error => 29);
    my ($status, $output) = example('multi_topic', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    is $status >> 8, 1, 'exit status';
    like $output, qr/\Anot written: TOPIC_AUTHORIZATION_FAILED \(code 29\) from t-payments:0/, 'says which';
    like $output, qr/\n2 of 3 messages written\n\z/,                                                'and how many';
};

subtest 'multi_partition.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 4);
    my $output = output_of('multi_partition', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    like $output, qr/^one key, one partition: +(\d)(?: \1){3}$/m, 'a key';
    my ($hashed) = $output =~ /^keys spread by their hash: +(.*)$/m;
    is $hashed, join(' ', map { EV::Kafka::_murmur2("customer-$_") % 4 } 1 .. 8), 'keys';
    like $output, qr/^no key, in turn: +0 1 2 3 0 1 2 3$/m,           'in turn';
    like $output, qr/^named by the message: +0 0 0 0$/m,              'named';
    like $output, qr/^by a function of your own: +1 2 3 0\n\z/m,      'a partitioner';
    my %landed = map { $_ => 0 } 0 .. 3;
    $landed{$_}++ for $output =~ /(?<= )(\d)\b/g;
    is_deeply counts($mock, 't'), [@landed{ 0 .. 3 }], 'that is where they are';
};

subtest 'json_events.pl' => sub {
    my $mock = EV::Kafka::Mock->new;
    my $output = output_of('json_events', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    is $output, <<"END", 'what was written is read, in order';
login: agent = "curl", at = "/"
click: at = "/socks", target = "gr\xc3\xb6\xc3\x9fer"
order: at = "/checkout", total = 12.5
END
    my ($click) = grep { $_->{value} =~ /socks/ } map { $mock->records(t => $_) } 0 .. $mock->partitions('t') - 1;
    is $click->{value}, qq({"at":"/socks","target":"gr\xc3\xb6\xc3\x9fer"}), 'JSON in UTF-8';
    is_deeply { map { @$_ } @{ $click->{headers} } }, { 'content-type' => 'application/json', type => 'click' },
        'the headers';
};

subtest 'backpressure.pl' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $output = output_of('backpressure', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_COUNT => 30_000 });
    like $output, qr/\A30000 messages written, stopped [1-9]\d* times\n\z/, 'had to stop';
    my %times;
    $times{ $_->{key} }++ for $mock->records(t => 0);
    is_deeply [scalar(keys %times), grep { $_ > 1 } values %times], [30_000], 'every message is there once';
};

done_testing;
