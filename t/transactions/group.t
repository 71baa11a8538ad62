use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use GroupTest;
use TestKafka;

# Transactions of members of a group whose partitions move in the middle of them:
# what is written of a partition and how far it was read stay together.

# A member that copies t to out. Records linger for longer than the test takes, and
# leave with the end of the transaction.
sub copier {
    my ($mock, $id, %option) = @_;
    my ($kafka, @values);
    my $member = member($mock, auto_commit => 0, session_timeout => 1000, %option, client => {
        transactional_id => $id,
        isolation_level  => 'read_committed',
        linger_ms        => 60_000,
        on_message       => sub { push @values, "$_[1]:$_[4]"; $kafka->produce(out => undef, "$_[1]:$_[4]") },
    });
    $kafka = $member->{kafka};
    $member->{values} = \@values;
    $kafka->begin_transaction;
    return $member;
}

sub cluster {
    my $mock = filled(2, 5);
    $mock->create_topic(out => 1);
    return $mock;
}

sub ended {
    my ($member, $method, @arguments) = @_;
    my @got;
    $member->{kafka}->$method(@arguments, sub { push @got, [@_] });
    wait_until { @got } $method;
    return $got[0][-1];
}

sub copied {
    my ($mock) = @_;
    return [sort map { $_->{value} } $mock->records(out => 0, isolation_level => 'read_committed')];
}

my @ALL = sort map { my $partition = $_; map { "$partition:v$_" } 1 .. 5 } 0, 1;

# Each ends its transaction when it has read everything that it owns.
sub copy_the_rest {
    my ($mock, @members) = @_;
    for my $member (@members) {
        my $kafka = $member->{kafka};
        wait_until { !grep { ($kafka->position('t', $_) // 5) < 5 } 0, 1 } 'the ends of the partitions';
        is ended($member, send_offsets_to_transaction => 'g'), undef, 'positions are sent';
        is ended($member, 'commit_transaction'), undef, 'and committed';
    }
    is_deeply copied($mock), \@ALL, 'each record was copied once';
    return;
}

for my $case (
    ['eager members',               assignors      => ['sticky']],
    ['cooperative members',         assignors      => ['cooperative-sticky']],
    ['the consumer group protocol', group_protocol => 'consumer'],
) {
    my ($name, %option) = @$case;

    subtest "$name: one joins" => sub {
        my $mock = cluster();
        my $one  = joined(copier($mock, 'one', %option));
        wait_until { @{ $one->{values} } == 10 } 'the records';
        my $two = joined(copier($mock, 'two', %option));
        wait_until { owned($one) == 1 && owned($two) == 1 && is_stable($one) && is_stable($two) } 'the sharing';
        like ended($one, send_offsets_to_transaction => 'g'), qr/rebalanced in the middle of the transaction/,
            'what was read of the one that went cannot be committed any more';
        is ended($one, 'abort_transaction'), undef, 'it is aborted';
        $one->{kafka}->begin_transaction;
        wait_until { @{ $one->{values} } == 15 } 'what is still its own, once more';
        wait_until { @{ $two->{values} } == 5 } 'and the other one, its part';
        copy_the_rest($mock, $one, $two);
    };

    subtest "$name: it leaves in the middle" => sub {
        my $mock = cluster();
        my $one  = joined(copier($mock, 'one', %option));
        wait_until { @{ $one->{values} } == 10 } 'the records';
        is left($one), 'left', 'it leaves';
        like ended($one, send_offsets_to_transaction => 'g'), qr/rebalanced in the middle of the transaction/,
            'and cannot say how far it has read';
        is ended($one, 'abort_transaction'), undef, 'it is aborted';
        my $two = joined(copier($mock, 'two', %option));
        wait_until { @{ $two->{values} } == 10 } 'the records, by another one';
        copy_the_rest($mock, $two);
    };
}

subtest 'nothing was read of what goes' => sub {
    my $mock = filled(2, 0);
    $mock->create_topic(out => 1);
    my $one = joined(copier($mock, 'one'));
    $mock->append(t => 0, { value => 'v1' });
    my $two = joined(copier($mock, 'two'));
    wait_until { owned($one) == 1 && owned($two) == 1 && is_stable($one) && is_stable($two) } 'the sharing';
    $mock->append(t => $_, { value => 'v2' }) for 0, 1;
    wait_until { @{ $one->{values} } + @{ $two->{values} } >= 3 } 'the records';
    for my $member ($one, $two) {
        my $error = ended($member, send_offsets_to_transaction => 'g');
        next unless defined $error;
        is ended($member, 'abort_transaction'), undef, 'it is aborted';
        $member->{kafka}->begin_transaction;
    }
    pass 'whatever came first, both go on';
};

subtest 'a transaction that is aborted while its partitions are nobody\'s' => sub {
    my $mock = cluster();
    my $one  = joined(copier($mock, 'one'));
    wait_until { @{ $one->{values} } == 10 } 'the records';
    $mock->fault(api => 'JoinGroup', delay_ms => 500);
    $mock->fault(api => 'Heartbeat', error => 27);
    wait_until { !owned($one) } 'a rebalance';
    is ended($one, 'abort_transaction'), undef, 'aborted';
    is owned($one), 0, 'before the partitions came back';
    wait_until { owned($one) == 2 } 'their return';
    $one->{kafka}->begin_transaction;
    wait_until { @{ $one->{values} } == 20 } 'the same records';
    is_deeply [sort @{ $one->{values} }], [sort @ALL, @ALL], 'all of them come again';
    copy_the_rest($mock, $one);
};

subtest 'a partition comes back, read further by another member' => sub {
    my $mock = cluster();
    my $one  = joined(copier($mock, 'one'));
    wait_until { @{ $one->{values} } == 10 } 'the records';
    my $two = joined(copier($mock, 'two'));
    wait_until { @{ $two->{values} } == 5 && is_stable($one) } 'the part of the other one';
    is ended($two, send_offsets_to_transaction => 'g'), undef, 'which sends its position';
    is ended($two, 'commit_transaction'), undef, 'and commits';
    is left($two), 'left', 'and leaves';
    wait_until { owned($one) == 2 && is_stable($one) } 'the return';
    is ended($one, 'abort_transaction'), undef, 'the transaction from before it all is aborted';
    $one->{kafka}->begin_transaction;
    copy_the_rest($mock, $one);
};

subtest 'a position that was the latest' => sub {
    my $mock = cluster();
    my $one  = joined(copier($mock, 'one', auto_offset_reset => 'latest'));
    wait_until { 2 == grep { $_->{offset} == 5 } @{ $one->{kafka}{cfg}{assignments} } } 'the positions';
    $mock->append(t => $_, { value => 'v6' }) for 0, 1;
    wait_until { @{ $one->{values} } == 2 } 'the records';
    is ended($one, 'abort_transaction'), undef, 'aborted';
    $one->{kafka}->begin_transaction;
    wait_until { @{ $one->{values} } == 4 } 'the same records';
    is_deeply [sort @{ $one->{values} }], [qw(0:v6 0:v6 1:v6 1:v6)], 'come again, and are not skipped';
};

done_testing;
