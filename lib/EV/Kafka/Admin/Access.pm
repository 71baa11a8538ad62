package EV::Kafka::Admin::Access;
use strict;
use warnings;

use List::Util ();

use EV::Kafka::Admin::Terms;

# Who may do what, who there is, and how much they may use: { ask } is the EV::Kafka::Admin::Ask that requests go through.

# The first version of the requests about ACLs in which names may be prefixes (KIP-290).
use constant KNOWS_PATTERNS => 1;

# Of a password; no broker takes less (Java's ScramMechanism.minIterations). Kafka's own tools take this many, too.
use constant ITERATIONS => 4_096;

# How an entity that has quotas is looked for.
use constant {
    OF_THIS_NAME => 0,
    DEFAULT      => 1,
    OF_ANY_NAME  => 2,
};

my @RULE   = qw(resource_type resource_name pattern_type principal host operation permission);
my %ANYONE = (resource_type => 'any', pattern_type => 'any', operation => 'any', permission => 'any');

sub new { my ($class, $ask) = @_; return bless { ask => $ask }, $class }

# --- ACLs ---------------------------------------------------------------------------

sub describe_acls {
    my ($self, $call) = @_;
    my $filter = _filter($call, $call->what || {});
    return $self->{ask}->any(
        call   => $call,
        api    => 'DescribeAcls',
        least  => _least($filter->{pattern_type_filter}),
        fields => sub { _at($filter, $_[0], 'pattern_type_filter') },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ acls => [map {
                my $resource = $_;
                map { _rule({ %$resource, %$_ }) } @{ $resource->{acls} }
            } @{ $answer->{resources} }] });
        },
    );
}

sub create_acls {
    my ($self, $call) = @_;
    my @rules = $call->elements($call->what, map { $_ eq 'pattern_type' || $_ eq 'host' || $_ eq 'permission' ? $_ : "!$_" } @RULE);
    my @creations = map { my %filled = (pattern_type => 'literal', host => '*', permission => 'allow', %$_); \%filled } @rules;
    my @fields = map { +{
        EV::Kafka::Admin::Terms::same($_, qw(resource_name principal host)),
        resource_pattern_type => EV::Kafka::Admin::Terms::number($call, pattern => $_->{pattern_type}),
        _numbers($call, $_, ''),
    } } @creations;
    return $self->{ask}->controller(
        call   => $call,
        api    => 'CreateAcls',
        least  => List::Util::max(0, map { _least($_->{resource_pattern_type}) } @fields),
        fields => sub { my ($version) = @_; return { creations => [map { _at($_, $version, 'resource_pattern_type') } @fields] } },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            my @results = @{ $answer->{results} };
            return $call->done({ acls => [map { +{ %{ $creations[$_] }, EV::Kafka::Admin::Terms::outcome($results[$_]) } } 0 .. $#results] });
        },
    );
}

sub delete_acls {
    my ($self, $call) = @_;
    my @filters = map { _filter($call, $_) } @{ $call->what };
    return $self->{ask}->controller(
        call   => $call,
        api    => 'DeleteAcls',
        least  => List::Util::max(0, map { _least($_->{pattern_type_filter}) } @filters),
        fields => sub { my ($version) = @_; return { filters => [map { _at($_, $version, 'pattern_type_filter') } @filters] } },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ filters => [map { +{
                EV::Kafka::Admin::Terms::outcome($_),
                acls => [map { +{ %{ _rule($_) }, EV::Kafka::Admin::Terms::outcome($_) } } @{ $_->{matching_acls} }],
            } } @{ $answer->{filter_results} }] });
        },
    );
}

# What is left out matches anything.
sub _filter {
    my ($call, $given) = @_;
    my %filter = (%ANYONE, %{ $call->element($given, @RULE) });
    return {
        pattern_type_filter  => EV::Kafka::Admin::Terms::number($call, pattern => $filter{pattern_type}),
        resource_name_filter => $filter{resource_name},
        principal_filter     => $filter{principal},
        host_filter          => $filter{host},
        _numbers($call, \%filter, '_filter'),
    };
}

sub _numbers {
    my ($call, $rule, $suffix) = @_;
    return (
        "resource_type$suffix" => EV::Kafka::Admin::Terms::number($call, acl_resource => $rule->{resource_type}),
        operation              => EV::Kafka::Admin::Terms::number($call, operation => $rule->{operation}),
        permission_type        => EV::Kafka::Admin::Terms::number($call, permission => $rule->{permission}),
    );
}

# Before there were patterns every name was meant as it stands.
sub _least {
    my ($pattern) = @_;
    my $word = EV::Kafka::Admin::Terms::word(pattern => $pattern);
    return $word eq 'literal' || $word eq 'any' ? 0 : KNOWS_PATTERNS;
}

sub _at {
    my ($fields, $version, $pattern) = @_;
    return $fields if $version >= KNOWS_PATTERNS;
    return { map { $_ => $fields->{$_} } grep { $_ ne $pattern } keys %$fields };
}

sub _rule {
    my ($rule) = @_;
    return {
        EV::Kafka::Admin::Terms::same($rule, qw(resource_name principal host)),
        resource_type => EV::Kafka::Admin::Terms::word(acl_resource => $rule->{resource_type}),
        pattern_type  => defined $rule->{pattern_type} ? EV::Kafka::Admin::Terms::word(pattern => $rule->{pattern_type}) : 'literal',
        operation     => EV::Kafka::Admin::Terms::word(operation => $rule->{operation}),
        permission    => EV::Kafka::Admin::Terms::word(permission => $rule->{permission_type}),
    };
}

# --- SCRAM users --------------------------------------------------------------------

sub describe_scram_users {
    my ($self, $call) = @_;
    my $users = $call->what && [map { +{ name => $_ } } $call->names($call->what)];
    return $self->{ask}->controller(
        call   => $call,
        api    => 'DescribeUserScramCredentials',
        fields => { users => $users },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ users => [map { +{
                user => $_->{user},
                EV::Kafka::Admin::Terms::outcome($_),
                credentials => [map { +{
                    mechanism  => EV::Kafka::Admin::Terms::word(mechanism => $_->{mechanism}),
                    iterations => $_->{iterations},
                } } sort { $a->{mechanism} <=> $b->{mechanism} } @{ $_->{credential_infos} }],
            } } sort { $a->{user} cmp $b->{user} } @{ $answer->{results} }] });
        },
    );
}

# The password itself is not sent.
sub alter_scram_users {
    my ($self, $call) = @_;
    my (@deletions, @upsertions);
    for my $change ($call->elements($call->what, qw(!user !mechanism password iterations salt delete))) {
        my %credential = (name => $change->{user}, mechanism => EV::Kafka::Admin::Terms::number($call, mechanism => $change->{mechanism}));
        if ($change->{delete}) {
            push @deletions, \%credential;
            next;
        }
        $call->croak('missing password or delete') unless defined $change->{password};
        my $iterations = $change->{iterations} // ITERATIONS;
        my ($salt, $salted) = EV::Kafka::_scram_credential(@$change{qw(mechanism password)}, $iterations, $change->{salt});
        push @upsertions, { %credential, iterations => $iterations, salt => $salt, salted_password => $salted };
    }
    return $self->{ask}->controller(
        call   => $call,
        api    => 'AlterUserScramCredentials',
        fields => { deletions => \@deletions, upsertions => \@upsertions },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ users => [map { +{ user => $_->{user}, EV::Kafka::Admin::Terms::outcome($_) } } sort { $a->{user} cmp $b->{user} } @{ $answer->{results} }] });
        },
    );
}

# --- quotas -------------------------------------------------------------------------

sub describe_quotas {
    my ($self, $call) = @_;
    my @components = map { _component($_) } $call->elements($call->what || [], qw(!type name default));
    return $self->{ask}->any(
        call   => $call,
        api    => 'DescribeClientQuotas',
        fields => { components => \@components, strict => $call->option('strict') ? 1 : 0 },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            return $call->done({ entries => [map { +{
                entity => _entity($_),
                quotas => { map { $_->{key} => $_->{value} } @{ $_->{values} } },
            } } @{ $answer->{entries} || [] }] });
        },
    );
}

sub _component {
    my ($wanted) = @_;
    my ($match, $name) = defined $wanted->{name} ? (OF_THIS_NAME, $wanted->{name}) : $wanted->{default} ? (DEFAULT, undef) : (OF_ANY_NAME, undef);
    return { entity_type => $wanted->{type}, match_type => $match, matched => $name };
}

# The default of a kind has no name.
sub _entity {
    my ($entry) = @_;
    return { map { $_->{entity_type} => $_->{entity_name} } @{ $entry->{entity} } };
}

sub _key_of {
    my ($entry) = @_;
    return join "\0", sort map { $_->{entity_type} . (defined $_->{entity_name} ? "=$_->{entity_name}" : '') } @{ $entry->{entity} };
}

sub alter_quotas {
    my ($self, $call) = @_;
    my @entries = map { _quota_changes($call, $_) } $call->elements($call->what, qw(!entity set remove));
    return $self->{ask}->controller(
        call   => $call,
        api    => 'AlterClientQuotas',
        fields => { entries => \@entries, validate_only => $call->option('validate_only') ? 1 : 0 },
        done   => sub {
            my ($answer, $error) = @_;
            return $call->fail($error) if $error;
            # Brokers answer in an order of their own.
            my %told = map { _key_of($_) => $_ } @{ $answer->{entries} };
            return $call->done({ entries => [map { +{ entity => _entity($_), EV::Kafka::Admin::Terms::outcome($told{ _key_of($_) } || {}) } } @entries] });
        },
    );
}

sub _quota_changes {
    my ($call, $entry) = @_;
    my ($entity, $set) = ($entry->{entity}, $entry->{set} || {});
    $call->croak('entity and set must be hashrefs') if grep { ref ne 'HASH' } $entity, $set;
    my @ops = (
        map({ +{ key => $_, value => $set->{$_}, remove => 0 } } sort keys %$set),
        map({ +{ key => $_, value => 0, remove => 1 } } $call->names($entry->{remove} || [])),
    );
    $call->croak('nothing to change: set or remove is needed') unless @ops;
    return {
        entity => [map { +{ entity_type => $_, entity_name => $entity->{$_} } } sort keys %$entity],
        ops    => \@ops,
    };
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Access - admin methods about rules, users and quotas

=head1 DESCRIPTION

A part of L<EV::Kafka::Admin>, which describes the methods. Each gets its L<EV::Kafka::Admin::Call>.

=head1 METHODS

=head2 new($ask)

Of an L<EV::Kafka::Admin::Ask>.

=head2 describe_acls($call), create_acls($call), delete_acls($call), describe_scram_users($call)

As L<EV::Kafka::Admin> has them.

=head2 alter_scram_users($call), describe_quotas($call), alter_quotas($call)

As L<EV::Kafka::Admin> has them.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
