use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use MockTest qw(croaks_like);
use TestKafka;

# close(flush => $seconds): the end in order.

sub values_of { my ($mock, $topic) = @_; return [map { $_->{value} } $mock->records($topic, 0)] }

subtest 'what was produced arrives' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my ($told, $closed);
    my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 10_000);
    $kafka->produce('t', undef, 'v', sub { $told = $_[1] // 'delivered' });
    $kafka->close(flush => 10, sub { $closed = ["after $told", @_] });
    is $closed, undef, 'it is waited for';
    wait_until { $closed } 'close';
    is_deeply $closed, ['after delivered'], 'without an error';
    is_deeply values_of($mock, 't'), ['v'], 'it is there';
    croaks_like(sub { $kafka->produce('t', undef, 'v') }, qr/\AEV::Kafka: client is closed/);
    my $again;
    $kafka->close(flush => 10, sub { $again = [@_] });
    is_deeply $again, [], 'a second close calls back';
};

subtest 'nothing is to be done' => sub {
    my $mock  = EV::Kafka::Mock->new;
    my $closed;
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->close(flush => 0, sub { $closed = [@_] });
    wait_until { $closed } 'close';
    is_deeply $closed, [], 'it is closed';
    $closed = undef;
    client(brokers => '127.0.0.1:1')->close(flush => 10, sub { $closed = [@_] });
    wait_until { $closed } 'close';
    is_deeply $closed, [], 'also without a connection';
};

subtest 'too late' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->fault(api => 'Produce', hang => 1);
    my (@told, $closed);
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->produce('t', undef, 'v', sub { push @told, $_[1] });
    $kafka->close(flush => 0.2, sub { $closed = [@_] });
    wait_until { $closed } 'close';
    is_deeply $closed, ['close timed out after 0.2 s: messages that are not delivered: 1'], 'says what was not done';
    is_deeply \@told, ['disconnected'], 'and so does the message';
};

subtest 'a plain close meanwhile, and the end of the client' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->fault(api => 'Produce', hang => 1, times => undef);
    my @closed;
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->produce('t', undef, 'v', sub { });
    $kafka->close(flush => 10, sub { push @closed, "first @_" });
    $kafka->close(flush => 10, sub { push @closed, "second @_" });
    $kafka->close(sub { push @closed, "plain @_" });
    is_deeply \@closed, ['first client closed', 'second client closed', 'plain '], 'closes at once';
    $kafka = connected(brokers => $mock->bootstrap);
    $kafka->produce('t', undef, 'v', sub { });
    $kafka->close(flush => 10, sub { push @closed, "last @_" });
    undef $kafka;
    is $closed[-1], 'last client closed', 'a client that nobody keeps waits for nothing';
};

for my $protocol ('classic', 'consumer') {
    subtest "$protocol: a group" => sub {
        my $mock = filled(1, 3);
        $mock->create_topic(out => 1);
        my ($kafka, $closed, @events);
        my $member = member($mock, group_protocol => $protocol, auto_commit => 'done',
            on_revoke_async => sub {
                my ($partitions, $done) = @_;
                push @events, 'asked';
                $kafka->produce('out', undef, 'last words');
                $kafka->done('t', 0, $_) for 0, 1;
                my $timer; $timer = EV::timer 0.02, 0, sub { undef $timer; push @events, 'lets go'; $done->() };
            });
        $kafka = $member->{kafka};
        joined($member);
        wait_until { @{ $member->{got} } == 3 } 'records';
        $kafka->produce('out', undef, 'v');
        $kafka->close(flush => 10, sub { push @events, 'closed'; $closed = [@_] });
        $mock->append(t => 0, { value => 'too late' });
        wait_until { $closed } 'close';
        is_deeply $closed, [], 'without an error';
        is_deeply \@events, ['asked', 'lets go', 'closed'], 'on_revoke_async takes its time';
        is_deeply values_of($mock, 'out'), ['v', 'last words'], 'all that was produced is there';
        is_deeply committed_in($mock), { 't:0' => 2 }, 'and what is done is committed';
        is scalar @{ $member->{got} }, 3, 'nothing was delivered meanwhile';
        is $mock->group('g')->{state}, 'Empty', 'the group was left' if $protocol eq 'classic';
    };
}

subtest 'a commit that is refused' => sub {
    my $mock   = filled(1, 3);
    my $member = joined(member($mock));
    wait_until { @{ $member->{got} } == 3 } 'records';
    $mock->fault(api => 'OffsetCommit', error => 30);
    my $closed;
    $member->{kafka}->close(flush => 10, sub { $closed = [@_] });
    wait_until { $closed } 'close';
    like $closed->[0], qr/GROUP_AUTHORIZATION_FAILED/, 'is told';
};

subtest 'what makes no sense' => sub {
    my $kafka = client(brokers => '127.0.0.1:1');
    my %croaks = (
        "close: unknown option 'wait'"                 => [wait => 1],
        'close: flush must be a number of seconds'     => [flush => 'soon'],
        'close: the callback must be a code reference' => [flush => 1, {}],
        'close: too many arguments'                    => [flush => 1, sub { }, 2],
    );
    croaks_like(sub { $kafka->close(@{ $croaks{$_} }) }, qr/\A\Q$_\E at \Q$0\E line/) for sort keys %croaks;
    ok eval { $kafka->purge; 1 }, 'it is not closed by that';
};

done_testing;
