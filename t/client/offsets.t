use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

my $mock = EV::Kafka::Mock->new(brokers => 2);
$mock->create_topic(t => 3);
$mock->append(t => 0, map { { value => $_ } } 1 .. 10);
$mock->append(t => 1, map { { value => $_ } } 1 .. 5);
$mock->delete_records(t => 0, 4);

subtest 'offsets_for' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->offsets_for('t', sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply $got[0], [{
        0 => { earliest => 4, latest => 10 },
        1 => { earliest => 0, latest => 5 },
        2 => { earliest => 0, latest => 0 },
    }, undef], 'earliest and latest of every partition';
};

subtest 'before connect' => sub {
    my $kafka = client(brokers => $mock->bootstrap);
    my ($offsets, $lag);
    $kafka->assign([{ topic => 't', offset => 7 }]);
    $kafka->offsets_for('t', sub { $offsets = shift });
    $kafka->lag(sub { $lag = shift });
    $kafka->connect;
    wait_until { $offsets && $lag } 'both callbacks';
    is $offsets->{0}{latest}, 10, 'offsets_for waits';
    is_deeply $lag, { 't:0' => { current => 7, latest => 10, lag => 3 } }, 'lag waits';
};

subtest 'an unknown topic' => sub {
    my $strict = EV::Kafka::Mock->new(auto_create => 0);
    my $kafka  = connected(brokers => $strict->bootstrap);
    my @got;
    $kafka->offsets_for('unknown', sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is scalar(@got), 1, 'once';
    is $got[0][0], undef, 'no result';
    like $got[0][1], qr/unavailable after/, 'the reason';
};

subtest 'lag' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->lag(sub { push @got, [@_] });
    is_deeply \@got, [[{}]], 'nothing assigned, no lag';
    $kafka->assign([{ topic => 't', partition => 0, offset => 4 }, { topic => 't', partition => 1, offset => 5 }]);
    @got = ();
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply $got[0], [{
        't:0' => { current => 4, latest => 10, lag => 6 },
        't:1' => { current => 5, latest => 5,  lag => 0 },
    }, undef], 'position, latest and what is between';
    $kafka->assign([{ topic => 't', partition => 0, offset => -2 }, { topic => 't', partition => 1, offset => 5 }]);
    @got = ();
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply [keys %{ $got[0][0] }], ['t:1'], 'a partition whose position was not looked up yet has none';
    like $got[0][1], qr/t:0: .*not been looked up/, 'and an error says so';
};

subtest 'one partition fails' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([map { { topic => 't', partition => $_ } } 0, 1]);
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 1, error => 29);
    my @got;
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply [keys %{ $got[0][0] }], ['t:0'], 'the others are there';
    like $got[0][1], qr/t:1: TOPIC_AUTHORIZATION_FAILED \(code 29\)/, 'and an error says what happened';
};

subtest 'another broker leads' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->assign([{ topic => 't', partition => 0 }]);
    my ($requests, @got) = $mock->request_count('ListOffsets');
    $mock->fault(api => 'ListOffsets', error => 6, times => 4);
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is $got[0][0]{'t:0'}{latest}, 10, 'it is asked again';
    is $mock->request_count('ListOffsets') - $requests, 5, 'until there is an answer';
    $mock->fault(api => 'ListOffsets', error => 6, times => 5);
    $kafka->lag(sub { push @got, [@_] });
    wait_until { @got == 2 } 'the callback';
    is $got[1][1], 't:0: NOT_LEADER_OR_FOLLOWER (code 6)', 'or it has been asked often enough';
};

subtest 'close' => sub {
    my ($kafka, @got) = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'ListOffsets', hang => 1);
    my $requests = $mock->request_count('ListOffsets');
    $kafka->offsets_for_times({ 't:0' => 0 }, sub { push @got, $_[1] });
    wait_until { $mock->request_count('ListOffsets') > $requests } 'the request';
    $kafka->offsets_for_times({ 't:1' => 0, 'u:0' => 0 }, sub { push @got, $_[1] });
    $kafka->close;
    is_deeply [sort @got], ['t:0: disconnected', 'u:0: client closed; t:1: client closed'], 'calls back, each once';
};

subtest 'a broker that is gone' => sub {
    my $lonely = EV::Kafka::Mock->new;
    $lonely->create_topic(t => 1);
    my $kafka = connected(brokers => $lonely->bootstrap);
    $lonely->stop_broker(0);
    my @got;
    $kafka->offsets_for('t', sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    like $got[0][1], qr/no connection to leader/, 'is the error';
};

subtest 'offsets_for_times' => sub {
    my $timed = EV::Kafka::Mock->new(brokers => 2, auto_create => 0);
    $timed->create_topic('a.b' => 2);
    $timed->append('a.b', 0, map { { value => $_, timestamp => 1000 + 10 * $_ } } 0 .. 4);
    $timed->append('a.b', 1, { value => 'x', timestamp => 500 });
    my $kafka = client(brokers => $timed->bootstrap);
    my @got;
    $kafka->offsets_for_times({ 'a.b:0' => 1011, 'a.b:1' => 501 }, sub { push @got, [@_] });
    $kafka->connect;
    wait_until { @got } 'the callback';
    is_deeply $got[0], [{ 'a.b:0' => { offset => 2, timestamp => 1020 }, 'a.b:1' => undef }, undef],
        'the first message at that time or later, undef where there is none';
    $timed->fault(api => 'ListOffsets', topic => 'a.b', partition => 1, error => 29);
    $kafka->offsets_for_times({ 'a.b:0' => 0, 'a.b:1' => 0, 'nowhere:0' => 0 }, sub { push @got, [@_] });
    wait_until { @got == 2 } 'the callback';
    is_deeply $got[1][0], { 'a.b:0' => { offset => 0, timestamp => 1000 } }, 'what fails is left out';
    like $got[1][1], qr/a.b:1: TOPIC_AUTHORIZATION_FAILED \(code 29\)/, 'and why is said';
    like $got[1][1], qr/nowhere:0: .*unavailable after/, 'for each of them';
    $kafka->offsets_for_times({}, sub { push @got, [@_] });
    is_deeply $got[2], [{}], 'nothing asked, nothing found';
    for my $bad (undef, ['t:0'], { t => 0 }, { 't:x' => 0 }, { 't:0' => undef }, { 't:0' => 'now' }) {
        eval { $kafka->offsets_for_times($bad, sub { }) };
        like $@, qr/^offsets_for_times: .* at \Q$0\E/, "croaks: $@";
    }
    $kafka->offsets_for_times({ 'nowhere:0' => 0 }, sub { push @got, [@_] });
    $kafka->close;
    is_deeply $got[3], [{}, 'nowhere:0: client closed'], 'close calls back';
};

done_testing;
