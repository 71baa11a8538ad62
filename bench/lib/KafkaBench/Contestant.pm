package KafkaBench::Contestant;

# Who takes part in a row, how the same settings are said to each, and a run of one of
# them as a process of its own.

use v5.14;
use warnings;

use Cwd            qw(abs_path);
use Exporter       qw(import);
use File::Basename qw(dirname);
use File::Temp     ();
use IO::Select;
use JSON::PP ();
use KafkaBench;
use KafkaBench::Peers;
use POSIX       ();
use Time::HiRes qw(time);

our @EXPORT = qw(contestants produce_all);

# A run that takes longer does not end: those that do take some seconds.
my $PATIENCE = 60;

my $CHECKOUT = abs_path(dirname(__FILE__) . '/../../..');

# What each library calls a setting, and what it is given beside those.
my %SAY = (
    'EV::Kafka' => {
        acks        => sub { (acks => $_[0]) },
        idempotent  => sub { (idempotent => $_[0]) },
        in_flight   => sub { () },    # it has five at most, and no option
        linger_ms   => sub { (linger_ms => $_[0]) },
        batch_bytes => sub { (batch_size => $_[0]) },
        partitioner => sub { () },    # murmur2 for keys is what it has
        bound       => sub { () },    # its program keeps it
        compression => sub { (compression => $_[0]) },
        fetch_bytes => sub { (fetch_max_bytes => $_[0]) },
        tls_ca      => sub { (tls => 1, tls_ca_file => $_[0]) },
    },
    librdkafka => {
        acks        => sub { (acks => $_[0]) },
        idempotent  => sub { ('enable.idempotence' => $_[0] ? 'true' : 'false') },
        in_flight   => sub { ('max.in.flight' => $_[0]) },
        linger_ms   => sub { ('linger.ms' => $_[0]) },
        batch_bytes => sub { ('batch.size' => $_[0], 'batch.num.messages' => 1_000_000) },
        partitioner => sub { (partitioner => "$_[0]_random") },
        bound       => sub { ('queue.buffering.max.messages' => $_[0]) },
        compression => sub { ('compression.codec' => $_[0]) },
        # Without a larger queue it pauses whenever its own is full.
        fetch_bytes => sub {
            ('fetch.max.bytes' => $_[0], 'queued.min.messages' => 1_000_000, 'queued.max.messages.kbytes' => 1_048_576);
        },
        tls_ca => sub { ('security.protocol' => 'ssl', 'ssl.ca.location' => $_[0]) },
    },
    'franz-go' => {
        partitioner => sub { () },    # likewise
        map { my $name = $_; ($name => sub { ($name => $_[0]) }) }
            qw(acks idempotent in_flight linger_ms batch_bytes bound compression fetch_bytes tls_ca)
    },
);

# contestants(\%row, $against) -> those of a row of KafkaBench::Sections: each
#   { client, variant, beside => [names], name, run => sub ($brokers, $topic) -> the run's figures }
# {beside} are those by whom it is measured: the peers, or the other build in $against.
sub contestants {
    my ($row, $against) = @_;
    my @peers = defined $against ? () : grep { defined } map { _peer($row, @$_) } @{ $row->{peers} };
    my @ours  = map {
        my ($variant, $shape, %own) = @$_;
        my $one = _ours($row, $variant, $shape, \%own);
        defined $against ? (_ours($row, $variant, $shape, \%own, $against), { %$one, beside => ["EV::Kafka of $against, $variant"] })
            : { %$one, beside => [map { $_->{name} } @peers] };
    } @{ $row->{ours} };
    return (@peers, @ours);
}

# produce_all(\%row, $brokers, $topic) writes a row's messages: by librdkafka where it is there, so
# that nobody is read by what it wrote itself.
sub produce_all {
    my ($row, $brokers, $topic) = @_;
    my $writer = _peer($row, 'librdkafka', '', 'produce') // _ours($row, '', 'shared_callback', {});
    return $writer->{run}->($brokers, $topic);
}

sub _named { my ($client, $variant) = @_; return length $variant ? "$client, $variant" : $client }

sub _peer {
    my ($row, $client, $variant, $shape, %own) = @_;
    my $program = peer_program($client) // return;
    return {
        client  => $client,
        variant => $variant,
        name    => _named($client, $variant),
        run     => sub { _run([$program, $shape], $row, \%own, $client, @_) },
    };
}

sub _ours {
    my ($row, $variant, $shape, $own, $build) = @_;
    my $client = defined $build ? "EV::Kafka of $build" : 'EV::Kafka';
    my $blib   = ($build // $CHECKOUT) . '/blib';
    return {
        client  => $client,
        variant => $variant,
        name    => _named($client, $variant),
        run     => sub { _run([$^X, "-I$blib/lib", "-I$blib/arch", "$CHECKOUT/bench/ev_kafka_bench.pl", $shape], $row, $own, 'EV::Kafka', @_) },
    };
}

# %$own may hold messages, bound and flushes, and defaults: none of the row's settings.
sub _run {
    my ($command, $row, $own, $client, $brokers, $topic) = @_;
    my %setting = $own->{defaults} ? () : %{ $row->{settings} };
    my %key = (brokers => $brokers, topic => $topic,
        map { defined $row->{$_} ? ($_ => $row->{$_}) : () } qw(messages partitions value_size pool values rate seconds));
    my $bound = $own->{bound} // $setting{bound};
    $key{bound}    = $bound            if $client eq 'EV::Kafka' && defined $bound;
    $key{$_} = $own->{$_} for grep { defined $own->{$_} } qw(messages flushes);
    my @options = map { $SAY{$client}{$_}->($setting{$_}) } sort keys %setting;
    my @told;
    while (my ($name, $value) = splice @options, 0, 2) { push @told, "$name=$value" }
    return _run_json(@$command, map({ "$_=$key{$_}" } sort keys %key), '--', @told);
}

# The hash that the command prints as JSON; dies of what it said when it fails, and
# when it does not end.
sub _run_json {
    my (@command) = @_;
    my $complaints = File::Temp->new;
    pipe my $out, my $in or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDOUT, '>&', $in         or POSIX::_exit(126);
        open STDERR, '>&', $complaints or POSIX::_exit(126);
        { no warnings 'exec'; exec { $command[0] } @command }
        POSIX::_exit(127);
    }
    close $in;
    my ($text, $until, $select) = ('', time + $PATIENCE, IO::Select->new($out));
    my $is_late;
    until ($is_late) {
        $is_late = !$select->can_read($until - time) && time >= $until;
        last if !$is_late && !sysread $out, $text, 65536, length $text;
    }
    kill KILL => $pid if $is_late;
    waitpid $pid, 0;
    die "did not end within $PATIENCE s\n" if $is_late;
    return JSON::PP->new->decode($text) unless $?;
    seek $complaints, 0, 0;
    my @lines = grep { /\S/ } readline $complaints;
    die @lines ? $lines[-1] : "ended with $?\n";
}

1;
