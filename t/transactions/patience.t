use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;
use TransactionTest;

# Every request of a transaction has a patience: commit and abort are answered whatever
# the coordinators say or do not say, and the program can go on.

my @QUICK = (delivery_timeout => 0.7, transaction_timeout => 10_000, request_timeout => 0.3, on_notice => sub { });

# A transaction that has produced and read something, and is about to send offsets.
sub begun {
    my ($mock, %options) = @_;
    $mock->append(in => 0, map { { value => $_ } } 1 .. 3);
    my $seen = 0;
    my $kafka = producer($mock, @QUICK, on_message => sub { $seen++ }, %options);
    $kafka->assign([{ topic => 'in', partition => 0 }]);
    $kafka->begin_transaction;
    fetch_until($kafka, sub { $seen == 3 });
    return $kafka;
}

sub goes_on {
    my ($kafka, $mock) = @_;
    is_deeply [map { $_->{offset} } @{ $kafka->{cfg}{assignments} }], [0], 'the position is that of begin';
    is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one is committed';
    is_deeply [committed($mock), offset_of($mock)], [['next'], []], 'alone';
    return;
}

my %FAILURE = (
    'says UNKNOWN_TOPIC_OR_PARTITION' => [error => 3, times => undef],
    'says COORDINATOR_NOT_AVAILABLE'  => [error => 15, times => undef],
    'says UNKNOWN_SERVER_ERROR'       => [error => -1, times => undef],
    'says CONCURRENT_TRANSACTIONS'    => [error => 51, times => undef],
    'hangs'                           => [hang => 1, times => undef],
    'closes the connection'           => [drop => 1, times => undef],
);

for my $api (IS_IMPLICIT ? () : (ADDS, ADDS_OFFSETS), 'TxnOffsetCommit') {
    for my $how (sort keys %FAILURE) {
        subtest "$api: the coordinator $how for ever" => sub {
            my $mock  = cluster();
            # The message has time enough.
            my $kafka = begun($mock, delivery_timeout => 120, transaction_timeout => 1_400);
            $mock->fault(api => $api, @{ $FAILURE{$how} });
            write_out($kafka, 'a');
            my @offsets;
            $kafka->send_offsets_to_transaction('g', sub { push @offsets, [@_] });
            my (undef, $error) = ended($kafka, 'commit_transaction');
            like $error, qr/(?:timed out|given up) after.*: the transaction cannot be committed; call abort_transaction\z/, "commit: $error";
            is_deeply \@offsets, [[undef, $error]], 'so do the offsets' if $api ne 'AddPartitionsToTxn';
            like $error, qr/$api: [A-Z_]+ \(code/, 'and why' if $how =~ /says/;
            $mock->clear_faults;
            is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
            goes_on($kafka, $mock);
        };
    }
}

# What was asked for by the commit may have been done all the same.
for my $how (sort keys %FAILURE) {
    for my $is_applied ($how =~ /hangs|closes/ ? (0, 1) : 0) {
        my $when = $is_applied ? ', after it has committed' : '';
        subtest "EndTxn: the coordinator $how for ever$when" => sub {
            my $mock  = cluster();
            my $kafka = begun($mock);
            my $epoch = $kafka->{cfg}{producer_epoch};
            $mock->fault(api => 'EndTxn', @{ $FAILURE{$how} }, applied => $is_applied);
            write_out($kafka, 'a');
            my (undef, $error) = ended($kafka, 'commit_transaction');
            like $error, qr/^EndTxn: .*given up after.*not known.*call abort_transaction\z/, "commit: $error";
            my $late = write_out($kafka, 'late');
            wait_until { @$late } 'a message';
            is_deeply $late, [$error], 'a message fails for the same reason';
            (undef, my $again) = ended($kafka, 'abort_transaction');
            like $again, qr/^EndTxn: .*given up after.*call abort_transaction again\z/, "abort: $again";
            $mock->clear_faults;
            my @end = ended($kafka, 'abort_transaction');
            if ($is_applied) {
                is_deeply \@end, [undef, 'the transaction was committed before'], 'abort says that it is too late';
                is_deeply committed($mock), ['a'], 'it was committed';
                is_deeply [map { $_->{offset} } @{ $kafka->{cfg}{assignments} }], [3], 'the position stays';
            }
            else {
                is_deeply \@end, [DONE], 'abort';
                goes_on($kafka, $mock);
            }
            isnt $kafka->{cfg}{producer_epoch}, $epoch, 'what may still be under way is kept out';
            is_deeply [transaction($kafka, 'commit_transaction', 'z')], [DONE], 'and on';
        };
        subtest "EndTxn: the coordinator $how$when, and is asked again" => sub {
            my $mock  = cluster();
            my $kafka = producer($mock, @QUICK);
            $mock->fault(api => 'EndTxn', @{ $FAILURE{$how} }, applied => $is_applied);
            my (undef, $error) = transaction($kafka, 'commit_transaction', 'a');
            like $error, qr/not known/, 'commit is in doubt';
            $mock->clear_faults;
            is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'another commit finds out';
            is_deeply [transaction($kafka, 'commit_transaction', 'b')], [DONE], 'the next one';
            is_deeply committed($mock), [qw(a b)], 'is another';
        };
    }
}

subtest 'an abort that fails and has no callback' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, @QUICK);
    $mock->fault(api => 'EndTxn', error => 15, times => undef);
    $kafka->begin_transaction;
    my $errors = write_out($kafka, 'a');
    wait_until { @$errors } 'a record';
    $kafka->abort_transaction;
    wait_until { errors($kafka) } 'on_error';
    like +(errors($kafka))[0], qr/^abort_transaction: EndTxn: COORDINATOR_NOT_AVAILABLE.*call abort_transaction again\z/, 'is told';
    is scalar(errors($kafka)), 1, 'once';
};

# By version 2 it comes with the end.
subtest 'an epoch that does not come' => sub {
    for my $how (sort keys %FAILURE) {
        my $mock  = cluster();
        my $kafka = producer($mock, @QUICK);
        $kafka->begin_transaction;
        $mock->fault(api => 'Produce', error => 45);
        my $errors = write_out($kafka, 'a');
        wait_until { @$errors } 'a refusal that needs one';
        $mock->fault(api => 'InitProducerId', @{ $FAILURE{$how} });
        my (undef, $error) = ended($kafka, 'abort_transaction');
        like $error, qr/^InitProducerId: .*given up after.*call abort_transaction again\z/, "abort: $error";
        $mock->clear_faults;
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
        is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one is committed';
        is_deeply committed($mock), ["next"], "alone";
    }
} unless IS_IMPLICIT;

subtest 'a coordinator that is not found' => sub {
    for my $case (['COORDINATOR_NOT_AVAILABLE', error => 15], ['UNKNOWN_SERVER_ERROR', error => -1]) {
        my ($name, @fault) = @$case;
        my $mock  = cluster();
        my $kafka = begun($mock);
        $mock->fault(api => 'FindCoordinator', @fault, times => undef);
        $kafka->send_offsets_to_transaction('never asked for');
        my (undef, $error) = ended($kafka, 'commit_transaction');
        like $error, qr/FindCoordinator: $name.*call abort_transaction\z/, "commit: $error";
        $mock->clear_faults;
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
        goes_on($kafka, $mock);
    }
};

subtest 'a producer id that does not come' => sub {
    my $mock = cluster();
    $mock->fault(api => 'InitProducerId', error => 15, times => undef);
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x', @QUICK);
    $kafka->begin_transaction;
    $kafka->assign([{ topic => 'in', partition => 0, offset => 0 }]);
    $kafka->connect;
    $kafka->send_offsets_to_transaction('g');
    my (undef, $error) = ended($kafka, 'commit_transaction');
    like $error, qr/timed out after 0.7 s: the transaction cannot be committed; call abort_transaction\z/, "commit: $error";
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    $mock->clear_faults;
    wait_until { $kafka->{cfg}{producer_id} >= 0 } 'the id';
    is_deeply [transaction($kafka, 'commit_transaction', 'next')], [DONE], 'the next one is committed';
};

subtest 'a commit of more than can be sent in that time' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, delivery_timeout => 120, transaction_timeout => 4_000, batch_size => 1);
    $mock->fault(api => 'Produce', delay_ms => 200, times => undef);
    $kafka->begin_transaction;
    my $patience = Inside::transaction_patience($kafka);
    $kafka->produce(out => 'k', $_, { partition => 0 }) for 1 .. 13;
    my $begun = Inside::now($kafka);
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'goes on as long as messages arrive';
    cmp_ok Inside::now($kafka) - $begun, '>', $patience, 'which takes longer';
    is scalar @{ committed($mock) }, 13, 'all are committed';
};

subtest 'no broker at all' => sub {
    my $mock = cluster();
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x', @QUICK);
    $mock->stop_broker($_) for 0, 1;
    $kafka->connect;
    $kafka->begin_transaction;
    my $errors = write_out($kafka, 'a');
    my (undef, $error) = ended($kafka, 'commit_transaction');
    like $error, qr/timed out after 0.7 s.*call abort_transaction\z/, "commit: $error";
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    is scalar @$errors, 1, 'the message has an end';
};

subtest 'what is left of transaction_timeout is for the abort' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, transaction_timeout => 4_000);
    is Inside::transaction_patience($kafka), 2, 'a request takes half of it at the most';
    cmp_ok Inside::patience_left($kafka), '==', 2, 'as long as the coordinator knows nothing';
    my $late = Inside::patience_left($kafka, 1.5);
    ok $late > 1.4 && $late <= 1.5, 'less towards its end';
    cmp_ok Inside::patience_left($kafka, 100), '==', 1, 'but never less than a second';
    is Inside::transaction_patience(producer($mock, delivery_timeout => 0.3)), 0.3, 'nor more than a message takes';
    is Inside::transaction_patience(producer($mock, delivery_timeout => 0)), 30, 'and 30 s where messages take for ever';
};

done_testing;
