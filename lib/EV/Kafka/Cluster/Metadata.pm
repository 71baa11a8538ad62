package EV::Kafka::Cluster::Metadata;
use strict;
use warnings;

use EV::Kafka::Error;
use EV::Kafka::Partitions;

# When Metadata is asked for, and what becomes of the answers: one request at a time, for all
# topics or for those whose leader is needed.
#   due        topic => when it is to be asked for
#   asked      topic => when it was asked for last
#   creates    topic => 1 for those that somebody writes to, who may have them created by that
#   request    { topics (undef for all), creates } that is under way, until its answer is taken over
#   adoption   the answer that is being taken over: { answer, asked, known (before), taking, timer? }
#   timer      until the next topic is due; refresh_timer: until all are, by metadata_refresh
#   is_started, is_connected   somebody wants it; the first answer is there
#   leaderless_tries           looks for partitions without a leader, in a row
# Published: {_topic_meta_tries}, topic => how often it has been asked for in vain.

# How often a topic without a leader is asked for before what waits for it fails.
use constant TOPIC_TRIES => 10;

# Seconds between two requests for the same topic's metadata (Java's
# retry.backoff.ms), and what they grow to while the topic stays unknown, or
# while a known partition has no leader.
use constant {
    REFRESH_BACKOFF        => 0.1,
    REFRESH_BACKOFF_MAX    => 0.5,
    LEADERLESS_BACKOFF_MAX => 1,
};

# No later try can mend it.
use constant INVALID_TOPIC_EXCEPTION => 17;

# The name that stands for all topics; no topic is named so.
use constant ALL_TOPICS => '';

# Metadata's error_code when the broker wants clients to start again from their
# bootstrap list (KIP-1102).
use constant REBOOTSTRAP_REQUIRED => 129;

# Milliseconds of one turn of the event loop for which the topics of an answer are taken
# from it, which is less than half of what they take in all.
use constant SLICE_MS => 5;

# notify: recreated($topic), leaders($topic), brokers($adoption) when the answer has been taken over, and then
# adopted($has_news, $is_first).
sub new {
    my ($class, %about) = @_;
    my $self = bless {
        map({ $_ => $about{$_} } qw(loop outbox options topics waiting control published notify)),
        due              => {},
        asked            => {},
        creates          => {},
        is_started       => 0,
        is_connected     => 0,
        leaderless_tries => 0,
    }, $class;
    $self->{published}{_topic_meta_tries} = {};
    return $self;
}

# --- what is wanted ---------------------------------------------------------------

# At once, whatever has been tried.
sub start {
    my ($self) = @_;
    $self->{is_started} = 1;
    $self->{due}{ ALL_TOPICS() } = $self->{loop}->now;
    return $self->pump;
}

# In so many seconds, or as soon as a topic may be asked for again.
sub want {
    my ($self, $topic, $delay) = @_;
    return if $self->is_wanted($topic);
    my $invalid = EV::Kafka::Partitions::invalid_topic($topic);
    return $self->{outbox}->notice("topic $topic", $invalid, topic => $topic) if defined $invalid;
    my $now = $self->{loop}->now + ($delay || 0);
    my $due = ($self->{asked}{$topic} // 0) + REFRESH_BACKOFF;
    $self->{due}{$topic} = $due > $now ? $due : $now;
    return $self->pump;
}

# For who writes to it.
sub want_to_write {
    my ($self, $topic) = @_;
    $self->{creates}{$topic} = 1 if $self->{options}{allow_auto_create_topics} // 1;
    return $self->want($topic);
}

sub is_wanted { return defined $_[0]{due}{ $_[1] } }

# For batches whose partition has no leader: until it has one again, ever more
# slowly.
sub find_leaders {
    my ($self) = @_;
    return if $self->is_under_way || $self->is_wanted(ALL_TOPICS);
    my $try = $self->{leaderless_tries}++;
    return $self->want(ALL_TOPICS, $try ? $self->{loop}->backoff($try, REFRESH_BACKOFF, LEADERLESS_BACKOFF_MAX) : 0);
}

sub leaders_found { $_[0]{leaderless_tries} = 0; return }

sub is_started   { return $_[0]{is_started} }
sub is_connected { return $_[0]{is_connected} }
sub is_under_way { return $_[0]{request} ? 1 : 0 }

# The client is connected from now on.
sub refresh_from_now_on {
    my ($self) = @_;
    $self->{is_connected} = 1;
    my $interval = $self->{options}{metadata_refresh} or return;
    $self->{refresh_timer} = $self->{loop}->timer($interval, $self, '_refresh');
    return;
}

sub _refresh {
    my ($self) = @_;
    $self->refresh_from_now_on;
    return $self->want(ALL_TOPICS);
}

# --- asking -----------------------------------------------------------------------

# At most one request is on its way; what is wanted meanwhile waits for its answer.
sub pump {
    my ($self) = @_;
    return if !$self->{is_started} || $self->is_under_way;
    my $due = $self->{due};
    my $now = $self->{loop}->now;
    my @now = sort grep { $due->{$_} <= $now } keys %$due;
    return $self->_ask($now, @now) if @now;
    my ($next) = sort { $a <=> $b } values %$due;
    $self->{timer} = defined $next ? $self->{loop}->timer($next - $now, $self, 'pump') : undef;
    return;
}

sub _ask {
    my ($self, $now, @due) = @_;
    # A request for all topics creates none, so named topics go first, except
    # that connect wants to know everything.
    my @topics = grep { $_ ne ALL_TOPICS } @due;
    @topics = (ALL_TOPICS) unless @topics && $self->{is_connected};
    # Reading must create none, and one request says the same for all its topics.
    my @created = grep { $self->{options}{allow_auto_create_topics} || $self->{creates}{$_} } @topics;
    @topics = @created if @created;
    delete @{ $self->{due} }{@topics};
    $self->{asked}{$_} = $now for @topics;
    my $named = $topics[0] eq ALL_TOPICS ? undef : \@topics;
    $self->{request} = { topics => $named };
    return $self->{control}->ask($named, @created ? 1 : 0);
}

# A request that no broker answered is asked again; what waits, waits on.
sub unanswered {
    my ($self, $delay) = @_;
    my $asked = delete $self->{request} or return;
    my $due   = $self->{loop}->now + $delay;
    $self->{due}{$_} = $due for @{ $asked->{topics} || [ALL_TOPICS] };
    $_ < $due and $_ = $due for values %{ $self->{due} };
    return $self->pump;
}

# A broker has turned out to be another one. Who has been asked already may be of the right cluster.
sub start_again {
    my ($self) = @_;
    $self->{control}->start_again unless $self->is_under_way;
    return $self->want(ALL_TOPICS);
}

# --- answers ----------------------------------------------------------------------

# What the answer says without its topics, and the native object that has these.
sub answered {
    my ($self, $head, $answer) = @_;
    my $topics = $self->{topics};
    if (($head->{error_code} || 0) == REBOOTSTRAP_REQUIRED) {
        $self->{control}->start_again;
        return $self->unanswered(REFRESH_BACKOFF);
    }
    my $asked = $self->{request}{topics};
    $self->{adoption} = {
        answer => $answer,
        asked  => $asked,
        known  => $topics->description_of(@{ $asked || [] }),
        taking => $topics->begin($head, $asked),
    };
    return $self->_take_slice;
}

sub _take_slice {
    my ($self) = @_;
    my $adoption = $self->{adoption} or return;
    my $topics   = $self->{topics};
    my $end      = $self->{loop}->now + SLICE_MS / 1000;
    while (my @some = $adoption->{answer}->topics(SLICE_MS, $topics->known, !$adoption->{asked})) {
        $self->_tell_leaders($adoption->{taking}, $topics->take($adoption->{taking}, @some));
        next if $self->{loop}->now < $end;
        $adoption->{timer} = $self->{loop}->timer(0, $self, '_take_slice');
        return;
    }
    delete @$self{qw(adoption request)};
    return $self->_taken($adoption);
}

# That a topic is another one has to be known before anything is asked of its leaders.
sub _tell_leaders {
    my ($self, $taking, @topics) = @_;
    $self->{notify}->(recreated => $_) for splice @{ $taking->{recreated} };
    $self->{notify}->(leaders => $_) for @topics;
    return;
}

sub _taken {
    my ($self, $adoption) = @_;
    my ($topics, $taking) = ($self->{topics}, $adoption->{taking});
    my @asked = @{ $adoption->{asked} || [] };
    $self->{notify}->(leaders => $_) for $topics->end($taking);
    $self->{notify}->(brokers => $taking);
    $self->_look_again($taking->{doubtful});
    my $due = $self->{due};
    delete @$due{ grep { $topics->has_leader($_) } keys %$due } unless $self->{is_connected};
    $self->{control}->answered_about_topics($adoption->{known} eq $topics->description_of(@asked)) if @asked;
    $self->_count_tries($taking, @asked);
    my $is_first = !$self->{is_connected};
    $self->{notify}->(adopted => $taking->{has_news} || $is_first, $is_first);
    return $self->pump;
}

sub _look_again {
    my ($self, $doubtful) = @_;
    for my $topic (sort keys %$doubtful) {
        $self->want($topic, $self->{loop}->backoff($doubtful->{$topic}, REFRESH_BACKOFF, LEADERLESS_BACKOFF_MAX));
    }
    return;
}

# Brokers answer before a topic is created everywhere, hence the tries.
sub _count_tries {
    my ($self, $taking, @asked) = @_;
    return unless @asked;
    my $tries   = $self->{published}{_topic_meta_tries};
    my $awaited = $self->{waiting}->topics_waited_for;
    my %code_of = map { $_->{name} => $_->{error_code} } @{ $taking->{topics} };
    for my $topic (@asked) {
        my $code = $code_of{$topic} || 0;
        if (!$awaited->{$topic}) {
            delete $_->{$topic} for $tries, $self->{creates};
        }
        elsif (++$tries->{$topic} < TOPIC_TRIES && $code != INVALID_TOPIC_EXCEPTION) {
            $self->{due}{$topic} = $self->{loop}->now
                + $self->{loop}->backoff($tries->{$topic}, REFRESH_BACKOFF, REFRESH_BACKOFF_MAX);
        }
        else {
            $self->_unavailable($topic, delete $tries->{$topic}, $code);
        }
    }
    return;
}

sub _unavailable {
    my ($self, $topic, $tries, $code) = @_;
    delete $self->{creates}{$topic};
    my $text = "topic '$topic' (or a leader for it) unavailable after $tries metadata request" . ($tries > 1 ? 's' : '');
    my $error = $code ? EV::Kafka::Error->of_code($code)->of($text) : EV::Kafka::Error->without_code($text, 1);
    $error = $error->said($error . $self->{topics}->hint($topic)) unless $self->{topics}->is_known($topic);
    $error = $error->at(topic => $topic, operation => 'Metadata');
    $self->_fail_beyond($topic, $error);
    return $self->{waiting}->fail_on_topic($topic, $error);
}

# The topic is there, but not with this partition.
sub _fail_beyond {
    my ($self, $topic, $error) = @_;
    my ($topics, $waiting) = @$self{qw(topics waiting)};
    return unless $topics->is_known($topic);
    for my $partition (grep { $_ >= $topics->partitions($topic) } $waiting->partitions_waited_for($topic)) {
        my (undef, $trouble) = $topics->trouble($topic, $partition);
        $waiting->fail_on_topic($topic, $error->said("$error: $trouble")->at(partition => $partition), $partition);
    }
    return;
}

# --- the end ------------------------------------------------------------------------

sub stop {
    my ($self) = @_;
    @$self{qw(is_started is_connected)} = (0, 0);
    delete @$self{qw(timer refresh_timer request adoption)};
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Cluster::Metadata - when an EV::Kafka client asks for metadata, and what it makes of the answers

=head1 DESCRIPTION

For L<EV::Kafka::Cluster>, not for use by itself. One Metadata request at a time, for all topics or
for those whose leader is needed, never more often for one topic than every 0.1 seconds. A topic
that stays unknown is asked for ten times, then what waits for it fails. Large answers are taken over in
slices of a few milliseconds.

=head1 METHODS

=head2 new(%about)

The fields are listed at the head of the module.

=head2 start

Nothing is asked for before.

=head2 want($topic, [$delay]), want_to_write($topic), is_wanted($topic)

ALL_TOPICS, the empty name, stands for all of them.

=head2 find_leaders, leaders_found

Looks for leaders of partitions that have none, ever more slowly.

=head2 refresh_from_now_on

The first answer has been taken over.

=head2 pump, is_under_way, is_started, is_connected

Asks for what is due, unless a request is under way; whether one is, whether any may be, and whether the
first answer is there.

=head2 answered($head, $answer), unanswered($delay)

What has become of the request.

=head2 start_again

From the bootstrap list: a broker has turned out to be another one.

=head2 stop

Nothing is asked for any more.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Cluster>

=cut
