use v5.14;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;

use ScriptedBroker;
use TestKafka;

# A broker that refuses a batch may say on account of which records (KIP-467): these hear why, and their
# mates that it was not on their account.

# Produce 8 is the first version that says it.
{
    no warnings 'redefine';
    *ScriptedBroker::api_versions = sub {
        my @ranges = ([0, 3, 8], [1, 4, 4], [2, 1, 1], [3, 1, 1], [18, 0, 0]);
        return pack('n N', 0, scalar @ranges) . join '', map { pack 'nnn', @$_ } @ranges;
    };
}

sub string { my ($text) = @_; return defined $text ? pack('n/a*', $text) : pack 'n', 0xffff }

# The answer for t:0: INVALID_RECORD.
sub refusal {
    my ($message, @records) = @_;
    return pack('N', 1) . string('t') . pack('N N n q> q> q>', 1, 0, 87, -1, -1, 0)
        . pack('N', scalar @records) . join('', map { pack('N', $_->[0]) . string($_->[1]) } @records)
        . string($message) . pack 'N', 0;
}

# What each of the messages hears that are refused together.
sub heard_of {
    my ($answer, $count, $has_callbacks) = @_;
    my $broker = ScriptedBroker->new(on_request => sub { return $_[2]{api} eq 'Produce' ? $answer : undef });
    my $kafka  = connected(brokers => $broker->address, linger_ms => 60_000);
    my @heard;
    $kafka->produce('t', undef, $_, { partition => 0 }, $has_callbacks ? sub { push @heard, $_[1] } : ()) for 1 .. $count;
    my $is_flushed;
    $kafka->flush(sub { $is_flushed = 1 });
    wait_until { $is_flushed } 'the end of the batch';
    my @errors = errors($kafka);
    $kafka->close;
    return $has_callbacks ? @heard : @errors;
}

my $code  = 'INVALID_RECORD (code 87)';
my $mates = 'not written, another record of its batch was refused';
my @records = ([3, undef], [1, 'it has no key']);

my @heard = heard_of(refusal('bad batch', @records), 5, 1);
s/\At:0: |\Aproduce to t:0: // for @heard;
is scalar @heard, 5, 'each callback is called';
like $heard[$_], qr/\Q$code\E.*: bad batch: \Q$mates\E\z/, "record $_ hears that it was another one" for 0, 2, 4;
like $heard[1], qr/\Q$code\E.*: bad batch: record 1 of its batch was refused: it has no key\z/, 'what was refused hears why';
like $heard[3], qr/\Q$code\E.*: bad batch: record 3 of its batch was refused\z/, 'as far as the broker says it';

@heard = heard_of(refusal(undef, [0, 'it has no key']), 1, 1);
like $heard[0], qr/\Q$code\E.*: record 0 of its batch was refused: it has no key\z/, 'one that is alone';

@heard = heard_of(refusal('bad batch'), 2, 1);
unlike $_, qr/record/, 'a broker that does not say it' for map { s/INVALID_RECORD//r } @heard;

@heard = heard_of(refusal('bad batch', [7, 'there is no such record'], [-1, 'nor this one']), 2, 1);
is scalar @heard, 2, 'nor one that lies does any harm';

my @errors = heard_of(refusal('bad batch', @records), 5, 0);
is scalar @errors, 1, 'without callbacks on_error hears of it once';
like $errors[0], qr/record 1 of its batch was refused: it has no key\z/, 'and of the first one';

done_testing;
