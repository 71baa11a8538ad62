use strict;
use warnings;
use Test::More;

use File::Basename qw(basename);
use File::Temp     ();

# All other tests of transactions, with transactions of version 2 (KIP-890).

$ENV{TEST_TRANSACTION_VERSION} = 2;

for my $file (grep { basename($_) !~ /\A(?:again|implicit)\.t\z/ } sort glob 't/transactions/*.t') {
    my $output = File::Temp->new;
    my $status = system sprintf '%s %s >%s 2>&1', join(' ', map { quotemeta } $^X, map {"-I$_"} grep { !ref } @INC), $file, $output;
    is $status, 0, $file or diag do { local (@ARGV, $/) = "$output"; readline };
}

done_testing;
