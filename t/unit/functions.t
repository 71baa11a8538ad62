use strict;
use warnings;

use EV::Kafka;
use Test::More;

subtest '_murmur2' => sub {
    my %hash = ('' => 275646681, abc => 479470107, hello => 2132663229);
    is EV::Kafka::_murmur2($_), $hash{$_}, "'$_'" for sort keys %hash;
    is EV::Kafka::_murmur2(undef), $hash{''}, 'undef';
    is grep({ EV::Kafka::_murmur2("key-$_") >> 31 } 1 .. 1000), 0, '31 bits';
};

subtest '_crc32c' => sub {
    is EV::Kafka::_crc32c('123456789'), 0xE3069283, 'the check value';
    is EV::Kafka::_crc32c(''), 0, 'nothing';
};

subtest '_error_name' => sub {
    my %name = (0 => 'NONE', -1 => 'UNKNOWN_SERVER_ERROR', 1 => 'OFFSET_OUT_OF_RANGE', 3 => 'UNKNOWN_TOPIC_OR_PARTITION',
        6 => 'NOT_LEADER_OR_FOLLOWER', 36 => 'TOPIC_ALREADY_EXISTS', 79 => 'MEMBER_ID_REQUIRED', 90 => 'PRODUCER_FENCED');
    is EV::Kafka::_error_name($_), $name{$_}, $name{$_} for sort { $a <=> $b } keys %name;
    is EV::Kafka::_error_name($_), 'UNKNOWN', "code $_" for 30_000, -2, 65536, 1 << 40;
};

subtest 'batches' => sub {
    my @records = (
        { key => 'k', value => 'v', headers => { h => 'x', n => undef } },
        { key => undef, value => '' },
        { key => '', value => undef },
    );
    for my $codec (0 .. 4) {
        my $bytes = EV::Kafka::_test_encode_batch(\@records, { compression => $codec });
        is unpack('x22 C', $bytes), $codec, "compression $codec";
        my $expected = [map { { %{ $records[$_] }, offset => $_, timestamp => 0 } } 0 .. 2];
        is_deeply EV::Kafka::_test_decode_batch($bytes), $expected, 'there and back';
        is EV::Kafka::_test_decode_batch(substr $bytes, 0, -1), undef, 'a short one';
        my $changed = $bytes;
        substr $changed, -1, 1, chr(1 ^ ord substr $changed, -1);
        is EV::Kafka::_test_decode_batch($changed), undef, 'a changed one';
        substr $changed = $bytes, 16, 1, "\x01";
        is EV::Kafka::_test_decode_batch($changed), undef, 'an old one';
    }
    my $bytes = EV::Kafka::_test_encode_batch([{}], {
        producer_id => 1 << 40, producer_epoch => 7, base_sequence => 9, is_transactional => 1, timestamp => 1712345678000,
    });
    is_deeply [unpack 'x21 n x4 q> q> q> n N', $bytes], [0x10, (1712345678000) x 2, 1 << 40, 7, 9], 'all that a batch says';
    is unpack('x57 N', $bytes), 1, 'one record';
    is EV::Kafka::_test_decode_batch(''), undef, 'nothing';
    ok !eval { EV::Kafka::_test_encode_batch([{}], { compression => 9 }); 1 }, 'no such codec';
    like $@, qr/^unsupported compression: 9 at /, 'croaks';
};

subtest 'an LZ4 batch holds an LZ4 frame' => sub {
    my $bytes = EV::Kafka::_test_encode_batch([{ value => 'v' x 1000 }], { compression => 3 });
    is unpack('H8', substr $bytes, 61), '04224d18', 'by its magic';
};

subtest 'strings are taken as their bytes' => sub {
    my $wide = "\x{263a}";
    my $bytes = EV::Kafka::_test_encode_batch([{ value => $wide }]);
    is EV::Kafka::_test_decode_batch($bytes)->[0]{value}, "\xe2\x98\xba", 'a wide character: its UTF-8';
    utf8::upgrade(my $upgraded = "\xe4");
    $bytes = EV::Kafka::_test_encode_batch([{ value => $upgraded }]);
    is length EV::Kafka::_test_decode_batch($bytes)->[0]{value}, 2, 'never recoded';
    is length $upgraded, 1, 'and left as it was';
};

subtest 'integers' => sub {
    is EV::Kafka::_test_varint_roundtrip($_), $_, "varint $_" for 0, 1, -1, 63, 64, -64, -65, 1 << 40, -(1 << 40);
    my %code = (0 => 0, -1 => 1, 1 => 2, -2 => 3, 2 => 4, 2**31 - 1 => 2**32 - 2, -2**31 => 2**32 - 1);
    for my $number (sort keys %code) {
        is EV::Kafka::_test_zigzag_i32($number), $code{$number}, "i32 $number";
        is EV::Kafka::_test_zigzag_i64($number), $code{$number}, "i64 $number";
    }
    is EV::Kafka::_test_zigzag_i64(9223372036854775807), 18446744073709551614, 'the largest i64';
    is EV::Kafka::_test_zigzag_i64(-9223372036854775807 - 1), 18446744073709551615, 'the smallest i64';
};

subtest '_test_parse_response' => sub {
    my $string = sub { pack 'n/a*', $_[0] };
    my $body = pack('N', 1) . $string->('t') . pack 'N N n q> q> N', 1, 0, 6, -1, -1, 12;
    is_deeply EV::Kafka::_test_parse_response('produce', 3, $body), {
        topics => [{ topic => 't', partitions => [{ partition => 0, error_code => 6, base_offset => -1 }] }],
        throttle_time_ms => 12,
    }, 'produce';
    is EV::Kafka::_test_parse_response('produce', 3, substr $body, 0, 20)->{truncated}, 1, 'one that breaks off';
    is_deeply EV::Kafka::_test_parse_response($_, 0, '')->{truncated}, 1, "$_: nothing at all"
        for qw(metadata list_offsets fetch create_topics delete_topics find_coordinator);
    ok !eval { EV::Kafka::_test_parse_response('nope', 0, ''); 1 }, 'no such method';
    like $@, qr/^unknown method: nope at /, 'croaks';
};

subtest 'hostile answers' => sub {
    srand 42;
    for my $api (qw(produce fetch metadata list_offsets find_coordinator create_topics delete_topics)) {
        my $alive = 0;
        for my $n (1 .. 2000) {
            my $bytes = join '', map { chr rand 256 } 1 .. rand 60;
            $bytes = "\0\0\0\1" . $bytes if $n % 2;
            EV::Kafka::_test_parse_response($api, int rand 14, $bytes);
            $alive++;
        }
        is $alive, 2000, $api;
    }
};

done_testing;
