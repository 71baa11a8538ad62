use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use TestKafka qw(wait_until);

# $conn->strings: what keys, values and headers are, whichever way Perl stores them.

sub flagged   { my ($string) = @_; utf8::upgrade($string);   return $string }
sub unflagged { my ($string) = @_; utf8::downgrade($string); return $string }

my $LATIN = "M\xfcller";
my $UTF8  = "M\xc3\xbcller";
my $BYTES = join '', map { chr } 0 .. 255;
my $SMILE = "\x{263a}";
my $WIDE  = "has wide characters: encode it first, or strings => 'utf8'";

{ package Overloaded; use overload '""' => sub { $_[0][0] } }
{ package TiedScalar; sub TIESCALAR { bless [$_[1]] } sub FETCH { $_[0][0] } }

sub connection {
    my (@strings) = @_;
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->on_error(sub { diag "connection: @_" });
    $conn->strings(@strings);
    $conn->connect('127.0.0.1', ($mock->brokers)[0]{port}, 10);
    wait_until { $conn->connected } 'connecting';
    return ($conn, $mock);
}

sub answered {
    my ($conn, $method, @args) = @_;
    my @got;
    $conn->$method(@args, sub { @got = @_ });
    wait_until { @got } 'the answer';
    is $got[1], undef, "$method: no error";
    return $got[0];
}

sub records_of {
    my ($mock) = @_;
    return [map { [@$_{qw(key value)}, map { @$_ } @{ $_->{headers} }] } $mock->records(t => 0)];
}

subtest 'the setter' => sub {
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    for my $bad ('latin1', 1, 'UTF8') {
        eval { $conn->strings($bad) };
        like $@, qr/^strings: must be 'bytes', 'utf8' or undef at \Q$0\E /, "not '$bad'";
    }
    eval { $conn->strings([]) };
    like $@, qr/^strings: strings must be a string at /, 'no reference';
    is_deeply [map { [$conn->strings($_)] } 'bytes', 'utf8', undef], [[], [], []], 'nothing is returned';
};

# Everything that a program can say in the place of a string.
my $tied_text = do { tie my $tied, 'TiedScalar', flagged($LATIN); \$tied };
my @WAYS = (
    flagged($LATIN), unflagged($LATIN), (bless [flagged($LATIN)], 'Overloaded'), (bless [$LATIN], 'Overloaded'),
);

subtest 'produce' => sub {
    for my $case ([bytes => ($LATIN) x 5], [utf8 => ($UTF8) x 5], [undef, $UTF8, $LATIN, $UTF8, $LATIN, $UTF8]) {
        my ($strings, @expected) = @$case;
        my ($conn, $mock) = connection($strings);
        my $name = $strings // 'unset';
        answered($conn, produce => 't', 0, $_, $_) for @WAYS;
        answered($conn, produce => 't', 0, $$tied_text, $$tied_text);
        is_deeply records_of($mock), [map { [$_, $_] } @expected], "$name: keys and values";
        ($conn, $mock) = connection($strings);
        answered($conn, produce => 't', 0, undef, '', { headers => [map { [$_ => $_] } @WAYS] });
        pop @expected;
        is_deeply records_of($mock), [[undef, '', map { ($_, $_) } @expected]], "$name: headers";
        ($conn, $mock) = connection($strings);
        answered($conn, produce => 't', 0, undef, '', { headers => { unflagged($LATIN) => flagged($LATIN) } });
        my ($record) = $mock->records(t => 0);
        is_deeply $record->{headers}, [[$strings && $strings eq 'utf8' ? $UTF8 : $LATIN, $expected[0]]], "$name: headers as a hash";
    }
};

subtest 'produce_batch' => sub {
    for my $case ([bytes => $LATIN], [utf8 => $UTF8]) {
        my ($strings, $sent) = @$case;
        my ($conn, $mock) = connection($strings);
        answered($conn, produce_batch => 't', 0, [map { { key => $_, value => $_, headers => [[$_ => $_]] } } @WAYS]);
        is_deeply records_of($mock), [([($sent) x 4]) x @WAYS], $strings;
    }
    my ($conn, $mock) = connection('bytes');
    answered($conn, produce_batch => 't', 0, [{ key => flagged($BYTES), value => $BYTES }]);
    is_deeply records_of($mock), [[$BYTES, $BYTES]], 'every byte';
};

subtest 'wide characters' => sub {
    my ($conn, $mock) = connection('bytes');
    for my $wrong (
        ['key'            => $SMILE, 'v'],
        ['value'          => 'k', $SMILE],
        ["header's name"  => 'k', 'v', { $SMILE => 1 }],
        ["header's value" => 'k', 'v', [[h => $SMILE]]]) {
        my ($name, $key, $value, $headers) = @$wrong;
        eval { $conn->produce('t', 0, $key, $value, $headers ? { headers => $headers } : ()) };
        like $@, qr/^produce: \Q$name $WIDE\E at \Q$0\E /, "produce: $name";
        eval { $conn->produce_batch('t', 0, [{ value => 'first' }, { key => $key, value => $value, headers => $headers }]) };
        like $@, qr/^produce_batch: \Q$name $WIDE\E at \Q$0\E /, "produce_batch: $name";
    }
    is $conn->pending, 0, 'nothing was sent';
    $conn->strings('utf8');
    answered($conn, produce => 't', 0, $SMILE, $SMILE);
    is_deeply records_of($mock), [["\xe2\x98\xba", "\xe2\x98\xba"]], 'with utf8 they are text';
};

sub fetched {
    my ($conn) = @_;
    my $result = answered($conn, fetch => 't', 0, 0);
    return [map { [@$_{qw(key value headers)}] } @{ $result->{topics}[0]{partitions}[0]{records} }];
}

subtest 'fetch' => sub {
    my ($conn, $mock) = connection();
    $mock->append(t => 0, { key => $UTF8, value => "\xff", headers => [[$UTF8 => $UTF8], ["\xff" => "\xff"]] },
        { key => 'ascii', value => undef });
    my $bytes = [[$UTF8, "\xff", { $UTF8 => $UTF8, "\xff" => "\xff" }], ['ascii', undef, undef]];
    my $text  = [[$LATIN, "\xff", { $LATIN => $LATIN, "\xff" => "\xff" }], ['ascii', undef, undef]];
    is_deeply fetched($conn), $bytes, 'unset: bytes';
    for my $case ([utf8 => $text], [bytes => $bytes], [utf8 => $text]) {
        $conn->strings($case->[0]);
        is_deeply fetched($conn), $case->[1], $case->[0];
    }
    my $multi = answered($conn, fetch_multi => { t => [{ partition => 0, offset => 0 }] });
    is $multi->{topics}[0]{partitions}[0]{records}[0]{key}, $LATIN, 'fetch_multi: text';
    $conn->strings(undef);
    is_deeply fetched($conn), $bytes, 'undef: bytes again';
    $conn->strings('utf8');
    $conn->strings;
    is_deeply fetched($conn), $bytes, 'and without an argument';
};

done_testing;
