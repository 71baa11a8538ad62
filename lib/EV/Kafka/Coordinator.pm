package EV::Kafka::Coordinator;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Request;

# FindCoordinator's key types.
my %KEY_TYPE = (group => 0, txn => 1);

# Seconds between two tries. For some seconds after a broker has died the others
# still name it.
use constant {
    FIND_BACKOFF     => 0.1,
    FIND_BACKOFF_MAX => 1,
};

# Seconds of tries after which it is worth a word that a request waits: a cluster that has just
# begun needs some to make the topics in which its coordinators keep their records.
use constant SILENCE => 3;

# Seconds that a coordinator may take to answer where the program lets requests take
# for ever: it is looked for again then, and may be another one. And those that it has at
# the least, however short a session is.
use constant {
    PATIENCE       => 30,
    LEAST_PATIENCE => 1,
};

# {coordinators} has for each "kind:key" that was asked for
#   { kind, key, node_id?, ops, tries, timer?, request?, refusal? }
# where ops are the operations that wait for it, however long that takes, request the
# look-up that is under way and refusal why the last one was refused. An operation
# is { run, cb, parks, patience, is_over, waits }, and gets node_id and purpose, its
# connection, when it runs.
# patience: the most seconds that its answer may take, beyond what the request itself
# lets the broker wait. The connection is given up then, as with request_timeout.
# is_over: nobody waits for it any more.
# waits: hears why it waits.
# parks: the broker may let it wait for other members, so nothing else is sent on
# its connection; what is to be said meanwhile takes the main one, which is opened
# beforehand since close does not wait for it.

sub _with_coordinator {
    my ($self, $kind, $key, $op) = @_;
    my $cfg = $self->{cfg};
    return $self->_fail_ops('client closed', $op) if $cfg->{closed};
    my $id = "$kind:$key";
    my $entry = $cfg->{coordinators}{$id} ||= { kind => $kind, key => $key, ops => [], tries => 0 };
    push @{ $entry->{ops} }, $op;
    return if $entry->{request} || $entry->{timer};
    return $self->_pursue_coordinator($id);
}

# Where an EV::Kafka::Request for a coordinator goes, and what becomes of it there.
sub _to_coordinator {
    my ($self, $kind, $key, %op) = @_;
    weaken(my $weak = $self);
    my $refusal = sub {
        my ($text) = @_;
        my $entry = $weak && $weak->{cfg}{coordinators}{"$kind:$key"};
        return $entry && $entry->{refusal} || EV::Kafka::Error->without_code($text);
    };
    return (
        to => sub {
            my ($request) = @_;
            return unless $weak;
            return $weak->_with_coordinator($kind, $key, {
                %op,
                run     => sub { my (undef, $op, $conn) = @_; $request->go($conn, map { $_ => $op->{$_} } qw(purpose node_id)) },
                cb      => sub { $request->refuse($refusal->($_[1])) },
                is_over => sub { $request->has_ended },
                waits   => sub { $request->why($_[0]) },
            });
        },
        lost => sub {
            my ($where) = @_;
            return unless $weak;
            $weak->_request_failed(@$where{qw(purpose node_id)});
            return $weak->_forget_coordinator($kind, $key);
        },
        refused => sub { my (undef, @codes) = @_; $weak->_coordinator_refused($kind, $key, @codes) if $weak },
    );
}

# Any broker can answer. The control connection leads to one that does, and takes turns with
# the others: one that is cut off from its cluster does not hear what they know. $seconds:
# how long an answer may take, if not as long as any.
sub _to_any_broker {
    my ($self, $seconds) = @_;
    weaken(my $weak = $self);
    my $not_now = sub { EV::Kafka::Error->without_code($_[0], 1) };
    return (
        to => sub {
            my ($request) = @_;
            my $self = $weak or return;
            my $turn = $request->round - 1;
            my $conn = $self->{cfg}{bootstrap_conn};
            return $request->go($conn) if $turn % 2 == 0 && $conn && $conn->connected;
            my $node_id = $self->_some_broker($turn);
            return $request->again($not_now->('no broker is known')) unless defined $node_id;
            return $self->_on_broker(main => $node_id, {
                run => sub {
                    my ($self) = @_;
                    my $conn = $self->_ready_conn(main => $node_id)
                        or return $request->again($not_now->('disconnected'));
                    my $go = sub { $request->go($conn, purpose => 'main', node_id => $node_id) };
                    return defined $seconds ? $self->_send_within($seconds, $conn, $go) : $go->();
                },
                cb => sub { $request->again($not_now->($_[1])) },
            });
        },
        lost => sub {
            my ($where) = @_;
            return $weak && defined $where->{node_id} ? $weak->_request_failed(@$where{qw(purpose node_id)}) : undef;
        },
    );
}

# One that is connected, and another one each second time.
sub _some_broker {
    my ($self, $turn) = @_;
    my @nodes = sort { $a <=> $b } keys %{ $self->{cfg}{broker_map} };
    if (!@nodes) {
        $self->_refresh_metadata;
        return;
    }
    my ($ready) = $turn % 2 ? () : grep { $self->_ready_conn(main => $_) } @nodes;
    return $ready // $nodes[ int($turn / 2) % @nodes ];
}

# An EV::Kafka::Request of this client, which ends with it. Where it has to be tried for long
# that is told, of its name or of what is given as notice.
sub _request {
    my ($self, %about) = @_;
    my $cfg = $self->{cfg};
    my $id  = ++$cfg->{request_number};
    weaken(my $weak = $self);
    my ($over, $name, $notice) = @about{qw(over name notice)};
    my ($begun, $subject) = ($self->_now, "request $id");
    my $waits = $about{waits} || sub { };
    my $request = $cfg->{requests}{$id} = EV::Kafka::Request->new(
        %about,
        timer => sub { $weak ? $weak->_timer(@_) : undef },
        waits => sub {
            my ($error) = @_;
            $waits->($error);
            # Of connections others tell.
            return if !$weak || !defined $error->code || $weak->_now - $begun < SILENCE;
            return $weak->_notice($subject, ($notice // $name) . ': ' . $error->text . '; it is tried again');
        },
        over => sub {
            if ($weak) {
                delete $weak->{cfg}{requests}{$id};
                $weak->_notice_over($subject);
            }
            $over->() if $over;
        },
    );
    $request->start;
    return $request;
}

sub _end_requests {
    my ($self) = @_;
    $_->end for values %{ delete $self->{cfg}{requests} || {} };
    return;
}

# Whether asking again will help. $tries: as EV::Kafka::Error has it.
sub _is_coordinator_error {
    my ($self, $code, $tries) = @_;
    return EV::Kafka::Error::is_retriable_by_coordinator($code, $tries);
}

# It has answered with one of these codes, which may mean that it is another one.
sub _coordinator_refused {
    my ($self, $kind, $key, @codes) = @_;
    return grep({ EV::Kafka::Error::is_from_other_coordinator($_) } @codes)
        ? $self->_forget_coordinator($kind, $key) : undef;
}

sub _forget_coordinator {
    my ($self, $kind, $key) = @_;
    my $entry = $self->{cfg}{coordinators}{"$kind:$key"} or return;
    delete $entry->{node_id};
    return;
}

# A connection to the coordinator on which it listens, if there is one now.
sub _ready_coordinator {
    my ($self, $kind, $key) = @_;
    my $id      = "$kind:$key";
    my $node_id = ($self->{cfg}{coordinators}{$id} || {})->{node_id};
    return defined $node_id ? $self->_ready_conn($self->_is_parked($id) ? 'main' : $kind, $node_id) : undef;
}

sub _pursue_coordinator {
    my ($self, $id) = @_;
    my $entry = $self->{cfg}{coordinators}{$id} or return;
    delete $entry->{timer};
    return if $entry->{request};
    return $self->_find_coordinator($id) unless defined $entry->{node_id};
    $self->_go_to_coordinator($id, $entry->{node_id}, $_) for splice @{ $entry->{ops} };
    return;
}

sub _go_to_coordinator {
    my ($self, $id, $node_id, $op, $purpose) = @_;
    my $entry = $self->{cfg}{coordinators}{$id};
    $purpose //= $entry->{kind};
    weaken(my $weak = $self);
    return $self->_on_broker($purpose => $node_id, {
        run => sub {
            my ($self) = @_;
            return $self->_go_to_coordinator($id, $node_id, $op, 'main')
                if $purpose ne 'main' && !$op->{parks} && $self->_is_parked($id);
            my $conn = $self->_ready_conn($purpose, $node_id)
                or return $self->_coordinator_lost($id, $node_id, $op);
            $entry->{tries} = 0;
            @$op{qw(node_id purpose)} = ($node_id, $purpose);
            $self->_open_link($self->_link(main => $node_id)) if $op->{parks};
            # What dies here has been refused for good, and must not be tried again.
            my $run = { %$op, run => sub { my ($self) = @_; $op->{run}->($self, $op, $conn) } };
            return $self->_send_within($self->_patience($op->{patience}), $conn, sub { $self->_run_ops($run) });
        },
        cb => sub {
            my ($self, $error) = ($weak, $_[1]);
            # A client that goes out of scope cannot be reached any more, its callers can.
            return EV::Kafka::Events->_call($op->{cb}, undef, $error) if !$self || $self->{cfg}{closed};
            $self->_coordinator_lost($id, $node_id, $op);
        },
    });
}

sub _coordinator_lost {
    my ($self, $id, $node_id, $op) = @_;
    my $entry = $self->{cfg}{coordinators}{$id};
    push @{ $entry->{ops} }, $op;
    delete $entry->{node_id} if ($entry->{node_id} // -1) == $node_id;
    return $self->_find_again($id);
}

sub _patience {
    my ($self, $most) = @_;
    my $timeout = $self->{cfg}{request_timeout} || PATIENCE;
    return defined $most ? List::Util::min($timeout, List::Util::max($most, LEAST_PATIENCE)) : $timeout;
}

# The request that is sent here has its own time to be answered in.
sub _send_within {
    my ($self, $seconds, $conn, $send) = @_;
    $conn->_patience($seconds);
    $send->();
    # What was refused has not used it.
    $conn->_patience(undef);
    return;
}

sub _find_coordinator {
    my ($self, $id) = @_;
    my $entry = $self->{cfg}{coordinators}{$id};
    my ($kind, $key) = @$entry{qw(kind key)};
    weaken(my $weak = $self);
    # A request that ends at once must not be taken for one that is under way.
    my $is_over;
    my $request = $self->_request(
        $self->_to_any_broker($self->_answer_timeout),
        name   => 'FindCoordinator',
        notice => 'FindCoordinator for ' . ($kind eq 'group' ? 'group' : 'transactional id') . " '$key'",
        send   => sub { my ($conn, $answered) = @_; $conn->find_coordinator($key, $answered, $KEY_TYPE{$kind}) },
        alive  => sub { $weak && $weak->_awaited_ops($entry) },
        waits  => sub { _tell_waiting($entry, $_[0]) },
        over   => sub { $is_over = 1; delete $entry->{request} },
        done   => sub {
            my ($found, $error) = @_;
            return unless $weak;
            return $error ? $weak->_coordinator_not_found($entry, $error) : $weak->_coordinator_found($id, $found);
        },
    );
    $entry->{request} = $request unless $is_over;
    return;
}

# Without those for whom nobody waits any more.
sub _awaited_ops {
    my ($self, $entry) = @_;
    @{ $entry->{ops} } = grep { !$_->{is_over} || !$_->{is_over}->() } @{ $entry->{ops} };
    return scalar @{ $entry->{ops} };
}

sub _tell_waiting {
    my ($entry, $error) = @_;
    my $why = $error->of('FindCoordinator');
    $_->{waits}->($why) for grep { $_->{waits} } @{ $entry->{ops} };
    return;
}

sub _coordinator_found {
    my ($self, $id, $found) = @_;
    my $cfg   = $self->{cfg};
    my $entry = $cfg->{coordinators}{$id} or return;
    return $self->_coordinator_not_found($entry, EV::Kafka::Error->without_code(
        "FindCoordinator: broker $found->{node_id} at $found->{host} has no port $found->{port}"))
        unless $cfg->{broker_map}{ $found->{node_id} } || EV::Kafka::Metadata::_is_port($found->{port});
    $entry->{node_id} = $found->{node_id};
    $cfg->{broker_map}{ $found->{node_id} } ||= { map { $_ => $found->{$_} } qw(host port) };
    return $self->_pursue_coordinator($id);
}

# It will never be found.
sub _coordinator_not_found {
    my ($self, $entry, $error) = @_;
    local $entry->{refusal} = $error;
    return $self->_fail_ops($error->text, splice @{ $entry->{ops} });
}

sub _find_again {
    my ($self, $id) = @_;
    my $cfg   = $self->{cfg};
    my $entry = $cfg->{coordinators}{$id} or return;
    return if !$self->_awaited_ops($entry) || $entry->{timer} || $entry->{request} || $cfg->{closed};
    my $wait = $self->_backoff(++$entry->{tries}, FIND_BACKOFF, FIND_BACKOFF_MAX);
    $entry->{timer} = $self->_timer($wait, _pursue_coordinator => $id);
    return;
}

sub _fail_coordinator_ops {
    my ($self, $error) = @_;
    my @entries = values %{ delete $self->{cfg}{coordinators} || {} };
    delete $_->{timer} for @entries;
    $self->_fail_ops($error, map { splice @{ $_->{ops} } } @entries);
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Coordinator - finds the broker that looks after a group or a transactional id

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. Operations for a
coordinator run on a connection of their own to it, which is found first when it
is not known; a coordinator that moves, dies or is not ready yet is looked for
again, ever more slowly, and after some seconds C<on_notice> hears of it. Who will not
wait for ever sets a timer. It leads L<EV::Kafka::Request>s to a coordinator, or to any
broker. A request that was sent is given up after C<request_timeout>, and after 30 seconds when that is 0.

=head1 SEE ALSO

L<EV::Kafka>

=cut
