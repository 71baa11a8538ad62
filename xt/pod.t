use v5.14;
use warnings;

# POD is correct, and every public subroutine of every module is documented.

use File::Find qw(find);
use Pod::Checker;
use Pod::Coverage;
use Test::More;

my (@modules, @pages, @programs);
find({ no_chdir => 1, wanted => sub { push @modules,  $_ if /\.pm\z/; push @pages, $_ if /\.pod\z/ } }, 'lib');
find({ no_chdir => 1, wanted => sub { push @programs, $_ if -f && /\.pl\z/ } }, grep { -d } qw(eg bench));

for my $file ('README.pod', 'CONTRIBUTING.pod', 'script/kafka', sort(@modules), sort(@pages), sort(@programs)) {
    my $checker = Pod::Checker->new(-warnings => 1);
    open my $complaints, '>', \my $text or die $!;
    $checker->parse_from_file($file, $complaints);
    my $wrong = $checker->num_errors + $checker->num_warnings;
    my $right = $checker->num_errors < 0 ? $file !~ /\.pm\z|\.pod\z/ : $wrong == 0;    # -1: no POD at all
    ok $right, "$file: podchecker is content" or diag $text // 'no POD';
}

# What the documentation of EV::Kafka describes, whichever package holds it.
my $reference = do { local (@ARGV, $/) = 'lib/EV/Kafka.pm'; <> };
my %described = map { $_ => 1 } $reference =~ /^=(?:item|head\d)\s+(?:C<)?(?:\$\w+->)?([a-z]\w*)/mg;

unshift @INC, 'blib/lib', 'blib/arch';
for my $file (sort @modules) {
    (my $package = $file) =~ s{^lib/|\.pm\z}{}g;
    $package =~ s{/}{::}g;
    my $coverage = Pod::Coverage->new(package => $package, pod_from => $file);
    my @naked    = grep { !$described{$_} } $coverage->uncovered;
    is_deeply \@naked, [], "$package: every public subroutine is documented"
        or diag $coverage->why_unrated // ();
}

done_testing;
