package EV::Kafka::Transaction;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Partitions;
use EV::Kafka::Transaction::Requests;

# One transaction, from its begin until it is over. Its state:
#   number     which one it is
#   state      open, committing, aborting or over
#   cb         of commit_transaction or abort_transaction
#   error      why it cannot be committed any more
#   doubtful   why it is not known whether it was committed
#   doubt      the same, with what to do
#   was_committed   an abort has found that out
#   deadline   timer of a commit that waits for what is part of it
#   hurry      timer of an abort that waits for what is under way
#   late       it waits no longer
#   adding     AddPartitionsToTxn is under way
#   ending     its end is under way
#   renewing   and then the producer's next epoch
#   new_epoch  the producer takes its next epoch after the abort
#   offsets    calls of send_offsets_to_transaction under way, by number
#   sent       the last number of these
#   positions  of the consumer at begin, by topic:partition
#   given_up   a partition that it has records of was taken away by the group
#   generation of the group when the first message was produced
#   requests   what is asked for it
# version_of->() says which version of transactions it is to be, on_change is called when the producer's rules may be others, on_over at the end, and
# on_failure with the error after which nothing can go on.

# Seconds that abort_transaction waits for batches that are under way. One that is
# not answered by then could be written after the end of the transaction: a new
# epoch of the producer keeps it out.
use constant ABORT_PATIENCE => 1;

use constant INVALID_TXN_STATE => 48;

# As the answer to an abort it leaves nothing to do.
use constant TRANSACTION_ABORTABLE => 120;

# What leaves the producer alive: TOPIC_ and GROUP_AUTHORIZATION_FAILED,
# ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS,
# FENCED_INSTANCE_ID, OFFSET_METADATA_TOO_LARGE, INVALID_COMMIT_OFFSET_SIZE,
# INVALID_PRODUCER_ID_MAPPING, UNKNOWN_PRODUCER_ID, GROUP_ID_NOT_FOUND,
# STALE_MEMBER_EPOCH, TRANSACTION_ABORTABLE.
my %ABORTABLE = map { $_ => 1 } 12, 22, 25, 27, 28, 29, 30, 49, 59, 69, 82, 113, 120;

# After these a new epoch mends what is broken: INVALID_PRODUCER_ID_MAPPING and UNKNOWN_PRODUCER_ID.
my %NEEDS_EPOCH = map { $_ => 1 } 49, 59;

use constant ABORTED    => 'transaction aborted';
use constant COMMITTED  => 'the transaction was committed before';
use constant REBALANCED => 'the group was rebalanced in the middle of the transaction';

my @BELOW = qw(loop outbox options producer consumer group coordinators);

sub new {
    my ($class, %about) = @_;
    my $self = bless {
        (map { $_ => $about{$_} } @BELOW, qw(number version_of on_change on_over on_failure)),
        state => 'open', offsets => {}, sent => 0, positions => {},
    }, $class;
    weaken(my $weak = $self);
    my $producer = $self->{producer};
    $self->{requests} = EV::Kafka::Transaction::Requests->new(
        %about,
        subject  => $self,
        identity => sub { $producer->identity },
        on_quiet => sub { $weak ? $weak->advance : undef },
    );
    return $self;
}

sub number      { $_[0]{number} }
sub state       { $_[0]{state} }
sub is_renewing { $_[0]{renewing} ? 1 : 0 }

# Why it cannot be committed, or it is not known whether it was; and whether an abort has found out.
sub reason        { return $_[0]{error} // $_[0]{doubtful} }
sub was_committed { return $_[0]{was_committed} ? 1 : 0 }

sub _log {
    my ($self, $what, @why) = @_;
    my ($outbox, $id, $number) = ($self->{outbox}, $self->{options}{transactional_id}, $self->{number});
    return unless $outbox->logs('txn');
    return $outbox->log(txn => @why ? 'warning' : 'info', join(': ', "transaction $number of '$id' $what", @why), number => $number);
}

# --- the program's --------------------------------------------------------------------

sub begin {
    my ($self, $needs_epoch) = @_;
    my $producer = $self->{producer};
    $self->_log('begins');
    $self->note_positions;
    # Later the transaction would have to be aborted first.
    $producer->renew if $needs_epoch || $producer->needs_identity;
    # With what was produced while the last one was committed.
    $producer->begin_transaction;
    $self->{consumer}->release('transaction');
    return $producer->send_ready;
}

sub send_offsets {
    my ($self, $group_id, $cb) = @_;
    # What is delivered from here on is not part of these offsets.
    my @positions = $self->{consumer}->positions;
    $self->{consumer}->hold('transaction');
    my $id = ++$self->{sent};
    $self->{offsets}{$id} = {
        group_id => $group_id,
        member   => [$self->{group}->member($group_id)],
        topics   => EV::Kafka::Partitions::offsets_by_topic(@positions),
        cb       => $cb,
    };
    $self->_watch_generation;
    $self->broken(REBALANCED) if $self->{given_up};
    my $refusal = $self->_refusal;
    return $self->_offsets_sent($id, undef, $refusal) if defined $refusal;
    return $self->_offsets_sent($id, { topics => [], throttle_time_ms => 0 }) unless @positions;
    return $self->_add;
}

sub commit {
    my ($self, $cb) = @_;
    @$self{qw(state cb)} = ('committing', $cb);
    $self->_log('is to be committed');
    # What is produced from now on waits for the next one.
    $self->{producer}->keep_for_next;
    $self->_changed;
    $self->_limit_commit;
    $self->{producer}->flush_all;
    return $self->advance;
}

sub abort {
    my ($self, $cb) = @_;
    @$self{qw(state cb)} = ('aborting', $cb);
    $self->_log('is to be aborted');
    delete $self->{late};
    # What would be delivered from here on comes again, and what is produced is refused.
    $self->{consumer}->hold('abort');
    $self->_changed;
    $self->{hurry} = $self->{loop}->timer(ABORT_PATIENCE, $self, '_abort_late');
    $self->{requests}->stop_adding;
    $self->{producer}->abort_transaction;
    my $aborted = EV::Kafka::Error->without_code(ABORTED);
    $self->{producer}->fail_unsent($aborted);
    $self->_end_offsets($aborted);
    $self->advance;
    return;
}

# When the client ends.
sub close {
    my ($self, $error) = @_;
    $self->_be_over;
    $self->_end_offsets($error);
    return $self->{outbox}->fail(delete $self->{cb}, $error);
}

# What the producer does with messages meanwhile, as its rules have it.
sub rules {
    my ($self) = @_;
    my $state = $self->{state};
    return (
        refusal     => $state eq 'aborting' ? EV::Kafka::Error->without_code(ABORTED) : $state eq 'open' ? $self->_refusal : undef,
        transaction => $self->{number},
        joined      => $state ne 'committing' ? 1 : 0,
        # A new epoch asked for now would fence the end that is under way, or what the
        # coordinator has of the transaction.
        must_end    => ($self->{ending} || $self->{requests}->may_have_begun) && !$self->{renewing} ? 1 : 0,
    );
}

# --- what others tell -----------------------------------------------------------------

# The broker and this producer do not agree on the sequence numbers: a new epoch mends it.
sub broken_sequence {
    my ($self, $error) = @_;
    $self->{new_epoch} = 1;
    return $self->broken($error);
}

# An error after which the transaction can only be aborted.
sub broken {
    my ($self, $error) = @_;
    return if defined $self->{error} || $self->{state} eq 'over';
    $self->{error} = EV::Kafka::Error->from($error);
    $self->_log('has failed', $self->{error});
    return if $self->{state} eq 'aborting';
    # What is produced from now on has no end to wait for.
    $self->_changed;
    my $refusal = $self->_must_abort;
    $self->{producer}->fail_unsent($refusal);
    $self->_end_offsets($refusal);
    $self->advance;
    return;
}

# An error after which there is no transaction any more.
sub fail {
    my ($self, $error) = @_;
    my $producer = $self->{producer};
    $self->_be_over;
    $producer->abort_transaction;
    $producer->fail_unsent($error);
    $producer->end_transaction;
    $producer->leave_transaction;
    $self->_end_offsets($error);
    return $self->{outbox}->fail(delete $self->{cb}, $error);
}

sub identified {
    my ($self) = @_;
    return $self->{renewing} ? $self->_ended : $self->advance;
}

# The coordinator has ended it, and owes an epoch.
sub not_renewed {
    my ($self, $error) = @_;
    $self->{requests}->have_ended;
    return $self->_not_aborted($error);
}

# Records from before it have failed so that their partition cannot go on.
sub epoch_needed {
    my ($self) = @_;
    return $self->{ending} ? undef : $self->broken_sequence('the producer needs a new epoch');
}

# Where each partition was at begin, or when it was assigned after that: the offset
# once that is known, or `latest` would be a later one when it is asked for again.
sub note_positions {
    my ($self) = @_;
    my ($consumer, $positions) = @$self{qw(consumer positions)};
    for my $assigned ($consumer->assignments) {
        my $key = EV::Kafka::Partitions::key_of($assigned);
        next if $positions->{$key} && $positions->{$key}{offset} >= 0;
        my ($offset) = $consumer->position_of($assigned);
        $positions->{$key} = { %$assigned, offset => $offset };
    }
    return;
}

# The positions up to which this transaction has these partitions cannot be sent with it any
# more, whatever the generation.
sub gives_up {
    my ($self, @positions) = @_;
    for my $position (@positions) {
        my $was = $self->{positions}{ EV::Kafka::Partitions::key_of($position) } or next;
        $self->{given_up} = 1 if $position->{offset} != $was->{offset};
    }
    return;
}

# It comes back, and the group knows a position: that is where an abort leads to.
sub takes_over {
    my ($self, $key) = @_;
    delete $self->{positions}{$key};
    return;
}

# --- what may not be part of it any more ----------------------------------------------

sub _changed { my ($self) = @_; return $self->{on_change}->() }

sub _must_abort {
    my ($self) = @_;
    return $self->{error}->said("$self->{error}: the transaction cannot be committed; call abort_transaction");
}

# Why nothing can become part of it any more, if that is so.
sub _refusal {
    my ($self) = @_;
    return defined $self->{error} ? $self->_must_abort : $self->{doubt};
}

# What was consumed of a partition that is another member's by now would be in the
# transaction, its position would not.
sub _watch_generation {
    my ($self) = @_;
    my $generation = $self->{group}->generation;
    return if $generation < 0;
    $self->{generation} //= $generation;
    return $self->{generation} == $generation ? undef : $self->broken(REBALANCED);
}

# What an answer of a coordinator means for the transaction.
sub _refused {
    my ($self, $error) = @_;
    return $self->{on_failure}->($error) unless _is_abortable($error);
    $self->{new_epoch} = 1 if $NEEDS_EPOCH{ $error->code // 0 };
    return $self->broken($error);
}

# What might still have been answered otherwise says nothing about the producer.
sub _is_abortable {
    my ($error) = @_;
    return $error->retriable || $ABORTABLE{ $error->code // 0 };
}

# --- towards the end ------------------------------------------------------------------

# Called whenever something has been settled.
sub advance {
    my ($self) = @_;
    my ($producer, $requests) = @$self{qw(producer requests)};
    my $state = $self->{state};
    return if $state eq 'over';
    return $self->_add if $state eq 'open';
    return if $self->{ending};
    if ($state eq 'aborting') {
        # What is on its way could take effect after the end, in the next transaction.
        my $is_quiet = $self->{late} || !$producer->in_transaction && !$requests->on_wire;
        return $is_quiet ? $self->_end_by_abort : undef;
    }
    return $self->_not_ended(commit_transaction => $self->_must_abort) if defined $self->{error};
    return $self->_add if $producer->in_transaction || $self->{adding} || %{ $self->{offsets} };
    return $self->_ended unless $requests->have_added;
    $producer->end_transaction;
    delete $self->{deadline};
    return $self->_end(1);
}

# It may take longer as long as messages arrive.
sub _limit_commit {
    my ($self) = @_;
    my $patience = $self->{requests}->patience;
    $self->{deadline} = $self->{loop}->timer($patience, $self, _commit_late => $patience, $self->{producer}->in_transaction);
    return;
}

# What is part of it was not settled in time.
sub _commit_late {
    my ($self, $patience, $unsettled) = @_;
    return $self->_limit_commit if $self->{producer}->in_transaction < $unsettled;
    my ($reason) = sort { $a cmp $b } $self->{coordinators}->reasons($self);
    my $late = "commit_transaction: timed out after $patience s";
    return $self->broken($reason ? $reason->of($late) : EV::Kafka::Error->without_code($late));
}

sub _abort_late {
    my ($self) = @_;
    @$self{qw(late new_epoch)} = (1, 1) if $self->{state} eq 'aborting';
    return $self->advance;
}

sub _end_by_abort {
    my ($self) = @_;
    my $producer = $self->{producer};
    $self->{ending} = 1;
    delete $self->{hurry};
    $producer->end_transaction;
    # A producer that never got an id has nothing to abort.
    return $self->_ended unless $producer->has_identity;
    return $self->{requests}->may_have_added ? $self->_end(0) : $self->_aborted;
}

# Until the coordinator has said so, whether a transaction was committed is known to it
# alone. Whoever does not get to know may ask again, or abort it: that is refused when it was
# committed.
sub _end {
    my ($self, $committed) = @_;
    $self->{ending} = 1;
    $self->_changed;
    return $self->{requests}->end_transaction($committed, sub {
        my ($error, $result) = @_;
        return $self->_end_refused($committed, $error) if $error && !$self->_is_ended_by($committed, $error);
        # With another identity everything that is late is kept out.
        delete $self->{new_epoch} if !$error && $self->_is_implicit && $self->{producer}->adopt(@$result{qw(producer_id producer_epoch)});
        return $committed ? $self->_ended : $self->_aborted;
    });
}

# Or adding was asked for, and did not happen.
sub _is_ended_by {
    my ($self, $committed, $error) = @_;
    return 0 if $committed || ($error->code // 0) != INVALID_TXN_STATE;
    $self->{was_committed} = 1 if defined $self->{doubt};
    return defined $self->{doubt} || !$self->{requests}->have_added;
}

sub _end_refused {
    my ($self, $committed, $error) = @_;
    my $is_abort_refused = !$committed && ($error->code // 0) == TRANSACTION_ABORTABLE;
    return $self->{on_failure}->($error) if $is_abort_refused || !_is_abortable($error);
    $self->{new_epoch} = 1;
    if ($error->retriable) {
        return $committed ? $self->_in_doubt($error) : $self->_not_aborted($error);
    }
    return $self->_aborted unless $committed;
    $self->{error} = $error;
    delete $self->{ending};
    return $self->advance;
}

# After the end, not instead of it: a coordinator that aborts because an epoch is
# asked for fences who asks (KIP-360).
sub _aborted {
    my ($self) = @_;
    return $self->_ended unless $self->{new_epoch};
    $self->{renewing} = 1;
    $self->_changed;
    return $self->{producer}->renew;
}

sub _in_doubt {
    my ($self, $error) = @_;
    $self->{doubtful} = $error;
    $self->{doubt} = $error->said("$error: whether the transaction was committed is not known;"
        . ' call commit_transaction to ask again, or call abort_transaction');
    return $self->_not_ended(commit_transaction => $self->{doubt});
}

# An abort that nobody has answered can be called for again, and nothing else.
sub _not_aborted {
    my ($self, $error) = @_;
    $self->{error} = $error;
    return $self->_not_ended(abort_transaction => $error->said("$error: call abort_transaction again"));
}

# It is open again, and somebody hears of that in any case.
sub _not_ended {
    my ($self, $method, $error) = @_;
    $self->{state} = 'open';
    delete @$self{qw(ending renewing deadline)};
    $self->_changed;
    return $self->_tell_error($method, $error);
}

sub _tell_error {
    my ($self, $method, $error) = @_;
    my ($cb, $outbox) = (delete $self->{cb}, $self->{outbox});
    return $cb ? $outbox->fail($cb, $error) : $outbox->report(EV::Kafka::Error->from($error)->of($method));
}

sub _ended {
    my ($self) = @_;
    return if $self->{state} eq 'over';
    my ($producer, $was) = @$self{qw(producer state)};
    $producer->end_transaction unless $self->{ending};
    $producer->leave_transaction;
    $self->_be_over;
    $self->{on_over}->();
    if ($self->{was_committed}) {
        $self->_tell_error(abort_transaction => COMMITTED);
    }
    else {
        $self->_go_back if $was eq 'aborting';
        $self->{outbox}->call(delete $self->{cb}, { error_code => 0 }, undef);
    }
    $self->{consumer}->release('abort');
    return $producer->send_ready;
}

sub _be_over {
    my ($self) = @_;
    $self->{state} = 'over';
    $self->_log('is over');
    delete @$self{qw(hurry deadline)};
    return $self->{requests}->close;
}

# Also of those that the group has taken away, and may give back where they were.
sub _go_back {
    my ($self) = @_;
    my $consumer = $self->{consumer};
    for my $was (values %{ $self->{positions} }) {
        $self->{group}->goes_back(EV::Kafka::Partitions::key_of($was), $was->{offset});
        my $assigned = $consumer->assigned(@$was{qw(topic partition)}) or next;
        my ($offset) = $consumer->position_of($assigned);
        next if $offset == $was->{offset};
        $consumer->move($assigned, $was->{offset});
        # It comes again, behind what goes before it.
        $consumer->void($consumer->cursor($assigned));
    }
    return;
}

# --- what becomes part of it ----------------------------------------------------------

sub _add {
    my ($self) = @_;
    return unless $self->{producer}->is_ready;
    $self->_register_new;
    return $self->_send_offsets;
}

# Decided when the identity is there, and before the coordinator hears of anything; while no broker is there to say
# what it speaks, nothing can leave either.
sub _is_decided {
    my ($self) = @_;
    my $requests = $self->{requests};
    return 1 if defined $requests->version;
    my $version = $self->{version_of}->() // return 0;
    $self->{producer}->transaction_version($requests->is_of($version));
    return 1;
}

sub _is_implicit {
    my ($self) = @_;
    return $self->_is_decided && $self->{requests}->version > 1;
}

# The coordinator hears of a partition before the first batch leaves for it, or by that.
sub _register_new {
    my ($self) = @_;
    my ($producer, $requests) = @$self{qw(producer requests)};
    return if $self->{adding} || defined $self->_refusal;
    my @new = $producer->unregistered or return;
    return unless $self->_is_decided;
    $self->_watch_generation;
    return if defined $self->{error};
    if ($self->_is_implicit) {
        $requests->writes;
        $self->_changed;
        return $self->_registered(@new);
    }
    $self->{adding} = 1;
    $requests->add_partitions(\@new, sub {
        my ($error) = @_;
        delete $self->{adding};
        return $self->_refused($error) if $error;
        $self->_registered(@new) if $self->{state} ne 'aborting';
        return $self->advance;
    });
    return $self->_changed;
}

sub _registered {
    my ($self, @partitions) = @_;
    my $producer = $self->{producer};
    $producer->registered(@$_) for @partitions;
    return $producer->send_ready;
}

# First the coordinator of the transaction, where it has to be told, then that of the group.
sub _send_offsets {
    my ($self) = @_;
    my $offsets = $self->{offsets};
    return if %$offsets && !$self->_is_decided;
    for my $id (grep { !$offsets->{$_}{under_way}++ } keys %$offsets) {
        my $sent = $offsets->{$id};
        if ($self->_is_implicit) {
            $self->_commit_offsets($id, $sent);
            next;
        }
        $self->{requests}->add_offsets($sent->{group_id}, sub {
            my ($error) = @_;
            return $error ? $self->_refused($error) : $self->_commit_offsets($id, $sent);
        });
    }
    return $self->_changed;
}

sub _commit_offsets {
    my ($self, $id, $sent) = @_;
    return $self->{requests}->commit_offsets(@$sent{qw(group_id member topics)}, sub {
        my ($error, $result) = @_;
        return $error ? $self->_refused($error) : $self->_offsets_sent($id, $result);
    });
}

sub _end_offsets {
    my ($self, $error) = @_;
    my @sent = values %{ $self->{offsets} };
    $self->{offsets} = {};
    $self->{outbox}->fail($_->{cb}, $error) for @sent;
    return;
}

sub _offsets_sent {
    my ($self, $id, $result, $error) = @_;
    my $sent = delete $self->{offsets}{$id} or return;
    $self->{outbox}->call($sent->{cb}, $result && { %$result, error_code => 0 }, $error);
    return $self->advance;
}

1;

__END__

=head1 NAME

EV::Kafka::Transaction - one transaction of an EV::Kafka client

=head1 DESCRIPTION

A part of L<EV::Kafka::Transactions>, not for use by itself: what becomes part of a transaction,
its end, and what becomes of it when something fails. The requests are those of
L<EV::Kafka::Transaction::Requests>.

=head1 METHODS

=head2 new(number => $number, version_of => $code, on_change => $code, on_over => $code, on_failure => $code, loop => $loop, ...)

On the owners that L<EV::Kafka::Transactions> stands on.

=head2 begin($needs_epoch), send_offsets($group_id, $cb), commit($cb), abort($cb), close($error)

The program's, and the client's end. Whether the producer takes its next epoch first.

=head2 number, state, is_renewing, rules, reason, was_committed

Which one it is; C<open>, C<committing>, C<aborting> or C<over>; whether it waits for the
producer's next epoch; and what the producer does with messages meanwhile.

=head2 advance

Something has been settled.

=head2 broken($error), broken_sequence($error), fail($error)

It can only be aborted; the producer takes a new epoch after that, too; there is no transaction any more.

=head2 identified, not_renewed($error), epoch_needed

The producer has its next epoch, or could not get it, or needs one.

=head2 note_positions, gives_up(@positions), takes_over($key)

What the consumer and the group tell.

=head1 SEE ALSO

L<EV::Kafka>

=cut
