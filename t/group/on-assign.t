use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use Inside;
use TestKafka;

# What on_assign is told, and what a program may say to it.

for my $protocol ('classic', 'consumer') {
    my @protocol = (group_protocol => $protocol);

    for my $case ([earliest => 2], [latest => 5]) {
        my ($reset, $offset) = @$case;
        subtest "$protocol: offsets that are looked up, $reset" => sub {
            my $mock = filled(2, 5);
            $mock->delete_records(t => $_, 2) for 0, 1;
            my $member = joined(member($mock, @protocol, auto_offset_reset => $reset));
            is_deeply [grep { length } @{ $member->{assigned} }], ["t:0\@$offset t:1\@$offset"], 'are told in one go';
        };
    }

    subtest "$protocol: committed offsets" => sub {
        my $mock = filled(2, 5);
        my $member = joined(member($mock, @protocol));
        wait_until { @{ $member->{got} } == 10 } 'records';
        left($member);
        my $lookups = $mock->request_count('ListOffsets');
        my $again = joined(member($mock, @protocol));
        is_deeply [grep { length } @{ $again->{assigned} }], ['t:0@5 t:1@5'], 'are told';
        is $mock->request_count('ListOffsets'), $lookups, 'and not looked up';
    };

    subtest "$protocol: a partition without a leader" => sub {
        # Each partition on a broker of its own.
        my $mock = filled(6, 3, brokers => 6);
        $mock->set_coordinator(group => 'g', 0);
        my $lonely = $mock->leader(t => 4);
        $mock->stop_broker($lonely);
        my $member = member($mock, @protocol, client => { request_timeout => 0.6, on_notice => sub { } });
        wait_until { grep { length } @{ $member->{assigned} } } 'on_assign';
        is_deeply [grep { length } @{ $member->{assigned} }], ['t:0@0 t:1@0 t:2@0 t:3@0 t:5@0'], 'the others are told without it';
        ok is_stable($member), 'as a member that can work';
        is owned($member), 6, 'who owns it all the same';
        wait_until { @{ $member->{got} } == 15 } 'records of the others';
        my $committed;
        $member->{kafka}->commit(sub { $committed = [@_] });
        wait_until { $committed } 'a commit';
        is_deeply committed_in($mock), { map { ("t:$_" => 3) } 0 .. 3, 5 }, 'leaves it out';
        $mock->start_broker($lonely);
        wait_until { @{ $member->{got} } == 18 } 'its records';
        is_deeply [grep { length } @{ $member->{assigned} }], ['t:0@0 t:1@0 t:2@0 t:3@0 t:5@0', 't:4@0'],
            'it comes in an on_assign of its own once there is one';
        is left($member), 'left', 'leaving';
        is_deeply $member->{revoked}, ['t:0@3 t:1@3 t:2@3 t:3@3 t:4@3 t:5@3'], 'on_revoke names all';
    };

    subtest "$protocol: leaving before it is known" => sub {
        my $mock = filled(2, 3, brokers => 2);
        $mock->set_coordinator(group => 'g', $mock->leader(t => 0));
        $mock->stop_broker($mock->leader(t => 1));
        my $member = member($mock, @protocol, client => { request_timeout => 0.6, on_notice => sub { } });
        wait_until { @{ $member->{got} } == 3 } 'records of the other one';
        is left($member), 'left', 'leaving';
        is_deeply $member->{revoked}, ['t:0@3'], 'on_revoke does not name what on_assign did not';
    };

    subtest "$protocol: offsets that are changed in place" => sub {
        my $mock = filled(4, 5);
        my %stored = (0 => 3, 1 => undef, 2 => -1);
        my (@got, @told);
        my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, "$_[1]\@$_[2]" });
        $kafka->subscribe('t', group_id => 'g', @protocol, on_assign => sub {
            my ($partitions) = @_;
            for my $partition (@$partitions) {
                push @told, $partition->{offset};
                $partition->{offset} = $stored{ $partition->{partition} } if exists $stored{ $partition->{partition} };
            }
        });
        wait_until { @got == 12 && ($kafka->position('t', 2) // -1) == 5 } 'records';
        turns 20;
        is_deeply \@told, [(0) x 4], 'were told';
        is_deeply [sort @got], [map({ "0\@$_" } 3, 4), map { my $p = $_; map { "$p\@$_" } 0 .. 4 } 1, 3],
            'count; undef leaves the one that was told, and -1 is looked up';
        is_deeply [errors($kafka)], [], 'without an error';
    };

    subtest "$protocol: an offset that is none" => sub {
        my $mock = filled(2, 5);
        my @got;
        my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, "$_[1]\@$_[2]" });
        $kafka->subscribe('t', group_id => 'g', @protocol, on_assign => sub { $_->{offset} = 'soon' for @{ $_[0] } });
        wait_until { @got == 10 } 'records';
        is_deeply [errors($kafka)], [map { "on_assign: the offset of t:$_ must be an offset, -1 (latest) or -2 (earliest), "
            . "not 'soon'" } 0, 1], 'is told, and the offset stays';
    };

    subtest "$protocol: on_assign that takes turns of the event loop itself" => sub {
        my $mock = filled(2, 5);
        my (@events, $kafka);
        $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message => sub { push @events, 'record' });
        $kafka->subscribe('t', group_id => 'g', @protocol, on_assign => sub {
            return unless @{ $_[0] };
            push @events, 'on_assign';
            my $lag;
            $kafka->lag(sub { $lag = 1 });
            EV::run EV::RUN_ONCE until $lag;
            turns 20;
            $_->{offset} = 4 for @{ $_[0] };
            push @events, 'done';
        });
        wait_until { grep { $_ eq 'record' } @events } 'records';
        turns 20;
        is_deeply \@events, [qw(on_assign done record record)], 'gets no record before it has returned';
    };
}

subtest 'others wait for what was given up' => sub {
    my $mock = filled(2, 3, brokers => 2);
    $mock->set_coordinator(group => 'g', $mock->leader(t => 0));
    $mock->stop_broker($mock->leader(t => 1));
    my $member = member($mock, topics => ['u'], client => { request_timeout => 3600, on_notice => sub { } });
    my $kafka  = $member->{kafka};
    wait_until { is_stable($member) } 'joining';
    my $told  = @{ $member->{assigned} };
    # As when an assignment takes something away and brings these.
    my @new = map { { topic => 't', partition => $_, offset => -2 } } 0, 1;
    Inside::take_over($kafka, \@new);
    wait_until { @{ $member->{assigned} } > $told } 'on_assign';
    is $member->{assigned}[$told], 't:0@0', 'a partition without a leader does not hold it up for request_timeout';
};

done_testing;
