use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use TestKafka;

# The programs of the documentation, as they stand there, against a cluster in
# this process.

my $mock = EV::Kafka::Mock->new(partitions => 1);

# What the section's indented lines say, with our broker in place of theirs.
sub program {
    my ($heading) = @_;
    open my $fh, '<', $INC{'EV/Kafka.pm'} or die $!;
    my $pod = do { local $/; <$fh> };
    my ($section) = $pod =~ /^=head1 \Q$heading\E\n(.*?)^=head1 /ms or die "no section $heading";
    my ($code) = $section =~ /^((?:    .*\n|\n)*?    EV::run;\n)/m or die "no program in $heading";
    my $bootstrap = $mock->bootstrap;
    $code =~ s/127\.0\.0\.1:9092/$bootstrap/g or die 'no broker';
    return $code;
}

sub output_of {
    my ($heading, $pattern) = @_;
    my $output = '';
    open my $to, '>', \$output or die $!;
    my $previous = select $to;
    my $watch = EV::check sub { EV::break if $output =~ $pattern };
    my $ticks = EV::timer 0, 0.05, sub { };
    my $guard = EV::timer 30, 0, sub { fail "$heading takes too long"; EV::break };
    my $ok    = eval program($heading) . '; 1';
    my $error = $@;
    select $previous;
    is $error, '', "$heading runs" if !$ok;
    return $output;
}

is join('', sort split /^/, output_of('SYNOPSIS', qr/(?=.*at offset)(?=.*\@)/s)),
    "at offset 0\nmy-topic:0 \@ 0  key = value\n", 'SYNOPSIS';
is output_of('QUICK START', qr/got/), "got k1 = hello\n", 'QUICK START';

done_testing;
