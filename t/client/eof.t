use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use TestKafka;

# on_eof: told each time that the end of a partition has been reached, once, behind its last record.

sub cluster {
    my (%options) = @_;
    my $mock = EV::Kafka::Mock->new(%options);
    $mock->create_topic(t => 2);
    return $mock;
}

# A client that notes records and ends in the order in which it hears of them.
sub reader {
    my ($mock, %options) = @_;
    my @heard;
    my $kafka = connected(
        brokers           => $mock->bootstrap,
        fetch_max_wait_ms => 20,
        on_message        => sub { push @heard, "$_[1]:$_[2]" },
        on_eof            => sub { push @heard, "end $_[1]:$_[2]" },
        %options,
    );
    return ($kafka, \@heard);
}

sub append {
    my ($mock, $partition, $count) = @_;
    $mock->append(t => $partition, { value => "v$_" }) for 1 .. $count;
    return;
}

sub assign {
    my ($kafka, $partition, $offset) = @_;
    return $kafka->assign([{ topic => 't', partition => $partition, offset => $offset }]);
}

# Requests that are answered after the client has heard all that it was to hear.
sub nothing_more {
    my ($mock, $heard) = @_;
    my ($before, $fetches) = (scalar @$heard, $mock->request_count('Fetch'));
    wait_until { $mock->request_count('Fetch') > $fetches + 2 } 'further fetches';
    return is @$heard, $before, 'and nothing more';
}

subtest 'behind the last record, and again behind the next' => sub {
    my $mock = cluster();
    append($mock, 0, 3);
    my ($kafka, $heard) = reader($mock);
    assign($kafka, 0, 0);
    $kafka->consume;
    wait_until { @$heard >= 4 } 'the end';
    is_deeply $heard, ['0:0', '0:1', '0:2', 'end 0:3'], 'the end comes last';
    nothing_more($mock, $heard);
    append($mock, 0, 1);
    wait_until { @$heard >= 6 } 'the next end';
    is_deeply [@$heard[4, 5]], ['0:3', 'end 0:4'], 'the next end';
};

subtest 'a partition of which there is nothing to read' => sub {
    my $mock = cluster();
    append($mock, 0, 2);
    my ($kafka, $heard) = reader($mock);
    $kafka->assign([{ topic => 't', partition => 0, offset => 2 }, { topic => 't', partition => 1, offset => 0 }]);
    $kafka->consume;
    wait_until { @$heard >= 2 } 'both ends';
    is_deeply [sort @$heard], ['end 0:2', 'end 1:0'], 'each has an end';
    nothing_more($mock, $heard);
};

subtest 'a seek back, and one to the end' => sub {
    my $mock = cluster();
    append($mock, 0, 3);
    my ($kafka, $heard) = reader($mock);
    assign($kafka, 0, 2);
    $kafka->consume;
    wait_until { @$heard >= 2 } 'the end';
    $kafka->seek(t => 0, 1);
    wait_until { @$heard >= 5 } 'the end once more';
    is_deeply $heard, ['0:2', 'end 0:3', '0:1', '0:2', 'end 0:3'], 'reached again';
    $kafka->seek(t => 0, 3);
    nothing_more($mock, $heard);
    $kafka->seek(t => 0, 0);
    $kafka->seek(t => 0, 3);
    wait_until { @$heard >= 6 } 'the end that was skipped to';
    is $heard->[5], 'end 0:3', 'a seek to the end reaches it, though the broker has no news';
};

subtest 'by poll' => sub {
    my $mock = cluster();
    append($mock, 0, 2);
    my ($kafka, $heard) = reader($mock);
    assign($kafka, 0, 0);
    my $polled;
    $kafka->poll(sub { push @$heard, 'polled'; $polled = 1 });
    wait_until { $polled } 'poll';
    is_deeply $heard, ['0:0', '0:1', 'end 0:2', 'polled'], 'told before poll calls back';
};

subtest 'on_batch, and a callback that seeks or stops' => sub {
    my $mock = cluster();
    append($mock, 0, 2);
    my ($kafka, @heard);
    $kafka = connected(
        brokers  => $mock->bootstrap,
        on_batch => sub { push @heard, map { $_->[0] } @{ $_[2] } },
        on_eof   => sub {
            my ($topic, $partition, $offset) = @_;
            push @heard, "end $offset";
            return $kafka->stop_consuming if @heard > 3;
            $kafka->seek($topic, $partition, 1);
        },
    );
    assign($kafka, 0, 0);
    $kafka->consume;
    wait_until { @heard >= 5 } 'the end twice';
    is_deeply \@heard, [0, 1, 'end 2', 1, 'end 2'], 'in order';
};

subtest 'read_committed ends at the last stable offset' => sub {
    my $mock = cluster();
    my $producer = connected(brokers => $mock->bootstrap, transactional_id => 'x');
    my ($kafka, $heard) = reader($mock, isolation_level => 'read_committed');
    my ($plain, $all)   = reader($mock);
    assign($_, 0, 0) for $kafka, $plain;
    $_->consume for $kafka, $plain;
    wait_until { @$heard && @$all } 'the ends of nothing';
    $producer->begin_transaction;
    my ($is_written, $is_committed);
    $producer->produce(t => undef, 'v', { partition => 0 }, sub { $is_written = 1 });
    wait_until { $is_written && @$all >= 3 } 'the record';
    is_deeply $all, ['end 0:0', '0:0', 'end 0:1'], 'uncommitted, it is read and its end reached';
    is_deeply $heard, ['end 0:0'], 'committed only, the end is where it was';
    $producer->commit_transaction(sub { $is_committed = 1 });
    wait_until { $is_committed && @$heard >= 3 } 'the commit';
    is_deeply $heard, ['end 0:0', '0:0', 'end 0:2'], 'behind the marker of the commit';
};

subtest 'a member of a group' => sub {
    my $mock = cluster();
    append($mock, $_, 2) for 0, 1;
    my ($kafka, $heard) = reader($mock);
    $kafka->subscribe('t', group_id => 'g');
    wait_until { @$heard >= 6 } 'both ends';
    is_deeply [sort grep { /end/ } @$heard], ['end 0:2', 'end 1:2'], 'each partition has its end';
};

subtest 'paused, and a handler that dies' => sub {
    my $mock = cluster();
    append($mock, 0, 1);
    my ($kafka, $heard) = reader($mock);
    assign($kafka, 0, 0);
    $kafka->pause([{ topic => 't', partition => 0 }]);
    $kafka->consume;
    turns;
    is_deeply $heard, [], 'nothing of what is paused';
    my @warnings = warnings_of {
        $kafka->{cfg}{on_eof} = sub { push @$heard, 'dies'; die "no\n" };
        $kafka->resume([{ topic => 't', partition => 0 }]);
        wait_until { @$heard >= 2 } 'the end';
    };
    is_deeply $heard, ['0:0', 'dies'], 'after resume';
    like "@warnings", qr/\Aon_eof error: no\n\z/, 'a die is a warning';
};

done_testing;
