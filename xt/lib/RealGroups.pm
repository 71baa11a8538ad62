package RealGroups;

# What the tests of groups on real Apache Kafka share: members as processes, how
# they are to share partitions, and what they have got.

use v5.14;
use warnings;

use Exporter qw(import);
use Test::More;

use GroupMember qw(wait_until owners_of);
use RealKafka;

our @EXPORT = qw(
    SESSION_MS group_brokers member is_spread leave fill times_seen count described continues_from
    members_come_and_go members_hang wait_until owners_of
);

# The shortest that brokers allow; the time after which a killed member is missed.
use constant SESSION_MS => 6000;

my $brokers;

# The brokers that all of this is about.
sub group_brokers { ($brokers) = @_; return $brokers }

sub member {
    my ($name, $topic, $group, $options, $behaviour) = @_;
    return GroupMember->start($name,
        brokers => $brokers, topics => [ref $topic ? @$topic : $topic], behaviour => $behaviour,
        options => {
            group_id => $group, session_timeout => SESSION_MS, heartbeat_interval => 0.3, %{ $options || {} },
        },
    );
}

sub is_spread {
    my ($partitions, $shares, @members) = @_;
    my $wanted = join ' ', sort @$shares;
    wait_until("shares of $wanted", sub { join(' ', sort(owners_of($partitions, @members))) eq $wanted }, @members);
    return pass "$partitions partitions are shared as $wanted";
}

sub leave {
    my ($member) = @_;
    $member->tell('leave');
    wait_until("$member->{name} to leave", sub { $member->{gone} }, $member);
    return is_deeply [$member->lines(qr/^left/)], ['left ok'], "$member->{name} has left";
}

sub fill {
    my ($topic, $from, $to) = @_;
    return kcat_produce(['-b', $brokers, '-t', $topic, '-K', ':'], join '', map { "k$_:v$_\n" } $from .. $to);
}

# How often each value came, to whichever member.
sub times_seen {
    my (@members) = @_;
    my %times;
    $times{ $_->[2] }++ for map { @{ $_->{records} } } @members;
    return \%times;
}

# What ConsumerGroupCommand shows: "topic:partition" => offset.
sub described {
    my ($version, $group) = @_;
    my @command = KafkaCluster::java_command($version, 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
        '--bootstrap-server', $brokers, '--describe', '--group', $group);
    open my $run, '-|', @command or die "java: $!";
    my %offsets;
    while (my $line = readline $run) {
        my (undef, $topic, $partition, $offset) = split ' ', $line;
        $offsets{"$topic:$partition"} = $offset if ($offset // '') =~ /\A\d+\z/;
    }
    close $run;
    return \%offsets;
}

# Whether the first record of each partition that a member has got is at the offset given.
sub continues_from {
    my ($offsets, $member) = @_;
    my %first;
    $first{ $_->[0] } //= $_->[1] for @{ $member->{records} };
    return is_deeply \%first, { map { $_ => $offsets->{$_} } keys %first }, 'and continues from them';
}

sub members_come_and_go {
    my ($topic, $group, %option) = @_;
    my $one = member(one => $topic, $group, \%option);
    is_spread(6, [6], $one);
    fill($topic, 1, 300);
    my $two = member(two => $topic, $group, \%option);
    is_spread(6, [3, 3], $one, $two);
    my $three = member(three => $topic, $group, \%option);
    is_spread(6, [2, 2, 2], $one, $two, $three);
    fill($topic, 301, 600);
    leave($two);
    is_spread(6, [3, 3], $one, $three);
    $three->kill('KILL');
    wait_until('the kill', sub { $three->{gone} }, $three);
    is_spread(6, [6], $one);
    fill($topic, 601, 900);
    wait_until('all records', sub { keys %{ times_seen($one, $two, $three) } == 900 }, $one, $two, $three);
    my $times = times_seen($one, $two, $three);
    is_deeply [grep { !$times->{"v$_"} } 1 .. 900], [], 'every record was delivered';
    is_deeply [map { $_->lines(qr/^error/) } $one, $two, $three], [], 'without an error';
    leave($one);
    return ($one, $two, $three);
}

# A member that hangs for longer than its session: others take over, and when it
# goes on it has to find out.
sub members_hang {
    my ($topic, $group, %option) = @_;
    $option{auto_commit_interval} = 0.2;
    my ($one, $two) = map { member($_ => $topic, $group, \%option) } qw(one two);
    is_spread(4, [2, 2], $one, $two);
    $two->kill('STOP');
    wait_until('the takeover', sub { $one->owns == 4 }, $one, $two);
    fill($topic, 1, 100);
    wait_until('the records', sub { @{ $one->{records} } >= 100 }, $one, $two);
    $two->kill('CONT');
    is_spread(4, [2, 2], $one, $two);
    fill($topic, 101, 200);
    wait_until('more records', sub { keys %{ times_seen($one, $two) } == 200 }, $one, $two);
    my $times = times_seen($one, $two);
    is_deeply [grep { !$times->{"v$_"} } 1 .. 200], [], 'every record was delivered';
    is_deeply [grep { $times->{"v$_"} > 1 } 1 .. 100], [], 'the member that hung has found out before it delivered any';
    leave($_) for $one, $two;
    return;
}

# How many records a member has got, whatever client it is.
sub count {
    my ($member) = @_;
    return @{ $member->{records} } + grep { /\bv\d+$/ } @{ $member->{lines} };
}

1;
