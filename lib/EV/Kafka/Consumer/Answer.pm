package EV::Kafka::Consumer::Answer;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;

# What the answer to a Fetch means for the next one, whatever is still to be delivered from before.

# The failures in a row after which a leader that cannot be found is worth an error.
use constant LEADER_FAILURES => 5;

# The largest answer that is asked for when a batch does not fit; the broker's
# own limits are below it.
use constant MAX_FETCH_BYTES => 2**27;

use constant {
    CORRUPT_MESSAGE            => 2,
    OFFSET_OUT_OF_RANGE        => 1,
    UNKNOWN_TOPIC_OR_PARTITION => 3,
};

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop outbox cluster offsets assigned ends position log)) }, $class;
}

# Where in the native answer's summary of a partition a thing stands.
use constant {
    KEY                => 0,
    ERROR_CODE         => 1,
    NEXT_OFFSET        => 2,
    LAST_EPOCH         => 3,
    RECORD_COUNT       => 4,
    HIGH_WATERMARK     => 5,
    LAST_STABLE_OFFSET => 6,
    DIVERGING_EPOCH    => 7,
    DIVERGING_END      => 8,
};

# Gives the parts that have something to deliver.
sub read {
    my ($self, $broker, $fetch, $fetched) = @_;
    my $index = 0;
    my $told  = $fetch->{told};
    my @parts;
    for my $answer ($fetched->partitions) {
        if (my $part = $broker->part_of($fetch, $answer->[KEY])) {
            @$part{qw(fetched index)} = ($fetched, $index);
            push @parts, $self->_take($fetch, $part, $answer);
        }
        delete $told->{ $answer->[KEY] } if $told;
        $index++;
    }
    if ($told) {
        $self->{ends}->unchanged($_) for map { $broker->part_of($fetch, $_) } keys %$told;
    }
    for my $part (map { $broker->part_of($fetch, $_) } $fetched->passed_over) {
        $self->_delay($part->{cursor});
        next unless $self->{assigned}->is_wanted($part);
        $self->_report_once($fetch, $part, 'missing', EV::Kafka::Error->without_code("Fetch answer lacks ${\ $part->{cursor}->key }", 1));
    }
    $self->_ask_for_more($fetch);
    return @parts;
}

sub _take {
    my ($self, $fetch, $part, $answer) = @_;
    my ($assigned, $cursor, $from) = @$part{qw(assigned cursor from)};
    return unless $self->{assigned}->is_wanted($part);
    my $is_next = $cursor->is_next($part->{generation}, $from, $assigned->{offset});
    # A leader that answers late, after another one was asked, brings it twice.
    return if !$is_next && $cursor->{generation} == $part->{generation};
    $part->{generation} = $cursor->{generation} if $is_next;

    my ($code, $next, $epoch) = @$answer[ERROR_CODE, NEXT_OFFSET, LAST_EPOCH];
    return $self->_diverges($part, @$answer[DIVERGING_EPOCH, DIVERGING_END], $is_next)
        if !$code && $answer->[DIVERGING_END] >= 0;
    $self->{ends}->learns($part, @$answer[HIGH_WATERMARK, LAST_STABLE_OFFSET]) if $fetch->{told} && !$code && $is_next;
    my $end = $answer->[$self->{offsets}->isolation ? LAST_STABLE_OFFSET : HIGH_WATERMARK];
    my $is_stuck = !$code && $next == $from && $end > $from;
    $fetch->{progress} = 1 if $next > $from && (!$code || $code == CORRUPT_MESSAGE);
    push @{ $fetch->{stuck} }, $part if $is_stuck;
    # What came is not checked yet.
    $cursor->succeeded if $next == $from && !$code && !$is_stuck;
    $self->_refused($fetch, $part, $code) if $code && $is_next && !$cursor->is_resolving;
    return if $next == $from || !$self->{assigned}->is_current($assigned, $cursor);
    $cursor->took($from, $next, $epoch) if $is_next;
    @$part{qw(next epoch records)} = ($next, $epoch, $answer->[RECORD_COUNT]);
    $part->{backlog} = $end > $next;
    return $part;
}

# The batch at which the delivery of a part has come does not verify.
sub damaged {
    my ($self, $part, $node_id) = @_;
    return $self->_refused({ node_id => $node_id }, $part, CORRUPT_MESSAGE);
}

# Where to go on is being asked for already while the position is looked up.
sub _log {
    my ($self, $part, $what) = @_;
    my ($topic, $partition) = @{ $part->{assigned} }{qw(topic partition)};
    return $self->{outbox}->log(fetch => warning => "$topic:$partition, fetched from offset $part->{from}: $what",
        topic => $topic, partition => $partition, offset => $part->{from});
}

sub _diverges {
    my ($self, $part, $epoch, $end_offset, $is_next) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return if !$is_next || $cursor->is_resolving;
    my $is_again = $cursor->diverges;
    $self->_log($part, "the leader's log departs from what was read, at offset $end_offset") if $self->{outbox}->logs('fetch');
    # Whoever was told of no epoch can know of no other one.
    $self->{log}->diverges($assigned, $cursor, $epoch, $end_offset) if $part->{last_epoch} >= 0;
    $self->_delay($cursor) if $is_again || $part->{last_epoch} < 0;
    return;
}

sub _refused {
    my ($self, $fetch, $part, $code) = @_;
    my ($assigned, $cursor, $offset) = @$part{qw(assigned cursor from)};
    my $error = EV::Kafka::Error->of_code($code);
    $self->_log($part, $error->text) if $self->{outbox}->logs('fetch');
    # A broker that cannot tell where the epoch ended says the same.
    return $cursor->forget_epoch if $code == OFFSET_OUT_OF_RANGE && $part->{last_epoch} >= 0;
    # While messages before it are still to be delivered, the position is theirs.
    if ($code == OFFSET_OUT_OF_RANGE && $assigned->{offset} == $offset) {
        $fetch->{error} //= $error->said($error->name . ": ${\ $cursor->key } has no offset $offset")->at(_place_of($fetch, $part));
        return $self->{position}->reset($assigned);
    }
    $self->_delay($cursor);
    return if $code == OFFSET_OUT_OF_RANGE;
    my $is_moved = EV::Kafka::Error::is_leader_error($code) || EV::Kafka::Error::is_other_topic($code);
    if ($is_moved || $code == UNKNOWN_TOPIC_OR_PARTITION) {
        $self->{cluster}->want($assigned->{topic});
        return if ($is_moved || $cursor->is_fleeting) && $cursor->{failures} < LEADER_FAILURES;
    }
    return $self->_report_once($fetch, $part, $code, $error->of(_what($part)));
}

# Brokers give the first partition at least one whole batch. When even so no
# partition got any further, a batch is larger than what was asked for.
sub _ask_for_more {
    my ($self, $fetch) = @_;
    my $large = $fetch->{large};
    if ($fetch->{progress}) {
        $_->asks_for(undef) for grep { $_ } values %$large;
        %$large = ();
        return;
    }
    for my $part (@{ $fetch->{stuck} || [] }) {
        my $cursor = $part->{cursor};
        if ($fetch->{max_bytes} < MAX_FETCH_BYTES) {
            $cursor->asks_for(List::Util::min(2 * $fetch->{max_bytes}, MAX_FETCH_BYTES));
            weaken($large->{ $cursor->key } = $cursor);
        }
        else {
            $self->_delay($cursor);
            my $nothing = EV::Kafka::Error->without_code("nothing comes, though $fetch->{max_bytes} bytes are asked for", 1);
            $self->_report_once($fetch, $part, 'size', $nothing->of(_what($part)));
        }
    }
    return;
}

sub _delay {
    my ($self, $cursor) = @_;
    return $cursor->delay($self->{loop}->now);
}

sub _report_once {
    my ($self, $fetch, $part, $what, $error) = @_;
    return unless $part->{cursor}->is_news($what);
    return $self->{outbox}->report($error->at(_place_of($fetch, $part)));
}

sub _what { my ($part) = @_; return "fetch of ${\ $part->{cursor}->key } at offset $part->{from}" }

sub _place_of {
    my ($fetch, $part) = @_;
    return (operation => 'Fetch', broker => $fetch->{node_id}, map { $_ => $part->{assigned}{$_} } qw(topic partition));
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Answer - what the answer to a Fetch means for the next one

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It decides once a partition where
the next Fetch starts and when, what is worth an error, and when a larger answer must be
asked for; L<EV::Kafka::Consumer::Delivery> delivers what the answer brought.

=head1 METHODS

=head2 new(%about)

With C<loop>, C<outbox>, C<cluster>, C<offsets>, C<assigned>, C<position> and C<log>.

=head2 read($broker, $fetch, $fetched)

Gives the parts of an L<EV::Kafka::Consumer::Broker>'s Fetch that have something to deliver.

=head2 damaged($part, $node_id)

What comes next of a part does not verify. By then the next Fetch has left.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
