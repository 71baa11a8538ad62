use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

sub polled {
    my ($kafka) = @_;
    my @polled;
    $kafka->poll(sub { push @polled, [@_] });
    wait_until { @polled } 'poll';
    return $polled[0][0];
}

sub consumer {
    my ($mock, $received, @options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10,
        on_message => sub { push @$received, $_[4] }, @options);
    $kafka->assign([{ topic => 't' }]);
    return $kafka;
}

subtest 'OFFSET_OUT_OF_RANGE' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, map { { value => "v$_" } } 0 .. 9);
    $mock->delete_records(t => 0, 4);
    my @received;
    my $kafka = consumer($mock, \@received);
    like polled($kafka), qr/OFFSET_OUT_OF_RANGE/, 'goes to the callback of poll';
    is polled($kafka), undef, 'the next poll';
    is_deeply \@received, [map { "v$_" } 4 .. 9], 'starts at the earliest offset';
    $kafka->seek('t', 0, 1000);
    like polled($kafka), qr/OFFSET_OUT_OF_RANGE/, 'the same beyond the end';
    @received = ();
    polled($kafka);
    is scalar(@received), 6, 'from the earliest again';
    is_deeply [errors($kafka)], [], 'it is not for on_error';
};

for my $code (5, 6, 9, 56, 74, 75, 78) {
    subtest EV::Kafka::_error_name($code) => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        $mock->append(t => 0, { value => 'v' });
        $mock->fault(api => 'Fetch', error => $code);
        my @received;
        my $kafka = consumer($mock, \@received);
        my $metadata = $mock->request_count('Metadata');
        is polled($kafka), undef, 'is not for the callback of poll';
        fetch_all($kafka, \@received, 1);
        cmp_ok $mock->request_count('Metadata'), '>', $metadata, 'fetches metadata';
        is_deeply \@received, ['v'], 'and is tried again';
        is_deeply [errors($kafka)], [], 'silently';
    };
}

subtest 'a leader error that persists' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->fault(api => 'Fetch', error => 6, times => undef);
    my $kafka = consumer($mock, []);
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { errors($kafka) } 'on_error';
    my $tries = $mock->request_count('Fetch');
    cmp_ok $tries, '>=', 3, 'is reported after some tries';
    like +(errors($kafka))[0], qr/t:0.*NOT_LEADER_OR_FOLLOWER \(code 6\)/, 'with partition and code';
    wait_until { $mock->request_count('Fetch') >= $tries + 2 } 'more tries';
    is scalar(errors($kafka)), 1, 'once';
};

subtest 'the leader moves' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => 'a' });
    my @received;
    my $kafka = consumer($mock, \@received);
    fetch_all($kafka, \@received, 1);
    $mock->set_leader(t => 0, 1);
    $mock->append(t => 0, { value => 'b' });
    fetch_all($kafka, \@received, 2);
    is_deeply \@received, ['a', 'b'], 'and is followed';
    is_deeply [errors($kafka)], [], 'silently';
};

for my $code (3, 29) {
    subtest EV::Kafka::_error_name($code) => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 2);
        $mock->append(t => $_, { value => "p$_" }) for 0, 1;
        $mock->fault(api => 'Fetch', topic => 't', partition => 0, error => $code, times => undef);
        my @received;
        my $kafka = consumer($mock, \@received);
        my $both = [map { { topic => 't', partition => $_ } } 0, 1];
        $kafka->assign($both);
        is polled($kafka), undef, 'is not for the callback of poll';
        is_deeply \@received, ['p1'], 'the other partition is delivered';
        my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
        my $tries = $mock->request_count('Fetch');
        wait_until { $mock->request_count('Fetch') >= $tries + 4 } 'more tries';
        is scalar(errors($kafka)), 1, 'on_error hears of it once';
        like +(errors($kafka))[0], qr/t:0.*code $code/, 'with partition and code';
        $kafka->assign($both);
        wait_until { errors($kafka) == 2 } 'another report';
        pass 'and again after a new assignment';
    };
}

subtest 'a damaged batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => 'good' });
    my $batch = EV::Kafka::_test_encode_batch([{ key => 'k', value => 'damaged' }], {});
    substr $batch, 0, 8, pack 'q>', 1;
    substr($batch, -1) ^= "\x01";
    $mock->append_bytes(t => 0, $batch, 1);
    $mock->append(t => 0, { value => 'after' });
    my @received;
    my $kafka = consumer($mock, \@received);
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { errors($kafka) } 'on_error';
    my $tries = $mock->request_count('Fetch');
    wait_until { $mock->request_count('Fetch') >= $tries + 2 } 'more tries';
    is_deeply \@received, ['good'], 'is not delivered, nor is what comes after it';
    is $kafka->{cfg}{assignments}[0]{offset}, 1, 'the position stays before it';
    is scalar(errors($kafka)), 1, 'on_error hears of it once';
    like +(errors($kafka))[0], qr/t:0.*CORRUPT_MESSAGE \(code 2\)/, 'with partition and code';
    $kafka->seek('t', 0, 2);
    wait_until { @received == 2 } 'what comes after';
    is_deeply \@received, ['good', 'after'], 'seek passes it';
};

done_testing;
