use strict;
use warnings;
use Test::More;

BEGIN {
    plan skip_all => 'AnyEvent is not installed' unless eval { require AnyEvent; 1 };
}

use lib 't/lib';
use EV;
use AnyEvent;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

is AnyEvent::detect(), 'AnyEvent::Impl::EV', 'AnyEvent runs on EV';

my $mock  = EV::Kafka::Mock->new;
my $done  = AnyEvent->condvar;
my $guard = AnyEvent->timer(after => 30, cb => sub { $done->croak('took too long') });

my $kafka;
$kafka = client(
    brokers    => $mock->bootstrap,
    on_message => sub { $done->send([@_[0, 3, 4]]) },
);
my $poll;
$kafka->connect(sub {
    $kafka->produce('t', 'k', 'v', { partition => 0 }, sub {
        my (undef, $error) = @_;
        return $done->croak($error) if $error;
        $kafka->assign([{ topic => 't' }]);
        $poll = AnyEvent->timer(after => 0, interval => 0.01, cb => sub { $kafka->poll });
    });
});
is_deeply $done->recv, ['t', 'k', 'v'], 'a message goes out and comes back while a condvar is waited for';

undef $poll;
$kafka->close;
done_testing;
