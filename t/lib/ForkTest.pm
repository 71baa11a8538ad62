package ForkTest;
use strict;
use warnings;

use Exporter qw(import);
use POSIX ();

our @EXPORT = qw(in_child child reap);

# Seconds after which a child that hangs ends itself.
use constant GUARD => 60;

# Runs the code in a child of fork, without any END block or destructor of the
# parent's. Gives what it printed, once it has ended, and its exit status.
sub in_child (&) {
    my ($code) = @_;
    return reap(child(sub { my ($out) = @_; $code->($out) }));
}

# The same, but only starts it: { pid, out }, where out can be read line by line, and
# which ends when release => $handle is closed if the code waits for that.
sub child {
    my ($code) = @_;
    pipe my $out,  my $child_out or die "pipe: $!";
    pipe my $wait, my $release   or die "pipe: $!";
    my $pid = fork;
    defined $pid or die "fork: $!";
    if (!$pid) {
        close $_ for $out, $release;
        $child_out->autoflush(1);
        alarm GUARD;
        eval { $code->($child_out, $wait); 1 } or print $child_out "died: $@";
        close $child_out;
        POSIX::_exit(0);
    }
    close $_ for $child_out, $wait;
    return { pid => $pid, out => $out, release => $release };
}

sub reap {
    my ($child) = @_;
    close $child->{release};
    my $said = do { local $/; readline $child->{out} } // '';
    waitpid $child->{pid}, 0;
    return wantarray ? ($said, $?) : $said;
}

1;
