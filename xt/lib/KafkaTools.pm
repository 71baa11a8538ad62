package KafkaTools;
use v5.14;
use warnings;

# Kafka's own command-line tools, all in one Java process, which takes seconds to start.

use Carp           qw(croak);
use File::Basename qw(dirname);
use IPC::Open2     qw(open2);
use lib dirname(__FILE__) . '/../../script/lib';
use KafkaCluster;

# What the shell scripts of Kafka's distribution start.
my %CLASS = (
    'kafka-topics'              => 'org.apache.kafka.tools.TopicCommand',
    'kafka-configs'             => 'kafka.admin.ConfigCommand',
    'kafka-consumer-groups'     => 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
    'kafka-share-groups'        => 'org.apache.kafka.tools.consumer.group.ShareGroupCommand',
    'kafka-groups'              => 'org.apache.kafka.tools.GroupsCommand',
    'kafka-acls'                => 'org.apache.kafka.tools.AclCommand',
    'kafka-get-offsets'         => 'org.apache.kafka.tools.GetOffsetShell',
    'kafka-delete-records'      => 'org.apache.kafka.tools.DeleteRecordsCommand',
    'kafka-leader-election'     => 'org.apache.kafka.tools.LeaderElectionCommand',
    'kafka-log-dirs'            => 'org.apache.kafka.tools.LogDirsCommand',
    'kafka-reassign-partitions' => 'org.apache.kafka.tools.reassign.ReassignPartitionsCommand',
    'kafka-transactions'        => 'org.apache.kafka.tools.TransactionsCommand',
    'kafka-features'            => 'org.apache.kafka.tools.FeatureCommand',
    'kafka-metadata-quorum'     => 'org.apache.kafka.tools.MetadataQuorumCommand',
    'kafka-cluster'             => 'org.apache.kafka.tools.ClusterTool',
    'kafka-client-metrics'      => 'org.apache.kafka.tools.ClientMetricsCommand',
);

# start($version) -> the process.
sub start {
    my ($class, $version) = @_;
    my ($in, $out);
    my $pid = open2($out, $in, KafkaCluster::java_command($version, dirname(__FILE__) . '/Tools.java'));
    return bless { pid => $pid, in => $in, out => $out }, $class;
}

# run($tool, @arguments) -> what it has printed.
sub run {
    my ($self, $tool, @arguments) = @_;
    my $class = $CLASS{$tool} or croak "no tool $tool";
    my ($in, $out) = @$self{qw(in out)};
    local $SIG{PIPE} = 'IGNORE';
    print {$in} join("\t", $class, @arguments), "\n";
    $in->flush;
    my $size = readline $out // croak "$tool: Java has ended";
    read $out, my ($printed), $size;
    # A tool that has been ended says how.
    return $printed =~ s{^(?:null\n)?Tools\$Ended\n}{}mr;
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    close $self->{in};
    waitpid $self->{pid}, 0;
    return;
}

1;
