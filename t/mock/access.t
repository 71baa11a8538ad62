use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest;
use Test::More;
use TestKafka qw(wait_until turns client connected errors log_values);

use constant { TOPIC => 29, GROUP => 30, CLUSTER => 31, TRANSACTIONAL_ID => 53 };

sub cluster {
    my $mock = EV::Kafka::Mock->new(@_);
    $mock->create_topic($_ => 1) for qw(t u);
    return $mock;
}

sub coordinator_code {
    my ($conn, $key, $type) = @_;
    my $answer;
    $conn->find_coordinator($key, sub { $answer = [@_] }, $type);
    wait_until { $answer } 'answer to find_coordinator';
    return $answer->[0]{error_code};
}

# The code that a request of one connection is answered with.
sub code_of {
    my ($result, $error) = answer(@_);
    return $error // do {
        my $first = $result->{topics} && $result->{topics}[0];
        my $part  = $first && $first->{partitions} && $first->{partitions}[0];
        my ($code) = grep { defined } map { $_ && $_->{error_code} } $part, $first, $result;
        $code;
    };
}

subtest 'a topic that is denied' => sub {
    my $mock = cluster();
    my $conn = connection($mock);
    my %ask  = (
        Write    => [produce => 't', 0, 'k', 'v'],
        Read     => [fetch => 't', 0, 0, { max_wait_ms => 0 }],
        Describe => [list_offsets => 't', 0, -1],
        Create   => [create_topics => [{ name => 'new' }], 1000],
        Delete   => [delete_topics => ['t'], 1000],
    );
    for my $operation (qw(Write Read Describe Create Delete)) {
        my $topic = $operation eq 'Create' ? 'new' : 't';
        is $mock->deny(topic => $topic, operation => $operation), $mock, "deny $operation";
        is code_of($conn, @{ $ask{$operation} }), TOPIC, 'is refused';
        my ($other) = grep { $_ ne $operation } qw(Describe Read);
        is code_of($conn, @{ $ask{$other} }), 0, "but not $other";
        $mock->allow(topic => $topic, operation => $operation);
        is code_of($conn, @{ $ask{$operation} }), 0, 'allowed again';
    }
    is_deeply [$mock->topics], ['new', 'u'], 'what was allowed was done';
    $mock->deny(topic => 'u');
    for my $ask ([produce => 'u', 0, 'k', 'v'], [fetch => 'u', 0, 0], [list_offsets => 'u', 0, -1], [delete_topics => ['u'], 1000]) {
        is code_of($conn, @$ask), TOPIC, "without an operation it is all: $ask->[0]";
    }
    is_deeply log_values($mock, 'u'), [], 'nothing was written';
    $mock->allow;
    is code_of($conn, produce => 'u', 0, 'k', 'v'), 0, 'everything is allowed again';
};

subtest 'metadata tell what may be seen' => sub {
    my $mock = cluster();
    my $conn = connection($mock);
    $mock->deny(topic => 't', operation => 'Describe');
    my ($meta) = answer($conn, metadata => undef);
    is_deeply [map { $_->{name} } @{ $meta->{topics} }], ['u'], 'of all topics';
    ($meta) = answer($conn, metadata => ['t', 'u']);
    is_deeply { map { $_->{name} => $_->{error_code} } @{ $meta->{topics} } }, { t => TOPIC, u => 0 }, 'of those that are named';
    $mock->deny(topic => '*', operation => 'Create');
    ($meta) = answer($conn, metadata => ['new']);
    is $meta->{topics}[0]{error_code}, TOPIC, 'a topic that may not be created';
    is $mock->partitions('new'), undef, 'is not';
};

subtest 'groups, transactional ids and the cluster' => sub {
    my $mock = cluster();
    my $conn = connection($mock);
    $mock->deny(group => 'g', operation => 'Read');
    is code_of($conn, heartbeat => 'g', 1, 'm'), GROUP, 'a member is refused';
    is code_of($conn, offset_commit => 'g', -1, '', [{ topic => 't', partitions => [{ partition => 0, offset => 1 }] }]), GROUP, 'so is a commit';
    is coordinator_code($conn, 'g', 0), 0, 'its coordinator is told';
    is code_of($conn, heartbeat => 'h', 1, 'm'), 25, 'another group is asked for';
    $mock->deny(group => '*', operation => 'Describe');
    is coordinator_code($conn, 'g', 0), GROUP, 'until that is denied, too';
    is coordinator_code($conn, 'x', 1), 0, 'of groups';
    $mock->deny(transactional_id => 'x');
    is coordinator_code($conn, 'x', 1), TRANSACTIONAL_ID, 'a transactional id';
    is code_of($conn, init_producer_id => 'x', 1000), TRANSACTIONAL_ID, 'and its producer';
    is code_of($conn, init_producer_id => undef, 1000), 0, 'idempotence is another matter';
    $mock->deny(cluster => 1, operation => 'IdempotentWrite');
    is code_of($conn, init_producer_id => undef, 1000), CLUSTER, 'that can be denied as well';
};

subtest 'what a client makes of it' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap);
    my @errors;
    $mock->deny(topic => 't', operation => 'Write');
    $kafka->produce($_ => 'k', 'v', sub { push @errors, $_[1] }) for qw(t u);
    wait_until { @errors == 2 } 'both are answered';
    is_deeply [map { ($_ // 'none') =~ /(TOPIC_AUTHORIZATION_FAILED|none)/ } @errors],
        [map { defined ? 'TOPIC_AUTHORIZATION_FAILED' : 'none' } @errors], 'one is refused';
    is_deeply [log_values($mock, 't'), log_values($mock, 'u')], [[], ['v']], 'and not written';
};

subtest 'the arguments' => sub {
    my $mock = cluster();
    for my $method (qw(deny allow)) {
        croaks_like sub { $mock->$method(topics => 't') },                      qr/\A$method: unknown option\(s\): topics at \Q$0\E/;
        croaks_like sub { $mock->$method(operation => 'Read') },                qr/\A$method: is not about one of topic, group/;
        croaks_like sub { $mock->$method(topic => 't', group => 'g') },         qr/\A$method: is not about one of/;
        croaks_like sub { $mock->$method(topic => 't', operation => 'Fetch') }, qr/unknown operation 'Fetch'/;
    }
};

done_testing;
