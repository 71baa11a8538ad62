package EV::Kafka::Error;
use strict;
use warnings;

# An error: { code, name, text, retriable, fatal, broker, topic, partition, operation, errors }, of
# which all but text are undef, or not there, where nobody knows. It is made where the thing has
# happened; the outbox, or native code, gives the program the object or its text. Which codes there
# are, what they are called and which of them a later try may mend is native.

# Compared, joined and asked for truth as its text is.
use overload '""' => sub { $_[0]{text} }, fallback => 1;

use Scalar::Util ();

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

# What is left to say when the client is closed.
sub closed { my ($class) = @_; return $class->without_code('client closed')->as_fatal }

# The error itself, or one of a text; nothing of nothing.
sub from {
    my ($class, $error) = @_;
    return $error if !defined $error || Scalar::Util::blessed($error) && $error->isa($class);
    return $class->without_code("$error");
}

# Several that are told together. What they have in common is known of the whole.
sub together {
    my ($class, @errors) = @_;
    return $errors[0] if @errors < 2;
    my $self = $class->without_code(join '; ', map { $_->{text} } @errors);
    for my $field (qw(code name retriable fatal broker topic partition operation)) {
        my ($value, @others) = map { $_->{$field} } @errors;
        $self->{$field} = $value unless !defined $value || grep { !defined || $_ ne $value } @others;
    }
    $self->{errors} = [map { $_->errors } @errors];
    return $self;
}

sub code      { $_[0]{code} }
sub name      { $_[0]{name} }
sub text      { $_[0]{text} }
sub retriable { $_[0]{retriable} }
sub fatal     { $_[0]{fatal} ? 1 : 0 }
sub broker    { $_[0]{broker} }
sub topic     { $_[0]{topic} }
sub partition { $_[0]{partition} }
sub operation { $_[0]{operation} }
sub errors    { my ($self) = @_; return $self->{errors} ? @{ $self->{errors} } : $self }
sub TO_JSON   { "$_[0]{text}" }

# The same error, of which more is known by now. What was known before stays.
sub at {
    my ($self, %where) = @_;
    return bless { %where, map({ $_ => $self->{$_} } grep { defined $self->{$_} } keys %$self) }, ref $self;
}

# The same error in other words.
sub said {
    my ($self, $text) = @_;
    return bless { %$self, text => $text, cause => $self->cause }, ref $self;
}

# The same error, said of something: a request, a partition.
sub of {
    my ($self, $what) = @_;
    return $self->said("$what: $self->{text}");
}

# As it was before anything was said of it.
sub cause { return $_[0]{cause} // $_[0] }

# It was not mended in time; later it may be.
sub given_up {
    my ($self, $when) = @_;
    my $given_up = $self->said("$self->{text}; given up $when");
    $given_up->{retriable} = 1;
    return $given_up;
}

# Whether that helps is for somebody else to say.
sub as_retriable { my ($self) = @_; return bless { %$self, retriable => 1 }, ref $self }

# What has met with it has come to its end.
sub as_fatal { my ($self) = @_; return bless { %$self, fatal => 1, retriable => 0 }, ref $self }

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

# The topic has another id than the one that was named: UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID.
sub is_other_topic {
    my ($code) = @_;
    return $code == 100 || $code == 103 ? 1 : 0;
}

sub is_from_other_coordinator {
    my ($code) = @_;
    return $MOVED{$code} ? 1 : 0;
}

1;

__END__

=head1 NAME

EV::Kafka::Error - what went wrong, as an object

=head1 SYNOPSIS

    my $kafka = EV::Kafka->new(
        brokers  => '127.0.0.1:9092',
        errors   => 'object',
        on_error => sub {
            my ($error) = @_;
            warn "kafka: $error\n";                     # its text
            exit 1 if $error->fatal;
        },
    );
    $kafka->connect;

    $kafka->produce('orders', $key, $value, sub {
        my ($result, $error) = @_;
        return unless $error;
        return try_later($key, $value) if $error->retriable;
        warn sprintf "%s, code %s: %s\n", $error->topic // 'no topic', $error->code // 'none', $error;
    });

=head1 DESCRIPTION

With C<< errors => 'object' >>, an option of L<new|EV::Kafka/new(%options)>, and after C<< $conn->errors('object') >> on a connection of
your own (L<EV::Kafka/LOW-LEVEL CONNECTION METHODS>), whatever a program is told of an error is an object of
this class: the argument of C<on_error>, and the error of each callback. Without it programs get
the plain text, as they always did. L<EV::Kafka::Errors> lists the texts, what they
mean, and what to do.

An object is its text where a string is needed: it can be printed, compared, matched, joined, thrown by
C<die>, and put into JSON (C<convert_blessed>). It is true. Nothing in it changes.

    if ($error->code && $error->code == 29) { ... }         # Kafka's codes
    if ($error->name eq 'TOPIC_AUTHORIZATION_FAILED') { ... }    # the same by name

=head1 WHAT IT KNOWS

=head2 text

What happened, for people. It may change from one release to the next; act on what is below.

=head2 code

The error code that a broker has answered with; undef where none has answered, such as after a lost
connection.

=head2 name

Kafka's name of the code, such as C<NOT_LEADER_OR_FOLLOWER>; the empty string without a code.

=head2 retriable

1 if the same call may succeed later without anybody's help. The client itself has given up by then: it has tried
for as long as its options let it. Else 0.

=head2 fatal

1 if what met with the error is at its end, and the same object cannot go on: a membership that was
ended (C<subscribe> begins another), a transactional producer that was fenced, a client that was closed. Else 0.

=head2 broker

The id of the broker that has answered so, or that could not be reached. On a connection of your own,
which knows no ids, C<HOST:PORT>. Undef if it is no single broker's.

=head2 topic, partition

Where it happened; undef if it is about no single topic or partition.

=head2 operation

The request that failed, by Kafka's name: C<Produce>, C<Fetch>, C<ListOffsets>, C<OffsetCommit>, C<JoinGroup> and so on;
C<flush> for that. Undef where nothing was asked.

=head2 errors

The single errors of which this one was made: C<commit>, C<offsets_for> and C<lag> tell all partitions that have failed in
one text. Of any other error, the error itself.

    for my $each ($error->errors) {
        printf "%s:%s %s\n", $each->topic // '', $each->partition // '', $each->name;
    }

=head2 TO_JSON

The text, for L<JSON::PP/convert_blessed> and the like.

=head1 MAKING ERRORS

For the modules of L<EV::Kafka::Client>. Each method gives a new error and leaves this one as it is.

=head2 of_code($code, [$about])

An error that a broker has answered with.

=head2 without_code($text, [$retriable])

An error that no broker has answered with, such as a lost connection.

=head2 closed

What is left to say when the client is closed.

=head2 from($error)

The error itself, or one of a text; undef of undef.

=head2 together(@errors)

All of them as one, which knows what they have in common.

=head2 at(%where)

The same error, of which C<broker>, C<topic>, C<partition> or C<operation> is known by now. What was known
stays.

=head2 of($what), said($text)

The same error with C<$what> before its text, or in other words.

=head2 cause

The error that C<of>, C<said> and C<given_up> began with.

=head2 given_up($when)

The error of something that was tried until then, such as C<after 5 tries>. It is retriable.

=head2 as_retriable, as_fatal

The same error, which is so.

=head2 reason($died)

A function: what somebody died of, without the place.

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

=head2 is_other_topic($code)

Whether it says that the topic has another id than the one that was named, or does not have that any more.

=head2 is_from_other_coordinator($code)

Whether the answer may mean that another broker is the coordinator by now, so that it is
looked up again.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Errors>

=cut
