# Connections destroyed, disconnected and connected anew in each state and from each
# callback, under valgrind: no error in memory, no leak below one of our functions.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use Valgrind;

my @tap = under_valgrind(connections => "$FindBin::Bin/lib/conn-states.pl");
cmp_ok scalar(grep { /\Aok / } @tap), '>', 500, 'all of them were run';

done_testing;
