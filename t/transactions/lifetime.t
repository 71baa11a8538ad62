use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use TestKafka;
use TransactionTest;

# A transactional client that goes out of scope, or is closed, at any point.

my @FAULTS = (
    map({ ([$_, error => 51, times => undef], [$_, hang => 1], [$_, drop => 1, times => undef]) }
        'InitProducerId', IS_IMPLICIT ? () : (ADDS, ADDS_OFFSETS), 'TxnOffsetCommit', 'EndTxn'),
    ['FindCoordinator', error => 15, times => undef], ['FindCoordinator', hang => 1],
    ['Produce', error => 6, times => undef], ['Produce', hang => 1], ['Produce', error => 10, times => undef],
    ['Metadata', hang => 1],
);

for my $fault (@FAULTS) {
    my ($api, @what) = @$fault;
    for my $way (qw(scope close)) {
        for my $end (qw(commit_transaction abort_transaction)) {
            my $name = "$api @{[map { $_ // 'undef' } @what]}, $end, $way";
            my $mock = cluster();
            my %calls;
            my $call = sub { my ($what) = @_; return sub { $calls{$what}++ } };
            my @warnings;
            local $SIG{__WARN__} = sub { push @warnings, @_ };
            my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, transactional_id => 'x', on_error => sub { }, linger_ms => 0);
            $mock->fault(api => $api, @what);
            $kafka->begin_transaction;
            $kafka->assign([{ topic => 'in', offset => 0 }]);
            $kafka->connect;
            $kafka->produce('out', $_, 'x' x 100, $call->("produce $_")) for 1 .. 4;
            $kafka->produce('none', $_, 'x' x 100, { partition => 0 }, $call->("produce none $_")) for 1 .. 2;
            $kafka->send_offsets_to_transaction('g', $call->('offsets'));
            $kafka->flush($call->('flush'));
            my $stop = 0;
            my $timer = EV::timer 0.05, 0, sub { $stop = 1 };
            EV::run EV::RUN_ONCE until $stop || $mock->request_count($api) >= 2;
            $kafka->$end($call->($end));
            turns(10);
            $kafka->close if $way eq 'close';
            weaken(my $weak = $kafka);
            undef $kafka;
            is $weak, undef, "$name: freed";
            turns(5);
            is_deeply \%calls, { map { $_ => 1 } 'offsets', 'flush', $end,
                map({ "produce $_" } 1 .. 4), map { "produce none $_" } 1 .. 2 }, "$name: each callback once"
                or diag explain \%calls;
            is "@warnings", '', "$name: no warnings" if @warnings;
        }
    }
}
done_testing;
