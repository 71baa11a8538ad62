package EV::Kafka::Group::Positions;
use strict;
use warnings;

use EV::Kafka::Error;
use EV::Kafka::Partitions;

# The positions that a member of a group wants to be stored, and who waits for that. At
# most one request is under way at a time: of two the coordinator may carry out the
# first one last. What is wanted meanwhile goes with the next, the newest position of a
# partition instead of those before it; and what has to be asked for again joins it too.
#   wanted        by "topic:partition", { position, number }: for the next request
#   under_way     the same, in the request that is not answered yet
#   waiters       { done, named, left => { key => number }, errors => { key => reason } }, in
#                 the order in which they came: what was wanted under a later number has
#                 settled the earlier ones, too
#   acknowledged  by key, the offset that the coordinator has confirmed last

# Partitions that one reason is told of by name.
use constant NAMED => 10;

sub new {
    my ($class) = @_;
    return bless { number => 0, wanted => {}, under_way => undef, waiters => [], acknowledged => {} }, $class;
}

# { topic, partition, offset, leader_epoch?, metadata? }, …: once they are settled,
# $done is among what settle and fail return. With named => 1 it was somebody's wish that
# these very partitions are stored.
sub add {
    my ($self, $positions, $done, %how) = @_;
    my $number = ++$self->{number};
    my %left;
    for my $position (@$positions) {
        my $key = EV::Kafka::Partitions::key_of($position);
        $left{$key} = $number;
        $self->{wanted}{$key} = { position => $position, number => $number };
    }
    push @{ $self->{waiters} }, { done => $done, named => $how{named}, left => \%left, errors => {} };
    return;
}

sub is_idle { my ($self) = @_; return !$self->{under_way} && !%{ $self->{wanted} } }

sub is_under_way { my ($self) = @_; return $self->{under_way} ? 1 : 0 }

sub wanted    { my ($self) = @_; return keys %{ $self->{wanted} } }
sub wanted_of { return $_[0]{wanted}{ $_[1] }{position} }
sub under_way { my ($self) = @_; return keys %{ $self->{under_way} || {} } }

# The positions of the next request, which counts as under way from here on. None while
# another one is, or when nothing is wanted.
sub take {
    my ($self) = @_;
    return if $self->{under_way} || !%{ $self->{wanted} };
    my $taken = $self->{under_way} = $self->{wanted};
    $self->{wanted} = {};
    return map { $taken->{$_}{position} } sort keys %$taken;
}

# The request has ended. By key: undef is stored, again => 1 is wanted still, unless there is
# a newer position by now; and reason => text, with %s for the partitions' names, will not be
# stored, which with gone => 1 only those are told that have named it. Returns [$done,
# $error], … of those that wait no more.
sub settle {
    my ($self, $verdict_of) = @_;
    my $taken = $self->{under_way} or return;
    $self->{under_way} = undef;
    for my $key (keys %$taken) {
        my $verdict = $verdict_of->{$key};
        if ($verdict && $verdict->{again}) {
            $self->{wanted}{$key} ||= $taken->{$key};
            next;
        }
        $self->{acknowledged}{$key} = $taken->{$key}{position}{offset} unless $verdict;
        $self->_settled($key, $taken->{$key}{number}, $verdict || {});
    }
    return $self->_ended;
}

sub _settled {
    my ($self, $key, $number, $verdict) = @_;
    for my $waiter (grep { ($_->{left}{$key} // $number + 1) <= $number } @{ $self->{waiters} }) {
        delete $waiter->{left}{$key};
        $waiter->{errors}{$key} = $verdict->{reason}
            if defined $verdict->{reason} && ($waiter->{named} || !$verdict->{gone});
    }
    return;
}

# What is wanted of these partitions, or of all, will not be sent. Returns what settle does.
sub drop {
    my ($self, $verdict, @keys) = @_;
    my $wanted = $self->{wanted};
    for my $key (@keys ? grep { $wanted->{$_} } @keys : keys %$wanted) {
        $self->_settled($key, (delete $wanted->{$key})->{number}, $verdict);
    }
    return $self->_ended;
}

# Nothing will be heard any more, of what is under way neither.
sub fail {
    my ($self, $reason) = @_;
    @$self{qw(wanted under_way)} = ({}, undef);
    return map { [$_->{done}, $reason] } splice @{ $self->{waiters} };
}

sub _ended {
    my ($self) = @_;
    my (@ended, @left);
    push @{ %{ $_->{left} } ? \@left : \@ended }, $_ for @{ $self->{waiters} };
    $self->{waiters} = \@left;
    return map { [$_->{done}, _text_of($_->{errors})] } @ended;
}

# Partitions that fail of the same reason are told together; undef without any.
sub _text_of {
    my ($errors) = @_;
    my %keys_of;
    push @{ $keys_of{ $errors->{$_} } }, $_ for sort keys %$errors;
    return EV::Kafka::Error->together(map { told($errors->{ $keys_of{$_}[0] }, $keys_of{$_}) } sort keys %keys_of);
}

# One error about all of them, which knows of each.
sub told {
    my ($reason, $keys) = @_;
    $reason = EV::Kafka::Error->from($reason);
    my @named = @$keys > NAMED ? (@$keys[0 .. NAMED - 1], @$keys - NAMED . ' more') : @$keys;
    my $told = _about($reason, join ', ', @named);
    my @each = map { my ($topic, $partition) = /\A(.+):([0-9]+)\z/s; _about($reason, $_)->at(topic => $topic, partition => $partition) } @$keys;
    return @each == 1 ? $each[0] : EV::Kafka::Error->together(@each)->said($told->text);
}

sub _about { my ($reason, $names) = @_; return $reason->said($reason->text =~ s/%s/$names/r) }

# The offset of a partition that is stored as far as is known.
sub acknowledged { my ($self, $key) = @_; return $self->{acknowledged}{$key} }

# Of partitions that go to others nothing is known any more.
sub forget {
    my ($self, @keys) = @_;
    delete @{ $self->{acknowledged} }{@keys};
    return;
}

sub forget_topic {
    my ($self, $topic) = @_;
    return $self->forget(grep { /\A\Q$topic\E:[0-9]+\z/ } keys %{ $self->{acknowledged} });
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Positions - positions on their way to a group's coordinator, at most one request at a time

=head1 SYNOPSIS

    my $positions = EV::Kafka::Group::Positions->new;
    $positions->add([{ topic => 't', partition => 0, offset => 5 }], sub { my ($error) = @_; ... });
    my @positions = $positions->take;          # to be sent now
    my @ended = $positions->settle({});        # all of them were stored
    $_->[0]->($_->[1]) for @ended;

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself. It sends nothing and calls nobody: it knows what is wanted, what
is under way and who waits for it, and says what is to be sent and who is to be called.
A position that is not stored yet gives way to a newer one of its partition, and
who waits for it waits for that one.

=head1 METHODS

=head2 new

Nothing is wanted yet.

=head2 add(\@positions, $done, [named => 1])

With C<named> the caller has named the partitions: it hears of those that are gone.

=head2 take

Begins the next request: its positions.

=head2 settle(\%verdict_of)

Ends it: by C<topic:partition>, nothing when it was stored, C<< { again => 1 } >>, or
C<< { reason => $text, gone => $bool } >>.

=head2 drop(\%verdict, @partitions)

Wants them no more; all, if none is named.

=head2 fail($reason)

Ends everything. Like C<settle> and C<drop> it returns C<[$done, $error]> of all
that wait no more.

=head2 is_idle, is_under_way, wanted, under_way, wanted_of($partition)

Whether there is nothing to do; whether a request is under way; the partitions of the next one, and of that; the position that is
wanted of a partition.

=head2 acknowledged($partition), forget(@partitions), forget_topic($topic)

The offset that is stored as far as is known; and that this is not known any more.

=head1 FUNCTIONS

=head2 told($reason, \@partitions)

The reason with the names of the partitions, not too many of them.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group::Commits>

=cut
