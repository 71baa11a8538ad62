package ErrorTexts;
use v5.14;
use warnings;

# The texts of errors and notices: those that are in the code, and those of the page that explains them.

# Modules that tell nobody anything but by croak, or are no part of a client.
my $PERL_WITHOUT = qr{/Kafka/Tool(?:/|\.pm\z)|/Kafka/(?:Mock|Farewell|Options|Security|Strings|Promises|Admin/Arguments)\.pm\z|/Options/|/Message\.pm\z|CommitArguments|Internals};

# The same of Rust: what a method finds in its arguments it croaks with.
my $RUST_WITHOUT = qr{/(?:kafka-mock|perl-xs)/|/ev-kafka/src/(?:mock|arguments)|/(?:functions|ev|strings|groups|seen|declare|messages/\w+|primitives)\.rs\z};

# What is said of a literal that nobody is told as an error, by what stands before it.
my $PERL_CROAKS = qr/\b(?:croak|carp|confess|die|warn|_bad|_refuse|check_\w+)\b[^;]*\z/;

# Lines of a log, and who makes them.
my $PERL_LOGS    = qr/->_?log\w*\([^;]*\z/;
my $PERL_LOGGERS = qr/\A(?:_?log|_log_\w+|_throttled)\z/;
my $RUST_CROAKS = qr/(?:\.error\((?:&?format!\()?|Croak::(?:from|new)\((?:format!\()?|expect\(|panic!\(|debug_assert\w*!\([^;]*)\s*\z/;

# One literal and what it is made of: { file, text, fixed }, fixed the parts between placeholders.
sub in_code { return grep { _is_text($_) } all_in_code(@_) }

# Single words among them.
sub all_in_code {
    my (@files) = @_;
    state %of;
    return map { @{ $of{$_} ||= [/\.rs\z/ ? _of_rust($_) : _of_perl($_)] } } @files;
}

sub files { return grep { /\.pm\z/ ? !/$PERL_WITHOUT/ : "/$_" !~ $RUST_WITHOUT } all_files() }

sub all_files { return grep { m{\Alib/.*\.pm\z|\Arust/[^/]+/src/.*\.rs\z} && -e } split /\n/, `git ls-files -co --exclude-standard lib rust` }

sub _of_perl {
    my ($file) = @_;
    my $code = _slurp($file) =~ s/^__END__\n.*//msr;
    my ($before, @found) = ('');
    while ($code =~ /\G(?:
          (?<comment>(?<=\s)\#[^\n]*|\A\#[^\n]*)
        | (?<literal>(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))*)
        | (?<regex>(?:=~\s*(?:s|m|tr)?|[(,]\s*|\bsplit\s+|\bqr|\bm|\bif\s+)\/(?:[^\/\\\n]|\\.)+\/)
        | (?<other>[^"'#\/\s]+|.)
    )/gsx) {
        next if defined $+{comment};
        $before = substr $before, -2000 if length $before > 8000;
        if (defined(my $literal = $+{literal})) {
            my $text = join '', map { _perl_text($_) } $literal =~ /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g;
            push @found, _literal($file, $text, qr/\$\{\\(?:[^{}]|\{[^{}]*\})*\}|[\$\@]\w+(?:->)?(?:[\[\{][^\]\}]*[\]\}](?:->)?)*|%[.\d]*[sfd]/)
                unless _is_said_elsewhere($before);
            $before .= '""';
        }
        else { $before .= $+{regex} // $+{other} }
    }
    return grep { $_ } @found;
}

sub _is_said_elsewhere {
    my ($before) = @_;
    my ($sub)       = $before =~ /.*^sub (\w+)/ms;
    my ($statement) = $before =~ /([^;{}]*)\z/;
    return 1 if ($sub // '') =~ $PERL_LOGGERS || $statement =~ $PERL_CROAKS;
    # With what stands within brackets of its own.
    return substr($before, -300) =~ /(?:\A|[;}]\s*\n)([^;]*)\z/ && $1 =~ $PERL_LOGS;
}

sub _perl_text {
    my ($literal) = @_;
    my $text = substr $literal, 1, -1;
    return $literal =~ /\A'/ ? $text =~ s/\$/\\\$/gr =~ s/\\'/'/gr : $text =~ s/\\n//gr;
}

sub _of_rust {
    my ($file) = @_;
    my $code = _slurp($file) =~ s/^#\[cfg\(test\)\]\s*mod tests \{.*//msr;
    my ($before, @found) = ('');
    while ($code =~ /\G(?:
          (?<comment>\/\/[^\n]*)
        | (?<char>'(?:\\.|[^\\'])')
        | (?<literal>"(?:[^"\\]|\\.)*")
        | (?<other>[^"'\/]+|.)
    )/gsx) {
        next if defined $+{comment};
        if (defined(my $literal = $+{literal})) {
            my $text = substr($literal, 1, -1) =~ s/\\\n\s*//gr;
            push @found, _literal($file, $text, qr/\{[^}]*\}/) unless substr($before, -200) =~ $RUST_CROAKS;
            $before .= '""';
        }
        else { $before .= $+{other} // '' }
    }
    return grep { $_ } @found;
}

# Words, not a name or a key.
sub _literal {
    my ($file, $text, $placeholder) = @_;
    my @fixed = grep { /\w/ } split $placeholder, $text =~ s/\\(["'\$])/$1/gr;
    return undef unless @fixed;
    return { file => $file, text => $text, fixed => [map { s/\A\s+|\s+\z//gr } @fixed] };
}

sub _is_text { my ($literal) = @_; return grep { /[a-z][,:;]? [a-z]/i || /\w \w+ \w/ } @{ $literal->{fixed} } }

# What of the words of an item no literal has.
sub left_of {
    my ($item, @parts) = @_;
    my @left;
    for my $fixed (@{ $item->{fixed} }) {
        my $left = " $fixed ";
        for my $part (@parts) {
            next if index($left, $part) < 0;
            my ($begin, $end) = ($part =~ /\A\w/ ? qr/(?<!\w)/ : qr//, $part =~ /\w\z/ ? qr/(?!\w)/ : qr//);
            $left =~ s/$begin\Q$part\E$end/ /;
        }
        push @left, grep { /\w/ } map { s/\A\W+|\W+\z//gr } $left;
    }
    return @left;
}

# The items of the page: { text, fixed }, placeholders are I<...>.
sub in_page {
    my ($file) = @_;
    my @items;
    for my $item (_slurp($file) =~ /^=item (.+?)\n\n/msg) {
        my $plain = $item =~ s/\n/ /gr =~ s/E<lt>/</gr =~ s/E<gt>/>/gr =~ s/\A\*\s*//r;
        next if $plain =~ /\A[0-9]+\z/;
        my @fixed = map { s/\A\s+|\s+\z//gr } grep { /\w/ } split /I<[^>]*>/, $plain;
        push @items, { text => $plain =~ s/I<([^>]*)>/$1/gr, fixed => \@fixed };
    }
    return @items;
}

# Whether the one text has all fixed parts of the other, in their order.
sub has {
    my ($text, @fixed) = @_;
    my $from = 0;
    for my $part (@fixed) {
        my $at = index $text, $part, $from;
        return 0 if $at < 0;
        $from = $at + length $part;
    }
    return 1;
}

sub _slurp {
    my ($file) = @_;
    open my $in, '<:encoding(UTF-8)', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

1;
