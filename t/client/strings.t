use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# The option strings: what keys, values and headers are, whichever way Perl stores them.

sub flagged   { my ($string) = @_; utf8::upgrade($string);   return $string }
sub unflagged { my ($string) = @_; utf8::downgrade($string); return $string }

my $LATIN = "M\xfcller";
my $UTF8  = "M\xc3\xbcller";
my $BYTES = join '', map { chr } 0 .. 255;
my $SMILE = "\x{263a}";
my $WIDE  = "has wide characters: encode it first, or strings => 'utf8'";

{ package Overloaded; use overload '""' => sub { $_[0][0] } }

sub cluster {
    my ($partitions) = @_;
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => $partitions || 1);
    return $mock;
}

# Sends messages by produce and gives what lies in the log of partition 0.
sub sent {
    my ($strings, @messages) = @_;
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, strings => $strings);
    my $left  = @messages;
    $kafka->produce('t', @$_, sub { is $_[1], undef, 'delivered'; $left-- }) for @messages;
    wait_until { !$left } 'delivery';
    return $mock->records(t => 0);
}

sub headers_of { return map { @{ $_->{headers} } } @_ }

subtest 'the option' => sub {
    for my $bad ('latin1', 'UTF8', '', 1) {
        eval { EV::Kafka->new(strings => $bad) };
        like $@, qr/^EV::Kafka: option 'strings' must be bytes or utf8, not '\Q$bad\E' at \Q$0\E /, "not '$bad'";
    }
    ok eval { EV::Kafka->new(strings => undef) }, 'undef is none';
};

subtest 'unset: as Perl stores them' => sub {
    my @records = sent(undef, [flagged($LATIN), flagged($LATIN)], [unflagged($LATIN), $SMILE]);
    is_deeply [map { @$_{qw(key value)} } @records], [$UTF8, $UTF8, $LATIN, "\xe2\x98\xba"], 'never recoded';
};

subtest 'bytes: the same however they are stored' => sub {
    my %headers = (flagged("h\xe9") => flagged($LATIN));
    my @records = sent(bytes => [flagged($BYTES), flagged($BYTES)], [$BYTES, $BYTES], [flagged('ascii'), 42],
        [undef, bless [flagged($LATIN)], 'Overloaded'], ['', undef]);
    is_deeply [map { [@$_{qw(key value)}] } @records],
        [[$BYTES, $BYTES], [$BYTES, $BYTES], ['ascii', 42], [undef, $LATIN], ['', undef]], 'keys and values';
    my $pair = [flagged("h\xe9"), flagged($LATIN)];
    @records = sent(bytes => ['k', 'v', { headers => \%headers }], ['k', 'v', { headers => [$pair, ['n', undef]] }]);
    is_deeply [headers_of(@records)], [["h\xe9" => $LATIN], ["h\xe9" => $LATIN], [n => undef]], 'headers';
    ok utf8::is_utf8($pair->[1]), 'the program\'s strings stay as they were';
};

subtest 'bytes: wide characters' => sub {
    my $mock  = cluster();
    my $kafka = connected(brokers => $mock->bootstrap, strings => 'bytes');
    for my $wrong (
        ['key'            => $SMILE, 'v'],
        ['value'          => 'k', $SMILE],
        ["header's name"  => 'k', 'v', { headers => { $SMILE => 1 } }],
        ["header's value" => 'k', 'v', { headers => [[h => $SMILE]] }]) {
        my ($name, @message) = @$wrong;
        eval { $kafka->produce('t', @message) };
        like $@, qr/^produce: \Q$name $WIDE\E at \Q$0\E /, "produce: $name";
        eval { $kafka->produce_many([['t', 'k', 'first'], ['t', @message]]) };
        like $@, qr/^produce_many: \Q$name $WIDE\E at \Q$0\E /, "produce_many: $name";
    }
    eval { $kafka->produce('unknown', 'k', $SMILE) };
    like $@, qr/^produce: value \Q$WIDE\E /, 'also for a topic that is not known yet';
    my $done;
    $kafka->produce('t', 'k', 'last', sub { $done = 1 });
    wait_until { $done } 'delivery';
    is_deeply log_values($mock, 't'), ['last'], 'nothing of them was sent';
};

subtest 'utf8: characters' => sub {
    my @records = sent(utf8 => [flagged($LATIN), unflagged($LATIN)], [$LATIN, $SMILE], ['ascii', flagged('ascii')],
        [undef, bless [$LATIN], 'Overloaded']);
    is_deeply [map { [@$_{qw(key value)}] } @records],
        [[$UTF8, $UTF8], [$UTF8, "\xe2\x98\xba"], ['ascii', 'ascii'], [undef, $UTF8]], 'keys and values go out as UTF-8';
    @records = sent(utf8 => ['k', 'v', { headers => { unflagged($LATIN) => $SMILE } }],
        ['k', 'v', { headers => [[flagged($LATIN), unflagged($LATIN)]] }]);
    is_deeply [headers_of(@records)], [[$UTF8 => "\xe2\x98\xba"], [$UTF8 => $UTF8]], 'and headers';
};

subtest 'produce_many' => sub {
    for my $case ([bytes => $LATIN], [utf8 => $UTF8]) {
        my ($strings, $sent) = @$case;
        my $mock  = cluster();
        my $kafka = connected(brokers => $mock->bootstrap, strings => $strings);
        my @done;
        my @of_it = (flagged($LATIN), unflagged($LATIN));
        $kafka->produce_many([
            (map { ['t', $_, $_] } @of_it),
            (map { { topic => 't', key => $_, value => $_, headers => { $_ => $_ } } } @of_it),
        ], sub { @done = [@_] });
        wait_until { @done } 'delivery';
        my @records = $mock->records(t => 0);
        is_deeply [map { [@$_{qw(key value)}] } @records], [([$sent, $sent]) x 4], "$strings: keys and values";
        is_deeply [headers_of(@records)], [([$sent, $sent]) x 2], "$strings: headers";
    }
};

# The partition of each message, by the order of the calls.
sub partitions {
    my ($kafka, @keys) = @_;
    my %partition;
    for my $i (0 .. $#keys) {
        $kafka->produce('t', $keys[$i], 'v', sub { $partition{$i} = $_[0]{topics}[0]{partitions}[0]{partition} });
    }
    wait_until { keys %partition == @keys } 'delivery';
    return map { $partition{$_} } 0 .. $#keys;
}

subtest 'the same key has the same partition' => sub {
    my @keys = map { (flagged($_), unflagged($_)) } map { "key \xfc$_" } 1 .. 30;
    for my $case ([bytes => sub { $_[0] }], [utf8 => sub { my $key = shift; utf8::encode($key); $key }]) {
        my ($strings, $encode) = @$case;
        my @expected = map { EV::Kafka::_murmur2($encode->(unflagged($_))) % 50 } @keys;
        for my $early (0, 1) {
            my $mock  = cluster(50);
            my $start = $early ? \&client : \&connected;
            my $kafka = $start->(brokers => $mock->bootstrap, strings => $strings);
            $kafka->connect if $early;
            is_deeply [partitions($kafka, @keys)], \@expected,
                "$strings: by what is sent, " . ($early ? 'before the topic is known' : 'at once');
        }
    }
};

subtest 'a partitioner gets the key as it was given' => sub {
    for my $strings (qw(bytes utf8)) {
        for my $early (0, 1) {
            my $mock = cluster();
            my @asked;
            my $start = $early ? \&client : \&connected;
            my $kafka = $start->(brokers => $mock->bootstrap, strings => $strings, partitioner => sub { push @asked, $_[1]; 0 });
            $kafka->connect if $early;
            my @keys = (flagged($LATIN), unflagged($LATIN), undef, '', 'ascii', $strings eq 'utf8' ? $SMILE : ());
            partitions($kafka, @keys);
            is_deeply \@asked, \@keys, "$strings, " . ($early ? 'before the topic is known' : 'at once');
        }
    }
};

my @STORED = (
    { key => $UTF8,   value => "\xe2\x98\xba", headers => [[$UTF8 => $UTF8], ["n\xff" => "\xff"]], timestamp => 1 },
    { key => 'ascii', value => "\xff\xfe",     timestamp => 2 },
    { key => "\xc3",  value => $UTF8,          timestamp => 3 },
    { key => undef,   value => 'plain',        timestamp => 4 },
    { key => '',      value => "\xed\xa0\x80", timestamp => 5 },
    { key => "k\xfc", value => undef,          timestamp => 6 },
);
my @AS_TEXT = (
    [0, $LATIN,   $SMILE, { $LATIN => $LATIN, "n\xff" => "\xff" }, 1],
    [1, 'ascii',  "\xff\xfe", undef, 2],
    [2, "\xc3",   $LATIN, undef, 3],
    [3, undef,    'plain', undef, 4],
    [4, '',       "\xed\xa0\x80", undef, 5],
    [5, "k\xfc",  undef, undef, 6],
);
my @AS_BYTES = map {
    my $record = $STORED[$_];
    [$_, @$record{qw(key value)}, $record->{headers} ? { map { @$_ } @{ $record->{headers} } } : undef, $record->{timestamp}];
} 0 .. $#STORED;

# What a handler gets of these records, twice over: the second time in scalars that are used again.
sub received {
    my ($option, $strings) = @_;
    my $mock = cluster();
    $mock->append(t => 0, @STORED) for 1, 2;
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, strings => $strings, fetch_max_wait_ms => 10, $option => $option eq 'on_batch'
        ? sub { push @got, map { [@$_] } @{ $_[2] } }
        : sub { push @got, [@_[2 .. 6]] });
    $kafka->assign([{ topic => 't' }]);
    fetch_all($kafka, \@got, 2 * @STORED);
    $_->[0] %= @STORED for @got;
    return @got;
}

subtest 'what is read' => sub {
    for my $option (qw(on_message on_batch)) {
        is_deeply [received($option, $_)], [(@AS_BYTES) x 2], "$option, " . ($_ // 'unset') . ': bytes' for undef, 'bytes';
        is_deeply [received($option, 'utf8')], [(@AS_TEXT) x 2], "$option, utf8: text, and bytes where it is none";
    }
};

subtest 'scalars that are used again' => sub {
    for my $option (qw(on_message on_batch)) {
        my $mock = cluster();
        $mock->append(t => 0, { key => $UTF8, value => $_ % 2 ? $UTF8 : "\xfc$_" }) for 1 .. 20;
        my @got;
        my $take = sub {
            push @got, "$_[0]|$_[1]|" . length($_[0]) . '|' . length $_[1];
            # What a handler does to its arguments is not to be found in the next ones.
            utf8::encode($_[0]);
            utf8::upgrade($_[1]);
        };
        my $kafka = connected(brokers => $mock->bootstrap, strings => 'utf8', fetch_max_wait_ms => 10,
            $option => $option eq 'on_batch' ? sub { $take->(@$_[1, 2]) for @{ $_[2] } } : sub { $take->(@_[3, 4]) });
        $kafka->assign([{ topic => 't' }]);
        fetch_all($kafka, \@got, 20);
        is_deeply \@got, [map { my $value = $_ % 2 ? $LATIN : "\xfc$_"; "$LATIN|$value|6|" . length $value } 1 .. 20],
            "$option: text and bytes in turn";
    }
};

subtest 'there and back' => sub {
    for my $case ([bytes => $BYTES, flagged($BYTES), $LATIN], [utf8 => $LATIN, flagged($BYTES), $BYTES, $SMILE, "\x{1f600}"]) {
        my ($strings, @values) = @$case;
        my $mock = cluster();
        my @got;
        my $kafka = connected(brokers => $mock->bootstrap, strings => $strings, fetch_max_wait_ms => 10, on_message => sub { push @got, [@_[3 .. 5]] });
        $kafka->produce('t', $_, $_, { headers => { $_ => $_ } }) for @values;
        $kafka->assign([{ topic => 't' }]);
        fetch_all($kafka, \@got, scalar @values);
        is_deeply \@got, [map { [$_, $_, { $_ => $_ }] } @values], $strings;
    }
};

done_testing;
