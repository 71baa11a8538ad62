use v5.14;
use warnings;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Outbox;
use EV::Kafka::Stats;
use HandClock;
use Test::More;

# What the owners say is put together, and told in time; without owners that do anything.

{
    package Owner;
    sub new    { my ($class, @stats) = @_; return bless { stats => \@stats, counts => 0 }, $class }
    sub count  { $_[0]{counts}++; return }
    sub stats  { return map { ref eq 'HASH' ? {%$_} : $_ } @{ $_[0]{stats} } }
    sub leader { return 7 }
}

sub stats {
    my (%options) = @_;
    my $clock = HandClock->new;
    my %owner = (
        cluster      => Owner->new({ 1 => 'broker' }, 'bootstrap'),
        producer     => Owner->new('own', { topic => 't', partition => 0, messages => 3 }, { topic => 'u', partition => 1, messages => 4 }),
        consumer     => Owner->new({ topic => 't', partition => 0, position => 5 }),
        group        => Owner->new('group'),
        share        => Owner->new('share group'),
        transactions => Owner->new('transaction'),
    );
    my $stats = EV::Kafka::Stats->new(loop => $clock, outbox => EV::Kafka::Outbox->new($clock, \%options, sub { 0 }),
        options => { client_id => 'c', %options }, %owner);
    return ($stats, $clock, \%owner);
}

subtest 'put together' => sub {
    my ($stats, $clock, $owner) = stats();
    is_deeply [map { $owner->{$_}{counts} } qw(cluster producer consumer)], [0, 0, 0], 'nothing is counted';
    my $told = $stats->stats;
    is_deeply [map { $owner->{$_}{counts} } qw(cluster producer consumer)], [1, 1, 1], 'from the first call on it is';
    is delete $told->{counted_for}, 0, 'since now';
    cmp_ok abs(time - delete $told->{time}), '<', 60, 'the time';
    is_deeply $told, {
        client_id => 'c', brokers => { 1 => 'broker' }, bootstrap => 'bootstrap', producer => 'own', group => 'group', share_group => 'share group', transaction => 'transaction',
        topics    => {
            t => { 0 => { leader => 7, producer => { messages => 3 }, consumer => { position => 5 } } },
            u => { 1 => { leader => 7, producer => { messages => 4 } } },
        },
    }, 'by topic and partition';
    $stats->stats;
    is $owner->{cluster}{counts}, 1, 'counting begins once';
};

subtest 'told in time' => sub {
    my @told;
    my ($stats, $clock, $owner) = stats(on_stats => sub { push @told, $_[0]{counted_for} });
    is $owner->{producer}{counts}, 1, 'counted from the beginning';
    $stats->begin;
    $stats->begin;
    $clock->wind(29);
    is_deeply \@told, [], 'not yet';
    $clock->wind(1);
    $clock->wind(30);
    is_deeply \@told, [30, 60], 'every 30 seconds';
    $stats->stop;
    $clock->wind(100);
    is @told, 2, 'no more after the end';
};

subtest 'never' => sub {
    my @told;
    my ($stats, $clock) = stats(on_stats => sub { push @told, 1 }, stats_interval => 0);
    $stats->begin;
    $clock->wind(1000);
    is_deeply \@told, [], 'an interval of 0';
};

done_testing;
