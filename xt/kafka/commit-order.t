use v5.14;
use warnings;

use lib 'xt/lib', 't/lib';

use EV;
use POSIX ();
use Test::More;

use Inside;
use RealGroups qw(group_brokers described);
use RealKafka;

# A commit after every record on three real nodes, while the group's coordinator is killed
# or hangs: what is stored in the end is the highest offset whose commit was acknowledged, as
# Java's tool sees it.
#
# COMMIT_ORDER_ROUNDS: how many rounds (2: one of each kind); COMMIT_ORDER_RECORDS: in each
# (3000); KAFKA_VERSION=3.9.1 for another version.

my $VERSION = $ENV{KAFKA_VERSION}        // $KafkaCluster::NEWEST;
my $ROUNDS  = $ENV{COMMIT_ORDER_ROUNDS}  // 2;
my $RECORDS = $ENV{COMMIT_ORDER_RECORDS} // 3000;

# Seconds that a node stays dead, and that it hangs: until the others have given it up, and
# its clients too.
my %SECONDS = (kill => 3, pause => 14);

my $cluster = cluster(version => $VERSION, nodes => 3);
my $brokers = group_brokers($cluster->bootstrap);
my ($entry) = split /,/, $brokers;

# In a process of its own, which holds nobody up. The callback is called when all is back.
sub disturb {
    my ($how, $node, $back) = @_;
    my ($dir, $undo) = ($cluster->dir, $how eq 'kill' ? 'restart_node' : 'resume_node');
    # What another process has started again only a new look knows.
    my $now = KafkaCluster->open($dir);
    $now->can("${how}_node")->($now, $node);
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        sleep $SECONDS{$how};
        eval { KafkaCluster->open($dir)->$undo($node); 1 } or warn $@;
        POSIX::_exit(0);
    }
    return EV::child $pid, 0, $back;
}

sub fill {
    my ($topic) = @_;
    my $producer = connected_client(brokers => $brokers);
    await("$RECORDS records", sub {
        my ($done) = @_;
        $producer->produce_many([map { [$topic, undef, "v$_", { partition => 0 }] } 1 .. $RECORDS], $done);
    });
    return $producer->close;
}

sub round_of {
    my ($number, $how, $protocol) = @_;
    my $topic = create_topic($entry, "commit-order-$number", 1, 3);
    my $group = "$topic-g";
    fill($topic);
    my ($acknowledged, $told, $delivered, $is_back, @failed, $kafka, $child, $finished) = (0, 0, 0, 0);
    $kafka = connected_client(
        brokers    => $brokers, fetch_max_bytes => 3000, on_notice => sub { note "notice: $_[0]" },
        on_error   => sub { note "error: @_" },
        on_message => sub {
            my $offset = $_[2] + 1;
            if (++$delivered == int $RECORDS / 3) {
                my $node = Inside::coordinator_node($kafka, group => $group);
                note "$how node $node";
                $child = disturb($how, $node, sub { $is_back = 1; $finished->() if $told >= $RECORDS });
            }
            $kafka->commit(sub {
                if   (defined $_[0])            { push @failed, $_[0] }
                elsif ($offset > $acknowledged) { $acknowledged = $offset }
                $finished->() if ++$told >= $RECORDS && $is_back;
            });
        },
    );
    await('all commits', sub {
        ($finished) = @_;
        $kafka->subscribe($topic, group_id => $group, auto_commit => 0, group_protocol => $protocol);
    });
    is $acknowledged, $RECORDS, "round $number ($how, $protocol): the last commit is acknowledged"
        or diag join "\n", @failed[0 .. ($#failed > 4 ? 4 : $#failed)];
    is described($VERSION, $group)->{"$topic:0"}, $acknowledged, 'and it is what is stored';
    await('leaving', sub { $kafka->unsubscribe(@_) });
    $kafka->close;
    return;
}

my @protocols = $VERSION ge '4' ? qw(classic consumer) : 'classic';
for my $number (1 .. $ROUNDS) {
    subtest "round $number" => sub { round_of($number, $number % 2 ? 'kill' : 'pause', $protocols[$number / 2 % @protocols]) };
}
$cluster->stop;

done_testing;
