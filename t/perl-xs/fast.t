# The XSUB for hot paths: which calls it takes, which it hands to the fallback, and with what.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(leaks_nothing);

{
    package Tied;
    sub TIESCALAR { my ($class, $fetch) = @_; return bless { fetch => $fetch, count => 0 }, $class }
    sub FETCH { my ($self) = @_; $self->{count}++; return $self->{fetch}->() }
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
    $log->append('slow', 1, 2, { a => 1 });
    eval { $log->append('panic', 'k', 'v') };
    eval { $log->append('t', Text->new(sub { die 'x' }), 'v') };
    @PerlXsTest::Log::calls = ();
}), 0, 'nothing leaks';

done_testing;
