use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use IO::Socket::INET;
use MockTest;
use Scalar::Util qw(weaken);
use Test::More;
use TestKafka qw(turns wait_until);
use Time::HiRes ();

subtest 'a cluster listens on ports of its own' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 3);
    like $mock->bootstrap, qr/\A127\.0\.0\.1:\d+(?:,127\.0\.0\.1:\d+){2}\z/, 'bootstrap';
    my @brokers = $mock->brokers;
    is_deeply [map { $_->{node_id} } @brokers], [0, 1, 2], 'node ids';
    is_deeply [map { $_->{up} } @brokers],      [1, 1, 1], 'all up';
    my ($meta) = answer(connection($mock, 1), metadata => ['new']);
    is_deeply [map { $_->{port} } @{ $meta->{brokers} }], [map { $_->{port} } @brokers], 'in metadata';
    is_deeply [map { $_->{leader} } @{ $meta->{topics}[0]{partitions} }], [0, 1, 2, 0],
        'a topic that is asked for is created, its leaders spread';
    is $mock->partitions('new'), 4, 'with four partitions';
};

subtest 'options' => sub {
    my $mock = EV::Kafka::Mock->new(partitions => 2, auto_create => 0, max_message_bytes => 200);
    my $conn = connection($mock);
    my ($meta) = answer($conn, metadata => ['t']);
    is $meta->{topics}[0]{error_code}, 3, 'no topic is created';
    $mock->create_topic('t');
    is $mock->partitions('t'), 2, 'default partitions';
    answered_with(10, $conn, produce => 't', 0, undef, 'x' x 200);
    croaks_like sub { EV::Kafka::Mock->new(broker => 1) }, qr/\Anew: unknown option\(s\): broker at \Q$0\E/;
    croaks_like sub { EV::Kafka::Mock->new('brokers') },   qr/\Anew: odd number of options/;
    croaks_like sub { EV::Kafka::Mock->new(brokers => 0) }, qr/\Anew: brokers must be from 1 to 100/;
    croaks_like sub { EV::Kafka::Mock->new(partitions => -1) }, qr/\Anew: partitions must be from 1/;
};

subtest 'ports that are given' => sub {
    my $port;
    my $mock;
    for (1 .. 50) {
        my $free = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or next;
        $port = $free->sockport;
        close $free;
        last if $mock = eval { EV::Kafka::Mock->new(brokers => 2, port => $port) };
    }
    is_deeply [map { $_->{port} } $mock->brokers], [$port, $port + 1], 'one behind the other';
    ok connection($mock, 1), 'and somebody is there';
    croaks_like sub { EV::Kafka::Mock->new(port => $port) },   qr/\Anew: cannot listen: /;
    croaks_like sub { EV::Kafka::Mock->new(port => 70_000) }, qr/\Anew: port cannot be 70000/;
    croaks_like sub { EV::Kafka::Mock->new(port => 65_535, brokers => 2) }, qr/\Anew: cannot listen: /;
    $mock->close;
    ok eval { EV::Kafka::Mock->new(brokers => 2, port => $port) }, 'free again';
};

subtest 'versions that are given' => sub {
    my $mock = EV::Kafka::Mock->new(api_versions => { Fetch => [4, 11], CreateTopics => undef });
    my $offered = connection($mock)->api_versions;
    is $offered->{1}, 11, 'the highest Fetch';
    ok !exists $offered->{19}, 'no CreateTopics';
    croaks_like sub { EV::Kafka::Mock->new(api_versions => { Fetching => [1, 2] }) }, qr/unknown API 'Fetching'/;
};

subtest 'what is produced can be looked at and fetched' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $conn = connection($mock);
    for my $value ('first', undef, '') {
        answered_with(0, $conn, produce => 't', 0, 'key', $value, { headers => { h => 'v' }, timestamp => 12 });
    }
    is_deeply [$mock->records('t', 0)], [
        map {
            {   offset => $_, timestamp => 12, key => 'key', value => ('first', undef, '')[$_],
                headers => [[h => 'v']] }
        } 0 .. 2
    ], 'records';
    is $mock->high_watermark('t', 0), 3, 'high watermark';
    my ($result) = answer($conn, fetch => 't', 0, 1);
    is_deeply [map { $_->{offset} } @{ only_partition($result)->{records} }], [1, 2], 'fetched';
};

subtest 'records can be put in from outside' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    is $mock->append(t => 0, { key => 'a', value => 'b', timestamp => 5 }), 0, 'first offset';
    is $mock->append(t => 0, { value => 'c', headers => [[h => undef], [h => 2]] }, {}), 1, 'next';
    my @records = $mock->records('t', 0);
    is_deeply $records[0], { offset => 0, timestamp => 5, key => 'a', value => 'b', headers => [] }, 'as given';
    is_deeply $records[1]{headers}, [[h => undef], [h => 2]], 'headers in order';
    cmp_ok abs($records[2]{timestamp} / 1000 - Time::HiRes::time()), '<', 60, 'the present is the default';
    is_deeply [@{ $records[2] }{qw(key value)}], [undef, undef], 'as are nulls';

    is $mock->append_bytes(t => 0, 'damaged', 2), 3, 'raw bytes';
    is $mock->high_watermark('t', 0), 5, 'take up offsets';
    is scalar(my @same = $mock->records('t', 0)), 3, 'and are no records';
    croaks_like sub { $mock->append(t => 0) },      qr/\Aappend: no records/;
    croaks_like sub { $mock->append(t => 0, 'x') }, qr/\Aappend: record must be a hashref at \Q$0\E/;
};

subtest 'a fetch waits until data comes or its time is over' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $conn = connection($mock);
    my $result;
    $conn->fetch(t => 0, 0, { max_wait_ms => 20_000 }, sub { $result = shift });
    wait_until { $mock->request_count('Fetch') } 'fetch arrived';
    turns;
    ok !$result, 'it waits';
    $mock->append(t => 0, { value => 'x' });
    wait_until { $result } 'fetch ended';
    is only_partition($result)->{records}[0]{value}, 'x', 'with the data';

    my $began = Time::HiRes::time();
    ($result) = answer($conn, fetch => 't', 0, 1, { max_wait_ms => 50 });
    cmp_ok Time::HiRes::time() - $began, '>=', 0.05, 'or it waits out its time';
    is_deeply only_partition($result)->{records}, [], 'with nothing';
};

subtest 'topics come and go' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my $conn = connection($mock);
    my ($result) = answer($conn, create_topics => [{ name => 'b', num_partitions => 3 }, { name => 'a b' }], 1000);
    is_deeply [map { $_->{error_code} } @{ $result->{topics} }], [0, 17], 'created, refused';
    $mock->create_topic('a');
    is_deeply [$mock->topics], ['a', 'b'], 'names';
    croaks_like sub { $mock->create_topic('a') },    qr/\AEV::Kafka::Mock: topic 'a' already exists at \Q$0\E/;
    croaks_like sub { $mock->create_topic('') },     qr/invalid topic name/;
    croaks_like sub { $mock->create_topic('c', 0) }, qr/invalid partition count 0/;
    ok $mock->delete_topic('a'),  'deleted';
    ok !$mock->delete_topic('a'), 'gone';
    ($result) = answer($conn, delete_topics => ['b', 'c'], 1000);
    is_deeply [map { $_->{error_code} } @{ $result->{topics} }], [0, 3], 'deleted, unknown';
    is $mock->partitions('b'), undef, 'no partitions';
};

subtest 'offsets' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { timestamp => 100 * $_ }) for 1 .. 3;
    $mock->delete_records(t => 0, 1);
    is $mock->log_start_offset('t', 0), 1, 'start';
    my $conn = connection($mock);
    for ([-2 => 1], [-1 => 3], [250 => 2], [301 => -1]) {
        my ($timestamp, $offset) = @$_;
        my ($result) = answer($conn, list_offsets => 't', 0, $timestamp);
        is only_partition($result)->{offset}, $offset, "offset at $timestamp";
    }
    answered_with(1, $conn, fetch => 't', 0, 0);
    my ($result) = answer($conn, find_coordinator => 'group');
    is $result->{port}, port_of($mock, 0), 'coordinator';
};

subtest 'leaders move' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 2);
    is $mock->leader(t => 1), 1, 'leader';
    my $conn = connection($mock);
    answered_with(6, $conn, produce => 't', 1, undef, 'x');
    $mock->set_leader(t => 1, 0);
    is $mock->leader(t => 1), 0, 'moved';
    answered_with(0, $conn, produce => 't', 1, undef, 'x');
    croaks_like sub { $mock->leader(t => 2) }, qr/\AEV::Kafka::Mock: no partition t-2/;
    croaks_like sub { $mock->set_leader(t => 0, 2) }, qr/\AEV::Kafka::Mock: no broker 2/;
};

subtest 'brokers stop and start' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2, replication_factor => 2);
    $mock->create_topic(t => 2);
    my ($port, $conn) = (port_of($mock, 1), connection($mock, 1));
    my ($error, $gone);
    $conn->on_disconnect(sub { $gone = 1 });
    $conn->fetch(t => 1, 0, { max_wait_ms => 20_000 }, sub { $error = $_[1] });
    wait_until { $mock->request_count(Fetch => 1) } 'fetch arrived';

    $mock->stop_broker(1);
    is_deeply [map { $_->{up} } $mock->brokers], [1, 0], 'down';
    is $mock->leader(t => 1), 0, 'its partition has moved';
    wait_until { $gone } 'disconnected';
    is $error, 'connection closed by broker', 'its connection was closed';
    ok !IO::Socket::INET->new(PeerHost => '127.0.0.1', PeerPort => $port), 'its port is closed';
    is $mock->connections, 0, 'no connections';

    $mock->start_broker(1);
    $mock->start_broker(1);
    is port_of($mock, 1), $port, 'the same port';
    $conn = connection($mock, 1);
    is $mock->connections(1), 1, 'which takes connections again';
    croaks_like sub { $mock->stop_broker(2) },  qr/\AEV::Kafka::Mock: no broker 2/;
    croaks_like sub { $mock->start_broker(2) }, qr/\AEV::Kafka::Mock: no broker 2/;
};

subtest 'faults' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 4);
    my $conn = connection($mock);

    is $mock->fault(api => 'Produce', error => 7), $mock, 'a fault returns the object';
    answered_with(7, $conn, produce => 't', 0, undef, 'once');
    answered_with(0, $conn, produce => 't', 0, undef, 'then not');

    $mock->fault(api => 'Produce', topic => 't', partition => 2, error => 19, times => undef);
    answered_with(0,  $conn, produce => 't', 0, undef, 'elsewhere');
    answered_with(19, $conn, produce => 't', 2, undef, 'always') for 1 .. 3;
    $mock->clear_faults;
    answered_with(0, $conn, produce => 't', 2, undef, 'cleared');

    $mock->fault(api => 'Produce', error => 7, applied => 1);
    my $before = $mock->high_watermark(t => 0);
    answered_with(7, $conn, produce => 't', 0, undef, 'all the same');
    is $mock->high_watermark(t => 0), $before + 1, 'it was written';

    $mock->fault(api => 'Metadata', delay_ms => 60);
    my $began = Time::HiRes::time();
    answer($conn, metadata => ['t']);
    cmp_ok Time::HiRes::time() - $began, '>=', 0.06, 'delayed';

    $mock->fault(api => 'Metadata', throttle_time_ms => 3);
    my ($meta) = answer($conn, metadata => ['t']);
    is $meta->{throttle_time_ms}, 3, 'throttled';

    $mock->fault(api => 'Fetch', truncate => 1);
    my $count = $mock->high_watermark(t => 2);
    $mock->append(t => 2, { value => 'cut' });
    my ($result) = answer($conn, fetch => 't', 2, 0);
    is scalar @{ only_partition($result)->{records} }, $count, 'the last batch is cut off';
    is error_of($result), 0, 'which is no error';

    $mock->fault(broker => 1, error => 3, times => undef);
    answered_with(0, $conn, produce => 't', 0, undef, 'another broker');
    $mock->clear_faults;

    $mock->fault(api => 'Metadata', drop => 1);
    is +(answer($conn, metadata => ['t']))[1], 'connection closed by broker', 'dropped';
    $conn = connection($mock);

    $mock->fault(api => 'Produce', hang => 1);
    my $error;
    $conn->produce('t', 0, undef, 'hangs', sub { $error = $_[1] });
    wait_until { $mock->request_count('Produce') > 8 } 'produce arrived';
    turns;
    is $error, undef, 'no answer';
    $conn->disconnect;
    is $error, 'disconnected', 'until the client has enough';
};

subtest 'faults that make no sense croak' => sub {
    my $mock = EV::Kafka::Mock->new;
    croaks_like sub { $mock->fault(api => 'Produce') }, qr/\Afault: says nothing to do at \Q$0\E/;
    croaks_like sub { $mock->fault(api => 'Nonsense', drop => 1) }, qr/unknown API 'Nonsense'/;
    croaks_like sub { $mock->fault(apis => 'Produce', drop => 1) }, qr/\Afault: unknown option\(s\): apis/;
    croaks_like sub { $mock->fault(drop => 1, times => 0) },  qr/\Afault: times cannot be 0/;
    croaks_like sub { $mock->fault(error => 1 << 20) },       qr/\Afault: error cannot be 1048576/;
    croaks_like sub { $mock->fault(delay_ms => -1) },         qr/\Afault: delay_ms cannot be -1/;
};

subtest 'brokers of other versions' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->api_versions(Fetch => 4, 6);
    $mock->api_versions('CreateTopics', undef);
    $mock->api_versions(Metadata => 0, 2, 1);
    my ($zero, $one) = map { connection($mock, $_)->api_versions } 0, 1;
    is_deeply [@$zero{1, 3, 19}], [6, 13, undef], 'one broker';
    is_deeply [@$one{1, 3, 19}],  [6, 2,  undef], 'and the other';
    croaks_like sub { $mock->api_versions('Nope', 1, 2) },        qr/unknown API 'Nope'/;
    croaks_like sub { $mock->api_versions('Fetch', 1, 2, 9) },    qr/no broker 9/;
    croaks_like sub { $mock->api_versions('Fetch', 1, 1 << 20) }, qr/no version 1048576/;
};

subtest 'requests are counted' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my @conns = map { connection($mock, $_) } 0, 1, 1;
    answer($_, metadata => []) for @conns;
    is $mock->request_count('Metadata'), 3, 'in all';
    is $mock->request_count(Metadata => 1), 2, 'by broker';
    is $mock->request_count('Fetch'), 0, 'none';
    is $mock->connections, 3, 'connections';
    @conns = ();
    wait_until { !$mock->connections } 'clients gone';
    croaks_like sub { $mock->request_count('Nope') }, qr/unknown API 'Nope'/;
};

subtest 'garbage closes the connection' => sub {
    my $mock = EV::Kafka::Mock->new;
    my %garbage = (
        'a web browser'     => "GET / HTTP/1.1\r\n\r\n",
        'a negative length' => pack('N', 0xffffffff),
        'an unknown API'    => pack('N/a', pack 'nnNn', 4711, 0, 1, 0xffff),
        'an old version'    => pack('N/a', pack 'nnNn', 0, 1, 1, 0xffff),
        'a cut-off request' => pack('N/a', pack 'nnNnN', 3, 1, 1, 0xffff, 5),
    );
    for my $what (sort keys %garbage) {
        my $socket = IO::Socket::INET->new($mock->bootstrap) or die "connect: $!";
        $socket->syswrite($garbage{$what});
        $socket->blocking(0);
        my $closed;
        my $watcher = EV::io $socket, EV::READ, sub { $closed = 1 unless sysread $socket, my $buffer, 1000 };
        wait_until { $closed } $what;
        ok $closed, $what;
    }
    is +(answer(connection($mock), metadata => []))[1], undef, 'others are served';
};

subtest 'a large answer is written as fast as the client reads' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => chr(64 + $_) x 900_000 }) for 1 .. 20;
    my ($result) = answer(connection($mock), fetch => 't', 0, 0, { max_bytes => 50_000_000 });
    my @values = map { $_->{value} } @{ only_partition($result)->{records} };
    is_deeply [map { length($_) . substr $_, 0, 1 } @values], [map { '900000' . chr 64 + $_ } 1 .. 20], 'whole';
};

subtest 'another loop' => sub {
    my $loop = EV::Loop->new;
    my $mock = EV::Kafka::Mock->new(loop => $loop);
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', $loop);
    my $guard = $loop->timer(30, 0, sub { $loop->break });
    my $meta;
    $conn->on_connect(sub { $conn->metadata(['t'], sub { $meta = shift; $loop->break }) });
    $conn->connect('127.0.0.1', port_of($mock, 0), 10);
    $loop->run;
    $conn->on_connect;
    is $meta->{topics}[0]{name}, 't', 'served there';
};

subtest 'close' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { value => 'kept' });
    my $conn = connection($mock);
    my $gone;
    $conn->on_disconnect(sub { $gone = 1 });
    $mock->close;
    $mock->close;
    wait_until { $gone } 'disconnected';
    ok !IO::Socket::INET->new($mock->bootstrap), 'closed';
    is +($mock->records(t => 0))[0]{value}, 'kept', 'records can be read';
    croaks_like sub { $mock->start_broker(0) }, qr/\AEV::Kafka::Mock: the cluster is closed/;
};

subtest 'going out of scope frees it all' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my $bootstrap = $mock->bootstrap;
    my ($waiting, $gone, $weak) = (connection($mock), 0, $mock);
    $waiting->on_disconnect(sub { $gone = 1 });
    $waiting->metadata(['t'], sub { });
    $waiting->fetch(t => 0, 0, { max_wait_ms => 20_000 }, sub { });
    wait_until { $mock->request_count('Fetch') } 'fetch arrived';
    weaken $weak;
    undef $mock;
    is $weak, undef, 'freed at once';
    wait_until { $gone } 'disconnected';
    ok !IO::Socket::INET->new($_), "$_ is closed" for split /,/, $bootstrap;
};

subtest 'methods want an object' => sub {
    croaks_like sub { EV::Kafka::Mock->brokers }, qr/\AEV::Kafka::Mock: not /;
    croaks_like sub { EV::Kafka::Mock::brokers(bless {}, 'EV::Kafka::Mock') }, qr/\AEV::Kafka::Mock: not /;
};

subtest 'a child that forks leaves the cluster alone' => sub {
    my $mock = EV::Kafka::Mock->new;
    my $conn = connection($mock);
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        undef $conn;
        undef $mock;
        require POSIX;
        POSIX::_exit(0);
    }
    waitpid $pid, 0;
    is $?, 0, 'child ended';
    is +(answer($conn, metadata => []))[1], undef, 'the connection lives';
    is +(answer(connection($mock), metadata => []))[1], undef, 'and new ones are taken';
};

subtest 'many clusters leave nothing behind' => sub {
    opendir my $dir, '/proc/self/fd' or do { pass 'no /proc here to count descriptors in'; return };
    my $open = () = readdir $dir;
    for (1 .. 200) {
        my $mock = EV::Kafka::Mock->new(brokers => 3);
        IO::Socket::INET->new((split /,/, $mock->bootstrap)[1]) or die "connect: $!";
        EV::run EV::RUN_NOWAIT;
    }
    rewinddir $dir;
    my $now = () = readdir $dir;
    is $now, $open, 'descriptors';
};

done_testing;
