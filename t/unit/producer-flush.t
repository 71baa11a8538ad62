use v5.14;
use warnings;

use lib 't/lib';
use EV::Kafka;
use EV::Kafka::Outbox;
use EV::Kafka::Producer::Flush;
use HandClock;
use Test::More;

# Who waits for what was produced, without a broker.

{
    package Accumulator;
    sub end_generation { my ($self) = @_; return $self->{generation}++ }
    sub is_settled     { my ($self, $generation) = @_; return $generation < $self->{settled} }
    sub is_delivering  { return $_[0]{delivering} }
    sub unconfirmed    { return @{ $_[0]{unconfirmed} } }
    package Cluster;
    sub ready_conn { my ($self, $purpose, $node_id) = @_; return $self->{"$purpose $node_id"} }
    package Conn;
    sub metadata { my ($self, $topics, $cb) = @_; push @{ $self->{asked} }, $cb; return }
}

sub flush {
    my (%options) = @_;
    my $clock       = HandClock->new;
    my $accumulator = bless { generation => 0, settled => 0, delivering => 0, unconfirmed => [] }, 'Accumulator';
    my $cluster     = bless {}, 'Cluster';
    my $outbox      = EV::Kafka::Outbox->new($clock, \%options, sub { 0 });
    my $flush       = EV::Kafka::Producer::Flush->new(loop => $clock, outbox => $outbox, options => \%options, cluster => $cluster, accumulator => $accumulator);
    my @called;
    my $waits = sub { my ($name) = @_; return $flush->add(sub { push @called, [$name, @_] }) };
    return ($flush, $waits, $accumulator, \@called, $clock, $cluster);
}

subtest 'nothing to wait for' => sub {
    my ($flush, $waits, $accumulator, $called) = flush();
    $accumulator->{settled} = 1;
    is $waits->('a'), 0, 'nobody waits';
    is_deeply $called, [['a']], 'the callback is called at once';
    is $flush->is_waited_for, 0, 'and nothing is left';
    is $flush->add(undef), 1, 'a flush needs no callback';
};

subtest 'in order' => sub {
    my ($flush, $waits, $accumulator, $called) = flush();
    is $waits->($_), 1, "$_ waits" for qw(a b c);
    is $flush->is_waited_for, 3, 'three wait';
    $flush->check;
    is_deeply $called, [], 'nothing is settled';
    $accumulator->{settled} = 2;
    $flush->check;
    is_deeply $called, [['a'], ['b']], 'what came before is, for two';
    $accumulator->{settled} = 3;
    $flush->check;
    is_deeply $called, [['a'], ['b'], ['c']], 'and for the third';
    $flush->check;
    is scalar(@$called), 3, 'each is called once';
};

subtest 'delivery callbacks go first' => sub {
    my ($flush, $waits, $accumulator, $called, $clock) = flush();
    $accumulator->{delivering} = 1;
    $accumulator->{settled}    = 1;
    is $waits->('a'), 1, 'also where all is settled';
    $flush->check for 1 .. 2;
    is_deeply $called, [], 'those that are being called';
    is $clock->waiting, 1, 'one timer';
    $clock->wind(0);
    is_deeply $called, [['a']], 'unless the loop turns within them';
};

subtest 'a time limit' => sub {
    my ($flush, $waits, $accumulator, $called, $clock) = flush(flush_timeout => 5);
    $waits->('a');
    $clock->wind(3);
    $waits->('b');
    $clock->wind(2);
    is_deeply $called, [['a', 'flush timed out after 5 s']], 'is told to who has waited for so long';
    $accumulator->{settled} = 2;
    $flush->check;
    is_deeply $called->[1], ['b'], 'who has not is called in time';
    $clock->wind(10);
    is scalar(@$called), 2, 'and only once';
    is $clock->waiting, 0, 'no timer is left';
};

subtest 'what no broker confirms' => sub {
    my ($flush, $waits, $accumulator, $called, $clock, $cluster) = flush(flush_timeout => 5);
    $accumulator->{unconfirmed} = [0, 1, 2];
    $cluster->{"main $_"} = bless { asked => [] }, 'Conn' for 0, 1;
    $accumulator->{settled} = 1;
    is $waits->('a'), 1, 'is waited for though it is settled';
    $flush->check;
    is_deeply [map { scalar @{ $cluster->{"main $_"}{asked} } } 0, 1], [1, 1], 'whoever has a connection is asked something';
    $flush->check;
    is scalar(@{ $cluster->{'main 0'}{asked} }), 1, 'once';
    $cluster->{'main 0'}{asked}[0]->();
    is_deeply $called, [], 'one answer is not enough';
    $cluster->{'main 1'}{asked}[0]->(undef, 'disconnected');
    is_deeply $called, [['a']], 'the last is, whatever it says';
    $waits->('b');
    $accumulator->{settled} = 2;
    $flush->check;
    $clock->wind(5);
    $cluster->{"main $_"}{asked}[1]->() for 0, 1;
    is_deeply $called->[1], ['b', 'flush timed out after 5 s'], 'who has timed out meanwhile';
    is scalar(@$called), 2, 'is not called again';
    %$cluster = ();
    $waits->('c');
    $accumulator->{settled} = 3;
    $flush->check;
    is_deeply $called->[2], ['c'], 'without a connection there is nobody to ask';
};

subtest 'the end' => sub {
    my ($flush, $waits, $accumulator, $called, $clock) = flush(flush_timeout => 5);
    $waits->($_) for qw(a b);
    $flush->close('client closed');
    is_deeply $called, [['a', 'client closed'], ['b', 'client closed']], 'is told to all';
    is $clock->waiting, 0, 'no timer is left';
    $waits->('c');
    $flush->abandon;
    $accumulator->{settled} = 9;
    $flush->check;
    $clock->wind(10);
    is scalar(@$called), 2, 'in a forked child nobody is told';
};

done_testing;
