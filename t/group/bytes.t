use v5.14;
use warnings;

use Test::More;

use EV::Kafka;

# What members of a group tell each other. The bytes are those that Kafka's Java client 4.3.1 writes.

my @OWNED = ({ topic => 'ab', partitions => [0, 2] });
my $OWNED = '00000001' . '0002' . '6162' . '00000002' . '00000000' . '00000002';

subtest 'a subscription' => sub {
    my $bytes = EV::Kafka::_encode_subscription(['ab', 'c'], \@OWNED, 7, 'ud');
    is unpack('H*', $bytes),
        '0003' . '00000002' . '0002' . '6162' . '0001' . '63' . '00000002' . '7564' . $OWNED . '00000007' . 'ffff',
        'is written in version 3';
    is_deeply EV::Kafka::_decode_subscription($bytes),
        { topics => ['ab', 'c'], owned => \@OWNED, generation => 7, user_data => 'ud' }, 'and read again';

    $bytes = EV::Kafka::_encode_subscription(['ab'], [], -1, undef);
    is_deeply EV::Kafka::_decode_subscription($bytes), { topics => ['ab'], owned => [], generation => -1 },
        'without owned partitions and user data';
    $bytes = EV::Kafka::_encode_subscription(['ab'], [], 3, undef, 'east');
    is_deeply EV::Kafka::_decode_subscription($bytes), { topics => ['ab'], owned => [], generation => 3, rack => 'east' }, 'with a rack';

    my $prefix = '00000001' . '0002' . '6162' . 'ffffffff';
    is_deeply EV::Kafka::_decode_subscription(pack 'H*', "0000$prefix"), { topics => ['ab'], owned => [] },
        'version 0 tells neither owned partitions nor generation';
    is_deeply EV::Kafka::_decode_subscription(pack 'H*', "0001$prefix$OWNED"), { topics => ['ab'], owned => \@OWNED },
        'version 1 tells the owned partitions';
    is_deeply EV::Kafka::_decode_subscription(pack 'H*', "0002$prefix${OWNED}00000005"),
        { topics => ['ab'], owned => \@OWNED, generation => 5 }, 'version 2 tells the generation';
    is_deeply EV::Kafka::_decode_subscription(pack 'H*', "0003$prefix${OWNED}00000005000172"),
        { topics => ['ab'], owned => \@OWNED, generation => 5, rack => 'r' }, 'version 3 tells the rack';
    is_deeply EV::Kafka::_decode_subscription(pack 'H*', "0009$prefix${OWNED}00000005ffffcafe"),
        { topics => ['ab'], owned => \@OWNED, generation => 5 }, 'a version to come is read as far as it is known';
};

subtest 'an assignment' => sub {
    my $bytes = EV::Kafka::_encode_assignment(\@OWNED);
    is unpack('H*', $bytes), "0000${OWNED}ffffffff", 'is written in version 0';
    is_deeply EV::Kafka::_decode_assignment($bytes), \@OWNED, 'and read again';
    is_deeply EV::Kafka::_decode_assignment(pack 'H*', "0003${OWNED}0000000100"), \@OWNED,
        'in a later version, with user data';
    is_deeply EV::Kafka::_decode_assignment(EV::Kafka::_encode_assignment([])), [], 'of nothing';
};

subtest "the sticky assignors' user data" => sub {
    my $bytes = EV::Kafka::_encode_sticky_data(\@OWNED, 9);
    is unpack('H*', $bytes), "${OWNED}00000009", 'is written with the generation';
    is_deeply EV::Kafka::_decode_sticky_data($bytes), { owned => \@OWNED, generation => 9 }, 'and read again';
    is_deeply EV::Kafka::_decode_sticky_data(pack 'H*', $OWNED), { owned => \@OWNED, generation => -1 },
        'the older layout has no generation';
    is EV::Kafka::_decode_cooperative_data(pack 'N', 12), 12, 'the cooperative one is a generation';
    is unpack('H*', EV::Kafka::_encode_cooperative_data(12)), '0000000c', 'and written so';
    is unpack('H*', EV::Kafka::_encode_cooperative_data(-1)), 'ffffffff', 'also when there was none';
};

subtest 'bytes that are something else' => sub {
    my %valid = (
        _decode_subscription => EV::Kafka::_encode_subscription(['ab', 'c'], \@OWNED, 7, 'ud'),
        _decode_assignment   => EV::Kafka::_encode_assignment(\@OWNED),
    );
    for my $name (sort keys %valid) {
        my $decode = EV::Kafka->can($name);
        my @read   = grep { defined $decode->(substr $valid{$name}, 0, $_) } 0 .. length($valid{$name}) - 1;
        is_deeply \@read, [], "$name: no cut-off bytes are taken";
        is $decode->(pack 'H*', '00037fffffff'), undef, "$name: nor a count that nothing follows";
    }
    is EV::Kafka::_decode_sticky_data('x'),           undef, 'sticky user data';
    is EV::Kafka::_decode_cooperative_data('12345'),  undef, 'cooperative user data';
    ok !eval { EV::Kafka::_encode_assignment('ab'); 1 }, 'no list of partitions';
    like $@, qr/\A_encode_assignment: expected arrayref/, 'croaks';
};

done_testing;
