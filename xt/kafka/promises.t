use v5.14;
use warnings;

# Promises with Future::AsyncAwait, and transaction() with a group, on real brokers; kcat reads what is committed.

use EV;
use EV::Kafka::Promises;
use lib 'xt/lib';
use RealKafka;
use Test::More;

BEGIN { plan skip_all => 'needs Future::AsyncAwait' unless eval { require Future::AsyncAwait; Future::AsyncAwait->import; 1 } }

# What kcat shows of a topic to who reads committed records only: their values.
sub committed_values {
    my ($brokers, $topic) = @_;
    return [split /\n/, kcat('-C', '-b', $brokers, '-t', $topic, '-o', 'beginning', '-e', '-q', '-X', 'isolation.level=read_committed', '-f', "%s\n")];
}

sub promising {
    my (%option) = @_;
    return EV::Kafka::Promises->new(promise => 'Future', on_error => sub { die "EV::Kafka: @_\n" }, %option);
}

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $brokers = shared_cluster($version)->bootstrap;

    subtest "Kafka $version: await" => sub {
        my $topic = "promises-$$";
        my $kafka = promising(brokers => $brokers, errors => 'object');
        my $run   = async sub {
            await $kafka->connect;
            my $created = await $kafka->create_topics([{ name => $topic, num_partitions => 2, replication_factor => 1 }]);
            is $created->{topics}[0]{error_code}, 0, 'an admin method';
            my @offsets;
            for my $value (qw(one two three)) {
                my $result = await $kafka->produce($topic, undef, $value, { partition => 1 });
                push @offsets, $result->{topics}[0]{partitions}[0]{base_offset};
            }
            is_deeply \@offsets, [0, 1, 2], 'produce, one after the other';
            await $kafka->produce_many([map { [$topic, undef, $_, { partition => 0 }] } qw(four five)]);
            my $ends = await $kafka->offsets_for($topic);
            is_deeply [map { $ends->{$_}{latest} } 0, 1], [2, 3], 'offsets_for';
            my $error;
            eval { await $kafka->produce($topic, undef, 'x' x 2_000_000, { partition => 0 }); 1 } or $error = $@;
            isa_ok $error, 'EV::Kafka::Error', 'what await dies of';
            is $error->name, 'MESSAGE_TOO_LARGE', 'a rejected promise';
            my $deleted = await $kafka->delete_topics(["$topic-none"]);
            is $deleted->{topics}[0]{error_code}, 3, 'a result in which there is an error';
            await $kafka->flush;
            return 'done';
        };
        is $run->()->get, 'done', 'all of it';
        is_deeply [sort @{ committed_values($brokers, $topic) }], [sort qw(one two three four five)], 'kcat reads it';
        is_deeply [$kafka->close->get], [], 'close';
    };

    subtest "Kafka $version: await transaction" => sub {
        my $topic = create_topic($brokers, 'promised-transactions', 1);
        my $kafka = promising(brokers => $brokers, transactional_id => "promises-$$");
        my $write = async sub {
            my ($value, $dies) = @_;
            return await $kafka->transaction(async sub {
                for my $number (1, 2) { await $kafka->produce($topic, undef, "$value $number") }
                die "not $value\n" if $dies;
                return;
            });
        };
        my $run = async sub {
            await $kafka->connect;
            is_deeply [await $write->('first')], [{ error_code => 0 }], 'is resolved when it is committed';
            my $died = eval { await $write->('second', 1); 1 } ? 'nothing' : $@;
            is $died, "not second\n", 'is rejected with what its work died of';
            await $write->('third');
            return;
        };
        $run->()->get;
        is_deeply committed_values($brokers, $topic), ['first 1', 'first 2', 'third 1', 'third 2'], 'kcat reads what is committed';
        $kafka->close->get;
    };

    subtest "Kafka $version: consume, transform, produce, with one abort" => sub {
        my ($in, $out) = map { create_topic($brokers, $_, 1) } qw(transaction-in transaction-out);
        my $group = "transaction-$$";
        my @lines = map { "v$_" } 1 .. 60;
        kcat_produce(['-b', $brokers, '-t', $in], join '', map { "$_\n" } @lines);
        my ($kafka, @batch, $is_full, %delivered);
        $kafka = promising(
            brokers => $brokers, transactional_id => $group, isolation_level => 'read_committed',
            on_message => sub {
                my ($topic, undef, undef, undef, $value) = @_;
                $delivered{$value}++;
                $kafka->produce($out, undef, uc $value);
                push @batch, $value;
                # The rest comes in the next transaction.
                $kafka->stop_consuming if @batch == 20;
                $is_full->done if @batch == 20;
            },
        );
        my @ends;
        my $run = async sub {
            await $kafka->connect;
            for my $turn (1 .. 4) {
                @batch   = ();
                $is_full = EV::Kafka::Promises::Future->on_loop(EV::default_loop);
                my $transaction = $kafka->transaction(async sub {
                    $turn == 1 ? $kafka->subscribe($in, group_id => $group, auto_commit => 0, auto_offset_reset => 'earliest') : $kafka->consume;
                    await $is_full;
                    return unless $turn == 2;
                    # What never left would not be seen by anybody.
                    await $kafka->flush;
                    die "not this time\n";
                });
                push @ends, eval { await $transaction; 1 } ? 'committed' : $@;
                my $committed = await $kafka->committed([{ topic => $in, partition => 0 }]);
                push @ends, $committed->{"$in:0"};
            }
            return;
        };
        $run->()->get;
        is_deeply \@ends, ['committed', 20, "not this time\n", 20, 'committed', 40, 'committed', 60], 'one is aborted, the offsets go with the others' or diag explain \@ends;
        is_deeply committed_values($brokers, $out), [map { uc } @lines], 'kcat reads each once and in order';
        my $all = kcat('-C', '-b', $brokers, '-t', $out, '-o', 'beginning', '-e', '-q', '-X', 'isolation.level=read_uncommitted', '-f', "%s\n");
        is +(() = $all =~ /\n/g), 80, 'who reads all sees the aborted ones, too';
        is_deeply [grep { $delivered{$_} != 1 + ($_ =~ /v(\d+)/ && $1 > 20 && $1 <= 40) } @lines], [], 'those were delivered once more';
        $kafka->close->get;
    };
}

done_testing;
