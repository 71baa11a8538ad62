package Documentation;
use strict;
use warnings;

use Exporter qw(import);
use File::Find qw(find);

# The code that documentation shows: where it stands, and what it is.

our @EXPORT = qw(pages blocks_of kind_of runnable);

# Every file whose POD is documentation.
sub pages {
    my @pages;
    find({ no_chdir => 1, wanted => sub { push @pages, $_ if /\.(?:pm|pod)\z/ } }, 'lib');
    return ('README.pod', sort @pages);
}

# The verbatim paragraphs, those that follow each other as one: { file, line, section, text }.
sub blocks_of {
    my ($file) = @_;
    open my $in, '<:encoding(UTF-8)', $file or die "$file: $!";
    my ($is_pod, $section, $block, @blocks) = (0, '');
    while (my $line = <$in>) {
        if (my ($command, $rest) = $line =~ /^=([a-z]\w*) *(.*)/) {
            $is_pod  = $command ne 'cut';
            $section = $rest if $command =~ /^(?:head|item)/;
            undef $block;
        }
        elsif ($is_pod && $line =~ /^[ \t]+\S/) {
            push @blocks, $block = { file => $file, line => $., section => $section, text => '' } unless $block;
            $block->{text} .= $line;
        }
        elsif ($line =~ /\S/) { undef $block }
        elsif ($block)        { $block->{text} .= "\n" }
    }
    return @blocks;
}

# program: of its own. options: pairs for new or subscribe. fragment: statements inside a program.
# The rest is not Perl: a shell's commands, the shape of a value, a table.
sub kind_of {
    my ($text) = @_;
    my ($first) = $text =~ /(\S.*)/;
    return 'shell' if $first =~ /\A(?:\$ |#!|(?:perl|cpanm|prove|make|cargo|export|script\/\S+|ev-kafka|apt-get|sudo|docker|git|cd|[A-Z_]+=\S+) )/;
    return 'shape' if $first =~ /\A\{/ || $text !~ /^\s*[^#\s]/m;
    return 'table' unless $text =~ /[\$\@%]\w|=>|;[ \t]*(?:#.*)?$/m;
    return 'options' if $first =~ /\A\w+\s*=>/;
    return 'program' if $first =~ /\A(?:#.*|use\b.*)\z/ && $text =~ /^\s*use EV::Kafka/m && $text =~ /EV::run|->get\b|->recv\b|->wait\b|done_testing/;
    return 'fragment';
}

# The code as perl takes it: what three dots leave out is left out.
sub runnable {
    my ($text) = @_;
    $text =~ s/(?<=[;{])\s*\.\.\.\s*(?=[;}])//g;     # sub { ... }
    $text =~ s/,\s*\.\.\.(?=\s*[,)\]])//g;           # f(x, ...)
    $text =~ s/^\s*\.\.\.[,;]?\s*$//mg;              # on a line of its own
    return $text;
}

1;
