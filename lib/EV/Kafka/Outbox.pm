package EV::Kafka::Outbox;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Journal;
use EV::Kafka::Options;
use EV::Kafka::Waits;

# What the program is to be called with. Nothing of ours calls the program in the middle of
# its work, where a callback could close the client, seek or produce under its feet: it puts
# the call in here, and the entry, a public method, a timer or an answer, makes the calls
# when its work is done.

# Callbacks within callbacks before the next one is called from the loop.
use constant MAX_DEPTH => 50;

# $options: on_error, on_notice and log are read there when they are needed. $abandon->() is true
# in a forked child, where nothing of the client is to happen any more.
sub new {
    my ($class, $loop, $options, $abandon) = @_;
    my $self = bless {
        loop    => $loop,
        options => $options,
        abandon => $abandon,
        objects => ($options->{errors} // '') eq 'object' ? 1 : 0,
        queue   => [],
        later   => [],
        follows => 0,
        entered => 0,
        depth   => 0,
        deepest => MAX_DEPTH,
        notices => {},
        turns   => {},
        journal => EV::Kafka::Journal->new($ENV{EV_KAFKA_DEBUG}, $options->{client_id}),
    }, $class;
    weaken(my $weak = $self);
    $loop->enter_by(sub { return $weak ? $weak->enter(@_) : undef });
    $self->{waits} = EV::Kafka::Waits->new(
        loop => $loop,
        tell => sub { my ($subject, $text, $about) = @_; return $weak ? $weak->notice($subject, $text, %$about) : undef },
        over => sub { return $weak ? $weak->notice_over(@_) : undef },
    );
    return $self;
}

# --- entries --------------------------------------------------------------------

# Calls the method, and then what it left here. After the client's end neither timers nor
# connections get in: no owner has to ask.
sub enter {
    my ($self, $object, $method, @args) = @_;
    return if $self->{abandon}->() || $self->{has_ended};
    # The entry that this one is within makes its calls.
    return $object->$method(@args) if $self->{entered};
    my @result;
    {
        local $self->{entered} = 1;
        @result = wantarray ? $object->$method(@args) : scalar $object->$method(@args);
    }
    $self->drain if @{ $self->{queue} };
    return wantarray ? @result : $result[0];
}

# The same as code for a connection to call with an answer. It does not keep the object alive.
sub entry {
    my ($self, $object, $method, @args) = @_;
    weaken(my $weak = $object);
    return sub {
        my $object = $weak or return;
        $self->enter($object, $method, @args, @_);
        return;
    };
}

# A method that calls the program itself, once a record: gives what it gives, nothing in a child that the
# program has forked meanwhile.
sub hand_over {
    my ($self, $object, $method, @args) = @_;
    return $self->_outside($object->can($method), $object, @args);
}

# What a part of an owner tells goes to the owner's method _part_event, and does not keep it alive.
sub listener {
    my (undef, $owner, $part) = @_;
    weaken(my $weak = $owner);
    return sub {
        my ($event, @about) = @_;
        my $method = "_${part}_$event";
        return $weak ? $weak->$method(@about) : undef;
    };
}

# --- what is put in -------------------------------------------------------------

sub call {
    my ($self, $cb, @args) = @_;
    return $self->call_as('EV::Kafka: callback', $cb, @args);
}

# What it dies of becomes a warning that begins with the label.
sub call_as {
    my ($self, $label, $cb, @args) = @_;
    return $cb ? $self->_put([_make_call => $label, $cb, @args]) : undef;
}

# A callback that gets (undef, $error).
sub fail {
    my ($self, $cb, $error) = @_;
    return $self->call($cb, undef, EV::Kafka::Error->from($error));
}

# For on_error: an EV::Kafka::Error, or the text of one of which nothing else is known.
sub report {
    my ($self, $error) = @_;
    return $self->_put([_make_report => $self->_logged($error)]);
}

sub _logged {
    my ($self, $given) = @_;
    my $error = EV::Kafka::Error->from($given);
    $self->log(client => error => $error->text, code => $error->code) if !$self->{is_mute} && $self->logs('client');
    return $error;
}

# Whether somebody looks inside: the program by its log, or EV_KAFKA_DEBUG. Who logs asks first: what it has to say takes
# time to make.
sub logs {
    my ($self, $room) = @_;
    return 1 if $self->{options}{log};
    my $journal = $self->{journal} or return 0;
    return $journal->has($room) ? 1 : 0;
}

sub log {
    my ($self, $room, $level, $text, %about) = @_;
    my ($log, $journal) = ($self->{options}{log}, $self->{journal});
    $journal->write($room, $level, $text) if $journal && $journal->has($room);
    return $self->call_as(log => $log, $level, $text, { room => $room, %about });
}

# What waits, or was survived and may still succeed: on_error hears only what has ended
# something. Each subject is told of once, until its text is another one.
sub notice {
    my ($self, $subject, $text, %about) = @_;
    # Not an object, whatever the program gets of errors.
    $text = "$text";
    return if $self->{is_mute} || ($self->{notices}{$subject} // '') eq $text;
    $self->{notices}{$subject} = $text;
    return $self->last_notice($text, %about);
}

# The same of the end itself, when nothing else is told any more.
sub last_notice {
    my ($self, $text, %about) = @_;
    $self->log(client => warning => $text, %about) if $self->logs('client');
    return $self->call_as(on_notice => $self->{options}{on_notice}, $text, \%about) if $self->{options}{on_notice};
    local $@;
    eval { warn "EV::Kafka: $text\n" };    # a __WARN__ handler may die too
    return;
}

# It waits no more: the next time is worth another word.
sub notice_over {
    my ($self, @subjects) = @_;
    delete @{ $self->{notices} }{@subjects};
    return;
}

# Something waits: what for, $object->$method gives from now on whenever it is asked (EV::Kafka::Waits).
sub watch { my ($self, $object, $method) = @_; return $self->{waits}->watch($object, $method) }

# What of ours goes on only after the calls that were put in before have returned.
sub then {
    my ($self, $object, $method, @args) = @_;
    $self->{follows}++;
    return $self->_put([_go_on => $object, $method, @args]);
}

# What of ours calls the program by itself, natively: the same as a call.
sub call_through {
    my ($self, $object, $method, @args) = @_;
    return $self->_put([_make_through => $object, $method, @args]);
}

# For who is called and asks again, to be called again: while a call of this kind is being
# made, the next one waits until the loop has turned.
sub call_in_turn {
    my ($self, $kind, $label, $cb, @args) = @_;
    return $cb ? $self->_put_in_turn($kind, [_make_call => $label, $cb, @args]) : undef;
}

sub report_in_turn {
    my ($self, $kind, $error) = @_;
    return $self->_put_in_turn($kind, [_make_report => $self->_logged($error)]);
}

sub _put_in_turn {
    my ($self, $kind, $item) = @_;
    return $self->{turns}{$kind} ? $self->_put_off($item) : $self->_put([_make_in_turn => $kind, $item]);
}

sub _put_off {
    my ($self, @items) = @_;
    push @{ $self->{later} }, @items;
    return $self->_drain_on if $self->{has_ended};
    $self->{timer} ||= $self->{loop}->timer(0, $self, '_drain_on');
    return;
}

# Outside of any entry there is nothing to wait for.
sub _put {
    my ($self, $item) = @_;
    push @{ $self->{queue} }, $item;
    return $self->{entered} ? undef : $self->drain;
}

# --- what comes out -------------------------------------------------------------

# An entry within a callback makes the calls that wait, too: what calls back at once does. One within
# another entry leaves them to that.
sub drain {
    my ($self) = @_;
    my $queue = $self->{queue};
    while (@$queue) {
        return $self->_put_off(splice @$queue) if $self->{depth} >= $self->{deepest};
        my ($method, @args) = @{ shift @$queue };
        $self->$method(@args);
    }
    return;
}

sub _drain_on {
    my ($self) = @_;
    delete $self->{timer};
    push @{ $self->{queue} }, splice @{ $self->{later} };
    return $self->drain;
}

# The client is about to end: nobody is told of errors, or of what only waits.
sub mute {
    my ($self) = @_;
    $self->{is_mute} = 1;
    return $self->{waits}->end;
}

# The client ends: whatever is put in is called however deep that goes.
sub end {
    my ($self) = @_;
    $self->mute;
    @$self{qw(has_ended deepest)} = (1, 9**9**9);
    return $self->_drain_on;
}

# For what has just run the program's code itself.
sub has_ended { return $_[0]{has_ended} ? 1 : 0 }

# In a forked child: nobody is called any more.
sub forget {
    my ($self) = @_;
    delete $self->{timer};
    $self->{waits}->end;
    @$_ = () for @$self{qw(queue later)};
    return;
}

sub _make_call {
    my ($self, $label, $cb, @args) = @_;
    my @died = $self->_call_program($cb, map { ref $_ eq 'EV::Kafka::Error' ? $self->_told($_) : $_ } @args) or return;
    local $@;
    eval { warn "$label error: $died[0]" };
    return;
}

# A die in on_error, the default handler's among them, must reach $EV::DIED and
# yet not cut short whatever noticed the error: it is thrown in a turn of its own.
sub _make_report {
    my ($self, $error) = @_;
    return if $self->{is_mute};
    my $on_error = $self->{options}{on_error} || \&EV::Kafka::Options::die_of;
    my ($died, $later) = $self->_call_program($on_error, $self->_told($error)) or return;
    $later = $self->{loop}->ev->timer(0, 0, sub { undef $later; die $died });
    return;
}

# The edge: inside an error is an object, a program sees its text unless it has asked for the object.
sub _told {
    my ($self, $error) = @_;
    return $self->{objects} ? $error : $error->text;
}

# Gives what it has died of.
sub _call_program {
    my ($self, $cb, @args) = @_;
    local $self->{depth} = $self->{depth} + 1;
    return $self->_outside(\&EV::Kafka::_shielded, $cb, @args);
}

# Inside of it there is no entry under way. What has to follow the calls that were put in before, and
# whatever comes behind that, waits until it has returned, also while it turns the loop.
sub _outside {
    my ($self, $code, @args) = @_;
    my $waits = $self->{follows} ? $self->_take_what_follows : undef;
    my @given = do { local $self->{entered} = 0; $code->(@args) };
    # It may have forked: in the child nothing of what would follow is to happen.
    return if $self->{abandon}->();
    push @{ $self->{queue} }, @$waits if $waits;
    return @given;
}

sub _take_what_follows {
    my ($self) = @_;
    my $queue   = $self->{queue};
    my $follows = List::Util::first { $queue->[$_][0] eq '_go_on' } 0 .. $#$queue;
    return defined $follows ? [splice @$queue, $follows] : undef;
}

sub _make_in_turn {
    my ($self, $kind, $item) = @_;
    local $self->{turns}{$kind} = 1;
    my ($method, @args) = @$item;
    return $self->$method(@args);
}

sub _make_through {
    my ($self, $object, $method, @args) = @_;
    local $self->{depth} = $self->{depth} + 1;
    $self->hand_over($object, $method, @args);
    return;
}

sub _go_on {
    my ($self, $object, $method, @args) = @_;
    $self->{follows}--;
    local $self->{entered} = 1;
    $object->$method(@args);
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Outbox - what an EV::Kafka client's program is to be called with

=head1 DESCRIPTION

For the classes that make up L<EV::Kafka::Client>, not for use by itself. Methods put
calls in; entries (public methods, timers, answers of connections) make them when their own
work is done, so that no callback ever runs in the middle of it. A die in a callback is a
warning; one in C<on_error> is thrown again in a turn of the event loop of its own, where
C<$EV::DIED> sees it.

=head1 METHODS

=head2 new($loop, $options, $abandon)

On an L<EV::Kafka::Loop>. C<on_error> and C<on_notice> are read from the options when they are
needed; C<< $abandon->() >> is true where nothing is to happen any more.

=head2 enter($object, $method, @args)

Calls the method, then makes the calls that it left, unless another entry is under way.

=head2 entry($object, $method, @args)

The same as a code reference, whose own arguments follow; it does not keep the object alive.

=head2 hand_over($object, $method, @args)

A method that calls the program itself.

=head2 listener($owner, $part)

Through which a part tells its owner: C<< $notify->($event, @about) >> calls C<_part_event> there.

=head2 call($cb, @args), call_as($label, $cb, @args), fail($cb, $error), report($error)

A callback of the program; the label begins the warning when it dies. One that gets C<(undef, $error)>. An error
for C<on_error>. An L<EV::Kafka::Error> among the arguments reaches the program as its text, or as it is with the option
C<errors>.

=head2 call_in_turn($kind, $label, $cb, @args), report_in_turn($kind, $error)

The same; what one of that kind leads to waits for the loop to turn.

=head2 call_through($object, $method, @args)

C<hand_over> in its turn among the calls.

=head2 notice($subject, $text, %about), notice_over(@subjects)

For C<on_notice>, or a warning: once for each subject until its text changes or it is over.

=head2 last_notice($text, %about)

The same of the client's end.

=head2 watch($object, $method)

Something waits, and says what for: see L<EV::Kafka::Waits>.

=head2 logs($room), log($room, $level, $text, %about)

Whether somebody wants to know what happens in that room; what happens there.

=head2 then($object, $method, @args)

What has to come after the calls that were put in before have returned.

=head2 has_ended

Whether the client has ended, for who has just run the program's code.

=head2 drain, mute, end, forget

Makes the calls that wait; tells no errors any more; makes calls however deep they go, from now on;
drops them.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Loop>

=cut
