use strict;
use warnings;

use File::Temp ();
use Test::More;

# Each recipe of EV::Kafka::Testing is a test that passes.

my $pod = 'lib/EV/Kafka/Testing.pod';
open my $in, '<', $pod or die "$pod: $!";
my ($heading, $block, @recipes) = ('', '');

sub ends {
    push @recipes, [$heading, $block] if $block =~ /\S/;
    $block = '';
    return;
}

while (my $line = <$in>) {
    if    ($line =~ s/\A {4}//)            { $block .= $line }
    elsif ($line !~ /\S/)                  { $block .= "\n" }
    elsif ($line =~ /\A=head1 (.*)/)       { ends(); $heading = $1 }
    else                                   { ends() }
}
ends();
cmp_ok scalar(@recipes), '>=', 8, 'there are recipes';

for my $recipe (@recipes) {
    my ($name, $code) = @$recipe;
    my $file = File::Temp->new(SUFFIX => '.t');
    print {$file} $code;
    close $file;
    open my $run, '-|', $^X, (map { "-I$_" } grep { !ref } @INC), "$file" or die "$^X: $!";
    my $said = do { local $/; readline $run };
    close $run;
    is $?, 0, $name or diag $said;
    like $said, qr/^1\.\.[1-9]/m, 'it is a test';
    unlike $code, qr/\t/, 'without tabs';
}

done_testing;
