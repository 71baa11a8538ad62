# What a delivery callback is called with behind result and error: kept as it was given, and let go of once.
use strict;
use warnings;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use Test::More;

use TestKafka;

{
    package Guard;
    my %alive;
    sub new { my ($class, $name) = @_; $alive{$name}++; return bless { name => $name }, $class }
    sub alive { return $alive{ $_[0] } || 0 }
    sub DESTROY { my ($self) = @_; $alive{ $self->{name} }-- }
    package Fetched;
    sub TIESCALAR { my ($class, $value) = @_; return bless { value => $value, count => 0 }, $class }
    sub FETCH { my ($self) = @_; $self->{count}++; return $self->{value} }
}

sub cluster {
    my $mock = EV::Kafka::Mock->new(partitions => 1);
    $mock->create_topic(t => 2);
    return $mock;
}

my $mock = cluster();
my @calls;
sub delivered { push @calls, [@_[1 .. $#_]]; return }
sub calls { my @taken = splice @calls; return \@taken }

sub flushed {
    my ($kafka) = @_;
    my $is_over;
    $kafka->flush(sub { $is_over = 1 });
    return wait_until { $is_over } 'flush';
}

# How a message gets where it waits for its broker, each with the options of its client.
my %way = (
    'natively'            => [],
    'with a partitioner'  => [partitioner => sub { 1 }],
    'strings are text'    => [strings => 'utf8'],
    'strings are bytes'   => [strings => 'bytes'],
    'idempotent'          => [idempotent => 1],
    'acks 0'              => [acks => 0],
    'before connect'      => [],
    'options of its own'  => [],
    'its own acks'        => [],
);

for my $way (sort keys %way) {
    subtest $way => sub {
        my @options = @{ $way{$way} };
        my $kafka   = $way eq 'before connect' ? client(brokers => $mock->bootstrap, @options) : connected(brokers => $mock->bootstrap, @options);
        my %place   = ('options of its own' => { partition => 1, headers => { a => 'b' } }, 'its own acks' => { acks => 1 });
        my $place   = $place{$way};
        my $key     = $way =~ /strings/ ? "\xe9" : 'k';
        my @several = ('text', 17, undef, [1], 2.5, "\x{263a}", \'x', \&calls);
        $kafka->produce('t', $key, 'v', $place, \&delivered);
        $kafka->produce('t', $key, 'v', $place, \&delivered, 'one');
        $kafka->produce('t', $key, 'v', $place, \&delivered, undef);
        $kafka->produce('t', $key, 'v', $place, \&delivered, $several[3]);
        $kafka->produce('t', $key, 'v', $place, \&delivered, @several);
        $kafka->produce('t', $key, 'v', $place, \&delivered, 1 .. 300);
        $kafka->produce('t', $key, 'v', { %{ $place || {} } }, \&delivered, 'a', 'b');
        $kafka->connect if $way eq 'before connect';
        wait_until { @calls == 7 } 'delivery';
        my $got = calls();
        is_deeply $got, [map { [undef, @$_] } [], ['one'], [undef], [$several[3]], \@several, [1 .. 300], ['a', 'b']], 'come behind the error, in order';
        is $got->[3][1], $several[3], 'a reference is the same one';

        my ($text, $guard, @list) = ('then', Guard->new($way), 1, 2);
        weaken(my $weak = $guard);
        $kafka->produce('t', $key, 'v', $place, \&delivered, $text);
        $kafka->produce('t', $key, 'v', $place, \&delivered, $text, @list);
        $kafka->produce('t', $key, 'v', $place, \&delivered, $weak);
        $kafka->produce('t', $key, 'v', $place, \&delivered, $weak, 'more');
        $_ = 'changed' for $text, @list;
        undef $guard;
        is Guard::alive($way), 1, 'what a weak reference leads to is held' if $way ne 'acks 0';
        wait_until { @calls == 4 } 'delivery';
        $got = calls();
        is_deeply $got->[0], [undef, 'then'],       'what is changed later is as it was';
        is_deeply $got->[1], [undef, 'then', 1, 2], 'also of several';
        isa_ok $got->[$_][1], 'Guard' for 2, 3;
        undef $got;
        is Guard::alive($way), 0, 'and nothing is left of it';
        $kafka->close;
    };
}

subtest 'arguments that have to be read' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my $tied  = tie my $scalar, 'Fetched', 'fetched';
    'matched' =~ /(tch)/;
    $kafka->produce('t', 'k', 'v', undef, \&delivered, $1);
    $kafka->produce('t', 'k', 'v', undef, \&delivered, $scalar);
    $kafka->produce('t', 'k', 'v', undef, \&delivered, 'x', $scalar);
    'other' =~ /(oth)/;
    flushed($kafka);
    is_deeply calls(), [[undef, 'tch'], [undef, 'fetched'], [undef, 'x', 'fetched']], 'are what they were';
    is $tied->{count}, 2, 'each was read once';
    tie my $callback, 'Fetched', \&delivered;
    $kafka->produce('t', 'k', 'v', undef, $callback, 'argument');
    flushed($kafka);
    is_deeply calls(), [[undef, 'argument']], 'a callback that has to be read';
};

subtest 'what a callback does to them' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my ($mine, @kept) = ('mine');
    my @abuse = (
        sub { $_ = 'changed' for @_ },
        sub { shift for 1 .. 3 },
        sub { @_ = () },
        sub { push @_, 1 .. 1000 },
        sub { push @kept, \@_ },
        sub { push @kept, \$_[2] },
        sub { splice @_, 0, 2; goto &CORE::push if 0; &delivered },
        sub { undef $_[2] },
        sub { bless \$_[2], 'Some::Class' },
        sub { flushed($kafka) if $_[2] eq 'never' },
    );
    for my $code (@abuse) {
        $kafka->produce('t', 'k', 'v', undef, $code, $mine);
        $kafka->produce('t', 'k', 'v', undef, $code, $mine, 'other');
    }
    my @warnings = warnings_of { flushed($kafka) };
    is_deeply \@warnings, [], 'no warning';
    is $mine, 'mine', "the program's own is untouched";
    is_deeply [@kept[0 .. 1]], [[@{ $kept[0] }[0, 1], 'mine'], [@{ $kept[1] }[0, 1], 'mine', 'other']], 'kept @_ stays';
    is ${ $kept[2] }, 'mine', 'and a kept element';
    calls();
};

subtest 'a callback that dies' => sub {
    my $kafka    = connected(brokers => $mock->bootstrap, linger_ms => 20);
    my @warnings = warnings_of {
        $kafka->produce('t', 'k', 'v', undef, sub { die "of $_[2]{name}\n" }, Guard->new("dead $_")) for 1 .. 3;
        $kafka->produce('t', 'k', 'v', undef, sub { die "of many\n" }, Guard->new('dead'), Guard->new('dead'));
        $kafka->produce('t', 'k', 'v', undef, \&delivered, 'last');
        flushed($kafka);
    };
    is_deeply \@warnings, ["produce callback error: of dead 1\n", "produce callback error: of dead 2\n", "produce callback error: of dead 3\n",
        "produce callback error: of many\n"], 'is a warning';
    is_deeply calls(), [[undef, 'last']], 'and the next one is called';
    is Guard::alive("dead $_"), 0, "argument $_ is gone" for 1 .. 3;
    is Guard::alive('dead'), 0, 'and those of the other';
};

subtest 'order, among callbacks of all kinds' => sub {
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 20);
    my @order;
    my $shared = sub { push @order, $_[2] };
    for my $n (1 .. 200) {
        my @form = ([undef, $shared, $n], [{}, $shared, $n, 'more'], [sub { push @order, $n }], [{ headers => [[a => 1]] }, $shared, $n]);
        $kafka->produce('t', 'k', $n, @{ $form[$n % 4] });
        $kafka->produce('t', 'k', 'without');
    }
    flushed($kafka);
    is_deeply \@order, [1 .. 200], 'is that of the messages';
};

# How a message can end without having been delivered. Each gets a client that takes nothing along by itself.
my %end = (
    'closed'              => sub { my ($kafka) = @_; $kafka->close; return },
    'closed with a parked message' => sub { my ($kafka, $produce) = @_; $produce->('parked'); $kafka->close; return },
    'aborted'             => sub { my ($kafka) = @_; $kafka->abort_transaction(sub { push @calls, 'aborted' }); wait_until { grep { !ref } @calls } 'the abort'; return },
);

for my $end (sort keys %end) {
    subtest $end => sub {
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 3_600_000, $end eq 'aborted' ? (transactional_id => 'args') : ());
        $kafka->begin_transaction if $end eq 'aborted';
        my $produce = sub {
            my ($topic) = @_;
            $kafka->produce($topic, 'k', 'v', undef, \&delivered, Guard->new($end));
            $kafka->produce($topic, 'k', 'v', {}, \&delivered, Guard->new($end), 'several');
        };
        $produce->('t');
        $end{$end}->($kafka, $produce);
        my @failed = grep { ref } @{ calls() };
        is scalar(@failed), 2 * ($end =~ /parked/ ? 2 : 1), 'every callback is called once';
        is scalar(grep { defined $_->[0] && ref $_->[1] eq 'Guard' } @failed), scalar(@failed), 'with an error, and its argument';
        undef @failed;
        is Guard::alive($end), 0, 'which is gone then';
    };
}

subtest 'a client that is dropped' => sub {
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 3_600_000);
    $kafka->produce('t', 'k', 'v', undef, \&delivered, Guard->new('dropped'), $_) for 1, 2;
    $kafka->produce('parked', 'k', 'v', undef, \&delivered, Guard->new('dropped'));
    undef $kafka;
    is scalar(@{ calls() }), 3, 'calls back';
    is Guard::alive('dropped'), 0, 'and nothing is left';
};

subtest 'a client that its own callback argument holds' => sub {
    my $kafka = client(brokers => $mock->bootstrap);
    $kafka->produce('t', 'k', 'v', undef, \&delivered, $kafka, Guard->new('cycle'));
    $kafka->connect;
    weaken($kafka);
    wait_until { @calls } 'delivery';
    is ref $calls[0][1], 'EV::Kafka::Client', 'lives until then';
    calls();
    is $kafka, undef, 'and goes with it';
    is Guard::alive('cycle'), 0, 'with everything';
};

subtest 'refused at once' => sub {
    my $kafka = connected(brokers => $mock->bootstrap, buffer_memory => 300, linger_ms => 3_600_000);
    $kafka->produce('t', 'k', 'v' x 200);
    $kafka->produce('t', 'k', 'v' x 200,  undef, \&delivered, Guard->new('full'), 'several');
    $kafka->produce('t', 'k', 'v' x 1000, undef, \&delivered, Guard->new('large'));
    is_deeply [map { [$_->[0] =~ /^(producer buffer full|message too large)/, scalar @$_] } @calls],
        [['producer buffer full', 3], ['message too large', 2]], 'with error and argument, before produce returns';
    calls();
    is Guard::alive($_), 0, "$_: nothing is left" for qw(full large);
};

subtest 'refused by the broker, and after tries' => sub {
    my $cluster = cluster();
    my $kafka   = connected(brokers => $cluster->bootstrap, linger_ms => 10);
    $cluster->fault(api => 'Produce', error => 29, times => 1);
    $kafka->produce('t', 'k', 'v', undef, \&delivered, Guard->new('refused'), $_) for 1, 2;
    flushed($kafka);
    is_deeply [map { [$_->[0] =~ /(TOPIC_AUTHORIZATION_FAILED)/, $_->[2]] } @calls], [['TOPIC_AUTHORIZATION_FAILED', 1], ['TOPIC_AUTHORIZATION_FAILED', 2]], 'for good';
    calls();
    $cluster->fault(api => 'Produce', error => 6, times => 1);
    $kafka->produce('t', 'k', 'v', undef, \&delivered, Guard->new('refused'), $_) for 1, 2;
    flushed($kafka);
    is_deeply [map { [@$_[0, 2]] } @calls], [[undef, 1], [undef, 2]], 'or tried again';
    calls();
    is Guard::alive('refused'), 0, 'nothing is left';
};

subtest 'a partitioner that has no partition for older messages' => sub {
    my $kafka = client(brokers => $mock->bootstrap, partitioner => sub { die "none\n" if $_[1] eq 'none'; 7 });
    $kafka->produce('t', $_, 'v', undef, \&delivered, $_, 'x') for qw(none bad);
    $kafka->produce('t', 'none', 'v', undef, \&delivered, Guard->new('partitioner'));
    $kafka->connect;
    wait_until { @calls == 3 } 'the callbacks';
    is_deeply [map { [@$_[1, 2]] } @calls[0, 1]], [['none', 'x'], ['bad', 'x']], 'come with the error';
    like $calls[1][0], qr/^produce: partitioner must return/, 'that it is';
    calls();
    is Guard::alive('partitioner'), 0, 'and are gone';
};

subtest 'a forked child' => sub {
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 3_600_000);
    $kafka->produce('t', 'k', 'v', undef, \&delivered, Guard->new('forked'), $_) for 1, 2;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $kafka->close;
        undef $kafka;
        require POSIX;
        POSIX::_exit(@calls ? 1 : Guard::alive('forked') ? 2 : 0);
    }
    waitpid $pid, 0;
    is $? >> 8, 0, 'calls nobody, and lets them go';
    flushed($kafka);
    is_deeply [map { [@$_[0, 2]] } @calls], [[undef, 1], [undef, 2]], 'which the parent does not notice';
    calls();
    is Guard::alive('forked'), 0, 'nothing is left';
};

subtest 'only behind options and callback' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my $early = client(brokers => $mock->bootstrap);
    for my $client ($kafka, $early) {
        for my $rest ([\&delivered, undef, 'x'], [\&delivered, {}, 'x'], [undef, undef, 'x'], [{}, 'x', 'y'], [undef, [], 'y'], [undef, undef, undef]) {
            eval { $client->produce('t', 'k', 'v', @$rest) };
            like $@, qr/^produce: callback must be a code reference at \Q$0\E line/, join ' ', map { $_ // 'undef' } @$rest;
        }
        eval { $client->produce('t', 'k', 'v', 'x', \&delivered, 'y') };
        like $@, qr/^produce: options must be a hash reference at \Q$0\E line/, 'and these are no options';
        is +($client->buffered)[0], 0, 'nothing is queued';
    }
};

subtest 'produce_many' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my @many  = map { ['t', 'k', $_] } 1 .. 3;
    my @got;
    my $cb = sub { push @got, [@_] };
    $kafka->produce_many(\@many, $cb, 'one');
    $kafka->produce_many(\@many, $cb, 'one', [2]);
    $kafka->produce_many([@many, { topic => 't', key => 'k', value => 'x' x 2_000_000 }], $cb, Guard->new('many'));
    $kafka->produce_many([], $cb, 'empty');
    wait_until { @got == 4 } 'the callbacks';
    is_deeply $got[0], [undef, 'empty'], 'at once for an empty list';
    is_deeply [@got[1, 2]], [[undef, 'one'], [undef, 'one', [2]]], 'they come behind the errors';
    like $got[3][0][0], qr/^MESSAGE_TOO_LARGE/, 'also where there are some';
    isa_ok $got[3][1], 'Guard';
    undef @got;
    is Guard::alive('many'), 0, 'and are let go of';
};

done_testing;
