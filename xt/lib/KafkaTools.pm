package KafkaTools;
use v5.14;
use warnings;

# Kafka's own command-line tools, all in one Java process, which takes seconds to start.

use Carp           qw(croak);
use File::Basename qw(dirname);
use IPC::Open2     qw(open2);
use lib dirname(__FILE__) . '/../../script/lib';
use KafkaJars;

# What the shell scripts of Kafka's distribution start.
my %CLASS = (
    'kafka-topics'              => 'TopicCommand',
    'kafka-configs'             => 'ConfigCommand',
    'kafka-consumer-groups'     => 'ConsumerGroupCommand',
    'kafka-share-groups'        => 'ShareGroupCommand',
    'kafka-groups'              => 'GroupsCommand',
    'kafka-acls'                => 'AclCommand',
    'kafka-get-offsets'         => 'GetOffsetShell',
    'kafka-delete-records'      => 'DeleteRecordsCommand',
    'kafka-leader-election'     => 'LeaderElectionCommand',
    'kafka-log-dirs'            => 'LogDirsCommand',
    'kafka-reassign-partitions' => 'ReassignPartitionsCommand',
    'kafka-transactions'        => 'TransactionsCommand',
    'kafka-features'            => 'FeatureCommand',
    'kafka-metadata-quorum'     => 'MetadataQuorumCommand',
    'kafka-cluster'             => 'ClusterTool',
    'kafka-client-metrics'      => 'ClientMetricsCommand',
);

# start($version) -> the process.
sub start {
    my ($class, $version) = @_;
    my ($in, $out);
    my $pid = open2($out, $in, KafkaJars::java_command($version, dirname(__FILE__) . '/Tools.java'));
    return bless { version => $version, pid => $pid, in => $in, out => $out }, $class;
}

# run($tool, @arguments) -> what it has printed.
sub run {
    my ($self, $tool, @arguments) = @_;
    my $class = KafkaJars::class_name($self->{version}, $CLASS{$tool} // croak "no tool $tool");
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
