use v5.14;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Test::More;

use EV::Kafka;
use GroupTest;
use Inside;
use TestKafka qw(wait_until turns);

# What a group holds ends with it, and with the client.

for my $protocol (qw(classic consumer)) {
    subtest "the $protocol protocol" => sub {
        my $mock   = filled(2, 3, consumer_heartbeat_interval_ms => 30);
        my %option = (group_protocol => $protocol);
        my ($one, $two) = map { joined(member($mock, %option)) } 1, 2;
        wait_until { owned($one) == 1 && owned($two) == 1 } 'the sharing';
        my $done;
        $one->{kafka}->commit(sub { $done = 1 });
        wait_until { $done } 'a commit';

        weaken(my $group = $one->{kafka}{cfg}{group});
        left($one);
        turns();
        is $group, undef, 'a group that was left is freed';
        is_deeply [Inside::group_waits($one->{kafka})], [], 'with its operations and timers';
        is_deeply $one->{kafka}{cfg}{pending_ops}, [], 'nothing waits any more';

        weaken($group = $two->{kafka}{cfg}{group});
        weaken(my $kafka = $two->{kafka});
        $two->{kafka}->close;
        delete $two->{kafka};
        turns();
        is_deeply [$kafka, $group], [undef, undef], 'close frees both';

        for my $turns (1, 3, 8, 30) {
            my $member = member($mock, %option, group_id => "h$turns");
            weaken($kafka = $member->{kafka});
            weaken($group = $kafka->{cfg}{group});
            turns($turns);
            delete $member->{kafka};
            turns();
            is_deeply [$kafka, $group], [undef, undef], "and so does going out of scope, $turns turns after subscribe";
        }
    };
}

done_testing;
