use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;
use TransactionTest qw(DONE IS_IMPLICIT ADDS mock producer ended);

# Records from before begin_transaction that fail while the transaction is open: their
# partition goes on, for the records behind them and for those of the transaction.

sub cluster {
    my $mock = mock();
    $mock->create_topic(out => 2);
    return $mock;
}

# Values, each in a batch of its own (batch_size 1), to partition 0.
sub produce_apart {
    my ($kafka, $ends, @values) = @_;
    for my $value (@values) {
        $kafka->produce('out', undef, $value, { partition => 0 }, sub { $ends->{$value} = $_[1] });
        $kafka->_flush_all_batches;
    }
    return;
}

sub delivered {
    my ($ends, $what, @values) = @_;
    wait_until { @values == grep { exists $ends->{$_} } @values } $what;
    is_deeply [@$ends{@values}], [(undef) x @values], "$what: delivered";
    return;
}

sub committed {
    my ($mock) = @_;
    return [map { $_->{value} } $mock->records(out => 0, isolation_level => 'read_committed')];
}

for my $is_known (0, 1) {
    subtest $is_known ? 'refused by a broker that knows the producer' : 'refused at first sight' => sub {
        my $mock  = cluster();
        my $kafka = producer($mock, batch_size => 1);
        my %ends;
        if ($is_known) {
            produce_apart($kafka, \%ends, 'first');
            delivered(\%ends, 'the first', 'first');
        }
        my $epoch = $kafka->{cfg}{producer_epoch};
        $mock->fault(api => 'Produce', partition => 0, error => 87, delay_ms => 50);
        produce_apart($kafka, \%ends, 'bad', 'a' .. 'g');
        $kafka->begin_transaction;
        $kafka->produce('out', undef, 'elsewhere', { partition => 1 }, sub { $ends{elsewhere} = $_[1] });
        wait_until { exists $ends{bad} } 'the refusal';
        like $ends{bad}, qr/^INVALID_RECORD/, 'one is refused';
        delivered(\%ends, 'those behind it', 'a' .. 'g');
        produce_apart($kafka, \%ends, 'in');
        is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the transaction is committed';
        delivered(\%ends, 'its records', 'in', 'elsewhere');
        is_deeply committed($mock), [$is_known ? 'first' : (), 'a' .. 'g', 'in'], 'all are there, in order, once';
        is $kafka->{cfg}{producer_epoch}, $epoch + IS_IMPLICIT, 'under the epoch that the transaction had';
        $kafka->begin_transaction;
        produce_apart($kafka, \%ends, 'next');
        is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'so is the next one';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
    };
}

subtest 'refused while the transaction waits for its partition' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, batch_size => 1);
    my %ends;
    produce_apart($kafka, \%ends, 'first');
    delivered(\%ends, 'the first', 'first');
    $mock->fault(api => 'Produce', partition => 0, error => 87, delay_ms => 50);
    produce_apart($kafka, \%ends, 'bad');
    $kafka->begin_transaction;
    produce_apart($kafka, \%ends, 'in', 'too');
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'it is committed';
    delivered(\%ends, 'its records', 'in', 'too');
    is_deeply committed($mock), [qw(first in too)], 'all are there';
};

# What became of the record nobody knows: that any number follows it is not sure.
subtest 'lost before the transaction has done anything' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, batch_size => 1);
    my %ends;
    produce_apart($kafka, \%ends, 'first');
    delivered(\%ends, 'the first', 'first');
    my $epoch = $kafka->{cfg}{producer_epoch};
    $mock->fault(api => 'Produce', partition => 0, error => -1, delay_ms => 50);
    produce_apart($kafka, \%ends, 'lost', 'a');
    $kafka->begin_transaction;
    wait_until { exists $ends{lost} } 'the failure';
    like $ends{lost}, qr/^UNKNOWN_SERVER_ERROR/, 'one fails';
    delivered(\%ends, 'the one behind it', 'a');
    isnt $kafka->{cfg}{producer_epoch}, $epoch, 'under a new epoch';
    produce_apart($kafka, \%ends, 'in');
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the transaction is committed';
    is_deeply committed($mock), [qw(first a in)], 'all are there';
};

subtest 'lost when the transaction has begun to write' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, batch_size => 1);
    my %ends;
    produce_apart($kafka, \%ends, 'first');
    delivered(\%ends, 'the first', 'first');
    $mock->fault(api => 'Produce', partition => 0, error => -1, delay_ms => 150);
    produce_apart($kafka, \%ends, 'lost', 'a');
    $kafka->begin_transaction;
    $kafka->produce('out', undef, 'elsewhere', { partition => 1 }, sub { $ends{elsewhere} = $_[1] });
    wait_until { $mock->request_count(ADDS) } 'the transaction';
    like +(ended($kafka, 'commit_transaction'))[1],
        qr/^the producer needs a new epoch: the transaction cannot be committed; call abort_transaction\z/,
        'it cannot be committed, and says so at once';
    like $ends{lost}, qr/^UNKNOWN_SERVER_ERROR/, 'as one has failed';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'but aborted';
    delivered(\%ends, 'the one behind it', 'a');
    $kafka->begin_transaction;
    produce_apart($kafka, \%ends, 'next');
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the next one is committed';
    is_deeply committed($mock), [qw(first a next)], 'all are there';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

for my $code (45, 47, 59) {
    subtest 'the broker has lost count: ' . EV::Kafka::_error_name($code) => sub {
        my $mock  = cluster();
        my $kafka = producer($mock, batch_size => 1);
        my %ends;
        produce_apart($kafka, \%ends, 'first');
        delivered(\%ends, 'the first', 'first');
        $mock->fault(api => 'Produce', partition => 0, error => $code, delay_ms => 50);
        produce_apart($kafka, \%ends, 'a' .. 'c');
        $kafka->begin_transaction;
        delivered(\%ends, 'all', 'a' .. 'c');
        produce_apart($kafka, \%ends, 'in');
        is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the transaction is committed';
        is_deeply committed($mock), [qw(first a b c in)], 'each is there once, in order';
    };
}

done_testing;
