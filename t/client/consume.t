use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;
use Time::HiRes qw(sleep);

# Fetching without end, as groups do, and how delivering shares the event loop
# with everything else.

sub consumer {
    my ($mock, $assigned, %options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, %options);
    $kafka->assign($assigned);
    return $kafka;
}

sub filled {
    my ($batches, $records, %options) = @_;
    my $mock = EV::Kafka::Mock->new(%options);
    $mock->create_topic(t => 2);
    my $n = 0;
    $mock->append(t => 0, map { { value => $n++ } } 1 .. $records) for 1 .. $batches;
    return $mock;
}

subtest 'what arrives is delivered without asking' => sub {
    my $mock = filled(1, 3, brokers => 2);
    my @received;
    my $kafka = consumer($mock, [map { { topic => 't', partition => $_ } } 0, 1],
        on_message => sub { push @received, $_[4] });
    $kafka->consume;
    wait_until { @received == 3 } 'what was there';
    $mock->append(t => 1, { value => 'p1' });
    wait_until { @received == 4 } 'what is new';
    $mock->append(t => 0, { value => 'p0' });
    wait_until { @received == 5 } 'and more';
    is_deeply \@received, [0, 1, 2, 'p1', 'p0'], 'everything once';
    $kafka->stop_consuming;
    wait_until { !Inside::is_fetching($kafka) } 'the last answers';
    my $count = $mock->request_count('Fetch');
    turns;
    is $mock->request_count('Fetch'), $count, 'and no Fetch leaves after it was stopped';
};

subtest 'the next Fetch is on its way, and no more than that' => sub {
    my $mock = filled(10, 20);
    my $received = 0;
    my (@outstanding, $turns);
    my $kafka = consumer($mock, [{ topic => 't' }], fetch_max_bytes => 100, on_message => sub {
        $received++;
        push @outstanding, $mock->request_count('Fetch') if $received <= 20;
        sleep 0.006;
    });
    $kafka->consume;
    wait_until { $received >= 20 } 'the first answer';
    # The next one leaves before the first message is delivered, which the mock may see by then.
    is_deeply [grep { $_ > 2 } @outstanding], [], 'while it is delivered no more than one is fetched';
    is $outstanding[-1], 2, 'and that one waits';
    wait_until { $received >= 200 } 'everything';
    is $received, 200, 'once';
};

subtest 'the first message comes with the first answer' => sub {
    my $mock = filled(10, 20);
    $mock->fault(api => 'Fetch', delay_ms => 100);
    my @received;
    my $kafka = consumer($mock, [{ topic => 't' }], fetch_max_bytes => 100, on_message => sub { push @received, $_[2] });
    $kafka->consume;
    wait_until { $mock->request_count('Fetch') == 1 } 'the first Fetch';
    $mock->fault(api => 'Fetch', times => undef, hang => 1);
    wait_until { @received >= 20 && $mock->request_count('Fetch') == 2 } 'its messages, and the next Fetch';
    is_deeply \@received, [0 .. 19], 'which nobody answers';
};

subtest 'the event loop turns between slow handlers' => sub {
    my $mock = filled(1, 30);
    my $received = 0;
    my $kafka = consumer($mock, [{ topic => 't' }], on_message => sub { $received++; sleep 0.007 });
    my @at;
    my $timer = EV::timer 0, 0.001, sub { push @at, $received };
    $kafka->consume;
    wait_until { $received == 30 } 'one answer';
    my %seen = map { $_ => 1 } @at;
    cmp_ok scalar(keys %seen), '>', 15, 'timers fire between its messages';
};

subtest 'a handler that runs the event loop' => sub {
    my $mock = filled(3, 4);
    my (@received, $inside, $nested);
    my $kafka = consumer($mock, [{ topic => 't' }], fetch_max_bytes => 100, on_message => sub {
        $nested = 1 if $inside++;
        push @received, $_[2];
        turns 5;
        $inside = 0;
    });
    $kafka->consume;
    wait_until { @received >= 12 } 'everything';
    is_deeply \@received, [0 .. 11], 'in order, each once';
    ok !$nested, 'and one at a time';
};

subtest 'positions are those of what was delivered' => sub {
    my $mock = filled(2, 3);
    my (@inside, $kafka);
    my $received = 0;
    $kafka = consumer($mock, [map { { topic => 't', partition => $_ } } 0, 1], on_message => sub {
        $received++;
        my ($p0) = grep { $_->{partition} == 0 } Inside::positions($kafka);
        push @inside, "$_[2]:$p0->{offset}:" . $kafka->position('t', 0);
        sleep 0.006 if $received == 2;
    });
    is $kafka->position('t', 5), undef, 'none of a partition that is not assigned';
    $kafka->consume;
    wait_until { $received == 6 } 'everything';
    is_deeply \@inside, [map { join ':', $_, $_ + 1, $_ + 1 } 0 .. 5], 'the message being delivered counts';
    turns;
    is_deeply [map { "$_->{partition}:$_->{offset}" } Inside::positions($kafka)], ['0:6', '1:0'], 'and after it';
    is_deeply [map { $_->{offset} } @{ $kafka->{cfg}{assignments} }], [6, 0], '{assignments} knows it, too';
    $kafka->assign([{ topic => 't', offset => -1 }]);
    is_deeply [Inside::positions($kafka)], [], 'one that was not looked up yet is not there';
    is $kafka->position('t', 0), undef, 'nor is its position';
};

subtest 'nothing is delivered while it is held' => sub {
    my $mock = filled(1, 10);
    my (@received, $kafka);
    $kafka = consumer($mock, [{ topic => 't' }],
        on_message => sub { push @received, $_[4]; Inside::hold_delivery($kafka) if $_[4] == 3 });
    $kafka->consume;
    wait_until { @received == 4 } 'the start';
    $mock->append(t => 0, { value => 10 });
    turns 50;
    is_deeply \@received, [0 .. 3], 'from the next message on';
    is $kafka->position('t', 0), 4, 'and the position stays';
    Inside::release_delivery($kafka);
    is scalar(@received), 4, 'nor within the release';
    wait_until { @received == 11 } 'the rest';
    is_deeply \@received, [0 .. 10], 'all of it comes afterwards';
};

subtest 'positions are put back' => sub {
    my $mock = filled(2, 5);
    my (@received, $kafka);
    $kafka = consumer($mock, [{ topic => 't' }], fetch_max_bytes => 100, on_message => sub {
        push @received, $_[4];
        $kafka->seek('t', 0, 1) if @received == 3;
    });
    $kafka->consume;
    wait_until { @received >= 12 } 'everything';
    is_deeply \@received, [0 .. 2, 1 .. 9], 'and nothing of what was fetched before is delivered in between';
};

subtest 'an assignment that changes in part' => sub {
    my $mock = filled(4, 5);
    $mock->append(t => 1, map { { value => "p1-$_" } } 0 .. 4);
    my (@received, $kafka, $changed);
    my $change = [{ topic => 't', partition => 0, offset => 99 }, { topic => 'u', partition => 0, offset => -2 }];
    $kafka = consumer($mock, [map { { topic => 't', partition => $_ } } 1, 0], on_message => sub {
        push @received, "$_[0]$_[1]:$_[2]";
        Inside::change_assignment($kafka, $change) if !$changed++;
    });
    $mock->create_topic(u => 1);
    $mock->append(u => 0, { value => 'u' });
    Inside::refresh($kafka);
    wait_until { defined $kafka->{cfg}{leaders}{'u:0'} } 'metadata';
    $kafka->consume;
    wait_until { @received == 22 } 'the rest';
    turns 50;
    is_deeply [sort grep { /^t1/ } @received], ['t1:0'], 'what is given up is dropped in the middle of its answer';
    is_deeply [grep { /^t0/ } @received], [map { "t0:$_" } 0 .. 19], 'what stays goes on where it was';
    is_deeply [grep { /^u0/ } @received], ['u0:0'], 'what is new starts at its offset';
};

subtest 'a new assignment of the same partition' => sub {
    my $mock = filled(4, 5);
    my (@received, $kafka);
    $kafka = consumer($mock, [{ topic => 't' }], fetch_max_bytes => 100, on_message => sub {
        push @received, $_[2];
        $kafka->assign([{ topic => 't', offset => 18 }]) if @received == 3;
    });
    $kafka->consume;
    wait_until { @received >= 5 } 'the rest';
    turns 50;
    is_deeply \@received, [0, 1, 2, 18, 19], 'makes void what was fetched for the one before';
};

subtest 'seek from within on_message' => sub {
    my $mock = filled(4, 5);
    my (@received, $kafka);
    $kafka = consumer($mock, [{ topic => 't' }], fetch_max_bytes => 100, on_message => sub {
        push @received, $_[2];
        $kafka->seek('t', 0, 17) if @received == 3;
    });
    $kafka->consume;
    wait_until { @received >= 6 } 'the rest';
    turns 50;
    is_deeply \@received, [0, 1, 2, 17, 18, 19], 'is where the next message comes from';
};

subtest 'close from within on_message' => sub {
    my $mock = filled(4, 5);
    my (@received, $kafka);
    $kafka = consumer($mock, [{ topic => 't' }],
        on_message => sub { push @received, $_[2]; $kafka->close if @received == 3 });
    $kafka->consume;
    wait_until { @received >= 3 } 'messages';
    turns 50;
    is_deeply \@received, [0, 1, 2], 'no message comes after it';
    wait_until { !$mock->connections } 'the end of its connections';
};

subtest 'a client that is dropped while it delivers' => sub {
    my $mock = filled(2, 5);
    my ($received, $kafka) = (0);
    $kafka = consumer($mock, [{ topic => 't' }],
        on_message => sub { $received++; undef $kafka if $received == 3; sleep 0.006 });
    $kafka->consume;
    wait_until { !$kafka && !$mock->connections } 'its end';
    turns;
    cmp_ok $received, '<', 10, 'comes before the end of its answer';
};

subtest 'a broker that goes and comes back' => sub {
    my $mock = filled(1, 3);
    my @received;
    my $kafka = consumer($mock, [{ topic => 't' }], on_message => sub { push @received, $_[2] });
    $kafka->consume;
    wait_until { @received == 3 } 'messages';
    $mock->stop_broker(0);
    wait_until { errors($kafka) } 'the loss';
    $mock->start_broker(0);
    $mock->append(t => 0, { value => 'after' });
    wait_until { @received == 4 } 'what comes after';
    is_deeply \@received, [0 .. 3], 'everything once';
    is scalar(errors($kafka)), 1, 'and one report';
};

subtest 'the leader moves while the old one does not answer' => sub {
    my $mock = filled(1, 3, brokers => 2);
    my @received;
    my $kafka = consumer($mock, [{ topic => 't' }], on_message => sub { push @received, $_[2] });
    $mock->fault(api => 'Fetch', broker => 0, delay_ms => 300);
    $kafka->consume;
    wait_until { $mock->request_count('Fetch') } 'the Fetch';
    $mock->set_leader(t => 0, 1);
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { @received >= 3 } 'messages';
    my $requests = $mock->request_count('Fetch');
    wait_until { !Inside::is_fetching($kafka, 0) } 'the late answer';
    turns 20;
    is_deeply \@received, [0 .. 2], 'what both of them bring is delivered once';
};

subtest 'without a position, and without a leader' => sub {
    my $mock = filled(1, 3, brokers => 2);
    my @received;
    my $kafka = consumer($mock, [{ topic => 't', offset => -2 }, { topic => 'later', offset => -2 }],
        on_message => sub { push @received, "$_[0]:$_[2]" });
    $mock->fault(api => 'ListOffsets', drop => 1);
    $kafka->consume;
    wait_until { @received == 3 } 'messages';
    $mock->create_topic('later') if !grep { $_ eq 'later' } $mock->topics;
    $mock->append(later => 0, { value => 'x' });
    wait_until { @received == 4 } 'the other topic';
    is_deeply \@received, ['t:0', 't:1', 't:2', 'later:0'], 'both are found in the end';
};

subtest 'an offset that is out of range' => sub {
    my $mock = filled(1, 10);
    $mock->delete_records(t => 0, 4);
    my @received;
    my $kafka = consumer($mock, [{ topic => 't' }], on_message => sub { push @received, $_[2] });
    $kafka->consume;
    wait_until { @received >= 6 } 'messages';
    is_deeply \@received, [4 .. 9], 'is looked up again';
    is_deeply [errors($kafka)], [], 'silently';
};

subtest 'positions that are being looked up' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 6);
    $mock->append(t => 5, { value => 'v' });
    my @received;
    my $kafka = consumer($mock, [map { { topic => 't', partition => $_, offset => -2 } } 0 .. 5],
        fetch_max_wait_ms => 60_000, on_message => sub { push @received, $_[1] });
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 5, delay_ms => 200);
    # However busy the machine is.
    Inside::with_resolving_grace(3600, sub {
        $kafka->consume;
        wait_until { $mock->request_count('Fetch') } 'a Fetch';
    });
    is $mock->request_count('ListOffsets'), 1, 'are asked for together';
    # A Fetch without the last one would be answered after a minute.
    wait_until { @received } 'a message';
    is_deeply \@received, [5], 'one Fetch has them all';

    $mock->fault(api => 'ListOffsets', topic => 't', partition => 3, hang => 1);
    $kafka->assign([{ topic => 't', partition => 5, offset => 0 }, { topic => 't', partition => 3, offset => -2 }]);
    $mock->append(t => 0, { value => 'ends the Fetch for the partitions of before' });
    wait_until { @received == 2 } 'a message';
    is_deeply \@received, [5, 5], 'but not for long';
};

subtest 'every partition gets its turn' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 3);
    for my $partition (0 .. 2) {
        $mock->append(t => $partition, { value => 'x' x 1000 }) for 1 .. 50;
    }
    my (%received, $worst);
    my $kafka = consumer($mock, [map { { topic => 't', partition => $_ } } 0 .. 2], fetch_max_bytes => 5000,
        on_message => sub {
            $received{ $_[1] }++;
            my ($least, undef, $most) = sort { $a <=> $b } map { $_ // 0 } @received{ 0 .. 2 };
            $worst = $most - $least if $most - $least > ($worst // 0);
        });
    $kafka->consume;
    wait_until { 3 == grep { ($_ // 0) == 50 } @received{ 0 .. 2 } } 'everything';
    cmp_ok $worst, '<=', 10, 'none is further ahead than two answers';
};

done_testing;
