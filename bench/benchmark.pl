#!/usr/bin/env perl

=head1 NAME

benchmark.pl - rates and CPU time of EV::Kafka beside librdkafka in C

=head1 SYNOPSIS

  perl bench/benchmark.pl
  perl bench/benchmark.pl --json figures.json produce consume
  KAFKA_BROKER=host:port BENCH_MESSAGES=1000000 perl bench/benchmark.pl produce
  perl bench/benchmark.pl --against ../before produce consume

=head1 DESCRIPTION

Prints messages a second, megabytes (of values) a second and the CPU time that the
client took for each message: user and system, of all its threads. Beside them stand the
ratios to the C program F<bench/rdkafka_bench.c>, which does the same with librdkafka.
Every run is a process of its own; the contestants of a section take turns, so that what
the machine does otherwise meets all of them, and the figures are medians. C<--json>
writes them, and those of each run, to a file.

With C<--against> and the folder of another checkout that was built, EV::Kafka races that
build of itself instead of librdkafka: what a change costs, row by row.

Sections, all of them unless some are named:

=over 4

=item produce

Messages with a short key, pipelined: C<acks> 1, a linger time of 5 ms and batches of up
to 1,000,000 bytes for both. librdkafka has one delivery callback. EV::Kafka is measured
without a callback, with one that all messages share, and with a fresh closure for each
message, which knows its number and of which only so many are outstanding; beside that,
with its own default options; and both as idempotent producers.

A producer that stops at so few messages that they fill no batch waits for the linger
time again and again, whoever it is; C<flushing> is one that calls C<flush> when it
stops, since nothing more will come. C<perl alone> makes, calls and frees the same
closures and produces nothing: the least that they can take.

=item fire-and-forget

The same under C<acks> 0, until the broker has taken everything.

=item sequential

One message, and the next when it was answered: what a round trip takes.

=item metadata

Requests for the metadata of a topic, one after the other.

=item sizes

Throughput by the size of values: as C<produce>, with one shared callback.

=item consume

A topic from its beginning, partitions assigned by hand and polled without end: with
C<on_message>, which takes its six arguments apart and looks at the value, and with
C<on_batch>, which does so for each record of a batch.

=back

=head1 ENVIRONMENT

  BENCH_BROKER       broker (or KAFKA_BROKER); without one a Kafka is started
  BENCH_MESSAGES     messages of a run, 300000; of one thing after the other, and of
                     large values, less
  BENCH_VALUE_SIZE   bytes of a value, 100
  BENCH_TOPIC        topic to use for everything, instead of a fresh one for each run
  BENCH_ROUNDS       runs of each contestant, 5
  BENCH_PARTITIONS   partitions of fresh topics, 4
  BENCH_LINGER_MS, BENCH_BATCH_SIZE, BENCH_ACKS
                     for section produce, 5, 1000000 and 1

=cut

use v5.14;
use warnings;

use EV;
use File::Basename qw(dirname);
use JSON::PP ();
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV::Kafka;
use KafkaBench;
use KafkaBench::Consume;
use KafkaBench::Metadata;
use KafkaBench::Produce;
use KafkaBench::Race;
use KafkaBench::Yardstick;

# What one of our processes does, by the name it is told: $what->($kafka, $topic, $value,
# $messages, @arguments) gives the number of failures.
my %DOES = (
    no_callback     => \&KafkaBench::Produce::no_callback,
    shared_callback => \&KafkaBench::Produce::shared_callback,
    fresh_closures  => \&KafkaBench::Produce::fresh_closures,
    closures_alone  => \&KafkaBench::Produce::closures_alone,
    sequential      => \&KafkaBench::Produce::sequential,
    metadata        => sub { KafkaBench::Metadata::requests(@_[0, 1, 3]) },
    consume         => sub { KafkaBench::Consume::assign_and_poll(@_[0, 1, 3]) },
    consume_batches => sub { KafkaBench::Consume::assign_and_poll(@_[0, 1, 3]) },
);

# The most messages where one comes after the other, and the most bytes of values in
# one run of section sizes.
my $MAX_SEQUENTIAL = 20_000;
my $MAX_BYTES      = 100_000_000;

my $RDKAFKA = 'librdkafka in C';
my $against;
my $librdkafka_version;

if (@ARGV && $ARGV[0] eq '--one') { one(JSON::PP->new->decode($ARGV[1])) }
else                              { main(@ARGV) }

sub main {
    my (@arguments) = @_;
    my ($file, @names, @sections);
    while (defined(my $argument = shift @arguments)) {
        if    ($argument eq '--json')    { $file = shift @arguments // usage() }
        elsif ($argument eq '--against') { $against = shift @arguments // usage() }
        else                             { push @names, $argument }
    }
    my @known = (
        produce           => \&produce_section,
        'fire-and-forget' => \&fire_and_forget_section,
        sequential        => \&sequential_section,
        metadata          => \&metadata_section,
        sizes             => \&sizes_section,
        consume           => \&consume_section,
    );
    my %section = @known;
    @names = grep { !ref } @known unless @names;
    usage() if grep { !$section{$_} } @names;
    die "--against: $against has no build (perl Makefile.PL && make)\n"
        if defined $against && !-e "$against/blib/arch/auto/EV/Kafka/Kafka.so";

    printf "%d messages of %d bytes, %d partitions, median of %d runs\n",
        map { setting($_) } qw(MESSAGES VALUE_SIZE PARTITIONS ROUNDS);
    for my $name (@names) {
        push @sections, race({ name => $name, $section{$name}->() });
        print_section($sections[-1]);
    }
    report($file, \@sections, about()) if defined $file;
}

sub usage { die "usage: $0 [--json FILE] [--against CHECKOUT] [SECTION]...; perldoc $0\n" }

sub about {
    return (
        librdkafka => $librdkafka_version,
        ev_kafka   => "$EV::Kafka::VERSION",
        perl       => sprintf('%vd', $^V),
        settings   => {
            map { lc() => 0 + setting($_) } qw(MESSAGES VALUE_SIZE PARTITIONS ROUNDS LINGER_MS BATCH_SIZE ACKS)
        },
    );
}

# --- the sections -----------------------------------------------------------------

# Settings that mean the same to both.
sub equal {
    my ($acks, $linger_ms, $batch_size) = @_;
    return (
        { acks => $acks, linger_ms => $linger_ms, batch_size => $batch_size },
        { acks => $acks, 'linger.ms' => $linger_ms, 'batch.size' => $batch_size },
    );
}

sub produce_section {
    my ($ours, $theirs) = equal(map { setting($_) } qw(ACKS LINGER_MS BATCH_SIZE));
    my @beside = (beside => "$RDKAFKA, one callback");
    return (
        title => sprintf('produce: acks %s, linger %s ms, batches of up to %s bytes',
            map { setting($_) } qw(ACKS LINGER_MS BATCH_SIZE)),
        contestants => [
            theirs("$RDKAFKA, one callback", 'produce', $theirs),
            ours('EV::Kafka, no callback', ['no_callback'], $ours, @beside),
            ours('EV::Kafka, one shared callback', ['shared_callback'], $ours, @beside),
            ours('EV::Kafka, closures, 2,000 at a time', [fresh_closures => 2_000], $ours, @beside),
            ours('EV::Kafka, closures, 2,000, flushing', [fresh_closures => 2_000, 'flush'], $ours, @beside),
            ours('EV::Kafka, closures, 20,000 at a time', [fresh_closures => 20_000], $ours, @beside),
            ours('EV::Kafka, closures, 200,000 at a time', [fresh_closures => 200_000], $ours, @beside),
            ours('perl alone, closures, 2,000 at a time', [closures_alone => 2_000], $ours, @beside),
            ours('EV::Kafka, its default options', ['shared_callback'], {}, @beside),
            theirs("$RDKAFKA, idempotent", 'produce', { %$theirs, acks => -1, 'enable.idempotence' => 'true' }),
            ours('EV::Kafka, idempotent, one shared callback', ['shared_callback'],
                { %$ours, acks => -1, idempotent => 1 }, beside => "$RDKAFKA, idempotent"),
        ],
    );
}

sub fire_and_forget_section {
    my ($ours, $theirs) = equal(0, setting('LINGER_MS'), setting('BATCH_SIZE'));
    return (
        title       => 'fire-and-forget: acks 0',
        contestants => [
            theirs($RDKAFKA, 'produce', $theirs),
            ours('EV::Kafka', ['no_callback'], $ours, beside => $RDKAFKA),
        ],
    );
}

sub sequential_section {
    my ($ours, $theirs) = equal(1, 0, setting('BATCH_SIZE'));
    my @equal = (messages => sequential_messages());
    return (
        title       => "sequential: one message after the other, acks 1, $equal[1] of them",
        latency     => 1,
        contestants => [
            theirs($RDKAFKA, 'sequential', $theirs, @equal),
            ours('EV::Kafka', ['sequential'], $ours, @equal, beside => $RDKAFKA),
        ],
    );
}

sub metadata_section {
    my @equal = (messages => sequential_messages(), value_size => 0);
    return (
        title       => "metadata: one request after the other, $equal[1] of them",
        latency     => 1,
        contestants => [
            theirs($RDKAFKA, 'metadata', {}, @equal),
            ours('EV::Kafka', ['metadata'], {}, @equal, beside => $RDKAFKA),
        ],
    );
}

sub sequential_messages {
    return setting('MESSAGES') < $MAX_SEQUENTIAL ? setting('MESSAGES') : $MAX_SEQUENTIAL;
}

sub sizes_section {
    my ($ours, $theirs) = equal(1, setting('LINGER_MS'), setting('BATCH_SIZE'));
    my @contestants;
    for my $size (10, 100, 1_000, 10_000) {
        my $messages = setting('MESSAGES');
        $messages = $MAX_BYTES / $size if $messages > $MAX_BYTES / $size;
        my @equal = (messages => $messages, value_size => $size);
        push @contestants,
            theirs("$size bytes, $RDKAFKA", 'produce', $theirs, @equal),
            ours("$size bytes, EV::Kafka", ['shared_callback'], $ours, @equal, beside => "$size bytes, $RDKAFKA");
    }
    return (
        title       => 'sizes: throughput by the size of values, acks 1, one shared callback',
        contestants => \@contestants,
    );
}

sub consume_section {
    my $topic = new_topic();
    fill($topic) unless defined $ENV{BENCH_TOPIC};
    my @equal  = (topic => $topic, argument => setting('PARTITIONS'));
    my @beside = (beside => "$RDKAFKA, larger queue");
    return (
        title       => 'consume: assigned partitions from the beginning',
        contestants => [
            # Without it, librdkafka pauses whenever its queue is full.
            theirs("$RDKAFKA, larger queue", 'consume', { 'queued.min.messages' => 1_000_000 }, @equal),
            theirs("$RDKAFKA, its default options", 'consume', {}, @equal, @beside),
            ours('EV::Kafka, on_message, poll', ['consume'], {}, @equal, @beside),
            ours('EV::Kafka, on_batch, poll', ['consume_batches'], {}, @equal, @beside),
            ours('EV::Kafka, on_message, fetches of up to 8 MB', ['consume'], { fetch_max_bytes => 8 << 20 },
                @equal, @beside),
            ours('EV::Kafka, on_batch, fetches of up to 8 MB', ['consume_batches'], { fetch_max_bytes => 8 << 20 },
                @equal, @beside),
        ],
    );
}

sub fill {
    my ($topic) = @_;
    print STDERR "consume: writing the topic ...\n";
    my %option = (acks => 1, batch_size => setting('BATCH_SIZE'));
    run_one({ topic => $topic, does => ['no_callback'], options => \%option });
}

# --- the contestants --------------------------------------------------------------

# What both take: topic (else a fresh one for each run), messages, value_size, beside.

sub ours {
    my ($name, $does, $options, %rest) = @_;
    my %run = (does => $does, options => $options);
    return our_build($name, %rest, %run) unless defined $against;
    my $other = "$name, $against";
    return (our_build($other, %rest, %run, build => $against, beside => undef),
        our_build($name, %rest, %run, beside => $other));
}

sub our_build {
    my ($name, %about) = @_;
    return contestant($name, %about, on_topic => sub {
        my ($topic) = @_;
        return run_one({ %about, topic => $topic });
    });
}

# argument: see bench/rdkafka_bench.c; nothing at all without librdkafka.
sub theirs {
    my ($name, $mode, $properties, %rest) = @_;
    return if defined $against;
    my $program = yardstick() // return;
    my $argument = $rest{argument} // $rest{value_size} // setting('VALUE_SIZE');
    return contestant($name, %rest, on_topic => sub {
        my ($topic) = @_;
        my $result = run_json($program, $mode, brokers(), $topic, $rest{messages} // setting('MESSAGES'), $argument,
            map { "$_=$properties->{$_}" } sort keys %$properties);
        $librdkafka_version = $result->{librdkafka};
        return $result;
    });
}

sub contestant {
    my ($name, %rest) = @_;
    return {
        name       => $name,
        beside     => $rest{beside},
        value_size => $rest{value_size} // setting('VALUE_SIZE'),
        run        => sub {
            return $rest{on_topic}->($rest{topic}) if defined $rest{topic};
            my $topic  = new_topic();
            my $result = $rest{on_topic}->($topic);
            drop_topic($topic);
            return $result;
        },
    };
}

sub run_one {
    my ($run) = @_;
    my %told = (
        brokers    => brokers(),
        messages   => $run->{messages} // setting('MESSAGES'),
        value_size => $run->{value_size} // setting('VALUE_SIZE'),
        map { $_ => $run->{$_} } qw(topic does options),
    );
    # Its own script finds its own build.
    my @program = defined $run->{build} ? "$run->{build}/bench/benchmark.pl" : ((map {"-I$_"} grep { !ref } @INC), $0);
    return run_json($^X, @program, '--one', JSON::PP->new->encode(\%told));
}

# One run in this process; prints JSON.
sub one {
    my ($run) = @_;
    my ($what, @arguments) = @{ $run->{does} };
    my $kafka = EV::Kafka->new(
        brokers  => $run->{brokers},
        on_error => \&give_up,
        $what eq 'consume_batches'
            ? (on_batch => \&KafkaBench::Consume::batch)
            : (on_message => \&KafkaBench::Consume::message),
        %{ $run->{options} },
    );
    await(sub { $kafka->connect(@_) });

    # Routed and connected before the clock starts, as on the other side of the race.
    my (undef, $error) = await(sub { $kafka->offsets_for($run->{topic}, @_) });
    (undef, $error) = await(sub { $kafka->produce($run->{topic}, 'k', 'routed', @_) })
        unless defined $error || $what =~ /^consume/;
    die "$run->{topic}: $error\n" if defined $error;

    my $value  = 'v' x $run->{value_size};
    my $watch  = stopwatch();
    my $failed = $DOES{$what}->($kafka, $run->{topic}, $value, $run->{messages}, @arguments);
    my ($wall, $cpu) = $watch->();
    die "$what: $failed of $run->{messages} failed\n" if $failed;
    print JSON::PP->new->encode({ messages => $run->{messages}, wall_s => $wall, cpu_s => $cpu }), "\n";
}
