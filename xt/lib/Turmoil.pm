package Turmoil;

# A process of its own that kills, stops and starts the leaders of a topic in
# turn, so that whoever writes to it is not held up by that.

use v5.14;
use warnings;

use Carp        qw(croak);
use POSIX       ();
use Time::HiRes qw(time);
use KafkaCluster;
use RealKafka;

# Seconds a node stays dead, and how long it hangs: until the others have given it
# up, which takes broker.session.timeout.ms, and a good while more.
my ($DEAD, $HANGING) = (3, 14);

# start($cluster, $topic, $replicas) -> a Turmoil. $replicas: how many there are of all partitions.
sub start {
    my ($class, $cluster, $topic, $replicas) = @_;
    my $self = bless {
        cluster => $cluster, topic => $topic, replicas => $replicas, log => $cluster->dir . "/turmoil-$topic",
    }, $class;
    $self->{pid} = fork // croak "fork: $!";
    return $self if $self->{pid};
    eval { $self->_go_on; 1 } or $self->_note("failed: $@");
    POSIX::_exit(0);
}

# What has happened so far, one line each with the time, finished rounds only.
sub events {
    my ($self) = @_;
    open my $in, '<', $self->{log} or return;
    chomp(my @lines = <$in>);
    return @lines;
}

# Lets it finish its round and put everything back.
sub finish {
    my ($self) = @_;
    open my $out, '>', "$self->{log}.end" or croak "$self->{log}.end: $!";
    CORE::close $out;
    waitpid $self->{pid}, 0;
    return;
}

sub _note {
    my ($self, $line) = @_;
    open my $out, '>>', $self->{log} or die "$self->{log}: $!";
    printf {$out} "%s (%.3f)\n", $line =~ s/\s+\z//r, time;
    CORE::close $out;
    return;
}

sub _go_on {
    my ($self) = @_;
    my $cluster = KafkaCluster->open($self->{cluster}->dir);
    for (my $round = 0; !-e "$self->{log}.end"; $round++) {
        my $victim = $self->_some_leader($cluster, $round);
        if ($round % 2) {
            $cluster->pause_node($victim);
            sleep $HANGING;
            $cluster->resume_node($victim);
        }
        else {
            $cluster->kill_node($victim);
            sleep $DEAD;
            $cluster->restart_node($victim);
        }
        $self->_wait_in_sync($cluster);
        $self->_note(($round % 2 ? 'stopped' : 'killed') . " node $victim");
    }
    return;
}

# The one that was spared for longest, of those that lead anything.
sub _some_leader {
    my ($self, $cluster, $round) = @_;
    my ($entry)  = map { $cluster->address($_) } $cluster->nodes;
    my %leads    = map { $_ => 1 } kcat('-L', '-b', $entry, '-t', $self->{topic}) =~ /leader (\d+)/g;
    my $struck   = $self->{struck} ||= {};
    my ($victim) = sort { ($struck->{$a} // -1) <=> ($struck->{$b} // -1) || $a <=> $b } keys %leads;
    $struck->{$victim} = $round;
    return $victim;
}

# Every node is asked: one that has just gone on after it hung still believes what was so before.
sub _wait_in_sync {
    my ($self, $cluster) = @_;
    my $deadline = time + 60;
    while (time < $deadline) {
        return if !grep { !$self->_is_in_sync($cluster->address($_)) } $cluster->nodes;
        select undef, undef, undef, 0.2;
    }
    die "not in sync after 60 s\n";
}

sub _is_in_sync {
    my ($self, $address) = @_;
    my $listing = eval { kcat('-L', '-b', $address, '-t', $self->{topic}) } // '';
    my $in_sync = map { split /,/ } $listing =~ /isrs: ([\d,]+)/g;
    return $in_sync == $self->{replicas};
}

1;
