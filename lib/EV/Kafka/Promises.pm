package EV::Kafka::Promises;
use strict;
use warnings;

use Carp ();

use EV::Kafka;

our @ISA = ('EV::Kafka::Client');

# The croaks of a client name the program's line, from here on, too.
$Carp::Internal{ (__PACKAGE__) } = 1;

# What the callback of each method gets, which is what the promise is settled with:
#   result  ($result, $error)
#   error   ($error), or nothing
my %CALLS_BACK_WITH = (
    (map { $_ => 'result' } qw(
        connect seek offsets_for offsets_for_times lag committed
        transaction send_offsets_to_transaction commit_transaction abort_transaction
    ), EV::Kafka::Admin->methods),
    (map { $_ => 'error' } qw(poll commit unsubscribe unsubscribe_share flush close)),
);

# The first argument of these is code that is not the callback.
my %IS_GIVEN_CODE = (transaction => 1);

# For each kind of promise: the module, how one is made (the promise, and what settles it),
# and how it is settled. The error comes first among what it is rejected with.
my %OF_DEFERRED = (
    resolve => sub { my ($deferred, @values) = @_; $deferred->resolve(@values) },
    reject  => sub { my ($deferred, @about)  = @_; $deferred->reject(@about) },
);
my %OF_FUTURE = (
    resolve => sub { my ($future, @values)          = @_; $future->done(@values) },
    reject  => sub { my ($future, $error, @result) = @_; $future->fail($error, kafka => @result) },
);
my %KIND = (
    'Mojo::Promise' => { %OF_DEFERRED, module => 'Mojo::Promise', make => sub { my $promise = Mojo::Promise->new; return ($promise, $promise) } },
    'Promise::XS'   => { %OF_DEFERRED, module => 'Promise::XS', make => sub { my $deferred = Promise::XS::deferred(); return ($deferred->promise, $deferred) } },
    'Future'        => {
        %OF_FUTURE,
        module => 'EV::Kafka::Promises::Future',
        make   => sub { my ($loop) = @_; my $future = EV::Kafka::Promises::Future->on_loop($loop); return ($future, $future) },
    },
    'AnyEvent' => {
        module  => 'AnyEvent',
        make    => sub { my $condvar = AnyEvent->condvar; return ($condvar, $condvar) },
        resolve => sub { my ($condvar, @values) = @_; $condvar->send(@values) },
        reject  => sub { my ($condvar, $error)  = @_; $condvar->croak($error) },
    },
);

sub new {
    my ($class, %options) = @_;
    my $kind = _kind(delete $options{promise});
    my $self = $class->SUPER::new(%options);
    $self->{promise} = $kind;
    return $self;
}

sub _kind {
    my ($name) = @_;
    Carp::croak("EV::Kafka::Promises: give new the option promise, one of @{[ sort keys %KIND ]}, another class of futures, or code") unless defined $name;
    return _code($name) if ref $name eq 'CODE';
    my $kind   = $KIND{$name};
    my $module = $kind ? $kind->{module} : $name;
    Carp::croak("EV::Kafka::Promises: '$name' is not the name of a class") if $module !~ /\A\w+(?:::\w+)*\z/;
    local $@;
    # The class may be defined without a file of its own.
    $module->can('new') || eval { require "$module.pm" =~ s{::}{/}gr; 1 } || Carp::croak("EV::Kafka::Promises: cannot load $module: $@");
    return $kind || _class($name);
}

# The program's own kind: $code->() makes a promise, and code to resolve and to reject it.
sub _code {
    my ($code) = @_;
    return {
        make    => sub { my ($promise, @settle) = $code->(); return ($promise, \@settle) },
        resolve => sub { my ($settle, @values)  = @_; $settle->[0]->(@values) },
        reject  => sub { my ($settle, @about)   = @_; $settle->[1]->(@about) },
    };
}

# A class that does what one of those above does.
sub _class {
    my ($class) = @_;
    my %how = $class->can('done') && $class->can('fail') ? %OF_FUTURE : $class->can('resolve') && $class->can('reject') ? %OF_DEFERRED
        : Carp::croak("EV::Kafka::Promises: $class has neither done and fail nor resolve and reject: give code in its place");
    return { %how, make => sub { my $promise = $class->new; return ($promise, $promise) } };
}

# --------------------------------------------------------------------------------------

# Without a callback, and where the promise is not thrown away, there is one.
for my $method (keys %CALLS_BACK_WITH) {
    my $plain     = EV::Kafka::Client->can($method);
    my $settle    = __PACKAGE__->can("_settle_by_$CALLS_BACK_WITH{$method}");
    my $has_first = $IS_GIVEN_CODE{$method} ? 1 : 0;
    no strict 'refs';
    *$method = sub {
        my ($self, @args) = @_;
        return $self->$plain(@args) if !defined wantarray || _has_callback(@args[$has_first .. $#args]);
        my ($promise, $settled) = $self->_promise;
        $self->$plain(@args, sub { $settle->($settled, @_) });
        return $promise;
    };
}

# The same without a closure for each message.
sub produce {
    my ($self, $topic, $key, $value, @rest) = @_;
    return $self->SUPER::produce($topic, $key, $value, @rest) if !defined wantarray || _has_callback(@rest);
    my ($promise, $settled) = $self->_promise;
    $self->SUPER::produce($topic, $key, $value, $rest[0], \&_produced, $settled);
    return $promise;
}

sub produce_many {
    my ($self, $messages, @rest) = @_;
    return $self->SUPER::produce_many($messages, @rest) if !defined wantarray || _has_callback(@rest);
    my ($promise, $settled) = $self->_promise;
    $self->SUPER::produce_many($messages, \&_produced_many, $settled);
    return $promise;
}

# --- how it is settled: with what a callback gets ----------------------------------------

sub _settle_by_result {
    my ($settled, $result, $error) = @_;
    return defined $error ? _reject($settled, $error, $result) : _resolve($settled, $result);
}

sub _settle_by_error {
    my ($settled, $error) = @_;
    return defined $error ? _reject($settled, $error) : _resolve($settled);
}

# What belongs to one message comes last.
sub _produced { my ($result, $error, $settled) = @_; return _settle_by_result($settled, $result, $error) }

sub _produced_many { my ($errors, $settled) = @_; return _settle_by_error($settled, $errors) }

sub _resolve {
    my ($settled, @values) = @_;
    my ($kind, $deferred) = @$settled;
    $kind->{resolve}->($deferred, @values);
    return;
}

sub _reject {
    my ($settled, @about) = @_;
    my ($kind, $deferred) = @$settled;
    $kind->{reject}->($deferred, @about);
    return;
}

# --------------------------------------------------------------------------------------

sub _has_callback { return scalar grep { ref eq 'CODE' } @_ }

# The promise, and who knows how to settle it.
sub _promise {
    my ($self) = @_;
    my $kind = $self->{promise};
    my ($promise, $deferred) = $kind->{make}->($self->{loop}->ev);
    return ($promise, [$kind, $deferred]);
}

1;

__END__

=encoding utf8

=head1 NAME

EV::Kafka::Promises - an EV::Kafka client whose methods return promises

=head1 SYNOPSIS

    use EV;
    use EV::Kafka::Promises;
    use Future::AsyncAwait;

    my $kafka = EV::Kafka::Promises->new(
        promise => 'Future',
        brokers => '127.0.0.1:9092',
    );

    async sub order {
        my ($id, $order) = @_;
        my $result = await $kafka->produce('orders', $id, $order);
        return $result->{topics}[0]{partitions}[0]{base_offset};
    }

    $kafka->connect->get;
    print 'written at ', order(17, 'two of them')->get, "\n";

=head1 DESCRIPTION

A client as L<EV::Kafka> describes it, with all of its options and methods. Each method that takes a callback may be called
without one: then it returns a promise of the kind that C<promise> names. None of their modules is needed but the one that is named.

A promise is resolved with what the callback would get as its result, and rejected with the error: for C<produce>, C<connect>, C<seek>, C<offsets_for>, C<lag>, C<committed>
and others whose callback gets C<($result, $error)>. For C<commit>, C<flush>, C<poll>, C<unsubscribe> and C<unsubscribe_share>, whose callback gets
an error or nothing, it is resolved with nothing. C<produce_many> is rejected with the reference to the array of errors. Where there is a
result beside the error, as that of C<lag> for the partitions that could be found out, it follows the error (in a L<Future>
as its details, behind the category C<kafka>).

Arguments that make no sense croak, as they do in a plain client, and a client that is closed, or let go of, rejects what waits.

With a callback a method is that of the plain client. So it is in void context, where nobody could look at the promise: an error
then goes where it goes without a callback, to C<on_error>.

A promise costs more than a message does: programs that produce a great many use a callback, which many of them may share
(L<produce|EV::Kafka/produce($topic, $key, $value, [\%opts,] [$cb, [@args]])>), or C<produce_many>, which is one promise for all.

=head1 METHODS

=head2 new(promise => $kind, %options)

The options of C<< EV::Kafka->new >>, and C<promise>:

=over 4

=item C<'Mojo::Promise'>

L<Mojo::Promise>, of the Mojolicious distribution. Its loop runs on EV by itself if EV is there; C<await> of L<Mojolicious> with
C<-async_await>, and L<Future::AsyncAwait> with it, work.

=item C<'Promise::XS'>

L<Promise::XS>.

=item C<'Future'>

L<Future>: those that this returns are L<EV::Kafka::Promises::Future>, whose C<get> and C<await> turn the event loop of the client.
With L<Future::AsyncAwait> they are what C<await> waits for.

=item C<'AnyEvent'>

A condition variable of L<AnyEvent>: C<recv> returns the result or dies of the error, C<cb> is called when it is there.

=item another class

A subclass of one of these, or a class that has a constructor C<new> and either C<done> and C<fail> or C<resolve> and C<reject>.

=item code

For everything else. It is called for each promise, and returns the promise, code that resolves and code that rejects it:

    promise => sub {
        my $promise = My::Promise->pending;
        return ($promise, sub { $promise->keep(@_) }, sub { $promise->break(@_) });
    },

=back

=head2 connect, produce, produce_many, flush, poll, seek, offsets_for, offsets_for_times, lag, commit, committed, unsubscribe, unsubscribe_share, close, transaction, send_offsets_to_transaction, commit_transaction, abort_transaction

As in L<EV::Kafka>, without the callback at the end. The work of a C<transaction> may be an C<async> sub: its promise is waited for.

    await $kafka->transaction(async sub {
        my $stock = await look_up($id);
        $kafka->produce('stock', $id, $stock - 1);
    });

=head1 SEE ALSO

L<EV::Kafka>, L<Future::AsyncAwait>, L<Mojo::Promise>, L<AnyEvent>

=cut
