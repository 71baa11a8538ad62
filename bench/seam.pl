#!/usr/bin/env perl

=head1 NAME

seam.pl - how often a producer passes from Perl to Rust and back

=head1 SYNOPSIS

  perl bench/seam.pl
  perl bench/seam.pl --messages 100000 --burst 200 idempotent=1
  perl bench/seam.pl --broker host:port --topic NAME

=head1 DESCRIPTION

Produces messages with the client's default options, or those that are given, and counts
each call of native code by the library's Perl code and each call of the library's Perl
code by native code, by name. What the program itself calls, and what calls the program,
does not count: that comes with every message. Connecting and closing do not count either.

The broker is an L<EV::Kafka::Mock>, which also counts the Produce requests, or the one at
C<--broker>, where the topic has to exist.

=over 4

=item --messages, --value-size, --partitions, --nodes

20000 messages of 100 bytes, 4 partitions, and a mock of one broker.

=item --burst

1000 messages at a time; the loop turns until they have been delivered.

=back

=cut

use v5.14;
use warnings;

use B ();
use EV;
use File::Basename qw(dirname);
use Getopt::Long   qw(GetOptions);
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV::Kafka;
use EV::Kafka::Mock;
use KafkaBench;

# Calls by direction and name.
my %count;

# Whether the code that runs is native, as far as Perl code knows that is called now. The
# loop calls closures of Perl code as well, which are not from Rust: those call on.
our $is_native = 0;

my %setting = (messages => 20_000, 'value-size' => 100, partitions => 4, nodes => 1, burst => 1_000, topic => 'seam');
GetOptions(\%setting, qw(messages=i value-size=i partitions=i nodes=i burst=i broker=s topic=s help)) or help(2);
help() if $setting{help};
my %option = map { /\A(\w+)=(.*)\z/s ? ($1 => $2) : die "$0: '$_' is no OPTION=VALUE\n" } @ARGV;

my $mock = $setting{broker} ? undef : EV::Kafka::Mock->new(brokers => $setting{nodes});
$mock->create_topic($setting{topic}, $setting{partitions}) if $mock;
my $kafka = EV::Kafka->new(
    brokers => $setting{broker} // $mock->bootstrap,
    on_error => sub { die "seam.pl: $_[0]\n" },
    %option,
);
wrap_all();
wait_for(sub { $kafka->connect($_[0]) });
# The first messages find out who leads what.
wait_for(sub { produce() for 1 .. $setting{partitions}; $kafka->flush($_[0]) });

%count = ();
my $before = $mock ? $mock->request_count('Produce') : 0;
run();
report($mock ? $mock->request_count('Produce') - $before : undef);
$kafka->close;

sub produce {
    state $number = 0;
    state $value  = 'v' x $setting{'value-size'};
    local $is_native = 1;
    return $kafka->produce($setting{topic}, 'key' . $number++, $value, @_);
}

sub run {
    for (my $done = 0; $done < $setting{messages}; $done += $setting{burst}) {
        wait_for(sub {
            my ($all_done) = @_;
            my $left = $setting{burst};
            my $delivered = sub {
                die "seam.pl: $_[1]\n" if defined $_[1];
                $all_done->() unless --$left;
            };
            produce($delivered) for 1 .. $setting{burst};
        });
    }
    return;
}

sub wait_for {
    my ($begin) = @_;
    my $is_done;
    $begin->(sub { $is_done = 1; EV::break });
    local $is_native = 1;
    EV::run unless $is_done;
    return;
}

sub report {
    my ($requests) = @_;
    my $total = 0;
    for my $direction (sort keys %count) {
        my $calls = $count{$direction};
        my $sum   = 0;
        $sum += $_ for values %$calls;
        $total += $sum;
        printf "%s: %d\n", $direction, $sum;
        printf "%8d %s\n", $calls->{$_}, $_ for sort { $calls->{$b} <=> $calls->{$a} || $a cmp $b } keys %$calls;
    }
    printf "%d calls for %d messages", $total, $setting{messages};
    printf ' and %d requests', $requests if defined $requests;
    print "\n";
    return;
}

# --- counting ---------------------------------------------------------------------

sub wrap_all {
    for my $package (packages('EV::Kafka')) {
        no strict 'refs';
        wrap($package, $_) for grep { !ref \${"${package}::"}{$_} || defined &{"${package}::$_"} } sort keys %{"${package}::"};
    }
    return;
}

sub packages {
    my ($package) = @_;
    no strict 'refs';
    my @inner = map { /\A(\w+)::\z/ ? packages("${package}::$1") : () } sort keys %{"${package}::"};
    return ($package eq 'EV::Kafka::Mock' ? () : $package, @inner);
}

sub wrap {
    my ($package, $name) = @_;
    no strict 'refs';
    return if $name =~ /::\z|\A(?:DESTROY|AUTOLOAD|BEGIN|import|can|isa|produce)\z/ || !defined &{"${package}::$name"};
    my $code = \&{"${package}::$name"};
    my $cv   = B::svref_2object($code);
    return if $cv->CvFLAGS & B::CVf_CONST || $cv->GV->STASH->NAME ne $package || defined prototype $code;
    no warnings 'redefine';
    *{"${package}::$name"} = ${ $cv->XSUB ? \native("${package}::$name", $code) : \perl("${package}::$name", $code) };
    return;
}

# What is handed over to be called later is called by native code.
sub native {
    my ($name, $code) = @_;
    return sub {
        $count{'Perl to Rust'}{$name}++;
        local $is_native = 1;
        my @args = map { ref eq 'CODE' ? perl("callback of $name", $_) : $_ } @_;
        return $code->(@args) if grep { ref eq 'CODE' } @_;
        return &$code;
    };
}

sub perl {
    my ($name, $code) = @_;
    return sub {
        $count{'Rust to Perl'}{$name}++ if $is_native && caller eq 'main';
        local $is_native = 0;
        return &$code;
    };
}
