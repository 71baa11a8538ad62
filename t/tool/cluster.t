use strict;
use warnings;
use Test::More;

use lib 't/lib';
use ToolTest;

# Topics, configuration, mistakes and help.

my $cluster = cluster('--topic', 'orders:3', '--topic', 'payments', '--nodes', 2);

subtest 'topics' => sub {
    is out('', 'list'), "orders\npayments\n", 'names';
    is out('', qw(list -l topics)), "TOPIC     PARTITIONS  REPLICAS  WITHOUT-LEADER  OUT-OF-SYNC\norders             3         1               0            0\n"
        . "payments           1         1               0            0\n", 'a table';
    like out('', qw(list -J topics)), qr/\A\{"out-of-sync":0,"partitions":3,"replicas":1,"topic":"orders","without-leader":0\}$/m, 'JSON';
    like out('', qw(list brokers)), qr/\A0\n1\n\z/, 'brokers';
    is out('', qw(create -p 2 fresh fresher)), "created fresh\ncreated fresher\n", 'create';
    is_tool([qw(create fresh)], 1, qr/^ev-kafka: fresh was not created: TOPIC_ALREADY_EXISTS/);
    is out('', qw(delete fresh fresher)), "deleted fresh\ndeleted fresher\n", 'delete';
    is_tool([qw(delete fresh)], 1, qr/^ev-kafka: fresh was not deleted: UNKNOWN_TOPIC_OR_PARTITION/);
    like +(tool('', qw(describe orders)))[0], qr/^topic orders \(.*\)\nPARTITION  LEADER  REPLICAS  IN-SYNC  BEGINS  ENDS\n(?: +\d  .*\n){3}\z/m, 'describe';
    is_tool([qw(describe nowhere)], 1, qr/^ev-kafka: topic nowhere: UNKNOWN_TOPIC_OR_PARTITION$/m);
    like out('', qw(describe --cluster)), qr/\Acluster \S+\nBROKER  ADDRESS/, 'the cluster';
    my @times = split /\n\n(?=\w)/, out('', qw(watch -n 2 -i 0.01 list));
    is @times, 4, 'watch looks again' or diag explain \@times;
};

subtest 'where the brokers are' => sub {
    my $brokers = delete $ENV{KAFKA_BROKERS};
    my $file = written("# a cluster\n\nbootstrap.servers = $brokers\nclient.id=me\n");
    is out('', '-b', $brokers, 'list', 'brokers'), "0\n1\n", '-b';
    is out('', 'list', 'brokers', '-X', "bootstrap.servers=$brokers"), "0\n1\n", '-X';
    is out('', '-F', "$file", 'list', 'brokers'), "0\n1\n", 'a file';
    {
        local $ENV{EV_KAFKA_CONFIG} = "$file";
        is out('', 'list', 'brokers'), "0\n1\n", 'a file that the environment names';
        mkdir "$ENV{HOME}/.config";
        local $ENV{EV_KAFKA_CONFIG};
        delete $ENV{EV_KAFKA_CONFIG};
        symlink "$file", "$ENV{HOME}/.config/ev-kafka.conf" or die $!;
        is out('', 'list', 'brokers'), "0\n1\n", 'the usual file';
        unlink "$ENV{HOME}/.config/ev-kafka.conf";
    }
    $ENV{KAFKA_BOOTSTRAP_SERVERS} = $brokers;
    is out('', 'list', 'brokers'), "0\n1\n", 'a variable';
    my $wrong = written("bootstrap.servers\n");
    is_tool(['-F', "$wrong", 'list'], 1, qr/^ev-kafka: \S+ line 1: NAME=VALUE expected$/);
    is_tool(['-X', 'bootstrap.server=x', 'list'], 1, qr/^ev-kafka: .*'bootstrap.server' .*did you mean 'bootstrap.servers'/);
    delete $ENV{KAFKA_BOOTSTRAP_SERVERS};
    is_tool(['-b', '127.0.0.1:1', 'list'], 1, qr/^ev-kafka: .*127\.0\.0\.1:1.*refused/i);
    $ENV{KAFKA_BROKERS} = $brokers;
};

subtest 'security' => sub {
    my $brokers = $ENV{KAFKA_BROKERS};
    my $secured = cluster('--user', 'alice:secret', '--topic', 'hidden');
    my @sasl = qw(-X security.protocol=SASL_PLAINTEXT -X sasl.mechanisms=SCRAM-SHA-256 -X sasl.username=alice);
    local $ENV{KAFKA_SASL_PASSWORD} = 'secret';
    is out('', @sasl, 'list'), "hidden\n", 'a password from the environment';
    local $ENV{KAFKA_SASL_PASSWORD} = 'wrong';
    is_tool([@sasl, 'list'], 1, qr/^ev-kafka: .*SASL/i);
    delete $ENV{KAFKA_SASL_PASSWORD};
    local $ENV{KAFKA_SASL_PASSWORD} = 'secret';
    like +(tool('', (map { s/SCRAM-SHA-256/PLAIN/r } @sasl), 'list'))[1], qr/^ev-kafka: EV::Kafka: SASL PLAIN configured without TLS.*password$/, 'a warning';
    $ENV{KAFKA_BROKERS} = $brokers;
};

subtest 'help and mistakes' => sub {
    my $screen = out('', '--help');
    cmp_ok $screen =~ tr/\n//, '<=', 24 + 8, 'the help fits a screen';
    for my $command (qw(list describe create delete produce consume tail grep lag watch copy bench mock completion)) {
        like $screen, qr/^    $command +\w/m, "it has $command";
        like out('', $command, '--help'), qr/\Aev-kafka $command /, "$command has its own";
    }
    is out('', '--version'), "ev-kafka 1.00\n", 'the version';
    is_tool([], 2, qr/^ev-kafka: which command\?/);
    is_tool(['lst'], 2, qr/^ev-kafka: there is no command 'lst' \(did you mean 'list'\?\)/);
    is_tool(['list', '--lnog'], 2, qr/^ev-kafka: unknown option: lnog/);
    is_tool(['list', 'things'], 2, qr/^ev-kafka: list: topics, brokers, groups or transactions, not 'things'/);
    is_tool([qw(consume -e -f %q orders)], 2, qr/^ev-kafka: format: there is no %q/);
    is_tool([qw(consume -e -o sometime orders)], 2, qr/^ev-kafka: -o: beginning, end, an offset/);
    is_tool([qw(consume -e orders:7)], 1, qr/^ev-kafka: topic orders has 3 partitions, not a partition 7$/);
    is_tool([$_], 2, qr/^ev-kafka: $_: /) for qw(produce consume tail grep copy bench describe create delete watch);
};

subtest 'completion' => sub {
    my $script = written(out('', 'completion') . <<'END');
complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _ev_kafka; echo "${COMPREPLY[*]}"; }
complete_it ev-kafka de
complete_it ev-kafka grep --h
complete_it ev-kafka list t
END
    is `bash $script`, "describe delete\n--help --header\ntopics transactions\n", 'commands, options and words';
};

undef $cluster;
done_testing;
