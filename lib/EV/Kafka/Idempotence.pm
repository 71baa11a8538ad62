package EV::Kafka::Idempotence;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Options;

# Milliseconds; says nothing for a producer without transactions.
use constant NO_TRANSACTION_TIMEOUT => 2**31 - 1;

# The version of InitProducerId from which a producer can get its next epoch (KIP-360).
use constant { INIT_PRODUCER_ID => 22, NEXT_EPOCH_SINCE => 3 };

# Whether batches may leave as far as the producer id is concerned.
sub _producer_is_ready {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return !$cfg->{idempotent} || $cfg->{producer_id} >= 0 && !defined $cfg->{producer_error};
}

# One request at a time, for whoever needs it: a new id serves all partitions.
# {init_producer} is true from here to _producer_identified or _producer_failed.
sub _renew_producer {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || $cfg->{init_producer};
    return $self->_txn_needs_epoch if $self->_txn_must_end_first;
    if (defined(my $error = $cfg->{producer_fatal})) {
        # on_error has heard of it.
        $self->_call($_, undef, $error) for splice @{ $cfg->{connect_waiters} };
        return;
    }
    $cfg->{init_producer} = 1;
    my $init = defined $cfg->{transactional_id} ? '_init_transactional_producer' : '_init_producer';
    return $self->$init(@$cfg{qw(producer_id producer_epoch)}, sub {
        my ($self, $result, $error) = @_;
        return if $self->{cfg}{closed};
        return $error ? $self->_producer_failed($error->text)
            : $self->_producer_identified(@$result{qw(producer_id producer_epoch)});
    });
}

# Messages that have no sequence number yet leave under this id from now on.
sub _producer_identified {
    my ($self, $id, $epoch) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{init_producer};
    @$cfg{qw(producer_id producer_epoch)} = ($id, $epoch);
    $self->_native_if_taken if defined delete $cfg->{producer_error};
    $self->{accumulator}->set_identity($id, $epoch);
    $self->_txn_renewed;
    $self->_send_ready unless $cfg->{closed};
    return $cfg->{closed} ? undef : $self->_announce_connected;
}

# Without an id nothing can be sent. The next connect asks again.
sub _producer_failed {
    my ($self, $error) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{init_producer};
    my $text = $cfg->{producer_error} = "idempotent producer unavailable: $error";
    $self->{accumulator}->divert(1);
    $self->_report($error);
    my @waiters = splice @{ $cfg->{connect_waiters} };
    $self->_call($_, undef, $error) for @waiters;
    $self->{accumulator}->fail_waiting($text);
    return $cfg->{closed} ? undef : $self->_check_buffer;
}

# Any broker gives an id to a producer without transactions. An answer that
# cannot be had now is asked for until it comes: meanwhile messages wait as they
# would for a leader.
sub _init_producer {
    my ($self, undef, undef, $done) = @_;
    weaken(my $weak = $self);
    return $self->{coordinators}->any(
        name => 'InitProducerId',
        send => sub { my ($conn, $answered) = @_; $conn->init_producer_id(undef, NO_TRANSACTION_TIMEOUT, $answered) },
        done => sub {
            my ($result, $error) = @_;
            $error ||= $weak && $weak->_identity_error($result);
            return $weak ? $done->($weak, $result, $error) : undef;
        },
    );
}

# Kafka counts ids and epochs from 0: under another nothing could ever be sent.
# The next epoch, where the coordinator knows how to give one (KIP-360). Without any id messages
# wait for one as they would for a leader.
sub _init_transactional_producer {
    my ($self, $id, $epoch, $done) = @_;
    my $cfg    = $self->{cfg};
    my $had_id = $id >= 0;
    weaken(my $weak = $self);
    return $self->{coordinators}->request(txn => $cfg->{transactional_id},
        name     => 'InitProducerId',
        patience => $had_id ? EV::Kafka::Options::transaction_patience($cfg) : undef,
        send     => sub {
            my ($conn, $answered) = @_;
            my $version = ($conn->api_versions || {})->{ INIT_PRODUCER_ID() } // 0;
            my @current = $had_id && $version >= NEXT_EPOCH_SINCE ? ($id, $epoch) : ();
            $conn->init_producer_id(@$cfg{qw(transactional_id transaction_timeout)}, $answered, @current);
        },
        done => sub {
            my ($result, $error) = @_;
            my $self = $weak or return;
            $error ||= $self->_identity_error($result);
            return $done->($self, $result) unless $error;
            delete $self->{cfg}{init_producer} if $had_id;
            $self->{outbox}->enter($self->{transactions}, identity_failed => $error, $had_id);
            return $had_id || $self->{cfg}{closed} ? undef : $done->($self, undef, $error);
        },
    );
}

sub _identity_error {
    my ($self, $result) = @_;
    my ($id, $epoch) = @$result{qw(producer_id producer_epoch)};
    return undef if $id >= 0 && $epoch >= 0;
    return EV::Kafka::Error->without_code("InitProducerId: the broker gave producer id $id, epoch $epoch");
}

1;

__END__

=head1 NAME

EV::Kafka::Idempotence - an EV::Kafka client's producer id

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. With the option
C<idempotent> it asks for a producer id when the client connects, keeps it in
C<< $kafka->{cfg}{producer_id} >> and C<{producer_epoch}>, and asks for another
when a partition's sequence of batches has been broken. Which batch gets which
sequence number, and when it may leave, is native.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Retry>

=cut
