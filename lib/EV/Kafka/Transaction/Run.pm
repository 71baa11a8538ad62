package EV::Kafka::Transaction::Run;
use strict;
use warnings;

use Scalar::Util qw(blessed);

use EV::Kafka::Error;

# One call of transaction($work, \%how, $cb): what the program's code does between begin and
# commit, and which of commit and abort follows. Its state:
#   transaction  the EV::Kafka::Transaction, which has begun
#   group_id     the group whose offsets go along, if there is one
#   group        the client's EV::Kafka::Group, where group_id is not for the program to say
#   waits_for    the promise that the work has returned
#   has_worked   the work has ended
#   error        why it is aborted
# on_over is called at the end, before the program's callback.

sub new {
    my ($class, %about) = @_;
    my $self = bless { map { $_ => $about{$_} } qw(outbox transaction work is_async group group_id cb on_over) }, $class;
    $self->_find_group;
    return $self;
}

# The work is called when what has begun the transaction is done.
sub start { my ($self) = @_; return $self->{outbox}->call_through($self, '_work') }

# There is no transaction any more that could be committed or aborted.
sub fail { my ($self, $error) = @_; return $self->_finish(undef, $error) }

# --------------------------------------------------------------------------------------

# Outside of any entry: this is the program's code.
sub _work {
    my ($self) = @_;
    my $done = $self->_done;
    my $is_async = $self->{is_async};
    my ($died) = EV::Kafka::_shielded(sub {
        my $given = $_[0]->($is_async ? $done : ());
        $is_async ||= $self->_wait_for($given, $done);
    }, delete $self->{work});
    return defined $died ? $done->($died) : $is_async ? undef : $done->();
}

# What the work calls with its error, or nothing, when it has ended: the first time counts.
sub _done {
    my ($self) = @_;
    my $entry = $self->{outbox}->entry($self, '_worked');
    return sub { my ($error) = @_; $entry->($error); return };
}

# Whether it is a promise of some kind, to be settled later.
sub _wait_for {
    my ($self, $given, $done) = @_;
    return 0 unless blessed $given;
    if ($given->can('on_ready') && $given->can('failure')) {
        $given->on_ready(sub {
            my ($future) = @_;
            $done->($future->is_done ? undef : ($future->is_cancelled ? () : $future->failure)[0] // 'the work was cancelled');
        });
    }
    elsif ($given->isa('AnyEvent::CondVar')) {
        $given->cb(sub { my ($condvar) = @_; local $@; $done->(eval { $condvar->recv; 1 } ? undef : $@) });
    }
    elsif ($given->can('then')) {
        # What these return is the value of another promise.
        $given->then(sub { $done->(); return }, sub { $done->($_[0] // 'the promise was rejected'); return });
    }
    else { return 0 }
    $self->{waits_for} = $given;
    return 1;
}

sub _worked {
    my ($self, $error) = @_;
    return if $self->{has_worked}++;
    return $self->_abort($error) if defined $error;
    my ($transaction, $group_id) = ($self->{transaction}, $self->_find_group);
    return $self->_commit unless defined $group_id;
    # What goes wrong there is what the commit fails of.
    return $transaction->send_offsets($group_id, $self->{outbox}->entry($self, '_commit'));
}

# A membership that is there at the beginning counts until the end, and so does one that comes meanwhile.
sub _find_group {
    my ($self) = @_;
    $self->{group_id} //= $self->{group}->group_id if $self->{group};
    return $self->{group_id};
}

sub _commit {
    my ($self) = @_;
    return if $self->{is_over};
    return $self->{transaction}->commit($self->{outbox}->entry($self, '_committed'));
}

sub _committed {
    my ($self, $result, $error) = @_;
    my $transaction = $self->{transaction};
    return $self->_finish($result, $error) if !defined $error || $transaction->state eq 'over';
    my $reason = $transaction->reason;
    return $self->_abort($reason->said("$reason: the transaction was aborted"));
}

sub _abort {
    my ($self, $error) = @_;
    return if $self->{is_over};
    $self->{error} = $error;
    return $self->{transaction}->abort($self->{outbox}->entry($self, '_aborted'));
}

sub _aborted {
    my ($self, $result, $error) = @_;
    my $transaction = $self->{transaction};
    return $self->_finish(undef, $self->{error}) unless defined $error;
    return $self->_finish({ error_code => 0 }) if $transaction->was_committed;
    return $self->_finish(undef, $error) if $transaction->state eq 'over';
    # As long as nobody has answered; each time takes as long as a request may.
    return $self->_abort($self->{error});
}

sub _finish {
    my ($self, $result, $error) = @_;
    return if $self->{is_over}++;
    my ($cb, $outbox) = (delete $self->{cb}, $self->{outbox});
    delete @$self{qw(work waits_for)};
    $self->{on_over}->();
    # An object of the program's own stays what it is.
    return $outbox->call($cb, $result, ref $error ? $error : EV::Kafka::Error->from($error)) if $cb;
    return defined $error ? $outbox->report(EV::Kafka::Error->from($error)->of('transaction')) : undef;
}

1;

__END__

=head1 NAME

EV::Kafka::Transaction::Run - a transaction that begins and ends around the program's code

=head1 DESCRIPTION

A part of L<EV::Kafka::Transactions>, not for use by itself: what C<transaction> does.

=head1 METHODS

=head2 new(outbox => $outbox, transaction => $begun, work => $code, is_async => $bool, group => $group, group_id => $id, cb => $code, on_over => $code)

C<group> is the L<EV::Kafka::Group> whose offsets go along as soon as it has been subscribed; without it C<group_id> says which ones do, if any.

=head2 start

Calls the work, and then, when that is done, commits or aborts.

=head2 fail($error)

When the client, or the producer, has come to its end.

=head1 SEE ALSO

L<EV::Kafka>

=cut
