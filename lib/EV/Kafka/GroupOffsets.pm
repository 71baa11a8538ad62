package EV::Kafka::GroupOffsets;
use strict;
use warnings;

use Carp         ();
use overload     ();
use Scalar::Util qw(reftype);

use EV::Kafka::Commits;
use EV::Kafka::Error;
use EV::Kafka::Partitions;

# A croak names the line of the program, not one of ours.
our @CARP_NOT = ('EV::Kafka::Client');

# Positions to the group's coordinator and back. What is committed was delivered,
# never more. What waits and what is under way is {commits} of the group, an
# EV::Kafka::Commits; here it is sent and answered.
#   commits_asked   a request for it is under way, or waits for the coordinator
#   commit_retry    the timer until the next try
#   commit_trouble  { since, tries, unknown }: tries in a row that did not do
#   without_topic   partitions whose topic the coordinator does not know

# Seconds before a coordinator that is not ready, or lost, is asked again.
use constant {
    COORDINATOR_BACKOFF     => 0.1,
    COORDINATOR_BACKOFF_MAX => 1,
};

# Times that committed asks.
use constant COORDINATOR_TRIES => 8;

# The API that can be asked for stable offsets only, from which version on.
use constant {
    OFFSET_FETCH        => 9,
    REQUIRE_STABLE_FROM => 7,
};

# Seconds for the answer to a commit on leaving, so that there is time for another try
# and for the goodbye before leaving counts as done.
use constant LEAVING_PATIENCE => 2;

use constant {
    UNKNOWN_TOPIC_OR_PARTITION => 3,
    ILLEGAL_GENERATION         => 22,
    REBALANCE_IN_PROGRESS      => 27,
    UNKNOWN_TOPIC_ID           => 100,
    # The coordinator has a later epoch for the member than the one that was sent, of
    # which the next heartbeat tells (KIP-848).
    STALE_MEMBER_EPOCH         => 113,
};

# Errors of a commit that tell of the membership: the last three are UNKNOWN_MEMBER_ID,
# FENCED_INSTANCE_ID and FENCED_MEMBER_EPOCH.
my %MEMBERSHIP_ERROR = map { $_ => 1 } ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, 25, 82, 110;

my %TOPIC_IS_UNKNOWN = map { $_ => 1 } UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID;

# Why a partition's position is not committed. Others may have it, and may have gone further.
use constant {
    GIVEN_UP     => 'given up in a rebalance before it was committed: %s',
    NOT_ASSIGNED => 'not assigned to this member: %s',
    OUT_OF_GROUP => 'the membership of the group has been lost',
};

sub _key_of { return "$_[0]{topic}:$_[0]{partition}" }

# commit([$cb]), or commit(\@offsets, [$cb]).
sub commit {
    my ($self, @arguments) = @_;
    $self->_check_open;
    my ($given, $cb) = _commit_arguments(@arguments);
    my $op = $self->_begin_op(sub {
        my ($self, undef, $error) = @_;
        return $self->_call($cb, $error) if $cb;
        return defined $error && !$self->{cfg}{closed} ? $self->_report("commit: $error") : undef;
    });
    my $group = $self->{cfg}{group} or return $self->_end_op($op, undef, 'not subscribed to a group');
    # What the program has worked on since is not the member's that it will be.
    return $self->_end_op($op, undef, OUT_OF_GROUP) if $group->{is_out} && $group->{state} ne 'stopped';
    $self->_limit_wait($group, $op);
    my @positions = $given ? @$given : $self->_positions;
    my $had       = $self->_assigned_by_key;
    return $self->_when_stable($group, sub {
        my ($self, $error) = @_;
        return $self->_end_op($op, undef, $error) if defined $error;
        # What has come back was somebody else's meanwhile, who may have gone further.
        my $has   = $self->_assigned_by_key;
        my %lost;
        my @mine;
        for my $position (@positions) {
            my $key = _key_of($position);
            if    (!$had->{$key})                                    { push @{ $lost{ NOT_ASSIGNED() } }, $key }
            elsif (!$has->{$key} || $has->{$key} != $had->{$key}) { push @{ $lost{ GIVEN_UP() } },     $key }
            else                                                     { push @mine, $position }
        }
        my @reasons = map { EV::Kafka::Commits::told($_, $lost{$_}) } sort keys %lost;
        return $self->_commit_positions($group, \@mine, sub {
            my ($self, $error) = @_;
            $self->_end_op($op, undef, @reasons ? join '; ', @reasons, grep { defined } $error : $error);
        }, named => defined $given);
    });
}

sub _commit_arguments {
    my (@arguments) = @_;
    my $given = _is_callback($arguments[0]) && @arguments < 2 ? undef : shift @arguments;
    my $cb    = shift @arguments;
    Carp::croak('commit: expected arrayref of offsets or a callback') if defined $given && ref $given ne 'ARRAY';
    Carp::croak('commit: the callback must be a code reference') unless _is_callback($cb);
    Carp::croak('commit: too many arguments') if @arguments;
    return ($given && [map { _offset_to_commit($_) } @$given], $cb);
}

sub _is_callback { return !defined $_[0] || ref $_[0] && reftype($_[0]) eq 'CODE' }

sub _offset_to_commit {
    my ($given) = @_;
    Carp::croak('commit: offset must be a hashref') unless ref $given eq 'HASH';
    my $topic = $given->{topic};
    Carp::croak('commit: missing topic') unless defined $topic && length $topic;
    Carp::croak('commit: topic must be a string') unless _is_text($topic);
    my %number;
    for my $name (qw(partition offset)) {
        Carp::croak("commit: missing $name") unless defined $given->{$name};
        $number{$name} = EV::Kafka::Consumer::_integer("commit: $name", $given->{$name});
        Carp::croak("commit: $name must not be negative") if $number{$name} < 0;
    }
    my %more = map { $_ => $given->{$_} } grep { defined $given->{$_} } qw(metadata leader_epoch);
    Carp::croak('commit: metadata must be a string') unless _is_text($more{metadata} // '');
    EV::Kafka::Consumer::_integer('commit: leader_epoch', $more{leader_epoch}) if defined $more{leader_epoch};
    return { topic => "$topic", %number, %more };
}

sub _is_text { return !ref $_[0] || overload::Method($_[0], '""') }

# A rebalance is over by then; without a coordinator there is no end to wait for.
sub _limit_wait {
    my ($self, $group, $op) = @_;
    my $seconds = $group->{rebalance_timeout} / 1000;
    $op->{timer} = $self->_timer($seconds, _end_op => $op, undef, "timed out after $seconds seconds");
    return;
}

# Runs $code->($client) when requests may be sent in the name of the member, or
# $code->($client, $error) when there will be none.
sub _when_stable {
    my ($self, $group, $code) = @_;
    return $code->($self, 'the group has been given up') if $group->{state} eq 'stopped';
    return $code->($self, OUT_OF_GROUP)                  if $group->{is_out} && $group->{revoking};
    return $code->($self) if $group->{state} eq 'stable' || $group->{revoking};
    return $code->($self, 'the group has been left')     if $group->{state} eq 'leaving';
    push @{ $group->{waiting} }, $code;
    return;
}

sub _run_waiting {
    my ($self, $group) = @_;
    for my $code (splice @{ $group->{waiting} || [] }) {
        return if $self->{cfg}{closed};
        $self->_when_stable($group, $code);
    }
    return;
}

sub _fail_deferred {
    my ($self, $group, $error) = @_;
    $_->($self, $error) for splice @{ $group->{waiting} || [] };
    return;
}

# --- one request at a time ------------------------------------------------------

# Commits, and calls $done->($client, $error) once.
sub _commit_positions {
    my ($self, $group, $positions, $done, %how) = @_;
    return $done->($self) unless @$positions;
    $group->{commits}->add($positions, $done, %how);
    return $group->{commit_retry} ? undef : $self->_send_commits($group);
}

# Runs $then->($client) once no commit is under way, nor wanted.
sub _when_committed {
    my ($self, $group, $then) = @_;
    return $then->($self) if _is_committed($group);
    push @{ $group->{after_commits} }, $then;
    return;
}

sub _is_committed { my ($group) = @_; return $group->{commits}->is_idle && !$group->{commits_asked} }

# What is sent, and as which member, is only known once there is a connection: who has
# waited for one commits what is newest by then.
sub _send_commits {
    my ($self, $group) = @_;
    delete $group->{commit_retry};
    return if $group->{commits_asked} || $group->{commits}->is_idle;
    $group->{commits_asked} = 1;
    my $sent;
    return $self->_ask_coordinator($group, undef, sub {
        my ($self, $conn, $answered) = @_;
        $self->_leave_out($group);
        # A callback may have ended the group.
        my @positions = $self->_is_group($group) ? $group->{commits}->take : ();
        return $answered->({ topics => [] }) unless @positions;
        $sent = { positions => \@positions, generation => $group->{generation}, at => $self->_now };
        $self->_send_positions($group, $conn, $answered, @positions);
    }, sub {
        my ($self, $answer, $error, $is_final) = @_;
        return unless $self->_is_group($group);
        delete $group->{commits_asked};
        return $self->_commits_answered($group, $sent, $answer, $error, $is_final);
    }, patience => $group->{state} eq 'leaving' ? LEAVING_PATIENCE : undef);
}

sub _send_positions {
    my ($self, $group, $conn, $answered, @positions) = @_;
    $conn->offset_commit(@$group{qw(group_id generation member_id)},
        EV::Kafka::Partitions::offsets_by_topic(@positions), $answered, $group->{group_instance_id});
    return;
}

# Who is out of the group writes nothing of it any more; and a topic that has been
# deleted, as both its coordinator and metadata say, would be refused for ever.
sub _leave_out {
    my ($self, $group) = @_;
    my $commits = $group->{commits};
    return $self->_commits_ended($group, $commits->drop({ reason => OUT_OF_GROUP })) if $group->{is_out};
    my $refused = $group->{without_topic} || {};
    delete @$refused{ grep { !$self->_is_gone($_) } keys %$refused };
    my @gone = grep { $refused->{$_} } $commits->wanted or return;
    return $self->_commits_ended($group, $commits->drop($self->_gone_for_good, @gone));
}

sub _gone_for_good {
    my ($self) = @_;
    return { gone => 1, reason => $self->_coded(UNKNOWN_TOPIC_OR_PARTITION) . ' for %s' };
}

# What metadata know not to exist any more.
sub _is_gone {
    my ($self, $key) = @_;
    my $meta = $self->{cfg}{meta} or return 0;
    my ($topic, $partition) = $key =~ /\A(.*):([0-9]+)\z/ or return 0;
    my ($known) = grep { $_->{name} eq $topic } @{ $meta->{topics} || [] };
    return 1 if !$known || ($known->{error_code} || 0) == UNKNOWN_TOPIC_OR_PARTITION;
    return !$known->{error_code} && !grep { $_->{partition} == $partition } @{ $known->{partitions} || [] };
}

sub _coded { my ($self, $code) = @_; return EV::Kafka::Error->of_code($code)->text }

sub _commits_answered {
    my ($self, $group, $sent, $answer, $error, $is_final) = @_;
    my @keys  = map { _key_of($_) } @{ ($sent || {})->{positions} || [] };
    my $codes = defined $error ? {} : _codes_of($answer, @keys);
    my $asked = { sent => $sent, error => $error, is_final => $is_final };
    my %verdict = map { $_ => scalar $self->_verdict($group, $asked, $codes->{$_}) } @keys;
    delete @verdict{ grep { !$verdict{$_} } keys %verdict };
    my ($lost) = grep { $MEMBERSHIP_ERROR{$_} } values %$codes;
    my $is_stale = $self->_has_moved_on($group, $sent);
    # Before anybody is called who may leave: the answer is about the member that we are now.
    $group->{without_topic}{$_} = 1 for grep { $TOPIC_IS_UNKNOWN{ $codes->{$_} || 0 } } @keys;
    $self->_heed_codes($group, values %$codes);
    my $trouble = grep { $_->{again} } values %verdict;
    if ($trouble) { $self->_count_trouble($group, values %$codes) }
    else          { delete $group->{commit_trouble} }
    {
        local $group->{losing} = defined $lost && !$is_stale;
        $self->_commits_ended($group, $group->{commits}->settle(\%verdict));
    }
    return unless $self->_is_group($group);
    $self->_go_on_committing($group, $trouble);
    return unless defined $lost && !$is_stale && $self->_is_group($group) && $group->{state} eq 'stable';
    return $self->_by_protocol($group, refused => OffsetCommit => $lost);
}

sub _go_on_committing {
    my ($self, $group, $trouble) = @_;
    my $wait = $trouble && !$group->{is_out}
        ? $self->_backoff($group->{commit_trouble}{tries}, COORDINATOR_BACKOFF, COORDINATOR_BACKOFF_MAX) : 0;
    if ($wait && !$group->{commits}->is_idle) {
        $group->{commit_retry} ||= $self->_timer($wait, '_commit_again');
        return;
    }
    $self->_send_commits($group);
    return $self->_after_commits($group);
}

# Also at once, when what was waited for is there.
sub _commit_again {
    my ($self) = @_;
    my $group = $self->{cfg}{group} or return;
    return $group->{commit_retry} ? $self->_send_commits($group) : undef;
}

sub _after_commits {
    my ($self, $group) = @_;
    return unless _is_committed($group);
    $_->($self) for splice @{ $group->{after_commits} || [] };
    return;
}

sub _commits_ended {
    my ($self, $group, @ended) = @_;
    $_->[0]->($self, $_->[1]) for @ended;
    return;
}

# Whether the group has another generation, or the member another epoch, than the one that was
# sent, and the member still is one.
sub _has_moved_on {
    my ($self, $group, $sent) = @_;
    return $sent && !$group->{is_out} && $sent->{generation} != $group->{generation};
}

# By partition; one that was not answered has the code of the whole.
sub _codes_of {
    my ($answer, @keys) = @_;
    my $whole = $answer->{error_code} || 0;
    my %code  = map { $_ => $whole } @keys;
    for my $topic (@{ $answer->{topics} }) {
        $code{"$topic->{topic}:$_->{partition}"} = $whole || $_->{error_code} for @{ $topic->{partitions} };
    }
    return \%code;
}

# Nothing for what is stored, else what EV::Kafka::Commits calls a verdict.
sub _verdict {
    my ($self, $group, $asked, $code) = @_;
    my $again = !$group->{is_out} && !$self->_is_out_of_patience($group);
    if (defined $asked->{error}) {
        return { again => 1 } if $again && !$asked->{is_final};
        return { reason => $group->{is_out} && !$asked->{is_final} ? OUT_OF_GROUP : $asked->{error} };
    }
    return unless $code;
    return { again  => 1 } if $again && $self->_may_commit_again($group, $asked->{sent}, $code);
    return { reason => $self->_coded($code) . ' for %s' };
}

sub _may_commit_again {
    my ($self, $group, $sent, $code) = @_;
    return 1 if $code == STALE_MEMBER_EPOCH || $TOPIC_IS_UNKNOWN{$code};
    return 1 if $self->_is_coordinator_error($code, ($group->{commit_trouble} || {})->{unknown} || 0);
    return $MEMBERSHIP_ERROR{$code} && $self->_has_moved_on($group, $sent);
}

# As long as a rebalance may take; leaving has a limit of its own.
sub _is_out_of_patience {
    my ($self, $group) = @_;
    return 0 if $group->{state} eq 'leaving';
    my $since = ($group->{commit_trouble} || {})->{since} // return 0;
    return $self->_now - $since > $group->{rebalance_timeout} / 1000;
}

sub _count_trouble {
    my ($self, $group, @codes) = @_;
    my $trouble = $group->{commit_trouble} ||= { since => $self->_now, tries => 0, unknown => 0 };
    $trouble->{tries}++;
    $trouble->{unknown}++ if grep { EV::Kafka::Error::is_unknown($_) } @codes;
    return;
}

# What must be found out before another try makes sense.
sub _heed_codes {
    my ($self, $group, @codes) = @_;
    my @refused = grep { $_ } @codes or return;
    $self->_coordinator_refused(group => $group->{group_id}, @refused);
    $self->_refresh_metadata if grep { $TOPIC_IS_UNKNOWN{$_} } @refused;
    $self->_by_protocol($group, 'catch_up') if grep { $_ == STALE_MEMBER_EPOCH } @refused;
    return;
}

# --- without being asked --------------------------------------------------------

sub _commit_periodically {
    my ($self, $group) = @_;
    $self->_group_timer(commit => $group->{auto_commit_interval}, '_commit_periodically');
    return if $group->{state} ne 'stable' || !_is_committed($group);
    return $self->_commit_positions($group, [$self->_moved_positions($group)], sub {
        my ($self, $error) = @_;
        # What has been lost with the membership is told with it.
        return if !defined $error || !$self->_is_group($group) || $group->{is_out} || $group->{losing};
        $self->_report("group '$group->{group_id}': commit: $error");
    });
}

# Of records whose handler has returned, as far as that is not stored yet.
sub _moved_positions {
    my ($self, $group) = @_;
    my $commits = $group->{commits};
    return grep { $_->{offset} != ($commits->acknowledged(_key_of($_)) // -1) } $self->_handled_positions;
}

# A commit on leaving cannot wait behind one that nobody answers: the coordinator is
# looked for again.
sub _drop_stuck_commit {
    my ($self, $group) = @_;
    return unless $group->{commits}->is_under_way && !$group->{parked};
    my $node_id = $self->{coordinators}->node_id(group => $group->{group_id});
    return defined $node_id ? $self->{cluster}->close_link(group => $node_id) : undef;
}

# At close, which waits for nothing: one write, and no answer is waited for. The
# coordinator reads it all the same.
sub _part_silently {
    my ($self, $group) = @_;
    my $conn = $self->_ready_coordinator(group => $group->{group_id}) or return;
    return if $group->{member_id} eq '' || $group->{state} eq 'stopped';
    # A callback that has ended the process, and with it the client, will not return.
    my @done = $self->{cfg}{delivery}{part} ? $self->_positions : $self->_handled_positions;
    my @positions = $group->{auto_commit} && $self->_is_member($group) ? @done : ();
    $self->_send_positions($group, $conn, sub { }, @positions) if @positions;
    return $self->_by_protocol($group, part => $conn, sub { });
}

# --- reading --------------------------------------------------------------------

sub committed {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $op = $self->_begin_op(sub {
        my ($self, $committed, $error) = @_;
        return $self->_call($cb, $committed, $error);
    });
    my $group = $self->{cfg}{group} or return $self->_end_op($op, undef, 'not subscribed to a group');
    $self->_limit_wait($group, $op);
    return $self->_when_stable($group, sub {
        my ($self, $error) = @_;
        return $self->_end_op($op, undef, $error) if defined $error;
        my @partitions = map { [@$_{qw(topic partition)}] } @{ $self->{cfg}{assignments} };
        return $self->_fetch_committed($group, \@partitions, COORDINATOR_TRIES, sub {
            my ($self, $committed, $error) = @_;
            $self->_end_op($op, $committed, $error);
        });
    });
}

# $done->($client, { "topic:partition" => $offset, undef if there is none }, undef,
# { "topic:partition" => $leader_epoch }), or $done->($client, undef, $error).
sub _fetch_committed {
    my ($self, $group, $partitions, $most_tries, $done) = @_;
    return $done->($self, {}) unless @$partitions;
    return $self->_try_fetch_committed($group, {
        topics     => EV::Kafka::Partitions::by_topic(@$partitions),
        most_tries => $most_tries,
        tries      => 0,
        unknown    => 0,
        op         => $self->_begin_op($done),
    });
}

# With require_stable wherever the broker knows it: what a transaction is about to
# commit counts.
sub _try_fetch_committed {
    my ($self, $group, $asked) = @_;
    return $self->_ask_coordinator($group, undef, sub {
        my (undef, $conn, $answered) = @_;
        my $newest = ($conn->api_versions || {})->{ OFFSET_FETCH() } // 0;
        $conn->offset_fetch($group->{group_id}, $asked->{topics},
            { require_stable => $newest >= REQUIRE_STABLE_FROM ? 1 : 0 }, $answered);
    }, sub {
        my ($self, $answer, $error, $is_final) = @_;
        return $self->_end_op($asked->{op}, undef, $error) if $is_final || $self->{cfg}{closed};
        my ($code, $text) = $self->_first_error($answer);
        if (defined $error || $code && $self->_may_fetch_again($asked, $code)) {
            $self->_coordinator_refused(group => $group->{group_id}, $code) if $code;
            return $self->_end_op($asked->{op}, undef, $error // $text)
                if ++$asked->{tries} >= $asked->{most_tries} || !$self->_is_group($group);
            return $self->_later($asked, _try_fetch_committed => $group);
        }
        return $self->_end_op($asked->{op}, undef, $text) if $code;
        my (%offsets, %epochs);
        for my $topic (@{ $answer->{topics} }) {
            for my $partition (@{ $topic->{partitions} }) {
                my $key = "$topic->{topic}:$partition->{partition}";
                $offsets{$key} = $partition->{offset} < 0 || $partition->{error_code} ? undef : $partition->{offset};
                $epochs{$key}  = $partition->{leader_epoch};
            }
        }
        return $self->_end_op($asked->{op}, \%offsets, undef, \%epochs);
    });
}

sub _may_fetch_again {
    my ($self, $asked, $code) = @_;
    return $self->_is_coordinator_error($code, EV::Kafka::Error::is_unknown($code) ? $asked->{unknown}++ : 0);
}

# The timer stands in the operation, with which it ends.
sub _later {
    my ($self, $asked, $method, $group) = @_;
    my $wait = $self->_backoff($asked->{tries}, COORDINATOR_BACKOFF, COORDINATOR_BACKOFF_MAX);
    $asked->{op}{timer} = $self->_timer($wait, $method => $group, $asked);
    return;
}

# The code and the text of the first error in an answer about partitions. For a topic that is
# not there nothing is committed, which is none.
sub _first_error {
    my ($self, $answer) = @_;
    return unless $answer;
    my $code = $answer->{error_code};
    return ($code, $self->_coded($code)) if $code;
    for my $topic (@{ $answer->{topics} }) {
        for my $partition (grep { $_->{error_code} && !$TOPIC_IS_UNKNOWN{ $_->{error_code} } } @{ $topic->{partitions} }) {
            $code = $partition->{error_code};
            return ($code, $self->_coded($code) . " for $topic->{topic}:$partition->{partition}");
        }
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::GroupOffsets - the committed offsets of an EV::Kafka client's group

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<commit>, C<committed>,
and the commits that nobody has to ask for. One OffsetCommit at a time is under way, see
L<EV::Kafka::Commits>. A commit during a rebalance waits for its end, and is reported as
failed for partitions that the member then no longer has.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
