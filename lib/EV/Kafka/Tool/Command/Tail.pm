package EV::Kafka::Tool::Command::Tail;
use strict;
use warnings;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Format;
use EV::Kafka::Tool::Reader;

use constant RECORDS => 10;

sub summary { return 'the last records of topics, and what comes' }

sub usage { return 'TOPIC[:PARTITION]...' }

sub options {
    return (
        'lines|n=i' => 'how many records, 10 by default',
        'follow|f'  => 'go on with what comes',
        'format=s'  => 'how a record is written',
        'json|J'    => 'a line of JSON for each record',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, $session, @topics) = (@$job{qw(option session)}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake('tail: which topic?') unless @topics;
    my $most   = $option->{lines} // RECORDS;
    my $format = EV::Kafka::Tool::Format->of($option);
    $session->client(headers => 'pairs', on_message => sub { });
    my $reader = EV::Kafka::Tool::Reader->new($session, "-$most", @topics);
    my @last;
    $reader->read(sub {
        my @record = @_;
        # In the order of time; of the same moment in that of arrival.
        my $at = @last;
        $at-- while $at && $last[$at - 1][EV::Kafka::Tool::Format::TIMESTAMP] > $record[EV::Kafka::Tool::Format::TIMESTAMP];
        splice @last, $at, 0, \@record;
        shift @last if @last > $most;
    });
    print $format->(@$_) for @last;
    STDOUT->flush;
    if ($option->{follow} && !$session->has_to_stop) {
        my $goes_on = $reader->from_ends;
        $goes_on->read(sub { print $format->(@_); STDOUT->flush }, follow => 1);
    }
    $session->close;
    return EV::Kafka::Tool::DONE;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Tail - ev-kafka tail

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut
