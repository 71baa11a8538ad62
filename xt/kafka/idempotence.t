use v5.14;
use warnings;

# Three nodes whose leaders are killed, stopped and started again in turn, while
# two clients write: one is idempotent, and every message that it was told to be
# delivered is there once, in order per key; the other is not, and with acks -1 it
# loses none, and doubles none but what a broker has refused. EV_KAFKA_MESSAGES says
# how many each of them writes at least.

use EV;
use lib 'xt/lib', 't/lib';
use RealKafka;
use Refusals;
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

# As often is the log read at the most, a second apart, until what was delivered is there.
my $READINGS = 30;

my $cluster = cluster(nodes => 3);
my $brokers = $cluster->bootstrap;

sub writer {
    my ($name, %option) = @_;
    my $writer = { name => $name, next => 0, settled => 0, calls => [], delivered => [], errors => [], reports => [] };
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
            my (undef, $error) = @_;
            $writer->{settled}++;
            $writer->{calls}[$i]++;
            if (defined $error) { push @{ $writer->{errors} }, $error }
            else                { $writer->{delivered}[$i] = 1 }
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
my @rounds = $turmoil->events;
note $_ for @rounds;
is scalar(grep { /failed/ } @rounds), 0, 'the nodes were killed, stopped and started';
$turmoil->finish;
for my $writer (@writers) {
    my ($error) = await("flush of $writer->{name}", sub { $writer->{kafka}->flush(@_) }, 200);
    is $error, undef, "$writer->{name}: everything is settled";
}

# What kcat reads, once it reads all of these. A node that has just become a leader does not
# know yet how far its log is replicated, and shows less of it until the others have fetched.
sub log_of {
    my ($topic, @values) = @_;
    my @records;
    for (1 .. $READINGS) {
        @records = kcat_consume($brokers, $topic, $PARTITIONS);
        my %there = map { $_->[3] => 1 } map { @$_ } @records;
        my @missing = grep { !$there{$_} } @values or last;
        diag scalar(@missing), ' of ', scalar(@values), " are not to be read (yet): $missing[0] to $missing[-1]; partitions end with ",
            join ', ', map { @$_ ? "$_->[-1][3] at $_->[-1][0]" : 'nothing' } @records if $_ == 1;
        sleep 1;
    }
    return @records;
}

for my $writer (@writers) {
    subtest $writer->{name} => sub {
        my ($topic, $total) = @$writer{qw(topic next)};
        my @delivered = grep { $writer->{delivered}[$_] } 0 .. $total - 1;
        my @records   = log_of($topic, @delivered);
        my (%copies, %offsets);
        for my $partition (0 .. $PARTITIONS - 1) {
            for my $record (@{ $records[$partition] }) {
                $copies{ $record->[3] }++;
                push @{ $offsets{ $record->[3] }{$partition} }, $record->[0];
            }
        }
        note sprintf '%d produced, %d delivered, %d failed, %d in the log, %d of them twice or more', $total,
            scalar @delivered, scalar @{ $writer->{errors} }, scalar(map { @$_ } @records),
            scalar grep { $_ > 1 } values %copies;
        my %text;
        $text{$_}++ for @{ $writer->{errors} };
        note "$text{$_} times: $_" for sort keys %text;
        note $_ for @{ $writer->{reports} };
        is scalar(grep { ($writer->{calls}[$_] // 0) != 1 } 0 .. $total - 1), 0, 'each callback was called once';
        is scalar(grep { !$copies{$_} } @delivered), 0, 'nothing that was delivered is lost';
        if ($writer->{name} ne 'idempotent') {
            is_deeply [Refusals->unexplained($topic, \%offsets)], [], 'no more is there twice than was refused';
            return;
        }
        is_deeply $writer->{errors}, [], 'nothing failed';
        is scalar(grep { $copies{$_} != 1 } @delivered), 0, 'everything is there once';
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
