use v5.14;
use warnings;

# Messages without callbacks that are produced while no broker is reachable lie in
# memory encoded, cost little more than that, and arrive when the broker comes:
# with the topic known from before, and with nothing known at all.
# EV_KAFKA_MESSAGES says how many.

use EV;
use lib 'xt/lib';
use RealKafka;
use Test::More;

my $MESSAGES   = $ENV{EV_KAFKA_MESSAGES} || 200_000;
my $PARTITIONS = 4;
my $VALUE      = 'v' x 100;

# Memory a message beside its encoded bytes: buffers that are not full yet, and the allocator's own.
my $OVERHEAD = 0.5;

my $cluster = cluster();
my ($node)  = $cluster->nodes;
my $brokers = $cluster->bootstrap;

sub resident {
    open my $in, '<', '/proc/self/status' or die "/proc/self/status: $!";
    return 1024 * (map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$in>)[0];
}

# Gives the loop turns, so that batches fall due as in a program that runs.
sub fill {
    my ($kafka, $topic) = @_;
    for my $i (1 .. $MESSAGES) {
        $kafka->produce($topic, "k$i", $VALUE);
        EV::run EV::RUN_NOWAIT unless $i % 1000;
    }
}

for my $known (1, 0) {
    subtest $known ? 'a topic that is known' : 'a cluster that is not known' => sub {
        my $topic = create_topic($cluster->address($node), 'outage-' . ($known ? 'known' : 'unknown'), $PARTITIONS);
        my @reports;
        my %option = (brokers => $brokers, batch_size => 100_000, on_error => sub { push @reports, $_[0] });
        my $kafka  = $known ? connected_client(%option) : EV::Kafka->new(%option);
        my $first  = 0;
        if ($known) {
            await('the first message', sub { $kafka->produce($topic, 'k', 'first', @_) });
            $first = 1;
        }
        $cluster->kill_node($node);
        if ($known) {
            # What is under way when a connection is lost would fail: it is to be noticed first.
            my $look;
            await('the connection is down', sub {
                my ($done) = @_;
                $look = EV::timer 0, 0.02, sub { $done->() if !grep { $_->connected } values %{ $kafka->{cfg}{conns} } };
            });
            undef $look;
        }
        else {
            $kafka->connect;
        }
        my $before = resident();
        fill($kafka, $topic);
        my $memory = resident() - $before;
        my ($messages, $bytes) = $kafka->buffered;
        is $messages, $MESSAGES, 'all are queued';
        note sprintf '%.1f bytes of memory a message, of which %.1f are its encoded record', $memory / $messages,
            $bytes / $messages;
        cmp_ok $memory, '<', $bytes * (1 + $OVERHEAD), 'in little more memory than they will take on the wire';

        $cluster->restart_node($node);
        my ($error) = await('flush', sub { $kafka->flush(@_) });
        is $error, undef, 'flush is done';
        is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
        my $there = () = kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q', '-f', '%k\n') =~ /\n/g;
        is $there, $first + $MESSAGES, 'all are there once';
        cmp_ok scalar(@reports), '<=', 1, 'the outage was reported once' or diag $_ for @reports;
        await('close', sub { $kafka->close(@_) });
    };
}

done_testing;
