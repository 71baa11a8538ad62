# Loops of callbacks: arguments that are reused while nobody kept them, and everything a callback may do to them.
use strict;
use warnings;
use Test::More;
use List::Util ();
use Scalar::Util qw(weaken refaddr);

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(in_child leaks_nothing);

# what call number $n gets
sub expected { my ($n, $size) = @_; return ['orders', 3, $n, $n % 4 == 3 ? undef : "$n", 'v' x ($size // 10), undef, 1_700_000_000_000 + $n] }

# Runs $abuse in each of the calls, then looks whether each call saw its arguments.
sub abused {
    my ($name, $abuse, %opts) = @_;
    my $count = $opts{count} // 12;
    my (@seen, @warnings);
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is PerlXsTest::consume(sub { push @seen, [@_]; $abuse->(@_) if !$opts{direct}; &$abuse if $opts{direct} }, $count, $opts{size} // 10), $count, "$name: all calls";
    is_deeply \@seen, [map { expected($_, $opts{size}) } 0 .. $count - 1], '... each with its own arguments';
    is_deeply \@warnings, $opts{warnings} // [], '... no warnings' unless $opts{any_warnings};
    return \@warnings;
}

subtest 'plain' => sub {
    abused('nothing done', sub { });
    abused("values of $_ bytes", sub { my @copy = @_ }, size => $_) for 0, 1, 14, 200, 1500, 100_000;
    is PerlXsTest::consume(sub { die }, 0, 10), 0, 'no calls at all';
};

subtest 'what a callback does to its arguments' => sub {
    my @kept;
    my @cases = (
        ['assigned',             sub { $_ = 'changed' for @_ }],
        ['made references',      sub { $_ = [] for @_ }],
        ['made numbers',         sub { $_ = 1.5 for @_ }],
        ['undefined',            sub { undef $_ for @_ }],
        ['made globs',           sub { no warnings; $_ = *STDOUT for @_ }],
        ['made wide',            sub { no warnings; $_ = "\x{263a}" for @_ }],
        ['upgraded',             sub { no warnings; utf8::upgrade($_) for @_ }],
        ['numified',             sub { no warnings; my $x = 0; $x += $_ for @_ }],
        ['stringified',          sub { no warnings; my $x = "@_" }],
        ['appended to',          sub { no warnings; $_ .= 'x' x 1000 for @_ }],
        ['chopped',              sub { no warnings; chop $_ for @_ }],
        ['incremented',          sub { no warnings; $_++ for @_ }],
        ['matched with pos',     sub { no warnings; /./g for @_ }],
        ['substituted',          sub { no warnings; s/./yy/g for @_ }],
        ['made read-only',       sub { Internals::SvREADONLY($_, 1) for @_ }],
        ['vec',                  sub { no warnings; vec($_[4], 3, 8) = 65 }],
        ['substr as lvalue',     sub { substr($_[4], 0, 1) = 'long' }],
        ['blessed',              sub { bless \$_, 'Some::Class' for @_ }],
        ['kept by reference',    sub { push @kept, \(@_) }],
        ['kept in a closure',    sub { for my $x (@_) { push @kept, sub { $x } } }],
        ['kept and weakened',    sub { push @kept, \$_[2]; weaken($kept[-1]) }],
        ['@_ kept',              sub { push @kept, \@_ }],
        ['copied',               sub { my ($t, $p, $o, $k, $v) = @_; push @kept, $v }],
        ['localized',            sub { local @_ = (1, 2) }],
        ['aliased',              sub { for (@_) { local $_ = 1 } }],
        ['default assigned',     sub { $_[5] ||= 'default'; $_[3] //= 'k' }],
    );
    abused("by a copy: $_->[0]", $_->[1]) for @cases;
    abused($_->[0], $_->[1], direct => 1) for @cases;
    @kept = ();
};

subtest 'what a callback does to @_' => sub {
    my @kept;
    for my $case (
        ['shifted',       sub { shift; shift }],
        ['emptied',       sub { @_ = () }],
        ['replaced',      sub { @_ = (1 .. 50) }],
        ['undefined',     sub { undef @_ }],
        ['extended',      sub { push @_, 1 .. 100 }],
        ['spliced',       sub { splice @_, 1, 3, 'x' }],
        ['reversed',      sub { @_ = reverse @_ }],
        ['&-called',      sub { my $inner = sub { shift; $_[0] = 1 }; &$inner }],
        ['goto',          sub { goto &{ sub { $_[1] = 'gone' } } }],
        ['shift kept',    sub { push @kept, \shift }],
    ) {
        my @seen;
        my $abuse = $case->[1];
        PerlXsTest::consume(sub { push @seen, [@_]; goto &$abuse }, 10, 10);
        is_deeply \@seen, [map { expected($_) } 0 .. 9], $case->[0];
    }
};

subtest 'tied and magical arguments' => sub {
    { package TiedScalar; our $stored = 0; sub TIESCALAR { bless [] } sub FETCH { 'tied' } sub STORE { $stored++ } }
    my @seen;
    PerlXsTest::consume(sub { push @seen, [@_]; tie $_, 'TiedScalar' for @_ }, 10, 10);
    is_deeply \@seen, [map { expected($_) } 0 .. 9], 'tied ones are replaced';
    is $TiedScalar::stored, 0, '... without a STORE';
};

subtest 'what was kept does not change' => sub {
    my @kept;
    PerlXsTest::consume(sub { push @kept, [\(@_)] }, 20, 50);
    is_deeply [map { [map { $$_ } @$_] } @kept], [map { expected($_, 50) } 0 .. 19], 'references to arguments';
    my @copies;
    PerlXsTest::consume(sub { my @row = @_; push @copies, \@row }, 20, 2000);
    is_deeply \@copies, [map { expected($_, 2000) } 0 .. 19], 'copies that share a buffer';
    my ($once, %seen);
    PerlXsTest::consume(sub { $seen{ refaddr(\$_[4]) }++ }, 100, 50);
    is keys %seen, 1, 'what nobody keeps is the same scalar each time';
};

subtest 'dies' => sub {
    my $warnings = abused('some calls die', sub { die "at $_[2]\n" if $_[2] % 3 == 1 }, any_warnings => 1);
    is_deeply $warnings, [map { "on_message error: at $_\n" } 1, 4, 7, 10], 'each is a warning';
    $warnings = abused('all of them', sub { die { code => 1 } }, any_warnings => 1);
    is @$warnings, 12, '... with an object';
    {
        local $SIG{__WARN__} = sub { die "fatal warning\n" };
        $@ = 'mine';
        is PerlXsTest::consume(sub { die "x\n" }, 10, 10), 10, 'the warnings too';
        is $@, 'mine', '$@ stays';
    }
    no warnings 'exiting';
    my $turns = 0;
    for (1) {
        $turns++;
        local $SIG{__WARN__} = sub { };
        is PerlXsTest::consume(sub { last }, 5, 10), 5, 'last leaves nothing';
        is PerlXsTest::consume(sub { next }, 5, 10), 5, 'nor does next';
    }
    is $turns, 1, 'the loop outside went on';
};

subtest 'loops within loops' => sub {
    my ($outer, $inner) = (0, 0);
    local $SIG{__WARN__} = sub { };
    PerlXsTest::consume(sub {
        my @mine = @_;
        PerlXsTest::consume(sub { $inner++; die "x\n" if $_[2] == 2 }, 5, 30);
        $outer++ if "@_[0 .. 2]" eq "@mine[0 .. 2]" && $_[4] eq $mine[4];
    }, 10, 10);
    is "$outer $inner", '10 50', 'each keeps its arguments';
};

subtest 'callbacks of many kinds' => sub {
    sub named { $main::named++ }
    our $named = 0;
    PerlXsTest::consume(\&named, 3, 1);
    is $named, 3, 'a named sub';
    is PerlXsTest::consume(\&PerlXsTest::count, 3, 1), 3, 'an XSUB';
    { package Nothing; no warnings 'once'; *AUTOLOAD = \&List::Util::shuffle }
    # Were anything left on perl's stack, it would be found in what is given back.
    for ([\&List::Util::shuffle, 'an XSUB that gives something back'], [\&Nothing::here, 'a sub that is not there, but an AUTOLOAD']) {
        my ($callee, $what) = @$_;
        is_deeply [PerlXsTest::consume($callee, 1000, 1)], [1000], $what;
    }
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    PerlXsTest::consume(\&undefined_sub, 2, 1);
    like $warnings[0], qr/^on_message error: Undefined subroutine &main::undefined_sub called/, 'an undefined one';
    my $self;
    my $calls = 0;
    $self = sub { $calls++; undef $self };
    PerlXsTest::consume($self, 3, 1);
    is $calls, 3, 'one that lets go of itself';
    {
        no warnings 'redefine';
        sub redefined { eval 'sub redefined { $main::new++ }' or 1; $main::old++ }
        our ($old, $new) = (0, 0);
        PerlXsTest::consume(\&redefined, 3, 1);
        is $old + $new, 3, 'one that redefines itself';
    }
    ok +(grep { !/redefine|Undefined/ } @warnings) == 0, 'no other warnings' or diag @warnings;
};

# One that is called often is entered once and then run: that must not show.
subtest 'the tenth call is as the first' => sub {
    my (@got, $itself);
    our $global;
    my %looks = (
        'caller'                => sub { push @got, join ' ', map { $_ // 'undef' } (caller 0)[0 .. 5] },
        'all callers'           => sub { my ($level, @all) = 0; while (my @caller = caller $level++) { push @all, @caller[2, 3] } push @got, "@all" },
        'the caller within'     => sub { push @got, join ' ', sub { (caller 1)[3, 4] }->() },
        '@DB::args'             => sub { package DB; () = caller 0; push @got, "@DB::args[0, 1]" },
        'wantarray'             => sub { push @got, defined wantarray ? 'wanted' : 'void' },
        'its variables'         => sub { my ($x, @y, %z); push @got, join ',', $x // 'new', @y, %z; ($x, @y, %z) = (1 .. 4) },
        'a match before'        => sub { push @got, $1 // 'none'; 'abc' =~ /(b)/ },
        'local'                 => sub { push @got, $global // 'unset'; local $global = 'set' },
        'local $_'              => sub { local $_ = 'mine'; push @got, $_ },
        'a list'                => sub { push @got, scalar @_; (1) x 1000 },
        'return in a list'      => sub { push @got, scalar @_; push @got, 1, (map { return } 1 .. 3), 2 },
        'return in blocks'      => sub { push @got, scalar @_; for my $n (1 .. 3) { eval { 1 }; { return $n } } },
        'sort with a sub'       => sub { push @got, join '', sort { return $a cmp $b } qw(c a b) },
        'itself'                => sub { return push @got, 'inner' if $_[0] eq 'again'; $itself->('again'); push @got, "@_[0, 1]" },
        'itself by &'           => sub { return push @got, 'inner' if $_[1] eq 'again'; local $_[1] = 'again'; &$itself; push @got, "@_[0, 1]" },
        'an eval that dies'     => sub { eval { die "inner\n" }; push @got, $@ },
        'a string that returns' => sub { push @got, eval 'return "of " . scalar @_' },
        'goto'                  => sub { push @got, 'goes'; goto &{ sub { push @got, "@_[0, 1]" } } },
        'goto a place'          => sub { goto THERE; push @got, 'not'; THERE: push @got, 'there' },
        'goto in an eval'       => sub { eval { goto &{ sub { } } }; push @got, $@ },
        'last'                  => sub { no warnings 'exiting'; local $SIG{__WARN__} = sub { }; push @got, 'last'; last },
        'a loop of its own'     => sub { my $n = 0; PerlXsTest::consume(sub { $n++ }, 10, 1) for 1 .. 2; push @got, "$n @_[0, 1]" },
        'itself in that'        => sub { return push @got, 'inner' if local $global = ($global // 0) + 1 and $global > 1; PerlXsTest::consume($itself, 8, 1) },
        'where it warns'        => sub { local $SIG{__WARN__} = sub { push @got, "@_" }; warn 'here' },
        'undef of itself'       => sub { eval { undef &$itself }; push @got, $@ },
        'lvalue'                => sub : lvalue { push @got, scalar @_; my $x },
        'a string of code'      => eval 'sub { push @got, scalar @_ }',
    );
    for my $name (sort keys %looks) {
        $itself = $looks{$name};
        my ($alone, $often) = map { my $count = $_; @got = (); local $SIG{__WARN__} = sub { }; PerlXsTest::consume($itself, $count, 1); [@got] } 1, 10;
        is_deeply $often, [(@$alone) x 10], $name or diag explain $alone, $often;
    }
    my ($status) = in_child(sub { my $calls = 0; PerlXsTest::consume(sub { exit 7 if ++$calls == 8 }, 10, 1) });
    is $status, 7, 'exit ends the process';
    my ($calls, @calls) = 0;
    my $other = sub { push @calls, 'other' };
    PerlXsTest::deliver(sub { my $one = sub { push @calls, 'one' }; [($one) x 8, $other, ($one) x 8] });
    is_deeply \@calls, [('one') x 8, 'other', ('one') x 8], 'another between';
    is leaks_nothing(sub {
        local $SIG{__WARN__} = sub { };
        PerlXsTest::consume(sub { my @copy = @_; my $closure = sub { @copy }; return }, 10, 10);
        PerlXsTest::consume(sub { push @got, \@_; die 'x' if $_[2] == 7 }, 10, 10);
        @got = ();
    }), 0, 'nothing leaks';
};

subtest 'a panic in the loop' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    my $calls = 0;
    is PerlXsTest::loop_panic(sub { $calls++ }), 'went on', 'ends it';
    is $calls, 2, '... after the calls before';
    like $warnings[0], qr/^panicking loop: internal error: no third call/, '... with a warning';
};

subtest 'callbacks that are released' => sub {
    { package Guard; sub new { bless [$_[1]], $_[0] } sub DESTROY { $_[0][0]->() } }
    my @order;
    PerlXsTest::deliver(sub { [map { my $n = $_; my $guard = Guard->new(sub { push @order, "freed $n" }); sub { push @order, "called $n"; $guard } } 1 .. 3] });
    is_deeply \@order, [map { ("called $_", "freed $_") } 1 .. 3], 'go right after their call';
    @order = ();
    local $SIG{__WARN__} = sub { push @order, @_ };
    PerlXsTest::deliver(sub { [map { my $n = $_; my $guard = Guard->new(sub { push @order, "freed $n\n" }); sub { my $held = $guard; die "died $n\n" } } 1 .. 2] });
    is_deeply \@order, ["freed 1\n", "delivery: died 1\n", "freed 2\n", "delivery: died 2\n"], 'also when they die';
    @order = ();
    PerlXsTest::deliver(sub { [sub { my $guard = Guard->new(sub { die "in DESTROY\n" }); 1 }, sub { push @order, 'second' }] });
    like $order[0], qr/\(in cleanup\) in DESTROY/, 'a destructor that dies';
    is $order[1], 'second', '... ends nothing';
};

my @kept;
is leaks_nothing(sub {
    local $SIG{__WARN__} = sub { };
    @kept = ();
    PerlXsTest::consume(sub { push @kept, \$_[4]; die 'x' if $_[2] == 3 }, 10, 100);
    PerlXsTest::consume(sub { $_ = [] for @_ }, 10, 100);
    PerlXsTest::consume(sub { bless \$_, 'Some::Class' for @_ }, 5, 100);
    PerlXsTest::deliver(sub { [map { my $x = $_; sub { die { x => $x } if $x == 2 } } 1 .. 3] });
    PerlXsTest::loop_panic(sub { });
    @kept = ();
}), 0, 'nothing leaks';

subtest 'up to the first die' => sub {
    my $calls = 0;
    my @outcome = PerlXsTest::deliver_until_died(sub { die "third\n" if ++$calls == 3 }, 5);
    is_deeply \@outcome, ['died', "third\n"], 'which is the outcome';
    is $calls, 3, 'and the last call';
    $calls = 0;
    is_deeply [PerlXsTest::deliver_until_died(sub { $calls++ }, 5)], ['returned'], 'without one';
    is $calls, 5, 'all are made';
    my $object = bless [], 'Error';
    is +(PerlXsTest::deliver_until_died(sub { die $object }, 5))[1], $object, 'an object is given as it is';
    my ($status) = in_child(sub { PerlXsTest::deliver_until_died(sub { exit 7 }, 5) });
    is $status, 7, 'exit ends the process';
    is leaks_nothing(sub { PerlXsTest::deliver_until_died(sub { die "oops\n" }, 2) }), 0, 'nothing leaks';
};

done_testing;
