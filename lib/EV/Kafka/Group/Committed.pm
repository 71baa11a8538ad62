package EV::Kafka::Group::Committed;
use strict;
use warnings;

use EV::Kafka::Error;
use EV::Kafka::Partitions;

# The offsets that a group has committed, as its coordinator knows them.

# The API that can be asked for stable offsets only, from which version on.
use constant {
    OFFSET_FETCH        => 9,
    REQUIRE_STABLE_FROM => 7,
};

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(group_id outbox cluster coordinators)) }, $class;
}

# $done->({ "topic:partition" => $offset, undef if there is none }, undef,
# { "topic:partition" => $leader_epoch }), or $done->(undef, $error). %how is the request's.
# With require_stable wherever the broker knows it: what a transaction is about to
# commit counts.
sub fetch {
    my ($self, $partitions, $done, %how) = @_;
    return $done->({}) unless @$partitions;
    my $group_id = $self->{group_id};
    my $topics   = EV::Kafka::Partitions::by_topic(@$partitions);
    return $self->{coordinators}->request(group => $group_id,
        %how,
        name => 'OffsetFetch',
        send => sub {
            my ($conn, $answered) = @_;
            my $newest = ($conn->api_versions || {})->{ OFFSET_FETCH() } // 0;
            $conn->offset_fetch($group_id, $self->{cluster}->with_ids($topics),
                { require_stable => $newest >= REQUIRE_STABLE_FROM ? 1 : 0 },
                sub { my ($answer, $error) = @_; $answered->($self->_of_known_topics($answer), $error) });
        },
        done => sub { $self->{outbox}->enter($self, _fetched => $done, @_) },
    );
}

# For a topic that is not there nothing is committed, which is no error. One that is not known by its id may be another one
# by now: it is asked for again.
sub _of_known_topics {
    my ($self, $answer) = @_;
    my $cluster = $self->{cluster};
    for my $topic (@{ ($answer || {})->{topics} || [] }) {
        my @unknown = grep { EV::Kafka::Error::is_unknown_topic($_->{error_code}) } @{ $topic->{partitions} };
        my ($other) = grep { EV::Kafka::Error::is_other_topic($_->{error_code}) } @unknown;
        $cluster->want($topic->{topic}) if $other;
        next if $other && $cluster->is_known($topic->{topic});
        @$_{qw(error_code offset)} = (0, -1) for @unknown;
    }
    return $answer;
}

sub _fetched {
    my ($self, $done, $answer, $error) = @_;
    return $done->(undef, _of_partition($answer, $error)) if $error;
    my (%offsets, %epochs);
    for my $topic (@{ $answer->{topics} }) {
        for my $partition (@{ $topic->{partitions} }) {
            my $key = "$topic->{topic}:$partition->{partition}";
            $offsets{$key} = $partition->{offset} < 0 ? undef : $partition->{offset};
            $epochs{$key}  = $partition->{leader_epoch};
        }
    }
    return $done->(\%offsets, undef, \%epochs);
}

sub _of_partition {
    my ($answer, $error) = @_;
    my $cause = $error->cause;
    return $cause if !$answer || $answer->{error_code};
    for my $topic (@{ $answer->{topics} }) {
        for my $partition (grep { $_->{error_code} == $cause->code } @{ $topic->{partitions} }) {
            return $cause->said("$cause for $topic->{topic}:$partition->{partition}");
        }
    }
    return $cause;
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Committed - the offsets that an EV::Kafka client's group has committed

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself.

=head1 METHODS

=head2 new(%about)

With C<group_id>, C<outbox> and C<coordinators>.

=head2 fetch(\@partitions, $done, %how)

Asks for those of C<[topic, partition]>, until there is an answer or C<%how>, which is for
L<EV::Kafka::Request>, says that it is enough. Then C<$done> hears of the offsets by
C<topic:partition>, with their leader epochs as the third argument, or of an L<EV::Kafka::Error> as the second.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
