# A client belongs to the process that connects it.
use strict;
use warnings;

use lib 't/lib';

use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use mro ();
use POSIX ();
use Test::More;

use ForkTest;
use TestKafka;

my $FOREIGN = qr/\AEV::Kafka: the client belongs to the process that connected it, not to a child of fork at \Q$0\E line/;

my $mock = EV::Kafka::Mock->new(brokers => 2);
$mock->create_topic(t => 2);

# All that is documented, with arguments that are right in the process of the client.
my %ARGUMENTS = (
    assign      => [[{ topic => 't' }]],
    begin_transaction => [],
    commit_transaction => [sub { }],
    abort_transaction  => [sub { }],
    send_offsets_to_transaction => ['g', sub { }],
    offsets_for => ['t', sub { }],
    offsets_for_times => [{ 't:0' => 0 }, sub { }],
    pause       => [[{ topic => 't', partition => 0 }]],
    resume      => [[{ topic => 't', partition => 0 }]],
    position    => ['t', 0],
    produce     => ['t', 'k', 'v'],
    produce_many => [[['t', 'k', 'v']], sub { }],
    seek        => ['t', 0, 0, sub { }],
    subscribe   => ['t', group_id => 'g'],
);

sub public_methods {
    my %method;
    no strict 'refs';
    for my $class (@{ mro::get_linear_isa('EV::Kafka::Client') }) {
        $method{$_}++ for grep { /\A[a-z]/ && defined &{"${class}::$_"} && !/\A(?:weaken|refaddr|blessed|reftype|looks_like_number)\z/ }
            keys %{"${class}::"};
    }
    delete @method{qw(new close error_name can isa import by_topic flat offsets_by_topic parse)};
    return sort keys %method;
}

subtest 'every method but close croaks in the child' => sub {
    my $kafka   = connected(brokers => $mock->bootstrap);
    my @methods = public_methods();
    cmp_ok scalar(@methods), '>', 20, 'all methods are known' or diag "@methods";
    my ($said, $status) = in_child {
        my ($out) = @_;
        my $try = sub {
            my ($what, $method, @arguments) = @_;
            eval { $kafka->$method(@arguments); 1 } and print $out "$what lives\n";
            $@ =~ $FOREIGN or print $out "$what: $@\n";
        };
        $try->($_, $_, @{ $ARGUMENTS{$_} || [] }) for @methods;
        $try->('produce with a callback', produce => 't', 'k', 'v', sub { });
        $try->('produce with options', produce => 't', 'k', 'v', { partition => 1 }, sub { });
        $kafka->close(sub { print $out "closed\n" });
        $try->('produce after close', produce => 't', 'k', 'v');
        $kafka->close(sub { print $out "again\n" });
        undef $kafka;
        print $out "end\n";
    };
    is $said, "closed\nagain\nend\n", 'with a text that says why; close calls its own callback';
    is $status, 0, 'the child ends well';
    my $delivered;
    $kafka->produce('t', 'k', 'from the parent', sub { $delivered = $_[1] // 'delivered' });
    wait_until { $delivered } 'delivery';
    is $delivered, 'delivered', 'the parent is not disturbed';
};

subtest 'the child is silent, whatever it does' => sub {
    for my $how (qw(drop close loop)) {
        my @told;
        my $note  = sub { my ($what) = @_; sub { push @told, $what } };
        my $kafka = connected(brokers => $mock->bootstrap, linger_ms => 50, metadata_refresh => 0.05,
            on_message => $note->('message'), idempotent => 1);
        $kafka->assign([{ topic => 't' }]);
        $kafka->produce('t', 'k', 'v', $note->('delivered'));
        $kafka->produce('t', 'k', 'v', { partition => 1 }, $note->('delivered'));
        $kafka->flush($note->('flushed'));
        $kafka->poll($note->('polled'));
        my $requests = $mock->request_count('Metadata');
        my $said = in_child {
            my ($out) = @_;
            local $SIG{__WARN__} = sub { push @told, "warning: $_[0]" };
            undef $kafka  if $how eq 'drop';
            $kafka->close if $how eq 'close';
            my $end = EV::timer 1, 0, sub { EV::break };
            EV::run;
            print $out join ',', @told, $kafka ? errors($kafka) : ();
        };
        is $said, '', "$how: nobody is called";
        wait_until { 2 == grep { $_ eq 'delivered' } @told } "$how: delivery in the parent";
        wait_until { grep { $_ eq 'flushed' } @told } "$how: flush in the parent";
    }
    my %count;
    $count{ $_->{value} }++ for map { $mock->records(t => $_) } 0, 1;
    is_deeply \%count, { v => 6, 'from the parent' => 1 }, 'each message was written once';
};

subtest 'close in the child closes its descriptors' => sub {
    my $kafka = connected(brokers => $mock->bootstrap);
    my $child = child(sub {
        my ($out, $wait) = @_;
        $kafka->close;
        print $out "closed\n";
        readline $wait;
    });
    is readline $child->{out}, "closed\n", 'it says so';
    $kafka->close;
    wait_until { !$mock->connections } 'the end of all connections, which nobody holds open';
    is $mock->connections, 0, 'while the child lives';
    reap($child);
};

# Once, in the callback; the child then returns from it.
sub forker {
    my ($state) = @_;
    return sub {
        $state->{called}++;
        return if exists $state->{child};
        $state->{child} = fork;
        defined $state->{child} or die "fork: $!";
    };
}

subtest 'a callback that forks and returns' => sub {
    my %start = (
        connect    => sub { my ($kafka, $forker) = @_; $kafka->connect($forker) },
        on_message => sub { my ($kafka) = @_; $kafka->connect(sub { $kafka->assign([{ topic => 't' }]); $kafka->poll }) },
        produce    => sub { my ($kafka, $forker) = @_; $kafka->connect(sub { $kafka->produce('t', 'k', "v$_", $forker) for 1 .. 5 }) },
        flush      => sub { my ($kafka, $forker) = @_; $kafka->connect(sub { $kafka->produce('t', 'k', 'v'); $kafka->flush($forker) }) },
        poll       => sub { my ($kafka, $forker) = @_; $kafka->connect(sub { $kafka->assign([{ topic => 't' }]); $kafka->poll($forker) }) },
    );
    my %calls = (on_message => sub { scalar(() = $mock->records(t => 0)) }, produce => sub { 5 });
    for my $where (sort keys %start) {
        my $state = {};
        my $forker = forker($state);
        pipe my $out, my $child_out or die "pipe: $!";
        my @noise;
        local $SIG{__WARN__} = sub { push @noise, @_ };
        my $kafka = EV::Kafka->new(brokers => $mock->bootstrap, linger_ms => 5, metadata_refresh => 0.05, fetch_max_wait_ms => 10,
            on_error => sub { push @noise, @_ }, on_message => $where eq 'on_message' ? $forker : sub { });
        $start{$where}->($kafka, $forker);
        wait_until { exists $state->{child} } "$where: the fork";
        if (!$state->{child}) {
            my $end = EV::timer 0.3, 0, sub { EV::break };
            EV::run;
            undef $kafka;
            syswrite $child_out, join ' ', $state->{called}, @noise;
            POSIX::_exit(0);
        }
        close $child_out;
        is do { local $/; readline $out }, 1, "$where: the child goes on in silence";
        waitpid $state->{child}, 0;
        wait_until { $state->{called} == ($calls{$where} ? $calls{$where}->() : 1) } "$where: the parent is told all";
        is_deeply \@noise, [], "$where: and goes on as well";
        $kafka->close;
    }
};

subtest 'a client that has opened nothing belongs to whoever connects it first' => sub {
    my $kafka = client(brokers => $mock->bootstrap);
    my $child = child(sub {
        my ($out) = @_;
        $kafka->produce('t', undef, 'from the child', { partition => 0 }, sub { print $out $_[1] // 'delivered', "\n" });
        $kafka->connect;
        $kafka->flush(sub { print $out "flushed\n"; EV::break });
        EV::run;
        $kafka->produce('t', undef, 'unsent', sub { print $out "$_[1]\n" });
        undef $kafka;
    });
    my $said = '';
    $child->{out}->blocking(0);
    my ($ended);
    my $reading = EV::io $child->{out}, EV::READ, sub { $ended = 1 if defined(my $n = sysread $child->{out}, $said, 1000, length $said); $ended = defined $n && !$n };
    wait_until { $ended } 'the end of the child';
    reap($child);
    is $said, "delivered\nflushed\nclient closed\n", 'the child has all of it, to the end';
    my $delivered;
    $kafka->connect(sub { $kafka->produce('t', undef, 'from the parent', { partition => 0 }, sub { $delivered = $_[1] // 'delivered' }) });
    wait_until { $delivered } 'delivery in the parent';
    is $delivered, 'delivered', 'and so has the parent';
    is_deeply [grep { /child/ } @{ log_values($mock, 't') }], ['from the child'], 'nothing is sent twice';
};

subtest 'one that nobody connected goes silently in the child' => sub {
    my $kafka = client(brokers => $mock->bootstrap);
    my @told;
    $kafka->produce('t', 'k', 'v', sub { push @told, $_[1] });
    is in_child { my ($out) = @_; undef $kafka; print $out @told }, '', 'the message is still the parent\'s';
    $kafka->close;
    is_deeply \@told, ['client closed'], 'who hears of its end';
};

subtest 'a mock cluster serves the process that made it' => sub {
    my $said = in_child {
        my ($out) = @_;
        print $out $mock->bootstrap, "\n";
        eval { $mock->append(t => 0, { value => 'v' }) };
        print $out $@;
        $mock->close;
    };
    my $where = $mock->bootstrap;
    like $said, qr/\A\Q$where\E\nEV::Kafka::Mock: the cluster belongs to the process that made it, not to a child of fork at /,
        'a child may only ask where it is';
    ok connected(brokers => $mock->bootstrap), 'the parent still serves';
};

done_testing;
