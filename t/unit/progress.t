use strict;
use warnings;
use Test::More;

use EV;
use EV::Kafka;
use EV::Kafka::Consumer::Assigned;
use EV::Kafka::Consumer::Progress;

# What the program is not done with, without a client.

sub progress {
    my ($most) = @_;
    my $assigned = EV::Kafka::Consumer::Assigned->new({});
    $assigned->replace([map { { topic => 't', partition => $_, offset => 0 } } 0, 1]);
    my $progress = EV::Kafka::Consumer::Progress->new(assigned => $assigned);
    $progress->begins($most) if $most;
    return ($progress, $assigned);
}

# As native code does when it hands records over.
sub begin {
    my ($progress, $assigned, $partition, @offsets) = @_;
    my $cursor = $assigned->cursor($assigned->find('t', $partition));
    $progress->of($cursor)->begin($_, 3) for @offsets;
    $cursor->begins_no_more if $progress->of($cursor)->is_full;
    return $cursor;
}

sub position { my ($partition, $offset) = @_; return { topic => 't', partition => $partition, offset => $offset, leader_epoch => 3 } }

sub limited { my ($progress, @positions) = @_; return join ' ', map { "$_->{partition}\@$_->{offset}" } $progress->limit(@positions) }

subtest 'who does not say what is done' => sub {
    my ($progress, $assigned) = progress();
    ok !$progress->is_wanted, 'is not asked';
    is $progress->of($assigned->cursor($assigned->find('t', 0))), undef, 'nothing is written down';
    is limited($progress, position(0, 7)), '0@7', 'what was delivered counts';
    is $progress->done('t', 0, 5), 0, 'and nothing is done';
};

subtest 'in any order' => sub {
    my ($progress, $assigned) = progress(10);
    is limited($progress, position(0, 5), position(1, 6)), '0@5 1@6', 'a position while nothing is in progress';
    # 7, 8 and 11 are gaps.
    begin($progress, $assigned, 0, 5, 6, 9, 10, 12);
    my @delivered = (position(0, 13), position(1, 6));
    is limited($progress, @delivered), '0@5 1@6', 'the first record that was begun';
    my @expected = ([10 => 5], [5 => 6], [12 => 6], [6 => 9], [9 => 13]);
    for my $case (@expected) {
        my ($done, $then) = @$case;
        is $progress->done('t', 0, $done), 1, "$done is done";
        is limited($progress, @delivered), "0\@$then 1\@6", "up to $then";
    }
    is_deeply [$progress->limit(position(0, 13))], [position(0, 13)], 'in the end all that was delivered';
};

subtest 'the leader epoch is that of the record before' => sub {
    my ($progress, $assigned) = progress(10);
    begin($progress, $assigned, 0, 5, 6);
    is +($progress->limit(position(0, 7)))[0]{leader_epoch}, -1, 'none at the beginning';
    $progress->done('t', 0, 5);
    is +($progress->limit(position(0, 7)))[0]{leader_epoch}, 3, 'that of what was read';
};

subtest 'what is not in progress is not done' => sub {
    my ($progress, $assigned) = progress(10);
    begin($progress, $assigned, 0, 5, 6, 9);
    is $progress->done('t', 0, 6), 1, 'once';
    is $progress->done('t', 0, 6), 0, 'not twice';
    is $progress->done('t', 0, 7), 0, 'not what was never delivered';
    is $progress->done('t', 1, 5), 0, 'not of another partition';
    is $progress->done('t', 2, 5), 0, 'not of one that is not assigned';
    is $progress->done('u', 0, 5), 0, 'not of another topic';
    is limited($progress, position(0, 10)), '0@5', 'and nothing else changes';
    $assigned->change([$assigned->find('t', 1)]);
    is $progress->done('t', 0, 5), 0, 'not of one that was given up';
    is limited($progress, position(0, 10)), '0@10', 'of which nothing is known';
    $assigned->change([$assigned->all, { topic => 't', partition => 0, offset => 5 }]);
    is $progress->done('t', 0, 5), 0, 'nor when it has come back';
};

subtest 'room' => sub {
    my ($progress, $assigned) = progress(2);
    my $cursor = begin($progress, $assigned, 0, 5);
    ok !$cursor->is_stopped, 'there is some';
    begin($progress, $assigned, 0, 6);
    ok $cursor->is_stopped, 'there is none';
    is_deeply [$progress->done('t', 0, 99)], [0], 'nothing was done';
    is_deeply [$progress->done('t', 0, 6)], [1, $cursor], 'who waited for it is told';
    ok !$cursor->is_stopped, 'it goes on';
    is_deeply [$progress->done('t', 0, 5)], [1], 'nobody waits';
    begin($progress, $assigned, 0, 7, 8);
    $cursor->pause;
    $progress->done('t', 0, 7);
    ok $cursor->is_stopped, 'what the program has paused stays so';
    $cursor->resume;
    ok !$cursor->is_stopped, 'until it resumes it';
    begin($progress, $assigned, 0, 9);
    $cursor->resume;
    ok $cursor->is_stopped, 'which makes no room';
};

subtest 'a seek' => sub {
    my ($progress, $assigned) = progress(4);
    my $cursor = begin($progress, $assigned, 0, 5 .. 8);
    $cursor->forget_from(7);
    ok !$cursor->is_stopped, 'what comes again is not in progress';
    is limited($progress, position(0, 7)), '0@5', 'what is before it is';
    is $progress->done('t', 0, 8), 0, 'it will be done when it has come';
    $cursor->forget_from(2);
    is limited($progress, position(0, 2)), '0@2', 'before all of it';
    begin($progress, $assigned, 0, 5, 6);
    is limited($progress, position(0, 3)), '0@3', 'no more is committed than was delivered';
    begin($progress, $assigned, 0, 5);
    is $progress->done('t', 0, 6), 0, 'a position that went back without a word begins anew as well';
};

subtest 'how much is fetched ahead' => sub {
    my ($progress, $assigned) = progress(2);
    my $cursor = begin($progress, $assigned, 0, 5);
    $cursor->took(5, 10, 0);
    ok $cursor->is_fetchable, 'another answer while one is delivered';
    $cursor->took(10, 15, 0);
    ok !$cursor->is_fetchable, 'and no more';
    $cursor->delivered(7, 0, 0);
    ok !$cursor->is_fetchable, 'until its end';
    $cursor->delivered(10, 0, 1);
    ok $cursor->is_fetchable, 'is there';
    $cursor->took(15, 20, 0);
    $cursor->drop_fetched;
    ok $cursor->is_fetchable, 'or all is fetched anew';
};

done_testing;
