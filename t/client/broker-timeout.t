use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use MockTest qw(croaks_like);
use ScriptedBroker;
use TestKafka;

# The option broker_timeout: what a Produce request gives the broker for its replicas.

# Of the first one, in milliseconds.
sub told {
    my (%option) = @_;
    my $told;
    my $broker = ScriptedBroker->new(on_request => sub {
        my (undef, undef, $request) = @_;
        # Produce 3: transactional id (none), acks, timeout.
        $told //= unpack 'x4 N', $request->{body} if $request->{api} eq 'Produce';
        return undef;
    });
    my $kafka = connected(brokers => $broker->address, %option);
    $kafka->produce('t', undef, 'v');
    wait_until { defined $told } 'a request';
    return $told;
}

is told(), 30_000, 'is 30 s by default';
is told(request_timeout => 7), 7_000, 'or as much as request_timeout';
is told(request_timeout => 70), 30_000, 'and never more by itself';
is told(request_timeout => 0), 30_000, 'also when nothing is timed';
is told(broker_timeout => 2.5), 2_500, 'less, if wanted';
is told(broker_timeout => 90), 90_000, 'or more';

subtest 'an answer that may come later than request_timeout' => sub {
    my ($connection, $request, $begun, $result);
    my $broker = ScriptedBroker->new(on_request => sub {
        (undef, my $where, my $what) = @_;
        ($connection, $request, $begun) = ($where, $what, EV::time) if $what->{api} eq 'Produce';
        return undef;
    });
    my $kafka = connected(brokers => $broker->address, request_timeout => 0.2, broker_timeout => 60);
    $kafka->produce('t', undef, 'v', sub { $result = [@_] });
    wait_until { $request } 'the request';
    wait_until { EV::time() - $begun > 0.6 } 'more than request_timeout';
    is $result, undef, 'is waited for';
    is_deeply [errors($kafka)], [], 'without an error';
    $broker->answer($connection, $request, ScriptedBroker::produce_answer($request, 0, 5));
    wait_until { $result } 'delivery';
    is produced_offset($result->[0]), 5, 'and counts';
};

for my $wrong (0, 'soon', -1, 1e7) {
    croaks_like(sub { EV::Kafka->new(broker_timeout => $wrong) },
        qr/option 'broker_timeout' must be a number of seconds, 0\.001 or more, not '\Q$wrong\E' at \Q$0\E/);
}
like join('', warnings_of { EV::Kafka->new(broker_timeout => 30_000) }), qr/broker_timeout/, 'milliseconds are warned about';

done_testing;
