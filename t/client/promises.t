use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use EV::Kafka::Promises;
use TestKafka;

# A client whose methods return promises, of each kind that there is on this machine.

# A class with the interface of Promise::XS, and one of nobody's.
{
    package Deferred;
    sub deferred { return bless { promise => bless({ then => [] }, 'Deferred::Promise') }, __PACKAGE__ }
    sub promise  { return $_[0]{promise} }
    sub resolve  { my ($self, @values) = @_; return $self->{promise}->settle(0, @values) }
    sub reject   { my ($self, @about)  = @_; return $self->{promise}->settle(1, @about) }

    package Deferred::Promise;
    sub then   { my ($self, @code) = @_; push @{ $self->{then} }, \@code; return $self->tell }
    sub settle { my ($self, @how)  = @_; $self->{how} = \@how; return $self->tell }
    sub tell   {
        my ($self) = @_;
        my ($which, @what) = @{ $self->{how} || return $self };
        $_->[$which]->(@what) for splice @{ $self->{then} };
        return $self;
    }
}

sub with_then { my ($promise, @settled) = @_; $promise->then(@settled); return }

# By kind: what new is told, and how its promises are listened to.
my %LISTEN = (
    'Mojo::Promise' => \&with_then,
    'Promise::XS'   => \&with_then,
    'Future'        => sub {
        my ($future, $ok, $failed) = @_;
        $future->on_done($ok);
        $future->on_fail(sub { my ($error, $category, @more) = @_; is $category, 'kafka', 'a category'; $failed->($error, @more) });
    },
    'AnyEvent' => sub {
        my ($condvar, $ok, $failed) = @_;
        $condvar->cb(sub { my @got; eval { @got = $condvar->recv; 1 } ? $ok->(@got) : $failed->($@ =~ s/ at \S+ line \d+\.?\n\z//r) });
    },
    'code' => \&with_then,
);
my %GIVEN = (code => sub { my $deferred = Deferred::deferred(); return ($deferred->promise, sub { $deferred->resolve(@_) }, sub { $deferred->reject(@_) }) });

sub is_there { my ($kind) = @_; return $GIVEN{$kind} || eval "require $kind; 1" }

sub promising {
    my ($kind, $mock, %options) = @_;
    my $kafka = EV::Kafka::Promises->new(
        promise => $GIVEN{$kind} || $kind, brokers => $mock->bootstrap, on_error => sub { push @{ $options{errors} }, @_ } );
    return $kafka;
}

# [resolved => @values] or [rejected => @about], once.
sub settled {
    my ($kind, $promise, $what) = @_;
    my @ends;
    $LISTEN{$kind}->($promise, sub { push @ends, [resolved => @_]; return }, sub { push @ends, [rejected => @_]; return });
    wait_until { @ends } $what;
    turns(3);
    is @ends, 1, "$what: settled once" if @ends != 1;
    return @{ $ends[0] };
}

for my $kind (sort keys %LISTEN) {
    subtest $kind => sub {
        plan skip_all => "$kind is not installed" unless is_there($kind);
        my $mock = EV::Kafka::Mock->new;
        $mock->create_topic(t => 2);
        my $kafka = promising($kind, $mock);
        isa_ok $kafka, 'EV::Kafka::Client';
        my ($how, $value) = settled($kind, $kafka->connect, 'connect');
        is $how, 'resolved', 'connect';
        ok $value->{brokers}, 'with the metadata';
        ($how, $value) = settled($kind, $kafka->produce('t', 'key', 'value', { partition => 1 }), 'produce');
        is $how, 'resolved', 'produce';
        is $value->{topics}[0]{partitions}[0]{partition}, 1, 'with the result, and its options count';
        is_deeply [settled($kind, $kafka->produce_many([['t', 'k', 'v']]), 'produce_many')], ['resolved'], 'produce_many';
        is_deeply [settled($kind, $kafka->flush, 'flush')], ['resolved'], 'flush';
        $mock->fault(api => 'Produce', error => 10);
        ($how, $value) = settled($kind, $kafka->produce('t', 'key', 'value', { partition => 0 }), 'a refusal');
        is $how, 'rejected', 'a refused message';
        like $value, qr/MESSAGE_TOO_LARGE/, 'with its error';
        ($how, $value) = settled($kind, $kafka->commit, 'commit without a group');
        is_deeply [$how, $value], [rejected => 'not subscribed to a group'], 'an error alone';
        my $called = 0;
        is scalar($kafka->flush(sub { $called++ })), undef, 'with a callback there is no promise';
        wait_until { $called } 'the callback';
        my $late = $kafka->offsets_for('t');
        $kafka->close;
        ($how, $value) = settled($kind, $late, 'what waits at close');
        is $how, 'rejected', 'close rejects what waits';
        like $value, qr/client closed/, 'and says why';
    };
}

subtest 'in void context errors go where they go without a callback' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my @errors;
    my $kafka = EV::Kafka::Promises->new(promise => $GIVEN{code}, brokers => $mock->bootstrap, on_error => sub { push @errors, @_ });
    $kafka->commit;
    is_deeply \@errors, ['commit: not subscribed to a group'], 'on_error hears of it';
};

# What has a promise and what has none is decided for every method of the client.
subtest 'every method with a callback has a promise' => sub {
    my %has_none = map { $_ => 1 } qw(new assign position pause resume consume stop_consuming buffered on_drain subscribe subscribe_share begin_transaction error_name done purge
        assignment subscription is_connected metadata stats);
    no strict 'refs';
    my @methods = grep { !/^_|^[A-Z]/ && defined &{"EV::Kafka::Client::$_"} } keys %EV::Kafka::Client::;
    my @undecided = grep { !$has_none{$_} && !defined &{"EV::Kafka::Promises::$_"} } @methods;
    is_deeply \@undecided, [], 'none is forgotten';
};

subtest 'Future: get turns the loop' => sub {
    plan skip_all => 'Future is not installed' unless is_there('Future');
    my $loop  = EV::Loop->new;
    my $mock  = EV::Kafka::Mock->new(loop => $loop);
    my $kafka = EV::Kafka::Promises->new(promise => 'Future', brokers => $mock->bootstrap, loop => $loop);
    ok $kafka->connect->get->{brokers}, 'the one that the client lives on';
    is $kafka->commit->then(sub { Future->done('never') }, sub { Future->done('late') })->get, 'late', 'also for what follows';
    undef $kafka;
    undef $mock;
    eval { EV::Kafka::Promises::Future->on_loop(EV::Loop->new)->get };
    like $@, qr/^EV::Kafka: nothing is under way that could complete this future at \Q$0\E line/, 'it does not wait for nothing';
};

subtest 'Future::AsyncAwait' => sub {
    plan skip_all => 'Future::AsyncAwait is not installed' unless is_there('Future::AsyncAwait');
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = EV::Kafka::Promises->new(promise => 'Future', brokers => $mock->bootstrap, transactional_id => 'x');
    my ($offset_of, $in_transaction);
    my $code = eval q{
        use Future::AsyncAwait;
        $offset_of = async sub { my ($value) = @_; my $result = await $kafka->produce('t', undef, $value); return $result->{topics}[0]{partitions}[0]{base_offset} };
        $in_transaction = async sub {
            my ($fails) = @_;
            return await $kafka->transaction(async sub { await $offset_of->('in it'); die "not this one\n" if $fails });
        };
        1;
    };
    ok $code, 'it compiles' or diag $@;
    ok $kafka->connect->get, 'connect';
    is $offset_of->('a')->get, 0, 'await gives the result';
    is_deeply $in_transaction->(0)->get, { error_code => 0 }, 'a transaction whose work is async';
    is_deeply [($in_transaction->(1)->await->failure)[0]], ["not this one\n"], 'what it dies of is the failure';
    my $pending = $in_transaction->(0);
    my $future = $in_transaction->(0)->else(sub { Future->done(@_) });
    like +($future->get)[0], qr/^transaction: the last transaction\(\) has not ended/, 'a croak is a failure within async';
    is_deeply $pending->get, { error_code => 0 }, 'and harms nobody';
};

subtest 'Future: an error that is an object is thrown as it is' => sub {
    plan skip_all => 'Future is not installed' unless is_there('Future');
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my ($kafka, $plain) = map { EV::Kafka::Promises->new(promise => 'Future', brokers => $mock->bootstrap, errors => 'object', @$_) } [transactional_id => 'x'], [];
    my $why = { code => 5 };
    my %fails = (
        'of a broker'   => sub { $mock->fault(api => 'Produce', error => 10); return $plain->produce('t', undef, 'v') },
        'of the client' => sub { return $kafka->commit },
        'passed on'     => sub { return $kafka->commit->then(sub { die 'never' }) },
        'of the work'   => sub { return $kafka->transaction(sub { die $why }) },
    );
    my %await = (get => sub { return $_[0]->get }, result => sub { return $_[0]->await->result });
    $await{await} = eval q{use Future::AsyncAwait; async sub { my ($future) = @_; return await $future }} if is_there('Future::AsyncAwait');
    $_->connect->get for $kafka, $plain;
    for my $what (sort keys %fails) {
        for my $how (sort keys %await) {
            my $future = $fails{$what}->();
            my $thrown = eval { my $again = $await{$how}->($future); $again->get if $how eq 'await'; 1 } ? 'nothing' : $@;
            my ($error, $category) = $future->failure;
            is ref $thrown, $what eq 'of the work' ? 'HASH' : 'EV::Kafka::Error', "$what, by $how";
            is $thrown, $error, 'what it has failed with';
            is $category, 'kafka', 'its category is that of all';
        }
    }
};

subtest 'Mojo::Promise: work of a transaction, and Mojolicious on EV' => sub {
    plan skip_all => 'Mojolicious is not installed' unless is_there('Mojo::Promise') && eval { require Mojo::IOLoop; 1 };
    isa_ok +Mojo::IOLoop->singleton->reactor, 'Mojo::Reactor::EV';
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $kafka = EV::Kafka::Promises->new(promise => 'Mojo::Promise', brokers => $mock->bootstrap, transactional_id => 'x');
    my @got;
    $kafka->connect->then(sub {
        return $kafka->transaction(sub { return Mojo::Promise->timer(0.01)->then(sub { return $kafka->produce('t', undef, 'v') }) });
    })->then(sub { push @got, @_; return $kafka->transaction(sub { return Mojo::Promise->reject('no') }) })->then(sub { push @got, 'never' }, sub { push @got, @_ })->wait;
    is_deeply \@got, [{ error_code => 0 }, 'no', undef], 'resolved, then rejected';
    is_deeply [map { $_->{value} } $mock->records('t', 0, isolation_level => 'read_committed')], ['v'], 'the first is written';
};

subtest 'what new refuses' => sub {
    my @refused = (
        [undef, qr/^EV::Kafka::Promises: give new the option promise, one of AnyEvent Future Mojo::Promise Promise::XS/],
        ['No::Such::Promise', qr/^EV::Kafka::Promises: cannot load No::Such::Promise/],
        ['not a class', qr/^EV::Kafka::Promises: 'not a class' is not the name of a class/],
        ['EV::Kafka::Loop', qr/^EV::Kafka::Promises: EV::Kafka::Loop has neither done and fail nor resolve and reject/],
    );
    for my $case (@refused) {
        my ($kind, $text) = @$case;
        eval { EV::Kafka::Promises->new(promise => $kind) };
        like $@, $text, $kind // 'nothing';
    }
};

done_testing;
