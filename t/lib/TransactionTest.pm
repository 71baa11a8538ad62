package TransactionTest;
use strict;
use warnings;

# A cluster with topics to read from and to write to, a producer with a transactional
# id, and what becomes of its transactions.

use EV;
use EV::Kafka::Mock;
use Exporter qw(import);
use Test::More;
use TestKafka;

our @EXPORT = qw(DONE IS_IMPLICIT ADDS ADDS_OFFSETS mock cluster producer committed state ended write_out transaction step fetch_until offset_of);

# What commit_transaction and abort_transaction call back with when they have succeeded.
use constant DONE => ({ error_code => 0 }, undef);

# Transactions are of version 1 here, where the coordinator is told what becomes part of one, unless this
# says 2 (KIP-890): again.t has all of these tests run so, too.
use constant IS_IMPLICIT => ($ENV{TEST_TRANSACTION_VERSION} // 1) == 2;

# The requests that make partitions, and a group's offsets, part of a transaction.
use constant {
    ADDS         => IS_IMPLICIT ? 'Produce' : 'AddPartitionsToTxn',
    ADDS_OFFSETS => IS_IMPLICIT ? 'TxnOffsetCommit' : 'AddOffsetsToTxn',
};

sub mock {
    my $mock = EV::Kafka::Mock->new(@_);
    $mock->feature('transaction.version', IS_IMPLICIT ? 2 : 0);
    return $mock;
}

sub cluster {
    my $mock = mock(brokers => 2);
    $mock->create_topic(in => 2);
    $mock->create_topic(out => 2);
    return $mock;
}

sub producer {
    my ($mock, %options) = @_;
    return connected(brokers => $mock->bootstrap, transactional_id => 'x', %options);
}

sub committed {
    my ($mock) = @_;
    return [sort map { $_->{value} } map { $mock->records(out => $_, isolation_level => 'read_committed') } 0, 1];
}

sub state { my ($mock) = @_; return join ',', map { $_->{state} } $mock->transactions }

# What the callback of a method gets.
sub ended {
    my ($kafka, $method, @args) = @_;
    my @got;
    $kafka->$method(@args, sub { push @got, [@_] });
    wait_until { @got } $method;
    turns;
    is @got, 1, "$method calls back once" if @got != 1;
    return @{ $got[0] };
}

sub write_out {
    my ($kafka, @values) = @_;
    my @errors;
    $kafka->produce('out', $_, $_, sub { push @errors, $_[1] }) for @values;
    return \@errors;
}

sub transaction {
    my ($kafka, $end, @values) = @_;
    $kafka->begin_transaction;
    write_out($kafka, @values);
    return ended($kafka, $end);
}

# A whole exactly-once step: consume, produce, send offsets, commit.
sub step {
    my ($mock, $fault, %options) = @_;
    $mock->append(in => 0, map { { value => $_ } } 1 .. 3);
    my $seen = 0;
    my $kafka;
    $kafka = client(
        brokers => $mock->bootstrap, transactional_id => 'x', %options,
        on_message => sub { $seen++; $kafka->produce(out => undef, $_[4]) },
    );
    $fault->($kafka) if $fault;
    $kafka->assign([{ topic => 'in', partition => 0 }]);
    $kafka->begin_transaction;
    my @connected;
    $kafka->connect(sub { push @connected, [@_] });
    wait_until { @connected } 'connect';
    fetch_until($kafka, sub { $seen >= 3 });
    my (undef, $offsets_error) = ended($kafka, send_offsets_to_transaction => 'g');
    my (undef, $error) = ended($kafka, 'commit_transaction');
    return ($kafka, $error, $offsets_error);
}

sub fetch_until {
    my ($kafka, $condition) = @_;
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    return wait_until { $condition->() } 'messages';
}

sub offset_of {
    my ($mock) = @_;
    my $offsets = $mock->offsets('g');
    return [map { "$_=$offsets->{$_}{offset}" } sort keys %$offsets];
}

1;
