package KafkaBench::Peers;

# The programs on other client libraries that EV::Kafka is measured beside, built into a
# folder of the benchmark's own.

use v5.14;
use warnings;

use Cwd            qw(abs_path);
use Exporter       qw(import);
use File::Basename qw(dirname);
use File::Path     qw(make_path);
use KafkaBench;
use POSIX ();

our @EXPORT = qw(peer_program);

my $CHECKOUT = abs_path(dirname(__FILE__) . '/../../..');
my $CACHE    = "$CHECKOUT/.cache/bench";
my %BUILD    = (librdkafka => \&_librdkafka, 'franz-go' => \&_franz_go);

# peer_program('librdkafka' or 'franz-go') -> path of the compiled program, or undef where it
# cannot be had.
sub peer_program {
    my ($peer) = @_;
    state %found;
    return $found{$peer} if exists $found{$peer};
    make_path($CACHE);
    $found{$peer} = eval { $BUILD{$peer}->() };
    print STDERR "without $peer: $@" unless defined $found{$peer};
    return $found{$peer};
}

# --- librdkafka ---------------------------------------------------------------

# The newest is in the wheel of PyPI's confluent-kafka; the header is the system's, since
# librdkafka only ever adds to it.
sub _librdkafka {
    my $wanted  = setting('LIBRDKAFKA');
    my $library = $wanted eq 'newest' ? _from_wheel() : undef;
    die "BENCH_LIBRDKAFKA is $wanted\n" unless $wanted =~ /\A(?:newest|system)\z/;
    my $program = "$CACHE/rdkafka_bench" . (defined $library ? '' : '-system');
    my @link    = defined $library
        ? ($library, '-Wl,-rpath,' . dirname($library), '-Wl,--allow-shlib-undefined')
        : '-lrdkafka';
    _run('cc', '-O2', '-o', $program, "$CHECKOUT/bench/rdkafka_bench.c", @link)
        // die "no C compiler or no librdkafka (Debian: apt-get install gcc librdkafka-dev)\n";
    return $program;
}

# The path of the wheel's library, or undef without PyPI and without one from before.
sub _from_wheel {
    my $folder = "$CACHE/wheel";
    make_path($folder);
    _run(qw(python3 -m pip download --quiet --no-deps --only-binary :all: --dest), $folder, 'confluent-kafka');
    my ($wheel) = sort { -M $a <=> -M $b } glob "$folder/*.whl";
    if (!defined $wheel) {
        print STDERR "no PyPI: librdkafka is the system's\n";
        return undef;
    }
    my $unpacked = $wheel =~ s/\.whl\z//r;
    _run(qw(python3 -m zipfile -e), $wheel, $unpacked) unless -d $unpacked;
    my ($library) = glob "$unpacked/confluent_kafka.libs/librdkafka*.so*";
    return $library;
}

# --- franz-go -----------------------------------------------------------------

sub _franz_go {
    die "BENCH_FRANZ_GO is 0\n" unless setting('FRANZ_GO');
    local $ENV{GOTOOLCHAIN} = 'local';
    my $program = "$CACHE/franz";
    _run('go', 'build', '-C', "$CHECKOUT/bench/franz", '-mod=readonly', '-o', $program, '.')
        // die "no Go, or not the one that bench/franz/go.mod asks for, or no Go module proxy\n";
    return $program;
}

# True when the command has succeeded; what it prints belongs to no table.
sub _run {
    my (@command) = @_;
    print STDERR "@command[0, 1] ...\n";
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDOUT, '>&', \*STDERR;
        { no warnings 'exec'; exec { $command[0] } @command }
        print STDERR "$command[0]: $!\n";
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    return $? ? undef : 1;
}

1;
