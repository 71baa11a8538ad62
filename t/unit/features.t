use strict;
use warnings;
use Test::More;

use EV::Kafka::Cluster::Features;

# What is known of a cluster's features from what its brokers tell one after the other.

sub told { my ($epoch, %levels) = @_; return { epoch => $epoch, finalized => {%levels}, supported => {} } }

my $features = EV::Kafka::Cluster::Features->new;
is $features->level('group.version'), undef, 'nothing is known at first';

$features->learn(undef);
is $features->level('group.version'), undef, 'a broker that tells none changes nothing';

$features->learn(told(-1));
is $features->level('group.version'), 0, 'one that knows of none has none';

$features->learn(told(7, 'group.version' => 1));
is_deeply [map { $features->level($_) } qw(group.version transaction.version)], [1, 0], 'what is agreed on, and what is not';

$features->learn(told(6, 'group.version' => 2));
is $features->level('group.version'), 1, 'a broker that is behind is not believed';

$features->learn(told(-1));
$features->learn(undef);
is $features->level('group.version'), 1, 'nor one that does not know';

$features->learn(told(8, 'transaction.version' => 2));
is_deeply [map { $features->level($_) } qw(group.version transaction.version)], [0, 2], 'a newer epoch says all anew';

$features->forget;
is $features->level('transaction.version'), undef, 'nothing is known of another cluster';

done_testing;
