package EV::Kafka::Error;
use strict;
use warnings;

# An error until it reaches the program: { code, name, text, retriable }. Which codes there
# are, what they are called and which of them a later try may mend is native.

# Answers with UNKNOWN_SERVER_ERROR, or with a code that is not known here, after which
# the same request is sent again: nobody says whether that helps.
use constant UNKNOWN_ERROR_TRIES => 5;

use constant UNKNOWN_SERVER_ERROR => -1;

# What a broker says that is not, or not any more, the coordinator: the two codes made
# for it, and those of a partition's leader and of a lost connection that stand for them
# where a broker passes on what its own log or a gateway's broker has said.
# LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, NETWORK_EXCEPTION,
# COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
my %MOVED = map { $_ => 1 } 5, 6, 13, 15, 16;

# The leader of a partition is another broker, or about to be: fresh metadata will tell.
# LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, REPLICA_NOT_AVAILABLE, KAFKA_STORAGE_ERROR,
# FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, OFFSET_NOT_AVAILABLE.
my %LEADER_MOVES = map { $_ => 1 } 5, 6, 9, 56, 74, 75, 78;

sub of_code {
    my ($class, $code, $about) = @_;
    my $name = EV::Kafka::_error_name($code);
    my $text = "$name (code $code)";
    $text .= " $about" if defined $about && length $about;
    return bless { code => $code, name => $name, text => $text, retriable => is_retriable($code) }, $class;
}

# What no broker has said: a connection that was lost, a request that cannot be sent.
sub without_code {
    my ($class, $text, $retriable) = @_;
    return bless { code => undef, name => '', text => $text, retriable => $retriable ? 1 : 0 }, $class;
}

sub code      { $_[0]{code} }
sub name      { $_[0]{name} }
sub text      { $_[0]{text} }
sub retriable { $_[0]{retriable} }

# The same error, said of something: a request, a partition.
sub of {
    my ($self, $what) = @_;
    return bless { %$self, text => "$what: $self->{text}", cause => $self->cause }, ref $self;
}

# As it was before anything was said of it.
sub cause { return $_[0]{cause} // $_[0] }

# It was not mended in time; later it may be.
sub given_up {
    my ($self, $when) = @_;
    return bless { %$self, text => "$self->{text}; given up $when", retriable => 1, cause => $self->cause }, ref $self;
}

# What somebody died of, without the place.
sub reason { return $_[0] =~ s/ at \S+ line \d+\.?\n\z//r }

sub is_retriable {
    my ($code) = @_;
    return EV::Kafka::_is_retriable($code) ? 1 : 0;
}

sub is_unknown {
    my ($code) = @_;
    return $code == UNKNOWN_SERVER_ERROR || EV::Kafka::_error_name($code) eq 'UNKNOWN' ? 1 : 0;
}

sub is_retriable_by_coordinator {
    my ($code, $tries) = @_;
    return 0 unless $code;
    return 1 if is_retriable($code);
    return is_unknown($code) && defined $tries && $tries < UNKNOWN_ERROR_TRIES ? 1 : 0;
}

sub is_leader_error {
    my ($code) = @_;
    return $LEADER_MOVES{$code} ? 1 : 0;
}

# A topic or partition that is not there: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID.
sub is_unknown_topic {
    my ($code) = @_;
    return $code == 3 || $code == 100 ? 1 : 0;
}

sub is_from_other_coordinator {
    my ($code) = @_;
    return $MOVED{$code} ? 1 : 0;
}

1;

__END__

=head1 NAME

EV::Kafka::Error - what an error code of Kafka means

=head1 SYNOPSIS

    my $error = EV::Kafka::Error->of_code(16);
    $error->text;         # NOT_COORDINATOR (code 16)
    $error->of('EndTxn')->text;     # EndTxn: NOT_COORDINATOR (code 16)

    if (EV::Kafka::Error::is_retriable_by_coordinator($code, $tries)) { ... }

=head1 DESCRIPTION

For the modules of L<EV::Kafka::Client>: an error keeps its code until it reaches the
program as a text. Names, and which codes are retriable, are those of Kafka's protocol.

=head2 of_code($code, [$about])

An error that a broker has answered with.

=head2 without_code($text, [$retriable])

An error that no broker has answered with, such as a lost connection.

=head2 code, name, text, retriable

C<code> is undef and C<name> empty where no broker has said anything.

=head2 reason($died)

A function: what somebody died of, without the place.

=head2 of($what)

The same error with C<$what> before its text.

=head2 cause

The error that C<of> and C<given_up> began with.

=head2 given_up($when)

The error of something that was tried until then, such as C<after 5 tries>. It is retriable.

=head1 FUNCTIONS

=head2 is_retriable($code)

Whether Kafka's protocol marks the code as retriable.

=head2 is_unknown($code)

Whether nobody can tell what a later try brings: UNKNOWN_SERVER_ERROR (-1), and codes that
this module does not know.

=head2 is_retriable_by_coordinator($code, [$tries])

Whether a request that was answered with this code is sent again with back-off, for as long
as the request is worth it. It holds for every request to the coordinator of a group or of a
transaction, for every look-up of one, and for InitProducerId. True for all codes that the
protocol marks as retriable; for unknown ones only while fewer than C<UNKNOWN_ERROR_TRIES>
tries have been made, so C<$tries>, the tries that ended so before, has to be given. False
for the rest, which is final: authorisation, fencing, an inconsistent protocol, an invalid
group id or session timeout. What means something of its own to a request, such as
REBALANCE_IN_PROGRESS to a member of a group, the request looks at first.

=head2 is_leader_error($code)

Whether the answer means that a partition's leader is another broker, or about to be, so that metadata
is asked for.

=head2 is_unknown_topic($code)

Whether it says that a topic, or a partition of it, is not there.

=head2 is_from_other_coordinator($code)

Whether the answer may mean that another broker is the coordinator by now, so that it is
looked up again.

=head1 SEE ALSO

L<EV::Kafka>

=cut
