use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;
use Time::HiRes qw(time);

use Inside;
use ScriptedBroker;
use TestKafka;

# Connections that were idle: those that a broker closes, those that vanish without a
# word, and those that the client closes by itself.

sub refused { my @options = @_; eval { EV::Kafka->new(@options) }; $@ }

# A broker that takes messages; what it was given, in order, lies in values.
sub taking {
    my (%args) = @_;
    my $broker = ScriptedBroker->new(%args, on_request => sub {
        my ($self, $connection, $request) = @_;
        return undef if $request->{api} ne 'Produce';
        push @{ $self->{values} }, $request->{body} =~ /(value-[^\0]*?\d)/g;
        return ScriptedBroker::produce_answer($request, 0, $#{ $self->{values} })
            unless $self->{is_silent};
        return undef;
    });
    $broker->{values} = [];
    return $broker;
}

sub delivered {
    my ($kafka, $value) = @_;
    my @got;
    $kafka->produce('t', undef, $value, { partition => 0 }, sub { push @got, $_[1] // 'ok' });
    wait_until { @got } "$value";
    return $got[0];
}

for my $case (
    ['linger 0'],
    ['a full batch', batch_size => 1],
    ['lingering', linger_ms => 5],
) {
    my ($name, %options) = @$case;
    subtest "a message after the broker has closed the connection: $name" => sub {
        my $broker = taking();
        my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, %options);
        is delivered($kafka, 'value-1'), 'ok', 'before';
        for my $round (2, 3) {
            # As far as the client knows nothing has happened: its loop has not run since.
            $broker->drop_all;
            is delivered($kafka, "value-$round"), 'ok', "after it, $round";
        }
        is_deeply $broker->{values}, [qw(value-1 value-2 value-3)], 'each was written once';
        is_deeply [errors($kafka)], [], 'without a word';
    };
}

subtest 'several messages, a moment before the end is known' => sub {
    my $broker = taking();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, batch_size => 1);
    is delivered($kafka, 'value-1'), 'ok', 'before';
    $broker->drop_all;
    my @got;
    $kafka->produce('t', undef, "value-$_", { partition => 0 }, sub { push @got, $_[1] // 'ok' }) for 2 .. 9;
    wait_until { @got == 8 } 'all';
    is_deeply \@got, [('ok') x 8], 'are delivered';
    is_deeply $broker->{values}, [map { "value-$_" } 1 .. 9], 'once, in order';
};

subtest 'acks 0' => sub {
    my $broker = taking();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, acks => 0, on_notice => sub { });
    $broker->{is_silent} = 1;
    is delivered($kafka, 'value-1'), 'ok', 'before';
    wait_until { @{ $broker->{values} } == 1 } 'the first';
    $broker->drop_all;
    is delivered($kafka, 'value-2'), 'ok', 'after';
    wait_until { @{ $broker->{values} } == 2 } 'the second';
    is_deeply $broker->{values}, [qw(value-1 value-2)], 'reach the broker';
};

subtest 'what was read by the broker before the end is not sent again' => sub {
    my $broker = taking();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0);
    is delivered($kafka, 'value-1'), 'ok', 'before';
    $broker->{on_request} = sub { $_[0]->drop_all; return undef };
    is delivered($kafka, 'value-2'), 'connection closed by broker', 'it may have been written';
    like +(errors($kafka))[0], qr/lost: connection closed by broker/, 'which is told';
};

subtest 'a connection that has vanished without a word' => sub {
    for my $case (['acks -1'], ['acks 0', acks => 0]) {
        my ($name, %options) = @$case;
        my $broker = taking();
        $broker->{is_silent} = defined $options{acks};
        my $kafka = connected(brokers => $broker->address, metadata_refresh => 0, request_timeout => 0.4, %options);
        is delivered($kafka, 'value-1'), 'ok', "$name: before";
        wait_until { @{ $broker->{values} } } 'the first';
        # Nobody reads on these any more, and nobody closes them.
        delete $_->{reading} for values %{ $broker->{connections} };
        my @vanished = values %{ $broker->{connections} };
        my $later;
        my $pause = EV::timer 0.3, 0, sub { $later = 1 };
        wait_until { $later } 'a pause';
        my $start = time;
        is delivered($kafka, 'value-2'), 'ok', "$name: after";
        wait_until { @{ $broker->{values} } == 2 } 'the second';
        cmp_ok time - $start, '<', 2, 'soon';
        is_deeply $broker->{values}, [qw(value-1 value-2)], 'each was written once';
        is_deeply [errors($kafka)], [], 'without a word';
    }
};

subtest 'a broker that has left the cluster and says nothing any more' => sub {
    my $has_left;
    my ($old, $new) = map { ScriptedBroker->new(node_id => $_, topics => { t => [$_] }) } 1, 2;
    $old->{on_request} = sub { $_[2]{api} eq 'Fetch' ? ScriptedBroker::fetch_answer($_[2]) : undef };
    $new->{on_request} = sub {
        my (undef, undef, $request) = @_;
        return ($has_left ? $new : $old)->metadata if $request->{api} eq 'Metadata';
        return ScriptedBroker::fetch_answer($request) if ScriptedBroker::fetched($request)->{offset};
        return ScriptedBroker::fetch_answer($request, high_watermark => 1,
            records => ScriptedBroker::batch(0, [{ value => 'v' }]));
    };
    my @received;
    my $kafka = connected(brokers => $new->address, metadata_refresh => 0, request_timeout => 4, fetch_max_wait_ms => 100,
        on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't', offset => 0 }]);
    my $poll = EV::timer 0, 0.05, sub { $kafka->poll };
    wait_until { $old->requests('Fetch') } 'a fetch';
    $has_left = 1;
    delete $_->{reading} for values %{ $old->{connections} };
    my $start = time;
    wait_until { @received } 'the record';
    cmp_ok time - $start, '<', 4, 'is not waited for until request_timeout is over';
    is_deeply \@received, ['v'], 'its partitions go on elsewhere';
};

subtest 'connections_max_idle' => sub {
    is(EV::Kafka->new->{cfg}{connections_max_idle}, 540, 'the default');
    like refused(connections_max_idle => $_), qr/^EV::Kafka: option 'connections_max_idle' .* at \Q$0\E line/, "bad: $_"
        for -1, 'soon';
    my $broker = taking();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, connections_max_idle => 0.1);
    is delivered($kafka, 'value-1'), 'ok', 'a connection is opened';
    my $connections = sub { scalar keys %{ $broker->{connections} } };
    is $connections->(), 2, 'beside the one for metadata';
    wait_until { $connections->() == 1 } 'the end of the idle one';
    ok $kafka->{cfg}{bootstrap_conn}->connected, 'the one for metadata stays';
    ok !$kafka->{cfg}{conns}{0}->connected, 'the other is closed';
    is delivered($kafka, 'value-2'), 'ok', 'and opened again when it is needed';
    is_deeply $broker->{values}, [qw(value-1 value-2)], 'nothing is lost';
    is_deeply [errors($kafka)], [], 'without a word';

    # What is under way is not idle.
    $broker->{on_request} = sub { return undef };
    my @got;
    $kafka->produce('t', undef, 'value-3', { partition => 0 }, sub { push @got, $_[1] // 'ok' });
    my $later;
    my $pause = EV::timer 0.4, 0, sub { $later = 1 };
    wait_until { $later } 'some time';
    is_deeply \@got, [], 'a request that waits for its answer keeps its connection';
    is $connections->(), 2, 'open';
};

subtest 'connections_max_idle => 0' => sub {
    my $broker = taking();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0, connections_max_idle => 0);
    is delivered($kafka, 'value-1'), 'ok', 'a connection';
    ok !Inside::watches_idle_links($kafka), 'is never closed for being idle';
};

subtest 'a broker that closes every connection at once' => sub {
    my $broker = taking();
    my $kafka  = connected(brokers => $broker->address, metadata_refresh => 0);
    is delivered($kafka, 'value-1'), 'ok', 'before';
    # It shakes hands and hangs up, until it is told to stay.
    my ($stays, $made) = (0, 0);
    my $handle = \&ScriptedBroker::handle;
    no warnings 'redefine';
    local *ScriptedBroker::handle = sub {
        my ($self, $connection, $frame) = @_;
        $handle->(@_);
        return if $stays || 18 != unpack 'n', $frame;
        $made++;
        $self->drop($connection);
    };
    $broker->drop_all;
    my @got;
    my $start = time;
    $kafka->produce('t', undef, 'value-2', { partition => 0 }, sub { push @got, $_[1] // 'ok' });
    wait_until { $made == 5 } 'some connections';
    cmp_ok time - $start, '>', 0.15, 'are not made in a tight loop';
    is_deeply \@got, [], 'the message waits';
    $stays = 1;
    wait_until { @got } 'a connection that stays';
    is_deeply $broker->{values}, [qw(value-1 value-2)], 'and is delivered';
};

done_testing;
