package KafkaBench;

# What the benchmarks share: their settings, waiting for an answer, and the clock.

use v5.14;
use warnings;

use EV;
use Exporter qw(import);
use Pod::Usage  ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID);

our @EXPORT = qw(setting stopwatch await give_up help);

my %DEFAULT = (
    MESSAGES   => 1_000_000,
    ROUNDS     => 5,
    VALUE_SIZE => 100,
    PARTITIONS => 4,
    ACKS       => 1,
    LINGER_MS  => 5,
    BATCH_SIZE => 1_000_000,
    SECONDS    => 5,
    LIBRDKAFKA => 'newest',
    FRANZ_GO   => 1,
);

# setting('MESSAGES') -> BENCH_MESSAGES or its default.
sub setting { return $ENV{"BENCH_$_[0]"} // $DEFAULT{ $_[0] } }

# await($start) -> what the callback that $start gets is called with.
sub await {
    my ($start) = @_;
    my ($done, @result);
    $start->(sub { $done = 1; @result = @_; EV::break });
    EV::run until $done;
    return wantarray ? @result : $result[0];
}

# stopwatch() -> sub that gives (wall seconds, CPU seconds of all threads).
sub stopwatch {
    my ($wall, $cpu) = (clock_gettime(CLOCK_MONOTONIC), clock_gettime(CLOCK_PROCESS_CPUTIME_ID));
    return sub { (clock_gettime(CLOCK_MONOTONIC) - $wall, clock_gettime(CLOCK_PROCESS_CPUTIME_ID) - $cpu) };
}

# For callbacks, in which a die would be no more than a warning.
sub give_up {
    print STDERR "@_\n";
    exit 1;
}

# help($exit = 0): the program's own documentation, or with 2 how it is called; and the end.
sub help {
    my ($exit) = @_;
    Pod::Usage::pod2usage(-input => $0, -noperldoc => 1, $exit ? (-verbose => 0, -exitval => $exit) : (-verbose => 2, -exitval => 0));
}

1;
