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

# Subscribing to what topics are called: patterns of Perl's, matched here, and one of RE2's, matched by the broker.

sub cluster {
    my (@topics) = @_;
    my $mock = EV::Kafka::Mock->new(min_session_timeout_ms => 1, consumer_heartbeat_interval_ms => 30);
    add($mock, $_) for @topics;
    return $mock;
}

sub add {
    my ($mock, $topic) = @_;
    $mock->create_topic($topic => 1);
    $mock->append($topic => 0, { value => 'v' });
    return;
}

# A member that looks for topics often.
sub watcher {
    my ($mock, $topics, %option) = @_;
    return member($mock, topics => $topics, client => { metadata_refresh => 0.1, on_notice => sub { } }, %option);
}

sub has { my ($member) = @_; return join ' ', sort map { $_->{topic} } @{ $member->{kafka}{cfg}{assignments} } }

for my $protocol ('classic', 'consumer') {
    my @protocol = (group_protocol => $protocol);

    subtest "$protocol: topics that match, at any time" => sub {
        my $mock   = cluster(qw(orders-1 orders-2 my-orders other));
        my $member = watcher($mock, [qr/^orders-/], @protocol);
        wait_until { has($member) eq 'orders-1 orders-2' } 'those that there are';
        is_deeply $member->{kafka}->subscription, ['orders-1', 'orders-2'], 'are what is subscribed to';
        add($mock, 'orders-3');
        add($mock, 'payments');
        wait_until { has($member) eq 'orders-1 orders-2 orders-3' } 'a new one';
        wait_until { @{ $member->{got} } == 3 } 'its record';
        $mock->delete_topic('orders-1');
        wait_until { has($member) eq 'orders-2 orders-3' } 'one that is deleted';
        wait_until { "@{ $member->{kafka}->subscription }" eq 'orders-2 orders-3' } 'forgetting it';
        is_deeply [sort @{ $member->{got} }], [map { "orders-$_:0\@0" } 1 .. 3], 'each record came once';
        is_deeply [errors($member->{kafka})], [], 'without an error';
        is left($member), 'left', 'leaving';
    };

    subtest "$protocol: several patterns, and names" => sub {
        my $mock   = cluster(qw(a1 b1 c1 d1));
        my $member = watcher($mock, [qr/A/i, 'd1', qr/^(?!a|d).*1$/], @protocol);
        wait_until { has($member) eq 'a1 b1 c1 d1' } 'all of it';
        is_deeply $member->{kafka}->subscription, [qw(a1 b1 c1 d1)], 'each once';
        left($member);
        my $other = watcher($mock, ['d1', qr/^d/], @protocol);
        wait_until { has($other) eq 'd1' } 'a name that matches';
        add($mock, 'd2');
        wait_until { has($other) eq 'd1 d2' } 'and more';
    };

    subtest "$protocol: nothing matches yet" => sub {
        my $mock   = cluster('other');
        my $member = watcher($mock, [qr/^new/], @protocol);
        wait_until { is_stable($member) } 'joining all the same';
        is_deeply [has($member), $member->{kafka}->subscription], ['', []], 'with nothing';
        add($mock, 'news');
        wait_until { @{ $member->{got} } } 'what comes';
        is has($member), 'news', 'once there is something';
    };

    subtest "$protocol: two members, one with another pattern" => sub {
        my $mock = cluster(qw(a1 a2 b1));
        my ($one, $two) = (watcher($mock, [qr/^a/], @protocol), watcher($mock, [qr/^[ab]/], @protocol));
        wait_until { join(' ', sort split / /, has($one) . ' ' . has($two)) eq 'a1 a2 b1' } 'everything once';
        unlike has($one), qr/b/, 'nobody has what he does not want';
        add($mock, 'b2');
        wait_until { has($two) =~ /b2/ && is_stable($one) } 'a new topic for one of them';
        left($two);
        wait_until { has($one) eq 'a1 a2' } 'what is left for the other';
        is_deeply [map { errors($_->{kafka}) } $one, $two], [], 'without an error';
    };

    subtest "$protocol: subscribing when connected for long" => sub {
        my $mock  = cluster('a1');
        my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { });
        add($mock, 'a2');
        $kafka->subscribe(qr/^a/, group_id => 'g', heartbeat_interval => 0.05, @protocol);
        wait_until { @{ $kafka->{cfg}{assignments} } == 2 } 'both';
        is scalar @{ $kafka->{cfg}{assignments} }, 2, 'also what was created since metadata were asked for';
    };
}

subtest 'the broker matches' => sub {
    my $mock   = cluster(qw(orders-1 my-orders-2 other));
    my $member = watcher($mock, [], group_protocol => 'consumer', subscribe_pattern => 'orders-[0-9]+');
    wait_until { has($member) eq 'orders-1' } 'whole names';
    add($mock, 'orders-2');
    wait_until { has($member) eq 'orders-1 orders-2' } 'a new one';
    $mock->delete_topic('orders-1');
    wait_until { has($member) eq 'orders-2' } 'one that is deleted';
    is_deeply [errors($member->{kafka})], [], 'without an error';
    is left($member), 'left', 'leaving';
    my $both = watcher($mock, ['other'], group_protocol => 'consumer', subscribe_pattern => '.*-2');
    wait_until { has($both) eq 'my-orders-2 orders-2 other' } 'names and a pattern';
};

subtest 'a static member that comes back without its pattern' => sub {
    my $mock = cluster(qw(a1 a2 b1));
    my @static = (group_protocol => 'consumer', group_instance_id => 'one');
    my $member = watcher($mock, [], @static, subscribe_pattern => 'a.');
    wait_until { has($member) eq 'a1 a2' } 'what matches';
    is left($member), 'left', 'leaving for now';
    my $again = watcher($mock, ['b1'], @static);
    wait_until { has($again) eq 'b1' } 'another topic';
    is has($again), 'b1', 'has only what it names';
};

subtest 'what the broker does not take' => sub {
    my $mock   = cluster('a');
    my $member = watcher($mock, [], group_protocol => 'consumer', subscribe_pattern => '(');
    wait_until { errors($member->{kafka}) } 'the error';
    like +(errors($member->{kafka}))[0], qr/^group 'g': ConsumerGroupHeartbeat: INVALID_REGULAR_EXPRESSION \(code 128\): SubscribedTopicRegex/,
        'no regular expression';
    is state_of($member), 'stopped', 'which is final';

    $mock   = EV::Kafka::Mock->new(api_versions => { ConsumerGroupHeartbeat => [0, 0] });
    $member = watcher($mock, [], group_protocol => 'consumer', subscribe_pattern => 'a.*');
    wait_until { errors($member->{kafka}) } 'the error of a broker before 4.0';
    like +(errors($member->{kafka}))[0], qr/^group 'g': .*the broker does not match patterns: broker 0 is older than Kafka 4\.0, .*qr/,
        'says what to do instead';
    is state_of($member), 'stopped', 'which is final, too';
};

subtest 'racks' => sub {
    for my $assignor ('range', 'sticky', 'cooperative-sticky') {
        my $mock   = filled(2, 1);
        my $member = joined(member($mock, assignors => [$assignor], client => { client_rack => 'east' }));
        my ($known) = @{ $mock->group('g')->{members} };
        is EV::Kafka::_decode_subscription($known->{metadata})->{rack}, 'east', "$assignor: the leader is told" if defined $known->{metadata};
        is owned($member), 2, "$assignor: where brokers have none, nothing changes";
    }
    my $member = joined(member(filled(1, 1, consumer_heartbeat_interval_ms => 30), group_protocol => 'consumer', client => { client_rack => '' }));
    is_deeply [errors($member->{kafka})], [], 'an empty one is not sent';
};

done_testing;
