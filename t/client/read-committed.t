use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

# Transactions as a log has them: producers 7 and 8 write side by side.
sub transactional {
    my ($offset, $producer_id, @values) = @_;
    return ScriptedBroker::batch($offset, [map { { value => $_ } } @values],
        producer_id => $producer_id, producer_epoch => 0, is_transactional => 1);
}

my @LOG = (
    transactional(0, 7, 'a0', 'a1'),                           # aborted by the marker at 5
    transactional(2, 8, 'b2'),                                 # committed by the one at 6
    ScriptedBroker::batch(3, [{ value => 'plain 3' }]),
    transactional(4, 7, 'a4'),
    ScriptedBroker::marker(5, 7, 'abort'),
    ScriptedBroker::marker(6, 8, 'commit'),
    transactional(7, 7, 'a7'),                                 # committed by the one at 8
    ScriptedBroker::marker(8, 7, 'commit'),
    transactional(9, 8, 'b9'),                                 # aborted by the one at 10
    ScriptedBroker::marker(10, 8, 'abort'),
);

sub consume {
    my ($count, %options) = @_;
    my %answer = (records => join('', @LOG), high_watermark => 11, %{ delete $options{answer} || {} });
    my $broker = ScriptedBroker->new(on_request => sub {
        my (undef, undef, $request) = @_;
        return undef unless $request->{api} eq 'Fetch';
        return undef if ScriptedBroker::fetched($request)->{offset} >= 11;
        return ScriptedBroker::fetch_answer($request, %answer);
    });
    my @received;
    my $kafka = connected(brokers => $broker->address, on_message => sub { push @received, $_[4] }, %options);
    $kafka->assign([{ topic => 't' }]);
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    return (\@received, $kafka, $broker);
}

my @ABORTED = ([7, 0], [8, 9]);

subtest 'read_uncommitted, the default' => sub {
    my ($received, $kafka, $broker) = consume(7);
    is_deeply $received, [qw(a0 a1 b2), 'plain 3', qw(a4 a7 b9)], 'gives all records, and no markers';
    is $kafka->{cfg}{assignments}[0]{offset}, 11, 'the position is behind the last marker';
    is ScriptedBroker::fetched(($broker->requests('Fetch'))[0])->{isolation_level}, 0, 'the broker knows';
};

subtest 'read_committed' => sub {
    my ($received, $kafka, $broker) = consume(3,
        isolation_level => 'read_committed', answer => { aborted => \@ABORTED });
    is_deeply $received, ['b2', 'plain 3', 'a7'], 'withholds what was aborted';
    is $kafka->{cfg}{assignments}[0]{offset}, 11, 'the position is behind it';
    is ScriptedBroker::fetched(($broker->requests('Fetch'))[0])->{isolation_level}, 1, 'the broker knows';
};

subtest 'the order of the list does not matter' => sub {
    my ($received) = consume(3, isolation_level => 'read_committed', answer => { aborted => [reverse @ABORTED] });
    is_deeply $received, ['b2', 'plain 3', 'a7'], 'the same';
};

subtest 'an answer that begins within a transaction' => sub {
    my ($received) = consume(2, isolation_level => 'read_committed',
        answer => { records => join('', @LOG[3 .. 9]), aborted => \@ABORTED });
    is_deeply $received, ['a7'], 'withholds what comes of it';
};

subtest 'nothing but aborted records and a marker' => sub {
    my ($received, $kafka) = consume(0, isolation_level => 'read_committed',
        answer => { records => join('', @LOG[8, 9]), aborted => [[8, 9]] });
    is_deeply $received, [], 'delivers nothing';
    is $kafka->{cfg}{assignments}[0]{offset}, 11, 'and goes on behind them';
};

subtest 'an open transaction' => sub {
    my ($received, $kafka, $broker) = consume(0, isolation_level => 'read_committed', fetch_max_bytes => 1000,
        answer => { records => '', last_stable_offset => 0 });
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is_deeply [map { ScriptedBroker::fetched($_)->{max_bytes} } $broker->requests('Fetch')], [1000, 1000],
        'holds back what is behind it: that is no reason to ask for larger answers';
    is $kafka->{cfg}{assignments}[0]{offset}, 0, 'the position stays before it';
};

subtest 'ListOffsets' => sub {
    for my $level (qw(read_committed read_uncommitted)) {
        my $mock  = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        $mock->append(t => 0, { value => 'v' });
        my $kafka = connected(brokers => $mock->bootstrap, isolation_level => $level);
        my $offsets;
        $kafka->offsets_for(t => sub { $offsets = shift });
        wait_until { $offsets } 'offsets';
        is $offsets->{0}{latest}, 1, "$level is understood";
    }
};

subtest 'the option' => sub {
    eval { EV::Kafka->new(isolation_level => 'serializable') };
    like $@, qr/^EV::Kafka: option 'isolation_level' must be read_uncommitted or read_committed, not 'serializable' at/,
        'takes no other value';
};

done_testing;
