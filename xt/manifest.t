use v5.14;
use warnings;

# MANIFEST names exactly what a CPAN tarball needs.

use Test::More;
use ExtUtils::Manifest qw(maniread manicheck filecheck);

$ExtUtils::Manifest::Quiet = 1;

is_deeply [manicheck()], [], 'every file in MANIFEST exists';

# In a clone, what git does not track is nobody's business here.
my %tracked = map { chomp; $_ => 1 } `git ls-files 2>/dev/null`;
my @unlisted = filecheck();
@unlisted = grep { $tracked{$_} } @unlisted if %tracked;
is_deeply \@unlisted, [], 'every file is in MANIFEST or skipped by MANIFEST.SKIP';

my $listed = maniread();
ok exists $listed->{$_}, "$_ is in the tarball"
    for qw(Cargo.toml Cargo.lock Makefile.PL LICENSE Changes README.pod lib/EV/Kafka.pm),
    glob 'rust/*/src/lib.rs';

done_testing;
