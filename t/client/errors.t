use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest qw(member joined);
use JSON::PP;
use TestKafka;
use TransactionTest qw(producer ended);

# Errors as objects: what each kind of them knows.

my @OBJECTS = (errors => 'object');
my @FIELDS  = qw(code name retriable fatal broker topic partition operation);

sub mock {
    my (%about) = @_;
    my $mock = EV::Kafka::Mock->new(auto_create => 0, %about);
    $mock->create_topic(t => 2);
    return $mock;
}

sub object_client { my ($mock, @options) = @_; return connected(brokers => $mock->bootstrap, @OBJECTS, @options) }

# What is known of the error, as a test lists it; what is left out is undef, '' or 0.
sub knows {
    my ($error, $text, %about) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    isa_ok $error, 'EV::Kafka::Error', $text or return;
    like "$error", qr/\A\Q$text\E/, 'its text';
    my %default = (name => '', retriable => 0, fatal => 0);
    is_deeply { map { $_ => $error->$_ } @FIELDS }, { map { $_ => $about{$_} // $default{$_} } @FIELDS }, 'what it knows';
    return;
}

# What a method's callback is given, the method's name and arguments before it.
sub told {
    my ($kafka, $method, @arguments) = @_;
    my @told;
    $kafka->$method(@arguments, sub { @told = (1, @_) });
    wait_until { @told } $method;
    return @told[1 .. $#told];
}

subtest 'an object is its text' => sub {
    my $error = EV::Kafka::Error->of_code(29)->at(topic => 't');
    ok $error eq 'TOPIC_AUTHORIZATION_FAILED (code 29)', 'it equals it';
    ok $error, 'it is true';
    is "so: $error.", 'so: TOPIC_AUTHORIZATION_FAILED (code 29).', 'it can be joined';
    like $error, qr/code 29/, 'and matched';
    is length $error, length $error->text, 'and measured';
    ok !eval { die $error } && ref $@ && $@ eq $error->text, 'and thrown';
    is +JSON::PP->new->convert_blessed->encode([$error]), '["TOPIC_AUTHORIZATION_FAILED (code 29)"]', 'and be in JSON';
    is_deeply [$error->errors], [$error], 'it is the only one';
    is $error->fatal, 0, 'and not fatal';
};

subtest 'the default' => sub {
    my $mock  = mock();
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'Produce', error => 29, times => undef);
    my ($result, $error) = told($kafka, produce => 't', 'k', 'v', { partition => 0 });
    is ref \$error, 'SCALAR', 'a callback gets a string';
    $kafka->produce('t', 'k', 'v');
    wait_until { errors($kafka) } 'on_error';
    is ref \(errors($kafka))[0], 'SCALAR', 'so does on_error';
    ($result, $error) = told($kafka, 'committed');
    is ref \$error, 'SCALAR', 'and one of a method that Perl answers';
    like eval { EV::Kafka->new(brokers => 'h', errors => 'hash'); 1 } ? '' : $@, qr/option 'errors' must be text or object, not 'hash'/, 'nothing else';
};

subtest 'a broker that refuses a message' => sub {
    my $mock  = mock(brokers => 2);
    my $kafka = object_client($mock);
    $mock->fault(api => 'Produce', error => 29, times => undef);
    my %refused = (code => 29, name => 'TOPIC_AUTHORIZATION_FAILED', broker => 1, topic => 't', partition => 1, operation => 'Produce');
    my ($result, $error) = told($kafka, produce => 't', 'k', 'v', { partition => 1 });
    knows $error, 'TOPIC_AUTHORIZATION_FAILED (code 29) from t:1', %refused;
    is $result->{topics}[0]{partitions}[0]{error_code}, 29, 'the result is what it is without objects';
    $kafka->produce('t', 'k', 'v', { partition => 1 });
    wait_until { errors($kafka) } 'on_error';
    knows +(errors($kafka))[0], 'TOPIC_AUTHORIZATION_FAILED (code 29) from t:1', %refused;
    my ($errors) = told($kafka, produce_many => [map { { topic => 't', value => $_, partition => 1 } } 1 .. 2]);
    knows $_, 'TOPIC_AUTHORIZATION_FAILED', %refused for @$errors;
};

subtest 'callbacks of one batch' => sub {
    my $mock  = mock();
    my $kafka = object_client($mock, linger_ms => 5);
    $mock->fault(api => 'Produce', error => 29);
    my @errors;
    for my $i (1 .. 3) {
        $kafka->produce('t', undef, $i, { partition => 0 }, sub { push @errors, my $error = $_[1]; $_[1] = 'mine' });
    }
    wait_until { @errors == 3 } 'callbacks';
    is_deeply [map { ref && $_->code } @errors], [29, 29, 29], 'get an object each, whatever others do with theirs';
};

subtest 'a message that no broker gets' => sub {
    my $mock  = mock();
    my $kafka = object_client($mock, max_request_size => 1000);
    my ($result, $error) = told($kafka, produce => 't', 'k', 'x' x 2000, { partition => 0 });
    knows $error, $error->text, topic => 't', partition => 0, operation => 'Produce';
    like $error, qr/too large/, 'too large';
    ($result, $error) = told($kafka, produce => 'u', 'k', 'v');
    knows $error, "topic 'u' (or a leader for it) unavailable after", code => 3, name => 'UNKNOWN_TOPIC_OR_PARTITION', retriable => 1,
        topic => 'u', operation => 'Metadata';
    ($result, $error) = told($kafka, produce => 'n' x 300, 'k', 'v');
    knows $error, 'invalid topic name', topic => 'n' x 300, operation => 'Produce';
    $kafka->produce('u', 'k', 'v');
    wait_until { errors($kafka) } 'on_error';
    knows +(errors($kafka))[0], "topic 'u'", code => 3, name => 'UNKNOWN_TOPIC_OR_PARTITION', retriable => 1, topic => 'u',
        operation => 'Metadata';
};

subtest 'a message that is not sent in time' => sub {
    my $mock  = mock();
    my $kafka = object_client($mock, delivery_timeout => 0.2, linger_ms => 0);
    $mock->stop_broker(0);
    my ($result, $error) = told($kafka, produce => 't', 'k', 'v', { partition => 1 });
    knows $error, 'delivery timed out after 0.2 s: t:1', retriable => 1, topic => 't', partition => 1, operation => 'Produce';
};

subtest 'what is unsettled when the client is closed' => sub {
    my $mock  = mock();
    my $kafka = object_client($mock, linger_ms => 10_000);
    my @ends;
    $kafka->produce('t', 'k', 'v', { partition => 1 }, sub { push @ends, $_[1] });
    $kafka->flush(sub { push @ends, $_[0] });
    $mock->fault(api => 'Produce', hang => 1);
    turns();
    $kafka->produce('t', 'k', 'v', { partition => 0 }, sub { push @ends, $_[1] });
    $kafka->close;
    wait_until { @ends == 3 } 'callbacks';
    my ($of_flush) = grep { !defined $_->operation } @ends;
    knows $of_flush, 'client closed', fatal => 1;
    my ($sent, $unsent) = sort { $b cmp $a } grep { defined $_->operation } @ends;
    knows $sent, 'disconnected', retriable => 1, topic => 't', partition => 1, operation => 'Produce';
    knows $unsent, 'client closed', fatal => 1, topic => 't', partition => 0, operation => 'Produce';
};

subtest 'flush' => sub {
    my $mock  = mock();
    my $kafka = object_client($mock, flush_timeout => 0.1);
    $mock->fault(api => 'Produce', hang => 1);
    $kafka->produce('t', 'k', 'v');
    knows +(told($kafka, 'flush'))[0], 'flush timed out after 0.1 s', retriable => 1, operation => 'flush';
};

subtest 'no broker answers' => sub {
    my $kafka = client(brokers => '127.0.0.1:1', @OBJECTS);
    $kafka->connect(sub { });
    wait_until { errors($kafka) } 'on_error';
    knows +(errors($kafka))[0], 'connect: no bootstrap broker answers: 127.0.0.1:1: connect: ', retriable => 1, operation => 'Metadata';
    my @closed;
    $kafka->connect(sub { push @closed, $_[1] });
    $kafka->close;
    knows $closed[0], 'client closed', fatal => 1;
};

subtest 'a broker that is lost' => sub {
    my $mock  = mock(brokers => 2);
    my $kafka = object_client($mock);
    told($kafka, produce => 't', 'k', 'v', { partition => 1 });
    $mock->fault(api => 'Produce', drop => 1);
    my ($result, $error) = told($kafka, produce => 't', 'k', 'v', { partition => 1 });
    knows $error, 'connection closed by broker', retriable => 1, broker => 1, topic => 't', partition => 1, operation => 'Produce';
    wait_until { errors($kafka) } 'on_error';
    knows +(errors($kafka))[0], 'broker 1 (127.0.0.1:', retriable => 1, broker => 1;
};

subtest 'offsets' => sub {
    my $mock  = mock(brokers => 2);
    my $kafka = object_client($mock);
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 1, error => 29, times => undef);
    my %refused = (code => 29, name => 'TOPIC_AUTHORIZATION_FAILED', broker => 1, topic => 't', partition => 1, operation => 'ListOffsets');
    my ($found, $error) = told($kafka, offsets_for => 't');
    knows $error, 't:1: TOPIC_AUTHORIZATION_FAILED (code 29); t:1: TOPIC_AUTHORIZATION_FAILED (code 29)', %refused;
    is scalar(my @each = $error->errors), 2, 'of each lookup';
    knows $_, 't:1: TOPIC_AUTHORIZATION_FAILED', %refused for $error->errors;
    is $found->{0}{latest}, 0, 'what was found is given';
    $mock->fault(api => 'ListOffsets', topic => 't', partition => 0, error => 58, times => undef);
    ($found, $error) = told($kafka, offsets_for_times => { 't:0' => 1, 't:1' => 1 });
    knows $error, 't:0: ', topic => 't', operation => 'ListOffsets';
    is_deeply [map { $_->partition . ' ' . $_->code } $error->errors], ['0 58', '1 29'], 'each partition has its own';
    ($found, $error) = told($kafka, seek => 't', 0, 1);
    knows $error, 'not assigned', topic => 't', partition => 0;
    $kafka->assign([{ topic => 't', partition => 1, offset => 0 }]);
    ($found, $error) = told($kafka, seek => 't', 1, -1);
    knows $error, 'TOPIC_AUTHORIZATION_FAILED', %refused;
};

subtest 'fetching' => sub {
    my $mock  = mock(brokers => 2);
    my $kafka = object_client($mock, on_message => sub { });
    $mock->fault(api => 'Fetch', topic => 't', partition => 1, error => 29, times => undef);
    $kafka->assign([{ topic => 't', partition => 1, offset => 0 }]);
    $kafka->consume;
    wait_until { errors($kafka) } 'on_error';
    knows +(errors($kafka))[0], 'fetch of t:1 at offset 0: TOPIC_AUTHORIZATION_FAILED (code 29)', code => 29,
        name => 'TOPIC_AUTHORIZATION_FAILED', broker => 1, topic => 't', partition => 1, operation => 'Fetch';
};

subtest 'poll' => sub {
    my $mock  = mock();
    my $kafka = object_client($mock, on_message => sub { });
    $kafka->assign([{ topic => 't', partition => 0, offset => 7 }]);
    my ($error) = told($kafka, 'poll');
    knows $error, 'OFFSET_OUT_OF_RANGE: t:0 has no offset 7', code => 1, name => 'OFFSET_OUT_OF_RANGE', broker => 0, topic => 't',
        partition => 0, operation => 'Fetch';
    $mock->fault(api => 'Fetch', drop => 1);
    ($error) = told($kafka, 'poll');
    knows $error, 'connection closed by broker', retriable => 1, broker => 0, operation => 'Fetch';
};

subtest 'a group' => sub {
    my $mock   = mock();
    my $kafka  = object_client($mock);
    my @nobody = told($kafka, 'commit');
    knows $nobody[0], 'not subscribed to a group', operation => 'OffsetCommit';
    @nobody = told($kafka, 'committed');
    knows $nobody[1], 'not subscribed to a group', operation => 'OffsetFetch';

    my $member = joined(member($mock, client => {@OBJECTS}, auto_commit => 0));
    $mock->append(t => $_, { value => 'v' }) for 0, 1;
    $member->{kafka}->consume;
    wait_until { @{ $member->{got} } == 2 } 'messages';
    $mock->fault(api => 'OffsetCommit', topic => 't', partition => 1, error => 12);
    my %refused = (code => 12, name => 'OFFSET_METADATA_TOO_LARGE', broker => 0, topic => 't', partition => 1, operation => 'OffsetCommit');
    my ($error) = told($member->{kafka}, 'commit');
    knows $error, 'OFFSET_METADATA_TOO_LARGE (code 12) for t:1', %refused;
    $mock->fault(api => 'OffsetCommit', error => 12);
    ($error) = told($member->{kafka}, 'commit');
    knows $error, 'OFFSET_METADATA_TOO_LARGE (code 12) for t:0, t:1', %refused, partition => undef;
    knows $_, 'OFFSET_METADATA_TOO_LARGE (code 12) for t:' . $_->partition, %refused, partition => $_->partition for $error->errors;
    $mock->fault(api => 'OffsetFetch', topic => 't', partition => 0, error => 29);
    (undef, $error) = told($member->{kafka}, 'committed');
    knows $error, 'TOPIC_AUTHORIZATION_FAILED (code 29) for t:0', code => 29, name => 'TOPIC_AUTHORIZATION_FAILED', broker => 0,
        topic => 't', partition => 0, operation => 'OffsetFetch';
};

for my $case ([classic => 'Heartbeat', 'JoinGroup'], [consumer => ('ConsumerGroupHeartbeat') x 2]) {
    my ($protocol, $heartbeat, $join) = @$case;
    subtest "a membership that ends, $protocol" => sub {
        my $mock = mock(consumer_heartbeat_interval_ms => 30);
        $mock->fault(api => $join, error => 30);
        my $refused = member($mock, client => {@OBJECTS}, group_protocol => $protocol);
        my %about = (code => 30, name => 'GROUP_AUTHORIZATION_FAILED', fatal => 1, broker => 0);
        wait_until { errors($refused->{kafka}) } 'on_error';
        knows +(errors($refused->{kafka}))[0], "group 'g': $join: GROUP_AUTHORIZATION_FAILED (code 30)", %about, operation => $join;
        my $member = joined(member($mock, client => {@OBJECTS}, group_protocol => $protocol));
        $mock->fault(api => $heartbeat, error => 30);
        wait_until { errors($member->{kafka}) } 'on_error';
        knows +(errors($member->{kafka}))[0], "group 'g': $heartbeat: GROUP_AUTHORIZATION_FAILED (code 30)", %about, operation => $heartbeat;
        my ($error) = told($member->{kafka}, 'commit');
        knows $error, 'the group has been given up', operation => 'OffsetCommit';
    };
}

subtest 'a transaction' => sub {
    my $mock  = mock();
    # Where partitions are asked for one by one.
    $mock->feature('transaction.version', 0);
    my $kafka = producer($mock, @OBJECTS);
    my %refused = (code => 29, name => 'TOPIC_AUTHORIZATION_FAILED', broker => 0, topic => 't', partition => 0, operation => 'AddPartitionsToTxn');
    $mock->fault(api => 'AddPartitionsToTxn', topic => 't', error => 29);
    $kafka->begin_transaction;
    my (undef, $error) = told($kafka, produce => 't', 'k', 'v', { partition => 0 });
    knows $error, 'AddPartitionsToTxn: TOPIC_AUTHORIZATION_FAILED (code 29): the transaction cannot be committed', %refused;
    (undef, $error) = ended($kafka, 'commit_transaction');
    knows $error, 'AddPartitionsToTxn: TOPIC_AUTHORIZATION_FAILED (code 29): the transaction cannot be committed', %refused;
    my @ends;
    $kafka->produce('t', 'k', 'v', sub { @ends = @_ });
    ended($kafka, 'abort_transaction');

    $kafka->begin_transaction;
    $mock->fault(api => 'TxnOffsetCommit', error => 30);
    $kafka->assign([{ topic => 't', partition => 0, offset => 0 }]);
    (undef, $error) = told($kafka, send_offsets_to_transaction => 'g');
    knows $error, 'TxnOffsetCommit: GROUP_AUTHORIZATION_FAILED (code 30): the transaction', code => 30, name => 'GROUP_AUTHORIZATION_FAILED',
        broker => 0, topic => 't', partition => 0, operation => 'TxnOffsetCommit';
    ended($kafka, 'abort_transaction');
};

subtest 'a producer that another one has fenced' => sub {
    my $mock  = mock();
    my $kafka = producer($mock, @OBJECTS);
    $kafka->begin_transaction;
    told($kafka, produce => 't', 'k', 'v', { partition => 0 });
    producer($mock);
    my (undef, $error) = ended($kafka, 'commit_transaction');
    ok $error->fatal, "is at its end: $error";
    is $error->operation, 'EndTxn', 'by that request';
    wait_until { errors($kafka) } 'on_error';
    ok +(errors($kafka))[0]->fatal, 'which on_error hears as well';
};

subtest 'a producer without an id' => sub {
    my $mock = mock();
    $mock->fault(api => 'InitProducerId', error => 31, times => undef);
    my $kafka = client(brokers => $mock->bootstrap, @OBJECTS, idempotent => 1);
    my %refused = (code => 31, name => 'CLUSTER_AUTHORIZATION_FAILED', operation => 'InitProducerId');
    my (undef, $error) = told($kafka, 'connect');
    knows $error, 'InitProducerId: CLUSTER_AUTHORIZATION_FAILED (code 31)', %refused;
    knows +(errors($kafka))[0], 'InitProducerId: CLUSTER_AUTHORIZATION_FAILED (code 31)', %refused;
    (undef, $error) = told($kafka, produce => 't', 'k', 'v', { partition => 0 });
    knows $error, 'idempotent producer unavailable: InitProducerId: CLUSTER_AUTHORIZATION_FAILED (code 31)', %refused, topic => 't', partition => 0;
};

subtest 'on_error by default' => sub {
    my $kafka = EV::Kafka->new(brokers => '127.0.0.1:1', @OBJECTS);
    my $died;
    local $EV::DIED = sub { $died = $@ };
    $kafka->connect(sub { });
    wait_until { $died } 'on_error';
    like $died, qr/\AEV::Kafka: connect: no bootstrap broker answers: /, 'dies of the text';
};

done_testing;
