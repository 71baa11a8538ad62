use strict;
use warnings;
use Test::More;

use EV;
use EV::Kafka;

sub refused { my @options = @_; eval { EV::Kafka->new(@options) }; $@ }

my $cfg = EV::Kafka->new->{cfg};
is_deeply $cfg->{bootstrap}, [['127.0.0.1', 9092]], 'default broker';
is $cfg->{client_id}, 'ev-kafka', 'default client id';
is $cfg->{acks},      -1, 'default acks';
is $cfg->{linger_ms}, 5,  'default linger';
is $cfg->{batch_size},        16384,   'default batch size';
is $cfg->{fetch_max_wait_ms}, 500,     'default fetch wait';
is $cfg->{fetch_max_bytes},   1048576, 'default fetch size';
is $cfg->{fetch_min_bytes},   1,       'default fetch minimum';
is $cfg->{metadata_refresh},  300,     'default metadata refresh';
is_deeply $cfg->{assignments}, [], 'nothing is assigned';
is $cfg->{meta}, undef, 'nothing is known';
is_deeply [@$cfg{qw(producer_id producer_epoch)}], [-1, -1], 'no producer id';
ok !$cfg->{tls}, 'no TLS';

is_deeply(EV::Kafka->new(brokers => ' a:1 ,b, [::1]:3,[fe80::2] ,')->{cfg}{bootstrap},
    [['a', 1], ['b', 9092], ['::1', 3], ['fe80::2', 9092]],
    'brokers are split on commas and trimmed, the port has a default, IPv6 stands in brackets');

for my $brokers (['a:1', ' b ', '[::1]:3'], ['a:1,b', '[::1]:3'], [bless({}, 'AddressList'), '[::1]:3']) {
    is_deeply(EV::Kafka->new(brokers => $brokers)->{cfg}{bootstrap}, [['a', 1], ['b', 9092], ['::1', 3]], 'brokers as a list');
}
{ package AddressList; use overload '""' => sub { 'a:1,b' }; }
like refused(brokers => $_), qr/^EV::Kafka: option 'brokers' names no broker at /, 'an empty list' for [], ['', ' , '];
like refused(brokers => $_), qr/^EV::Kafka: option 'brokers' must be a string, or a reference to an array of strings at /, 'no list of brokers'
    for [undef], [['a', 1]], [{ host => 'a' }], { a => 1 };
is(EV::Kafka->new(compression => $_)->{cfg}{compression}, undef, "compression '$_' is none") for 'none', '', 0;

like refused('colour', 1, 'acks', 1, 'apple', 2), qr/^unknown option\(s\): apple, colour at /,
    'unknown options are named, and the caller\'s line is';
is(EV::Kafka->new(acks => 'all')->{cfg}{acks}, -1, "acks 'all' is -1");
like refused(group_id => 'g', brokerz => 'a', tlsCaFile => 'f'),
    qr/^unknown option\(s\): brokerz \(did you mean 'brokers'\?\), group_id \(an option of subscribe\), tlsCaFile \(did you mean 'tls_ca_file'\?\) at /,
    'what may have been meant is said';
like refused('linger.ms' => 5), qr/^unknown option\(s\): linger\.ms \(librdkafka's name; here it is linger_ms, or librdkafka =>/,
    'as is where a name of another client belongs';
like refused($_ => 'a'), qr/^unknown option\(s\): $_ \(librdkafka's bootstrap\.servers; here it is brokers\) at /, 'however its words are joined'
    for qw(bootstrap_servers bootstrapServers);
for my $case (
    [request_timeout => 30_000, 'seconds'], [delivery_timeout => 120_000, 'seconds'], [transaction_timeout => 60, 'milliseconds'],
) {
    my ($name, $value, $unit) = @$case;
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    EV::Kafka->new($name => $value);
    is scalar @warned, 1, "$name => $value: a warning";
    like $warned[0], qr/^EV::Kafka: option '$name' is in $unit: is $value what is meant\? at \Q$0\E line/, 'that names the unit';
}
{
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    EV::Kafka->new(request_timeout => 30, delivery_timeout => 86_400, flush_timeout => 3600, transaction_timeout => 900_000);
    is_deeply \@warned, [], 'what is plausible is not warned of';
}
like refused('acks'), qr/^EV::Kafka: new takes option => value pairs/, 'odd number of arguments';

for my $case (
    [brokers => ' , '], [brokers => 'a:b'], [brokers => '::1'], [brokers => 'a:0'], [brokers => 'a:65536'],
    [acks => 2], [acks => 'ALL'], [acks => ''],
    [linger_ms => -1], [linger_ms => 'soon'], [linger_ms => 'inf'], [linger_ms => 'nan'],
    [batch_size => 0], [batch_size => 1.5], [batch_size => 2**31],
    [compression => 'lzma'],
    [partitioner => 1], [on_error => 'x'], [on_connect => []], [on_message => {}],
    [fetch_max_wait_ms => -1], [fetch_max_bytes => 0], [fetch_min_bytes => 'x'],
    [metadata_refresh => -1], [flush_timeout => 'x'], [delivery_timeout => -1], [transaction_timeout => 0], [transactional_id => []], [loop => 'x'], [client_id => []],
) {
    my ($name, $value) = @$case;
    like refused($name, $value), qr/^EV::Kafka: option '$name' .* at \Q$0\E line/s, "bad $name: $value";
}
like refused(compression => 'lzma'), qr/unsupported compression: lzma/, 'a compression that there is not';

is refused(transactional_id => $_), '', 'no transactional id' for undef, '';
is(EV::Kafka->new(transactional_id => 'x')->{cfg}{idempotent}, 1, 'transactional_id implies idempotent');

{
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is(EV::Kafka->new(idempotent => 1, acks => -1)->{cfg}{acks}, -1, 'idempotence with acks -1');
    is_deeply \@warnings, [], 'warns of nothing';
    is(EV::Kafka->new(idempotent => 1, acks => 1)->{cfg}{acks}, -1, 'idempotence makes any acks -1');
    like "@warnings", qr/acks 1 is taken as -1 at \Q$0\E/, 'and says so';

    for my $acks (0, 1) {
        @warnings = ();
        is(EV::Kafka->new(transactional_id => 'x', acks => $acks)->{cfg}{acks}, -1, "transactions make acks $acks -1");
        like "@warnings", qr/^EV::Kafka: .* acks $acks is taken as -1 at \Q$0\E line \d+\.\n\z/, 'with a warning';
    }
    @warnings = ();
    is(EV::Kafka->new(transactional_id => 'x', idempotent => 0)->{cfg}{idempotent}, 1, 'transactions are idempotent');
    like "@warnings", qr/^EV::Kafka: .*transactional_id.* idempotent 0 is taken as 1 at \Q$0\E line \d+\.\n\z/,
        'and say so to who wanted it otherwise';
    @warnings = ();
    EV::Kafka->new(transactional_id => 'x', acks => -1, idempotent => $_) for 1, undef;
    EV::Kafka->new(transactional_id => '', acks => 0, idempotent => 0);
    is_deeply \@warnings, [], 'but only to them';
}

# Each codec has levels of its own.
is refused(compression => $_->[0], compression_level => $_->[1]), '', "level $_->[1] of " . ($_->[0] // 'no codec')
    for [gzip => -1], [gzip => 1], [gzip => 9], [lz4 => 1], [lz4 => 17], [zstd => -131_072], [zstd => 0], [zstd => 22],
    [none => 99], [undef, 5];
like refused(compression => $_->[0], compression_level => $_->[1]), qr/^EV::Kafka: option 'compression_level' $_->[2] at \Q$0/,
    "level $_->[1] of $_->[0]"
    for [gzip => 0, 'must be from 1 to 9, or -1 for the default, with gzip, not 0'],
    [gzip => 10, 'must be from 1 to 9, or -1 for the default, with gzip, not 10'],
    [lz4 => 0, 'must be from 1 to 17 with lz4, not 0'], [lz4 => 18, 'must be from 1 to 17 with lz4, not 18'],
    [zstd => 23, 'must be from -131072 to 22 with zstd, not 23'],
    [zstd => -131_073, 'must be from -131072 to 22 with zstd, not -131073'],
    [snappy => 1, 'cannot be 1: snappy has no levels'], [gzip => 'best', "must be an integer, not 'best'"],
    [gzip => 1.5, "must be an integer, not '1.5'"];
is(EV::Kafka->new(compression => 'gzip', compression_level => '7')->{cfg}{compression_level}, 7, 'a level is a number');

for my $compression (qw(lz4 gzip zstd snappy none), undef) {
    is refused(compression => $compression), '', 'compression ' . ($compression // 'undef');
}
is refused(map { $_ => undef } qw(brokers acks linger_ms on_error on_message loop flush_timeout)), '',
    'undef is the same as leaving an option out';
is refused(linger_ms => 0.5, flush_timeout => 1.5, metadata_refresh => 0), '', 'fractions and zero';

my $loop = EV::Loop->new;
is(EV::Kafka->new(loop => $loop)->{cfg}{loop}, $loop, 'a loop of its own');

eval { EV::Kafka->new->{cfg}{on_error}->('boom') };
like $@, qr/^EV::Kafka: boom/, 'on_error dies by default';

done_testing;
