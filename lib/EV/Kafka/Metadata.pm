package EV::Kafka::Metadata;
use strict;
use warnings;

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

# The key in {metadata_due} that stands for all topics; no topic is named so.
use constant ALL_TOPICS => '';

# Metadata's error_code when the broker wants clients to start again from their
# bootstrap list (KIP-1102).
use constant REBOOTSTRAP_REQUIRED => 129;

# What no answer can make larger: ports are 16-bit numbers, and the producer's
# table of leaders has room for so many partitions of a topic.
use constant { MAX_PORT => 65535, MAX_PARTITIONS => 1 << 20 };

# Partitions are numbered without gaps, so that a number tells how many an answer should
# list. So many may be missing of a topic: a number alone is not to cost memory.
use constant MAX_MISSING => 16;

# How many answers in a row have to name the same leader of an epoch that is over before
# they are believed: the newer one may have been lost in an unclean way.
use constant REWIND_ANSWERS => 5;

# Milliseconds of one turn of the event loop for which the topics of an answer are taken
# from it, which is less than half of what they take in all.
use constant SLICE_MS => 5;

# The leader is another broker, or about to be: fresh metadata will tell.
my %LEADER_ERROR = map { $_ => 1 } 5, 6, 9, 56, 74, 75, 78;

sub _is_leader_error { return $LEADER_ERROR{ $_[1] } }

sub _refresh_metadata { $_[0]->_want_metadata(ALL_TOPICS) }

sub _refresh_metadata_for_topic {
    my ($self, $topic) = @_;
    return $self->_want_metadata($topic);
}

# The same for who writes to it, who may have it created by that.
sub _want_topic_to_write {
    my ($self, $topic) = @_;
    my $cfg = $self->{cfg};
    $cfg->{metadata_creates}{$topic} = 1 if $cfg->{allow_auto_create_topics} // 1;
    return $self->_want_metadata($topic);
}

# For batches whose partition has no leader: until it has one again, ever more
# slowly.
sub _find_leaders {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{metadata_request} || defined $cfg->{metadata_due}{ALL_TOPICS()};
    my $try = $cfg->{leaderless_tries}++;
    return $self->_want_metadata(ALL_TOPICS,
        $try ? $self->_backoff($try, REFRESH_BACKOFF, LEADERLESS_BACKOFF_MAX) : 0);
}

sub _want_metadata {
    my ($self, $topic, $delay) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || defined $cfg->{metadata_due}{$topic};
    my $invalid = EV::Kafka::Producer::_invalid_topic($topic);
    return $self->_notice("topic $topic", $invalid, topic => $topic) if defined $invalid;
    my $now = $self->_now + ($delay || 0);
    my $due = ($cfg->{metadata_asked}{$topic} // 0) + REFRESH_BACKOFF;
    $cfg->{metadata_due}{$topic} = $due > $now ? $due : $now;
    return $self->_pump_metadata;
}

# At most one Metadata request is on its way; what is wanted meanwhile waits
# for its answer.
sub _pump_metadata {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || !$cfg->{started} || $cfg->{metadata_request};
    my $due = $cfg->{metadata_due};
    my $now = $self->_now;
    my @now = sort grep { $due->{$_} <= $now } keys %$due;
    if (!@now) {
        my ($next) = sort { $a <=> $b } values %$due;
        $cfg->{_metadata_timer} = defined $next ? $self->_timer($next - $now, '_pump_metadata') : undef;
        return;
    }
    # A request for all topics creates none, so named topics go first, except
    # that connect wants to know everything.
    my @topics = grep { $_ ne ALL_TOPICS } @now;
    @topics = (ALL_TOPICS) unless @topics && $cfg->{connected};
    # Reading must create none, and one request says the same for all its topics.
    my @created = grep { $cfg->{allow_auto_create_topics} || $cfg->{metadata_creates}{$_} } @topics;
    @topics = @created if @created;
    delete @$due{@topics};
    $cfg->{metadata_asked}{$_} = $now for @topics;
    $cfg->{metadata_request} = {
        topics  => $topics[0] eq ALL_TOPICS ? undef : \@topics,
        creates => @created ? 1 : 0,
    };
    return $self->_send_metadata_request;
}

# What the answer says without its topics, and the native object that has these. The request
# counts as under way until they have been taken over.
sub _metadata_answered {
    my ($self, $head, $answer) = @_;
    my $cfg = $self->{cfg};
    if (($head->{error_code} || 0) == REBOOTSTRAP_REQUIRED) {
        $cfg->{broker_map} = {};
        $self->_drop_control;
        return $self->_metadata_failed(REFRESH_BACKOFF);
    }
    my @named    = @{ $cfg->{metadata_request}{topics} || [] };
    my $adoption = $cfg->{adoption} = $self->_begin_adoption($head, $cfg->{metadata_request}{topics});
    @$adoption{qw(answer known)} = ($answer, $self->_leaders_known(@named));
    return $self->_adopt_slice;
}

# What somebody has asked for by name counts as news: it may be waited for.
sub _adopt_slice {
    my ($self) = @_;
    my $cfg      = $self->{cfg};
    my $adoption = $cfg->{adoption} or return;
    my $known    = $cfg->{known_topics} ||= EV::Kafka::KnownTopics->new;
    my $end      = $self->_now + SLICE_MS / 1000;
    while (my @topics = $adoption->{answer}->topics(SLICE_MS, $known, !$adoption->{asked})) {
        $self->_adopt_topics($adoption, @topics);
        next if $self->_now < $end;
        $adoption->{timer} = $self->_timer(0, '_adopt_slice');
        return;
    }
    delete @$cfg{qw(adoption metadata_request)};
    return $self->_metadata_adopted($adoption);
}

sub _metadata_adopted {
    my ($self, $adoption) = @_;
    my $cfg   = $self->{cfg};
    my @named = @{ $adoption->{asked} || [] };
    $self->_end_adoption($adoption);
    $self->_doubt_control($adoption->{known} eq $self->_leaders_known(@named)) if @named;
    $self->_count_tries(@named);
    return if $cfg->{closed};
    $self->_connected unless $cfg->{connected};
    return if $cfg->{closed};
    $self->_drain_pending_topics;
    return if $cfg->{closed};
    if   (@{ $cfg->{flush_waiters} }) { $self->_flush_all_batches }
    else                              { $self->_send_ready }
    $self->_check_buffer;
    if ($adoption->{has_news}) {
        $self->_poll_again;
        $self->_fetch_on;
        $self->_group_metadata_changed;
    }
    return $self->_pump_metadata;
}

sub _leaders_known {
    my ($self, @named) = @_;
    my $topics = $self->{cfg}{topics};
    return join ' ', map { ($_, @{ $topics->{$_} || [] }) } @named;
}

# A request that no broker answered is asked again; what waits, waits on.
sub _metadata_failed {
    my ($self, $delay) = @_;
    my $cfg     = $self->{cfg};
    my $request = delete $cfg->{metadata_request} or return;
    my $due     = $self->_now + $delay;
    $cfg->{metadata_due}{$_} = $due for @{ $request->{topics} || [ALL_TOPICS] };
    $_ < $due and $_ = $due for values %{ $cfg->{metadata_due} };
    return $self->_pump_metadata;
}

# Takes over a whole answer; $asked: the topics that the request named, undef when it was for
# all.
sub _adopt_metadata {
    my ($self, $meta, $asked) = @_;
    my $adoption = $self->_begin_adoption($meta, $asked);
    $self->_adopt_topics($adoption, @{ $meta->{topics} || [] });
    return $self->_end_adoption($adoption);
}

# The taking over of one answer: { head, asked, topics (what {meta} will have), was (topics by name),
# absent, recreated, doubtful, is_broker, has_news }. Its brokers are known before
# the first leader is.
sub _begin_adoption {
    my ($self, $head, $asked) = @_;
    my $cfg     = $self->{cfg};
    my @brokers = map { $_->{node_id} } @{ $head->{brokers} || [] };
    my $has_news = $asked || !$cfg->{connected} || join(' ', sort @brokers) ne join(' ', sort keys %{ $cfg->{broker_map} });
    _adopt_brokers($cfg, $head);
    return {
        head      => $head,
        asked     => $asked,
        topics    => [],
        was       => { map { ($_->{name} // '' => $_) } @{ ($cfg->{meta} || {})->{topics} || [] } },
        absent    => { map { $_ => 1 } $asked ? @$asked : keys %{ $cfg->{topics} } },
        recreated => [],
        doubtful  => {},
        is_broker => { map { $_ => 1 } @brokers ? @brokers : keys %{ $cfg->{broker_map} } },
        has_news  => $has_news ? 1 : 0,
    };
}

# Of a topic that is as it was there is just the name.
sub _adopt_topics {
    my ($self, $adoption, @topics) = @_;
    my $cfg   = $self->{cfg};
    my $known = $cfg->{known_topics};
    for my $topic (@topics) {
        if (!ref $topic) {
            delete $adoption->{absent}{$topic};
            push @{ $adoption->{topics} }, $adoption->{was}{$topic} // ();
            next;
        }
        my $name = $topic->{name} // next;
        $adoption->{has_news} = 1;
        delete $adoption->{absent}{$name};
        push @{ $adoption->{topics} }, $topic;
        if (my $answers = $self->_keep_newer_leaders($adoption, $topic)) {
            $adoption->{doubtful}{$name} = $answers;
            $known->forget($name) if $known;
        }
        push @{ $adoption->{recreated} }, $name if $self->_is_recreated($topic);
        $self->_forget_topic($name);
        _merge_topic($cfg, $topic);
        $self->_route_topic($name, _leaders_of($topic));
    }
    return;
}

sub _end_adoption {
    my ($self, $adoption) = @_;
    my $cfg    = $self->{cfg};
    my @absent = keys %{ $adoption->{absent} };
    my $known  = $cfg->{known_topics};
    for my $topic (@absent) {
        $self->_forget_topic($topic);
        $self->_route_topic($topic, []);
        $known->forget($topic) if $known;
        $adoption->{has_news} = 1;
    }
    my @kept;
    if ($adoption->{asked}) {
        delete @{ $adoption->{was} }{ map { $_->{name} } @{ $adoption->{topics} } };
        @kept = grep { $adoption->{was}{ $_->{name} // '' } } @{ ($cfg->{meta} || {})->{topics} || [] };
    }
    $cfg->{meta} = { %{ $adoption->{head} }, topics => [@kept, @{ $adoption->{topics} }] };
    $self->_tell_of_impossible_ports($adoption->{head});
    $self->_forget_departed_brokers;
    $self->_follow_moved_brokers;
    my $doubtful = $adoption->{doubtful};
    $self->_want_metadata($_, $self->_backoff($doubtful->{$_}, REFRESH_BACKOFF, LEADERLESS_BACKOFF_MAX))
        for sort keys %$doubtful;
    $self->_log_replaced($_) for @{ $adoption->{recreated} };
    if (!$cfg->{connected}) {
        delete @{ $cfg->{metadata_due} }{ grep { $self->_has_leader($_) } keys %{ $cfg->{metadata_due} } };
    }
    return;
}

# A broker that lags behind names leaders from before the ones that are known
# (KIP-320). Epochs count anew when a topic is created anew, and without an epoch there is
# nothing to compare. Answers that go on to agree are believed in the end, and at once
# when the leader that is known is no broker any more. Gives the most answers of a
# partition that agree and are not believed yet.
sub _keep_newer_leaders {
    my ($self, $adoption, $topic) = @_;
    my $cfg  = $self->{cfg};
    my $name = $topic->{name};
    return 0 if ($topic->{topic_id} // '') ne ($cfg->{topic_ids}{$name} // '');
    my ($epochs, $doubts) = ($cfg->{leader_epochs} || {}, $cfg->{epoch_doubts} ||= {});
    my $most = 0;
    for my $partition (@{ $topic->{partitions} || [] }) {
        my $epoch = $partition->{leader_epoch} // -1;
        my $key   = "$name:$partition->{partition}";
        my $known = $epochs->{$key};
        next if !defined $known || $epoch < 0;
        my $leader = $cfg->{leaders}{$key} // -1;
        if ($epoch >= $known || $leader >= 0 && !$adoption->{is_broker}{$leader}) {
            delete $doubts->{$key};
            next;
        }
        my $answers = _answers_that_agree($doubts, $key, "$partition->{leader}:$epoch");
        next if $answers >= REWIND_ANSWERS && delete $doubts->{$key};
        @$partition{qw(leader leader_epoch)} = ($leader, $known);
        $most = $answers if $answers > $most;
    }
    return $most;
}

sub _answers_that_agree {
    my ($doubts, $key, $said) = @_;
    my $doubt = $doubts->{$key};
    $doubt = $doubts->{$key} = { said => $said } unless $doubt && $doubt->{said} eq $said;
    return ++$doubt->{answers};
}

# Whether the topic is another one than it was under the same name (KIP-516).
sub _is_recreated {
    my ($self, $topic) = @_;
    return 0 unless defined $topic->{topic_id};
    my $ids = $self->{cfg}{topic_ids} ||= {};
    my $was = $ids->{ $topic->{name} };
    $ids->{ $topic->{name} } = $topic->{topic_id};
    return defined $was && $was ne $topic->{topic_id};
}

sub _route_topic {
    my ($self, $topic, $leaders) = @_;
    my $topics = $self->{cfg}{topics};
    return unless @$leaders || $topics->{$topic};
    if   (@$leaders) { $topics->{$topic} = $leaders }
    else             { delete $topics->{$topic} }
    return $self->_route($topic, $leaders);
}

# Leaders by partition number, -1 where there is none now. A number that can only
# be a lie is passed over.
sub _leaders_of {
    my ($topic) = @_;
    my @listed = @{ $topic->{partitions} || [] };
    my $end    = @listed + MAX_MISSING;
    $end = MAX_PARTITIONS if $end > MAX_PARTITIONS;
    my @leaders;
    for my $partition (@listed) {
        next if $partition->{partition} < 0 || $partition->{partition} >= $end;
        $leaders[ $partition->{partition} ] = $partition->{leader};
    }
    return [map { defined && $_ >= 0 ? $_ : -1 } @leaders];
}

sub _tell_of_impossible_ports {
    my ($self, $meta) = @_;
    for my $broker (grep { !_is_port($_->{port} // 0) } @{ $meta->{brokers} || [] }) {
        $self->_notice("port of $broker->{node_id}", "broker $broker->{node_id} cannot be reached: metadata name port "
            . "$broker->{port} of $broker->{host}", broker => $broker->{node_id});
    }
    return;
}

# At another port nobody can be reached.
sub _is_port {
    my ($port) = @_;
    return defined $port && $port >= 0 && $port <= MAX_PORT;
}

# Takes an answer into {meta}, {broker_map} and {leaders}. What was known of the
# answer's topics is forgotten first; other topics are left alone. Tests of programs call it.
sub _merge_metadata {
    my ($cfg, $meta) = @_;
    my @topics = @{ $meta->{topics} || [] };
    my %fresh  = map { $_->{name} => 1 } @topics;
    for my $known ($cfg->{leaders} ||= {}, $cfg->{leader_epochs} ||= {}) {
        delete @$known{ grep { $fresh{ substr $_, 0, rindex $_, ':' } } keys %$known };
    }
    _merge_topic($cfg, $_) for @topics;
    _adopt_brokers($cfg, $meta);
    my @kept = grep { !$fresh{ $_->{name} } } @{ ($cfg->{meta} || {})->{topics} || [] };
    $cfg->{meta} = { %$meta, topics => [@kept, @topics] };
    return;
}

sub _adopt_brokers {
    my ($cfg, $meta) = @_;
    my @brokers = grep { _is_port($_->{port} // 0) } @{ $meta->{brokers} || [] };
    $cfg->{broker_map} = { map { $_->{node_id} => { host => $_->{host}, port => $_->{port} } } @brokers } if @brokers;
    return;
}

sub _merge_topic {
    my ($cfg, $topic) = @_;
    my ($name, $leaders) = ($topic->{name}, _leaders_of($topic));
    my ($known, $epochs) = @$cfg{qw(leaders leader_epochs)};
    for my $partition (grep { $leaders->[$_] >= 0 } 0 .. $#$leaders) {
        $known->{"$name:$partition"} = $leaders->[$partition];
    }
    for my $partition (@{ $topic->{partitions} || [] }) {
        next if ($partition->{leader_epoch} // -1) < 0 || $partition->{partition} > $#$leaders;
        $epochs->{"$name:$partition->{partition}"} = $partition->{leader_epoch};
    }
    return;
}

# Only the topic's own partitions are looked at: there may be many others.
sub _forget_topic {
    my ($self, $topic) = @_;
    my $cfg  = $self->{cfg};
    my @keys = map { "$topic:$_" } 0 .. $#{ $cfg->{topics}{$topic} || [] };
    delete @{ $cfg->{$_} ||= {} }{@keys} for qw(leaders leader_epochs);
    return;
}

sub _has_leader {
    my ($self, $topic, $partition) = @_;
    my $leaders = $self->{cfg}{topics}{$topic} or return 0;
    return ($leaders->[$partition] // -1) >= 0 if defined $partition;
    return scalar grep { $_ >= 0 } @$leaders;
}

# Whether the topic, or the partition, is there, with a leader or without.
sub _is_known {
    my ($self, $topic, $partition) = @_;
    my $leaders = $self->{cfg}{topics}{$topic} or return 0;
    return !defined $partition || $partition < @$leaders;
}

# The epoch of the partition's leader, -1 when the broker does not tell it.
sub _leader_epoch {
    my ($self, $topic, $partition) = @_;
    return $self->{cfg}{leader_epochs}{"$topic:$partition"} // -1;
}

sub _leader {
    my ($self, $topic, $partition) = @_;
    return $self->{cfg}{leaders}{"$topic:$partition"};
}

# An operation on a topic that has no leader queues, and the topic is asked for.
sub _on_topic {
    my ($self, $op) = @_;
    my $cfg = $self->{cfg};
    if ($cfg->{connected} && $self->_has_what_it_needs($op)) {
        return $self->_run_ops($op);
    }
    my $invalid = EV::Kafka::Producer::_invalid_topic($op->{topic});
    return $self->_fail_ops($invalid, $op) if defined $invalid;
    $self->_queue_op($op);
    return $op->{is_write} ? $self->_want_topic_to_write($op->{topic}) : $self->_refresh_metadata_for_topic($op->{topic});
}

# Brokers answer before a topic is created everywhere, hence the tries.
sub _count_tries {
    my ($self, @topics) = @_;
    my $cfg   = $self->{cfg};
    my $tries = $cfg->{_topic_meta_tries};
    my %is_waited_for = map { $_->{topic} => 1 }
        grep { defined $_->{topic} && $self->_waits_for_leader($_, $_->{topic}) } @{ $cfg->{pending_ops} };
    my %code_of = map { $_->{name} => $_->{error_code} } @{ ($cfg->{meta} || {})->{topics} || [] };
    for my $topic (@topics) {
        if (!$is_waited_for{$topic}) {
            delete $_->{$topic} for $tries, $cfg->{metadata_creates};
        }
        elsif (++$tries->{$topic} < TOPIC_TRIES && ($code_of{$topic} || 0) != INVALID_TOPIC_EXCEPTION) {
            $cfg->{metadata_due}{$topic} = $self->_now
                + $self->_backoff($tries->{$topic}, REFRESH_BACKOFF, REFRESH_BACKOFF_MAX);
        }
        else {
            my $asked = delete $tries->{$topic};
            delete $cfg->{metadata_creates}{$topic};
            my $text = "topic '$topic' (or a leader for it) unavailable after $asked metadata request" . ($asked > 1 ? 's' : '');
            $text .= ': ' . $self->error_name($code_of{$topic}) . " (code $code_of{$topic})" if $code_of{$topic};
            $self->_fail_pending_topic($topic, $text);
            $self->_check_buffer;
        }
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Metadata - what an EV::Kafka client knows of its cluster

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It keeps C<meta>,
C<broker_map> and C<leaders> in C<< $kafka->{cfg} >> and the producer's routing
table up to date: one Metadata request at a time, for all topics or for those
whose leader is needed, never more often for one topic than every 0.1 seconds.
A topic that stays unknown is asked for ten times.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Bootstrap>

=cut
