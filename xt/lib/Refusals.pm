package Refusals;

# Counts the records that brokers refuse, as the client hears of it. A producer that
# is not idempotent sends them again, and a leader that has just lost its partition
# refuses what its followers may have already: only these can be there twice.

use v5.14;
use warnings;

use EV::Kafka;
use Inside;

my %records;

Inside::on_refused_batch(sub {
    my ($batch) = @_;
    $records{ $batch->{topic} }{ $batch->{partition} }{ $batch->{error_code} } += $batch->{records};
});

sub forget { %records = (); return }

# refused($class, $topic) -> the count by partition and code.
sub refused { my ($class, $topic) = @_; return $records{$topic} || {} }

# The partitions of a topic of which more records are there twice than were refused.
# $offsets: of each value, { partition => [offset, …] }.
sub unexplained {
    my ($class, $topic, $offsets) = @_;
    my %twice;
    for my $at (values %$offsets) {
        $twice{$_} += @{ $at->{$_} } - 1 for keys %$at;
    }
    my $refused = $class->refused($topic);
    return grep { my $sum = 0; $sum += $_ for values %{ $refused->{$_} || {} }; $twice{$_} > $sum } sort keys %twice;
}

1;
