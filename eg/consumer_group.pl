#!/usr/bin/env perl

=head1 NAME

consumer_group.pl - a member of a consumer group

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 KAFKA_GROUP_ID=readers perl eg/consumer_group.pl

=head1 DESCRIPTION

Start it several times: the members share the partitions of a topic (KAFKA_TOPIC,
C<ev-kafka-example> by default), and whenever one comes or goes they share them anew.
Each prints what it is given, what is taken away, and the messages it gets, until it
has seen KAFKA_LIMIT of them or is interrupted. The group remembers how far it has
come.

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;

my $topic = $ENV{KAFKA_TOPIC}    || 'ev-kafka-example';
my $group = $ENV{KAFKA_GROUP_ID} || 'ev-kafka-example';
my $limit = $ENV{KAFKA_LIMIT}    || 9**15;

$| = 1;

my $seen  = 0;
my $kafka = EV::Kafka->new(
    brokers    => $ENV{KAFKA_BROKER} || '127.0.0.1:9092',
    errors     => 'object',
    on_error   => \&failed,
    on_message => \&message,
);

my $interrupt = EV::signal INT => \&finish;

$kafka->connect(sub {
    $kafka->subscribe($topic,
        group_id  => $group,
        on_assign => sub { print 'given: ', partitions($_[0]), "\n" },
        on_revoke => sub { print 'taken: ', partitions($_[0]), "\n" },

        # So that little is read again should this program end without leaving.
        auto_commit_interval => 5,

        # Partitions that stay with this member keep flowing while others move.
        assignors => ['cooperative-sticky'],
    );
});
EV::run;
print "$seen messages\n";

# Of what passes the client takes care itself. A membership that has ended does not come back.
sub failed {
    my ($error) = @_;
    print STDERR "kafka: $error\n";
    exit 1 if $error->fatal;
}

sub partitions {
    my ($partitions) = @_;
    return join(', ', sort map { "$_->{topic}:$_->{partition}" } @$partitions) || 'nothing';
}

sub message {
    my ($topic, $partition, $offset, $key, $value) = @_;
    return if $seen == $limit;
    print "$topic:$partition \@ $offset  ", $key // '(no key)', ' = ', $value // '(no value)', "\n";
    finish() if ++$seen == $limit;
}

# Leaving tells the others at once, instead of after the session timeout, and
# commits how far this member has come.
sub finish {
    $kafka->unsubscribe(sub {
        $kafka->close(sub { EV::break });
    });
}
