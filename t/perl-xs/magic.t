# Arguments that run Perl code when they are read: tied and overloaded ones.
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
    sub STORE { }

    package Text;
    use overload '""' => sub { $_[0]{text}->() }, fallback => 1;
    sub new { my ($class, $text) = @_; return bless { text => $text }, $class }

    package Number;
    use overload '0+' => sub { $_[0]{number} }, fallback => 1;
    sub new { my ($class, $number) = @_; return bless { number => $number }, $class }

    package Yes;
    use overload 'bool' => sub { $_[0]->() }, fallback => 0;
}

subtest 'tied scalars are fetched once' => sub {
    my $tied = tie my $scalar, 'Tied', sub { "va\0lue" };
    is PerlXsTest::bytes($scalar), "va\0lue", 'as a string';
    is $tied->{count}, 1, 'one FETCH';
    tie $scalar, 'Tied', sub { 42 };
    is PerlXsTest::int($scalar),  42, 'as an integer';
    is_deeply [PerlXsTest::number($scalar)], ['int', 42], 'as a number';
    is PerlXsTest::bool($scalar), 1, 'as a truth';
    tie $scalar, 'Tied', sub { undef };
    is PerlXsTest::bytes($scalar), undef, 'undef';
    tie $scalar, 'Tied', sub { sub { 'code' } };
    is PerlXsTest::code($scalar)->(), 'code', 'as code';
    tie $scalar, 'Tied', sub { [1, 2] };
    is_deeply [PerlXsTest::list($scalar)], [1, 2], 'as an array reference';
    like PerlXsTest::kind($scalar), qr/magic/, 'magic is seen without a fetch';
};

subtest 'overloaded objects' => sub {
    is PerlXsTest::bytes(Text->new(sub { 'text' })), 'text', 'a string';
    is PerlXsTest::int(Number->new(7)), 7, 'an integer';
    is_deeply [PerlXsTest::number(Number->new(1.5))], ['float', 1.5], 'a float';
    is_deeply [PerlXsTest::number(Number->new(18446744073709551615))], ['uint', 18446744073709551615], 'an unsigned';
    is PerlXsTest::int(Text->new(sub { '19' })), 19, 'a number from a string';
    is PerlXsTest::bool(bless sub { 0 }, 'Yes'), 0, 'a truth';
    like PerlXsTest::kind(Text->new(sub { 1 })), qr/overloaded/, 'is seen as such';
};

subtest 'what dies there is the error' => sub {
    tie my $scalar, 'Tied', sub { die "no value\n" };
    for my $function (qw(bytes int number bool code list)) {
        no strict 'refs';
        ok !eval { &{"PerlXsTest::$function"}($scalar); 1 }, "$function dies";
        is $@, "no value\n", '... with the text';
    }
    my $error = { an => 'object' };
    ok !eval { PerlXsTest::bytes(Text->new(sub { die $error })); 1 }, 'an object too';
    is $@, $error, '... the same one';
    ok !eval { PerlXsTest::bool(bless sub { die "untrue\n" }, 'Yes'); 1 }, 'in a truth';
    is $@, "untrue\n", '... with the text';
};

subtest 'reading one argument destroys the others' => sub {
    our ($x, $y) = ('one', 'two');
    my $bad = Text->new(sub { undef $x; undef $y; 'bad' });
    is_deeply [PerlXsTest::three($bad, $x, $y)], ['bad', undef, undef], 'variables: what they have then is read';
    my %hash = (a => 'A' x 100, b => 'B' x 100);
    $bad = Text->new(sub { %hash = (); 'bad' });
    is_deeply [PerlXsTest::three($bad, $hash{a}, $hash{b})], ['bad', 'A' x 100, 'B' x 100], 'elements: they are held';
    my @array = ('c' x 100, 'd' x 100);
    tie my $scalar, 'Tied', sub { @array = (); my @fill = map { "x$_" } 1 .. 100; 'tied' };
    is_deeply [PerlXsTest::three($scalar, @array)], ['tied', 'c' x 100, 'd' x 100], 'array elements';

    $bad = Text->new(sub { my @many = PerlXsTest::echo((1) x 100_000); scalar @many });
    is_deeply [PerlXsTest::three($bad, 'y', 'z')], [100_000, 'y', 'z'], "perl's stack may move";
};

subtest 'an argument destroys the object it is given to' => sub {
    my $counter = PerlXsTest::Counter->new(5);
    my $bad = Number->new(1);
    tie my $n, 'Tied', sub { undef $counter; 3 };
    ok !eval { $counter->add($n); 1 }, 'the object is looked up last';
    is $@ =~ s/ at .*//sr, 'PerlXsTest::Counter: not a reference', '... and found missing';
    is PerlXsTest::live(), 0, '... its state gone';
    $counter = PerlXsTest::Counter->new(5);
    tie $n, 'Tied', sub { $counter->detach; 3 };
    ok !eval { $counter->add($n); 1 }, 'detached meanwhile';
    like $@, qr/^PerlXsTest::Counter: method called on a destroyed object/, '... says so';
};

subtest 'tied containers' => sub {
    require Tie::Array;
    require Tie::Hash;
    tie my @array, 'Tie::StdArray';
    @array = (1, undef, 'three');
    is_deeply [PerlXsTest::list(\@array)], [1, undef, 'three'], 'an array';
    tie my %hash, 'Tie::StdHash';
    %hash = (a => 1, b => 'two');
    is_deeply {PerlXsTest::pairs(\%hash)}, { a => 1, b => 'two' }, 'a hash';
    is PerlXsTest::hash_get(\%hash, 'b'), 'two', 'a value of it';
    is_deeply [PerlXsTest::hash_get(\%hash, 'absent')], [], 'an absent one';
    my %plain = (a => 1);
    tie $plain{b}, 'Tied', sub { 'fetched' };
    is_deeply {PerlXsTest::pairs(\%plain)}, { a => 1, b => 'fetched' }, 'a tied value in a plain hash';
    is PerlXsTest::hash_get(\%plain, 'b'), 'fetched', 'alone too';
    {
        package Dying;
        our @ISA = ('Tie::StdHash', 'Tie::StdArray');
        sub TIEHASH { bless {}, shift } sub FIRSTKEY { die "no keys\n" } sub EXISTS { die "no exists\n" }
        sub TIEARRAY { bless [], shift } sub FETCHSIZE { die "no size\n" }
    }
    tie my %dying, 'Dying';
    ok !eval { PerlXsTest::pairs(\%dying); 1 }, 'one that dies';
    is $@, "no keys\n", '... is an error';
    ok !eval { PerlXsTest::hash_get(\%dying, 'x'); 1 }, 'for a single key too';
    is $@, "no exists\n", '... with its text';
    tie my @dying, 'Dying';
    ok !eval { PerlXsTest::list(\@dying); 1 }, 'an array that dies';
    is $@, "no size\n", '... is an error';
};

subtest "the caller's \$\@ stays" => sub {
    $@ = 'mine';
    tie my $scalar, 'Tied', sub { eval { die 'inner' }; 1 };
    PerlXsTest::bytes($scalar);
    is $@, 'mine', 'after an eval in a FETCH';
};

tie my $fine, 'Tied', sub { 'x' x 100 };
tie my $dies, 'Tied', sub { die { error => 1 } };
is leaks_nothing(sub {
    PerlXsTest::bytes($fine);
    PerlXsTest::bytes(Text->new(sub { 'text' }));
    PerlXsTest::int(Number->new(1));
    eval { PerlXsTest::bytes($dies) };
    eval { PerlXsTest::list($dies) };
}), 0, 'nothing leaks';

done_testing;
