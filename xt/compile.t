use v5.14;
use warnings;

# Every Perl file compiles without a word under perl -wc.

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

done_testing;
