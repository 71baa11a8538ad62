use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use TestKafka;
use Time::HiRes ();

# Delivery callbacks that take long, all of them together: the loop turns in between,
# and nothing else about them changes.

use constant MESSAGES => 60;

# What a callback may take: a tenth of the time after which the loop turns.
sub work { Time::HiRes::sleep(0.002) }

sub mock {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    return $mock;
}

# Produces messages whose callbacks note their number, the offset and the error.
sub produce_slow {
    my ($kafka, $calls, $also) = @_;
    for my $n (0 .. MESSAGES - 1) {
        $kafka->produce('t', undef, "v$n", sub {
            my ($result, $error) = @_;
            work();
            push @$calls, [$n, $result && $result->{topics}[0]{partitions}[0]{base_offset}, $error];
            $also->($n) if $also;
        });
    }
    return;
}

sub in_order { return [map { [$_, $_, undef] } 0 .. MESSAGES - 1] }

# How many turns of the loop have seen only a part of the calls.
sub watch_turns {
    my ($calls, $turns) = @_;
    return EV::check sub { $$turns++ if @$calls && @$calls < MESSAGES };
}

subtest 'delivered' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    my (@calls, $flushed, @left);
    my $watch = watch_turns(\@calls, \my $turns);
    my $look  = EV::check sub { push @left, @calls + ($kafka->buffered)[0] };
    produce_slow($kafka, \@calls);
    $kafka->flush(sub { $flushed = [@calls] });
    wait_until { $flushed } 'flush';
    is_deeply \@calls, in_order(), 'every callback once, in order, with its own offset';
    is_deeply $flushed, in_order(), 'flush waits for them';
    is $mock->request_count('Produce'), 1, 'that were one batch';
    cmp_ok $turns, '>=', 3, 'the loop turns meanwhile';
    is scalar(grep { $_ != MESSAGES } @left), 0, 'buffered counts those that wait' or diag "@left";
    is_deeply [$kafka->buffered], [0, 0], 'and none in the end';
};

subtest 'failed' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    my @calls;
    my $watch = watch_turns(\@calls, \my $turns);
    $mock->fault(api => 'Produce', error => 87);
    produce_slow($kafka, \@calls);
    wait_until { @calls == MESSAGES } 'the failures';
    is_deeply [map { $_->[0] } @calls], [0 .. MESSAGES - 1], 'every callback once, in order';
    is scalar(grep { $_->[2] !~ /^INVALID_RECORD/ } @calls), 0, 'with the error';
    cmp_ok $turns, '>=', 3, 'the loop turns meanwhile';
};

subtest 'what comes later is called later' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    my (@calls, @order);
    produce_slow($kafka, \@calls, sub {
        my ($n) = @_;
        push @order, $n;
        return if $n;
        $kafka->produce('t', undef, 'later', sub { push @order, 'later' });
        $kafka->_flush_all_batches;
    });
    wait_until { @order == MESSAGES + 1 } 'all of them';
    is_deeply \@order, [0 .. MESSAGES - 1, 'later'], 'in the order of produce';
};

for my $way ('close', 'goes out of scope') {
    subtest "the client $way in between" => sub {
        my $mock  = mock();
        my $kafka = connected(brokers => $mock->bootstrap);
        my @calls;
        produce_slow($kafka, \@calls);
        wait_until { @calls } 'the first';
        cmp_ok scalar(@calls), '<', MESSAGES, 'some are left';
        if ($way eq 'close') { $kafka->close }
        weaken(my $weak = $kafka);
        undef $kafka;
        is $weak, undef, 'freed';
        is_deeply \@calls, in_order(), 'they are called at once, with what became of their messages';
    };
}

subtest 'a callback that runs the loop' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, batch_size => 200);
    my @calls;
    produce_slow($kafka, \@calls, sub { turns(3) if $_[0] % 20 == 0 });
    wait_until { @calls == MESSAGES } 'all of them';
    is_deeply [sort { $a <=> $b } map { $_->[0] } @calls], [0 .. MESSAGES - 1], 'each once';
    is_deeply [$kafka->buffered], [0, 0], 'nothing is left';
};

subtest 'a transaction ends after the callbacks of its messages' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap, transactional_id => 'x');
    my (@calls, $committed);
    $kafka->begin_transaction;
    produce_slow($kafka, \@calls);
    $kafka->commit_transaction(sub { $committed = [$_[1], scalar @calls] });
    wait_until { $committed } 'the end';
    is_deeply $committed, [undef, MESSAGES], 'all had been called';
};

done_testing;
