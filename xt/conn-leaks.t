use strict;
use warnings;

# t/conn/leaks.t for longer.
$ENV{EV_KAFKA_LEAK_TIMES} = 100_000;
do './t/conn/leaks.t' or die $@ || $!;
