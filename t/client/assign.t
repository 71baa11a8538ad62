use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use Hash::Util qw(lock_hash);
use TestKafka;

# assign works on the caller's own list; a group assigns by itself.

my $mock = EV::Kafka::Mock->new;
$mock->create_topic(t => 2);
$mock->append(t => $_, map { { value => "v$_" } } 0 .. 4) for 0, 1;

subtest 'the list and its hashes are the caller\'s' => sub {
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
    my $parts = [{ topic => 't', partition => '0', mine => 'x' }, { topic => 't', partition => 1, offset => '3' }];
    $kafka->assign($parts);
    is $kafka->{cfg}{assignments}, $parts, 'they stand in {cfg}';
    is_deeply $parts, [{ topic => 't', partition => 0, offset => 0, mine => 'x' }, { topic => 't', partition => 1, offset => 3 }],
        'with what counts';
    fetch_all($kafka, \@received, 7);
    is_deeply [map { $_->{offset} } @$parts], [5, 5], 'offsets move as records are delivered';
    $parts->[0]{offset} = 2;
    @received = ();
    fetch_all($kafka, \@received, 3);
    is_deeply \@received, ['v2', 'v3', 'v4'], 'and one that is written counts';
    $_->{offset} = 4 for @$parts;
    @received = ();
    $kafka->assign($parts);
    fetch_all($kafka, \@received, 2);
    is_deeply \@received, ['v4', 'v4'], 'the same list may be assigned again';
};

subtest 'a partition that is named twice' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my $parts = [{ topic => 't', offset => 1 }, { topic => 't', partition => 1 }, { topic => 't', offset => 2 }];
    $kafka->assign($parts);
    is_deeply $kafka->{cfg}{assignments}, [{ topic => 't', partition => 1, offset => 0 }, { topic => 't', partition => 0, offset => 2 }],
        'is assigned once, as the last one says';
    is scalar(@$parts), 3, 'the list stays as it is';
    is $kafka->{cfg}{assignments}[1], $parts->[2], 'its hashes are the caller\'s';
};

subtest 'hashes that cannot be written to' => sub {
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { });
    my %fixed = (topic => 't', partition => 0, offset => 0);
    lock_hash(%fixed);
    local $@ = 'mine';
    $kafka->assign([\%fixed]);
    is $@, 'mine', '$@ is left alone';
    is_deeply $kafka->{cfg}{assignments}, [{ topic => 't', partition => 0, offset => 0 }], 'are copied';
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    wait_until { $polled } 'poll';
    is $kafka->position('t', 0), 5, 'and work';
};

subtest 'offset undef' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @warnings = warnings_of {
        $kafka->assign([{ topic => 't', offset => undef }, { topic => 't', partition => 1, offset => undef }]);
    };
    is_deeply [map { $_->{offset} } @{ $kafka->{cfg}{assignments} }], [0, 0], 'counts as 0';
    is scalar(@warnings), 1, 'with one warning';
    like $warnings[0], qr/^EV::Kafka: assign: offset undef counts as 0: t:0, t:1 at \Q$0\E/, 'that names the partitions and the place';
    is_deeply [warnings_of { $kafka->assign([{ topic => 't' }]) }], [], 'one that is left out needs none';
};

for my $protocol ('classic', 'consumer') {
    subtest "a member of a group, $protocol" => sub {
        my $mock = filled(2, 5);
        my ($kafka, @inside);
        my $member = member($mock, group_protocol => $protocol, on_assign => sub {
            push @inside, eval { $kafka->assign([{ topic => 'u' }]); 1 } ? 'accepted' : $@;
        }, client => {});
        $kafka = $member->{kafka};
        wait_until { @inside } 'on_assign';
        like $inside[0], qr/^assign: the group 'g' has not assigned u:0 at \Q$0\E/, 'cannot assign itself what it does not own in on_assign';
        wait_until { @{ $member->{got} } == 10 } 'records';
        ok !eval { $kafka->assign([{ topic => 't', offset => 0 }]); 1 }, 'nor anything later';
        like $@, qr/^assign: a member of a group, here 'g', .* at \Q$0\E/, 'and hears why';
        is owned($member), 2, 'it keeps what it has';
        is left($member), 'left', 'leaving';
        ok eval { $kafka->assign([{ topic => 't', offset => 0 }]); 1 }, 'who has left may assign again';
    };

    subtest "assign within on_assign, $protocol" => sub {
        my $mock = filled(2, 5);
        my (@got, $kafka);
        $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, "$_[1]\@$_[2]" });
        $kafka->subscribe('t', group_id => 'g', group_protocol => $protocol, on_assign => sub {
            my ($partitions) = @_;
            $_->{offset} = $_->{partition} ? -1 : 3 for @$partitions;
            $kafka->assign($partitions);
            $kafka->assign([map { { topic => 't', partition => $_->{partition} } } @$partitions]);
        });
        wait_until { @got == 2 && ($kafka->position('t', 1) // -1) == 5 } 'records';
        turns 20;
        is_deeply [sort @got], ['0@3', '0@4'], 'sets the offsets, -1 and -2 among them, where there is one';
        is_deeply [errors($kafka)], [], 'without an error';
    };
}

done_testing;
