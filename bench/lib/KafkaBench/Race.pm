package KafkaBench::Race;

# Contestants that take turns, so that a noisy machine is noisy for everybody, and
# the figures that come of it.

use v5.14;
use warnings;

use Exporter   qw(import);
use List::Util qw(max min sum0);
use KafkaBench;

our @EXPORT = qw(race);

# One that has failed so often does not run again.
my $TRIES = 2;

# race(\@contestants, $run): runs each of KafkaBench::Contestant's once a round, by
# $run->($contestant), in another order each round; gives an entry for each:
#   { name, client, variant, runs => [figures], medians, beside, rate_ratio, cpu_ratio,
#     latency_ratio, error }
# A run of one that fails costs only itself.
sub race {
    my ($contestants, $run) = @_;
    my @entries = map {
        my $about = $_;
        { runs => [], failures => 0, map { ($_ => $about->{$_}) } qw(name client variant beside) };
    } @$contestants;
    for my $round (0 .. setting('ROUNDS') - 1) {
        for my $turn (0 .. $#entries) {
            my $at    = ($round + $turn) % @entries;
            my $entry = $entries[$at];
            next if $entry->{failures} >= $TRIES;
            my $result = eval { $run->($contestants->[$at]) };
            if ($result) {
                $entry->{version} = $result->{client};
                push @{ $entry->{runs} }, _figures($result);
                next;
            }
            $entry->{failures}++;
            chomp($entry->{error} = $@);
            print STDERR "$entry->{name}: $entry->{error}\n";
        }
    }
    my %entry = map { $_->{name} => $_ } @entries;
    $_->{medians} = _medians($_->{runs}) for @entries;
    _measure($_, map { $entry{$_} // () } @{ $_->{beside} // [] }) for @entries;
    return \@entries;
}

# Of one run. No run is free, even where the clock that counts CPU time is a coarse one.
sub _figures {
    my ($run) = @_;
    my ($messages, $wall, $cpu) = @$run{qw(messages wall_s cpu_s)};
    return {
        msg_s  => $messages / $wall,
        mb_s   => $messages / $wall * ($run->{value_size} // 0) / 1e6,
        avg_us => $wall / $messages * 1e6,
        cpu_us => ($cpu || 1e-6) / $messages * 1e6,
        map { defined $run->{$_} ? ($_ => $run->{$_}) : () } qw(median_ms p99_ms record_bytes),
    };
}

sub _medians {
    my ($runs) = @_;
    return {} unless @$runs;
    return { map {
        my $figure = $_;
        my @sorted = sort { $a <=> $b } map { $_->{$figure} } @$runs;
        ($figure => sum0(@sorted[ $#sorted / 2, @sorted / 2 ]) / 2);
    } keys %{ $runs->[0] } };
}

# The rate against the best of those beside it, CPU time and latency against the least.
sub _measure {
    my ($entry, @beside) = @_;
    my $own = $entry->{medians};
    my $others = sub { my ($figure) = @_; return grep { defined } map { $_->{medians}{$figure} } @beside };
    my $rate   = max $others->('msg_s');
    my $cpu    = min $others->('cpu_us');
    my $median = min $others->('median_ms');
    return unless defined $own->{msg_s} && defined $rate;
    $entry->{rate_ratio}    = $own->{msg_s} / $rate;
    $entry->{cpu_ratio}     = $own->{cpu_us} / $cpu;
    $entry->{latency_ratio} = $own->{median_ms} / $median if defined $own->{median_ms} && $median;
    return;
}

1;
