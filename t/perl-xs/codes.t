# Closures that are freed together.
use strict;
use warnings;
use Test::More;

use B ();
use Scalar::Util ();

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(leaks_nothing);

{
    package Guard;
    sub new     { my ($class, $count) = @_; return bless [$count], $class }
    sub DESTROY { my ($self) = @_; ${ $self->[0] }++; return }
}
{
    # Takes hold of what it knows weakly.
    package Rescuer;
    our @saved;
    sub new     { my ($class, $code) = @_; my $self = bless [$code], $class; Scalar::Util::weaken($self->[0]); return $self }
    sub DESTROY { my ($self) = @_; push @saved, $self->[0] if $self->[0]; return }
}
{
    package Elsewhere;
    sub closure { my ($guard) = @_; return sub { $guard } }
}

sub closure { my ($guard) = @_; return sub { $guard } }

for my $case ([few => 3], [many => 1000]) {
    my ($name, $count) = @$case;
    subtest "$name of two packages" => sub {
        my $freed = 0;
        my @stay = map { closure(Guard->new(\$freed)) } 1 .. 10;
        for (1 .. $count) {
            PerlXsTest::keep(closure(Guard->new(\$freed)));
            PerlXsTest::keep(Elsewhere::closure(Guard->new(\$freed)));
            push @stay, closure(Guard->new(\$freed)) if $_ % 10 == 0;
        }
        is $freed, 0, 'they are kept';
        PerlXsTest::drop_together();
        is $freed, 2 * $count, 'and then freed';
        isa_ok $stay[$_]->(), 'Guard', "what closure $_ of those that stay holds" for 0, -1;
        is(B::svref_2object($stay[0])->STASH->NAME, 'main', 'which know their package');
        my $left = @stay;
        @stay = ();
        is $freed, 2 * $count + $left, 'and are freed by perl as ever';
    };
}

subtest 'what others hold stays' => sub {
    my $freed = 0;
    my @held = map { closure(Guard->new(\$freed)) } 1 .. 20;
    my $named = sub { 'no closure' };
    PerlXsTest::keep(@held, ($named) x 20, \&closure);
    PerlXsTest::drop_together();
    is $freed, 0, 'nothing is freed';
    is(B::svref_2object($_)->STASH->NAME, 'main', 'the package is known') for $held[0], $named, \&closure;
    @held = ();
    is $freed, 20, 'but by who holds it';
};

subtest 'a destructor that takes hold of the next one' => sub {
    my $freed = 0;
    my @codes = map { closure(Guard->new(\$freed)) } 1 .. 20;
    PerlXsTest::keep(closure(Rescuer->new($codes[-1])), @codes);
    @codes = ();
    PerlXsTest::drop_together();
    is $freed, 19, 'the others are freed';
    isa_ok $Rescuer::saved[0]->(), 'Guard', 'what it holds';
    @Rescuer::saved = ();
    is $freed, 20, 'in the end it is freed, too';
};

is leaks_nothing(sub {
    my $freed = 0;
    PerlXsTest::keep(closure(Guard->new(\$freed))) for 1 .. 50;
    PerlXsTest::drop_together();
}), 0, 'nothing is left over';

done_testing;
