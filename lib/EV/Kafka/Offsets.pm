package EV::Kafka::Offsets;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(refaddr weaken);

use EV::Kafka::Error;

# Where partitions begin and end, and where they were at some time. Its state is lookups,
# those that have not been told yet: { topic, partition, timestamp, done, is_queued }.

# ListOffsets' special timestamps.
use constant {
    LATEST   => -1,
    EARLIEST => -2,
};

# A lookup that a broker refuses because it is not the leader is asked again,
# of the leader that fresh metadata names.
use constant LOOKUP_TRIES => 5;

use constant UNKNOWN_TOPIC_OR_PARTITION => 3;

sub new {
    my ($class, %below) = @_;
    my $self = bless { map({ $_ => $below{$_} } qw(loop outbox options cluster coordinators)), lookups => {} }, $class;
    $self->{asks} = $self->_asks;
    return $self;
}

# What all lookups have in common: of a group's thousands each has but one piece of code of its own.
sub _asks {
    my ($self) = @_;
    weaken(my $weak = $self);
    return {
        to      => sub { my ($request) = @_; $weak->_lead($request) if $weak },
        send    => sub { my ($conn, $answered, $where) = @_; $weak->_send($conn, $answered, $where->{lookup}) if $weak },
        again   => \&_is_moved,
        refused => sub { my ($where) = @_; $weak->{cluster}->want($where->{lookup}{topic}) if $weak },
        # Whoever asks may ask again, and hears why that may help.
        lost    => sub {
            my ($where, $error, $request) = @_;
            $weak->{cluster}->request_failed(@$where{qw(purpose node_id)}) if $weak;
            $request->refuse($error);
        },
    };
}

# The earliest and latest of all partitions.
sub offsets_for {
    my ($self, $topic, $cb) = @_;
    Carp::croak('offsets_for: topic required') unless defined $topic && length $topic;
    return $self->{cluster}->on_topic({
        topic => $topic,
        cb    => $cb,
        run   => sub { $self->_offsets_of_topic($topic, $cb) },
    });
}

# The first message that was written at a time or later.
sub offsets_for_times {
    my ($self, $times, $cb) = @_;
    Carp::croak('offsets_for_times: expected hashref of "topic:partition" => milliseconds')
        unless ref $times eq 'HASH';
    my @wanted = map { _time_wanted($_, $times->{$_}) } sort keys %$times;
    return $self->{outbox}->call($cb, {}) unless @wanted;
    my $survey = _survey($cb, scalar @wanted);
    for my $wanted (@wanted) {
        my ($topic, $partition) = @$wanted;
        $self->{cluster}->on_topic({
            topic     => $topic,
            partition => $partition,
            run       => sub { $self->_search_time($survey, @$wanted) },
            cb        => sub { $self->_surveyed($survey, "$topic:$partition", $_[1]) },
        });
    }
    return;
}

# How far from its end each position is. $positions->() gives [$topic, $partition, $position]
# for each, where $position->() is where it is when the end is known.
sub lag {
    my ($self, $positions, $cb) = @_;
    return $self->{cluster}->when_connected({ cb => $cb, run => sub { $self->_lag_now([$positions->()], $cb) } });
}

# Asks the partition's leader for an offset and calls $done->($offset, undef, $answer) or
# $done->(undef, $error), an EV::Kafka::Error, once.
sub lookup {
    my ($self, $topic, $partition, $timestamp, $done) = @_;
    my $lookup = { topic => $topic, partition => $partition, timestamp => $timestamp, done => $done };
    my $id     = refaddr $lookup;
    $self->{lookups}{$id} = $lookup;
    weaken(my $weak = $self);
    $self->{coordinators}->begin(
        %{ $self->{asks} },
        name    => 'ListOffsets',
        subject => $lookup,
        notice  => "ListOffsets for $topic:$partition",
        tries   => LOOKUP_TRIES,
        done    => sub {
            my ($result, $error) = @_;
            return $error ? $weak->_end($id, undef, $error->cause) : $weak->_found($id, $lookup, $result) if $weak;
        },
    );
    return;
}

# How ListOffsets and Fetch are to see transactions: 1 for read_committed.
sub isolation { return $_[0]{options}{isolation_level} eq 'read_committed' ? 1 : 0 }

# What waits for a connection has not been asked yet.
sub close {
    my ($self, $error) = @_;
    for my $id (keys %{ $self->{lookups} }) {
        my $lookup = $self->{lookups}{$id} or next;
        $self->_end($id, undef, EV::Kafka::Error->without_code($lookup->{is_queued} ? $error : 'disconnected'));
    }
    return;
}

# In a forked child nobody is told.
sub abandon {
    my ($self) = @_;
    $self->{lookups} = {};
    return;
}

# --- one lookup -----------------------------------------------------------------

sub _lead {
    my ($self, $request) = @_;
    my ($cluster, $lookup) = ($self->{cluster}, $request->subject);
    my $leader = $cluster->leader(@$lookup{qw(topic partition)});
    if (!defined $leader) {
        $cluster->want($lookup->{topic});
        return $request->refuse(EV::Kafka::Error->without_code('no connection to leader', 1));
    }
    $lookup->{is_queued} = 1;
    return $cluster->on_broker(main => $leader, {
        run => sub {
            my (undef, $conn) = @_;
            delete $lookup->{is_queued};
            $request->go($conn, purpose => 'main', node_id => $leader, lookup => $lookup);
        },
        cb => sub { $request->refuse(EV::Kafka::Error->without_code($_[1], 1)) },
    });
}

sub _send {
    my ($self, $conn, $answered, $lookup) = @_;
    my @partition = @$lookup{qw(topic partition)};
    return $conn->list_offsets(@partition, $lookup->{timestamp}, $answered, {
        isolation_level => $self->isolation,
        leader_epoch    => $self->{cluster}->leader_epoch(@partition),
    });
}

sub _is_moved {
    my ($code) = @_;
    return EV::Kafka::Error::is_leader_error($code) || $code == UNKNOWN_TOPIC_OR_PARTITION;
}

sub _found {
    my ($self, $id, $lookup, $result) = @_;
    my ($answer) = grep { $_->{partition} == $lookup->{partition} }
        map { @{ $_->{partitions} } } grep { $_->{topic} eq $lookup->{topic} } @{ $result->{topics} };
    my $error = !$answer ? 'ListOffsets answer lacks the partition'
        # Only of a time there may be no offset.
        : $answer->{offset} < 0 && $lookup->{timestamp} < 0 ? "ListOffsets answers $answer->{offset}, which is no offset"
        : undef;
    return $self->_end($id, undef, EV::Kafka::Error->without_code($error)) if defined $error;
    return $self->_end($id, $answer->{offset}, undef, $answer);
}

sub _end {
    my ($self, $id, @result) = @_;
    my $lookup = delete $self->{lookups}{$id} or return;
    return $lookup->{done}->(@result);
}

# --- several lookups and one callback -------------------------------------------

sub _survey {
    my ($cb, $lookups) = @_;
    return { cb => $cb, left => $lookups, found => {}, errors => [] };
}

# What could be found out is given even when a partition failed.
sub _surveyed {
    my ($self, $survey, $key, $error) = @_;
    push @{ $survey->{errors} }, "$key: " . (ref $error ? $error->text : $error) if defined $error;
    return if --$survey->{left};
    my @errors = @{ $survey->{errors} };
    my $text   = @errors ? join '; ', @errors : undef;
    return $self->{outbox}->call($survey->{cb}, $survey->{found}, $text) if $survey->{cb};
    return defined $text ? $self->{outbox}->report($text) : undef;
}

sub _offsets_of_topic {
    my ($self, $topic, $cb) = @_;
    my $partitions = $self->{cluster}->partitions($topic);
    my $survey     = _survey($cb, 2 * $partitions);
    for my $partition (0 .. $partitions - 1) {
        for my $end ([earliest => EARLIEST], [latest => LATEST]) {
            my ($name, $timestamp) = @$end;
            $self->lookup($topic, $partition, $timestamp, sub {
                my ($offset, $error) = @_;
                $survey->{found}{$partition}{$name} = $offset unless $error;
                $self->_surveyed($survey, "$topic:$partition", $error);
            });
        }
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
    return $self->lookup($topic, $partition, $ms, sub {
        my ($offset, $error, $answer) = @_;
        $survey->{found}{"$topic:$partition"} =
            $offset < 0 ? undef : { offset => $offset, timestamp => $answer->{timestamp} } unless $error;
        $self->_surveyed($survey, "$topic:$partition", $error);
    });
}

sub _lag_now {
    my ($self, $positions, $cb) = @_;
    return $self->{outbox}->call($cb, {}) unless @$positions;
    my $survey = _survey($cb, scalar @$positions);
    for my $wanted (@$positions) {
        my ($topic, $partition, $position) = @$wanted;
        $self->lookup($topic, $partition, LATEST, sub {
            my ($latest, $error) = @_;
            my $current = $position->();
            $error //= 'its position has not been looked up yet' if $current < 0;
            $survey->{found}{"$topic:$partition"} = { current => $current, latest => $latest, lag => $latest - $current }
                unless defined $error;
            $self->_surveyed($survey, "$topic:$partition", $error);
        });
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Offsets - looks up offsets for an EV::Kafka client

=head1 DESCRIPTION

An owner of L<EV::Kafka::Client>, not for use by itself: C<offsets_for>,
C<offsets_for_times>, C<lag> and the lookup of a partition's earliest and latest offset that C<seek> and
C<poll> need.

=head1 METHODS

=head2 new(loop => $loop, outbox => $outbox, options => $cfg, cluster => $cluster, coordinators => $coordinators)

Without any lookup.

=head2 offsets_for($topic, $cb), offsets_for_times(\%times, $cb), lag($positions, $cb)

The program's, see L<EV::Kafka>. C<< $positions->() >> gives C<[$topic, $partition, $position]> for each
partition, where C<< $position->() >> is its offset at the time.

=head2 lookup($topic, $partition, $timestamp, $done)

Asks the partition's leader and calls C<< $done->($offset, undef, $answer) >> or
C<< $done->(undef, $error) >>, once. C<EARLIEST> and C<LATEST> are timestamps, too.

=head2 isolation

How ListOffsets and Fetch are to see transactions: 1 for C<read_committed>.

=head2 close($error), abandon

The end of all; in a forked child nobody is told.

=head1 SEE ALSO

L<EV::Kafka>

=cut
