package EV::Kafka::Transaction::Requests;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Options;
use EV::Kafka::Partitions;
use EV::Kafka::Request;

# What is asked for one transaction, and what its coordinator may know of it by now. State:
#   version    of transactions: 1, where the coordinator is told what is to be added, or 2, where what is
#              written is added by that (KIP-890); undef as long as that is not decided
#   begun      when the coordinator may have begun it
#   asked      something is to be added, or written
#   added      the coordinator knows of it; ends by EndTxn
#   may_have   requests to add something that it may have obeyed
#   on_wire    requests that it has not answered
#   running    EV::Kafka::Request's, by number
#   is_stopped nothing is to be added any more
#   is_over    the transaction is
# subject is whose the requests are, $identity->() gives the producer's id and epoch, and on_quiet
# is called when one was answered for which nobody waits any more.

use constant ADD_OFFSETS_TO_TXN => 25;

# Codes that are worth another try of a request to add something to the transaction, and say
# that it was not added: UNKNOWN_TOPIC_OR_PARTITION, COORDINATOR_LOAD_IN_PROGRESS,
# CONCURRENT_TRANSACTIONS, THROTTLING_QUOTA_EXCEEDED. After others the coordinator's log may
# have it.
my %NOT_ADDED = map { $_ => 1 } 3, 14, 51, 89;

# How much of transaction_timeout may have passed since the first request that may have begun it
# at the coordinator. What is left is for the abort: a coordinator that aborts by itself fences
# the producer. But no request takes less than the last, in seconds.
use constant {
    SHARE_OF_ALL   => 0.75,
    LEAST_PATIENCE => 1,
};

sub new {
    my ($class, %about) = @_;
    my $self = bless {
        map({ $_ => $about{$_} } qw(loop outbox options coordinators subject identity on_quiet)),
        may_have => 0, on_wire => 0, running => {}, number => 0,
    }, $class;
    weaken($self->{subject});
    return $self;
}

sub on_wire        { $_[0]{on_wire} }
sub version        { $_[0]{version} }
sub have_added     { $_[0]{added} ? 1 : 0 }
sub may_have_added { $_[0]{may_have} ? 1 : 0 }
sub may_have_begun { $_[0]{asked} ? 1 : 0 }

# What it is stays so until it is over.
sub is_of { my ($self, $version) = @_; return $self->{version} = $version }

# Something is written that becomes part of it by that: from here on it ends by EndTxn.
sub writes {
    my ($self) = @_;
    @$self{qw(asked added may_have)} = (1, 1, 1);
    $self->{begun} //= $self->{loop}->now;
    return;
}

# The transaction is being aborted.
sub stop_adding { my ($self) = @_; $self->{is_stopped} = 1; return }

# The coordinator has ended the transaction.
sub have_ended { my ($self) = @_; $self->{may_have} = 0; return }

# $done->($error), as for all of these; @$partitions are [$topic, $partition].
sub add_partitions {
    my ($self, $partitions, $done) = @_;
    return $self->_add(AddPartitionsToTxn => sub {
        my ($conn, $answered) = @_;
        $conn->add_partitions_to_txn($self->_identity, EV::Kafka::Partitions::by_topic(@$partitions), $answered);
    }, $done);
}

# Before offsets of the group are committed.
sub add_offsets {
    my ($self, $group_id, $done) = @_;
    return $self->_add(AddOffsetsToTxn => sub {
        my ($conn, $answered) = @_;
        return $answered->({ error_code => 0 }) unless defined $conn->api_versions->{ ADD_OFFSETS_TO_TXN() };
        $conn->add_offsets_to_txn($self->_identity, $group_id, $answered);
    }, $done);
}

# $done->(undef, $result) when they are stored.
sub commit_offsets {
    my ($self, $group_id, $member, $topics, $done) = @_;
    my ($generation, $member_id, $instance_id) = @$member;
    my $version = $self->{version};
    $self->writes if $version > 1;
    return $self->_ask(group => $group_id,
        name     => 'TxnOffsetCommit',
        patience => $self->patience_left,
        stops    => 1,
        send     => sub {
            my ($conn, $answered) = @_;
            my ($id, @producer) = $self->_identity;
            $conn->txn_offset_commit($id, $group_id, @producer, $generation, $member_id, $topics, $answered, $instance_id, $version);
        },
        done => sub { my ($result, $error) = @_; return $done->($error, $result) },
    );
}

# $done->(undef, $result), where $result has the identity to go on with if the version gives one. What was
# sent before is sent unchanged: the coordinator knows it again.
sub end_transaction {
    my ($self, $committed, $done) = @_;
    my $version = $self->{version};
    return $self->_ask(txn => $self->{options}{transactional_id},
        name     => 'EndTxn',
        patience => $self->patience,
        send     => sub {
            my ($conn, $answered) = @_;
            $conn->end_txn($self->_identity, $committed, $answered, $version);
        },
        done => sub { my ($result, $error) = @_; return $done->($error, $result) },
    );
}

# Seconds that a request may take.
sub patience { return EV::Kafka::Options::transaction_patience($_[0]{options}) }

# The same for one without which the transaction cannot be committed.
sub patience_left {
    my ($self) = @_;
    my $patience = $self->patience;
    return $patience unless defined $self->{begun};
    my $left = $self->{begun} + SHARE_OF_ALL * $self->{options}{transaction_timeout} / 1000 - $self->{loop}->now;
    return List::Util::min($patience, List::Util::max($left, LEAST_PATIENCE));
}

# The transaction is over: nobody hears of anything any more.
sub close {
    my ($self) = @_;
    $self->{is_over} = 1;
    $_->end for values %{ $self->{running} };
    return;
}

# --------------------------------------------------------------------------------------

sub _add {
    my ($self, $name, $send, $done) = @_;
    $self->{asked} = 1;
    return $self->_ask(txn => $self->{options}{transactional_id},
        name     => $name,
        patience => $self->patience_left,
        adds     => 1,
        stops    => 1,
        send     => $send,
        done     => sub {
            my (undef, $error) = @_;
            $self->{added} = 1 unless $error;
            return $done->($error);
        },
    );
}

# adds: it adds something to the transaction; stops: nobody waits for it when that is being aborted.
sub _ask {
    my ($self, $kind, $key, %ask) = @_;
    my ($adds, $stops, $send) = delete @ask{qw(adds stops send)};
    my $number = ++$self->{number};
    weaken(my $weak = $self);
    my $request = $self->{coordinators}->request($kind, $key,
        %ask,
        subject => $self->{subject},
        alive   => sub { $weak && $weak->_is_wanted($stops) },
        send    => sub { my ($conn, $answered) = @_; $self->_send($send, $adds, $stops, $conn, $answered) },
        over    => sub { delete $weak->{running}{$number} if $weak },
    );
    $self->{running}{$number} = $request unless $request->has_ended;
    return;
}

sub _is_wanted {
    my ($self, $stops) = @_;
    return !$self->{is_over} && !($stops && $self->{is_stopped});
}

sub _send {
    my ($self, $send, $adds, $stops, $conn, $answered) = @_;
    $self->{on_wire}++;
    if ($adds) {
        $self->{may_have}++;
        $self->{begun} //= $self->{loop}->now;
    }
    return $send->($conn, $self->{outbox}->entry($self, _heard => $adds, $stops, $answered));
}

sub _heard {
    my ($self, $adds, $stops, $answered, $result, $error) = @_;
    $self->{on_wire}--;
    $self->{may_have}-- if $adds && $result && !$result->{truncated} && _says_not_added($result);
    $answered->($result, $error);
    # An abort has waited for it.
    return $self->_is_wanted($stops) ? undef : $self->{on_quiet}->();
}

sub _says_not_added {
    my ($result) = @_;
    my @codes = EV::Kafka::Request::codes($result);
    return @codes && !grep { !$NOT_ADDED{$_} && EV::Kafka::Error::is_retriable_by_coordinator($_, 0) } @codes;
}

sub _identity {
    my ($self) = @_;
    return ($self->{options}{transactional_id}, $self->{identity}->());
}

1;

__END__

=head1 NAME

EV::Kafka::Transaction::Requests - what an EV::Kafka client asks for a transaction

=head1 DESCRIPTION

A part of L<EV::Kafka::Transaction>, not for use by itself: AddPartitionsToTxn, AddOffsetsToTxn,
TxnOffsetCommit and EndTxn, each an L<EV::Kafka::Request> to its coordinator until that has
answered for good, wherever it moves, or until its patience ends; and what the coordinator may
know of the transaction by then.

=head1 METHODS

=head2 new(subject => $transaction, identity => $code, on_quiet => $code, loop => $loop, ...)

On the owners that the transaction stands on, which is not kept alive.

=head2 version, is_of($version)

The version of transactions that they are of, and that this is decided.

=head2 add_partitions(\@partitions, $done), add_offsets($group_id, $done)

Call C<< $done->($error) >>, an L<EV::Kafka::Error> or undef, unless nobody waits any more.

=head2 writes

Something is written, which becomes part of a transaction of version 2 by that.

=head2 commit_offsets($group_id, \@member, \@topics, $done), end_transaction($committed, $done)

Call C<< $done->($error, $result) >>.

=head2 on_wire, have_added, may_have_added, may_have_begun, have_ended

How many requests were not answered, whether something is part of the transaction for the
coordinator, whether it may be, and whether that was asked for; and that it is so no more.

=head2 patience, patience_left

Seconds that a request may take, and those of one without which the transaction cannot be committed.

=head2 stop_adding, close

The transaction is being aborted, or over.

=head1 SEE ALSO

L<EV::Kafka>

=cut
