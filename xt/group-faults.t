use v5.14;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Test::More;

use TestKafka qw(wait_until);

# Groups whose members come, commit, leave and vanish while a mock cluster refuses, delays and
# drops their requests and moves their coordinator: at random, the same for the same
# seed as far as time allows. Whatever happens, nothing is skipped within an assignment,
# only what was assigned is delivered and revoked, nothing is committed that was not delivered, each
# callback is called once, and in the end everything has been read.
#
#   GROUP_FAULTS_SEEDS='1 2 3' prove -l xt/group-faults.t

my @SEEDS      = split ' ', $ENV{GROUP_FAULTS_SEEDS} // '1 2';
my @TOPICS     = qw(t u);
my $PARTITIONS = 3;
my $ACTS       = 50;
my $MOST       = 6;

my %CODES = (
    JoinGroup              => [14, 15, 16, 25, 27, 79],
    SyncGroup              => [14, 15, 16, 22, 25, 27],
    Heartbeat              => [14, 15, 16, 22, 25, 27],
    LeaveGroup             => [15, 25],
    ConsumerGroupHeartbeat => [14, 15, 16, 25, 110],
    OffsetCommit           => [14, 15, 16, 25],
    OffsetFetch            => [14, 15, 16],
    FindCoordinator        => [14, 15],
    ListOffsets            => [5, 6],
    Fetch                  => [5, 6],
);
my @COMMON  = qw(OffsetCommit OffsetFetch FindCoordinator ListOffsets Fetch);
my @CLASSIC = (qw(JoinGroup SyncGroup Heartbeat LeaveGroup), @COMMON);
my %KINDS   = (
    'classic, eager'       => { apis => \@CLASSIC, option => [assignors => ['sticky']] },
    'classic, cooperative' => { apis => \@CLASSIC, option => [assignors => ['cooperative-sticky']] },
    'consumer'             => { apis => ['ConsumerGroupHeartbeat', @COMMON], option => [group_protocol => 'consumer'] },
);

sub pick { return $_[rand @_] }

sub begin {
    my ($kind) = @_;
    my $mock = EV::Kafka::Mock->new(brokers => 3, min_session_timeout_ms => 1,
        consumer_session_timeout_ms => 3000, consumer_heartbeat_interval_ms => 50);
    $mock->create_topic($_ => $PARTITIONS) for @TOPICS;
    return { %$kind, mock => $mock, members => [], wrong => {}, seen => {}, called => {}, last => 0 };
}

sub wrong { my ($run, $what) = @_; $run->{wrong}{$what}++; return }

sub once {
    my ($run, $what) = @_;
    my $id = "$what " . ++$run->{last};
    $run->{called}{$id} = 0;
    return sub { $run->{called}{$id}++ };
}

sub join_group {
    my ($run) = @_;
    my $number = ++$run->{number};
    my $member = { owns => {}, next => {} };
    my $kafka  = $member->{kafka} = EV::Kafka->new(
        brokers => $run->{mock}->bootstrap, fetch_max_wait_ms => 50, on_error => sub { note "$number: @_" },
        on_message => sub {
            my ($topic, $partition, $offset) = @_;
            my $key = "$topic:$partition";
            wrong($run, "$key is delivered to who does not own it") unless $member->{owns}{$key};
            wrong($run, "$key: from $member->{next}{$key} to $offset")
                if defined $member->{next}{$key} && $member->{next}{$key} != $offset;
            $member->{next}{$key} = $offset + 1;
            $run->{seen}{$key}{$offset} = 1;
            act($run, $member) if rand() < 0.002;
        });
    $kafka->connect;
    $kafka->subscribe(@TOPICS, group_id => 'g', session_timeout => 2000, rebalance_timeout => 3000,
        heartbeat_interval => 0.05, auto_commit_interval => pick(0, 0.05), @{ $run->{option} },
        (rand() < 0.3 ? (group_instance_id => "instance-$number") : ()),
        on_assign => sub {
            for my $key (map { "$_->{topic}:$_->{partition}" } @{ $_[0] }) {
                wrong($run, "$key is assigned to who owns it") if $member->{owns}{$key}++;
                delete $member->{next}{$key};
            }
            act($run, $member) if rand() < 0.05;
        },
        on_revoke => sub {
            for my $key (map { "$_->{topic}:$_->{partition}" } @{ $_[0] }) {
                wrong($run, "$key is revoked from who does not own it") unless delete $member->{owns}{$key};
            }
            act($run, $member) if rand() < 0.05;
        });
    push @{ $run->{members} }, $member;
    return;
}

sub present { my ($run) = @_; return grep { !$_->{gone} } @{ $run->{members} } }

# What a program may do at any time.
sub act {
    my ($run, $member) = @_;
    return if $member->{gone} || $run->{is_over};
    my $what = pick(qw(commit commit commit committed unsubscribe close));
    $member->{gone} = 1 if $what eq 'unsubscribe' || $what eq 'close';
    return $member->{kafka}->$what(once($run, $what));
}

sub disturb {
    my ($run) = @_;
    my @present = present($run);
    my $chance  = rand;
    return join_group($run) if @present < 2 || $chance < 0.2 && @present < $MOST;
    return act($run, pick(@present)) if $chance < 0.3;
    if ($chance < 0.35) {
        my $member = pick(@present);
        $member->{gone} = 1;
        delete $member->{kafka};
        return;
    }
    my $mock = $run->{mock};
    my $api  = pick(@{ $run->{apis} });
    return $mock->fault(api => $api, error => pick(@{ $CODES{$api} }), times => pick(1, 2)) if $chance < 0.65;
    return $mock->fault(api => $api, drop => 1, applied => pick(0, 1)) if $chance < 0.8;
    return $mock->fault(api => $api, delay_ms => int rand 300) if $chance < 0.9;
    return $mock->fault(api => $_, hang => 1) for grep { $chance < 0.95 && /Heartbeat/ } @{ $run->{apis} };
    return $mock->set_coordinator(group => 'g', pick(0, 1, 2));
}

sub is_settled {
    my ($run) = @_;
    my $owned = 0;
    for my $member (present($run)) {
        return 0 if ($member->{kafka}{cfg}{group} || {})->{state} ne 'stable';
        $owned += keys %{ $member->{owns} };
    }
    return $owned == @TOPICS * $PARTITIONS && !unread($run);
}

sub unread {
    my ($run) = @_;
    my @unread;
    for my $topic (@TOPICS) {
        for my $partition (0 .. $PARTITIONS - 1) {
            my $key = "$topic:$partition";
            push @unread, map { "$key\@$_" } grep { !$run->{seen}{$key}{$_} }
                0 .. $run->{mock}->high_watermark($topic, $partition) - 1;
        }
    }
    return @unread;
}

sub committed_too_far {
    my ($run) = @_;
    my $committed = $run->{mock}->offsets('g');
    return grep { my $offset = $committed->{$_}{offset}; $offset && !$run->{seen}{$_}{ $offset - 1 } } keys %$committed;
}

for my $name (sort keys %KINDS) {
    for my $seed (@SEEDS) {
        subtest "$name, seed $seed" => sub {
            srand $seed;
            my $run = begin($KINDS{$name});
            join_group($run) for 1 .. 3;
            my $writer = EV::timer 0, 0.02, sub {
                $run->{mock}->append($_ => int rand $PARTITIONS, map { { value => 'v' } } 1 .. 1 + rand 20) for @TOPICS;
            };
            my $acts = 0;
            my $chaos = EV::timer 0.3, 0.12, sub { disturb($run); $acts++ };
            wait_until { $acts >= $ACTS } 'the disturbances';
            undef $_ for $chaos, $writer;
            $run->{is_over} = 1;
            $run->{mock}->clear_faults;
            join_group($run);
            wait_until { is_settled($run) } 'the end of the commotion';
            is_deeply [sort keys %{ $run->{wrong} }], [], 'nothing went wrong on the way';
            is_deeply [unread($run)], [], 'everything was read';
            is_deeply [committed_too_far($run)], [], 'nothing was committed that was not delivered';
            $_->close for grep { defined } map { $_->{kafka} } @{ $run->{members} };
            is_deeply [grep { $run->{called}{$_} != 1 } sort keys %{ $run->{called} }], [], 'each callback was called once';
        };
    }
}

done_testing;
