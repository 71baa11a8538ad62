use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# A topic that was deleted and created anew under its old name is another one: nothing of it is read, written or
# committed as that of before.

my %BROKERS = (
    'by their ids'   => sub { },
    'by their names' => sub {
        my ($mock) = @_;
        $mock->api_versions(Fetch => 4, 12);
        $mock->api_versions(Produce => 3, 11);
    },
);

sub cluster {
    my ($prepare) = @_;
    my $mock = EV::Kafka::Mock->new(auto_create => 0);
    $prepare->($mock);
    $mock->create_topic(t => 1);
    return $mock;
}

sub create_anew { my ($mock) = @_; $mock->delete_topic('t'); $mock->create_topic(t => 1); return }

for my $name (sort keys %BROKERS) {
    my $prepare = $BROKERS{$name};

    subtest "brokers that know topics $name: what is produced" => sub {
        for my $idempotent (0, 1) {
            my $mock  = cluster($prepare);
            my $kafka = connected(brokers => $mock->bootstrap, acks => -1, idempotent => $idempotent);
            my @reports;
            my $produce = sub { my ($value) = @_; $kafka->produce('t', undef, $value, sub { push @reports, [$value, @_] }) };
            $produce->($_) for 1 .. 3;
            wait_until { @reports == 3 } 'the old topic has';
            create_anew($mock);
            $produce->($_) for 4 .. 6;
            wait_until { @reports == 6 } 'the new one has';
            is_deeply [map { $_->{value} } $mock->records(t => 0)], [4 .. 6], 'what came after';
            is_deeply [grep { defined $_->[2] } @reports], [], 'without an error';
        }
    };

    subtest "brokers that know topics $name: produced while it is not there" => sub {
        my $mock  = cluster($prepare);
        my $kafka = connected(brokers => $mock->bootstrap, acks => -1, idempotent => 1);
        my @reports;
        my $produce = sub { my ($value) = @_; $kafka->produce('t', undef, $value, sub { push @reports, [$value, @_] }) };
        $produce->($_) for 1 .. 3;
        wait_until { @reports == 3 } 'the old topic has';
        $mock->delete_topic('t');
        for (4 .. 9) { $produce->($_); turns 3 }
        my $asked = $mock->request_count('Metadata');
        wait_until { $mock->request_count('Metadata') > $asked } 'it is looked for';
        $mock->create_topic(t => 1);
        wait_until { @reports == 9 } 'and comes back';
        is_deeply [map { $_->{value} } $mock->records(t => 0)], [4 .. 9], 'all is there, in order';
        is_deeply [grep { defined $_->[2] } @reports], [], 'without an error';
    };
}

subtest 'what is consumed' => sub {
    my $mock = cluster($BROKERS{'by their ids'});
    $mock->append(t => 0, map { { value => "old $_" } } 0 .. 9);
    my (@received, @notices);
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] },
        on_notice => sub { push @notices, $_[0] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->consume;
    wait_until { @received == 10 } 'what was there';
    create_anew($mock);
    # As many as before: the old position is in the middle of the new topic.
    $mock->append(t => 0, map { { value => "new $_" } } 0 .. 19);
    wait_until { @received >= 30 } 'what is new';
    turns 20;
    is_deeply [@received[10 .. $#received]], [map { "new $_" } 0 .. 19], 'is read from its beginning';
    is $kafka->position('t', 0), 20, 'the position is of the new one';
    is_deeply [errors($kafka)], [], 'no error';
    is_deeply \@notices, ["topic 't' was deleted and created anew: positions in it are void, and "
        . 'auto_offset_reset says where consuming goes on'], 'but a notice';
};

subtest 'a topic without an id' => sub {
    my $mock = EV::Kafka::Mock->new(auto_create => 0);
    $mock->api_versions(Metadata => 0, 9);
    $mock->create_topic(t => 1);
    $mock->append(t => 0, map { { value => $_ } } 0 .. 9);
    my @received;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
    $kafka->assign([{ topic => 't' }]);
    $kafka->consume;
    wait_until { @received == 10 } 'is read by its name';
    my $stored;
    $kafka->produce('t', undef, 'more', sub { $stored = !$_[1] });
    wait_until { $stored && @received == 11 } 'and written to';
    is_deeply [errors($kafka)], [], 'silently';
};

subtest 'what a broker says of ids' => sub {
    for my $code (100, 103, 106) {
        my $mock = cluster($BROKERS{'by their ids'});
        my @received;
        my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] });
        $mock->append(t => 0, { value => 0 });
        $kafka->assign([{ topic => 't' }]);
        $kafka->consume;
        wait_until { @received == 1 } 'the first';
        $mock->fault(api => 'Fetch', error => $code, times => 2);
        $mock->append(t => 0, { value => 1 });
        wait_until { @received == 2 } "code $code passes";
        is_deeply \@received, [0, 1], 'everything comes once';
        is_deeply [errors($kafka)], [], 'silently';
    }
};

subtest 'what a group commits' => sub {
    for my $newest (10, 9) {
        my $mock = cluster(sub { $_[0]->api_versions(OffsetCommit => 2, $newest); $_[0]->api_versions(OffsetFetch => 1, $newest) });
        $mock->append(t => 0, map { { value => "old $_" } } 0 .. 9);
        my @received;
        my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @received, $_[4] }, on_notice => sub { });
        $kafka->subscribe('t', group_id => 'g', auto_commit_interval => 0);
        $kafka->consume;
        wait_until { @received == 10 } 'what was there';
        my @ends;
        $kafka->commit(sub { push @ends, $_[0] // "ok" });
        wait_until { @ends == 1 } 'is committed';
        is_deeply \@ends, ['ok'], "by OffsetCommit $newest";
        is $mock->offsets("g")->{'t:0'}{offset}, 10, 'as it was read';
        create_anew($mock);
        $mock->append(t => 0, map { { value => "new $_" } } 0 .. 4);
        # Nobody has told the member yet.
        $kafka->commit([{ topic => 't', partition => 0, offset => 10 }], sub { push @ends, $_[0] // "ok" }) if $newest == 10;
        wait_until { @received == 15 } 'what is new';
        is_deeply [@received[10 .. 14]], [map { "new $_" } 0 .. 4], 'from its beginning';
        if ($newest == 10) {
            wait_until { @ends == 2 } 'the commit has ended';
            like $ends[1], qr/^not committed for t:0: the topic was deleted and created anew/, 'and was not made';
            is $mock->offsets("g")->{'t:0'}, undef, 'nothing is committed of the new topic';
        }
        $kafka->commit(sub { push @ends, $_[0] // "ok" });
        my $before = @ends;
        wait_until { @ends > $before } 'a commit of the new';
        is $ends[-1], 'ok', 'is made';
        is $mock->offsets("g")->{'t:0'}{offset}, 5, 'of its position';
        my $committed;
        $kafka->committed(sub { $committed = $_[0] });
        wait_until { $committed } 'read';
        is_deeply $committed, { 't:0' => 5 }, 'is what is read';
        is_deeply [errors($kafka)], [], 'silently';
    }
};

subtest 'what a group outside reads and commits' => sub {
    my $mock  = cluster(sub { });
    my $kafka = connected(brokers => $mock->bootstrap);
    my @ends;
    $kafka->commit([{ topic => 't', partition => 0, offset => 3 }], { group_id => 'g' }, sub { push @ends, $_[0] // "ok" });
    wait_until { @ends == 1 } 'committed';
    create_anew($mock);
    my $committed;
    $kafka->committed([{ topic => 't', partition => 0 }], { group_id => 'g' }, sub { $committed = $_[0]; push @ends, $_[1] // 'ok' });
    wait_until { @ends == 2 } 'asked by the old id';
    is_deeply $committed, { 't:0' => undef }, 'nothing is committed of the new one';
    is_deeply \@ends, ['ok', 'ok'], 'no error';
};

done_testing;
