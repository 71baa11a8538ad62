use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;
use TransactionTest;

# What abort_transaction waits for, and what it does not.

sub commits_the_next {
    my ($kafka, $mock) = @_;
    $mock->clear_faults;
    $kafka->begin_transaction;
    $kafka->produce('out', 'next', 'next');
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the next transaction';
    is_deeply committed($mock), ['next'], 'is committed, alone';
    return;
}

sub epoch_after { my ($mock, $epoch) = @_; return $epoch + (IS_IMPLICIT ? $mock->request_count('EndTxn') : 0) }

# Under the epoch that the producer has had all along.
sub goes_on {
    my ($kafka, $mock, $epoch) = @_;
    commits_the_next($kafka, $mock);
    is $kafka->{cfg}{producer_epoch}, epoch_after($mock, $epoch), 'by the same epoch, or the next one of each end';
    is $mock->request_count('InitProducerId'), 1, 'which is not asked for';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
    return;
}

for my $case ([51, 0], [14, 0], [15, 1], [16, 1], [3, 0]) {
    my ($code, $may_be_added) = @$case;
    subtest "while ${\ ADDS } is answered " . EV::Kafka::_error_name($code) => sub {
        my $mock  = cluster();
        my $kafka = producer($mock);
        my $epoch = $kafka->{cfg}{producer_epoch};
        $mock->fault(api => ADDS, error => $code, times => undef);
        $kafka->begin_transaction;
        my @ends;
        $kafka->produce('out', 'k', 'dropped', sub { push @ends, $_[1] });
        wait_until { $mock->request_count(ADDS) >= 2 } 'another try';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'it is aborted';
        is scalar @ends, 1, 'with its record';
        # The last answer may have come meanwhile.
        my $name = EV::Kafka::_error_name($code);
        like $ends[0], IS_IMPLICIT ? qr/^(?:transaction aborted\z|$name \(code)/ : qr/^transaction aborted\z/, 'which is told so';
        # What was sent to the partition's leader may have become part of it on the way.
        $may_be_added = 1 if IS_IMPLICIT;
        is $mock->request_count('EndTxn'), $may_be_added,
            $may_be_added ? 'the coordinator is told, which may know of it' : 'there is nothing to end';
        my $asked = $mock->request_count(ADDS);
        goes_on($kafka, $mock, $epoch);
        is $mock->request_count(ADDS), $asked + 1, 'the dropped one is not asked for again';
    };
}

# By version 2 a record needs none before it leaves.
subtest 'before the coordinator is known' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    my $epoch = $kafka->{cfg}{producer_epoch};
    my $node  = $mock->coordinator(transaction => 'x');
    $mock->set_coordinator(transaction => 'x', 1 - $node);
    $mock->fault(api => 'FindCoordinator', error => 15, times => undef);
    $kafka->begin_transaction;
    $kafka->produce('out', 'k', 'dropped');
    wait_until { $mock->request_count('FindCoordinator') >= 3 } 'the search';
    my @ended;
    $kafka->abort_transaction(sub { push @ended, [@_] });
    turns;
    $mock->clear_faults;
    wait_until { @ended } 'abort';
    is_deeply \@ended, [[DONE]], 'it is aborted';
    goes_on($kafka, $mock, $epoch);
} unless IS_IMPLICIT;

subtest 'a request whose answer was lost' => sub {
    for my $applied (0, 1) {
        my $mock  = cluster();
        my $kafka = producer($mock);
        my $epoch = $kafka->{cfg}{producer_epoch};
        $mock->fault(api => ADDS, drop => 1, applied => $applied);
        $kafka->begin_transaction;
        $kafka->produce('out', 'k', 'dropped');
        wait_until { $mock->request_count(ADDS) } 'the first try';
        $mock->fault(api => ADDS, error => 51, times => undef);
        wait_until { $mock->request_count(ADDS) >= 2 } 'another try';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'it is aborted';
        is $mock->request_count('EndTxn'), 1, 'by its coordinator';
        is_deeply [map { $_->{state} } $mock->transactions], [$applied || IS_IMPLICIT ? 'CompleteAbort' : 'Empty'], 'whatever that knows';
        commits_the_next($kafka, $mock);
        is $kafka->{cfg}{producer_epoch}, epoch_after($mock, $epoch), 'by the same epoch, or the next one of each end';
    }
};

# Sends the offsets of a transaction, one request of which is slow.
sub with_slow {
    my ($api) = @_;
    my $mock = cluster();
    $mock->append(in => 0, { value => 1 });
    my @seen;
    my $kafka = producer($mock, on_message => sub { push @seen, $_[4] });
    $kafka->assign([{ topic => 'in' }]);
    $kafka->begin_transaction;
    fetch_all($kafka, \@seen, 1);
    my $epoch = $kafka->{cfg}{producer_epoch};
    $mock->fault(api => $api, delay_ms => 250);
    my @ends;
    $kafka->produce('out', 'k', 'dropped');
    $kafka->send_offsets_to_transaction('g', sub { push @ends, $_[1] });
    wait_until { $mock->request_count($api) } $api;
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'it is aborted';
    is_deeply \@ends, ['transaction aborted'], 'with its offsets';
    return ($mock, $kafka, $epoch);
}

for my $api (ADDS, IS_IMPLICIT ? () : ADDS_OFFSETS, 'TxnOffsetCommit') {
    subtest "a slow $api" => sub {
        my ($mock, $kafka, $epoch) = with_slow($api);
        is_deeply [map { $_->{state} } $mock->transactions], ['CompleteAbort'], 'is waited for';
        is_deeply $mock->offsets('g'), {}, 'no position is committed';
        goes_on($kafka, $mock, $epoch);
        is_deeply $mock->offsets('g'), {}, 'then neither';
    };
    subtest "$api that is never answered" => sub {
        my $mock  = cluster();
        my $kafka = producer($mock, request_timeout => 2);
        my $epoch = $kafka->{cfg}{producer_epoch};
        $mock->append(in => 0, { value => 1 });
        $mock->fault(api => $api, hang => 1);
        $kafka->assign([{ topic => 'in', offset => 1 }]);
        $kafka->begin_transaction;
        $kafka->produce('out', 'k', 'dropped');
        $kafka->send_offsets_to_transaction('g');
        wait_until { $mock->request_count($api) } $api;
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'is not waited for';
        isnt $kafka->{cfg}{producer_epoch}, $epoch, 'a new epoch keeps it out';
        commits_the_next($kafka, $mock);
    };
}

# A transaction of which a batch of four is on its way that will be refused as too large.
# Gives what the messages hear.
sub batch_too_large {
    my ($mock, $kafka, $delay_ms) = @_;
    my $errors = [];
    my $produce = sub { $kafka->produce('out', undef, $_[0], { partition => 0 }, sub { push @$errors, $_[1] }) };
    $kafka->begin_transaction;
    $produce->('first');
    wait_until { @$errors } 'the first';
    $mock->fault(api => 'Produce', error => 10, delay_ms => $delay_ms);
    $produce->($_) for 1 .. 4;
    $kafka->_flush_all_batches;
    wait_until { $mock->request_count('Produce') == 2 } 'the batch';
    return $errors;
}

sub told { return scalar grep { defined && /^MESSAGE_TOO_LARGE/ } @{ $_[0] } }

subtest 'a batch that is too large is not split for an abort' => sub {
    my $mock   = cluster();
    my $kafka  = producer($mock, linger_ms => 5);
    my $errors = batch_too_large($mock, $kafka, 100);
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'aborted';
    is told($errors), 4, 'the answer is told';
    is $mock->request_count('Produce'), 2, 'and nothing is sent again';
};

subtest 'nor after the abort' => sub {
    my $mock   = cluster();
    my $kafka  = producer($mock, linger_ms => 5);
    my $errors = batch_too_large($mock, $kafka, 1500);
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'aborted';
    $kafka->begin_transaction;
    wait_until { @$errors == 5 } 'the answer';
    is told($errors), 4, 'the answer is told';
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the next one is none the worse';
};

done_testing;
