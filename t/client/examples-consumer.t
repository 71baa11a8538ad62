use strict;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use ExampleTest;
use TestKafka qw(wait_until);

# The examples that consume do what they say.

subtest 'consume.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 2);
    $mock->append(t => 0, { key => 'k', value => 'one' }, { value => 'two' });
    $mock->append(t => 1, { key => 'k', value => undef });
    my %environment = (KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_LIMIT => 5);
    # Two brokers answer in either order.
    my $left = 2;
    my $output = output_of('consume', \%environment, sub {
        return unless $_[0] =~ /no value|two/ && !--$left;
        $mock->append(t => 1, map { { key => $_, value => 'later' } } 'a' .. 'c');
    });
    like $output, qr/^t:0 \@ 0  k = one\nt:0 \@ 1  \(no key\) = two$/m, 'what was there';
    like $output, qr/^t:1 \@ 0  k = \(no value\)$/m,                     'in all partitions';
    like $output, qr/^t:1 \@ 1  a = later\nt:1 \@ 2  b = later$/m,       'what came';
    like $output, qr/\n5 messages\n\z/,                                  'until there were enough';
};

subtest 'consume.pl, interrupted' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    $mock->append(t => 0, { key => 'k', value => 'one' });
    my $output = output_of('consume', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' }, sub {
        my ($line, $pid) = @_;
        kill INT => $pid if $line =~ /one/;
    });
    is $output, "t:0 \@ 0  k = one\n1 messages\n", 'ends in an orderly way';
    wait_until { !$mock->connections } 'the connections to be closed';
};

subtest 'tail.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic(t => 2);
    $mock->append(t => $_, { key => 'k', value => 'old' }) for 0, 1;
    my %environment = (KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't', KAFKA_LIMIT => 2);
    my $output = output_of('tail', \%environment, sub {
        my ($line) = @_;
        if ($line =~ /^following/) {
            $mock->append(t => 0, { key => 'k', value => 'new', timestamp => 1_700_000_000_042 });
        }
        elsif ($line =~ /new/) {
            $mock->append(t => 1, { value => 'newer' });
        }
    });
    like $output, qr/\Afollowing 2 partitions of t\n/,                       'says from when';
    like $output, qr/^\d\d:\d\d:20\.042  0 \@ 1  k = new\n.*  1 \@ 1  \(no key\) = newer\n\z/m, 'only what comes after';
};

subtest 'anyevent.pl' => sub {
    plan skip_all => 'AnyEvent is not installed' unless eval { require AnyEvent; 1 };
    my $mock = EV::Kafka::Mock->new(brokers => 2, partitions => 1);
    my $output = output_of('anyevent', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    is $output, <<'END', 'there and back';
connected to 2 brokers
written to partition 0 at offset 0
read from partition 0 at offset 0: hello from AnyEvent
END
};

subtest 'anyevent.pl and a broker that is not there' => sub {
    plan skip_all => 'AnyEvent is not installed' unless eval { require AnyEvent; 1 };
    my $mock = EV::Kafka::Mock->new;
    $mock->stop_broker(0);
    my ($status, $output) = example('anyevent', { KAFKA_BROKER => $mock->bootstrap, KAFKA_PATIENCE => 1 });
    isnt $status, 0, 'does not end well, but ends';
    like $output, qr/^kafka: connect: .*Connection refused\n.*giving up after 1 s at /m, 'says why';
};

subtest 'request_reply.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my $output = output_of('request_reply', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    is_deeply [sort split /\n/, $output], ['drawer: reward', 'lager: regal', 'stressed: desserts'], 'each is answered';
    is_deeply counts($mock, 't-replies'), [3, 0, 0, 0], 'where the caller said';
};

done_testing;
