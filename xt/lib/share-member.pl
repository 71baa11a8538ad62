# A member of a share group in a process of its own, for GroupMember.pm: what happens is printed, one line an event; lines that
# are read are commands. What becomes of a record its value says: its last digit, and how often it came.

use v5.14;
use warnings;

use EV;
use EV::Kafka;
use JSON::PP qw(decode_json);

my ($brokers, $topics, $options, $behaviour) = map { decode_json($_) } @ARGV;
$| = 1;

my $kafka = EV::Kafka->new(
    brokers   => $brokers->[0],
    on_error  => sub { print "error @_\n" },
    on_notice => sub { print "notice $_[0]\n" },
);

# Held until the process ends.
my @held;

sub handle {
    my ($record) = @_;
    my $value = $record->value;
    my ($done) = ('accept');
    if    ($behaviour->{holds})                               { $done = 'hold' }
    elsif ($value =~ /7\z/ && $record->delivery_count == 1)   { $done = 'release' }
    elsif ($value =~ /3\z/)                                   { $done = 'reject' }
    elsif ($value =~ /5\z/ && $record->delivery_count == 1 && !$options->{explicit}) { $done = 'die' }
    printf "record %s:%d@%d %s %d %s\n", $record->topic, $record->partition, $record->offset, $value, $record->delivery_count, $done;
    if    ($done eq 'hold')   { push @held, $record }
    elsif ($done eq 'die')    { die "as it was told\n" }
    elsif ($done ne 'accept' || $options->{explicit}) { $record->$done }
    return;
}

my %COMMAND = (
    leave => sub {
        $kafka->unsubscribe_share(sub {
            print "left\n";
            $kafka->close(sub { EV::break });
        });
    },
    close => sub { $kafka->close(sub { print "closed\n"; EV::break }) },
);

my $input = '';
my $commands = EV::io(\*STDIN, EV::READ, sub {
    sysread STDIN, $input, 4096, length $input or return EV::break;
    $COMMAND{$1}->() while $input =~ s/\A(\w+)\n//;
});
local $SIG{__WARN__} = sub { print "warning $_[0]" if $_[0] !~ /as it was told/ };

$kafka->connect(sub {
    $kafka->subscribe_share(@$topics, %$options,
        on_record      => \&handle,
        on_assign      => sub { print 'assign ', join(' ', map {"$_->{topic}:$_->{partition}"} @{ $_[0] }), "\n" },
        on_acknowledge => sub { my ($about, $error) = @_; print "acknowledged $about->{topic}:$about->{partition} @{ $about->{offsets} } ", $error // 'ok', "\n" },
    );
});
EV::run;
