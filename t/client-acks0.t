use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
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
    my $link  = $kafka->{cfg}{links}{'main:0'};
    my $asked = $broker->requests('Metadata');
    $link->{unanswered_at} -= 31;
    $broker->drop_all;
    wait_until { $link->{state} eq 'idle' } 'the end of the connection';
    turns;
    is $link->{retry}, undef, 'is idle';
    is_deeply $notices, [], 'nobody hears of it';
    $kafka->produce('t', undef, 'v');
    wait_until { $got == 2 } 'the next message';
    is_deeply [errors($kafka)], [], 'all is well';
};

done_testing;
