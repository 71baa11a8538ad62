use v5.14;
use warnings;

use EV::Kafka;
use EV::Kafka::Error;
use EV::Kafka::Producer::Identity;
use Test::More;

# The producer id, without a broker.

{
    package Coordinators;
    sub any     { my ($self, %about) = @_; push @{ $self->{asked} }, { %about, of => 'any' }; return }
    sub request { my ($self, @to) = splice @_, 0, 3; push @{ $self->{asked} }, { @_, of => "@to" }; return }
}

sub identity {
    my (%options) = @_;
    my $coordinators = bless { asked => [] }, 'Coordinators';
    my @told;
    my $options  = { transaction_timeout => 60_000, %options };
    my $identity = EV::Kafka::Producer::Identity->new(options => $options, coordinators => $coordinators,
        notify => sub { my ($event, @about) = @_; push @told, [$event, map { ref $_ ? $_->text : $_ } @about]; return });
    return ($identity, $options, $coordinators->{asked}, \@told);
}

subtest 'a producer that needs none' => sub {
    my ($identity) = identity();
    ok $identity->is_ready, 'is ready';
};

subtest 'one that is idempotent' => sub {
    my ($identity, $options, $asked, $told) = identity(idempotent => 1);
    is_deeply [@$options{qw(producer_id producer_epoch)}], [-1, -1], 'has none at first';
    ok !$identity->is_there, 'which is known';
    $identity->renew for 1 .. 2;
    is scalar @$asked, 1, 'it asks once';
    is $asked->[0]{of}, 'any', 'any broker';
    $asked->[0]{done}->({ producer_id => 7, producer_epoch => 0 });
    is_deeply $told, [['identified']], 'and tells';
    is_deeply [$identity->id_and_epoch], [7, 0], 'what it got';
    is_deeply [@$options{qw(producer_id producer_epoch)}], [7, 0], 'which is published';
    ok $identity->is_ready, 'it is ready';
    $identity->renew;
    ok $identity->is_there && !$identity->is_ready, 'while it asks for another it has the first';
    $asked->[1]{done}->({ producer_id => -1, producer_epoch => 0 });
    is_deeply $told->[1], ['failed', 'InitProducerId: the broker gave producer id -1, epoch 0', 0], 'an impossible one is none, and nothing waits for it to follow the first';
};

subtest 'a failure, and one for good' => sub {
    my ($identity, undef, $asked, $told) = identity(idempotent => 1);
    $identity->renew;
    $asked->[0]{done}->(undef, EV::Kafka::Error->of_code(31));
    is_deeply $told, [['failed', 'CLUSTER_AUTHORIZATION_FAILED (code 31)', 0]], 'is told';
    $identity->fail('no');
    is $identity->error, 'idempotent producer unavailable: no', 'the words for messages';
    $identity->renew;
    is scalar @$asked, 2, 'it may ask again';
    $identity->end('never');
    $asked->[1]{done}->({ producer_id => 7, producer_epoch => 0 });
    is scalar @$told, 1, 'an answer that comes too late is dropped';
    $identity->renew;
    is scalar @$asked, 2, 'nothing is asked any more';
    is $identity->ended, 'never', 'and why';
};

subtest 'one with transactions' => sub {
    my ($identity, $options, $asked) = identity(idempotent => 1, transactional_id => 'x');
    $identity->renew;
    is $asked->[0]{of}, 'txn x', 'asks the coordinator';
    is $asked->[0]{patience}, undef, 'for as long as it takes';
    $asked->[0]{done}->({ producer_id => 7, producer_epoch => 3 });
    $identity->renew;
    cmp_ok $asked->[1]{patience}, '<=', 30, 'for the next epoch a transaction waits';
    my @sent;
    my $conn = bless {}, 'Conn';
    { no warnings 'once'; *Conn::api_versions = sub { { 22 => 3 } }; *Conn::init_producer_id = sub { @sent = @_[1, 2, 4, 5] } }
    $asked->[1]{send}->($conn, sub { });
    is_deeply \@sent, ['x', 60_000, 7, 3], 'which follows this one';
};

done_testing;
