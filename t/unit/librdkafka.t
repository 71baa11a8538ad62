use v5.14;
use warnings;

use Test::More;

use EV::Kafka;
use EV::Kafka::Options::Librdkafka;

# Options by librdkafka's names.

sub translated { [EV::Kafka::Options::Librdkafka->translate({@_})] }
sub refusal    { my @options = @_; eval { EV::Kafka->new(@options); 1 } ? 'accepted' : $@ }
sub refused_property { refusal(librdkafka => {@_}) }

is_deeply translated(), [{}, {}], 'nothing is nothing';
is_deeply translated(
    'bootstrap.servers' => 'a:1,b', 'client.id' => 'me', acks => 'all', 'linger.ms' => 20, 'batch.size' => 5000,
    'compression.type' => 'lz4', 'compression.level' => 3, 'enable.idempotence' => 'true', 'transactional.id' => 'x', 'delivery.timeout.ms' => 1500,
    'queue.buffering.max.kbytes' => 2, 'topic.metadata.refresh.interval.ms' => -1, 'isolation.level' => 'read_committed',
    'request.timeout.ms' => 5000, 'check.crcs' => 'true', partitioner => 'murmur2_random', 'ssl.key.password' => '', 'ssl.ca.location' => undef,
), [{
    brokers => 'a:1,b', client_id => 'me', acks => 'all', linger_ms => 20, batch_size => 5000, compression => 'lz4', compression_level => 3,
    idempotent => 1, transactional_id => 'x', delivery_timeout => 1.5, buffer_memory => 2048, metadata_refresh => 0,
    isolation_level => 'read_committed', broker_timeout => 5,
}, {}], 'options of new: units are ours, what is empty counts as not given, what is so anyway may be said';
is_deeply translated(
    'group.id' => 'g', 'session.timeout.ms' => 6000, 'heartbeat.interval.ms' => 500, 'max.poll.interval.ms' => 9000,
    'auto.offset.reset' => 'end', 'partition.assignment.strategy' => 'range, roundrobin', 'group.protocol' => 'CLASSIC',
), [{}, {
    group_id => 'g', session_timeout => 6000, heartbeat_interval => 0.5, rebalance_timeout => 9000,
    auto_offset_reset => 'latest', assignors => ['range', 'roundrobin'], group_protocol => 'classic',
}], 'options of subscribe';

is_deeply translated('auto.offset.reset' => 'error'), [{}, { auto_offset_reset => 'none' }], 'error instead of a reset';

my %commits = (
    'committing by time'            => [['enable.auto.commit' => 'true'], { auto_commit => 1, auto_commit_interval => 5 }],
    'every two seconds'             => [['auto.commit.interval.ms' => 2000], { auto_commit_interval => 2 }],
    'off, whatever the interval is' =>
        [['enable.auto.commit' => 'false', 'auto.commit.interval.ms' => 2000], { auto_commit => 0 }],
);
is_deeply translated(@{ $commits{$_}[0] }), [{}, $commits{$_}[1]], "commits: $_" for sort keys %commits;

my @SCRAM = ('sasl.mechanism' => 'SCRAM-SHA-256', 'sasl.username' => 'u', 'sasl.password' => 'p');
my %sasl  = (mechanism => 'SCRAM-SHA-256', username => 'u', password => 'p');
my %security = (
    plaintext      => [[], { tls => 0 }],
    SSL            => [[], { tls => 1 }],
    sasl_plaintext => [\@SCRAM, { tls => 0, sasl => \%sasl }],
    SASL_SSL       => [\@SCRAM, { tls => 1, sasl => \%sasl }],
);
is_deeply translated('security.protocol' => $_, @{ $security{$_}[0] }), [$security{$_}[1], {}], "security.protocol $_"
    for sort keys %security;

for my $case (
    [['queue.buffering.max.messages' => 5], qr/'queue\.buffering\.max\.messages' has no counterpart here/],
    [['bootstrap.server' => 'a'],           qr/'bootstrap\.server' has no counterpart here \(did you mean 'bootstrap\.servers'\?\)/],
    [['compression.type' => 'lz4', 'compression.codec' => 'zstd'], qr/'compression\.type' and 'compression\.codec' are one option/],
    [['partitioner' => 'random'],         qr/'partitioner' cannot be 'random' here/],
    [['check.crcs' => 'false'],           qr/'check\.crcs' cannot be 'false' here/],
    [['enable.idempotence' => 'yes'],     qr/'enable\.idempotence' must be true or false, not 'yes'/],
    [['socket.timeout.ms' => 'soon'],     qr/'socket\.timeout\.ms' must be a whole number, not 'soon'/],
    [['auto.offset.reset' => 'never'],    qr/'auto\.offset\.reset' cannot be 'never' here/],
    [['security.protocol' => 'tls'],      qr/'security\.protocol' must be plaintext, ssl/],
    [['sasl.username' => 'u'],            qr/'sasl\.username' needs 'security\.protocol'/],
    [['security.protocol' => 'sasl_ssl'], qr/'sasl\.mechanism' is needed/],
    [['linger.ms' => []],                 qr/'linger\.ms' must be a string/],
) {
    my ($properties, $text) = @$case;
    like refused_property(@$properties), qr/^EV::Kafka: librdkafka's $text.* at \Q$0\E line/s, "refused: @$properties";
}
like refused_property('linger.ms' => 'soon'), qr/option 'linger_ms' must be a number/, "what our options refuse is refused by their name";
like refusal(librdkafka => []), qr/option 'librdkafka' must be a hash reference/, 'not a hash';

my %given = ('bootstrap.servers' => 'a:1', acks => '1', 'group.id' => 'g', 'auto.offset.reset' => 'latest');
my $kafka = EV::Kafka->new(librdkafka => \%given, acks => 0, on_error => sub { die "@_\n" });
is_deeply $kafka->{cfg}{bootstrap}, [['a', 1]], 'new takes them';
is $kafka->{cfg}{acks}, 0, 'an option beside them goes first';
$kafka->subscribe('t');
is $kafka->{cfg}{group}{group_id}, 'g', 'subscribe has them as its defaults';
my $other = EV::Kafka->new(librdkafka => \%given, on_error => sub { die "@_\n" });
$other->subscribe('t', group_id => 'h');
is $other->{cfg}{group}{group_id}, 'h', 'and its own options go first';

# The page names what the code knows, and nothing else.
my $page = do { local (@ARGV, $/) = $INC{'EV/Kafka/Options/Librdkafka.pm'}; <> };
my ($table) = $page =~ /^=head1 PROPERTIES\n(.*?)\nWhere a default differs/ms;
my %row;
for (split /\n/, $table) {
    my ($names, $own) = /\A    (\S.{38}) ([a-z]\S*)/ or next;
    $row{$_} = $own =~ s/,\z//r for split /,\s*/, $names =~ s/\s+\z//r;
}
delete $row{'librdkafka'}; delete $row{'and Net::Kafka'}; delete $row{'Net::Kafka'};
is_deeply [sort keys %row], [EV::Kafka::Options::Librdkafka->properties], 'every property is on the page';
for my $name (sort keys %row) {
    my $own = EV::Kafka::Options::Librdkafka->option_of($name) // next;
    is $row{$name}, $own, "$name: the page says what the code does";
}

done_testing;
