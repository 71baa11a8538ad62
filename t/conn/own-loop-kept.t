# What is given a loop of the program's own keeps the loop, whatever becomes of the variable that it was given.
use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Scalar::Util qw(weaken);
use ConnPeer qw(free_port);

my %make = (
    'a connection' => sub { EV::Kafka::Conn::_new('EV::Kafka::Conn', $_[0]) },
    'a client'     => sub { EV::Kafka->new(brokers => '127.0.0.1:' . free_port(), loop => $_[0], on_error => sub { }) },
    'a cluster'    => sub { EV::Kafka::Mock->new(loop => $_[0]) },
);
# The ways in which programs lose what a variable refers to.
my %lose = (
    'undef'          => sub { undef $_[0] },
    'another value'  => sub { $_[0] = 'text' },
    'another loop'   => sub { $_[0] = EV::Loop->new },
    'another object' => sub { $_[0] = bless {}, 'Other' },
);

for my $what (sort keys %make) {
    for my $how (sort keys %lose) {
        my $loop = EV::Loop->new;
        weaken(my $kept = $loop);
        my $object = $make{$what}->($loop);
        $lose{$how}->($loop);
        ok $kept, "$what keeps its loop when the variable gets $how";
        if ($object->can('connect')) {
            my $ended;
            $object->isa('EV::Kafka::Conn') ? $object->on_error(sub { $ended = 1 }) : ($object->{cfg}{on_error} = sub { $ended = 1 });
            $object->isa('EV::Kafka::Conn') ? $object->connect('127.0.0.1', free_port(), 5) : $object->connect;
            $kept->run(EV::RUN_ONCE) until $ended;
            pass "$what lives on it";
        }
        undef $object;
        ok !$kept, "$what lets it go in the end";
    }
}

done_testing;
