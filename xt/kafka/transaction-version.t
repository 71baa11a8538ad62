use v5.14;
use warnings;

# A live cluster whose feature transaction.version goes from 0 to 2 (KIP-890) while a producer writes one transaction
# after the other: each is there once. Brokers tell of features when a connection is made, so the change is followed by
# the restart of the node that coordinates the producer's transactions.

use EV;
use lib 'xt/lib';
use POSIX ();
use RealKafka;
use Test::More;

my $cluster = cluster(nodes => 3);
my $brokers = $cluster->bootstrap;
my $topic   = create_topic($cluster->address(1), 'transaction-version', 3, 3);
my $admin   = connected_client(brokers => $brokers);

sub agree_on {
    my ($level, $type) = @_;
    await("transaction.version $level", sub {
        my ($done) = @_;
        $admin->update_features([{ feature => 'transaction.version', level => $level, type => $type }], sub {
            my ($result, $error) = @_;
            is $error, undef, "transaction.version is $level";
            $done->();
        });
    });
    return;
}

agree_on(0, 'safe_downgrade');
my (@errors, @values, $is_over, $has_ended);
my $kafka = connected_client(brokers => $brokers, transactional_id => 'x', on_error => sub { push @errors, $_[0] });
my $coordinator = $kafka->{coordinators}->node_id(txn => 'x');

# Values of what was committed, and under which epoch.
my ($next, @committed) = (0);
sub step {
    return $has_ended = 1 if $is_over;
    my @now   = map { $next++ } 1 .. 1 + rand 20;
    my $epoch = $kafka->{cfg}{producer_epoch};
    $kafka->begin_transaction;
    $kafka->produce($topic, $_ % 7, $_) for @now;
    $kafka->commit_transaction(sub {
        my (undef, $error) = @_;
        if (defined $error) { fail "commit: $error"; return $has_ended = 1 }
        push @committed, { values => \@now, brought => $kafka->{cfg}{producer_epoch} - $epoch };
        step();
    });
    return;
}

# Until so many transactions in a row have brought an epoch each, or none.
sub until_brought {
    my ($what, $brought) = @_;
    my ($from, $timer) = (scalar @committed);
    await($what, sub {
        my ($done) = @_;
        $timer = EV::timer 0, 0.05, sub {
            my @last = @committed > $from + 5 ? @committed[-5 .. -1] : ();
            $done->() if $has_ended || @last && !grep { $_->{brought} != $brought } @last;
        };
    }, 120);
    undef $timer;
    return;
}

# In a process of its own, so that the producer is not held up by it.
sub restart {
    my ($node_id) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        eval { KafkaCluster->open($cluster->dir)->change_node($node_id) };
        POSIX::_exit($@ ? 1 : 0);
    }
    my ($status, $child);
    await("node $node_id", sub { my ($done) = @_; $child = EV::child $pid, 0, sub { $status = $_[0]->rstatus; $done->() } }, 120);
    is $status, 0, "node $node_id was restarted";
    return;
}

step();
until_brought('version 1', 0);
agree_on(2);
restart($coordinator);
until_brought('version 2', 1);
$is_over = 1;
my $timer;
await('the end', sub { my ($done) = @_; $timer = EV::timer 0, 0.05, sub { $done->() if $has_ended } }, 120);
undef $timer;
is_deeply [grep { !/ lost: / } @errors], [], 'nothing but lost brokers was reported';

my %times;
$times{$_}++ for split /\n/, kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q', '-X', 'isolation.level=read_committed', '-f', '%s\n');
my @all = map { @{ $_->{values} } } @committed;
note scalar(@committed), ' transactions, ', scalar(@all), ' records';
is scalar(grep { !$times{$_} } @all), 0, 'none is lost';
is scalar(grep { $_ > 1 } values %times), 0, 'none is there twice';
is scalar(keys %times), scalar(@all), 'nothing else is there';

done_testing;
