use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use Inside;
use TestKafka;

# What a client does for one of many partitions or topics must not look at all the others.

use constant MANY => 300;

sub filled_topics {
    my $mock   = EV::Kafka::Mock->new;
    my @topics = map { "t$_" } 1 .. MANY;
    $mock->create_topic($_ => 1) for @topics;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $delivered = 0;
    $kafka->produce($_, undef, 'v', sub { $delivered++ }) for @topics;
    wait_until { $delivered == MANY } 'the messages';
    return ($mock, @topics);
}

subtest 'a group: the positions of many partitions become known' => sub {
    my ($mock, @topics) = filled_topics();
    my $looks = Inside::calls_of(look_at_partitions => sub {
        my $member = member($mock, topics => \@topics);
        wait_until { @{ $member->{got} } == MANY } 'all messages';
        is left($member), 'left', 'leaving';
    });
    cmp_ok $looks, '<', MANY / 4, "all partitions were looked at $looks times";
};

subtest 'polls that wait for the positions of many partitions' => sub {
    my ($mock, @topics) = filled_topics();
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[0] });
    $kafka->assign([map { { topic => $_, offset => -2 } } @topics]);
    my @polled;
    my $joined = Inside::most_polls_of_a_fetch(sub {
        for my $poll (0 .. 4) {
            $kafka->poll(sub { $polled[$poll]++ });
        }
        fetch_all($kafka, \@got, MANY);
        wait_until { 5 == grep { defined } @polled } 'the polls';
        turns;
    });
    is_deeply \@polled, [(1) x 5], 'each was called back once';
    cmp_ok $joined, '<', 20, 'none waits for an answer more than once or twice';
};

subtest 'many topics that are not known' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $delivered = 0;
    my $looks = Inside::calls_of(look_at_waiting => sub {
        $kafka->produce("new$_", undef, 'v', sub { $delivered++ }) for 1 .. MANY;
        wait_until { $delivered == MANY } 'the messages';
    });
    cmp_ok $looks, '<', 20 * MANY, "what waits was looked at $looks times";
};

# 40,000 of them: the mock's process is another one, so that only the client's turns count.
subtest 'metadata of very many partitions' => sub {
    my ($topics, $partitions) = (1000, 40);
    pipe my $in, my $out or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my $mock = EV::Kafka::Mock->new(brokers => 3);
        $mock->create_topic("topic-$_" => $partitions) for 1 .. $topics;
        syswrite $out, $mock->bootstrap . "\n";
        EV::run;
    }
    chomp(my $bootstrap = readline $in);
    my ($kafka, $adopted);
    my $slices = Inside::calls_of(adopt_slice => sub {
        $adopted = Inside::calls_of(adopt_topic => sub { $kafka = connected(brokers => $bootstrap) });
    });
    my $cfg   = $kafka->{cfg};
    cmp_ok $slices, '>', 2, 'is taken over in several turns of the event loop';
    is $adopted, $topics, 'every topic once';
    is scalar(keys %{ $cfg->{leaders} }), $topics * $partitions, 'the leader of every partition is known';
    is scalar(@{ $cfg->{meta}{topics} }), $topics, 'and meta has every topic';

    my $meta = $cfg->{meta};
    my $poll = EV::timer 0.01, 0.01, sub { };
    $adopted = Inside::calls_of(adopt_topic => sub {
        Inside::refresh($kafka);
        wait_until { $cfg->{meta} != $meta } 'the next answer';
    });
    is $adopted, 0, 'of what has not changed nothing is taken over again';
    is_deeply [map { scalar @{ $_->{partitions} } } @{ $cfg->{meta}{topics} }], [($partitions) x $topics], 'and meta has it still';
    is scalar(keys %{ $cfg->{leaders} }), $topics * $partitions, 'as have the leaders';

    my $calls = 0;
    $kafka->connect(sub { $calls++ });
    is $calls, 1, 'the client is connected';
    Inside::refresh($kafka);
    $kafka->close;
    turns;
    pass 'it may be closed while an answer is on its way';
    kill KILL => $pid;
    waitpid $pid, 0;
};

subtest 'a topic that changes among those that do not' => sub {
    my ($mock, @topics) = filled_topics();
    my $kafka = connected(brokers => $mock->bootstrap);
    my $cfg   = $kafka->{cfg};
    $mock->create_topic(late => 3);
    $mock->delete_topic('t7');
    my $meta = $cfg->{meta};
    Inside::refresh($kafka);
    wait_until { $cfg->{meta} != $meta } 'the next answer';
    is $cfg->{leaders}{'late:2'} // -1, $mock->leader(late => 2), 'the new one is known';
    ok !exists $cfg->{leaders}{'t7:0'}, 'the one that is gone is forgotten';
    is scalar(grep { $_->{name} eq 't7' } @{ $cfg->{meta}{topics} }), 0, 'also in meta';
    $mock->create_topic(t7 => 2);
    $meta = $cfg->{meta};
    Inside::refresh($kafka);
    wait_until { $cfg->{meta} != $meta } 'the answer after that';
    ok defined $cfg->{leaders}{'t7:1'}, 'it is there again';
    is scalar(@{ $cfg->{meta}{topics} }), MANY + 1, 'meta has each once';
};

subtest 'a request for topics that alternate' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic($_ => 3) for qw(a b);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 60_000);
    my %got;
    my $produce = sub {
        my ($topic, $partition) = @_;
        $kafka->produce($topic, undef, 'v', { partition => $partition }, sub {
            my ($result, $error) = @_;
            push @{ $got{"$topic:$partition"} }, $error // join ' ', map { "$_->{topic}:$_->{partitions}[0]{partition}" } @{ $result->{topics} };
        });
    };
    for my $partition (2, 0, 1) { $produce->($_ => $partition) for qw(a b) }
    $mock->fault(api => 'Produce', topic => 'b', partition => 0, error => 29);
    my $flushed;
    $kafka->flush(sub { $flushed = 1 });
    wait_until { $flushed } 'flush';
    is $mock->request_count('Produce'), 1, 'is one';
    like delete $got{'b:0'}[0], qr{TOPIC_AUTHORIZATION_FAILED}, 'a partition that is refused hears so';
    is_deeply \%got, { 'b:0' => [], map({ ("a:$_" => ["a:$_"]) } 0 .. 2), map({ ("b:$_" => ["b:$_"]) } 1, 2) },
        'each of the others has its own answer';
};

done_testing;
