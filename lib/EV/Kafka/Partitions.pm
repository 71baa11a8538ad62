package EV::Kafka::Partitions;
use strict;
use warnings;

use Carp ();

# Bytes; no broker has a topic with a longer name.
use constant MAX_TOPIC_NAME => 249;

# Partitions in one request at the most: with the longest names that is half a megabyte, and what its answer
# leads to takes some hundredths of a second.
use constant MOST_IN_REQUEST => 2_000;

# What is wrong with a name that cannot even be asked for: a request that has it may
# have others' names in it. Which characters are allowed is for the broker to say.
sub invalid_topic {
    my ($topic) = @_;
    my $bytes = do { use bytes; length $topic };
    return $bytes > MAX_TOPIC_NAME
        ? "invalid topic name: $bytes bytes, ${\ MAX_TOPIC_NAME} are allowed: '" . substr($topic, 0, 20) . "...'"
        : undef;
}

# A number of the program's; $what names it.
sub integer {
    my ($what, $value) = @_;
    Carp::croak("$what must be an integer, not '$value'") unless is_integer($value);
    return $value + 0;
}

sub is_integer { return $_[0] =~ /\A-?[0-9]+\z/ }

sub key_of { return "$_[0]{topic}:$_[0]{partition}" }

sub by_topic {
    my (@pairs) = @_;
    my %of;
    push @{ $of{ $_->[0] } }, $_->[1] for @pairs;
    return [map { { topic => $_, partitions => $of{$_} } } sort keys %of];
}

# What is asked about partitions, each { topic, partition, ... }, as [$leader, \@asked] for each request that
# takes. A request names a partition once, because brokers refuse it otherwise; $leader is undef for those of
# which $leader_of->($topic, $partition) does not know it.
sub by_leader {
    my ($leader_of, @asked) = @_;
    my (%named, %open, @requests);
    for my $asked (@asked) {
        my ($topic, $partition) = @$asked{qw(topic partition)};
        my $leader  = $leader_of->($topic, $partition);
        my $place   = ($leader // '') . ':' . $named{"$topic:$partition"}++;
        my $request = $open{$place};
        push @requests, $request = $open{$place} = [$leader, []] if !$request || @{ $request->[1] } >= MOST_IN_REQUEST;
        push @{ $request->[1] }, $asked;
    }
    return @requests;
}

sub flat {
    my ($topics) = @_;
    return map { my $topic = $_; map { [$topic->{topic}, $_] } @{ $topic->{partitions} } } @$topics;
}

sub offsets_by_topic {
    my (@positions) = @_;
    return by_topic(map {
        my $position = $_;
        [$position->{topic},
            { map { $_ => $position->{$_} } grep { defined $position->{$_} } qw(partition offset leader_epoch metadata) }];
    } @positions);
}

1;

__END__

=head1 NAME

EV::Kafka::Partitions - partitions as the client keeps them, and as Kafka's requests list them

=head1 DESCRIPTION

Functions for the modules of L<EV::Kafka::Client>, not for use by themselves. The
client thinks of partitions one by one; requests and answers list them by topic.

=head1 FUNCTIONS

None is exported.

=head2 invalid_topic($topic)

What is wrong with a name that cannot even be asked for, or undef.

=head2 integer($what, $value), is_integer($value)

The program's number, which C<$what> names when it is none.

=head2 key_of(\%partition)

"topic:partition", by which the client finds what it knows of a partition.

=head2 by_topic(@pairs)

    my $topics = EV::Kafka::Partitions::by_topic(['a', 0], ['b', 1], ['a', 2]);
    # [{ topic => 'a', partitions => [0, 2] }, { topic => 'b', partitions => [1] }]

The topics are sorted; what belongs to one stays in order, whatever it is.

=head2 by_leader($leader_of, @asked)

What is asked about partitions, hashes that have C<topic> and C<partition>, as C<[$leader, \@asked]> for
each request: one leader, C<MOST_IN_REQUEST> partitions at the most, and none of them twice.

=head2 flat(\@topics)

The other way round: the list of pairs.

=head2 offsets_by_topic(@positions)

C<by_topic> for hashes of C<topic>, C<partition>, C<offset>, C<leader_epoch> and
C<metadata>: what is defined of the last four stands in C<partitions>.

=head1 SEE ALSO

L<EV::Kafka>

=cut
