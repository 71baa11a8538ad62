use v5.14;
use warnings;

use Test::More;

use EV::Kafka::Group::Positions;

# Positions on their way to a group's coordinator: what is sent next, and who is told what.
# No socket, no client.

sub at { my ($partition, $offset, $topic) = @_; return { topic => $topic // 't', partition => $partition, offset => $offset } }

sub taken { my ($positions) = @_; return join ' ', map { "$_->{topic}:$_->{partition}\@$_->{offset}" } $positions->take }

# The names of those who were waiting, with the errors that they are to be called with.
sub told { return join ', ', map { $_->[0] . (defined $_->[1] ? " ($_->[1])" : '') } @_ }

subtest 'one request at a time, with the newest positions' => sub {
    my $positions = EV::Kafka::Group::Positions->new;
    ok $positions->is_idle, 'nothing to do';
    is taken($positions), '', 'nor to send';
    $positions->add([at(0, 1), at(1, 1)], 'a');
    is taken($positions), 't:0@1 t:1@1', 'the first goes at once';
    $positions->add([at(0, 2)], 'b');
    $positions->add([at(0, 3)], 'c');
    is taken($positions), '', 'the others wait for its answer';
    is told($positions->settle({})), 'a', 'which tells the first one';
    is taken($positions), 't:0@3', 'of two the newest is sent';
    is told($positions->settle({})), 'b, c', 'and counts for both, in their order';
    ok $positions->is_idle, 'that was all';
    is $positions->acknowledged('t:0'), 3, 'the last one is stored';
    $positions->forget('t:0');
    is $positions->acknowledged('t:0'), undef, 'until the partition is somebody else\'s';
};

subtest 'a position that goes back on purpose is the newest, too' => sub {
    my $positions = EV::Kafka::Group::Positions->new;
    $positions->add([at(0, 9)], 'a');
    $positions->add([at(0, 4)], 'b');
    is taken($positions), 't:0@4', 'it is sent';
};

subtest 'another try has what has come since' => sub {
    my $positions = EV::Kafka::Group::Positions->new;
    $positions->add([at(0, 1), at(1, 1)], 'a');
    $positions->take;
    $positions->add([at(0, 2)], 'b');
    is told($positions->settle({ 't:0' => { again => 1 }, 't:1' => { again => 1 } })), '', 'nobody is told yet';
    is taken($positions), 't:0@2 t:1@1', 'never an older position behind a newer one';
    is told($positions->settle({})), 'a, b', 'both are';
};

subtest 'errors are told by partition' => sub {
    my $positions = EV::Kafka::Group::Positions->new;
    $positions->add([at(0, 1), at(1, 1), at(2, 1)], 'a');
    $positions->add([at(2, 2)], 'b');
    $positions->take;
    my %no = (reason => 'NO (code 1) for %s');
    is told($positions->settle({ 't:0' => {%no}, 't:1' => {%no} })), 'a (NO (code 1) for t:0, t:1), b', 'to who wanted them';
    is $positions->acknowledged('t:2'), 2, 'what was stored is';
    is $positions->acknowledged('t:0'), undef, 'what was not is not';

    $positions->add([map { at($_, 1) } 0 .. 19], 'many');
    $positions->take;
    like told($positions->settle({ map { ("t:$_" => {%no}) } 0 .. 19 })),
        qr/for t:0, t:1, t:10, t:11, t:12, t:13, t:14, t:15, t:16, t:17, 10 more\)$/, 'not without end';
};

subtest 'partitions that are gone' => sub {
    my $positions = EV::Kafka::Group::Positions->new;
    $positions->add([at(0, 1), at(0, 1, 'u')], 'all');
    $positions->add([at(0, 1, 'u')], 'named', named => 1);
    my %gone = (reason => 'gone: %s', gone => 1);
    is told($positions->drop({%gone}, 'u:0', 'u:7')), 'named (gone: u:0)', 'who has named one hears of it';
    is taken($positions), 't:0@1', 'the rest is sent';
    is told($positions->settle({})), 'all', 'who has meant all has all that there is';
    $positions->add([at(0, 1)], 'a');
    is told($positions->drop({ reason => 'out' })), 'a (out)', 'all can be dropped';
    ok $positions->is_idle, 'and nothing is left';
};

subtest 'the end' => sub {
    my $positions = EV::Kafka::Group::Positions->new;
    $positions->add([at(0, 1)], 'a');
    $positions->take;
    $positions->add([at(1, 1)], 'b');
    is told($positions->fail('closed')), 'a (closed), b (closed)', 'tells everybody';
    is told($positions->settle({})), '', 'once';
    ok $positions->is_idle, 'and nothing is left';
};

done_testing;
