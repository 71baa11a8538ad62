use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

my $mock = EV::Kafka::Mock->new(brokers => 2);
$mock->create_topic(t => 3);
$mock->append(t => 0, map { { value => $_ } } 1 .. 10);
$mock->append(t => 1, map { { value => $_ } } 1 .. 5);
$mock->delete_records(t => 0, 4);

subtest 'offsets_for' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->offsets_for('t', sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply $got[0], [{
        0 => { earliest => 4, latest => 10 },
        1 => { earliest => 0, latest => 5 },
        2 => { earliest => 0, latest => 0 },
    }, undef], 'earliest and latest of every partition';
};

subtest 'before connect' => sub {
    my $kafka = client(brokers => $mock->bootstrap);
    my ($offsets, $lag);
    $kafka->assign([{ topic => 't', offset => 7 }]);
    $kafka->offsets_for('t', sub { $offsets = shift });
    $kafka->lag(sub { $lag = shift });
    $kafka->connect;
    wait_until { $offsets && $lag } 'both callbacks';
    is $offsets->{0}{latest}, 10, 'offsets_for waits';
    is_deeply $lag, { 't:0' => { current => 7, latest => 10, lag => 3 } }, 'lag waits';
};

subtest 'an unknown topic' => sub {
    my $strict = EV::Kafka::Mock->new(auto_create => 0);
    my $kafka  = connected(brokers => $strict->bootstrap);
    my @got;
    $kafka->offsets_for('unknown', sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is scalar(@got), 1, 'once';
    is $got[0][0], undef, 'no result';
    like $got[0][1], qr/unavailable after/, 'the reason';
};

subtest 'lag' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->lag(sub { push @got, [@_] });
    is_deeply \@got, [[{}]], 'nothing assigned, no lag';
    $kafka->assign([{ topic => 't', partition => 0, offset => 4 }, { topic => 't', partition => 1, offset => 5 }]);
    @got = ();
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply $got[0], [{
        't:0' => { current => 4, latest => 10, lag => 6 },
        't:1' => { current => 5, latest => 5,  lag => 0 },
    }, undef], 'position, latest and what is between';
};

subtest 'one partition fails' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([map { { topic => 't', partition => $_ } } 0, 1]);
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 1, error => 29);
    my @got;
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply [keys %{ $got[0][0] }], ['t:0'], 'the others are there';
    like $got[0][1], qr/t:1: TOPIC_AUTHORIZATION_FAILED \(code 29\)/, 'and an error says what happened';
};

subtest 'a broker that is gone' => sub {
    my $lonely = EV::Kafka::Mock->new;
    $lonely->create_topic(t => 1);
    my $kafka = connected(brokers => $lonely->bootstrap);
    $lonely->stop_broker(0);
    my @got;
    $kafka->offsets_for('t', sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    like $got[0][1], qr/no connection to leader/, 'is the error';
};

done_testing;
