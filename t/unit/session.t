use strict;
use warnings;

use lib 't/lib';

my $now;

# The clock on the wall, which a session goes by.
BEGIN { no warnings 'redefine'; require EV; *EV::time = sub () { return $now } }

use EV::Kafka;
use EV::Kafka::Group::Member;
use EV::Kafka::Group::Session;
use EV::Kafka::Outbox;
use HandClock;
use Test::More;

# Whether a member has slept for longer than its session lasts.

{
    package Consumer;
    sub hold        { my ($self, $holder) = @_; push @{ $self->{log} }, "hold $holder"; return }
    sub release     { my ($self, $holder) = @_; push @{ $self->{log} }, "release $holder"; return }
    sub assignments { return @{ $_[0]{assignments} } }
}

# { session, member, log (what the consumer has to do), notices }
sub session {
    my (%record) = @_;
    $now = 1000;
    my $clock  = HandClock->new;
    my $self   = { log => [], notices => [] };
    my $outbox = EV::Kafka::Outbox->new($clock, { on_notice => sub { push @{ $self->{notices} }, $_[0] } }, sub { 0 });
    my $consumer = $self->{consumer} = bless { log => $self->{log}, assignments => [{}] }, 'Consumer';
    my $member   = $self->{member} = EV::Kafka::Group::Member->new(loop => $clock, outbox => $outbox,
        record => { group_id => 'g', member_id => 'm', generation => 1, state => 'stable', session_timeout => 3000, %record });
    $self->{session} = EV::Kafka::Group::Session->new(member => $member, consumer => $consumer, outbox => $outbox);
    return $self;
}

subtest 'awake' => sub {
    my $self = session();
    my $session = $self->{session};
    ok !$session->has_overslept, 'before it begins';
    $session->begins;
    $now += 2.9;
    ok !$session->has_overslept, 'and in its time';
    is $session->see_to, 0, 'a heartbeat holds nothing';
    $now += 2.9;
    ok !$session->has_overslept, 'and begins it anew';
    is_deeply $self->{log}, [], 'delivery goes on';
};

subtest 'overslept' => sub {
    my $self = session();
    my $session = $self->{session};
    $session->begins;
    $now += 3.1;
    ok $session->has_overslept, 'after its time';
    is $session->see_to, 1, 'the heartbeat is one that is waited for';
    is_deeply $self->{log}, ['hold session'], 'nothing is delivered';
    ok !$session->has_overslept, 'heartbeats are seen to';
    ok $session->is_held, 'until it is answered';
    $session->confirmed;
    $session->confirmed;
    is_deeply $self->{log}, ['hold session', 'release session'], 'once';
};

subtest 'how long it lasts' => sub {
    my $self = session();
    $self->{session}->lasts(10);
    $self->{session}->begins;
    $now += 9;
    ok !$self->{session}->has_overslept, 'may be the protocol\'s to say';
    $now += 2;
    ok $self->{session}->has_overslept;
    $self->{member}->becomes('joining');
    ok !$self->{session}->has_overslept, 'while the group waits no heartbeats are sent';
};

subtest 'a membership that is lost' => sub {
    my $self = session();
    $self->{session}->begins;
    $self->{session}->lost(25);
    $now += 5;
    $self->{session}->see_to;
    $self->{session}->lost(25);
    my $text = "group 'g' has given this member up: UNKNOWN_MEMBER_ID (code 25)";
    is_deeply $self->{notices}, ["$text; joining again",
        "$text; the event loop did not turn for 5.0 s, longer than a session lasts; joining again"], 'each time, and why';
    $self->{consumer}{assignments} = [];
    $self->{session}->lost(25);
    is scalar @{ $self->{notices} }, 2, 'not by who had nothing';
};

done_testing;
