package EV::Kafka::Coordinator;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;

# FindCoordinator's key types.
my %KEY_TYPE = (group => 0, txn => 1);

# Seconds between two tries. For some seconds after a broker has died the others
# still name it.
use constant {
    FIND_BACKOFF     => 0.1,
    FIND_BACKOFF_MAX => 1,
};

# Seconds that a coordinator may take to answer where the program lets requests take
# for ever: it is looked for again then, and may be another one. And those that it has at
# the least, however short a session is.
use constant {
    PATIENCE       => 30,
    LEAST_PATIENCE => 1,
};

# {coordinators} has for each "kind:key" that was asked for
#   { kind, key, node_id?, ops, tries, unknown, timer?, asking? }
# where ops are the operations that wait for it, however long that takes, and unknown the
# answers to look-ups that said nothing (EV::Kafka::Error's is_unknown). An operation
# is { run, cb, parks, patience, is_over }, and gets node_id and purpose, its connection,
# when it runs.
# patience: the most seconds that its answer may take, beyond what the request itself
# lets the broker wait. The connection is given up then, as with request_timeout.
# is_over: nobody waits for it any more.
# parks: the broker may let it wait for other members, so nothing else is sent on
# its connection; what is to be said meanwhile takes the main one, which is opened
# beforehand since close does not wait for it.

sub _with_coordinator {
    my ($self, $kind, $key, $op) = @_;
    my $cfg = $self->{cfg};
    return $self->_fail_ops('client closed', $op) if $cfg->{closed};
    my $id = "$kind:$key";
    my $entry = $cfg->{coordinators}{$id} ||= { kind => $kind, key => $key, ops => [], tries => 0, unknown => 0 };
    push @{ $entry->{ops} }, $op;
    return if $entry->{asking} || $entry->{timer};
    return $self->_pursue_coordinator($id);
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
    return if $entry->{asking};
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

# What is sent here has its own time to be answered in.
sub _send_within {
    my ($self, $seconds, $conn, $send) = @_;
    $conn->request_timeout($seconds);
    $send->();
    $conn->request_timeout($self->{cfg}{request_timeout});
    return;
}

# Any broker knows, and the control connection leads to one that answers.
sub _find_coordinator {
    my ($self, $id) = @_;
    my $cfg   = $self->{cfg};
    my $entry = $cfg->{coordinators}{$id};
    $entry->{asking} = 1;
    my $conn = $cfg->{bootstrap_conn};
    return $self->_ask_for_coordinator($id, $conn) if $conn && $conn->connected;
    my @nodes = keys %{ $cfg->{broker_map} };
    my ($node_id) = ((grep { $self->_ready_conn(main => $_) } @nodes), $nodes[rand @nodes]);
    return $self->_coordinator_not_found($id) unless defined $node_id;
    weaken(my $weak = $self);
    return $self->_on_broker(main => $node_id, {
        run => sub {
            my ($self) = @_;
            my $conn = $self->_ready_conn(main => $node_id);
            $self->_send_within($self->_answer_timeout, $conn, sub { $self->_ask_for_coordinator($id, $conn) });
        },
        cb  => sub { $weak->_coordinator_not_found($id) if $weak },
    });
}

sub _ask_for_coordinator {
    my ($self, $id, $conn) = @_;
    my $entry = $self->{cfg}{coordinators}{$id} or return;
    weaken(my $weak = $self);
    $conn->find_coordinator($entry->{key}, sub {
        my ($found, $error) = @_;
        return unless $weak;
        # A connection that lives on has refused the request: the broker does not know it.
        return $weak->_coordinator_not_found($id, !$found && $conn->connected ? "FindCoordinator: $error" : undef)
            if defined $error;
        my $code = $found->{error_code} or return $weak->_coordinator_found($id, $found);
        my $unknown = EV::Kafka::Error::is_unknown($code) ? $entry->{unknown}++ : 0;
        return $weak->_coordinator_not_found($id) if $weak->_is_coordinator_error($code, $unknown);
        $entry->{unknown} = 0;
        return $weak->_coordinator_not_found($id, EV::Kafka::Error->of_code($code)->of('FindCoordinator')->text);
    }, $KEY_TYPE{ $entry->{kind} });
    return;
}

sub _coordinator_found {
    my ($self, $id, $found) = @_;
    my $cfg   = $self->{cfg};
    my $entry = $cfg->{coordinators}{$id} or return;
    delete $entry->{asking};
    $entry->{unknown} = 0;
    $entry->{node_id} = $found->{node_id};
    $cfg->{broker_map}{ $found->{node_id} } ||= { map { $_ => $found->{$_} } qw(host port) };
    return $self->_pursue_coordinator($id);
}

# With an error when it will never be found.
sub _coordinator_not_found {
    my ($self, $id, $error) = @_;
    my $entry = $self->{cfg}{coordinators}{$id} or return;
    delete $entry->{asking};
    return defined $error ? $self->_fail_ops($error, splice @{ $entry->{ops} }) : $self->_find_again($id);
}

sub _find_again {
    my ($self, $id) = @_;
    my $cfg   = $self->{cfg};
    my $entry = $cfg->{coordinators}{$id} or return;
    @{ $entry->{ops} } = grep { !$_->{is_over} || !$_->{is_over}->() } @{ $entry->{ops} };
    return if !@{ $entry->{ops} } || $entry->{timer} || $entry->{asking} || $cfg->{closed};
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
again, ever more slowly. Who will not wait for ever sets a timer. A request that was
sent is given up after C<request_timeout>, and after 30 seconds when that is 0.

=head1 SEE ALSO

L<EV::Kafka>

=cut
