use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

sub mock {
    my ($partitions) = @_;
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => $partitions || 1);
    return $mock;
}

sub idempotent {
    my ($mock, %options) = @_;
    return connected(brokers => $mock->bootstrap, idempotent => 1, %options);
}

# Values, each in a batch of its own, and how their callbacks ended, in that order.
sub produce_apart {
    my ($kafka, @values) = @_;
    my %end;
    for my $value (@values) {
        $kafka->produce('t', undef, $value, { partition => 0 }, sub { push @{ $end{$value} }, [@_] });
        $kafka->_flush_all_batches;
    }
    return \%end;
}

sub delivered {
    my ($end, @values) = @_;
    wait_until { @values == keys %$end } 'all callbacks';
    is_deeply [map { scalar @{ $end->{$_} || [] } } @values], [(1) x @values], 'each callback once';
    is_deeply [map { $end->{$_}[0][1] } @values], [(undef) x @values], 'without errors';
    return;
}

subtest 'an id at connect' => sub {
    my $mock  = mock();
    my $kafka = idempotent($mock);
    is $mock->request_count('InitProducerId'), 1, 'is asked for';
    cmp_ok $kafka->{cfg}{producer_id}, '>=', 0, 'and kept';
    is $kafka->{cfg}{producer_epoch}, 0, 'with its epoch';
    my $end = produce_apart($kafka, 1 .. 20);
    delivered($end, 1 .. 20);
    is_deeply log_values($mock, 't'), [1 .. 20], 'messages arrive in order';
    is $mock->request_count('InitProducerId'), 1, 'under one id';
};

subtest 'nothing leaves before the id is there' => sub {
    my $mock = mock();
    $mock->fault(api => 'InitProducerId', hang => 1);
    my $kafka = client(brokers => $mock->bootstrap, idempotent => 1, request_timeout => 0.3);
    my $connected = 0;
    $kafka->connect(sub { $connected++ });
    my $end = produce_apart($kafka, 'early');
    wait_until { $mock->request_count('InitProducerId') } 'the request for an id';
    $kafka->_flush_all_batches;
    turns();
    is $mock->request_count('Produce'), 0, 'no message either';
    is $connected, 0, 'nor is connect done';
    wait_until { $connected } 'the next request for an id';
    delivered($end, 'early');
    is $mock->request_count('InitProducerId'), 2, 'as the first was never answered';
};

for my $code (5, 6, 7, 13, 14, 15, 16, 19, 51, 89, -1) {
    subtest 'InitProducerId answers ' . EV::Kafka::_error_name($code) => sub {
        my $mock = mock();
        $mock->fault(api => 'InitProducerId', error => $code, times => 2);
        my $kafka = idempotent($mock);
        is $mock->request_count('InitProducerId'), 3, 'it is asked again';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
        delivered(produce_apart($kafka, 'v'), 'v');
    };
}

subtest 'InitProducerId is refused' => sub {
    my $mock = mock();
    $mock->fault(api => 'InitProducerId', error => 31);
    my $kafka = client(brokers => $mock->bootstrap, idempotent => 1);
    my @connected;
    my $end = produce_apart($kafka, 'queued');
    $kafka->connect(sub { push @connected, [@_] });
    wait_until { @connected } 'the callback of connect';
    is $connected[0][0], undef, 'has no metadata';
    like $connected[0][1], qr/InitProducerId: CLUSTER_AUTHORIZATION_FAILED/, 'but the reason';
    is scalar(errors($kafka)), 1, 'on_error hears of it once';
    like +(errors($kafka))[0], qr/InitProducerId/, 'with the same';
    wait_until { $end->{queued} } 'the end of what was queued';
    like $end->{queued}[0][1], qr/^idempotent producer unavailable/, 'fails what was queued';
    my $later = produce_apart($kafka, 'later');
    like $later->{later}[0][1], qr/^idempotent producer unavailable/, 'and what comes later';
    is $mock->request_count('Produce'), 0, 'nothing was sent';

    $kafka->connect(sub { push @connected, [@_] });
    wait_until { @connected == 2 } 'connecting again';
    ok $connected[1][0], 'works once the broker lets it';
    delivered(produce_apart($kafka, 'at last'), 'at last');
};

subtest 'a connection lost before the answer: the batch is sent again and known again' => sub {
    my $mock  = mock();
    my $kafka = idempotent($mock);
    delivered(produce_apart($kafka, 'first'), 'first');
    $mock->fault(api => 'Produce', drop => 1, applied => 1);
    my $end = produce_apart($kafka, 'a' .. 'e');
    delivered($end, 'a' .. 'e');
    is_deeply log_values($mock, 't'), ['first', 'a' .. 'e'], 'each is there once, in order';
    is_deeply [map { produced_offset($end->{$_}[0][0]) } 'a' .. 'e'], [1 .. 5], 'the callbacks have their offsets';
    is $mock->request_count('InitProducerId'), 1, 'under one id';
};

subtest 'a lost request is sent again' => sub {
    my $mock  = mock();
    my $kafka = idempotent($mock);
    $mock->fault(api => 'Produce', drop => 1, times => 2);
    delivered(produce_apart($kafka, 'a' .. 'e'), 'a' .. 'e');
    is_deeply log_values($mock, 't'), ['a' .. 'e'], 'each is there once, in order';
};

for my $code (6, 7, 19, 20) {
    subtest 'refused with ' . EV::Kafka::_error_name($code) . ' in the middle' => sub {
        my $mock  = mock();
        my $kafka = idempotent($mock);
        delivered(produce_apart($kafka, 'first'), 'first');
        $mock->fault(api => 'Produce', error => $code, applied => $code == 7 || $code == 20 ? 1 : 0);
        delivered(produce_apart($kafka, 'a' .. 'i'), 'a' .. 'i');
        is_deeply log_values($mock, 't'), ['first', 'a' .. 'i'], 'each is there once, in order';
        is $mock->request_count('InitProducerId'), 1, 'under one id';
    };
}

for my $code (45, 47, 59) {
    subtest 'the oldest is answered ' . EV::Kafka::_error_name($code) => sub {
        my $mock  = mock(2);
        my $kafka = idempotent($mock);
        delivered(produce_apart($kafka, 'first'), 'first');
        my $id = $kafka->{cfg}{producer_id};
        $mock->fault(api => 'Produce', error => $code);
        delivered(produce_apart($kafka, 'a' .. 'i'), 'a' .. 'i');
        is_deeply log_values($mock, 't'), ['first', 'a' .. 'i'], 'each is there once, in order';
        is $mock->request_count('InitProducerId'), 2, 'one new id';
        isnt $kafka->{cfg}{producer_id}, $id, 'which is kept';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
    };
    subtest 'always ' . EV::Kafka::_error_name($code) => sub {
        my $mock  = mock();
        my $kafka = idempotent($mock);
        $mock->fault(api => 'Produce', error => $code, times => undef);
        my $end = produce_apart($kafka, 'a');
        wait_until { $end->{a} } 'the callback';
        like $end->{a}[0][1], qr/^\Q${\ EV::Kafka::_error_name($code) }\E \(code $code\) from t:0/,
            'is the end after one new id';
        $mock->clear_faults;
        delivered(produce_apart($kafka, 'b'), 'b');
        is_deeply log_values($mock, 't'), ['b'], 'what comes later is sent';
    };
}

subtest 'DUPLICATE_SEQUENCE_NUMBER is a success' => sub {
    my $mock  = mock();
    my $kafka = idempotent($mock);
    $mock->fault(api => 'Produce', error => 46);
    my $end = produce_apart($kafka, 'a');
    delivered($end, 'a');
    is_deeply $end->{a}[0][0]{topics}[0]{partitions}[0], { partition => 0, error_code => 0, base_offset => -1 },
        'without an offset';
    is $mock->request_count('Produce'), 1, 'and not sent again';
};

subtest 'a batch that is refused for good leaves a gap' => sub {
    my $mock  = mock();
    my $kafka = idempotent($mock);
    delivered(produce_apart($kafka, 'first'), 'first');
    $mock->fault(api => 'Produce', error => 87);
    my $end = produce_apart($kafka, 'a' .. 'i');
    wait_until { keys %$end == 9 } 'all callbacks';
    like $end->{a}[0][1], qr/^INVALID_RECORD/, 'the bad one fails';
    is_deeply [map { scalar @{ $end->{$_} } } 'a' .. 'i'], [(1) x 9], 'each callback once';
    is_deeply [map { $end->{$_}[0][1] } 'b' .. 'i'], [(undef) x 8], 'the others are delivered';
    is_deeply log_values($mock, 't'), ['first', 'b' .. 'i'], 'in order, once';
    is $mock->request_count('InitProducerId'), 2, 'under a new id';
};

subtest 'a batch that is too large is split and keeps its sequence' => sub {
    my $mock  = mock();
    my $kafka = idempotent($mock, linger_ms => 5);
    delivered(produce_apart($kafka, 'first'), 'first');
    $mock->fault(api => 'Produce', error => 10, times => 2);
    my %end;
    $kafka->produce('t', undef, $_, sub { push @{ $end{ $_[0]{topics}[0]{partitions}[0]{base_offset} } }, $_[1] })
        for 1 .. 9;
    wait_until { keys %end == 9 } 'all callbacks';
    is_deeply [map { @{ $end{$_} } } 1 .. 9], [(undef) x 9], 'are successes';
    is_deeply log_values($mock, 't'), ['first', 1 .. 9], 'in order, once';
    is $mock->request_count('InitProducerId'), 1, 'under one id';
};

done_testing;
