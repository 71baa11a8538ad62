package EV::Kafka::Admin;
use strict;
use warnings;

use EV::Kafka::Admin::Access;
use EV::Kafka::Admin::Ask;
use EV::Kafka::Admin::Call;
use EV::Kafka::Admin::Cluster;
use EV::Kafka::Admin::Configs;
use EV::Kafka::Admin::Groups;
use EV::Kafka::Admin::Records;
use EV::Kafka::Admin::Topics;
use EV::Kafka::Admin::Transactions;

# What operators do to a cluster. Its state:
#   calls   the EV::Kafka::Admin::Call's that the program waits for, by number
#   parts   who does the work, by subject
#   number  of the call before

# The methods: the part that has each, the arguments that it takes before options and callback, and the options' names.
my %METHOD = (
    create_topics             => [topics => ['ARRAY'], 'validate_only'],
    delete_topics             => [topics => ['ARRAY']],
    create_partitions         => [topics => ['ARRAY'], 'validate_only'],
    describe_topics           => [topics => ['ARRAY?'], qw(authorized_operations eligible_replicas)],
    describe_configs          => [configs => ['ARRAY'], qw(synonyms documentation)],
    alter_configs             => [configs => ['ARRAY'], 'validate_only'],
    list_config_resources     => [configs => ['ARRAY?']],
    list_groups               => [groups => [], qw(states types)],
    describe_groups           => [groups => ['ARRAY'], 'authorized_operations'],
    describe_share_groups     => [groups => ['ARRAY'], qw(authorized_operations offsets)],
    delete_groups             => [groups => ['ARRAY']],
    delete_group_offsets      => [groups => ['STRING', 'ARRAY']],
    alter_group_offsets       => [groups => ['STRING', 'ARRAY']],
    remove_members            => [groups => ['STRING', 'ARRAY?'], 'reason'],
    delete_records            => [records => ['ARRAY']],
    list_offsets              => [records => ['ARRAY'], 'isolation_level'],
    describe_producers        => [records => ['ARRAY']],
    describe_cluster          => [cluster => [], qw(authorized_operations fenced)],
    describe_quorum           => [cluster => []],
    describe_features         => [cluster => []],
    update_features           => [cluster => ['ARRAY'], 'validate_only'],
    elect_leaders             => [cluster => ['ARRAY?'], 'type'],
    describe_log_dirs         => [cluster => ['ARRAY?'], 'topics'],
    alter_reassignments       => [cluster => ['ARRAY']],
    list_reassignments        => [cluster => ['ARRAY?']],
    describe_acls             => [access => ['HASH?']],
    create_acls               => [access => ['ARRAY']],
    delete_acls               => [access => ['ARRAY']],
    describe_scram_users      => [access => ['ARRAY?']],
    alter_scram_users         => [access => ['ARRAY']],
    describe_quotas           => [access => ['ARRAY?'], 'strict'],
    alter_quotas              => [access => ['ARRAY'], 'validate_only'],
    list_transactions         => [transactions => [], qw(states producer_ids running_longer_than pattern)],
    describe_transactions     => [transactions => ['ARRAY']],
    fence_producers           => [transactions => ['ARRAY']],
    abort_hanging_transaction => [transactions => ['HASH']],
);

sub new {
    my ($class, %below) = @_;
    my $ask  = EV::Kafka::Admin::Ask->new(%below);
    my $self = bless { map({ $_ => $below{$_} } qw(loop outbox)), calls => {}, number => 0 }, $class;
    $self->{parts} = { map { lc $_ => "EV::Kafka::Admin::$_"->new($ask) } qw(Access Cluster Configs Groups Records Topics Transactions) };
    return $self;
}

sub methods { return sort keys %METHOD }

# A method of the program's, with its arguments.
sub perform {
    my ($self, $method, @arguments) = @_;
    my ($part, $takes, @knows) = @{ $METHOD{$method} };
    my $number = ++$self->{number};
    my $calls  = $self->{calls};
    my $call   = EV::Kafka::Admin::Call->new($method, \@arguments,
        map({ $_ => $self->{$_} } qw(loop outbox)),
        takes => $takes,
        knows => \@knows,
        over  => sub { delete $calls->{$number} },
    );
    $calls->{$number} = $call;
    return if eval { $self->{parts}{$part}->$method($call); 1 };
    # A mistake in the arguments.
    my $died = $@;
    $call->end;
    die $died;
}

sub close {
    my ($self, $error) = @_;
    $_->fail($error) for map { $self->{calls}{$_} } sort { $a <=> $b } keys %{ $self->{calls} };
    return;
}

# In a forked child nobody is told.
sub abandon {
    my ($self) = @_;
    $_->end for values %{ $self->{calls} };
    return;
}

1;

__END__

=encoding utf8

=head1 NAME

EV::Kafka::Admin - topics, settings, groups, rules and all else that operators look at and change

=head1 SYNOPSIS

    use EV;
    use EV::Kafka;

    my $kafka = EV::Kafka->new(brokers => '127.0.0.1:9092');
    $kafka->connect;

    $kafka->create_topics([{ name => 'orders', num_partitions => 6, replication_factor => 3 }], sub {
        my ($result, $error) = @_;
        return warn "orders was not created: $error\n" if defined $error;
        for my $topic (@{ $result->{topics} }) {
            warn "$topic->{name}: ", $kafka->error_name($topic->{error_code}), "\n" if $topic->{error_code};
        }
    });

    EV::run;

=head1 DESCRIPTION

These are methods of the client that C<< EV::Kafka->new >> returns. They do what Kafka's own command-line tools do, on the
client's own connections with its security. Each request goes to the broker that has to answer it: the
controller, the leader of a partition, the coordinator of a group or a transactional id, a broker by its number, or any. Where that
is another one by now, or where the connection is lost, it is sent again. A method that is called before the client is connected waits
until it is.

Left out are streams groups, delegation tokens, and what concerns GSSAPI.

=head2 Arguments

    $kafka->METHOD(WHAT, \%options, sub { my ($result, $error) = @_ });

What the method is about comes first, where there is anything; options and callback follow in either order and may
be left out. Every method knows the option

=over 4

=item timeout

Seconds until it is given up; 60 by default. A broker that does the work in its own time (creating topics, say) is given 30 of them at
the most.

=back

Names that are not known, and arguments of the wrong kind, croak.

=head2 Results and errors

The callback is called once, with a hash and no error, or with undef and an error, a text as everywhere in L<EV::Kafka>. An error is said of the whole: it was
refused, it could not be asked, or time was up.

What is asked about several things has a list in its result, with an element for each, in the order in which they were
given unless something else is said. Each has its own C<error_code>, 0 where nothing is wrong, and perhaps an
C<error_message>; L<error_name|EV::Kafka/error_name($code)> gives a code's name. A code of -1 stands with what no broker has said, a
connection that was lost for instance. Where there is no callback, C<on_error> gets the error of the whole, and those of elements
are lost.

Methods that ask each broker (L</list_groups>, L</list_transactions>) give what they have heard and an
error when some of them did not answer: both are there then.

A broker that does not know the request is an error at once: C<broker 1 does not offer DescribeQuorum (needed for
describe_quorum)>, with code 35 where it is one of several. The versions in the descriptions are the first
of Apache Kafka that have it.

What has been changed is known to the controller at once, and to the brokers a moment later: who asks again without pause may
still hear how it was.

Keys that are marked with a question mark are there only when brokers have something to say.

=head1 TOPICS

=head2 create_topics

    $kafka->create_topics([{ name => 'orders', num_partitions => 6, replication_factor => 3,
        configs => { 'retention.ms' => 86_400_000 } }], $cb);
    $kafka->create_topics([{ name => 'orders', assignments => [[1, 2], [2, 3]] }], { validate_only => 1 }, $cb);

Creates topics. Both counts are 1 by default; -1 leaves them to the brokers (2.4, KIP-464). C<assignments> lists the brokers of
each partition instead, the preferred leader first. C<validate_only> only checks. The result:

    { topics => [{ name, error_code, error_message?, topic_id?, num_partitions?, replication_factor? }] }

=head2 delete_topics

    $kafka->delete_topics(['orders', 'payments'], $cb);

The result: C<< { topics => [{ name, error_code, error_message? }] } >>

=head2 create_partitions

    $kafka->create_partitions([{ name => 'orders', count => 12 }], $cb);

Adds partitions, so that there are C<count> in all (1.0, KIP-195); C<assignments> lists the brokers of each new one. With the
option C<validate_only>. The result is that of L</delete_topics>.

=head2 describe_topics

    $kafka->describe_topics(['orders'], $cb);
    $kafka->describe_topics($cb);                       # all topics

Topics and their partitions, sorted:

    { topics => [{ name, topic_id?, is_internal, error_code, authorized_operations?,
        partitions => [{ partition, error_code, leader, leader_epoch?, replicas, isr, offline_replicas?,
            eligible_leader_replicas?, last_known_elr? }] }] }

A C<leader> of -1 is none. Ids are written as Kafka's tools write them. Options:

=over 4

=item authorized_operations

What this client may do (2.3, KIP-430), for instance C<['read', 'describe']>.

=item eligible_replicas

Of topics that are named: also the replicas that may lead without being in sync (4.0, KIP-966).

=back

=head1 SETTINGS

=head2 describe_configs

    $kafka->describe_configs([
        { resource_type => 'topic', resource_name => 'orders' },
        { resource_type => 'broker', resource_name => 1, names => ['num.io.threads'] },
    ], { synonyms => 1 }, $cb);

Settings (0.11, KIP-133) of resources, which are of the type C<topic>, C<broker>, C<broker_logger>, C<client_metrics> (3.7) or C<group>
(4.0). C<names> asks for some of them only. A broker without a name is what all brokers have in common. The result:

    { resources => [{ resource_type, resource_name, error_code, error_message?,
        configs => [{ name, value?, is_default, is_sensitive, read_only, source?, type?, documentation?,
            synonyms? => [{ name, value?, source }] }] }] }

There is no C<value> of what is secret. C<source> is C<dynamic_topic>, C<dynamic_broker>, C<dynamic_default_broker>, C<static_broker>,
C<default>, C<dynamic_broker_logger>, C<dynamic_client_metrics> or C<dynamic_group>. Options: C<synonyms> (1.1, KIP-226), where else a value may come from, and
C<documentation> (2.6, KIP-569).

=head2 alter_configs

    $kafka->alter_configs([{
        resource_type => 'topic', resource_name => 'orders',
        set      => { 'retention.ms' => 3_600_000 },
        delete   => ['segment.bytes'],
        append   => { 'cleanup.policy' => 'compact' },
        subtract => { 'leader.replication.throttled.replicas' => ['0:1', '0:2'] },
    }], $cb);

Changes these settings and no others (2.3, KIP-339); C<append> and C<subtract> are for lists. With the option C<validate_only>. The
result: C<< { resources => [{ resource_type, resource_name, error_code, error_message? }] } >>

=head2 list_config_resources

    $kafka->list_config_resources(['topic', 'group'], $cb);

What has settings (4.1, KIP-1142; client metrics alone, 3.7), of some types or of all:
C<< { resources => [{ resource_type, resource_name }] } >>

=head1 GROUPS

=head2 list_groups

    $kafka->list_groups({ types => ['consumer'], states => ['Stable', 'Empty'] }, $cb);

The groups of all brokers, by name, of some states (2.6, KIP-518) and types (3.8, KIP-848: C<classic>, C<consumer>, C<share>) if asked
for:

    { groups => [{ group_id, protocol_type, state?, type?, coordinator }] }

=head2 describe_groups

    $kafka->describe_groups(['billing', 'audit'], { authorized_operations => 1 }, $cb);

Groups and their members, of whichever kind they are: classic, consumer (KIP-848) or share (KIP-932).

    { groups => [{ group_id, error_code, error_message?, type, state, assignor, authorized_operations?,
        protocol_type?,                           # classic
        group_epoch?, assignment_epoch?,          # consumer, share
        members => [{ member_id, instance_id?, rack_id?, client_id, client_host, subscribed?, subscribed_pattern?,
            member_epoch?, is_classic?,
            assignment => [{ topic, partitions }], target_assignment? => [{ topic, partitions }] }] }] }

A group that is not there has the error 69, GROUP_ID_NOT_FOUND, or, before 4.0, the state C<Dead>. Members of a classic group that does not consume, Kafka Connect's for instance, have bytes
instead, C<metadata> and C<assignment_bytes>.

=head2 describe_share_groups

    $kafka->describe_share_groups(['workers'], { offsets => 1 }, $cb);

The same of share groups alone (4.1). With the option C<offsets> there is also where they begin to read:
C<< topics => [{ topic, partitions => [{ partition, error_code, start_offset, leader_epoch, lag? }] }] >>.

=head2 delete_groups

    $kafka->delete_groups(['audit'], $cb);

Deletes groups without members (1.1, KIP-229). The result: C<< { groups => [{ group_id, error_code, error_message? }] } >>

=head2 alter_group_offsets

    $kafka->alter_group_offsets('billing', [{ topic => 'orders', partition => 0, offset => 42 }], $cb);

Sets where a group goes on, as long as it has no members. C<leader_epoch> and C<metadata> may be given as well. The result:
C<< { topics => [{ topic, partitions => [{ partition, error_code }] }] } >>

=head2 delete_group_offsets

    $kafka->delete_group_offsets('billing', [{ topic => 'orders', partition => 0 }], $cb);

Forgets it (2.4, KIP-496). The result is the same.

=head2 remove_members

    $kafka->remove_members('billing', [{ instance_id => 'host-1' }, { member_id => $id }], { reason => 'gone' }, $cb);
    $kafka->remove_members('billing', $cb);             # all of them

Makes members of a classic group leave (2.4, KIP-345), of which static ones are known by their C<instance_id>. The result:
C<< { members => [{ member_id?, instance_id?, error_code }] } >>

=head1 PARTITIONS

Partitions are given as C<< [{ topic, partition, … }] >>, each once, and come back sorted as
C<< { topics => [{ topic, partitions => [{ partition, error_code, error_message?, … }] }] } >>.

=head2 list_offsets

    $kafka->list_offsets([
        { topic => 'orders', partition => 0, timestamp => 'earliest' },
        { topic => 'orders', partition => 1, timestamp => 1_700_000_000_000 },
    ], { isolation_level => 'read_committed' }, $cb);

The offset of the first record at a time, in milliseconds, or later, or of C<earliest>, C<latest>, C<max_timestamp> (3.0, KIP-734), C<earliest_local> (3.4,
KIP-405), C<latest_tiered> (3.9, KIP-1005) or C<earliest_pending_upload> (4.2, KIP-1023): C<offset>, C<timestamp>, C<leader_epoch?>. Both numbers
are -1 where there is none.

=head2 delete_records

    $kafka->delete_records([{ topic => 'orders', partition => 0, offset => 1_000 }], $cb);

Deletes what is before the offset (0.11, KIP-107), all for -1. C<low_watermark> is where the partition begins now.

=head2 describe_producers

    $kafka->describe_producers([{ topic => 'orders', partition => 0 }], $cb);

Whom the leader remembers (2.8, KIP-664):
C<< producers => [{ producer_id, producer_epoch, coordinator_epoch, last_sequence?, last_timestamp?, current_txn_start_offset? }] >>.

=head2 elect_leaders

    $kafka->elect_leaders([{ topic => 'orders', partitions => [0, 1] }], { type => 'unclean' }, $cb);
    $kafka->elect_leaders($cb);                         # all partitions

Elects the C<preferred> leaders (2.2, KIP-183), or, where no replica is in sync, C<unclean> ones (2.4, KIP-460). Of all partitions those are told
that have been tried.

=head2 alter_reassignments

    $kafka->alter_reassignments([{ topic => 'orders', partition => 0, replicas => [2, 3] }], $cb);

Begins to move replicas (2.4, KIP-455); undef for C<replicas> cancels a move.

=head2 list_reassignments

    $kafka->list_reassignments($cb);
    $kafka->list_reassignments([{ topic => 'orders', partitions => [0] }], $cb);

What is on the move: C<replicas>, C<adding_replicas>, C<removing_replicas>.

=head1 THE CLUSTER

=head2 describe_cluster

    $kafka->describe_cluster({ fenced => 1 }, $cb);

What is known of the cluster and its brokers:

    { cluster_id, controller_id, authorized_operations?, brokers => [{ node_id, host, port, rack?, is_fenced? }] }

With the option C<fenced> (4.0) also brokers that are fenced; with C<authorized_operations> (2.3) what this client may do. Clusters without
ZooKeeper name any broker as the controller.

=head2 describe_log_dirs

    $kafka->describe_log_dirs([1, 2], { topics => [{ topic => 'orders', partitions => [0] }] }, $cb);

What brokers, all of them by default, keep in which folder (1.0, KIP-113):

    { brokers => [{ node_id, error_code, error_message?, log_dirs => [{ path, error_code, total_bytes?, usable_bytes?,
        is_cordoned?, topics => [{ topic, partitions => [{ partition, size, offset_lag, is_future }] }] }] }] }

=head2 describe_quorum

    $kafka->describe_quorum($cb);

The controllers (3.3, KIP-595, KIP-836):

    { leader, leader_epoch, high_watermark, voters => [...], observers => [...], nodes? }

Each voter and observer is
C<{ replica_id, log_end_offset, directory_id?, last_fetch_timestamp?, last_caught_up_timestamp? }>.

=head2 describe_features

    $kafka->describe_features($cb);

What the cluster can be set to, and what it is set to (2.7, KIP-584):
C<< { supported => { NAME => { min, max } }, finalized => { NAME => { min, max } }, epoch? } >>

=head2 update_features

    $kafka->update_features([{ feature => 'group.version', level => 1 }], { validate_only => 1 }, $cb);

Sets levels (2.7); C<type> is C<upgrade>, C<safe_downgrade> or C<unsafe_downgrade> (3.3). Newer clusters change all or none, and say by C<$error> what
is wrong. The result: C<< { features => [{ feature, error_code, error_message? }] } >>

=head1 RULES, USERS AND QUOTAS

=head2 describe_acls

    $kafka->describe_acls({ resource_type => 'topic', principal => 'User:alice' }, $cb);

The rules (0.11, KIP-140) that match, all by default:

    { acls => [{ resource_type, resource_name, pattern_type, principal, host, operation, permission }] }

=over 4

=item resource_type

C<topic>, C<group>, C<cluster>, C<transactional_id>, C<delegation_token> or C<user>; in a filter also C<any>.

=item pattern_type

C<literal> or C<prefixed> (2.0, KIP-290); in a filter also C<any>, and C<match>: whatever holds for C<resource_name>.

=item operation

C<read>, C<write>, C<create>, C<delete>, C<alter>, C<describe>, C<cluster_action>, C<describe_configs>, C<alter_configs>,
C<idempotent_write>, C<create_tokens>, C<describe_tokens>, C<two_phase_commit> or C<all>; in a filter also C<any>.

=item permission

C<allow> or C<deny>; in a filter also C<any>.

=back

=head2 create_acls

    $kafka->create_acls([{ resource_type => 'topic', resource_name => 'orders', principal => 'User:alice',
        operation => 'read' }], $cb);

By default C<permission> is C<allow>, C<host> C<*> and C<pattern_type> C<literal>. The result has the rules, each with
C<error_code> and C<error_message?>.

=head2 delete_acls

    $kafka->delete_acls([{ principal => 'User:alice' }], $cb);

Deletes what matches each filter: C<< { filters => [{ error_code, error_message?, acls => [...] }] } >>

=head2 describe_scram_users

    $kafka->describe_scram_users(['alice'], $cb);

Users, all by default, and which credentials they have (2.7, KIP-554):
C<< { users => [{ user, error_code, error_message?, credentials => [{ mechanism, iterations }] }] } >>

=head2 alter_scram_users

    $kafka->alter_scram_users([
        { user => 'alice', mechanism => 'SCRAM-SHA-512', password => $password, iterations => 8_192 },
        { user => 'bob',   mechanism => 'SCRAM-SHA-256', delete => 1 },
    ], $cb);

Adds, changes and deletes credentials. The password is salted here, with a random C<salt> unless one is given, and is not sent itself; there are 4096
C<iterations> by default. The result, by user: C<< { users => [{ user, error_code, error_message? }] } >>

=head2 describe_quotas

    $kafka->describe_quotas([{ type => 'user', name => 'alice' }, { type => 'client-id', default => 1 }], $cb);

Quotas (2.6, KIP-546) of entities that have these parts: one of a C<name>, the default, or, with neither, of any name. C<type> is C<user>,
C<client-id> or C<ip>. With the option C<strict> only those that have no other parts. The result:

    { entries => [{ entity => { user => 'alice', 'client-id' => undef }, quotas => { producer_byte_rate => 1048576 } }] }

undef stands for the default.

=head2 alter_quotas

    $kafka->alter_quotas([{ entity => { user => 'alice' }, set => { producer_byte_rate => 1_048_576 },
        remove => ['request_percentage'] }], $cb);

With the option C<validate_only>. The result: C<< { entries => [{ entity, error_code, error_message? }] } >>

=head1 TRANSACTIONS

=head2 list_transactions

    $kafka->list_transactions({ states => ['Ongoing'], running_longer_than => 600 }, $cb);

The transactions of all brokers (2.8, KIP-664), with the options C<states>, C<producer_ids>, C<running_longer_than> (seconds; 3.8, KIP-994) and C<pattern> (a
regular expression of Java's; 4.1, KIP-1152):

    { transactions => [{ transactional_id, producer_id, state, coordinator }], unknown_states? }

=head2 describe_transactions

    $kafka->describe_transactions(['orders-1'], $cb);

Where each of them stands:

    { transactions => [{ transactional_id, error_code, error_message?, state?, producer_id?, producer_epoch?, timeout_ms?,
        start_time_ms?, topics? => [{ topic, partitions }] }] }

=head2 abort_hanging_transaction

    $kafka->abort_hanging_transaction({ topic => 'orders', partition => 0, producer_id => 4000, producer_epoch => 2,
        coordinator_epoch => 1 }, $cb);

Ends in one partition what its coordinator has forgotten (2.8). Numbers as L</describe_producers> gives them for a producer with a
C<current_txn_start_offset> whose transaction L</describe_transactions> does not show. What is no hanging transaction comes
to harm by this.

=head2 fence_producers

    $kafka->fence_producers(['orders-1'], $cb);

Aborts the open transactions of these transactional ids; whoever has them cannot go on (KIP-699). The result:
C<< { producers => [{ transactional_id, error_code, error_message?, producer_id?, producer_epoch? }] } >>

=head1 METHODS OF THE CLASS

Each client has an EV::Kafka::Admin, which is not for use by itself.

=head2 new(%below), methods, perform($method, @arguments), close($error), abandon

With what is below it; the names of the methods above; one of them; the end, in a forked child without a word.

=head1 SEE ALSO

L<EV::Kafka>, F<eg/admin.pl>

=cut
