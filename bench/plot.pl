#!/usr/bin/env perl

=head1 NAME

plot.pl - draws what benchmark.pl has measured

=head1 SYNOPSIS

  perl bench/plot.pl figures.json > figures.svg

=head1 DESCRIPTION

Reads the file that F<bench/benchmark.pl --json> has written and prints an SVG: a bar for each of
EV::Kafka's rows, its rate as a multiple of the better peer's, and one for its CPU time as a multiple of the
smaller. The dashed lines are the peers. Bars in the first colour are ahead, those in the other behind; longer ones
than four times are cut there, the figures are not. Needs nothing but core Perl.

=cut

use v5.14;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Getopt::Long qw(GetOptions);
use JSON::PP ();
use KafkaBench::Plot;
use Pod::Usage qw(pod2usage);

GetOptions(help => sub { pod2usage(-verbose => 2, -noperldoc => 1, -exitval => 0) }) && @ARGV == 1
    or pod2usage(-verbose => 0, -exitval => 2);
my ($file) = @ARGV;
open my $in, '<', $file or die "$file: $!\n";
print svg(JSON::PP->new->decode(do { local $/; readline $in }));
