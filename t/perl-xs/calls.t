# Calls from Rust into Perl: die, exit, last, warnings; and what comes back.
use strict;
use warnings;
use Test::More;

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(in_child leaks_nothing);

subtest 'calls' => sub {
    my @seen;
    is_deeply [PerlXsTest::call(sub { @seen = @_ }, 1, 'two', undef)], ['returned'], 'returns';
    is_deeply \@seen, [1, 'two', undef], 'with its arguments';
    PerlXsTest::call_with_fresh(sub { @seen = @_; $_ = 'changed' for @_ });
    is_deeply \@seen, [undef, -9223372036854775807 - 1, 18446744073709551615, 1.5, "by\0tes", ''], 'of every kind';
    my $variable = 1;
    PerlXsTest::call(sub { $_[0]++ }, $variable);
    is $variable, 2, 'values are passed as they are';
    is PerlXsTest::call_scalar(sub { "got @_" }, 1, 2), 'got 1 2', 'a scalar result';
    is PerlXsTest::call_scalar(sub { return }), undef, 'no result is undef';
    is PerlXsTest::call_scalar(sub { wantarray ? 'list' : defined wantarray ? 'scalar' : 'void' }), 'scalar', 'context';
    is PerlXsTest::call_scalar(\&CORE::uc, 'abc'), 'ABC', 'a builtin' if $] >= 5.016;
    is PerlXsTest::call_scalar(\&PerlXsTest::count, 1 .. 9), 9, 'another XSUB';
};

subtest 'methods' => sub {
    { package Animal; sub new { bless { name => $_[1] }, $_[0] } sub say { "$_[0]{name} says $_[1]" } }
    my $dog = Animal->new('dog');
    is PerlXsTest::call_method_scalar($dog, 'say', 'wau'), 'dog says wau', 'of an object';
    is PerlXsTest::call_method_scalar('Animal', 'new', 'cat')->{name}, 'cat', 'of a class';
    my ($how, $error) = PerlXsTest::call_method($dog, 'fly');
    is $how, 'died', 'one that does not exist';
    like $error, qr/^Can't locate object method "fly" via package "Animal"/, '... is an error';
};

subtest 'a die is an outcome' => sub {
    my ($how, $error) = PerlXsTest::call(sub { die "oops\n" });
    is "$how $error", "died oops\n", 'a text';
    my $object = bless [], 'Error';
    ($how, $error) = PerlXsTest::call(sub { die $object });
    is $error, $object, 'an object';
    ok !eval { PerlXsTest::call_scalar(sub { die "through\n" }); 1 }, 'it can be passed on';
    is $@, "through\n", '... unchanged';
    { package False; use overload 'bool' => sub { 0 }, '""' => sub { '' } }
    ($how, $error) = PerlXsTest::call(sub { die bless {}, 'False' });
    is $how, 'died', 'an error that is false';
    { package Nasty; use overload 'bool' => sub { die 'nasty bool' }, '""' => sub { die 'nasty text' }; }
    ($how) = PerlXsTest::call(sub { die bless {}, 'Nasty' });
    is $how, 'died', 'an error whose overloading dies';
};

subtest 'what belongs to the caller stays' => sub {
    $@ = 'mine';
    PerlXsTest::call(sub { is $@, '', 'empty inside'; eval { die 'inner' } });
    is $@, 'mine', '$@ after a call';
    PerlXsTest::call(sub { die 'outer' });
    is $@, 'mine', '$@ after a die';
    local $_ = 'topic';
    PerlXsTest::call(sub { local $_ = 'other' });
    is $_, 'topic', '$_';
    my @list = map { PerlXsTest::call_scalar(sub { $_[0] * 2 }, $_) } 1 .. 3;
    is_deeply \@list, [2, 4, 6], 'inside a map';
    my @sorted = sort { PerlXsTest::call_scalar(sub { $_[0] <=> $_[1] }, $a, $b) } 3, 1, 2;
    is_deeply \@sorted, [1, 2, 3], 'inside a sort';
};

subtest 'loop controls cannot leave a callback' => sub {
    no warnings 'exiting';
    for my $control (sub { last }, sub { next }, sub { redo if 1 }, sub { goto OUTSIDE }, sub { no warnings; last LABEL }) {
        my $turns = 0;
        my ($how, $error);
        LABEL: for (1) {
            $turns++;
            ($how, $error) = PerlXsTest::call($control);
        }
        OUTSIDE:
        is $how, 'died', 'an error';
        like $error, qr/^Can't|^Label not found/, $error =~ s/ at .*//sr;
    }
    is_deeply [PerlXsTest::call(sub { goto &{ sub { 1 } } })], ['returned'], 'goto &sub is a call';
};

subtest 'nesting' => sub {
    my $depth = 0;
    my $nest;
    $nest = sub { my ($left) = @_; $depth++; return $left ? PerlXsTest::call_scalar($nest, $left - 1) + 1 : die "bottom\n" };
    ok !eval { PerlXsTest::call_scalar($nest, 50); 1 }, 'a die passes fifty levels';
    is $@, "bottom\n", '... unchanged';
    is $depth, 51, '... all entered';
    undef $nest;
};

subtest 'warnings' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is PerlXsTest::warn("text\n"), 'went on', 'one with a newline';
    is $warnings[-1], "text\n", '... is as it was';
    PerlXsTest::warn('text');
    like $warnings[-1], qr/^text at \Q$0\E line \d+\.$/, 'without: the place is added';
    PerlXsTest::call_or_warn(sub { die "why\n" }, 'callback error');
    is $warnings[-1], "callback error: why\n", 'a die becomes one';
    local $SIG{__WARN__} = sub { die "fatal\n" };
    $@ = 'mine';
    is PerlXsTest::warn('lost'), 'went on', 'a handler that dies loses only the warning';
    PerlXsTest::call_or_warn(sub { die "why\n" }, 'callback error');
    is $@, 'mine', '$@ stays';
};

subtest 'errors and panics' => sub {
    ok !eval { PerlXsTest::croak('text'); 1 }, 'a croak';
    like $@, qr/^text at \Q$0\E line \d+\.$/, '... gets its place';
    ok !eval { PerlXsTest::croak("line\n"); 1 } && $@ eq "line\n", 'or not, after a newline';
    my $object = {};
    ok !eval { PerlXsTest::croak($object); 1 } && $@ == $object, 'an object';
    ok !eval { PerlXsTest::panic('broken'); 1 }, 'a panic';
    like $@, qr/^internal error: broken \(\S+lib\.rs:\d+\) at \Q$0\E line \d+\.$/, '... is an error';
    my ($code, $signal, $output) = in_child(sub { eval { PerlXsTest::panic('quiet') }; POSIX::_exit(3) });
    is_deeply [$code, $signal, $output], [3, 0, ''], '... and prints nothing';
    my ($how, $error) = PerlXsTest::call(sub { PerlXsTest::panic('below') });
    like $error, qr/^internal error: below/, 'below a callback';
};

subtest 'dropping the last reference runs DESTROY' => sub {
    { package Guard; sub new { bless [$_[1]], $_[0] } sub DESTROY { $_[0][0]->() } }
    my $destroyed = 0;
    is PerlXsTest::drop_last(sub { Guard->new(sub { $destroyed++ }) }), 'dropped', 'from Rust';
    is $destroyed, 1, 'once';
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    $@ = 'mine';
    is PerlXsTest::drop_last(sub { Guard->new(sub { die "in DESTROY\n" }) }), 'dropped', 'its die';
    like $warnings[0], qr/\(in cleanup\) in DESTROY/, '... is a warning';
    is $@, 'mine', '$@ stays';
};

subtest 'exit' => sub {
    require POSIX;
    my %how = (
        'in a callback'        => sub { PerlXsTest::call(sub { exit 7 }); print "not reached\n" },
        'in a method'          => sub { { package Leaver; sub leave { exit 7 } } PerlXsTest::call_method('Leaver', 'leave') },
        'two levels down'      => sub { PerlXsTest::call(sub { PerlXsTest::call(sub { exit 7 }); print "not reached\n" }) },
        'below evals'          => sub { eval { PerlXsTest::call(sub { eval { exit 7 } }) }; print "not reached\n" },
        'in a sort in a call'  => sub { PerlXsTest::call(sub { my @x = sort { exit 7 } 1, 2 }) },
        'in a warn handler'    => sub { $SIG{__WARN__} = sub { exit 7 }; PerlXsTest::warn('x'); print "not reached\n" },
        'in a DESTROY'         => sub { PerlXsTest::drop_last(sub { Guard->new(sub { exit 7 }) }); print "not reached\n" },
        'in a FETCH'           => sub { { package Exits; sub TIESCALAR { bless [] } sub FETCH { exit 7 } } tie my $x, 'Exits'; PerlXsTest::bytes($x) },
        'in a die handler'     => sub { $SIG{__DIE__} = sub { exit 7 }; PerlXsTest::croak('x') },
        'in a loop'            => sub { PerlXsTest::consume(sub { exit 7 if $_[2] == 5 }, 10, 10); print "not reached\n" },
        'in a released closure' => sub {
            PerlXsTest::deliver(sub { [map { my $guard = Guard->new(sub { exit 7 }); sub { $guard } } 1 .. 2] });
            print "not reached\n";
        },
        'in a freed object'    => sub {
            my $counter = PerlXsTest::Counter->new(1);
            $counter->on_free(sub { exit 7 });
            undef $counter;
            print "not reached\n";
        },
    );
    for my $name (sort keys %how) {
        my ($code, $signal, $output) = in_child(sub {
            require Test::More;
            Test::More->builder->no_ending(1);
            $how{$name}->();
            print "came back\n";
            POSIX::_exit(98);
        });
        is_deeply [$code, $signal, $output], [7, 0, ''], $name;
    }
    my ($code, $signal, $output) = in_child(sub {
        Test::More->builder->no_ending(1);
        my $at_end = Guard->new(sub { print "destroyed\n" });
        our $kept = Guard->new(sub { print "destroyed at the end\n" });
        eval 'END { print "end\n" }';
        PerlXsTest::call(sub { my $inner = $at_end; exit 5 });
    });
    is $code, 5, 'the status';
    is_deeply [sort split /\n/, $output], ['destroyed', 'destroyed at the end', 'end'], 'END blocks and destructors run';
};

is leaks_nothing(sub {
    PerlXsTest::call(sub { my @x = @_; die { deep => [@x] } }, 1 .. 5);
    PerlXsTest::call_scalar(sub { [1, 2] });
    PerlXsTest::call_with_fresh(sub { my @copy = @_ });
    eval { PerlXsTest::call_scalar(sub { die "x\n" }) };
    eval { PerlXsTest::croak({}) };
    eval { PerlXsTest::panic('x') };
    eval { PerlXsTest::call_method_scalar('Nobody', 'nothing') };
    PerlXsTest::drop_last(sub { Guard->new(sub { }) });
    local $SIG{__WARN__} = sub { die 'fatal' };
    PerlXsTest::call_or_warn(sub { die 'why' }, 'x');
}), 0, 'nothing leaks';

done_testing;
