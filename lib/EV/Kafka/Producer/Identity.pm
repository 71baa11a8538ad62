package EV::Kafka::Producer::Identity;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Options;

# The producer id and epoch of an idempotent or transactional producer. They are published as
# {producer_id} and {producer_epoch} of the options; beside them there is
#   asking   a request for others is under way
#   error    why there is none, in the words that messages are refused with
#   ended    there will never be one: the error that was told

# Milliseconds; says nothing for a producer without transactions.
use constant NO_TRANSACTION_TIMEOUT => 2**31 - 1;

# The version of InitProducerId from which a producer can get its next epoch (KIP-360).
use constant { INIT_PRODUCER_ID => 22, NEXT_EPOCH_SINCE => 3 };

# notify: identified, failed($error, $had_one).
sub new {
    my ($class, %about) = @_;
    my $self = bless { map({ $_ => $about{$_} } qw(options cluster coordinators notify)) }, $class;
    @{ $self->{options} }{qw(producer_id producer_epoch)} = (-1, -1);
    return $self;
}

# Whether batches may leave as far as the producer id is concerned.
sub is_there {
    my ($self) = @_;
    my $options = $self->{options};
    return !$options->{idempotent} || $options->{producer_id} >= 0 && !defined $self->{error};
}

# The same, and it will not be another one in a moment.
sub is_ready { my ($self) = @_; return $self->is_there && !$self->{asking} }

sub is_asking { return $_[0]{asking} ? 1 : 0 }
sub error     { return $_[0]{error} }
sub ended     { return $_[0]{ended} }

sub id_and_epoch { return @{ $_[0]{options} }{qw(producer_id producer_epoch)} }

# One request at a time, for whoever needs it: a new id serves all partitions.
sub renew {
    my ($self) = @_;
    return if $self->{asking} || defined $self->{ended};
    $self->{asking} = 1;
    return defined $self->{options}{transactional_id} ? $self->_ask_coordinator : $self->_ask_any_broker;
}

# The coordinator has given another one with the end of a transaction (KIP-890), if it has. Whether it has.
sub adopt {
    my ($self, @identity) = @_;
    return 0 if grep { !defined || $_ < 0 } @identity[0, 1];
    @{ $self->{options} }{qw(producer_id producer_epoch)} = @identity;
    return 1;
}

# Without an id nothing can be sent. The next call of renew asks again.
sub fail {
    my ($self, $error) = @_;
    delete $self->{asking};
    $self->{error} = EV::Kafka::Error->from($error)->of('idempotent producer unavailable');
    return;
}

# The same for good.
sub end {
    my ($self, $error) = @_;
    $self->{ended} = $error;
    return $self->fail($error);
}

# In a forked child.
sub abandon {
    my ($self) = @_;
    delete $self->{asking};
    @{ $self->{options} }{qw(producer_id producer_epoch)} = (-1, -1);
    return;
}

# --- the request --------------------------------------------------------------------

# Any broker gives an id to a producer without transactions. An answer that
# cannot be had now is asked for until it comes: meanwhile messages wait as they
# would for a leader.
sub _ask_any_broker {
    my ($self) = @_;
    return $self->{coordinators}->any(
        name => 'InitProducerId',
        send => $self->_offered('idempotent => 1', sub {
            my ($conn, $answered) = @_;
            $conn->init_producer_id(undef, NO_TRANSACTION_TIMEOUT, $answered);
        }),
        done => $self->_listener(0),
    );
}

# Without any id messages wait for one as they would for a leader. With one there is a
# transaction that waits for the next epoch.
sub _ask_coordinator {
    my ($self) = @_;
    my $options      = $self->{options};
    my ($id, $epoch) = $self->id_and_epoch;
    return $self->{coordinators}->request(
        txn      => $options->{transactional_id},
        name     => 'InitProducerId',
        patience => $id >= 0 ? EV::Kafka::Options::transaction_patience($options) : undef,
        send     => $self->_offered('transactional_id', sub {
            my ($conn, $answered) = @_;
            my $version = ($conn->api_versions || {})->{ INIT_PRODUCER_ID() } // 0;
            my @current = $id >= 0 && $version >= NEXT_EPOCH_SINCE ? ($id, $epoch) : ();
            $conn->init_producer_id(@$options{qw(transactional_id transaction_timeout)}, $answered, @current);
        }),
        done => $self->_listener($id >= 0),
    );
}

# Where that is not offered it would end the connection.
sub _offered {
    my ($self, $needed_for, $send) = @_;
    my $cluster = $self->{cluster};
    return sub {
        my ($conn, $answered, $where) = @_;
        my $versions = $conn->api_versions || {};
        return $send->($conn, $answered) if !%$versions || exists $versions->{ INIT_PRODUCER_ID() };
        my $node_id = $where->{node_id} // $cluster->control_node;
        my $broker  = defined $node_id ? "broker $node_id" : 'the broker';
        return $answered->(undef, "$broker does not offer InitProducerId (needed for $needed_for)");
    };
}

sub _listener {
    my ($self, $had_one) = @_;
    weaken(my $weak = $self);
    return sub {
        my ($result, $error) = @_;
        return $weak ? $weak->_answered($had_one, $result, $error || _impossible($result)) : undef;
    };
}

# Kafka counts ids and epochs from 0: under another nothing could ever be sent.
sub _impossible {
    my ($result) = @_;
    my ($id, $epoch) = @$result{qw(producer_id producer_epoch)};
    return undef if $id >= 0 && $epoch >= 0;
    return EV::Kafka::Error->without_code("InitProducerId: the broker gave producer id $id, epoch $epoch")
        ->at(operation => 'InitProducerId');
}

sub _answered {
    my ($self, $had_one, $result, $error) = @_;
    return unless delete $self->{asking};
    return $self->{notify}->(failed => $error, $had_one) if $error;
    delete $self->{error};
    @{ $self->{options} }{qw(producer_id producer_epoch)} = @$result{qw(producer_id producer_epoch)};
    return $self->{notify}->('identified');
}

1;

__END__

=head1 NAME

EV::Kafka::Producer::Identity - an EV::Kafka client's producer id

=head1 DESCRIPTION

For L<EV::Kafka::Producer>, not for use by itself. With the option C<idempotent> it asks for a
producer id, keeps it in C<< $kafka->{cfg}{producer_id} >> and C<{producer_epoch}>, and asks for
another when a partition's sequence of batches has been broken. Which batch gets which sequence
number, and when it may leave, is native.

=head1 METHODS

=head2 new(%about)

Of the options and L<EV::Kafka::Coordinators>. It tells C<identified>, and C<failed> with an
L<EV::Kafka::Error> and whether there was an id before.

=head2 is_there, is_ready, is_asking, id_and_epoch, error, ended

Whether batches may leave under it; whether it will stay for a while; why there is none.

=head2 renew, adopt($producer_id, $epoch), fail($error), end($error), abandon

Asks for the next one; has been given it; there is none for now, or for good; a forked child has none.

=head1 SEE ALSO

L<EV::Kafka::Producer>, L<EV::Kafka::Coordinators>

=cut
