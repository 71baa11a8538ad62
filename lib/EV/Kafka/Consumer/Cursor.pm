package EV::Kafka::Consumer::Cursor;
use strict;
use warnings;

use EV::Kafka::Loop;

# What the client knows of an assigned partition beside the position that users see:
#   generation   counts the seeks; an answer to a question from before a seek
#                must not move the position
#   next         where the next fetch starts, if what was fetched goes further
#                than what was delivered
#   base         where what was fetched and not delivered begins
#   epoch        the leader epoch of the last batch before the next fetch, -1 if unknown
#   position_epoch   the same of the position
#   resolving    since when a lookup of its position is under way: nothing is fetched,
#                and while consuming nothing is delivered
#   lookup       counts the lookups; only the last one's answer counts
#   waiters      rounds of poll that wait for that lookup
#   paused       nothing is fetched or delivered until resume
#   held         the same, because the record at the position could not be worked on
#   untold       on_assign has not been told of it: nothing is fetched
#   unheard      the same, because there is nobody to deliver to
#   in_progress  native: what was delivered and the program is not done with, where it says so
#   busy         nothing is delivered: there is no room in that
#   going        nothing is fetched or delivered: it is being given up
#   fleeting     its topic may be deleted at any time, which is no error
#   stranded     nothing is fetched: the position, which is this, is none that the log has, until the program says another
#   kept         what was fetched and not delivered when it was stopped or looked up
#   ahead        answers that were fetched and not delivered to their end
#   not_before   no fetch until then, after an error
#   failures     errors in a row
#   divergences  in a row: the leader's log departs from the one that was read
#   leader_due   when to ask again who leads it, after so many leader_tries
#   reported     what on_error has been told
#   max_bytes    what the next fetch asks for when a batch did not fit
#   checked_epoch    the leader epoch under which it was found to be in the log;
#                checking while that is being asked
#   high_watermark, last_stable_offset   where it ends, if somebody wants to know
#   told_end         the end that the program was told of, while the position is there
#   key, changes     "topic:partition", which is put in there when it may have to be asked for otherwise, or not
#                any more: EV::Kafka::Consumer::Assigned's
# A new assignment makes new cursors, which is how late answers are told apart.

use constant NO_EPOCH => -1;

# Answers that may be fetched behind the one that is being delivered, where that takes as long as the
# program's work.
use constant MOST_AHEAD => 1;

# Seconds between tries of a partition whose fetch failed.
use constant {
    BACKOFF     => 0.1,
    BACKOFF_MAX => 1,
};

sub new {
    my ($class, $epoch) = @_;
    return bless {
        generation     => 0,
        lookup         => 0,
        epoch          => $epoch // NO_EPOCH,
        position_epoch => $epoch // NO_EPOCH,
        waiters        => [],
        kept           => [],
        ahead          => 0,
        not_before     => 0,
        failures       => 0,
        divergences    => 0,
        reported       => {},
    }, $class;
}

# Of a partition that the program is to be told of first.
sub untold {
    my ($class, @epoch) = @_;
    my $self = $class->new(@epoch);
    $self->{untold} = 1;
    return $self;
}

# Part of what is assigned.
sub belongs_to {
    my ($self, $changes, $key) = @_;
    @$self{qw(changes key)} = ($changes, $key);
    return $self->_has_changed;
}

sub key { return $_[0]{key} }

sub _has_changed {
    my ($self) = @_;
    $self->{changes}{ $self->{key} } = 1 if $self->{changes};
    return;
}

# Nobody asks it any more: what was kept for it knows it. Gives what waited for it.
sub retire {
    my ($self) = @_;
    delete $self->{changes};
    $self->{kept} = [];
    delete $self->{retry};
    return splice @{ $self->{waiters} };
}

# --- whether it can go on -------------------------------------------------------

sub is_resolving { return defined $_[0]{resolving} }

# Until the program lets it go on.
sub is_stopped { return $_[0]{paused} || $_[0]{held} || $_[0]{unheard} || $_[0]{busy} || $_[0]{going} || defined $_[0]{stranded} }

# Asked of every partition that has records, hence without further calls.
sub is_fetchable {
    my ($self) = @_;
    return !(defined $self->{resolving} || $self->{paused} || $self->{held} || $self->{unheard}
        || $self->{checking} || $self->{untold} || $self->{going} || defined $self->{stranded}
        || $self->{in_progress} && $self->{ahead} > MOST_AHEAD);
}

sub is_untold { return $_[0]{untold} }
sub told      { my ($self) = @_; delete $self->{untold}; return $self->_has_changed }

sub is_checking { return $_[0]{checking} }

sub pause { my ($self) = @_; $self->{paused} = 1; return $self->_has_changed }

# It is being given up, which may take the program some time.
sub goes     { my ($self) = @_; $self->{going} = 1; return $self->_has_changed }
sub is_going { return $_[0]{going} }

# Nobody has named its topic.
sub may_vanish  { my ($self) = @_; $self->{fleeting} = 1; return $self }
sub is_fleeting { return $_[0]{fleeting} }

# Until a seek, or until the program has written another position.
sub strands     { my ($self, $position) = @_; $self->{stranded} = $position; return $self->_has_changed }
sub is_stranded { return defined $_[0]{stranded} }
sub stands_at   { my ($self, $position) = @_; delete $self->{stranded} if $position != $self->{stranded}; return }

# What was delivered and the program is not done with, at most so many records.
sub in_progress {
    my ($self, $most) = @_;
    return $self->{in_progress} ||= EV::Kafka::InProgress->new($most);
}

sub done              { my ($self, $offset) = @_; return $self->{in_progress} ? $self->{in_progress}->done($offset) : 0 }
sub first_in_progress { my ($self) = @_; return $self->{in_progress} ? $self->{in_progress}->first : () }

# No room is left in that; true if there is again.
sub begins_no_more { $_[0]{busy} = 1; return }

sub may_begin {
    my ($self) = @_;
    return $self->{busy} && !$self->{in_progress}->is_full ? delete $self->{busy} : 0;
}

# What was delivered from there on comes again.
sub forget_from {
    my ($self, $offset) = @_;
    my $in_progress = $self->{in_progress} or return;
    $in_progress->forget_from($offset);
    $self->may_begin;
    return;
}

# There is nobody to deliver to; there is somebody, true if there was not.
sub nobody_hears   { my ($self) = @_; $self->{unheard} = 1; return $self->_has_changed }
sub somebody_hears { my ($self) = @_; $self->_has_changed; return delete $self->{unheard} }

# What was fetched and cannot be delivered for now.
sub keep { my ($self, $part) = @_; push @{ $self->{kept} }, $part; return }
sub take_kept { return splice @{ $_[0]{kept} } }

# What the next fetch asks for.
sub asks_for { my ($self, $max_bytes) = @_; $self->{max_bytes} = $max_bytes; return $self->_has_changed }

# Whether on_error is to hear of it: not twice.
sub is_news { my ($self, $what) = @_; return !$self->{reported}{$what}++ }

sub succeeded { $_[0]{failures} = 0; return }

# Seconds until it may be fetched.
sub wait_at { my ($self, $now) = @_; return $self->{not_before} - $now }

sub delay {
    my ($self, $now) = @_;
    $self->{not_before} = $now + EV::Kafka::Loop->backoff(++$self->{failures}, BACKOFF, BACKOFF_MAX);
    return $self->_has_changed;
}

# Seconds until its leader may be asked for, later each time.
sub leader_wait {
    my ($self, $now) = @_;
    my $wait = defined $self->{leader_due} ? $self->{leader_due} - $now : 0;
    return $wait if $wait > 0;
    my $try = $self->{leader_tries}++;
    $wait = $try ? EV::Kafka::Loop->backoff($try, BACKOFF, BACKOFF_MAX) : 0;
    $self->{leader_due} = $now + $wait;
    return $wait;
}

sub leader_found {
    my ($self) = @_;
    delete @$self{qw(leader_tries leader_due)} if defined $self->{leader_due};
    return;
}

# --- lookups of its position ----------------------------------------------------

# Gives what tells the lookup's answer from that of an older one.
sub lookup_begins {
    my ($self, $now) = @_;
    $self->{resolving} = $now;
    $self->_has_changed;
    return [$self->{generation}, ++$self->{lookup}];
}

sub is_last_lookup {
    my ($self, $lookup) = @_;
    return $self->{generation} == $lookup->[0] && $self->{lookup} == $lookup->[1];
}

# Gives what waited for it.
sub lookup_ends {
    my ($self) = @_;
    delete @$self{qw(resolving retry)};
    $self->_has_changed;
    return splice @{ $self->{waiters} };
}

# --- where it stands ------------------------------------------------------------

# Whether what was fetched and not delivered, if anything, begins at that position,
# which programs may write.
sub goes_on_at {
    my ($self, $position) = @_;
    return !$self->{held} && (!defined $self->{next} || $self->{base} == $position);
}

# A seek elsewhere.
sub moves {
    my ($self, $epoch) = @_;
    @$self{qw(epoch position_epoch)} = ($epoch // NO_EPOCH) x 2;
    delete @$self{qw(max_bytes held unheard told_end)};
    $self->{divergences} = 0;
    $self->drop_fetched;
    return $self->stays;
}

# A seek to where it stands: what was fetched still is what comes next.
sub stays {
    my ($self) = @_;
    delete $self->{stranded};
    $self->{lookup}++;
    @$self{qw(failures not_before)} = (0, 0);
    return $self->_has_changed;
}

# What was fetched and not delivered is fetched again.
sub drop_fetched {
    my ($self) = @_;
    $self->{generation}++;
    @$self{qw(kept ahead)} = ([], 0);
    $self->{epoch} = $self->{position_epoch};
    delete @$self{qw(next base)};
    return $self->_has_changed;
}

sub hold {
    my ($self) = @_;
    $self->{held} = 1;
    return $self->drop_fetched;
}

sub resume {
    my ($self) = @_;
    delete @$self{qw(paused held)};
    $self->_has_changed;
    return $self->take_kept;
}

# Whether an answer to a fetch from $from, before so many seeks, brings what comes next.
# One from before a seek to where the position stands again does.
sub is_next {
    my ($self, $generation, $from, $position) = @_;
    return ($self->{next} // $position) == $from
        && ($self->{generation} == $generation || !defined $self->{next} && !$self->is_resolving && !$self->{held});
}

# It brought what lies between.
sub took {
    my ($self, $from, $next, $epoch) = @_;
    $self->{base} = $from unless defined $self->{next};
    @$self{qw(next epoch)} = ($next, $epoch);
    $self->{ahead}++;
    delete $self->{told_end};
    $self->{divergences} = 0;
    return $self->_has_changed;
}

# With $is_done to the end of an answer.
sub delivered {
    my ($self, $position, $epoch, $is_done) = @_;
    $self->{base} = $position;
    if ($is_done) {
        $self->{ahead}-- if $self->{ahead};
        $self->{failures} = 0;
    }
    $self->{position_epoch} = $epoch if $epoch >= 0;
    delete @$self{qw(next base)} if defined $self->{next} && $self->{next} == $position;
    return $self->_has_changed;
}

# --- where it ends --------------------------------------------------------------

sub ends_at {
    my ($self, @ends) = @_;
    @$self{qw(high_watermark last_stable_offset)} = @ends;
    return;
}

# Of what may be read, undef if that is not known.
sub end {
    my ($self, $is_committed) = @_;
    return $self->{ $is_committed ? 'last_stable_offset' : 'high_watermark' };
}

sub watermarks { my ($self) = @_; return map { $_ => $self->{$_} } qw(high_watermark last_stable_offset) }

# The position is there. False if the program was told so.
sub reaches {
    my ($self, $end) = @_;
    return 0 if defined $self->{told_end} && $self->{told_end} == $end;
    $self->{told_end} = $end;
    return 1;
}

# --- the log it reads -----------------------------------------------------------

# The leader knows of no record of the epoch that was read last, and where the last one
# before it ends is not below the position: nothing was lost. Its epoch counts until
# the next record, or none if that would ask the same question once more.
sub epoch_has_gone {
    my ($self, $known) = @_;
    my $epoch = $known < $self->{epoch} ? $known : NO_EPOCH;
    $self->{position_epoch} = $epoch unless defined $self->{next};
    $self->{epoch} = $epoch;
    return $self->_has_changed;
}

# Its leader is asked whether it is in its log, which it is under this epoch.
sub check_begins { my ($self) = @_; $self->{checking} = 1; return $self->_has_changed }

sub check_ends {
    my ($self, $epoch) = @_;
    delete $self->{checking};
    $self->{checked_epoch} = $epoch if defined $epoch;
    return $self->_has_changed;
}

# Whether what was read last is known to be in the log of a leader of that epoch, or nothing
# was read that could be missing.
sub is_checked {
    my ($self, $epoch) = @_;
    return $self->{epoch} < 0 || $epoch <= ($self->{checked_epoch} // $self->{epoch});
}

sub forget_epoch {
    my ($self) = @_;
    $self->{epoch} = NO_EPOCH;
    return $self->_has_changed;
}

# True when a broker says so again, before any record came.
sub diverges {
    my ($self) = @_;
    return $self->{divergences}++ > 0;
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Cursor - where an EV::Kafka client stands in a partition that it consumes

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. A cursor knows what was fetched
beyond the position, the leader epochs of both, whether the position is being looked up,
whether the program has stopped the partition, and when it may be fetched again. It holds
neither the client nor a connection, reads no clock, and calls nobody.

=head1 METHODS

=head2 new($epoch), untold($epoch), retire

A cursor with the leader epoch of its position; one of which C<on_assign> is told first; its end, which
gives the rounds of C<poll> that waited.

=head2 belongs_to(\%changes, $key), key

It is part of what is assigned: C<key> is put into the hash whenever a Fetch may have to ask otherwise.

=head2 is_resolving, is_checking, is_stopped, is_fetchable, wait_at($now), delay($now), leader_wait($now), leader_found

Whether the position is being looked up, or checked, the program has stopped the partition, and it may be
fetched. Seconds until a fetch may be tried, and until its leader may be asked for; both grow with each try.

=head2 lookup_begins($now), is_last_lookup($lookup), lookup_ends

One lookup of the position: what tells it from others, whether it is the last, and its
end, which gives the rounds that waited.

=head2 is_untold, told, pause, nobody_hears, somebody_hears, keep($part), take_kept, asks_for($max_bytes), is_news($what), succeeded

Whether C<on_assign> has not been told of it, and that it has; the program stops it; there is nobody to deliver to, and there is again; what was fetched and waits; how much
the next fetch asks for; whether an error is told for the first time; a fetch has brought something.

=head2 in_progress($most), done($offset), first_in_progress, begins_no_more, may_begin, forget_from($offset)

The native list of what was delivered and the program is not done with, of at most so many records; one of them is done,
whether it was there; the first, with the epoch of what is before it; nothing more is delivered until there is room,
which there is again; what is delivered once more.

=head2 goes, is_going

It is being given up: nothing is fetched or delivered any more.

=head2 may_vanish, is_fleeting

That its topic goes is nothing unusual.

=head2 strands($position), is_stranded, stands_at($position)

Nothing can be fetched from there, and nothing is until the program has said another position, or written one.

=head2 goes_on_at($position), moves([$epoch]), stays, drop_fetched, hold, resume

Whether what was fetched is what comes next at a position; a seek elsewhere, and to where it
stands; fetching again what was not delivered; a record that the program could not work
on; and going on, which gives what was kept.

=head2 is_next($generation, $from, $position), took($from, $next, $epoch), delivered($position, $epoch, $is_done)

Whether an answer brings what comes next, what it brought, and how far that was delivered.

=head2 ends_at($high_watermark, $last_stable_offset), end($is_committed), watermarks, reaches($end)

Where the partition ends, as pairs too; the position is there, which is false when that was told.

=head2 check_begins, check_ends([$epoch]), is_checked($epoch), epoch_has_gone($known), forget_epoch, diverges

What is known of the last leader epoch when the leader's log departs from it (KIP-320,
KIP-595).

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Consumer>, L<EV::Kafka::Fetcher>

=cut
