use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Inside;
use Memory;
use ScriptedBroker;
use TestKafka;

my $mock = EV::Kafka::Mock->new(brokers => 2);
$mock->create_topic(t => 2);

subtest 'a client that goes out of scope is gone' => sub {
    for my $state (qw(new connecting connected busy lost)) {
        my $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 10_000, linger_ms => 3_600_000, metadata_refresh => 3600);
        $kafka->connect unless $state eq 'new';
        wait_until { Inside::is_connected($kafka) } 'connecting' if $state =~ /connected|busy|lost/;
        if ($state eq 'busy') {
            my $requests = $mock->request_count('Fetch');
            $kafka->assign([map { { topic => 't', partition => $_ } } 0, 1]);
            $kafka->produce('t', 'k', 'v', sub { });
            $kafka->poll(sub { });
            $kafka->offsets_for('t', sub { });
            $kafka->flush(sub { });
            wait_until { $mock->request_count('Fetch') > $requests } 'the Fetch';
        }
        if ($state eq 'lost') {
            $mock->stop_broker(0);
            $kafka->produce('t', undef, 'v', { partition => 0 });
            $kafka->_flush_all_batches;
            wait_until { errors($kafka) } 'the loss';
            $mock->start_broker(0);
        }
        weaken(my $gone = $kafka);
        undef $kafka;
        is $gone, undef, $state;
    }
    wait_until { !$mock->connections } 'the end of all connections';
    pass 'and so are its connections';
};

subtest 'what waits gets its callback once' => sub {
    my $broker = ScriptedBroker->new;
    my $held   = 0;
    $broker->{on_request} = sub { $held++ if $_[2]{api} ne 'Metadata'; undef };
    my %got;
    my $note = sub { my ($name) = @_; sub { push @{ $got{$name} }, [@_] } };
    {
        my $kafka = connected(brokers => $broker->address);
        $kafka->produce('t', undef, 'v', $note->('in flight'));
        $kafka->_flush_all_batches;
        wait_until { $held } 'the request';
        $kafka->assign([{ topic => 't' }]);
        $kafka->produce('t', undef, 'v', $note->('unsent'));
        $kafka->produce('unknown', undef, 'v', $note->('queued'));
        $kafka->produce_many([['t', undef, 'v'], ['unknown', undef, 'v']], $note->('produce_many'));
        $kafka->flush($note->('flush')) if 0;
        $kafka->seek('t', 0, -1, $note->('seek'));
        $kafka->poll($note->('poll'));
        $kafka->lag($note->('lag'));
        $kafka->offsets_for('unknown', $note->('offsets_for'));
        is scalar(keys %got), 0, 'nothing before it goes';
    }
    is_deeply $got{'in flight'}, [[undef, 'disconnected']], 'a message under way';
    is_deeply $got{$_}, [[undef, 'client closed']], $_ for 'unsent', 'queued', 'offsets_for';
    is_deeply $got{produce_many}, [[['client closed', 'client closed']]], 'produce_many';
    is scalar(@{ $got{$_} || [] }), 1, $_ for qw(seek poll lag);
    turns;
    is scalar(grep { @$_ != 1 } values %got), 0, 'and nothing twice';
};

subtest 'a client that is dropped in its own callbacks' => sub {
    for my $where (qw(connect on_connect produce flush poll on_message seek offsets_for lag on_error)) {
        $mock->append(t => 0, { value => 'v' });
        my ($called, $kafka) = (0);
        my $drop = sub { $called++; undef $kafka };
        $kafka = EV::Kafka->new(
            brokers => $mock->bootstrap, fetch_max_wait_ms => 10, linger_ms => 0,
            on_error => $where eq 'on_error' ? $drop : sub { diag "on_error: @_" },
            $where =~ /^on_/ ? ($where => $drop) : (),
        );
        $kafka->assign([{ topic => 't' }]);
        my %act = (
            connect     => $drop,
            produce     => sub { $kafka->produce('t', 'k', 'v', $drop) },
            flush       => sub { $kafka->produce('t', 'k', 'v'); $kafka->flush($drop) },
            poll        => sub { $kafka->poll($drop) },
            on_message  => sub { $kafka->poll },
            seek        => sub { $kafka->seek('t', 0, -1, $drop) },
            offsets_for => sub { $kafka->offsets_for('t', $drop) },
            lag         => sub { $kafka->lag($drop) },
            on_error    => sub { $mock->fault(api => 'Fetch', error => 29); $kafka->poll },
        );
        weaken(my $gone = $kafka);
        $kafka->connect($act{$where});
        wait_until { $called } $where;
        wait_until { !$gone } "$where: the client's end";
        is $gone, undef, $where;
    }
    $mock->clear_faults;
};

subtest 'a thousand clients leave nothing behind' => sub {
    plan skip_all => unseen() if unseen();
    my $round = sub {
        my ($kafka, $done);
        $kafka = client(brokers => $mock->bootstrap, fetch_max_wait_ms => 1, on_message => sub { });
        $kafka->connect(sub {
            $kafka->assign([{ topic => 't' }]);
            $kafka->produce('t', 'k', 'x' x 1000, { headers => { a => 1 } }, sub {
                $kafka->poll(sub { $done = 1 });
            });
        });
        wait_until { $done } 'a round';
        $kafka->close;
        undef $kafka;
    };
    # The mock keeps what is produced: the log is cut so that it does not count.
    my $rounds = sub { $round->() for 1 .. $_[0]; $mock->delete_records(t => $_, $mock->high_watermark(t => $_)) for 0, 1 };
    $rounds->(300);
    my $before = resident();
    $rounds->(1000);
    my $grown = resident() - $before;
    cmp_ok $grown, '<', 3_000_000, 'memory is flat' or diag "grew by $grown bytes";
};

subtest 'a forked child leaves the connections alone' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my $called = 0;
    $kafka->produce('t', 'k', 'v', sub { $called++ });
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        undef $kafka;
        require POSIX;
        POSIX::_exit($called);
    }
    waitpid $pid, 0;
    is $? >> 8, 0, 'no callback is called in the child';
    wait_until { $called } 'delivery';
    is $called, 1, 'and the parent is not disturbed';
};

done_testing;
