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

# A client that keeps what on_notice hears.
sub noticing {
    my (@options) = @_;
    my @notices;
    my $kafka = connected(acks => 0, on_notice => sub { push @notices, [@_] }, @options);
    return ($kafka, \@notices);
}

subtest 'a leader that moves while its broker stays' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 1);
    my ($kafka, $notices) = noticing(brokers => $mock->bootstrap, metadata_refresh => 0);
    my ($old, $number) = ($mock->leader(t => 0), 0);
    my $produce = EV::timer 0, 0.01, sub { $kafka->produce('t', undef, ++$number) };
    wait_until { $mock->records(t => 0) } 'the first messages';
    my $connections = $mock->request_count('ApiVersions');
    my $requests    = $mock->request_count('Metadata');
    $mock->set_leader(t => 0, 1 - $old);
    my $moved_at = $number;
    wait_until { my @there = $mock->records(t => 0); $there[-1]{value} > $moved_at + 20 } 'messages at the new leader';
    undef $produce;
    my %is_there = map { $_ => 1 } @{ log_values($mock, 't') };
    cmp_ok scalar(grep { !$is_there{$_} } 1 .. $moved_at + 20), '<', 15, 'what is lost is what was sent before the end was seen';
    cmp_ok $mock->request_count('Metadata') - $requests, '>=', 1, 'metadata were asked for';
    cmp_ok $mock->request_count('ApiVersions') - $connections, '<=', 3, 'without a storm of connections';
    is scalar(@$notices), 1, 'it was told once';
    like $notices->[0][0], qr/^broker $old \([\d.:]+\) closed the connection on which messages were sent with acks 0: /, 'by whom and why';
    is_deeply $notices->[0][1], { broker => $old }, 'for programs, too';
    is_deeply [errors($kafka)], [], 'on_error hears nothing: nobody waits';
};

subtest 'a broker that refuses every time' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my ($kafka, $notices) = noticing(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', error => 3, times => undef);
    my $produce = EV::timer 0, 0.002, sub { $kafka->produce('t', undef, 'v') };
    my (@tries, $seen);
    wait_until {
        my $count = $mock->request_count('Produce');
        push @tries, EV::time if $count != ($seen // 0);
        $seen = $count;
        @tries >= 4;
    } 'four tries';
    undef $produce;
    # A quarter of jitter less than 0.1, 0.2 and 0.4 s.
    cmp_ok $tries[3] - $tries[0], '>', 0.5, 'are further apart each time';
    is scalar(@$notices), 1, 'and told once';
};

subtest 'a connection that is closed long after the last message' => sub {
    my $broker = ScriptedBroker->new;
    my $got = 0;
    $broker->{on_request} = sub { $got++ if $_[2]{api} eq 'Produce'; undef };
    my ($kafka, $notices) = noticing(brokers => $broker->address);
    $kafka->produce('t', undef, 'v');
    wait_until { $got } 'the message';
    my $link  = Inside::link_to($kafka, main => 0);
    my $asked = $broker->requests('Metadata');
    Inside::age_unanswered($link->{conn}, 31);
    $broker->drop_all;
    wait_until { $link->{state} eq 'idle' } 'the end of the connection';
    turns;
    is $link->{retry}, undef, 'is idle';
    is_deeply $notices, [], 'nobody hears of it';
    $kafka->produce('t', undef, 'v');
    wait_until { $got == 2 } 'the next message';
    is_deeply [errors($kafka)], [], 'all is well';
};

# A broker that, from the first Produce request on, reads nothing for a while; and the
# values that it has got since.
sub stopping_broker {
    my ($got) = @_;
    my $broker = ScriptedBroker->new;
    my ($stopped, $is_reading);
    $broker->{on_request} = sub {
        my ($broker, $connection, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        $$got += unpack 'N', substr $_->[2], 57, 4 for ScriptedBroker::produced($request);
        return undef if $is_reading;
        $stopped = $connection;
        delete $connection->{reading};
        return undef;
    };
    my $go_on = sub {
        $is_reading = 1;
        my $connection = $stopped;
        $connection->{reading} = EV::io $connection->{socket}, EV::READ, sub { $broker->read($connection) };
    };
    return ($broker, $go_on, sub { $is_reading = 1; $broker->drop($stopped) });
}

# Produces until there is no more room, however often the loop turns. Gives how many
# messages were accepted, and keeps what became of them.
sub fill {
    my ($kafka, $ended) = @_;
    my ($accepted, $refused) = (0, 0);
    while ($refused < 200) {
        my $is_full;
        $kafka->produce('t', undef, 'x' x 10_000, sub { $_[1] && $_[1] eq 'producer buffer full' ? $is_full = 1 : push @$ended, $_[1] });
        $refused = $is_full ? $refused + 1 : 0;
        $accepted++ unless $is_full;
        EV::run EV::RUN_NOWAIT;
    }
    return $accepted;
}

subtest 'a broker that does not read' => sub {
    my $got = 0;
    my ($broker, $go_on) = stopping_broker(\$got);
    my ($kafka) = noticing(brokers => $broker->address, buffer_memory => 1_000_000);
    my @ended;
    my $accepted = fill($kafka, \@ended);
    my ($messages, $bytes) = $kafka->buffered;
    cmp_ok $bytes, '>', 500_000, 'what is not written takes room';
    cmp_ok $bytes, '<=', 1_000_000, 'and no more than there is';
    is @ended + $messages, $accepted, 'all others have left';
    my $flushed;
    $kafka->flush(sub { $flushed = @ended });
    turns;
    is $flushed, undef, 'flush waits for it';
    $go_on->();
    wait_until { $flushed } 'flush';
    is $flushed, $accepted, 'until all is written';
    is_deeply [grep { defined } @ended], [], 'without an error';
    wait_until { $got == $accepted } 'the broker';
    is $got, $accepted, 'has all of it';
};

subtest 'what was not written when the connection ends' => sub {
    my $got = 0;
    my ($broker, undef, $drop) = stopping_broker(\$got);
    my ($kafka) = noticing(brokers => $broker->address, buffer_memory => 1_000_000);
    my @ended;
    my $accepted = fill($kafka, \@ended);
    my ($messages) = $kafka->buffered;
    my $before = $got;
    $drop->();
    wait_until { @ended == $accepted } 'all callbacks';
    is_deeply [grep { defined } @ended], [], 'none hears an error';
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    cmp_ok $got - $before, '>=', $messages, 'it is sent on the next one';
};

done_testing;
