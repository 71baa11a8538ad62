use v5.14;
use warnings;

# The command ev-kafka with real brokers, and kcat on the other side.

use lib 'xt/lib', 't/lib';
use RealKafka;
use Test::More;
use ToolTest qw(!cluster);

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    subtest "Kafka $version" => sub {
        my $brokers = $ENV{KAFKA_BROKERS} = shared_cluster($version)->bootstrap;
        my ($topic, $copy, $fresh) = map { "tool-$_-$$" } qw(topic copy fresh);
        my $group = "tool-group-$$";
        is out('', qw(create -p 3 --config retention.ms=1234567), $topic, $copy), "created $topic\ncreated $copy\n", 'create';
        my ($seen) = grep { /^\Q$topic\E / } split /\n/, out('', qw(list -l topics));
        like $seen, qr/^\S+ +3 +1 +0 +0$/, 'list';

        my @lines = map { "key$_:value $_" } 1 .. 500;
        out(join('', map { "$_\n" } @lines), qw(produce -K: -z lz4 -H from=tool), $topic);
        my @kcat = map { @$_ } kcat_consume($brokers, $topic, 3);
        is_deeply [sort map { "$_->[2]:$_->[3]" } @kcat], [sort @lines], 'kcat reads what produce has written';
        is +(grep { $_->[4] ne 'from=tool' } @kcat), 0, 'with its header';
        kcat_produce(['-b', $brokers, '-t', $topic, '-p', 1, '-K', ':', '-H', 'from=kcat'], "theirs:\xff\x00\n");
        is out('', qw(consume -e -o -1 -f), '%k=%s,%h\n', "$topic:1"), "theirs=\xff\x00,from=kcat\n", 'consume reads what kcat has written';
        is out('', qw(grep --header from kcat -f), '%k\n', $topic), "theirs\n", 'grep finds it';

        out('', 'copy', $topic, $copy);
        my @all  = kcat_consume($brokers, $topic, 3);
        my @same = kcat_consume($brokers, $copy,  3);
        is_deeply \@same, \@all, 'copy: all records of kcat, with offsets, times and headers, are the same';

        is +(() = out('', qw(consume -c 100 -G), $group, $topic) =~ /\n/g), 100, 'a member reads a hundred';
        my @lag = map { [split] } grep { /^\Q$group\E / } split /\n/, out('', 'lag', $group);
        my ($committed, $left) = (0, 0);
        for (@lag) { $committed += $_->[3]; $left += $_->[5] }
        is "$committed $left", '100 401', 'lag knows how far it is';
        like out('', qw(list groups)), qr/^\Q$group\E$/m, 'its name is listed';
        like out('', qw(describe --group), $group), qr/\Agroup \Q$group\E: Empty, \w+/, 'it is described';
        like out('', 'describe', $topic), qr/^  retention\.ms=1234567\n.*^ +0 +\d/ms, 'the topic is, too';

        is out('', qw(delete -y --group), $group), "deleted $group\n", 'delete a group';
        is out('', qw(delete -y), $topic, $copy), "deleted $topic\ndeleted $copy\n", 'and topics';
        is_tool(['describe', $topic], 1, qr/UNKNOWN_TOPIC_OR_PARTITION/);
    };
}

done_testing;
