#!/usr/bin/env perl

=head1 NAME

benchmark.pl - rates and CPU time of EV::Kafka beside librdkafka in C and franz-go in Go

=head1 SYNOPSIS

  perl bench/benchmark.pl
  perl bench/benchmark.pl --json figures.json --svg figures.svg
  perl bench/benchmark.pl produce consume
  KAFKA_BROKER=host:port BENCH_MESSAGES=100000 perl bench/benchmark.pl codecs
  perl bench/benchmark.pl --against ../before produce consume

=head1 DESCRIPTION

Prints messages a second, megabytes (of values) a second and the CPU time that the client took
for each message: user and system, of all its threads. The last two columns are the rate
against the better of the peers, and the CPU time against the smaller. All of it takes about
twenty minutes.

=head2 Who takes part

=over 4

=item EV::Kafka: F<bench/ev_kafka_bench.pl>, on the build of this checkout.

=item librdkafka: F<bench/rdkafka_bench.c>, compiled against the newest librdkafka there is, which
is in the wheel of C<confluent-kafka> on PyPI (by C<python3 -m pip>), or against the system's where
there is no PyPI or C<BENCH_LIBRDKAFKA> is C<system>. Needs a C compiler and the header of Debian's
F<librdkafka-dev>.

=item franz-go: F<bench/franz>, where there is a Go as new as its F<go.mod> asks for.

=back

What is missing is left out, with a word on STDERR.

=head2 How they are measured

Every run is a process of its own. The contestants of a row take turns, in another order each
round, so that what the machine does otherwise meets all of them, and the figures are medians. A broker
that was started for it is warmed up first. Before the clock starts a client is connected, has
the metadata of its topic, and, as a producer, has delivered a message. One that fails, or
does not end, costs its own row only.

All get the same settings, said in the terms of each:

=over 4

=item Producers: C<acks> 1, a linger time of 5 ms, batches of up to 1,000,000 bytes and any number of
messages, five requests in flight to a broker (EV::Kafka's own number), murmur2 of the key as
partitioner, no idempotence, no compression, and at most 100,000 messages, or 100 MB of values, outstanding. Each
codec at its library's default level: the size of a record on the broker's log stands beside. Callbacks: one for all.

=item Consumers: partitions assigned by hand, read from the beginning; fetches of up to 4 MiB; nothing is
committed. That is one MiB of each of four partitions, which is the peers' default. librdkafka gives its messages one by one and,
as C<by batches>, a thousand at a time; it gets a queue of a million messages and 1 GiB,
since it pauses when its queue is full. The topic was written by librdkafka, where it is there, and
read once before, so that it is in the page cache. Each value's length is looked at.

=item Section C<defaults>, and one row of C<consume>: none of these, but each library's own defaults.

=back

Keys are short and all different. Values are bytes C<v>; those of more than 300 bytes come
from 64 buffers in turn. JSON records are those of F<bench/lib/Records.pm>, 200,000 different ones, the same for
all.

With C<--against> and the folder of another checkout that was built, EV::Kafka races that
build of itself instead: what a change costs, row by row.

=head1 SECTIONS

All of them unless some are named:

=over 4

=item produce

Messages pipelined, without a callback and with one that all messages share. librdkafka and
franz-go have one callback.

=item callbacks

By what is called for each message: one callback, one callback with an argument, or a fresh closure, which knows its
number and of which only so many are outstanding. A producer that stops at so few messages that they fill no
batch waits for the linger time again and again, whoever it is; C<flushing> is one that
calls C<flush> when it stops, since nothing more will come. C<perl alone> makes, calls and frees the
same closures and produces nothing: the least that they can take.

=item defaults, idempotent, fire-and-forget

With default options; as an idempotent producer; under C<acks> 0, until everything is delivered as
the client sees it, and in EV::Kafka's case until the broker has answered something that was sent after it.

=item sizes, consume-sizes

Both ways by the size of values.

=item codecs, consume-codecs

Both ways with gzip, snappy, lz4 and zstd and JSON records of 250 bytes, each another.

=item repeated

Both ways with gzip and snappy and one value again and again.

=item partitions

Both ways with 200 partitions.

=item tls

Both ways over TLS.

=item consume

A topic from its beginning, by C<consume> (with C<--against> polled without end, since
older builds know nothing else): with C<on_message>, which takes its six arguments apart and
looks at the value, and with C<on_batch>, which does so for each record of a batch.

=item latency

200 messages a second to 1000 partitions and back: the time from produce to the same
process's consumer, the median and the 99th percentile. No linger time. The last columns are the median against the smaller of
the peers', and CPU time.

=item sequential

One message, and the next when it was answered: what a round trip takes, for the client and
for an C<EV::Kafka::Conn> without the client around it.

=item metadata

Requests for the metadata of a topic, one after the other.

=back

=head1 OPTIONS

=over 4

=item --json FILE

Writes all figures, those of each run among them, after each section.

=item --svg FILE

Draws them, as F<bench/plot.pl> does from that JSON.

=item --against CHECKOUT

See above.

=item --help

This text.

=back

=head1 ENVIRONMENT

  BENCH_BROKER       broker (or KAFKA_BROKER); without one a Kafka is started
  BENCH_TLS_BROKER, BENCH_TLS_CA
                     for section tls with such a broker, its address for TLS and a file with
                     the authority to trust
  BENCH_MESSAGES     messages of a run, 1000000; of what takes longer less, of what is
                     consumed more
  BENCH_VALUE_SIZE   bytes of a value, 100
  BENCH_TOPIC        topic to use for everything, instead of fresh ones; sections that want a
                     number of partitions are left out, and what is consumed has to be there
  BENCH_ROUNDS       runs of each contestant, 5
  BENCH_PARTITIONS   partitions of fresh topics, 4
  BENCH_LINGER_MS, BENCH_BATCH_SIZE, BENCH_ACKS
                     of producers, 5, 1000000 and 1
  BENCH_SECONDS      of section latency, 5
  BENCH_LIBRDKAFKA   newest, system or none
  BENCH_FRANZ_GO     0: without it

=cut

use v5.14;
use warnings;

use File::Basename qw(dirname);
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV;
use EV::Kafka;
use Getopt::Long qw(GetOptions);
use KafkaBench;
use KafkaBench::Broker;
use KafkaBench::Contestant;
use KafkaBench::Plot;
use KafkaBench::Race;
use KafkaBench::Report;
use KafkaBench::Sections;
use POSIX qw(strftime uname);

# Runs before any counts, for a broker that has just been started.
use constant WARM_UP => 2;

$| = 1;
my %option;
GetOptions(\%option, 'json=s', 'svg=s', 'against=s', 'help') or help(2);
help() if $option{help};
my @names    = @ARGV ? @ARGV : section_names();
my %is_known = map { $_ => 1 } section_names();
die "no section $_; there are @{[section_names()]}\n" for grep { !$is_known{$_} } @names;
$ENV{BENCH_POLLS} = 1 if defined $option{against};
die "--against: $option{against} has no build (perl Makefile.PL && make)\n"
    if defined $option{against} && !-e "$option{against}/blib/arch/auto/EV/Kafka/Kafka.so";

my %report = (about => about(), sections => []);
printf "%d messages of %d bytes, %d partitions, median of %d runs\n",
    map { setting($_) } qw(MESSAGES VALUE_SIZE PARTITIONS ROUNDS);
warm_up();
for my $name (@names) {
    my $section = section($name);
    push @{ $report{sections} }, $section;
    for my $row (@{ $section->{rows} }) {
        print STDERR "$name: $row->{name}\n";
        eval { run_row($row); 1 } or chomp($row->{error} = $@);
    }
    print_section($section);
    note_versions($section);
    write_json($option{json}, \%report) if defined $option{json};
    write_svg($option{svg}, \%report)   if defined $option{svg};
}

# When, on what and by whom.
sub about {
    my ($system, undef, $release, undef, $machine) = uname();
    my ($commit)    = eval { open my $git, '-|', qw(git -C), dirname(__FILE__), qw(rev-parse --short HEAD) or die; readline $git };
    my ($processor) = eval { local @ARGV = '/proc/cpuinfo'; map { /^model name\s*:\s*(.*\S)/ ? $1 : () } readline };
    my $cores = eval { local @ARGV = '/proc/cpuinfo'; grep { /^processor\s*:/ } readline };
    chomp $commit if defined $commit;
    return {
        date      => strftime('%Y-%m-%d', gmtime),
        machine   => join(', ', grep { defined } $processor, $cores && "$cores cores", "$system $release $machine"),
        commit    => $commit,
        perl      => sprintf('%vd', $^V),
        ev_kafka  => "$EV::Kafka::VERSION",
        kafka     => kafka_version(),
        against   => $option{against},
        versions  => {},
        settings  => {
            map { lc() => 0 + setting($_) } qw(MESSAGES VALUE_SIZE PARTITIONS ROUNDS LINGER_MS BATCH_SIZE ACKS SECONDS)
        },
    };
}

sub note_versions {
    my ($section) = @_;
    for my $entry (map { @{ $_->{entries} // [] } } @{ $section->{rows} }) {
        my $version = delete $entry->{version} // next;
        $report{about}{versions}{ $entry->{client} } = $version;
    }
    return;
}

# A JVM that has just been started is slow.
sub warm_up {
    return unless kafka_version();
    print STDERR "warming up ...\n";
    for my $name (('produce', 'consume') x WARM_UP) {
        my ($row) = @{ section($name)->{rows} };
        my ($ours) = grep { $_->{client} eq 'EV::Kafka' } contestants($row);
        on_topic($row, sub { $ours->{run}->(brokers(), $_[0]) });
    }
    return;
}

# Gives the row its {entries}.
sub run_row {
    my ($row) = @_;
    die "BENCH_TOPIC has its own number of partitions\n"
        if defined $ENV{BENCH_TOPIC} && $row->{partitions} != setting('PARTITIONS');
    my $brokers = $row->{over_tls} ? undef : brokers();
    ($brokers, $row->{settings}{tls_ca}) = tls_brokers() if $row->{over_tls};
    my @contestants = contestants($row, $option{against});
    my $measured    = sub {
        my ($contestant, $topic) = @_;
        return { %{ $contestant->{run}->($brokers, $topic) }, value_size => $row->{value_size} };
    };
    if ($row->{reads} || $row->{one_topic}) {
        on_topic($row, sub {
            my ($topic) = @_;
            my $bytes = $row->{reads} ? record_bytes($row, $topic) : undef;
            # Into the page cache.
            eval { $measured->($contestants[-1], $topic) } if $row->{reads};
            $row->{entries} = race(\@contestants, sub { return { %{ $measured->($_[0], $topic) }, record_bytes => $bytes } });
        });
    }
    else {
        $row->{entries} = race(\@contestants, sub {
            my ($contestant) = @_;
            return on_topic($row, sub {
                my ($topic) = @_;
                my $result = $measured->($contestant, $topic);
                return { %$result, record_bytes => record_bytes({ %$row, messages => $result->{messages} }, $topic) };
            });
        });
    }
    return;
}

# $run->($topic) on a topic for this row, which is gone afterwards whatever happens.
sub on_topic {
    my ($row, $run) = @_;
    my $topic  = new_topic($row->{partitions});
    my $result = eval {
        produce_all({ %$row, settings => $row->{reads} }, brokers(), $topic) if $row->{reads} && !defined $ENV{BENCH_TOPIC};
        $run->($topic);
    };
    my $error = $@;
    drop_topic($topic);
    die $error if !defined $result && $error;
    return $result;
}

# What a record takes on the broker's log; the one that warms up does not count.
sub record_bytes {
    my ($row, $topic) = @_;
    my $bytes = log_bytes($topic);
    return defined $bytes && !defined $ENV{BENCH_TOPIC} ? $bytes / $row->{messages} : undef;
}
