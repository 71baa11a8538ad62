package KafkaBench::Metadata;

# What a process does between its two looks at the clock to ask for the metadata of a
# topic again and again, each time after the answer before.

use v5.14;
use warnings;

use EV;
use KafkaBench;

# requests(\%run) -> the number of requests that failed.
sub requests {
    my ($run) = @_;
    my ($topic, $requests) = @$run{qw(topic messages)};
    my $conn = $run->{kafka}{cfg}{bootstrap_conn};
    my ($asked, $failed) = (0, 0);
    await(sub {
        my ($done) = @_;
        my $ask;
        $ask = sub {
            my ($result, $error) = @_;
            $failed++ if defined $error;
            return $done->(undef $ask) if $asked++ == $requests;
            $conn->metadata([$topic], $ask);
        };
        $ask->();
    });
    return $failed;
}

1;
