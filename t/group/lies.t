use v5.14;
use warnings;

use lib 't/lib';

use Test::More;

use EV::Kafka;
use ScriptedBroker;
use TestKafka qw(wait_until warnings_of connected errors);

# Coordinators whose answers to JoinGroup make no sense.

@ScriptedBroker::API{ 10, 11 } = qw(FindCoordinator JoinGroup);

sub string { pack 'n/a*', $_[0] }

# What a member is told whose JoinGroup gets this body: the error, and the warnings.
sub joining {
    my ($body) = @_;
    no warnings 'redefine';
    my $plain = \&ScriptedBroker::api_versions;
    local *ScriptedBroker::api_versions = sub {
        my ($count, $ranges) = unpack 'x2 N a*', $plain->();
        return pack 'n N a* n6', 0, $count + 2, $ranges, 10, 0, 0, 11, 1, 1;
    };
    my $broker = ScriptedBroker->new(on_request => sub {
        my ($self, undef, $request) = @_;
        return pack 'n N a* N', 0, 0, string('127.0.0.1'), $self->{port} if $request->{api} eq 'FindCoordinator';
        return $request->{api} eq 'JoinGroup' ? $body : undef;
    });
    my $kafka;
    my @warnings = warnings_of {
        $kafka = connected(brokers => $broker->address);
        $kafka->subscribe('t', group_id => 'g');
        wait_until { errors($kafka) } 'an error';
    };
    my @errors = errors($kafka);
    is $kafka->{cfg}{group}{state}, 'stopped', 'the member stops';
    $broker->stop;
    return ("@errors", @warnings);
}

subtest 'an assignor that no member has offered' => sub {
    my ($error, @warnings) = joining(
        pack 'n N a* a* a* N a* N', 0, 1, string('weird'), (string('m')) x 2, 1, string('m'), 0);
    like $error, qr/^group 'g': JoinGroup: .*not offered: 'weird'/, 'on_error says so';
    is_deeply \@warnings, [], 'without a warning';
};

subtest 'a member without instance id that is fenced by it' => sub {
    my ($error, @warnings) = joining(pack 'n N a* a* a* N', 82, -1 & 0xffffffff, (string('')) x 3, 0);
    like $error, qr/^group 'g': JoinGroup: FENCED_INSTANCE_ID \(code 82\)\z/, 'on_error hears of it';
    is_deeply \@warnings, [], 'without a warning';
};

done_testing;
