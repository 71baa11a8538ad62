use v5.14;
use warnings;

# Every Perl file compiles without a word under perl -wc, and the modules under the oldest
# perl that Makefile.PL takes, 5.14, as far as that can be read.

use File::Find qw(find);
use Test::More;

my @files;
find({ no_chdir => 1, wanted => sub {
    return unless -f;
    push @files, $_ if /\.(?:p[lm]|t|PL)\z/ || m{^script/} && first_line($_) =~ /^#!.*\bperl\b/;
} }, 'Makefile.PL', grep { -d } qw(lib script bench eg t xt));

sub first_line { open my $in, '<', $_[0] or die "$_[0]: $!"; scalar(readline $in) // '' }

for my $file (sort @files) {
    my @command = ($^X, qw(-Iblib/lib -Iblib/arch -Ilib -It/lib -Ixt/lib -Iscript/lib -Ibench/lib -wc), $file);
    open my $run, '-|', "@command 2>&1" or die "$^X: $!";
    is join('', <$run>), "$file syntax OK\n", $file;
}

# Slices of keys and values, and dereferencing behind an arrow, came with 5.20.
for my $file (grep { m{^lib/} } sort @files) {
    my $text = do { local (@ARGV, $/) = $file; <> };
    my @newer = map { s/^__END__$.*//msr } $text =~ /%\$?\w+\{qw.*|%\w+\[.*|->[\@%]\*.*/g;
    is_deeply \@newer, [], "$file: nothing that 5.14 does not know";
}

done_testing;
