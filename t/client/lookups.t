use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# Offsets of many partitions: one request for each leader, and an answer for each partition.

use constant PARTITIONS => 6;

sub cluster {
    my (%options) = @_;
    my $mock = EV::Kafka::Mock->new(brokers => 2, %options);
    $mock->create_topic($_ => PARTITIONS) for qw(t u);
    $mock->set_leader(t => $_, $_ % 2) for 0 .. PARTITIONS - 1;
    $mock->set_leader(u => $_, $_ % 2) for 0 .. PARTITIONS - 1;
    $mock->append(t => $_, map { { value => $_, timestamp => 1000 + $_ } } 0 .. $_) for 0 .. PARTITIONS - 1;
    return $mock;
}

# What lag says, and how many ListOffsets that took.
sub lag {
    my ($mock, %about) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, %about);
    $kafka->assign([map { my $topic = $_; map { { topic => $topic, partition => $_ } } 0 .. PARTITIONS - 1 } qw(t u)]);
    my ($requests, @got) = $mock->request_count('ListOffsets');
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'lag';
    turns 5;
    is scalar @got, 1, 'called back once';
    return ({ map { $_ => $got[0][0]{$_}{latest} } keys %{ $got[0][0] } }, $got[0][1],
        $mock->request_count('ListOffsets') - $requests, $kafka);
}

my %ALL = map { ("t:$_" => $_ + 1, "u:$_" => 0) } 0 .. PARTITIONS - 1;

sub all_but { my %left = %ALL; delete @left{@_}; return \%left }

subtest 'one request for each leader' => sub {
    my ($found, $error, $requests) = lag(cluster());
    is_deeply $found, \%ALL, 'every partition has its own offset';
    is $error, undef, 'no error';
    is $requests, 2, 'of all topics together';
};

subtest 'both ends' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->offsets_for($_, sub { push @got, [@_] }) for qw(t t);
    wait_until { @got == 2 } 'the callbacks';
    is_deeply $got[$_], [{ map { $_ => { earliest => 0, latest => $_ + 1 } } 0 .. PARTITIONS - 1 }, undef], 'are right' for 0, 1;
    is $mock->request_count('ListOffsets'), 8, 'no partition is in a request twice';
};

subtest 'times' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->offsets_for_times({ map { ("t:$_" => 1003 + $_ % 2) } 0 .. PARTITIONS - 1 }, sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    my %expected = map { ("t:$_" => undef) } 0 .. PARTITIONS - 1;
    $expected{"t:$_"} = { offset => 3 + $_ % 2, timestamp => 1003 + $_ % 2 } for 4, 5;
    is_deeply $got[0], [\%expected, undef], 'each partition has been asked for its own';
    is $mock->request_count('ListOffsets'), 2, 'with the others';
};

subtest 'one that is refused' => sub {
    my $mock = cluster();
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 2, error => 29);
    my ($found, $error, $requests) = lag($mock);
    is_deeply $found, all_but('t:2'), 'the others are there';
    is $error, 't:2: TOPIC_AUTHORIZATION_FAILED (code 29)', 'it has its error';
    is $requests, 2, 'and none is asked for again';
};

subtest 'some that have to be asked again' => sub {
    my $mock = cluster();
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 2, error => 6);
    $mock->fault(api => 'ListOffsets', topic => 'u', partition => 3, error => 78, times => 2);
    my ($found, $error, $requests) = lag($mock);
    is_deeply $found, \%ALL, 'are found';
    is $error, undef, 'without an error';
    is $requests, 2 + 1 + 2, 'those only are asked again';
};

subtest 'one that stays refused' => sub {
    my $mock = cluster();
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 2, error => 6, times => undef);
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 4, error => 3, times => undef);
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 0, error => 29);
    my ($found, $error, $requests) = lag($mock);
    is_deeply $found, all_but(qw(t:0 t:2 t:4)), 'the others are there';
    is $error, join('; ', 't:0: TOPIC_AUTHORIZATION_FAILED (code 29)', map { "t:$_" }
        '2: NOT_LEADER_OR_FOLLOWER (code 6)', '4: UNKNOWN_TOPIC_OR_PARTITION (code 3)'), 'each with its own error';
    is $requests, 1 + 5, 'after five tries';
};

subtest 'leaders that have moved' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([map { { topic => 't', partition => $_ } } 0 .. PARTITIONS - 1]);
    $mock->set_leader(t => $_, 1) for 0, 2;
    my @got;
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'lag';
    is_deeply { map { $_ => $got[0][0]{$_}{latest} } keys %{ $got[0][0] } }, { map { ("t:$_" => $_ + 1) } 0 .. PARTITIONS - 1 },
        'are found';
    is $got[0][1], undef, 'without an error';
    cmp_ok $mock->request_count('ListOffsets'), '<=', 2 + 5, 'together';
};

subtest 'those asked again have different leaders by then' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([map { { topic => 't', partition => $_ } } 0, 2, 4]);
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 0, error => 74, times => 2);
    $mock->set_leader(t => 2, 1);
    my @got;
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'lag';
    is_deeply [map { $got[0][0]{"t:$_"}{latest} } 0, 2, 4], [1, 3, 5], 'each is found where it is';
    is $got[0][1], undef, 'without an error';
};

subtest 'the connection is lost' => sub {
    my $mock = cluster();
    $mock->fault(api => 'ListOffsets', broker => 1, drop => 1);
    my ($found, $error) = lag($mock);
    is_deeply $found, { map { $_ => $ALL{$_} } grep { /[024]\z/ } keys %ALL }, 'the other broker has answered';
    is scalar(() = $error =~ /disconnected|lost|closed/g), PARTITIONS, 'each partition of the one has its error' or diag $error;
};

subtest 'brokers of old versions' => sub {
    for my $newest (1, 3) {
        my $mock = cluster();
        $mock->api_versions(ListOffsets => 1, $newest);
        my ($found, $error, $requests) = lag($mock);
        is_deeply $found, \%ALL, "version $newest";
        is $requests, 2, 'one request for each leader';
    }
};

subtest 'a group that begins' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my @topics = map { "topic-$_" } 1 .. 40;
    $mock->create_topic($_ => 5) for @topics;
    my ($kafka, @assigned) = connected(brokers => $mock->bootstrap, on_message => sub { });
    $kafka->subscribe(@topics, group_id => 'g', on_assign => sub { push @assigned, @{ $_[0] } });
    wait_until { @assigned } 'on_assign';
    is scalar @assigned, 200, 'has all partitions at once';
    is $mock->request_count('ListOffsets'), 2, 'after one request for each leader';
};

subtest 'a log is checked' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my @all  = 0 .. 39;
    $mock->create_topic(many => scalar @all);
    $mock->set_leader(many => $_, 0) for @all;
    $mock->append(many => $_, { value => 'old' }) for @all;
    $mock->api_versions(Fetch => 4, 11);
    my %received;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { $received{ $_[1] }++ });
    $kafka->assign([map { { topic => 'many', partition => $_ } } @all]);
    $kafka->consume;
    wait_until { @all == keys %received } 'records of each';
    my $before = $mock->request_count('OffsetForLeaderEpoch');
    $mock->set_leader(many => $_, 1) for @all;
    $mock->append(many => $_, { value => 'new' }) for @all;
    wait_until { !grep { $received{$_} != 2 } @all } 'what the new leader has';
    cmp_ok $mock->request_count('OffsetForLeaderEpoch') - $before, '<', @all / 4, 'of many partitions by few requests';
};

done_testing;
