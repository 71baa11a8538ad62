use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use POSIX ();
use Scalar::Util qw(weaken);
use Test::More;

use ConnPeer;
use TestKafka qw(wait_until turns warnings_of);

# A callback may do anything to its connection. Each of these is done in each
# kind of callback; nothing may crash, be called twice, or be forgotten.

# An answer to Metadata version 1 without brokers and topics.
my $METADATA = pack 'N N N', 0, 1, 0;

sub new_peer { ConnPeer->new(versions => { 3 => [1, 1] }, on_request => sub { $METADATA }, @_) }

# Two answers that arrive in one read.
sub merging_peer {
    my @held;
    return new_peer(on_request => sub {
        my ($peer, $request) = @_;
        push @held, frame($request->{id}, $METADATA);
        $peer->raw(join '', splice @held) if @held == 2;
        return;
    });
}

subtest 'answers that arrive together are told one by one' => sub {
    my ($conn, $log) = ready(my $peer = merging_peer());
    $conn->metadata(['t'], sub { push @$log, 'first: ' . $conn->pending });
    $conn->metadata(['t'], sub { push @$log, 'second: ' . $conn->pending });
    wait_until { @$log == 2 } 'both';
    is_deeply $log, ['first: 1', 'second: 0'], 'in order';
};

subtest 'an answer that arrives in pieces' => sub {
    my ($pieces, $feeding);
    my ($conn, $log) = ready(my $peer = new_peer(on_request => sub {
        my ($peer, $request) = @_;
        my @bytes = split //, frame($request->{id}, $METADATA) x 1;
        $feeding = EV::timer 0, 0.0001, sub {
            return undef $feeding unless @bytes;
            $pieces++;
            $peer->raw(shift @bytes);
        };
        return;
    }));
    my $answers = 0;
    $conn->metadata(['t'], sub { $answers++; push @$log, $_[0]{controller_id} });
    wait_until { $answers } 'the answer';
    cmp_ok $pieces, '>', 15, 'many pieces';
    is_deeply $log, [1], 'one answer';
};

my %actions = (
    'disconnects'            => sub { $_[0]->disconnect },
    'disconnects twice'      => sub { $_[0]->disconnect for 1, 2 },
    'destroys'               => sub { $_[0]->DESTROY },
    'drops the connection'   => sub { undef $_[0] },
    'reconnects'             => sub { $_[0]->connect('127.0.0.1', $_[1]->port, 10) },
    'clears the handlers'    => sub { $_[0]->on_error; $_[0]->on_connect(undef); $_[0]->on_disconnect },
    'sends'                  => sub { $_[0]->metadata(['t'], sub { }) if $_[0]->connected },
    'disconnects, then dies' => sub { $_[0]->disconnect; die "oops\n" },
);

for my $what (sort keys %actions) {
    my $action = $actions{$what};

    subtest "an answer's callback $what" => sub {
        my ($conn, $log) = ready(my $peer = merging_peer());
        my @told;
        my @warnings = warnings_of {
            $conn->metadata(['t'], sub { push @told, 'first'; $action->($conn, $peer) });
            $conn->metadata(['t'], sub { push @told, defined $_[1] ? $_[1] : 'second' });
            wait_until { @told == 2 } 'both';
            turns;
        };
        my $second = $what =~ /^disconnects/ ? 'disconnected'
            : $what =~ /^(?:destroys|drops)/ ? 'destroyed'
            : $what =~ /^reconnects/         ? 'reconnecting'
            :                                  'second';
        is_deeply \@told, ['first', $second], 'both callbacks once';
        ok !(grep { /^error/ } @$log), 'no error';
        is @warnings, $what =~ /dies/ ? 1 : 0, 'warnings';
        like $warnings[0], qr/^EV::Kafka::Conn: callback error: oops$/, 'the die' if $what =~ /dies/;
    };

    subtest "on_connect $what" => sub {
        my $peer = new_peer();
        my ($conn) = conn();
        my ($connects, $losses) = (0, 0);
        $conn->on_disconnect(sub { $losses++ });
        $conn->on_connect(sub { $action->($conn, $peer) if ++$connects == 1 });
        my @warnings = warnings_of {
            $conn->connect('127.0.0.1', $peer->port, 10);
            wait_until { $connects } 'on_connect';
            turns;
        };
        is $losses, ($what =~ /^disconnects/ ? 1 : 0), 'on_disconnect';
        like $warnings[0], qr/^EV::Kafka::Conn: on_connect callback error: oops$/, 'the die' if $what =~ /dies/;
    };

    subtest "on_disconnect $what" => sub {
        my ($conn, $log) = ready(my $peer = new_peer());
        my $losses = 0;
        $conn->on_disconnect(sub { $action->($conn, $peer) if ++$losses == 1 });
        my @warnings = warnings_of {
            $peer->hang_up;
            wait_until { $losses } 'on_disconnect';
            turns;
        };
        is $losses, 1, 'once';
        like $warnings[0], qr/^EV::Kafka::Conn: on_disconnect callback error: oops$/, 'the die' if $what =~ /dies/;
    };

    subtest "on_error $what" => sub {
        my $peer = new_peer(on_request => sub { $_[0]->raw(pack 'N', 0xffffffff); return });
        my ($conn) = ready($peer);
        my ($errors, $told, $losses) = (0, 0, 0);
        $conn->on_error(sub { $errors++; $action->($conn, $peer) });
        $conn->on_disconnect(sub { $losses++ });
        my @warnings = warnings_of {
            $conn->metadata(['t'], sub { $told++ });
            wait_until { $errors && $told } 'the error';
            turns;
        };
        is $errors, 1, 'on_error once';
        is $told, 1, 'the pending callback once';
        cmp_ok $losses, '<=', 1, 'on_disconnect at most once';
        like $warnings[0], qr/^EV::Kafka::Conn: on_error callback error: oops$/, 'the die' if $what =~ /dies/;
    };

    subtest "a callback that fails $what" => sub {
        my ($conn, $log) = ready(my $peer = new_peer(on_request => sub { }));
        my @told;
        my @warnings = warnings_of {
            $conn->metadata(['t'], sub { push @told, $_[1]; $action->($conn, $peer) });
            $conn->metadata(['t'], sub { push @told, $_[1] });
            $conn->disconnect;
            turns;
        };
        is_deeply \@told, ['disconnected', 'disconnected'], 'both callbacks once';
    };
}

subtest 'the last reference goes while requests are pending' => sub {
    my ($conn, $log) = ready(my $peer = new_peer(on_request => sub { }));
    my @told;
    $conn->metadata(['t'], sub { push @told, $_[1] }) for 1, 2;
    undef $conn;
    is_deeply \@told, ['destroyed', 'destroyed'], 'callbacks are told at once';
    is_deeply $log, [], 'handlers are not';
    wait_until { $peer->{closed} } 'the socket to be closed';
};

subtest 'a die is a warning and nothing else' => sub {
    my ($conn, $log) = ready(my $peer = new_peer());
    my $told = 0;
    my @warnings = warnings_of {
        $conn->metadata(['t'], sub { die "one\n" });
        $conn->metadata(['t'], sub { die { code => 2 } });
        $conn->metadata(['t'], sub { $told++ });
        wait_until { $told } 'the third answer';
    };
    is @warnings, 2, 'two warnings';
    is $warnings[0], "EV::Kafka::Conn: callback error: one\n", 'a text';
    like $warnings[1], qr/^EV::Kafka::Conn: callback error: HASH\(/, 'a reference';
    ok $conn->connected, 'the connection lives on';
};

subtest 'a __WARN__ handler that dies' => sub {
    my ($conn, $log) = ready(my $peer = new_peer());
    my $told = 0;
    local $SIG{__WARN__} = sub { die 'in the handler' };
    $conn->metadata(['t'], sub { die 'one' });
    $conn->metadata(['t'], sub { $told++ });
    wait_until { $told } 'the second answer';
    is $told, 1, 'harms nobody';
};

subtest 'a cycle that is broken by disconnecting' => sub {
    my ($conn, $log) = ready(my $peer = new_peer(on_request => sub { }));
    my $seen = my $weak = $conn;
    weaken $weak;
    $conn->metadata(['t'], sub { $seen });
    $conn->disconnect;
    undef $seen;
    undef $conn;
    ok !$weak, 'frees the connection';
};

subtest 'exit in a callback' => sub {
    for my $where (qw(answer handler nested)) {
        my $pid = open my $child, '-|';
        defined $pid or die "fork: $!";
        if (!$pid) {
            my $peer = new_peer(on_request => sub { $where eq 'nested' ? undef : $METADATA });
            my ($conn) = conn();
            $conn->on_connect(sub {
                exit 7 if $where eq 'handler';
                $conn->metadata(['t'], sub { exit 7 });
                $conn->disconnect if $where eq 'nested';
            });
            $conn->connect('127.0.0.1', $peer->port, 10);
            my $guard = EV::timer 20, 0, sub { POSIX::_exit(1) };
            EV::run;
            POSIX::_exit(2);
        }
        my $said = join '', <$child>;
        close $child;
        is $? >> 8, 7, "in the $where: the program ends with its status";
    }
};

done_testing;
