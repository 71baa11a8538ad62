use v5.14;
use warnings;

# What a producer can be told, with real brokers: to give up what waits, to close in order, how long replicas
# may take, where messages without a key go, and what it hears of a single record that is refused. kcat and
# Java are on the other side.

use EV;
use lib 'xt/lib';
use RealKafka;
use Test::More;

my $PURGED = 'purged before it was delivered';

sub values_of { my ($brokers, $topic, $partitions) = @_; return [map { [map { $_->[3] } @$_] } kcat_consume($brokers, $topic, $partitions // 1)] }

sub close_of { my ($kafka, @how) = @_; return await('close', sub { my ($done) = @_; $kafka->close(@how, sub { $done->($_[0]) }) }) }

sub a_moment { my ($seconds) = @_; my $timer; return await('a moment', sub { my ($done) = @_; $timer = EV::timer $seconds, 0, $done }) }

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;

    subtest "Kafka $version: purge" => sub {
        for my $idempotent (0, 1) {
            my $topic = create_topic($brokers, "purge-$idempotent", 1);
            my $kafka = connected_client(brokers => $brokers, linger_ms => 60_000, idempotent => $idempotent);
            my %told;
            my $produce = sub { my ($value, @done) = @_; $kafka->produce($topic, undef, $value, sub { $told{$value} = $_[1] // 'delivered'; $_->() for @done }) };
            await('a first one', sub { my ($done) = @_; $produce->('first', $done); $kafka->flush });
            $produce->("v$_") for 1 .. 3;
            is $kafka->purge, 3, "idempotent $idempotent: as many as linger";
            await('the last one', sub { my ($done) = @_; $produce->('last', $done); $kafka->flush });
            is_deeply \%told, { first => 'delivered', last => 'delivered', map { $_ => $PURGED } qw(v1 v2 v3) }, 'each hears what has become of it';
            is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
            close_of($kafka);
            is_deeply values_of($brokers, $topic), [['first', 'last']], 'kcat reads the others';
        }
    };

    subtest "Kafka $version: close that flushes" => sub {
        my $topic = create_topic($brokers, 'close-flush', 3);
        my $kafka = connected_client(brokers => $brokers, linger_ms => 60_000, compression => 'lz4');
        my $delivered = 0;
        $kafka->produce($topic, "k$_", "v$_", sub { $delivered++ unless defined $_[1] }) for 1 .. 500;
        is close_of($kafka, flush => 30), undef, 'without an error';
        is $delivered, 500, 'all callbacks were called before';
        is_deeply [sort map { @$_ } @{ values_of($brokers, $topic, 3) }], [sort map { "v$_" } 1 .. 500], 'kcat reads all of it';
    };

    subtest "Kafka $version: partitioner => 'uniform-sticky'" => sub {
        my ($partitions, $messages) = (6, 3000);
        my $topic = create_topic($brokers, 'uniform', $partitions);
        my $kafka = connected_client(brokers => $brokers, partitioner => 'uniform-sticky', batch_size => 2000);
        $kafka->produce($topic, undef, sprintf '%08d%s', $_, 'v' x 92) for 1 .. $messages;
        is await('flush', sub { $kafka->flush(@_) }), undef, 'written';
        close_of($kafka);
        my $values = values_of($brokers, $topic, $partitions);
        my @where;
        for my $partition (0 .. $partitions - 1) { $where[ substr $_, 0, 8 ] = $partition for @{ $values->[$partition] } }
        is +(grep { !defined $where[$_] } 1 .. $messages), 0, 'each is there';
        is +(map { @$_ } @$values), $messages, 'once';
        my $mean = $messages / $partitions;
        is_deeply [grep { @$_ < $mean / 3 || @$_ > $mean * 2 } @$values], [], 'spread over all partitions' or diag "@{[map { scalar @$_ } @$values]}";
        # Some 18 of them make 2000 bytes, and twice that is the most; 5 of 6 times the next partition is another one.
        my $moves = grep { $where[$_] != $where[ $_ + 1 ] } 1 .. $messages - 1;
        cmp_ok $moves, '<', $messages / 15, 'they stay together';
        cmp_ok $moves, '>', $messages / 60, 'for the bytes of a batch';
    };

    subtest "Kafka $version: headers => 'pairs'" => sub {
        my $topic = create_topic($brokers, 'pairs', 1);
        kcat_produce(['-b', $brokers, '-t', $topic, '-H', 'b=2', '-H', 'a=1', '-H', 'b=3', '-H', 'b=2'], "kcat\n");
        my @java = ([z => "\x00\xff"], [a => ''], [z => undef], [a => 'again']);
        java_produce($version, $brokers, $topic, {}, [[undef, 'java', \@java], [undef, 'none']]);
        my ($records) = consume($brokers, $topic, 1, 3, headers => 'pairs');
        is_deeply [map { $_->[4] } @$records], [[[b => 2], [a => 1], [b => 3], [b => 2]], \@java, undef], 'order, repeats and undef as written by kcat and Java';
        my $copy  = create_topic($brokers, 'pairs-copy', 1);
        my $kafka = connected_client(brokers => $brokers);
        $kafka->produce($copy, @$_[2, 3], { headers => $_->[4], timestamp => $_->[1] }) for @$records;
        is close_of($kafka, flush => 30), undef, 'produced again';
        is_deeply [kcat_consume($brokers, $copy, 1)], [kcat_consume($brokers, $topic, 1)], 'kcat sees no difference';
    };

    subtest "Kafka $version: a record without a key in a compacted topic" => sub {
        my $topic = create_topic($brokers, 'compacted', 1);
        my $kafka = connected_client(brokers => $brokers, linger_ms => 60_000, errors => 'object');
        my (undef, $failed) = await('alter_configs', sub {
            $kafka->alter_configs([{ resource_type => 'topic', resource_name => $topic, set => { 'cleanup.policy' => 'compact' } }], @_);
        });
        is $failed, undef, 'compacted';
        my @heard;
        # The setting reaches the log a moment later; until then such a record is taken.
        for (1 .. 100) {
            @heard = ();
            await('the batch', sub {
                my ($done) = @_;
                $kafka->produce($topic, $_, 'v', sub { push @heard, $_[1] }) for 'a', undef, 'b', undef;
                $kafka->flush($done);
            });
            last if $heard[0];
            a_moment(0.1);
        }
        is_deeply [map { [$_->code, $_->name, $_->retriable, $_->topic, $_->partition, $_->operation] } @heard],
            [([87, 'INVALID_RECORD', 0, $topic, 0, 'Produce']) x 4], 'the batch is refused';
        like $heard[$_], qr/: not written, another record of its batch was refused\z/, "record $_ was all right" for 0, 2;
        like $heard[$_], qr/: record $_ of its batch was refused: .*\bkey\b/, "record $_ hears why it was not" for 1, 3;
        await('the good ones', sub {
            my ($done) = @_;
            @heard = ();
            $kafka->produce($topic, $_, 'good', sub { push @heard, $_[1] }) for 'a', 'b';
            $kafka->flush($done);
        });
        is_deeply \@heard, [undef, undef], 'without them it is taken';
        close_of($kafka);
    };
}

# A follower that hangs: a leader that is to wait for it answers when the time is up that the request gives it.
sub with_a_hanging_follower {
    my ($version) = @_;
    my $cluster = cluster(version => $version, nodes => 3);
    my $brokers = $cluster->bootstrap;
    my $topic   = create_topic($cluster->address(($cluster->nodes)[0]), 'slow', 1, 2);
    my $options = sub { return (brokers => $brokers, delivery_timeout => 3, @_) };
    my $admin   = connected_client(brokers => $brokers);
    my ($described) = await('describe_topics', sub { $admin->describe_topics([$topic], @_) });
    my $partition   = $described->{topics}[0]{partitions}[0];
    my ($follower)  = grep { $_ != $partition->{leader} } @{ $partition->{replicas} };
    close_of($admin);
    # Connected before; the paused one may be the node that is asked first.
    my %kafka = map { @$_ } (
        [brief => connected_client($options->(broker_timeout => 0.3, errors => 'object'))],
        [late  => connected_client($options->())],
    );
    for my $kafka (values %kafka) {
        is await('a first one', sub { my ($done) = @_; $kafka->produce($topic, undef, 'before', sub { $done->($_[1]) }); $kafka->flush }), undef, 'both replicas are there';
    }
    $cluster->pause_node($follower);
    my $requests = sub { my ($kafka) = @_; return ($kafka->stats->{brokers}{ $partition->{leader} } || {})->{requests}{Produce} || { sent => 0, answered => 0 } };
    # Counts from here on.
    $requests->($_) for values %kafka;

    my $error = await('what has no time', sub { my ($done) = @_; $kafka{brief}->produce($topic, undef, 'brief', sub { $done->($_[1]) }) });
    is_deeply [map { $error->$_ } qw(code name retriable topic partition)], [7, 'REQUEST_TIMED_OUT', 1, $topic, 0], 'it is given up in the end' or diag $error;
    cmp_ok $requests->($kafka{brief})->{answered}, '>=', 3, 'the leader has said that replicas were late, each time after broker_timeout';

    my @told;
    my $late = $kafka{late};
    $late->produce($topic, undef, 'under way', sub { push @told, "under way: $_[1]" });
    await('the request', sub {
        my ($done) = @_;
        my $timer; $timer = EV::timer 0, 0.01, sub { $requests->($late)->{sent} and undef $timer, $done->() };
    });
    $late->{cfg}{linger_ms} = 60_000;
    $late->produce($topic, undef, 'lingers', sub { push @told, "lingers: $_[1]" });
    is $late->purge, 1, 'purge leaves what is under way';
    a_moment(0);
    is_deeply \@told, ["lingers: $PURGED"], 'which nobody has heard of yet';
    like close_of($late, flush => 0.3), qr/\Aclose timed out after 0\.3 s: messages that are not delivered: 1\z/, 'close says that it was not delivered';
    is_deeply [@told[1 .. $#told]], ['under way: disconnected'], 'and so does the message';
    $cluster->resume_node($follower);
    close_of($kafka{brief});
    return $cluster->stop;
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    subtest "Kafka $version: broker_timeout, and what cannot be delivered in time" => sub { with_a_hanging_follower($version) };
}

done_testing;
