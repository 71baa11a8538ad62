use strict;
use warnings;
use Test::More;

use EV::Kafka;
use EV::Kafka::Consumer::Round;
use EV::Kafka::Loop;
use EV::Kafka::Outbox;

# When a call of poll calls back, without a client.

my $loop   = EV::Kafka::Loop->new;
my $outbox = EV::Kafka::Outbox->new($loop, {}, sub { 0 });
my $polls  = { calling => 0 };
my @called;

sub round { return EV::Kafka::Consumer::Round->new($outbox, $polls, sub { push @called, [@_, $polls->{calling}] }) }

subtest 'it ends when everything has, once' => sub {
    @called = ();
    my $round = round();
    ok $round->is_alone, 'a new one waits for itself';
    $round->joins for 1 .. 2;
    ok !$round->is_alone, 'and for what it has joined';
    $round->leaves;
    $round->leaves;
    is_deeply \@called, [], 'not before the last';
    $round->leaves;
    is_deeply \@called, [[1]], 'without an error; meanwhile it is known that it calls';
    is $polls->{calling}, 0, 'and not afterwards';
    ok !$round->has_callback, 'it has nobody to call any more';
};

subtest 'the first error is told' => sub {
    @called = ();
    my $round = round();
    $round->joins for 1 .. 3;
    $round->leaves($_) for undef, 'first', 'second', undef;
    is_deeply \@called, [['first', 1]], 'the first';
};

subtest 'who asks again forgets what went wrong' => sub {
    @called = ();
    my $round = round();
    $round->joins;
    $round->leaves('nobody there');
    $round->waits('a timer');
    ok $round->is_waiting, 'it waits';
    $round->begins_again;
    $round->goes_on;
    is_deeply \@called, [[1]], 'no error';
    ok !$round->is_waiting, 'and no timer';
};

subtest 'without a callback, and forgotten' => sub {
    @called = ();
    EV::Kafka::Consumer::Round->new($outbox, $polls, undef)->leaves('whatever');
    my $round = round();
    $round->forget;
    $round->leaves;
    is_deeply \@called, [], 'nobody is called';
};

subtest 'a callback that dies' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    EV::Kafka::Consumer::Round->new($outbox, $polls, sub { die "oops\n" })->leaves;
    is_deeply \@warnings, ["EV::Kafka: callback error: oops\n"], 'is a warning';
    is $polls->{calling}, 0, 'and is not calling any more';
};

done_testing;
