package Crates;
use v5.14;
use warnings;

use File::Find qw(find);

use Circles qw(circles);

# Reads the source of a crate and says which file uses what of which other one, by the paths that
# it writes. What a file passes on with `pub use` is no use of its own, and is looked for where it
# comes from. Declaring a module, tests, and what a submodule uses of the module that it is a part
# of do not count.

# new('rust/kafka-wire')
sub new {
    my ($class, $crate) = @_;
    my $self = bless { crate => $crate, modules => {}, passed_on => {} }, $class;
    my @files;
    find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.rs\z/ } }, "$crate/src");
    for my $file (sort @files) {
        my $path = $file =~ s{\A\Q$crate\E/src/}{}r =~ s{\.rs\z}{}r =~ s{(?:\A|/)(?:mod|lib|main)\z}{}r =~ s{/}{::}gr;
        $self->{modules}{$path} = { path => $path, file => $file =~ s{\A\Q$crate\E/}{}r, text => _text_of($file) };
    }
    $self->_read_uses($_) for $self->_modules;
    $self->_find_arrows($_) for $self->_modules;
    return $self;
}

# Lists of files.
sub circles_of { my ($self) = @_; return circles($self->{arrows} || {}) }

sub arrows {
    my ($self) = @_;
    my $arrows = $self->{arrows} || {};
    return map { my $from = $_; map { "$from $_" } sort keys %{ $arrows->{$from} } } sort keys %$arrows;
}

# Layers from the lowest on, each a list of folders and files right below src: the arrows that point
# upwards, or from one of a layer to another.
sub against {
    my ($self, @layers) = @_;
    my %height = map { my $height = $_; map { $_ => $height } @{ $layers[$height] } } 0 .. $#layers;
    return grep {
        my ($from, $to) = map { m{\Asrc/(\w+)}; $1 } split ' ';
        $from ne $to && ($height{$from} // die "$from is in no layer") <= ($height{$to} // die "$to is in no layer");
    } $self->arrows;
}

sub _modules { my ($self) = @_; return map { $self->{modules}{$_} } sort keys %{ $self->{modules} } }

# Without comments, strings and tests.
sub _text_of {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    my $text = do { local $/; <$in> };
    $text =~ s{//.*$}{}mg;
    $text =~ s{b?"(?:[^"\\]|\\.)*"}{""}gs;
    my $block; $block = qr/\{(?:[^{}]|(??{ $block }))*\}/;
    $text =~ s/#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))? )?mod \w+\s*(?:;|$block)//g;
    $text =~ s/#\[cfg\(test\)\]\s*use [^;]*;//g;
    return $text;
}

# Every `use` as a list of whole paths: a name here => a path there.
sub _read_uses {
    my ($self, $module) = @_;
    my @uses;
    $module->{text} =~ s{^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]*);}{
        my ($is_passed_on, $tree) = ($1, $2);
        push @uses, map { [$is_passed_on, @$_] } _leaves($tree =~ s/\s+/ /gr);
        '';
    }gme;
    for my $use (@uses) {
        my ($is_passed_on, $path, $name) = @$use;
        my $absolute = $self->_absolute($module, $path) // next;
        if ($is_passed_on) {
            $self->{passed_on}{ $module->{path} }{$name} = $absolute;
            # Also used here?
            next if $name eq '*' || $module->{text} !~ /\b\Q$name\E\b/;
        }
        push @{ $module->{paths} }, $absolute;
    }
    return;
}

# a::{b, c::{self, d as e}} -> [a::b, b], [a::c, c], [a::c::d, e]
sub _leaves {
    my ($tree) = @_;
    $tree =~ s/\A\s+|\s+\z//g;
    if ($tree =~ /\A(.*?)\{(.*)\}\z/s) {
        my ($prefix, $inner) = ($1, $2);
        my ($depth, @parts) = (0, '');
        for my $char (split //, $inner) {
            $depth++ if $char eq '{';
            $depth-- if $char eq '}';
            if ($char eq ',' && !$depth) { push @parts, '' }
            else                         { $parts[-1] .= $char }
        }
        return map { _leaves($prefix . $_) } map { s/\A\s+|\s+\z//gr } grep { /\S/ } @parts;
    }
    my $name = $tree =~ s/\A(.*?) as (\w+)\z/$1/ ? $2 : undef;
    $tree =~ s/::self\z//;
    return [$tree, $name // $tree =~ s/.*:://r];
}

# From the root of the crate, or undef for what is not of it.
sub _absolute {
    my ($self, $module, $path) = @_;
    my @at = split /::/, $module->{path};
    my ($first, @rest) = split /::/, $path;
    if ($first eq 'crate') { return join '::', @rest }
    if ($first eq 'self')  { return join '::', @at, @rest }
    if ($first eq 'super') {
        pop @at;
        while (@rest && $rest[0] eq 'super') { shift @rest; pop @at }
        return join '::', @at, @rest;
    }
    my $child = join '::', @at, $first;
    return $self->{modules}{$child} ? join '::', $child, @rest : undef;
}

sub _find_arrows {
    my ($self, $module) = @_;
    my @paths = @{ $module->{paths} || [] };
    while ($module->{text} =~ /(?<![\w:])((?:\$?crate|super|self|[a-z]\w*)(?:::\w+)+)/g) {
        push @paths, $self->_absolute($module, $1 =~ s/\A\$//r) // next;
    }
    for my $path (@paths) {
        my $to = $self->_home_of($path, 0);
        $self->{arrows}{ $module->{file} }{ $to->{file} } = 1 if $to && !_is_part_of($module, $to);
    }
    return;
}

sub _is_part_of {
    my ($module, $whole) = @_;
    return $module == $whole || length $whole->{path} && index("$module->{path}::", "$whole->{path}::") == 0;
}

# The module in which the last name of a path is written down.
sub _home_of {
    my ($self, $path, $depth) = @_;
    return if $depth > 10;
    my @names = split /::/, $path;
    my @rest;
    until ($self->{modules}{ join '::', @names }) { unshift @rest, pop @names }
    my $at = join '::', @names;
    return $self->{modules}{$at} unless @rest;
    my $passed_on = $self->{passed_on}{$at} || {};
    if (defined(my $there = $passed_on->{ $rest[0] })) {
        return $self->_home_of(join('::', $there, @rest[1 .. $#rest]), $depth + 1);
    }
    return $self->{modules}{$at};
}

1;
