package EV::Kafka::ShareGroup::Record;
use strict;
use warnings;

use Carp ();

# A record of a share group. It is made natively, as a list: one field is no hash.
use constant {
    TOPIC => 0, PARTITION => 1, OFFSET => 2, KEY => 3, VALUE => 4, HEADERS => 5, TIMESTAMP => 6, DELIVERY_COUNT => 7,
    HOLD => 8, SETTLED => 9,
};

# Kafka's numbers.
use constant { ACCEPT => 1, RELEASE => 2, REJECT => 3, RENEW => 4 };

sub topic          { $_[0][TOPIC] }
sub partition      { $_[0][PARTITION] }
sub offset         { $_[0][OFFSET] }
sub key            { $_[0][KEY] }
sub value          { $_[0][VALUE] }
sub headers        { $_[0][HEADERS] }
sub timestamp      { $_[0][TIMESTAMP] }
sub delivery_count { $_[0][DELIVERY_COUNT] }

sub accept  { return $_[0]->_settle(ACCEPT,  'accepted') }
sub release { return $_[0]->_settle(RELEASE, 'released') }
sub reject  { return $_[0]->_settle(REJECT,  'rejected') }

sub renew {
    my ($self) = @_;
    $self->_check;
    return $self->[HOLD]->settle($self, RENEW);
}

sub _settle {
    my ($self, $kind, $settled) = @_;
    $self->_check;
    my $is_taken = $self->[HOLD]->settle($self, $kind);
    $self->[SETTLED] = $settled if $is_taken;
    return $is_taken;
}

sub _check {
    my ($self) = @_;
    Carp::croak("$self->[TOPIC]:$self->[PARTITION], offset $self->[OFFSET], was $self->[SETTLED] before") if defined $self->[SETTLED];
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::ShareGroup::Record - a record that a share group has given to this member

=head1 SYNOPSIS

    $kafka->subscribe_share('jobs', group_id => 'workers', on_record => sub {
        my ($record) = @_;
        printf "%s:%d offset %d, delivery %d: %s\n",
            $record->topic, $record->partition, $record->offset, $record->delivery_count, $record->value;
    });

=head1 DESCRIPTION

What C<on_record> of L<EV::Kafka/"subscribe_share(@topics, %opts)"> gets. L<EV::Kafka::Manual::ShareGroups> says how it
is used.

=head1 METHODS

=head2 topic, partition, offset, key, value, headers, timestamp

As C<on_message> gets them: strings and headers are what the client's options C<strings> and C<headers> make of them. C<headers> is
undef when there are none; C<timestamp> is in milliseconds.

=head2 delivery_count

How often the record was delivered by now, to whichever member: 1 the first time.

=head2 accept

It is done with, and does not come again.

=head2 release

It comes again, to any member, until it was delivered as often as the group lets it (five times by default).

=head2 reject

It is done with although nobody could work on it, and does not come again.

=head2 renew

It is still worked on: its lock, which ends after thirty seconds by default, begins anew. Any number of times; the others come after it.
Needs brokers of Kafka 4.2 or later, and croaks where they are older.

Each of the four gives true if the broker will be told. Else the record is not held any more, because its lock has run out or is lost
with the connection, or the group has been left; C<on_acknowledge>, or C<on_notice>, is told so, and the record may come again. A record that was
accepted, released or rejected cannot be once more: that croaks, and changes nothing.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Manual::ShareGroups>

=cut
