package EV::Kafka::Client;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(weaken);

use EV::Kafka::Coordinators;
use EV::Kafka::Error;
use EV::Kafka::Facade;
use EV::Kafka::Loop;
use EV::Kafka::Offsets;
use EV::Kafka::Options;
use EV::Kafka::Outbox;
use EV::Kafka::Strings;

use parent qw(
    EV::Kafka::Events
    EV::Kafka::Pending
    EV::Kafka::Connections
    EV::Kafka::Bootstrap
    EV::Kafka::Metadata
    EV::Kafka::Producer
    EV::Kafka::Buffer
    EV::Kafka::Delivery
    EV::Kafka::Retry
    EV::Kafka::Idempotence
    EV::Kafka::Transactions
    EV::Kafka::TransactionRequests
    EV::Kafka::Consumer
    EV::Kafka::Poll
    EV::Kafka::Fetcher
    EV::Kafka::FetchAnswer
    EV::Kafka::Dispatch
    EV::Kafka::Epochs
    EV::Kafka::Group
    EV::Kafka::Membership
    EV::Kafka::Reconciliation
    EV::Kafka::Session
    EV::Kafka::Leader
    EV::Kafka::Ownership
    EV::Kafka::GroupOffsets
);

# Milliseconds a broker may take at most to have a Produce request replicated. It takes
# no longer than request_timeout: a broker that says nothing costs that time once.
use constant PRODUCE_TIMEOUT_MS => 30_000;

# A croak names the line of the program, whichever of these has found the mistake.
$Carp::Internal{"EV::Kafka::$_"} = 1 for qw(Client Offsets Outbox);

# What an owner tells, and who is to know: "owner event" => $code->($client, @about). Owners
# hold nobody above them.
my %EVENT = (
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
    push @ground, cluster => $self->{cluster};
    $self->{coordinators} = EV::Kafka::Coordinators->new(@ground);
    push @ground, coordinators => $self->{coordinators};
    $self->{offsets} = EV::Kafka::Offsets->new(@ground);
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
        conns           => {},
        links           => {},
        lost_brokers    => {},
        broker_map      => {},
        leaders         => {},
        topics          => {},
        meta            => undef,
        metadata_due    => {},
        metadata_asked  => {},
        metadata_creates => {},
        bootstrap_conn  => undef,
        connect_waiters => [],
        pending_ops     => [],
        flush_waiters   => [],
        held            => {},
        parked          => {},
        beyond          => {},
        assignments     => [],
        cursors         => {},
        fetches         => {},
        idle_rounds     => [],
        consuming       => 0,
        keeps_positions => 0,
        answers         => [],
        delivery        => {},
        group           => undef,
        group_timers    => {},
        group_ops       => {},
        producer_id     => -1,
        producer_epoch  => -1,
        _topic_meta_tries => {},
        _linger_active  => 0,
        _linger_timer   => undef,
    );
}

sub connect {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    if ($cfg->{connected} && $self->_producer_is_ready) {
        $self->_call($cb, $cfg->{meta});
        return;
    }
    push @{ $cfg->{connect_waiters} }, $cb if $cb;
    return $self->_renew_producer if $cfg->{connected};
    return if $cfg->{metadata_request};
    # Also after all brokers were found dead: at once, and worth another report.
    @$cfg{qw(started outage_reported)} = (1, 0);
    $cfg->{metadata_due}{ EV::Kafka::Metadata::ALL_TOPICS() } = $self->_now;
    return $self->_pump_metadata;
}

# The first metadata is there. What was queued goes before what the callbacks do.
sub _connected {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    $cfg->{connected} = 1;
    $self->_start_metadata_refresh;
    $self->_drain_pending_topics;
    $self->_drain_pending_first;
    return if $cfg->{closed};
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

sub _start_metadata_refresh {
    my ($self) = @_;
    my $interval = $self->{cfg}{metadata_refresh} or return;
    $self->{cfg}{_refresh_timer} = $self->_timer($interval, '_refresh_periodically');
    return;
}

sub _refresh_periodically {
    my ($self) = @_;
    $self->_start_metadata_refresh;
    return $self->_refresh_metadata;
}

# Runs what needs the cluster to be known, now or after connect.
sub _when_connected {
    my ($self, $op) = @_;
    return $self->{cfg}{connected} ? $self->_run_ops($op) : $self->_queue_op($op);
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

# Everything that waits is called back once; nothing is sent or opened after.
sub _shut_down {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    $cfg->{closed} = 1;
    $self->{accumulator}->divert(1);
    delete @$cfg{qw(_refresh_timer _metadata_timer _expiry_timer _delivery_timer unpark_timers _flush_timer metadata_request adoption)};
    $cfg->{_linger_active} = 0;
    $cfg->{_linger_timer}  = undef;
    my @connecting = splice @{ $cfg->{connect_waiters} };
    my @waiters = splice @{ $cfg->{flush_waiters} };
    delete $_->{timer} for @waiters;
    $cfg->{held} = {};
    delete $_->{retry} for values %{ $cfg->{links} };

    $self->_call($_, undef, 'client closed') for @connecting;
    $self->_close_group;
    $self->{coordinators}->close('client closed');
    $self->_fail_txn('client closed');
    $self->_fail_ops('client closed', splice @{ $cfg->{pending_ops} });
    $self->{accumulator}->fail_all('client closed', 'disconnected');
    $self->{outbox}->end;
    $self->{offsets}->close('client closed');
    $self->_call($_->{cb}, 'client closed') for @waiters;
    $self->_stop_fetching('client closed');
    $self->_disconnect_all;
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
    $self->{$_}->abandon for qw(offsets coordinators);
    delete @$cfg{ qw(metadata_request adoption buffer_full txn unpark_timers), grep { /\A_\w+_timer\z/ } keys %$cfg };
    $self->_disconnect_all;
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

# --- the owners' methods by the names that parts of the client still call -----------

sub _coordinator_refused { shift->{coordinators}->refused(@_) }
sub _forget_coordinator  { shift->{coordinators}->forget(@_) }
sub _ready_coordinator   { shift->{coordinators}->ready_conn(@_) }

sub _isolation { $_[0]{offsets}->isolation }

sub _lookup_offset {
    my ($self, $topic, $partition, $timestamp, $done) = @_;
    weaken(my $weak = $self);
    return $self->{offsets}->lookup($topic, $partition, $timestamp, sub {
        my ($offset, $error, $answer) = @_;
        return $weak ? $done->($weak, $offset, $error && $error->text, $answer) : undef;
    });
}

sub _is_coordinator_error { shift; return EV::Kafka::Error::is_retriable_by_coordinator(@_) }

sub _with_coordinator {
    my ($self, $kind, $key, $op) = @_;
    weaken(my $weak = $self);
    return $self->{coordinators}->ask($kind, $key, {
        %$op,
        run => sub {
            my ($running, $conn) = @_;
            $conn->_patience($weak->{coordinators}->patience($op->{patience}));
            $op->{run}->($weak, $running, $conn);
            $conn->_patience(undef);
        },
        cb => sub { $weak ? $weak->_call($op->{cb}, undef, $_[1]->text) : EV::Kafka::Events->_call($op->{cb}, undef, $_[1]->text) },
    });
}

# Names by which rooms that are parts of the client still call the accumulator.
sub _native_off { return $_[0]{accumulator}->divert(1) }
sub _native_on  { return $_[0]{accumulator}->divert(0) }
sub _route { my ($self, @about) = @_; return $self->{accumulator}->route(@about) }
sub _needs_producer { my ($self, @about) = @_; return $self->{accumulator}->needs_identity(@about) }
sub _txn_begin { my ($self, @about) = @_; return $self->{accumulator}->begin_transaction(@about) }
sub _txn_keep_for_next { my ($self, @about) = @_; return $self->{accumulator}->keep_for_next_transaction(@about) }
sub _txn_leave { my ($self, @about) = @_; return $self->{accumulator}->leave_transaction(@about) }
sub _txn_end { my ($self, @about) = @_; return $self->{accumulator}->end_transaction(@about) }
sub _txn_unregistered { my ($self, @about) = @_; return $self->{accumulator}->unregistered(@about) }
sub _txn_registered { my ($self, @about) = @_; return $self->{accumulator}->register(@about) }
sub _txn_unsettled { my ($self, @about) = @_; return $self->{accumulator}->transaction_unsettled(@about) }
sub _txn_fail_unsent { my ($self, @about) = @_; return $self->{accumulator}->fail_transactional(@about) }
sub _ready_nodes { my ($self, @about) = @_; return $self->{accumulator}->ready_nodes(@about) }

# Tests of programs call it by this name.
sub _merge_metadata { goto &EV::Kafka::Metadata::_merge_metadata }

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

=item L<EV::Kafka::Bootstrap>, L<EV::Kafka::Metadata>, finding the cluster, topics and leaders

=item L<EV::Kafka::Connections>, L<EV::Kafka::Pending>, connections to brokers and what waits for them

=item L<EV::Kafka::Producer>, L<EV::Kafka::Buffer>, L<EV::Kafka::Delivery>, L<EV::Kafka::Retry>, L<EV::Kafka::Idempotence>,
C<produce> to the delivery callback; L<EV::Kafka::Strings>, what goes out of its strings

=item L<EV::Kafka::Transactions>, L<EV::Kafka::TransactionRequests>, C<begin_transaction> to C<commit_transaction>

=item L<EV::Kafka::Consumer>, L<EV::Kafka::Cursor>, C<assign>, C<seek>, C<pause>; L<EV::Kafka::Offsets>, C<lag>

=item L<EV::Kafka::Poll>, L<EV::Kafka::Fetcher>, L<EV::Kafka::FetchAnswer>, L<EV::Kafka::Dispatch>,
C<poll> to C<on_message>

=item L<EV::Kafka::Subscription>, L<EV::Kafka::Group>, L<EV::Kafka::Membership>,
L<EV::Kafka::Reconciliation>, L<EV::Kafka::Session>, C<subscribe> to C<unsubscribe>

=item L<EV::Kafka::Leader>, L<EV::Kafka::Ownership>, L<EV::Kafka::GroupOffsets>, L<EV::Kafka::Commits>,
assignments and committed offsets

=item L<EV::Kafka::Epochs>, logs that were truncated or replaced

=item L<EV::Kafka::Coordinators>, L<EV::Kafka::Request>, L<EV::Kafka::Error>, requests until they are answered for good

=item L<EV::Kafka::Events>, timers and callbacks

=back

C<produce> itself, the batches and the delivery of records are native.

=head1 SEE ALSO

L<EV::Kafka>

=cut
