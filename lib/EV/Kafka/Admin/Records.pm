package EV::Kafka::Admin::Records;
use strict;
use warnings;

use EV::Kafka::Admin::Terms;
use EV::Kafka::Partitions;

# What leaders know of partitions, and do with them: { ask } is the EV::Kafka::Admin::Ask that requests go through.

# ListOffsets' special timestamps, and the first version that knows them (KIP-734, KIP-405, KIP-1005, KIP-1023).
my %TIMESTAMP = (
    latest                  => [-1, 1],
    earliest                => [-2, 1],
    max_timestamp           => [-3, 7],
    earliest_local          => [-4, 8],
    latest_tiered           => [-5, 9],
    earliest_pending_upload => [-6, 11],
);

my %ISOLATION = (read_uncommitted => 0, read_committed => 1);

# The first version of ListOffsets that can be told how to see transactions.
use constant KNOWS_ISOLATION => 2;

# Of DescribeProducers and ListOffsets, for none.
use constant NONE => -1;

use constant CLIENT => -1;

sub new { my ($class, $ask) = @_; return bless { ask => $ask }, $class }

sub delete_records {
    my ($self, $call) = @_;
    return $self->_of_partitions($call, [qw(!topic !partition !offset)],
        api    => 'DeleteRecords',
        fields => sub {
            my ($version, @partitions) = @_;
            return { timeout_ms => $call->broker_ms, topics => _topics(name => partitions => map {
                [$_->{topic}, { partition_index => $_->{partition}, offset => $_->{offset} }]
            } @partitions) };
        },
        row => sub { EV::Kafka::Admin::Terms::same($_[0], qw(low_watermark)) },
    );
}

sub list_offsets {
    my ($self, $call) = @_;
    my $level = $call->option('isolation_level', 'read_uncommitted');
    my $isolation = $ISOLATION{$level} // $call->croak("isolation_level must be read_uncommitted or read_committed, not '$level'");
    my $least = $isolation ? KNOWS_ISOLATION : 1;
    my @partitions = map {
        my ($number, $since) = _timestamp($call, $_->{timestamp});
        $least = $since if $since > $least;
        +{ %$_, timestamp => $number }
    } $call->elements($call->what, qw(!topic !partition !timestamp));
    return $self->_of_partitions($call, \@partitions,
        api    => 'ListOffsets',
        least  => $least,
        fields => sub {
            my ($version, @partitions) = @_;
            return {
                replica_id => CLIENT,
                $version >= KNOWS_ISOLATION ? (isolation_level => $isolation) : (),
                timeout_ms => $call->broker_ms,
                topics     => _topics(name => partitions => map {
                    [$_->{topic}, { partition_index => $_->{partition}, timestamp => $_->{timestamp} }]
                } @partitions),
            };
        },
        row => sub {
            my ($row) = @_;
            return (
                EV::Kafka::Admin::Terms::same($row, qw(offset timestamp)),
                ($row->{leader_epoch} // NONE) == NONE ? () : (leader_epoch => $row->{leader_epoch}),
            );
        },
    );
}

sub _timestamp {
    my ($call, $timestamp) = @_;
    return ($timestamp, 1) if $timestamp =~ /\A[0-9]+\z/;
    my $special = $TIMESTAMP{$timestamp}
        or $call->croak("timestamp must be milliseconds since 1970 or one of @{[sort keys %TIMESTAMP]}, not '$timestamp'");
    return @$special;
}

sub describe_producers {
    my ($self, $call) = @_;
    return $self->_of_partitions($call, [qw(!topic !partition)],
        api    => 'DescribeProducers',
        fields => sub {
            my ($version, @partitions) = @_;
            return { topics => _topics(name => partition_indexes => map { [$_->{topic}, $_->{partition}] } @partitions) };
        },
        row => sub { (producers => [map { _producer($_) } sort { $a->{producer_id} <=> $b->{producer_id} } @{ $_[0]{active_producers} }]) },
    );
}

sub _producer {
    my ($producer) = @_;
    my %optional = map { $producer->{$_} == NONE ? () : ($_ => $producer->{$_}) } qw(last_sequence last_timestamp current_txn_start_offset);
    return { EV::Kafka::Admin::Terms::same($producer, qw(producer_id producer_epoch coordinator_epoch)), %optional };
}

# Partitions by topic: [$topic, $partition] under these names.
sub _topics {
    my ($name, $partitions, @pairs) = @_;
    return [map { +{ $name => $_->{topic}, $partitions => $_->{partitions} } } @{ EV::Kafka::Partitions::by_topic(@pairs) }];
}

# What its leader says of each partition. $keys: those of an element, or the elements themselves.
# $about{row}: what there is of a row beside its error.
sub _of_partitions {
    my ($self, $call, $keys, %about) = @_;
    my @partitions = ref $keys->[0] ? @$keys : $call->elements($call->what, @$keys);
    my %times;
    for my $partition (@partitions) {
        my $key = EV::Kafka::Partitions::key_of($partition);
        $call->croak("$key is there twice") if $times{$key}++;
    }
    my $row_of = delete $about{row};
    return $self->{ask}->leaders(
        call       => $call,
        partitions => \@partitions,
        rows       => sub { map { my $topic = $_; map { [$topic->{name}, $_->{partition_index}, $_] } @{ $topic->{partitions} } } @{ $_[0]{topics} } },
        done       => sub {
            my @told = map {
                my ($partition, $row, $error) = @$_;
                my @outcome = $error ? EV::Kafka::Admin::Terms::failure($error)
                    : (EV::Kafka::Admin::Terms::outcome($row), $row->{error_code} ? () : $row_of->($row));
                [$partition->{topic}, { partition => $partition->{partition}, @outcome }];
            } @_;
            return $call->done({ topics => EV::Kafka::Admin::Terms::by_topic(@told) });
        },
        %about,
    );
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Records - admin methods that leaders of partitions answer

=head1 DESCRIPTION

A part of L<EV::Kafka::Admin>, which describes the methods. Each gets its L<EV::Kafka::Admin::Call>.

=head1 METHODS

=head2 new($ask)

Of an L<EV::Kafka::Admin::Ask>.

=head2 delete_records($call), list_offsets($call), describe_producers($call)

As L<EV::Kafka::Admin> has them.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
