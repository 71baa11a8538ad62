use strict;
use warnings;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Error;
use EV::Kafka::Outbox;
use EV::Kafka::Request;
use HandClock;
use Scalar::Util qw(weaken);
use Test::More;

# One request until it is answered for good, on a clock that is wound by hand and
# connections that answer what they are told to.

{
    package Conn;
    sub new { my ($class) = @_; return bless { connected => 1 }, $class }
    sub connected { $_[0]{connected} }
    sub _patience { my ($self, $seconds) = @_; push @{ $self->{patience} }, $seconds; return }
}

my $clock;

sub wind { my ($seconds) = @_; return $clock->wind($seconds) }

# { request, sent => answers to be given, done => [[result, error text]] }
sub asked {
    my (%about) = @_;
    $clock = HandClock->new;
    my $asked = { sent => [], done => [], over => 0, conn => Conn->new };
    my $conn  = $asked->{conn};
    my ($sent, $done) = @$asked{qw(sent done)};
    $asked->{outbox} = EV::Kafka::Outbox->new($clock, {}, sub { 0 });
    $asked->{request} = EV::Kafka::Request->new(
        name  => 'Ask',
        to    => sub { $_[0]->go($conn, node_id => 7) },
        send  => sub { push @$sent, { conn => $_[0], answer => $_[1], at => $clock->now } },
        loop   => $clock,
        outbox => $asked->{outbox},
        done  => sub { push @$done, [$_[0], $_[1] && $_[1]->text, $_[1] && $_[1]->code, $_[1] && $_[1]->retriable] },
        over  => sub { $asked->{over}++ },
        %about,
    );
    $asked->{request}->start;
    return $asked;
}

sub answer { my ($asked, $code, %more) = @_; return $asked->{sent}[-1]{answer}->({ error_code => $code, %more }) }

subtest 'an answer' => sub {
    my $asked = asked();
    is scalar @{ $asked->{sent} }, 1, 'is asked for';
    answer($asked, 0, id => 5);
    is_deeply $asked->{done}, [[{ error_code => 0, id => 5 }, undef, undef, undef]], 'and given';
    is_deeply [$asked->{request}->has_ended, $asked->{over}], [1, 1], 'it is over';
    answer($asked, 0);
    wind(100);
    is_deeply [scalar @{ $asked->{done} }, scalar @{ $asked->{sent} }], [1, 1], 'once';
};

subtest 'a final error' => sub {
    my $asked = asked();
    answer($asked, 53);
    is_deeply $asked->{done}[0][1], 'Ask: TRANSACTIONAL_ID_AUTHORIZATION_FAILED (code 53)', 'has a text';
    is_deeply [@{ $asked->{done}[0] }[2, 3]], [53, 0], 'and a code, and is final';
};

subtest 'a retriable error' => sub {
    my @refused;
    my $asked = asked(refused => sub { push @refused, [@_] });
    for my $code (16, 7, 14, 19) {
        answer($asked, $code);
        wind(2);
    }
    is scalar @{ $asked->{sent} }, 5, 'is asked again';
    is_deeply [map { [$_->[0]{node_id}, $_->[1]] } @refused], [map { [7, $_] } 16, 7, 14, 19],
        'and whoever knows the way hears who has said what';
    my @at = map { $_->{at} } @{ $asked->{sent} };
    cmp_ok $at[1], '<=', 0.125, 'soon';
    is_deeply $asked->{done}, [], 'nobody else hears of it';
    answer($asked, 0);
    is $asked->{done}[0][1], undef, 'until it is answered';
};

subtest 'an answer that says nothing' => sub {
    my $asked = asked();
    for (1 .. 20) { answer($asked, -1); wind(2) }
    is scalar @{ $asked->{sent} }, 6, 'is asked for a few times again';
    is_deeply [@{ $asked->{done}[0] }[1 .. 3]], ['Ask: UNKNOWN_SERVER_ERROR (code -1); given up after 6 tries', -1, 1], 'and given up';
};

subtest 'several codes' => sub {
    my $asked = asked();
    my $parts = sub { (topics => [{ topic => 't', partitions => [map { { error_code => $_ } } @_] }]) };
    answer($asked, 0, $parts->(0, 3));
    wind(1);
    is scalar @{ $asked->{sent} }, 2, 'one that is retriable: all again';
    answer($asked, 0, $parts->(3, 55, 29));
    is $asked->{done}[0][1], 'Ask: TOPIC_AUTHORIZATION_FAILED (code 29)', 'one that is final: all over';
    $asked = asked();
    answer($asked, 0, $parts->(55, 3));
    wind(1);
    is scalar @{ $asked->{sent} }, 2, 'what stands beside it does not count';
};

subtest 'a connection that ends' => sub {
    my @lost;
    my $asked = asked(lost => sub { push @lost, $_[0]{node_id} });
    $asked->{conn}{connected} = 0;
    $asked->{sent}[-1]{answer}->(undef, 'disconnected');
    is_deeply \@lost, [7], 'whoever knows the way hears of it';
    wind(1);
    is scalar @{ $asked->{sent} }, 2, 'and it is asked again';
    $asked->{sent}[-1]{answer}->({ error_code => 0, truncated => 1 }, undef);
    wind(1);
    is scalar @{ $asked->{sent} }, 3, 'as after half of an answer';
};

subtest 'a connection that ends, and somebody would rather know' => sub {
    my $asked = asked(lost => sub { $_[2]->refuse($_[1]) });
    $asked->{conn}{connected} = 0;
    $asked->{sent}[-1]{answer}->(undef, 'disconnected');
    is_deeply [@{ $asked->{done}[0] }[1 .. 3]], ['Ask: disconnected', undef, 1], 'it is over';
    wind(10);
    is scalar @{ $asked->{sent} }, 1, 'and not asked again';
};

subtest 'a connection that refuses to send' => sub {
    my $asked = asked();
    $asked->{sent}[-1]{answer}->(undef, 'no version in common');
    is_deeply [@{ $asked->{done}[0] }[1 .. 3]], ['Ask: no version in common', undef, 0], 'is final';
};

subtest 'patience' => sub {
    my $asked = asked(patience => 3);
    wind(2.9);
    is_deeply $asked->{done}, [], 'lasts';
    wind(0.1);
    is_deeply $asked->{done}, [[undef, 'Ask: no answer; given up after 3 s', undef, 1]], 'and ends in silence';
    answer($asked, 0);
    is scalar @{ $asked->{done} }, 1, 'what comes then is late';

    $asked = asked(patience => 3, send => sub { $_[1]->({ error_code => 3 }) });
    wind(3);
    is_deeply [@{ $asked->{done}[0] }[1 .. 3]], ['Ask: UNKNOWN_TOPIC_OR_PARTITION (code 3); given up after 3 s', 3, 1],
        'says what it was refused for';

    $asked = asked(patience => 3, to => sub { });
    $asked->{request}->why(EV::Kafka::Error->of_code(15)->of('FindCoordinator'));
    wind(3);
    is $asked->{done}[0][1], 'Ask: FindCoordinator: COORDINATOR_NOT_AVAILABLE (code 15); given up after 3 s', 'or what it waits for';
};

subtest 'patience of one try' => sub {
    my $asked = asked(to => sub { $_[0]->go($_[0]{conn}, patience => 4) }, conn => my $conn = Conn->new);
    is_deeply $conn->{patience}, [4, undef], 'is the connection\'s for what is sent';
    my $died = eval { asked(to => sub { $_[0]->go($conn, patience => 5) }, send => sub { die "refused\n" }); 1 } ? '' : $@;
    is_deeply [$died, @{ $conn->{patience} }], ["refused\n", 4, undef, 5, undef], 'or was refused';
};

subtest 'what the program is called with' => sub {
    my @order;
    my $asked;
    $asked = asked(done => sub { $asked->{outbox}->call(sub { push @order, 'called' }); push @order, 'done' });
    answer($asked, 0);
    is_deeply \@order, ['done', 'called'], 'comes after what is done with an answer';
    @order = ();
    $asked = asked(patience => 3, done => sub { $asked->{outbox}->call(sub { push @order, 'called' }); push @order, 'done' });
    wind(3);
    is_deeply \@order, ['done', 'called'], 'or without one';
};

subtest 'tries' => sub {
    my $asked = asked(tries => 3, send => sub { $_[1]->({ error_code => 7 }) });
    wind(10);
    is_deeply [@{ $asked->{done}[0] }[1, 3]], ['Ask: REQUEST_TIMED_OUT (code 7); given up after 3 tries', 1], 'are counted';
};

subtest 'nobody waits' => sub {
    my $alive = 1;
    my $asked = asked(alive => sub { $alive });
    answer($asked, 7);
    $alive = 0;
    wind(10);
    is_deeply [scalar @{ $asked->{sent} }, $asked->{done}, $asked->{over}], [1, [], 1], 'it ends without a word';
};

subtest 'the way' => sub {
    my @ways;
    my $asked = asked(to => sub { push @ways, $_[0]->round; $_[0]->again(EV::Kafka::Error->without_code('none yet', 1)) }, patience => 5);
    wind(1);
    is_deeply \@ways, [1 .. @ways], 'is looked for anew each time';
    cmp_ok scalar @ways, '>', 2, 'as often as need be';
    $asked->{request}->refuse(EV::Kafka::Error->without_code('there is none'));
    is $asked->{done}[0][1], 'Ask: there is none', 'until there is none';
};

subtest 'a hurry' => sub {
    my $asked = asked();
    $asked->{request}->hurry;
    is scalar @{ $asked->{sent} }, 1, 'changes nothing while it is under way';
    answer($asked, 14);
    $asked->{request}->hurry;
    is scalar @{ $asked->{sent} }, 2, 'makes the next try now';
    wind(1);
    is scalar @{ $asked->{sent} }, 2, 'instead of later';
    answer($asked, 0);
    $asked->{request}->hurry;
    is scalar @{ $asked->{sent} }, 2, 'and none after the end';
};

subtest 'what it holds' => sub {
    my $asked = asked(patience => 3);
    answer($asked, 7);
    weaken(my $weak = $asked->{request});
    delete $asked->{request};
    @{ $asked->{sent} } = ();
    is $weak, undef, 'its timers do not keep it';
    $asked = asked();
    $asked->{request}->end;
    is_deeply [grep { ref $asked->{request}{$_} eq 'CODE' } keys %{ $asked->{request} }], [], 'and at the end it lets go of all';
};

done_testing;
