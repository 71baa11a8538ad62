use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;
use TransactionTest;

# An abort leads back to where the transaction began: what had been fetched from where it
# had got to is not delivered any more.

subtest 'what is fetched while it is aborted' => sub {
    for my $when ('before', 'after') {
        my $mock = cluster();
        $mock->append(in => 0, { value => $_ }) for 1 .. 3;
        my @seen;
        my $kafka = producer($mock, on_message => sub { push @seen, $_[4] });
        $kafka->assign([{ topic => 'in' }]);
        $kafka->begin_transaction;
        fetch_all($kafka, \@seen, 3);
        $mock->append(in => 0, { value => 4 });
        my $fetches = $mock->request_count('Fetch');
        # From behind what has been delivered.
        $mock->fault(api => 'Fetch', delay_ms => 100) if $when eq 'after';
        my $polled;
        $kafka->poll(sub { $polled = 1 });
        wait_until { $mock->request_count('Fetch') > $fetches } 'a fetch';
        my (undef, $error) = ended($kafka, send_offsets_to_transaction => 'g');
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'aborted';
        is_deeply [splice @seen], [1 .. 3], 'nothing came meanwhile';
        $kafka->begin_transaction;
        fetch_all($kafka, \@seen, 4);
        turns;
        is_deeply \@seen, [1 .. 4], "everything comes again, once ($when the abort was over)";
        is $polled, 1, 'the callback of poll was called';
    }
};

subtest 'what is delivered while it is aborted' => sub {
    my $mock = cluster();
    $mock->append(in => 0, { value => 1 });
    my ($kafka, @seen, @ends);
    $kafka = producer($mock, on_message => sub {
        push @seen, $_[4];
        $kafka->produce('out', undef, $_[4], sub { push @ends, $_[1] });
    });
    $kafka->assign([{ topic => 'in' }]);
    $kafka->begin_transaction;
    fetch_all($kafka, \@seen, 1);
    wait_until { @ends } 'its record';
    $mock->append(in => 0, { value => 2 });
    $mock->fault(api => 'EndTxn', delay_ms => 200);
    $kafka->poll;
    my @aborted;
    $kafka->abort_transaction(sub { push @aborted, $_[1] });
    wait_until { @aborted } 'abort';
    is_deeply \@seen, [1], 'waits';
    $kafka->begin_transaction;
    fetch_all($kafka, \@seen, 3);
    is_deeply \@seen, [1, 1, 2], 'and comes in order';
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the next one';
    is_deeply committed($mock), [1, 2], 'has all of it';
};

subtest 'what is produced while it is aborted' => sub {
    for my $case (['Produce', 'before the end'], ['EndTxn', 'during the end']) {
        my ($api, $when) = @$case;
        my $mock  = cluster();
        my $kafka = producer($mock);
        $kafka->begin_transaction;
        my $first = write_out($kafka, 'first');
        wait_until { @$first } 'the first';
        $mock->fault(api => $api, delay_ms => 200);
        my $errors = write_out($kafka, 'second');
        $kafka->_flush_all_batches;
        my @aborted;
        $kafka->abort_transaction(sub { push @aborted, $_[1] });
        wait_until { $mock->request_count('EndTxn') } 'the end' if $api eq 'EndTxn';
        my $late = write_out($kafka, 'late');
        is_deeply $late, ['transaction aborted'], "$when it goes with the transaction";
        my $options;
        $kafka->produce('out', undef, 'late', { partition => 1 }, sub { $options = $_[1] });
        is $options, 'transaction aborted', 'whatever its options';
        wait_until { @aborted } 'abort';
        is_deeply \@aborted, [undef], 'aborted';
        my $after = write_out($kafka, 'after');
        wait_until { @$after } 'the next record';
        is_deeply $after, [undef], 'what comes after it is written';
        is_deeply committed($mock), ['after'], 'alone';
        is_deeply [$kafka->buffered], [0, 0], 'nothing is left behind';
    }
};

done_testing;
