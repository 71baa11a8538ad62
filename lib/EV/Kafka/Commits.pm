package EV::Kafka::Commits;
use strict;
use warnings;

use EV::Kafka::Partitions;

# Positions to the group's coordinator and back. What is committed was delivered,
# never more.

# A coordinator that is not ready, or lost, is asked again.
use constant {
    COORDINATOR_TRIES       => 8,
    COORDINATOR_BACKOFF     => 0.1,
    COORDINATOR_BACKOFF_MAX => 1,
};

# A transaction that includes the offset is still open (KIP-447).
use constant UNSTABLE_OFFSET_COMMIT => 88;

# The API that can be asked for stable offsets only, from which version on.
use constant {
    OFFSET_FETCH        => 9,
    REQUIRE_STABLE_FROM => 7,
};

# Seconds for the answer to a commit on leaving, so that there is time for another try
# and for the goodbye before leaving counts as done.
use constant LEAVING_PATIENCE => 2;

# Errors of a commit that tell of the membership.
my %MEMBERSHIP_ERROR = map { $_ => 1 } 22, 25, 27, 82, 110;

# The coordinator has a later epoch for the member than the one that was sent, of
# which the next heartbeat tells (KIP-848).
use constant STALE_MEMBER_EPOCH => 113;

sub commit {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $op = $self->_begin_op(sub {
        my ($self, undef, $error) = @_;
        return $self->_call($cb, $error) if $cb;
        return defined $error && !$self->{cfg}{closed} ? $self->_report("commit: $error") : undef;
    });
    my $group = $self->{cfg}{group} or return $self->_end_op($op, undef, 'not subscribed to a group');
    $self->_limit_wait($group, $op);
    my @positions = $self->_positions;
    my $had       = $self->_assigned_by_key;
    return $self->_when_stable($group, sub {
        my ($self, $error) = @_;
        return $self->_end_op($op, undef, $error) if defined $error;
        # What has come back was somebody else's meanwhile, who may have gone further.
        my $has  = $self->_assigned_by_key;
        my $kept = sub { my $key = "$_[0]{topic}:$_[0]{partition}"; $has->{$key} && $has->{$key} == $had->{$key} };
        my @mine = grep { $kept->($_) } @positions;
        my @lost = grep { !$kept->($_) } @positions;
        return $self->_commit_positions($group, \@mine, sub {
            my ($self, $error) = @_;
            $error //= 'given up in a rebalance before it was committed: '
                . join ', ', map { "$_->{topic}:$_->{partition}" } @lost if @lost;
            $self->_end_op($op, undef, $error);
        });
    });
}

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
    return $code->($self) if $group->{state} eq 'stable' || $group->{revoking};
    return $code->($self, 'the group has been given up') if $group->{state} eq 'stopped';
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

# Commits, and calls $done->($client, $error) once.
sub _commit_positions {
    my ($self, $group, $positions, $done) = @_;
    return $done->($self) unless @$positions;
    $group->{commits}++;
    return $self->_try_commit($group, {
        number    => ++$group->{commit_number},
        positions => $positions,
        member    => [@$group{qw(generation member_id)}],
        tries     => 0,
        op        => $self->_begin_op(sub {
            my ($self, undef, $error) = @_;
            $done->($self, $error);
            $self->_commit_ended($group);
        }),
    });
}

sub _commit_ended {
    my ($self, $group) = @_;
    return if --$group->{commits};
    $_->($self) for splice @{ $group->{after_commits} || [] };
    return;
}

# Runs $then->($client) once no commit is under way.
sub _when_committed {
    my ($self, $group, $then) = @_;
    return $then->($self) unless $group->{commits};
    push @{ $group->{after_commits} }, $then;
    return;
}

sub _try_commit {
    my ($self, $group, $commit) = @_;
    my $offsets = EV::Kafka::Partitions::offsets_by_topic(@{ $commit->{positions} });
    return $self->_ask_coordinator($group, undef, sub {
        my (undef, $conn, $answered) = @_;
        $conn->offset_commit($group->{group_id}, @{ $commit->{member} }, $offsets, $answered,
            $group->{group_instance_id});
    }, sub {
        my ($self, $answer, $error, $is_final) = @_;
        my ($code, $text) = $self->_first_error($answer);
        return $self->_end_op($commit->{op}, undef, $error) if $is_final || $self->{cfg}{closed};
        return $self->_commit_again($group, $commit, $error) if defined $error;
        return $self->_committed($group, $commit) unless $code;
        return $self->_commit_again($group, $commit, $text, $code)
            if $code == STALE_MEMBER_EPOCH || $self->_is_coordinator_error($code);
        $self->_end_op($commit->{op}, undef, $text);
        return unless $MEMBERSHIP_ERROR{$code} && $self->_is_group($group) && $group->{state} eq 'stable';
        return unless $group->{generation} == $commit->{member}[0];
        return $self->_by_protocol($group, refused => OffsetCommit => $code);
    }, patience => $group->{state} eq 'leaving' ? LEAVING_PATIENCE : undef);
}

sub _commit_again {
    my ($self, $group, $commit, $error, $code) = @_;
    if (($code || 0) == STALE_MEMBER_EPOCH) { $commit->{member}[0] = $group->{generation} }
    elsif ($code)                          { $self->_coordinator_refused(group => $group->{group_id}, $code) }
    return $self->_end_op($commit->{op}, undef, $error) if ++$commit->{tries} >= COORDINATOR_TRIES;
    # A commit that came later has the last word.
    my $later = $group->{committed_by} || {};
    @{ $commit->{positions} } = grep { ($later->{"$_->{topic}:$_->{partition}"} || 0) < $commit->{number} }
        @{ $commit->{positions} };
    return $self->_end_op($commit->{op}) unless @{ $commit->{positions} };
    return $self->_later($commit, _try_commit => $group);
}

sub _committed {
    my ($self, $group, $commit) = @_;
    for my $position (@{ $commit->{positions} }) {
        my $key = "$position->{topic}:$position->{partition}";
        $group->{committed}{$key}    = $position->{offset};
        $group->{committed_by}{$key} = $commit->{number};
    }
    return $self->_end_op($commit->{op});
}

# The timer stands in the operation, with which it ends.
sub _later {
    my ($self, $asked, $method, $group) = @_;
    my $wait = $self->_backoff($asked->{tries}, COORDINATOR_BACKOFF, COORDINATOR_BACKOFF_MAX);
    $asked->{op}{timer} = $self->_timer($wait, $method => $group, $asked);
    return;
}

# The code and the text of the first error in an answer about partitions.
sub _first_error {
    my ($self, $answer) = @_;
    return unless $answer;
    my $code = $answer->{error_code};
    return ($code, $self->error_name($code) . " (code $code)") if $code;
    for my $topic (@{ $answer->{topics} }) {
        for my $partition (grep { $_->{error_code} } @{ $topic->{partitions} }) {
            $code = $partition->{error_code};
            return ($code, $self->error_name($code) . " (code $code) for $topic->{topic}:$partition->{partition}");
        }
    }
    return;
}

# --- without being asked --------------------------------------------------------

sub _commit_periodically {
    my ($self, $group) = @_;
    $self->_group_timer(commit => $group->{auto_commit_interval}, '_commit_periodically');
    return if $group->{state} ne 'stable' || $group->{commits};
    my $committed = $group->{committed} || {};
    my @moved = grep { $_->{offset} != ($committed->{"$_->{topic}:$_->{partition}"} // -1) } $self->_positions;
    return $self->_commit_positions($group, \@moved, sub {
        my ($self, $error) = @_;
        return if !defined $error || !$self->_is_group($group);
        $self->_report("group '$group->{group_id}': commit: $error");
    });
}

# At close, which waits for nothing: one write, and no answer is waited for. The
# coordinator reads it all the same.
sub _part_silently {
    my ($self, $group) = @_;
    my $conn = $self->_ready_coordinator(group => $group->{group_id}) or return;
    return if $group->{member_id} eq '' || $group->{state} eq 'stopped';
    my @positions = $group->{auto_commit} && $group->{generation} >= 0 ? $self->_positions : ();
    $conn->offset_commit(@$group{qw(group_id generation member_id)},
        EV::Kafka::Partitions::offsets_by_topic(@positions), sub { }, $group->{group_instance_id}) if @positions;
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
        my ($code, $text) = $self->_first_error($answer);
        return $self->_end_op($asked->{op}, undef, $error) if $is_final || $self->{cfg}{closed};
        if (defined $error || $code && ($code == UNSTABLE_OFFSET_COMMIT || $self->_is_coordinator_error($code))) {
            $self->_coordinator_refused(group => $group->{group_id}, $code) if $code && $code != UNSTABLE_OFFSET_COMMIT;
            return $self->_end_op($asked->{op}, undef, $error // $text)
                if ++$asked->{tries} >= $asked->{most_tries} || !$self->_is_group($group);
            return $self->_later($asked, _try_fetch_committed => $group);
        }
        return $self->_end_op($asked->{op}, undef, $text) if $code;
        my (%offsets, %epochs);
        for my $topic (@{ $answer->{topics} }) {
            for my $partition (@{ $topic->{partitions} }) {
                my $key = "$topic->{topic}:$partition->{partition}";
                $offsets{$key} = $partition->{offset} < 0 ? undef : $partition->{offset};
                $epochs{$key}  = $partition->{leader_epoch};
            }
        }
        return $self->_end_op($asked->{op}, \%offsets, undef, \%epochs);
    });
}

1;

__END__

=head1 NAME

EV::Kafka::Commits - the committed offsets of an EV::Kafka client's group

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<commit>, C<committed>,
and the commits that nobody has to ask for. A commit during a rebalance waits for
its end, and is reported as failed for partitions that the member then no longer
has.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
