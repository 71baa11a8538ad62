package EV::Kafka::Consumer::Fetcher;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Consumer::Broker;

# Which brokers are asked for what is assigned, and when.
#   brokers          by node_id
#   timer            they are looked at again at due_at
#   keeps_positions  positions that are not known are looked up also while nothing is consumed

# Seconds between looks whether there is somebody to deliver to by now.
use constant LISTENER_INTERVAL => 0.1;

# Seconds for which a broker's next Fetch waits for positions that are being looked
# up.
our $RESOLVING_GRACE = 0.1;

sub new {
    my ($class, %about) = @_;
    my $self = bless {
        map({ $_ => $about{$_} } qw(loop outbox cluster assigned places delivery position log answer)), brokers => {}, keeps_positions => 0,
    }, $class;
    my %heard = (
        answered  => \&_answered,
        ended     => \&fetch_on,
        unchecked => sub { my ($self, @partition) = @_; $self->{log}->check(@partition) },
    );
    weaken(my $weak = $self);
    $self->{for_brokers} = { map({ $_ => $about{$_} } qw(loop outbox options cluster offsets assigned ends places delivery)), news => sub {
        my ($event, @about) = @_;
        my $self = $weak or return;
        $heard{$event}->($self, @about);
        return;
    } };
    return $self;
}

sub keep_positions { my ($self, $is_wanted) = @_; $self->{keeps_positions} = $is_wanted; return }

# A position has been looked up in vain.
sub not_found {
    my ($self, $assigned, $cursor) = @_;
    return $self->_looks_up ? $self->{position}->find_in_time($assigned, $cursor) : undef;
}

sub _looks_up {
    my ($self) = @_;
    return $self->{delivery}->is_consuming || $self->{keeps_positions};
}

# While consuming: no broker may be without a Fetch that could have one.
sub fetch_on {
    my ($self) = @_;
    delete $self->{timer};
    return unless $self->_looks_up && $self->{cluster}->is_connected;
    my $delivery = $self->{delivery};
    $self->listen_again if $delivery->is_consuming;
    my @looked_up;
    my @nodes = $self->nodes_to_ask(sub { push @looked_up, $_[0] });
    return unless $delivery->is_consuming;
    my $wait = $self->_nodes_about_to_resolve(@looked_up);
    for my $node_id (grep { !$wait->{$_} } @nodes) {
        $self->ask($node_id) unless $self->_broker($node_id)->is_busy || $delivery->has_undelivered($node_id);
    }
    return;
}

# That looks at every partition. When many of them want it, because their positions
# have become known or were to be looked up again, it is done once.
sub fetch_on_after {
    my ($self, $delay) = @_;
    return unless $self->_looks_up;
    my $at = $self->{loop}->now + $delay;
    return if $self->{timer} && $self->{due_at} <= $at;
    $self->{due_at} = $at;
    $self->{timer}  = $self->{loop}->timer($delay, $self, 'fetch_on');
    return;
}

sub listen_later { return $_[0]->fetch_on_after(LISTENER_INTERVAL) }

sub listen_again {
    my ($self) = @_;
    return $self->{delivery}->is_unheard ? $self->listen_later : undef;
}

# A Fetch that left without a partition whose position is known a moment later
# would keep it waiting for as long as the broker has nothing of the others.
sub _nodes_about_to_resolve {
    my ($self, @looked_up) = @_;
    my $now = $self->{loop}->now;
    my (%nodes, $soonest);
    for my $assigned (@looked_up) {
        my $cursor = $self->{assigned}->cursor($assigned);
        next unless $cursor->is_resolving;
        my $left = $cursor->{resolving} + $RESOLVING_GRACE - $now;
        next if $left <= 0;
        my $leader = $self->{cluster}->leader(@$assigned{qw(topic partition)});
        next unless defined $leader;
        $nodes{$leader} = 1;
        $soonest = $left if !defined $soonest || $left < $soonest;
    }
    # One timer, of however many partitions.
    $self->fetch_on_after($soonest) if defined $soonest;
    return \%nodes;
}

# The brokers that lead a partition whose position is known. Others are looked
# for, and so is their position; $waits->($assigned, $cursor) hears of the latter.
sub nodes_to_ask {
    my ($self, $waits) = @_;
    my ($places, $cluster) = @$self{qw(places cluster)};
    $places->update;
    $self->_leave_brokers;
    # At once, and then ever more slowly until there is one.
    my @leaderless = $places->leaderless;
    $cluster->want($_->{assigned}{topic}, $_->{cursor}->leader_wait($self->{loop}->now)) for @leaderless;
    $self->{outbox}->watch($self, 'waits_for_leaders') if @leaderless;
    for my $place ($places->waiting) {
        my ($assigned, $cursor) = @$place{qw(assigned cursor)};
        $waits->($assigned, $cursor);
        $self->{position}->find_in_time($assigned, $cursor) unless $cursor->is_resolving || $cursor->is_checking;
    }
    return $places->nodes;
}

# See EV::Kafka::Waits: one word for each topic.
sub waits_for_leaders {
    my ($self) = @_;
    my ($places, $cluster) = @$self{qw(places cluster)};
    return unless $cluster->is_connected;
    $places->update;
    my %of;
    push @{ $of{ $_->{topic} } }, $_->{partition} for map { $_->{assigned} } $places->leaderless;
    return map { $self->_wait_for_leader($_, @{ $of{$_} }) } sort keys %of;
}

sub _wait_for_leader {
    my ($self, $topic, $partition, @others) = @_;
    my ($reason, $text) = $self->{cluster}->trouble($topic, $partition) or return;
    $text .= '; nothing is fetched from it' . (@others ? ', nor from ' . @others . ' more of its partitions' : '');
    return { subject => "topic $topic", reason => $reason, text => $text, about => { topic => $topic, partition => $partition } };
}

# Those that lead nothing any more.
sub _leave_brokers {
    my ($self) = @_;
    my ($places, $brokers) = @$self{qw(places brokers)};
    for my $node_id (grep { !$places->leads($_) && !$brokers->{$_}->is_busy } keys %$brokers) {
        (delete $brokers->{$node_id})->leave;
    }
    return;
}

# Without consume the broker is asked only for what it is known to have: nobody
# may ever poll again. What was put back is there for the second time.
sub fetch_ahead {
    my ($self, $node_id, $has_backlog) = @_;
    my $delivery = $self->{delivery};
    return unless $delivery->is_consuming || $has_backlog;
    return if $delivery->has_undelivered($node_id);
    $self->{places}->update;
    return $self->ask($node_id);
}

# What is known of the partitions was just looked at.

sub ask {
    my ($self, $node_id, $round) = @_;
    $self->{delivery}->nobody_listens unless $self->{delivery}->listener;
    return $self->_broker($node_id)->ask($round);
}

sub _broker {
    my ($self, $node_id) = @_;
    return $self->{brokers}{$node_id} ||= EV::Kafka::Consumer::Broker->new(%{ $self->{for_brokers} }, node_id => $node_id);
}

# What brought nothing waits for nothing.
sub _answered {
    my ($self, $broker, $fetch, $fetched) = @_;
    my @parts = $self->{answer}->read($broker, $fetch, $fetched);
    return unless $broker->forget($fetch);
    return $self->_fetch_again($broker, $fetch) if $self->_is_void($broker, $fetch);
    my $answer = { node_id => $broker->node_id, parts => \@parts, rounds => $fetch->{rounds}, error => $fetch->{error} };
    return $self->{delivery}->add($answer) if @parts;
    $self->{delivery}->end_answer($answer);
    return $self->fetch_on;
}

# What was being delivered does not verify: it is asked for once more.
sub damaged {
    my ($self, @part) = @_;
    return $self->{answer}->damaged(@part);
}

# A fetch that left before poll was called, for positions that nobody wants any
# more by now: poll has nothing of it.
sub _is_void {
    my (undef, $broker, $fetch) = @_;
    return $fetch->{is_ahead} && @{ $fetch->{rounds} } && !$broker->is_wanted($fetch);
}

sub _fetch_again {
    my ($self, $broker, $fetch) = @_;
    $self->{places}->update;
    for my $round (@{ $fetch->{rounds} }) {
        $self->ask($broker->node_id, $round);
        $round->leaves;
    }
    return $self->fetch_on;
}

# --- the end --------------------------------------------------------------------------

# What is under way at that broker is not waited for. Gives the rounds of poll that did.
sub give_up {
    my ($self, $node_id) = @_;
    my $broker = $self->{brokers}{$node_id} or return;
    return $broker->give_up;
}

sub void {
    my ($self, $cursor) = @_;
    $_->void($cursor) for values %{ $self->{brokers} };
    return;
}

# Gives the rounds that waited.
sub close {
    my ($self) = @_;
    $_->leave for values %{ $self->{brokers} };
    return $self->abandon;
}

# The same without a word to the brokers.
sub abandon {
    my ($self) = @_;
    my $brokers = $self->{brokers};
    @$self{qw(brokers keeps_positions)} = ({}, 0);
    delete $self->{timer};
    return map { $_->close } values %$brokers;
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Fetcher - which brokers a consumer asks, and when

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It looks for the leaders of what is assigned, and
sees to it that each has a L<EV::Kafka::Consumer::Broker>'s Fetch that could have one.

=head1 METHODS

=head2 new(%about), keep_positions($is_wanted)

With C<loop>, C<outbox>, C<options>, C<cluster>, C<offsets> and the parts C<assigned>, C<places>, C<delivery>, C<position>,
C<log> and C<answer>. Positions may be looked up also while nothing is consumed.

=head2 fetch_on, fetch_on_after($seconds), listen_later, listen_again, fetch_ahead($node_id, $has_backlog)

While consuming, all brokers are asked that can be, now or then; there may be somebody to deliver to; and
what a broker brought is being delivered.

=head2 nodes_to_ask($waits), ask($node_id, [$round]), not_found($assigned, $cursor)

The brokers to ask, for a round of C<poll> as well, which comes first; a position was looked up in vain.

=head2 damaged($part, $node_id)

What is next of a part of an answer, from that broker, does not verify.

=head2 waits_for_leaders

Leaders that are missing, as L<EV::Kafka::Waits> has it.

=head2 give_up($node_id), void($cursor), close, abandon

A broker is waited for no longer; what a seek makes void; the end, with and without a word to the brokers. All but
C<void> give the rounds that waited.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
