use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use MockTest qw(croaks_like);
use Scalar::Util qw(weaken);
use TestKafka;

# on_revoke_async: partitions go when the program says that it is through with them.

my %BEAT = (classic => 'Heartbeat', consumer => 'ConsumerGroupHeartbeat');

# A member that writes down how it is asked, and answers when the test says so.
sub worker {
    my ($mock, %option) = @_;
    my $asked  = [];
    my $member = member($mock, auto_commit => 'done', session_timeout => 1000,
        on_revoke_async => sub { push @$asked, [listed($_[0]), $_[1]] }, %option);
    $member->{asked} = $asked;
    return joined($member);
}

sub beats { my ($mock, $protocol, $count) = @_;
    my $had = $mock->request_count($BEAT{$protocol});
    return wait_until { $mock->request_count($BEAT{$protocol}) >= $had + $count } 'heartbeats';
}

for my $protocol ('classic', 'consumer') {
    my @protocol = (group_protocol => $protocol);
    my @mock     = (consumer_heartbeat_interval_ms => 20);

    subtest "$protocol: a rebalance" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol);
        wait_until { @{ $one->{got} } == 6 } 'records';
        my $two = member($mock, @protocol);
        wait_until { @{ $one->{asked} } } 'the question';
        my ($partitions, $done) = @{ $one->{asked}[0] };
        my @gone = map { /^(t:\d)/ ? $1 : () } split / /, $partitions;
        is scalar @gone, $protocol eq 'classic' ? 2 : 1, 'what goes is named';
        $mock->append(t => $_, { value => 'more' }) for 0, 1;
        beats($mock, $protocol, 5);
        is owned($one), 2, 'all is assigned still';
        is_deeply [grep { my $got = $_; $got =~ /\@3/ && grep { $got =~ /^$_\@/ } @gone } @{ $one->{got} }], [], 'nothing more is delivered of it';
        is_deeply $two->{got}, [], 'the other one has got nothing';
        is $one->{kafka}->done((split(/:/, $gone[0])), $_), 1, "$_ is done meanwhile" for 0, 1;
        $done->();
        wait_until { is_stable($two) && owned($two) == 1 && owned($one) == 1 } 'the end of the rebalance';
        is committed_in($mock)->{ $gone[0] }, 2, 'what is done was committed before';
        is scalar @{ $one->{asked} }, 1, 'it was asked once';
        $done->();
        turns 20;
        is owned($one), 1, 'once more changes nothing';
        is_deeply [errors($one->{kafka}), notices($one->{kafka})], [], 'without a word';
    };

    subtest "$protocol: at once" => sub {
        my $mock = filled(2, 3, @mock);
        my $asked = 0;
        my $one  = worker($mock, @protocol, on_revoke_async => sub { $asked++; $_[1]->() });
        my $two  = joined(member($mock, @protocol));
        wait_until { owned($one) == 1 && owned($two) == 1 } 'a rebalance';
        is $asked, 1, 'asked once';
        is left($one), 'left', 'leaving';
        is $asked, 2, 'asked once more';
    };

    subtest "$protocol: too late" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol, rebalance_timeout => 1000);
        wait_until { @{ $one->{got} } == 6 } 'records';
        my $two = member($mock, @protocol);
        wait_until { owned($two) && owned($one) == 1 } 'the end of the rebalance';
        like join("\n", notices($one->{kafka})), qr/^group 'g': on_revoke_async has not called back within 0\.8 seconds: given up all the same: t:/,
            'is told';
        is scalar @{ $one->{asked} }, 1, 'it was asked once';
        my $had = $one->{kafka}{cfg}{group}{generation};
        $one->{asked}[0][1]->();
        turns 20;
        is $one->{kafka}{cfg}{group}{generation}, $had, 'what it says now counts for nothing';
    };

    subtest "$protocol: it dies" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol, on_revoke_async => sub { die "not me\n" });
        my @warnings = warnings_of { is left($one), 'left', 'leaving' };
        is_deeply \@warnings, ["EV::Kafka: callback error: not me\n"], 'a warning';
    };

    subtest "$protocol: unsubscribe" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol);
        my $kafka = $one->{kafka};
        wait_until { @{ $one->{got} } == 6 } 'records';
        my @left;
        $kafka->unsubscribe(sub { push @left, [first => @_] });
        wait_until { @{ $one->{asked} } } 'the question';
        is $one->{asked}[0][0], 't:0@3 t:1@3', 'about all of it';
        $kafka->unsubscribe(sub { push @left, [second => @_] });
        beats($mock, $protocol, 5);
        is_deeply \@left, [], 'it has not left';
        my $committed;
        $kafka->commit([{ topic => 't', partition => 1, offset => 1 }], sub { $committed = [@_] });
        wait_until { $committed } 'a commit';
        is_deeply $committed, [undef], 'it may commit';
        $kafka->done('t', 0, $_) for 0 .. 2;
        $one->{asked}[0][1]->();
        wait_until { @left == 2 } 'leaving';
        is_deeply \@left, [['first'], ['second']], 'both are told';
        is_deeply committed_in($mock), { 't:0' => 3, 't:1' => 0 }, 'what is done was committed';
        is scalar @{ $one->{asked} }, 1, 'it was asked once';
        is_deeply [$mock->group('g')->{members} ? scalar @{ $mock->group('g')->{members} } : 0], [0], 'the group has no member';
    };

    subtest "$protocol: unsubscribe, too late" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol, rebalance_timeout => 500);
        is left($one), 'left', 'leaving';
        like join("\n", notices($one->{kafka})), qr/on_revoke_async has not called back within 0\.4 seconds/, 'is told';
    };

    subtest "$protocol: unsubscribe while a rebalance waits, and subscribe" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol);
        my $two  = member($mock, @protocol);
        wait_until { @{ $one->{asked} } } 'the question';
        my $left;
        $one->{kafka}->unsubscribe(sub { $left = 1 });
        turns 20;
        ok !$left, 'waits as well';
        my $asked_again;
        $one->{kafka}->subscribe('t', group_id => 'h', @protocol);
        $_->[1]->() for @{ $one->{asked} };
        wait_until { $_->[1]->() for @{ $one->{asked} }; $left } 'leaving';
        wait_until { owned($two) == 2 } 'the other one has all';
        wait_until { is_stable($one) && owned($one) == 2 } 'and the next group';
        is $one->{kafka}{cfg}{group}{group_id}, 'h', 'is another';
    };

    subtest "$protocol: lost" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol);
        wait_until { @{ $one->{got} } == 6 } 'records';
        my $told = @{ $one->{assigned} };
        $mock->fault(api => $BEAT{$protocol}, error => 25);
        wait_until { @{ $one->{assigned} } > $told && is_stable($one) } 'joining again';
        is scalar @{ $one->{asked} }, 1, 'it is told';
        is owned($one), 2, 'and nothing waits for it';

        my @lost;
        my $other = worker($mock, @protocol, group_id => 'h', on_lost => sub { push @lost, listed($_[0]) });
        $mock->fault(api => $BEAT{$protocol}, error => 25, times => 2);
        wait_until { @lost } 'on_lost';
        is_deeply $other->{asked}, [], 'is told instead, where there is one';
    };

    subtest "$protocol: lost while it is asked" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol);
        wait_until { @{ $one->{got} } == 6 } 'records';
        my $left;
        $one->{kafka}->unsubscribe(sub { $left = [@_] });
        wait_until { @{ $one->{asked} } } 'the question';
        $mock->fault(api => $BEAT{$protocol}, error => 25);
        wait_until { $left } 'leaving';
        is_deeply $left, [], 'waits no longer';
        is_deeply committed_in($mock), {}, 'and commits nothing';
    };

    subtest "$protocol: close, and the end of the client" => sub {
        my $mock = filled(2, 3, @mock);
        my $one  = worker($mock, @protocol);
        my $left;
        $one->{kafka}->unsubscribe(sub { $left = "@_" });
        wait_until { @{ $one->{asked} } } 'the question';
        $one->{kafka}->close;
        is $left, 'client closed', 'unsubscribe is told';
        $one->{asked}[0][1]->();
        weaken(my $gone = $one->{kafka});
        delete $one->{kafka};
        is $gone, undef, 'nothing keeps the client';

        my $two = worker($mock, @protocol);
        my $three = member($mock, @protocol);
        wait_until { @{ $two->{asked} } } 'the question';
        weaken($gone = $two->{kafka});
        delete $two->{kafka};
        is $gone, undef, 'not while it is asked either';
        $two->{asked}[0][1]->();
    };
}

croaks_like(sub { connected(brokers => filled(1, 0)->bootstrap)->subscribe('t', group_id => 'g', on_revoke => sub { }, on_revoke_async => sub { }) },
    qr/option 'on_revoke_async' takes the place of on_revoke: only one of them can be given at \Q$0\E/);

done_testing;
