package KafkaBench::Produce;

# What a producing process does between its two looks at the clock. Each of these takes
# a run and comes back when all messages are settled, with the number of those that
# failed. A run:
#   kafka, topic, messages
#   values   the values, in turn
#   bound    how many messages may be outstanding, 100,000
#   flushes  true: nothing lingers once the bound, or the end, is reached, since nothing more
#            will come

use v5.14;
use warnings;

use EV;
use KafkaBench;

use constant {
    BOUND    => 100_000,    # librdkafka's own
    PATIENCE => 5,          # seconds in which a message is delivered
};

# How many messages one turn of the event loop produces.
my $SLICE = 1_000;

# Of messages with a callback; one process does one run. When $settled gets to
# $wake, whoever waits goes on.
my ($settled, $failed, $wake) = (0, 0, 0);
my $go_on;

# Messages of which more is said, as programs say it: what it is made of is made for each.
my %SAID = (
    partition => sub {
        my ($kafka, $topic, $value, $next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value, { partition => $next & 3 }) }
    },
    timestamp => sub {
        my ($kafka, $topic, $value, $next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value, { timestamp => 1_700_000_000_000 + $next }) }
    },
    header => sub {
        my ($kafka, $topic, $value, $next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value, { headers => { id => $next } }) }
    },
    headers => sub {
        my ($kafka, $topic, $value, $next, $end) = @_;
        for (; $next < $end; $next++) {
            $kafka->produce($topic, "k$next", $value,
                { headers => [[id => $next], [type => 'order'], [source => 'shop'], [trace => "t-$next"], [tenant => 'eu']] });
        }
    },
    nothing => sub {
        my ($kafka, $topic, $value, $next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value) }
    },
);

# What is said of each is a key of %SAID: {said}.
sub no_callback {
    my ($run) = @_;
    my ($kafka, $topic, $messages, $value) = (@$run{qw(kafka topic messages)}, $run->{values}[0]);
    my $produce = $SAID{ $run->{said} // 'nothing' };
    my $next    = 0;
    await(sub {
        my ($done) = @_;
        state $turn;
        $turn = EV::idle sub {
            my $end = _end_of_slice($next, $messages);
            $produce->($kafka, $topic, $value, $next, $end);
            $next = $end;
            return if $next < $messages;
            $turn->stop;
            $done->();
        };
    });
    my $error = await(sub { $kafka->flush(@_) });
    _settle_unanswered($kafka) unless $kafka->{cfg}{acks};
    return defined $error ? $messages : 0;
}

# With a partitioner that is the program's own.
sub with_partitioner {
    my ($run) = @_;
    $run->{kafka}{cfg}{partitioner} = sub { length($_[1]) % $_[2] };
    return no_callback($run);
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

sub _on_delivery {
    my ($result, $error) = @_;
    $failed++ if defined $error;
    $go_on->() if ++$settled == $wake;
}

sub shared_callback {
    my ($run) = @_;
    my ($kafka, $topic, $values) = @$run{qw(kafka topic values)};
    my ($count, $value, $on_delivery) = (scalar @$values, $values->[0], \&_on_delivery);
    return _paced($run, $count == 1 ? sub {
        my ($next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value, $on_delivery) }
    } : sub {
        my ($next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $values->[$next % $count], $on_delivery) }
    });
}

# One callback that is told which message it is called for.
sub with_argument {
    my ($run) = @_;
    my ($kafka, $topic, $value) = (@$run{qw(kafka topic)}, $run->{values}[0]);
    my $on_delivery = sub {
        my ($result, $error, $number) = @_;
        $failed++ if defined $error;
        $go_on->($number) if ++$settled == $wake;
    };
    return _paced($run, sub {
        my ($next, $end) = @_;
        for (; $next < $end; $next++) { $kafka->produce($topic, "k$next", $value, undef, $on_delivery, $next) }
    });
}

# Dies when callbacks are told nothing, as in builds that do not know of it.
sub try_argument {
    my ($run) = @_;
    my ($late, $told);
    await(sub {
        my ($done) = @_;
        $late = EV::timer PATIENCE, 0, sub { $done->() };
        $run->{kafka}->produce($run->{topic}, 'k', 'told', undef, sub { $told = $_[2]; $done->() }, 'told');
    });
    die "callbacks get no arguments\n" unless defined $told && $told eq 'told';
    return;
}

# Closures that know their message, at most {bound} of them alive.
sub fresh_closures {
    my ($run) = @_;
    my ($kafka, $topic, $value) = (@$run{qw(kafka topic)}, $run->{values}[0]);
    return _paced($run, sub {
        my ($next, $end) = @_;
        for (; $next < $end; $next++) {
            my $number = $next;
            $kafka->produce($topic, "k$number", $value, sub {
                my ($result, $error) = @_;
                $failed++ if defined $error;
                $go_on->($number) if ++$settled == $wake;
            });
        }
    });
}

# What perl itself takes for the closures of fresh_closures: made, called and freed, {bound} of them alive.
sub closures_alone {
    my ($run) = @_;
    my ($messages, $bound) = @$run{qw(messages bound)};
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

# Calls $produce->($from, $to) once a turn of the loop while less than {bound} messages
# are outstanding; at the bound it waits until half of them are settled.
sub _paced {
    my ($run, $produce) = @_;
    my ($messages, $bound, $next) = ($run->{messages}, $run->{bound} // BOUND, 0);
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
            $run->{kafka}->flush if $run->{flushes};
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
    my ($run) = @_;
    my ($kafka, $topic, $value) = (@$run{qw(kafka topic)}, $run->{values}[0]);
    return _one_by_one($run, sub { my ($number, $answered) = @_; $kafka->produce($topic, "k$number", $value, $answered) });
}

# The same on a connection, without the client around it.
sub sequential_on_a_connection {
    my ($run) = @_;
    my ($conn, $topic, $value) = (@$run{qw(conn topic)}, $run->{values}[0]);
    my %option = (acks => 1);
    return _one_by_one($run, sub { my ($number, $answered) = @_; $conn->produce($topic, 0, "k$number", $value, \%option, $answered) });
}

# $produce->($number, $answered) sends the message with that number.
sub _one_by_one {
    my ($run, $produce) = @_;
    my $messages = $run->{messages};
    my $next     = 0;
    await(sub {
        my ($done) = @_;
        my $answered;
        $answered = sub {
            my ($result, $error) = @_;
            $failed++ if defined $error || $result && $result->{topics}[0]{partitions}[0]{error_code};
            return $done->(undef $answered) if $next == $messages;
            $produce->($next++, $answered);
        };
        $answered->();
    });
    return $failed;
}

1;
