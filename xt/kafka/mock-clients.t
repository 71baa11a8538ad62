use v5.14;
use warnings;

# Clients that are not ours take EV::Kafka::Mock for a cluster: librdkafka, as kcat, and Java's.

use EV;
use lib 'xt/lib';
use EV::Kafka::Mock;
use File::Temp;
use RealKafka;
use Test::More;

sub start_kcat { return start('kcat', @_) }

# Starts a program, whose output goes to the hash while the loop runs.
sub start {
    my (@command) = @_;
    my $pid = open my $output, '-|', @command or die "$command[0]: $!";
    # Closing the handle would wait for the child, and take its status away from EV.
    my $run = { pid => $pid, output => $output, text => '' };
    $run->{reading} = EV::io $output, EV::READ, sub {
        sysread $output, $run->{text}, 65536, length $run->{text} or delete $run->{reading};
    };
    # EV reaps all children: this is the way to learn how one has ended.
    $run->{ending} = EV::child $pid, 0, sub { $run->{status} = $_[0]->rstatus };
    return $run;
}

# How a program has ended, when it has.
sub ended {
    my ($run) = @_;
    reached('the end of a program', sub { defined $run->{status} && !$run->{reading} });
    delete $run->{ending};
    return $run->{status};
}

# Runs the loop until the condition holds.
sub reached {
    my ($what, $condition) = @_;
    my $watch;
    await($what, sub {
        my ($done) = @_;
        $watch = EV::timer 0, 0.01, sub { $done->() if $condition->() };
    });
    return;
}

my $mock = EV::Kafka::Mock->new(brokers => 3, partitions => 4);
$mock->create_topic('t');

my @lines = map { "k$_:v$_" } 1 .. 500;
my $input = File::Temp->new;
print {$input} map { "$_\n" } @lines;
close $input;

my $producer = start_kcat('-P', '-b', $mock->bootstrap, '-t', 't', '-K', ':', '-l', "$input",
    '-X', 'enable.idempotence=true', '-X', 'batch.num.messages=20');
is ended($producer), 0, 'an idempotent producer is content';
ok $mock->request_count('InitProducerId'), 'with a producer id';
my @stored = map { "$_->{key}:$_->{value}" } map { $mock->records(t => $_) } 0 .. 3;
is_deeply [sort @stored], [sort @lines], 'everything is there once';

my @consumers = map {
    start_kcat('-b', $mock->bootstrap, '-G', 'g', '-u', '-q', '-f', "%k:%s\\n",
        '-X', 'auto.offset.reset=earliest', '-X', 'session.timeout.ms=6000', '-X', 'heartbeat.interval.ms=100', 't')
} 1, 2;
reached('two members', sub {
    my $group = $mock->group('g') or return;
    return $group->{state} eq 'Stable' && 2 == grep { @{ $_->{assigned} } } @{ $group->{members} };
});
my @assigned = map { @{ $_->{assigned} } } @{ $mock->group('g')->{members} };
is_deeply [sort @assigned], ['t:0', 't:1', 't:2', 't:3'], 'two members share the partitions';
reached('all records', sub { 500 <= map { split /\n/, $_->{text} } @consumers });
my %seen = map { $_ => 1 } map { split /\n/, $_->{text} } @consumers;
is_deeply [sort keys %seen], [sort @lines], 'and read everything';

kill TERM => $consumers[0]{pid};
ended($consumers[0]);
reached('one member', sub {
    my $group = $mock->group('g');
    return $group->{state} eq 'Stable' && 1 == @{ $group->{members} } && 4 == @{ $group->{members}[0]{assigned} };
});
pass 'one that leaves hands its partitions to the other';
kill TERM => $consumers[1]{pid};
ended($consumers[1]);
reached('nobody', sub { $mock->group('g')->{state} eq 'Empty' });
my $offsets = $mock->offsets('g');
is_deeply { map { $_ => $offsets->{$_}{offset} } keys %$offsets },
    { map { ("t:$_" => $mock->high_watermark(t => $_)) } 0 .. 3 }, 'positions are stored at the ends';

# --- librdkafka, over TLS and with SASL ------------------------------------------

{
    my $secure = EV::Kafka::Mock->new(tls => 1, sasl => { users => { alice => 'secret' } });
    my $ca     = File::Temp->new;
    print {$ca} $secure->ca_certificate;
    close $ca;
    my @common = ('-P', '-b', $secure->bootstrap, '-t', 't', '-K', ':', '-l', "$input", '-X', 'security.protocol=SASL_SSL',
        '-X', "ssl.ca.location=$ca", '-X', 'sasl.username=alice');
    for my $mechanism (qw(PLAIN SCRAM-SHA-256 SCRAM-SHA-512)) {
        my @as = (@common, '-X', "sasl.mechanism=$mechanism");
        is ended(start_kcat(@as, '-X', 'sasl.password=secret')), 0, "TLS and $mechanism";
        is ended(start_kcat(@as, '-X', 'sasl.password=secret', '-X', 'broker.version.fallback=0.10.0',
            '-X', 'api.version.request=false')), 0, "the same with messages that have no header" if $mechanism eq 'PLAIN';
        my $before = $secure->request_count('Produce');
        my $wrong  = start_kcat(@as, '-X', 'sasl.password=wrong', '-X', 'message.timeout.ms=1000');
        isnt ended($wrong), 0, 'a wrong password';
        is $secure->request_count('Produce'), $before, 'is kept out';
    }
}

# --- Java -----------------------------------------------------------------------

my $JAVA = $KafkaCluster::NEWEST;
my $count = 3000;
$mock->create_topic(java => 4);
my $written = start(KafkaCluster::java_command($JAVA, 'org.apache.kafka.tools.ProducerPerformance',
    '--topic', 'java', '--num-records', $count, '--record-size', 50, '--throughput', -1,
    '--bootstrap-server', $mock->bootstrap, '--transactional-id', 'from java', '--transaction-duration-ms', 20));
is ended($written), 0, 'a transactional producer is content' or diag $written->{text};
my ($transaction) = grep { $_->{transactional_id} eq 'from java' } $mock->transactions;
is $transaction->{state}, 'CompleteCommit', 'its last transaction is committed';
ok $mock->request_count('EndTxn') > 1, 'it was not the only one';
my $committed = map { $mock->records(java => $_, isolation_level => 'read_committed') } 0 .. 3;
is $committed, $count, 'everything is there';

for my $protocol (qw(classic consumer)) {
    my $group  = "java $protocol";
    my $reader = start(KafkaCluster::java_command($JAVA, 'org.apache.kafka.tools.consumer.ConsoleConsumer',
        '--bootstrap-server', $mock->bootstrap, '--topic', 'java', '--from-beginning', '--group', $group,
        '--max-messages', $count, '--command-property', "group.protocol=$protocol",
        '--command-property', 'isolation.level=read_committed'));
    reached('a member', sub { my $known = $mock->group($group); $known && $known->{state} eq 'Stable' });
    is $mock->group($group)->{protocol}, $protocol, "a group of the $protocol protocol";
    is ended($reader), 0, 'its member is content';
    is scalar(split /\n/, $reader->{text}), $count, 'and reads everything';
    is $mock->group($group)->{state}, 'Empty', 'it has left';
    my $stored = $mock->offsets($group);
    # It stopped at the last record, which in some partitions has a marker behind it.
    my @short = grep { $stored->{"java:$_"}{offset} < $mock->high_watermark(java => $_) - 1 } 0 .. 3;
    is_deeply \@short, [], 'and stored its positions';
}

done_testing;
