use v5.14;
use warnings;

# A client that is not ours takes EV::Kafka::Mock for a broker: librdkafka, as kcat.

use EV;
use lib 'xt/lib';
use EV::Kafka::Mock;
use File::Temp;
use RealKafka;
use Test::More;

# Starts kcat, whose output goes to the hash while the loop runs.
sub start_kcat {
    my (@arguments) = @_;
    my $pid = open my $output, '-|', 'kcat', @arguments or die "kcat: $!";
    my $run = { pid => $pid, output => $output, text => '' };
    $run->{watcher} = EV::io $output, EV::READ, sub {
        return if sysread $output, $run->{text}, 65536, length $run->{text};
        delete $run->{watcher};
        $run->{ended}->() if $run->{ended};
    };
    return $run;
}

sub ended {
    my ($run) = @_;
    await('the end of kcat', sub { my ($done) = @_; $run->{watcher} ? ($run->{ended} = $done) : $done->() });
    close $run->{output};
    return $?;
}

# Runs the loop until the condition holds.
sub reached {
    my ($what, $condition) = @_;
    my $watch;
    await($what, sub {
        my ($done) = @_;
        $watch = EV::timer 0, 0.01, sub { $done->() if $condition->() };
    });
    return;
}

my $mock = EV::Kafka::Mock->new(brokers => 3, partitions => 4);
$mock->create_topic('t');

my @lines = map { "k$_:v$_" } 1 .. 500;
my $input = File::Temp->new;
print {$input} map { "$_\n" } @lines;
close $input;

my $producer = start_kcat('-P', '-b', $mock->bootstrap, '-t', 't', '-K', ':', '-l', "$input",
    '-X', 'enable.idempotence=true', '-X', 'batch.num.messages=20');
is ended($producer), 0, 'an idempotent producer is content';
ok $mock->request_count('InitProducerId'), 'with a producer id';
my @stored = map { "$_->{key}:$_->{value}" } map { $mock->records(t => $_) } 0 .. 3;
is_deeply [sort @stored], [sort @lines], 'everything is there once';

my @consumers = map {
    start_kcat('-b', $mock->bootstrap, '-G', 'g', '-u', '-q', '-f', "%k:%s\\n",
        '-X', 'auto.offset.reset=earliest', '-X', 'session.timeout.ms=6000', '-X', 'heartbeat.interval.ms=100', 't')
} 1, 2;
reached('two members', sub {
    my $group = $mock->group('g') or return;
    return $group->{state} eq 'Stable' && 2 == grep { @{ $_->{assigned} } } @{ $group->{members} };
});
my @assigned = map { @{ $_->{assigned} } } @{ $mock->group('g')->{members} };
is_deeply [sort @assigned], ['t:0', 't:1', 't:2', 't:3'], 'two members share the partitions';
reached('all records', sub { 500 <= map { split /\n/, $_->{text} } @consumers });
my %seen = map { $_ => 1 } map { split /\n/, $_->{text} } @consumers;
is_deeply [sort keys %seen], [sort @lines], 'and read everything';

kill TERM => $consumers[0]{pid};
ended($consumers[0]);
reached('one member', sub {
    my $group = $mock->group('g');
    return $group->{state} eq 'Stable' && 1 == @{ $group->{members} } && 4 == @{ $group->{members}[0]{assigned} };
});
pass 'one that leaves hands its partitions to the other';
kill TERM => $consumers[1]{pid};
ended($consumers[1]);
reached('nobody', sub { $mock->group('g')->{state} eq 'Empty' });
my $offsets = $mock->offsets('g');
is_deeply { map { $_ => $offsets->{$_}{offset} } keys %$offsets },
    { map { ("t:$_" => $mock->high_watermark(t => $_)) } 0 .. 3 }, 'positions are stored at the ends';

done_testing;
