package KafkaBench::Report;

# What a race has found, as a table and as JSON.

use v5.14;
use warnings;

use Exporter qw(import);
use JSON::PP ();

our @EXPORT = qw(print_section write_json);

# The columns of each kind of section: heading, format, figure.
my %COLUMNS = (
    rate    => [['per second', '%.0f', 'msg_s'], ['MB/s', '%.1f', 'mb_s'], ['CPU us', '%.3f', 'cpu_us']],
    turns   => [['per second', '%.0f', 'msg_s'], ['avg us', '%.1f', 'avg_us'], ['CPU us', '%.3f', 'cpu_us']],
    latency => [['median ms', '%.2f', 'median_ms'], ['p99 ms', '%.2f', 'p99_ms'], ['CPU us', '%.0f', 'cpu_us']],
);
my @RECORD_BYTES = ('B/record', '%.1f', 'record_bytes');

# The ratios: of a rate more is better, of the others less.
my %RATIOS = (
    rate    => [['rate', 'rate_ratio'], ['CPU', 'cpu_ratio']],
    turns   => [['rate', 'rate_ratio'], ['CPU', 'cpu_ratio']],
    latency => [['median', 'latency_ratio'], ['CPU', 'cpu_ratio']],
);

# print_section(\%section): medians, and the ratios of those that are measured by others.
sub print_section {
    my ($section) = @_;
    my @columns = (@{ $COLUMNS{ $section->{kind} } }, $section->{shows_bytes} ? \@RECORD_BYTES : ());
    my @ratios  = @{ $RATIOS{ $section->{kind} } };
    print "\n$section->{title}\n", _line('', (map { $_->[0] } @columns), map { $_->[0] } @ratios);
    for my $row (@{ $section->{rows} }) {
        print "  $row->{name}\n" if @{ $section->{rows} } > 1 || defined $row->{error};
        print "    failed: $row->{error}\n" if defined $row->{error};
        print _entry($_, \@columns, \@ratios) for @{ $row->{entries} // [] };
    }
    return;
}

sub _entry {
    my ($entry, $columns, $ratios) = @_;
    my $medians = $entry->{medians};
    my $failed  = defined $entry->{error} ? "failed: $entry->{error}" : undef;
    return "    $entry->{name}: $failed\n" if defined $failed && !%$medians;
    my @cells = map { defined $medians->{ $_->[2] } ? sprintf $_->[1], $medians->{ $_->[2] } : '-' } @$columns;
    my @ratio = map { defined $entry->{ $_->[1] } ? sprintf '%.2f x', $entry->{ $_->[1] } : '' } @$ratios;
    my $line  = _line("    $entry->{name}", @cells, @ratio);
    $line .= "      $entry->{failures} of its runs $failed\n" if defined $failed;
    return $line;
}

sub _line {
    my ($name, @cells) = @_;
    return sprintf("%-46s %10s" . ' %9s' x (@cells - 1), $name, @cells) =~ s/ +\z//r . "\n";
}

# write_json($file, \%report): all figures, those of each run among them.
sub write_json {
    my ($file, $report) = @_;
    open my $out, '>', "$file.part" or die "$file.part: $!\n";
    print {$out} JSON::PP->new->pretty->canonical->encode($report);
    close $out or die "$file.part: $!\n";
    rename "$file.part", $file or die "$file: $!\n";
    return;
}

1;
