package EV::Kafka::TransactionRequests;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Partitions;

# Seconds between tries (Java's retry.backoff.ms and retry.backoff.max.ms); less
# while the coordinator still ends the transaction before this one.
use constant {
    TXN_BACKOFF            => 0.1,
    TXN_BACKOFF_MAX        => 1,
    CONCURRENT_BACKOFF     => 0.02,
    CONCURRENT_BACKOFF_MAX => 0.5,
};

use constant CONCURRENT_TRANSACTIONS => 51;
use constant INVALID_TXN_STATE       => 48;

# The version of InitProducerId from which a producer can get its next epoch (KIP-360).
use constant { INIT_PRODUCER_ID => 22, ADD_OFFSETS_TO_TXN => 25, NEXT_EPOCH_SINCE => 3 };

# A coordinator says the same to the same request, so each is sent again until
# it has been answered for good. UNKNOWN_TOPIC_OR_PARTITION, REQUEST_TIMED_OUT,
# NETWORK_EXCEPTION, the coordinator's own, CONCURRENT_TRANSACTIONS,
# THROTTLING_QUOTA_EXCEEDED.
my %AGAIN = map { $_ => 1 } 3, 7, 13, 14, 15, 16, 51, 89;

# Codes of requests to add something to the transaction after which it may have been
# added all the same: the coordinator's log may have it.
my %MAY_BE_ADDED = map { $_ => 1 } 7, 13, 15, 16;

# What leaves the producer alive: TOPIC_ and GROUP_AUTHORIZATION_FAILED,
# ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS,
# FENCED_INSTANCE_ID, OFFSET_METADATA_TOO_LARGE, INVALID_COMMIT_OFFSET_SIZE,
# INVALID_PRODUCER_ID_MAPPING, UNKNOWN_PRODUCER_ID, TRANSACTION_ABORTABLE.
my %ABORTABLE = map { $_ => 1 } 12, 22, 25, 27, 28, 29, 30, 49, 59, 82, 120;
my %NEEDS_EPOCH = map { $_ => 1 } 49, 59;

# Asks a coordinator until there is an answer; then $ask->{done}->($client,
# $result, $code, $error), with an error for all but code 0. An $ask for a
# transaction that is over, or being aborted when it says only_while_alive, is
# dropped. One that adds something to the transaction says so.
sub _ask_for_txn {
    my ($self, $ask) = @_;
    return if $self->{cfg}{closed} || $self->_is_over($ask);
    weaken(my $weak = $self);
    return $self->_with_coordinator(_coordinator_of($self, $ask), {
        run => sub { my ($self, $op, $conn) = @_; $self->_send_for_txn($ask, $op->{node_id}, $conn) },
        cb  => sub {
            my (undef, $error) = @_;
            return if !$weak || $weak->{cfg}{closed};
            $ask->{done}->($weak, undef, $error =~ /\(code (\d+)\)/ ? $1 : -1, "$ask->{name}: $error");
        },
    });
}

# Its own kind and key: the transaction's, unless it says otherwise.
sub _coordinator_of {
    my ($self, $ask) = @_;
    return ($ask->{kind} || 'txn', $ask->{key} // $self->{cfg}{transactional_id});
}

sub _is_over {
    my ($self, $ask) = @_;
    my $txn = $ask->{txn} or return 0;
    return ($self->{cfg}{txn} || 0) != $txn || $ask->{only_while_alive} && $txn->{state} eq 'aborting';
}

sub _send_for_txn {
    my ($self, $ask, $node_id, $conn) = @_;
    return if $self->{cfg}{closed} || $self->_is_over($ask);
    return $self->_ask_again_for_txn($ask) unless $conn;
    my $txn = $ask->{txn} || {};
    $txn->{on_wire}++;
    $txn->{may_have}++ if $ask->{adds};
    weaken(my $weak = $self);
    $ask->{send}->($self, $conn, sub {
        my ($result, $error) = @_;
        $txn->{on_wire}--;
        return if !$weak || $weak->{cfg}{closed};
        $error = 'incomplete answer' if $result && $result->{truncated};
        if   (defined $error) { $weak->_txn_unanswered($ask, $node_id, $conn, $result, $error) }
        else                  { $weak->_txn_answered($ask, $result) }
        # An abort has waited for it.
        $weak->_txn_advance if $weak->_is_over($ask);
    });
    return;
}

sub _txn_unanswered {
    my ($self, $ask, $node_id, $conn, $result, $error) = @_;
    # A connection that lives on has refused to send the request.
    return $ask->{done}->($self, undef, -1, "$ask->{name}: $error") if !$result && $conn->connected;
    my ($kind, $key) = _coordinator_of($self, $ask);
    $self->_request_failed($kind => $node_id) unless $result;
    $self->_forget_coordinator($kind, $key);
    return $self->_ask_again_for_txn($ask);
}

sub _txn_answered {
    my ($self, $ask, $result) = @_;
    my @codes = grep { $_ } $result->{error_code} // 0,
        map { $_->{error_code} } map { @{ $_->{partitions} } } @{ $result->{topics} || [] };
    # OPERATION_NOT_ATTEMPTED stands beside what was refused.
    @codes = grep { $_ != 55 } @codes if grep { $_ != 55 } @codes;
    return $ask->{done}->($self, $result, 0) unless @codes;
    $ask->{txn}{may_have}-- if $ask->{adds} && !grep { $MAY_BE_ADDED{$_} } @codes;
    if (my ($code) = grep { !$AGAIN{$_} } @codes) {
        return $ask->{done}->($self, $result, $code, "$ask->{name}: " . $self->error_name($code) . " (code $code)");
    }
    $self->_coordinator_refused(_coordinator_of($self, $ask), @codes);
    return $self->_ask_again_for_txn($ask, $codes[0]);
}

sub _ask_again_for_txn {
    my ($self, $ask, $code) = @_;
    my @backoff = ($code // 0) == CONCURRENT_TRANSACTIONS
        ? (CONCURRENT_BACKOFF, CONCURRENT_BACKOFF_MAX) : (TXN_BACKOFF, TXN_BACKOFF_MAX);
    my $id = ++$self->{cfg}{txn_number};
    $self->{cfg}{txn_timers}{$id} =
        $self->_timer($self->_backoff(++$ask->{tries}, @backoff), _ask_after_pause => $id, $ask);
    return;
}

sub _ask_after_pause {
    my ($self, $id, $ask) = @_;
    delete $self->{cfg}{txn_timers}{$id};
    return $self->_ask_for_txn($ask);
}

# What an answer of a coordinator means for the transaction.
sub _txn_refused {
    my ($self, $txn, $code, $error) = @_;
    return $self->_txn_failed_for_good($error) unless $ABORTABLE{$code};
    $txn->{new_epoch} = 1 if $NEEDS_EPOCH{$code};
    return $self->_txn_broken($txn, $error);
}

# --- the requests -----------------------------------------------------------------

sub _init_transactional_producer {
    my ($self, $id, $epoch, $done) = @_;
    my $cfg = $self->{cfg};
    if (defined $cfg->{txn_fatal}) {
        # on_error has heard of it.
        delete $cfg->{init_producer};
        $self->_call($_, undef, $cfg->{txn_fatal}) for splice @{ $cfg->{connect_waiters} };
        return;
    }
    return $self->_ask_for_txn({
        name => 'InitProducerId',
        send => sub {
            my ($self, $conn, $answered) = @_;
            my $cfg     = $self->{cfg};
            my $version = ($conn->api_versions || {})->{ INIT_PRODUCER_ID() } // 0;
            my @current = $id >= 0 && $version >= NEXT_EPOCH_SINCE ? ($id, $epoch) : ();
            $conn->init_producer_id(@$cfg{qw(transactional_id transaction_timeout)}, $answered, @current);
        },
        done => sub {
            my ($self, $result, $code, $error) = @_;
            return $done->($self, @$result{qw(producer_id producer_epoch)}) unless $code;
            # Whoever had an id has lost it to another producer.
            return $self->_txn_failed_for_good($error) if $id >= 0;
            $self->_txn_broken($self->{cfg}{txn}, $error) if $self->{cfg}{txn};
            return if $self->{cfg}{closed};
            return $done->($self, undef, undef, $code, $error);
        },
    });
}

# The coordinator hears of a partition before the first batch leaves for it.
sub _txn_register_new {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my $txn = $cfg->{txn} or return;
    return if $txn->{ending} || $txn->{state} eq 'aborting';
    # What is produced after the failure has no end to wait for either.
    return $self->_txn_fail_late($txn) if defined $txn->{error};
    return if $txn->{adding};
    return if !$self->_producer_is_ready || $cfg->{init_producer};
    my @new = $self->_txn_unregistered or return;
    $self->_watch_generation($txn);
    return if defined $txn->{error} || $cfg->{closed};
    @$txn{qw(adding asked)} = (1, 1);
    return $self->_ask_for_txn({
        name             => 'AddPartitionsToTxn',
        txn              => $txn,
        adds             => 1,
        only_while_alive => 1,
        send             => sub {
            my ($self, $conn, $answered) = @_;
            $conn->add_partitions_to_txn($self->_txn_identity, EV::Kafka::Partitions::by_topic(@new), $answered);
        },
        done => sub {
            my ($self, undef, $code, $error) = @_;
            delete $txn->{adding};
            return if ($self->{cfg}{txn} || 0) != $txn;
            return $self->_txn_refused($txn, $code, $error) if $code;
            $txn->{added} = 1;
            if ($txn->{state} ne 'aborting') {
                $self->_txn_registered(@$_) for @new;
                $self->_send_ready;
            }
            $self->_txn_advance;
        },
    });
}

sub _txn_identity { @{ $_[0]{cfg} }{qw(transactional_id producer_id producer_epoch)} }

# First the coordinator of the transaction, then that of the group.
sub _send_offsets_when_ready {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my $txn = $cfg->{txn} or return;
    return if !$cfg->{connected} || !$self->_producer_is_ready || $cfg->{init_producer};
    my @new = grep { !$_->{under_way}++ } values %{ $txn->{offsets} };
    for my $sent (@new) {
        $txn->{asked} = 1;
        $self->_ask_for_txn({
            name             => 'AddOffsetsToTxn',
            txn              => $txn,
            adds             => 1,
            only_while_alive => 1,
            send             => sub {
                my ($self, $conn, $answered) = @_;
                return $answered->({ error_code => 0 }) unless defined $conn->api_versions->{ ADD_OFFSETS_TO_TXN() };
                $conn->add_offsets_to_txn($self->_txn_identity, $sent->{group_id}, $answered);
            },
            done => sub {
                my ($self, undef, $code, $error) = @_;
                return if ($self->{cfg}{txn} || 0) != $txn;
                return $self->_txn_refused($txn, $code, $error) if $code;
                $txn->{added} = 1;
                $self->_txn_commit_offsets($txn, $sent);
            },
        });
    }
    return;
}

sub _txn_commit_offsets {
    my ($self, $txn, $sent) = @_;
    return $self->_ask_for_txn({
        name             => 'TxnOffsetCommit',
        kind             => 'group',
        key              => $sent->{group_id},
        txn              => $txn,
        only_while_alive => 1,
        send             => sub {
            my ($self, $conn, $answered) = @_;
            my ($id, @producer) = $self->_txn_identity;
            my ($generation, $member_id, $instance_id) = @{ $sent->{member} };
            $conn->txn_offset_commit($id, $sent->{group_id}, @producer, $generation, $member_id, $sent->{topics},
                $answered, $instance_id);
        },
        done => sub {
            my ($self, $result, $code, $error) = @_;
            return if ($self->{cfg}{txn} || 0) != $txn;
            return $self->_txn_refused($txn, $code, $error) if $code;
            $self->_offsets_sent($txn, $sent, $result);
        },
    });
}

# Until the coordinator has said so, whether a transaction was committed is known
# to it alone: there is nothing to do but to ask on.
sub _end_txn {
    my ($self, $txn, $committed) = @_;
    return $self->_ask_for_txn({
        name => 'EndTxn',
        txn  => $txn,
        send => sub {
            my ($self, $conn, $answered) = @_;
            $conn->end_txn($self->_txn_identity, $committed, $answered);
        },
        done => sub {
            my ($self, undef, $code, $error) = @_;
            # Adding was asked for, and did not happen.
            $code = 0 if $code == INVALID_TXN_STATE && !$committed && !$txn->{added};
            return $committed ? $self->_txn_ended($txn) : $self->_txn_aborted($txn) unless $code;
            return $self->_txn_failed_for_good($error) unless $ABORTABLE{$code};
            $txn->{new_epoch} = 1;
            return $self->_txn_aborted($txn) unless $committed;
            $txn->{error} = $error;
            delete $txn->{ending};
            # It is open again, and what is produced is part of it: it fails.
            $self->_txn_begin;
            $self->_txn_advance;
        },
    });
}

1;

__END__

=head1 NAME

EV::Kafka::TransactionRequests - what an EV::Kafka client asks for a transaction

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: InitProducerId,
AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit and EndTxn, each sent to its
coordinator until that has answered for good, wherever it moves.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Transactions>

=cut
