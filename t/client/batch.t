use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Memory;
use TestKafka;
use Time::HiRes qw(sleep);

# on_batch: one call for each batch.

sub consumer {
    my ($mock, $on_batch, %options) = @_;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, on_batch => $on_batch, %options);
    $kafka->assign([{ topic => 't' }]);
    $kafka->{mock} = $mock;
    return $kafka;
}

# Of what a reference leads to, whatever becomes of it.
sub copy_of {
    my ($ref) = @_;
    return \(my $copy = ref $$ref ? copy_of($$ref) : $$ref) if ref $ref eq 'SCALAR' || ref $ref eq 'REF';
    return [map { ref eq 'ARRAY' ? copy_of($_) : $_ } @$ref];
}

sub cluster {
    my (@batches) = @_;
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, @$_) for @batches;
    return $mock;
}

sub polled {
    my ($kafka) = @_;
    my $polled;
    $kafka->poll(sub { $polled = 1 });
    return wait_until { $polled } 'poll';
}

subtest 'records arrive with all that belongs to them' => sub {
    my $mock = cluster(
        [{ key => 'k', value => 'v', timestamp => 1234, headers => [[h => 'x'], [n => undef]] },
            { key => undef, value => '', timestamp => 5678 }, { key => '', value => undef, timestamp => 1 }],
        [{ value => 'second', timestamp => 2 }],
    );
    my @calls;
    my $kafka = consumer($mock, sub { push @calls, [@_] });
    polled($kafka);
    is_deeply \@calls, [
        ['t', 0, [
            [0, 'k', 'v', { h => 'x', n => undef }, 1234],
            [1, undef, '', undef, 5678],
            [2, '', undef, undef, 1],
        ]],
        ['t', 0, [[3, undef, 'second', undef, 2]]],
    ], 'topic, partition, and [offset, key, value, headers, timestamp] of each, one call a batch';
    is $kafka->{cfg}{assignments}[0]{offset}, 4, 'the position has moved';
};

subtest 'what was kept stays as it was' => sub {
    my (@batches, @expected);
    for my $batch (0 .. 9) {
        push @batches, [map { { key => "k$batch-$_", value => "v$batch-$_", timestamp => $_ } } 0 .. 3];
        push @expected, map { [4 * $batch + $_, "k$batch-$_", "v$batch-$_", undef, $_] } 0 .. 3;
    }
    my %keep = (
        'nothing'  => sub { },
        'the list' => sub { $_[2] },
        'records'  => sub { @{ $_[2] }[1, 3] },
        'values'   => sub { map { \$_->[2] } @{ $_[2] } },
        'an alias' => sub { \$_[2][0] },
    );
    for my $name (sort keys %keep) {
        my (@kept, @copies, @seen);
        my $kafka = consumer(cluster(@batches), sub {
            push @seen, map { [@$_] } @{ $_[2] };
            push @kept, my @now = $keep{$name}->(@_);
            push @copies, map { copy_of($_) } @now;
        });
        polled($kafka);
        is_deeply \@seen, \@expected, "$name kept: everything was delivered";
        is_deeply \@kept, \@copies, "$name kept: and nothing of it has changed";
    }
};

subtest 'whatever a handler does to its records' => sub {
    my @batches = map { my $batch = $_; [map { { key => 'k', value => "v$batch-$_" } } 0 .. 3] } 0 .. 19;
    my @abuse = (
        sub { @{ $_[2] } = () },
        sub { shift @{ $_[2] }; shift @{ $_[2] } },
        sub { push @{ $_[2] }, 'x', ['y'], {} },
        sub { $_ = 'x' for @{ $_[2] } },
        sub { @$_ = () for @{ $_[2] } },
        sub { push @$_, 1 .. 10 for @{ $_[2] } },
        sub { shift @$_ for @{ $_[2] } },
        sub { delete $_->[2] for @{ $_[2] } },
        sub { $_->[1] = bless {}, 'Noisy' for @{ $_[2] } },
        sub { bless $_, 'Noisy' for @{ $_[2] } },
        sub { bless $_[2], 'Noisy' },
        sub { $_->[2] .= 'x' x 10_000 for @{ $_[2] } },
        sub { $_->[0] = 'text' for @{ $_[2] } },
        sub { Scalar::Util::weaken($_) for @{ $_[2] } },
        sub { utf8::upgrade($_->[2]), $_->[2] .= "\x{263a}" for @{ $_[2] } },
        sub { undef $_[2] },
        sub { Internals::SvREADONLY(@{ $_->[0] ? $_ : [] }, 1) for @{ $_[2] } },
        sub { tie $_->[2], 'Tied' for @{ $_[2] } },
        sub { $_ = \$_ for @{ $_[2] } },
        sub { },
    );
    my $call = 0;
    my @seen;
    my @warnings = warnings_of {
        my $kafka = consumer(cluster(@batches), sub {
            push @seen, map { $_->[2] } @{ $_[2] };
            $abuse[$call++]->(@_);
        });
        polled($kafka);
    };
    is_deeply \@seen, [map { my $batch = $_; map { "v$batch-$_" } 0 .. 3 } 0 .. 19], 'the next one sees only its own';
    is_deeply \@warnings, [], 'without a warning';
    cmp_ok $Noisy::destroyed, '>=', 9, 'and nothing is leaked';
};

subtest 'a die' => sub {
    my @got;
    my $kafka = consumer(cluster([{ value => 'a' }], [{ value => 'b' }]), sub {
        push @got, $_[2][0][2];
        die "no $_[2][0][2]\n";
    });
    my @warnings = warnings_of { polled($kafka) };
    is_deeply \@got, ['a', 'b'], 'does not keep the next batch away';
    is_deeply \@warnings, ["on_batch error: no a\n", "on_batch error: no b\n"], 'and is a warning';
};

subtest 'a large batch comes in parts' => sub {
    my (@sizes, @offsets);
    my $kafka = consumer(cluster([map { { value => $_ } } 1 .. 2500]), sub {
        push @sizes, scalar @{ $_[2] };
        push @offsets, map { $_->[0] } @{ $_[2] };
    });
    polled($kafka);
    is_deeply \@sizes, [1000, 1000, 500], 'of a thousand';
    is_deeply \@offsets, [0 .. 2499], 'in order';
};

subtest 'pause, and the event loop between slow handlers' => sub {
    my (@got, $kafka, $ticks);
    my $timer = EV::timer 0, 0.001, sub { $ticks->{@got}++ };
    $kafka = consumer(cluster(map { [{ value => $_ }, { value => "$_+" }] } 0 .. 9), sub {
        push @got, $_[2][0][2];
        $kafka->pause([{ topic => 't', partition => 0 }]) if $_[2][0][2] == 4;
        sleep 0.007;
    });
    $kafka->consume;
    wait_until { @got == 5 } 'half of it';
    turns 50;
    is scalar(@got), 5, 'a pause counts from the next batch on';
    is $kafka->position('t', 0), 10, 'the position is behind the batch';
    $kafka->resume([{ topic => 't', partition => 0 }]);
    wait_until { @got == 10 } 'the rest';
    is_deeply \@got, [0 .. 9], 'everything once';
    cmp_ok scalar(grep { $_ > 0 && $_ < 10 } keys %$ticks), '>=', 5, 'timers fire between batches';
};

subtest 'memory' => sub {
    plan skip_all => unseen() if unseen();
    my ($got, @kept) = (0);
    my $record = { key => 'k' x 20, value => 'v' x 2000, headers => [[h => 'x']] };
    my $kafka = consumer(cluster(map { [($record) x 100] } 1 .. 10), sub {
        $got += @{ $_[2] };
        @kept = $_[2][$got % 100];
    });
    my $rounds = sub {
        for (1 .. $_[0]) {
            $kafka->seek(t => 0, 0);
            polled($kafka) while ($kafka->position(t => 0) // 0) < 1000;
        }
    };
    $rounds->(20);
    # Once in a while the allocator takes a few MB for itself; what leaks does so each time.
    my $grown;
    for (1 .. 3) {
        my $before = resident();
        $rounds->(100);
        $grown = resident() - $before;
        last if $grown < 2_000_000;
    }
    cmp_ok $grown, '<', 2_000_000, 'is flat' or diag "grew by $grown bytes";
};

subtest 'on_message beside it' => sub {
    eval { EV::Kafka->new(on_message => sub { }, on_batch => sub { }) };
    like $@, qr/^EV::Kafka: option 'on_batch' takes the place of on_message: only one of them can be given at/, 'croaks';
};

{ package Noisy; our $destroyed = 0; sub DESTROY { $destroyed++ } }
{ package Tied; sub TIESCALAR { bless [], shift } sub FETCH { 'tied' } sub STORE { } }

done_testing;
