use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest;
use Test::More;
use TestKafka qw(log_values wait_until);

sub code_of {
    my ($conn, $method, @args) = @_;
    my ($result, $error) = answer($conn, $method, @args);
    diag "$method: $error" if defined $error;
    return $result->{error_code} unless $result->{topics};
    return error_of($result);
}

# InitProducerId takes its callback in the middle.
sub identity {
    my ($conn, @args) = @_;
    my $result;
    $conn->init_producer_id(@args[0, 1], sub { $result = shift }, @args[2 .. $#args]);
    wait_until { $result } 'identity';
    return @$result{qw(error_code producer_id producer_epoch)};
}

sub write_to {
    my ($conn, $partition, $value, %options) = @_;
    return code_of($conn, produce_batch => 't', $partition, [{ value => $value }], \%options);
}

sub committed { [map { $_->{value} } shift->records(@_, isolation_level => 'read_committed')] }

subtest 'a batch that comes again is not appended again' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $conn = connection($mock);
    my ($code, $id, $epoch) = identity($conn, undef, 60_000);
    is_deeply [$code, $epoch], [0, 0], 'an identity';
    my %by = (producer_id => $id, producer_epoch => $epoch);
    is write_to($conn, 0, 'a', %by, base_sequence => 0), 0,  'first';
    is write_to($conn, 0, 'a', %by, base_sequence => 0), 0,  'again';
    is write_to($conn, 0, 'c', %by, base_sequence => 2), 45, 'a gap';
    is_deeply log_values($mock, 't'), ['a'], 'there is one';
};

subtest 'a transaction' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    my $conn = connection($mock);
    my ($code, $id, $epoch) = identity($conn, 'tx', 60_000);
    is $code, 0, 'an identity';
    my @me = ('tx', $id, $epoch);
    my %by = (producer_id => $id, producer_epoch => $epoch, transactional_id => 'tx');
    is write_to($conn, 0, 'a', %by, base_sequence => 0), 120, 'the partition is not added';
    is code_of($conn, add_partitions_to_txn => @me, [{ topic => 't', partitions => [0] }]), 0, 'added';
    is write_to($conn, 0, 'a', %by, base_sequence => 0), 0, 'written';
    is code_of($conn, add_offsets_to_txn => @me, 'g'), 0, 'a group';
    my @offsets = ({ topic => 't', partitions => [{ partition => 1, offset => 7 }] });
    is code_of($conn, txn_offset_commit => 'tx', 'g', $id, $epoch, undef, undef, \@offsets), 0, 'its positions';
    is_deeply [$mock->transactions], [{
        transactional_id => 'tx', state => 'Ongoing', producer_id => $id, producer_epoch => 0,
        timeout_ms => 60_000, partitions => ['t:0'], groups => ['g'],
    }], 'the coordinator knows';
    is_deeply log_values($mock, 't'), ['a'], 'in the log';
    is_deeply committed($mock, t => 0), [], 'but not to be seen';
    is $mock->last_stable_offset(t => 0), 0, 'last stable offset';
    is_deeply $mock->offsets('g'), {}, 'no positions yet';

    is code_of($conn, end_txn => @me, 1), 0, 'committed';
    is_deeply committed($mock, t => 0), ['a'], 'visible';
    is $mock->last_stable_offset(t => 0), 2, 'behind the marker';
    is_deeply $mock->offsets('g'), { 't:1' => { offset => 7, leader_epoch => -1, metadata => '' } }, 'positions';
    is +($mock->transactions)[0]{state}, 'CompleteCommit', 'state';

    code_of($conn, add_partitions_to_txn => @me, [{ topic => 't', partitions => [0] }]);
    write_to($conn, 0, 'b', %by, base_sequence => 1);
    is code_of($conn, end_txn => @me, 0), 0, 'aborted';
    is_deeply committed($mock, t => 0), ['a'], 'never to be seen';
};

subtest 'a second instance fences the first' => sub {
    my $mock = EV::Kafka::Mock->new;
    my $conn = connection($mock);
    my (undef, $id, $epoch) = identity($conn, 'tx', 60_000);
    is_deeply [identity($conn, 'tx', 60_000)], [0, $id, $epoch + 1], 'the next epoch';
    is code_of($conn, end_txn => 'tx', $id, $epoch, 1), 90, 'fenced';
};

subtest 'a transaction ends by itself after its timeout' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $conn = connection($mock);
    my (undef, @identity) = identity($conn, 'tx', 30);
    is code_of($conn, add_partitions_to_txn => 'tx', @identity, [{ topic => 't', partitions => [0] }]), 0, 'begun';
    wait_until { +($mock->transactions)[0]{state} eq 'CompleteAbort' } 'aborted';
    is code_of($conn, end_txn => 'tx', @identity, 1), 90, 'fenced';
};

subtest 'coordinators move' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 3);
    $mock->set_coordinator(transaction => 'tx', 1);
    is $mock->coordinator(transaction => 'tx'), 1, 'there';
    is +(identity(connection($mock, 0), 'tx', 60_000))[0], 16, 'not here';
    is +(identity(connection($mock, 1), 'tx', 60_000))[0], 0,  'but there';
    $mock->stop_broker(1);
    is $mock->coordinator(transaction => 'tx'), 2, 'moved on';
    is +(identity(connection($mock, 2), 'tx', 60_000))[2], 1, 'with its state';
    my $found;
    my $conn = connection($mock, 0);
    $conn->find_coordinator('tx', sub { $found = shift }, 1);
    wait_until { $found } 'found';
    is $found->{node_id}, 2, 'and is found';
    like $mock->coordinator(group => 'g'), qr/\A[02]\z/, 'of a group';
    croaks_like sub { $mock->coordinator(topic => 'g') },
        qr/\Acoordinator: neither 'group' nor 'transaction' at \Q$0\E/;
    croaks_like sub { $mock->set_coordinator(group => 'g', 9) }, qr/no broker 9/;
    croaks_like sub { $mock->records('t', 0, isolation_level => 'x') }, qr/\Arecords: unknown isolation_level 'x'/;
};

subtest 'faults' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    my $conn = connection($mock);
    $mock->fault(api => 'InitProducerId', error => 51);
    is +(identity($conn, 'tx', 60_000))[0], 51, 'no identity';
    my (undef, @identity) = identity($conn, 'tx', 60_000);
    $mock->fault(api => 'AddPartitionsToTxn', topic => 't', partition => 1, error => 29);
    is code_of($conn, add_partitions_to_txn => 'tx', @identity, [{ topic => 't', partitions => [0, 1] }]), 55,
        'one partition keeps the other out';
    code_of($conn, add_partitions_to_txn => 'tx', @identity, [{ topic => 't', partitions => [0, 1] }]);
    $mock->fault(api => 'EndTxn', drop => 1, applied => 1);
    is +(answer($conn, end_txn => 'tx', @identity, 1))[1], 'connection closed by broker', 'no answer';
    is +($mock->transactions)[0]{state}, 'CompleteCommit', 'but committed';
};

done_testing;
