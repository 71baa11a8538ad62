use v5.14;
use warnings;

use lib 't/lib';

use Test::More;

use EV::Kafka;
use ScriptedBroker;
use TestKafka qw(wait_until client connected errors);

# Admin requests that each broker answers for itself, by brokers that do what the test says, in the oldest versions.

sub string { pack 'n/a*', $_[0] }
sub array  { pack('N', scalar @_) . join '', @_ }

# Two brokers that offer these APIs beside what every one does.
sub two_brokers {
    my (%on_request) = @_;
    my %offered = (16 => [0, 0], 66 => [0, 0], 35 => [0, 0], 29 => [0, 0]);
    my ($one, $two) = map {
        my $node_id = $_;
        ScriptedBroker->new(
            node_id      => $node_id,
            api_versions => \%offered,
            on_request   => sub {
                my ($broker, $connection, $request) = @_;
                my $answer = $on_request{ $request->{api} } or return undef;
                return $answer->($node_id, $broker, $connection, $request);
            },
        )
    } 1, 2;
    $one->{peers} = [$two];
    $two->{peers} = [$one];
    return ($one, $two);
}

sub admin {
    my ($kafka, $method, @arguments) = @_;
    my @got;
    $kafka->$method(@arguments, sub { push @got, [@_] });
    wait_until { @got } $method;
    return @{ $got[0] };
}

subtest 'each broker is asked for its groups' => sub {
    my ($one, $two) = two_brokers(16 => sub { my ($node_id) = @_; return pack('n', 0) . array(string("g$node_id") . string('consumer')) });
    my $kafka = connected(brokers => $one->address);
    my ($result, $error) = admin($kafka, 'list_groups');
    is_deeply $result, { groups => [map { { group_id => "g$_", protocol_type => 'consumer', coordinator => $_ } } 1, 2] }, 'all of them';
    is $error, undef, 'no error';
    my (undef, $why) = admin($kafka, list_groups => { types => ['share'] });
    is $why, 'list_groups: ' . join('; ', map { "broker $_ does not offer ListGroups version 5 (needed for list_groups)" } 1, 2),
        'a filter that they would not understand';
};

subtest 'one that does not answer' => sub {
    my $drops = 0;
    my ($one, $two) = two_brokers(16 => sub {
        my ($node_id, $broker, $connection) = @_;
        return pack('n', 0) . array(string("g$node_id") . string('')) if $node_id == 1 || !$drops;
        $drops--;
        $broker->drop($connection);
        return undef;
    });
    my $kafka = connected(brokers => $one->address);
    $drops = 1;
    my ($result, $error) = admin($kafka, 'list_groups');
    is_deeply [map { $_->{group_id} } @{ $result->{groups} }], [qw(g1 g2)], 'is asked again';
    is $error, undef, 'no error';

    $drops = 9**9;
    ($result, $error) = admin($kafka, list_groups => { timeout => 1 });
    is_deeply [map { $_->{group_id} } @{ $result->{groups} }], ['g1'], 'until the time is over: what others have said is there';
    like $error, qr/^list_groups: ListGroups: .*; given up after 1 s$/, 'beside the error';
};

subtest 'one that is about to become a coordinator' => sub {
    my $loading = 2;
    my ($one, $two) = two_brokers(16 => sub {
        my ($node_id) = @_;
        return pack('n', $node_id == 2 && $loading-- > 0 ? 14 : 0) . array();
    });
    my $kafka = connected(brokers => $one->address);
    is_deeply [admin($kafka, 'list_groups')], [{ groups => [] }, undef], 'is asked until it is';
};

subtest 'folders of some brokers' => sub {
    my ($one, $two) = two_brokers(35 => sub {
        my ($node_id, undef, undef, $request) = @_;
        return pack('N', 0) . array(pack('n', 0) . string("/data$node_id") . array(string('t') . array(pack 'N q> q> C', 0, 100 * $node_id, 0, 0)));
    });
    my $kafka = connected(brokers => $one->address);
    my ($result, $error) = admin($kafka, describe_log_dirs => [2, 7]);
    is $error, undef, 'no error';
    is_deeply $result->{brokers}[0], { node_id => 2, error_code => 0, log_dirs => [{
        path => '/data2', error_code => 0,
        topics => [{ topic => 't', partitions => [{ partition => 0, size => 200, offset_lag => 0, is_future => 0 }] }],
    }] }, 'of one';
    is_deeply [@{ $result->{brokers}[1] }{qw(node_id error_code log_dirs)}], [7, 8, []], 'one that there is not';
    is scalar($one->requests(35)), 0, 'the other is not asked';
};

subtest 'rules, from before there were prefixes' => sub {
    my ($one) = two_brokers(29 => sub {
        my (undef, undef, undef, $request) = @_;
        return pack('N n n', 0, 0, 0xffff) . array(pack('C', 2) . string('t') . array(string('User:a') . string('*') . pack('C C', 3, 3)));
    });
    my $kafka = connected(brokers => $one->address);
    my ($result) = admin($kafka, describe_acls => { resource_type => 'topic' });
    is_deeply $result->{acls}, [{ resource_type => 'topic', resource_name => 't', pattern_type => 'literal', principal => 'User:a', host => '*',
        operation => 'read', permission => 'allow' }], 'names are meant as they stand';
    my (undef, $error) = admin($kafka, describe_acls => { resource_name => 'pre', pattern_type => 'prefixed' });
    like $error, qr/does not offer DescribeAcls version 1 \(needed for describe_acls\)/, 'a prefix cannot be asked for';
};

subtest 'a whole answer that is refused' => sub {
    my ($one) = two_brokers(29 => sub { return pack('N n', 0, 31) . string('Not for you.') . array() });
    my $kafka = connected(brokers => $one->address);
    is_deeply [admin($kafka, 'describe_acls')], [undef, 'describe_acls: DescribeAcls: CLUSTER_AUTHORIZATION_FAILED (code 31) Not for you.'], "the broker's own words";
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
    my $objects = connected(brokers => $one->address, errors => 'object');
    my (undef, $error) = admin($objects, 'describe_acls');
    is_deeply [$error->code, $error->name, $error->operation, $error->retriable], [31, 'CLUSTER_AUTHORIZATION_FAILED', 'describe_acls', 0], 'as an object, if asked for';
};

done_testing;
