use v5.14;
use warnings;

# What script/demo runs: 1000 keyed messages with headers go to a topic and
# come back. On the broker that KAFKA_BROKER names, or on one in this process.

use EV;
use EV::Kafka;

my $MESSAGES = 1000;

# Where no broker answers, say so instead of waiting for ever.
my $DEADLINE_SECONDS = 60;

my ($brokers, $mock) = $ENV{KAFKA_BROKER};
if (defined $brokers) {
    say "broker: $brokers";
}
else {
    require EV::Kafka::Mock;
    $mock    = EV::Kafka::Mock->new;
    $brokers = $mock->bootstrap;
    say "broker: EV::Kafka::Mock, a cluster in this process, at $brokers";
}
my $topic = "demo-$$-" . time;

my %sent;    # value => key, of what has not come back yet
my ($produced, $consumed) = (0, 0);

my $kafka = EV::Kafka->new(
    brokers    => $brokers,
    acks       => -1,
    on_error   => sub { die "kafka: @_\n" },
    on_message => \&received,
);
my $deadline = EV::timer $DEADLINE_SECONDS, 0, sub { finish() };
my $poll_timer;

$kafka->connect(\&produce);
EV::run;

sub produce {
    for my $i (1 .. $MESSAGES) {
        my ($key, $value) = ('user-' . $i % 100, "order number $i");
        $sent{$value} = $key;
        $kafka->produce($topic, $key, $value, { headers => { source => 'demo', number => $i } }, sub {
            my ($result, $error) = @_;
            die "message $i: $error\n" if defined $error;
            $produced++;
        });
    }
    $kafka->flush(\&consume);
}

# How many partitions the topic has is known now; read all of them.
sub consume {
    $kafka->offsets_for($topic, sub {
        my ($offsets, $error) = @_;
        die "offsets: $error\n" if defined $error;
        say "\ntopic $topic, ", scalar keys %$offsets, ' partitions:';
        say "  partition $_: offsets $offsets->{$_}{earliest} to $offsets->{$_}{latest}"
            for sort { $a <=> $b } keys %$offsets;
        say "\nsome of what comes back:";
        $kafka->assign([map { { topic => $topic, partition => $_, offset => 0 } } keys %$offsets]);
        $poll_timer = EV::timer 0, 0.05, sub { $kafka->poll };
    });
}

sub received {
    my ($topic, $partition, $offset, $key, $value, $headers) = @_;
    return unless defined $sent{$value} && $sent{$value} eq $key && "order number $headers->{number}" eq $value;
    delete $sent{$value};
    $consumed++;
    printf "  partition %d offset %-4d %-8s => %-18s (%s)\n", $partition, $offset, $key, $value,
        join ', ', map { "$_: $headers->{$_}" } sort keys %$headers
        if $headers->{number} % 125 == 0;
    finish() if $consumed == $MESSAGES;
}

sub finish {
    undef $_ for $poll_timer, $deadline;
    $kafka->close(sub {
        say "\nproduced $produced, consumed $consumed, lost ", scalar keys %sent;
        exit(%sent ? 1 : 0);
    });
}
