package EV::Kafka::Admin::Terms;
use strict;
use warnings;

use MIME::Base64 ();

# Kafka's numbers as words, in the order of Kafka's own lists, and what answers have in common. Only functions.

my %WORDS = (
    resource_type => { 2 => 'topic', 4 => 'broker', 8 => 'broker_logger', 16 => 'client_metrics', 32 => 'group' },
    config_source => {
        1 => 'dynamic_topic', 2 => 'dynamic_broker', 3 => 'dynamic_default_broker', 4 => 'static_broker', 5 => 'default',
        6 => 'dynamic_broker_logger', 7 => 'dynamic_client_metrics', 8 => 'dynamic_group',
    },
    config_type => {
        1 => 'boolean', 2 => 'string', 3 => 'int', 4 => 'short', 5 => 'long', 6 => 'double', 7 => 'list', 8 => 'class', 9 => 'password',
    },
    acl_resource => {
        1 => 'any', 2 => 'topic', 3 => 'group', 4 => 'cluster', 5 => 'transactional_id', 6 => 'delegation_token', 7 => 'user',
    },
    pattern    => { 1 => 'any', 2 => 'match', 3 => 'literal', 4 => 'prefixed' },
    permission => { 1 => 'any', 2 => 'deny', 3 => 'allow' },
    operation  => {
        1 => 'any', 2 => 'all', 3 => 'read', 4 => 'write', 5 => 'create', 6 => 'delete', 7 => 'alter', 8 => 'describe',
        9 => 'cluster_action', 10 => 'describe_configs', 11 => 'alter_configs', 12 => 'idempotent_write',
        13 => 'create_tokens', 14 => 'describe_tokens', 15 => 'two_phase_commit',
    },
    mechanism => { 1 => 'SCRAM-SHA-256', 2 => 'SCRAM-SHA-512' },
    election  => { 0 => 'preferred', 1 => 'unclean' },
    upgrade   => { 1 => 'upgrade', 2 => 'safe_downgrade', 3 => 'unsafe_downgrade' },
);
my %NUMBERS = map { $_ => { reverse %{ $WORDS{$_} } } } keys %WORDS;

# What stands where the client has not asked what it may do (KIP-430).
use constant NOT_ASKED => -2_147_483_648;

# UNKNOWN_SERVER_ERROR, for what no broker has said.
use constant NO_CODE => -1;

# A number that is not known here stays one.
sub word {
    my ($list, $number) = @_;
    return $WORDS{$list}{$number} // $number;
}

# The number of a word that $call was given.
sub number {
    my ($call, $list, $word) = @_;
    return $NUMBERS{$list}{$word} // $call->croak("unknown \L$list\E '$word'; one of " . join ', ', words($list));
}

sub words { my ($list) = @_; return map { $WORDS{$list}{$_} } sort { $a <=> $b } keys %{ $WORDS{$list} } }

# A bit for each operation: the words, undef where it was not asked for.
sub operations {
    my ($bits) = @_;
    return undef if !defined $bits || $bits == NOT_ASKED;
    return [map { word(operation => $_) } grep { $bits >> $_ & 1 } 0 .. 31];
}

# An id as Kafka's own tools show it, undef where there is none.
sub id {
    my ($bytes) = @_;
    return undef if !defined $bytes || $bytes eq "\0" x 16;
    return MIME::Base64::encode_base64($bytes, '') =~ tr{+/=}{-_}dr;
}

# The fields of an element by the names that they have for programs: %names is name => field. Those that are undef
# are left out.
sub pick {
    my ($element, %names) = @_;
    return map { defined $element->{ $names{$_} } ? ($_ => $element->{ $names{$_} }) : () } keys %names;
}

sub same { my ($element, @names) = @_; return pick($element, map { $_ => $_ } @names) }

# { error_code, error_message? } of an element.
sub outcome {
    my ($element) = @_;
    return (
        error_code => $element->{error_code},
        length($element->{error_message} // '') ? (error_message => $element->{error_message}) : (),
    );
}

# The same of an EV::Kafka::Error.
sub failure {
    my ($error) = @_;
    return (error_code => $error->code // NO_CODE, error_message => $error->text);
}

# [$topic, \%partition] as [{ topic, partitions => [...] }], topics and partitions in order.
sub by_topic {
    my (@pairs) = @_;
    my %of;
    push @{ $of{ $_->[0] } }, $_->[1] for @pairs;
    return [map {
        my $topic = $_;
        +{ topic => $topic, partitions => [sort { $a->{partition} <=> $b->{partition} } @{ $of{$topic} }] }
    } sort keys %of];
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Terms - Kafka's numbers as words, and what answers have in common

=head1 DESCRIPTION

Functions for L<EV::Kafka::Admin>, not for use by themselves.

=head1 FUNCTIONS

=head2 word($list, $number), number($call, $list, $word), words($list)

A word for a number, and the other way round. One that is not on the list croaks.

=head2 operations($bits), id($bytes)

What the client may do (KIP-430); the id of a topic or folder as text.

=head2 pick($element, %names), same($element, @names), outcome($element), failure($error)

Parts of an element of an answer, by other names or the same; what became of it.

=head2 by_topic(@pairs)

Partitions by topic.

=head1 SEE ALSO

L<EV::Kafka::Admin>

=cut
