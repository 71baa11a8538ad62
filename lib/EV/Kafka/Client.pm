package EV::Kafka::Client;
use strict;
use warnings;

use Carp ();
use Scalar::Util ();

use EV::Kafka::Admin;
use EV::Kafka::Closing;
use EV::Kafka::Cluster;
use EV::Kafka::Consumer;
use EV::Kafka::Coordinators;
use EV::Kafka::Error;
use EV::Kafka::Group;
use EV::Kafka::Loop;
use EV::Kafka::Offsets;
use EV::Kafka::Options;
use EV::Kafka::Outbox;
use EV::Kafka::Producer;
use EV::Kafka::ShareGroup;
use EV::Kafka::ShareGroup::Record;
use EV::Kafka::Stats;
use EV::Kafka::Transactions;

# The client itself knows
#   cfg       the options, and what programs may look at, each of it kept by one owner
#   waiters   the callbacks of connect that wait
#   state     '', 'connected' when on_connect has been told, 'closed'; in a forked child 'left'
# and the owners that it is made of.

# A croak names the line of the program, whichever of these has found the mistake.
$Carp::Internal{"EV::Kafka::$_"} = 1 for qw(Admin Admin::Access Admin::Call Admin::Cluster Admin::Configs Admin::Groups Admin::Records Admin::Topics
    Admin::Transactions Admin::Terms Client Consumer Group Group::CommitArguments Group::Subscription Offsets Outbox Partitions Transactions
    ShareGroup ShareGroup::Hold ShareGroup::Record ShareGroup::Subscription);

# What an owner tells, and who is to know: "owner event" => $code->($client, @about). Owners
# hold nobody above them.
my %EVENT = (
    'cluster opens'      => sub { $_[0]->_open_here },
    'cluster connected'  => sub { $_[0]->_connected },
    'cluster leaders'    => sub {
        my ($client, $topic, $leaders, $id) = @_;
        $client->{producer}->route($topic, $leaders, $id);
        $client->{consumer}->leaders_changed;
    },
    'cluster recreated'  => sub {
        my ($client, $topic) = @_;
        $client->{consumer}->recreated($topic);
        $client->{group}->recreated($topic);
    },
    'cluster metadata'   => sub {
        my ($client, $has_news) = @_;
        $client->{producer}->metadata_changed;
        return unless $has_news;
        $client->{consumer}->look_again;
        $client->{group}->metadata_changed;
        $client->{share}->metadata_changed;
    },
    'cluster ready'      => sub {
        my ($client, $purpose, $node_id) = @_;
        $client->{producer}->send_to($node_id) if $purpose eq 'main';
    },
    'cluster down'       => sub {
        my ($client, $purpose, $node_id) = @_;
        $client->{cluster}->open(main => $node_id) if $purpose eq 'main' && $client->{producer}->needs_broker($node_id);
    },
    'cluster gone'       => sub {
        my ($client, $purpose, $node_id) = @_;
        $client->{consumer}->gone($node_id) if $purpose eq 'fetch';
    },
    'cluster program_op' => sub { my ($client, $op) = @_; $op->{run}->($client, $op) },
    'consumer moved'      => sub { $_[0]{transactions}->moved },
    'consumer delivers'   => sub { $_[0]{group}->before_delivery },
    'consumer positioned' => sub { $_[0]{group}->positioned },
    'closing done'       => sub { $_[0]->_shut_down('close') },
    'group revoked'      => sub { my ($client, @positions) = @_; $client->{transactions}->gives_up(@positions) },
    'group resumed'      => sub { my ($client, $key) = @_; $client->{transactions}->takes_over($key) },
    'producer identified'         => sub { $_[0]{transactions}->identified; $_[0]->_announce_connected },
    'producer identity_failed'    => sub { my ($client, @about) = @_; $client->{transactions}->identity_failed(@about) },
    'producer failed'             => sub { my ($client, $error) = @_; $client->_not_connected($error) },
    'producer epoch_needed'       => sub { $_[0]{transactions}->epoch_needed },
    'producer progress'           => sub { $_[0]{transactions}->progress },
    'producer transaction_failed' => sub { my ($client, @about) = @_; $client->{transactions}->transaction_failed(@about) },
);

sub new {
    my ($class, @options) = @_;
    my $refusal = EV::Kafka::_thread_refusal();
    Carp::croak($refusal) if defined $refusal;
    my $cfg = EV::Kafka::Options->parse(@options);
    my $self = bless { cfg => $cfg, waiters => [], state => '' }, $class;
    $self->_build;
    return $self;
}

# The owners of all state, from the ground up.
sub _build {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    Scalar::Util::weaken(my $weak = $self);
    # Asked at every entry: which process this is costs the least.
    my $process = EV::Kafka::_process();
    my $abandon = sub {
        return 0 if EV::Kafka::_process() == $process || !$weak || !$weak->_is_foreign;
        $weak->_leave_to_parent;
        return 1;
    };
    $self->{loop}   = EV::Kafka::Loop->new($cfg->{loop});
    $self->{outbox} = EV::Kafka::Outbox->new($self->{loop}, $cfg, $abandon);
    my @ground = (loop => $self->{loop}, outbox => $self->{outbox}, options => $cfg);
    $self->{cluster} = EV::Kafka::Cluster->new(@ground, tells => $self->_tells('cluster'));
    push @ground, cluster => $self->{cluster};
    $self->{coordinators} = EV::Kafka::Coordinators->new(@ground);
    push @ground, coordinators => $self->{coordinators};
    $self->{offsets} = EV::Kafka::Offsets->new(@ground);
    $self->{admin} = EV::Kafka::Admin->new(@ground);
    $self->{consumer} = EV::Kafka::Consumer->new(@ground, offsets => $self->{offsets}, tells => $self->_tells('consumer'));
    $self->{producer} = EV::Kafka::Producer->new(@ground, tells => $self->_tells('producer'));
    $self->_attach($self->{producer}->accumulator);
    $self->{group} = EV::Kafka::Group->new(@ground, consumer => $self->{consumer}, tells => $self->_tells('group'),
        is_here => sub { $weak && $weak->_is_here });
    $self->{share} = EV::Kafka::ShareGroup->new(@ground, is_here => sub { $weak && $weak->_is_here });
    $self->{transactions} = EV::Kafka::Transactions->new(@ground, map { $_ => $self->{$_} } qw(producer consumer group));
    $self->{closing} = EV::Kafka::Closing->new(@ground, map({ $_ => $self->{$_} } qw(producer consumer group share)), tells => $self->_tells('closing'));
    $self->{stats} = EV::Kafka::Stats->new(@ground, map { $_ => $self->{$_} } qw(producer consumer group share transactions));
    return;
}

# Through which an owner tells: $tells->($event, @about).
sub _tells {
    my ($self, $owner) = @_;
    Scalar::Util::weaken(my $weak = $self);
    return sub {
        my ($event, @about) = @_;
        my $client = $weak or return;
        $EVENT{"$owner $event"}->($client, @about);
        return;
    };
}

# A method of the program's, which is its owner's.
sub _public {
    my ($self, $owner, $method, @args) = @_;
    $self->_check_open;
    return $self->{outbox}->enter($self->{$owner}, $method, @args);
}

sub connect {
    my ($self, $cb) = @_;
    $self->_check_open;
    return $self->{outbox}->enter($self, _connect => $cb);
}

sub _connect {
    my ($self, $cb) = @_;
    my $is_connected = $self->{cluster}->is_connected;
    $self->{stats}->begin;
    $self->_look_at_anyevent;
    return $self->{outbox}->call($cb, $self->{cfg}{meta}) if $is_connected && $self->{producer}->has_identity;
    push @{ $self->{waiters} }, $cb if $cb;
    return $is_connected ? $self->{producer}->renew : $self->{cluster}->connect;
}

# Modules by which a loop that AnyEvent knows under another name runs on EV.
my @RUNS_ON_EV = qw(IO/Async/Loop/EV.pm POE/Loop/EV.pm);

# On another backend of AnyEvent no watcher of ours is ever called, so nothing would tell.
sub _look_at_anyevent {
    my ($self) = @_;
    no warnings 'once';
    my $model = $AnyEvent::MODEL;
    return if $self->{cfg}{loop} || !defined $model || $model eq 'AnyEvent::Impl::EV' || grep { $INC{$_} } @RUNS_ON_EV;
    return $self->{outbox}->notice(loop => "AnyEvent runs on $model: waiting in AnyEvent does not run this client, which is on "
        . 'EV (say use EV before AnyEvent makes its first watcher, or set PERL_ANYEVENT_MODEL=EV)', model => $model);
}

# The first metadata is there.
sub _connected {
    my ($self) = @_;
    return $self->{producer}->has_identity ? $self->_announce_connected : $self->{producer}->renew;
}

# on_connect once, and every callback of connect that still waits.
sub _announce_connected {
    my ($self) = @_;
    my ($cfg, $outbox) = @$self{qw(cfg outbox)};
    $outbox->call($cfg->{on_connect}) if $self->{state} eq '';
    $self->{state} = 'connected';
    $outbox->call($_, $cfg->{meta}) for splice @{ $self->{waiters} };
    return;
}

sub _not_connected {
    my ($self, $error) = @_;
    $self->{outbox}->fail($_, $error) for splice @{ $self->{waiters} };
    return;
}

sub close {
    my ($self, @arguments) = @_;
    my ($seconds, $cb) = EV::Kafka::Closing->arguments(@arguments);
    my $refusal = $self->_unusable;
    if    ($self->_is_foreign) { $self->_leave_to_parent }
    elsif (defined $refusal)   { Carp::croak($refusal) }
    elsif (defined $seconds)   { return if $self->{outbox}->enter($self->{closing}, begin => $seconds, $cb) }
    else                       { $self->_shut_down('close') }
    $self->{outbox}->call($cb);
    return;
}

sub _has_ended { return $_[0]{state} eq 'closed' || $_[0]{state} eq 'left' }

sub _check_open {
    my ($self) = @_;
    if (defined(my $refusal = $self->_unusable)) {
        $self->_leave_to_parent if $self->_is_foreign;
        Carp::croak($refusal);
    }
    Carp::croak('EV::Kafka: client is closed') if $self->_has_ended;
    return;
}

sub stats        { shift->_public(stats    => stats          => @_) }
sub metadata     { shift->_public(cluster  => known_metadata => @_) }
sub is_connected { shift->_public(cluster  => is_reachable   => @_) }
sub assignment   { shift->_public(consumer => assignment     => @_) }
sub subscription { shift->_public(group    => subscription   => @_) }

sub subscribe   { shift->_public(group => subscribe   => @_) }
sub unsubscribe { shift->_public(group => unsubscribe => @_) }
sub subscribe_share   { shift->_public(share => subscribe   => @_) }
sub unsubscribe_share { shift->_public(share => unsubscribe => @_) }
sub commit      { shift->_public(group => commit      => @_) }
sub committed   { shift->_public(group => committed   => @_) }

# Everything that waits is called back once; nothing is sent or opened after.
sub _shut_down {
    my ($self, $how) = @_;
    return if $self->_has_ended;
    $self->{state} = 'closed';
    my $error = EV::Kafka::Error->closed;
    $self->{outbox}->mute;
    $self->{$_}->stop for qw(stats producer cluster);
    $self->{consumer}->close($error);
    $self->_not_connected($error);
    $self->{closing}->close($error);
    $self->{group}->close($error);
    $self->{share}->close($error);
    $self->{admin}->close($error);
    $self->{coordinators}->close($error);
    $self->{transactions}->close($error);
    # Before the topics that messages wait for are given up: who has no callback is counted there.
    my $unheard = $self->{producer}->close($error);
    $self->{cluster}->fail_waiting($error);
    $self->{outbox}->last_notice(_unheard_text($how, $unheard), messages => $unheard) if $unheard;
    $self->{outbox}->end;
    $self->{offsets}->close($error);
    $self->{cluster}->close($error);
    return;
}

# Of messages with a callback that hears of it.
sub _unheard_text {
    my ($how, $count) = @_;
    my $messages = $count == 1 ? '1 message that was not delivered' : "$count messages that were not delivered";
    return "close: $messages and had no callback; flush first, and close in its callback" if $how eq 'close';
    return "a client went out of scope with $messages and had no callback; keep it until flush has called back";
}

# In a forked child neither the sockets nor the callbacks are this process's: nothing
# is sent and nobody is called. Descriptors and memory are all there is to give up.
sub _leave_to_parent {
    my ($self) = @_;
    return if $self->{state} eq 'left';
    @$self{qw(state waiters)} = ('left', []);
    $self->{outbox}->forget;
    $self->{stats}->stop;
    $self->{$_}->abandon for qw(closing transactions group share producer consumer admin offsets coordinators cluster);
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    return if !$self->{transactions} || !$self->_is_here;
    local ($@, $!, $?);
    $self->_shut_down('scope');
    return;
}

# The native produce calls these.
sub _produce_slow {
    # What a client is made of may have gone before.
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    return shift->_public(producer => produce => @_);
}

# The program's partitioner has been asked, and has said this. It may have closed the client.
sub _produce_placed {
    my ($self, @arguments) = @_;
    my ($producer, $outbox) = @$self{qw(producer outbox)};
    return $producer->produce_placed(@arguments) if $outbox->has_ended;
    return $outbox->enter($producer, produce_placed => @arguments);
}

sub produce_many { shift->_public(producer => produce_many => @_) }
sub flush        { shift->_public(producer => flush => @_) }
sub purge        { shift->_public(producer => purge => @_) }
sub buffered     { shift->_public(producer => buffered => @_) }
sub on_drain     { shift->_public(producer => on_drain => @_) }

sub assign         { shift->_public(consumer => assign         => @_) }
sub seek           { shift->_public(consumer => seek           => @_) }
sub position       { shift->_public(consumer => position       => @_) }
sub pause          { shift->_public(consumer => pause          => @_) }
sub resume         { shift->_public(consumer => resume         => @_) }
sub poll           { shift->_public(consumer => poll           => @_) }
sub consume        { shift->_public(consumer => consume        => @_) }
sub done           { shift->_public(consumer => done           => @_) }
sub stop_consuming { shift->_public(consumer => stop_consuming => @_) }

sub transaction                 { shift->_public(transactions => run => @_) }
sub begin_transaction           { shift->_public(transactions => begin => @_) }
sub send_offsets_to_transaction { shift->_public(transactions => send_offsets => @_) }
sub commit_transaction          { shift->_public(transactions => commit => @_) }
sub abort_transaction           { shift->_public(transactions => abort => @_) }

sub offsets_for       { shift->_public(offsets => offsets_for => @_) }
sub offsets_for_times { shift->_public(offsets => offsets_for_times => @_) }

sub lag {
    my ($self, $cb) = @_;
    my $consumer = $self->{consumer};
    return $self->_public(offsets => lag => sub {
        return map { my $assigned = $_; [@$assigned{qw(topic partition)}, sub { ($consumer->position_of($assigned))[0] }] }
            $consumer->assignments;
    }, $cb);
}

# --- what operators do: as EV::Kafka::Admin has it ---------------------------------

sub _admin { my ($self, $method, @args) = @_; return $self->_public(admin => perform => $method, @args) }

sub create_topics             { shift->_admin(create_topics             => @_) }
sub delete_topics             { shift->_admin(delete_topics             => @_) }
sub create_partitions         { shift->_admin(create_partitions         => @_) }
sub describe_topics           { shift->_admin(describe_topics           => @_) }
sub describe_configs          { shift->_admin(describe_configs          => @_) }
sub alter_configs             { shift->_admin(alter_configs             => @_) }
sub list_config_resources     { shift->_admin(list_config_resources     => @_) }
sub list_groups               { shift->_admin(list_groups               => @_) }
sub describe_groups           { shift->_admin(describe_groups           => @_) }
sub describe_share_groups     { shift->_admin(describe_share_groups     => @_) }
sub delete_groups             { shift->_admin(delete_groups             => @_) }
sub delete_group_offsets      { shift->_admin(delete_group_offsets      => @_) }
sub alter_group_offsets       { shift->_admin(alter_group_offsets       => @_) }
sub remove_members            { shift->_admin(remove_members            => @_) }
sub delete_records            { shift->_admin(delete_records            => @_) }
sub list_offsets              { shift->_admin(list_offsets              => @_) }
sub describe_producers        { shift->_admin(describe_producers        => @_) }
sub describe_cluster          { shift->_admin(describe_cluster          => @_) }
sub describe_quorum           { shift->_admin(describe_quorum           => @_) }
sub describe_features         { shift->_admin(describe_features         => @_) }
sub update_features           { shift->_admin(update_features           => @_) }
sub elect_leaders             { shift->_admin(elect_leaders             => @_) }
sub describe_log_dirs         { shift->_admin(describe_log_dirs         => @_) }
sub alter_reassignments       { shift->_admin(alter_reassignments       => @_) }
sub list_reassignments        { shift->_admin(list_reassignments        => @_) }
sub describe_acls             { shift->_admin(describe_acls             => @_) }
sub create_acls               { shift->_admin(create_acls               => @_) }
sub delete_acls               { shift->_admin(delete_acls               => @_) }
sub describe_scram_users      { shift->_admin(describe_scram_users      => @_) }
sub alter_scram_users         { shift->_admin(alter_scram_users         => @_) }
sub describe_quotas           { shift->_admin(describe_quotas           => @_) }
sub alter_quotas              { shift->_admin(alter_quotas              => @_) }
sub list_transactions         { shift->_admin(list_transactions         => @_) }
sub describe_transactions     { shift->_admin(describe_transactions     => @_) }
sub fence_producers           { shift->_admin(fence_producers           => @_) }
sub abort_hanging_transaction { shift->_admin(abort_hanging_transaction => @_) }

sub error_name { EV::Kafka::_error_name($_[-1]) }

# --- what tests of programs call --------------------------------------------------

sub _flush_all_batches {
    my ($self) = @_;
    return $self->{outbox}->enter($self->{producer}, 'flush_all');
}

sub _merge_metadata { my ($cfg, $meta) = @_; return EV::Kafka::Cluster::Topics->new($cfg)->merge($meta) }

sub _assign_partitions { my ($self, @group) = @_; return $self->{group}->share_out(@group) }

sub _refresh_metadata { my ($self) = @_; return $self->{cluster}->refresh }

sub _refresh_metadata_for_topic { my ($self, $topic) = @_; return $self->{cluster}->want($topic) }

sub _drain_pending_for { my ($self, $node_id) = @_; return $self->{cluster}->run_on_broker($node_id) }

1;

__END__

=head1 NAME

EV::Kafka::Client - the cluster client that EV::Kafka->new returns

=head1 SYNOPSIS

    use EV::Kafka;
    my $kafka = EV::Kafka->new(brokers => '127.0.0.1:9092');

=head1 DESCRIPTION

The public methods are documented in L<EV::Kafka>. This class makes the owners that do
the work, wires what they tell each other, hands the program's calls on to them, and
ends them in order. L<EV::Kafka::Internals> has the picture, and what each file is for.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Internals>

=cut
