use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use ShareTest;
use TestKafka;

# What goes wrong around a share group, and what a member makes of it.

use constant { NOT_LEADER => 6, GROUP_AUTHORIZATION_FAILED => 30, UNKNOWN_MEMBER_ID => 25, FENCED_MEMBER_EPOCH => 110,
    COORDINATOR_LOAD_IN_PROGRESS => 14, INVALID_RECORD_STATE => 121, SHARE_SESSION_NOT_FOUND => 122,
    INVALID_SHARE_SESSION_EPOCH => 123, SHARE_SESSION_LIMIT_REACHED => 133 };

subtest 'sessions that brokers do not know any more' => sub {
    for my $code (SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH, SHARE_SESSION_LIMIT_REACHED) {
        my $mock = shared_mock(1);
        fill($mock, 1, 4);
        my ($kafka, $got) = share($mock);
        wait_until { @$got == 4 && settled($mock) } 'the first';
        $mock->fault(api => 'ShareFetch', error => $code);
        fill($mock, 5, 8);
        wait_until { @$got >= 8 && settled($mock) } "the others, behind $code";
        is_deeply [errors($kafka)], [], 'without an error';
    }
};

subtest 'what a broker cannot settle now is said again' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 2);
    my ($kafka, $got) = share($mock, explicit => 1, max_in_hand => 2);
    wait_until { @$got == 2 } 'the records';
    $mock->fault(api => 'ShareFetch', error => COORDINATOR_LOAD_IN_PROGRESS, topic => 'jobs', times => 2);
    $_->[2]->accept for @$got;
    wait_until { settled($mock) } 'the acknowledgements';
    is scalar(@$got), 2, 'nothing came again';
    is_deeply [errors($kafka)], [], 'without an error';
};

subtest 'acknowledgements that are refused' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 2);
    my @told;
    my ($kafka, $got) = share($mock, explicit => 1, max_in_hand => 2, client => { errors => 'object' }, on_acknowledge => sub { push @told, [@_] });
    wait_until { @$got == 2 } 'the records';
    $mock->fault(api => 'ShareFetch', error => INVALID_RECORD_STATE, topic => 'jobs');
    $_->[2]->accept for @$got;
    wait_until { @told } 'on_acknowledge';
    my ($about, $error) = @{ $told[0] };
    is_deeply $about, { topic => 'jobs', partition => 0, offsets => [0, 1] }, 'which';
    is_deeply [map { $error->$_ } qw(code topic partition broker operation)], [INVALID_RECORD_STATE, 'jobs', 0, 0, 'ShareAcknowledge'], 'and why';
};

subtest 'a lost connection' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 4);
    my ($kafka, $got) = share($mock, explicit => 1);
    wait_until { @$got == 4 } 'the records';
    $got->[0][2]->accept;
    $mock->stop_broker(0);
    $mock->start_broker(0);
    wait_until { @$got >= 7 } 'what was in hand';
    ok !$got->[1][2]->accept, 'the record as it came first is lost';
    my %last = map { $_->[0] => $_->[2] } @$got;
    $_->accept for values %last;
    wait_until { settled($mock) } 'the end';
};

subtest 'another leader' => sub {
    my $mock = shared_mock(1, brokers => 2, replication_factor => 2);
    fill($mock, 1, 2);
    my @told;
    my ($kafka, $got) = share($mock, explicit => 1, on_acknowledge => sub { push @told, [@_] });
    wait_until { @$got == 2 } 'the records';
    my $leader = $mock->leader('jobs', 0);
    $mock->set_leader('jobs', 0, 1 - $leader);
    fill($mock, 3, 4);
    wait_until { @$got >= 6 } 'all that is not settled, from the new leader';
    is_deeply [sort map {"@$_[0, 1]"} @$got[2 .. 5]], ['v1 2', 'v2 2', 'v3 1', 'v4 1'], 'the old ones for the second time';
    ok !$got->[0][2]->accept, 'those of the old leader are lost';
    wait_until { @told } 'being told';
    like $told[0][1], qr/lock is lost/, 'so';
    $_->[2]->accept for @$got[2 .. 5];
    wait_until { settled($mock) } 'the end';
};

subtest 'a member that is thrown out' => sub {
    for my $code (UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH) {
        my $mock = shared_mock(1);
        fill($mock, 1, 2);
        my @assigned;
        my ($kafka, $got) = share($mock, on_assign => sub { push @assigned, scalar @{ $_[0] } });
        wait_until { @$got == 2 } 'the records';
        $mock->fault(api => 'ShareGroupHeartbeat', error => $code);
        wait_until { @assigned >= 3 } 'another beginning';
        fill($mock, 3, 4);
        wait_until { @$got >= 4 && settled($mock) } 'more';
        is_deeply \@assigned, [1, 0, 1], 'on_assign tells of both';
        is_deeply [errors($kafka)], [], 'without an error';
    }
};

subtest 'what is final' => sub {
    my %final = (
        'may not'      => [sub { $_[0]->deny(group => 'g') }, qr/(?:FindCoordinator: )?GROUP_AUTHORIZATION_FAILED/],
        'is off'       => [sub { $_[0]->feature('share.version', 0) }, qr/share groups are off in this cluster.*kafka-features\.sh upgrade --feature share\.version=1/],
        'is too old'   => [sub { $_[0]->api_versions(ShareGroupHeartbeat => undef) }, qr/share groups need brokers of Kafka 4\.2 or later/],
    );
    for my $case (sort keys %final) {
        my ($makes, $like) = @{ $final{$case} };
        my $mock = shared_mock(1);
        $makes->($mock);
        my ($kafka) = share($mock);
        wait_until { errors($kafka) } "an error: $case";
        like +(errors($kafka))[0], qr/\Ashare group 'g': ShareGroupHeartbeat: $like/, "$case: told once";
        turns;
        is scalar(errors($kafka)), 1, 'and never again';
        my $left;
        $kafka->unsubscribe_share(sub { $left = 1 });
        wait_until { $left } 'leaving what there is none of';
    }
    my $mock = shared_mock(1);
    my ($kafka) = share($mock, group_id => 'other');
    wait_until { $mock->group('other') } 'a share group';
    my $ordinary = connected(brokers => $mock->bootstrap, on_message => sub { });
    $ordinary->subscribe('jobs', group_id => 'ordinary', group_protocol => 'consumer');
    wait_until { ($mock->group('ordinary') || { state => '' })->{state} eq 'Stable' } 'another group';
    my ($second) = share($mock, group_id => 'ordinary');
    wait_until { errors($second) } 'an error';
    like +(errors($second))[0], qr/\Ashare group 'ordinary': ShareGroupHeartbeat: GROUP_ID_NOT_FOUND/, 'one group is of one kind';
};

subtest 'renewing where brokers cannot' => sub {
    my $mock = shared_mock(1, api_versions => { ShareFetch => [1, 1], ShareAcknowledge => [1, 1] });
    fill($mock, 1, 1);
    my ($kafka, $got) = share($mock, explicit => 1);
    wait_until { @$got } 'the record';
    ok !eval { $got->[0][2]->renew; 1 }, 'refused';
    like $@, qr/\Arenew needs brokers of Kafka 4\.2 or later at \Q${\ __FILE__}\E/, 'says why';
    ok $got->[0][2]->accept, 'the record is none the worse';
    wait_until { settled($mock) } 'the end';
};

subtest 'arguments' => sub {
    my $mock  = shared_mock(1);
    my $kafka = client(brokers => $mock->bootstrap);
    my @good  = (group_id => 'g', on_record => sub { });
    for my $case (
        [[@good],                             qr/topic names required/],
        [['a b', @good],                      qr/invalid topic name/],
        [['jobs'],                            qr/option 'group_id' requires a value/],
        [['jobs', group_id => 'g'],           qr/option 'on_record' requires a value/],
        [['jobs', @good, max_record => 1],    qr/unknown option 'max_record'.*max_records/],
        [['jobs', @good, max_records => 0],   qr/option 'max_records' must be a whole number/],
        [['jobs', @good, acquire_mode => 1],  qr/option 'acquire_mode' must be 'batch_optimized' or 'record_limit'/],
        [['jobs', @good, on_assign => 'no'],  qr/option 'on_assign' must be a code reference/],
        [['jobs', @good, max_wait => 'long'], qr/option 'max_wait' must be a number of seconds/],
        [['jobs', @good, 'explicit'],         qr/option 'explicit' requires a value/],
    ) {
        my ($arguments, $like) = @$case;
        ok !eval { $kafka->subscribe_share(@$arguments); 1 }, 'refused';
        like $@, qr/\Asubscribe_share: .*$like.* at \Q${\ __FILE__}\E line/s, 'says why';
    }
};

done_testing;
