package EV::Kafka::Transactions;
use strict;
use warnings;

use Carp         ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Options::Hint;
use EV::Kafka::Transaction;
use EV::Kafka::Transaction::Run;

# The transactions of one transactional id, one after the other. State:
#   open     the EV::Kafka::Transaction that is not over
#   run      the EV::Kafka::Transaction::Run that ends it, if that is not the program
#   fatal    why there will never be another one
#   number   of the last one
#   rules    what the producer was told last
#   is_down  a broker has refused version 2, and the cluster has not told of that yet
#   told     the identity of a producer of which the coordinator was told what becomes part of its transactions
#            (before KIP-890)

# The feature of which the brokers have agreed on a level, and that from which on a transaction has an epoch of its own
# (KIP-890). It counts for the transactions that begin after it was heard of.
use constant { FEATURE => 'transaction.version', IMPLICIT_SINCE => 2 };

# The first versions of Produce, EndTxn and TxnOffsetCommit that belong to it. A gateway may tell what its brokers have
# agreed on, and speak less than they do.
my %IMPLICIT_FROM = (0 => 12, 26 => 5, 28 => 5);

# What brokers say to a producer of version 2 when they have agreed on a lower one since their connections were made.
use constant UNSUPPORTED_VERSION => 35;

# When no transaction is open.
my %NO_RULES = (refusal => undef, transaction => undef, joined => 0, must_end => 0);

sub new {
    my ($class, %below) = @_;
    return bless { below => {%below}, number => 0, rules => '' }, $class;
}

# Undef without a transactional id.
sub stats {
    my ($self) = @_;
    my $id = $self->{below}{options}{transactional_id} // return undef;
    my $open = $self->{open};
    return { transactional_id => $id, state => $open ? $open->state : 'none', number => $self->{number} };
}

# --- the program's --------------------------------------------------------------------

sub begin {
    my ($self, $method) = @_;
    $method //= 'begin_transaction';
    $self->_check($method);
    if (my $open = $self->{open}) {
        Carp::croak("$method: the last transaction() has not ended; wait for its callback") if $self->{run};
        Carp::croak("$method: a transaction is open; commit_transaction or abort_transaction ends it") if $open->state eq 'open';
        Carp::croak("$method: the last transaction is still ${\ $open->state }; wait for the callback");
    }
    weaken(my $weak = $self);
    $self->{open} = EV::Kafka::Transaction->new(
        %{ $self->{below} },
        number     => ++$self->{number},
        version_of => sub { $weak ? $weak->_version : 1 },
        on_change  => sub { $weak->_changed if $weak },
        on_over    => sub { $weak->_over if $weak },
        on_failure => sub { $weak->_fail($_[0]) if $weak },
    );
    $self->_changed;
    # What was told of must not be taken for a part of a transaction that is not: a new epoch parts them.
    return $self->{open}->begin($self->_is_told && $self->_is_implicit);
}

sub send_offsets {
    my ($self, $group_id, $cb) = @_;
    my $open = $self->_open('send_offsets_to_transaction');
    Carp::croak('send_offsets_to_transaction: group id required') unless defined $group_id && length $group_id;
    return $open->send_offsets($group_id, $cb);
}

sub commit { my ($self, $cb) = @_; return $self->_programs('commit_transaction')->commit($cb) }
sub abort  { my ($self, $cb) = @_; return $self->_programs('abort_transaction')->abort($cb) }

# All of these around the work.
sub run {
    my ($self, $work, @rest) = @_;
    Carp::croak('transaction: the work must be a code reference, sub { ... }') unless ref $work eq 'CODE';
    my ($how, $cb) = _run_arguments(@rest);
    $self->begin('transaction');
    weaken(my $weak = $self);
    my $run = $self->{run} = EV::Kafka::Transaction::Run->new(
        outbox      => $self->{below}{outbox},
        transaction => $self->{open},
        work        => $work,
        is_async    => $how->{async},
        exists $how->{group_id} ? (group_id => $how->{group_id}) : (group => $self->{below}{group}),
        cb          => $cb,
        on_over     => sub { delete $weak->{run} if $weak; return },
    );
    return $run->start;
}

my @RUN_OPTIONS = qw(async group_id);

sub _run_arguments {
    my (@rest) = @_;
    my $how = ref $rest[0] eq 'HASH' || @rest > 1 ? shift(@rest) // {} : {};
    my ($cb) = @rest;
    Carp::croak('transaction: the options must be a hash reference, { async => 1 }') unless ref $how eq 'HASH';
    Carp::croak('transaction: the callback must be a code reference, sub { my ($result, $error) = @_; ... }')
        if defined $cb && ref $cb ne 'CODE';
    for my $name (sort keys %$how) {
        Carp::croak("transaction: unknown option '$name'" . EV::Kafka::Options::Hint::did_you_mean($name, @RUN_OPTIONS))
            unless grep { $name eq $_ } @RUN_OPTIONS;
    }
    return ($how, $cb);
}

sub close {
    my ($self, $error) = @_;
    my ($open, $run) = @$self{qw(open run)};
    delete $self->{open};
    $open->close($error) if $open;
    return $run ? $run->fail($error) : undef;
}

# In a forked child nobody is told.
sub abandon { my ($self) = @_; delete @$self{qw(open run)}; return }

# --- what others tell -----------------------------------------------------------------

# A batch was not delivered, or a message never became part of one: of the transaction with
# that number, or of the one that is open. What that comes to is abort, new epoch (after it) or
# fatal, when there is no other one after it.
sub transaction_failed {
    my ($self, $harm, $error, $number) = @_;
    return $self->_fail($error) if $harm eq 'fatal';
    $self->{is_down} = 1 if ref $error && ($error->code // 0) == UNSUPPORTED_VERSION;
    my $open = $self->{open} or return;
    return if defined $number && $number != $open->number;
    return $harm eq 'new epoch' ? $open->broken_sequence($error) : $open->broken($error);
}

# Something was settled, or may leave.
sub progress { my ($self) = @_; return $self->{open} ? $self->{open}->advance : undef }

sub identified { my ($self) = @_; return $self->{open} ? $self->{open}->identified : undef }

# Whoever had an id has lost it to another producer, unless a later answer may be another one.
sub identity_failed {
    my ($self, $error, $had_one) = @_;
    my $open = $self->{open};
    return $open ? $open->broken($error) : undef if !$had_one;
    return $self->_fail($error) unless $error->retriable;
    return $open && $open->is_renewing ? $open->not_renewed($error) : $self->{below}{producer}->renew;
}

sub epoch_needed { my ($self) = @_; return $self->{open} ? $self->{open}->epoch_needed : undef }

# The assignment is another one, or a position was looked up.
sub moved { my ($self) = @_; return $self->{open} ? $self->{open}->note_positions : undef }

# The group takes these partitions away, or has given one back that has a committed offset.
sub gives_up   { my ($self, @positions) = @_; return $self->{open} ? $self->{open}->gives_up(@positions) : undef }
sub takes_over { my ($self, $key) = @_; return $self->{open} ? $self->{open}->takes_over($key) : undef }

# --- what the open transaction tells --------------------------------------------------

# Undef while there is no connection that could say so.
sub _is_implicit {
    my ($self) = @_;
    my $cluster = $self->{below}{cluster};
    if (($cluster->feature(FEATURE) // 0) < IMPLICIT_SINCE) {
        delete $self->{is_down};
        return 0;
    }
    return 0 if $self->{is_down};
    my $conn     = $cluster->control_conn // return undef;
    my $versions = $conn->api_versions    // return undef;
    return !grep { ($versions->{$_} // $IMPLICIT_FROM{$_}) < $IMPLICIT_FROM{$_} } keys %IMPLICIT_FROM;
}

# That of the open transaction, which asks when it has an identity, until it is known.
sub _version {
    my ($self) = @_;
    if (!$self->_is_told) {
        my $is_implicit = $self->_is_implicit // return undef;
        return 2 if $is_implicit;
    }
    $self->{told} = $self->_identity;
    return 1;
}

sub _is_told { my ($self) = @_; return ($self->{told} // '') eq $self->_identity }

sub _identity { my ($self) = @_; return join ' ', $self->{below}{producer}->identity }

# What the producer does with messages meanwhile.
sub _changed {
    my ($self) = @_;
    my %rules = $self->{open} ? $self->{open}->rules : %NO_RULES;
    my $rules = join "\0", map { $_ => $rules{$_} // '' } sort keys %rules;
    return if $rules eq $self->{rules};
    $self->{rules} = $rules;
    return $self->{below}{producer}->rules(%rules);
}

sub _over {
    my ($self) = @_;
    delete $self->{open};
    return $self->_changed;
}

# An error after which this client can only be closed.
sub _fail {
    my ($self, $error) = @_;
    return if defined $self->{fatal};
    $error = $self->{fatal} = EV::Kafka::Error->from($error)->as_fatal;
    my ($open, $run) = (delete $self->{open}, $self->{run});
    $open->fail($error) if $open;
    $run->fail($error) if $run;
    $self->{below}{consumer}->release('abort');
    $self->{below}{producer}->fail($error);
    return $self->_changed;
}

# --------------------------------------------------------------------------------------

sub _check {
    my ($self, $method) = @_;
    Carp::croak("$method: give new the option 'transactional_id'") unless defined $self->{below}{options}{transactional_id};
    Carp::croak("$method: $self->{fatal}; only a new client can go on") if defined $self->{fatal};
    return;
}

# The open transaction, if it is the program that ends it.
sub _programs {
    my ($self, $method) = @_;
    my $open = $self->_open($method);
    Carp::croak("$method: transaction() ends this one; die in it to abort it") if $self->{run};
    return $open;
}

# The open transaction, or a croak that says what to do.
sub _open {
    my ($self, $method) = @_;
    $self->_check($method);
    my $open = $self->{open} or Carp::croak("$method: no transaction is open; begin_transaction first");
    Carp::croak("$method: the transaction is ${\ $open->state } already; wait for the callback") if $open->state ne 'open';
    return $open;
}

1;

__END__

=head1 NAME

EV::Kafka::Transactions - an EV::Kafka client's transactions

=head1 DESCRIPTION

An owner of L<EV::Kafka::Client>, not for use by itself: the transactional id, the transaction
that is open, an L<EV::Kafka::Transaction>, and the error after which there is none any more.

=head1 METHODS

=head2 new(loop => $loop, outbox => $outbox, options => $cfg, cluster => $cluster, coordinators => $coordinators, producer => $producer, consumer => $consumer, group => $group)

Without any transaction.

=head2 begin([$method]), send_offsets($group_id, $cb), commit($cb), abort($cb), run($work, [\%how], [$cb])

The program's, see L<EV::Kafka/begin_transaction>.

=head2 stats

How the transaction stands, undef without a transactional id.

=head2 transaction_failed($harm, $text, [$number]), progress, identified, identity_failed($error, $had_one), epoch_needed

What the producer tells.

=head2 moved, gives_up(@positions), takes_over($key)

What the consumer and the group tell.

=head2 close($error), abandon

The end of the open transaction; in a forked child nobody is told.

=head1 SEE ALSO

L<EV::Kafka>

=cut
