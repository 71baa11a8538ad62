use v5.14;
use warnings;

use lib 'xt/lib';

use EV;
use List::Util qw(min);
use Test::More;

use RealGroups;
use RealKafka;

# How long a rebalance takes in a group of three: from the start of the third
# member until it has its share, and from the leaving of one until the others have
# all. Beside the same with librdkafka (kcat), with the same heartbeat interval,
# assignor and broker; the best of three each, since the machine does other things.

my $ROUNDS      = 3;
my $HEARTBEAT   = 1;
my $PARTITIONS  = 6;
my $MOST        = 1.5;
# Reading what a process prints, and its start: what a ratio of times cannot tell.
my $GRANULARITY = 0.15;

my $cluster = cluster(version => $KafkaCluster::NEWEST);
my $brokers = group_brokers($cluster->bootstrap);

my %START = (
    ours => sub {
        my ($name, $topic, $group) = @_;
        return member($name => $topic, $group, { heartbeat_interval => $HEARTBEAT, assignors => ['range'] });
    },
    kcat => sub {
        my ($name, $topic, $group) = @_;
        my $member = GroupMember->run($name, 'sh', '-c', 'exec "$@" 2>&1', 'sh',
            'kcat', '-b', $brokers, '-G', $group, '-u',
            '-X', 'heartbeat.interval.ms=' . 1000 * $HEARTBEAT, '-X', 'session.timeout.ms=' . SESSION_MS,
            '-X', 'partition.assignment.strategy=range', $topic);
        $member->{owns_by_kcat} = 1;
        return $member;
    },
);

# kcat says "% Group G rebalanced (memberid …): assigned: t [0], t [1]", or "revoked: …".
sub shares {
    my (@members) = @_;
    return join ' ', sort { $b <=> $a } map {
        my $member = $_;
        my ($last) = reverse $member->lines(qr/^% Group .* rebalanced/);
        !$member->{owns_by_kcat}          ? scalar $member->owns
            : ($last // '') =~ /assigned:/ ? scalar(() = $last =~ /\[\d+\]/g)
            :                                0;
    } @members;
}

sub seconds_until {
    my ($what, $wanted, @members) = @_;
    my $begun = EV::time;
    wait_until($what, sub { shares(@members) eq $wanted }, @members);
    return EV::time - $begun;
}

my (%best, $number);
for my $round (1 .. $ROUNDS) {
    for my $who (sort keys %START) {
        my $topic = create_topic($brokers, "rebalance-$who-$round", $PARTITIONS);
        my $start = sub { $START{$who}->("$who " . ++$number, $topic, "$topic-g") };
        my @members = $start->();
        seconds_until('the first', '6', @members);
        push @members, $start->();
        seconds_until('the second', '3 3', @members);
        push @members, $start->();
        my $joined = seconds_until('the third', '2 2 2', @members);
        my $leaver = pop @members;
        $who eq 'ours' ? $leaver->tell('leave') : $leaver->kill('TERM');
        my $left = seconds_until('the other two', '3 3', @members);
        diag sprintf 'round %d, %s: joining %.2f s, leaving %.2f s', $round, $who, $joined, $left;
        push @{ $best{joining}{$who} }, $joined;
        push @{ $best{leaving}{$who} }, $left;
    }
}
for my $what (qw(joining leaving)) {
    my ($ours, $kcat) = map { min @{ $best{$what}{$_} } } qw(ours kcat);
    my $text = sprintf '%s: %.2f s, %.2f s with librdkafka', $what, $ours, $kcat;
    cmp_ok $ours, '<=', $MOST * $kcat + $GRANULARITY, $text;
}

done_testing;
