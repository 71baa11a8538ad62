package ShareTest;
use strict;
use warnings;

# Members of share groups on a mock cluster.

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use Exporter qw(import);
use Scalar::Util qw(weaken);
use Test::More;
use TestKafka;

our @EXPORT = qw(shared_mock fill share settled sessions members in_hand unsettled);

# A mock with a topic 'jobs', whose groups begin with the first record and hear from their coordinator often.
sub shared_mock {
    my ($partitions, %options) = @_;
    my $mock = EV::Kafka::Mock->new(
        share_auto_offset_reset => 'earliest', consumer_heartbeat_interval_ms => 50, %options);
    $mock->create_topic('jobs', $partitions);
    return $mock;
}

# Records v1, v2, … by turns over the partitions.
sub fill {
    my ($mock, $from, $to) = @_;
    my $partitions = $mock->partitions('jobs');
    $mock->append(jobs => $_ % $partitions, { key => "k$_", value => "v$_" }) for $from .. $to;
    return;
}

# A client that is a member of the group 'g'. What it gets is put into a list as [value, delivery_count, record].
sub share {
    my ($mock, %options) = @_;
    my ($handler, @got) = delete $options{handler};
    my %client = %{ delete $options{client} || {} };
    my $kafka = client(brokers => $mock->bootstrap, %client);
    $kafka->connect;
    weaken(my $weak = $kafka);
    $kafka->subscribe_share('jobs', group_id => 'g', max_wait => 0.1, %options, on_record => sub {
        my ($record) = @_;
        push @got, [$record->value, $record->delivery_count, $record];
        $handler->($record, $weak) if $handler;
    });
    return ($kafka, \@got);
}

# Whether the group has settled all records of the topic.
sub settled {
    my ($mock) = @_;
    my $partitions = $mock->share_group('g')->{partitions};
    return !grep { ($partitions->{"jobs:$_"}{start_offset} // -1) != $mock->high_watermark('jobs', $_) } 0 .. $mock->partitions('jobs') - 1;
}

sub sessions { my ($mock) = @_; return @{ $mock->share_group('g')->{sessions} } }

sub members { my ($mock) = @_; return @{ ($mock->group('g') || { members => [] })->{members} } }

# The values of records that are not settled, by their state.
sub unsettled {
    my ($mock) = @_;
    my $partitions = $mock->share_group('g')->{partitions};
    my %state;
    for my $number (0 .. $mock->partitions('jobs') - 1) {
        my @records = $mock->records('jobs', $number);
        my $shared  = $partitions->{"jobs:$number"}{records} || {};
        my %value   = map { $_->{offset} => $_->{value} } @records;
        push @{ $state{ $shared->{$_}{state} } }, $value{$_} // "gap $_" for sort { $a <=> $b } keys %$shared;
    }
    return \%state;
}

sub in_hand { my ($kafka) = @_; return $kafka->stats->{share_group}{in_hand} }

1;
