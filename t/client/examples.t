use strict;
use warnings;

use lib 't/lib';

use Cwd qw(getcwd);
use EV::Kafka::Mock;
use Test::More;

use ExampleTest;
use TestKafka qw(wait_until);

# The examples of connections, and of errors, do what they say.

subtest 'low_level.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my ($broker, $other) = $mock->brokers;
    $mock->create_topic(t => 1);
    $mock->set_leader(t => 0, 1);
    $mock->append(t => 0, { key => 'before', value => 'v' });
    my $output = output_of('low_level', {
        KAFKA_HOST => $broker->{host}, KAFKA_PORT => $broker->{port}, KAFKA_TOPIC => 't',
    });
    like $output, qr/^connected to 127\.0\.0\.1:$broker->{port}, which speaks \d+ kinds of requests$/m, 'connects';
    like $output, qr/^t, partition 0, is led by broker 1 at 127\.0\.0\.1:$other->{port}$/m, 'finds the leader';
    like $output, qr/^written at offset 1$/m, 'produces';
    like $output, qr/^read at offset 1: key = hello from a single connection\n  header from: eg.low_level\.pl$/m, 'fetches';
    like $output, qr/^done\n\z/m, 'and that is all';
    is_deeply [map { $_->{value} } $mock->records(t => 0)], ['v', 'hello from a single connection'], 'it was written';
    wait_until { !$mock->connections } 'both connections to be closed';
};

subtest 'low_level.pl and a broker that is not there' => sub {
    my $mock = EV::Kafka::Mock->new;
    my ($broker) = $mock->brokers;
    $mock->stop_broker(0);
    my ($status, $output) = example('low_level', { KAFKA_HOST => $broker->{host}, KAFKA_PORT => $broker->{port} });
    is $status >> 8, 1, 'exit status';
    like $output, qr/^127\.0\.0\.1:$broker->{port}: connect: Connection refused$/, 'says why';
};

subtest 'admin.pl' => sub {
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    my ($broker, $other) = $mock->brokers;
    $mock->create_topic(mine => 1);
    my $output = output_of('admin', { KAFKA_BROKER => "$broker->{host}:$broker->{port}", KAFKA_TOPIC => 'new' });
    like $output, qr/^broker 0 at 127\.0\.0\.1:$broker->{port}.*\nbroker 1 at 127\.0\.0\.1:$other->{port}.*\n1 topics$/m,
        'lists brokers and topics';
    is scalar(() = $output =~ /, the controller$/mg), 1, 'one is the controller';
    like $output, qr/^create new: done\ncreate new again: TOPIC_ALREADY_EXISTS\b/m, 'creates, once';
    like $output, qr/^describe new:\n(?:  partition [0-2]: leader [01]\n){3}delete new: done\n\z/m, 'describes and deletes';
    is_deeply [$mock->topics], ['mine'], 'and leaves what was there';
};

subtest 'admin.pl and a topic that exists' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(mine => 1);
    my ($status, $output) = example('admin', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 'mine' });
    is $status >> 8, 1, 'exit status';
    like $output, qr/^create mine: TOPIC_ALREADY_EXISTS\b.*\n\z/m, 'is refused';
    is_deeply [$mock->topics], ['mine'], 'and not deleted';
};

subtest 'reconnect.pl' => sub {
    my $mock = EV::Kafka::Mock->new;
    my %environment = (KAFKA_BROKER => $mock->bootstrap, KAFKA_COUNT => 4, KAFKA_INTERVAL => 0.01);
    my $output = output_of('reconnect', \%environment, sub {
        my ($line) = @_;
        my ($broker) = $mock->brokers;
        if    ($line =~ /^answer 1 /)              { $mock->fault(api => 'Metadata', drop => 1) }
        elsif ($line =~ /^answer 2 /)              { $mock->stop_broker(0) }
        elsif ($line eq 'error: connect: Connection refused') { $mock->start_broker(0) unless $broker->{up} }
    });
    like $output, qr/^connected\nanswer 1 of 4: 1 brokers\n/, 'asks';
    like $output, qr/^not answered: connection closed by broker\ndisconnected\nconnected\nanswer 2 of 4: 1 brokers$/m,
        'comes back after a connection that was closed';
    like $output, qr/^answer 2 .*\n(?:not answered: .*\n)?disconnected\n(?:error: connect: Connection refused\ndisconnected\n)+connected\nanswer 3 /m,
        'comes back after a broker that was away';
    like $output, qr/^answer 3 .*\nanswer 4 .*\ndisconnected\ndone\n\z/m, 'and ends on purpose';
};

subtest 'reconnect.pl and a broker that stays away' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->stop_broker(0);
    my ($status, $output) = example('reconnect', { KAFKA_BROKER => $mock->bootstrap, KAFKA_PATIENCE => 3 });
    is $status >> 8, 1, 'exit status';
    like $output, qr/\A(?:error: connect: Connection refused\ndisconnected\n)+no answer for 3 s, giving up\n\z/, 'gives up';
};

subtest 'error_handling.pl' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic(t => 1);
    my $output = output_of('error_handling', { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 't' });
    like $output, qr/^1\. wrong option: unknown option\(s\): ack \(did you mean 'acks'\?\) at /m, 'a croak';
    like $output, qr/^2\. no broker, on_error: \S/m, 'on_error';
    like $output, qr/^3\. a message too large: \S.*\n   the broker has answered, with code 10 MESSAGE_TOO_LARGE$/m,
        'an error of an operation';
    like $output, qr/^   that was Produce of t:0 at broker 0\n   sending it again does not help$/m, 'and what it knows';
    like $output, qr/^4\. a callback that dies, a warning: .*produce callback error: oops\n   the next message was delivered/m,
        'a warning';
    like $output, qr/^5\. a position that is not there, poll: .*OFFSET_OUT_OF_RANGE/m, 'an error of poll';
    like $output, qr/^6\. closing, produce: client closed$/m, 'closing';
    like $output, qr/^7\. a closed client: EV::Kafka: client is closed at .*\ndone\n\z/m, 'closed';
    is_deeply [map { $_->{value} } $mock->records(t => 0)], ['one', 'other'], 'what was written';
};

subtest 'all of them' => sub {
    my $readme = do { local (@ARGV, $/) = 'README.pod'; <> };
    my $folder = getcwd();
    for my $file (sort glob 'eg/*.pl') {
        my $program = do { local (@ARGV, $/) = $file; <> };
        my ($name) = $file =~ m{([^/]+)\z};
        is scalar(() = $readme =~ /^=item \* F<\Q$file\E>: \S/mg), 1, "$file has its line in README.pod";
        like $program, qr/^=head1 NAME\n\n\Q$name\E - /m, 'and a name';
        unlike $program, qr/on_error\s*=> sub \{[^}\n]*\b(?:exit|die|croak)\b/, 'what passes by itself does not end it';

        # Nobody names our build, and another folder is the current one.
        next if !-e 'blib/arch/auto/EV/Kafka' || $program =~ /^use (?:AnyEvent|Future::AsyncAwait);/m && !eval { require AnyEvent; require Future::AsyncAwait; 1 };
        my $said = qx(cd / && PERL5LIB= $^X -c '$folder/$file' 2>&1);
        is $said, "$folder/$file syntax OK\n", 'and compiles from a checkout';
    }
};

done_testing;
