use v5.14;
use warnings;

use lib 'xt/lib';

use EV;
use POSIX ();
use Test::More;

use RealGroups qw(group_brokers described);
use RealKafka;

# Members on real Kafka whose program ends without close: the others have the partitions at
# once, and with auto_commit_interval at most the record in hand is read again.

my $RECORDS = 200;
my $VERSION = $ENV{KAFKA_VERSION} // $KafkaCluster::NEWEST;
my $brokers = group_brokers(shared_cluster($VERSION)->bootstrap);

# Reads until the record of that number, and ends there as $end says.
my $PROGRAM = <<'PROGRAM';
use v5.14;
use warnings;
use EV;
use EV::Kafka;
my ($brokers, $topic, $protocol, $interval, $last, $end) = @ARGV;
my $n = 0;
our $kafka = EV::Kafka->new(brokers => $brokers, on_message => sub {
    return if ++$n != $last;
    exit 7 if $end eq 'exit';
    die "died\n" if $end eq 'die';
    EV::break;
});
$kafka->connect(sub {
    $kafka->subscribe($topic, group_id => "$topic-g", group_protocol => $protocol, auto_commit_interval => $interval,
        session_timeout => 45_000);
});
EV::run;
PROGRAM

sub program {
    my (@arguments) = @_;
    my $pid = fork // die "fork: $!";
    exec $^X, (map {"-I$_"} grep { !ref } @INC), '-e', $PROGRAM, @arguments or POSIX::_exit(99) if !$pid;
    my $status;
    my $child;
    await('the end of the program', sub {
        my ($done) = @_;
        $child = EV::child $pid, 0, sub { $status = $_[0]->rstatus; $done->() };
    });
    return $status >> 8;
}

sub filled_topic {
    my ($name) = @_;
    my $topic = create_topic((split /,/, $brokers)[0], $name, 1);
    kcat_produce(['-b', $brokers, '-t', $topic], join '', map { "v$_\n" } 1 .. $RECORDS);
    return $topic;
}

# The first offset that the next member is given, and after how many seconds.
sub next_member {
    my ($topic, $protocol) = @_;
    my $kafka = connected_client(brokers => $brokers, on_message => sub { });
    my $begun = EV::time;
    my ($first) = await('the next member', sub {
        my ($done) = @_;
        $kafka->subscribe($topic, group_id => "$topic-g", group_protocol => $protocol,
            on_assign => sub { $done->($_[0][0]{offset}) if @{ $_[0] } });
    });
    my $took = EV::time - $begun;
    await('leaving', sub { $kafka->unsubscribe(@_) });
    $kafka->close;
    return ($first, $took);
}

for my $protocol ($VERSION ge '4' ? qw(classic consumer) : 'classic') {
    for my $case (
        ['exit', 60,  7, 150, 149],
        ['exit', 0.1, 7, 150, 149],
        ['end',  60,  0, $RECORDS, $RECORDS],
        ['exit', 0,   7, 150, undef],
    ) {
        my ($end, $interval, $status, $last, $stored) = @$case;
        subtest "$end at record $last, auto_commit_interval $interval, $protocol" => sub {
            my $topic = filled_topic('group-exit-' . join '-', $protocol, $end, $interval =~ tr/./_/r);
            is program($brokers, $topic, $protocol, $interval, $last, $end), $status, 'its exit status is its own';
            is described($VERSION, "$topic-g")->{"$topic:0"}, $stored,
                defined $stored ? 'what was handled is committed' : 'nothing is committed unasked';
            my ($first, $took) = next_member($topic, $protocol);
            is $first, $stored // 0, 'there the next member begins' if defined $stored;
            cmp_ok $took, '<', 20, 'long before the session of the first would have ended';
        };
    }
}

done_testing;
