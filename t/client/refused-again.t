use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# What a program does on error: it produces again, until it has been told so often.
use constant OFTEN => 5_000;

# Gives a callback that does so, and what happens: how often, and how deep.
sub again {
    my ($produce) = @_;
    my %seen = (told => 0, deepest => 0, delivered => 0);
    my $depth = 0;
    my $again;
    $again = sub {
        my (undef, $error) = @_;
        return $seen{delivered}++ unless defined $error;
        $depth++;
        $seen{deepest} = $depth if $depth > $seen{deepest};
        push @{ $seen{errors} }, $error if !$seen{told}++;
        $produce->($again) if $seen{told} < OFTEN;
        $depth--;
    };
    return ($again, \%seen);
}

subtest 'while the buffer is full' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, buffer_memory => 1_000);
    $mock->fault(api => 'Produce', hang => 1);
    my ($again, $seen) = again(sub { $kafka->produce('t', 'k', 'x' x 400, $_[0]) });
    $kafka->produce('t', 'k', 'x' x 400) for 1 .. 2;
    $kafka->produce('t', 'k', 'x' x 400, $again);
    is $seen->{told}, 1, 'the first refusal is told at once';
    wait_until { $seen->{told} == OFTEN } 'all refusals';
    is_deeply $seen->{errors}, ['producer buffer full'], 'the reason';
    cmp_ok $seen->{deepest}, '<=', 2, 'none within another for long';
};

subtest 'a producer without an id' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->fault(api => 'InitProducerId', error => 31);
    my $kafka = client(brokers => $mock->bootstrap, idempotent => 1);
    my $connected;
    $kafka->connect(sub { $connected = 1 });
    wait_until { $connected } 'the refusal';
    my ($again, $seen) = again(sub { $kafka->produce('t', 'k', 'v', $_[0]) });
    $kafka->produce('t', 'k', 'v', $again);
    wait_until { $seen->{told} == OFTEN } 'all refusals';
    like $seen->{errors}[0], qr/^idempotent producer unavailable/, 'the reason';
    cmp_ok $seen->{deepest}, '<=', 2, 'none within another for long';

    my ($told, $depth, $deepest) = (0, 0, 0);
    my $on_error = sub {
        $depth++;
        $deepest = $depth if $depth > $deepest;
        $kafka->produce('t', 'k', 'v') if ++$told < OFTEN;
        $depth--;
    };
    $kafka->{cfg}{on_error} = $on_error;
    $kafka->produce('t', 'k', 'v');
    wait_until { $told == OFTEN } 'all reports';
    cmp_ok $deepest, '<=', 2, 'nor in on_error';
};

subtest 'a transaction that is being aborted' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x');
    $kafka->begin_transaction;
    my $written;
    $kafka->produce('t', 'k', 'v', sub { $written = 1 });
    wait_until { $written } 'a message';
    $mock->fault(api => 'EndTxn', hang => 1);
    $kafka->abort_transaction;
    my ($again, $seen) = again(sub { $kafka->produce('t', 'k', 'v', $_[0]) });
    $kafka->produce('t', 'k', 'v', $again);
    wait_until { $seen->{told} == OFTEN } 'all refusals';
    cmp_ok $seen->{deepest}, '<=', 2, 'the same';
};

subtest 'a transaction is broken at once, whenever that is told' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x', buffer_memory => 1_000);
    $kafka->begin_transaction;
    my (@told, @ended);
    $kafka->produce('t', 'k', 'x' x 2_000, sub {
        push @told, 1;
        $kafka->produce('t', 'k', 'x' x 2_000, sub { push @told, 2 });
    });
    is_deeply \@told, [1], 'one is still to be told';
    $kafka->commit_transaction(sub { push @ended, [@_] });
    wait_until { @ended } 'the end';
    like $ended[0][1], qr/^message too large/, 'the commit fails';
    wait_until { @told == 2 } 'the other';
    pass 'told';
};

subtest 'callbacks that are called at once' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, acks => 0);
    my %ways  = (
        flush        => sub { $kafka->flush($_[0]) },
        connect      => sub { $kafka->connect($_[0]) },
        produce_many => sub { $kafka->produce_many([['t', 'k', 'v']], $_[0]) },
    );
    for my $method (sort keys %ways) {
        my ($called, $depth, $deepest) = (0, 0, 0);
        my $again;
        $again = sub {
            $depth++;
            $deepest = $depth if $depth > $deepest;
            $ways{$method}->($again) if ++$called < OFTEN;
            $depth--;
        };
        my @warnings = warnings_of {
            $ways{$method}->($again);
            wait_until { $called == OFTEN } "all calls of $method";
        };
        cmp_ok $deepest, '<=', 60, "$method: let the loop turn at times";
        is_deeply \@warnings, [], 'without a warning';
        undef $again;
    }
};

subtest 'what is still to be told when the client ends' => sub {
    my $kafka = client(buffer_memory => 100);
    my @told;
    $kafka->produce('t', 'k', 'x' x 200, sub { $kafka->produce('t', 'k', 'x' x 200, sub { push @told, $_[1] }) });
    is_deeply \@told, [], 'not yet';
    undef $kafka;
    is scalar(@told), 1, 'is told then';
};

done_testing;
