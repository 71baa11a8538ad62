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

for my $code (3, 5, 6, 7, 19) {
    subtest 'refused with ' . EV::Kafka::_error_name($code) => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        my $kafka = connected(brokers => $mock->bootstrap);
        my $metadata = $mock->request_count('Metadata');
        $mock->fault(api => 'Produce', error => $code, times => 3);
        my @got;
        $kafka->produce('t', 'k', 'v', sub { push @got, [@_] });
        wait_until { @got } 'delivery';
        is $got[0][1], undef, 'delivered in the end';
        is produced_offset($got[0][0]), 0, 'with its offset';
        is $mock->request_count('Produce'), 4, 'after three more tries';
        cmp_ok $mock->request_count('Metadata'), '>', $metadata, 'and fresh metadata';
        is_deeply log_values($mock, 't'), ['v'], 'once';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
    };
}

for my $code (29, 87) {
    subtest 'refused for good with ' . EV::Kafka::_error_name($code) => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5);
        $mock->fault(api => 'Produce', error => $code);
        my @got;
        $kafka->produce('t', 'k', $_, sub { push @got, [@_] }) for 1, 2;
        wait_until { @got == 2 } 'both callbacks';
        my ($result, $error) = @{ $got[0] };
        is $result->{topics}[0]{partitions}[0]{error_code}, $code, 'the code is in the result';
        like $error, qr/^\Q${\ EV::Kafka::_error_name($code) }\E/, 'its name in the error';
        like $error, qr/t:0/, 'and the partition';
        is $mock->request_count('Produce'), 1, 'no other try';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
    };
}

for my $code (10, 18) {
    subtest EV::Kafka::_error_name($code) . ' halves a batch until it passes' => sub {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5);
        $mock->fault(api => 'Produce', error => $code, times => 2);
        my %got;
        for my $value (1 .. 5) {
            $kafka->produce('t', "k$value", $value, { headers => [[h => $value]] }, sub { push @{ $got{$value} }, [@_] });
        }
        wait_until { keys %got == 5 } 'all callbacks';
        is_deeply [map { scalar @{ $got{$_} } } 1 .. 5], [(1) x 5], 'once each';
        is_deeply [map { $got{$_}[0][1] } 1 .. 5], [(undef) x 5], 'without errors';
        is_deeply [map { produced_offset($got{$_}[0][0]) } 1 .. 5], [0 .. 4], 'each with the offset of its record';
        is_deeply log_values($mock, 't'), [1 .. 5], 'in order';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
    };
}

subtest 'a single record that is too large fails alone' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5);
    # The whole, its second half, and of that the second half again.
    $mock->fault(api => 'Produce', error => 10, times => 3);
    my %got;
    for my $value (1 .. 2) {
        $kafka->produce('t', undef, $value, sub { push @{ $got{$value} }, $_[1] });
    }
    wait_until { keys %got == 2 } 'both callbacks';
    like $got{1}[0], qr/^MESSAGE_TOO_LARGE \(code 10\) from t:0/, 'the first says what and where';
    like $got{2}[0], qr/^MESSAGE_TOO_LARGE/, 'so does the second';
    $kafka->produce('t', undef, 3, sub { push @{ $got{3} }, $_[1] });
    wait_until { $got{3} } 'the next one';
    is_deeply $got{3}, [undef], 'is delivered';
    is_deeply log_values($mock, 't'), [3], 'alone';
};

subtest 'refused until delivery_timeout: the error says with what' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, delivery_timeout => 2, errors => 'object');
    $mock->fault(api => 'Produce', error => 19, times => 1000);
    my @got;
    $kafka->produce('t', 'k', 'v', sub { push @got, [@_] });
    wait_until { @got } 'the end';
    # It waits for its next try then, or has just been refused once more.
    like $got[0][1],
        qr/^(?:delivery timed out after 2 s: t:0, refused with )?NOT_ENOUGH_REPLICAS \(code 19\)/, 'name and code';
    is_deeply [map { $got[0][1]->$_ } qw(code name retriable topic partition)], [19, 'NOT_ENOUGH_REPLICAS', 1, 't', 0], 'also as fields';
};

subtest 'younger batches do not pass a refused one' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', error => 6, times => 2);
    my $delivered = 0;
    my $count     = sub { $delivered++ };
    $kafka->produce('t', undef, 'a', $count);
    wait_until { Inside::has_held_batches($kafka) } 'the refusal';
    $kafka->produce('t', undef, $_, $count) for 'b', 'c';
    wait_until { $delivered == 3 } 'delivery';
    is_deeply log_values($mock, 't'), [qw(a b c)], 'the log has them in order';
};

subtest 'one partition refused, the others not' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 3);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5);
    $mock->fault(api => 'Produce', topic => 't', partition => 1, error => 6, times => 2);
    $mock->fault(api => 'Produce', topic => 't', partition => 2, error => 29);
    my %got;
    $kafka->produce('t', undef, $_, { partition => $_ }, sub { push @{ $got{ $_[0]{topics}[0]{partitions}[0]{partition} } }, $_[1] })
        for 0 .. 2;
    wait_until { keys %got == 3 } 'all callbacks';
    is $got{0}[0], undef, 'the first is delivered';
    is $got{1}[0], undef, 'the second as well';
    like $got{2}[0], qr/TOPIC_AUTHORIZATION_FAILED/, 'the third is not';
    is_deeply [map { scalar @{ log_values($mock, 't', $_) } } 0 .. 2], [1, 1, 0], 'and so it is in the logs';
};

subtest 'order within a partition survives a refusal' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, batch_size => 200);
    $mock->fault(api => 'Produce', error => 6, times => 5);
    my $delivered = 0;
    $kafka->produce('t', undef, sprintf('%03d', $_), sub { $delivered++ }) for 1 .. 60;
    wait_until { $delivered == 60 } 'delivery';
    is_deeply [sort @{ log_values($mock, 't') }], [map { sprintf '%03d', $_ } 1 .. 60], 'all, each once';
};

subtest 'a leader that moves' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 3);
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($delivered, $failed) = (0, 0);
    my $cb = sub { $_[1] ? $failed++ : $delivered++ };
    for my $leader (1, 2, 0) {
        $kafka->produce('t', undef, "before $leader", $cb);
        $mock->set_leader(t => 0, $leader);
        $kafka->produce('t', undef, "after $leader", $cb);
    }
    wait_until { $delivered + $failed == 6 } 'all callbacks';
    is $failed, 0, 'loses nothing';
    is $mock->high_watermark(t => 0), 6, 'and doubles nothing';
    is $kafka->{cfg}{leaders}{'t:0'}, 0, 'the leader of the end';
};

subtest 'a connection lost before the answer' => sub {
    my $broker = ScriptedBroker->new;
    $broker->{on_request} = sub {
        my ($broker, $connection, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        return ScriptedBroker::produce_answer($request, 0, 1) if $broker->requests('Produce') > 1;
        $broker->drop($connection);
        return undef;
    };
    my $kafka = connected(brokers => $broker->address);
    my @got;
    $kafka->produce('t', 'k', 'first', sub { push @got, [@_] });
    wait_until { @got } 'the callback';
    is_deeply $got[0], [undef, 'connection closed by broker'], 'is the error of what was under way';
    $kafka->produce('t', 'k', 'second', sub { push @got, [@_] });
    wait_until { @got == 2 } 'the next message';
    is $got[1][1], undef, 'what comes later goes out on a new connection';
    is scalar($broker->requests('Produce')), 2, 'and nothing is sent twice';
    is scalar(errors($kafka)), 1, 'one report';
    like +(errors($kafka))[0], qr/lost/, 'of a lost broker';
};

done_testing;
