use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Cluster::Control;
use EV::Kafka::Cluster::Features;
use EV::Kafka::Cluster::Topics;
use EV::Kafka::Outbox;
use SetLoop;

# Which broker is asked for metadata, without a socket.

{
    # Stands for an EV::Kafka::Conn that is asked for metadata.
    package TestConn;

    sub new             { return bless { asked => [] }, shift }
    sub request_timeout { my ($self, $seconds) = @_; $self->{timeout} = $seconds; return }
    sub connected       { return $_[0]{is_up} }
    sub on_connect      { $_[0]{on_connect} = $_[1]; return }
    sub on_error        { $_[0]{on_error} = $_[1]; return }
    sub on_disconnect   { $_[0]{on_disconnect} = $_[1]; return }
    sub disconnect      { my ($self) = @_; $self->{is_up} = 0; $self->{on_disconnect}->(); return }
    sub _highest_version { return $_[0]{highest_version} // 4 }
    sub _has_met_another { return $_[0]{has_met_another} }
    sub features        { return $_[0]{features} }
    sub _metadata       { my ($self, @asked) = @_; push @{ $self->{asked} }, \@asked; return }
    sub _has_untried_addresses { return $_[0]{addresses} && $_[0]{addresses}-- }

    sub up { my ($self) = @_; $self->{is_up} = 1; $self->{on_connect}->(); return }

    sub down {
        my ($self, $error) = @_;
        $self->{is_up} = 0;
        $self->{on_error}->($error) if defined $error;
        $self->{on_disconnect}->();
        return;
    }

    # The answer to what was asked last: what its head says, or an error.
    sub answer {
        my ($self, $head, $error) = @_;
        $self->{asked}[-1][1]->($head && TestAnswer->new($head), $error);
        return;
    }

    package TestAnswer;

    sub new  { my ($class, $head) = @_; return bless { head => $head }, $class }
    sub head { return $_[0]{head} }

    # Makes connections, and knows where each of them was sent.
    package TestConnector;

    sub new     { return bless { conns => [], at => [] }, shift }
    sub conn    { my ($self) = @_; push @{ $self->{conns} }, TestConn->new; return $self->{conns}[-1] }
    sub counts  { return 0 }
    sub closed_early { return 'closed early' }
    sub connect { my ($self, undef, $host, $port) = @_; push @{ $self->{at} }, "$host:$port"; return }
}

sub controlled {
    my (@node_ids) = @_;
    my %options = (bootstrap => [['boot', 1], ['boot', 2]], request_timeout => 30);
    my $topics  = EV::Kafka::Cluster::Topics->new(\%options);
    $topics->clear;
    $topics->adopt({ brokers => [map { { node_id => $_, host => "h$_", port => 9092 } } @node_ids], topics => [] });
    my $had = { options => \%options, loop => SetLoop->new, connector => TestConnector->new,
        features => EV::Kafka::Cluster::Features->new, said => [] };
    $had->{control} = EV::Kafka::Cluster::Control->new(
        loop      => $had->{loop},
        outbox    => EV::Kafka::Outbox->new($had->{loop}, {}, sub { 0 }),
        options   => \%options,
        topics    => $topics,
        connector => $had->{connector},
        features  => $had->{features},
        published => \%options,
        notify    => sub { my ($event, @about) = @_; push @{ $had->{said} }, [$event, @about] },
    );
    return $had;
}

sub conn { my ($had) = @_; return $had->{connector}{conns}[-1] }
sub at   { my ($had) = @_; return [splice @{ $had->{connector}{at} }] }
sub said { my ($had) = @_; return splice @{ $had->{said} } }

# Asks, and is answered by whoever is tried first.
sub answered {
    my ($had, $head) = @_;
    $had->{control}->ask(undef, 0);
    conn($had)->up unless conn($had)->connected;
    conn($had)->answer($head || {});
    return said($had);
}

subtest 'the first question' => sub {
    my $had = controlled();
    $had->{control}->ask(['t'], 1);
    is_deeply at($had), ['boot:1'], 'goes to the first bootstrap broker';
    is conn($had)->{timeout}, 10, 'which has ten seconds';
    is $had->{options}{bootstrap_conn}, undef, 'nothing is published yet';
    conn($had)->up;
    my ($topics, undef, $options) = @{ conn($had)->{asked}[0] };
    is_deeply [$topics, $options], [['t'], { allow_auto_topic_creation => 1 }], 'as it was put';
    conn($had)->answer({ throttle_time_ms => 3 });
    my ($said) = said($had);
    is_deeply [@$said[0, 1]], [answered => { throttle_time_ms => 3 }], 'the answer is told';
    is $had->{options}{bootstrap_conn}, conn($had), 'and the connection published';

    $had->{options}{request_timeout} = 4;
    is $had->{control}->answer_timeout, 4, 'request_timeout may be less';
};

subtest 'the next question' => sub {
    my $had = controlled(2, 1);
    answered($had);
    is_deeply at($had), ['h1:9092'], 'brokers come before the bootstrap list';
    $had->{control}->ask(undef, 0);
    is_deeply at($had), [], 'and the one that has answered before all others';
    is scalar @{ conn($had)->{asked} }, 2, 'over the same connection';
    conn($had)->down('reset');
    is_deeply at($had), ['h1:9092'], 'when that is lost, a new one';
};

subtest 'brokers that do not answer' => sub {
    my $had = controlled(1);
    $had->{control}->ask(undef, 0);
    conn($had)->down('refused');
    conn($had)->up;
    conn($had)->answer(undef, 'timed out');
    conn($had)->up;
    conn($had)->answer({ truncated => 1 });
    is_deeply at($had), ['h1:9092', 'boot:1', 'boot:2'], 'all are tried';
    my ($said) = said($had);
    is_deeply [@$said[0, 1]],
        [unanswered => 'h1:9092: refused; boot:1: timed out; boot:2: incomplete Metadata answer'], 'what was wrong is told';
    my $delay = $said->[2];
    $had->{control}->ask(undef, 0);
    conn($had)->down for 1 .. 3;
    ($said) = said($had);
    cmp_ok $said->[2], '>', $delay, 'the next time the delay is longer';
    is $said->[1], join('; ', map { "$_: closed early" } 'h1:9092', 'boot:1', 'boot:2'), 'without a word that is said, too';
    $had->{control}->ask(undef, 0);
    for (1 .. 3) { conn($had)->up; conn($had)->down }
    ($said) = said($had);
    like $said->[1], qr/\Ah1:9092: connection closed by broker;/, 'and another way if it was ready before';
};

subtest 'several addresses' => sub {
    my $had = controlled();
    $had->{control}->ask(undef, 0);
    conn($had)->{addresses} = 1;
    conn($had)->down('refused');
    is_deeply at($had), ['boot:1'], 'the next one is tried';
    $had->{loop}->fire;
    is_deeply at($had), ['boot:1'], 'when the connection is through with the first';
    is scalar @{ $had->{connector}{conns} }, 1, 'over the same connection';
    conn($had)->down('refused');
    is_deeply at($had), ['boot:2'], 'then the next broker';
};

subtest 'between two questions' => sub {
    my $had = controlled();
    answered($had);
    at($had);
    conn($had)->down;
    is_deeply at($had), ['boot:1'], 'a connection that has ended is opened again';
    conn($had)->up;
    conn($had)->down;
    is_deeply at($had), [], 'not twice within a second';
    $had->{control}->ask(undef, 0);
    is_deeply at($had), ['boot:1'], 'the next question opens another';
};

subtest 'a broker that has nothing new to say' => sub {
    my $had = controlled(1, 2);
    my $turns = sub {
        my ($answers) = @_;
        my @asked;
        for (1 .. $answers) {
            answered($had);
            push @asked, @{ at($had) };
            $had->{control}->answered_about_topics(1);
        }
        return \@asked;
    };
    is_deeply $turns->(3), ['h1:9092'], 'is asked three times';
    is_deeply $turns->(6), ['h2:9092'], 'then another is, for twice as long';
    is_deeply $turns->(1), ['h1:9092'], 'and so on';
    $had->{control}->answered_about_topics(0);
    is_deeply $turns->(4), ['h2:9092'], 'news begin it anew';

    $had = controlled(1);
    is_deeply $turns->(5), ['h1:9092'], 'where there is no other nobody else is asked';
};

subtest 'the end' => sub {
    my $had = controlled();
    answered($had);
    $had->{control}->ask(undef, 0);
    my $conn = conn($had);
    $had->{control}->close;
    ok !$conn->connected, 'the connection is closed';
    is $had->{options}{bootstrap_conn}, undef, 'and published no more';
    $conn->answer({});
    is_deeply [said($had)], [], 'a late answer is not told';
    at($had);
    $conn->down;
    is_deeply at($had), [], 'and nothing opened';
};

done_testing;
