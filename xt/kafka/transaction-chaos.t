use v5.14;
use warnings;

# Three nodes, one of which coordinates everybody's transactions: it is killed and
# stopped in turn, and so is whoever coordinates after it, while two producers write
# one transaction after the other. Readers of committed records, one of them all
# the time, see what was committed once, in order per key, and nothing else.
# KAFKA_TXN_ROUNDS says how often (2: killed once, stopped once).

use EV;
use lib 'xt/lib';
use RealKafka;
use Test::More;
use Turmoil;

my $PARTITIONS = 3;
my $KEYS       = 20;
my $WRITERS    = 2;
my $ROUNDS     = $ENV{KAFKA_TXN_ROUNDS} || 2;

# Of so many transactions one is aborted.
my $ABORTED = 5;

# Seconds that a transaction may take. A broker that hangs costs a request its whole
# request_timeout, 30 s, and then somebody else has to be found.
my $PATIENCE = 120;

my $cluster = cluster(nodes => 3, set => { 'transaction.state.log.num.partitions' => 1 });
my $brokers = $cluster->bootstrap;
my $topic   = create_topic($cluster->address(1), 'txn-chaos', $PARTITIONS, 3);

my @writers = map { writer($_) } 1 .. $WRITERS;
my $reader  = reader();
my $turmoil = Turmoil->start($cluster, '__transaction_state', 3);

await('the turmoil', sub {
    my ($done) = @_;
    my $at_end = sub { $done->() unless grep { !$_->{ended} } @writers };
    transactions($_, $at_end) for @writers;
}, 120 + 60 * $ROUNDS);
my @events = $turmoil->events;
$turmoil->finish;
note $_ for @events;
is scalar(grep { /failed/ } @events), 0, 'coordinators were killed, stopped and started';
cmp_ok scalar(grep { /^killed/ } @events), '>=', 1, 'one was killed';
cmp_ok scalar(grep { /^stopped/ } @events), '>=', 1, 'and one was stopped';

for my $writer (@writers) {
    subtest $writer->{id} => sub {
        note sprintf '%d transactions committed, %d aborted, the longest took %.1f s',
            scalar @{ $writer->{committed} }, @$writer{qw(aborted longest)};
        is_deeply [keys %{ $writer->{refused} }], [], 'every commit was done' or diag explain $writer->{refused};
        is scalar(grep { $_ != 1 } @{ $writer->{calls} }), 0, 'each callback was called once';
        is_deeply [grep { !/ lost: / } @{ $writer->{reports} }], [], 'nothing but lost brokers was reported';
        cmp_ok $writer->{longest}, '<', $PATIENCE, 'none took longer than its coordinator may';
        cmp_ok $writer->{kafka}{cfg}{producer_epoch}, '>=', scalar @{ $writer->{committed} }, 'each had an epoch of its own (KIP-890)';
    };
    # The end of the last transaction is written before the id can be had again.
    await('close', sub { $writer->{kafka}->close(@_) });
    my $next = connected_client(brokers => $brokers, transactional_id => $writer->{id});
    await('close', sub { $next->close(@_) });
}

my %wanted = map { $_ => 1 } map { map { @$_ } @{ $_->{committed} } } @writers;
my $look;
await('the last records', sub {
    my ($done) = @_;
    $look = EV::timer 0, 0.05, sub { $done->() if keys %{ $reader->{seen} } >= keys %wanted };
});
undef $look;
undef $reader->{poll};
await('close', sub { $reader->{kafka}->close(@_) });

my @kcat;
for my $line (split /\n/, kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q',
    '-X', 'isolation.level=read_committed', '-f', '%p %k %s\n'))
{
    my ($partition, $key, $value) = split / /, $line;
    push @{ $kcat[$partition] }, [$key, $value];
}
for (['EV::Kafka, that read all the time' => $reader->{records}], ['kcat, afterwards' => \@kcat]) {
    my ($name, $partitions) = @$_;
    my (%times, %last);
    my $disorder = 0;
    for my $record (map { @{ $_ || [] } } @$partitions) {
        my ($key, $value) = @$record;
        $times{$value}++;
        my ($number) = $value =~ /(\d+)\z/;
        $disorder++ if ($last{$key} // -1) >= $number;
        $last{$key} = $number;
    }
    my $count = keys %wanted;
    is scalar(grep { !$times{$_} } keys %wanted), 0, "$name: each of $count committed records is there";
    is scalar(grep { $_ > 1 } values %times), 0, 'none twice';
    is scalar(grep { !$wanted{$_} } keys %times), 0, 'none of an aborted transaction';
    is $disorder, 0, 'in order per key';
}
done_testing;

sub writer {
    my ($number) = @_;
    my $id     = "$topic-$number";
    my $writer = {
        id => $id, next => 0, count => 0, aborted => 0, longest => 0,
        committed => [], calls => [], reports => [], refused => {},
    };
    $writer->{kafka} = connected_client(brokers => $brokers, transactional_id => $id,
        transaction_timeout => 1000 * $PATIENCE, on_error => sub { push @{ $writer->{reports} }, $_[0] });
    return $writer;
}

# One after the other, until the turmoil has been through its rounds.
sub transactions {
    my ($writer, $at_end) = @_;
    if ((() = $turmoil->events) >= $ROUNDS) {
        $writer->{ended} = 1;
        return $at_end->();
    }
    my $kafka  = $writer->{kafka};
    my $began  = EV::time;
    my $aborts = ++$writer->{count} % $ABORTED == 0;
    my @values;
    $kafka->begin_transaction;
    for (1 .. 1 + rand 50) {
        my $i = $writer->{next}++;
        push @values, "$writer->{id}-$i";
        $kafka->produce($topic, "$writer->{id}-" . $i % $KEYS, $values[-1], sub { $writer->{calls}[$i]++ });
    }
    my $next = sub {
        my ($is_committed) = @_;
        my $took = EV::time - $began;
        $writer->{longest} = $took if $took > $writer->{longest};
        if ($is_committed) { push @{ $writer->{committed} }, \@values }
        else               { $writer->{aborted}++ }
        return transactions($writer, $at_end);
    };
    my $abort;
    my $ended = sub {
        my (undef, $error) = @_;
        $writer->{refused}{$error}++ if defined $error;
        return defined $error ? $abort->() : $next->(!$aborts);
    };
    # What was not known after the commit is known after the abort.
    $abort = sub {
        return $kafka->abort_transaction(sub {
            my (undef, $error) = @_;
            return $abort->() if defined $error && $error =~ /call abort_transaction again\z/;
            return $next->(defined $error && $error =~ /was committed before\z/);
        });
    };
    return $kafka->commit_transaction($ended) unless $aborts;
    # Of records that have arrived, and of records that are under way.
    return $kafka->flush(sub { $kafka->abort_transaction($ended) }) if $writer->{count} % 2;
    $kafka->flush;
    return $kafka->abort_transaction($ended);
}

# Who reads committed records all the time.
sub reader {
    my $reader = { seen => {}, records => [map { [] } 1 .. $PARTITIONS] };
    $reader->{kafka} = connected_client(
        brokers         => $brokers,
        isolation_level => 'read_committed',
        on_error        => sub { note "reader: @_" },
        on_message      => sub {
            my (undef, $partition, undef, $key, $value) = @_;
            $reader->{seen}{$value} = 1;
            push @{ $reader->{records}[$partition] }, [$key, $value];
        },
    );
    $reader->{kafka}->assign([map { { topic => $topic, partition => $_, offset => 0 } } 0 .. $PARTITIONS - 1]);
    $reader->{poll} = EV::timer 0, 0.02, sub { $reader->{kafka}->poll };
    return $reader;
}
