use strict;
use warnings;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Error;
use EV::Kafka::Group::Commits;
use EV::Kafka::Group::Committed;
use EV::Kafka::Group::Member;
use EV::Kafka::Outbox;
use EV::Kafka::Request;
use HandClock;
use Test::More;

# What a member commits and reads, without a broker: the coordinator is asked by a real request
# over a connection that answers what it is told to.

{
    package Conn;
    sub connected    { return !$_[0]{is_lost} }
    sub api_versions { return { 9 => 8 } }
    sub offset_commit {
        my ($self, $group_id, $generation, $member_id, $offsets, $answered) = @_;
        push @{ $self->{sent} }, { answered => $answered, generation => $generation, offsets => _listed($offsets) };
    }
    sub offset_fetch {
        my ($self, $group_id, $topics, $how, $answered) = @_;
        push @{ $self->{sent} }, { answered => $answered, how => $how };
    }
    sub _listed {
        my ($topics) = @_;
        return join ' ', map { my $topic = $_; map { "$topic->{topic}:$_->{partition}\@$_->{offset}" } @{ $topic->{partitions} } } @$topics;
    }

    package Coordinators;
    sub request {
        my ($self, $kind, $key, %about) = @_;
        push @{ $self->{patience} }, delete $about{op_patience};
        my $request = EV::Kafka::Request->new(%$self{qw(loop outbox)}, %about,
            to      => sub { my ($request) = @_; $request->go($self->{conn}) },
            lost    => sub { $self->{lost}++ },
            refused => sub { });
        # As the real ones do until it ends.
        push @{ $self->{requests} }, $request;
        $request->start;
        return $request;
    }
    sub refused   { my ($self, $kind, $key, @codes) = @_; push @{ $self->{refused} }, @codes; return }
    sub is_blocked { return 0 }
    sub node_id   { return 3 }

    package Cluster;
    sub is_gone    { my ($self, $topic) = @_; return $self->{gone}{$topic} }
    sub topic_id   { my ($self, $topic) = @_; return $self->{ids}{$topic} }
    sub with_ids   { my ($self, $topics) = @_; return $topics }
    sub want       { my ($self, $topic) = @_; push @{ $self->{wanted} }, $topic; return }
    sub is_known   { return 1 }
    sub refresh    { $_[0]{refreshed}++; return }
    sub close_link { my ($self, @link) = @_; push @{ $self->{closed_links} }, "@link"; return }

    package Consumer;
    sub positions         { return @{ $_[0]{positions} } }
    sub positions_to_commit { return $_[0]->positions }
    sub handled_positions { return @{ $_[0]{positions} } }
    sub assignments       { return @{ $_[0]{assignments} } }
    sub assigned_by_key   { return { map { ("$_->{topic}:$_->{partition}" => $_) } @{ $_[0]{assignments} } } }
}

sub at { my ($partition, $offset, $topic) = @_; return { topic => $topic // 't', partition => $partition, offset => $offset } }

# A member of two partitions that is stable: { commits, member, clock, conn, told, … }.
sub commits {
    my (%record) = @_;
    my $clock  = HandClock->new;
    my $outbox = EV::Kafka::Outbox->new($clock, { on_error => sub { fail "on_error: @_" } }, sub { 0 });
    my $conn   = bless { sent => [] }, 'Conn';
    my $self   = { clock => $clock, outbox => $outbox, conn => $conn, told => [], news => [] };
    $self->{coordinators} = bless { loop => $clock, outbox => $outbox, conn => $conn, refused => [], patience => [] }, 'Coordinators';
    $self->{cluster}  = bless {}, 'Cluster';
    $self->{consumer} = bless { assignments => [at(0, 5), at(1, 6)], positions => [at(0, 5), at(1, 6)] }, 'Consumer';
    my @below = (loop => $clock, map { $_ => $self->{$_} } qw(outbox coordinators cluster consumer));
    $self->{member} = EV::Kafka::Group::Member->new(@below, tells => sub { push @{ $self->{news} }, "@_" }, record => {
        group_id => 'g', member_id => 'm', generation => 4, state => 'stable',
        rebalance_timeout => 60_000, auto_commit_interval => 0, %record,
    });
    push @below, member => $self->{member};
    $self->{commits} = EV::Kafka::Group::Commits->new(@below, committed => EV::Kafka::Group::Committed->new(@below, group_id => 'g'));
    return $self;
}

sub commit {
    my ($self, $name, $offsets) = @_;
    return $self->{commits}->commit($offsets, sub { push @{ $self->{told} }, "$name: " . ($_[1] // 'ok') });
}

# What the last request has sent.
sub sent { my ($self) = @_; return scalar @{ $self->{conn}{sent} } . " $self->{conn}{sent}[-1]{offsets}" }

# Answers the last request with codes by partition, 0 for those that are not named.
sub answer {
    my ($self, %code) = @_;
    my $sent = $self->{conn}{sent}[-1];
    my @partitions = map { /:([0-9]+)@/ ? { partition => $1, error_code => $code{$1} // 0 } : () } split ' ', $sent->{offsets};
    return $sent->{answered}->({ topics => [{ topic => 't', partitions => \@partitions }] });
}

sub told { my ($self) = @_; return splice @{ $self->{told} } }

subtest 'one request at a time' => sub {
    my $self = commits();
    commit($self, 'first');
    is sent($self), '1 t:0@5 t:1@6', 'the positions';
    commit($self, $_, [at(0, $_)]) for 7, 8;
    is sent($self), '1 t:0@5 t:1@6', 'the others wait';
    answer($self);
    is_deeply [told($self)], ['first: ok'], 'for its answer';
    is sent($self), '2 t:0@8', 'of two the newest is sent';
    answer($self);
    is_deeply [told($self)], ['7: ok', '8: ok'], 'which counts for both';
    ok $self->{commits}->is_idle, 'that was all';
    is $self->{clock}->waiting, 0, 'no timer is left';
};

subtest 'what may be stored later is sent again, slowly, with what is newer' => sub {
    my $self = commits();
    commit($self, 'a', [at(0, 1), at(1, 1)]);
    answer($self, 0 => 14, 1 => 12);
    is_deeply [told($self)], [], 'nobody is told yet';
    commit($self, 'b', [at(1, 2)]);
    is sent($self), '1 t:0@1 t:1@1', 'nor is anything sent';
    $self->{clock}->wind(0.2);
    is sent($self), '2 t:0@1 t:1@2', 'after a while it is';
    answer($self);
    is_deeply [told($self)], ['a: OFFSET_METADATA_TOO_LARGE (code 12) for t:1', 'b: ok'], 'each hears of its own';
    is_deeply [sort @{ $self->{coordinators}{refused} }], [12, 14], 'the coordinator may be another one';
};

subtest 'a lost connection' => sub {
    my $self = commits();
    commit($self, 'a');
    $self->{conn}{is_lost} = 1;
    $self->{conn}{sent}[-1]{answered}->(undef, 'disconnected');
    is $self->{coordinators}{lost}, 1, 'the coordinator is looked for again';
    $self->{conn}{is_lost} = 0;
    $self->{commits}->hurry;
    is sent($self), '2 t:0@5 t:1@6', 'and asked again, at once where that helps';
    answer($self);
    is_deeply [told($self)], ['a: ok'], 'without an error';
};

subtest 'a request that cannot be sent' => sub {
    my $self = commits();
    commit($self, 'a');
    $self->{conn}{sent}[-1]{answered}->(undef, 'the broker does not know it');
    is_deeply [told($self)], ['a: the broker does not know it'], 'will never be';
    is $self->{clock}->waiting, 0, 'no try follows';
};

subtest 'a rebalance' => sub {
    my $self = commits();
    $self->{member}->becomes('syncing');
    commit($self, 'a');
    commit($self, 'b', [at(0, 3), at(2, 3)]);
    is_deeply $self->{conn}{sent}, [], 'is waited for';
    $self->{consumer}{assignments}[0] = at(0, 5);
    $self->{member}->becomes('stable');
    $self->{commits}->stable;
    is sent($self), '1 t:1@6', 'what stayed is committed';
    answer($self);
    is_deeply [told($self)], [
        'b: given up in a rebalance before it was committed: t:0; not assigned to this member: t:2',
        'a: given up in a rebalance before it was committed: t:0'], 'what did not is reported';

    $self->{member}->becomes('syncing');
    commit($self, 'c');
    $self->{clock}->wind(60);
    is_deeply [told($self)], ['c: timed out after 60 seconds'], 'but no longer than it may take';
    commit($self, 'd');
    $self->{commits}->fail_waiting('the group has been left');
    is_deeply [told($self)], ['d: the group has been left'], 'nor when there will be no end';
};

subtest 'codes that tell of the membership' => sub {
    for my $code (22, 25, 27, 82, 110) {
        my $self = commits();
        commit($self, 'a', [at(0, 1)]);
        answer($self, 0 => $code);
        is_deeply [told($self)], ['a: ' . EV::Kafka::Error->of_code($code)->text . ' for t:0'], "$code is an error";
        is_deeply $self->{news}, ["commit_refused $code"], 'of which the protocol hears';
    }
    my $self = commits();
    commit($self, 'a', [at(0, 1)]);
    $self->{member}->has_generation(5);
    answer($self, 0 => 22);
    is_deeply [[told($self)], $self->{news}], [[], []], 'of an older generation neither';
    $self->{commits}->hurry;
    is $self->{conn}{sent}[-1]{generation}, 5, 'it is sent again with the new one';
    answer($self, 0 => 113);
    is_deeply $self->{news}, ['epoch_is_stale'], 'an epoch that has changed';
    $self->{member}->goes_out;
    $self->{commits}->drop_what_is_out;
    is_deeply [told($self)], ['a: the membership of the group has been lost'], 'nothing is sent of who is out';
    $self->{clock}->wind(10);
    is scalar @{ $self->{conn}{sent} }, 2, 'nor later';
};

subtest 'a topic that is deleted' => sub {
    my $self = commits();
    commit($self, 'all');
    commit($self, 'named', [at(0, 5)]);
    answer($self, 0 => 3, 1 => 3);
    is $self->{cluster}{refreshed}, 1, 'metadata has to say so, too';
    $self->{cluster}{gone}{t} = 1;
    $self->{clock}->wind(0.2);
    is_deeply [told($self)], ['all: ok', 'named: UNKNOWN_TOPIC_OR_PARTITION (code 3) for t:0'], 'then only who has named it hears of it';
    is scalar @{ $self->{conn}{sent} }, 1, 'it is not sent again';
};

subtest 'what has moved is committed without being asked' => sub {
    my $self = commits(auto_commit_interval => 5);
    $self->{commits}->begins_periodically;
    $self->{clock}->wind(5);
    is sent($self), '1 t:0@5 t:1@6', 'in the interval';
    answer($self);
    $self->{consumer}{positions}[1]{offset} = 9;
    $self->{clock}->wind(5);
    is sent($self), '2 t:1@9', 'no more than that';
    answer($self);
    $self->{clock}->wind(5);
    is scalar @{ $self->{conn}{sent} }, 2, 'nothing if nothing has moved';
    $self->{commits}->rests;
    is $self->{clock}->waiting, 0, 'until it rests';
};

subtest 'leaving' => sub {
    my $self = commits();
    $self->{member}->becomes('leaving');
    $self->{commits}->add([at(0, 5)], sub { push @{ $self->{told} }, 'left: ' . ($_[0] // 'ok') });
    $self->{commits}->leaves;
    is_deeply $self->{coordinators}{patience}, [2], 'has less patience';
    $self->{clock}->wind(2);
    is_deeply $self->{cluster}{closed_links}, ['group 3'], 'and none for an answer that does not come';
    $self->{commits}->ends('the group has been left');
    is_deeply [told($self)], ['left: the group has been left'], 'it has an end';
    answer($self);
    is_deeply [told($self)], [], 'after which nothing counts';
};

subtest 'the end' => sub {
    for my $is_silent (0, 1) {
        my $self = commits();
        commit($self, 'under way');
        $self->{member}->becomes('syncing');
        commit($self, 'waiting');
        $self->{commits}->committed(undef, sub { push @{ $self->{told} }, "committed: $_[1]" });
        if ($is_silent) { $self->{commits}->falls_silent }
        else            { $self->{commits}->ends('client closed') }
        is_deeply [told($self)], $is_silent ? [] : ['waiting: client closed', 'committed: client closed', 'under way: client closed'],
            $is_silent ? 'nobody hears of it' : 'whoever waits hears of it';
        is $self->{clock}->waiting, 0, 'no timer is left';
    }
};

subtest 'what is committed' => sub {
    my $self = commits();
    my @got;
    my $ask = sub { my (@partitions) = @_;
        $self->{commits}->committed(undef, sub { @got = @_ });
        $self->{conn}{sent}[-1]{answered}->({ error_code => 0, topics => [{ topic => 't', partitions => [@partitions] }] });
    };
    $ask->({ partition => 0, offset => 7, error_code => 0, leader_epoch => 2 }, { partition => 1, offset => -1, error_code => 0 });
    is_deeply $got[0], { 't:0' => 7, 't:1' => undef }, 'by partition, undef where there is nothing';
    is_deeply $self->{conn}{sent}[-1]{how}, { require_stable => 1 }, 'with what transactions are about to commit';
    $ask->({ partition => 0, offset => 7, error_code => 0 }, { partition => 1, offset => -1, error_code => 3 });
    is_deeply $got[0], { 't:0' => 7, 't:1' => undef }, 'nothing of a topic that is not there';
    $ask->({ partition => 0, offset => 7, error_code => 0 }, { partition => 1, offset => -1, error_code => 29 });
    is_deeply \@got, [undef, 'TOPIC_AUTHORIZATION_FAILED (code 29) for t:1'], 'an error of one is an error';
};

subtest 'a topic that was created anew' => sub {
    my $self = commits();
    $self->{cluster}{ids} = { t => 'a' x 16 };
    commit($self, first => undef);
    commit($self, waits => [at(0, 7)]);
    commit($self, other => [at(1, 8, 'u')]);
    $self->{consumer}{assignments} = [at(0, 5), at(1, 6), at(1, 8, 'u')];
    $self->{cluster}{ids}{t} = 'b' x 16;
    $self->{commits}->recreated('t');
    answer($self, 0 => 0, 1 => 0);
    is scalar @{ $self->{conn}{sent} }, 1, 'a position of the topic before is not sent';
    like $self->{told}[-1], qr/^waits: not committed for t:0: the topic was deleted and created anew/, 'and who wanted it hears so';
    commit($self, again => [at(0, 1)]);
    is sent($self), '2 t:0@1', 'one of the new topic is';
};

done_testing;
