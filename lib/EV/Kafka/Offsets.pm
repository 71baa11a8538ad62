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

my %LEADER_ERROR = map { $_ => 1 } 3, 5, 6, 9, 56, 74, 75, 78;

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
    my (%offsets, @errors);
    my @partitions = 0 .. $#{ $self->{cfg}{topics}{$topic} };
    my $left = 2 * @partitions;
    for my $partition (@partitions) {
        for my $end ([earliest => EARLIEST], [latest => LATEST]) {
            my ($name, $timestamp) = @$end;
            $self->_lookup_offset($topic, $partition, $timestamp, sub {
                my ($self, $offset, $error) = @_;
                if   (defined $error) { push @errors, "$topic:$partition: $error" }
                else                  { $offsets{$partition}{$name} = $offset }
                $self->_lookup_done($cb, \%offsets, \@errors) if !--$left;
            });
        }
    }
    return;
}

sub lag {
    my ($self, $cb) = @_;
    $self->_check_open;
    return $self->_when_connected({ cb => $cb, run => sub { my ($self, $op) = @_; $self->_lag_now($op->{cb}) } });
}

sub _lag_now {
    my ($self, $cb) = @_;
    my (%lag, @errors);
    my @assigned = @{ $self->{cfg}{assignments} };
    return $self->_call($cb, {}) unless @assigned;
    my $left = @assigned;
    for my $assigned (@assigned) {
        my $key = "$assigned->{topic}:$assigned->{partition}";
        $self->_lookup_offset($assigned->{topic}, $assigned->{partition}, LATEST, sub {
            my ($self, $latest, $error) = @_;
            if (defined $error) { push @errors, "$key: $error" }
            else {
                my ($current) = $self->_position_of($assigned);
                $lag{$key} = { current => $current, latest => $latest, lag => $latest - $current };
            }
            $self->_lookup_done($cb, \%lag, \@errors) if !--$left;
        });
    }
    return;
}

# What could be found out is given even when a partition failed.
sub _lookup_done {
    my ($self, $cb, $found, $errors) = @_;
    my $error = @$errors ? join '; ', @$errors : undef;
    return $self->_call($cb, $found, $error) if $cb;
    return defined $error ? $self->_report($error) : undef;
}

# Asks the partition's leader for an offset and calls $done->($client, $offset)
# or $done->($client, undef, $error), once.
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
    $conn->list_offsets(@$lookup{qw(topic partition timestamp)}, sub {
        $weak->_lookup_answered($leader, $lookup, @_) if $weak;
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
    return $self->_end_lookup($lookup, $answer->{offset}) unless $code;

    if ($LEADER_ERROR{$code} && ++$lookup->{tries} < LOOKUP_TRIES && !$self->{cfg}{closed}) {
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
    my ($self, $lookup, $offset, $error) = @_;
    my $done = delete $lookup->{done} or return;
    delete $lookup->{timer};
    delete $self->{cfg}{lookups}{ refaddr $lookup };
    return $done->($self, $offset, $error);
}

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

A part of L<EV::Kafka::Client>, not for use by itself: C<offsets_for>, C<lag>
and the lookup of a partition's earliest and latest offset that C<seek> and
C<poll> need.

=head1 SEE ALSO

L<EV::Kafka>

=cut
