package GroupTest;
use strict;
use warnings;

use EV::Kafka::Mock;
use Exporter qw(import);

use EV::Kafka;
use TestKafka qw(wait_until connected);

# Members of consumer groups on a mock cluster, in this process.

our @EXPORT = qw(member listed state_of is_stable owned joined left committed_in filled);

# A member that writes down what it is told: { kafka, got, assigned, revoked }.
sub member {
    my ($mock, %option) = @_;
    my $member = { got => [], assigned => [], revoked => [] };
    my $client = delete $option{client} || {};
    my $topics = delete $option{topics} || ['t'];
    my $kafka  = $member->{kafka} = connected(
        brokers    => $mock->bootstrap,
        on_message => sub { push @{ $member->{got} }, "$_[0]:$_[1]\@$_[2]" },
        %$client,
    );
    # A test has no time for sessions as long as programs have them, and knows.
    local $SIG{__WARN__} = sub { warn @_ unless $_[0] =~ /option '\w+' is in milliseconds: is \d+ what is meant/ };
    $kafka->subscribe(@$topics,
        group_id => 'g', heartbeat_interval => 0.05,
        on_assign => sub { push @{ $member->{assigned} }, listed($_[0]) },
        $option{on_revoke_async} ? () : (on_revoke => sub { push @{ $member->{revoked} }, listed($_[0]) }),
        %option,
    );
    return $member;
}

sub listed { return join ' ', sort map { "$_->{topic}:$_->{partition}\@$_->{offset}" } @{ $_[0] } }

sub state_of { my ($member) = @_; return ($member->{kafka}{cfg}{group} || {})->{state} // 'none' }

sub is_stable { return state_of($_[0]) eq 'stable' }

sub owned { my ($member) = @_; return scalar @{ $member->{kafka}{cfg}{assignments} } }

sub joined {
    my ($member) = @_;
    wait_until { is_stable($member) && @{ $member->{assigned} } } 'joining';
    return $member;
}

sub left {
    my ($member) = @_;
    my @result;
    $member->{kafka}->unsubscribe(sub { @result = ('left', @_) });
    wait_until { @result } 'leaving';
    return join ' ', @result;
}

sub committed_in { my ($mock) = @_; my $offsets = $mock->offsets('g'); return { map { $_ => $offsets->{$_}{offset} } keys %$offsets } }

sub filled {
    my ($partitions, $records, %option) = @_;
    my $mock = EV::Kafka::Mock->new(min_session_timeout_ms => 1, %option);
    $mock->create_topic(t => $partitions);
    for my $partition (0 .. $partitions - 1) {
        $mock->append(t => $partition, map { { key => "k$_", value => "v$_" } } 1 .. $records) if $records;
    }
    return $mock;
}

1;
