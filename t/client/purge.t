use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# purge: what is not on its way is given up.

my $PURGED = 'purged before it was delivered';

sub values_of { my ($mock, $topic) = @_; return [map { $_->{value} } $mock->records($topic, 0)] }

subtest 'what lingers, and what waits for its topic' => sub {
    my $mock = EV::Kafka::Mock->new(auto_create => 0);
    $mock->create_topic(t => 1);
    my (@told, $many);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 10_000, allow_auto_create_topics => 0);
    is $kafka->purge, 0, 'nothing is there';
    $kafka->produce('t', undef, "v$_", sub { push @told, $_[1] }) for 1 .. 3;
    $kafka->produce('t', undef, 'unheard');
    $kafka->produce('later', undef, 'v', sub { push @told, $_[1] });
    $kafka->produce_many([['t', undef, 'm1'], ['t', undef, 'm2']], sub { $many = $_[0] });
    is $kafka->purge, 7, 'so many messages';
    turns 5;
    is_deeply \@told, [($PURGED) x 4], 'each callback hears why';
    is_deeply $many, [($PURGED) x 2], 'that of several, too';
    is_deeply [$kafka->buffered], [0, 0], 'nothing is queued';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
    my $result;
    $kafka->produce('t', undef, 'next', sub { $result = [@_] });
    $kafka->flush;
    wait_until { $result } 'the next one';
    is_deeply values_of($mock, 't'), ['next'], 'goes on';
};

subtest 'what is on its way stays' => sub {
    for my $idempotent (0, 1) {
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 1);
        my %told;
        my $kafka = connected(brokers => $mock->bootstrap, idempotent => $idempotent);
        my $produce = sub { my ($value) = @_; $kafka->produce('t', undef, $value, sub { $told{$value} = $_[1] // 'delivered' }) };
        $mock->fault(api => 'Produce', delay_ms => 50);
        $produce->('sent');
        my $had = $mock->request_count('Produce');
        wait_until { $mock->request_count('Produce') > $had } 'the request';
        $kafka->{cfg}{linger_ms} = 10_000;
        $produce->('waits');
        is $kafka->purge, 1, "one is given up, idempotent $idempotent";
        wait_until { $told{sent} } 'the answer';
        is_deeply \%told, { sent => 'delivered', waits => $PURGED }, 'the other one arrives';
        $produce->('next');
        $kafka->flush;
        wait_until { $told{next} } 'the next one';
        is_deeply values_of($mock, 't'), ['sent', 'next'], 'in the log';
    }
};

subtest 'what waits for another try, idempotent' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my %told;
    my $kafka = connected(brokers => $mock->bootstrap, idempotent => 1);
    my $produce = sub { my ($value) = @_; $kafka->produce('t', undef, $value, sub { $told{$value} = $_[1] // 'delivered' }) };
    $produce->('first');
    wait_until { $told{first} } 'the first one';
    $mock->fault(api => 'Produce', error => 7, times => undef);
    my $had = $mock->request_count('Produce');
    $produce->('refused');
    wait_until { $mock->request_count('Produce') >= $had + 2 } 'tries';
    my $purged = 0;
    wait_until { $purged += $kafka->purge; $purged } 'a moment at which it waits';
    $mock->clear_faults;
    $produce->('next');
    wait_until { $told{next} } 'the next one';
    is_deeply \%told, { first => 'delivered', refused => $PURGED, next => 'delivered' }, 'the partition goes on';
    is_deeply values_of($mock, 't'), ['first', 'next'], 'without it';
};

subtest 'a transaction' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x', linger_ms => 10_000);
    my ($error, $aborted, $committed);
    $kafka->begin_transaction;
    $kafka->produce('t', undef, 'v', sub { });
    is $kafka->purge, 1, 'loses a message';
    $kafka->commit_transaction(sub { $error = $_[1] });
    wait_until { defined $error } 'the end';
    like $error, qr/\Q$PURGED\E.*the transaction cannot be committed; call abort_transaction/, 'and cannot be committed';
    $kafka->abort_transaction(sub { $aborted = 1 });
    wait_until { $aborted } 'abort';
    $kafka->begin_transaction;
    $kafka->produce('t', undef, 'w');
    $kafka->commit_transaction(sub { $committed = [@_] });
    wait_until { $committed } 'the next one';
    is $committed->[1], undef, 'can';
};

subtest 'room' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $drained = 0;
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 10_000, buffer_memory => 2000, batch_size => 100_000, on_drain => sub { $drained++ });
    my @told;
    $kafka->produce('t', undef, 'v' x 500, sub { push @told, $_[1] // 'delivered' }) for 1 .. 5;
    like "@told", qr/buffer full/, 'there is none';
    $kafka->purge;
    wait_until { $drained } 'on_drain';
    is $drained, 1, 'is told of';
};

done_testing;
