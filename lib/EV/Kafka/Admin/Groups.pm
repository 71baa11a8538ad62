package EV::Kafka::Admin::Groups;
use strict;
use warnings;

use EV::Kafka::Admin::Terms;
use EV::Kafka::Error;
use EV::Kafka::Partitions;

# Groups, their members and positions: { ask } is the EV::Kafka::Admin::Ask that requests go through.

use constant {
    GROUP_ID_NOT_FOUND  => 69,
    UNSUPPORTED_VERSION => 35,
};

# The first versions of ListGroups that take states (KIP-518) and types (KIP-848).
use constant {
    FILTERS_STATES => 4,
    FILTERS_TYPES  => 5,
};

# The first version of DescribeGroups that tells what the client may do (KIP-430).
use constant TELLS_OPERATIONS => 3;

# The first versions of LeaveGroup that take several members (KIP-345), and a reason (KIP-800).
use constant {
    SEVERAL_LEAVE => 3,
    SAYS_WHY      => 5,
};

# A commit of somebody who is no member.
use constant NO_GENERATION => -1;

# Which request describes a group of which kind, in the order in which they are tried.
my @KIND = (
    [consumer => 'ConsumerGroupDescribe'],
    [share    => 'ShareGroupDescribe'],
    [classic  => 'DescribeGroups'],
);

sub new { my ($class, $ask) = @_; return bless { ask => $ask }, $class }

sub list_groups {
    my ($self, $call) = @_;
    my ($states, $types) = map { [$call->names($call->option($_, []))] } qw(states types);
    return $self->{ask}->brokers(
        call   => $call,
        api    => 'ListGroups',
        least  => @$types ? FILTERS_TYPES : @$states ? FILTERS_STATES : 0,
        fields => { @$states ? (states_filter => $states) : (), @$types ? (types_filter => $types) : () },
        done   => sub {
            my (@brokers) = @_;
            my @groups = map { my ($node_id, $answer) = @$_; map { _listed($node_id, $_) } @{ ($answer || {})->{groups} || [] } } @brokers;
            return $call->done(
                { groups => [sort { $a->{group_id} cmp $b->{group_id} } @groups] },
                EV::Kafka::Error->together(map { $_->[2] || () } @brokers),
            );
        },
    );
}

sub _listed {
    my ($node_id, $found) = @_;
    return {
        coordinator => $node_id,
        EV::Kafka::Admin::Terms::same($found, qw(group_id protocol_type)),
        map { length($found->{"group_$_"} // '') ? ($_ => $found->{"group_$_"}) : () } qw(state type),
    };
}

# --- describe_groups ----------------------------------------------------------------

sub describe_groups { my ($self, $call) = @_; return $self->_describe($call, @KIND) }

sub describe_share_groups {
    my ($self, $call) = @_;
    return $self->_describe($call, grep { $_->[0] eq 'share' } @KIND);
}

sub _describe {
    my ($self, $call, @kinds) = @_;
    my @groups = $call->names($call->what);
    return $call->each_of(\@groups,
        sub { my ($group_id, $known) = @_; $self->_describe_as($call, $group_id, $known, @kinds) },
        sub { $call->done({ groups => [@_] }) });
}

# As one kind after the other, until it is one. What cannot be asked for is none.
sub _describe_as {
    my ($self, $call, $group_id, $known, $kind, @others) = @_;
    my ($type, $api) = @$kind;
    my $operations = $call->option('authorized_operations') ? 1 : 0;
    return $self->{ask}->coordinator(group => $group_id,
        call   => $call,
        api    => $api,
        least  => $operations && $api eq 'DescribeGroups' ? TELLS_OPERATIONS : 0,
        fields => sub {
            return {
                ($api eq 'DescribeGroups' ? 'groups' : 'group_ids') => [$group_id],
                $operations ? (include_authorized_operations => 1) : (),
            };
        },
        done => sub {
            my ($answer, $error) = @_;
            my $found = $answer && $answer->{groups}[0];
            my $code  = $error ? $error->code // 0 : $found->{error_code};
            return $self->_describe_as($call, $group_id, $known, @others)
                if @others && ($code == GROUP_ID_NOT_FOUND || $code == UNSUPPORTED_VERSION);
            return $known->({ group_id => $group_id, EV::Kafka::Admin::Terms::failure($error) }) if $error;
            my $described = _group($type, $found);
            return $known->($described) if $type ne 'share' || !$call->option('offsets') || $described->{error_code};
            return $self->_add_offsets($call, $described, $known);
        },
    );
}

sub _group {
    my ($type, $found) = @_;
    my $operations = EV::Kafka::Admin::Terms::operations($found->{authorized_operations});
    my %described  = (
        group_id => $found->{group_id},
        EV::Kafka::Admin::Terms::outcome($found),
        $operations ? (authorized_operations => $operations) : (),
    );
    return \%described if $found->{error_code};
    return {
        %described,
        type  => $type,
        state => $found->{group_state},
        $type eq 'classic'
            ? (protocol_type => $found->{protocol_type}, assignor => $found->{protocol_data},
                members => [map { _classic_member($found, $_) } @{ $found->{members} }])
            : (EV::Kafka::Admin::Terms::same($found, qw(group_epoch assignment_epoch)), assignor => $found->{assignor_name},
                members => [map { _member($_) } @{ $found->{members} }]),
    };
}

# What members of a consumer group say is known; that of others is bytes.
sub _classic_member {
    my ($found, $joined) = @_;
    my ($metadata, $assignment) = @$joined{qw(member_metadata member_assignment)};
    my $is_consumer = $found->{protocol_type} eq 'consumer';
    my $subscribed  = $is_consumer && length $metadata   ? EV::Kafka::_decode_subscription($metadata) : undef;
    my $assigned    = $is_consumer && length $assignment ? EV::Kafka::_decode_assignment($assignment) : undef;
    return {
        EV::Kafka::Admin::Terms::same($joined, qw(member_id client_id client_host)),
        EV::Kafka::Admin::Terms::pick($joined, instance_id => 'group_instance_id'),
        $subscribed ? (subscribed => [sort @{ $subscribed->{topics} }]) : (),
        $is_consumer ? (assignment => _sorted($assigned ? @$assigned : ())) : (metadata => $metadata, assignment_bytes => $assignment),
    };
}

sub _sorted {
    my (@topics) = @_;
    return [map { +{ topic => $_->{topic}, partitions => [sort { $a <=> $b } @{ $_->{partitions} }] } } sort { $a->{topic} cmp $b->{topic} } @topics];
}

sub _member {
    my ($joined) = @_;
    my ($assignment, $target) = map { _of_assignment($joined->{$_}) } qw(assignment target_assignment);
    return {
        EV::Kafka::Admin::Terms::same($joined, qw(member_id instance_id rack_id member_epoch client_id client_host)),
        subscribed => [sort @{ $joined->{subscribed_topic_names} }],
        length($joined->{subscribed_topic_regex} // '') ? (subscribed_pattern => $joined->{subscribed_topic_regex}) : (),
        $assignment ? (assignment        => $assignment) : (),
        $target     ? (target_assignment => $target)     : (),
        ($joined->{member_type} // -1) >= 0 ? (is_classic => $joined->{member_type} == 0 ? 1 : 0) : (),
    };
}

sub _of_assignment {
    my ($owned) = @_;
    return $owned && _sorted(map { +{ topic => $_->{topic_name}, partitions => $_->{partitions} } } @{ $owned->{topic_partitions} });
}

# Where a share group begins to read.
sub _add_offsets {
    my ($self, $call, $described, $known) = @_;
    return $self->{ask}->coordinator(group => $described->{group_id},
        call   => $call,
        api    => 'DescribeShareGroupOffsets',
        fields => { groups => [{ group_id => $described->{group_id}, topics => undef }] },
        done   => sub {
            my ($answer, $error) = @_;
            my $found = $answer && $answer->{groups}[0];
            $error ||= EV::Kafka::Error->of_code($found->{error_code}, $found->{error_message}) if $found && $found->{error_code};
            return $known->({ %$described, EV::Kafka::Admin::Terms::failure($error) }) if $error;
            my @partitions = map { my $topic = $_; map { [$topic->{topic_name}, _share_offset($_)] } @{ $topic->{partitions} } } @{ $found->{topics} };
            return $known->({ %$described, topics => EV::Kafka::Admin::Terms::by_topic(@partitions) });
        },
    );
}

sub _share_offset {
    my ($partition) = @_;
    return {
        partition => $partition->{partition_index},
        EV::Kafka::Admin::Terms::outcome($partition),
        EV::Kafka::Admin::Terms::same($partition, qw(start_offset leader_epoch lag)),
    };
}

# --- changes ------------------------------------------------------------------------

sub delete_groups {
    my ($self, $call) = @_;
    my @groups = $call->names($call->what);
    return $call->each_of(\@groups, sub {
        my ($group_id, $known) = @_;
        return $self->{ask}->coordinator(group => $group_id,
            call   => $call,
            api    => 'DeleteGroups',
            fields => { groups_names => [$group_id] },
            done   => sub {
                my ($answer, $error) = @_;
                my @outcome = $error ? EV::Kafka::Admin::Terms::failure($error) : EV::Kafka::Admin::Terms::outcome($answer->{results}[0]);
                return $known->({ group_id => $group_id, @outcome });
            },
        );
    }, sub { $call->done({ groups => [@_] }) });
}

sub delete_group_offsets {
    my ($self, $call) = @_;
    my @topics = $call->elements($call->what(1), qw(!topic !partition));
    my $by_topic = EV::Kafka::Partitions::by_topic(map { [$_->{topic}, { partition_index => $_->{partition} }] } @topics);
    return $self->_change_offsets($call, 'OffsetDelete', {
        topics => [map { { name => $_->{topic}, partitions => $_->{partitions} } } @$by_topic],
    });
}

sub alter_group_offsets {
    my ($self, $call) = @_;
    my @offsets = $call->elements($call->what(1), qw(!topic !partition !offset leader_epoch metadata));
    my $by_topic = EV::Kafka::Partitions::by_topic(map { [$_->{topic}, {
        partition_index    => $_->{partition},
        committed_offset   => $_->{offset},
        committed_metadata => $_->{metadata} // '',
        EV::Kafka::Admin::Terms::pick($_, committed_leader_epoch => 'leader_epoch'),
    }] } @offsets);
    return $self->_change_offsets($call, 'OffsetCommit', {
        generation_id_or_member_epoch => NO_GENERATION,
        topics => [map { { name => $_->{topic}, partitions => $_->{partitions} } } @$by_topic],
    });
}

sub _change_offsets {
    my ($self, $call, $api, $fields) = @_;
    return $self->{ask}->coordinator(group => $call->what,
        call   => $call,
        api    => $api,
        fields => { %$fields, group_id => $call->what },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ topics => EV::Kafka::Admin::Terms::by_topic(map {
                my $topic = $_;
                map { [$topic->{name}, { partition => $_->{partition_index}, error_code => $_->{error_code} }] } @{ $topic->{partitions} }
            } @{ $answer->{topics} }) });
        },
    );
}

# Those that are named, or all that are there.
sub remove_members {
    my ($self, $call) = @_;
    my $members = $call->what(1);
    return $self->_remove($call, $call->elements($members, qw(member_id instance_id))) if $members;
    return $self->_describe_as($call, $call->what, sub {
        my ($found) = @_;
        return $call->fail(EV::Kafka::Error->of_code(@$found{qw(error_code error_message)})) if $found->{error_code} > 0;
        return $call->fail($found->{error_message}) if $found->{error_code};
        return $self->_remove($call, @{ $found->{members} });
    }, grep { $_->[0] eq 'classic' } @KIND);
}

sub _remove {
    my ($self, $call, @members) = @_;
    return $call->done({ members => [] }) unless @members;
    my $reason = $call->option('reason');
    my @leave  = map { _leaver($call, $_) } @members;
    return $self->{ask}->coordinator(group => $call->what,
        call   => $call,
        api    => 'LeaveGroup',
        least  => SEVERAL_LEAVE,
        fields => sub {
            my ($version) = @_;
            my @said = defined $reason && $version >= SAYS_WHY ? (reason => $reason) : ();
            return { group_id => $call->what, members => [map { { %$_, @said } } @leave] };
        },
        done => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ members => [map { {
                error_code => $_->{error_code},
                length $_->{member_id} ? (member_id => $_->{member_id}) : (),
                EV::Kafka::Admin::Terms::pick($_, instance_id => 'group_instance_id'),
            } } @{ $answer->{members} }] });
        },
    );
}

# A static member is known by its name alone.
sub _leaver {
    my ($call, $joined) = @_;
    my ($id, $instance) = @$joined{qw(member_id instance_id)};
    $call->croak('missing member_id or instance_id') unless defined $id || defined $instance;
    return defined $instance ? { member_id => '', group_instance_id => $instance } : { member_id => $id };
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Groups - admin methods about groups

=head1 DESCRIPTION

A part of L<EV::Kafka::Admin>, which describes the methods. Each gets its L<EV::Kafka::Admin::Call>.

=head1 METHODS

=head2 new($ask)

Of an L<EV::Kafka::Admin::Ask>.

=head2 list_groups($call), describe_groups($call), describe_share_groups($call), delete_groups($call)

As L<EV::Kafka::Admin> has them.

=head2 delete_group_offsets($call), alter_group_offsets($call), remove_members($call)

As L<EV::Kafka::Admin> has them.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
