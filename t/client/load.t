use strict;
use warnings;
use Test::More;

use_ok 'EV::Kafka';
ok eval 'use EV::Kafka 0.05; 1', 'newer than the releases it takes the place of' or diag $@;

my $kafka = EV::Kafka->new;
isa_ok $kafka, 'EV::Kafka::Client';
is ref $kafka->{cfg}, 'HASH', 'cfg is there for callers';

can_ok $kafka, qw(
    connect produce produce_many flush assign seek offsets_for lag error_name poll close
    subscribe commit unsubscribe
    begin_transaction send_offsets_to_transaction commit_transaction abort_transaction
);

is $kafka->error_name(3), 'UNKNOWN_TOPIC_OR_PARTITION', 'error_name as a method';
is EV::Kafka::Client::error_name(3), 'UNKNOWN_TOPIC_OR_PARTITION', 'and as a function';
is $kafka->error_name(0), 'NONE', 'no error';
is $kafka->error_name(-1), 'UNKNOWN_SERVER_ERROR', 'the one negative code';
is $kafka->error_name(9999), 'UNKNOWN', 'a code that Kafka does not have';

done_testing;
