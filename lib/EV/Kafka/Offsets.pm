package EV::Kafka::Offsets;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Offsets::Reset;
use EV::Kafka::Partitions;

# Where partitions begin and end, and where they were at some time. Its state:
#   lookups  those that have not been told yet, by number
#       { topic, partition, timestamp, done, number, is_queued, refused }, where refused is the error that
#       the leader has answered with, if that is worth another try
#   fresh    those that have not been asked yet: what is looked up in a turn of the loop goes together
#   timer    until they are
#   number   of the lookup before
# What is asked of one leader at once is { leader, lookups }, the subject of its request; what was answered is
# not in it any more.

# A lookup that a broker refuses because it is not the leader is asked again,
# of the leader that fresh metadata names.
use constant LOOKUP_TRIES => 5;

use constant UNKNOWN_TOPIC_OR_PARTITION => 3;

sub new {
    my ($class, %below) = @_;
    my $self = bless { map({ $_ => $below{$_} } qw(loop outbox options cluster coordinators)), lookups => {}, fresh => [], number => 0 }, $class;
    $self->{asks} = $self->_asks;
    return $self;
}

# What all requests have in common.
sub _asks {
    my ($self) = @_;
    weaken(my $weak = $self);
    return {
        name    => 'ListOffsets',
        tries   => LOOKUP_TRIES,
        notice  => \&_notice,
        to      => sub { my ($request) = @_; $weak->_lead($request) if $weak },
        send    => sub { my ($conn, $answered, $where) = @_; $weak->_send($conn, $answered, $where->{asked}) if $weak },
        again   => \&_is_moved,
        refused => sub { my ($where) = @_; $weak->_want_topics($where->{asked}) if $weak },
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

# Asks the partition's leader for an offset and calls $done->($offset, undef, $timestamp) or
# $done->(undef, $error), an EV::Kafka::Error, once. That goes with what else is looked up in this turn of the loop.
sub lookup {
    my ($self, $topic, $partition, $timestamp, $done) = @_;
    my $lookup = {
        topic => $topic, partition => $partition, timestamp => $timestamp, done => $done,
        number => ++$self->{number}, is_queued => 1,
    };
    $self->{lookups}{ $lookup->{number} } = $lookup;
    return $self->_leaderless($lookup) unless defined $self->{cluster}->leader($topic, $partition);
    push @{ $self->{fresh} }, $lookup;
    $self->{timer} ||= $self->{loop}->timer(0, $self, '_ask_fresh');
    return;
}

# How ListOffsets and Fetch are to see transactions: 1 for read_committed.
sub isolation { return $_[0]{options}{isolation_level} eq 'read_committed' ? 1 : 0 }

# What waits for a connection has not been asked yet.
sub close {
    my ($self, $error) = @_;
    delete $self->{timer};
    $self->{fresh} = [];
    for my $lookup (values %{ $self->{lookups} }) {
        $self->_end($lookup, undef, $lookup->{is_queued} ? $error : EV::Kafka::Error->without_code('disconnected'));
    }
    return;
}

# In a forked child nobody is told.
sub abandon {
    my ($self) = @_;
    delete $self->{timer};
    @$self{qw(lookups fresh)} = ({}, []);
    return;
}

# --- what is asked of leaders ------------------------------------------------------

sub _ask_fresh {
    my ($self) = @_;
    delete $self->{timer};
    my $fresh = $self->{fresh};
    $self->{fresh} = [];
    $self->_ask($_) for $self->_by_leader(@$fresh);
    return;
}

sub _by_leader {
    my ($self, @lookups) = @_;
    my $cluster = $self->{cluster};
    return map { { leader => $_->[0], lookups => $_->[1] } }
        EV::Kafka::Partitions::by_leader(sub { $cluster->leader(@_) }, @lookups);
}

# $after: the request of which this has been a part.
sub _ask {
    my ($self, $asked, $after) = @_;
    weaken(my $weak = $self);
    $self->{coordinators}->begin(
        %{ $self->{asks} },
        subject => $asked,
        after   => $after,
        done    => sub { my (undef, $error) = @_; $weak->_failed($asked, $error->cause) if $weak && $error },
    );
    return;
}

# Before another try some of them may have another leader.
sub _lead {
    my ($self, $request) = @_;
    my $asked = $request->subject;
    if ($request->round > 1 && @{ $asked->{lookups} }) {
        my ($mine, @others) = $self->_by_leader(@{ $asked->{lookups} });
        %$asked = %$mine;
        $self->_ask($_, $request) for @others;
    }
    my $leader = $asked->{leader};
    if (!defined $leader) {
        $self->_leaderless(splice @{ $asked->{lookups} });
        return $request->end;
    }
    $_->{is_queued} = 1 for @{ $asked->{lookups} };
    return $self->{cluster}->on_broker(main => $leader, {
        run => sub { $request->go($_[1], purpose => 'main', node_id => $leader, asked => $asked) },
        cb  => sub { $request->refuse(EV::Kafka::Error->from($_[1])->as_retriable) },
    });
}

sub _leaderless {
    my ($self, @lookups) = @_;
    $self->{cluster}->want($_->{topic}) for @lookups;
    $self->_end($_, undef, EV::Kafka::Error->without_code('no connection to leader', 1)) for @lookups;
    return;
}

sub _want_topics {
    my ($self, $asked) = @_;
    my %topics = map { $_->{topic} => 1 } @{ $asked->{lookups} };
    $self->{cluster}->want($_) for keys %topics;
    return;
}

sub _send {
    my ($self, $conn, $answered, $asked) = @_;
    my $cluster = $self->{cluster};
    my @rows;
    for my $lookup (@{ $asked->{lookups} }) {
        delete @$lookup{qw(is_queued refused)};
        my @partition = @$lookup{qw(topic partition)};
        push @rows, [@partition, $lookup->{timestamp}, $cluster->leader_epoch(@partition)];
    }
    return $conn->_list_offsets(\@rows, $self->isolation, $self->{outbox}->entry($self, _answered => $asked, $answered));
}

# Each partition has its own answer. Those that are worth another try are all that the request goes on with.
sub _answered {
    my ($self, $asked, $answered, $result, $error) = @_;
    return $answered->($result, $error) if defined $error || $result->{truncated};
    my ($rows, @left) = ($result->{rows});
    my $lookups = $asked->{lookups};
    for my $place (0 .. $#$lookups) {
        my ($lookup, $row) = ($lookups->[$place], $rows->[$place]);
        my $code = $row ? $row->[0] : 0;
        if (!$code) {
            $self->_found($lookup, $row);
            next;
        }
        my $refused = EV::Kafka::Error->of_code($code)->at(broker => $asked->{leader});
        if   (_is_moved($code)) { $lookup->{refused} = $refused; push @left, $lookup }
        else                    { $self->_end($lookup, undef, $refused) }
    }
    $asked->{lookups} = \@left;
    return $answered->({ error_code => @left ? $left[0]{refused}->code : 0 });
}

sub _is_moved {
    my ($code) = @_;
    return EV::Kafka::Error::is_leader_error($code) || $code == UNKNOWN_TOPIC_OR_PARTITION;
}

sub _found {
    my ($self, $lookup, $row) = @_;
    return $self->_end($lookup, undef, EV::Kafka::Error->without_code('ListOffsets answer lacks the partition')) unless $row;
    my (undef, $offset, $timestamp) = @$row;
    # Only of a time there may be no offset.
    return $self->_end($lookup, undef, EV::Kafka::Error->without_code("ListOffsets answers $offset, which is no offset"))
        if $offset < 0 && $lookup->{timestamp} < 0;
    return $self->_end($lookup, $offset, undef, $timestamp);
}

sub _failed {
    my ($self, $asked, $error) = @_;
    $self->_end($_, undef, $_->{refused} // $error) for splice @{ $asked->{lookups} };
    return;
}

sub _end {
    my ($self, $lookup, $offset, $error, @more) = @_;
    delete $self->{lookups}{ $lookup->{number} } or return;
    $error &&= $error->at(operation => 'ListOffsets', map { $_ => $lookup->{$_} } qw(topic partition));
    return $lookup->{done}->($offset, $error, @more);
}

sub _notice {
    my ($request) = @_;
    my ($first, @others) = @{ $request->subject->{lookups} };
    return "ListOffsets for $first->{topic}:$first->{partition}" . (@others ? ' and ' . @others . ' more' : '');
}

# --- several lookups and one callback -------------------------------------------

sub _survey {
    my ($cb, $lookups) = @_;
    return { cb => $cb, left => $lookups, found => {}, errors => [] };
}

# What could be found out is given even when a partition failed.
sub _surveyed {
    my ($self, $survey, $key, $error) = @_;
    if (defined $error) {
        my ($topic, $partition) = $key =~ /\A(.+):([0-9]+)\z/s;
        $error = EV::Kafka::Error->from($error)->at(topic => $topic, partition => $partition, operation => 'ListOffsets');
        push @{ $survey->{errors} }, $error->of($key);
    }
    return if --$survey->{left};
    my $together = EV::Kafka::Error->together(@{ $survey->{errors} });
    return $self->{outbox}->call($survey->{cb}, $survey->{found}, $together) if $survey->{cb};
    return defined $together ? $self->{outbox}->report($together) : undef;
}

sub _offsets_of_topic {
    my ($self, $topic, $cb) = @_;
    my $partitions = $self->{cluster}->partitions($topic);
    my $survey     = _survey($cb, 2 * $partitions);
    for my $partition (0 .. $partitions - 1) {
        for my $end ([earliest => EV::Kafka::Offsets::Reset::EARLIEST()], [latest => EV::Kafka::Offsets::Reset::LATEST()]) {
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
        my ($offset, $error, $timestamp) = @_;
        $survey->{found}{"$topic:$partition"} =
            $offset < 0 ? undef : { offset => $offset, timestamp => $timestamp } unless $error;
        $self->_surveyed($survey, "$topic:$partition", $error);
    });
}

sub _lag_now {
    my ($self, $positions, $cb) = @_;
    return $self->{outbox}->call($cb, {}) unless @$positions;
    my $survey = _survey($cb, scalar @$positions);
    for my $wanted (@$positions) {
        my ($topic, $partition, $position) = @$wanted;
        $self->lookup($topic, $partition, EV::Kafka::Offsets::Reset::LATEST(), sub {
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

Asks the partition's leader and calls C<< $done->($offset, undef, $timestamp) >> or
C<< $done->(undef, $error) >>, once. What is looked up in one turn of the loop is one request a leader. C<EARLIEST> and C<LATEST> of L<EV::Kafka::Offsets::Reset> are timestamps, too.

=head2 isolation

How ListOffsets and Fetch are to see transactions: 1 for C<read_committed>.

=head2 close($error), abandon

The end of all; in a forked child nobody is told.

=head1 SEE ALSO

L<EV::Kafka>

=cut
