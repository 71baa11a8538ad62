package EV::Kafka::Group::Assignment;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Consumer::Cursor;
use EV::Kafka::Error;
use EV::Kafka::Group::Positions;
use EV::Kafka::Offsets::Reset;
use EV::Kafka::Partitions;

# What a member does with an assignment, whichever protocol brought it: it gives
# up what it no longer has, looks up where to go on with what is new, and tells
# the program of both.
#   assigned             [topic, partition] of the last assignment, taken or not
#   assigned_generation  in which it came
#   had          positions of the partitions that were given up last
#   taking       { attempt, revoked, unknown }: on_assign waits for the positions of [assigned, cursor] in unknown
#   telling      calls of on_assign that are not over
#   revoking     on_revoke is being called, or on_revoke_async has not called back: what comes after that, as
#                methods and their arguments
#   asked        { number, then, timer }: on_revoke_async has not called back
#   questions    counts its calls
#   committing   partitions that were given up and are still to be committed

# Seconds to wait for positions that are looked up when requests wait without end, and when
# others wait for what this member has just given up. What is not known by then comes in
# an on_assign of its own.
use constant {
    POSITIONS_PATIENCE => 30,
    REVOKED_PATIENCE   => 1,
};

# Of the rebalance timeout, what on_revoke_async may take: others wait from before the member has heard of
# it, and it has to commit and to say that it has let go.
use constant SHARE_OF_REBALANCE => 0.8;

sub new {
    my ($class, %about) = @_;
    return bless {
        map({ $_ => $about{$_} } qw(member loop outbox options consumer session committed commits)),
        assigned => [], assigned_generation => -1, had => {}, telling => 0, questions => 0,
    }, $class;
}

# No timer of it fires any more.
sub rests {
    my ($self) = @_;
    delete @$self{qw(positions_timer assign_timer)};
    return;
}

# Nothing comes of what on_revoke_async is asked.
sub ends {
    my ($self) = @_;
    delete @$self{qw(asked revoking)};
    return $self->rests;
}

# The [topic, partition], … that were assigned last, and the generation.
sub last_assigned { return @{ $_[0] }{qw(assigned assigned_generation)} }

sub committing { return @{ $_[0]{committing} || [] } }

# An abort puts back a partition that was given up, and may come back.
sub goes_back {
    my ($self, $key, $offset) = @_;
    $self->{had}{$key} = $offset if exists $self->{had}{$key};
    return;
}

# --- taking over ------------------------------------------------------------------

# Hands over [topic, partition], …; the group is stable when it is done, and "taken" is told.
sub take {
    my ($self, $partitions) = @_;
    my $member  = $self->{member};
    my $attempt = $member->attempt;
    $member->becomes('taking');
    $member->log(info => 'assigned ' . (join(', ', map { "$_->[0]:$_->[1]" } @$partitions) || 'nothing'));
    @$self{qw(assigned assigned_generation)} = ($partitions, $member->generation);
    my %stays   = map { ("$_->[0]:$_->[1]" => 1) } @$partitions;
    my $revokes = grep { !$stays{ EV::Kafka::Partitions::key_of($_) } } $self->{consumer}->assignments;
    return $self->give_up(sub { !$stays{ EV::Kafka::Partitions::key_of($_[0]) } }, $member->record->{auto_commit}, sub {
        return unless $member->is_at($attempt);
        my $has   = $self->{consumer}->assigned_by_key;
        my @added = grep { !$has->{"$_->[0]:$_->[1]"} } @$partitions;
        return $self->_find_offsets($attempt, \@added, $revokes);
    });
}

sub _find_offsets {
    my ($self, $attempt, $added, $revoked) = @_;
    my $member = $self->{member};
    return $self->find_positions($attempt, [], $revoked) unless @$added;
    return $self->{committed}->fetch($added, sub {
        my ($committed, $error, $epochs) = @_;
        return unless $member->is_at($attempt);
        return $member->tells(stopped => $error->of('OffsetFetch')) if $error;
        $member->tells(resumed => $_) for grep { defined $committed->{$_} } keys %$committed;
        return $self->find_positions($attempt, [map { $self->_added($_, $committed, $epochs) } @$added], $revoked);
    }, alive => sub { $member->is_at($attempt) });
}

# Where to go on with it.
sub _added {
    my ($self, $partition, $committed, $epochs) = @_;
    my ($topic, $number) = @$partition;
    my $key   = "$topic:$number";
    return {
        topic     => $topic,
        partition => $number,
        offset    => $committed->{$key} // $self->{had}{$key} // $self->{consumer}->reset_offset,
        # Tells whether what was read up to there still is in the log (KIP-320).
        defined $committed->{$key} ? (leader_epoch => $epochs->{$key}) : (),
    };
}

# What is new is the member's from here on, and fetched from once the program has been
# told of it. Partitions without a committed offset are looked up first.
sub find_positions {
    my ($self, $attempt, $added, $revoked) = @_;
    my $consumer = $self->{consumer};
    $self->{taking} = { attempt => $attempt, revoked => $revoked };
    if (@$added) {
        my %new = map { (EV::Kafka::Partitions::key_of($_) => $self->_cursor($_->{leader_epoch})) } @$added;
        $consumer->change([$consumer->assignments, @$added], %new);
    }
    my @unknown = map { [$_, $consumer->cursor($_)] } grep { $_->{offset} < 0 } $self->_untold;
    return $self->_taken unless @unknown;
    $self->{taking}{unknown} = \@unknown;
    my $patience = $self->{options}{request_timeout} || POSITIONS_PATIENCE;
    $patience = REVOKED_PATIENCE if $revoked && $patience > REVOKED_PATIENCE;
    $self->{positions_timer} = $self->{loop}->timer($patience, $self, '_taken');
    return;
}

# What has matched a pattern may go as it came.
sub _cursor {
    my ($self, $epoch) = @_;
    my $cursor = EV::Kafka::Consumer::Cursor->untold($epoch);
    my $record = $self->{member}->record;
    return @{ $record->{patterns} || [] } || defined $record->{subscribe_pattern} ? $cursor->may_vanish : $cursor;
}

# Partitions that on_assign has not been told of.
sub _untold {
    my ($self) = @_;
    my $consumer = $self->{consumer};
    return grep { $consumer->cursor($_)->is_untold } $consumer->assignments;
}

# Those whose position is known, or has to be said by the program.
sub _to_tell {
    my ($self) = @_;
    return grep { $_->{offset} >= 0 || $self->{consumer}->cursor($_)->is_stranded } $self->_untold;
}

# One of them has its position now. What else becomes known in this turn of the loop is
# told in the same on_assign.
sub positioned {
    my ($self) = @_;
    $self->{assign_timer} ||= $self->{loop}->timer(0, $self, '_assign_found');
    return;
}

sub _assign_found {
    my ($self) = @_;
    delete $self->{assign_timer};
    return $self->positioned if $self->{telling};
    return $self->_is_any_unknown ? undef : $self->_taken if $self->{taking};
    my @known = $self->_to_tell;
    return @known ? $self->_tell(@known) : undef;
}

# Looked at for every answer about many partitions, hence none of them again that has its position.
sub _is_any_unknown {
    my ($self) = @_;
    my ($consumer, $unknown) = ($self->{consumer}, $self->{taking}{unknown});
    pop @$unknown while @$unknown && !_lacks_position($consumer, @{ $unknown->[-1] });
    return scalar @$unknown;
}

sub _lacks_position {
    my ($consumer, $assigned, $cursor) = @_;
    return $assigned->{offset} < 0 && $cursor->is_untold && !$cursor->is_stranded && $consumer->is_current($assigned, $cursor);
}

sub _taken {
    my ($self) = @_;
    my $taking = delete $self->{taking} or return;
    delete $self->{positions_timer};
    my $member = $self->{member};
    return unless $member->is_at($taking->{attempt});
    $member->becomes('stable');
    $self->{had} = {};
    $self->{session}->confirmed;
    $self->_tell($self->_to_tell);
    return $self->{outbox}->then($self, _settled => @$taking{qw(attempt revoked)});
}

# on_assign has returned.
sub _settled {
    my ($self, $attempt, $revoked) = @_;
    my $member = $self->{member};
    return unless $member->is_at($attempt);
    $self->{commits}->stable;
    return $member->is_at($attempt) && $member->state eq 'stable' ? $member->tells(taken => $revoked) : undef;
}

# --- on_assign ------------------------------------------------------------------

# The program may set other offsets, in place or by assign; nothing is fetched before.
sub _tell {
    my ($self, @assigned) = @_;
    my $outbox = $self->{outbox};
    my @told   = map { { topic => $_->{topic}, partition => $_->{partition}, offset => _known($_->{offset}) } } @assigned;
    my @about  = map { {
        assigned => $assigned[$_],
        cursor   => $self->{consumer}->cursor($assigned[$_]),
        offset   => $assigned[$_]{offset},
        told     => $told[$_],
    } } 0 .. $#assigned;
    $self->{telling}++;
    $outbox->then($self, '_may_assign', 1);
    $outbox->call($self->{member}->record->{on_assign}, [@told]);
    return $outbox->then($self, _told => @about);
}

sub _known { my ($offset) = @_; return $offset == EV::Kafka::Offsets::Reset::AS_RESET() ? undef : $offset }

sub _may_assign {
    my ($self, $may) = @_;
    my $member = $self->{member};
    $self->{consumer}->owned_by($member->group_id, $may) unless $member->has_ended || $member->state eq 'stopped';
    return;
}

sub _told {
    my ($self, @about) = @_;
    $self->{telling}--;
    return if $self->{member}->has_ended;
    $self->_may_assign(0);
    my $consumer = $self->{consumer};
    for my $about (grep { $consumer->is_current(@$_{qw(assigned cursor)}) } @about) {
        my ($assigned, $offset) = ($about->{assigned}, $about->{told}{offset});
        $self->_begin_where_told($assigned, $offset) if defined $offset && "$offset" ne $about->{offset};
        $about->{cursor}->told;
    }
    $self->_report_stranded(map { EV::Kafka::Partitions::key_of($_->{assigned}) } grep { $_->{cursor}->is_stranded } @about);
    return $consumer->fetch_on;
}

sub _report_stranded {
    my ($self, @keys) = @_;
    return unless @keys;
    my $text = "group '${\ $self->{member}->group_id }': no offset of %s is committed, and auto_offset_reset is 'none':"
        . ' nothing is fetched until seek says where to begin';
    return $self->{outbox}->report(EV::Kafka::Group::Positions::told($text, \@keys));
}

sub _begin_where_told {
    my ($self, $assigned, $offset) = @_;
    return $self->{consumer}->begin_at($assigned, $offset + 0)
        if EV::Kafka::Partitions::is_integer($offset) && $offset >= EV::Kafka::Offsets::Reset::EARLIEST();
    my $error = EV::Kafka::Error->without_code("on_assign: the offset of $assigned->{topic}:$assigned->{partition} must be an offset, "
        . "-1 (latest) or -2 (earliest), not '$offset'");
    return $self->{outbox}->report($error->at(map { $_ => $assigned->{$_} } qw(topic partition)));
}

# --- giving up --------------------------------------------------------------------

# Everything, to join again: then $then->(), unless the attempt to do so is over.
sub surrender {
    my ($self, $commits, $then) = @_;
    my $member  = $self->{member};
    my $attempt = $member->next_attempt;
    $member->becomes('giving_up');
    return $self->give_up(sub { 1 }, $commits, sub { $then->() if $member->is_at($attempt) });
}

# Gives up the partitions that $goes->($assigned) picks: tells the program, which
# may commit in on_revoke, commits if that is wanted, and delivers nothing of them
# any more. Then, once every commit has been answered, $then->($error).
# What on_revoke itself calls for comes after that: nothing is revoked twice.
sub give_up {
    my ($self, $goes, $commits, $then) = @_;
    return $self->_give_up_later(give_up => $goes, $commits, $then) if $self->{revoking};
    my ($member, $consumer) = @$self{qw(member consumer)};
    # What is not sent yet would be another member's by now.
    $self->{commits}->drop_what_is_out if $member->is_out;
    my @gone = grep { $goes->($_) } $consumer->assignments;
    return $self->{commits}->when_idle($then) unless @gone;
    return $self->_tell_revoked(\@gone, _revoked => \@gone, $commits, $then);
}

# The program lets go of everything in its own time, while the member still is one; then $then->(). What
# is given up after that it has been told of.
sub let_go {
    my ($self, $then) = @_;
    my ($member, $consumer) = @$self{qw(member consumer)};
    return $then->()                              unless $member->record->{on_revoke_async} && !$member->is_out;
    return $self->_give_up_later(let_go => $then) if $self->{revoking};
    my @gone = $consumer->assignments or return $then->();
    # No rebalance is taken part in meanwhile.
    $member->becomes('giving_up') if $member->state eq 'stable';
    return $self->_tell_revoked(\@gone, _has_let_go => $then);
}

sub _has_let_go {
    my ($self, $then) = @_;
    my $next = $self->_revoking_ends;
    return if $self->{member}->has_ended;
    $then->();
    return $self->_give_up_next($next);
}

# Who is lost waits for nothing that is asked.
sub _give_up_later {
    my ($self, @what) = @_;
    push @{ $self->{revoking} }, \@what;
    return $self->{asked} && $self->{member}->is_out ? $self->_let_go($self->{asked}{number}) : undef;
}

sub _give_up_next {
    my ($self, $next) = @_;
    for my $what (@$next) {
        my ($method, @how) = @$what;
        $self->$method(@how);
    }
    return;
}

# What on_assign was never told of goes without a word, and of what the program has let go it knows.
sub _tell_revoked {
    my ($self, $gone, @then) = @_;
    my ($member, $consumer) = @$self{qw(member consumer)};
    $member->log(info => 'gives up ' . join ', ', map { EV::Kafka::Partitions::key_of($_) } @$gone);
    $self->{revoking} = [];
    $member->revokes(1);
    my @known    = grep { my $cursor = $consumer->cursor($_); !$cursor->is_untold && !$cursor->is_going } @$gone;
    my %position = map { (EV::Kafka::Partitions::key_of($_) => $_->{offset}) } $consumer->positions;
    my @told     = map { {
        topic => $_->{topic}, partition => $_->{partition}, offset => $position{ EV::Kafka::Partitions::key_of($_) } // _known($_->{offset}),
    } } @known;
    return $self->_ask_to_let_go(\@known, \@told, @then) if @known && $member->record->{on_revoke_async} && !$member->is_out;
    $self->{outbox}->call($self->_who_hears, \@told) if @known;
    return $self->{outbox}->then($self, @then);
}

sub _who_hears {
    my ($self) = @_;
    my ($member, $record) = ($self->{member}, $self->{member}->record);
    my $lets_go = $record->{on_revoke_async};
    return $member->is_out && $record->{on_lost} || ($lets_go ? sub { $lets_go->(@_, sub { }) } : $record->{on_revoke});
}

# Nothing more is delivered of what it has to let go, so that it may come to an end with it. Who dies
# does not call back.
sub _ask_to_let_go {
    my ($self, $known, $told, @then) = @_;
    my $record  = $self->{member}->record;
    my $seconds = SHARE_OF_REBALANCE * $record->{rebalance_timeout} / 1000;
    my $number  = ++$self->{questions};
    $self->{consumer}->lets_go(@$known);
    $self->{asked} = { number => $number, then => \@then,
        timer => $self->{loop}->timer($seconds, $self, _does_not_let_go => $number, $seconds, map { EV::Kafka::Partitions::key_of($_) } @$known) };
    weaken(my $weak = $self);
    my $done    = sub { $weak->{outbox}->enter($weak, _let_go => $number) if $weak; return };
    my $lets_go = $record->{on_revoke_async};
    return $self->{outbox}->call(sub {
        return if eval { $lets_go->($told, $done); 1 };
        my $died = $@;
        $done->();
        die $died;
    });
}

sub _does_not_let_go {
    my ($self, $number, $seconds, @keys) = @_;
    my $group_id = $self->{member}->group_id;
    my $subject  = "on_revoke_async of $group_id";
    $self->{outbox}->notice_over($subject);
    $self->{outbox}->notice($subject, EV::Kafka::Group::Positions::told("group '$group_id': on_revoke_async has not called back within "
        . "$seconds seconds: given up all the same: %s", [sort @keys]), group => $group_id);
    return $self->_let_go($number);
}

# Only once, and in time.
sub _let_go {
    my ($self, $number) = @_;
    return unless $self->{asked} && $self->{asked}{number} == $number;
    my $asked = delete $self->{asked};
    return $self->{outbox}->then($self, @{ $asked->{then} });
}

sub _revoking_ends {
    my ($self) = @_;
    $self->{member}->revokes(0);
    return delete $self->{revoking};
}

sub _revoked {
    my ($self, $gone, $commits, $then) = @_;
    my ($member, $consumer) = @$self{qw(member consumer)};
    my $next = $self->_revoking_ends;
    return if $member->has_ended;
    my %is_gone   = map { (EV::Kafka::Partitions::key_of($_) => 1) } @$gone;
    my ($delivered, $done) = map { [grep { $is_gone{ EV::Kafka::Partitions::key_of($_) } } @$_] }
        [$consumer->positions], [$consumer->positions_to_commit];
    $self->{had}{ EV::Kafka::Partitions::key_of($_) } = $_->{offset} for @$done;
    $member->tells(revoked => @$delivered);
    $consumer->change([grep { !$is_gone{ EV::Kafka::Partitions::key_of($_) } } $consumer->assignments]);
    my $failed;
    $self->{committing} = $gone;
    $self->{commits}->add($done, sub { $failed = $_[0] }) if $commits;
    $self->{commits}->when_idle(sub {
        delete $self->{committing};
        $self->{commits}->forget(keys %is_gone);
        $self->{outbox}->report(EV::Kafka::Error->from($failed)->at(operation => 'OffsetCommit')
            ->of("group '${\ $member->group_id }': commit before partitions are given up"))
            if defined $failed && $member->state ne 'leaving';
        $then->($failed);
    });
    return $self->_give_up_next($next);
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Assignment - what an EV::Kafka client in a group gives up and takes over

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself. It brings the consumer's
assignment in line with what the group has assigned: C<on_revoke> and a commit for
what goes, committed offsets and C<on_assign> for what comes. What stays is not
touched and keeps flowing.

=head1 METHODS

=head2 new(%about), rests, ends

For a member; until it leaves or stops; nothing that is asked is answered any more.

=head2 take(\@partitions)

The assignment that the group has for it. C<taken> is told when it has been taken over, C<stopped> when
that cannot be, and C<resumed> with each partition that has a committed offset.

=head2 find_positions($attempt, \@added, $revoked), positioned

The last step of it, and that a position is known now for which that waits.

=head2 give_up($goes, $commits, $then), surrender($commits, $then), let_go($then)

Some partitions; and all of them to join again. C<revoked> is told with the positions. Before everything is given up for good,
C<on_revoke_async> may take its time with it.

=head2 last_assigned, committing, goes_back($partition, $offset)

What was assigned last and in which generation; what was given up and is not committed yet; another
position of what was given up.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
