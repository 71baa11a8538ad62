use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Inside;
use TestKafka;

# Whatever happens to a cluster, in whatever order: each record comes once and in order,
# from wherever was sought last, and none while its partition is paused. The seed of a run that failed repeats its
# decisions, though not their moments: KAFKA_TEST_SEED.

use constant { PARTITIONS => 6, BROKERS => 3, APPENDS => 400 };

my @MODES = (
    { name => 'consuming, one by one',     is_consuming => 1 },
    { name => 'poll, in batches',          is_batch     => 1 },
    { name => 'consuming from Fetch 11',   is_consuming => 1, fetch => 11 },
    { name => 'poll, from Fetch 11',       fetch => 11 },
);

sub one_of { return $_[rand @_] }

# Things that may happen to the cluster.
sub events {
    my ($mock) = @_;
    my $down;
    return (
        sub { eval { $mock->set_leader(t => int rand PARTITIONS, int rand BROKERS) } },    # not to one that is down
        sub { $mock->stop_broker($down = int rand BROKERS) unless defined $down },
        (sub { $mock->start_broker($down) if defined $down; undef $down }) x 3,
        sub { $mock->fault(api => one_of(qw(Fetch ListOffsets Metadata OffsetForLeaderEpoch)), drop => 1) },
        sub { $mock->fault(api => one_of(qw(Fetch Metadata)), delay_ms => 60) },
        sub { $mock->fault(api => 'Fetch', truncate => 1) },
        sub {
            $mock->fault(api => one_of(qw(Fetch ListOffsets)), topic => 't', partition => int rand PARTITIONS,
                error => one_of(3, 5, 6, 9, 74, 75));
        },
    );
}

for my $mode (@MODES) {
    my $seed = $ENV{KAFKA_TEST_SEED} || 1 + int rand 1_000_000;
    srand $seed;
    subtest "$mode->{name}, seed $seed" => sub {
        my $mock = EV::Kafka::Mock->new(brokers => BROKERS, replication_factor => BROKERS);
        $mock->api_versions(Fetch => 4, $mode->{fetch}) if $mode->{fetch};
        $mock->create_topic(t => PARTITIONS);
        my (%next, %end, %paused, %seeks, @wrong, $kafka);
        my $pause = sub {
            my ($partition) = @_;
            $kafka->pause([{ topic => 't', partition => $partition }]);
            $paused{$partition} = 1;
        };
        my $resume = sub {
            my @partitions = keys %paused;
            %paused = ();
            $kafka->resume([map { { topic => 't', partition => $_ } } @partitions]);
        };
        my $record = sub {
            my ($partition, $offset) = @_;
            my $expected = $next{$partition} || 0;
            push @wrong, "t:$partition: $offset in place of $expected" if $offset != $expected;
            $next{$partition} = $offset + 1;
        };
        # The lookup may fail, and another seek may overtake it.
        my $seek = sub {
            my ($partition, $offset) = @_;
            my $this = ++$seeks{$partition};
            $kafka->seek('t', $partition, $offset, sub {
                $next{$partition} = $_[0]{offset} if $_[0] && $this == $seeks{$partition};
            });
        };
        my $appends    = 0;
        my $on_message = sub {
            my ($partition, $offset) = @_[1, 2];
            push @wrong, "t:$partition: $offset while it is paused" if $paused{$partition};
            $record->($partition, $offset);
            $pause->($partition) if rand() < 0.003;
            return if !$mode->{is_consuming} || $appends >= APPENDS;
            $seek->($partition, int rand $offset) if rand() < 0.002;
            $seek->(int rand PARTITIONS, -2) if rand() < 0.001;
        };
        my $on_batch = sub { my ($topic, $partition, $records) = @_; $record->($partition, $_->[0]) for @$records };
        $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 20, fetch_max_bytes => 2000,
            request_timeout => 2, $mode->{is_batch} ? (on_batch => $on_batch) : (on_message => $on_message));
        $kafka->assign([map { { topic => 't', partition => $_, offset => -2 } } 0 .. PARTITIONS - 1]);
        my $poll;
        $poll = sub { $kafka->poll($poll) unless Inside::is_closed($kafka) };
        $mode->{is_consuming} ? $kafka->consume : $poll->();

        my @events = (events($mock), sub { $pause->(int rand PARTITIONS) }, $resume, $resume);
        my $happening = EV::timer 0, 0.005, sub {
            return if $appends++ >= APPENDS;
            my ($partition, $count) = (int rand PARTITIONS, 1 + int rand 30);
            $mock->append(t => $partition, map { { value => 'x' x rand 50 } } 1 .. $count);
            $end{$partition} += $count;
            one_of(@events)->() if rand() < 0.3;
        };
        wait_until { $appends > APPENDS } 'all that happens';
        undef $happening;
        eval { $mock->start_broker($_) } for 0 .. BROKERS - 1;
        my $resuming = EV::timer 0, 0.05, $resume;
        wait_until { !grep { ($next{$_} || 0) < $end{$_} } keys %end } 'everything';
        is_deeply \@wrong, [], 'each record came once, in order, and none while its partition was paused';
        $kafka->close;
        undef $poll;
    };
}

done_testing;
