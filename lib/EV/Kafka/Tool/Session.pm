package EV::Kafka::Tool::Session;
use strict;
use warnings;

use EV;
use EV::Kafka;
use EV::Kafka::Tool::Progress;

# A client for a command, and waiting for what it answers. A command goes from one step to the next; only what
# streams (records, input) has callbacks.
#   properties  to connect with
#   timeout     seconds
#   client      once it is needed
#   trouble     what on_error has said since the last step began
#   signals     what asks to stop

sub new {
    my ($class, %about) = @_;
    return bless {%about}, $class;
}

# The client with these options beside the properties, connected.
sub client {
    my ($self, %options) = @_;
    return $self->{client} if $self->{client};
    my $quiet  = $self->{quiet};
    my $client = $self->{client} = _new(
        librdkafka => $self->{properties},
        on_error   => sub { my ($error) = @_; $self->_trouble("$error") },
        on_notice  => sub { my ($text)  = @_; print {*STDERR} "ev-kafka: $text\n" unless $quiet },
        %options,
    );
    my $late = EV::timer($self->{timeout}, 0, sub { $self->_trouble("no broker has answered within $self->{timeout} seconds"); EV::break });
    $self->{is_connecting} = 1;
    $self->wait(sub { my ($cb) = @_; $client->connect($cb) });
    $self->{is_connecting} = 0;
    return $client;
}

# Whoever types a command wants no line of a program.
sub _new {
    my (@options) = @_;
    local $SIG{__WARN__} = sub { print {*STDERR} 'ev-kafka: ', _without_line(@_) };
    local $@;
    my $client = eval { EV::Kafka->new(@options) };
    return $client || die _without_line($@);
}

sub _without_line { my ($text) = @_; return $text =~ s/ at \S+ line \d+\.?\n\z/\n/r }

# What is no error of a step is told, and goes on.
sub _trouble {
    my ($self, $text) = @_;
    if ($self->{is_connecting}) { $self->{trouble} //= $text; EV::break }
    else                        { print {*STDERR} "ev-kafka: $text\n" }
    return;
}

# Turns the loop until $start->($cb) has called back, and returns with what.
sub wait {
    my ($self, $start) = @_;
    my ($is_there, @got);
    delete $self->{trouble};
    $start->(sub { @got = @_; $is_there = 1; EV::break });
    EV::run until $is_there || defined $self->{trouble} || $self->{has_to_stop};
    die "$self->{trouble}\n" if !$is_there && defined $self->{trouble};
    return @got;
}

# The same for what is to end in order whoever asks to stop, and whatever on_error hears meanwhile.
sub wait_to_end {
    my ($self, $start) = @_;
    my ($is_there, @got);
    $start->(sub { @got = @_; $is_there = 1; EV::break });
    EV::run until $is_there;
    return @got;
}

# The result of a method of the client's; dies of its error.
sub ask {
    my ($self, $method, @arguments) = @_;
    my $client = $self->client;
    my ($result, $error) = $self->wait(sub { my ($cb) = @_; $client->$method(@arguments, $cb) });
    die "$error\n" if defined $error && !defined $result;
    print {*STDERR} "ev-kafka: $error\n" if defined $error;
    return $result;
}

# The same of the admin methods, which have a time limit of their own.
sub admin {
    my ($self, $method, @arguments) = @_;
    my $options = ref $arguments[-1] eq 'HASH' ? pop @arguments : {};
    return $self->ask($method, @arguments, { %$options, timeout => $self->{timeout} });
}

# Turns the loop until $is_over->(), or until somebody asks to stop.
sub run_until {
    my ($self, $is_over) = @_;
    # Before the loop waits for what may never come.
    my $look = EV::prepare(sub { EV::break if $is_over->() || $self->{has_to_stop} });
    EV::run until $is_over->() || $self->{has_to_stop};
    return;
}

# From here on SIGINT and SIGTERM end what streams in an orderly way.
sub stop_by_signal {
    my ($self) = @_;
    $self->{signals} ||= [map { my $name = $_; EV::signal($name, sub { $self->stop }) } qw(INT TERM)];
    return;
}

sub stop        { my ($self) = @_; $self->{has_to_stop} = 1; EV::break; return }
sub has_to_stop { return $_[0]{has_to_stop} ? 1 : 0 }

sub close {
    my ($self) = @_;
    my $client = delete $self->{client} or return;
    return $client->close;
}

# A line that tells how far a command is: $text->() when it is due.
sub progress {
    my ($self, $text) = @_;
    return EV::Kafka::Tool::Progress->new($self->{progress}, $text);
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Session - a client, and waiting for its answers

=head1 DESCRIPTION

For the commands of L<EV::Kafka::Tool>, not for use by itself.

=head1 METHODS

=head2 new(properties => \%properties, timeout => $seconds, quiet => $bool, progress => $bool)

Nothing is connected yet.

=head2 client(%options)

The client, connected; the options count for the first call. Dies if no broker answers.

=head2 wait($start), wait_to_end($start)

What the callback gets that C<$start> is given; the second waits for it also when somebody asks to stop.

=head2 ask($method, @arguments), admin($method, @arguments)

The result of a method of the client. Its error is what these die of, or a warning if there is a result as well.

=head2 run_until($is_over), stop_by_signal, stop, has_to_stop

For what streams: turns the loop until the code returns something true, or until a signal, or C<stop>, ends it.

=head2 progress($text)

An L<EV::Kafka::Tool::Progress>.

=head2 close

Closes the client.

=head1 SEE ALSO

L<ev-kafka>

=cut
