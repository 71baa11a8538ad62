use strict;
use warnings;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Coordinators;
use EV::Kafka::Outbox;
use EV::Kafka::Transactions;
use HandClock;
use Test::More;

# Transactions without a broker: requests are real, the connection answers what it is told to.

{
    package Conn;
    sub connected    { return 1 }
    sub _patience    { return }
    sub api_versions { return { 25 => 3 } }
    sub find_coordinator { my ($self, $key, $answered) = @_; $answered->({ error_code => 0, node_id => 7, host => 'h', port => 1 }) }
    sub end_txn               { my ($self, @about) = @_; $self->_sent(EndTxn => @about[4, 3]) }
    sub add_partitions_to_txn { my ($self, @about) = @_; $self->_sent(AddPartitions => pop @about, _listed(pop @about)) }
    sub add_offsets_to_txn    { my ($self, @about) = @_; $self->_sent(AddOffsets => pop @about, $about[-1]) }
    sub txn_offset_commit     { my ($self, @about) = @_; $self->_sent(OffsetCommit => $about[7], @about[1, 4, 5]) }
    sub _sent { my ($self, $name, $answered, @about) = @_; push @{ $self->{sent} }, { text => "$name @about", answered => $answered }; return }
    sub _listed { my ($topics) = @_; return map { my $topic = $_; map { "$topic->{topic}:$_" } @{ $topic->{partitions} } } @$topics }

    package Cluster;
    sub new            { my ($class, $conn) = @_; return bless { conn => $conn }, $class }
    sub control_conn   { return $_[0]{conn} }
    sub answer_timeout { return 10 }
    sub add_broker     { return 1 }
    sub feature        { return $_[0]{features}{ $_[1] } }
    sub on_broker      { my ($self, $purpose, $node_id, $op) = @_; $op->{run}->($op, $self->{conn}); return }

    # What it was asked for, but what it is only asked about.
    package Producer;
    our $AUTOLOAD;
    sub new { my ($class) = @_; return bless { called => [], has_identity => 1, is_ready => 1, in_transaction => 0 }, $class }
    sub rules        { my ($self, %rules) = @_; $self->{rules} = \%rules; return }
    sub identity     { return (5, 2) }
    sub unregistered { return splice @{ $_[0]{unregistered} || [] } }
    sub registered   { my ($self, @partition) = @_; push @{ $self->{called} }, "registered @partition"; return }
    sub needs_identity { return 0 }
    sub AUTOLOAD {
        my ($self, @about) = @_;
        my $name = $AUTOLOAD =~ s/.*:://r;
        return $self->{$name} if exists $self->{$name};
        push @{ $self->{called} }, join ' ', $name, @about if $name ne 'send_ready';
        return;
    }
    sub DESTROY { }

    package Consumer;
    sub new         { my ($class) = @_; return bless { assigned => [{ topic => 't', partition => 0, offset => 3 }], called => [] }, $class }
    sub assignments { return @{ $_[0]{assigned} } }
    sub assigned    { my ($self, $topic, $partition) = @_; return $self->{assigned}[$partition] }
    sub position_of { return $_[1]{offset} }
    sub positions   { return map { {%$_} } @{ $_[0]{assigned} } }
    sub cursor      { return 'cursor' }
    sub move        { my ($self, $assigned, $offset) = @_; $assigned->{offset} = $offset; return }
    sub void        { push @{ $_[0]{called} }, 'void'; return }
    sub hold        { push @{ $_[0]{called} }, "hold $_[1]"; return }
    sub release     { push @{ $_[0]{called} }, "release $_[1]"; return }

    package Group;
    sub member     { return (4, 'm') }
    sub group_id   { return $_[0]{group_id} }
    sub generation { return $_[0]{generation} }
    sub goes_back  { push @{ $_[0]{back} }, "$_[1] $_[2]"; return }
}

# { transactions, producer, consumer, group, conn, clock, outbox, told, errors }
sub client {
    my (%options) = @_;
    my $clock = HandClock->new;
    my $self  = { clock => $clock, told => [], errors => [], conn => bless({ sent => [] }, 'Conn') };
    my $options = { transactional_id => 'x', transaction_timeout => 60_000, delivery_timeout => 120, request_timeout => 30, %options,
        on_error => sub { push @{ $self->{errors} }, $_[0] } };
    $self->{outbox} = EV::Kafka::Outbox->new($clock, $options, sub { 0 });
    my @ground = (loop => $clock, outbox => $self->{outbox}, options => $options);
    $self->{cluster} = Cluster->new($self->{conn});
    $self->{coordinators} = EV::Kafka::Coordinators->new(@ground, cluster => $self->{cluster});
    @$self{qw(producer consumer group)} = (Producer->new, Consumer->new, bless { generation => 4 }, 'Group');
    $self->{transactions} = EV::Kafka::Transactions->new(@ground, map { $_ => $self->{$_} } qw(cluster coordinators producer consumer group));
    return $self;
}

# As the program does, or another owner that tells.
sub enter {
    my ($self, $method, @args) = @_;
    return $self->{outbox}->enter($self->{transactions}, $method, @args);
}

# A callback that notes what it is called with.
sub told { my ($self, $name) = @_; return sub { push @{ $self->{told} }, "$name: " . ($_[1] // 'ok') } }

sub sent { my ($self) = @_; return map { $_->{text} } @{ $self->{conn}{sent} } }

# Answers the oldest request that is not answered.
sub answer {
    my ($self, $code) = @_;
    my $request = shift @{ $self->{conn}{sent} };
    $request->{answered}->({ error_code => $code, topics => [] });
    return;
}

# One that has a record in t:0 which is delivered.
sub begun {
    my ($self) = @_;
    enter($self, 'begin');
    $self->{producer}{unregistered}   = [['t', 0]];
    $self->{producer}{in_transaction} = 1;
    enter($self, 'progress');
    answer($self, 0);
    $self->{producer}{in_transaction} = 0;
    @{ $self->{producer}{called} } = @{ $self->{consumer}{called} } = ();
    return;
}

subtest 'nothing in it' => sub {
    my $client = client();
    enter($client, 'begin');
    enter($client, commit => told($client, 'commit'));
    is_deeply [sent($client)], [], 'nothing is asked for';
    is_deeply $client->{told}, ['commit: ok'], 'the callback is called';
    is_deeply $client->{producer}{called},
        [qw(begin_transaction keep_for_next flush_all end_transaction leave_transaction)], 'the producer knows';
    is_deeply $client->{consumer}{called}, ['release transaction', 'release abort'], 'and records are delivered';
};

subtest 'records' => sub {
    my $client   = client();
    my $producer = $client->{producer};
    enter($client, 'begin');
    @$producer{qw(unregistered in_transaction)} = ([['t', 0], ['t', 1]], 2);
    enter($client, 'progress');
    is_deeply [sent($client)], ['AddPartitions t:0 t:1'], 'their partitions are added first';
    enter($client, commit => told($client, 'commit'));
    answer($client, 51);
    $client->{clock}->wind(1);
    answer($client, 0);
    is_deeply [grep { /registered/ } @{ $producer->{called} }], ['registered t 0', 'registered t 1'], 'then they leave';
    is_deeply [sent($client)], [], 'and the end waits for them';
    $producer->{in_transaction} = 0;
    enter($client, 'progress');
    is_deeply [sent($client)], ['EndTxn 1'], 'it ends';
    is_deeply $client->{told}, [], 'when the coordinator says so';
    answer($client, 0);
    is_deeply $client->{told}, ['commit: ok'], 'and not before';
};

subtest 'what the producer is told' => sub {
    my $client = client();
    my $rules  = sub { return { %{ $client->{producer}{rules} } } };
    enter($client, 'begin');
    is_deeply $rules->(), { refusal => undef, transaction => 1, joined => 1, must_end => 0 }, 'at the beginning';
    begun($client = client());
    is_deeply $rules->(), { refusal => undef, transaction => 1, joined => 1, must_end => 1 }, 'when the coordinator knows of it';
    enter($client, 'commit');
    is_deeply $rules->(), { refusal => undef, transaction => 1, joined => 0, must_end => 1 }, 'during commit';
    answer($client, 0);
    is_deeply $rules->(), { refusal => undef, transaction => undef, joined => 0, must_end => 0 }, 'at the end';
    begun($client = client());
    enter($client, 'abort');
    is_deeply $rules->(), { refusal => 'transaction aborted', transaction => 1, joined => 1, must_end => 1 }, 'during abort';
};

subtest 'abort' => sub {
    my $client = client();
    begun($client);
    $client->{consumer}{assigned}[0]{offset} = 9;
    $client->{producer}{in_transaction} = 1;
    enter($client, abort => told($client, 'abort'));
    is_deeply [sent($client)], [], 'waits for what is under way';
    $client->{producer}{in_transaction} = 0;
    enter($client, 'progress');
    is_deeply [sent($client)], ['EndTxn 0'], 'then it ends';
    answer($client, 0);
    is_deeply $client->{told}, ['abort: ok'], 'and says so';
    is $client->{consumer}{assigned}[0]{offset}, 3, 'the position is that of before';
    is_deeply [$client->{group}{back}, $client->{consumer}{called}], [['t:0 3'], ['hold abort', 'void', 'release abort']],
        'for the group as well, and what was fetched comes again';
};

subtest 'abort while nobody answers' => sub {
    my $client = client();
    begun($client);
    $client->{producer}{in_transaction} = 1;
    enter($client, abort => told($client, 'abort'));
    $client->{clock}->wind(1);
    is_deeply [sent($client)], ['EndTxn 0'], 'waits for a second';
    answer($client, 0);
    is_deeply [grep { $_ eq 'renew' } @{ $client->{producer}{called} }], ['renew'], 'a new epoch keeps out what is late';
    is $client->{producer}{rules}{must_end}, 0, 'which fences nothing any more';
    is_deeply $client->{told}, [], 'it is not over before';
    enter($client, 'identified');
    is_deeply $client->{told}, ['abort: ok'], 'the producer has it';
};

subtest 'a batch that fails' => sub {
    my $client = client();
    begun($client);
    enter($client, transaction_failed => abort => 'too large');
    my $refusal = 'too large: the transaction cannot be committed; call abort_transaction';
    is $client->{producer}{rules}{refusal}, $refusal, 'no other one may follow';
    enter($client, transaction_failed => abort => 'another');
    enter($client, commit => told($client, 'commit'));
    is_deeply $client->{told}, ["commit: $refusal"], 'nor a commit';
    enter($client, abort => told($client, 'abort'));
    answer($client, 0);
    is_deeply $client->{told}[1], 'abort: ok', 'but an abort';
    enter($client, 'begin');
    enter($client, transaction_failed => abort => 'too large', 1);
    is $client->{producer}{rules}{refusal}, undef, 'what was part of the last one does nothing to the next';
};

subtest 'a producer that is fenced' => sub {
    my $client = client();
    begun($client);
    enter($client, commit => told($client, 'commit'));
    answer($client, 90);
    is_deeply $client->{told}, ['commit: EndTxn: PRODUCER_FENCED (code 90)'], 'is told';
    is_deeply [grep { /^fail / } @{ $client->{producer}{called} }], ['fail EndTxn: PRODUCER_FENCED (code 90)'], 'and never sends again';
    for my $method (qw(begin commit abort)) {
        ok !eval { enter($client, $method); 1 }, "$method croaks";
        like $@, qr/^\w+_transaction: EndTxn: PRODUCER_FENCED \(code 90\); only a new client can go on/, 'and says why';
    }
};

subtest 'a commit that nobody answers' => sub {
    my $client = client();
    begun($client);
    enter($client, commit => told($client, 'commit'));
    $client->{clock}->wind(30);
    my ($told) = @{ $client->{told} };
    is $told, 'commit: EndTxn: no answer; given up after 30 s: whether the transaction was committed is not known;'
        . ' call commit_transaction to ask again, or call abort_transaction', 'is told';
    @{ $client->{told} } = @{ $client->{conn}{sent} } = ();
    enter($client, abort => told($client, 'abort'));
    $client->{clock}->wind(1);
    answer($client, 48);
    enter($client, 'identified');
    is_deeply $client->{told}, ['abort: the transaction was committed before'], 'an abort finds out';
};

subtest 'offsets' => sub {
    my $client = client();
    enter($client, 'begin');
    enter($client, send_offsets => 'g', told($client, 'offsets'));
    is_deeply [sent($client)], ['AddOffsets g'], 'first the coordinator of the transaction';
    enter($client, commit => told($client, 'commit'));
    answer($client, 0);
    is_deeply [sent($client)], ['OffsetCommit g 4 m'], 'then that of the group';
    answer($client, 0);
    is_deeply [$client->{told}, sent($client)], [['offsets: ok'], 'EndTxn 1'], 'and then the end';
    is_deeply [grep { /hold/ } @{ $client->{consumer}{called} }], ['hold transaction'], 'nothing is delivered meanwhile';

    $client = client();
    enter($client, 'begin');
    enter($client, gives_up => { topic => 't', partition => 0, offset => 7 });
    enter($client, send_offsets => 'g', told($client, 'offsets'));
    is_deeply $client->{told}, ['offsets: the group was rebalanced in the middle of the transaction:'
        . ' the transaction cannot be committed; call abort_transaction'], 'not of what another member may have';
};

subtest 'what the program is called with' => sub {
    my $client = client();
    begun($client);
    my @state;
    enter($client, commit => sub { push @state, $client->{producer}{rules}{transaction}; enter($client, 'begin') });
    answer($client, 0);
    is_deeply \@state, [undef], 'comes when all is done';
    is $client->{producer}{rules}{transaction}, 2, 'and may begin the next one';
};

subtest 'the end of the client' => sub {
    my $client = client();
    begun($client);
    enter($client, send_offsets => 'g', told($client, 'offsets'));
    enter($client, commit => told($client, 'commit'));
    enter($client, close => 'client closed');
    is_deeply $client->{told}, ['offsets: client closed', 'commit: client closed'], 'is told, once';
    is_deeply [values %{ $client->{coordinators}{requests} }], [], 'and nothing is asked for any more';
    is $client->{clock}->waiting, 0, 'nor waited for';
};

done_testing;
