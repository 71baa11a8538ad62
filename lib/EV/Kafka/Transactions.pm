package EV::Kafka::Transactions;
use strict;
use warnings;

use Carp ();

use EV::Kafka::Partitions;

# Seconds that abort_transaction waits for batches that are under way. One that is
# not answered by then could be written after the end of the transaction: a new
# epoch of the producer keeps it out.
use constant ABORT_PATIENCE => 1;

use constant COMMITTED  => 'the transaction was committed before';
use constant REBALANCED => 'the group was rebalanced in the middle of the transaction';

# The transaction that is open lies in {txn}:
#   state      open, committing or aborting
#   cb         of commit_transaction or abort_transaction
#   error      why it cannot be committed any more
#   doubt      why it is not known whether it was committed
#   was_committed   an abort has found that out
#   deadline   timer of a commit that waits for what is part of it
#   begun      when the coordinator may have begun it
#   added      the coordinator knows of it; ends by EndTxn
#   asked      something is to be added
#   may_have   requests to add something that it may have obeyed
#   on_wire    requests that it has not answered
#   adding     AddPartitionsToTxn is under way
#   offsets    calls of send_offsets_to_transaction under way
#   positions  of the consumer at begin, by topic:partition
#   given_up   a partition that it has records of was taken away by the group
#   generation of the group when the first message was produced
#   new_epoch  the producer takes its next epoch after the abort
# {txn_fatal} says why there will never be another one.

sub begin_transaction {
    my ($self) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    Carp::croak("begin_transaction: give new the option 'transactional_id'") unless defined $cfg->{transactional_id};
    Carp::croak("begin_transaction: $cfg->{txn_fatal}; only a new client can go on") if defined $cfg->{txn_fatal};
    if (my $txn = $cfg->{txn}) {
        Carp::croak('begin_transaction: a transaction is open; commit_transaction or abort_transaction ends it')
            if $txn->{state} eq 'open';
        Carp::croak("begin_transaction: the last transaction is still $txn->{state}; wait for the callback");
    }
    $cfg->{txn} = { state => 'open', offsets => {}, positions => {} };
    $self->_note_positions;
    # Later the transaction would have to be aborted first.
    $self->_renew_producer if $self->_needs_producer;
    # With what was produced while the last one was committed.
    $self->_txn_begin;
    $self->_native_if_taken;
    $self->_release_delivery;
    return $cfg->{closed} ? undef : $self->_send_ready;
}

sub send_offsets_to_transaction {
    my ($self, $group_id, $cb) = @_;
    my $txn = $self->_open_txn('send_offsets_to_transaction');
    Carp::croak('send_offsets_to_transaction: group id required') unless defined $group_id && length $group_id;
    # What is delivered from here on is not part of these offsets.
    my @positions = $self->_positions;
    $self->_hold_delivery;
    my $id   = ++$self->{cfg}{txn_number};
    my $sent = $txn->{offsets}{$id} = {
        id       => $id,
        group_id => $group_id,
        member   => [$self->{group}->member($group_id)],
        topics   => EV::Kafka::Partitions::offsets_by_topic(@positions),
        cb       => $cb,
    };
    $self->_watch_generation($txn);
    $self->_txn_broken($txn, REBALANCED) if $txn->{given_up};
    return if $self->{cfg}{closed};
    my $refusal = $self->_txn_refusal($txn);
    return $self->_offsets_sent($txn, $sent, undef, $refusal) if defined $refusal;
    return $self->_offsets_sent($txn, $sent, { topics => [], throttle_time_ms => 0 }) unless @positions;
    return $self->_send_offsets_when_ready;
}

sub commit_transaction {
    my ($self, $cb) = @_;
    my $txn = $self->_open_txn('commit_transaction');
    @$txn{qw(state cb)} = ('committing', $cb);
    # What is produced from now on waits for the next one.
    $self->_txn_keep_for_next;
    $self->_native_if_taken;
    $self->_limit_commit($txn);
    $self->_flush_all_batches;
    return $self->_txn_advance;
}

sub abort_transaction {
    my ($self, $cb) = @_;
    my $txn = $self->_open_txn('abort_transaction');
    @$txn{qw(state cb)} = ('aborting', $cb);
    delete $txn->{late};
    # What would be delivered from here on comes again, and what is produced is refused.
    $self->_hold_delivery('abort');
    $self->_native_off;
    $txn->{patience} = $self->_timer(ABORT_PATIENCE, '_abort_late');
    $self->_txn_give_up;
    $self->_txn_fail_unsent('transaction aborted');
    $self->_end_offsets($txn, 'transaction aborted');
    $self->_txn_advance;
    return $self->{cfg}{closed} ? undef : $self->_check_buffer;
}

# The open transaction, or a croak that says what to do.
sub _open_txn {
    my ($self, $method) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    Carp::croak("$method: give new the option 'transactional_id'") unless defined $cfg->{transactional_id};
    Carp::croak("$method: $cfg->{txn_fatal}; only a new client can go on") if defined $cfg->{txn_fatal};
    my $txn = $cfg->{txn} or Carp::croak("$method: no transaction is open; begin_transaction first");
    Carp::croak("$method: the transaction is $txn->{state} already; wait for the callback")
        if $txn->{state} ne 'open';
    return $txn;
}

sub _must_abort {
    my ($txn) = @_;
    return "$txn->{error}: the transaction cannot be committed; call abort_transaction";
}

# Why nothing can become part of it any more, if that is so.
sub _txn_refusal {
    my ($self, $txn) = @_;
    return _must_abort($txn) if defined $txn->{error};
    return $txn->{doubt};
}

# The transaction that has to answer for what is produced now.
sub _txn_joined {
    my ($self) = @_;
    my $txn = $self->{cfg}{txn};
    return $txn && $txn->{state} ne 'committing' ? $txn : undef;
}

# What is said to messages that are produced now.
sub _produce_refusal {
    my ($self) = @_;
    my $txn = $self->_txn_joined or return;
    return $txn->{state} eq 'aborting' ? 'transaction aborted' : $self->_txn_refusal($txn);
}

# Messages that are refused are not for the native produce.
sub _native_if_taken {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my $is_off = defined $cfg->{producer_error} || defined $self->_produce_refusal;
    return $is_off ? $self->_native_off : $self->_native_on;
}

# What was consumed of a partition that is another member's by now would be in the
# transaction, its position would not.
sub _watch_generation {
    my ($self, $txn) = @_;
    my $generation = $self->{group}->generation;
    return if $generation < 0;
    $txn->{generation} //= $generation;
    return if $txn->{generation} == $generation;
    return $self->_txn_broken($txn, REBALANCED);
}

# The same, whatever the generation: the group takes these partitions away, and the
# positions up to which this transaction has them cannot be sent with it any more.
sub _txn_gives_up {
    my ($self, @positions) = @_;
    my $txn = $self->{cfg}{txn} or return;
    for my $position (@positions) {
        my $was = $txn->{positions}{"$position->{topic}:$position->{partition}"} or next;
        $txn->{given_up} = 1 if $position->{offset} != $was->{offset};
    }
    return;
}

# It comes back, and the group knows a position: that is where an abort leads to.
sub _txn_takes_over {
    my ($self, $key) = @_;
    delete $self->{cfg}{txn}{positions}{$key} if $self->{cfg}{txn};
    return;
}

# --- what the producer tells ------------------------------------------------------

# What a batch that has failed comes to: abort, new epoch (after it) or fenced.
sub _txn_batch_failed {
    my ($self, $harm, $text) = @_;
    return $self->_txn_failed_for_good($text) if $harm eq 'fenced';
    my $txn = $self->{cfg}{txn} or return;
    $txn->{new_epoch} = 1 if $harm eq 'new epoch';
    return $self->_txn_broken($txn, $text);
}

# An error after which the transaction can only be aborted.
sub _txn_broken {
    my ($self, $txn, $error) = @_;
    my $cfg = $self->{cfg};
    return if defined $txn->{error} || $cfg->{closed} || ($cfg->{txn} || 0) != $txn;
    $txn->{error} = $error;
    return if $txn->{state} eq 'aborting';
    my $refusal = _must_abort($txn);
    # What is produced from now on has no end to wait for.
    $self->_native_off;
    $self->_txn_fail_unsent($refusal);
    return if $cfg->{closed};
    $self->_end_offsets($txn, $refusal) unless $cfg->{closed};
    $self->_txn_advance;
    return $cfg->{closed} ? undef : $self->_check_buffer;
}

# An error after which this client can only be closed.
sub _txn_failed_for_good {
    my ($self, $error) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || defined $cfg->{txn_fatal};
    $cfg->{txn_fatal} = $error;
    my $txn = delete $cfg->{txn};
    if ($txn) {
        $self->_txn_give_up;
        $self->_txn_fail_unsent($error);
        $self->_txn_end   unless $cfg->{closed};
        $self->_txn_leave unless $cfg->{closed};
        $self->_end_offsets($txn, $error);
        $self->_call(delete $txn->{cb}, undef, $error);
    }
    $self->_release_delivery('abort') unless $cfg->{closed};
    return $cfg->{closed} ? undef : $self->_producer_failed($error);
}

# When the client ends.
sub _fail_txn {
    my ($self, $error) = @_;
    my $txn = delete $self->{cfg}{txn} or return;
    delete @$txn{qw(patience deadline)};
    $self->_end_offsets($txn, $error);
    return $self->_call(delete $txn->{cb}, undef, $error);
}

# --- towards the end --------------------------------------------------------------

# Called whenever something has been settled.
sub _txn_advance {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my $txn = $cfg->{txn} or return;
    return if $cfg->{closed};
    if ($txn->{state} eq 'open') {
        $self->_txn_register_new;
        return $self->_send_offsets_when_ready;
    }
    return if $txn->{ending};
    if ($txn->{state} eq 'aborting') {
        # What is on its way could take effect after the end, in the next transaction.
        my $is_quiet = $txn->{late} || !$self->_txn_unsettled && !$txn->{on_wire};
        return $is_quiet ? $self->_end_by_abort($txn) : undef;
    }
    return $self->_txn_not_ended($txn, commit_transaction => _must_abort($txn)) if defined $txn->{error};
    my $unsettled = $self->_txn_unsettled || $txn->{adding} || %{ $txn->{offsets} };
    if ($unsettled) {
        $self->_txn_register_new;
        return $self->_send_offsets_when_ready;
    }
    return $self->_txn_ended($txn) unless $txn->{added};
    $self->_txn_end;
    $txn->{ending} = 1;
    delete $txn->{deadline};
    return $self->_end_txn($txn, 1);
}

# It may take longer as long as messages arrive.
sub _limit_commit {
    my ($self, $txn) = @_;
    my $patience = $self->_txn_patience;
    $txn->{deadline} = $self->_timer($patience, _commit_late => $patience, $self->_txn_unsettled);
    return;
}

# What is part of it was not settled in time.
sub _commit_late {
    my ($self, $patience, $unsettled) = @_;
    my $txn = $self->{cfg}{txn} or return;
    return $self->_limit_commit($txn) if $self->_txn_unsettled < $unsettled;
    my ($reason) = sort map { $_->text } $self->{coordinators}->reasons($txn);
    return $self->_txn_broken($txn, join ': ', "commit_transaction: timed out after $patience s", $reason // ());
}

# It is open again, and somebody hears of that in any case.
sub _txn_not_ended {
    my ($self, $txn, $method, $error) = @_;
    $txn->{state} = 'open';
    delete @$txn{qw(ending renewing deadline)};
    $self->_native_off;
    return $self->_tell_error(delete $txn->{cb}, $method, $error);
}

sub _tell_error {
    my ($self, $cb, $method, $error) = @_;
    return $cb ? $self->_call($cb, undef, $error) : $self->_report("$method: $error");
}

sub _txn_in_doubt {
    my ($self, $txn, $error) = @_;
    $txn->{doubt} = $error->text . ': whether the transaction was committed is not known;'
        . ' call commit_transaction to ask again, or call abort_transaction';
    return $self->_txn_not_ended($txn, commit_transaction => $txn->{doubt});
}

# An abort that nobody has answered can be called for again, and nothing else.
sub _txn_not_aborted {
    my ($self, $txn, $error) = @_;
    $txn->{error} = $error->text;
    return $self->_txn_not_ended($txn, abort_transaction => "$txn->{error}: call abort_transaction again");
}

# The coordinator has ended it, and owes an epoch.
sub _txn_not_renewed {
    my ($self, $txn, $error) = @_;
    $txn->{may_have} = 0;
    return $self->_txn_not_aborted($txn, $error);
}

sub _abort_late {
    my ($self) = @_;
    my $txn = $self->{cfg}{txn} or return;
    @$txn{qw(late new_epoch)} = (1, 1) if $txn->{state} eq 'aborting';
    return $self->_txn_advance;
}

sub _end_by_abort {
    my ($self, $txn) = @_;
    my $cfg = $self->{cfg};
    $txn->{ending} = 1;
    delete $txn->{patience};
    $self->_txn_end;
    # A producer that never got an id has nothing to abort.
    return $self->_txn_ended($txn) unless $self->_producer_is_ready;
    return $txn->{may_have} ? $self->_end_txn($txn, 0) : $self->_txn_aborted($txn);
}

# After the end, not instead of it: a coordinator that aborts because an epoch is
# asked for fences who asks (KIP-360).
sub _txn_aborted {
    my ($self, $txn) = @_;
    return $self->_txn_ended($txn) unless $txn->{new_epoch};
    $txn->{renewing} = 1;
    return $self->_renew_producer;
}

# A new epoch asked for now would fence the end that is under way, or what the
# coordinator has of the transaction.
sub _txn_must_end_first {
    my ($self) = @_;
    my $txn = $self->{cfg}{txn};
    return $txn && ($txn->{ending} || $txn->{asked}) && !$txn->{renewing};
}

# Records from before it have failed so that their partition cannot go on.
sub _txn_needs_epoch {
    my ($self) = @_;
    my $txn = $self->{cfg}{txn};
    return if $txn->{ending};
    $txn->{new_epoch} = 1;
    return $self->_txn_broken($txn, 'the producer needs a new epoch');
}

sub _txn_renewed {
    my ($self) = @_;
    my $txn = $self->{cfg}{txn} or return;
    return $self->_txn_ended($txn) if $txn->{renewing};
    return $self->_txn_advance;
}

sub _txn_ended {
    my ($self, $txn) = @_;
    my $cfg = $self->{cfg};
    return if ($cfg->{txn} || 0) != $txn;
    $self->_txn_end unless $txn->{ending};
    $self->_txn_leave;
    delete $cfg->{txn};
    delete $txn->{deadline};
    $self->_native_if_taken;
    if ($txn->{was_committed}) {
        $self->_tell_error(delete $txn->{cb}, abort_transaction => COMMITTED);
    }
    else {
        $self->_back_to(values %{ $txn->{positions} }) if $txn->{state} eq 'aborting';
        $self->_call(delete $txn->{cb}, { error_code => 0 }, undef);
    }
    return if $cfg->{closed};
    $self->_release_delivery('abort');
    return $self->_send_ready;
}

# Where each partition was at begin, or when it was assigned after that: the offset
# once that is known, or `latest` would be a later one when it is asked for again.
sub _note_positions {
    my ($self) = @_;
    my $positions = $self->{cfg}{txn}{positions};
    for my $assigned (@{ $self->{cfg}{assignments} }) {
        my $key = "$assigned->{topic}:$assigned->{partition}";
        next if $positions->{$key} && $positions->{$key}{offset} >= 0;
        my ($offset) = $self->_position_of($assigned);
        $positions->{$key} = { %$assigned, offset => $offset };
    }
    return;
}

# Also of those that the group has taken away, and may give back where they were.
sub _back_to {
    my ($self, @positions) = @_;
    for my $was (@positions) {
        my $key = "$was->{topic}:$was->{partition}";
        $self->{group}->goes_back($key, $was->{offset});
        my $assigned = $self->_assigned(@$was{qw(topic partition)}) or next;
        my ($offset) = $self->_position_of($assigned);
        next if $offset == $was->{offset};
        $self->_move($assigned, $was->{offset});
        # It comes again, behind what goes before it.
        $self->_void_fetched($self->_cursor($assigned));
    }
    return;
}

sub _end_offsets {
    my ($self, $txn, $error) = @_;
    # A callback may end the others, too.
    my @sent = values %{ $txn->{offsets} };
    $self->_offsets_sent($txn, $_, undef, $error) for @sent;
    return;
}

sub _offsets_sent {
    my ($self, $txn, $sent, $result, $error) = @_;
    delete $txn->{offsets}{ $sent->{id} } or return;
    $self->_call($sent->{cb}, $result && { %$result, error_code => 0 }, $error);
    return $self->{cfg}{closed} ? undef : $self->_txn_advance;
}

1;

__END__

=head1 NAME

EV::Kafka::Transactions - an EV::Kafka client's transactions

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<begin_transaction> to
C<commit_transaction> and C<abort_transaction>, and what becomes of a transaction
when something fails. The requests are those of L<EV::Kafka::TransactionRequests>.

=head1 SEE ALSO

L<EV::Kafka>

=cut
