use v5.14;
use warnings;

use List::Util qw(max min sum0);
use Test::More;

use EV::Kafka::Assignor;

# How a group's leader shares out the partitions.

my @NAMES = qw(cooperative-sticky range roundrobin sticky);

is_deeply [EV::Kafka::Assignor->names], \@NAMES, 'the assignors';
is_deeply [grep { EV::Kafka::Assignor->is_cooperative($_) } @NAMES], ['cooperative-sticky'], 'one is cooperative';

# assigned($name, \%members, \%counts, [\%racks]): as text; members are [topics, owned, generation, instance, rack].
sub assigned {
    my ($name, $members, $counts, $racks) = @_;
    my $assigned = EV::Kafka::Assignor->assign($name, members($members), $counts, $racks);
    return { map { my $id = $_; $id => join ' ', map { "$_->[0]$_->[1]" } @{ $assigned->{$id} } } keys %$assigned };
}

sub members {
    my ($members) = @_;
    my %members;
    for my $id (keys %$members) {
        my ($topics, $owned, $generation, $instance, $rack) = @{ $members->{$id} };
        $members{$id} = {
            topics => [split ' ', $topics], generation => $generation, instance => $instance, rack => $rack,
            owned  => [map { [/\A(\D+)(\d+)\z/] } split ' ', $owned // ''],
        };
    }
    return \%members;
}

my @table = (
    ['range', 'each topic by itself, the first members get one more',
        { m1 => ['a b'], m2 => ['a b'] }, { a => 3, b => 3 }, { m1 => 'a0 a1 b0 b1', m2 => 'a2 b2' }],
    ['range', 'only those who want the topic',
        { m1 => ['a'], m2 => ['a b'], m3 => ['b'] }, { a => 2, b => 3 }, { m1 => 'a0', m2 => 'a1 b0 b1', m3 => 'b2' }],
    ['range', 'static members in the order of their instance ids, before the others',
        { m1 => ['a'], m2 => ['a', '', -1, 'z'], m3 => ['a', '', -1, 'y'] }, { a => 3 },
        { m3 => 'a0', m2 => 'a1', m1 => 'a2' }],
    ['range', 'more members than partitions', { m1 => ['a'], m2 => ['a'] }, { a => 1 }, { m1 => 'a0', m2 => '' }],
    ['range', 'a topic that does not exist', { m1 => ['a'] }, {}, { m1 => '' }],
    ['roundrobin', 'in turn across topics',
        { m1 => ['a b'], m2 => ['a b'] }, { a => 3, b => 3 }, { m1 => 'a0 a2 b1', m2 => 'a1 b0 b2' }],
    ['roundrobin', 'those who do not want the topic are passed over',
        { m1 => ['a'], m2 => ['a b'], m3 => ['a b c'] }, { a => 1, b => 2, c => 3 },
        { m1 => 'a0', m2 => 'b0', m3 => 'b1 c0 c1 c2' }],
    ['sticky', 'a first assignment gives everybody of each topic',
        { m1 => ['a b'], m2 => ['a b'] }, { a => 2, b => 2 }, { m1 => 'a0 b0', m2 => 'a1 b1' }],
    ['sticky', 'a new member takes only what makes it even',
        { m1 => ['a', 'a0 a2 a4'], m2 => ['a', 'a1 a3 a5'], m3 => ['a'] }, { a => 6 },
        { m1 => 'a0 a2', m2 => 'a1 a3', m3 => 'a4 a5' }],
    ['sticky', 'what a member left goes to the others, who keep theirs',
        { m1 => ['a', 'a0 a1'], m3 => ['a', 'a4 a5'] }, { a => 6 }, { m1 => 'a0 a1 a2', m3 => 'a3 a4 a5' }],
    ['sticky', 'a claim of an older generation is not believed',
        { m1 => ['a', 'a0 a1', 3], m2 => ['a', 'a0 a1', 4] }, { a => 4 }, { m1 => 'a2 a3', m2 => 'a0 a1' }],
    ['sticky', 'nor are two claims of the same generation',
        { m1 => ['a', 'a1', 4], m2 => ['a', 'a0 a1', 4] }, { a => 2 }, { m1 => 'a1', m2 => 'a0' }],
    ['sticky', 'claims on topics that are gone or not wanted any more are void',
        { m1 => ['a', 'a0 a9 b0 c0'], m2 => ['a b', 'b1'] }, { a => 2, b => 2 }, { m1 => 'a0 a1', m2 => 'b0 b1' }],
    ['sticky', 'what is uneven is evened out by way of others',
        { m1 => ['a', 'a0 a1 a2'], m2 => ['a b', 'b0 b1'], m3 => ['b'] }, { a => 3, b => 2 },
        { m1 => 'a0 a1', m2 => 'a2 b0', m3 => 'b1' }],
    ['cooperative-sticky', 'what moves goes to nobody yet',
        { m1 => ['a', 'a0 a1 a2 a3'], m2 => ['a'] }, { a => 4 }, { m1 => 'a0 a1', m2 => '' }],
    ['cooperative-sticky', 'and to its new owner once it is free',
        { m1 => ['a', 'a0 a1'], m2 => ['a'] }, { a => 4 }, { m1 => 'a0 a1', m2 => 'a2 a3' }],
    ['cooperative-sticky', 'what two members think they own goes to nobody',
        { m1 => ['a', 'a0', 4], m2 => ['a', 'a0', 4] }, { a => 1 }, { m1 => '', m2 => '' }],
);
for my $case (@table) {
    my ($name, $what, $members, $counts, $expected) = @$case;
    is_deeply assigned($name, $members, $counts), $expected, "$name: $what";
}

# --- racks (KIP-881) ------------------------------------------------------------

# racks(a => 'x y xy', …): by topic, the racks of each partition's replicas, a letter each; "-" for none.
sub racks {
    my (%racks) = @_;
    return { map { my $topic = $_; $topic => [map { my %in = map { $_ => 1 } grep { $_ ne '-' } split //; \%in } split ' ', $racks{$topic}] } keys %racks };
}

# Members are [topics, owned, generation, instance, rack].
my @near = (
    ['range', 'what is near first', { m1 => ['a', '', -1, undef, 'x'], m2 => ['a', '', -1, undef, 'y'], m3 => ['a', '', -1, undef, 'z'] },
        { a => 'zx xy yz' }, { m1 => 'a0', m2 => 'a1', m3 => 'a2' }],
    ['range', 'without more than its share', { m1 => ['a', '', -1, undef, 'x'], m2 => ['a', '', -1, undef, 'y'] },
        { a => 'x x x y' }, { m1 => 'a0 a1', m2 => 'a2 a3' }],
    ['range', 'topics with equally many partitions and the same members stay together',
        { m1 => ['a b', '', -1, undef, 'x'], m2 => ['a b', '', -1, undef, 'y'] },
        { a => 'y x y', b => 'y x x' }, { m1 => 'a1 a2 b1 b2', m2 => 'a0 b0' }],
    ['range', 'and others do not', { m1 => ['a b', '', -1, undef, 'x'], m2 => ['a b', '', -1, undef, 'y'] },
        { a => 'y x', b => 'x y x y' }, { m1 => 'a1 b0 b2', m2 => 'a0 b1 b3' }],
    ['range', 'where all racks have everything it is as ever', { m1 => ['a', '', -1, undef, 'x'], m2 => ['a', '', -1, undef, 'y'] },
        { a => 'xy yx xy' }, { m1 => 'a0 a1', m2 => 'a2' }],
    ['range', 'and where nobody is near anything', { m1 => ['a', '', -1, undef, 'u'], m2 => ['a', '', -1, undef, 'v'] },
        { a => 'x y z' }, { m1 => 'a0 a1', m2 => 'a2' }],
    ['range', 'who has no rack is near to everything', { m1 => ['a'], m2 => ['a', '', -1, undef, 'x'] }, { a => 'x x y y' }, { m1 => 'a0 a1', m2 => 'a2 a3' }],
    ['roundrobin', 'takes no notice', { m1 => ['a', '', -1, undef, 'x'], m2 => ['a', '', -1, undef, 'y'] }, { a => 'y x' }, { m1 => 'a0', m2 => 'a1' }],
    ['sticky', 'what is near first', { m1 => ['a', '', -1, undef, 'x'], m2 => ['a', '', -1, undef, 'y'] },
        { a => 'y y x x' }, { m1 => 'a2 a3', m2 => 'a0 a1' }],
    ['sticky', 'rather than what was', { m1 => ['a', 'a0 a1', 3, undef, 'x'], m2 => ['a', 'a2 a3', 3, undef, 'y'] },
        { a => 'y x x y' }, { m1 => 'a1 a2', m2 => 'a0 a3' }],
    ['sticky', 'evenly all the same, and what is far stays where it was', { m1 => ['a', 'a0 a1', 3, undef, 'x'], m2 => ['a', 'a2 a3', 3, undef, 'y'] },
        { a => 'x x x x' }, { m1 => 'a0 a1', m2 => 'a2 a3' }],
    ['sticky', 'the one more goes to who is near', { m1 => ['a', '', -1, undef, 'x'], m2 => ['a', '', -1, undef, 'y'] },
        { a => 'x y y' }, { m1 => 'a0', m2 => 'a1 a2' }],
    ['sticky', 'also with different subscriptions', { m1 => ['a b', '', -1, undef, 'x'], m2 => ['a', '', -1, undef, 'y'], m3 => ['b', '', -1, undef, 'y'] },
        { a => 'y x', b => 'x y' }, { m1 => 'a1 b0', m2 => 'a0', m3 => 'b1' }],
    ['cooperative-sticky', 'what moves for that goes to nobody yet', { m1 => ['a', 'a0 a1', 3, undef, 'x'], m2 => ['a', 'a2 a3', 3, undef, 'y'] },
        { a => 'y x x y' }, { m1 => 'a1', m2 => 'a3' }],
);
for my $case (@near) {
    my ($name, $what, $members, $where, $expected) = @$case;
    my %counts = map { $_ => scalar(my @partitions = split q( ), $where->{$_}) } keys %$where;
    is_deeply assigned($name, $members, \%counts, racks(%$where)), $expected, "$name with racks: $what";
}

# --- any group ------------------------------------------------------------------

srand($ENV{GROUP_SEED} // 20_240_229);

sub random_group {
    my ($same) = @_;
    my %counts = map { $_ => int rand 9 } ('a' .. 'e')[0 .. int rand 5];
    my @topics = sort keys %counts;
    my %members;
    for my $number (1 .. 1 + int rand 8) {
        my @wanted = $same ? @topics : grep { rand() < 0.6 } @topics;
        $members{"m$number"} = { topics => \@wanted, owned => [], generation => -1 };
    }
    # Partitions as a group may have left them, some claimed by two.
    for my $topic (@topics) {
        for my $partition (0 .. $counts{$topic} + 1) {
            for (1 .. int rand 3) {
                my $member = $members{ (keys %members)[rand keys %members] };
                push @{ $member->{owned} }, [$topic, $partition];
                $member->{generation} = 5 + int rand 2;
            }
        }
    }
    return (\%members, \%counts);
}

sub key { join ':', @{ $_[0] } }

sub complaints {
    my ($name, $members, $counts, $assigned) = @_;
    my (%times, @complaints);
    for my $id (keys %$assigned) {
        for my $partition (@{ $assigned->{$id} }) {
            $times{ key($partition) }++;
            push @complaints, "$id gets " . key($partition) . ' unasked'
                unless grep { $_ eq $partition->[0] } @{ $members->{$id}{topics} };
        }
    }
    my %wanted = map { $_ => 1 } map { @{ $_->{topics} } } values %$members;
    my @all = map { my $topic = $_; map { "$topic:$_" } 0 .. $counts->{$topic} - 1 } grep { $wanted{$_} } keys %$counts;
    push @complaints, "$_ is assigned " . ($times{$_} // 0) . ' times' for grep { ($times{$_} // 0) != 1 } @all;
    push @complaints, 'there is no ' . $_ for grep { my $key = $_; !grep { $_ eq $key } @all } keys %times;
    return @complaints;
}

sub is_movable_from {
    my ($members, $assigned, $from, $to) = @_;
    my %wants = map { $_ => 1 } @{ $members->{$to}{topics} };
    return grep { $wants{ $_->[0] } } @{ $assigned->{$from} };
}

for my $kind (['same', 0], ['other', 0], ['same', 1], ['other', 1]) {
    my ($same, $has_racks) = ($kind->[0] eq 'same', $kind->[1]);
    my (%bad, $rounds);
    for (1 .. ($has_racks ? 200 : 400)) {
        my ($members, $counts) = random_group($same);
        my $racks = {};
        if ($has_racks) {
            $_->{rack} = ('x' .. 'z')[rand 4] for values %$members;
            $racks = { map { $_ => [map { { map { ('x' .. 'z')[rand 3] => 1 } 1, 2 } } 1 .. $counts->{$_}] } keys %$counts };
        }
        $rounds++;
        for my $name (qw(range roundrobin sticky)) {
            my $assigned = EV::Kafka::Assignor->assign($name, $members, $counts, $racks);
            push @{ $bad{"every partition goes to one member, by $name"} },
                complaints($name, $members, $counts, $assigned);
        }

        my $assigned = EV::Kafka::Assignor->assign('sticky', $members, $counts, $racks);
        for my $from (keys %$members) {
            for my $to (keys %$members) {
                push @{ $bad{'sticky is even'} }, "$from has too many"
                    if @{ $assigned->{$from} } > @{ $assigned->{$to} } + 1
                    && is_movable_from($members, $assigned, $from, $to);
            }
        }
        my %next = map { $_ => { %{ $members->{$_} }, owned => $assigned->{$_}, generation => 7 } } keys %$members;
        my $again = EV::Kafka::Assignor->assign('sticky', \%next, $counts, $racks);
        push @{ $bad{'what is even stays as it is'} }, 'something moved' unless same_assignment($assigned, $again);

        # Members keep as much as their share allows: no smaller number of moves is possible.
        if ($same && !$has_racks) {
            delete $next{ (sort keys %next)[0] } if keys %next > 1;
            $next{new} = { topics => $next{ (keys %next)[0] }{topics}, owned => [], generation => -1 };
            my $moved = EV::Kafka::Assignor->assign('sticky', \%next, $counts);
            my $kept  = sum0 map { my $id = $_; my %had = map { key($_) => 1 } @{ $next{$id}{owned} };
                scalar grep { $had{ key($_) } } @{ $moved->{$id} } } keys %next;
            my $total = sum0 map { scalar @$_ } values %$moved;
            my ($least, $more) = (int $total / keys %next, $total % keys %next);
            my @had   = sort { $b <=> $a } map { scalar @{ $_->{owned} } } values %next;
            my $possible = sum0 map { min $had[$_], $least + ($_ < $more ? 1 : 0) } 0 .. $#had;
            push @{ $bad{'as much stays as can'} }, "$kept of $possible" if $kept != $possible;
        }

        # Rebalances of cooperative members come to rest, and no partition has two owners on the way.
        my %members = map { $_ => { %{ $members->{$_} } } } keys %$members;
        my ($turns, $settled) = (0, 0);
        while ($turns++ < 5 && !$settled) {
            my $now = EV::Kafka::Assignor->assign('cooperative-sticky', \%members, $counts, $racks);
            my %owners;
            $owners{ key($_->[1]) }{ $_->[0] } = 1
                for map { my $id = $_; map { [$id, $_] } @{ $members{$id}{owned} }, @{ $now->{$id} } } keys %members;
            for my $id (keys %$now) {
                my %had = map { key($_) => 1 } @{ $members{$id}{owned} };
                push @{ $bad{'cooperative: nobody gets what another still has'} }, "$id gets " . key($_)
                    for grep { !$had{ key($_) } && keys %{ $owners{ key($_) } } > 1 } @{ $now->{$id} };
            }
            $settled = !grep { my $id = $_; "@{[map { key($_) } @{ $members{$id}{owned} }]}"
                ne "@{[map { key($_) } @{ $now->{$id} }]}" } keys %members;
            $members{$_} = { %{ $members{$_} }, owned => $now->{$_}, generation => 10 + $turns } for keys %members;
        }
        push @{ $bad{'cooperative: it comes to rest'} }, "not after $turns turns" unless $settled;
        push @{ $bad{'cooperative: with every partition assigned'} },
            complaints('cooperative-sticky', \%members, $counts, { map { $_ => $members{$_}{owned} } keys %members });
    }
    my $groups = "$rounds groups with " . ($same ? 'one subscription' : 'different subscriptions') . ($has_racks ? ', in racks' : '');
    for my $what (
        (map { "every partition goes to one member, by $_" } qw(range roundrobin sticky)), 'sticky is even',
        'what is even stays as it is', ($same && !$has_racks ? 'as much stays as can' : ()),
        map { "cooperative: $_" }
            'nobody gets what another still has', 'it comes to rest', 'with every partition assigned',
    ) {
        is_deeply [@{ $bad{$what} || [] }[0 .. min(4, $#{ $bad{$what} || [] })]], [], "$groups: $what";
    }
}

sub same_assignment {
    my ($one, $other) = @_;
    my $text = sub { join ' ', map { key($_) } @{ $_[0] } };
    return !grep { $text->($one->{$_}) ne $text->($other->{$_}) } keys %$one;
}

done_testing;
