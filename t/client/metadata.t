use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use ScriptedBroker;
use Scalar::Util qw(weaken);
use TestKafka;

sub topic {
    my ($name, @leaders) = @_;
    return { name => $name, error_code => 0,
        partitions => [map { { partition => $_, leader => $leaders[$_], error_code => 0 } } 0 .. $#leaders] };
}

subtest 'merging an answer' => sub {
    my $cfg = { leaders => {}, broker_map => {} };
    my @brokers = ({ node_id => 1, host => 'a', port => 1 }, { node_id => 2, host => 'b', port => 2 });
    EV::Kafka::Client::_merge_metadata($cfg, { brokers => \@brokers, topics => [topic('foo', 1, 2), topic('foo-bar', 2)] });
    is_deeply $cfg->{leaders}, { 'foo:0' => 1, 'foo:1' => 2, 'foo-bar:0' => 2 }, 'leaders by topic and partition';
    is_deeply $cfg->{broker_map}, { 1 => { host => 'a', port => 1 }, 2 => { host => 'b', port => 2 } }, 'brokers by id';

    EV::Kafka::Client::_merge_metadata($cfg, { brokers => \@brokers, topics => [topic('foo', 2)] });
    is_deeply $cfg->{leaders}, { 'foo:0' => 2, 'foo-bar:0' => 2 },
        'the old leaders of a topic go first; a topic with the same beginning keeps its own';
    is_deeply [sort map { $_->{name} } @{ $cfg->{meta}{topics} }], ['foo', 'foo-bar'], 'meta keeps the other topics';

    EV::Kafka::Client::_merge_metadata($cfg, { brokers => [], topics => [topic('foo', -1, 1)] });
    is_deeply $cfg->{leaders}, { 'foo:1' => 1, 'foo-bar:0' => 2 }, 'a partition without a leader has none';
    is keys %{ $cfg->{broker_map} }, 2, 'an answer without brokers leaves those that are known';

    EV::Kafka::Client::_merge_metadata($cfg, { brokers => [], topics => [{ name => 'foo', error_code => 3, partitions => [] }] });
    is_deeply $cfg->{leaders}, { 'foo-bar:0' => 2 }, 'a topic that is gone has no leaders';

    my @lies = map { { partition => $_, leader => 1, error_code => 0 } } -1, 1, 1 << 20, (1 << 31) - 1;
    EV::Kafka::Client::_merge_metadata($cfg, {
        brokers => [@brokers, map { { node_id => 10 + $_, host => 'c', port => (65536, -1)[$_] } } 0, 1],
        topics  => [{ name => 'foo', error_code => 0, partitions => \@lies }],
    });
    is_deeply $cfg->{leaders}, { 'foo:1' => 1, 'foo-bar:0' => 2 }, 'partitions that cannot be are passed over';
    is_deeply [sort keys %{ $cfg->{broker_map} }], [1, 2], 'and brokers at ports that cannot be';
};

subtest 'a topic that stays unknown is asked for ten times' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0], unknown => 3 });
    my $kafka  = connected(brokers => $broker->address);
    my (@got, $asked);
    $kafka->produce('unknown', 'k', 'v', sub { push @got, [@_] });
    $asked = -scalar $broker->requests('Metadata');
    wait_until { @got } 'giving up';
    is scalar(@got), 1, 'the callback is called once';
    is $got[0][0], undef, 'without a result';
    like $got[0][1], qr/'unknown'.* unavailable after/, 'with the reason';
    is $asked + $broker->requests('Metadata'), 10, 'ten requests';
    is_deeply [errors($kafka)], [], 'and on_error hears nothing';

    $kafka->produce('unknown', 'k', 'v1');
    $kafka->produce('unknown', 'k', 'v2');
    wait_until { errors($kafka) } 'giving up without a callback';
    turns;
    is scalar(errors($kafka)), 1, 'on_error hears of operations without a callback, once for all';
    like +(errors($kafka))[0], qr/unavailable after/, 'with the reason';
    is_deeply $kafka->{cfg}{pending_ops}, [], 'nothing is left';
};

subtest 'a topic that the broker refuses: the error says why' => sub {
    my $broker = ScriptedBroker->new(topics => { forbidden => 29 });
    my $kafka  = connected(brokers => $broker->address);
    my @got;
    $kafka->produce('forbidden', 'k', 'v', sub { push @got, $_[1] });
    wait_until { @got } 'the failure';
    like $got[0], qr/unavailable after 10 .*: TOPIC_AUTHORIZATION_FAILED \(code 29\)\z/, 'name and code';
    $broker->stop;
};

subtest 'a topic that is created late is found' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0], late => 5 });
    my $asked  = 0;
    $broker->{on_request} = sub {
        my ($broker, undef, $request) = @_;
        return ScriptedBroker::produce_answer($request, 0, 7) if $request->{api} eq 'Produce';
        $broker->{topics}{late} = [0] if $request->{body} =~ /late/ && ++$asked == 3;
        return undef;
    };
    my $kafka = connected(brokers => $broker->address);
    my @got;
    $kafka->produce('late', 'k', 'v', sub { push @got, [@_] });
    wait_until { @got } 'delivery';
    is produced_offset($got[0][0]), 7, 'delivered';
    is $asked, 3, 'as soon as its leader was known';
};

subtest 'an unknown partition of a known topic' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(small => 2);
    my $kafka = connected(brokers => $mock->bootstrap);
    my @got;
    $kafka->produce('small', 'k', 'v', { partition => 5 }, sub { push @got, [@_] });
    wait_until { @got } 'giving up';
    like $got[0][1], qr/unavailable after/, 'fails';
};

subtest 'requests for metadata of one topic are not repeated without need' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $before = $mock->request_count('Metadata');
    my $delivered = 0;
    $kafka->produce('new', $_, 'v', sub { $delivered++ }) for 1 .. 50;
    wait_until { $delivered == 50 } 'delivery';
    is $mock->request_count('Metadata') - $before, 1, 'one request for fifty messages';
};

subtest '_refresh_metadata_for_topic' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 2);
    my $kafka = connected(brokers => $mock->bootstrap);
    is $kafka->{cfg}{leaders}{'t:0'}, 0, 'the leader';
    $mock->set_leader(t => 0, 1);
    $kafka->_refresh_metadata_for_topic('t');
    wait_until { $kafka->{cfg}{leaders}{'t:0'} == 1 } 'the new leader';
    pass 'the new leader is found';
};

subtest 'periodic refresh' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap, metadata_refresh => 0.05);
    my $count = $mock->request_count('Metadata');
    $mock->create_topic('appears');
    wait_until { defined $kafka->{cfg}{leaders}{'appears:0'} } 'a new topic';
    wait_until { $mock->request_count('Metadata') > $count + 2 } 'more refreshes';
    pass 'finds a new topic by itself';
    $mock->delete_topic('appears');
    wait_until { !defined $kafka->{cfg}{leaders}{'appears:0'} } 'the topic to go';
    pass 'and sees that one is gone';
};

subtest 'a broker that is cut off from the others' => sub {
    my ($cut_off, $other) = map { ScriptedBroker->new(node_id => $_, topics => { t => [$_] }) } 0, 1;
    $_->{peers} = [$cut_off == $_ ? $other : $cut_off] for $cut_off, $other;
    $cut_off->{on_request} = sub { $_[2]{api} eq 'Fetch' ? ScriptedBroker::fetch_answer($_[2], error => 6) : undef };
    $other->{on_request}   = sub {
        my (undef, undef, $request) = @_;
        return undef unless $request->{api} eq 'Fetch';
        return ScriptedBroker::fetch_answer($request,
            records => ScriptedBroker::batch(0, [{ value => 'v' }]), high_watermark => 1);
    };
    my @received;
    my $kafka = connected(brokers => $cut_off->address, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    fetch_all($kafka, \@received, 1);
    is $received[0], 'v', 'is not believed for ever';
    is_deeply [errors($kafka)], [], 'nor is there anything to report by then';

    my $accepted = $cut_off->{accepted} + $other->{accepted};
    my $asked    = $cut_off->requests('Metadata') + $other->requests('Metadata');
    $kafka->assign([{ topic => 'missing' }]);
    my $polling = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { $cut_off->requests('Metadata') + $other->requests('Metadata') >= $asked + 6 } 'requests';
    is $cut_off->{accepted} + $other->{accepted}, $accepted + 1, 'for a topic that does not exist nobody is asked in turn';
};

subtest 'a clock that is put back' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $asked = $mock->request_count('Metadata');
    my $set   = EV::Loop->can('now');
    no warnings 'redefine';
    local *EV::Loop::now = sub { $set->(@_) - 3600 };
    Inside::refresh($kafka);
    wait_until { $mock->request_count('Metadata') > $asked } 'a request';
    pass 'makes nothing wait';
};

subtest 'an incomplete answer counts as none' => sub {
    my $broker = ScriptedBroker->new(topics => { t => [0] });
    my $good   = ScriptedBroker->new(topics => { t => [0] });
    $broker->{on_request} = sub { my $whole = $_[0]->metadata; substr $whole, 0, length($whole) - 6 };
    my $kafka = connected(brokers => $broker->address . ',' . $good->address);
    is scalar($good->requests('Metadata')), 1, 'the next broker is asked';
};

# What has been asked of a topic that does not exist, by what a program does with it. It goes on while
# what this returns is kept.
my %reads = (
    'assign and poll' => sub {
        my ($kafka, $topic) = @_;
        $kafka->assign([{ topic => $topic, partition => 0, offset => 0 }]);
        weaken(my $weak = $kafka);
        return EV::timer 0, 0.01, sub { $weak->poll if $weak };
    },
    'offsets_for' => sub { my ($kafka, $topic) = @_; $kafka->offsets_for($topic, sub { }); return },
    'subscribe, classic'  => sub { my ($kafka, $topic) = @_; $kafka->subscribe($topic, group_id => 'g'); return },
    'subscribe, consumer' => sub {
        my ($kafka, $topic) = @_;
        $kafka->subscribe($topic, group_id => 'h', group_protocol => 'consumer');
        return;
    },
);

sub exists_in { my ($mock, $topic) = @_; return scalar grep { $_ eq $topic } $mock->topics }

subtest 'reading creates no topic' => sub {
    for my $what (sort keys %reads) {
        my $mock  = EV::Kafka::Mock->new;
        my $kafka = connected(brokers => $mock->bootstrap);
        my $asked = $mock->request_count('Metadata');
        my $reading = $reads{$what}->($kafka, 'read');
        wait_until { $mock->request_count('Metadata') >= $asked + 2 } 'requests for its metadata';
        ok !exists_in($mock, 'read'), $what;
    }
};

subtest 'unless it is asked for' => sub {
    for my $what (sort keys %reads) {
        my $mock  = EV::Kafka::Mock->new;
        my $kafka = connected(brokers => $mock->bootstrap, allow_auto_create_topics => 1);
        my $reading = $reads{$what}->($kafka, 'read');
        wait_until { exists_in($mock, 'read') } "$what: the topic";
        ok exists_in($mock, 'read'), $what;
    }
};

subtest 'writing does' => sub {
    my %writes = (
        plain       => sub { $_[0]->produce('written', 'k', 'v', $_[1]) },
        headers     => sub { $_[0]->produce('written', 'k', 'v', { headers => { h => 1 } }, $_[1]) },
        partition   => sub { $_[0]->produce('written', 'k', 'v', { partition => 0 }, $_[1]) },
        many        => sub { my ($kafka, $cb) = @_; $kafka->produce_many([['written', 'k', 'v']], sub { $cb->(undef, $_[0] && "@{ $_[0] }") }) },
    );
    for my $what (sort keys %writes) {
        my $mock  = EV::Kafka::Mock->new;
        my $kafka = connected(brokers => $mock->bootstrap);
        my $reading = $reads{'assign and poll'}->($kafka, 'read');
        my @got;
        $writes{$what}->($kafka, sub { push @got, $_[1] });
        wait_until { @got } 'delivery';
        is_deeply \@got, [undef], $what;
        ok !exists_in($mock, 'read'), 'and not what is only read';
    }
};

subtest 'unless it is forbidden' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap, allow_auto_create_topics => 0);
    my @got;
    $kafka->produce('written', 'k', 'v', sub { push @got, $_[1] });
    wait_until { @got } 'an error';
    like $got[0], qr/unavailable after/, 'produce fails';
    ok !exists_in($mock, 'written'), 'and creates nothing';
};

subtest 'a connection asks as it is told' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $kafka = connected(brokers => $mock->bootstrap);
    my $conn  = $kafka->{cfg}{bootstrap_conn};
    for my $case ([one => 0, { allow_auto_topic_creation => 0 }], [two => 1, { allow_auto_topic_creation => 1 }], [three => 1]) {
        my ($topic, $is_created, @options) = @$case;
        my $answered;
        $conn->metadata([$topic], sub { $answered = 1 }, @options);
        wait_until { $answered } 'the answer';
        is exists_in($mock, $topic) ? 1 : 0, $is_created, $topic;
    }
};

subtest 'a topic that is created later is found' => sub {
    for my $what (grep { !/offsets_for/ } sort keys %reads) {
        my $mock = EV::Kafka::Mock->new;
        my @got;
        my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[4] });
        my $asked = $mock->request_count('Metadata');
        my $reading = $reads{$what}->($kafka, 'later');
        wait_until { $mock->request_count('Metadata') > $asked + 2 } 'requests for its metadata';
        $mock->create_topic(later => 1);
        $mock->append(later => 0, { value => 'v' });
        wait_until { @got } "$what: its message";
        is_deeply \@got, ['v'], $what;
    }
};

subtest 'leader epochs of brokers that may tell old ones' => sub {
    for my $version (7, 8, 9) {
        my $mock = EV::Kafka::Mock->new;
        $mock->api_versions(Metadata => 0, $version);
        $mock->create_topic(t => 1);
        my $kafka = connected(brokers => $mock->bootstrap);
        my $known = ${ Inside::leader_epoch($kafka, t => 0) };
        $version < 9 ? is $known, undef, "Metadata $version: are not believed" : ok defined $known, "Metadata $version: are";
    }
};

done_testing;
