use v5.14;
use warnings;

# THIRD-PARTY names what is linked into the library, under licences that allow it, at versions that the Rust which
# Cargo.toml asks for can build.

use JSON::PP ();
use Test::More;

sub output_of {
    open my $in, '-|', @_ or die "$_[0]: $!";
    my $output = do { local $/; readline $in };
    close $in;
    return ($output, $?);
}

my ($said, $status) = output_of('sh', '-c', 'script/third-party --check 2>&1');
is $status, 0, 'it is current' or diag $said;

open my $page, '<', 'THIRD-PARTY' or die "THIRD-PARTY: $!";
my ($list)  = do { local $/; readline $page } =~ /\A(.*?)\n-----/s;
my %licence = map { /\A(\S+) +([0-9]\S*) +(.+)\z/ ? ("$1 $2" => $3) : () } split /\n/, $list;
cmp_ok scalar(keys %licence), '>', 40, 'it lists the crates';
my %allowed = map { $_ => 1 } qw(MIT Apache-2.0 ISC BSD-2-Clause BSD-3-Clause Zlib);
my @others = grep { grep { !$allowed{$_} } split / (?:AND|OR) /, $licence{$_} } sort keys %licence;
is_deeply \@others, [], 'under licences that let it be linked with everything';

my ($metadata) = output_of($ENV{CARGO} || 'cargo', qw(metadata --format-version 1 --locked));
my %needs = map { ("$_->{name} $_->{version}" => $_->{rust_version}) } @{ JSON::PP->new->decode($metadata)->{packages} };
open my $toml, '<', 'Cargo.toml' or die "Cargo.toml: $!";
my ($rust) = map { /^rust-version = "([\d.]+)"/ ? $1 : () } <$toml>;
my @newer  = grep { $needs{$_} && version->parse("v$needs{$_}") > version->parse("v$rust.0") } sort keys %licence;
is_deeply [map { "$_ needs Rust $needs{$_}" } @newer], [], "Rust $rust builds all of them";

done_testing;
