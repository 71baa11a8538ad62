use v5.14;
use warnings;

# Where brokers and clients have limits: batches and messages that are larger than a
# broker takes, a buffer that is full, messages that nobody takes for too long. And where
# messages without a key go, and what compaction leaves.

use EV;
use lib 'xt/lib';
use RealKafka;
use Test::More;

my $MAX_BATCH = 20_000;

my $cluster = cluster(set => { 'message.max.bytes' => $MAX_BATCH, 'log.cleaner.backoff.ms' => 200 });
my ($node)  = $cluster->nodes;
my $brokers = $cluster->bootstrap;

sub random_text { return join '', map { chr(33 + int rand 90) } 1 .. $_[0] }

sub values_of { return map { $_->[3] } @{ $_[0] } }

# However well a batch compresses, it is the compressed size that a broker looks at.
for my $case ([plain => {}], [idempotent => { idempotent => 1 }], [gzip => { compression => 'gzip' }],
    ['idempotent zstd' => { idempotent => 1, compression => 'zstd' }]) {
    my ($name, $options) = @$case;
    subtest "a batch that is too large is split: $name" => sub {
        my $topic = create_topic($brokers, 'limits-' . $name =~ s/ /-/r, 1);
        my $kafka = connected_client(brokers => $brokers, batch_size => 200_000, linger_ms => 20, %$options);
        my (%errors, %calls);
        my @values = map { "$_ " . random_text(500) } 1 .. 300;
        splice @values, 150, 0, 'large ' . random_text(2 * $MAX_BATCH);
        for my $value (@values) {
            my ($id) = $value =~ /^(\w+)/;
            $kafka->produce($topic, 'k', $value, sub { $calls{$id}++; $errors{$id} = $_[1] if defined $_[1] });
        }
        my ($error) = await('flush', sub { $kafka->flush(@_) });
        is $error, undef, 'everything is settled';
        is_deeply [keys %errors], ['large'], 'only the message that no batch can carry fails';
        like $errors{large}, qr/^MESSAGE_TOO_LARGE/, 'and says why';
        is_deeply [grep { $calls{$_} != 1 } keys %calls], [], 'each callback was called once';
        my @there = values_of(kcat_consume($brokers, $topic, 1));
        is_deeply \@there, [grep { !/^large/ } @values], 'the others are there once, in order';
        await('close', sub { $kafka->close(@_) });
    };
}

subtest 'messages without a key' => sub {
    my $count = 900;
    my %switches;
    for my $partitioner ('round-robin', 'sticky') {
        my $topic = create_topic($brokers, "limits-$partitioner", 3);
        my $kafka = connected_client(brokers => $brokers, batch_size => 2_000,
            $partitioner eq 'sticky' ? (partitioner => 'sticky') : ());
        $kafka->produce($topic, undef, $_) for 1 .. $count;
        is await('flush', sub { $kafka->flush(@_) }), undef, "$partitioner: everything is settled";
        await('close', sub { $kafka->close(@_) });
        my @records = kcat_consume($brokers, $topic, 3);
        my %at;
        for my $partition (0 .. 2) { $at{$_} = $partition for values_of($records[$partition]) }
        is_deeply [sort { $a <=> $b } keys %at], [1 .. $count], 'all are there';
        is scalar(map { @$_ } @records), $count, 'once';
        is_deeply [map { scalar @$_ } @records], [($count / 3) x 3], 'a third on each partition' if $partitioner ne 'sticky';
        is scalar(grep { @$_ } @records), 3, 'on every partition';
        $switches{$partitioner} = grep { $at{$_} != $at{ $_ + 1 } } 1 .. $count - 1;
    }
    is $switches{'round-robin'}, $count - 1, 'round-robin goes to another one each time';
    cmp_ok $switches{sticky}, '<', $count / 10, 'sticky stays until a batch is full';
};

subtest 'a program that stops at producer buffer full' => sub {
    my $topic = create_topic($brokers, 'limits-buffer', 2);
    my $count = 5_000;
    my ($next, $full, $kafka) = (0, 0);
    my $go_on;
    my $produce = sub {
        while ($next < $count) {
            my ($value, $is_full) = ($next, 0);
            $kafka->produce($topic, "k$value", "$value " . 'x' x 100, sub {
                my (undef, $error) = @_;
                return unless defined $error;
                is $error, 'producer buffer full', 'the error' unless $full++;
                $is_full = 1;
            });
            return if $is_full;
            $next++;
        }
        $go_on->();
    };
    $kafka = connected_client(brokers => $brokers, batch_size => 10_000, buffer_memory => 50_000, on_drain => $produce);
    await('all messages', sub { ($go_on) = @_; $produce->() });
    is await('flush', sub { $kafka->flush(@_) }), undef, 'everything is settled';
    cmp_ok $full, '>', 5, 'the buffer was full many times';
    is_deeply [$kafka->buffered], [0, 0], 'and is empty now';
    my @there = map { /^(\d+)/ } map { values_of($_) } kcat_consume($brokers, $topic, 2);
    is_deeply [sort { $a <=> $b } @there], [0 .. $count - 1], 'each message is there once';
    await('close', sub { $kafka->close(@_) });
};

subtest 'what compaction leaves' => sub {
    my $topic = "limits-compacted-$$";
    my @command = KafkaCluster::java_command($cluster->version, 'TopicCommand', '--bootstrap-server', $brokers,
        '--create', '--topic', $topic, '--partitions', 1, map { ('--config', $_) } 'cleanup.policy=compact',
        'segment.ms=200', 'min.cleanable.dirty.ratio=0.001');
    is system(@command), 0, 'the topic';
    my $kafka = connected_client(brokers => $brokers, batch_size => 2_000);
    my $written = 0;
    # A segment is rolled by what comes after its time, and only then compacted.
    my (@before, @ours, @after);
    await('compaction', sub {
        my ($done) = @_;
        state $turn;
        $turn = EV::timer 0, 0.5, sub {
            $kafka->produce($topic, 'key-' . $written % 7, $written++) for 1 .. 200;
            my @log = kcat_consume($brokers, $topic, 1);
            return if !@{ $log[0] } || @{ $log[0] } > $log[0][-1][0] / 2;
            undef $turn;
            $done->();
        };
    });
    is await('flush', sub { $kafka->flush(@_) }), undef, 'everything is settled';
    await('close', sub { $kafka->close(@_) });
    # It goes on: what all three see alike is what there was all the while.
    do {
        @before = kcat_consume($brokers, $topic, 1);
        @ours   = eval { consume($brokers, $topic, 1, scalar @{ $before[0] }) };
        @after  = kcat_consume($brokers, $topic, 1);
    } until @{ $before[0] } == @{ $after[0] } && $before[0][0][0] == $after[0][0][0];
    is_deeply [map { [@$_[0, 2, 3]] } @{ $ours[0] }], [map { [@$_[0, 2, 3]] } @{ $after[0] }],
        'the same offsets, keys and values that kcat reads';
    my %last = map { @$_[2, 3] } @{ $ours[0] };
    is_deeply \%last, { map { ('key-' . $_ % 7 => $_) } $written - 7 .. $written - 1 }, 'with the last value of each key';
    cmp_ok scalar @{ $ours[0] }, '<', $written, 'though most of them are gone';
};

# The last one: the node goes.
subtest 'messages that no broker takes' => sub {
    my $topic = create_topic($brokers, 'limits-timeout', 1);
    my @reports;
    my $kafka = connected_client(brokers => $brokers, delivery_timeout => 2, on_error => sub { push @reports, $_[0] });
    my (undef, $first) = await('the first', sub { $kafka->produce($topic, 'k', 'first', @_) });
    is $first, undef, 'the first is delivered';
    $cluster->kill_node($node);
    my $look;
    await('the connection is down', sub {
        my ($done) = @_;
        $look = EV::timer 0, 0.02, sub { $done->() if !grep { $_->connected } values %{ $kafka->{cfg}{conns} } };
    });
    undef $look;
    my (undef, $error) = await('the end', sub { $kafka->produce($topic, 'k', 'late', @_) });
    like $error, qr/^delivery timed out after 2 s: \Q$topic\E/, 'fail in time, and say where';
    $cluster->restart_node($node);
    my (undef, $again) = await('the next', sub {
        my ($done) = @_;
        my $try;
        $try = sub { $kafka->produce($topic, 'k', 'next', sub { defined $_[1] ? $try->() : $done->(@_) }) };
        $try->();
    });
    is $again, undef, 'and the client goes on when the broker is back';
    is_deeply [values_of(kcat_consume($brokers, $topic, 1))], ['first', 'next'], 'what failed is not there';
    await('close', sub { $kafka->close(@_) });
};

done_testing;
