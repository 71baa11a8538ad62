package EV::Kafka::Admin::Topics;
use strict;
use warnings;

use EV::Kafka::Admin::Terms;

# Topics and their partitions: { ask } is the EV::Kafka::Admin::Ask that requests go through.

# The first version of DeleteTopics in which a topic is more than its name (KIP-516).
use constant DELETES_BY_STATE => 6;

# The first versions of Metadata in which null, not an empty list, asks for all topics; that are told whether topics may be
# created (KIP-204); and that tell what the client may do with them (KIP-430).
use constant {
    NULL_FOR_ALL           => 1,
    SAYS_WHETHER_TO_CREATE => 4,
    TELLS_OPERATIONS       => 8,
};

# Of DescribeTopicPartitions, Java's default.
use constant PARTITIONS_IN_PAGE => 2_000;

sub new { my ($class, $ask) = @_; return bless { ask => $ask }, $class }

sub create_topics {
    my ($self, $call) = @_;
    my @topics = map { _creatable($call, $_) }
        $call->elements($call->what, qw(!name num_partitions replication_factor assignments configs));
    my $validate_only = $call->option('validate_only') ? 1 : 0;
    return $self->{ask}->controller(
        call   => $call,
        api    => 'CreateTopics',
        fields => sub { { topics => \@topics, timeout_ms => $call->broker_ms, $validate_only ? (validate_only => 1) : () } },
        done   => sub { _told($call, [map { _created($_) } @{ ($_[0] || {})->{topics} || [] }], $_[1]) },
    );
}

# Both counts are 1 unless they are given, -1 where replicas are.
sub _creatable {
    my ($call, $topic) = @_;
    my $assignments = $topic->{assignments};
    my $configs     = $topic->{configs} || {};
    $call->croak('configs must be a hashref') unless ref $configs eq 'HASH';
    return {
        name               => $topic->{name},
        num_partitions     => $topic->{num_partitions}     // ($assignments ? -1 : 1),
        replication_factor => $topic->{replication_factor} // ($assignments ? -1 : 1),
        assignments        => _numbered($call, $assignments),
        configs            => [map { { name => $_, value => $configs->{$_} } } sort keys %$configs],
    };
}

# The brokers of partition 0, of partition 1, …
sub _numbered {
    my ($call, $assignments) = @_;
    return [] unless $assignments;
    $call->croak('assignments must be an arrayref of arrayrefs') if ref $assignments ne 'ARRAY' || grep { ref ne 'ARRAY' } @$assignments;
    return [map { { partition_index => $_, broker_ids => $assignments->[$_] } } 0 .. $#$assignments];
}

sub _created {
    my ($topic) = @_;
    my $id = EV::Kafka::Admin::Terms::id($topic->{topic_id});
    my $is_told = !$topic->{error_code} && ($topic->{num_partitions} // -1) >= 0;
    return {
        name => $topic->{name},
        EV::Kafka::Admin::Terms::outcome($topic),
        defined $id ? (topic_id => $id) : (),
        $is_told ? EV::Kafka::Admin::Terms::same($topic, qw(num_partitions replication_factor)) : (),
    };
}

sub delete_topics {
    my ($self, $call) = @_;
    my @names = $call->names($call->what);
    return $self->{ask}->controller(
        call   => $call,
        api    => 'DeleteTopics',
        fields => sub {
            my ($version) = @_;
            return {
                timeout_ms => $call->broker_ms,
                $version >= DELETES_BY_STATE ? (topics => [map { { name => $_ } } @names]) : (topic_names => \@names),
            };
        },
        done => sub { _told($call, [map { _named($_) } @{ ($_[0] || {})->{responses} || [] }], $_[1]) },
    );
}

sub _named {
    my ($topic) = @_;
    return { name => $topic->{name}, EV::Kafka::Admin::Terms::outcome($topic) };
}

sub create_partitions {
    my ($self, $call) = @_;
    my @topics = map {
        my $assignments = $_->{assignments};
        +{
            name        => $_->{name},
            count       => $_->{count},
            assignments => $assignments && [map { { broker_ids => $_->{broker_ids} } } @{ _numbered($call, $assignments) }],
        }
    } $call->elements($call->what, qw(!name !count assignments));
    return $self->{ask}->controller(
        call   => $call,
        api    => 'CreatePartitions',
        fields => sub { { topics => \@topics, timeout_ms => $call->broker_ms, validate_only => $call->option('validate_only') ? 1 : 0 } },
        done   => sub { _told($call, [map { _named($_) } @{ ($_[0] || {})->{results} || [] }], $_[1]) },
    );
}

# What a request about several has come to: an error of the whole alone, or what became of each.
sub _told {
    my ($call, $elements, $error) = @_;
    return $call->fail($error) if $error;
    # Brokers answer in an order of their own.
    my ($next, %place) = (0);
    $place{ ref $_ ? $_->{name} : $_ } //= $next++ for @{ $call->what };
    return $call->done({ topics => [sort { $place{ $a->{name} // '' } <=> $place{ $b->{name} // '' } } @$elements] });
}

# --- describe_topics ----------------------------------------------------------------

sub describe_topics {
    my ($self, $call) = @_;
    my $names = $call->what && [$call->names($call->what)];
    my $operations = $call->option('authorized_operations') ? 1 : 0;
    return $call->option('eligible_replicas') && $names
        ? $self->_page($call, $names, undef, [])
        : $self->{ask}->any(
            call   => $call,
            api    => 'Metadata',
            least  => $operations ? TELLS_OPERATIONS : 0,
            fields => sub { _metadata($_[0], $names, $operations) },
            done   => sub { $self->_described($call, @_) },
        );
}

sub _metadata {
    my ($version, $names, $operations) = @_;
    my $topics = $names ? [map { { name => $_ } } @$names] : $version >= NULL_FOR_ALL ? undef : [];
    return {
        topics => $topics,
        # Where it cannot be said, brokers create what they like.
        allow_auto_topic_creation => $version < SAYS_WHETHER_TO_CREATE ? 1 : 0,
        $operations ? (include_topic_authorized_operations => 1) : (),
    };
}

sub _described {
    my ($self, $call, $answer, $error) = @_;
    return $call->fail($error) if $error;
    return $call->done({ topics => [sort { $a->{name} cmp $b->{name} } map { _topic($_) } @{ $answer->{topics} }] });
}

sub _topic {
    my ($topic) = @_;
    my $id         = EV::Kafka::Admin::Terms::id($topic->{topic_id});
    my $operations = EV::Kafka::Admin::Terms::operations($topic->{topic_authorized_operations});
    return {
        name        => $topic->{name},
        error_code  => $topic->{error_code},
        is_internal => $topic->{is_internal} // 0,
        defined $id ? (topic_id => $id) : (),
        $operations ? (authorized_operations => $operations) : (),
        partitions => [sort { $a->{partition} <=> $b->{partition} } map { _partition($_) } @{ $topic->{partitions} }],
    };
}

sub _partition {
    my ($partition) = @_;
    return {
        EV::Kafka::Admin::Terms::same($partition, qw(error_code leader_epoch offline_replicas eligible_leader_replicas last_known_elr)),
        EV::Kafka::Admin::Terms::pick($partition, partition => 'partition_index', leader => 'leader_id', replicas => 'replica_nodes', isr => 'isr_nodes'),
    };
}

# Answers may be split in the middle of a topic (KIP-966).
sub _page {
    my ($self, $call, $names, $cursor, $topics) = @_;
    return $self->{ask}->any(
        call   => $call,
        api    => 'DescribeTopicPartitions',
        fields => {
            topics                   => [map { { name => $_ } } sort @$names],
            response_partition_limit => PARTITIONS_IN_PAGE,
            cursor                   => $cursor,
        },
        done => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            _join_pages($topics, @{ $answer->{topics} });
            my $next = $answer->{next_cursor} or return $self->_described($call, { topics => $topics });
            my @left = grep { $_ ge $next->{topic_name} } @$names;
            return $self->_page($call, \@left, $next, $topics);
        },
    );
}

sub _join_pages {
    my ($topics, @page) = @_;
    for my $topic (@page) {
        my $goes_on = @$topics && ($topics->[-1]{name} // '') eq ($topic->{name} // '');
        if   ($goes_on) { push @{ $topics->[-1]{partitions} }, @{ $topic->{partitions} } }
        else            { push @$topics, $topic }
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Topics - admin methods about topics

=head1 DESCRIPTION

A part of L<EV::Kafka::Admin>, which describes the methods. Each gets its L<EV::Kafka::Admin::Call>.

=head1 METHODS

=head2 new($ask)

Of an L<EV::Kafka::Admin::Ask>.

=head2 create_topics($call), delete_topics($call), create_partitions($call), describe_topics($call)

As L<EV::Kafka::Admin> has them.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
