package ExampleTest;
use strict;
use warnings;

use EV;
use EV::Kafka::Mock;
use Exporter qw(import);
use POSIX ();
use Test::More;

use TestKafka qw(wait_until);

# For tests of the examples. Each runs as a process of its own, against a cluster
# that lives in this one.

our @EXPORT = qw(example output_of counts);

# Runs an example to its end -> exit status, what it printed. on_line => sub
# { ($line, $pid) } sees each line when it comes.
sub example {
    my ($name, $environment, $on_line) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        open STDOUT, '>&', $writer or POSIX::_exit(99);
        open STDERR, '>&', $writer or POSIX::_exit(99);
        delete @ENV{ grep { /^KAFKA_/ } keys %ENV };
        @ENV{ keys %$environment } = values %$environment;
        exec $^X, (map {"-I$_"} grep { !ref } @INC), "eg/$name.pl" or POSIX::_exit(99);
    }
    close $writer;
    my ($output, $line, $ended, $status) = ('', '');

    # EV's default loop is who hears of children that end.
    my $child = EV::child $pid, 0, sub { $status = $_[0]->rstatus };
    my $reading = EV::io $reader, EV::READ, sub {
        my $got = sysread $reader, my ($bytes), 65536;
        return $ended = 1 unless $got;
        $output .= $bytes;
        $line   .= $bytes;
        while ($line =~ s/^(.*)\n//) { $on_line->("$1", $pid) if $on_line }
    };
    wait_until { $ended && defined $status } "the end of $name.pl" or kill KILL => $pid;
    note $output;
    return ($status, $output);
}

# The output of an example that must end well.
sub output_of {
    my ($status, $output) = example(@_);
    is $status, 0, 'ends well';
    return $output;
}

# How many messages each partition of a topic holds.
sub counts {
    my ($mock, $topic) = @_;
    return [map { scalar(() = $mock->records($topic, $_)) } 0 .. $mock->partitions($topic) - 1];
}

1;
