use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use ScriptedBroker;
use TestKafka;

# Answers that are small on the wire and large in memory: 16 batches of less than a
# kilobyte, each of which becomes 20 MB. Of what fetch gives 256 MiB are decompressed, and a
# batch more at the most; a consumer has one batch of them in memory.

use constant { BATCHES => 16, BYTES => 20_000_000, BATCHES_AT_ONCE => 14 };

my $batch = EV::Kafka::_test_encode_batch([{ value => 'x' x BYTES }], { compression => 4 });
cmp_ok length($batch), '<', 10_000, 'a small batch';
my $log = join '', map { pack('q>', $_) . substr $batch, 8 } 0 .. BATCHES - 1;

my $broker = ScriptedBroker->new(on_request => sub {
    my (undef, undef, $request) = @_;
    return undef unless $request->{api} eq 'Fetch';
    return ScriptedBroker::fetch_answer($request, high_watermark => BATCHES,
        records => substr $log, length($batch) * ScriptedBroker::fetched($request)->{offset});
});

# The most memory that this process has had, in bytes.
sub peak {
    open my $status, '<', '/proc/self/status' or return;
    return map { /^VmHWM:\s*(\d+)/ ? 1024 * $1 : () } <$status>;
}

subtest 'consuming' => sub {
    my @received;
    my ($before) = peak();
    my $kafka = connected(brokers => $broker->address,
        on_message => sub { push @received, $_[2]; fail 'the length' if BYTES != length $_[4] });
    $kafka->assign([{ topic => 't' }]);
    fetch_all($kafka, \@received, BATCHES);
    is_deeply \@received, [0 .. BATCHES - 1], 'everything comes once and in order';
    is_deeply [errors($kafka)], [], 'without an error';
    SKIP: {
        skip 'no /proc', 1 unless defined $before;
        cmp_ok +(peak())[0] - $before, '<', 4 * BYTES, 'and takes the memory of a batch and its value, however many an answer has';
    }
};

subtest 'fetch' => sub {
    my $kafka = connected(brokers => $broker->address);
    my $conn  = $kafka->{cfg}{bootstrap_conn};
    my $fetched;
    # As if the batches before were one with this one: they are read and left out.
    my $whole = ScriptedBroker::fetch_answer({ body => pack 'N N N N C N n/a* N N q> N', -1, 0, 0, 0, 0, 1, 't', 1, 0, 0, 0 },
        high_watermark => BATCHES, records => $log);
    $broker->{on_request} = sub { $_[2]{api} eq 'Fetch' ? $whole : undef };
    $conn->fetch('t', 0, BATCHES_AT_ONCE - 1, sub { $fetched = [@_] });
    wait_until { $fetched } 'the answer';
    is_deeply [map { $_->{offset} } @{ $fetched->[0]{topics}[0]{partitions}[0]{records} }], [BATCHES_AT_ONCE - 1],
        'ends as if it had been cut off there';
    is $fetched->[0]{topics}[0]{partitions}[0]{error_code}, 0, 'without an error';
};

done_testing;
