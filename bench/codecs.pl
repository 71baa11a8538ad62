#!/usr/bin/env perl

=head1 NAME

codecs.pl - what each codec costs, and what it leaves of records

=head1 SYNOPSIS

  perl bench/codecs.pl
  perl bench/codecs.pl 16384            # in batches of about so many bytes
  perl bench/codecs.pl 1000000 FILE     # records of your own, one a line
  perl bench/codecs.pl --help

=head1 DESCRIPTION

Prints for each codec, and for some of its levels, how many bytes of the wire a record takes, and how many
microseconds it takes to seal and to open the batches it lies in: compressing or decompressing them, their
checksum, and looking over every record. No broker and no Perl code is in it. Records are JSON of 250 bytes, each
another, unless others come on the standard input; batches have 1,000,000 bytes unless told otherwise. The fastest
of several rounds counts, of an optimised build that cargo makes if need be.

=cut

use v5.14;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use KafkaBench qw(help);
use Records qw(json_records);

use constant {
    RECORDS     => 20_000,
    SEED        => 1,
    BATCH_BYTES => 1_000_000,
};

help() if grep { $_ eq '--help' } @ARGV;
my ($batch_bytes, $file) = @ARGV;
$batch_bytes //= BATCH_BYTES;
help(2) if @ARGV > 2 || $batch_bytes !~ /\A[1-9][0-9]*\z/;

my $records = defined $file ? content($file) : join '', map { "$_\n" } json_records(RECORDS, SEED);
chdir dirname(__FILE__) . '/..' or die "$0: $!\n";
open my $codecs, '|-', qw(cargo run --quiet --release --locked -p kafka-wire --example codecs), $batch_bytes
    or die "cargo: $!\n";
print $codecs $records;
close $codecs or exit 1;

sub content {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return scalar <$in>;
}
