use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;
use TransactionTest qw(DONE ADDS mock producer ended committed write_out);

# Whatever fails in a transaction takes the whole of it along, also what fails before
# a batch or a broker has seen it.

sub cluster {
    my $mock = mock(auto_create => 0);
    $mock->create_topic(out => 2);
    return $mock;
}

# The transaction writes 'good', and then something that fails.
sub fails {
    my ($what, $kafka, $mock, $text, $fail) = @_;
    subtest $what => sub {
        $kafka->begin_transaction;
        $kafka->produce('out', 'good', 'good');
        my @ends;
        $fail->($kafka, sub { push @ends, $_[1] });
        wait_until { @ends } 'the failure';
        like $ends[0], $text, $ends[0];
        my (undef, $error) = ended($kafka, 'commit_transaction');
        like $error, qr/$text.*: the transaction cannot be committed; call abort_transaction\z/s, 'commit fails with it';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
        is_deeply committed($mock), [], 'nothing is committed';
        $kafka->begin_transaction;
        $kafka->produce('out', 'next', 'next');
        is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'the next one';
        is_deeply committed($mock), ['next'], 'is';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
        is scalar(@ends), 1, 'one callback';
    };
    return;
}

for my $options ([], [{ partition => 0 }]) {
    my $with = @$options ? ', with a partition' : '';
    my $mock = cluster();
    fails("a topic that there is not$with", producer($mock), $mock, qr/unavailable after/, sub {
        my ($kafka, $cb) = @_;
        $kafka->produce('none', 'bad', 'bad', @$options, $cb);
    });
    $mock = cluster();
    fails("a topic that does not come in time$with", producer($mock, delivery_timeout => 0.3), $mock, qr/timed out after/, sub {
        my ($kafka, $cb) = @_;
        $kafka->produce('none', 'bad', 'bad', @$options, $cb);
    });
}

{
    my $mock = cluster();
    my $kafka = producer($mock, partitioner => sub { $_[1] eq 'bad' ? 7 : 0 });
    fails('a partitioner that is wrong about a topic that was not known', $kafka, $mock, qr/partitioner must return/, sub {
        my ($kafka, $cb) = @_;
        $kafka->produce('fresh', 'bad', 'bad', $cb);
        $mock->create_topic(fresh => 2);
    });
}

{
    my $mock = cluster();
    my $kafka = producer($mock, buffer_memory => 1000);
    fails('no room', $kafka, $mock, qr/^producer buffer full/, sub {
        my ($kafka, $cb) = @_;
        $kafka->produce('out', 'k', 'x' x 600);
        $kafka->produce('out', 'bad', 'x' x 600, $cb);
    });
    $mock = cluster();
    fails('never any room', producer($mock, buffer_memory => 1000), $mock, qr/^message too large/, sub {
        my ($kafka, $cb) = @_;
        $kafka->produce('out', 'bad', 'x' x 2000, $cb);
    });
}

{
    my $mock = cluster();
    $mock->api_versions(Produce => 3, 6);
    my $kafka = producer($mock, compression => 'zstd');
    $kafka->begin_transaction;
    $kafka->produce('out', 'k', 'v');
    like +(ended($kafka, 'commit_transaction'))[1], qr/^zstd needs .*call abort_transaction\z/, 'a codec that the broker does not know';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
}

subtest 'a producer without an id' => sub {
    my $mock = cluster();
    $mock->fault(api => 'InitProducerId', error => 53);
    my $kafka = client(brokers => $mock->bootstrap, transactional_id => 'x');
    my (undef, $error) = ended($kafka, 'connect');
    like $error, qr/TRANSACTIONAL_ID_AUTHORIZATION_FAILED/, 'it was refused';
    $kafka->begin_transaction;
    $kafka->produce('out', 'k', 'v');
    (undef, $error) = ended($kafka, 'commit_transaction');
    like $error, qr/idempotent producer unavailable.*call abort_transaction\z/, 'what is produced cannot be committed';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'but aborted';
    ended($kafka, 'connect');
    $kafka->begin_transaction;
    $kafka->produce('out', 'k', 'v');
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'once it has one';
    is_deeply committed($mock), ['v'], 'all is well';
};

subtest 'messages without a callback' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    for my $options ([], [{ partition => 0 }]) {
        $kafka->begin_transaction;
        $kafka->produce('none', 'k', 'v', @$options);
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'are dropped by an abort';
        $kafka->begin_transaction;
        $kafka->produce('none', 'k', 'v', @$options);
        like +(ended($kafka, 'commit_transaction'))[1], qr/unavailable after/, 'or fail the commit';
        is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'before an abort';
    }
    is_deeply [errors($kafka)], [], 'and are not reported besides';
};

subtest 'flush while the transaction fails' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $kafka->begin_transaction;
    $mock->fault(api => ADDS, error => 29);
    my $errors = write_out($kafka, 'a');
    is_deeply [ended($kafka, 'flush')], [], 'has nothing to wait for any more';
    is scalar(@$errors), 1, 'once its records have failed';
};

subtest 'flush while the transaction is aborted' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock);
    $kafka->begin_transaction;
    $mock->fault(api => 'AddPartitionsToTxn', hang => 1);
    my $errors = write_out($kafka, 'x' x 150);
    my @flushed;
    $kafka->flush(sub { push @flushed, [@_] });
    $kafka->abort_transaction;
    wait_until { @flushed } 'flush';
    is_deeply \@flushed, [[]], 'ends with it';
};

subtest 'room that a failure has made' => sub {
    my $mock  = cluster();
    my $kafka = producer($mock, buffer_memory => 500);
    my ($drained, @ends) = (0);
    $kafka->on_drain(sub { $drained++ });
    $kafka->begin_transaction;
    $mock->fault(api => 'AddPartitionsToTxn', hang => 1);
    $kafka->produce('out', undef, $_ x 300, sub { push @ends, $_[1] }) for 'x', 'y';
    is_deeply [sort map { s/:.*//r } @ends], ['producer buffer full', 'producer buffer full'], 'what has no room takes the rest along';
    is $drained, 1, 'which makes room';
};

done_testing;
