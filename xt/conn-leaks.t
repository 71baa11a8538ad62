use strict;
use warnings;

# t/conn-leaks.t for longer: every kind of thing at least a hundred thousand times.
$ENV{EV_KAFKA_LEAK_FACTOR} = 100;
do './t/conn-leaks.t' or die $@ || $!;
