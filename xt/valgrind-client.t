# What programs do to clients in callbacks, destructors and forks, under valgrind: no error in memory, no leak below one of
# our functions.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Valgrind;

under_valgrind($_ => "$FindBin::Bin/../t/$_.t") for qw(client/memory client/fork conn/fork conn/own-loop-kept);

done_testing;
