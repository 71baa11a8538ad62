package EV::Kafka::Consumer::Places;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# At which broker each assigned partition may be fetched, or what it waits for first. Only what has changed is
# looked at again: cursors say so themselves, and the cluster when leaders have changed.
#   places      by "topic:partition": { key, index in the list, assigned, cursor, node_id if it may be fetched,
#               in }, the latter being that of the next three which it is in; neither that nor the cursor is kept alive
#   at          node_id => { key => place }, what may be fetched from that broker
#   leaderless  key => place, what has no leader
#   waiting     key => place, what has one, but its position is not known, or not checked
#   touched     node_id => { key => 1 }, what may have changed since the broker was asked last
#   leads       node_id => 1, who leads anything that is assigned
#   version     of what is assigned, undef when all is to be looked at again
#   seen        what programs may have written to
#   looked_at   when that was looked at last

# Up to so many partitions that is done each time, of more at most every so many seconds.
use constant {
    LOOK_ALWAYS   => 16,
    LOOK_INTERVAL => 0.05,
};

sub new {
    my ($class, %about) = @_;
    return bless {
        map({ $_ => $about{$_} } qw(loop options cluster assigned)),
        places => {}, at => {}, leaderless => {}, waiting => {}, touched => {}, leads => {}, version => undef,
        seen => EV::Kafka::Consumer::Seen->new, looked_at => 0,
    }, $class;
}

# --- what there is ----------------------------------------------------------------------

# Brokers from which something may be fetched.
sub nodes {
    my ($self) = @_;
    my $at = $self->{at};
    return sort { $a <=> $b } grep { %{ $at->{$_} } } keys %$at;
}

sub at         { return $_[0]{at}{ $_[1] } ||= {} }
# In the order of the list.
sub leaderless { return _in_order($_[0]{leaderless}) }
sub waiting    { return _in_order($_[0]{waiting}) }
sub leads      { return $_[0]{leads}{ $_[1] } }

sub _in_order {
    my ($places) = @_;
    return sort { $a->{index} <=> $b->{index} } values %$places;
}

# The broker takes out of it what it knows by now.
sub touched { return $_[0]{touched}{ $_[1] } ||= {} }

# --- what has changed -------------------------------------------------------------------

sub leaders_changed { $_[0]{version} = undef; return }

# What the client has changed itself.
sub settle {
    my ($self) = @_;
    my $assigned = $self->{assigned};
    return $self->_begin_anew if !defined $self->{version} || $self->{version} != $assigned->version;
    my $places  = $self->{places};
    my @changed = $assigned->take_changed or return;
    $self->_put($_) for map { $places->{$_} || () } @changed;
    # What a program writes meanwhile may be what stood there before.
    $self->{seen}->doubt(\@changed) if keys %$places > LOOK_ALWAYS;
    return;
}

# And what programs have written.
sub update {
    my ($self) = @_;
    my $list = $self->{assigned}->list;
    if (defined $self->{version} && $self->_may_look($list)) {
        my $changed = $self->{seen}->changes($list, $self->{options}{leaders}) or return $self->_begin_anew;
        $self->{assigned}->changed(@$changed) if @$changed;
    }
    return $self->settle;
}

sub _may_look {
    my ($self, $list) = @_;
    return 1 if @$list <= LOOK_ALWAYS;
    my $now = $self->{loop}->now;
    return 0 if $now - $self->{looked_at} < LOOK_INTERVAL;
    $self->{looked_at} = $now;
    return 1;
}

sub _begin_anew {
    my ($self) = @_;
    my ($assigned, $at, $touched) = @$self{qw(assigned at touched)};
    for my $node_id (keys %$at) {
        $touched->{$node_id}{$_} = 1 for keys %{ $at->{$node_id} };
    }
    @$self{qw(places at leaderless waiting leads)} = ({}, {}, {}, {}, {});
    $self->{version} = $assigned->version;
    my $list = $assigned->list;
    my @keys = map { "$_->{topic}:$_->{partition}" } @$list;
    $self->{seen}->take($list, \@keys);
    $self->{seen}->changes($list, $self->{options}{leaders});
    for my $index (0 .. $#keys) {
        my ($key, $entry) = ($keys[$index], $list->[$index]);
        my $place = $self->{places}{$key}
            = { key => $key, index => $index, assigned => $entry, cursor => $assigned->cursor($entry) };
        weaken($place->{cursor});
        $self->_put($place);
    }
    # All of it was looked at just now.
    $assigned->take_changed;
    return;
}

sub _put {
    my ($self, $place) = @_;
    my ($key, $assigned, $cursor, $was) = @$place{qw(key assigned cursor node_id)};
    my $leader = $self->{cluster}->leader(@$assigned{qw(topic partition)});
    $cursor->stands_at($assigned->{offset}) if $cursor->is_stranded;
    my $is_fetchable = defined $leader && $assigned->{offset} >= 0 && $cursor->is_fetchable;
    $self->{touched}{$was}{$key}    = 1 if defined $was;
    $self->{touched}{$leader}{$key} = 1 if $is_fetchable;
    # Mostly it is where it was.
    return if $is_fetchable && defined $was && $was == $leader;
    delete $place->{in}{$key} if $place->{in};
    my $in = $place->{in} = $is_fetchable ? $self->at($leader) : $self->_where_it_waits($place, $leader);
    if ($in) {
        $in->{$key} = $place;
        weaken($place->{in});
    }
    $place->{node_id} = $is_fetchable ? $leader : undef;
    return unless defined $leader;
    $self->{leads}{$leader} = 1;
    return $cursor->leader_found;
}

# Undef for what the program has stopped, or has not been told of.
sub _where_it_waits {
    my ($self, $place, $leader) = @_;
    my ($assigned, $cursor) = @$place{qw(assigned cursor)};
    return undef               if $cursor->is_stopped;
    return $self->{leaderless} if !defined $leader;
    return $assigned->{offset} < 0 || $cursor->is_resolving || $cursor->is_checking ? $self->{waiting} : undef;
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Places - at which broker what is assigned may be fetched

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It sorts the assigned partitions by what can be done with
them, and knows which of them may have changed since their broker was asked last, so that a Fetch costs
nothing for those that have not.

=head1 METHODS

=head2 new(%about)

With C<loop>, C<options>, C<cluster> and C<assigned>.

=head2 nodes, at($node_id), leaderless, waiting, leads($node_id)

The brokers to ask; what may be fetched from one, by C<topic:partition>; what has no leader; what has one and no
position, or none that is checked; whether a broker leads anything that is assigned. A place has C<assigned> and C<cursor>.

=head2 touched($node_id)

By C<topic:partition> what may have changed since the broker was asked last. The broker deletes what it has seen to.

=head2 settle, update, leaders_changed

Takes in what the client has changed; also what programs have written to C<{assignments}> and C<{leaders}>; all is to be
looked at again.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
