use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

my @METHODS = qw(
    connect produce produce_many flush assign seek offsets_for lag poll
    stats metadata is_connected assignment subscription
    subscribe commit unsubscribe
    begin_transaction send_offsets_to_transaction commit_transaction abort_transaction
);

subtest 'close' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $delivered;
    $kafka->produce('t', 'k', 'v', sub { $delivered = 1 });
    wait_until { $delivered } 'delivery';
    my @closed;
    $kafka->close(sub { push @closed, [@_] });
    is_deeply \@closed, [[]], 'calls back';
    wait_until { !$mock->connections } 'the end of all connections';
    $kafka->close(sub { push @closed, [@_] });
    is scalar(@closed), 2, 'a second close only calls back';
    $kafka->close;
    for my $method (@METHODS) {
        eval { $kafka->$method('t', 'k', 'v') };
        like $@, qr/^EV::Kafka: client is closed/, "$method croaks";
    }
    is $kafka->error_name(3), 'UNKNOWN_TOPIC_OR_PARTITION', 'error_name still works';
    is_deeply [errors($kafka)], [], 'no errors';
};

subtest 'what waits is called back once' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0] });
    my $held   = 0;
    $broker->{on_request} = sub {
        my (undef, undef, $request) = @_;
        $held++ if $request->{api} =~ /Produce|Fetch|ListOffsets/;
        return undef;
    };
    my $kafka = connected(brokers => $broker->address);
    my %got;
    my $note = sub { my ($name) = @_; sub { push @{ $got{$name} }, [@_] } };
    $kafka->assign([{ topic => 't' }]);
    $kafka->produce('t', undef, 'v', $note->('in flight'));
    $kafka->poll($note->('poll'));
    $kafka->_flush_all_batches;
    wait_until { $held == 2 } 'requests';
    $kafka->offsets_for('t', $note->('offsets_for'));
    wait_until { $held >= 3 } 'more requests';
    $kafka->produce('t', undef, 'v', $note->('unsent'));
    $kafka->produce('unknown', undef, 'v', $note->('queued'));
    $kafka->produce('unknown', undef, 'no callback');
    $kafka->flush($note->('flush'));
    my $requests = @{ $broker->{requests} };
    my $accepted = $broker->{accepted};
    $kafka->close($note->('close'));
    is_deeply $got{'in flight'}, [[undef, 'disconnected']],  'a message under way';
    is_deeply $got{queued},      [[undef, 'client closed']], 'a message whose topic is not known';
    is scalar(@{ $got{unsent} }), 1, 'a message that lay in a batch';
    like $got{unsent}[0][1], qr/^(?:client closed|disconnected)$/, 'has an error';
    is scalar(@{ $got{$_} || [] }), 1, $_ for qw(flush poll offsets_for close);
    turns;
    is scalar(grep { @$_ != 1 } values %got), 0, 'nothing is called twice';
    wait_until { !%{ $broker->{connections} } } 'the end of all connections';
    is $broker->{accepted}, $accepted, 'nothing is opened afterwards';
    is_deeply [errors($kafka)], [], 'on_error hears nothing';
};

subtest 'a message that was not sent yet' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 3_600_000);
    my @got;
    $kafka->produce('t', undef, 'v', sub { push @got, [@_] });
    $kafka->close;
    is_deeply \@got, [[undef, 'client closed']], 'says so';
    turns;
    is $mock->request_count('Produce'), 0, 'and is not sent';
};

subtest 'close before and while connecting' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = client(brokers => $mock->bootstrap);
    my ($closed, @called) = (0);
    $kafka->close(sub { $closed++ });
    is $closed, 1, 'before';
    $kafka = client(brokers => $mock->bootstrap);
    $kafka->connect(sub { push @called, [1, @_] });
    $kafka->connect(sub { push @called, [2, @_] });
    $kafka->close(sub { $closed++ });
    turns;
    is $closed, 2, 'while';
    is_deeply \@called, [map { [$_, undef, 'client closed'] } 1, 2], 'connect calls back once each, with the reason';

    my $silent = ScriptedBroker->new(on_request => sub { undef });
    for my $how ('closed', 'dropped') {
        @called = ();
        $kafka = client(brokers => $silent->address);
        $kafka->connect(sub { push @called, [@_] });
        my $asked = $silent->requests('Metadata');
        wait_until { $silent->requests('Metadata') > $asked } 'the request';
        $how eq 'closed' ? $kafka->close : undef $kafka;
        turns;
        is_deeply \@called, [[undef, 'client closed']], "$how while the broker is asked";
    }
};

subtest 'polls that wait' => sub {
    my $mock  = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my @got;
    my $waits = sub {
        my ($kafka) = @_;
        $kafka->assign([{ topic => 't' }]);
        $kafka->poll(sub { push @got, [@_] });
    };
    my $kafka = client(brokers => $mock->bootstrap);
    $waits->($kafka);
    $kafka->close;
    is_deeply [splice @got], [['client closed']], 'for connect';
    $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 60_000);
    $waits->($kafka);
    $kafka->close;
    is_deeply [splice @got], [['client closed']], 'for a connection';
    $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 60_000);
    $waits->($kafka);
    wait_until { $mock->request_count('Fetch') } 'the Fetch';
    $kafka->close;
    is_deeply [splice @got], [['client closed']], 'for an answer';
};

subtest 'close from within on_message' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my ($kafka, @seen, @polled);
    $kafka = connected(
        brokers    => $mock->bootstrap,
        on_message => sub {
            push @seen, $_[4];
            $kafka->close if @seen == 2;
        },
    );
    $kafka->produce_many([map { ['t', undef, $_] } 1 .. 5]);
    wait_until { $mock->high_watermark('t', 0) == 5 } 'messages';
    $kafka->assign([{ topic => 't', partition => 0, offset => 0 }]);
    $kafka->poll(sub { push @polled, [@_] });
    wait_until { @polled } 'the end of the poll';
    is_deeply \@seen, [1, 2], 'no message is delivered after it';
    turns;
    is scalar(@polled), 1, 'poll calls back once';
};

subtest 'close from within callbacks' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    for my $where (qw(connect on_connect produce flush poll seek offsets_for lag)) {
        my ($closed, $kafka) = (0);
        my $close = sub { $kafka->close(sub { $closed++ }) unless $closed };
        $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 10,
            $where eq 'on_connect' ? (on_connect => $close) : ());
        $kafka->assign([{ topic => 't' }]);
        my %act = (
            connect     => sub { $close->() },
            produce     => sub { $kafka->produce('t', 'k', 'v', $close) for 1 .. 3 },
            flush       => sub { $kafka->produce('t', 'k', 'v'); $kafka->flush($close) },
            poll        => sub { $kafka->poll($close) },
            seek        => sub { $kafka->seek('t', 0, -1, $close) },
            offsets_for => sub { $kafka->offsets_for('t', $close) },
            lag         => sub { $kafka->lag($close) },
        );
        $kafka->connect($act{$where});
        wait_until { $closed } $where;
        is $closed, 1, $where;
        is_deeply [errors($kafka)], [], 'no errors';
    }
};

done_testing;
