use v5.14;
use warnings;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Producer::Expiry;
use HandClock;
use Test::More;

# When what waits has waited for too long, without a broker.

{
    package Accumulator;
    sub expire  { my ($self, $limit) = @_; push @{ $self->{expired} }, [$self->{clock}->now, $limit]; return @{ $self->{result} } }
    sub forgive { my ($self, $lost) = @_; push @{ $self->{forgiven} }, $lost; return }
    sub guard   { my ($self, $is_on) = @_; push @{ $self->{guards} }, $is_on; return }
    sub queued  { my ($self) = @_; return ($self->{messages}, 0) }
}

sub expiry {
    my ($limit) = @_;
    my $clock       = HandClock->new;
    my $accumulator = bless { clock => $clock, expired => [], forgiven => [], messages => 1, result => [0, 0] }, 'Accumulator';
    my $options     = { delivery_timeout => $limit };
    my @told;
    my $expiry = EV::Kafka::Producer::Expiry->new(loop => $clock, options => $options, accumulator => $accumulator, notify => sub { push @told, [@_]; return });
    return ($expiry, $accumulator, \@told, $clock, $options);
}

sub looks { my ($accumulator) = @_; return [map { $_->[0] } @{ $accumulator->{expired} }] }

subtest 'looks' => sub {
    my ($expiry, $accumulator, $told, $clock) = expiry(10);
    $clock->wind(5);
    is_deeply looks($accumulator), [], 'none as long as nothing waits';
    $expiry->watch for 1 .. 3;
    is $clock->waiting, 1, 'one timer';
    $clock->wind(1.6);
    is_deeply looks($accumulator), [5.5, 6, 6.5], 'twenty in the time that a message has';
    is $accumulator->{expired}[0][1], 10, 'each for what is older';
    $accumulator->{messages} = 0;
    $clock->wind(10);
    is scalar(@{ $accumulator->{expired} }), 4, 'none when nothing waits any more';
    $expiry->watch;
    $clock->wind(0.5);
    is scalar(@{ $accumulator->{expired} }), 5, 'and again when something does';
    is_deeply $accumulator->{forgiven}, [], 'nothing had to be forgiven';
};

subtest 'a long limit' => sub {
    my ($expiry, $accumulator, undef, $clock) = expiry(120);
    $expiry->watch;
    $clock->wind(3);
    is_deeply looks($accumulator), [1, 2, 3], 'is looked after every second';
};

subtest 'no limit' => sub {
    my ($expiry, undef, undef, $clock) = expiry(0);
    $expiry->watch;
    is $clock->waiting, 0, 'needs no look';
};

subtest 'what has expired' => sub {
    my ($expiry, $accumulator, $told, $clock, $options) = expiry(2);
    $expiry->watch;
    $accumulator->{result} = [2, 1, 'delivery timed out: t:0'];
    $options->{delivery_timeout} = 3;
    $clock->wind(0.1);
    is_deeply $told, [['expired', 2, 1, 'delivery timed out: t:0']], 'is told';
    is $accumulator->{expired}[0][1], 3, 'the limit is that of the moment';
};

subtest 'a program that blocks' => sub {
    my ($expiry, $accumulator, undef, $clock) = expiry(10);
    $expiry->watch;
    my ($late) = @{ $clock->{timers} };
    $late->{at} = $clock->{seconds} = 7;
    $clock->wind(0);
    is_deeply $accumulator->{forgiven}, [6.5], 'is forgiven the time in which nothing could be sent';
    $clock->wind(0.5);
    is scalar(@{ $accumulator->{forgiven} }), 1, 'once';
};

subtest 'the end' => sub {
    my ($expiry, $accumulator, undef, $clock) = expiry(10);
    $expiry->watch;
    $expiry->stop;
    $clock->wind(10);
    is_deeply looks($accumulator), [], 'is that of the looks';
};

done_testing;
