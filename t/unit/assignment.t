use strict;
use warnings;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Error;
use EV::Kafka::Group::Assignment;
use EV::Kafka::Group::Member;
use EV::Kafka::Outbox;
use HandClock;
use Test::More;

# What a member gives up and takes over, and in which order the program hears of it and the others
# are told. No socket, no client.

{
    package Consumer;
    sub assignments     { return @{ $_[0]{assignments} } }
    sub assigned_by_key { return { map { (_key($_) => $_) } @{ $_[0]{assignments} } } }
    sub positions       { my ($self) = @_; return grep { $_->{offset} >= 0 && !$self->cursor($_)->{untold} } @{ $self->{assignments} } }
    sub positions_to_commit { return $_[0]->positions }
    sub cursor          { my ($self, $assigned) = @_; return $self->{cursors}{ _key($assigned) } ||= bless {}, 'Cursor' }
    sub is_current      { my ($self, $assigned, $cursor) = @_; return ($self->{cursors}{ _key($assigned) } || 0) == $cursor }
    sub change {
        my ($self, $assigned, %new) = @_;
        $self->{assignments} = $assigned;
        $self->{cursors} = { map { (_key($_) => $new{ _key($_) } || $self->cursor($_)) } @$assigned };
        main::note_down('has ' . main::listed($assigned));
    }
    sub reset_offset { return -2 }
    sub begin_at { my ($self, $assigned, $offset) = @_; $assigned->{offset} = $offset; return }
    sub fetch_on { main::note_down('fetch'); return }
    sub owned_by { my ($self, $group_id, $may_assign) = @_; $self->{may_assign} = $may_assign; return }
    sub _key     { return "$_[0]{topic}:$_[0]{partition}" }

    # Of a partition that was there before.
    package Cursor;
    sub is_untold { return 0 }
    sub is_stranded { return 0 }
    sub is_going  { return 0 }

    package Committed;
    sub fetch { my ($self, $partitions, $done) = @_; $self->{fetched} = $done; main::note_down('look up ' . join ' ', map { "$_->[0]:$_->[1]" } @$partitions) }

    package Commits;
    sub add       { my ($self, $positions, $done) = @_; main::note_down('commit ' . main::listed($positions)); $self->{done} = $done; return }
    sub when_idle { my ($self, $then) = @_; return $self->{is_busy} ? $self->{then} = $then : $then->() }
    sub forget    { return }
    sub stable    { main::note_down('stable'); return }
    sub drop_what_is_out { main::note_down('drop'); return }

    package Session;
    sub confirmed { return }
}

my @log;

sub note_down { push @log, @_; return }

sub logged { return [splice @log] }

sub listed { my ($partitions) = @_; return join(' ', map { "$_->{topic}:$_->{partition}\@$_->{offset}" } @$partitions) || 'nothing' }

# A member that has t:0 to t:$count - 1, from 10 on: { assignment, member, consumer, commits, clock, errors }.
sub assignment {
    my ($count, %record) = @_;
    my $clock = HandClock->new;
    my $self  = { clock => $clock, errors => [], commits => bless({}, 'Commits'), committed => bless({}, 'Committed') };
    my $outbox = $self->{outbox} = EV::Kafka::Outbox->new($clock, { on_error => sub { push @{ $self->{errors} }, $_[0] } }, sub { 0 });
    $self->{consumer} = bless {
        assignments => [map { { topic => 't', partition => $_, offset => 10 } } 0 .. $count - 1], cursors => {},
    }, 'Consumer';
    my $member = $self->{member} = EV::Kafka::Group::Member->new(loop => $clock, outbox => $outbox,
        tells  => sub { my ($event, @about) = @_; note_down(join ' ', $event, map { ref eq q(HASH) ? listed([$_]) : $_ // '' } @about) },
        record => {
            group_id => 'g', member_id => 'm', generation => 4, state => 'stable', auto_commit => 1, auto_offset_reset => 'earliest',
            on_assign => sub { note_down('on_assign ' . listed($_[0])) },
            on_revoke => sub { note_down('on_revoke ' . listed($_[0])) },
            on_lost   => sub { note_down('on_lost ' . listed($_[0])) },
            %record,
        });
    $self->{assignment} = EV::Kafka::Group::Assignment->new(loop => $clock, outbox => $outbox, options => {}, member => $member,
        session => bless({}, 'Session'), map { $_ => $self->{$_} } qw(consumer committed commits));
    logged();
    return $self;
}

# As an answer of the coordinator does.
sub take { my ($self, @numbers) = @_; return $self->{outbox}->enter($self->{assignment}, take => [map { ['t', $_] } @numbers]) }

# The look-up is answered: offsets by number, none for those that are not named.
sub found {
    my ($self, %offset) = @_;
    my %committed = map { ("t:$_" => $offset{$_}) } keys %offset;
    return $self->{committed}{fetched}->(\%committed, undef, {});
}

subtest 'what is new' => sub {
    my $self = assignment(0);
    take($self, 0, 1);
    is_deeply logged(), ['look up t:0 t:1'], 'is looked up';
    is $self->{member}->state, 'taking', 'meanwhile it is being taken';
    $self->{outbox}->enter($self->{member}, _answered => sub { found($self, 0 => 5, 1 => 6) });
    is_deeply [grep { !/^resumed/ } @{ logged() }],
        ['has t:0@5 t:1@6', 'on_assign t:0@5 t:1@6', 'fetch', 'stable', 'taken 0'], 'and fetched when on_assign has returned';
    is $self->{member}->state, 'stable', 'the group is stable by then';
};

subtest 'where the program wants to begin' => sub {
    my $self;
    $self = assignment(0, on_assign => sub {
        $self->{may} = $self->{consumer}{may_assign};
        @{ $_[0] }[0, 1] = map { { %$_, offset => 99 } } @{ $_[0] }[0, 1];
        $_[0][2]{offset} = 99;
        $_[0][3]{offset} = 'here';
    });
    take($self, 0 .. 3);
    found($self, map { $_ => 5 } 0 .. 3);
    is listed([$self->{consumer}->assignments]), 't:0@5 t:1@5 t:2@99 t:3@5', 'counts where it was written in place';
    is_deeply [$self->{may}, $self->{consumer}{may_assign}], [1, 0], 'assign may say so, too, while on_assign is called';
    is_deeply $self->{errors},
        ["on_assign: the offset of t:3 must be an offset, -1 (latest) or -2 (earliest), not 'here'"], 'if it makes sense';
};

subtest 'positions that are not known' => sub {
    my $self = assignment(0);
    take($self, 0, 1);
    found($self, 0 => 5);
    is_deeply [grep { !/^resumed/ } @{ logged() }], ['look up t:0 t:1', 'has t:0@5 t:1@-2'], 'are waited for';
    $self->{consumer}{assignments}[1]{offset} = 7;
    $self->{assignment}->positioned;
    $self->{clock}->wind(0);
    is_deeply logged(), ['on_assign t:0@5 t:1@7', 'fetch', 'stable', 'taken 0'], 'and all told at once';

    $self = assignment(0);
    take($self, 0, 1);
    found($self, 0 => 5);
    logged();
    $self->{clock}->wind(30);
    is_deeply logged(), ['on_assign t:0@5', 'fetch', 'stable', 'taken 0'], 'but not for ever';
    $self->{consumer}{assignments}[1]{offset} = 7;
    $self->{assignment}->positioned;
    $self->{clock}->wind(0);
    is_deeply logged(), ['on_assign t:1@7', 'fetch'], 'the others come later';
};

subtest 'what goes' => sub {
    my $self;
    $self = assignment(3, on_revoke => sub {
        note_down('on_revoke ' . listed($_[0]) . ($self->{member}->is_revoking ? ', which may commit' : ''));
        $self->{consumer}{assignments}[2]{offset} = 12;
    });
    $self->{commits}{is_busy} = 1;
    take($self, 0, 1);
    is_deeply logged(), ['on_revoke t:2@10, which may commit', 'revoked t:2@12', 'has t:0@10 t:1@10', 'commit t:2@12'],
        'goes when on_revoke has returned, and is committed up to where that has gone';
    is_deeply [map { $_->{partition} } $self->{assignment}->committing], [2], 'until then it is not free';
    $self->{commits}{done}->('no');
    $self->{commits}{then}->();
    is_deeply $self->{errors}, ["group 'g': commit before partitions are given up: no"], 'what fails is told';
    is_deeply logged(), ['on_assign nothing', 'fetch', 'stable', 'taken 1'], 'then the rest is taken';
    is_deeply [$self->{assignment}->committing], [], 'it is free';
};

subtest 'what on_revoke itself calls for' => sub {
    my $self;
    $self = assignment(2, on_revoke => sub {
        note_down('on_revoke ' . listed($_[0]));
        $self->{outbox}->enter($self->{assignment}, give_up => sub { 1 }, 0, sub { note_down('left') });
        note_down('returns');
    });
    take($self, 0);
    is_deeply logged(), [
        'on_revoke t:1@10', 'returns', 'revoked t:1@10', 'has t:0@10', 'commit t:1@10', 'on_assign nothing', 'fetch', 'stable', 'taken 1',
        'on_revoke t:0@10', 'returns', 'revoked t:0@10', 'has nothing', 'left', 'left',
    ], 'comes after it, and nothing is revoked twice';
};

subtest 'a membership that is lost' => sub {
    my $self = assignment(2);
    $self->{member}->goes_out;
    $self->{outbox}->enter($self->{assignment}, surrender => 0, sub { note_down('joins') });
    is_deeply logged(), ['drop', 'on_lost t:0@10 t:1@10', 'revoked t:0@10 t:1@10', 'has nothing', 'joins'], 'nothing is committed';
    is $self->{member}->state, 'giving_up', 'it is on its way to join again';

    $self = assignment(1, on_lost => undef);
    $self->{member}->goes_out;
    $self->{outbox}->enter($self->{assignment}, surrender => 0, sub { });
    is logged()->[1], 'on_revoke t:0@10', 'without on_lost it is on_revoke that is called';
};

subtest 'what comes too late' => sub {
    my $self = assignment(0);
    take($self, 0);
    $self->{member}->next_attempt;
    found($self, 0 => 5);
    is_deeply logged(), ['look up t:0'], 'an answer for an attempt that is over changes nothing';

    $self = assignment(1, on_revoke => sub { note_down('on_revoke'); $self->{member}->ends });
    take($self);
    is_deeply logged(), ['on_revoke'], 'nor does an end within on_revoke leave anything to do';
};

subtest 'offsets that cannot be had' => sub {
    my $self = assignment(0);
    take($self, 0);
    $self->{committed}{fetched}->(undef, EV::Kafka::Error->of_code(30));
    is_deeply logged(), ['look up t:0', 'stopped OffsetFetch: GROUP_AUTHORIZATION_FAILED (code 30)'], 'stop the member';
};

subtest 'where what was given up goes on' => sub {
    my $self = assignment(2);
    $self->{outbox}->enter($self->{assignment}, surrender => 1, sub { });
    $self->{assignment}->goes_back('t:1', 3);
    logged();
    take($self, 0, 1);
    found($self, 0 => 8);
    is_deeply [grep { /^(?:resumed|has)/ } @{ logged() }], ['resumed t:0', 'has t:0@8 t:1@3'],
        'at what is committed, or where it was, or where an abort has put it';
};

done_testing;
