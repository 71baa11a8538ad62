use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use SaslBroker;
use ScriptedBroker;
use TestKafka;
use TransactionTest qw(DONE ended);

# '0' is a name as good as any other, false as it may be.

subtest 'a message that is made of it' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic('0' => 1);
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, [@_[0 .. 5]] });
    my %headers = ('0' => '0');
    my (undef, $error) = ended($kafka, produce => '0', '0', '0', { headers => \%headers });
    is $error, undef, 'is delivered while its topic becomes known';
    $error = (ended($kafka, produce => '0', '0', '0', { headers => \%headers, partition => 0, timestamp => 0 }))[1];
    is $error, undef, 'and after that';
    is_deeply [ended($kafka, produce_many => [['0', '0', '0'], { topic => '0', key => '0', value => '0' }])], [undef],
        'also one of many';
    $kafka->assign([{ topic => '0' }]);
    fetch_all($kafka, \@got, 4);
    is_deeply \@got, [map { ['0', 0, $_, '0', '0', $_ < 2 ? \%headers : undef] } 0 .. 3], 'and consumed as it was';
    is +($mock->records('0', 0))[1]{timestamp}, 0, 'with its timestamp';
    is $kafka->position('0', 0), 4, 'its topic has a position';
};

subtest 'a group and a member' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic('0' => 1);
    $mock->append('0', 0, { value => '0' });
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[4] });
    $kafka->subscribe('0', group_id => '0', group_instance_id => '0', auto_commit => 0);
    wait_until { @got } 'a message';
    is $mock->group('0')->{members}[0]{group_instance_id}, '0', 'join under their names';
    is_deeply [ended($kafka, 'commit')], [undef], 'commit';
    is $mock->offsets('0')->{'0:0'}{offset}, 1, 'as this group';
    $kafka->close;
};

subtest 'transactions' => sub {
    my $mock = EV::Kafka::Mock->new;
    $mock->create_topic('0' => 1);
    my $kafka = connected(brokers => $mock->bootstrap, transactional_id => '0');
    is_deeply [map { $_->{transactional_id} } $mock->transactions], ['0'], 'their id is told to the coordinator';
    $kafka->begin_transaction;
    $kafka->produce('0', '0', 'committed');
    is_deeply [ended($kafka, 'commit_transaction')], [DONE], 'commit';
    $kafka->begin_transaction;
    my $written;
    $kafka->produce('0', '0', 'aborted', sub { $written = 1 });
    wait_until { $written } 'a record';
    $kafka->assign([{ topic => '0', offset => 1 }]);
    is +(ended($kafka, send_offsets_to_transaction => '0'))[1], undef, 'offsets of the group';
    is_deeply [ended($kafka, 'abort_transaction')], [DONE], 'abort';
    is_deeply [map { $_->{value} } $mock->records('0', 0, isolation_level => 'read_committed')], ['committed'],
        'readers of committed records see what they should';
};

subtest 'who connects' => sub {
    my $broker = ScriptedBroker->new;
    connected(brokers => $broker->address, client_id => '0');
    is_deeply [map { $_->{client_id} } $broker->requests('Metadata')], ['0'], 'is what client_id says';
};

subtest 'user name and password' => sub {
    my @messages;
    my $broker = SaslBroker->new(mechanism => 'PLAIN', on_connection => sub {
        return sub { push @messages, $_[0]; return pack 'n n N q>', 0, 0xffff, 0, 0 };
    });
    my @warnings = warnings_of {
        connected(brokers => $broker->address, sasl => { mechanism => 'PLAIN', username => '0', password => '0' });
    };
    is $messages[0], "\0000\0000", 'are sent as they are';
    is scalar(grep { !/without TLS/ } @warnings), 0, 'without other warnings';
};

subtest 'a file' => sub {
    for my $option (qw(tls_ca_file tls_cert_file)) {
        eval { EV::Kafka->new(tls => 1, $option => '0') };
        like $@, qr/^EV::Kafka: TLS: cannot read \S+ file 0: /, "$option is looked for";
    }
};

done_testing;
