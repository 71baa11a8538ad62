use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use ForkTest;
use ShareTest;
use TestKafka;

# How a member of a share group ends, and what becomes of what it holds.

# The connection over which a client that closes says what it has to say.
sub can_speak { my ($kafka) = @_; wait_until { ($kafka->{cfg}{conns}{0} or return 0)->connected } 'a connection'; return }

sub left { my ($kafka) = @_; my $left; $kafka->unsubscribe_share(sub { $left = 1 }); wait_until { $left } 'leaving'; return }

subtest 'unsubscribe_share says what was settled and gives the rest back' => sub {
    my $mock = shared_mock(2);
    fill($mock, 1, 6);
    my ($kafka, $got) = share($mock, explicit => 1);
    wait_until { @$got == 6 } 'the records';
    $_->[2]->accept for @$got[0 .. 2];
    left($kafka);
    my $state = unsettled($mock);
    is scalar(@{ $state->{Available} }), 3, 'what was in hand is free';
    ok !$state->{Acquired}, 'nothing is held';
    is_deeply [sessions($mock)], [], 'no session is left';
    is_deeply [members($mock)], [], 'nor a member';
    ok !$got->[5][2]->accept, 'it is too late to settle what was held';
    my ($other, $others) = share($mock);
    wait_until { settled($mock) } 'somebody else to take it';
    is_deeply [sort map { $_->[0] } @$others], [sort map { $_->[0] } @$got[3 .. 5]], 'and nothing else';
    is_deeply [errors($kafka)], [], 'without an error';
};

subtest 'in the handler' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 5);
    my $left;
    my ($kafka, $got) = share($mock, handler => sub { my ($record, $kafka) = @_; $kafka->unsubscribe_share(sub { $left = 1 }) if $record->value eq 'v2' });
    wait_until { $left } 'leaving';
    is_deeply [map { $_->[0] } @$got], ['v1', 'v2'], 'no other record is handed over';
    is_deeply unsettled($mock), { Available => [qw(v3 v4 v5)] }, 'and the one that was at hand is accepted';
};

subtest 'close' => sub {
    for my $in_handler (0, 1) {
        my $mock = shared_mock(1);
        fill($mock, 1, 5);
        my ($kafka, $got) = share($mock, $in_handler ? (handler => sub { $_[1]->close if $_[0]->value eq 'v2' }) : (explicit => 1));
        wait_until { @$got >= ($in_handler ? 2 : 5) } 'records';
        if (!$in_handler) {
            can_speak($kafka);
            $_->[2]->accept for @$got[0, 1];
            $kafka->close;
        }
        wait_until { !sessions($mock) } 'the session to end';
        my $state = unsettled($mock);
        ok !$state->{Acquired}, 'nothing is held';
        is_deeply $state->{Available}, $in_handler ? [qw(v2 v3 v4 v5)] : [qw(v3 v4 v5)], 'what was settled stays settled';
        wait_until { !members($mock) } 'the member to be gone';
    }
};

subtest 'a client that goes out of scope' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 3);
    my ($kafka, $got) = share($mock, explicit => 1);
    wait_until { @$got == 3 } 'the records';
    can_speak($kafka);
    $got->[0][2]->accept;
    undef $kafka;
    wait_until { !sessions($mock) && !members($mock) } 'its end';
    is_deeply unsettled($mock), { Available => [qw(v2 v3)] }, 'the last acknowledgement was sent';
    ok !$got->[1][2]->accept, 'a record that outlives it is settled by nobody';
};

subtest 'close with a callback leaves in order' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 3);
    my ($kafka, $got) = share($mock);
    wait_until { @$got == 3 } 'the records';
    my $closed;
    $kafka->close(flush => 5, sub { $closed = [@_] });
    wait_until { $closed } 'closing';
    is_deeply $closed, [], 'without an error';
    ok settled($mock), 'all is settled';
    is_deeply [members($mock)], [], 'the member is gone';
};

subtest 'another subscription takes the place of the first' => sub {
    my $mock = shared_mock(1);
    $mock->create_topic('more', 1);
    $mock->append(more => 0, { value => 'm1' });
    fill($mock, 1, 2);
    my ($kafka, $got) = share($mock);
    wait_until { settled($mock) } 'the first';
    my @more;
    $kafka->subscribe_share('more', group_id => 'h', max_wait => 0.1, on_record => sub { push @more, $_[0]->value });
    wait_until { @more } 'the second';
    is_deeply [members($mock)], [], 'the first was left';
};

subtest 'a forked child' => sub {
    my $mock = shared_mock(1);
    fill($mock, 1, 2);
    my ($kafka, $got) = share($mock, explicit => 1);
    wait_until { @$got == 2 } 'the records';
    my $said = in_child {
        my ($out) = @_;
        print $out eval { $got->[0][2]->accept } ? 'settled' : 'not settled', ', ', eval { $kafka->unsubscribe_share; 1 } ? 'left' : 'refused';
    };
    is $said, 'not settled, refused', 'has no part in it';
    ok $got->[0][2]->accept && $got->[1][2]->accept, 'the parent goes on';
    wait_until { settled($mock) } 'the end';
};

done_testing;
