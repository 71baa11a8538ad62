use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use List::Util qw(sum0);
use TestKafka;
use TransactionTest ();

# An exactly-once loop on brokers that refuse, hang up, hang, die and come back, while
# leaders and coordinators move. Readers of committed records see each copied record once,
# in order; every callback is called once.
my $RECORDS    = $ENV{TEST_RECORDS} || 400;
my $PARTITIONS = 3;

# Of one transaction, so that it takes a good number of them however fast the machine is.
my $POLLS = 3;

# Seconds of trouble at the most: then the loop must come to its end.
my $TROUBLE = 10;

my $seed = $ENV{TEST_SEED} || 20_261_124;
srand $seed;
note "TEST_SEED=$seed";

my $mock = TransactionTest::mock(brokers => 3, replication_factor => 3);
$mock->create_topic($_ => $PARTITIONS) for qw(in out plain);
my %input;
for my $n (1 .. $RECORDS) {
    my $partition = int rand $PARTITIONS;
    push @{ $input{$partition} }, $n;
    $mock->append(in => $partition, { key => $partition, value => $n });
}

# --- the program ----------------------------------------------------------------------

my (%calls, $is_over, $is_done, $plain, %acknowledged);
my %count = map { $_ => 0 } qw(clients transactions aborts);

# A callback that is to be called once.
sub once {
    my ($what, $cb) = @_;
    my $call = $calls{ keys %calls } = { what => $what, times => 0 };
    return sub { $call->{times}++; $cb->(@_) if $cb };
}

sub later {
    my ($after, $code) = @_;
    my $timer;
    $timer = EV::timer $after, 0, sub { undef $timer; $code->() };
    return;
}

sub position_of {
    my ($partition) = @_;
    return ($mock->offsets('g')->{"in:$partition"} || { offset => 0 })->{offset};
}

sub copied { return sum0 map { position_of($_) } 0 .. $PARTITIONS - 1 }

# A client from its start until it is done, or can only be closed; then the next one.
sub run_client {
    my ($kafka, $poll, $begin);
    $count{clients}++;
    $kafka = client(
        brokers => $mock->bootstrap, transactional_id => 'copy', request_timeout => 0.3, batch_size => 200,
        fetch_max_wait_ms => 5, fetch_max_bytes => 400, linger_ms => 1,
        on_message => sub {
            my (undef, undef, undef, $key, $value) = @_;
            $kafka->produce('out', $key, $value, once("copy of $value"));
        },
    );
    $kafka->assign([map { { topic => 'in', partition => $_, offset => position_of($_) } } 0 .. $PARTITIONS - 1]);

    my $end = sub {
        undef $poll;
        later(0, sub {
            $kafka->close;
            undef $kafka;
            return $is_over ? $is_done = 1 : run_client();
        });
    };
    my $abort = sub {
        $count{aborts}++;
        $kafka->abort_transaction(once('abort', sub { defined $_[1] ? $end->() : $begin->() }));
    };
    my $commit = sub {
        undef $poll;
        $kafka->flush(once('flush')) if rand() < 0.2;
        return $abort->() if rand() < 0.1;
        $kafka->send_offsets_to_transaction('g', once('offsets'));
        return $abort->() if rand() < 0.1;
        $kafka->commit_transaction(once('commit', sub {
            my (undef, $error) = @_;
            return $begin->() unless defined $error;
            return $error =~ /call abort_transaction\z/ ? $abort->() : $end->();
        }));
    };
    $begin = sub {
        return $end->() if $is_over;
        produce_plain($kafka) if rand() < 0.5;
        eval { $kafka->begin_transaction; 1 } or return $end->();
        $count{transactions}++;
        my $polls = 0;
        $poll = EV::timer 0, 0.003, sub { $kafka->poll if $polls++ < $POLLS };
        later(0.005 + rand 0.03, sub { eval { $commit->(); 1 } or $end->() });
    };
    $kafka->connect(sub { defined $_[1] ? $end->() : $begin->() });
    return;
}

# A record outside of transactions.
sub produce_plain {
    my ($kafka) = @_;
    my $n = ++$plain;
    $kafka->produce('plain', $n % 2, $n, once("plain $n", sub { $acknowledged{$n} = 1 unless defined $_[1] }));
    $kafka->_flush_all_batches if rand() < 0.5;
    return;
}

# --- the trouble ----------------------------------------------------------------------

# Without 120 of EndTxn: a coordinator that has committed, and whose answer was lost,
# never says it.
my %CODES = (
    Produce            => [3, 5, 6, 10, 19, 45, 59, 87, 120, (51) x (2 * TransactionTest::IS_IMPLICIT)],
    AddPartitionsToTxn => [3, 14, 15, 16, 29, 51, 51, 120],
    AddOffsetsToTxn    => [14, 15, 16, 30, 51, 120],
    TxnOffsetCommit    => [14, 15, 16, 22, 120],
    EndTxn             => [14, 15, 16, 47, 51, 51],
    InitProducerId     => [14, 15, 16, 51],
    FindCoordinator    => [15],
    Fetch              => [6, 9],
);

# No broker says so of a batch that it has, and that is sent again: outside of
# transactions it would be believed.
my %LOST_COUNT = (45 => 1, 59 => 1);

my @APIS = (sort(keys %CODES), 'Metadata');
# The broker that is stopped.
my $down;

sub one_of { return $_[rand @_] }
sub one_that_is_up { return one_of(grep { $_ != ($down // -1) } 0 .. 2) }

# One rule at a time: two of them together do what no broker does.
sub fault { $mock->clear_faults; $mock->fault(@_); return }

my @TROUBLE = (
    (sub {
        my $api = one_of(sort keys %CODES);
        my $code = one_of(@{ $CODES{$api} });
        fault(api => $api, error => $code, times => 1 + int rand 2, $LOST_COUNT{$code} ? (topic => 'out') : ());
    }) x 4,
    sub { fault(api => 'Produce', error => one_of(7, 20), applied => 1) },
    sub { fault(api => one_of(@APIS), drop => 1, applied => int rand 2) },
    # A Produce request that hangs is waited for, half a minute.
    sub { fault(api => one_of(grep { $_ ne 'Produce' } @APIS), hang => 1, applied => int rand 2) if rand() < 0.05 },
    sub { fault(api => one_of(@APIS), delay_ms => 5 + rand 60) },
    sub { $mock->set_leader(one_of('out', 'plain'), int rand $PARTITIONS, one_that_is_up()) },
    sub { $mock->set_coordinator(transaction => 'copy', one_that_is_up()) },
    sub { $mock->set_coordinator(group => 'g', one_that_is_up()) },
);
my $trouble = EV::timer 0.01, 0.03, sub { one_of(@TROUBLE)->() };
my $outage = EV::timer 0.3, 0.5, sub {
    if (defined $down) { $mock->start_broker($down); undef $down }
    else               { $mock->stop_broker($down = int rand 3) }
};
sub calm {
    undef $trouble;
    undef $outage;
    $mock->start_broker($down) if defined $down;
    undef $down;
    $mock->clear_faults;
    return;
}
my $calm = EV::timer $TROUBLE, 0, \&calm;

run_client();
wait_until { copied() == $RECORDS } 'the copy';
undef $calm;
calm();
$is_over = 1;
wait_until { $is_done } 'the end of the program';
turns;

# --- what there is --------------------------------------------------------------------

sub visible {
    my ($topic, $partition) = @_;
    return $mock->records($topic, $partition, isolation_level => 'read_committed');
}

is_deeply [map { "$_->{what}: $_->{times}" } grep { $_->{times} != 1 } values %calls], [], 'every callback was called once';
my %output;
push @{ $output{ $_->{key} } }, $_->{value} for map { visible(out => $_) } 0 .. $PARTITIONS - 1;
is_deeply \%output, \%input, 'each record is there once, in order';

my %plain;
for my $partition (0 .. $PARTITIONS - 1) {
    my @values = map { $_->{value} } visible(plain => $partition);
    $plain{$_}++ for @values;
    is_deeply \@values, [sort { $a <=> $b } @values], "plain records of partition $partition are in order";
}
is_deeply [grep { $plain{$_} != 1 } keys %plain], [], 'none of them twice';
is_deeply [grep { !$plain{$_} } keys %acknowledged], [], 'and all that were acknowledged';
cmp_ok $count{transactions}, '>', 5, 'enough has been done to mean something';
note join ', ', map { "$count{$_} $_" } sort keys %count;

done_testing;
