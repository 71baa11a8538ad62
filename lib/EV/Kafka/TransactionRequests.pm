package EV::Kafka::TransactionRequests;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Partitions;
use EV::Kafka::Request;

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

# Codes that are worth another try of a request to add something to the transaction, and say
# that it was not added: UNKNOWN_TOPIC_OR_PARTITION, COORDINATOR_LOAD_IN_PROGRESS,
# CONCURRENT_TRANSACTIONS, THROTTLING_QUOTA_EXCEEDED. After others the coordinator's log may
# have it.
my %NOT_ADDED = map { $_ => 1 } 3, 14, 51, 89;

# Connections that may be silent in the time that a request has: another broker may be the
# coordinator by then.
use constant CONNECTIONS => 3;

# Of transaction_timeout: how long one request may take, and how long after the first one
# that may have begun it at the coordinator. What is left is for the abort: a coordinator that
# aborts by itself fences the producer. But no request takes less than the last, in seconds.
use constant {
    SHARE_OF_ONE   => 0.5,
    SHARE_OF_ALL   => 0.75,
    LEAST_PATIENCE => 1,
};

# What leaves the producer alive: TOPIC_ and GROUP_AUTHORIZATION_FAILED,
# ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS,
# FENCED_INSTANCE_ID, OFFSET_METADATA_TOO_LARGE, INVALID_COMMIT_OFFSET_SIZE,
# INVALID_PRODUCER_ID_MAPPING, UNKNOWN_PRODUCER_ID, TRANSACTION_ABORTABLE.
my %ABORTABLE = map { $_ => 1 } 12, 22, 25, 27, 28, 29, 30, 49, 59, 82, 120;
my %NEEDS_EPOCH = map { $_ => 1 } 49, 59;

# Asks a coordinator until there is an answer; then $ask->{done}->($client, $result,
# $error). An $ask for a transaction that is over, or being aborted when it says
# only_while_alive, is dropped. One that adds something to the transaction says so.
sub _ask_for_txn {
    my ($self, $ask) = @_;
    my ($cfg, $patience) = ($self->{cfg}, $ask->{patience});
    return if $cfg->{closed} || $self->_is_over($ask);
    weaken(my $weak = $self);
    return $self->{coordinators}->request(
        $ask->{kind} || 'txn', $ask->{key} // $cfg->{transactional_id},
        name     => $ask->{name},
        subject  => $ask->{txn},
        patience => $patience,
        op_patience => defined $patience ? $patience / CONNECTIONS : undef,
        backoff  => \&_backoff_after,
        alive    => sub { $weak && !$weak->_is_over($ask) },
        send     => sub { my ($conn, $answered) = @_; $weak->_send_for_txn($ask, $conn, $answered) if $weak },
        done     => sub {
            my ($result, $error) = @_;
            return $weak ? $ask->{done}->($weak, $result, $error) : undef;
        },
    );
}

# Seconds that a request of the transaction may take.
sub _txn_patience {
    my ($self) = @_;
    my $cfg     = $self->{cfg};
    my $seconds = SHARE_OF_ONE * $cfg->{transaction_timeout} / 1000;
    return List::Util::min($seconds, $cfg->{delivery_timeout} || $seconds);
}

# The same for one without which the transaction cannot be committed.
sub _patience_in {
    my ($self, $txn) = @_;
    my $patience = $self->_txn_patience;
    return $patience unless defined $txn->{begun};
    my $left = $txn->{begun} + SHARE_OF_ALL * $self->{cfg}{transaction_timeout} / 1000 - $self->_now;
    return List::Util::min($patience, List::Util::max($left, LEAST_PATIENCE));
}

sub _backoff_after {
    my ($code) = @_;
    return ($code // 0) == CONCURRENT_TRANSACTIONS
        ? (CONCURRENT_BACKOFF, CONCURRENT_BACKOFF_MAX) : (TXN_BACKOFF, TXN_BACKOFF_MAX);
}

sub _is_over {
    my ($self, $ask) = @_;
    my $txn = $ask->{txn} or return 0;
    return ($self->{cfg}{txn} || 0) != $txn || $ask->{only_while_alive} && $txn->{state} eq 'aborting';
}

sub _send_for_txn {
    my ($self, $ask, $conn, $answered) = @_;
    my $txn = $ask->{txn} || {};
    $txn->{on_wire}++;
    if ($ask->{adds}) {
        $txn->{may_have}++;
        $txn->{begun} //= $self->_now;
    }
    weaken(my $weak = $self);
    $ask->{send}->($self, $conn, sub {
        my ($result, $error) = @_;
        $txn->{on_wire}--;
        return if !$weak || $weak->{cfg}{closed};
        $txn->{may_have}-- if $ask->{adds} && $result && !$result->{truncated} && _says_not_added($result);
        $answered->($result, $error);
        # An abort has waited for it.
        $weak->_txn_advance if $weak && $weak->_is_over($ask);
    });
    return;
}

sub _says_not_added {
    my ($result) = @_;
    my @codes = EV::Kafka::Request::codes($result);
    return @codes && !grep { !$NOT_ADDED{$_} && EV::Kafka::Error::is_retriable_by_coordinator($_, 0) } @codes;
}

# What an answer of a coordinator means for the transaction.
sub _txn_refused {
    my ($self, $txn, $error) = @_;
    return $self->_txn_failed_for_good($error->text) unless _is_abortable($error);
    $txn->{new_epoch} = 1 if $NEEDS_EPOCH{ $error->code // 0 };
    return $self->_txn_broken($txn, $error->text);
}

# What might still have been answered otherwise says nothing about the producer.
sub _is_abortable {
    my ($error) = @_;
    return $error->retriable || $ABORTABLE{ $error->code // 0 };
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
        name     => 'InitProducerId',
        # Without any id messages wait for one as they would for a leader.
        patience => $id >= 0 ? $self->_txn_patience : undef,
        send     => sub {
            my ($self, $conn, $answered) = @_;
            my $cfg     = $self->{cfg};
            my $version = ($conn->api_versions || {})->{ INIT_PRODUCER_ID() } // 0;
            my @current = $id >= 0 && $version >= NEXT_EPOCH_SINCE ? ($id, $epoch) : ();
            $conn->init_producer_id(@$cfg{qw(transactional_id transaction_timeout)}, $answered, @current);
        },
        done => sub {
            my ($self, $result, $error) = @_;
            $error ||= $self->_identity_error($result);
            return $done->($self, $result) unless $error;
            my $txn = $self->{cfg}{txn};
            return $self->_producer_not_renewed($txn, $error) if $id >= 0 && $error->retriable;
            # Whoever had an id has lost it to another producer.
            return $self->_txn_failed_for_good($error->text) if $id >= 0;
            $self->_txn_broken($txn, $error->text) if $txn;
            return $self->{cfg}{closed} ? undef : $done->($self, undef, $error);
        },
    });
}

# An abort that waits for it is answered. Else it is needed as much as before.
sub _producer_not_renewed {
    my ($self, $txn, $error) = @_;
    delete $self->{cfg}{init_producer};
    return $txn && $txn->{renewing} ? $self->_txn_not_renewed($txn, $error) : $self->_renew_producer;
}

# The coordinator hears of a partition before the first batch leaves for it.
sub _txn_register_new {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    my $txn = $cfg->{txn} or return;
    return if $txn->{ending} || $txn->{state} eq 'aborting';
    return if $txn->{adding} || defined $self->_txn_refusal($txn);
    return if !$self->_producer_is_ready || $cfg->{init_producer};
    my @new = $self->_txn_unregistered or return;
    $self->_watch_generation($txn);
    return if defined $txn->{error} || $cfg->{closed};
    @$txn{qw(adding asked)} = (1, 1);
    return $self->_ask_for_txn({
        name             => 'AddPartitionsToTxn',
        txn              => $txn,
        patience         => $self->_patience_in($txn),
        adds             => 1,
        only_while_alive => 1,
        send             => sub {
            my ($self, $conn, $answered) = @_;
            $conn->add_partitions_to_txn($self->_txn_identity, EV::Kafka::Partitions::by_topic(@new), $answered);
        },
        done => sub {
            my ($self, undef, $error) = @_;
            delete $txn->{adding};
            return if ($self->{cfg}{txn} || 0) != $txn;
            return $self->_txn_refused($txn, $error) if $error;
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
    return if !$self->{cluster}->is_connected || !$self->_producer_is_ready || $cfg->{init_producer};
    my @new = grep { !$_->{under_way}++ } values %{ $txn->{offsets} };
    for my $sent (@new) {
        $txn->{asked} = 1;
        $self->_ask_for_txn({
            name             => 'AddOffsetsToTxn',
            txn              => $txn,
            patience         => $self->_patience_in($txn),
            adds             => 1,
            only_while_alive => 1,
            send             => sub {
                my ($self, $conn, $answered) = @_;
                return $answered->({ error_code => 0 }) unless defined $conn->api_versions->{ ADD_OFFSETS_TO_TXN() };
                $conn->add_offsets_to_txn($self->_txn_identity, $sent->{group_id}, $answered);
            },
            done => sub {
                my ($self, undef, $error) = @_;
                return if ($self->{cfg}{txn} || 0) != $txn;
                return $self->_txn_refused($txn, $error) if $error;
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
        patience         => $self->_patience_in($txn),
        only_while_alive => 1,
        send             => sub {
            my ($self, $conn, $answered) = @_;
            my ($id, @producer) = $self->_txn_identity;
            my ($generation, $member_id, $instance_id) = @{ $sent->{member} };
            $conn->txn_offset_commit($id, $sent->{group_id}, @producer, $generation, $member_id, $sent->{topics},
                $answered, $instance_id);
        },
        done => sub {
            my ($self, $result, $error) = @_;
            return if ($self->{cfg}{txn} || 0) != $txn;
            return $self->_txn_refused($txn, $error) if $error;
            $self->_offsets_sent($txn, $sent, $result);
        },
    });
}

# Until the coordinator has said so, whether a transaction was committed is known to it
# alone. Whoever does not get to know may ask again, or abort it: that is refused when it was
# committed.
sub _end_txn {
    my ($self, $txn, $committed) = @_;
    return $self->_ask_for_txn({
        name     => 'EndTxn',
        txn      => $txn,
        patience => $self->_txn_patience,
        send     => sub {
            my ($self, $conn, $answered) = @_;
            $conn->end_txn($self->_txn_identity, $committed, $answered);
        },
        done => sub {
            my ($self, undef, $error) = @_;
            if ($error && ($error->code // 0) == INVALID_TXN_STATE && !$committed) {
                $txn->{was_committed} = 1 if defined $txn->{doubt};
                # Or adding was asked for, and did not happen.
                undef $error if defined $txn->{doubt} || !$txn->{added};
            }
            return $committed ? $self->_txn_ended($txn) : $self->_txn_aborted($txn) unless $error;
            return $self->_txn_failed_for_good($error->text) unless _is_abortable($error);
            $txn->{new_epoch} = 1;
            if ($error->retriable) {
                return $committed ? $self->_txn_in_doubt($txn, $error) : $self->_txn_not_aborted($txn, $error);
            }
            return $self->_txn_aborted($txn) unless $committed;
            $txn->{error} = $error->text;
            delete $txn->{ending};
            return $self->_txn_advance;
        },
    });
}

1;

__END__

=head1 NAME

EV::Kafka::TransactionRequests - what an EV::Kafka client asks for a transaction

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: InitProducerId,
AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit and EndTxn, each an
L<EV::Kafka::Request> to its coordinator until that has answered for good, wherever it
moves, or until its patience ends.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Transactions>

=cut
