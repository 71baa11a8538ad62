use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use EV::Kafka::Promises;
use IO::Handle;
use POSIX ();
use Test::More;

use Documentation;

# The code that README.pod and the POD of lib/ show can be run: every block is, each in a process of its own with
# a cluster of its own, and none dies, warns or uses what is not there.
#
# Blocks that say everything themselves are programs. Options go to new, or to subscribe. Everything else is
# a fragment: it runs inside a program that has what %GIVEN and @STUBS name. A block for which that is not enough
# has a line in @SPECIAL.

# Seconds that code which waits for messages is left running.
my $GRACE = 0.3;

# How many blocks run at a time.
my $AT_ONCE = 8;

# What fragments speak of without saying what it is: $kafka and $conn are connected to $mock.
my %GIVEN = (
    '$topic'   => q('orders'), '$partition' => 0, '$offset' => 0, '$key' => q('k'), '$value' => q('v'), '$text' => q('text'),
    '$id'      => 17,          '$invoice' => q('12.50'), '$entry' => q('12.50'), '$order' => q('tea'), '$number' => 1, '$count' => 0,
    '$cb'      => 'sub { }',   '$brokers' => '$mock->bootstrap', '$token' => q('token'), '$password' => q('secret'), '$pem' => '$main::certificate',
    '$group'   => q('workers'), '$group_id' => q('workers'), '$transactional_id' => q('copy'), '$node_id' => 0, '$name' => q('new'), '$partitions' => 2,
    '$workers' => 0, '$member_id' => q('m'), '$generation_id' => 1, '$one' => q('m'), '$other' => q('n'), '$bytes' => q(''), '$offsets' => 0,
    '$producer_id' => 1, '$epoch' => 0, '$from_offset' => 0, '$before_offset' => 0, '%options' => '()', '%retry' => '()',
    '$error'   => q(EV::Kafka::Error->of_code(29)), '@offsets' => q(({ topic => 'orders', partition => 0, offset => 0 })),
    '@partitions' => q(({ topic => 'orders', partition => 0 })), '@known' => q(('acks')),
);

# Functions of the reader's own, and tests that a fragment makes of what is not there.
my @STUBS = qw(resume_reading stored_offset call_somebody fetch_token process retry_later try_later look_up message is is_deeply);

# File, a pattern for the code, and: what comes before it, that it is only compiled, or not even that.
my $IN_GROUP = q{$kafka->subscribe('orders', group_id => 'workers', on_assign => sub { EV::break }); EV::run;};
my @SPECIAL = (
    [qr/Kafka\.pm/,  qr/->commit\(sub \{\s+my|->committed\(sub/ => { before => $IN_GROUP }],
    [qr/Kafka\.pm/,  qr/->unsubscribe\(sub/        => { before => $IN_GROUP }],
    [qr/Kafka\.pm/,  qr/\A\s+\$kafka->(?:send_offsets_to|commit)_transaction/ => { before => "\$kafka->begin_transaction; $IN_GROUP" }],
    [qr/Kafka\.pm/,  qr/fork \/\/ die/             => { compile => 'it forks; t/client/fork.t does, too' }],
    [qr/Admin\.pm/,  qr/METHOD\(WHAT/              => { skip    => 'a pattern of all calls' }],
    [qr/Mock\.pm/,   qr/create_topic\(\$name\);/   => { compile => 'a topic is created once' }],
    [qr/Topics\.pm/, qr/Topics->new/               => { before  => 'my (%published, $meta);', compile => 'metadata are what a broker has answered' }],
    [qr/Request/,    qr/Request->new/              => { before  => 'my (@transaction, $loop, $outbox);', compile => 'its functions are what the class is given' }],
    [qr/Hint/,       qr/croak/                     => { before  => 'use Carp qw(croak);', compile => 'it croaks' }],
);

# --- what a block is run as ---------------------------------------------------------------

sub special_of {
    my ($block) = @_;
    my ($found) = grep { $block->{file} =~ $_->[0] && $block->{text} =~ $_->[1] } @SPECIAL;
    return $found ? %{ $found->[2] } : ();
}

sub wants_tls { $_[0] =~ m{/etc/kafka|\$pem\b|\btls\s*=>\s*1|a_certificate|client_certificate} }

# A cluster that wants what the code brings.
sub cluster_for {
    my ($text) = @_;
    my %security;
    $security{tls}  = 1 if wants_tls($text);
    $security{sasl} = { users => { alice => 'secret' }, tokens => { token => 'alice' } } if $text =~ /\bsasl(?:\s*=>\s*\{|\()|sasl\./;
    my $mock = EV::Kafka::Mock->new(brokers => 3, partitions => 2, replication_factor => 3, %security);
    return $mock if $text =~ /create_topic/;
    $mock->create_topic('orders');
    $mock->append(orders => $_, map { { key => "k$_", value => "v$_" } } 1 .. 200) for 0, 1;
    return $mock;
}

# Addresses and files of the text are those of the cluster.
sub settled {
    my ($text, $mock) = @_;
    my ($bootstrap, $port) = ($mock->bootstrap, ($mock->brokers)[0]{port});
    my $address = qr/[\w.-]+:[0-9]{4,5}/;
    $text =~ s/'$address(?:,$address)*'/'$bootstrap'/g;
    $text =~ s/'[\w.-]+', 909[0-9]/'127.0.0.1', $port/g;
    $text =~ s{'/etc/kafka/ca\.pem'}{\$main::cluster->ca_certificate}g;
    $text =~ s{'/etc/kafka/\w+\.(?:pem|key)'}{\$main::certificate}g;
    return $text;
}

sub code_of {
    my ($block, $mock) = @_;
    my $kind    = kind_of($block->{text});
    my %special = special_of($block);
    my $text    = settled(runnable($block->{text}), $mock);
    return "#line $block->{line} \"$block->{file}\"\n$text" if $kind eq 'program';

    my @given = map { "my $_ = $GIVEN{$_};" } sort keys %GIVEN;
    my $code  = "#line $block->{line} \"$block->{file}\"\n$text\n";
    $code = "my \@options = (\n$code);\nmain::options_are_known(\$mock, \@options);" if $kind eq 'options';
    $code = "use Future::AsyncAwait;\n(async sub {\n$code})->()->retain;" if $text =~ /\bawait\b/;
    $code = "return 1;\n$code" if $special{compile};
    return join "\n", 'package Fragment; use strict; use warnings; use feature q(say); no warnings qw(void misc once redefine);',
        'no warnings q(shadow);' x !!($] >= 5.028), @given, $special{before} // '', '{', $code, ';main::go_on();', '}';
}

# Options of new, or of subscribe.
sub options_are_known {
    my ($mock, @options) = @_;
    my %is_given = @options;
    return EV::Kafka::Promises->new(brokers => $mock->bootstrap, @options) if $is_given{promise};
    return 1 if eval { EV::Kafka->new(brokers => $mock->bootstrap, tls => 1, @options); 1 };
    die $@ unless $@ =~ /unknown option/;
    return EV::Kafka->new(brokers => $mock->bootstrap)->subscribe('orders', group_id => 'workers', @options);
}

{
    no strict 'refs';
    *{"Fragment::$_"} = sub { } for @STUBS;
}

# Modules that a program may have or not.
sub can_run {
    my ($block) = @_;
    my %special = special_of($block);
    return if $special{skip};
    my @missing = grep { !eval "require $_; 1" } $block->{text} =~ /^\s*use ([A-Z]\w+(?:::\w+)*)/mg, ('Future::AsyncAwait') x ($block->{text} =~ /\bawait\b/);
    note "$block->{file}, line $block->{line}: needs @missing" if @missing;
    return !@missing;
}

# --- running ------------------------------------------------------------------------------

# In a child, all of whose complaints go to the pipe.
sub start {
    my ($block) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    defined(my $pid = fork) or die "fork: $!";
    return { block => $block, pid => $pid, reader => $reader } if $pid;
    open STDOUT, '>', '/dev/null' or POSIX::_exit(99);
    open STDERR, '>&', $writer    or POSIX::_exit(99);
    STDERR->autoflush;
    # The loop of the parent, which has not run since: its timers would begin then.
    EV::default_loop->loop_fork;
    EV::now_update;
    alarm 60;
    Test::More->builder->reset;
    Test::More->builder->$_(\*STDERR) for qw(failure_output todo_output);
    Test::More->builder->output(\*STDOUT);
    my $mock = our $cluster = cluster_for($block->{text});
    our $certificate = wants_tls($block->{text}) ? $mock->client_certificate('me') : undef;
    my $run  = kind_of($block->{text}) eq 'program' ? \&run_program : \&run_inside;
    eval { $run->($block, $mock, code_of($block, $mock)); 1 } or print STDERR "died: $@";
    POSIX::_exit(0);
}

sub end_of {
    my ($run) = @_;
    my $complaints = do { local $/; readline $run->{reader} } // '';
    waitpid $run->{pid}, 0;
    my ($block, $status) = ($run->{block}, $?);
    ok $status == 0 && $complaints eq '', "$block->{file}, line $block->{line}: $block->{section}"
        or diag "exit status $status\n$complaints";
}

# One that says everything itself, but for its end.
sub run_program {
    my (undef, $mock, $code) = @_;
    my ($ticks, $stop) = (0);
    $stop = EV::timer 0.05, 0.05, sub { EV::break(EV::BREAK_ALL) if $mock->request_count('ApiVersions') && ++$ticks > $GRACE / 0.05 }
        if $code !~ /done_testing/;
    program($code);
    my $tests = Test::More->builder;
    die "no test that passes\n" if $code =~ /Test::More/ && $code =~ /done_testing/ && !($tests->current_test && $tests->is_passing);
}

# With nothing around it that it could see.
sub program { eval "package Program;\nuse strict;\nuse warnings;\n$_[0]\n;1" or die $@ }

sub run_inside {
    my ($block, $mock, $code) = @_;
    my $kafka = client($mock, $block->{text});
    my $conn  = connection($mock, $block->{text});
    eval $code;
    die $@ if $@;
}

# What the code has made lives as long as it runs.
sub go_on {
    my $end = EV::timer $GRACE, 0, sub { EV::break(EV::BREAK_ALL) };
    EV::run;
    POSIX::_exit(0);
}

# What the code connects itself is not connected.
sub is_connected { $_[0] !~ m{\bconnect\(|\btls|\bsasl|/etc/kafka|_certificate} }

sub client {
    my ($mock, $text) = @_;
    my @more = $text =~ /transaction\b/ ? (transactional_id => 'copy') : ();
    if ($text =~ /\bawait\b/) {
        my $kafka = EV::Kafka::Promises->new(brokers => $mock->bootstrap, promise => 'Future', @more);
        $kafka->connect->get if is_connected($text);
        return $kafka;
    }
    my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, on_message => sub { }, @more);
    return $kafka if !is_connected($text);
    $kafka->connect(sub { EV::break });
    EV::run;
    return $kafka;
}

sub connection {
    my ($mock, $text) = @_;
    my $conn = EV::Kafka::Conn->new;
    return $conn if !is_connected($text) || $text !~ /\$conn\b/;
    $conn->on_connect(sub { EV::break });
    $conn->connect('127.0.0.1', ($mock->brokers)[0]{port}, 10);
    EV::run;
    $conn->on_connect(sub { });
    return $conn;
}

my @blocks = map { blocks_of($_) } pages();
is_deeply [map { "$_->{file}, line $_->{line}" } grep { $_->{text} =~ /\t/ } @blocks], [], 'no tabs';
is_deeply [map { "$_->{file}, line $_->{line}" } grep { $_->{text} =~ m{^[^#\n]*(?<!or )(?<!// )\bdie\b(?! =>)}m } @blocks], [], 'nothing dies in a callback';
my @waiting = grep { can_run($_) } grep { kind_of($_->{text}) =~ /program|fragment|options/ } @blocks;
my @running;
while (@waiting || @running) {
    push @running, start(shift @waiting) while @waiting && @running < $AT_ONCE;
    end_of(shift @running);
}

done_testing;
