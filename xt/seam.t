use v5.14;
use warnings;

# What bench/seam.pl counts: how seldom a produced record passes from Rust to Perl, or back.

use Test::More;

# A record passes Perl only for linger and for a broker without a connection: that is a few calls
# for each thousand records, which the benchmark produces at a time, and for each request.
use constant MOST_CALLS => 250;

open my $printed, '-|', $^X, '-Mblib', 'bench/seam.pl' or die "bench/seam.pl: $!";
my @lines = <$printed>;
close $printed;
is $?, 0, 'bench/seam.pl';
my ($calls, $messages) = $lines[-1] =~ /\A(\d+) calls for (\d+) messages/;
is $messages, 20_000, 'so many messages';
cmp_ok $calls, '<=', MOST_CALLS, 'so many calls' or diag @lines;

done_testing;
