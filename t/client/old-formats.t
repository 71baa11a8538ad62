use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use ScriptedBroker;
use TestKafka;

# A log that was begun under Kafka 0.10 or older: messages of formats 0 and 1, alone and
# in compressed sets, then a batch of today. Java wrote it (WriteSets.java beside it).

my $FILE = 'rust/kafka-wire/tests/java/old.sets';
my ($FIRST, $END, $IN_A_SET) = (100, 360, 20);
my $CORRUPT = 2;

my $log = do { open my $in, '<:raw', $FILE or die "$FILE: $!"; local $/; readline $in };

# [offset behind it, bytes] of each message, set or batch. A set has its last offset, a batch its first.
my @entries;
for (my $at = 0; $at < length $log;) {
    my ($offset, $length, $magic) = unpack 'q> N x4 c', substr $log, $at;
    push @entries, [$offset + ($magic == 2 ? $IN_A_SET : 1), substr $log, $at, 12 + $length];
    $at += 12 + $length;
}

# As brokers answer: whole entries, from the one with the offset on.
sub answered {
    my ($entries, $request) = @_;
    my $offset = ScriptedBroker::fetched($request)->{offset};
    return ScriptedBroker::fetch_answer($request, high_watermark => $END,
        records => join '', map { $_->[1] } grep { $_->[0] > $offset } @$entries);
}

our $served = \@entries;
my $broker = ScriptedBroker->new(on_request => sub {
    my (undef, undef, $request) = @_;
    return $request->{api} eq 'Fetch' ? answered($served, $request) : undef;
});

sub expected {
    my ($offset) = @_;
    my ($set, $i) = (int(($offset - $FIRST) / $IN_A_SET), ($offset - $FIRST) % $IN_A_SET);
    my $is_batch  = $set == 12;
    my $timestamp = $is_batch || $set % 3 == 1 ? 1_700_000_000_000 + 10 * $i : $set % 3 == 2 ? 1_600_000_000_000 : -1;
    return { offset => $offset, timestamp => $timestamp, key => $i % 5 == 4 ? undef : 'key-' . $i % 7,
        value => $i % 10 == 9 ? undef : "value number $i of this set" };
}

sub consumer {
    my ($from, $received, %option) = @_;
    my $kafka = connected(brokers => $broker->address, %option,
        on_message => sub { push @$received, { offset => $_[2], key => $_[3], value => $_[4], timestamp => $_[6] } });
    $kafka->assign([{ topic => 't', partition => 0, offset => $from }]);
    return $kafka;
}

# Inside of sets, between them, and at a single message.
for my $from ($FIRST, 117, 120, 163, 199, 213, 259, 271, 319, 339, 341, 359) {
    my @received;
    my $kafka = consumer($from, \@received);
    fetch_all($kafka, \@received, $END - $from);
    is_deeply \@received, [map { expected($_) } $from .. $END - 1], "consuming from $from on";
    is_deeply [errors($kafka)], [], 'without an error';
    $kafka->close;

    my ($result, $conn) = undef;
    $kafka = connected(brokers => $broker->address);
    $conn  = $kafka->{cfg}{bootstrap_conn};
    $conn->fetch('t', 0, $from, sub { $result = [@_] });
    wait_until { $result } 'the answer';
    my $partition = $result->[0]{topics}[0]{partitions}[0];
    is_deeply $partition->{records}, [map { expected($_) } $from .. $END - 1], 'fetch gives the same';
    is $partition->{error_code}, 0, 'without an error';
    $kafka->close;
}

subtest 'on_batch' => sub {
    my @sizes;
    my $kafka = connected(brokers => $broker->address, on_batch => sub { push @sizes, scalar @{ $_[2] } });
    $kafka->assign([{ topic => 't', partition => 0, offset => $FIRST }]);
    fetch_all($kafka, \@sizes, 11);
    is_deeply \@sizes, [60, (20) x 10], 'messages in a row come together';
    $kafka->close;
};

subtest 'an answer that was cut off in a message' => sub {
    local $served = [@entries[0 .. 2], [$END, substr $entries[3][1], 0, -1]];
    my @received;
    my $kafka = consumer($FIRST, \@received);
    fetch_all($kafka, \@received, 3);
    is_deeply \@received, [map { expected($_) } $FIRST .. 102], 'what was whole is there';
    is_deeply [errors($kafka)], [], 'and the rest is to come';
    $served = \@entries;
    fetch_all($kafka, \@received, $END - $FIRST);
    is_deeply \@received, [map { expected($_) } $FIRST .. $END - 1], 'and comes';
    $kafka->close;
};

subtest 'a message that was changed' => sub {
    my $bad = $entries[3][1];
    substr($bad, -1) ^= "\1";
    local $served = [@entries[0 .. 2], [$entries[3][0], $bad], @entries[4 .. $#entries]];
    my @received;
    my $kafka = consumer($FIRST, \@received);
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    wait_until { errors($kafka) } 'an error';
    like +(errors($kafka))[0], qr/CORRUPT_MESSAGE/, 'is one';
    is_deeply \@received, [map { expected($_) } $FIRST .. 102], 'behind what came before it';
    $kafka->close;
};

is EV::Kafka::_test_decode_batch($log), undef, 'the test function reads batches of today only';

done_testing;
