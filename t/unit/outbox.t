use v5.14;
use warnings;

use EV::Kafka;
use EV::Kafka::Error;
use EV::Kafka::Loop;
use EV::Kafka::Outbox;
use Scalar::Util qw(weaken);
use Test::More;

# What the program is called with, and when.

{
    package Owner;
    sub new { my ($class, %about) = @_; return bless {%about}, $class }

    # Calls, and then goes on with its work.
    sub work {
        my ($self, @calls) = @_;
        $self->{outbox}->call($_) for @calls;
        push @{ $self->{log} }, 'work done';
        return 'result';
    }
    sub note { my ($self, @words) = @_; push @{ $self->{log} }, "@words"; return }
    sub list { return (1, 2) }
    sub through { my (undef, $code) = @_; return $code->() }
}

sub outbox {
    my (%about) = @_;
    my $loop = EV::Kafka::Loop->new;
    my $outbox = EV::Kafka::Outbox->new($loop, $about{options} || {}, $about{abandon} || sub { 0 });
    my $log = [];
    return ($outbox, $log, Owner->new(outbox => $outbox, log => $log), $loop);
}

sub turn_until {
    my ($is_done) = @_;
    my $guard = EV::timer(10, 0, sub { EV::break(EV::BREAK_ALL) });
    EV::run(EV::RUN_ONCE) until $is_done->() || !$guard->is_active;
    return;
}

subtest 'calls come when the work of their entry is done' => sub {
    my ($outbox, $log, $owner) = outbox();
    is $outbox->enter($owner, work => sub { push @$log, 'one' }, sub { push @$log, 'two' }), 'result', 'its result';
    is_deeply $log, ['work done', 'one', 'two'], 'in order';
    is_deeply [$outbox->enter($owner, 'list')], [1, 2], 'a list is one';
};

subtest 'outside of any entry they come at once' => sub {
    my ($outbox, $log) = outbox();
    $outbox->call(sub { push @$log, "@_" }, 1, 2);
    $outbox->call(undef, 'nobody');
    is_deeply $log, ['1 2'];
};

subtest 'an entry within a callback calls back at once, behind what waits' => sub {
    my ($outbox, $log, $owner) = outbox();
    $outbox->enter($owner, work => sub {
        push @$log, 'outer begins';
        $outbox->enter($owner, work => sub { push @$log, 'inner' });
        push @$log, 'outer ends';
    }, sub { push @$log, 'second' });
    is_deeply $log, ['work done', 'outer begins', 'work done', 'second', 'inner', 'outer ends'];
};

subtest 'what has to follow a callback follows it' => sub {
    my ($outbox, $log, $owner) = outbox();
    { no warnings 'once'; *Owner::revoke = sub {
        my ($self, $cb) = @_;
        $self->{outbox}->call($cb);
        $self->{outbox}->then($self, note => 'commit');
        push @{ $self->{log} }, 'revoked';
        return;
    } }
    $outbox->enter($owner, revoke => sub { push @$log, 'on_revoke' });
    is_deeply $log, ['revoked', 'on_revoke', 'commit'];
};

subtest 'also when that turns the loop, which enters' => sub {
    my ($outbox, $log, $owner) = outbox();
    { no warnings 'once'; *Owner::assign = sub {
        my ($self, $cb) = @_;
        $self->{outbox}->call($cb);
        $self->{outbox}->then($self, note => 'fetch');
        $self->{outbox}->call(sub { push @$log, 'next' });
        return;
    } }
    $outbox->enter($owner, assign => sub {
        $outbox->enter($owner, work => sub { push @$log, 'inner' });
        push @$log, 'returns';
    });
    is_deeply $log, ['work done', 'inner', 'returns', 'fetch', 'next'];
};

subtest 'an entry within an entry leaves its calls to that' => sub {
    my ($outbox, $log, $owner) = outbox();
    { no warnings 'once'; *Owner::enter_again = sub {
        my ($self, $cb) = @_;
        $self->{outbox}->enter($self, work => $cb);
        push @{ $self->{log} }, 'all done';
        return;
    } }
    $outbox->enter($owner, enter_again => sub { push @$log, 'called' });
    is_deeply $log, ['work done', 'all done', 'called'];
};

subtest 'what follows is an entry of its own: its calls come after it' => sub {
    my ($outbox, $log, $owner) = outbox();
    $outbox->then($owner, work => sub { push @$log, 'called' });
    is_deeply $log, ['work done', 'called'];
};

subtest 'a die in a callback is a warning, and the others still come' => sub {
    my ($outbox, $log, $owner) = outbox();
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_; die "the handler, too\n" };
    $outbox->call_as('on_thing' => sub { die "no\n" });
    $outbox->enter($owner, work => sub { die "nor here\n" }, sub { push @$log, 'after' });
    is_deeply \@warnings, ["on_thing error: no\n", "EV::Kafka: callback error: nor here\n"];
    is_deeply $log, ['work done', 'after'];
};

subtest 'on_error is read when it is needed, and what it dies of is thrown from the loop' => sub {
    my $options = {};
    my ($outbox) = outbox(options => $options);
    my @heard;
    $options->{on_error} = sub { push @heard, @_ };
    $outbox->report('text');
    $outbox->report(EV::Kafka::Error->without_code('an object'));
    is_deeply \@heard, ['text', 'an object'], 'a text in any case';

    my @died;
    local $EV::DIED = sub { push @died, $@ };
    delete $options->{on_error};
    $outbox->report('nobody hears');
    is_deeply \@died, [], 'not at once';
    turn_until(sub { @died });
    is_deeply \@died, ["EV::Kafka: nobody hears\n"], 'but in a turn of its own';
};

subtest 'what waits is told once, until its text changes or it is over' => sub {
    my $options = {};
    my ($outbox) = outbox(options => $options);
    my @heard;
    $options->{on_notice} = sub { push @heard, [@_] };
    $outbox->notice(topic => 'unknown', topic => 't') for 1 .. 2;
    $outbox->notice(topic => 'no leader');
    is_deeply \@heard, [['unknown', { topic => 't' }], ['no leader', {}]];
    $outbox->notice_over('topic');
    $outbox->notice(topic => 'no leader');
    is scalar @heard, 3, 'after its end it is news';
    delete $options->{on_notice};
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    $outbox->notice(other => 'waits');
    is_deeply \@warnings, ["EV::Kafka: waits\n"], 'a warning without on_notice';
};

subtest 'callbacks that call back at once give the loop its turn' => sub {
    my ($outbox) = outbox();
    my $calls = 0;
    my $again;
    $again = sub { $outbox->call($again) if ++$calls < 200 };
    $outbox->call($again);
    cmp_ok $calls, '<', 200, 'not all at once';
    turn_until(sub { $calls == 200 });
    is $calls, 200, 'but all';
    undef $again;
};

subtest 'in turn' => sub {
    my $options = {};
    my ($outbox, $log) = outbox(options => $options);
    $options->{on_error} = sub { push @$log, "error $_[0]"; $outbox->report_in_turn(refusal => 'late') if @$log < 4 };
    $outbox->call_in_turn(refusal => label => sub {
        push @$log, "called $_[0]";
        $outbox->call_in_turn(refusal => label => sub { push @$log, "called $_[0]" }, 2);
        $outbox->call_in_turn(other => label => sub { push @$log, 'of another kind' });
        $outbox->report_in_turn(refusal => 'first');
    }, 1);
    is_deeply $log, ['called 1', 'of another kind'], 'what one of a kind leads to is put off';
    turn_until(sub { @$log == 4 });
    is_deeply $log, ['called 1', 'of another kind', 'called 2', 'error first'], 'until the loop has turned';
    $outbox->report_in_turn(refusal => 'again');
    is $log->[4], 'error again', 'one that nothing of its kind leads to is called at once';
};

subtest 'who calls the program by himself' => sub {
    my ($outbox, $log, $owner) = outbox();
    $outbox->enter($owner, sub {
        $outbox->call_through($owner, through => sub { push @$log, 'the program'; $outbox->call(sub { push @$log, 'at once' }); push @$log, 'goes on' });
        push @$log, 'work';
    });
    is_deeply $log, ['work', 'the program', 'at once', 'goes on'], 'is called when the work is done, and is no entry';
};

subtest 'the end of a client' => sub {
    my ($outbox, $log) = outbox(options => { on_notice => sub { fail 'a notice' } });
    $outbox->call_in_turn(a => label => sub { $outbox->call_in_turn(a => label => sub { push @$log, 'was put off' }) });
    $outbox->end;
    is_deeply $log, ['was put off'], 'nothing is left';
    my $deep = 0;
    my $again;
    $again = sub { $outbox->call($again) if ++$deep < 80 };
    $outbox->call($again);
    is $deep, 80, 'however deep it goes';
    undef $again;
    $outbox->notice(any => 'thing');
};

subtest 'entries for connections, and timers, keep nothing alive' => sub {
    my ($outbox, $log, $owner, $loop) = outbox();
    my $entry = $outbox->entry($owner, note => 'answer');
    $entry->('of the broker');
    is_deeply $log, ['answer of the broker'];
    my $timer = $loop->timer(0, $owner, work => sub { push @$log, 'from the timer' });
    turn_until(sub { @$log == 3 });
    is_deeply [@$log[1, 2]], ['work done', 'from the timer'], 'a timer is an entry';
    my $other = $loop->timer(0, $owner, note => 'never');
    weaken(my $weak = $owner);
    undef $owner;
    is $weak, undef, 'the object is gone';
    $entry->('nobody');
    EV::run(EV::RUN_NOWAIT) for 1 .. 3;
    is scalar @$log, 3, 'and is not called';
};

subtest 'in a forked child nothing is called any more' => sub {
    my $is_child;
    my ($outbox, $log, $owner) = outbox(abandon => sub { $is_child });
    $outbox->enter($owner, work => sub { push @$log, 'forks'; $is_child = 1; $outbox->forget }, sub { push @$log, 'next' });
    is_deeply $log, ['work done', 'forks'];
    $outbox->enter($owner, work => sub { push @$log, 'called' });
    is_deeply $log, ['work done', 'forks'], 'nor entered';
};

done_testing;
