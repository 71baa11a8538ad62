use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use Test::More;

use ConnArguments qw(requests refusals likenesses fill);
use ConnPeer;
use RequestTest;
use TestKafka qw(wait_until turns warnings_of);

# Arguments as programs get them wrong, of every method of EV::Kafka::Conn; and
# those that only look so. Which there are says t/lib/ConnArguments.pm.

# A connection to a peer that speaks everything in its newest version.
my %HIGHEST = (
    0 => 11, 1 => 12, 2 => 10, 3 => 13, 8 => 9, 9 => 9, 10 => 6, 11 => 9, 12 => 4, 13 => 5, 14 => 4,
    19 => 7, 20 => 6, 22 => 5, 24 => 3, 25 => 4, 26 => 4, 28 => 4,
);
sub peer { ConnPeer->new(versions => { map { $_ => [0, $HIGHEST{$_}] } keys %HIGHEST }) }

# The bytes of the one request that a call sends.
sub bytes_of {
    my ($conn, $peer, $method) = splice @_, 0, 3;
    my $arguments = \@_;
    return sent($peer, sub { $conn->$method(@$arguments) })->{body};
}

subtest 'before they are looked at' => sub {
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    my %methods = map { $_->[0] => 1 } requests();
    is scalar keys %methods, 20, 'all request methods';
    my @others;
    for my $method (sort keys %methods) {
        for my $arguments ([], [([]) x 9], [(undef) x 9]) {
            my $croak = croak_of(sub { $conn->$method(@$arguments) });
            push @others, "$method: $croak" if $croak !~ /\Anot connected at /;
        }
    }
    is_deeply \@others, [], 'each croaks that there is no connection';
};

subtest 'what is refused' => sub {
    my $peer = peer();
    my ($conn, $log) = ready($peer);
    my (@others, @kept);
    for my $refusal (refusals()) {
        my ($text, $method, @arguments) = @$refusal;
        my @before = reference_counts(@arguments);
        my $croak = croak_of(sub { $conn->$method(@arguments) }) // 'no croak';
        push @others, "$method: $croak instead of $text" if $croak !~ /\A\Q$text\E at /;
        push @kept, $text if "@before" ne join ' ', reference_counts(@arguments);
    }
    cmp_ok scalar(refusals()), '>', 1000, 'a good many';
    is_deeply \@others, [], 'each with its own text';
    is_deeply \@kept, [], 'nothing is kept';
    is $conn->pending, 0, 'nothing is pending';
    turns;
    is_deeply $peer->{requests}, [], 'nothing was sent';
    ok $conn->connected && !@$log, 'the connection goes on as if nothing had been';
    is bytes_of($conn, $peer, metadata => ['t'], sub { }),
        "\0" . carray("\0" x 16 . cstring('t') . "\0") . "\1\0\0", 'and works';
};

subtest 'what is as good as a plain value' => sub {
    my $peer = peer();
    my ($conn) = ready($peer);
    my (@others, @reads);
    my @warnings = warnings_of {
        for (grep { defined $_->[3] } requests()) {
            my ($method, $name, $kind, $good, $arguments) = @$_;
            my $wanted = bytes_of($conn, $peer, $method, $arguments->($good));
            my %like = likenesses($kind, $good);
            for my $like (sort keys %like) {
                my ($list, $counter) = fill($arguments, $like{$like});
                my $bytes = bytes_of($conn, $peer, $method, @$list);
                push @others, "$method, $name: $like" if $bytes ne $wanted;
                next if !defined $counter;
                push @reads, "$method, $name: $like: $counter->{read} times" if $counter->{read} != 1;
            }
        }
    };
    is_deeply \@others, [], 'sends the same';
    is_deeply \@reads, [], 'and is read once';
    is_deeply \@warnings, [], 'without a warning';
};

subtest 'numbers at the ends of their fields' => sub {
    my $peer = peer();
    my ($conn) = ready($peer);
    my @refused;
    for (grep { $_->[2] =~ /\Aint/ } requests()) {
        my ($method, $name, $kind, undef, $arguments) = @$_;
        my ($bits) = $kind =~ /([0-9]+)/;
        for my $end (-(1 << $bits - 2) - (1 << $bits - 2), (1 << $bits - 2) - 1 + (1 << $bits - 2)) {
            my $croak = croak_of(sub { $conn->$method($arguments->($end)) });
            push @refused, "$method, $name: $end: $croak" if $croak;
        }
    }
    is_deeply \@refused, [], 'are accepted';
};

subtest 'undef is the default' => sub {
    my $peer = peer();
    my ($conn) = ready($peer);
    my @refused;
    my @warnings = warnings_of {
        for (grep { $_->[2] !~ /\Aarray\z/ } requests()) {
            my ($method, $name, $kind, undef, $arguments) = @$_;
            my $croak = croak_of(sub { $conn->$method($arguments->(undef)) }) or next;
            push @refused, $croak =~ s/ at .*//sr;
        }
    };
    is_deeply [sort @refused], [
        (map { ("$_: bad partition", "$_: missing topic") } qw(add_partitions_to_txn)),
        'offset_commit: missing topic',
        (map { ("$_: bad partition", "$_: missing topic") } qw(offset_fetch)),
        'txn_offset_commit: missing topic',
    ], 'but for what must be there';
    is_deeply \@warnings, [], 'without a warning';
};

subtest 'strings go out as the bytes that Perl has' => sub {
    my $peer = peer();
    my ($conn) = ready($peer);
    my @others;
    utf8::upgrade(my $upgraded = "caf\xe9");
    for (grep { $_->[2] =~ /\A(?:string|bytes)\z/ } requests()) {
        my ($method, $name, undef, undef, $arguments) = @$_;
        for (["\x{263a}", "\xe2\x98\xba"], [$upgraded, "caf\xc3\xa9"], ["caf\xe9", "caf\xe9"], ["a\0b", "a\0b"]) {
            my ($given, $bytes) = @$_;
            my ($got, $wanted) = map { bytes_of($conn, $peer, $method, $arguments->($_)) } $given, $bytes;
            push @others, "$method, $name: " . unpack 'H*', $bytes if $got ne $wanted || index($got, $bytes) < 0;
        }
    }
    is_deeply \@others, [], 'nothing is recoded';
    is utf8::is_utf8($upgraded), 1, 'the caller\'s string stays as it was';
    my $got = bytes_of($conn, $peer, fetch_multi => { "\x{263a}" => [{}] }, sub { });
    cmp_ok index($got, "\xe2\x98\xba"), '>', 0, 'keys of a hash too';
};

subtest 'strings that no field can hold' => sub {
    my $peer = peer();
    my ($conn) = ready($peer);
    my $long = 'x' x 32768;
    my @others;
    for (grep { $_->[2] eq 'string' } requests()) {
        my ($method, $name, undef, undef, $arguments) = @$_;
        @ConnArguments::ANSWERS = ();
        my $croak = croak_of(sub { $conn->$method($arguments->($long)) });
        # What it stands in is put together before the request is.
        next if $method eq 'join_group' && $name eq 'topic' && $croak =~ /\Ajoin_group: topic is too long at /;
        my ($result, $error) = @{ $ConnArguments::ANSWERS[0] || [] };
        next if @ConnArguments::ANSWERS == 1 && !defined $result
            && $error =~ /\A[A-Z]\w+ version [0-9]+: \w+ is too long\z/;
        push @others, "$method, $name: " . ($error // 'no error');
    }
    $conn->fetch_multi({ $long => [{}] }, sub { push @others, $_[1] });
    is_deeply \@others, ['FetchTopic version 12: topic is too long'], 'fail the request';
    turns;
    is_deeply $peer->{requests}, [], 'and nothing is sent';
    is $conn->pending, 0, 'nor pending';
};

subtest 'options that are not known' => sub {
    my $peer = peer();
    my ($conn) = ready($peer);
    my $with = sub { my ($method, @arguments) = @_; bytes_of($conn, $peer, $method, @arguments, sub { }) };
    is $with->(fetch => 't', 0, 0, { no_such => [] }), $with->(fetch => 't', 0, 0, {}), 'are ignored by fetch';
    my @produce = (produce => 't', 0, 'k', 'v');
    is $with->(@produce, { timestamp => 5, no_such => [] }), $with->(@produce, { timestamp => 5 }), 'by produce';
    is $with->(offset_fetch => 'g', [], { no_such => [] }), $with->(offset_fetch => 'g', [], {}), 'by offset_fetch';
};

subtest 'left out' => sub {
    my $peer = peer();
    my ($conn) = ready($peer);
    my %croaks = (
        fetch_multi   => 'expected hashref',
        produce_batch => 'expected arrayref of records',
        map { $_ => 'expected arrayref' } qw(create_topics delete_topics join_group offset_commit offset_fetch
            add_partitions_to_txn txn_offset_commit),
    );
    my %methods = map { $_->[0] => 1 } requests();
    my %got = map { my $method = $_; $method => croak_of(sub { $conn->$method }) } keys %methods;
    s/\A\w+: (.*) at .*/$1/s for grep { defined } values %got;
    is_deeply \%got, { (map { $_ => undef } keys %methods), %croaks }, 'only arrays and hashes have to be there';
};

subtest 'settings' => sub {
    my $peer = peer();
    my ($conn, $log) = conn();
    my ($host, $port) = ({ likenesses(string => '127.0.0.1') }, { likenesses(int16 => $peer->port) });
    for my $like (sort keys %$host) {
        $host->{$like}->(my $the_host);
        $port->{$like}->(my $the_port);
        $conn->connect($the_host, $the_port, ConnArguments::object(Number => 10));
        wait_until { @$log } 'connecting';
        is_deeply $log, ['connect'], "host and port: $like";
        $conn->disconnect;
        @$log = ();
    }
    $conn->client_id("\x{263a}");
    $conn->request_timeout(ConnArguments::object(Text => '0.05'));
    $conn->connect('127.0.0.1', $peer->port, undef);
    wait_until { @$log } 'connecting';
    is sent($peer, sub { $conn->metadata(['t'], sub { }) })->{client_id}, "\xe2\x98\xba", 'the client id';
    wait_until { @$log > 1 } 'the timeout';
    is $log->[1], 'error: request timed out: Metadata v13', 'the timeout';

    ($conn, $log) = conn();
    $conn->connect(undef, $peer->port);
    wait_until { @$log > 1 } 'an outcome';
    like $log->[0], qr/\Aerror: resolve: /, 'no host';
    ($conn, $log) = conn();
    $conn->connect("a\0b", $peer->port);
    wait_until { @$log > 1 } 'an outcome';
    like $log->[0], qr/\Aerror: resolve: /, 'a host that can be none';
};

done_testing;
