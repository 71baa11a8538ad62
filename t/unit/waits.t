use v5.14;
use warnings;

use lib 't/lib';

use Test::More;

use EV::Kafka;
use EV::Kafka::Waits;
use HandClock;

# What waits in a client, without a client.

{
    package Asker;
    sub new   { my ($class, @waits) = @_; return bless { waits => [@waits], asked => 0 }, $class }
    sub waits { my ($self) = @_; $self->{asked}++; return @{ $self->{waits} } }
}

sub wait_for { my ($subject, $text, %more) = @_; return { subject => $subject, text => $text, %more } }

# { clock, waits, told, over }
sub waits {
    my $had = { clock => HandClock->new, told => [], over => [] };
    my ($told, $over) = @$had{qw(told over)};
    $had->{waits} = EV::Kafka::Waits->new(
        loop => $had->{clock},
        tell => sub { my ($subject, $text, $about) = @_; push @$told, "$subject: $text" . (%$about ? ' ' . join ',', %$about : '') },
        over => sub { push @$over, @_ },
    );
    return $had;
}

my $patience = $EV::Kafka::Waits::PATIENCE;

subtest 'what lasts is told, once' => sub {
    my $had   = waits();
    my $asker = Asker->new(wait_for(topic => 'is not there', about => { topic => 't' }));
    $had->{waits}->watch($asker, 'waits') for 1, 2;
    $had->{clock}->wind($patience);
    is_deeply $had->{told}, [], 'not before it has';
    $had->{clock}->wind($patience);
    is_deeply $had->{told}, ['topic: is not there topic,t'], 'then with what it is about';
    $had->{clock}->wind(10 * $patience);
    is scalar @{ $had->{told} }, 1, 'and never again';
};

subtest 'reasons' => sub {
    my $had   = waits();
    my $asker = Asker->new;
    my $say   = sub { $asker->{waits} = [wait_for(t => @_)]; $had->{clock}->wind(2 * $patience) };
    $asker->{waits} = [wait_for(t => 'one')];
    $had->{waits}->watch($asker, 'waits');
    $had->{clock}->wind(2 * $patience);
    $say->('two');
    $say->('one');
    is_deeply $had->{told}, ['t: one', 't: two'], 'each of them is told, also when they take turns';
    $say->(sub { 'three of 5' }, reason => 'three');
    $say->(sub { 'three of 4' }, reason => 'three');
    is $had->{told}[2], 't: three of 5', 'a text may be made when it is wanted';
    is scalar @{ $had->{told} }, 3, 'and a reason have more than one';
    $asker->{waits} = [];
    $had->{clock}->wind($patience);
    is_deeply $had->{over}, ['t'], 'the end is told, too';
    my $asked = $asker->{asked};
    $had->{clock}->wind(10 * $patience);
    is $asker->{asked}, $asked, 'then nobody is asked';
    is scalar grep({ $_ } @{ $had->{clock}{timers} }), 0, 'and no timer is left';
    $had->{waits}->watch($asker, 'waits');
    $say->('two');
    is $had->{told}[3], 't: two', 'what begins again is told again';
};

subtest 'what is over in time' => sub {
    my $had   = waits();
    my $asker = Asker->new(wait_for(t => 'one'));
    $had->{waits}->watch($asker, 'waits');
    $had->{clock}->wind($patience);
    $asker->{waits} = [wait_for(u => 'two')];
    $had->{clock}->wind($patience);
    is_deeply $had->{told}, [], 'is not told';
    $had->{clock}->wind($patience);
    is_deeply $had->{told}, ['u: two'], 'each subject has its own time';
};

subtest 'some may last longer' => sub {
    my $had   = waits();
    my $asker = Asker->new(wait_for(t => 'one', times => 3), wait_for(u => 'two'));
    $had->{waits}->watch($asker, 'waits');
    $had->{clock}->wind(2.5 * $patience);
    is_deeply $had->{told}, ['u: two'], 'than others';
    $had->{clock}->wind(2 * $patience);
    is_deeply $had->{told}, ['u: two', 't: one'], 'but not for ever';
};

subtest 'very many' => sub {
    my $had   = waits();
    my $asker = Asker->new(map { wait_for("t$_", 'x') } 10 .. 99);
    $had->{waits}->watch($asker, 'waits');
    $had->{clock}->wind(3 * $patience);
    my $most = EV::Kafka::Waits::MOST_AT_ONCE();
    is scalar @{ $had->{told} }, $most + 1, 'are not told of each';
    like $had->{told}[-1], qr/\Athe rest: ${\ (90 - $most) } others wait for the like/, 'but counted';
};

subtest 'two that wait for the same' => sub {
    my $had    = waits();
    my @askers = map { Asker->new(wait_for(t => "from $_")) } 1, 2;
    $had->{waits}->watch($_, 'waits') for @askers;
    $had->{clock}->wind(3 * $patience);
    is scalar @{ $had->{told} }, 1, 'are told of once';
};

subtest 'a program that blocks' => sub {
    my $had   = waits();
    my $asker = Asker->new(wait_for(t => 'one'));
    $had->{waits}->watch($asker, 'waits');
    $had->{clock}->wind($patience / 2);
    # The loop does not turn meanwhile.
    $_->{at} += 10 * $patience for grep { $_ } @{ $had->{clock}{timers} };
    $had->{clock}->wind(10.25 * $patience);
    is_deeply $had->{told}, [], 'has not waited all that time';
    $had->{clock}->wind($patience);
    is_deeply $had->{told}, ['t: one'], 'it has by now';
};

subtest 'ends' => sub {
    my $had   = waits();
    my $asker = Asker->new(wait_for(t => 'one'));
    $had->{waits}->watch($asker, 'waits');
    undef $asker;
    $had->{clock}->wind(3 * $patience);
    is_deeply $had->{told}, [], 'who is gone waits for nothing';
    $asker = Asker->new(wait_for(t => 'one'));
    $had->{waits}->watch($asker, 'waits');
    $had->{clock}->wind($patience);
    $had->{waits}->end;
    $had->{waits}->watch($asker, 'waits');
    $had->{clock}->wind(3 * $patience);
    is_deeply $had->{told}, [], 'at the end nothing is told any more';
};

done_testing;
