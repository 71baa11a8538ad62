use strict;
use warnings;

use lib 't/lib';

use EV::Kafka::Mock;
use Test::More;

use ExampleTest;

# eos.pl does what it says.

sub cluster {
    my ($records) = @_;
    my $mock = EV::Kafka::Mock->new(brokers => 2);
    $mock->create_topic($_ => 2) for qw(in out);
    $mock->append(in => $_ % 2, { key => "k$_", value => "v$_" }) for 1 .. $records;
    return $mock;
}

sub environment {
    my ($mock, $limit) = @_;
    return { KAFKA_BROKER => $mock->bootstrap, KAFKA_TOPIC => 'in', KAFKA_OUTPUT => 'out',
        KAFKA_GROUP_ID => 'g', KAFKA_LIMIT => $limit };
}

sub copied {
    my ($mock) = @_;
    return [sort map { $_->{value} } map { $mock->records(out => $_, isolation_level => 'read_committed') } 0, 1];
}

sub positions {
    my ($mock) = @_;
    my $offsets = $mock->offsets('g');
    return { map { $_ => $offsets->{$_}{offset} } keys %$offsets };
}

subtest 'eos.pl' => sub {
    my $mock   = cluster(8);
    my $output = output_of('eos', environment($mock, 8));
    like $output, qr/^committed \d+ messages, 8 in all\ndone\n\z/m, 'copies';
    is_deeply copied($mock), [map { "V$_" } 1 .. 8], 'every message';
    is_deeply positions($mock), { 'in:0' => 4, 'in:1' => 4 }, 'and the group knows';

    $mock->append(in => 0, { value => 'v9' });
    output_of('eos', environment($mock, 1));
    is_deeply copied($mock), [map { "V$_" } 1 .. 9], 'started again it goes on from there';
};

subtest 'eos.pl and a transaction that is refused' => sub {
    my $mock = cluster(4);
    $mock->fault(api => 'TxnOffsetCommit', error => 22);
    my $output = output_of('eos', environment($mock, 4));
    like $output, qr/^not committed: TxnOffsetCommit: ILLEGAL_GENERATION/m, 'says so';
    is_deeply copied($mock), [map { "V$_" } 1 .. 4], 'and copies again what was aborted, once';
};

subtest 'eos.pl, fenced by another one' => sub {
    my $mock = cluster(4);
    $mock->fault(api => 'EndTxn', error => 90);
    my ($status, $output) = example('eos', environment($mock, 4));
    is $status >> 8, 1, 'exit status';
    like $output, qr/^not committed: EndTxn: PRODUCER_FENCED/m, 'says why';
    is_deeply copied($mock), [], 'and has copied nothing';
};

subtest 'eos.pl, tombstones and headers' => sub {
    my $mock = cluster(0);
    my @headers = ([trace => 'one'], [trace => 'two'], [none => undef]);
    $mock->append(in => 0, { key => 'k', value => 'v', headers => \@headers }, { key => 'k', value => undef }, { key => 'l', value => '' });
    my $output = output_of('eos', environment($mock, 3));
    unlike $output, qr/uninitialized/, 'without a warning';
    my %copies;
    push @{ $copies{ $_->{key} } }, $_ for map { $mock->records(out => $_, isolation_level => 'read_committed') } 0, 1;
    my ($value, $tombstone) = @{ $copies{k} };
    is $value->{value}, 'V', 'a value';
    is_deeply $value->{headers}, \@headers, 'its headers, all and in order';
    is $tombstone->{value}, undef, 'a message without a value has none';
    is $copies{l}[0]{value}, '', 'an empty one is not taken for that';
};

done_testing;
