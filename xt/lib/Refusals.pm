package Refusals;

# Counts the records that brokers refuse, as the client hears of it. A producer that
# is not idempotent sends them again, and a leader that has just lost its partition
# refuses what its followers may have already: only these can be there twice. Keeps
# what has become of batches that were not taken, for a test that has to tell it.

use v5.14;
use warnings;

use EV;
use EV::Kafka;
use Inside;

my (%records, %story);

Inside::on_failed_batch(sub {
    my ($batch, $is_lost)             = @_;
    my ($topic, $partition, $code, $count) = @$batch{qw(topic partition error_code records)};
    push @{ $story{$topic}{$partition} }, sprintf '%.3f: %d records, %s', EV::time, $count,
        $is_lost ? 'the connection ended' : "error code $code";
    $records{$topic}{$partition}{$code} += $count unless $is_lost;
});

sub forget { %records = %story = (); return }

# story($class, $topic, $partition) -> a line for each batch that was not taken.
sub story { my ($class, $topic, $partition) = @_; return @{ $story{$topic}{$partition} || [] } }

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
