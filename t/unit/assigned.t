use strict;
use warnings;
use Test::More;

use EV::Kafka::Consumer::Assigned;

# The list of partitions that programs see, and how far they have been delivered, without a client.

# An answer of native code: where delivering stands, and what the program is done with.
{
    package Native;
    sub new       { my ($class, %state) = @_; return bless {%state}, $class }
    sub position  { return @{ $_[0]{position} } }
    sub handled   { return @{ $_[0]{handled} } }
    sub interrupt { $_[0]{interrupted}++ }
    sub deliver   { my ($self, undef, $code) = @_; $code->($self); return 1 }
}

sub assigned {
    my (@partitions) = @_;
    my $options  = {};
    my $assigned = EV::Kafka::Consumer::Assigned->new($options);
    $assigned->replace([map { { topic => 't', partition => $_, offset => 10 * $_ } } @partitions]);
    return wantarray ? ($assigned, $options) : $assigned;
}

sub part_of {
    my ($assigned, $partition, %more) = @_;
    my $cursor = $assigned->cursor($partition);
    return { assigned => $partition, cursor => $cursor, generation => $cursor->{generation}, index => 0,
        from => $partition->{offset}, %more };
}

sub offsets { return map { "$_->{partition}\@$_->{offset}" } @_ }

subtest 'the list is the one that programs see' => sub {
    my ($assigned, $options) = assigned(0, 1);
    is_deeply [offsets($assigned->all)], ['0@0', '1@10'], 'all';
    is $assigned->find('t', 1), $options->{assignments}[1], 'one of them';
    is $assigned->find('u', 1), undef, 'none';
    $options->{assignments}[0]{offset} = 5;
    is_deeply [offsets($assigned->positions)], ['0@5', '1@10'], 'what a program writes counts';
    push @{ $options->{assignments} }, { topic => 't', partition => 2, offset => 7 };
    is_deeply [offsets($assigned->positions)], ['0@5', '1@10', '2@7'], 'also a partition more';
};

subtest 'what stays keeps its hash and its cursor' => sub {
    my $assigned = assigned(0, 1);
    my ($zero, $one) = $assigned->all;
    my @cursors = map { $assigned->cursor($_) } $zero, $one;
    my $new = EV::Kafka::Consumer::Cursor->untold;
    push @{ $cursors[0]{waiters} }, 'a round';
    my @rounds = $assigned->change([map { { topic => 't', partition => $_, offset => 0 } } 1, 2], 't:2' => $new);
    is_deeply \@rounds, ['a round'], 'what waited for the one that has gone';
    my ($stayed, $came) = $assigned->all;
    is $stayed, $one, 'the hash';
    is $assigned->cursor($stayed), $cursors[1], 'the cursor';
    is $assigned->cursor($came), $new, 'a new one has the cursor that was given';
    ok !$assigned->is_current($zero, $cursors[0]), 'the one that has gone is not current';
    is_deeply [offsets($assigned->positions)], ['1@10'], 'no position of what on_assign was not told of';
    $assigned->replace([$one]);
    ok !$assigned->is_current($one, $cursors[1]), 'of another assignment nothing is kept';
};

subtest 'while records are handed over' => sub {
    my $assigned = assigned(0, 1);
    my ($zero)   = $assigned->all;
    my $native   = Native->new(position => [3, 1], handled => [2, 1]);
    my $part     = part_of($assigned, $zero, fetched => $native);
    my (@positions, @handled);
    my @given = $assigned->hand_over($part, deliver => sub {
        ok $assigned->is_handing, 'it is known';
        @positions = offsets($assigned->positions);
        @handled   = offsets($assigned->handled_positions);
        $assigned->interrupt;
    });
    is_deeply \@given, [1], 'gives what native code gives';
    ok !$assigned->is_handing, 'and not afterwards';
    is_deeply \@positions, ['0@3', '1@10'], 'the position is where native code stands';
    is_deeply \@handled, ['0@2', '1@10'], 'and what is done with is behind that';
    is $native->{interrupted}, 1, 'it can be interrupted';
    $assigned->interrupt;
    is $native->{interrupted}, 1, 'only then';
};

subtest 'what was delivered moves the position' => sub {
    my $assigned = assigned(0);
    my ($zero) = $assigned->all;
    my $native = Native->new(position => [3, 1]);
    my $part   = part_of($assigned, $zero, fetched => $native, next => 5, epoch => 1);
    $assigned->delivered($part, 0);
    is_deeply [$zero->{offset}, $part->{from}], [3, 3], 'as far as it has come';
    $assigned->delivered($part, 1);
    is $zero->{offset}, 5, 'to its end';

    $part = part_of($assigned, $zero, fetched => $native, next => 9, epoch => 1);
    $zero->{offset} = 1;
    $assigned->delivered($part, 1);
    is $zero->{offset}, 1, 'a program that has written there has the last word';
    $part = part_of($assigned, $zero, fetched => $native, next => 9, epoch => 1);
    $part->{cursor}->moves;
    ok !$assigned->is_wanted($part), 'nobody wants what was fetched before a seek';
    $part->{asked} = 1;
    ok $assigned->is_wanted($part), 'unless poll had asked for it';
    $assigned->delivered($part, 1);
    is $zero->{offset}, 1, 'which moves nothing';
};

done_testing;
