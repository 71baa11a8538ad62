use v5.14;
use warnings;

use lib 'xt/lib';

use EV;
use EV::Kafka;
use RealKafka;
use Test::More;

# A topic that is deleted and created anew under its old name, between what is produced, consumed and committed: by
# brokers that know topics by their ids, and by older ones.

for my $version (@ARGV ? @ARGV : '4.4.0') {
    my $cluster   = shared_cluster($version);
    my $bootstrap = $cluster->bootstrap;
    my $topic     = "recreated-$$";
    my $conn      = connected_conn($bootstrap);

    my $run = sub { my ($what, $until, $seconds) = @_; my $end = EV::now + ($seconds // 60); my $tick = EV::timer 0.05, 0.05, sub { };
        EV::run EV::RUN_ONCE until $until->() || EV::now > $end; return ok $until->(), "$version: $what" };
    my $create = sub {
        my ($code, $tries) = (-1, 0);
        while ($code && $tries++ < 100) {
            my $answer = await('create', sub { $conn->create_topics([{ name => $topic, num_partitions => 1, replication_factor => 1 }], 10_000, $_[0]) });
            $code = $answer->{topics}[0]{error_code};
            await('a moment', sub { my ($done) = @_; state $timer = EV::timer 0.1, 0, $done; $timer = EV::timer 0.1, 0, $done }) if $code;
        }
        return is $code, 0, "$version: created";
    };
    my $delete = sub {
        my $answer = await('delete', sub { $conn->delete_topics([$topic], 10_000, $_[0]) });
        return is $answer->{topics}[0]{error_code}, 0, "$version: deleted";
    };
    $create->();

    my (@received, @notices, @errors, @reports);
    my @about = (brokers => $bootstrap, on_error => sub { push @errors, $_[0] }, on_notice => sub { push @notices, $_[0] });
    my $producer = EV::Kafka->new(@about, idempotent => 1, acks => -1);
    my $consumer = EV::Kafka->new(@about, on_message => sub { push @received, $_[4] });
    await('connect', sub { my ($done) = @_; $_->connect($done) }) for $producer, $consumer;
    my $produce = sub { $producer->produce($topic, undef, $_, sub { push @reports, $_[1] // 'ok' }) for @_ };
    $consumer->subscribe($topic, group_id => "group-$topic", auto_commit_interval => 0);
    $consumer->consume;
    $produce->(map {"old $_"} 0 .. 9);
    $run->('the old topic is read', sub { @received == 10 });
    my @ends;
    $consumer->commit(sub { push @ends, $_[0] // 'ok' });
    $run->('and committed', sub { @ends == 1 });
    is $ends[0], 'ok', "$version: without an error";

    for my $round (1 .. 3) {
        (@received, @reports) = ();
        $delete->();
        $create->();
        # More than there was: the old position is in the middle of the new topic.
        $produce->(map {"new $round $_"} 0 .. 19);
        $run->("round $round: all is produced", sub { @reports == 20 });
        is_deeply [grep { $_ ne 'ok' } @reports], [], "$version: without an error";
        $run->("round $round: all is read", sub { @received >= 20 });
        is_deeply \@received, [map {"new $round $_"} 0 .. 19], "$version: once, in order, from the beginning";
        my $before = @ends;
        $consumer->commit(sub { push @ends, $_[0] // 'ok' });
        $run->("round $round: committed", sub { @ends > $before });
        is $ends[-1], 'ok', "$version: without an error";
        my $committed = await('committed', sub { my ($done) = @_; $consumer->committed(sub { $done->($_[0]) }) });
        is $committed->{"$topic:0"}, 20, "$version: the position in the new topic";
    }
    # That the topic was not there for a moment.
    my @other = grep { !/UNKNOWN_TOPIC_OR_PARTITION/ } @errors;
    is_deeply \@other, [], "$version: on_error has nothing else to tell" or diag join "\n", @other;
    ok scalar(grep {/was deleted and created anew/} @notices), "$version: a notice" or diag join "\n", @notices;
    my ($spoken) = map { [map { $conn->api_versions->{$_} } 0, 1, 8, 9] } 1;
    note "$version speaks Produce, Fetch, OffsetCommit, OffsetFetch up to @$spoken";
    $_->close for $producer, $consumer;
    $conn->disconnect;
}
done_testing;
