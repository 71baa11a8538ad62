use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(refaddr);
use Test::More;

use TestKafka qw(wait_until turns warnings_of);

# One record a request, as most programs call produce: what is kept from one call
# to the next must not show.

{ package TiedScalar; sub TIESCALAR { bless [$_[1]] } sub FETCH { $_[0][0] } }
{ package Overloaded; use overload '""' => sub { $_[0][0] }, '0+' => sub { $_[0][0] } }

my $mock = EV::Kafka::Mock->new;
$mock->create_topic(orders => 3);
my $conn = connection($mock);

sub connection {
    my ($mock) = @_;
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->on_error(sub { diag "connection: @_" });
    $conn->connect('127.0.0.1', ($mock->brokers)[0]{port}, 10);
    wait_until { $conn->connected } 'connecting';
    return $conn;
}

# The result of a produce with these arguments before the callback.
sub produced {
    my (@args) = @_;
    my @got;
    $conn->produce(@args, sub { @got = @_ });
    wait_until { @got } 'the answer';
    is $got[1], undef, 'no error';
    return $got[0];
}

sub result {
    my ($topic, $partition, $offset, $code) = @_;
    my %partition = (partition => $partition, error_code => $code // 0, base_offset => $offset);
    return { topics => [{ topic => $topic, partitions => [\%partition] }], throttle_time_ms => 0 };
}

# What the last record of the partition holds.
sub last_record {
    my ($partition) = @_;
    my $record = ($mock->records('orders', $partition))[-1];
    return [@$record{qw(key value)}, @{ $record->{headers} }];
}

subtest 'records are the same whichever way the arguments come' => sub {
    tie my $tied, 'TiedScalar', 'value';
    my $object = bless ['value'], 'Overloaded';
    my @cases  = (
        ['plain'                 => 'key', 'value'],
        ['an option'             => 'key', 'value', { acks => -1 }],
        ['no options'            => 'key', 'value', undef],
        ['empty options'         => 'key', 'value', {}],
        ['a tied value'          => 'key', $tied],
        ['an overloaded value'   => 'key', $object],
        ['a variable with magic' => 'key', do { 'value' =~ /(.*)/; $1 }],
    );
    my $offset = 0;
    for my $case (@cases) {
        my ($name, @args) = @$case;
        is_deeply produced('orders', 0, @args), result('orders', 0, $offset++), "$name: the result";
        is_deeply last_record(0), ['key', 'value'], "$name: the record";
    }
    produced('orders', '0', 'key', 7);
    is_deeply last_record(0), ['key', 7], 'numbers and strings of digits';
    produced('orders', 0, "\x{263a}", "\x{263a}");
    is_deeply last_record(0), [("\xe2\x98\xba") x 2], 'wide characters as bytes';
    for my $pair ([undef, 'v'], ['k', undef], [undef, undef], ['', ''], ['k' x 200, 'v' x 20_000], ['', 'v' x 2048]) {
        produced('orders', 0, @$pair);
        is_deeply last_record(0), $pair, 'key and value of ' . join ' and ', map { defined ? length : 'null' } @$pair;
    }
};

subtest 'topics and partitions take turns' => sub {
    $mock->create_topic(other => 1);
    for my $to (['orders', 1], ['other', 0], ['orders', 2], ['orders', 1], ['other', 0], ['orders', 0]) {
        my ($topic, $partition) = @$to;
        my $before = $mock->high_watermark($topic, $partition);
        is_deeply produced($topic, $partition, 'k', "to $topic $partition"), result($topic, $partition, $before),
            "$topic, partition $partition";
        is +($mock->records($topic, $partition))[-1]{value}, "to $topic $partition", '... has the record';
    }
};

subtest 'what the broker refuses' => sub {
    $mock->fault(api => 'Produce', error => 19, times => 1);
    is_deeply produced('orders', 1, 'k', 'v'), result('orders', 1, -1, 19), 'an error code';
    my $next = $mock->high_watermark('orders', 1);
    is_deeply produced('orders', 1, 'k', 'v'), result('orders', 1, $next), 'and then none';
};

subtest 'results belong to the callback' => sub {
    my $first = $mock->high_watermark('orders', 1);
    my (@kept, %seen);
    for my $n (0 .. 3) {
        my $done;
        $conn->produce('orders', 1, 'k', 'v', sub { $seen{ refaddr $_[0] }++; $done = 1 });
        wait_until { $done } 'the answer';
    }
    is keys %seen, 1, 'one that nobody keeps is used again';
    $first += 4;
    push @kept, produced('orders', 1, 'k', 'v') for 0 .. 3;
    is_deeply \@kept, [map { result('orders', 1, $first + $_) } 0 .. 3], 'those that are kept stay as they are';
    $first += 4;
    my $result = produced('orders', 1, 'k', 'v');
    delete $result->{topics};
    $result->{mine} = 1;
    undef $result;
    is_deeply produced('orders', 1, 'k', 'v'), result('orders', 1, $first + 1), 'what one does to a result stays there';
};

subtest 'callbacks that do something' => sub {
    my $before = $mock->high_watermark('orders', 2);
    my @offsets;
    my $offset = sub { $_[0]{topics}[0]{partitions}[0]{base_offset} };
    $conn->produce('orders', 2, 'k', 'outer', sub {
        my ($outer) = @_;
        my $done;
        $conn->produce('orders', 2, 'k', 'inner', sub { push @offsets, $offset->(@_); $done = 1 });
        wait_until { $done } 'the answer to what a callback sent';
        push @offsets, $offset->($outer);
    });
    wait_until { @offsets == 2 } 'both answers';
    is_deeply \@offsets, [$before + 1, $before], 'one that waits for another keeps its own result';

    my @warnings = warnings_of {
        my $done;
        $conn->produce('orders', 2, 'k', 'v', sub { $done = 1; die "oops\n" });
        wait_until { $done } 'a callback that dies';
    };
    is_deeply \@warnings, ["EV::Kafka::Conn: callback error: oops\n"], 'a die is a warning';
    is_deeply produced('orders', 2, 'k', 'v'), result('orders', 2, $before + 3), 'and the next is as ever';

    my @order;
    $conn->produce('orders', 2, 'k', $_, do { my $n = $_; sub { push @order, $n } }) for 1 .. 50;
    is $conn->pending, 50, 'many at once are pending';
    wait_until { @order == 50 } 'all answers';
    is_deeply \@order, [1 .. 50], 'and answered in order';
    $conn->produce('orders', 2, 'k', 'nobody is told');
    wait_until { !$conn->pending } 'the answer that nobody waits for';
    is_deeply last_record(2), ['k', 'nobody is told'], 'without a callback';
};

subtest 'a connection that goes' => sub {
    my $own = connection($mock);
    my @got;
    $own->produce('orders', 2, 'k', 'v', sub { push @got, $_[1] });
    $own->disconnect;
    is_deeply \@got, ['disconnected'], 'what waits fails';
    is eval { $own->produce('orders', 2, 'k', 'v', sub { push @got, 'called' }); 1 }, undef, 'nothing is sent any more';
    like $@, qr/^not connected/, '... and the call says so';
    turns 3;
    is @got, 1, '... without calling back';

    my $died = eval { EV::Kafka::Conn->produce('orders', 2, 'k', 'v'); 1 };
    is $died, undef, 'a class is no connection';

    my $callback = sub { push @got, $_[1] };
    $own = connection($mock);
    $own->produce('orders', 2, 'k', 'v', sub { undef $own; push @got, 'gone' });
    wait_until { @got == 2 } 'the answer';
    is $own, undef, 'the callback may drop the connection';
};

done_testing;
