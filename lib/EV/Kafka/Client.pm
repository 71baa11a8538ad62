package EV::Kafka::Client;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(weaken);

use EV::Kafka::Cluster;
use EV::Kafka::Consumer;
use EV::Kafka::Coordinators;
use EV::Kafka::Error;
use EV::Kafka::Facade;
use EV::Kafka::Group;
use EV::Kafka::Loop;
use EV::Kafka::Offsets;
use EV::Kafka::Options;
use EV::Kafka::Outbox;
use EV::Kafka::Strings;
use EV::Kafka::Transactions;

use parent qw(
    EV::Kafka::Events
    EV::Kafka::Producer
    EV::Kafka::Buffer
    EV::Kafka::Delivery
    EV::Kafka::Retry
    EV::Kafka::Idempotence
);

# Milliseconds a broker may take at most to have a Produce request replicated. It takes
# no longer than request_timeout: a broker that says nothing costs that time once.
use constant PRODUCE_TIMEOUT_MS => 30_000;

# A croak names the line of the program, whichever of these has found the mistake.
$Carp::Internal{"EV::Kafka::$_"} = 1 for qw(Client Consumer Group Group::Commits Group::Subscription Offsets Outbox Partitions Transactions);

# What an owner tells, and who is to know: "owner event" => $code->($client, @about). Owners
# hold nobody above them.
my %EVENT = (
    'cluster opens'      => sub { $_[0]->_open_here },
    'cluster connected'  => sub { $_[0]->_connected },
    'cluster leaders'    => sub { my ($client, $topic, $leaders) = @_; $client->{accumulator}->route($topic, $leaders) },
    'cluster recreated'  => sub { my ($client, $topic) = @_; $client->{consumer}->recreated($topic) },
    'cluster metadata'   => sub {
        my ($client, $has_news) = @_;
        if   (@{ $client->{cfg}{flush_waiters} }) { $client->_flush_all_batches }
        else                                      { $client->_send_ready }
        $client->_check_buffer;
        return unless $has_news;
        $client->{consumer}->look_again;
        $client->{group}->metadata_changed;
    },
    'cluster ready'      => sub {
        my ($client, $purpose, $node_id) = @_;
        $client->_send_ready_to($node_id) if $purpose eq 'main';
    },
    'cluster down'       => sub {
        my ($client, $purpose, $node_id) = @_;
        $client->{cluster}->open(main => $node_id) if $purpose eq 'main' && grep { $_ == $node_id } $client->_ready_nodes;
    },
    'cluster gone'       => sub {
        my ($client, $purpose, $node_id) = @_;
        $client->{consumer}->gone($node_id) if $purpose eq 'fetch';
    },
    'cluster program_op' => sub { my ($client, $op) = @_; $op->{run}->($client, $op) },
    'consumer moved'      => sub { $_[0]{transactions}->moved },
    'consumer delivers'   => sub { $_[0]{group}->before_delivery },
    'consumer positioned' => sub { $_[0]{group}->positioned },
    'group revoked'      => sub { my ($client, @positions) = @_; $client->{transactions}->gives_up(@positions) },
    'group resumed'      => sub { my ($client, $key) = @_; $client->{transactions}->takes_over($key) },
);

sub new {
    my ($class, @options) = @_;
    my $refusal = EV::Kafka::_thread_refusal();
    Carp::croak($refusal) if defined $refusal;
    my $cfg = EV::Kafka::Options->parse(@options);
    %$cfg = (%$cfg, _nothing_under_way());
    my $self = bless { cfg => $cfg }, $class;
    $self->_build;
    $cfg->{encoder} = EV::Kafka::Strings->new($cfg->{strings}) if defined $cfg->{strings};
    $self->_apply_options;
    return $self;
}

# The owners of all state, from the ground up.
sub _build {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    weaken(my $weak = $self);
    my $abandon = sub {
        return 0 unless $weak && $weak->_is_foreign;
        $weak->_leave_to_parent;
        return 1;
    };
    $self->{accumulator} = _new_accumulator($cfg);
    $self->_attach($self->{accumulator});
    $self->{accumulator}->listen(\$weak);
    $self->{loop}   = EV::Kafka::Loop->new($cfg->{loop});
    $self->{outbox} = EV::Kafka::Outbox->new($self->{loop}, $cfg, $abandon);
    $self->{$_} = EV::Kafka::Facade->of($_, $self) for EV::Kafka::Facade->rooms;
    my @ground = (loop => $self->{loop}, outbox => $self->{outbox}, options => $cfg);
    $self->{cluster} = EV::Kafka::Cluster->new(@ground, tells => $self->_tells('cluster'));
    push @ground, cluster => $self->{cluster};
    $self->{coordinators} = EV::Kafka::Coordinators->new(@ground);
    push @ground, coordinators => $self->{coordinators};
    $self->{offsets} = EV::Kafka::Offsets->new(@ground);
    $self->{consumer} = EV::Kafka::Consumer->new(@ground, offsets => $self->{offsets}, tells => $self->_tells('consumer'));
    $self->{group} = EV::Kafka::Group->new(@ground, consumer => $self->{consumer}, tells => $self->_tells('group'),
        is_here => sub { $weak && $weak->_is_here });
    $self->{transactions} = EV::Kafka::Transactions->new(@ground, map { $_ => $self->{$_} } qw(producer consumer group));
    return;
}

# Through which an owner tells: $tells->($event, @about).
sub _tells {
    my ($self, $owner) = @_;
    weaken(my $weak = $self);
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

sub _new_accumulator {
    my ($cfg) = @_;
    return EV::Kafka::Accumulator->new({
        (map { ($_ => $cfg->{$_}) } qw(batch_size batch_limit max_request_size delivery_timeout idempotent transactional_id
            buffer_memory strings)),
        timeout_ms => _produce_timeout_ms($cfg->{request_timeout}),
    });
}

sub _produce_timeout_ms {
    my ($seconds) = @_;
    return PRODUCE_TIMEOUT_MS if !$seconds || $seconds * 1000 > PRODUCE_TIMEOUT_MS;
    return $seconds < 0.001 ? 1 : int $seconds * 1000;
}

# The state of a client that has done nothing yet.
sub _nothing_under_way {
    return (
        connect_waiters => [],
        flush_waiters   => [],
        parked          => {},
        beyond          => {},
        producer_id     => -1,
        producer_epoch  => -1,
        _linger_active  => 0,
        _linger_timer   => undef,
    );
}

sub connect {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    my $is_connected = $self->{cluster}->is_connected;
    if ($is_connected && $self->_producer_is_ready) {
        $self->_call($cb, $cfg->{meta});
        return;
    }
    push @{ $cfg->{connect_waiters} }, $cb if $cb;
    return $is_connected ? $self->_renew_producer : $self->{cluster}->connect;
}

# The first metadata is there.
sub _connected {
    my ($self) = @_;
    return $self->_producer_is_ready ? $self->_announce_connected : $self->_renew_producer;
}

# on_connect once, and every callback of connect that still waits.
sub _announce_connected {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    $self->_call($cfg->{on_connect}) unless $cfg->{announced}++;
    $self->_call($_, $cfg->{meta}) for splice @{ $cfg->{connect_waiters} };
    return;
}

sub close {
    my ($self, $cb) = @_;
    my $refusal = $self->_unusable;
    if    ($self->_is_foreign)    { $self->_leave_to_parent }
    elsif (defined $refusal)      { Carp::croak($refusal) }
    elsif (!$self->{cfg}{closed}) { $self->_shut_down }
    $self->_call($cb);
    return;
}

sub _check_open {
    my ($self) = @_;
    if (defined(my $refusal = $self->_unusable)) {
        $self->_leave_to_parent if $self->_is_foreign;
        Carp::croak($refusal);
    }
    Carp::croak('EV::Kafka: client is closed') if $self->{cfg}{closed};
    return;
}

sub subscribe   { my ($self, @args) = @_; return $self->_public(group => subscribe => @args) }
sub unsubscribe { my ($self, @args) = @_; return $self->_public(group => unsubscribe => @args) }
sub commit      { my ($self, @args) = @_; return $self->_public(group => commit => @args) }
sub committed   { my ($self, @args) = @_; return $self->_public(group => committed => @args) }

# Everything that waits is called back once; nothing is sent or opened after.
sub _shut_down {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    $cfg->{closed} = 1;
    $self->{accumulator}->divert(1);
    $self->{cluster}->stop;
    delete @$cfg{qw(_expiry_timer _retry_timer _delivery_timer unpark_timers _flush_timer)};
    $cfg->{_linger_active} = 0;
    $cfg->{_linger_timer}  = undef;
    my @connecting = splice @{ $cfg->{connect_waiters} };
    my @waiters = splice @{ $cfg->{flush_waiters} };
    delete $_->{timer} for @waiters;

    $self->{consumer}->close('client closed');
    $self->_call($_, undef, 'client closed') for @connecting;
    $self->{group}->close('client closed');
    $self->{coordinators}->close('client closed');
    $self->{transactions}->close('client closed');
    $self->{cluster}->fail_waiting('client closed');
    $self->{accumulator}->fail_all('client closed', 'disconnected');
    $self->{outbox}->end;
    $self->{offsets}->close('client closed');
    $self->_call($_->{cb}, 'client closed') for @waiters;
    $self->{cluster}->close('client closed');
    return;
}

# In a forked child neither the sockets nor the callbacks are this process's: nothing
# is sent and nobody is called. Descriptors and memory are all there is to give up.
sub _leave_to_parent {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{left_to_parent}++;
    $cfg->{closed} = 1;
    $self->{outbox}->forget;
    $self->{$_}->abandon for qw(transactions group consumer offsets coordinators cluster);
    delete @$cfg{ qw(buffer_full unpark_timers), grep { /\A_\w+_timer\z/ } keys %$cfg };
    %$cfg = (%$cfg, _nothing_under_way());
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    my $cfg = $self->{cfg} or return;
    return if $cfg->{closed} || !$self->_is_here;
    local ($@, $!, $?);
    $self->_shut_down;
    return;
}

sub assign         { shift->_public(consumer => assign         => @_) }
sub seek           { shift->_public(consumer => seek           => @_) }
sub position       { shift->_public(consumer => position       => @_) }
sub pause          { shift->_public(consumer => pause          => @_) }
sub resume         { shift->_public(consumer => resume         => @_) }
sub poll           { shift->_public(consumer => poll           => @_) }
sub consume        { shift->_public(consumer => consume        => @_) }
sub stop_consuming { shift->_public(consumer => stop_consuming => @_) }

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

sub error_name { EV::Kafka::_error_name($_[-1]) }

# --- what tests of programs call --------------------------------------------------

sub _merge_metadata { my ($cfg, $meta) = @_; return EV::Kafka::Cluster::Topics->new($cfg)->merge($meta) }

sub _assign_partitions { my ($self, @group) = @_; return $self->{group}->share_out(@group) }

sub _refresh_metadata_for_topic { my ($self, $topic) = @_; return $self->{cluster}->want($topic) }

sub _drain_pending_for { my ($self, $node_id) = @_; return $self->{cluster}->run_on_broker($node_id) }

# --- delegators: what parts of the client that are its parents call of the owners ---

sub _is_known           { my ($self, @wanted) = @_; return $self->{cluster}->is_known(@wanted) }
sub _ready_conn         { my ($self, @link) = @_; return $self->{cluster}->ready_conn(@link) }

# Their operations are run with the client, as a program's are.
sub _on_topic       { my ($self, $op) = @_; return $self->{cluster}->on_topic({ %$op, is_owners => 0 }) }

# At once. A message takes its transaction along, whose end says so, or {is_told} already.
sub _fail_ops {
    my ($self, $error, @ops) = @_;
    $self->{cluster}->fail($error, grep { $_->{cb} || !$_->{transaction} && !$_->{is_told} } @ops);
    $self->{outbox}->drain;
    $self->_txn_broken($_, $error) for grep { $_ } map { $_->{transaction} } @ops;
    return;
}

sub _transactions_hear {
    my ($self, @news) = @_;
    return $self->{outbox}->enter($self->{transactions}, @news);
}

sub _txn_rules           { return $_[0]{cfg}{txn_rules} || {} }
sub _txn_open            { return $_[0]->_txn_rules->{transaction} }
sub _txn_joined          { my ($self) = @_; return $self->_txn_rules->{joined} ? $self->_txn_open : undef }
sub _txn_must_end_first  { return $_[0]->_txn_rules->{must_end} }
sub _produce_refusal     { return $_[0]->_txn_rules->{refusal} }
sub _txn_broken          { my ($self, $number, $error) = @_; return $self->_transactions_hear(transaction_failed => abort => $error, $number) }
sub _txn_batch_failed    { my ($self, @about) = @_; return $self->_transactions_hear(transaction_failed => @about) }
sub _txn_needs_epoch     { return $_[0]->_transactions_hear('epoch_needed') }
sub _txn_renewed         { return $_[0]->_transactions_hear('identified') }
sub _txn_register_new    { return $_[0]->_transactions_hear('progress') }
sub _txn_advance         { return $_[0]->_transactions_hear('progress') }

# Messages that are refused are not for the native produce.
sub _native_if_taken {
    my ($self) = @_;
    my $is_off = defined $self->{cfg}{producer_error} || defined $self->_produce_refusal;
    return $is_off ? $self->_native_off : $self->_native_on;
}

# Names by which rooms that are parts of the client still call the accumulator.
sub _native_off { return $_[0]{accumulator}->divert(1) }
sub _native_on  { return $_[0]{accumulator}->divert(0) }
sub _needs_producer { my ($self, @about) = @_; return $self->{accumulator}->needs_identity(@about) }
sub _ready_nodes { my ($self, @about) = @_; return $self->{accumulator}->ready_nodes(@about) }

1;

__END__

=head1 NAME

EV::Kafka::Client - the cluster client that EV::Kafka->new returns

=head1 SYNOPSIS

    use EV::Kafka;
    my $kafka = EV::Kafka->new(brokers => '127.0.0.1:9092');

=head1 DESCRIPTION

The public methods are documented in L<EV::Kafka>. This class puts them together
from modules with one task each:

=over 4

=item L<EV::Kafka::Options>, what C<new> accepts

=item L<EV::Kafka::Cluster>, the brokers, topics and leaders, connections, and what waits for them

=item L<EV::Kafka::Producer>, L<EV::Kafka::Buffer>, L<EV::Kafka::Delivery>, L<EV::Kafka::Retry>, L<EV::Kafka::Idempotence>,
C<produce> to the delivery callback; L<EV::Kafka::Strings>, what goes out of its strings

=item L<EV::Kafka::Transactions>, L<EV::Kafka::Transaction>, C<begin_transaction> to C<commit_transaction>

=item L<EV::Kafka::Consumer>, C<assign> to C<on_message>; L<EV::Kafka::Offsets>, C<lag>

=item L<EV::Kafka::Group>, C<subscribe> to C<unsubscribe>, assignments and committed offsets

=item L<EV::Kafka::Epochs>, logs that were truncated or replaced

=item L<EV::Kafka::Coordinators>, L<EV::Kafka::Request>, L<EV::Kafka::Error>, requests until they are answered for good

=item L<EV::Kafka::Events>, timers and callbacks

=back

C<produce> itself, the batches and the delivery of records are native.

=head1 SEE ALSO

L<EV::Kafka>

=cut
