use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# Messages and names that no broker could take fail at once, and by themselves.

sub mock {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    return $mock;
}

sub values_of {
    my ($mock) = @_;
    return [map { $_->{value} } $mock->records(t => 0)];
}

my $TOO_LARGE = qr/\Amessage too large: 1[0-9]{3} bytes, max_request_size is 1000\z/;

my @CASES = (
    ['a value',         undef, 'x' x 1000],
    ['a key',           'x' x 1000, 'v'],
    ['headers',         undef, 'v', { headers => { h => 'x' x 1000 } }],
    ['with options',    undef, 'x' x 1000, { partition => 0 }],
);

for my $case (@CASES) {
    my ($name, $key, $value, @options) = @$case;
    for my $when ('before connect', 'connected') {
        subtest "$name that is too large, $when" => sub {
            my $mock  = mock();
            my $kafka = client(brokers => $mock->bootstrap, max_request_size => 1000);
            if ($when eq 'connected') {
                my $up;
                $kafka->connect(sub { $up = 1 });
                wait_until { $up } 'the connection';
            }
            my (%end, $ended_within);
            $kafka->produce('t', undef, 'before', sub { $end{before} = $_[1] // 'delivered' });
            $kafka->produce('t', $key, $value, @options, sub { $end{large} = $_[1] });
            $ended_within = exists $end{large};
            $kafka->produce('t', undef, 'behind', sub { $end{behind} = $_[1] // 'delivered' });
            ok $ended_within, 'fails at once';
            like $end{large}, $TOO_LARGE, 'and is told why';
            $kafka->connect if $when ne 'connected';
            wait_until { 3 == keys %end } 'its neighbours';
            is_deeply [@end{qw(before behind)}], [('delivered') x 2], 'which are delivered';
            is_deeply values_of($mock), [qw(before behind)], 'in order';
            is_deeply [errors($kafka)], [], 'on_error hears nothing';
            is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
        };
    }
}

subtest 'on_error hears of one without a callback' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, max_request_size => 1000);
    $kafka->produce('t', undef, 'x' x 1000);
    is scalar(errors($kafka)), 1, 'once';
    like((errors($kafka))[0], $TOO_LARGE, 'with the reason');
};

subtest 'one of produce_many' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, max_request_size => 1000);
    my $end;
    $kafka->produce_many([map { ['t', undef, $_] } 'a', 'x' x 1000, 'b'], sub { $end = [@_] });
    wait_until { $end } 'the end';
    is scalar(@{ $end->[0] }), 1, 'one error';
    like $end->[0][0], $TOO_LARGE, 'its own';
    is_deeply values_of($mock), [qw(a b)], 'the others are delivered';
};

subtest 'after a refused message the linger time begins with the next one' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, max_request_size => 1000, linger_ms => 1);
    $kafka->produce('t', undef, 'x' x 1000, sub { });
    my $end;
    $kafka->produce('t', undef, 'next', sub { $end = [$_[1]] });
    wait_until { $end } 'the next one, without flush';
    is_deeply $end, [undef], 'is delivered';
};

subtest 'what is just small enough is taken, and batches have no more' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, max_request_size => 1000, linger_ms => 10);
    my ($ended, @errors) = (0);
    $kafka->produce('t', undef, 'x' x 900, sub { $ended++; push @errors, $_[1] // () }) for 1 .. 5;
    wait_until { $ended == 5 } 'the ends';
    is_deeply \@errors, [], 'all are delivered';
    is $mock->request_count('Produce'), 5, 'each in a request of its own';
};

subtest 'the default is less than what a broker reads at all' => sub {
    my $kafka = client(brokers => '127.0.0.1:1');
    cmp_ok $kafka->{cfg}{max_request_size}, '<', 100 << 20, '100 MiB';
    cmp_ok $kafka->{cfg}{max_request_size}, '>', 98 << 20, 'by little';
};

for my $bytes (250, 40_000) {
    subtest "a topic name of $bytes bytes" => sub {
        my $mock  = mock();
        my $kafka = client(brokers => $mock->bootstrap);
        my $name  = 'n' x $bytes;
        my (%end, $looked_up);
        # All of them would be asked for together.
        $kafka->produce('t', undef, 'v', sub { $end{t} = $_[1] // 'delivered' });
        $kafka->produce($name, undef, 'v', sub { $end{long} = $_[1] });
        $kafka->produce('new', undef, 'v', sub { $end{new} = $_[1] // 'delivered' });
        $kafka->offsets_for($name, sub { $looked_up = [@_] });
        like $end{long}, qr/\Ainvalid topic name: $bytes bytes, 249 are allowed: 'n+\.\.\.'\z/, 'fails at once';
        $kafka->connect;
        wait_until { 3 == keys %end } 'the other topics';
        is_deeply [@end{qw(t new)}], [('delivered') x 2], 'have their messages';
        wait_until { $looked_up } 'the lookup';
        like $looked_up->[1], qr/\Ainvalid topic name/, 'fails as well';
        is_deeply [errors($kafka)], [], 'on_error hears nothing';
    };
}

subtest 'a name of 249 bytes' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    my $end;
    $kafka->produce('n' x 249, undef, 'v', sub { $end = [$_[1]] });
    wait_until { $end } 'the end';
    is_deeply $end, [undef], 'is a name like others';
};

subtest 'a name that the broker finds invalid is asked for once' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    my $asked = $mock->request_count('Metadata');
    my $end;
    $kafka->produce('a b', undef, 'v', sub { $end = $_[1] });
    wait_until { $end } 'the end';
    like $end, qr/\Atopic 'a b' .* unavailable after 1 metadata request: INVALID_TOPIC_EXCEPTION \(code 17\)\z/,
        'with the reason';
    is $mock->request_count('Metadata') - $asked, 1, 'one request';
};

done_testing;
