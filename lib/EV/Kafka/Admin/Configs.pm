package EV::Kafka::Admin::Configs;
use strict;
use warnings;

use EV::Kafka::Admin::Terms;
use EV::Kafka::Error;

# Settings of topics, brokers and other resources: { ask } is the EV::Kafka::Admin::Ask that requests go through.

# What IncrementalAlterConfigs does with a setting (KIP-339), by what programs call it.
my %OPERATION = (set => 0, delete => 1, append => 2, subtract => 3);

# The first versions of DescribeConfigs that tell from where values come (KIP-226), and what settings are for (KIP-569).
use constant {
    TELLS_SYNONYMS      => 1,
    TELLS_DOCUMENTATION => 3,
};

# The first version of ListConfigResources that knows other kinds than client metrics (KIP-1142).
use constant LISTS_ALL_KINDS => 1;

# Kinds of resources of which the broker that has them answers.
my %IS_OF_BROKER = (broker => 1, broker_logger => 1);

sub new { my ($class, $ask) = @_; return bless { ask => $ask }, $class }

sub describe_configs {
    my ($self, $call) = @_;
    my @resources = map { _resource($call, $_, qw(names)) } @{ $call->what };
    my ($synonyms, $documentation) = map { $call->option($_) ? 1 : 0 } qw(synonyms documentation);
    my $least = $documentation ? TELLS_DOCUMENTATION : $synonyms ? TELLS_SYNONYMS : 0;
    return $self->_to_their_brokers($call, \@resources,
        api    => 'DescribeConfigs',
        least  => $least,
        fields => sub {
            my (@mine) = @_;
            return {
                resources => [map { { _key($_), configuration_keys => $_->{names} } } @mine],
                $synonyms      ? (include_synonyms      => 1) : (),
                $documentation ? (include_documentation => 1) : (),
            };
        },
        rows => sub { map { my $row = $_; [$row, configs => [map { _setting($row, $_) } sort { $a->{name} cmp $b->{name} } @{ $row->{configs} }]] } @{ $_[0]{results} } },
    );
}

sub _resource {
    my ($call, $resource, @more) = @_;
    $call->element($resource, '!resource_type', 'resource_name', @more);
    my $type = $resource->{resource_type};
    return { %$resource, number => EV::Kafka::Admin::Terms::number($call, resource_type => $type), resource_name => $resource->{resource_name} // '' };
}

sub _key { my ($resource) = @_; return (resource_type => $resource->{number}, resource_name => $resource->{resource_name}) }

sub _setting {
    my ($resource, $setting) = @_;
    my $source = _word(config_source => $setting->{config_source});
    my $type   = _word(config_type => $setting->{config_type});
    return {
        EV::Kafka::Admin::Terms::same($setting, qw(name value read_only is_sensitive documentation)),
        is_default => $setting->{is_default} // (($source // '') eq 'default' ? 1 : 0),
        defined $source ? (source => $source) : (),
        defined $type   ? (type   => $type)   : (),
        @{ $setting->{synonyms} || [] } ? (synonyms => [map { _synonym($_) } @{ $setting->{synonyms} }]) : (),
    };
}

sub _synonym {
    my ($synonym) = @_;
    return { EV::Kafka::Admin::Terms::same($synonym, qw(name value)), source => EV::Kafka::Admin::Terms::word(config_source => $synonym->{source}) };
}

# Kafka says by 0 or -1 that it has nothing to say.
sub _word {
    my ($list, $number) = @_;
    return defined $number && $number > 0 ? EV::Kafka::Admin::Terms::word($list, $number) : undef;
}

sub alter_configs {
    my ($self, $call) = @_;
    my @resources = map { _changed($call, $_) } @{ $call->what };
    my $validate_only = $call->option('validate_only') ? 1 : 0;
    return $self->_to_their_brokers($call, \@resources,
        api    => 'IncrementalAlterConfigs',
        fields => sub {
            my (@mine) = @_;
            return { resources => [map { { _key($_), configs => $_->{changes} } } @mine], validate_only => $validate_only };
        },
        rows => sub { map { [$_] } @{ $_[0]{responses} } },
    );
}

sub _changed {
    my ($call, $given) = @_;
    my $resource = _resource($call, $given, sort keys %OPERATION);
    my @changes;
    for my $operation (sort keys %OPERATION) {
        my $settings = $resource->{$operation} // next;
        if ($operation eq 'delete') {
            push @changes, map { [$_, delete => undef] } $call->names($settings);
            next;
        }
        $call->croak("$operation must be a hashref") unless ref $settings eq 'HASH';
        push @changes, map { [$_, $operation => _value($settings->{$_})] } sort keys %$settings;
    }
    $call->croak('nothing to change: set, delete, append or subtract is needed') unless @changes;
    my @told = map { { name => $_->[0], config_operation => $OPERATION{ $_->[1] }, value => $_->[2] } } @changes;
    return { %$resource, changes => \@told };
}

# A list may be given as one.
sub _value { my ($value) = @_; return ref $value eq 'ARRAY' ? join ',', @$value : $value }

# What a broker has itself goes to it, the rest to any. $about{rows} gives [\%row, %more] of an answer.
sub _to_their_brokers {
    my ($self, $call, $resources, %about) = @_;
    my (%of_broker, @of_any);
    for my $resource (@$resources) {
        my $is_brokers = $IS_OF_BROKER{ $resource->{resource_type} } && length $resource->{resource_name};
        $call->croak("resource_name of a broker is its number, not '$resource->{resource_name}'")
            if $is_brokers && $resource->{resource_name} !~ /\A[0-9]+\z/;
        push @{ $is_brokers ? $of_broker{ $resource->{resource_name} } ||= [] : \@of_any }, $resource;
    }
    my @parts = map { [$_ => $of_broker{$_}] } sort { $a <=> $b } keys %of_broker;
    unshift @parts, [undef, \@of_any] if @of_any;
    my %outcome;
    return $call->each_of(\@parts, sub {
        my ($part, $heard) = @_;
        my ($node_id, $mine) = @$part;
        my %asked = (
            call => $call, api => $about{api}, least => $about{least},
            fields => sub { $about{fields}->(@$mine) },
            done   => sub {
                my ($answer, $error) = @_;
                $outcome{"$_->{number}:$_->{resource_name}"} = [EV::Kafka::Admin::Terms::failure($error || _lacking($about{api}))] for @$mine;
                for my $row ($answer && !$error ? $about{rows}->($answer) : ()) {
                    my ($element, @more) = @$row;
                    $outcome{"$element->{resource_type}:$element->{resource_name}"} = [EV::Kafka::Admin::Terms::outcome($element), @more];
                }
                return $heard->($error);
            },
        );
        return defined $node_id ? $self->{ask}->broker($node_id, %asked) : $self->{ask}->any(%asked);
    }, sub {
        my (@errors) = @_;
        # There was but one request.
        return $call->fail($errors[0]) if @errors == 1 && $errors[0];
        return $call->done({ resources => [map {
            { EV::Kafka::Admin::Terms::same($_, qw(resource_type resource_name)), @{ $outcome{"$_->{number}:$_->{resource_name}"} } }
        } @$resources] });
    });
}

sub _lacking { return EV::Kafka::Error->without_code("$_[0]: the answer lacks the resource") }

sub list_config_resources {
    my ($self, $call) = @_;
    my $types = $call->what && [map { EV::Kafka::Admin::Terms::number($call, resource_type => $_) } $call->names($call->what)];
    my $is_old_kind = $types && "@$types" eq EV::Kafka::Admin::Terms::number($call, resource_type => 'client_metrics');
    return $self->{ask}->any(
        call   => $call,
        api    => 'ListConfigResources',
        least  => $is_old_kind ? 0 : LISTS_ALL_KINDS,
        fields => sub { $_[0] >= LISTS_ALL_KINDS ? { resource_types => $types || [] } : {} },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            my @resources = sort { $a->{resource_type} <=> $b->{resource_type} || $a->{resource_name} cmp $b->{resource_name} } map {
                +{ %$_, resource_type => $_->{resource_type} // EV::Kafka::Admin::Terms::number($call, resource_type => 'client_metrics') }
            } @{ $answer->{config_resources} };
            $_->{resource_type} = EV::Kafka::Admin::Terms::word(resource_type => $_->{resource_type}) for @resources;
            return $call->done({ resources => \@resources });
        },
    );
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Configs - admin methods about settings

=head1 DESCRIPTION

A part of L<EV::Kafka::Admin>, which describes the methods. Each gets its L<EV::Kafka::Admin::Call>.

=head1 METHODS

=head2 new($ask)

Of an L<EV::Kafka::Admin::Ask>.

=head2 describe_configs($call), alter_configs($call), list_config_resources($call)

As L<EV::Kafka::Admin> has them.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
