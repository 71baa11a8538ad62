use v5.14;
use warnings;

# The formatting that no tool applies for us: no tabs (but those of gofmt and make), no spaces at the end of
# a line, a newline at the end of a file, nothing that belongs to one machine.

use ExtUtils::Manifest qw(maniread);
use Test::More;

my @files = map { chomp; $_ } `git ls-files 2>/dev/null`;
@files = sort keys %{ maniread() } unless @files;    # not a clone but a tarball

my @found;
for my $file (grep { -f && -T && !/^(?:LICENSE|Cargo\.lock)$/ } @files) {
    open my $in, '<', $file or die "$file: $!";
    my $last = '';
    while (my $line = <$in>) {
        push @found, "$file:$.: space at the end of the line" if $line =~ /[ \t]\r?$/;
        push @found, "$file:$.: carriage return"              if $line =~ /\r/;
        push @found, "$file:$.: tab"                          if $line =~ /\t/ && $file !~ m{\.go\z|/go\.mod\z|\Adebian/rules\z};
        push @found, "$file:$.: a path of one machine"        if $line =~ m{(?:^|[\s"'=(])/(?:home|root|work)/\w};
        $last = $line;
    }
    push @found, "$file: no newline at its end" if length $last && $last !~ /\n\z/;
}
is_deeply \@found, [], 'every text file is tidy';

done_testing;
