package KafkaBench::Latency;

# What a process does that produces at a rate and consumes the same topic: how long
# messages take from the one to the other.

use v5.14;
use warnings;

use EV;
use KafkaBench;
use KafkaBench::Consume;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant {
    WARM_UP  => 2,    # seconds that do not count, since the consumer may still be finding its way
    PATIENCE => 5,    # seconds after the last message
};

my ($arrived, $first) = (sub { });

sub _now { return clock_gettime(CLOCK_MONOTONIC) }

# For on_message. A value begins with the time at which it was produced; those of runs before do not count.
sub message { $arrived->($_[4]) }

# measure(\%run) -> the hash of what it found. {kafka} consumes, {producer} produces, {rate} messages
# a second for {seconds}.
sub measure {
    my ($run) = @_;
    my ($rate, $seconds, $padding) = (@$run{qw(rate seconds)}, $run->{values}[0]);
    my ($due, $counted, $sent, @times) = (int($rate * (WARM_UP + $seconds)), int($rate * $seconds), 0);
    $first = _now();
    my ($ticks, $late);
    my $stop = KafkaBench::Consume::read_until($run, sub {
        my ($done) = @_;
        $arrived = sub {
            my ($from) = length $_[0] < length $padding ? 0 : unpack 'd>', $_[0];
            return if $from < $first + WARM_UP;
            push @times, _now() - $from;
            $done->() if @times == $counted;
        };
        $ticks = EV::timer 0, 1 / $rate, sub {
            my $now = _now();
            for (; $sent < $due && $now >= $first + $sent / $rate; $sent++) {
                my $value = pack 'd>a*', _now(), $padding;
                $run->{producer}->produce($run->{topic}, "k$sent", $value);
            }
            $ticks->stop if $sent == $due;
        };
        $late = EV::timer WARM_UP + $seconds + PATIENCE, 0, sub { give_up(@times . " of $counted came") };
    });
    $stop->();
    @times = sort { $a <=> $b } @times;
    return { messages => $due, map { $$_[0] => 1000 * $times[$$_[1] * @times] } [median_ms => 0.5], [p99_ms => 0.99] };
}

1;
