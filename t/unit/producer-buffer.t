use v5.14;
use warnings;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Outbox;
use EV::Kafka::Producer::Buffer;
use HandClock;
use Test::More;

# How much is queued, and who hears that there was no room, without a broker.

{ package Accumulator; sub queued { @{ $_[0]{queued} } } }

sub buffer {
    my $clock   = HandClock->new;
    my (@told, @errors);
    my $options = { buffer_memory => 100, on_error => sub { push @errors, @_ } };
    my $queued  = [0, 0];
    my $buffer  = EV::Kafka::Producer::Buffer->new(loop => $clock, outbox => EV::Kafka::Outbox->new($clock, $options, sub { 0 }), options => $options,
        accumulator => bless({ queued => $queued }, 'Accumulator'), notify => sub { push @told, @_; return });
    return ($buffer, $queued, \@told, \@errors, $clock);
}

subtest 'as long as there is room' => sub {
    my ($buffer, $queued, $told) = buffer();
    @$queued = (3, 100);
    is_deeply [$buffer->queued], [3, 100], 'what is queued is what the accumulator says';
    $buffer->check;
    is $buffer->is_full, 0, 'nobody was refused';
    is_deeply $told, [], 'and nobody waits for room';
};

subtest 'a message that nobody else hears of' => sub {
    my ($buffer, $queued, $told, $errors, $clock) = buffer();
    @$queued = (3, 90);
    $buffer->refuse(0) for 1 .. 3;
    is $buffer->is_full, 1, 'it is full';
    is_deeply $errors, ['producer buffer full'], 'which is said once';
    @$queued = (2, 51);
    $buffer->check;
    is_deeply $told, [], 'a little room is none';
    @$queued = (1, 50);
    $buffer->check;
    is_deeply $told, ['has_room'], 'half of it is';
    $buffer->check;
    is scalar(@$told), 1, 'which is told once';
    is $buffer->is_full, 0, 'it is not full any more';
    is $clock->waiting, 0, 'no timer was needed';
    @$queued = (3, 90);
    $buffer->refuse(0);
    is scalar(@$errors), 2, 'the next time is worth another word';
};

subtest 'a message whose callback hears' => sub {
    my ($buffer, $queued, $told, $errors) = buffer();
    @$queued = (3, 90);
    $buffer->refuse(1);
    is_deeply $errors, [], 'is not reported';
    $buffer->refuse(0);
    is scalar(@$errors), 1, 'but the next one that nobody hears of';
    @$queued = (0, 0);
    $buffer->check;
    is_deeply $told, ['has_room'], 'room is told all the same';
};

subtest 'a message that was too large for what was free' => sub {
    my ($buffer, $queued, $told, undef, $clock) = buffer();
    @$queued = (1, 10);
    $buffer->refuse(1) for 1 .. 2;
    is_deeply $told, [], 'who was refused hears of room later';
    is $clock->waiting, 1, 'but not only when something is settled';
    $clock->wind(0);
    is_deeply $told, ['has_room'], 'in a turn of the loop';
};

subtest 'the end' => sub {
    my ($buffer, $queued, $told, undef, $clock) = buffer();
    $buffer->refuse(1);
    $buffer->stop;
    is $buffer->is_full, 0, 'is no fullness';
    $clock->wind(1);
    $buffer->check;
    is_deeply $told, [], 'and nobody hears of room';
};

done_testing;
