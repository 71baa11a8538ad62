use strict;
use warnings;
use Test::More;

use EV::Kafka;
use EV::Kafka::Cluster::Topics;

# What a client makes of answers to Metadata, without a client.

sub topics {
    my %published = (meta => undef, broker_map => {}, leaders => {});
    return (EV::Kafka::Cluster::Topics->new(\%published), \%published);
}

sub brokers { return [map { { node_id => $_, host => "h$_", port => 9092 } } @_] }

# A topic whose partitions have these leaders, each given as [leader, epoch].
sub topic {
    my ($name, $leaders, %about) = @_;
    my @partitions = map { { partition => $_, leader => $leaders->[$_][0], leader_epoch => $leaders->[$_][1] } } 0 .. $#$leaders;
    return { name => $name, error_code => 0, partitions => \@partitions, %about };
}

sub answer { my (@topics) = @_; return { brokers => brokers(1, 2), topics => \@topics } }

subtest 'an answer for all topics' => sub {
    my ($topics, $published) = topics();
    my $adoption = $topics->adopt(answer(topic('t', [[1, 3], [-1, 4], [2, -1]]), topic('u', [[2, 0]])));
    ok $adoption->{has_news}, 'is news';
    is_deeply $published->{leaders}, { 't:0' => 1, 't:2' => 2, 'u:0' => 2 }, 'leaders are published';
    is_deeply [map { $_->{name} } @{ $published->{meta}{topics} }], ['t', 'u'], 'as are the topics';
    is_deeply [$topics->brokers], [1, 2], 'and the brokers';
    is_deeply $topics->broker(2), { host => 'h2', port => 9092 }, 'one of them';
    is_deeply $topics->leaders_of('t'), [1, -1, 2], 'leaders by number';
    is_deeply [map { $topics->leader_epoch(t => $_) } 0 .. 3], [3, 4, -1, -1], 'their epochs';
    is_deeply [map { $topics->has_leader(t => $_) ? 1 : 0 } 0 .. 3], [1, 0, 1, 0], 'who has a leader';
    is_deeply [map { $topics->is_known(t => $_) ? 1 : 0 } 0 .. 3], [1, 1, 1, 0], 'who is there';
    is $topics->leader('none', 0), undef, 'nobody leads a topic that is not there';
    is $topics->partitions('none'), 0, 'which has no partitions';

    $adoption = $topics->adopt(answer(topic('u', [[2, 0]])));
    is_deeply $published->{leaders}, { 'u:0' => 2 }, 'what the next one lacks is gone';
    ok !$topics->is_known('t'), 'for all questions';
};

subtest 'an answer for some topics' => sub {
    my ($topics, $published) = topics();
    $topics->adopt(answer(topic('t', [[1, 0]]), topic('t-2', [[2, 0]])));
    $topics->adopt(answer(topic('t', [[-1, 1], [1, 1]])), ['t']);
    is_deeply $published->{leaders}, { 't:1' => 1, 't-2:0' => 2 }, 'others stay';
    $topics->adopt(answer({ name => 't', error_code => 3, partitions => [] }), ['t']);
    is_deeply $published->{leaders}, { 't-2:0' => 2 }, 'one without partitions has no leaders';
    is_deeply [sort map { $_->{name} } @{ $published->{meta}{topics} }], ['t', 't-2'], 'meta says what was answered';
    my $adoption = $topics->begin(answer(), ['t-2']);
    is_deeply [$topics->end($adoption)], ['t-2'], 'what was asked for and not named is gone';
};

subtest 'in steps' => sub {
    my ($topics) = topics();
    my $adoption = $topics->begin({ brokers => brokers(1) }, undef);
    is_deeply [$topics->take($adoption, topic('a', [[1, 0]]), topic('empty', []))], ['a'], 'those that have leaders now';
    is_deeply [$topics->take($adoption, topic('b', [[1, 0]]))], ['b'], 'and the next ones';
    is_deeply [$topics->end($adoption)], [], 'nothing is gone';

    $adoption = $topics->begin({ brokers => brokers(1) }, undef);
    ok !$adoption->{has_news}, 'the same brokers are no news';
    is_deeply [$topics->take($adoption, 'a')], [], 'nor is a topic that is as it was';
    ok !$adoption->{has_news}, 'which says so';
    is_deeply [$topics->end($adoption)], ['b'], 'one that is not named is gone';
    ok $adoption->{has_news}, 'which is';
    ok $topics->has_leader('a'), 'the other one is still known';
};

subtest 'epochs that go back' => sub {
    my ($topics) = topics();
    my $told = sub {
        my ($leader, $epoch, %about) = @_;
        my $adoption = $topics->adopt(answer(topic('t', [[$leader, $epoch]], %about)), ['t']);
        return ($topics->leader(t => 0) . '/' . $topics->leader_epoch(t => 0), $adoption);
    };
    is +($told->(1, 5))[0], '1/5', 'a leader';
    my ($known, $adoption) = $told->(2, 4);
    is $known, '1/5', 'an older epoch is not believed';
    is_deeply $adoption->{doubtful}, { t => 1 }, 'but worth another look';
    $told->(2, 4) for 1 .. 3;
    is +($told->(2, 4))[0], '2/4', 'five answers that agree are';
    is +($told->(1, 6))[0], '1/6', 'and a newer one at once';
    is +($told->(2, 0, topic_id => 'x' x 16))[0], '2/0', 'as is any of another topic';
};

subtest 'a topic that is created anew' => sub {
    my ($topics) = topics();
    my $recreated = sub { $topics->adopt(answer(topic('t', [[1, 0]], @_)), ['t'])->{recreated} };
    is_deeply $recreated->(topic_id => 'a' x 16), [], 'the first one is not';
    is_deeply $recreated->(topic_id => 'a' x 16), [], 'nor is the same one';
    is_deeply $recreated->(), [], 'nor one without an id';
    is_deeply $recreated->(topic_id => 'b' x 16), ['t'], 'one with another id is';
    is_deeply $topics->topic_names, { 'b' x 16 => 't' }, 'the id tells its name';
};

subtest 'what cannot be' => sub {
    my ($topics, $published) = topics();
    my @lies = map { { partition => $_, leader => 1 } } -1, 1, 1 << 20, (1 << 31) - 1;
    $topics->adopt({
        brokers => [@{ brokers(1) }, { node_id => 7, host => 'h', port => 65536 }, { node_id => 8, host => 'h', port => -1 }],
        topics  => [{ name => 't', partitions => \@lies }, { name => undef, partitions => [] }],
    });
    is_deeply $topics->leaders_of('t'), [-1, 1], 'partitions are passed over';
    is_deeply [$topics->brokers], [1], 'and brokers';
    $topics->adopt({ topics => [] }, []);
    is_deeply [$topics->brokers], [1], 'an answer without brokers leaves those that are known';
};

subtest 'what a program adds' => sub {
    my ($topics, $published) = topics();
    $topics->adopt(answer(topic('t', [[1, 0], [2, 0]])));
    is_deeply $topics->partition_counts, { t => 2 }, 'partitions by topic';
    $published->{leaders}{'mine:4'} = 1;
    is_deeply $topics->partition_counts, { t => 2, mine => 5 }, 'a leader makes partitions known';
    is $topics->leader('mine', 4), 1, 'and leads';
    $topics->merge(answer(topic('mine', [[2, 0]])));
    is_deeply $published->{leaders}, { 't:0' => 1, 't:1' => 2, 'mine:0' => 2 }, 'an answer with the topic forgets it';
    $published->{leaders} = {};
    is $topics->leader(t => 0), undef, 'another hash counts';
    $topics->add_broker(9, 'h9', 1);
    $topics->add_broker(1, 'other', 1);
    is_deeply [map { $topics->broker($_)->{host} } $topics->brokers], ['h1', 'h2', 'h9'], 'a broker is added once';
    $topics->forget_brokers;
    is_deeply [$topics->brokers], [], 'all are forgotten';
};

done_testing;
