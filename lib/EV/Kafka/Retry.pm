package EV::Kafka::Retry;
use strict;
use warnings;

# How often in delivery_timeout what waits is looked through, at least every second.
use constant {
    EXPIRY_CHECKS     => 20,
    EXPIRY_PERIOD_MAX => 1,
};

# What has become of batches that no broker has taken is decided natively. What is left to do:
#   is_lost      the end of a connection has taken requests with it
#   refresh      topics that may have other leaders by now
#   retry_after  seconds until a batch that waits for its next try may leave
#   reports      texts that nobody else hears of
#   harm         to the open transaction: abort, new epoch or fenced; in words harm_text
#   failed       each of the batches: { topic, partition, error_code, records }
sub _batches_failed {
    my ($self, $node_id, $news) = @_;
    my $cfg = $self->{cfg};
    $self->{cluster}->request_failed(main => $node_id) if $news->{is_lost};
    $self->_retry_after($news->{retry_after});
    $self->{cluster}->want_to_write($_) for @{ $news->{refresh} };
    for my $text (@{ $news->{reports} }) {
        return if $cfg->{closed};
        $self->_report($text);
    }
    return if $cfg->{closed} || !defined $news->{harm};
    return $self->_txn_batch_failed(@$news{qw(harm harm_text)});
}

sub _retry_after {
    my ($self, $seconds) = @_;
    $self->{cfg}{_retry_timer} = defined $seconds ? $self->_timer($seconds, '_retry_batches') : undef;
    return;
}

sub _retry_batches {
    my ($self) = @_;
    $self->_retry_after($self->{accumulator}->resume);
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
    my ($expired, $transactional, @unheard) = $self->{accumulator}->expire($limit);
    for my $text (@unheard) {
        return if $cfg->{closed};
        $self->_report($text);
    }
    return if $cfg->{closed};
    $self->_txn_batch_failed('new epoch', "delivery timed out after $limit s") if $transactional;
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

A part of L<EV::Kafka::Client>, not for use by itself. Which batches are sent again, and after
which delay, which are split because they are too large for their broker, and which have failed
is native; this module does what follows from it. What has waited for longer than
C<delivery_timeout> fails.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Delivery>, L<EV::Kafka::Idempotence>

=cut
