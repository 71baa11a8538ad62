use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use Inside;
use ScriptedBroker;
use TestKafka;
use Time::HiRes qw(time);

# A consumer that reads more than its quota: the broker answers at once, without topics,
# and says for how long it wants to be left alone (KIP-219). Fetch 8, the first version
# of which the client has to wait.

use constant THROTTLE_MS => 300;

{
    no warnings 'redefine';
    my $versions = \&ScriptedBroker::api_versions;
    *ScriptedBroker::api_versions = sub { $versions->() =~ s/\0\x01\0\x04\0\x04/\0\x01\0\x04\0\x08/r };
}

# Partition and offset that a Fetch 8 asks for.
sub asked {
    my ($request) = @_;
    my (undef, undef, undef, undef, undef, undef, undef, undef, undef, undef, $partition, $offset)
        = unpack 'N N N N C N N N n/a* N N q>', $request->{body};
    return ($partition, $offset);
}

sub throttled { return pack 'N n N N', $_[0], 0, 0, 0 }

sub answered {
    my ($request, $end, @records) = @_;
    my ($partition, $offset) = asked($request);
    my $batch = @records ? ScriptedBroker::batch($offset, [map { { value => $_ } } @records]) : '';
    return pack('N n N', 0, 0, 0) . ScriptedBroker::_array(ScriptedBroker::_string('t')
        . ScriptedBroker::_array(pack('N n q> q> q> N N/a*', $partition, 0, $end, $end, 0, 0xffffffff, $batch)));
}

# A broker with ten records, two to an answer, that throttles every other Fetch.
sub broker {
    my (@at) = (@_);
    my $fetches = 0;
    return ScriptedBroker->new(on_request => sub {
        my ($broker, $connection, $request) = @_;
        return undef if $request->{api} ne 'Fetch';
        push @{ $broker->{fetched_at} }, time;
        return throttled(THROTTLE_MS) if $fetches++ % 2;
        my (undef, $offset) = asked($request);
        return $offset < 6 ? answered($request, 6, $offset, $offset + 1) : undef;
    });
}

for my $how ('poll', 'consuming') {
    subtest "an answer without topics, $how" => sub {
        my $broker = broker();
        my (@received, @polled, @notices);
        my $kafka = connected(brokers => $broker->address, on_message => sub { push @received, $_[4] },
            on_notice => sub { push @notices, @_ });
        $kafka->assign([{ topic => 't' }]);
        my $poll;
        $poll = sub { push @polled, @_; $kafka->poll($poll) if @received < 6 };
        $how eq 'poll' ? $poll->() : $kafka->consume;
        wait_until { @received == 6 } 'all that is there';
        undef $poll;
        is_deeply \@received, [0 .. 5], 'everything comes once and in order';
        is_deeply [@polled, @notices, errors($kafka)], [], 'and it is no error';
        my @at = @{ $broker->{fetched_at} };
        my @waits = map { $at[$_ + 1] - $at[$_] } grep { $_ % 2 } 0 .. $#at - 1;
        is scalar(grep { $_ < 0.9 * THROTTLE_MS / 1000 } @waits), 0, 'the broker is left alone for as long as it says';
        is Inside::fetched_not_before($kafka, t => 0), 0, 'which is all the delay there is';
    };
}

subtest 'a seek meanwhile' => sub {
    my $broker = broker();
    my @received;
    my $kafka = connected(brokers => $broker->address, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->consume;
    wait_until { @{ $broker->{fetched_at} || [] } == 2 && @received == 2 } 'the throttled Fetch';
    turns 5;
    $kafka->seek('t', 0, $kafka->position('t', 0));
    wait_until { @received == 6 } 'all that is there';
    is_deeply \@received, [0 .. 5], 'to where the position stands brings nothing twice';
};

subtest 'an answer without topics that does not throttle' => sub {
    my $broker = ScriptedBroker->new(on_request => sub { $_[2]{api} eq 'Fetch' ? throttled(0) : undef });
    my $kafka = connected(brokers => $broker->address, on_message => sub { });
    $kafka->assign([{ topic => 't' }]);
    $kafka->consume;
    wait_until { errors($kafka) } 'the error';
    like +(errors($kafka))[0], qr/^Fetch answer lacks t:0/, 'is one';
};

done_testing;
