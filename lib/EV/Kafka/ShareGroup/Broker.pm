package EV::Kafka::ShareGroup::Broker;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::ShareGroup::Hold;

# What a member of a share group has of one broker. One request at a time, on a connection of its own: the broker answers
# ShareFetch and ShareAcknowledge of a session in the order of one counter, and ends the session with the connection.
#   session     what is acquired, and what the broker is to be told: an EV::Kafka::ShareSession
#   hold        what records are settled by
#   wanted      how many partitions are fetched
#   conn        the connection that the session is on, and since when it is connected
#   asked       what is on its way, or waits for a connection: fetch or acknowledge
#   deliverer   the timer after which delivering goes on
#   delivers    it is under way
#   settler     until what the program has settled is looked at
#   flusher     until what was settled is told whatever else there is to do
#   retry, failures   the wait after requests that failed, and how many did so in a row
#   expirer     until the first lock of what is in hand runs out
#   is_leaving  nothing is fetched or handed over any more; has_left, and that was said
#   op          sends when there will be a connection

# Milliseconds of handing over in one go before the event loop turns.
use constant SLICE_MS => 5;

# Seconds after which the broker hears what was settled, although handlers are still at what was fetched with it.
use constant FLUSH_AFTER => 1;

# Seconds between tries after an answer that was of no use, and at most.
use constant {
    BACKOFF     => 0.1,
    BACKOFF_MAX => 1,
};

# The API, and its first version that renews locks.
use constant { SHARE_ACKNOWLEDGE => 79, RENEWS_FROM => 2 };

use constant {
    CORRUPT_MESSAGE            => 2,
    TOPIC_AUTHORIZATION_FAILED => 29,
    GROUP_AUTHORIZATION_FAILED => 30,
    UNSUPPORTED_VERSION        => 35,
    SHARE_SESSION_NOT_FOUND    => 122,
    INVALID_SHARE_SESSION_EPOCH => 123,
};

# After these the session is opened anew at once, the first time.
my %IS_SESSION_LOST = map { $_ => 1 } SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH;

# Those that no later try mends.
my %IS_FINAL = map { $_ => 1 } GROUP_AUTHORIZATION_FAILED, UNSUPPORTED_VERSION;

# room->(): how many records may be asked for. news: settled, there may be room; doubted(@topics), whose leaders may be others;
# outcomes($node_id, \@rows, [$lost]) and acknowledged(\%about, $error) of what was settled; report($error); refused($error), for
# good; left($node_id).
sub new {
    my ($class, %about) = @_;
    my $record = $about{member}->record;
    my $self = bless {
        map({ $_ => $about{$_} } qw(node_id loop outbox options cluster member room news)),
        session => EV::Kafka::ShareSession->new(@$record{qw(group_id member_id)}, $record->{on_acknowledge}),
        wanted  => 0, failures => 0, since => '',
    }, $class;
    weaken(my $weak = $self);
    my $outbox = $self->{outbox};
    $self->{hold} = EV::Kafka::ShareGroup::Hold->new($self->{session},
        settled => sub { $weak && $outbox->enter($weak, 'settled') },
        refused => sub { $weak && $outbox->enter($weak, refused => @_) },
    );
    return $self;
}

sub node_id { return $_[0]{node_id} }

# Records that were not handed over, that the program has, that the broker is to be told of, and whose locks are to be renewed.
sub counts { return $_[0]{session}->counts }

# --- what it is told ------------------------------------------------------------------

# [$topic, $topic_id, $partition] of all that it leads of what is assigned.
sub want {
    my ($self, @wanted) = @_;
    return if $self->{is_leaving};
    $self->{wanted} = @wanted;
    $self->{session}->want(\@wanted);
    return $self->pump;
}

# $leader->($topic, $partition): what another broker leads is not held here any more.
sub leads {
    my ($self, $leader) = @_;
    for my $place ($self->{session}->places) {
        my $node_id = $leader->(@$place);
        $self->_tell_outcomes($self->{session}->moved(@$place)) if defined $node_id && $node_id != $self->{node_id};
    }
    return;
}

# The program has said what becomes of a record. What it says in one turn of the loop goes together.
sub settled {
    my ($self) = @_;
    $self->{settler} ||= $self->{loop}->timer(0, $self, '_look_again') unless $self->{delivers};
    return;
}

sub _look_again {
    my ($self) = @_;
    delete $self->{settler};
    return $self->{news}->('settled');
}

# It was too late for that.
sub refused {
    my ($self, $record, $why) = @_;
    my ($topic, $partition, $offset) = @$record[0 .. 2];
    return $self->{news}->(acknowledged => { topic => $topic, partition => $partition, offsets => [$offset] },
        EV::Kafka::Error->without_code($why)->at(operation => 'ShareAcknowledge', broker => $self->{node_id}, topic => $topic, partition => $partition));
}

sub _tell_outcomes {
    my ($self, $rows, $lost) = @_;
    return @$rows ? $self->{news}->(outcomes => $self->{node_id}, $rows, $lost) : undef;
}

# --- what goes next -------------------------------------------------------------------

# One request, if there is anything to ask or to say.
sub pump {
    my ($self) = @_;
    return if $self->{asked} || $self->{retry} || $self->{has_left};
    my $session = $self->{session};
    $self->_forget_expired;
    my ($fresh, undef, $pending, $renews) = $session->counts;
    return $self->_pump_last if $self->{is_leaving};
    return $self->_ask('acknowledge') if $renews && $session->is_open;
    if (!$fresh && !$self->{delivers} && $self->{wanted}) {
        my $room = $self->{room}->();
        return $self->_ask('fetch') if $room > 0 || $pending && !$session->is_open;
    }
    return $self->_watch_locks unless $pending;
    # With nothing to fetch the session would not be opened any more for what is to be said.
    return $self->_lose(EV::Kafka::Error->without_code('the share session has ended')) unless $session->is_open || $self->{wanted};
    return $self->_ask('acknowledge') if $session->is_open && !$fresh && !$self->{delivers};
    $self->{flusher} ||= $self->{loop}->timer(FLUSH_AFTER, $self, '_flush');
    return;
}

sub _flush {
    my ($self) = @_;
    delete $self->{flusher};
    my (undef, undef, $pending) = $self->{session}->counts;
    return if $self->{asked} || $self->{retry} || !$pending || !$self->{session}->is_open;
    return $self->_ask('acknowledge');
}

# What the program never settles is counted until its lock has run out.
sub _watch_locks {
    my ($self) = @_;
    my $ms = $self->{session}->expires_in // return;
    $self->{expirer} ||= $self->{loop}->timer($ms / 1000 + 0.01, $self, '_expired');
    return;
}

sub _expired {
    my ($self) = @_;
    delete $self->{expirer};
    $self->_forget_expired;
    return $self->{news}->('settled');
}

sub _forget_expired {
    my ($self) = @_;
    my $count = $self->{session}->expire or return;
    my $group_id = $self->{member}->group_id;
    my $subject  = "locks of $group_id";
    $self->{outbox}->notice_over($subject);
    return $self->{outbox}->notice($subject, "share group '$group_id': locks of $count records ran out before they were settled; they may come again",
        group => $group_id, records => $count);
}

# --- one request ------------------------------------------------------------------------

sub _ask {
    my ($self, $what) = @_;
    $self->{asked} = $what;
    delete @$self{qw(flusher expirer)};
    my @link = (share => $self->{node_id});
    my $conn = $self->{cluster}->ready_conn(@link);
    return $self->_send($conn) if $conn;
    return $self->{cluster}->on_broker(@link, $self->{op} ||= {
        run => $self->{outbox}->entry($self, '_send_later'),
        cb  => $self->{outbox}->entry($self, '_unsent'),
    });
}

sub _send_later {
    my ($self, undef, $conn) = @_;
    return $self->{asked} && !$self->{has_left} ? $self->_send($conn) : undef;
}

# On another connection there is no session yet.
sub _send {
    my ($self, $conn) = @_;
    my ($session, $record) = ($self->{session}, $self->{member}->record);
    my $since = $self->{cluster}->connected_since(share => $self->{node_id});
    if ($self->{since} ne $since) {
        $self->{since} = $since;
        $self->_lose(EV::Kafka::Error->without_code('the connection was lost', 1));
        $self->{conn} = $conn;
        # For say_goodbye, which does not wait for it.
        $self->{cluster}->open(main => $self->{node_id});
        $self->{hold}->may_renew($conn->_highest_version(SHARE_ACKNOWLEDGE) >= RENEWS_FROM);
        if ($self->{is_leaving}) {
            delete $self->{asked};
            return $self->_has_left;
        }
        $self->{asked} = 'fetch' if $self->{wanted};
        return delete $self->{asked} unless $self->{wanted};
    }
    return $conn->_share_acknowledge($session, $self->{is_leaving} ? 1 : 0, $self->{outbox}->entry($self, '_answered')) if $self->{asked} eq 'acknowledge';
    my $room = List::Util::min($record->{max_records}, $self->{room}->());
    # Without room nothing is to come: it only opens the session.
    my ($wait, $max_bytes) = $room > 0 ? (int(1000 * $record->{max_wait}), $record->{max_bytes}) : (0, 0);
    return $conn->_share_fetch($session, $wait, $room > 0 ? $record->{min_bytes} : 0, $max_bytes, $room, $record->{acquire_mode},
        $self->{outbox}->entry($self, '_answered'));
}

sub _unsent {
    my ($self, undef, $error) = @_;
    return unless delete $self->{asked};
    return $self->_has_left if $self->{is_leaving};
    return $self->_wait;
}

# The session is gone, and with it the locks of what it has acquired.
sub _lose {
    my ($self, $error) = @_;
    $self->{session}->interrupt;
    return $self->_tell_outcomes($self->{session}->lost, $error->at(broker => $self->{node_id}));
}

sub _wait {
    my ($self) = @_;
    $self->{retry} = $self->{loop}->timer($self->{loop}->backoff(++$self->{failures}, BACKOFF, BACKOFF_MAX), $self, '_retry');
    return;
}

sub _retry {
    my ($self) = @_;
    delete $self->{retry};
    return $self->pump;
}

# --- what comes of it ---------------------------------------------------------------------

sub _answered {
    my ($self, $answer, $error) = @_;
    my $asked = delete $self->{asked} // return;
    return $self->_failed($asked, $error) if defined $error;
    if ($self->{is_leaving}) {
        $self->{session}->give_back_fresh;
        $self->_tell_outcomes($answer->{settled});
        return $asked eq 'acknowledge' ? $self->_has_left : $self->pump;
    }
    $self->{cluster}->add_broker(@$_) for @{ $answer->{endpoints} };
    $self->_tell_outcomes($answer->{settled});
    return $self->_refused_whole($asked, @$answer{qw(error_code error_message)}) if $answer->{error_code};
    my ($fresh) = $self->{session}->counts;
    my $waits = $self->_look_at_problems($asked, $answer->{problems});
    $self->{failures} = 0 unless $waits;
    $self->_wait if $waits && !$fresh;
    return $fresh ? $self->_deliver : $self->{news}->('settled');
}

sub _failed {
    my ($self, $asked, $error) = @_;
    my ($outbox, $node_id) = @$self{qw(outbox node_id)};
    $outbox->log(fetch => warning => "share group, $asked at broker $node_id: $error", broker => $node_id) if $outbox->logs('fetch');
    $self->{cluster}->request_failed(share => $node_id);
    # What was not understood may be anything.
    $self->{cluster}->close_link(share => $node_id);
    $self->{since} = '';
    $self->_lose(EV::Kafka::Error->from($error)->as_retriable);
    return $self->{is_leaving} ? $self->_has_left : $self->_wait;
}

sub _error {
    my ($self, $asked, $code, $message, @where) = @_;
    return EV::Kafka::Error->of_code($code, $message)->at(operation => $asked eq 'fetch' ? 'ShareFetch' : 'ShareAcknowledge', broker => $self->{node_id}, @where);
}

sub _refused_whole {
    my ($self, $asked, $code, $message) = @_;
    my $error = $self->_error($asked, $code, $message);
    $error = $error->of($error->operation);
    return $self->{news}->(refused => $error) if $IS_FINAL{$code};
    return $self->pump if $IS_SESSION_LOST{$code} && !$self->{failures}++;
    my $node_id = $self->{node_id};
    $self->{outbox}->notice("share session $node_id", "share group '${\ $self->{member}->group_id }', broker $node_id: $error; it is tried again",
        broker => $node_id, code => $code);
    return $self->_wait;
}

# Whether the next request had better wait.
sub _look_at_problems {
    my ($self, $asked, $problems) = @_;
    my %doubted;
    for my $problem (@$problems) {
        my ($topic, $partition, $code, $message) = @$problem;
        my $error = $self->_error($asked, $code, $message, topic => $topic, partition => $partition)->of("$topic:$partition");
        if (EV::Kafka::Error::is_leader_error($code) || EV::Kafka::Error::is_unknown_topic($code)) { $doubted{$topic} = 1 }
        elsif ($code == CORRUPT_MESSAGE)                                                        { $self->{news}->(report => $error) }
        # Of records that were not settled who has settled them is told.
        elsif ($asked eq 'fetch') {
            $self->{outbox}->notice("share $topic:$partition", "share group '${\ $self->{member}->group_id }': $error; it is tried again",
                topic => $topic, partition => $partition, code => $code);
        }
    }
    $self->{news}->(doubted => sort keys %doubted) if %doubted;
    return scalar @$problems;
}

# --- handing over -------------------------------------------------------------------------

sub _deliver {
    my ($self) = @_;
    return if $self->{delivers} || $self->{has_left};
    delete $self->{deliverer};
    my $is_done;
    {
        local $self->{delivers} = 1;
        # Nothing comes of it in a child that a handler has forked and returned in.
        ($is_done) = $self->{outbox}->hand_over($self, '_hand_over');
    }
    return if !defined $is_done || $self->{has_left};
    $self->{deliverer} = $self->{loop}->timer(0, $self, '_deliver') if !$is_done && !$self->{is_leaving};
    return $self->{news}->('settled') unless $self->{is_leaving};
    return $self->pump;
}

sub _hand_over {
    my ($self) = @_;
    my $record = $self->{member}->record;
    return $self->{session}->deliver($self->{conn}, $record->{on_record}, $self->{hold}, SLICE_MS, $record->{explicit});
}

# --- the end --------------------------------------------------------------------------------

# What is in hand goes back, what was settled is told; then it has left.
sub leave {
    my ($self) = @_;
    return if $self->{is_leaving};
    $self->{is_leaving} = 1;
    $self->{wanted}     = 0;
    delete @$self{qw(deliverer settler flusher retry expirer)};
    $self->{session}->interrupt;
    $self->{session}->give_back_fresh;
    return $self->pump;
}

# A handler that is at a record comes to its end first.
sub _pump_last {
    my ($self) = @_;
    return if $self->{delivers};
    return $self->{session}->is_open ? $self->_ask('acknowledge') : $self->_has_left;
}

sub _has_left {
    my ($self) = @_;
    return if $self->{has_left}++;
    $self->{hold}->ends('the share group has been left');
    return $self->{news}->(left => $self->{node_id});
}

# The client closes: one write, and no answer is waited for. Behind a ShareFetch that waits it would not be read; the broker takes
# it from any connection.
sub say_goodbye {
    my ($self) = @_;
    my $session = $self->{session};
    return if $self->{has_left} || !$session->is_open;
    $session->give_back_fresh;
    my (undef, undef, $pending) = $session->counts;
    # The end of the connection says the rest.
    return unless $pending && $self->{since} eq $self->{cluster}->connected_since(share => $self->{node_id});
    my ($conn) = grep { $_ } map { scalar $self->{cluster}->ready_conn($_ => $self->{node_id}) } $self->{asked} ? 'main' : (), 'share';
    return $conn ? $conn->_share_acknowledge($session, 1, sub { }) : undef;
}

sub close {
    my ($self, $error) = @_;
    $self->_ends($error);
    return $self->_tell_outcomes($self->{session}->lost, $error);
}

sub abandon { my ($self) = @_; return $self->_ends(EV::Kafka::Error->closed) }

sub _ends {
    my ($self, $error) = @_;
    @$self{qw(has_left is_leaving)} = (1, 1);
    delete @$self{qw(asked deliverer settler flusher retry expirer op)};
    $self->{session}->interrupt;
    $self->{hold}->ends("$error");
    # Its session is over: the next member has one of its own.
    $self->{cluster}->close_link(share => $self->{node_id});
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::ShareGroup::Broker - what a member of a share group fetches from one broker, and tells it

=head1 DESCRIPTION

A part of L<EV::Kafka::ShareGroup>, not for use by itself. There is one request at a time: a ShareFetch, which takes along what was
settled, as long as there may be more in hand, else a ShareAcknowledge. While handlers are at what was fetched nothing is, but what was
settled is told after a second.

=head1 METHODS

=head2 new(%about), node_id, counts

With C<node_id>, C<loop>, C<outbox>, C<options>, C<cluster>, C<member>, C<room> and C<news>; how many records stand how.

=head2 want(@partitions), leads($leader)

What is fetched from now on; what another broker leads.

=head2 pump

The next request, if there is anything to ask or to say.

=head2 settled, refused($record, $why)

The program has settled a record, or could not.

=head2 leave, say_goodbye, close($error), abandon

The end of the session: in order, without waiting, and without a word.

=head1 SEE ALSO

L<EV::Kafka::ShareGroup>

=cut
