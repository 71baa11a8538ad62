#!/usr/bin/env perl

=head1 NAME

trace.pl - which subs of EV::Kafka a record and a commit pass through

=head1 SYNOPSIS

  perl -Mblib bench/trace.pl
  perl -Mblib bench/trace.pl -v

=head1 DESCRIPTION

Produces a record, polls one and commits, each for the second time, with a mock cluster, and prints how many
Perl subs of EV::Kafka were called for it, in how many rooms, which are modules, and how often a call was in another
room than the one before. Native methods do not count. With C<-v> it prints the calls in their order.

=cut

use v5.14;
use warnings;

use B ();
use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';
use KafkaBench;

# Before what needs a build.
BEGIN { help() if grep { $_ eq '--help' } @ARGV }

use EV;
use EV::Kafka;
use EV::Kafka::Mock;

# Seconds that nothing here should take.
use constant PATIENCE => 10;

my $is_verbose = grep { $_ eq '-v' } @ARGV;
my @calls;

# Every sub that is written in Perl and is at home in its package says that it is called.
sub watch {
    my ($package) = @_;
    no strict 'refs';
    no warnings qw(redefine prototype);
    for my $name (sort keys %{"${package}::"}) {
        my $full = "${package}::$name";
        next if $name eq 'AUTOLOAD' || !defined &$full;
        my $sub = \&$full;
        my $cv  = B::svref_2object($sub);
        next if $cv->XSUB || $cv->CvFLAGS & B::CVf_CONST || $cv->STASH->NAME ne $package || $cv->GV->NAME eq '__ANON__';
        *$full = sub { push @calls, [$package, $name]; goto &$sub };
    }
    return;
}

sub modules {
    return sort grep { $_ ne 'EV::Kafka::Mock' } map { s/\.pm\z//r =~ s{/}{::}gr } grep { m{\AEV/Kafka\b.*\.pm\z} } keys %INC;
}

watch($_) for modules();

sub until_true {
    my ($what, $condition) = @_;
    my $is_late;
    my $guard = EV::timer PATIENCE, 0, sub { $is_late = 1 };
    until ($condition->()) {
        die "$what: did not happen\n" if $is_late;
        EV::run EV::RUN_ONCE;
    }
    return;
}

sub connected {
    my ($mock, %options) = @_;
    my ($kafka, $is_connected) = EV::Kafka->new(brokers => $mock->bootstrap, %options);
    $kafka->connect(sub { $is_connected = 1 });
    until_true(connect => sub { $is_connected });
    return $kafka;
}

# Does it twice, $begin->($done), and traces the second time.
sub traced {
    my ($what, $begin) = @_;
    for (1, 2) {
        my $is_done;
        my $pause = EV::timer 0.1, 0, sub { @calls = (); $begin->(sub { $is_done = 1 }) };
        until_true($what => sub { $is_done });
    }
    my %rooms   = map { $_->[0] => 1 } @calls;
    my $changes = grep { $calls[$_][0] ne $calls[$_ - 1][0] } 1 .. $#calls;
    printf "%-10s %4d calls %4d rooms %4d changes of room\n", $what, scalar @calls, scalar keys %rooms, $changes;
    say '    ' . join '::', @$_ for $is_verbose ? @calls : ();
    return;
}

my $mock = EV::Kafka::Mock->new;
$mock->create_topic($_ => 1) for 't', 'empty';

my $producer = connected($mock);
traced(produced => sub { my ($done) = @_; $producer->produce('t', 'k', 'v', $done) });
$producer->close;

my ($received, $polled);
my $consumer = connected($mock, on_message => sub { $received = 1 });
$consumer->assign([{ topic => 't', partition => 0, offset => 2 }]);
traced(polled => sub {
    my ($done) = @_;
    $mock->append(t => 0, { value => 'v' });
    $consumer->poll(sub { $done->() if $received });
});
$consumer->close;

# Nothing else happens meanwhile.
my $is_assigned;
my $member = connected($mock, fetch_max_wait_ms => 60_000, on_message => sub { });
$member->subscribe('empty', group_id => 'g', auto_commit => 0, heartbeat_interval => 20, on_assign => sub { $is_assigned = 1 });
until_true(joining => sub { $is_assigned && $member->{cfg}{group}{state} eq 'stable' });
traced(committed => sub { my ($done) = @_; $member->commit($done) });
$member->close;
