package EV::Kafka::Producer::Settings;
use strict;
use warnings;

use Carp ();

use EV::Kafka::Options;

# Options that a program may change at any time, and that batches go by from the next one on.
# Its state:
#   applied     their values as batches have them, and all of them as one text, {given}
#   has_warned  that a message's own acks mean nothing to an idempotent producer

use constant NAMES => qw(acks batch_size compression compression_level linger_ms partitioner);

# A croak names the line of the program.
$Carp::Internal{ +__PACKAGE__ } = 1;

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(options outbox cluster accumulator)), applied => {}, has_warned => 0 }, $class;
}

# They count from the next batch. What cannot be is told, and stays as it was.
sub apply {
    my ($self) = @_;
    my ($options, $applied) = @$self{qw(options applied)};
    my $given = join "\0", map { $_ // '' } @$options{+NAMES};
    return if $given eq ($applied->{given} // '');
    my $batch_size = $applied->{batch_size} // $options->{batch_size};
    my %before     = %$applied;
    $self->_apply_one($_) for NAMES;
    $self->_match_level(\%before);
    $self->_keep_acks if $options->{idempotent};
    $applied->{given} = join "\0", map { $_ // '' } @$options{+NAMES};
    # A size that the program gives is the most that a batch has.
    $options->{batch_limit} = $options->{batch_size} if $options->{batch_size} != $batch_size;
    my $partitioner = $options->{partitioner};
    return $self->{accumulator}->set_options({
        acks        => $options->{acks},
        batch_size  => $options->{batch_size},
        batch_limit => $options->{batch_limit},
        compression => $options->{compression} // 'none',
        lingers     => $options->{linger_ms} > 0 ? 1 : 0,
        compression_level => $options->{compression_level},
        sticky      => ($partitioner // '') eq 'sticky' ? 1 : 0,
        uniform     => ($partitioner // '') eq 'uniform-sticky' ? 1 : 0,
    }, \$options->{partitioner}, $options);
}

# What a message asks for, if that is not what the client asks for.
sub own_acks {
    my ($self, $acks) = @_;
    my $options = $self->{options};
    $self->apply;
    return undef if !defined $acks || $acks == $options->{acks};
    return $acks if !$options->{idempotent};
    Carp::carp("EV::Kafka: an idempotent producer needs acks -1: acks $acks of a message is taken as -1")
        unless $self->{has_warned}++;
    return undef;
}

# Whether somebody says so when this message has been written.
sub is_acknowledged {
    my ($self, $acks) = @_;
    my $options = $self->{options};
    return $options->{idempotent} ? $options->{acks} : $acks // $options->{acks};
}

sub has_partitioner { return ref $_[0]{options}{partitioner} ? 1 : 0 }

# The default goes by the bytes that are sent.
sub partition_of {
    my ($self, $message) = @_;
    my $key = $self->has_partitioner ? $message->given_key : $message->{key};
    return $self->choose_partition($message->{topic}, $key);
}

# The program's partitioner may do anything, and close the client.
sub choose_partition {
    my ($self, $topic, $key) = @_;
    my $partitioner = $self->{options}{partitioner};
    return $self->{accumulator}->partition_for($topic, $key) unless ref $partitioner;
    my $count       = $self->{cluster}->partitions($topic);
    return $self->_checked($topic, $count, EV::Kafka::_shielded_value($partitioner, $topic, $key, $count));
}

# What the partitioner has answered, if it is a partition.
sub chosen {
    my ($self, $topic, $partition) = @_;
    return $self->_checked($topic, $self->{cluster}->partitions($topic), $partition);
}

sub _checked {
    my ($self, $topic, $count, $partition) = @_;
    Carp::croak("produce: partitioner must return a partition from 0 to ${\ ($count - 1)} for topic '$topic'")
        unless defined $partition && $partition =~ /\A[0-9]+\z/ && $partition < $count;
    return $partition;
}

sub _apply_one {
    my ($self, $name) = @_;
    my ($options, $applied, $outbox) = @$self{qw(options applied outbox)};
    local $@;
    my $value = eval { EV::Kafka::Options->check($name, $options->{$name}) };
    if (!$@) {
        $applied->{$name} = $value;
        $outbox->notice_over("option $name");
    }
    else { $outbox->notice("option $name", EV::Kafka::Error::reason($@) =~ s/\AEV::Kafka: //r) }
    $options->{$name} = $applied->{$name};
    return;
}

# A codec and a level that do not go together both stay as they were.
sub _match_level {
    my ($self, $before) = @_;
    my ($options, $applied, $outbox) = @$self{qw(options applied outbox)};
    my @names   = qw(compression compression_level);
    my $refusal = EV::Kafka::Options->level_refusal(@$options{@names});
    return unless defined $refusal;
    $outbox->notice('option compression_level', "option 'compression_level' $refusal");
    $options->{$_} = $applied->{$_} = $before->{$_} for @names;
    return;
}

sub _keep_acks {
    my ($self) = @_;
    my $options = $self->{options};
    return if $options->{acks} == -1;
    $self->{outbox}->notice('option acks', "an idempotent producer needs acks -1: acks $options->{acks} is taken as -1");
    $options->{acks} = $self->{applied}{acks} = -1;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Producer::Settings - options that batches go by

=head1 DESCRIPTION

For L<EV::Kafka::Producer>, not for use by itself. A program may change C<acks>, C<batch_size>,
C<compression>, C<compression_level>, C<linger_ms> and C<partitioner> of a client at any time.

=head1 METHODS

=head2 new(%about)

Of the options, L<EV::Kafka::Outbox>, the cluster and the accumulator.

=head2 apply

Lets them count from the next batch on.

=head2 own_acks($acks), is_acknowledged($acks)

What becomes of a message's own acks: undef if they are the client's; whether there will be an answer.

=head2 has_partitioner, partition_of($message), choose_partition($topic, $key), chosen($topic, $partition)

Where a message belongs. Calls the program's partitioner; C<chosen> looks at what one has answered that
was called natively.

=head1 SEE ALSO

L<EV::Kafka::Producer>

=cut
