package EV::Kafka::Tool::Command::Bench;
use strict;
use warnings;

use Time::HiRes ();

use EV::Kafka::Tool;
use EV::Kafka::Tool::Progress;
use EV::Kafka::Tool::Reader;

use constant {
    MESSAGES => 1_000_000,
    BYTES    => 100,
};

# Messages on their way, and how many are produced in a turn.
use constant {
    FULL    => 100_000,
    AT_ONCE => 1_000,
};

sub summary { return 'how fast this machine writes to a cluster, or reads from it' }

sub usage { return 'produce|consume TOPIC' }

sub options {
    return (
        'messages|n=i'    => 'how many, a million by default',
        'size|s=i'        => 'bytes of each, 100 by default',
        'compression|z=s' => 'gzip, snappy, lz4 or zstd',
        'acks=s'          => 'all, 1 or 0',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($what, $topic, @rest) = @{ $job->{arguments} };
    my $does = { produce => \&_produce, consume => \&_consume }->{ $what // '' };
    EV::Kafka::Tool->mistake('bench: produce or consume, and a topic') if !$does || !defined $topic || @rest;
    my $session = $job->{session};
    my @cpu     = times;
    my $begun   = Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC());
    my ($count, $bytes, $failed) = $does->($job, $topic, $job->{option}{messages} // MESSAGES, \$begun, \@cpu);
    my $seconds = Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) - $begun;
    my @now     = times;
    my $used    = $now[0] + $now[1] - $cpu[0] - $cpu[1];
    $session->close;
    printf "%s messages of %s bytes in all, in %.2f s: %s messages/s, %.1f MB/s, %.2f us of CPU time each\n",
        EV::Kafka::Tool::Progress::number($count), EV::Kafka::Tool::Progress::number($bytes), $seconds,
        EV::Kafka::Tool::Progress::number($count / ($seconds || 1)), $bytes / ($seconds || 1) / 1e6, $count ? 1e6 * $used / $count : 0;
    print {*STDERR} "ev-kafka: $failed messages failed\n" if $failed;
    return $failed ? EV::Kafka::Tool::FAILED : EV::Kafka::Tool::DONE;
}

# The clock starts when the client is connected.
sub _start {
    my ($begun, $cpu) = @_;
    $$begun = Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC());
    @$cpu = times;
    return;
}

sub _produce {
    my ($job, $topic, $count, $begun, $cpu) = @_;
    my ($option, $session) = @$job{qw(option session)};
    my $client = $session->client(map({ defined $option->{$_} ? ($_ => $option->{$_}) : () } qw(compression acks)));
    my $size   = $option->{size} // BYTES;
    my $value  = 'x' x $size;
    my ($sent, $done, $failed, $first) = (0, 0, 0);
    my $settled = sub { my (undef, $error) = @_; $done++; $failed++, $first //= $error if defined $error };
    my $fill = sub {
        for (1 .. AT_ONCE) {
            return if $sent >= $count || $sent - $done >= FULL;
            $sent++;
            $client->produce($topic, undef, $value, $settled);
        }
    };
    my $progress = $session->progress(sub { EV::Kafka::Tool::Progress::number($done) . ' messages written' });
    $session->stop_by_signal;
    _start($begun, $cpu);
    my $idle = EV::idle($fill);
    $session->run_until(sub { $fill->() if $sent - $done < FULL; $done >= $count });
    $progress->end;
    print {*STDERR} "ev-kafka: $first\n" if defined $first;
    return ($done - $failed, ($done - $failed) * $size, $failed);
}

sub _consume {
    my ($job, $topic, $count, $begun, $cpu) = @_;
    my $session = $job->{session};
    $session->client(on_message => sub { });
    my $reader = EV::Kafka::Tool::Reader->new($session, 'beginning', $topic);
    my $bytes  = 0;
    my $progress = $session->progress(sub { EV::Kafka::Tool::Progress::number($reader->is_read) . ' messages read' });
    _start($begun, $cpu);
    $reader->read(sub { $bytes += length($_[4] // '') }, count => $count);
    $progress->end;
    return ($reader->is_read, $bytes, 0);
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Bench - ev-kafka bench

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut
