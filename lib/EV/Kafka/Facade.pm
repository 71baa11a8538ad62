package EV::Kafka::Facade;
use strict;
use warnings;

use Scalar::Util qw(weaken);

# The interface of each owner while its methods are still the client's own: what stands here
# goes as soon as the owner is a class.

my %ROOM = (
    producer => {
        flush_all    => '_flush_all_batches',
        send_ready   => '_send_ready',
        check_buffer => '_check_buffer',
        identity     => sub { @{ $_[0]{cfg} }{qw(producer_id producer_epoch)} },
        is_ready     => sub { my ($client) = @_; $client->_producer_is_ready && !$client->{cfg}{init_producer} },
        renew        => '_renew_producer',
        needs_identity => '_needs_producer',
        has_identity => '_producer_is_ready',
        # It is asked for no more, and whatever waits for one fails; nothing of that once it is closed.
        fail         => sub {
            my ($client, $error) = @_;
            return if $client->{cfg}{closed};
            $client->{cfg}{producer_fatal} = $error;
            $client->_producer_failed($error);
        },
        # The open transaction's records.
        begin_transaction => sub { shift->{accumulator}->begin_transaction(@_) },
        keep_for_next     => sub { shift->{accumulator}->keep_for_next_transaction(@_) },
        abort_transaction => sub { shift->{accumulator}->abort_transaction(@_) },
        end_transaction   => sub { shift->{accumulator}->end_transaction(@_) },
        leave_transaction => sub { shift->{accumulator}->leave_transaction(@_) },
        unregistered      => sub { shift->{accumulator}->unregistered(@_) },
        registered        => sub { shift->{accumulator}->register(@_) },
        in_transaction    => sub { shift->{accumulator}->transaction_unsettled(@_) },
        fail_unsent       => sub { shift->{accumulator}->fail_transactional(@_) },
        # rules(%rules) whenever one of them is another one:
        #   refusal     what is produced is refused with this text
        #   transaction the number of the one that is open
        #   joined      what is produced now becomes part of it, and it fails when that is refused
        #   must_end    a new identity would fence the transaction: epoch_needed is told instead
        # It tells
        #   identified, identity_failed($error, $had_one), epoch_needed, progress (something was settled or may leave),
        #   transaction_failed($harm, $text, $number): abort, new epoch (an abort, and another epoch after it) or fenced;
        #   number undef for the open one
        rules        => sub { my ($client, %rules) = @_; $client->{cfg}{txn_rules} = \%rules; $client->_native_if_taken },
    },
);

sub rooms { return sort keys %ROOM }

sub of {
    my ($class, $room, $client) = @_;
    my $self = bless { room => $room, client => $client }, $class;
    weaken($self->{client});
    return $self;
}

our $AUTOLOAD;

sub AUTOLOAD {
    my ($self, @args) = @_;
    my $name   = $AUTOLOAD =~ s/.*:://r;
    my $method = $ROOM{ $self->{room} }{$name} or die "EV::Kafka::Facade: $self->{room} has no $name";
    my $client = $self->{client} or return;
    return $client->$method(@args);
}

sub DESTROY { }

1;

__END__

=head1 NAME

EV::Kafka::Facade - the interface of owners that are still parts of the client

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself.

=head1 METHODS

=head2 rooms, of($room, $client)

The names, and one of them.

=head1 SEE ALSO

L<EV::Kafka>

=cut
