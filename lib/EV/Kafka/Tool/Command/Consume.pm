package EV::Kafka::Tool::Command::Consume;
use strict;
use warnings;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Format;
use EV::Kafka::Tool::Reader;

sub summary { return 'read records from topics' }

sub usage { return 'TOPIC[:PARTITION]... | -G GROUP TOPIC...' }

sub options {
    return (
        'offset|o=s' => 'beginning, end (the default), a number, -N or @TIME',
        'exit|e'     => 'end where the partitions end now',
        'count|c=i'  => 'end after so many records',
        'group|G=s'  => 'as a member of this group',
        'format|f=s' => 'how a record is written, such as %t:%p:%o %s\n',
        'json|J'     => 'a line of JSON for each record',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, $session, @topics) = (@$job{qw(option session)}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake('consume: which topic?') unless @topics;
    my $format = EV::Kafka::Tool::Format->of($option);
    my $write  = sub { print $format->(@_) };
    local $| = -t *STDOUT ? 1 : 0;
    if (defined $option->{group}) { _as_member($job, $write, @topics) }
    else {
        $session->client(headers => 'pairs', on_message => sub { });
        my $reader = EV::Kafka::Tool::Reader->new($session, $option->{offset} // ($option->{exit} ? 'beginning' : 'end'), @topics);
        $reader->read(_flushing($write), follow => !$option->{exit}, count => $option->{count});
    }
    $session->close;
    return EV::Kafka::Tool::DONE;
}

# Whoever reads what is written sees each record as it comes.
sub _flushing {
    my ($write) = @_;
    return sub { $write->(@_); STDOUT->flush };
}

sub _as_member {
    my ($job, $write, @topics) = @_;
    my ($option, $session) = @$job{qw(option session)};
    my ($read, $most) = (0, $option->{count});
    my $client;
    $client = $session->client(headers => 'pairs', on_message => sub {
        return if defined $most && $read >= $most;
        $write->(@_);
        STDOUT->flush;
        $client->stop_consuming if ++$read >= ($most // 9**9**9);
    });
    $session->stop_by_signal;
    $client->subscribe(@topics, group_id => $option->{group}, auto_commit_interval => 1, auto_offset_reset => _reset($option->{offset} // 'beginning'));
    $session->run_until(sub { defined $most && $read >= $most });
    # Also after a signal: others are to have the partitions, and what was read is to be known.
    my ($error) = $session->wait_to_end(sub { my ($cb) = @_; $client->unsubscribe($cb) });
    die "$error\n" if defined $error;
    return;
}

sub _reset {
    my ($from) = @_;
    return $from eq 'beginning' ? 'earliest' : $from eq 'end' ? 'latest' : EV::Kafka::Tool->mistake("-o: a group begins at beginning or end, not '$from'");
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Consume - ev-kafka consume

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut
