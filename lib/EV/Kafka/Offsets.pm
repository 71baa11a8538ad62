package EV::Kafka::Offsets;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(refaddr weaken);

# ListOffsets' special timestamps.
use constant {
    LATEST   => -1,
    EARLIEST => -2,
};

# A lookup that a broker refuses because it is not the leader is asked again,
# of the leader that fresh metadata names.
use constant {
    LOOKUP_TRIES       => 5,
    LOOKUP_BACKOFF     => 0.1,
    LOOKUP_BACKOFF_MAX => 1,
};

use constant UNKNOWN_TOPIC_OR_PARTITION => 3;

sub offsets_for {
    my ($self, $topic, $cb) = @_;
    $self->_check_open;
    Carp::croak('offsets_for: topic required') unless defined $topic && length $topic;
    return $self->_on_topic({
        topic => $topic,
        cb    => $cb,
        run   => sub { my ($self, $op) = @_; $self->_offsets_of_topic($topic, $op->{cb}) },
    });
}

sub _offsets_of_topic {
    my ($self, $topic, $cb) = @_;
    my @partitions = 0 .. $#{ $self->{cfg}{topics}{$topic} };
    my $survey     = _survey($cb, 2 * @partitions);
    my $offsets    = $survey->{found};
    for my $partition (@partitions) {
        for my $end ([earliest => EARLIEST], [latest => LATEST]) {
            my ($name, $timestamp) = @$end;
            $self->_lookup_offset($topic, $partition, $timestamp, sub {
                my ($self, $offset, $error) = @_;
                $offsets->{$partition}{$name} = $offset unless defined $error;
                $self->_surveyed($survey, "$topic:$partition", $error);
            });
        }
    }
    return;
}

# The first message that was written at a time or later.
sub offsets_for_times {
    my ($self, $times, $cb) = @_;
    $self->_check_open;
    Carp::croak('offsets_for_times: expected hashref of "topic:partition" => milliseconds')
        unless ref $times eq 'HASH';
    my @wanted = map { _time_wanted($_, $times->{$_}) } sort keys %$times;
    return $self->_call($cb, {}) unless @wanted;
    my $survey = _survey($cb, scalar @wanted);
    weaken(my $weak = $self);
    for my $wanted (@wanted) {
        my ($topic, $partition) = @$wanted;
        $self->_on_topic({
            topic     => $topic,
            partition => $partition,
            run       => sub { my ($self) = @_; $self->_search_time($survey, @$wanted) },
            cb        => sub { $weak->_surveyed($survey, "$topic:$partition", $_[1]) if $weak },
        });
    }
    return;
}

sub _time_wanted {
    my ($key, $ms) = @_;
    my ($topic, $partition) = $key =~ /\A(.+):([0-9]+)\z/s
        or Carp::croak("offsets_for_times: not topic:partition: '$key'");
    Carp::croak("offsets_for_times: the time of $key must be milliseconds since 1970")
        unless defined $ms && $ms =~ /\A[0-9]+\z/;
    return [$topic, $partition, $ms];
}

sub _search_time {
    my ($self, $survey, $topic, $partition, $ms) = @_;
    return $self->_lookup_offset($topic, $partition, $ms, sub {
        my ($self, $offset, $error, $answer) = @_;
        $survey->{found}{"$topic:$partition"} =
            $offset < 0 ? undef : { offset => $offset, timestamp => $answer->{timestamp} } unless defined $error;
        $self->_surveyed($survey, "$topic:$partition", $error);
    });
}

sub lag {
    my ($self, $cb) = @_;
    $self->_check_open;
    return $self->_when_connected({ cb => $cb, run => sub { my ($self, $op) = @_; $self->_lag_now($op->{cb}) } });
}

sub _lag_now {
    my ($self, $cb) = @_;
    my @assigned = @{ $self->{cfg}{assignments} };
    return $self->_call($cb, {}) unless @assigned;
    my $survey = _survey($cb, scalar @assigned);
    for my $assigned (@assigned) {
        my $key = "$assigned->{topic}:$assigned->{partition}";
        $self->_lookup_offset($assigned->{topic}, $assigned->{partition}, LATEST, sub {
            my ($self, $latest, $error) = @_;
            my ($current) = $self->_position_of($assigned);
            $error //= 'its position has not been looked up yet' if $current < 0;
            $survey->{found}{$key} = { current => $current, latest => $latest, lag => $latest - $current }
                unless defined $error;
            $self->_surveyed($survey, $key, $error);
        });
    }
    return;
}

# Several lookups and one callback: { cb, left, found, errors }.
sub _survey {
    my ($cb, $lookups) = @_;
    return { cb => $cb, left => $lookups, found => {}, errors => [] };
}

# What could be found out is given even when a partition failed.
sub _surveyed {
    my ($self, $survey, $key, $error) = @_;
    push @{ $survey->{errors} }, "$key: $error" if defined $error;
    return if --$survey->{left};
    my @errors = @{ $survey->{errors} };
    my $text   = @errors ? join '; ', @errors : undef;
    return $self->_call($survey->{cb}, $survey->{found}, $text) if $survey->{cb};
    return defined $text ? $self->_report($text) : undef;
}

# Asks the partition's leader for an offset and calls
# $done->($client, $offset, undef, $answer) or $done->($client, undef, $error), once.
sub _lookup_offset {
    my ($self, $topic, $partition, $timestamp, $done) = @_;
    my $lookup = { topic => $topic, partition => $partition, timestamp => $timestamp, done => $done, tries => 0 };
    $self->{cfg}{lookups}{ refaddr $lookup } = $lookup;
    return $self->_try_lookup($lookup);
}

sub _try_lookup {
    my ($self, $lookup) = @_;
    delete $lookup->{timer};
    my $leader = $self->_leader(@$lookup{qw(topic partition)});
    if (!defined $leader) {
        $self->_refresh_metadata_for_topic($lookup->{topic});
        return $self->_end_lookup($lookup, undef, 'no connection to leader');
    }
    weaken(my $weak = $self);
    return $self->_on_broker(main => $leader, {
        run => sub { my ($self) = @_; $self->_send_lookup($leader, $lookup) },
        cb  => sub { $weak->_end_lookup($lookup, undef, $_[1]) if $weak },
    });
}

sub _send_lookup {
    my ($self, $leader, $lookup) = @_;
    my $conn = $self->_ready_conn(main => $leader)
        or return $self->_end_lookup($lookup, undef, 'no connection to leader');
    weaken(my $weak = $self);
    my $answered = sub { $weak->_lookup_answered($leader, $lookup, @_) if $weak };
    $conn->list_offsets(@$lookup{qw(topic partition timestamp)}, $answered, {
        isolation_level => $self->_isolation,
        leader_epoch    => $self->_leader_epoch(@$lookup{qw(topic partition)}),
    });
    return;
}

sub _lookup_answered {
    my ($self, $leader, $lookup, $result, $error) = @_;
    $self->_request_failed(main => $leader) if defined $error;
    $error //= 'incomplete ListOffsets answer' if $result && $result->{truncated};
    return $self->_end_lookup($lookup, undef, $error) if defined $error;

    my ($answer) = grep { $_->{partition} == $lookup->{partition} }
        map { @{ $_->{partitions} } } grep { $_->{topic} eq $lookup->{topic} } @{ $result->{topics} };
    return $self->_end_lookup($lookup, undef, 'ListOffsets answer lacks the partition') unless $answer;
    my $code = $answer->{error_code};
    if (!$code) {
        # Only of a time there may be no offset.
        return $self->_end_lookup($lookup, $answer->{offset}, undef, $answer)
            if $answer->{offset} >= 0 || $lookup->{timestamp} >= 0;
        return $self->_end_lookup($lookup, undef, "ListOffsets answers $answer->{offset}, which is no offset");
    }

    my $is_moved = $self->_is_leader_error($code) || $code == UNKNOWN_TOPIC_OR_PARTITION;
    if ($is_moved && ++$lookup->{tries} < LOOKUP_TRIES && !$self->{cfg}{closed}) {
        $self->_refresh_metadata_for_topic($lookup->{topic});
        $lookup->{timer} = $self->_timer(
            $self->_backoff($lookup->{tries}, LOOKUP_BACKOFF, LOOKUP_BACKOFF_MAX),
            _try_lookup => $lookup,
        );
        return;
    }
    return $self->_end_lookup($lookup, undef, $self->error_name($code) . " (code $code)");
}

sub _end_lookup {
    my ($self, $lookup, $offset, $error, $answer) = @_;
    my $done = delete $lookup->{done} or return;
    delete $lookup->{timer};
    delete $self->{cfg}{lookups}{ refaddr $lookup };
    return $done->($self, $offset, $error, $answer);
}

# How ListOffsets and Fetch are to see transactions: 1 for read_committed.
sub _isolation { $_[0]{cfg}{isolation_level} eq 'read_committed' ? 1 : 0 }

sub _fail_lookups {
    my ($self, $error) = @_;
    $self->_end_lookup($_, undef, $error) for values %{ $self->{cfg}{lookups} };
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Offsets - looks up offsets for an EV::Kafka client

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<offsets_for>,
C<offsets_for_times>, C<lag> and the lookup of a partition's earliest and latest offset that C<seek> and
C<poll> need.

=head1 SEE ALSO

L<EV::Kafka>

=cut
