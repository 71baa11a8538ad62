use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use ShareTest;
use TestKafka;

# Share groups (KIP-932): what a member gets, and what becomes of it.

sub values_of { my ($got) = @_; return [map { $_->[0] } @$got] }

subtest 'records are accepted when the handler returns' => sub {
    my $mock = shared_mock(2);
    fill($mock, 1, 10);
    $mock->append(jobs => 0, { value => 'with headers', headers => { a => 1 }, timestamp => 1234 });
    my @told;
    my ($kafka, $got) = share($mock, on_acknowledge => sub { push @told, [@_] });
    wait_until { @$got == 11 && settled($mock) } 'all records';
    is_deeply [sort @{ values_of($got) }], [sort 'with headers', map {"v$_"} 1 .. 10], 'each once';
    my ($record) = map { $_->[2] } grep { $_->[0] eq 'with headers' } @$got;
    isa_ok $record, 'EV::Kafka::ShareGroup::Record';
    is_deeply [map { $record->$_ } qw(topic partition offset key value headers timestamp delivery_count)],
        ['jobs', 0, 5, undef, 'with headers', { a => 1 }, 1234, 1], 'what it is';
    wait_until { @told >= 2 } 'on_acknowledge';
    is_deeply [sort map {"$_->[0]{topic}:$_->[0]{partition}"} @told], ['jobs:0', 'jobs:1'], 'both partitions';
    ok !grep({ defined $_->[1] } @told), 'without an error';
    fill($mock, 11, 12);
    wait_until { @$got == 13 && settled($mock) } 'later ones';
    is_deeply [errors($kafka), notices($kafka)], [], 'in peace';
};

subtest 'released, rejected and died of' => sub {
    my $mock = shared_mock(1, share_delivery_count_limit => 3);
    fill($mock, 1, 4);
    my ($kafka, $got);
    my @warnings = warnings_of {
        ($kafka, $got) = share($mock, handler => sub {
            my ($record) = @_;
            $record->release if $record->value eq 'v1' && $record->delivery_count == 1;
            $record->reject  if $record->value eq 'v2';
            die "no way\n"   if $record->value eq 'v3';
        });
        wait_until { @$got == 7 && settled($mock) } 'all records';
    };
    is_deeply [sort map {"@$_[0, 1]"} @$got], ['v1 1', 'v1 2', 'v2 1', 'v3 1', 'v3 2', 'v3 3', 'v4 1'], 'as often as they may be';
    is_deeply \@warnings, [("on_record error: no way\n") x 3], 'a die is a warning';
};

subtest 'explicit' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 4);
    my ($kafka, $got) = share($mock, explicit => 1);
    wait_until { @$got == 4 } 'the records';
    is_deeply unsettled($mock), { Acquired => [qw(v1 v2 v3 v4)] }, 'nothing is accepted by itself';
    is in_hand($kafka), 4, 'they are in hand';
    my %record = map { $_->[0] => $_->[2] } @$got;
    ok $record{v1}->accept, 'accepted';
    ok $record{v2}->reject, 'rejected';
    ok $record{v3}->release, 'released';
    wait_until { @$got == 5 } 'what was released';
    is_deeply [@{ $got->[4] }[0, 1]], ['v3', 2], 'comes again';
    is_deeply unsettled($mock), { Acquired => [qw(v3 v4)] }, 'the others are settled';
    for my $method (qw(accept release reject renew)) {
        ok !eval { $record{v1}->$method; 1 }, "$method once more";
        like $@, qr/\Ajobs:0, offset 0, was accepted before at \Q${\ __FILE__}\E line/, 'says where';
    }
    $_->accept for $got->[4][2], $record{v4};
    wait_until { settled($mock) } 'the rest';
};

subtest 'locks are renewed, and run out' => sub {
    my $mock = shared_mock(1, share_record_lock_duration_ms => 400);
    fill($mock, 1, 2);
    my ($kafka, $got) = share($mock, explicit => 1);
    wait_until { @$got == 2 } 'the records';
    my ($kept, $lost) = map { $_->[2] } @$got;
    my $renewals = EV::timer 0.1, 0.1, sub { $kept->renew };
    wait_until { @$got == 3 } 'the lock that was not renewed to run out';
    is_deeply [@{ $got->[2] }[0, 1]], ['v2', 2], 'it comes again';
    undef $renewals;
    ok !$lost->accept, 'it is too late to accept it';
    like +(notices($kafka))[-1], qr/\Ajobs:0, offset 1: not settled, and may come again: its acquisition lock is lost\z/, 'which is told';
    ok $kept->accept && $got->[2][2]->accept, 'it is not for the one that was renewed, and the new one';
    wait_until { settled($mock) } 'the end';
    ok $mock->request_count('ShareAcknowledge') >= 3, 'renewals went by ShareAcknowledge';
};

subtest 'limits of what is in hand' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 50);
    my $most = 0;
    my ($kafka, $got) = share($mock, explicit => 1, max_in_hand => 10, max_records => 4, acquire_mode => 'record_limit');
    wait_until { @$got == 10 } 'as many as may be';
    turns;
    is scalar(@$got), 10, 'not one more';
    while (@$got < 50) {
        my $count = @$got;
        $got->[$count - 10][2]->accept;
        wait_until { @$got > $count } "record $count";
    }
    $_->[2]->accept for @$got[40 .. 49];
    wait_until { settled($mock) } 'the end';
    is_deeply [map { $_->[1] } @$got], [(1) x 50], 'each came once';
};

subtest 'what is no record' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 1);
    my $producer = connected(brokers => $mock->bootstrap, transactional_id => 'tx');
    my $committed;
    $producer->begin_transaction;
    $producer->produce(jobs => 'k', 'in a transaction');
    $producer->commit_transaction(sub { $committed = 1 });
    wait_until { $committed } 'a transaction';
    fill($mock, 2, 2);
    my ($kafka, $got) = share($mock);
    wait_until { @$got == 3 && settled($mock) } 'all';
    is_deeply values_of($got), ['v1', 'in a transaction', 'v2'], 'its marker is no record, and is settled';
};

subtest 'records that cannot be read' => sub {
    my $mock = shared_mock(1, share_delivery_count_limit => 1);
    fill($mock, 1, 1);
    $mock->append_bytes('jobs', 0, "\0" x 7 . "\2\0\0\0\1" . 'x' x 80, 1);
    my ($kafka, $got) = share($mock);
    wait_until { @$got && errors($kafka) } 'the error';
    like +(errors($kafka))[0], qr/\Ajobs:0: CORRUPT_MESSAGE \(code 2\)/, 'is told';
    wait_until { settled($mock) } 'the end of its deliveries';
};

subtest 'two members' => sub {
    my $mock = shared_mock(1);
    my @members = map { [share($mock, acquire_mode => 'record_limit', max_records => 1)] } 1, 2;
    wait_until { members($mock) == 2 && sessions($mock) == 2 } 'both to fetch';
    is_deeply [map { @{ $_->{assigned} } } members($mock)], ['jobs:0', 'jobs:0'], 'the same partition';
    fill($mock, 1, 40);
    wait_until { settled($mock) } 'all records';
    my @got = map { scalar @{ $_->[1] } } @members;
    is $got[0] + $got[1], 40, 'each record went to one of them';
    ok $got[0] && $got[1], 'and each has some';
};

subtest 'beside a group of its own' => sub {
    my $mock = shared_mock(2);
    fill($mock, 1, 4);
    my @consumed;
    my ($kafka, $got) = share($mock, client => { on_message => sub { push @consumed, $_[4] } });
    $kafka->subscribe('jobs', group_id => 'ordinary', auto_offset_reset => 'earliest');
    wait_until { @$got == 4 && @consumed == 4 } 'both';
    my $left;
    $kafka->unsubscribe(sub { $left = 1 });
    wait_until { $left } 'leaving one';
    fill($mock, 5, 6);
    wait_until { @$got == 6 } 'the other goes on';
    is scalar(@consumed), 4, 'alone';
};

done_testing;
