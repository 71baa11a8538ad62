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

# Records without anybody to hand them to, and options of consuming that are written
# into {cfg} while the client runs.

sub cluster {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9];
    return $mock;
}

my %START = (
    poll => sub { my ($kafka) = @_; return EV::timer 0, 0.01, sub { $kafka->poll } },
    consuming => sub { $_[0]->consume; return },
);

sub reading {
    my ($mock, $how, %options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, %options);
    $kafka->assign([{ topic => 't' }]);
    return ($kafka, $START{$how}->($kafka));
}

for my $how (sort keys %START) {
    subtest "neither on_message nor on_batch, $how" => sub {
        my $mock = cluster();
        my @notices;
        my ($kafka, $running) = reading($mock, $how, on_notice => sub { push @notices, [@_] });
        wait_until { @notices } 'the notice';
        wait_until { $mock->request_count('Fetch') } 'a Fetch';
        turns 50;
        is $kafka->position('t', 0), 0, 'the position does not move';
        is scalar(@notices), 1, 'it is told once';
        like $notices[0][0], qr/^records have nowhere to go: there is no on_message \(or on_batch\), though t:0 is assigned$/,
            'as what it is';
        is_deeply $notices[0][1]{partitions}, ['t:0'], 'with the partitions';
        cmp_ok $mock->request_count('Fetch'), '<=', 3, 'and what was fetched is not fetched again and again';

        my @received;
        $kafka->{cfg}{on_message} = sub { push @received, $_[4] };
        wait_until { @received == 10 } 'records';
        turns 20;
        is_deeply \@received, [0 .. 9], 'an on_message that comes later gets all of them, in order';
        delete $kafka->{cfg}{on_message};
        $mock->append(t => 0, { value => 10 });
        wait_until { @notices == 2 } 'another notice when it goes';
        is $kafka->position('t', 0), 10, 'nothing is passed over';
        $kafka->{cfg}{on_batch} = sub { push @received, map { $_->[2] } @{ $_[2] } };
        wait_until { @received == 11 } 'the record';
        is_deeply \@received, [0 .. 10], 'on_batch will do';
    };

    subtest "on_message is taken away and replaced in the middle, $how" => sub {
        my $mock = cluster();
        my (@received, $kafka, $running);
        ($kafka, $running) = reading($mock, $how, on_notice => sub { }, on_message => sub {
            push @received, "a$_[4]";
            return unless $_[4] == 2;
            $kafka->{cfg}{on_message} = undef;
            $kafka->pause([{ topic => 't' }]);
            $kafka->resume([{ topic => 't' }]);
        });
        wait_until { @received == 3 } 'some';
        turns 50;
        is $kafka->position('t', 0), 3, 'the position is behind what was delivered';
        $kafka->{cfg}{on_message} = sub { push @received, "b$_[4]" };
        wait_until { @received == 10 } 'the rest';
        is_deeply \@received, [(map { "a$_" } 0 .. 2), map { "b$_" } 3 .. 9], 'goes to the other one';
    };
}

subtest 'a group without on_message' => sub {
    my $mock = cluster();
    my (@notices, @assigned, @received);
    my $kafka = connected(brokers => $mock->bootstrap, on_notice => sub { push @notices, $_[0] });
    $kafka->subscribe('t', group_id => 'g', on_assign => sub { push @assigned, $_[0] });
    wait_until { @notices } 'the notice';
    turns 50;
    is $kafka->position('t', 0), 0, 'the position does not move';
    $kafka->{cfg}{on_message} = sub { push @received, $_[4] };
    wait_until { @received == 10 } 'records for one that comes later';
    is_deeply \@received, [0 .. 9], 'all of them';
};

subtest 'a seek while nobody listens' => sub {
    my $mock = cluster();
    my ($kafka, $running) = reading($mock, 'consuming', on_notice => sub { });
    wait_until { Inside::cursor($kafka, t => 0)->is_stopped } 'what nobody hears';
    $kafka->seek('t', 0, 7);
    my @received;
    $kafka->{cfg}{on_message} = sub { push @received, $_[4] };
    wait_until { @received == 3 } 'records';
    is_deeply \@received, [7 .. 9], 'counts';
};

subtest 'on_message and on_batch are read at use' => sub {
    my $mock = cluster();
    my (@received, $kafka, $running);
    ($kafka, $running) = reading($mock, 'consuming', on_message => sub { push @received, "first $_[4]" });
    wait_until { @received == 10 } 'what was there';
    $kafka->{cfg}{on_message} = sub { push @received, "second $_[4]" };
    $mock->append(t => 0, { value => 10 });
    wait_until { @received == 11 } 'one more';
    $kafka->{cfg}{on_batch} = sub { push @received, map { "batch $_->[2]" } @{ $_[2] } };
    $mock->append(t => 0, { value => 11 });
    wait_until { @received == 12 } 'one more';
    delete $kafka->{cfg}{on_batch};
    $mock->append(t => 0, { value => 12 });
    wait_until { @received == 13 } 'one more';
    is_deeply [@received[10 .. 12]], ['second 10', 'batch 11', 'second 12'], 'what is there when records come';
};

subtest 'fetch options are read at use' => sub {
    my $broker = ScriptedBroker->new(on_request => sub {
        $_[2]{api} eq 'Fetch' ? ScriptedBroker::fetch_answer($_[2], high_watermark => 3) : undef;
    });
    my $kafka = connected(brokers => $broker->address, on_message => sub { });
    $kafka->assign([{ topic => 't', offset => 3 }]);
    my $asked = sub {
        my ($name) = @_;
        my $polled;
        $kafka->poll(sub { $polled = 1 });
        wait_until { $polled } 'poll';
        return ScriptedBroker::fetched(($broker->requests('Fetch'))[-1])->{$name};
    };
    for my $option ([fetch_max_wait_ms => 123, 'max_wait_ms'], [fetch_min_bytes => 45, 'min_bytes'],
        [fetch_max_bytes => 6789, 'max_bytes'], [fetch_max_bytes => 4567, 'partition_max_bytes']) {
        my ($name, $value, $asked_as) = @$option;
        isnt $asked->($asked_as), $value, "$name is another one first";
        $kafka->{cfg}{$name} = $value;
        is $asked->($asked_as), $value, 'and the next Fetch has it';
    }
    is $asked->('isolation_level'), 0, 'isolation_level is another one first';
    $kafka->{cfg}{isolation_level} = 'read_committed';
    is $asked->('isolation_level'), 1, 'and the next Fetch has it';
};

done_testing;
