package EV::Kafka::Mock;

use strict;
use warnings;

use Carp         qw(croak);
use MIME::Base64 qw(encode_base64);

use EV::Kafka           ();
use EV::Kafka::Farewell ();

our $VERSION = '1.00';

my %NEW_DEFAULTS = (
    brokers                        => 1,
    partitions                     => 4,
    replication_factor             => 1,
    auto_create                    => 1,
    max_message_bytes              => 1_048_588,
    min_session_timeout_ms         => 6000,
    consumer_session_timeout_ms    => 45_000,
    consumer_heartbeat_interval_ms => 5000,
    max_fetch_sessions             => 1000,
    share_auto_offset_reset        => 'latest',
    share_record_lock_duration_ms  => 30_000,
    share_delivery_count_limit     => 5,
    port                           => 0,
    cluster_id                     => 'kafka-mock',
    api_versions                   => {},
    versions                       => undef,
    sasl                           => undef,
    tls                            => 0,
    tls_cert_file                  => undef,
    tls_key_file                   => undef,
    tls_client_ca_file             => undef,
    tls_client_auth                => 0,
    loop                           => undef,
);

my %FAULT_DEFAULTS = (
    api              => undef,
    broker           => undef,
    topic            => undef,
    partition        => undef,
    times            => 1,
    error            => undef,
    delay_ms         => 0,
    throttle_time_ms => 0,
    drop             => 0,
    hang             => 0,
    truncate         => 0,
    applied          => 0,
);

# Of new's option sasl.
my %SASL_DEFAULTS = (mechanisms => undef, users => {}, tokens => {}, session_lifetime_ms => 0);
my @MECHANISMS    = qw(PLAIN SCRAM-SHA-256 SCRAM-SHA-512);

# What a refusal is about, and the rest of it.
my @RESOURCES       = qw(topic group transactional_id cluster);
my %DENIAL_DEFAULTS = map { $_ => undef } @RESOURCES, qw(operation user);

sub new {
    my ($class, @opts) = @_;
    my $opts = _options(new => \%NEW_DEFAULTS, @opts);
    $opts->{sasl} = _sasl($opts->{sasl}) if $opts->{sasl};
    croak "new: share_auto_offset_reset must be 'earliest' or 'latest'" unless ($opts->{share_auto_offset_reset} // '') =~ /\A(?:earliest|latest)\z/;
    for my $file (grep { defined $opts->{$_} } qw(tls_cert_file tls_key_file tls_client_ca_file)) {
        croak "new: $file needs tls => 1" unless $opts->{tls};
        $opts->{$file} = _pem($file => $opts->{$file});
    }
    my $versions = $opts->{api_versions};
    my $self = $class->_new($opts);
    $self->versions($opts->{versions}) if $opts->{versions};
    $self->api_versions($_ => $versions->{$_} ? @{ $versions->{$_} } : undef) for sort keys %$versions;
    EV::Kafka::Farewell->is_served_here(map {"$_->{host}:$_->{port}"} $self->brokers);
    return $self;
}

sub bootstrap {
    my ($self) = @_;
    return join ',', map {"$_->{host}:$_->{port}"} $self->brokers;
}

sub versions {
    my ($self, $table, $only) = @_;
    my @nodes = $only // map { $_->{node_id} } $self->brokers;
    my $had   = $self->_versions($nodes[0]);
    return $had unless $table;
    croak 'versions: expected { API => [$min, $max], ... }' if grep { ref ne 'ARRAY' || @$_ != 2 } values %$table;
    for my $node_id (@nodes) {
        $self->api_versions($_ => undef, undef, $node_id) for grep { !$table->{$_} } sort keys %{ $self->_versions($node_id) };
        $self->api_versions($_ => @{ $table->{$_} }, $node_id) for sort keys %$table;
    }
    return $had;
}

sub records {
    my ($self, $topic, $partition, @opts) = @_;
    my $opts = _options(records => { isolation_level => 'read_uncommitted' }, @opts);
    return $self->_records($topic, $partition, $opts->{isolation_level});
}

sub coordinator     { return _of_coordinator(coordinator     => '_coordinator',     @_) }
sub set_coordinator { return _of_coordinator(set_coordinator => '_set_coordinator', @_) }

sub _of_coordinator {
    my ($name, $native, $self, $kind, @args) = @_;
    croak "$name: neither 'group' nor 'transaction'" unless defined $kind && $kind =~ /\A(?:group|transaction)\z/;
    return $self->$native($kind, @args);
}

sub fault {
    my ($self, @rule) = @_;
    my $rule = _options(fault => \%FAULT_DEFAULTS, @rule);
    croak 'fault: says nothing to do'
        unless grep { $rule->{$_} } qw(error delay_ms throttle_time_ms drop hang truncate);
    $self->_fault($rule);
    return $self;
}

sub ca_certificate {
    my ($self) = @_;
    my $der = $self->_ca_certificate;
    return defined $der ? _as_pem(CERTIFICATE => $der) : undef;
}

sub client_certificate {
    my ($self, $name) = @_;
    my ($certificate, $key) = $self->_client_certificate($name);
    croak 'client_certificate: the cluster has no authority of its own (tls => 1 makes one)' unless defined $key;
    return _as_pem(CERTIFICATE => $certificate) . _as_pem('PRIVATE KEY' => $key);
}

sub _as_pem {
    my ($what, $der) = @_;
    return "-----BEGIN $what-----\n" . encode_base64($der) . "-----END $what-----\n";
}

# A PEM text, or what is in a file.
sub _pem {
    my ($what, $given) = @_;
    return $given if $given =~ /-----BEGIN /;
    open my $in, '<', $given or croak "new: cannot read $what $given: $!";
    local $/;
    return scalar readline $in;
}

sub deny {
    my ($self, @rule) = @_;
    $self->_deny(_denial(deny => @rule));
    return $self;
}

sub allow {
    my ($self, @rule) = @_;
    $self->_allow(@rule ? _denial(allow => @rule) : ());
    return $self;
}

sub _denial {
    my ($method, @rule) = @_;
    my $rule  = _options($method => \%DENIAL_DEFAULTS, @rule);
    my @about = grep { defined $rule->{$_} } @RESOURCES;
    croak "$method: is not about one of " . join ', ', @RESOURCES if @about != 1;
    my ($resource) = @about;
    my $is_any = $resource eq 'cluster' || $rule->{$resource} eq '*';
    return { resource => $resource, name => $is_any ? undef : $rule->{$resource}, map { $_ => $rule->{$_} } qw(operation user) };
}

sub quota {
    my ($self, @quota) = @_;
    $self->_quota(_options(quota => { client_id => undef, api => undef, throttle_time_ms => 0 }, @quota));
    return $self;
}

# Lists of names and what belongs to them in turn. Tokens that are a list have no names of users.
sub _sasl {
    my ($given) = @_;
    croak 'new: sasl must be a hashref' unless ref $given eq 'HASH';
    my $sasl   = _options(new => \%SASL_DEFAULTS, %$given);
    my $tokens = $sasl->{tokens};
    $tokens = { map { $_ => $_ } @$tokens } if ref $tokens eq 'ARRAY';
    return {
        %$sasl,
        mechanisms => $sasl->{mechanisms} || [(%{ $sasl->{users} } ? @MECHANISMS : ()), %$tokens ? 'OAUTHBEARER' : ()],
        users      => [%{ $sasl->{users} }],
        tokens     => [%$tokens],
    };
}

sub append {
    my ($self, $topic, $partition, @records) = @_;
    croak 'append: record must be a hashref' if grep { ref ne 'HASH' } @records;
    my $now = int(EV::time() * 1000);
    return $self->_append($topic, $partition,
        [map { [$_->{timestamp} // $now, $_->{key}, $_->{value}, _header_pairs($_->{headers})] } @records]);
}

# [$name, $value, $name, $value, ...], from a hash or a list of pairs.
sub _header_pairs {
    my ($headers) = @_;
    return [] unless $headers;
    return [map {@$_} @$headers] if ref $headers eq 'ARRAY';
    return [map { ($_ => $headers->{$_}) } sort keys %$headers];
}

sub _options {
    my ($method, $defaults, @given) = @_;
    croak "$method: odd number of options" if @given % 2;
    my %given   = @given;
    my @unknown = sort grep { !exists $defaults->{$_} } keys %given;
    croak "$method: unknown option(s): " . join ', ', @unknown if @unknown;
    return {%$defaults, %given};
}

1;

__END__

=encoding utf8

=head1 NAME

EV::Kafka::Mock - a Kafka cluster inside your test

=head1 SYNOPSIS

    use Test::More;
    use EV;
    use EV::Kafka;
    use EV::Kafka::Mock;

    my $mock = EV::Kafka::Mock->new(brokers => 3, partitions => 6);
    $mock->create_topic(orders => 6);

    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, acks => -1);
    $kafka->connect(sub {
        $kafka->produce(orders => 'key', 'value', sub {
            my ($result, $error) = @_;
            is $error, undef, 'delivered';
            EV::break;
        });
    });
    EV::run;

    my @records = map { $mock->records(orders => $_) } 0 .. 5;
    is $records[0]{value}, 'value', 'and there it is';

    # The next Produce finds that the leader has moved
    $mock->fault(api => 'Produce', topic => 'orders', error => 6);

    # A broker dies, and comes back
    $mock->stop_broker(1);
    $mock->start_broker(1);

=head1 DESCRIPTION

A cluster of one or more brokers that lives in this process and listens on
ports of 127.0.0.1, chosen by the kernel. It runs on the same L<EV> loop as
the code under test: it needs no thread, no child process and no network, starts
in less than a millisecond, and answers only while the loop runs.

Any Kafka client may talk to it, L<EV::Kafka> or another, librdkafka and Java included.
It speaks ApiVersions, Metadata, Produce, Fetch, ListOffsets, OffsetForLeaderEpoch,
FindCoordinator, CreateTopics, DeleteTopics and what groups and transactions need, at the
versions that EV::Kafka speaks, checks what it is sent as a broker does, and answers
with a broker's error codes. A request that it cannot read, or of a version that it does
not advertise, makes it close the connection, which is what a broker does too.

Node ids are 0, 1, 2 and so on. Partition C<p> of a new topic is led by broker
C<p> modulo the number of brokers. Records stay in memory until the object goes.

All strings are bytes.

=head2 Idempotent producers

Partitions remember the last five batches of every producer id. One of these sent
again is answered as the first time and not appended twice; any other batch
must begin with the next sequence number or gets error 45
(OUT_OF_ORDER_SEQUENCE_NUMBER), and one of an older epoch error 47
(INVALID_PRODUCER_EPOCH). As with Kafka 4, a producer that the partition does not
know may begin with any sequence.

=head2 Transactions

A transactional id has its coordinator, which moves to another broker when its own is
stopped and answers as Kafka 4 does: by version 2 (KIP-890) what is written becomes part of the
transaction, and EndTxn gives the next epoch; by version 1, with C<< $mock->feature('transaction.version', 0) >>,
partitions and groups must be added before they are written to (error 48,
INVALID_TXN_STATE, or 120 in versions that know it). A new instance aborts what
the one before it left open and fences it, and a transaction that lasts longer than
its timeout is aborted, its producer fenced. C<fault> makes any of it fail.

    $mock->fault(api => 'EndTxn', error => 51);                # try again
    $mock->fault(api => 'EndTxn', drop => 1, applied => 1);    # committed, but nobody says so
    $mock->fault(api => 'Produce', topic => 'orders', error => 29);

    is_deeply [map { $_->{state} } $mock->transactions], ['CompleteCommit'], 'committed';
    my @visible = $mock->records(orders => 0, isolation_level => 'read_committed');

Ending is one step here: nobody ever sees a transaction between the decision and its
markers.

=head2 Groups

Groups of the classic protocol behave as with Kafka 4: new members are given an id to
join with, a rebalance waits until all members have joined again or the longest of
their rebalance timeouts is over, the leader assigns, members that are not heard of
for their session timeout are removed, static members take their places again and
fence who had them before. Positions are stored by members in their generation, or by
anybody while the group has no members. The first member of a group does not wait for
others: C<group.initial.rebalance.delay.ms> is 0.

    $mock->fault(api => 'Heartbeat', error => 27);                   # a rebalance, it seems
    $mock->fault(api => 'Heartbeat', error => 25, times => undef);   # the session is lost
    $mock->fault(api => 'OffsetCommit', topic => 'orders', error => 22);

Groups of the new protocol (KIP-848) have the assignors C<uniform> and C<range>, member
epochs, and partitions that change hands one heartbeat after another: given up, said to
be given up, given to the next. Members that are silent, or keep for longer than their
rebalance timeout what they are to give up, are removed. Missing are subscriptions by
regular expression (error 128) and the conversion of a group that has members of the
other protocol (error 69; classic members get 23): a group changes its protocol
while it is empty.

    $mock->fault(api => 'ConsumerGroupHeartbeat', error => 110);    # fenced

As on a real broker, nothing that is sent behind a JoinGroup or SyncGroup that waits is
answered before it.

=head2 Security

With C<tls> connections are encrypted. The cluster makes an authority of its own and a certificate for C<localhost>,
C<127.0.0.1> and C<::1>; clients trust it by L</ca_certificate>, which is a PEM text that EV::Kafka takes in a file's place.

    my $mock = EV::Kafka::Mock->new(tls => 1);
    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, tls => 1, tls_ca_file => $mock->ca_certificate);

C<tls_cert_file> and C<tls_key_file>, files or PEM texts, make it show another certificate: one that has expired, one for
another name. C<tls_client_ca_file> demands certificates of clients, of this authority, and C<tls_client_auth>
certificates of the cluster's own, which L</client_certificate> issues.

With C<sasl> nothing is answered before a client has authenticated itself; who fails is told so as by a
broker, and the connection is closed.

    my $mock = EV::Kafka::Mock->new(sasl => { users => { alice => 'secret' }, tokens => { t0ken => 'bob' } });
    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, tls => 0,
        sasl => { mechanism => 'SCRAM-SHA-256', username => 'alice', password => 'secret' });

Its keys are C<users>, a hash of names and passwords; C<tokens>, a hash of tokens for OAUTHBEARER and the users whose
they are, or a list of tokens; C<mechanisms>, a list of C<PLAIN>, C<SCRAM-SHA-256>, C<SCRAM-SHA-512> and
C<OAUTHBEARER> (what there are users or tokens for, if it is left out); and C<session_lifetime_ms>, after which clients
must authenticate again (KIP-368; 0, for never, is the default).

    $mock->fault(api => 'SaslAuthenticate', error => 58);    # the next one is refused, whoever it is

What a user may do then L</"deny, allow"> says.

=head1 METHODS

Methods that name a topic, partition or broker which does not exist croak.

=head2 new

    my $mock = EV::Kafka::Mock->new(%options);

Starts the cluster. Croaks if it cannot listen, and on an unknown option.

=over

=item brokers => 1

How many.

=item partitions => 4

Partitions of a topic that is created without saying how many.

=item replication_factor => 1

Replicas of a partition that is created without saying how many. Replicas share one
log; their number decides only whether another broker can take over when
one is stopped.

=item auto_create => 1

Whether asking for the metadata of an unknown topic creates it, where the
client allows that.

=item max_message_bytes => 1048588

The largest record batch that is taken; larger ones get error 10
(MESSAGE_TOO_LARGE).

=item min_session_timeout_ms => 6000

The shortest session timeout that a member of a group may ask for; a shorter one is
error 26 (INVALID_SESSION_TIMEOUT). Set it to 1 if a test is to see members lost
without waiting six seconds for it.

=item consumer_session_timeout_ms => 45000, consumer_heartbeat_interval_ms => 5000

For groups of the new protocol, where the brokers set them: how long a member may be
silent, and how often members are told to send heartbeats.

=item max_fetch_sessions => 1000

How many fetch sessions (KIP-227) a broker remembers; who comes later gets none, and with 0 nobody does.

=item share_auto_offset_reset => 'latest', share_record_lock_duration_ms => 30000, share_delivery_count_limit => 5

For share groups (KIP-932), where Kafka has settings of groups: whether a group begins with the C<earliest> record that there is or
with those written after its first fetch, for how long a record is locked for who has acquired it, and how often it is delivered at
most.

=item port => 9092

The port of the first broker; each other one has the next. Left out, or 0: ports that the kernel
chooses, which is better for tests that run side by side.

=item cluster_id => 'kafka-mock'

The name of the cluster, as Metadata tells it, and as brokers compare it with the one that a client means.

=item api_versions => { Fetch => [4, 11], CreateTopics => undef }

What L</api_versions> is to be called with for all brokers.

=item versions => { Fetch => [4, 11], ... }

The whole table of L</versions>; C<api_versions> changes it.

=item sasl => { users => { alice => 'secret' } }

Clients must say who they are, see L</Security>.

=item tls => 1, tls_cert_file, tls_key_file, tls_client_ca_file, tls_client_auth

Connections are encrypted, see L</Security>.

=item loop => EV::default_loop

The loop to run on.

=back

The cluster serves from the process that made it. In a child of C<fork> C<brokers> and
C<bootstrap> say where it is, C<close> closes the child's copies of its sockets, and all
other methods croak.

=head2 bootstrap

    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap);

The addresses of all brokers, C<host:port,host:port>.

=head2 brokers

    for my $broker ($mock->brokers) { say "$broker->{node_id}: $broker->{port}" }

A list of hashes with C<node_id>, C<host>, C<port> and C<up> (false while
stopped).

=head2 close

Stops all brokers for good. Done by itself when the object goes. The records
can still be read.

=head2 create_topic

    $mock->create_topic($name);
    $mock->create_topic($name, $partitions);

Creates a topic; croaks if it exists or the name is not one for Kafka.

=head2 delete_topic

    my $existed = $mock->delete_topic($name);

=head2 topics

The names of all topics, sorted.

=head2 partitions

    my $count = $mock->partitions($topic);

The number of a topic's partitions; undef if there is no such topic.

=head2 records

    my @records = $mock->records($topic, $partition);
    my @records = $mock->records($topic, $partition, isolation_level => 'read_committed');

What the partition holds, in order: hashes with C<offset>, C<timestamp>
(milliseconds), C<key>, C<value> (undef where null) and C<headers>, a list of
C<[name, value]> pairs. With C<read_committed> only what a reader of committed
records sees: nothing of aborted transactions, and nothing from the first open one on.

=head2 append

    my $offset = $mock->append($topic, $partition, { key => 'k', value => 'v' }, ...);

Puts records into a partition as one batch, as if some producer had sent them, and
returns the offset of the first. Besides C<key> and C<value> a record may have a
C<timestamp> (milliseconds; the present is the default) and C<headers>, a hash or
a list of C<[name, value]> pairs.

=head2 append_bytes

    my $offset = $mock->append_bytes($topic, $partition, $bytes, $offsets);

Puts bytes into a partition as they are, for consumers to stumble over: a
damaged batch, or one of an old format. They take up C<$offsets> offsets (1 if left
out). Their own base offset is not touched.

=head2 high_watermark

    my $offset = $mock->high_watermark($topic, $partition);

The offset that the next record will get.

=head2 last_stable_offset

    my $offset = $mock->last_stable_offset($topic, $partition);

Where the first open transaction began, or the high watermark.

=head2 log_start_offset

    my $offset = $mock->log_start_offset($topic, $partition);

The first offset that is still there.

=head2 delete_records

    $mock->delete_records($topic, $partition, $before_offset);

Removes the records before an offset, as a broker's retention does. Fetching
them then is error 1 (OFFSET_OUT_OF_RANGE).

=head2 lose_records

    $mock->lose_records($topic, $partition, $from_offset);

Removes the batches that reach to an offset or behind it, and starts a new leader epoch, as
an unclean election does: a leader takes over that never had them. Their offsets
are given to what is written next.

=head2 leader

    my $node_id = $mock->leader($topic, $partition);

-1 while none of the partition's replicas is up.

=head2 set_leader

    $mock->set_leader($topic, $partition, $node_id);

Moves the leadership. The old leader answers with error 6
(NOT_LEADER_OR_FOLLOWER) from now on.

=head2 transactions

    for my $transaction ($mock->transactions) { say "$transaction->{transactional_id}: $transaction->{state}" }

What the coordinators know, a hash for each transactional id that was ever used:
C<transactional_id>, C<state> (C<Empty>, C<Ongoing>, C<CompleteCommit> or
C<CompleteAbort>), C<producer_id>, C<producer_epoch>, C<timeout_ms>, and for one that
is going on C<partitions> (C<topic:partition>) and C<groups>.

=head2 offsets

    my $offsets = $mock->offsets($group);
    is $offsets->{'orders:0'}{offset}, 42, 'committed';

The positions that a group has committed: a hash from C<topic:partition> to hashes with
C<offset>, C<leader_epoch> and C<metadata>. Those of transactions that have not
ended are not in it.

=head2 group

    my $group = $mock->group($group_id);
    is $group->{state}, 'Stable', 'settled';
    is_deeply [sort map { @{ $_->{assigned} } } @{ $group->{members} }], ['orders:0', 'orders:1'], 'all assigned';

A group as its coordinator knows it, undef if it was never heard of: a hash with
C<protocol> (C<classic>, C<consumer> or C<share>), C<state> (C<Empty>, C<PreparingRebalance>,
C<CompletingRebalance> or C<Stable>; of the new protocol C<Empty>, C<Reconciling> or
C<Stable>), C<generation> (the group epoch), C<assignor> (the protocol that the
members have agreed on, or the coordinator's assignor), C<leader> (a member id; empty
if there is none) and C<members>, in the order in which they joined: hashes with
C<member_id>, C<group_instance_id>, C<generation> (the member epoch) and
C<assigned>, a list of C<topic:partition>.

=head2 share_group

    my $share = $mock->share_group($group_id);
    is $share->{partitions}{'jobs:0'}{start_offset}, 3, 'three records are settled';
    is $share->{partitions}{'jobs:0'}{records}{3}{state}, 'Acquired', 'the fourth is worked on';

What a share group has of partitions: a hash with C<partitions>, by C<topic:partition> hashes with C<start_offset> (all before it is
settled), C<end_offset> (nothing from there on was delivered) and C<records>, by offset what lies in between: hashes with C<state>
(C<Available>, C<Acquired>, C<Acknowledged> or C<Archived>) and C<delivery_count>; and with C<sessions>, a list of hashes with C<member_id>,
C<node_id> and C<epoch>, those that brokers remember. Who its members are tells L</group>.

=head2 coordinator

    my $node_id = $mock->coordinator(group => $group_id);
    my $node_id = $mock->coordinator(transaction => $transactional_id);

-1 while no broker is up.

=head2 set_coordinator

    $mock->set_coordinator(group => $group_id, $node_id);
    $mock->set_coordinator(transaction => $transactional_id, $node_id);

Moves a coordinator. The broker that was it answers with error 16 (NOT_COORDINATOR)
from now on. Stopping a broker moves its coordinators too, to the next one that is up.

=head2 stop_broker

    $mock->stop_broker($node_id);

Closes a broker's port and all connections to it. Its partitions move to
another replica if they have one that is up, and are without a leader otherwise.

=head2 start_broker

    $mock->start_broker($node_id);

Starts it again on the same port. It leads the partitions again that have no leader.

=head2 fault

    $mock->fault(api => 'Produce', topic => 'orders', partition => 0, error => 6);
    $mock->fault(api => 'Fetch', broker => 1, delay_ms => 200, times => 3);
    $mock->fault(api => 'Produce', drop => 1, applied => 1);

Makes requests go wrong that are still to come. It returns the object. Which ones:

=over

=item api => $name

Kafka's name of it, such as C<Produce>. Left out: any.

=item broker => $node_id

The broker that is asked. Left out: any.

=item topic => $name, partition => $number

Requests that name this topic, or partition, and within their answers only this
one. Left out: any.

=item times => 1

How many requests; C<undef> means all until L</clear_faults>. A request counts
once however many partitions it names.

=back

And what happens to them, any of it together:

=over

=item error => $code

The error code of the matched partitions, of the matched topics for Metadata,
CreateTopics and DeleteTopics, of the whole answer for ApiVersions,
FindCoordinator, InitProducerId, AddOffsetsToTxn, EndTxn, JoinGroup, SyncGroup,
Heartbeat, LeaveGroup and ConsumerGroupHeartbeat. OffsetFetch has both: a rule that names neither topic nor
partition is about the group. Codes 70, 71 and 106 of Fetch in such a rule are the whole answer's, whose session
is forgotten. Code 129 (REBOOTSTRAP_REQUIRED) of Metadata belongs to the whole
answer too.

=item delay_ms => $milliseconds

The answer comes that much later.

=item throttle_time_ms => $milliseconds

Says so in the answer. Nothing is held back.

=item drop => 1

The connection is closed instead.

=item hang => 1

No answer ever comes, on this connection also to nothing that is sent later.

=item truncate => 1

A Fetch answer breaks off within the last batch of the partition.

=item applied => 1

With C<error>, C<drop> and C<hang>: the request takes effect all the same, as when
a broker is lost between writing and answering. Without it nothing is written.

=back

=head2 clear_faults

Removes all rules. What already waits goes on waiting.

=head2 ca_certificate

    my $pem = $mock->ca_certificate;

The certificate that clients have to trust, as a PEM text; undef without C<tls>, or when a certificate was given.

=head2 client_certificate

    my $mock  = EV::Kafka::Mock->new(tls => 1, tls_client_auth => 1);
    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, tls => 1,
        tls_ca_file => $mock->ca_certificate, tls_cert_file => $mock->client_certificate('alice'));

A certificate of the cluster's own authority for a client of that name, and its key, as one PEM text. Croaks if the cluster has
no authority of its own.

=head2 deny, allow

    $mock->deny(topic => 'orders', operation => 'Write');
    $mock->deny(group => '*', user => 'alice');
    $mock->allow(group => '*', user => 'alice');
    $mock->allow;

Forbids something as ACLs do, and takes back what was forbidden in the same words, or all of it. They return the object.

=over

=item topic => $name, group => $name, transactional_id => $id, cluster => 1

One of them: what it is about. C<*> stands for all. Requests get error 29 (TOPIC_AUTHORIZATION_FAILED), 30
(GROUP_AUTHORIZATION_FAILED), 53 (TRANSACTIONAL_ID_AUTHORIZATION_FAILED) and 31 (CLUSTER_AUTHORIZATION_FAILED).

=item operation => $name

What may not be done with it: C<Read> (fetching; being a member of a group, committing), C<Write> (producing;
transactions), C<Describe> (metadata, offsets, coordinators; a topic is left out where all are asked for), C<Create>
(a topic, also by asking for its metadata), C<Delete> (a topic), C<IdempotentWrite> (of the cluster: a producer id
without a transactional one). Left out: any of them. One does not bring another along, as Kafka's denials do not.

=item user => $name

Who may not, by the name that SASL knows. Left out: anybody.

=back

=head2 quota

    $mock->quota(client_id => 'bulk', throttle_time_ms => 500);
    $mock->quota(client_id => 'bulk', throttle_time_ms => 0);

Throttles a client: each of its Produce and Fetch requests is carried out and answered, with that C<throttle_time_ms>, and
then nothing more is heard of its connection for as long (KIP-219). 0 ends that. C<client_id> left out stands for all that
have no quota of their own, C<api> is the name of another API. It returns the object.

=head2 fetch_sessions, forget_fetch_sessions

    my @sessions = $mock->fetch_sessions($node_id);
    $mock->forget_fetch_sessions($node_id);

What a broker (0 is the default) remembers of those who fetch, as a list of hashes: C<session_id>; C<epoch>, that of the
next request; C<partitions>, as C<topic:partition>, those first that come first next; and how many partitions
requests have C<named> and C<forgotten>, and answers have C<given>, since the one that opened it. And it forgets all of
them.

=head2 api_versions

    $mock->api_versions(Fetch => 4, 11);
    $mock->api_versions(CreateTopics => undef);
    $mock->api_versions(Produce => 3, 7, $node_id);

Changes which versions of an API are advertised and taken, by all brokers or by
one, to stand for older ones. C<undef> takes the API away.

=head2 versions

    my $newest = $mock->versions;
    $mock->versions({ ApiVersions => [0, 3], Metadata => [0, 9], Produce => [3, 9], ListGroups => [0, 4] });
    $mock->versions($newest, $node_id);

The whole table at once: what is not in it is taken away, from all brokers or from one. It returns the table that was there
(of the first of them); without one nothing is changed. A gateway that speaks a part of Kafka is played by what it lists;
DescribeGroups and ListGroups may be listed, so that clients take it for no
L<test broker of old|EV::Kafka/api_versions>, but asking them ends the connection. A broker that was upgraded is one that is
stopped, given another table, and started again.

=head2 feature

    my $level = $mock->feature('group.version');
    $mock->feature('group.version', 0);

The level of a feature that the brokers have agreed on (KIP-584), 0 for none; with a level it is changed, and the one before
is returned. A new cluster has C<group.version> and C<share.version> at 1 and C<transaction.version> at 2; without the first two
members of the consumer protocol, and of share groups, are refused. Brokers tell features when a connection is made: those that are
open hear nothing of a change.

=head2 request_count

    my $count = $mock->request_count('Fetch');
    my $count = $mock->request_count(Fetch => $node_id);

Requests of an API that came in, to all brokers or to one.

=head2 connections

    my $count = $mock->connections;
    my $count = $mock->connections($node_id);

Open connections, to all brokers or to one.

=head1 SEE ALSO

L<EV::Kafka::Testing>, which has recipes; L<EV::Kafka>

=head1 AUTHOR

vividsnow

=head1 LICENSE

This is free software; you can redistribute it and/or modify it under the same
terms as Perl itself.

=cut
