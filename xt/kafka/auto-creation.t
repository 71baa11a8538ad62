use v5.14;
use warnings;

# A broker that creates topics by itself (Kafka's default): reading creates none, and none again that were deleted;
# writing does. Who asks what there is names no topic, since that might create it.

use lib 'xt/lib', 't/lib';
use EV;
use EV::Kafka;
use Inside;
use RealKafka;
use Test::More;

my $ASKS = 3;

sub topics_of {
    my ($conn) = @_;
    my ($meta) = await('all topics', sub { $conn->metadata(undef, @_) });
    return { map { $_->{name} => 1 } @{ $meta->{topics} } };
}

# Until the client has asked for the topic once more, and a request after that has been answered.
sub asked_again {
    my ($kafka, $topic) = @_;
    my $asked = Inside::asked_at($kafka, $topic);
    my $look;
    await("a request for $topic", sub {
        my ($done) = @_;
        $look = EV::timer 0, 0.02, sub { $done->() if Inside::asked_at($kafka, $topic) != $asked };
    });
    await('its answer', sub { $kafka->{cfg}{bootstrap_conn}->metadata([], @_) });
    return;
}

my %reads = (
    assign => sub {
        my ($kafka, $topic) = @_;
        $kafka->assign([{ topic => $topic, partition => 0, offset => 0 }]);
        return EV::timer 0, 0.1, sub { $kafka->poll(sub { }) };
    },
    offsets  => sub { my ($kafka, $topic) = @_; $kafka->offsets_for($topic, sub { }); return },
    classic  => sub { my ($kafka, $topic) = @_; $kafka->subscribe($topic, group_id => "g-$topic"); return },
    consumer => sub {
        my ($kafka, $topic) = @_;
        $kafka->subscribe($topic, group_id => "g-$topic", group_protocol => 'consumer');
        return;
    },
);

for my $version ($KafkaCluster::NEWEST, $KafkaCluster::OLDEST) {
    my $cluster = shared_cluster($version);
    my $address = $cluster->bootstrap;
    my $conn    = connected_conn($address);
    for my $how (grep { $version =~ /^4/ || $_ ne 'consumer' } sort keys %reads) {
        my $topic = "absent-$how-$$";
        my $kafka = connected_client(brokers => $address, on_message => sub { }, on_error => sub { }, on_notice => sub { });
        my $poll  = $reads{$how}->($kafka, $topic);
        for my $ask (1 .. $ASKS) {
            asked_again($kafka, $topic);
            ok !topics_of($conn)->{$topic}, "Kafka $version, $how: is not created";
        }
        undef $poll;
        $kafka->close;
    }
    my $topic = "written-$$";
    my $kafka = connected_client(brokers => $address);
    my (undef, $error) = await('delivery', sub { $kafka->produce($topic, 'k', 'v', @_) });
    is $error, undef, "Kafka $version: what is written is delivered";
    ok topics_of($conn)->{$topic}, 'to a topic that was created by that';
    $kafka->close;
    my ($deleted) = await('deleting it', sub { $conn->delete_topics([$topic], 10_000, @_) });
    is $deleted->{topics}[0]{error_code}, 0, 'it is deleted';
}

done_testing;
