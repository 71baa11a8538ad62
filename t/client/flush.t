use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

subtest 'flush' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 4);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 3_600_000);
    my (@flushed, $delivered);
    $kafka->flush(sub { push @flushed, [@_] });
    is_deeply \@flushed, [[]], 'calls back at once when there is nothing to wait for';
    $kafka->produce('t', undef, $_, sub { $delivered++ }) for 1 .. 20;
    $kafka->flush(sub { push @flushed, [$delivered, @_] });
    $kafka->flush;
    wait_until { @flushed == 2 } 'flush';
    is_deeply $flushed[1], [20], 'sends without lingering and calls back after the last delivery';
};

subtest 'flush waits for messages whose topic is not known yet, and for those without callback' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = client(brokers => $mock->bootstrap, linger_ms => 3_600_000);
    $kafka->produce('new', 'k', 'v');
    my $flushed;
    $kafka->flush(sub { $flushed = $mock->request_count('Produce') });
    turns;
    ok !$flushed, 'not before connect';
    $kafka->connect;
    wait_until { $flushed } 'flush';
    is $flushed, 1, 'after they were sent';
};

subtest 'flush and messages that fail' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', error => 10);
    my ($error, @flushed);
    $kafka->produce('t', 'k', 'v', sub { $error = $_[1] });
    $kafka->flush(sub { push @flushed, [@_] });
    wait_until { @flushed } 'flush';
    like $error, qr/MESSAGE_TOO_LARGE/, 'the message failed';
    is_deeply \@flushed, [[]], 'which is no error of flush';
};

subtest 'flush waits for retries' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', error => 6, times => 2);
    my $flushed;
    $kafka->produce('t', 'k', 'v');
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    is_deeply log_values($mock, 't'), ['v'], 'the message is there';
};

subtest 'flush and a topic that stays unknown' => sub {
    my $mock  = EV::Kafka::Mock->new(auto_create => 0);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @order;
    $kafka->produce('unknown', 'k', 'v', sub { push @order, $_[1] });
    $kafka->flush(sub { push @order, 'flushed' });
    wait_until { @order == 2 } 'both';
    like $order[0], qr/unavailable after/, 'the message fails';
    is $order[1], 'flushed', 'then flush is done';
};

subtest 'flush_timeout' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, flush_timeout => 0.3);
    $mock->fault(api => 'Produce', delay_ms => 900);
    my (@flushed, $delivered);
    $kafka->produce('t', 'k', 'v', sub { $delivered = 1 });
    $kafka->flush(sub { push @flushed, [@_] });
    wait_until { @flushed } 'flush';
    is $delivered, undef, 'gives up before the answer';
    like $flushed[0][0], qr/timed out after 0.3 s/, 'and says so';
    wait_until { $delivered } 'delivery';
    turns;
    is scalar(@flushed), 1, 'the late answer calls nothing twice';

    $kafka->produce('t', 'k', 'v');
    $kafka->flush(sub { push @flushed, [@_] });
    wait_until { @flushed == 2 } 'another flush';
    is_deeply $flushed[1], [], 'in time there is no error';
};

subtest 'flush while the program goes on producing' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', delay_ms => 10, times => undef);
    my ($produced, $delivered, @flushed) = (0, 0);
    my $go_on = EV::timer 0, 0.001, sub { $kafka->produce('t', undef, ++$produced, sub { $delivered++ }) };
    wait_until { $produced >= 50 } 'a stream';
    my $before = $produced;
    $kafka->flush(sub { push @flushed, $delivered }) for 1 .. 2;
    wait_until { @flushed == 2 } 'flush';
    cmp_ok $_, '>=', $before, 'waits for what came before it' for @flushed;
    cmp_ok +($kafka->buffered)[0], '>', 0, 'and for nothing else';
};

subtest 'flush from within a delivery callback' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @order;
    $kafka->produce('t', undef, $_, sub { push @order, 'delivered'; $kafka->flush(sub { push @order, 'flushed' }) if @order == 1 })
        for 1 .. 3;
    wait_until { @order == 4 } 'flush';
    is_deeply \@order, [('delivered') x 3, 'flushed'], 'calls back after those of the same batch';

    my @inner;
    $kafka->produce('t', undef, 1, sub {
        my $flushed;
        $kafka->flush(sub { $flushed = 1 });
        wait_until { $flushed } 'flush in a loop of its own';
        push @inner, 'flushed';
    });
    $kafka->produce('t', undef, 2, sub { push @inner, 'delivered' });
    wait_until { @inner == 2 } 'both';
    is_deeply \@inner, ['flushed', 'delivered'], 'unless somebody waits for it there';
};

subtest 'close after a flush under acks 0' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 1);
    $mock->create_topic(many => 1);
    my $kafka = connected(brokers => $mock->bootstrap, acks => 0);
    $kafka->produce(many => undef, 'x' x 1000) for 1 .. 20_000;
    my @flushed;
    $kafka->flush(sub { push @flushed, [@_]; $kafka->close });
    wait_until { @flushed } 'flush';
    turns;
    is_deeply \@flushed, [[]], 'flush calls back once';
    my @records = $mock->records(many => 0);
    is scalar(@records), 20_000, 'and nothing is lost';
};

done_testing;
