use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;
use Time::HiRes qw(time);

use ScriptedBroker;
use TestKafka;

# The client's request_timeout, against brokers that stop answering.

sub refused { my @options = @_; eval { EV::Kafka->new(@options) }; $@ }

subtest 'the option' => sub {
    for my $bad (-1, 'soon', 'nan', 'inf', []) {
        like refused(request_timeout => $bad), qr/^EV::Kafka: option 'request_timeout' .* at \Q$0\E line/, "bad: $bad";
    }
    is refused(request_timeout => $_), '', 'good: ' . ($_ // 'undef') for 0, 0.5, 30, undef;
};

# A broker that answers Metadata, and of each other API not the first so many requests.
sub deaf_broker {
    my (%unheard) = @_;
    my %seen;
    return ScriptedBroker->new(on_request => sub {
        my ($broker, undef, $request) = @_;
        my $api = $request->{api};
        return undef if $seen{$api}++ < ($unheard{$api} || 0);
        return ScriptedBroker::produce_answer($request, 0, 7)      if $api eq 'Produce';
        return ScriptedBroker::list_offsets_answer($request, 9, 0) if $api eq 'ListOffsets';
        return ScriptedBroker::fetch_answer($request)              if $api eq 'Fetch';
        return undef;
    });
}

subtest 'ListOffsets' => sub {
    my $broker = deaf_broker(ListOffsets => 2);
    my $kafka  = connected(brokers => $broker->address, request_timeout => 0.1);
    my $start  = time;
    my @got;
    $kafka->offsets_for('t', sub { @got = @_ });
    wait_until { @got } 'an outcome';
    cmp_ok time - $start, '>=', 0.1, 'not before the time';
    wait_until { errors($kafka) } 'the loss';
    like +(errors($kafka))[0], qr/lost: request timed out: ListOffsets v1; reconnecting/, 'the connection is given up';
};

subtest 'Fetch waits fetch_max_wait_ms on top' => sub {
    my $broker = deaf_broker(Fetch => 1);
    my $kafka  = connected(brokers => $broker->address, request_timeout => 0.1, fetch_max_wait_ms => 200);
    my $start  = time;
    $kafka->assign([{ topic => 't' }]);
    $kafka->poll;
    wait_until { errors($kafka) } 'the loss';
    cmp_ok time - $start, '>=', 0.3, 'not before the time';
    like +(errors($kafka))[0], qr/request timed out: Fetch v4/, 'says which request';
    my $polled;
    my $timer = EV::timer 0, 0.05, sub { $kafka->poll(sub { $polled = 1 }) };
    wait_until { $broker->requests('Fetch') > 1 && $polled } 'the next fetch';
    pass 'and goes on by another connection';
};

subtest 'Metadata' => sub {
    my $deaf  = ScriptedBroker->new(on_request => sub { $_[2]{held} = 1; return undef });
    my $alive = ScriptedBroker->new;
    my $kafka = connected(brokers => join(',', $deaf->address, $alive->address), request_timeout => 0.1);
    is scalar(() = $deaf->requests('Metadata')), 1, 'one broker was asked';
    is_deeply [errors($kafka)], [], 'and then the next one, without a word';
};

subtest 'every connection has it' => sub {
    my $broker = deaf_broker;
    for my $option ([], [request_timeout => 0], [request_timeout => 0.05]) {
        my $kafka = connected(brokers => $broker->address, @$option);
        my $offsets;
        $kafka->offsets_for('t', sub { $offsets = shift });
        wait_until { $offsets } 'an answer';
        ok $offsets, @$option ? "@$option" : 'the default';
        is_deeply [errors($kafka)], [], 'nothing is lost';
    }
};

done_testing;
