use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

subtest '_drain_pending_for' => sub {
    my $kafka = client;
    my @ran;
    push @{ $kafka->{cfg}{pending_ops} },
        { node_id => 1, run => sub { push @ran, 'one' } },
        { node_id => 2, run => sub { push @ran, 'two' } },
        { node_id => 1, run => sub { push @ran, 'three' } };
    $kafka->_drain_pending_for(1);
    is_deeply \@ran, ['one', 'three'], 'runs what waits for the broker, in order';
    is scalar(@{ $kafka->{cfg}{pending_ops} }), 1, 'and leaves the rest';
    $kafka->_drain_pending_for(1);
    is scalar(@ran), 2, 'once';
};

subtest 'operations that fail' => sub {
    my $kafka = client;
    my @got;
    push @{ $kafka->{cfg}{pending_ops} },
        { node_id => 1, run => sub { die "first\n" }, cb => sub { push @got, [@_] } },
        { node_id => 1, run => sub { die "second\n" } },
        { node_id => 1, run => sub { push @got, 'third' } };
    $kafka->_drain_pending_for(1);
    is_deeply \@got, [[undef, "first\n"], 'third'], 'tell their callback, and the others run';
    is_deeply [errors($kafka)], ["second\n"], 'or on_error, never both';
};

subtest 'an operation that closes the client' => sub {
    my $kafka = client;
    my @got;
    push @{ $kafka->{cfg}{pending_ops} },
        { node_id => 1, run => sub { $kafka->close } },
        { node_id => 1, run => sub { push @got, 'ran' }, cb => sub { push @got, [@_] } };
    $kafka->_drain_pending_for(1);
    is_deeply \@got, [[undef, 'client closed']], 'ends those behind it';
};

done_testing;
