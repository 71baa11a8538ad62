package KafkaCluster;

# Real Apache Kafka clusters on loopback, of any version from 0.11 on: started in a
# folder of their own on free ports, and gone without a trace after stop.
# Only core Perl, so that script/kafka runs before anything else is installed.

use v5.14;
use warnings;

use Cwd        qw(abs_path);
use Errno      qw(EINTR);
use File::Path qw(make_path remove_tree);
use File::Temp ();
use IO::Socket::INET;
use JSON::PP    ();
use KafkaJars   qw(at_least fetch java_command read_file spawn write_file);
use POSIX       qw(WNOHANG setsid);
use Time::HiRes qw(time);

our $NEWEST = '4.4.0';
our $OLDEST = '3.9.1';

# The slowest start seen on a loaded machine with two cores is a quarter of it.
my $START_SECONDS = 120;

# A broker that does not end in order in that time is killed.
my $STOP_SECONDS = 60;

# How long to let the operating system rest between two looks at a broker that
# is not answering yet; there is nothing to select() on before it listens.
my $LOOK_SECONDS = 0.05;

# Settings that make a small cluster quick to start and quick to notice faults.
my %FAST = (
    'group.initial.rebalance.delay.ms'       => 0,
    'num.partitions'                         => 4,
    'offsets.topic.num.partitions'           => 4,
    'transaction.state.log.num.partitions'   => 4,
    'share.coordinator.state.topic.num.partitions' => 4,
    'num.network.threads'                    => 2,
    'num.io.threads'                         => 4,
    'num.recovery.threads.per.data.dir'      => 1,
    'broker.heartbeat.interval.ms'           => 500,
    'broker.session.timeout.ms'              => 4000,
    'controller.quorum.election.timeout.ms'  => 1000,
    'controller.quorum.fetch.timeout.ms'     => 2000,
    'delete.topic.enable'                    => 'true',
    'log.retention.ms'                       => -1,
    'log.cleaner.dedupe.buffer.size'         => 8 * 1024 * 1024,
    'log.cleaner.threads'                    => 1,
);

my @SCRAM = qw(SCRAM-SHA-256 SCRAM-SHA-512);

# ZooKeeper misses a broker after that many milliseconds, and takes it back no earlier.
my $ZOOKEEPER_SESSION_MS = 4000;

# start(%options) -> a running cluster, every node of which answers.
#   version    Kafka's version
#   zookeeper  true: under ZooKeeper, which versions below 3.3 always are and 4.0 cannot be
#   nodes      how many brokers; under KRaft each is a controller as well
#   dir        folder to use (default: a temporary one); it must not exist yet
#   set        hash of further broker settings
#   listeners  hash NAME => PROTOCOL of listeners beside PLAINTEXT
#   users      hash name => password: who may log in by SASL, by PLAIN and, but for KRaft before
#              3.5, by SCRAM-SHA-256 and SCRAM-SHA-512
#   format     list of further arguments of KRaft's storage tool (--add-scram …)
#   throughput true: a JVM for measurements instead of one that starts fast
#   guard      true: the cluster ends with this process, however that ends
sub start {
    my ($class, %option) = @_;
    my $version = $option{version} || $NEWEST;
    my $count   = $option{nodes}   || 1;
    my $zookeeper = $option{zookeeper} || !at_least($version, '3.3');
    die "Kafka $version knows no ZooKeeper\n" if $zookeeper && at_least($version, '4.0');
    die "ZooKeeper's brokers have no storage to format\n" if $zookeeper && @{ $option{format} || [] };
    fetch($version);

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
        users      => $option{users}     || {},
        zookeeper  => undef,
        throughput => $option{throughput} ? 1 : 0,
        nodes      => [],
    }, $class;

    my @names = ('PLAINTEXT', sort keys %{ $self->{listeners} });
    my @ports = free_ports(1 + $count * (1 + @names));
    $self->{zookeeper} = { port => shift @ports } if $zookeeper;
    for my $id (1 .. $count) {
        my %port = map { $_ => shift @ports } @names;
        push @{ $self->{nodes} }, { id => $id, version => $version, controller => shift @ports, port => \%port, set => {} };
        make_path($self->_folder($self->{nodes}[-1]) . '/data');
    }
    $self->_save;
    $self->_guard if $option{guard};
    my $ok = eval {
        $self->_write_users;
        if ($zookeeper) { $self->_start_zookeeper }
        else            { $self->_format($option{format} || []) }
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
    my $state = read_file("$dir/cluster.json") // die "no cluster in $dir\n";
    return bless JSON::PP->new->decode($state), $class;
}

sub dir     { $_[0]{dir} }

# version($id) -> Kafka's version; of one node while they differ.
sub version {
    my ($self, $id) = @_;
    return defined $id ? $self->_node($id)->{version} : $self->{version};
}

sub is_under_zookeeper { defined $_[0]{zookeeper} }

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

sub kill_node {
    my ($self, $id) = @_;
    my $node = $self->_node($id);
    $self->_signal(KILL => $id);
    $self->_await_end($node->{pid});
    $node->{killed} = time;
    return $self->_save;
}

sub pause_node { my ($self, $id) = @_; $self->_signal(STOP => $id) }

sub resume_node { my ($self, $id) = @_; $self->_signal(CONT => $id) }

# A node that still runs is killed first; returns when the node serves again.
sub restart_node {
    my ($self, $id) = @_;
    $self->kill_node($id) if $self->node_state($id) ne 'down';
    $self->_launch($self->_node($id));
    $self->wait_ready;
}

# address_for_tools() -> the arguments by which Kafka's tools find the cluster: before 2.2 some know ZooKeeper only.
sub address_for_tools {
    my ($self) = @_;
    return at_least($self->{version}, '2.2') ? ('--bootstrap-server', $self->bootstrap) : $self->zookeeper_for_tools;
}

# zookeeper_for_tools() -> the same through ZooKeeper.
sub zookeeper_for_tools { return ('--zookeeper', "127.0.0.1:$_[0]{zookeeper}{port}") }

# stop_node($id): ends it in order, as an operator does; its data stays.
sub stop_node {
    my ($self, $id) = @_;
    my $deadline = time + $STOP_SECONDS;
    $self->_signal(TERM => $id);
    while ($self->node_state($id) ne 'down') {
        return $self->kill_node($id) if time > $deadline;
        select undef, undef, undef, $LOOK_SECONDS;
    }
    delete $self->_node($id)->{pid};
    return $self->_save;
}

# change_node($id, version => V, set => { … }): stops it if it still runs, and starts it on its own data as
# another version or with other settings of its own; an upgrade in place. Returns when the node serves again.
# Once it was done to all, the cluster has that version.
sub change_node {
    my ($self, $id, %to) = @_;
    my $node = $self->_node($id);
    fetch($to{version}) if $to{version};
    $self->stop_node($id) if $self->node_state($id) ne 'down';
    $node->{version} = $to{version} if $to{version};
    $node->{set}     = { %{ $node->{set} }, %{ $to{set} || {} } };
    my %versions = map { $_->{version} => 1 } @{ $self->{nodes} };
    ($self->{version}) = keys %versions if keys %versions == 1;
    $self->_launch($node);
    return $self->wait_ready;
}

# node_state($id) -> 'up', 'paused' or 'down'.
sub node_state {
    my ($self, $id) = @_;
    my $pid = $self->_node($id)->{pid} // return 'down';
    return 'down' unless $self->_is_ours($pid);
    my $stat = read_file("/proc/$pid/stat");
    $stat = `ps -o stat= -p $pid` unless defined $stat || -d '/proc/self';
    return ($stat // '') =~ /(?:^|\) )\s*T/ ? 'paused' : 'up';
}

# Kills every node; a temporary folder goes with them.
sub stop {
    my ($self) = @_;
    for my $id ($self->nodes) {
        $self->kill_node($id) if $self->node_state($id) ne 'down';
    }
    my $keeper = $self->{zookeeper} && $self->{zookeeper}{pid};
    if ($keeper && $self->_is_ours($keeper)) {
        kill KILL => $keeper;
        $self->_await_end($keeper);
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
        write_file("$folder/server.properties", $self->_properties($node));
        push @running, spawn("$folder/format.log",
            java_command($self->{version}, 'StorageTool', 'format', '-t', "${id}A",
                '-c', "$folder/server.properties", $self->_scram_users, @$extra));
    }
    for my $node (@{ $self->{nodes} }) {
        waitpid shift @running, 0;
        die 'formatting failed: ' . read_file($self->_folder($node) . '/format.log') if $?;
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
        $self->{zookeeper} ? (
            'broker.id'                    => $node->{id},
            'zookeeper.connect'            => "127.0.0.1:$self->{zookeeper}{port}",
            'zookeeper.session.timeout.ms' => $ZOOKEEPER_SESSION_MS,
            'listeners'                    => join(',', @listeners),
        ) : (
            'process.roles'             => 'broker,controller',
            'node.id'                   => $node->{id},
            'controller.quorum.voters'  => join(',', map { "$_->{id}\@127.0.0.1:$_->{controller}" } @nodes),
            'controller.listener.names' => 'CONTROLLER',
            'listeners'                 => join(',', @listeners, "CONTROLLER://127.0.0.1:$node->{controller}"),
        ),
        %{ $self->{users} } ? ('sasl.enabled.mechanisms' => join ',', 'PLAIN', @SCRAM) : (),
        'inter.broker.listener.name'     => 'PLAINTEXT',
        'advertised.listeners'           => join(',', @listeners),
        'listener.security.protocol.map' => join(',', map { "$_:$protocol{$_}" } sort keys %protocol),
        'log.dirs'                       => $self->_folder($node) . '/data',
        'default.replication.factor'               => $copies,
        'offsets.topic.replication.factor'         => $copies,
        'transaction.state.log.replication.factor' => $copies,
        'transaction.state.log.min.isr'            => $copies > 1 ? 2 : 1,
        'share.coordinator.state.topic.replication.factor' => $copies,
        'share.coordinator.state.topic.min.isr'            => $copies > 1 ? 2 : 1,
        'min.insync.replicas'                      => $copies > 1 ? 2 : 1,
        %{ $self->{set} },
        %{ $node->{set} },
    );
    return join '', map { "$_=$setting{$_}\n" } sort keys %setting;
}

sub _launch {
    my ($self, $node) = @_;
    my $folder = $self->_folder($node);
    my $heap   = $self->{throughput} ? '1g' : @{ $self->{nodes} } > 1 ? '384m' : '512m';
    $self->_await_forgotten($node);
    write_file("$folder/server.properties", $self->_properties($node));
    my @java = java_command($node->{version}, 'kafka.Kafka', "$folder/server.properties");
    s/(?<=defaultLogLevel=)error/warn/ for @java;
    @java = grep { !/^-XX:/ } @java if $self->{throughput};
    splice @java, 1, 0, "-Xmx$heap", '-Dzookeeper.sasl.client=false',
        %{ $self->{users} } ? "-Djava.security.auth.login.config=$self->{dir}/jaas.conf" : ();
    $node->{pid} = spawn("$folder/log", @java);
    return $self->_save;
}

# A broker that was killed is known to ZooKeeper until its session has run out, and its successor dies of that.
sub _await_forgotten {
    my ($self, $node) = @_;
    my $killed = delete $node->{killed} // return;
    my $rest   = $killed + 1.5 * $ZOOKEEPER_SESSION_MS / 1000 - time;    # it looks twice in a session
    select undef, undef, undef, $rest if $self->{zookeeper} && $rest > 0;
    return;
}

# --- users ------------------------------------------------------------------

# PLAIN's users stand in the file with which a broker starts.
sub _write_users {
    my ($self) = @_;
    my %password = %{ $self->{users} } or return;
    my $plain    = join ' ', map { qq{user_$_="$password{$_}"} } sort keys %password;
    return write_file("$self->{dir}/jaas.conf", <<"JAAS");
KafkaServer {
  org.apache.kafka.common.security.plain.PlainLoginModule required $plain;
  org.apache.kafka.common.security.scram.ScramLoginModule required;
};
JAAS
}

# SCRAM's in the metadata: arguments of the storage tool that put them there.
sub _scram_users {
    my ($self) = @_;
    return unless at_least($self->{version}, '3.5');
    my $users = $self->{users};
    return map { my $name = $_; map { ('--add-scram', "$_=[name=$name,password=$users->{$name}]") } @SCRAM } sort keys %$users;
}

# --- ZooKeeper --------------------------------------------------------------

sub _start_zookeeper {
    my ($self) = @_;
    my ($zookeeper, $folder) = ($self->{zookeeper}, "$self->{dir}/zookeeper");
    my $tick = $ZOOKEEPER_SESSION_MS / 4;    # the shortest session that it grants is two ticks
    make_path($folder);
    write_file("$folder/zoo.cfg", <<"CFG");
dataDir=$folder
clientPort=$zookeeper->{port}
clientPortAddress=127.0.0.1
tickTime=$tick
maxClientCnxns=0
admin.enableServer=false
CFG
    my @java = java_command($self->{version}, 'org.apache.zookeeper.server.ZooKeeperServerMain', "$folder/zoo.cfg");
    splice @java, 1, 0, '-Xmx96m', '-Dzookeeper.forceSync=no';
    $zookeeper->{pid} = spawn("$folder/log", @java);
    $self->_save;
    my $deadline = time + $START_SECONDS;
    until (IO::Socket::INET->new(PeerAddr => "127.0.0.1:$zookeeper->{port}")) {
        die "ZooKeeper does not start:\n", read_file("$folder/log") if time > $deadline || !$self->_is_ours($zookeeper->{pid});
        select undef, undef, undef, $LOOK_SECONDS;
    }
    for my $name (sort keys %{ $self->{users} }) {
        my $log = "$folder/users.log";
        waitpid spawn($log, java_command($self->{version}, 'ConfigCommand', '--zookeeper', "127.0.0.1:$zookeeper->{port}",
            '--alter', '--entity-type', 'users', '--entity-name', $name,
            '--add-config', join ',', map { "$_=[password=$self->{users}{$name}]" } @SCRAM)), 0;
        die "no user $name: ", read_file($log) if $?;
    }
    return;
}

sub _signal {
    my ($self, $name, $id) = @_;
    my $pid = $self->_node($id)->{pid};
    die "node $id does not run\n" unless $pid && $self->_is_ours($pid);
    kill $name, $pid or die "node $id: $!\n";
    return;
}

# Until what was killed is really gone: its ports and files are free then.
sub _await_end {
    my ($self, $pid) = @_;
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
    my $command = read_file("/proc/$pid/cmdline");
    $command = `ps -o args= -p $pid` unless defined $command || -d '/proc/self';
    return index($command // '', $self->{dir}) >= 0;
}

sub _story {
    my ($self, $id, $what) = @_;
    my @log = split /^/, read_file("$self->{dir}/node$id/log") // '';
    splice @log, 0, @log - 30 if @log > 30;
    return join '', "node $id $what; its log ends:\n", @log;
}

# --- the whole cluster --------------------------------------------------------

sub _save {
    my ($self) = @_;
    my %state = %$self;
    delete $state{guard};
    write_file("$self->{dir}/cluster.json.part", JSON::PP->new->canonical->pretty->encode(\%state));
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

1;
