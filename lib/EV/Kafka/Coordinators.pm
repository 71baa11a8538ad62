package EV::Kafka::Coordinators;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Request;

# Who looks after groups and transactional ids, and all that is asked until it is answered
# for good. Its state:
#   entries    for each "kind:key" that was asked for
#       { kind, key, node_id?, ops, tries, timer?, request?, blocked? }
#       where ops are the operations that wait for it, however long that takes, request the
#       look-up that is under way, and blocked the link, [purpose, node_id], on which a request
#       waits for other members
#   requests   EV::Kafka::Request's under way, by number
#   delayed    why those of them that are to be tried again are, by number
#   ended      why nothing is asked any more
# An operation is { run, cb, blocks, patience, is_over, waits }; run gets it, with node_id and
# purpose of its connection, and the connection.
#   patience   the most seconds that its answer may take, beyond what the request itself
#              lets the broker wait. The connection is given up then, as with request_timeout.
#   is_over    nobody waits for it any more
#   waits      hears why it waits
#   blocks     the broker may let it wait for other members, so nothing else is sent on its
#              connection; what is to be said meanwhile takes the main one, which is opened
#              beforehand since close does not wait for it

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

# Connections that may be silent in the time that a request has: another broker may be the
# coordinator by then.
use constant CONNECTIONS => 3;

sub new {
    my ($class, %below) = @_;
    my $self = bless { map({ $_ => $below{$_} } qw(loop outbox options cluster)), entries => {}, requests => {}, delayed => {}, number => 0 }, $class;
    weaken(my $weak = $self);
    $self->{keeper} = {
        delayed => sub { my ($request, $error) = @_; return $weak ? $weak->_is_delayed($request, $error) : undef },
        ended   => sub { my ($request) = @_; return $weak ? $weak->_request_over($request) : undef },
    };
    return $self;
}

# An EV::Kafka::Request that goes to the coordinator. Besides what that takes:
# blocks, and op_patience, the operation's patience, a part of the request's own unless it is given.
sub request {
    my ($self, $kind, $key, %about) = @_;
    $about{op_patience} = $about{patience} / CONNECTIONS if defined $about{patience} && !exists $about{op_patience};
    my %op = (blocks => delete $about{blocks}, patience => delete $about{op_patience});
    weaken(my $weak = $self);
    my $send = $about{send};
    $about{send} = sub { _send_blocked($weak->{entries}{"$kind:$key"}, $send, @_) if $weak } if $op{blocks};
    return $self->begin(
        %about,
        to      => sub { my ($request) = @_; $weak->_lead($request, $kind, $key, \%op) if $weak },
        refused => sub { my (undef, @codes) = @_; $weak->refused($kind, $key, @codes) if $weak },
        lost    => sub { my ($where) = @_; $weak->_lost($kind, $key, @$where{qw(purpose node_id)}) if $weak },
    );
}

# One that any broker can answer. op_patience: how long an answer may take, if not as long as any.
sub any {
    my ($self, %about) = @_;
    my $patience = delete $about{op_patience};
    weaken(my $weak = $self);
    return $self->begin(
        %about,
        to   => sub { my ($request) = @_; $weak->_lead_anywhere($request, $patience) if $weak },
        lost => sub {
            my ($where) = @_;
            $weak->{cluster}->request_failed(@$where{qw(purpose node_id)}) if $weak && defined $where->{node_id};
        },
    );
}

# One that goes where its own "to" leads. Where one has to be tried for long that is told, of its
# name or of what is given as notice.
sub begin {
    my ($self, %about) = @_;
    my $id = ++$self->{number};
    my $request = $self->{requests}{$id} = EV::Kafka::Request->new(
        %about,
        number => $id,
        loop   => $self->{loop},
        outbox => $self->{outbox},
        keeper => $self->{keeper},
    );
    $request->start;
    return $request;
}

# Runs the operation on a connection to the coordinator.
sub ask {
    my ($self, $kind, $key, $op) = @_;
    return _fail($op, $self->{ended}) if defined $self->{ended};
    my $id = "$kind:$key";
    my $entry = $self->{entries}{$id} ||= { kind => $kind, key => $key, ops => [], tries => 0 };
    push @{ $entry->{ops} }, $op;
    return if $entry->{request} || $entry->{timer};
    return $self->_pursue($id);
}

# It has answered with one of these codes, which may mean that it is another one.
sub refused {
    my ($self, $kind, $key, @codes) = @_;
    return grep({ EV::Kafka::Error::is_from_other_coordinator($_) } @codes) ? $self->_forget($kind, $key) : undef;
}

sub node_id {
    my ($self, $kind, $key) = @_;
    my $entry = $self->{entries}{"$kind:$key"} or return undef;
    return $entry->{node_id};
}

# A connection to the coordinator on which it listens, if there is one now.
sub ready_conn {
    my ($self, $kind, $key) = @_;
    my $node_id = $self->node_id($kind, $key);
    return undef unless defined $node_id;
    return $self->{cluster}->ready_conn($self->is_blocked($kind, $key) ? 'main' : $kind, $node_id);
}

# Whether a request waits there for other members.
sub is_blocked {
    my ($self, $kind, $key) = @_;
    my $entry = $self->{entries}{"$kind:$key"};
    return $entry && $entry->{blocked} ? 1 : 0;
}

# Behind what waits there nothing would be answered.
sub close_blocked {
    my ($self, $kind, $key) = @_;
    my $entry = $self->{entries}{"$kind:$key"} or return;
    my $link  = delete $entry->{blocked} or return;
    return $self->{cluster}->close_link(@$link);
}

# Why requests for this subject were not answered yet, as errors.
sub reasons {
    my ($self, $subject) = @_;
    return grep { $_ } map { $_->reason } grep { ($_->subject || 0) == $subject } values %{ $self->{requests} };
}

# Operations that wait are told; requests end without a word, as those who asked do.
sub close {
    my ($self, $error) = @_;
    $self->{ended} = $error;
    $_->end for values %{ $self->{requests} };
    my @entries = values %{ $self->{entries} };
    $self->{entries} = {};
    _fail($_, $error) for map { splice @{ $_->{ops} } } @entries;
    return;
}

# In a forked child nobody is told.
sub abandon {
    my ($self) = @_;
    @$self{qw(ended entries requests delayed)} = (EV::Kafka::Error->closed, {}, {}, {});
    return;
}

# --- requests -------------------------------------------------------------------

sub _is_delayed {
    my ($self, $request, $error) = @_;
    # Of connections others tell.
    return unless defined $error->code;
    $self->{delayed}{ $request->number } = $error;
    return $self->{outbox}->watch($self, 'waits');
}

# See EV::Kafka::Waits.
sub waits {
    my ($self) = @_;
    my ($requests, $delayed) = @$self{qw(requests delayed)};
    return map { {
        subject => "request $_",
        text    => $requests->{$_}->notice . ': ' . $delayed->{$_}->text . '; it is tried again',
    } } sort { $a <=> $b } keys %$delayed;
}

sub _request_over {
    my ($self, $request) = @_;
    delete $self->{$_}{ $request->number } for qw(requests delayed);
    return;
}

# A request was lost with its connection.
sub _lost {
    my ($self, $kind, $key, @link) = @_;
    $self->{cluster}->request_failed(@link);
    return $self->_forget($kind, $key);
}

sub _forget {
    my ($self, $kind, $key) = @_;
    my $entry = $self->{entries}{"$kind:$key"} or return;
    delete $entry->{node_id};
    return;
}

# To the coordinator.
sub _lead {
    my ($self, $request, $kind, $key, $op) = @_;
    my $patience = $self->patience($op->{patience});
    return $self->ask($kind, $key, {
        %$op,
        run => sub {
            my ($op, $conn) = @_;
            $request->go($conn, patience => $patience, map { $_ => $op->{$_} } qw(purpose node_id));
        },
        cb      => sub { my (undef, $error) = @_; $request->refuse($error) },
        is_over => sub { $request->has_ended },
        waits   => sub { $request->why($_[0]) },
    });
}

# The control connection leads to a broker that answers, and takes turns with the others: one
# that is cut off from its cluster does not hear what they know.
sub _lead_anywhere {
    my ($self, $request, $patience) = @_;
    my $turn = $request->round - 1;
    my $conn = $self->{cluster}->control_conn;
    return $request->go($conn) if $turn % 2 == 0 && $conn && $conn->connected;
    my $node_id = $self->_some_broker($turn);
    return $request->again(_not_now('no broker is known')) unless defined $node_id;
    return $self->{cluster}->on_broker(main => $node_id, {
        run => sub { $request->go($_[1], patience => $patience, purpose => 'main', node_id => $node_id) },
        cb  => sub { $request->again(_not_now($_[1])) },
    });
}

sub _not_now { return EV::Kafka::Error->from($_[0])->as_retriable }

# One that is connected, and another one each second time.
sub _some_broker {
    my ($self, $turn) = @_;
    my $cluster = $self->{cluster};
    my @nodes   = $cluster->brokers;
    if (!@nodes) {
        $cluster->refresh;
        return undef;
    }
    my ($ready) = $turn % 2 ? () : grep { $cluster->ready_conn(main => $_) } @nodes;
    return $ready // $nodes[ int($turn / 2) % @nodes ];
}

# Seconds that an answer of a coordinator may take, $most of them if that is less.
sub patience {
    my ($self, $most) = @_;
    my $timeout = $self->{options}{request_timeout} || PATIENCE;
    return defined $most ? List::Util::min($timeout, List::Util::max($most, LEAST_PATIENCE)) : $timeout;
}

# --- operations -----------------------------------------------------------------

sub _pursue {
    my ($self, $id) = @_;
    my $entry = $self->{entries}{$id} or return;
    delete $entry->{timer};
    return if $entry->{request};
    return $self->_find($id) unless defined $entry->{node_id};
    $self->_go($entry, $entry->{node_id}, $_) for splice @{ $entry->{ops} };
    return;
}

sub _go {
    my ($self, $entry, $node_id, $op, $purpose) = @_;
    $purpose //= $entry->{kind};
    return $self->{cluster}->on_broker($purpose => $node_id, {
        run => sub {
            my (undef, $conn) = @_;
            return $self->_go($entry, $node_id, $op, 'main') if $purpose ne 'main' && !$op->{blocks} && $entry->{blocked};
            $entry->{tries} = 0;
            @$op{qw(node_id purpose)} = ($node_id, $purpose);
            return $self->_run($op, $conn);
        },
        cb => sub {
            my (undef, $error) = @_;
            my $known = $self->{entries}{"$entry->{kind}:$entry->{key}"};
            return $known && $known == $entry ? $self->_out_of_reach($entry, $node_id, $op) : _fail($op, $error);
        },
    });
}

# What dies here has been refused for good, and must not be tried again.
sub _run {
    my ($self, $op, $conn) = @_;
    $self->{cluster}->open(main => $op->{node_id}) if $op->{blocks};
    local $@;
    return eval { $op->{run}->($op, $conn); 1 } ? undef : _fail($op, EV::Kafka::Error::reason($@));
}

sub _fail {
    my ($op, $error) = @_;
    return $op->{cb}->(undef, EV::Kafka::Error->from($error));
}

# However its request has ended: until the broker answers, or the connection ends, it waits there.
sub _send_blocked {
    my ($entry, $send, $conn, $answered, $where) = @_;
    my ($blocked, $is_answered);
    $send->($conn, sub {
        $is_answered = 1;
        # The next one may wait by now.
        delete $entry->{blocked} if $blocked && $blocked == ($entry->{blocked} || 0);
        $answered->(@_);
    });
    $blocked = $entry->{blocked} = [@$where{qw(purpose node_id)}] unless $is_answered;
    return;
}

sub _out_of_reach {
    my ($self, $entry, $node_id, $op) = @_;
    push @{ $entry->{ops} }, $op;
    delete $entry->{node_id} if ($entry->{node_id} // -1) == $node_id;
    return if !_awaited($entry) || $entry->{timer} || $entry->{request};
    my $wait = $self->{loop}->backoff(++$entry->{tries}, FIND_BACKOFF, FIND_BACKOFF_MAX);
    $entry->{timer} = $self->{loop}->timer($wait, $self, _pursue => "$entry->{kind}:$entry->{key}");
    return;
}

# Without those for whom nobody waits any more.
sub _awaited {
    my ($entry) = @_;
    @{ $entry->{ops} } = grep { !$_->{is_over} || !$_->{is_over}->() } @{ $entry->{ops} };
    return scalar @{ $entry->{ops} };
}

# --- the look-up ----------------------------------------------------------------

sub _find {
    my ($self, $id) = @_;
    my $entry = $self->{entries}{$id};
    my ($kind, $key) = @$entry{qw(kind key)};
    weaken(my $weak = $self);
    # A request that ends at once must not be taken for one that is under way.
    my $is_over;
    my $request = $self->any(
        op_patience => $self->{cluster}->answer_timeout,
        name   => 'FindCoordinator',
        notice => 'FindCoordinator for ' . ($kind eq 'group' ? 'group' : 'transactional id') . " '$key'",
        send   => sub { my ($conn, $answered) = @_; $conn->find_coordinator($key, $answered, $KEY_TYPE{$kind}) },
        alive  => sub { _awaited($entry) },
        waits  => sub { _tell_waiting($entry, $_[0]) },
        over   => sub { $is_over = 1; delete $entry->{request} },
        done   => sub {
            my ($found, $error) = @_;
            return $error ? _not_found($entry, $error) : $weak && $weak->_found($entry, $found);
        },
    );
    $entry->{request} = $request unless $is_over;
    return;
}

sub _tell_waiting {
    my ($entry, $error) = @_;
    my $why = $error->of('FindCoordinator');
    $_->{waits}->($why) for grep { $_->{waits} } @{ $entry->{ops} };
    return;
}

sub _found {
    my ($self, $entry, $found) = @_;
    return _not_found($entry, EV::Kafka::Error->without_code(
        "FindCoordinator: broker $found->{node_id} at $found->{host} has no port $found->{port}")
        ->at(operation => 'FindCoordinator', broker => $found->{node_id}))
        unless $self->{cluster}->add_broker(@$found{qw(node_id host port)});
    $entry->{node_id} = $found->{node_id};
    my ($outbox, $node_id) = ($self->{outbox}, $found->{node_id});
    $outbox->log(cluster => info => "coordinator of $entry->{kind} '$entry->{key}' is broker $node_id", broker => $node_id)
        if $outbox->logs('cluster');
    return $self->_pursue("$entry->{kind}:$entry->{key}");
}

# It will never be found.
sub _not_found {
    my ($entry, $error) = @_;
    _fail($_, $error) for splice @{ $entry->{ops} };
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Coordinators - finds the brokers that look after groups and transactional ids

=head1 DESCRIPTION

An owner of L<EV::Kafka::Client>, not for use by itself. Operations for a
coordinator run on a connection of their own to it, which is found first when it
is not known; a coordinator that moves, dies or is not ready yet is looked for
again, ever more slowly, and after some seconds C<on_notice> hears of it. Who will not
wait for ever sets a timer. It leads L<EV::Kafka::Request>s to a coordinator, or to any
broker. A request that was sent is given up after C<request_timeout>, and after 30 seconds when that is 0.

=head1 METHODS

A coordinator is named by its kind, C<group> or C<txn>, and the group's or transactional id.

=head2 new(loop => $loop, outbox => $outbox, options => $cfg, cluster => $cluster)

Without any request.

=head2 request($kind, $key, %about), any(%about), begin(%about)

An L<EV::Kafka::Request> that goes to the coordinator, to any broker, or where it says itself, begun. With C<blocks>
the broker may let it wait, and nothing else is sent on its connection meanwhile;
C<op_patience> is how many seconds each of its answers may take, a third of its C<patience> unless it is given.

=head2 ask($kind, $key, \%operation)

Runs an operation on a connection to the coordinator, once there is one.

=head2 refused($kind, $key, @codes)

What it has answered with, after which it may have to be looked for again.

=head2 node_id($kind, $key), ready_conn($kind, $key)

The coordinator as far as it is known, and a connection on which it listens now, or undef.

=head2 is_blocked($kind, $key), close_blocked($kind, $key)

Whether a request waits there for other members, and the end of its connection.

=head2 reasons($subject)

Why requests for the subject were not answered yet.

=head2 waits

What brokers have refused and is tried again, as L<EV::Kafka::Waits> has it.

=head2 patience([$most])

Seconds that a coordinator may take to answer.

=head2 close($error), abandon

The end of all; in a forked child nobody is told.

=head1 SEE ALSO

L<EV::Kafka>

=cut
