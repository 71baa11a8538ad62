use v5.14;
use warnings;

# The files of a crate lean on each other in one direction: reading the source, by its `use` lines
# and paths, finds no circle of files.

use File::Find qw(find);
use Test::More;

# How many files of a crate still stand in circles: the numbers may only fall.
my %IN_CIRCLES = ('ev-kafka' => 6, 'kafka-conn' => 5, 'kafka-mock' => 14, 'kafka-wire' => 6, 'perl-xs' => 4);

# What a crate's folders and files may lean on, where it has layers: those before them.
my %LAYERS = (
    'ev-kafka' => [
        [qw(ev strings)], [qw(home arguments)], ['conn'], ['api'], [qw(groups functions producer consumer mock)], ['lib'],
    ],
);

for my $crate (map { m{rust/(.*)/src/lib\.rs} } glob 'rust/*/src/lib.rs') {
    my $files = files_of($crate);
    my $leans = arrows($files);
    my @circles = circles($leans);
    my $allowed = $IN_CIRCLES{$crate} // 0;
    cmp_ok +(map { @$_ } @circles), '<=', $allowed, "$crate: files in circles" or diag map { "@$_\n" } @circles;
    my $layers = $LAYERS{$crate} or next;
    is_deeply [against($leans, $layers)], [], "$crate: nothing leans on what lies above it";
}

done_testing;

# { file => { path, uses, reexported, globs, items, code } }: its module, and what parsed finds in it.
sub files_of {
    my ($crate) = @_;
    my $top = "rust/$crate/src";
    my %files;
    find({ no_chdir => 1, wanted => sub { /\.rs\z/ and $files{ substr $_, length "$top/" } = read_file($_) } }, $top);
    for my $name (keys %files) {
        my @path = split m{/}, $name =~ s/\.rs\z//r;
        pop @path if @path && $path[-1] eq 'mod' || $name eq 'lib.rs';
        $files{$name} = { path => \@path, parsed($files{$name}) };
    }
    return \%files;
}

sub read_file {
    my ($name) = @_;
    open my $in, '<', $name or die "$name: $!";
    local $/;
    return scalar readline $in;
}

# What a source says, without comments, strings and tests.
sub parsed {
    my ($source) = @_;
    $source =~ s/^#\[cfg\(test\)\]\n(?:mod|pub mod) \w+ \{\n.*?^\}\n//gms;
    $source =~ s{//.*}{}g;
    $source =~ s/"(?:[^"\\]|\\.)*"/""/gs;
    my (%uses, %reexported, @globs);
    $source =~ s{^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);}{
        my ($public, $tree) = ($1, $2);
        for my $path (expanded($tree)) {
            my ($from, $as) = split / as /, $path;
            my @parts = split /::/, $from;
            if ($parts[-1] eq '*') { pop @parts; push @globs, \@parts; next }
            pop @parts if $parts[-1] eq 'self';
            $as //= $parts[-1];
            $uses{$as} = \@parts;
            $reexported{$as} = 1 if $public;
        }
        '';
    }gems;
    my %items = map { $_ => 1 } $source =~ /\b(?:struct|enum|fn|trait|type|const|static|union|macro_rules!)\s+(\w+)/g;
    return (uses => \%uses, reexported => \%reexported, globs => \@globs, items => \%items, code => $source);
}

# a::{b, c::{d, e}} as a::b, a::c::d, a::c::e
sub expanded {
    my ($tree) = @_;
    $tree =~ s/\s+/ /g;
    $tree =~ s/^ | $//g;
    my ($prefix, $inner) = $tree =~ /^(.*?)\{(.*)\}$/ or return $tree;
    my ($depth, @parts) = (0, '');
    for my $char (split //, $inner) {
        $depth++ if $char eq '{';
        $depth-- if $char eq '}';
        if ($char eq ',' && !$depth) { push @parts, ''; next }
        $parts[-1] .= $char;
    }
    return map { expanded($prefix . s/^ +| +$//gr) } grep { /\S/ } @parts;
}

# { file => { other file => 1 } }
sub arrows {
    my ($files) = @_;
    my %module = map { join('::', @{ $files->{$_}{path} }) => $_ } keys %$files;
    my %leans;
    for my $name (keys %$files) {
        my $file = $files->{$name};
        my @paths = map { $file->{uses}{$_} } grep { !$file->{reexported}{$_} || $file->{code} =~ /\b$_\b/ } keys %{ $file->{uses} };
        push @paths, map { [@$_, '*'] } @{ $file->{globs} };
        # Paths in the code that begin at the crate, above, or in a module below.
        push @paths, map { [split /::/] } $file->{code} =~ /(?<![\w:])((?:\w+::)+\w+)/g;
        for my $path (@paths) {
            my $to = resolved($files, \%module, $name, @$path) // next;
            $leans{$name}{$to} = 1 if $to ne $name;
        }
    }
    return \%leans;
}

# The file that defines what a path names in a file; nothing for what is not the crate's.
sub resolved {
    my ($files, $module, $name, @path) = @_;
    my @at = @{ $files->{$name}{path} };
    if ($path[0] eq 'crate') { shift @path; @at = () }
    elsif ($path[0] eq 'self') { shift @path }
    elsif ($path[0] eq 'super') { while (@path && $path[0] eq 'super') { shift @path; pop @at } }
    elsif (!$module->{ join '::', @at, $path[0] }) { return }
    for my $step (1 .. 20) {
        while (@path && $module->{ join '::', @at, $path[0] }) { push @at, shift @path }
        my $here = $module->{ join '::', @at } // return;
        return $here if !@path || $path[0] eq '*' || $files->{$here}{items}{ $path[0] };
        my $used = $files->{$here}{uses}{ $path[0] };
        if (!$used) {
            my @found = grep { defined } map { resolved($files, $module, $here, @$_, $path[0]) } @{ $files->{$here}{globs} };
            my ($defines) = grep { $files->{$_}{items}{ $path[0] } } @found;
            return $defines // $here;
        }
        return resolved($files, $module, $here, @$used, @path[1 .. $#path]) // $here;
    }
}

# Groups of files each of which leads to all others: [[name, …], …]
sub circles {
    my ($leans) = @_;
    my %reach;
    for my $from (keys %$leans) {
        my @next = keys %{ $leans->{$from} };
        while (defined(my $to = pop @next)) {
            push @next, keys %{ $leans->{$to} || {} } if !$reach{$from}{$to}++;
        }
    }
    my (%seen, @circles);
    for my $file (sort keys %reach) {
        next if !$reach{$file}{$file} || $seen{$file};
        my @circle = sort grep { $reach{$file}{$_} && $reach{$_} && $reach{$_}{$file} } keys %{ $reach{$file} };
        $seen{$_} = 1 for @circle;
        push @circles, \@circle;
    }
    return @circles;
}

# Arrows that point upwards, or from one folder to another of the same layer.
sub against {
    my ($leans, $layers) = @_;
    my $room = sub { $_[0] =~ m{\A(\w+)}; $1 };
    my %height;
    $height{$_->[0]} = $_->[1] for map { my $n = $_; map { [$_, $n] } @{ $layers->[$n] } } 0 .. $#$layers;
    my @against;
    for my $from (sort keys %$leans) {
        for my $to (sort keys %{ $leans->{$from} }) {
            my ($one, $other) = map { $room->($_) } $from, $to;
            my ($high, $low) = map { $height{$_} // die "$_ is in no layer" } $one, $other;
            push @against, "$from -> $to" if $one ne $other && $high <= $low;
        }
    }
    return @against;
}
