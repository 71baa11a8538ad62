package EV::Kafka::Retry;
use strict;
use warnings;

# A batch that was refused has so many more tries even after delivery_timeout.
use constant MIN_RETRIES => 3;

# Seconds between a batch's tries (Java's retry.backoff.ms and retry.backoff.max.ms).
use constant {
    RETRY_BACKOFF     => 0.1,
    RETRY_BACKOFF_MAX => 1,
};

# How often in delivery_timeout what waits is looked through, at least every second.
use constant {
    EXPIRY_CHECKS     => 20,
    EXPIRY_PERIOD_MAX => 1,
};

# INVALID_TXN_STATE: for a record outside of transactions it means that the end of
# the last one has been promised, but not yet written to this partition.
use constant INVALID_TXN_STATE => 48;

# MESSAGE_TOO_LARGE and RECORD_LIST_TOO_LARGE: half of the batch may pass.
my %TOO_LARGE = map { $_ => 1 } 10, 18;

sub _batch_failed {
    my ($self, $batch, $transport_error) = @_;
    my $code = $batch->{error_code};
    return $self->_fail_batch($batch, undef, $batch->{message}) if $batch->{is_unsent};
    # The broker may have written it: without idempotence only the user can decide to send twice.
    return if $batch->{is_lost} && $self->{cfg}{idempotent} && $self->_retry_batch($batch);
    # on_error hears of the connection.
    return $self->_fail_batch({ %$batch, is_reported => 1 }, undef, $transport_error) if defined $transport_error;
    return if $TOO_LARGE{$code} && !$self->_is_given_up($batch) && $self->{accumulator}->split($batch->{id});
    return if $self->_repair_sequence($batch);
    return if $code == INVALID_TXN_STATE && !$batch->{is_transactional} && defined $self->{cfg}{transactional_id}
        && $self->_retry_batch($batch);
    if (EV::Kafka::_is_retriable($code) && $self->_retry_batch($batch)) {
        return $self->_want_topic_to_write($batch->{topic});
    }
    my $text = $self->error_name($code) . " (code $code) from $batch->{topic}:$batch->{partition}";
    $text .= ": $batch->{message}" if length $batch->{message};
    $text .= " after $batch->{retries} retries" if $batch->{retries};
    return $self->_fail_batch($batch, $batch->{is_lost} ? undef : $code, $text);
}

sub _fail_batch {
    my ($self, $batch, $code, $text) = @_;
    my $unheard = $self->{accumulator}->fail_batches([$batch->{id}], $text, $code);
    return if $self->{cfg}{closed};
    if (!$batch->{is_transactional}) {
        $self->_report($text) if $unheard && !$batch->{is_reported};
    }
    # The end of the transaction says so to who has no callback.
    elsif (!$batch->{is_past}) {
        $self->_txn_batch_failed($code, $text);
    }
    return;
}

# Its transaction is over, or will be without it: nothing of it is sent again.
sub _is_given_up {
    my ($self, $batch) = @_;
    return $batch->{is_transactional} && ($batch->{is_past} || $self->_txn_aborting);
}

# A refused batch, and with it all of its partition, waits for a while.
sub _retry_batch {
    my ($self, $batch) = @_;
    my $cfg = $self->{cfg};
    my $limit = $cfg->{delivery_timeout};
    return 0 if $limit && $batch->{age} >= $limit && $batch->{retries} >= MIN_RETRIES;
    return 0 if $self->_is_given_up($batch);
    return 0 unless $self->{accumulator}->hold($batch->{id}, $batch->{is_lost} ? 0 : $batch->{error_code});
    my ($topic, $partition) = @$batch{qw(topic partition)};
    $cfg->{held}{"$topic:$partition"} ||= $self->_timer(
        $self->_backoff($batch->{retries} + 1, RETRY_BACKOFF, RETRY_BACKOFF_MAX),
        _release_held => $topic, $partition,
    );
    return 1;
}

sub _release_held {
    my ($self, $topic, $partition) = @_;
    delete $self->{cfg}{held}{"$topic:$partition"};
    $self->{accumulator}->resume($topic, $partition);
    return $self->_send_ready;
}

# Once in a while, as long as anything waits: what has waited for delivery_timeout fails.
sub _watch_expiry {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    return if $cfg->{closed} || $cfg->{_expiry_timer} || !$cfg->{delivery_timeout};
    my $period = $cfg->{delivery_timeout} / EXPIRY_CHECKS;
    $period = EXPIRY_PERIOD_MAX if $period > EXPIRY_PERIOD_MAX;
    @$cfg{qw(expiry_period expiry_due)} = ($period, $self->_now + $period);
    $cfg->{_expiry_timer} = $self->_timer($period, '_expire_batches');
    return;
}

# While the program did not let the loop turn nothing could be sent or answered. That
# time, when it is more than that between two looks, is not held against messages.
sub _forgive_blocking {
    my ($self) = @_;
    my $cfg  = $self->{cfg};
    my $lost = $self->_now - $cfg->{expiry_due};
    $self->{accumulator}->forgive($lost) if $lost >= $cfg->{expiry_period};
    return;
}

sub _expire_batches {
    my ($self) = @_;
    my $cfg = $self->{cfg};
    delete $cfg->{_expiry_timer};
    my $limit = $cfg->{delivery_timeout};
    $self->_forgive_blocking;
    my ($expired, $transactional, @unheard) = $self->{accumulator}->expire($limit, MIN_RETRIES);
    for my $text (@unheard) {
        return if $cfg->{closed};
        $self->_report($text);
    }
    return if $cfg->{closed};
    $self->_txn_batch_failed(undef, "delivery timed out after $limit s") if $transactional;
    return if $cfg->{closed};
    $self->_send_ready if $expired;
    $self->_check_buffer;
    $self->_watch_expiry if !$cfg->{closed} && $self->_unsettled;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Retry - what becomes of a batch that was not accepted

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It decides which batches
are sent again, and after which delay, which are split because they are too
large for their broker, and which have failed. What has waited for longer than
C<delivery_timeout> fails.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Delivery>, L<EV::Kafka::Idempotence>

=cut
