# Native objects: their lives, their ends, and who is not one.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(in_child leaks_nothing);

sub error_of { my ($code) = @_; return eval { $code->(); 1 } ? 'no error' : $@ =~ s/ at \S+ line \d+\.\n//r }

subtest 'state lives as long as the value' => sub {
    my $counter = PerlXsTest::Counter->new(5);
    is $counter->add(2), 7, 'it works';
    is PerlXsTest::live(), 1, 'one lives';
    my $other = $counter;
    undef $counter;
    is $other->value, 7, 'another reference keeps it';
    undef $other;
    is PerlXsTest::live(), 0, 'the last one ends it';
};

subtest 'any kind of value carries it' => sub {
    my $code = sub { 1 };
    for my $ref ({}, [], \my $scalar, \\'ref', $code, \*STDOUT) {
        my $object = PerlXsTest::Counter::_attach(bless($ref, 'PerlXsTest::Counter'), 3);
        is $object->value, 3, ref \$ref . " $ref";
        $object->detach;
        bless $ref, 'Nothing';
    }
    is PerlXsTest::Counter::value(PerlXsTest::Counter::_attach({}, 4)), 4, 'even an unblessed one';
    like error_of(sub { PerlXsTest::Counter::_attach(\undef, 1) }), qr/one of perl's own constants/, 'but not perl\'s own';
    is PerlXsTest::live(), 0, 'all gone';
};

subtest 'what local puts in the place of a value has no state' => sub {
    our ($scalar, %hash, @array);
    no strict 'refs';
    *scalar = PerlXsTest::Counter::_attach(\my $inner, 3);
    *hash   = PerlXsTest::Counter::_attach({}, 4);
    *array  = PerlXsTest::Counter::_attach([], 5);
    for my $round (1, 2) {
        local ($scalar, %hash, @array);
        is PerlXsTest::live(), 3, 'all three live';
        like error_of(sub { PerlXsTest::Counter::value($_) }), qr/not an object made by its constructor/, ref
            for \$scalar, \%hash, \@array;
    }
    is PerlXsTest::Counter::value(\$scalar), 3, 'a scalar has it afterwards';
    is PerlXsTest::Counter::value(\%hash),   4, 'so has a hash';
    is PerlXsTest::Counter::value(\@array),  5, 'and an array';
    undef *$_ for qw(scalar hash array);
    undef $inner;
};

subtest 'what users do to the value does not matter' => sub {
    my $counter = PerlXsTest::Counter->new(1);
    %$counter = (mine => 1);
    delete $counter->{mine};
    is $counter->value, 1, 'keys';
    { package Derived; our @ISA = 'PerlXsTest::Counter'; sub double { $_[0]->add($_[0]->value) } }
    bless $counter, 'Derived';
    is $counter->double, 2, 're-blessed into a derived class';
    is(Derived->new(21)->double, 42, 'made by one');
    bless $counter, 'PerlXsTest::Counter';
    is $counter->value, 2, 'and back';
};

subtest 'what is no object' => sub {
    my $counter = PerlXsTest::Counter->new(1);
    my $copy = bless {%$counter}, 'PerlXsTest::Counter';
    is error_of(sub { $copy->value }), 'PerlXsTest::Counter: not an object made by its constructor', 'a shallow copy';
    is error_of(sub { PerlXsTest::Counter->value }), 'PerlXsTest::Counter: not a reference', 'the class';
    is error_of(sub { PerlXsTest::Counter::value() }), 'PerlXsTest::Counter: not a reference', 'nothing';
    is error_of(sub { PerlXsTest::Counter::value(undef) }), 'PerlXsTest::Counter: not a reference', 'undef';
    like error_of(sub { PerlXsTest::Counter::value(PerlXsTest::Log->new) }), qr/not an object made by/, 'another type';
    is error_of(sub { PerlXsTest::Counter::_attach($counter, 2) }),
        'PerlXsTest::Counter: the value has its state already', 'a second state is refused';
    is $counter->value, 1, '... and the first stays';
};

subtest 'two types on one value' => sub {
    my $both = PerlXsTest::Counter->new(1);
    PerlXsTest::Label::_attach($both, 'label');
    is $both->value, 1, 'one';
    is PerlXsTest::Label::text($both), 'label', 'the other';
    $both->detach;
    is PerlXsTest::Label::text($both), 'label', 'the other stays when the first is taken off';
};

subtest 'detached by hand' => sub {
    my $counter = PerlXsTest::Counter->new(3);
    my $called = 0;
    $counter->on_free(sub { $called++ });
    is $counter->detach, 3, 'gives the state once';
    is PerlXsTest::live(), 0, 'gone';
    my $destroyed = 'PerlXsTest::Counter: method called on a destroyed object';
    is error_of(sub { $counter->value }),  $destroyed, 'methods say so';
    is error_of(sub { $counter->detach }), $destroyed, 'a second time too';
    undef $counter;
    is $called, 0, 'the free hook is not called';
};

subtest 'the free hook' => sub {
    my @seen;
    my $counter = PerlXsTest::Counter->new(3);
    $counter->on_free(sub { push @seen, [@_] });
    undef $counter;
    is_deeply \@seen, [[3, 0]], 'is called once; handles find nothing any more';
    $counter = PerlXsTest::Counter->new(4);
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    $counter->on_free(sub { die "in free\n" });
    $@ = 'mine';
    undef $counter;
    is_deeply \@warnings, ["on_free handler error: in free\n"], 'its die is a warning';
    is $@, 'mine', '$@ stays';
};

subtest 'destroyed inside its own callback' => sub {
    my $counter = PerlXsTest::Counter->new(9);
    $counter->on(sub { undef $counter; is PerlXsTest::live(), 1, 'the running method holds the state' });
    is $counter->fire, 9, 'the method ends well';
    is PerlXsTest::live(), 0, 'then it is gone';

    $counter = PerlXsTest::Counter->new(9);
    $counter->on(sub { $counter->detach; die "after detach\n" });
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is $counter->fire, 9, 'detached';
    is_deeply \@warnings, ["handler error: after detach\n"], '... and dying';

    $counter = PerlXsTest::Counter->new(9);
    $counter->on(sub { $counter->on(undef); my @garbage = map { "x$_" } 1 .. 1000 });
    is $counter->fire, 9, 'a handler that clears itself';

    my $second = PerlXsTest::Counter->new(1);
    $counter->on(sub { $counter->on(sub { $second = undef }); $counter->fire });
    is $counter->fire, 9, 'a handler that replaces itself and fires again';
    is $second, undef, '... runs the new one';
    $counter->on(undef);
};

subtest 'the state holds the object: DESTROY of what a handler captured' => sub {
    { package Guard; sub new { bless [$_[1]], $_[0] } sub DESTROY { $_[0][0]->() } }
    my $counter = PerlXsTest::Counter->new(1);
    my $guard = Guard->new(sub { $counter->on(sub { 'again' }) });
    $counter->on(sub { $guard });
    undef $guard;
    $counter->on(undef);
    pass 'a destructor calls the method that is dropping it';
    $counter->on(undef);
};

subtest 'handles' => sub {
    my $counter = PerlXsTest::Counter->new(1);
    is $counter->myself, $counter, 'find the object';
    my $same = $counter->myself;
    undef $counter;
    is $same->value, 1, 'with a count of its own';
    { package Told; our @ISA = 'PerlXsTest::Counter'; sub heard { $_[0]{heard} = $_[1] } }
    my $told = Told->new(8);
    $told->tell('heard');
    is $told->{heard}, 8, 'a method is called through it';
    our $in_destroy;
    { package Late; our @ISA = 'PerlXsTest::Counter'; sub DESTROY { $main::in_destroy = $_[0]->myself->value } }
    my $late = Late->new(6);
    undef $late;
    is $in_destroy, 6, 'in DESTROY the object is still found';
};

subtest 'cycles and weak references' => sub {
    require Scalar::Util;
    my $counter = PerlXsTest::Counter->new(1);
    my $weak = $counter;
    Scalar::Util::weaken($weak);
    $counter->on(sub { $weak->add(1) });
    is $counter->fire, 2, 'through a weak reference';
    undef $counter;
    is $weak, undef, 'it went';
    is PerlXsTest::live(), 0, 'and its state';
};

subtest 'fork' => sub {
    my $called = 0;
    my $counter = PerlXsTest::Counter->new(1);
    $counter->on_free(sub { print "called\n"; $called++ });
    my ($code, $signal, $output) = in_child(sub {
        Test::More->builder->no_ending(1);
        print $counter->add(1), "\n";
        undef $counter;
        print PerlXsTest::live(), "\n";
        require POSIX;
        POSIX::_exit(4);
    });
    is_deeply [$code, $signal, $output], [4, 0, "2\n0\n"], 'the child frees and calls nothing';
    is $counter->value, 1, 'the parent has its own';
    undef $counter;
    is $called, 1, '... and is called';
};

subtest 'global destruction' => sub {
    my ($code, $signal, $output) = in_child(sub {
        Test::More->builder->no_ending(1);
        our $global = PerlXsTest::Counter->new(1);
        $global->on_free(sub { print "called\n" });
        my $cycle = PerlXsTest::Counter->new(2);
        $cycle->{self} = $cycle;
        $cycle->on_free(sub { print "called\n" });
        $cycle->on(sub { $cycle });
        our @list = map { my $c = PerlXsTest::Counter->new($_); $c->on(sub { $c }); $c } 1 .. 10;
        { package Last; sub DESTROY { print 'destroyed ', PerlXsTest::live() > 0 ? "before\n" : "after\n" } }
        our $last = bless [], 'Last';
        exit 6;
    });
    is $code, 6, 'the status';
    is $signal, 0, 'no signal';
    is $output, "destroyed before\n", 'nothing of ours is called';
};

is leaks_nothing(sub {
    my $counter = PerlXsTest::Counter->new(1);
    $counter->on(sub { die 'x' if $_[0] });
    $counter->on_free(sub { });
    local $SIG{__WARN__} = sub { };
    $counter->fire;
    eval { PerlXsTest::Counter->value };
    eval { PerlXsTest::Counter::_attach($counter, 1) };
    my $second = $counter->myself;
    PerlXsTest::Label::_attach($counter, 'x');
    PerlXsTest::Counter->new(2)->detach;
}), 0, 'nothing leaks';
is PerlXsTest::live(), 0, 'no state is left';

done_testing;
