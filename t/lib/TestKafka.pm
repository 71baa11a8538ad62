package TestKafka;
use strict;
use warnings;

use EV;
use Exporter qw(import);
use Test::More;

our @EXPORT = qw(wait_until turns client connected errors notices warnings_of produced_offset log_values fetch_all);

# What a test waits for should take milliseconds; this is for machines that are
# busy with something else.
use constant GUARD => 30;

# Runs the loop until the condition holds; fails the test when it never does.
sub wait_until (&;$) {
    my ($condition, $what) = @_;
    my $expired;
    my $guard = EV::timer GUARD, 0, sub { $expired = 1 };
    until ($condition->() || $expired) { EV::run EV::RUN_ONCE }
    return 1 unless $expired;
    $what = 'what was waited for' unless defined $what;
    fail "$what: did not happen in ${\ GUARD} s";
    diag sprintf 'at %s line %d', (caller)[1, 2];
    return 0;
}

# Lets the loop handle whatever is already there, for "and nothing else happens".
sub turns {
    my ($turns) = @_;
    EV::run EV::RUN_NOWAIT for 1 .. $turns || 20;
    return;
}

my (%errors, %notices);

sub client {
    my (%options) = @_;
    my (@errors, @notices);
    my $kafka = EV::Kafka->new(
        on_error  => sub { push @errors,  $_[0] },
        on_notice => sub { push @notices, $_[0] },
        linger_ms => 0, %options,
    );
    $errors{ 0 + $kafka }  = \@errors;
    $notices{ 0 + $kafka } = \@notices;
    return $kafka;
}

# What a client's on_error has been told.
sub errors {
    my ($kafka) = @_;
    return @{ $errors{ 0 + $kafka } };
}

# And its on_notice.
sub notices {
    my ($kafka) = @_;
    return @{ $notices{ 0 + $kafka } };
}

sub connected {
    my $kafka = client(@_);
    my $meta;
    $kafka->connect(sub { $meta = shift });
    wait_until { $meta } 'connecting';
    return $kafka;
}

sub warnings_of (&) {
    my ($code) = @_;
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, $_[0] };
    $code->();
    return @warnings;
}

# The base offset of a produce callback's result.
sub produced_offset {
    my ($result) = @_;
    return $result->{topics}[0]{partitions}[0]{base_offset};
}

# The values in a partition of a mock cluster.
sub log_values {
    my ($mock, $topic, $partition) = @_;
    return [map { $_->{value} } $mock->records($topic, $partition || 0)];
}

# Polls until on_message has been called often enough, whatever list it fills.
sub fetch_all {
    my ($kafka, $received, $count) = @_;
    my $timer = EV::timer 0, 0.01, sub { $kafka->poll };
    return wait_until { @$received >= $count } "$count messages";
}

1;
