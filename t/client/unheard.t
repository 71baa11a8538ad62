use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

# Messages without a callback that fail: on_error is told, once for a batch.

sub mock {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    return $mock;
}

sub flushed {
    my ($kafka) = @_;
    my $done;
    $kafka->flush(sub { $done = 1 });
    return wait_until { $done } 'flush';
}

subtest 'refused by the broker' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', partition => 1, error => 29, times => undef);
    $kafka->produce('t', undef, $_, { partition => $_ % 2 }) for 1 .. 6;
    flushed($kafka);
    is_deeply [errors($kafka)], ['TOPIC_AUTHORIZATION_FAILED (code 29) from t:1'], 'on_error hears of the batch';
    is_deeply log_values($mock, 't'), [2, 4, 6], 'the other batch is written';
    my @ends;
    $kafka->produce('t', undef, 'heard', { partition => 1 }, sub { push @ends, $_[1] });
    flushed($kafka);
    is_deeply [scalar @ends, scalar errors($kafka)], [1, 1], 'what has a callback ends there, and only there';
    $kafka->produce('t', undef, 'heard', { partition => 1 }, sub { push @ends, $_[1] });
    $kafka->produce('t', undef, 'unheard', { partition => 1 });
    flushed($kafka);
    is_deeply [scalar @ends, scalar errors($kafka)], [2, 2], 'a batch of both is told to both';
};

subtest 'accepted after a retry' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', error => 6);
    $kafka->produce('t', 'k', 'v');
    flushed($kafka);
    is_deeply [errors($kafka)], [], 'is nothing to speak of';
};

subtest 'too large for the broker' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 5);
    $mock->fault(api => 'Produce', error => 10, times => 2);
    $kafka->produce('t', undef, $_, { partition => 0 }) for 1, 2;
    flushed($kafka);
    like join('|', errors($kafka)), qr/^MESSAGE_TOO_LARGE \(code 10\) from t:0[^|]*\z/, 'the half that fails is told of';
    is_deeply log_values($mock, 't'), [2], 'the other one is written';
};

subtest 'a die in on_error, as by default' => sub {
    my $mock = mock();
    my @died;
    local $EV::DIED = sub { push @died, $@ };
    my $kafka = connected(brokers => $mock->bootstrap, on_error => undef);
    $mock->fault(api => 'Produce', error => 87);
    $kafka->produce('t', 'k', 'v');
    flushed($kafka);
    wait_until { @died } 'the die';
    like $died[0], qr/^EV::Kafka: INVALID_RECORD \(code 87\) from t:/, 'reaches $EV::DIED';
};

subtest 'never sent' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, delivery_timeout => 0.2);
    $mock->fault(api => 'Produce', partition => 0, error => 6, times => undef);
    my $broker = ($mock->brokers)[0]{node_id};
    $mock->stop_broker($broker);
    $kafka->produce('t', undef, $_, { partition => 0 }) for 1 .. 3;
    $kafka->produce('new', undef, $_, { partition => 0 }) for 1 .. 3;
    flushed($kafka);
    is_deeply [sort grep { !/lost/ } errors($kafka)], [map { "delivery timed out after 0.2 s: $_" } 'new', 't:0'],
        'each place is named once';
};

subtest 'an answer without the partition' => sub {
    my $broker = ScriptedBroker->new(on_request => sub {
        my ($broker, $connection, $request) = @_;
        return $request->{api} eq 'Produce' ? pack 'N N', 0, 0 : undef;
    });
    my $kafka = connected(brokers => $broker->address);
    $kafka->produce('t', 'k', 'v');
    flushed($kafka);
    is scalar(errors($kafka)), 1, 'one batch, one report';
    like +(errors($kafka))[0], qr/t:0: the broker's answer lacks the partition/, 'what is known of it';
};

subtest 'a lost connection' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', drop => 1);
    $kafka->produce('t', 'k', 'v');
    flushed($kafka);
    wait_until { errors($kafka) } 'the report';
    turns;
    like join('|', errors($kafka)), qr/^broker 0 \S+ lost: [^|]*\z/, 'is reported, and not its messages as well';
};

subtest 'a codec that the broker does not know' => sub {
    my $mock = mock();
    $mock->api_versions(Produce => 3, 6);
    my $kafka = connected(brokers => $mock->bootstrap, compression => 'zstd');
    my @ends;
    $kafka->produce('t', 'k', 'heard', sub { push @ends, $_[1] });
    flushed($kafka);
    is_deeply \@ends, ['zstd needs Produce version 7, the broker speaks 6'], 'a callback hears of it';
    is_deeply [errors($kafka)], [], 'alone';
    $kafka->produce('t', 'k', 'unheard');
    flushed($kafka);
    is_deeply [errors($kafka)], \@ends, 'without one on_error does';
};

subtest 'the end of the client' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', error => 29);
    my @ends;
    $kafka->produce('t', undef, 'first', { partition => 0 }, sub { push @ends, $_[1]; $kafka->close });
    $kafka->produce('t', undef, 'second', { partition => 0 });
    wait_until { @ends } 'the callback';
    turns;
    is_deeply [errors($kafka)], [], 'on_error hears nothing after close';
};

done_testing;
