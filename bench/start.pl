#!/usr/bin/env perl

=head1 NAME

start.pl - what it costs a group to begin with many topics

=head1 SYNOPSIS

  perl bench/start.pl
  perl bench/start.pl --topics 100 --partitions 100 --nodes 1 --rounds 3
  perl bench/start.pl --help

=head1 DESCRIPTION

One member joins a group that has committed nothing yet, for 1000 topics of 10 partitions on three brokers: it
asks where the 10,000 partitions end. Prints for each round the client's CPU time and the time that passes from
C<subscribe> until C<on_assign> is called, and how many ListOffsets that took. The brokers are an
L<EV::Kafka::Mock> in a process of its own.

=cut

use v5.14;
use warnings;

use EV;
use File::Basename qw(dirname);
use Getopt::Long   qw(GetOptions);
use lib map { dirname(__FILE__) . "/$_" } qw(lib ../blib/lib ../blib/arch);

use EV::Kafka;
use EV::Kafka::Mock;
use KafkaBench;

# Seconds after which something is wrong.
use constant PATIENCE => 120;

my %setting = (topics => 1_000, partitions => 10, nodes => 3, rounds => 5);
GetOptions(\%setting, qw(topics=i partitions=i nodes=i rounds=i help)) or help(2);
help() if $setting{help};

my @topics = map { "topic-$_" } 1 .. $setting{topics};
my $mock   = start_mock();
start_group($_) for 1 .. $setting{rounds};
close $mock->{asked};
waitpid $mock->{pid}, 0;

# A mock in a process of its own, which says how many ListOffsets it has had for each line that it reads, and
# ends with them.
sub start_mock {
    pipe my $asks, my $asked or die "pipe: $!\n";
    my $pid = open(my $says, '-|') // die "fork: $!\n";
    if (!$pid) {
        close $asked;
        run_mock($asks);
        exit 0;
    }
    close $asks;
    $asked->autoflush(1);
    chomp(my $bootstrap = <$says> // die "no mock\n");
    return { pid => $pid, asked => $asked, says => $says, bootstrap => $bootstrap };
}

sub run_mock {
    my ($asks) = @_;
    STDOUT->autoflush(1);
    my $cluster = EV::Kafka::Mock->new(brokers => $setting{nodes});
    $cluster->create_topic($_, $setting{partitions}) for @topics;
    print $cluster->bootstrap, "\n";
    my $watcher = EV::io $asks, EV::READ, sub {
        sysread($asks, my $line, 1) or return EV::break;
        print $cluster->request_count('ListOffsets'), "\n";
    };
    EV::run;
    return;
}

sub lookups {
    syswrite $mock->{asked}, '?';
    my $says = $mock->{says};
    return scalar <$says>;
}

sub start_group {
    my ($round) = @_;
    my $kafka = EV::Kafka->new(brokers => $mock->{bootstrap}, on_message => sub { }, on_error => \&give_up);
    my $late  = EV::timer PATIENCE, 0, sub { give_up("round $round takes too long") };
    await(sub { $kafka->connect(@_) });
    my $before   = lookups();
    my $watch    = stopwatch();
    my $assigned = await(sub { $kafka->subscribe(@topics, group_id => "group-$round", on_assign => $_[0]) });
    my ($wall, $cpu) = $watch->();
    printf "%d partitions: %.3f s of CPU, %.3f s, %d ListOffsets\n", scalar @$assigned, $cpu, $wall, lookups() - $before;
    await(sub { $kafka->close(@_) });
    return;
}
