use strict;
use warnings;
use Test::More;

use EV::Kafka;
use EV::Kafka::Consumer::Assigned;
use EV::Kafka::Consumer::Places;
use EV::Kafka::Loop;

# At which broker what is assigned may be fetched, without a client.

{
    package Leaders;
    sub new    { my ($class, $options) = @_; return bless { options => $options, asked => 0 }, $class }
    sub leader { my ($self, $topic, $partition) = @_; $self->{asked}++; return $self->{options}{leaders}{"$topic:$partition"} }
}

# Of as many partitions, whose leaders are 1 and 2 in turn.
sub places {
    my ($count) = @_;
    my $options  = { leaders => { map { ("t:$_" => 1 + $_ % 2) } 0 .. $count - 1 } };
    my $assigned = EV::Kafka::Consumer::Assigned->new($options);
    my $leaders  = Leaders->new($options);
    $assigned->replace([map { { topic => 't', partition => $_, offset => 0 } } 0 .. $count - 1]);
    my $places = EV::Kafka::Consumer::Places->new(
        loop => EV::Kafka::Loop->new, options => $options, cluster => $leaders, assigned => $assigned);
    $places->update;
    %{ $places->touched($_) } = () for 1, 2;
    $leaders->{asked} = 0;
    return ($places, $assigned, $options, $leaders);
}

sub cursor { my ($assigned, $partition) = @_; return $assigned->cursor($assigned->find('t', $partition)) }

sub keys_of { my ($hash) = @_; return join ' ', sort keys %$hash }

sub keys_in { return join ' ', sort map { $_->{key} } @_ }

subtest 'each is at its leader' => sub {
    my ($places) = places(4);
    is_deeply [$places->nodes], [1, 2], 'the leaders';
    is keys_of($places->at(1)), 't:0 t:2', 'those of one';
    is keys_of($places->at(2)), 't:1 t:3', 'and of the other';
    ok $places->leads(1) && !$places->leads(3), 'who leads anything';
};

subtest 'what does not change costs nothing' => sub {
    my ($places, $assigned, undef, $leaders) = places(100);
    $places->update for 1 .. 10;
    cmp_ok $leaders->{asked}, '==', 0, 'nobody is looked at';
    cursor($assigned, 4)->took(0, 10, 1);
    $places->update;
    cmp_ok $leaders->{asked}, '==', 1, 'but the one that has changed';
    is keys_of($places->touched(1)), 't:4', 'which its broker is to be told';
};

for my $case (
    ['paused'       => sub { $_[0]->pause },              '', ''],
    ['held'         => sub { $_[0]->hold },               '', ''],
    ['unheard'      => sub { $_[0]->nobody_hears },       '', ''],
    ['looked up'    => sub { $_[0]->lookup_begins(0) },   '', 't:1'],
    ['checked'      => sub { $_[0]->check_begins },       '', 't:1'],
) {
    my ($name, $stops, $leaderless, $waiting) = @$case;
    subtest "what is $name" => sub {
        my ($places, $assigned) = places(2);
        my $cursor = cursor($assigned, 1);
        $stops->($cursor);
        $places->update;
        is_deeply [$places->nodes], [1], 'is at no broker';
        is keys_of($places->touched(2)), 't:1', 'which hears so';
        is keys_in($places->leaderless), $leaderless, 'what has no leader';
        is keys_in($places->waiting), $waiting, 'what waits';
        $cursor->resume;
        $cursor->somebody_hears;
        $cursor->lookup_ends;
        $cursor->check_ends;
        $places->update;
        is_deeply [$places->nodes], [1, 2], 'and comes back';
        is keys_in($places->waiting), '', 'nothing waits';
    };
}

subtest 'leaders' => sub {
    my ($places, $assigned, $options) = places(4);
    delete $options->{leaders}{'t:1'};
    $places->leaders_changed;
    $places->update;
    is keys_in($places->leaderless), 't:1', 'one that has none';
    is keys_of($places->touched(2)), 't:1 t:3', 'all are looked at';
    $options->{leaders}{'t:1'} = 1;
    $places->leaders_changed;
    $places->settle;
    is keys_of($places->at(1)), 't:0 t:1 t:2', 'and one that has another';
    is keys_in($places->leaderless), '', 'none is without';
};

subtest 'what programs write' => sub {
    my ($places, $assigned, $options) = places(4);
    $options->{assignments}[1]{offset} = 5;
    $options->{leaders}{'t:2'} = 2;
    $places->update;
    is keys_of($places->touched(2)), 't:1 t:2', 'an offset, a leader';
    $options->{assignments}[3]{offset} = -1;
    $places->update;
    is keys_in($places->waiting), 't:3', 'an offset that is none';
    push @{ $options->{assignments} }, { topic => 't', partition => 9, offset => 0 };
    $places->update;
    is keys_in($places->leaderless), 't:9', 'a partition more';
    $options->{assignments}[0] = { topic => 't', partition => 2, offset => 0 };
    $places->update;
    is keys_of($places->at(1)), '', 'another in the place of one';
    $options->{assignments} = [];
    $places->update;
    is_deeply [$places->nodes], [], 'another list';
};

subtest 'another assignment' => sub {
    my ($places, $assigned) = places(4);
    $assigned->change([{ topic => 't', partition => 1, offset => 0 }]);
    $places->settle;
    is_deeply [$places->nodes], [2], 'what stays';
    is keys_of($places->touched(1)), 't:0 t:2', 'what has gone is told of';
    ok !$places->leads(1), 'whose leader leads nothing any more';
    my $cursor = cursor($assigned, 1);
    $assigned->replace([$assigned->all]);
    $cursor->pause;
    $places->settle;
    is_deeply [$places->nodes], [2], 'one that has been replaced says nothing';
};

done_testing;
