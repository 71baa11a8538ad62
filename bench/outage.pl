#!/usr/bin/env perl

=head1 NAME

outage.pl - what it costs to give up very many messages with a closure each

=head1 SYNOPSIS

  perl -Mblib bench/outage.pl
  perl -Mblib bench/outage.pl 1000000

=head1 DESCRIPTION

Produces that many messages (200,000) while no broker answers, each with a fresh closure, and lets them expire by
C<delivery_timeout>. Prints how long the event loop stood still at most meanwhile, and the CPU time that it took to call and free
the closures, beside what perl alone takes to call and free as many in the same order: perl looks for each closure
that it frees among all that there are, from the newest on.

=cut

use v5.14;
use warnings;

use File::Basename qw(dirname);
use Time::HiRes    qw(time);
use lib dirname(__FILE__) . '/lib';
use KafkaBench;

# Before what needs a build.
BEGIN { help() if grep { $_ eq '--help' } @ARGV }

use EV;
use EV::Kafka;

my $count = shift // 200_000;

sub cpu { my ($user, $system) = times; return $user + $system }

# Closures that know their number, as a program's would.
sub closure { my ($number, $called) = @_; return sub { $$called++ if $number >= 0 } }

sub perl_alone {
    my $called   = 0;
    my @closures = map { closure($_, \$called) } 1 .. $count;
    my $before   = cpu();
    while (my $closure = shift @closures) { $closure->() }
    return cpu() - $before;
}

sub in_an_outage {
    my $called = 0;
    my $kafka  = EV::Kafka->new(brokers => '127.0.0.1:1', delivery_timeout => 3, on_error => sub { }, on_notice => sub { });
    $kafka->connect;
    $kafka->produce('topic', $_, 'x' x 100, closure($_, \$called)) for 1 .. $count;
    my ($turned, $longest) = (time, 0);
    my $check   = EV::check sub { $turned = time };
    my $prepare = EV::prepare sub {
        my $pause = time - $turned;
        $longest = $pause if $pause > $longest;
    };
    my $before = cpu();
    EV::run EV::RUN_ONCE until $called == $count;
    return (cpu() - $before, $longest);
}

my $perl = perl_alone();
my ($ours, $longest) = in_an_outage();
printf "%d closures: longest pause of the loop %.0f ms; CPU %.2f s, perl alone %.2f s (%.2f x)\n",
    $count, 1000 * $longest, $ours, $perl, $ours / ($perl || 1);
