use v5.14;
use warnings;

# The page on how things are put together names every file of lib/, and no file that is
# not there.

use File::Find qw(find);
use Test::More;

my $page = do { local (@ARGV, $/) = 'lib/EV/Kafka/Internals.pod'; <> };
my ($map) = $page =~ /^=head1 THE FILES\n(.*?)^=head1/ms or BAIL_OUT('there is no map of the files');

my @files;
find({ no_chdir => 1, wanted => sub { push @files, s{\Alib/}{}r if /\.(?:pm|pod)\z/ } }, 'lib');
my %times;
$times{$_}++ for $map =~ /F<(EV\/[^>]+)>/g;
is_deeply [sort keys %times], [sort @files], 'the map names every file of lib/';
is_deeply [grep { $times{$_} > 1 } sort keys %times], [], 'each of them once';

# Elsewhere files are named from where the text is about.
my @roots = ('', 'lib/', 'lib/EV/Kafka/', 'rust/ev-kafka/src/', 'rust/kafka-wire/src/', 't/lib/');
my @lost  = grep { my $name = $_; !grep { -e "$_$name" } @roots } $page =~ /F<([^>]+)>/g;
is_deeply \@lost, [], 'what is named is there';

# The manual names what holds its promises, and programs to look at.
for my $manual (sort glob 'lib/EV/Kafka/Manual/*.pod') {
    my $text = do { local (@ARGV, $/) = $manual; <> };
    is_deeply [grep { !-e } $text =~ /F<([^>]+)>/g], [], "what $manual names is there";
}

done_testing;
