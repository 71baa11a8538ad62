package EV::Kafka::Tool::Command::Grep;
use strict;
use warnings;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Format;
use EV::Kafka::Tool::Progress;
use EV::Kafka::Tool::Reader;

sub summary { return 'records whose value, key or header matches' }

sub usage { return 'PATTERN TOPIC[:PARTITION]...' }

sub options {
    return (
        'key|k'         => 'look at keys',
        'header=s'      => 'look at the header of this NAME',
        'ignore-case|i' => 'capitals do not count',
        'fixed|F'       => 'the pattern is a string',
        'invert|v'      => 'those that do not match',
        'count|c'       => 'only how many',
        'max|m=i'       => 'end after so many',
        'offset|o=s'    => 'from beginning (the default), a number, -N or @TIME',
        'format|f=s'    => 'how a record is written',
        'json|J'        => 'a line of JSON for each record',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, $session, $pattern, @topics) = (@$job{qw(option session)}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake('grep: a pattern and a topic') unless @topics;
    my $matches = _matcher($option, $pattern);
    my $format  = EV::Kafka::Tool::Format->of($option);
    $session->client(headers => 'pairs', on_message => sub { });
    my $reader = EV::Kafka::Tool::Reader->new($session, $option->{offset} // 'beginning', @topics);
    my ($found, $most) = (0, $option->{max});
    my $progress = $session->progress(sub {
        my ($read, $total) = ($reader->is_read, $reader->total);
        return sprintf '%s of %s records, %s found', map { EV::Kafka::Tool::Progress::number($_) } $read, $total, $found;
    });
    $reader->read(sub {
        return unless $matches->(@_);
        print $format->(@_) unless $option->{count};
        $reader->stop if ++$found >= ($most // 9**9**9);
    });
    $progress->end;
    print "$found\n" if $option->{count};
    $session->close;
    return $found ? EV::Kafka::Tool::DONE : EV::Kafka::Tool::FAILED;
}

sub _matcher {
    my ($option, $pattern) = @_;
    $pattern = quotemeta $pattern if $option->{fixed};
    my $regexp = eval { $option->{'ignore-case'} ? qr/$pattern/i : qr/$pattern/ }
        // EV::Kafka::Tool->mistake('grep: the pattern is no regular expression: ' . $@ =~ s/ at \S+ line \d+\.?\n\z//r);
    my $header  = $option->{header};
    my $text_of = defined $header ? sub { my ($pair) = grep { $_->[0] eq $header } @{ $_[EV::Kafka::Tool::Format::HEADERS] || [] }; $pair && $pair->[1] }
        : $option->{key} ? sub { $_[EV::Kafka::Tool::Format::KEY] } : sub { $_[EV::Kafka::Tool::Format::VALUE] };
    my $wanted = $option->{invert} ? 0 : 1;
    return sub { my $text = $text_of->(@_); return (defined $text && $text =~ $regexp ? 1 : 0) == $wanted };
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Grep - ev-kafka grep

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut
