use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;
use TransactionTest;

# Coordinators that hang: they keep their connections and answer nothing, as a process
# does that was stopped.

for my $api ('InitProducerId', IS_IMPLICIT ? () : (ADDS, ADDS_OFFSETS), 'TxnOffsetCommit', 'EndTxn') {
    for my $case (['before', 0], ['after', 1]) {
        my ($when, $is_applied) = @$case;
        subtest "a coordinator that hangs $when it has done what $api asks for" => sub {
            my $mock = cluster();
            $mock->fault(api => $api, hang => 1, applied => $is_applied);
            my ($kafka, $error, $offsets_error) = step($mock, sub {
                my ($kafka) = @_;
                # The others take it for dead.
                $kafka->{take_over} = EV::timer 0.2, 0, sub {
                    $mock->set_coordinator(@$_, 1 - $mock->coordinator(@$_)) for [transaction => 'x'], [group => 'g'];
                };
            }, request_timeout => 0.5);
            is_deeply [$error, $offsets_error], [undef, undef], 'is left for the next one';
            is_deeply [committed($mock), offset_of($mock)], [[1 .. 3], ['in:0=3']], 'which commits, once';
            like join('|', errors($kafka)), qr/\A(?:broker \d \S+ lost: request timed out[^|]*)?\z/, 'on_error hears of the broker';
        };
    }
}

done_testing;
