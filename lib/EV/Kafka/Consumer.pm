package EV::Kafka::Consumer;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(weaken);

use EV::Kafka::Consumer::Answer;
use EV::Kafka::Consumer::Assigned;
use EV::Kafka::Consumer::Delivery;
use EV::Kafka::Consumer::Ends;
use EV::Kafka::Consumer::Fetcher;
use EV::Kafka::Consumer::Log;
use EV::Kafka::Consumer::Places;
use EV::Kafka::Consumer::Position;
use EV::Kafka::Consumer::Progress;
use EV::Kafka::Consumer::Round;
use EV::Kafka::Error;
use EV::Kafka::Partitions;

# What a client consumes. Its state lies in its parts, of which each knows those above it in this list:
#   assigned   what is assigned, and its positions
#   progress   what of it the program is not done with
#   places     at which broker that may be fetched
#   ends       where it ends, and whether it is there
#   delivery   hands what has come to the program
#   position   moves positions, and looks them up
#   log        whether the log that was read is still the leader's
#   answer     what an answer means for the next Fetch
#   fetcher    which brokers are asked for what is assigned, and when
# Of its own it has
#   idle    rounds of poll that have nobody to ask
#   polls   {calling} of its callbacks are running
#   asked   how often poll was called
#   owner   { group_id, may_assign }, the group that assigns

# tells: moved, another assignment or other positions; delivers, before records are handed out;
# positioned, a partition that on_assign waits for has its position.
sub new {
    my ($class, %about) = @_;
    my $self = bless {
        map({ $_ => $about{$_} } qw(loop outbox options cluster tells)), idle => [], polls => { calling => 0 }, asked => 0,
    }, $class;
    my %ground = map({ $_ => $about{$_} } qw(loop outbox options cluster offsets));
    $ground{assigned} = $self->{assigned} = EV::Kafka::Consumer::Assigned->new($about{options});
    $ground{progress} = $self->{progress} = EV::Kafka::Consumer::Progress->new(%ground);
    $ground{places}   = $self->{places}   = EV::Kafka::Consumer::Places->new(%ground);
    $ground{ends}     = $self->{ends}     = EV::Kafka::Consumer::Ends->new(%ground);
    $ground{delivery} = $self->{delivery} = EV::Kafka::Consumer::Delivery->new(%ground, news => $self->_hears(
        delivers => sub { $_[0]{tells}->('delivers') },
        takes    => sub { my ($self, @broker) = @_; $self->{fetcher}->fetch_ahead(@broker) },
        unheard  => sub { $_[0]{fetcher}->listen_later },
        through  => sub { $_[0]->fetch_on },
        void     => \&void,
        damaged  => sub { my ($self, @part) = @_; $self->{fetcher}->damaged(@part) },
    ));
    $ground{position} = $self->{position} = EV::Kafka::Consumer::Position->new(%ground, news => $self->_hears(
        resolved  => \&_resolved,
        not_found => sub { my ($self, @partition) = @_; $self->{fetcher}->not_found(@partition) },
        moved     => sub { $_[0]{tells}->('moved') },
        retried   => sub { my ($self, $seconds) = @_; $self->{fetcher}->fetch_on_after($seconds) },
    ));
    $ground{log}     = $self->{log} = EV::Kafka::Consumer::Log->new(%ground, news => $self->_hears(void => \&void));
    $ground{answer}  = EV::Kafka::Consumer::Answer->new(%ground);
    $self->{fetcher} = EV::Kafka::Consumer::Fetcher->new(%ground);
    return $self;
}

sub _hears {
    my ($self, %heard) = @_;
    weaken(my $weak = $self);
    return sub {
        my ($event, @about) = @_;
        my $self = $weak or return;
        $heard{$event}->($self, @about);
        return;
    };
}

# --- the program's --------------------------------------------------------------------

# The list and its hashes stay the caller's: programs read the positions there.
sub assign {
    my ($self, $partitions) = @_;
    Carp::croak('assign: expected arrayref of partitions') unless ref $partitions eq 'ARRAY';
    my @checked = map { _checked_partition($_) } @$partitions;
    my $owner   = $self->{owner};
    return $self->_assign_owned($owner, $partitions, \@checked) if $owner && $owner->{may_assign};
    Carp::croak("assign: a member of a group, here '$owner->{group_id}', is assigned its partitions by the group") if $owner;
    if (my @undefined = map { "$_->{topic}:" . ($_->{partition} // 0) }
        grep { exists $_->{offset} && !defined $_->{offset} } @$partitions) {
        Carp::carp('EV::Kafka: assign: offset undef counts as 0: ' . join ', ', @undefined);
    }
    my %last = map { ("$checked[$_]{topic}:$checked[$_]{partition}" => $_) } 0 .. $#checked;
    my @assigned  = map { _written($partitions->[$_], $checked[$_]) } sort { $a <=> $b } values %last;
    my $is_theirs = @assigned == @$partitions && !grep { $assigned[$_] != $partitions->[$_] } 0 .. $#assigned;
    return $self->replace($is_theirs ? $partitions : \@assigned);
}

sub position {
    my ($self, $topic, $partition) = @_;
    Carp::croak('position: topic and partition required') unless defined $topic && defined $partition;
    EV::Kafka::Partitions::integer('position: partition', $partition);
    my $assigned = $self->{assigned}->find($topic, $partition) or return undef;
    my ($offset) = $self->{assigned}->position_of($assigned);
    return $offset >= 0 ? $offset : undef;
}

sub pause {
    my ($self, $partitions) = @_;
    for my $assigned ($self->_assigned_among(pause => $partitions)) {
        $self->{assigned}->cursor($assigned)->pause;
    }
    return $self->{assigned}->interrupt;
}

# What was kept comes before what has been fetched since, which is less than an
# answer: the fetch that was under way.
sub resume {
    my ($self, $partitions) = @_;
    my @kept;
    for my $assigned ($self->_assigned_among(resume => $partitions)) {
        push @kept, $self->{assigned}->cursor($assigned)->resume;
    }
    $self->{delivery}->add_kept(@kept);
    $self->poll_again;
    return $self->fetch_on;
}

sub seek {
    my ($self, $topic, $partition, $offset, $cb) = @_;
    Carp::croak('seek: topic, partition and offset required') if grep { !defined } $topic, $partition, $offset;
    EV::Kafka::Partitions::integer('seek: partition', $partition);
    Carp::croak("seek: offset must be an offset, -1 (latest) or -2 (earliest), not '$offset'")
        if EV::Kafka::Partitions::integer('seek: offset', $offset) < -2;

    my $assigned = $self->{assigned}->find($topic, $partition)
        or return $self->_seek_ended($cb, undef, _not_assigned($topic, $partition));
    if ($offset >= 0) {
        $self->{position}->move($assigned, $offset);
        return $self->_seek_ended($cb, $assigned);
    }
    return $self->_seek_ended($cb, undef, EV::Kafka::Error->without_code('no connection to leader', 1)
        ->at(topic => $topic, partition => $partition)) unless $self->{cluster}->is_started;
    return $self->{cluster}->when_connected({
        cb  => $cb,
        run => $self->{outbox}->entry($self, _seek_end => $topic, $partition, $offset, $cb),
    });
}

# The program is done with a record: whether it was at it. More may be begun then, if the partition waited for that.
sub done {
    my ($self, $topic, $partition, $offset) = @_;
    Carp::croak('done: topic, partition and offset required') if grep { !defined } $topic, $partition, $offset;
    EV::Kafka::Partitions::integer("done: $_->[0]", $_->[1]) for [partition => $partition], [offset => $offset];
    Carp::croak("done: the group '$self->{owner}{group_id}' was subscribed to without auto_commit => 'done'")
        if $self->{owner} && !$self->{progress}->is_wanted;
    my ($was_begun, $freed) = $self->{progress}->done($topic, $partition, $offset);
    if ($freed) {
        $self->{delivery}->add_kept($freed->take_kept);
        $self->poll_again;
    }
    return $was_begun;
}

# While consuming, no round of poll is needed: a broker gets its next Fetch as soon
# as the last answer begins to be delivered.
sub consume {
    my ($self, @arguments) = @_;
    Carp::croak('consume: takes no arguments') if @arguments;
    $self->{delivery}->start;
    $self->fetch_on;
    return;
}

sub stop_consuming {
    my ($self, @arguments) = @_;
    Carp::croak('stop_consuming: takes no arguments') if @arguments;
    $self->{delivery}->stop;
    return;
}

sub poll {
    my ($self, $cb) = @_;
    my ($cluster, $options) = @$self{qw(cluster options)};
    $self->{asked}++;
    my $round = EV::Kafka::Consumer::Round->new($self->{outbox}, $self->{polls}, $cb);
    return $self->_begin($round) unless $self->{assigned}->all;
    return $self->_begin($round) if $cluster->is_connected;
    return if !$cb && grep { $_->{is_poll} } @{ $options->{pending_ops} };
    # Its callback takes an error alone, what waits for connect gets (undef, $error).
    return $cluster->when_connected({
        is_poll => 1,
        cb      => $cb && sub { $cb->($_[1]) },
        run     => $self->{outbox}->entry($self, _begin => $round),
    });
}

sub assignment {
    my ($self) = @_;
    my $position_of = sub { return ($self->{assigned}->position_of($_[0]))[0] };
    return [map { { topic => $_->{topic}, partition => $_->{partition}, offset => $position_of->($_) } } $self->{assigned}->all];
}

# --- statistics -----------------------------------------------------------------------

sub count { return $_[0]{ends}->count }
sub stats { return $_[0]{ends}->stats }

# --- a group's, and transactions' -----------------------------------------------------

sub assignments       { return $_[0]{assigned}->all }
sub assigned          { my ($self, @partition) = @_; return $self->{assigned}->find(@partition) }
sub assigned_by_key   { return $_[0]{assigned}->by_key }
sub cursor            { my ($self, $assigned) = @_; return $self->{assigned}->cursor($assigned) }
sub is_current        { my ($self, @cursor) = @_; return $self->{assigned}->is_current(@cursor) }
sub position_of       { my ($self, $assigned) = @_; return $self->{assigned}->position_of($assigned) }
sub positions         { return $_[0]{assigned}->positions }
sub is_delivering     { return $_[0]{assigned}->is_handing }

# Where the program says what is done, so many records of a partition may be in progress; undef where it does not.
sub counts_done { my ($self, $most) = @_; return $self->{progress}->begins($most) }

# What may be committed: all that was delivered, or that whose callback has returned, unless the program has to say that
# it is done with it.
sub positions_to_commit { my ($self) = @_; return $self->{progress}->limit($self->{assigned}->positions) }
sub handled_positions   { my ($self) = @_; return $self->{progress}->limit($self->{assigned}->handled_positions) }

# Nothing more of it is fetched or delivered.
sub lets_go {
    my ($self, @assigned) = @_;
    $self->cursor($_)->goes for @assigned;
    return $self->{assigned}->interrupt;
}

sub replace { my ($self, $assigned) = @_; return $self->_changed($self->{assigned}->replace($assigned)) }
sub change  { my ($self, @assigned) = @_; return $self->_changed($self->{assigned}->change(@assigned)) }

sub begin_at { my ($self, @where) = @_; return $self->{position}->begin_at(@where) }
sub move     { my ($self, @where) = @_; return $self->{position}->move(@where) }

sub void {
    my ($self, $cursor) = @_;
    $_->void($cursor) for @$self{qw(delivery fetcher)};
    return;
}

sub hold    { my ($self, $holder) = @_; return $self->{delivery}->hold($holder) }
sub release { my ($self, $holder) = @_; return $self->{delivery}->release($holder) }

# The group assigns, until there is none any more; within on_assign the program does, too.
sub owned_by {
    my ($self, $group_id, $may_assign) = @_;
    $self->{owner} = defined $group_id ? { group_id => $group_id, may_assign => $may_assign } : undef;
    return;
}

# A group has to be told where its partitions begin, also while nothing is consumed.
sub keep_positions { my ($self, $is_wanted) = @_; return $self->{fetcher}->keep_positions($is_wanted) }

sub resets_to       { my ($self, $where) = @_; return $self->{position}->resets_to($where) }
sub reset_offset    { return $_[0]{position}->reset_offset }

# --- the cluster's --------------------------------------------------------------------

# Leaders have changed: what that means is looked at later.
sub leaders_changed { return $_[0]{places}->leaders_changed }

sub fetch_on   { return $_[0]{fetcher}->fetch_on }
sub look_again { my ($self) = @_; $self->poll_again; return $self->fetch_on }

sub recreated { my ($self, $topic) = @_; return $self->{log}->replaced($topic) }

# What is under way at that broker is not waited for.
sub gone {
    my ($self, $node_id) = @_;
    $_->leaves for $self->{fetcher}->give_up($node_id);
    return;
}

# Nothing is fetched or delivered any more; positions stay what they are.
sub close {
    my ($self, $error) = @_;
    my @rounds = splice @{ $self->{idle} };
    push @rounds, $self->{fetcher}->close;
    push @rounds, map { $_->retire } $self->{assigned}->cursors;
    $self->{delivery}->close($error);
    $_->leaves($error) for @rounds;
    return;
}

sub abandon {
    my ($self) = @_;
    $_->forget for splice @{ $self->{idle} };
    $self->{fetcher}->abandon;
    $self->{delivery}->abandon;
    $self->{assigned}->replace([]);
    return;
}

# --- assignments ----------------------------------------------------------------------

sub _checked_partition {
    my ($given) = @_;
    my $named = _named_partition(assign => $given);
    return { %$named, offset => EV::Kafka::Partitions::integer('assign: offset', $given->{offset} // 0) };
}

# A hash that may not be written to is copied.
sub _written {
    my ($given, $checked) = @_;
    local $@;
    return $given if eval { @$given{ keys %$checked } = values %$checked; 1 };
    return { %$given, %$checked };
}

# Within on_assign: where to go on with what the member owns. Without an offset that is
# where it would anyway.
sub _assign_owned {
    my ($self, $owner, $given, $checked) = @_;
    my $owned = $self->{assigned}->by_key;
    my @keys  = map { "$_->{topic}:$_->{partition}" } @$checked;
    my @other = grep { !$owned->{$_} } @keys;
    Carp::croak("assign: the group '$owner->{group_id}' has not assigned " . join ', ', @other) if @other;
    $self->begin_at($owned->{ $keys[$_] }, $checked->[$_]{offset})
        for grep { defined $given->[$_]{offset} } 0 .. $#keys;
    return;
}

sub _named_partition {
    my ($method, $given) = @_;
    Carp::croak("$method: partition must be a hashref") unless ref $given eq 'HASH';
    Carp::croak("$method: missing topic") unless defined $given->{topic} && length $given->{topic};
    return {
        topic     => $given->{topic},
        partition => EV::Kafka::Partitions::integer("$method: partition", $given->{partition} // 0),
    };
}

sub _assigned_among {
    my ($self, $method, $partitions) = @_;
    Carp::croak("$method: expected arrayref of partitions") unless ref $partitions eq 'ARRAY';
    return grep { defined }
        map { $self->{assigned}->find(@$_{qw(topic partition)}) } map { _named_partition($method => $_) } @$partitions;
}

sub _changed {
    my ($self, @rounds) = @_;
    $self->{tells}->('moved');
    $self->{assigned}->interrupt;
    $_->leaves for @rounds;
    $self->{outbox}->watch($self, 'waits_for_program') if $self->{assigned}->all;
    $self->{delivery}->schedule;
    $self->poll_again;
    return $self->fetch_on;
}

# Nobody asks for what is assigned. See EV::Kafka::Waits.
sub waits_for_program {
    my ($self) = @_;
    my ($delivery, @assigned) = ($self->{delivery}, $self->{assigned}->all);
    return unless @assigned && $delivery->listener;
    return $self->{cluster}->not_started if $delivery->is_consuming || $self->{asked} > 1;
    my $what = @assigned == 1 ? "$assigned[0]{topic}:$assigned[0]{partition} is" : @assigned . ' partitions are';
    return { subject => 'poll', reason => $self->{asked}, text => "$what assigned, and poll was "
        . ($self->{asked} ? 'called only once: it fetches once' : 'not called')
        . '. Call consume once, or poll whenever messages are wanted' };
}

# --- positions ------------------------------------------------------------------------

sub _seek_end {
    my ($self, $topic, $partition, $offset, $cb) = @_;
    my $assigned = $self->{assigned}->find($topic, $partition)
        or return $self->_seek_ended($cb, undef, _not_assigned($topic, $partition));
    return $self->{position}->resolve($assigned, $offset, sub {
        my ($error) = @_;
        $self->_seek_ended($cb, $assigned, $error);
        # Nothing was fetched meanwhile.
        $self->fetch_on;
    });
}

sub _not_assigned {
    my ($topic, $partition) = @_;
    return EV::Kafka::Error->without_code('not assigned')->at(topic => $topic, partition => $partition);
}

sub _seek_ended {
    my ($self, $cb, $assigned, $error) = @_;
    my $outbox = $self->{outbox};
    return $outbox->call($cb, { map { $_ => $assigned->{$_} } qw(topic partition offset) }) unless defined $error;
    $error = EV::Kafka::Error->from($error);
    return $cb ? $outbox->fail($cb, $error) : $outbox->report($error->of('seek'));
}

# A position is known, or is not found, for which others have waited.
sub _resolved {
    my ($self, $assigned, $cursor, $error, @rounds) = @_;
    $self->{delivery}->add_kept($cursor->take_kept) unless $cursor->is_stopped;
    my $leader = @rounds && !defined $error ? $self->{cluster}->leader(@$assigned{qw(topic partition)}) : undef;
    $self->{places}->update if defined $leader;
    for my $round (@rounds) {
        $self->{fetcher}->ask($leader, $round) if defined $leader;
        $round->leaves($error);
    }
    return if defined $error;
    $self->{tells}->('positioned') if $cursor->is_untold;
    $self->poll_again;
    return $self->{fetcher}->fetch_on_after(0);
}

# --- rounds of poll -------------------------------------------------------------------

# What it finds to wait for may have failed by the time that it is settled.
sub _begin {
    my ($self, $round) = @_;
    push @{ $self->{idle} }, $round;
    return $self->_ask_for($round);
}

sub _ask_for {
    my ($self, $round) = @_;
    $self->_find_for($round);
    return $self->{outbox}->then($self, _settle => $round);
}

sub _find_for {
    my ($self, $round) = @_;
    my $fetcher = $self->{fetcher};
    $fetcher->listen_again;
    $self->{delivery}->join($round);
    my @nodes = $fetcher->nodes_to_ask(sub {
        my (undef, $cursor) = @_;
        $round->joins;
        push @{ $cursor->{waiters} }, $round;
    });
    for my $node_id (@nodes) {
        $fetcher->ask($node_id, $round) unless $self->{delivery}->has_undelivered($node_id);
    }
    return;
}

# A program that polls again from the callback would never let go of the processor,
# or come back to the event loop, if there is nothing to fetch from. It is answered
# like by a broker that has nothing; whether that changes is looked at meanwhile.
sub _settle {
    my ($self, $round) = @_;
    return unless grep { $_ == $round } @{ $self->{idle} };
    if ($round->is_alone && $round->has_callback
        && ($round->is_waiting || $self->{polls}{calling} || $self->_is_all_stopped)) {
        $round->waits($self->{loop}->timer($self->{options}{fetch_max_wait_ms} / 1000, $self, _end_idle => $round))
            unless $round->is_waiting;
        return;
    }
    return $self->_end_idle($round);
}

sub _is_all_stopped {
    my ($self) = @_;
    my @assigned = $self->{assigned}->all;
    return @assigned && !grep { !$self->{assigned}->cursor($_)->is_stopped } @assigned;
}

sub _end_idle {
    my ($self, $round) = @_;
    @{ $self->{idle} } = grep { $_ != $round } @{ $self->{idle} };
    return $round->goes_on;
}

# There may be something to ask for by now.
sub poll_again {
    my ($self) = @_;
    return unless @{ $self->{idle} } && $self->{cluster}->is_connected;
    for my $round (grep { $_->is_waiting } @{ $self->{idle} }) {
        $round->begins_again;
        $self->_ask_for($round);
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer - what an EV::Kafka client consumes

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It puts together what fetches, L<EV::Kafka::Consumer::Fetcher>,
what moves positions, L<EV::Kafka::Consumer::Position>, and what hands records to the program,
L<EV::Kafka::Consumer::Delivery>; calls of C<poll> are its own affair.

=head1 METHODS

=head2 new(%about)

With C<loop>, C<outbox>, C<options>, C<cluster>, C<offsets> and C<tells>, which hears of C<moved>, C<delivers> and
C<positioned>.

=head2 assign(\@partitions), seek($topic, $partition, $offset, [$cb]), position($topic, $partition), pause(\@partitions), resume(\@partitions), poll([$cb]), done($topic, $partition, $offset), consume, stop_consuming

The program's, see L<EV::Kafka>.

=head2 assignment, count, stats

A copy of what is assigned; what is counted from now on, and a hash of it for each partition.

=head2 assignments, assigned($topic, $partition), assigned_by_key, cursor($assigned), is_current($assigned, $cursor)

What is assigned, and the L<EV::Kafka::Consumer::Cursor> of a partition.

=head2 position_of($assigned), positions, is_delivering, counts_done($most), positions_to_commit, handled_positions

Where delivering stands, and whether the program is being called. It says itself of what it is done, or not any more; what
may be committed then, with and without the record whose callback has not returned.

=head2 replace(\@assigned), change(\@assigned, %cursors), begin_at($assigned, $offset), move($assigned, $offset), void($cursor)

Another assignment, one in which partitions may stay; where to go on in a
partition; and that what was fetched of it is not delivered although C<poll> asked for it.

=head2 lets_go(@assigned), hold($holder), release($holder), keep_positions($is_wanted), owned_by($group_id, $may_assign), resets_to($where), reset_offset

Nothing more is fetched or delivered of what is given up. Nothing is delivered while anybody holds it. Positions are looked up also while nothing is consumed. The group
that assigns, and whether the program may within C<on_assign>. Where to go on when a position does not exist.

=head2 fetch_on, poll_again, leaders_changed, look_again, recreated($topic), gone($node_id)

There may be something to fetch: while consuming, and for polls that wait. Leaders have changed, and there may be something for both. A topic
was created anew, and a broker is waited for no longer.

=head2 waits_for_program

That nobody asks for messages, as L<EV::Kafka::Waits> has it.

=head2 close($error), abandon

The end, with and without a word to those who wait.

=head1 SEE ALSO

L<EV::Kafka>

=cut
