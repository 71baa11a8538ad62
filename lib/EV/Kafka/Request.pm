package EV::Kafka::Request;
use strict;
use warnings;

use EV::Kafka::Error;

# One request until it is answered for good. Its fields, all but the last ones given to new:
#   name      what its errors are said of
#   subject   whose it is, where somebody wants to know
#   to        $to->($request): leads, now or later, to one of go, again and refuse
#   send      $send->($conn, $answered, \%where); then $answered->($result, $error) once
#   again     $again->($code, $unknown): whether that answer is worth another try
#   backoff   $backoff->($code): seconds before the second try and the most of them
#   tries     how often it is sent at the most
#   patience  seconds after which it is given up, whatever it waits for
#   alive     whether anybody still waits; asked before each try
#   refused   $refused->(\%where, @codes) after an answer that is worth another try
#   lost      $lost->(\%where, $error, $request) when the connection ended before the answer came;
#             it is tried again unless it has been refused by then
#   waits     $waits->($error) when it is to be tried again
#   done      $done->($result, $error), once, unless nobody waits any more
#   over      $over->() at the end in any case
#   keeper    { delayed, ended }: $delayed->($request, $error) after waits, $ended->($request)
#             before over, the same code for all requests of a keeper's
#   number    by which the keeper has it
#   notice    $notice->($request): what is told of it while it has to be tried for long; or that text,
#             its name if there is none
#   after     a request of which this is a part that goes elsewhere now: its turns count
#   loop      whose timers it has
#   outbox    whose entries answers are
#   round, tried, unknown   turns, times it was sent, and answers that said nothing
#   why       the error of the last turn
# Whoever gives the code sees to it that it does not keep alive what holds the request.

# Seconds between tries (Java's retry.backoff.ms and retry.backoff.max.ms); less
# while a coordinator still ends the transaction before this one.
use constant {
    BACKOFF                => 0.1,
    BACKOFF_MAX            => 1,
    CONCURRENT_BACKOFF     => 0.02,
    CONCURRENT_BACKOFF_MAX => 0.5,
};

use constant CONCURRENT_TRANSACTIONS => 51;

# OPERATION_NOT_ATTEMPTED stands beside what was refused.
use constant OPERATION_NOT_ATTEMPTED => 55;

my @CODE = qw(to send again backoff alive refused lost waits done over);

sub new {
    my ($class, %about) = @_;
    my $after = delete $about{after};
    return bless {
        again   => \&EV::Kafka::Error::is_retriable_by_coordinator,
        backoff => \&_backoff_after,
        alive   => sub { 1 },
        map({ $_ => sub { } } qw(refused lost waits over)),
        %about,
        $after ? _begun_by($after) : (round => 0, tried => 0, unknown => 0),
    }, $class;
}

# The turn that parts them is both of theirs.
sub _begun_by {
    my ($after) = @_;
    return (round => $after->{round} - 1, map { $_ => $after->{$_} } qw(tried unknown));
}

sub _backoff_after {
    my ($code) = @_;
    return ($code // 0) == CONCURRENT_TRANSACTIONS ? (CONCURRENT_BACKOFF, CONCURRENT_BACKOFF_MAX) : (BACKOFF, BACKOFF_MAX);
}

sub round     { $_[0]{round} }
sub subject   { $_[0]{subject} }
sub number    { $_[0]{number} }
sub has_ended { $_[0]{ended} ? 1 : 0 }

sub notice {
    my ($self) = @_;
    my $notice = $self->{notice} // $self->{name};
    return ref $notice ? $notice->($self) : $notice;
}

sub start {
    my ($self) = @_;
    $self->{clock} = $self->{loop}->timer($self->{patience}, $self, '_late') if defined $self->{patience};
    return $self->_turn;
}

# Nobody hears of it any more.
sub end {
    my ($self) = @_;
    return if $self->{ended};
    $self->{ended} = 1;
    delete @$self{qw(clock pause)};
    my $over   = $self->{over};
    my $keeper = delete $self->{keeper};
    delete @$self{@CODE};
    $keeper->{ended}->($self) if $keeper;
    return $over->();
}

sub _turn {
    my ($self) = @_;
    return if $self->{ended};
    delete $self->{pause};
    return $self->end unless $self->{alive}->();
    $self->{round}++;
    $self->{to}->($self);
    return;
}

# --- where "to" leads -----------------------------------------------------------------

# A connection that is ready; %where is what refused and lost want to know, and patience, the
# seconds that this answer may take if they are not the connection's own.
sub go {
    my ($self, $conn, %where) = @_;
    return if $self->{ended};
    return $self->end unless $self->{alive}->();
    $self->{tried}++;
    my $answered = $self->{outbox}->entry($self, _heard => $conn, \%where);
    return $self->{send}->($conn, $answered, \%where) unless defined $where{patience};
    $conn->_patience($where{patience});
    my $is_sent = eval { $self->{send}->($conn, $answered, \%where); 1 };
    my $died = $@;
    # What was refused has not used it.
    $conn->_patience(undef);
    die $died unless $is_sent;
    return;
}

sub _heard {
    my ($self, $conn, $where, $result, $error) = @_;
    return if $self->{ended};
    $error = 'incomplete answer' if $result && $result->{truncated};
    return $self->_answered($where, $result) unless defined $error;
    # A connection that lives on has refused to send the request.
    my $refused = EV::Kafka::Error->without_code($error)->at($self->_at($where));
    return $self->refuse($refused) if !$result && $conn->connected;
    my $lost = $refused->as_retriable;
    $self->{lost}->($where, $lost, $self);
    return $self->again($lost);
}

# Not now.
sub again {
    my ($self, $error) = @_;
    return if $self->{ended};
    $self->why($error);
    $self->{waits}->($error);
    my $keeper = $self->{keeper};
    $keeper->{delayed}->($self, $error) if $keeper;
    my $tries = $self->{tries};
    return $self->_give_up("after $tries tries") if defined $tries && $self->{tried} >= $tries;
    my $wait = $self->{loop}->backoff($self->{round}, $self->{backoff}->($error->code));
    $self->{pause} = $self->{loop}->timer($wait, $self, '_turn');
    return;
}

# What it waits for may be there: the next try is made now.
sub hurry {
    my ($self) = @_;
    return $self->{pause} ? $self->_turn : undef;
}

# Never.
sub refuse {
    my ($self, $error) = @_;
    return $self->_done(undef, $error->at($self->_at)->of($self->{name}));
}

# What is known of its errors, and which broker has said so.
sub _at {
    my ($self, $where) = @_;
    return (operation => $self->{name}, $where ? (broker => $where->{node_id}) : ());
}

# What it waits for, in the words of whoever has looked.
sub why {
    my ($self, $error) = @_;
    $self->{why} = $error unless $self->{ended};
    return;
}

# --- the answer -----------------------------------------------------------------------

# All codes of an answer that are none of success.
sub codes {
    my ($result) = @_;
    my @codes = grep { $_ } $result->{error_code} // 0,
        map { $_->{error_code} } map { @{ $_->{partitions} || [] } } @{ $result->{topics} || [] };
    my @own = grep { $_ != OPERATION_NOT_ATTEMPTED } @codes;
    return @own ? @own : @codes;
}

# The partition that has been answered so, if it is one.
sub _partition_of {
    my ($result, $code) = @_;
    return if $result->{error_code};
    for my $topic (@{ $result->{topics} || [] }) {
        my @refused = grep { $_->{error_code} == $code } @{ $topic->{partitions} || [] } or next;
        return (topic => $topic->{topic}, partition => $refused[0]{partition});
    }
    return;
}

sub _answered {
    my ($self, $where, $result) = @_;
    my @codes = codes($result) or return $self->_done($result);
    my ($final) = grep { !$self->{again}->($_, $self->{unknown}) } @codes;
    my $code  = $final // $codes[0];
    my $error = EV::Kafka::Error->of_code($code)->at($self->_at($where), _partition_of($result, $code));
    if (defined $final) {
        # It was tried as often as it is worth.
        $error = $error->given_up("after $self->{tried} tries") if EV::Kafka::Error::is_unknown($final);
        return $self->_done($result, $error->of($self->{name}));
    }
    $self->{unknown}++ if grep { EV::Kafka::Error::is_unknown($_) } @codes;
    $self->{refused}->($where, @codes);
    return $self->again($error);
}

# Why it was not answered yet, if somebody has said that.
sub reason {
    my ($self) = @_;
    return $self->{why} && $self->{why}->of($self->{name});
}

sub _late {
    my ($self) = @_;
    return if $self->{ended};
    return $self->_give_up("after $self->{patience} s");
}

sub _give_up {
    my ($self, $when) = @_;
    my $error = $self->{why} // EV::Kafka::Error->without_code('no answer');
    return $self->_done(undef, $error->at($self->_at)->given_up($when)->of($self->{name}));
}

sub _done {
    my ($self, $result, $error) = @_;
    return if $self->{ended};
    my $done = $self->{done};
    $self->end;
    return $done->($result, $error);
}

1;

__END__

=head1 NAME

EV::Kafka::Request - one request until it is answered for good

=head1 SYNOPSIS

    my $request = EV::Kafka::Request->new(
        name     => 'EndTxn',
        to       => sub { my ($request) = @_; $request->go($conn) },
        send     => sub { my ($conn, $answered) = @_; $conn->end_txn(@transaction, 1, $answered) },
        patience => 30,
        loop     => $loop,
        outbox   => $outbox,
        done     => sub { my ($result, $error) = @_; ... },
    );
    $request->start;

=head1 DESCRIPTION

For the owners of L<EV::Kafka::Client>. A request is sent, and sent again with back-off
while its answers say that this may help (L<EV::Kafka::Error/is_retriable_by_coordinator($code, [$tries])>)
and when its connection is lost. C<done> hears of the answer, or of the L<EV::Kafka::Error>
that ended it: one that is final, or the last one when C<patience> or C<tries> were used up,
which is retriable then. What it is sent to is found by the code given as C<to>, anew for each try.

=head2 new(%about)

The fields are listed at the head of the module.

=head2 start, end

C<end> ends it without a word.

=head2 go($conn, %where), again($error), refuse($error)

What C<to> leads to: a connection, nothing for now, or nothing for good. With C<patience> the
answer to this try has that many seconds.

=head2 hurry

Makes the next try now, if it waits for that only.

=head2 why($error)

What it waits for meanwhile. It is said when its patience ends.

=head2 reason

Why it was not answered yet, as an error, or undef.

=head2 round, has_ended, subject

Which turn it is, counted from 1, whether there will be none any more, and whose it is.

=head2 number, notice

For its keeper: by what it is known there, and what is told of it.

=head1 FUNCTIONS

=head2 codes($result)

The error codes of an answer, those of its partitions among them, without 0.

=head1 SEE ALSO

L<EV::Kafka>

=cut
