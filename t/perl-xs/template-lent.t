# The same with results that are lent to one call after the other.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest;

{
    no warnings 'redefine';
    *PerlXsTest::deliver_each = \&PerlXsTest::lend_each;
}
do "$FindBin::Bin/template.t" or die $@ || $!;
