# The XSUB for hot paths: which calls it takes, which it hands to the fallback, and with what.
use strict;
use warnings;
use Test::More;
use Scalar::Util ();

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(leaks_nothing);

{
    package Tied;
    sub TIESCALAR { my ($class, $fetch) = @_; return bless { fetch => $fetch, count => 0 }, $class }
    sub FETCH { my ($self) = @_; $self->{count}++; return $self->{fetch}->() }
    package TiedHash;
    require Tie::Hash;
    our @ISA = ('Tie::StdHash');
    sub TIEHASH { my ($class, %of) = @_; return bless {%of}, $class }
    package TiedArray;
    require Tie::Array;
    our @ISA = ('Tie::StdArray');
    sub TIEARRAY { my ($class, @of) = @_; return bless [@of], $class }
    package Text;
    use overload '""' => sub { $_[0]{text}->() }, fallback => 1;
    sub new { my ($class, $text) = @_; return bless { text => $text }, $class }
}

sub calls { my @calls = @PerlXsTest::Log::calls; @PerlXsTest::Log::calls = (); return \@calls }

my $log;
sub fresh { $log = PerlXsTest::Log->new; $log->append('first', '', ''); $log->clear; $log->append('', '', ''); calls(); $log->clear; $log->append('-', '-', '-'); calls(); return }
sub entry { my @entries = split /\n/, $log->entries; return $entries[-1] }

subtest 'plain strings' => sub {
    $log = PerlXsTest::Log->new;
    is_deeply [$log->append('topic', 'key', "va\0lue")], [], 'returns nothing';
    is entry(), "topic|key|va\0lue|", 'takes them';
    is_deeply calls(), [['_began', 'PerlXsTest::Log']], 'what the handler asked for is called';
    $log->append('topic', undef, '');
    is entry(), 'topic|undef||', 'undef is not the empty string';
    is_deeply calls(), [], 'nothing else is called';
    $log->append('full', 'k', 'v');
    is_deeply calls(), [['_full', 'PerlXsTest::Log']], 'another method';
    $log->clear;
    $log->append('full', 'k', 'v');
    is_deeply calls(), [['_began', 'PerlXsTest::Log'], ['_full', 'PerlXsTest::Log']], 'both, in order';
};

subtest 'callbacks' => sub {
    fresh();
    my $called = 0;
    $log->append('t', 'k', 'v', sub { $called++ });
    $log->append('t', 'k', 'v', undef);
    $log->append('t', 'k', 'v');
    my @callbacks = $log->callbacks;
    is @callbacks, 1, 'a code reference is kept';
    $callbacks[0]->();
    is $called, 1, '... itself';
    is_deeply calls(), [], 'undef in its place is none';
    my $callback = sub { 'mine' };
    $log->append('t', 'k', 'v', $callback);
    undef $callback;
    is +($log->callbacks)[1]->(), 'mine', 'the variable may go';
};

subtest 'what goes to the fallback, untouched' => sub {
    fresh();
    my $hash = { opt => 1 };
    my $code = sub { };
    my @cases = (
        [['t', 'k', 'v', $hash],        'options'],
        [['t', 'k', 'v', $hash, $code], 'options and a callback'],
        [['t', 'k', 'v', 'string'],     'a string as last argument'],
        [['t', 'k'],                    'too few arguments'],
        [[],                            'none'],
        [['t', [], 'v'],                'a reference as key'],
        [['t', 'k', \'v'],              'a reference as value'],
        [['slow', 'k', 'v'],            'what the handler refuses'],
        [['slow', 'k', 'v', $code],     'with its callback'],
        [['t', *STDOUT, 'v'],           'a glob'],
    );
    for my $case (@cases) {
        my ($args, $name) = @$case;
        is_deeply [$log->append(@$args)], ['slow', 'list'], "$name: its list";
        is scalar($log->append(@$args)), 'slow', '... its scalar';
        is_deeply calls(), [(['_slow', @$args]) x 2], '... and all arguments';
    }
    is entry(), '-|-|-|', 'nothing was appended';
    no warnings 'redefine';
    local *PerlXsTest::Log::_slow = sub { $_[1] = 'changed'; die "slow died\n" };
    my $topic = 'slow';
    ok !eval { $log->append($topic, 'k', 'v'); 1 }, 'its die passes';
    is "$topic $@", "changed slow died\n", 'and @_ is the caller\'s';
};

subtest 'numbers' => sub {
    fresh();
    my ($int, $float) = (42, 1.5);
    $log->append($int, $float, -7);
    is entry(), '42|1.5|-7|', 'are their strings';
    require B;
    ok !(B::svref_2object(\$int)->FLAGS & B::SVf_POK()), '... which the caller\'s variable does not keep';
    "x123" =~ /(\d+)/;
    $log->append($1, 'k', 'v');
    is entry(), '123|k|v|', 'a capture';
    my $wide = "\x{263a}";
    $log->append($wide, 'k', 'v');
    is entry(), "\xe2\x98\xba|k|v|", 'a wide string: its bytes';
};

subtest 'tied and overloaded arguments' => sub {
    fresh();
    my $tied = tie my $t, 'Tied', sub { 'tied' };
    $log->append($t, Text->new(sub { 'text' }), 'v');
    is entry(), 'tied|text|v|', 'are read';
    is $tied->{count}, 1, '... once';
    tie $t, 'Tied', sub { undef };
    $log->append('t', $t, 'v');
    is entry(), 't|undef|v|', 'undef';
    tie $t, 'Tied', sub { 5 };
    $log->append('t', $t, 'v');
    is entry(), 't|5|v|', 'a number';
    tie $t, 'Tied', sub { [] };
    $log->append('t', $t, 'v');
    like calls()->[0][2], qr/^ARRAY/, 'a reference goes to the fallback';
    $tied = tie $t, 'Tied', sub { 'slow' };
    $log->append($t, 'k', 'v');
    is_deeply calls(), [['_slow', 'slow', 'k', 'v']], 'the fallback gets what was read';
    is $tied->{count}, 1, '... once';
    tie $t, 'Tied', sub { die "fetch\n" };
    ok !eval { $log->append('t', $t, 'v'); 1 } && $@ eq "fetch\n", 'a die passes';
    is entry(), 't|5|v|', '... and appends nothing';
};

subtest 'arguments that destroy' => sub {
    fresh();
    my $key = 'k' x 100;
    my $bad = Text->new(sub { undef $key; 'bad' });
    $log->append($bad, $key, 'v');
    is entry(), 'bad|undef|v|', 'another argument';
    my %args = (k => 'k' x 100, v => 'v' x 100);
    $bad = Text->new(sub { %args = (); my @fill = map { "fill$_" } 1 .. 100; 'bad' });
    $log->append($bad, $args{k}, $args{v});
    is entry(), join('|', 'bad', 'k' x 100, 'v' x 100, ''), 'elements are held';
    my $mover = Text->new(sub { my @many = PerlXsTest::echo((1) x 200_000); 'moved' });
    $log->append($mover, 'k', 'v');
    is entry(), 'moved|k|v|', "perl's stack may move";
    my $callback = sub { 'old' };
    $bad = Text->new(sub { $callback = undef; 'bad' });
    $log->append($bad, 'k', 'v', $callback);
    is_deeply calls()->[0], ['_slow', 'bad', 'k', 'v', undef], 'the callback: the fallback sees what is left';
    my $victim = PerlXsTest::Log->new;
    $bad = Text->new(sub { undef $victim; 'bad' });
    ok !eval { $victim->append($bad, 'k', 'v'); 1 }, 'the object';
    like $@, qr/^Can't call method "_slow" on an undefined value/, '... is found missing';
    my %objects = (log => PerlXsTest::Log->new);
    $bad = Text->new(sub { %objects = (); 'bad' });
    $objects{log}->append($bad, 'k', 'v');
    is_deeply calls(), [['_began', 'PerlXsTest::Log']], 'the element that holds the object';
};

subtest 'methods that destroy' => sub {
    my $victim = PerlXsTest::Log->new;
    no warnings 'redefine';
    local *PerlXsTest::Log::_began = sub { undef $victim; push @PerlXsTest::Log::calls, ['_began'] };
    $victim->append('full', 'k', 'v');
    is_deeply calls(), [['_began'], ['_full', 'PerlXsTest::Log']], 'the second one still has the object';
    local *PerlXsTest::Log::_began = sub { die "began\n" };
    ok !eval { PerlXsTest::Log->new->append('t', 'k', 'v'); 1 } && $@ eq "began\n", 'a die passes';
};

subtest 'options' => sub {
    fresh();
    my $code = sub { };
    for my $rest ([{ number => 3 }], [{ number => 3 }, undef], [undef, { number => 3 }], [$code, { number => 3 }], [{ number => 3 }, $code]) {
        $log->append('t', 'k', 'v', @$rest);
        is entry(), 't|k|v|number 3|', scalar(@$rest) . ' more';
    }
    my @cases = (
        [{}, ''],
        [{ number => 0, other => '12' }, 'number 0|other 12|'],
        [{ number => undef, other => 5.0, pairs => undef }, 'other 5|'],
        [{ pairs => [[a => 1], ['', undef], [b => "\x{e9}"], ["\x{263a}", "\x{263a}"]] }, "a=1|=undef|b=\xe9|\xe2\x98\xba+=\xe2\x98\xba+|"],
        [{ pairs => { a => 1.5 } }, 'a=1.5|'],
        [{ pairs => { "\x{263a}" => undef } }, "\xe2\x98\xba+=undef|"],
        [{ pairs => [] }, ''],
        [{ pairs => {} }, ''],
        [{ pairs => [map { [$_, $_] } 1 .. 50] }, join '', map { "$_=$_|" } 1 .. 50],
        [{ number => '999999999999999999' }, 'number 999999999999999999|'],
    );
    for my $case (@cases) {
        my ($options, $said) = @$case;
        $log->append('t', 'k', 'v', $options);
        is entry(), "t|k|v|$said", length $said ? $said : 'nothing said';
    }
    is_deeply calls(), [], 'all of them are for the fast path';
    my $tied;
    tie my $scalar, 'Tied', sub { 1 };
    tie my %tied, 'TiedHash', number => 1;
    tie my @tied, 'TiedArray', [a => 'b'];
    my @no = (
        { unknown => 1 }, { number => -1 }, { number => 1.5 }, { number => '' }, { number => '1 ' }, { number => '1' x 19 }, { number => [] },
        { number => 1e15 }, { number => -0.0 }, { number => Text->new(sub { 1 }) }, { pairs => 1 }, { pairs => [1] }, { pairs => [[1]] }, { pairs => [[1, 2, 3]] },
        { pairs => [[undef, 2]] }, { pairs => [[1, []]] }, { pairs => { a => [] } }, { pairs => [[Text->new(sub { 1 }), 1]] }, { pairs => bless [] }, { pairs => bless {} },
        { pairs => [bless [1, 2]] }, { pairs => \%tied }, { pairs => \@tied }, { "numbe\x{263a}" => 1 }, \%tied, bless({ number => 1 }),
        { number => *STDOUT }, { pairs => [[a => *STDOUT]] },
    );
    { my %magic = (number => 0); tie $magic{number}, 'Tied', sub { 1 }; push @no, \%magic }
    for my $options (@no) {
        is scalar($log->append('t', 'k', 'v', $options, $code)), 'slow', 'is not: ' . join ' ', map { $_ // 'undef' } tied %$options ? 'tied' : grep { !/[^ -~]/ } map { $_ // 'undef' } %$options;
    }
    is scalar(@{ calls() }), scalar(@no), 'the fallback gets them';
    is scalar($log->append(Text->new(sub { 't' }), 'k', 'v', { number => 1 })), 'slow', 'nor are they with strings that have to be read';
    isa_ok calls()->[0][1], 'Text';
    $log->clear;
};

subtest 'what a callback is to be called with' => sub {
    fresh();
    my @got;
    my $code = sub { push @got, [@_] };
    my $object = Text->new(sub { 'text' });
    my ($one, @many) = ('one', 1 .. 50);
    my @withs = ([], ['x'], [undef], [$one], [\$one], [$object], [1, 2], [\@many, 'y'], [@many], [*STDOUT], [sub { }], [qr/x/, 1.5, "\x{263a}"]);
    for my $with (@withs) {
        my @given = @$with;
        $log->append('t', 'k', 'v', undef, $code, @given);
        $log->append('t', 'k', 'v', { number => 1 }, $code, @given);
        $_ = 'changed' for @given;
    }
    is_deeply calls(), [], 'the fast path takes it';
    $log->call_all;
    is_deeply \@got, [map { ([17, @$_]) x 2 } @withs], 'is as it was';
    @got = ();
    tie my $scalar, 'Tied', sub { 1 };
    for my $rest ([$code, undef, 'x'], [undef, undef, 'x'], [$code, 'x', 'y'], [{}, {}, 'x'], [{ unknown => 1 }, $code, 'x']) {
        is scalar($log->append('t', 'k', 'v', @$rest)), 'slow', 'other forms do not';
    }
    is scalar($log->append('t', 'k', 'v', undef, $code, $scalar)), 'slow', 'nor does what has to be read';
    is scalar($log->append('slow', 'k', 'v', undef, $code, 'x')), 'slow', 'nor does it take what the handler refuses';
    is_deeply calls()->[-1], ['_slow', 'slow', 'k', 'v', undef, $code, 'x'], 'which has all';
    $log->append('t', 'k', 'v', undef, sub { die "dead\n" }, Text->new(sub { 1 }), $_) for 1, 2;
    $log->append('t', 'k', 'v', undef, $code, 'last');
    my @warnings;
    { local $SIG{__WARN__} = sub { push @warnings, @_ }; $log->call_all }
    is_deeply \@warnings, ["kept: dead\n", "kept: dead\n"], 'a die is a warning';
    is_deeply \@got, [[17, 'last']], 'and the next is called';
    our $freed = 0;
    { package Freed; sub DESTROY { $main::freed++ } }
    $log->append('t', 'k', 'v', undef, sub { is $freed, 0, 'is there' }, bless([], 'Freed'));
    $log->append('t', 'k', 'v', undef, sub { is $freed, 1, 'the one before is gone' }, bless([], 'Freed'), bless([], 'Freed'));
    $log->call_all;
    is $freed, 3, 'each is let go of once';
};

# Callbacks that are called often are entered once and then run, several of them by turns: that must not show.
subtest 'the tenth call is as the first, whatever it is with' => sub {
    fresh();
    my (@got, @kept);
    our $freed = 0;
    my @kinds = (
        ['none'           => sub { }],
        ['integers'       => sub { $_[0] }],
        ['texts'          => sub { "text $_[0]" }],
        ['references'     => sub { \"of $_[0]" }],
        ['objects'        => sub { Text->new(sub { 'object' }) }],
        ['several'        => sub { ($_[0], 'x', [$_[0]]) }],
        ['many'           => sub { 1 .. 20 + $_[0] }],
        ['now this, now that' => sub { ((), 7, 'seven', [7], undef, \7)[$_[0] % 6] }],
        ['more and fewer' => sub { 1 .. $_[0] % 14 }],
    );
    my @does = (
        ['looks'      => sub { push @got, [@_] }],
        ['assigns'    => sub { push @got, [@_]; $_ = 'changed' for @_ }],
        ['refers'     => sub { push @got, [@_]; $_ = [] for @_ }],
        ['shifts'     => sub { push @got, [@_]; shift while @_ }],
        ['pushes'     => sub { push @got, [@_]; push @_, 1 .. 100 }],
        ['keeps @_'   => sub { push @got, [@_]; push @kept, \@_ }],
        ['keeps all'  => sub { push @got, [@_]; push @kept, \(@_) }],
        ['weakens'    => sub { push @got, [@_]; no warnings; ref and Scalar::Util::weaken($_) for @_ }],
        ['dies'       => sub { push @got, [@_]; die "dead\n" if @got % 4 == 0 }],
        ['blesses'    => sub { push @got, [@_]; for (@_) { bless \$_, 'Some::Class' } }],
    );
    local $SIG{__WARN__} = sub { is "@_", "kept: dead\n", 'only the warnings that are due' if "@_" ne "kept: dead\n" };
    for my $kind (@kinds) {
        my ($what, $with) = @$kind;
        for my $code (@does) {
            (@got, @kept) = ();
            my @expected;
            for my $n (1 .. 16) {
                my @with = $with->($n);
                push @expected, [17, @with];
                $log->append('t', 'k', 'v', undef, $code->[1], @with);
            }
            $log->call_all;
            is_deeply \@got, \@expected, "$what: $code->[0]";
        }
    }
    for my $count (2 .. 6) {
        (@got, @kept) = ();
        my @code = map { my $name = $_; sub { push @got, [$name, @_]; push @kept, \@_ if $name == 2; die "dead\n" if $name == 4 } } 1 .. $count;
        my @expected;
        for my $n (0 .. 16 * $count) {
            $log->append('t', 'k', 'v', undef, $code[$n % $count], 'x', $n);
            push @expected, [$n % $count + 1, 17, 'x', $n];
        }
        $log->call_all;
        is_deeply \@got, \@expected, "$count callbacks by turns";
        Scalar::Util::weaken($_) for my @weak = @code;
        undef $_ for @code;
        is_deeply [grep { defined } @weak], [], '... which nobody holds afterwards';
    }
    (@got, @kept) = ();
    my $shared = sub { push @got, 'shared' };
    for my $n (1 .. 40) {
        $log->append('t', 'k', 'v', undef, $shared);
        $log->append('t', 'k', 'v', undef, sub { push @got, "$n " . (caller 1)[3] });
    }
    my $caller = sub { $log->call_all };
    $caller->();
    is_deeply \@got, [map { ('shared', "$_ (eval)") } 1 .. 40], 'another one each time sees nothing of the one before';
    our @by_name;
    sub by_name { push @by_name, "old $_[1]" }
    sub gone { push @by_name, "gone $_[1]" }
    my $redefines = sub {
        return if $_[1] != 12;
        undef &by_name;
        eval 'sub by_name { push @by_name, "new $_[1]"; goto &gone } 1' or die;
    };
    for my $n (1 .. 20) { $log->append('t', 'k', 'v', undef, $_, $n) for \&by_name, $redefines }
    $log->call_all;
    is_deeply \@by_name, [(map { "old $_" } 1 .. 12), map { ("new $_", "gone $_") } 13 .. 20], 'a sub that gets another body';
    @kept = @got = ();
    my $in_order = sub { push @got, "$freed freed before $_[1]" };
    $freed = 0;
    $log->append('t', 'k', 'v', undef, $in_order, $_ % 2 ? ($_, bless([], 'Freed')) : $_) for 1 .. 20;
    $log->call_all;
    is_deeply \@got, [map { sprintf '%d freed before %d', int($_ / 2), $_ } 1 .. 20], 'what it was called with goes right after the call';
    my $refers = sub { push @got, $freed };
    ($freed, @got) = 0;
    $log->append('t', 'k', 'v', undef, $refers, bless([], 'Freed')) for 1 .. 20;
    $log->call_all;
    is_deeply \@got, [0 .. 19], '... and an object';
    is leaks_nothing(sub {
        (@got, @kept) = ();
        for my $n (1 .. 12) { $log->append('t', 'k', 'v', undef, $_->[1], $n % 2 ? [$n] : $n) for @does }
        $log->call_all;
        (@got, @kept) = ();
    }), 0, 'nothing leaks';
};

subtest 'somebody is asked' => sub {
    fresh();
    my @asked;
    my $answer;
    my $code = sub { push @asked, [@_]; return ref $answer eq 'CODE' ? $answer->(@_) : $answer };
    for my $good (0, 1, '1', 1.0) {
        $answer = $good;
        is_deeply [$log->append('ask', 'k', 'v', $code)], [], 'returns nothing';
        is entry(), 'ask|k|v|answer ' . int($good) . '|', "the handler gets $good";
    }
    is_deeply \@asked, [(['ask', 'k', 3]) x 4], 'once each, about two strings and the number';
    $answer = 1;
    $log->append('ask', undef, 'v', { number => 2, pairs => [[a => 'b']] }, $code, 'with');
    is entry(), 'ask|undef|v|answer 1|number 2|a=b|', 'with everything else';
    is_deeply calls(), [], 'all is fast';
    for my $bad (2, 3, -1, undef, 'x', [], 1.5) {
        $answer = $bad;
        @asked  = ();
        is_deeply [$log->append('ask', 'k', 'v', undef, $code, 'with')], ['answered', 'list'], 'not ' . ($bad // 'undef');
        is_deeply calls(), [['_answered', $bad, 'ask', 'k', 'v', undef, $code, 'with']], 'whoever gets it has the answer';
        is scalar(@asked), 1, 'which was asked for once';
    }
    $answer = sub { die "asked\n" };
    ok !eval { $log->append('ask', 'k', 'v', $code); 1 }, 'a die';
    is $@, "asked\n", 'passes';
    $answer = sub { no warnings; last ASKED };
    ASKED: { ok !eval { $log->append('ask', 'k', 'v', $code); 1 }, 'leaving a block' }
    like $@, qr/^Label not found for "last ASKED"/, 'does not';

    my ($key, $value, @with) = ('k' x 100, 'v' x 100, 'with');
    my %options = (pairs => [[a => 'b' x 100]]);
    my $callback = $code;
    $answer = sub {
        $_ = 'x' for @_;
        undef $_ for $key, $value, @with, $callback;
        my @fill = map { "fill$_" } 1 .. 1000;
        my @many = PerlXsTest::echo((1) x 200_000);
        return 1;
    };
    $log->append('ask', $key, $value, \%options, $callback, @with);
    is entry(), join('|', 'ask', 'k' x 100, 'v' x 100, 'answer 1', 'a=' . 'b' x 100, ''), 'arguments are held';
    $answer = sub { %options = (); 1 };
    $log->append('ask', 'k', 'v', \%options, $code);
    is entry(), 'ask|k|v|answer 1|', 'options are read when it has answered';
    my $victim = PerlXsTest::Log->new;
    $answer = sub { undef $victim; 1 };
    $victim->append('ask', 'k', 'v', $code);
    is_deeply calls(), [['_began', 'PerlXsTest::Log']], 'the object, too, is held';
    $answer = sub { $log->append('inner', 'k', 'v'); 0 };
    $log->append('ask', 'k', 'v', $code);
    is entry(), 'ask|k|v|answer 0|', 'it may append itself';
    $log->clear;
};

subtest 'no state' => sub {
    my $copy = bless {}, 'PerlXsTest::Log';
    is scalar($copy->append('t', 'k', 'v')), 'slow', 'goes to the fallback';
    ok !eval { PerlXsTest::Log::append(undef, 't', 'k', 'v'); 1 }, 'no object';
    like $@, qr/^Can't call method "_slow" on an undefined value at \Q$0\E/, '... is perl\'s own error';
    ok !eval { PerlXsTest::Log::append(); 1 }, 'not even an argument';
    calls();
};

subtest 'panics and drops in the handler' => sub {
    fresh();
    ok !eval { $log->append('panic', 'k', 'v'); 1 }, 'a panic';
    like $@, qr/^internal error: asked to \(/, '... is an error';
    $log->append('t', 'k', 'v');
    is entry(), 't|k|v|', '... and the next call works';
    { package Guard; sub new { bless [$_[1]], $_[0] } sub DESTROY { $_[0][0]->() } }
    my $destroyed = 0;
    my $held = sub { my ($guard) = @_; return sub { $guard } };
    $log->append('t', 'k', 'v', $held->(Guard->new(sub { $destroyed++; $log->append('in DESTROY', 'k', 'v') })));
    is $destroyed, 0, 'a captured guard';
    $log->append('drop', 'k', 'v');
    is $destroyed, 1, 'a value dropped in the handler is freed after it';
    is entry(), 'in DESTROY|k|v|', '... where it may call back';
};

is leaks_nothing(sub {
    my $log = PerlXsTest::Log->new;
    my $guard = [];
    $log->append('t', 'k', 'v', sub { $guard }) for 1 .. 10;
    $log->append('t', Text->new(sub { 'k' }), 1.5);
    $log->append('t', 'k', 'v', { number => 1.0, pairs => [map { [a => 1.5] } 1 .. 20] }, sub { $guard }, @$_) for [$guard], [1, 'x', $guard];
    $log->append('ask', 'k', 'v', { pairs => { a => 'b' } }, sub { 1 }, $guard, $guard);
    $log->append('ask', 'k', 'v', undef, sub { 'x' }, $guard);
    eval { $log->append('ask', 'k', 'v', undef, sub { die 'x' }, $guard, 1) };
    $log->call_all if $guard;
    $log->append('slow', 'k', 'v', undef, sub { $guard }, $guard);
    $log->append('slow', 1, 2, { a => 1 });
    eval { $log->append('panic', 'k', 'v') };
    eval { $log->append('t', Text->new(sub { die 'x' }), 'v') };
    @PerlXsTest::Log::calls = ();
}), 0, 'nothing leaks';

done_testing;
