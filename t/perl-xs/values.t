# Arguments and results of every kind.
use strict;
use warnings;
use Test::More;
use B ();
use Scalar::Util qw(blessed dualvar weaken);

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(leaks_nothing);

subtest 'strings are bytes, whatever they hold' => sub {
    is PerlXsTest::bytes($_), $_, 'a string of ' . length for '', 'a', "nul\0in it", 'x' x 70_000;
    is PerlXsTest::bytes(undef), undef, 'undef is not the empty string';
    is PerlXsTest::bytes(),      undef, 'neither is an argument that did not come';
    is PerlXsTest::bytes(42),    '42',  'a number is read as a string';
    is PerlXsTest::bytes(1.5),   '1.5', 'so is a float';
    my $wide = "\x{263a}";
    is PerlXsTest::bytes($wide), "\xe2\x98\xba", 'a wide string gives its internal bytes';
    my $latin = "\xe9";
    is PerlXsTest::bytes($latin), "\xe9", 'a narrow one is not upgraded';
    utf8::upgrade($latin);
    is PerlXsTest::bytes($latin), "\xc3\xa9", 'an upgraded one is not downgraded';
    ok utf8::is_utf8($wide), 'the argument keeps its flag';
    my $number = 7;
    PerlXsTest::bytes($number);
    ok !(B::svref_2object(\$number)->FLAGS & B::SVf_POK()), 'reading a number leaves no string in it';
    is PerlXsTest::bytes(dualvar(5, 'five')), 'five', 'the string of a dualvar';
    like PerlXsTest::bytes([]), qr/^ARRAY\(/, 'a plain reference reads as Perl prints it';
    is PerlXsTest::bytes(*STDOUT), '*main::STDOUT', 'a glob too';
    is PerlXsTest::bytes(qr/x/), '(?^:x)', 'and a pattern';
    'abc' =~ /(b)/;
    is PerlXsTest::bytes($1), 'b', 'a capture';
    is PerlXsTest::bytes(substr('hello', 1, 3)), 'ell', 'an lvalue substr';
    my %hash;
    is PerlXsTest::bytes($hash{absent}), undef, 'an absent element';
    ok !exists $hash{absent}, '... which is not created';
};

subtest 'integers' => sub {
    is PerlXsTest::int($_), $_, "the integer $_" for 0, 1, -1, 2**31, -2**31, 9223372036854775807, -9223372036854775807 - 1;
    is PerlXsTest::int('12'), 12, 'a string';
    is PerlXsTest::int('-9223372036854775808'), -9223372036854775807 - 1, 'the smallest, as a string';
    is PerlXsTest::int(2.9), 2, 'a float is cut off';
    is PerlXsTest::int(undef), undef, 'undef';
    is PerlXsTest::int(18446744073709551615), 9223372036854775807, 'above the range: its end';
    is PerlXsTest::int(1e300),  9223372036854775807, 'far above';
    is PerlXsTest::int(-1e300), -9223372036854775807 - 1, 'far below';
    is PerlXsTest::int('nan' + 0), 0, 'not a number';
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is PerlXsTest::int('12abc'), 12, 'the number in front of a string';
    is @warnings, 1, 'with the usual warning';
    local $SIG{__WARN__} = sub { die "fatal: @_" };
    ok !eval { PerlXsTest::int('abc'); 1 }, 'whose handler may die';
    like $@, qr/^fatal: Argument "abc" isn't numeric/, '... with its text';
};

subtest 'numbers keep their kind' => sub {
    is_deeply [PerlXsTest::number(3)],   ['int', 3], 'int';
    is_deeply [PerlXsTest::number(3.0)], ['int', 3], 'a float without fraction';
    is_deeply [PerlXsTest::number('9007199254740993')], ['int', 9007199254740993], 'a string beyond the floats';
    is_deeply [PerlXsTest::number(18446744073709551615)],   ['uint', 18446744073709551615], 'uint';
    is_deeply [PerlXsTest::number('18446744073709551615')], ['uint', 18446744073709551615], 'uint from a string';
    is_deeply [PerlXsTest::number(1.25)],  ['float', 1.25], 'float';
    is_deeply [PerlXsTest::number('1e3')], ['int', 1000], 'scientific';
    is_deeply [PerlXsTest::number(1e20)],  ['float', 1e20], 'out of all integers';
    is_deeply [PerlXsTest::number(undef)], [undef], 'undef';
};

subtest 'truth' => sub {
    is PerlXsTest::bool($_), 1, "'$_' is true" for 1, 'a', '0.0', ' ', -1;
    is PerlXsTest::bool($_), 0, 'false' for 0, '', '0', undef;
    is PerlXsTest::bool([]), 1, 'a reference is true';
};

subtest 'code' => sub {
    my $code = sub { 'called' };
    is PerlXsTest::code($code)->(), 'called', 'a code reference';
    is PerlXsTest::code(undef), undef, 'undef';
    is PerlXsTest::code([]),    undef, 'an array reference';
    is PerlXsTest::code('main::x'), undef, 'a name';
    is PerlXsTest::code(bless sub { 'blessed' }, 'Some::Class')->(), 'blessed', 'a blessed one';
};

subtest 'what the flags say' => sub {
    is PerlXsTest::kind(undef), '', 'undef';
    is PerlXsTest::kind('x'), 'defined', 'a string';
    is PerlXsTest::kind([]),  'defined ref array', 'an array reference';
    is PerlXsTest::kind({}),  'defined ref hash',  'a hash reference';
    is PerlXsTest::kind(bless {}, 'X'), 'defined ref object hash', 'an object';
    is PerlXsTest::kind(sub { }), 'defined ref code', 'code';
    is PerlXsTest::kind(*STDIN), 'defined', 'a glob';
};

subtest 'results' => sub {
    my @values = ('a', undef, 3, [1], 'b' x 100);
    is_deeply [PerlXsTest::echo(@values)], \@values, 'a list';
    is_deeply [PerlXsTest::echo()], [], 'an empty one';
    is_deeply [PerlXsTest::echo(1 .. 1000)], [1 .. 1000], 'a long one';
    is PerlXsTest::count(1 .. 500), 500, 'many arguments';
    my $last = PerlXsTest::echo(1, 2, 3);
    is $last, 3, 'the last one in scalar context';
    my @context = PerlXsTest::context();
    is_deeply \@context, ['list'], 'list context is seen';
    is scalar(PerlXsTest::context()), 'other', 'and scalar context';
    is PerlXsTest::make('int', -5), -5, 'int';
    is PerlXsTest::make('uint', 18446744073709551615), 18446744073709551615, 'uint';
    is PerlXsTest::make('float', 0.5), 0.5, 'float';
    is PerlXsTest::make('undef'), undef, 'undef';
    is PerlXsTest::make($_, "by\0tes"), "by\0tes", $_ for 'bytes', 'shared';
    my $shared = PerlXsTest::make('shared', 'topic');
    $shared .= ' changed';
    is $shared, 'topic changed', 'a shared string can be changed like any other';
    is PerlXsTest::make('shared', 'topic'), 'topic', '... by which the next does not change';
};

subtest 'structures' => sub {
    my $nested = PerlXsTest::nested();
    is blessed($nested), 'PerlXsTest::Nested', 'blessed';
    is_deeply {%$nested},
        { rows => [map { { index => $_, "na\0me" => "row $_" } } 0 .. 2], nothing => undef, twice => 2 },
        'a nested result';
    $nested->{nothing} = 1;
    is $nested->{nothing}, 1, 'an undef value can be assigned to';
    is_deeply [PerlXsTest::list([1, undef, 'x', [2]])], [1, undef, 'x', [2]], 'an array is read';
    my @holes;
    $holes[2] = 'c';
    is_deeply [PerlXsTest::list(\@holes)], [undef, undef, 'c'], 'holes are undef';
    my %hash = (a => 1, b => undef, '' => 'empty', "n\0" => 2);
    is_deeply {PerlXsTest::pairs(\%hash)}, \%hash, 'a hash is read';
    is_deeply {PerlXsTest::pairs({})}, {}, 'an empty one';
    my ($key) = each %hash;
    PerlXsTest::pairs(\%hash);
    my %seen = ($key => 1);
    while (my ($next) = each %hash) { $seen{$next}++ }
    is_deeply \%seen, { map { $_ => 1 } keys %hash }, 'an each in progress is not disturbed';
    is PerlXsTest::hash_get(\%hash, 'a'), 1, 'a value by its key';
    is_deeply [PerlXsTest::hash_get(\%hash, 'absent')], [], 'an absent one';
    is_deeply [PerlXsTest::hash_get(\%hash, 'b')], [undef], 'an undef one';
    require Hash::Util;
    Hash::Util::lock_ref_keys(\%hash);
    is_deeply [PerlXsTest::hash_get(\%hash, 'absent')], [], 'of a restricted hash too';
    ok !eval { PerlXsTest::list({}); 1 }, 'a hash is no array';
    like $@, qr/^expected arrayref at \Q$0\E line \d+\.$/, '... said with the place';
};

subtest 'classes' => sub {
    { package Base; our @ISA; package Derived; our @ISA = 'Base' }
    ok PerlXsTest::is_a(bless({}, 'Derived'), 'Base'), 'derived';
    ok !PerlXsTest::is_a(bless({}, 'Base'), 'Derived'), 'not derived';
    ok !PerlXsTest::is_a($_, 'Base'), 'not an object' for undef, 'Base', {}, 3;
};

is leaks_nothing(sub {
    my @all = (PerlXsTest::echo(1 .. 30, [1]), PerlXsTest::nested(), PerlXsTest::pairs({ a => [1], b => 2 }));
    PerlXsTest::list([1 .. 5]);
    PerlXsTest::bytes($_) for 'a', 1, undef, [];
    PerlXsTest::number('18446744073709551615');
    eval { PerlXsTest::list(3) };
    eval { PerlXsTest::make('nonsense') };
}), 0, 'nothing leaks';

done_testing;
