use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use ScriptedBroker;
use TestKafka;

# Batches that arrive damaged, or are so in the log. That is found when they are to be delivered, and by then the next Fetch
# has left: nothing may be passed over or come twice, whatever that brings.

use constant TOTAL => 6;

my @batches = map { ScriptedBroker::batch($_, [{ value => "v$_" }]) } 0 .. TOTAL - 1;

# Of the header: what no batch of one record has.
sub with_last_offset_delta { my ($batch, $delta) = @_; substr $batch, 23, 4, pack 'l>', $delta; return $batch }
sub with_a_wrong_byte      { my ($batch) = @_; substr($batch, -1) ^= "\x01"; return $batch }

# Answers three batches at a time from where it is asked, and nothing, a little later, from the end on. The first answer has a damaged one.
sub broker {
    my ($damaged, %does) = @_;
    my $answers = 0;
    my ($broker, @late);
    $broker = ScriptedBroker->new(on_request => sub {
        my (undef, $connection, $request) = @_;
        return $does{ $request->{api} }->($request) if $does{ $request->{api} };
        return undef unless $request->{api} eq 'Fetch';
        my $from = ScriptedBroker::fetched($request)->{offset};
        return ScriptedBroker::fetch_answer($request, error => 1, high_watermark => -1) if $from > TOTAL;
        if ($from == TOTAL) {
            my $nothing = ScriptedBroker::fetch_answer($request, high_watermark => TOTAL);
            push @late, EV::timer 0.02, 0, sub { $broker->answer($connection, $request, $nothing) };
            return undef;
        }
        my $last = $from + 2 < TOTAL ? $from + 2 : TOTAL - 1;
        my @sent = @batches[$from .. $last];
        $sent[1] = $damaged if !$answers++;
        return ScriptedBroker::fetch_answer($request, high_watermark => TOTAL, records => join '', @sent);
    });
    return $broker;
}

sub asked { my ($broker) = @_; return [map { ScriptedBroker::fetched($_)->{offset} } $broker->requests('Fetch')] }

sub consuming {
    my ($broker, $received, %options) = @_;
    my $kafka = connected(brokers => $broker->address, on_message => sub { push @$received, $_[2] }, %options);
    $kafka->assign([{ topic => 't' }]);
    return $kafka;
}

sub comes_once_and_in_order {
    my ($kafka, $received, $found_at) = @_;
    wait_until { @$received >= TOTAL } 'all records';
    turns();
    is_deeply $received, [0 .. TOTAL - 1], 'everything comes once and in order';
    is $kafka->{cfg}{assignments}[0]{offset}, TOTAL, 'the position is behind it';
    is scalar(errors($kafka)), 1, 'on_error hears of it once';
    like +(errors($kafka))[0], qr/t:0 at offset ${\ ($found_at \/\/ 1)}: CORRUPT_MESSAGE \(code 2\)/, 'with partition, offset and code';
    return;
}

subtest 'while consuming' => sub {
    my $broker = broker(with_a_wrong_byte($batches[1]));
    my $kafka  = consuming($broker, \my @received);
    $kafka->consume;
    comes_once_and_in_order($kafka, \@received);
    is_deeply [@{ asked($broker) }[0 .. 2]], [0, 3, 1], 'the next Fetch had left, and it was asked for once more';
};

subtest 'polled' => sub {
    my $broker = broker(with_a_wrong_byte($batches[1]));
    my $kafka  = consuming($broker, \my @received);
    fetch_all($kafka, \@received, TOTAL);
    comes_once_and_in_order($kafka, \@received);
};

subtest 'what came behind it was kept' => sub {
    my $broker = broker(with_a_wrong_byte($batches[1]));
    my ($kafka, @received);
    $kafka = consuming($broker, \@received, on_message => sub { push @received, $_[2]; $kafka->pause([{ topic => 't', partition => 0 }]) if @received == 1 });
    $kafka->consume;
    wait_until { grep { $_ == 3 } @{ asked($broker) } } 'the next Fetch';
    turns();
    is_deeply [errors($kafka)], [], 'nobody has looked at it';
    $kafka->resume([{ topic => 't', partition => 0 }]);
    comes_once_and_in_order($kafka, \@received);
};

subtest 'while a position is looked up, in vain' => sub {
    my @lookups;
    my $broker = broker(with_a_wrong_byte($batches[1]), ListOffsets => sub { push @lookups, 1; return ScriptedBroker::list_offsets_answer($_[0], 0, 29) });
    my ($kafka, @received, $failed);
    $kafka = consuming($broker, \@received, on_message => sub {
        push @received, $_[2];
        $kafka->seek('t', 0, -1, sub { $failed = $_[1] }) if @received == 1;
    });
    fetch_all($kafka, \@received, TOTAL);
    comes_once_and_in_order($kafka, \@received);
    ok $failed, 'the lookup has failed';
};

subtest 'the program moves on' => sub {
    my $broker = broker(with_a_wrong_byte($batches[1]));
    my ($kafka, @received);
    $kafka = consuming($broker, \@received, on_message => sub { push @received, $_[2]; $kafka->seek('t', 0, 2) if @received == 1 });
    $kafka->consume;
    wait_until { @received == TOTAL - 1 } 'the others';
    is_deeply \@received, [0, 2 .. TOTAL - 1], 'what it passes is not looked at';
    is_deeply [errors($kafka)], [], 'nor told of';
};

for my $delta (1_000_000, 1, -1) {
    subtest "a last offset that is wrong by $delta" => sub {
        my $broker = broker(with_last_offset_delta($batches[1], $delta));
        my $kafka  = consuming($broker, \my @received);
        $kafka->consume;
        # One that seems to bring nothing new is looked at when the answer is read.
        comes_once_and_in_order($kafka, \@received, $delta < 0 ? 0 : 1);
        is_deeply [notices($kafka)], [], 'the position was not reset';
    };
}

subtest 'other partitions go on' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 2);
    $mock->append(t => 0, { value => 'good' });
    $mock->append_bytes(t => 0, with_a_wrong_byte(ScriptedBroker::batch(1, [{ value => 'damaged' }])), 1);
    $mock->append(t => 1, { value => "v$_" }) for 1 .. 3;
    my (@received, @died);
    my $kafka = connected(brokers => $mock->bootstrap, on_batch => sub { push @received, map { $_->[2] } @{ $_[2] } });
    $kafka->assign([map { { topic => 't', partition => $_ } } 0, 1]);
    $kafka->consume;
    wait_until { @received == 4 && errors($kafka) } 'what can be read';
    my $tries = $mock->request_count('Fetch');
    $mock->append(t => 1, { value => 'v4' });
    wait_until { @received == 5 } 'what has come since';
    is_deeply [sort @received], [qw(good v1 v2 v3 v4)], 'nothing twice';
    is scalar(errors($kafka)), 1, 'told of once';
    is $kafka->position('t', 0), 1, 'the position stays before it';
};

done_testing;
