package EV::Kafka::Group;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Farewell;
use EV::Kafka::Group::Assignment;
use EV::Kafka::Group::Classic;
use EV::Kafka::Group::CommitArguments;
use EV::Kafka::Group::Commits;
use EV::Kafka::Group::Committed;
use EV::Kafka::Group::ConsumerProtocol;
use EV::Kafka::Group::Leader;
use EV::Kafka::Group::Member;
use EV::Kafka::Group::Outside;
use EV::Kafka::Group::Session;
use EV::Kafka::Group::Subscription;
use EV::Kafka::Group::Topics;

# A client's part in a consumer group, from subscribe to its end:
#   member       who it is; there is none without a group. With it come
#   topics, session, commits, assignment, leader, protocol    which see to their parts of it
#   next         the subscription that comes when this one has been left
#   is_leaving   it has been told to leave
#   leavers      the callbacks of unsubscribe
#   leave_error  what leaving has not done
#   leave_timer  until it counts as done
#   goodbye      the request that tells the coordinator, while somebody waits for it
#   outside      EV::Kafka::Group::Outside: offsets of groups that this client is not in
#   last         what this client has shared out last as a leader
#   looked_for   topics that were asked for because they are not known
# Published in {cfg}: group.

use constant NOT_SUBSCRIBED => 'not subscribed to a group';

my %PROTOCOL = (classic => 'EV::Kafka::Group::Classic', consumer => 'EV::Kafka::Group::ConsumerProtocol');

my @PARTS = qw(protocol leader assignment commits session topics);

# Seconds that leaving may take before it counts as done: the coordinator finds
# out by itself, after the session timeout.
use constant LEAVE_PATIENCE => 5;

# FENCED_INSTANCE_ID and UNRELEASED_INSTANCE_ID: the static member is another one.
my %IS_ANOTHERS = map { $_ => 1 } 82, 111;

# What the parts of a member tell.
my %TOLD = (
    stopped        => '_stop',
    may_leave      => '_say_goodbye',
    taken          => sub { my ($self, $has_revoked) = @_; $self->{protocol}->taken($has_revoked) },
    shared_out     => sub { my ($self, $assignments) = @_; $self->{protocol}->sync($assignments) },
    commit_refused => sub { my ($self, $code) = @_; $self->{protocol}->refused(OffsetCommit => $code) },
    epoch_is_stale => sub { my ($self) = @_; $self->{protocol}->catch_up },
    revoked        => sub { my ($self, @positions) = @_; $self->{tells}->(revoked => @positions) },
    resumed        => sub { my ($self, $key) = @_; $self->{tells}->(resumed => $key) },
);

# Tells revoked(@positions) of partitions that go, and resumed($key) of one that comes with a
# committed offset. $below{is_here}->(): whether this is the process that may speak.
sub new {
    my ($class, %below) = @_;
    my $self = bless { map({ $_ => $below{$_} } qw(loop outbox options cluster coordinators consumer tells is_here)) }, $class;
    $self->{options}{group} = undef;
    $self->{last}    = \my $last;
    $self->{outside} = EV::Kafka::Group::Outside->new(%below);
    return $self;
}

# --- what the program calls -------------------------------------------------------

sub subscribe {
    my ($self, @arguments) = @_;
    my $subscription = EV::Kafka::Group::Subscription->parse($self->_defaults, @arguments);
    return $self->_begin($subscription) unless $self->{member};
    $self->{next} = $subscription;
    return $self->_leave;
}

# What the client was given for its groups.
sub _defaults {
    my ($self) = @_;
    my $options = $self->{options};
    return { map({ defined $options->{$_} ? ($_ => $options->{$_}) : () } 'auto_offset_reset'), %{ $options->{subscription} || {} } };
}

sub unsubscribe {
    my ($self, $cb) = @_;
    delete $self->{next};
    return $self->{member} ? $self->_leave($cb) : $self->{outbox}->call($cb);
}

sub commit {
    my ($self, @arguments) = @_;
    my ($given, $group_id, $cb) = EV::Kafka::Group::CommitArguments->offsets(@arguments);
    my $done = sub {
        my (undef, $error) = @_;
        $error = EV::Kafka::Error->from($error)->at(operation => 'OffsetCommit') if defined $error;
        return $self->{outbox}->call($cb, $error) if $cb;
        return defined $error ? $self->{outbox}->report($error->of('commit')) : undef;
    };
    return $self->{outside}->commit($group_id, $given || [$self->{consumer}->positions], $done) if $self->_is_outside($group_id);
    return $self->{member} ? $self->{commits}->commit($given, $done) : $done->(undef, NOT_SUBSCRIBED);
}

sub committed {
    my ($self, @arguments) = @_;
    my ($given, $group_id, $cb) = EV::Kafka::Group::CommitArguments->partitions(@arguments);
    my $done = sub {
        my ($committed, $error) = @_;
        $error = EV::Kafka::Error->from($error)->at(operation => 'OffsetFetch') if defined $error;
        return $self->{outbox}->call($cb, $committed, $error);
    };
    return $self->{outside}->committed($group_id, $given || [map { [@$_{qw(topic partition)}] } $self->{consumer}->assignments], $done)
        if $self->_is_outside($group_id);
    return $self->{member} ? $self->{commits}->committed($given, $done) : $done->(undef, NOT_SUBSCRIBED);
}

# Whether a group is meant that this client is no member of.
sub _is_outside {
    my ($self, $group_id) = @_;
    return defined $group_id && $group_id ne ($self->group_id // '');
}

# The topics; none without a group.
sub subscription {
    my ($self) = @_;
    return $self->{member} ? [@{ $self->{member}->record->{topics} }] : [];
}

# Undef without a group.
sub stats {
    my ($self) = @_;
    my $member = $self->{member} or return undef;
    my $record = $member->record;
    return {
        map({ $_ => $record->{$_} } qw(group_id group_protocol group_instance_id member_id generation state)),
        partitions => scalar $self->{consumer}->assignments,
    };
}

# --- what others ask and tell -------------------------------------------------------

# The generation, the member's id and its instance id, if it is a member of that group: the
# broker refuses what a member that was thrown out sends (KIP-447).
sub member {
    my ($self, $group_id) = @_;
    my $member = $self->{member};
    return (undef, undef) unless $member && $member->group_id eq $group_id && length $member->member_id;
    return @{ $member->record }{qw(generation member_id group_instance_id)};
}

# Of the group that it is in.
sub group_id   { return $_[0]{member} ? $_[0]{member}->group_id : undef }
sub generation { return $_[0]{member} ? $_[0]{member}->generation : -1 }

# An abort puts back a partition that was given up, and may come back.
sub goes_back {
    my ($self, @where) = @_;
    return $self->{member} ? $self->{assignment}->goes_back(@where) : undef;
}

sub metadata_changed {
    my ($self) = @_;
    return unless $self->{member};
    $self->{outbox}->watch($self, 'waits_for_topics');
    $self->{topics}->look;
    return $self->{protocol}->metadata_changed;
}

sub recreated {
    my ($self, $topic) = @_;
    return $self->{member} ? $self->{commits}->recreated($topic) : undef;
}

# See EV::Kafka::Waits. Who asks for all topics is not told of those that he may not see: each is asked for.
sub waits_for_topics {
    my ($self) = @_;
    my ($member, $cluster) = @$self{qw(member cluster)};
    return unless $member && $cluster->is_connected;
    my @missing = grep { !$cluster->is_known($_) } $self->{topics}->named;
    $cluster->want($_) for grep { !$self->{looked_for}{$_}++ } @missing;
    return map { $self->_wait_for_topic($_) } @missing;
}

sub _wait_for_topic {
    my ($self, $topic) = @_;
    my $group_id = $self->{member}->group_id;
    my ($reason, $text) = $self->{cluster}->trouble($topic) or return;
    return { subject => "topic $topic", reason => $reason, text => "group '$group_id': $text; nothing of it can be assigned",
        about => { topic => $topic, group => $group_id } };
}

# A position is known of which on_assign has not told yet.
sub positioned {
    my ($self) = @_;
    return $self->{member} ? $self->{assignment}->positioned : undef;
}

# Before records are handed out: whether they still are this member's is asked first.
sub before_delivery {
    my ($self) = @_;
    return $self->{member} && $self->{session}->has_overslept ? $self->{protocol}->beat : undef;
}

# What a leader would share out among these members with the sticky assignor.
sub share_out {
    my ($self, $members, $topics) = @_;
    my $leader = EV::Kafka::Group::Leader->new(map { $_ => $self->{$_} } qw(cluster last));
    return $leader->share_out('sticky', $leader->read_members($members, 'sticky', $topics), [map { $_->{member_id} } @$members]);
}

# --- the beginning --------------------------------------------------------------

sub _begin {
    my ($self, $record) = @_;
    my $consumer = $self->{consumer};
    my $member   = $self->_become($record);
    weaken(my $weak = $self);
    EV::Kafka::Farewell->expect($self => sub { $weak && $weak->{is_here}->() ? $weak->_last_words(@_) : undef });
    $consumer->replace([]);
    $consumer->resets_to($record->{auto_offset_reset});
    $consumer->owned_by($record->{group_id});
    $consumer->keep_positions(1);
    $consumer->counts_done($record->{max_in_progress});
    $consumer->consume;
    # Patterns are matched with what there is, not with what there was.
    $self->{cluster}->refresh if @{ $record->{patterns} } && $self->{cluster}->is_connected;
    return $self->{cluster}->when_connected({
        cb  => sub { },    # closed before it began
        run => sub { $weak->{outbox}->enter($weak, _enter => $member) if $weak },
    });
}

sub _become {
    my ($self, $record) = @_;
    my %below = map { $_ => $self->{$_} } qw(loop outbox options cluster coordinators consumer);
    weaken(my $weak = $self);
    my $member = $below{member} = EV::Kafka::Group::Member->new(%below, record => $record, tells => sub {
        my ($news, @about) = @_;
        my $told = $TOLD{$news};
        return $weak ? $weak->$told(@about) : undef;
    });
    $below{topics}     = EV::Kafka::Group::Topics->new(%below);
    $below{session}    = EV::Kafka::Group::Session->new(%below);
    $below{committed}  = EV::Kafka::Group::Committed->new(%below, group_id => $record->{group_id});
    $below{commits}    = EV::Kafka::Group::Commits->new(%below);
    $below{assignment} = EV::Kafka::Group::Assignment->new(%below);
    $below{leader}     = EV::Kafka::Group::Leader->new(%below, last => $self->{last});
    $below{protocol}   = $PROTOCOL{ $record->{group_protocol} }->new(%below);
    @$self{ 'member', @PARTS } = @below{ 'member', @PARTS };
    @$self{qw(is_leaving leavers leave_error)} = (0, [], undef);
    $self->{options}{group} = $record;
    $self->{looked_for}     = {};
    return $member;
}

sub _enter {
    my ($self, $member) = @_;
    return if $member->has_ended;
    $self->{topics}->look;
    $self->{leader}->watch;
    $self->{commits}->begins_periodically;
    $self->{outbox}->watch($self, 'waits_for_topics');
    return $self->{protocol}->join;
}

# --- the end --------------------------------------------------------------------

# The partitions are given up first, with a commit; then the coordinator hears of it.
sub _leave {
    my ($self, $cb) = @_;
    my $member = $self->{member};
    push @{ $self->{leavers} }, $cb if $cb;
    return if $self->{is_leaving}++;
    return $self->{assignment}->let_go(sub { $self->_leave_now($member) });
}

sub _leave_now {
    my ($self, $member) = @_;
    my $was = $member->state;
    return if $member->has_ended;
    $self->_rest(leaving => 'the group has been left');
    $self->{leave_timer} = $self->{loop}->timer(LEAVE_PATIENCE, $self, '_leave_unanswered');
    $self->{commits}->leaves;
    my $commits = $member->record->{auto_commit} && $was ne 'stopped' && !$member->is_out;
    return $self->{assignment}->give_up(sub { 1 }, $commits, sub {
        my ($error) = @_;
        return if $member->has_ended;
        $self->{leave_error} = $error;
        return $was eq 'stopped' ? $self->_left : $self->_say_goodbye;
    });
}

# Nothing is begun any more.
sub _rest {
    my ($self, $state, $reason) = @_;
    $self->{member}->becomes($state);
    $self->{member}->next_attempt;
    $self->{$_}->rests for qw(protocol leader assignment commits);
    $self->{consumer}->keep_positions(0);
    $self->{consumer}->stop_consuming;
    return $self->{commits}->fail_waiting($reason);
}

# Whatever the coordinator says to it: it is done with us.
sub _say_goodbye {
    my ($self) = @_;
    my ($member, $protocol) = @$self{qw(member protocol)};
    return $self->_left unless $protocol->must_leave;
    return if $protocol->must_wait_for_id;
    my $outbox  = $self->{outbox};
    my $request = $self->_part(done => sub { $outbox->enter($self, _goodbye_said => $member) });
    $self->{goodbye} = $request unless $request->has_ended;
    return;
}

# Again, where another coordinator or another try may help.
sub _part {
    my ($self, %how) = @_;
    my ($member, $protocol) = @$self{qw(member protocol)};
    return $self->{coordinators}->request(group => $member->group_id,
        name => $protocol->FAREWELL,
        send => sub { my ($conn, $answered) = @_; $protocol->part($conn, $answered) },
        %how,
    );
}

sub _goodbye_said {
    my ($self, $member) = @_;
    delete $self->{goodbye};
    return $member->has_ended ? undef : $self->_left;
}

# A commit that nobody has answered is not known to be done.
sub _leave_unanswered {
    my ($self) = @_;
    $self->{leave_error} //= "no answer within ${\ LEAVE_PATIENCE } seconds"
        if $self->{member}->record->{auto_commit} && !$self->{commits}->is_idle;
    return $self->_left;
}

sub _left {
    my ($self) = @_;
    my ($consumer, $outbox, $group_id) = (@$self{qw(consumer outbox)}, $self->{member}->group_id);
    my ($error, @leavers) = ($self->{leave_error}, @{ $self->{leavers} });
    # Behind what still waits there nothing would be answered.
    $self->{coordinators}->close_blocked(group => $group_id);
    $self->{session}->confirmed;
    $self->_end($error // 'the group has been left');
    $consumer->change([]);
    my $next = delete $self->{next};
    $self->_begin($next) if $next;
    $error = EV::Kafka::Error->from($error)->at(operation => 'OffsetCommit') if defined $error;
    $outbox->report($error->of('unsubscribe: commit')) if defined $error && !@leavers;
    $outbox->call($_, grep { defined } $error) for @leavers;
    return;
}

# There is no member any more.
sub _end {
    my ($self, $error) = @_;
    my $member = delete $self->{member};
    my %part;
    @part{@PARTS} = delete @$self{@PARTS};
    my $goodbye = delete $self->{goodbye};
    delete @$self{qw(is_leaving leave_timer leavers leave_error)};
    $self->{options}{group} = undef;
    EV::Kafka::Farewell->forget($self);
    $self->{consumer}->owned_by(undef);
    $self->{consumer}->resets_to(undef);
    $self->{consumer}->counts_done(undef);
    $member->ends;
    $goodbye->end if $goodbye;
    $part{$_}->rests for qw(protocol leader);
    $part{assignment}->ends;
    return $part{commits}->ends($error);
}

# Nothing more can be done: on_error hears why. The coordinator, which may well think
# that it has a member, hears of it too, unless it has the name for another one.
sub _stop {
    my ($self, $reason, $code) = @_;
    my $member = $self->{member};
    $reason = EV::Kafka::Error->from($reason);
    $member->goes_out;
    $self->_rest(stopped => $reason);
    $self->{consumer}->owned_by(undef);
    $self->{assignment}->give_up(sub { 1 }, 0, sub { });
    return $self->{outbox}->then($self, _stopped => $member, $reason, !$IS_ANOTHERS{ $code // 0 });
}

sub _stopped {
    my ($self, $member, $reason, $is_ours) = @_;
    return if $member->has_ended;
    $self->{session}->confirmed;
    # Nobody waits for it.
    $self->_part(patience => LEAVE_PATIENCE, done => sub { }) if $is_ours && $self->{protocol}->must_leave;
    return $self->{outbox}->report($reason->of("group '${\ $member->group_id }'")->as_fatal);
}

# The client closes: what can be said without waiting is said, nothing else.
sub close {
    my ($self, $error) = @_;
    delete $self->{next};
    $self->{outside}->close($error);
    return unless $self->{member};
    my @leavers = @{ $self->{leavers} };
    $self->_part_silently;
    $self->_end($error);
    $self->{outbox}->call($_, $error) for @leavers;
    return;
}

# One write, and no answer is waited for. The coordinator reads it all the same.
sub _part_silently {
    my ($self) = @_;
    my ($member, $consumer) = @$self{qw(member consumer)};
    my $conn = $self->{coordinators}->ready_conn(group => $member->group_id) or return;
    return if $member->member_id eq '' || $member->state eq 'stopped';
    # A callback that has ended the process, and with it the client, will not return.
    my @done = $consumer->is_delivering ? $consumer->positions_to_commit : $consumer->handled_positions;
    my @positions = $member->record->{auto_commit} && $member->is_member ? @done : ();
    $self->{commits}->send_positions($conn, sub { }, @positions) if @positions;
    return $self->{protocol}->part($conn, sub { });
}

# In a forked child nobody is told.
sub abandon {
    my ($self) = @_;
    EV::Kafka::Farewell->forget($self);
    $self->{outside}->abandon;
    my $member = delete $self->{member} or return;
    $member->ends;
    $self->{commits}->falls_silent;
    $self->{assignment}->ends;
    delete @$self{@PARTS, qw(is_leaving next goodbye leave_timer leavers)};
    $self->{options}{group} = undef;
    return;
}

# --- the end of the program ---------------------------------------------------------

# The program ends without having closed the client. What EV::Kafka::Farewell sends on that
# loop, or nothing; what is sent here and now, since a new connection would ask the program for
# its token.
sub _last_words {
    my ($self, $loop) = @_;
    my $member = $self->{member};
    return if !$member || $member->member_id eq '' || $member->state eq 'stopped';
    my ($commits, $protocol, $coordinators, $cluster) = @$self{qw(commits protocol coordinators cluster)};
    my @positions = $member->record->{auto_commit_interval} && $member->is_member ? $commits->moved_positions : ();
    my $leaves    = $protocol->must_leave;
    my $node_id   = $coordinators->node_id(group => $member->group_id);
    my $broker    = defined $node_id ? $cluster->broker($node_id) : undef;
    my $old_conn  = $coordinators->ready_conn(group => $member->group_id);
    $member->becomes('stopped');
    return unless $broker && (@positions || $leaves);
    my $say = sub {
        my ($conn, $done) = @_;
        $commits->send_positions($conn, $leaves ? sub { } : $done, @positions) if @positions;
        $protocol->part($conn, $done) if $leaves;
    };
    return $self->_say_at_once($old_conn, $say) if ($self->{options}{sasl} || {})->{asks_for_token};
    return { conn => $cluster->new_conn($loop), host => $broker->{host}, port => $broker->{port}, say => $say };
}

# Over the connection that is there, and without waiting for what else is under way there:
# nobody is called any more.
sub _say_at_once {
    my ($self, $conn, $say) = @_;
    my $member = $self->{member};
    return if !$conn || $self->{coordinators}->is_blocked(group => $member->group_id);
    $member->ends;
    $self->{goodbye}->end if $self->{goodbye};
    $self->{commits}->falls_silent;
    $conn->on_error;
    $conn->on_disconnect;
    $say->($conn, sub { });
    # What is not written yet is written now.
    $conn->disconnect;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Group - an EV::Kafka client's part in a consumer group, from subscribe to unsubscribe

=head1 DESCRIPTION

An owner of L<EV::Kafka::Client>'s state, not for use by itself: how a membership begins and
ends. Each subscribe makes a new one of parts that know the ones before them: who the
member is (L<EV::Kafka::Group::Member>), what it wants (L<EV::Kafka::Group::Topics>), whether it has slept through its session
(L<EV::Kafka::Group::Session>), what it has done (L<EV::Kafka::Group::Commits>, L<EV::Kafka::Group::Committed>), what it owns
(L<EV::Kafka::Group::Assignment>), what it does as the leader (L<EV::Kafka::Group::Leader>), and how it
joins and stays (L<EV::Kafka::Group::Classic> or L<EV::Kafka::Group::ConsumerProtocol>).

=head1 METHODS

=head2 new(%below)

On the client's C<loop>, C<outbox>, C<options>, C<cluster>, C<coordinators> and C<consumer>; C<tells>, and
C<is_here>.

=head2 subscribe, unsubscribe, commit, committed

The client's.

=head2 subscription, stats

The topics; who the member is and how it stands, undef without one.

=head2 member($group_id), group_id, generation, goes_back($partition, $offset)

For transactions: who sends offsets, the generation or -1, and where an abort puts a partition
that was given up.

=head2 metadata_changed, recreated($topic), positioned, before_delivery

What the group has to know of.

=head2 waits_for_topics

Subscribed topics that are not there, as L<EV::Kafka::Waits> has it.

=head2 share_out(\@members, \@topics)

What a leader would.

=head2 close($error), abandon

The end of the client, and that of its copy in a forked child.

=head1 SEE ALSO

L<EV::Kafka>

=cut
