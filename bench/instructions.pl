#!/usr/bin/env perl

=head1 NAME

instructions.pl - how many instructions a message takes

=head1 SYNOPSIS

  perl bench/instructions.pl
  perl bench/instructions.pl --against ../before
  perl bench/instructions.pl --keep /var/tmp/profiles produce sequential
  perl bench/instructions.pl --list

=head1 DESCRIPTION

Prints for each hot path how many instructions of user code the client executes for one message,
its callbacks included, and how many system calls it makes. Unlike times these figures do not depend
on what else the machine does: 1 % more is 1 % more. They are those of the build in F<blib>, so an
optimised one is what to look at.

Each path runs twice in a process of its own under C<valgrind --tool=callgrind>, the second time with
twice as many messages, against an L<EV::Kafka::Mock> in this process; what the two differ by is divided by
the number of messages, so that starting and connecting do not count. The same again under C<strace -c>,
where there is one. Batches are full: nothing lingers but in the sequential paths, where nothing waits.

Paths, all of them unless some are named; a name stands for all that begin with it. C<--list> says what they are.

=over 4

=item --against CHECKOUT

The folder of another checkout that was built, measured by this script and against the same mock; the last column
says how much of its instructions this one takes.

=item --keep FOLDER

Leaves callgrind's profiles of the longer runs there, for C<callgrind_annotate>.

=item --times N

N times as many messages.

=item --no-calls

Does not count system calls, which takes half of the time.

=back

=cut

use v5.14;
use warnings;

use Cwd qw(abs_path);
use EV;
use File::Basename qw(dirname);
use File::Path     qw(make_path);
use File::Temp     qw(tempdir);
use Getopt::Long   qw(GetOptions);
use JSON::PP       ();
use Pod::Usage     qw(pod2usage);
use lib dirname(__FILE__) . '/lib';

# A process that is measured is told its build, which need not be the one beside this script.
BEGIN {
    unshift @INC, map { dirname(__FILE__) . "/../blib/$_" } qw(lib arch) unless @ARGV && $ARGV[0] eq '--one';
}

use EV::Kafka;
use EV::Kafka::Mock;
use KafkaBench;
use KafkaBench::Consume;
use KafkaBench::Produce;

my $PARTITIONS = 4;
my $VALUE_SIZE = 100;

# A batch that is not full waits for longer than any run takes; flush ends that.
my $NEVER_MS = 600_000;

# Records of a batch in the topics that are consumed.
my $BATCH = 500;

my %full       = (acks => 1, linger_ms => $NEVER_MS, batch_size => 100_000);
my %sequential = (acks => 1, linger_ms => 0);

# name, what it is, what one process does with how many messages, and the client's options.
my @PATHS = (
    ['produce-no-callback',     'produce, no callback',               [no_callback => 20_000], \%full],
    ['produce-shared',          'produce, one shared callback',       [shared_callback => 20_000, flushes => 1], \%full],
    ['produce-argument',        'produce, callback with an argument', [with_argument => 20_000, flushes => 1], \%full],
    ['produce-partition',       'produce, a partition',               [no_callback => 20_000, said => 'partition'], \%full],
    ['produce-timestamp',       'produce, a timestamp',               [no_callback => 20_000, said => 'timestamp'], \%full],
    ['produce-header',          'produce, one header in a hash',      [no_callback => 20_000, said => 'header'], \%full],
    ['produce-headers',         'produce, five headers in an array',  [no_callback => 20_000, said => 'headers'], \%full],
    ['produce-partitioner',     'produce, a partitioner in Perl',     [with_partitioner => 20_000], \%full],
    ['produce-closures-2000',   'produce, closures, 2,000 at a time', [fresh_closures => 20_000, bound => 2_000, flushes => 1], \%full],
    ['produce-closures-20000',  'produce, closures, 20,000 at a time', [fresh_closures => 40_000, bound => 20_000, flushes => 1], \%full],
    ['produce-default',         'produce, batches of the default size', [shared_callback => 20_000, flushes => 1],
        { linger_ms => $NEVER_MS }],
    ['produce-idempotent',      'produce, idempotent',                [shared_callback => 20_000, flushes => 1],
        { %full, acks => -1, idempotent => 1 }],
    ['produce-stats',           'produce, shared callback, counted',  [shared_callback => 20_000, flushes => 1, counted => 1], \%full],
    ['produce-stats-default',   'the same, batches of the default size', [shared_callback => 20_000, flushes => 1, counted => 1],
        { linger_ms => $NEVER_MS }],
    ['sequential-client',       'one after the other, client',        [sequential => 1_000], \%sequential],
    ['sequential-connection',   'one after the other, connection',    [sequential_connection => 1_000], {}],
    ['consume-on_message',      'consume, on_message',                [consume => 20_000], {}],
    ['consume-on_batch',        'consume, on_batch',                  [consume_batches => 20_000], {}],
    ['sequential-stats',        'one after the other, client, counted', [sequential => 1_000, counted => 1], \%sequential],
    ['consume-stats',           'consume, on_batch, counted',         [consume_batches => 20_000, counted => 1], {}],
    ['poll-nothing',            'a round of poll that gives nothing', [poll_nothing => 300], { fetch_max_wait_ms => 1 }],
    ['poll-one',                'produce one, poll until it is there', [poll_one => 300], \%sequential],
);

my %DOES = (
    no_callback           => \&KafkaBench::Produce::no_callback,
    shared_callback       => \&KafkaBench::Produce::shared_callback,
    with_argument         => \&KafkaBench::Produce::with_argument,
    with_partitioner      => \&KafkaBench::Produce::with_partitioner,
    fresh_closures        => \&KafkaBench::Produce::fresh_closures,
    sequential            => \&KafkaBench::Produce::sequential,
    sequential_connection => \&KafkaBench::Produce::sequential_on_a_connection,
    consume               => \&KafkaBench::Consume::read_all,
    consume_batches       => \&KafkaBench::Consume::read_all,
    poll_nothing          => \&poll_nothing,
    poll_one              => \&poll_one,
);

if (@ARGV && $ARGV[0] eq '--one') { one(JSON::PP->new->decode($ARGV[1])) }
else                              { main() }

sub main {
    my %setting = (times => 1, calls => 1);
    GetOptions(\%setting, qw(against=s keep=s times=i calls! list help)) or help(2);
    help() if $setting{help};
    my @paths = grep { is_asked_for($_->[0]) } @PATHS;
    pod2usage(-message => "no path begins with that; see --list\n", -exitval => 2, -verbose => 0) unless @paths;
    return printf '%1$-24s %2$s' . "\n", @$_ for $setting{list} ? @paths : ();
    die "$0: needs valgrind\n" unless is_there('valgrind');
    local $ENV{BENCH_POLLS} = 1 if defined $setting{against};    # an older build knows nothing else
    my @builds = map { build($_) } abs_path(dirname(__FILE__) . '/..'), grep { defined } $setting{against};
    make_path($setting{keep}) if defined $setting{keep};
    $setting{folder} = $setting{keep} // tempdir(CLEANUP => 1);
    $setting{calls} &&= is_there('strace');
    print_row('', 'instructions', 'system calls', $setting{against} ? ('against', 'system calls', 'ratio') : ());
    for my $path (@paths) {
        my @figures = map { [figures($path, $_, \%setting)] } @builds;
        my @ratio   = @figures > 1 ? sprintf '%.3f', $figures[0][0] / $figures[1][0] : ();
        print_row($path->[1], (map { (sprintf('%.0f', $_->[0]), defined $_->[1] ? sprintf('%.3f', $_->[1]) : '-') } @figures), @ratio);
    }
    return;
}

sub is_asked_for {
    my ($name) = @_;
    return !@ARGV || grep { index($name, $_) == 0 } @ARGV;
}

sub is_there {
    my ($program) = @_;
    return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

sub build {
    my ($folder) = @_;
    die "$folder has no build (perl Makefile.PL && make)\n" unless -e "$folder/blib/arch/auto/EV/Kafka/Kafka.so";
    return "$folder/blib";
}

sub print_row {
    my ($name, @columns) = @_;
    local $| = 1;
    return printf "%-38s" . ' %12s' x @columns . "\n", $name, @columns;
}

# Instructions and system calls a message.
sub figures {
    my ($path, $build, $setting) = @_;
    my ($name, undef, $does) = @$path;
    my $messages = $does->[1] * $setting->{times};
    my $profile  = join '.', 'callgrind', $name, $build =~ s{.*/(?=[^/]+/blib\z)}{}r =~ s{/}{-}gr;
    my @counters = (instructions($setting->{folder}, $profile), $setting->{calls} ? calls($setting->{folder}) : ());
    return map {
        my $counter = $_;
        my ($once, $twice) = map { run($path, $build, $counter, $_ * $messages) } 1, 2;
        ($twice - $once) / $messages;
    } @counters;
}

# Both: the program that counts, and what it has counted.
sub instructions {
    my ($folder, $profile) = @_;
    my $file = "$folder/$profile";
    return {
        program => ['valgrind', '--tool=callgrind', "--callgrind-out-file=$file", '--quiet'],
        count   => sub { return in_file($file, qr/^(?:summary|totals): (\d+)/m) },
    };
}

sub calls {
    my ($folder) = @_;
    my $file = "$folder/strace";
    return {
        program => ['strace', '-f', '-c', '-o', $file],
        count   => sub { return in_file($file, qr/^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)(?:\s+\d+)?\s+total$/m) },
    };
}

sub in_file {
    my ($file, $pattern) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return <$in> =~ $pattern ? $1 : die "$file has no sum\n";
}

# One run in a process of its own; gives what was counted.
sub run {
    my ($path, $build, $counter, $messages) = @_;
    my ($name, undef, $does, $options) = @$path;
    my ($what, undef, @arguments) = @$does;
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(hot => $PARTITIONS);
    fill($mock, $messages) if $what =~ /^consume/;
    my %told = (does => $what, messages => $messages, arguments => \@arguments, options => $options, brokers => $mock->bootstrap);
    open my $out, '-|', @{ $counter->{program} }, $^X, (map {"-I$build/$_"} qw(lib arch)), abs_path($0), '--one',
        JSON::PP->new->encode(\%told)
        or die "$counter->{program}[0]: $!\n";
    my $said   = '';
    my $reader = EV::io $out, EV::READ, sub { sysread($out, $said, 1 << 16, length $said) or EV::break };
    EV::run;
    undef $reader;
    die "$name: the process that is measured has failed: $said\n" if !close $out || $said ne "done\n";
    return $counter->{count}->();
}

sub fill {
    my ($mock, $messages) = @_;
    my $value = 'v' x $VALUE_SIZE;
    for my $partition (0 .. $PARTITIONS - 1) {
        for (my $left = $messages / $PARTITIONS; $left > 0; $left -= $BATCH) {
            $mock->append(hot => $partition, map { { key => "k$_", value => $value } } 1 .. ($left < $BATCH ? $left : $BATCH));
        }
    }
    return;
}

# --- in the process that is measured ------------------------------------------------

sub one {
    my ($run) = @_;
    my $kafka = EV::Kafka->new(
        brokers  => $run->{brokers},
        on_error => \&give_up,
        $run->{does} eq 'consume_batches'
            ? (on_batch => \&KafkaBench::Consume::batch)
            : (on_message => \&KafkaBench::Consume::message),
        %{ $run->{options} },
    );
    await(sub { $kafka->connect(@_) });
    my (undef, $error) = await(sub { $kafka->offsets_for('hot', @_) });
    # Statistics are counted from here on, for paths that say so.
    $kafka->stats if {@{ $run->{arguments} }}->{counted};
    my ($conn) = grep { $_->connected } values %{ $kafka->{cfg}{conns} };
    my $failed = $DOES{ $run->{does} }->({
        kafka => $kafka, conn => $conn, topic => 'hot', values => ['v' x $VALUE_SIZE], partitions => $PARTITIONS,
        messages => $run->{messages}, @{ $run->{arguments} },
    });
    die $error // "$failed have failed", "\n" if defined $error || $failed;
    print "done\n";
    return;
}

sub poll_nothing {
    my ($kafka, $topic, $rounds) = @{ $_[0] }{qw(kafka topic messages)};
    $kafka->assign([{ topic => $topic, partition => 0, offset => 0 }]);
    return scalar grep { defined await(sub { $kafka->poll(@_) }) } 1 .. $rounds;
}

sub poll_one {
    my ($run) = @_;
    my ($kafka, $topic, $messages, $value) = (@$run{qw(kafka topic messages)}, $run->{values}[0]);
    my ($seen, $failed) = (0, 0);
    $kafka->{cfg}{on_message} = sub { $seen++ };
    $kafka->assign([{ topic => $topic, partition => 0, offset => 0 }]);
    for my $number (1 .. $messages) {
        my (undef, $error) = await(sub { $kafka->produce($topic, 'k', $value, { partition => 0 }, @_) });
        $failed++ if defined $error;
        until ($seen == $number) { await(sub { $kafka->poll(@_) }) }
    }
    return $failed;
}
