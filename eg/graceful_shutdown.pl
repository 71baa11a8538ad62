#!/usr/bin/env perl

=head1 NAME

graceful_shutdown.pl - a consumer and producer that ends without losing or leaving anything

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/graceful_shutdown.pl
  kill -TERM ...

=head1 DESCRIPTION

A service as it may run under systemd: it reads a topic (KAFKA_TOPIC,
C<ev-kafka-example> by default) as a member of a group, writes to another one
(KAFKA_TARGET, C<ev-kafka-example-out>), and on SIGTERM or SIGINT ends in order:

=over 4

=item 1.

what was produced is flushed, so that nothing is committed whose result is not there;

=item 2.

what was consumed is committed;

=item 3.

the group is left, so that others go on at once;

=item 4.

the client is closed, and the program ends with status 0.

=back

A second signal ends it at once, with status 1.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $source = $ENV{KAFKA_TOPIC}    || 'ev-kafka-example';
my $target = $ENV{KAFKA_TARGET}   || 'ev-kafka-example-out';
my $group  = $ENV{KAFKA_GROUP_ID} || 'ev-kafka-example';

$| = 1;

my ($consumed, $produced, $stopping) = (0, 0);
my $kafka = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    on_error   => sub { print STDERR "kafka: $_[0]\n" },
    on_message => \&message,
);

my @signals = map { EV::signal $_ => \&shut_down } qw(INT TERM);

$kafka->connect(sub {
    $kafka->subscribe($source,
        group_id    => $group,
        auto_commit => 0,
        on_assign   => sub { print 'ready with ', scalar @{ $_[0] }, " partitions\n" },
    );
});
EV::run;
print "$consumed consumed, $produced produced\n";

sub message {
    my ($topic, $partition, $offset, $key, $value) = @_;
    $consumed++;
    $kafka->produce($target, $key, uc($value // ''), \&delivered);
}

sub delivered {
    my ($result, $error) = @_;
    $error //= EV::Kafka::Client::error_name($result->{topics}[0]{partitions}[0]{error_code})
        if $result && $result->{topics}[0]{partitions}[0]{error_code};
    return print STDERR "not produced: $error\n" if defined $error;
    $produced++;
}

sub shut_down {
    exit 1 if $stopping++;
    print "shutting down\n";
    $kafka->pause($kafka->{cfg}{assignments});
    $kafka->flush(sub {
        my ($error) = @_;
        return give_up("flush: $error") if defined $error;
        $kafka->commit(sub {
            my ($error) = @_;
            return give_up("commit: $error") if defined $error;
            print "committed\n";
            $kafka->unsubscribe(sub {
                print "left the group\n";
                $kafka->close(sub { EV::break });
            });
        });
    });
}

# Without a commit the next one consumes the same messages again.
sub give_up {
    my ($error) = @_;
    print STDERR "$error\n";
    exit 1;
}
