use strict;
use warnings;
use Test::More;

use EV::Kafka;
use EV::Kafka::Cluster::Topics;
use EV::Kafka::Cluster::Waiting;
use EV::Kafka::Loop;
use EV::Kafka::Outbox;

# What waits in a client, without a client.

sub waiting {
    my (%published, @errors);
    my $topics = EV::Kafka::Cluster::Topics->new(\%published);
    my $outbox = EV::Kafka::Outbox->new(EV::Kafka::Loop->new, { on_error => sub { push @errors, @_ } }, sub { 0 });
    my @programs;
    my $waiting = EV::Kafka::Cluster::Waiting->new(
        topics    => $topics,
        outbox    => $outbox,
        published => \%published,
        tells     => sub { push @programs, [@_] },
    );
    return { waiting => $waiting, outbox => $outbox, topics => $topics, published => \%published, errors => \@errors, programs => \@programs };
}

# Topics by name, with the leader of their only partition.
sub know {
    my ($had, %leaders) = @_;
    my @topics = map { { name => $_, partitions => [{ partition => 0, leader => $leaders{$_} }] } } sort keys %leaders;
    $had->{topics}->adopt({ topics => \@topics }, [keys %leaders]);
    return;
}

sub op {
    my ($ran, $name, %about) = @_;
    return { is_owners => 1, run => sub { push @$ran, "$name ran" }, cb => sub { push @$ran, "$name: $_[1]" }, %about };
}

subtest 'for metadata' => sub {
    my $had     = waiting();
    my $waiting = $had->{waiting};
    my @ran;
    $waiting->add(op(\@ran, $_->[0], @$_[1 .. $#$_])) for ['a'], ['b', topic => 't'], ['c', node_id => 1], ['d'];
    $waiting->run_connected;
    is_deeply \@ran, ['a ran', 'd ran'], 'what needs nothing else runs, in order';
    is scalar @{ $had->{published}{pending_ops} }, 2, 'the rest waits, for programs to see';
};

subtest 'for topics' => sub {
    my $had     = waiting();
    my $waiting = $had->{waiting};
    my @ran;
    $waiting->add(op(\@ran, 'lead', topic => 't', partition => 0));
    $waiting->add(op(\@ran, 'there', topic => 't', partition => 0, known => 1));
    $waiting->add(op(\@ran, 'beyond', topic => 't', partition => 1, known => 1));
    $waiting->add(op(\@ran, 'other', topic => 'u'));
    is_deeply $waiting->topics_waited_for, { t => 1, u => 1 }, 'the topics';
    know($had, t => -1);
    $waiting->run_on_topics;
    is_deeply [splice @ran], ['there ran'], 'one without a leader is enough for who wants it to be there';
    know($had, t => 3);
    $waiting->run_on_topics;
    is_deeply [splice @ran], ['lead ran'], 'others want its leader';
    is_deeply $waiting->topics_waited_for, { t => 1, u => 1 }, 'for the partition that is not there it is still waited';
    $waiting->fail_on_topic(t => 'unavailable');
    is_deeply [splice @ran], ['beyond: unavailable'], 'which fails';
    is_deeply $waiting->topics_waited_for, { u => 1 }, 'alone';
};

subtest 'for a broker' => sub {
    my $had     = waiting();
    my $waiting = $had->{waiting};
    my (@ran, @got, $is_ready);
    $waiting->add(op(\@ran, $_->[0], purpose => $_->[1], node_id => $_->[2])) for ['a', 'main', 1], ['b', 'fetch', 1], ['c', 'main', 2];
    $waiting->add({ is_owners => 1, purpose => 'main', node_id => 1, run => sub { @got = @_; $is_ready = 0 } });
    $waiting->add(op(\@ran, 'e', purpose => 'main', node_id => 1));
    $is_ready = 1;
    my @left = $waiting->run_on_broker(1, sub { $is_ready && $_[0] eq 'main' ? "conn $_[0]" : undef });
    is_deeply \@ran, ['a ran'], 'what waits for a connection that is ready runs';
    is $got[1], 'conn main', 'with the connection';
    is_deeply \@left, ['main'], 'as long as there is one';
    ok $waiting->is_for_broker(1), 'the rest waits on';
    $is_ready = 1;
    $waiting->run_on_broker(1, sub { $_[0] eq 'main' ? 'conn' : undef });
    is_deeply [splice @ran], ['a ran', 'e ran'], 'until there is another';
    $waiting->fail_on_broker(fetch => 1, 'lost');
    is_deeply [splice @ran], ['b: lost'], 'or none';
    ok !$waiting->is_for_broker(1), 'nothing waits for it then';
    ok $waiting->is_for_broker(2), 'but for the other one';
};

subtest 'what fails' => sub {
    my $had     = waiting();
    my $waiting = $had->{waiting};
    my @ran;
    $waiting->fail('lost', { run => sub { } }, op(\@ran, 'a'), { run => sub { } });
    is_deeply [\@ran, $had->{errors}], [['a: lost'], ['lost']], 'tells its callback, or on_error once';
    $waiting->run({ is_owners => 1, run => sub { die "dead\n" }, cb => sub { push @ran, $_[1] } });
    is $ran[-1], "dead\n", 'as does what dies';
};

subtest 'operations of programs' => sub {
    my $had     = waiting();
    my $waiting = $had->{waiting};
    my $op = { node_id => 1, run => sub { die 'not here' } };
    $had->{published}{pending_ops} = [$op];
    $waiting->run_on_broker(1, sub { });
    is_deeply $had->{programs}, [[program_op => $op]], 'are the client\'s to run';
};

subtest 'the end' => sub {
    my $had     = waiting();
    my $waiting = $had->{waiting};
    my @ran;
    $waiting->add(op(\@ran, 'a'));
    $waiting->add({ run => sub { } });
    $had->{outbox}->mute;
    $waiting->close('client closed');
    $had->{outbox}->end;
    $waiting->run(op(\@ran, 'b'));
    is_deeply \@ran, ['a: client closed', 'b: client closed'], 'whatever waits or comes is told';
    is_deeply $had->{errors}, [], 'on_error is not';
};

done_testing;
