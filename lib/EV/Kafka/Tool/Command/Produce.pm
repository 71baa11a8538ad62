package EV::Kafka::Tool::Command::Produce;
use strict;
use warnings;

use EV;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Format;
use EV::Kafka::Tool::Progress;

# Bytes that are read at once, and messages on their way before the input has to wait.
use constant {
    READ_AT_ONCE => 65_536,
    ON_THEIR_WAY => 50_000,
};

# Errors that are told before they are only counted.
use constant TOLD => 10;

sub summary { return 'write standard input to a topic' }

sub usage { return 'TOPIC < FILE' }

sub options {
    return (
        'key-separator|K=s' => 'what stands before the first of these is the key',
        'json|J'            => 'each line is JSON, as consume writes it',
        'header|H=s@'       => 'NAME=VALUE, for every message',
        'partition|p=i'     => 'this one',
        'null|Z'            => 'an empty value is null',
        'delimiter|D=s'     => 'the end of a message, instead of that of a line',
        'file|f=s'          => 'to read instead of standard input',
        'compression|z=s'   => 'gzip, snappy, lz4 or zstd',
        'acks=s'            => 'all, 1 or 0',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, $session, $topic, @rest) = (@$job{qw(option session)}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake('produce: one topic') if !defined $topic || @rest;
    my $in = _input($option->{file});
    my $self = bless {
        topic => $topic, option => $option, in => $in, rest => '', sent => 0, done => 0, failed => 0,
        delimiter => _unescaped($option->{delimiter} // "\n"),
        headers   => [map { /\A([^=]+)=(.*)\z/s ? [$1, $2] : EV::Kafka::Tool->mistake("-H: NAME=VALUE, not '$_'") } @{ $option->{header} || [] }],
    }, $class;
    my $client = $self->{client} = $session->client(
        map({ defined $option->{$_} ? ($_ => $option->{$_}) : () } qw(compression acks)));
    my $progress = $session->progress(sub { $self->_text });
    $session->stop_by_signal;
    $self->_watch;
    $session->run_until(sub { $self->{is_at_end} && $self->{done} == $self->{sent} });
    $session->wait(sub { my ($cb) = @_; $client->flush($cb) }) if !$session->has_to_stop;
    $progress->end;
    $session->close;
    return $self->{failed} || $self->{done} < $self->{sent} ? EV::Kafka::Tool::FAILED : EV::Kafka::Tool::DONE;
}

sub _input {
    my ($file) = @_;
    return \*STDIN unless defined $file;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    return $in;
}

sub _unescaped {
    my ($text) = @_;
    return $text =~ s/\\(n|t|r|0|\\)/{ n => "\n", t => "\t", r => "\r", 0 => "\0", '\\' => '\\' }->{$1}/ger;
}

sub _text {
    my ($self) = @_;
    my $failed = $self->{failed} ? ', ' . EV::Kafka::Tool::Progress::number($self->{failed}) . ' failed' : '';
    return EV::Kafka::Tool::Progress::number($self->{done} - $self->{failed}) . ' messages written' . $failed;
}

# A file is always ready, which the loop's backend need not know: an idle watcher reads it.
sub _watch {
    my ($self) = @_;
    $self->{watcher} = -f $self->{in} ? EV::idle(sub { $self->_read }) : EV::io($self->{in}, EV::READ, sub { $self->_read });
    return;
}

sub _read {
    my ($self) = @_;
    my $read = sysread $self->{in}, $self->{rest}, READ_AT_ONCE, length $self->{rest};
    return if !defined $read && ($!{EINTR} || $!{EAGAIN});
    warn "ev-kafka: cannot read: $!\n" if !defined $read;
    my ($delimiter, $from) = ($self->{delimiter}, 0);
    while ((my $at = index $self->{rest}, $delimiter, $from) >= 0) {
        $self->_produce(substr $self->{rest}, $from, $at - $from);
        $from = $at + length $delimiter;
    }
    substr $self->{rest}, 0, $from, '';
    if (!$read) {
        $self->_produce($self->{rest}) if length $self->{rest};
        $self->{is_at_end} = 1;
        delete $self->{watcher};
    }
    elsif ($self->{sent} - $self->{done} >= ON_THEIR_WAY) { delete $self->{watcher} }
    return;
}

sub _produce {
    my ($self, $line) = @_;
    my ($key, $value, $options) = $self->_message($line) or return;
    $self->{sent}++;
    $self->{client}->produce($self->{topic}, $key, $value, $options, \&_settled, $self);
    return;
}

sub _message {
    my ($self, $line) = @_;
    my $option = $self->{option};
    my ($key, $value, $more) = (undef, $line, {});
    if ($option->{json}) {
        my @read = eval { EV::Kafka::Tool::Format->record_of_json($line) };
        unless (@read) { $self->_fail($@ =~ s/\n\z//r); return }
        ($key, $value, $more) = @read;
    }
    elsif (defined(my $separator = $option->{'key-separator'})) {
        my $at = index $line, $separator;
        ($key, $value) = (substr($line, 0, $at), substr $line, $at + length $separator) if $at >= 0;
    }
    $value = undef if $option->{null} && defined $value && $value eq '';
    my @headers = (@{ $more->{headers} || [] }, @{ $self->{headers} });
    return ($key, $value, {
        %$more,
        @headers ? (headers => \@headers) : (),
        defined $option->{partition} ? (partition => $option->{partition}) : (),
    });
}

sub _settled {
    my ($result, $error, $self) = @_;
    $self->{done}++;
    $self->_fail($error) if defined $error;
    $self->_watch if !$self->{watcher} && !$self->{is_at_end} && $self->{sent} - $self->{done} < ON_THEIR_WAY / 2;
    return;
}

sub _fail {
    my ($self, $error) = @_;
    my $failed = ++$self->{failed};
    print {*STDERR} "ev-kafka: not written: $error\n" if $failed <= TOLD;
    print {*STDERR} "ev-kafka: what else fails is counted\n" if $failed == TOLD;
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Produce - ev-kafka produce

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut
