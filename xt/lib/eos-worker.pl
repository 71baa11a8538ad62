# One of those that share the work of copying a topic exactly once, in a process of
# its own, for GroupMember.pm: a member of the group and a transactional producer.
# What happens is printed, one line an event; lines that are read are commands.

use v5.14;
use warnings;

use EV;
use EV::Kafka;
use JSON::PP qw(decode_json);

my ($brokers, $in, $out, $id, $options) = map { decode_json("[$_]")->[0] } @ARGV;
$| = 1;

# Seconds of work in one transaction.
my $INTERVAL = 0.1;

sub partitions { return join ' ', map { "$_->{topic}:$_->{partition}\@$_->{offset}" } @{ $_[0] } }

my ($read, $ending, $leaving, $left) = (0);

my $kafka;
$kafka = EV::Kafka->new(
    brokers          => $brokers,
    transactional_id => $id,
    isolation_level  => 'read_committed',
    on_error         => sub { print "error $_[0]\n" },
    on_message       => sub {
        my ($topic, $partition, $offset, $key, $value) = @_;
        print "reading\n" unless $read++;
        $kafka->produce($out, $key, $value);
    },
);
my $timer = EV::timer $INTERVAL, $INTERVAL, \&end_transaction;

# Leaves the group whatever the transaction is doing.
sub leave {
    $leaving = 1;
    $kafka->unsubscribe(sub {
        print 'left ', $_[0] // 'ok', "\n";
        $left = 1;
        end_transaction();
    });
    return;
}

my $input = '';
my $commands = EV::io(\*STDIN, EV::READ, sub {
    sysread STDIN, $input, 4096, length $input or return EV::break;
    leave() if $input =~ s/\Aleave\n//;
});

$kafka->begin_transaction;
$kafka->connect(sub {
    $kafka->subscribe($in, auto_commit => 0, %$options,
        on_assign => sub { print 'assign ', partitions($_[0]), "\n" },
        on_revoke => sub { print 'revoke ', partitions($_[0]), "\n" },
    );
});
EV::run;

sub end_transaction {
    return if $ending || !$read && !$leaving;
    return stop() if $left && !$read;
    $ending = 1;
    $kafka->send_offsets_to_transaction($options->{group_id}, sub { $kafka->commit_transaction(\&committed) });
    return;
}

sub committed {
    my (undef, $error) = @_;
    if (!defined $error) {
        print "committed $read\n" if $read;
        return next_transaction();
    }
    print "aborted $read: $error\n";
    eval { $kafka->abort_transaction(\&next_transaction); 1 } or die "fatal: $@";
    return;
}

sub next_transaction {
    my (undef, $error) = @_;
    die "fatal: $error\n" if defined $error;
    ($read, $ending) = (0, 0);
    return stop() if $left;
    $kafka->begin_transaction;
    return;
}

sub stop {
    undef $timer;
    $kafka->close(sub { EV::break });
    return;
}
