# The tests of perl-xs under valgrind: no error in memory, no leak below one of its functions.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/../t/lib";
use File::Temp qw(tempdir);
use PerlXsTest ();

my ($valgrind) = grep { -x } map { "$_/valgrind" } split /:/, $ENV{PATH};
plan skip_all => 'valgrind is not installed' unless $valgrind;

my $folder = tempdir(CLEANUP => 1);
$ENV{PERL_XS_TEST_VALGRIND} = 1;
# Perl's hash seeds decide what valgrind sees; freed arenas hide errors of their own.
@ENV{qw(PERL_HASH_SEED PERL_PERTURB_KEYS)} = (0, 0);
# The library that is loaded here is built.
$ENV{PERL_XS_TEST_LIBRARY} = $PerlXsTest::file;

# Frames of errors that are perl's own: an overlapping copy in Cwd; stacks that grew, and arenas of bodies that perl took, below
# one of our calls and are not freed at perl's end.
my $perls_own = qr/Cwd\.so|Perl_(?:more_bodies|tmps_grow_p|push_scope|stack_grow|new_stackinfo|savestack_grow|markstack_grow|cxinc)\b/;

# Errors of any kind, and leaks that have one of our frames in their stack.
sub complaints {
    my ($file) = @_;
    open my $log, '<', $file or die "$file: $!";
    my $text = do { local $/; <$log> } // '';
    $text =~ s/^==\d+== ?//mg;
    my @blocks = grep { /\S/ } split /\n\s*\n/, $text;
    return grep { !/$perls_own/ && (!/definitely lost/ || /libperl_xs_testmod|perl_xs/) } @blocks;
}

for my $test (map { "$FindBin::Bin/../t/perl-xs/$_.t" } qw(values magic objects calls fast loop template threads)) {
    my ($name) = $test =~ m{([^/]+)\.t\z};
    my $log = "$folder/$name";
    my @command = (
        $valgrind, '--quiet', '--leak-check=full', '--show-leak-kinds=definite', '--errors-for-leak-kinds=definite',
        '--num-callers=30', "--log-file=$log.%p", $^X, "-I$FindBin::Bin/../t/lib", $test,
    );
    open my $pipe, '-|', @command or die "valgrind: $!";
    my $tap = do { local $/; <$pipe> };
    close $pipe;
    is $?, 0, "$name passes" or diag $tap;
    is_deeply [map { complaints($_) } glob "$log.*"], [], "$name: no complaints";
}

done_testing;
