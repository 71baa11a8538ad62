#!/usr/bin/env perl

=head1 NAME

error_handling.pl - where errors arrive, and what they look like

=head1 SYNOPSIS

  KAFKA_BROKER=127.0.0.1:9092 perl eg/error_handling.pl

=head1 DESCRIPTION

Makes things go wrong on purpose, one after the other, and shows who is told: the
callback of the operation, C<on_error>, the caller by a die, or the program's
warnings. Errors are objects, which are their text where they are printed. Writes to one topic (KAFKA_TOPIC, C<ev-kafka-example> by default).

=cut

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../blib/lib", "$Bin/../blib/arch";    # in a checkout that was built

use EV;
use EV::Kafka;
use IO::Socket::INET;

my $brokers = $ENV{KAFKA_BROKER} || '127.0.0.1:9092';
my $topic   = $ENV{KAFKA_TOPIC}  || 'ev-kafka-example';

$| = 1;

# Wrong arguments die at once, before anything is sent.
eval { EV::Kafka->new(brokers => $brokers, ack => 1); 1 } or print "1. wrong option: $@";

# Nobody listens on this port: no operation is to blame, so on_error is told.
{
    my $unused = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!\n";
    my $port   = $unused->sockport;
    close $unused;
    my $kafka = EV::Kafka->new(
        brokers  => "127.0.0.1:$port",
        errors   => 'object',
        on_error => sub {
            my ($error) = @_;
            print "2. no broker, on_error: $error\n";
            print "   it is tried again\n" if $error->retriable && !$error->fatal;
            EV::break;
        },
    );
    $kafka->connect;
    EV::run;
}

# What happened to a message is told to its callback, and to nobody else.
my $kafka = EV::Kafka->new(
    brokers  => $brokers,
    errors   => 'object',
    on_error => sub { print STDERR "unexpected, on_error: $_[0]\n" },
);
wait_for(sub { $kafka->connect(@_) });

my (undef, $error) = produce('x' x 2_000_000);
print "3. a message too large: $error\n";
print '   the broker has answered, with code ', $error->code, ' ', $error->name, "\n" if defined $error->code;
printf "   that was %s of %s:%s at broker %s\n", map { $error->$_ } qw(operation topic partition broker);
print '   sending it again ', ($error->retriable ? 'may help' : 'does not help'), "\n";

# A die in a callback stops nothing; it becomes a warning.
{
    local $SIG{__WARN__} = sub { print "4. a callback that dies, a warning: $_[0]" };
    my $next;
    $kafka->produce($topic, undef, 'one',   { partition => 0 }, sub { die "oops\n" });
    $kafka->produce($topic, undef, 'other', { partition => 0 }, sub { $next = !defined $_[1]; EV::break });
    EV::run;
    print '   the next message was ', ($next ? 'delivered' : 'not delivered'), " all the same\n";
}

# A position that the log does not have: the callback of poll is told, and the
# position moves to the first message that is there.
$kafka->assign([{ topic => $topic, partition => 0, offset => 1_000_000_000_000 }]);
my ($polled) = wait_for(sub { $kafka->poll(@_) });
print "5. a position that is not there, poll: $polled\n";

# Whatever is still waiting when the client is closed hears of it.
$kafka->produce($topic, undef, 'too late', sub { print "6. closing, produce: $_[1]\n" });
wait_for(sub { $kafka->close(@_) });
eval { $kafka->produce($topic, undef, 'later still'); 1 } or print "7. a closed client: $@";
print "done\n";

# What the callback that $start gets is called with.
sub wait_for {
    my ($start) = @_;
    my ($called, @got);
    $start->(sub { $called = 1; @got = @_; EV::break });
    EV::run until $called;
    return @got;
}

sub produce {
    my ($value) = @_;
    return wait_for(sub { $kafka->produce($topic, undef, $value, { partition => 0 }, @_) });
}
