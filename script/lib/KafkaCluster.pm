package KafkaCluster;

# Real Apache Kafka clusters on loopback: fetched by Maven, started in a
# folder of their own on free ports, and gone without a trace after stop.
# Only core Perl, so that script/kafka runs before anything else is installed.

use v5.14;
use warnings;

use Cwd            qw(abs_path);
use Errno          qw(EINTR);
use Fcntl          qw(LOCK_EX);
use File::Basename qw(basename dirname);
use File::Path     qw(make_path remove_tree);
use File::Temp     ();
use IO::Socket::INET;
use JSON::PP    ();
use POSIX       qw(WNOHANG setsid);
use Time::HiRes qw(time);

our $NEWEST = '4.3.1';
our $OLDEST = '3.9.1';

my $CHECKOUT = abs_path(dirname(__FILE__) . '/../..');

# The slowest start seen on a loaded machine with two cores is a quarter of it.
my $START_SECONDS = 120;

# How long to let the operating system rest between two looks at a broker that
# is not answering yet; there is nothing to select() on before it listens.
my $LOOK_SECONDS = 0.05;

# Settings that make a small cluster quick to start and quick to notice faults.
my %FAST = (
    'group.initial.rebalance.delay.ms'       => 0,
    'num.partitions'                         => 4,
    'offsets.topic.num.partitions'           => 4,
    'transaction.state.log.num.partitions'   => 4,
    'num.network.threads'                    => 2,
    'num.io.threads'                         => 4,
    'num.recovery.threads.per.data.dir'      => 1,
    'broker.heartbeat.interval.ms'           => 500,
    'broker.session.timeout.ms'              => 4000,
    'controller.quorum.election.timeout.ms'  => 1000,
    'controller.quorum.fetch.timeout.ms'     => 2000,
    'log.retention.ms'                       => -1,
    'log.cleaner.dedupe.buffer.size'         => 8 * 1024 * 1024,
    'log.cleaner.threads'                    => 1,
);

# start(%options) -> a running cluster, every node of which answers.
#   version    Kafka's version
#   nodes      how many combined broker/controller nodes
#   dir        folder to use (default: a temporary one); it must not exist yet
#   set        hash of further broker settings
#   listeners  hash NAME => PROTOCOL of listeners beside PLAINTEXT
#   format     list of further arguments of the storage tool (--add-scram …)
#   throughput true: a JVM for measurements instead of one that starts fast
#   guard      true: the cluster ends with this process, however that ends
sub start {
    my ($class, %option) = @_;
    my $version = $option{version} || $NEWEST;
    my $count   = $option{nodes}   || 1;
    my $library = fetch($version);

    my $dir = $option{dir};
    if (defined $dir) {
        die "$dir exists already\n" if -e $dir;
        make_path($dir);
    }
    else {
        $dir = File::Temp::tempdir("ev-kafka-$version-XXXXXX", TMPDIR => 1);
    }
    my $self = bless {
        dir        => abs_path($dir),
        version    => $version,
        set        => $option{set}       || {},
        listeners  => $option{listeners} || {},
        throughput => $option{throughput} ? 1 : 0,
        nodes      => [],
    }, $class;

    my @names = ('PLAINTEXT', sort keys %{ $self->{listeners} });
    my @ports = free_ports($count * (1 + @names));
    for my $id (1 .. $count) {
        my %port = map { $_ => shift @ports } @names;
        push @{ $self->{nodes} }, { id => $id, controller => shift @ports, port => \%port };
    }
    $self->_save;
    $self->_guard if $option{guard};
    my $ok = eval {
        $self->_format($option{format} || []);
        $self->_launch($_) for @{ $self->{nodes} };
        $self->wait_ready;
        1;
    };
    return $self if $ok;
    my $error = $@;
    $self->stop;
    die $error;
}

# open($dir) -> the cluster that start left running in that folder.
sub open {
    my ($class, $dir) = @_;
    my $state = _read("$dir/cluster.json") // die "no cluster in $dir\n";
    return bless JSON::PP->new->decode($state), $class;
}

sub dir     { $_[0]{dir} }
sub version { $_[0]{version} }
sub nodes   { map { $_->{id} } @{ $_[0]{nodes} } }

# address($id, $listener = 'PLAINTEXT') -> host:port of one node.
sub address {
    my ($self, $id, $listener) = @_;
    return '127.0.0.1:' . $self->_node($id)->{port}{ $listener // 'PLAINTEXT' };
}

# bootstrap($listener = 'PLAINTEXT') -> all nodes, comma-separated.
sub bootstrap {
    my ($self, $listener) = @_;
    return join ',', map { $self->address($_, $listener) } $self->nodes;
}

sub kill_node { my ($self, $id) = @_; $self->_signal(KILL => $id); $self->_reap($id) }

sub pause_node { my ($self, $id) = @_; $self->_signal(STOP => $id) }

sub resume_node { my ($self, $id) = @_; $self->_signal(CONT => $id) }

# A node that still runs is killed first; returns when the node serves again.
sub restart_node {
    my ($self, $id) = @_;
    $self->kill_node($id) if $self->node_state($id) ne 'down';
    $self->_launch($self->_node($id));
    $self->wait_ready;
}

# node_state($id) -> 'up', 'paused' or 'down'.
sub node_state {
    my ($self, $id) = @_;
    my $pid = $self->_node($id)->{pid} // return 'down';
    return 'down' unless $self->_is_ours($pid);
    my $stat = _read("/proc/$pid/stat");
    $stat = `ps -o stat= -p $pid` unless defined $stat || -d '/proc/self';
    return ($stat // '') =~ /(?:^|\) )\s*T/ ? 'paused' : 'up';
}

# Kills every node; a temporary folder goes with them.
sub stop {
    my ($self) = @_;
    for my $id ($self->nodes) {
        $self->kill_node($id) if $self->node_state($id) ne 'down';
    }
    remove_tree($self->{dir}, { safe => 0 });
    return;
}

# wait_ready: until each running node lists every running node as alive.
sub wait_ready {
    my ($self) = @_;
    my $deadline = time + $START_SECONDS;
    my @running  = grep { $self->node_state($_) eq 'up' } $self->nodes;
    my $wanted   = join ',', @running;
    for my $id (@running) {
        my $seen = '';
        while ($seen ne $wanted) {
            die $self->_story($id, 'died while starting') if $self->node_state($id) eq 'down';
            die $self->_story($id, "not ready after $START_SECONDS s") if time > $deadline;
            my %alive = map { $_ => 1 } alive_brokers($self->address($id));
            $seen = join ',', grep { $alive{$_} } @running;
            select undef, undef, undef, $LOOK_SECONDS if $seen ne $wanted;
        }
    }
    return;
}

# alive_brokers("host:port") -> ids of the brokers that this one lists, by a
# Metadata request (version 1) for no topic; nothing when it does not answer.
sub alive_brokers {
    my ($address) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $address, Timeout => 2) or return;
    my $body   = pack 'n n N n/a* N', 3, 1, 1, 'script-kafka', 0;
    syswrite $socket, pack 'N/a*', $body;
    my $answer = _read_exactly($socket, 4)                      // return;
    $answer = _read_exactly($socket, unpack 'N', $answer) // return;
    my ($count, @ids) = unpack 'x4 N', $answer;
    my $at = 8;
    for (1 .. $count) {
        my ($id, $host, $port, $rack) = unpack "x$at N n/a N n", $answer;
        $at += 12 + length $host;
        $at += $rack unless $rack == 0xFFFF;    # a null string
        push @ids, $id;
    }
    return @ids;
}

# fetch($version) -> folder with that version's jars, from Maven unless there.
sub fetch {
    my ($version) = @_;
    $version =~ /^\d+\.\d+\.\d+$/ or die "not a Kafka version: $version\n";
    my $home = "$CHECKOUT/.cache/kafka-$version";
    return "$home/lib" if -d "$home/lib";
    make_path($home);
    CORE::open my $lock, '>', "$home/lock" or die "$home/lock: $!\n";
    flock $lock, LOCK_EX or die "$home/lock: $!\n";
    return "$home/lib" if -d "$home/lib";    # another process was faster

    _need(mvn => 'maven', 'fetches Apache Kafka');
    print STDERR "fetching Apache Kafka $version (54 MB, once) ...\n";
    _write("$home/pom.xml", _pom($version));
    remove_tree("$home/lib.part");
    waitpid _spawn("$home/mvn.log", 'mvn', '-q', '-B', '-f', "$home/pom.xml",
        'dependency:copy-dependencies', "-DoutputDirectory=$home/lib.part"), 0;
    die "mvn could not fetch Apache Kafka $version:\n", _read("$home/mvn.log") if $?;
    unlink glob "$home/lib.part/slf4j-reload4j-*";    # 3.9 brings a second binding
    rename "$home/lib.part", "$home/lib" or die "$home/lib: $!\n";
    return "$home/lib";
}

# java_command($version, $class_or_file, @arguments) -> list for system/exec.
# A class that moved between the versions may be named without its package.
my %MOVED = (
    TopicCommand             => ['org.apache.kafka.tools.TopicCommand'],
    ConsumerGroupCommand     => ['org.apache.kafka.tools.consumer.group.ConsumerGroupCommand'],
    ProducerPerformance      => ['org.apache.kafka.tools.ProducerPerformance'],
    ConsumerPerformance      => ['org.apache.kafka.tools.ConsumerPerformance'],
    ConsoleConsumer          => ['org.apache.kafka.tools.consumer.ConsoleConsumer'],
    ConsoleProducer          => ['org.apache.kafka.tools.ConsoleProducer', 'kafka.tools.ConsoleProducer'],
    DumpLogSegments          => ['org.apache.kafka.tools.DumpLogSegments', 'kafka.tools.DumpLogSegments'],
    BrokerApiVersionsCommand => ['org.apache.kafka.tools.BrokerApiVersionsCommand', 'kafka.admin.BrokerApiVersionsCommand'],
    AclCommand               => ['org.apache.kafka.tools.AclCommand', 'kafka.admin.AclCommand'],
    LeaderElectionCommand    => ['org.apache.kafka.tools.LeaderElectionCommand'],
    ConfigCommand            => ['kafka.admin.ConfigCommand'],
    StorageTool              => ['kafka.tools.StorageTool'],
);

sub java_command {
    my ($version, $class, @arguments) = @_;
    if (my $names = $MOVED{$class}) {
        $class = $version =~ /^[0-3]\./ ? $names->[-1] : $names->[0];
    }
    my $library = fetch($version);
    _need(java => 'default-jre-headless', 'runs Apache Kafka');
    return ('java', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
        '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto',
        '-cp', "$library/*", $class, @arguments);
}

# free_ports($count) -> that many, below the range from which the kernel gives
# ports to outgoing connections, so that none is taken before the broker binds.
sub free_ports {
    my ($count) = @_;
    my (@ports, @held);
    while (@ports < $count) {
        my $port = 16_000 + int rand 16_000;
        my $held = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1) or next;
        push @held,  $held;
        push @ports, $port;
    }
    return @ports;
}

# --- one node ---------------------------------------------------------------

sub _node {
    my ($self, $id) = @_;
    my ($node) = grep { $_->{id} eq $id } @{ $self->{nodes} };
    return $node // die "no node $id; there are " . join(', ', $self->nodes) . "\n";
}

sub _folder { my ($self, $node) = @_; return "$self->{dir}/node$node->{id}" }

sub _format {
    my ($self, $extra) = @_;
    my $id = join '', map { ('A' .. 'Z', 'a' .. 'z', 0 .. 9)[rand 62] } 1 .. 21;
    my @running;
    for my $node (@{ $self->{nodes} }) {
        my $folder = $self->_folder($node);
        make_path("$folder/data");
        _write("$folder/server.properties", $self->_properties($node));
        push @running, _spawn("$folder/format.log",
            java_command($self->{version}, 'StorageTool', 'format', '-t', "${id}A",
                '-c', "$folder/server.properties", @$extra));
    }
    for my $node (@{ $self->{nodes} }) {
        waitpid shift @running, 0;
        die 'formatting failed: ' . _read($self->_folder($node) . '/format.log') if $?;
    }
    return;
}

sub _properties {
    my ($self, $node) = @_;
    my @nodes     = @{ $self->{nodes} };
    my $copies    = @nodes > 2 ? 3 : 1;
    my %protocol  = (%{ $self->{listeners} }, PLAINTEXT => 'PLAINTEXT', CONTROLLER => 'PLAINTEXT');
    my @listeners = map { "$_://127.0.0.1:$node->{port}{$_}" } sort keys %{ $node->{port} };
    my %setting   = (
        %FAST,
        'process.roles'            => 'broker,controller',
        'node.id'                  => $node->{id},
        'controller.quorum.voters' =>
            join(',', map { "$_->{id}\@127.0.0.1:$_->{controller}" } @nodes),
        'controller.listener.names'      => 'CONTROLLER',
        'inter.broker.listener.name'     => 'PLAINTEXT',
        'listeners'                      => join(',', @listeners, "CONTROLLER://127.0.0.1:$node->{controller}"),
        'advertised.listeners'           => join(',', @listeners),
        'listener.security.protocol.map' => join(',', map { "$_:$protocol{$_}" } sort keys %protocol),
        'log.dirs'                       => $self->_folder($node) . '/data',
        'default.replication.factor'               => $copies,
        'offsets.topic.replication.factor'         => $copies,
        'transaction.state.log.replication.factor' => $copies,
        'transaction.state.log.min.isr'            => $copies > 1 ? 2 : 1,
        'min.insync.replicas'                      => $copies > 1 ? 2 : 1,
        %{ $self->{set} },
    );
    return join '', map { "$_=$setting{$_}\n" } sort keys %setting;
}

sub _launch {
    my ($self, $node) = @_;
    my $folder = $self->_folder($node);
    my $heap   = $self->{throughput} ? '1g' : @{ $self->{nodes} } > 1 ? '384m' : '512m';
    my @java   = java_command($self->{version}, 'kafka.Kafka', "$folder/server.properties");
    s/(?<=defaultLogLevel=)error/warn/ for @java;
    @java = grep { !/^-XX:/ } @java if $self->{throughput};
    $node->{pid} = _spawn("$folder/log", shift @java, "-Xmx$heap", @java);
    $self->_save;
    return;
}

sub _signal {
    my ($self, $name, $id) = @_;
    my $pid = $self->_node($id)->{pid};
    die "node $id does not run\n" unless $pid && $self->_is_ours($pid);
    kill $name, $pid or die "node $id: $!\n";
    return;
}

# Until a killed node is really gone: its ports and files are free then.
sub _reap {
    my ($self, $id) = @_;
    my $pid = $self->_node($id)->{pid};
    return if waitpid($pid, 0) == $pid;    # it was our child
    select undef, undef, undef, $LOOK_SECONDS while $self->_is_ours($pid);
    return;
}

# Process ids are used again: a pid is this cluster's if it is a child of ours
# that runs, or if its command line names the cluster's folder.
sub _is_ours {
    my ($self, $pid) = @_;
    my $child = waitpid $pid, WNOHANG;
    return $child == 0 if $child >= 0;
    my $command = _read("/proc/$pid/cmdline");
    $command = `ps -o args= -p $pid` unless defined $command || -d '/proc/self';
    return index($command // '', $self->{dir}) >= 0;
}

sub _story {
    my ($self, $id, $what) = @_;
    my @log = split /^/, _read("$self->{dir}/node$id/log") // '';
    splice @log, 0, @log - 30 if @log > 30;
    return join '', "node $id $what; its log ends:\n", @log;
}

# --- the whole cluster --------------------------------------------------------

sub _save {
    my ($self) = @_;
    my %state = %$self;
    delete $state{guard};
    _write("$self->{dir}/cluster.json.part", JSON::PP->new->canonical->pretty->encode(\%state));
    rename "$self->{dir}/cluster.json.part", "$self->{dir}/cluster.json";
    return;
}

# A process that waits for the end of this one, seen as the end of a pipe that
# only this one can write to, and then stops the cluster.
sub _guard {
    my ($self) = @_;
    pipe my $read, my $write or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    if ($pid) {
        $self->{guard} = $write;
        return;
    }
    setsid();
    close $write;
    CORE::open STDIN,  '<', '/dev/null';
    CORE::open STDOUT, '>', '/dev/null';    # or a test's reader would wait for us
    CORE::open STDERR, '>', '/dev/null';
    local @SIG{qw(INT TERM HUP)} = ('IGNORE') x 3;
    1 while !defined sysread($read, my $byte, 1) && $! == EINTR;
    eval { __PACKAGE__->open($self->{dir})->stop };
    POSIX::_exit(0);    # no END block and no destructor of the parent's
}

# --- small things -------------------------------------------------------------

# Starts a command in a session of its own with its output in a file.
sub _spawn {
    my ($log, @command) = @_;
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    setsid();
    CORE::open STDIN,  '<',  '/dev/null';
    CORE::open STDOUT, '>>', $log or POSIX::_exit(126);
    CORE::open STDERR, '>&', \*STDOUT;
    { no warnings 'exec'; exec { $command[0] } @command }
    print STDERR "$command[0]: $!\n";
    POSIX::_exit(127);
}

sub _need {
    my ($program, $package, $why) = @_;
    return if grep { -x "$_/$program" } split /:/, $ENV{PATH};
    die "$program is missing: it $why. On Debian: apt-get install $package\n";
}

sub _read {
    my ($file) = @_;
    CORE::open my $in, '<', $file or return undef;
    local $/;
    return scalar readline $in;
}

sub _write {
    my ($file, $text) = @_;
    CORE::open my $out, '>', $file or die "$file: $!\n";
    print {$out} $text;
    close $out or die "$file: $!\n";
    return;
}

sub _read_exactly {
    my ($socket, $length) = @_;
    my $data     = '';
    my $deadline = time + 2;
    while (length $data < $length) {
        vec(my $ready = '', fileno $socket, 1) = 1;
        my $rest = $deadline - time;
        return undef if $rest <= 0 || !select $ready, undef, undef, $rest;
        sysread($socket, $data, $length - length $data, length $data) or return undef;
    }
    return $data;
}

sub _pom {
    my ($version) = @_;
    my $dependencies = join '', map {
        my ($group, $artifact, $v) = @$_;
        "    <dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$v</version></dependency>\n"
    } (
        ['org.apache.kafka', 'kafka_2.13',  $version],
        ['org.apache.kafka', 'kafka-tools', $version],
        ['org.slf4j', 'slf4j-simple', '1.7.36'],    # the brokers bind slf4j 1.7
    );
    return <<"XML";
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
$dependencies  </dependencies>
</project>
XML
}

1;
