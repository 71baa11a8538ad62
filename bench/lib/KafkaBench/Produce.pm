package KafkaBench::Produce;

# What a producing process does between its two looks at the clock. Each of these
# takes a connected client, a topic, a value and the number of messages, and comes
# back when all of them are settled, with the number of those that failed.

use v5.14;
use warnings;

use EV;
use KafkaBench;

# librdkafka's own bound on messages that are not settled yet.
my $BOUND = 100_000;

# How many messages one turn of the event loop produces.
my $SLICE = 1_000;

# Of messages with a callback; one process does one run. When $settled gets to
# $wake, whoever waits goes on.
my ($settled, $failed, $wake) = (0, 0, 0);
my $go_on;

sub no_callback {
    my ($kafka, $topic, $value, $messages) = @_;
    my $next = 0;
    await(sub {
        my ($done) = @_;
        state $turn;
        $turn = EV::idle sub {
            my $end = _end_of_slice($next, $messages);
            for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value) }
            return if $next < $messages;
            $turn->stop;
            $done->();
        };
    });
    my $error = await(sub { $kafka->flush(@_) });
    _settle_unanswered($kafka) unless $kafka->{cfg}{acks};
    return defined $error ? $messages : 0;
}

# Under acks 0 a message is settled when its connection has it. The broker answers in
# order: once it has answered anything, it has taken everything.
sub _settle_unanswered {
    my ($kafka) = @_;
    for my $conn (grep { $_->connected } values %{ $kafka->{cfg}{conns} }) {
        my (undef, $error) = await(sub { $conn->metadata([], @_) });
        die "$error\n" if defined $error;
    }
}

# With a last argument nothing lingers at the end.
sub shared_callback {
    my ($kafka, $topic, $value, $messages, $at_end) = @_;
    my $on_delivery = sub {
        my ($result, $error) = @_;
        $failed++ if defined $error;
        $go_on->() if ++$settled == $wake;
    };
    return _paced($messages, $BOUND, sub {
        my ($next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value, $on_delivery) }
    }, $at_end && sub { $kafka->flush });
}

# Closures that know their message, at most $bound of them alive. With $at_bound
# 'flush' nothing lingers once the bound is reached, since nothing more will come.
sub fresh_closures {
    my ($kafka, $topic, $value, $messages, $bound, $at_bound) = @_;
    return _paced($messages, $bound, sub {
        my ($next, $end) = @_;
        for (; $next < $end; $next++) {
            my $number = $next;
            $kafka->produce($topic, "k$number", $value, sub {
                my ($result, $error) = @_;
                $failed++ if defined $error;
                $go_on->($number) if ++$settled == $wake;
            });
        }
    }, $at_bound && sub { $kafka->flush });
}

# What perl itself takes for the closures of fresh_closures: made, called and freed, $bound of them alive.
sub closures_alone {
    my (undef, undef, undef, $messages, $bound) = @_;
    my $result = { topics => [{ topic => 't', partitions => [{ partition => 0, error_code => 0, base_offset => 0 }] }] };
    my @outstanding;
    for (my $next = 0; $next < $messages; $next++) {
        my $number = $next;
        push @outstanding, sub {
            my ($result, $error) = @_;
            $failed++ if defined $error;
            $go_on->($number) if ++$settled == $wake;
        };
        shift(@outstanding)->($result, undef) if @outstanding >= $bound;
    }
    $_->($result, undef) for splice @outstanding;
    return $failed;
}

# Calls $produce->($from, $to) once a turn of the loop while less than $bound messages
# are outstanding; at the bound it waits until half of them are settled.
sub _paced {
    my ($messages, $bound, $produce, $at_bound) = @_;
    my $next = 0;
    await(sub {
        my ($done) = @_;
        state $turn;
        $turn = EV::idle sub {
            my $end = _end_of_slice($next, $messages);
            $end = $settled + $bound if $end > $settled + $bound;
            $produce->($next, $end);
            $next = $end;
            if    ($next == $messages)         { $wake = $messages }
            elsif ($next - $settled >= $bound) { $wake = $settled + int($bound / 2) }
            else                               { return }
            $turn->stop;
            $at_bound->() if $at_bound;
        };
        $go_on = sub { $settled == $messages ? $done->() : $turn->start };
    });
    return $failed;
}

sub _end_of_slice {
    my ($next, $messages) = @_;
    my $end = $next + $SLICE;
    return $end < $messages ? $end : $messages;
}

# Each message after the one before it was answered.
sub sequential {
    my ($kafka, $topic, $value, $messages) = @_;
    my $next = 0;
    await(sub {
        my ($done) = @_;
        my $produce;
        $produce = sub {
            my ($result, $error) = @_;
            $failed++ if defined $error;
            return $done->(undef $produce) if $next == $messages;
            $kafka->produce($topic, 'k' . $next++, $value, $produce);
        };
        $produce->();
    });
    return $failed;
}

1;
