# What produce is told of one message beside key and value: the same from the native code, which takes nearly all
# of it, and from Perl code, which takes the rest.
use strict;
use warnings;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use TestKafka;

{
    package Text;
    use overload '""' => sub { $_[0]{count}++; $_[0]{text} }, fallback => 1;
    sub new { my ($class, $text) = @_; return bless { text => $text, count => 0 }, $class }
    package Fetched;
    sub TIESCALAR { my ($class, $value) = @_; return bless { value => $value, count => 0 }, $class }
    sub FETCH { my ($self) = @_; $self->{count}++; return $self->{value} }
    package TiedHash;
    require Tie::Hash;
    our @ISA = ('Tie::StdHash');
}

sub flagged { my ($string) = @_; utf8::upgrade($string); return $string }

# How often Perl code has been asked.
my $slow = 0;
{
    no warnings 'redefine';
    for my $name (qw(_produce_slow _produce_placed)) {
        my $method = EV::Kafka::Client->can($name);
        no strict 'refs';
        *{"EV::Kafka::Client::$name"} = sub { $slow++; goto &$method };
    }
}

my $PARTITIONS = 4;

sub cluster {
    my $mock = EV::Kafka::Mock->new(partitions => 1);
    $mock->create_topic(t => $PARTITIONS);
    return $mock;
}

sub flushed {
    my ($kafka) = @_;
    my $is_over;
    $kafka->flush(sub { $is_over = 1 });
    return wait_until { $is_over } 'flush';
}

# Produces with the options, and gives the record, where it lies, and whether Perl code was asked.
sub produced {
    my ($kafka, $mock, @rest) = @_;
    my %before = map { $_ => scalar(() = $mock->records(t => $_)) } 0 .. $PARTITIONS - 1;
    $slow = 0;
    $kafka->produce('t', 'key', 'value', @rest);
    my $was_slow = $slow;
    flushed($kafka);
    for my $partition (0 .. $PARTITIONS - 1) {
        my @records = $mock->records(t => $partition);
        return { %{ $records[-1] }, partition => $partition, was_slow => $was_slow } if @records > $before{$partition};
    }
    return;
}

my $mock  = cluster();
my $kafka = connected(brokers => $mock->bootstrap);
my $usual = EV::Kafka::_murmur2('key') % $PARTITIONS;

subtest 'partition' => sub {
    my $number = 2;
    my $read_as_text = 3;
    { no warnings; my $text = "$read_as_text" }
    for my $given (1, '2', '03', 3.0, $number, $read_as_text, 0, '0', !!1) {
        my $record = produced($kafka, $mock, { partition => $given });
        is $record->{partition}, 0 + $given, "partition $given";
        is $record->{was_slow}, 0, 'natively';
    }
    is produced($kafka, $mock, { partition => undef })->{partition}, $usual, 'undef is none';
    is produced($kafka, $mock, {})->{partition}, $usual, 'and so is nothing';
    is $slow, 0, 'natively';
    for my $bad (-1, 1.5, '1.0', 'x', '', ' 1', "1\n", '1e0', 1e30, [], \1, -0.5) {
        eval { $kafka->produce('t', 'key', 'value', { partition => $bad }) };
        like $@, qr/^produce: option 'partition' must be a non-negative integer, not '\Q$bad\E' at \Q$0\E line/, "not '$bad'";
    }
    eval { $kafka->produce('t', 'key', 'value', { partition => 1 << 30 }) };
    like $@, qr/^produce: partition 1073741824 is out of range/, 'none that no topic has';
    flushed($kafka);
};

subtest 'timestamp' => sub {
    my $now = 1_700_000_000_123;
    for my $given ($now, "$now", 0 + "$now", $now + 0.0, int($now / 1000 * 1000), 0, '0', 1, 999_999_999_999_999) {
        my $record = produced($kafka, $mock, { timestamp => $given });
        is $record->{timestamp}, 0 + $given, "timestamp $given";
        is $record->{was_slow}, 0, 'natively';
    }
    my $before = int(EV::time() * 1000) - 1000;
    cmp_ok produced($kafka, $mock, { timestamp => undef })->{timestamp}, '>=', $before, 'undef is the time of the call';
    for my $bad (-1, 1.5, '1.0', 'x', '', 1e15, []) {
        eval { $kafka->produce('t', 'key', 'value', { timestamp => $bad }) };
        like $@, qr/^produce: option 'timestamp' must be a non-negative integer, not '\Q$bad\E' at \Q$0\E line/, "not '$bad'";
    }
};

subtest 'headers' => sub {
    my @many = map { ["name $_", "value $_"] } 1 .. 100;
    my %hash = map { @$_ } @many;
    my $shared = [name => 'value'];
    my %case = (
        'none in an array'     => [[], []],
        'one'                  => [[[a => 'b']], [[a => 'b']]],
        'order and repeats'    => [[[b => 1], [a => ''], [b => undef]], [[b => 1], [a => ''], [b => undef]]],
        'a hundred'            => [\@many, \@many],
        'a pair twice'         => [[$shared, $shared], [$shared, $shared]],
        'numbers'              => [[[1, 2.5], [-1, 1e30]], [['1', '2.5'], ['-1', '1e+30']]],
        'an empty name'        => [[['', 'x']], [['', 'x']]],
        'a value left out of its array' => [[do { my @pair = ('a'); $pair[2] = 'gone'; pop @pair; \@pair }], [['a', undef]]],
        'characters as stored' => [[["\x{263a}", "\xe9"], [flagged("\xe9"), "\0"]], [["\xe2\x98\xba", "\xe9"], ["\xc3\xa9", "\0"]]],
        'a hash'               => [{ a => 'b' }, [[a => 'b']]],
        'an empty hash'        => [{}, []],
        'a hash with undef'    => [{ a => undef }, [[a => undef]]],
        'a wide name'          => [{ "\x{263a}" => 'x' }, [["\xe2\x98\xba", 'x']]],
        'undef'                => [undef, []],
    );
    for my $case (sort keys %case) {
        my ($given, $wanted) = @{ $case{$case} };
        my $record = produced($kafka, $mock, { headers => $given });
        is_deeply $record->{headers}, $wanted, $case;
        is $record->{was_slow}, 0, "$case: natively";
    }
    my $record = produced($kafka, $mock, { headers => \%hash });
    is_deeply [sort { $a->[0] cmp $b->[0] } @{ $record->{headers} }], [sort { $a->[0] cmp $b->[0] } @many], 'a large hash';
    is $record->{was_slow}, 0, 'natively';
    my %deleted = (a => 1, b => 2);
    delete $deleted{a};
    is_deeply produced($kafka, $mock, { headers => \%deleted })->{headers}, [[b => 2]], 'what was deleted is not there';
    require Hash::Util;
    &Hash::Util::lock_ref_keys(\%deleted, 'b', 'c');
    is_deeply produced($kafka, $mock, { headers => \%deleted })->{headers}, [[b => 2]], 'nor what may be';

    my $kind = qr/^produce: option 'headers' must be a hash or an array of \[name, value\] pairs at \Q$0\E line/;
    for my $bad ('x', 1, [1], [[1]], [[1, 2, 3]], [[undef, 1]], [{}], [undef], \'x', sub { }, bless({}, 'Some::Class'), bless([], 'Some::Class'), [bless [1, 2], 'Some::Class']) {
        eval { $kafka->produce('t', 'key', 'value', { headers => $bad }) };
        like $@, $kind, "not $bad";
    }
    for my $bad ([[a => []]], { a => {} }) {
        eval { $kafka->produce('t', 'key', 'value', { headers => $bad }) };
        like $@, qr/^produce: header's value must be a string, not a reference \((?:ARRAY|HASH)\) at \Q$0\E line/, 'a reference is no value';
    }
    eval { $kafka->produce('t', 'key', 'value', { headers => [[[], 'x']] }) };
    like $@, qr/^produce: header's name must be a string, not a reference \(ARRAY\) at \Q$0\E line/, 'nor a name';
};

subtest 'what has to be read' => sub {
    my $text = Text->new('made');
    is_deeply produced($kafka, $mock, { headers => [[a => $text], [$text, 'b']] })->{headers}, [[a => 'made'], [made => 'b']], 'objects that are strings';
    my $tied = tie my $scalar, 'Fetched', 3;
    my $record = produced($kafka, $mock, { partition => $scalar, timestamp => $scalar, headers => { a => $scalar } });
    is_deeply [@$record{qw(partition timestamp headers)}], [3, 3, [[a => '3']]], 'tied values';
    my %tied;
    tie %tied, 'TiedHash';
    %tied = (partition => 1, headers => [[x => 'y']]);
    $record = produced($kafka, $mock, \%tied);
    is_deeply [@$record{qw(partition headers)}], [1, [[x => 'y']]], 'tied options';
    tie my %headers, 'TiedHash';
    $headers{h} = 1;
    is_deeply produced($kafka, $mock, { headers => \%headers })->{headers}, [[h => '1']], 'tied headers';
    tie my $options, 'Fetched', { partition => 2 };
    is produced($kafka, $mock, $options)->{partition}, 2, 'options in a tied variable';
    '3' =~ /(\d)/;
    is produced($kafka, $mock, { partition => $1 })->{partition}, 3, 'a match';
    my $key = Text->new('text');
    my $before = () = $mock->records(t => 1);
    $kafka->produce('t', $key, 'value', { partition => 1 });
    flushed($kafka);
    is +($mock->records(t => 1))[$before]{key}, 'text', 'a key that is an object';
};

subtest 'options that are none' => sub {
    for my $bad ({ partitions => 1 }, { partition => 1, more => 1 }, { Headers => {} }, { "partition\x{263a}" => 1 }) {
        my ($name) = grep { !/^partition\z/ } sort keys %$bad;
        eval { $kafka->produce('t', 'key', 'value', $bad) };
        like $@, qr/^produce: unknown option '$name' at \Q$0\E line/, "not $name" unless $name =~ /[^ -~]/;
        ok $@, 'it croaks';
    }
    eval { $kafka->produce('t', 'key', 'value', bless { partition => 1 }, 'Some::Class') };
    like $@, qr/^produce: callback must be a code reference at \Q$0\E line/, 'nor objects';
    eval { $kafka->produce('', 'key', 'value', { partition => 1 }) };
    like $@, qr/^produce: topic required at \Q$0\E line/, 'an empty topic';
    is +($kafka->buffered)[0], 0, 'nothing is queued';
};

subtest 'in either order, and with a callback' => sub {
    my @done;
    my $cb = sub { push @done, $_[0]{topics}[0]{partitions}[0]{partition} };
    $slow = 0;
    $kafka->produce('t', 'key', 'value', @$_) for [$cb, { partition => 1 }], [{ partition => 2 }, $cb], [undef, $cb], [$cb, undef], [{ partition => 3 }, undef], [undef, { partition => 3 }], [undef, undef];
    is $slow, 0, 'natively';
    flushed($kafka);
    is_deeply [sort @done], [sort 1, 2, $usual, $usual], 'all are called';
    my $is_done;
    $kafka->produce('t', 'key', 'value', { acks => 0, headers => [[a => 1]] }, sub { $is_done = 1 });
    is $slow, 1, 'acknowledgements of its own are not native';
    wait_until { $is_done } 'the callback';
};

subtest 'options are read at the call' => sub {
    my @pairs   = ([a => 'one']);
    my %options = (partition => 1, timestamp => 17, headers => \@pairs);
    my $cluster = cluster();
    my $other   = connected(brokers => $cluster->bootstrap, linger_ms => 20);
    $other->produce('t', 'key', 'value', \%options);
    $pairs[0][1] = 'two';
    push @pairs, [b => 'three'];
    @options{qw(partition timestamp)} = (2, 18);
    flushed($other);
    my ($record) = $cluster->records(t => 1);
    is_deeply [@$record{qw(timestamp headers)}], [17, [[a => 'one']]], 'what is changed later is as it was';
};

subtest 'option strings' => sub {
    my $latin = "\xe9";
    for my $strings ('bytes', 'utf8') {
        my $other = connected(brokers => $mock->bootstrap, strings => $strings);
        my $sent  = $strings eq 'bytes' ? "\xe9" : "\xc3\xa9";
        for my $given ($latin, flagged($latin)) {
            is_deeply produced($other, $mock, { headers => [[$given, $given], [a => 'b']] })->{headers}, [[$sent, $sent], [a => 'b']], "$strings: pairs";
            is_deeply produced($other, $mock, { headers => { $given => $given } })->{headers}, [[$sent, $sent]], "$strings: a hash";
        }
        is_deeply produced($other, $mock, { headers => { plain => 'text' } })->{headers}, [[plain => 'text']], "$strings: nothing to encode";
        is $slow, 0, 'natively';
        next if $strings eq 'utf8';
        for my $wide ([["\x{263a}", 'x']], [[x => "\x{263a}"]]) {
            eval { $other->produce('t', 'key', 'value', { headers => $wide }) };
            like $@, qr/^produce: header's (?:name|value) has wide characters: encode it first, or strings => 'utf8' at \Q$0\E line/, 'wide characters';
        }
        my $asked = 0;
        $other->{cfg}{partitioner} = sub { $asked++; 0 };
        for my $wide (["\x{263a}", 'x', {}], ['x', "\x{263a}", undef], ['x', 'x', { headers => [[x => "\x{263a}"]] }]) {
            eval { $other->produce('t', @$wide) };
            like $@, qr/^produce: .* has wide characters: encode it first/, 'wide characters anywhere';
        }
        is $asked, 0, 'before a partitioner is asked';
        is produced($other, $mock, { headers => [[a => flagged($latin)]] })->{partition}, 0, 'who is, where there are none';
        is $asked, 1, 'once';
    }
};

subtest 'a partition that the topic does not have yet' => sub {
    my $other = connected(brokers => $mock->bootstrap);
    produced($other, $mock);
    my @done;
    $slow = 0;
    $other->produce('t', 'key', 'value', { partition => $PARTITIONS }, sub { push @done, [@_] });
    is $slow, 1, 'Perl code sees to it';
    is +($other->buffered)[0], 1, 'it is waited for';
    $other->close;
    is_deeply \@done, [[undef, 'client closed']], 'until the client is closed';
};

subtest 'a partitioner' => sub {
    my (@asked, $answer);
    my $other = connected(brokers => $mock->bootstrap, partitioner => sub { push @asked, [@_]; ref $answer eq 'CODE' ? $answer->(@_) : $answer });
    $answer = 2;
    my $record = produced($other, $mock);
    is_deeply [@$record{qw(partition was_slow)}], [2, 0], 'is asked natively';
    is_deeply \@asked, [['t', 'key', $PARTITIONS]], 'once, about topic, key and number of partitions';
    $record = produced($other, $mock, { headers => [[a => 1]], timestamp => 5 });
    is_deeply [@$record{qw(partition headers timestamp was_slow)}], [2, [[a => 1]], 5, 0], 'with options';
    @asked = ();
    is produced($other, $mock, { partition => 1 })->{partition}, 1, 'not where a partition is given';
    is_deeply \@asked, [], 'really not';
    $answer = '3';
    is produced($other, $mock)->{partition}, 3, 'its answer may be text';
    $answer = 1.0;
    is produced($other, $mock)->{partition}, 1, 'or a float';
    my $tied = tie my $fetched, 'Fetched', 2;
    $answer = sub { $fetched };
    is produced($other, $mock)->{partition}, 2, 'or what it has read';
    $answer = sub { return (7, 3) };
    is produced($other, $mock)->{partition}, 3, 'its context is scalar';

    my @done;
    for my $bad ($PARTITIONS, -1, 'x', undef, 1.5, [], '1e0') {
        @asked  = ();
        $answer = $bad;
        eval { $other->produce('t', 'key', 'value', { headers => {} }, sub { push @done, 1 }, 'argument') };
        like $@, qr/^produce: partitioner must return a partition from 0 to 3 for topic 't' at \Q$0\E line/, 'not ' . ($bad // 'undef');
        is scalar(@asked), 1, 'it is asked once';
    }
    $answer = sub { die { code => 17 } };
    eval { $other->produce('t', 'key', 'value') };
    is_deeply $@, { code => 17 }, 'what it dies of is what produce dies of';
    $@ = 'kept';
    $answer = sub { eval { die "inside\n" }; 1 };
    $other->produce('t', 'key', 'value');
    is $@, 'kept', 'and else nobody sees its evals';
    is_deeply \@done, [], 'nothing was produced';

    # What it does to what it was called about.
    my ($topic, $key, $value, %options) = ('t', 'key', 'value', partition => undef, headers => [[a => 'b']]);
    my ($callback, $argument) = (sub { push @done, $_[2] }, 'argument');
    my @before = map { scalar(() = $mock->records(t => $_)) } 0 .. 3;
    $answer = sub {
        $_ = 'changed' for @_;
        $_ .= 'x' x 10_000 for $topic, $key, $value, $argument;
        undef $callback;
        my @fill = map { 'y' x 100 } 1 .. 1000;
        return 1;
    };
    $other->produce($topic, $key, $value, \%options, $callback, $argument);
    flushed($other);
    $record = ($mock->records(t => 1))[-1];
    is_deeply [@$record{qw(key value headers)}], ['key', 'value', [[a => 'b']]], 'it may change the variables';
    is_deeply \@done, ['argument'], 'the callback and its argument are those of the call';
    $answer = sub { %options = (); 1 };
    $other->produce('t', 'key', 'value', \%options, sub { });
    $answer = sub { my @many = map { sub { 1 }->() } 1 .. 100; sub { &{ sub { @_ } }(1 .. 200_000) }->(); 1 };
    is produced($other, $mock)->{partition}, 1, "perl's stack may move";
    $answer = sub { my @inner = $_[1] eq 'inner' ? () : $other->produce('t', 'inner', 'within'); 2 };
    $slow = 0;
    $other->produce('t', 'outer', 'value');
    is $slow, 0, 'it may produce';
    flushed($other);
    is_deeply [map { $_->{key} } ($mock->records(t => 2))[-2, -1]], ['inner', 'outer'], 'which comes before';

    $other->{cfg}{partitioner} = sub { 3 };
    is produced($other, $mock)->{partition}, 3, 'it may be another one';
    delete $other->{cfg}{partitioner};
    $other->{cfg}{partitioner} = sub { 2 };
    is produced($other, $mock)->{partition}, 2, 'in another place';
};

subtest 'a partitioner that ends the client' => sub {
    for my $how ('close', 'undef') {
        my ($other, @done);
        $other = connected(brokers => $mock->bootstrap, partitioner => sub { $how eq 'close' ? $other->close : undef $other; 1 });
        $other->produce('t', 'key', 'value', undef, sub { push @done, [@_] }, 'argument');
        turns;
        is scalar(@done), 1, "$how: one callback" or next;
        is_deeply [@{ $done[0] }[1, 2]], ['client closed', 'argument'], 'which says so' if $how eq 'close';
    }
    my $other;
    $other = connected(brokers => $mock->bootstrap, partitioner => sub { $other->close; 'x' });
    eval { $other->produce('t', 'key', 'value') };
    like $@, qr/^produce: partitioner must return a partition from 0 to 3 for topic 't' at \Q$0\E line/, 'whose answer is looked at first';
};

subtest 'errors lose nothing' => sub {
    my $cluster = cluster();
    my $other   = connected(brokers => $cluster->bootstrap, linger_ms => 10, partitioner => sub { $_[1] });
    my @done;
    $cluster->fault(api => 'Produce', error => 6, times => 3);
    for my $n (1 .. 40) {
        $other->produce('t', $n % 4, $n, { headers => [[n => $n]], timestamp => $n }, sub { push @done, [@_] }, $n);
        $other->produce('t', $n, $n, { partition => $n % 4 });
        eval { $other->produce('t', 17, 'lost') };
        eval { $other->produce('t', 1, 'lost', { headers => 1 }) };
    }
    flushed($other);
    is_deeply [sort { $a <=> $b } map { $_->[2] } grep { !defined $_->[1] } @done], [1 .. 40], 'all are delivered';
    for my $partition (0 .. 3) {
        my @with = grep { @{ $_->{headers} } } $cluster->records(t => $partition);
        my @numbers = grep { $_ % 4 == $partition } 1 .. 40;
        is_deeply [map { [@$_{qw(value timestamp headers)}] } @with], [map { ["$_", $_, [[n => "$_"]]] } @numbers], "partition $partition: in order, as they were";
        is scalar(() = $cluster->records(t => $partition)), 2 * @numbers, 'with the others';
    }
};

done_testing;
