use v5.14;
use warnings;

use lib 'xt/lib';

use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

use Crates;

# In no crate do files use each other in a circle. CRATES=1 in the environment, or the name of a
# crate, lists the arrows of what does.

# What a crate's folders and files may lean on, where it has layers: those before them.
my %LAYERS = (
    'ev-kafka' => [
        [qw(ev strings problem)], [qw(home arguments wall)], ['conn'], ['api'], [qw(groups functions producer consumer mock)], ['share'], ['lib'],
    ],
);

subtest 'what is looked for is found' => sub {
    my $directory = tempdir(CLEANUP => 1);
    my %file = (
        'lib.rs'      => "mod a;\nmod b;\nmod c;\nmod d;\nmod e;\npub use a::{First, Second as Other};\n",
        'a.rs'        => "pub struct First;\npub struct Second;\nfn f() { crate::b::g::<u8>() }\n",
        'b.rs'        => "use crate::{\n    c::{self, inner::{Deep}},\n};\n",
        'c.rs'        => "pub mod inner;\nuse super::d;\n",
        'c/inner.rs'  => "pub struct Deep;\nuse super::super::Other;\n",
        'd/mod.rs'    => "mod part;\nuse part::Part;\npub struct Whole;\n// use crate::a;\nconst TEXT: &str = \"crate::a::First\";\n#[cfg(test)]\nmod tests {\n    use crate::a::First;\n    fn t() { if true {} }\n}\n",
        'd/part.rs'   => "use super::Whole;\npub struct Part;\n",
        'e.rs'        => "macro_rules! m { () => { \$crate::a::First } }\n",
    );
    for my $name (sort keys %file) {
        make_path(dirname("$directory/src/$name"));
        open my $out, '>', "$directory/src/$name" or die "$name: $!";
        print $out $file{$name};
        close $out;
    }
    my $crate = Crates->new($directory);
    is_deeply [$crate->arrows], [map { s/(\S+)/src\/$1.rs/gr }
        'a b', 'b c', 'b c/inner', 'c d/mod', 'c/inner a', 'd/mod d/part', 'e a'], 'arrows';
    is_deeply [$crate->circles_of], [['src/a.rs', 'src/b.rs', 'src/c/inner.rs']], 'circles';
    is_deeply [$crate->against(['d'], [qw(b c)], ['a'], [qw(e lib)])], ['src/b.rs src/c.rs', 'src/b.rs src/c/inner.rs', 'src/c/inner.rs src/a.rs'],
        'what leans on what does not lie below it';
};

my $shown = $ENV{CRATES} // '';
for my $directory (sort glob 'rust/*') {
    my ($name)  = $directory =~ m{([^/]+)\z};
    my $crate   = Crates->new($directory);
    my @circles = $crate->circles_of;
    is_deeply [map { join ' ', @$_ } @circles], [], "$name: circles";
    is_deeply [$crate->against(@{ $LAYERS{$name} })], [], "$name: nothing leans on what does not lie below it" if $LAYERS{$name};
    next unless $shown eq '1' || $shown eq $name;
    for my $circle (@circles) {
        my %is_in = map { $_ => 1 } @$circle;
        diag "$name:", map { "\n    $_" } grep { !grep { !$is_in{$_} } split ' ' } $crate->arrows;
    }
}

done_testing;
