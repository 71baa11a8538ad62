use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use ScriptedBroker;
use TestKafka;
use Time::HiRes qw(time);

sub polled {
    my ($kafka) = @_;
    my @polled;
    $kafka->poll(sub { push @polled, [@_] });
    wait_until { @polled } 'poll';
    return $polled[0][0];
}

sub consumer {
    my ($mock, $received, @options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10,
        on_message => sub { push @$received, $_[4] }, @options);
    $kafka->assign([{ topic => 't' }]);
    return $kafka;
}

subtest 'OFFSET_OUT_OF_RANGE' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, map { { value => "v$_" } } 0 .. 9);
    $mock->delete_records(t => 0, 4);
    my @received;
    my $kafka = consumer($mock, \@received);
    like polled($kafka), qr/OFFSET_OUT_OF_RANGE/, 'goes to the callback of poll';
    is polled($kafka), undef, 'the next poll';
    is_deeply \@received, [map { "v$_" } 4 .. 9], 'starts at the earliest offset';
    $kafka->seek('t', 0, 1000);
    like polled($kafka), qr/OFFSET_OUT_OF_RANGE/, 'the same beyond the end';
    @received = ();
    polled($kafka);
    is scalar(@received), 6, 'from the earliest again';
    is_deeply [errors($kafka)], [], 'it is not for on_error';
};

for my $code (5, 6, 9, 56, 74, 75, 78) {
    subtest EV::Kafka::_error_name($code) => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        $mock->append(t => 0, { value => 'v' });
        $mock->fault(api => 'Fetch', error => $code);
        my @received;
        my $kafka = consumer($mock, \@received);
        my $metadata = $mock->request_count('Metadata');
        is polled($kafka), undef, 'is not for the callback of poll';
        fetch_all($kafka, \@received, 1);
        cmp_ok $mock->request_count('Metadata'), '>', $metadata, 'fetches metadata';
        is_deeply \@received, ['v'], 'and is tried again';
        is_deeply [errors($kafka)], [], 'silently';
    };
}

subtest 'a leader error that persists' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->fault(api => 'Fetch', error => 6, times => undef);
    my $kafka = consumer($mock, []);
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { errors($kafka) } 'on_error';
    my $tries = $mock->request_count('Fetch');
    cmp_ok $tries, '>=', 3, 'is reported after some tries';
    like +(errors($kafka))[0], qr/t:0.*NOT_LEADER_OR_FOLLOWER \(code 6\)/, 'with partition and code';
    wait_until { $mock->request_count('Fetch') >= $tries + 2 } 'more tries';
    is scalar(errors($kafka)), 1, 'once';
};

subtest 'the leader moves' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => 'a' });
    my @received;
    my $kafka = consumer($mock, \@received);
    fetch_all($kafka, \@received, 1);
    $mock->set_leader(t => 0, 1);
    $mock->append(t => 0, { value => 'b' });
    fetch_all($kafka, \@received, 2);
    is_deeply \@received, ['a', 'b'], 'and is followed';
    is_deeply [errors($kafka)], [], 'silently';
};

for my $code (3, 29) {
    subtest EV::Kafka::_error_name($code) => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 2);
        $mock->append(t => $_, { value => "p$_" }) for 0, 1;
        $mock->fault(api => 'Fetch', topic => 't', partition => 0, error => $code, times => undef);
        my @received;
        my $kafka = consumer($mock, \@received);
        my $both = [map { { topic => 't', partition => $_ } } 0, 1];
        $kafka->assign($both);
        is polled($kafka), undef, 'is not for the callback of poll';
        is_deeply \@received, ['p1'], 'the other partition is delivered';
        my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
        my $tries = $mock->request_count('Fetch');
        wait_until { $mock->request_count('Fetch') >= $tries + 4 } 'more tries';
        is scalar(errors($kafka)), 1, 'on_error hears of it once';
        like +(errors($kafka))[0], qr/t:0.*code $code/, 'with partition and code';
        $kafka->assign($both);
        wait_until { errors($kafka) == 2 } 'another report';
        pass 'and again after a new assignment';
    };
}

subtest 'a damaged batch' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => 'good' });
    my $batch = EV::Kafka::_test_encode_batch([{ key => 'k', value => 'damaged' }], {});
    substr $batch, 0, 8, pack 'q>', 1;
    substr($batch, -1) ^= "\x01";
    $mock->append_bytes(t => 0, $batch, 1);
    $mock->append(t => 0, { value => 'after' });
    my @received;
    my $kafka = consumer($mock, \@received);
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { errors($kafka) } 'on_error';
    my $tries = $mock->request_count('Fetch');
    wait_until { $mock->request_count('Fetch') >= $tries + 2 } 'more tries';
    is_deeply \@received, ['good'], 'is not delivered, nor is what comes after it';
    is $kafka->{cfg}{assignments}[0]{offset}, 1, 'the position stays before it';
    is scalar(errors($kafka)), 1, 'on_error hears of it once';
    like +(errors($kafka))[0], qr/t:0.*CORRUPT_MESSAGE \(code 2\)/, 'with partition and code';
    $kafka->seek('t', 0, 2);
    wait_until { @received == 2 } 'what comes after';
    is_deeply \@received, ['good', 'after'], 'seek passes it';
};

# Seconds until so many requests have come from a program that polls from its callback.
sub seconds_for {
    my ($kafka, $count, $requests) = @_;
    my ($began, $took) = (time);
    my $poll;
    $poll = sub { $kafka->poll($poll) };
    $poll->();
    wait_until { $requests->() >= $count } "$count requests";
    $took = time - $began;
    undef $poll;
    return $took;
}

{
    my $batch = EV::Kafka::_test_encode_batch([{ value => 'x' x 1000 }], {});
    my %useless = (
        'a lookup that is refused'      => [-2, ListOffsets => sub { ScriptedBroker::list_offsets_answer($_[0], 0, 29) }],
        'a lookup that finds no offset' => [-2, ListOffsets => sub { ScriptedBroker::list_offsets_answer($_[0], -1) }],
        'an answer that breaks off'     => [0,  Fetch       => sub { "\0\0" }],
        'an answer without the partition' => [0, Fetch => sub { pack 'N N', 0, 0 }, qr/lacks t:0/],
        'a batch that never comes whole'  => [0, Fetch => sub {
            ScriptedBroker::fetch_answer($_[0], high_watermark => 1, records => substr $batch, 0, 500);
        }, qr/t:0 at offset 0: nothing comes/, 8],
    );
    for my $name (sort keys %useless) {
        my ($offset, $api, $answer, $report, $at_once) = @{ $useless{$name} };
        subtest $name => sub {
            my $broker = ScriptedBroker->new(on_request => sub { $_[2]{api} eq $api ? $answer->($_[2]) : undef });
            my $kafka  = connected(brokers => $broker->address);
            $kafka->assign([{ topic => 't', offset => $offset }]);
            my $took = seconds_for($kafka, 4 + ($at_once || 0), sub { scalar $broker->requests($api) });
            cmp_ok $took, '>', 0.4, 'is asked for ever more slowly';
            cmp_ok scalar(errors($kafka)), '<=', 1, 'and reported once, if at all';
            like +(errors($kafka))[0], $report, 'with the place' if $report;
        };
    }
}

subtest 'a topic that does not exist' => sub {
    my $broker = ScriptedBroker->new(topics => { t => 3 });
    my $kafka  = connected(brokers => $broker->address, fetch_max_wait_ms => 10);
    my $before = $broker->requests('Metadata');
    $kafka->assign([{ topic => 't' }]);
    cmp_ok seconds_for($kafka, $before + 5, sub { scalar $broker->requests('Metadata') }), '>', 0.5,
        'is asked for ever more slowly';
};

for my $is_consuming (0, 1) {
    subtest 'a seek to an end that cannot be found, ' . ($is_consuming ? 'while consuming' : 'with poll') => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        $mock->append(t => 0, { value => $_ }) for 0, 1;
        my @received;
        my $kafka = consumer($mock, \@received);
        $kafka->consume if $is_consuming;
        fetch_all($kafka, \@received, 2);
        # Longer than a Fetch may take: nothing is under way then.
        $mock->fault(api => 'ListOffsets', error => 29, delay_ms => 100);
        my @sought;
        $kafka->seek('t', 0, -1, sub { push @sought, [@_] });
        wait_until { @sought } 'the end of the seek';
        like $sought[0][1], qr/TOPIC_AUTHORIZATION_FAILED/, 'its callback hears of it';
        $mock->append(t => 0, { value => 2 });
        if ($is_consuming) { wait_until { @received >= 3 } 'the next message' }
        else               { fetch_all($kafka, \@received, 3) }
        is_deeply \@received, [0 .. 2], 'and the position is where it was';
    };
}

subtest 'a lookup that fails after a seek has overtaken it' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => $_ }) for 0, 1;
    my @received;
    my $kafka = consumer($mock, \@received);
    $kafka->assign([{ topic => 't', offset => -2 }]);
    $mock->fault(api => 'ListOffsets', error => 29, delay_ms => 50);
    $kafka->poll;
    wait_until { $mock->request_count('ListOffsets') } 'the lookup';
    $kafka->seek('t', 0, 1);
    wait_until { !Inside::lookups($kafka) } 'its answer';
    is Inside::fetched_not_before($kafka, t => 0), 0, 'delays nothing';
    fetch_all($kafka, \@received, 1);
    is_deeply \@received, [1], 'the seek counts';
    is_deeply [errors($kafka)], [], 'and nothing is reported';
};

done_testing;
