package EV::Kafka::Delivery;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# Options that a program may change at any time, in {cfg}, and that batches go by.
use constant BATCH_OPTIONS => qw(acks batch_size compression linger_ms partitioner);

# They count from the next batch. What cannot be is told, and stays as it was.
sub _apply_options {
    my ($self) = @_;
    my $cfg   = $self->{cfg};
    my $given = join "\0", map { $_ // '' } @$cfg{+BATCH_OPTIONS};
    return if $given eq ($cfg->{applied}{given} // '');
    my $batch_size = $cfg->{applied}{batch_size} // $cfg->{batch_size};
    for my $name (BATCH_OPTIONS) {
        local $@;
        my $value = eval { EV::Kafka::Options->check($name, $cfg->{$name}) };
        if (!$@) {
            $cfg->{applied}{$name} = $value;
            $self->_notice_over("option $name");
        }
        else { $self->_notice("option $name", EV::Kafka::Error::reason($@) =~ s/\AEV::Kafka: //r) }
        $cfg->{$name} = $cfg->{applied}{$name};
    }
    $self->_keep_acks if $cfg->{idempotent};
    $cfg->{applied}{given} = join "\0", map { $_ // '' } @$cfg{+BATCH_OPTIONS};
    # A size that the program gives is the most that a batch has.
    $cfg->{batch_limit} = $cfg->{batch_size} if $cfg->{batch_size} != $batch_size;
    my $partitioner = $cfg->{partitioner};
    return $self->{accumulator}->set_options({
        acks        => $cfg->{acks},
        batch_size  => $cfg->{batch_size},
        batch_limit => $cfg->{batch_limit},
        compression => $cfg->{compression} // 'none',
        sticky      => defined $partitioner && !ref $partitioner ? 1 : 0,
    }, \$cfg->{partitioner}, $cfg);
}

sub _keep_acks {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{acks} == -1;
    $self->_notice('option acks', "an idempotent producer needs acks -1: acks $cfg->{acks} is taken as -1");
    $cfg->{acks} = $cfg->{applied}{acks} = -1;
    return;
}

# Native code calls this for the first record that has to linger. After the linger
# time the batches are due: they take records until a request takes them along.
sub _linger_begin {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{_linger_active} || $cfg->{closed};
    $self->_apply_options;
    $cfg->{_linger_active} = 1;
    $self->_watch_expiry;
    $cfg->{_linger_timer}  = $self->_timer($cfg->{linger_ms} / 1000, '_flush_all_batches');
    return;
}

sub _flush_all_batches {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed};
    $cfg->{_linger_active} = 0;
    $cfg->{_linger_timer}  = undef;
    $self->_apply_options;
    $self->{accumulator}->batches_due;
    return $self->_send_ready;
}

# Whatever can leave does. What that needs, native code calls for by the methods that follow.
sub _send_ready {
    my ($self) = @_;
    return if $self->{cfg}{closed} || !$self->{cluster}->is_connected;
    return $self->{accumulator}->send_ready;
}

# Batches for the broker, and no connection that they may be put on: there is one now, or will be.
sub _send_ready_to {
    my ($self, $node_id) = @_;
    my $cluster = $self->{cluster};
    return if $self->{cfg}{closed} || !$cluster->is_connected;
    my $conn = $cluster->ready_conn(main => $node_id) or return $cluster->open(main => $node_id);
    return $self->{accumulator}->serve($node_id, $conn, $cluster->longest_quiet);
}

# Whether something waits for a partition to have a leader; told as long as it is so, and once
# when it is over.
sub _leaderless {
    my ($self, $is_so) = @_;
    return if $self->{cfg}{closed} || !$self->{cluster}->is_connected;
    return $is_so ? $self->{cluster}->find_leaders : $self->{cluster}->leaders_found;
}

# Native code calls this when delivery callbacks have taken long enough for one turn
# of the loop.
sub _deliver_later {
    my ($self) = @_;
    $self->{cfg}{_delivery_timer} = $self->_timer(0, '_deliver_on');
    return;
}

sub _deliver_on {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{_delivery_timer};
    $self->{accumulator}->deliver_waiting;
    return $cfg->{closed} ? undef : $self->_check_buffer;
}

# Waits for what was produced before it, and for nothing that comes after.
sub flush {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $cfg    = $self->{cfg};
    my $waiter = { cb => $cb, generation => $self->{accumulator}->end_generation };
    if ($self->{accumulator}->is_settled($waiter->{generation}) && !$self->{accumulator}->is_delivering && !$self->_unconfirmed) {
        $self->_call($cb);
        return;
    }
    if ($cfg->{flush_timeout}) {
        $waiter->{timer} = $self->_timer($cfg->{flush_timeout}, _flush_timed_out => $waiter);
    }
    push @{ $cfg->{flush_waiters} }, $waiter;
    $self->_watch_progress;
    $self->_flush_all_batches;
    return $cfg->{closed} ? undef : $self->_check_flush;
}

# Delivery callbacks that are being called go first, unless one of them runs the loop
# and waits there.
sub _check_flush {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    $self->_txn_advance;
    return if $cfg->{closed} || !@{ $cfg->{flush_waiters} };
    return $self->_check_flush_waiters unless $self->{accumulator}->is_delivering;
    $cfg->{_flush_timer} ||= $self->_timer(0, '_check_flush_waiters');
    return;
}

# They stand in the order of their calls.
sub _check_flush_waiters {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{_flush_timer};
    my @done;
    for my $waiter (grep { !$_->{confirming} } @{ $cfg->{flush_waiters} }) {
        last unless $self->{accumulator}->is_settled($waiter->{generation});
        push @done, $waiter;
    }
    return unless @done;
    return $self->_unconfirmed ? $self->_confirm(@done) : $self->_flushed(@done);
}

# How many brokers have got something that they do not answer.
sub _unconfirmed {
    my ($self) = @_;
    my @nodes = $self->{accumulator}->unconfirmed;
    return scalar @nodes;
}

# Under acks 0 nobody says that records have arrived, and most may still lie here.
# An answer to what was sent after them says so.
sub _confirm {
    my ($self, @waiters) = @_;
    my $cfg   = $self->{cfg};
    my @conns = grep { $_ } map { $self->_ready_conn(main => $_) } $self->{accumulator}->unconfirmed;
    return $self->_flushed(@waiters) unless @conns;
    $_->{confirming} = 1 for @waiters;
    my $left = @conns;
    weaken(my $weak = $self);
    my $confirmed = sub { $weak->_flushed(@waiters) if !--$left && $weak };
    $_->metadata([], $confirmed) for @conns;
    return;
}

sub _flushed {
    my ($self, @done) = @_;
    my $waiters = $self->{cfg}{flush_waiters};
    my %is_done = map { $_ => 1 } @done;
    # Without those that have timed out meanwhile.
    @done     = grep { $is_done{$_} } @$waiters;
    @$waiters = grep { !$is_done{$_} } @$waiters;
    delete $_->{timer} for @done;
    $self->_call($_->{cb}) for @done;
    return;
}

sub _flush_timed_out {
    my ($self, $waiter) = @_;
    my $cfg = $self->{cfg};
    delete $waiter->{timer};
    my $waiting = @{ $cfg->{flush_waiters} };
    @{ $cfg->{flush_waiters} } = grep { $_ != $waiter } @{ $cfg->{flush_waiters} };
    return if $waiting == @{ $cfg->{flush_waiters} };
    return $self->_call($waiter->{cb}, "flush timed out after $cfg->{flush_timeout} s");
}

1;

__END__

=head1 NAME

EV::Kafka::Delivery - what becomes of an EV::Kafka client's batches

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It lets batches linger,
sends them to their leaders, at most five requests at a time to one broker, and
knows when everything has been settled (C<flush>).

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Producer>, L<EV::Kafka::Retry>

=cut
