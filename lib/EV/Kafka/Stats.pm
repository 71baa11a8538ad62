package EV::Kafka::Stats;
use strict;
use warnings;

use Time::HiRes ();

# What the client is doing, in numbers: each owner answers for its own part, and here they are put together.
# Nothing is counted before somebody wants to know.
#   since   when counting began
#   timer   until on_stats is called next
#   cluster, producer, consumer, group, transactions   who are asked

# Seconds between calls of on_stats when the program does not say.
use constant INTERVAL => 30;

sub new {
    my ($class, %about) = @_;
    my $self = bless { map({ $_ => $about{$_} } qw(loop outbox options cluster producer consumer group share transactions)) }, $class;
    $self->_begin_counting if $about{options}{on_stats};
    return $self;
}

# The client begins to connect.
sub begin {
    my ($self) = @_;
    return if $self->{timer} || !$self->{options}{on_stats};
    my $seconds = $self->{options}{stats_interval} // INTERVAL;
    $self->{timer} = $self->{loop}->timer($seconds, $self, '_tell') if $seconds > 0;
    return;
}

sub _tell {
    my ($self) = @_;
    delete $self->{timer};
    $self->begin;
    return $self->{outbox}->call_as(on_stats => $self->{options}{on_stats}, $self->stats);
}

sub _begin_counting {
    my ($self) = @_;
    $self->{since} = $self->{loop}->now;
    $self->{$_}->count for qw(cluster producer consumer);
    return;
}

# Partitions are those that are written to and those that are assigned.
sub stats {
    my ($self) = @_;
    $self->_begin_counting unless defined $self->{since};
    my ($brokers, $bootstrap) = $self->{cluster}->stats;
    my ($producer, @written)  = $self->{producer}->stats;
    my %topics;
    $topics{ delete $_->{topic} }{ delete $_->{partition} }{producer} = $_ for @written;
    $topics{ delete $_->{topic} }{ delete $_->{partition} }{consumer} = $_ for $self->{consumer}->stats;
    for my $topic (keys %topics) {
        $topics{$topic}{$_}{leader} = $self->{cluster}->leader($topic, $_) for keys %{ $topics{$topic} };
    }
    return {
        client_id   => $self->{options}{client_id},
        time        => Time::HiRes::time(),
        counted_for => $self->{loop}->now - $self->{since},
        brokers     => $brokers,
        bootstrap   => $bootstrap,
        topics      => \%topics,
        producer    => $producer,
        group       => $self->{group}->stats,
        share_group => $self->{share}->stats,
        transaction => $self->{transactions}->stats,
    };
}

sub stop { my ($self) = @_; delete $self->{timer}; return }

1;

__END__

=head1 NAME

EV::Kafka::Stats - what an EV::Kafka client is doing, in numbers

=head1 DESCRIPTION

For L<EV::Kafka::Client>, not for use by itself. What the numbers are says L<EV::Kafka/stats>.

=head1 METHODS

=head2 new(%about)

The fields are listed at the head of the module. With C<on_stats> counting begins.

=head2 begin, stop

Calls C<on_stats> from now on, or no more.

=head2 stats

The numbers of all owners. The first time counting begins.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Client>

=cut
