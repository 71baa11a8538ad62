use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV::Kafka;
use EV::Kafka::Cluster::Features;
use EV::Kafka::Cluster::Link;
use EV::Kafka::Cluster::Topics;
use EV::Kafka::Outbox;
use SetLoop;

# What a link makes of what happens to its connection, without a socket.

{
    # Stands for an EV::Kafka::Conn, and for who makes one.
    package TestConn;

    sub new           { return bless { connects => 0, idle => 0 }, shift }
    sub conn          { return $_[0] }
    sub connect       { $_[0]{connects}++; return }
    sub on_connect    { $_[0]{on_connect} = $_[1]; return }
    sub on_error      { $_[0]{on_error} = $_[1]; return }
    sub on_disconnect { $_[0]{on_disconnect} = $_[1]; return }
    sub metadata      { $_[0]{checked} = $_[2]; return }
    sub connected     { return $_[0]{is_up} }
    sub closed_early  { return 'closed early' }
    sub _is_usable    { return $_[0]{is_up} }
    sub _idle         { return $_[0]{idle} }
    sub _silent       { return $_[0]{silent} || 0 }
    sub _unanswered_for { my ($self) = @_; return $self->{unanswered_for} }
    sub _has_untried_addresses { return $_[0]{addresses} && $_[0]{addresses}-- }
    sub _patience     { }
    sub _highest_version { return $_[0]{highest_version} // 4 }
    sub _has_met_another { return $_[0]{has_met_another} }
    sub features      { return $_[0]{features} }
    sub _doubt        { my ($self, $is_doubted) = @_; $self->{is_doubted} = $is_doubted; return }

    sub up         { my ($self) = @_; @$self{qw(is_up idle)} = (1, 0); $self->{on_connect}->(); return }
    sub disconnect { $_[0]->down; return }

    sub down {
        my ($self, $error) = @_;
        $self->{is_up} = 0;
        $self->{on_error}->($error) if defined $error;
        $self->{on_disconnect}->();
        return;
    }
}

sub linked {
    my (%about) = @_;
    my $topics = EV::Kafka::Cluster::Topics->new({});
    $topics->adopt({ brokers => [{ node_id => 1, host => 'h', port => 9092 }], topics => [] });
    my $had = { topics => $topics, loop => SetLoop->new, conn => TestConn->new,
        features => EV::Kafka::Cluster::Features->new, said => [] };
    $had->{outbox} = EV::Kafka::Outbox->new($had->{loop}, { on_notice => sub { push @{ $had->{said} }, 'notice' } }, sub { 0 });
    my %options = (request_timeout => 30, fetch_max_wait_ms => 500, %{ delete $about{options} || {} });
    $had->{link} = EV::Kafka::Cluster::Link->new(
        purpose   => 'main',
        node_id   => 1,
        loop      => $had->{loop},
        outbox    => $had->{outbox},
        options   => \%options,
        features  => $had->{features},
        topics    => $topics,
        connector => $had->{conn},
        notify    => sub { my ($event, undef, @about) = @_; push @{ $had->{said} }, join ' ', $event, @about },
        %about,
    );
    return $had;
}

sub ready {
    my $had = linked(@_);
    $had->{link}->open;
    $had->{conn}->up;
    said($had);
    return $had;
}

sub said { my ($had) = @_; return [splice @{ $had->{said} }] }

subtest 'opening' => sub {
    my $had = linked();
    my ($link, $conn) = @$had{qw(link conn)};
    ok $link->is_idle, 'a new one is idle';
    is $link->ready_conn, undef, 'and gives no connection';
    $link->open for 1, 2;
    is $conn->{connects}, 1, 'is done once';
    ok !$link->is_idle, 'then it is not idle';
    $conn->up;
    is_deeply said($had), ['connected', 'ready'], 'who waits is told';
    is $link->ready_conn, $conn, 'there is a connection';
    $conn->{is_up} = 0;
    is $link->ready_conn, undef, 'unless it has ended, though nobody has said so yet';

    my $unknown = linked(node_id => 9);
    $unknown->{link}->open;
    is_deeply said($unknown), ['failed no connection to leader: broker 9 has left the cluster', 'doubted'],
        'a broker that nobody knows cannot be reached';
};

subtest 'a loss' => sub {
    my $had = ready();
    my ($link, $conn, $loop) = @$had{qw(link conn loop)};
    $conn->down('reset');
    is_deeply said($had), ['failed no connection to leader: reset', 'doubted', 'lost reset'], 'is told';
    $link->open;
    is $conn->{connects}, 1, 'the next try waits';
    $loop->fire;
    is $conn->{connects}, 2, 'for a moment';
    $conn->down('refused');
    is $loop->{timers}[0][0], 0.2, 'and then for longer';
    said($had);

    $had = ready();
    $had->{link}->request_failed;
    $had->{conn}->down;
    is +(said($had))->[-1], 'lost connection closed by broker', 'one that took a request along is one, too';

    $had = ready();
    $had->{link}->give_up('it does not answer');
    is +(said($had))->[-1], 'lost it does not answer', 'and one that is given up';
};

subtest 'a broker that was never reached' => sub {
    my $had = linked();
    $had->{link}->open;
    $had->{conn}->down('refused');
    is +(said($had))->[-1], 'unreachable refused', 'is not lost';
    $had->{loop}->fire;
    $had->{conn}->down;
    is +(said($had))->[-1], 'unreachable closed early', 'one that closes the connection at once says no reason';
};

subtest 'the end of an idle connection' => sub {
    my $had = ready();
    my ($link, $conn, $loop) = @$had{qw(link conn loop)};
    $conn->down;
    is_deeply said($had), ['ended'], 'is no loss';
    $link->open;
    is $conn->{connects}, 2, 'it may be opened again at once';
    $conn->up;
    said($had);
    $conn->down;
    is_deeply said($had), [], 'after a second short life';
    $link->open;
    is $conn->{connects}, 2, 'not before a delay';
    $loop->fire;
    is_deeply said($had), ['ended'], 'after which whoever needs it opens it';
    $link->open;
    $conn->up;
    $loop->{now} += 600;
    said($had);
    $conn->down;
    is_deeply said($had), ['ended'], 'a long life forgives';

    $had = ready();
    $had->{link}->close;
    is_deeply said($had), [], 'one that is closed on purpose says nothing';
};

subtest 'messages with acks 0' => sub {
    my $had = ready();
    my ($link, $conn, $loop) = @$had{qw(link conn loop)};
    $conn->{unanswered_for} = 1;
    $conn->down;
    is_deeply said($had), ['doubted', 'notice'], 'may have been refused when their connection ends';
    $loop->fire;
    is_deeply said($had), ['ended'], 'a moment later who still needs it opens it';
    $link->open;
    $conn->up;
    said($had);
    $conn->{unanswered_for} = 60;
    $conn->down;
    is_deeply said($had), ['ended'], 'a minute later it is an idle connection that ends';
};

subtest 'a connection that nothing has moved on' => sub {
    my $had = ready();
    my ($link, $conn) = @$had{qw(link conn)};
    $conn->{idle} = 20;
    is $link->idle, 20, 'says for how long';
    is $link->ready_conn, undef, 'is asked for a sign of life';
    is $link->idle, undef, 'and is not idle meanwhile';
    $conn->{idle} = 0;
    $conn->{checked}->();
    is_deeply said($had), ['ready'], 'with that it is ready';
    is $link->ready_conn, $conn, 'and is given';
    $conn->{idle} = 20;
    $link->ready_conn;
    $conn->down('timed out');
    is_deeply said($had), ['doubted', 'ended'], 'without one nothing is lost';
};

subtest 'several addresses' => sub {
    my $had = linked();
    my ($link, $conn) = @$had{qw(link conn)};
    $conn->{addresses} = 1;
    $link->open;
    $conn->down('refused');
    is_deeply said($had), [], 'one that is of no use says nothing';
    is $conn->{connects}, 2, 'the next one is tried';
    $conn->down('refused');
    is +(said($had))->[-1], 'unreachable refused', 'the last one says that it cannot be reached';
};

subtest 'brokers that say nothing' => sub {
    my %fetch = (purpose => 'fetch');
    for my $case ([4, 0], [6, 1], [5.2, 0, %fetch], [6, 1, %fetch], [60, 0, purpose => 'group'],
        [60, 0, options => { request_timeout => 1 }], [1.5, 1, options => { request_timeout => 2 }]) {
        my ($silent, $is_silent, @about) = @$case;
        my $had = ready(@about);
        $had->{conn}{silent} = $silent;
        is !!$had->{link}->is_silent, !!$is_silent, "for $silent s: " . ($is_silent ? 'suspicious' : 'not yet');
    }
    my $had = linked();
    $had->{conn}{silent} = 60;
    ok !$had->{link}->is_silent, 'only where there is a connection';
};

subtest 'the end of the client' => sub {
    my $had = ready();
    my ($link, $conn) = @$had{qw(link conn)};
    $link->stop;
    $had->{outbox}->end;
    $conn->down('reset');
    is_deeply said($had), [], 'nothing is told';
    is_deeply [$conn->{connects}, scalar @{ $had->{loop}{timers} }], [1, 0], 'and nothing opened, now or later';
};

done_testing;
