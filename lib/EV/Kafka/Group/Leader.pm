package EV::Kafka::Group::Leader;
use strict;
use warnings;

use EV::Kafka::Assignor;
use EV::Kafka::Partitions;

# What the member does that the group's partitions are shared out by, and what each member offers
# and watches for that:
#   last       by member id, the [topic, partition], … that were shared out last, by whichever
#              member of this client has led
#   leading    a share-out that waits for metadata: { assignor, order, members, unknown }
#   led        by topic, how many partitions the group has shared out
#   led_racks  where these had replicas then, as a text, if this member has a rack
#   uncounted  topics of that of which metadata has not said anything yet
#   shrunk     topics that metadata has lost, or has less of, as of its last answer
#   looks      how often absent topics were looked for

# Seconds the leader waits for the metadata of topics that others subscribe to,
# while the whole group waits for the leader.
use constant METADATA_PATIENCE => 5;

# Seconds between looks for a subscribed topic that does not exist yet.
use constant {
    TOPIC_BACKOFF     => 0.2,
    TOPIC_BACKOFF_MAX => 10,
};

# $about{last}: a reference that outlives this one.
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(member loop cluster last)), led => undef, uncounted => [], shrunk => {}, looks => 0 }, $class;
}

# No timer of it fires any more.
sub rests {
    my ($self) = @_;
    delete @$self{qw(watch_timer lead_timer leading)};
    return;
}

# What this member offers to the group: its assignors, the preferred one first, each with the
# subscription in its words. $owned and $had: [topic, partition], … that it has, and was
# assigned last.
sub offers {
    my ($self, $owned, $had, $generation) = @_;
    my $record = $self->{member}->record;
    $owned = _by_topic(@$owned);
    return [map { {
        name     => $_,
        metadata => EV::Kafka::_encode_subscription($record->{topics}, $owned, $generation, _user_data($_, $had, $generation), $self->{member}->rack),
    } } @{ $record->{assignors} }];
}

# Leaders that know no generation in subscriptions look for it here, as Java's sticky assignors tell it.
sub _user_data {
    my ($assignor, $had, $generation) = @_;
    return EV::Kafka::_encode_cooperative_data($generation) if $assignor eq 'cooperative-sticky';
    return $assignor eq 'sticky' && @$had ? EV::Kafka::_encode_sticky_data(_by_topic(@$had), $generation) : undef;
}

sub _by_topic { return EV::Kafka::Partitions::by_topic(sort { $a->[1] <=> $b->[1] } @_) }

# --- leading --------------------------------------------------------------------

# Tells what is shared out, once the topics of all members are known.
sub lead {
    my ($self, $assignor, $told) = @_;
    my $members = $self->read_members($told, $assignor, $self->{member}->record->{topics});
    my %topics  = map { $_ => 1 } map { @{ $_->{topics} } } values %$members;
    my $counts  = $self->{cluster}->partition_counts;
    my @unknown = grep { !$counts->{$_} } sort keys %topics;
    $self->{leading} = {
        assignor => $assignor, order => [map { $_->{member_id} } @$told], members => $members, unknown => \@unknown,
    };
    return $self->_assign unless @unknown;
    $self->{lead_timer} = $self->{loop}->timer(METADATA_PATIENCE, $self, '_assign');
    $self->{cluster}->want($_) for @unknown;
    return;
}

sub _assign {
    my ($self) = @_;
    delete $self->{lead_timer};
    my $leading = delete $self->{leading} or return;
    my $member  = $self->{member};
    return unless $member->state eq 'joining';
    @$self{qw(led uncounted)} = ($self->_topics_of($leading->{members}), []);
    $self->{led_racks} = $self->_racks_as_text;
    $self->watch unless $self->{watch_timer};
    return $member->tells(shared_out => $self->share_out(@$leading{qw(assignor members order)}));
}

# Somebody else shares out, or nobody. Of a topic that is not known yet, what metadata says first
# is what has been shared out.
sub follow {
    my ($self, $assignor, $told) = @_;
    my $members = $self->read_members($told, $assignor, $self->{member}->record->{topics});
    my $led = $self->{led} = $self->_topics_of($members);
    $self->{uncounted} = [grep { !$led->{$_} } keys %$led];
    $self->{led_racks} = $self->_racks_as_text;
    $self->{cluster}->want($_) for @{ $self->{uncounted} };
    $self->watch unless $self->{watch_timer};
    return;
}

# What the members subscribe to, and how many partitions of it are known.
sub _topics_of {
    my ($self, $members) = @_;
    my $counts = $self->{cluster}->partition_counts;
    return { map { $_ => $counts->{$_} || 0 } map { @{ $_->{topics} } } values %$members };
}

# Members of other clients tell what they have in other ways, and some, as
# EV::Kafka before 1.00, not at all: then what was assigned last counts.
sub read_members {
    my ($self, $members, $assignor, $topics) = @_;
    my $last = ${ $self->{last} } || {};
    my %read;
    for my $member (@$members) {
        my $told = EV::Kafka::_decode_subscription($member->{metadata} // '') || { topics => $topics, owned => [] };
        my $data = $told->{user_data};
        if (defined $data && $assignor eq 'sticky') {
            my $sticky = EV::Kafka::_decode_sticky_data($data);
            @$told{qw(owned generation)} = @$sticky{qw(owned generation)} if $sticky;
        }
        elsif (defined $data && $assignor eq 'cooperative-sticky') {
            $told->{generation} //= EV::Kafka::_decode_cooperative_data($data);
        }
        my @owned = EV::Kafka::Partitions::flat($told->{owned});
        @owned = @{ $last->{ $member->{member_id} } || [] } unless @owned || defined $told->{generation};
        $read{ $member->{member_id} } = {
            topics     => $told->{topics},
            owned      => \@owned,
            generation => $told->{generation},
            instance   => $member->{group_instance_id},
            rack       => $told->{rack},
        };
    }
    return \%read;
}

# [{ member_id, assignment }] in the order that is given.
sub share_out {
    my ($self, $assignor, $members, $order) = @_;
    my $cluster  = $self->{cluster};
    my %topics   = map { $_ => 1 } map { @{ $_->{topics} } } grep { length($_->{rack} // '') } values %$members;
    my $assigned = EV::Kafka::Assignor->assign($assignor, $members, $cluster->partition_counts, $cluster->partition_racks(keys %topics));
    ${ $self->{last} } = $assigned;
    return [map { {
        member_id  => $_,
        assignment => EV::Kafka::_encode_assignment(_by_topic(@{ $assigned->{$_} })),
    } } @$order];
}

# --- watching -------------------------------------------------------------------

# After each answer with metadata. True when the group has to share out again.
sub metadata_changed {
    my ($self) = @_;
    my $cluster = $self->{cluster};
    if (my $leading = $self->{leading}) {
        $self->_assign unless grep { $cluster->is_wanted($_) } @{ $leading->{unknown} };
        return 0;
    }
    my $led = $self->{led} or return 0;
    my $counts = $cluster->partition_counts;
    $self->_count_uncounted($counts);
    return 0 unless $self->{member}->state eq 'stable';
    my @grown  = grep { ($counts->{$_} || 0) > $led->{$_} } keys %$led;
    my @shrunk = grep { ($counts->{$_} || 0) < $led->{$_} } keys %$led;
    return 1 if @grown || $self->_is_confirmed(@shrunk) || !@shrunk && $self->_racks_as_text ne $self->{led_racks};
    $cluster->want($_) for @shrunk;
    return 0;
}

sub _count_uncounted {
    my ($self, $counts) = @_;
    my @left;
    for my $topic (@{ $self->{uncounted} }) {
        if    ($counts->{$topic})                     { $self->{led}{$topic} = $counts->{$topic} }
        elsif ($self->{cluster}->is_wanted($topic)) { push @left, $topic }
    }
    $self->{uncounted} = \@left;
    return;
}

# A broker that lags behind does not know a topic, or all of its partitions, yet: what has
# been deleted is gone also in the next answer.
sub _is_confirmed {
    my ($self, @shrunk) = @_;
    my $before = $self->{shrunk};
    $self->{shrunk} = { map { $_ => 1 } @shrunk };
    return @shrunk && !grep { !$before->{$_} } @shrunk;
}

# As in Java, replicas in other racks are worth another sharing to who has a rack.
sub _racks_as_text {
    my ($self) = @_;
    return '' unless defined $self->{member}->rack;
    my $racks = $self->{cluster}->partition_racks(keys %{ $self->{led} });
    return join "\n", map { my $topic = $_; join ' ', $topic, map { join ',', sort keys %$_ } @{ $racks->{$topic} } } sort keys %$racks;
}

# Topics that are to come are looked for more often than metadata is refreshed: a
# member's own, and the leader looks for everybody's.
sub watch {
    my ($self) = @_;
    delete $self->{watch_timer};
    my $counts = $self->{cluster}->partition_counts;
    my %topics = map { $_ => 1 } @{ $self->{member}->record->{topics} }, keys %{ $self->{led} || {} };
    my @absent = grep { !$counts->{$_} } keys %topics or return;
    $self->{cluster}->want($_) for @absent;
    my $wait = $self->{loop}->backoff(++$self->{looks}, TOPIC_BACKOFF, TOPIC_BACKOFF_MAX);
    $self->{watch_timer} = $self->{loop}->timer($wait, $self, 'watch');
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Leader - what the member of a consumer group does that is its leader

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself. It reads what the members
tell, has an assignor share out the partitions, and calls for another rebalance
when a topic that they subscribe to appears, grows, shrinks or is deleted.

=head1 METHODS

=head2 new(%about), rests

For a member; until it leaves or stops.

=head2 offers(\@owned, \@had, $generation)

What JoinGroup says of the member, for each of its assignors.

=head2 lead($assignor, \@members), follow($assignor, \@members)

The members as JoinGroup's answer has them: to share out, which tells C<shared_out>, or only to
watch.

=head2 watch, metadata_changed

Looks for topics that are not there yet; true when the group has to share out again.

=head2 read_members(\@members, $assignor, \@topics), share_out($assignor, \%members, \@order)

The two steps of it.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>, L<EV::Kafka::Assignor>

=cut
