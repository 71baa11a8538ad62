package EV::Kafka::Group::Member;
use strict;
use warnings;

use EV::Kafka::Error;

# Who this client is in its group; a new one for every subscribe, which is how late answers
# are told apart:
#   record      what programs see as {cfg}{group}, written here only:
#       topics, group_id, on_assign …   what subscribe was given
#       member_id, generation           who the coordinator says we are
#       state    joining, syncing, taking (offsets are looked up), stable,
#                giving_up (before the next joining), leaving, stopped
#   attempt     counts the tries to join; answers from before the last are void
#   is_out      the membership is lost, until the coordinator has taken us in again
#   is_revoking on_revoke is being called, and may commit
#   refusals    by code, how often the coordinator has not let us in
#   unknown     by request, the answers that said nothing (EV::Kafka::Error's is_unknown)
#   delays      tries in a row that had to wait
#   why         what the coordinator has said last, if that was not what is waited for
#   has_ended   another one has taken its place, or none

# FENCED_INSTANCE_ID
use constant FENCED_INSTANCE_ID => 82;

# Seconds before a coordinator that was not ready, or would not have us, is asked again.
use constant {
    BACKOFF     => 0.1,
    BACKOFF_MAX => 1,
};

# $tells->($event, @about) is how the member's parts are heard by the group.
sub new {
    my ($class, %about) = @_;
    return bless {
        map({ $_ => $about{$_} } qw(record loop outbox options coordinators tells)),
        attempt => 0, is_out => 0, is_revoking => 0, has_ended => 0,
        refusals => {}, unknown => {}, delays => 0,
    }, $class;
}

sub record    { return $_[0]{record} }
sub group_id  { return $_[0]{record}{group_id} }
sub member_id { return $_[0]{record}{member_id} }
sub state     { return $_[0]{record}{state} }

# Brokers refuse an empty one.
sub rack {
    my ($self) = @_;
    my $rack = ($self->{options} || {})->{client_rack};
    return length($rack // '') ? $rack : undef;
}

# What requests in the name of the member begin with.
sub identity { return @{ $_[0]{record} }{qw(group_id generation member_id)} }

sub becomes {
    my ($self, $state) = @_;
    $self->{record}{state} = $state;
    $self->log(info => $state);
    return;
}

# What happens to it.
sub log {
    my ($self, $level, $what) = @_;
    my $outbox = $self->{outbox};
    return unless $outbox->logs('group');
    my %about = map { $_ => $self->{record}{$_} } qw(group_id member_id generation);
    return $outbox->log(group => $level, "group '$about{group_id}', generation $about{generation}: $what", %about);
}

sub named {
    my ($self, $member_id) = @_;
    $self->{record}{member_id} = $member_id;
    return;
}

# It subscribes to these topics from now on: another list, when they are others.
sub wants {
    my ($self, $topics) = @_;
    $self->{record}{topics} = $topics;
    $self->log(info => 'subscribes to ' . (join(', ', @$topics) || 'nothing that there is'));
    return;
}

sub generation { return $_[0]{record}{generation} }

sub has_generation {
    my ($self, $generation) = @_;
    $self->{record}{generation} = $generation;
    return;
}

# The group hears of the member that it has.
sub tells {
    my ($self, @news) = @_;
    return $self->{has_ended} ? undef : $self->{tells}->(@news);
}

# --- whether it still is one ----------------------------------------------------

sub has_ended { return $_[0]{has_ended} }

sub ends {
    my ($self) = @_;
    $self->{has_ended} = 1;
    return;
}

sub next_attempt { return ++$_[0]{attempt} }
sub attempt      { return $_[0]{attempt} }

# Whether it still is at the try to join that $attempt counts.
sub is_at {
    my ($self, $attempt) = @_;
    return !$self->{has_ended} && $self->{attempt} == $attempt;
}

sub is_out { return $_[0]{is_out} }

sub goes_out {
    my ($self) = @_;
    $self->{is_out} = 1;
    return;
}

# Whether the coordinator would take positions from it.
sub is_member { return $_[0]{record}{generation} >= 0 && !$_[0]{is_out} }

sub is_revoking { return $_[0]{is_revoking} }

sub revokes {
    my ($self, $is_revoking) = @_;
    $self->{is_revoking} = $is_revoking;
    return;
}

# --- the coordinator --------------------------------------------------------------

# It has taken us in, or still knows us.
sub let_in {
    my ($self) = @_;
    @$self{qw(is_out delays refusals unknown why)} = (0, 0, {}, {}, undef);
    return;
}

# How often it has not let us in with this code before.
sub refused {
    my ($self, $code) = @_;
    return $self->{refusals}{$code}++;
}

# Seconds before the next try, more each time until it has taken us in.
sub delay {
    my ($self) = @_;
    return $self->{loop}->backoff(++$self->{delays}, BACKOFF, BACKOFF_MAX);
}

# Whether the answer to such a request may be another one the next time. It may mean that
# another broker is the coordinator by now.
sub may_ask_again {
    my ($self, $request, $code) = @_;
    my $tries = EV::Kafka::Error::is_unknown($code) ? $self->{unknown}{$request}++ : 0;
    $self->log(warning => EV::Kafka::Error->of_code($code)->of($request)->text);
    return 0 unless EV::Kafka::Error::is_retriable_by_coordinator($code, $tries);
    $self->{coordinators}->refused(group => $self->group_id, $code);
    $self->_waits_because(EV::Kafka::Error->of_code($code)->of($request));
    return 1;
}

sub _waits_because {
    my ($self, $error) = @_;
    $self->{why} = $error->text;
    return $self->{outbox}->watch($self, 'waits');
}

# What others keep it waiting for.
my %AWAITED = (
    joining => 'JoinGroup is not answered: the group waits for its other members to join again, each of which has its rebalance_timeout',
    syncing => 'SyncGroup is not answered: the member that leads the group has not shared out the partitions yet',
);

# A group that has been empty is waited for by its coordinator, for others to come, as long as this is for anything else
# (group.initial.rebalance.delay.ms, 3 seconds).
use constant JOIN_TIMES => 2;

# See EV::Kafka::Waits. Of a coordinator that is not found others tell.
sub waits {
    my ($self) = @_;
    return if $self->{has_ended};
    my $group_id = $self->group_id;
    my %wait     = (subject => "joining $group_id", about => { group => $group_id });
    return { %wait, text => "group '$group_id': $self->{why}; it is tried again" } if defined $self->{why};
    my $awaited = $AWAITED{ $self->state };
    return unless defined $awaited && $self->{coordinators}->is_blocked(group => $group_id);
    return { %wait, text => "group '$group_id': $awaited", times => JOIN_TIMES };
}

sub was_answered {
    my ($self, $request) = @_;
    delete $self->{unknown}{$request};
    delete $self->{why};
    return;
}

sub refusal {
    my ($self, $request, $code) = @_;
    my $broker = $self->{coordinators}->node_id(group => $self->group_id);
    my $error  = EV::Kafka::Error->of_code($code)->at(operation => $request, broker => $broker)->of($request);
    my $name   = $self->{record}{group_instance_id};
    return $code == FENCED_INSTANCE_ID && defined $name ? $error->said("$error: another member has joined as '$name'") : $error;
}

# One request, sent once: $done->($answer), whatever that says, or $done->(undef, $error,
# $is_final) when the answer will not come, and with $is_final none ever will. It is not sent any
# more once this attempt is over. Further pairs are for EV::Kafka::Coordinators.
sub ask_once {
    my ($self, $name, $send, $done, %more) = @_;
    my $attempt = $self->{attempt};
    my $lost;
    return $self->{coordinators}->request(group => $self->group_id,
        %more,
        name  => $name,
        tries => 1,
        send  => sub { $self->{outbox}->watch($self, 'waits'); return $send->(@_) },
        again => sub { 0 },
        alive => sub { $self->is_at($attempt) },
        waits => sub { $lost = $_[0] },
        done  => sub {
            my ($answer, $error) = @_;
            my @result = $answer ? $answer : $lost ? (undef, $lost->of($name), 0) : (undef, $error, 1);
            $self->{outbox}->enter($self, _answered => $done, @result);
        },
    );
}

sub _answered {
    my ($self, $done, @result) = @_;
    return $done->(@result);
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Member - who an EV::Kafka client is in its group

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself: what all other parts need to know of the
membership, from one subscribe to its end, and how they ask the coordinator.

=head1 METHODS

=head2 new(%about)

With C<record>, which is published as C<< $kafka->{cfg}{group} >>, C<loop>, C<outbox>, C<options>,
C<coordinators> and C<tells>.

=head2 log($level, $what)

Something has happened to it.

=head2 record, group_id, member_id, generation, state, rack, identity

What it is; C<identity> is the first three of a member's request.

=head2 becomes($state), named($member_id), wants(\@topics), has_generation($generation)

What it is from now on.

=head2 tells($event, @about)

News for the group, until the member has ended.

=head2 attempt, next_attempt, is_at($attempt), has_ended, ends

The try to join, and whether what was begun in one still counts.

=head2 is_out, goes_out, is_member, let_in

Whether the membership is lost, and whether the coordinator would take positions.

=head2 is_revoking, revokes($bool)

Whether C<on_revoke> is being called.

=head2 refused($code), delay, may_ask_again($request, $code), was_answered($request), refusal($request, $code)

What comes of a refusal: how often there was one, seconds to wait, whether asking again may help, and
the text of one that is final.

=head2 waits

What keeps it out of its group, as L<EV::Kafka::Waits> has it.

=head2 ask_once($name, $send, $done, %more)

A request to the coordinator that is sent once.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
