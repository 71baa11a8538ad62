use v5.14;
use warnings;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Error;
use EV::Kafka::Outbox;
use EV::Kafka::Producer::Parked;
use HandClock;
use Test::More;

# Messages that wait for their topic, without a broker.

{
    package Accumulator;
    # For each topic what unpark gives, in turn: [number, keys with their kinds] or [].
    sub park            { my ($self, @message) = @_; return $self->{refusal} if defined $self->{refusal}; push @{ $self->{parked} }, \@message; return undef }
    sub must_unpark     { my ($self, $topic) = @_; return scalar @{ $self->{steps}{$topic} || [] } }
    sub unpark          { my ($self, $topic) = @_; $self->{clock}{seconds} += $self->{takes} || 0; return @{ shift @{ $self->{steps}{$topic} } } }
    sub unpark_answered { my ($self, @answer) = @_; push @{ $self->{answered} }, \@answer; return @{ $self->{refused} || [] } }
    sub waiting_beyond  { return @{ $_[0]{beyond} || [] } }
    sub fail_parked     { my ($self, @about) = @_; push @{ $self->{failed} }, \@about; return (2, 1) }
    package Cluster;
    sub on_topic { my ($self, $op) = @_; push @{ $self->{ops} }, $op; return }
    sub is_known { my ($self, $topic, $partition) = @_; return defined $partition ? $partition < ($self->{known}{$topic} || 0) : $self->{known}{$topic} }
    package Settings;
    sub has_partitioner { return $_[0]{partitioner} ? 1 : 0 }
    sub choose_partition { my ($self, @about) = @_; return $self->{partitioner}->(@about) }
}

sub parked {
    my $clock = HandClock->new;
    my %below = (
        accumulator => bless({ clock => $clock }, 'Accumulator'),
        cluster     => bless({ known => {}, ops => [] }, 'Cluster'),
        settings    => bless({}, 'Settings'),
    );
    my $outbox = EV::Kafka::Outbox->new($clock, {}, sub { 0 });
    my @told;
    my $parked = EV::Kafka::Producer::Parked->new(loop => $clock, outbox => $outbox, %below, notify => sub { push @told, [@_]; return });
    return ($parked, \@told, $clock, $outbox, @below{qw(accumulator cluster settings)});
}

sub message { my (%about) = @_; return { topic => 't', key => 'k', value => 'v', %about } }

subtest 'a topic that is not known' => sub {
    my ($parked, undef, undef, undef, $accumulator, $cluster) = parked();
    ok !$parked->has('t'), 'nothing waits for it at first';
    is $parked->park(message(partition => $_, cb => [sub { }, 'argument'], acks => 1), 0), undef, 'a message finds its place' for 1, 2;
    ok $parked->has('t'), 'now something does';
    is_deeply [map { $_->[1] } @{ $accumulator->{parked} }], [1, 2], 'natively, in order';
    is $accumulator->{parked}[0][6][1], 'argument', 'with its callback';
    is scalar(@{ $cluster->{ops} }), 1, 'one operation waits for the topic';
    is_deeply [@{ $cluster->{ops}[0] }{qw(topic partition known is_write)}], ['t', undef, 1, 1], 'to be known';
    $accumulator->{steps}{t} = [[], []];
    $cluster->{known}{t} = 1;
    $cluster->{ops}[0]{run}->();
    is_deeply $accumulator->{steps}{t}, [], 'then all are moved';
    ok !$parked->has('t'), 'and the next ones go straight';
};

subtest 'no room' => sub {
    my ($parked, undef, undef, undef, $accumulator, $cluster) = parked();
    $accumulator->{refusal} = 'producer buffer full';
    is $parked->park(message(), 0), 'producer buffer full', 'is said';
    ok !$parked->has('t'), 'and nothing waits';
    is scalar(@{ $cluster->{ops} }), 0, 'for nothing';
};

subtest 'who is asked for the partition' => sub {
    my ($parked, undef, undef, undef, $accumulator, undef, $settings) = parked();
    $parked->park(message(), 1);
    $settings->{partitioner} = sub { 0 };
    $parked->park(message(), $_) for 0, 1;
    is_deeply [map { $_->[8] } @{ $accumulator->{parked} }], [0, 1, 2], 'the key, or the partitioner, with a key that is text or not';
};

subtest 'many messages' => sub {
    my ($parked, undef, $clock, undef, $accumulator, $cluster) = parked();
    $parked->park(message(), 0);
    $accumulator->{steps}{t} = [map { [] } 1 .. 5];
    $accumulator->{takes}    = 0.004;
    $cluster->{known}{t}     = 1;
    $cluster->{ops}[0]{run}->();
    is scalar(@{ $accumulator->{steps}{t} }), 2, 'are not moved in one turn of the loop';
    ok $parked->has('t'), 'the next message waits behind';
    $clock->wind(0);
    is scalar(@{ $accumulator->{steps}{t} }), 0, 'the rest in the next';
    ok !$parked->has('t'), 'and then none waits';
};

subtest 'a partitioner' => sub {
    my ($parked, $told, undef, undef, $accumulator, $cluster, $settings) = parked();
    my @asked;
    $settings->{partitioner} = sub { push @asked, [@_]; die "no idea\n" if $_[1] eq 'bad'; 3 };
    $parked->park(message(), 0);
    my $cb = sub { };
    $accumulator->{steps}{t} = [[17, 'plain', 0, "\xc3\xa9", 1, 'bad', 0]];
    $accumulator->{refused}  = [[2, $cb, 1]];
    $cluster->{known}{t}     = 4;
    local $@ = 'kept';
    $cluster->{ops}[0]{run}->();
    is_deeply \@asked, [['t', 'plain'], ['t', "\xe9"], ['t', 'bad']], 'sees the keys as they were given';
    is_deeply $accumulator->{answered}, [['t', 17, [3, 3, undef]]], 'what it says is handed on';
    is_deeply $told, [['refused', $cb, "no idea\n", 1]], 'what it dies of is told';
    is $@, 'kept', 'and seen by nobody else';
};

subtest 'a partitioner that ends the client' => sub {
    my ($parked, $told, undef, $outbox, $accumulator, $cluster, $settings) = parked();
    $settings->{partitioner} = sub { $outbox->end; 0 };
    $parked->park(message(), 0);
    $accumulator->{steps}{t} = [[17, 'a', 0, 'b', 0]];
    $cluster->{known}{t}     = 1;
    $cluster->{ops}[0]{run}->();
    is $accumulator->{answered}, undef, 'is not listened to any more';
};

subtest 'a topic that has gone again' => sub {
    my ($parked, undef, undef, undef, undef, $cluster) = parked();
    $parked->park(message(), 0);
    $cluster->{ops}[0]{run}->();
    is scalar(@{ $cluster->{ops} }), 2, 'is waited for again';
    ok $parked->has('t'), 'with its messages';
};

subtest 'a topic that cannot be had' => sub {
    my ($parked, $told, undef, undef, $accumulator, $cluster) = parked();
    $parked->park(message(), 0);
    my $error = EV::Kafka::Error->of_code(3);
    $cluster->{ops}[0]{cb}->(undef, $error);
    is_deeply $accumulator->{failed}, [['t', undef, $error]], 'its messages fail';
    is_deeply $told, [['failed', $error, 2, 1]], 'which is told, with how many nobody hears of';
    ok !$parked->has('t'), 'nothing waits';
};

subtest 'a partition that is not known' => sub {
    my ($parked, $told, undef, undef, $accumulator, $cluster) = parked();
    $cluster->{known}{t} = 2;
    $parked->watch('t', $_) for 0, 1;
    is scalar(@{ $cluster->{ops} }), 0, 'not one that is';
    $parked->watch('t', 2) for 1 .. 2;
    is_deeply [map { $_->{partition} } @{ $cluster->{ops} }], [2], 'is waited for once';
    $cluster->{known}{t} = 3;
    $cluster->{ops}[0]{run}->();
    $cluster->{known}{t} = 2;
    $parked->watch('t', 2);
    is scalar(@{ $cluster->{ops} }), 2, 'and again when it has gone';
    $cluster->{ops}[1]{cb}->(undef, 'unavailable');
    is_deeply $accumulator->{failed}, [['t', 2, 'unavailable']], 'or fails, with its messages';
    $accumulator->{beyond} = [5];
    $parked->park(message(), 0);
    $accumulator->{steps}{t} = [[]];
    $cluster->{ops}[2]{run}->();
    is $cluster->{ops}[3]{partition}, 5, 'also where messages were moved to it';
};

subtest 'the end' => sub {
    my ($parked, $told, $clock, undef, $accumulator, $cluster) = parked();
    $parked->park(message(), 0);
    $parked->stop;
    ok !$parked->has('t'), 'nothing waits';
    my @ops = @{ $cluster->{ops} };
    undef $parked;
    $_->{run}->() for @ops;
    $_->{cb}->(undef, 'client closed') for @ops;
    is_deeply $told, [], 'and nobody hears of what comes too late';
};

done_testing;
