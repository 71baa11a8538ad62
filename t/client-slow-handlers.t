use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Time::HiRes ();
use TestKafka;

# Handlers that block for longer than a request may take: what was asked before them has
# not waited for its answer meanwhile.

use constant { TIMEOUT => 0.3, WAIT_MS => 10 };

for my $handler (qw(on_message on_batch)) {
    for my $how (qw(consuming poll group)) {
        subtest "$handler, $how" => sub {
            my $mock = EV::Kafka::Mock->new(brokers => 2);
            $mock->create_topic(t => 4);
            $mock->append(t => $_, { value => 'a' }) for 0 .. 3;
            $mock->append(t => $_, { value => 'b' }) for 0 .. 3;
            my (%received, @noise);
            my $each = sub {
                my ($partition, $offset) = @_;
                $received{"$partition:$offset"}++;
                Time::HiRes::sleep(2 * TIMEOUT) if $offset == 0 && $partition < 2;
            };
            my $kafka = connected(brokers => $mock->bootstrap, request_timeout => TIMEOUT, fetch_max_wait_ms => WAIT_MS,
                on_notice  => sub { push @noise, $_[0] },
                $handler => $handler eq 'on_message'
                    ? sub { $each->(@_[1, 2]) }
                    : sub { my (undef, $partition, $rows) = @_; $each->($partition, $_->[0]) for @$rows });
            my $running;
            if ($how eq 'group') { $kafka->subscribe('t', group_id => 'g', session_timeout => 10_000) }
            else {
                $kafka->assign([map { { topic => 't', partition => $_ } } 0 .. 3]);
                if ($how eq 'poll') { $running = EV::timer 0, 0.01, sub { $kafka->poll } }
                else                { $kafka->_start_consuming }
            }
            wait_until { keys %received == 8 } 'all records';
            my $fetches = $mock->request_count('Fetch');
            wait_until { $mock->request_count('Fetch') > $fetches + 2 } 'more fetches';
            is scalar(grep { $_ > 1 } values %received), 0, 'nothing comes twice';
            is_deeply [errors($kafka), @noise], [], 'and nothing is called late';
        };
    }
}

done_testing;
