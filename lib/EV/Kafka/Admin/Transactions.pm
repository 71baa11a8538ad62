package EV::Kafka::Admin::Transactions;
use strict;
use warnings;

use EV::Kafka::Admin::Terms;
use EV::Kafka::Error;

# Transactions of other producers: { ask } is the EV::Kafka::Admin::Ask that requests go through.

# The first versions of ListTransactions that know a duration (KIP-994) and a pattern (KIP-1152).
use constant {
    FILTERS_DURATION => 1,
    FILTERS_PATTERN  => 2,
};

use constant MS => 1_000;

# The first version of InitProducerId in which a producer may say who it was (KIP-360).
use constant TAKES_IDENTITY => 3;

# Kafka's words for a producer that has no id yet.
use constant {
    NO_PRODUCER_ID    => -1,
    NO_PRODUCER_EPOCH => -1,
};

# WriteTxnMarkers' result.
use constant ABORT => 0;

sub new { my ($class, $ask) = @_; return bless { ask => $ask }, $class }

sub list_transactions {
    my ($self, $call) = @_;
    my @states    = $call->names($call->option('states', []));
    my @producers = $call->names($call->option('producer_ids', []));
    my ($seconds, $pattern) = map { $call->option($_) } qw(running_longer_than pattern);
    return $self->{ask}->brokers(
        call   => $call,
        api    => 'ListTransactions',
        least  => defined $pattern ? FILTERS_PATTERN : defined $seconds ? FILTERS_DURATION : 0,
        fields => {
            state_filters       => \@states,
            producer_id_filters => \@producers,
            defined $seconds ? (duration_filter => int(MS * $seconds)) : (),
            defined $pattern ? (transactional_id_pattern => $pattern) : (),
        },
        done => sub {
            my (@brokers) = @_;
            my @found = map { my ($node_id, $answer) = @$_; map { _listed($node_id, $_) } @{ ($answer || {})->{transaction_states} || [] } } @brokers;
            my %unknown = map { $_ => 1 } map { @{ ($_->[1] || {})->{unknown_state_filters} || [] } } @brokers;
            return $call->done({
                transactions => [sort { $a->{transactional_id} cmp $b->{transactional_id} } @found],
                %unknown ? (unknown_states => [sort keys %unknown]) : (),
            }, EV::Kafka::Error->together(map { $_->[2] || () } @brokers));
        },
    );
}

sub _listed {
    my ($node_id, $found) = @_;
    return {
        coordinator => $node_id,
        state       => $found->{transaction_state},
        EV::Kafka::Admin::Terms::same($found, qw(transactional_id producer_id)),
    };
}

sub describe_transactions {
    my ($self, $call) = @_;
    return $self->_each($call, sub {
        my ($id) = @_;
        return (api => 'DescribeTransactions', fields => { transactional_ids => [$id] });
    }, sub {
        my ($answer) = @_;
        my $found = $answer->{transaction_states}[0];
        return (
            EV::Kafka::Admin::Terms::outcome($found),
            $found->{error_code} ? () : (
                EV::Kafka::Admin::Terms::pick($found, state => 'transaction_state', timeout_ms => 'transaction_timeout_ms',
                    map { $_ => $_ } qw(producer_id producer_epoch)),
                $found->{transaction_start_time_ms} < 0 ? () : (start_time_ms => $found->{transaction_start_time_ms}),
                topics => [sort { $a->{topic} cmp $b->{topic} } @{ $found->{topics} }],
            ),
        );
    }, 'transactions');
}

# A producer that begins as another one with this id: what was open is aborted, and who had it cannot go on.
sub fence_producers {
    my ($self, $call) = @_;
    return $self->_each($call, sub {
        my ($id) = @_;
        return (
            api    => 'InitProducerId',
            fields => sub {
                my ($version) = @_;
                return {
                    transactional_id       => $id,
                    # A coordinator lets its own log take no longer than this.
                    transaction_timeout_ms => $call->broker_ms,
                    $version >= TAKES_IDENTITY ? (producer_id => NO_PRODUCER_ID, producer_epoch => NO_PRODUCER_EPOCH) : (),
                };
            },
        );
    }, sub { EV::Kafka::Admin::Terms::same($_[0], qw(error_code producer_id producer_epoch)) }, 'producers');
}

# Each transactional id at its coordinator. $asked->($id): what is asked; $told->($answer): what came of it.
sub _each {
    my ($self, $call, $asked, $told, $name) = @_;
    my @ids = $call->names($call->what);
    return $call->each_of(\@ids, sub {
        my ($id, $known) = @_;
        return $self->{ask}->coordinator(txn => $id,
            call => $call,
            $asked->($id),
            done => sub {
                my ($answer, $error) = @_;
                return $known->({ transactional_id => $id, $error ? EV::Kafka::Admin::Terms::failure($error) : $told->($answer) });
            },
        );
    }, sub { $call->done({ $name => [@_] }) });
}

# What describe_producers has shown of it, written into the one partition.
sub abort_hanging_transaction {
    my ($self, $call) = @_;
    my $hanging = $call->element($call->what, qw(!topic !partition !producer_id !producer_epoch coordinator_epoch));
    return $self->{ask}->leaders(
        call       => $call,
        api        => 'WriteTxnMarkers',
        partitions => [$hanging],
        fields     => sub { { markers => [{
            producer_id        => $hanging->{producer_id},
            producer_epoch     => $hanging->{producer_epoch},
            transaction_result => ABORT,
            # One whose coordinator has never written anything has the epoch -1.
            coordinator_epoch  => ($hanging->{coordinator_epoch} // -1) < 0 ? 0 : $hanging->{coordinator_epoch},
            topics             => [{ name => $hanging->{topic}, partition_indexes => [$hanging->{partition}] }],
        }] } },
        rows => sub {
            return map { my $topic = $_; map { [$topic->{name}, $_->{partition_index}, $_] } @{ $topic->{partitions} } }
                map { @{ $_->{topics} } } @{ $_[0]{markers} };
        },
        done => sub {
            my ($partition, $row, $error) = @{ $_[0] };
            $error ||= EV::Kafka::Error->of_code($row->{error_code}) if $row && $row->{error_code};
            return $error ? $call->fail($error) : $call->done({ EV::Kafka::Admin::Terms::same($hanging, qw(topic partition producer_id)), error_code => 0 });
        },
    );
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Transactions - admin methods about transactions

=head1 DESCRIPTION

A part of L<EV::Kafka::Admin>, which describes the methods. Each gets its L<EV::Kafka::Admin::Call>.

=head1 METHODS

=head2 new($ask)

Of an L<EV::Kafka::Admin::Ask>.

=head2 list_transactions($call), describe_transactions($call), fence_producers($call), abort_hanging_transaction($call)

As L<EV::Kafka::Admin> has them.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
