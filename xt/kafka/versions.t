use v5.14;
use warnings;

# One program on real brokers of every age: what each version can. By default the oldest, the
# last but one under ZooKeeper and the newest; KAFKA_VERSIONS=all for each that is proven,
# KAFKA_VERSIONS='1.1.1 3.9.1' for some.

use lib 'xt/lib';

use EV;
use EV::Kafka;
use RealKafka;
use Test::More;

my @ALL   = ('0.11.0.3', '1.1.1', '2.3.1', '2.8.2', '3.3.2', $KafkaCluster::OLDEST, '4.0.0', $KafkaCluster::NEWEST);
my @SHORT = ('0.11.0.3', '2.8.2', $KafkaCluster::NEWEST);

# From which version on there is what; SCRAM came to KRaft later than KRaft itself.
my %SINCE = (zstd => '2.1', scram_in_kraft => '3.5', consumer_protocol => '4.0', reason => '1.0');

my $RECORDS    = 200;
my $PARTITIONS = 3;
my ($USER, $PASSWORD) = qw(alice alice-secret);

my $wanted = $ENV{KAFKA_VERSIONS} // '';
for my $version ($wanted eq 'all' ? @ALL : $wanted ? split ' ', $wanted : @SHORT) {
    my $cluster = cluster(version => $version, listeners => { SASL => 'SASL_PLAINTEXT' }, users => { $USER => $PASSWORD });
    my $begun   = EV::time;
    subtest "Kafka $version" => sub {
        subtest 'codecs'       => sub { codecs($cluster) };
        subtest 'transactions' => sub { transactions($cluster) };
        subtest 'groups'       => sub { groups($cluster, $_) } for protocols($cluster);
        subtest 'SASL'         => sub { sasl($cluster) };
    };
    note sprintf 'Kafka %s: %.1f s', $version, EV::time - $begun;
    $cluster->stop;
}

done_testing;

sub has {
    my ($cluster, $what) = @_;
    return KafkaJars::at_least($cluster->version, $SINCE{$what});
}

sub closed {
    my ($kafka) = @_;
    my ($error) = await('close', sub { $kafka->close(@_) });
    return is $error, undef, 'closed';
}

# Polls until so many records have come, which on_message counts in @$got.
sub poll_until {
    my ($kafka, $got, $count) = @_;
    return await("$count records", sub {
        my ($done) = @_;
        $kafka->{for_test} = EV::timer 0, 0.01, sub { @$got >= $count ? $done->() : $kafka->poll };
    });
}

# --- records ------------------------------------------------------------------

# Keys, values, nulls and headers.
sub records {
    my ($name) = @_;
    return map { [$_ % 5 ? "key-$_" : undef, $_ % 10 == 9 ? undef : "$name value $_ " . 'x' x ($_ % 90), $_ % 2 ? { n => $_ } : {}] } 1 .. $RECORDS;
}

sub written {
    my ($brokers, $topic, $records, %option) = @_;
    my $kafka  = connected_client(brokers => $brokers, acks => -1, linger_ms => 20, %option);
    my $failed = {};
    $kafka->produce($topic, @$_[0, 1], { partition => 0, headers => $_->[2] }, sub { $failed->{ $_[1] }++ if defined $_[1] }) for @$records;
    await('flush', sub { $kafka->flush(@_) });
    closed($kafka);
    return $failed;
}

sub codecs {
    my ($cluster) = @_;
    my $brokers = $cluster->bootstrap;
    my $topic   = create_topic($brokers, 'codecs', 1);
    my @all;
    for my $idempotent (0, 1) {
        for my $codec (qw(none gzip snappy lz4), has($cluster, 'zstd') ? 'zstd' : ()) {
            my @records = records("$codec-$idempotent");
            is_deeply written($brokers, $topic, \@records, compression => $codec, idempotent => $idempotent), {}, "$codec, idempotent $idempotent";
            push @all, map { [@$_[0, 1], header_text($_->[2])] } @records;
        }
    }
    if (!has($cluster, 'zstd')) {
        my ($refusal) = keys %{ written($brokers, $topic, [records('zstd')], compression => 'zstd') };
        like $refusal, qr/zstd|UNSUPPORTED_COMPRESSION_TYPE|UNSUPPORTED_FOR_MESSAGE_FORMAT/i, 'zstd is refused';
    }
    my ($ours)   = consume($brokers, $topic, 1, scalar @all);
    my ($theirs) = kcat_consume($brokers, $topic, 1);
    is same_records($ours,   \@all), undef, 'we read all of it, once and in order';
    is same_records($theirs, \@all), undef, 'and so does kcat';
    return;
}

# --- transactions -------------------------------------------------------------

sub transactions {
    my ($cluster) = @_;
    my $brokers = $cluster->bootstrap;
    my ($in, $out) = map { create_topic($brokers, "txn-$_", 1) } qw(in out);
    is_deeply written($brokers, $in, [map { [undef, "in-$_", {}] } 1 .. 5]), {}, 'what is to be copied';
    my @copied;
    my $kafka = connected_client(brokers => $brokers, transactional_id => "$out-id", isolation_level => 'read_committed',
        on_message => sub { push @copied, $_[4] });
    my $end = sub {
        my ($method) = @_;
        my ($result, $error) = await($method, sub { $kafka->$method(@_) });
        is $error, undef, $method;
    };
    my $values = sub {
        my ($level, $count) = @_;
        my ($records) = consume($brokers, $out, 1, $count, isolation_level => $level);
        return join ' ', map { $_->[3] } @$records;
    };
    for my $round (1 .. 3) {
        $kafka->begin_transaction;
        $kafka->produce($out, undef, "$round-$_") for 1, 2;
        await('flush', sub { $kafka->flush(@_) });    # an abort takes along what has not left
        $end->($round == 2 ? 'abort_transaction' : 'commit_transaction');
    }
    $kafka->assign([{ topic => $in, partition => 0, offset => 0 }]);
    $kafka->begin_transaction;
    poll_until($kafka, \@copied, 5);
    $kafka->produce($out, undef, $_) for @copied;
    my ($result, $error) = await('offsets', sub { $kafka->send_offsets_to_transaction("$in-group", @_) });
    is $error, undef, 'offsets are sent';
    $end->('commit_transaction');
    is $values->('read_committed', 9), '1-1 1-2 3-1 3-2 in-1 in-2 in-3 in-4 in-5', 'what was committed';
    is $values->('read_uncommitted', 11), '1-1 1-2 2-1 2-2 3-1 3-2 in-1 in-2 in-3 in-4 in-5', 'is not all that is there';
    my ($offsets) = await('committed', sub { $kafka->committed([{ topic => $in, partition => 0 }], { group_id => "$in-group" }, @_) });
    is_deeply $offsets, { "$in:0" => 5 }, 'offsets with it';
    closed($kafka);
    return;
}

# --- groups -------------------------------------------------------------------

sub protocols {
    my ($cluster) = @_;
    return ('classic', has($cluster, 'consumer_protocol') ? 'consumer' : ());
}

sub member {
    my ($brokers, $topic, $group, $protocol) = @_;
    my $member = { got => [], owns => [] };
    $member->{kafka} = connected_client(brokers => $brokers, fetch_max_wait_ms => 50, on_message => sub { push @{ $member->{got} }, $_[4] });
    $member->{kafka}->subscribe($topic, group_id => $group, group_protocol => $protocol, auto_offset_reset => 'earliest',
        heartbeat_interval => 0.3, auto_commit => 0);
    return $member;
}

# Until each of them has partitions, and all of them have come.
sub shared {
    my (@members) = @_;
    return await('an assignment', sub {
        my ($done) = @_;
        $members[0]{looking} = EV::timer 0, 0.02, sub {
            $_->{kafka}->poll for @members;
            my @shares = map { scalar @{ $_->{kafka}->assignment } } @members;
            my $sum = 0;
            $sum += $_ for @shares;
            $done->() if $sum == $PARTITIONS && !grep { !$_ } @shares;
        };
    });
}

sub groups {
    my ($cluster, $protocol) = @_;
    my $brokers = $cluster->bootstrap;
    my $topic   = create_topic($brokers, "group-$protocol", $PARTITIONS);
    my $group   = "$topic-g";
    my $fill = sub { kcat_produce(['-b', $brokers, '-t', $topic, '-K', ':'], join '', map { "$_:$_\n" } $_[0] .. $_[1]) };
    my @members = map { member($brokers, $topic, $group, $protocol) } 1, 2;
    shared(@members);
    # Only now: what one has read of a partition the other would read again.
    $fill->(1, 100);
    my $got = sub { map { @{ $_->{got} } } @members };
    await('the records', sub {
        my ($done) = @_;
        $members[0]{looking} = EV::timer 0, 0.02, sub { $_->{kafka}->poll for @members; my %seen = map { $_ => 1 } $got->(); $done->() if keys %seen == 100 };
    });
    delete $members[0]{looking};
    for my $member (@members) {
        my ($error) = await('commit', sub { $member->{kafka}->commit(@_) });
        is $error, undef, "$protocol: committed";
        closed($member->{kafka});
    }
    $fill->(101, 150);
    my $next = member($brokers, $topic, $group, $protocol);
    poll_until($next->{kafka}, $next->{got}, 50);
    is_deeply [sort { $a <=> $b } @{ $next->{got} }], [101 .. 150], "$protocol: who comes later goes on there";
    closed($next->{kafka});
    return;
}

# --- SASL ---------------------------------------------------------------------

sub sasl {
    my ($cluster) = @_;
    my $topic = create_topic($cluster->bootstrap, 'sasl', 1);
    my @mechanisms = ('PLAIN', $cluster->is_under_zookeeper || has($cluster, 'scram_in_kraft') ? qw(SCRAM-SHA-256 SCRAM-SHA-512) : ());
    my $brokers = $cluster->bootstrap('SASL');
    my @wanted;
    for my $mechanism (@mechanisms) {
        my @sasl = (sasl => { mechanism => $mechanism, username => $USER, password => $PASSWORD });
        is_deeply written($brokers, $topic, [[undef, $mechanism, {}]], @sasl), {}, "$mechanism: written";
        push @wanted, [undef, $mechanism, ''];
        my ($records) = consume($brokers, $topic, 1, scalar @wanted, @sasl);
        is same_records($records, \@wanted), undef, 'and read';
        my ($error, $refused);
        my $kafka = EV::Kafka->new(brokers => $brokers, on_error => sub { $error //= $_[0]; $refused->() },
            sasl => { mechanism => $mechanism, username => $USER, password => 'wr0ng' });
        await('a refusal', sub { ($refused) = @_; $kafka->connect });
        like $error, has($cluster, 'reason') ? qr/SASL auth failed: Authentication failed/ : qr/SASL auth failed: the broker closed the connection/,
            'a wrong password is refused';
        $kafka->close;
    }
    return;
}
