package KafkaBench::Consume;

# What a consuming process does between its two looks at the clock: read a topic that
# holds enough until so many messages have been seen.

use v5.14;
use warnings;

use EV;
use KafkaBench;

my ($seen, $empty, $wanted) = (0, 0, 0);
my $done;

# For on_message: as the synopsis has it.
sub message {
    my ($topic, $partition, $offset, $key, $value, $headers) = @_;
    $empty++ unless length $value;
    $done->() if ++$seen == $wanted;
}

# For on_batch.
sub batch {
    my ($topic, $partition, $records) = @_;
    for my $record (@$records) {
        $empty++ unless length $record->[2];
    }
    my $before = $seen;
    $seen += @$records;
    $done->() if $before < $wanted && $seen >= $wanted;
}

# read_all(\%run) -> the number of messages that were empty.
sub read_all {
    my ($run) = @_;
    $wanted = $run->{messages};
    my $stop = read_until($run, sub { ($done) = @_ });
    $stop->();
    return $empty;
}

# read_until(\%run, $begin): reads all partitions from their beginning, until the callback
# that $begin gets is called; gives what ends it for good. BENCH_POLLS has it poll, as builds
# without consume do.
sub read_until {
    my ($run, $begin) = @_;
    my $kafka = $run->{kafka};
    $kafka->assign([map { { topic => $run->{topic}, partition => $_, offset => 0 } } 0 .. $run->{partitions} - 1]);
    if ($kafka->can('consume') && !$ENV{BENCH_POLLS}) {
        await(sub { $begin->(@_); $kafka->consume });
        return sub { $kafka->stop_consuming };
    }
    my ($turn, $poll);
    $poll = sub {
        my ($error) = @_;
        give_up("poll: $error") if defined $error;
        $turn = EV::timer 0, 0, sub { $kafka->poll($poll) if $poll };
    };
    await(sub { $begin->(@_); $poll->() });
    return sub { undef $poll };
}

1;
