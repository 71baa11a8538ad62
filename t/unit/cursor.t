use strict;
use warnings;
use Test::More;

use EV::Kafka::Consumer::Cursor;

# What a client knows of a partition, without a client. Points in time are whatever it
# is given: near the start of a machine's clock they are small.

sub fetched {
    my ($from, $next, $epoch) = @_;
    my $cursor = EV::Kafka::Consumer::Cursor->new($epoch);
    $cursor->took($from, $next, $epoch // 0);
    return $cursor;
}

subtest 'whether it can be fetched' => sub {
    my $cursor = EV::Kafka::Consumer::Cursor->new;
    ok $cursor->is_fetchable, 'a new one';
    cmp_ok $cursor->wait_at(0), '<=', 0, 'at once, also when the clock has just begun';
    for my $state (qw(paused held unheard checking untold)) {
        local $cursor->{$state} = 1;
        ok !$cursor->is_fetchable, "not one that is $state";
    }
    $cursor->lookup_begins(0);
    ok !$cursor->is_fetchable, 'not one whose lookup began when the clock did';
    $cursor->lookup_ends;
    ok $cursor->is_fetchable, 'but when the lookup is over';
    ok !EV::Kafka::Consumer::Cursor->untold->is_fetchable, 'not one that on_assign has to hear of first';
};

subtest 'delays' => sub {
    my $cursor = EV::Kafka::Consumer::Cursor->new;
    my @waits = map { $cursor->delay(0); $cursor->wait_at(0) } 1 .. 8;
    is_deeply [grep { $_ <= 0 || $_ > 1.25 } @waits], [], 'never longer than the longest';
    cmp_ok $waits[7], '>', 2 * $waits[0], 'and growing';
    $cursor->stays;
    cmp_ok $cursor->wait_at(0), '<=', 0, 'a seek ends them';
    is $cursor->leader_wait(0), 0, 'a leader is asked for at once';
    my $wait = $cursor->leader_wait(0);
    cmp_ok $wait, '>', 0, 'and again later';
    is $cursor->leader_wait($wait / 2), $wait / 2, 'once for all who ask';
    $cursor->leader_found;
    is $cursor->leader_wait(0), 0, 'until there was one';
};

subtest 'lookups' => sub {
    my $cursor = EV::Kafka::Consumer::Cursor->new;
    my $first  = $cursor->lookup_begins(1);
    my $second = $cursor->lookup_begins(2);
    ok !$cursor->is_last_lookup($first), 'an older one does not count';
    ok $cursor->is_last_lookup($second), 'the last one does';
    push @{ $cursor->{waiters} }, 'round';
    is_deeply [$cursor->lookup_ends], ['round'], 'its end gives who waited';
    for my $seek (qw(moves stays)) {
        my $lookup = $cursor->lookup_begins(3);
        $cursor->$seek;
        ok !$cursor->is_last_lookup($lookup), "a seek overtakes it: $seek";
    }
};

subtest 'answers' => sub {
    my $cursor = EV::Kafka::Consumer::Cursor->new;
    my $before = $cursor->{generation};
    ok $cursor->is_next($before, 5, 5), 'one to a fetch from the position';
    ok !$cursor->is_next($before, 4, 5), 'not to one from elsewhere';
    $cursor->took(5, 9, 3);
    ok !$cursor->is_next($before, 5, 5), 'nor a second one from there';
    ok $cursor->is_next($before, 9, 5), 'but what comes behind';
    $cursor->moves;
    ok !$cursor->is_next($before, 9, 5), 'not after a seek';
    ok $cursor->is_next($before, 7, 7), 'unless that went to where it began';
    $cursor->hold;
    ok !$cursor->is_next($before, 7, 7), 'and not of one that is held';
};

subtest 'what was fetched and not delivered' => sub {
    my $cursor = fetched(5, 9);
    ok $cursor->goes_on_at(5), 'begins at the position';
    ok !$cursor->goes_on_at(6), 'and at no other';
    $cursor->delivered(7, 2);
    ok $cursor->goes_on_at(7), 'which moves';
    is $cursor->{position_epoch}, 2, 'with its epoch';
    $cursor->delivered(9, 2);
    ok $cursor->goes_on_at(100), 'with nothing left any will do';
    $cursor = fetched(5, 9);
    $cursor->hold;
    ok !$cursor->goes_on_at(5), 'nothing is left when it is held';
    is $cursor->{next}, undef, 'it is fetched again';
    push @{ $cursor->{kept} }, 'part';
    is_deeply [$cursor->resume], ['part'], 'resume gives what was kept';
    ok $cursor->is_fetchable, 'and lets it go on';
};

subtest 'epochs' => sub {
    my $cursor = EV::Kafka::Consumer::Cursor->new(4);
    $cursor->epoch_has_gone(2);
    is_deeply [@$cursor{qw(epoch position_epoch)}], [2, 2], 'an epoch that has gone makes room for the one that is known';
    $cursor->epoch_has_gone(2);
    is $cursor->{epoch}, EV::Kafka::Consumer::Cursor::NO_EPOCH, 'the same answer twice for none';
    $cursor = fetched(5, 9, 4);
    $cursor->epoch_has_gone(2);
    is_deeply [@$cursor{qw(epoch position_epoch)}], [2, 4], 'the position keeps its own while something is to be delivered';
    ok !$cursor->diverges, 'the first word of a divergence';
    ok $cursor->diverges, 'and the second';
    $cursor->took(9, 12, 5);
    ok !$cursor->diverges, 'records in between make it a first one again';
    $cursor->moves;
    is_deeply [@$cursor{qw(epoch position_epoch)}], [-1, -1], 'a seek forgets them';
};

done_testing;
