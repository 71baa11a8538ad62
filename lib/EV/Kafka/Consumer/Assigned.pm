package EV::Kafka::Consumer::Assigned;
use strict;
use warnings;

use EV::Kafka::Consumer::Cursor;

# What is assigned and how far it has been delivered. {assignments} among the options is the
# list that programs read and write: { topic, partition, offset }, the offset being the
# position behind what was delivered. What the client needs to know of a partition beside it
# is its cursor.
#   options   {assignments} is written here alone
#   cursors   by "topic:partition", made when they are asked for
#   changes   "topic:partition" => 1: what may have to be asked for otherwise than before
#   version   counts the assignments
#   handing   the part of an answer whose records native code is handing to the program
#   begun     the same also when the program ends the process meanwhile

sub new {
    my ($class, $options) = @_;
    $options->{assignments} = [];
    return bless { options => $options, cursors => {}, changes => {}, version => 0 }, $class;
}

sub all     { return @{ $_[0]{options}{assignments} } }
sub list    { return $_[0]{options}{assignments} }
sub cursors { return values %{ $_[0]{cursors} } }

sub find {
    my ($self, $topic, $partition) = @_;
    my ($found) = grep { $_->{topic} eq $topic && $_->{partition} == $partition } $self->all;
    return $found;
}

# A partition that was given up and has come back has another entry than before.
sub by_key {
    my ($self) = @_;
    return { map { ("$_->{topic}:$_->{partition}" => $_) } $self->all };
}

sub cursor {
    my ($self, $assigned) = @_;
    my $key = "$assigned->{topic}:$assigned->{partition}";
    return $self->{cursors}{$key} || $self->_own($key, EV::Kafka::Consumer::Cursor->new($assigned->{leader_epoch}));
}

# If there is one by now.
sub cursor_of { my ($self, $key) = @_; return $self->{cursors}{$key} }

sub _own {
    my ($self, $key, $cursor) = @_;
    $cursor->belongs_to($self->{changes}, $key);
    return $self->{cursors}{$key} = $cursor;
}

# Whether the cursor still stands for its partition.
sub is_current {
    my ($self, $assigned, $cursor) = @_;
    my $current = $self->{cursors}{"$assigned->{topic}:$assigned->{partition}"};
    return $current && $current == $cursor;
}

# --- what has changed -----------------------------------------------------------------

sub version { return $_[0]{version} }

# By their keys.
sub changed { my ($self, @keys) = @_; @{ $self->{changes} }{@keys} = (1) x @keys; return }

sub take_changed {
    my ($self) = @_;
    my $changes = $self->{changes};
    return unless %$changes;
    my @keys = keys %$changes;
    # The cursors have this hash.
    %$changes = ();
    return @keys;
}

# --- another assignment: each gives the rounds of poll that waited for what has gone ------

# Replaces all: also of a partition that was assigned before nothing is kept.
sub replace {
    my ($self, $assigned) = @_;
    my @rounds = map { $_->retire } $self->cursors;
    $self->{options}{assignments} = $assigned;
    $self->{cursors} = {};
    $self->{version}++;
    return @rounds;
}

# Partitions that stay keep their position and what was fetched of them; what is new
# has the cursor that is given for it, or a plain one.
sub change {
    my ($self, $assigned, %new) = @_;
    my $was     = $self->by_key;
    my $cursors = $self->{cursors};
    $self->{cursors} = {};
    my @now;
    for my $given (@$assigned) {
        my $key = "$given->{topic}:$given->{partition}";
        push @now, $was->{$key} || {%$given};
        my $cursor = $was->{$key} ? delete $cursors->{$key} : $new{$key};
        $self->_own($key, $cursor) if $cursor;
    }
    my @rounds = map { $_->retire } values %$cursors;
    $self->{options}{assignments} = \@now;
    $self->{version}++;
    return @rounds;
}

# --- positions ----------------------------------------------------------------------

# Exact also from within on_message: the message that is being delivered counts.
sub position_of {
    my ($self, $assigned) = @_;
    my $cursor = $self->cursor($assigned);
    my $part   = $self->{handing};
    return $part->{fetched}->position($part->{index})
        if $part && $part->{cursor} == $cursor && $part->{generation} == $cursor->{generation};
    return ($assigned->{offset}, $cursor->{position_epoch});
}

# What has been delivered of every partition whose position is known.
sub positions {
    my ($self) = @_;
    return $self->_positions_by(sub { $self->position_of($_[0]) });
}

# What the program is done with: without the record, or batch, whose callback has not
# returned, also when it never will because it has ended the process.
sub handled_positions {
    my ($self) = @_;
    my $part = $self->{begun};
    return $self->_positions_by(sub {
        my ($assigned, $cursor) = @_;
        my $is_begun = $part && $part->{cursor} == $cursor
            && $part->{generation} == $cursor->{generation} && $part->{from} == $assigned->{offset};
        return $is_begun ? $part->{fetched}->handled($part->{index}) : ($assigned->{offset}, $cursor->{position_epoch});
    });
}

sub _positions_by {
    my ($self, $position_of) = @_;
    my @positions;
    for my $assigned ($self->all) {
        my $cursor = $self->cursor($assigned);
        next if $cursor->is_untold;
        my ($offset, $epoch) = $position_of->($assigned, $cursor);
        push @positions, { topic => $assigned->{topic}, partition => $assigned->{partition},
            offset => $offset, leader_epoch => $epoch } if $offset >= 0;
    }
    return @positions;
}

# --- a part of an answer: EV::Kafka::Consumer::Delivery says what it is ----------------

# Looked at several times for every part, hence without further calls.
sub is_wanted {
    my ($self, $part) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    my $current = $self->{cursors}{"$assigned->{topic}:$assigned->{partition}"};
    return $current && $current == $cursor && ($part->{asked} || $cursor->{generation} == $part->{generation});
}

# Hands its records over by a method of the native answer's, and gives what that gives.
sub hand_over {
    my ($self, $part, $method, @how) = @_;
    local $self->{handing} = $self->{begun} = $part;
    my @outcome = $part->{fetched}->$method($part->{index}, @how);
    delete $self->{begun};
    return @outcome;
}

sub is_handing { return $_[0]{handing} ? 1 : 0 }

# Native code comes back after the message that is being delivered.
sub interrupt {
    my ($self) = @_;
    my $part = $self->{handing} or return;
    $part->{fetched}->interrupt;
    return;
}

# A seek, from within on_message or before the answer came, has the last word,
# and so has a program that writes to {assignments}.
sub delivered {
    my ($self, $part, $is_done) = @_;
    my ($assigned, $cursor) = @$part{qw(assigned cursor)};
    return unless $self->is_current($assigned, $cursor) && $cursor->{generation} == $part->{generation};
    return $cursor->drop_fetched if $assigned->{offset} != $part->{from};
    my ($position, $epoch) = $is_done ? @$part{qw(next epoch)} : $part->{fetched}->position($part->{index});
    $assigned->{offset} = $part->{from} = $position;
    return $cursor->delivered($position, $epoch, $is_done);
}

1;

__END__

=head1 NAME

EV::Kafka::Consumer::Assigned - what a consumer is assigned, and its positions

=head1 DESCRIPTION

A part of L<EV::Kafka::Consumer>, not for use by itself. It knows the list of partitions that
programs see, the L<EV::Kafka::Consumer::Cursor> of each, and how far each has been delivered.

=head1 METHODS

=head2 new($options)

Publishes C<assignments> there.

=head2 all, list, find($topic, $partition), by_key, cursors, cursor($assigned), cursor_of($key), is_current($assigned, $cursor)

What is assigned: all of it, the list itself, one partition, by C<topic:partition>; the cursors; and whether one of them
still is its partition's.

=head2 version, changed(@keys), take_changed

Counts the assignments. By C<topic:partition>: a Fetch may have to ask otherwise; for what it may, which is known then.

=head2 replace(\@assigned), change(\@assigned, %new)

Another assignment, and one in which partitions may stay. Each gives the rounds of C<poll> that waited for
what has gone.

=head2 position_of($assigned), positions, handled_positions

Offset and leader epoch behind what was delivered; all that are known; and those behind what the program
is done with.

=head2 is_wanted($part), hand_over($part, $method, @how), is_handing, interrupt, delivered($part, $is_done)

A part of an answer: whether it is to be delivered, its delivery, and what comes of it.

=head1 SEE ALSO

L<EV::Kafka::Consumer>

=cut
