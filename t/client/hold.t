use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# on_message_die => 'hold': a record that could not be worked on is not passed over.

# Two batches of 5 records in either partition.
sub cluster {
    my $mock = EV::Kafka::Mock->new(min_session_timeout_ms => 1);
    $mock->create_topic(t => 2);
    for my $partition (0, 1) {
        $mock->append(t => $partition, map { { value => $_ } } @$_) for [0 .. 4], [5 .. 9];
    }
    return $mock;
}

sub of { my ($partition, $received) = @_; return [map { $_->[1] } grep { $_->[0] == $partition } @$received] }

# How records come, as a handler for one after the other: [option, code].
my %HANDLER = (
    on_message => sub { my ($each) = @_; return sub { $each->($_[1], $_[2], $_[4]) } },
    on_batch   => sub {
        my ($each) = @_;
        return sub { my (undef, $partition, $rows) = @_; $each->($partition, $_->[0], $_->[2]) for @$rows };
    },
);

my %START = (
    poll => sub { my ($kafka) = @_; return EV::timer 0, 0.01, sub { $kafka->poll } },
    consuming => sub { $_[0]->consume; return },
);

for my $handler (sort keys %HANDLER) {
    for my $how (sort keys %START) {
        subtest "$handler, $how" => sub {
            my $mock = cluster();
            my (@received, @tried, @notices);
            my $fails = 2;
            my $each = sub {
                my ($partition, $offset, $value) = @_;
                push @tried, $offset if !$partition;
                die "no database\n" if !$partition && $offset == 7 && $fails-- > 0;
                push @received, [$partition, $value];
            };
            my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message_die => 'hold',
                $handler => $HANDLER{$handler}->($each), on_notice => sub { push @notices, [@_] });
            $kafka->assign([map { { topic => 't', partition => $_ } } 0, 1]);
            my $running = $START{$how}->($kafka);
            my $held = $handler eq 'on_batch' ? 5 : 7;
            wait_until { @notices && @{ of(1, \@received) } == 10 } 'the other partition';
            $mock->append(t => 1, { value => 10 });
            wait_until { @{ of(1, \@received) } == 11 } 'more of the other partition';
            turns 50;
            is $kafka->position('t', 0), $held, 'the position stays before what could not be worked on';
            is scalar(grep { $_ == 7 } @tried), 1, 'which is not tried again';
            is scalar(@notices), 1, 'and is told of once';
            like $notices[0][0], qr/^t:0 is held at offset $held until seek or resume: $handler died: no database$/, 'as what it is';
            is_deeply { map { $_ => $notices[0][1]{$_} } qw(topic partition offset error) },
                { topic => 't', partition => 0, offset => $held, error => "no database\n" }, 'with the place';

            $kafka->resume([{ topic => 't', partition => 0 }]);
            wait_until { @notices == 2 } 'the second failure';
            is $kafka->position('t', 0), $held, 'resume tries it again, and it is held again';
            $kafka->seek('t', 0, $held);
            wait_until { of(0, \@received)->[-1] == 9 } 'the rest';
            turns 20;
            is $kafka->position('t', 0), 10, 'seek to it tries it, too';
            my %seen;
            my @once = grep { !$seen{$_}++ } @{ of(0, \@received) };
            is_deeply \@once, [0 .. 9], 'nothing was passed over';
            is_deeply of(0, \@received), [0 .. 9], 'and nothing came twice' if $handler eq 'on_message';
            is_deeply [errors($kafka)], [], 'on_error heard nothing';
        };
    }
}

subtest 'seek passes it' => sub {
    my $mock = cluster();
    my (@received, @notices);
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message_die => 'hold',
        on_message => sub { die "never\n" if $_[4] == 3; push @received, $_[4] }, on_notice => sub { push @notices, $_[0] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->consume;
    wait_until { @notices } 'the failure';
    $kafka->seek('t', 0, 4);
    wait_until { @received == 9 } 'the rest';
    is_deeply \@received, [0 .. 2, 4 .. 9], 'and nothing else';
};

subtest 'without on_notice' => sub {
    my $mock = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, on_message_die => 'hold', on_notice => undef, on_message => sub { die { code => 5 } });
    $kafka->assign([{ topic => 't' }]);
    my @warnings = warnings_of {
        my $polled;
        $kafka->poll(sub { $polled = 1 });
        wait_until { $polled } 'poll';
    };
    is scalar(@warnings), 1, 'it is one warning';
    like $warnings[0], qr/^EV::Kafka: t:0 is held at offset 0 until seek or resume: on_message died: HASH/, 'also of an object';
};

subtest 'poll while all that is assigned is held' => sub {
    my $mock = cluster();
    my $tried = 0;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message_die => 'hold',
        on_message => sub { $tried++; die "never\n" }, on_notice => sub { });
    $kafka->assign([{ topic => 't' }]);
    my $polls = 0;
    my $poll;
    $poll = sub { $kafka->poll($poll) if ++$polls < 10 };
    $kafka->poll($poll);
    wait_until { $polls == 10 } 'polls from the callback';
    is $tried, 1, 'brings nothing again';
    cmp_ok $mock->request_count('Fetch'), '<=', 3, 'and asks for nothing';
};

subtest 'a handler that moves the position itself before it dies' => sub {
    my $mock = cluster();
    my (@received, $kafka);
    my $fails = 1;
    my @warnings = warnings_of {
        $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message_die => 'hold', on_message => sub {
            push @received, $_[4];
            return unless $_[4] == 3 && $fails--;
            $kafka->seek('t', 0, 1);
            die "again\n";
        });
        $kafka->assign([{ topic => 't' }]);
        $kafka->consume;
        wait_until { @received >= 13 } 'everything';
    };
    is_deeply \@received, [0 .. 3, 1 .. 9], 'is not held';
    is_deeply \@warnings, ["on_message error: again\n"], 'and the die is a warning';
};

subtest 'a handler that pauses before it dies' => sub {
    my $mock = cluster();
    my (@received, @notices, $kafka);
    my $fails = 1;
    $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_message_die => 'hold', on_message => sub {
        if ($_[4] == 3 && $fails--) { $kafka->pause([{ topic => 't' }]); die "later\n" }
        push @received, $_[4];
    }, on_notice => sub { push @notices, $_[0] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->consume;
    wait_until { @notices } 'the failure';
    turns 20;
    is_deeply \@received, [0 .. 2], 'gets nothing more';
    $kafka->resume([{ topic => 't' }]);
    wait_until { @received == 10 } 'the rest';
    is_deeply \@received, [0 .. 9], 'resume ends both';
};

for my $handler (sort keys %HANDLER) {
    subtest "commits of a group: $handler" => sub {
        my $mock = cluster();
        my (@received, @notices);
        my $fails = 1;
        my $each = sub {
            my ($partition, $offset) = @_;
            die "once\n" if !$partition && $offset == 7 && $fails-- > 0;
            push @received, "$partition:$offset";
        };
        my $member = sub {
            my $kafka = connected(brokers => $mock->bootstrap, on_message_die => 'hold',
                $handler => $HANDLER{$handler}->($each), on_notice => sub { push @notices, $_[1] });
            $kafka->subscribe('t', group_id => 'g', heartbeat_interval => 0.05, @_);
            return $kafka;
        };
        my $held = $handler eq 'on_batch' ? 5 : 7;
        my $kafka = $member->(auto_commit => 0);
        wait_until { @notices && grep { $_ eq '1:9' } @received } 'the failure';
        my $committed;
        $kafka->commit(sub { $committed = [@_] });
        wait_until { $committed } 'the commit';
        is $mock->offsets('g')->{'t:0'}{offset}, $held, 'commit stays before it';
        is $mock->offsets('g')->{'t:1'}{offset}, 10, 'not of the other partition';
        my $left;
        $kafka->unsubscribe(sub { $left = 1 });
        wait_until { $left } 'leaving';
        @received = ();
        $kafka = $member->();
        wait_until { grep { $_ eq '0:9' } @received } 'the rest';
        is_deeply \@received, [map { "0:$_" } $held .. 9], 'the next member works on it';
        undef $left;
        $kafka->unsubscribe(sub { $left = 1 });
        wait_until { $left } 'leaving';
        is $mock->offsets('g')->{'t:0'}{offset}, 10, 'and commits what follows';
    };
}

subtest 'warn, the default' => sub {
    my $mock = cluster();
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4]; die "oops\n" if $_[4] == 7 });
    $kafka->assign([{ topic => 't' }]);
    my @warnings = warnings_of { fetch_all($kafka, \@received, 10) };
    is_deeply \@received, [0 .. 9], 'goes on';
    is_deeply \@warnings, ["on_message error: oops\n"], 'with a warning';
    my @held;
    @{ $kafka->{cfg} }{qw(on_message_die on_notice)} = ('hold', sub { push @held, $_[1]{offset} });
    $kafka->seek('t', 0, 0);
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { @held } 'the failure';
    is_deeply \@held, [7], 'hold counts as soon as it is written';
};

subtest 'what the option takes' => sub {
    for my $value (qw(warn hold)) { ok eval { client(on_message_die => $value); 1 }, $value }
    ok !eval { client(on_message_die => 'die'); 1 }, 'nothing else';
    like $@, qr/^EV::Kafka: option 'on_message_die' must be warn or hold, not 'die'/, 'and says so';
};

done_testing;
