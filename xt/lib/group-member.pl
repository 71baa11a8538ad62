# A member of a consumer group in a process of its own, for GroupMember.pm:
# what happens is printed, one line an event; lines that are read are commands.

use v5.14;
use warnings;

use EV;
use EV::Kafka;
use JSON::PP qw(decode_json);

my ($brokers, $topics, $options, $behaviour) = map { decode_json($_) } @ARGV;
$| = 1;

sub partitions { return join ' ', map { "$_->{topic}:$_->{partition}\@$_->{offset}" } @{ $_[0] } }

my $delay = $behaviour->{seconds_per_record};
my $kafka = EV::Kafka->new(
    brokers          => $brokers->[0],
    metadata_refresh => $behaviour->{metadata_refresh} // 300,
    on_error         => sub { print "error @_\n" },
    on_message       => sub {
        my ($topic, $partition, $offset, $key, $value) = @_;
        select undef, undef, undef, $delay if $delay;
        print "record $topic:$partition\@$offset $value\n";
    },
);

my %COMMAND = (
    commit    => sub { $kafka->commit(sub { print 'committed ', $_[0] // 'ok', "\n" }) },
    committed => sub {
        $kafka->committed(sub {
            my ($offsets, $error) = @_;
            print 'offsets ', $error // join(' ', map { "$_\@" . ($offsets->{$_} // '-') } sort keys %$offsets), "\n";
        });
    },
    leave => sub {
        $kafka->unsubscribe(sub {
            print 'left ', $_[0] // 'ok', "\n";
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

$kafka->connect(sub {
    $kafka->subscribe(@$topics, %$options,
        on_assign => sub { print 'assign ', partitions($_[0]), "\n" },
        on_revoke => sub { print 'revoke ', partitions($_[0]), "\n" },
    );
});
EV::run;
