use v5.14;
use warnings;

use lib 't/lib';

use Test::More;

use EV::Kafka;
use Inside;

# What subscribe accepts.

my $kafka = EV::Kafka->new(on_error => sub { die "@_\n" });

sub refusal {
    my (@arguments) = @_;
    return eval { $kafka->subscribe(@arguments); 1 } ? 'accepted' : $@;
}

my @GROUP = (group_id => 'g');
for my $case (
    [[], qr{\Asubscribe: topic names required at \S+unit/subscription}],
    [[@GROUP],                                         qr/\Asubscribe: topic names required/],
    [['t'],                                            qr/\Aoption 'group_id' requires a value/],
    [['t', group_id => undef],                         qr/\Aoption 'group_id' requires a value/],
    [['t', group_id => ''],                            qr/\Aoption 'group_id' requires a value/],
    [['t', 'group_id'],                                qr/\Aoption 'group_id' requires a value/],
    [['t', @GROUP, 'auto_commit'],                     qr/\Aoption 'auto_commit' requires a value/],
    [['t', @GROUP, colour => 1],                       qr/\Aunknown option 'colour' at/],
    [[['t'], @GROUP],                                  qr/\Ainvalid topic name: 'ARRAY\(.*\)'; topics are given one by one, subscribe\(\@topics, group_id => \.\.\.\) at/],
    [[{ topics => ['t'] }],                            qr/\Ainvalid topic name: 'HASH\(.*\)'; topics come first, then options, not in a hash/],
    [['t', on_asign => sub { }, @GROUP],               qr/\Ainvalid topic name: 'CODE\(.*\)'; 'on_asign' was taken for a topic \(did you mean 'on_assign'\?\) at/],
    [['^t.*', @GROUP],                                 qr/\Ainvalid topic name: '\^t\.\*'; a pattern is given as qr\/\^t\.\*\/ at/],
    [['t', qr/^u/, 'v w', @GROUP],                     qr/\Ainvalid topic name: 'v w'/],
    [[qr/^t/],                                         qr/\Aoption 'group_id' requires a value/],
    [[subscribe_pattern => '^t.*', @GROUP],
        qr/\Aoption 'subscribe_pattern' is matched by the broker, for which group_protocol => 'consumer' is needed; qr\/\.\.\.\/ among/],
    [[subscribe_pattern => '', @GROUP, group_protocol => 'consumer'], qr/\Aoption 'subscribe_pattern' must be a string/],
    [['t', @GROUP, autoCommit => 1],                   qr/\Aunknown option 'autoCommit' \(did you mean 'auto_commit'\?\) at/],
    [['t', groupid => 'g'],
        qr/\Aoption 'group_id' requires a value; 'groupid' was taken for a topic \(did you mean 'group_id'\?\) at/],
    [['a b', @GROUP],                                  qr/\Ainvalid topic name: 'a b'/],
    [['', @GROUP],                                     qr/\Ainvalid topic name: ''/],
    [['..', @GROUP],                                   qr/\Ainvalid topic name: '\.\.'/],
    [['t', "t\n", @GROUP],                             qr/\Ainvalid topic name/],
    [['x' x 250, @GROUP],                              qr/\Ainvalid topic name/],
    [[undef, @GROUP],                                  qr/\Ainvalid topic name/],
    [['t', @GROUP, session_timeout => 'soon'],         qr/\Aoption 'session_timeout' must be a number of milliseconds/],
    [['t', @GROUP, rebalance_timeout => 0],            qr/\Aoption 'rebalance_timeout' must be a number/],
    [['t', @GROUP, heartbeat_interval => 0],           qr/\Aoption 'heartbeat_interval' must be more than 0/],
    [['t', @GROUP, auto_commit_interval => -1],        qr/\Aoption 'auto_commit_interval' must be a number of seconds/],
    [['t', @GROUP, auto_offset_reset => 'never'],      qr/\Aoption 'auto_offset_reset' must be 'earliest' or 'latest'/],
    [['t', @GROUP, assignors => 'sticky'],             qr/\Aoption 'assignors' must be a list/],
    [['t', @GROUP, assignors => []],                   qr/\Aoption 'assignors' must be a list/],
    [['t', @GROUP, assignors => ['fair']],             qr/\Aoption 'assignors' names an unknown assignor: fair/],
    [['t', @GROUP, group_instance_id => ''],           qr/\Aoption 'group_instance_id' must be a string/],
    [['t', @GROUP, on_assign => 'code'],               qr/\Aoption 'on_assign' must be a code reference/],
) {
    my ($arguments, $text) = @$case;
    my $name = join ', ', map { defined ? length > 20 ? length . ' characters' : s/\n/\\n/r : 'undef' } @$arguments;
    like refusal(@$arguments), $text, "subscribe($name)";
}
is $kafka->{cfg}{group}, undef, 'what was refused left nothing behind';

for my $case ([session_timeout => 30, 'milliseconds'], [heartbeat_interval => 3000, 'seconds'], [auto_commit_interval => 5000, 'seconds']) {
    my ($name, $value, $unit) = @$case;
    my @warned;
    local $SIG{__WARN__} = sub { push @warned, @_ };
    EV::Kafka->new(on_error => sub { die "@_\n" })->subscribe('t', @GROUP, $name => $value);
    is scalar @warned, 1, "$name => $value: a warning";
    like $warned[0], qr/^EV::Kafka: option '$name' is in $unit: is $value what is meant\? at \Q$0\E line/, 'that names the unit';
}

is refusal('a', 'b', 'a', group_id => 0, on_assign => undef), 'accepted', "a group may be called '0'";
is $kafka->{cfg}{group}{group_id}, 0, 'and is known by that name';
my $group = Inside::subscription($kafka);
is_deeply $group->{topics}, ['a', 'b'], 'a topic counts once';
is_deeply [@$group{qw(session_timeout rebalance_timeout heartbeat_interval auto_commit auto_offset_reset)}],
    [30_000, 60_000, 3, 1, 'earliest'], 'the documented defaults';
is_deeply $group->{assignors}, ['sticky', 'range'], 'and the assignors';

is refusal(qr/^t/, 'b', qr/u$/, @GROUP), 'accepted', 'patterns, beside names';
is_deeply $kafka->subscription, ['b'], 'match nothing before there is metadata';
is refusal(subscribe_pattern => 't.*', @GROUP, group_protocol => 'consumer'), 'accepted', 'a pattern for the broker';
is_deeply $kafka->subscription, [], 'names no topic';

my @left;
$kafka->unsubscribe(sub { @left = ('left', @_) });
is_deeply \@left, ['left'], 'unsubscribe before connect';
is $kafka->{cfg}{group}, undef, 'ends it at once';
@left = ();
$kafka->unsubscribe(sub { @left = ('left', @_) });
is_deeply \@left, ['left'], 'and calls back also without a group';

my @commit;
$kafka->commit(sub { @commit = @_ });
is_deeply \@commit, ['not subscribed to a group'], 'a commit without a group says so';
$kafka->committed(sub { @commit = @_ });
is_deeply \@commit, [undef, 'not subscribed to a group'], 'and so does committed';

$kafka->subscribe('t', @GROUP);
$kafka->commit(sub { @commit = @_ });
$kafka->close;
is_deeply \@commit, ['client closed'], 'a commit that waits for the group ends with the client';
for my $method (qw(subscribe commit committed unsubscribe)) {
    ok !eval { $kafka->$method('t', @GROUP); 1 }, "$method after close";
    like $@, qr/\AEV::Kafka: client is closed/, 'croaks';
}

done_testing;
