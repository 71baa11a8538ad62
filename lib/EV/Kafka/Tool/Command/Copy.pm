package EV::Kafka::Tool::Command::Copy;
use strict;
use warnings;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Progress;
use EV::Kafka::Tool::Reader;

# Messages on their way before reading waits, and the number at which it goes on.
use constant {
    FULL  => 50_000,
    DRAIN => 25_000,
};

sub summary { return 'every record of a topic into another one' }

sub usage { return 'FROM TO' }

sub options {
    return (
        'to=s'           => "another cluster's HOST:PORT,...",
        'to-property=s@' => 'NAME=VALUE, of that cluster',
        'follow|f'       => 'go on with what comes',
        'offset|o=s'     => 'from beginning (the default), a number, -N or @TIME',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, $session, $from, $to, @rest) = (@$job{qw(option session)}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake('copy: a topic to read and one to write') if !defined $to || @rest;
    EV::Kafka::Tool->mistake('copy: a topic cannot be copied into itself; --to names another cluster') if $from eq $to && !defined $option->{to};
    my $reading = $session->client(headers => 'pairs', on_message => sub { });
    my $target  = defined $option->{to} || $option->{'to-property'} ? _other_session($option) : $session;
    my $writing = $target->client;
    my $reader  = EV::Kafka::Tool::Reader->new($session, $option->{offset} // 'beginning', $from);
    my $keeps   = _partitions($target, $to) == $reader->partitions;
    my ($sent, $done, $failed, $first_error) = (0, 0, 0);
    my $settled = sub {
        my (undef, $error) = @_;
        $done++;
        $failed++, $first_error //= $error if defined $error;
        $reading->consume if $sent - $done == DRAIN;
    };
    my $progress = $session->progress(sub {
        return sprintf '%s of %s records copied', map { EV::Kafka::Tool::Progress::number($_) } $done - $failed, $reader->total;
    });
    $reader->read(sub {
        my (undef, $partition, undef, $key, $value, $headers, $timestamp) = @_;
        $sent++;
        $writing->produce($to, $key, $value, {
            $headers && @$headers ? (headers => $headers) : (),
            $timestamp >= 0       ? (timestamp => $timestamp) : (),
            $keeps                ? (partition => $partition) : (),
        }, $settled);
        $reading->stop_consuming if $sent - $done >= FULL;
    }, follow => $option->{follow});
    # Also after a signal: what was read is written.
    $target->wait_to_end(sub { my ($cb) = @_; $writing->flush($cb) });
    $progress->end;
    $_->close for $session, $target;
    print {*STDERR} "ev-kafka: $failed of $sent records were not copied: $first_error\n" if $failed;
    return $failed || $done < $sent ? EV::Kafka::Tool::FAILED : EV::Kafka::Tool::DONE;
}

sub _other_session {
    my ($option) = @_;
    return EV::Kafka::Tool->session({ %$option, brokers => $option->{to}, property => $option->{'to-property'} });
}

sub _partitions {
    my ($session, $topic) = @_;
    my ($described) = @{ $session->admin(describe_topics => [$topic])->{topics} };
    die "topic $topic: ", EV::Kafka::Client::error_name($described->{error_code}), "; create it first\n" if $described->{error_code};
    return scalar @{ $described->{partitions} };
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Copy - ev-kafka copy

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut
