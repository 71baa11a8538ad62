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
        # It is asked for no more, and whatever waits for one fails.
        fail         => '_producer_failed',
        # The open transaction's records.
        begin_transaction => '_txn_begin',
        keep_for_next     => '_txn_keep_for_next',
        abort_transaction => '_txn_give_up',
        end_transaction   => '_txn_end',
        leave_transaction => '_txn_leave',
        unregistered      => '_txn_unregistered',
        registered        => '_txn_registered',
        in_transaction    => '_txn_unsettled',
        fail_unsent       => '_txn_fail_unsent',
        # rules(%rules) whenever one of them is another one:
        #   refusal     what is produced is refused with this text
        #   transaction the number of the one that what is produced now becomes part of, and that fails with it
        #   must_end    a new identity would fence the transaction: epoch_needed is told instead
        # It tells
        #   identified, identity_failed($error, $had_one), epoch_needed, progress (something was settled or may leave),
        #   transaction_failed($harm, $text, $number): abort, new epoch (an abort, and another epoch after it) or fenced;
        #   number undef for the open one
        rules        => sub { my ($client, %rules) = @_; $client->{cfg}{txn_rules} = \%rules; $client->_native_if_taken },
    },
    transactions => {
        gives_up   => '_txn_gives_up',
        takes_over => '_txn_takes_over',
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
