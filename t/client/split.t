use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# Batches that the broker finds too large and that are split, while requests and answers
# are lost: with idempotence each record is there once, in order.

my $RECORDS = 16;

sub mock {
    my $mock = EV::Kafka::Mock->new(max_message_bytes => 400);
    $mock->create_topic(t => 1);
    return $mock;
}

# Batches of so many records, one after the other; how each record's callback ended.
sub produce {
    my ($kafka, @counts) = @_;
    my (@end, $number);
    for my $count (@counts) {
        for (1 .. $count) {
            my $n = $number++;
            $kafka->produce('t', "k$n", "v$n" . '.' x 60, { headers => [[n => $n]] }, sub { push @{ $end[$n] }, [@_] });
        }
        $kafka->_flush_all_batches;
    }
    return \@end;
}

sub all_there {
    my ($mock, $end, $what, @before) = @_;
    wait_until { $RECORDS == grep { $_ } @$end } "$what: all callbacks";
    turns;
    is_deeply [map { scalar @$_ } @$end], [(1) x $RECORDS], "$what: each callback once";
    is_deeply [map { $_->[0][1] } @$end], [(undef) x $RECORDS], "$what: no errors";
    my @records = $mock->records('t', 0);
    is_deeply [map { $_->{key} } @records], [@before, map { "k$_" } 0 .. $RECORDS - 1], "$what: each is there once, in order";
    is_deeply [map { produced_offset($_->[0][0]) } @$end], [map { $_ + @before } 0 .. $RECORDS - 1], "$what: at its offset";
    is_deeply [map { $_->{headers}[0][1] } @records[@before .. $#records]], [0 .. $RECORDS - 1], "$what: whole";
    return;
}

# The request with this number, and its answer if it has taken effect, is lost.
sub lose {
    my ($mock, $number, $is_applied, $loss) = @_;
    wait_until { $mock->request_count('Produce') >= $number - 1 } "request $number";
    $mock->fault(api => 'Produce', applied => $is_applied, %$loss);
    return;
}

my %BATCHES = ('one batch' => [$RECORDS], 'several batches' => [4, 4, 8]);

for my $batches (sort keys %BATCHES) {
    for my $is_known (0, 1) {
        subtest "$batches, " . ($is_known ? 'a known producer' : 'a new producer') => sub {
            for my $number (1 .. 6) {
                for my $is_applied (0, 1) {
                    my $mock  = mock();
                    my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1, linger_ms => 3_600_000);
                    my @before;
                    if ($is_known) {
                        $kafka->produce('t', 'before', '');
                        $kafka->_flush_all_batches;
                        wait_until { @before = map { $_->{key} } $mock->records('t', 0) } 'the first record';
                        turns;
                    }
                    my $end = produce($kafka, @{ $BATCHES{$batches} });
                    lose($mock, $number + $is_known, $is_applied, { drop => 1 });
                    all_there($mock, $end, "request $number lost " . ($is_applied ? 'after' : 'before') . ' it is read', @before);
                    is $mock->request_count('InitProducerId'), 1, 'under one id';
                    $kafka->close;
                }
            }
        };
    }
}

subtest 'an answer that comes too late' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1, linger_ms => 3_600_000);
    my $end   = produce($kafka, $RECORDS);
    lose($mock, 4, 1, { error => 7, times => 3 });
    all_there($mock, $end, 'REQUEST_TIMED_OUT');
    is $mock->request_count('InitProducerId'), 1, 'under one id';
};

subtest 'in a transaction' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x', linger_ms => 3_600_000);
    my $epoch = $kafka->{cfg}{producer_epoch};
    $kafka->begin_transaction;
    my $end = produce($kafka, $RECORDS);
    lose($mock, 3, 1, { drop => 1 });
    my $ended;
    $kafka->commit_transaction(sub { $ended = [@_] });
    all_there($mock, $end, 'committed');
    wait_until { $ended } 'the commit';
    is_deeply $ended, [{ error_code => 0 }, undef], 'without an error';
    is scalar(my @seen = $mock->records('t', 0, isolation_level => 'read_committed')), $RECORDS, 'all can be seen';
    is $kafka->{cfg}{producer_epoch}, $epoch + 1, 'under one epoch, as the next one comes with the end';
};

done_testing;
