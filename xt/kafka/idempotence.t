use v5.14;
use warnings;

# Three nodes whose leaders are killed, stopped and started again in turn, while
# two clients write: one is idempotent, and every message that it was told to be
# delivered is there once, in order per key; the other is not, and with acks -1 it
# loses none, and doubles none but what a broker has refused. All are at the offset
# that was told. EV_KAFKA_MESSAGES says how many each of them writes at least.

use EV;
use lib 'xt/lib', 't/lib';
use RealKafka;
use Refusals;
use Replicas;
use Test::More;
use Turmoil;

my $PARTITIONS = 6;
my $KEYS       = 60;
my $MESSAGES   = $ENV{EV_KAFKA_MESSAGES} || 30_000;

# Messages outstanding at once, and produced a second: the nodes are to die while
# there is something to lose.
my ($OUTSTANDING, $RATE) = (5_000, 5_000);

# One node killed, one stopped.
my $ROUNDS = 2;

# Of so many messages that are not where they should be it is told what there is.
my $TOLD = 3;

my $cluster = cluster(nodes => 3);
my $brokers = $cluster->bootstrap;

sub writer {
    my ($name, %option) = @_;
    my $writer = { name => $name, next => 0, settled => 0, calls => [], placed => [], errors => [], reports => [] };
    $writer->{topic} = create_topic($cluster->address(1), $name, $PARTITIONS, 3);
    $writer->{kafka} = connected_client(
        brokers         => $brokers,
        on_error        => sub { push @{ $writer->{reports} }, $_[0] },
        %option,
    );
    return $writer;
}

sub produce {
    my ($writer, $count) = @_;
    for (1 .. $count) {
        return if $writer->{next} - $writer->{settled} >= $OUTSTANDING;
        my $i = $writer->{next}++;
        $writer->{kafka}->produce($writer->{topic}, 'key-' . $i % $KEYS, $i, sub {
            my ($result, $error) = @_;
            $writer->{settled}++;
            $writer->{calls}[$i]++;
            return push @{ $writer->{errors} }, $error if defined $error;
            my ($partition, $offset) = @{ $result->{topics}[0]{partitions}[0] }{qw(partition base_offset)};
            $writer->{placed}[$i] = "$partition $offset";
        });
    }
}

my @writers = (writer('idempotent', idempotent => 1), writer('plain', acks => -1));
my $turmoil = Turmoil->start($cluster, $writers[0]{topic}, 3 * $PARTITIONS);
my $seconds = $MESSAGES / $RATE + 300;
my $load;
await('the load', sub {
    my ($done) = @_;
    $load = EV::timer 0, 0.01, sub {
        my $rounds = () = $turmoil->events;
        return $done->() if $rounds >= $ROUNDS && !grep { $_->{next} < $MESSAGES } @writers;
        produce($_, $RATE / 100) for @writers;
    };
}, $seconds);
undef $load;
$turmoil->finish;
my @rounds = $turmoil->events;
note $_ for @rounds;
is scalar(grep { /failed/ } @rounds), 0, 'the nodes were killed, stopped and started';
for my $writer (@writers) {
    my ($error) = await("flush of $writer->{name}", sub { $writer->{kafka}->flush(@_) }, 200);
    is $error, undef, "$writer->{name}: everything is settled";
}

# What there is to know of messages that are not where callbacks were told, from both sides.
sub tell_of {
    my ($writer, @lost) = @_;
    my $topic = $writer->{topic};
    diag scalar(@lost), ' of ', $writer->{next}, " messages, $lost[0] to $lost[-1]; producer ",
        join ' epoch ', @{ $writer->{kafka}{cfg} }{qw(producer_id producer_epoch)};
    diag "the nodes: @rounds";
    my %at = map { split / /, $writer->{placed}[$_] } reverse @lost;
    for my $partition (sort { $a <=> $b } keys %at) {
        diag "the client, partition $partition: $_" for Refusals->story($topic, $partition);
        diag $_ for replicas_story($cluster, $topic, $partition, $at{$partition});
    }
    diag "$_ should be at $writer->{placed}[$_]" for @lost[0 .. (@lost > $TOLD ? $TOLD : @lost) - 1];
    return;
}

for my $writer (@writers) {
    subtest $writer->{name} => sub {
        my ($topic, $total) = @$writer{qw(topic next)};
        my @delivered = grep { $writer->{placed}[$_] } 0 .. $total - 1;
        note "not to be read yet: $_" for await_readable($cluster, $topic);
        my @records = kcat_consume($brokers, $topic, $PARTITIONS);
        my (%copies, %offsets, %at);
        for my $partition (0 .. $PARTITIONS - 1) {
            for my $record (@{ $records[$partition] }) {
                my ($offset, undef, undef, $value) = @$record;
                $copies{$value}++;
                push @{ $offsets{$value}{$partition} }, $offset;
                $at{"$partition $offset"} = $value;
            }
        }
        # A broker that knows a batch again, but no longer where it is, tells no offset.
        my @misplaced = grep { $writer->{placed}[$_] !~ / -1\z/ && ($at{ $writer->{placed}[$_] } // -1) != $_ } @delivered;
        my @lost      = grep { !$copies{$_} } @delivered;
        tell_of($writer, @lost ? @lost : @misplaced) if @lost || @misplaced;
        note sprintf '%d produced, %d delivered, %d failed, %d in the log, %d of them twice or more', $total,
            scalar @delivered, scalar @{ $writer->{errors} }, scalar(map { @$_ } @records),
            scalar grep { $_ > 1 } values %copies;
        my %text;
        $text{$_}++ for @{ $writer->{errors} };
        note "$text{$_} times: $_" for sort keys %text;
        note $_ for @{ $writer->{reports} };
        is scalar(grep { ($writer->{calls}[$_] // 0) != 1 } 0 .. $total - 1), 0, 'each callback was called once';
        is scalar(@lost),      0, 'nothing that was delivered is lost';
        is scalar(@misplaced), 0, 'and is where it was told to be';
        if ($writer->{name} ne 'idempotent') {
            is_deeply [Refusals->unexplained($topic, \%offsets)], [], 'no more is there twice than was refused';
            return;
        }
        is_deeply $writer->{errors}, [], 'nothing failed';
        is scalar(grep { ($copies{$_} // 0) != 1 } @delivered), 0, 'everything is there once';
        my ($disorder, %last) = (0);
        for my $record (map { @$_ } @records) {
            my (undef, undef, $key, $value) = @$record;
            $disorder++ if exists $last{$key} && $last{$key} >= $value;
            $last{$key} = $value;
        }
        is $disorder, 0, 'in order per key';
    };
    await('close', sub { $writer->{kafka}->close(@_) });
}

done_testing;
