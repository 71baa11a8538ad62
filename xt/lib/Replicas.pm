package Replicas;

# What the nodes of a cluster have on disk of a partition: for a test that misses records there.

use v5.14;
use warnings;

use Exporter qw(import);
use KafkaCluster;

our @EXPORT = qw(replicas_story);

# Batches before and after the one that is looked for.
my $AROUND = 3;

# replicas_story($cluster, $topic, $partition, $offset) -> lines: for each node the batches around that offset, where its
# log ends, and what it knows of leaders and of what is replicated.
sub replicas_story {
    my ($cluster, $topic, $partition, $offset) = @_;
    # As it is now: another process may have started nodes.
    $cluster = KafkaCluster->open($cluster->dir);
    return map { _node_story($cluster, $_, $topic, $partition, $offset) } $cluster->nodes;
}

sub _node_story {
    my ($cluster, $node, $topic, $partition, $offset) = @_;
    my $data     = $cluster->dir . "/node$node/data";
    my @batches  = map { _batches($cluster, $_) } sort glob "$data/$topic-$partition/*.log";
    my ($at)     = grep { _last_offset($batches[$_]) >= $offset } 0 .. $#batches;
    my $from     = ($at // @batches) - $AROUND;
    my $to       = ($at // $#batches) + $AROUND;
    $from        = 0         if $from < 0;
    $to          = $#batches if $to > $#batches;
    my $end         = @batches ? _last_offset($batches[-1]) : 'nothing';
    my ($committed) = map { /^\Q$topic\E $partition (\d+)$/ } _lines("$data/replication-offset-checkpoint");
    my @epochs      = _lines("$data/$topic-$partition/leader-epoch-checkpoint");
    return (
        "node $node, " . $cluster->node_state($node) . ": $topic-$partition ends with $end in " . @batches . ' batches, replicated up to '
            . ($committed // 'nobody knows') . ' when that was last written down; leader epochs begin at '
            . join(', ', map { join ' from ', split } @epochs[2 .. $#epochs]),
        map { "  $_" } @batches[$from .. $to],
    );
}

sub _last_offset { my ($batch) = @_; return $batch =~ /lastOffset: (\d+)/ ? $1 : -1 }

# One line each: offsets, sequence numbers, producer, leader epoch.
sub _batches {
    my ($cluster, $file) = @_;
    open my $run, '-|', KafkaCluster::java_command($cluster->version, 'DumpLogSegments', '--files', $file) or die "java: $!";
    return map { s/ isTransactional: .*//rs } grep { /^baseOffset: / } readline $run;
}

sub _lines {
    my ($file) = @_;
    open my $in, '<', $file or return;
    chomp(my @lines = readline $in);
    return @lines;
}

1;
