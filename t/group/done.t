use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use MockTest qw(croaks_like);
use TestKafka;

# auto_commit => 'done': the program says of each record when it is done with it, in any order.

# The offsets of a partition that the program was given, as far as they are not done.
sub at_work { my ($member, $partition) = @_; return [map { /:$partition\@(.*)/ ? $1 : () } @{ $member->{got} }] }

sub committed_now {
    my ($member, $mock) = @_;
    my $told;
    $member->{kafka}->commit(sub { $told = [@_] });
    wait_until { $told } 'commit';
    is_deeply $told, [undef], 'committed';
    return committed_in($mock);
}

for my $protocol ('classic', 'consumer') {
    my @protocol = (group_protocol => $protocol);
    my @done     = (@protocol, auto_commit => 'done');

    subtest "$protocol: in any order" => sub {
        my $mock = filled(2, 5);
        my $member = joined(member($mock, @done, auto_commit_interval => 0.02));
        my $kafka  = $member->{kafka};
        wait_until { @{ $member->{got} } == 10 } 'records';
        is_deeply committed_now($member, $mock), { 't:0' => 0, 't:1' => 0 }, 'delivered is not done';
        is $kafka->position('t', 0), 5, 'though the position has moved';
        is $kafka->done('t', 0, $_), 1, "$_ is done" for 1, 2, 4;
        is $kafka->done('t', 1, $_), 1, "$_ of the other partition" for 0 .. 4;
        wait_until { (committed_in($mock)->{'t:1'} // 0) == 5 } 'the interval';
        is committed_in($mock)->{'t:0'}, 0, 'up to the first that is not done';
        is $kafka->done('t', 0, 0), 1, 'that one';
        wait_until { committed_in($mock)->{'t:0'} == 3 } 'up to the next one that is not done, by the interval';
        is $kafka->done('t', 0, $_), 0, "no such record: $_" for 0, 1, 5, 99;
        is $kafka->done('t', 7, 0), 0, 'no such partition';
        is left($member), 'left', 'leaving';
        is_deeply committed_in($mock), { 't:0' => 3, 't:1' => 5 }, 'what is at work is not committed';
        is $kafka->done('t', 0, 3), 0, 'too late';
        $member = joined(member($mock, @done));
        wait_until { @{ $member->{got} } == 2 } 'records';
        is_deeply at_work($member, 0), [3, 4], 'what was not done comes again';
        is_deeply [errors($kafka)], [], 'no errors';
    };

    subtest "$protocol: what is revoked, and closed" => sub {
        my $mock = filled(2, 5);
        my $one = joined(member($mock, @done, on_revoke => sub { }));
        wait_until { @{ $one->{got} } == 10 } 'records';
        my @first = map { my $p = $_; map { [$p, $_] } 0, 1, 3 } 0, 1;
        $one->{kafka}->done('t', @$_) for @first;
        my $two = joined(member($mock, @done));
        wait_until { owned($one) == 1 && owned($two) == 1 } 'a rebalance';
        my ($own) = map { $_->{partition} } @{ $one->{kafka}{cfg}{assignments} };
        is committed_in($mock)->{ 't:' . (1 - $own) }, 2, 'up to the first that is not done';
        wait_until { @{ $two->{got} } == 3 } 'what the other one has';
        is_deeply at_work($two, 1 - $own), [2, 3, 4], 'from there on';
        is $one->{kafka}->done('t', 1 - $own, 2), 0, 'who had it before is done with it in vain';
        $two->{kafka}->done('t', 1 - $own, 2);
        $two->{kafka}->close;
        wait_until { committed_in($mock)->{ 't:' . (1 - $own) } == 3 } 'close commits what is done';
    };

    subtest "$protocol: a record within its own handler, and commit of what is given" => sub {
        my $mock = filled(1, 3);
        my ($kafka, @done_at_once);
        my $member = member($mock, @done, client => { on_message => sub { push @done_at_once, $kafka->done(@_[0 .. 2]) if $kafka } });
        $kafka = $member->{kafka};
        joined($member);
        wait_until { @done_at_once == 3 } 'records';
        is_deeply \@done_at_once, [1, 1, 1], 'is in progress';
        is_deeply committed_now($member, $mock), { 't:0' => 3 }, 'done';
        my $told;
        $kafka->commit([{ topic => 't', partition => 0, offset => 1 }], sub { $told = 1 });
        wait_until { $told } 'commit';
        is_deeply committed_in($mock), { 't:0' => 1 }, 'the program knows what it says';
    };

    subtest "$protocol: no more than max_in_progress" => sub {
        my $mock = filled(2, 20);
        my $member = joined(member($mock, @done, max_in_progress => 3, client => { fetch_max_wait_ms => 10 }));
        my $kafka  = $member->{kafka};
        wait_until { @{ $member->{got} } == 6 } 'records';
        turns 50;
        is_deeply [map { at_work($member, $_) } 0, 1], [[0 .. 2], [0 .. 2]], 'of each partition';
        $kafka->done('t', 0, 1);
        wait_until { @{ at_work($member, 0) } == 4 } 'room';
        turns 50;
        is_deeply [map { at_work($member, $_) } 0, 1], [[0 .. 3], [0 .. 2]], 'one for each that is done';
        $kafka->pause([{ topic => 't', partition => 0 }]);
        $kafka->done('t', 0, $_) for 0, 2, 3;
        turns 50;
        is_deeply at_work($member, 0), [0 .. 3], 'none while the program has paused it';
        $kafka->resume([{ topic => 't', partition => 0 }]);
        wait_until { @{ at_work($member, 0) } == 7 } 'it goes on';
        $kafka->resume([{ topic => 't', partition => 1 }]);
        turns 50;
        is_deeply at_work($member, 1), [0 .. 2], 'resume makes no room';
        my %next = (0 => 4, 1 => 0);
        until ($next{0} == 20 && $next{1} == 20) {
            for my $partition (grep { $next{$_} < 20 } 0, 1) {
                wait_until { at_work($member, $partition)->[-1] >= $next{$partition} } 'more' or return;
                $kafka->done('t', $partition, $next{$partition}++);
            }
        }
        is_deeply [map { at_work($member, $_) } 0, 1], [[0 .. 19], [0 .. 19]], 'all of them, in order, once';
        is_deeply committed_now($member, $mock), { 't:0' => 20, 't:1' => 20 }, 'done';
    };
}

subtest 'on_batch' => sub {
    my $mock = filled(1, 20);
    my @batches;
    my $member = joined(member($mock, auto_commit => 'done', max_in_progress => 8,
        client => { on_message => undef, on_batch => sub { push @batches, [map { $_->[0] } @{ $_[2] }] } }));
    wait_until { @batches } 'a batch';
    turns 50;
    is_deeply \@batches, [[0 .. 7]], 'has no more records than there is room for';
    $member->{kafka}->done('t', 0, $_) for 0, 1, 5;
    wait_until { @batches == 2 } 'another one';
    is_deeply $batches[1], [8 .. 10], 'nor has the next';
    is_deeply committed_now($member, $mock), { 't:0' => 2 }, 'they are done one by one';
};

subtest 'gaps' => sub {
    my $mock  = filled(1, 2);
    my $other = connected(brokers => $mock->bootstrap, transactional_id => 'x');
    my $end = sub {
        my ($how) = @_;
        my ($produced, $ended);
        $other->begin_transaction;
        $other->produce('t', 'k', $how, sub { $produced = 1 });
        wait_until { $produced } 'delivery';
        $other->$how(sub { $ended = [@_] });
        wait_until { $ended } $how;
    };
    $end->($_) for qw(commit_transaction abort_transaction commit_transaction);
    # 0, 1, 2 and its marker, an aborted one and its marker, 6 and its marker.
    is $mock->high_watermark(t => 0), 8, 'the log';
    my $member = joined(member($mock, auto_commit => 'done', client => { isolation_level => 'read_committed' }));
    wait_until { @{ $member->{got} } == 4 } 'records';
    is_deeply at_work($member, 0), [0, 1, 2, 6], 'what is delivered';
    $member->{kafka}->done('t', 0, $_) for 0 .. 2;
    is_deeply committed_now($member, $mock), { 't:0' => 6 }, 'what is not delivered is not waited for';
    $member->{kafka}->done('t', 0, 6);
    is_deeply committed_now($member, $mock), { 't:0' => 8 }, 'nor at the end';
};

subtest 'a seek, and a record that the program died of' => sub {
    my $mock = filled(1, 6);
    my ($dies, $kafka, @got) = (1);
    my $member = member($mock, auto_commit => 'done', client => { on_message_die => 'hold', on_notice => sub { },
        on_message => sub { push @got, $_[2]; die "not now\n" if $_[2] == 2 && $dies } });
    $kafka = $member->{kafka};
    joined($member);
    wait_until { @got == 3 } 'records';
    $kafka->done('t', 0, $_) for 0, 1;
    is $kafka->done('t', 0, 2), 0, 'what it died of is not in progress';
    is_deeply committed_now($member, $mock), { 't:0' => 2 }, 'it stays the next one';
    $dies = 0;
    $kafka->resume([{ topic => 't', partition => 0 }]);
    wait_until { @got == 7 } 'records';
    is $kafka->done('t', 0, $_), 1, "$_ is done" for 2, 4;
    is_deeply committed_now($member, $mock), { 't:0' => 3 }, 'and it is done when it has come again';
    $kafka->seek('t', 0, 4);
    is_deeply committed_now($member, $mock), { 't:0' => 3 }, 'a seek leaves what is before it in progress';
    wait_until { @got == 9 } 'records again';
    is_deeply [@got[-2, -1]], [4, 5], 'from there on';
    is $kafka->done('t', 0, $_), 1, "$_ is done" for 3, 5;
    is_deeply committed_now($member, $mock), { 't:0' => 4 }, 'what came again is done again';
};

subtest 'what makes no sense' => sub {
    my $mock  = filled(1, 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    is $kafka->done('t', 0, 0), 0, 'without a group nothing is in progress';
    croaks_like(sub { $kafka->done('t', 0) }, qr/\Adone: topic, partition and offset required at \Q$0\E/);
    croaks_like(sub { $kafka->done('t', 0, 'x') }, qr/\Adone: offset must be .*'x' at \Q$0\E/);
    croaks_like(sub { $kafka->subscribe('t', group_id => 'g', max_in_progress => 5) }, qr/option 'max_in_progress' needs auto_commit => 'done' at \Q$0\E/);
    croaks_like(sub { $kafka->subscribe('t', group_id => 'g', auto_commit => 'done', max_in_progress => $_) },
        qr/option 'max_in_progress' must be a whole number, 1 or more, not '\Q$_\E' at \Q$0\E/) for 0, -1, 'many', 1.5;
    my $member = joined(member($mock));
    croaks_like(sub { $member->{kafka}->done('t', 0, 0) }, qr/\Adone: the group 'g' was subscribed to without auto_commit => 'done' at \Q$0\E/);
};

done_testing;
