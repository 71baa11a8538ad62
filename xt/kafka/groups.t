use v5.14;
use warnings;

use lib 'xt/lib';

use List::Util qw(sum0);
use Test::More;

use RealGroups;
use RealKafka;

# Consumer groups on real Apache Kafka, each member a process of its own, beside
# kcat and the Java console consumer. One version: KAFKA_VERSION=3.9.1.

for my $version (split ' ', $ENV{KAFKA_VERSION} // "$KafkaCluster::NEWEST $KafkaCluster::OLDEST") {
    subtest "Kafka $version" => sub {
        my $cluster = shared_cluster($version);
        my $brokers = group_brokers($cluster->bootstrap);
        my $name = "groups-$version" =~ tr/./-/r;

        subtest 'members join, leave and are killed; everything is given up before it moves' => sub {
            my $topic = create_topic($brokers, "$name-eager", 6);
            my ($one) = members_come_and_go($topic, "$topic-g", assignors => ['sticky', 'range']);
            like +($one->lines(qr/^revoke/))[0], qr/^revoke(?: \S+){6}$/, 'all six were revoked before the second came';
        };

        subtest 'cooperative members keep what stays' => sub {
            my $topic = create_topic($brokers, "$name-coop", 6);
            my ($one) = members_come_and_go($topic, "$topic-g", assignors => ['cooperative-sticky']);
            like +($one->lines(qr/^revoke/))[0], qr/^revoke(?: \S+){3}$/,
                'three of six were revoked when the second came';
            my $times = times_seen($one);
            is_deeply [grep { $times->{$_} > 1 } keys %$times], [], 'and nothing was delivered to it twice';
        };

        subtest 'the offsets that Kafka shows are those a restarted member continues from' => sub {
            my $topic = create_topic($brokers, "$name-offsets", 3);
            my $group = "$topic-g";
            fill($topic, 1, 200);
            my $one = member(one => $topic, $group, { auto_commit => 0 });
            wait_until('all records', sub { @{ $one->{records} } == 200 }, $one);
            $one->tell('commit');
            wait_until('the commit', sub { $one->lines(qr/^committed/) }, $one);
            is_deeply [$one->lines(qr/^committed/)], ['committed ok'], 'committed';
            fill($topic, 201, 300);
            wait_until('more records', sub { @{ $one->{records} } == 300 }, $one);
            $one->tell('committed');
            wait_until('the committed offsets', sub { $one->lines(qr/^offsets/) }, $one);
            my %told = map { split /\@/ } split ' ', ($one->lines(qr/^offsets/))[0] =~ s/^offsets //r;
            leave($one);
            my $shown = described($version, $group);
            is_deeply \%told, $shown, 'committed tells what Kafka shows';
            is sum0(values %$shown), 200, 'which is what was delivered before the commit';

            my $again = member(again => $topic, $group, { auto_commit => 0 });
            wait_until('the rest', sub { @{ $again->{records} } >= 100 }, $again);
            is_deeply $again->{owns}, $shown, 'a restarted member is assigned them';
            continues_from($shown, $again);
            is_deeply [sort map { $_->[2] } @{ $again->{records} }], [map { "v$_" } 201 .. 300],
                'with what came since, once';
            leave($again);
            is_deeply described($version, $group), $shown, 'with auto_commit off nothing is committed unasked';

            my $auto = member(auto => $topic, $group, { auto_commit_interval => 0.2 });
            wait_until('the commits of auto_commit_interval', sub {
                $auto->tell('committed');
                my $sum = 0;
                $sum += $_ for map { /\@(\d+)/g } (($auto->lines(qr/^offsets/))[-1] // '');
                $sum == 300;
            }, $auto);
            $auto->kill('KILL');
            is_deeply [sort { $a <=> $b } map { /v(\d+)/ } map { $_->[2] } @{ $auto->{records} }], [201 .. 300],
                'a member with auto_commit_interval commits what it got';
        };

        subtest 'a static member that restarts gets its partitions back and disturbs nobody' => sub {
            my $topic = create_topic($brokers, "$name-static", 4);
            my $group = "$topic-g";
            my ($one, $two) = map { member($_ => $topic, $group, { group_instance_id => $_ }) } qw(one two);
            is_spread(4, [2, 2], $one, $two);
            my @owned = $two->owns;
            leave($two);
            my $again = member(again => $topic, $group, { group_instance_id => 'two' });
            wait_until('its return', sub { $again->owns }, $again);
            is_deeply [$again->owns], \@owned, 'the same partitions';
            my $revokes = $one->lines(qr/^revoke/);
            my $double  = member(double => $topic, $group, { group_instance_id => 'two' });
            wait_until('the fencing', sub { $again->lines(qr/^error/) }, $again, $double);
            like +($again->lines(qr/^error/))[0], qr/FENCED_INSTANCE_ID.*another member has joined as 'two'/,
                'a second one of the same name fences the first';
            is_deeply [$again->owns], [], 'which gives everything up';
            wait_until('the second', sub { $double->owns }, $double);
            is_deeply [$double->owns], \@owned, 'and the second has it';
            is scalar(() = $one->lines(qr/^revoke/)), $revokes, 'the other member saw no rebalance';
            $_->kill('KILL') for $one, $double;
        };

        subtest 'handlers that together take longer than the session timeout do not lose the group' => sub {
            my $topic = create_topic($brokers, "$name-slow", 1);
            fill($topic, 1, 40);
            my $slow = member(slow => $topic, "$topic-g", {}, { seconds_per_record => 0.25 });
            wait_until('all records', sub { @{ $slow->{records} } >= 40 }, $slow);
            is_deeply [map { $_->[2] } @{ $slow->{records} }], [map { "v$_" } 1 .. 40], 'each record once';
            is_deeply [$slow->lines(qr/^(?:revoke|error)/)], [], 'and no rebalance';
            leave($slow);
        };

        subtest 'a member that hangs is missed, and comes back' => sub {
            my $topic = create_topic($brokers, "$name-hang", 4);
            members_hang($topic, "$topic-g");
        };

        subtest 'the leader rejoins when a topic grows or appears' => sub {
            my $topic = create_topic($brokers, "$name-grows", 1);
            my $later = "$name-later-$$";
            my %fresh = (metadata_refresh => 0.3);
            my ($one, $two) = map { member($_ => [$topic, $later], "$topic-g", {}, \%fresh) } qw(one two);
            wait_until('both members', sub { 2 == grep { $_->lines(qr/^assign/) } $one, $two }, $one, $two);
            my @command = KafkaCluster::java_command($version, 'org.apache.kafka.tools.TopicCommand',
                '--bootstrap-server', $brokers, '--alter', '--topic', $topic, '--partitions', 3);
            is system(@command), 0, 'the topic grows';
            is create_topic($brokers, "$name-later", 1), $later, 'and the other one appears';
            wait_until('three partitions of the one, and the other', sub {
                my %owned = map { $_ => 1 } map { $_->owns } $one, $two;
                3 == (grep { /^\Q$topic\E:/ } keys %owned) && grep { /^\Q$later\E:/ } keys %owned;
            }, $one, $two);
            pass 'what is new has been assigned';
            $_->kill('KILL') for $one, $two;
        };

        subtest 'the consumer protocol, which this broker does not have' => sub {
            my $topic = create_topic($brokers, "$name-none", 1);
            my $one   = member(one => $topic, "$topic-g", { group_protocol => 'consumer' });
            wait_until('the refusal', sub { $one->lines(qr/^error/) }, $one);
            like +($one->lines(qr/^error/))[0], qr/ConsumerGroupHeartbeat/, 'is an error, and no endless trying';
        } if $version lt '4';

        for my $case (['sticky', 'StickyAssignor'], ['cooperative-sticky', 'CooperativeStickyAssignor', 'kcat'],
            ['roundrobin', 'RoundRobinAssignor', 'kcat']) {
            my ($assignor, $class, $with_kcat) = @$case;
            subtest "$assignor with the same of other clients, whoever leads" => sub {
                my $topic = create_topic($brokers, "$name-mixed-$assignor", 6);
                my $group = "$topic-g";
                my $java  = GroupMember->run('java', KafkaCluster::java_command($version,
                    'org.apache.kafka.tools.consumer.ConsoleConsumer', '--bootstrap-server', $brokers,
                    '--topic', $topic, '--group', $group, '--from-beginning', '--consumer-property',
                    "partition.assignment.strategy=org.apache.kafka.clients.consumer.$class"));
                my $sent = 0;
                my $rounds = 0;
                wait_until('records to Java', sub {
                    fill($topic, $sent + 1, $sent += 20) if $rounds++ % 50 == 0;
                    count($java);
                }, $java);
                my $ours = member(ours => $topic, $group, { assignors => [$assignor] });
                wait_until('three partitions for us', sub { $ours->owns == 3 }, $ours, $java);
                pass 'Java leads';
                my $kcat;
                if ($with_kcat) {
                    $kcat = GroupMember->run('kcat', 'kcat', '-b', $brokers, '-G', $group, '-u',
                        '-f', 'record %t:%p@%o %s\n', '-X', 'session.timeout.ms=' . SESSION_MS,
                        '-X', 'auto.offset.reset=earliest', '-X', "partition.assignment.strategy=$assignor", $topic);
                    wait_until('two partitions for us', sub { $ours->owns == 2 }, $ours, $java, $kcat);
                }
                $java->kill('TERM');
                my $rest = $with_kcat ? 3 : 6;
                wait_until('what Java leaves', sub { $ours->owns == $rest }, $ours);
                fill($topic, $sent + 1, $sent += 20);
                my @all = grep { defined } $ours, $java, $kcat;
                wait_until('every record', sub {
                    my %seen = map { $_ => 1 } map { (map { $_->[2] } @{ $_->{records} }), @{ $_->{lines} } } @all;
                    !grep { !$seen{"v$_"} } 1 .. $sent;
                }, @all);
                pass "we lead, and none of $sent records was skipped";
                leave($ours);
            };
        }

        subtest 'with kcat and the Java console consumer' => sub {
            my $topic = create_topic($brokers, "$name-mixed", 6);
            my $group = "$topic-g";
            my $ours  = member(ours => $topic, $group);
            is_spread(6, [6], $ours);
            # Whoever takes a partition of which nothing is committed yet must not begin at its end.
            my $kcat = GroupMember->run('kcat', 'kcat', '-b', $brokers, '-G', $group, '-u',
                '-f', 'record %t:%p@%o %s\n', '-X', 'session.timeout.ms=' . SESSION_MS,
                '-X', 'auto.offset.reset=earliest', $topic);
            my $java = GroupMember->run('java', KafkaCluster::java_command($version,
                'org.apache.kafka.tools.consumer.ConsoleConsumer', '--bootstrap-server', $brokers, '--topic', $topic,
                '--group', $group, '--from-beginning',
                map { ($version lt '4' ? '--property' : '--formatter-property') => $_ }
                    'print.partition=true', 'print.offset=true'));
            wait_until('two partitions to be left to us', sub { $ours->owns == 2 }, $ours, $kcat, $java);
            pass 'they share the partitions';
            my $sent  = 0;
            my $share = sub {
                my ($what, @members) = @_;
                # Until each of them gets something: only then has everybody settled.
                my %had = map { $_ => count($_) } @members;
                my $rounds = 0;
                wait_until("$what: records to each", sub {
                    if ($rounds++ % 50 == 0) {
                        fill($topic, $sent + 1, $sent + 20);
                        $sent += 20;
                    }
                    !grep { count($_) == $had{$_} } @members;
                }, @members);
                return pass "$what: each gets records";
            };
            $share->('three clients', $ours, $kcat, $java);
            $java->kill('TERM');
            wait_until('Java to leave', sub { $ours->owns == 3 }, $ours, $kcat);
            $share->('without Java', $ours, $kcat);
            $kcat->kill('TERM');
            wait_until('kcat to leave', sub { $ours->owns == 6 }, $ours);
            my $back = GroupMember->run('kcat again', 'kcat', '-b', $brokers, '-G', $group, '-u',
                '-f', 'record %t:%p@%o %s\n', '-X', 'session.timeout.ms=' . SESSION_MS,
                '-X', 'auto.offset.reset=earliest', $topic);
            wait_until('kcat again', sub { $ours->owns == 3 }, $ours, $back);
            leave($ours);
            $share->('without us', $back);
            my %seen;
            for my $member ($ours, $kcat, $java, $back) {
                $seen{ $_->[2] }++ for @{ $member->{records} };
                /\bv(\d+)$/ and $seen{"v$1"}++ for @{ $member->{lines} };
            }
            wait_until('the last records', sub {
                $seen{ $_->[2] }++ for @{ $back->{records} };
                !grep { !$seen{"v$_"} } 1 .. $sent;
            }, $back);
            pass "none of $sent records was skipped";
        };
    };
}

done_testing;
