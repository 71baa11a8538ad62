package EV::Kafka::Leader;
use strict;
use warnings;

use List::Util ();

use EV::Kafka::Assignor;
use EV::Kafka::Partitions;

# Seconds the leader waits for the metadata of topics that others subscribe to,
# while the whole group waits for the leader.
use constant METADATA_PATIENCE => 5;

# Seconds between looks for a subscribed topic that does not exist yet.
use constant {
    TOPIC_BACKOFF     => 0.2,
    TOPIC_BACKOFF_MAX => 10,
};

# What this member offers to the group: its assignors, the preferred one first,
# each with the subscription in its words.
sub _offers {
    my ($self, $group) = @_;
    my $generation = $group->{assigned_generation} // -1;
    my $owned      = _by_topic(map { [@$_{qw(topic partition)}] } @{ $self->{cfg}{assignments} });
    my $had        = $group->{assigned} || [];
    return [map { {
        name     => $_,
        metadata => EV::Kafka::_encode_subscription($group->{topics}, $owned, $generation,
            $_ eq 'sticky' && @$had ? EV::Kafka::_encode_sticky_data(_by_topic(@$had), $generation) : undef),
    } } @{ $group->{assignors} }];
}

sub _by_topic { return EV::Kafka::Partitions::by_topic(sort { $a->[1] <=> $b->[1] } @_) }

# --- leading --------------------------------------------------------------------

sub _lead_group {
    my ($self, $group, $answer) = @_;
    my $members = $self->_read_group($group, $answer);
    my %topics  = map { $_ => 1 } map { @{ $_->{topics} } } values %$members;
    my $counts  = $self->{cluster}->partition_counts;
    my @unknown = grep { !$counts->{$_} } sort keys %topics;
    $group->{leading} = { order => [map { $_->{member_id} } @{ $answer->{members} }], members => $members };
    return $self->_assign_group($group) unless @unknown;
    $group->{leading}{unknown} = \@unknown;
    $self->_group_timer(lead => METADATA_PATIENCE, '_assign_group');
    $self->_refresh_metadata_for_topic($_) for @unknown;
    return;
}

sub _assign_group {
    my ($self, $group) = @_;
    delete $self->{cfg}{group_timers}{lead};
    my $leading = delete $group->{leading} or return;
    return unless $group->{state} eq 'joining';
    @$group{qw(led uncounted)} = ($self->_topics_of($leading->{members}), []);
    $self->_watch_topics unless $self->{cfg}{group_timers}{watch};
    return $self->_sync_group($group,
        $self->_share_out($group->{assignor}, $leading->{members}, $leading->{order}));
}

sub _read_group {
    my ($self, $group, $answer) = @_;
    return $self->_read_members($answer->{members}, $group->{assignor}, $group->{topics});
}

# Of a topic that is not known yet, what metadata says first is what has been shared out.
sub _watch_for_group {
    my ($self, $group, $members) = @_;
    my $led = $group->{led} = $self->_topics_of($members);
    $group->{uncounted} = [grep { !$led->{$_} } keys %$led];
    $self->_refresh_metadata_for_topic($_) for @{ $group->{uncounted} };
    $self->_watch_topics unless $self->{cfg}{group_timers}{watch};
    return;
}

sub _count_uncounted {
    my ($self, $group, $counts) = @_;
    my @left;
    for my $topic (@{ $group->{uncounted} || [] }) {
        if    ($counts->{$topic})                   { $group->{led}{$topic} = $counts->{$topic} }
        elsif ($self->{cluster}->is_wanted($topic)) { push @left, $topic }
    }
    $group->{uncounted} = \@left;
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
sub _read_members {
    my ($self, $members, $assignor, $topics) = @_;
    my $last = $self->{cfg}{last_assignment} || {};
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
        };
    }
    return \%read;
}

sub _share_out {
    my ($self, $assignor, $members, $order) = @_;
    my $assigned = EV::Kafka::Assignor->assign($assignor, $members, $self->{cluster}->partition_counts);
    $self->{cfg}{last_assignment} = $assigned;
    return [map { {
        member_id  => $_,
        assignment => EV::Kafka::_encode_assignment(_by_topic(@{ $assigned->{$_} })),
    } } @$order];
}

# Tests of programs call it by this name.
sub _assign_partitions {
    my ($self, $members, $topics) = @_;
    my $read = $self->_read_members($members, 'sticky', $topics);
    return $self->_share_out('sticky', $read, [map { $_->{member_id} } @$members]);
}

# --- watching -------------------------------------------------------------------

# After each answer with metadata.
sub _group_metadata_changed {
    my ($self) = @_;
    my $cfg   = $self->{cfg};
    my $group = $cfg->{group} or return;
    if (my $leading = $group->{leading}) {
        return if grep { $self->{cluster}->is_wanted($_) } @{ $leading->{unknown} };
        return $self->_assign_group($group);
    }
    return $self->_reconcile($group) if $group->{target};
    return unless $group->{led};
    my $counts = $self->{cluster}->partition_counts;
    $self->_count_uncounted($group, $counts);
    return unless $group->{state} eq 'stable';
    my $led    = $group->{led};
    my @grown  = grep { ($counts->{$_} || 0) > $led->{$_} } keys %$led;
    my @shrunk = grep { ($counts->{$_} || 0) < $led->{$_} } keys %$led;
    return $self->_rejoin($group) if @grown || $self->_is_confirmed($group, @shrunk);
    $self->_refresh_metadata_for_topic($_) for @shrunk;
    return;
}

# A broker that lags behind does not know a topic, or all of its partitions, yet: what has
# been deleted is gone also in the next answer.
sub _is_confirmed {
    my ($self, $group, @shrunk) = @_;
    my $before = $group->{shrunk} || {};
    $group->{shrunk} = { map { $_ => 1 } @shrunk };
    return @shrunk && !grep { !$before->{$_} } @shrunk;
}

# Topics that are to come are looked for more often than metadata is refreshed: a
# member's own, and the leader looks for everybody's.
sub _watch_topics {
    my ($self) = @_;
    my $group  = $self->{cfg}{group};
    my $counts = $self->{cluster}->partition_counts;
    my %topics = map { $_ => 1 } @{ $group->{topics} }, keys %{ $group->{led} || {} };
    my @absent = grep { !$counts->{$_} } keys %topics or return;
    $self->_refresh_metadata_for_topic($_) for @absent;
    my $wait = $self->_backoff(++$group->{looks}, TOPIC_BACKOFF, TOPIC_BACKOFF_MAX);
    return $self->_group_timer(watch => $wait, '_watch_topics');
}

1;

__END__

=head1 NAME

EV::Kafka::Leader - what the member of a consumer group does that is its leader

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It reads what the members
tell, has an assignor share out the partitions, and calls for another rebalance
when a topic that they subscribe to appears, grows, shrinks or is deleted.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>, L<EV::Kafka::Assignor>

=cut
