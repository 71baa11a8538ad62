use strict;
use warnings;
use Test::More;

use lib 't/lib';
use JSON::PP ();
use ToolTest;

# produce, consume, tail, grep and copy on a mock cluster.

my $cluster = cluster('--topic', 'orders:3', '--topic', 'copy:3', '--topic', 'other:2', '--topic', 'one', '--topic', 'json', '--topic', 'empty');

sub lines { return split /^/, $_[0] }

subtest 'produce and consume' => sub {
    out(join('', map { "$_\n" } 1 .. 100), 'produce', 'one');
    is out('', 'consume', '-e', 'one'), join('', map { "$_\n" } 1 .. 100), 'lines come back in order';
    is out('', 'consume', '-c', 3, '-o', 'beginning', 'one'), "1\n2\n3\n", 'a number of them';
    is out('', 'consume', '-e', '-o', '98', 'one'), "99\n100\n", 'from an offset';
    is out('', 'consume', '-e', '-o', '-3', 'one'), "98\n99\n100\n", 'the last ones';
    is out('', 'consume', '-e', '-o', '@0', '-c', 1, 'one'), "1\n", 'from a time on';
    is out('', 'consume', '-e', '-o', '@2500-01-01', 'one'), '', 'from a time to come';
    is out('', 'consume', '-e', 'empty'), '', 'nothing of an empty topic';
    is out('no end of the line', 'produce', 'empty'), '', 'the last line need not end';
    is out('', 'consume', '-e', 'empty'), "no end of the line\n", 'and is there';
};

subtest 'keys, headers, partitions, null' => sub {
    out("a:1\nb:2:3\nnone\n", qw(produce -K: -H x=y -H z= -p 2 orders));
    is out('', qw(consume -e), '-f', '%t/%p/%o [%k] %s %K %S %h %%\n', 'orders'),
        "orders/2/0 [a] 1 1 1 x=y,z= %\norders/2/1 [b] 2:3 1 3 x=y,z= %\norders/2/2 [] none -1 4 x=y,z= %\n", 'a format has it all';
    out("gone:\n", qw(produce -K: -Z -p 0 orders));
    is out('', qw(consume -e), '-f', '%k %S\x21', 'orders:0'), 'gone -1!', 'a null value, and one partition';
    my ($first) = lines(out('', qw(consume -e -J orders:2)));
    my $record = JSON::PP->new->utf8->decode($first);
    cmp_ok delete $record->{timestamp}, '>', 1.6e12, 'JSON has the time';
    is_deeply $record, { topic => 'orders', partition => 2, offset => 0, key => 'a', value => '1',
        headers => [{ name => 'x', value => 'y' }, { name => 'z', value => '' }] }, 'and all else';
};

subtest 'JSON there and back' => sub {
    my @lines = (
        '{"key":"k","value":"gr\u00fcn","headers":[{"name":"h","value":null}],"timestamp":1700000000000}',
        '{"key_base64":"/w==","value":null}',
        '{"value":{"a":[1,2]},"headers":{"b":"c"}}',
    );
    my ($out, $err, $status) = tool(join("\n", @lines, 'not JSON', '[1]') . "\n", qw(produce -J json));
    is $status, 1, 'what cannot be read is a failure';
    is scalar(() = $err =~ /^ev-kafka: not written: not an object of JSON/mg), 2, 'of each such line';
    my @read = map { JSON::PP->new->utf8->decode($_) } lines(out('', qw(consume -e -J json)));
    is @read, 3, 'the others are there';
    is "$read[0]{key} $read[0]{timestamp} $read[0]{headers}[0]{name}", 'k 1700000000000 h', 'key, time and header';
    is $read[0]{value}, "gr\x{fc}n", 'characters';
    is $read[1]{key_base64}, '/w==', 'bytes that are no text';
    is $read[1]{value}, undef, 'null';
    is $read[2]{value}, '{"a":[1,2]}', 'a value that is no string is JSON';
    my $again = out('', qw(consume -e -J json));
    out($again, qw(produce -J empty));
    my @copied = map { JSON::PP->new->utf8->decode($_) } lines(out('', qw(consume -e -J -o 1 empty)));
    delete @$_{qw(offset partition topic)} for @read, @copied;
    is_deeply \@copied, \@read, 'what consume has written, produce reads';
};

subtest 'input in other shapes' => sub {
    my $file = written('a;b;c');
    out('', qw(produce -D ; -f), "$file", 'other');
    is out('', qw(consume -e other)) =~ tr/\n//, 3, 'another delimiter, from a file';
    my ($out, $err, $status) = tool('', qw(produce -f /nowhere other));
    is "$status $err", "1 ev-kafka: cannot read /nowhere: No such file or directory\n", 'a file that is not there';
};

subtest 'tail and grep' => sub {
    is out('', qw(tail -n 2 one)), "99\n100\n", 'the last lines';
    is +(() = lines(out('', qw(tail one)))), 10, 'ten of them, by default';
    is out('', qw(grep ^9.$ one)), join('', map { "$_\n" } 90 .. 99), 'values that match';
    is out('', qw(grep -c -v ^9 one)), "89\n", 'how many do not';
    is out('', qw(grep -m 1 9 one)), "9\n", 'the first';
    is out('', qw(grep --key ^B$ -i orders)), "2:3\n", 'keys, in any case';
    is out('', qw(grep --header x -F y -c orders)), "3\n", 'a header';
    is_tool([qw(grep nothing one)], 1, qr/\A\z/);
    is_tool(['grep', '(', 'one'], 2, qr/\Aev-kafka: grep: the pattern is no regular expression/);
    my (undef, $err) = tool('', qw(--progress grep 1 one));
    like $err, qr/^100 of 100 records, 20 found$/m, 'progress says how far it is';
};

subtest 'copy' => sub {
    out('', qw(copy orders copy));
    my @format = ('-f', '%p %o %k %s %h %T\n');
    is out('', qw(consume -e), @format, 'copy'), out('', qw(consume -e), @format, 'orders'), 'everything is in its place';
    out('', qw(copy one other));
    is +(() = lines(out('', qw(consume -e other)))), 103, 'into another number of partitions';
    is_tool([qw(copy one one)], 2, qr/cannot be copied into itself/);
    is_tool([qw(copy one nowhere)], 1, qr/^ev-kafka: topic nowhere: UNKNOWN_TOPIC_OR_PARTITION; create it first$/);
    my $source = $cluster->{brokers};
    my $elsewhere = cluster('--topic', 'there:1');
    out('', '-b', $source, 'copy', '--to', $elsewhere->{brokers}, 'one', 'there');
    is out('', qw(consume -e there)), join('', map { "$_\n" } 1 .. 100), 'into another cluster';
    $ENV{KAFKA_BROKERS} = $source;
};

subtest 'a member of a group' => sub {
    is out('', qw(consume -G g -c 40 one)), join('', map { "$_\n" } 1 .. 40), 'reads from the beginning';
    is out('', qw(consume -G g -c 60 one)), join('', map { "$_\n" } 41 .. 100), 'and goes on where it was';
};

subtest 'bench' => sub {
    like out('', qw(bench produce -n 5000 -s 10 copy)), qr/\A5,000 messages of 50,000 bytes in all, in [\d.]+ s: [\d,]+ messages\/s/, 'produce';
    like out('', qw(bench consume -n 4000 copy)), qr/\A4,000 messages of [\d,]+ bytes in all/, 'consume';
};

undef $cluster;
done_testing;
