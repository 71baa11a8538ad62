# Arguments that are read where they lie, without running anything.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(leaks_nothing);

{ package TiedScalar; sub TIESCALAR { bless [] } sub FETCH { die 'fetched' } }
{ package Overloaded; use overload '""' => sub { die 'called' }, '0+' => sub { die 'called' }, '&{}' => sub { die 'called' } }

sub is_read {
    my ($args, $expected, $name) = @_;
    is_deeply [PerlXsTest::in_place(@$args)], [@$expected, ('no bytes') x (4 - @$expected)], $name;
}

is_read ['text', undef, 7, sub { }], ['bytes text', 'undef', 'no bytes, int 7', 'no bytes, code'], 'plain values';
is_read [''], ['bytes '], 'an empty string';
is_read [], [], 'no arguments';
my $both = '12';
{ no warnings; my $number = $both + 0 }
is_read [$both], ['bytes 12, int 12'], 'a string that was used as a number';
is_read ["\x{263a}"], ["bytes \xe2\x98\xba"], "wide characters, as perl holds them";
is_read [-1, ~0, 1.5], ['no bytes, int -1', 'no bytes', 'no bytes'], 'numbers that are no plain integers';
is_read [[], {}, \1, *STDOUT], [], 'references and globs';
tie my $tied, 'TiedScalar';
is_deeply [PerlXsTest::in_place($tied, bless({}, 'Overloaded'))], [('no bytes') x 4], 'tied and overloaded ones run nothing';
is_read [bless sub { }, 'Overloaded'], ['no bytes, code'], 'code stays code';
'matched' =~ /(match)/;
is_deeply [PerlXsTest::in_place($1)], [('no bytes') x 4], 'a variable with magic';
is_deeply [PerlXsTest::in_place(1 .. 5)], ['too many'], 'more arguments than asked for';

my $called;
is eval { PerlXsTest::call_in_place(sub { $called++ }); 1 }, undef, 'no Perl code runs meanwhile';
like $@, qr/^internal error: Perl code called from a fast handler/, '... calling it is an error';
is $called, undef, '... before it is called';
is PerlXsTest::call(sub { $called++ }), 'returned', 'afterwards it does again';
is $called, 1, '... once';

leaks_nothing(sub { PerlXsTest::in_place('text', undef, 7, sub { $called }) }, 'reading in place');

done_testing;
