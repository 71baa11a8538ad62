use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;

# Every error code of the protocol, each once for a partition of its own: each
# callback is called once, with the right end.

my @CODES = grep { EV::Kafka::_error_name($_) !~ /^(?:NONE|UNKNOWN)$/ } -1 .. 200;

my %SPLIT     = map { $_ => 1 } 10, 18;
my %SEQUENCE  = map { $_ => 1 } 45, 47, 59;
my $DUPLICATE = 46;

cmp_ok scalar(@CODES), '>', 130, 'codes';
is_deeply [grep { EV::Kafka::_is_retriable($_) } 2 .. 20], [2, 3, 5, 6, 7, 9, 13 .. 16, 19, 20],
    'what may pass is known as in the protocol';

for my $idempotent (0, 1) {
    subtest $idempotent ? 'with idempotence' : 'without idempotence' => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => scalar @CODES);
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5, idempotent => $idempotent);
        $mock->fault(api => 'Produce', topic => 't', partition => $_, error => $CODES[$_]) for 0 .. $#CODES;
        my ($calls, @end) = (0);
        for my $partition (0 .. $#CODES) {
            for my $i (0, 1) {
                $kafka->produce('t', undef, "$partition-$i", { partition => $partition }, sub {
                    push @{ $end[$partition][$i] }, [@_];
                    $calls++;
                });
            }
        }
        wait_until { $calls == 2 * @CODES } 'all callbacks';
        for my $partition (0 .. $#CODES) {
            my $code = $CODES[$partition];
            my $name = EV::Kafka::_error_name($code);
            my @ends = map { @{ $_ || [] } } @{ $end[$partition] };
            my @logged = @{ log_values($mock, 't', $partition) };
            if ($code == $DUPLICATE) {
                is_deeply [map { [$_->[1], produced_offset($_->[0])] } @ends], [([undef, -1]) x 2], "$name is a success";
            }
            elsif (EV::Kafka::_is_retriable($code) || $SPLIT{$code} || $idempotent && $SEQUENCE{$code}) {
                is_deeply [map { [$_->[1], produced_offset($_->[0])] } @ends], [[undef, 0], [undef, 1]],
                    "$name passes";
                is_deeply \@logged, ["$partition-0", "$partition-1"], '… and both are there once';
            }
            else {
                is scalar(grep { ($_->[1] // '') =~ /^\Q$name\E \(code $code\) from t:$partition/ } @ends), 2,
                    "$name is an error";
                is_deeply [map { $_->[0]{topics}[0]{partitions}[0]{error_code} } @ends], [$code, $code], '… with its code';
                is_deeply \@logged, [], '… and nothing is there';
            }
        }
        turns();
        is $calls, 2 * @CODES, 'each callback once';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
        is(Inside::queued($kafka), 0, 'nothing is left');
        is $mock->request_count('InitProducerId'), $idempotent ? 2 : 0, 'one new id for all' if $idempotent;
    };
}

done_testing;
