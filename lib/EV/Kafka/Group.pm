package EV::Kafka::Group;
use strict;
use warnings;

use Scalar::Util qw(refaddr weaken);

use EV::Kafka::Error;
use EV::Kafka::Farewell;
use EV::Kafka::Subscription;

# {group} is this client's part in a consumer group; a new one for every
# subscribe, which is how late answers are told apart:
#   topics, group_id, on_assign …   what subscribe was given
#   member_id, generation           who the coordinator says we are
#   state        joining, syncing, taking (offsets are looked up), stable,
#                giving_up (before the next joining), leaving, stopped
#   attempt      counts the tries to join; answers from before the last are void
#   assignor     the one that the group has chosen
#   assigned     [topic, partition] of the last assignment, taken or not
#   had          positions of the partitions that were given up last
#   is_out       the membership is lost, until the coordinator has taken us in again
#   unknown      by request, the answers that said nothing (EV::Kafka::Error's is_unknown)
#   parked       a JoinGroup or SyncGroup is under way: the key of its connection
#   leaves_with_id   as soon as JoinGroup has told under which one
#   waiting      what is done once the group is stable, or told why not
#   leavers      the callbacks of unsubscribe
# Timers stand in {group_timers} and operations in {group_ops}: neither may hold
# the client, and both end with it.

# How a member joins and stays, by group_protocol. What it does with an assignment
# and with commits is the same for both.
my %PROTOCOL = (
    classic => {
        join       => '_join_group',
        refused    => '_membership_refused',
        taken      => '_assignment_taken',
        must_leave => '_must_leave',
        part       => '_send_leave_group',
        heartbeat  => '_heartbeat',
        catch_up   => '_heartbeat',
    },
    consumer => {
        join       => '_enter_consumer_group',
        refused    => '_group_refused',
        taken      => '_reconciled',
        must_leave => '_must_leave_consumer_group',
        part       => '_send_leaving_heartbeat',
        heartbeat  => '_group_heartbeat',
        catch_up   => '_learn_epoch',
    },
);

# Seconds that leaving may take before it counts as done: the coordinator finds
# out by itself, after the session timeout.
use constant LEAVE_PATIENCE => 5;

# FENCED_INSTANCE_ID and UNRELEASED_INSTANCE_ID: the static member is another one.
my %IS_ANOTHERS = map { $_ => 1 } 82, 111;

# Seconds before a coordinator that was not ready, or would not have us, is asked again.
use constant {
    GROUP_BACKOFF     => 0.1,
    GROUP_BACKOFF_MAX => 1,
};

sub subscribe {
    my ($self, @arguments) = @_;
    $self->_check_open;
    my $subscription = EV::Kafka::Subscription->parse(@arguments);
    return $self->_begin_group($subscription) unless $self->{cfg}{group};
    $self->{cfg}{next_group} = $subscription;
    return $self->_leave_group;
}

sub unsubscribe {
    my ($self, $cb) = @_;
    $self->_check_open;
    delete $self->{cfg}{next_group};
    return $self->{cfg}{group} ? $self->_leave_group($cb) : $self->_call($cb);
}

sub _begin_group {
    my ($self, $group) = @_;
    my $cfg = $self->{cfg};
    @$cfg{qw(group group_timers)} = ($group, {});
    EV::Kafka::Farewell->expect($self);
    $self->_set_assignment([]);
    $self->_keep_positions(1);
    $self->_start_consuming;
    return $self->_when_connected({
        cb  => sub { },    # closed before it began
        run => sub { my ($self) = @_; $self->_enter_group($group) if $self->_is_group($group) },
    });
}

sub _enter_group {
    my ($self, $group) = @_;
    $self->_watch_topics;
    $self->_group_timer(commit => $group->{auto_commit_interval}, '_commit_periodically')
        if $group->{auto_commit_interval};
    return $self->_by_protocol($group, 'join');
}

sub _by_protocol {
    my ($self, $group, $what, @arguments) = @_;
    my $method = $PROTOCOL{ $group->{group_protocol} }{$what};
    return $self->$method($group, @arguments);
}

sub _is_group {
    my ($self, $group) = @_;
    my $cfg = $self->{cfg};
    return !$cfg->{closed} && $cfg->{group} && $cfg->{group} == $group;
}

# Whether the group still is at the try to join that $attempt counts.
sub _is_attempt {
    my ($self, $group, $attempt) = @_;
    return $self->_is_group($group) && ($group->{attempt} || 0) == $attempt;
}

sub _group_timer {
    my ($self, $name, $after, $method) = @_;
    $self->{cfg}{group_timers}{$name} = $self->_timer($after, _group_timer_fired => $name, $method);
    return;
}

# The same, later each time until the coordinator has taken us in.
sub _group_delay {
    my ($self, $group, $name, $method) = @_;
    my $wait = $self->_backoff(++$group->{delays}, GROUP_BACKOFF, GROUP_BACKOFF_MAX);
    return $self->_group_timer($name => $wait, $method);
}

sub _group_timer_fired {
    my ($self, $name, $method) = @_;
    my $group = $self->{cfg}{group} or return;
    delete $self->{cfg}{group_timers}{$name};
    return $self->$method($group);
}

# Whether the answer to such a request may be another one the next time.
sub _may_ask_again {
    my ($self, $group, $request, $code) = @_;
    return $self->_is_coordinator_error($code,
        EV::Kafka::Error::is_unknown($code) ? $group->{unknown}{$request}++ : 0);
}

# Whether the coordinator would take positions from it.
sub _is_member {
    my ($self, $group) = @_;
    return $group->{generation} >= 0 && !$group->{is_out};
}

# --- operations -----------------------------------------------------------------

# Something whose end somebody waits for: $done->($client, @result), once.
sub _begin_op {
    my ($self, $done) = @_;
    my $op = { done => $done };
    $self->{cfg}{group_ops}{ refaddr $op } = $op;
    return $op;
}

sub _end_op {
    my ($self, $op, @result) = @_;
    my $done = delete $op->{done} or return;
    delete $self->{cfg}{group_ops}{ refaddr $op };
    delete @$op{qw(timer limit)};
    return $done->($self, @result);
}

# One request to the group's coordinator: $send->($client, $conn, $answered, $request),
# where the request is the coordinator's operation, then
# $done->($client, $answer), $done->($client, undef, $error) when the answer will
# not come, or with a third argument that is true when nothing will ever help.
# With $attempt it is not sent once that is over. Further pairs are the operation's.
sub _ask_coordinator {
    my ($self, $group, $attempt, $send, $done, %more) = @_;
    my $op = $self->_begin_op($done);
    weaken(my $weak = $self);
    $self->_with_coordinator(group => $group->{group_id}, {
        %more,
        run => sub {
            my ($self, $request, $conn) = @_;
            return unless $op->{done};
            return $self->_end_op($op, undef, 'superseded')
                if defined $attempt && !$self->_is_attempt($group, $attempt);
            return $self->_send_to_coordinator($group, $request, $conn, $send, $op);
        },
        cb      => sub { $weak->_end_op($op, undef, $_[1], 1) if $weak },
        is_over => sub { !$op->{done} },
    });
    return $op;
}

sub _send_to_coordinator {
    my ($self, $group, $request, $conn, $send, $op) = @_;
    my ($purpose, $node_id) = @$request{qw(purpose node_id)};
    weaken(my $weak = $self);
    $send->($self, $conn, sub {
        my ($answer, $error) = @_;
        my $self = $weak or return;
        $error //= 'incomplete answer' if $answer && $answer->{truncated};
        # A connection that lives on has refused the request: the broker does not know it.
        return $self->_end_op($op, undef, $error, 1) if defined $error && !$answer && $conn->connected;
        if (defined $error && !$self->{cfg}{closed}) {
            $self->_request_failed($purpose => $node_id);
            $self->_forget_coordinator(group => $group->{group_id});
        }
        $self->_end_op($op, defined $error ? (undef, $error) : $answer);
    }, $request);
    return;
}

# --- the end --------------------------------------------------------------------

# The partitions are given up first, with a commit; then the coordinator hears of it.
sub _leave_group {
    my ($self, $cb) = @_;
    my $cfg   = $self->{cfg};
    my $group = $cfg->{group};
    push @{ $group->{leavers} }, $cb if $cb;
    return if $group->{state} eq 'leaving';
    my $was = $group->{state};
    $group->{state} = 'leaving';
    $group->{attempt}++;
    $cfg->{group_timers} = {};
    $self->_group_timer(leave => LEAVE_PATIENCE, '_leave_unanswered');
    $self->_group_timer(stuck => EV::Kafka::GroupOffsets::LEAVING_PATIENCE(), '_drop_stuck_commit');
    $self->_keep_positions(0);
    $self->_stop_consuming;
    $self->_fail_deferred($group, 'the group has been left');
    return unless $self->_is_group($group);
    return $self->_give_up($group, sub { 1 }, $group->{auto_commit} && $was ne 'stopped' && !$group->{is_out}, sub {
        my ($self, $error) = @_;
        return unless $self->_is_group($group);
        $group->{leave_error} = $error;
        return $self->_left_group($group) if $was eq 'stopped';
        return $self->_say_goodbye($group);
    });
}

# Whatever the coordinator says to it: it is done with us.
sub _say_goodbye {
    my ($self, $group) = @_;
    return $self->_left_group($group) unless $self->_by_protocol($group, 'must_leave');
    return $group->{leaves_with_id} = 1 if $group->{member_id} eq '';
    return $self->_send_goodbye($group, sub { my ($self) = @_; $self->_left_group($group) });
}

# Again, where another coordinator or another try may help.
sub _send_goodbye {
    my ($self, $group, $done) = @_;
    my $goodbye = $group->{goodbye} = { tries => 0 };
    my $op = $goodbye->{op} = $self->_begin_op(sub {
        my ($self) = @_;
        delete $group->{goodbye};
        my $asking = delete $goodbye->{asking};
        $self->_end_op($asking) if $asking;
        $done->($self);
    });
    $self->_try_goodbye($group, $goodbye);
    return $op;
}

sub _try_goodbye {
    my ($self, $group, $goodbye) = @_;
    $goodbye->{asking} = $self->_ask_coordinator($group, undef, sub {
        my ($self, $conn, $answered) = @_;
        $self->_by_protocol($group, part => $conn, $answered);
    }, sub {
        my ($self, $answer, $error, $is_final) = @_;
        delete $goodbye->{asking};
        return unless $goodbye->{op}{done};
        my $code = ($answer || {})->{error_code} || 0;
        return $self->_end_op($goodbye->{op}) if $is_final || !$self->_is_group($group)
            || $answer && !$self->_may_ask_again($group, goodbye => $code);
        $self->_coordinator_refused(group => $group->{group_id}, $code);
        $goodbye->{tries}++;
        return $self->_later($goodbye, _try_goodbye => $group);
    });
    return;
}

# Nobody waits for it.
sub _tell_of_end {
    my ($self, $group) = @_;
    return unless $self->_by_protocol($group, 'must_leave');
    my $op = $self->_send_goodbye($group, sub { });
    $op->{limit} = $self->_timer(LEAVE_PATIENCE, _end_op => $op);
    return;
}

# A commit that nobody has answered is not known to be done.
sub _leave_unanswered {
    my ($self, $group) = @_;
    $group->{leave_error} //= "no answer within ${\ LEAVE_PATIENCE } seconds"
        if $group->{auto_commit} && !$group->{commits}->is_idle;
    return $self->_left_group($group);
}

sub _left_group {
    my ($self, $group) = @_;
    my $cfg = $self->{cfg};
    return unless $self->_is_group($group);
    @$cfg{qw(group group_timers)} = (undef, {});
    EV::Kafka::Farewell->forget($self);
    # Behind what still waits there nothing would be answered.
    $self->{cluster}->close_link(split /:/, $group->{parked}) if $group->{parked};
    $self->_session_confirmed($group);
    $self->_change_assignment([]);
    my $next = delete $cfg->{next_group};
    $self->_begin_group($next) if $next;
    my @leavers = splice @{ $group->{leavers} || [] };
    my $error   = $group->{leave_error};
    delete $group->{commit_retry};
    # Unless it is the one that nobody waits for.
    $self->_end_op($group->{goodbye}{op}) if $group->{goodbye} && !$group->{goodbye}{op}{limit};
    $self->_commits_ended($group, $group->{commits}->fail($error // 'the group has been left'));
    $self->_report("unsubscribe: commit: $error") if defined $error && !@leavers;
    $self->_call($_, grep { defined } $error) for @leavers;
    return;
}

# Nothing more can be done: on_error hears why. The coordinator, which may well think
# that it has a member, hears of it too, unless it has the name for another one.
sub _stop_group {
    my ($self, $group, $reason, $code) = @_;
    @$group{qw(state is_out)} = ('stopped', 1);
    $group->{attempt}++;
    $self->{cfg}{group_timers} = {};
    $self->_keep_positions(0);
    $self->_stop_consuming;
    $self->_fail_deferred($group, $reason);
    return unless $self->_is_group($group);
    $self->_give_up($group, sub { 1 }, 0, sub { });
    $self->_session_confirmed($group);
    return if $self->{cfg}{closed};
    $self->_tell_of_end($group) unless $IS_ANOTHERS{ $code // 0 };
    return $self->_report("group '$group->{group_id}': $reason");
}

# The program ends without having closed the client. What EV::Kafka::Farewell sends, or
# nothing; what is sent here and now, since a new connection would ask the program for
# its token.
sub _last_words {
    my ($self, $loop) = @_;
    my $cfg   = $self->{cfg};
    my $group = $cfg->{group};
    return if !$group || $cfg->{closed} || !$self->_is_here;
    return if $group->{member_id} eq '' || $group->{state} eq 'stopped';
    my @positions = $group->{auto_commit_interval} && $self->_is_member($group) ? $self->_moved_positions($group) : ();
    my $leaves    = $self->_by_protocol($group, 'must_leave');
    my $node_id   = $self->{coordinators}->node_id(group => $group->{group_id});
    my $broker    = defined $node_id ? $cfg->{broker_map}{$node_id} : undef;
    my $old_conn  = $self->_ready_coordinator(group => $group->{group_id});
    $group->{state} = 'stopped';
    return unless $broker && (@positions || $leaves);
    my $say = sub {
        my ($conn, $done) = @_;
        $self->_send_positions($group, $conn, $leaves ? sub { } : $done, @positions) if @positions;
        $self->_by_protocol($group, part => $conn, $done) if $leaves;
    };
    return $self->_say_at_once($group, $old_conn, $say) if ($cfg->{sasl} || {})->{asks_for_token};
    return { conn => $self->{cluster}->new_conn($loop), host => $broker->{host}, port => $broker->{port}, say => $say };
}

# Over the connection that is there, and without waiting for what else is under way there:
# nobody is called any more.
sub _say_at_once {
    my ($self, $group, $conn, $say) = @_;
    return if !$conn || $group->{parked};
    delete $_->{done} for values %{ $self->{cfg}{group_ops} };
    $conn->on_error;
    $conn->on_disconnect;
    $say->($conn, sub { });
    # What is not written yet is written now.
    $conn->disconnect;
    return;
}

# The client closes: what can be said without waiting is said, nothing else.
sub _close_group {
    my ($self) = @_;
    my $cfg   = $self->{cfg};
    my $group = $cfg->{group};
    delete $cfg->{next_group};
    $cfg->{group_timers} = {};
    EV::Kafka::Farewell->forget($self);
    $self->_part_silently($group) if $group;
    delete $cfg->{group};
    $self->_fail_deferred($group, 'client closed') if $group;
    delete $group->{commit_retry} if $group;
    $self->_commits_ended($group, $group->{commits}->fail('client closed')) if $group;
    my @ops = values %{ $cfg->{group_ops} };
    $self->_end_op($_, undef, 'client closed') for @ops;
    $self->_call($_, 'client closed') for $group ? splice @{ $group->{leavers} || [] } : ();
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Group - an EV::Kafka client's part in a consumer group, from subscribe to unsubscribe

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself: C<subscribe>,
C<unsubscribe>, how a group ends, and how its coordinator is asked. How a member
joins and stays is L<EV::Kafka::Membership>, what it does as the leader
L<EV::Kafka::Leader>, what it owns L<EV::Kafka::Ownership>, what it has done
L<EV::Kafka::GroupOffsets>.

=head1 SEE ALSO

L<EV::Kafka>

=cut
