use v5.14;
use warnings;

# errors => 'object' with real brokers: what an error knows of what has happened.

use EV;
use EV::Kafka;
use lib 'xt/lib';
use RealKafka;
use Test::More;

my @FIELDS = qw(code name retriable fatal broker topic partition operation);

# What the callback of a method gets as its error.
sub error_of {
    my ($kafka, $method, @arguments) = @_;
    my (undef, $error) = await($method, sub { $kafka->$method(@arguments, @_) });
    return $error;
}

sub knows {
    my ($error, $expected, $what) = @_;
    isa_ok $error, 'EV::Kafka::Error', $what or return;
    my %is = map { $_ => $error->$_ } @FIELDS;
    return is_deeply \%is, { map({ $_ => undef } @FIELDS), fatal => 0, %$expected }, "$what: $error";
}

my @VERSIONS = ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST);

sub client_of { my ($version, %option) = @_; return connected_client(brokers => shared_cluster($version)->bootstrap, errors => 'object', %option) }

# Topics that are not there are asked for some seconds, meanwhile the rest goes on.
my %unknown;
for my $version (@VERSIONS) {
    my ($topic, @errors) = ("none-$$");
    my $kafka = client_of($version, allow_auto_create_topics => 0);
    $kafka->produce($topic, 'k', 'v', sub { push @errors, $_[1] });
    $kafka->offsets_for($topic, sub { push @errors, $_[1] });
    $unknown{$version} = { kafka => $kafka, topic => $topic, errors => \@errors };
}

for my $version (@VERSIONS) {
    my $cluster = shared_cluster($version);
    my ($node)  = $cluster->nodes;

    subtest "Kafka $version: a message" => sub {
        my $topic = create_topic($cluster->bootstrap, 'error-objects', 1);
        my @heard;
        my $kafka = client_of($version, on_error => sub { push @heard, $_[0] });
        my %large = (code => 10, name => 'MESSAGE_TOO_LARGE', retriable => 0, broker => $node, topic => $topic, partition => 0, operation => 'Produce');
        my @large = ($topic, 'k', 'x' x 2_000_000);
        knows(error_of($kafka, produce => @large), \%large, 'a message that is too large');
        is_deeply \@heard, [], 'callbacks hear of it, and nobody else';
        $kafka->produce(@large);
        await('flush', sub { $kafka->flush(@_) });
        is scalar @heard, 1, 'without one on_error does';
        knows($heard[0], \%large, 'the same');
        await('close', sub { $kafka->close(@_) });
    };

    subtest "Kafka $version: a producer that is fenced" => sub {
        my $topic  = create_topic($cluster->bootstrap, 'error-fenced', 1);
        my @ids    = map { "$topic-$_" } qw(open idle);
        my ($open, $idle) = map { client_of($version, transactional_id => $_, on_error => sub { }) } @ids;
        for my $kafka ($open, $idle) {
            $kafka->begin_transaction;
            is error_of($kafka, produce => $topic, 'k', 'v'), undef, 'it works';
        }
        is error_of($idle, 'commit_transaction'), undef, 'and commits';
        my @others = map { client_of($version, transactional_id => $_) } @ids;

        # Its epoch is not that of the producer any more; whether that is a timeout or another producer is found out by the abort.
        my %epoch = (code => 47, name => 'INVALID_PRODUCER_EPOCH', retriable => 0);
        knows(error_of($open, produce => $topic, 'k', 'v'), { %epoch, broker => $node, topic => $topic, partition => 0, operation => 'Produce' }, 'a message of a transaction that another one has aborted');
        my %fenced = (code => 90, name => 'PRODUCER_FENCED', retriable => 0, fatal => 1, broker => $node);
        knows(error_of($open, 'abort_transaction'), { %fenced, operation => 'EndTxn' }, 'the abort finds out that there is another producer');

        my (undef, $error) = await('transaction', sub { $idle->transaction(sub { $idle->produce($topic, 'k', 'w'); return }, @_) });
        # Before KIP-890 the coordinator says so when it is told of the partition, from then on at the end.
        my %found = $version =~ /^3/ ? (topic => $topic, partition => 0, operation => 'AddPartitionsToTxn') : (operation => 'EndTxn');
        knows($error, { %fenced, %found }, 'a transaction that is begun after that');
        for my $kafka ($open, $idle) {
            ok !eval { $kafka->begin_transaction; 1 }, 'there is no other';
            like $@, qr/only a new client can go on/, 'says why';
        }
        $_->begin_transaction for @others;
        is error_of($others[0], produce => $topic, 'k', 'v'), undef, 'who has fenced it goes on';
        $_->close for $open, $idle, @others;
    };
}

for my $version (@VERSIONS) {
    subtest "Kafka $version: a topic that is not there" => sub {
        my ($kafka, $topic, $errors) = @{ $unknown{$version} }{qw(kafka topic errors)};
        my $timer;
        await('both errors', sub { my ($done) = @_; $timer = EV::timer 0, 0.05, sub { $done->() if @$errors == 2 } });
        knows($_, { code => 3, name => 'UNKNOWN_TOPIC_OR_PARTITION', retriable => 1, topic => $topic, operation => 'Metadata' }, 'unknown') for @$errors;
        $kafka->close;
    };
}

done_testing;
