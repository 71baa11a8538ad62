use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use TestKafka;

# What a client does for one of many partitions or topics must not look at all the others.

use constant MANY => 300;

# Runs $code and counts what it calls: how often a method of ours.
sub calls_of {
    my ($method, $code) = @_;
    no strict 'refs';
    no warnings 'redefine';
    my ($calls, $original) = (0, \&{"EV::Kafka::$method"});
    local *{"EV::Kafka::$method"} = sub { $calls++; goto &$original };
    $code->();
    return $calls;
}

sub filled_topics {
    my $mock   = EV::Kafka::Mock->new;
    my @topics = map { "t$_" } 1 .. MANY;
    $mock->create_topic($_ => 1) for @topics;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $delivered = 0;
    $kafka->produce($_, undef, 'v', sub { $delivered++ }) for @topics;
    wait_until { $delivered == MANY } 'the messages';
    return ($mock, @topics);
}

subtest 'a group: the positions of many partitions become known' => sub {
    my ($mock, @topics) = filled_topics();
    my $looks = calls_of('Fetcher::_nodes_to_ask', sub {
        my $member = member($mock, topics => \@topics);
        wait_until { @{ $member->{got} } == MANY } 'all messages';
        is left($member), 'left', 'leaving';
    });
    cmp_ok $looks, '<', MANY / 4, "all partitions were looked at $looks times";
};

subtest 'polls that wait for the positions of many partitions' => sub {
    my ($mock, @topics) = filled_topics();
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[0] });
    $kafka->assign([map { { topic => $_, offset => -2 } } @topics]);
    my ($joined, @polled) = (0);
    my $original = \&EV::Kafka::Fetcher::_join_fetch;
    no warnings 'redefine';
    local *EV::Kafka::Fetcher::_join_fetch = sub {
        my ($self, $fetch) = @_;
        &$original;
        $joined = @{ $fetch->{rounds} } if @{ $fetch->{rounds} } > $joined;
    };
    for my $poll (0 .. 4) {
        $kafka->poll(sub { $polled[$poll]++ });
    }
    fetch_all($kafka, \@got, MANY);
    wait_until { 5 == grep { defined } @polled } 'the polls';
    turns;
    is_deeply \@polled, [(1) x 5], 'each was called back once';
    cmp_ok $joined, '<', 20, 'none waits for an answer more than once or twice';
};

subtest 'many topics that are not known' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $delivered = 0;
    my $looks = calls_of('Pending::_waits_for_leader', sub {
        $kafka->produce("new$_", undef, 'v', sub { $delivered++ }) for 1 .. MANY;
        wait_until { $delivered == MANY } 'the messages';
    });
    cmp_ok $looks, '<', 20 * MANY, "what waits was looked at $looks times";
};

done_testing;
