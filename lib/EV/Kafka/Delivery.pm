package EV::Kafka::Delivery;
use strict;
use warnings;

use Carp ();

# Produce requests under way to one broker; batches that become ready meanwhile
# wait and leave together when one is answered.
use constant MAX_IN_FLIGHT => 5;

# Seconds after a batch was first refused until a refusal is final, and the
# delays between its tries (Java's delivery.timeout.ms, retry.backoff.ms and
# retry.backoff.max.ms).
use constant {
    DELIVERY_TIMEOUT  => 120,
    RETRY_BACKOFF     => 0.1,
    RETRY_BACKOFF_MAX => 1,
};

# How many batches' retries are counted before old counts are looked through.
use constant MAX_RETRIES_KEPT => 1000;

# Codes that a later try can mend. Each also asks for fresh metadata: most mean
# that the leader is another broker by now.
my %RETRIABLE = map { $_ => 1 } (
    2,     # CORRUPT_MESSAGE
    3,     # UNKNOWN_TOPIC_OR_PARTITION
    5,     # LEADER_NOT_AVAILABLE
    6,     # NOT_LEADER_OR_FOLLOWER
    7,     # REQUEST_TIMED_OUT
    9,     # REPLICA_NOT_AVAILABLE
    13,    # NETWORK_EXCEPTION
    15,    # COORDINATOR_NOT_AVAILABLE
    16,    # NOT_COORDINATOR
    19,    # NOT_ENOUGH_REPLICAS
    20,    # NOT_ENOUGH_REPLICAS_AFTER_APPEND
    56,    # KAFKA_STORAGE_ERROR
    72,    # LISTENER_NOT_FOUND
    74,    # FENCED_LEADER_EPOCH
    75,    # UNKNOWN_LEADER_EPOCH
    89,    # THROTTLING_QUOTA_EXCEEDED
);

# Native code calls this for the first record of a batch.
sub _linger_begin {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{_linger_active} || $cfg->{closed};
    $cfg->{_linger_active} = 1;
    $cfg->{_linger_timer}  = $self->_timer($cfg->{linger_ms} / 1000, '_flush_all_batches');
    return;
}

sub _flush_all_batches {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed};
    $cfg->{_linger_active} = 0;
    $cfg->{_linger_timer}  = undef;
    $self->_seal_all;
    return $self->_send_ready;
}

# Native code calls this, too, when a batch has filled up.
sub _send_ready {
    my ($self) = @_;
    return if $self->{cfg}{closed} || !$self->{cfg}{connected};
    my @nodes = $self->_ready_nodes;
    if   (grep { $_ < 0 } @nodes) { $self->_find_leaders }
    else                          { $self->{cfg}{leaderless_tries} = 0 }
    $self->_send_ready_to($_) for grep { $_ >= 0 } @nodes;
    return;
}

sub _send_ready_to {
    my ($self, $node_id) = @_;
    my $cfg  = $self->{cfg};
    my $conn = $self->_ready_conn(main => $node_id);
    if (!$conn) {
        $self->_open_link($self->_link(main => $node_id));
        return;
    }
    return if $cfg->{sending}{$node_id};    # acks => 0 answers before it has sent
    local $cfg->{sending}{$node_id} = 1;
    while (!$cfg->{closed} && ($cfg->{in_flight}{$node_id} || 0) < MAX_IN_FLIGHT) {
        $cfg->{in_flight}{$node_id}++;
        next if $self->_send_batches($conn, $node_id);
        $cfg->{in_flight}{$node_id}--;
        last;
    }
    return;
}

# Native code calls this once for each Produce request, after the delivery
# callbacks of what was accepted. $failed lists the batches that were not:
# [$batch_id, $topic, $partition, $error_code, $error_message, $record_count].
sub _produce_answered {
    my ($self, $node_id, $failed, $transport_error) = @_;
    my $cfg = $self->{cfg};
    $cfg->{in_flight}{$node_id}-- if $cfg->{in_flight}{$node_id};
    if (defined $transport_error) {
        # The broker may have written them: only the user can decide to send twice.
        $self->_request_failed(main => $node_id);
        delete @{ $cfg->{retries} }{ map { $_->[0] } @$failed };
        $self->_fail_batches([map { $_->[0] } @$failed], $transport_error, -1) if @$failed;
    }
    elsif (@$failed) {
        $self->_sort_failures($failed);
    }
    return if $cfg->{closed};
    $cfg->{retries} = {} if %{ $cfg->{retries} } && !$self->_unsettled;
    $self->_send_ready_to($node_id) if $self->_ready_conn(main => $node_id);
    return $self->_check_flush;
}

sub _sort_failures {
    my ($self, $failed) = @_;
    my $cfg = $self->{cfg};
    for my $batch (@$failed) {
        my ($id, $topic, $partition, $code, $message) = @$batch;
        return if $cfg->{closed};
        if ($RETRIABLE{$code} && $self->_retry_batch(@$batch)) {
            $self->_refresh_metadata_for_topic($topic);
            next;
        }
        my $tries = delete $cfg->{retries}{$id};
        my $text  = $self->error_name($code) . " (code $code) from $topic:$partition";
        $text .= ": $message" if defined $message && length $message;
        $text .= " after $tries->{count} retries" if $tries;
        $self->_fail_batches([$id], $text, $code);
    }
    return;
}

# Refused batches of one partition wait together and then leave one at a time, in
# the order in which they were filled.
sub _retry_batch {
    my ($self, $id, $topic, $partition) = @_;
    my $cfg   = $self->{cfg};
    my $tries = $cfg->{retries}{$id} ||= { count => 0, since => $self->_now };
    $self->_forget_old_retries if keys %{ $cfg->{retries} } > MAX_RETRIES_KEPT;
    return 0 if $self->_now - $tries->{since} >= DELIVERY_TIMEOUT;
    $tries->{count}++;
    my $held = $cfg->{held}{"$topic:$partition"} ||= {
        ids   => [],
        timer => $self->_timer(
            $self->_backoff($tries->{count}, RETRY_BACKOFF, RETRY_BACKOFF_MAX),
            _release_held => "$topic:$partition",
        ),
    };
    push @{ $held->{ids} }, $id;
    $self->_keep_order($topic, $partition);
    return 1;
}

# A batch that is accepted at last does not say so here.
sub _forget_old_retries {
    my ($self) = @_;
    my $retries = $self->{cfg}{retries};
    my $old     = $self->_now - DELIVERY_TIMEOUT;
    delete @$retries{ grep { $retries->{$_}{since} < $old } keys %$retries };
    return;
}

sub _release_held {
    my ($self, $key) = @_;
    my $held = delete $self->{cfg}{held}{$key} or return;
    $self->_requeue([sort { $a <=> $b } @{ $held->{ids} }]);
    return $self->_send_ready;
}

sub flush {
    my ($self, $cb) = @_;
    $self->_check_open;
    my $cfg = $self->{cfg};
    if (!$self->_unsettled) {
        $self->_call($cb);
        return;
    }
    my $waiter = { cb => $cb };
    if ($cfg->{flush_timeout}) {
        $waiter->{timer} = $self->_timer($cfg->{flush_timeout}, _flush_timed_out => $waiter);
    }
    push @{ $cfg->{flush_waiters} }, $waiter;
    return $self->_flush_all_batches;
}

# Messages that were accepted and have not been delivered or failed.
sub _unsettled {
    my ($self) = @_;
    my ($messages) = $self->_queued;
    return $messages + grep { ($_->{label} || '') eq EV::Kafka::Producer::DELIVERY() } @{ $self->{cfg}{pending_ops} };
}

sub _check_flush {
    my ($self) = @_;
    my $waiters = $self->{cfg}{flush_waiters};
    return if !@$waiters || $self->_unsettled;
    my @done = splice @$waiters;
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
sends them to their leaders, at most five requests at a time to one broker,
decides what is tried again and what has failed, and knows when everything has
been settled (C<flush>).

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Producer>

=cut
