package EV::Kafka::ShareGroup;
use strict;
use warnings;

use List::Util   ();
use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Farewell;
use EV::Kafka::Group::Member;
use EV::Kafka::Partitions;
use EV::Kafka::ShareGroup::Broker;
use EV::Kafka::ShareGroup::Membership;
use EV::Kafka::ShareGroup::Subscription;

# A client's part in a share group (KIP-932), from subscribe_share to its end:
#   member       who it is (EV::Kafka::Group::Member); there is none without a group. With it come
#   membership   its heartbeats
#   brokers      what is fetched from each, by node id
#   assigned     what the coordinator has assigned last: [{ topic => $id, partitions }]
#   placed       the same by name, as on_assign was told
#   looks        how often names or leaders of what is assigned were looked for
#   next         the subscription that comes when this one has been left
#   leaving      those of the brokers that have not said goodbye, once the member leaves
#   leavers      the callbacks of unsubscribe_share
#   leave_timer  until it counts as done
#   goodbye      the request that tells the coordinator

# Seconds that leaving may take before it counts as done: brokers and coordinator find out by themselves.
use constant LEAVE_PATIENCE => 5;

# Seconds between looks for the names and leaders of what was assigned, and at most.
use constant {
    LOOK_BACKOFF     => 0.2,
    LOOK_BACKOFF_MAX => 1,
};

# What becomes of records, as on_acknowledge is told; a gap is nobody's.
use constant GAP => 0;

# Of the coordinator, and of what leads partitions.
my %TOLD = (
    assigned => sub { my ($self, $assignment) = @_; $self->{assigned} = $assignment; $self->{looks} = 0; $self->place },
    fenced   => sub { my ($self) = @_; $self->{assigned} = []; $self->place },
    stopped  => '_stop',
);

# $below{is_here}->(): whether this is the process that may speak.
sub new {
    my ($class, %below) = @_;
    return bless { map({ $_ => $below{$_} } qw(loop outbox options cluster coordinators is_here)), brokers => {} }, $class;
}

# --- what the program calls -------------------------------------------------------

sub subscribe {
    my ($self, @arguments) = @_;
    my $record = EV::Kafka::ShareGroup::Subscription->parse($self->{options}, @arguments);
    return $self->_begin($record) unless $self->{member};
    $self->{next} = $record;
    return $self->_leave;
}

sub unsubscribe {
    my ($self, $cb) = @_;
    delete $self->{next};
    return $self->{member} ? $self->_leave($cb) : $self->{outbox}->call($cb);
}

# Undef without a group.
sub stats {
    my ($self) = @_;
    my $member = $self->{member} or return undef;
    my @counts = map { [$_->counts] } values %{ $self->{brokers} };
    my $record = $member->record;
    return {
        map({ $_ => $record->{$_} } qw(group_id member_id state)),
        member_epoch => $record->{generation},
        partitions   => scalar EV::Kafka::Partitions::flat($self->{assigned}),
        waiting      => List::Util::sum0(map { $_->[0] } @counts),
        in_hand      => List::Util::sum0(map { $_->[1] } @counts),
    };
}

# --- the beginning --------------------------------------------------------------

sub _begin {
    my ($self, $record) = @_;
    my %below = map { $_ => $self->{$_} } qw(loop outbox options cluster coordinators);
    weaken(my $weak = $self);
    my $member = $self->{member} = EV::Kafka::Group::Member->new(%below, record => $record, tells => sub {
        my ($news, @about) = @_;
        my $told = $TOLD{$news};
        return $weak ? $weak->$told(@about) : undef;
    });
    $self->{membership} = EV::Kafka::ShareGroup::Membership->new(%below, member => $member);
    @$self{qw(assigned placed brokers looks leavers)} = ([], '', {}, 0, []);
    EV::Kafka::Farewell->expect($self => sub { $weak && $weak->{is_here}->() ? $weak->_last_words(@_) : undef });
    return $self->{cluster}->when_connected({
        cb  => sub { },    # closed before it began
        run => sub { $weak->{outbox}->enter($weak, _enter => $member) if $weak },
    });
}

sub _enter {
    my ($self, $member) = @_;
    return if $member->has_ended;
    $self->{outbox}->watch($self, 'waits_for_topics');
    return $self->{membership}->join;
}

# --- who leads what is assigned -----------------------------------------------------

sub metadata_changed {
    my ($self) = @_;
    return $self->{member} ? $self->place : undef;
}

# Each broker is told what it leads of what is assigned. What was held of partitions that are another's now is lost.
sub place {
    my ($self) = @_;
    my ($cluster, $member) = @$self{qw(cluster member)};
    return if !$member || $self->{leaving} || $member->state eq 'stopped';
    my $names = $cluster->topic_names;
    my (%at, @placed, $is_missing);
    for my $topic (@{ $self->{assigned} }) {
        my $name = $names->{ $topic->{topic} };
        for my $partition (@{ $topic->{partitions} }) {
            my $leader = defined $name ? $cluster->leader($name, $partition) : undef;
            $is_missing = 1 unless defined $leader;
            push @placed, { topic => $name, partition => $partition } if defined $name;
            push @{ $at{$leader} }, [$name, $topic->{topic}, $partition] if defined $leader;
        }
    }
    $self->_look if $is_missing;
    my $brokers = $self->{brokers};
    $brokers->{$_} ||= $self->_new_broker($_) for keys %at;
    $_->leads(sub { $cluster->leader(@_) }) for values %$brokers;
    $_->want(@{ $at{ $_->node_id } || [] }) for values %$brokers;
    return $self->_tell_assigned(@placed);
}

# The coordinator may know a topic before other brokers do.
sub _look {
    my ($self) = @_;
    my $cluster = $self->{cluster};
    return if $cluster->is_wanted;
    my $try = $self->{looks}++;
    return $cluster->want(undef, $try ? $self->{loop}->backoff($try, LOOK_BACKOFF, LOOK_BACKOFF_MAX) : 0);
}

sub _new_broker {
    my ($self, $node_id) = @_;
    weaken(my $weak = $self);
    return EV::Kafka::ShareGroup::Broker->new(
        map({ $_ => $self->{$_} } qw(loop outbox options cluster member)),
        node_id => $node_id,
        room    => sub { return $weak ? $weak->_room : 0 },
        news    => sub {
            my ($news, @about) = @_;
            my $method = "_broker_$news";
            return $weak ? $weak->$method(@about) : undef;
        },
    );
}

# How many more records a broker may be asked for, so that all together do not bring more than may be in hand.
sub _room {
    my ($self) = @_;
    my @brokers = values %{ $self->{brokers} };
    my $held    = List::Util::sum0(map { my ($fresh, $in_hand) = $_->counts; $fresh + $in_hand } @brokers);
    my $room    = $self->{member}->record->{max_in_hand} - $held;
    return $room <= 0 ? 0 : int(($room + @brokers - 1) / @brokers);
}

sub _tell_assigned {
    my ($self, @placed) = @_;
    my $record = $self->{member}->record;
    @placed = sort { $a->{topic} cmp $b->{topic} || $a->{partition} <=> $b->{partition} } @placed;
    my $key = join ' ', map {"$_->{topic}:$_->{partition}"} @placed;
    return if $self->{placed} eq $key;
    $self->{placed} = $key;
    $self->{member}->log(info => 'fetches ' . ($key eq '' ? 'nothing' : $key));
    return $self->{outbox}->call_as(on_assign => $record->{on_assign}, \@placed);
}

# See EV::Kafka::Waits.
sub waits_for_topics {
    my ($self) = @_;
    my ($member, $cluster) = @$self{qw(member cluster)};
    return unless $member && $cluster->is_connected;
    return map { $self->_wait_for_topic($_) } grep { !$cluster->is_known($_) } @{ $member->record->{topics} };
}

sub _wait_for_topic {
    my ($self, $topic) = @_;
    my $group_id = $self->{member}->group_id;
    my ($reason, $text) = $self->{cluster}->trouble($topic) or return;
    return { subject => "topic $topic", reason => $reason, text => "share group '$group_id': $text; nothing of it can be assigned",
        about => { topic => $topic, group => $group_id } };
}

# --- what brokers say -----------------------------------------------------------------

# There is room again, in what all of them may bring.
sub _broker_settled {
    my ($self) = @_;
    $_->pump for values %{ $self->{brokers} };
    return;
}

# Another broker leads something.
sub _broker_doubted {
    my ($self, @topics) = @_;
    $self->{cluster}->want($_) for @topics;
    return;
}

# It will not do anything for the group: the membership ends.
sub _broker_refused {
    my ($self, $error) = @_;
    return $self->_stop($error);
}

# What came of what was said: [$topic, $partition, $first_offset, \@kinds, $code, $message] each; without a code $lost is
# why nobody has answered.
sub _broker_outcomes {
    my ($self, $node_id, $rows, $lost) = @_;
    for my $row (@$rows) {
        my ($topic, $partition, $first, $kinds, $code, $message) = @$row;
        my @offsets = map { $first + $_ } grep { $kinds->[$_] != GAP } 0 .. $#$kinds;
        next unless @offsets;
        my $error = !defined $code ? $lost : $code ? EV::Kafka::Error->of_code($code, $message) : undef;
        $self->_acknowledged({ topic => $topic, partition => $partition, offsets => \@offsets },
            $error && $error->at(operation => 'ShareAcknowledge', broker => $node_id, topic => $topic, partition => $partition));
    }
    return;
}

sub _broker_acknowledged { my ($self, @about) = @_; return $self->_acknowledged(@about) }

# Records that were not settled come again: nothing is lost.
sub _acknowledged {
    my ($self, $about, $error) = @_;
    my ($outbox, $member) = @$self{qw(outbox member)};
    my $on_acknowledge = $member ? $member->record->{on_acknowledge} : undef;
    return $outbox->call_as(on_acknowledge => $on_acknowledge, $about, $error) if $on_acknowledge;
    return unless defined $error;
    my $where = "$about->{topic}:$about->{partition}";
    my @all   = @{ $about->{offsets} };
    my $which = @all == 1 ? "offset $all[0]" : @all . " records from offset $all[0] on";
    # Each time is worth a word.
    $outbox->notice_over("settled $where");
    return $outbox->notice("settled $where", "$where, $which: not settled, and may come again: $error", %$about);
}

sub _broker_report {
    my ($self, $error) = @_;
    my $on_error = $self->{member} ? $self->{member}->record->{on_error} : undef;
    return $on_error ? $self->{outbox}->call_as(on_error => $on_error, $error) : $self->{outbox}->report($error);
}

# --- the end --------------------------------------------------------------------

# What is in hand goes back with the last of what is to be said; then the coordinator hears of it.
sub _leave {
    my ($self, $cb) = @_;
    my $member = $self->{member};
    push @{ $self->{leavers} }, $cb if $cb;
    return if $self->{leaving};
    my $was = $member->state;
    $member->becomes('leaving');
    $member->next_attempt;
    $self->{membership}->rests;
    $self->{leave_timer} = $self->{loop}->timer(LEAVE_PATIENCE, $self, '_left');
    my @brokers = values %{ $self->{brokers} };
    $self->{leaving} = { map { $_->node_id => $was } @brokers };
    $_->leave for @brokers;
    return @brokers ? undef : $self->_say_goodbye($was);
}

sub _broker_left {
    my ($self, $node_id) = @_;
    my $leaving = $self->{leaving} or return;
    my $was = delete $leaving->{$node_id} // return;
    return %$leaving ? undef : $self->_say_goodbye($was);
}

sub _say_goodbye {
    my ($self, $was) = @_;
    my ($member, $membership, $outbox) = @$self{qw(member membership outbox)};
    return $self->_left if $was eq 'stopped' || !$membership->must_leave;
    my $request = $self->{coordinators}->request(group => $member->group_id,
        name => 'ShareGroupHeartbeat',
        send => sub { my ($conn, $answered) = @_; $membership->part($conn, $answered) },
        done => sub { $outbox->enter($self, _goodbye_said => $member) },
    );
    $self->{goodbye} = $request unless $request->has_ended;
    return;
}

# Whatever the coordinator says to it.
sub _goodbye_said {
    my ($self, $member) = @_;
    delete $self->{goodbye};
    return $member->has_ended ? undef : $self->_left;
}

sub _left {
    my ($self) = @_;
    my ($outbox, @leavers) = ($self->{outbox}, @{ $self->{leavers} });
    $self->_end(EV::Kafka::Error->without_code('the share group has been left'));
    my $next = delete $self->{next};
    $self->_begin($next) if $next;
    $outbox->call($_) for @leavers;
    return;
}

# There is no member any more. What is not settled by now is told of as that.
sub _end {
    my ($self, $error) = @_;
    $_->close($error) for values %{ $self->{brokers} };
    $self->{membership}->rests;
    my $goodbye = delete $self->{goodbye};
    $goodbye->end if $goodbye;
    (delete $self->{member})->ends;
    EV::Kafka::Farewell->forget($self);
    delete @$self{qw(membership assigned placed leaving leavers leave_timer)};
    $self->{brokers} = {};
    return;
}

# Nothing more can be done: on_error hears why.
sub _stop {
    my ($self, $error) = @_;
    my $member = $self->{member};
    return if !$member || $self->{leaving} || $member->state eq 'stopped';
    my $group_id = $member->group_id;
    $member->becomes('stopped');
    $member->next_attempt;
    $self->{membership}->rests;
    $_->leave for values %{ $self->{brokers} };
    return $self->_broker_report(EV::Kafka::Error->from($error)->of("share group '$group_id'")->as_fatal);
}

# The client closes: what can be said without waiting is said, nothing else.
sub close {
    my ($self, $error) = @_;
    delete $self->{next};
    my $member = $self->{member} or return;
    my @leavers = @{ $self->{leavers} };
    $_->say_goodbye for values %{ $self->{brokers} };
    my $conn = $self->{coordinators}->ready_conn(group => $member->group_id);
    $self->{membership}->part($conn, sub { }) if $conn && $member->state ne 'stopped' && $self->{membership}->must_leave;
    $self->_end($error);
    $self->{outbox}->call($_, $error) for @leavers;
    return;
}

# In a forked child nobody is told.
sub abandon {
    my ($self) = @_;
    EV::Kafka::Farewell->forget($self);
    my $member = delete $self->{member} or return;
    $member->ends;
    $_->abandon for values %{ $self->{brokers} };
    $self->{brokers} = {};
    delete @$self{qw(membership next leaving leavers leave_timer goodbye)};
    return;
}

# The program ends without having closed the client: brokers notice by the end of its connections, the coordinator is told.
sub _last_words {
    my ($self, $loop) = @_;
    my ($member, $membership, $cluster) = @$self{qw(member membership cluster)};
    return if !$member || $member->state eq 'stopped' || !$membership->must_leave;
    # A new connection would ask the program for its token.
    return if ($self->{options}{sasl} || {})->{asks_for_token};
    my $node_id = $self->{coordinators}->node_id(group => $member->group_id);
    my $broker  = defined $node_id ? $cluster->broker($node_id) : undef;
    return unless $broker;
    $member->becomes('stopped');
    return { conn => $cluster->new_conn($loop), host => $broker->{host}, port => $broker->{port}, say => sub { $membership->part(@_) } };
}

1;

__END__

=head1 NAME

EV::Kafka::ShareGroup - an EV::Kafka client's part in a share group, from subscribe_share to unsubscribe_share

=head1 DESCRIPTION

An owner of L<EV::Kafka::Client>'s state, not for use by itself (KIP-932). The coordinator says which partitions the member
fetches (L<EV::Kafka::ShareGroup::Membership>); each broker that leads some of them is asked for records and told what became of
those that it gave (L<EV::Kafka::ShareGroup::Broker>).

=head1 METHODS

=head2 new(%below)

On the client's C<loop>, C<outbox>, C<options>, C<cluster> and C<coordinators>, with C<is_here>.

=head2 subscribe, unsubscribe

The client's C<subscribe_share> and C<unsubscribe_share>.

=head2 stats

Who the member is and how it stands, undef without one.

=head2 metadata_changed, place

Leaders may be others: each broker is told what it leads.

=head2 waits_for_topics

Subscribed topics that are not there, as L<EV::Kafka::Waits> has it.

=head2 close($error), abandon

The end of the client, and that of its copy in a forked child.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Manual::ShareGroups>

=cut
