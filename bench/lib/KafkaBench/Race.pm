package KafkaBench::Race;

# Contestants that take turns, so that a noisy machine is noisy for everybody, and
# the figures that come of it.

use v5.14;
use warnings;

use Exporter qw(import);
use JSON::PP ();
use KafkaBench;

our @EXPORT = qw(run_json race print_section report);

# run_json(@command) -> the hash that the command prints as JSON.
sub run_json {
    my (@command) = @_;
    open my $run, '-|', @command or die "$command[0]: $!\n";
    my $text = do { local $/; readline $run };
    close $run or die "@command failed\n";
    return JSON::PP->new->decode($text);
}

# race(\%section) runs each of its contestants once a round and gives the section its
# {rows}. A section:
#   name, title  of which the first is a word
#   latency      true: what takes part does one thing after the other
#   contestants  each { name, value_size, run, beside }: run gives { messages, wall_s,
#                cpu_s } of one process, value_size is for MB/s, beside names an earlier
#                one whose figures are the measure
sub race {
    my ($section) = @_;
    my @contestants = @{ delete $section->{contestants} };
    my %runs;
    for my $round (1 .. setting('ROUNDS')) {
        print STDERR "$section->{name}: round $round of ", setting('ROUNDS'), "\n";
        push @{ $runs{ $_->{name} } }, _figures($_->{value_size}, $_->{run}->()) for @contestants;
    }
    my %row;
    for my $contestant (@contestants) {
        my ($name, $beside) = @$contestant{qw(name beside)};
        my $row = $row{$name} = { name => $name, runs => $runs{$name}, _medians($runs{$name}) };
        if (my $measure = defined $beside && $row{$beside}) {
            @$row{qw(beside rate_ratio cpu_ratio)}
                = ($beside, $row->{msg_s} / $measure->{msg_s}, $row->{cpu_us} / $measure->{cpu_us});
        }
        push @{ $section->{rows} }, $row;
    }
    return $section;
}

# Of one run. No run is free, even where the clock that counts CPU time is a coarse one.
sub _figures {
    my ($value_size, $run) = @_;
    my ($messages, $wall, $cpu) = @$run{qw(messages wall_s cpu_s)};
    return {
        msg_s  => $messages / $wall,
        mb_s   => $messages / $wall * ($value_size || 0) / 1e6,
        avg_us => $wall / $messages * 1e6,
        cpu_us => ($cpu || 1e-6) / $messages * 1e6,
    };
}

sub _medians {
    my ($runs) = @_;
    return map {
        my $figure = $_;
        my @sorted = sort { $a <=> $b } map { $_->{$figure} } @$runs;
        ($figure => $sorted[@sorted / 2]);
    } keys %{ $runs->[0] };
}

# A table of the medians. The ratios are to the row that a row is measured by, which
# has 1.
sub print_section {
    my ($section) = @_;
    my ($third, $head) = $section->{latency} ? ('avg_us', 'avg us') : ('mb_s', 'MB/s');
    my %measure = map { $_->{beside} => 1 } grep { defined $_->{beside} } @{ $section->{rows} };
    printf "\n%s\n%-46s %10s %8s %8s %8s %8s\n", $section->{title}, '', 'per second', $head, 'CPU us', 'rate', 'CPU';
    for my $row (@{ $section->{rows} }) {
        my @ratios = defined $row->{beside} ? map { sprintf '%.2f x', $_ } @$row{qw(rate_ratio cpu_ratio)}
            : ($measure{ $row->{name} } ? '1' : '-') x 2;
        printf "  %-44s %10.0f %8.1f %8.3f %8s %8s\n", @$row{ 'name', 'msg_s', $third, 'cpu_us' }, @ratios;
    }
}

# report($file, \@sections, %about): all figures, those of each round among them.
sub report {
    my ($file, $sections, %about) = @_;
    open my $out, '>', $file or die "$file: $!\n";
    print {$out} JSON::PP->new->pretty->canonical->encode({ %about, sections => $sections });
    close $out or die "$file: $!\n";
}

1;
