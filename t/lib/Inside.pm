package Inside;
use strict;
use warnings;

use EV::Kafka;

# Where things lie inside a client. Tests that have to look there, or to act there, do it
# through these functions, so that a thing that moves is looked for in one place.
#
# $kafka is a client throughout.

# --- the client ---------------------------------------------------------------------

sub is_connected { my ($kafka) = @_; return $kafka->{cluster}->is_connected }

sub is_closed { my ($kafka) = @_; return $kafka->_has_ended }

# Seconds on the clock that the client's own waits go by.
sub now { my ($kafka) = @_; return $kafka->{loop}->now }

# Calls $code after so many seconds, as long as the caller keeps what this returns.
sub timer {
    my ($kafka, $seconds, $code) = @_;
    no warnings 'once';
    *EV::Kafka::Client::_called_by_test = sub { $_[1]->() };
    return $kafka->{loop}->timer($seconds, $kafka, _called_by_test => $code);
}

sub notice { my ($kafka, $subject, $text, %about) = @_; return $kafka->{outbox}->notice($subject, $text, %about) }

sub notice_over { my ($kafka, @subjects) = @_; return $kafka->{outbox}->notice_over(@subjects) }

# Of the transaction that is not over: open, committing or aborting.
sub transaction_state { my ($kafka) = @_; my $open = $kafka->{transactions}{open}; return $open ? $open->state : 'over' }

# Seconds after which a client tells why it waits.
sub tell_of_waits_after { my ($seconds) = @_; no warnings 'once'; $EV::Kafka::Waits::PATIENCE = $seconds; return }

# The level of a feature that the brokers have agreed on, as far as the client knows.
sub feature { my ($kafka, $name) = @_; return $kafka->{cluster}->feature($name) }

# --- metadata -----------------------------------------------------------------------

# Asks for the metadata of all topics.
sub refresh { my ($kafka) = @_; return $kafka->_refresh_metadata }

sub is_refreshing { my ($kafka) = @_; return $kafka->{cluster}{metadata}->is_under_way }

# When the topic was asked for last, -1 for never.
sub asked_at { my ($kafka, $topic) = @_; return $kafka->{cluster}{metadata}{asked}{$topic} // -1 }

# Takes over an answer as if it had come; $asked: the topics that were asked for.
sub adopt { my ($kafka, $meta, $asked) = @_; return $kafka->{cluster}{topics}->adopt($meta, $asked) }

# The leaders of a topic's partitions by number, as messages are routed.
sub routes { my ($kafka, $topic) = @_; return $kafka->{cluster}{topics}->leaders_of($topic) }

# A reference to what is known of the epoch of a partition's leader.
sub leader_epoch {
    my ($kafka, $topic, $partition) = @_;
    $kafka->{consumer}->leaders_changed;
    return \$kafka->{cluster}{topics}{epochs}{$topic}[$partition];
}

# Rounds in which no broker has answered.
sub bootstrap_tries { my ($kafka) = @_; return $kafka->{cluster}{control}{tries} }

# Closes the connection for metadata.
sub drop_control { my ($kafka) = @_; return $kafka->{cluster}{control}->drop }

# --- connections to brokers -----------------------------------------------------------

# The client's view of its connection to a broker: { state, tries, retry, … }.
sub link_to { my ($kafka, $purpose, $node_id) = @_; return $kafka->{cluster}{links}->link($purpose, $node_id) }

sub link_states { my ($kafka) = @_; return map { $_->{state} } values %{ $kafka->{cluster}{links}{links} } }

sub ready_conn { my ($kafka, $purpose, $node_id) = @_; return scalar $kafka->{cluster}->ready_conn($purpose, $node_id) }

# On this connection the last request that nobody answers has left so many seconds earlier than it has.
sub age_unanswered {
    my ($aged, $seconds) = @_;
    my $unanswered = \&EV::Kafka::Conn::_unanswered_for;
    no warnings qw(once redefine);
    *EV::Kafka::Conn::_unanswered_for = sub {
        my ($conn) = @_;
        my $for = $conn->$unanswered;
        return defined $for && $conn == $aged ? $for + $seconds : $for;
    };
    return;
}

# A connection with the client's options, which the client knows nothing of.
sub new_conn { my ($kafka) = @_; return $kafka->{cluster}->new_conn }

sub watches_idle_links { my ($kafka) = @_; return $kafka->{cluster}{links}{idle_timer} ? 1 : 0 }

# --- producer -------------------------------------------------------------------------

# Messages that lie in batches.
sub queued { my ($kafka) = @_; return ($kafka->{producer}{accumulator}->queued)[0] }

sub has_held_batches { my ($kafka) = @_; return $kafka->{producer}{retrying} ? 1 : 0 }

# Calls $code->(\%batch, $is_lost) for each batch that no broker has taken: because an answer does
# not accept it, or because the connection has ended.
sub on_failed_batch {
    my ($code) = @_;
    my $failed = EV::Kafka::Producer->can('answered');
    no warnings qw(once redefine);
    *EV::Kafka::Producer::answered = sub {
        my ($news) = $_[2];
        $code->($_, $news->{is_lost}) for @{ $news->{failed} };
        goto &$failed;
    };
    return;
}

# --- transactions ----------------------------------------------------------------------

# Seconds that a step of a transaction may take.
sub transaction_patience { my ($kafka) = @_; return EV::Kafka::Options::transaction_patience($kafka->{cfg}) }

# Seconds that are left of a transaction that has begun so many seconds ago, or is not known to the
# coordinator yet.
sub patience_left {
    my ($kafka, $seconds_ago) = @_;
    my $requests = EV::Kafka::Transaction::Requests->new(loop => $kafka->{loop}, options => $kafka->{cfg});
    $requests->{begun} = now($kafka) - $seconds_ago if defined $seconds_ago;
    return $requests->patience_left;
}

# --- consumer ---------------------------------------------------------------------------

# What the consumer knows of an assigned partition beside its position, an EV::Kafka::Consumer::Cursor.
sub cursor {
    my ($kafka, $topic, $partition) = @_;
    return $kafka->{consumer}->cursor($kafka->{consumer}->assigned($topic, $partition));
}

# By "topic:partition".
sub cursors { my ($kafka) = @_; return %{ $kafka->{consumer}{assigned}{cursors} } }

sub is_paused { my ($kafka, $topic, $partition) = @_; return cursor($kafka, $topic, $partition)->{paused} }

# When the partition may be fetched again after a failure, 0 for now.
sub fetched_not_before { my ($kafka, $topic, $partition) = @_; return cursor($kafka, $topic, $partition)->{not_before} }

# Whether the cursor keeps answers of a partition that is stopped.
sub keeps_answers { my ($cursor) = @_; return scalar @{ $cursor->{kept} } }

# { topic, partition, offset, leader_epoch } of what has been delivered.
sub positions { my ($kafka) = @_; return $kafka->{consumer}->positions }

# Another assignment in which partitions may stay.
sub change_assignment { my ($kafka, $partitions) = @_; return $kafka->{outbox}->enter($kafka->{consumer}, change => $partitions) }

# Whether there is a Fetch, or the wait for the next one: to the broker, or to any.
sub is_fetching {
    my ($kafka, $node_id) = @_;
    my $brokers = $kafka->{consumer}{fetcher}{brokers};
    my @asked   = defined $node_id ? $brokers->{$node_id} || () : values %$brokers;
    return scalar grep { $_->is_busy } @asked;
}

# Answers that have come and are not delivered yet.
sub undelivered { my ($kafka) = @_; return scalar @{ $kafka->{consumer}{delivery}{answers} } }

# Polls that wait with nothing to fetch.
sub idle_polls { my ($kafka) = @_; return scalar @{ $kafka->{consumer}{idle} } }

# Requests for offsets that are under way.
sub lookups { my ($kafka) = @_; return scalar %{ $kafka->{offsets}{lookups} } }

sub hold_delivery { my ($kafka) = @_; return $kafka->{consumer}->hold('transaction') }

sub release_delivery { my ($kafka) = @_; return $kafka->{consumer}->release('transaction') }

sub is_delivery_held { my ($kafka) = @_; return $kafka->{consumer}{delivery}->is_held ? 1 : 0 }

# --- coordinators -------------------------------------------------------------------------

# Runs an operation on a connection to the coordinator of a "group" or a "txn".
sub with_coordinator {
    my ($kafka, $kind, $key, $op) = @_;
    return $kafka->{coordinators}->ask($kind, $key, {
        %$op,
        run => sub { my ($running, $conn) = @_; $op->{run}->($running, $conn) },
        cb  => sub { $op->{cb}->(undef, $_[1]->text) },
    });
}

# Asks the coordinator, as EV::Kafka::Request has it.
sub request { my ($kafka, $kind, $key, %about) = @_; return $kafka->{coordinators}->request($kind, $key, %about) }

sub coordinator_refused { my ($kafka, $kind, $key, @codes) = @_; return $kafka->{coordinators}->refused($kind, $key, @codes) }

sub ready_coordinator { my ($kafka, $kind, $key) = @_; return scalar $kafka->{coordinators}->ready_conn($kind, $key) }

sub coordinator_node { my ($kafka, $kind, $key) = @_; return $kafka->{coordinators}->node_id($kind, $key) }

sub is_looking_for_coordinator {
    my ($kafka, $kind, $key) = @_;
    my $entry = $kafka->{coordinators}{entries}{"$kind:$key"};
    return $entry->{timer} || $entry->{request} ? 1 : 0;
}

# Operations that wait for it to be found.
sub wait_for_coordinator { my ($kafka, $kind, $key) = @_; return scalar @{ $kafka->{coordinators}{entries}{"$kind:$key"}{ops} } }

# Whether a request waits there for other members.
sub is_blocked_at { my ($kafka, $kind, $key) = @_; return $kafka->{coordinators}->is_blocked($kind, $key) }

# Seconds that a request to a coordinator may take, for who would wait so long.
sub request_patience { my ($kafka, @seconds) = @_; return $kafka->{coordinators}->patience(@seconds) }

# --- groups ---------------------------------------------------------------------------------

# Whether a JoinGroup or SyncGroup of it is under way.
sub is_blocked {
    my ($kafka) = @_;
    my $group = $kafka->{cfg}{group} or return 0;
    return $kafka->{coordinators}->is_blocked(group => $group->{group_id});
}

# What subscribe was told: { topics, assignors, session_timeout, … }.
sub subscription { my ($kafka) = @_; return $kafka->{cfg}{group} }

sub new_member_id { return EV::Kafka::Group::ConsumerProtocol::_new_member_id() }

# The partition counts that a leader watches, by topic.
sub watched { my ($kafka) = @_; return ($kafka->{group}{leader} || {})->{led} }

# Seconds between heartbeats, as the coordinator wants them.
sub heartbeat_interval { my ($kafka) = @_; return $kafka->{group}{protocol}{interval} }

# As if heartbeats had been seen to for the last time so many seconds ago.
sub oversleep { my ($kafka, $seconds) = @_; $kafka->{group}{session}{awake_at} -= $seconds; return }

sub set_session_timeout { my ($kafka, $ms) = @_; $kafka->{cfg}{group}{session_timeout} = $ms; return }

# A reference to the number of JoinGroup requests that were lost in a row, and how many may be.
sub lost_joins { my ($kafka) = @_; return \$kafka->{group}{protocol}{lost} }

sub lost_joins_allowed { return EV::Kafka::Group::Classic::JOIN_RETRIES() }

# Seconds that leaving takes at most.
sub leave_patience { return EV::Kafka::Group::LEAVE_PATIENCE() }

# What the coordinator has assigned last in the consumer protocol: [{ topic => $id, partitions }].
sub set_target { my ($kafka, $target) = @_; $kafka->{group}{protocol}{target} = $target; return }

sub reconcile { my ($kafka) = @_; return $kafka->{group}{protocol}->reconcile }

# As when an assignment takes something away and brings these.
sub take_over {
    my ($kafka, $partitions) = @_;
    my $group = $kafka->{group};
    return $group->{assignment}->find_positions($group->{member}->attempt, $partitions, 1);
}

# What there is of a member: its parts, operations and timers.
sub group_waits {
    my ($kafka) = @_;
    return grep { defined $kafka->{group}{$_} } qw(member session commits assignment leader protocol leave_timer goodbye);
}

# --- what is called, and what is called instead ------------------------------------------------

my %CALLED = (
    look_at_partitions => 'EV::Kafka::Consumer::Fetcher::nodes_to_ask',
    look_at_waiting    => 'EV::Kafka::Cluster::Waiting::waits_for_topic',
    adopt_slice        => 'EV::Kafka::Cluster::Metadata::_take_slice',
    adopt_topic        => 'EV::Kafka::Cluster::Topics::_take_topic',
    join_delay         => 'EV::Kafka::Group::Member::delay',
);

# How often one of these is called while $code runs.
sub calls_of {
    my ($what, $code) = @_;
    my $name = $CALLED{$what} || die "calls_of: what is $what?";
    no strict 'refs';
    my ($calls, $original) = (0, \&$name);
    _instead($name, sub { $calls++; goto &$original }, $code);
    return $calls;
}

# The most polls that have waited for one Fetch while $code runs.
sub most_polls_of_a_fetch {
    my ($code) = @_;
    my ($most, $original) = (0, \&EV::Kafka::Consumer::Broker::_join);
    _instead('EV::Kafka::Consumer::Broker::_join', sub {
        my (undef, $fetch) = @_;
        &$original;
        $most = @{ $fetch->{rounds} } if @{ $fetch->{rounds} } > $most;
    }, $code);
    return $most;
}

# Runs $code while no client asks for metadata.
sub without_metadata { my ($code) = @_; return _instead('EV::Kafka::Cluster::Metadata::want', sub { }, $code) }

# Runs $code while a broker has so many seconds to answer a Metadata request.
sub with_answer_timeout {
    my ($seconds, $code) = @_;
    return _instead('EV::Kafka::Cluster::Control::answer_timeout', sub { $seconds }, $code);
}

# Runs $code while a Fetch waits so many seconds for positions that are being looked up.
sub with_resolving_grace {
    my ($seconds, $code) = @_;
    no warnings 'once';
    local $EV::Kafka::Consumer::Fetcher::RESOLVING_GRACE = $seconds;
    return $code->();
}

sub _instead {
    my ($name, $sub, $code) = @_;
    no strict 'refs';
    no warnings 'redefine';
    local *$name = $sub;
    return $code->();
}

1;
