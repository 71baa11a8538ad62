package EV::Kafka::Group::Commits;
use strict;
use warnings;

use Scalar::Util qw(refaddr);

use EV::Kafka::Error;
use EV::Kafka::Group::Positions;
use EV::Kafka::Partitions;

# Positions to the group's coordinator. What is committed was delivered, and done where the program says
# what is, never more. One OffsetCommit at a time is under way: of two the coordinator may carry out
# the first one last.
#   positions       what is wanted, what is under way and who waits for it
#   is_sending      there is a request for it, sent or not
#   request         that one, an EV::Kafka::Request
#   sent            { positions, generation } of the one that is not answered yet
#   after           what goes on once nothing is wanted any more
#   trouble         { since, unknown }: tries in a row that did not do
#   timer           until the next commit that nobody asks for; on leaving, as long as one may take
#   is_losing       the answer that is seen to says that the membership is lost
#   without_topic   [topic, partition] by key where the coordinator does not know the topic
#   waiting         what is done once the group is stable, or told why not
#   calls           of commit and committed that are not called back yet: { done, timer?, request? }

# Times that committed asks.
use constant COMMITTED_TRIES => 8;

# Seconds for the answer to a commit on leaving, so that there is time for another try
# and for the goodbye before leaving counts as done.
use constant LEAVING_PATIENCE => 2;

use constant {
    UNKNOWN_TOPIC_OR_PARTITION => 3,
    ILLEGAL_GENERATION         => 22,
    REBALANCE_IN_PROGRESS      => 27,
    # The coordinator has a later epoch for the member than the one that was sent, of
    # which the next heartbeat tells (KIP-848).
    STALE_MEMBER_EPOCH         => 113,
};

# Errors of a commit that tell of the membership: the last three are UNKNOWN_MEMBER_ID,
# FENCED_INSTANCE_ID and FENCED_MEMBER_EPOCH.
my %MEMBERSHIP_ERROR = map { $_ => 1 } ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, 25, 82, 110;

# Why a partition's position is not committed. Others may have it, and may have gone further.
use constant {
    OTHER_TOPIC  => 'not committed for %s: the topic was deleted and created anew, and the position is of the one before',
    GIVEN_UP     => 'given up in a rebalance before it was committed: %s',
    NOT_ASSIGNED => 'not assigned to this member: %s',
    OUT_OF_GROUP => 'the membership of the group has been lost',
};

sub new {
    my ($class, %about) = @_;
    return bless {
        map({ $_ => $about{$_} } qw(member loop outbox cluster coordinators consumer committed)),
        positions => EV::Kafka::Group::Positions->new,
        after => [], waiting => [], calls => {}, without_topic => {},
    }, $class;
}

# --- what the program asks for ----------------------------------------------------

# $done->(undef, $error), once.
sub commit {
    my ($self, $given, $done) = @_;
    my ($member, $consumer) = @$self{qw(member consumer)};
    # What the program has worked on since is not the member's that it will be.
    return $done->(undef, OUT_OF_GROUP) if $member->is_out && $member->state ne 'stopped';
    my $call      = $self->_begin_call($done);
    my @positions = $given ? @$given : $consumer->positions_to_commit;
    my $had       = $consumer->assigned_by_key;
    return $self->_when_stable(sub {
        my ($error) = @_;
        return $self->_end_call($call, undef, $error) if defined $error;
        my ($mine, @reasons) = _sorted($had, $consumer->assigned_by_key, @positions);
        return $self->add($mine, sub {
            my ($error) = @_;
            $self->_end_call($call, undef, EV::Kafka::Error->together(@reasons, grep { defined } $error));
        }, named => defined $given);
    });
}

# Those that are the member's still, and why the others are not committed. What has come back
# was somebody else's meanwhile, who may have gone further.
sub _sorted {
    my ($had, $has, @positions) = @_;
    my (%lost, @mine);
    for my $position (@positions) {
        my $key = EV::Kafka::Partitions::key_of($position);
        if    (!$had->{$key})                                  { push @{ $lost{ NOT_ASSIGNED() } }, $key }
        elsif (!$has->{$key} || $has->{$key} != $had->{$key}) { push @{ $lost{ GIVEN_UP() } },     $key }
        else                                                   { push @mine, $position }
    }
    return (\@mine, map { EV::Kafka::Group::Positions::told($_, $lost{$_}) } sort keys %lost);
}

# Of these partitions, or of all that are assigned by then: $done->(\%committed, $error), once.
sub committed {
    my ($self, $given, $done) = @_;
    my $call = $self->_begin_call($done);
    return $self->_when_stable(sub {
        my ($error) = @_;
        return $self->_end_call($call, undef, $error) if defined $error;
        my $partitions = $given || [map { [@$_{qw(topic partition)}] } $self->{consumer}->assignments];
        return $self->{committed}->fetch($partitions, sub {
            my ($committed, $error) = @_;
            $self->_end_call($call, $committed, $error);
        }, tries => COMMITTED_TRIES, alive => sub { $call->{done} ? 1 : 0 });
    });
}

# A rebalance is over by then; without a coordinator there is no end to wait for.
sub _begin_call {
    my ($self, $done) = @_;
    my $call    = { done => $done };
    my $seconds = $self->{member}->record->{rebalance_timeout} / 1000;
    $self->{calls}{ refaddr $call } = $call;
    $call->{timer} = $self->{loop}->timer($seconds, $self, _end_call => $call, undef, "timed out after $seconds seconds");
    return $call;
}

sub _end_call {
    my ($self, $call, @result) = @_;
    my $done = delete $call->{done} or return;
    delete $self->{calls}{ refaddr $call };
    delete $call->{timer};
    return $done->(@result);
}

# Runs $code->() when requests may be sent in the name of the member, or $code->($error) when
# there will be none.
sub _when_stable {
    my ($self, $code) = @_;
    my $member = $self->{member};
    my $state  = $member->state;
    return $code->('the group has been given up') if $state eq 'stopped';
    return $code->(OUT_OF_GROUP)                  if $member->is_out && $member->is_revoking;
    return $code->() if $state eq 'stable' || $member->is_revoking;
    return $code->('the group has been left')     if $state eq 'leaving';
    push @{ $self->{waiting} }, $code;
    return;
}

sub stable {
    my ($self) = @_;
    $self->_when_stable($_) for splice @{ $self->{waiting} };
    return;
}

# The group will not be stable any more.
sub fail_waiting {
    my ($self, $error) = @_;
    $_->($error) for splice @{ $self->{waiting} };
    return;
}

# --- one request at a time ------------------------------------------------------

# { topic, partition, offset, … }, …; then $done->($error), once.
sub add {
    my ($self, $positions, $done, %how) = @_;
    return $done->() unless @$positions;
    my $cluster = $self->{cluster};
    $self->{positions}->add([map { { %$_, topic_id => $cluster->topic_id($_->{topic}) } } @$positions], $done, %how);
    return $self->_send;
}

# Runs $then->() once no commit is under way, nor wanted.
sub when_idle {
    my ($self, $then) = @_;
    return $then->() if $self->is_idle;
    push @{ $self->{after} }, $then;
    return;
}

sub is_idle { return $_[0]{positions}->is_idle }

sub forget {
    my ($self, @keys) = @_;
    return $self->{positions}->forget(@keys);
}

# Who is out of the group writes nothing of it any more.
sub drop_what_is_out {
    my ($self) = @_;
    $self->_tell($self->{positions}->drop({ reason => OUT_OF_GROUP }));
    $self->{request}->end if $self->is_idle && $self->{request};
    return $self->_go_on;
}

# What it waited for may be there.
sub hurry {
    my ($self) = @_;
    return $self->{request} ? $self->{request}->hurry : undef;
}

# What is sent, and as which member, is only known once there is a connection: who has
# waited for one commits what is newest by then.
sub _send {
    my ($self) = @_;
    return if $self->{is_sending} || $self->is_idle || $self->{member}->has_ended;
    my ($member, $outbox) = @$self{qw(member outbox)};
    $self->{is_sending} = 1;
    my $request = $self->{coordinators}->request(group => $member->group_id,
        name  => 'OffsetCommit',
        send  => sub { my ($conn, $answered) = @_; $self->_send_newest($conn, $answered) },
        again => sub { $self->{trouble} ? 1 : 0 },
        alive => sub { !$self->is_idle },
        over  => sub { delete @$self{qw(is_sending request)} },
        done  => sub { $outbox->enter($self, _sent => @_) },
        $member->state eq 'leaving' ? (op_patience => LEAVING_PATIENCE) : (),
    );
    $self->{request} = $request unless $request->has_ended;
    return;
}

sub _send_newest {
    my ($self, $conn, $answered) = @_;
    $self->_leave_out;
    my @positions = $self->{positions}->take;
    return $answered->({ topics => [] }) unless @positions;
    $self->{sent} = { positions => \@positions, generation => $self->{member}->generation };
    return $self->send_positions($conn, $self->{outbox}->entry($self, _answered => $conn, $answered), @positions);
}

sub send_positions {
    my ($self, $conn, $answered, @positions) = @_;
    my $member = $self->{member};
    my $topics = $self->{cluster}->with_ids(EV::Kafka::Partitions::offsets_by_topic(@positions));
    $conn->offset_commit($member->identity, $topics, $answered, $member->record->{group_instance_id});
    return;
}

# A position belongs to the topic that had the name when it was wanted. One that has been deleted, as both its coordinator and metadata say, would be refused
# for ever.
sub _leave_out {
    my ($self) = @_;
    my $positions = $self->{positions};
    return $self->_tell($positions->drop({ reason => OUT_OF_GROUP })) if $self->{member}->is_out;
    my @void = grep { $self->_is_void($positions->wanted_of($_)) } $positions->wanted;
    $self->_tell($positions->drop({ reason => EV::Kafka::Error->without_code(OTHER_TOPIC)->at(operation => 'OffsetCommit') }, @void))
        if @void;
    my $refused = $self->{without_topic};
    delete @$refused{ grep { !$self->{cluster}->is_gone(@{ $refused->{$_} }) } keys %$refused };
    my @gone = grep { $refused->{$_} } $positions->wanted or return;
    return $self->_tell($positions->drop({ gone => 1, reason => _coded(UNKNOWN_TOPIC_OR_PARTITION) }, @gone));
}

sub _is_void {
    my ($self, $position) = @_;
    my ($was, $is) = ($position->{topic_id}, $self->{cluster}->topic_id($position->{topic}));
    return defined $was && defined $is && $was ne $is;
}

# The topic is another one: what was stored of it says nothing any more.
sub recreated { my ($self, $topic) = @_; return $self->{positions}->forget_topic($topic) }

sub _coded { return EV::Kafka::Error->of_code($_[0], 'for %s') }

# The request goes on from here, again or not, when the partitions have been seen to.
sub _answered {
    my ($self, $conn, $answered, $answer, $error) = @_;
    my $sent = delete $self->{sent} or return $answered->($answer, $error);
    $error //= 'incomplete answer' if $answer && $answer->{truncated};
    my $member  = $self->{member};
    my $is_new  = $self->_has_moved_on($sent);
    my $codes   = defined $error ? {} : _codes_of($answer, map { EV::Kafka::Partitions::key_of($_) } @{ $sent->{positions} });
    # A connection that lives on has refused the request: the broker does not know it.
    my $verdict = $self->_verdicts($sent, $codes, $error, !$answer && $conn->connected);
    my ($lost)  = $is_new ? () : grep { $MEMBERSHIP_ERROR{$_} } values %$codes;
    my @unknown = grep { EV::Kafka::Error::is_unknown_topic($codes->{ EV::Kafka::Partitions::key_of($_) } || 0) } @{ $sent->{positions} };
    $self->{without_topic}{ EV::Kafka::Partitions::key_of($_) } = [@$_{qw(topic partition)}] for @unknown;
    $self->{cluster}->refresh if @unknown;
    $self->_heed(values %$codes);
    $self->_count_trouble($verdict, values %$codes);
    $self->{is_losing} = defined $lost;
    $self->_tell($self->{positions}->settle($verdict));
    $self->{is_losing} = 0;
    $answered->($answer, $error);
    return unless defined $lost && !$member->has_ended && $member->state eq 'stable';
    return $member->tells(commit_refused => $lost);
}

# It waits for no further try.
sub _sent {
    my ($self, $answer, $error) = @_;
    # The coordinator will never be found.
    $self->_tell($self->{positions}->drop({ reason => $error })) if $error && !$answer;
    return $self->_go_on;
}

sub _go_on {
    my ($self) = @_;
    $self->_send;
    return unless $self->is_idle;
    $_->() for splice @{ $self->{after} };
    return;
}

sub _tell {
    my ($self, @ended) = @_;
    $_->[0]->($_->[1]) for @ended;
    return;
}

# --- what an answer means -----------------------------------------------------------

# Whether the group has another generation, or the member another epoch, than the one that was
# sent, and the member still is one.
sub _has_moved_on {
    my ($self, $sent) = @_;
    return !$self->{member}->is_out && $sent->{generation} != $self->{member}->generation;
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

# What EV::Kafka::Group::Positions calls so; nothing of what is stored.
sub _verdicts {
    my ($self, $sent, $codes, $error, $is_final) = @_;
    my $may_again = !$self->{member}->is_out && !$self->_is_out_of_patience;
    my %verdict;
    for my $key (map { EV::Kafka::Partitions::key_of($_) } @{ $sent->{positions} }) {
        my $code = $codes->{$key};
        next unless defined $error || $code;
        my $again = $may_again && (defined $error ? !$is_final : $self->_may_commit_again($sent, $code));
        $verdict{$key} = $again ? { again => 1 } : { reason => $self->_reason($code, $error, $is_final) };
    }
    return \%verdict;
}

sub _reason {
    my ($self, $code, $error, $is_final) = @_;
    my $member = $self->{member};
    my $reason = !defined $error ? _coded($code) : EV::Kafka::Error->from($member->is_out && !$is_final ? OUT_OF_GROUP : $error);
    return $reason->at(operation => 'OffsetCommit', broker => $self->{coordinators}->node_id(group => $member->group_id));
}

sub _may_commit_again {
    my ($self, $sent, $code) = @_;
    return 1 if $code == STALE_MEMBER_EPOCH || EV::Kafka::Error::is_unknown_topic($code);
    return 1 if EV::Kafka::Error::is_retriable_by_coordinator($code, ($self->{trouble} || {})->{unknown} || 0);
    return $MEMBERSHIP_ERROR{$code} && $self->_has_moved_on($sent);
}

# As long as a rebalance may take; leaving has a limit of its own.
sub _is_out_of_patience {
    my ($self) = @_;
    my $member = $self->{member};
    return 0 if $member->state eq 'leaving';
    my $since = ($self->{trouble} || {})->{since} // return 0;
    return $self->{loop}->now - $since > $member->record->{rebalance_timeout} / 1000;
}

sub _count_trouble {
    my ($self, $verdict, @codes) = @_;
    return delete $self->{trouble} unless grep { $_->{again} } values %$verdict;
    my $trouble = $self->{trouble} ||= { since => $self->{loop}->now, unknown => 0 };
    $trouble->{unknown}++ if grep { EV::Kafka::Error::is_unknown($_) } @codes;
    return;
}

# What must be found out before another try makes sense.
sub _heed {
    my ($self, @codes) = @_;
    my @refused = grep { $_ } @codes or return;
    $self->{coordinators}->refused(group => $self->{member}->group_id, @refused);
    $self->{member}->tells('epoch_is_stale') if grep { $_ == STALE_MEMBER_EPOCH } @refused;
    return;
}

# --- without being asked --------------------------------------------------------

sub begins_periodically {
    my ($self) = @_;
    my $seconds = $self->{member}->record->{auto_commit_interval} or return;
    $self->{timer} = $self->{loop}->timer($seconds, $self, '_commit_periodically');
    return;
}

sub _commit_periodically {
    my ($self) = @_;
    my $member = $self->{member};
    $self->begins_periodically;
    return if $member->state ne 'stable' || !$self->is_idle;
    return $self->add([$self->moved_positions], sub {
        my ($error) = @_;
        # What has been lost with the membership is told with it.
        return if !defined $error || $member->has_ended || $member->is_out || $self->{is_losing};
        $self->{outbox}->report(EV::Kafka::Error->from($error)->at(operation => 'OffsetCommit')
            ->of("group '${\ $member->group_id }': commit"));
    });
}

# No timer of it fires any more.
sub rests {
    my ($self) = @_;
    delete $self->{timer};
    return;
}

# Of records whose handler has returned, as far as that is not stored yet.
sub moved_positions {
    my ($self) = @_;
    my $positions = $self->{positions};
    return grep { $_->{offset} != ($positions->acknowledged(EV::Kafka::Partitions::key_of($_)) // -1) }
        $self->{consumer}->handled_positions;
}

# A commit on leaving cannot wait behind one that nobody answers: the coordinator is
# looked for again.
sub leaves {
    my ($self) = @_;
    $self->{timer} = $self->{loop}->timer(LEAVING_PATIENCE, $self, '_drop_stuck');
    # What waits for another try does so with less patience.
    return if $self->{positions}->is_under_way || !$self->{request};
    $self->{request}->end;
    return $self->_send;
}

sub _drop_stuck {
    my ($self) = @_;
    my ($coordinators, $group_id) = ($self->{coordinators}, $self->{member}->group_id);
    return if !$self->{positions}->is_under_way || $coordinators->is_blocked(group => $group_id);
    my $node_id = $coordinators->node_id(group => $group_id);
    return defined $node_id ? $self->{cluster}->close_link(group => $node_id) : undef;
}

# Nobody will hear of anything any more but this.
sub ends {
    my ($self, $error) = @_;
    $self->rests;
    $self->{after} = [];
    $self->{request}->end if $self->{request};
    $self->fail_waiting($error);
    $self->_tell($self->{positions}->fail($error));
    $self->_end_call($_, undef, $error) for values %{ $self->{calls} };
    return;
}

# The same without a word.
sub falls_silent {
    my ($self) = @_;
    delete $_->{timer} for values %{ $self->{calls} };
    @$self{qw(calls waiting positions)} = ({}, [], EV::Kafka::Group::Positions->new);
    return $self->ends('');
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Commits - what an EV::Kafka client commits to its group

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself: C<commit>, C<committed>,
and the commits that nobody has to ask for. One OffsetCommit at a time is under way, see
L<EV::Kafka::Group::Positions>. A commit during a rebalance waits for its end, and is reported as
failed for partitions that the member then no longer has.

=head1 METHODS

=head2 new(%about)

For a member.

=head2 commit(\@offsets, $done), committed(\@partitions, $done)

What the program calls for.

=head2 stable, fail_waiting($error)

The group is stable; or it will not be any more, and those who wait for that hear why.

=head2 add(\@positions, $done, %how), when_idle($then), is_idle, forget(@partitions)

Positions to be stored, as L<EV::Kafka::Group::Positions> has them; what goes on when nothing is left; partitions
of which nothing is known any more.

=head2 recreated($topic)

Positions in it, of before, are not committed: it is another topic now.

=head2 hurry, drop_what_is_out

The next try may be made now; nothing that is wanted is sent any more.

=head2 begins_periodically, rests, moved_positions, send_positions($conn, $answered, @positions)

Commits without being asked, until the member leaves or stops; what they would send.

=head2 leaves, ends($error), falls_silent

With less patience; nothing any more, and whoever waits hears why, or does not.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
