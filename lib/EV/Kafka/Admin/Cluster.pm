package EV::Kafka::Admin::Cluster;
use strict;
use warnings;

use EV::Kafka::Admin::Terms;
use EV::Kafka::Error;
use EV::Kafka::Partitions;

# The cluster, its brokers and where they keep what: { ask } is the EV::Kafka::Admin::Ask that requests go through.

use constant UNSUPPORTED_VERSION => 35;

# The first version of DescribeCluster that tells of brokers that are fenced.
use constant TELLS_FENCED => 2;

# The first versions of Metadata in which an empty list asks for no topic, and that tell what the client may do with
# the cluster (KIP-430).
use constant {
    NULL_FOR_ALL     => 1,
    TELLS_OPERATIONS => 8,
};

# The first versions of ElectLeaders and UpdateFeatures that know kinds (KIP-460, KIP-584); of the latter, that can
# only check as well.
use constant {
    KNOWS_UNCLEAN   => 1,
    KNOWS_DOWNGRADE => 1,
};

# The log of the controllers, which DescribeQuorum tells of (KIP-595).
use constant {
    METADATA_TOPIC     => '__cluster_metadata',
    METADATA_PARTITION => 0,
};

# The first version of ApiVersions with features; who asks has to say who it is.
use constant TELLS_FEATURES => 3;
use constant SOFTWARE => 'ev-kafka';

sub new { my ($class, $ask) = @_; return bless { ask => $ask }, $class }

sub describe_cluster {
    my ($self, $call) = @_;
    my ($operations, $fenced) = map { $call->option($_) ? 1 : 0 } qw(authorized_operations fenced);
    return $self->{ask}->any(
        call   => $call,
        api    => 'DescribeCluster',
        least  => $fenced ? TELLS_FENCED : 0,
        fields => {
            $operations ? (include_cluster_authorized_operations => 1) : (),
            $fenced     ? (include_fenced_brokers => 1) : (),
        },
        done => sub {
            my ($answer, $error) = @_;
            # Brokers before 2.8 say the same in their metadata.
            return $self->_cluster_of_metadata($call, $operations) if $error && !$fenced && ($error->code // 0) == UNSUPPORTED_VERSION;
            return $self->_cluster($call, $answer, $error);
        },
    );
}

sub _cluster_of_metadata {
    my ($self, $call, $operations) = @_;
    return $self->{ask}->any(
        call   => $call,
        api    => 'Metadata',
        least  => $operations ? TELLS_OPERATIONS : NULL_FOR_ALL,
        fields => { topics => [], $operations ? (include_cluster_authorized_operations => 1) : () },
        done   => sub { $self->_cluster($call, @_) },
    );
}

sub _cluster {
    my ($self, $call, $answer, $error) = @_;
    return $call->fail($error) if $error;
    my $operations = EV::Kafka::Admin::Terms::operations($answer->{cluster_authorized_operations});
    my @brokers = map { +{ %$_, node_id => $_->{node_id} // $_->{broker_id} } } @{ $answer->{brokers} };
    return $call->done({
        EV::Kafka::Admin::Terms::same($answer, qw(cluster_id controller_id)),
        $operations ? (authorized_operations => $operations) : (),
        brokers => [map { +{ EV::Kafka::Admin::Terms::same($_, qw(node_id host port rack is_fenced)) } }
            sort { $a->{node_id} <=> $b->{node_id} } @brokers],
    });
}

sub describe_quorum {
    my ($self, $call) = @_;
    return $self->{ask}->any(
        call   => $call,
        api    => 'DescribeQuorum',
        fields => { topics => [{ topic_name => METADATA_TOPIC, partitions => [{ partition_index => METADATA_PARTITION }] }] },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            my $quorum = $answer->{topics}[0]{partitions}[0] || {};
            return $call->fail(EV::Kafka::Error->of_code($quorum->{error_code}, $quorum->{error_message})) if $quorum->{error_code};
            return $call->done({
                EV::Kafka::Admin::Terms::pick($quorum, leader => 'leader_id', map { $_ => $_ } qw(leader_epoch high_watermark)),
                voters    => [map { _replica($_) } @{ $quorum->{current_voters} }],
                observers => [map { _replica($_) } @{ $quorum->{observers} }],
                $answer->{nodes} ? (nodes => $answer->{nodes}) : (),
            });
        },
    );
}

sub _replica {
    my ($replica) = @_;
    my $directory = EV::Kafka::Admin::Terms::id($replica->{replica_directory_id});
    my %told = map { ($replica->{$_} // -1) < 0 ? () : ($_ => $replica->{$_}) } qw(last_fetch_timestamp last_caught_up_timestamp);
    return { EV::Kafka::Admin::Terms::same($replica, qw(replica_id log_end_offset)), %told, defined $directory ? (directory_id => $directory) : () };
}

# --- features -----------------------------------------------------------------------

sub describe_features {
    my ($self, $call) = @_;
    return $self->{ask}->any(
        call   => $call,
        api    => 'ApiVersions',
        least  => TELLS_FEATURES,
        fields => { client_software_name => SOFTWARE, client_software_version => EV::Kafka->VERSION =~ s/_.*//r },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            my $epoch = $answer->{finalized_features_epoch} // -1;
            return $call->done({
                supported => { map { $_->{name} => { min => $_->{min_version}, max => $_->{max_version} } } @{ $answer->{supported_features} || [] } },
                finalized => { map { $_->{name} => { min => $_->{min_version_level}, max => $_->{max_version_level} } } @{ $answer->{finalized_features} || [] } },
                $epoch < 0 ? () : (epoch => $epoch),
            });
        },
    );
}

sub update_features {
    my ($self, $call) = @_;
    my @updates = $call->elements($call->what, qw(!feature !level type));
    my $validate_only = $call->option('validate_only') ? 1 : 0;
    my %type = map { $_ => EV::Kafka::Admin::Terms::number($call, upgrade => $_) } map { $_->{type} // 'upgrade' } @updates;
    return $self->{ask}->controller(
        call   => $call,
        api    => 'UpdateFeatures',
        least  => $validate_only || grep({ $_ ne 'upgrade' } keys %type) ? KNOWS_DOWNGRADE : 0,
        fields => sub { {
            timeout_ms      => $call->broker_ms,
            feature_updates => [map { +{
                feature => $_->{feature}, max_version_level => $_->{level}, upgrade_type => $type{ $_->{type} // 'upgrade' },
            } } @updates],
            $validate_only ? (validate_only => 1) : (),
        } },
        done => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            # Newer brokers do all or nothing, and say so of the whole.
            my %told = map { $_->{feature} => $_ } @{ $answer->{results} || [] };
            return $call->done({ features => [map {
                +{ feature => $_->{feature}, EV::Kafka::Admin::Terms::outcome($told{ $_->{feature} } || { error_code => 0 }) }
            } @updates] });
        },
    );
}

# --- replicas -----------------------------------------------------------------------

sub elect_leaders {
    my ($self, $call) = @_;
    my $kind = EV::Kafka::Admin::Terms::number($call, election => $call->option('type', 'preferred'));
    my $partitions = _listed($call);
    return $self->{ask}->controller(
        call   => $call,
        api    => 'ElectLeaders',
        least  => $kind ? KNOWS_UNCLEAN : 0,
        fields => sub { {
            timeout_ms       => $call->broker_ms,
            topic_partitions => $partitions,
            $kind ? (election_type => $kind) : (),
        } },
        done => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ topics => EV::Kafka::Admin::Terms::by_topic(map {
                my $topic = $_;
                map { [$topic->{topic}, { partition => $_->{partition_id}, EV::Kafka::Admin::Terms::outcome($_) }] } @{ $topic->{partition_result} }
            } @{ $answer->{replica_election_results} }) });
        },
    );
}

# [{ topic, partitions }] as they are given, checked; undef for all.
sub _listed {
    my ($call, $given) = @_;
    $given //= $call->what or return undef;
    my @topics = $call->elements($given, qw(!topic !partitions));
    for my $topic (@topics) { $call->croak('partitions must be an arrayref') unless ref $topic->{partitions} eq 'ARRAY' }
    return \@topics;
}

sub describe_log_dirs {
    my ($self, $call) = @_;
    my $topics = $call->option('topics') ? _listed($call, $call->option('topics')) : undef;
    my %asked  = (call => $call, api => 'DescribeLogDirs', fields => { topics => $topics });
    my $done = sub { $call->done({ brokers => [map { _broker(@$_) } @_] }) };
    return $self->{ask}->brokers(%asked, done => $done) unless $call->what;
    my @nodes = $call->names($call->what);
    return $call->each_of(\@nodes, sub {
        my ($node_id, $known) = @_;
        return $self->{ask}->broker($node_id, %asked, done => sub { $known->([$node_id, @_]) });
    }, $done);
}

sub _broker {
    my ($node_id, $answer, $error) = @_;
    return {
        node_id => $node_id,
        $error ? EV::Kafka::Admin::Terms::failure($error) : (error_code => $answer->{error_code} // 0),
        log_dirs => [map { _log_dir($_) } @{ ($answer || {})->{results} || [] }],
    };
}

sub _log_dir {
    my ($dir) = @_;
    my %bytes = map { ($dir->{$_} // -1) < 0 ? () : ($_ => $dir->{$_}) } qw(total_bytes usable_bytes);
    return {
        path => $dir->{log_dir},
        EV::Kafka::Admin::Terms::same($dir, qw(error_code is_cordoned)),
        %bytes,
        topics => EV::Kafka::Admin::Terms::by_topic(map {
            my $topic = $_;
            map { [$topic->{name}, { EV::Kafka::Admin::Terms::pick($_,
                partition => 'partition_index', size => 'partition_size', offset_lag => 'offset_lag', is_future => 'is_future_key') }]
            } @{ $topic->{partitions} }
        } @{ $dir->{topics} }),
    };
}

sub alter_reassignments {
    my ($self, $call) = @_;
    my @moves = $call->elements($call->what, qw(!topic !partition replicas));
    my $by_topic = EV::Kafka::Partitions::by_topic(map { [$_->{topic}, { partition_index => $_->{partition}, replicas => $_->{replicas} }] } @moves);
    return $self->{ask}->controller(
        call   => $call,
        api    => 'AlterPartitionReassignments',
        fields => sub { {
            timeout_ms => $call->broker_ms,
            topics     => [map { +{ name => $_->{topic}, partitions => $_->{partitions} } } @$by_topic],
        } },
        done => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ topics => EV::Kafka::Admin::Terms::by_topic(map {
                my $topic = $_;
                map { [$topic->{name}, { partition => $_->{partition_index}, EV::Kafka::Admin::Terms::outcome($_) }] } @{ $topic->{partitions} }
            } @{ $answer->{responses} }) });
        },
    );
}

sub list_reassignments {
    my ($self, $call) = @_;
    my $partitions = _listed($call);
    my $topics = $partitions && [map { +{ name => $_->{topic}, partition_indexes => $_->{partitions} } } @$partitions];
    return $self->{ask}->controller(
        call   => $call,
        api    => 'ListPartitionReassignments',
        fields => sub { { timeout_ms => $call->broker_ms, topics => $topics } },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ topics => EV::Kafka::Admin::Terms::by_topic(map {
                my $topic = $_;
                map { [$topic->{name}, {
                    partition => $_->{partition_index},
                    EV::Kafka::Admin::Terms::same($_, qw(replicas adding_replicas removing_replicas)),
                }] } @{ $topic->{partitions} }
            } @{ $answer->{topics} }) });
        },
    );
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Cluster - admin methods about the cluster and its brokers

=head1 DESCRIPTION

A part of L<EV::Kafka::Admin>, which describes the methods. Each gets its L<EV::Kafka::Admin::Call>.

=head1 METHODS

=head2 new($ask)

Of an L<EV::Kafka::Admin::Ask>.

=head2 describe_cluster($call), describe_quorum($call), describe_features($call), update_features($call)

As L<EV::Kafka::Admin> has them.

=head2 elect_leaders($call), describe_log_dirs($call), alter_reassignments($call), list_reassignments($call)

As L<EV::Kafka::Admin> has them.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
