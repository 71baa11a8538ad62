use strict;
use warnings;

# A connection in each of its states, and what a program may do to it there, from
# outside and from inside each callback. Run by xt/valgrind-conn.t, and of use
# without valgrind as well.

use FindBin;
use lib "$FindBin::Bin", "$FindBin::Bin/../../t/lib";

use EV;
use EV::Kafka;
use Scalar::Util qw(weaken);
use Test::More;

use Certificates;
use ConnPeer qw(free_port frame string array);
use SaslPeer qw(scram_server);
use TestKafka qw(wait_until turns);
use TlsPeer;

# An answer to Metadata version 1 without brokers and topics; a size that is none.
my $METADATA = pack 'N N N', 0, 1, 0;
my $GARBAGE  = pack 'N', 0xffffffff;

use constant { METADATA => 3, API_VERSIONS => 18, SASL_HANDSHAKE => 17, SASL_AUTHENTICATE => 36 };

my $files = Certificates->new;
$files->authority('ca');
$files->sign('ca', 'local', 'IP:127.0.0.1');

# A peer that goes along until it is asked for the API where it is to stop.
sub peer {
    my ($stop) = @_;
    $stop = -1 unless defined $stop;
    return ConnPeer->new(
        versions  => { 3 => [1, 1], 17 => [1, 1], 36 => [0, 0] },
        handshake => sub { $_[0]->shake_hands($_[1]) if $stop != API_VERSIONS },
        on_request => sub {
            my ($peer, $request) = @_;
            my $api = $request->{api};
            return undef if $api == $stop;
            return pack('n', 0) . array(string('PLAIN'), string('OAUTHBEARER')) if $api == SASL_HANDSHAKE;
            return pack('n n N', 0, 0xffff, 0) if $api == SASL_AUTHENTICATE;
            return $peer->{silent} ? undef : $METADATA;
        },
    );
}

# One that wants TLS and SCRAM.
sub tls_peer {
    my $scram = scram_server(256, 'secret');
    return TlsPeer->new(
        certificate => $files->file('local.pem'), key => $files->file('local.key'),
        versions   => { 3 => [1, 1], 17 => [1, 1], 36 => [0, 0] },
        on_request => sub {
            my ($peer, $request) = @_;
            my $api = $request->{api};
            return pack('n', 0) . array(string('SCRAM-SHA-256')) if $api == SASL_HANDSHAKE;
            # Version 0 says nothing of how long the session lives.
            return substr $scram->(unpack 'N/a*', $request->{body}), 0, -8 if $api == SASL_AUTHENTICATE;
            return $peer->{silent} ? undef : $METADATA;
        },
    );
}

# What brings a connection into each state and what the state's number then is.
my %STATES = (
    connecting     => { number => 1, port => \&free_port },
    resolving      => { number => 1, port => \&free_port, host => 'localhost' },
    tls            => { number => 2, prepare => sub { $_[0]->tls(1, undef, 1) } },
    sasl_handshake => { number => 3, stop => SASL_HANDSHAKE, prepare => sub { $_[0]->sasl('PLAIN', 'user', 'secret') } },
    sasl           => { number => 4, stop => SASL_AUTHENTICATE, prepare => sub { $_[0]->sasl('PLAIN', 'user', 'secret') } },
    token          => { number => 3, prepare => sub { $_[0]->sasl('OAUTHBEARER', sub { }) } },
    api_versions   => { number => 5, stop => API_VERSIONS },
    ready          => { number => 6 },
    encrypted      => { number => 6, peer => \&tls_peer,
        prepare => sub { $_[0]->tls(1, $files->file('ca.pem')); $_[0]->sasl('SCRAM-SHA-256', 'user', 'secret') } },
    secure         => { number => 6, prepare => sub { $_[0]->sasl('PLAIN', 'user', 'secret') } },
);

# $case->{conn} is the only strong reference: dropping it destroys the connection.
my %ACTIONS = (
    nothing    => sub { },
    drop       => sub { delete $_[0]{conn} },
    destroy    => sub { $_[0]{conn}->DESTROY if $_[0]{conn} },
    disconnect => sub { $_[0]{conn}->disconnect },
    connect    => sub { $_[0]{conn}->connect('127.0.0.1', $_[0]{other}->port, 10) },
    again      => sub { $_[0]{conn}->disconnect; $_[0]{conn}->connect('127.0.0.1', $_[0]{other}->port, 10) },
    clear      => sub { my $conn = $_[0]{conn}; $conn->on_error(sub { }); $conn->on_connect; $conn->on_disconnect(undef) },
    replace    => sub {
        my ($case) = @_;
        for my $handler (qw(on_error on_connect on_disconnect)) {
            my $captured = [1 .. 10];
            $case->{conn}->$handler(sub { $case->{replaced} += @$captured });
        }
    },
    request    => sub {
        my ($case) = @_;
        return unless $case->{conn}->connected;
        send_request($case);
        $case->{conn}->disconnect;
    },
    die        => sub { die "on purpose\n" },
);

# How a connection goes on from a state, by itself or by its peer.
my %ENDS = (
    garbage => sub { $_[0]{peer}->raw($GARBAGE) if $_[0]{peer}{socket} },
    hang_up => sub { $_[0]{peer}->hang_up },
    reset   => sub { $_[0]{peer}->reset },
    disconnect => sub { $_[0]{conn}->disconnect if $_[0]{conn} },
);

sub send_request {
    my ($case) = @_;
    my $number = ++$case->{sent};
    weaken(my $weak = $case);
    $case->{conn}->metadata(['t'], sub { $weak->{answered}[$number]++; $weak->{inside}->('answer') if $weak->{inside} });
    return;
}

# A connection in the state, whose callbacks call $case->{inside}->($name).
sub enter {
    my ($state, $name) = @_;
    my $peer = $state->{peer} ? $state->{peer}->() : peer($state->{stop});
    $peer->{silent} = 1;
    my $case = { peer => $peer, other => peer(), sent => 0, answered => [] };
    my $conn = $case->{conn} = EV::Kafka::Conn->new;
    weaken(my $weak = $case);
    for my $callback (qw(error connect disconnect)) {
        my $handler = "on_$callback";
        $conn->$handler(sub { $weak->{told}{$callback}++; $weak->{inside}->($callback) if $weak->{inside} });
    }
    $state->{prepare}->($conn) if $state->{prepare};
    $conn->connect($state->{host} || '127.0.0.1', $state->{port} ? $state->{port}->() : $peer->port, 10);
    wait_until { $conn->state == $state->{number} } "state $name";
    wait_until { @{ $peer->{handshakes} || [] } } 'ApiVersions' if $state->{number} == 5;
    if ($conn->connected) {
        send_request($case) for 1 .. 3;
        wait_until { grep({ $_->{api} == METADATA } @{ $peer->{requests} }) >= 3 } 'the requests';
    }
    return $case;
}

# Does it once, when the callback is called; or at once. In the
# end every request was answered once, and nothing is left.
sub run_case {
    my ($what, $case, $callback, $action, $end) = @_;
    my $done;
    $case->{inside} = sub {
        return if $_[0] ne $callback || $done++;
        $action->($case);
    } if defined $callback;
    $action->($case) if !defined $callback;
    $end->($case) if $end;
    wait_until { $done } "$what: the callback" if defined $callback;
    turns 10;
    weaken(my $weak = $case->{conn});
    undef $case->{inside};
    delete $case->{conn};
    $_->stop for @$case{qw(peer other)};
    my @wrong = grep { ($case->{answered}[$_] || 0) != 1 } 1 .. $case->{sent};
    ok !$weak && !@wrong, $what or diag "alive: ${\ !!$weak}, wrong: @wrong";
    return;
}

$SIG{__WARN__} = sub { warn $_[0] unless $_[0] =~ /\AEV::Kafka::Conn: .*on purpose\n/ };

for my $name (sort keys %STATES) {
    my $state = $STATES{$name};
    for my $act (sort keys %ACTIONS) {
        next if $act eq 'die';
        run_case("$name: $act", enter($state, $name), undef, $ACTIONS{$act});
    }
    my @ends = $state->{port} ? ('disconnect') : sort keys %ENDS;
    for my $end (@ends) {
        my %called = (disconnect => 1);
        $called{error}  = 1 if $end eq 'garbage' && $name ne 'token';
        $called{answer} = 1 if $state->{number} == 6;
        for my $callback (sort keys %called) {
            run_case("$name, $end: $_ in the callback '$callback'", enter($state, $name), $callback, $ACTIONS{$_}, $ENDS{$end})
                for sort keys %ACTIONS;
        }
    }
}

# What comes by itself: a refusal, the end of the handshake, answers in one read.
sub answer_all { my $peer = $_[0]{peer}; $peer->raw(join '', map { frame($_->{id}, $METADATA) } grep { $_->{api} == METADATA } @{ $peer->{requests} }) }
for my $act (sort keys %ACTIONS) {
    my $run = sub {
        my ($what, $state, $callback, $end) = @_;
        run_case("$what: $act in the callback '$callback'", enter($STATES{$state}, $state), $callback, $ACTIONS{$act}, $end);
    };
    $run->('refused', 'connecting', $_) for qw(error disconnect);
    $run->('handshake', 'api_versions', 'connect', sub { $_[0]{peer}->shake_hands($_[0]{peer}{handshakes}[0]) });
    $run->('answers', $_, 'answer', \&answer_all) for qw(ready encrypted);
    $run->('answers, then garbage', 'ready', 'answer', sub { &answer_all; $_[0]{peer}->raw($GARBAGE) });
    $run->('time is up', 'ready', $_, sub { $_[0]{conn}->request_timeout(0.001); send_request($_[0]) }) for qw(error answer disconnect);
    $run->('reconnecting', 'ready', 'connect', sub { $_[0]{conn}->auto_reconnect(1, 1); $_[0]{peer}->hang_up });
}

done_testing;
