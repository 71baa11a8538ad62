package ToolTest;
use strict;
use warnings;

# The command ev-kafka and a mock cluster, each in a process of its own.

use Exporter   qw(import);
use File::Temp ();
use IPC::Open3 qw(open3);
use Test::More;

our @EXPORT = qw(cluster tool out is_tool written);

my $TOOL = 'bin/ev-kafka';
my $DIR  = File::Temp->newdir;

# What is set where the tests run is not to count.
delete @ENV{ 'EV_KAFKA_CONFIG', grep { /\AKAFKA_/ } keys %ENV };
$ENV{HOME} = "$DIR";

# A cluster by `ev-kafka mock` with these arguments, which lives as long as what this returns; its brokers are
# those of commands from here on.
sub cluster {
    my (@arguments) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    my $pid = open3('<&' . fileno $reader, my $out, '>&STDERR', $^X, (map { "-I$_" } @INC), $TOOL, 'mock', '--stdin', @arguments);
    close $reader;
    my $brokers = <$out> // die "ev-kafka mock says nothing\n";
    chomp $brokers;
    $ENV{KAFKA_BROKERS} = $brokers;
    return bless { pid => $pid, stdin => $writer, brokers => $brokers, out => $out }, __PACKAGE__;
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    close $self->{stdin};
    waitpid $self->{pid}, 0;
    return;
}

# What a command with this input has written to its outputs, and its status.
sub tool {
    my ($input, @arguments) = @_;
    my ($in, $out, $err) = map { File::Temp->new(DIR => "$DIR") } 1 .. 3;
    print {$in} $input;
    seek $in, 0, 0;
    my $pid = open3('<&' . fileno $in, '>&' . fileno $out, '>&' . fileno $err, $^X, (map { "-I$_" } @INC), $TOOL, @arguments);
    waitpid $pid, 0;
    my $status = $? & 127 ? "signal $?" : $? >> 8;
    return (map({ seek $_, 0, 0; local $/; scalar <$_> // '' } $out, $err), $status);
}

# Standard output of one that succeeds and says nothing else.
sub out {
    my ($input, @arguments) = @_;
    my ($out, $err, $status) = tool($input, @arguments);
    is "$status $err", '0 ', "@arguments" or diag $err;
    return $out;
}

sub is_tool {
    my ($arguments, $status, $err) = @_;
    my ($out, @is) = tool('', @$arguments);
    is $is[1], $status, "@$arguments: the status";
    like $is[0], $err, "@$arguments: what is said";
    return $out;
}

# A file with this text.
sub written {
    my ($text) = @_;
    my $file = File::Temp->new(DIR => "$DIR");
    print {$file} $text;
    $file->flush;
    return $file;
}

1;
