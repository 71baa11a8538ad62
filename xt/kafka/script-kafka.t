use v5.14;
use warnings;

# script/kafka: a cluster starts, its nodes die, hang and come back, and
# nothing is left of it at the end.

use File::Temp ();
use Test::More;
use lib 'script/lib';
use KafkaCluster;

my $parent = File::Temp->newdir;
my $dir    = "$parent/cluster";

# kafka(@arguments) -> what script/kafka printed; fails the test when it failed.
sub kafka {
    my (@arguments) = @_;
    open my $run, '-|', $^X, 'script/kafka', @arguments or die "script/kafka: $!";
    my $output = do { local $/; readline $run } // '';
    ok close $run, "script/kafka @arguments" or diag $output;
    return $output;
}

my $started = kafka('start', '--nodes', 3, '--dir', $dir, '--set', 'num.partitions=2');
my ($bootstrap) = $started =~ /^bootstrap (\S+)$/m;
my @addresses = split /,/, $bootstrap;
is @addresses, 3, 'three addresses';
like $started, qr/^dir \Q$dir\E$/m, 'and the folder';
is join(',', sort +KafkaCluster::alive_brokers($_)), '1,2,3', "$_ knows all three" for @addresses;

kafka('topic', 'create', 'one', '--partitions', 6, '--replication', 3, '--dir', $dir);
my $described = kafka('run', 'TopicCommand', '--bootstrap-server', $bootstrap, '--describe', '--topic', 'one');
like $described, qr/PartitionCount: 6\s+ReplicationFactor: 3/, 'the topic is as asked for';

kafka('kill',  2, '--dir', $dir);
kafka('pause', 3, '--dir', $dir);
my $status = kafka('status', '--dir', $dir);
like $status, qr/node 1(?:\s+\S+){2}\s+up\n\s+node 2(?:\s+\S+){2}\s+down\n\s+node 3(?:\s+\S+){2}\s+paused/,
    'one runs, one is dead, one hangs';
is_deeply [KafkaCluster::alive_brokers($addresses[2])], [], 'the one that hangs says nothing';
kafka('resume',  3, '--dir', $dir);
kafka('restart', 2, '--dir', $dir);
is join(',', sort +KafkaCluster::alive_brokers($addresses[0])), '1,2,3', 'all are back';
kafka('change', 1, '--set', 'num.io.threads=3', '--dir', $dir);
is join(',', sort +KafkaCluster::alive_brokers($addresses[0])), '1,2,3', 'one was started with other settings';

my $cluster = KafkaCluster->open($dir);
kafka('stop', '--dir', $dir);
ok !-e $dir, 'the folder is gone';
is_deeply [map { $cluster->node_state($_) } 1 .. 3], ['down', 'down', 'down'], 'and so are the brokers';

# A guarded cluster ends with its owner, even when that is killed; so does its ZooKeeper.
my $under_zookeeper = '2.8.2';
pipe my $read, my $write or die "pipe: $!";
my $owner = fork // die "fork: $!";
if (!$owner) {
    close $read;
    my $guarded = KafkaCluster->start(version => $under_zookeeper, dir => $dir, guard => 1);
    print {$write} $guarded->address(1), "\n";
    close $write;
    sleep;
}
close $write;
chomp(my $address = readline $read);
$cluster = KafkaCluster->open($dir);
is_deeply [KafkaCluster::alive_brokers($address)], [1], "Kafka $under_zookeeper runs for another process";
kill KILL => $owner;
waitpid $owner, 0;
my $deadline = time + 30;
select undef, undef, undef, 0.05 while -e $dir && time < $deadline;
ok !-e $dir, 'its folder went with its owner';
is $cluster->node_state(1), 'down', 'and so did the broker';
ok !IO::Socket::INET->new(PeerAddr => "127.0.0.1:$cluster->{zookeeper}{port}"), 'and its ZooKeeper';

done_testing;
