use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use EV::Kafka::Offsets::Reset;
use GroupTest;
use Inside;
use TestKafka;

# Where consuming goes on that has no position, or none that the log has: auto_offset_reset.

subtest 'durations as Java reads them' => sub {
    for my $case (
        ['PT1H', 3600], ['pt20.345s', 20.345], ['PT15M', 900], ['PT10H', 36_000], ['P2D', 172_800], ['P2DT3H4M', 183_840],
        ['PT0S', 0], ['PT-6H+8H', undef], ['PT8H-3M', 28_620], ['P1DT-3M', 86_220], ['-PT-1H', 3600], ['+PT1M', 60], ['PT1,5S', 1.5],
        ['PT1.S', 1], ['P', undef], ['PT', undef], ['P1DT', undef], ['PT-1H', undef], ['1H', undef], ['P1H', undef], ['P1W', undef], ['P1M', undef],
        ['PT1H ', undef], ["PT1H\n", undef], ['PT.5S', undef], ['PT1S1M', undef], ['', undef],
    ) {
        my ($text, $seconds) = @$case;
        my $refusal = EV::Kafka::Offsets::Reset->refusal("by_duration:$text");
        is defined $refusal, !defined $seconds, "'$text' is " . (defined $seconds ? 'one' : 'none');
        next unless defined $seconds;
        my $reset = EV::Kafka::Offsets::Reset->new("by_duration:$text");
        my $ago   = time - $reset->timestamp / 1000;
        ok abs($ago - $seconds) < 2, "'$text' is $seconds seconds";
    }
    is(EV::Kafka::Offsets::Reset->new('by_duration:P99999D')->timestamp, 0, 'nothing is older than time');
};

for my $case (
    ['never', qr/must be 'earliest' or 'latest', or 'none', or 'by_duration:' and a duration, not 'never'/],
    ['by_duration', qr/must be 'earliest' or 'latest', .*, not 'by_duration'/],
    ['by_duration:1h', qr/has no duration as ISO 8601 has it, for example PT1H or P7DT30M, but '1h'/],
) {
    my ($value, $text) = @$case;
    ok !eval { EV::Kafka->new(auto_offset_reset => $value); 1 }, "new refuses '$value'";
    like $@, qr/\AEV::Kafka: option 'auto_offset_reset' $text at \Q$0\E/, 'and says what it takes';
}

# Records of three hours, the last one half an hour ago, and 0 to 2 of them gone.
sub cluster {
    my (%option) = @_;
    my $mock = EV::Kafka::Mock->new(min_session_timeout_ms => 1, %option);
    $mock->create_topic(t => 1);
    my $now = time * 1000;
    $mock->append(t => 0, { value => "v$_", timestamp => int($now - (6 - $_) * 1800_000) }) for 0 .. 5;
    $mock->delete_records(t => 0, 2);
    return $mock;
}

# $case: value, from what is gone, what is told of it.
for my $case (
    ['earliest',           2, 'the earliest'],
    ['latest',             6, 'the latest'],
    ['by_duration:PT100M', 3, 'the first record of the last PT100M'],
    ['by_duration:P9D',    2, 'the first record of the last P9D'],
    ['by_duration:PT1M',   6, 'the first record of the last PT1M'],
) {
    my ($reset, $first, $words) = @$case;
    subtest "a position that is gone, $reset" => sub {
        my $mock = cluster();
        my (@got, @notices);
        my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, auto_offset_reset => $reset,
            on_message => sub { push @got, $_[2] }, on_notice => sub { push @notices, $_[0] });
        $kafka->assign([{ topic => 't', partition => 0, offset => 1 }]);
        $kafka->consume;
        wait_until { @notices } 'the notice';
        $mock->append(t => 0, { value => 'new' });
        wait_until { @got && $got[-1] == 6 } 'records';
        is_deeply \@got, [$first .. 6], 'goes on there';
        like $notices[0], qr/^t:0 has no offset 1 any more, .*: consuming goes on at $first, \Q$words\E \(auto_offset_reset\)/, 'and says so';
        is_deeply [errors($kafka)], [], 'without an error';
    };
}

subtest 'a position that is gone, none' => sub {
    my $mock = cluster();
    my (@got, @polled);
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, auto_offset_reset => 'none', on_message => sub { push @got, $_[2] });
    $kafka->assign([{ topic => 't', partition => 0, offset => 1 }]);
    $kafka->poll(sub { @polled = ($_[0] // 'no error') });
    wait_until { @polled && errors($kafka) } 'the error';
    my $text = qr/t:0 has no offset 1: nothing is fetched of it until seek says where to go on \(auto_offset_reset is 'none'\)/;
    like $polled[0], qr/OFFSET_OUT_OF_RANGE/, 'poll fails with it';
    like +(errors($kafka))[0], qr/^$text$/, 'and on_error hears of it';
    $kafka->consume;
    my $requests = $mock->request_count('Fetch');
    turns 20;
    is $mock->request_count('Fetch'), $requests, 'nothing more is asked';
    is $kafka->position('t', 0), 1, 'the position is kept';
    is scalar(() = errors($kafka)), 1, 'one error';
    $kafka->seek(t => 0, 3);
    wait_until { @got == 3 } 'records';
    is_deeply \@got, [3 .. 5], 'a seek lets it go on';
    $kafka->seek(t => 0, 0);
    wait_until { errors($kafka) == 2 } 'another error';
    like +(errors($kafka))[-1], qr/t:0 has no offset 0:/, 'each time there is one';
    $kafka->{cfg}{assignments}[0]{offset} = 5;
    $kafka->consume;
    wait_until { @got == 4 } 'another record';
    is $got[-1], 5, 'a position that is written lets it go on, too';
    $kafka->seek(t => 0, 0);
    wait_until { errors($kafka) == 3 } 'a third error';
    $kafka->seek(t => 0, -2);
    wait_until { @got == 8 } 'all records';
    is_deeply [@got[4 .. 7]], [2 .. 5], 'and so does a seek to an end';
};

for my $protocol ('classic', 'consumer') {
    my @protocol = (group_protocol => $protocol);

    subtest "$protocol: nothing is committed, by_duration" => sub {
        my $mock   = cluster();
        my $member = joined(member($mock, @protocol, auto_offset_reset => 'by_duration:PT100M'));
        wait_until { @{ $member->{got} } == 3 } 'records';
        is_deeply [grep { length } @{ $member->{assigned} }], ['t:0@3'], 'on_assign is told the offset of that time';
        is left($member), 'left', 'leaving';
        my $again = joined(member($mock, @protocol, client => { auto_offset_reset => 'latest' }));
        is_deeply [grep { length } @{ $again->{assigned} }], ['t:0@6'], 'what is committed counts more';
    };

    subtest "$protocol: the client's option counts in its groups" => sub {
        my $mock   = cluster();
        my $member = joined(member($mock, @protocol, client => { auto_offset_reset => 'latest' }));
        is_deeply [grep { length } @{ $member->{assigned} }], ['t:0@6'], 'where subscribe says nothing';
        left($member);
        my $other = joined(member(cluster(), @protocol, auto_offset_reset => 'earliest', client => { auto_offset_reset => 'latest' }));
        is_deeply [grep { length } @{ $other->{assigned} }], ['t:0@2'], 'and not where it does';
    };

    subtest "$protocol: nothing is committed, none" => sub {
        my $mock = cluster();
        my (@told, @revoked);
        my $member = member($mock, @protocol, auto_offset_reset => 'none',
            on_assign => sub { push @told, map { [@$_{qw(topic partition offset)}] } @{ $_[0] } },
            on_revoke => sub { push @revoked, map { [@$_{qw(topic partition offset)}] } @{ $_[0] } });
        wait_until { errors($member->{kafka}) } 'the error';
        is_deeply \@told, [['t', 0, undef]], 'on_assign is told of it, without an offset';
        is_deeply [errors($member->{kafka})],
            ["group 'g': no offset of t:0 is committed, and auto_offset_reset is 'none': nothing is fetched until seek says where to begin"],
            'and on_error then';
        is $member->{kafka}->position('t', 0), undef, 'it has no position';
        ok is_stable($member), 'the membership goes on';
        my $committed;
        $member->{kafka}->commit(sub { $committed = [@_] });
        wait_until { $committed } 'a commit';
        is_deeply [$committed, committed_in($mock)], [[undef], {}], 'which has nothing to commit';
        $member->{kafka}->seek(t => 0, 4);
        wait_until { @{ $member->{got} } == 2 } 'records';
        is_deeply $member->{got}, ['t:0@4', 't:0@5'], 'after a seek';
        is left($member), 'left', 'leaving';
        is_deeply [\@revoked, committed_in($mock)], [[['t', 0, 6]], { 't:0' => 6 }], 'with what was read then';

        my $mock2 = cluster();
        my $set = member($mock2, @protocol, auto_offset_reset => 'none', on_assign => sub { $_->{offset} = 5 for @{ $_[0] } });
        wait_until { @{ $set->{got} } } 'a record';
        is_deeply [$set->{got}, [errors($set->{kafka})]], [['t:0@5'], []], 'no error when on_assign says where to begin';
    };
}

done_testing;
