use v5.14;
use warnings;

# Every program of script/ says what it is for, and needs no build for that, from wherever it is called.

use Cwd qw(getcwd);
use Test::More;

my $checkout = getcwd();
for my $script (grep { -f && -x } sort glob 'script/*') {
    my ($name) = $script =~ m{([^/]+)\z};
    for my $call (["$checkout/$script", '/'], ["./$name", "$checkout/script"]) {
        my ($path, $folder) = @$call;
        open my $in, '-|', 'sh', '-c', 'cd "$1" && PERL5LIB= "$2" --help', 'sh', $folder, $path or die "$script: $!";
        my $said = do { local $/; readline $in };
        close $in;
        is $?, 0, "$path --help in $folder";
        like $said, qr/^\s*(?:perl )?script\/\Q$name\E\b/m, 'says how it is called';
    }
    open my $in, '-|', 'sh', '-c', '"$1" --no-such-option 2>/dev/null', 'sh', $script or die "$script: $!";
    my $said = do { local $/; readline $in };
    close $in;
    isnt $?, 0, "$script refuses what it does not know";
    is $said // '', '', 'and says so on standard error';
}

# Those of bench/ may have been built, but the folder is anybody's.
for my $program (sort glob 'bench/*.pl') {
    my ($name) = $program =~ m{([^/]+)\z};
    open my $in, '-|', 'sh', '-c', 'cd / && PERL5LIB= "$1" "$2" --help', 'sh', $^X, "$checkout/$program" or die "$program: $!";
    my $said = do { local $/; readline $in };
    close $in;
    is $?, 0, "$program --help";
    like $said, qr/^NAME\n +\Q$name\E - .*^SYNOPSIS\n/ms, 'says what it is for';
}

done_testing;
