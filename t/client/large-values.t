# Large values are not copied when they are produced: whatever the program does to its variables afterwards, what it
# has produced is sent, also a second time; and memory does not stay.
use strict;
use warnings;
use Test::More;

use lib 't/lib';
use B ();
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Memory;
use TestKafka;

# From here on values are borrowed.
my $BORROWED = 8192;

sub mock {
    my $mock = EV::Kafka::Mock->new(partitions => 1);
    $mock->create_topic(t => 1);
    return $mock;
}

# Lengths alone tell little in a failure, values too much.
sub short { return [map { defined $_ ? length($_) . ':' . unpack('%32C*', $_) . ':' . substr($_, 0, 8) : 'undef' } @_] }

sub delivered {
    my ($kafka, $produce) = @_;
    my ($waits, @errors) = 0;
    $produce->(sub { my ($value, @options) = @_;
        $waits++;
        # The argument itself, as the program has it.
        $kafka->produce('t', undef, $_[0], @options, sub { $waits--; push @errors, $_[1] if defined $_[1] });
    });
    $kafka->flush;
    wait_until { !$waits } 'delivery';
    return @errors;
}

sub value { my ($length, $seed) = @_; return substr(("$seed-" . join '', map { chr } 0 .. 255) x ($length / 200 + 1), 0, $length) }

my %CHANGE = (
    'nothing'              => sub { },
    'append'               => sub { $_[0] .= 'more' },
    'substr'               => sub { substr($_[0], 0, 4) = 'XXXX' },
    'substr of four'       => sub { substr($_[0], 10, 4, 'a longer text') },
    'vec'                  => sub { vec($_[0], 3, 8) = 1 },
    'tr'                   => sub { $_[0] =~ tr/0-9/a-j/ },
    's///g'                => sub { $_[0] =~ s/[0-9]/!/g },
    'chop'                 => sub { chop $_[0] },
    'undef'                => sub { undef $_[0] },
    'another value'        => sub { $_[0] = 'another' },
    'another large one'    => sub { $_[0] = value(length $_[0], 'other') },
    'read into'            => sub { open my $in, '<', \value(length $_[0], 'read') or die; read $in, $_[0], length $_[0] },
    'utf8::upgrade'        => sub { utf8::upgrade($_[0]) },
    'utf8::encode'         => sub { utf8::encode($_[0]) },
    'a number'             => sub { no warnings 'numeric'; $_[0] += 1 },
    'a reference'          => sub { $_[0] = \$_[0] },
);

for my $client (
    ['plain',      {}],
    ['idempotent', { idempotent => 1 }],
    ['lz4',        { compression => 'lz4' }],
    ['acks 0',     { acks => 0 }],
) {
    my ($name, $options) = @$client;
    subtest "variables that change afterwards, $name" => sub {
        my $mock  = mock();
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 1000, batch_size => 1 << 20, %$options);
        my @expected;
        my @errors = delivered($kafka, sub {
            my ($produce) = @_;
            for my $what (sort keys %CHANGE) {
                for my $length ($BORROWED - 1, $BORROWED, 100_000) {
                    my $value = value($length, $what);
                    push @expected, '' . value($length, $what);
                    $produce->($value);
                    $CHANGE{$what}->($value);
                }
            }
        });
        is_deeply \@errors, [], 'all are delivered';
        wait_until { @expected == @{ log_values($mock, 't') } } 'the log';
        is_deeply short(@{ log_values($mock, 't') }), short(@expected), 'what was produced is what was sent';
    };
}

subtest 'values of every kind and length' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 1000, batch_size => 300_000);
    my $same  = value(50_000, 'same');
    my %hash  = (value(9_000, 'key') => 1);
    my $ahead = 'cut off' . value(20_000, 'behind');
    substr($ahead, 0, 7, '');
    my $wide = value(20_000, 'wide') . "\x{263a}";
    my $grown = '';
    $grown .= value(1_000, $_) for 1 .. 40;
    my $number = 123_456;
    { package Tied; sub TIESCALAR { bless [] } sub FETCH { main::value(30_000, 'tied') } }
    tie my $tied, 'Tied';
    use constant LARGE => 'c' x 20_000;
    my @lengths = map { $_ - 1, $_, $_ + 1 } 4096, 8192, 16_384, 65_536, 131_072, 300_000, 1_000_000;
    my (@values, @expected);
    my @errors = delivered($kafka, sub {
        my ($produce) = @_;
        my $put = sub { push @expected, '' . $_[0]; $produce->($_[0]) };
        $put->(value($_, 'length')) for @lengths;
        $put->($same) for 1 .. 600;
        $put->($_) for keys %hash;
        $put->($_) for $ahead, $grown, $number, LARGE, "$same!", ($same) x 3, '', substr($same, 3, 9_000);
        $put->($tied);
        push @expected, do { my $bytes = $wide; utf8::encode($bytes); $bytes };
        $produce->($wide);
        $produce->(LARGE, { headers => { h => 'x' } });
        push @expected, LARGE;
    });
    is_deeply \@errors, [], 'all are delivered';
    is_deeply short(@{ log_values($mock, 't') }), short(@expected), 'as they were';
    is $same, value(50_000, 'same'), 'and the program has its own';
    untie $tied;
};

for my $fault ([drop => 1], [drop => 1, applied => 1], [error => 6], [error => 7]) {
    subtest "sent a second time after @$fault" => sub {
        my $mock  = mock();
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 1000, idempotent => 1);
        my @expected = map { value(50_000, $_) } 1 .. 5;
        $mock->fault(api => 'Produce', @$fault, times => 2);
        my $value;
        my @errors = delivered($kafka, sub {
            my ($produce) = @_;
            for (@expected) {
                $value = '';
                $value .= $_;
                $produce->($value);
                substr($value, 0, 1000) = 'y' x 1000;
            }
            undef $value;
        });
        is_deeply \@errors, [], 'all are delivered';
        is_deeply short(@{ log_values($mock, 't') }), short(@expected), 'once, and as they were';
    };
}

subtest 'a value is let go when it is settled' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 1000);
    # perl's own count of those that share a buffer lies in its last byte.
    my $shares = sub {
        my $sv = B::svref_2object(\$_[0]);
        return 0 unless $sv->FLAGS & B::SVf_IsCOW();
        my $length = $sv->LEN;
        return ord substr unpack("P$length", pack 'p', $_[0]), -1;
    };
    plan skip_all => 'this perl does not copy on write' if $] < 5.020 || !defined &B::SVf_IsCOW;
    my $value = 'v' x 100_000;
    my @held;
    delivered($kafka, sub { $_[0]->($value); push @held, $shares->($value) });
    is_deeply \@held, [1], 'it is borrowed';
    is $shares->($value), 0, 'and given back';
    $kafka->produce('t', undef, $value);
    is $shares->($value), 1, 'borrowed again';
    $kafka->close;
    undef $kafka;
    is $shares->($value), 0, 'by a client that was closed, and gave it back';
};

subtest 'memory stays flat' => sub {
    plan skip_all => unseen() if unseen();
    my $mock = mock();
    my $round = sub {
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 1000, batch_size => 1 << 20);
        delivered($kafka, sub { my ($produce) = @_; $produce->(value(100_000, $_)) for 1 .. 300 });
        $kafka->close;
    };
    $round->();
    my $before = resident();
    my $logged = 0;
    for (1 .. 4) { $round->(); $logged += 30 }
    cmp_ok +(resident() - $before) / (1 << 20) - $logged, '<', 60, 'beside the log of the mock cluster';
};

done_testing;
