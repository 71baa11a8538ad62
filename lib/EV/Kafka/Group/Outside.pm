package EV::Kafka::Group::Outside;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Group::Committed;
use EV::Kafka::Group::Positions;
use EV::Kafka::Partitions;

# Offsets of groups that this client is no member of: of a program that assigns, or one that looks after a group
# nobody is in. As in a group, one OffsetCommit at a time is under way.
#   groups   by group id, while anything is wanted there, its EV::Kafka::Group::Positions
#   reads    by number, the callbacks of committed that wait

# Times that the coordinator is asked.
use constant TRIES => 8;

# What a request says whose sender is no member (-1 and the empty string).
use constant { NO_GENERATION => -1, NO_MEMBER => '' };

# The coordinator takes positions of a group that has members from them only.
use constant UNKNOWN_MEMBER_ID => 25;

sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(outbox cluster coordinators)), groups => {}, reads => {}, number => 0 }, $class;
}

# $done->(undef, $error), once.
sub commit {
    my ($self, $group_id, $positions, $done) = @_;
    return $done->() unless @$positions;
    my $wanted = $self->{groups}{$group_id} ||= EV::Kafka::Group::Positions->new;
    $wanted->add($positions, sub { $done->(undef, @_) }, named => 1);
    return $self->_send($group_id);
}

# $done->(\%committed, $error), once.
sub committed {
    my ($self, $group_id, $partitions, $done) = @_;
    my $number = ++$self->{number};
    $self->{reads}{$number} = $done;
    return $self->_when_connected(_read => $number, $group_id, $partitions);
}

sub _read {
    my ($self, $number, $group_id, $partitions) = @_;
    return unless $self->{reads}{$number};
    weaken(my $weak = $self);
    return EV::Kafka::Group::Committed->new(%$self, group_id => $group_id)->fetch($partitions, sub {
        my ($offsets, $error) = @_;
        my $done = $weak && delete $weak->{reads}{$number} or return;
        $done->($offsets, $error);
    }, tries => TRIES);
}

# Who waits is called back by close.
sub _when_connected {
    my ($self, $method, @args) = @_;
    return $self->{cluster}->when_connected({ cb => sub { }, run => $self->{outbox}->entry($self, _begin => $method, @args) });
}

sub _begin { my ($self, $method, @args) = @_; return $self->$method(@args) }

# --- one request at a time --------------------------------------------------------------

sub _send {
    my ($self, $group_id) = @_;
    my $wanted = $self->{groups}{$group_id} or return;
    if ($wanted->is_idle) {
        delete $self->{groups}{$group_id};
        return;
    }
    my @positions = $wanted->take or return;
    return $self->_when_connected(_ask => $group_id, EV::Kafka::Partitions::offsets_by_topic(@positions));
}

sub _ask {
    my ($self, $group_id, $topics) = @_;
    return $self->{coordinators}->request(group => $group_id,
        name  => 'OffsetCommit',
        tries => TRIES,
        send  => sub { my ($conn, $answered) = @_; $conn->offset_commit($group_id, NO_GENERATION, NO_MEMBER, $self->{cluster}->with_ids($topics), $answered) },
        done  => $self->{outbox}->entry($self, _sent => $group_id),
    );
}

sub _sent {
    my ($self, $group_id, $answer, $error) = @_;
    my $wanted = $self->{groups}{$group_id} or return;
    my @broker = (broker => $self->{coordinators}->node_id(group => $group_id));
    my @ended  = $wanted->settle(_verdicts(\@broker, $answer, $error, $wanted->under_way));
    $_->[0]->($_->[1]) for @ended;
    return $self->_send($group_id);
}

sub _verdicts {
    my ($broker, $answer, $error, @keys) = @_;
    return { map { $_ => { reason => $error->at(@$broker) } } @keys } unless $answer;
    my %code = map { $_ => $answer->{error_code} || 0 } @keys;
    for my $topic (@{ $answer->{topics} }) {
        $code{"$topic->{topic}:$_->{partition}"} ||= $_->{error_code} for @{ $topic->{partitions} };
    }
    return { map { $_ => { reason => _reason($code{$_})->at(@$broker) } } grep { $code{$_} } @keys };
}

sub _reason {
    my ($code) = @_;
    return EV::Kafka::Error->of_code($code, $code == UNKNOWN_MEMBER_ID ? 'for %s: the group has members, who commit themselves' : 'for %s');
}

# --- the end ----------------------------------------------------------------------------

sub close {
    my ($self, $error) = @_;
    my ($groups, $reads) = $self->_forget;
    my @ended = map { $_->fail($error) } values %$groups;
    $_->[0]->($_->[1])  for @ended;
    $_->(undef, $error) for values %$reads;
    return;
}

# In a forked child nobody is told.
sub abandon { my ($self) = @_; $self->_forget; return }

sub _forget {
    my ($self) = @_;
    my @was = @$self{qw(groups reads)};
    @$self{qw(groups reads)} = ({}, {});
    return @was;
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Outside - offsets of groups that an EV::Kafka client is no member of

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself: C<commit> and C<committed> with a C<group_id>.

=head1 METHODS

=head2 new(%about)

With C<outbox>, C<cluster> and C<coordinators>.

=head2 commit($group_id, \@positions, $done), committed($group_id, \@partitions, $done)

What the program calls for: C<< $done->(undef, $error) >> and C<< $done->(\%committed, $error) >>.

=head2 close($error), abandon

The end, with and without a word to those who wait.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut
