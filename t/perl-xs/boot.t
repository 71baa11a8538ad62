# Loading: what fails there is an ordinary error.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest;

{
    local $PerlXsTest::VERSION = '1.4';
    ok !eval { $PerlXsTest::boot->('PerlXsTest'); 1 }, 'another version of the Perl part';
    is $@ =~ s/ at .*//sr, 'PerlXsTest: the compiled part is of version 1.5, the Perl part of 1.4', '... is said';
}
{
    local $PerlXsTest::FAIL_TO_BOOT = 1;
    ok !eval { $PerlXsTest::boot->('PerlXsTest'); 1 }, 'an error while loading';
    like $@, qr/^asked not to boot at \Q$0\E line/, '... has its text';
}
{
    local $SIG{__WARN__} = sub { }; # Subroutine … redefined
    ok eval { $PerlXsTest::boot->('PerlXsTest'); 1 }, 'loading once more' or diag $@;
    is PerlXsTest::bytes('x'), 'x', '... is harmless';
}
{
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_; die 'fatal warning' };
    ok eval { $PerlXsTest::boot->('PerlXsTest'); 1 }, 'warnings about it that die';
    is PerlXsTest::bytes('x'), 'x', '... too';
}

done_testing;
