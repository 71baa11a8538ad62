package KafkaBench::Yardstick;

# The C program on librdkafka that EV::Kafka is measured beside.

use v5.14;
use warnings;

use Exporter       qw(import);
use File::Basename qw(dirname);
use File::Path     qw(make_path);

our @EXPORT = qw(yardstick);

my $CHECKOUT = dirname(__FILE__) . '/../../..';

# yardstick() -> path of the compiled program, or undef without librdkafka.
sub yardstick {
    state @found;
    return $found[0] if @found;
    my $source  = "$CHECKOUT/bench/rdkafka_bench.c";
    my $program = "$CHECKOUT/.cache/rdkafka_bench";
    make_path(dirname($program));
    my $current = -x $program && -M $program < -M $source;
    if (!$current && system("cc -O2 -o '$program' '$source' -lrdkafka") != 0) {
        print STDERR "no C compiler or no librdkafka (Debian: apt-get install gcc librdkafka-dev):\n",
            "only EV::Kafka is measured\n";
        undef $program;
    }
    @found = ($program);
    return $program;
}

1;
