package SaslBroker;
use strict;
use warnings;

use parent 'ScriptedBroker';

# A scripted broker that wants one SASL mechanism. on_connection => sub { ... }
# makes what is asked for the answer to each message of a connection's exchange.

sub new {
    my ($class, %args) = @_;
    my $self = $class->SUPER::new(%args);
    @$self{qw(mechanism on_connection)} = @args{qw(mechanism on_connection)};
    return $self;
}

sub handle {
    my ($self, $connection, $frame) = @_;
    my ($api, $id, $body) = unpack 'n x2 N n/x a*', $frame;
    my $sasl = $api == 18 ? $self->offer : $api == 17 ? $self->choose($body) : $api == 36
        ? ($connection->{exchange} ||= $self->{on_connection}->())->(unpack 'N/a*', $body)
        : return $self->SUPER::handle($connection, $frame);
    return $self->answer($connection, { id => $id }, $sasl);
}

# ApiVersions of the scripted broker, and those of SASL.
sub offer {
    my ($error, $count, $ranges) = unpack 'n N a*', ScriptedBroker::api_versions();
    return pack 'n N a* n6', $error, $count + 2, $ranges, 17, 0, 1, 36, 0, 1;
}

sub choose {
    my ($self, $body) = @_;
    my $mechanism = unpack 'n/a*', $body;
    push @{ $self->{mechanisms} }, $mechanism;
    return pack 'n N n/a*', $mechanism eq $self->{mechanism} ? 0 : 33, 1, $self->{mechanism};
}

1;
