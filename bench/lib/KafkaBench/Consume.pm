package KafkaBench::Consume;

# What a consuming process does between its two looks at the clock. Each takes a
# connected client, a topic that holds enough, and the number of messages, and comes
# back when so many have been seen, with the number of those that were empty.

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

sub assign_and_poll {
    my ($kafka, $topic, $messages) = @_;
    $wanted = $messages;
    $kafka->assign([map { { topic => $topic, partition => $_, offset => 0 } } 0 .. setting('PARTITIONS') - 1]);
    my ($turn, $poll);
    $poll = sub {
        my ($error) = @_;
        give_up("poll: $error") if defined $error;
        $turn = EV::timer 0, 0, sub { $kafka->poll($poll) if $poll };
    };
    await(sub { ($done) = @_; $poll->() });
    undef $poll;
    return $empty;
}

1;
