package KafkaBench::Plot;

# The figures as a picture: SVG 1.1 that is readable on white and on black.

use v5.14;
use warnings;

use Exporter   qw(import);
use List::Util qw(max min);

our @EXPORT = qw(svg write_svg);

# Pixels.
use constant {
    NAMES    => 330,    # for the names of rows
    PANEL    => 240,    # for the bars of a panel
    FIGURE   => 44,     # behind a bar, for its figure
    LINE     => 17,
    BAR      => 11,
    HEADING  => 25,
    TOP      => 92,
    BOTTOM   => 12,
    MOST     => 4,      # the longest bar stands for this many times a peer
};

# svg(\%report) -> the picture of what bench/benchmark.pl has written: for each of EV::Kafka's rows its
# rate (or latency) and CPU time as multiples of the best peer's.
sub svg {
    my ($report) = @_;
    my ($y, @body) = (TOP);
    for my $section (@{ $report->{sections} }) {
        my @bars = map { _bars($section, $_) } @{ $section->{rows} };
        next unless @bars;
        push @body, _text('b', 8, $y + LINE, ($section->{title} =~ /\A([^:]*: [^,]*)/)[0] // $section->{title});
        $y += HEADING;
        for my $bar (@bars) {
            my ($name, $ratio, $more_is_better, $cpu) = @$bar;
            push @body, _text('', 20, $y + BAR - 1, $name), _bar(0, $y, $ratio, $more_is_better), _bar(1, $y, $cpu, 0);
            $y += LINE;
        }
        $y += 6;
    }
    my $width  = _left(2);
    my $height = $y + BOTTOM;
    my @lines  = map { my $x = _left($_) + PANEL / MOST; "<path class=\"o\" d=\"M$x " . (TOP - 4) . "V$y\"/>\n" } 0, 1;
    return join '', _head($report, $width, $height), @body, @lines, "</svg>\n";
}

# write_svg($file, \%report)
sub write_svg {
    my ($file, $report) = @_;
    open my $out, '>', $file or die "$file: $!\n";
    print {$out} svg($report);
    close $out or die "$file: $!\n";
    return;
}

# [name, ratio, whether more of it is better, CPU ratio] of each entry that was measured by others.
sub _bars {
    my ($section, $row) = @_;
    my @entries = grep { defined $_->{rate_ratio} } @{ $row->{entries} // [] };
    my @shape   = @{ $section->{rows} } > 1 ? $row->{name} : ();
    return map {
        my @variant    = @entries > 1 && length $_->{variant} ? $_->{variant} : ();
        my $is_latency = defined $_->{latency_ratio};
        my $name       = join(': ', @shape, @variant) || $row->{name};
        $is_latency ? ["$name (median, less is better)", $_->{latency_ratio}, 0, $_->{cpu_ratio}]
            : [$name, $_->{rate_ratio}, 1, $_->{cpu_ratio}];
    } @entries;
}

sub _left { my ($panel) = @_; return NAMES + $panel * (PANEL + FIGURE + 16) }

sub _bar {
    my ($panel, $y, $ratio, $more_is_better) = @_;
    my $left  = _left($panel);
    my $width = sprintf '%.0f', PANEL / MOST * min $ratio, MOST;
    my $class = ($more_is_better ? $ratio >= 1 : $ratio <= 1) ? 'g' : 'w';
    return "<path class=\"$class\" d=\"M$left ${y}h${width}v" . BAR . "h-${width}z\"/>"
        . _text('', $left + $width + 4, $y + BAR - 1, sprintf '%.2f', $ratio);
}

sub _text {
    my ($class, $x, $y, $text) = @_;
    my %entity = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;');
    $text =~ s/([&<>])/$entity{$1}/g;
    return '<text' . ($class && " class=\"$class\"") . " x=\"$x\" y=\"$y\">$text</text>\n";
}

sub _head {
    my ($report, $width, $height) = @_;
    my $about    = $report->{about};
    my $rounds   = $about->{settings}{rounds};
    my $versions = join ', ', map { $about->{versions}{$_} } sort keys %{ $about->{versions} };
    my $beside   = defined $about->{against} ? "the build in $about->{against}" : 'the best of the other clients';
    my ($first, $cpu) = map { _left($_) } 0, 1;
    return <<"END" . _text('t', 8, 22, "EV::Kafka beside $beside")
<svg xmlns="http://www.w3.org/2000/svg" width="$width" height="$height" viewBox="0 0 $width $height">
<style>
text{font:12px sans-serif;fill:#24292f}
.b{font-weight:bold}.t{font-size:16px;font-weight:bold}.s{font-size:11px;fill:#57606a}
.g{fill:#2a78b8}.w{fill:#d9822b}.o{stroke:#57606a;stroke-dasharray:3 2;fill:none}
\@media (prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.o{stroke:#9198a1}.g{fill:#4a9ede}}
</style>
END
        . _text('s', 8, 40, join ', ', grep { defined } $about->{date}, $about->{machine})
        . _text('s', 8, 55, join ', ', (defined $about->{kafka} ? "Kafka $about->{kafka}" : ()), $versions, "medians of $rounds")
        . _text('b', $first, 78, 'Rate: more is better') . _text('b', $cpu, 78, 'CPU time a message: less is better');
}

1;
