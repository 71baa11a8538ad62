use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use IO::Socket::INET;
use Inside;
use ScriptedBroker;
use TestKafka;

subtest 'a broker that goes away and comes back' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = connected(brokers => $mock->bootstrap);
    my $delivered = 0;
    $kafka->produce('t', undef, 'first', sub { $delivered++ });
    wait_until { $delivered } 'the first message';

    my $link = Inside::link_to($kafka, main => 0);
    $mock->stop_broker(0);
    wait_until { $link->{state} eq 'idle' } 'the end of the connection';
    is_deeply [errors($kafka)], [], 'nothing was under way, nothing is said';
    $kafka->produce('t', undef, $_, sub { $delivered++ unless $_[1] }) for 'second', 'third';
    wait_until { errors($kafka) } 'the loss';
    wait_until { $link->{tries} >= 3 } 'three tries to connect';
    is scalar(errors($kafka)), 1, 'is reported once, however many tries it takes';
    like +(errors($kafka))[0], qr/lost/, 'as lost';
    is $delivered, 1, 'what was produced waits';

    $mock->start_broker(0);
    wait_until { $delivered == 3 } 'delivery';
    is_deeply log_values($mock, 't'), ['first', 'second', 'third'], 'and goes out once';
    is scalar(errors($kafka)), 1, 'without another word';

    $mock->stop_broker(0);
    wait_until { $link->{state} eq 'idle' } 'the end of the connection';
    $kafka->produce('t', undef, 'fourth', sub { $delivered++ unless $_[1] });
    wait_until { errors($kafka) == 2 } 'the next loss';
    pass 'another loss is another report';
};

subtest 'a connection that is closed while idle is no loss' => sub {
    my $broker = ScriptedBroker->new;
    $broker->{on_request} = sub {
        my ($broker, undef, $request) = @_;
        return ScriptedBroker::produce_answer($request, 0, 0 + $broker->requests('Produce')) if $request->{api} eq 'Produce';
        return ScriptedBroker::fetch_answer($request) if $request->{api} eq 'Fetch';
        return undef;
    };
    my $kafka = connected(brokers => $broker->address);
    my ($delivered, $polled) = (0, 0);
    $kafka->produce('t', undef, 'v', sub { $delivered++ });
    $kafka->assign([{ topic => 't' }]);
    $kafka->poll(sub { $polled++ });
    wait_until { $delivered && $polled } 'both';
    my $accepted = $broker->{accepted};
    is $accepted, 3, 'connections for metadata, for messages out and for messages in';

    $broker->drop_all;
    wait_until { !grep { $_ ne 'idle' } Inside::link_states($kafka) } 'the end of all connections';
    wait_until { $broker->{accepted} == $accepted + 1 && $kafka->{cfg}{bootstrap_conn}->connected }
        'the connection for metadata, which programs use as well, again';
    turns;
    is $broker->{accepted}, $accepted + 1, 'nobody else reconnects without need';
    $kafka->produce('t', undef, 'v', sub { $delivered++ unless $_[1] });
    $kafka->poll(sub { $polled++ unless $_[0] });
    Inside::refresh($kafka);
    wait_until { $delivered == 2 && $polled == 2 } 'both';
    wait_until { $kafka->{cfg}{bootstrap_conn}->connected } 'metadata';
    is $broker->{accepted}, 2 * $accepted, 'all are reopened when needed';
    is_deeply [errors($kafka)], [], 'and on_error hears nothing';
};

subtest 'one of two brokers' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2, replication_factor => 2);
    $mock->create_topic(t => 2);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->produce('t', undef, 'v', { partition => $_ }, sub { push @got, $_[1] }) for 0, 1;
    wait_until { @got == 2 } 'delivery';
    $mock->stop_broker(1);
    wait_until { Inside::link_to($kafka, main => 1)->{state} eq 'idle' } 'the end of the connection';
    @got = ();
    $kafka->produce('t', undef, 'v', { partition => $_ }, sub { push @got, $_[1] }) for 0, 1;
    wait_until { @got == 2 } 'delivery by the one that is left';
    is_deeply \@got, [undef, undef], 'which has taken over';
    cmp_ok scalar(errors($kafka)), '<=', 1, 'at most one report';
};

subtest 'a broker that hangs up on a poll' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    $mock->fault(api => 'Fetch', drop => 1);
    my @polled;
    $kafka->poll(sub { push @polled, [@_] });
    wait_until { @polled } 'the callback';
    is_deeply \@polled, [['connection closed by broker']], 'gets the reason';
    wait_until { errors($kafka) } 'the report';
    like +(errors($kafka))[0], qr/lost/, 'on_error hears of the broker';
    $mock->append(t => 0, { value => 'v' });
    fetch_all($kafka, \@received, 1);
    is_deeply \@received, ['v'], 'and the next poll is served';
};

subtest 'all brokers lost while nothing is produced' => sub {
    my $mock  = EV::Kafka::Mock->new(brokers => 2);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->stop_broker($_) for 0, 1;
    my $control = $kafka->{cfg}{bootstrap_conn};
    wait_until { !$control->connected } 'the loss';
    Inside::refresh($kafka);
    wait_until { errors($kafka) } 'the report';
    wait_until { Inside::bootstrap_tries($kafka) >= 3 } 'more tries';
    is scalar(errors($kafka)), 1, 'reported once';
    like +(errors($kafka))[0], qr/lost/, 'as lost';
    is $kafka->{cfg}{bootstrap_conn}, $control, 'bootstrap_conn is a connection still';
    my $metadata = $mock->request_count('Metadata');
    $mock->start_broker(1);
    wait_until { $mock->request_count('Metadata') > $metadata && $kafka->{cfg}{bootstrap_conn}->connected } 'the way back';
    isnt $kafka->{cfg}{bootstrap_conn}, $control, 'metadata has a connection again';
};

subtest 'the connection for metadata when its broker closes it idle' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0] });
    my $kafka  = connected(brokers => $broker->address);
    my $conn   = $kafka->{cfg}{bootstrap_conn};
    my $asked  = $broker->requests('Metadata');
    $broker->drop_all;
    wait_until { $broker->{accepted} == 2 && $conn->connected } 'another connection';
    is $kafka->{cfg}{bootstrap_conn}, $conn, 'is opened again, as the same object';
    is scalar($broker->requests('Metadata')), $asked, 'nothing is asked';
    my $answered;
    $conn->metadata(['t'], sub { $answered = [@_] });
    wait_until { $answered } 'an answer';
    is $answered->[1], undef, 'a program can go on using it';

    $broker->drop_all;
    wait_until { !$conn->connected } 'the next end';
    turns;
    is $broker->{accepted}, 2, 'a broker that goes on closing it is left alone';
    is $kafka->{cfg}{bootstrap_conn}, $conn, 'bootstrap_conn stays a connection';
    Inside::refresh($kafka);
    wait_until { $kafka->{cfg}{bootstrap_conn}->connected } 'the next request for metadata';
    is_deeply [errors($kafka)], [], 'and nobody hears of all that';
};

subtest 'a broker that is somewhere else by now' => sub {
    my $moved;
    my ($old, $new) = map { ScriptedBroker->new } 1, 2;
    my $behave = sub {
        my ($is_leader) = @_;
        return sub {
            my (undef, undef, $request) = @_;
            my $api = $request->{api};
            return ($moved ? $new : $old)->metadata if $api eq 'Metadata';
            return ScriptedBroker::produce_answer($request, $is_leader ? 0 : 6) if $api eq 'Produce';
            return ScriptedBroker::fetch_answer($request, error => 6) unless $is_leader;
            return ScriptedBroker::fetch_answer($request,
                records => ScriptedBroker::batch(0, [{ value => 'v' }]), high_watermark => 1)
                unless ScriptedBroker::fetched($request)->{offset};
            $request->{held} = 1;
            return undef;
        };
    };
    $old->{on_request} = $behave->(0);
    $new->{on_request} = $behave->(1);
    my (@received, @delivered, @polled);
    my $kafka = connected(brokers => $old->address, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->poll(sub { push @polled, [@_] });
    $kafka->produce('t', undef, 'v', sub { push @delivered, $_[1] });
    wait_until { $old->requests('Fetch') && $old->requests('Produce') } 'requests to where it was';
    $moved = 1;
    fetch_all($kafka, \@received, 1);
    wait_until { @delivered } 'delivery';
    is_deeply [\@received, \@delivered], [['v'], [undef]], 'is found there';
    wait_until { @polled } 'the poll from before';
    is_deeply \@polled, [[]], 'ends without an error';
    is_deeply [errors($kafka)], [], 'and nobody speaks of a loss';
};

subtest 'a broker that is somewhere else before anybody answered there' => sub {
    my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die "listen: $!";
    my $new    = ScriptedBroker->new(node_id => 5);
    my $place  = { node_id => 5, port => $silent->sockport };
    my $broker = ScriptedBroker->new(topics => { t => [5] });
    $broker->{peers} = [$place];
    $new->{on_request} = sub {
        my (undef, undef, $request) = @_;
        return undef if $request->{api} ne 'Fetch';
        return ScriptedBroker::fetch_answer($request,
            records => ScriptedBroker::batch(0, [{ value => 'v' }]), high_watermark => 1)
            unless ScriptedBroker::fetched($request)->{offset};
        return undef;
    };
    my (@received, @polled);
    my $kafka = connected(brokers => $broker->address, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->poll(sub { push @polled, [@_] });
    turns;
    $place->{port} = $new->{port};
    Inside::refresh($kafka);
    wait_until { @polled } 'the poll from before';
    is_deeply [\@polled, \@received], [[[]], ['v']], 'is found there';
    turns 50;
    is scalar($new->requests('Fetch')), 1, 'and asked once';
    is_deeply [errors($kafka)], [], 'nobody speaks of a loss';
};

done_testing;
